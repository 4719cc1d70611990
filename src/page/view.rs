//! What the page shows, as words, flags and numbers: all of it follows from the state.
//! Must never know: the DOM that it is written into.

use std::rc::Rc;

use charts::format::quote_token;
use charts::{ChartName, ChartOptions};
use trace::{TokenPosition, Trace};

use super::cached::{Asking, CachedModels};
use super::model_view::{Below, Labelled};
use super::models::Models;
use super::msg::Input;
use super::samples::SAMPLES;
use super::state::{Run, State};

/// Everything that can change in the page.
pub struct View<'a> {
    /// Text box, samples, Run and Stop.
    pub text: TextView<'a>,
    /// The model panel.
    pub models: ModelsView<'a>,
    /// The trace that every chart draws; none before the first.
    pub trace: Option<&'a Rc<Trace>>,
    /// How they draw it.
    pub options: ChartOptions,
    /// Why what they draw is not what was asked for last.
    pub stale: Option<String>,
    /// What is common to all charts.
    pub common: CommonView<'a>,
    /// The panel of the chosen view.
    pub chosen: ChosenView<'a>,
    /// Why a file was not saved or opened.
    pub file_error: &'a str,
}

/// Text box, samples, Run and Stop.
pub struct TextView<'a> {
    /// What is in the box.
    pub text: &'a str,
    /// The sample that it is.
    pub sample: Option<&'static str>,
    /// Whether Stop has something to stop.
    pub running: bool,
    /// Beside the buttons.
    pub status: &'a str,
    /// Below them.
    pub error: &'a str,
}

/// The model panel.
pub struct ModelsView<'a> {
    /// The ticked row.
    pub ticked: &'static str,
    /// What is typed as a repo id, and why that is none.
    pub repo: &'a str,
    /// See `repo`.
    pub repo_error: &'a str,
    /// The right end of each row.
    pub rows: Vec<(&'static str, Labelled)>,
    /// The box below the rows.
    pub below: Below,
    /// The sign in the page's head.
    pub chip: Labelled,
    /// What this browser keeps.
    pub cached: &'a CachedModels,
    /// What the reader is asked about.
    pub asking: Option<&'a Asking>,
    /// How deleting went.
    pub deleted: &'a str,
}

/// What is common to all charts.
pub struct CommonView<'a> {
    /// Whether position 0 is left out.
    pub skip_first: bool,
    /// Bins, as typed.
    pub bins: &'a str,
    /// Whether they make no sense.
    pub bins_invalid: bool,
    /// What is switched off, in words.
    pub off: Vec<String>,
    /// The pinned token, and what the button says that takes the pin away.
    pub pin: Option<(TokenPosition, String)>,
}

/// The panel of the chosen view.
pub struct ChosenView<'a> {
    /// The view.
    pub view: ChartName,
    /// Its tab.
    pub tab: ChartName,
    /// What stands in every input.
    pub inputs: [(Input, String); Input::ALL.len()],
    /// Whether the control for a head's number is of use.
    pub off_head: bool,
    /// What numbers go up to: layers, heads and texts of what is drawn.
    pub most: Most,
    /// Why it shows less than was asked for.
    pub error: &'a str,
    /// What is computed, where there is nothing to draw yet.
    pub busy: &'a str,
}

/// What numbers in controls go up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Most {
    /// Blocks, counted from 1.
    pub layer: usize,
    /// Heads, counted from 0.
    pub head: usize,
    /// Texts, counted from 1.
    pub text: usize,
}

/// What the page shows.
pub fn view(state: &State) -> View<'_> {
    View {
        text: text(state),
        models: models(&state.models),
        trace: state.drawn(),
        options: state.settings.chart_options(),
        stale: stale(state),
        common: common(state),
        chosen: chosen(state),
        file_error: &state.said.file_error,
    }
}

fn text(state: &State) -> TextView<'_> {
    TextView {
        text: &state.text,
        sample: SAMPLES.iter().find(|sample| sample.text == state.text).map(|sample| sample.key),
        running: !state.run.is_idle(),
        status: &state.said.status,
        error: &state.said.run_error,
    }
}

fn models(models: &Models) -> ModelsView<'_> {
    ModelsView {
        ticked: models.ticked,
        repo: &models.repo,
        repo_error: &models.repo_error,
        rows: Models::rows().map(|key| (key, models.row(key))).collect(),
        below: models.below(),
        chip: models.chip(),
        cached: &models.cached,
        asking: models.asking.as_ref(),
        deleted: &models.deleted,
    }
}

/// What is drawn is stale where it belongs to another text than was asked for last, unless that one is about to come.
fn stale(state: &State) -> Option<String> {
    let shown = state.shown.as_ref()?;
    if matches!(state.run, Run::Text(..)) {
        return None;
    }
    if let Some(title) = &shown.made_by_lost {
        return Some(format!("What is shown below was computed by {title}, which is not loaded any more."));
    }
    (shown.text != state.asked_text).then(|| "What is shown below belongs to the text that ran last.".to_owned())
}

fn common(state: &State) -> CommonView<'_> {
    let settings = &state.settings;
    let pin = settings.pin.and_then(|pin| {
        let text = state.drawn()?.sequences.get(pin.sequence)?.tokens.get(pin.token)?;
        Some((pin, format!("Unpin {}", quote_token(text))))
    });
    CommonView {
        skip_first: settings.skip_first,
        bins: &settings.bins,
        bins_invalid: !settings.bins.is_empty() && settings.bins().is_none(),
        off: settings.ablate.iter().map(trace::Ablation::text).collect(),
        pin,
    }
}

fn chosen(state: &State) -> ChosenView<'_> {
    let most = state.drawn().map_or_else(Most::default, |trace| Most {
        layer: trace.model.n_layer,
        head: trace.model.n_head.saturating_sub(1),
        text: trace.sequences.len(),
    });
    ChosenView {
        view: state.settings.view,
        tab: state.settings.view.tab(),
        inputs: Input::ALL.map(|(input, _)| (input, value_of(state, input))),
        off_head: state.ablation.part == "head",
        most,
        error: &state.said.view_error,
        busy: &state.said.busy,
    }
}

/// What stands in an input.
fn value_of(state: &State, input: Input) -> String {
    let settings = &state.settings;
    match input {
        Input::Quantity => settings.quantity.as_str().to_owned(),
        Input::LensShow => match (state.tabs.lens, settings.ranks) {
            (ChartName::TrueToken, true) => "rank",
            (ChartName::TrueToken, false) => "probability",
            _ => "lens",
        }
        .to_owned(),
        Input::Parts => state.tabs.attribution.as_str().to_owned(),
        Input::HeadLayer => (settings.head.layer + 1).to_string(),
        Input::HeadNumber => settings.head.head.to_string(),
        Input::FirstText => (settings.texts[0] + 1).to_string(),
        Input::SecondText => (settings.texts[1] + 1).to_string(),
        Input::Target => settings.target.clone(),
        Input::Against => settings.against.clone(),
        Input::Temperature => settings.sampling.temperature.clone(),
        Input::TopK => settings.sampling.top_k.clone(),
        Input::TopP => settings.sampling.top_p.clone(),
        Input::Seed => settings.sampling.seed.clone(),
        Input::OffLayer => state.ablation.layer.clone(),
        Input::OffPart => state.ablation.part.clone(),
        Input::OffHead => state.ablation.head.clone(),
        Input::OffHow => state.ablation.how.clone(),
    }
}
