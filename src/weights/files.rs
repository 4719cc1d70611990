//! A model's files, wherever they are: on a server, picked from the reader's disk, in a folder.

use crate::Result;

/// Files by name. Reading is asynchronous and single-threaded, as a worker is.
pub trait Files {
    /// The bytes of one file, as they come.
    type Stream: ByteStream;

    /// A small file, whole; `None` where there is no such file.
    fn read(&self, name: &str) -> impl Future<Output = Result<Option<Vec<u8>>>>;

    /// A large file, front to back; `None` where there is no such file.
    fn open(&self, name: &str) -> impl Future<Output = Result<Option<Self::Stream>>>;

    /// Names of the weights files where they are known beforehand (files that a reader picked).
    fn weight_files(&self) -> Option<Vec<String>> {
        None
    }

    /// Where the files are, for messages.
    fn place(&self) -> String;
}

/// Bytes in order, in pieces of the sender's choice.
pub trait ByteStream {
    /// The next piece; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Vec<u8>>>>;
}

/// A folder on this machine's disk. Native tests and tools read models through it.
#[cfg(not(target_arch = "wasm32"))]
pub struct Folder(pub std::path::PathBuf);

#[cfg(not(target_arch = "wasm32"))]
mod folder {
    use std::fs::File;
    use std::io::{ErrorKind, Read};

    use super::{ByteStream, Files, Folder};
    use crate::weights::WeightsError;
    use crate::{Error, Result};

    /// Bytes per piece: about what a browser's response stream gives.
    const PIECE: usize = 1 << 16;

    fn broken(url: &str, why: &std::io::Error) -> Error {
        WeightsError::Network { url: url.into(), why: why.to_string() }.into()
    }

    impl Files for Folder {
        type Stream = (String, File);

        async fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
            match std::fs::read(self.0.join(name)) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(why) if why.kind() == ErrorKind::NotFound => Ok(None),
                Err(why) => Err(broken(name, &why)),
            }
        }

        async fn open(&self, name: &str) -> Result<Option<Self::Stream>> {
            match File::open(self.0.join(name)) {
                Ok(file) => Ok(Some((name.to_string(), file))),
                Err(why) if why.kind() == ErrorKind::NotFound => Ok(None),
                Err(why) => Err(broken(name, &why)),
            }
        }

        fn place(&self) -> String {
            self.0.display().to_string()
        }
    }

    impl ByteStream for (String, File) {
        async fn next(&mut self) -> Result<Option<Vec<u8>>> {
            let mut piece = vec![0; PIECE];
            let count = self.1.read(&mut piece).map_err(|why| broken(&self.0, &why))?;
            piece.truncate(count);
            Ok((count > 0).then_some(piece))
        }
    }
}
