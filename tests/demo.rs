//! The demo model shipped with the site, against Hugging Face transformers: from text to predictions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests end by panicking, their helpers too")]

mod support;

use support::{Expected, compare, tokens, trace_ids};

const DEMO: &str = "www/models/demo";

#[test]
fn the_demos_tokenizer_gives_the_ids_of_its_reference() {
    let mut texts = 0;
    for expected in Expected::read(DEMO).sequences {
        let Some(text) = expected.text else { continue };
        assert_eq!(tokens(DEMO, &text).ids, expected.ids, "{DEMO}/tokenizer.json on {text:?}");
        texts += 1;
    }
    assert!(texts > 0, "{DEMO}/expected.json has no sequence with a text");
}

#[test]
fn the_demos_trace_is_that_of_its_reference() {
    for (index, expected) in Expected::read(DEMO).sequences.iter().enumerate() {
        compare(&format!("{DEMO} sequence {index}"), expected, &trace_ids(DEMO, &expected.ids));
    }
}
