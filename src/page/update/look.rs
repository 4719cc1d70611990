//! What a reader chooses to look at: a view and its controls, a token, a head, a finding's place, a model without a part.

use charts::{ChartName, Kind, Quantity};
use trace::summary::{Finding, Topic};
use trace::{Ablation, AblationMode, Component, Head, TokenPosition};
use view::settings::ViewSettings;

use super::super::effect::{Effect, Focus, PageChart};
use super::super::msg::Input;
use super::super::state::{AblationForm, State};
use super::common::{Effects, pin_drawn, write_address};
use super::run::{run_for_view, run_text};

/// Another view.
pub fn choose(state: &mut State, view: ChartName) {
    if state.settings.view != view {
        state.settings.view = view;
        state.settings.tokens = None;
        state.said.view_error.clear();
    }
    remember(state);
}

/// Tabs with several views go back to the last.
pub fn remember(state: &mut State) {
    match state.settings.view.tab() {
        ChartName::Lens => state.tabs.lens = state.settings.view,
        ChartName::Attribution => state.tabs.attribution = state.settings.view,
        _ => {}
    }
}

/// Something else is looked at: the engine may have to add it, and the address says it.
pub fn show(state: &mut State, fx: &mut Effects) {
    run_for_view(state, fx);
    write_address(state, fx);
}

/// A tab.
pub fn choose_tab(state: &mut State, fx: &mut Effects, tab: ChartName) {
    let view = match tab {
        ChartName::Lens => state.tabs.lens,
        ChartName::Attribution => state.tabs.attribution,
        tab => tab,
    };
    choose(state, view);
    show(state, fx);
}

/// A control of a view. What makes no sense in it is as on a first visit.
pub fn set_input(state: &mut State, fx: &mut Effects, input: Input, value: String) {
    let usual = ViewSettings::default();
    let settings = &mut state.settings;
    let number = |least: usize| value.trim().parse::<usize>().ok().and_then(|number| number.checked_sub(least));
    match input {
        Input::Quantity => settings.quantity = value.parse().unwrap_or_default(),
        Input::LensShow => {
            settings.ranks = value == "rank";
            choose(state, if value == "lens" { ChartName::Lens } else { ChartName::TrueToken });
        }
        Input::Parts => choose(state, value.parse().unwrap_or(ChartName::Attribution)),
        Input::HeadLayer => settings.head.layer = number(1).unwrap_or(usual.head.layer),
        Input::HeadNumber => settings.head.head = number(0).unwrap_or(usual.head.head),
        Input::FirstText => settings.texts[0] = number(1).unwrap_or(usual.texts[0]),
        Input::SecondText => settings.texts[1] = number(1).unwrap_or(usual.texts[1]),
        Input::Target => settings.target = value,
        Input::Against => settings.against = value,
        Input::Temperature => value.trim().clone_into(&mut settings.sampling.temperature),
        Input::TopK => value.trim().clone_into(&mut settings.sampling.top_k),
        Input::TopP => value.trim().clone_into(&mut settings.sampling.top_p),
        Input::Seed => value.trim().clone_into(&mut settings.sampling.seed),
        // What is to be switched off is looked at only once it is.
        Input::OffLayer => return state.ablation.layer = value,
        Input::OffPart => return state.ablation.part = value,
        Input::OffHead => return state.ablation.head = value,
        Input::OffHow => return state.ablation.how = value,
    }
    show(state, fx);
}

/// Pins a token in every view, or none.
pub fn set_pin(state: &mut State, fx: &mut Effects, pin: Option<TokenPosition>) {
    pin_drawn(state, pin);
    // What explains the prediction at one token says nothing of another.
    show(state, fx);
}

/// The button is gone with the pin; the keyboard goes on where the views are.
pub fn unpin(state: &mut State, fx: &mut Effects) {
    set_pin(state, fx, None);
    fx.push(Effect::Focus(Focus::View));
}

/// A head's attention pattern.
pub fn show_head(state: &mut State, fx: &mut Effects, head: Head) {
    state.settings.head = head;
    choose(state, ChartName::Pattern);
    show(state, fx);
}

/// Goes to where a finding is to be seen.
pub fn show_finding(state: &mut State, fx: &mut Effects, finding: &Finding) {
    let place = finding.place;
    if finding.topic == Topic::Evolution {
        return fx.push(Effect::LookAt(PageChart::Evolution, place));
    }
    let view = match finding.topic {
        Topic::StreamGrowth | Topic::FirstPosition => ChartName::Growth,
        Topic::Prediction => ChartName::Lens,
        _ => ChartName::Heatmap,
    };
    state.settings.quantity = match place.kind {
        Some(Kind::Attention) => Quantity::Attention,
        Some(Kind::Mlp) => Quantity::Mlp,
        _ => state.settings.quantity,
    };
    choose(state, view);
    if let Some(token) = place.token_position() {
        pin_drawn(state, Some(token));
    }
    show(state, fx);
    fx.push(Effect::LookAt(PageChart::View, place));
}

/// Switches off what the controls name, from the next run on.
pub fn switch_off(state: &mut State, fx: &mut Effects) {
    let Some(ablated) = named(&state.ablation) else { return };
    let part_of = |ablated: &Ablation| (ablated.layer, ablated.part, ablated.head);
    state.settings.ablate.retain(|other| part_of(other) != part_of(&ablated));
    state.settings.ablate.push(ablated);
    run_text(state, fx);
}

fn named(form: &AblationForm) -> Option<Ablation> {
    let whole = |typed: &str| typed.trim().parse::<usize>().ok();
    let layer = whole(&form.layer)?.checked_sub(1)?;
    let (part, head) = match form.part.as_str() {
        "mlp" => (Component::Mlp, None),
        "head" => (Component::Head, Some(whole(&form.head)?)),
        _ => (Component::Attn, None),
    };
    let how = if form.how == "mean" { AblationMode::Mean } else { AblationMode::Zero };
    Some(Ablation { layer, part, head, how })
}

/// Switches one of the parts that are off on again, or all of them. The button is gone with what it names.
pub fn switch_on(state: &mut State, fx: &mut Effects, index: Option<usize>) {
    match index {
        Some(index) if index < state.settings.ablate.len() => drop(state.settings.ablate.remove(index)),
        Some(_) => return,
        None => state.settings.ablate.clear(),
    }
    fx.push(Effect::Focus(Focus::View));
    run_text(state, fx);
}
