//! Every setting that changes a number, against Hugging Face transformers. The fixtures are written by
//! tests/fixtures/make_variants.py.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests end by panicking, their helpers too")]

mod support;

use engine::run::run_control::NoControl;
use engine::run::texts::{RunOptions, from_ids, run};
use serde_json::{Value, json};
use support::memory::{Memory, opened};
use support::{Expected, RELATIVE, compare};
use trace::Sequence;

/// A model, and its telling settings with another value each.
const VARIANTS: [(&str, &[(&str, &str)]); 7] = [
    ("inverse-layer-gelu", &[("scale_attn_by_inverse_layer_idx", "false"), ("activation_function", "\"gelu_new\"")]),
    ("unscaled-relu", &[("scale_attn_weights", "true"), ("activation_function", "\"gelu_new\"")]),
    ("odd-silu-bf16", &[("n_head", "6"), ("activation_function", "\"gelu_new\"")]),
    ("sharded-tanh", &[("activation_function", "\"gelu_new\"")]),
    // A head in the file counts, whatever the configuration says: tests/checkpoints.rs.
    ("untied", &[]),
    ("huge-epsilon", &[("layer_norm_epsilon", "1e-5")]),
    ("prefixed-masks", &[]),
];

#[test]
fn every_variant_gives_hugging_faces_numbers() {
    for (name, _) in VARIANTS {
        let folder = format!("tests/fixtures/variants/{name}");
        for (index, expected) in Expected::read(&folder).sequences.iter().enumerate() {
            compare(&format!("{folder} sequence {index}"), expected, &trace(Memory::folder(&folder), &expected.ids));
        }
    }
}

/// A fixture that any value of its setting would pass proves nothing.
#[test]
fn each_setting_shows_in_its_fixture() {
    for (name, settings) in VARIANTS {
        let folder = format!("tests/fixtures/variants/{name}");
        let expected = &Expected::read(&folder).sequences[0];
        let files = Memory::folder(&folder);
        let right = trace(files.clone(), &expected.ids);
        for (key, value) in settings {
            let mut config: Value = serde_json::from_slice(&files.files["config.json"]).unwrap();
            let value: Value = serde_json::from_str(value).unwrap();
            assert_ne!(config[key], value, "variants.rs: {name}: {key} is the same with and without the change");
            config[key] = value;
            let wrong = trace(files.clone().with("config.json", json!(config).to_string()), &expected.ids);
            // The unembedding shows in the predictions only.
            let numbers = |sequence: &Sequence| {
                [sequence.attn_norm.clone(), sequence.mlp_norm.clone(), sequence.token_logprob.clone().unwrap()]
                    .concat()
            };
            let apart = numbers(&wrong).iter().zip(numbers(&right)).any(|(a, b)| (a - b).abs() > RELATIVE * b.abs());
            assert!(apart, "make_variants.py: {name}: {key} changes nothing, so this model does not test it");
        }
    }
}

fn trace(files: Memory, ids: &[u32]) -> Sequence {
    let found: engine::Result<_> = pollster::block_on(async {
        let loading = opened(files).await?;
        let model = loading.model.clone();
        loading.finish(&|_| {}).await?;
        let options = RunOptions::new(true, 1, true);
        run(&model, None, vec![from_ids(None, ids.to_vec())], &options, &NoControl, |_| {}).await
    });
    found.unwrap_or_else(|error| panic!("variants.rs: {error}")).remove(0)
}
