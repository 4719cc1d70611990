//! Loading a model: the new one arrives beside the one in use, and takes over when it is all there.

use protocol::{Notice, NoticeKind, Phase, Progress};
use trace::{Code, Error, Result};
use view::advice::{Step, explain};
use view::progress::{RateMeter, Stage, describe_download};

use super::super::effect::{Effect, Focus};
use super::super::models::{InUse, Loading, ModelChoice, ModelFacts, Models, Named, Source};
use super::super::msg::Msg;
use super::super::state::{Origin, Run, State};
use super::common::{Effects, end_run, list_cache, write_address};

/// For more than this, the browser is asked not to throw away what is cached.
const PERSIST_ABOVE_BYTES: f64 = 50e6;
/// Between two updates of the progress line, in milliseconds: readable, and cheap.
const PROGRESS_EVERY_MS: f64 = 200.0;
/// How long a cached model's row stays ticked before it is loaded: arrow keys pass over rows.
const TICKED_MS: i32 = 400;

/// A row was ticked.
pub fn tick(state: &mut State, fx: &mut Effects, key: &str) {
    let Some(key) = Models::row_of(key) else { return };
    state.models.ticked = key;
    if key == "repo" || key == "files" || state.models.is_here(key) {
        return;
    }
    let Some(choice) = state.models.choice() else { return };
    if choice.is_near() {
        // Small enough not to ask.
        load_for_reader(state, fx, choice);
    } else if state.models.is_at_hand(&choice) {
        fx.push(Effect::Later(TICKED_MS, Box::new(Msg::StillTicked(choice))));
    }
}

/// Loads a cached model whose row was ticked, unless another was ticked meanwhile.
pub fn load_if_still_wanted(state: &mut State, fx: &mut Effects, choice: ModelChoice) {
    if state.models.still_wants(&choice) {
        load(state, fx, choice);
    }
}

/// Another repo id: what failed was not it.
pub fn type_repo(state: &mut State, typed: String) {
    state.models.repo = typed;
    state.models.repo_error.clear();
    state.models.failed.take_if(|(name, _)| name.key == "repo");
}

/// The button that loads what is ticked. Of a repo, the size is asked for first.
pub fn load_ticked(state: &mut State, fx: &mut Effects) {
    let Some(choice) = state.models.choice() else {
        if state.models.ticked == "repo" {
            fx.push(Effect::Focus(Focus::Repo));
        }
        return;
    };
    match &choice.from {
        Source::Address(id) if choice.name.key == "repo" && !state.models.knows_bytes(id) => {
            fx.push(Effect::AskSize(id.clone()));
        }
        _ => load_for_reader(state, fx, choice),
    }
}

/// Files were picked or dropped.
pub fn load_files(state: &mut State, fx: &mut Effects, number: u64, names: &[String]) {
    if names.is_empty() {
        return;
    }
    let choice = ModelChoice::files(number, names);
    state.models.ticked = choice.name.key;
    state.models.files = Some(choice.clone());
    load_for_reader(state, fx, choice);
}

/// The hub's word on a repo's size.
pub fn note_size(state: &mut State, id: String, answer: std::result::Result<u64, String>) {
    match answer {
        Ok(bytes) => state.models.size = Some((id, bytes)),
        Err(message) => state.models.failed = Some((Named { key: "repo", title: id }, message)),
    }
}

fn load_for_reader(state: &mut State, fx: &mut Effects, choice: ModelChoice) {
    state.link.model = None;
    load(state, fx, choice);
}

/// Starts loading; a load under way is ended.
pub fn load(state: &mut State, fx: &mut Effects, choice: ModelChoice) {
    drop_loading(state, fx);
    let number = state.next_number();
    fx.push(Effect::Load(number, choice.clone()));
    let models = &mut state.models;
    models.blocks_at = None;
    models.failed = None;
    models.notices = Default::default();
    models.loading = Some(Loading {
        number,
        choice,
        facts: None,
        runs: true,
        traced: false,
        share: None,
        detail: "Asking for its files…".to_owned(),
        stage: String::new(),
        meter: RateMeter::default(),
        told: f64::MIN,
    });
}

/// Ends the load under way, and whatever runs on its model.
fn drop_loading(state: &mut State, fx: &mut Effects) {
    if let Some(loading) = state.models.loading.take() {
        close(state, fx, loading.number);
    }
}

/// Closes a model, and ends what runs on it.
fn close(state: &mut State, fx: &mut Effects, model: u64) {
    if state.run.running().is_some_and(|running| running.model == model) {
        end_run(state, fx);
        state.said.status.clear();
    }
    fx.push(Effect::Close(model));
}

/// The load of this number, if it is the one under way.
fn loading(state: &mut State, load: u64) -> Option<&mut Loading> {
    state.models.loading.as_mut().filter(|loading| loading.number == load)
}

/// The engine remarks something.
pub fn tell_notice(state: &mut State, load: u64, notice: &Notice) {
    let Some(loading) = loading(state, load) else { return };
    // What comes in a moment may come in any order.
    if loading.choice.is_near() && notice.kind == NoticeKind::NoRanges {
        return;
    }
    state.models.notices.add(&notice.message, notice.kind == NoticeKind::Retrying);
}

/// Bytes came in.
pub fn tell_progress(state: &mut State, load: u64, progress: &Progress) {
    let now = state.now;
    let computed = state.run.running().filter(|running| running.model == load).map(|running| running.computed);
    let Some(loading) = loading(state, load) else { return };
    match progress.phase {
        Phase::Config => return "Reading its settings…".clone_into(&mut loading.detail),
        Phase::Tokenizer => return "Reading its tokenizer…".clone_into(&mut loading.detail),
        Phase::Weights | Phase::Build => {}
    }
    let Some(facts) = &loading.facts else { return };
    let stage = Stage { layers: facts.info.n_layer, ready: progress.blocks_ready, computed, traced: loading.traced };
    let words = stage.describe();
    let Progress { loaded, total, cached, .. } = *progress;
    loading.meter.note(now, loaded - cached);
    // A block that begins to compute is said at once: it may be done before the next update is due.
    let is_due =
        now - loading.told >= PROGRESS_EVERY_MS || loaded >= total || stage.is_computing() && loading.stage != words;
    if is_due {
        loading.told = now;
        loading.share = (total > 0.0).then(|| (loaded / total).clamp(0.0, 1.0));
        loading.detail = describe_download(loaded, total, cached, &loading.meter);
        loading.stage = words;
    }
    if stage.ready >= stage.layers {
        state.models.blocks_at.get_or_insert(now);
    }
}

/// The model can run. Whether the text is to.
pub fn open_model(state: &mut State, fx: &mut Effects, load: u64, facts: ModelFacts) -> bool {
    let bytes = facts.weights_bytes;
    let Some(loading) = loading(state, load) else {
        fx.push(Effect::Close(load));
        return false;
    };
    loading.facts = Some(facts);
    let (choice, runs) = (loading.choice.clone(), loading.runs);
    if bytes > PERSIST_ABOVE_BYTES && !state.models.is_at_hand(&choice) {
        fx.push(Effect::Persist);
    }
    runs
}

/// What follows the end of a load.
pub enum AfterLoad {
    /// The text runs, on the model that has taken over from the one that it was running on.
    Run,
    /// The trace that is shown lacks what needed the last byte.
    Leads,
    /// Nothing.
    Nothing,
}

/// The load has ended, one way or the other.
pub fn end(state: &mut State, fx: &mut Effects, load: u64, outcome: Result<()>) -> AfterLoad {
    if loading(state, load).is_none() {
        return AfterLoad::Nothing;
    }
    match outcome {
        Ok(()) => take_over(state, fx),
        Err(error) => {
            let step = match state.models.loading.as_ref().map(|loading| &loading.choice.from) {
                Some(Source::Files(_)) => Step::Open,
                _ => Step::Load,
            };
            let message = if error.code == Code::Aborted { String::new() } else { explain(&error, step) };
            give_up(state, fx, message);
            AfterLoad::Nothing
        }
    }
}

/// The model is complete: it replaces the one in use, whose memory is given back.
fn take_over(state: &mut State, fx: &mut Effects) -> AfterLoad {
    let Some(Loading { number, choice, facts: Some(facts), traced, .. }) = state.models.loading.take() else {
        return AfterLoad::Nothing;
    };
    let models = &mut state.models;
    (models.failed, models.crashed) = (None, None);
    models.notices.settle();
    models.blocks_at.get_or_insert(state.now);
    let before = models.in_use.replace(InUse { number, choice, facts }).map(|before| before.number);
    let interrupts = matches!(&state.run, Run::Text(running, _) if Some(running.model) == before);
    if let Some(before) = before {
        close(state, fx, before);
    }
    list_cache(state, fx);
    fx.push(Effect::KeepSite);
    if interrupts {
        return AfterLoad::Run;
    }
    if !(traced && state.run.is_idle()) {
        return AfterLoad::Nothing;
    }
    // A trace of this model was shown before its last byte came: its line said that something was arriving.
    state.said.status = state.shown.as_ref().map_or_else(String::new, |shown| shown.status.clone());
    write_address(state, fx);
    AfterLoad::Leads
}

/// Ends the load under way because the reader asked for it.
pub fn cancel(state: &mut State, fx: &mut Effects) {
    if state.models.loading.is_some() {
        give_up(state, fx, String::new());
    }
}

/// The load under way will not end well; an empty message where the reader ended it.
fn give_up(state: &mut State, fx: &mut Effects, message: String) {
    let Some(loading) = &state.models.loading else { return };
    let (number, name) = (loading.number, loading.choice.name.clone());
    drop_loading(state, fx);
    if let Some(shown) = &mut state.shown
        && matches!(shown.from, Origin::Run { model, .. } if model == number)
    {
        shown.made_by_lost = Some(name.title.clone());
    }
    let current = state.models.in_use.as_ref().map(|in_use| &in_use.choice.name.title);
    state.said.status = match (&state.shown, current) {
        (_, None) => "No model is loaded: pick one in the model panel.".to_owned(),
        (Some(_), Some(current)) => format!("{} was not loaded; {current} is in use.", name.title),
        (None, Some(current)) => format!("{current} is in use."),
    };
    state.models.failed = (!message.is_empty()).then_some((name, message));
    list_cache(state, fx);
}

/// The engine of a model is gone. One that is still arriving says so by its load.
pub fn lose_model(state: &mut State, fx: &mut Effects, model: u64, error: &Error) {
    if let Some(lost) = state.models.in_use.take_if(|in_use| in_use.number == model) {
        close(state, fx, lost.number);
        state.models.failed = Some((lost.choice.name.clone(), explain(error, Step::Run)));
        state.models.crashed = Some(lost.choice);
    }
}
