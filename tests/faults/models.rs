//! The models that are loaded, and what they must trace.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{LazyLock, OnceLock};

use engine::Error;
use engine::loading::cache::CacheStore;
use engine::loading::source::Files;
use engine::loading::source::names::{INDEX, ONE_FILE};
use engine::loading::{LoadEvent, Loading};
use engine::run::run_control::NoControl;
use engine::run::texts::{RunOptions, from_ids, run};
use futures_util::future::join;
use serde_json::{Value, json};
use trace::Sequence;

use crate::hub::HubFiles;
use crate::support::memory::{Entry, Memory, entries, opened, safetensors};

static ALL: RunOptions = RunOptions::new(true, 1, true);

/// A model, and what is traced of it.
pub struct Model {
    pub files: HubFiles,
    ids: [Vec<u32>; 2],
    trace: OnceLock<Vec<Sequence>>,
}

/// Read in one pass: 650 kB, in the order of the forward pass.
pub static SMALL: LazyLock<Model> = LazyLock::new(|| {
    let config = settings(64, 3, 32, 320);
    Model::new([(ONE_FILE, safetensors(&entries(&config)))], config, [vec![1, 2, 3, 5, 319], vec![7]])
});
/// Read in pieces: 30 MB, blocks of 3.2 MB, masks of 1 MB between them, in the order of OpenAI's own files.
pub static LARGE: LazyLock<Model> = LazyLock::new(|| Model::large([(ONE_FILE, safetensors(&in_file_order(true)))]));
/// The same without masks, so that every byte of it is read.
pub static BARE: LazyLock<Model> = LazyLock::new(|| Model::large([(ONE_FILE, safetensors(&in_file_order(false)))]));
/// Another one of the same shapes.
pub static OTHER: LazyLock<Model> = LazyLock::new(|| {
    let mut tensors = in_file_order(true);
    let numbers = tensors.iter_mut().filter(|tensor| !tensor.name.ends_with("attn.bias"));
    numbers.flat_map(|tensor| tensor.bytes.iter_mut().step_by(4)).for_each(|byte| *byte ^= 7);
    Model::large([(ONE_FILE, safetensors(&tensors))])
});
/// The large one in three files, with their index.
pub static SHARDS: LazyLock<Model> = LazyLock::new(|| {
    let number_of = |name: &str| match name {
        _ if name.starts_with("h.0.") || name.starts_with("h.1.") => 1,
        _ if name.starts_with("h.") || name.starts_with("ln_f") => 2,
        _ => 3,
    };
    let all = in_file_order(true);
    let shards = [1, 2, 3].map(|number| {
        let own: Vec<Entry> = all.iter().filter(|entry| number_of(&entry.name) == number).cloned().collect();
        (shard(number), safetensors(&own))
    });
    let map: HashMap<&str, &str> = all.iter().map(|entry| (&*entry.name, shard(number_of(&entry.name)))).collect();
    let index = json!({ "metadata": {}, "weight_map": map }).to_string().into_bytes();
    Model::large(shards.into_iter().chain([(INDEX, index)]))
});

/// The name of one of three files.
pub fn shard(number: usize) -> &'static str {
    ["model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors"]
        [number - 1]
}

fn settings(n_embd: usize, n_layer: usize, n_positions: usize, vocab_size: usize) -> String {
    let settings = json!({ "model_type": "gpt2", "vocab_size": vocab_size, "n_positions": n_positions,
        "n_embd": n_embd, "n_layer": n_layer, "n_head": 4, "activation_function": "gelu_new" });
    settings.to_string()
}

fn large_settings() -> String {
    settings(256, 4, 512, 12000)
}

fn in_file_order(masks: bool) -> Vec<Entry> {
    let mut all = entries(&large_settings());
    for layer in (0..4).filter(|_| masks) {
        let (name, bytes) = (format!("h.{layer}.attn.bias"), vec![1; 512 * 512 * 4]);
        all.push(Entry { name, dtype: "F32", shape: vec![1, 1, 512, 512], bytes });
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

impl Model {
    fn new(weights: impl IntoIterator<Item = (&'static str, Vec<u8>)>, config: String, ids: [Vec<u32>; 2]) -> Model {
        let files = weights.into_iter().chain([("config.json", config.into_bytes())]);
        let files = files.map(|(name, bytes)| (name.to_string(), bytes.into())).collect();
        Model { files, ids, trace: OnceLock::new() }
    }

    fn large(weights: impl IntoIterator<Item = (&'static str, Vec<u8>)>) -> Model {
        Model::new(weights, large_settings(), [vec![0, 1, 2, 11999], vec![6000, 40, 41]])
    }

    /// What it must trace: read from memory, where nothing goes wrong.
    pub fn trace(&self) -> &[Sequence] {
        self.trace.get_or_init(|| {
            let files = self.files.iter().map(|(name, file)| (name.clone(), file.bytes.to_vec())).collect();
            let loading = opened(Memory { files, ..Memory::default() });
            pollster::block_on(async { self.trace_of(&loading.await?, false, &|_| {}).await }).expect("a trace")
        })
    }

    /// Traces a model that is arriving, and reads all of it; first, if the texts come late.
    pub async fn trace_of<F: Files, K: CacheStore>(
        &self,
        loading: &Loading<F, K>,
        late: bool,
        report: &impl Fn(LoadEvent),
    ) -> Result<Vec<Sequence>, Error> {
        if late {
            loading.finish(report).await?;
        }
        let model = loading.model.clone();
        let texts = self.ids.iter().map(|ids| from_ids(None, ids.clone())).collect();
        let (ran, loaded) = join(run(&model, None, texts, &ALL, &NoControl, |_| {}), loading.finish(report)).await;
        loaded.and(ran)
    }

    /// One of its files.
    pub fn bytes(&self, name: &str) -> &[u8] {
        &self.files[name].bytes
    }

    /// Bytes of its weights before the tensors.
    pub fn header(&self) -> u64 {
        8 + u64::from_le_bytes(self.bytes(ONE_FILE)[..8].try_into().expect("eight bytes"))
    }

    /// Where its tensors are in their file.
    pub fn body(&self) -> Range<u64> {
        self.header()..self.bytes(ONE_FILE).len() as u64
    }

    /// Where a tensor is in it.
    pub fn place(&self, tensor: &str) -> Range<u64> {
        let header: Value = serde_json::from_slice(&self.bytes(ONE_FILE)[8..self.header() as usize]).expect("JSON");
        let offset = |end: usize| header[tensor]["data_offsets"][end].as_u64().expect("an offset");
        self.header() + offset(0)..self.header() + offset(1)
    }
}
