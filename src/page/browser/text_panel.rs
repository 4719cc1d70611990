//! The text panel: sentences, samples, Run and Stop, the status line and a run's error.

use std::cell::RefCell;

use js_sys::{Function, Reflect};
use view::{dom, text_lines};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Element, Event, HtmlButtonElement, HtmlElement, HtmlTextAreaElement, KeyboardEvent};

use super::super::msg::Msg;
use super::super::view::TextView;
use super::wire::{closest, on, on_id};
use trace::Result;

/// Handles to the panel's elements.
pub struct TextPanel {
    input: HtmlTextAreaElement,
    /// What was last put into the box, or typed into it.
    written: RefCell<String>,
    samples: Vec<HtmlButtonElement>,
    run: HtmlButtonElement,
    stop: HtmlButtonElement,
    status: Element,
    error: Element,
    /// What was last written below the buttons: what www/check.js says there of an old browser stays until then.
    error_written: RefCell<String>,
}

/// What the browser kept in the box when the page was loaded again.
pub fn left_in_box() -> String {
    dom::by_id::<HtmlTextAreaElement>("text-input").map_or_else(|_| String::new(), |input| input.value())
}

impl TextPanel {
    /// Finds the panel in the page.
    pub fn new() -> Result<TextPanel> {
        let samples: HtmlElement = dom::by_id("samples")?;
        let input: HtmlTextAreaElement = dom::by_id("text-input")?;
        listen(&input, &samples)?;
        Ok(TextPanel {
            written: RefCell::new(input.value()),
            input,
            samples: dom::find_all(&samples, "[data-sample]"),
            run: dom::by_id("run")?,
            stop: dom::by_id("stop")?,
            status: dom::by_id("run-status")?,
            error: dom::by_id("run-error")?,
            error_written: RefCell::default(),
        })
    }

    /// Writes what differs.
    pub fn write(&self, view: &TextView<'_>) {
        if *self.written.borrow() != view.text {
            view.text.clone_into(&mut self.written.borrow_mut());
            // Setting it would move the cursor of whoever typed it.
            if self.input.value() != view.text {
                self.input.set_value(view.text);
            }
        }
        for button in &self.samples {
            let chosen = view.sample.is_some() && button.get_attribute("data-sample").as_deref() == view.sample;
            dom::set_attribute(button, "aria-pressed", if chosen { "true" } else { "false" });
        }
        self.write_running(view.running);
        dom::set_text(&self.status, view.status);
        if *self.error_written.borrow() != view.error {
            view.error.clone_into(&mut self.error_written.borrow_mut());
            dom::set_text(&self.error, view.error);
        }
        dom::set_attribute(&self.input, "aria-invalid", if view.error.is_empty() { "false" } else { "true" });
    }

    /// A second Run replaces the first, so Run stays usable.
    fn write_running(&self, running: bool) {
        if self.stop.disabled() != running {
            return;
        }
        // A disabled button drops the keyboard's focus on the floor.
        let active = dom::document().ok().and_then(|document| document.active_element());
        let had_focus = active.is_some_and(|active| active.is_same_node(Some(&self.stop)));
        self.stop.set_disabled(!running);
        if had_focus && !running {
            let _ = self.run.focus();
        }
        match running {
            true => dom::set_attribute(&self.status, "data-busy", ""),
            false => drop(self.status.remove_attribute("data-busy")),
        }
    }
}

fn listen(input: &HtmlTextAreaElement, samples: &HtmlElement) -> Result<()> {
    let of_box = input.clone();
    on_id("run", "click", move |_| Some(Msg::Run(of_box.value())))?;
    on_id("stop", "click", |_| Some(Msg::Stop))?;
    on(samples, "click", |event| Some(Msg::Sample(closest(event, "[data-sample]")?.get_attribute("data-sample")?)));
    let of_box = input.clone();
    on(input, "input", move |_| Some(Msg::Typed(of_box.value())));
    let of_box = input.clone();
    on(input, "keydown", move |event| on_key(&of_box, event));
    Ok(())
}

fn on_key(input: &HtmlTextAreaElement, event: &Event) -> Option<Msg> {
    // While an input method composes, Enter is its own.
    let enter = |key: &&KeyboardEvent| key.key() == "Enter" && !key.is_composing();
    let key = event.dyn_ref::<KeyboardEvent>().filter(enter)?;
    if key.ctrl_key() || key.meta_key() {
        event.prevent_default();
        return (!key.repeat()).then(|| Msg::Run(input.value()));
    }
    key.shift_key().then(|| {
        event.prevent_default();
        insert(input, text_lines::LINE_END.encode_utf8(&mut [0; 4]));
        Msg::Typed(input.value())
    })
}

/// Writes a sign where the cursor is, as if it had been typed.
fn insert(input: &HtmlTextAreaElement, sign: &str) {
    // The one way that leaves the browser's undo as it is.
    let document = dom::document().map(JsValue::from).unwrap_or(JsValue::UNDEFINED);
    let command = Reflect::get(&document, &"execCommand".into()).and_then(JsCast::dyn_into::<Function>);
    let typed = command
        .and_then(|command| command.call3(&document, &"insertText".into(), &JsValue::FALSE, &JsValue::from_str(sign)));
    if !typed.is_ok_and(|typed| typed.is_truthy()) {
        let _ = input.set_range_text(sign);
    }
}
