//! Everything that the page does to the world. [`super::update`] says what, `super::effects` does it; each effect that has
//! an answer ends in a [`super::msg::Msg`].

use std::rc::Rc;

use protocol::{PatchOptions, RunOptions, SampleOptions};
use trace::Trace;
use trace::summary::Place;

use super::link::Link;
use super::models::ModelChoice;
use super::msg::{Appending, FileKind, Msg};
use super::snippet::Subject;

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Load a model, under this number.
    Load(u64, ModelChoice),
    /// End the load of this number, and close its model.
    Close(u64),
    /// Ask the browser not to throw away what is cached.
    Persist,
    /// Keep the page itself for visits without a network.
    KeepSite,
    /// Trace texts.
    Trace(TraceRun),
    /// End the run of this number.
    Abort(u64),
    /// Find since when the prediction leads.
    Leads {
        /// The trace that it is for.
        shown: u64,
        /// The number of the model.
        model: u64,
        /// The texts, of which one is enough.
        texts: Vec<String>,
        /// What to record.
        record: RunOptions,
    },
    /// Go on with a text.
    Sample {
        /// The number of the model.
        model: u64,
        /// The text.
        text: String,
        /// How.
        options: SampleOptions,
        /// Where it goes.
        appending: Appending,
    },
    /// Patch one text into another.
    Patch {
        /// The number of the run.
        run: u64,
        /// The number of the model.
        model: u64,
        /// The text whose stream is taken.
        clean: String,
        /// The text that it is put into.
        corrupted: String,
        /// What is watched.
        options: PatchOptions,
    },
    /// Make the page's address say this.
    WriteAddress(Link),
    /// Look at what is cached, under this number.
    ListCache(u64),
    /// Delete these, and look again under this number.
    Delete(Vec<Deletion>, u64),
    /// Ask the hub how large a repo's weights are.
    AskSize(String),
    /// Send a message after so many milliseconds.
    Later(i32, Box<Msg>),
    /// Offer a run as a file.
    Save(FileKind, Rc<Trace>),
    /// Open the dialog about embeds.
    OpenEmbed(Option<Box<Subject>>),
    /// Put the keyboard there.
    Focus(Focus),
    /// Show a place in a chart, and go there.
    LookAt(PageChart, Place),
}

/// A trace to be made.
#[derive(Clone, Debug)]
pub struct TraceRun {
    /// Its number.
    pub run: u64,
    /// The number of the model.
    pub model: u64,
    /// One sequence each.
    pub texts: Vec<String>,
    /// What to record.
    pub record: RunOptions,
    /// Whether blocks are wanted as they are done.
    pub parts: bool,
    /// Whether the reader is told how far it is.
    pub share: bool,
}

/// A cached model to be deleted.
#[derive(Clone, Debug, PartialEq)]
pub struct Deletion {
    /// Its folder.
    pub folder: String,
    /// The name readers know it by.
    pub title: String,
    /// Its size.
    pub bytes: f64,
}

/// Where the keyboard goes when the button that had it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Focus {
    /// The chosen view.
    View,
    /// The field for a repo id.
    Repo,
}

/// One of the page's charts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageChart {
    /// The layer-wise evolution.
    Evolution,
    /// The chosen view.
    View,
}
