//! Nothing is lost between the embedding and the logits: what a probe sees adds up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests end by panicking, their helpers too")]

mod support;

use std::collections::HashMap;

use candle_core::{Result, Tensor};
use engine::model::{CapturePoint, Gpt2, Probe};
use support::Expected;
use support::memory::gpt2;

const FIXTURES: [&str; 3] =
    ["tests/fixtures/tiny-gpt2", "tests/fixtures/tiny-distil", "tests/fixtures/variants/odd-silu-bf16"];

/// One addition of two streams, which the model does itself: the very same rounding.
const ONE_ADDITION: f32 = 0.0;
/// Sums over layers in F64 against the model's own in F32: a rounding of 2^-24 per addition, at most nine of them,
/// relative to the largest coordinate (some are thousands of times the rest).
const ALL_ADDITIONS: f32 = 1e-6;
/// Heads summed one by one against one matrix product over all of them: D products in another order.
const PRODUCTS: f32 = 2e-6;
/// A softmax row of at most 64 weights, each rounded to 2^-24 of itself.
const ROW_SUM: f32 = 1e-6;
/// Attention weights against PyTorch's: exp magnifies the rounding of scores.
const PATTERN: f32 = 1e-5;
/// Logits against PyTorch's, relative to the largest: the whole model in another order of summation.
const LOGITS: f32 = 1e-5;

/// Keeps everything it is shown.
#[derive(Default)]
struct Collector(HashMap<CapturePoint, Tensor>, Vec<CapturePoint>);

impl Probe for Collector {
    fn see(&mut self, point: CapturePoint, value: &Tensor) -> Result<()> {
        self.1.push(point);
        self.0.insert(point, value.copy()?);
        Ok(())
    }
}

impl Collector {
    fn values(&self, point: CapturePoint) -> Vec<f32> {
        let tensor = self.0.get(&point).unwrap_or_else(|| panic!("gpt2.rs never shows {point:?}"));
        tensor.flatten_all().and_then(|flat| flat.to_vec1()).unwrap()
    }

    /// Values of some points, coordinate by coordinate, in F64.
    fn sum(&self, points: impl IntoIterator<Item = CapturePoint>) -> Vec<f32> {
        let mut total: Vec<f64> = Vec::new();
        for point in points {
            let values = self.values(point);
            total.resize(values.len(), 0.0);
            total.iter_mut().zip(&values).for_each(|(total, &value)| *total += f64::from(value));
        }
        total.into_iter().map(|value| value as f32).collect()
    }
}

/// Runs every sequence of every fixture.
fn each(see: impl Fn(&str, &Gpt2, &Collector, &support::ExpectedSequence)) {
    for folder in FIXTURES {
        let model = gpt2(folder);
        for (index, expected) in Expected::read(folder).sequences.iter().enumerate() {
            let mut seen = Collector::default();
            model.forward(&expected.ids, &mut seen).unwrap();
            see(&format!("{folder} sequence {index}"), &model, &seen, expected);
        }
    }
}

fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}: lengths");
    let largest = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs();
        assert!(
            error <= tolerance * largest,
            "{what}: value {place} is {found}, expected {expected}; off by {error}, the largest value is {largest}"
        );
    }
}

#[test]
fn every_contribution_is_added_and_nothing_else_is() {
    each(|what, model, seen, _| {
        let layers = model.blocks.len();
        for l in 0..layers {
            let what = |sum: &str| format!("gpt2.rs, Block::forward: {what}, block {l}: {sum}");
            let before = if l == 0 { CapturePoint::Embed } else { CapturePoint::ResidPost(l - 1) };
            let pre = seen.values(CapturePoint::ResidPre(l));
            assert_close(&what("the stream between blocks changed"), &pre, &seen.values(before), ONE_ADDITION);
            let mid = seen.values(CapturePoint::ResidMid(l));
            let sum = seen.sum([CapturePoint::ResidPre(l), CapturePoint::AttnOut(l)]);
            assert_close(&what("resid_pre + attn_out is not resid_mid"), &mid, &sum, ONE_ADDITION);
            let post = seen.values(CapturePoint::ResidPost(l));
            let sum = seen.sum([CapturePoint::ResidMid(l), CapturePoint::MlpOut(l)]);
            assert_close(&what("resid_mid + mlp_out is not resid_post"), &post, &sum, ONE_ADDITION);
        }
        let contributions = (0..layers).flat_map(|l| [CapturePoint::AttnOut(l), CapturePoint::MlpOut(l)]);
        let sum = seen.sum([CapturePoint::Embed].into_iter().chain(contributions));
        let last = seen.values(CapturePoint::ResidPost(layers - 1));
        assert_close(&format!("{what}: embed + all contributions is not the last stream"), &last, &sum, ALL_ADDITIONS);
    });
}

#[test]
fn heads_and_the_bias_make_attn_out() {
    each(|what, model, seen, expected| {
        let (t, d) = (expected.ids.len(), model.config.n_embd);
        for (l, block) in model.blocks.iter().enumerate() {
            let bias: Vec<f32> = block.attention_bias().to_vec1().unwrap();
            let heads = seen.values(CapturePoint::HeadOut(l));
            assert_eq!(heads.len(), model.config.n_head * t * d, "{what}: head_out of block {l} is not [H, T, D]");
            let mut sum = bias.repeat(t);
            for head in heads.chunks(t * d) {
                sum.iter_mut().zip(head).for_each(|(sum, value)| *sum += value);
            }
            let what = format!("linear.rs, forward_by_group: {what}, block {l}: heads + bias is not attn_out");
            assert_close(&what, &sum, &seen.values(CapturePoint::AttnOut(l)), PRODUCTS);
        }
    });
}

#[test]
fn attention_weights_are_causal_and_those_of_the_reference() {
    each(|what, model, seen, expected| {
        let t = expected.ids.len();
        for l in 0..model.blocks.len() {
            let pattern = seen.values(CapturePoint::Pattern(l));
            assert_eq!(pattern.len(), model.config.n_head * t * t, "{what}: pattern of block {l} is not [H, T, T]");
            for (index, row) in pattern.chunks(t).enumerate() {
                let (head, query) = (index / t, index % t);
                let at = format!("attention: {what}, block {l}, head {head}, query {query}");
                let sum: f32 = row.iter().sum();
                assert!((sum - 1.0).abs() <= ROW_SUM, "{at}: weights sum to {sum}");
                assert!(row.iter().all(|weight| (0.0..=1.0).contains(weight)), "{at}: a weight outside 0..1: {row:?}");
                assert!(row[query + 1..].iter().all(|&weight| weight == 0.0), "{at}: the future is seen: {row:?}");
            }
        }
        if let Some(reference) = &expected.attention_last_layer_head0 {
            let pattern = seen.values(CapturePoint::Pattern(model.blocks.len() - 1));
            assert_close(&format!("{what}: last pattern, head 0"), &pattern[..t * t], &reference.concat(), PATTERN);
        }
    });
}

#[test]
fn logits_are_those_of_the_reference() {
    each(|what, model, seen, expected| {
        let normed = seen.0.get(&CapturePoint::Final).unwrap_or_else(|| panic!("{what}: Final is never shown"));
        assert_eq!(normed.dims(), [expected.ids.len(), model.config.n_embd], "{what}: Final is not [T, D]");
        let logits = seen.values(CapturePoint::Logits);
        let again = model.unembedding.logits(normed).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(logits, again, "{what}: Logits are not the unembedding of Final");
        let reference = expected.final_logits_last.as_ref().expect("fixtures list the last logits");
        let last = &logits[logits.len() - model.config.vocab_size..];
        assert_close(&format!("{what}: logits of the last token"), last, reference, LOGITS);
    });
}

#[test]
fn every_point_is_shown_once_and_in_order() {
    each(|what, model, seen, _| {
        let block = |l| {
            use CapturePoint::{AttnOut, HeadOut, MlpOut, Pattern, ResidMid, ResidPost, ResidPre};
            [ResidPre(l), Pattern(l), HeadOut(l), AttnOut(l), ResidMid(l), MlpOut(l), ResidPost(l)]
        };
        let mut order = vec![CapturePoint::Embed];
        order.extend((0..model.blocks.len()).flat_map(block));
        order.extend([CapturePoint::Final, CapturePoint::Logits]);
        assert_eq!(seen.1, order, "gpt2.rs: {what}: points");
    });
}
