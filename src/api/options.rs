//! Arguments and options as JavaScript gives them: each of its kind, each known by name. What is not is an error that names
//! it; an option that nobody reads would change a result in silence.
//!
//! [`read_options`] looks at a caller's object once and copies what it finds: what comes after has plain data in hand, that
//! cannot throw and ends somewhere.

use js_sys::{Array, Function, Object, Reflect};
use serde::de::DeserializeOwned;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::AbortSignal;

use protocol::foreign::{self, get, is_list, is_typed_array, items};
use trace::wording::{in_words, nearest};
use trace::{Code, Error, Result};

/// The options of an attribution, and of an entry of `ablate`.
const ATTRIBUTION: [&str; 3] = ["target", "against", "position"];
const ABLATED: [&str; 4] = ["layer", "part", "head", "how"];

/// Options that are no data: each is looked at where it is used.
const AS_THEY_ARE: [&str; 4] = ["signal", "onProgress", "onPartial", "onNotice"];

/// Values in a call's options; more are those of one that holds itself, or a list of nothing.
const MOST_PARTS: usize = 100_000;
/// Objects and lists within each other.
const DEEPEST: usize = 8;

/// A copy of a caller's options, refused where they are not known by these names or cannot be read.
pub(super) fn read_options(call: &str, options: &JsValue, known: &[&[&str]]) -> Result<JsValue> {
    let known = known.concat();
    let copy = Object::new();
    if options.is_undefined() || options.is_null() {
        return Ok(copy.into());
    }
    if !options.is_object() || is_list(options) {
        return Err(bad(&format!("{call}: expected an object of options, found {}", describe(options))));
    }
    let names = foreign::keys(options).map_err(|why| unreadable(call, &why))?;
    for name in names.iter().filter(|name| !known.contains(&name.as_str())) {
        if !property(options, name)?.is_undefined() {
            set(&copy, name, &JsValue::TRUE);
        }
    }
    let mut parts = MOST_PARTS;
    for name in &known {
        let value = property(options, name)?;
        let value = if AS_THEY_ARE.contains(name) { value } else { copied(name, &value, DEEPEST, &mut parts)? };
        set(&copy, name, &value);
    }
    check_names(call, &copy, &known)?;
    Ok(copy.into())
}

/// A property of a caller's object.
pub(super) fn property(object: &JsValue, name: &str) -> Result<JsValue> {
    foreign::read(object, name).map_err(|why| unreadable(name, &why))
}

fn unreadable(name: &str, why: &str) -> Error {
    bad(&format!("{name}: it cannot be read: {why}"))
}

/// Plain objects and lists of what a value holds; what has nothing in it, and numbers in typed arrays, as they are.
fn copied(name: &str, value: &JsValue, deep: usize, parts: &mut usize) -> Result<JsValue> {
    if value.is_function() {
        return Err(bad(&format!("{name}: expected a value, found a function")));
    }
    if !value.is_object() || is_typed_array(value) {
        return Ok(value.clone());
    }
    let endless = || bad(&format!("{name}: it holds itself, or more than can be meant"));
    let deep = deep.checked_sub(1).ok_or_else(endless)?;
    let mut part = |value: &JsValue| {
        *parts = parts.checked_sub(1).ok_or_else(endless)?;
        copied(name, value, deep, parts)
    };
    if let Some(items) = items(value) {
        let list = Array::new();
        for item in items {
            list.push(&part(&item)?);
        }
        return Ok(list.into());
    }
    let object = Object::new();
    let names = foreign::keys(value).map_err(|why| unreadable(name, &why))?;
    // The known ones may also be a class's.
    for key in ATTRIBUTION.iter().chain(&ABLATED).copied().chain(names.iter().map(String::as_str)) {
        let found = foreign::read(value, key).map_err(|why| unreadable(&format!("{name}: {key}"), &why))?;
        if !found.is_undefined() {
            set(&object, key, &part(&found)?);
        }
    }
    Ok(object.into())
}

fn set(object: &Object, name: &str, value: &JsValue) {
    // Setting a property of a fresh plain object cannot fail.
    let _ = Reflect::set(object, &name.into(), value);
}

/// Refuses names that are none of these.
fn check_names(call: &str, options: &JsValue, known: &[&str]) -> Result<()> {
    for name in foreign::keys(options).unwrap_or_default() {
        if known.contains(&name.as_str()) || get(options, &name).is_undefined() {
            continue;
        }
        let meant = match nearest(&name, known) {
            Some(meant) => format!("did you mean {meant}?"),
            None => format!("the options are {}.", known.join(", ")),
        };
        return Err(bad(&format!("{call}: there is no option \"{name}\": {meant}")));
    }
    let nested: [(&str, &[&str]); 2] = [("attribution", &ATTRIBUTION), ("ablate", &ABLATED)];
    for (name, names) in nested.into_iter().filter(|(name, _)| known.contains(name)) {
        let value = get(options, name);
        let items = if Array::is_array(&value) { Array::from(&value) } else { Array::of1(&value) };
        for item in items.iter().filter(JsValue::is_object) {
            check_names(&format!("{call}: {name}"), &item, names)?;
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
        set(&alone, name, &value);
        set(&given, name, &value);
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
    let Some(value) = optional(options, "signal") else { return Ok(None) };
    // What merely looks like one, a Proxy around one too, has no state that can be read.
    if get(&value, "aborted").as_bool().is_none() {
        return Err(bad(&format!("signal: expected an AbortSignal, found {}", describe(&value))));
    }
    let signal = value.dyn_into();
    signal.map(Some).map_err(|value| bad(&format!("signal: expected an AbortSignal, found {}", describe(&value))))
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
        None if is_list(value) => "a list",
        None if value.is_object() => "an object",
        None => "something else",
    };
    words.to_owned()
}

pub(super) fn bad(message: &str) -> Error {
    Error::new(Code::BadArgument, message)
}
