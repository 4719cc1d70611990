//! Expected traces of Hugging Face transformers, and how closely ours must match them.
#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests, which end a test by panicking")]

pub mod memory;
pub mod same;

use std::path::Path;

use engine::Error;
use engine::loading::cache::NoCache;
use engine::loading::open;
use engine::loading::source::folder::Folder;
use engine::model::Config;
use engine::pool::WorkerPool;
use engine::run::run_control::NoControl;
use engine::run::texts::{RunOptions, from_ids, run, tokenize};
use serde::Deserialize;
use trace::{ModelInfo, Sequence, Trace};

/// Whether what a run recorded is what a saved run may hold, and what charts rely on.
pub fn assert_drawable(config: &Config, sequences: &[Sequence]) {
    let (n_layer, n_head, n_embd) = (config.n_layer, config.n_head, config.n_embd);
    let (n_positions, vocab_size) = (config.n_positions, config.vocab_size);
    let model = ModelInfo { source: "x".into(), n_layer, n_head, n_embd, n_positions, vocab_size };
    let trace = Trace { model, sequences: sequences.to_vec(), ..Trace::default() };
    trace.check().expect("check.rs: what the engine records is refused");
}

/// Norms, cosines and probabilities: F32 in another order of summation than PyTorch's.
pub const RELATIVE: f32 = 1e-4;
/// Cosines are differences of large numbers; their error is absolute.
pub const COSINE: f32 = 1e-4;
/// Log-probabilities.
pub const LOGPROB: f32 = 1e-3;

/// `expected.json`.
#[derive(Deserialize)]
pub struct Expected {
    pub sequences: Vec<ExpectedSequence>,
}

/// One sequence of `expected.json`, `[layer][token]`.
#[derive(Deserialize)]
pub struct ExpectedSequence {
    pub text: Option<String>,
    pub ids: Vec<u32>,
    pub embed_norm: Vec<f32>,
    pub attn_norm: Vec<Vec<f32>>,
    pub mlp_norm: Vec<Vec<f32>>,
    pub head_norm: Vec<Vec<Vec<f32>>>,
    pub resid_pre_norm: Vec<Vec<f32>>,
    pub resid_mid_norm: Vec<Vec<f32>>,
    pub resid_post_norm: Vec<Vec<f32>>,
    pub attn_cos: Vec<Vec<f32>>,
    pub mlp_cos: Vec<Vec<f32>>,
    pub lens_top1: Vec<Vec<u32>>,
    pub next_top5: Vec<(u32, f32)>,
    pub token_logprob: Vec<f32>,
    pub final_logits_last: Option<Vec<f32>>,
    pub attention_last_layer_head0: Option<Vec<Vec<f32>>>,
}

impl Expected {
    /// Reads `expected.json` of a model's folder.
    pub fn read(folder: &str) -> Expected {
        let path = Path::new(folder).join("expected.json");
        let text = std::fs::read(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        serde_json::from_slice(&text).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
    }
}

/// Everything that a trace can hold of these ids.
pub fn trace_ids(folder: &str, ids: &[u32]) -> Sequence {
    try_trace(folder, ids).unwrap_or_else(|error| panic!("{folder}: {error}"))
}

/// The same, or the error.
pub fn try_trace(folder: &str, ids: &[u32]) -> Result<Sequence, Error> {
    pollster::block_on(async {
        let loading =
            open(Folder(folder.into()), None::<NoCache>, 4, |config, _| WorkerPool::alone(config), &|_| {}).await?;
        let parts = loading.model.clone();
        loading.finish(&|_| {}).await?;
        let options = RunOptions::new(true, 1, true);
        let sequences = run(&parts, None, vec![from_ids(None, ids.to_vec())], &options, &NoControl, |_| {}).await?;
        Ok(sequences.into_iter().next().expect("one sequence in, one out"))
    })
}

/// The sequence that a model's tokenizer makes of a text.
pub fn tokens(folder: &str, text: &str) -> Sequence {
    pollster::block_on(async {
        let loading = open(Folder(folder.into()), None::<NoCache>, 4, |config, _| WorkerPool::alone(config), &|_| {})
            .await
            .unwrap_or_else(|error| panic!("{folder}: {error}"));
        let tokenizer = loading.tokenizer.expect("a tokenizer");
        tokenize(&tokenizer, text).unwrap_or_else(|error| panic!("{folder}: {error}"))
    })
}

/// Holds a sequence against Hugging Face's numbers.
pub fn compare(what: &str, expected: &ExpectedSequence, found: &Sequence) {
    let close = |name: &str, expected: &[f32], found: &[f32], relative: f32, absolute: f32| {
        assert_eq!(expected.len(), found.len(), "{what}: {name} has another length");
        let wrong: Vec<_> = (0..found.len())
            .filter(|&i| {
                let off = (found[i] - expected[i]).abs();
                off.is_nan() || off > absolute + relative * expected[i].abs()
            })
            .collect();
        if let Some(&first) = wrong.first() {
            panic!(
                "{what}: {} of {} values of {name} differ; the first at {first}: expected {}, found {}",
                wrong.len(),
                found.len(),
                expected[first],
                found[first]
            );
        }
    };
    let flat = |rows: &[Vec<f32>]| rows.concat();
    close("embed_norm", &expected.embed_norm, &found.embed_norm, RELATIVE, 0.0);
    for (name, expected, found) in [
        ("attn_norm", &expected.attn_norm, &found.attn_norm),
        ("mlp_norm", &expected.mlp_norm, &found.mlp_norm),
        ("resid_pre_norm", &expected.resid_pre_norm, &found.resid_pre_norm),
        ("resid_mid_norm", &expected.resid_mid_norm, &found.resid_mid_norm),
        ("resid_post_norm", &expected.resid_post_norm, &found.resid_post_norm),
    ] {
        close(name, &flat(expected), found, RELATIVE, 0.0);
    }
    close("attn_cos", &flat(&expected.attn_cos), &found.attn_cos, 0.0, COSINE);
    close("mlp_cos", &flat(&expected.mlp_cos), &found.mlp_cos, 0.0, COSINE);
    let heads: Vec<f32> = expected.head_norm.iter().flatten().flatten().copied().collect();
    close("head_norm", &heads, found.head_norm.as_deref().expect("head_norm"), RELATIVE, 1e-6);
    let lens = found.lens.as_ref().expect("lens");
    assert_eq!(lens.ids, expected.lens_top1.concat(), "{what}: top-1 of the logit lens");
    close(
        "token_logprob",
        &expected.token_logprob,
        found.token_logprob.as_deref().expect("token_logprob"),
        0.0,
        LOGPROB,
    );
    let next = found.next.as_ref().expect("next");
    let (ids, probs): (Vec<u32>, Vec<f32>) = expected.next_top5.iter().copied().unzip();
    assert_eq!(next.ids, ids, "{what}: the five most probable next tokens");
    close("next", &probs, &next.probs, LOGPROB, 0.0);
    let last = lens.ids.last();
    assert_eq!(last, next.ids.first(), "{what}: the last row of the lens is not the model's own prediction");
}
