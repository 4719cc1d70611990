//! The model panel: which model, its download, its state. Shows; what happens is `app`'s.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use wasm_bindgen::JsCast;
use web_sys::{
    DragEvent, Element, File, FileList, HtmlButtonElement, HtmlElement, HtmlInputElement, HtmlProgressElement,
};

use super::dom::{self, Listener, listen};
use super::model_view::{Labelled, Models, Named};
use super::progress::{RateMeter, describe_download};
use super::repo::{ASK_ABOVE_BYTES, KNOWN_MODELS, KnownModel, parse_repo_id};
use crate::error::Result;

/// Between two updates of the progress line, in milliseconds: readable, and cheap.
const PROGRESS_EVERY_MS: f64 = 200.0;

/// A model a reader asks for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Its row and name.
    pub name: Named,
    /// Where it comes from.
    pub from: Origin,
}

/// Where a model comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// "demo" or a repo id.
    Address(String),
    /// Files the reader picked or dropped.
    Files(Vec<File>),
}

/// What a reader asked for.
pub enum ModelEvent {
    /// Load this model.
    Load(Wish),
    /// Ask the hub how large this repo's weights are.
    AskSize(String),
    /// End the download under way.
    Cancel,
}

/// Handles to the panel's elements, and what it shows.
pub struct ModelPanel {
    root: HtmlElement,
    radios: Vec<HtmlInputElement>,
    repo_more: HtmlElement,
    repo_id: HtmlInputElement,
    repo_error: Element,
    files_more: HtmlElement,
    files: HtmlInputElement,
    state: Element,
    line: Element,
    progress: HtmlProgressElement,
    detail: Element,
    error: Element,
    load: HtmlButtonElement,
    cancel: HtmlButtonElement,
    chip: Element,
    chip_text: Element,
    models: RefCell<Models>,
    meter: RefCell<RateMeter>,
    updated: Cell<f64>,
    listeners: RefCell<Vec<Listener>>,
}

impl ModelPanel {
    /// Finds the panel in the page.
    pub fn new() -> Result<Rc<ModelPanel>> {
        let root: HtmlElement = dom::by_id("model")?;
        Ok(Rc::new(ModelPanel {
            radios: dom::find_all(&root, "input[name=model]"),
            repo_more: dom::by_id("repo-more")?,
            repo_id: dom::by_id("repo-id")?,
            repo_error: dom::by_id("repo-error")?,
            files_more: dom::by_id("files-more")?,
            files: dom::by_id("files-input")?,
            state: dom::by_id("model-state")?,
            line: dom::by_id("model-line")?,
            progress: dom::by_id("model-progress")?,
            detail: dom::by_id("model-detail")?,
            error: dom::by_id("model-error")?,
            load: dom::by_id("model-load")?,
            cancel: dom::by_id("model-cancel")?,
            chip: dom::by_id("model-chip")?,
            chip_text: dom::by_id("model-chip-text")?,
            root,
            models: RefCell::default(),
            meter: RefCell::default(),
            updated: Cell::new(0.0),
            listeners: RefCell::default(),
        }))
    }

    /// Calls `handler` on every wish of the reader.
    pub fn on_event(self: &Rc<Self>, handler: impl Fn(ModelEvent) + 'static) {
        let handler: Rc<dyn Fn(ModelEvent)> = Rc::new(handler);
        let mut listeners = Vec::new();
        let mut on = |target: &web_sys::EventTarget,
                      event: &'static str,
                      then: fn(&ModelPanel, &web_sys::Event) -> Option<ModelEvent>| {
            let (weak, handler) = (Rc::downgrade(self), handler.clone());
            listeners.push(listen(target, event, move |event| {
                let wish = weak.upgrade().and_then(|panel| then(&panel, &event));
                if let Some(wish) = wish {
                    handler(wish);
                }
            }));
        };
        for radio in &self.radios {
            on(radio, "change", |panel, _| {
                panel.render();
                if panel.chosen() == "repo" {
                    return None;
                }
                // Small enough not to ask.
                let wish = panel.wish()?;
                (wish.is_near() && wish.name.key != "files" && !panel.is_here(wish.name.key))
                    .then_some(ModelEvent::Load(wish))
            });
        }
        on(&self.load, "click", |panel, _| {
            let wish = panel.wish()?;
            match (&wish.from, wish.name.key) {
                (Origin::Address(id), "repo") if panel.models.borrow().known_bytes(id).is_none() => {
                    Some(ModelEvent::AskSize(id.clone()))
                }
                _ => Some(ModelEvent::Load(wish)),
            }
        });
        on(&self.cancel, "click", |_, _| Some(ModelEvent::Cancel));
        on(&self.repo_id, "input", |panel, _| {
            dom::set_text(&panel.repo_error, "");
            // What failed was another repo.
            panel.models.borrow_mut().failed.take_if(|(name, _)| name.key == "repo");
            panel.render();
            None
        });
        on(&self.repo_id, "keydown", |panel, event| {
            if event.dyn_ref::<web_sys::KeyboardEvent>()?.key() == "Enter" {
                event.prevent_default();
                panel.load.click();
            }
            None
        });
        on(&self.files, "change", |panel, _| Some(ModelEvent::Load(panel.wish()?)));
        for name in ["dragenter", "dragover"] {
            on(&self.root, name, |panel, event| {
                event.prevent_default();
                dom::set_class(&panel.root, "dropping", true);
                None
            });
        }
        on(&self.root, "dragleave", |panel, event| {
            let to = event.dyn_ref::<DragEvent>()?.related_target().and_then(|to| to.dyn_into::<web_sys::Node>().ok());
            dom::set_class(&panel.root, "dropping", panel.root.contains(to.as_ref()));
            None
        });
        on(&self.root, "drop", |panel, event| {
            event.prevent_default();
            dom::set_class(&panel.root, "dropping", false);
            let files = listed(event.dyn_ref::<DragEvent>()?.data_transfer()?.files());
            (!files.is_empty()).then_some(())?;
            panel.choose("files");
            Some(ModelEvent::Load(files_wish(files)))
        });
        self.listeners.replace(listeners);
        self.render();
    }

    /// Ticks a row.
    fn choose(&self, key: &str) {
        for radio in &self.radios {
            radio.set_checked(radio.value() == key);
        }
        self.render();
    }

    fn chosen(&self) -> String {
        self.radios.iter().find(|radio| radio.checked()).map_or_else(|| "demo".to_owned(), HtmlInputElement::value)
    }

    /// What the ticked row asks for; `None`, with a sentence beside the field, where it is incomplete.
    fn wish(&self) -> Option<Wish> {
        let chosen = self.chosen();
        if let Some(model) = KNOWN_MODELS.iter().find(|model| model.key == chosen) {
            return Some(Wish::known(model));
        }
        if chosen == "files" {
            let files = listed(self.files.files());
            return (!files.is_empty()).then(|| files_wish(files));
        }
        match parse_repo_id(&self.repo_id.value()) {
            Ok(id) => {
                dom::set_text(&self.repo_error, "");
                Some(Wish { name: Named { key: "repo", title: id.clone() }, from: Origin::Address(id) })
            }
            Err(message) => {
                dom::set_text(&self.repo_error, &message);
                let _ = self.repo_id.focus();
                None
            }
        }
    }

    fn is_here(&self, key: &str) -> bool {
        let models = self.models.borrow();
        match (&models.loading, &models.in_use) {
            (Some((name, ..)), _) | (None, Some((name, _))) => name.key == key,
            (None, None) => false,
        }
    }

    /// The hub's answer to `AskSize`: bytes (0: not said), or a sentence.
    pub fn set_size(&self, id: &str, answer: std::result::Result<u64, String>) {
        {
            let mut models = self.models.borrow_mut();
            match answer {
                Ok(bytes) => models.asked = Some((id.to_owned(), bytes)),
                Err(message) => models.failed = Some((Named { key: "repo", title: id.to_owned() }, message)),
            }
        }
        self.render();
    }

    /// A load begins.
    pub fn set_loading(&self, wish: &Wish) {
        self.meter.replace(RateMeter::default());
        self.updated.set(f64::MIN);
        {
            let mut models = self.models.borrow_mut();
            models.failed = None;
            models.loading = Some((wish.name.clone(), None, "Asking for its files…".to_owned()));
        }
        self.render();
    }

    /// Bytes arrived. `rest` says what else is known ("block 5 of 12").
    pub fn set_progress(&self, loaded: f64, total: f64, rest: &str) {
        let now = dom::now();
        self.meter.borrow_mut().note(now, loaded);
        if now - self.updated.get() < PROGRESS_EVERY_MS && loaded < total {
            return;
        }
        self.updated.set(now);
        let mut words = describe_download(loaded, total, &self.meter.borrow());
        if !rest.is_empty() {
            words = format!("{words} · {rest}");
        }
        if let Some((_, share, detail)) = self.models.borrow_mut().loading.as_mut() {
            *share = (total > 0.0).then(|| (loaded / total).clamp(0.0, 1.0));
            *detail = words;
        }
        self.render();
    }

    /// The model is all there, and takes over.
    pub fn set_ready(&self, wish: &Wish, detail: &str) {
        {
            let mut models = self.models.borrow_mut();
            models.loading = None;
            models.failed = None;
            models.in_use = Some((wish.name.clone(), detail.to_owned()));
        }
        self.render();
    }

    /// The load ended without a model; `message` is empty where the reader ended it.
    pub fn set_failed(&self, wish: &Wish, message: &str) {
        {
            let mut models = self.models.borrow_mut();
            models.loading = None;
            models.failed = (!message.is_empty()).then(|| (wish.name.clone(), message.to_owned()));
        }
        self.render();
    }

    /// The model in use is gone (its engine crashed).
    pub fn set_lost(&self, message: &str) {
        {
            let mut models = self.models.borrow_mut();
            if let Some((name, _)) = models.in_use.take() {
                models.failed = Some((name, message.to_owned()));
            }
        }
        self.render();
    }

    fn render(&self) {
        let models = self.models.borrow();
        let chosen = self.chosen();
        self.repo_more.set_hidden(chosen != "repo");
        self.files_more.set_hidden(chosen != "files");
        for radio in &self.radios {
            let key = radio.value();
            // A row without its place shows nothing; the rest still works.
            let _ = self.render_row(&key, &models.row(&key));
        }
        let below = models.below(&chosen, &self.repo_id.value());
        dom::set_attribute(&self.state, "data-state", below.line.state);
        dom::set_text(&self.line, &below.line.text);
        dom::set_text(&self.detail, &below.detail);
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
        let chip = models.chip();
        dom::set_attribute(&self.chip, "data-state", chip.state);
        dom::set_text(&self.chip_text, &chip.text);
    }

    fn render_row(&self, key: &str, row: &Labelled) -> Result<()> {
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

impl Wish {
    /// A model with a row of its own.
    pub fn known(model: &KnownModel) -> Wish {
        let name = Named { key: model.key, title: model.title.to_owned() };
        Wish { name, from: Origin::Address(model.address.to_owned()) }
    }

    /// Whether loading it again needs no question: it comes from this site or from disk.
    pub fn is_near(&self) -> bool {
        match &self.from {
            Origin::Files(_) => true,
            Origin::Address(_) => KNOWN_MODELS.iter().any(|m| m.key == self.name.key && m.bytes <= ASK_ABOVE_BYTES),
        }
    }
}

fn files_wish(files: Vec<File>) -> Wish {
    Wish { name: Named { key: "files", title: title_of(&files) }, from: Origin::Files(files) }
}

fn listed(files: Option<FileList>) -> Vec<File> {
    files.map_or_else(Vec::new, |files| (0..files.length()).filter_map(|index| files.get(index)).collect())
}

/// The weights file's name stands for the set.
fn title_of(files: &[File]) -> String {
    let names: Vec<String> = files.iter().map(File::name).collect();
    names.iter().find(|name| name.ends_with(".safetensors")).or(names.first()).cloned().unwrap_or_default()
}
