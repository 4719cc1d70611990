//! What the model panel says: from how the models stand to words, without a DOM.

use super::cached::Cached;
use super::models::{Loading, ModelFacts, Models, Named};
use view::progress::{format_bytes, format_count};
use view::repo::{KNOWN_MODELS, parse_repo_id};

/// How one model stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// On its way; `share` of its bytes where the total is known.
    Loading {
        /// 0 to 1.
        share: Option<f64>,
        /// Bytes, rate, time left.
        detail: String,
        /// What is done with them.
        stage: String,
    },
    /// In use.
    Ready {
        /// Its sizes.
        detail: String,
    },
    /// It could not be loaded, or its engine is gone.
    Failed {
        /// Why, and what to do.
        message: String,
    },
}

impl Standing {
    /// The name that styles know.
    fn state(&self) -> &'static str {
        match self {
            Standing::Loading { .. } => "loading",
            Standing::Ready { .. } => "ready",
            Standing::Failed { .. } => "failed",
        }
    }
}

/// A state with words beside its dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labelled {
    /// "loading", "ready", "failed" or "idle".
    pub state: &'static str,
    /// The words.
    pub text: String,
}

/// The box below the list.
#[derive(Clone, Debug, PartialEq)]
pub struct Below {
    /// State and headline.
    pub line: Labelled,
    /// Progress, sizes, or what a download means.
    pub detail: String,
    /// While loading: what is done with the bytes.
    pub stage: String,
    /// What the engine remarked.
    pub notice: String,
    /// Why it failed.
    pub error: String,
    /// Words of the button that loads, where there is something to load.
    pub load: Option<String>,
    /// Progress from 0 to 1, while loading with a known total.
    pub share: Option<f64>,
}

impl Below {
    fn new(line: Labelled) -> Below {
        let empty = String::new;
        Below { line, detail: empty(), stage: empty(), notice: empty(), error: empty(), load: None, share: None }
    }
}

impl Models {
    /// How the model of a row stands.
    pub fn standing(&self, key: &str) -> Option<(&Named, Standing)> {
        if let Some(loading) = self.loading.as_ref().filter(|loading| loading.choice.name.key == key) {
            let Loading { share, detail, stage, .. } = loading.clone();
            return Some((&loading.choice.name, Standing::Loading { share, detail, stage }));
        }
        if let Some((name, message)) = self.failed.as_ref().filter(|(name, _)| name.key == key) {
            return Some((name, Standing::Failed { message: message.clone() }));
        }
        let in_use = self.in_use.as_ref().filter(|in_use| in_use.choice.name.key == key)?;
        Some((&in_use.choice.name, Standing::Ready { detail: describe(&in_use.facts) }))
    }

    /// Whether it is known how much a load of this repo would download.
    pub fn knows_bytes(&self, id: &str) -> bool {
        let kept = self.cached.find(id).is_some_and(|kept| kept.is_complete() || kept.missing() > 0.0);
        kept || self.known_bytes(id).is_some()
    }

    /// The bytes of a repo's weights, once asked for.
    fn known_bytes(&self, id: &str) -> Option<u64> {
        self.size.as_ref().filter(|(asked, _)| asked == id).map(|&(_, bytes)| bytes)
    }

    /// The right end of a row.
    pub fn row(&self, key: &str) -> Labelled {
        let standing = self.standing(key).map(|(_, standing)| standing);
        let text = match &standing {
            Some(Standing::Loading { share: Some(share), .. }) => percent(*share),
            Some(Standing::Loading { share: None, .. }) => "arriving".to_owned(),
            Some(Standing::Ready { .. }) => "in use".to_owned(),
            Some(Standing::Failed { .. }) => "failed".to_owned(),
            None => match self.cached_of(key, None) {
                Some(kept) if kept.is_complete() => "kept".to_owned(),
                Some(kept) => format!("{} kept", percent(kept.share().unwrap_or_default())),
                None => known_size(key).unwrap_or_default(),
            },
        };
        Labelled { state: standing.map_or("idle", |standing| standing.state()), text }
    }

    /// What is kept of a row's model, as far as a load can use it; `repo` is the id typed into its row.
    fn cached_of(&self, key: &str, repo: Option<&str>) -> Option<&Cached> {
        let known = KNOWN_MODELS.iter().find(|model| model.key == key).map(|model| model.address);
        self.cached.find(known.or(repo)?)
    }

    /// Whether all of a model is kept, so that loading it is no download.
    pub fn is_cached(&self, address: &str) -> bool {
        self.cached.find(address).is_some_and(Cached::is_complete)
    }

    /// The sign in the page's head.
    pub fn chip(&self) -> Labelled {
        let (state, text) = match (&self.loading, &self.in_use, &self.failed) {
            (Some(Loading { choice, share, .. }), ..) => {
                let share = share.map_or_else(|| "arriving".to_owned(), percent);
                ("loading", format!("{}, {share}", choice.name.title))
            }
            (None, Some(in_use), _) => ("ready", format!("{}, ready", in_use.choice.name.title)),
            (None, None, Some((name, _))) => ("failed", format!("{}, failed", name.title)),
            (None, None, None) => ("idle", "no model".to_owned()),
        };
        Labelled { state, text }
    }

    /// The box below the list.
    pub fn below(&self) -> Below {
        // A download under way is shown whatever row is ticked: it must be seen to be cancelled.
        let key = self.loading.as_ref().map_or(self.ticked, |loading| loading.choice.name.key);
        let repo = parse_repo_id(&self.repo).ok();
        let below = match self.standing(key) {
            Some((name, Standing::Loading { share, detail, stage })) => {
                let line = Labelled { state: "loading", text: format!("{}: arriving", name.title) };
                Below { detail, stage, share, ..Below::new(line) }
            }
            Some((name, Standing::Failed { message })) => {
                let line = Labelled { state: "failed", text: format!("{}: not loaded", name.title) };
                let load = Some(self.button(key, repo.as_deref(), "Try again"));
                Below { error: message, load, ..Below::new(line) }
            }
            // Another repo id may be typed while the first is in use.
            Some((name, Standing::Ready { detail }))
                if key != "repo" || repo.as_ref().is_none_or(|id| *id == name.title) =>
            {
                let line = Labelled { state: "ready", text: format!("{}: ready", name.title) };
                Below { detail, ..Below::new(line) }
            }
            _ => {
                let text = match KNOWN_MODELS.iter().find(|model| model.key == key) {
                    Some(model) => format!("{}: not loaded", model.title),
                    None if key == "files" => "No files picked".to_owned(),
                    None => "No other model loaded".to_owned(),
                };
                // The demo comes with the page, and may be in its file.
                let verb = if key == "demo" { "Load" } else { "Download" };
                let load = (key != "files").then(|| self.button(key, repo.as_deref(), verb));
                let line = Labelled { state: "idle", text };
                Below { detail: self.promise(key, repo.as_deref()), load, ..Below::new(line) }
            }
        };
        Below { notice: self.notices.text(), ..below }
    }

    fn button(&self, key: &str, repo: Option<&str>, verb: &str) -> String {
        match self.cached_of(key, repo) {
            Some(kept) if kept.is_complete() => return "Load from this browser".to_owned(),
            Some(kept) if kept.missing() > 0.0 => {
                let rest = format_bytes(kept.missing());
                let download = verb == "Download";
                return if download { format!("Download the rest ({rest})") } else { format!("{verb} ({rest} to go)") };
            }
            _ => {}
        }
        match (known_size(key), key) {
            (Some(size), _) => format!("{verb} ({size})"),
            (None, "files") => verb.to_owned(),
            (None, _) => match self.known_bytes(repo.unwrap_or_default()) {
                None => "Look up its size".to_owned(),
                Some(0) => format!("{verb} (size unknown)"),
                Some(bytes) => format!("{verb} ({})", format_bytes(bytes as f64)),
            },
        }
    }

    /// What loading means for the reader.
    fn promise(&self, key: &str, repo: Option<&str>) -> String {
        let until = self.in_use.as_ref().map_or_else(String::new, |in_use| {
            format!(" Until it is here, {} goes on working.", in_use.choice.name.title)
        });
        let kept = self.cached_of(key, repo);
        match key {
            _ if kept.is_some_and(Cached::is_complete) => format!("Kept in this browser: no download needed.{until}"),
            _ if kept.is_some() => {
                let here = format_bytes(kept.map_or(0.0, |kept| kept.bytes));
                format!("{here} are kept in this browser; the rest comes from huggingface.co.{until}")
            }
            "files" => format!("Files are read where they are; nothing is uploaded.{until}"),
            "demo" => format!("Comes with this page.{until}"),
            _ => format!("Comes from huggingface.co to this browser.{until}"),
        }
    }
}

/// What a loaded model is: "2.9 M parameters · 12 layers · 4 heads · 128 wide · context 256".
fn describe(facts: &ModelFacts) -> String {
    let info = &facts.info;
    let tokenizer = if facts.has_tokenizer { "" } else { " · no tokenizer" };
    format!(
        "{} parameters · {} layers · {} heads · {} wide · context {}{tokenizer}",
        format_count(facts.parameters as f64),
        info.n_layer,
        info.n_head,
        info.n_embd,
        info.n_positions
    )
}

fn percent(share: f64) -> String {
    // 100 % is said only when the model is there.
    format!("{:.0} %", (share * 100.0).floor().clamp(0.0, 99.0))
}

fn known_size(key: &str) -> Option<String> {
    KNOWN_MODELS.iter().find(|model| model.key == key).map(|model| format_bytes(model.bytes as f64))
}

#[cfg(test)]
mod tests {
    use super::super::cached::key_of;
    use super::super::models::{InUse, ModelChoice, Source};
    use super::*;
    use trace::ModelInfo;
    use view::progress::RateMeter;

    fn choice(key: &'static str, title: &str) -> ModelChoice {
        let name = Named { key, title: title.to_owned() };
        ModelChoice { name, from: Source::Address(title.to_owned()) }
    }

    fn in_use(key: &'static str, title: &str) -> InUse {
        let facts = ModelFacts {
            info: ModelInfo { n_layer: 12, n_head: 4, n_embd: 128, n_positions: 256, ..ModelInfo::default() },
            parameters: 2_900_000,
            weights_bytes: 6e6,
            has_tokenizer: true,
        };
        InUse { number: 1, choice: choice(key, title), facts }
    }

    fn with_demo() -> Models {
        Models { in_use: Some(in_use("demo", "Demo")), ..Default::default() }
    }

    /// The box below the list for this ticked row and repo id.
    fn below(models: &Models, row: &'static str, repo: &str) -> Below {
        Models { ticked: row, repo: repo.to_owned(), ..models.clone() }.below()
    }

    #[test]
    fn a_large_download_is_offered_by_a_button_that_names_its_size() {
        let below = below(&with_demo(), "gpt2", "");
        assert_eq!(below.load.as_deref(), Some("Download (548 MB)"));
        assert_eq!((below.line.state, below.line.text.as_str()), ("idle", "GPT-2: not loaded"));
        assert!(below.detail.contains("Demo goes on working"), "{}", below.detail);
    }

    #[test]
    fn a_repo_is_asked_for_its_size_first() {
        let mut models = with_demo();
        assert_eq!(below(&models, "repo", "a/b").load.as_deref(), Some("Look up its size"));
        models.size = Some(("a/b".to_owned(), 312_000_000));
        assert_eq!(below(&models, "repo", "a/b").load.as_deref(), Some("Download (312 MB)"));
        assert_eq!(below(&models, "repo", "a/c").load.as_deref(), Some("Look up its size"));
        models.size = Some(("a/b".to_owned(), 0));
        assert_eq!(below(&models, "repo", "a/b").load.as_deref(), Some("Download (size unknown)"));
        models.in_use = Some(in_use("repo", "a/b"));
        assert_eq!(below(&models, "repo", "a/b").load, None);
        assert_eq!(below(&models, "repo", "a/c").load.as_deref(), Some("Look up its size"));
    }

    #[test]
    fn a_download_is_shown_whatever_row_is_ticked() {
        let mut models = with_demo();
        let (detail, stage) = ("152 MB of 548 MB".to_owned(), "Block 3 of 12 is computing".to_owned());
        models.loading = Some(Loading {
            number: 2,
            choice: choice("gpt2", "GPT-2"),
            facts: None,
            runs: true,
            traced: false,
            share: Some(0.28),
            detail,
            stage,
            meter: RateMeter::default(),
            told: 0.0,
        });
        let below = below(&models, "demo", "");
        assert_eq!(below.stage, "Block 3 of 12 is computing");
        assert_eq!((below.line.state, below.share, below.load), ("loading", Some(0.28), None));
        assert_eq!(models.row("gpt2").text, "28 %");
        assert_eq!(models.row("demo"), Labelled { state: "ready", text: "in use".to_owned() });
        assert_eq!(models.chip().text, "GPT-2, 28 %");
    }

    #[test]
    fn a_failure_says_why_and_offers_another_try() {
        let mut models = with_demo();
        models.failed = Some((choice("gpt2", "GPT-2").name, "It could not be reached.".to_owned()));
        let below = below(&models, "gpt2", "");
        assert_eq!(below.load.as_deref(), Some("Try again (548 MB)"));
        assert_eq!(below.error, "It could not be reached.");
        assert_eq!(models.chip().text, "Demo, ready", "the last good model is still there");
    }

    #[test]
    fn a_kept_model_loads_without_a_question() {
        let manifest = |complete| protocol::cache::Manifest {
            key: key_of("openai-community/gpt2"),
            weights_bytes: 500_000_000,
            complete,
            ..Default::default()
        };
        let mut models = with_demo();
        models.cached.models =
            vec![Cached { folder: "f".to_owned(), bytes: 195e6, manifest: Some(manifest(false)), arriving: false }];
        assert_eq!(models.row("gpt2").text, "39 % kept");
        assert_eq!(below(&models, "gpt2", "").load.as_deref(), Some("Download the rest (305 MB)"));
        assert!(below(&models, "gpt2", "").detail.starts_with("195 MB are kept in this browser"));
        assert!(!models.is_cached("openai-community/gpt2"));
        models.failed = Some((choice("gpt2", "GPT-2").name, "The connection broke.".to_owned()));
        assert_eq!(below(&models, "gpt2", "").load.as_deref(), Some("Try again (305 MB to go)"));
        models.failed = None;
        models.cached.models =
            vec![Cached { folder: "f".to_owned(), bytes: 500e6, manifest: Some(manifest(true)), arriving: false }];
        assert_eq!(models.row("gpt2"), Labelled { state: "idle", text: "kept".to_owned() });
        assert_eq!(below(&models, "gpt2", "").load.as_deref(), Some("Load from this browser"));
        assert_eq!(below(&models, "repo", "openai-community/gpt2").load.as_deref(), Some("Load from this browser"));
        assert_eq!(below(&models, "repo", "openai-community/gpt2@v1").load.as_deref(), Some("Look up its size"));
        assert!(models.is_cached("openai-community/gpt2") && !models.is_cached("a/b"));
        assert_eq!(models.row("distilgpt2").text, "353 MB");
    }

    #[test]
    fn remarks_stand_below_whatever_is_shown() {
        let mut models = with_demo();
        models.notices.add("This browser's storage is full.", false);
        assert_eq!(below(&models, "demo", "").notice, "This browser's storage is full.");
    }
}
