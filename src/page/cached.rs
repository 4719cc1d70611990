//! "Kept in this browser" in words: what the list, the picker's rows and the storage line say. No DOM.

use protocol::cache::Manifest;
use protocol::hub::HUB;
use view::progress::format_bytes;
use view::repo::{KNOWN_MODELS, folder_on};

/// A model in the browser's storage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cached {
    /// Its folder in the storage.
    pub folder: String,
    /// Bytes of the files in it.
    pub bytes: f64,
    /// What it says of itself; `None` where that cannot be read.
    pub manifest: Option<Manifest>,
    /// Whether this page is loading it just now.
    pub arriving: bool,
}

/// What the reader is asked about before it is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asking {
    /// The model in this folder.
    One(String),
    /// All of them.
    All,
}

/// Everything that is kept, and the storage it is in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CachedModels {
    /// The last used first.
    pub models: Vec<Cached>,
    /// Bytes used and allowed, where the browser tells.
    pub room: Option<(f64, f64)>,
    /// Whether there is a storage to keep models in.
    pub available: bool,
}

impl Cached {
    /// The name readers know it by.
    pub fn title(&self) -> String {
        let Some(manifest) = &self.manifest else { return "Unfinished download".to_owned() };
        let known = KNOWN_MODELS.iter().find(|model| key_of(model.address) == manifest.key);
        match known {
            Some(model) => model.title.to_owned(),
            None if manifest.source.is_empty() => manifest.key.clone(),
            None => manifest.source.clone(),
        }
    }

    /// The part of the model that is here, from 0 to 1; `None` where a later load can make no use of it.
    pub fn share(&self) -> Option<f64> {
        let manifest = self.manifest.as_ref()?;
        let whole = manifest.weights_bytes as f64;
        // Beside the weights the folder holds a tokenizer and journals: only a model that says so is complete.
        Some(if manifest.complete { 1.0 } else { (self.bytes / whole.max(1.0)).clamp(0.0, 0.99) })
    }

    /// Whether it loads without the network.
    pub fn is_complete(&self) -> bool {
        self.manifest.as_ref().is_some_and(|manifest| manifest.complete)
    }

    /// Bytes that a load would still have to fetch.
    pub fn missing(&self) -> f64 {
        let whole = self.manifest.as_ref().map_or(0.0, |manifest| manifest.weights_bytes as f64);
        if self.is_complete() { 0.0 } else { (whole - self.bytes).max(0.0) }
    }

    /// Its size and state, `now` in milliseconds since 1970: "498 MB · used today".
    pub fn detail(&self, now: f64) -> String {
        let size = format_bytes(self.bytes);
        match &self.manifest {
            _ if self.arriving => format!("{size} so far · arriving"),
            None => format!("{size} · unfinished, and of no further use"),
            Some(manifest) if !manifest.complete && manifest.weights_bytes > 0 => {
                format!("{size} of {} · incomplete, resumes", format_bytes(manifest.weights_bytes as f64))
            }
            Some(manifest) if !manifest.complete => format!("{size} · incomplete, resumes"),
            Some(manifest) => match format_age(now - manifest.used) {
                Some(age) if manifest.used > 0.0 => format!("{size} · {age}"),
                _ => size,
            },
        }
    }

    /// The question before it is deleted.
    pub fn question(&self) -> String {
        let title = self.title();
        match &self.manifest {
            None => format!("Delete this unfinished download ({})?", format_bytes(self.bytes)),
            Some(_) => format!("Delete {title}? Using it again means downloading {}.", format_bytes(self.bytes)),
        }
    }
}

impl CachedModels {
    /// What is kept of the model at this address.
    pub fn find(&self, address: &str) -> Option<&Cached> {
        let key = key_of(address);
        self.models.iter().find(|cached| cached.manifest.as_ref().is_some_and(|manifest| manifest.key == key))
    }

    /// Whether there is nothing to tell.
    pub fn is_hidden(&self) -> bool {
        self.models.is_empty() && !self.available
    }

    /// The line that is always there: "2 models · 0.9 of 61 GB".
    pub fn summary(&self) -> String {
        let count = match self.models.len() {
            0 => "nothing yet".to_owned(),
            1 => "1 model".to_owned(),
            n => format!("{n} models"),
        };
        match self.room {
            Some((used, quota)) if quota > 0.0 && self.models.is_empty() => {
                format!("{count} · {} free", format_bytes((quota - used).max(0.0)))
            }
            // Where the line breaks, the numbers stay together.
            Some((used, quota)) if quota > 0.0 => {
                format!("{count} · {}", format_room(used, quota).replace(' ', "\u{a0}"))
            }
            _ if self.models.is_empty() => count,
            _ => format!("{count} · {}", format_bytes(self.models.iter().map(|cached| cached.bytes).sum())),
        }
    }

    /// The question before all of it is deleted.
    pub fn question(&self) -> String {
        let bytes = format_bytes(self.models.iter().map(|cached| cached.bytes).sum());
        format!("Delete all {} models ({bytes})? Using them again means downloading them.", self.models.len())
    }

    /// What the open list says below its rows.
    pub fn note(&self) -> &'static str {
        match (self.models.is_empty(), self.available) {
            (true, _) => "Models that you download are kept here, so that your next visit needs no download.",
            (false, true) => "Deleting a model costs a new download, nothing else.",
            (false, false) => "This window keeps nothing new.",
        }
    }
}

/// The key under which a model of the hub is kept: the address of its files.
pub fn key_of(address: &str) -> String {
    folder_on(HUB, address)
}

/// A part of a whole in the whole's unit: "0.55 of 61 GB".
pub fn format_room(used: f64, quota: f64) -> String {
    let whole = format_bytes(quota);
    let unit = match whole.rsplit_once(' ') {
        Some((_, "TB")) => 1e12,
        Some((_, "GB")) => 1e9,
        Some((_, "MB")) => 1e6,
        _ => return format!("{} of {whole}", format_bytes(used)),
    };
    let part = used / unit;
    if part < 0.01 {
        return format!("{} of {whole}", format_bytes(used));
    }
    let decimals = if part < 9.995 { 2 } else { 0 };
    let number = format!("{part:.decimals$}");
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
    format!("{number} of {whole}")
}

/// When something was used, by the milliseconds since; `None` for a time that cannot be.
fn format_age(milliseconds: f64) -> Option<String> {
    let days = milliseconds / 86_400_000.0;
    match days {
        d if !d.is_finite() || d < -1.0 => None,
        d if d < 1.0 => Some("used today".to_owned()),
        d if d < 2.0 => Some("used yesterday".to_owned()),
        d => Some(format!("used {d:.0} days ago", d = d.floor())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cached(address: &str, bytes: f64, weights_bytes: u64, complete: bool) -> Cached {
        let manifest = Manifest {
            version: protocol::cache::VERSION,
            key: key_of(address),
            source: address.to_owned(),
            weights_bytes,
            complete,
            used: 86_400_000.0 * 100.0,
            ..Manifest::default()
        };
        Cached { folder: "f".to_owned(), bytes, manifest: Some(manifest), arriving: false }
    }

    #[test]
    fn a_kept_model_says_what_it_is_and_how_much() {
        let whole = cached("openai-community/gpt2", 498e6, 497_759_232, true);
        assert_eq!(whole.title(), "GPT-2");
        assert_eq!(whole.detail(86_400_000.0 * 100.5), "498 MB · used today");
        assert_eq!(whole.detail(86_400_000.0 * 112.0), "498 MB · used 12 days ago");
        assert_eq!(whole.detail(0.0), "498 MB", "a clock set back says nothing");
        assert_eq!(Cached { arriving: true, ..whole.clone() }.detail(0.0), "498 MB so far · arriving");
        assert_eq!((whole.share(), whole.missing()), (Some(1.0), 0.0));
        let part = cached("someone/tiny@v1", 212e6, 497_000_000, false);
        assert_eq!(part.title(), "someone/tiny@v1");
        assert_eq!(part.detail(0.0), "212 MB of 497 MB · incomplete, resumes");
        assert_eq!((part.is_complete(), part.missing()), (false, 285e6));
        let torn = Cached { folder: "x".to_owned(), bytes: 12e6, ..Cached::default() };
        assert_eq!(torn.title(), "Unfinished download");
        assert_eq!(torn.detail(0.0), "12 MB · unfinished, and of no further use");
        assert_eq!((torn.share(), torn.is_complete()), (None, false));
        assert_eq!(cached("a/b", 600e6, 500_000_000, false).share(), Some(0.99), "journals are no weights");
    }

    #[test]
    fn a_model_is_found_by_its_address_and_revision() {
        let all = CachedModels { models: vec![cached("a/b@v1", 1e6, 1_000_000, true)], ..CachedModels::default() };
        assert!(all.find("a/b@v1").is_some() && all.find("a/b").is_none() && all.find("a/b@v2").is_none());
    }

    #[test]
    fn the_engine_keeps_a_model_where_the_page_looks_for_it() {
        for address in ["openai-community/gpt2", "gpt2", "a/b@v1", "a/b@refs/pr/1"] {
            let location = engine::loading::source::Address::parse(address).unwrap().locate(None).unwrap();
            assert_eq!(key_of(address), location.file(""), "cached.rs: {address}");
        }
    }

    #[test]
    fn the_storage_line_counts_models_and_room() {
        let mut all = CachedModels { room: Some((0.0, 61e9)), available: true, ..CachedModels::default() };
        assert_eq!(all.summary(), "nothing yet · 61 GB free");
        assert!(!all.is_hidden() && CachedModels::default().is_hidden());
        all.models = vec![cached("a/b", 498e6, 1, true), cached("c/d", 2e6, 1, true)];
        all.room = Some((551e6, 61e9));
        assert_eq!(all.summary(), "2 models · 0.55\u{a0}of\u{a0}61\u{a0}GB");
        all.room = None;
        assert_eq!(all.summary(), "2 models · 500 MB");
        assert_eq!(format_room(2e6, 61e9), "2 MB of 61 GB");
        assert_eq!(format_room(12.34e9, 61e9), "12 of 61 GB");
        assert_eq!(format_room(3.0, 900.0), "3 bytes of 900 bytes");
    }
}
