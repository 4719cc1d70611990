//! Which models the page offers, and what a reader may type as a repo id.

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
    if text.is_empty() {
        return Err("Type a repo id, such as openai-community/gpt2.".to_owned());
    }
    let (id, revision) = match text.split_once('@') {
        Some((id, revision)) => (id, Some(revision)),
        None => (text, None),
    };
    let (org, name) = match id.split('/').collect::<Vec<_>>().as_slice() {
        [org, name] => (*org, *name),
        [_] => return Err(format!("“{id}” has no owner. A repo id is written org/name.")),
        _ => return Err("A repo id is written org/name or org/name@revision, with one slash.".to_owned()),
    };
    for part in [org, name] {
        if part.is_empty() || part.len() > 96 {
            return Err("A repo id is written org/name; both parts are needed.".to_owned());
        }
        if let Some(c) = part.chars().find(|c| !(c.is_ascii_alphanumeric() || "-_.".contains(*c))) {
            return Err(format!("A repo id has letters, digits, “-”, “_” and “.” only; “{c}” is none of them."));
        }
        if part.starts_with(['-', '.']) || part.ends_with(['-', '.']) || part.contains("..") || part.contains("--") {
            return Err(format!("“{part}” cannot be part of a repo id."));
        }
    }
    match revision {
        None => Ok(format!("{org}/{name}")),
        Some(revision) => {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
            let bad = revision.is_empty() || !revision.chars().all(allowed) || revision.contains("..");
            match bad || revision.starts_with('/') || revision.ends_with('/') {
                true => Err("After the @ stands a branch, a tag or a commit, such as @main.".to_owned()),
                false => Ok(format!("{org}/{name}@{revision}")),
            }
        }
    }
}

/// The hub's address.
pub const HUB: &str = "https://huggingface.co";

/// Where the hub keeps a file of this checked repo id.
pub fn hub_file(repo: &str, file: &str) -> String {
    format!("{}{file}", hub_folder(HUB, repo))
}

/// Where a hub keeps the files of this checked repo id.
pub fn hub_folder(hub: &str, repo: &str) -> String {
    let (id, revision) = repo.split_once('@').unwrap_or((repo, "main"));
    format!("{}/{id}/resolve/{}/", hub.trim_end_matches('/'), revision.replace('/', "%2F"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_ids_pass() {
        for (typed, id) in [
            (" openai-community/gpt2 ", "openai-community/gpt2"),
            ("https://huggingface.co/roneneldan/TinyStories-33M/", "roneneldan/TinyStories-33M"),
            ("a/b.c_d@refs/pr/1", "a/b.c_d@refs/pr/1"),
        ] {
            assert_eq!(parse_repo_id(typed).as_deref(), Ok(id), "repo.rs: {typed:?}");
        }
    }

    #[test]
    fn bad_ids_are_refused_with_a_sentence() {
        for typed in [
            "", "gpt2", "a/b/c", "a/", "/b", "a/b c", "a/<b>", "a/..", "../a", "a/b@", "a/b@../x", "a/b@x?y", "a/b#c",
            "ä/b",
        ] {
            let message = parse_repo_id(typed).unwrap_err();
            assert!(message.ends_with('.'), "repo.rs: {typed:?} gives {message:?}");
        }
    }

    #[test]
    fn hub_addresses_name_the_revision() {
        assert_eq!(hub_file("a/b", "config.json"), "https://huggingface.co/a/b/resolve/main/config.json");
        assert_eq!(hub_file("a/b@refs/pr/1", "x"), "https://huggingface.co/a/b/resolve/refs%2Fpr%2F1/x");
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
