//! What a reader is told of a checkpoint that can be run, though not all of it is used, or not all is there.

use crate::loading::index::Index;
use crate::loading::source::names::LeftOut;
use crate::model::Config;
use crate::model::checkpoint::LM_HEAD;
use crate::model::config::LmHead;
use protocol::{Notice, NoticeKind};

/// Names that are listed of many.
const LISTED: usize = 4;

/// What is known once the headers are read.
pub(crate) fn remarks(config: &Config, index: &Index, left_out: &[LeftOut]) -> Vec<Notice> {
    let mut notices = Vec::new();
    if config.lm_head == LmHead::Absent {
        let message = format!(
            "The weights have no \"{LM_HEAD}\", and config.json does not tie it to the embedding (tie_word_embeddings: false): this model makes no predictions. Norms can be traced."
        );
        notices.push(Notice { kind: NoticeKind::NoUnembedding, message });
    }
    if !index.unused.is_empty() {
        let mut names = index.unused.clone();
        // A bias of the unembedding would move every prediction, if GPT-2 had one.
        names.sort_by_key(|name| (!name.ends_with("lm_head.bias"), name.clone()));
        let what = if names.len() == 1 { "tensor of the weights is" } else { "tensors of the weights are" };
        let message = format!(
            "{} {what} not used, since the GPT-2 that config.json describes has no place for them: {}.",
            names.len(),
            list(&names)
        );
        notices.push(Notice { kind: NoticeKind::Unused, message });
    }
    // A system's hidden files are nothing that a reader knows of.
    let told: Vec<_> = left_out.iter().filter(|file| !file.name.starts_with('.')).collect();
    if !told.is_empty() {
        let names: Vec<String> = told.iter().map(|file| file.to_string()).collect();
        let message = format!("Not read as weights: {}.", list(&names));
        notices.push(Notice { kind: NoticeKind::Unused, message });
    }
    notices
}

/// The unembedding is here, and is not the embedding.
pub(crate) fn untied() -> Notice {
    let message = format!(
        "The weights have an unembedding of their own, \"{LM_HEAD}\", that differs from the embedding, though config.json ties the two: the file's counts, as in transformers from version 5 on. Set tie_word_embeddings to false in config.json to say so."
    );
    Notice { kind: NoticeKind::Untied, message }
}

fn list(names: &[String]) -> String {
    let first = names.iter().take(LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}
