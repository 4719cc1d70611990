//! What the small files beside a tokenizer say: `tokenizer_config.json`, `special_tokens_map.json` and
//! `added_tokens.json`, read as Hugging Face transformers 5 reads them for GPT-2's tokenizer.
//! Must never know: vocabularies, texts.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::added::Added;
use crate::model::ModelError;

const CONFIG: &str = "tokenizer_config.json";
const SPECIAL: &str = "special_tokens_map.json";
const ADDED: &str = "added_tokens.json";

/// The roles that a special token may have; transformers adds them in this order.
const ROLES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The small files, each `None` where there is no such file.
#[derive(Clone, Debug, Default)]
pub struct SmallFiles {
    /// The bytes of `tokenizer_config.json`.
    pub config: Option<Vec<u8>>,
    /// The bytes of `special_tokens_map.json`.
    pub special: Option<Vec<u8>>,
    /// The bytes of `added_tokens.json`.
    pub added: Option<Vec<u8>>,
}

/// What these files say of the tokenizer.
#[derive(Debug, Default)]
pub struct Settings {
    config: Map<String, Value>,
    special: Map<String, Value>,
    added: Map<String, Value>,
}

impl Settings {
    /// Reads the files.
    ///
    /// # Errors
    /// `BadTokenizer` for one that is not a JSON object.
    pub fn read(files: &SmallFiles) -> Result<Settings, ModelError> {
        let read = |file, bytes: &Option<Vec<u8>>| match bytes {
            Some(bytes) => serde_json::from_slice(super::without_mark(bytes))
                .map_err(|why| ModelError::BadTokenizer { file, why: why.to_string() }),
            None => Ok(Map::new()),
        };
        Ok(Settings {
            config: read(CONFIG, &files.config)?,
            special: read(SPECIAL, &files.special)?,
            added: read(ADDED, &files.added)?,
        })
    }

    /// Whether transformers would build GPT-2's own tokenizer: for these two classes it takes `tokenizer.json` as it is.
    fn is_gpt2(&self) -> bool {
        let class = self.config.get("tokenizer_class").and_then(Value::as_str);
        !matches!(class, Some("PreTrainedTokenizerFast" | "TokenizersBackend"))
    }

    /// Whether a space goes before a text: of its own, GPT-2's tokenizer adds none, whatever `tokenizer.json` says.
    /// `None` leaves that to `tokenizer.json`.
    pub fn prefix_space(&self, has_json: bool) -> Option<bool> {
        (self.is_gpt2() || !has_json).then(|| self.flag("add_prefix_space"))
    }

    /// Whether special tokens in a text are cut like any other text.
    pub fn splits_special(&self) -> bool {
        self.flag("split_special_tokens")
    }

    /// Tokens before and after every text. Beside `tokenizer.json`, which says that itself, transformers does not ask.
    pub fn around(&self) -> [Option<String>; 2] {
        [("add_bos_token", "bos_token"), ("add_eos_token", "eos_token")]
            .map(|(flag, role)| if self.flag(flag) { self.role(role).map(|token| token.content) } else { None })
    }

    /// All added tokens in the order in which they get their ids: those that `tokenizer.json` has, and those that
    /// only the small files name. `knows` says what is in the vocabulary.
    ///
    /// # Errors
    /// `BadTokenizer` for a token that is none.
    pub fn added(&self, own: Vec<Added>, knows: impl Fn(&str) -> bool) -> Result<Vec<Added>, ModelError> {
        let mut tokens = Tokens::new(own);
        let bad = |file, token: &str| {
            let why = format!("token \"{token}\" has no text, or no id that is one");
            ModelError::BadTokenizer { file, why }
        };
        match self.config.get("added_tokens_decoder").and_then(Value::as_object) {
            Some(decoder) => {
                for (id, token) in decoder {
                    let read = token.as_object().and_then(|token| Added::from_map(token, None));
                    match (id.parse(), read) {
                        (Ok(id), Some(token)) => tokens.set(Added { id, ..token }),
                        _ => return Err(bad(CONFIG, id)),
                    }
                }
            }
            None => {
                let special: Vec<String> = self.specials().into_iter().map(|token| token.content).collect();
                for (content, id) in &self.added {
                    let id = id.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| bad(ADDED, content))?;
                    let special = special.contains(content);
                    tokens.add(Added { id, normalized: !special, special, ..Added::special(content) });
                }
            }
        }
        tokens.sort();
        // What is GPT-2's of its own counts where the vocabulary has it.
        let stated = |role: &&str| self.value(role).is_some();
        let meant = |(role, token): &(&str, Added)| stated(role) || knows(&token.content);
        let roles = ROLES.iter().filter_map(|role| Some((*role, self.role(role)?))).filter(meant);
        let roles: Vec<Added> = roles.map(|(_, token)| token).collect();
        roles.into_iter().chain(self.others()).for_each(|token| tokens.add(token));
        Ok(tokens.list)
    }

    fn flag(&self, key: &str) -> bool {
        self.config.get(key).and_then(Value::as_bool) == Some(true)
    }

    /// A setting, of the older file first; that one counts only where the newer does not list the tokens itself.
    fn value(&self, key: &str) -> Option<&Value> {
        let older = self.special.get(key).filter(|_| !self.config.contains_key("added_tokens_decoder"));
        older.or_else(|| self.config.get(key))
    }

    /// The token of a role.
    fn role(&self, role: &str) -> Option<Added> {
        match self.value(role) {
            Some(value) => token(value),
            None if self.is_gpt2() && matches!(role, "bos_token" | "eos_token" | "unk_token") => {
                Some(Added::special(super::END_OF_TEXT))
            }
            None => None,
        }
    }

    /// Special tokens without one of the seven roles.
    fn others(&self) -> Vec<Added> {
        let own = self
            .config
            .iter()
            .filter(|(key, value)| key.ends_with("_token") && !ROLES.contains(&key.as_str()) && value.is_string());
        let mut found: Vec<Added> = own.filter_map(|(_, value)| token(value)).collect();
        for key in ["extra_special_tokens", "additional_special_tokens"] {
            match self.value(key) {
                Some(Value::Array(list)) => found.extend(list.iter().filter_map(token)),
                Some(Value::Object(map)) => found.extend(map.values().filter_map(token)),
                _ => {}
            }
        }
        found
    }

    fn specials(&self) -> Vec<Added> {
        ROLES.iter().filter_map(|role| self.role(role)).chain(self.others()).collect()
    }
}

/// A special token: its text, or its text and settings.
fn token(value: &Value) -> Option<Added> {
    match value {
        Value::String(content) => Some(Added::special(content)),
        Value::Object(map) => {
            // Older files mark what is a token so; without the mark it is special of itself.
            let special = if map.contains_key("__type") { None } else { Some(true) };
            Added::from_map(map, special).map(|token| Added { special: true, ..token })
        }
        _ => None,
    }
}

/// Added tokens, each text once.
struct Tokens {
    list: Vec<Added>,
    places: HashMap<String, usize>,
}

impl Tokens {
    fn new(list: Vec<Added>) -> Tokens {
        let mut tokens = Tokens { list: Vec::with_capacity(list.len()), places: HashMap::new() };
        list.into_iter().for_each(|token| tokens.set(token));
        tokens
    }

    /// Adds a token, or changes the settings of one that is there.
    fn set(&mut self, token: Added) {
        match self.places.get(&token.content).and_then(|place| self.list.get_mut(*place)) {
            Some(known) => *known = Added { id: known.id, ..token },
            None => self.add(token),
        }
    }

    /// Adds a token if it is not there.
    fn add(&mut self, token: Added) {
        if !token.content.is_empty() && !self.places.contains_key(&token.content) {
            self.places.insert(token.content.clone(), self.list.len());
            self.list.push(token);
        }
    }

    fn sort(&mut self) {
        self.list.sort_by_key(|token| token.id);
    }
}
