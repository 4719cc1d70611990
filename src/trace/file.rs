//! A whole trace as a file: JSON that people and programs read, or safetensors, which Python has as arrays at once.
//!
//! JSON: `{ "format": "residual-stream trace", "version": 1, ...trace }`, the fields of [`Trace`], arrays as lists; a number
//! that is not finite is null. Safetensors: every list of numbers is a tensor, named by the way to it
//! (`sequences.0.attn_norm`), with its axes; the rest is the same JSON in the metadata under `trace`, each list's place
//! taken by `{ "tensor": name }`. docs/traces.md has the schema.

use serde_json::{Map, Value};

use super::Trace;
use crate::{Code, Error, Result};

/// What a file says it is.
pub const FORMAT: &str = "residual-stream trace";
/// The version of the schema that is written, and the highest that is read.
pub const VERSION: u64 = 1;
/// Longest header of a safetensors file that is read: the format's own limit.
const LONGEST_HEADER: u64 = 100_000_000;

/// A trace as JSON.
///
/// # Errors
/// `OutOfMemory`, which is all that can go wrong.
pub fn to_json(trace: &Trace) -> Result<String> {
    Ok(whole(trace)?.to_string())
}

/// A trace as a safetensors file.
///
/// # Errors
/// As [`to_json`].
pub fn to_safetensors(trace: &Trace) -> Result<Vec<u8>> {
    let mut skeleton = whole(trace)?;
    let mut header = Map::new();
    let mut data = Vec::new();
    take_tensors(&mut skeleton, "", &mut |name, list| {
        let begin = data.len();
        // Ids, ranks and spans are whole; every other number was an F32.
        let whole = list.iter().all(Value::is_u64);
        for value in list {
            match whole {
                true => data.extend((value.as_u64().unwrap_or_default() as u32).to_le_bytes()),
                false => data.extend((value.as_f64().unwrap_or(f64::NAN) as f32).to_le_bytes()),
            }
        }
        let dtype = if whole { "U32" } else { "F32" };
        let shape = shape(trace, name, list.len());
        let entry = serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": [begin, data.len()] });
        header.insert(name.to_owned(), entry);
    });
    let version = VERSION.to_string();
    header.insert(
        "__metadata__".to_owned(),
        serde_json::json!({ "format": FORMAT, "version": version, "trace": skeleton.to_string() }),
    );
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend(data);
    Ok(file)
}

/// The JSON that a file of either kind holds; a reader of traces takes it from there.
///
/// # Errors
/// `BadArgument`: no trace, or one of a later version.
pub fn read(bytes: &[u8]) -> Result<Value> {
    let bad = |why: &str| Error::new(Code::BadArgument, format!("This file is no saved run: {why}."));
    let text = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let value: Value = match text {
        true => {
            serde_json::from_slice(bytes).map_err(|why| bad(&format!("its JSON breaks off or is damaged ({why})")))?
        }
        false => from_safetensors(bytes).map_err(|why| bad(&why))?,
    };
    if value.get("format").and_then(Value::as_str) != Some(FORMAT) {
        return Err(bad(&format!("it does not say \"format\": \"{FORMAT}\"")));
    }
    match value.get("version").and_then(Value::as_u64) {
        Some(version) if version <= VERSION => Ok(value),
        Some(version) => Err(bad(&format!(
            "it is of version {version}, and this page reads up to {VERSION}: reload the page for a newer one"
        ))),
        None => Err(bad("it says no version")),
    }
}

fn whole(trace: &Trace) -> Result<Value> {
    let failed = |why: serde_json::Error| Error::new(Code::OutOfMemory, format!("The run cannot be written: {why}"));
    let mut value = serde_json::to_value(trace).map_err(failed)?;
    if let Value::Object(object) = &mut value {
        object.insert("format".to_owned(), FORMAT.into());
        object.insert("version".to_owned(), VERSION.into());
    }
    Ok(value)
}

/// Puts a reference in the place of every list of numbers, and hands the list over.
fn take_tensors(value: &mut Value, path: &str, take: &mut impl FnMut(&str, &[Value])) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Array(list) if !list.is_empty() && list.iter().all(|item| item.is_number() || item.is_null()) => {
            take(path, list);
            *value = serde_json::json!({ "tensor": path });
        }
        Value::Array(list) => {
            list.iter_mut().enumerate().for_each(|(index, item)| take_tensors(item, &below(&index.to_string()), take));
        }
        Value::Object(object) => {
            object.iter_mut().for_each(|(name, item)| take_tensors(item, &below(name), take));
        }
        _ => {}
    }
}

/// The axes of an array, by its name and the sequence it belongs to; one axis where it has no others.
fn shape(trace: &Trace, path: &str, length: usize) -> Vec<usize> {
    let mut parts = path.split('.');
    let number = (parts.next() == Some("sequences")).then(|| parts.next()?.parse::<usize>().ok()).flatten();
    let name = path.rsplit('.').next().unwrap_or_default();
    let Some(sequence) = number.and_then(|number| trace.sequences.get(number)) else { return vec![length] };
    let (t, layers) = (sequence.token_count(), sequence.layer_count());
    let axes = match name {
        "spans" => vec![t, 2],
        "head_norm" => vec![layers, trace.model.n_head, t],
        "weights" => vec![t, t],
        "heads" => vec![layers, trace.model.n_head],
        "true_rank" | "true_prob" => vec![layers + 1, t],
        _ if path.contains("lens.") && !path.contains("vocab") => {
            vec![layers + 1, t, length / ((layers + 1) * t).max(1)]
        }
        "attn_norm" | "mlp_norm" | "resid_pre_norm" | "resid_mid_norm" | "resid_post_norm" | "attn_cos" | "mlp_cos" => {
            vec![layers, t]
        }
        _ => vec![length],
    };
    if axes.iter().product::<usize>() == length { axes } else { vec![length] }
}

fn from_safetensors(bytes: &[u8]) -> Result<Value, String> {
    let torn = || "it is neither JSON nor safetensors".to_owned();
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(torn)?;
    let length = u64::from_le_bytes(*length);
    if length > LONGEST_HEADER.min(rest.len() as u64) {
        return Err(torn());
    }
    let (header, data) = rest.split_at_checked(length as usize).ok_or_else(torn)?;
    let header: Value = serde_json::from_slice(header).map_err(|_| torn())?;
    let skeleton = header.get("__metadata__").and_then(|metadata| metadata.get("trace")).and_then(Value::as_str);
    let skeleton = skeleton.ok_or("its metadata has no \"trace\"")?;
    let mut value: Value = serde_json::from_str(skeleton).map_err(|why| format!("its metadata is damaged ({why})"))?;
    put_tensors(&mut value, &header, data)?;
    Ok(value)
}

/// Puts the lists back where references stand.
fn put_tensors(value: &mut Value, header: &Value, data: &[u8]) -> Result<(), String> {
    match value {
        Value::Object(object) => {
            let name = object.get("tensor").and_then(Value::as_str).filter(|_| object.len() == 1);
            match name {
                Some(name) => *value = Value::Array(list(name, header, data)?),
                None => {
                    for item in object.values_mut() {
                        put_tensors(item, header, data)?;
                    }
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                put_tensors(item, header, data)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn list(name: &str, header: &Value, data: &[u8]) -> Result<Vec<Value>, String> {
    let missing = || format!("tensor \"{name}\" is missing or damaged");
    let entry = header.get(name).ok_or_else(missing)?;
    let offset = |index: usize| entry.get("data_offsets")?.get(index)?.as_u64().map(|offset| offset as usize);
    let (begin, end) = offset(0).zip(offset(1)).ok_or_else(missing)?;
    let (numbers, rest) = data.get(begin..end).ok_or_else(missing)?.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(missing());
    }
    match entry.get("dtype").and_then(Value::as_str) {
        Some("U32") => Ok(numbers.iter().map(|bytes| u32::from_le_bytes(*bytes).into()).collect()),
        // What is not finite becomes null, as in JSON.
        Some("F32") => Ok(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes).into()).collect()),
        _ => Err(missing()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::closer::{Ablated, Instead, Pattern, Switched};
    use crate::trace::{Lens, ModelInfo, Next, Sequence};

    fn trace() -> Trace {
        let sequence = Sequence {
            text: Some("A <b>\u{1F600}".into()),
            ids: vec![5, 6],
            tokens: vec!["A".into(), " <b>\u{1F600}".into()],
            spans: Some(vec![0, 1, 1, 7]),
            embed_norm: vec![1.0, 2.5],
            attn_norm: vec![0.1, 0.2, 0.3, 0.4],
            mlp_norm: vec![1.0; 4],
            resid_pre_norm: vec![f32::MIN_POSITIVE; 4],
            resid_mid_norm: vec![f32::MAX; 4],
            resid_post_norm: vec![3.0; 4],
            attn_cos: vec![-0.5; 4],
            mlp_cos: vec![0.5; 4],
            head_norm: Some((0..12).map(|i| i as f32).collect()),
            lens: Some(Lens {
                ids: (0..12).collect(),
                probs: vec![0.25; 12],
                true_rank: vec![1, 0, 2, 0, 3, 0],
                true_prob: vec![0.5; 6],
                ..Lens::default()
            }),
            next: Some(Next { ids: vec![9], probs: vec![0.75], tokens: vec!["x".into()] }),
            patterns: Some(vec![Pattern { layer: 1, head: 2, weights: vec![1.0, 0.0, 0.5, 0.5], writes: None }]),
            ..Sequence::default()
        };
        let baseline = Some(Box::new(sequence.clone()));
        let model =
            ModelInfo { source: "demo".into(), n_layer: 2, n_head: 3, n_embd: 4, n_positions: 8, vocab_size: 16 };
        let ablate = vec![Ablated { layer: 0, part: Switched::Head, head: Some(1), how: Instead::Mean }];
        Trace { model, sequences: vec![Sequence { baseline, ..sequence }], ablate, patching: None }
    }

    #[test]
    fn a_trace_comes_back_as_it_was_from_either_kind_of_file() {
        let trace = trace();
        for (kind, bytes) in
            [("JSON", to_json(&trace).unwrap().into_bytes()), ("safetensors", to_safetensors(&trace).unwrap())]
        {
            let back: Trace = serde_json::from_value(read(&bytes).unwrap()).unwrap();
            assert_eq!(back, trace, "file.rs: {kind}");
        }
    }

    #[test]
    fn safetensors_has_every_array_with_its_axes() {
        let file = to_safetensors(&trace()).unwrap();
        let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        assert_eq!(length % 8, 0, "file.rs: tensors must begin at a multiple of 8");
        let header: Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
        let shape = |name: &str| {
            header[name]["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(shape("sequences.0.attn_norm"), [2, 2]);
        assert_eq!(shape("sequences.0.head_norm"), [2, 3, 2]);
        assert_eq!(shape("sequences.0.lens.probs"), [3, 2, 2]);
        assert_eq!(shape("sequences.0.patterns.0.weights"), [2, 2]);
        assert_eq!(shape("sequences.0.baseline.mlp_norm"), [2, 2]);
        assert_eq!(header["sequences.0.ids"]["dtype"], "U32");
        assert_eq!(header["sequences.0.next.probs"]["dtype"], "F32");
        assert_eq!(header["sequences.0.mlp_norm"]["dtype"], "F32", "file.rs: whole F32s are F32s still");
    }

    #[test]
    fn what_is_no_trace_says_why() {
        let json = |text: &str| read(text.as_bytes()).unwrap_err().message;
        assert!(json("{}").contains("format"), "{}", json("{}"));
        let later = format!("{{\"format\":\"{FORMAT}\",\"version\":2}}");
        assert!(json(&later).contains("version 2"), "{}", json(&later));
        assert!(json("{\"format\":").contains("JSON"), "{}", json("{\"format\":"));
        assert!(json("hello").contains("neither"), "{}", json("hello"));
        let whole = to_safetensors(&trace()).unwrap();
        for end in [0, 7, 8, 40, whole.len() / 2, whole.len() - 1] {
            let error = read(&whole[..end]).unwrap_err();
            assert_eq!(error.code, Code::BadArgument, "file.rs: cut at {end}: {error}");
        }
        let mut huge = whole.clone();
        huge[..8].fill(0xff);
        assert!(read(&huge).is_err(), "file.rs: a header longer than the file");
    }
}
