//! The tensor index of a model: every tensor that its configuration calls for, and where its bytes are.

use std::collections::HashMap;
use std::ops::Range;

pub mod header;
pub(crate) mod weight_files;

pub use header::{Dtype, Header, TensorInfo};

use crate::Error;
use crate::loading::WeightsError;
use crate::model::checkpoint::{LM_HEAD, Part, Table, Wanted, is_mask, is_wrapper, refuse_unknown, tails, wanted};
use crate::model::config::LmHead;
use crate::model::{Config, ModelError};

/// wasm32 has 4 GiB of addresses; a tenth is left for activations and everything else.
const MOST_MEMORY: u64 = (1 << 32) / 10 * 9;

/// A run of bytes in one of the model's files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// Which file, counted as in [`Index::files`].
    pub file: usize,
    /// Which of its bytes.
    pub bytes: Range<u64>,
}

/// A tensor that the model wants.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    /// Its name without the prefix that the file gives it: `h.0.ln_1.weight`.
    pub name: String,
    /// The part of the model that it belongs to.
    pub part: Part,
    /// Type, shape, and where in its file it is.
    pub info: TensorInfo,
}

/// One weights file, and what the model wants of it.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexedFile {
    /// Name as the checkpoint has it.
    pub name: String,
    /// All that is in it.
    pub header: Header,
    /// What the model wants of it, in the order of the bytes.
    pub wanted: Vec<Located>,
}

/// Where every wanted tensor is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Index {
    /// The model's weights files, in the order in which their headers were read.
    pub files: Vec<IndexedFile>,
    /// Names of tensors that the model has no use for, as the files have them.
    pub unused: Vec<String>,
}

/// Refuses a model whose tensors cannot all be held, before a byte of them is read.
///
/// # Errors
/// `OutOfMemory` says what it needs and what would fit.
pub fn refuse_too_large(wanted: &[Wanted]) -> Result<(), WeightsError> {
    let size = |want: &Wanted| want.shape.iter().try_fold(4u64, |bytes, &axis| bytes.checked_mul(axis as u64));
    let bytes = wanted.iter().try_fold(0u64, |sum, want| sum.checked_add(size(want)?)).unwrap_or(u64::MAX);
    if bytes <= MOST_MEMORY {
        return Ok(());
    }
    Err(WeightsError::OutOfMemory { what: "the model, by its config.json,".into(), bytes })
}

impl Index {
    /// Finds every wanted tensor in the files, under whatever prefix all of them have.
    ///
    /// # Errors
    /// As [`Index::of_model`].
    pub fn new(wanted: &[Wanted], files: Vec<(String, Header)>) -> Result<Index, Error> {
        let (index, missing) = Index::search(wanted, files, &HashMap::new())?;
        all_there(missing)?;
        Ok(index)
    }

    /// Finds a model's tensors in its files, and where its unembedding is, which is written into the settings: an
    /// `lm_head.weight` that is there counts. `placed` says in which file a tensor is, where several have it.
    ///
    /// # Errors
    /// `MissingTensor`; `BadSafetensors` for a tensor that is there twice, and for prefixes that differ; for each file
    /// `ShapeMismatch`, `UnsupportedDtype`, `ForeignTensor`; `OutOfMemory`.
    pub fn of_model(
        config: &mut Config,
        files: Vec<(String, Header)>,
        placed: &HashMap<String, String>,
    ) -> Result<Index, Error> {
        let ties = config.tie_word_embeddings;
        config.lm_head = LmHead::Own;
        let (mut index, mut missing) = Index::search(&wanted(config), files, placed)?;
        let embedding = Table::Tokens.tensor();
        if missing.iter().any(|name| name == LM_HEAD) {
            missing.retain(|name| name != LM_HEAD);
            config.lm_head = if ties { LmHead::Tied } else { LmHead::Absent };
        } else if ties && missing.iter().any(|name| name == embedding) {
            // The two are one, and stored under the other's name.
            missing.retain(|name| name != embedding);
            config.lm_head = LmHead::Tied;
            let all = index.files.iter_mut().flat_map(|file| &mut file.wanted);
            for located in all.filter(|located| located.name == LM_HEAD) {
                (located.name, located.part) = (embedding.into(), Part::Embedding);
            }
        }
        all_there(missing)?;
        refuse_too_large(&wanted(config))?;
        Ok(index)
    }

    /// Finds tensors; also says which are nowhere.
    fn search(
        wanted: &[Wanted],
        files: Vec<(String, Header)>,
        placed: &HashMap<String, String>,
    ) -> Result<(Index, Vec<String>), Error> {
        let by_name: HashMap<&str, &Wanted> = wanted.iter().map(|want| (want.name.as_str(), want)).collect();
        let mut found: HashMap<&str, Candidate> = HashMap::new();
        for (file, header) in &files {
            for info in &header.tensors {
                refuse_unknown(file, &info.name)?;
                let Some(want) = tails(&info.name).find_map(|tail| by_name.get(tail)) else { continue };
                let here = Candidate { file, info };
                let chosen = match found.get(want.name.as_str()) {
                    Some(before) => one_of(&want.name, *before, here, placed)?,
                    None => here,
                };
                found.insert(&want.name, chosen);
            }
        }
        same_prefix(&found, &files)?;
        let mut index = Index::default();
        for (name, header) in &files {
            let (mut list, mut unused) = (Vec::new(), Vec::new());
            for info in &header.tensors {
                match tails(&info.name).find_map(|tail| by_name.get(tail)) {
                    Some(want) if found.get(want.name.as_str()) == Some(&Candidate { file: name, info }) => {
                        check(name, info, want)?;
                        list.push(Located { name: want.name.clone(), part: want.part, info: info.clone() });
                    }
                    Some(_) => {} // another file's counts
                    None if is_mask(&info.name) => {}
                    None => unused.push(info.name.clone()),
                }
            }
            index.unused.extend(unused);
            index.files.push(IndexedFile { name: name.clone(), header: header.clone(), wanted: list });
        }
        let missing = wanted.iter().map(|want| &want.name).filter(|name| !found.contains_key(name.as_str()));
        let missing = missing.cloned().collect();
        Ok((index, missing))
    }

    /// Bytes of all wanted tensors, as their files have them.
    pub fn wanted_bytes(&self) -> u64 {
        self.files.iter().flat_map(|file| &file.wanted).map(|located| located.info.end - located.info.begin).sum()
    }

    /// A wanted tensor by its plain name, with its file's number.
    pub fn find(&self, name: &str) -> Option<(usize, &Located)> {
        self.files.iter().enumerate().find_map(|(number, file)| {
            file.wanted.iter().find(|located| located.name == name).map(|located| (number, located))
        })
    }
}

impl IndexedFile {
    /// The place in `wanted` of the tensor that holds this byte, or of the next after it.
    pub fn position(&self, at: u64) -> usize {
        self.wanted.partition_point(|located| located.info.end <= at)
    }

    /// The last place at or before `at` where bytes may be cut apart: between elements, in tables between rows.
    pub fn align(&self, at: u64) -> u64 {
        match self.wanted.get(self.position(at)) {
            Some(located) if located.info.begin < at => at - (at - located.info.begin) % located.grain(),
            _ => at,
        }
    }

    /// Cuts a run into pieces of about `size` bytes, at places where bytes may be cut apart.
    pub fn cut(&self, run: &Range<u64>, size: u64) -> Vec<Range<u64>> {
        let count = (run.end - run.start).div_ceil(size.max(1)).max(1);
        let mut pieces = Vec::new();
        let mut begin = run.start;
        for piece in 1..=count {
            let end = if piece == count { run.end } else { run.start + (run.end - run.start) / count * piece };
            let end = if piece == count { end } else { self.align(end) };
            if end > begin {
                pieces.push(begin..end);
                begin = end;
            }
        }
        pieces
    }
}

impl Located {
    /// Bytes that belong together: a row of a table of embeddings, else one element.
    pub fn grain(&self) -> u64 {
        let element = self.info.dtype().map_or(1, |dtype| dtype.size()) as u64;
        match (self.part, self.info.shape.as_slice()) {
            (Part::Embedding, &[_, width]) => element * (width as u64).max(1),
            _ => element,
        }
    }
}

/// A tensor in the file that has it.
#[derive(Clone, Copy, PartialEq)]
struct Candidate<'a> {
    file: &'a str,
    info: &'a TensorInfo,
}

/// Which of two tensors of one name counts: the one in the file that the checkpoint's index names.
fn one_of<'a>(
    plain: &str,
    before: Candidate<'a>,
    here: Candidate<'a>,
    placed: &HashMap<String, String>,
) -> Result<Candidate<'a>, WeightsError> {
    let is_placed = |found: Candidate| placed.get(&found.info.name).is_some_and(|named| named == found.file);
    if before.file == here.file {
        let (one, other) = (&before.info.name, &here.info.name);
        let why = format!("tensor \"{plain}\" is there twice, as \"{one}\" and as \"{other}\"");
        return Err(WeightsError::BadSafetensors { file: here.file.into(), why });
    }
    match (is_placed(before), is_placed(here)) {
        (true, false) => Ok(before),
        (false, true) => Ok(here),
        _ => {
            let (first, second) = (before.file.to_string(), here.file.to_string());
            Err(WeightsError::Duplicate { tensor: here.info.name.clone(), first, second })
        }
    }
}

/// Refuses tensors that were put together from several models: all must have one prefix, but for the unembedding, which may
/// stand outside some of the wrappers. A prefix that is not known to say nothing must be that of every tensor.
fn same_prefix(found: &HashMap<&str, Candidate>, files: &[(String, Header)]) -> Result<(), WeightsError> {
    let prefix = |plain: &str, info: &TensorInfo| info.name[..info.name.len() - plain.len()].to_string();
    let mut all: Vec<_> = found.iter().map(|(plain, found)| (*plain, found.file, found.info)).collect();
    all.sort_by_key(|(plain, ..)| *plain);
    let refuse = |file: &str, why: String| Err(WeightsError::BadSafetensors { file: file.into(), why });
    let Some(&(plain, file, info)) = all.iter().find(|(plain, ..)| *plain != LM_HEAD) else { return Ok(()) };
    let common = prefix(plain, info);
    for (plain, file, other) in &all {
        let its = prefix(plain, other);
        if its != common && !(*plain == LM_HEAD && common.starts_with(&its)) {
            let why = format!(
                "\"{}\" and \"{}\" have different prefixes, as tensors of two models have. Give the file of one model.",
                info.name, other.name
            );
            return refuse(file, why);
        }
    }
    let outside = |(_, header): &&(String, Header)| {
        header.tensors.iter().any(|tensor| !tensor.name.starts_with(&common) && !tensor.name.ends_with(LM_HEAD))
    };
    if !is_wrapper(&common) && files.iter().any(|file| outside(&file)) {
        let why = format!(
            "its tensors' names begin with \"{common}\" where GPT-2's begin with nothing or \"transformer.\", and not all do: is it a part of another model? Rename them, or save the part by itself."
        );
        return refuse(file, why);
    }
    Ok(())
}

fn all_there(missing: Vec<String>) -> Result<(), ModelError> {
    missing.into_iter().min().map_or(Ok(()), |name| Err(ModelError::MissingTensor { name }))
}

/// Checks a tensor's shape and type.
///
/// # Errors
/// `ShapeMismatch`, `UnsupportedDtype`.
fn check(file: &str, tensor: &TensorInfo, want: &Wanted) -> Result<(), Error> {
    if want.shape != tensor.shape {
        let (expected, found) = (want.shape.clone(), tensor.shape.clone());
        return Err(ModelError::ShapeMismatch { name: tensor.name.clone(), expected, found }.into());
    }
    if tensor.dtype().is_none() {
        let (tensor, found) = (tensor.name.clone(), tensor.dtype_name.clone());
        return Err(WeightsError::UnsupportedDtype { file: file.into(), tensor, found }.into());
    }
    Ok(())
}
