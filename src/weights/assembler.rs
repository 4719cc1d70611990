//! One pass through a safetensors file, front to back: header, then each wanted tensor as its bytes come.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use candle_core::{Device, Tensor};

use super::widen::Widen;
use super::{Header, WeightsError};
use crate::Error;
use crate::model::ModelError;
use crate::model::checkpoint::{Wanted, plain_name, refuse_unknown};

/// Tensors to find: plain name to shape.
#[derive(Clone, Debug, Default)]
pub struct Wishes(HashMap<String, Vec<usize>>);

impl Wishes {
    /// Everything a model wants.
    pub fn new(wanted: &[Wanted]) -> Wishes {
        Wishes(wanted.iter().map(|want| (want.name.clone(), want.shape.clone())).collect())
    }

    /// Whether every tensor has been found, else the name of one that has not (the first by name).
    ///
    /// # Errors
    /// `MissingTensor`.
    pub fn all_found(&self, found: impl Fn(&str) -> bool) -> Result<(), ModelError> {
        match self.0.keys().filter(|name| !found(name)).min() {
            Some(name) => Err(ModelError::MissingTensor { name: name.clone() }),
            None => Ok(()),
        }
    }

    /// Checks the wanted tensors of one file: shapes, types, memory, and that no block holds more than GPT-2 has.
    ///
    /// # Errors
    /// `ShapeMismatch`, `UnsupportedDtype`, `NotGpt2`, `OutOfMemory`, `BadSafetensors` where a tensor is there
    /// with and without prefix.
    pub fn check(&self, file: &str, header: &Header) -> Result<(), Error> {
        let mut bytes = 0u64;
        let mut seen = HashSet::new();
        for tensor in &header.tensors {
            refuse_unknown(&tensor.name)?;
            let plain = plain_name(&tensor.name);
            let Some(shape) = self.0.get(plain) else { continue };
            if !seen.insert(plain) {
                let why = format!("tensor \"{plain}\" is there twice, with and without prefix");
                return Err(WeightsError::BadSafetensors { file: file.into(), why }.into());
            }
            if *shape != tensor.shape {
                let (expected, found) = (shape.clone(), tensor.shape.clone());
                return Err(ModelError::ShapeMismatch { name: tensor.name.clone(), expected, found }.into());
            }
            if tensor.dtype().is_none() {
                let (tensor, found) = (tensor.name.clone(), tensor.dtype_name.clone());
                return Err(WeightsError::UnsupportedDtype { file: file.into(), tensor, found }.into());
            }
            bytes += 4 * shape.iter().product::<usize>() as u64;
        }
        // wasm32 has 4 GiB of addresses; a tenth is left for activations and everything else.
        const MOST: u64 = (1 << 32) / 10 * 9;
        if bytes > MOST {
            return Err(WeightsError::OutOfMemory { what: format!("the model in {file}"), bytes }.into());
        }
        Ok(())
    }
}

/// Where in the file the next byte belongs.
enum State {
    Length(Vec<u8>),
    Json {
        length: usize,
        bytes: Vec<u8>,
    },
    /// `next` is the tensor that the byte at `position` belongs to.
    Data {
        header: Header,
        next: usize,
        filling: Option<Widen>,
    },
}

/// Takes a file's bytes in order, in pieces of any size, and gives its wanted tensors as F32.
pub struct Assembler {
    file: String,
    wishes: Rc<Wishes>,
    position: u64,
    state: State,
}

impl Assembler {
    /// For the file of this name, which messages will bear.
    pub fn new(file: &str, wishes: Rc<Wishes>) -> Self {
        Assembler { file: file.to_string(), wishes, position: 0, state: State::Length(Vec::new()) }
    }

    /// Takes the next bytes; gives each tensor that they complete, by plain name.
    ///
    /// # Errors
    /// `BadSafetensors`, and what [`Wishes::check`] says of the header.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<(String, Tensor)>, Error> {
        let mut done = Vec::new();
        while !bytes.is_empty() {
            let taken = match &mut self.state {
                State::Length(first) => {
                    let taken = bytes.len().min(8 - first.len());
                    first.extend_from_slice(&bytes[..taken]);
                    if let Ok(first) = <[u8; 8]>::try_from(first.as_slice()) {
                        let length = Header::length(&self.file, first)?;
                        self.state = State::Json { length, bytes: Vec::new() };
                    }
                    taken
                }
                State::Json { length, bytes: json } => {
                    let taken = bytes.len().min(*length - json.len());
                    json.extend_from_slice(&bytes[..taken]);
                    if json.len() == *length {
                        let header = Header::parse(&self.file, json)?;
                        self.wishes.check(&self.file, &header)?;
                        self.state = State::Data { header, next: 0, filling: None };
                    }
                    taken
                }
                State::Data { header, next, filling } => {
                    let Some(info) = header.tensors.get(*next) else {
                        let why =
                            format!("it goes on after the {} bytes that its header accounts for", header.file_size);
                        return Err(WeightsError::BadSafetensors { file: self.file.clone(), why }.into());
                    };
                    let plain = plain_name(&info.name);
                    let wanted = info.dtype().filter(|_| self.wishes.0.contains_key(plain));
                    let left = usize::try_from(info.end - self.position).unwrap_or(usize::MAX);
                    let taken = match (wanted, &mut *filling) {
                        (Some(_), Some(widen)) => widen.push(bytes),
                        (Some(dtype), none) => {
                            none.insert(Widen::new(&info.name, dtype, info.shape.iter().product())?).push(bytes)
                        }
                        (None, _) => bytes.len().min(left),
                    };
                    if taken == left {
                        if let Some(widen) = filling.take() {
                            let tensor = Tensor::from_vec(widen.into_values(), info.shape.clone(), &Device::Cpu)?;
                            done.push((plain.to_string(), tensor));
                        }
                        *next += 1;
                    }
                    taken
                }
            };
            self.position += taken as u64;
            bytes = &bytes[taken..];
            self.step_over_empty();
        }
        Ok(done)
    }

    /// Steps over tensors of no bytes, which no byte would ever complete.
    fn step_over_empty(&mut self) {
        if let State::Data { header, next, filling: None } = &mut self.state {
            while header.tensors.get(*next).is_some_and(|info| info.begin == info.end) {
                *next += 1;
            }
        }
    }

    /// The header, once it is there.
    pub fn header(&self) -> Option<&Header> {
        match &self.state {
            State::Data { header, .. } => Some(header),
            _ => None,
        }
    }

    /// Whether every byte that the header accounts for has come.
    pub fn is_complete(&self) -> bool {
        self.header().is_some_and(|header| self.position == header.file_size)
    }

    /// Bytes that have not come yet.
    pub fn bytes_left(&self, header: &Header) -> u64 {
        header.file_size.saturating_sub(self.position)
    }

    /// What to say when no more bytes come and the file is not complete.
    pub fn ended_early(&self) -> WeightsError {
        let expected = match &self.state {
            State::Length(_) => 8,
            State::Json { length, .. } => 8 + *length as u64,
            State::Data { header, .. } => header.file_size,
        };
        WeightsError::CorruptDownload { file: self.file.clone(), expected, found: self.position }
    }
}
