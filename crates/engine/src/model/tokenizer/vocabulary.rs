//! The vocabulary and its merges, as the `tokenizers` crate takes them, checked: the crate trusts what it is given.
//! Must never know: texts, files.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use tokenizers::models::bpe::{BpeConfig, Merges, PipelineBPE, Vocab};

use super::bytes::{is_bytes, to_char};

/// Ids are places in tables.
const IDS: u32 = 1 << 24;

/// Tokens and their ids, in the order of the file.
#[derive(Default)]
pub struct Ids(pub Vec<(String, u32)>);

impl<'de> Deserialize<'de> for Ids {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Ids, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Ids;

            fn expecting(&self, into: &mut fmt::Formatter<'_>) -> fmt::Result {
                into.write_str("a map of tokens and their ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ids, A::Error> {
                let mut ids = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    ids.push(entry);
                }
                Ok(Ids(ids))
            }
        }
        from.deserialize_map(Entries)
    }
}

/// What a file says of its model.
#[derive(Default)]
pub struct BpeSettings {
    /// Stands for bytes that the vocabulary lacks.
    pub unknown: Option<String>,
    /// One for all such bytes that follow each other.
    pub fuse: bool,
    /// A piece that is in the vocabulary as a whole is one token, whatever the merges say.
    pub whole_pieces: bool,
}

/// A checked vocabulary, and what of it the crate's model does not hold.
pub struct Vocabulary {
    ids: Vocab,
    merges: Merges,
    whole_pieces: bool,
    /// Tokens that are not written as bytes: no text leads to them, unless they are added tokens too.
    others: HashMap<String, u32>,
    /// Bytes that it lacks stand in the model under ids from here on, in their order.
    pub missing: Vec<u8>,
    /// The token for those bytes, if there is one.
    pub unknown: Option<u32>,
}

impl Vocabulary {
    /// Checks ids and merges; the most frequent merge comes first.
    ///
    /// # Errors
    /// What is wrong, with its token.
    pub fn new(ids: Ids, merges: Merges, settings: BpeSettings) -> Result<Vocabulary, Fault> {
        let all: Vocab = ids.0.into_iter().collect();
        let mut seen = HashSet::with_capacity(all.len());
        for (token, id) in &all {
            if *id >= IDS || !seen.insert(*id) {
                let why = if *id >= IDS { "is beyond every vocabulary" } else { "is another token's, too" };
                return Err(Fault::Vocabulary(format!("token \"{token}\": its id {id} {why}")));
            }
        }
        let mut both = String::new();
        for (left, right) in &merges {
            both.clear();
            both.push_str(left);
            both.push_str(right);
            if let Some(lost) = [left, right, &both].into_iter().find(|token| !all.contains_key(token.as_str())) {
                let why = format!("a merge calls for \"{lost}\", which is not in the vocabulary");
                return Err(Fault::Merges(why));
            }
        }
        let missing: Vec<u8> =
            (0..=255).filter(|byte| !all.contains_key(to_char(*byte).to_string().as_str())).collect();
        let unknown = match &settings.unknown {
            Some(token) if !missing.is_empty() => Some(all.get(token).copied().ok_or_else(|| {
                Fault::Vocabulary(format!("unk_token is \"{token}\", which is not in the vocabulary"))
            })?),
            _ => None,
        };
        if unknown.is_some() && settings.fuse {
            let why = "model: fuse_unk is not supported with a vocabulary that lacks bytes";
            return Err(Fault::Vocabulary(why.into()));
        }
        let (ids, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(token, _)| is_bytes(token));
        let merges = merges.into_iter().filter(|(left, right)| is_bytes(left) && is_bytes(right)).collect();
        Ok(Vocabulary {
            ids: ids.into_iter().collect(),
            merges,
            whole_pieces: settings.whole_pieces,
            others: others.into_iter().collect(),
            missing,
            unknown,
        })
    }

    /// How many tokens it has.
    pub fn len(&self) -> usize {
        self.ids.len() + self.others.len()
    }

    /// The id of a token, by how the vocabulary writes it.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.ids.get(token).or_else(|| self.others.get(token)).copied()
    }

    /// The crate's model; bytes that the vocabulary lacks get ids from the second value on.
    ///
    /// # Errors
    /// The crate's own words.
    pub fn into_model(mut self, added: usize) -> Result<(PipelineBPE, u32, HashMap<u32, String>), String> {
        let highest = self.ids.values().chain(self.others.values()).max().map_or(0, |id| id + 1);
        let first = highest.max((self.len() + added) as u32);
        let spelled = self.missing.iter().map(|byte| to_char(*byte).to_string());
        self.ids.extend(spelled.zip(first..));
        let (vocab, merges, ignore_merges) = (self.ids, self.merges, self.whole_pieces);
        let config = BpeConfig { vocab, merges, byte_level: true, ignore_merges, ..BpeConfig::default() };
        let others = self.others.into_iter().map(|(token, id)| (id, token)).collect();
        Ok((PipelineBPE::from_config(config).map_err(|why| why.to_string())?, first, others))
    }
}

/// What is wrong with a vocabulary or its merges, which may come from two files.
pub enum Fault {
    /// What is wrong with the vocabulary.
    Vocabulary(String),
    /// What is wrong with the merges.
    Merges(String),
}

impl Fault {
    /// What is wrong, where both are in one file.
    pub fn why(self) -> String {
        match self {
            Fault::Vocabulary(why) | Fault::Merges(why) => why,
        }
    }
}
