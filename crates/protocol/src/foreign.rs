//! Looking at values that somebody else's program gave. A look may run that program's code (a getter, a Proxy's trap) and
//! that code may throw; an exception that passes through this program's own code leaves it broken for good. Whatever is
//! read of such a value is therefore read through these functions: none of them throws.

use js_sys::{Array, ArrayBuffer, JsString, Reflect};
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(catch, js_namespace = Array, js_name = isArray)]
    fn array_is_array(value: &JsValue) -> Result<bool, JsValue>;
    #[wasm_bindgen(catch, js_namespace = Array, js_name = from)]
    fn array_from(value: &JsValue) -> Result<Array, JsValue>;
    #[wasm_bindgen(catch, js_namespace = Object, js_name = keys)]
    fn object_keys(value: &JsValue) -> Result<Array, JsValue>;
    #[wasm_bindgen(catch, js_namespace = Object, js_name = values)]
    fn object_values(value: &JsValue) -> Result<Array, JsValue>;
    #[wasm_bindgen(catch, js_name = String)]
    fn string_of(value: &JsValue) -> Result<JsString, JsValue>;
}

/// A property; undefined of what is no object.
///
/// # Errors
/// What looking at it threw, in words.
pub fn read(value: &JsValue, name: &str) -> Result<JsValue, String> {
    if !value.is_object() {
        return Ok(JsValue::UNDEFINED);
    }
    Reflect::get(value, &name.into()).map_err(|why| in_words(&why))
}

/// A property; undefined where it cannot be read.
pub fn get(value: &JsValue, name: &str) -> JsValue {
    read(value, name).unwrap_or(JsValue::UNDEFINED)
}

/// Whether it is an array; a Proxy that was revoked is none.
pub fn is_list(value: &JsValue) -> bool {
    array_is_array(value).unwrap_or(false)
}

/// What an array holds, one after the other, undefined where it cannot be read; `None` of what is no array.
pub fn items(value: &JsValue) -> Option<impl Iterator<Item = JsValue>> {
    let length = if is_list(value) { get(value, "length").as_f64()? as u32 } else { return None };
    Some((0..length).map(|index| Reflect::get_u32(value, index).unwrap_or(JsValue::UNDEFINED)))
}

/// Whether it is a typed array, of which nothing throws; a Proxy around one is none.
pub fn is_typed_array(value: &JsValue) -> bool {
    ArrayBuffer::is_view(value)
}

/// An object's own names.
///
/// # Errors
/// What looking at them threw, in words.
pub fn keys(value: &JsValue) -> Result<Vec<String>, String> {
    let keys = object_keys(value).map_err(|why| in_words(&why))?;
    Ok(keys.iter().filter_map(|name| name.as_string()).collect())
}

/// What an object's own names stand for; `None` where it cannot be read.
pub fn values(value: &JsValue) -> Option<Array> {
    object_values(value).ok()
}

/// A plain array of what is a list in any sense: an array, a typed array, what can be gone through.
pub fn list_of(value: &JsValue) -> Option<Array> {
    array_from(value).ok()
}

/// What was thrown, in words: anything may be.
pub fn in_words(thrown: &JsValue) -> String {
    let message = get(thrown, "message").as_string().filter(|message| !message.is_empty());
    let text = || string_of(thrown).ok().map(String::from);
    message.or_else(text).unwrap_or_else(|| "what was thrown cannot be read".to_owned())
}
