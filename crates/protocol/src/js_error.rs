//! The one place where this crate's error becomes a JavaScript `Error` with a `code`, and back.

use js_sys::Reflect;
use wasm_bindgen::JsValue;

use crate::foreign::{get, in_words};
use trace::{Code, Error};

/// An `Error` object with the sentence as `message` and the stable name as `code`.
pub fn to_js(error: &Error) -> JsValue {
    let object = js_sys::Error::new(&error.message);
    // Setting a property of a fresh object cannot fail.
    let _ = Reflect::set(&object, &"code".into(), &error.code.as_str().into());
    object.into()
}

/// The error inside such an object; anything else counts as a fault of this program.
pub fn from_js(value: &JsValue) -> Error {
    let code = get(value, "code").as_string();
    let code = code.as_deref().and_then(Code::from_name).unwrap_or(Code::EngineCrashed);
    Error::new(code, in_words(value))
}
