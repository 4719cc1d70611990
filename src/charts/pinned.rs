//! The token that a reader has pinned: drawn by itself in every chart over layers.

use super::Kind;
use super::figure::ChartOptions;
use super::format::quote_token;
use crate::trace::{Sequence, Trace};

/// A token's own values, L each.
#[derive(Clone, Debug)]
pub(super) struct Pinned {
    /// "“ cat”, position 3".
    pub name: String,
    /// Place of its sequence in the trace.
    pub sequence: usize,
    /// Its position.
    pub token: usize,
    pub attn: Vec<f32>,
    pub mlp: Vec<f32>,
    pub resid: Vec<f32>,
}

impl Pinned {
    /// The pinned token of a trace, where there is one.
    pub fn of(trace: &Trace, options: &ChartOptions) -> Option<Pinned> {
        let sequence = trace.sequences.get(options.sequence)?;
        let token = options.token.filter(|token| *token < sequence.token_count())?;
        let column = |values: fn(&Sequence) -> &[f32]| {
            let layers = (0..sequence.layer_count()).map(|layer| sequence.layer(values(sequence), layer));
            layers.map(|layer| layer.get(token).copied().unwrap_or(f32::NAN)).collect()
        };
        let text = sequence.tokens.get(token).map_or_else(|| "a token".to_owned(), |text| quote_token(text));
        Some(Pinned {
            name: format!("{text}, position {token}"),
            sequence: options.sequence,
            token,
            attn: column(|sequence| &sequence.attn_norm),
            mlp: column(|sequence| &sequence.mlp_norm),
            resid: column(|sequence| &sequence.resid_post_norm),
        })
    }

    /// What its sub-layers wrote at a layer, as readers count.
    pub fn at(&self, layer: usize) -> impl Iterator<Item = (Kind, f64)> {
        let block = layer.checked_sub(1);
        let value = |values: &[f32]| block.and_then(|block| values.get(block)).copied().map(f64::from);
        [(Kind::Attention, value(&self.attn)), (Kind::Mlp, value(&self.mlp))]
            .into_iter()
            .filter_map(|(kind, value)| Some((kind, value?)))
    }
}
