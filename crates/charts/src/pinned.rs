//! The token that a reader has pinned: drawn by itself in every chart over layers.

use super::Kind;
use super::chart::ChartOptions;
use super::format::quote_token;
use trace::{TokenPosition, Trace};

/// A token's own values, L each.
#[derive(Clone, Debug)]
pub(super) struct Pinned {
    /// "“ cat”, position 3".
    pub name: String,
    /// Which token it is.
    pub at: TokenPosition,
    pub attn: Vec<f32>,
    pub mlp: Vec<f32>,
    pub resid: Vec<f32>,
}

impl Pinned {
    /// The pinned token of a trace, where there is one.
    pub fn of(trace: &Trace, options: &ChartOptions) -> Option<Pinned> {
        let at = options.pinned()?;
        let sequence = trace.sequences.get(at.sequence)?;
        let token = Some(at.token).filter(|token| *token < sequence.token_count())?;
        let text = sequence.tokens.get(token).map_or_else(|| "a token".to_owned(), |text| quote_token(text));
        Some(Pinned {
            name: format!("{text}, position {token}"),
            at,
            attn: sequence.column(&sequence.attn_norm, token),
            mlp: sequence.column(&sequence.mlp_norm, token),
            resid: sequence.column(&sequence.resid_post_norm, token),
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
