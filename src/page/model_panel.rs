//! The model panel: which model, its download, its state. Shows; what happens is `app`'s.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use wasm_bindgen::JsCast;
use wasm_bindgen_futures::spawn_local;
use web_sys::{DragEvent, Element, HtmlButtonElement, HtmlElement, HtmlInputElement, HtmlProgressElement};

use super::dropped::Dropped;
use super::kept::KeptModels;
use super::kept_list::KeptList;
use super::model_view::{Labelled, Loading, Models, Named};
use super::wish::{Origin, Wish, listed};
use trace::Result;
use view::dom::{self, Listener, listen};
use view::progress::{RateMeter, Stage, describe_download};
use view::repo::{KNOWN_MODELS, parse_repo_id};

/// Between two updates of the progress line, in milliseconds: readable, and cheap.
const PROGRESS_EVERY_MS: f64 = 200.0;

/// What a reader asked for.
pub enum ModelEvent {
    /// Load this model.
    Load(Wish),
    /// Its row is ticked, and it is kept in this browser: load it if the reader stays there.
    Ticked(Wish),
    /// Ask the hub how large this repo's weights are.
    AskSize(String),
    /// End the download under way.
    Cancel,
    /// Delete these folders of kept models.
    Delete(Vec<String>),
    /// The panel came into view: what is kept may have changed.
    Look,
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
    stage: Element,
    notice: Element,
    error: Element,
    load: HtmlButtonElement,
    cancel: HtmlButtonElement,
    chip: Element,
    chip_text: Element,
    /// What is kept in this browser.
    pub kept: Rc<KeptList>,
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
            stage: dom::by_id("model-stage")?,
            notice: dom::by_id("model-notice")?,
            error: dom::by_id("model-error")?,
            load: dom::by_id("model-load")?,
            cancel: dom::by_id("model-cancel")?,
            chip: dom::by_id("model-chip")?,
            chip_text: dom::by_id("model-chip-text")?,
            kept: KeptList::new()?,
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
                let wish = panel.wish()?;
                match panel.is_here(wish.name.key) || wish.name.key == "files" {
                    true => None,
                    // Small enough not to ask.
                    false if wish.is_near() => Some(ModelEvent::Load(wish)),
                    false => panel.is_at_hand(&wish).then_some(ModelEvent::Ticked(wish)),
                }
            });
        }
        on(&self.load, "click", |panel, _| {
            let wish = panel.wish()?;
            match (&wish.from, wish.name.key) {
                (Origin::Address(id), "repo") if !panel.models.borrow().knows_bytes(id) => {
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
        on(&self.root, "focusin", |_, _| Some(ModelEvent::Look));
        on(self.kept.element(), "toggle", |_, _| Some(ModelEvent::Look));
        if let Ok(document) = dom::document() {
            on(&document, "visibilitychange", |_, _| Some(ModelEvent::Look));
        }
        listeners.push(self.listen_to_drops(&handler));
        self.listeners.replace(listeners);
        let on_delete = handler.clone();
        self.kept.on_delete(move |folders| on_delete(ModelEvent::Delete(folders)));
        self.render();
    }

    fn listen_to_drops(self: &Rc<Self>, handler: &Rc<dyn Fn(ModelEvent)>) -> Listener {
        let (weak, handler) = (Rc::downgrade(self), handler.clone());
        listen(&self.root, "drop", move |event| {
            event.prevent_default();
            let Some(panel) = weak.upgrade() else { return };
            dom::set_class(&panel.root, "dropping", false);
            let transfer = event.dyn_ref::<DragEvent>().and_then(DragEvent::data_transfer);
            let Some(dropped) = transfer.map(|transfer| Dropped::new(&transfer)).filter(|it| !it.is_empty()) else {
                return;
            };
            let handler = handler.clone();
            spawn_local(async move {
                let files = dropped.files().await;
                panel.choose("files");
                handler(ModelEvent::Load(Wish::files(files)));
            });
        })
    }

    /// Ticks the row of a model as a reader would: what is large waits for its button.
    pub fn propose(&self, address: &str) {
        let known = KNOWN_MODELS.iter().find(|model| model.address == address);
        let key = match known {
            Some(model) => model.key,
            None if parse_repo_id(address).is_ok() => {
                self.repo_id.set_value(address);
                "repo"
            }
            None => return,
        };
        if let Some(radio) = self.radios.iter().find(|radio| radio.value() == key && !radio.checked()) {
            radio.click();
        }
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
            return (!files.is_empty()).then(|| Wish::files(files));
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

    /// The model of this address, where its row is ticked, nothing of it is under way, and it takes no download.
    pub fn ready_to_load(&self, address: &str) -> Option<Wish> {
        let ticked = KNOWN_MODELS.iter().any(|model| model.address == address && model.key == self.chosen())
            || self.chosen() == "repo" && self.repo_id.value() == address;
        let wish = ticked.then(|| self.wish()).flatten()?;
        (self.is_at_hand(&wish) && self.still_wants(&wish)).then_some(wish)
    }

    /// Whether it takes no download: it comes from this site, from disk, or from this browser's storage.
    pub fn is_at_hand(&self, wish: &Wish) -> bool {
        let kept = |address: &str| self.models.borrow().is_kept(address);
        wish.is_near() || matches!(&wish.from, Origin::Address(address) if kept(address))
    }

    /// Whether its row is still ticked, and nothing of it is under way.
    pub fn still_wants(&self, wish: &Wish) -> bool {
        self.chosen() == wish.name.key && !self.is_here(wish.name.key)
    }

    /// What this browser keeps.
    pub fn set_kept(&self, kept: KeptModels) {
        self.kept.show(&kept);
        self.models.borrow_mut().kept = kept;
        self.render();
    }

    /// What it last showed as kept.
    pub fn kept_models(&self) -> KeptModels {
        self.models.borrow().kept.clone()
    }

    fn is_here(&self, key: &str) -> bool {
        let models = self.models.borrow();
        match (&models.loading, &models.in_use) {
            (Some(Loading { name, .. }), _) | (None, Some((name, _))) => name.key == key,
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
            models.notices = Default::default();
            let (name, detail) = (wish.name.clone(), "Asking for its files…".to_owned());
            models.loading = Some(Loading { name, share: None, detail, stage: String::new() });
        }
        self.render();
    }

    /// Loading goes on, without bytes worth counting.
    pub fn set_step(&self, words: &str) {
        if let Some(loading) = self.models.borrow_mut().loading.as_mut() {
            loading.detail = words.to_owned();
        }
        self.render();
    }

    /// Bytes arrived: so many of so many, and so many of those from the browser's storage.
    pub fn set_progress(&self, (loaded, total, cached): (f64, f64, f64), stage: &Stage) {
        let now = dom::now();
        self.meter.borrow_mut().note(now, loaded - cached);
        let words = stage.describe();
        // A block that begins to compute is said at once: it may be done before the next update is due.
        let begins =
            stage.is_computing() && self.models.borrow().loading.as_ref().is_some_and(|loading| loading.stage != words);
        if now - self.updated.get() < PROGRESS_EVERY_MS && loaded < total && !begins {
            return;
        }
        self.updated.set(now);
        let detail = describe_download(loaded, total, cached, &self.meter.borrow());
        if let Some(loading) = self.models.borrow_mut().loading.as_mut() {
            loading.share = (total > 0.0).then(|| (loaded / total).clamp(0.0, 1.0));
            loading.detail = detail;
            loading.stage = words;
        }
        self.render();
    }

    /// Something the reader should know of this load; `passes` where it will be over by itself.
    pub fn add_notice(&self, message: &str, passes: bool) {
        self.models.borrow_mut().notices.add(message, passes);
        self.render();
    }

    /// The model is all there, and takes over.
    pub fn set_ready(&self, wish: &Wish, detail: &str) {
        {
            let mut models = self.models.borrow_mut();
            models.loading = None;
            models.failed = None;
            models.notices.settle();
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
