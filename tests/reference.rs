//! Traces against Hugging Face transformers, natively. The fixtures are written by tests/fixtures/make_reference.py.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests end by panicking, their helpers too")]

mod support;

use support::{Expected, compare, trace_ids};

#[test]
fn tiny_gpt2_f32_with_masks_and_no_prefix() {
    check("tests/fixtures/tiny-gpt2");
}

#[test]
fn tiny_distil_f16_with_prefix() {
    check("tests/fixtures/tiny-distil");
}

fn check(folder: &str) {
    let expected = Expected::read(folder);
    for (index, sequence) in expected.sequences.iter().enumerate() {
        let found = trace_ids(folder, &sequence.ids);
        compare(&format!("{folder} sequence {index}"), sequence, &found);
    }
}
