//! A second reader of GPT-2 checkpoints, for tests: it reads everything at once, checks everything, and shares no code with
//! the program. What it refuses the program must refuse, what it accepts the program must accept, to the same numbers.
//!
//! config.json: docs/model-formats.md. Weights: <https://github.com/huggingface/safetensors#format>.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::paper::{Model, Row, Settings};

/// Files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A checkpoint.
pub struct Read {
    pub model: Model,
    /// Why the program may refuse it all the same.
    pub doubt: Option<&'static str>,
}

/// Names of activation functions.
pub const ACTIVATIONS: [&str; 19] = [
    "gelu_new",
    "gelu_fast",
    "gelu_pytorch_tanh",
    "gelu_python_tanh",
    "gelu_accurate",
    "gelu",
    "gelu_python",
    "gelu_10",
    "quick_gelu",
    "relu",
    "relu2",
    "relu6",
    "leaky_relu",
    "silu",
    "swish",
    "mish",
    "tanh",
    "sigmoid",
    "linear",
];
const LARGEST_HEADER: u64 = 100_000_000;

/// One tensor of a file's header.
#[derive(Debug, Deserialize)]
struct Info {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The header's members in their order, each name once.
struct Header(Vec<(String, Option<Info>)>);

/// A tensor as a file has it.
struct Stored<'a> {
    file: &'a str,
    full: String,
    prefix: String,
    plain: String,
    info: Info,
    bytes: &'a [u8],
}

/// The file of each tensor, by the checkpoint's index.
type Placed = HashMap<String, String>;

/// A tensor of a file: its name, what the header says of it, its bytes.
type Named<'a> = (String, Info, &'a [u8]);

/// Reads a checkpoint's files.
pub fn read(files: &Files) -> Result<Read, String> {
    let mut settings = settings(files.get("config.json").ok_or("no config.json")?)?;
    let (names, placed) = weight_files(files)?;
    let mut all = Vec::new();
    for name in &names {
        let (name, bytes) = files.get_key_value(name).ok_or_else(|| format!("no {name}"))?;
        for (full, info, bytes) in tensors(bytes).map_err(|why| format!("{name}: {why}"))? {
            let (prefix, plain) = parts(&full)?;
            all.push(Stored { file: name, prefix, plain, full, info, bytes });
        }
    }
    let says_tied = settings.tied;
    settings.tied = false;
    let mut chosen: HashMap<String, &Stored> = HashMap::new();
    for (name, _) in shapes(&settings) {
        if let Some(stored) = choose(&name, &all, &placed)? {
            chosen.insert(name, stored);
        }
    }
    one_prefix(&chosen, &all)?;
    // An unembedding that is there counts. Of two tables that are one, either may be stored.
    let mut doubt = None;
    if !chosen.contains_key("lm_head.weight") {
        settings.tied = true;
        doubt = (!says_tied).then_some("it has no unembedding: there are norms, and no predictions");
    } else if says_tied && !chosen.contains_key("wte.weight") {
        settings.tied = true;
        let table = chosen["lm_head.weight"];
        chosen.insert("wte.weight".into(), table);
    }
    let mut model = Model { tensors: HashMap::new(), settings };
    for (name, shape) in shapes(&model.settings) {
        let Stored { info, bytes, .. } = chosen.get(&name).ok_or_else(|| format!("no {name}"))?;
        if info.shape != shape {
            return Err(format!("{name}: {:?} for {shape:?}", info.shape));
        }
        let numbers = numbers(&info.dtype, bytes).ok_or_else(|| format!("{name}: its numbers"))?;
        model.tensors.insert(name, numbers);
    }
    if !placed.is_empty() {
        let listed = |name: &str| placed.keys().any(|full| parts(full).is_ok_and(|(_, plain)| plain == name));
        let is_listed = |name: &str| listed(name) || name == "wte.weight" && listed("lm_head.weight");
        if let Some(name) = model.tensors.keys().find(|name| *name != "lm_head.weight" && !is_listed(name)) {
            return Err(format!("the index does not list {name}"));
        }
    }
    Ok(Read { model, doubt })
}

/// Of the tensors of one name, the one that counts: where several files have it, the index must say which.
fn choose<'a>(name: &str, all: &'a [Stored], placed: &Placed) -> Result<Option<&'a Stored<'a>>, String> {
    let found: Vec<&Stored> = all.iter().filter(|stored| stored.plain == name).collect();
    if found.len() < 2 {
        return Ok(found.first().copied());
    }
    let mut files: Vec<&str> = found.iter().map(|stored| stored.file).collect();
    files.dedup();
    let named: Vec<&Stored> =
        found.iter().filter(|one| placed.get(&one.full).is_some_and(|file| file == one.file)).copied().collect();
    match named.as_slice() {
        [one] if files.len() == found.len() => Ok(Some(one)),
        _ => Err(format!("{name} is there {} times, in {files:?}", found.len())),
    }
}

/// All tensors of a model have one prefix; the unembedding may stand outside some of it. One that means something must be
/// everybody's.
fn one_prefix(chosen: &HashMap<String, &Stored>, all: &[Stored]) -> Result<(), String> {
    let mut prefixes: Vec<&str> =
        chosen.iter().filter(|(name, _)| *name != "lm_head.weight").map(|(_, stored)| stored.prefix.as_str()).collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    let [prefix] = prefixes.as_slice() else {
        return if prefixes.is_empty() { Ok(()) } else { Err(format!("prefixes {prefixes:?}")) };
    };
    let wrappers = ["transformer", "_orig_mod", "module", "model", "gpt2", "base_model"];
    let is_known = prefix.split('.').all(|word| word.is_empty() || wrappers.contains(&word));
    let outside = all.iter().any(|stored| !stored.full.starts_with(prefix) && !stored.full.ends_with("lm_head.weight"));
    let head = chosen.get("lm_head.weight").is_none_or(|head| prefix.starts_with(&head.prefix));
    if head && (is_known || !outside) { Ok(()) } else { Err(format!("the prefix {prefix}")) }
}

/// The weights files' names, and by the index, the file of each tensor.
fn weight_files(files: &Files) -> Result<(Vec<String>, Placed), String> {
    if files.contains_key("model.safetensors") {
        return Ok((vec!["model.safetensors".to_owned()], Placed::new()));
    }
    let bytes = files.get("model.safetensors.index.json").ok_or("no weights")?;
    let index: Value = serde_json::from_slice(bytes).map_err(|why| why.to_string())?;
    let mut placed = Placed::new();
    for (name, file) in index.get("weight_map").and_then(Value::as_object).ok_or("no weight_map")? {
        let file = file.as_str().filter(|file| !file.contains(['/', '\\', '?', '#'])).ok_or("a file's name")?;
        placed.insert(name.clone(), file.to_owned());
    }
    let mut names: Vec<String> = placed.values().cloned().collect();
    names.sort();
    names.dedup();
    Ok((names, placed))
}

/// A tensor's name in two: a prefix, and the name that it has in GPT-2 or, if it has none there, all of it.
fn parts(full: &str) -> Result<(String, String), String> {
    let layers = ["ln_1", "ln_2", "attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"];
    let starts = std::iter::once(0).chain(full.match_indices('.').map(|(at, _)| at + 1));
    for at in starts {
        let (prefix, name) = (full[..at].to_owned(), full[at..].to_owned());
        if ["wte.weight", "wpe.weight", "ln_f.weight", "ln_f.bias", "lm_head.weight"].contains(&name.as_str()) {
            return Ok((prefix, name));
        }
        let Some((layer, within)) = name.strip_prefix("h.").and_then(|rest| rest.split_once('.')) else { continue };
        if layer.is_empty() || !layer.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let (part, kind) = within.rsplit_once('.').unwrap_or((within, ""));
        let is_known = layers.contains(&part) && ["weight", "bias"].contains(&kind);
        if is_known || ["attn.bias", "attn.masked_bias"].contains(&within) {
            return Ok((prefix, name));
        }
        return Err(format!("{full} is none of GPT-2's"));
    }
    Ok((String::new(), full.to_owned()))
}

/// Every tensor of a safetensors file, with its bytes.
fn tensors(file: &[u8]) -> Result<Vec<Named<'_>>, String> {
    let (length, rest) = file.split_first_chunk::<8>().ok_or("no length")?;
    let length = u64::from_le_bytes(*length);
    if length > LARGEST_HEADER || length > rest.len() as u64 {
        return Err(format!("a header of {length} bytes"));
    }
    let (json, data) = rest.split_at(length as usize);
    let Header(list) = serde_json::from_slice(json).map_err(|why| why.to_string())?;
    let mut list: Vec<(String, Info)> = list.into_iter().filter_map(|(name, info)| Some((name, info?))).collect();
    list.sort_by_key(|(_, info)| info.data_offsets);
    let mut end = 0;
    let mut tensors = Vec::new();
    for (name, info) in list {
        let (first, after) = info.data_offsets;
        let size: Option<u64> = match info.dtype.as_str() {
            "BOOL" | "U8" | "I8" | "F8_E4M3" | "F8_E5M2" => Some(1),
            "I16" | "U16" | "F16" | "BF16" => Some(2),
            "I32" | "U32" | "F32" => Some(4),
            "I64" | "U64" | "F64" => Some(8),
            _ => None,
        };
        let product = |size: u64| info.shape.iter().try_fold(size, |size, axis| size.checked_mul(*axis));
        if first != end || after < first || size.is_some_and(|size| product(size) != Some(after - first)) {
            return Err(format!("{name}: its place"));
        }
        let bytes = data.get(first as usize..after as usize).ok_or_else(|| format!("{name} is beyond the end"))?;
        end = after;
        tensors.push((name, info, bytes));
    }
    if end != data.len() as u64 { Err("bytes that are nobody's".into()) } else { Ok(tensors) }
}

/// A tensor's numbers, all of which must be finite.
fn numbers(dtype: &str, bytes: &[u8]) -> Option<Row> {
    let pairs = || bytes.as_chunks::<2>().0.iter();
    let numbers: Row = match dtype {
        "F32" => bytes.as_chunks::<4>().0.iter().map(|four| f64::from(f32::from_le_bytes(*four))).collect(),
        "F16" => pairs().map(|two| half::f16::from_le_bytes(*two).to_f64()).collect(),
        "BF16" => pairs().map(|two| half::bf16::from_le_bytes(*two).to_f64()).collect(),
        _ => return None,
    };
    numbers.iter().all(|number| number.is_finite()).then_some(numbers)
}

/// Every tensor that a model of these settings has, with its shape.
pub fn shapes(settings: &Settings) -> Vec<(String, Vec<u64>)> {
    let [d, inner] = [settings.width as u64, settings.inner as u64];
    let table = |rows: usize| vec![rows as u64, d];
    let mut list = vec![
        ("wte.weight".to_owned(), table(settings.vocabulary)),
        ("wpe.weight".to_owned(), table(settings.positions)),
        ("ln_f.weight".to_owned(), vec![d]),
        ("ln_f.bias".to_owned(), vec![d]),
    ];
    for layer in 0..settings.layers {
        for (part, weight) in [
            ("ln_1", vec![d]),
            ("attn.c_attn", vec![d, 3 * d]),
            ("attn.c_proj", vec![d, d]),
            ("ln_2", vec![d]),
            ("mlp.c_fc", vec![d, inner]),
            ("mlp.c_proj", vec![inner, d]),
        ] {
            list.push((format!("h.{layer}.{part}.bias"), vec![weight[weight.len() - 1]]));
            list.push((format!("h.{layer}.{part}.weight"), weight));
        }
    }
    if !settings.tied {
        list.push(("lm_head.weight".to_owned(), table(settings.vocabulary)));
    }
    list
}

/// Reads `config.json`.
fn settings(bytes: &[u8]) -> Result<Settings, String> {
    let json: Value = serde_json::from_slice(bytes).map_err(|why| why.to_string())?;
    let object = json.as_object().ok_or("no object")?;
    let get = |name: &str| object.get(name).filter(|value| !value.is_null());
    let bad = |name: &str| format!("{name} is {:?}", object.get(name));
    let flag = |name: &str, usual| get(name).map_or(Ok(usual), |value| value.as_bool().ok_or_else(|| bad(name)));
    let size = |names: &[&str]| match names.iter().find(|name| get(name).is_some()) {
        None => Ok(None),
        Some(name) => {
            let size = get(name).and_then(Value::as_u64).filter(|size| (1..=1 << 24).contains(size));
            size.map(|size| Some(size as usize)).ok_or_else(|| bad(name))
        }
    };
    let needed = |names: &[&str]| size(names)?.ok_or_else(|| format!("no {names:?}"));
    match get("model_type") {
        Some(kind) if kind == "gpt2" => {}
        None if get("architectures").is_some_and(|names| names.to_string().contains("GPT2")) => {}
        _ => return Err(bad("model_type")),
    }
    let is_mup = |name: &String| {
        name.starts_with("mup_")
            || ["attn_mult", "output_mult", "embd_mult", "embeddings_scale", "width_scale", "output_logits_scale"]
                .contains(&name.as_str())
    };
    if object.keys().any(|name| is_mup(name) && get(name).is_some())
        || flag("add_cross_attention", false)?
        || get("position_embedding_type").is_some_and(|kind| kind != "absolute")
    {
        return Err("a variant of GPT-2".into());
    }
    let activation = get("activation_function").map_or(Some("gelu_new"), Value::as_str);
    let epsilon = get("layer_norm_epsilon").map_or(Some(1e-5), Value::as_f64);
    let width = needed(&["n_embd", "hidden_size"])?;
    flag("reorder_and_upcast_attn", false)?;
    let settings = Settings {
        vocabulary: needed(&["vocab_size"])?,
        positions: needed(&["n_positions", "max_position_embeddings", "n_ctx"])?,
        width,
        layers: needed(&["n_layer", "num_hidden_layers"])?,
        heads: needed(&["n_head", "num_attention_heads"])?,
        inner: size(&["n_inner"])?.unwrap_or(4 * width),
        activation: activation.filter(|name| ACTIVATIONS.contains(name)).ok_or_else(|| bad("activation"))?.to_owned(),
        epsilon: epsilon.filter(|epsilon| epsilon.is_finite() && *epsilon >= 0.0).ok_or_else(|| bad("epsilon"))?,
        scale_by_width: flag("scale_attn_weights", true)?,
        scale_by_layer: flag("scale_attn_by_inverse_layer_idx", false)?,
        tied: flag("tie_word_embeddings", true)?,
    };
    if settings.layers > 4096 || !settings.width.is_multiple_of(settings.heads) {
        return Err("its layers or heads".into());
    }
    Ok(settings)
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Header, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("tensors by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut list: Vec<(String, Option<Info>)> = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if list.iter().any(|(known, _)| *known == name) {
                        return Err(serde::de::Error::custom(format!("{name} stands twice")));
                    }
                    let is_metadata = name == "__metadata__";
                    let info = if is_metadata {
                        map.next_value::<IgnoredAny>().map(|_| None)
                    } else {
                        map.next_value().map(Some)
                    };
                    list.push((name, info?));
                }
                Ok(Header(list))
            }
        }
        from.deserialize_map(Members)
    }
}
