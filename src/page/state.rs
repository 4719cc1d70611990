//! What the page knows. Whatever is shown follows from it, so nothing that follows is stored; what cannot be true at once
//! cannot be written down.
//! Must never know: the DOM, handles of the engine (a model, a run, a set of files is a number here).

use std::rc::Rc;

use charts::ChartName;
use protocol::RunOptions;
use trace::{TokenPosition, Trace};
use view::settings::ViewSettings;

use super::models::Models;
use super::samples::SAMPLES;

/// The page.
#[derive(Clone, Debug)]
pub struct State {
    /// When the message that is being handled came, in milliseconds since the page opened.
    pub now: f64,
    /// The last number given to a load, a run or a trace: all of them are told apart by one count.
    last_number: u64,
    /// What is in the text box.
    pub text: String,
    /// What was in it when it was last asked to run.
    pub asked_text: String,
    /// What is looked at.
    pub settings: ViewSettings,
    /// The view that each tab with several goes back to.
    pub tabs: Tabs,
    /// What stands in the controls that switch a part off.
    pub ablation: AblationForm,
    /// Which model is in use, which is arriving, which could be.
    pub models: Models,
    /// What is being computed.
    pub run: Run,
    /// The last whole trace.
    pub shown: Option<Shown>,
    /// What patching was asked for last.
    pub patched: Option<PatchRequest>,
    /// What a link asked for, and what is yet to come.
    pub link: FromLink,
    /// What the page says.
    pub said: Said,
}

/// What is being computed: one thing at a time.
#[derive(Clone, Debug)]
pub enum Run {
    /// Nothing.
    Idle,
    /// A trace of the text in the box, which replaces the one that is shown. The blocks that are there are drawn already;
    /// until there are some, those of the run before it, which it replaced.
    Text(Running, Option<Rc<Trace>>),
    /// What a view needs beyond what the trace that is shown has: it is added to that trace.
    More(Running),
    /// Patching one text into another, for the trace that is shown.
    Patch(Running),
}

/// A run under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    /// Its number.
    pub number: u64,
    /// The number of its model.
    pub model: u64,
    /// What the trace will have recorded.
    pub record: RunOptions,
    /// Blocks that are done.
    pub computed: usize,
    /// When it began.
    pub began: f64,
    /// What it does, in words.
    pub what: &'static str,
}

/// A whole trace, and where it comes from.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its number: what comes later for another trace is not put beside this one.
    pub number: u64,
    /// The trace.
    pub trace: Rc<Trace>,
    /// The status line that belongs to it.
    pub status: String,
    /// Where it comes from.
    pub from: Origin,
    /// What was in the text box when it was asked for.
    pub text: String,
    /// The title of the model that made it, where that never came to its end.
    pub made_by_lost: Option<String>,
}

/// Where a trace comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// A run of this page.
    Run {
        /// The number of the model that made it.
        model: u64,
        /// What it recorded.
        recorded: RunOptions,
    },
    /// A file: no model can add to it.
    File,
}

/// The views that tabs with more than one go back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tabs {
    /// `Lens` or `TrueToken`.
    pub lens: ChartName,
    /// `Attribution` or `AttributionHeads`.
    pub attribution: ChartName,
}

/// The controls that switch a part of the model off, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AblationForm {
    /// Counted from 1.
    pub layer: String,
    /// "attn", "mlp" or "head".
    pub part: String,
    /// Counted from 0; only for a head.
    pub head: String,
    /// "zero" or "mean".
    pub how: String,
}

/// What patching is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchRequest {
    /// The text whose stream is taken.
    pub clean: String,
    /// The text that it is put into.
    pub corrupted: String,
    /// As typed: the token whose logit is watched, and the one that is taken off.
    pub target: String,
    /// See `target`.
    pub against: String,
}

/// What a link asked for that has not happened yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FromLink {
    /// A token to pin once the text has run.
    pub pin: Option<TokenPosition>,
    /// A model that waits for the reader's click, or for the list of what is cached.
    pub model: Option<String>,
}

/// Sentences that stand until others take their place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Beside Run and Stop.
    pub status: String,
    /// In the place of a view that has nothing to draw yet.
    pub busy: String,
    /// Why a run gave nothing.
    pub run_error: String,
    /// Why a view shows less than was asked of it.
    pub view_error: String,
    /// Why a file was not saved or opened.
    pub file_error: String,
}

impl Default for State {
    fn default() -> Self {
        State {
            now: 0.0,
            last_number: 0,
            text: SAMPLES[0].text.to_owned(),
            asked_text: SAMPLES[0].text.to_owned(),
            settings: ViewSettings::default(),
            tabs: Tabs { lens: ChartName::Lens, attribution: ChartName::Attribution },
            ablation: AblationForm {
                layer: "1".to_owned(),
                part: "attn".to_owned(),
                head: "0".to_owned(),
                how: "zero".to_owned(),
            },
            models: Models::default(),
            run: Run::Idle,
            shown: None,
            patched: None,
            link: FromLink::default(),
            said: Said::default(),
        }
    }
}

impl State {
    /// A number that nothing else has.
    pub fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// What the charts draw.
    pub fn drawn(&self) -> Option<&Rc<Trace>> {
        match &self.run {
            Run::Text(_, Some(part)) => Some(part),
            _ => self.shown.as_ref().map(|shown| &shown.trace),
        }
    }

    /// The texts in the box.
    pub fn texts(&self) -> Vec<String> {
        view::text_lines::decode(&self.text)
    }

    /// The number of the model that runs texts: the newest, which may still be arriving.
    pub fn model(&self) -> Option<u64> {
        let arriving = self.models.loading.as_ref().filter(|loading| loading.facts.is_some());
        arriving.map(|loading| loading.number).or(self.models.in_use.as_ref().map(|model| model.number))
    }

    /// Whether a model of this number can be asked.
    pub fn is_open(&self, model: u64) -> bool {
        self.models.in_use.as_ref().is_some_and(|in_use| in_use.number == model)
            || self.models.loading.as_ref().is_some_and(|loading| loading.number == model && loading.facts.is_some())
    }

    /// What the page's address can say of a text; nothing of the first sample.
    pub fn in_link(text: &str) -> Option<String> {
        (text != SAMPLES[0].text).then(|| text.to_owned())
    }
}

impl Run {
    /// The run under way.
    pub fn running(&self) -> Option<&Running> {
        match self {
            Run::Idle => None,
            Run::Text(running, _) | Run::More(running) | Run::Patch(running) => Some(running),
        }
    }

    /// The same, to note how far it is.
    pub fn running_mut(&mut self) -> Option<&mut Running> {
        match self {
            Run::Idle => None,
            Run::Text(running, _) | Run::More(running) | Run::Patch(running) => Some(running),
        }
    }

    /// Whether nothing is.
    pub fn is_idle(&self) -> bool {
        matches!(self, Run::Idle)
    }

    /// Whether the run of this number is under way.
    pub fn is(&self, number: u64) -> bool {
        self.running().is_some_and(|running| running.number == number)
    }
}
