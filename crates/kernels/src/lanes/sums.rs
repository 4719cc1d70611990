//! Sums over a row, in F64: a handful of GPT-2's coordinates dwarf all others, and F32 would lose those.

use super::F32x4;
use super::vector::F64x2;

/// The sum of a row.
pub fn sum(row: &[f32]) -> f64 {
    sums([row, row], |[v, _]| v, |[v, _]| v)
}

/// The sum of (v - center)².
pub fn squares_about(row: &[f32], center: f64) -> f64 {
    let at = F64x2::splat(center);
    sums([row, row], |[v, _]| (v - at) * (v - at), |[v, _]| (v - center) * (v - center))
}

/// The sum of v².
pub fn squares(row: &[f32]) -> f64 {
    sums([row, row], |[v, _]| v * v, |[v, _]| v * v)
}

/// The sum of products of two rows of one length.
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    sums([a, b], |[a, b]| a * b, |[a, b]| a * b)
}

/// Adds up what the two functions, which are the same one, make of pairs of numbers.
#[inline(always)]
fn sums(rows: [&[f32]; 2], of_two: impl Fn([F64x2; 2]) -> F64x2, of_one: impl Fn([f64; 2]) -> f64) -> f64 {
    let [(a, a_rest), (b, b_rest)] = rows.map(|row| row.as_chunks::<4>());
    let mut sums = [F64x2::splat(0.0); 2];
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (F64x2::widen(F32x4::from(*a)), F64x2::widen(F32x4::from(*b)));
        sums = [sums[0] + of_two([a[0], b[0]]), sums[1] + of_two([a[1], b[1]])];
    }
    let rest = a_rest.iter().zip(b_rest).map(|(&a, &b)| of_one([f64::from(a), f64::from(b)])).sum::<f64>();
    (sums[0] + sums[1]).total() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equal_plain_sums(pairs in proptest::collection::vec((-1e3f32..1e3, -1e3f32..1e3), 0..50), center in -9f64..9.0) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let wide: Vec<f64> = a.iter().map(|&v| f64::from(v)).collect();
            let products: f64 = wide.iter().zip(&b).map(|(a, &b)| a * f64::from(b)).sum();
            let cases = [
                ("sum", sum(&a), wide.iter().sum()),
                ("squares", squares(&a), wide.iter().map(|v| v * v).sum()),
                ("squares_about", squares_about(&a, center), wide.iter().map(|v| (v - center).powi(2)).sum()),
                ("dot", dot(&a, &b), products),
            ];
            for (name, found, expected) in cases {
                prop_assert!((found - expected).abs() <= 1e-9 * (1e6 + expected.abs()), "lanes/sums.rs: {name} is {found}, not {expected}");
            }
        }
    }
}
