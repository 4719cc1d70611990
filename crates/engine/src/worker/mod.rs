//! The worker's message loop: one model per worker, requests in the order they come.
//!
//! Computing and listening share one thread, so a run takes a [`RunControl`] between blocks; that is when a
//! cancellation is heard. Ending the worker ends everything, and gives its memory back.
//!
//! `load` starts a load, and starts it again when a helper was lost; `posting` is the way to the page.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use futures_util::future::AbortHandle;
use js_sys::Reflect;
use tokio::sync::{Mutex, watch};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;
use web_sys::MessageEvent;

mod load;
mod posting;

use load::{LoadRequest, ModelSource, picked};
use posting::{get, post, post_crash, scope};

use super::pool::web_workers;
use crate::model::{Tokenizer, stopwatch};
use crate::run::patch::patch;
use crate::run::run_control::RunControl;
use crate::run::sample::sample;
use crate::run::streaming_model::StreamingModel;
use crate::run::texts::{check_texts, from_ids, of_text, run, tokenize};
use crate::time::{next_task, now};
use crate::{Code, Error, Result};
use protocol::{FromEngine, RunOptions, Task, ToEngine, js};
use trace::{ModelInfo, Sequence, Trace};

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
    if web_workers::is_helper() {
        return web_workers::serve(post_crash);
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
    model: Rc<StreamingModel>,
}

type Opening = Option<Result<Rc<Session>>>;

struct Engine {
    session: watch::Sender<Opening>,
    /// Requests under way, each with its stop sign.
    stops: RefCell<HashMap<u32, Rc<Cell<bool>>>>,
    /// Held by the request that is computing.
    turn: Mutex<()>,
    /// What is being loaded, or was, and the way to end that.
    loading: RefCell<Option<(LoadRequest, AbortHandle)>>,
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
                return post(&FromEngine::Crashed { error: error.into() }, None);
            }
        };
        match message {
            ToEngine::Load { address, source, hub, cache, parallel, workers } => {
                let from = match address {
                    Some(address) => ModelSource::Address { address, hub, cache },
                    None => ModelSource::Files(picked(data)),
                };
                self.begin_load(LoadRequest { from, source, parallel, workers });
            }
            ToEngine::WantAll => spawn_local(async move {
                self.wants_all.set(true);
                if let Ok(session) = self.session().await {
                    session.model.requests.everything();
                }
            }),
            ToEngine::Ask { request, texts, ids, task, partial, share } => {
                let stop = Rc::new(Cell::new(false));
                self.stops.borrow_mut().insert(request, stop.clone());
                spawn_local(async move {
                    let on_partial = |answer: JsValue| {
                        if partial {
                            post(&FromEngine::Partial { request }, Some(answer));
                        }
                    };
                    let told = share.then_some(request);
                    let pause = Pause { stop, since: Cell::new(now()), told, work: Cell::default() };
                    match self.answer(texts, ids, task, &pause, on_partial).await {
                        Ok(answer) => post(&FromEngine::Done { request }, Some(answer)),
                        Err(error) => post(&FromEngine::Failed { request, error: error.into() }, None),
                    }
                    self.stops.borrow_mut().remove(&request);
                });
            }
            ToEngine::Cancel { request } => {
                if let Some(stop) = self.stops.borrow().get(&request) {
                    stop.set(true);
                }
            }
            ToEngine::Ping => post(&FromEngine::Pong, None),
        }
    }

    async fn answer(
        self: &Rc<Self>,
        texts: Option<Vec<String>>,
        ids: Option<Vec<Vec<u32>>>,
        task: Task,
        pause: &Pause,
        on_partial: impl Fn(JsValue),
    ) -> Result<JsValue> {
        let session = self.session().await?;
        let _turn = self.turn.lock().await;
        pause.yield_now().await?;
        let tokenizer = session.tokenizer.as_ref();
        let sequences = match (texts, ids) {
            (Some(texts), _) => {
                let tokenizer = tokenizer.ok_or_else(|| {
                    Error::new(Code::NoTokenizer, "this model came without tokenizer.json (or vocab.json and merges.txt), so text cannot be split into tokens; give token ids instead.")
                })?;
                let mut sequences = Vec::with_capacity(texts.len());
                for (number, text) in texts.iter().enumerate() {
                    let sequence = tokenize(tokenizer, text).map_err(|why| of_text(why, number, texts.len()))?;
                    sequences.push(sequence);
                    pause.yield_now().await?;
                }
                sequences
            }
            (None, ids) => ids.unwrap_or_default().into_iter().map(|ids| from_ids(tokenizer, ids)).collect(),
        };
        let answer = match task {
            Task::Tokenize => check_texts(&session.model, &sequences).map(|()| js::tokens_to_js(&sequences)),
            Task::Trace(options) => trace(&session, sequences, &options, pause, on_partial).await,
            Task::Sample(options) => {
                let [start] = <[Sequence; 1]>::try_from(sequences).map_err(|_| wants("sample", "one text"))?;
                let sampled = sample(&session.model, tokenizer, start, &options, pause).await;
                sampled.map(|sampled| js::sampled_to_js(&sampled))
            }
            Task::Patch(options) => {
                let [clean, corrupted] =
                    <[Sequence; 2]>::try_from(sequences).map_err(|_| wants("patch", "two texts"))?;
                let on_layer = |found: &_| on_partial(js::patching_to_js(found));
                let found = patch(&session.model, tokenizer, clean, corrupted, &options, pause, on_layer).await;
                found.map(|found| js::patching_to_js(&found))
            }
        };
        if session.model.pool.failure().is_some() {
            self.clone().load_again();
        }
        answer
    }

    async fn session(&self) -> Result<Rc<Session>> {
        let mut opening = self.session.subscribe();
        let opened = opening.wait_for(Option::is_some).await.ok().and_then(|opening| opening.clone());
        opened.unwrap_or_else(|| Err(Error::new(Code::BadArgument, "no model has been asked for")))
    }
}

/// Traces sequences, and says where the time went if that is wanted.
async fn trace(
    session: &Session,
    sequences: Vec<Sequence>,
    options: &RunOptions,
    pause: &Pause,
    on_partial: impl Fn(JsValue),
) -> Result<JsValue> {
    let trace = |sequences: Vec<Sequence>| {
        let (model, ablate) = (session.info.clone(), options.ablate.clone());
        js::to_js(&Trace { model, sequences, ablate, patching: None })
    };
    let began = now();
    if options.profile {
        stopwatch::start(now);
    }
    let partial = |sequences| on_partial(trace(sequences));
    let ran = run(&session.model, session.tokenizer.as_ref(), sequences, options, pause, partial).await;
    let spent = stopwatch::stop();
    let trace = trace(ran?);
    if options.profile {
        let _ = Reflect::set(&trace, &"profile".into(), &profile(now() - began, spent));
    }
    Ok(trace)
}

fn wants(what: &str, texts: &str) -> Error {
    Error::new(Code::BadArgument, format!("{what}: expected {texts}"))
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

/// Lets messages in between blocks, and says how far the run is.
struct Pause {
    stop: Rc<Cell<bool>>,
    since: Cell<f64>,
    /// The request whose page wants to know how far it is.
    told: Option<u32>,
    /// Work done, and work in all.
    work: Cell<(f64, f64)>,
}

impl RunControl for Pause {
    async fn yield_now(&self) -> Result<()> {
        /// Milliseconds of computing between two looks at the inbox.
        const BETWEEN: f64 = 24.0;
        if now() - self.since.get() > BETWEEN {
            let (done, all) = self.work.get();
            if let Some(request) = self.told.filter(|_| all > 0.0) {
                post(&FromEngine::Share { request, share: (done / all).min(1.0) }, None);
            }
            next_task().await;
            self.since.set(now());
        }
        if self.stop.get() {
            return Err(Error::new(Code::Aborted, "the trace was stopped."));
        }
        Ok(())
    }

    fn expect_work(&self, work: f64) {
        self.work.set((0.0, work));
    }

    fn work_done(&self, work: f64) {
        let (done, all) = self.work.get();
        self.work.set((done + work, all));
    }
}
