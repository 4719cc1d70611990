//! What a model's numbers say at their edges: who may be sampled, what is said where they overflow, and that many texts
//! cost what they are and give way to others in between.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests end by panicking, their helpers too")]

mod support;

use std::cell::Cell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use engine::run::patch::patch;
use engine::run::run_control::{NoControl, RunControl};
use engine::run::sample::sample;
use engine::run::streaming_model::StreamingModel;
use engine::run::texts::{RunOptions, from_ids, run};
use engine::{Code, Result};
use protocol::{PatchOptions, SampleOptions};
use support::memory::{Memory, entries, opened, safetensors};
use trace::summary::{Overflow, overflow};
use trace::{Ablation, AblationMode, AttributionOptions, Component, Head, Sampled, Sequence, TokenRef};

const CONFIG: &str =
    r#"{"model_type":"gpt2","vocab_size":50,"n_positions":16,"n_embd":8,"n_layer":4,"n_head":2,"n_inner":8}"#;

/// Words in the names of weights, each with what they are multiplied by.
type Factors = &'static [(&'static str, f32)];

/// A small model with random weights; those whose names hold a word are multiplied by a factor.
fn model(factors: Factors) -> StreamingModel {
    let mut list = entries(CONFIG);
    for (word, factor) in factors {
        for entry in list.iter_mut().filter(|entry| entry.name.contains(word)) {
            let scaled = entry.bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes) * factor);
            entry.bytes = scaled.flat_map(f32::to_le_bytes).collect();
        }
    }
    pollster::block_on(async {
        let loading = opened(Memory::model(CONFIG, safetensors(&list))).await.unwrap();
        let parts = loading.model.clone();
        loading.finish(&|_| {}).await.unwrap();
        drop(loading);
        std::rc::Rc::into_inner(parts).expect("the only holder")
    })
}

fn go(
    parts: &StreamingModel,
    texts: &[Vec<u32>],
    options: &RunOptions,
    control: &impl RunControl,
) -> Result<Vec<Sequence>> {
    let sequences = texts.iter().map(|ids| from_ids(None, ids.clone())).collect();
    pollster::block_on(run(parts, None, sequences, options, control, |_| {}))
}

fn sampled(parts: &StreamingModel, ids: &[u32], options: &SampleOptions) -> Result<Sampled> {
    pollster::block_on(sample(parts, None, from_ids(None, ids.to_vec()), options, &NoControl))
}

/// Hugging Face's `TemperatureLogitsWarper`, `TopKLogitsWarper` and `TopPLogitsWarper`, one after the other: the tokens that
/// are left with their probabilities.
fn warped(probs: &HashMap<u32, f64>, (temperature, k, p): (f64, Option<usize>, Option<f64>)) -> HashMap<u32, f64> {
    let normalised = |list: &mut Vec<(u32, f64)>| {
        let total: f64 = list.iter().map(|(_, prob)| prob).sum();
        list.iter_mut().for_each(|(_, prob)| *prob /= total);
    };
    let mut list: Vec<(u32, f64)> = probs.iter().map(|(&id, prob)| (id, prob.powf(1.0 / temperature))).collect();
    list.sort_by(|a, b| a.1.total_cmp(&b.1));
    let below = k.map_or(0, |k| list.len().saturating_sub(k));
    list.drain(..below);
    normalised(&mut list);
    if let Some(p) = p {
        // Rising: those whose sum with all below them is at most 1 - p go.
        let mut sum = 0.0;
        let goes = |(_, prob): &&(u32, f64)| {
            sum += prob;
            sum <= 1.0 - p
        };
        let gone = list.iter().take_while(goes).count().min(list.len() - 1);
        list.drain(..gone);
        normalised(&mut list);
    }
    list.into_iter().collect()
}

#[test]
fn top_k_and_top_p_leave_the_tokens_that_hugging_face_leaves_as_often() {
    const DRAWS: u32 = 2000;
    let parts = model(&[("wte", 4.0)]);
    let ids = [3, 1, 4];
    let next = go(&parts, &[ids.to_vec()], &RunOptions { next: 50, ..RunOptions::default() }, &NoControl).unwrap();
    let next = next[0].next.clone().unwrap();
    let probs: HashMap<u32, f64> =
        next.ids.iter().copied().zip(next.probs.iter().map(|prob| f64::from(*prob))).collect();
    assert_eq!(probs.len(), 50);
    for case in [
        (1.0, None, None),
        (1.0, Some(6), Some(0.4)),
        (1.0, Some(6), Some(0.9)),
        (2.0, Some(20), Some(0.5)),
        (0.5, Some(3), Some(0.99)),
        (1.5, Some(100), Some(0.7)),
        (1.0, Some(4), None),
        (1.0, None, Some(0.6)),
        (1.0, Some(5), Some(1.0)),
        (1.0, Some(1), Some(0.5)),
    ] {
        let (temperature, top_k, top_p) = case;
        let expected = warped(&probs, case);
        let mut counts: HashMap<u32, u32> = HashMap::new();
        for seed in 0..DRAWS {
            let options = SampleOptions { count: 1, temperature, top_k, top_p, seed };
            let found = sampled(&parts, &ids, &options).unwrap();
            *counts.entry(found.ids[0]).or_default() += 1;
            if seed == 7 {
                assert_eq!(sampled(&parts, &ids, &options).unwrap(), found, "sample.rs: one seed, two tokens");
                // The probability that is told is the model's own.
                assert!((f64::from(found.probs[0]) / probs[&found.ids[0]] - 1.0).abs() < 1e-4, "sample.rs: {found:?}");
            }
        }
        for (id, prob) in &expected {
            let share = f64::from(counts.get(id).copied().unwrap_or(0)) / f64::from(DRAWS);
            // Five standard deviations of a share of so many draws.
            let off = 5.0 * (prob * (1.0 - prob) / f64::from(DRAWS)).sqrt() + 1e-3;
            assert!((share - prob).abs() <= off, "sample.rs: {case:?}: {id} in {share} of draws, expected {prob}");
        }
        let strange: Vec<_> = counts.keys().filter(|id| !expected.contains_key(id)).collect();
        assert!(strange.is_empty(), "sample.rs: {case:?}: {strange:?} are drawn, and Hugging Face leaves {expected:?}");
    }
}

#[test]
fn a_model_that_overflows_says_so_and_predicts_nothing() {
    let (texts, all) =
        (vec![vec![3, 1, 4, 1, 5], vec![9, 2]], RunOptions { leads: true, ..RunOptions::new(true, 2, true) });
    let attribution = Some(AttributionOptions::default());
    // Finite weights, of two blocks, of the tables, and of the last norm: its logits alone overflow.
    let cases: [(Factors, Option<usize>); 4] = [
        (&[("h.2.mlp", 1e30)], Some(3)),
        (&[("h.1.attn", 1e30)], Some(2)),
        (&[("wte", f32::MAX), ("wpe", f32::MAX), ("ln_f", 1e3)], Some(0)),
        (&[("ln_f", 1e38), ("wte", 1e3)], None),
    ];
    for (factors, layer) in cases {
        let parts = model(factors);
        let options = RunOptions { attribution: attribution.clone(), ..all.clone() };
        let found = go(&parts, &texts, &options, &NoControl).unwrap();
        let (what, first) = (format!("{factors:?}"), overflow(&found));
        assert_eq!(first, layer.map(|layer| Overflow { layer }), "overflow.rs: {what}");
        for sequence in &found {
            let (t, lens) = (sequence.ids.len(), sequence.lens.as_ref().unwrap());
            let last = parts.config.n_layer * t;
            assert!(
                lens.true_rank[last..].iter().all(|rank| *rank == 0),
                "lens.rs: {what}: ranks {:?}",
                lens.true_rank
            );
            let probs = &lens.true_prob[last..last + t - 1];
            assert!(probs.iter().all(|prob| prob.is_nan()), "lens.rs: {what}: {probs:?}");
            let (next, leads) = (sequence.next.as_ref().unwrap(), sequence.leads.as_ref().unwrap());
            assert!(next.probs.iter().all(|prob| prob.is_nan()) && leads.prob.is_nan(), "lens.rs: {what}: {leads:?}");
            assert!(!sequence.attribution.as_ref().unwrap().logit.is_finite(), "attribution.rs: {what}");
        }
        let place = first.map_or_else(|| "in the logits".to_owned(), Overflow::place);
        for temperature in [0.0, 1.0] {
            for (top_k, top_p) in [(None, None), (Some(3), None), (Some(3), Some(0.5)), (None, Some(0.5))] {
                let options = SampleOptions { temperature, top_k, top_p, ..SampleOptions::default() };
                let error = sampled(&parts, &texts[0], &options).unwrap_err();
                assert_eq!(error.code, Code::NotFinite, "sample.rs: {what}: {error}");
                assert!(
                    error.message.contains("overflow") && error.message.contains(&place),
                    "sample.rs: {what}: {error}"
                );
            }
        }
        let (clean, corrupted) = (from_ids(None, vec![1, 2, 3]), from_ids(None, vec![1, 4, 3]));
        let chosen = PatchOptions { answer: Some(TokenRef::Id(5)), against: Some(TokenRef::Id(6)) };
        for options in [PatchOptions::default(), chosen] {
            let patched = patch(&parts, None, clean.clone(), corrupted.clone(), &options, &NoControl, |_| {});
            let error = pollster::block_on(patched).unwrap_err();
            assert!(error.code == Code::NotFinite && error.message.contains("overflow"), "patch.rs: {what}: {error}");
        }
    }
}

/// Logits from −1e37 to 1e37: their differences and quotients leave F32, the choice does not.
#[test]
fn extreme_logits_that_are_finite_are_sampled() {
    let parts = model(&[("ln_f.weight", 1e37)]);
    let next = go(&parts, &[vec![3, 1]], &RunOptions { next: 1, ..RunOptions::default() }, &NoControl).unwrap();
    let best = next[0].next.as_ref().unwrap().ids[0];
    for (temperature, top_p) in [(0.0, None), (1e-3, None), (1.0, Some(0.5)), (1e-2, Some(0.9)), (1e3, None)] {
        let options = SampleOptions { temperature, top_p, top_k: Some(9), ..SampleOptions::default() };
        let found = sampled(&parts, &[3, 1], &options).unwrap();
        assert_eq!((found.ids[0], found.probs[0]), (best, 1.0), "sample.rs: at temperature {temperature}");
    }
}

#[test]
fn where_both_texts_differ_alike_nothing_is_brought_back() {
    // Without attention the last token knows nothing of the others, and so both differences are one.
    let parts = model(&[("attn.c_proj", 0.0)]);
    let (clean, corrupted) = (from_ids(None, vec![1, 2, 3]), from_ids(None, vec![1, 4, 3]));
    let chosen = PatchOptions { answer: Some(TokenRef::Id(5)), against: Some(TokenRef::Id(6)) };
    let found = pollster::block_on(patch(&parts, None, clean, corrupted, &chosen, &NoControl, |_| {})).unwrap();
    assert_eq!(found.clean_difference, found.corrupted_difference);
    assert_eq!(found.recovered.len(), 4 * 3);
    assert!(found.recovered.iter().all(|part| part.is_nan()), "patch.rs: {:?}", found.recovered);
}

#[test]
fn what_changes_nothing_has_a_divergence_of_0() {
    let parts = model(&[("h.1.mlp.c_proj", 0.0)]);
    let ablate = vec![Ablation { layer: 1, part: Component::Mlp, head: None, how: AblationMode::Mean }];
    let found = go(&parts, &[vec![3, 1, 4]], &RunOptions { ablate, ..RunOptions::default() }, &NoControl).unwrap();
    let kl = found[0].kl.as_ref().unwrap();
    assert!(kl.iter().all(|kl| *kl >= 0.0 && *kl < 1e-6), "lens.rs: divergences {kl:?}");
}

/// Counts the breaths that are taken.
#[derive(Default)]
struct Breaths(Cell<usize>);

impl RunControl for Breaths {
    async fn yield_now(&self) -> Result<()> {
        self.0.set(self.0.get() + 1);
        Ok(())
    }
}

/// Not a measurement: what takes quadratic or cubic time takes minutes here, what is linear a second or few.
#[test]
fn eight_thousand_texts_take_linear_time_and_give_way() {
    const TEXTS: u32 = 8000;
    let parts = model(&[("wte", 1.0)]);
    let texts: Vec<Vec<u32>> = (0..TEXTS).map(|n| vec![n % 50, n / 50 % 50, n / 2500 % 50, 7]).collect();
    let ablate = vec![Ablation { layer: 2, part: Component::Head, head: Some(1), how: AblationMode::Mean }];
    let patterns = vec![Head { layer: 1, head: 0 }, Head { layer: 3, head: 1 }];
    for options in [
        RunOptions::new(false, 0, true),
        // Again, when all that fits is remembered.
        RunOptions::new(false, 0, true),
        RunOptions { patterns, leads: true, ..RunOptions::new(true, 1, false) },
        RunOptions { attribution: Some(AttributionOptions::default()), ..RunOptions::new(false, 0, false) },
        RunOptions { ablate, ..RunOptions::new(false, 0, false) },
    ] {
        let began = Instant::now();
        let breaths = Breaths::default();
        assert_eq!(go(&parts, &texts, &options, &breaths).unwrap().len(), texts.len());
        let (all, breaths) = (began.elapsed(), breaths.0.get());
        println!("{breaths} breaths in {all:?}");
        assert!(all < Duration::from_secs(120), "prefix_cache.rs, pass.rs: {options:?} took {all:?}");
        assert!(breaths >= texts.len(), "run.rs: {breaths} breaths in {} texts, {options:?}", texts.len());
    }
    assert!(
        parts.prefix_cache.borrow().bytes() <= 96 << 20,
        "prefix_cache.rs: {} bytes",
        parts.prefix_cache.borrow().bytes()
    );
}

#[test]
fn a_text_that_cannot_be_read_is_named_before_anything_is_computed() {
    let parts = model(&[("wte", 1.0)]);
    for (bad, code) in [(vec![1; 17], Code::TooLong), (vec![], Code::EmptyInput), (vec![1, 50], Code::TokenOutOfRange)]
    {
        let mut texts = vec![vec![1, 2]; 30];
        texts[28] = bad;
        let breaths = Breaths::default();
        let error = go(&parts, &texts, &RunOptions::default(), &breaths).unwrap_err();
        assert!(error.code == code && error.message.starts_with("text 29 of 30: "), "run.rs: {error}");
        assert_eq!(breaths.0.get(), 0, "run.rs: something was computed first");
        let error = go(&parts, &texts[28..29], &RunOptions::default(), &NoControl).unwrap_err();
        assert!(error.code == code && !error.message.starts_with("text"), "run.rs: {error}");
    }
}
