//! Models that run, one for each address however many embeds of a page show it.
//! May depend on: `api`, which loads and runs them.
//! Must never know: who shows what.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use js_sys::{Function, Promise};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::{JsFuture, spawn_local};

use residual_stream::api::{LoadOptions, Model, ModelSource, Phase, Progress};
use trace::Result;
use view::attributes::Live;
use view::dom;

/// How long a model is kept that no embed of the page shows any more: a page that is built anew shows it again at once.
const KEPT_MS: i32 = 10_000;

/// Told of bytes that have arrived, and of all bytes.
type OnProgress = Rc<dyn Fn(f64, f64)>;

/// Address, hub, workers: what makes two models the same.
type Key = (String, Option<String>, Option<usize>);

struct Shared {
    key: Key,
    users: Cell<usize>,
    /// How loading ended; nothing while it goes on.
    outcome: RefCell<Option<Result<Model>>>,
    /// Settles when there is an outcome.
    loaded: Promise,
    listeners: RefCell<Vec<OnProgress>>,
}

thread_local! {
    static MODELS: RefCell<Vec<Rc<Shared>>> = const { RefCell::new(Vec::new()) };
    /// Those who wait for somebody else to load a model.
    static WAITING: RefCell<Vec<(Key, Function)>> = const { RefCell::new(Vec::new()) };
}

/// A share in a model. When the last is gone, so is the model, a while later.
pub struct Lease(Rc<Shared>);

fn key(live: &Live) -> Key {
    (live.model.clone(), live.hub.clone(), live.workers)
}

fn listed(key: &Key) -> Option<Rc<Shared>> {
    MODELS.with_borrow(|models| models.iter().find(|shared| shared.key == *key).cloned())
}

/// Whether this page has the model already, or is loading it: then nothing more is downloaded.
pub fn is_here(live: &Live) -> bool {
    listed(&key(live)).is_some()
}

/// Settles when the model is being loaded for another embed.
pub fn when_here(live: &Live) -> Promise {
    Promise::new(&mut |resolve, _| WAITING.with_borrow_mut(|waiting| waiting.push((key(live), resolve))))
}

impl Lease {
    /// Starts loading, unless the page has the model.
    pub fn of(live: &Live) -> Lease {
        let shared = listed(&key(live)).unwrap_or_else(|| start(live));
        shared.users.set(shared.users.get() + 1);
        Lease(shared)
    }

    /// Whether it is a share in this model.
    pub fn is_of(&self, live: &Live) -> bool {
        self.0.key == key(live)
    }

    /// Calls `handler` while the model arrives.
    pub fn on_progress(&self, handler: OnProgress) {
        self.0.listeners.borrow_mut().push(handler);
    }

    /// The model, as soon as it can be asked.
    ///
    /// # Errors
    /// Every code of loading.
    pub fn model(&self) -> impl Future<Output = Result<Model>> + use<> {
        let shared = self.0.clone();
        async move {
            let _ = JsFuture::from(shared.loaded.clone()).await;
            let outcome = shared.outcome.borrow().clone();
            outcome.unwrap_or_else(|| Err(trace::Error::new(trace::Code::Aborted, "The model was not loaded.")))
        }
    }

    /// Takes the model out of the list: the next lease loads it anew.
    pub fn forget(&self) {
        forget(&self.0);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let shared = self.0.clone();
        shared.users.set(shared.users.get().saturating_sub(1));
        if shared.users.get() > 0 {
            return;
        }
        spawn_local(async move {
            dom::sleep(KEPT_MS).await;
            if shared.users.get() > 0 {
                return;
            }
            forget(&shared);
            let _ = JsFuture::from(shared.loaded.clone()).await;
            if let Some(Ok(model)) = &*shared.outcome.borrow() {
                model.close();
            }
        });
    }
}

fn forget(shared: &Rc<Shared>) {
    MODELS.with_borrow_mut(|models| models.retain(|listed| !Rc::ptr_eq(listed, shared)));
}

fn start(live: &Live) -> Rc<Shared> {
    // No `Function::default()`: it evaluates a string, which strict pages forbid.
    let mut settle = None;
    let loaded = Promise::new(&mut |resolve, _| settle = Some(resolve));
    let shared = Rc::new(Shared {
        key: key(live),
        users: Cell::new(0),
        outcome: RefCell::default(),
        loaded,
        listeners: RefCell::default(),
    });
    MODELS.with_borrow_mut(|models| models.push(shared.clone()));
    let told = Rc::downgrade(&shared);
    let on_progress = move |progress: Progress| {
        let Some(shared) = told.upgrade().filter(|_| progress.phase == Phase::Weights) else { return };
        let listeners = shared.listeners.borrow().clone();
        for listener in listeners {
            listener(progress.loaded, progress.total);
        }
    };
    let options = LoadOptions {
        hub: live.hub.clone(),
        workers: live.workers,
        on_progress: Some(Rc::new(on_progress)),
        ..LoadOptions::default()
    };
    let (source, ended) = (ModelSource::Address(live.model.clone()), shared.clone());
    spawn_local(async move {
        ended.outcome.replace(Some(Model::load(source, options).await));
        if let Some(settle) = settle {
            let _ = settle.call0(&JsValue::UNDEFINED);
        }
    });
    // Those who asked their readers for the same download need not ask any more.
    let waiting = WAITING.with_borrow_mut(|waiting| {
        let (these, others): (Vec<_>, Vec<_>) = waiting.drain(..).partition(|(wanted, _)| *wanted == shared.key);
        *waiting = others;
        these
    });
    for (_, resolve) in waiting {
        let _ = resolve.call0(&JsValue::UNDEFINED);
    }
    shared
}
