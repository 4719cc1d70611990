//! Traces as JavaScript has them: plain objects with typed arrays, as the public contract says.
//!
//! Reading is generous, since a trace may have been through JSON: plain arrays are taken for typed ones, and so
//! are the objects with numbered keys that `JSON.stringify` makes of typed arrays.

use js_sys::{Array, Object, Uint8Array};
use wasm_bindgen::JsValue;

mod ablation;
mod record;

use crate::foreign::{get, items};
use record::{Plain, object, set, whole};
use trace::fields::Record;
use trace::{Code, Error, Lens, ModelInfo, Patching, Result, Sampled, Sequence, Trace, Vocab, file};

/// A trace as a plain object.
pub fn to_js(trace: &Trace) -> JsValue {
    let object = Object::new();
    set(&object, "model", &whole(&trace.model));
    set(&object, "sequences", &trace.sequences.iter().map(|sequence| whole(sequence)).collect::<Array>());
    if !trace.ablate.is_empty() {
        set(&object, "ablate", &ablation::to_js(&trace.ablate));
    }
    if let Some(found) = &trace.patching {
        set(&object, "patching", &whole(found));
    }
    object.into()
}

/// What texts are made of, nothing computed: a list of `{ text, ids, tokens, spans }`.
pub fn tokens_to_js(sequences: &[Sequence]) -> JsValue {
    let tokenized = |sequence| object(sequence, |field| ["text", "ids", "tokens", "spans"].contains(&field.name));
    sequences.iter().map(|sequence| tokenized(sequence)).collect::<Array>().into()
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
    let model = ModelInfo::read(&Plain(get(value, "model"))).map_err(|why| bad(&format!("trace: model: {why}")))?;
    let sequences = get(value, "sequences");
    let sequences = items(&sequences).ok_or_else(|| bad("trace: it has no list of sequences"))?;
    let sequences = sequences.enumerate().map(|(index, sequence)| {
        sequence_from_js(sequence).map_err(|why| bad(&format!("trace: sequences[{index}]: {why}")))
    });
    let sequences = sequences.collect::<Result<_>>()?;
    let ablate = ablation::from_js(&get(value, "ablate")).map_err(|why| bad(&why))?;
    let patching = Some(get(value, "patching")).filter(JsValue::is_object);
    let patching = patching.map(|found| patching_from_js(&found)).transpose();
    let patching = patching.map_err(|why| bad(&format!("patching: {why}")))?;
    let trace = Trace { model, sequences, ablate, patching };
    trace.check().map_err(|why| bad(&format!("trace: {why}")))?;
    Ok(trace)
}

fn sequence_from_js(value: JsValue) -> Result<Sequence, String> {
    let mut sequence = Sequence::read(&Plain(value))?;
    let baseline = sequence.baseline.as_mut().and_then(|baseline| baseline.lens.as_mut());
    for Lens { vocab, .. } in sequence.lens.as_mut().into_iter().chain(baseline) {
        // Nothing, where it is said in another form than traces do.
        if vocab.ids.len() != vocab.tokens.len() || !vocab.ids.is_sorted() {
            *vocab = Vocab::default();
        }
    }
    Ok(sequence)
}

/// What patching found, as a plain object.
pub fn patching_to_js(found: &Patching) -> JsValue {
    whole(found)
}

/// The same from a plain object.
///
/// # Errors
/// What is missing.
pub fn patching_from_js(value: &JsValue) -> Result<Patching, String> {
    let found = Patching::read(&Plain(value.clone()))?;
    found.check()?;
    Ok(found)
}

/// Sampled tokens, as a plain object.
pub fn sampled_to_js(found: &Sampled) -> JsValue {
    whole(found)
}

/// The same from a plain object.
///
/// # Errors
/// What is missing.
pub fn sampled_from_js(value: &JsValue) -> Result<Sampled, String> {
    Sampled::read(&Plain(value.clone()))
}

fn bad(message: &str) -> Error {
    Error::new(Code::BadArgument, message)
}
