//! The engine's side of effects: models, runs and picked files by their numbers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use protocol::{Notice, PatchOptions, Progress, RunOptions, SampleOptions};
use trace::{Code, Error, Patching, Result, Trace};
use view::dom;
use wasm_bindgen_futures::spawn_local;
use web_sys::{AbortController, AbortSignal, File};

use super::super::effect::TraceRun;
use super::super::models::{ModelChoice, ModelFacts, Source};
use super::super::msg::{Appending, Finished, Msg};
use super::send;
use crate::api::{self, LoadOptions, Model, ModelFiles, TraceOptions};

thread_local! {
    /// Files that the reader picked or dropped, by their number: the last two sets, of which one may be loading.
    static FILES: RefCell<Vec<(u64, Vec<File>)>> = const { RefCell::new(Vec::new()) };
}

/// Keeps files, and says that they are there.
pub fn keep_files(files: Vec<File>) -> Msg {
    let names = files.iter().map(File::name).collect();
    FILES.with_borrow_mut(|kept| {
        let number = kept.last().map_or(0, |(number, _)| number + 1);
        kept.push((number, files));
        let excess = kept.len().saturating_sub(2);
        kept.drain(..excess);
        Msg::Files(number, names)
    })
}

/// What is open and what is under way.
#[derive(Default)]
pub struct Engine {
    models: Rc<RefCell<HashMap<u64, Model>>>,
    loads: RefCell<HashMap<u64, AbortController>>,
    runs: Rc<RefCell<HashMap<u64, AbortController>>>,
}

impl Engine {
    /// Loads a model; it can be asked from `ModelOpened` on.
    pub fn load(&self, load: u64, choice: &ModelChoice) {
        let source = source(choice);
        let Ok(abort) = AbortController::new() else { return send(Msg::LoadEnded(load, Err(no_abort()))) };
        let signal = abort.signal();
        self.loads.borrow_mut().insert(load, abort);
        let models = self.models.clone();
        spawn_local(async move {
            let options = LoadOptions {
                on_progress: Some(Rc::new(move |progress: Progress| send(Msg::LoadProgress(load, progress)))),
                on_notice: Some(Rc::new(move |notice: Notice| send(Msg::LoadNotice(load, notice)))),
                signal: Some(signal.clone()),
                ..Default::default()
            };
            let opened = match source {
                Ok(source) => Model::load(source, options).await,
                Err(error) => Err(error),
            };
            let model = match opened {
                Ok(model) if signal.aborted() => return model.close(),
                Ok(model) => model,
                Err(error) => return send(Msg::LoadEnded(load, Err(error))),
            };
            models.borrow_mut().insert(load, model.clone());
            send(Msg::ModelOpened(load, Box::new(facts(&model))));
            // The rows of the text are asked for before everything else is.
            dom::next_task().await;
            send(Msg::LoadEnded(load, model.ready().await));
        });
    }

    /// Ends a load, or closes its model.
    pub fn close(&self, load: u64) {
        if let Some(abort) = self.loads.borrow_mut().remove(&load) {
            abort.abort();
        }
        if let Some(model) = self.models.borrow_mut().remove(&load) {
            model.close();
        }
    }

    fn model(&self, number: u64) -> Result<Model> {
        let gone = || Error::new(Code::Aborted, "the model was closed.");
        self.models.borrow().get(&number).cloned().ok_or_else(gone)
    }

    /// A run of this number can be ended from now on.
    fn begin(&self, run: u64) -> Result<AbortSignal> {
        let abort = AbortController::new().map_err(|_| no_abort())?;
        let signal = abort.signal();
        self.runs.borrow_mut().insert(run, abort);
        Ok(signal)
    }

    /// Ends a run.
    pub fn abort(&self, run: u64) {
        if let Some(abort) = self.runs.borrow_mut().remove(&run) {
            abort.abort();
        }
    }

    /// Traces texts.
    pub fn trace(&self, wanted: TraceRun) {
        let run = wanted.run;
        let (model, signal) = match self.model(wanted.model).and_then(|model| Ok((model, self.begin(run)?))) {
            Ok(begun) => begun,
            Err(error) => return send(Msg::Traced(run, Err(error))),
        };
        let on_partial = move |trace: Trace| send(Msg::Partial(run, Box::new(trace)));
        let on_share = move |share: f64| send(Msg::Share(run, share));
        let options = TraceOptions {
            record: wanted.record,
            signal: Some(signal),
            on_partial: wanted.parts.then(|| Rc::new(on_partial) as Rc<dyn Fn(Trace)>),
            on_share: wanted.share.then(|| Rc::new(on_share) as Rc<dyn Fn(f64)>),
        };
        let runs = self.runs.clone();
        spawn_local(async move {
            let outcome = model.trace(wanted.texts, options).await;
            let ended = dom::now();
            // Reading the trace was work enough for one task.
            dom::next_task().await;
            runs.borrow_mut().remove(&run);
            let finished = |trace| Box::new(Finished { trace, ended, workers: model.workers(), simd: model.simd() });
            send(Msg::Traced(run, outcome.map(finished)));
        });
    }

    /// Finds since when the prediction leads; where that cannot be had, nobody misses it.
    pub fn find_leads(&self, shown: u64, model: u64, texts: Vec<String>, record: RunOptions) {
        let Ok(model) = self.model(model) else { return };
        spawn_local(async move {
            let options = TraceOptions { record, ..TraceOptions::default() };
            if let Ok(found) = model.trace(texts, options).await {
                send(Msg::Leads(shown, Box::new(found)));
            }
        });
    }

    /// Goes on with a text.
    pub fn sample(&self, model: u64, text: String, options: SampleOptions, appending: Appending) {
        let model = self.model(model);
        spawn_local(async move {
            let outcome = match model {
                Ok(model) => model.sample(text, options, None).await,
                Err(error) => Err(error),
            };
            send(Msg::Sampled(appending, outcome));
        });
    }

    /// Patches the first text into the second.
    pub fn patch(&self, run: u64, model: u64, clean: String, corrupted: String, options: PatchOptions) {
        let (model, signal) = match self.model(model).and_then(|model| Ok((model, self.begin(run)?))) {
            Ok(begun) => begun,
            Err(error) => return send(Msg::Patched(run, Err(error))),
        };
        let runs = self.runs.clone();
        spawn_local(async move {
            let on_part = move |found: Patching| send(Msg::PatchPart(run, Box::new(found)));
            let outcome = model.patch(clean, corrupted, options, Some(signal), on_part).await;
            runs.borrow_mut().remove(&run);
            send(Msg::Patched(run, outcome.map(Box::new)));
        });
    }
}

fn no_abort() -> Error {
    Error::new(Code::UnsupportedBrowser, "The browser has no AbortController.")
}

fn source(choice: &ModelChoice) -> Result<api::ModelSource> {
    match &choice.from {
        Source::Address(address) => Ok(api::ModelSource::Address(address.clone())),
        Source::Files(number) => FILES.with_borrow(|kept| {
            let files = kept.iter().find(|(kept, _)| kept == number).map(|(_, files)| files.as_slice());
            ModelFiles::from_picked(files.unwrap_or_default()).map(api::ModelSource::Files)
        }),
    }
}

fn facts(model: &Model) -> ModelFacts {
    ModelFacts {
        info: model.info(),
        parameters: model.parameters(),
        weights_bytes: model.weights_bytes(),
        has_tokenizer: model.has_tokenizer(),
    }
}
