//! A model's files, wherever they are: on a server ([`remote`], in the browser by `fetch`), picked from the reader's disk
//! (`picked`), in a `folder`.
//! May depend on: `protocol`; on wasm32 also on web-sys.
//! Must never know: what is in a file, what is cached of it.

use std::ops::Range;

pub mod address;
#[cfg(target_arch = "wasm32")]
pub mod fetch;
#[cfg(not(target_arch = "wasm32"))]
pub mod folder;
pub mod http;
pub mod names;
#[cfg(target_arch = "wasm32")]
pub mod picked;
pub mod remote;
pub mod retry;

pub use address::{Address, Location};

use crate::loading::WeightsError;
use crate::{Code, Error, Result};
use names::ONE_FILE;
use retry::{Backoff, Failure};

/// A model's settings: the one small file that every model has.
pub const CONFIG: &str = "config.json";

/// Files that a hub lists in one answer; where there are more, the list goes on elsewhere.
const LISTED: usize = 1000;

/// Bytes that a small file may have. A tokenizer with 200,000 added tokens has about 40 MB, the index of a model in
/// a hundred files about 1 MB.
pub fn most_bytes(name: &str) -> u64 {
    match name {
        CONFIG => 4_000_000,
        name if name.ends_with(".index.json") => 32_000_000,
        _ => 100_000_000,
    }
}

/// Whether bytes are a web page: what many servers send, with status 200, in the place of a file that they lack.
pub fn is_page(bytes: &[u8]) -> bool {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    let begins = |with: &str| text.get(..with.len()).is_some_and(|text| text.eq_ignore_ascii_case(with.as_bytes()));
    ["<!doctype", "<html", "<head", "<body", "<?xml", "<!--", "<script", "<meta", "<title"].into_iter().any(begins)
}

/// Files by name. Reading is asynchronous and single-threaded, as a worker is.
pub trait Files {
    /// The bytes of an answer, as they come.
    type Body: Body;

    /// Asks for a file, or for a run of its bytes; `None` where there is no such file. A server may answer with
    /// more than was asked: see [`FileResponse::begin`].
    fn ask(
        &self,
        name: &str,
        bytes: Option<Range<u64>>,
    ) -> impl Future<Output = Attempt<Option<FileResponse<Self::Body>>>>;

    /// Waits, between two attempts.
    fn wait(&self, milliseconds: f64) -> impl Future<Output = ()>;

    /// Gives other tasks their turn, in the middle of work that waits for nothing.
    fn turn(&self) -> impl Future<Output = ()> {
        async {}
    }

    /// Bytes of memory that the program holds; 0 where that cannot be told.
    fn memory(&self) -> f64 {
        0.0
    }

    /// Names of all files that end in `.safetensors`, where they are known beforehand (files that a reader picked).
    fn weight_files(&self) -> Option<Vec<String>> {
        None
    }

    /// Whether the files are on this machine: what is wrong with one of them stays so.
    fn is_local(&self) -> bool {
        false
    }

    /// Whether settings may lie beside the tokenizer; not so for the demo model, which is known to have none.
    fn has_tokenizer_settings(&self) -> bool {
        true
    }

    /// What is known of the model's version without reading a file, for one that may be kept.
    fn version(&self) -> impl Future<Output = Version> {
        async { Version::default() }
    }

    /// What a server says of a file without sending it.
    fn validator(&self, _name: &str) -> impl Future<Output = Attempt<Option<Validator>>> {
        async { Ok(None) }
    }

    /// Where the files are, for messages.
    fn place(&self) -> String;
}

/// An answer to [`Files::ask`].
pub struct FileResponse<B> {
    /// Its bytes, as they come.
    pub body: B,
    /// Whether it is the whole file though a part was asked for: its server knows no ranges.
    pub is_whole: bool,
    /// The place in the file of the first byte.
    pub begin: u64,
    /// What the server says of the file.
    pub validator: Validator,
}

/// Marks by which a file can be told from its next version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validator {
    /// ETag, or the time of the last change.
    pub etag: Option<String>,
    /// Bytes of the whole file.
    pub size: Option<u64>,
}

impl Validator {
    /// Whether two stamps speak for the same bytes.
    pub fn proves(&self, other: &Validator) -> bool {
        let both = (self.etag.is_some() && other.etag.is_some()) || (self.size.is_some() && other.size.is_some());
        both && self.agrees_with(other)
    }

    /// Whether two stamps may be of the same bytes: where one says nothing, nothing speaks against it.
    pub fn agrees_with(&self, other: &Validator) -> bool {
        let etags = match (&self.etag, &other.etag) {
            (Some(one), Some(other)) => bare(one) == bare(other),
            _ => true,
        };
        etags && (self.size.is_none() || other.size.is_none() || self.size == other.size)
    }
}

/// An ETag without what a server adds to it for a compressed answer.
fn bare(etag: &str) -> &str {
    let etag = etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"');
    etag.strip_suffix("-gzip").or(etag.strip_suffix("--gzip")).unwrap_or(etag)
}

/// What a hub says of a model's version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// The commit that a branch or tag stands for.
    pub commit: Option<String>,
    /// SHA-256 (lower-case hexadecimal) and size of large files, by name.
    pub files: Vec<(String, String, u64)>,
    /// Bytes of every file, by name; empty where the hub does not tell.
    pub sizes: Vec<(String, u64)>,
    /// Whether the server could not be reached at all.
    pub offline: bool,
    /// Whether the hub was reached, and would not tell: it fails, or limits requests.
    pub refused: bool,
}

impl Version {
    /// SHA-256 and size of a file.
    pub fn file(&self, name: &str) -> Option<(&str, u64)> {
        self.files.iter().find(|(known, ..)| known == name).map(|(_, sha256, size)| (sha256.as_str(), *size))
    }

    /// Bytes of a file, if it is listed.
    pub fn size(&self, name: &str) -> Option<u64> {
        self.sizes.iter().find(|(known, _)| known == name).map(|(_, size)| *size)
    }

    /// Whether the hub's list of files is known, and this is not on it.
    pub fn lacks(&self, name: &str) -> bool {
        !self.sizes.is_empty() && self.sizes.len() < LISTED && self.size(name).is_none()
    }
}

/// Bytes in order, in pieces of the sender's choice.
pub trait Body {
    /// The next piece; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Attempt<Option<Vec<u8>>>>;
}

/// What asking may end in.
pub type Attempt<T> = std::result::Result<T, Failure>;

/// A whole small file, with as many attempts as it takes; `None` where there is no such file.
///
/// # Errors
/// What the last attempt ended in; `TooLarge`, `OutOfMemory`.
pub async fn read_whole<F: Files>(files: &F, name: &str, mut backoff: Backoff) -> Result<Option<Vec<u8>>> {
    loop {
        match read_once(files, name).await {
            Ok(bytes) => return Ok(bytes),
            Err(failure) => files.wait(backoff.after(failure)?).await,
        }
    }
}

async fn read_once<F: Files>(files: &F, name: &str) -> Attempt<Option<Vec<u8>>> {
    let Some(mut answer) = files.ask(name, None).await? else { return Ok(None) };
    let limit = most_bytes(name);
    let too_large = |found| WeightsError::TooLarge { file: name.into(), limit, found };
    if let Some(size) = answer.validator.size.filter(|size| *size > limit) {
        return Err(too_large(format!("{} MB, ", size / 1_000_000)).into());
    }
    let mut bytes = Vec::new();
    while let Some(piece) = answer.body.next().await? {
        let count = bytes.len() + piece.len();
        if count as u64 > limit {
            return Err(too_large(String::new()).into());
        }
        let no_room = |_| WeightsError::OutOfMemory { what: name.into(), bytes: count as u64 };
        bytes.try_reserve(piece.len()).map_err(no_room)?;
        bytes.extend(piece);
    }
    Ok(Some(bytes))
}

/// Reads exactly `count` bytes, or what there is; `rest` has what came beyond them.
///
/// # Errors
/// What the body ends in.
pub async fn read_exactly<B: Body>(answer: &mut FileResponse<B>, rest: &mut Vec<u8>, count: usize) -> Attempt<Vec<u8>> {
    while rest.len() < count {
        match answer.body.next().await? {
            Some(piece) => rest.extend(piece),
            None => break,
        }
    }
    let left = rest.split_off(count.min(rest.len()));
    Ok(std::mem::replace(rest, left))
}

/// The error for a file that is not there.
pub fn absent(files: &impl Files, name: &str) -> Error {
    let hint = if name == ONE_FILE {
        ", nor model.safetensors.index.json; is the model there in safetensors form?"
    } else {
        "."
    };
    Error::new(Code::NotFound, format!("{}: there is no {name}{hint}", files.place()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_told_from_files() {
        for page in ["<!DOCTYPE html><html>", "\u{feff}\n\t <html>", "  <?xml version=\"1.0\"?>", "<!-- no --><p>"] {
            assert!(is_page(page.as_bytes()), "files.rs: {page:?} is a web page");
        }
        for file in ["{\"a\":\"<html>\"}", "#version: 0.2\n< !", "< ! d", "<h t", "<", "", "  ", "[1]"] {
            assert!(!is_page(file.as_bytes()), "files.rs: {file:?} is no web page");
        }
    }

    #[test]
    fn stamps_of_one_file_agree_whatever_its_encoding() {
        let validator = |etag: &str| Validator { etag: Some(etag.into()), size: None };
        for other in ["\"a1\"", "W/\"a1\"", "\"a1-gzip\"", "W/\"a1\""] {
            assert!(validator("\"a1\"").proves(&validator(other)), "files.rs: {other} is of the same file");
        }
        assert!(!validator("\"a1\"").agrees_with(&validator("W/\"a2\"")), "files.rs: another ETag is another file");
    }
}
