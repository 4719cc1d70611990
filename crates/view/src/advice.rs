//! What a reader is told when something fails: what happened, and what to do next.

use trace::{Code, Error};

/// During which step an error came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Loading a model from a server.
    Load,
    /// Loading a model from files that the reader picked.
    Open,
    /// Tracing a text.
    Run,
}

/// The error as sentences: its message, made to begin with a capital and end with a full stop, and a way out.
pub fn explain(error: &Error, step: Step) -> String {
    let text = sentence(&error.message);
    match advice(error, step) {
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

fn advice(error: &Error, step: Step) -> &'static str {
    match (error.code, step) {
        // The engine's own message says what to check.
        (Code::Network, _) => "Then try again.",
        (Code::NotFound, Step::Load) => {
            "Check the name for a typing error; private models cannot be reached from here."
        }
        (Code::RateLimited, _) => "Wait a few minutes, then try again.",
        (Code::NotFinite, _) => "Try another text, or pick another model.",
        // The engine's own message says what fits into 4 GB, where that is the limit.
        (Code::OutOfMemory, Step::Load | Step::Open) => {
            "Pick a smaller model: DistilGPT-2 needs 0.33 GB. Closing other tabs helps where less than 4 GB is asked for."
        }
        (Code::OutOfMemory, Step::Run) => "Load the model again, and try fewer or shorter lines.",
        (Code::EngineCrashed, _) if error.message.contains(" again") => "",
        (Code::EngineCrashed, Step::Load | Step::Open) => "Try again, or pick another model.",
        (Code::EngineCrashed, Step::Run) => "Run again, or load the model again.",
        (Code::NotGpt2 | Code::BadConfig | Code::UnsupportedDtype, Step::Load | Step::Open) => "Pick another model.",
        (Code::MissingTensor | Code::ShapeMismatch | Code::BadSafetensors, Step::Load | Step::Open) => {
            "The files do not fit each other; pick another model or another revision."
        }
        (Code::BadTokenizer, Step::Load | Step::Open) => {
            "Pick another model, or the same one with its tokenizer’s files put right."
        }
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
    fn what_a_file_has_by_itself_is_not_laid_to_the_transfer() {
        // The engine's message says what to do: read it anew, or not (`weights/error.rs`).
        let message = "the checkpoint itself has it. Reading it anew will not help; give another checkpoint.";
        let itself = explain(&Error::new(Code::CorruptDownload, message), Step::Load);
        assert!(itself.ends_with("give another checkpoint."), "advice.rs: {itself}");
    }

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
        let missing = error(Code::NotFound, "config.json is not among the files. Pick them together: config.json, a");
        assert!(explain(&missing, Step::Load).contains("typing error"));
        assert_eq!(
            explain(&missing, Step::Open),
            "config.json is not among the files. Pick them together: config.json, a."
        );
        let silent = error(Code::EngineCrashed, "the engine has not answered: load the model again");
        assert_eq!(explain(&silent, Step::Run), "The engine has not answered: load the model again.");
        assert!(explain(&error(Code::EngineCrashed, "a fault"), Step::Run).contains("Run again"));
        assert!(explain(&error(Code::NotFinite, "the numbers overflow"), Step::Run).ends_with("another model."));
        assert!(ends_engine(Code::EngineCrashed) && ends_engine(Code::OutOfMemory) && !ends_engine(Code::TooLong));
    }
}
