//! The model panel: which model, its download, its state.

use view::dom;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::spawn_local;
use web_sys::{
    DragEvent, Element, HtmlButtonElement, HtmlElement, HtmlInputElement, HtmlProgressElement, KeyboardEvent,
};

use super::super::model_view::{Below, Labelled};
use super::super::msg::Msg;
use super::super::view::ModelsView;
use super::cached_list::CachedList;
use super::dropped::{Dropped, listed};
use super::engine::keep_files;
use super::send;
use super::wire::{Field, on, on_id};
use trace::Result;

/// Handles to the panel's elements.
pub struct ModelPanel {
    root: HtmlElement,
    radios: Vec<HtmlInputElement>,
    repo_more: HtmlElement,
    repo: Field,
    repo_error: Element,
    files_more: HtmlElement,
    state: Element,
    line: Element,
    progress: HtmlProgressElement,
    detail: Element,
    stage: Element,
    notice: Element,
    error: Element,
    load: HtmlButtonElement,
    cancel: HtmlButtonElement,
    chip: Element,
    chip_text: Element,
    cached: CachedList,
}

impl ModelPanel {
    /// Finds the panel in the page.
    pub fn new() -> Result<ModelPanel> {
        let root: HtmlElement = dom::by_id("model")?;
        let panel = ModelPanel {
            radios: dom::find_all(&root, "input[name=model]"),
            repo_more: dom::by_id("repo-more")?,
            repo: Field::new("repo-id")?,
            repo_error: dom::by_id("repo-error")?,
            files_more: dom::by_id("files-more")?,
            state: dom::by_id("model-state")?,
            line: dom::by_id("model-line")?,
            progress: dom::by_id("model-progress")?,
            detail: dom::by_id("model-detail")?,
            stage: dom::by_id("model-stage")?,
            notice: dom::by_id("model-notice")?,
            error: dom::by_id("model-error")?,
            load: dom::by_id("model-load")?,
            cancel: dom::by_id("model-cancel")?,
            chip: dom::by_id("model-chip")?,
            chip_text: dom::by_id("model-chip-text")?,
            cached: CachedList::new()?,
            root,
        };
        panel.listen()?;
        Ok(panel)
    }

    fn listen(&self) -> Result<()> {
        for radio in &self.radios {
            let key = radio.value();
            on(radio, "change", move |_| Some(Msg::Row(key.clone())));
        }
        on(&self.load, "click", |_| Some(Msg::Load));
        on(&self.cancel, "click", |_| Some(Msg::Cancel));
        let repo: HtmlInputElement = dom::by_id("repo-id")?;
        let typed = repo.clone();
        on(&repo, "input", move |_| Some(Msg::RepoTyped(typed.value())));
        on(&repo, "keydown", |event| {
            (event.dyn_ref::<KeyboardEvent>()?.key() == "Enter").then(|| {
                event.prevent_default();
                Msg::Load
            })
        });
        let files: HtmlInputElement = dom::by_id("files-input")?;
        on_id("files-input", "change", move |_| Some(keep_files(listed(files.files()))))?;
        on(&self.root, "focusin", |_| look());
        on_id("kept", "toggle", |_| look())?;
        on(dom::document()?.as_ref(), "visibilitychange", |_| look());
        self.listen_to_drops();
        Ok(())
    }

    fn listen_to_drops(&self) {
        for name in ["dragenter", "dragover"] {
            let root = self.root.clone();
            on(&self.root, name, move |event| {
                event.prevent_default();
                dom::set_class(&root, "dropping", true);
                None
            });
        }
        let root = self.root.clone();
        on(&self.root, "dragleave", move |event| {
            let to = event.dyn_ref::<DragEvent>()?.related_target().and_then(|to| to.dyn_into::<web_sys::Node>().ok());
            dom::set_class(&root, "dropping", root.contains(to.as_ref()));
            None
        });
        let root = self.root.clone();
        on(&self.root, "drop", move |event| {
            event.prevent_default();
            dom::set_class(&root, "dropping", false);
            let dropped = Dropped::new(&event.dyn_ref::<DragEvent>()?.data_transfer()?);
            if !dropped.is_empty() {
                spawn_local(async move { send(keep_files(dropped.files().await)) });
            }
            None
        });
    }

    /// Puts the keyboard where a repo id is typed.
    pub fn focus_repo(&self) {
        if let Some(field) = self.repo.element().dyn_ref::<HtmlElement>() {
            let _ = field.focus();
        }
    }

    /// Writes what differs.
    pub fn write(&self, view: &ModelsView<'_>) {
        for radio in &self.radios {
            radio.set_checked(radio.value() == view.ticked);
        }
        self.repo_more.set_hidden(view.ticked != "repo");
        self.files_more.set_hidden(view.ticked != "files");
        self.repo.write(view.repo);
        dom::set_text(&self.repo_error, view.repo_error);
        for (key, row) in &view.rows {
            // A row without its place shows nothing; the rest still works.
            let _ = self.write_row(key, row);
        }
        self.write_below(&view.below);
        dom::set_attribute(&self.chip, "data-state", view.chip.state);
        dom::set_text(&self.chip_text, &view.chip.text);
        self.cached.write(view);
    }

    fn write_below(&self, below: &Below) {
        dom::set_attribute(&self.state, "data-state", below.line.state);
        dom::set_text(&self.line, &below.line.text);
        dom::set_text(&self.detail, &below.detail);
        dom::set_text(&self.stage, &below.stage);
        dom::set_text(&self.notice, &below.notice);
        dom::set_text(&self.error, &below.error);
        let loading = below.line.state == "loading";
        self.cancel.set_hidden(!loading);
        self.load.set_hidden(below.load.is_none());
        dom::set_text(&self.load, below.load.as_deref().unwrap_or("Download"));
        match below.share {
            Some(share) => self.progress.set_value(share),
            None if loading => drop(self.progress.remove_attribute("value")),
            None => {}
        }
    }

    fn write_row(&self, key: &str, row: &Labelled) -> Result<()> {
        let place: Element = dom::find(&self.root, &format!("[data-row=\"{key}\"]"))?;
        let same = place.get_attribute("data-state").as_deref() == Some(row.state);
        if same && place.text_content().as_deref() == Some(&row.text) {
            return Ok(());
        }
        dom::set_attribute(&place, "data-state", row.state);
        place.set_text_content(None);
        if row.state != "idle" {
            dom::append(&place, &dom::create::<Element>("span", "dot")?);
        }
        dom::append(&place, dom::create_with_text("span", "", &row.text)?.as_ref());
        Ok(())
    }
}

/// The panel came into view: what is cached may have changed.
fn look() -> Option<Msg> {
    let is_hidden = dom::document().is_ok_and(|document| document.hidden());
    (!is_hidden).then_some(Msg::LookAtCache)
}
