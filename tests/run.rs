//! Running a model that is still arriving, stopping a run, and what a run refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests end by panicking, their helpers too")]

mod support;

use std::cell::{Cell, RefCell};

use engine::loading::LoadEvent;
use engine::run::run_control::{NoControl, RunControl};
use engine::run::streaming_model::StreamingModel;
use engine::run::texts::{RunOptions, from_ids, run};
use engine::{Code, Error, Result};
use support::memory::{Entry, Memory, entries, opened, others_turn, safetensors, together};
use support::same::assert_same;
use support::{assert_drawable, trace_ids};
use trace::Sequence;

const TINY: &str = "tests/fixtures/tiny-gpt2";
static ALL: RunOptions = RunOptions::new(true, 1, true);
static PLAIN: RunOptions = RunOptions::new(false, 0, false);
const IDS: [u32; 6] = [3, 1, 4, 1, 5, 9];

const CONFIG: &str =
    r#"{"model_type":"gpt2","vocab_size":50,"n_positions":16,"n_embd":8,"n_layer":4,"n_head":2,"n_inner":8}"#;

/// A model of which the pieces come slowly, in the order of the forward pass.
fn slow(change: impl Fn(&mut Vec<Entry>)) -> Memory {
    let mut list = entries(CONFIG);
    change(&mut list);
    Memory { slow: true, piece: 64, ..Memory::model(CONFIG, safetensors(&list)) }
}

/// The same model, there at once.
fn there() -> StreamingModel {
    pollster::block_on(async {
        let loading = opened(Memory { slow: false, ..slow(|_| {}) }).await.unwrap();
        let model = loading.model.clone();
        loading.finish(&|_| {}).await.unwrap();
        drop(loading);
        std::rc::Rc::into_inner(model).expect("the only holder")
    })
}

fn go(model: &StreamingModel, list: &[&[u32]], options: &RunOptions) -> Result<Vec<Sequence>> {
    let sequences = list.iter().map(|ids| from_ids(None, ids.to_vec())).collect();
    let done = pollster::block_on(run(model, None, sequences, options, &NoControl, |_| {}))?;
    assert_drawable(&model.config, &done);
    Ok(done)
}

/// Gives way each time, and fails at the call number `last`.
struct Count {
    taken: Cell<usize>,
    last: usize,
}

impl Count {
    fn until(last: usize) -> Count {
        Count { taken: Cell::new(0), last }
    }
}

impl RunControl for Count {
    async fn yield_now(&self) -> Result<()> {
        others_turn().await;
        self.taken.set(self.taken.get() + 1);
        if self.taken.get() == self.last { Err(Error::new(Code::Aborted, "stopped by the test")) } else { Ok(()) }
    }
}

#[test]
fn a_run_shows_each_block_as_it_arrives_and_ends_like_any_other() {
    pollster::block_on(async {
        let loading = opened(slow(|_| {})).await.unwrap();
        let model = loading.model.clone();
        assert_eq!(model.blocks_ready(), 0, "load.rs: open() is meant to return before the blocks are in");
        let seen = RefCell::new(Vec::new());
        let sequences = vec![from_ids(None, IDS.to_vec()), from_ids(None, vec![7, 8])];
        let running = run(&model, None, sequences, &ALL, &NoControl, |partial| seen.borrow_mut().push(partial));
        let (done, loaded) = together(running, loading.finish(&|_| {}));
        loaded.unwrap();
        let done = done.unwrap();
        let plain = go(&there(), &[&IDS, &[7, 8]], &ALL).unwrap();
        assert_eq!(done, plain, "run.rs: a model that was still arriving gave another trace");

        let seen = seen.into_inner();
        assert!(seen.len() >= 3, "run.rs: on_block fired {} times for 4 slow blocks", seen.len());
        for (index, partial) in seen.iter().enumerate() {
            let layers = index + 1;
            assert_eq!(partial.len(), 2, "run.rs: a partial trace has every sequence");
            assert_drawable(&model.config, partial);
            for (partial, whole) in partial.iter().zip(&plain) {
                let filled = layers * whole.ids.len();
                assert_eq!(partial.attn_norm, whole.attn_norm[..filled], "run.rs: attn_norm after block {index}");
                assert_eq!(partial.mlp_norm, whole.mlp_norm[..filled], "run.rs: mlp_norm after block {index}");
                assert_eq!(partial.resid_post_norm.len(), filled, "probe.rs: resid_post_norm after block {index}");
                assert!(partial.next.is_none() && partial.token_logprob.is_none(), "run.rs: predictions too early");
            }
        }
    });
}

#[test]
fn a_model_that_is_there_shows_no_partial_traces() {
    let model = there();
    let sequences = vec![from_ids(None, IDS.to_vec())];
    pollster::block_on(run(&model, None, sequences, &ALL, &NoControl, |_| panic!("run.rs: on_block fired"))).unwrap();
}

#[test]
fn progress_only_grows_and_ends_with_everything() {
    let reports = RefCell::new(Vec::new());
    pollster::block_on(async {
        let note = |news| match news {
            LoadEvent::Progress(progress) => reports.borrow_mut().push(progress),
            LoadEvent::Notice(notice) => panic!("load.rs has something to say: {notice:?}"),
        };
        let loading = support::memory::opened_with(slow(|_| {}), &Default::default(), &note).await.unwrap();
        loading.finish(&note).await.unwrap();
    });
    let reports = reports.into_inner();
    for pair in reports.windows(2) {
        assert!(pair[0].phase <= pair[1].phase, "load.rs: phases run backwards: {pair:?}");
        assert!(pair[0].blocks_ready <= pair[1].blocks_ready, "load.rs: blocks go away: {pair:?}");
        assert!(
            pair[0].phase != pair[1].phase || pair[0].loaded <= pair[1].loaded,
            "load.rs: bytes go away within a phase: {pair:?}"
        );
    }
    assert!(reports.iter().all(|report| report.loaded <= report.total), "load.rs: more than everything: {reports:?}");
    let last = reports.last().expect("some reports");
    let size = entries(CONFIG).iter().map(|entry| entry.bytes.len()).sum::<usize>() as f64;
    assert_eq!((last.loaded, last.total, last.blocks_ready), (size, size, 4), "load.rs: the last report");
}

#[test]
fn a_run_stops_at_whichever_breath_says_so() {
    let model = there();
    let start = || vec![from_ids(None, IDS.to_vec()), from_ids(None, vec![7, 8])];
    let counted = Count::until(usize::MAX);
    pollster::block_on(run(&model, None, start(), &ALL, &counted, |_| {})).unwrap();
    let breaths = counted.taken.get();
    // The lens of these few tokens is one matrix: its five streams stand one below the other.
    assert!(breaths > 2 * 4 + 1, "run.rs: only {breaths} breaths in four blocks of two steps, a lens, predictions");
    for last in 1..=breaths {
        let control = Count::until(last);
        let error = pollster::block_on(run(&model, None, start(), &ALL, &control, |_| {})).unwrap_err();
        assert_eq!(error.code, Code::Aborted, "run.rs: pause {last} of {breaths}");
        assert_eq!(control.taken.get(), last, "run.rs: it went on after pause {last} said stop");
    }
    assert_eq!(go(&model, &[&IDS], &ALL).unwrap().len(), 1, "run.rs: a stopped run spoils the next");
}

#[test]
fn a_loading_that_fails_reaches_the_runs_that_wait() {
    let whole = slow(|_| {});
    let bytes = whole.files["model.safetensors"].clone();
    pollster::block_on(async {
        let cut = Memory { ends_at: Some(bytes.len() - bytes.len() / 4), ..whole };
        let loading = opened(cut).await.unwrap();
        let model = loading.model.clone();
        let start = || vec![from_ids(None, IDS.to_vec())];
        let (ran, loaded) = together(run(&model, None, start(), &ALL, &NoControl, |_| {}), loading.finish(&|_| {}));
        let loaded = loaded.unwrap_err();
        assert_eq!(loaded.code, Code::CorruptDownload, "load.rs: {}", loaded.message);
        assert_eq!(ran.unwrap_err(), loaded, "streaming_model.rs: a waiting run learns why the loading ended");
        let late = run(&model, None, start(), &ALL, &NoControl, |_| {}).await.unwrap_err();
        assert_eq!(late, loaded, "streaming_model.rs: so does a run that comes later");
    });
}

#[test]
fn without_predictions_no_unembedding_is_waited_for() {
    // All but the last tensor: the final layer norm never becomes whole.
    let whole = slow(|_| {});
    let bytes = whole.files["model.safetensors"].clone();
    pollster::block_on(async {
        let loading = opened(Memory { ends_at: Some(bytes.len() - 1), ..whole }).await.unwrap();
        let model = loading.model.clone();
        loading.finish(&|_| {}).await.unwrap_err();
        assert_eq!(model.first_missing().as_deref(), Some("ln_f.bias"), "streaming_model.rs: what the cut leaves out");
    });
    pollster::block_on(async {
        let loading = opened(Memory { ends_at: Some(bytes.len() - 1), ..slow(|_| {}) }).await.unwrap();
        let model = loading.model.clone();
        let start = vec![from_ids(None, IDS.to_vec())];
        let (ran, _) = together(run(&model, None, start, &PLAIN, &NoControl, |_| {}), loading.finish(&|_| {}));
        let ran = ran.expect("run.rs: predictions are off, and the run waits for the unembedding");
        let whole = go(&there(), &[&IDS], &PLAIN).unwrap();
        assert_eq!(ran, whole, "run.rs: a model without its final layer norm traces the same without predictions");
        assert!(ran[0].next.is_none() && ran[0].token_logprob.is_none() && ran[0].lens.is_none(), "run.rs: {ran:?}");
    });
}

#[test]
fn what_is_asked_for_changes_nothing_else() {
    let model = there();
    let all = go(&model, &[&IDS], &ALL).unwrap().remove(0);
    let plain = go(&model, &[&IDS], &PLAIN).unwrap().remove(0);
    let stripped =
        Sequence { head_norm: None, attn_bias_norm: None, lens: None, token_logprob: None, next: None, ..all };
    assert_eq!(stripped, plain, "run.rs: heads, lens or predictions change the norms");
}

#[test]
fn sequences_together_equal_sequences_alone() {
    let lists: [&[u32]; 4] = [&[5; 16], &[1], &IDS, &[49, 0]];
    let model = there();
    let together = go(&model, &lists, &ALL).unwrap();
    assert_eq!(together.len(), lists.len(), "run.rs: as many come out as went in");
    for (ids, found) in lists.iter().zip(&together) {
        // Another model, which remembers nothing of the run before.
        let alone = go(&there(), &[ids], &ALL).unwrap();
        // Matrices of other sizes may be added up in another order.
        assert_same(&format!("run.rs: {ids:?} beside others"), std::slice::from_ref(found), &alone, 1e-5);
    }
}

#[test]
fn a_token_sees_nothing_of_those_after_it() {
    let ids: Vec<u32> = (0..24).map(|i| i * 17 % 512).collect();
    let (whole, start) = (trace_ids(TINY, &ids), trace_ids(TINY, &ids[..9]));
    // Sums of the same numbers, though matrices of other sizes may be added up in another order.
    const SAME: f32 = 1e-5;
    for layer in 0..start.attn_norm.len() / 9 {
        for token in 0..9 {
            let (long, short) = (whole.mlp_norm[layer * 24 + token], start.mlp_norm[layer * 9 + token]);
            let what = format!("softmax.rs: layer {layer}, token {token}: {long} with followers, {short} without");
            assert!((long - short).abs() <= SAME * short.abs(), "{what}");
        }
    }
}

#[test]
fn what_cannot_be_run_is_refused_before_anything_is_computed() {
    // Nothing has arrived: an answer at all means that nothing was waited for.
    let loading = pollster::block_on(opened(slow(|_| {}))).unwrap();
    for (lists, code, part) in [
        (&[][..], Code::EmptyInput, "empty"),
        (&[&[][..]], Code::EmptyInput, "empty"),
        (&[&IDS[..], &[]], Code::EmptyInput, "empty"),
        (&[&[1; 17]], Code::TooLong, "17 tokens, and this model reads at most 16"),
        (
            &[&IDS, &[1, 50]],
            Code::TokenOutOfRange,
            "text 2 of 2: token 1 of the sequence is id 50, and the model's ids end at 49",
        ),
        (&[&[u32::MAX]], Code::TokenOutOfRange, "token 0"),
    ] {
        let error = go(&loading.model, lists, &ALL).unwrap_err();
        assert_eq!(error.code, code, "gpt2.rs, check_ids: {lists:?}: {}", error.message);
        assert!(error.message.contains(part), "gpt2.rs, check_ids: {lists:?}: no {part:?} in {:?}", error.message);
    }
    assert_eq!(go(&there(), &[&[49; 16]], &ALL).unwrap()[0].ids.len(), 16, "gpt2.rs: as long as it may be is refused");
}
