//! What a model is loaded from: an address, or files that the reader picked.

use js_sys::{Array, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Blob, File, Url};

use super::options::{bad, describe, property};
use protocol::foreign::{get, is_typed_array, items};
use trace::{Code, Error, Result};

/// What a model is loaded from.
#[derive(Clone, Debug)]
pub enum ModelSource {
    /// "demo", a repo id with or without `@revision`, or a folder URL.
    Address(String),
    /// Files from the reader's disk.
    Files(ModelFiles),
}

/// Files of one model under the names that checkpoints give them.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    /// What a trace says it was made with.
    name: String,
    files: Vec<(String, Blob)>,
}

/// Which of several weights files has which tensor.
const INDEX: &str = "model.safetensors.index.json";
/// The name of a model whose files have none together.
const FILES: &str = "files";

/// Small files that may lie beside a tokenizer, by the names that `loadModel` takes them under.
const TOKENIZER_SETTINGS: [(&str, &str); 3] =
    [("config", "tokenizer_config.json"), ("special", "special_tokens_map.json"), ("added", "added_tokens.json")];

impl ModelFiles {
    /// Files under their names.
    pub(super) fn new(files: Vec<(String, Blob)>) -> ModelFiles {
        ModelFiles { name: FILES.into(), files }
    }

    /// Recognises picked or dropped files by their names.
    ///
    /// # Errors
    /// `NotFound` where there is no `config.json` or no `.safetensors` file among them.
    pub fn from_picked(files: &[File]) -> Result<ModelFiles> {
        let files: Vec<_> = files.iter().map(|file| (file.name(), Blob::from(file.clone()))).collect();
        let has = |test: &dyn Fn(&str) -> bool| files.iter().any(|(name, _)| test(name));
        let missing = if !has(&|name| name == "config.json") {
            Some("config.json")
        } else if !has(&|name| name.ends_with(".safetensors") && !name.starts_with('.')) {
            Some("a .safetensors file")
        } else {
            None
        };
        match missing {
            Some(what) => {
                let all =
                    "config.json, the .safetensors file or files, and tokenizer.json (or vocab.json and merges.txt)";
                Err(Error::new(Code::NotFound, format!("{what} is not among the files. Pick them together: {all}.")))
            }
            None => Ok(ModelFiles::new(files)),
        }
    }

    /// Reads `{ config, weights: [..], tokenizer, name }`, each file a Blob or Uint8Array; the tokenizer may be
    /// `{ json }` or `{ vocab, merges }`, either with `config`, `special` and `added`. A `File` keeps its name, so that errors can name it.
    fn from_js(value: &JsValue) -> Result<ModelFiles> {
        let mut files = vec![("config.json".to_string(), blob(&property(value, "config")?, "config")?)];
        let weights = property(value, "weights")?;
        let list = items(&weights).ok_or_else(|| bad("weights: expected a list of Blobs or Uint8Arrays"))?;
        for (index, item) in list.enumerate() {
            let named = item.dyn_ref::<File>().and_then(|file| get(file, "name").as_string());
            let is_known = |name: &str| name.ends_with(".safetensors") || name == INDEX;
            let name = named.filter(|name| is_known(name) && !has(&files, name));
            let name = name.unwrap_or_else(|| format!("weights-{index}.safetensors"));
            files.push((name, blob(&item, &format!("weights[{index}]"))?));
        }
        let tokenizer = property(value, "tokenizer")?;
        let (json, vocab) = (property(&tokenizer, "json")?, property(&tokenizer, "vocab")?);
        if json.is_object() {
            files.push(("tokenizer.json".into(), blob(&json, "json")?));
        } else if vocab.is_object() {
            files.push(("vocab.json".into(), blob(&vocab, "vocab")?));
            files.push(("merges.txt".into(), blob(&property(&tokenizer, "merges")?, "merges")?));
        } else if tokenizer.is_object() {
            files.push(("tokenizer.json".into(), blob(&tokenizer, "tokenizer")?));
        }
        for (key, file) in TOKENIZER_SETTINGS {
            let settings = property(&tokenizer, key)?;
            if settings.is_object() {
                files.push((file.into(), blob(&settings, key)?));
            }
        }
        let name = property(value, "name")?.as_string().filter(|name| !name.is_empty());
        Ok(ModelFiles { name: name.unwrap_or_else(|| FILES.into()), files })
    }

    /// Pairs of name and blob, as the engine takes them beside its message.
    pub(super) fn to_js(&self) -> Array {
        self.files.iter().map(|(name, blob)| Array::of2(&name.as_str().into(), blob)).collect()
    }
}

impl ModelSource {
    /// Reads what `loadModel` was given.
    ///
    /// # Errors
    /// `BadArgument`.
    pub fn from_js(value: &JsValue) -> Result<ModelSource> {
        let address = value.dyn_ref::<Url>().and_then(|url| get(url, "href").as_string());
        match value.as_string().or(address) {
            Some(address) => Ok(ModelSource::Address(address)),
            None if value.is_object() => Ok(ModelSource::Files(ModelFiles::from_js(value)?)),
            None => {
                let known = "a repo id, a folder's address, \"demo\" or { config, weights, tokenizer }";
                Err(bad(&format!("source: expected {known}, found {}", describe(value))))
            }
        }
    }

    /// A name for messages and for the trace.
    pub fn name(&self) -> &str {
        match self {
            ModelSource::Address(address) => address.trim(),
            ModelSource::Files(files) => &files.name,
        }
    }
}

fn has(files: &[(String, Blob)], name: &str) -> bool {
    files.iter().any(|(known, _)| known == name)
}

fn blob(value: &JsValue, name: &str) -> Result<Blob> {
    if let Some(blob) = value.dyn_ref::<Blob>() {
        return Ok(blob.clone());
    }
    if let Some(bytes) = value.dyn_ref::<Uint8Array>().filter(|bytes| is_typed_array(bytes)) {
        return Blob::new_with_u8_array_sequence(&Array::of1(bytes))
            .map_err(|_| bad(&format!("{name}: cannot be read")));
    }
    Err(bad(&format!("{name}: expected a Blob or a Uint8Array")))
}
