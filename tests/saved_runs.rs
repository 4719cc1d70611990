//! Saved runs are often somebody else's files: whatever they hold, reading ends in a trace or in a sentence, takes memory in
//! proportion to the file, and every chart draws what was read.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

#[path = "../crates/trace/tests/filled/mod.rs"]
mod filled;

use charts::{ChartName, ChartOptions, Figure, Size, Theme, svg};
use filled::{T, trace};
use proptest::prelude::*;
use serde_json::{Value, json};
use trace::file::{read, to_json, to_safetensors};
use trace::{Code, Trace};

/// Counts what this thread holds, and the most that it held.
struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = HELD.try_with(|held| {
            held.set(held.get() + layout.size());
            MOST.with(|most| most.set(most.get().max(held.get())));
        });
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // What another thread handed over was counted there.
        let _ = HELD.try_with(|held| held.set(held.get().saturating_sub(layout.size())));
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes held while `work` ran, above what was held before.
fn most_held<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    MOST.set(before);
    let done = work();
    (done, MOST.get() - before)
}

/// Draws every chart.
fn draw(trace: &Trace) {
    for chart in ChartName::ALL {
        for (sequence, token) in [(0, None), (1, Some(2)), (9, Some(70))] {
            let options = ChartOptions { sequence, token, skip_first: sequence == 0, ..ChartOptions::default() };
            let figure = Figure::new(chart, trace, &options);
            let picture = svg::document(&figure, Size::new(640.0, 400.0), &Theme::light());
            assert!(picture.trim_end().ends_with("</svg>"), "{}", chart.as_str());
            let _ = (figure.table().to_csv(), figure.description());
        }
    }
}

/// Puts another value somewhere into JSON; returns whether there was a place.
fn mutate(value: &mut Value, steps: &[u16], with: &Value) {
    let Some((step, rest)) = steps.split_first() else {
        *value = with.clone();
        return;
    };
    let place = match value {
        Value::Array(list) if !list.is_empty() => {
            let at = usize::from(*step) % list.len();
            list.get_mut(at)
        }
        Value::Object(object) if !object.is_empty() => {
            let at = usize::from(*step) % object.len();
            object.values_mut().nth(at)
        }
        _ => None,
    };
    match place {
        Some(place) => mutate(place, rest, with),
        None => *value = with.clone(),
    }
}

fn odd_values() -> impl Strategy<Value = Value> {
    let long = |n: usize| Value::Array(vec![json!(0.5); n]);
    prop_oneof![
        Just(Value::Null),
        Just(json!(-1)),
        Just(json!(0)),
        Just(json!(1e9)),
        Just(json!(4097)),
        Just(json!(u64::MAX)),
        Just(json!(1e300)),
        Just(json!(0.5)),
        Just(json!("</script>\u{0}\u{202e}")),
        Just(json!("long ".repeat(500))),
        Just(json!([])),
        Just(json!({})),
        Just(json!([[[]]])),
        Just(json!({ "tensor": "sequences.0.ids" })),
        Just(json!([null, null, null])),
        Just(json!({ "0": 1, "1": 2, "2": 3 })),
        Just(long(6)),
        Just(long(7)),
        (0u32..5000).prop_map(|id| json!(id)),
    ]
}

/// Reads, checks what that took, and draws what came of it.
fn survives(file: &[u8]) {
    let (outcome, most) = most_held(|| read(file));
    let bound = 40 * file.len() + (1 << 16);
    assert!(most <= bound, "a file of {} bytes took {most}", file.len());
    match outcome {
        Ok(trace) => draw(&trace),
        Err(error) => {
            assert!(matches!(error.code, Code::BadArgument | Code::OutOfMemory), "{error}");
            assert!(error.message.len() < 700, "{error}");
            // A type that a changed byte has put into the file is named as it stands there.
            let message = error.message.replace("is of type f32", "").replace("is of type u32", "");
            for rust in ["usize", "u32", "f32", "struct ", "invalid type"] {
                assert!(!message.contains(rust), "{error}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_value_is_refused_or_drawn(
        changes in prop::collection::vec((prop::collection::vec(any::<u16>(), 1..6), odd_values()), 1..3),
    ) {
        let mut value: Value = serde_json::from_str(&to_json(&trace()).unwrap()).unwrap();
        for (steps, with) in &changes {
            mutate(&mut value, steps, with);
        }
        survives(value.to_string().as_bytes());
    }

    #[test]
    fn changed_bytes_are_refused_or_drawn(
        safetensors in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        end in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let whole = trace();
        let mut file = if safetensors { to_safetensors(&whole).unwrap() } else { to_json(&whole).unwrap().into_bytes() };
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if cut {
            file.truncate(end.index(file.len()));
        }
        survives(&file);
    }

    #[test]
    fn a_changed_header_is_refused_or_drawn(steps in prop::collection::vec(any::<u16>(), 1..4), with in odd_values()) {
        let file = to_safetensors(&trace()).unwrap();
        let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        let mut header: Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
        mutate(&mut header, &steps, &with);
        let header = header.to_string().into_bytes();
        survives(&[&(header.len() as u64).to_le_bytes()[..], &header, &file[8 + length..]].concat());
    }
}

#[test]
fn sizes_have_the_limits_that_checkpoints_have() {
    for (field, size, said) in [
        ("n_layer", json!(1e9), "model.n_layer is 1000000000, expected at most 4096"),
        ("n_layer", json!(4097), "model.n_layer is 4097, expected at most 4096"),
        ("n_layer", json!(1), "sequences[0]: the number of its layers is 2, expected at most 1"),
        ("n_head", json!(3), "sequences[0]: head_norm has 12 values, expected 18"),
        ("n_positions", json!(2), "sequences[0]: the number of its tokens is 3, expected at most 2"),
        ("vocab_size", json!(6), "sequences[0]: the largest of ids is 7, expected less than 6"),
        ("n_embd", json!(1 << 30), "model.n_embd is 1073741824, expected at most 16777216"),
    ] {
        let mut value: Value = serde_json::from_str(&to_json(&trace()).unwrap()).unwrap();
        value["model"][field] = size;
        let error = read(value.to_string().as_bytes()).unwrap_err();
        assert!(error.message.contains(said), "{field}: {error}");
    }
    // The most layers there may be are drawn at once, of which two are recorded.
    let mut most = trace();
    most.model.n_layer = 4096;
    most.check().unwrap();
    let began = Instant::now();
    draw(&most);
    assert!(began.elapsed() < Duration::from_secs(10), "drawing took {:?}", began.elapsed());
}

#[test]
fn tokens_as_long_as_books_are_drawn_at_once() {
    let mut long = trace();
    for sequence in &mut long.sequences {
        sequence.tokens = vec!["word ".repeat(40_000); T];
        sequence.lens.as_mut().unwrap().vocab.tokens = vec!["=cmd ".repeat(40_000); 9];
    }
    let began = Instant::now();
    draw(&long);
    assert!(began.elapsed() < Duration::from_secs(20), "drawing took {:?}", began.elapsed());
}
