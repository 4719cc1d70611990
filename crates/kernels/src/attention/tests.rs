//! Attention against its definition in F64, whole and in pieces.

use super::*;
use proptest::prelude::*;

/// Scores of up to 20 products in [-1, 1], their exponentials, and a sum of up to 40 weighted values.
const TOLERANCE: f64 = 5e-6;

fn numbers(count: usize, seed: u64) -> Vec<f32> {
    (0..count as u64)
        .map(|i| ((i.wrapping_mul(2_654_435_761) ^ seed.wrapping_mul(i + 7)) % 2001) as f32 / 1000.0 - 1.0)
        .collect()
}

/// Heads' outputs and weights of a whole sequence.
fn plain(qkv: &[f32], t: usize, heads: &Heads) -> (Vec<f64>, Vec<f64>) {
    let (count, width) = (heads.count, heads.width);
    let at = |token: usize, part: usize, head: usize, place: usize| {
        f64::from(qkv[token * 3 * count * width + (part * count + head) * width + place])
    };
    let (mut z, mut patterns) = (vec![0.0; t * count * width], vec![0.0; count * t * t]);
    for head in 0..count {
        for query in 0..t {
            let score = |key| (0..width).map(|place| at(query, 0, head, place) * at(key, 1, head, place)).sum::<f64>();
            let powers: Vec<f64> = (0..=query).map(|key| (score(key) * heads.scale).exp()).collect();
            let total: f64 = powers.iter().sum();
            for (key, power) in powers.iter().enumerate() {
                patterns[(head * t + query) * t + key] = power / total;
                for place in 0..width {
                    z[(query * count + head) * width + place] += power / total * at(key, 2, head, place);
                }
            }
        }
    }
    (z, patterns)
}

fn tensor(values: &[f32], columns: usize) -> Tensor {
    Tensor::from_slice(values, (values.len() / columns, columns), &Device::Cpu).unwrap()
}

proptest! {
    #[test]
    fn equals_the_definition_whole_and_in_pieces(
        t in 1usize..40, count in 1usize..4, width in 1usize..20,
        cuts in proptest::collection::vec(0usize..40, 0..3), seed in any::<u64>(),
    ) {
        let heads = Heads { layer: 2, count, width, scale: 0.3 };
        let columns = 3 * count * width;
        let qkv = numbers(t * columns, seed);
        let (expected, expected_patterns) = plain(&qkv, t, &heads);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % t).chain([0, t]).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let kv_cache = RefCell::new(KvCache::default());
        // Another sequence, and this one with another end, go before: neither may show.
        let other = [Segment { slot: 1, past: 0, rows: 1 }, Segment { slot: 7, past: 0, rows: t }];
        attend(&tensor(&numbers((t + 1) * columns, seed ^ 3), columns), &kv_cache, &heads, &other, None).unwrap();
        let mut patterns = Vec::new();
        let mut z = Vec::new();
        for cut in cuts.windows(2) {
            let segment = Segment { slot: 7, past: cut[0], rows: cut[1] - cut[0] };
            let piece = tensor(&qkv[cut[0] * columns..cut[1] * columns], columns);
            let out = attend(&piece, &kv_cache, &heads, &[segment], Some(&mut patterns)).unwrap();
            z.extend(out.flatten_all().unwrap().to_vec1::<f32>().unwrap());
        }
        for (place, (found, expected)) in z.iter().zip(&expected).enumerate() {
            prop_assert!((f64::from(*found) - expected).abs() < TOLERANCE, "attention: value {place} is {found}, not {expected}");
        }
        for (cut, pattern) in cuts.windows(2).zip(&patterns) {
            prop_assert_eq!(pattern.dims(), [count, cut[1] - cut[0], cut[1]]);
            let pattern = pattern.to_vec3::<f32>().unwrap();
            for (head, row, key) in (0..count).flat_map(|h| (cut[0]..cut[1]).flat_map(move |row| (0..cut[1]).map(move |key| (h, row, key)))) {
                let (found, expected) = (pattern[head][row - cut[0]][key], expected_patterns[(head * t + row) * t + key]);
                prop_assert!((f64::from(found) - expected).abs() < TOLERANCE, "attention: head {head}, query {row}, key {key}: {found}, not {expected}");
            }
        }
    }
}

#[test]
fn a_piece_without_what_goes_before_it_is_an_error() {
    let heads = Heads { layer: 0, count: 1, width: 2, scale: 1.0 };
    let kv_cache = RefCell::new(KvCache::default());
    let qkv = tensor(&[0.5; 6], 6);
    let late = [Segment { slot: 0, past: 3, rows: 1 }];
    let error = attend(&qkv, &kv_cache, &heads, &late, None).unwrap_err().to_string();
    assert!(error.contains("0 tokens are remembered of 3"), "attention/mod.rs: {error}");
    assert!(attend(&qkv, &kv_cache, &heads, &[], None).is_err(), "attention/mod.rs: a row that nobody owns");
    kv_cache.borrow_mut().forget(0..1, &[0]);
}
