//! Which models the page offers, and what a reader may type as a repo id.

use protocol::hub::Repo;

/// A model of the list with a known address and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownModel {
    /// The radio button's value.
    pub key: &'static str,
    /// The name readers see.
    pub title: &'static str,
    /// What `Model::load` is given.
    pub address: &'static str,
    /// Bytes of its weights.
    pub bytes: u64,
}

/// Models with a row of their own. Sizes: the hub's file sizes.
pub const KNOWN_MODELS: [KnownModel; 4] = [
    KnownModel { key: "demo", title: "Demo", address: "demo", bytes: 6_000_000 },
    KnownModel { key: "gpt2", title: "GPT-2", address: "openai-community/gpt2", bytes: 548_105_171 },
    KnownModel { key: "distilgpt2", title: "DistilGPT-2", address: "distilbert/distilgpt2", bytes: 352_824_413 },
    KnownModel { key: "medium", title: "GPT-2 medium", address: "openai-community/gpt2-medium", bytes: 1_520_000_000 },
];

/// A larger download starts only by a click on a button that names its size.
pub const ASK_ABOVE_BYTES: u64 = 20_000_000;

/// Checks what a reader typed as `org/name` or `org/name@revision` and returns it trimmed, an address on
/// huggingface.co reduced to its id. The error is a sentence to show beside the field.
pub fn parse_repo_id(typed: &str) -> Result<String, String> {
    let text = typed.trim().trim_end_matches('/');
    let text = text.strip_prefix("https://").unwrap_or(text);
    let text = text.strip_prefix("huggingface.co/").unwrap_or(text);
    Repo::parse(text).map(|_| text.to_owned())
}

/// Where a hub keeps the files of the model at this address, and the engine keeps them in the browser.
pub fn folder_on(hub: &str, address: &str) -> String {
    Repo::parse(address).map_or_else(|_| address.to_owned(), |repo| repo.folder(hub))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_ids_pass() {
        for (typed, id) in [
            (" openai-community/gpt2 ", "openai-community/gpt2"),
            ("https://huggingface.co/roneneldan/TinyStories-33M/", "roneneldan/TinyStories-33M"),
            ("huggingface.co/gpt2", "gpt2"),
            (" gpt2@main", "gpt2@main"),
            ("a/b.c_d@refs/pr/1", "a/b.c_d@refs/pr/1"),
        ] {
            assert_eq!(parse_repo_id(typed).as_deref(), Ok(id), "repo.rs: {typed:?}");
        }
    }

    #[test]
    fn bad_ids_are_refused_with_a_sentence() {
        for typed in
            ["", "a/b/c", "/b", "a/b c", "a/<b>", "a/..", "../a", "a/b@", "a/b@../x", "a/b@x?y", "a/b#c", "ä/b"]
        {
            let message = parse_repo_id(typed).unwrap_err();
            assert!(message.ends_with('.'), "repo.rs: {typed:?} gives {message:?}");
        }
    }

    #[test]
    fn every_known_model_has_a_row_in_the_page() {
        let page = include_str!("../../../index.html");
        for model in KNOWN_MODELS {
            assert!(page.contains(&format!("value=\"{}\"", model.key)), "index.html: no radio for {}", model.key);
            assert!(
                model.address == "demo" || page.contains(model.address),
                "index.html does not name {}",
                model.address
            );
        }
    }
}
