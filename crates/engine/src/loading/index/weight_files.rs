//! Which weights files there are, and the header of each: from the cache, or by two small range requests.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::header::Header;
use crate::loading::WeightsError;
use crate::loading::cache::model_cache::ModelCache;
use crate::loading::cache::samples::{differs, has_no_marks};
use crate::loading::cache::{CacheError, CacheStore, ChunkLog, Disk, Extent, Identity};
use crate::loading::file_state::{FileState, OpenResponse};
use crate::loading::source::names::{INDEX, LeftOut, ONE_FILE, sorted_out};
use crate::loading::source::retry::{Backoff, Failure};
use crate::loading::source::{Files, absent, read_exactly};
use crate::model::ModelError;
use crate::model::checkpoint::{LM_HEAD, Table, Wanted, tails};
use crate::{Code, Error, Result};
use serde_json::Value;

/// A weights file whose header is read.
pub(crate) struct OpenedFile<F: Files, K: CacheStore> {
    pub header: Header,
    pub state: FileState<F, K>,
}

/// The weights files of a model.
pub(crate) struct WeightFiles<F: Files, K: CacheStore> {
    pub opened: Vec<OpenedFile<F, K>>,
    /// The file that each tensor is in, by the checkpoint's own index.
    pub placed: HashMap<String, String>,
    /// What ends in `.safetensors` and was not opened, and why.
    pub left_out: Vec<LeftOut>,
}

/// The headers of all weights files. Of a whole file and shards, the whole file is read, as transformers does.
pub(crate) async fn read_headers<F: Files, K: CacheStore>(
    cache: &ModelCache<F, K>,
    wanted: &[Wanted],
) -> Result<WeightFiles<F, K>> {
    let cached = cache.cached_files();
    let Chosen { names, placed, left_out } = match cache.files.weight_files() {
        Some(all) => of_picked(cache, &all, wanted).await?,
        None => {
            let may_be_whole = cached.is_empty() || cached == [ONE_FILE];
            if may_be_whole && let Some(opened) = read_header(cache, ONE_FILE).await? {
                return Ok(WeightFiles { opened: vec![opened], placed: HashMap::new(), left_out: Vec::new() });
            }
            let index = cache.small(INDEX).await?.ok_or_else(|| absent(&cache.files, ONE_FILE))?;
            let placed = read_index(&index, wanted)?;
            Chosen { names: shards(&placed), placed, left_out: Vec::new() }
        }
    };
    if names.is_empty() {
        return Err(no_weights(&cache.files, &left_out));
    }
    let mut opened = Vec::new();
    for name in &names {
        let mut file = read_header(cache, name).await?.ok_or_else(|| absent(&cache.files, name))?;
        if names.len() > 1 {
            // Several whole files at a time would arrive side by side; each is asked for again in its turn.
            file.state.whole = file.state.whole.map(|_| None);
        }
        opened.push(file);
    }
    Ok(WeightFiles { opened, placed, left_out })
}

/// Which files are to be read as weights.
struct Chosen {
    names: Vec<String>,
    /// As in [`WeightFiles`].
    placed: HashMap<String, String>,
    left_out: Vec<LeftOut>,
}

/// Chooses among the files that a reader picked.
async fn of_picked<F: Files, K: CacheStore>(
    cache: &ModelCache<F, K>,
    all: &[String],
    wanted: &[Wanted],
) -> Result<Chosen> {
    let (mut names, mut left_out) = sorted_out(all.iter().map(String::as_str));
    let Some(index) = cache.small(INDEX).await? else {
        return Ok(Chosen { names, placed: HashMap::new(), left_out });
    };
    let has_whole = names.iter().any(|name| name == ONE_FILE);
    let placed = match read_index(&index, wanted) {
        // Nothing depends on it.
        Err(_) if has_whole => HashMap::new(),
        placed => placed?,
    };
    let of_index = shards(&placed);
    if has_whole && !of_index.iter().any(|name| name == ONE_FILE) {
        // What is beside both is still compared with the one that counts.
        names.retain(|name| !of_index.contains(name));
        return Ok(Chosen { names, placed: HashMap::new(), left_out });
    }
    let beside = names.into_iter().filter(|name| !of_index.contains(name));
    left_out.extend(beside.map(|name| LeftOut { name, what: "not in model.safetensors.index.json" }));
    Ok(Chosen { names: of_index, placed, left_out })
}

fn no_weights(files: &impl Files, left_out: &[LeftOut]) -> Error {
    if left_out.is_empty() {
        return absent(files, ONE_FILE);
    }
    let list: Vec<String> = left_out.iter().map(LeftOut::to_string).collect();
    let message = format!("no weights of a model are among the files: {}.", list.join(", "));
    Error::new(Code::NotFound, message)
}

/// The header of a weights file: from the cache, or by two small range requests; `None` where there is no such file.
async fn read_header<F: Files, K: CacheStore>(
    cache: &ModelCache<F, K>,
    name: &str,
) -> Result<Option<OpenedFile<F, K>>> {
    if let Some(identity) = cache.still_cached(name).await
        && let Some(mut log) = cache.chunk_log(name, &identity).await
        && let Some(bytes) = cached_header(&mut log)
        && let Some(log) = if_unchanged(cache, name, &identity, &bytes, log).await
    {
        let header = Header::parse(name, &bytes[8..])?;
        let state = FileState::new(name, identity, cache.sha256(name), Some(log), bytes);
        return Ok(Some(OpenedFile { header, state }));
    }
    let mut backoff = Backoff::default();
    loop {
        match ask_header(cache, name).await {
            Ok(opened) => return Ok(opened),
            // On this machine nothing is on its way any more.
            Err(failure) if cache.files.is_local() => return Err(failure.error),
            Err(failure) => match backoff.after(failure) {
                Ok(pause) => cache.files.wait(pause).await,
                // Storage that lists nothing says "forbidden" of what is not there.
                Err(error) if error.code == Code::NotFound && !cache.is_of_a_hub() => return Ok(None),
                Err(error) => return Err(error),
            },
        }
    }
}

/// The cached chunks of a file, if a server that gives its files no marks still sends what they are of; otherwise they are
/// forgotten.
async fn if_unchanged<F: Files, K: CacheStore>(
    cache: &ModelCache<F, K>,
    name: &str,
    identity: &Identity,
    head: &[u8],
    mut log: ChunkLog<K::Disk>,
) -> Option<ChunkLog<K::Disk>> {
    if !has_no_marks(identity) || !cache.can_be_asked() {
        return Some(log);
    }
    if differs(cache, name, head, Some(&mut log)).await {
        // A file that is open stays in the cache when that is emptied.
        drop(log);
        cache.forget(name).await;
        return None;
    }
    cache.remark_unchecked("its server gives neither ETag nor time of change; a few places were compared");
    Some(log)
}

fn cached_header<D: Disk>(log: &mut ChunkLog<D>) -> Option<Vec<u8>> {
    let first: Extent = log.extents().into_iter().find(|extent| extent.begin == 0)?;
    let mut bytes = Vec::new();
    let intact = log.read(first, &mut bytes).ok()?;
    let length = Header::length("", <[u8; 8]>::try_from(bytes.get(..8)?).ok()?).ok()?;
    (intact && bytes.len() == 8 + length).then_some(bytes)
}

async fn ask_header<F: Files, K: CacheStore>(
    cache: &ModelCache<F, K>,
    name: &str,
) -> std::result::Result<Option<OpenedFile<F, K>>, Failure> {
    let Some(mut answer) = cache.files.ask(name, Some(0..8)).await? else { return Ok(None) };
    let mut rest = Vec::new();
    let mut bytes = read_exactly(&mut answer, &mut rest, 8).await?;
    let short = |expected, found| {
        let file = name.into();
        if cache.files.is_local() {
            Failure::lasting(WeightsError::CutOff { file, expected, found })
        } else {
            Failure::passing(WeightsError::CorruptDownload { file, expected, found })
        }
    };
    let Ok(first) = <[u8; 8]>::try_from(bytes.as_slice()) else {
        return Err(short(8, bytes.len() as u64));
    };
    // Text announces no length that could be meant.
    let text = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&first).trim_ascii_start();
    if first[4..] != [0; 4] && (text.is_empty() || text[0] == b'<') && !cache.files.is_local() {
        cache.note_page(name);
        return Ok(None);
    }
    let length = Header::length(name, first)?;
    // Where the server sends the whole file, the header follows in the same answer.
    let whole = !rest.is_empty() || answer.is_whole;
    let json = if whole {
        read_exactly(&mut answer, &mut rest, length).await?
    } else {
        let range = 8..8 + length as u64;
        let next = cache.files.ask(name, Some(range)).await?;
        let mut next = next.ok_or_else(|| short(8 + length as u64, 8))?;
        if next.begin != 8 || !next.validator.agrees_with(&answer.validator) {
            return Err(Failure::passing(WeightsError::Changed { file: name.into() }));
        }
        read_exactly(&mut next, &mut Vec::new(), length).await?
    };
    if json.len() < length {
        return Err(short(8 + length as u64, 8 + json.len() as u64));
    }
    let header = Header::parse(name, &json)?;
    bytes.extend(json);
    let identity = cache.identity(name, &answer.validator);
    let mut log = cache.chunk_log(name, &identity).await;
    if let Some(cached) = &mut log {
        // Not keeping the header costs two requests on the next visit.
        let _ = store_header(cached, &bytes);
    }
    let mut state = FileState::new(name, identity, cache.sha256(name), log, bytes);
    let at = state.head.len() as u64;
    state.whole = whole.then(|| Some(OpenResponse { answer, rest, at }));
    Ok(Some(OpenedFile { header, state }))
}

fn store_header<D: Disk>(log: &mut ChunkLog<D>, bytes: &[u8]) -> std::result::Result<(), CacheError> {
    let mut writing = log.begin(0, bytes.len() as u64)?;
    log.write(&mut writing, bytes)?;
    log.finish(writing)
}

/// Refuses a file whose header speaks of bytes beyond its end, or not of all its bytes.
pub(crate) fn within_file<F: Files, K: CacheStore>(file: &OpenedFile<F, K>) -> Result<()> {
    let (expected, found) = (file.header.file_size, file.state.identity.size.unwrap_or(file.header.file_size));
    // A length that comes with a whole file may be that of another encoding of it.
    if found == expected || file.state.whole.is_some() {
        return Ok(());
    }
    if found > expected {
        let why = format!("it has {found} bytes, and its header accounts for {expected}");
        return Err(WeightsError::BadSafetensors { file: file.state.name.clone(), why }.into());
    }
    let beyond = file.header.tensors.iter().find(|tensor| tensor.end > found).map_or("", |tensor| &tensor.name);
    let why = format!(
        "tensor \"{beyond}\" ends beyond the file, which has {found} bytes and by its header {expected}: it is cut off or damaged"
    );
    Err(WeightsError::BadSafetensors { file: file.state.name.clone(), why }.into())
}

/// The file of each tensor of a sharded checkpoint.
fn read_index(bytes: &[u8], wanted: &[Wanted]) -> Result<HashMap<String, String>> {
    let bad = |why: String| WeightsError::BadSafetensors { file: INDEX.into(), why };
    let index: Value = serde_json::from_slice(bytes).map_err(|why| bad(why.to_string()))?;
    let map = index.get("weight_map").and_then(Value::as_object).ok_or_else(|| bad("no weight_map".into()))?;
    let listed: HashSet<&str> = map.keys().flat_map(|key| tails(key)).collect();
    // An unembedding may be stored in the embedding's place.
    let is_listed = |name: &str| listed.contains(name) || name == Table::Tokens.tensor() && listed.contains(LM_HEAD);
    if let Some(want) = wanted.iter().find(|want| !is_listed(&want.name)) {
        return Err(ModelError::MissingTensor { name: want.name.clone() }.into());
    }
    let mut placed = HashMap::new();
    for (tensor, file) in map {
        let name = file.as_str().filter(|name| !name.contains(['/', '\\', '?', '#']));
        let name = name.ok_or_else(|| bad(format!("{file} is no name of a file beside it")))?;
        placed.insert(tensor.clone(), name.to_string());
    }
    Ok(placed)
}

/// The files that an index names, each once.
fn shards(placed: &HashMap<String, String>) -> Vec<String> {
    placed.values().cloned().collect::<BTreeSet<_>>().into_iter().collect()
}
