//! One element: its settings, what it shows, and what its reader does with it.
//! Must never know: how a model runs (`run.rs`, another program), how a trace becomes a chart (`show.rs`).

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use js_sys::{Function, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_futures::spawn_local;
use web_sys::{AbortController, AbortSignal, CustomEvent, CustomEventInit, HtmlElement, KeyboardEvent};

use super::frame::Frame;
use super::ui::{self, Ui};
use charts::{ChartName, Columns};
use protocol::{RunOptions, js_error};
use trace::{Error, Result, TokenPosition, Trace};
use view::advice::sentence;
use view::attributes::{Colours, Live, Settings, TraceSource};
use view::chart_panel::ChartPanel;
use view::dom::{self, Listener, listen_for};
use view::record::covers;

#[wasm_bindgen]
extern "C" {
    /// What embed.js does for an element that asks for a model.
    pub type Loader;
    /// Runs what the element's attributes ask for (`run.rs`): a promise of a trace.
    #[wasm_bindgen(method)]
    fn run(this: &Loader, host: &HtmlElement, ui: Ui, signal: &AbortSignal) -> Promise;
    /// Whether the page is dark where the element stands.
    #[wasm_bindgen(method)]
    fn dark(this: &Loader, host: &HtmlElement) -> bool;
    /// The element needs no model any more.
    #[wasm_bindgen(method)]
    fn leave(this: &Loader, host: &HtmlElement);
}

/// What a trace was made from: where that stays the same, nothing is made anew.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Made {
    Given,
    Recorded(String),
    Live {
        live: Live,
        record: RunOptions,
        /// The two texts and tokens of a patching.
        patch: Option<([usize; 2], String, String)>,
    },
}

/// An element and everything in it.
pub(super) struct Element {
    pub host: HtmlElement,
    pub frame: Frame,
    pub chart: Rc<ChartPanel>,
    loader: Loader,
    pub settings: RefCell<Option<Settings>>,
    pub trace: RefCell<Option<Rc<Trace>>>,
    /// The same as JavaScript has it; undefined while there is none.
    pub trace_js: RefCell<JsValue>,
    /// What the trace was made from, or is being made from.
    pub made: RefCell<Option<Made>>,
    /// A trace that a script gave; undefined where none did.
    given: RefCell<JsValue>,
    /// Called when the reader agrees to a download.
    pub agree: RefCell<Option<Function>>,
    abort: RefCell<Option<AbortController>>,
    /// Counts what is asked for: an answer to an earlier question is late.
    pub number: Cell<u64>,
    /// The tokens that grids show.
    pub window: Cell<Option<Columns>>,
    /// Whether a chart was drawn, and said so.
    pub is_ready: Cell<bool>,
    /// Whether a look at the attributes is due.
    due: Cell<bool>,
    listeners: RefCell<Vec<Listener>>,
}

/// An element as embed.js holds it.
#[wasm_bindgen]
pub struct Embed(Rc<Element>);

#[wasm_bindgen]
impl Embed {
    /// Takes over the parts below `root`, which stand in the element's shadow root, and shows what its attributes ask for.
    #[wasm_bindgen(constructor)]
    pub fn new(host: HtmlElement, root: HtmlElement, loader: Loader) -> Result<Embed, JsValue> {
        let element = Element::new(host, root, loader).map_err(|error| js_error::to_js(&error))?;
        element.refresh_soon();
        Ok(Embed(element))
    }

    /// Attributes have changed.
    pub fn refresh(&self) {
        self.0.refresh_soon();
    }

    /// A script gives a trace; undefined takes it back.
    pub fn give(&self, trace: JsValue) {
        self.0.given.replace(trace);
        // Another object, even where one was given before.
        self.0.made.replace(None);
        self.0.refresh_soon();
    }

    /// The trace that is shown, as JavaScript has it.
    #[wasm_bindgen(getter)]
    pub fn trace(&self) -> JsValue {
        self.0.trace_js.borrow().clone()
    }

    /// The element has left the page: what runs for it ends.
    pub fn leave(&self) {
        self.0.leave();
    }
}

impl Element {
    fn new(host: HtmlElement, root: HtmlElement, loader: Loader) -> Result<Rc<Element>> {
        let frame = Frame::find(root)?;
        let chart = ChartPanel::within(frame.panel.clone(), ChartName::Evolution)?;
        let element = Rc::new(Element {
            host,
            frame,
            chart,
            loader,
            settings: RefCell::default(),
            trace: RefCell::default(),
            trace_js: RefCell::new(JsValue::UNDEFINED),
            made: RefCell::default(),
            given: RefCell::new(JsValue::UNDEFINED),
            agree: RefCell::default(),
            abort: RefCell::default(),
            number: Cell::default(),
            window: Cell::default(),
            is_ready: Cell::default(),
            due: Cell::default(),
            listeners: RefCell::default(),
        });
        element.listen();
        Ok(element)
    }

    /// Looks at the attributes once the script that changes them is done.
    pub fn refresh_soon(self: &Rc<Self>) {
        if self.due.replace(true) {
            return;
        }
        let weak = Rc::downgrade(self);
        spawn_local(async move {
            if let Some(element) = weak.upgrade() {
                element.due.set(false);
                element.refresh();
            }
        });
    }

    fn refresh(self: &Rc<Self>) {
        let given = self.given.borrow().clone();
        let settings = match Settings::read(&|name| self.host.get_attribute(name), given.is_object()) {
            Ok(settings) => settings,
            Err(error) => {
                self.outdate();
                return self.fail(&error);
            }
        };
        self.dress(&settings);
        self.settings.replace(Some(settings.clone()));
        match &settings.from {
            TraceSource::Given if self.is_made(&Made::Given) => self.show_again(),
            TraceSource::Given => self.take(Made::Given, async move { Ok(given) }),
            TraceSource::Recorded(src) if self.is_made(&Made::Recorded(src.clone())) => self.show_again(),
            TraceSource::Recorded(src) => {
                let src = src.clone();
                self.frame.set_status("Loading a saved run…");
                self.take(Made::Recorded(src.clone()), async move { super::recorded::read(&src).await });
            }
            TraceSource::Live(live) if live.texts.is_empty() => {
                self.outdate();
                self.frame.show_chart(false);
                self.frame.set_error("");
                self.frame.set_status("Write a sentence, then choose Run.");
            }
            TraceSource::Live(live) => self.run(&settings, live),
        }
    }

    fn is_made(&self, wanted: &Made) -> bool {
        self.made.borrow().as_ref() == Some(wanted)
    }

    /// What is under way is not wanted any more. Returns the number of what is wanted instead.
    pub fn outdate(&self) -> u64 {
        if let Some(abort) = self.abort.take() {
            abort.abort();
        }
        self.made.replace(None);
        self.frame.ask.set_hidden(true);
        self.frame.set_status("");
        self.frame.set_progress(None);
        self.number.set(self.number.get() + 1);
        self.number.get()
    }

    /// Takes a trace that is there without a model.
    fn take(self: &Rc<Self>, made: Made, trace: impl Future<Output = Result<JsValue>> + 'static) {
        let status = self.frame.status.text_content().unwrap_or_default();
        let number = self.outdate();
        self.frame.set_status(&status);
        self.loader.leave(&self.host);
        self.made.replace(Some(made));
        let element = self.clone();
        spawn_local(async move {
            let outcome = trace.await;
            element.accept(number, outcome);
        });
    }

    /// Runs a text, unless that was done.
    fn run(self: &Rc<Self>, settings: &Settings, live: &Live) {
        let record = settings.record();
        let view = &settings.view;
        let patch = (view.view == ChartName::Patching).then(|| (view.texts, view.target.clone(), view.against.clone()));
        let done = match &*self.made.borrow() {
            Some(Made::Live { live: other, record: recorded, patch: patched }) => {
                other == live && covers(recorded, &record) && (patch.is_none() || patch == *patched)
            }
            _ => false,
        };
        if done {
            return self.show_again();
        }
        let number = self.outdate();
        self.made.replace(Some(Made::Live { live: live.clone(), record, patch }));
        let Ok(abort) = AbortController::new() else { return };
        let listener: Weak<dyn ui::Listener> = Rc::<Element>::downgrade(self);
        let trace = self.loader.run(&self.host, Ui::new(listener, number), &abort.signal());
        self.abort.replace(Some(abort));
        let element = self.clone();
        spawn_local(async move {
            let outcome = JsFuture::from(trace).await.map_err(|why| js_error::from_js(&why));
            element.accept(number, outcome);
        });
    }

    /// Says what went wrong; the page's own content stands in the chart's place.
    pub fn fail(&self, error: &Error) {
        self.made.replace(None);
        self.frame.set_status("");
        self.frame.set_progress(None);
        self.frame.ask.set_hidden(true);
        self.frame.set_error(&sentence(&error.message));
        self.frame.show_chart(false);
        self.say("error", &js_error::to_js(error));
    }

    /// An event on the element.
    pub fn say(&self, name: &str, detail: &JsValue) {
        let init = CustomEventInit::new();
        init.set_detail(detail);
        if let Ok(event) = CustomEvent::new_with_event_init_dict(name, &init) {
            let _ = self.host.dispatch_event(&event);
        }
    }

    /// Colours, height and controls.
    fn dress(&self, settings: &Settings) {
        let dark = match settings.colours {
            Colours::Auto => self.loader.dark(&self.host),
            Colours::Light => false,
            Colours::Dark => true,
        };
        dom::set_class(&self.frame.root, "dark", dark);
        self.chart.set_dark(Some(dark));
        // Through the object model: a strict page allows no style in markup.
        let style = self.frame.plot.style();
        let _ = match settings.height {
            Some(height) => style.set_property("height", &format!("{height}px")),
            None => style.remove_property("height").map(drop),
        };
        let live = matches!(settings.from, TraceSource::Live(_));
        dom::set_class(&self.frame.root, "controls", settings.controls);
        self.frame.form.set_hidden(!(settings.controls && live));
        self.frame.choices.set_hidden(!settings.controls);
        self.frame.first.set_checked(settings.view.skip_first);
        let text = self.host.get_attribute("text").unwrap_or_default();
        // What the reader has typed and not run yet stays.
        if self.frame.text.get_attribute("data-ran").as_deref() != Some(&text) {
            dom::set_attribute(&self.frame.text, "data-ran", &text);
            self.frame.text.set_value(&text);
            let lines = text.lines().count().clamp(2, 6) as u32;
            self.frame.text.set_rows(lines);
        }
    }

    /// Sets an attribute, or takes it away: what the reader chooses, the page's scripts can read.
    fn set(&self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => dom::set_attribute(&self.host, name, value),
            None => drop(self.host.remove_attribute(name)),
        }
    }

    fn listen(self: &Rc<Self>) {
        let mut listeners = Vec::new();
        let mut on = |target: &web_sys::EventTarget, event: &'static str, handle: fn(&Rc<Element>, &web_sys::Event)| {
            listeners.push(listen_for(self, target, event, handle));
        };
        let frame = &self.frame;
        on(&frame.form, "submit", |element, event| {
            event.prevent_default();
            element.submit();
        });
        on(&frame.text, "keydown", |element, event| {
            let key = event.dyn_ref::<KeyboardEvent>().filter(|key| key.ctrl_key() || key.meta_key());
            if key.is_some_and(|key| key.key() == "Enter") {
                event.prevent_default();
                element.submit();
            }
        });
        on(&frame.charts, "change", |element, _| element.set("chart", Some(&element.frame.charts.value())));
        on(&frame.first, "change", |element, _| {
            element.set("first", (!element.frame.first.checked()).then_some("shown"));
        });
        on(&frame.unpin, "click", |element, _| {
            element.set("pin", None);
            // The button is gone with the pin.
            let _ = element.chart.canvas.focus();
        });
        on(&frame.ask_button, "click", |element, _| {
            element.frame.ask.set_hidden(true);
            if let Some(agree) = element.agree.take() {
                let _ = agree.call0(&JsValue::UNDEFINED);
            }
        });
        for button in frame.zoom_buttons() {
            on(&button, "click", |element, event| {
                let button = event.current_target().map(|button| button.unchecked_into::<HtmlElement>());
                element.zoom(&button.and_then(|button| button.get_attribute("data-zoom")).unwrap_or_default());
            });
        }
        self.listeners.replace(listeners);

        let weak = Rc::downgrade(self);
        self.chart.on_zoom(Rc::new(move |columns| {
            if let Some(element) = weak.upgrade() {
                element.window.set(Some(columns));
                element.show_again();
            }
        }));
        let weak = Rc::downgrade(self);
        self.chart.on_choose(move |place| {
            let Some(element) = weak.upgrade() else { return };
            if let (Some(layer), Some(head)) = (place.layer, place.head) {
                element.choose_head(layer, head);
            } else if let Some(TokenPosition { sequence, token }) = place.token_position() {
                let pin = format!("{sequence}.{token}");
                let is_pinned = element.host.get_attribute("pin").as_deref() == Some(&pin);
                element.set("pin", (!is_pinned).then_some(pin.as_str()));
            }
        });
    }

    /// Shows a head's pattern where there is one to be had, and a way back.
    fn choose_head(&self, layer: usize, head: usize) {
        let is_live =
            matches!(self.settings.borrow().as_ref().map(|settings| &settings.from), Some(TraceSource::Live(_)));
        let is_recorded = self.trace.borrow().as_ref().is_some_and(|trace| {
            let mut patterns = trace.sequences.iter().filter_map(|sequence| sequence.patterns.as_ref()).flatten();
            patterns.any(|pattern| (pattern.layer, pattern.head) == (layer, head))
        });
        let can_return = self.settings.borrow().as_ref().is_some_and(|settings| settings.controls);
        if can_return && (is_live || is_recorded) {
            self.set("head", Some(&format!("{layer}.{head}")));
            self.set("chart", Some(ChartName::Pattern.as_str()));
        }
    }

    /// Runs what the reader typed.
    fn submit(self: &Rc<Self>) {
        let text = self.frame.text.value();
        dom::set_attribute(&self.frame.text, "data-ran", &text);
        if self.host.get_attribute("text").as_deref() == Some(&text) {
            // The same text again: worth a try after an error.
            return self.refresh_soon();
        }
        self.set("pin", None);
        self.set("text", Some(&text));
    }

    /// The run is over: there is nothing to abort.
    pub fn end_run(&self) {
        self.abort.replace(None);
    }

    fn leave(&self) {
        let done = self.trace.borrow().is_some() && self.abort.borrow().is_none();
        let made = self.made.borrow().clone().filter(|_| done);
        self.outdate();
        self.made.replace(made);
        self.loader.leave(&self.host);
    }
}

impl ui::Listener for Element {
    fn wanted_run(&self) -> u64 {
        self.number.get()
    }

    fn status(&self, text: &str) {
        self.frame.ask.set_hidden(true);
        self.frame.set_status(text);
    }

    fn progress(&self, share: Option<f64>) {
        self.frame.set_progress(share);
    }

    fn ask(&self, text: &str, button: &str, agree: Function) {
        dom::set_text(&self.frame.ask_text, text);
        dom::set_text(&self.frame.ask_button, button);
        self.frame.ask.set_hidden(false);
        // The chart of an earlier model says nothing of this one.
        self.frame.show_chart(false);
        self.agree.replace(Some(agree));
    }

    fn part(&self, trace: JsValue) {
        self.accept_part(trace);
    }
}
