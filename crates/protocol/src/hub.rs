//! Repos on the Hugging Face hub: what people write, and the addresses that it stands for. The engine loads from there
//! and keeps a model under [`Repo::folder`]; the page asks sizes there, and finds what is kept by the same address.

/// The Hugging Face hub. Large files are redirected from here to whatever host the hub chooses.
pub const HUB: &str = "https://huggingface.co";

/// A repo at a branch, tag or commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repo {
    /// `org/name`, or `name` alone as the hub's oldest repos have it.
    pub id: String,
    /// `main` where none was given.
    pub revision: String,
}

impl Repo {
    /// Reads `org/name`, `name`, or either with `@revision`.
    ///
    /// # Errors
    /// A sentence to show beside the field that it was typed in.
    pub fn parse(text: &str) -> Result<Repo, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("Type a repo id, such as openai-community/gpt2.".to_owned());
        }
        let (id, revision) = text.split_once('@').unwrap_or((text, "main"));
        if id.split('/').count() > 2 {
            return Err("A repo id is written org/name or org/name@revision, with one slash.".to_owned());
        }
        id.split('/').try_for_each(check)?;
        // A branch may hold slashes (refs/pr/1).
        if revision.split('/').any(|part| check(part).is_err()) {
            return Err("After the @ stands a branch, a tag or a commit, such as @main.".to_owned());
        }
        Ok(Repo { id: id.to_owned(), revision: revision.to_owned() })
    }

    /// Where a hub keeps the repo's files, with the closing slash.
    pub fn folder(&self, hub: &str) -> String {
        format!("{}/{}/resolve/{}/", hub.trim_end_matches('/'), self.id, self.revision_segment())
    }

    /// Where a hub tells more of the repo than its files.
    pub fn api(&self, hub: &str) -> String {
        format!("{}/api/models/{}", hub.trim_end_matches('/'), self.id)
    }

    /// The revision as one segment of a path: the hub wants the slashes of refs/pr/1 encoded.
    pub fn revision_segment(&self) -> String {
        self.revision.replace('/', "%2F")
    }
}

/// Checks a part of a repo id or of a revision.
fn check(part: &str) -> Result<(), String> {
    if part.is_empty() || part.len() > 96 {
        return Err("A repo id is written org/name; both parts are needed.".to_owned());
    }
    if let Some(c) = part.chars().find(|c| !(c.is_ascii_alphanumeric() || "-_.".contains(*c))) {
        return Err(format!("A repo id has letters, digits, “-”, “_” and “.” only; “{c}” is none of them."));
    }
    if part.starts_with(['-', '.']) || part.contains("..") {
        return Err(format!("“{part}” cannot be part of a repo id."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repos_as_people_write_them() {
        for (text, folder) in [
            (" openai-community/gpt2 ", "https://huggingface.co/openai-community/gpt2/resolve/main/"),
            ("gpt2", "https://huggingface.co/gpt2/resolve/main/"),
            ("gpt2@607a30d", "https://huggingface.co/gpt2/resolve/607a30d/"),
            ("a/b.c_d@refs/pr/1", "https://huggingface.co/a/b.c_d/resolve/refs%2Fpr%2F1/"),
        ] {
            assert_eq!(Repo::parse(text).unwrap().folder(HUB), folder, "hub.rs: {text:?}");
        }
        let repo = Repo::parse("a/b@v1").unwrap();
        assert_eq!(repo.folder("http://127.0.0.1:9/"), "http://127.0.0.1:9/a/b/resolve/v1/");
        assert_eq!(repo.api("http://127.0.0.1:9/"), "http://127.0.0.1:9/api/models/a/b");
    }

    #[test]
    fn what_is_no_repo_is_refused_with_a_sentence() {
        let long = format!("a/{}", "b".repeat(97));
        for text in [
            "", " ", "a/b/c", "a/", "/b", "a/b c", "a b", "a/<b>", "a/..", "../x", "-a/b", "a/.b", "a/b@", "a/b@../x",
            "a/b@x?y", "a/b@x y", "a/b@/x", "a/b@x/", "a/b#c", "ä/b", &long,
        ] {
            let message = Repo::parse(text).unwrap_err();
            assert!(message.ends_with('.'), "hub.rs: {text:?} gives {message:?}");
        }
    }
}
