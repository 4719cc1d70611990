//! The address of a model: a repo on the Hugging Face hub, or a folder anywhere.

use crate::loading::WeightsError;
use protocol::hub::{HUB, Repo};

/// What a reader names a model by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A repo on a hub.
    Repo(Repo),
    /// A folder URL, with its closing slash.
    Folder(String),
}

/// A folder of files on a server: `base` + file name is a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    base: String,
    /// Set for a repo: its hub's base, and the repo.
    hub: Option<(String, Repo)>,
}

/// Where a hub tells more of a repo than its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubApi {
    /// Answers with the commit (`sha`) of a branch or tag.
    pub revision: String,
    /// The revision asked for, as one path segment.
    pub name: String,
    base: String,
}

impl HubApi {
    /// Answers with the repo's files at a revision: sizes, and SHA-256 of large ones.
    pub fn tree(&self, revision: &str) -> String {
        format!("{}/tree/{revision}", self.base)
    }
}

impl Address {
    /// Reads an address as people write it: a URL, a repo id, a repo id with `@revision`.
    ///
    /// # Errors
    /// `BadAddress`.
    pub fn parse(text: &str) -> Result<Address, WeightsError> {
        let bad = || WeightsError::BadAddress(text.to_string());
        let trimmed = text.trim();
        let Some((scheme, rest)) = trimmed.split_once("://") else {
            return Repo::parse(trimmed).map(Address::Repo).map_err(|_| bad());
        };
        if !["http", "https", "blob", "file"].contains(&scheme) || rest.is_empty() {
            return Err(bad());
        }
        Ok(Address::Folder(format!("{}/", trimmed.trim_end_matches('/'))))
    }

    /// Where the files are. `hub` replaces the Hugging Face hub as the base of repo addresses.
    ///
    /// # Errors
    /// `BadHub`: a worker has no page that an address could be relative to.
    pub fn locate(&self, hub: Option<&str>) -> Result<Location, WeightsError> {
        if let Some(hub) = hub.filter(|hub| !is_base(hub)) {
            return Err(WeightsError::BadHub(hub.to_string()));
        }
        Ok(match self {
            Address::Folder(url) => Location { base: url.clone(), hub: None },
            Address::Repo(repo) => Location::of(repo.clone(), hub.unwrap_or(HUB).trim()),
        })
    }
}

/// Whether names can be put behind this.
fn is_base(text: &str) -> bool {
    let text = text.trim();
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    !rest.starts_with(['/', ':'])
        && !rest.is_empty()
        && !rest.contains(|c: char| c.is_whitespace() || "?#\"<>\\".contains(c))
}

impl Location {
    fn of(repo: Repo, hub: &str) -> Location {
        Location { base: repo.folder(hub), hub: Some((hub.to_string(), repo)) }
    }

    /// The URL of a file of the model.
    pub fn file(&self, name: &str) -> String {
        format!("{}{name}", self.base)
    }

    /// The hub's own account of the repo; `None` for a folder.
    pub fn hub_api(&self) -> Option<HubApi> {
        let (hub, repo) = self.hub.as_ref()?;
        let (base, name) = (repo.api(hub), repo.revision_segment());
        Some(HubApi { revision: format!("{base}/revision/{name}"), name, base })
    }

    /// The same repo at another revision; a folder has no revisions.
    pub fn at_revision(&self, revision: &str) -> Location {
        match &self.hub {
            Some((hub, repo)) => Location::of(Repo { revision: revision.to_string(), ..repo.clone() }, hub),
            None => self.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_people_write_them() {
        for (text, hub, file) in [
            ("openai-community/gpt2", None, "https://huggingface.co/openai-community/gpt2/resolve/main/config.json"),
            (" gpt2@607a30d ", None, "https://huggingface.co/gpt2/resolve/607a30d/config.json"),
            ("a/b@refs/pr/1", Some("http://127.0.0.1:9/"), "http://127.0.0.1:9/a/b/resolve/refs%2Fpr%2F1/config.json"),
            ("https://host/models/tiny", None, "https://host/models/tiny/config.json"),
            ("http://host/models/tiny/", Some("http://x"), "http://host/models/tiny/config.json"),
        ] {
            assert_eq!(
                Address::parse(text).unwrap().locate(hub).unwrap().file("config.json"),
                file,
                "address.rs: {text:?}"
            );
        }
    }

    #[test]
    fn a_hub_that_is_no_address_is_refused_by_the_name_of_the_setting() {
        let repo = Address::parse("a/b").unwrap();
        for hub in
            ["", "huggingface.co", "/hub", "ftp://host", "https://", "http:///x", "https://a b", "https://host/?x"]
        {
            let error: crate::Error = repo.locate(Some(hub)).unwrap_err().into();
            assert!(error.message.starts_with("hub: ") && error.message.contains(hub), "address.rs: {}", error.message);
            assert_eq!(error.code, crate::Code::NotFound, "address.rs: the code of what is no address");
        }
        assert!(repo.locate(Some(" http://127.0.0.1:8080/mirror ")).is_ok());
    }

    #[test]
    fn a_hub_is_asked_about_the_revision_and_then_at_its_commit() {
        let location = Address::parse("a/b@refs/pr/1").unwrap().locate(Some("http://127.0.0.1:9/")).unwrap();
        let api = location.hub_api().unwrap();
        assert_eq!(api.revision, "http://127.0.0.1:9/api/models/a/b/revision/refs%2Fpr%2F1", "address.rs");
        assert_eq!(api.tree(&api.name), "http://127.0.0.1:9/api/models/a/b/tree/refs%2Fpr%2F1", "address.rs");
        assert_eq!(location.at_revision("607a30d").file("x"), "http://127.0.0.1:9/a/b/resolve/607a30d/x", "address.rs");
        let folder = Address::parse("https://host/models/tiny").unwrap().locate(None).unwrap();
        assert!(folder.hub_api().is_none() && folder.at_revision("x") == folder, "address.rs: a folder is on no hub");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "a/b/c", "a b", "../x", "a/..", "javascript://x", "a/b@", "<b>", "a/b@x y", "https://"] {
            assert!(matches!(Address::parse(text), Err(WeightsError::BadAddress(_))), "address.rs took {text:?}");
        }
    }
}
