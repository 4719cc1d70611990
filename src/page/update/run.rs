//! Running the text in the box, adding what a view needs to the trace that is shown, and going on with a text.

use std::rc::Rc;

use protocol::RunOptions;
use trace::{Code, Error, Head, Result, Sampled, Trace};
use view::advice::{Step, ends_engine, explain};
use view::progress::format_milliseconds;
use view::record::{both, covers, missing};

use super::super::effect::{Effect, TraceRun};
use super::super::msg::{Appending, Finished};
use super::super::state::{Origin, Run, Running, Shown, State};
use super::common::{
    Effects, change_drawn, change_shown, end_run, forget_patched, model_at_hand, pin_drawn, replace_run, say_both,
    write_address,
};
use super::{load, patch};

/// Said after a run on a model whose token table is not all there.
const REST: &str = "The charts are complete; predictions wait for the rest.";
/// Said while a text is gone on with.
const WRITING: &str = "Writing on…";
/// Milliseconds after which a reader wonders how far a run is.
const SOON: f64 = 400.0;

/// Runs the text in the box on the newest model there is.
pub fn run_text(state: &mut State, fx: &mut Effects) {
    let record = state.settings.record();
    run_recording(state, fx, record);
}

fn run_recording(state: &mut State, fx: &mut Effects, record: RunOptions) {
    let texts = state.texts();
    if texts.is_empty() {
        end_run(state, fx);
        state.said.status.clear();
        return refuse(state, "There is nothing to trace. Type a sentence, or pick a sample.");
    }
    let Some(model) = state.model() else {
        end_run(state, fx);
        return wait_for_model(state, fx);
    };
    forget_patched(state);
    let is_arriving = state.models.loading.is_some();
    let running =
        Running { number: state.next_number(), model, record, computed: 0, began: state.now, what: "Running" };
    let trace = TraceRun {
        run: running.number,
        model,
        texts,
        record: running.record.clone(),
        parts: true,
        // A model that is still arriving tells of its blocks.
        share: !is_arriving,
    };
    let part = match &mut state.run {
        Run::Text(_, part) => part.take(),
        _ => None,
    };
    replace_run(state, fx, Run::Text(running, part));
    fx.push(Effect::Trace(trace));
    state.asked_text.clone_from(&state.text);
    state.said.run_error.clear();
    let status = if is_arriving { "Waiting for the model’s first layers…" } else { "Running…" };
    status.clone_into(&mut state.said.status);
}

fn wait_for_model(state: &mut State, fx: &mut Effects) {
    if let Some(loading) = &mut state.models.loading {
        // Its arrival runs the text.
        loading.runs = true;
        "Waiting for the model…".clone_into(&mut state.said.status);
        return;
    }
    match state.models.crashed.clone().filter(|choice| state.models.is_at_hand(choice)) {
        Some(choice) => {
            state.models.crashed = None;
            state.said.run_error.clear();
            "Loading the model again…".clone_into(&mut state.said.status);
            load::load(state, fx, choice);
        }
        None => refuse(state, "No model is loaded. Pick one in the model panel, then run again."),
    }
}

/// Says why there is no new result; the last one stays.
fn refuse(state: &mut State, message: &str) {
    message.clone_into(&mut state.said.run_error);
    state.asked_text.clone_from(&state.text);
}

/// Ends what is under way because the reader asked for it.
pub fn stop(state: &mut State, fx: &mut Effects) {
    if !state.run.is_idle() {
        end_run(state, fx);
        "Stopped.".clone_into(&mut state.said.status);
    }
}

/// Sees to it that the trace that is shown has what the chosen view needs.
pub fn run_for_view(state: &mut State, fx: &mut Effects) {
    // A run over a new text asks once it is done.
    if matches!(state.run, Run::Text(..)) {
        return;
    }
    let Some(Shown { from: Origin::Run { recorded, .. }, .. }) = &state.shown else { return };
    let recorded = match &state.run {
        Run::More(running) => &running.record,
        _ => recorded,
    };
    let wanted = state.settings.record();
    if recorded.ablate != wanted.ablate {
        run_text(state, fx);
    } else if !covers(recorded, &wanted) {
        run_more(state, fx, &wanted);
    } else if !matches!(state.run, Run::More(_)) {
        patch::patch_for_view(state, fx);
    }
}

/// Runs the texts that are shown for what is missing of what is wanted: all that is there stays.
fn run_more(state: &mut State, fx: &mut Effects, wanted: &RunOptions) {
    // The engine does one thing after the other, and patching may take minutes.
    if matches!(state.run, Run::Patch(_)) {
        forget_patched(state);
    }
    let Some(Shown { trace, from: Origin::Run { model, recorded }, .. }) = &state.shown else { return };
    let texts: Option<Vec<String>> = trace.sequences.iter().map(|sequence| sequence.text.clone()).collect();
    let (model, record, missing) = (*model, both(recorded, wanted), missing(recorded, wanted));
    let Some(texts) = texts.filter(|_| state.is_open(model)) else { return run_text(state, fx) };
    let what = match &missing {
        missing if missing.lens > 0 => "Computing the logit lens",
        missing if !missing.patterns.is_empty() => "Computing the pattern",
        missing if missing.attribution.is_some() => "Computing the attribution",
        _ => "Computing",
    };
    let run = state.next_number();
    let running = Running { number: run, model, record, computed: 0, began: state.now, what };
    replace_run(state, fx, Run::More(running));
    say_both(state, format!("{what}…"));
    fx.push(Effect::Trace(TraceRun { run, model, texts, record: missing, parts: false, share: true }));
}

/// How far a run is, once that is worth telling.
pub fn tell_share(state: &mut State, run: u64, share: f64) {
    let slow = |running: &&Running| running.number == run && state.now - running.began > SOON;
    if let Some(running) = state.run.running().filter(slow) {
        let words = format!("{}, {:.0} %…", running.what, share * 100.0);
        say_both(state, words);
    }
}

/// Draws the blocks that are done.
pub fn show_part(state: &mut State, run: u64, trace: Trace) {
    if !state.run.is(run) {
        return;
    }
    let (done, layers) = (trace.layer_count(), trace.model.n_layer);
    change_drawn(state, |state| {
        if let Run::Text(running, part) = &mut state.run {
            running.computed = done;
            *part = Some(Rc::new(trace));
        }
    });
    state.said.status = match layers.saturating_sub(done) {
        0 => "Finishing…".to_owned(),
        1 => format!("Block {done} of {layers} computed; the charts still lack the last layer."),
        missing => format!("Block {done} of {layers} computed; the charts still lack {missing} layers."),
    };
}

/// A run has ended, unless another has taken its place.
pub fn end(state: &mut State, fx: &mut Effects, run: u64, outcome: Result<Box<Finished>>) {
    if !state.run.is(run) {
        return;
    }
    state.said.busy.clear();
    let run = state.run.clone();
    match (run, outcome) {
        (Run::Text(running, _), Ok(finished)) => show_whole(state, fx, running, *finished),
        (Run::More(running), Ok(finished)) => add_more(state, fx, running, finished.trace),
        (run, Err(error)) => {
            change_drawn(state, |state| state.run = Run::Idle);
            fail(state, fx, &run, &error);
        }
        (Run::Idle | Run::Patch(_), Ok(_)) => {}
    }
}

fn show_whole(state: &mut State, fx: &mut Effects, running: Running, finished: Finished) {
    let Finished { trace, ended, workers, simd } = finished;
    let arriving = state.models.loading.as_mut().filter(|loading| loading.number == running.model);
    let is_arriving = arriving.map(|loading| loading.traced = true).is_some();
    let tokens: usize = trace.sequences.iter().map(|sequence| sequence.token_count()).sum();
    let count = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    // A run that waited for bytes says nothing of the engine's speed.
    let time = match state.models.blocks_at.filter(|at| *at > running.began) {
        Some(at) => format!("{} after the last block", format_milliseconds(ended - at)),
        None => format_milliseconds(ended - running.began),
    };
    let brief = format!("{} · {time}", count(tokens, "token"));
    let status = format!("{brief} · {} · {simd}", count(workers, "core"));
    state.said.status = if is_arriving { format!("{brief}. {REST}") } else { status.clone() };
    change_drawn(state, |state| {
        state.run = Run::Idle;
        state.shown = Some(Shown {
            number: running.number,
            trace: Rc::new(trace),
            status,
            from: Origin::Run { model: running.model, recorded: running.record },
            text: state.asked_text.clone(),
            made_by_lost: None,
        });
    });
    if let Some(pin) = state.link.pin.take() {
        pin_drawn(state, Some(pin));
    }
    write_address(state, fx);
    // Another view may have been chosen meanwhile.
    run_for_view(state, fx);
    find_leads(state, fx);
}

fn add_more(state: &mut State, fx: &mut Effects, running: Running, more: Trace) {
    state.run = Run::Idle;
    change_shown(state, |trace| trace.merge(more));
    if let Some(Shown { trace, status, from: Origin::Run { recorded, .. }, .. }) = &mut state.shown {
        let patterns = trace.sequences.first().and_then(|sequence| sequence.patterns.as_ref());
        let patterns = patterns.into_iter().flatten().map(|p| Head { layer: p.layer, head: p.head }).collect();
        *recorded = RunOptions { patterns, ..running.record };
        state.said.status.clone_from(status);
    }
    write_address(state, fx);
    // What the engine did not add now it would not add the next time.
    patch::patch_for_view(state, fx);
    find_leads(state, fx);
}

/// Asks, once the run is shown, since when the prediction leads: that needs the whole token table, and waits for it.
pub fn find_leads(state: &State, fx: &mut Effects) {
    let (Some(in_use), Some(shown)) = (&state.models.in_use, &state.shown) else { return };
    let is_still = state.run.is_idle() && state.models.loading.is_none() && shown.from != Origin::File;
    if !is_still || shown.trace.sequences.iter().any(|sequence| sequence.leads.is_some()) {
        return;
    }
    let texts: Vec<String> =
        shown.trace.sequences.iter().take(1).filter_map(|sequence| sequence.text.clone()).collect();
    if texts.is_empty() {
        return;
    }
    let mut record = RunOptions::new(false, 0, false);
    (record.leads, record.ablate) = (true, shown.trace.ablate.clone());
    fx.push(Effect::Leads { shown: shown.number, model: in_use.number, texts, record });
}

/// Puts what was found beside the trace that it is for, if that is still shown.
pub fn add_leads(state: &mut State, shown: u64, found: Trace) {
    if state.shown.as_ref().is_some_and(|known| known.number == shown) {
        change_shown(state, |trace| trace.merge(found));
    }
}

fn fail(state: &mut State, fx: &mut Effects, run: &Run, error: &Error) {
    state.said.status.clear();
    // What a control of a view asked for and the model has not: the view says so, the rest stays as it is.
    if error.code == Code::BadArgument {
        // A new text is worth its norms whatever the view wants.
        let plain = RunOptions { ablate: state.settings.ablate.clone(), ..RunOptions::new(false, 0, false) };
        if matches!(run, Run::Text(running, _) if !covers(&plain, &running.record)) {
            run_recording(state, fx, plain);
        }
        return error.message.clone_into(&mut state.said.view_error);
    }
    let is_of_the_text =
        matches!(error.code, Code::TooLong | Code::EmptyInput | Code::NoTokenizer | Code::TokenOutOfRange);
    let is_arriving = state.models.loading.as_ref().is_some_and(|loading| loading.facts.is_some());
    // A load that fails says so in the model panel; a run on its model has nothing to add.
    if error.code == Code::Aborted || is_arriving && !is_of_the_text {
        return;
    }
    if let Some(running) = run.running().filter(|_| ends_engine(error.code)) {
        load::lose_model(state, fx, running.model, error);
    }
    let message = explain(error, Step::Run);
    match run {
        // What is shown is as good as before.
        Run::More(_) => state.said.view_error = message,
        _ => refuse(state, &message),
    }
}

/// Goes on with the text that is looked at, by so many tokens.
pub fn append(state: &mut State, fx: &mut Effects, count: usize) {
    let texts = state.texts();
    let sequence = state.settings.pin.map_or(0, |pin| pin.sequence);
    let sequence = if sequence < texts.len() { sequence } else { 0 };
    let Some(text) = texts.into_iter().nth(sequence) else { return };
    let Some(model) = model_at_hand(state) else { return };
    state.said.view_error.clear();
    WRITING.clone_into(&mut state.said.status);
    let appending = Appending { text: state.text.clone(), sequence };
    fx.push(Effect::Sample { model, text, options: state.settings.sample(count), appending });
}

/// What came goes into the box, and runs, unless the reader typed meanwhile: theirs is worth more.
pub fn append_sampled(state: &mut State, fx: &mut Effects, appending: &Appending, outcome: Result<Sampled>) {
    if state.said.status == WRITING {
        state.said.status.clear();
    }
    if state.text != appending.text {
        return;
    }
    match outcome {
        Ok(sampled) => {
            state.settings.advance_seed();
            let mut texts = state.texts();
            if let Some(text) = texts.get_mut(appending.sequence) {
                *text += &sampled.text;
            }
            state.text = view::text_lines::encode(texts);
            run_text(state, fx);
        }
        Err(error) => state.said.view_error = explain(&error, Step::Run),
    }
}
