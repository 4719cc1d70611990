//! Everything that can happen to the page: what a reader does, and what the engine answers.
//! Must never know: the DOM events and promises that these come from.

use charts::{ChartName, Columns};
use protocol::{Notice, Progress};
use trace::summary::Finding;
use trace::{Error, Head, Patching, Result, Sampled, TokenPosition, Trace};

use super::cached::{Asking, Cached};
use super::link::Link;
use super::models::{ModelChoice, ModelFacts};

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Msg {
    /// The page was opened, at this address; in the box, what the browser kept of an earlier visit.
    Opened(Option<Link>, String),

    /// A letter was typed into the text box, or taken from it.
    Typed(String),
    /// A sample was chosen.
    Sample(String),
    /// The text in the box is to run.
    Run(String),
    /// What runs is to end.
    Stop,

    /// A tab.
    Tab(ChartName),
    /// Something was entered into an input of a view.
    Input(Input, String),
    /// "Leave position 0 out", on or off.
    SkipFirst(bool),
    /// Bins are being typed.
    Bins(String),
    /// Bins are typed.
    BinsDone(String),
    /// These columns of a grid.
    Columns(Columns),
    /// A token was chosen: pinned, or not any more.
    Pin(TokenPosition),
    /// No token is to be pinned.
    Unpin,
    /// A head was chosen.
    Head(Head),
    /// A finding was chosen.
    Finding(Finding),
    /// So many more tokens.
    Append(usize),
    /// The part that the controls name is to be switched off.
    SwitchOff,
    /// This one of the parts that are off is to be on again.
    SwitchOn(usize),
    /// All of them.
    AllOn,
    /// Back, forward, or a link within the page.
    Address(Link),

    /// A row of the model panel was ticked.
    Row(String),
    /// The repo id is being typed.
    RepoTyped(String),
    /// The button that loads.
    Load,
    /// The button that ends a load.
    Cancel,
    /// Files were picked or dropped: their number, and their names.
    Files(u64, Vec<String>),
    /// A row has been ticked for a moment.
    StillTicked(ModelChoice),
    /// What is cached may have changed.
    LookAtCache,
    /// The look of this number has waited long enough.
    LookAgain(u64),
    /// Something cached is to be deleted: is the reader sure?
    AskToDelete(Asking),
    /// They are not.
    DoNotDelete,
    /// They are.
    Delete,

    /// The run is to be saved.
    Save(FileKind),
    /// The dialog about embeds is to open.
    OpenEmbed,
    /// A saved run was read.
    SavedRun(String, Result<Box<Trace>>),
    /// A file could not be saved, or could.
    Saved(Result<()>),

    /// Bytes came in for the load of this number.
    LoadProgress(u64, Progress),
    /// The engine remarks something on it.
    LoadNotice(u64, Notice),
    /// Its model can run.
    ModelOpened(u64, Box<ModelFacts>),
    /// Its model is all there, or never will be.
    LoadEnded(u64, Result<()>),
    /// The hub's word on a repo's size, or a sentence on why there is none.
    Size(String, std::result::Result<u64, String>),
    /// What is cached, as the look of this number found it.
    Cache(u64, Found),
    /// How deleting went.
    Deleted(String),

    /// How far the run of this number is, of 1.
    Share(u64, f64),
    /// Blocks of its trace that are done.
    Partial(u64, Box<Trace>),
    /// Its end.
    Traced(u64, Result<Box<Finished>>),
    /// Since when predictions lead in the trace of this number.
    Leads(u64, Box<Trace>),
    /// Layers that patching has done.
    PatchPart(u64, Box<Patching>),
    /// Its end.
    Patched(u64, Result<Box<Patching>>),
    /// More of a text: what was asked for, and what came.
    Sampled(Appending, Result<Sampled>),
    /// Something of the page itself does not work.
    Fault(Error),
}

/// An input that views have of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the element of the same name")]
pub enum Input {
    Quantity,
    LensShow,
    Parts,
    HeadLayer,
    HeadNumber,
    FirstText,
    SecondText,
    Target,
    Against,
    Temperature,
    TopK,
    TopP,
    Seed,
    OffLayer,
    OffPart,
    OffHead,
    OffHow,
}

impl Input {
    /// Each with its element's id.
    pub const ALL: [(Input, &'static str); 17] = [
        (Input::Quantity, "quantity"),
        (Input::LensShow, "lens-show"),
        (Input::Parts, "parts"),
        (Input::HeadLayer, "head-layer"),
        (Input::HeadNumber, "head-number"),
        (Input::FirstText, "first-text"),
        (Input::SecondText, "second-text"),
        (Input::Target, "target"),
        (Input::Against, "against"),
        (Input::Temperature, "temperature"),
        (Input::TopK, "top-k"),
        (Input::TopP, "top-p"),
        (Input::Seed, "seed"),
        (Input::OffLayer, "off-layer"),
        (Input::OffPart, "off-part"),
        (Input::OffHead, "off-head"),
        (Input::OffHow, "off-how"),
    ];
}

/// The forms of a saved run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the formats' own names")]
pub enum FileKind {
    Json,
    Safetensors,
}

/// A trace that is done, and how it was made.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The trace.
    pub trace: Trace,
    /// When the engine was done with it.
    pub ended: f64,
    /// Workers it ran on.
    pub workers: usize,
    /// "relaxed" or "simd128".
    pub simd: String,
}

/// What this browser's storage was found to hold.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// None where there is no storage.
    pub models: Option<Vec<Cached>>,
    /// Bytes used and allowed, where the browser tells.
    pub room: Option<(f64, f64)>,
}

/// A text that is to be gone on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appending {
    /// All of the box, when it was asked.
    pub text: String,
    /// Which of the texts in it.
    pub sequence: usize,
}
