//! Loading: from a model's files to its parts, in two steps. [`open`] reads settings, tokenizer and the
//! index of tensors, and finds out whether the model can be run at all; [`Loading::serve`] reads what is wanted.
//!
//! `headers` finds the weights files and what is in them; `arrive` is the loop that plans and dispatches, over what
//! `queue` holds; `samples` looks for changes where a server gives its files no marks; `transfer` is one request with its retries; `check` compares what came with what should have.

use std::rc::Rc;

use futures_util::future::{join, join3};

mod arrive;
mod check;
mod headers;
mod queue;
mod remarks;
mod samples;
mod transfer;

use arrive::Arrival;
use headers::{Opened, WeightFiles, read_headers, within_file};
use remarks::remarks;

use super::pool::Crew;
use crate::model::checkpoint::wanted;
use crate::model::config::{Head, plain_json};
use crate::model::tokenizer::SmallFiles;
use crate::model::{Config, ModelError, Tokenizer};
use crate::run::parts::Parts;
use crate::weights::Files;
use crate::weights::files::CONFIG;
use crate::weights::index::{Index, refuse_too_large};
use crate::weights::names::ONE_FILE;
use crate::weights::store::Keep;
use crate::weights::visit::Visit;
use crate::{Code, Error, Result};
use protocol::{Notice, Phase, Progress};

/// What loading says of itself.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// It goes on.
    Progress(Progress),
    /// Something the reader should know.
    Notice(Notice),
}

/// A model that is arriving: runnable, block by block, while [`Loading::serve`] reads on.
pub struct Loading<F: Files, K: Keep> {
    /// `config.json` as it is, for those who want other settings than [`Config`] has.
    pub config_json: String,
    /// Splits text; `None` where the model came without one.
    pub tokenizer: Option<Tokenizer>,
    /// Where blocks arrive.
    pub parts: Rc<Parts>,
    /// Bytes of all wanted tensors, as their files have them.
    pub weights_bytes: u64,
    arrival: Arrival<F, K>,
}

/// Reads settings, tokenizer and tensor index. `parallel` is the number of requests at a time; `hire` says who will
/// compute a model of these settings (which it is also given as JSON).
///
/// # Errors
/// Everything that can be known before the bulk of the bytes: `BadConfig`, `NotGpt2`, `BadTokenizer`, `NotFound`,
/// `BadSafetensors`, `MissingTensor`, `ShapeMismatch`, `UnsupportedDtype`, `OutOfMemory`, and the network's own.
pub async fn open<F: Files, K: Keep>(
    files: F,
    keep: Option<K>,
    parallel: usize,
    hire: impl FnOnce(&Config, &str) -> Crew,
    report: &impl Fn(News),
) -> Result<Loading<F, K>> {
    let visit = Visit::begin(files, keep).await;
    let mut read = read(&visit, report).await;
    while let Err(error) = &read
        && visit.may_mend(error)
    {
        read = self::read(&visit, report).await;
    }
    let Read { config, config_json, tokenizer, index, files, left_out } =
        read.map_err(|error| visit.explain(error, ONE_FILE))?;
    visit.keep_small().await;
    for notice in remarks(&config, &index, &left_out) {
        report(News::Notice(notice));
    }
    for notice in visit.take_notices() {
        report(News::Notice(notice));
    }
    let crew = hire(&config, &config_json);
    let parts = Rc::new(Parts::new(config, crew));
    let weights_bytes = index.wanted_bytes();
    let sources = files.into_iter().map(|file| file.source).collect();
    let arrival = Arrival::new(visit, index, sources, parts.clone(), parallel)?;
    Ok(Loading { config_json, tokenizer, parts, weights_bytes, arrival })
}

/// A model's small files and headers, read and found to fit together.
struct Read<F: Files, K: Keep> {
    config: Config,
    config_json: String,
    tokenizer: Option<Tokenizer>,
    index: Index,
    files: Vec<Opened<F, K>>,
    left_out: Vec<(String, &'static str)>,
}

async fn read<F: Files, K: Keep>(visit: &Visit<F, K>, report: &impl Fn(News)) -> Result<Read<F, K>> {
    let small = |phase, bytes: usize| {
        let (loaded, total) = (bytes as f64, bytes as f64);
        report(News::Progress(Progress { phase, loaded, total, cached: 0.0, memory: 0.0, blocks_ready: 0 }));
    };
    let config_json = visit.small(CONFIG).await?.ok_or_else(|| absent(&visit.files, CONFIG))?;
    small(Phase::Config, config_json.len());
    let mut config = Config::from_json(&config_json)?;
    // Where the unembedding is, the weights will say.
    let wanted = wanted(&Config { head: Head::Tied, ..config.clone() });
    refuse_too_large(&wanted)?;
    let config_json = String::from_utf8(plain_json(&config_json).into_owned())
        .map_err(|why| ModelError::BadConfig(why.to_string()))?;
    // Both wait for their server twice or more: side by side.
    let tokenizer = async { read_tokenizer(visit).await.inspect(|(_, bytes)| small(Phase::Tokenizer, *bytes)) };
    let (tokenizer, files) = join(tokenizer, read_headers(visit, &wanted)).await;
    let ((tokenizer, _), files) = (tokenizer?, files?);
    let WeightFiles { opened: files, placed, left_out } = files;
    let headers = files.iter().map(|file| (file.source.name.clone(), file.header.clone())).collect();
    let index = Index::of_model(&mut config, headers, &placed)?;
    for file in &files {
        within_file(file)?;
    }
    Ok(Read { config, config_json, tokenizer, index, files, left_out })
}

impl<F: Files, K: Keep> Loading<F, K> {
    /// Reads the blocks, and what runs ask for besides; ends when everything is here, which it is only if
    /// everything is asked for ([`crate::run::demand::Demand::everything`]). Those who wait for a part learn of a
    /// failure through [`Parts`] too.
    ///
    /// # Errors
    /// `CorruptDownload` for bytes that are not what they should be, and whatever reading brings up.
    pub async fn serve(&self, report: &impl Fn(News)) -> Result<()> {
        self.arrival.serve(report).await.inspect_err(|error| self.parts.fail(error.clone()))
    }

    /// Reads everything.
    ///
    /// # Errors
    /// Those of [`Loading::serve`].
    pub async fn finish(&self, report: &impl Fn(News)) -> Result<()> {
        self.parts.demand.everything();
        self.serve(report).await
    }
}

async fn read_tokenizer<F: Files, K: Keep>(visit: &Visit<F, K>) -> Result<(Option<Tokenizer>, usize)> {
    let (json, small) = join(visit.small("tokenizer.json"), small_files(visit)).await;
    if let Some(json) = json? {
        return Ok((Some(Tokenizer::from_json_with(&json, &small?)?), json.len()));
    }
    let (vocab, merges) = join(visit.small("vocab.json"), visit.small("merges.txt")).await;
    let Some(vocab) = vocab? else { return Ok((None, 0)) };
    let Some(merges) = merges? else {
        let why = "there is a vocab.json, but no merges.txt beside it".into();
        return Err(ModelError::BadTokenizer { file: "merges.txt", why }.into());
    };
    let tokenizer = Tokenizer::from_vocab_and_merges_with(&vocab, &merges, &small?)?;
    Ok((Some(tokenizer), vocab.len() + merges.len()))
}

/// The small files beside a tokenizer, side by side: none of them need be there.
async fn small_files<F: Files, K: Keep>(visit: &Visit<F, K>) -> Result<SmallFiles> {
    if !visit.files.has_tokenizer_settings() {
        return Ok(SmallFiles::default());
    }
    let files = ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"].map(|name| visit.small(name));
    let [config, special, added] = files;
    let (config, special, added) = join3(config, special, added).await;
    Ok(SmallFiles { config: config?, special: special?, added: added? })
}

fn absent(files: &impl Files, name: &str) -> Error {
    let hint = if name == ONE_FILE {
        ", nor model.safetensors.index.json; is the model there in safetensors form?"
    } else {
        "."
    };
    Error::new(Code::NotFound, format!("{}: there is no {name}{hint}", files.place()))
}
