//! What is read from the scores of a whole vocabulary: their largest, the sum of their powers, who is above whom. Once for
//! every row of a logit lens, and so in vectors. Nothing here is inlined into callers: those are compiled for size, and it
//! would be, too.

use crate::lanes::F32x4;
use crate::lanes::sums;

/// The largest of some numbers; minus infinity where there are none.
#[inline(never)]
pub fn largest(scores: &[f32]) -> f32 {
    largest_of(scores)
}

#[inline(always)]
fn largest_of(scores: &[f32]) -> f32 {
    let (fours, rest) = scores.as_chunks::<4>();
    let (pairs, last) = fours.as_chunks::<4>();
    let mut all = [F32x4::splat(f32::NEG_INFINITY); 4];
    for four in pairs {
        for (all, four) in all.iter_mut().zip(four) {
            *all = all.max(F32x4::from(*four));
        }
    }
    let all = all.into_iter().chain(last.iter().map(|four| F32x4::from(*four)));
    rest.iter().copied().fold(all.map(F32x4::largest).fold(f32::NEG_INFINITY, f32::max), f32::max)
}

/// The sum of e^(score - at), for an `at` that no score is far above. Powers in F32, their sum in F64.
#[inline(never)]
pub fn sum_of_powers(scores: &[f32], at: f32) -> f64 {
    /// Numbers whose powers are made at a time, and stay in the first-level cache until they are added up.
    const AT_A_TIME: usize = 256;
    let at = F32x4::splat(at);
    let mut powers = [[0.0; 4]; AT_A_TIME / 4];
    let mut total = 0.0;
    for scores in scores.chunks(AT_A_TIME) {
        let (fours, rest) = scores.as_chunks::<4>();
        for (power, four) in powers.iter_mut().zip(fours) {
            *power = (F32x4::from(*four) - at).exp().to_array();
        }
        total += sums::sum(powers[..fours.len()].as_flattened());
        for score in rest {
            total += f64::from((F32x4::splat(*score) - at).exp().to_array()[0]);
        }
    }
    total
}

/// How many numbers are above this one.
#[inline(never)]
pub fn count_above(scores: &[f32], than: f32) -> usize {
    scores.iter().map(|score| u32::from(*score > than)).sum::<u32>() as usize
}

/// The first number from place `from` on that is above this one, by its place.
fn first_above(scores: &[f32], from: usize, than: f32) -> Option<usize> {
    /// Numbers that are looked at together.
    const AT_A_TIME: usize = 64;
    let mut at = from;
    for scores in scores.get(from..)?.chunks(AT_A_TIME) {
        if largest_of(scores) > than {
            return scores.iter().position(|score| *score > than).map(|place| at + place);
        }
        at += scores.len();
    }
    None
}

/// The places of the `k` largest of some scores, the largest first; of equals the one that comes first.
#[inline(never)]
pub fn most_of(scores: &[f32], k: usize) -> Vec<u32> {
    let mut places: Vec<u32> = Vec::with_capacity(k.min(scores.len()) + 1);
    let score = |place: u32| scores.get(place as usize).copied().unwrap_or(f32::NEG_INFINITY);
    let mut next = 0;
    while next < scores.len() && k > 0 {
        let least = places.last().filter(|_| places.len() == k).map(|&place| score(place));
        let found = match least {
            Some(least) => first_above(scores, next, least),
            None => Some(next),
        };
        let Some(place) = found else { break };
        let at = places.partition_point(|&kept| score(kept).total_cmp(&score(place as u32)).is_ge());
        places.insert(at, place as u32);
        places.truncate(k);
        next = place + 1;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equal_their_definitions(
            scores in proptest::collection::vec((-400i32..400).prop_map(|tenths| tenths as f32 / 10.0), 0..300),
            k in 0usize..7, than in -45f32..45.0,
        ) {
            let largest_of = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            prop_assert_eq!(largest(&scores), largest_of, "scores.rs: largest of {:?}", &scores);
            let at = largest_of.max(0.0);
            let plain: f64 = scores.iter().map(|score| (f64::from(*score) - f64::from(at)).exp()).sum();
            let found = sum_of_powers(&scores, at);
            // Two units in the last place of F32, and the rounding of a difference of up to 80.
            prop_assert!((found - plain).abs() <= 5e-6 * plain, "scores.rs: sum of powers {found}, not {plain}");
            prop_assert_eq!(count_above(&scores, than), scores.iter().filter(|score| **score > than).count());
            let mut places: Vec<u32> = (0..scores.len() as u32).collect();
            places.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]));
            places.truncate(k);
            prop_assert_eq!(most_of(&scores, k), places, "scores.rs: the {} largest of {:?}", k, &scores);
        }
    }
}
