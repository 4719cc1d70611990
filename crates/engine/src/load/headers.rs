//! Which weights files there are, and the header of each: from the shelf, or by two small range requests.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::absent;
use super::queue::{Begun, Source};
use super::samples::{differs, has_no_marks};
use crate::model::ModelError;
use crate::model::checkpoint::{HEAD, Wanted, tails};
use crate::weights::WeightsError;
use crate::weights::files::Files;
use crate::weights::header::Header;
use crate::weights::names::{INDEX, ONE_FILE, sorted_out};
use crate::weights::plan::Table;
use crate::weights::retry::{Failure, Patience};
use crate::weights::store::{Disk, Extent, Identity, Keep, Pieces, StoreError};
use crate::weights::visit::{Visit, no_header, read_exactly};
use crate::{Code, Error, Result};
use serde_json::Value;

/// A weights file whose header is read.
pub(super) struct Opened<F: Files, K: Keep> {
    pub header: Header,
    pub source: Source<F, K>,
}

/// The weights files of a model.
pub(super) struct WeightFiles<F: Files, K: Keep> {
    pub opened: Vec<Opened<F, K>>,
    /// The file that each tensor is in, by the checkpoint's own index.
    pub placed: HashMap<String, String>,
    /// What ends in `.safetensors` and was not opened, and why.
    pub left_out: Vec<(String, &'static str)>,
}

/// The headers of all weights files. Of a whole file and shards, the whole file is read, as transformers does.
pub(super) async fn read_headers<F: Files, K: Keep>(
    visit: &Visit<F, K>,
    wanted: &[Wanted],
) -> Result<WeightFiles<F, K>> {
    let kept = visit.kept_files();
    let (mut placed, mut left_out) = (HashMap::new(), Vec::new());
    let names = match visit.files.weight_files() {
        Some(all) => {
            let names;
            (names, placed, left_out) = of_picked(visit, &all, wanted).await?;
            names
        }
        None => {
            let may_be_whole = kept.is_empty() || kept == [ONE_FILE];
            if may_be_whole && let Some(opened) = read_header(visit, ONE_FILE).await? {
                return Ok(WeightFiles { opened: vec![opened], placed, left_out });
            }
            let index = visit.small(INDEX).await?.ok_or_else(|| absent(&visit.files, ONE_FILE))?;
            placed = read_index(&index, wanted)?;
            shards(&placed)
        }
    };
    if names.is_empty() {
        return Err(no_weights(&visit.files, &left_out));
    }
    let mut opened = Vec::new();
    for name in &names {
        let mut file = read_header(visit, name).await?.ok_or_else(|| absent(&visit.files, name))?;
        if names.len() > 1 {
            // Several whole files at a time would arrive side by side; each is asked for again in its turn.
            file.source.whole = file.source.whole.map(|_| None);
        }
        opened.push(file);
    }
    Ok(WeightFiles { opened, placed, left_out })
}

/// Of files that a reader picked: those that hold the model; the file of each tensor; and those that are passed over.
async fn of_picked<F: Files, K: Keep>(
    visit: &Visit<F, K>,
    all: &[String],
    wanted: &[Wanted],
) -> Result<(Vec<String>, HashMap<String, String>, Vec<(String, &'static str)>)> {
    let (mut names, mut left_out) = sorted_out(all.iter().map(String::as_str));
    let Some(index) = visit.small(INDEX).await? else { return Ok((names, HashMap::new(), left_out)) };
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
        return Ok((names, HashMap::new(), left_out));
    }
    let beside = names.into_iter().filter(|name| !of_index.contains(name));
    left_out.extend(beside.map(|name| (name, "not in model.safetensors.index.json")));
    Ok((of_index, placed, left_out))
}

fn no_weights(files: &impl Files, left_out: &[(String, &'static str)]) -> Error {
    if left_out.is_empty() {
        return absent(files, ONE_FILE);
    }
    let list: Vec<String> = left_out.iter().map(|(name, what)| format!("{name} ({what})")).collect();
    let message = format!("no weights of a model are among the files: {}.", list.join(", "));
    Error::new(Code::NotFound, message)
}

/// The header of a weights file: from the shelf, or by two small range requests; `None` where there is no such file.
async fn read_header<F: Files, K: Keep>(visit: &Visit<F, K>, name: &str) -> Result<Option<Opened<F, K>>> {
    if let Some(identity) = visit.still_kept(name).await
        && let Some(mut pieces) = visit.pieces(name, &identity).await
        && let Some(bytes) = kept_header(&mut pieces)
        && let Some(pieces) = what_it_was(visit, name, &identity, &bytes, pieces).await
    {
        let header = Header::parse(name, &bytes[8..])?;
        let source = Source::new(name, identity, visit.sha256(name), Some(pieces), bytes);
        return Ok(Some(Opened { header, source }));
    }
    let mut patience = Patience::default();
    loop {
        match ask_header(visit, name).await {
            Ok(opened) => return Ok(opened),
            // On this machine nothing is on its way any more.
            Err(failure) if visit.files.is_local() => return Err(failure.error),
            Err(failure) => match patience.after(failure) {
                Ok(pause) => visit.files.wait(pause).await,
                // Storage that lists nothing says "forbidden" of what is not there.
                Err(error) if error.code == Code::NotFound && !visit.is_of_a_hub() => return Ok(None),
                Err(error) => return Err(error),
            },
        }
    }
}

/// The kept pieces of a file, if a server that gives its files no marks still sends what they are of; otherwise they are
/// forgotten.
async fn what_it_was<F: Files, K: Keep>(
    visit: &Visit<F, K>,
    name: &str,
    identity: &Identity,
    head: &[u8],
    mut pieces: Pieces<K::Disk>,
) -> Option<Pieces<K::Disk>> {
    if !has_no_marks(identity) || !visit.can_be_asked() {
        return Some(pieces);
    }
    if differs(visit, name, head, Some(&mut pieces)).await {
        // A file that is open stays on the shelf when that is emptied.
        drop(pieces);
        visit.forget(name).await;
        return None;
    }
    visit.remark_unchecked("its server gives neither ETag nor time of change; a few places were compared");
    Some(pieces)
}

fn kept_header<D: Disk>(pieces: &mut Pieces<D>) -> Option<Vec<u8>> {
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
    let short = |expected, found| {
        if visit.files.is_local() { cut_off(name, expected, found) } else { no_header(name, expected, found) }
    };
    let Ok(first) = <[u8; 8]>::try_from(bytes.as_slice()) else {
        return Err(short(8, bytes.len() as u64));
    };
    // Text announces no length that could be meant.
    let text = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&first).trim_ascii_start();
    if first[4..] != [0; 4] && (text.is_empty() || text[0] == b'<') && !visit.files.is_local() {
        visit.note_page(name);
        return Ok(None);
    }
    let length = Header::length(name, first)?;
    // Where the server sends the whole file, the header follows in the same answer.
    let whole = !rest.is_empty() || answer.is_whole;
    let json = if whole {
        read_exactly(&mut answer, &mut rest, length).await?
    } else {
        let range = 8..8 + length as u64;
        let next = visit.files.ask(name, Some(range)).await?;
        let mut next = next.ok_or_else(|| short(8 + length as u64, 8))?;
        if next.begin != 8 || !next.stamp.agrees_with(&answer.stamp) {
            return Err(Failure::passing(WeightsError::Changed { file: name.into() }));
        }
        read_exactly(&mut next, &mut Vec::new(), length).await?
    };
    if json.len() < length {
        return Err(short(8 + length as u64, 8 + json.len() as u64));
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

/// The error for a file of this machine that ends within its header.
fn cut_off(name: &str, expected: u64, found: u64) -> Failure {
    Failure::lasting(WeightsError::CutOff { file: name.into(), expected, found })
}

fn keep_header<D: Disk>(pieces: &mut Pieces<D>, bytes: &[u8]) -> std::result::Result<(), StoreError> {
    let mut writing = pieces.begin(0, bytes.len() as u64)?;
    pieces.write(&mut writing, bytes)?;
    pieces.finish(writing)
}

/// Refuses a file whose header speaks of bytes beyond its end, or not of all its bytes.
pub(super) fn within_file<F: Files, K: Keep>(file: &Opened<F, K>) -> Result<()> {
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

/// The file of each tensor of a sharded checkpoint.
fn read_index(bytes: &[u8], wanted: &[Wanted]) -> Result<HashMap<String, String>> {
    let bad = |why: String| WeightsError::BadSafetensors { file: INDEX.into(), why };
    let index: Value = serde_json::from_slice(bytes).map_err(|why| bad(why.to_string()))?;
    let map = index.get("weight_map").and_then(Value::as_object).ok_or_else(|| bad("no weight_map".into()))?;
    let listed: HashSet<&str> = map.keys().flat_map(|key| tails(key)).collect();
    // An unembedding may be stored in the embedding's place.
    let is_listed = |name: &str| listed.contains(name) || name == Table::Tokens.tensor() && listed.contains(HEAD);
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
