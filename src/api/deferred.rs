//! A promise that is settled from elsewhere.

use std::cell::Cell;

use js_sys::{Function, Promise};
use wasm_bindgen::JsValue;

use super::errors;
use trace::Error;

/// The two ends of a promise that something else will settle.
pub struct Deferred {
    /// What others wait for.
    pub promise: Promise,
    resolve: Function,
    reject: Function,
    settled: Cell<bool>,
}

impl Deferred {
    /// A promise that nothing has settled.
    pub fn new() -> Deferred {
        let mut ends = None;
        let promise = Promise::new(&mut |resolve, reject| ends = Some((resolve, reject)));
        // The promise calls its function before it returns.
        let (resolve, reject) = ends.unwrap_or_else(|| (Function::default(), Function::default()));
        Deferred { promise, resolve, reject, settled: Cell::new(false) }
    }

    /// Whether it has ended.
    pub fn is_settled(&self) -> bool {
        self.settled.get()
    }

    /// Settles it with a value.
    pub fn resolve(&self, value: &JsValue) {
        self.settled.set(true);
        let _ = self.resolve.call1(&JsValue::UNDEFINED, value);
    }

    /// Settles it with an error.
    pub fn reject(&self, error: &Error) {
        self.settled.set(true);
        let _ = self.reject.call1(&JsValue::UNDEFINED, &errors::to_js(error));
    }
}
