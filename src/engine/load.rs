//! Loading: from a model's files to its parts, in two steps. [`open`] reads settings, tokenizer and the
//! index of tensors, and finds out whether the model can be run at all; [`Loading::serve`] reads what is wanted.

use std::rc::Rc;

use serde_json::Value;

use super::arrive::{Arrival, Source};
use super::parts::Parts;
use crate::model::checkpoint::{Wanted, plain_name, wanted};
use crate::model::{Config, ModelError, Tokenizer};
use crate::protocol::{Notice, Phase, Progress};
use crate::weights::files::{Answer, Failure, Files};
use crate::weights::header::Header;
use crate::weights::index::{Index, refuse_too_large};
use crate::weights::retry::Patience;
use crate::weights::store::{Extent, Keep, Pieces};
use crate::weights::visit::{Visit, no_header, read_exactly};
use crate::weights::WeightsError;
use crate::{Code, Error, Result};

const ONE_FILE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

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

/// Reads settings, tokenizer and tensor index. `parallel` is the number of requests at a time.
///
/// # Errors
/// Everything that can be known before the bulk of the bytes: `BadConfig`, `NotGpt2`, `BadTokenizer`, `NotFound`,
/// `BadSafetensors`, `MissingTensor`, `ShapeMismatch`, `UnsupportedDtype`, `OutOfMemory`, and the network's own.
pub async fn open<F: Files, K: Keep>(
    files: F,
    keep: Option<K>,
    parallel: usize,
    report: &impl Fn(News),
) -> Result<Loading<F, K>> {
    let visit = Visit::begin(files, keep).await;
    let small = |phase, bytes: usize| {
        let (loaded, total) = (bytes as f64, bytes as f64);
        report(News::Progress(Progress { phase, loaded, total, cached: 0.0, memory: 0.0, blocks_ready: 0 }));
    };
    let config_json = visit.small("config.json").await?.ok_or_else(|| absent(&visit.files, "config.json"))?;
    small(Phase::Config, config_json.len());
    let config = Config::from_json(&config_json)?;
    let wanted = wanted(&config);
    refuse_too_large(&wanted)?;
    let config_json = String::from_utf8(config_json).map_err(|why| ModelError::BadConfig(why.to_string()))?;
    let (tokenizer, bytes) = read_tokenizer(&visit).await?;
    small(Phase::Tokenizer, bytes);

    let files = read_headers(&visit, &wanted).await?;
    let headers = files.iter().map(|file| (file.source.name.clone(), file.header.clone())).collect();
    let index = Index::new(&wanted, headers)?;
    for file in &files {
        within_file(file)?;
    }
    for notice in visit.take_notices() {
        report(News::Notice(notice));
    }
    let parts = Rc::new(Parts::new(config));
    let weights_bytes = index.wanted_bytes();
    let sources = files.into_iter().map(|file| file.source).collect();
    let arrival = Arrival::new(visit, index, sources, parts.clone(), parallel)?;
    Ok(Loading { config_json, tokenizer, parts, weights_bytes, arrival })
}

impl<F: Files, K: Keep> Loading<F, K> {
    /// Reads the blocks, and what runs ask for besides; ends when everything is here, which it is only if
    /// everything is asked for ([`super::demand::Demand::everything`]). Those who wait for a part learn of a
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
    if let Some(json) = visit.small("tokenizer.json").await? {
        return Ok((Some(Tokenizer::from_json(&json)?), json.len()));
    }
    let Some(vocab) = visit.small("vocab.json").await? else { return Ok((None, 0)) };
    let Some(merges) = visit.small("merges.txt").await? else {
        let why = "there is a vocab.json, but no merges.txt beside it".into();
        return Err(ModelError::BadTokenizer { file: "merges.txt", why }.into());
    };
    Ok((Some(Tokenizer::from_vocab_and_merges(&vocab, &merges)?), vocab.len() + merges.len()))
}

/// A weights file whose header is read.
struct Opened<F: Files, K: Keep> {
    header: Header,
    source: Source<F, K>,
}

/// The headers of all weights files.
async fn read_headers<F: Files, K: Keep>(visit: &Visit<F, K>, wanted: &[Wanted]) -> Result<Vec<Opened<F, K>>> {
    let kept = visit.kept_files();
    let names = match visit.files.weight_files() {
        Some(names) => names,
        None if !kept.is_empty() && kept != [ONE_FILE] => shards(visit, wanted).await?,
        None => match read_header(visit, ONE_FILE).await? {
            Some(opened) => return Ok(vec![opened]),
            None => shards(visit, wanted).await?,
        },
    };
    if names.is_empty() {
        return Err(absent(&visit.files, ONE_FILE));
    }
    let mut files = Vec::new();
    for name in &names {
        let mut opened = read_header(visit, name).await?.ok_or_else(|| absent(&visit.files, name))?;
        if names.len() > 1 {
            // Several whole files at a time would arrive side by side; each is asked for again in its turn.
            opened.source.whole = opened.source.whole.map(|_| None);
        }
        files.push(opened);
    }
    Ok(files)
}

async fn shards<F: Files, K: Keep>(visit: &Visit<F, K>, wanted: &[Wanted]) -> Result<Vec<String>> {
    let index = visit.small(INDEX).await?.ok_or_else(|| absent(&visit.files, ONE_FILE))?;
    read_index(&index, wanted)
}

/// The header of a weights file: from the shelf, or by two small range requests; `None` where there is no such file.
async fn read_header<F: Files, K: Keep>(visit: &Visit<F, K>, name: &str) -> Result<Option<Opened<F, K>>> {
    if let Some(identity) = visit.still_kept(name).await
        && let Some(mut pieces) = visit.pieces(name, &identity).await
        && let Some(bytes) = kept_header(&mut pieces)
    {
        let header = Header::parse(name, &bytes[8..])?;
        let source = Source::new(name, identity, visit.sha256(name), Some(pieces), bytes);
        return Ok(Some(Opened { header, source }));
    }
    let mut patience = Patience::default();
    loop {
        match ask_header(visit, name).await {
            Ok(opened) => return Ok(opened),
            Err(failure) => visit.files.wait(patience.after(failure)?).await,
        }
    }
}

fn kept_header<D: crate::weights::store::Disk>(pieces: &mut Pieces<D>) -> Option<Vec<u8>> {
    let first: Extent = pieces.extents().into_iter().find(|extent| extent.begin == 0)?;
    let mut bytes = Vec::new();
    let intact = pieces.read(first, &mut bytes).ok()?;
    let length = Header::length("", <[u8; 8]>::try_from(bytes.get(..8)?).ok()?).ok()?;
    (intact && bytes.len() == 8 + length).then_some(bytes)
}

async fn ask_header<F: Files, K: Keep>(
    visit: &Visit<F, K>,
    name: &str,
) -> std::result::Result<Option<Opened<F, K>>, Failure> {
    let Some(mut answer) = visit.files.ask(name, Some(0..8)).await? else { return Ok(None) };
    let mut rest = Vec::new();
    let mut bytes = read_exactly(&mut answer, &mut rest, 8).await?;
    let Ok(first) = <[u8; 8]>::try_from(bytes.as_slice()) else {
        return Err(no_header(name, 8, bytes.len() as u64));
    };
    let length = Header::length(name, first)?;
    // Where the server sends the whole file, the header follows in the same answer.
    let whole = !rest.is_empty() || answer.is_whole;
    let json = if whole {
        read_exactly(&mut answer, &mut rest, length).await?
    } else {
        let range = 8..8 + length as u64;
        let next = visit.files.ask(name, Some(range)).await?;
        let mut next = next.ok_or_else(|| no_header(name, 8 + length as u64, 8))?;
        if next.begin != 8 || !next.stamp.agrees_with(&answer.stamp) {
            return Err(Failure::passing(WeightsError::Changed { file: name.into() }));
        }
        read_exactly(&mut next, &mut Vec::new(), length).await?
    };
    if json.len() < length {
        return Err(no_header(name, 8 + length as u64, 8 + json.len() as u64));
    }
    let header = Header::parse(name, &json)?;
    bytes.extend(json);
    let identity = visit.identity(name, &answer.stamp);
    let mut pieces = visit.pieces(name, &identity).await;
    if let Some(kept) = &mut pieces {
        // Not keeping the header costs two requests on the next visit.
        let _ = keep_header(kept, &bytes);
    }
    let mut source = Source::new(name, identity, visit.sha256(name), pieces, bytes);
    let at = source.head.len() as u64;
    source.whole = whole.then(|| Some(Begun { answer, rest, at }));
    Ok(Some(Opened { header, source }))
}

fn keep_header<D: crate::weights::store::Disk>(
    pieces: &mut Pieces<D>,
    bytes: &[u8],
) -> std::result::Result<(), crate::weights::store::StoreError> {
    let mut writing = pieces.begin(0, bytes.len() as u64)?;
    pieces.write(&mut writing, bytes)?;
    pieces.finish(writing)
}

/// Refuses a file whose header speaks of bytes beyond its end, or not of all its bytes.
fn within_file<F: Files, K: Keep>(file: &Opened<F, K>) -> Result<()> {
    let (expected, found) = (file.header.file_size, file.source.identity.size.unwrap_or(file.header.file_size));
    // A length that comes with a whole file may be that of another encoding of it.
    if found == expected || file.source.whole.is_some() {
        return Ok(());
    }
    if found > expected {
        let why = format!("it has {found} bytes, and its header accounts for {expected}");
        return Err(WeightsError::BadSafetensors { file: file.source.name.clone(), why }.into());
    }
    let beyond = file.header.tensors.iter().find(|tensor| tensor.end > found).map_or("", |tensor| &tensor.name);
    let why = format!(
        "tensor \"{beyond}\" ends beyond the file, which has {found} bytes and by its header {expected}: it is cut off or damaged"
    );
    Err(WeightsError::BadSafetensors { file: file.source.name.clone(), why }.into())
}

/// File names of a sharded checkpoint, each once.
fn read_index(bytes: &[u8], wanted: &[Wanted]) -> Result<Vec<String>> {
    let bad = |why: String| WeightsError::BadSafetensors { file: INDEX.into(), why };
    let index: Value = serde_json::from_slice(bytes).map_err(|why| bad(why.to_string()))?;
    let map = index.get("weight_map").and_then(Value::as_object).ok_or_else(|| bad("no weight_map".into()))?;
    let listed: std::collections::HashSet<&str> = map.keys().map(|key| plain_name(key)).collect();
    if let Some(want) = wanted.iter().find(|want| !listed.contains(want.name.as_str())) {
        return Err(ModelError::MissingTensor { name: want.name.clone() }.into());
    }
    let mut names = Vec::new();
    for file in map.values() {
        let name = file.as_str().filter(|name| !name.contains(['/', '\\', '?', '#']));
        let name = name.ok_or_else(|| bad(format!("{file} is no name of a file beside it")))?;
        if !names.iter().any(|known| known == name) {
            names.push(name.to_string());
        }
    }
    names.sort();
    Ok(names)
}

/// An answer that has begun: the bytes that were read of it and not used yet, and the place of the first of them.
pub(super) struct Begun<F: Files> {
    pub answer: Answer<F::Body>,
    pub rest: Vec<u8>,
    pub at: u64,
}

pub(super) fn absent(files: &impl Files, name: &str) -> Error {
    let hint = if name == ONE_FILE {
        ", nor model.safetensors.index.json; is the model there in safetensors form?"
    } else {
        "."
    };
    Error::new(Code::NotFound, format!("{}: there is no {name}{hint}", files.place()))
}
