//! "Embed in a page": the snippet for what is shown, the run's file, and a picture for where the embed does not run.

use std::cell::RefCell;
use std::rc::Rc;

use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::Closure;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{
    Element, HtmlDialogElement, HtmlElement, HtmlInputElement, HtmlOptionElement, HtmlSelectElement,
    HtmlTextAreaElement,
};

use super::app::App;
use super::snippet::{Numbers, PICTURE, Snippet, file_stem};
use super::wish::Origin;
use charts::{ChartName, ChartOptions, Figure, Size, Theme, canvas};
use trace::{Code, Error, Result, Trace, file};
use view::asked::Asked;
use view::dom::{self, Listener, listen};
use view::progress::format_bytes;
use view::text_lines;

/// Handles to the dialog's parts.
struct Parts {
    dialog: HtmlDialogElement,
    charts: HtmlSelectElement,
    saved: HtmlInputElement,
    live: HtmlInputElement,
    snippet: HtmlTextAreaElement,
    files: Element,
    status: Element,
}

impl Parts {
    fn find() -> Result<Parts> {
        Ok(Parts {
            dialog: dom::by_id("embed-dialog")?,
            charts: dom::by_id("embed-chart")?,
            saved: dom::by_id("embed-saved")?,
            live: dom::by_id("embed-live")?,
            snippet: dom::by_id("embed-snippet")?,
            files: dom::by_id("embed-files")?,
            status: dom::by_id("embed-status")?,
        })
    }
}

/// What the dialog speaks of, from opening to closing.
struct Subject {
    trace: Rc<Trace>,
    asked: Asked,
    options: ChartOptions,
    /// What its files are called, and the size of the run's in bytes.
    stem: String,
    bytes: usize,
}

impl Subject {
    /// Name of the run's file beside the author's page.
    fn run_name(&self) -> String {
        format!("{}.json", self.stem)
    }

    /// Name of a picture of it.
    fn picture_name(&self, chart: ChartName, ending: &str) -> String {
        let pin = self.options.token.map_or_else(String::new, |token| format!("-{}-{token}", self.options.sequence));
        format!("{}-{chart}{pin}.{ending}", self.stem, chart = chart.as_str())
    }
}

/// The dialog, wired to the page.
struct Dialog {
    app: Rc<App>,
    parts: Parts,
    subject: RefCell<Option<Subject>>,
}

impl App {
    /// Wires the button that opens the dialog, and the dialog.
    pub(super) fn listen_to_embed(self: &Rc<Self>) -> Result<Vec<Listener>> {
        let dialog = Rc::new(Dialog { app: self.clone(), parts: Parts::find()?, subject: RefCell::default() });
        let mut listeners = Vec::new();
        let mut on = |id: &str, event: &'static str, handle: fn(&Rc<Dialog>) -> Result<()>| -> Result<()> {
            let (target, dialog) = (dom::by_id::<HtmlElement>(id)?, dialog.clone());
            listeners.push(listen(&target, event, move |_| {
                if let Err(error) = handle(&dialog) {
                    dom::set_text(&dialog.parts.status, &error.message);
                }
            }));
            Ok(())
        };
        on("embed-open", "click", |dialog| dialog.open())?;
        on("embed-close", "click", |dialog| {
            dialog.parts.dialog.close();
            Ok(())
        })?;
        for id in ["embed-chart", "embed-saved", "embed-live"] {
            on(id, "change", |dialog| dialog.write())?;
        }
        on("embed-copy", "click", |dialog| dialog.copy())?;
        on("embed-run", "click", |dialog| {
            let run = dialog.with(|subject| file::to_json(&subject.trace))?;
            let name = dialog.with(|subject| Ok(subject.run_name()))?;
            dom::offer_file(&dom::text_blob(&run, "application/json")?, &name)
        })?;
        on("embed-svg", "click", |dialog| {
            let size = Size::new(f64::from(PICTURE.0), f64::from(PICTURE.1));
            let picture = dialog.with(|subject| canvas::export_svg(&dialog.figure(subject), size, &Theme::light()))?;
            dom::offer_file(&dom::text_blob(&picture, "image/svg+xml")?, &dialog.picture_name("svg")?)
        })?;
        on("embed-png", "click", |dialog| {
            let size = Size::new(f64::from(PICTURE.0), f64::from(PICTURE.1));
            let picture = dialog.with(|subject| canvas::export(&dialog.figure(subject), size, 2.0, &Theme::light()))?;
            let name = dialog.picture_name("png")?;
            let save = Closure::once_into_js(move |blob: wasm_bindgen::JsValue| {
                if let Ok(blob) = blob.dyn_into::<web_sys::Blob>() {
                    let _ = dom::offer_file(&blob, &name);
                }
            });
            let _ = picture.to_blob(save.unchecked_ref());
            Ok(())
        })?;
        Ok(listeners)
    }
}

impl Dialog {
    fn with<T>(&self, look: impl FnOnce(&Subject) -> Result<T>) -> Result<T> {
        let subject = self.subject.borrow();
        look(subject.as_ref().ok_or_else(|| Error::new(Code::BadArgument, "There is no run to embed yet."))?)
    }

    /// The chart that is chosen in the dialog.
    fn chart(&self, subject: &Subject) -> ChartName {
        self.parts.charts.value().parse().unwrap_or(subject.asked.view)
    }

    fn figure(&self, subject: &Subject) -> Figure {
        Figure::new(self.chart(subject), &subject.trace, &subject.options)
    }

    fn picture_name(&self, ending: &str) -> Result<String> {
        self.with(|subject| Ok(subject.picture_name(self.chart(subject), ending)))
    }

    fn open(&self) -> Result<()> {
        dom::set_text(&self.parts.status, "");
        let app = &self.app;
        let good = app.state.borrow().good.clone();
        let Some((trace, _)) = good else {
            self.subject.replace(None);
            return self.say_nothing();
        };
        let trace = app.with_patched(&trace).map_or(trace, Rc::new);
        let asked = app.view.asked();
        let (sequence, token) = app.pinned.get().unzip();
        let options = ChartOptions {
            skip_first: app.skip_first.checked(),
            sequence: sequence.unwrap_or(0),
            token,
            quantity: asked.quantity,
            ranks: asked.ranks,
            head: Some(asked.head),
            compare: Some(asked.texts),
            ..ChartOptions::default()
        };
        self.parts.charts.set_text_content(None);
        for chart in ChartName::ALL {
            let figure = Figure::new(chart, &trace, &options);
            if figure.empty().is_some() {
                continue; // This run did not record it.
            }
            let option: HtmlOptionElement = dom::create("option", "")?;
            option.set_value(chart.as_str());
            option.set_text_content(Some(figure.title()));
            dom::append(&self.parts.charts, &option);
        }
        self.parts.charts.set_value(asked.view.as_str());
        if self.parts.charts.selected_index() < 0 {
            self.parts.charts.set_selected_index(0);
        }
        let run = file::to_json(&trace)?;
        let text = trace.sequences.first().and_then(|sequence| sequence.text.as_deref()).unwrap_or_default();
        let (stem, bytes) = (file_stem(text, &run), run.len());
        self.subject.replace(Some(Subject { trace, asked, options, stem, bytes }));
        self.parts.live.set_disabled(self.model().is_none());
        if self.model().is_none() {
            self.parts.saved.set_checked(true);
        }
        self.write()?;
        self.show()
    }

    fn say_nothing(&self) -> Result<()> {
        self.parts.snippet.set_value("");
        dom::set_text(&self.parts.files, "There is no run to embed yet: run a text first.");
        self.show()
    }

    fn show(&self) -> Result<()> {
        let failed = |_| Error::new(Code::UnsupportedBrowser, "This browser cannot open the dialog.");
        self.parts.dialog.show_modal().map_err(failed)
    }

    /// The model that made the run: "demo" or a repo id; none where it came from the reader's own files.
    fn model(&self) -> Option<String> {
        let state = self.app.state.borrow();
        match &state.current.as_ref().filter(|_| !state.saved)?.wish.from {
            Origin::Address(address) => Some(address.clone()),
            Origin::Files(_) => None,
        }
    }

    /// Writes the snippet for what is chosen.
    fn write(&self) -> Result<()> {
        // What was said of another snippet.
        dom::set_text(&self.parts.status, "");
        self.with(|subject| {
            let view = self.chart(subject);
            let asked = Asked { view, ..subject.asked.clone() };
            let figure = self.figure(subject);
            let numbers = match self.model().filter(|_| self.parts.live.checked()) {
                Some(model) => {
                    let texts = subject.trace.sequences.iter();
                    let texts = texts.map(|sequence| sequence.text.clone().unwrap_or_else(|| sequence.tokens.concat()));
                    let text = text_lines::encode_attribute(texts);
                    Numbers::Live { text, model: Some(model).filter(|model| model != "demo") }
                }
                None => Numbers::Saved(subject.run_name()),
            };
            let needs_run = matches!(numbers, Numbers::Saved(_));
            let picture = subject.picture_name(view, "svg");
            let snippet = Snippet {
                script: &script_address(),
                numbers,
                asked: &asked,
                ablate: &subject.trace.ablate,
                pin: self.app.pinned.get(),
                skip_first: subject.options.skip_first,
                picture: (&picture, &figure.description()),
            };
            self.parts.snippet.set_value(&snippet.html());
            let files = match needs_run {
                true => {
                    let (run, size) = (subject.run_name(), format_bytes(subject.bytes as f64));
                    format!("Put {run} ({size}) and {picture} beside your page: save them here.")
                }
                false => {
                    format!("Put {picture} beside your page: save it here. It stands where the chart does not run.")
                }
            };
            dom::set_text(&self.parts.files, &files);
            Ok(())
        })
    }

    fn copy(self: &Rc<Self>) -> Result<()> {
        let text = self.parts.snippet.value();
        self.parts.snippet.select();
        let clipboard = dom::window()?.navigator().clipboard();
        let dialog = self.clone();
        spawn_local(async move {
            let copied = match clipboard.is_undefined() {
                true => false,
                false => JsFuture::from(clipboard.write_text(&text)).await.is_ok(),
            };
            let said = if copied { "Copied." } else { "Not copied: the snippet is selected, copy it with Ctrl+C." };
            dom::set_text(&dialog.parts.status, said);
        });
        Ok(())
    }
}

/// Where embed.js lies: beside this page, unless this page is a file.
fn script_address() -> String {
    let base = dom::document().ok().and_then(|document| document.base_uri().ok().flatten()).unwrap_or_default();
    let address = web_sys::Url::new_with_base("embed.js", &base).map(|url| url.href());
    match address {
        Ok(address) if address.starts_with("http") => address,
        _ => "https://YOUR-COPY-OF-THE-SITE/embed.js".to_owned(),
    }
}
