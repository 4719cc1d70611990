//! The page in a browser: what happens in the DOM becomes messages, what [`view`](super::view) says is written into it, and
//! effects are carried out.
//! May depend on: the DOM, `api`. Nothing here decides anything.
//!
//! Text is written at once, so that a screen reader and a fast typist never see an old state; canvases draw once a frame.

mod cached_list;
mod charts;
mod chosen_panel;
mod common_bar;
mod dropped;
mod effects;
mod embed_dialog;
mod engine;
mod findings;
mod history;
mod intro;
mod model_panel;
mod offline_copy;
mod text_panel;
mod token_strip;
mod wire;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;

use js_sys::{Function, Reflect};
use view::dom;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Element, HtmlMetaElement};

use crate::api::{self, EngineFiles, Locations};
use trace::{Code, Error, Result};

use super::msg::{FileKind, Msg};
use super::state::State;
use super::update::update;
use super::view::{View, view};
use effects::Effects;
use wire::on_id;

/// The page, for as long as its tab is open.
struct Page {
    state: RefCell<State>,
    /// What has happened while something else was being handled.
    waiting: RefCell<VecDeque<Msg>>,
    is_busy: Cell<bool>,
    dom: Dom,
    effects: Effects,
}

/// The parts of the page that are written into.
struct Dom {
    text: text_panel::TextPanel,
    models: model_panel::ModelPanel,
    common: common_bar::CommonBar,
    chosen: chosen_panel::ChosenPanel,
    charts: charts::Charts,
    file_error: Element,
}

thread_local! {
    static PAGE: OnceCell<Page> = const { OnceCell::new() };
}

/// Starts the page.
pub fn start() {
    let started = configure().and_then(|()| Page::new()).map(|page| PAGE.with(|place| place.set(page).is_ok()));
    match started {
        Ok(_) => send(Msg::Opened(history::here(), text_panel::left_in_box())),
        Err(error) => match dom::by_id::<Element>("run-error") {
            Ok(place) => dom::set_text(&place, &error.message),
            Err(_) => web_sys::console::error_1(&error.message.into()),
        },
    }
}

/// Tells the page that something happened.
pub fn send(msg: Msg) {
    PAGE.with(|page| {
        if let Some(page) = page.get() {
            page.take(msg);
        }
    });
}

impl Page {
    fn new() -> Result<Page> {
        listen()?;
        intro::show_once()?;
        Ok(Page {
            state: RefCell::default(),
            waiting: RefCell::default(),
            is_busy: Cell::default(),
            dom: Dom::new()?,
            effects: Effects::default(),
        })
    }

    /// One message after the other: what one brings about in the DOM may be the next.
    fn take(&self, msg: Msg) {
        self.waiting.borrow_mut().push_back(msg);
        if self.is_busy.replace(true) {
            return;
        }
        loop {
            let Some(msg) = self.waiting.borrow_mut().pop_front() else { break };
            let effects = update(&mut self.state.borrow_mut(), msg, dom::now());
            if let Err(error) = self.dom.write(&view(&self.state.borrow())) {
                self.waiting.borrow_mut().push_back(Msg::Fault(error));
            }
            for effect in effects {
                self.effects.carry_out(effect, &self.dom);
            }
        }
        self.is_busy.set(false);
    }
}

impl Dom {
    fn new() -> Result<Dom> {
        Ok(Dom {
            text: text_panel::TextPanel::new()?,
            models: model_panel::ModelPanel::new()?,
            common: common_bar::CommonBar::new()?,
            chosen: chosen_panel::ChosenPanel::new()?,
            charts: charts::Charts::new()?,
            file_error: dom::by_id("trace-error")?,
        })
    }

    fn write(&self, view: &View<'_>) -> Result<()> {
        self.text.write(&view.text);
        self.models.write(&view.models);
        self.common.write(view);
        self.chosen.write(&view.chosen);
        dom::set_text(&self.file_error, view.file_error);
        self.charts.write(view)?;
        self.chosen.write_busy(view.chosen.busy, &self.charts.chosen);
        Ok(())
    }
}

/// Listens to what belongs to no panel.
fn listen() -> Result<()> {
    on_id("save-json", "click", |_| Some(Msg::Save(FileKind::Json)))?;
    on_id("save-safetensors", "click", |_| Some(Msg::Save(FileKind::Safetensors)))?;
    on_id("embed-open", "click", |_| Some(Msg::OpenEmbed))?;
    effects::listen_to_saved_runs()?;
    wire::on(dom::window()?.as_ref(), "popstate", |_| history::here().map(Msg::Address));
    Ok(())
}

/// Tells `api` the addresses of the engines and of the demo model, which the build wrote into the page. A page that
/// carries its own files (tools/offline.mjs) defines `residualStreamRead`, which is given them as they stand there.
fn configure() -> Result<()> {
    let document = dom::document()?;
    let base = document.base_uri().ok().flatten().unwrap_or_default();
    let read: Option<Function> =
        Reflect::get(&js_sys::global(), &"residualStreamRead".into()).ok().and_then(|read| read.dyn_into().ok());
    let address = |written: &str| match read {
        Some(_) => Ok(written.to_owned()),
        None => web_sys::Url::new_with_base(written, &base).map(|url| url.href()),
    };
    let unbuilt = |_| Error::new(Code::UnsupportedBrowser, "This page was not built as a whole: run `make build`.");
    let meta: HtmlMetaElement = document
        .query_selector("meta[name=residual-stream-engine]")
        .ok()
        .flatten()
        .and_then(|meta| meta.dyn_into().ok())
        .ok_or_else(|| unbuilt(JsValue::NULL))?;
    let content = meta.content();
    let mut addresses = content.split_whitespace().map(address);
    let mut next = || addresses.next().unwrap_or_else(|| Err(JsValue::NULL)).map_err(unbuilt);
    let engine = EngineFiles { script: next()?, module: next()? };
    let relaxed = EngineFiles { script: next()?, module: next()? };
    let demo = next()?;
    api::configure(Locations { engine, relaxed, demo, read, worker: None });
    Ok(())
}
