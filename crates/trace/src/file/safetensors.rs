//! The trace as safetensors: lists of numbers as tensors, the rest as JSON in the metadata.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::str::Split;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{FORMAT, VERSION, Written, unwritten};
use crate::fields::{self, Axis, Record, Sizes};
use crate::wording::in_words;
use crate::{Result, Trace};

/// Longest header of a safetensors file that is read: the format's own limit.
const LONGEST_HEADER: u64 = 100_000_000;

/// A trace as a safetensors file.
///
/// # Errors
/// `OutOfMemory`, which is all that can go wrong.
pub fn to_safetensors(trace: &Trace) -> Result<Vec<u8>> {
    let mut writer = Writer { trace, header: Map::new(), data: Vec::new() };
    let (model, ablate, patching) = (trace.model.clone(), trace.ablate.clone(), trace.patching.clone());
    let bare = Trace { model, sequences: Vec::new(), ablate, patching };
    let mut skeleton = serde_json::to_value(Written::of(&bare)).map_err(|why| unwritten(&why))?;
    writer.take_tensors(&mut skeleton, "");
    // One by one: as JSON values, numbers take many times the room.
    let mut sequences = Vec::new();
    for (index, sequence) in trace.sequences.iter().enumerate() {
        let mut value = serde_json::to_value(sequence).map_err(|why| unwritten(&why))?;
        writer.take_tensors(&mut value, &format!("sequences.{index}"));
        sequences.push(value);
    }
    if let Value::Object(skeleton) = &mut skeleton {
        skeleton.insert("sequences".to_owned(), Value::Array(sequences));
    }
    Ok(writer.file(&skeleton))
}

struct Writer<'a> {
    trace: &'a Trace,
    header: Map<String, Value>,
    data: Vec<u8>,
}

impl Writer<'_> {
    /// Puts a reference in the place of every list of numbers, and writes the list down.
    fn take_tensors(&mut self, value: &mut Value, path: &str) {
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match value {
            Value::Array(list) if !list.is_empty() && list.iter().all(|item| item.is_number() || item.is_null()) => {
                self.write(path, list);
                *value = serde_json::json!({ "tensor": path });
            }
            Value::Array(list) => {
                list.iter_mut()
                    .enumerate()
                    .for_each(|(index, item)| self.take_tensors(item, &below(&index.to_string())));
            }
            Value::Object(object) => {
                object.iter_mut().for_each(|(name, item)| self.take_tensors(item, &below(name)));
            }
            _ => {}
        }
    }

    fn write(&mut self, name: &str, list: &[Value]) {
        let begin = self.data.len();
        // Ids, ranks and spans are whole; every other number was an F32.
        let whole = list.iter().all(Value::is_u64);
        for value in list {
            match whole {
                true => self.data.extend((value.as_u64().unwrap_or_default() as u32).to_le_bytes()),
                false => self.data.extend((value.as_f64().unwrap_or(f64::NAN) as f32).to_le_bytes()),
            }
        }
        let dtype = if whole { "U32" } else { "F32" };
        let shape = shape(self.trace, name, list.len());
        let offsets = [begin, self.data.len()];
        let entry = serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": offsets });
        self.header.insert(name.to_owned(), entry);
    }

    fn file(mut self, skeleton: &Value) -> Vec<u8> {
        let (version, skeleton) = (VERSION.to_string(), skeleton.to_string());
        let metadata = serde_json::json!({ "format": FORMAT, "version": version, "trace": skeleton });
        self.header.insert("__metadata__".to_owned(), metadata);
        let mut header = Value::Object(self.header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header);
        file.extend(self.data);
        file
    }
}

/// The lengths of an array's axes, by the way to it in a sequence; one axis where they do not make up its length.
fn shape(trace: &Trace, path: &str, length: usize) -> Vec<usize> {
    let lengths = || {
        let mut steps = path.strip_prefix("sequences.")?.split('.');
        let sequence = trace.sequences.get(steps.next()?.parse::<usize>().ok()?)?;
        let axes = axes(sequence, steps)?;
        let sizes = Sizes { some: 1, ..sequence.sizes(&trace.model) };
        let sizes = Sizes { some: length.checked_div(sizes.over(axes))?, ..sizes };
        Some(axes.iter().map(|axis| sizes.of(*axis)).collect::<Vec<usize>>())
    };
    lengths().filter(|lengths| lengths.iter().product::<usize>() == length).unwrap_or_else(|| vec![length])
}

/// The axes of the field at the end of a way through records.
fn axes(record: &dyn Record, mut steps: Split<'_, char>) -> Option<&'static [Axis]> {
    let name = steps.next()?;
    let (field, value) = record.fields().into_iter().find(|(field, _)| field.name == name)?;
    match value {
        fields::Value::Record(inner) => axes(inner, steps),
        fields::Value::Records(list) => axes(*list.get(steps.next()?.parse::<usize>().ok()?)?, steps),
        _ => Some(field.axes),
    }
}

/// What a header says of one tensor, or of the file.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    dtype: Option<Cow<'a, str>>,
    data_offsets: Option<[usize; 2]>,
    #[serde(borrow)]
    trace: Option<Cow<'a, str>>,
}

/// A file's tensors by name.
pub(super) struct Tensors<'a> {
    entries: BTreeMap<Cow<'a, str>, Entry<'a>>,
    data: &'a [u8],
    /// Those that were asked for: each belongs to one place.
    taken: RefCell<(BTreeSet<String>, usize)>,
}

/// A tensor's numbers.
pub(super) enum Numbers<'a> {
    Whole(&'a [[u8; 4]]),
    Float(&'a [[u8; 4]]),
}

impl<'a> Tensors<'a> {
    /// Reads a file's header.
    pub fn of(bytes: &'a [u8]) -> Result<Tensors<'a>, String> {
        let torn = || "it is neither JSON nor safetensors".to_owned();
        let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(torn)?;
        let length = u64::from_le_bytes(*length);
        if length > LONGEST_HEADER.min(rest.len() as u64) {
            return Err(torn());
        }
        let (header, data) = rest.split_at_checked(length as usize).ok_or_else(torn)?;
        let header = std::str::from_utf8(header).map_err(|_| torn())?;
        if !header.trim_start().starts_with('{') {
            return Err(torn());
        }
        let entries: BTreeMap<Cow<'a, str>, Entry<'a>> = serde_json::from_str(header)
            .map_err(|why| format!("its header is damaged ({})", in_words(&why.to_string())))?;
        let tensors = Tensors { entries, data, taken: RefCell::default() };
        if tensors.skeleton().is_empty() {
            return Err("its metadata has no \"trace\"".to_owned());
        }
        Ok(tensors)
    }

    /// The JSON in the metadata.
    pub fn skeleton(&self) -> &str {
        self.entries.get("__metadata__").and_then(|metadata| metadata.trace.as_deref()).unwrap_or_default()
    }

    /// Hands a tensor over. Tensors do not share bytes, and each has one place in a trace: however many a file claims,
    /// they hold no more numbers than the file has room for.
    pub fn take(&self, name: &str) -> Result<Numbers<'a>, String> {
        let entry = self.entries.get(name).ok_or_else(|| format!("the file has no tensor \"{name}\""))?;
        let damaged = |why: &str| format!("tensor \"{name}\" {why}");
        let Some([begin, end]) = entry.data_offsets else { return Err(damaged("has no data_offsets")) };
        let room = self.data.len();
        let numbers = self.data.get(begin..end).map(<[u8]>::as_chunks::<4>);
        let Some((numbers, [])) = numbers else {
            return Err(damaged(&format!(
                "is said to lie at bytes {begin} to {end} of {room}: the file is cut short or damaged"
            )));
        };
        let mut taken = self.taken.borrow_mut();
        taken.1 += end - begin;
        if !taken.0.insert(name.to_owned()) {
            return Err(damaged("has more than one place in the trace"));
        }
        if taken.1 > room {
            return Err(damaged(&format!("shares bytes with others: together they claim {} of {room}", taken.1)));
        }
        match entry.dtype.as_deref() {
            Some("U32") => Ok(Numbers::Whole(numbers)),
            Some("F32") => Ok(Numbers::Float(numbers)),
            other => Err(damaged(&format!("is of type {}, expected F32 or U32", other.unwrap_or("none")))),
        }
    }
}
