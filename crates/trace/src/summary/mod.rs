//! Summaries of a trace: the numbers behind the charts, and the sentences computed from them.
//! May depend on: the trace record. Plain Rust, no feature needed.
//! Must never know: surfaces, colours, pixels.
//!
//! One policy for all of them:
//! - values that are not finite are left out of every statistic and counted (`non_finite`);
//! - `skip_first` leaves position 0 of every sequence out, since GPT-2's first token carries a stream
//!   tens of times larger than the rest and would decide every mean;
//! - layers are counted from 0 in arrays. Readers see the embedding as layer 0 and block `i` as layer `i + 1`.

mod align;
mod evolution;
mod findings;
mod growth;
mod histogram;
mod layers;
pub mod order;
mod overflow;
#[cfg(test)]
mod tests;
pub mod words;

use serde::{Deserialize, Serialize};

use super::record::{Run, Sequence, layers_of_all};

pub use align::aligned;
pub use evolution::{Evolution, EvolutionOptions, Stat, evolution};
pub use findings::{Finding, Place, Topic, evolution_finding, findings, histogram_finding};
pub use growth::{Growth, Rate, growth};
pub use histogram::{BinRule, Histogram, HistogramOptions, MAX_BINS, check_bins, histogram, histograms};
pub use layers::{ByLayer, Measure, by_head, by_layer};
pub use overflow::{Overflow, overflow};

/// Who wrote to the stream, or the stream itself. Decides colour, shape and word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// attn_out: what attention adds.
    Attention,
    /// mlp_out: what the MLP adds.
    Mlp,
    /// Token embedding + position embedding.
    Embedding,
    /// The residual stream itself.
    Stream,
}

impl Kind {
    /// The name programs use, also as a CSS class: "attention", "mlp", "embedding", "stream".
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Attention => "attention",
            Kind::Mlp => "mlp",
            Kind::Embedding => "embedding",
            Kind::Stream => "stream",
        }
    }

    /// The name readers see: "attention", "MLP", "embedding", "stream".
    pub fn label(self) -> &'static str {
        match self {
            Kind::Mlp => "MLP",
            other => other.as_str(),
        }
    }
}

/// How much of the model a summary saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// Layers in the summary.
    pub layers: usize,
    /// L of the model; at least `layers`.
    pub n_layer: usize,
    /// Sequences with at least one token.
    pub sequences: usize,
    /// Tokens over all sequences, before position 0 is left out.
    pub tokens: usize,
    /// Tokens that count: all, or all but position 0 of every sequence.
    pub counted_tokens: usize,
    /// Whether position 0 was left out.
    pub skip_first: bool,
}

impl Coverage {
    /// Whether layers are still missing.
    pub fn is_partial(&self) -> bool {
        self.layers < self.n_layer
    }

    /// How much of a run there is.
    pub fn of(run: Run, skip_first: bool) -> Coverage {
        Coverage::of_sequences(run.sequences(), run.model().n_layer, skip_first)
    }

    /// Of some of the sequences that a model of `n_layer` blocks was run over.
    pub fn of_sequences<'a>(
        sequences: impl Iterator<Item = &'a Sequence> + Clone,
        n_layer: usize,
        skip_first: bool,
    ) -> Coverage {
        let skip = usize::from(skip_first);
        let counts = || sequences.clone().map(Sequence::token_count).filter(|t| *t > 0);
        let layers = layers_of_all(sequences.clone());
        Coverage {
            layers,
            n_layer: n_layer.max(layers),
            sequences: counts().count(),
            tokens: counts().sum(),
            counted_tokens: counts().map(|t| t.saturating_sub(skip)).sum(),
            skip_first,
        }
    }
}

/// Sequences that hold at least one token, with their place in the trace.
fn sequences(run: Run<'_>) -> impl Iterator<Item = (usize, &Sequence)> {
    run.sequences().enumerate().filter(|(_, sequence)| sequence.token_count() > 0)
}

/// One of the record's arrays.
type Field = fn(&Sequence) -> &[f32];

fn attn(sequence: &Sequence) -> &[f32] {
    &sequence.attn_norm
}
fn mlp(sequence: &Sequence) -> &[f32] {
    &sequence.mlp_norm
}
fn resid_post(sequence: &Sequence) -> &[f32] {
    &sequence.resid_post_norm
}

/// The values of one layer over all sequences, position 0 left out where asked.
fn layer_values(run: Run, field: Field, layer: usize, skip_first: bool) -> impl Iterator<Item = f32> {
    sequences(run).flat_map(move |(_, sequence)| {
        sequence.layer(field(sequence), layer).iter().copied().skip(usize::from(skip_first))
    })
}
