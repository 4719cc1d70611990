//! Random small GPT-2s, as files.

use half::{bf16, f16};
use serde_json::{Value, json};

use super::damage;
use super::paper::Settings;
use super::random::Random;
use super::strict::{ACTIVATIONS, shapes};

/// A tensor to be written.
pub struct Tensor {
    pub name: String,
    pub dtype: String,
    pub shape: Vec<u64>,
    pub bytes: Vec<u8>,
}

/// Settings of all kinds.
pub fn random_settings(random: &mut Random) -> Settings {
    let heads = random.between(1, 5);
    let of_head = random.pick(&[1, 2, 3, 4, 5, 7, 8, 12, 16]);
    let width = heads * of_head;
    Settings {
        vocabulary: random.between(1, 90),
        positions: random.between(1, 24),
        width,
        layers: random.between(1, 4),
        heads,
        inner: if random.one_in(2) { random.between(1, 70) } else { 4 * width },
        activation: random.pick(&ACTIVATIONS).to_string(),
        epsilon: random.pick(&[1e-5, 1e-5, 1e-12, 1e-3, 0.5, 0.0]),
        scale_by_width: !random.one_in(4),
        scale_by_layer: random.one_in(4),
        tied: !random.one_in(3),
    }
}

/// Settings as some `config.json` has them: what is usual may be left out, sizes have two names.
pub fn config(random: &mut Random, settings: &Settings) -> Value {
    let mut config = json!({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "torch_dtype": "float32"});
    let mut set = |names: &[&str], value: Value| config[random.pick(names)] = value;
    set(&["vocab_size"], settings.vocabulary.into());
    set(&["n_positions", "max_position_embeddings"], settings.positions.into());
    set(&["n_embd", "hidden_size"], settings.width.into());
    set(&["n_layer", "num_hidden_layers"], settings.layers.into());
    set(&["n_head", "num_attention_heads"], settings.heads.into());
    set(&["n_inner"], if settings.inner == 4 * settings.width { Value::Null } else { settings.inner.into() });
    set(&["activation_function"], settings.activation.as_str().into());
    set(&["layer_norm_epsilon"], settings.epsilon.into());
    set(&["scale_attn_weights"], settings.scale_by_width.into());
    set(&["scale_attn_by_inverse_layer_idx"], settings.scale_by_layer.into());
    set(&["tie_word_embeddings"], settings.tied.into());
    for (name, usual) in [
        ("activation_function", json!("gelu_new")),
        ("layer_norm_epsilon", json!(1e-5)),
        ("scale_attn_weights", json!(true)),
        ("scale_attn_by_inverse_layer_idx", json!(false)),
        ("tie_word_embeddings", json!(true)),
        ("n_inner", Value::Null),
        ("model_type", json!("gpt2")),
    ] {
        if config[name] == usual && random.one_in(4) {
            config.as_object_mut().unwrap().remove(name);
        }
    }
    config
}

/// Every tensor, in as many files as there are lists.
pub fn shards(random: &mut Random, settings: &Settings) -> Vec<Vec<Tensor>> {
    let dtypes = random.pick(&[["F32"; 3], ["F16"; 3], ["BF16"; 3], ["F32", "F16", "BF16"]]);
    let prefixes =
        ["", "transformer.", "transformer.", "_orig_mod.transformer.", "module.", "base_model.model.", "policy."];
    let (prefix, mixed) = (random.pick(&prefixes), random.one_in(16));
    let gain = 10f64.powf(random.unit() * 3.0 - 2.0);
    let mut tensors = Vec::new();
    for (name, shape) in shapes(settings) {
        let scale = scale(random, &name, &shape, gain);
        let dtype = random.pick(&dtypes);
        let count = shape.iter().product::<u64>();
        let offset = if name.contains("ln_") && name.ends_with("weight") { 1.0 } else { 0.0 };
        let bytes = (0..count).flat_map(|_| encoded(dtype, offset + scale * random.normal())).collect();
        let prefix = match name.starts_with("lm_head") {
            true => "",
            false if mixed => random.pick(&prefixes),
            false => prefix,
        };
        tensors.push(Tensor { name: format!("{prefix}{name}"), dtype: dtype.into(), shape, bytes });
    }
    extras(random, settings, &mut tensors);
    if random.one_in(2) {
        random.shuffle(&mut tensors);
    }
    let mut shards: Vec<Vec<Tensor>> =
        (0..if random.one_in(3) { random.between(2, 4) } else { 1 }).map(|_| Vec::new()).collect();
    for tensor in tensors {
        let number = random.below(shards.len());
        shards[number].push(tensor);
    }
    shards.retain(|tensors| !tensors.is_empty());
    shards
}

/// How large the numbers of a tensor are: as training leaves them, and now and then nothing like it.
fn scale(random: &mut Random, name: &str, shape: &[u64], gain: f64) -> f64 {
    let usual = match shape {
        [_] => 0.1 * gain,
        _ if name.contains("wte") || name.contains("wpe") || name.contains("lm_head") => gain,
        [inputs, ..] => gain / (*inputs as f64).sqrt(),
        [] => 1.0,
    };
    match random.below(60) {
        0 => 0.0,
        1 => usual * 1e4,
        2 => usual * 10f64.powf(random.unit() * 30.0),
        3 => usual * 10f64.powf(-random.unit() * 30.0),
        _ => usual,
    }
}

/// Tensors that published checkpoints have besides.
fn extras(random: &mut Random, settings: &Settings, tensors: &mut Vec<Tensor>) {
    let mut more = |name: String, dtype: &str, shape: Vec<u64>, bytes: Vec<u8>| {
        tensors.push(Tensor { name, dtype: dtype.into(), shape, bytes });
    };
    let side = settings.positions as u64;
    if random.one_in(3) {
        for layer in 0..settings.layers {
            let (dtype, size) = random.pick(&[("U8", 1), ("BOOL", 1), ("F32", 4)]);
            more(
                format!("transformer.h.{layer}.attn.bias"),
                dtype,
                vec![1, 1, side, side],
                vec![1; (side * side) as usize * size],
            );
            more(format!("transformer.h.{layer}.attn.masked_bias"), "F32", vec![], f32::to_le_bytes(-1e4).into());
        }
    }
    if random.one_in(6) {
        more("some.counter".into(), "I64", vec![3], vec![7; 24]);
    }
    if random.one_in(8) {
        more("some.new.kind".into(), "F4", vec![9], vec![1; 5]);
    }
    if random.one_in(8) {
        more(format!("h.{}.ln_1.weight", settings.layers), "F32", vec![0], vec![]);
    }
    if settings.tied && random.one_in(3) {
        let table = tensors.iter().find(|tensor| tensor.name.ends_with("wte.weight")).unwrap();
        let (dtype, shape, mut bytes) = (table.dtype.clone(), table.shape.clone(), table.bytes.clone());
        if random.one_in(3) {
            bytes[0] ^= 1;
        }
        tensors.push(Tensor { name: "lm_head.weight".into(), dtype, shape, bytes });
    }
}

fn encoded(dtype: &str, value: f64) -> Vec<u8> {
    let most = if dtype == "F16" { 6e4 } else { 3e38 };
    let value = value.clamp(-most, most);
    match dtype {
        "F16" => f16::from_f64(value).to_le_bytes().into(),
        "BF16" => bf16::from_f64(value).to_le_bytes().into(),
        _ => (value as f32).to_le_bytes().into(),
    }
}

/// A safetensors file; `broken` damages what its header says.
pub fn safetensors(random: &mut Random, tensors: &[Tensor], broken: bool) -> Vec<u8> {
    let mut at = 0;
    let mut members: Vec<(String, Value)> = Vec::new();
    for Tensor { name, dtype, shape, bytes } in tensors {
        let end = at + bytes.len();
        members.push((name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": [at, end]})));
        at = end;
    }
    if random.one_in(2) {
        members.push(("__metadata__".into(), json!({"format": "pt"})));
    }
    random.shuffle(&mut members);
    if broken {
        let at = random.below(members.len());
        match random.below(6) {
            0 => members[at].1 = damage::anything(random),
            1 => {
                let copy = members[at].clone();
                members.push(copy);
            }
            2 => drop(members.remove(at)),
            3 => {
                members[at].0 = random
                    .pick(&["", "h.0.attn.q.weight", "__metadata__", "wte.weight", "transformer.wte.weight"])
                    .to_string()
            }
            _ => damage::json(random, &mut members[at].1),
        }
    }
    let mut members: Vec<String> = members.iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
    if broken
        && random.one_in(8)
        && let Some(member) = members.last_mut()
    {
        // The same key twice within a tensor's entry.
        *member = member.replacen('{', "{\"dtype\":\"F32\",", 1);
    }
    let mut json = format!("{{{}}}", members.join(","));
    if random.one_in(2) {
        json += &" ".repeat(json.len().next_multiple_of(8) - json.len());
    }
    let mut file = (json.len() as u64).to_le_bytes().to_vec();
    file.extend(json.as_bytes());
    file.extend(tensors.iter().flat_map(|tensor| &tensor.bytes));
    file
}
