//! From events to messages, and from words into fields.

use std::cell::RefCell;

use view::dom;
use wasm_bindgen::JsCast;
use web_sys::{Element, Event, EventTarget, HtmlInputElement, HtmlSelectElement};

use super::super::msg::Msg;
use trace::Result;

/// Sends what `read` makes of every such event, for as long as the page is open.
pub fn on(target: &EventTarget, event: &'static str, read: impl Fn(&Event) -> Option<Msg> + 'static) {
    // The page lives as long as its tab, and so do its listeners.
    std::mem::forget(dom::listen(target, event, move |event| {
        if let Some(msg) = read(&event) {
            super::send(msg);
        }
    }));
}

/// The same for the element of this id.
pub fn on_id(id: &str, event: &'static str, read: impl Fn(&Event) -> Option<Msg> + 'static) -> Result<()> {
    on(dom::by_id::<Element>(id)?.as_ref(), event, read);
    Ok(())
}

/// The element that an event is about, or the nearest around it that fits.
pub fn closest(event: &Event, selector: &str) -> Option<Element> {
    event.target()?.dyn_into::<Element>().ok()?.closest(selector).ok().flatten()
}

/// A field that the reader types into, or chooses in. It is written only when the state has something new to say: what
/// is half typed stays.
pub struct Field {
    element: Element,
    written: RefCell<String>,
}

impl Field {
    /// The field of this id.
    pub fn new(id: &str) -> Result<Field> {
        let element: Element = dom::by_id(id)?;
        let written = RefCell::new(value_of(&element));
        Ok(Field { element, written })
    }

    /// Puts a value into it.
    pub fn write(&self, value: &str) {
        if *self.written.borrow() != value {
            value.clone_into(&mut self.written.borrow_mut());
            if let Some(input) = self.element.dyn_ref::<HtmlInputElement>() {
                input.set_value(value);
            } else if let Some(select) = self.element.dyn_ref::<HtmlSelectElement>() {
                select.set_value(value);
            }
        }
    }

    /// The largest number that makes sense in it.
    pub fn write_most(&self, most: usize) {
        dom::set_attribute(&self.element, "max", &most.to_string());
    }

    /// Its element.
    pub fn element(&self) -> &Element {
        &self.element
    }
}

/// What stands in a field.
pub fn value_of(element: &Element) -> String {
    match element.dyn_ref::<HtmlInputElement>() {
        Some(input) => input.value(),
        None => element.dyn_ref::<HtmlSelectElement>().map_or_else(String::new, HtmlSelectElement::value),
    }
}
