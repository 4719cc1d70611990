//! The page follows its address.

use view::repo::{KNOWN_MODELS, parse_repo_id};
use view::settings::ViewSettings;

use super::super::link::Link;
use super::super::models::ModelChoice;
use super::super::samples::SAMPLES;
use super::super::state::{Shown, State};
use super::common::{Effects, list_cache, pin_drawn};
use super::{load, look, run};

/// The page was opened: the demo model loads, and its arrival runs the text.
pub fn open(state: &mut State, fx: &mut Effects, link: Option<&Link>, text: String) {
    if !text.is_empty() {
        state.text = text;
    }
    "Loading the demo model…".clone_into(&mut state.said.status);
    load::load(state, fx, ModelChoice::known(&KNOWN_MODELS[0]));
    if let Some(link) = link.filter(|link| **link != Link::default()) {
        follow(state, fx, link);
    }
    list_cache(state, fx);
}

/// Shows what an address says: on opening the page, and after back and forward.
pub fn follow(state: &mut State, fx: &mut Effects, link: &Link) {
    if state.settings.view != link.settings.view {
        state.said.view_error.clear();
    }
    let pin = state.settings.pin;
    state.settings = ViewSettings { pin, ..link.settings.clone() };
    look::remember(state);
    follow_model(state, fx, link.model.as_deref());
    let is_shown = |shown: &Shown| shown.text == state.asked_text && State::in_link(&shown.text) == link.text;
    if state.shown.as_ref().is_some_and(is_shown) {
        pin_drawn(state, link.settings.pin);
        return run::run_for_view(state, fx);
    }
    state.text = link.text.clone().unwrap_or_else(|| SAMPLES[0].text.to_owned());
    state.link.pin = link.settings.pin;
    // The first model's arrival runs the text by itself.
    if state.shown.is_some() {
        run::run_text(state, fx);
    }
}

/// Ticks the row of the model that an address names, as a reader would: what is large waits for its button.
fn follow_model(state: &mut State, fx: &mut Effects, named: Option<&str>) {
    let current = state.models.in_use.as_ref().and_then(|in_use| in_use.choice.address());
    let address = named.unwrap_or(KNOWN_MODELS[0].address);
    if current == Some(address) || named.is_none() && current.is_none() {
        return;
    }
    state.link.model = named.map(str::to_owned);
    let key = match KNOWN_MODELS.iter().find(|model| model.address == address) {
        Some(model) => model.key,
        None if parse_repo_id(address).is_ok() => {
            address.clone_into(&mut state.models.repo);
            "repo"
        }
        None => return,
    };
    if state.models.ticked != key {
        load::tick(state, fx, key);
    }
}
