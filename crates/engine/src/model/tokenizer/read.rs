//! `tokenizer.json`: which of its parts this program follows. All others are refused by name, never passed over: a
//! part left out would give other tokens, or tokens whose place in the text is not known.
//! Must never know: texts, tokens found in them.

use serde::Deserialize;
use serde_json::{Value, json};
use tokenizers::models::bpe::Merges;
use tokenizers::pipeline::{PipelinePreTokenizer, PipelineToken};

use super::added::Added;
use super::bytes::to_char;
use super::vocabulary::{BpeSettings, Ids, Vocabulary};

/// GPT-2's pattern, as files name it that keep it apart from the byte level.
const WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// What a `tokenizer.json` says, checked.
pub struct TokenizerParts {
    /// Tokens with their ids, and the merges in order.
    pub vocabulary: Vocabulary,
    /// Tokens that stand beside the vocabulary.
    pub added: Vec<Added>,
    /// How a text is cut.
    pub cuts: PipelinePreTokenizer,
    /// A space goes before every stretch of text that does not begin with one.
    pub prefix: bool,
    /// What happens to the tokens then.
    pub after: After,
    /// Whether tokens are joined by the bytes that they stand for; else as they are written, with spaces.
    pub by_bytes: bool,
}

/// What happens to the tokens of a text once they are found.
#[derive(Default)]
pub struct After {
    /// Spans lose the white space at both ends; not the space that was put before the text, where this says so.
    pub trim: Option<bool>,
    /// Tokens before the text, such as one for its beginning.
    pub before: Vec<u32>,
    /// Ids that are put after every text.
    pub after: Vec<u32>,
}

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
    /// Stated from version 2.0 on; before, ByteLevel among the pre-tokenizers said it.
    byte_level: Option<bool>,
    vocab: Ids,
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
struct OnlyKind {
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
/// What is wrong with it, or which of its parts is not followed.
pub fn parts(bytes: &[u8]) -> Result<TokenizerParts, String> {
    let file: File = serde_json::from_slice(bytes).map_err(|why| match serde_json::from_slice(bytes) {
        Ok(OnlyKind { model: ModelKind { kind: Some(kind) } }) if kind != "BPE" => other_model(&kind),
        _ => why.to_string(),
    })?;
    if let Some(kind) = file.model._kind.as_ref().filter(|kind| *kind != "BPE") {
        return Err(other_model(kind));
    }
    let version = file.version.as_deref().unwrap_or("1.0");
    if !["1.0", "2.0"].contains(&version) {
        return Err(format!("version is \"{version}\"; expected \"1.0\" or \"2.0\""));
    }
    if let Some(part) = Step::all("normalizer", "normalizers", &file.normalizer)?.first() {
        let why = "it changes the text, so that tokens have no place in it";
        return Err(format!("{}: {why}", part.unknown()));
    }
    let (cuts, prefix) = cuts(&file.pre_tokenizer, file.model.byte_level == Some(true))?;
    let by_bytes = by_bytes(&file.decoder)?;
    let trim = trim(&file.post_processor)?;
    let (cuts, [before, after]) = (cutter(cuts)?, around(file.post_processor)?);
    let vocabulary = file.model.vocabulary()?;
    let mut added = file.added_tokens;
    added.sort_by_key(|token| token.id);
    Ok(TokenizerParts { vocabulary, added, cuts, prefix, after: After { trim, before, after }, by_bytes })
}

fn other_model(kind: &str) -> String {
    format!("its model is of type \"{kind}\"; only byte-level BPE, as GPT-2 has it, can be read")
}

/// The parts of GPT-2's own tokenizer, which has no `tokenizer.json`.
///
/// # Errors
/// None in practice: the crate reads what it writes.
pub fn gpt2(vocabulary: Vocabulary) -> Result<TokenizerParts, String> {
    let cuts = cutter(vec![split(WORDS)])?;
    Ok(TokenizerParts { vocabulary, added: Vec::new(), cuts, prefix: false, after: After::default(), by_bytes: true })
}

fn split(pattern: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
}

/// Has the crate read how texts are cut, in a file with the smallest vocabulary there is.
fn cutter(mut cuts: Vec<Value>) -> Result<PipelinePreTokenizer, String> {
    let pre_tokenizer = match cuts.len() {
        0 | 1 => cuts.pop().unwrap_or_default(),
        _ => json!({"type": "Sequence", "pretokenizers": cuts}),
    };
    let vocab: serde_json::Map<_, _> = (0..=255u8).map(|byte| (to_char(byte).to_string(), byte.into())).collect();
    let file = json!({"version": "2.0", "pre_tokenizer": pre_tokenizer,
        "model": {"type": "BPE", "byte_level": true, "vocab": vocab, "merges": []}});
    let read = tokenizers::from_json(&file.to_string()).map_err(|why| format!("pre_tokenizer: {why}"))?;
    Ok(read.get_pre_tokenizer().clone())
}

/// Has the crate upgrade and read what goes before and after every text.
fn around(mut value: Value) -> Result<[Vec<u32>; 2], String> {
    let kinds = |value: &Value| -> Result<Vec<String>, String> {
        Ok(Step::all("post_processor", "processors", value)?.iter().map(|part| part.kind.into()).collect())
    };
    let kinds = kinds(&value)?;
    if kinds.iter().all(|kind| kind == "ByteLevel") {
        // It adds no token, and what it does to spans is done here.
        return Ok(Default::default());
    }
    let bad = |why: String| format!("post_processor, {}: {why}", kinds.join(" and "));
    tokenizers::canonicalize_post_processor(&mut value).map_err(|why| bad(why.to_string()))?;
    let read = tokenizers::post_processor_from_json(&value.to_string()).map_err(|why| bad(why.to_string()))?;
    let ids = |part: &[(PipelineToken, u8)]| part.iter().map(|(token, _)| token.id()).collect();
    Ok([ids(&read.single.prefix), ids(&read.single.suffix)])
}

impl Model {
    fn vocabulary(self) -> Result<Vocabulary, String> {
        let refused = [
            ("dropout", self.dropout.is_some_and(|dropout| dropout != 0.0)),
            ("continuing_subword_prefix", self.continuing_subword_prefix.is_some_and(|text| !text.is_empty())),
            ("end_of_word_suffix", self.end_of_word_suffix.is_some_and(|text| !text.is_empty())),
            ("byte_fallback", self.byte_fallback == Some(true)),
        ];
        if let Some((setting, _)) = refused.iter().find(|(_, is)| *is) {
            return Err(format!("model: {setting} is set, which byte-level BPE has no use for; it is not supported"));
        }
        let mut merges = Merges::with_capacity(self.merges.len());
        for merge in self.merges {
            merges.push(match merge {
                Merge::Pair(left, right) => (left, right),
                Merge::Line(line) if line.starts_with("#version") => continue,
                Merge::Line(line) => two_parts(&line).ok_or_else(|| format!("merge \"{line}\": expected two parts"))?,
            });
        }
        let settings = BpeSettings {
            unknown: self.unk_token,
            fuse: self.fuse_unk == Some(true),
            whole_pieces: self.ignore_merges == Some(true),
        };
        Vocabulary::new(self.vocab, merges, settings).map_err(super::vocabulary::Fault::why)
    }
}

/// The two parts of a merge in one line.
pub fn two_parts(line: &str) -> Option<(String, String)> {
    let (left, right) = line.split_once(' ').filter(|(_, right)| !right.contains(' '))?;
    Some((left.into(), right.into()))
}

/// Steps of cutting, and whether a space goes before the text.
fn cuts(value: &Value, byte_level: bool) -> Result<(Vec<Value>, bool), String> {
    let mut parts = Step::all("pre_tokenizer", "pretokenizers", value)?;
    let bytes = parts.pop_if(|part| part.kind == "ByteLevel");
    if bytes.is_none() && !byte_level {
        return Err("pre_tokenizer: expected ByteLevel as the only or last step; other kinds are not supported".into());
    }
    let mut cuts = parts.iter().map(cut).collect::<Result<Vec<_>, _>>()?;
    let Some(bytes) = bytes else { return Ok((cuts, false)) };
    bytes.knows(&["add_prefix_space", "trim_offsets", "use_regex"])?;
    let prefix = bytes.flag("add_prefix_space", None)?;
    if prefix && !cuts.is_empty() {
        return Err("pre_tokenizer: ByteLevel's add_prefix_space is not supported after another step".into());
    }
    if bytes.flag("use_regex", Some(true))? {
        cuts.push(split(WORDS));
    }
    Ok((cuts, prefix))
}

/// One step that cuts a text and keeps all of it.
fn cut(part: &Step) -> Result<Value, String> {
    let behavior = part.value.get("behavior").and_then(Value::as_str);
    match part.kind {
        "Digits" => part.knows(&["individual_digits"])?,
        "Punctuation" => part.knows(&["behavior"])?,
        "Split" => part.knows(&["pattern", "behavior", "invert"])?,
        _ => return Err(part.unknown()),
    }
    if let Some(pattern) = part.value.get("pattern").and_then(|pattern| pattern.get("Regex")?.as_str()) {
        return pattern_cut(pattern, behavior, part.flag("invert", Some(false))?);
    }
    match behavior {
        Some("Removed") => Err(format!("pre_tokenizer: {} that removes text is not supported", part.kind)),
        _ => Ok(Value::Object(part.value.clone())),
    }
}

/// A cut by a pattern that the crate follows without an engine for regular expressions, which would make the first visit
/// a quarter larger. All of a text matches such a pattern: to keep the matches alone is to keep everything.
fn pattern_cut(pattern: &str, behavior: Option<&str>, invert: bool) -> Result<Value, String> {
    if tokenizers::utils::recognize(pattern).is_none() {
        let known = "the patterns of GPT-2, cl100k, o200k, Llama 3 and 4, Qwen, Tekken and Kimi are";
        return Err(format!("pre_tokenizer: Split by the pattern {pattern:?} is not supported; {known}"));
    }
    match (behavior, invert) {
        (Some("Isolated"), false) | (Some("Removed"), true) => Ok(split(pattern)),
        _ => Err("pre_tokenizer: Split by a pattern is supported with behavior \"Isolated\" and without invert, or with \"Removed\" and invert".into()),
    }
}

/// Whether spans lose their white space, and whether the space before the text is spared.
fn trim(value: &Value) -> Result<Option<bool>, String> {
    let mut trim = None;
    for part in Step::all("post_processor", "processors", value)? {
        match part.kind {
            "ByteLevel" => part.knows(&["add_prefix_space", "trim_offsets", "use_regex"])?,
            "RobertaProcessing" => part.knows(&["sep", "cls", "add_prefix_space", "trim_offsets"])?,
            "TemplateProcessing" => part.knows(&["single", "pair", "special_tokens"])?,
            "BertProcessing" => part.knows(&["sep", "cls"])?,
            _ => return Err(part.unknown()),
        }
        if matches!(part.kind, "ByteLevel" | "RobertaProcessing") && part.flag("trim_offsets", None)? {
            trim = Some(part.flag("add_prefix_space", None)?);
        }
    }
    Ok(trim)
}

fn by_bytes(value: &Value) -> Result<bool, String> {
    match Step::all("decoder", "decoders", value)?.as_slice() {
        [] => Ok(false),
        [one] if one.kind == "ByteLevel" => Ok(true),
        [one, ..] => Err(one.unknown()),
    }
}

/// One step of the file, such as a pre-tokenizer.
struct Step<'a> {
    /// Where in the file it stands.
    place: &'static str,
    kind: &'a str,
    value: &'a serde_json::Map<String, Value>,
}

impl<'a> Step<'a> {
    /// The steps of a place: none, one, or those of a sequence.
    fn all(place: &'static str, list: &str, value: &'a Value) -> Result<Vec<Step<'a>>, String> {
        let bad = || format!("{place}: expected a type and its settings");
        let map = match value {
            Value::Null => return Ok(Vec::new()),
            Value::Object(map) => map,
            _ => return Err(bad()),
        };
        let kind = map.get("type").and_then(Value::as_str).ok_or_else(bad)?;
        if kind != "Sequence" {
            return Ok(vec![Step { place, kind, value: map }]);
        }
        let mut parts = Vec::new();
        for value in map.get(list).and_then(Value::as_array).ok_or_else(bad)? {
            parts.extend(Step::all(place, list, value)?);
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
