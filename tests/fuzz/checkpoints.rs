//! Checkpoints: random small GPT-2s as files, whole or damaged, and questions to ask them. The oracles are a second reader
//! (`support/strict.rs`) and a second forward pass in double precision (`support/paper.rs`).

use std::rc::Rc;

use engine::loading::{Loading, open};
use engine::run::patch::patch;
use engine::run::run_control::NoControl;
use engine::run::streaming_model::StreamingModel;
use engine::run::texts::{RunOptions, from_ids, run};
use engine::{Code, Error};
use protocol::PatchOptions;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};
use trace::{Ablation, AblationMode, AttributionOptions, Component, Head, ModelInfo, Sequence, TokenRef, Trace};

use super::harness::{Input, Outcome, Room};
use super::models::{config, random_settings, safetensors, shards};
use super::paper::Settings;
use super::random::Random;
use super::strict::{Files, read};
use super::support::memory::{Memory, MemoryShelf, together};
use super::workers::worker_pool;
use super::{damage, numbers};

pub const ROOM: Room = Room { name: "checkpoints", cases: 1500, make, check };

/// What is asked of a checkpoint, in `ask.json`.
#[derive(Serialize, Deserialize)]
struct Ask {
    workers: usize,
    /// Bytes that come at a time.
    piece: usize,
    /// Whether the server sends parts of files.
    ranges: bool,
    /// Whether the first run begins before the weights are there.
    early: bool,
    /// Runs one after the other; the later ones may go on with the earlier ones' texts.
    runs: Vec<Run>,
}

#[derive(Serialize, Deserialize)]
struct Run {
    texts: Vec<Vec<u32>>,
    options: RunOptions,
}

fn make(random: &mut Random) -> Input {
    let settings = random_settings(random);
    let mut config = config(random, &settings);
    let mut files = Files::new();
    let mut shards = shards(random, &settings);
    let broken = random.one_in(2).then(|| random.below(8));
    if broken == Some(0) {
        damage::json(random, &mut config);
    }
    let single = shards.len() == 1;
    let mut weight_map = Map::new();
    let count = shards.len();
    let broken_shard = random.below(count);
    for (number, tensors) in shards.iter_mut().enumerate() {
        let name = match single {
            true => "model.safetensors".to_owned(),
            false => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
        };
        for tensor in &*tensors {
            weight_map.insert(tensor.name.clone(), json!(name));
        }
        let kind = broken.filter(|_| number == broken_shard);
        let mut bytes = safetensors(random, tensors, kind == Some(1) || kind == Some(2));
        match kind {
            Some(3) => damage::bytes(random, &mut bytes),
            // The header's own bytes, which are few among all.
            Some(4) => {
                let end = (8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize).min(bytes.len());
                let mut head = bytes[..end].to_vec();
                damage::bytes(random, &mut head);
                bytes.splice(..end, head);
            }
            Some(5) => bytes.truncate(random.below(bytes.len())),
            _ => {}
        }
        files.insert(name, bytes);
    }
    let mut index = json!({"metadata": {"total_size": 1}, "weight_map": weight_map});
    if broken == Some(6) {
        damage::json(random, &mut index);
    }
    if !single {
        files.insert("model.safetensors.index.json".into(), index.to_string().into_bytes());
    }
    let mut config = config.to_string().into_bytes();
    if broken == Some(7) {
        damage::bytes(random, &mut config);
    }
    files.insert("config.json".into(), config);
    files.insert("ask.json".into(), serde_json::to_vec(&ask(random, &settings)).unwrap());
    files
}

fn ask(random: &mut Random, settings: &Settings) -> Ask {
    let mut runs: Vec<Run> = Vec::new();
    for _ in 0..random.between(1, 3) {
        let run = one_run(random, settings, &runs);
        runs.push(run);
    }
    Ask {
        workers: random.pick(&[1, 1, 2, 3, 5]),
        piece: random.pick(&[1, 7, 64, 1000, 1 << 16]),
        ranges: !random.one_in(5),
        early: random.one_in(3),
        runs,
    }
}

fn one_run(random: &mut Random, settings: &Settings, before: &[Run]) -> Run {
    let mut texts: Vec<Vec<u32>> = Vec::new();
    for _ in 0..random.between(1, 3) {
        let length = random.between(1, settings.positions.min(14));
        let mut ids: Vec<u32> = (0..length).map(|_| random.below(settings.vocabulary) as u32).collect();
        let known: Vec<&Vec<u32>> = texts.iter().chain(before.iter().flat_map(|run| &run.texts)).collect();
        if !known.is_empty() && random.one_in(2) {
            // Begins as another text does.
            let known = known[random.below(known.len())];
            let shared = random.between(1, known.len());
            ids.splice(..shared.min(ids.len()), known[..shared].iter().copied());
            ids.truncate(settings.positions);
        }
        texts.push(ids);
    }
    Run { options: options(random, settings, &texts), texts }
}

fn options(random: &mut Random, settings: &Settings, texts: &[Vec<u32>]) -> RunOptions {
    let head = |random: &mut Random| Head { layer: random.below(settings.layers), head: random.below(settings.heads) };
    let token = |random: &mut Random| TokenRef::Id(random.below(settings.vocabulary) as u32);
    let mut options = RunOptions::new(random.one_in(2), random.pick(&[0, 1, 3, 200]), !random.one_in(4));
    options.next = random.between(1, 7);
    options.leads = random.one_in(3);
    if random.one_in(3) {
        options.patterns.push(head(random));
    }
    if random.one_in(3) {
        let shortest = texts.iter().map(Vec::len).min().unwrap();
        options.attribution = Some(AttributionOptions {
            target: random.one_in(2).then(|| token(random)),
            against: random.one_in(3).then(|| token(random)),
            position: random.one_in(2).then(|| random.below(shortest)),
        });
    }
    for _ in 0..if random.one_in(4) { random.between(1, 3) } else { 0 } {
        let Head { layer, head } = head(random);
        let (part, head) =
            random.pick(&[(Component::Attn, None), (Component::Mlp, None), (Component::Head, Some(head))]);
        let how = random.pick(&[AblationMode::Zero, AblationMode::Mean]);
        if !options.ablate.iter().any(|other| (other.layer, other.part, other.head) == (layer, part, head)) {
            options.ablate.push(Ablation { layer, part, head, how });
        }
    }
    options
}

fn check(input: &Input) -> Outcome {
    let mut files = input.clone();
    let ask: Ask = serde_json::from_slice(&files.remove("ask.json").unwrap()).unwrap();
    let expected = read(&files);
    let (loaded, first) = load(files, &ask);
    match (expected, loaded) {
        (Err(why), Ok(_)) => Err(format!("it was read, though {why}")),
        (Ok(read), Err(error)) if read.doubt.is_none() => {
            Err(format!("it was refused: {}: {error}", error.code.as_str()))
        }
        (_, Err(error)) if REFUSALS.contains(&error.code) => Ok("refused"),
        (_, Err(error)) => Err(format!("refused as {}: {error}", error.code.as_str())),
        (Ok(read), Ok(_)) if read.doubt.is_some() => Ok("in doubt"),
        (Ok(read), Ok(parts)) => {
            let mut kind = "same numbers";
            let mut first = first;
            for (number, asked) in ask.runs.iter().enumerate() {
                let found = first.take().unwrap_or_else(|| go(&parts, asked));
                let what = |why| format!("run {number}: {why}");
                match numbers::agree(&read.model, &asked.texts, &asked.options, found).map_err(what)? {
                    "same numbers" => {}
                    other => kind = other,
                }
            }
            Ok(kind)
        }
    }
}

/// How a checkpoint that cannot be read may be refused.
const REFUSALS: [Code; 9] = [
    Code::NotFinite,
    Code::BadConfig,
    Code::NotGpt2,
    Code::BadSafetensors,
    Code::MissingTensor,
    Code::ShapeMismatch,
    Code::UnsupportedDtype,
    Code::NotFound,
    Code::CorruptDownload,
];

/// The answer to a run.
type Answer = Result<Vec<Sequence>, Error>;

/// Something that a random model recorded of random texts.
pub fn trace(random: &mut Random) -> Trace {
    let settings = random_settings(random);
    let tensors = shards(random, &settings).into_iter().flatten().collect::<Vec<_>>();
    let files = [
        ("config.json".to_owned(), config(random, &settings).to_string().into_bytes()),
        ("model.safetensors".to_owned(), safetensors(random, &tensors, false)),
    ];
    let ask = Ask { runs: Vec::new(), ..ask(random, &settings) };
    let parts = load(files.into(), &Ask { early: false, ..ask }).0;
    let Run { texts, options } = one_run(random, &settings, &[]);
    let model = ModelInfo {
        source: "a/b".into(),
        n_layer: settings.layers,
        n_head: settings.heads,
        n_embd: settings.width,
        n_positions: settings.positions,
        vocab_size: settings.vocabulary,
    };
    let mut trace = Trace { model, ablate: options.ablate.clone(), ..Trace::default() };
    // A model whose unembedding differs may be refused: a trace of nothing is one, too.
    let Ok(parts) = parts else { return trace };
    let (first, last) = (from_ids(None, texts[0].clone()), from_ids(None, texts[0].iter().rev().copied().collect()));
    trace.sequences = go(&parts, &Run { texts, options }).unwrap_or_default();
    let any = PatchOptions::default();
    let patched = patch(&parts, None, first, last, &any, &NoControl, |_| {});
    trace.patching = if random.one_in(2) { pollster::block_on(patched).ok() } else { None };
    trace
}

/// Loads a checkpoint; the first run may have been made meanwhile.
fn load(files: Files, ask: &Ask) -> (Result<Rc<StreamingModel>, Error>, Option<Answer>) {
    let files = files.into_iter().collect();
    let memory = Memory { files, piece: ask.piece, ranges: ask.ranges, slow: ask.early, ..Memory::default() };
    let spawn = |config: &_, _: &str| worker_pool(config, ask.workers);
    let loading: Result<Loading<Memory, MemoryShelf>, Error> =
        pollster::block_on(open(memory, None, 4, spawn, &|_| {}));
    let loading = match loading {
        Ok(loading) => loading,
        Err(error) => return (Err(error), None),
    };
    let parts = loading.model.clone();
    if !ask.early {
        return (pollster::block_on(loading.finish(&|_| {})).map(|()| parts), None);
    }
    let sequences = sequences(&ask.runs[0]);
    let running = run(&parts, None, sequences, &ask.runs[0].options, &NoControl, |_| {});
    let (first, loaded) = together(running, loading.finish(&|_| {}));
    (loaded.map(|()| parts.clone()), Some(first))
}

fn sequences(asked: &Run) -> Vec<Sequence> {
    asked.texts.iter().map(|ids| from_ids(None, ids.clone())).collect()
}

fn go(parts: &StreamingModel, asked: &Run) -> Answer {
    pollster::block_on(run(parts, None, sequences(asked), &asked.options, &NoControl, |_| {}))
}
