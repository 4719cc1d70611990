//! The page's state, and who is told what. Loading is in `loads`, tracing in `runs`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use js_sys::{Function, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{
    AbortController, Element, HtmlButtonElement, HtmlElement, HtmlInputElement, HtmlMetaElement, MediaQueryList,
};

use super::experiments::{OffLine, PatchWish};
use super::findings::FindingsList;
use super::link::Link;
use super::model_panel::{ModelEvent, ModelPanel};
use super::text_panel::{TextEvent, TextPanel};
use super::token_strip::TokenStrip;
use super::view_panel::ViewPanel;
use super::wish::Wish;
use crate::api::{self, EngineFiles, Locations, Model, RunOptions};
use charts::{ChartName, ChartOptions};
use trace::{Ablation, Code, Error, Head, Patching, Result, Trace};
use view::chart_panel::ChartPanel;
use view::dom::{self, Listener, listen};
use view::repo::KNOWN_MODELS;

thread_local! {
    /// Keeps the page alive for as long as its tab.
    static APP: RefCell<Option<Rc<App>>> = const { RefCell::new(None) };
}

/// Starts the page: finds its parts, loads the demo model and traces the first sample.
pub fn start() {
    match configure().and_then(|()| App::new()) {
        Ok(app) => {
            app.load(Wish::known(&KNOWN_MODELS[0]));
            if let Some(link) = Link::here().filter(|link| *link != Link::default()) {
                app.follow(&link);
            }
            app.refresh_kept();
            APP.set(Some(app));
        }
        Err(error) => match dom::by_id::<Element>("run-error") {
            Ok(place) => dom::set_text(&place, &error.message),
            Err(_) => web_sys::console::error_1(&error.message.into()),
        },
    }
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

/// A model in use.
pub(super) struct Loaded {
    pub wish: Wish,
    pub model: Model,
}

/// A model that is still arriving.
pub(super) struct Arriving {
    pub number: u64,
    pub wish: Wish,
    /// There once its settings are read; blocks go on arriving.
    pub model: Option<Model>,
    /// The text runs as soon as there is a model: not where the reader has opened a saved run meanwhile.
    pub runs: bool,
    /// A whole trace was made on it, before the last byte.
    pub traced: bool,
    pub abort: AbortController,
}

/// A run under way.
pub(super) struct Running {
    pub number: u64,
    /// Whether its model is still arriving.
    pub on_arriving: bool,
    /// Blocks that it has computed.
    pub computed: usize,
    /// What it records; with `completes`, what will be recorded then.
    pub record: RunOptions,
    /// Whether it adds to the trace that is shown what a view needs, rather than taking its place.
    pub completes: bool,
    pub abort: AbortController,
}

#[derive(Default)]
pub(super) struct State {
    pub current: Option<Loaded>,
    pub arriving: Option<Arriving>,
    pub running: Option<Running>,
    /// The last number given to a load or a run; later ones outdate earlier ones.
    pub number: u64,
    /// When the last block of the newest model was there, in milliseconds since the page opened.
    pub blocks_at: Option<f64>,
    /// What was in use until its engine crashed.
    pub lost: Option<Wish>,
    /// A run was asked for before there was a model.
    pub run_when_ready: bool,
    /// The last trace that was complete, with its status line.
    pub good: Option<(Rc<Trace>, String)>,
    /// What that trace recorded, and the model that made it.
    pub recorded: RunOptions,
    pub made_by: Option<Model>,
    /// Whether it comes from a file: no model can add to it.
    pub saved: bool,
    /// What was in the text box when the last run began; none for the first sample.
    pub ran: Option<String>,
    /// What a link asked for and is yet to come: a pinned token (with the next trace), a model (with the reader's click).
    pub asked_pin: Option<(usize, usize)>,
    pub asked_model: Option<String>,
    /// What the charts show: `good`, or a part of what is being computed.
    pub shown: Option<Rc<Trace>>,
}

impl State {
    pub fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }
}

/// The page.
pub(super) struct App {
    pub text: Rc<TextPanel>,
    pub tokens: Rc<TokenStrip>,
    pub models: Rc<ModelPanel>,
    pub charts: Vec<Rc<ChartPanel>>,
    pub view: Rc<ViewPanel>,
    /// What is switched off, and the line that says so.
    pub ablate: RefCell<Vec<Ablation>>,
    pub off: OffLine,
    pub off_listeners: RefCell<Vec<Listener>>,
    /// What patching was asked for last, with what it found so far; and the way to end it.
    pub patched: RefCell<Option<(PatchWish, Option<Patching>)>>,
    pub patching: RefCell<Option<AbortController>>,
    /// Sequence and position of the token that every view shows by itself.
    pub pinned: Cell<Option<(usize, usize)>>,
    pub unpin: HtmlButtonElement,
    pub findings: FindingsList,
    stale: HtmlElement,
    pub skip_first: HtmlInputElement,
    pub bins: HtmlInputElement,
    pub state: RefCell<State>,
    /// Number and time of the last look at what is kept.
    pub looked: Cell<(u64, f64)>,
    listeners: RefCell<Vec<Listener>>,
    /// Fires when the window moves to a screen of another sharpness.
    sharpness: RefCell<Option<Listener>>,
}

impl App {
    fn new() -> Result<Rc<App>> {
        let app = Rc::new(App {
            text: TextPanel::new()?,
            tokens: TokenStrip::new()?,
            models: ModelPanel::new()?,
            charts: vec![
                ChartPanel::new("histogram", ChartName::Distribution)?,
                ChartPanel::new("evolution", ChartName::Evolution)?,
            ],
            view: ViewPanel::new()?,
            ablate: RefCell::default(),
            off: OffLine::new()?,
            off_listeners: RefCell::default(),
            patched: RefCell::default(),
            patching: RefCell::default(),
            pinned: Cell::default(),
            unpin: dom::by_id("unpin")?,
            findings: FindingsList::new()?,
            stale: dom::by_id("stale")?,
            skip_first: dom::by_id("skip-first")?,
            bins: dom::by_id("bins")?,
            state: RefCell::default(),
            looked: Cell::default(),
            listeners: RefCell::default(),
            sharpness: RefCell::default(),
        });
        app.text.set_status("Loading the demo model…");
        let weak = Rc::downgrade(&app);
        app.text.on_event(move |event| {
            if let Some(app) = weak.upgrade() {
                match event {
                    TextEvent::Run => app.run(),
                    TextEvent::Stop => app.stop(),
                }
            }
        });
        let weak = Rc::downgrade(&app);
        app.models.on_event(move |event| {
            if let Some(app) = weak.upgrade() {
                match event {
                    ModelEvent::Load(wish) => {
                        app.state.borrow_mut().asked_model = None;
                        app.load(wish);
                    }
                    ModelEvent::AskSize(id) => app.ask_size(id),
                    ModelEvent::Cancel => app.cancel_load(),
                    ModelEvent::Ticked(wish) => app.load_if_still_ticked(wish),
                    ModelEvent::Delete(folders) => app.delete_kept(folders),
                    ModelEvent::Look => app.look_at_kept(),
                }
            }
        });
        let weak = Rc::downgrade(&app);
        app.view.on_wish(move |wish| {
            if let Some(app) = weak.upgrade() {
                app.do_wish(wish);
            }
        });
        let weak = Rc::downgrade(&app);
        app.view.chart.on_choose(move |place| {
            let Some(app) = weak.upgrade() else { return };
            if let (Some(layer), Some(head)) = (place.layer, place.head) {
                app.show_head(Head { layer, head });
            } else if let (Some(sequence), Some(token)) = (place.sequence, place.token) {
                app.pin((sequence, token));
            }
        });
        let weak = Rc::downgrade(&app);
        app.findings.on_choose(move |finding| {
            if let Some(app) = weak.upgrade() {
                app.show_finding(&finding);
            }
        });
        let weak = Rc::downgrade(&app);
        app.tokens.on_choose(move |sequence, token| {
            if let Some(app) = weak.upgrade() {
                app.pin((sequence, token));
            }
        });
        let mut listeners = app.listen_to_files();
        listeners.extend(app.listen_to_embed()?);
        let weak = Rc::downgrade(&app);
        let stop: HtmlElement = dom::by_id("view-stop")?;
        listeners.push(listen(&stop, "click", move |_| {
            if let Some(app) = weak.upgrade() {
                app.stop();
                // The button is gone with what it stopped.
                let _ = app.view.chart.canvas.focus();
            }
        }));
        listeners.push(super::intro::show_once()?);
        listeners.push(app.listen_to_off_line());
        let weak = Rc::downgrade(&app);
        listeners.push(listen(&app.unpin, "click", move |_| {
            if let Some(app) = weak.upgrade() {
                app.set_pinned(None);
                // The button is gone with the pin; the keyboard goes on where the views are.
                let _ = app.view.chart.canvas.focus();
            }
        }));
        // While bins are typed the chart follows; once they are, the address does.
        for (control, event) in [(&app.skip_first, "change"), (&app.bins, "input"), (&app.bins, "change")] {
            let weak = Rc::downgrade(&app);
            listeners.push(listen(control, event, move |_| {
                if let Some(app) = weak.upgrade() {
                    app.show_again();
                    if event == "change" {
                        app.write_link();
                    }
                }
            }));
        }
        if let Ok(window) = dom::window() {
            let weak = Rc::downgrade(&app);
            listeners.push(listen(&window, "popstate", move |_| {
                if let Some((app, link)) = weak.upgrade().zip(Link::here()) {
                    app.follow(&link);
                }
            }));
        }
        if let Some(dark) = media("(prefers-color-scheme: dark)") {
            let weak = Rc::downgrade(&app);
            listeners.push(listen(&dark, "change", move |_| {
                if let Some(app) = weak.upgrade() {
                    app.redraw();
                }
            }));
        }
        app.listeners.replace(listeners);
        app.watch_sharpness();
        // An empty trace, so that the charts say what to do.
        app.show(&Rc::new(Trace::default()))?;
        Ok(app)
    }

    fn watch_sharpness(self: &Rc<Self>) {
        let ratio = dom::window().map_or(1.0, |window| window.device_pixel_ratio());
        let Some(query) = media(&format!("(resolution: {ratio}dppx)")) else { return };
        let weak = Rc::downgrade(self);
        let listener = listen(&query, "change", move |_| {
            if let Some(app) = weak.upgrade() {
                app.redraw();
                // Not from within the handler that this replaces.
                wasm_bindgen_futures::spawn_local(async move { app.watch_sharpness() });
            }
        });
        self.sharpness.replace(Some(listener));
    }

    fn redraw(&self) {
        for chart in self.all_charts() {
            chart.redraw();
        }
    }

    /// Shows a trace everywhere.
    pub fn show(&self, trace: &Rc<Trace>) -> Result<()> {
        let skip_first = self.skip_first.checked();
        let typed = self.bins.value();
        let bins: Option<usize> = typed.trim().parse().ok().filter(|bins| (1..=500).contains(bins));
        dom::set_attribute(
            &self.bins,
            "aria-invalid",
            if typed.trim().is_empty() || bins.is_some() { "false" } else { "true" },
        );
        self.tokens.show(trace);
        self.keep_pin(trace);
        let options = ChartOptions { bins, ..self.chart_options() };
        for chart in &self.charts {
            chart.show(trace, &options)?;
        }
        self.show_view(trace)?;
        self.findings.show(trace, skip_first)?;
        if trace.model.n_layer > 0 {
            let root: HtmlElement = dom::by_id("how")?;
            for (name, value) in [("n_embd", trace.model.n_embd), ("n_layer", trace.model.n_layer)] {
                for place in dom::find_all::<Element>(&root, &format!("[data-fill={name}]")) {
                    dom::set_text(&place, &value.to_string());
                }
            }
        }
        self.state.borrow_mut().shown = Some(trace.clone());
        Ok(())
    }

    fn chart_options(&self) -> ChartOptions {
        let (sequence, token) = self.pinned.get().unzip();
        let (skip_first, sequence) = (self.skip_first.checked(), sequence.unwrap_or(0));
        ChartOptions { skip_first, sequence, token, ..Default::default() }
    }

    /// Shows a trace in the chosen view alone.
    fn show_view(&self, trace: &Trace) -> Result<()> {
        match self.with_patched(trace) {
            Some(patched) => self.view.show(&patched, &self.chart_options()),
            None => self.view.show(trace, &self.chart_options()),
        }
    }

    /// Shows the same trace after a change of the view, or of its controls.
    pub fn show_view_again(&self) {
        let shown = self.state.borrow().shown.clone();
        if let Some(shown) = shown {
            self.report(self.show_view(&shown));
        }
    }

    fn all_charts(&self) -> impl Iterator<Item = &Rc<ChartPanel>> {
        self.charts.iter().chain([&self.view.chart])
    }

    /// Shows the same trace after a change of a control.
    pub fn show_again(&self) {
        let shown = self.state.borrow().shown.clone();
        if let Some(shown) = shown {
            self.report(self.show(&shown));
        }
    }

    /// Marks what is shown as belonging to an earlier text; an empty reason takes the mark away.
    pub fn set_stale(&self, reason: &str) {
        let stale = !reason.is_empty() && self.state.borrow().good.is_some();
        dom::set_text(&self.stale, reason);
        self.stale.set_hidden(!stale);
        for chart in self.all_charts() {
            chart.set_stale(stale);
        }
        self.findings.set_stale(stale);
    }

    /// Puts the last complete trace back where a part of another was shown.
    pub fn show_last_good(&self) {
        let good = self.state.borrow().good.clone();
        let shown = self.state.borrow().shown.clone();
        if let Some((good, _)) = good.filter(|(good, _)| shown.is_none_or(|shown| !Rc::ptr_eq(&shown, good))) {
            self.report(self.show(&good));
        }
    }

    /// Tells the reader of a fault in the page itself.
    pub fn report(&self, outcome: Result<()>) {
        if let Err(error) = outcome {
            self.text.set_error(&error.message);
        }
    }
}

fn media(query: &str) -> Option<MediaQueryList> {
    dom::window().ok()?.match_media(query).ok().flatten()
}

/// An `AbortController`.
pub(super) fn abort_controller() -> Result<AbortController> {
    AbortController::new().map_err(|_| Error::new(Code::UnsupportedBrowser, "The browser has no AbortController."))
}
