//! A whole trace as a file: JSON that people and programs read, or safetensors, which Python has as arrays at once.
//!
//! JSON: `{ "format": "residual-stream trace", "version": 1, ...trace }`, the fields of [`Trace`], arrays as lists; a number
//! that is not finite is null. Safetensors: every list of numbers is a tensor, named by the way to it
//! (`sequences.0.attn_norm`), with its axes; the rest is the same JSON in the metadata under `trace`, each list's place
//! taken by `{ "tensor": name }`. docs/traces.md has the schema.
//!
//! Files are often somebody else's: what is read is held to [`Trace::check`], and takes no more memory than is said here.

mod encoding;
mod lenient;
mod safetensors;

use std::io;

use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use serde_json::ser::{Formatter, Serializer};

pub use encoding::text;
pub use safetensors::to_safetensors;

use super::Trace;
use crate::{Code, Error, Result};
use lenient::Reading;
use safetensors::Tensors;

/// What a file says it is.
pub const FORMAT: &str = "residual-stream trace";
/// The version of the schema that is written, and the highest that is read.
pub const VERSION: u64 = 1;
/// Largest file that is read, in bytes: with what comes of it, it must fit into the 4 GiB that WebAssembly has.
pub const LARGEST: usize = 1 << 30;
/// Most memory that a file's numbers and words may take, in bytes.
const MOST_MEMORY: usize = 1 << 30;

/// A trace as a file says it.
#[derive(Serialize)]
struct Written<'a> {
    format: &'static str,
    version: u64,
    #[serde(flatten)]
    trace: &'a Trace,
}

impl Written<'_> {
    fn of(trace: &Trace) -> Written<'_> {
        Written { format: FORMAT, version: VERSION, trace }
    }
}

/// JSON that may stand inside a script element of a page: no text in it can end the element or begin a comment.
struct Inline;

impl Formatter for Inline {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, escape)) = rest.char_indices().find_map(|(at, c)| Some((at, inline_escape(c)?))) {
            let (before, from) = rest.split_at(at);
            writer.write_all(before.as_bytes())?;
            writer.write_all(escape.as_bytes())?;
            rest = from.get(from.chars().next().map_or(0, char::len_utf8)..).unwrap_or_default();
        }
        writer.write_all(rest.as_bytes())
    }
}

/// How JSON writes a character that means something to a page's own language: `<` to HTML, two line ends to old JavaScript.
fn inline_escape(c: char) -> Option<&'static str> {
    match c {
        '<' => Some("\\u003c"),
        '\u{2028}' => Some("\\u2028"),
        '\u{2029}' => Some("\\u2029"),
        _ => None,
    }
}

/// A trace as JSON.
///
/// # Errors
/// `OutOfMemory`, which is all that can go wrong.
pub fn to_json(trace: &Trace) -> Result<String> {
    let mut json = Vec::new();
    let written = Written::of(trace).serialize(&mut Serializer::with_formatter(&mut json, Inline));
    written.map_err(|why| unwritten(&why))?;
    String::from_utf8(json).map_err(|why| unwritten(&why))
}

fn unwritten(why: &dyn std::fmt::Display) -> Error {
    Error::new(Code::OutOfMemory, format!("The run cannot be written: {why}"))
}

/// The trace in a file of either kind.
///
/// # Errors
/// `BadArgument`: no trace, one of a later version, or one whose arrays do not fit each other. `OutOfMemory`: too large.
pub fn read(bytes: &[u8]) -> Result<Trace> {
    read_within(bytes, MOST_MEMORY)
}

fn read_within(bytes: &[u8], memory: usize) -> Result<Trace> {
    check_size(bytes.len())?;
    let text = text(bytes);
    let is_json = |text: &str| text.trim_start().starts_with('{');
    let trace = match &text {
        Ok(text) if is_json(text) => from_json(text, Reading::new(memory, None))?,
        Err(why) if bytes.trim_ascii_start().starts_with(b"{") => return Err(bad(why)),
        _ => {
            let tensors = Tensors::of(bytes).map_err(|why| bad(&why))?;
            from_json(tensors.skeleton(), Reading::new(memory, Some(&tensors)))?
        }
    };
    trace.check().map_err(|why| bad(&why))?;
    Ok(trace)
}

/// Whether a file of so many bytes is read.
///
/// # Errors
/// `OutOfMemory`, with what to do.
pub fn check_size(bytes: usize) -> Result<()> {
    if bytes <= LARGEST { Ok(()) } else { Err(too_large(&format!("{:.1} GB", bytes as f64 / 1e9))) }
}

fn too_large(size: &str) -> Error {
    let message = format!(
        "This saved run is too large ({size}; files up to {:.1} GB are read): trace fewer texts at a time, or record less of \
         them; as safetensors, a run takes about half of its JSON.",
        LARGEST as f64 / 1e9
    );
    Error::new(Code::OutOfMemory, message)
}

fn from_json(text: &str, reading: Reading) -> Result<Trace> {
    /// What a file says it is. All else is passed over.
    #[derive(Deserialize)]
    struct Header {
        format: Option<String>,
        version: Option<f64>,
    }
    let damaged = |why: &serde_json::Error| bad(&format!("its JSON breaks off or is damaged ({why})"));
    let header: Header = match serde_json::from_str(text) {
        Ok(header) => header,
        Err(why) if matches!(why.classify(), Category::Data) => Header { format: None, version: None },
        Err(why) => return Err(damaged(&why)),
    };
    check_header(header.format.as_deref(), header.version).map_err(|why| bad(&why))?;
    let mut json = serde_json::Deserializer::from_str(text);
    reading.trace(&mut json).map_err(|why| match (reading.is_full(), why.classify()) {
        (true, _) => too_large("more numbers and words than fit into memory"),
        (_, Category::Data) => bad(&reading.explain(&why)),
        _ => damaged(&why),
    })
}

/// Whether this is a trace, of a version that is known.
///
/// # Errors
/// What else it is.
pub fn check_header(format: Option<&str>, version: Option<f64>) -> Result<(), String> {
    if format != Some(FORMAT) {
        return Err(format!("it does not say \"format\": \"{FORMAT}\""));
    }
    match version {
        Some(version) if version <= VERSION as f64 => Ok(()),
        Some(version) => Err(format!(
            "it is of version {version}, and this program reads up to {VERSION}: reload the page for a newer one"
        )),
        None => Err("it says no version".to_owned()),
    }
}

fn bad(why: &str) -> Error {
    Error::new(Code::BadArgument, format!("This file is no saved run: {why}."))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::{Ablation, AblationMode, Component, Pattern};
    use crate::{Lens, ModelInfo, Next, Sequence};

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
        let ablate = vec![Ablation { layer: 0, part: Component::Head, head: Some(1), how: AblationMode::Mean }];
        Trace { model, sequences: vec![Sequence { baseline, ..sequence }], ablate, patching: None }
    }

    #[test]
    fn a_trace_comes_back_as_it_was_from_either_kind_of_file() {
        let trace = trace();
        for (kind, bytes) in
            [("JSON", to_json(&trace).unwrap().into_bytes()), ("safetensors", to_safetensors(&trace).unwrap())]
        {
            assert_eq!(read(&bytes).unwrap(), trace, "file/mod.rs: {kind}");
        }
    }

    #[test]
    fn safetensors_has_every_array_with_its_axes() {
        let file = to_safetensors(&trace()).unwrap();
        let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        assert_eq!(length % 8, 0, "file/mod.rs: tensors must begin at a multiple of 8");
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
        assert_eq!(header["sequences.0.mlp_norm"]["dtype"], "F32", "file/mod.rs: whole F32s are F32s still");
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
            assert_eq!(error.code, Code::BadArgument, "file/mod.rs: cut at {end}: {error}");
        }
        let mut huge = whole.clone();
        huge[..8].fill(0xff);
        assert!(read(&huge).is_err(), "file/mod.rs: a header longer than the file");
    }

    #[test]
    fn nothing_in_a_run_is_markup() {
        let attacks = [
            "a</script><script>window.hit=1</script><img src=x onerror=window.hit=2>",
            "<!--<script> a",
            "]]><![CDATA[ <b>",
            "line\u{2028}end\u{2029}\n\\u003c",
        ];
        for attack in attacks {
            let mut trace = trace();
            trace.model.source = attack.into();
            trace.sequences[0].text = Some(attack.into());
            trace.sequences[0].tokens[1] = attack.into();
            let json = to_json(&trace).unwrap();
            assert!(!json.contains(['<', '\u{2028}', '\u{2029}']), "file/mod.rs: {json}");
            assert_eq!(read(json.as_bytes()).unwrap(), trace, "file/mod.rs: {attack}");
        }
    }

    #[test]
    fn marks_and_encodings_of_windows_are_read() {
        let json = to_json(&trace()).unwrap();
        let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain(json.encode_utf16().flat_map(u16::to_le_bytes)).collect();
        for bytes in [format!("\u{feff}{json}").into_bytes(), utf16, format!("\r\n {json}\n").into_bytes()] {
            assert_eq!(read(&bytes).unwrap(), trace());
        }
        let mut torn = json.into_bytes();
        torn[30] = 0xff;
        assert!(read(&torn).unwrap_err().message.contains("byte 30"));
    }

    #[test]
    fn what_would_not_fit_into_memory_is_refused_by_name() {
        let json = to_json(&trace()).unwrap();
        for (file, memory) in [(json.as_bytes(), 2000), (&to_safetensors(&trace()).unwrap()[..], 2000)] {
            let error = read_within(file, memory).unwrap_err();
            assert_eq!(error.code, Code::OutOfMemory, "file/mod.rs: {error}");
            assert!(error.message.contains("safetensors"), "file/mod.rs: {error}");
            assert!(read_within(file, 20_000).is_ok());
        }
        assert_eq!(check_size(LARGEST + 1).unwrap_err().code, Code::OutOfMemory);
    }

    #[test]
    fn a_tensor_has_one_place_and_bytes_of_its_own() {
        let whole = to_safetensors(&trace()).unwrap();
        let length = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
        let header: Value = serde_json::from_slice(&whole[8..8 + length]).unwrap();
        let with = |change: &dyn Fn(&mut Value)| {
            let mut header = header.clone();
            change(&mut header);
            let header = header.to_string().into_bytes();
            read(&[&(header.len() as u64).to_le_bytes()[..], &header, &whole[8 + length..]].concat())
        };
        assert_eq!(with(&|_| {}).unwrap(), trace());
        let skeleton = |header: &mut Value, change: &dyn Fn(&mut Value)| {
            let mut skeleton: Value = serde_json::from_str(header["__metadata__"]["trace"].as_str().unwrap()).unwrap();
            change(&mut skeleton);
            header["__metadata__"]["trace"] = skeleton.to_string().into();
        };
        let again = with(&|header| {
            skeleton(header, &|skeleton| {
                let first = skeleton["sequences"][0].clone();
                *skeleton["sequences"].as_array_mut().unwrap() = vec![first; 600];
            });
        });
        let error = again.unwrap_err();
        assert!(error.message.contains("sequences[1]") && error.message.contains("more than one place"), "{error}");
        let shared = with(&|header| {
            let all = header["sequences.0.baseline.resid_mid_norm"]["data_offsets"].clone();
            for name in ["attn_norm", "mlp_norm", "resid_pre_norm", "resid_mid_norm", "resid_post_norm", "attn_cos"] {
                header[format!("sequences.0.{name}")]["data_offsets"] = serde_json::json!([0, all[1]]);
            }
        });
        assert!(shared.unwrap_err().message.contains("shares bytes"));
        let beyond = with(&|header| header["sequences.0.ids"]["data_offsets"] = serde_json::json!([0, 1u64 << 40]));
        assert!(beyond.is_err());
        let named = with(&|header| header["sequences.0.ids"]["dtype"] = "F64".into());
        assert!(named.unwrap_err().message.contains("sequences.0.ids\" is of type F64, expected F32 or U32"));
        let missing = with(&|header| drop(header.as_object_mut().unwrap().remove("sequences.0.ids")));
        assert!(missing.unwrap_err().message.contains("no tensor \"sequences.0.ids\""));
    }

    proptest! {
        #[test]
        fn every_f32_comes_back_from_json_bit_by_bit(bits in prop::collection::vec(any::<u32>(), 1..200)) {
            let mut trace = trace();
            let values: Vec<f32> = bits.iter().map(|bits| f32::from_bits(*bits)).filter(|value| value.is_finite()).collect();
            let next = trace.sequences[0].next.as_mut().unwrap();
            (next.ids, next.tokens) = (vec![1; values.len()], Vec::new());
            next.probs = values.clone();
            let json = to_json(&trace).unwrap();
            let back = read(json.as_bytes()).unwrap();
            let found = &back.sequences[0].next.as_ref().unwrap().probs;
            let same = found.iter().zip(&values).all(|(a, b)| a.to_bits() == b.to_bits());
            prop_assert!(same && found.len() == values.len(), "file/mod.rs: {found:?} for {values:?}");
        }
    }
}
