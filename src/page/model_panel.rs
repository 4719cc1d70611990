//! The model panel: which model, its download, its state. Shows; what happens is `app`'s.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use wasm_bindgen::JsCast;
use web_sys::{DragEvent, Element, File, FileList, HtmlButtonElement, HtmlElement, HtmlInputElement, HtmlProgressElement};

use super::dom::{self, Listener, listen};
use super::progress::{RateMeter, describe_download, format_bytes};
use super::repo::{ASK_ABOVE_BYTES, KNOWN_MODELS, parse_repo_id};
use crate::error::Result;

/// Between two updates of the progress line, in milliseconds: readable, and cheap.
const PROGRESS_EVERY_MS: f64 = 200.0;

/// A model a reader asks for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The radio button's value.
    pub key: &'static str,
    /// The name readers see.
    pub title: String,
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

/// How a model stands, for its row and for the box below.
#[derive(Clone, Debug, PartialEq)]
enum Standing {
    Loading { share: Option<f64>, detail: String },
    Ready { detail: String },
    Failed { message: String },
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
    in_use: RefCell<Option<(Wish, String)>>,
    loading: RefCell<Option<(Wish, Standing)>>,
    failed: RefCell<Option<(Wish, String)>>,
    /// Repo id and bytes, once the hub has said; 0 where it did not say.
    asked: RefCell<Option<(String, u64)>>,
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
            in_use: RefCell::default(),
            loading: RefCell::default(),
            failed: RefCell::default(),
            asked: RefCell::default(),
            meter: RefCell::default(),
            updated: Cell::new(0.0),
            listeners: RefCell::default(),
        }))
    }

    /// Calls `handler` on every wish of the reader.
    pub fn on_event(self: &Rc<Self>, handler: impl Fn(ModelEvent) + 'static) {
        let handler: Rc<dyn Fn(ModelEvent)> = Rc::new(handler);
        let mut listeners = Vec::new();
        let mut on = |target: &web_sys::EventTarget, event: &'static str, then: fn(&ModelPanel, &web_sys::Event) -> Option<ModelEvent>| {
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
                // Small enough not to ask.
                let wish = panel.wish()?;
                let small = KNOWN_MODELS.iter().any(|m| m.key == wish.key && m.bytes <= ASK_ABOVE_BYTES);
                (small && !panel.is_here(wish.key)).then_some(ModelEvent::Load(wish))
            });
        }
        on(&self.load, "click", |panel, _| {
            let wish = panel.wish()?;
            match (&wish.from, wish.key) {
                (Origin::Address(id), "repo") if panel.known_bytes(id).is_none() => Some(ModelEvent::AskSize(id.clone())),
                _ => Some(ModelEvent::Load(wish)),
            }
        });
        on(&self.cancel, "click", |_, _| Some(ModelEvent::Cancel));
        on(&self.repo_id, "input", |panel, _| {
            dom::set_text(&panel.repo_error, "");
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
            Some(ModelEvent::Load(Wish { key: "files", title: title_of(&files), from: Origin::Files(files) }))
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
            let from = Origin::Address(model.address.to_owned());
            return Some(Wish { key: model.key, title: model.title.to_owned(), from });
        }
        if chosen == "files" {
            let files = listed(self.files.files());
            return (!files.is_empty()).then(|| Wish { key: "files", title: title_of(&files), from: Origin::Files(files) });
        }
        match parse_repo_id(&self.repo_id.value()) {
            Ok(id) => {
                dom::set_text(&self.repo_error, "");
                Some(Wish { key: "repo", title: id.clone(), from: Origin::Address(id) })
            }
            Err(message) => {
                dom::set_text(&self.repo_error, &message);
                let _ = self.repo_id.focus();
                None
            }
        }
    }

    fn is_here(&self, key: &str) -> bool {
        let is = |wish: &Wish| wish.key == key;
        self.in_use.borrow().as_ref().is_some_and(|(wish, _)| is(wish)) && self.loading.borrow().is_none()
            || self.loading.borrow().as_ref().is_some_and(|(wish, _)| is(wish))
    }

    fn known_bytes(&self, id: &str) -> Option<u64> {
        self.asked.borrow().as_ref().filter(|(asked, _)| asked == id).map(|&(_, bytes)| bytes)
    }

    /// The hub's answer to `AskSize`: bytes (0: not said), or a sentence.
    pub fn set_size(&self, id: &str, answer: std::result::Result<u64, String>) {
        match answer {
            Ok(bytes) => drop(self.asked.replace(Some((id.to_owned(), bytes)))),
            Err(message) => dom::set_text(&self.repo_error, &message),
        }
        self.render();
    }

    /// A load begins.
    pub fn set_loading(&self, wish: &Wish) {
        self.meter.replace(RateMeter::default());
        self.updated.set(f64::MIN);
        self.failed.replace(None);
        let detail = "Asking for its files…".to_owned();
        self.loading.replace(Some((wish.clone(), Standing::Loading { share: None, detail })));
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
        let mut detail = describe_download(loaded, total, &self.meter.borrow());
        if !rest.is_empty() {
            detail = format!("{detail} · {rest}");
        }
        if let Some((_, standing)) = self.loading.borrow_mut().as_mut() {
            let share = (total > 0.0).then(|| (loaded / total).clamp(0.0, 1.0));
            *standing = Standing::Loading { share, detail };
        }
        self.render();
    }

    /// The model is all there, and takes over.
    pub fn set_ready(&self, wish: &Wish, detail: &str) {
        self.loading.replace(None);
        self.failed.replace(None);
        self.in_use.replace(Some((wish.clone(), detail.to_owned())));
        self.render();
    }

    /// The load ended without a model; `message` is empty where the reader ended it.
    pub fn set_failed(&self, wish: &Wish, message: &str) {
        self.loading.replace(None);
        self.failed.replace((!message.is_empty()).then(|| (wish.clone(), message.to_owned())));
        self.render();
    }

    /// The model in use is gone (its engine crashed).
    pub fn set_lost(&self, message: &str) {
        if let Some((wish, _)) = self.in_use.take() {
            self.failed.replace(Some((wish, message.to_owned())));
        }
        self.render();
    }

    /// What is in use, by name.
    pub fn in_use_title(&self) -> Option<String> {
        self.in_use.borrow().as_ref().map(|(wish, _)| wish.title.clone())
    }

    fn standing(&self, key: &str) -> Option<(String, Standing)> {
        let of = |wish: &Wish| wish.key == key;
        if let Some((wish, standing)) = self.loading.borrow().as_ref().filter(|(wish, _)| of(wish)) {
            return Some((wish.title.clone(), standing.clone()));
        }
        if let Some((wish, message)) = self.failed.borrow().as_ref().filter(|(wish, _)| of(wish)) {
            return Some((wish.title.clone(), Standing::Failed { message: message.clone() }));
        }
        let in_use = self.in_use.borrow();
        in_use.as_ref().filter(|(wish, _)| of(wish)).map(|(wish, detail)| (wish.title.clone(), Standing::Ready { detail: detail.clone() }))
    }

    fn render(&self) {
        let chosen = self.chosen();
        self.repo_more.set_hidden(chosen != "repo");
        self.files_more.set_hidden(chosen != "files");
        for radio in &self.radios {
            let _ = self.render_row(&radio.value());
        }
        let standing = self.standing(&chosen);
        // A download under way is shown whatever row is ticked: it must be seen to be cancelled.
        let loading = self.loading.borrow().as_ref().map(|(wish, standing)| (wish.title.clone(), standing.clone()));
        let (title, standing) = match loading.or(standing) {
            Some((title, standing)) => (title, Some(standing)),
            None => (String::new(), None),
        };
        let busy = matches!(standing, Some(Standing::Loading { .. }));
        self.cancel.set_hidden(!busy);
        self.load.set_hidden(busy || matches!(standing, Some(Standing::Ready { .. })) && !matches!(chosen.as_str(), "repo" | "files"));
        let (state, line, detail, error) = match &standing {
            Some(Standing::Loading { detail, .. }) => ("loading", format!("{title}: arriving"), detail.clone(), ""),
            Some(Standing::Ready { detail }) => ("ready", format!("{title}: ready"), detail.clone(), ""),
            Some(Standing::Failed { message }) => ("failed", format!("{title}: not loaded"), String::new(), message.as_str()),
            None => ("idle", self.offer_line(&chosen), self.offer_detail(&chosen), ""),
        };
        dom::set_attribute(&self.state, "data-state", state);
        dom::set_text(&self.line, &line);
        dom::set_text(&self.detail, &detail);
        dom::set_text(&self.error, error);
        dom::set_text(&self.load, &self.offer_button(&chosen, matches!(standing, Some(Standing::Failed { .. }))));
        match &standing {
            Some(Standing::Loading { share: Some(share), .. }) => self.progress.set_value(*share),
            Some(Standing::Loading { share: None, .. }) => drop(self.progress.remove_attribute("value")),
            _ => {}
        }
        if chosen == "files" && !busy {
            self.load.set_hidden(!matches!(standing, Some(Standing::Failed { .. })));
        }
        if chosen == "repo" && matches!(&standing, Some(Standing::Ready { .. })) {
            let same = parse_repo_id(&self.repo_id.value()).is_ok_and(|id| id == title);
            self.load.set_hidden(same);
        }
        self.render_chip();
    }

    fn render_row(&self, key: &str) -> Result<()> {
        let state: Element = dom::find(&self.root, &format!("[data-row=\"{key}\"]"))?;
        let size = KNOWN_MODELS.iter().find(|m| m.key == key).map_or_else(String::new, |m| format_bytes(m.bytes as f64));
        let (name, text) = match self.standing(key) {
            Some((_, Standing::Loading { share: Some(share), .. })) => ("loading", format!("{:.0} %", share * 100.0)),
            Some((_, Standing::Loading { share: None, .. })) => ("loading", "arriving".to_owned()),
            Some((_, Standing::Ready { .. })) => ("ready", "in use".to_owned()),
            Some((_, Standing::Failed { .. })) => ("failed", "failed".to_owned()),
            None => ("idle", size),
        };
        if state.get_attribute("data-state").as_deref() != Some(name) || state.text_content().as_deref() != Some(&text) {
            dom::set_attribute(&state, "data-state", name);
            state.set_text_content(None);
            if name != "idle" {
                dom::append(&state, &dom::create::<Element>("span", "dot")?);
            }
            dom::append(&state, dom::create_with_text("span", "", &text)?.as_ref());
        }
        Ok(())
    }

    fn render_chip(&self) {
        let loading = self.loading.borrow();
        let (state, text) = match (loading.as_ref(), self.in_use_title(), self.failed.borrow().as_ref()) {
            (Some((wish, Standing::Loading { share: Some(share), .. })), ..) => ("loading", format!("{}, {:.0} %", wish.title, share * 100.0)),
            (Some((wish, _)), ..) => ("loading", format!("{}, arriving", wish.title)),
            (None, Some(title), _) => ("ready", format!("{title}, ready")),
            (None, None, Some((wish, _))) => ("failed", format!("{}, failed", wish.title)),
            (None, None, None) => ("idle", "no model".to_owned()),
        };
        dom::set_attribute(&self.chip, "data-state", state);
        dom::set_text(&self.chip_text, &text);
    }

    fn offer_line(&self, chosen: &str) -> String {
        match KNOWN_MODELS.iter().find(|model| model.key == chosen) {
            Some(model) => format!("{}: not loaded", model.title),
            None if chosen == "files" => "No files picked".to_owned(),
            None => "No other model loaded".to_owned(),
        }
    }

    fn offer_detail(&self, chosen: &str) -> String {
        let until = self.in_use_title().map_or_else(String::new, |title| format!(" Until it is here, {title} goes on working."));
        match chosen {
            "files" => format!("Files are read where they are; nothing is uploaded.{until}"),
            _ => format!("Comes from huggingface.co to this browser.{until}"),
        }
    }

    fn offer_button(&self, chosen: &str, again: bool) -> String {
        let verb = if again { "Try again" } else { "Download" };
        if let Some(model) = KNOWN_MODELS.iter().find(|model| model.key == chosen) {
            return format!("{verb} ({})", format_bytes(model.bytes as f64));
        }
        if chosen == "files" {
            return "Try again".to_owned();
        }
        let id = parse_repo_id(&self.repo_id.value()).unwrap_or_default();
        match self.known_bytes(&id) {
            None => "Look up its size".to_owned(),
            Some(0) => format!("{verb} (size unknown)"),
            Some(bytes) => format!("{verb} ({})", format_bytes(bytes as f64)),
        }
    }
}

fn listed(files: Option<FileList>) -> Vec<File> {
    files.map_or_else(Vec::new, |files| (0..files.length()).filter_map(|index| files.get(index)).collect())
}

/// The weights file's name stands for the set.
fn title_of(files: &[File]) -> String {
    let names: Vec<String> = files.iter().map(File::name).collect();
    names.iter().find(|name| name.ends_with(".safetensors")).or(names.first()).cloned().unwrap_or_default()
}
