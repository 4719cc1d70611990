//! The run as a file, a saved run in the place of one, and the dialog about embeds.

use std::rc::Rc;

use trace::{Result, Trace};
use view::settings::ViewSettings;
use view::text_lines;

use super::super::effect::Effect;
use super::super::msg::FileKind;
use super::super::snippet::Subject;
use super::super::state::{Origin, Shown, State};
use super::common::{Effects, change_drawn, end_run, write_address};

/// Saves what is shown.
pub fn save(state: &mut State, fx: &mut Effects, kind: FileKind) {
    match &state.shown {
        Some(shown) => fx.push(Effect::Save(kind, shown.trace.clone())),
        None => "There is no run to save yet.".clone_into(&mut state.said.file_error),
    }
}

/// Opens the dialog about embeds of what is shown.
pub fn open_embed(state: &State, fx: &mut Effects) {
    let in_use = state.models.in_use.as_ref();
    let subject = state.shown.as_ref().map(|shown| {
        let is_ours = shown.from != Origin::File;
        let model = in_use.filter(|_| is_ours).and_then(|in_use| in_use.choice.address()).map(str::to_owned);
        let settings = ViewSettings { ablate: shown.trace.ablate.clone(), ..state.settings.clone() };
        Box::new(Subject { trace: shown.trace.clone(), settings, model })
    });
    fx.push(Effect::OpenEmbed(subject));
}

/// Shows a saved run: that needs no model.
pub fn show_saved(state: &mut State, fx: &mut Effects, name: &str, outcome: Result<Box<Trace>>) {
    let trace = match outcome {
        Ok(trace) => *trace,
        Err(error) => return state.said.file_error = error.message,
    };
    end_run(state, fx);
    if let Some(loading) = &mut state.models.loading {
        loading.runs = false;
    }
    state.said.file_error.clear();
    state.said.run_error.clear();
    let again = match trace.sequences.iter().all(|sequence| sequence.text.is_some()) {
        true => "Run computes it anew.",
        false => "It was made from token ids, and its texts here may have others.",
    };
    let status = format!("Saved run of {} from {name}. {again}", trace.model.source);
    let texts =
        trace.sequences.iter().map(|sequence| sequence.text.clone().unwrap_or_else(|| sequence.tokens.concat()));
    state.text = text_lines::encode(texts);
    state.asked_text.clone_from(&state.text);
    state.settings.ablate.clone_from(&trace.ablate);
    state.said.status.clone_from(&status);
    state.patched = None;
    let (number, text) = (state.next_number(), state.text.clone());
    let trace = Rc::new(trace);
    let shown = Shown { number, trace, status, from: Origin::File, text, made_by_lost: None };
    change_drawn(state, |state| state.shown = Some(shown));
    // Back undoes it; forward, and whoever is sent the link, runs the text.
    write_address(state, fx);
}
