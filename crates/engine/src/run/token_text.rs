//! What a token is called in what is recorded.

use crate::model::Tokenizer;

/// A token as text; by its number where the model has no tokenizer.
pub(super) fn token_text(tokenizer: Option<&Tokenizer>, id: u32) -> String {
    tokenizer.map_or_else(|| format!("#{id}"), |tokenizer| tokenizer.token_text(id))
}
