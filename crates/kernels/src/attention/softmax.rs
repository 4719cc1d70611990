//! Scores to weights.

use crate::lanes::F32x4;

/// Scores, times `scale` (positive), to weights that add up to 1.
pub fn softmax(scores: &mut [f32], scale: f32) {
    let (fours, rest) = scores.as_chunks_mut::<4>();
    let mut largest = F32x4::splat(f32::NEG_INFINITY);
    for four in fours.iter() {
        largest = largest.max(F32x4::from(*four));
    }
    let largest = rest.iter().copied().fold(largest.largest(), f32::max) * scale;
    // e^(scale * v - largest); the sum of all.
    let (by, minus) = (F32x4::splat(scale), F32x4::splat(-largest));
    let mut sum = F32x4::splat(0.0);
    for four in fours.iter_mut() {
        let powers = F32x4::from(*four).mul_add(by, minus).exp();
        sum = sum + powers;
        *four = powers.to_array();
    }
    let mut total = sum.total();
    for value in rest.iter_mut() {
        [*value, ..] = F32x4::splat(*value).mul_add(by, minus).exp().to_array();
        total += *value;
    }
    let share = F32x4::splat(1.0 / total);
    for four in fours {
        *four = (F32x4::from(*four) * share).to_array();
    }
    for value in rest {
        *value /= total;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn weights_equal_the_definition(scores in proptest::collection::vec(-60f32..60.0, 1..40), scale in 0.01f32..2.0) {
            let powers: Vec<f64> = scores.iter().map(|&v| (f64::from(v) * f64::from(scale)).exp()).collect();
            let total: f64 = powers.iter().sum();
            let mut weights = scores.clone();
            softmax(&mut weights, scale);
            for (place, (weight, power)) in weights.iter().zip(&powers).enumerate() {
                // The rounding of scores near 120 shows in their exponentials.
                let error = (f64::from(*weight) - power / total).abs();
                prop_assert!(error < 2e-5, "softmax.rs: weight {place} of {scores:?} is off by {error}");
            }
        }
    }
}
