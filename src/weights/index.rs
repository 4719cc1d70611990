//! The tensor index of a model: every tensor that its configuration calls for, and where its bytes are.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::{Header, TensorInfo, WeightsError};
use crate::Error;
use crate::model::ModelError;
use crate::model::checkpoint::{Part, Wanted, plain_name, refuse_unknown};

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
    /// Name without the `transformer.` prefix.
    pub name: String,
    /// Where it goes.
    pub part: Part,
    /// Type, shape, and where in its file it is.
    pub info: TensorInfo,
}

/// One weights file.
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
    /// The weights files.
    pub files: Vec<IndexedFile>,
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
    /// Finds every wanted tensor in the files. One that several shards hold is taken from the first.
    ///
    /// # Errors
    /// `MissingTensor`; for each file `ShapeMismatch`, `UnsupportedDtype`, `NotGpt2` for a tensor that GPT-2 does not
    /// have, `BadSafetensors` for one that is there twice.
    pub fn new(wanted: &[Wanted], files: Vec<(String, Header)>) -> Result<Index, Error> {
        let by_name: HashMap<&str, &Wanted> = wanted.iter().map(|want| (want.name.as_str(), want)).collect();
        let mut found = HashSet::new();
        let mut index = Index::default();
        for (name, header) in files {
            check(&name, &header, &by_name)?;
            let mut list = Vec::new();
            for info in &header.tensors {
                let plain = plain_name(&info.name);
                if let Some(want) = by_name.get(plain)
                    && found.insert(plain.to_string())
                {
                    list.push(Located { name: plain.to_string(), part: want.part, info: info.clone() });
                }
            }
            index.files.push(IndexedFile { name, header, wanted: list });
        }
        match wanted.iter().map(|want| &want.name).filter(|name| !found.contains(*name)).min() {
            Some(name) => Err(ModelError::MissingTensor { name: name.clone() }.into()),
            None => Ok(index),
        }
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

/// Checks the wanted tensors of one file: shapes, types, and that no block holds more than GPT-2 has.
///
/// # Errors
/// `ShapeMismatch`, `UnsupportedDtype`, `NotGpt2`, `BadSafetensors` where a tensor is there with and without prefix.
fn check(file: &str, header: &Header, wanted: &HashMap<&str, &Wanted>) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for tensor in &header.tensors {
        refuse_unknown(&tensor.name)?;
        let plain = plain_name(&tensor.name);
        let Some(want) = wanted.get(plain) else { continue };
        if !seen.insert(plain) {
            let why = format!("tensor \"{plain}\" is there twice, with and without prefix");
            return Err(WeightsError::BadSafetensors { file: file.into(), why }.into());
        }
        if want.shape != tensor.shape {
            let (expected, found) = (want.shape.clone(), tensor.shape.clone());
            return Err(ModelError::ShapeMismatch { name: tensor.name.clone(), expected, found }.into());
        }
        if tensor.dtype().is_none() {
            let (tensor, found) = (tensor.name.clone(), tensor.dtype_name.clone());
            return Err(WeightsError::UnsupportedDtype { file: file.into(), tensor, found }.into());
        }
    }
    Ok(())
}
