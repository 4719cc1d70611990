//! A second reader of GPT-2 checkpoints, for tests: it reads everything at once, checks everything, and shares no code with
//! the program. What it refuses the program must refuse, what it accepts the program must accept, to the same numbers.
//!
//! config.json: docs/model-formats.md. Weights: <https://github.com/huggingface/safetensors#format>.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
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
    dtype: String,
    shape: Vec<u64>,
    bytes: &'a [u8],
}

/// A tensor of a file: its name, what the header says of it, its bytes.
type Named<'a> = (String, Info, &'a [u8]);

/// Reads a checkpoint's files.
pub fn read(files: &Files) -> Result<Read, String> {
    let settings = settings(files.get("config.json").ok_or("no config.json")?)?;
    let (stored, mut doubt) = stored(files)?;
    let mut shapes = shapes(&settings);
    let mut model = Model { settings, tensors: HashMap::new() };
    if let Some(found) = stored.get("lm_head.weight")
        && let Some(table) = stored.get("wte.weight")
        && model.settings.tied
    {
        // transformers 5 compares the two, and keeps the file's where they differ.
        if (&found.dtype, &found.shape, found.bytes) != (&table.dtype, &table.shape, table.bytes) {
            doubt = Some("the unembedding differs from the embedding that it is tied to");
            model.settings.tied = false;
            shapes.push(("lm_head.weight".into(), shapes[0].1.clone()));
        }
    }
    let is_absent = |name: &str| !stored.contains_key(name);
    let wants_both = !model.settings.tied || is_absent("wte.weight");
    if wants_both && is_absent("wte.weight") != is_absent("lm_head.weight") {
        doubt = Some("one of the two tables is missing");
        shapes.retain(|(name, _)| !is_absent(name) || !["wte.weight", "lm_head.weight"].contains(&name.as_str()));
    }
    for (name, shape) in shapes {
        let found = stored.get(&name).ok_or_else(|| format!("no {name}"))?;
        if found.shape != shape {
            return Err(format!("{name}: {:?} for {shape:?}", found.shape));
        }
        model
            .tensors
            .insert(name.clone(), numbers(&found.dtype, found.bytes).ok_or_else(|| format!("{name}: its numbers"))?);
    }
    Ok(Read { model, doubt })
}

/// Every tensor of the checkpoint by its plain name.
fn stored(files: &Files) -> Result<(HashMap<String, Stored<'_>>, Option<&'static str>), String> {
    let mut all: HashMap<String, Stored> = HashMap::new();
    let (names, map) = match files.contains_key("model.safetensors") {
        true => (vec!["model.safetensors".to_owned()], HashMap::new()),
        false => index(files.get("model.safetensors.index.json").ok_or("no weights")?)?,
    };
    let mut doubt = None;
    for name in &names {
        let (name, bytes) = files.get_key_value(name).ok_or_else(|| format!("no {name}"))?;
        let mut of_this_file = HashMap::new();
        for (full, info, bytes) in tensors(bytes).map_err(|why| format!("{name}: {why}"))? {
            let plain = plain(&full);
            if !is_of_gpt2(plain) {
                return Err(format!("{full} is none of GPT-2's"));
            }
            let tensor = Stored { file: name, dtype: info.dtype, shape: info.shape, bytes };
            if of_this_file.insert(plain.to_owned(), tensor).is_some() && is_wanted_somewhere(plain) {
                return Err(format!("{plain} stands twice in {name}"));
            }
        }
        for (plain, tensor) in of_this_file {
            let named = map.get(&plain);
            match all.get(&plain) {
                Some(other) if named.is_none() => return Err(format!("{plain} is in {} and in {name}", other.file)),
                Some(_) if named != Some(name) => doubt = Some("a tensor that two files have"),
                Some(_) => {
                    doubt = Some("a tensor that two files have");
                    all.insert(plain, tensor);
                }
                _ => {
                    all.insert(plain, tensor);
                }
            }
        }
    }
    if map.iter().any(|(plain, file)| all.get(plain).is_some_and(|found| found.file != file)) {
        doubt = Some("the index names another file than the one that has the tensor");
    }
    if !map.is_empty() && all.keys().any(|plain| !map.contains_key(plain)) {
        doubt = Some("a tensor that the index does not name");
    }
    Ok((all, doubt))
}

/// The shards' names, and which of them each tensor is said to be in.
fn index(bytes: &[u8]) -> Result<(Vec<String>, HashMap<String, String>), String> {
    let index: Value = serde_json::from_slice(bytes).map_err(|why| why.to_string())?;
    let mut map = HashMap::new();
    for (name, file) in index.get("weight_map").and_then(Value::as_object).ok_or("no weight_map")? {
        let file = file.as_str().filter(|file| !file.contains(['/', '\\', '?', '#'])).ok_or("a file's name")?;
        map.insert(plain(name).to_owned(), file.to_owned());
    }
    let mut names: Vec<String> = map.values().cloned().collect();
    names.sort();
    names.dedup();
    Ok((names, map))
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

fn plain(name: &str) -> &str {
    name.strip_prefix("transformer.").unwrap_or(name)
}

/// Whether a model of any size has a tensor of this name: only those must not be ambiguous.
fn is_wanted_somewhere(plain: &str) -> bool {
    !plain.ends_with(".attn.bias") && !plain.ends_with(".attn.masked_bias")
}

/// Whether a tensor inside a block is one that GPT-2's blocks have. Those outside are not looked at.
fn is_of_gpt2(plain: &str) -> bool {
    let Some((_, within)) = plain.strip_prefix("h.").and_then(|rest| rest.split_once('.')) else { return true };
    let (part, kind) = within.rsplit_once('.').unwrap_or((within, ""));
    let layers = ["ln_1", "ln_2", "attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"];
    (layers.contains(&part) && ["weight", "bias"].contains(&kind))
        || ["attn.bias", "attn.masked_bias"].contains(&within)
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
                    let info =
                        if is_metadata { map.next_value::<Value>().map(|_| None) } else { map.next_value().map(Some) };
                    list.push((name, info?));
                }
                Ok(Header(list))
            }
        }
        from.deserialize_map(Members)
    }
}
