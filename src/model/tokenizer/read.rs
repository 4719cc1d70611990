//! `tokenizer.json`: which of its parts this program knows. All others are refused by name, never passed over:
//! a part left out would give other tokens.
//! Must never know: texts, tokens found in them.

use serde::Deserialize;
use serde_json::Value;

use super::added::{Added, AddedTokens};
use super::bpe::{Bpe, Unknown};
use super::hash::Map;
use super::pieces::{Cut, WORDS};
use super::{After, Join, Tokenizer};

#[derive(Deserialize)]
struct File {
    version: Option<String>,
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
    model: Model,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    /// "BPE", where it is said at all.
    #[serde(rename = "type")]
    _kind: Option<String>,
    dropout: Option<f32>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    fuse_unk: Option<bool>,
    byte_fallback: Option<bool>,
    ignore_merges: Option<bool>,
    vocab: Map<String, u32>,
    merges: Vec<Merge>,
}

/// A pair, or (in older files) both parts in one text, with a space between them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Line(String),
}

/// Only the model's kind: what a file of another one is told apart by.
#[derive(Deserialize)]
struct Kind {
    model: ModelKind,
}

#[derive(Deserialize)]
struct ModelKind {
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// Reads a `tokenizer.json`.
///
/// # Errors
/// What is wrong with it, or which of its parts is not known.
pub fn tokenizer(bytes: &[u8]) -> Result<Tokenizer, String> {
    if let Ok(Kind { model: ModelKind { kind: Some(kind) } }) = serde_json::from_slice(bytes)
        && kind != "BPE"
    {
        return Err(format!("its model is of type \"{kind}\"; only byte-level BPE, as GPT-2 has it, can be read"));
    }
    let file: File = serde_json::from_slice(bytes).map_err(|why| why.to_string())?;
    if let Some(version) = file.version.filter(|version| version != "1.0") {
        return Err(format!("version is \"{version}\"; expected \"1.0\""));
    }
    if let Some(part) = Part::all("normalizer", "normalizers", &file.normalizer)?.first() {
        return Err(part.unknown());
    }
    let vocabulary = file.model.vocabulary()?;
    if let Some(token) = file.added_tokens.iter().find(|token| token.single_word) {
        return Err(format!("added token \"{}\": single_word is true, which is not supported", token.content));
    }
    Ok(Tokenizer {
        file: "tokenizer.json",
        added: AddedTokens::new(file.added_tokens, &vocabulary),
        vocabulary,
        cuts: cuts(&file.pre_tokenizer)?,
        after: after(&file.post_processor)?,
        join: join(&file.decoder)?,
    })
}

impl Model {
    fn vocabulary(self) -> Result<Bpe, String> {
        let refused = [
            ("dropout", self.dropout.is_some_and(|dropout| dropout != 0.0)),
            ("continuing_subword_prefix", self.continuing_subword_prefix.is_some_and(|text| !text.is_empty())),
            ("end_of_word_suffix", self.end_of_word_suffix.is_some_and(|text| !text.is_empty())),
            ("byte_fallback", self.byte_fallback == Some(true)),
        ];
        if let Some((setting, _)) = refused.iter().find(|(_, is)| *is) {
            return Err(format!("model: {setting} is set, which byte-level BPE has no use for; it is not supported"));
        }
        let fuse = self.fuse_unk == Some(true);
        let unknown = self.unk_token.map(|token| Unknown { token, fuse });
        let mut merges = Vec::with_capacity(self.merges.len());
        for merge in &self.merges {
            merges.push(match merge {
                Merge::Pair(left, right) => (left.as_str(), right.as_str()),
                Merge::Line(line) if line.starts_with("#version") => continue,
                Merge::Line(line) => two_parts(line).ok_or_else(|| format!("merge \"{line}\": expected two parts"))?,
            });
        }
        Bpe::new(self.vocab, merges.into_iter(), unknown, self.ignore_merges == Some(true))
    }
}

/// The two parts of a merge in one line.
pub fn two_parts(line: &str) -> Option<(&str, &str)> {
    line.split_once(' ').filter(|(_, right)| !right.contains(' '))
}

fn cuts(value: &Value) -> Result<Vec<Cut>, String> {
    let mut parts = Part::all("pre_tokenizer", "pretokenizers", value)?;
    let bytes = parts.pop().filter(|part| part.kind == "ByteLevel");
    let bytes =
        bytes.ok_or("pre_tokenizer: expected ByteLevel as the only or last step; other kinds are not supported")?;
    let mut cuts = Vec::new();
    for part in parts {
        cuts.push(match part.kind {
            "Digits" => {
                part.knows(&["individual_digits"])?;
                Cut::Digits { individual: part.flag("individual_digits", None)? }
            }
            "Split" => {
                part.knows(&["pattern", "behavior", "invert"])?;
                let pattern =
                    part.value.get("pattern").and_then(|pattern| pattern.get("Regex")).and_then(Value::as_str);
                let behavior = part.value.get("behavior").and_then(Value::as_str);
                // All of the text matches: to keep the matches, or what is between them and the matches, is the same.
                match (pattern, behavior, part.flag("invert", None)?) {
                    (Some(WORDS), Some("Isolated"), false) | (Some(WORDS), Some("Removed"), true) => Cut::Words,
                    _ => return Err("pre_tokenizer: Split by another pattern than GPT-2's is not supported".into()),
                }
            }
            _ => return Err(part.unknown()),
        });
    }
    bytes.knows(&["add_prefix_space", "trim_offsets", "use_regex"])?;
    if bytes.flag("add_prefix_space", None)? {
        cuts.push(Cut::PrefixSpace);
    }
    if bytes.flag("use_regex", Some(true))? {
        cuts.push(Cut::Words);
    }
    Ok(cuts)
}

fn after(value: &Value) -> Result<Vec<After>, String> {
    let mut steps = Vec::new();
    for part in Part::all("post_processor", "processors", value)? {
        match part.kind {
            "ByteLevel" => {
                part.knows(&["add_prefix_space", "trim_offsets", "use_regex"])?;
                if part.flag("trim_offsets", None)? {
                    steps.push(After::Trim { prefixed: part.flag("add_prefix_space", None)? });
                }
            }
            "TemplateProcessing" => {
                part.knows(&["single", "pair", "special_tokens"])?;
                steps.push(template(part.value).ok_or("post_processor: this TemplateProcessing cannot be followed")?);
            }
            _ => return Err(part.unknown()),
        }
    }
    Ok(steps)
}

/// Tokens around a text; `None` where it does not stand there just once, or a token is not explained.
fn template(value: &serde_json::Map<String, Value>) -> Option<After> {
    let mut around = [Vec::new(), Vec::new()];
    let mut seen = 0;
    for piece in value.get("single")?.as_array()? {
        let (kind, settings) = piece.as_object()?.iter().next()?;
        let name = settings.get("id")?.as_str()?;
        match kind.as_str() {
            "Sequence" if name == "A" => seen += 1,
            "SpecialToken" => {
                let ids = value.get("special_tokens")?.get(name)?.get("ids")?.as_array()?;
                for id in ids {
                    around.get_mut(seen)?.push(u32::try_from(id.as_u64()?).ok()?);
                }
            }
            _ => return None,
        }
    }
    let [before, after] = around;
    (seen == 1).then_some(After::Template { before, after })
}

fn join(value: &Value) -> Result<Join, String> {
    match Part::all("decoder", "decoders", value)?.as_slice() {
        [] => Ok(Join::Spaced),
        [one] if one.kind == "ByteLevel" => Ok(Join::Bytes),
        [one, ..] => Err(one.unknown()),
    }
}

/// One step of the file, such as a pre-tokenizer.
struct Part<'a> {
    /// Where in the file it stands.
    place: &'static str,
    kind: &'a str,
    value: &'a serde_json::Map<String, Value>,
}

impl<'a> Part<'a> {
    /// The steps of a place: none, one, or those of a sequence.
    fn all(place: &'static str, list: &str, value: &'a Value) -> Result<Vec<Part<'a>>, String> {
        let bad = || format!("{place}: expected a type and its settings");
        let map = match value {
            Value::Null => return Ok(Vec::new()),
            Value::Object(map) => map,
            _ => return Err(bad()),
        };
        let kind = map.get("type").and_then(Value::as_str).ok_or_else(bad)?;
        if kind != "Sequence" {
            return Ok(vec![Part { place, kind, value: map }]);
        }
        let mut parts = Vec::new();
        for value in map.get(list).and_then(Value::as_array).ok_or_else(bad)? {
            parts.extend(Part::all(place, list, value)?);
        }
        Ok(parts)
    }

    fn unknown(&self) -> String {
        format!("{}: \"{}\" is not supported", self.place, self.kind)
    }

    /// Refuses settings that might mean something else.
    fn knows(&self, settings: &[&str]) -> Result<(), String> {
        match self.value.keys().find(|key| *key != "type" && !settings.contains(&key.as_str())) {
            Some(key) => Err(format!("{}: {} has a setting \"{key}\", which is not known", self.place, self.kind)),
            None => Ok(()),
        }
    }

    fn flag(&self, key: &str, default: Option<bool>) -> Result<bool, String> {
        let found = self.value.get(key);
        match (found.and_then(Value::as_bool), default) {
            (Some(flag), _) => Ok(flag),
            (None, Some(default)) if found.is_none() => Ok(default),
            _ => Err(format!("{}: {} needs {key}, true or false", self.place, self.kind)),
        }
    }
}
