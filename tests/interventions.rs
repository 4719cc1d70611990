//! Patterns, the true token in the lens, attribution and ablation against Hugging Face transformers with hooks
//! (`tests/fixtures/make_interventions.py`), with one worker and with two batches in flight.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests end by panicking, their helpers too")]

mod support;

use engine::loading::cache::NoCache;
use engine::loading::open;
use engine::loading::source::folder::Folder;
use engine::pool::WorkerPool;
use engine::run::patch::patch;
use engine::run::run_control::NoControl;
use engine::run::sample::sample;
use engine::run::streaming_model::StreamingModel;
use engine::run::texts::{RunOptions, from_ids, run};
use engine::{Code, Result};
use protocol::{PatchOptions, SampleOptions};
use serde::Deserialize;
use support::{LOGPROB, RELATIVE, assert_drawable};
use trace::{Ablation, Attribution, AttributionOptions, Head, Sequence, TokenRef};

const FOLDERS: [&str; 2] = ["tests/fixtures/tiny-gpt2", "tests/fixtures/tiny-distil"];

/// Attention weights: exp magnifies the rounding of scores.
const PATTERN: f32 = 1e-5;
/// Parts of a logit, relative to the largest part: F32 streams with coordinates of 60 beside ones of 1.
const PART: f32 = 1e-4;
/// Divergences are differences of logarithms close to each other.
const DIVERGENCE: f32 = 1e-5;

#[derive(Deserialize)]
struct Expected {
    batch: Vec<Vec<u32>>,
    patterns: Vec<Vec<f32>>,
    attn_bias_norm: Vec<f32>,
    followers: Vec<Followers>,
    attribution: Vec<Explained>,
    ablation: Vec<Changed>,
    patching: Patched,
}

#[derive(Deserialize)]
struct Patched {
    clean: Vec<u32>,
    corrupted: Vec<u32>,
    answer: u32,
    against: u32,
    clean_difference: f32,
    corrupted_difference: f32,
    recovered: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Followers {
    prob: Vec<Vec<f32>>,
    rank: Vec<Vec<u32>>,
}

#[derive(Deserialize)]
struct Explained {
    position: usize,
    target: u32,
    against: Option<u32>,
    logit: f32,
    scale: f32,
    embed: f32,
    bias: f32,
    attn: Vec<f32>,
    mlp: Vec<f32>,
    heads: Vec<Vec<f32>>,
    attn_bias: Vec<f32>,
}

#[derive(Deserialize)]
struct Changed {
    ablate: Vec<Ablation>,
    sequences: Vec<ChangedSequence>,
}

#[derive(Deserialize)]
struct ChangedSequence {
    kl: Vec<f32>,
    attn_norm: Vec<Vec<f32>>,
    mlp_norm: Vec<Vec<f32>>,
    resid_post_norm: Vec<Vec<f32>>,
    next: Vec<(u32, f32)>,
}

fn expected(folder: &str) -> Expected {
    let text = std::fs::read(format!("{folder}/interventions.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn loaded(folder: &str) -> StreamingModel {
    pollster::block_on(async {
        let spawn = |config: &_, _: &_| WorkerPool::alone(config);
        let loading = open(Folder(folder.into()), None::<NoCache>, 4, spawn, &|_| {}).await.unwrap();
        let model = loading.model.clone();
        loading.finish(&|_| {}).await.unwrap();
        drop(loading);
        std::rc::Rc::into_inner(model).expect("the only holder")
    })
}

fn go(model: &StreamingModel, batch: &[Vec<u32>], options: &RunOptions) -> Result<Vec<Sequence>> {
    let sequences = batch.iter().map(|ids| from_ids(None, ids.clone())).collect();
    let done = pollster::block_on(run(model, None, sequences, options, &NoControl, |_| {}))?;
    assert_drawable(&model.config, &done);
    Ok(done)
}

fn assert_close(what: &str, found: &[f32], expected: &[f32], (relative, absolute): (f32, f32)) {
    assert_eq!(found.len(), expected.len(), "{what}: lengths");
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        let off = (found - expected).abs();
        assert!(off <= relative * expected.abs() + absolute, "{what}: value {place} is {found}, expected {expected}");
    }
}

fn each(see: impl Fn(&str, &StreamingModel, &Expected)) {
    for folder in FOLDERS {
        see(folder, &loaded(folder), &expected(folder));
    }
}

#[test]
fn patterns_are_the_references() {
    each(|folder, model, expected| {
        let (layers, heads) = (model.config.n_layer, model.config.n_head);
        let all = (0..layers).flat_map(|layer| (0..heads).map(move |head| Head { layer, head }));
        let options = RunOptions { patterns: all.collect(), ..RunOptions::new(true, 0, true) };
        let found = go(model, &expected.batch, &options).unwrap();
        let t = expected.batch[0].len();
        let patterns = found[0].patterns.as_deref().expect("interventions.rs: no patterns were given");
        assert_eq!(patterns.len(), layers * heads, "interventions.rs: one pattern for each head that is asked for");
        for pattern in patterns {
            let reference = &expected.patterns[pattern.layer][pattern.head * t * t..(pattern.head + 1) * t * t];
            let what = format!("{folder}, layer {} head {}", pattern.layer, pattern.head);
            assert_close(
                &format!("interventions.rs, see_patterns: {what}"),
                &pattern.weights,
                reference,
                (0.0, PATTERN),
            );
            let writes = pattern.writes.as_ref().expect("interventions.rs: what the head writes");
            assert_eq!((writes.ids.len(), writes.tokens.len()), (3 * t, 3 * t), "attribution.rs, writes: {what}");
            assert!(
                writes.logits.chunks(3).all(|top| top.is_sorted_by(|a, b| a >= b)),
                "writes are not in order: {what}"
            );
        }
        let bias = found[0].attn_bias_norm.as_deref().expect("with heads, the bias' norm");
        assert_close(&format!("pass.rs, bias_norms: {folder}"), bias, &expected.attn_bias_norm, (RELATIVE, 0.0));
    });
}

/// Parts of a head's output, unembedded, against the attribution of the same tokens: two ways to one number.
#[test]
fn what_a_head_writes_is_its_attribution() {
    each(|folder, model, expected| {
        let ids = &expected.batch[0];
        let head = Head { layer: 1, head: 2 };
        let options = RunOptions { patterns: vec![head], ..RunOptions::new(false, 0, true) };
        let found = go(model, &expected.batch[..1], &options).unwrap();
        let writes = found[0].patterns.as_ref().unwrap()[0].writes.clone().unwrap();
        for position in [0, 3, ids.len() - 1] {
            let (id, logit) = (writes.ids[3 * position], writes.logits[3 * position]);
            let of = AttributionOptions { target: Some(TokenRef::Id(id)), position: Some(position), against: None };
            let options = RunOptions { attribution: Some(of), ..RunOptions::new(false, 0, false) };
            let explained = go(model, &expected.batch[..1], &options).unwrap();
            let part = explained[0].attribution.as_ref().unwrap().heads[head.layer * model.config.n_head + head.head];
            assert!((part - logit).abs() <= 1e-4 * logit.abs().max(1.0), "{folder} at {position}: {part} and {logit}");
        }
    });
}

#[test]
fn the_lens_ranks_the_true_token_as_the_reference_does() {
    each(|folder, model, expected| {
        let options = RunOptions::new(false, 2, true);
        // Twice, and after a text that shares a beginning: what is remembered must not answer for another follower.
        let mut other = expected.batch[0].clone();
        other.truncate(5);
        other.push(1);
        go(model, &[other], &options).unwrap();
        for again in 0..2 {
            let found = go(model, &expected.batch, &options).unwrap();
            for (sequence, followers) in found.iter().zip(&expected.followers) {
                let t = sequence.ids.len();
                let lens = sequence.lens.as_ref().unwrap();
                let what = format!("lens.rs: {folder}, run {again}");
                for (row, (prob, rank)) in followers.prob.iter().zip(&followers.rank).enumerate() {
                    let cells = row * t..(row + 1) * t - 1;
                    assert_close(&what, &lens.true_prob[cells.clone()], prob, (LOGPROB, 1e-7));
                    assert_eq!(&lens.true_rank[cells], rank, "{what}: ranks in row {row}");
                    assert_eq!(lens.true_rank[(row + 1) * t - 1], 0, "{what}: nothing follows the last token");
                }
            }
        }
    });
}

/// The demo page asks for five; a model may know only three tokens.
#[test]
fn the_lens_lists_the_whole_vocabulary_where_more_is_asked_for() {
    each(|folder, model, expected| {
        let vocabulary = model.config.vocab_size;
        let options = RunOptions { next: 9999, ..RunOptions::new(false, vocabulary + 88, true) };
        for again in 0..2 {
            let found = go(model, &expected.batch, &options).unwrap();
            for sequence in &found {
                let cells = (model.config.n_layer + 1) * sequence.ids.len();
                let lens = sequence.lens.as_ref().expect("run.rs: no lens");
                assert_eq!(
                    lens.ids.len(),
                    cells * vocabulary,
                    "run.rs: {folder}, run {again}: predictions of the lens"
                );
                let sum: f32 = lens.probs[..vocabulary].iter().sum();
                assert!((sum - 1.0).abs() < 1e-4, "run.rs: {folder}: probabilities add up to {sum}");
                assert_eq!(sequence.next.as_ref().unwrap().ids.len(), vocabulary, "predict.rs: {folder}: candidates");
            }
        }
    });
}

/// The short way to the last column of the lens.
#[test]
fn a_prediction_leads_since_the_layer_the_lens_says() {
    each(|folder, model, expected| {
        let plain = go(model, &expected.batch, &RunOptions::new(false, 1, true)).unwrap();
        let options = RunOptions { leads: true, ..RunOptions::new(false, 0, false) };
        // The second time all but the last token is remembered.
        for again in 0..2 {
            let found = go(model, &expected.batch, &options).unwrap();
            for (plain, found) in plain.iter().zip(&found) {
                let leads = found.leads.as_ref().expect("interventions.rs, find_leads: none");
                let (t, next) = (plain.ids.len(), plain.next.as_ref().unwrap());
                let best: Vec<u32> = plain.lens.as_ref().unwrap().ids.chunks(t).map(|row| row[t - 1]).collect();
                let what = format!("lens.rs, leads: {folder}, run {again}: {leads:?}, the lens says {best:?}");
                assert!(leads.id == next.ids[0] && (leads.prob - next.probs[0]).abs() < 1e-6, "{what}");
                assert_eq!(leads.first, best.iter().position(|id| *id == leads.id).unwrap(), "{what}");
                let rest = &best[leads.settled..];
                assert!(!rest.is_empty() && rest.iter().all(|id| *id == leads.id), "{what}");
                assert!(leads.settled == 0 || best[leads.settled - 1] != leads.id, "{what}");
            }
        }
    });
}

#[test]
fn attribution_is_the_references_and_adds_up() {
    each(|folder, model, expected| {
        for (index, reference) in expected.attribution.iter().enumerate() {
            let of = AttributionOptions {
                // The first is the model's own prediction.
                target: (index > 0).then_some(TokenRef::Id(reference.target)),
                against: reference.against.map(TokenRef::Id),
                position: Some(reference.position),
            };
            let options = RunOptions { attribution: Some(of), ..RunOptions::new(false, 0, false) };
            // The second time most of the text is remembered, and only the explained token goes through the blocks.
            for again in 0..2 {
                let found = go(model, &expected.batch[..1], &options).unwrap();
                let found: &Attribution =
                    found[0].attribution.as_ref().expect("interventions.rs, explain: no attribution");
                let what = |part: &str| format!("attribution.rs: {folder}, case {index}, run {again}: {part}");
                assert_eq!((found.position, found.target), (reference.position, reference.target), "{}", what("token"));
                let largest = reference.attn.iter().chain(&reference.mlp).fold(1f32, |most, part| most.max(part.abs()));
                let tolerance = (0.0, PART * largest);
                assert_close(&what("scale"), &[found.scale], &[reference.scale], (RELATIVE, 0.0));
                assert_close(&what("embed"), &[found.embed], &[reference.embed], tolerance);
                assert_close(&what("bias"), &[found.bias], &[reference.bias], tolerance);
                assert_close(&what("attn"), &found.attn, &reference.attn, tolerance);
                assert_close(&what("mlp"), &found.mlp, &reference.mlp, tolerance);
                assert_close(&what("heads"), &found.heads, &reference.heads.concat(), tolerance);
                assert_close(&what("attn_bias"), &found.attn_bias, &reference.attn_bias, tolerance);
                assert_close(&what("logit"), &[found.logit], &[reference.logit], (0.0, PART * largest));
                let sum = found.sum() as f32;
                assert_close(
                    &what("the parts do not add up to the logit"),
                    &[sum],
                    &[found.logit],
                    (0.0, PART * largest),
                );
            }
        }
    });
}

#[test]
fn ablation_is_the_references() {
    each(|folder, model, expected| {
        for (index, case) in expected.ablation.iter().enumerate() {
            let options = RunOptions { ablate: case.ablate.clone(), ..RunOptions::new(true, 1, true) };
            let plain = go(model, &expected.batch, &RunOptions::new(true, 1, true)).unwrap();
            let found = go(model, &expected.batch, &options).unwrap();
            for (number, (found, reference)) in found.iter().zip(&case.sequences).enumerate() {
                let what = |part: &str| format!("hooks.rs: {folder}, ablation {index}, text {number}: {part}");
                // Where everything is switched off, rounding is all that is left.
                let tolerance = (RELATIVE, 1e-6);
                assert_close(&what("attn_norm"), &found.attn_norm, &reference.attn_norm.concat(), tolerance);
                assert_close(&what("mlp_norm"), &found.mlp_norm, &reference.mlp_norm.concat(), tolerance);
                assert_close(
                    &what("resid_post"),
                    &found.resid_post_norm,
                    &reference.resid_post_norm.concat(),
                    tolerance,
                );
                let kl = found.kl.as_deref().expect("predict.rs, compare: no divergences");
                assert_close(&what("kl"), kl, &reference.kl, (LOGPROB, DIVERGENCE));
                let next = found.next.as_ref().unwrap();
                let (ids, probs): (Vec<u32>, Vec<f32>) = reference.next.iter().copied().unzip();
                assert_eq!(next.ids, ids, "{}", what("next"));
                assert_close(&what("next"), &next.probs, &probs, (LOGPROB, 0.0));
                let baseline = found.baseline.as_deref().expect("run.rs: the unchanged run stands beside");
                support::same::assert_same(
                    &what("baseline"),
                    std::slice::from_ref(baseline),
                    &plain[number..=number],
                    RELATIVE,
                );
            }
            // Nothing of it is remembered.
            let after = go(model, &expected.batch, &RunOptions::new(true, 1, true)).unwrap();
            support::same::assert_same("prefix_cache.rs: after an ablation", &after, &plain, RELATIVE);
        }
    });
}

#[test]
fn patching_is_the_references() {
    each(|folder, model, expected| {
        let reference = &expected.patching;
        let options = PatchOptions {
            answer: Some(TokenRef::Id(reference.answer)),
            against: Some(TokenRef::Id(reference.against)),
        };
        let [clean, corrupted] = [&reference.clean, &reference.corrupted].map(|ids| from_ids(None, ids.clone()));
        let patched = |options: PatchOptions| {
            pollster::block_on(patch(model, None, clean.clone(), corrupted.clone(), &options, &NoControl, |_| {}))
        };
        let refused = |clean: Vec<u32>, corrupted: Vec<u32>| {
            let (clean, corrupted) = (from_ids(None, clean), from_ids(None, corrupted));
            let options = PatchOptions::default();
            pollster::block_on(patch(model, None, clean, corrupted, &options, &NoControl, |_| {})).unwrap_err()
        };
        let seen = std::cell::Cell::new(0);
        let found =
            pollster::block_on(patch(model, None, clean.clone(), corrupted.clone(), &options, &NoControl, |part| {
                seen.set(seen.get() + 1);
                assert_eq!(part.recovered.len(), seen.get() * reference.clean.len(), "patch.rs: a layer at a time");
            }));
        let found = found.unwrap();
        let what = |part: &str| format!("patch.rs: {folder}: {part}");
        let differences = [found.clean_difference, found.corrupted_difference];
        assert_close(
            &what("differences"),
            &differences,
            &[reference.clean_difference, reference.corrupted_difference],
            (0.0, PART),
        );
        // A tenth of a logit's difference between logits of several, in F32: the rounding of both shows.
        assert_close(&what("recovered"), &found.recovered, &reference.recovered.concat(), (0.0, 1e-3));
        let error = refused(vec![1, 2], vec![1, 2, 3]);
        assert!(error.code == Code::BadArgument && error.message.contains("2 tokens"), "patch.rs: {error}");
        let error = refused(vec![1, 2], vec![1, 2]);
        assert!(error.code == Code::BadArgument && error.message.contains("are the same"), "patch.rs: {error}");
        let both = PatchOptions { answer: Some(TokenRef::Id(9)), against: Some(TokenRef::Id(9)) };
        let error = patched(both).unwrap_err();
        assert!(error.code == Code::BadArgument && error.message.contains("Choose two"), "patch.rs: {error}");
        // Random weights predict one token after both: the tokens that move furthest apart, as the fixture chose them.
        let chosen = patched(PatchOptions::default()).unwrap();
        assert_eq!(
            (chosen.answer, chosen.against),
            (reference.answer, reference.against),
            "patch.rs: answers: {folder}"
        );
    });
}

#[test]
fn sampling_keeps_to_its_options() {
    let model = loaded(FOLDERS[0]);
    let start = || from_ids(None, vec![5, 6, 7]);
    let sampled = |options: SampleOptions| pollster::block_on(sample(&model, None, start(), &options, &NoControl));
    let greedy = sampled(SampleOptions { count: 6, temperature: 0.0, ..SampleOptions::default() }).unwrap();
    // By hand: the most probable token of a trace, appended, and again.
    let mut ids = vec![5, 6, 7];
    for (step, (&id, &prob)) in greedy.ids.iter().zip(&greedy.probs).enumerate() {
        let next = go(&model, &[ids.clone()], &RunOptions::default()).unwrap()[0].next.clone().unwrap();
        assert_eq!(id, next.ids[0], "sample.rs: token {step} at temperature 0");
        assert!((prob - next.probs[0]).abs() <= 1e-6, "sample.rs: its probability {prob}, {}", next.probs[0]);
        ids.push(id);
    }
    assert_eq!(greedy.tokens.len(), 6, "sample.rs: {greedy:?}");
    let with = |seed| SampleOptions { count: 40, temperature: 3.0, top_k: Some(3), seed, ..SampleOptions::default() };
    let (one, two) = (sampled(with(1)).unwrap(), sampled(with(2)).unwrap());
    assert_eq!(one.ids, sampled(with(1)).unwrap().ids, "sample.rs: one seed, one text");
    assert_ne!(one.ids, two.ids, "sample.rs: the seed is not used");
    let top = go(&model, &[vec![5, 6, 7]], &RunOptions { next: 3, ..RunOptions::default() }).unwrap();
    let top = top[0].next.clone().unwrap();
    assert_eq!(top.ids.len(), 3, "predict.rs: as many candidates as were asked for");
    for seed in 0..20 {
        let first = sampled(SampleOptions { count: 1, ..with(seed) }).unwrap().ids[0];
        assert!(top.ids.contains(&first), "sample.rs: {first} is none of the three most probable, {:?}", top.ids);
        let narrow = SampleOptions { top_k: None, top_p: Some(1e-6), temperature: 1.0, count: 1, seed };
        assert_eq!(sampled(narrow).unwrap().ids[0], top.ids[0], "sample.rs: a narrow top-p is the most probable token");
    }
    for (options, word) in [
        (SampleOptions { temperature: -1.0, ..SampleOptions::default() }, "temperature"),
        (SampleOptions { temperature: f64::NAN, ..SampleOptions::default() }, "temperature"),
        (SampleOptions { top_k: Some(0), ..SampleOptions::default() }, "topK"),
        (SampleOptions { top_p: Some(1.5), ..SampleOptions::default() }, "topP"),
    ] {
        let error = sampled(options).unwrap_err();
        assert!(error.code == Code::BadArgument && error.message.contains(word), "sample.rs: {error}");
    }
    let error = sampled(SampleOptions { count: 62, ..SampleOptions::default() }).unwrap_err();
    assert!(error.code == Code::TooLong && error.message.contains("64"), "sample.rs: {error}");
}

#[test]
fn what_is_not_there_is_refused_by_name() {
    let model = loaded(FOLDERS[0]);
    let batch = vec![vec![1, 2, 3]];
    let refused = |options: RunOptions| {
        let error = go(&model, &batch, &options).unwrap_err();
        (error.code, error.message.clone())
    };
    let with_ablation =
        |json: &str| RunOptions { ablate: serde_json::from_str(json).unwrap(), ..RunOptions::default() };
    for (json, word) in [
        (r#"[{"layer":4,"part":"attn"}]"#, "layer 4"),
        (r#"[{"layer":0,"part":"head","head":4}]"#, "head 4"),
        (r#"[{"layer":0,"part":"head"}]"#, "`head`"),
        (r#"[{"layer":0,"part":"mlp","head":1}]"#, "`head`"),
    ] {
        let (code, message) = refused(with_ablation(json));
        assert!(code == Code::BadArgument && message.contains(word), "interventions.rs: {json}: {code:?} {message}");
    }
    let explain = |of: AttributionOptions| RunOptions { attribution: Some(of), ..RunOptions::default() };
    let (code, message) = refused(explain(AttributionOptions { position: Some(3), ..AttributionOptions::default() }));
    assert!(code == Code::BadArgument && message.contains("token 3"), "interventions.rs: {code:?} {message}");
    let target = Some(TokenRef::Id(512));
    let (code, message) = refused(explain(AttributionOptions { target, ..AttributionOptions::default() }));
    assert!(code == Code::TokenOutOfRange && message.contains("511"), "interventions.rs: {code:?} {message}");
    let target = Some(TokenRef::Text(" Paris".into()));
    let (code, _) = refused(explain(AttributionOptions { target, ..AttributionOptions::default() }));
    assert_eq!(code, Code::NoTokenizer, "interventions.rs: a text without a tokenizer");
    let patterns = vec![Head { layer: 9, head: 0 }];
    let (code, message) = refused(RunOptions { patterns, ..RunOptions::default() });
    assert!(code == Code::BadArgument && message.contains("layer 9"), "interventions.rs: {code:?} {message}");
}
