//! Carries effects out; those that have an answer send it as a message.

use std::cell::OnceCell;
use std::rc::Rc;

use protocol::js;
use trace::{Code, Error, Result, Trace, file};
use view::dom;
use view::hub_size::weights_size;
use view::progress::format_bytes;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::HtmlInputElement;

use super::super::cached::Cached;
use super::super::effect::{Deletion, Effect, Focus};
use super::super::msg::{FileKind, Found, Msg};
use super::super::snippet::Subject;
use super::embed_dialog::Dialog;
use super::engine::Engine;
use super::wire::on;
use super::{Dom, history, offline_copy, send};
use crate::api;

/// What effects are carried out with.
#[derive(Default)]
pub struct Effects {
    engine: Engine,
    dialog: OnceCell<Rc<Dialog>>,
}

impl Effects {
    /// Does one thing.
    pub fn carry_out(&self, effect: Effect, dom: &Dom) {
        match effect {
            Effect::Load(number, choice) => self.engine.load(number, &choice),
            Effect::Close(model) => self.engine.close(model),
            Effect::Trace(run) => self.engine.trace(run),
            Effect::Abort(run) => self.engine.abort(run),
            Effect::Leads { shown, model, texts, record } => self.engine.find_leads(shown, model, texts, record),
            Effect::Sample { model, text, options, appending } => self.engine.sample(model, text, options, appending),
            Effect::Patch { run, model, clean, corrupted, options } => {
                self.engine.patch(run, model, clean, corrupted, options);
            }
            Effect::Persist => api::ask_to_persist(),
            Effect::KeepSite => offline_copy::keep_site(),
            Effect::WriteAddress(link) => history::write(&link),
            Effect::ListCache(look) => spawn_local(list_cache(look)),
            Effect::Delete(deletions, look) => spawn_local(async move {
                let words = delete(deletions).await;
                list_cache(look).await;
                send(Msg::Deleted(words));
            }),
            Effect::AskSize(id) => spawn_local(async move {
                let answer = weights_size(&id).await;
                send(Msg::Size(id, answer));
            }),
            Effect::Later(milliseconds, msg) => spawn_local(async move {
                dom::sleep(milliseconds).await;
                send(*msg);
            }),
            Effect::Save(kind, trace) => send(Msg::Saved(save(kind, &trace))),
            Effect::OpenEmbed(subject) => self.open_embed(subject.map(|subject| *subject)),
            Effect::Focus(Focus::View) => dom.focus_view(),
            Effect::Focus(Focus::Repo) => dom.models.focus_repo(),
            Effect::LookAt(chart, place) => dom.look_at(chart, place),
        }
    }

    fn open_embed(&self, subject: Option<Subject>) {
        match self.dialog() {
            Ok(dialog) => dialog.open(subject),
            Err(error) => send(Msg::Saved(Err(error))),
        }
    }

    fn dialog(&self) -> Result<Rc<Dialog>> {
        if let Some(dialog) = self.dialog.get() {
            return Ok(dialog.clone());
        }
        let dialog = Dialog::new()?;
        Ok(self.dialog.get_or_init(|| dialog).clone())
    }
}

async fn list_cache(look: u64) {
    let models = api::cached_models().await.map(|models| {
        let cached = |model: api::CachedModel| Cached {
            folder: model.folder,
            bytes: model.bytes,
            manifest: model.manifest,
            arriving: false, // The state knows.
        };
        models.into_iter().map(cached).collect()
    });
    let room = api::storage_room().await;
    send(Msg::Cache(look, Found { models, room }));
}

/// Deletes folders, and says how that went.
async fn delete(deletions: Vec<Deletion>) -> String {
    let (mut gone, mut freed, mut said) = (Vec::new(), 0.0, Vec::new());
    for Deletion { folder, title, bytes } in deletions {
        match api::remove_folder(&folder).await {
            Ok(()) => {
                gone.push(title);
                freed += bytes;
            }
            Err(error) => said.push(format!("{title} stays: {}", error.message)),
        }
    }
    let freed = format_bytes(freed);
    match gone.as_slice() {
        [] => {}
        [title] => said.insert(0, format!("{title} is deleted: {freed} are free again.")),
        all => said.insert(0, format!("{} models are deleted: {freed} are free again.", all.len())),
    }
    said.join(" ")
}

fn save(kind: FileKind, trace: &Trace) -> Result<()> {
    match kind {
        FileKind::Json => {
            let blob = dom::text_blob(&file::to_json(trace)?, "application/json")?;
            dom::offer_file(&blob, "residual-stream.json")
        }
        FileKind::Safetensors => {
            dom::offer_file(&dom::bytes_blob(&file::to_safetensors(trace)?)?, "residual-stream.safetensors")
        }
    }
}

/// Reads the files that are opened as saved runs.
pub fn listen_to_saved_runs() -> Result<()> {
    let input: HtmlInputElement = dom::by_id("open-trace")?;
    let picked = input.clone();
    on(&input, "change", move |_| {
        let file = picked.files()?.item(0)?;
        // The same file may be opened again.
        picked.set_value("");
        spawn_local(async move {
            let read = read(&file).await.map(Box::new);
            send(Msg::SavedRun(file.name(), read));
        });
        None
    });
    Ok(())
}

async fn read(file: &web_sys::File) -> Result<Trace> {
    file::check_size(file.size() as usize)?;
    let unreadable = |_| Error::new(Code::BadArgument, "The browser could not read this file.");
    let buffer = JsFuture::from(file.array_buffer()).await.map_err(unreadable)?;
    file::read(&js::bytes(&js_sys::Uint8Array::new(&buffer))?)
}
