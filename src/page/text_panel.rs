//! The text panel: sentences, samples, Run and Stop, the status line and a run's error.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::{Function, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Element, HtmlButtonElement, HtmlElement, HtmlTextAreaElement, KeyboardEvent};

use super::samples;
use trace::Result;
use view::dom::{self, Listener, listen};
use view::text_lines;

/// What a reader asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextEvent {
    /// Trace what is in the box.
    Run,
    /// End the run under way.
    Stop,
}

/// Handles to the panel's elements.
pub struct TextPanel {
    input: HtmlTextAreaElement,
    samples: Vec<HtmlButtonElement>,
    run: HtmlButtonElement,
    stop: HtmlButtonElement,
    status: Element,
    error: Element,
    listeners: RefCell<Vec<Listener>>,
}

impl TextPanel {
    /// Finds the panel in the page and puts the first sample into it, unless the browser kept a text.
    pub fn new() -> Result<Rc<TextPanel>> {
        let root: HtmlElement = dom::by_id("samples")?;
        let panel = TextPanel {
            input: dom::by_id("text-input")?,
            samples: dom::find_all(&root, "[data-sample]"),
            run: dom::by_id("run")?,
            stop: dom::by_id("stop")?,
            status: dom::by_id("run-status")?,
            error: dom::by_id("run-error")?,
            listeners: RefCell::default(),
        };
        if panel.input.value().is_empty() {
            panel.input.set_value(samples::SAMPLES[0].text);
        }
        panel.mark_sample();
        Ok(Rc::new(panel))
    }

    /// Calls `handler` on every wish of the reader.
    pub fn on_event(self: &Rc<Self>, handler: impl Fn(TextEvent) + 'static) {
        let handler = Rc::new(handler);
        let mut listeners = self.listeners.borrow_mut();
        for (button, event) in [(&self.run, TextEvent::Run), (&self.stop, TextEvent::Stop)] {
            let handler = handler.clone();
            listeners.push(listen(button, "click", move |_| handler(event)));
        }
        for button in &self.samples {
            let (panel, handler, chosen) = (Rc::downgrade(self), handler.clone(), button.clone());
            listeners.push(listen(button, "click", move |_| {
                let key = chosen.get_attribute("data-sample").unwrap_or_default();
                if let (Some(panel), Some(sample)) = (panel.upgrade(), samples::sample(&key)) {
                    panel.input.set_value(sample.text);
                    panel.mark_sample();
                    handler(TextEvent::Run);
                }
            }));
        }
        let panel = Rc::downgrade(self);
        listeners.push(listen(&self.input, "input", move |_| {
            if let Some(panel) = panel.upgrade() {
                panel.mark_sample();
            }
        }));
        let panel = Rc::downgrade(self);
        listeners.push(listen(&self.input, "keydown", move |event| {
            // While an input method composes, Enter is its own.
            let enter = |key: &&KeyboardEvent| key.key() == "Enter" && !key.is_composing();
            let Some(key) = event.dyn_ref::<KeyboardEvent>().filter(enter) else { return };
            if key.ctrl_key() || key.meta_key() {
                event.prevent_default();
                if !key.repeat() {
                    handler(TextEvent::Run);
                }
            } else if let Some(panel) = panel.upgrade().filter(|_| key.shift_key()) {
                event.prevent_default();
                panel.insert(text_lines::LINE_END.encode_utf8(&mut [0; 4]));
            }
        }));
    }

    /// Writes a sign where the cursor is, as if it had been typed.
    fn insert(&self, sign: &str) {
        // The one way that leaves the browser's undo as it is.
        let document = dom::document().map(JsValue::from).unwrap_or(JsValue::UNDEFINED);
        let command = Reflect::get(&document, &"execCommand".into()).and_then(JsCast::dyn_into::<Function>);
        let typed = command.and_then(|command| {
            command.call3(&document, &"insertText".into(), &JsValue::FALSE, &JsValue::from_str(sign))
        });
        if typed.is_ok_and(|typed| typed.is_truthy()) {
            return;
        }
        let _ = self.input.set_range_text(sign);
        self.mark_sample();
    }

    /// Shows which sample is in the box, if one is.
    fn mark_sample(&self) {
        let text = self.input.value();
        for button in &self.samples {
            let key = button.get_attribute("data-sample").unwrap_or_default();
            let chosen = samples::sample(&key).is_some_and(|sample| sample.text == text);
            dom::set_attribute(button, "aria-pressed", if chosen { "true" } else { "false" });
        }
    }

    /// What is in the box; none where it is the first sample.
    pub fn text(&self) -> Option<String> {
        Some(self.input.value()).filter(|text| text != samples::SAMPLES[0].text)
    }

    /// Puts a text into the box; none for the first sample.
    pub fn set_text(&self, text: Option<&str>) {
        self.input.set_value(text.unwrap_or(samples::SAMPLES[0].text));
        self.mark_sample();
    }

    /// The texts in the box.
    pub fn sentences(&self) -> Vec<String> {
        text_lines::decode(&self.input.value())
    }

    /// Puts texts into the box, a line each.
    pub fn set_sentences<T: AsRef<str>>(&self, texts: impl IntoIterator<Item = T>) {
        self.set_text(Some(&text_lines::encode(texts)));
    }

    /// Shows whether a run is under way. A second Run replaces the first, so Run stays usable.
    pub fn set_running(&self, running: bool) {
        // A disabled button drops the keyboard's focus on the floor.
        let had_focus =
            dom::document().ok().and_then(|d| d.active_element()).is_some_and(|e| e.is_same_node(Some(&self.stop)));
        self.stop.set_disabled(!running);
        if had_focus && !running {
            let _ = self.run.focus();
        }
        match running {
            true => dom::set_attribute(&self.status, "data-busy", ""),
            false => drop(self.status.remove_attribute("data-busy")),
        }
    }

    /// The line beside the buttons.
    pub fn set_status(&self, text: &str) {
        dom::set_text(&self.status, text);
    }

    /// The sentence below the buttons when something went wrong; empty when nothing did.
    pub fn set_error(&self, text: &str) {
        dom::set_text(&self.error, text);
        dom::set_attribute(&self.input, "aria-invalid", if text.is_empty() { "false" } else { "true" });
    }
}
