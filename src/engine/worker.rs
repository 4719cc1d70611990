//! The worker's message loop: one model per worker, requests in the order they come.
//!
//! Computing and listening share one thread, so a run takes a [`Breath`] between blocks; that is when a
//! cancellation is heard. Ending the worker ends everything, and gives its memory back.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use futures_util::future::{AbortHandle, abortable};
use js_sys::{Array, Reflect};
use tokio::sync::{Mutex, watch};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;
use web_sys::{Blob, DedicatedWorkerGlobalScope, MessageEvent};

use super::load::{Loading, News, open};
use super::parts::Parts;
use super::pool::workers;
use super::run::{Breath, from_ids, run, tokenize};
use crate::model::checkpoint::wanted;
use crate::model::stopwatch;
use crate::model::team::Team;
use crate::model::{Config, Tokenizer};
use crate::protocol::{FromEngine, Notice, NoticeKind, Opened, Progress, RunOptions, ToEngine};
use crate::trace::{ModelInfo, Sequence, Trace, js};
use crate::weights::fetch::Remote;
use crate::weights::picked::Picked;
use crate::weights::store::{Keep, opfs::Shelf};
use crate::weights::time::next_task;
use crate::weights::visit::storage_notice;
use crate::weights::{Address, Files, Location};
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
        return workers::serve();
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

/// Helpers that are lost before the engine goes on alone.
const MOST_LOSSES: u32 = 3;

/// Which of the two builds this is.
const SIMD: &str = if cfg!(target_feature = "relaxed-simd") { "relaxed" } else { "simd128" };

/// The name of the model that comes with the site.
const DEMO: &str = "demo";

/// Says that this worker cannot go on.
pub(super) fn post_crash(error: Error) {
    post(&FromEngine::Crashed { error }, None);
}

/// What to load, and how.
#[derive(Clone)]
struct Wanted {
    from: From,
    source: String,
    parallel: usize,
    workers: Option<usize>,
}

/// Where a model is loaded from.
#[derive(Clone)]
enum From {
    Address { address: String, hub: Option<String>, cache: bool },
    Files(Vec<(String, Blob)>),
}

/// The model's folder in the browser's storage; a notice where there is none.
async fn shelf(location: &Location, source: &str) -> Option<Shelf> {
    match Shelf::open(&location.file(""), source).await {
        Ok(shelf) => Some(shelf),
        Err(error) => {
            post(&FromEngine::Notice { notice: storage_notice(&error) }, None);
            None
        }
    }
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

    fn begin_load(self: Rc<Self>, wanted: Wanted) {
        let engine = self.clone();
        let load = wanted.clone();
        let (task, handle) = abortable(async move { engine.load(load).await });
        self.loading.replace(Some((wanted, handle)));
        spawn_local(async move {
            let _ = task.await;
        });
    }

    /// A helper is gone, and its share of the weights with it: the model is loaded anew, from the browser's storage if
    /// it is there. The page is not told again what it knows.
    fn load_again(self: Rc<Self>) {
        let Some((mut wanted, handle)) = self.loading.take() else { return };
        handle.abort();
        self.losses.set(self.losses.get() + 1);
        if self.losses.get() > MOST_LOSSES {
            wanted.workers = Some(1);
        }
        let message =
            "A worker that computes a share of the model was lost; its share is being loaded anew.".to_string();
        post(&FromEngine::Notice { notice: Notice { kind: NoticeKind::Retrying, message } }, None);
        self.session.send_replace(None);
        self.begin_load(wanted);
    }

    async fn load(&self, wanted: Wanted) {
        let Wanted { from, source, parallel, workers } = wanted;
        let numbers = (parallel, workers);
        let loaded = match from {
            From::Files(files) => self.load_files(Picked(files), None::<Shelf>, source, numbers).await,
            From::Address { address, hub, cache } => match Address::parse(&address) {
                Ok(address) => {
                    let location = address.locate(hub.as_deref());
                    // The site's own demo model is as near as the storage is.
                    let keep = if cache && source != DEMO { shelf(&location, &source).await } else { None };
                    self.load_files(Remote::new(location), keep, source, numbers).await
                }
                Err(error) => Err(error.into()),
            },
        };
        let (opened, ready) = self.told.get();
        match loaded {
            Ok(()) if ready => {}
            Ok(()) => {
                self.told.set((opened, true));
                post(&FromEngine::Ready, None);
            }
            Err(error) => {
                self.session.send_if_modified(|session| {
                    let unopened = session.is_none();
                    if unopened {
                        *session = Some(Err(error.clone()));
                    }
                    unopened
                });
                if !ready {
                    post(&FromEngine::LoadFailed { error }, None);
                }
            }
        }
    }

    async fn load_files(
        &self,
        files: impl Files,
        keep: Option<impl Keep>,
        source: String,
        (parallel, workers): (usize, Option<usize>),
    ) -> Result<()> {
        let (opened, ready) = self.told.get();
        let last = Cell::new((f64::NEG_INFINITY, None));
        let report = |news: News| {
            let progress: Progress = match news {
                News::Progress(_) if ready => return,
                News::Progress(progress) => progress,
                News::Notice(notice) => return post(&FromEngine::Notice { notice }, None),
            };
            // A stream gives a piece every few hundred microseconds; the page needs a few reports a second,
            // and every one that says something new.
            let news = Some((progress.phase, progress.blocks_ready, progress.loaded >= progress.total));
            let (time, known) = last.get();
            if news != known || now() - time > 50.0 {
                last.set((now(), news));
                post(&FromEngine::Progress(progress), None);
            }
        };
        let hire = |config: &Config, json: &str| {
            workers::hire(config, json, workers.unwrap_or_else(|| workers::best_count(config)))
        };
        let mut loading: Loading<_, _> = open(files, keep, parallel, hire, &report).await?;
        let config = &loading.parts.config;
        let info = ModelInfo {
            source,
            n_layer: config.n_layer,
            n_head: config.n_head,
            n_embd: config.n_embd,
            n_positions: config.n_positions,
            vocab_size: config.vocab_size,
        };
        let parameters = wanted(config).iter().map(|want| want.shape.iter().product::<usize>() as f64).sum();
        let tokenizer = loading.tokenizer.take();
        let known = Opened {
            model: info.clone(),
            config_json: loading.config_json.clone(),
            parameters,
            has_tokenizer: tokenizer.is_some(),
            workers: loading.parts.team.size(),
            simd: SIMD.into(),
            weights_bytes: loading.weights_bytes as f64,
        };
        let session = Session { info, tokenizer, parts: loading.parts.clone() };
        if self.wants_all.get() {
            loading.parts.demand.everything();
        }
        self.session.send_replace(Some(Ok(Rc::new(session))));
        if !opened {
            self.told.set((true, ready));
            post(&FromEngine::Opened(known), None);
        }
        loading.serve(&report).await
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
        let trace = |sequences: Vec<Sequence>| Trace { model: session.info.clone(), sequences };
        let partial = |sequences| on_partial(trace(sequences));
        let began = now();
        if options.profile {
            stopwatch::start(now);
        }
        let ran = run(&session.parts, tokenizer, sequences, options, pause, partial).await;
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
        const BETWEEN: f64 = 8.0;
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

/// Files beside a message: pairs of name and blob.
fn picked(data: &JsValue) -> Vec<(String, Blob)> {
    let Ok(files) = get(data, "files").dyn_into::<Array>() else { return Vec::new() };
    let pair = |pair: JsValue| {
        let pair: Array = pair.dyn_into().ok()?;
        Some((pair.get(0).as_string()?, pair.get(1).dyn_into().ok()?))
    };
    files.iter().filter_map(pair).collect()
}

fn post(message: &FromEngine, trace: Option<JsValue>) {
    let object = js_sys::Object::new();
    let written = serde_wasm_bindgen::to_value(message).unwrap_or(JsValue::NULL);
    let _ = Reflect::set(&object, &"message".into(), &written);
    if let Some(trace) = trace {
        let _ = Reflect::set(&object, &"trace".into(), &trace);
    }
    let _ = scope().post_message(&object);
}

fn get(value: &JsValue, name: &str) -> JsValue {
    Reflect::get(value, &name.into()).unwrap_or(JsValue::UNDEFINED)
}

fn now() -> f64 {
    scope().performance().map_or(0.0, |clock| clock.now())
}

fn scope() -> DedicatedWorkerGlobalScope {
    js_sys::global().unchecked_into()
}
