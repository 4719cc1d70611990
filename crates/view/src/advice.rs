//! What a reader is told when something fails: what happened, and what to do next.

use trace::{Code, Error};

/// During which step an error came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Loading a model.
    Load,
    /// Tracing a text.
    Run,
}

/// The error as sentences: its message, made to begin with a capital and end with a full stop, and a way out.
pub fn explain(error: &Error, step: Step) -> String {
    let text = sentence(&error.message);
    match advice(error.code, step) {
        "" => text,
        advice => format!("{text} {advice}"),
    }
}

/// A message as a sentence: with a capital and a full stop.
pub fn sentence(message: &str) -> String {
    let message = message.trim();
    // A file's name keeps its spelling.
    let word = message.split_whitespace().next().unwrap_or_default();
    let mut text: String = match word.contains(['.', '_', '/']) {
        true => message.to_owned(),
        // Our own messages begin with plain letters; the tables of all others would be a tenth of an embed.
        false => message.chars().take(1).map(|c| c.to_ascii_uppercase()).chain(message.chars().skip(1)).collect(),
    };
    if !text.ends_with(['.', '!', '?']) {
        text.push('.');
    }
    text
}

fn advice(code: Code, step: Step) -> &'static str {
    match (code, step) {
        // The engine's own message says what to check.
        (Code::Network, _) => "Then try again.",
        (Code::NotFound, Step::Load) => {
            "Check the name for a typing error; private models cannot be reached from here."
        }
        (Code::RateLimited, _) => "Wait a few minutes, then try again.",
        (Code::CorruptDownload, _) => "Try again: the bytes did not arrive as they were sent.",
        // The engine's own message says what fits into 4 GB, where that is the limit.
        (Code::OutOfMemory, Step::Load) => {
            "Pick a smaller model: DistilGPT-2 needs 0.33 GB. Closing other tabs helps where less than 4 GB is asked for."
        }
        (Code::OutOfMemory, Step::Run) => "Load the model again, and try fewer or shorter lines.",
        (Code::EngineCrashed, Step::Load) => "Try again, or pick another model.",
        (Code::EngineCrashed, Step::Run) => "Run again, or load the model again.",
        (Code::NotGpt2 | Code::BadConfig | Code::UnsupportedDtype, Step::Load) => "Pick another model.",
        (Code::MissingTensor | Code::ShapeMismatch | Code::BadSafetensors, Step::Load) => {
            "The files do not fit each other; pick another model or another revision."
        }
        (Code::BadTokenizer, Step::Load) => "Pick another model, or the same one with its tokenizer’s files put right.",
        (Code::NoTokenizer, _) => "Pick a model that comes with tokenizer.json, or with vocab.json and merges.txt.",
        (Code::TooLong, _) => "A line can also be broken in two.",
        (Code::EmptyInput, _) => "Type a sentence, or pick a sample.",
        (Code::UnsupportedBrowser, _) => {
            "A current Chrome, Edge, Firefox or Safari will do. Saved runs can be opened here all the same."
        }
        _ => "",
    }
}

/// Whether the engine is gone after this error, and the model with it.
pub fn ends_engine(code: Code) -> bool {
    matches!(code, Code::EngineCrashed | Code::OutOfMemory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_become_sentences_with_a_way_out() {
        let error = |code, message: &str| Error::new(code, message);
        assert_eq!(
            explain(&error(Code::TooLong, "sentence 2 has 300 tokens; the model takes 256"), Step::Run),
            "Sentence 2 has 300 tokens; the model takes 256. A line can also be broken in two."
        );
        assert!(
            explain(&error(Code::BadConfig, "config.json: n_layer is -1"), Step::Load)
                .starts_with("config.json: n_layer is -1. ")
        );
        let large = explain(&error(Code::OutOfMemory, "the model needs 6 GB"), Step::Load);
        assert!(large.starts_with("The model needs 6 GB. ") && large.contains("DistilGPT-2"), "{large}");
        assert_eq!(explain(&error(Code::TokenOutOfRange, "Id 9 is too large."), Step::Run), "Id 9 is too large.");
        assert!(ends_engine(Code::EngineCrashed) && ends_engine(Code::OutOfMemory) && !ends_engine(Code::TooLong));
    }
}
