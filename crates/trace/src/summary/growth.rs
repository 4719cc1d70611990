//! Stream growth: the norm of the residual stream from layer to layer.
//!
//! Norms grow about exponentially with depth (Heimersheim and Turner, "Residual stream norms grow exponentially over the
//! forward pass", 2023: by 1.045 a layer in gpt2-xl). The rate here is e to the slope of an ordinary least-squares line
//! through the logarithms of the medians over tokens, one point a block; its 95 % interval is Student's t, which takes
//! the layers for independent, as they are not quite. Where the line fits badly, as through a knee, there is no rate.

use serde::{Deserialize, Serialize};

use super::order::sort_f64;
use super::{Coverage, layer_values, resid_post, sequences};
use crate::record::Run;

/// Norms of the stream after each block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Growth {
    /// L entries: median of resid_post norms over counted tokens; none without finite ones.
    pub median: Vec<Option<f64>>,
    /// L entries: quartiles of the same.
    pub quartiles: Vec<Option<(f64, f64)>>,
    /// L entries: mean over sequences of position 0's norm.
    pub first: Vec<Option<f64>>,
    /// The fitted line; none below three layers with a median above 0. Its factor is a rate where it [`Rate::fits`].
    pub rate: Option<Rate>,
    /// Values left out because they are NaN or infinite.
    pub non_finite: usize,
    /// What the statistics cover.
    pub coverage: Coverage,
}

/// Growth by a factor per layer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rate {
    /// By how much the norm is multiplied from one layer to the next.
    pub factor: f64,
    /// Ends of its 95 % confidence interval.
    pub interval: (f64, f64),
    /// What the fitted line says for layer 0 (the embedding); times `factor` for each layer after it.
    pub start: f64,
    /// Layers that it is fitted to.
    pub layers: usize,
    /// R²: the share of the logarithms' variance that the line explains; 1 where they do not vary.
    pub r_squared: f64,
}

impl Rate {
    /// R² below which a line does not describe the medians: of a knee, say, it misses both ends.
    const LEAST_R_SQUARED: f64 = 0.9;

    /// Whether the medians lie near enough to the line for its factor to be their rate of growth.
    pub fn fits(&self) -> bool {
        self.r_squared >= Rate::LEAST_R_SQUARED
    }

    /// What the fitted line says for a layer, as readers count.
    pub fn at(&self, layer: f64) -> f64 {
        self.start * self.factor.powf(layer)
    }
}

/// Medians, quartiles and the fitted rate of a run's stream norms.
pub fn growth(run: Run, skip_first: bool) -> Growth {
    let coverage = Coverage::of(run, skip_first);
    let mut non_finite = 0;
    let sorted: Vec<Vec<f64>> = (0..coverage.layers)
        .map(|layer| {
            let all: Vec<f32> = layer_values(run, resid_post, layer, skip_first).collect();
            let mut values: Vec<f64> = all.iter().copied().filter(|norm| norm.is_finite()).map(f64::from).collect();
            non_finite += all.len() - values.len();
            sort_f64(&mut values);
            values
        })
        .collect();
    let first = |layer| {
        let norms = sequences(run)
            .filter_map(|(_, sequence)| sequence.layer(&sequence.resid_post_norm, layer).first().copied())
            .filter(|norm| norm.is_finite());
        let norms: Vec<f64> = norms.map(f64::from).collect();
        (!norms.is_empty()).then(|| norms.iter().sum::<f64>() / norms.len() as f64)
    };
    let median: Vec<_> = sorted.iter().map(|values| quantile(values, 0.5)).collect();
    Growth {
        quartiles: sorted.iter().map(|values| quantile(values, 0.25).zip(quantile(values, 0.75))).collect(),
        first: (0..coverage.layers).map(first).collect(),
        rate: rate(&median),
        median,
        non_finite,
        coverage,
    }
}

/// The quantile of sorted values, between neighbours by straight lines.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let at = share * sorted.len().checked_sub(1)? as f64;
    let (low, high) = (sorted.get(at.floor() as usize)?, sorted.get(at.ceil() as usize)?);
    Some(low + (high - low) * at.fract())
}

fn rate(median: &[Option<f64>]) -> Option<Rate> {
    let points: Vec<(f64, f64)> = median
        .iter()
        .enumerate()
        .filter_map(|(layer, median)| Some((layer as f64 + 1.0, median.filter(|median| *median > 0.0)?.ln())))
        .collect();
    let n = points.len() as f64;
    if points.len() < 3 {
        return None;
    }
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let slope = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>() / spread;
    let start = y - slope * x;
    let residue: f64 = points.iter().map(|point| (point.1 - start - slope * point.0).powi(2)).sum();
    let half = student(points.len() - 2) * (residue / (n - 2.0) / spread).sqrt();
    let variance: f64 = points.iter().map(|point| (point.1 - y).powi(2)).sum();
    // What rounding leaves of equal logarithms is no variance.
    let r_squared = if variance <= f64::EPSILON * y.abs().max(1.0) { 1.0 } else { 1.0 - residue / variance };
    Some(Rate {
        factor: slope.exp(),
        interval: ((slope - half).exp(), (slope + half).exp()),
        start: start.exp(),
        layers: points.len(),
        r_squared,
    })
}

/// The 97.5 % quantile of Student's t: from tables for few degrees of freedom, then by Cornish and Fisher's expansion.
fn student(freedom: usize) -> f64 {
    const FEW: [f64; 5] = [12.706, 4.303, 3.182, 2.776, 2.571];
    const Z: f64 = 1.959_964;
    let n = freedom.max(1) as f64;
    let terms = [
        (Z.powi(3) + Z) / 4.0 / n,
        (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / 96.0 / n.powi(2),
        (3.0 * Z.powi(7) + 19.0 * Z.powi(5) + 17.0 * Z.powi(3) - 15.0 * Z) / 384.0 / n.powi(3),
    ];
    FEW.get(freedom.max(1) - 1).copied().unwrap_or(Z + terms.iter().sum::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sequence;

    #[test]
    fn student_agrees_with_the_tables() {
        for (freedom, table) in [(1, 12.706), (6, 2.447), (10, 2.228), (30, 2.042), (120, 1.980)] {
            let found = student(freedom);
            assert!((found - table).abs() < 2e-3, "growth.rs: t(0.975, {freedom}) is {table}, not {found}");
        }
    }

    #[test]
    fn an_exponential_stream_has_its_rate_and_no_doubt() {
        let layers = 8;
        let sequence = Sequence {
            ids: vec![0, 1, 2],
            attn_norm: vec![1.0; 3 * layers],
            // Position 0 is left out, the median of the other two grows by 1.5.
            resid_post_norm: (0..layers)
                .flat_map(|layer| {
                    let norm = 10.0 * 1.5f32.powi(layer as i32 + 1);
                    [1e6, norm * 0.5, norm * 1.5]
                })
                .collect(),
            ..Sequence::default()
        };
        let growth = growth(crate::Trace { sequences: vec![sequence], ..Default::default() }.run(), true);
        let rate = growth.rate.unwrap();
        assert!((rate.factor - 1.5).abs() < 1e-5 && (rate.start - 10.0).abs() < 1e-3, "growth.rs: {rate:?}");
        assert!((rate.interval.1 - rate.interval.0).abs() < 1e-4, "growth.rs: {rate:?}");
        assert_eq!(growth.first[0], Some(1e6));
        assert_eq!(growth.non_finite, 0);
    }

    #[test]
    fn a_noisy_slope_has_its_interval() {
        // By hand: the residues 0.04, 0.08, -0.28, 0.16 and 0 have squares of 0.112 in sum, the layers of 10, so the slope of
        // 0.26 has a standard error of sqrt(0.112 / 3 / 10).
        let median: Vec<_> = [1.0f64, 1.3, 1.2, 1.9, 2.0].iter().map(|log| Some(log.exp())).collect();
        let rate = rate(&median).unwrap();
        let half = 3.182 * (0.112f64 / 30.0).sqrt();
        assert!((rate.factor.ln() - 0.26).abs() < 1e-9, "growth.rs: {rate:?}");
        assert!((rate.interval.0.ln() - (0.26 - half)).abs() < 1e-6, "growth.rs: {rate:?}");
        // The logarithms' squares about their mean of 1.48 add up to 0.788.
        assert!((rate.r_squared - (1.0 - 0.112 / 0.788)).abs() < 1e-9 && !rate.fits(), "growth.rs: {rate:?}");
    }

    #[test]
    fn a_knee_has_no_rate_and_layers_without_a_median_are_not_counted() {
        let of = |median: &[f64]| rate(&median.iter().map(|median| Some(*median)).collect::<Vec<_>>()).unwrap();
        let knee = of(&[1.4, 42.7, 43.0, 43.5, 44.0, 44.2, 44.3, 44.5]);
        assert!(!knee.fits(), "growth.rs: a knee fits: {knee:?}");
        let holes = of(&[0.0, f64::NAN, 2.0, 4.0, 8.0, 16.0]);
        assert!(holes.layers == 4 && holes.fits() && (holes.factor - 2.0).abs() < 1e-9, "growth.rs: {holes:?}");
        let shrinking = of(&[16.0, 8.0, 4.0]);
        assert!(shrinking.fits() && (shrinking.factor - 0.5).abs() < 1e-9, "growth.rs: {shrinking:?}");
        let level = of(&[7.3; 5]);
        assert!(level.fits() && (level.factor - 1.0).abs() < 1e-9, "growth.rs: {level:?}");
    }
}
