//! The worker's message loop: one model per worker, requests in the order they come.
//!
//! Computing and listening share one thread, so a run takes a [`Breath`] between blocks; that is when a
//! cancellation is heard. Ending the worker ends everything, and gives its memory back.
//!
//! `loading` starts a load, and starts it again when a helper was lost; `posting` is the way to the page.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use futures_util::future::AbortHandle;
use js_sys::Reflect;
use tokio::sync::{Mutex, watch};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;
use web_sys::MessageEvent;

mod loading;
mod posting;

use loading::{From, Wanted, picked};
use posting::{get, post, post_crash, scope};

use super::breath::Breath;
use super::parts::Parts;
use super::pool::workers;
use super::run::{from_ids, run, tokenize};
use crate::model::{Tokenizer, stopwatch};
use crate::protocol::{FromEngine, RunOptions, ToEngine};
use crate::trace::{ModelInfo, Sequence, Trace, js};
use crate::weights::time::{next_task, now};
use crate::{Code, Error, Result};

/// Bytes of the last allocation that was refused, 0 where none was. Asked after a trap, to tell an empty memory
/// from a fault.
#[wasm_bindgen]
pub fn refused_bytes() -> f64 {
    super::memory::refused_bytes() as f64
}

/// Starts listening: for the page, or as a helper for the worker that started this one.
pub fn start() {
    std::panic::set_hook(Box::new(|panic| {
        let message = format!("the engine stopped because of a fault in this program: {panic}");
        post_crash(Error::new(Code::EngineCrashed, message));
    }));
    if workers::is_helper() {
        return workers::serve(post_crash);
    }
    let engine = Rc::new(Engine {
        session: watch::Sender::new(None),
        stops: RefCell::new(HashMap::new()),
        turn: Mutex::new(()),
        loading: RefCell::new(None),
        losses: Cell::new(0),
        told: Cell::default(),
        wants_all: Cell::new(false),
    });
    let listen = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| engine.clone().hear(&event.data()));
    scope().set_onmessage(Some(listen.as_ref().unchecked_ref()));
    listen.forget(); // listens as long as the worker lives
}

/// A model that can be run.
struct Session {
    info: ModelInfo,
    tokenizer: Option<Tokenizer>,
    parts: Rc<Parts>,
}

type Opening = Option<Result<Rc<Session>>>;

struct Engine {
    session: watch::Sender<Opening>,
    /// Requests under way, each with its stop sign.
    stops: RefCell<HashMap<u32, Rc<Cell<bool>>>>,
    /// Held by the request that is computing.
    turn: Mutex<()>,
    /// What is being loaded, or was, and the way to end that.
    loading: RefCell<Option<(Wanted, AbortHandle)>>,
    /// How often a helper was lost.
    losses: Cell<u32>,
    /// What the page knows: whether the model is open, and whether it is here as a whole.
    told: Cell<(bool, bool)>,
    /// Whether everything was asked for.
    wants_all: Cell<bool>,
}

impl Engine {
    fn hear(self: Rc<Self>, data: &JsValue) {
        let message = match serde_wasm_bindgen::from_value(get(data, "message")) {
            Ok(message) => message,
            Err(why) => {
                let error =
                    Error::new(Code::EngineCrashed, format!("page and engine are of different versions: {why}"));
                return post(&FromEngine::Crashed { error }, None);
            }
        };
        match message {
            ToEngine::Load { address, source, hub, cache, parallel, workers } => {
                let from = match address {
                    Some(address) => From::Address { address, hub, cache },
                    None => From::Files(picked(data)),
                };
                self.begin_load(Wanted { from, source, parallel, workers });
            }
            ToEngine::WantAll => spawn_local(async move {
                self.wants_all.set(true);
                if let Ok(session) = self.session().await {
                    session.parts.demand.everything();
                }
            }),
            ToEngine::Trace { request, texts, ids, options, partial } => {
                let stop = Rc::new(Cell::new(false));
                self.stops.borrow_mut().insert(request, stop.clone());
                spawn_local(async move {
                    let on_partial = |trace: Trace| {
                        if partial {
                            post(&FromEngine::Partial { request }, Some(js::to_js(&trace)));
                        }
                    };
                    let pause = Pause { stop, since: Cell::new(now()) };
                    match self.trace((texts, ids), options, &pause, on_partial).await {
                        Ok(trace) => post(&FromEngine::Done { request }, Some(trace)),
                        Err(error) => post(&FromEngine::Failed { request, error }, None),
                    }
                    self.stops.borrow_mut().remove(&request);
                });
            }
            ToEngine::Cancel { request } => {
                if let Some(stop) = self.stops.borrow().get(&request) {
                    stop.set(true);
                }
            }
        }
    }

    async fn trace(
        self: &Rc<Self>,
        (texts, ids): (Option<Vec<String>>, Option<Vec<Vec<u32>>>),
        options: RunOptions,
        pause: &Pause,
        on_partial: impl Fn(Trace),
    ) -> Result<JsValue> {
        let session = self.session().await?;
        let _turn = self.turn.lock().await;
        pause.breathe().await?;
        let tokenizer = session.tokenizer.as_ref();
        let sequences = match (texts, ids) {
            (Some(texts), _) => {
                let tokenizer = tokenizer.ok_or_else(|| {
                    Error::new(Code::NoTokenizer, "this model came without tokenizer.json (or vocab.json and merges.txt), so text cannot be split into tokens; give token ids instead.")
                })?;
                texts.iter().map(|text| tokenize(tokenizer, text)).collect::<Result<Vec<_>>>()?
            }
            (None, ids) => ids.unwrap_or_default().into_iter().map(|ids| from_ids(tokenizer, ids)).collect(),
        };
        let trace = |sequences: Vec<Sequence>| Trace {
            model: session.info.clone(),
            sequences,
            ablate: options.ablate.clone(),
        };
        let partial = |sequences| on_partial(trace(sequences));
        let began = now();
        if options.profile {
            stopwatch::start(now);
        }
        let ran = run(&session.parts, tokenizer, sequences, &options, pause, partial).await;
        let spent = stopwatch::stop();
        if session.parts.team.failure().is_some() {
            self.clone().load_again();
        }
        let trace = js::to_js(&trace(ran?));
        if options.profile {
            let _ = Reflect::set(&trace, &"profile".into(), &profile(now() - began, spent));
        }
        Ok(trace)
    }

    async fn session(&self) -> Result<Rc<Session>> {
        let mut opening = self.session.subscribe();
        let opened = opening.wait_for(Option::is_some).await.ok().and_then(|opening| opening.clone());
        opened.unwrap_or_else(|| Err(Error::new(Code::BadArgument, "no model has been asked for")))
    }
}

/// Milliseconds in all, and on each kind of work.
fn profile(total: f64, spent: [f64; 4]) -> JsValue {
    let object = js_sys::Object::new();
    let rest = total - spent.iter().sum::<f64>();
    let names = ["linear", "attention", "norms", "exchange", "other", "total"];
    for (name, time) in names.into_iter().zip(spent.into_iter().chain([rest, total])) {
        let _ = Reflect::set(&object, &name.into(), &time.into());
    }
    object.into()
}

/// Lets messages in between blocks.
struct Pause {
    stop: Rc<Cell<bool>>,
    since: Cell<f64>,
}

impl Breath for Pause {
    async fn breathe(&self) -> Result<()> {
        /// Milliseconds of computing between two looks at the inbox.
        const BETWEEN: f64 = 24.0;
        if now() - self.since.get() > BETWEEN {
            next_task().await;
            self.since.set(now());
        }
        if self.stop.get() {
            return Err(Error::new(Code::Aborted, "the trace was stopped."));
        }
        Ok(())
    }
}
