//! Listening to an `AbortSignal` for as long as something is under way.

use wasm_bindgen::JsCast;
use wasm_bindgen::closure::Closure;
use web_sys::AbortSignal;

use trace::{Code, Error};

/// Calls back when the signal fires; stops listening when dropped.
pub struct AbortListener {
    signal: AbortSignal,
    listener: Closure<dyn Fn()>,
}

impl AbortListener {
    /// Listens to a signal that has not fired yet.
    pub fn new(signal: AbortSignal, on_abort: impl Fn() + 'static) -> AbortListener {
        let listener = Closure::new(on_abort);
        // Adding a listener of the right type to a live signal cannot fail.
        let _ = signal.add_event_listener_with_callback("abort", listener.as_ref().unchecked_ref());
        AbortListener { signal, listener }
    }
}

impl Drop for AbortListener {
    fn drop(&mut self) {
        let _ = self.signal.remove_event_listener_with_callback("abort", self.listener.as_ref().unchecked_ref());
    }
}

/// What an abort rejects with.
pub fn aborted(what: &str) -> Error {
    Error::new(Code::Aborted, format!("{what} was stopped."))
}
