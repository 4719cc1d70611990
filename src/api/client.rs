//! A model on the page's side: a handle on the worker that holds it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use js_sys::{Function, Object, Promise, Reflect};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{AbortSignal, Event, MessageEvent, Worker};

use super::abort::{AbortListener, aborted};
use super::deferred::Deferred;
use super::errors;
use super::launch::{demo, launch};
use super::source::Source;
use protocol::js;
use protocol::{FromEngine, Notice, Opened, PatchOptions, Progress, RunOptions, SampleOptions, Task, ToEngine};
use trace::closer::{Patching, Sampled};
use trace::{Code, Error, Result};
use trace::{ModelInfo, Trace};

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

/// Who is told of a request on its way.
#[derive(Clone, Default)]
pub(super) struct Told {
    /// Of what is done so far.
    pub partial: Option<Rc<dyn Fn(JsValue)>>,
    /// Of how far it is.
    pub share: Option<Rc<dyn Fn(f64)>>,
}

/// What to trace.
pub(super) enum Input {
    Texts(Vec<String>),
    Ids(Vec<Vec<u32>>),
}

/// A trace that is being made.
struct Pending {
    resolve: Function,
    reject: Function,
    told: Told,
    _abort: Option<AbortListener>,
}

struct Inner {
    worker: Worker,
    opened: RefCell<Opened>,
    opening: Deferred,
    ready: Deferred,
    on_progress: Option<Rc<dyn Fn(Progress)>>,
    on_notice: Option<Rc<dyn Fn(Notice)>>,
    /// Whether everything has been asked for.
    wants_all: Cell<bool>,
    pending: RefCell<HashMap<u32, Pending>>,
    last_request: Cell<u32>,
    /// Why there is no engine any more.
    ended: RefCell<Option<Error>>,
    abort: RefCell<Option<AbortListener>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.worker.terminate();
    }
}

/// A model in a worker of its own. Clones share it; [`Model::close`], or the last clone's end, ends the worker.
#[derive(Clone)]
pub struct Model {
    inner: Rc<Inner>,
    _listeners: Rc<Listeners>,
}

impl Model {
    /// Starts an engine and loads a model into it. Returns once settings and tensor index are read; blocks go on
    /// arriving, and [`Model::ready`] waits for the last.
    ///
    /// # Errors
    /// Every code of loading; the engine is gone then.
    pub async fn load(source: Source, options: LoadOptions) -> Result<Model> {
        let stopped = || aborted("loading the model");
        let is_aborted = |signal: &Option<AbortSignal>| signal.as_ref().is_some_and(AbortSignal::aborted);
        if is_aborted(&options.signal) {
            return Err(stopped());
        }
        let worker = launch().await?;
        let inner = Rc::new(Inner {
            worker,
            opened: RefCell::default(),
            opening: Deferred::new(),
            ready: Deferred::new(),
            on_progress: options.on_progress,
            on_notice: options.on_notice,
            wants_all: Cell::new(false),
            pending: RefCell::default(),
            last_request: Cell::new(0),
            ended: RefCell::new(None),
            abort: RefCell::new(None),
        });
        // Without a handler of their own, promises that nobody asked for would complain on the console.
        for promise in [inner.opening.promise.clone(), inner.ready.promise.clone()] {
            spawn_local(async move {
                let _ = JsFuture::from(promise).await;
            });
        }
        let model = Model { _listeners: Rc::new(listen(&inner)), inner };
        if is_aborted(&options.signal) {
            return Err(stopped());
        }
        if let Some(signal) = options.signal {
            let weak = Rc::downgrade(&model.inner);
            let on_abort = move || {
                if let Some(inner) = weak.upgrade() {
                    inner.end(&stopped());
                }
            };
            model.inner.abort.replace(Some(AbortListener::new(signal, on_abort)));
        }
        let LoadOptions { hub, cache, parallel, workers, .. } = options;
        let name = source.name().to_string();
        let from = if matches!(source, Source::Address(_)) && name == "demo" { demo().await? } else { source };
        let (address, files) = match from {
            Source::Address(address) => (Some(address), None),
            Source::Files(files) => (None, Some(files.to_js().into())),
        };
        let load = ToEngine::Load { address, source: name, hub, cache, parallel, workers };
        model.inner.send(&load, files)?;
        JsFuture::from(model.inner.opening.promise.clone()).await.map_err(|why| errors::from_js(&why))?;
        Ok(model)
    }

    /// Sizes of the model.
    pub fn info(&self) -> ModelInfo {
        self.inner.opened.borrow().model.clone()
    }

    /// What is known of the model.
    pub(super) fn opened(&self) -> Opened {
        self.inner.opened.borrow().clone()
    }

    /// "relaxed" or "simd128": which engine runs.
    pub fn simd(&self) -> String {
        self.inner.opened.borrow().simd.clone()
    }

    /// Workers the engine computes with.
    pub fn workers(&self) -> usize {
        self.inner.opened.borrow().workers
    }

    /// Numbers in all tensors.
    pub fn parameters(&self) -> u64 {
        self.inner.opened.borrow().parameters as u64
    }

    /// Bytes of the tensors, as their files have them.
    pub fn weights_bytes(&self) -> f64 {
        self.inner.opened.borrow().weights_bytes
    }

    /// Whether text can be split; otherwise only token ids can be traced.
    pub fn has_tokenizer(&self) -> bool {
        self.inner.opened.borrow().has_tokenizer
    }

    /// Waits for the last byte. Asking is what makes the engine read the parts that no trace has needed.
    ///
    /// # Errors
    /// Whatever ended the loading.
    pub async fn ready(&self) -> Result<()> {
        JsFuture::from(self.ready_promise()).await.map(|_| ()).map_err(|why| errors::from_js(&why))
    }

    pub(super) fn ready_promise(&self) -> Promise {
        if !self.inner.wants_all.replace(true) {
            // A worker that is gone has already settled the promise.
            let _ = self.inner.send(&ToEngine::WantAll, None);
        }
        self.inner.ready.promise.clone()
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
        let told = Told { partial, share: options.on_share };
        js::from_js(&self.answer(Input::Texts(texts), Task::Trace(options.record), options.signal, told).await?)
    }

    /// Goes on with a text.
    ///
    /// # Errors
    /// `BadArgument` for options out of range, `TooLong`; as [`Model::trace`].
    pub async fn sample(&self, text: String, options: SampleOptions, signal: Option<AbortSignal>) -> Result<Sampled> {
        let answer = self.answer(Input::Texts(vec![text]), Task::Sample(options), signal, Told::default()).await?;
        js::sampled_from_js(&answer).map_err(unreadable)
    }

    /// Patches the stream of a clean text into a corrupted one's. `on_partial` sees what is done, layer by layer.
    ///
    /// # Errors
    /// `BadArgument` for texts of different lengths; as [`Model::trace`].
    pub async fn patch(
        &self,
        (clean, corrupted): (String, String),
        options: PatchOptions,
        signal: Option<AbortSignal>,
        on_partial: impl Fn(Patching) + 'static,
    ) -> Result<Patching> {
        let partial: Rc<dyn Fn(JsValue)> = Rc::new(move |found: JsValue| {
            if let Ok(found) = js::patching_from_js(&found) {
                on_partial(found);
            }
        });
        let told = Told { partial: Some(partial), share: None };
        let texts = Input::Texts(vec![clean, corrupted]);
        let answer = self.answer(texts, Task::Patch(options), signal, told).await?;
        js::patching_from_js(&answer).map_err(unreadable)
    }

    async fn answer(&self, input: Input, task: Task, signal: Option<AbortSignal>, told: Told) -> Result<JsValue> {
        let promise = self.request(input, task, signal, told)?;
        JsFuture::from(promise).await.map_err(|why| errors::from_js(&why))
    }

    /// Asks for something; the promise settles with the answer as JavaScript has it.
    pub(super) fn request(&self, input: Input, task: Task, signal: Option<AbortSignal>, told: Told) -> Result<Promise> {
        if let Some(error) = self.inner.ended.borrow().clone() {
            return Err(error);
        }
        if signal.as_ref().is_some_and(AbortSignal::aborted) {
            return Err(aborted("the trace"));
        }
        let request = self.inner.last_request.get().wrapping_add(1);
        self.inner.last_request.set(request);
        let Deferred { promise, resolve, reject } = Deferred::new();
        let abort = signal.map(|signal| {
            let weak = Rc::downgrade(&self.inner);
            AbortListener::new(signal, move || {
                if let Some(inner) = weak.upgrade() {
                    inner.cancel(request);
                }
            })
        });
        let (partial, share) = (told.partial.is_some(), told.share.is_some());
        self.inner.pending.borrow_mut().insert(request, Pending { resolve, reject, told, _abort: abort });
        let (texts, ids) = match input {
            Input::Texts(texts) => (Some(texts), None),
            Input::Ids(ids) => (None, Some(ids)),
        };
        self.inner.send(&ToEngine::Ask { request, texts, ids, task, partial, share }, None)?;
        Ok(promise)
    }

    /// Ends the worker and gives its memory back. What is under way is rejected with `Aborted`.
    pub fn close(&self) {
        self.inner.end(&Error::new(Code::Aborted, "the model was closed."));
    }
}

fn unreadable(why: String) -> Error {
    Error::new(Code::EngineCrashed, format!("the engine's answer cannot be read: {why}"))
}

/// Listeners on the worker, for messages and for errors; dropping them ends the listening.
type Listeners = (Closure<dyn Fn(MessageEvent)>, Closure<dyn Fn(Event)>);

fn listen(inner: &Rc<Inner>) -> Listeners {
    let weak = Rc::downgrade(inner);
    let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
        if let Some(inner) = weak.upgrade() {
            inner.hear(&event.data());
        }
    });
    let weak = Rc::downgrade(inner);
    let on_error = Closure::<dyn Fn(Event)>::new(move |event: Event| {
        event.prevent_default();
        if let Some(inner) = weak.upgrade() {
            let why = Reflect::get(&event, &"message".into()).ok().and_then(|why| why.as_string()).unwrap_or_default();
            inner.end(&Error::new(Code::EngineCrashed, format!("the engine could not go on: {why}")));
        }
    });
    inner.worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    inner.worker.set_onerror(Some(on_error.as_ref().unchecked_ref()));
    (on_message, on_error)
}

impl Inner {
    fn send(&self, message: &ToEngine, files: Option<JsValue>) -> Result<()> {
        let failed = |why: String| Error::new(Code::BadArgument, format!("the engine cannot be sent this: {why}"));
        let object = Object::new();
        let written = serde_wasm_bindgen::to_value(message).map_err(|why| failed(why.to_string()))?;
        let _ = Reflect::set(&object, &"message".into(), &written);
        if let Some(files) = files {
            let _ = Reflect::set(&object, &"files".into(), &files);
        }
        self.worker.post_message(&object).map_err(|why| failed(errors::from_js(&why).message))
    }

    fn hear(&self, data: &JsValue) {
        let message = Reflect::get(data, &"message".into()).unwrap_or(JsValue::UNDEFINED);
        let trace = || Reflect::get(data, &"trace".into()).unwrap_or(JsValue::UNDEFINED);
        match serde_wasm_bindgen::from_value(message) {
            Ok(FromEngine::Progress(progress)) => {
                if let Some(on_progress) = &self.on_progress {
                    on_progress(progress);
                }
            }
            Ok(FromEngine::Notice { notice }) => {
                if let Some(on_notice) = &self.on_notice {
                    on_notice(notice);
                }
            }
            Ok(FromEngine::Opened(opened)) => {
                self.opened.replace(opened);
                self.opening.resolve(&JsValue::UNDEFINED);
            }
            Ok(FromEngine::Ready) => {
                self.abort.replace(None);
                self.ready.resolve(&JsValue::UNDEFINED);
            }
            Ok(FromEngine::Partial { request }) => {
                let on_partial = self.pending.borrow().get(&request).and_then(|pending| pending.told.partial.clone());
                if let Some(on_partial) = on_partial {
                    on_partial(trace());
                }
            }
            Ok(FromEngine::Share { request, share }) => {
                let on_share = self.pending.borrow().get(&request).and_then(|pending| pending.told.share.clone());
                if let Some(on_share) = on_share {
                    on_share(share);
                }
            }
            Ok(FromEngine::Done { request }) => {
                if let Some(pending) = self.pending.borrow_mut().remove(&request) {
                    let _ = pending.resolve.call1(&JsValue::UNDEFINED, &trace());
                }
            }
            Ok(FromEngine::Failed { request, error }) => self.reject(request, &error),
            Ok(FromEngine::LoadFailed { error } | FromEngine::Crashed { error }) => self.end(&error),
            Err(why) => {
                let message = format!("page and engine are of different versions ({why}). Reload the page.");
                self.end(&Error::new(Code::EngineCrashed, message));
            }
        }
    }

    fn reject(&self, request: u32, error: &Error) {
        // Taken out first: rejecting may run code that asks for another trace.
        let pending = self.pending.borrow_mut().remove(&request);
        if let Some(pending) = pending {
            let _ = pending.reject.call1(&JsValue::UNDEFINED, &errors::to_js(error));
        }
    }

    fn cancel(&self, request: u32) {
        if self.pending.borrow().contains_key(&request) {
            let _ = self.send(&ToEngine::Cancel { request }, None);
            self.reject(request, &aborted("the trace"));
        }
    }

    /// Ends the worker and rejects everything that waits for it.
    fn end(&self, error: &Error) {
        if self.ended.borrow().is_some() {
            return;
        }
        self.ended.replace(Some(error.clone()));
        self.worker.terminate();
        self.opening.reject(error);
        self.ready.reject(error);
        let pending = self.pending.take();
        for pending in pending.into_values() {
            let _ = pending.reject.call1(&JsValue::UNDEFINED, &errors::to_js(error));
        }
    }
}
