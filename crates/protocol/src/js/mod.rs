//! Traces as JavaScript has them: plain objects with typed arrays, as the public contract says.
//!
//! Reading is generous, since a trace may have been through JSON: plain arrays are taken for typed ones, and so
//! are the objects with numbered keys that `JSON.stringify` makes of typed arrays.

use js_sys::{Array, Float32Array, JsString, Object, Reflect, Uint8Array, Uint32Array};
use wasm_bindgen::{JsCast, JsValue};

mod closer;

pub use closer::{patching_from_js, patching_to_js, sampled_from_js, sampled_to_js};

use crate::foreign::{get, is_typed_array, items, values};
use trace::{Code, Error, Result};
use trace::{Lens, ModelInfo, Next, Sequence, Trace, Vocab, file};

/// A trace as a plain object.
pub fn to_js(trace: &Trace) -> JsValue {
    let model = Object::new();
    set(&model, "source", &trace.model.source.as_str().into());
    for (name, size) in sizes(&trace.model) {
        set(&model, name, &(size as f64).into());
    }
    let object = Object::new();
    set(&object, "model", &model);
    set(&object, "sequences", &trace.sequences.iter().map(sequence_to_js).collect::<Array>());
    if !trace.ablate.is_empty() {
        set(&object, "ablate", &closer::ablate_to_js(&trace.ablate));
    }
    if let Some(found) = &trace.patching {
        set(&object, "patching", &patching_to_js(found));
    }
    object.into()
}

fn sizes(model: &ModelInfo) -> [(&'static str, usize); 5] {
    [
        ("n_layer", model.n_layer),
        ("n_head", model.n_head),
        ("n_embd", model.n_embd),
        ("n_positions", model.n_positions),
        ("vocab_size", model.vocab_size),
    ]
}

/// What texts are made of, nothing computed: a list of `{ text, ids, tokens, spans }`.
pub fn tokens_to_js(sequences: &[Sequence]) -> JsValue {
    sequences.iter().map(with_tokens).collect::<Array>().into()
}

fn with_tokens(sequence: &Sequence) -> Object {
    let object = Object::new();
    if let Some(text) = &sequence.text {
        set(&object, "text", &text.as_str().into());
    }
    set_ids(&object, "ids", &sequence.ids);
    set(&object, "tokens", &strings(&sequence.tokens));
    if let Some(spans) = &sequence.spans {
        set_ids(&object, "spans", spans);
    }
    object
}

fn sequence_to_js(sequence: &Sequence) -> JsValue {
    let object = with_tokens(sequence);
    let floats = |name, values: &[f32]| set_floats(&object, name, values);
    for (name, values) in [
        ("embed_norm", &sequence.embed_norm),
        ("attn_norm", &sequence.attn_norm),
        ("mlp_norm", &sequence.mlp_norm),
        ("resid_pre_norm", &sequence.resid_pre_norm),
        ("resid_mid_norm", &sequence.resid_mid_norm),
        ("resid_post_norm", &sequence.resid_post_norm),
        ("attn_cos", &sequence.attn_cos),
        ("mlp_cos", &sequence.mlp_cos),
    ] {
        floats(name, values);
    }
    for (name, values) in [
        ("head_norm", &sequence.head_norm),
        ("attn_bias_norm", &sequence.attn_bias_norm),
        ("token_logprob", &sequence.token_logprob),
        ("kl", &sequence.kl),
    ] {
        if let Some(values) = values {
            floats(name, values);
        }
    }
    if let Some(lens) = &sequence.lens {
        let cells = predictions(&lens.ids, &lens.probs);
        let vocab = Object::new();
        set_ids(&vocab, "ids", &lens.vocab.ids);
        set(&vocab, "tokens", &strings(&lens.vocab.tokens));
        set_ids(&cells, "true_rank", &lens.true_rank);
        set_floats(&cells, "true_prob", &lens.true_prob);
        set(&cells, "vocab", &vocab);
        set(&object, "lens", &cells);
    }
    if let Some(next) = &sequence.next {
        let candidates = predictions(&next.ids, &next.probs);
        set(&candidates, "tokens", &strings(&next.tokens));
        set(&object, "next", &candidates);
    }
    if let Some(found) = &sequence.leads {
        set(&object, "leads", &closer::leads_to_js(found));
    }
    if let Some(patterns) = &sequence.patterns {
        set(&object, "patterns", &patterns.iter().map(closer::pattern_to_js).collect::<Array>());
    }
    if let Some(found) = &sequence.attribution {
        set(&object, "attribution", &closer::attribution_to_js(found));
    }
    if let Some(baseline) = &sequence.baseline {
        set(&object, "baseline", &sequence_to_js(baseline));
    }
    object.into()
}

fn set_ids(object: &Object, name: &str, values: &[u32]) {
    set(object, name, &Uint32Array::from(values));
}

fn set_floats(object: &Object, name: &str, values: &[f32]) {
    set(object, name, &Float32Array::from(values));
}

fn predictions(ids: &[u32], probs: &[f32]) -> Object {
    let object = Object::new();
    set(&object, "ids", &Uint32Array::from(ids));
    set(&object, "probs", &Float32Array::from(probs));
    object
}

fn strings(values: &[String]) -> Array {
    values.iter().map(|value| JsValue::from_str(value)).collect()
}

fn set(object: &Object, name: &str, value: &JsValue) {
    // Setting a property of a fresh plain object cannot fail.
    let _ = Reflect::set(object, &name.into(), value);
}

/// A file's bytes.
///
/// # Errors
/// `OutOfMemory` where there is no room for them.
pub fn bytes(array: &Uint8Array) -> Result<Vec<u8>> {
    let length = array.length() as usize;
    file::check_size(length)?;
    let mut bytes = Vec::new();
    let full = |_| Error::new(Code::OutOfMemory, format!("There is no memory for a file of {length} bytes."));
    bytes.try_reserve_exact(length).map_err(full)?;
    bytes.resize(length, 0);
    array.copy_to(&mut bytes);
    Ok(bytes)
}

/// A trace from a plain object.
///
/// # Errors
/// `BadArgument` names the field that is missing, or that [`Trace::check`] objects to.
pub fn from_js(value: &JsValue) -> Result<Trace> {
    if !value.is_object() {
        return Err(bad("trace: expected an object, as trace() and readTrace() give it"));
    }
    let model = get(value, "model");
    let size = |name| get(&model, name).as_f64().filter(|size| *size >= 0.0).map_or(0, |size| size as usize);
    let model = ModelInfo {
        source: get(&model, "source").as_string().unwrap_or_default(),
        n_layer: size("n_layer"),
        n_head: size("n_head"),
        n_embd: size("n_embd"),
        n_positions: size("n_positions"),
        vocab_size: size("vocab_size"),
    };
    let sequences = get(value, "sequences");
    let sequences = items(&sequences).ok_or_else(|| bad("trace: it has no list of sequences"))?;
    let sequences = sequences.enumerate().map(|(index, sequence)| {
        sequence_from_js(&sequence).map_err(|why| bad(&format!("trace: sequences[{index}]: {why}")))
    });
    let ablate = closer::ablate_from_js(&get(value, "ablate")).map_err(|why| bad(&why))?;
    let patching = Some(get(value, "patching")).filter(JsValue::is_object);
    let patching = patching.map(|found| patching_from_js(&found)).transpose();
    let patching = patching.map_err(|why| bad(&format!("patching: {why}")))?;
    let trace = Trace { model, sequences: sequences.collect::<Result<_>>()?, ablate, patching };
    trace.check().map_err(|why| bad(&format!("trace: {why}")))?;
    Ok(trace)
}

fn sequence_from_js(value: &JsValue) -> Result<Sequence, String> {
    let ids = numbers(value, "ids")?.into_iter().map(|id| id as u32).collect::<Vec<_>>();
    let optional = |name| if get(value, name).is_object() { floats(value, name).map(Some) } else { Ok(None) };
    let ids_and_probs = |name| -> Result<_, String> {
        let object = get(value, name);
        if !object.is_object() {
            return Ok(None);
        }
        let ids = numbers(&object, "ids")?.into_iter().map(|id| id as u32).collect::<Vec<_>>();
        Ok(Some((ids, floats(&object, "probs")?, texts(&get(&object, "tokens")))))
    };
    let patterns = get(value, "patterns");
    let patterns = items(&patterns).map(|list| list.map(|item| closer::pattern_from_js(&item)).collect());
    let nested = |name| Some(get(value, name)).filter(JsValue::is_object);
    let baseline = match nested("baseline") {
        // One level is all there is: a baseline has none.
        Some(baseline) if !get(&baseline, "baseline").is_object() => Some(Box::new(sequence_from_js(&baseline)?)),
        _ => None,
    };
    Ok(Sequence {
        text: get(value, "text").as_string(),
        tokens: texts(&get(value, "tokens")),
        spans: optional("spans")?.map(|spans| spans.into_iter().map(|unit| unit as u32).collect()),
        embed_norm: floats(value, "embed_norm")?,
        attn_norm: floats(value, "attn_norm")?,
        mlp_norm: floats(value, "mlp_norm")?,
        resid_pre_norm: floats(value, "resid_pre_norm")?,
        resid_mid_norm: floats(value, "resid_mid_norm")?,
        resid_post_norm: floats(value, "resid_post_norm")?,
        attn_cos: floats(value, "attn_cos")?,
        mlp_cos: floats(value, "mlp_cos")?,
        head_norm: optional("head_norm")?,
        attn_bias_norm: optional("attn_bias_norm")?,
        lens: ids_and_probs("lens")?.map(|(ids, probs, _)| lens(&get(value, "lens"), ids, probs)),
        token_logprob: optional("token_logprob")?,
        next: ids_and_probs("next")?.map(|(ids, probs, tokens)| Next { ids, probs, tokens }),
        leads: nested("leads").map(|found| closer::leads_from_js(&found)),
        patterns: patterns.transpose()?,
        attribution: nested("attribution").map(|found| closer::attribution_from_js(&found)).transpose()?,
        kl: optional("kl")?,
        baseline,
        ids,
    })
}

/// A lens; one of an earlier version says nothing of the tokens that follow.
fn lens(value: &JsValue, ids: Vec<u32>, probs: Vec<f32>) -> Lens {
    let true_rank = numbers(value, "true_rank").unwrap_or_default().into_iter().map(|rank| rank as u32).collect();
    let true_prob = floats(value, "true_prob").unwrap_or_default();
    Lens { ids, probs, true_rank, true_prob, vocab: vocab(value) }
}

/// What a lens says of its tokens; nothing where it says it in another form than traces do.
fn vocab(lens: &JsValue) -> Vocab {
    let vocab = get(lens, "vocab");
    let ids: Vec<u32> = numbers(&vocab, "ids").unwrap_or_default().into_iter().map(|id| id as u32).collect();
    let tokens = texts(&get(&vocab, "tokens"));
    if ids.len() == tokens.len() && ids.is_sorted() { Vocab { ids, tokens } } else { Vocab::default() }
}

fn floats(value: &JsValue, name: &str) -> Result<Vec<f32>, String> {
    match get(value, name).dyn_ref::<Float32Array>() {
        Some(array) if is_typed_array(array) => Ok(array.to_vec()),
        _ => Ok(numbers(value, name)?.into_iter().map(|number| number as f32).collect()),
    }
}

fn numbers(value: &JsValue, name: &str) -> Result<Vec<f64>, String> {
    let found = get(value, name);
    if !found.is_object() {
        return Err(format!("{name} is missing"));
    }
    // For arrays of either kind and for objects with numbered keys alike: the values in order.
    let values = values(&found).ok_or_else(|| format!("{name} cannot be read"))?;
    values
        .iter()
        // JSON has null for what is not finite.
        .map(|item: JsValue| match item.is_null() {
            true => Ok(f64::NAN),
            false => item.as_f64().ok_or_else(|| format!("{name} holds something else than numbers")),
        })
        .collect()
}

fn texts(value: &JsValue) -> Vec<String> {
    let Some(items) = items(value) else { return Vec::new() };
    items.map(|item| item.dyn_into::<JsString>().map(String::from).unwrap_or_default()).collect()
}

fn bad(message: &str) -> Error {
    Error::new(Code::BadArgument, message)
}
