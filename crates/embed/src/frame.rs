//! The parts of an embed, which embed.js builds in its shadow root: the same as a chart's panel on the page, and what an
//! embed needs of its own.
//! Must never know: what a trace is.

use web_sys::{
    Element, HtmlButtonElement, HtmlElement, HtmlInputElement, HtmlProgressElement, HtmlSelectElement,
    HtmlTextAreaElement,
};

use trace::Result;
use view::dom;

/// Handles to the parts.
pub struct Frame {
    /// Holds all others, and the colours.
    pub root: HtmlElement,
    /// The page's own content: what stands in the chart's place without JavaScript, and until it is drawn.
    slot: HtmlElement,
    /// What went wrong.
    error: HtmlElement,
    /// The question before a large download.
    pub ask: HtmlElement,
    /// What it says beside its button.
    pub ask_text: HtmlElement,
    /// The button that names the size.
    pub ask_button: HtmlButtonElement,
    /// What is under way.
    pub status: HtmlElement,
    /// How far a download is.
    progress: HtmlProgressElement,
    /// The text that the reader may change.
    pub form: HtmlElement,
    /// Its box.
    pub text: HtmlTextAreaElement,
    /// The chart's panel.
    pub panel: HtmlElement,
    /// The chart's name.
    pub title: HtmlElement,
    /// The question it answers.
    pub lead: HtmlElement,
    /// Where the chart is drawn.
    pub plot: HtmlElement,
    /// Which chart, and which tokens: choices of a reader.
    pub choices: HtmlElement,
    /// Which chart.
    pub charts: HtmlSelectElement,
    /// Whether position 0 is left out.
    pub first: HtmlInputElement,
    /// Buttons that zoom grids.
    pub zoom: HtmlElement,
    /// Takes the pin away.
    pub unpin: HtmlButtonElement,
}

impl Frame {
    /// Finds the parts.
    pub fn find(root: HtmlElement) -> Result<Frame> {
        let part = |selector: &str| -> Result<HtmlElement> { dom::find::<HtmlElement>(&root, selector) };
        Ok(Frame {
            slot: part("slot")?,
            error: part(".error")?,
            ask: part(".ask")?,
            ask_text: part(".ask p")?,
            ask_button: dom::find(&root, ".ask button")?,
            status: part(".status")?,
            progress: dom::find(&root, "progress")?,
            form: part("form")?,
            text: dom::find(&root, "textarea")?,
            panel: part(".chart")?,
            title: part(".title")?,
            lead: part(".lead")?,
            plot: part(".plot")?,
            choices: part(".choices")?,
            charts: dom::find(&root, ".choices select")?,
            first: dom::find(&root, ".choices input")?,
            zoom: part(".zoom")?,
            unpin: dom::find(&root, ".chip")?,
            root,
        })
    }

    /// Says what is under way; nothing when nothing is.
    pub fn set_status(&self, text: &str) {
        dom::set_text(&self.status, text);
    }

    /// How far a download is, from 0 to 1; `None` when there is none.
    pub fn set_progress(&self, share: Option<f64>) {
        self.progress.set_hidden(share.is_none());
        self.progress.set_value(share.unwrap_or_default());
    }

    /// Says what went wrong; nothing when nothing did.
    pub fn set_error(&self, message: &str) {
        dom::set_text(&self.error, message);
    }

    /// The chart stands where the page's own content stood, or the other way round.
    pub fn show_chart(&self, show: bool) {
        self.panel.set_hidden(!show);
        self.slot.set_hidden(show);
    }

    /// The buttons that zoom.
    pub fn zoom_buttons(&self) -> Vec<Element> {
        dom::find_all(&self.zoom, "button")
    }
}
