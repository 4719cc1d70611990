//! What this browser keeps of models: looked at when it may have changed, and deleted on the reader's word.

use super::super::cached::{Asking, Cached, CachedModels};
use super::super::effect::{Deletion, Effect};
use super::super::msg::{Found, Msg};
use super::super::state::State;
use super::common::{Effects, list_cache, next_look};
use super::load;

/// Between two looks that nobody asked for, in milliseconds.
const LOOK_EVERY_MS: i32 = 500;

/// Looks again, soon but not at every step of the keyboard: another tab may have loaded or deleted a model.
pub fn look(state: &mut State, fx: &mut Effects) {
    let (number, at) = state.models.looked;
    if state.now - at > f64::from(LOOK_EVERY_MS) {
        return list_cache(state, fx);
    }
    fx.push(Effect::Later(LOOK_EVERY_MS, Box::new(Msg::LookAgain(number))));
}

/// Looks, unless there was a look since.
pub fn look_again(state: &mut State, fx: &mut Effects, number: u64) {
    if state.models.looked.0 == number {
        list_cache(state, fx);
    }
}

/// What a look found, unless a later one knows better.
pub fn note(state: &mut State, fx: &mut Effects, number: u64, found: Found) {
    if state.models.looked.0 != number {
        return;
    }
    let arriving = state.models.arriving_key();
    let available = found.models.is_some();
    let models = found.models.unwrap_or_default().into_iter().map(|cached| {
        let key = cached.manifest.as_ref().map_or(&cached.folder, |manifest| &manifest.key);
        Cached { arriving: arriving.as_ref() == Some(key), ..cached }
    });
    // The browser's whole estimate says little where nothing can be kept.
    let room = found.room.filter(|_| available);
    let cached = CachedModels { models: models.collect(), room, available };
    let is_gone = |asking: &mut Asking| match asking {
        Asking::One(folder) => !cached.models.iter().any(|model| model.folder == *folder),
        Asking::All => cached.models.len() < 2,
    };
    state.models.asking.take_if(is_gone);
    state.models.cached = cached;
    // The model that a link asked for loads without a question where no download is needed.
    if let Some(address) = state.link.model.clone()
        && let Some(choice) = state.models.ready_to_load(&address)
    {
        state.link.model = None;
        load::load(state, fx, choice);
    }
}

/// Asks whether the reader is sure.
pub fn ask(state: &mut State, what: Asking) {
    state.models.asking = Some(what);
    state.models.deleted.clear();
}

/// Takes the question back.
pub fn do_not_delete(state: &mut State) {
    if state.models.asking.take().is_some() {
        state.models.deleted.clear();
    }
}

/// Deletes what was asked about.
pub fn delete(state: &mut State, fx: &mut Effects) {
    let asked = state.models.asking.take();
    let is_meant = |cached: &&Cached| match &asked {
        Some(Asking::One(folder)) => cached.folder == *folder,
        Some(Asking::All) => true,
        None => false,
    };
    let deletion =
        |cached: &Cached| Deletion { folder: cached.folder.clone(), title: cached.title(), bytes: cached.bytes };
    let deletions = state.models.cached.models.iter().filter(is_meant).map(deletion).collect();
    "Deleting…".clone_into(&mut state.models.deleted);
    let look = next_look(state);
    fx.push(Effect::Delete(deletions, look));
}
