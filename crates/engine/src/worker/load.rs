//! Starting a load, telling the page of it, and starting it again when a helper was lost.

use std::cell::Cell;
use std::rc::Rc;

use futures_util::future::abortable;
use js_sys::Array;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::spawn_local;
use web_sys::Blob;

use super::posting::{get, post};
use super::{Engine, Session};
use crate::Result;
use crate::loading::cache::model_cache::storage_notice;
use crate::loading::cache::{CacheStore, opfs::OpfsCache};
use crate::loading::source::fetch::Fetch;
use crate::loading::source::picked::Picked;
use crate::loading::source::remote::Remote;
use crate::loading::source::{Address, Files, Location};
use crate::loading::{LoadEvent, Loading, open};
use crate::model::Config;
use crate::model::checkpoint::parameters;
use crate::pool::web_workers;
use crate::time::now;
use protocol::{FromEngine, Notice, NoticeKind, Opened, Progress};
use trace::ModelInfo;

/// Helpers that are lost before the engine goes on alone.
const MOST_LOSSES: u32 = 3;

/// Which of the two builds this is.
const SIMD: &str = if cfg!(target_feature = "relaxed-simd") { "relaxed" } else { "simd128" };

/// The name of the model that comes with the site.
const DEMO: &str = "demo";

/// What to load, and how.
#[derive(Clone)]
pub(super) struct LoadRequest {
    pub from: ModelSource,
    pub source: String,
    pub parallel: usize,
    pub workers: Option<usize>,
}

/// Where a model is loaded from.
#[derive(Clone)]
pub(super) enum ModelSource {
    Address { address: String, hub: Option<String>, cache: bool },
    Files(Vec<(String, Blob)>),
}

/// Where a model's files are.
fn locate(address: &str, hub: Option<&str>) -> Result<Location> {
    Ok(Address::parse(address)?.locate(hub)?)
}

/// The model's folder in the browser's storage; a notice where there is none.
async fn opfs_cache(location: &Location, source: &str) -> Option<OpfsCache> {
    match OpfsCache::open(&location.file(""), source).await {
        Ok(cache) => Some(cache),
        Err(error) => {
            post(&FromEngine::Notice { notice: storage_notice(&error) }, None);
            None
        }
    }
}

impl Engine {
    pub(super) fn begin_load(self: Rc<Self>, wanted: LoadRequest) {
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
    pub(super) fn load_again(self: Rc<Self>) {
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

    async fn load(&self, wanted: LoadRequest) {
        let loaded = match &wanted.from {
            ModelSource::Files(files) => self.load_files(Picked(files.clone()), None::<OpfsCache>, &wanted).await,
            ModelSource::Address { address, hub, cache } => match locate(address, hub.as_deref()) {
                Ok(location) => {
                    if wanted.source == DEMO {
                        // As near as the storage is: the browser's cache and the service worker keep it, in one piece.
                        self.load_files(Remote::whole(Fetch, location), None::<OpfsCache>, &wanted).await
                    } else {
                        let store = if *cache { opfs_cache(&location, &wanted.source).await } else { None };
                        self.load_files(Remote::new(Fetch, location), store, &wanted).await
                    }
                }
                Err(error) => Err(error),
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
                    post(&FromEngine::LoadFailed { error: error.into() }, None);
                }
            }
        }
    }

    async fn load_files(&self, files: impl Files, store: Option<impl CacheStore>, wanted: &LoadRequest) -> Result<()> {
        let LoadRequest { source, parallel, workers, .. } = wanted.clone();
        let (opened, ready) = self.told.get();
        let last = Cell::new((f64::NEG_INFINITY, None));
        let is_demo = source == DEMO;
        let report = |event: LoadEvent| {
            let progress: Progress = match event {
                // It was asked for whole.
                LoadEvent::Notice(notice) if is_demo && notice.kind == NoticeKind::NoRanges => return,
                LoadEvent::Progress(_) if ready => return,
                LoadEvent::Progress(progress) => progress,
                LoadEvent::Notice(notice) => return post(&FromEngine::Notice { notice }, None),
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
        let spawn = |config: &Config, json: &str| {
            web_workers::spawn(config, json, workers.unwrap_or_else(|| web_workers::best_count(config)))
        };
        let mut loading: Loading<_, _> = open(files, store, parallel, spawn, &report).await?;
        let config = &loading.model.config;
        let info = ModelInfo {
            source,
            n_layer: config.n_layer,
            n_head: config.n_head,
            n_embd: config.n_embd,
            n_positions: config.n_positions,
            vocab_size: config.vocab_size,
        };
        let parameters = parameters(config);
        let tokenizer = loading.tokenizer.take();
        let known = Opened {
            model: info.clone(),
            config_json: loading.config_json.clone(),
            parameters,
            has_tokenizer: tokenizer.is_some(),
            workers: loading.model.pool.size(),
            simd: SIMD.into(),
            weights_bytes: loading.weights_bytes as f64,
        };
        let session = Session { info, tokenizer, model: loading.model.clone() };
        if self.wants_all.get() {
            loading.model.requests.everything();
        }
        self.session.send_replace(Some(Ok(Rc::new(session))));
        if !opened {
            self.told.set((true, ready));
            post(&FromEngine::Opened(known), None);
        }
        loading.serve(&report).await
    }
}

/// Files beside a message: pairs of name and blob.
pub(super) fn picked(data: &JsValue) -> Vec<(String, Blob)> {
    let Ok(files) = get(data, "files").dyn_into::<Array>() else { return Vec::new() };
    let pair = |pair: JsValue| {
        let pair: Array = pair.dyn_into().ok()?;
        Some((pair.get(0).as_string()?, pair.get(1).dyn_into().ok()?))
    };
    files.iter().filter_map(pair).collect()
}
