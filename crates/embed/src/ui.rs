//! What the program that runs models says to an element, and asks of its reader.
//! Must never know: how a model runs (`run.rs`), what else an element does.

use std::rc::{Rc, Weak};

use js_sys::Promise;
use wasm_bindgen::prelude::*;

use super::element::Element;
use view::dom;

/// An element's side of a run: what the program that runs models says and asks. What is late is not heard.
#[wasm_bindgen]
pub struct Ui {
    element: Weak<Element>,
    number: u64,
}

impl Ui {
    /// Of the run with this number.
    pub(super) fn new(element: &Rc<Element>, number: u64) -> Ui {
        Ui { element: Rc::downgrade(element), number }
    }

    fn element(&self) -> Option<Rc<Element>> {
        self.element.upgrade().filter(|element| element.number.get() == self.number)
    }
}

#[wasm_bindgen]
impl Ui {
    /// Says what is under way.
    pub fn status(&self, text: &str) {
        if let Some(element) = self.element() {
            element.frame.ask.set_hidden(true);
            element.frame.set_status(text);
        }
    }

    /// How far a download is, from 0 to 1; less than 0 when there is none.
    pub fn progress(&self, share: f64) {
        if let Some(element) = self.element() {
            element.frame.set_progress(Some(share).filter(|share| *share >= 0.0));
        }
    }

    /// Asks the reader; settles when the button is chosen.
    pub fn ask(&self, text: &str, button: &str) -> Promise {
        let mut agree = None;
        let answer = Promise::new(&mut |resolve, _| agree = Some(resolve));
        if let Some(element) = self.element() {
            dom::set_text(&element.frame.ask_text, text);
            dom::set_text(&element.frame.ask_button, button);
            element.frame.ask.set_hidden(false);
            // The chart of an earlier model says nothing of this one.
            element.frame.show_chart(false);
            element.agree.replace(agree);
        }
        answer
    }

    /// Blocks that are done of a model that is still arriving.
    pub fn part(&self, trace: JsValue) {
        if let Some(element) = self.element() {
            element.accept_part(trace);
        }
    }
}
