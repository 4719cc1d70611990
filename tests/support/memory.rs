//! Models in memory: files by name, handed over in pieces of any size, and a writer of safetensors.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests, which end a test by panicking")]

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use candle_core::Tensor;
use engine::loading::assembler::{Assembled, TensorAssembler};
use engine::loading::cache::{CacheError, CacheStore, CachedFile, ChunkLog, Identity, Manifest, MemoryDisk};
use engine::loading::index::{Header, Index};
use engine::loading::source::retry::{Failure, Retry};
use engine::loading::source::{Attempt, Body, FileResponse, Files, Validator, Version};
use engine::loading::{LoadEvent, Loading, open};
use engine::model::checkpoint::{Table, wanted};
use engine::model::{Config, Gpt2};
use engine::pool::WorkerPool;
use engine::{Code, Error};

/// What goes wrong with one answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nobody answers, but might later.
    Down,
    /// The server asks to wait so many milliseconds.
    Wait(f64),
    /// An answer that is final.
    Refused,
    /// The connection breaks after so many bytes of the answer.
    Drop(usize),
    /// The answer ends after so many bytes.
    Short(usize),
    /// Another place than was asked for.
    Shifted(u64),
    /// The bytes at this place of the file are others.
    Damage(usize, Vec<u8>),
    /// The file is another now.
    Etag(&'static str),
}

/// What was asked for, or sent: a file's name and which of its bytes.
pub type Log<T> = Rc<RefCell<Vec<(String, T)>>>;

/// Files by name, in pieces of at most `piece` bytes, from a server that misbehaves when told to.
#[derive(Clone)]
pub struct Memory {
    pub files: HashMap<String, Vec<u8>>,
    pub piece: usize,
    /// Whether each piece comes only after other tasks had their turn.
    pub slow: bool,
    /// Whether parts of files are sent.
    pub ranges: bool,
    /// Whether these are files that a reader picked.
    pub picked: bool,
    /// Where the server stops sending weights, though it says that there are more.
    pub ends_at: Option<usize>,
    pub version: Version,
    /// Whether the server answers questions for a file's marks; and gives its files any.
    pub tells: bool,
    pub marks: bool,
    /// What is sent, with a good conscience, in the place of a file that is not there.
    pub page: Option<Vec<u8>>,
    /// What goes wrong with the next answers for weights, one by one.
    pub faults: Rc<RefCell<VecDeque<Fault>>>,
    /// What goes wrong with every answer for weights after those.
    pub always: Option<Fault>,
    /// Every request: name, and bytes asked for.
    pub requests: Log<Option<Range<u64>>>,
    /// Bytes of weights that were sent, by the place in their file.
    pub sent: Log<Range<u64>>,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory {
            files: HashMap::new(),
            piece: 1 << 16,
            slow: false,
            ranges: true,
            picked: false,
            ends_at: None,
            version: Version::default(),
            tells: true,
            page: None,
            marks: true,
            faults: Rc::default(),
            always: None,
            requests: Rc::default(),
            sent: Rc::default(),
        }
    }
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
        Memory { files, ..Memory::default() }
    }

    /// A model of these settings and these weights, in one file.
    pub fn model(config: &str, weights: Vec<u8>) -> Memory {
        let files = [("config.json", config.as_bytes().to_vec()), ("model.safetensors", weights)];
        Memory { files: files.map(|(name, bytes)| (name.to_string(), bytes)).into(), ..Memory::default() }
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

    /// As files that a reader picked, all of them together.
    pub fn picked(self) -> Memory {
        Memory { picked: true, ..self }
    }

    /// With faults to come, one per answer for weights.
    pub fn failing(self, faults: impl IntoIterator<Item = Fault>) -> Memory {
        self.faults.borrow_mut().extend(faults);
        self
    }

    /// Opens the model and reads it to its end.
    pub fn load(self) -> Result<(), Error> {
        pollster::block_on(async { opened(self).await?.finish(&|_| {}).await })
    }
}

/// Opens a model, unheard, and keeps nothing.
pub async fn opened(files: Memory) -> Result<Loading<Memory, MemoryShelf>, Error> {
    open(files, None, 4, |config, _| WorkerPool::alone(config), &|_| {}).await
}

/// Opens a model with a shelf, and notes what it says.
pub async fn opened_with(
    files: Memory,
    shelf: &MemoryShelf,
    report: &impl Fn(LoadEvent),
) -> Result<Loading<Memory, MemoryShelf>, Error> {
    open(files, Some(shelf.clone()), 4, |config, _| WorkerPool::alone(config), report).await
}

impl Files for Memory {
    type Body = MemoryBody;

    async fn ask(&self, name: &str, bytes: Option<Range<u64>>) -> Attempt<Option<FileResponse<MemoryBody>>> {
        self.requests.borrow_mut().push((name.to_string(), bytes.clone()));
        if self.slow {
            others_turn().await;
        }
        if self.version.offline {
            return Err(Failure::passing(Error::new(Code::Network, "nobody answers")));
        }
        let Some(file) = self.files.get(name).or(self.page.as_ref()) else { return Ok(None) };
        let is_weights = name.ends_with(".safetensors");
        let next = if is_weights { self.faults.borrow_mut().pop_front().or(self.always.clone()) } else { None };
        let failure = |retry| Failure { error: Error::new(Code::Network, format!("{name}: told to fail")), retry };
        match &next {
            Some(Fault::Down) => return Err(failure(Retry::Later)),
            Some(Fault::Wait(milliseconds)) => {
                let error = Error::new(Code::RateLimited, format!("{name}: told to wait"));
                return Err(Failure { error, retry: Retry::After(*milliseconds) });
            }
            Some(Fault::Refused) => return Err(failure(Retry::Never)),
            _ => {}
        }
        let mut content = file.clone();
        if let Some(Fault::Damage(at, other)) = &next {
            content[*at..*at + other.len()].copy_from_slice(other);
        }
        let size = content.len() as u64;
        let is_whole = bytes.is_some() && !self.ranges;
        let range = if self.ranges { bytes.unwrap_or(0..size) } else { 0..size };
        let shift = if let Some(Fault::Shifted(shift)) = next { shift } else { 0 };
        let begin = (range.start + shift).min(size);
        let end = range.end.min(size).max(begin);
        let stop = self.ends_at.filter(|_| is_weights).map_or(end, |stop| end.min(stop as u64)).max(begin);
        let (mut content, mut breaks) = (content[begin as usize..stop as usize].to_vec(), false);
        if let Some(Fault::Drop(count) | Fault::Short(count)) = next {
            content.truncate(count);
            breaks = matches!(next, Some(Fault::Drop(_)));
        }
        let etag = if let Some(Fault::Etag(etag)) = next { etag } else { "one" };
        let etag = self.marks.then(|| etag.into());
        let validator = Validator { etag, size: (!is_whole).then_some(size) };
        let sent = is_weights.then(|| (self.sent.clone(), name.to_string()));
        let (piece, slow, place) = (self.piece, self.slow, begin);
        let body = MemoryBody { bytes: content, at: 0, place, piece, slow, breaks, sent };
        Ok(Some(FileResponse { body, is_whole, begin, validator }))
    }

    async fn wait(&self, _milliseconds: f64) {
        others_turn().await;
    }

    async fn version(&self) -> Version {
        self.version.clone()
    }

    async fn validator(&self, name: &str) -> Attempt<Option<Validator>> {
        if self.version.offline {
            return Err(Failure::passing(Error::new(Code::Network, "nobody answers")));
        }
        if !self.tells {
            return Err(Failure::passing(Error::new(Code::RateLimited, "told to wait")));
        }
        let etag = self.marks.then(|| "one".to_string());
        let validator = |bytes: &Vec<u8>| Validator { etag: etag.clone(), size: Some(bytes.len() as u64) };
        Ok(self.files.get(name).map(validator))
    }

    fn weight_files(&self) -> Option<Vec<String>> {
        let mut names: Vec<_> = self.files.keys().filter(|name| name.ends_with(".safetensors")).cloned().collect();
        names.sort();
        self.picked.then_some(names)
    }

    fn is_local(&self) -> bool {
        self.picked
    }

    fn place(&self) -> String {
        "memory".into()
    }
}

/// The bytes of one answer.
pub struct MemoryBody {
    bytes: Vec<u8>,
    at: usize,
    place: u64,
    piece: usize,
    slow: bool,
    breaks: bool,
    sent: Option<(Log<Range<u64>>, String)>,
}

impl Body for MemoryBody {
    async fn next(&mut self) -> Attempt<Option<Vec<u8>>> {
        if self.slow {
            others_turn().await;
        }
        let end = (self.at + self.piece).min(self.bytes.len());
        let piece = self.bytes[self.at..end].to_vec();
        if let (Some((sent, name)), false) = (&self.sent, piece.is_empty()) {
            let range = self.place + self.at as u64..self.place + end as u64;
            sent.borrow_mut().push((name.clone(), range));
        }
        self.at = end;
        if piece.is_empty() && self.breaks {
            return Err(Failure::passing(Error::new(Code::Network, "told to break")));
        }
        Ok((!piece.is_empty()).then_some(piece))
    }
}

/// A model's folder in memory. Clones share it, as two visits do.
#[derive(Clone, Default)]
pub struct MemoryShelf(Rc<RefCell<Shelved>>);

#[derive(Default)]
pub struct Shelved {
    pub manifest: Option<Manifest>,
    pub small: HashMap<String, Vec<u8>>,
    /// Those of them that do not fit their checksums.
    pub damaged: Vec<String>,
    pub disks: HashMap<String, MemoryDisk>,
    pub room: Option<(f64, f64)>,
    /// Whether another tab has everything open.
    pub busy: bool,
}

impl MemoryShelf {
    /// What is on it.
    pub fn inside(&self) -> std::cell::RefMut<'_, Shelved> {
        self.0.borrow_mut()
    }
}

impl CacheStore for MemoryShelf {
    type Disk = MemoryDisk;

    async fn manifest(&self) -> Option<Manifest> {
        self.inside().manifest.clone()
    }

    async fn write_manifest(&self, manifest: Manifest) -> Result<(), CacheError> {
        self.inside().manifest = Some(manifest);
        Ok(())
    }

    async fn small(&self, name: &str) -> CachedFile {
        let inside = self.inside();
        let damaged = inside.damaged.iter().any(|known| known == name);
        match inside.small.get(name) {
            Some(_) if damaged => CachedFile::Damaged,
            Some(bytes) => CachedFile::Intact(bytes.clone()),
            None => CachedFile::Missing,
        }
    }

    async fn store_small(&self, name: &str, bytes: &[u8]) -> Result<(), CacheError> {
        let mut inside = self.inside();
        inside.damaged.retain(|known| known != name);
        inside.small.insert(name.into(), bytes.into());
        Ok(())
    }

    async fn chunk_log(&self, name: &str, identity: &Identity) -> Result<ChunkLog<MemoryDisk>, CacheError> {
        if self.inside().busy {
            return Err(CacheError::Busy);
        }
        let disk = |kind: &str| self.inside().disks.entry(format!("{name}.{kind}")).or_default().clone();
        ChunkLog::open(disk("data"), disk("journal"), identity)
    }

    async fn clear(&self) {
        let mut inside = self.inside();
        inside.manifest = None;
        inside.small.clear();
        inside.disks.clear();
    }

    async fn room(&self) -> Option<(f64, f64)> {
        self.inside().room
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
    let bytes = &files["model.safetensors"];
    let length = Header::length("model.safetensors", bytes[..8].try_into().expect("8 bytes")).expect("a length");
    let header = Header::parse("model.safetensors", &bytes[8..8 + length]).expect("a header");
    let index = Rc::new(Index::new(&wanted(&config), vec![("m".into(), header)]).expect("an index"));
    let mut assembler = TensorAssembler::new(index, WorkerPool::alone(&config).packer());
    let mut arrived: Vec<Assembled> = Vec::new();
    for table in [Table::Tokens, Table::Positions] {
        arrived.extend(assembler.expect_table(table).expect("room"));
    }
    arrived.extend(assembler.write(0, 8 + length as u64, &bytes[8 + length..]).expect("tensors").1);
    let tensor = |arrived| match arrived {
        Assembled::Tensor(name, tensor) => (name, tensor),
        _ => panic!("a fixture that is damaged"),
    };
    let mut tensors: HashMap<String, Tensor> = arrived.into_iter().map(tensor).collect();
    Gpt2::load(&mut tensors, config).expect("a model")
}
