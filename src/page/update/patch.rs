//! Patching one text into another, for the view of that name.

use charts::ChartName;
use protocol::{PatchOptions, RunOptions};
use trace::{Patching, Result};
use view::advice::{Step, ends_engine, explain};

use super::super::effect::Effect;
use super::super::state::{Origin, PatchRequest, Run, Running, State};
use super::common::{Effects, change_shown, forget_patched, model_at_hand, replace_run, say_both};
use super::load;

/// Patches for the patching view, unless that was done.
pub fn patch_for_view(state: &mut State, fx: &mut Effects) {
    let Some(request) = requested(state) else { return };
    let is_saved = state.shown.as_ref().is_none_or(|shown| shown.from == Origin::File);
    if is_saved || state.patched.as_ref() == Some(&request) {
        return;
    }
    let Some(model) = model_at_hand(state) else { return };
    forget_patched(state);
    state.said.view_error.clear();
    let run = state.next_number();
    let record = RunOptions::default();
    let running = Running { number: run, model, record, computed: 0, began: state.now, what: "Patching" };
    replace_run(state, fx, Run::Patch(running));
    say_both(state, "Patching…".to_owned());
    let (answer, against) = state.settings.explained();
    let (clean, corrupted) = (request.clean.clone(), request.corrupted.clone());
    fx.push(Effect::Patch { run, model, clean, corrupted, options: PatchOptions { answer, against } });
    state.patched = Some(request);
}

/// The two texts and tokens that the patching view asks for; none where there are no two texts.
fn requested(state: &State) -> Option<PatchRequest> {
    let settings = &state.settings;
    if settings.view != ChartName::Patching {
        return None;
    }
    let texts = state.texts();
    let (clean, corrupted) = (texts.get(settings.texts[0])?.clone(), texts.get(settings.texts[1])?.clone());
    let (target, against) = (settings.target.clone(), settings.against.clone());
    Some(PatchRequest { clean, corrupted, target, against })
}

/// Draws the layers that are done.
pub fn show_part(state: &mut State, run: u64, found: Patching) {
    if state.run.is(run) {
        let tokens = found.corrupted_tokens.len().max(1);
        let words = format!("Patching: layer {} is done…", found.recovered.len() / tokens);
        say_both(state, words);
        change_shown(state, |trace| trace.patching = Some(found));
    }
}

/// Patching has ended, unless something else has taken its place.
pub fn end(state: &mut State, fx: &mut Effects, run: u64, outcome: Result<Box<Patching>>) {
    if !state.run.is(run) {
        return;
    }
    let Run::Patch(running) = std::mem::replace(&mut state.run, Run::Idle) else { return };
    state.said.busy.clear();
    state.said.status = state.shown.as_ref().map_or_else(String::new, |shown| shown.status.clone());
    match outcome {
        Ok(found) => change_shown(state, |trace| trace.patching = Some(*found)),
        Err(error) => {
            if ends_engine(error.code) {
                load::lose_model(state, fx, running.model, &error);
            }
            state.said.view_error = explain(&error, Step::Run);
        }
    }
}
