//! What every part of the update does: to the run under way, to what is drawn, to the address, to the list of what is
//! cached.
//! Must never know: the other parts.

use std::rc::Rc;

use trace::{Sequence, TokenPosition, Trace};
use view::repo::KNOWN_MODELS;

use super::super::effect::Effect;
use super::super::link::Link;
use super::super::state::{Origin, Run, State};

/// What is to be done, in order.
pub type Effects = Vec<Effect>;

/// Another run, or none, in the place of the one under way, which is ended.
pub fn replace_run(state: &mut State, fx: &mut Effects, run: Run) {
    if let Some(running) = state.run.running() {
        fx.push(Effect::Abort(running.number));
    }
    state.run = run;
    state.said.busy.clear();
}

/// Ends what is under way; the last whole trace is drawn again where a part of another was.
pub fn end_run(state: &mut State, fx: &mut Effects) {
    change_drawn(state, |state| replace_run(state, fx, Run::Idle));
}

/// Says what is under way, beside Run and in the place of an empty view.
pub fn say_both(state: &mut State, words: String) {
    state.said.busy.clone_from(&words);
    state.said.status = words;
}

/// The model that an experiment runs on; says so where there is none.
pub fn model_at_hand(state: &mut State) -> Option<u64> {
    let model = state.model();
    if model.is_none() {
        "No model is loaded. Pick one in the model panel first.".clone_into(&mut state.said.view_error);
    }
    model
}

/// Forgets what was patched: by another model, or of another text. What a saved run holds stays.
pub fn forget_patched(state: &mut State) {
    state.patched = None;
    let is_ours =
        state.shown.as_ref().is_some_and(|shown| shown.from != Origin::File && shown.trace.patching.is_some());
    if is_ours {
        change_shown(state, |trace| trace.patching = None);
    }
}

/// Changes which trace is drawn. A pinned token stays pinned where the new one reads the same up to it, and a part of the
/// tokens stays chosen where the texts are as long.
pub fn change_drawn(state: &mut State, change: impl FnOnce(&mut State)) {
    let before = state.drawn().cloned();
    change(state);
    fit(state, before.as_deref());
}

/// Takes away what the trace that is drawn does not have.
pub fn fit(state: &mut State, before: Option<&Trace>) {
    let now = state.drawn().cloned();
    let same = |&pin: &TokenPosition| {
        let now = ids_up_to(now.as_deref(), pin);
        now.is_some() && now == ids_up_to(before, pin)
    };
    state.settings.pin = state.settings.pin.filter(same);
    let lengths = |trace: &Trace| trace.sequences.iter().map(Sequence::token_count).collect::<Vec<_>>();
    if let (Some(before), Some(now)) = (before, &now)
        && lengths(before) != lengths(now)
    {
        state.settings.tokens = None;
    }
}

/// The ids of a sequence up to a token of it, that one included.
fn ids_up_to(trace: Option<&Trace>, pin: TokenPosition) -> Option<&[u32]> {
    trace?.sequences.get(pin.sequence)?.ids.get(..=pin.token)
}

/// Changes the trace that is shown, which others may hold too.
pub fn change_shown(state: &mut State, change: impl FnOnce(&mut Trace)) {
    if let Some(shown) = &mut state.shown {
        change(Rc::make_mut(&mut shown.trace));
    }
}

/// Pins a token of what is drawn; none where it does not have it.
pub fn pin_drawn(state: &mut State, pin: Option<TokenPosition>) {
    state.settings.pin = pin;
    let drawn = state.drawn().cloned();
    fit(state, drawn.as_deref());
}

/// Makes the page's address say what the page shows.
pub fn write_address(state: &State, fx: &mut Effects) {
    // Before there is something to show, the address may say what is to be.
    let Some(shown) = &state.shown else { return };
    let current = state.models.in_use.as_ref().and_then(|in_use| in_use.choice.address());
    let model = state.link.model.as_deref().or(current).filter(|address| *address != KNOWN_MODELS[0].address);
    fx.push(Effect::WriteAddress(Link {
        text: State::in_link(&shown.text),
        model: model.map(str::to_owned),
        settings: state.settings.clone(),
    }));
}

/// Looks at what is cached.
pub fn list_cache(state: &mut State, fx: &mut Effects) {
    let number = next_look(state);
    fx.push(Effect::ListCache(number));
}

/// The number of another look.
pub fn next_look(state: &mut State) -> u64 {
    state.models.looked = (state.models.looked.0 + 1, state.now);
    state.models.looked.0
}
