//! The page's end of the wire to an engine worker: requests out, answers in, and what becomes of those who wait when the
//! engine ends. Must never know: how an engine is started, what a model is loaded from.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use js_sys::{Function, Object, Promise, Reflect};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{AbortSignal, Event, MessageEvent, Worker};

use super::abort::{AbortListener, aborted};
use super::deferred::Deferred;
use super::errors;
use protocol::watchdog::{LOOK_EVERY, Look, MOST_SILENT, Watchdog};
use protocol::{FromEngine, Notice, Opened, Progress, Task, ToEngine};
use trace::{Code, Error, Result};

#[wasm_bindgen]
extern "C" {
    // Of the global scope, be that a window, a worker or Node.
    #[wasm_bindgen(js_name = setInterval)]
    fn set_interval(callback: &Function, milliseconds: u32) -> JsValue;
    #[wasm_bindgen(js_name = clearInterval)]
    fn clear_interval(handle: &JsValue);
}

/// What to trace.
pub(super) enum Input {
    Texts(Vec<String>),
    Ids(Vec<Vec<u32>>),
}

/// Who is told of a request on its way.
#[derive(Clone, Default)]
pub(super) struct Callbacks {
    /// Of what is done so far.
    pub partial: Option<Rc<dyn Fn(JsValue)>>,
    /// Of how far it is.
    pub share: Option<Rc<dyn Fn(f64)>>,
}

/// A trace that is being made.
struct Pending {
    answer: Deferred,
    callbacks: Callbacks,
    _abort: Option<AbortListener>,
}

/// An engine worker, and who waits for what of it. Dropping it ends the worker.
pub(super) struct Connection {
    worker: Worker,
    /// What is known of the model.
    pub opened: RefCell<Opened>,
    /// Settled once settings and tensor index are read.
    pub opening: Deferred,
    ready: Deferred,
    on_progress: Option<Rc<dyn Fn(Progress)>>,
    on_notice: Option<Rc<dyn Fn(Notice)>>,
    /// Whether everything has been asked for.
    wants_all: Cell<bool>,
    pending: RefCell<HashMap<u32, Pending>>,
    last_request: Cell<u32>,
    /// Why there is no engine any more.
    ended: RefCell<Option<Error>>,
    /// Stops loading.
    abort: RefCell<Option<AbortListener>>,
    watchdog: Watchdog,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.worker.terminate();
    }
}

/// Listeners on the worker, for messages and for errors, and the watchdog's looks; dropping them ends the listening.
pub(super) struct Listeners {
    _on_message: Closure<dyn Fn(MessageEvent)>,
    _on_error: Closure<dyn Fn(Event)>,
    _on_look: Closure<dyn Fn()>,
    looks: JsValue,
}

impl Drop for Listeners {
    fn drop(&mut self) {
        clear_interval(&self.looks);
    }
}

/// Listens to the worker, and watches over it.
pub(super) fn listen(connection: &Rc<Connection>) -> Listeners {
    let weak = Rc::downgrade(connection);
    let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
        if let Some(connection) = weak.upgrade() {
            connection.hear(&event.data());
        }
    });
    let weak = Rc::downgrade(connection);
    let on_error = Closure::<dyn Fn(Event)>::new(move |event: Event| {
        event.prevent_default();
        if let Some(connection) = weak.upgrade() {
            let why = Reflect::get(&event, &"message".into()).ok().and_then(|why| why.as_string()).unwrap_or_default();
            connection.end(&Error::new(Code::EngineCrashed, format!("the engine could not go on: {why}")));
        }
    });
    let weak = Rc::downgrade(connection);
    let on_look = Closure::<dyn Fn()>::new(move || {
        if let Some(connection) = weak.upgrade() {
            connection.look();
        }
    });
    connection.worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    connection.worker.set_onerror(Some(on_error.as_ref().unchecked_ref()));
    let looks = set_interval(on_look.as_ref().unchecked_ref(), LOOK_EVERY);
    // In Node, a timer would keep a program from ending; a browser's is a number.
    let unref = Reflect::get(&looks, &"unref".into()).ok().and_then(|unref| unref.dyn_into::<Function>().ok());
    if let Some(unref) = unref {
        let _ = unref.call0(&looks);
    }
    Listeners { _on_message: on_message, _on_error: on_error, _on_look: on_look, looks }
}

impl Connection {
    pub fn new(
        worker: Worker,
        on_progress: Option<Rc<dyn Fn(Progress)>>,
        on_notice: Option<Rc<dyn Fn(Notice)>>,
    ) -> Connection {
        let (opening, ready) = (Deferred::new(), Deferred::new());
        // Without a handler of their own, promises that nobody asked for would complain on the console.
        for promise in [opening.promise.clone(), ready.promise.clone()] {
            spawn_local(async move {
                let _ = JsFuture::from(promise).await;
            });
        }
        Connection {
            worker,
            opened: RefCell::default(),
            opening,
            ready,
            on_progress,
            on_notice,
            wants_all: Cell::new(false),
            pending: RefCell::default(),
            last_request: Cell::new(0),
            ended: RefCell::new(None),
            abort: RefCell::new(None),
            watchdog: Watchdog::default(),
        }
    }

    /// Ends loading when the signal fires.
    pub fn stop_loading_on(self: &Rc<Self>, signal: AbortSignal) {
        let weak = Rc::downgrade(self);
        let on_abort = move || {
            if let Some(connection) = weak.upgrade() {
                connection.end(&aborted("loading the model"));
            }
        };
        self.abort.replace(Some(AbortListener::new(signal, on_abort)));
    }

    /// Asks for all of the model, once; the promise settles when it is here.
    pub fn everything(&self) -> Promise {
        if !self.wants_all.replace(true) {
            // A worker that is gone has already settled the promise.
            let _ = self.send(&ToEngine::WantAll, None);
        }
        self.ready.promise.clone()
    }

    /// Asks for something; the promise settles with the answer as JavaScript has it.
    pub fn ask(
        self: &Rc<Self>,
        input: Input,
        task: Task,
        signal: Option<AbortSignal>,
        callbacks: Callbacks,
    ) -> Result<Promise> {
        if let Some(error) = self.ended.borrow().clone() {
            return Err(error);
        }
        if signal.as_ref().is_some_and(AbortSignal::aborted) {
            return Err(aborted("the trace"));
        }
        let request = self.last_request.get().wrapping_add(1);
        self.last_request.set(request);
        let answer = Deferred::new();
        let promise = answer.promise.clone();
        let abort = signal.map(|signal| {
            let weak = Rc::downgrade(self);
            AbortListener::new(signal, move || {
                if let Some(connection) = weak.upgrade() {
                    connection.cancel(request);
                }
            })
        });
        let (partial, share) = (callbacks.partial.is_some(), callbacks.share.is_some());
        self.pending.borrow_mut().insert(request, Pending { answer, callbacks, _abort: abort });
        let (texts, ids) = match input {
            Input::Texts(texts) => (Some(texts), None),
            Input::Ids(ids) => (None, Some(ids)),
        };
        if let Err(error) = self.send(&ToEngine::Ask { request, texts, ids, task, partial, share }, None) {
            self.pending.borrow_mut().remove(&request);
            return Err(error);
        }
        Ok(promise)
    }

    /// Whether anybody waits for the engine.
    fn is_awaited(&self) -> bool {
        let is_loading = !self.opening.is_settled() || (self.wants_all.get() && !self.ready.is_settled());
        self.ended.borrow().is_none() && (is_loading || !self.pending.borrow().is_empty())
    }

    fn look(&self) {
        match self.watchdog.look(self.is_awaited()) {
            Look::Wait => {}
            // One that takes no messages does not answer either.
            Look::Ping => drop(self.send(&ToEngine::Ping, None)),
            Look::Gone => {
                let minutes = MOST_SILENT * LOOK_EVERY / 60_000;
                let message =
                    format!("the engine has not answered for {minutes} minutes, and was ended: load the model again.");
                self.end(&Error::new(Code::EngineCrashed, message));
            }
        }
    }

    /// Sends a message, with what the reader picked beside it.
    pub fn send(&self, message: &ToEngine, files: Option<JsValue>) -> Result<()> {
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
        self.watchdog.hear();
        let message = Reflect::get(data, &"message".into()).unwrap_or(JsValue::UNDEFINED);
        let trace = || Reflect::get(data, &"trace".into()).unwrap_or(JsValue::UNDEFINED);
        match serde_wasm_bindgen::from_value(message) {
            Ok(FromEngine::Pong) => {}
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
                let on_partial =
                    self.pending.borrow().get(&request).and_then(|pending| pending.callbacks.partial.clone());
                if let Some(on_partial) = on_partial {
                    on_partial(trace());
                }
            }
            Ok(FromEngine::Share { request, share }) => {
                let on_share = self.pending.borrow().get(&request).and_then(|pending| pending.callbacks.share.clone());
                if let Some(on_share) = on_share {
                    on_share(share);
                }
            }
            Ok(FromEngine::Done { request }) => {
                if let Some(pending) = self.pending.borrow_mut().remove(&request) {
                    pending.answer.resolve(&trace());
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
            pending.answer.reject(error);
        }
    }

    fn cancel(&self, request: u32) {
        if self.pending.borrow().contains_key(&request) {
            let _ = self.send(&ToEngine::Cancel { request }, None);
            self.reject(request, &aborted("the trace"));
        }
    }

    /// Ends the worker and rejects everything that waits for it.
    pub fn end(&self, error: &Error) {
        if self.ended.borrow().is_some() {
            return;
        }
        self.ended.replace(Some(error.clone()));
        self.worker.terminate();
        self.opening.reject(error);
        self.ready.reject(error);
        let pending = self.pending.take();
        for pending in pending.into_values() {
            pending.answer.reject(error);
        }
    }
}
