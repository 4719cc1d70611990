//! A model split over several workers, against the same model on one: the helpers here are in the same thread, behind
//! the same orders that real ones get.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests end by panicking, their helpers too")]

mod support;

use std::cell::RefCell;
use std::rc::Rc;

use engine::loading::cache::NoCache;
use engine::loading::open;
use engine::model::Config;
use engine::pool::helper::Helper;
use engine::pool::shards::TensorShard;
use engine::pool::wire::Command;
use engine::pool::{WorkerHandle, WorkerPool};
use engine::run::run_control::NoControl;
use engine::run::streaming_model::StreamingModel;
use engine::run::texts::{RunOptions, from_ids, run};
use engine::{Code, Error, Result};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use support::memory::Memory;
use support::same::assert_same;
use trace::Sequence;

static ALL: RunOptions = RunOptions::new(true, 2, true);
/// Sums over heads and columns in another order, through as many as six blocks; a fixture with coordinates thousands of
/// times the rest shows it most.
const TOLERANCE: f32 = 5e-5;

/// A helper in this thread, and how many orders it obeys before it is gone.
struct Here {
    helper: Rc<RefCell<Helper>>,
    orders: Rc<RefCell<usize>>,
}

impl WorkerHandle for Here {
    fn send_shard(&self, layer: usize, tensor: &str, piece: &TensorShard) {
        self.helper.borrow_mut().take(layer, tensor.into(), piece.clone()).unwrap();
    }

    fn send_rows(&self, values: &[f32]) {
        self.helper.borrow_mut().take_rows(values.to_vec()).unwrap();
    }

    fn send(&self, command: &Command, normed: &[f32]) -> LocalBoxFuture<'static, Result<Vec<f32>>> {
        let (number, command) = Command::from_words(&command.to_words(5)).unwrap();
        assert_eq!(number, 5);
        let gone = || Error::new(Code::EngineCrashed, "a helper is gone (the test)");
        let left = self.orders.borrow().checked_sub(1);
        let (helper, orders, normed) = (self.helper.clone(), self.orders.clone(), normed.to_vec());
        *orders.borrow_mut() = left.unwrap_or(0);
        async move {
            left.ok_or_else(gone)?;
            // Answers come after others had their turn, and orders are obeyed in the order in which they were sent.
            Ok(helper.borrow().execute(&command, normed).unwrap())
        }
        .boxed_local()
    }
}

fn pool(config: &Config, workers: usize, orders: usize) -> WorkerPool {
    let line = |_| {
        let helper = Rc::new(RefCell::new(Helper::new(config.clone())));
        Box::new(Here { helper, orders: Rc::new(RefCell::new(orders)) }) as Box<dyn WorkerHandle>
    };
    WorkerPool::new(config, (1..workers).map(line).collect())
}

fn loaded(folder: &str, workers: usize, orders: usize) -> Rc<StreamingModel> {
    pollster::block_on(async {
        let spawn = |config: &Config, _: &str| pool(config, workers, orders);
        let loading = open(Memory::folder(folder), None::<NoCache>, 4, spawn, &|_| {}).await.unwrap();
        loading.finish(&|_| {}).await.unwrap();
        loading.model.clone()
    })
}

fn go(model: &StreamingModel, texts: &[Vec<u32>], options: &RunOptions) -> Result<Vec<Sequence>> {
    let sequences = texts.iter().map(|ids| from_ids(None, ids.clone())).collect();
    pollster::block_on(run(model, None, sequences, options, &NoControl, |_| {}))
}

fn ids(count: usize, step: u32, model: &StreamingModel) -> Vec<u32> {
    (0..count as u32).map(|i| (i * step + 3) % model.config.vocab_size as u32).collect()
}

#[test]
fn any_number_of_workers_gives_the_same_numbers() {
    for folder in ["tests/fixtures/tiny-gpt2", "tests/fixtures/tiny-distil", "tests/fixtures/variants/odd-silu-bf16"] {
        let one = loaded(folder, 1, 0);
        let longest = one.config.n_positions.min(40);
        let texts = [ids(longest, 7, &one), ids(1, 1, &one), ids(5.min(longest), 11, &one)];
        let expected = go(&one, &texts, &ALL).unwrap();
        for workers in [2, 3, 5] {
            let model = loaded(folder, workers, usize::MAX);
            let found = go(&model, &texts, &ALL).unwrap();
            assert_same(&format!("{folder} over {workers} workers"), &found, &expected, TOLERANCE);
        }
    }
}

#[test]
fn a_text_that_grows_or_changes_gives_what_it_gives_alone() {
    for workers in [1, 2] {
        let model = loaded("tests/fixtures/tiny-gpt2", workers, usize::MAX);
        let fresh = |texts: &[Vec<u32>], options| {
            go(&loaded("tests/fixtures/tiny-gpt2", workers, usize::MAX), texts, options).unwrap()
        };
        let text = ids(20, 7, &model);
        let mut changed = text.clone();
        changed[9] += 1;
        let plain = RunOptions::new(false, 0, false);
        let steps: [(&str, Vec<Vec<u32>>, &RunOptions); 8] = [
            ("a text", vec![text[..12].to_vec()], &ALL),
            ("eight tokens more", vec![text.clone()], &ALL),
            ("the same again, and a second", vec![text.clone(), text[..3].to_vec()], &ALL),
            ("a token in the middle changed", vec![changed.clone()], &ALL),
            ("the end cut off", vec![changed[..5].to_vec()], &ALL),
            ("norms only", vec![changed[..7].to_vec()], &plain),
            ("everything after norms only", vec![changed.clone()], &ALL),
            ("twice the same beside each other", vec![text.clone(), text], &ALL),
        ];
        for (what, texts, options) in steps {
            let what = format!("prefix_cache.rs, {workers} workers: {what}");
            assert_same(&what, &go(&model, &texts, options).unwrap(), &fresh(&texts, options), TOLERANCE);
        }
    }
}

#[test]
fn growing_computes_only_what_is_new() {
    // A helper that is gone after so many orders tells how many were needed: two per block and batch, one for the lens,
    // one for the predictions, and, when the same text comes again, one for what follows its last token.
    let folder = "tests/fixtures/tiny-gpt2";
    let layers = loaded(folder, 1, 0).config.n_layer;
    let model = loaded(folder, 2, 2 * layers + 3);
    let text = ids(9, 7, &model);
    go(&model, std::slice::from_ref(&text), &ALL).unwrap();
    let again = go(&model, std::slice::from_ref(&text), &ALL);
    again.expect("prefix_cache.rs: the same text was computed again");
    let error = go(&model, &[ids(9, 5, &model)], &ALL).unwrap_err();
    assert_eq!(error.code, Code::EngineCrashed, "worker_pool.rs: the reason of the failure: {error}");
    assert!(model.pool.failure().is_some(), "worker_pool.rs: a helper's failure is to be remembered");
}

#[test]
fn a_stopped_run_leaves_nothing_behind() {
    let folder = "tests/fixtures/tiny-gpt2";
    let model = loaded(folder, 1, 0);
    let text = ids(20, 7, &model);
    go(&model, &[text[..12].to_vec()], &ALL).unwrap();
    struct Stop;
    impl engine::run::run_control::RunControl for Stop {
        async fn yield_now(&self) -> Result<()> {
            Err(Error::new(Code::Aborted, "stopped by the test"))
        }
    }
    let stopped = run(&model, None, vec![from_ids(None, text.clone())], &ALL, &Stop, |_| {});
    assert_eq!(pollster::block_on(stopped).unwrap_err().code, Code::Aborted);
    let expected = go(&loaded(folder, 1, 0), std::slice::from_ref(&text), &ALL).unwrap();
    assert_same("after a stopped run", &go(&model, &[text], &ALL).unwrap(), &expected, TOLERANCE);
}
