//! Loading: from an address to the tensors of a model, packed for whoever computes with them.
//! May depend on: `model` (settings, which tensors are wanted), `run::streaming_model` (where they go), `pool` (how they
//! are packed), `protocol`; on wasm32 `source` and `cache` also on web-sys.
//! Must never know: the forward pass, traces, charts, the page.
//!
//! A byte passes each room once, from the first to the last:
//! 1. [`source`]: where the files are, a server, a folder or a reader's disk, and when to ask again;
//! 2. [`cache`]: what earlier visits left of them in the browser's storage, and whether it may be believed;
//! 3. [`index`]: their headers, and where in them each tensor is;
//! 4. [`plan`]: which bytes to ask for, and in which order;
//! 5. `download`: one request with its retries, and whether what came is what should have come;
//! 6. [`assembler`]: bytes to tensors, widened and packed as they come.
//!
//! [`open`] reads settings, tokenizer and index, and finds out whether the model can be run at all; [`Loading::serve`] is
//! `serve`'s loop over the rest.

use std::rc::Rc;

use futures_util::future::{join, join3};

pub mod assembler;
pub mod cache;
mod download;
pub mod error;
mod file_state;
pub mod index;
mod loader;
mod notices;
pub mod plan;
mod serve;
pub mod source;
mod state;

pub use error::WeightsError;

use crate::Result;
use crate::model::checkpoint::wanted;
use crate::model::config::{LmHead, plain_json};
use crate::model::tokenizer::SmallFiles;
use crate::model::{Config, ModelError, Tokenizer};
use crate::pool::WorkerPool;
use crate::run::streaming_model::StreamingModel;
use cache::CacheStore;
use cache::model_cache::ModelCache;
use index::weight_files::{OpenedFile, WeightFiles, read_headers, within_file};
use index::{Index, refuse_too_large};
use loader::Loader;
use notices::remarks;
use protocol::{Notice, Phase, Progress};
use source::names::{LeftOut, ONE_FILE};
use source::{CONFIG, Files, absent};

/// What loading says of itself.
#[derive(Clone, Debug, PartialEq)]
pub enum LoadEvent {
    /// How far it has come.
    Progress(Progress),
    /// Something the reader should know.
    Notice(Notice),
}

/// A model that is arriving: runnable, block by block, while [`Loading::serve`] reads on.
pub struct Loading<F: Files, K: CacheStore> {
    /// `config.json` as it is, for those who want other settings than [`Config`] has.
    pub config_json: String,
    /// Splits text; `None` where the model came without one.
    pub tokenizer: Option<Tokenizer>,
    /// Where rows and blocks arrive, and what runs.
    pub model: Rc<StreamingModel>,
    /// Bytes of all wanted tensors, as their files have them.
    pub weights_bytes: u64,
    loader: Loader<F, K>,
}

/// Reads settings, tokenizer and tensor index. `parallel` is the number of requests at a time; `spawn` says who will
/// compute a model of these settings (which it is also given as JSON).
///
/// # Errors
/// Everything that can be known before the bulk of the bytes: `BadConfig`, `NotGpt2`, `BadTokenizer`, `NotFound`,
/// `BadSafetensors`, `MissingTensor`, `ShapeMismatch`, `UnsupportedDtype`, `OutOfMemory`, and the network's own.
pub async fn open<F: Files, K: CacheStore>(
    files: F,
    store: Option<K>,
    parallel: usize,
    spawn: impl FnOnce(&Config, &str) -> WorkerPool,
    report: &impl Fn(LoadEvent),
) -> Result<Loading<F, K>> {
    let cache = ModelCache::begin(files, store).await;
    let mut read = read(&cache, report).await;
    while let Err(error) = &read
        && cache.may_mend(error)
    {
        read = self::read(&cache, report).await;
    }
    let Read { config, config_json, tokenizer, index, files, left_out } =
        read.map_err(|error| cache.explain(error, ONE_FILE))?;
    cache.store_small().await;
    for notice in remarks(&config, &index, &left_out) {
        report(LoadEvent::Notice(notice));
    }
    for notice in cache.take_notices() {
        report(LoadEvent::Notice(notice));
    }
    let pool = spawn(&config, &config_json);
    let model = Rc::new(StreamingModel::new(config, pool));
    let weights_bytes = index.wanted_bytes();
    let files = files.into_iter().map(|file| file.state).collect();
    let loader = Loader::new(cache, index, files, model.clone(), parallel);
    loader.plan_start()?;
    Ok(Loading { config_json, tokenizer, model, weights_bytes, loader })
}

/// A model's small files and headers, read and found to fit together.
struct Read<F: Files, K: CacheStore> {
    config: Config,
    config_json: String,
    tokenizer: Option<Tokenizer>,
    index: Index,
    files: Vec<OpenedFile<F, K>>,
    left_out: Vec<LeftOut>,
}

async fn read<F: Files, K: CacheStore>(cache: &ModelCache<F, K>, report: &impl Fn(LoadEvent)) -> Result<Read<F, K>> {
    let small = |phase, bytes: usize| {
        let (loaded, total) = (bytes as f64, bytes as f64);
        report(LoadEvent::Progress(Progress { phase, loaded, total, cached: 0.0, memory: 0.0, blocks_ready: 0 }));
    };
    let config_json = cache.small(CONFIG).await?.ok_or_else(|| absent(&cache.files, CONFIG))?;
    small(Phase::Config, config_json.len());
    let mut config = Config::from_json(&config_json)?;
    // Where the unembedding is, the weights will say.
    let wanted = wanted(&Config { lm_head: LmHead::Tied, ..config.clone() });
    refuse_too_large(&wanted)?;
    let config_json = String::from_utf8(plain_json(&config_json).into_owned())
        .map_err(|why| ModelError::BadConfig(why.to_string()))?;
    // Both wait for their server twice or more: side by side.
    let tokenizer = async { read_tokenizer(cache).await.inspect(|(_, bytes)| small(Phase::Tokenizer, *bytes)) };
    let (tokenizer, files) = join(tokenizer, read_headers(cache, &wanted)).await;
    let ((tokenizer, _), files) = (tokenizer?, files?);
    let WeightFiles { opened: files, placed, left_out } = files;
    let headers = files.iter().map(|file| (file.state.name.clone(), file.header.clone())).collect();
    let index = Index::of_model(&mut config, headers, &placed)?;
    for file in &files {
        within_file(file)?;
    }
    Ok(Read { config, config_json, tokenizer, index, files, left_out })
}

impl<F: Files, K: CacheStore> Loading<F, K> {
    /// Reads the blocks, and what runs ask for besides; ends when everything is here, which it is only if
    /// everything is asked for ([`crate::run::load_requests::LoadRequests::everything`]). Those who wait for a part learn of a
    /// failure through [`StreamingModel`] too.
    ///
    /// # Errors
    /// `CorruptDownload` for bytes that are not what they should be, and whatever reading brings up.
    pub async fn serve(&self, report: &impl Fn(LoadEvent)) -> Result<()> {
        self.loader.serve(report).await.inspect_err(|error| self.model.fail(error.clone()))
    }

    /// Reads everything.
    ///
    /// # Errors
    /// Those of [`Loading::serve`].
    pub async fn finish(&self, report: &impl Fn(LoadEvent)) -> Result<()> {
        self.model.requests.everything();
        self.serve(report).await
    }
}

async fn read_tokenizer<F: Files, K: CacheStore>(cache: &ModelCache<F, K>) -> Result<(Option<Tokenizer>, usize)> {
    let (json, small) = join(cache.small("tokenizer.json"), small_files(cache)).await;
    if let Some(json) = json? {
        return Ok((Some(Tokenizer::from_json_with(&json, &small?)?), json.len()));
    }
    let (vocab, merges) = join(cache.small("vocab.json"), cache.small("merges.txt")).await;
    let Some(vocab) = vocab? else { return Ok((None, 0)) };
    let Some(merges) = merges? else {
        let why = "there is a vocab.json, but no merges.txt beside it".into();
        return Err(ModelError::BadTokenizer { file: "merges.txt", why }.into());
    };
    let tokenizer = Tokenizer::from_vocab_and_merges_with(&vocab, &merges, &small?)?;
    Ok((Some(tokenizer), vocab.len() + merges.len()))
}

/// The small files beside a tokenizer, side by side: none of them need be there.
async fn small_files<F: Files, K: CacheStore>(cache: &ModelCache<F, K>) -> Result<SmallFiles> {
    if !cache.files.has_tokenizer_settings() {
        return Ok(SmallFiles::default());
    }
    let files = ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"].map(|name| cache.small(name));
    let [config, special, added] = files;
    let (config, special, added) = join3(config, special, added).await;
    Ok(SmallFiles { config: config?, special: special?, added: added? })
}
