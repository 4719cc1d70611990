//! A model on the page's side: a handle on the worker that holds it.

use std::rc::Rc;

use js_sys::Promise;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;
use web_sys::AbortSignal;

use super::abort::aborted;
use super::connection::{Callbacks, Connection, Input, Listeners, listen};
use super::errors;
use super::launch::{demo, launch};
use super::source::ModelSource;
use protocol::{Notice, Opened, PatchOptions, Progress, RunOptions, SampleOptions, Task, ToEngine, js};
use trace::{Code, Error, ModelInfo, Patching, Result, Sampled, Trace};

/// How to load.
#[derive(Clone)]
pub struct LoadOptions {
    /// Told how loading goes on.
    pub on_progress: Option<Rc<dyn Fn(Progress)>>,
    /// Stops loading.
    pub signal: Option<AbortSignal>,
    /// Base URL instead of the Hugging Face hub.
    pub hub: Option<String>,
    /// Whether pieces may be kept in the browser's storage, for the next visit.
    pub cache: bool,
    /// Range requests at a time.
    pub parallel: usize,
    /// Workers to compute with; none to let the engine choose.
    pub workers: Option<usize>,
    /// Told what the reader should know while loading goes on.
    pub on_notice: Option<Rc<dyn Fn(Notice)>>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions {
            on_progress: None,
            signal: None,
            hub: None,
            cache: true,
            parallel: 4,
            workers: None,
            on_notice: None,
        }
    }
}

/// How to trace.
#[derive(Clone, Default)]
pub struct TraceOptions {
    /// What to record.
    pub record: RunOptions,
    /// Stops the trace.
    pub signal: Option<AbortSignal>,
    /// Told after each block of a model that is still arriving.
    pub on_partial: Option<Rc<dyn Fn(Trace)>>,
    /// Told how far the trace is, of 1.
    pub on_share: Option<Rc<dyn Fn(f64)>>,
}

/// A model in a worker of its own. Clones share it; [`Model::close`], or the last clone's end, ends the worker.
#[derive(Clone)]
pub struct Model {
    connection: Rc<Connection>,
    _listeners: Rc<Listeners>,
}

impl Model {
    /// Starts an engine and loads a model into it. Returns once settings and tensor index are read; blocks go on
    /// arriving, and [`Model::ready`] waits for the last.
    ///
    /// # Errors
    /// Every code of loading; the engine is gone then.
    pub async fn load(source: ModelSource, options: LoadOptions) -> Result<Model> {
        let stopped = || aborted("loading the model");
        let is_aborted = |signal: &Option<AbortSignal>| signal.as_ref().is_some_and(AbortSignal::aborted);
        if is_aborted(&options.signal) {
            return Err(stopped());
        }
        let worker = launch().await?;
        let connection = Rc::new(Connection::new(worker, options.on_progress, options.on_notice));
        let model = Model { _listeners: Rc::new(listen(&connection)), connection };
        if is_aborted(&options.signal) {
            return Err(stopped());
        }
        if let Some(signal) = options.signal {
            model.connection.stop_loading_on(signal);
        }
        let LoadOptions { hub, cache, parallel, workers, .. } = options;
        let name = source.name().to_string();
        let from = if matches!(source, ModelSource::Address(_)) && name == "demo" { demo().await? } else { source };
        let (address, files) = match from {
            ModelSource::Address(address) => (Some(address), None),
            ModelSource::Files(files) => (None, Some(files.to_js().into())),
        };
        let load = ToEngine::Load { address, source: name, hub, cache, parallel, workers };
        model.connection.send(&load, files)?;
        JsFuture::from(model.connection.opening.promise.clone()).await.map_err(|why| errors::from_js(&why))?;
        Ok(model)
    }

    /// Sizes of the model.
    pub fn info(&self) -> ModelInfo {
        self.connection.opened.borrow().model.clone()
    }

    /// What is known of the model.
    pub(super) fn opened(&self) -> Opened {
        self.connection.opened.borrow().clone()
    }

    /// "relaxed" or "simd128": which engine runs.
    pub fn simd(&self) -> String {
        self.connection.opened.borrow().simd.clone()
    }

    /// Workers the engine computes with.
    pub fn workers(&self) -> usize {
        self.connection.opened.borrow().workers
    }

    /// Numbers in all tensors.
    pub fn parameters(&self) -> u64 {
        self.connection.opened.borrow().parameters as u64
    }

    /// Bytes of the tensors, as their files have them.
    pub fn weights_bytes(&self) -> f64 {
        self.connection.opened.borrow().weights_bytes
    }

    /// Whether text can be split; otherwise only token ids can be traced.
    pub fn has_tokenizer(&self) -> bool {
        self.connection.opened.borrow().has_tokenizer
    }

    /// Waits for the last byte. Asking is what makes the engine read the parts that no trace has needed.
    ///
    /// # Errors
    /// Whatever ended the loading.
    pub async fn ready(&self) -> Result<()> {
        JsFuture::from(self.ready_promise()).await.map(|_| ()).map_err(|why| errors::from_js(&why))
    }

    pub(super) fn ready_promise(&self) -> Promise {
        self.connection.everything()
    }

    /// Traces texts, one sequence each.
    ///
    /// # Errors
    /// Every code of tracing; `Aborted` when the signal fires or the model is closed.
    pub async fn trace(&self, texts: Vec<String>, options: TraceOptions) -> Result<Trace> {
        let partial = options.on_partial.map(|call| {
            Rc::new(move |trace: JsValue| {
                if let Ok(trace) = js::from_js(&trace) {
                    call(trace);
                }
            }) as Rc<dyn Fn(JsValue)>
        });
        let callbacks = Callbacks { partial, share: options.on_share };
        js::from_js(&self.answer(Input::Texts(texts), Task::Trace(options.record), options.signal, callbacks).await?)
    }

    /// Goes on with a text.
    ///
    /// # Errors
    /// `BadArgument` for options out of range, `TooLong`; as [`Model::trace`].
    pub async fn sample(&self, text: String, options: SampleOptions, signal: Option<AbortSignal>) -> Result<Sampled> {
        let answer = self.answer(Input::Texts(vec![text]), Task::Sample(options), signal, Callbacks::default()).await?;
        js::sampled_from_js(&answer).map_err(unreadable)
    }

    /// Patches the stream of a clean text into a corrupted one's. `on_partial` sees what is done, layer by layer.
    ///
    /// # Errors
    /// `BadArgument` for texts of different lengths; as [`Model::trace`].
    pub async fn patch(
        &self,
        clean: String,
        corrupted: String,
        options: PatchOptions,
        signal: Option<AbortSignal>,
        on_partial: impl Fn(Patching) + 'static,
    ) -> Result<Patching> {
        let partial: Rc<dyn Fn(JsValue)> = Rc::new(move |found: JsValue| {
            if let Ok(found) = js::patching_from_js(&found) {
                on_partial(found);
            }
        });
        let callbacks = Callbacks { partial: Some(partial), share: None };
        let texts = Input::Texts(vec![clean, corrupted]);
        let answer = self.answer(texts, Task::Patch(options), signal, callbacks).await?;
        js::patching_from_js(&answer).map_err(unreadable)
    }

    async fn answer(
        &self,
        input: Input,
        task: Task,
        signal: Option<AbortSignal>,
        callbacks: Callbacks,
    ) -> Result<JsValue> {
        let promise = self.request(input, task, signal, callbacks)?;
        JsFuture::from(promise).await.map_err(|why| errors::from_js(&why))
    }

    /// Asks for something; the promise settles with the answer as JavaScript has it.
    pub(super) fn request(
        &self,
        input: Input,
        task: Task,
        signal: Option<AbortSignal>,
        callbacks: Callbacks,
    ) -> Result<Promise> {
        self.connection.ask(input, task, signal, callbacks)
    }

    /// Ends the worker and gives its memory back. What is under way is rejected with `Aborted`.
    pub fn close(&self) {
        self.connection.end(&Error::new(Code::Aborted, "the model was closed."));
    }
}

fn unreadable(why: String) -> Error {
    Error::new(Code::EngineCrashed, format!("the engine's answer cannot be read: {why}"))
}
