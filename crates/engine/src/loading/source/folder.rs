//! A folder on this machine's disk. Native tests and tools read models through it.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;

use super::retry::Failure;
use super::{Attempt, Body, FileResponse, Files, Validator};
use crate::loading::WeightsError;

/// Bytes per piece: about what a browser's response stream gives.
const PIECE: usize = 1 << 16;

/// The folder of a model.
pub struct Folder(pub PathBuf);

impl Files for Folder {
    type Body = FileBody;

    async fn ask(&self, name: &str, bytes: Option<Range<u64>>) -> Attempt<Option<FileResponse<FileBody>>> {
        let broken = |why: std::io::Error| broken(name, &why);
        let mut file = match File::open(self.0.join(name)) {
            Ok(file) => file,
            Err(why) if why.kind() == ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(broken(why)),
        };
        let size = file.metadata().map_err(broken)?.len();
        let bytes = bytes.unwrap_or(0..size);
        file.seek(SeekFrom::Start(bytes.start)).map_err(broken)?;
        let body = FileBody { name: name.into(), file, left: bytes.end.saturating_sub(bytes.start) };
        Ok(Some(FileResponse {
            body,
            is_whole: false,
            begin: bytes.start,
            validator: Validator { etag: None, size: Some(size) },
        }))
    }

    async fn wait(&self, _milliseconds: f64) {}

    fn is_local(&self) -> bool {
        true
    }

    fn place(&self) -> String {
        self.0.display().to_string()
    }
}

/// The bytes of a file.
pub struct FileBody {
    name: String,
    file: File,
    left: u64,
}

impl Body for FileBody {
    async fn next(&mut self) -> Attempt<Option<Vec<u8>>> {
        let mut piece = vec![0; PIECE.min(usize::try_from(self.left).unwrap_or(PIECE))];
        let count = self.file.read(&mut piece).map_err(|why| broken(&self.name, &why))?;
        piece.truncate(count);
        self.left -= count as u64;
        Ok((count > 0).then_some(piece))
    }
}

fn broken(name: &str, why: &std::io::Error) -> Failure {
    Failure::lasting(WeightsError::Network { url: name.into(), why: why.to_string() })
}
