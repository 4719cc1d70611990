//! What the browser keeps of a model, and where: the engine writes it, the page lists and deletes it.
//! May depend on: serde. Plain Rust, no feature needed.
//! Must never know: how bytes are fetched, tensors, the DOM.
//!
//! In the origin's private file system: `residual-stream/<folder>/`, one folder per model. In it `about.json`, the
//! small files under their own names, and for each weights file `<name>.data` and `<name>.journal`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The folder that holds all models' folders.
pub const ROOT: &str = "residual-stream";
/// The file that says what a folder holds.
pub const MANIFEST: &str = "about.json";
/// The layout's version; another version's folders are of no use.
pub const VERSION: u32 = 1;

/// What a kept file must still be: the same bytes on the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Identity {
    /// Where it came from.
    pub address: String,
    /// The commit, where a hub told it.
    pub commit: Option<String>,
    /// The last answer's ETag.
    pub etag: Option<String>,
    /// Where a hub told it: lower-case hexadecimal.
    pub sha256: Option<String>,
    /// Bytes of the file.
    pub size: Option<u64>,
}

/// What a folder holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Manifest {
    /// [`VERSION`].
    pub version: u32,
    /// The model's address, by which its folder is found.
    pub key: String,
    /// What the reader called it.
    pub source: String,
    /// The commit, where a hub told it.
    pub commit: Option<String>,
    /// Bytes of the whole model's wanted tensors.
    pub weights_bytes: u64,
    /// Whether all of it is here.
    pub complete: bool,
    /// When it was last used, in milliseconds since 1970.
    pub used: f64,
    /// The weights files.
    pub files: BTreeMap<String, Identity>,
}

/// The folder of a model: its key, readable as far as file names allow, and a hash that tells apart what is then
/// spelled alike.
pub fn folder_name(key: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let readable: String =
        key.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()).chars().map(safe).take(60).collect();
    // FNV-1a, 64 bits.
    let hash = key
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{readable}-{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_file_names_and_differ_where_keys_do() {
        let keys = ["openai-community/gpt2@main", "openai-community_gpt2@main", "https://host/a/b/?q=../x", "", "模型"];
        let names: std::collections::BTreeSet<String> = keys.iter().map(|key| folder_name(key)).collect();
        assert_eq!(names.len(), keys.len(), "cache.rs: two keys share a folder: {names:?}");
        for name in names {
            assert!(name.len() < 100 && !name.starts_with('.') && !name.contains(['/', '\\', ':', '?']), "{name}");
        }
        assert!(folder_name(keys[0]).starts_with("openai-community_gpt2_main-"));
    }

    #[test]
    fn about_survives_json_and_older_fields() {
        let manifest = Manifest { version: VERSION, key: "a/b@main".into(), weights_bytes: 7, ..Manifest::default() };
        let json = serde_json::to_string(&manifest).unwrap();
        assert!(json.contains("\"weightsBytes\":7"), "{json}");
        assert_eq!(serde_json::from_str::<Manifest>(&json).unwrap(), manifest);
        assert_eq!(serde_json::from_str::<Manifest>("{}").unwrap(), Manifest::default());
    }
}
