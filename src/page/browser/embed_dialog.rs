//! "Embed in a page": the snippet for what is shown, the run's file, and a picture for where the embed does not run.

use std::cell::RefCell;
use std::rc::Rc;

use charts::{ChartName, ChartOptions, Figure};
use trace::{Code, Error, Result, file};
use view::progress::format_bytes;
use view::settings::ViewSettings;
use view::text_lines;
use view::{chart_file, dom};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{
    Element, HtmlDialogElement, HtmlElement, HtmlInputElement, HtmlOptionElement, HtmlSelectElement,
    HtmlTextAreaElement,
};

use super::super::snippet::{Numbers, Snippet, Subject, file_stem};
use super::wire::on;

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

/// What the dialog speaks of, and what its files are.
struct Open {
    subject: Subject,
    options: ChartOptions,
    /// What its files are called, and the size of the run's in bytes.
    stem: String,
    bytes: usize,
}

impl Open {
    fn new(subject: Subject) -> Result<Open> {
        let run = file::to_json(&subject.trace)?;
        let text = subject.trace.sequences.first().and_then(|sequence| sequence.text.as_deref()).unwrap_or_default();
        let (stem, bytes) = (file_stem(text, &run), run.len());
        Ok(Open { options: subject.settings.chart_options(), stem, bytes, subject })
    }

    /// Name of the run's file beside the author's page.
    fn run_name(&self) -> String {
        format!("{}.json", self.stem)
    }

    /// What a picture of it is called, without its ending.
    fn picture_stem(&self, chart: ChartName) -> String {
        let pin = self.options.token.map_or_else(String::new, |token| format!("-{}-{token}", self.options.sequence));
        format!("{}-{chart}{pin}", self.stem, chart = chart.as_str())
    }
}

/// The dialog.
pub struct Dialog {
    parts: Parts,
    open: RefCell<Option<Open>>,
}

impl Dialog {
    /// Finds the dialog in the page.
    pub fn new() -> Result<Rc<Dialog>> {
        let dialog = Rc::new(Dialog { parts: Parts::find()?, open: RefCell::default() });
        dialog.listen()?;
        Ok(dialog)
    }

    fn listen(self: &Rc<Self>) -> Result<()> {
        let on = |id: &str, event: &'static str, handle: fn(&Rc<Dialog>) -> Result<()>| -> Result<()> {
            let (target, dialog) = (dom::by_id::<HtmlElement>(id)?, self.clone());
            on(&target, event, move |_| {
                dialog.say(handle(&dialog));
                None
            });
            Ok(())
        };
        on("embed-close", "click", |dialog| {
            dialog.parts.dialog.close();
            Ok(())
        })?;
        for id in ["embed-chart", "embed-saved", "embed-live"] {
            on(id, "change", |dialog| dialog.write())?;
        }
        on("embed-copy", "click", Dialog::copy)?;
        on("embed-run", "click", |dialog| {
            let run = dialog.with(|open| file::to_json(&open.subject.trace))?;
            let name = dialog.with(|open| Ok(open.run_name()))?;
            dom::offer_file(&dom::text_blob(&run, "application/json")?, &name)
        })?;
        on("embed-svg", "click", |dialog| dialog.offer_picture("svg"))?;
        on("embed-png", "click", |dialog| dialog.offer_picture("png"))
    }

    fn offer_picture(&self, kind: &str) -> Result<()> {
        self.with(|open| chart_file::offer(&self.figure(open), kind, &open.picture_stem(self.chart(open))))
    }

    fn say(&self, outcome: Result<()>) {
        if let Err(error) = outcome {
            dom::set_text(&self.parts.status, &error.message);
        }
    }

    /// Opens it; without a subject, it says what to do first.
    pub fn open(&self, subject: Option<Subject>) {
        dom::set_text(&self.parts.status, "");
        let shown = match subject {
            Some(subject) => self.fill(subject),
            None => self.say_nothing(),
        };
        self.say(shown.and_then(|()| self.show()));
    }

    fn fill(&self, subject: Subject) -> Result<()> {
        let open = Open::new(subject)?;
        self.parts.charts.set_text_content(None);
        for chart in ChartName::ALL {
            let figure = Figure::new(chart, &open.subject.trace, &open.options);
            if figure.empty().is_some() {
                continue; // This run did not record it.
            }
            let option: HtmlOptionElement = dom::create("option", "")?;
            option.set_value(chart.as_str());
            option.set_text_content(Some(figure.title()));
            dom::append(&self.parts.charts, &option);
        }
        self.parts.charts.set_value(open.subject.settings.view.as_str());
        if self.parts.charts.selected_index() < 0 {
            self.parts.charts.set_selected_index(0);
        }
        let can_run = open.subject.model.is_some();
        self.parts.live.set_disabled(!can_run);
        if !can_run {
            self.parts.saved.set_checked(true);
        }
        self.open.replace(Some(open));
        self.write()
    }

    fn say_nothing(&self) -> Result<()> {
        self.open.replace(None);
        self.parts.snippet.set_value("");
        dom::set_text(&self.parts.files, "There is no run to embed yet: run a text first.");
        Ok(())
    }

    fn with<T>(&self, look: impl FnOnce(&Open) -> Result<T>) -> Result<T> {
        let open = self.open.borrow();
        look(open.as_ref().ok_or_else(|| Error::new(Code::BadArgument, "There is no run to embed yet."))?)
    }

    /// The chart that is chosen in the dialog.
    fn chart(&self, open: &Open) -> ChartName {
        self.parts.charts.value().parse().unwrap_or(open.subject.settings.view)
    }

    fn figure(&self, open: &Open) -> Figure {
        Figure::new(self.chart(open), &open.subject.trace, &open.options)
    }

    fn show(&self) -> Result<()> {
        let failed = |_| Error::new(Code::UnsupportedBrowser, "This browser cannot open the dialog.");
        self.parts.dialog.show_modal().map_err(failed)
    }

    /// Writes the snippet for what is chosen.
    fn write(&self) -> Result<()> {
        // What was said of another snippet.
        dom::set_text(&self.parts.status, "");
        self.with(|open| {
            let Subject { trace, settings, model } = &open.subject;
            let view = self.chart(open);
            let settings = ViewSettings { view, ..settings.clone() };
            let numbers = match model.clone().filter(|_| self.parts.live.checked()) {
                Some(model) => {
                    let texts = trace.sequences.iter();
                    let texts = texts.map(|sequence| sequence.text.clone().unwrap_or_else(|| sequence.tokens.concat()));
                    let text = text_lines::encode_attribute(texts);
                    Numbers::Live { text, model: Some(model).filter(|model| model != "demo") }
                }
                None => Numbers::Saved(open.run_name()),
            };
            let needs_run = matches!(numbers, Numbers::Saved(_));
            let picture = format!("{}.svg", open.picture_stem(view));
            let words = self.figure(open).description();
            let snippet =
                Snippet { script: &script_address(), numbers, settings: &settings, picture: (&picture, &words) };
            self.parts.snippet.set_value(&snippet.html());
            let files = match needs_run {
                true => {
                    let (run, size) = (open.run_name(), format_bytes(open.bytes as f64));
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
