//! Models in memory: files by name, handed over in pieces of any size, and a writer of safetensors.
#![allow(clippy::expect_used, reason = "helpers of tests, which end a test by panicking")]

use std::collections::HashMap;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use candle_core::Tensor;
use residual_stream::Error;
use residual_stream::engine::load::{Loading, open};
use residual_stream::model::checkpoint::wanted;
use residual_stream::model::{Config, Gpt2};
use residual_stream::weights::assembler::Wishes;
use residual_stream::weights::{Assembler, ByteStream, Files};

/// Files by name, in pieces of at most `piece` bytes.
#[derive(Clone)]
pub struct Memory {
    pub files: HashMap<String, Vec<u8>>,
    pub piece: usize,
    /// Whether each piece comes only after other tasks had their turn.
    pub slow: bool,
}

impl Memory {
    /// Every file of a folder.
    pub fn folder(folder: &str) -> Memory {
        let mut files = HashMap::new();
        for entry in Path::new(folder).read_dir().expect("a folder of fixtures") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            files.insert(name, std::fs::read(path).expect("a file"));
        }
        Memory { files, piece: 1 << 16, slow: false }
    }

    /// A model of these settings and these weights, in one file.
    pub fn model(config: &str, weights: Vec<u8>) -> Memory {
        let files = [("config.json", config.as_bytes().to_vec()), ("model.safetensors", weights)];
        Memory { files: files.map(|(name, bytes)| (name.to_string(), bytes)).into(), piece: 1 << 16, slow: false }
    }

    /// With a file added or replaced.
    pub fn with(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Memory {
        self.files.insert(name.into(), bytes.into());
        self
    }

    /// Without a file.
    pub fn without(mut self, name: &str) -> Memory {
        self.files.remove(name).expect("the file to take away");
        self
    }

    /// Opens the model and reads it to its end.
    pub fn load(self) -> Result<(), Error> {
        pollster::block_on(async { opened(self).await?.finish(&|_| {}).await })
    }
}

/// Opens a model, unheard.
pub async fn opened(files: Memory) -> Result<Loading<Memory>, Error> {
    open(files, &|_| {}).await
}

impl Files for Memory {
    type Stream = Pieces;

    async fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.files.get(name).cloned())
    }

    async fn open(&self, name: &str) -> Result<Option<Pieces>, Error> {
        let pieces = |bytes: &Vec<u8>| Pieces { bytes: bytes.clone(), at: 0, piece: self.piece, slow: self.slow };
        Ok(self.files.get(name).map(pieces))
    }

    fn place(&self) -> String {
        "memory".into()
    }
}

/// The bytes of one file.
pub struct Pieces {
    bytes: Vec<u8>,
    at: usize,
    piece: usize,
    slow: bool,
}

impl ByteStream for Pieces {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        if self.slow {
            others_turn().await;
        }
        let end = (self.at + self.piece).min(self.bytes.len());
        let piece = self.bytes[self.at..end].to_vec();
        self.at = end;
        Ok((!piece.is_empty()).then_some(piece))
    }
}

/// Pending once.
pub async fn others_turn() {
    let mut waited = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// Two tasks side by side, as the worker's event loop runs them.
pub fn together<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (Box::pin(a), Box::pin(b));
    let (mut of_a, mut of_b) = (None, None);
    pollster::block_on(std::future::poll_fn(|context| {
        step(&mut a, &mut of_a, context);
        step(&mut b, &mut of_b, context);
        if of_a.is_some() && of_b.is_some() { Poll::Ready(()) } else { Poll::Pending }
    }));
    (of_a.expect("the first task's end"), of_b.expect("the second task's end"))
}

fn step<T>(task: &mut Pin<Box<impl Future<Output = T>>>, end: &mut Option<T>, context: &mut Context) {
    if end.is_none()
        && let Poll::Ready(value) = task.as_mut().poll(context)
    {
        *end = Some(value);
    }
}

/// One tensor to be written.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: String,
    pub dtype: &'static str,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// A safetensors file of these tensors, in this order.
pub fn safetensors(entries: &[Entry]) -> Vec<u8> {
    let mut at = 0;
    let mut members = Vec::new();
    for Entry { name, dtype, shape, bytes } in entries {
        let end = at + bytes.len();
        members.push(format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{at},{end}]}}"#));
        at = end;
    }
    // The format leaves the order of names free: the last tensor's comes first.
    members.reverse();
    let json = format!("{{{}}}", members.join(","));
    let mut file = (json.len() as u64).to_le_bytes().to_vec();
    file.extend(json.as_bytes());
    file.extend(entries.iter().flat_map(|entry| &entry.bytes));
    file
}

/// Every tensor that a model of these settings wants, in the order of the forward pass: small F32 numbers.
pub fn entries(config: &str) -> Vec<Entry> {
    let config = Config::from_json(config.as_bytes()).expect("settings");
    let mut seed = 1u32;
    let mut number = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    let entry = |(name, shape): (String, Vec<usize>)| {
        let bytes = (0..shape.iter().product()).flat_map(|_| number().to_le_bytes()).collect();
        Entry { name, dtype: "F32", shape, bytes }
    };
    wanted(&config).into_iter().map(|want| (want.name, want.shape)).map(entry).collect()
}

/// The whole model of a folder, for its forward pass as it is.
pub fn gpt2(folder: &str) -> Gpt2 {
    let files = Memory::folder(folder).files;
    let config = Config::from_json(&files["config.json"]).expect("settings");
    let mut assembler = Assembler::new("model.safetensors", Rc::new(Wishes::new(&wanted(&config))));
    let tensors = assembler.push(&files["model.safetensors"]).expect("weights");
    let mut tensors: HashMap<String, Tensor> = tensors.into_iter().collect();
    Gpt2::load(&mut tensors, config).expect("a model")
}
