//! How the models stand: which is in use, which is arriving beside it, which failed, which could be loaded.
//! Must never know: the DOM, a model itself (a number stands for it).

use trace::ModelInfo;
use view::progress::RateMeter;
use view::repo::{ASK_ABOVE_BYTES, KNOWN_MODELS, KnownModel, parse_repo_id};

use super::cached::{Asking, CachedModels, key_of};
use super::notices::Notices;

/// A model by its row and the name readers see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The radio button's value.
    pub key: &'static str,
    /// "GPT-2", a repo id, a file's name.
    pub title: String,
}

/// A model that a reader asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelChoice {
    /// Its row and name.
    pub name: Named,
    /// Where it comes from.
    pub from: Source,
}

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// "demo" or a repo id.
    Address(String),
    /// Files that the reader picked or dropped, by their number.
    Files(u64),
}

impl ModelChoice {
    /// A model with a row of its own.
    pub fn known(model: &KnownModel) -> ModelChoice {
        let name = Named { key: model.key, title: model.title.to_owned() };
        ModelChoice { name, from: Source::Address(model.address.to_owned()) }
    }

    /// Files that the reader picked or dropped; the weights file's name stands for the set.
    pub fn files(number: u64, names: &[String]) -> ModelChoice {
        let may_be_weights = |name: &&String| name.ends_with(".safetensors") && !name.starts_with('.');
        let whole = names.iter().find(|name| *name == "model.safetensors");
        let title = whole.or_else(|| names.iter().find(may_be_weights)).or(names.first()).cloned();
        ModelChoice { name: Named { key: "files", title: title.unwrap_or_default() }, from: Source::Files(number) }
    }

    /// What a link can say of it: files are the reader's own.
    pub fn address(&self) -> Option<&str> {
        match &self.from {
            Source::Address(address) => Some(address),
            Source::Files(_) => None,
        }
    }

    /// Whether loading it needs no question: it comes from this site or from disk.
    pub fn is_near(&self) -> bool {
        match &self.from {
            Source::Files(_) => true,
            Source::Address(_) => KNOWN_MODELS.iter().any(|m| m.key == self.name.key && m.bytes <= ASK_ABOVE_BYTES),
        }
    }
}

/// What a model says of itself once its settings are read.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFacts {
    /// Sizes, and where it comes from.
    pub info: ModelInfo,
    /// Numbers in all tensors.
    pub parameters: u64,
    /// Bytes of the tensors, as their files have them.
    pub weights_bytes: f64,
    /// Whether text can be split.
    pub has_tokenizer: bool,
}

/// A model in use.
#[derive(Clone, Debug)]
pub struct InUse {
    /// Its number.
    pub number: u64,
    /// What was asked for.
    pub choice: ModelChoice,
    /// What it is.
    pub facts: ModelFacts,
}

/// A model on its way.
#[derive(Clone, Debug)]
pub struct Loading {
    /// Its number.
    pub number: u64,
    /// What was asked for.
    pub choice: ModelChoice,
    /// What it is: there once its settings are read; blocks go on arriving.
    pub facts: Option<ModelFacts>,
    /// Whether the text runs as soon as there is a model: not where a saved run was opened meanwhile.
    pub runs: bool,
    /// Whether a whole trace was made on it, before its last byte.
    pub traced: bool,
    /// 0 to 1, where the total is known.
    pub share: Option<f64>,
    /// Bytes, rate, time left.
    pub detail: String,
    /// What is done with them.
    pub stage: String,
    /// How fast bytes come.
    pub meter: RateMeter,
    /// When the words above were written.
    pub told: f64,
}

/// All the models that are somehow there.
#[derive(Clone, Debug)]
pub struct Models {
    /// In use.
    pub in_use: Option<InUse>,
    /// Arriving beside it.
    pub loading: Option<Loading>,
    /// The last that failed, and why.
    pub failed: Option<(Named, String)>,
    /// What was in use until its engine crashed.
    pub crashed: Option<ModelChoice>,
    /// When the last block of the newest model was there.
    pub blocks_at: Option<f64>,
    /// Repo id and bytes, once the hub has said; 0 where it did not say.
    pub size: Option<(String, u64)>,
    /// What the engine remarked on the last load.
    pub notices: Notices,
    /// The ticked row.
    pub ticked: &'static str,
    /// What is typed as a repo id.
    pub repo: String,
    /// Why that is none.
    pub repo_error: String,
    /// The files that were picked last.
    pub files: Option<ModelChoice>,
    /// What this browser's storage has.
    pub cached: CachedModels,
    /// Number and time of the last look at it.
    pub looked: (u64, f64),
    /// What the reader is asked about before it is deleted.
    pub asking: Option<Asking>,
    /// How deleting went.
    pub deleted: String,
}

impl Default for Models {
    fn default() -> Self {
        Models {
            in_use: None,
            loading: None,
            failed: None,
            crashed: None,
            blocks_at: None,
            size: None,
            notices: Notices::default(),
            ticked: KNOWN_MODELS[0].key,
            repo: String::new(),
            repo_error: String::new(),
            files: None,
            cached: CachedModels::default(),
            looked: (0, 0.0),
            asking: None,
            deleted: String::new(),
        }
    }
}

impl Models {
    /// The rows of the panel, by their radio buttons' values.
    pub fn rows() -> impl Iterator<Item = &'static str> {
        KNOWN_MODELS.iter().map(|model| model.key).chain(["repo", "files"])
    }

    /// The row of this key.
    pub fn row_of(key: &str) -> Option<&'static str> {
        Models::rows().find(|known| *known == key)
    }

    /// What the ticked row asks for; where it is incomplete, `repo_error` says why.
    pub fn choice(&mut self) -> Option<ModelChoice> {
        if let Some(model) = KNOWN_MODELS.iter().find(|model| model.key == self.ticked) {
            return Some(ModelChoice::known(model));
        }
        if self.ticked == "files" {
            return self.files.clone();
        }
        match parse_repo_id(&self.repo) {
            Ok(id) => {
                self.repo_error.clear();
                let name = Named { key: "repo", title: id.clone() };
                Some(ModelChoice { name, from: Source::Address(id) })
            }
            Err(message) => {
                self.repo_error = message;
                None
            }
        }
    }

    /// Whether the model of a row is in use, or on its way.
    pub fn is_here(&self, row: &str) -> bool {
        match (&self.loading, &self.in_use) {
            (Some(loading), _) => loading.choice.name.key == row,
            (None, Some(in_use)) => in_use.choice.name.key == row,
            (None, None) => false,
        }
    }

    /// Whether it takes no download: it comes from this site, from disk, or from this browser's storage.
    pub fn is_at_hand(&self, choice: &ModelChoice) -> bool {
        choice.is_near() || choice.address().is_some_and(|address| self.is_cached(address))
    }

    /// Whether its row is still ticked, and nothing of it is under way.
    pub fn still_wants(&self, choice: &ModelChoice) -> bool {
        self.ticked == choice.name.key && !self.is_here(choice.name.key)
    }

    /// The model of this address, where its row is ticked, nothing of it is under way, and it takes no download.
    pub fn ready_to_load(&mut self, address: &str) -> Option<ModelChoice> {
        let is_ticked = KNOWN_MODELS.iter().any(|model| model.address == address && model.key == self.ticked)
            || self.ticked == "repo" && self.repo == address;
        let choice = is_ticked.then(|| self.choice()).flatten()?;
        (self.is_at_hand(&choice) && self.still_wants(&choice)).then_some(choice)
    }

    /// The key under which what is arriving is cached.
    pub fn arriving_key(&self) -> Option<String> {
        self.loading.as_ref().and_then(|loading| loading.choice.address()).map(key_of)
    }
}
