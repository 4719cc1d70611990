//! Arguments and options as JavaScript gives them: each of its kind, each known by name. What is not is an error that names
//! it; an option that nobody reads would change a result in silence.

use js_sys::{Array, Function, Object, Reflect};
use serde::de::DeserializeOwned;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::AbortSignal;

use trace::wording::{in_words, nearest};
use trace::{Code, Error, Result};

/// The options of an attribution, and of an entry of `ablate`.
const ATTRIBUTION: [&str; 3] = ["target", "against", "position"];
const ABLATED: [&str; 4] = ["layer", "part", "head", "how"];

/// Refuses options that are not known by these names.
pub(super) fn check_names(call: &str, options: &JsValue, known: &[&[&str]]) -> Result<()> {
    if options.is_undefined() || options.is_null() {
        return Ok(());
    }
    let Some(object) = options.dyn_ref::<Object>().filter(|_| !options.is_function() && !Array::is_array(options))
    else {
        return Err(bad(&format!("{call}: expected an object of options, found {}", describe(options))));
    };
    let known = known.concat();
    for name in Object::keys(object).iter().filter_map(|name| name.as_string()) {
        if known.contains(&name.as_str()) || get(options, &name).is_undefined() {
            continue;
        }
        let meant = match nearest(&name, &known) {
            Some(meant) => format!("did you mean {meant}?"),
            None => format!("the options are {}.", known.join(", ")),
        };
        return Err(bad(&format!("{call}: there is no option \"{name}\": {meant}")));
    }
    let nested: [(&str, &[&str]); 2] = [("attribution", &ATTRIBUTION), ("ablate", &ABLATED)];
    for (name, names) in nested.into_iter().filter(|(name, _)| known.contains(name)) {
        let value = get(options, name);
        let items = if Array::is_array(&value) { Array::from(&value) } else { Array::of1(&value) };
        for item in items.iter().filter(|item| item.is_object()) {
            check_names(&format!("{call}: {name}"), &item, &[names])?;
        }
    }
    Ok(())
}

/// Some of an object's settings, each read by itself so that an error names it; the others as they are by default.
pub(super) fn settings<T: DeserializeOwned + Default>(options: &JsValue, names: &[&str]) -> Result<T> {
    let given = Object::new();
    for name in names {
        let Some(value) = optional(options, name) else { continue };
        let alone = Object::new();
        let set =
            |object: &Object| Reflect::set(object, &(*name).into(), &value).map_err(|why| super::errors::from_js(&why));
        set(&alone)?;
        set(&given)?;
        serde_wasm_bindgen::from_value::<T>(alone.into()).map_err(|why| {
            let why = in_words(&why.to_string());
            // A list or an object was looked for in what is neither.
            let is_javascripts = why.starts_with("TypeError");
            let mixed = || format!("expected a list or an object, found {}", describe(&value));
            bad(&format!("{name}: {}", if is_javascripts { mixed() } else { why }))
        })?;
    }
    serde_wasm_bindgen::from_value(given.into()).map_err(|why| bad(&format!("options: {}", in_words(&why.to_string()))))
}

/// An option's value; none where it is undefined or null.
pub(super) fn optional(options: &JsValue, name: &str) -> Option<JsValue> {
    Some(get(options, name)).filter(|value| !value.is_undefined() && !value.is_null())
}

/// An option that is a text.
pub(super) fn text(options: &JsValue, name: &str) -> Result<Option<String>> {
    optional(options, name).map(|value| required_text(&value, name, "a text")).transpose()
}

/// An argument that must be a text.
pub(super) fn required_text(value: &JsValue, name: &str, what: &str) -> Result<String> {
    value.as_string().ok_or_else(|| bad(&format!("{name}: expected {what}, found {}", describe(value))))
}

pub(super) fn callback(options: &JsValue, name: &str) -> Result<Option<Function>> {
    let function = |value: JsValue| {
        value.dyn_into().map_err(|value| bad(&format!("{name}: expected a function, found {}", describe(&value))))
    };
    optional(options, name).map(function).transpose()
}

pub(super) fn signal(options: &JsValue) -> Result<Option<AbortSignal>> {
    let signal = |value: JsValue| {
        value.dyn_into().map_err(|value| bad(&format!("signal: expected an AbortSignal, found {}", describe(&value))))
    };
    optional(options, "signal").map(signal).transpose()
}

pub(super) fn whole(value: &JsValue) -> Option<u32> {
    value
        .as_f64()
        .filter(|number| number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(number))
        .map(|n| n as u32)
}

/// A value in a few words, for messages.
pub(super) fn describe(value: &JsValue) -> String {
    /// Longer texts are cut.
    const LONGEST: usize = 60;
    if let Some(text) = value.as_string() {
        let short: String = text.chars().take(LONGEST).collect();
        let more = if short.len() < text.len() { "…" } else { "" };
        return format!("the text \"{short}{more}\"");
    }
    if let Some(number) = value.as_f64() {
        return number.to_string();
    }
    let words = match value.as_bool() {
        Some(true) => "true",
        Some(false) => "false",
        None if value.is_undefined() => "nothing",
        None if value.is_null() => "null",
        None if value.is_function() => "a function",
        None if Array::is_array(value) => "a list",
        None if value.is_object() => "an object",
        None => "something else",
    };
    words.to_owned()
}

pub(super) fn get(value: &JsValue, name: &str) -> JsValue {
    if value.is_object() { Reflect::get(value, &name.into()).unwrap_or(JsValue::UNDEFINED) } else { JsValue::UNDEFINED }
}

pub(super) fn bad(message: &str) -> Error {
    Error::new(Code::BadArgument, message)
}
