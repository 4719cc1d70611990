//! Waiting inside a worker.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use js_sys::{Function, Promise, Reflect, WebAssembly};
use tokio::sync::oneshot;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{DedicatedWorkerGlobalScope, MessageChannel, MessagePort};

fn scope() -> DedicatedWorkerGlobalScope {
    js_sys::global().unchecked_into()
}

/// Waits so many milliseconds.
pub async fn sleep(milliseconds: f64) {
    let promise = Promise::new(&mut |resolve: Function, _| {
        let _ = scope().set_timeout_with_callback_and_timeout_and_arguments_0(&resolve, milliseconds as i32);
    });
    let _ = JsFuture::from(promise).await;
}

thread_local! {
    static TURNS: Option<TaskQueue> = TaskQueue::new();
}

/// A channel to oneself, and who waits for what comes out of it.
struct TaskQueue {
    into: MessagePort,
    waiting: Rc<RefCell<VecDeque<oneshot::Sender<()>>>>,
    _listener: Closure<dyn Fn()>,
}

impl TaskQueue {
    fn new() -> Option<TaskQueue> {
        let channel = MessageChannel::new().ok()?;
        let waiting: Rc<RefCell<VecDeque<oneshot::Sender<()>>>> = Rc::default();
        let next = waiting.clone();
        let listener = Closure::<dyn Fn()>::new(move || {
            let waiting = next.borrow_mut().pop_front();
            if let Some(waiting) = waiting {
                let _ = waiting.send(());
            }
        });
        channel.port1().set_onmessage(Some(listener.as_ref().unchecked_ref()));
        Some(TaskQueue { into: channel.port2(), waiting, _listener: listener })
    }
}

/// Waits for a turn of the event loop. A message to oneself takes some microseconds; `setTimeout` would be held back
/// to four milliseconds.
pub async fn next_task() {
    let turn = TURNS.with(|turns| {
        let turns = turns.as_ref()?;
        let (sender, turn) = oneshot::channel();
        turns.waiting.borrow_mut().push_back(sender);
        turns.into.post_message(&JsValue::NULL).ok()?;
        Some(turn)
    });
    if let Some(turn) = turn {
        let _ = turn.await;
    }
}

/// Milliseconds on this worker's clock.
pub fn now() -> f64 {
    scope().performance().map_or(0.0, |clock| clock.now())
}

/// Calls back after a while, unless it is dropped before.
pub struct Timer {
    handle: Option<i32>,
    _callback: Closure<dyn FnMut()>,
}

impl Timer {
    /// Calls `then` after so many milliseconds.
    pub fn new(milliseconds: f64, then: impl FnMut() + 'static) -> Timer {
        let callback = Closure::new(then);
        let function: &Function = callback.as_ref().unchecked_ref();
        let handle = scope().set_timeout_with_callback_and_timeout_and_arguments_0(function, milliseconds as i32).ok();
        Timer { handle, _callback: callback }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(handle) = self.handle {
            scope().clear_timeout_with_handle(handle);
        }
    }
}

/// Bytes of this worker's wasm memory.
pub fn memory() -> f64 {
    let memory: WebAssembly::Memory = wasm_bindgen::memory().unchecked_into();
    Reflect::get(&memory.buffer(), &"byteLength".into()).ok().and_then(|bytes| bytes.as_f64()).unwrap_or(0.0)
}
