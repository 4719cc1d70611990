//! Where a model's numbers leave the range of F32: from there on they are infinite, or not numbers at all.

use crate::Sequence;

/// The first place at which a number is not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Overflow {
    /// The layer as readers count: 0 is the embedding, `i + 1` block `i`.
    pub layer: usize,
}

impl Overflow {
    /// "in the embedding", "in layer 3".
    pub fn place(self) -> String {
        match self.layer {
            0 => "in the embedding".to_owned(),
            layer => format!("in layer {layer}"),
        }
    }

    /// "the model's numbers overflow, first in layer 3".
    pub fn note(self) -> String {
        format!("the model's numbers overflow, first {}", self.place())
    }
}

/// The first layer of any of some sequences that has a norm that is not finite.
pub fn overflow(sequences: &[Sequence]) -> Option<Overflow> {
    let broken = |norms: &[f32]| norms.iter().any(|norm| !norm.is_finite());
    let first = |sequence: &Sequence| {
        let in_layer = |layer: &usize| {
            let of_layer =
                [&sequence.attn_norm, &sequence.resid_mid_norm, &sequence.mlp_norm, &sequence.resid_post_norm];
            of_layer.into_iter().any(|norms| broken(sequence.layer(norms, *layer)))
        };
        match broken(&sequence.embed_norm) {
            true => Some(Overflow { layer: 0 }),
            false => (0..sequence.layer_count()).find(in_layer).map(|layer| Overflow { layer: layer + 1 }),
        }
    };
    sequences.iter().filter_map(first).min()
}
