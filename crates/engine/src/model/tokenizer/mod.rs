//! Text to tokens and back: byte-level BPE, from `tokenizer.json`, or from GPT-2's own pair `vocab.json` +
//! `merges.txt` under its rules, with what the small files beside them say. The `tokenizers` crate finds the ids; where
//! in the text each token is, follows from its bytes (`spans`).
//! Must never know: browsers, where the files come from.

mod added;
mod bytes;
mod read;
mod settings;
mod spans;
mod vocabulary;

use std::collections::HashMap;

use tokenizers::pipeline::{NormalizerChain, PipelineModel, PipelinePostProcessor, PipelineTokenizer};
use tokenizers::vocab::bucket_added_vocabulary::{AddedToken, AddedVocabulary};

use super::ModelError;
use added::Added;
use read::{After, TokenizerParts};
use settings::Settings;
use vocabulary::{Fault, Ids, Vocabulary};

pub use settings::SmallFiles;

/// Marks the end of a document in GPT-2's training text; a token of its own, never split.
const END_OF_TEXT: &str = "<|endoftext|>";

/// Splits text as the model was taught to.
pub struct Tokenizer {
    engine: PipelineTokenizer,
    /// Whether special tokens in a text are split like any other.
    splits_special: bool,
    added: HashMap<u32, Added>,
    /// Tokens of the vocabulary that are not written as bytes.
    others: HashMap<u32, String>,
    /// From this id on the engine's tokens stand for bytes that the vocabulary lacks.
    first_missing: u32,
    missing: Vec<u8>,
    unknown: Option<u32>,
    /// A space goes before every stretch of text that does not begin with one.
    prefix: bool,
    after: After,
    by_bytes: bool,
    /// The file to blame where its rules fail on a text.
    file: &'static str,
}

/// One text as T tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// T token ids, in the order of the text.
    pub ids: Vec<u32>,
    /// 2T offsets `[start, end)` into the text in UTF-16 code units. Tokens that hold parts of one
    /// character have its span; tokens that stand around the text, and not in it, have 0 and 0.
    pub spans: Vec<u32>,
}

impl Tokenizer {
    /// From the bytes of `tokenizer.json` alone, as it is.
    ///
    /// # Errors
    /// `BadTokenizer`; also for rules that this program does not follow.
    pub fn from_json(bytes: &[u8]) -> Result<Tokenizer, ModelError> {
        let parts = read_json(bytes)?;
        let added = parts.added.clone();
        Tokenizer::build("tokenizer.json", parts, added, false)
    }

    /// From the bytes of `tokenizer.json`, with what the files beside it say.
    ///
    /// # Errors
    /// `BadTokenizer`, for the file that is to blame.
    pub fn from_json_with(bytes: &[u8], small: &SmallFiles) -> Result<Tokenizer, ModelError> {
        let settings = Settings::read(small)?;
        let mut parts = read_json(bytes)?;
        parts.prefix = settings.prefix_space(true).unwrap_or(parts.prefix);
        let own = std::mem::take(&mut parts.added);
        let added = settings.added(own, |token| parts.vocabulary.id(token).is_some())?;
        Tokenizer::build("tokenizer.json", parts, added, settings.splits_special())
    }

    /// From the bytes of `vocab.json` and `merges.txt`, by GPT-2's rules: byte-level BPE, no prefix space,
    /// offsets that keep their leading space.
    ///
    /// # Errors
    /// `BadTokenizer`.
    pub fn from_vocab_and_merges(vocab: &[u8], merges: &[u8]) -> Result<Tokenizer, ModelError> {
        Tokenizer::from_vocab_and_merges_with(vocab, merges, &SmallFiles::default())
    }

    /// The same, with what the files beside them say.
    ///
    /// # Errors
    /// `BadTokenizer`, for the file that is to blame.
    pub fn from_vocab_and_merges_with(
        vocab: &[u8],
        merges: &[u8],
        small: &SmallFiles,
    ) -> Result<Tokenizer, ModelError> {
        let settings = Settings::read(small)?;
        let vocab: Ids = serde_json::from_slice(without_mark(vocab)).map_err(|why| bad("vocab.json", why))?;
        let merges = std::str::from_utf8(without_mark(merges)).map_err(|why| bad("merges.txt", why))?;
        let merges = parse_merges(merges).map_err(|why| bad("merges.txt", why))?;
        let vocabulary = Vocabulary::new(vocab, merges, Default::default()).map_err(|fault| match fault {
            Fault::Vocabulary(why) => bad("vocab.json", why),
            Fault::Merges(why) => bad("merges.txt", why),
        })?;
        let mut parts = read::gpt2(vocabulary).map_err(|why| bad("vocab.json", why))?;
        parts.prefix = settings.prefix_space(false) == Some(true);
        let added = settings.added(Vec::new(), |token| parts.vocabulary.id(token).is_some())?;
        let around = settings.around();
        let mut tokenizer = Tokenizer::build("vocab.json", parts, added, settings.splits_special())?;
        let [before, after] = around.map(|token| token.and_then(|token| tokenizer.added_id(&token)));
        tokenizer.after =
            After { trim: None, before: before.into_iter().collect(), after: after.into_iter().collect() };
        Ok(tokenizer)
    }

    fn build(
        file: &'static str,
        parts: TokenizerParts,
        added: Vec<Added>,
        splits_special: bool,
    ) -> Result<Tokenizer, ModelError> {
        let TokenizerParts { vocabulary, cuts, prefix, after, by_bytes, .. } = parts;
        if let Some(token) = added.iter().find(|token| token.single_word) {
            let why = format!("added token \"{}\": single_word is true, which is not supported", token.content);
            return Err(bad(file, why));
        }
        let spaced = added.iter().find(|token| token.content.starts_with(char::is_whitespace));
        if let Some(token) = spaced.filter(|_| prefix && splits_special) {
            let why = "begins with white space, which is not supported with add_prefix_space and split_special_tokens";
            return Err(bad(file, format!("added token \"{}\" {why}", token.content)));
        }
        let mut known = AddedVocabulary::new();
        let handed = added.iter().map(|token| AddedToken {
            content: token.content.clone(),
            single_word: false,
            lstrip: token.lstrip,
            rstrip: token.rstrip,
            normalized: token.normalized,
            // The engine can leave special tokens alone, which is what a stretch between them is split with.
            special: token.special || !splits_special,
        });
        known
            .add_tokens(handed, vocabulary.len(), |token| vocabulary.id(token), None::<&NormalizerChain>)
            .map_err(|why| bad(file, why))?;
        let mut by_id = HashMap::with_capacity(added.len());
        let count = added.len();
        for token in added {
            by_id.extend(known.token_to_id(&token.content).map(|id| (id, token)));
        }
        let (missing, unknown) = (vocabulary.missing.clone(), vocabulary.unknown);
        let (model, first_missing, others) = vocabulary.into_model(count).map_err(|why| bad(file, why))?;
        let (around, roles) = (PipelinePostProcessor::default(), Default::default());
        let model = PipelineModel::BPE(model);
        let engine = PipelineTokenizer::from_parts(known, Vec::new(), cuts, model, around, None, roles, None, None);
        let added = by_id;
        Ok(Tokenizer {
            engine,
            splits_special,
            added,
            others,
            first_missing,
            missing,
            unknown,
            prefix,
            after,
            by_bytes,
            file,
        })
    }

    /// Splits a text. An empty text gives no tokens, but those that go around every text.
    ///
    /// # Errors
    /// `BadTokenizer` where the file's own rules fail on the text.
    pub fn encode(&self, text: &str) -> Result<Encoded, ModelError> {
        let found = self.find(text).map_err(|why| bad(self.file, why))?;
        let After { before, after, .. } = &self.after;
        let ids = before.iter().copied().chain(found.iter().map(|token| token.id)).chain(after.iter().copied());
        let mut spans = vec![0; 2 * before.len()];
        spans.extend(self.offsets(text, &found));
        spans.extend(vec![0; 2 * after.len()]);
        Ok(Encoded { ids: ids.collect(), spans })
    }

    /// The id that an added token got.
    fn added_id(&self, token: &str) -> Option<u32> {
        self.engine.get_added_vocabulary().token_to_id(token)
    }

    /// How the files write a token.
    fn written(&self, id: u32) -> Option<String> {
        let added = self.added.get(&id).map(|token| token.content.clone());
        added
            .or_else(|| self.others.get(&id).cloned())
            .or_else(|| if id >= self.first_missing { None } else { self.engine.get_model().id_to_token(id) })
    }

    /// One token as text; bytes that are not whole characters show as U+FFFD, an unknown id as `#id`.
    pub fn token_text(&self, id: u32) -> String {
        let text = self.text(&[id]);
        if text.is_empty() { format!("#{id}") } else { text }
    }

    /// Tokens as one text; bytes that are not whole characters show as U+FFFD.
    pub fn text(&self, ids: &[u32]) -> String {
        let written = ids.iter().filter_map(|&id| self.written(id));
        if self.by_bytes {
            let mut bytes = Vec::new();
            written.for_each(|token| bytes::of_token(&token, &mut bytes));
            String::from_utf8_lossy(&bytes).into_owned()
        } else {
            written.collect::<Vec<_>>().join(" ")
        }
    }
}

fn read_json(bytes: &[u8]) -> Result<TokenizerParts, ModelError> {
    read::parts(without_mark(bytes)).map_err(|why| bad("tokenizer.json", why))
}

fn bad(file: &'static str, why: impl ToString) -> ModelError {
    ModelError::BadTokenizer { file, why: why.to_string() }
}

/// A file without the byte order mark that some editors begin it with.
fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)
}

/// The pairs of `merges.txt`: two parts a line, most frequent first, after an optional version line.
fn parse_merges(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut merges = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("#version") || line.is_empty() {
            continue;
        }
        let parts = read::two_parts(line);
        merges.push(parts.ok_or_else(|| format!("line {}: expected two parts, found \"{line}\"", number + 1))?);
    }
    Ok(merges)
}
