//! What the program that runs models says to an element, and asks of its reader.
//! Must never know: how a model runs (`run.rs`), what else an element does.

use std::rc::{Rc, Weak};

use js_sys::{Function, Promise};
use wasm_bindgen::prelude::*;

/// The element's side: what is done with what a run says and asks.
pub trait Listener {
    /// The number of the run that is wanted.
    fn wanted_run(&self) -> u64;
    /// Says what is under way.
    fn status(&self, text: &str);
    /// How far a download is, from 0 to 1; none where there is no download.
    fn progress(&self, share: Option<f64>);
    /// Asks the reader; `agree` is called when the button is chosen.
    fn ask(&self, text: &str, button: &str, agree: Function);
    /// Blocks that are done of a model that is still arriving.
    fn part(&self, trace: JsValue);
}

/// A run's side: what the program that runs models says and asks. What is late is not heard.
#[wasm_bindgen]
pub struct Ui {
    listener: Weak<dyn Listener>,
    run: u64,
}

impl Ui {
    /// Of the run with this number.
    pub(super) fn new(listener: Weak<dyn Listener>, run: u64) -> Ui {
        Ui { listener, run }
    }

    fn listener(&self) -> Option<Rc<dyn Listener>> {
        self.listener.upgrade().filter(|listener| listener.wanted_run() == self.run)
    }
}

#[wasm_bindgen]
impl Ui {
    /// Says what is under way.
    pub fn status(&self, text: &str) {
        if let Some(listener) = self.listener() {
            listener.status(text);
        }
    }

    /// How far a download is, from 0 to 1; less than 0 when there is none.
    pub fn progress(&self, share: f64) {
        if let Some(listener) = self.listener() {
            listener.progress(Some(share).filter(|share| *share >= 0.0));
        }
    }

    /// Asks the reader; settles when the button is chosen.
    pub fn ask(&self, text: &str, button: &str) -> Promise {
        let mut agree = None;
        let answer = Promise::new(&mut |resolve, _| agree = Some(resolve));
        if let (Some(listener), Some(agree)) = (self.listener(), agree) {
            listener.ask(text, button, agree);
        }
        answer
    }

    /// Blocks that are done of a model that is still arriving.
    pub fn part(&self, trace: JsValue) {
        if let Some(listener) = self.listener() {
            listener.part(trace);
        }
    }
}
