//! The trace as safetensors: lists of numbers as tensors, the rest as JSON in the metadata.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{FORMAT, VERSION, Written, unwritten};
use crate::fields::{Field, Record, Sizes, Value as Held};
use crate::wording::in_words;
use crate::{Result, Trace};

/// Longest header of a safetensors file that is read: the format's own limit.
const LONGEST_HEADER: u64 = 100_000_000;

/// A trace as a safetensors file.
///
/// # Errors
/// `OutOfMemory`, which is all that can go wrong.
pub fn to_safetensors(trace: &Trace) -> Result<Vec<u8>> {
    let mut writer = Writer { header: Map::new(), data: Vec::new() };
    let bare = Trace { model: trace.model.clone(), ablate: trace.ablate.clone(), ..Trace::default() };
    let mut skeleton = json(Written::of(&bare))?;
    if let Some(patching) = &trace.patching {
        // Its arrays belong to no sequence: they have one axis.
        skeleton["patching"] = writer.take_tensors(patching, "patching", None)?;
    }
    let sequences = trace.sequences.iter().enumerate().map(|(index, sequence)| {
        writer.take_tensors(sequence, &format!("sequences.{index}"), Some(&sequence.sizes(&trace.model)))
    });
    skeleton["sequences"] = Value::Array(sequences.collect::<Result<_>>()?);
    Ok(writer.file(&skeleton))
}

fn json(value: impl Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|why| unwritten(&why))
}

struct Writer {
    header: Map<String, Value>,
    data: Vec<u8>,
}

impl Writer {
    /// A record as JSON, with a reference in the place of every list of numbers, which is written down.
    fn take_tensors(&mut self, record: &dyn Record, path: &str, sizes: Option<&Sizes>) -> Result<Value> {
        let mut fields = record.fields();
        // The order of names, in which tensors have always lain.
        fields.sort_unstable_by_key(|(field, _)| field.name);
        let mut object = Map::new();
        for (field, held) in fields {
            let path = format!("{path}.{}", field.name);
            // What is not finite is not a number, as in JSON.
            let float = |number: &f32| if number.is_finite() { *number } else { f32::NAN }.to_le_bytes();
            let value = match held {
                Held::Missing => continue,
                Held::Floats(list) if !list.is_empty() => {
                    self.write(&path, "F32", list.iter().map(float), &shape(&field, list.len(), sizes))
                }
                Held::Whole(list) if !list.is_empty() => self.write(
                    &path,
                    "U32",
                    list.iter().map(|number| number.to_le_bytes()),
                    &shape(&field, list.len(), sizes),
                ),
                Held::Record(inner) => self.take_tensors(inner, &path, sizes)?,
                Held::Records(list) => {
                    let list = list.iter().enumerate();
                    let list = list.map(|(index, inner)| self.take_tensors(*inner, &format!("{path}.{index}"), sizes));
                    Value::Array(list.collect::<Result<_>>()?)
                }
                held => json(held)?,
            };
            object.insert(field.name.to_owned(), value);
        }
        Ok(Value::Object(object))
    }

    /// Writes numbers down; returns the reference to them.
    fn write(&mut self, name: &str, dtype: &str, numbers: impl Iterator<Item = [u8; 4]>, shape: &[usize]) -> Value {
        let begin = self.data.len();
        self.data.extend(numbers.flatten());
        let offsets = [begin, self.data.len()];
        let entry = serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": offsets });
        self.header.insert(name.to_owned(), entry);
        serde_json::json!({ "tensor": name })
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

/// The lengths of an array's axes; one axis where they do not make up its length.
fn shape(field: &Field, length: usize, sizes: Option<&Sizes>) -> Vec<usize> {
    let lengths = sizes.map(|sizes| {
        let some = length.checked_div(Sizes { some: 1, ..*sizes }.over(field.axes)).unwrap_or(0);
        let sizes = Sizes { some, ..*sizes };
        field.axes.iter().map(|axis| sizes.of(*axis)).collect::<Vec<usize>>()
    });
    lengths.filter(|lengths| lengths.iter().product::<usize>() == length).unwrap_or_else(|| vec![length])
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
