//! The layer-wise evolution: the mean update size per layer, from the embedding to the last block.

use serde::{Deserialize, Serialize};

use super::{Coverage, Field, attn, layer_values, mlp, resid_post, sequences};
use crate::record::Run;

/// Over which tokens means are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EvolutionOptions {
    /// Leave position 0 of every sequence out.
    pub skip_first: bool,
}

impl Default for EvolutionOptions {
    fn default() -> Self {
        EvolutionOptions { skip_first: true }
    }
}

/// Mean and spread of a set of norms, in activation units.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stat {
    /// Arithmetic mean; `NaN` in Rust and null when serialised, if `n` is 0.
    #[serde(with = "nan_as_null")]
    pub mean: f64,
    /// Population standard deviation (divided by n); `NaN` and null if `n` is 0.
    #[serde(with = "nan_as_null")]
    pub std: f64,
    /// How many finite values it is of.
    pub n: usize,
}

impl Stat {
    /// The statistic of the finite values among these (two passes, f64).
    pub fn of(values: impl Iterator<Item = f32>) -> Stat {
        let values: Vec<f64> = values.filter(|value| value.is_finite()).map(f64::from).collect();
        let n = values.len();
        let mean = values.iter().sum::<f64>() / n as f64;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n as f64;
        Stat { mean, std: variance.sqrt(), n }
    }
}

/// Statistics per layer over all counted tokens of all sequences.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evolution {
    /// Mean norm of the embedding; the chart's layer 0. `NaN` (null) without tokens.
    #[serde(with = "nan_as_null")]
    pub embed: f64,
    /// The same with its spread.
    pub embed_stat: Stat,
    /// L entries: attention's contribution norms. Entry `i` is block `i`, shown as layer `i + 1`.
    pub attn: Vec<Stat>,
    /// L entries: the MLP's contribution norms.
    pub mlp: Vec<Stat>,
    /// L entries: the stream after each block (resid_post).
    pub resid: Vec<Stat>,
    /// Values left out because they are NaN or infinite.
    pub non_finite: usize,
    /// What the statistics cover.
    pub coverage: Coverage,
}

/// Averages the norms of a run layer by layer.
///
/// ```
/// use trace::{Sequence, Trace, summary::{EvolutionOptions, evolution}};
/// let sequence = Sequence { ids: vec![1, 2, 3], embed_norm: vec![9.0, 2.0, 4.0], ..Default::default() };
/// let trace = Trace { sequences: vec![sequence], ..Default::default() };
/// let e = evolution(trace.run(), &EvolutionOptions::default());
/// assert_eq!((e.embed, e.embed_stat.std, e.embed_stat.n), (3.0, 1.0, 2));
/// ```
pub fn evolution(run: Run, options: &EvolutionOptions) -> Evolution {
    let skip = options.skip_first;
    let coverage = Coverage::of(run, skip);
    let mut non_finite = 0;
    let mut per_layer = |field: Field| -> Vec<Stat> {
        (0..coverage.layers)
            .map(|layer| {
                non_finite += layer_values(run, field, layer, skip).filter(|value| !value.is_finite()).count();
                Stat::of(layer_values(run, field, layer, skip))
            })
            .collect()
    };
    let (attn, mlp, resid) = (per_layer(attn), per_layer(mlp), per_layer(resid_post));
    let embed = || {
        sequences(run).flat_map(|(_, sequence)| {
            sequence.embed_norm.iter().copied().take(sequence.token_count()).skip(usize::from(skip))
        })
    };
    non_finite += embed().filter(|value| !value.is_finite()).count();
    let embed_stat = Stat::of(embed());
    Evolution { embed: embed_stat.mean, embed_stat, attn, mlp, resid, non_finite, coverage }
}

/// JSON has no NaN: a mean of nothing becomes null, also for formats that could say NaN.
pub(super) mod nan_as_null {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        value.is_finite().then_some(*value).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
    }
}
