//! Messages to the page, and what a worker finds around it.

use js_sys::Reflect;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::DedicatedWorkerGlobalScope;

use crate::Error;
use protocol::FromEngine;

/// Says that this worker cannot go on.
pub(super) fn post_crash(error: Error) {
    post(&FromEngine::Crashed { error: error.into() }, None);
}

pub(super) fn post(message: &FromEngine, trace: Option<JsValue>) {
    let object = js_sys::Object::new();
    let written = serde_wasm_bindgen::to_value(message).unwrap_or(JsValue::NULL);
    let _ = Reflect::set(&object, &"message".into(), &written);
    if let Some(trace) = trace {
        let _ = Reflect::set(&object, &"trace".into(), &trace);
    }
    let _ = scope().post_message(&object);
}

pub(super) fn get(value: &JsValue, name: &str) -> JsValue {
    Reflect::get(value, &name.into()).unwrap_or(JsValue::UNDEFINED)
}

pub(super) fn scope() -> DedicatedWorkerGlobalScope {
    js_sys::global().unchecked_into()
}
