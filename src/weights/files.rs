//! A model's files, wherever they are: on a server, picked from the reader's disk, in a folder.

use std::ops::Range;

use super::WeightsError;
use crate::Error;
use crate::Result;

/// Files by name. Reading is asynchronous and single-threaded, as a worker is.
pub trait Files {
    /// The bytes of an answer, as they come.
    type Body: Body;

    /// Asks for a file, or for a run of its bytes; `None` where there is no such file. A server may answer with
    /// more than was asked: see [`Answer::begin`].
    fn ask(&self, name: &str, bytes: Option<Range<u64>>) -> impl Future<Output = Asked<Option<Answer<Self::Body>>>>;

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

    /// Names of the weights files where they are known beforehand (files that a reader picked).
    fn weight_files(&self) -> Option<Vec<String>> {
        None
    }

    /// What is known of the model's version without reading a file, for one that may be kept.
    fn version(&self) -> impl Future<Output = Version> {
        async { Version::default() }
    }

    /// What a server says of a file without sending it.
    fn stamp(&self, _name: &str) -> impl Future<Output = Asked<Option<Stamp>>> {
        async { Ok(None) }
    }

    /// Where the files are, for messages.
    fn place(&self) -> String;
}

/// An answer to [`Files::ask`].
pub struct Answer<B> {
    /// Its bytes.
    pub body: B,
    /// Whether it is the whole file though a part was asked for: its server knows no ranges.
    pub is_whole: bool,
    /// The place in the file of the first byte.
    pub begin: u64,
    /// What the server says of the file.
    pub stamp: Stamp,
}

/// Marks by which a file can be told from its next version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// ETag, or the time of the last change.
    pub etag: Option<String>,
    /// Bytes of the whole file.
    pub size: Option<u64>,
}

impl Stamp {
    /// Whether two stamps speak for the same bytes.
    pub fn proves(&self, other: &Stamp) -> bool {
        let both = (self.etag.is_some() && other.etag.is_some()) || (self.size.is_some() && other.size.is_some());
        both && self.agrees_with(other)
    }

    /// Whether two stamps may be of the same bytes: where one says nothing, nothing speaks against it.
    pub fn agrees_with(&self, other: &Stamp) -> bool {
        let etags = self.etag.is_none() || other.etag.is_none() || self.etag == other.etag;
        etags && (self.size.is_none() || other.size.is_none() || self.size == other.size)
    }
}

/// What a hub says of a model's version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// The commit that a branch or tag stands for.
    pub commit: Option<String>,
    /// SHA-256 (lower-case hexadecimal) and size of large files, by name.
    pub files: Vec<(String, String, u64)>,
    /// Whether the server could not be reached at all.
    pub offline: bool,
}

impl Version {
    /// SHA-256 and size of a file.
    pub fn file(&self, name: &str) -> Option<(&str, u64)> {
        self.files.iter().find(|(known, ..)| known == name).map(|(_, sha256, size)| (sha256.as_str(), *size))
    }
}

/// Bytes in order, in pieces of the sender's choice.
pub trait Body {
    /// The next piece; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Asked<Option<Vec<u8>>>>;
}

/// What asking may end in.
pub type Asked<T> = std::result::Result<T, Failure>;

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// What to say if it is the last.
    pub error: Error,
    /// Whether there is to be another.
    pub again: Again,
}

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Again {
    /// Never: the answer would be the same.
    Never,
    /// After a while.
    Later,
    /// Not before so many milliseconds have passed: the server said so.
    After(f64),
}

impl Failure {
    /// A failure that a later attempt may mend.
    pub fn passing(error: impl Into<Error>) -> Failure {
        Failure { error: error.into(), again: Again::Later }
    }

    /// A failure for good.
    pub fn lasting(error: impl Into<Error>) -> Failure {
        Failure { error: error.into(), again: Again::Never }
    }
}

impl From<WeightsError> for Failure {
    fn from(error: WeightsError) -> Self {
        Failure::lasting(error)
    }
}

/// A whole small file, with as many attempts as it takes; `None` where there is no such file.
///
/// # Errors
/// What the last attempt ended in.
pub async fn read_whole<F: Files>(files: &F, name: &str) -> Result<Option<Vec<u8>>> {
    let mut patience = super::retry::Patience::default();
    loop {
        match read_once(files, name).await {
            Ok(bytes) => return Ok(bytes),
            Err(failure) => files.wait(patience.after(failure)?).await,
        }
    }
}

async fn read_once<F: Files>(files: &F, name: &str) -> Asked<Option<Vec<u8>>> {
    let Some(mut answer) = files.ask(name, None).await? else { return Ok(None) };
    let mut bytes = Vec::new();
    while let Some(piece) = answer.body.next().await? {
        bytes.extend(piece);
    }
    Ok(Some(bytes))
}
