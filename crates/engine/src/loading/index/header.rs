//! The header of a safetensors file: 8 bytes of length, JSON of that length, then the tensors' bytes.
//! Format: <https://github.com/huggingface/safetensors#format>. A file is hostile until this has read it.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::loading::WeightsError;

/// The format's own limit on the header.
pub const LARGEST_HEADER: u64 = 100_000_000;

/// Types of elements that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// IEEE single precision, 4 bytes.
    F32,
    /// IEEE half precision, 2 bytes.
    F16,
    /// The upper half of a single.
    BF16,
}

impl Dtype {
    /// How many bytes an element takes.
    pub fn size(self) -> usize {
        match self {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::BF16 => 2,
        }
    }
}

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    /// Name as in the file.
    pub name: String,
    /// Type as the file names it.
    pub dtype_name: String,
    /// How many elements there are along each axis, outermost first.
    pub shape: Vec<usize>,
    /// First byte, from the start of the file.
    pub begin: u64,
    /// Byte after the last, from the start of the file.
    pub end: u64,
}

impl TensorInfo {
    /// The type, if it is one that is read.
    pub fn dtype(&self) -> Option<Dtype> {
        match self.dtype_name.as_str() {
            "F32" => Some(Dtype::F32),
            "F16" => Some(Dtype::F16),
            "BF16" => Some(Dtype::BF16),
            _ => None,
        }
    }
}

/// All tensors of a file, in the order of their bytes: contiguous, and without overlap.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// All tensors of the file, in the order of their bytes.
    pub tensors: Vec<TensorInfo>,
    /// Bytes of the whole file, by the header's own account.
    pub file_size: u64,
}

impl Header {
    /// Bytes of JSON that the file's first 8 bytes announce.
    ///
    /// # Errors
    /// `BadSafetensors` above the format's limit: most often the file is something else, a web page for instance.
    pub fn length(file: &str, first: [u8; 8]) -> Result<usize, WeightsError> {
        let length = u64::from_le_bytes(first);
        if !(2..=LARGEST_HEADER).contains(&length) {
            return Err(WeightsError::BadSafetensors {
                file: file.into(),
                why: format!(
                    "its first 8 bytes announce a header of {length} bytes (2 to {LARGEST_HEADER} are possible)"
                ),
            });
        }
        Ok(length as usize)
    }

    /// Reads the header's JSON.
    ///
    /// # Errors
    /// `BadSafetensors` for anything but JSON of the right form, tensors that overlap, leave holes or whose bytes do
    /// not fit their shape, and names that stand twice.
    pub fn parse(file: &str, json: &[u8]) -> Result<Header, WeightsError> {
        let bad = |why: String| WeightsError::BadSafetensors { file: file.into(), why };
        let entries = entries(json).map_err(|why| bad(format!("its header is damaged ({why})")))?;
        let data = 8 + json.len() as u64;
        let mut tensors = Vec::new();
        for (name, value) in entries {
            let why = |what: &str| bad(format!("tensor \"{name}\": {what}"));
            let offsets = numbers(&value, "data_offsets").ok_or_else(|| why("no data_offsets"))?;
            let shape = numbers(&value, "shape").ok_or_else(|| why("no shape"))?;
            let dtype = value.get("dtype").and_then(Value::as_str).ok_or_else(|| why("no dtype"))?;
            let &[begin, end] = offsets.as_slice() else { return Err(why("data_offsets are not a pair")) };
            let size = match dtype {
                "BOOL" | "U8" | "I8" | "F8_E4M3" | "F8_E5M2" => Some(1),
                "I16" | "U16" | "F16" | "BF16" => Some(2),
                "I32" | "U32" | "F32" => Some(4),
                "I64" | "U64" | "F64" => Some(8),
                _ => None, // of no use here; its bytes are skipped
            };
            let bytes = end.checked_sub(begin).ok_or_else(|| why("data_offsets run backwards"))?;
            let expected = size.map(|size: u64| shape.iter().try_fold(size, |n, &axis| n.checked_mul(axis)));
            if let Some(expected) = expected
                && expected != Some(bytes)
            {
                return Err(why(&format!("{bytes} bytes do not make a {dtype} of shape {shape:?}")));
            }
            let at = |offset: u64| data.checked_add(offset).ok_or_else(|| why("data_offsets are out of range"));
            let shape = shape
                .iter()
                .map(|&axis| usize::try_from(axis))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|_| why("its shape is out of range"))?;
            tensors.push(TensorInfo { dtype_name: dtype.into(), shape, begin: at(begin)?, end: at(end)?, name });
        }
        tensors.sort_by_key(|tensor| (tensor.begin, tensor.end));
        let mut file_size = data;
        for tensor in &tensors {
            if tensor.begin != file_size {
                let relation = if tensor.begin < file_size { "overlap" } else { "leave a hole" };
                return Err(bad(format!("tensor \"{}\" and the one before it {relation}", tensor.name)));
            }
            file_size = tensor.end;
        }
        Ok(Header { tensors, file_size })
    }
}

/// A tensor's name, and what is said of it.
type Named = (String, Map<String, Value>);

/// The tensors in file order, each with what is said of it. Unlike a map, this sees a name that stands twice: programs
/// differ in which of the two they take.
fn entries(json: &[u8]) -> Result<Vec<Named>, serde_json::Error> {
    struct Entries;
    impl<'de> Visitor<'de> for Entries {
        type Value = Vec<Named>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("an object of tensors")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut seen = HashSet::new();
            let mut list = Vec::new();
            while let Some(name) = map.next_key::<String>()? {
                if !seen.insert(name.clone()) {
                    return Err(A::Error::custom(format!("the name \"{name}\" stands twice")));
                }
                if name == "__metadata__" {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
                let entry = map.next_value::<Entry>();
                let Entry(entry) = entry.map_err(|why| A::Error::custom(format!("tensor \"{name}\": {why}")))?;
                list.push((name, entry));
            }
            Ok(list)
        }
    }
    let mut reader = serde_json::Deserializer::from_slice(json);
    let list = reader.deserialize_map(Entries)?;
    reader.end()?; // spaces may follow, nothing else
    Ok(list)
}

/// What is said of one tensor.
struct Entry(Map<String, Value>);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Entry, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object with dtype, shape and data_offsets")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
                let mut members = Map::new();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    if members.contains_key(&key) {
                        return Err(A::Error::custom(format!("{key} stands twice")));
                    }
                    members.insert(key, value);
                }
                Ok(Entry(members))
            }
        }
        from.deserialize_map(Members)
    }
}

fn numbers(value: &Map<String, Value>, key: &str) -> Option<Vec<u64>> {
    value.get(key)?.as_array()?.iter().map(Value::as_u64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(json: &str) -> String {
        Header::parse("m.safetensors", json.as_bytes()).expect_err(json).to_string()
    }

    #[test]
    fn tensors_come_in_the_order_of_their_bytes() {
        let json = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F16","shape":[2,3],"data_offsets":[8,20]},
            "a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"s":{"dtype":"Q4","shape":[9],"data_offsets":[20,25]}}  "#;
        let header = Header::parse("m.safetensors", json.as_bytes()).unwrap();
        let names: Vec<_> = header.tensors.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "s"]);
        assert_eq!(header.file_size, 8 + json.len() as u64 + 25);
        assert_eq!(header.tensors[1].begin, 8 + json.len() as u64 + 8);
    }

    #[test]
    fn damage_is_named() {
        let tensor = |shape: &str, begin: &str, end: &str| {
            format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
        };
        let one = tensor("[2]", "0", "8");
        for (json, part) in [
            ("<html>".to_string(), "damaged"),
            (format!(r#"{{"a":{one}}} x"#), "damaged"),
            (format!(r#"{{"a":{one},"a":{one}}}"#), "\"a\" stands twice"),
            (format!(r#"{{"a":{one},"b":{}}}"#, tensor("[2]", "4", "12")), "overlap"),
            (format!(r#"{{"a":{one},"b":{}}}"#, tensor("[2]", "12", "20")), "hole"),
            (format!(r#"{{"a":{}}}"#, tensor("[3]", "0", "8")), "8 bytes do not make"),
            (format!(r#"{{"a":{}}}"#, tensor("[2]", "8", "0")), "backwards"),
            (format!(r#"{{"a":{}}}"#, tensor("[4294967296,4294967296]", "0", "8")), "do not make"),
            (r#"{"a":{"dtype":"F32","shape":[2]}}"#.into(), "no data_offsets"),
            (r#"{"a":{"shape":[2],"data_offsets":[0,8]}}"#.into(), "no dtype"),
            (r#"{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#.into(), "no shape"),
            (r#"{"a":3}"#.into(), "tensor \"a\": invalid type"),
            (
                r#"{"a":{"dtype":"F32","shape":[2],"shape":[2,1],"data_offsets":[0,8]}}"#.into(),
                "tensor \"a\": shape stands twice",
            ),
        ] {
            assert!(why(&json).contains(part), "header.rs: {json} gave {:?}", why(&json));
        }
        assert!(Header::length("m", *b"<!doctyp").is_err());
        assert!(Header::length("m", 1u64.to_le_bytes()).is_err());
    }

    #[test]
    fn no_bytes_make_the_parser_panic() {
        use proptest::prelude::*;
        proptest!(|(bytes in proptest::collection::vec(any::<u8>(), 0..200))| {
            let _ = Header::parse("m", &bytes);
        });
        let seed = br#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F16","shape":[],"data_offsets":[8,10]}}"#;
        proptest!(|(at in 0..seed.len(), byte in any::<u8>())| {
            let mut bytes = seed.to_vec();
            bytes[at] = byte;
            if let Ok(header) = Header::parse("m", &bytes) {
                prop_assert!(header.tensors.windows(2).all(|pair| pair[0].end == pair[1].begin), "{header:?}");
            }
        });
    }
}
