//! What follows from a message: a change of the state, and effects. Plain functions, so that the page's behaviour is tested
//! without a browser.
//! Must never know: the DOM, who carries effects out.

mod cache;
mod common;
mod files;
mod link;
mod load;
mod look;
mod patch;
mod run;
#[cfg(test)]
mod tests;

use super::effect::Effect;
use super::msg::Msg;
use super::samples;
use super::state::State;
use common::{Effects, write_address};
use load::AfterLoad;

/// Takes a message in, which came `now` milliseconds after the page opened.
pub fn update(state: &mut State, msg: Msg, now: f64) -> Vec<Effect> {
    state.now = now;
    let mut effects = Effects::new();
    let fx = &mut effects;
    match msg {
        Msg::Opened(link, text) => link::open(state, fx, link.as_ref(), text),
        Msg::Address(link) => link::follow(state, fx, &link),

        Msg::Typed(text) => state.text = text,
        Msg::Sample(key) => {
            if let Some(sample) = samples::sample(&key) {
                sample.text.clone_into(&mut state.text);
                run::run_text(state, fx);
            }
        }
        Msg::Run(text) => {
            state.text = text;
            run::run_text(state, fx);
        }
        Msg::Stop => run::stop(state, fx),
        Msg::Append(count) => run::append(state, fx, count),
        Msg::Share(run, share) => run::tell_share(state, run, share),
        Msg::Partial(run, trace) => run::show_part(state, run, *trace),
        Msg::Traced(run, outcome) => run::end(state, fx, run, outcome),
        Msg::Leads(shown, trace) => run::add_leads(state, shown, *trace),
        Msg::Sampled(appending, outcome) => run::append_sampled(state, fx, &appending, outcome),
        Msg::PatchPart(run, found) => patch::show_part(state, run, *found),
        Msg::Patched(run, outcome) => patch::end(state, fx, run, outcome),

        Msg::Tab(tab) => look::choose_tab(state, fx, tab),
        Msg::Input(input, value) => look::set_input(state, fx, input, value),
        Msg::SkipFirst(skip) => {
            state.settings.skip_first = skip;
            write_address(state, fx);
        }
        Msg::Bins(typed) => state.settings.bins = typed.trim().to_owned(),
        Msg::BinsDone(typed) => {
            state.settings.bins = typed.trim().to_owned();
            write_address(state, fx);
        }
        Msg::Columns(columns) => {
            state.settings.tokens = columns.window();
            look::show(state, fx);
        }
        Msg::Pin(token) => look::set_pin(state, fx, Some(token).filter(|token| state.settings.pin != Some(*token))),
        Msg::Unpin => look::unpin(state, fx),
        Msg::Head(head) => look::show_head(state, fx, head),
        Msg::Finding(finding) => look::show_finding(state, fx, &finding),
        Msg::SwitchOff => look::switch_off(state, fx),
        Msg::SwitchOn(index) => look::switch_on(state, fx, Some(index)),
        Msg::AllOn => look::switch_on(state, fx, None),

        Msg::Row(key) => load::tick(state, fx, &key),
        Msg::RepoTyped(typed) => load::type_repo(state, typed),
        Msg::Load => load::load_ticked(state, fx),
        Msg::Cancel => load::cancel(state, fx),
        Msg::Files(number, names) => load::load_files(state, fx, number, &names),
        Msg::StillTicked(choice) => load::load_if_still_wanted(state, fx, choice),
        Msg::LoadProgress(load, progress) => load::tell_progress(state, load, &progress),
        Msg::LoadNotice(load, notice) => load::tell_notice(state, load, &notice),
        Msg::ModelOpened(load, facts) => {
            // The charts fill block by block while the rest is on its way.
            if load::open_model(state, fx, load, *facts) {
                run::run_text(state, fx);
            }
        }
        Msg::LoadEnded(load, outcome) => match load::end(state, fx, load, outcome) {
            AfterLoad::Run => run::run_text(state, fx),
            AfterLoad::Leads => run::find_leads(state, fx),
            AfterLoad::Nothing => {}
        },
        Msg::Size(id, answer) => load::note_size(state, id, answer),

        Msg::LookAtCache => cache::look(state, fx),
        Msg::LookAgain(number) => cache::look_again(state, fx, number),
        Msg::Cache(number, found) => cache::note(state, fx, number, found),
        Msg::AskToDelete(what) => cache::ask(state, what),
        Msg::DoNotDelete => cache::do_not_delete(state),
        Msg::Delete => cache::delete(state, fx),
        Msg::Deleted(words) => state.models.deleted = words,

        Msg::Save(kind) => files::save(state, fx, kind),
        Msg::Saved(outcome) => state.said.file_error = outcome.err().map_or_else(String::new, |error| error.message),
        Msg::OpenEmbed => files::open_embed(state, fx),
        Msg::SavedRun(name, outcome) => files::show_saved(state, fx, &name, outcome),
        Msg::Fault(error) => state.said.run_error = error.message,
    }
    effects
}
