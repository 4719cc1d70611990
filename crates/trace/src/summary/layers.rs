//! Ratios and cosines per layer: how much of the stream each sub-layer changes, and in what direction.

use serde::{Deserialize, Serialize};

use super::{Coverage, Stat, sequences};
use crate::record::{Run, Sequence, TokenPosition, layers_of_all};

/// Something measured of every update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// Contribution norm divided by the norm of the stream it is added to.
    Relative,
    /// Cosine of a contribution with the stream it is added to.
    Cosine,
}

/// A measure per layer, mean and spread over all counted tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ByLayer {
    /// L entries: attention's updates, which join resid_pre.
    pub attn: Vec<Stat>,
    /// L entries: the MLP's updates, which join resid_mid.
    pub mlp: Vec<Stat>,
    /// Values left out because they are NaN or infinite (as an update to a stream of length 0 is).
    pub non_finite: usize,
    /// What the statistics cover.
    pub coverage: Coverage,
}

impl Measure {
    /// The value of a layer and token of attention's or the MLP's update; `NaN` where the trace does not have it.
    pub fn of(self, sequence: &Sequence, mlp: bool, cell: usize) -> f32 {
        let at = |values: &[f32]| values.get(cell).copied().unwrap_or(f32::NAN);
        match (self, mlp) {
            (Measure::Relative, false) => at(&sequence.attn_norm) / at(&sequence.resid_pre_norm),
            (Measure::Relative, true) => at(&sequence.mlp_norm) / at(&sequence.resid_mid_norm),
            (Measure::Cosine, false) => at(&sequence.attn_cos),
            (Measure::Cosine, true) => at(&sequence.mlp_cos),
        }
    }
}

/// Averages a measure layer by layer.
pub fn by_layer(run: Run, measure: Measure, skip_first: bool) -> ByLayer {
    let coverage = Coverage::of(run, skip_first);
    let mut non_finite = 0;
    let mut stats = |mlp| -> Vec<Stat> {
        let of_layer = |layer: usize| {
            sequences(run)
                .flat_map(|(_, sequence)| {
                    let t = sequence.token_count();
                    (layer * t + usize::from(skip_first)..(layer + 1) * t)
                        .map(move |cell| measure.of(sequence, mlp, cell))
                })
                .collect::<Vec<f32>>()
        };
        (0..coverage.layers)
            .map(|layer| {
                let values = of_layer(layer);
                let stat = Stat::of(values.iter().copied());
                non_finite += values.len() - stat.n;
                stat
            })
            .collect()
    };
    let (attn, mlp) = (stats(false), stats(true));
    ByLayer { attn, mlp, non_finite, coverage }
}

/// Mean and spread of every head's norms over all counted tokens, or the norms of one token:
/// `[layer][head]`. Empty where the trace was made without heads.
pub fn by_head(run: Run, token: Option<TokenPosition>, skip_first: bool) -> Vec<Vec<Stat>> {
    let (layers, heads) = (layers_of_all(run.sequences()), run.model().n_head);
    let whole = |sequence: &Sequence| {
        sequence.head_norm.as_ref().is_some_and(|norms| norms.len() >= layers * heads * sequence.token_count())
    };
    if heads == 0 || layers == 0 || !sequences(run).all(|(_, sequence)| whole(sequence)) {
        return Vec::new();
    }
    let norms = |layer: usize, head: usize| {
        sequences(run).flat_map(move |(number, sequence)| {
            let t = sequence.token_count();
            let tokens = match token {
                Some(TokenPosition { sequence, token }) if sequence == number => token..(token + 1).min(t),
                Some(_) => 0..0,
                None => usize::from(skip_first)..t,
            };
            let norms = sequence.head_norm.as_deref().unwrap_or_default();
            tokens.map(move |token| norms.get((layer * heads + head) * t + token).copied().unwrap_or(f32::NAN))
        })
    };
    (0..layers).map(|layer| (0..heads).map(|head| Stat::of(norms(layer, head))).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Trace;

    #[test]
    fn heads_are_averaged_over_tokens_or_shown_on_one() {
        let sequence = |first: f32| Sequence {
            ids: vec![0, 1, 2],
            attn_norm: vec![1.0; 3],
            head_norm: Some(vec![first, 1.0, 3.0, first, 10.0, 20.0]),
            ..Sequence::default()
        };
        let model = crate::ModelInfo { n_layer: 1, n_head: 2, ..Default::default() };
        let trace = Trace { model, sequences: vec![sequence(90.0), sequence(80.0)], ..Trace::default() };
        let heads = by_head(trace.run(), None, true);
        assert_eq!((heads[0][0].mean, heads[0][1].mean, heads[0][1].n), (2.0, 15.0, 4));
        let pinned = by_head(trace.run(), Some(TokenPosition { sequence: 1, token: 0 }), true);
        assert_eq!((pinned[0][0].mean, pinned[0][0].n), (80.0, 1), "layers.rs: a pinned position 0 is shown");
        let without = Trace { sequences: vec![Sequence { head_norm: None, ..sequence(1.0) }], ..trace };
        assert!(by_head(without.run(), None, true).is_empty());
    }

    #[test]
    fn updates_are_divided_by_the_stream_they_join() {
        let sequence = Sequence {
            ids: vec![0, 1, 2],
            attn_norm: vec![9.0, 1.0, 3.0],
            resid_pre_norm: vec![1.0, 2.0, 2.0],
            mlp_norm: vec![9.0, 2.0, 5.0],
            resid_mid_norm: vec![1.0, 4.0, 0.0],
            attn_cos: vec![1.0, -0.5, 0.5],
            mlp_cos: vec![1.0, 0.25, f32::NAN],
            ..Sequence::default()
        };
        let trace = Trace { sequences: vec![sequence], ..Trace::default() };
        let relative = by_layer(trace.run(), Measure::Relative, true);
        assert_eq!((relative.attn[0].mean, relative.attn[0].std, relative.attn[0].n), (1.0, 0.5, 2));
        assert_eq!((relative.mlp[0].mean, relative.mlp[0].n, relative.non_finite), (0.5, 1, 1), "5 / 0 is left out");
        let cosine = by_layer(trace.run(), Measure::Cosine, true);
        assert_eq!((cosine.attn[0].mean, cosine.mlp[0].mean, cosine.non_finite), (0.0, 0.25, 1));
        assert_eq!(by_layer(trace.run(), Measure::Cosine, false).attn[0].n, 3);
    }
}
