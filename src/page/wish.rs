//! What a reader asks for: a model by its row and where it comes from.

use web_sys::{File, FileList};

use super::model_view::Named;
use view::repo::{ASK_ABOVE_BYTES, KNOWN_MODELS, KnownModel};

/// A model a reader asks for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Its row and name.
    pub name: Named,
    /// Where it comes from.
    pub from: Origin,
}

/// Where a model comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// "demo" or a repo id.
    Address(String),
    /// Files the reader picked or dropped.
    Files(Vec<File>),
}

impl Wish {
    /// A model with a row of its own.
    pub fn known(model: &KnownModel) -> Wish {
        let name = Named { key: model.key, title: model.title.to_owned() };
        Wish { name, from: Origin::Address(model.address.to_owned()) }
    }

    /// Files the reader picked or dropped.
    pub fn files(files: Vec<File>) -> Wish {
        Wish { name: Named { key: "files", title: title_of(&files) }, from: Origin::Files(files) }
    }

    /// Whether loading it again needs no question: it comes from this site or from disk.
    pub fn is_near(&self) -> bool {
        match &self.from {
            Origin::Files(_) => true,
            Origin::Address(_) => KNOWN_MODELS.iter().any(|m| m.key == self.name.key && m.bytes <= ASK_ABOVE_BYTES),
        }
    }
}

/// The files of a list, which may be missing.
pub fn listed(files: Option<FileList>) -> Vec<File> {
    files.map_or_else(Vec::new, |files| (0..files.length()).filter_map(|index| files.get(index)).collect())
}

/// The weights file's name stands for the set.
fn title_of(files: &[File]) -> String {
    let names: Vec<String> = files.iter().map(File::name).collect();
    let may_be_weights = |name: &&String| name.ends_with(".safetensors") && !name.starts_with('.');
    let whole = names.iter().find(|name| *name == "model.safetensors");
    whole.or_else(|| names.iter().find(may_be_weights)).or(names.first()).cloned().unwrap_or_default()
}
