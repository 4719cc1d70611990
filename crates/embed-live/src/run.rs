//! A model that runs for an element: the question before a large download, the download, the run.
//! Must never know: how a trace is shown. It is a program of its own, which embed.js loads when a model is asked for:
//! the element and what it shows are at the other end of [`Ui`].

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::{Array, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, future_to_promise};
use web_sys::{AbortSignal, HtmlElement};

use super::download;
use super::models::{self, Lease};
use charts::ChartName;
use protocol::{js, js_error};
use residual_stream::api::{Model, PatchOptions, TraceOptions};
use trace::{Code, Error, Result};
use view::attributes::{Live, Settings, TraceSource};
use view::progress::format_bytes;
use view::repo::ASK_ABOVE_BYTES;

#[wasm_bindgen]
extern "C" {
    /// What the element does with what it is told (`element.rs: Ui`).
    #[derive(Clone)]
    pub type Ui;
    /// Says what is under way.
    #[wasm_bindgen(method)]
    fn status(this: &Ui, text: &str);
    /// How far a download is, from 0 to 1; less than 0 when there is none.
    #[wasm_bindgen(method)]
    fn progress(this: &Ui, share: f64);
    /// Asks the reader; settles when the button is chosen.
    #[wasm_bindgen(method)]
    fn ask(this: &Ui, text: &str, button: &str) -> Promise;
    /// Blocks that are done of a model that is still arriving.
    #[wasm_bindgen(method)]
    fn part(this: &Ui, trace: JsValue);
}

/// An element's model: kept from one run to the next.
#[wasm_bindgen]
pub struct Runner {
    lease: Rc<RefCell<Option<Lease>>>,
}

#[wasm_bindgen]
impl Runner {
    /// Without a model yet.
    #[wasm_bindgen(constructor)]
    #[expect(clippy::new_without_default, reason = "JavaScript makes it")]
    pub fn new() -> Runner {
        Runner { lease: Rc::default() }
    }

    /// Runs what the element's attributes ask for: a promise of a trace as JavaScript has it.
    pub fn run(&self, host: HtmlElement, ui: Ui, signal: AbortSignal) -> Promise {
        let run = Run { lease: self.lease.clone(), ui, signal };
        future_to_promise(async move { run.trace(&host).await.map_err(|error| js_error::to_js(&error)) })
    }

    /// The element needs no model any more.
    pub fn leave(&self) {
        self.lease.replace(None);
    }
}

struct Run {
    lease: Rc<RefCell<Option<Lease>>>,
    ui: Ui,
    signal: AbortSignal,
}

impl Run {
    async fn trace(&self, host: &HtmlElement) -> Result<JsValue> {
        let settings = Settings::read(&|name| host.get_attribute(name), false)?;
        let TraceSource::Live(live) = &settings.from else {
            return Err(Error::new(Code::Aborted, "The element does not ask for a model any more."));
        };
        let live = Live { model: download::checked(&live.model)?, ..live.clone() };
        let held = self.lease.borrow().as_ref().is_some_and(|lease| lease.is_of(&live));
        if !held {
            self.lease.replace(None);
            self.agree(&live).await?;
            self.go_on()?;
            self.lease.replace(Some(self.lend(&live)));
        }
        let outcome = self.run(&settings, &live).await;
        // A model that did not load, or that crashed, is of no use to anybody.
        let is_lost =
            self.lease.borrow().is_some() && outcome.as_ref().is_err_and(|error| error.code == Code::EngineCrashed);
        if is_lost && let Some(lease) = self.lease.take() {
            lease.forget();
        }
        outcome
    }

    async fn run(&self, settings: &Settings, live: &Live) -> Result<JsValue> {
        let model = self.lease.borrow().as_ref().map(Lease::model);
        let model = model.ok_or_else(|| Error::new(Code::Aborted, "The element has left the page."))?.await;
        let model = model.inspect_err(|_| {
            if let Some(lease) = self.lease.take() {
                lease.forget();
            }
        })?;
        self.go_on()?;
        self.ui.progress(-1.0);
        self.ui.status("Running…");
        let is_patching = settings.view.view == ChartName::Patching;
        let ui = self.ui.clone();
        let options = TraceOptions {
            record: settings.record(),
            signal: Some(self.signal.clone()),
            on_partial: (!is_patching).then(|| Rc::new(move |part| ui.part(js::to_js(&part))) as _),
            ..TraceOptions::default()
        };
        let mut trace = model.trace(live.texts.clone(), options).await?;
        if is_patching {
            trace.patching = Some(self.patch(&model, settings, live).await?);
        }
        Ok(js::to_js(&trace))
    }

    async fn patch(&self, model: &Model, settings: &Settings, live: &Live) -> Result<trace::Patching> {
        let [clean, corrupted] = settings.view.texts;
        let text = |at: usize| {
            let message = "The chart \"patching\" needs a text of two lines of as many tokens.";
            live.texts.get(at).cloned().ok_or_else(|| Error::new(Code::BadArgument, message))
        };
        let (answer, against) = settings.view.explained();
        let options = PatchOptions { answer, against };
        model.patch(text(clean)?, text(corrupted)?, options, Some(self.signal.clone()), |_| {}).await
    }

    /// Returns once the model may be downloaded: it is small, or here already, or the reader agrees.
    async fn agree(&self, live: &Live) -> Result<()> {
        if live.model == "demo" || models::is_here(live) {
            return Ok(());
        }
        self.ui.status("Asking how large the model is…");
        let size = download::size(live).await?;
        self.go_on()?;
        self.ui.status("");
        if size > 0 && size <= ASK_ABOVE_BYTES || models::is_here(live) {
            return Ok(());
        }
        let title = download::title(&live.model);
        let bytes = if size > 0 { format_bytes(size as f64) } else { "size unknown".to_owned() };
        let text = format!(
            "{title} runs in this page, on your own machine: nothing you trace leaves this page. The model is downloaded \
             once, and kept in this browser."
        );
        let asked = self.ui.ask(&text, &format!("Download {title}, {bytes}"));
        let _ = JsFuture::from(Promise::race(&Array::of2(&asked, &models::when_here(live)))).await;
        Ok(())
    }

    fn lend(&self, live: &Live) -> Lease {
        let lease = Lease::of(live);
        let title = if live.model == "demo" { "the demo model".to_owned() } else { download::title(&live.model) };
        self.ui.status(&format!("Loading {title}…"));
        let ui = self.ui.clone();
        lease.on_progress(Rc::new(move |loaded, total| {
            if total > 0.0 && loaded < total {
                let (done, all) = (format_bytes(loaded), format_bytes(total));
                ui.status(&format!("Loading {title}: {done} of {all}"));
                ui.progress(loaded / total);
            } else {
                ui.progress(-1.0);
            }
        }));
        lease
    }

    /// Ends a run that is not wanted any more.
    fn go_on(&self) -> Result<()> {
        match self.signal.aborted() {
            true => Err(Error::new(Code::Aborted, "Something else is asked for meanwhile.")),
            false => Ok(()),
        }
    }
}
