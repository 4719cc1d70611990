//! Random inputs against oracles: docs/testing.md says what they are, how to run more, and how to keep what failed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests end by panicking, their helpers too")]

#[path = "../support/paper.rs"]
mod paper;
#[path = "../support/strict.rs"]
mod strict;
#[path = "../support/mod.rs"]
mod support;

mod checkpoints;
mod damage;
mod harness;
mod memory;
mod models;
mod numbers;
mod random;
mod runs;
mod settings;
mod tokenizers;
mod workers;

#[test]
fn checkpoints() {
    harness::run(&checkpoints::ROOM);
}

#[test]
fn tokenizers() {
    harness::run(&tokenizers::ROOM);
}

#[test]
fn settings() {
    harness::run(&settings::ROOM);
}

#[test]
fn runs() {
    harness::run(&runs::ROOM);
}
