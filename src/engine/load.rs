//! Loading: from a model's files to its parts, in two steps. [`open`] reads settings, tokenizer and the
//! index of tensors, and finds out whether the model can be run at all; [`Loading::finish`] reads the rest.

use std::rc::Rc;

use serde_json::Value;

use super::parts::Parts;
use crate::model::checkpoint::{plain_name, wanted};
use crate::model::{Config, ModelError, Tokenizer};
use crate::protocol::{Phase, Progress};
use crate::weights::assembler::Wishes;
use crate::weights::{Assembler, ByteStream, Files, WeightsError};
use crate::{Code, Error, Result};

const ONE_FILE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A model that is arriving: runnable, block by block, while [`Loading::finish`] reads on.
pub struct Loading<F: Files> {
    /// `config.json` as it is, for those who want other settings than [`Config`] has.
    pub config_json: String,
    /// Splits text; `None` where the model came without one.
    pub tokenizer: Option<Tokenizer>,
    /// Where blocks arrive.
    pub parts: Rc<Parts>,
    files: F,
    wishes: Rc<Wishes>,
    /// The file being read, with its stream, and the names of those after it.
    current: (Assembler, F::Stream),
    later: Vec<String>,
    loaded: f64,
    total: f64,
}

/// Reads settings, tokenizer and tensor index.
///
/// # Errors
/// Everything that can be known before the bulk of the bytes: `BadConfig`, `NotGpt2`, `BadTokenizer`, `NotFound`,
/// `BadSafetensors`, `MissingTensor`, `ShapeMismatch`, `UnsupportedDtype`, `OutOfMemory`, and the network's own.
pub async fn open<F: Files>(files: F, report: &impl Fn(Progress)) -> Result<Loading<F>> {
    let small = |phase, bytes: usize| {
        report(Progress { phase, loaded: bytes as f64, total: bytes as f64, blocks_ready: 0, cached: 0.0, memory: 0.0 })
    };
    let config_json = files.read("config.json").await?.ok_or_else(|| absent(&files, "config.json"))?;
    small(Phase::Config, config_json.len());
    let config = Config::from_json(&config_json)?;
    let config_json = String::from_utf8(config_json).map_err(|why| ModelError::BadConfig(why.to_string()))?;
    let (tokenizer, bytes) = read_tokenizer(&files).await?;
    small(Phase::Tokenizer, bytes);

    let wishes = Rc::new(Wishes::new(&wanted(&config)));
    let (first, stream, later, total) = weight_files(&files, &wishes).await?;
    let mut loading = Loading {
        config_json,
        tokenizer,
        parts: Rc::new(Parts::new(config)),
        current: (Assembler::new(&first, wishes.clone()), stream),
        files,
        wishes,
        later,
        loaded: 0.0,
        total,
    };
    while loading.current.0.header().is_none() {
        if !loading.step(report).await? {
            return Err(loading.ended_early());
        }
    }
    if loading.later.is_empty()
        && let Some(header) = loading.current.0.header()
    {
        loading.wishes.all_found(|name| header.find(name).is_some())?;
    }
    Ok(loading)
}

impl<F: Files> Loading<F> {
    /// Reads what is left. Those who wait for a part learn of a failure through [`Parts`] too.
    ///
    /// # Errors
    /// `CorruptDownload` for a file that ends early, `MissingTensor`, and whatever reading brings up.
    pub async fn finish(mut self, report: &impl Fn(Progress)) -> Result<()> {
        let parts = self.parts.clone();
        self.read_all(report).await.inspect_err(|error| parts.fail(error.clone()))
    }

    async fn read_all(&mut self, report: &impl Fn(Progress)) -> Result<()> {
        loop {
            while self.step(report).await? {}
            if !self.current.0.is_complete() {
                return Err(self.ended_early());
            }
            if self.later.is_empty() {
                break;
            }
            let name = self.later.remove(0);
            let stream = self.files.open(&name).await?.ok_or_else(|| absent(&self.files, &name))?;
            self.current = (Assembler::new(&name, self.wishes.clone()), stream);
        }
        if let Some(name) = self.parts.first_missing() {
            return Err(ModelError::MissingTensor { name }.into());
        }
        let blocks_ready = self.parts.blocks_ready();
        report(Progress {
            phase: Phase::Weights,
            loaded: self.loaded,
            total: self.loaded,
            blocks_ready,
            cached: 0.0,
            memory: 0.0,
        });
        report(Progress {
            phase: Phase::Build,
            loaded: self.loaded,
            total: self.loaded,
            blocks_ready,
            cached: 0.0,
            memory: 0.0,
        });
        Ok(())
    }

    /// Reads one piece; false at the end of the file.
    async fn step(&mut self, report: &impl Fn(Progress)) -> Result<bool> {
        let (assembler, stream) = &mut self.current;
        let Some(piece) = stream.next().await? else { return Ok(false) };
        for (name, tensor) in assembler.push(&piece)? {
            self.parts.offer(name, tensor)?;
        }
        self.loaded += piece.len() as f64;
        if self.later.is_empty()
            && let Some(header) = assembler.header()
        {
            // The last file, or the only one: from here the total is exact.
            self.total = self.loaded + assembler.bytes_left(header) as f64;
        }
        let (loaded, total) = (self.loaded, self.total.max(self.loaded));
        report(Progress {
            phase: Phase::Weights,
            loaded,
            total,
            blocks_ready: self.parts.blocks_ready(),
            cached: 0.0,
            memory: 0.0,
        });
        Ok(true)
    }

    fn ended_early(&self) -> Error {
        self.current.0.ended_early().into()
    }
}

async fn read_tokenizer<F: Files>(files: &F) -> Result<(Option<Tokenizer>, usize)> {
    if let Some(json) = files.read("tokenizer.json").await? {
        return Ok((Some(Tokenizer::from_json(&json)?), json.len()));
    }
    let Some(vocab) = files.read("vocab.json").await? else { return Ok((None, 0)) };
    let Some(merges) = files.read("merges.txt").await? else {
        let why = "there is a vocab.json, but no merges.txt beside it".into();
        return Err(ModelError::BadTokenizer { file: "merges.txt", why }.into());
    };
    Ok((Some(Tokenizer::from_vocab_and_merges(&vocab, &merges)?), vocab.len() + merges.len()))
}

/// The first weights file, opened; the names of the others; bytes in all, as far as known.
async fn weight_files<F: Files>(files: &F, wishes: &Wishes) -> Result<(String, F::Stream, Vec<String>, f64)> {
    let (mut names, total) = match files.weight_files() {
        Some(names) => (names, 0.0),
        None => {
            if let Some(stream) = files.open(ONE_FILE).await? {
                return Ok((ONE_FILE.into(), stream, Vec::new(), 0.0));
            }
            let index = files.read(INDEX).await?.ok_or_else(|| absent(files, ONE_FILE))?;
            read_index(&index, wishes)?
        }
    };
    if names.is_empty() {
        return Err(absent(files, ONE_FILE));
    }
    let first = names.remove(0);
    let stream = files.open(&first).await?.ok_or_else(|| absent(files, &first))?;
    Ok((first, stream, names, total))
}

/// File names of a sharded checkpoint, each once, and the bytes of their tensors.
fn read_index(bytes: &[u8], wishes: &Wishes) -> Result<(Vec<String>, f64)> {
    let bad = |why: String| WeightsError::BadSafetensors { file: INDEX.into(), why };
    let index: Value = serde_json::from_slice(bytes).map_err(|why| bad(why.to_string()))?;
    let map = index.get("weight_map").and_then(Value::as_object).ok_or_else(|| bad("no weight_map".into()))?;
    wishes.all_found(|name| map.keys().any(|key| plain_name(key) == name))?;
    let mut names = Vec::new();
    for file in map.values() {
        let name = file.as_str().filter(|name| !name.contains('/') && !name.contains('\\'));
        let name = name.ok_or_else(|| bad(format!("{file} is no name of a file beside it")))?;
        if !names.iter().any(|known| known == name) {
            names.push(name.to_string());
        }
    }
    names.sort();
    let total = index.pointer("/metadata/total_size").and_then(Value::as_f64).unwrap_or(0.0);
    Ok((names, total))
}

fn absent(files: &impl Files, name: &str) -> Error {
    let hint = if name == ONE_FILE {
        ", nor model.safetensors.index.json; is the model there in safetensors form?"
    } else {
        "."
    };
    Error::new(Code::NotFound, format!("{}: there is no {name}{hint}", files.place()))
}
