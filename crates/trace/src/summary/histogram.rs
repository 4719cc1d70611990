//! The residual distribution: how many updates are how large.

use serde::{Deserialize, Serialize};

use super::order::sort_f32;
use super::{Coverage, attn, layer_values, mlp};
use crate::record::Run;
use crate::{Code, Error, Result};

/// Most bins a reader may ask for.
pub const MAX_BINS: usize = 500;
/// Bounds on the number of bins the rule may choose: fewer hide the shape, more are thinner than the eye resolves.
const RULE_BINS: std::ops::RangeInclusive<usize> = 5..=80;

/// Whether so many bins can be asked for.
///
/// # Errors
/// `BadArgument`, with the range.
pub fn check_bins(bins: Option<usize>) -> Result<()> {
    match bins.filter(|bins| !(1..=MAX_BINS).contains(bins)) {
        None => Ok(()),
        Some(bins) => {
            let message = format!("bins: expected a whole number from 1 to {MAX_BINS}, got {bins}.");
            Err(Error::new(Code::BadArgument, message))
        }
    }
}

/// How many bins, and over which tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HistogramOptions {
    /// This many bins of equal width from the smallest to the largest value (as `numpy.histogram` does);
    /// held to 1..=[`MAX_BINS`], see [`check_bins`]. `None`: the Freedman-Diaconis rule decides, see [`BinRule`].
    pub bins: Option<usize>,
    /// Leave position 0 of every sequence out.
    pub skip_first: bool,
}

impl Default for HistogramOptions {
    fn default() -> Self {
        HistogramOptions { bins: None, skip_first: true }
    }
}

/// What decided the bins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BinRule {
    /// Freedman and Diaconis (1981): width = 2 · IQR / ∛n over the pooled norms of attention and MLP, rounded
    /// to 1, 2 or 5 times a power of ten so that edges are numbers one can read, and to 5 to 80 bins.
    FreedmanDiaconis,
    /// Sturges (1926): ⌈log₂ n⌉ + 1 bins, rounded likewise. Stands in where the interquartile range is 0.
    Sturges,
    /// The caller gave the number of bins.
    Given,
    /// All values are equal: bins around the one value.
    SingleValue,
    /// No finite value: no bins.
    Empty,
}

/// Counts of contribution norms in shared bins. Bin `i` holds `edges[i] <= norm < edges[i + 1]`; the last
/// bin is closed, so that every finite value lies in exactly one bin. An outlier is never dropped: it
/// widens the range.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Histogram {
    /// B + 1 strictly increasing edges in activation units; empty when there is nothing to count.
    pub edges: Vec<f32>,
    /// B counts of attention's updates, one update per layer and token.
    pub attn: Vec<u32>,
    /// B counts of the MLP's updates.
    pub mlp: Vec<u32>,
    /// What decided the bins.
    pub rule: BinRule,
    /// Whether the rule's own width would have made fewer bins than 5 or more than 80, so that these are as many as it may.
    pub capped: bool,
    /// Width of a bin in activation units; 0 without bins.
    pub bin_width: f32,
    /// Median of attention's updates; `NaN` (null) without any.
    #[serde(with = "super::evolution::nan_as_null")]
    pub attn_median: f64,
    /// Median of the MLP's updates; `NaN` (null) without any.
    #[serde(with = "super::evolution::nan_as_null")]
    pub mlp_median: f64,
    /// Largest value counted; `NaN` (null) without any.
    #[serde(with = "super::evolution::nan_as_null")]
    pub max: f64,
    /// Values left out because they are NaN or infinite.
    pub non_finite: usize,
    /// What the counts cover.
    pub coverage: Coverage,
}

impl Histogram {
    /// Share of area the two histograms have in common, each scaled to area 1: Σ min(pᵢ, qᵢ), from 0
    /// (apart) to 1 (alike). `NaN` when one of them is empty.
    pub fn overlap(&self) -> f64 {
        let total = |counts: &[u32]| counts.iter().map(|&n| f64::from(n)).sum::<f64>();
        let (attn, mlp) = (total(&self.attn), total(&self.mlp));
        if attn == 0.0 || mlp == 0.0 {
            return f64::NAN;
        }
        self.attn.iter().zip(&self.mlp).map(|(&a, &m)| (f64::from(a) / attn).min(f64::from(m) / mlp)).sum()
    }
}

/// Counts the contribution norms of a run.
///
/// ```
/// use trace::{Sequence, Trace, summary::{HistogramOptions, histogram}};
/// let sequence = Sequence { ids: vec![5, 6], attn_norm: vec![90.0, 1.0], mlp_norm: vec![90.0, 3.0], ..Default::default() };
/// let trace = Trace { sequences: vec![sequence], ..Default::default() };
/// let h = histogram(trace.run(), &HistogramOptions { bins: Some(2), skip_first: true });
/// assert_eq!((h.edges, h.attn, h.mlp), (vec![1.0, 2.0, 3.0], vec![1, 0], vec![0, 1]));
/// ```
pub fn histogram(run: Run, options: &HistogramOptions) -> Histogram {
    let norms = Norms::of(run, options.skip_first);
    norms.counted(&bin_edges(&norms.pooled(), options.bins))
}

/// The histograms of two runs in the same bins, which hold the values of both.
pub fn histograms(runs: [Run; 2], options: &HistogramOptions) -> [Histogram; 2] {
    let norms = runs.map(|run| Norms::of(run, options.skip_first));
    let mut pooled = [norms[0].pooled(), norms[1].pooled()].concat();
    sort_f32(&mut pooled);
    let bins = bin_edges(&pooled, options.bins);
    norms.map(|norms| norms.counted(&bins))
}

/// A run's finite contribution norms, sorted.
struct Norms {
    attn: Vec<f32>,
    mlp: Vec<f32>,
    non_finite: usize,
    coverage: Coverage,
}

impl Norms {
    fn of(run: Run, skip_first: bool) -> Norms {
        let coverage = Coverage::of(run, skip_first);
        let mut non_finite = 0;
        let mut sorted = |field| {
            let mut values: Vec<f32> = (0..coverage.layers)
                .flat_map(|layer| layer_values(run, field, layer, skip_first))
                .filter(|value| {
                    non_finite += usize::from(!value.is_finite());
                    value.is_finite()
                })
                .collect();
            sort_f32(&mut values);
            values
        };
        let (attn, mlp) = (sorted(attn), sorted(mlp));
        Norms { attn, mlp, non_finite, coverage }
    }

    fn pooled(&self) -> Vec<f32> {
        let mut pooled = [self.attn.as_slice(), self.mlp.as_slice()].concat();
        sort_f32(&mut pooled);
        pooled
    }

    fn counted(&self, bins: &Bins) -> Histogram {
        let Bins { edges, rule, capped } = bins;
        let bin_width = match edges.as_slice() {
            [first, .., last] => (f64::from(*last) - f64::from(*first)) / (edges.len() - 1) as f64,
            _ => 0.0,
        };
        let largest = self.attn.last().into_iter().chain(self.mlp.last()).map(|&value| f64::from(value));
        Histogram {
            attn: count(&self.attn, edges),
            mlp: count(&self.mlp, edges),
            rule: *rule,
            capped: *capped,
            bin_width: bin_width.min(f64::from(f32::MAX)) as f32,
            attn_median: quantile(&self.attn, 0.5),
            mlp_median: quantile(&self.mlp, 0.5),
            max: largest.fold(f64::NAN, f64::max),
            non_finite: self.non_finite,
            coverage: self.coverage,
            edges: edges.clone(),
        }
    }
}

/// Counts per bin: every value between the first and the last edge, both included, lands in one bin.
fn count(values: &[f32], edges: &[f32]) -> Vec<u32> {
    let bins = edges.len().saturating_sub(1);
    let mut counts = vec![0u32; bins];
    for &value in values {
        let bin = edges.partition_point(|&edge| edge <= value).saturating_sub(1).min(bins.saturating_sub(1));
        if let Some(count) = counts.get_mut(bin) {
            *count += 1;
        }
    }
    counts
}

/// Bins for values, as a [`Histogram`] has them.
#[derive(Debug, PartialEq)]
pub(super) struct Bins {
    pub edges: Vec<f32>,
    pub rule: BinRule,
    pub capped: bool,
}

/// The bins of sorted finite values: as many as asked for, or as the rule says.
pub(super) fn bin_edges(sorted: &[f32], bins: Option<usize>) -> Bins {
    let uncapped = |edges, rule| Bins { edges, rule, capped: false };
    let (Some(&low), Some(&high)) = (sorted.first(), sorted.last()) else {
        return uncapped(Vec::new(), BinRule::Empty);
    };
    let (low, high) = (f64::from(low), f64::from(high));
    let bins = bins.map(|bins| bins.clamp(1, MAX_BINS));
    if low == high {
        // Half a unit to either side, as numpy does; more where f32 could not tell the edges apart.
        let half = (low.abs() * 1e-3).max(0.5);
        return uncapped(equal_edges(low - half, low + half, bins.unwrap_or(1)), BinRule::SingleValue);
    }
    if let Some(bins) = bins {
        return uncapped(equal_edges(low, high, bins), BinRule::Given);
    }
    let n = sorted.len() as f64;
    let spread = quantile(sorted, 0.75) - quantile(sorted, 0.25);
    let (width, rule) = if spread > 0.0 {
        (2.0 * spread / n.cbrt(), BinRule::FreedmanDiaconis)
    } else {
        ((high - low) / (n.log2().ceil() + 1.0), BinRule::Sturges)
    };
    let own = (high - low) / width;
    let capped = own < *RULE_BINS.start() as f64 || own > *RULE_BINS.end() as f64;
    Bins { edges: readable_edges(low, high, width), rule, capped }
}

/// `bins` equal bins from `low` to `high`.
fn equal_edges(low: f64, high: f64, bins: usize) -> Vec<f32> {
    increasing((0..=bins).map(|i| low + (high - low) * i as f64 / bins as f64), low, high)
}

/// Bins about `width` wide whose edges are multiples of 1, 2 or 5 times a power of ten: 5 to 80 of them, also after
/// rounding.
fn readable_edges(low: f64, high: f64, width: f64) -> Vec<f32> {
    let range = high - low;
    let (least, most) = (*RULE_BINS.start() as f64, *RULE_BINS.end() as f64);
    let first = |step: f64| (low / step).floor();
    // One more edge when the largest value lies on or past the last one is not needed: the last bin is closed.
    let count = |step: f64| ((high / step).ceil() - first(step)).max(1.0);
    let mut step = readable_step(width.clamp(range / most, range / least));
    while count(step) > most {
        step = readable_step(step * 2.2);
    }
    while count(step) < least {
        step = readable_step(step / 2.2);
    }
    let (first, count) = (first(step), count(step) as usize);
    increasing((0..=count).map(|i| (first + i as f64) * step), low, high)
}

/// The 1, 2 or 5 times a power of ten nearest to `width` (by ratio).
fn readable_step(width: f64) -> f64 {
    let power = 10f64.powf(width.log10().floor());
    let fraction = width / power;
    let nearest = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .min_by(|a: &f64, b: &f64| (a / fraction).ln().abs().total_cmp(&(b / fraction).ln().abs()))
        .unwrap_or(1.0);
    nearest * power
}

/// Edges as f32: strictly increasing (neighbours that f32 cannot tell apart become one), the first not
/// above `low`, the last not below `high`.
fn increasing(edges: impl Iterator<Item = f64>, low: f64, high: f64) -> Vec<f32> {
    let limit = f64::from(f32::MAX);
    let mut edges: Vec<f32> = edges.map(|edge| edge.clamp(-limit, limit) as f32).collect();
    if let Some(first) = edges.first_mut() {
        *first = first.min(low.clamp(-limit, limit) as f32);
    }
    if let Some(last) = edges.last_mut() {
        *last = last.max(high.clamp(-limit, limit) as f32);
    }
    let last = edges.last().copied();
    edges.dedup_by(|next, kept| *next <= *kept);
    if let (Some(last), Some(end)) = (last, edges.last_mut()) {
        *end = end.max(last);
    }
    edges
}

/// Quantile of sorted values, linear between neighbours (numpy's default); `NaN` of none.
pub(super) fn quantile(sorted: &[f32], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = last as f64 * q;
    let at = |i: usize| sorted.get(i).map_or(f64::NAN, |&value| f64::from(value));
    let low = at(place.floor() as usize);
    low + (at((place.ceil() as usize).min(last)) - low) * place.fract()
}
