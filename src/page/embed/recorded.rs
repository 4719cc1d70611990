//! A saved run: from its address to a trace as JavaScript has it.
//! Must never know: how it is shown.

use js_sys::{JSON, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Response, Url};

use crate::error::{Code, Error, Result};
use crate::page::dom;
use crate::trace::file::{FORMAT, VERSION};

/// Reads a saved run: `#id` of an element of the page that holds its JSON, or an address.
///
/// # Errors
/// `NotFound` and `Network`; `BadArgument` for what is no saved run.
pub async fn read(src: &str) -> Result<JsValue> {
    let text = match src.strip_prefix('#') {
        Some(id) => dom::document()?
            .get_element_by_id(id)
            .and_then(|element| element.text_content())
            .ok_or_else(|| Error::new(Code::NotFound, format!("This page has no element with the id \"{id}\".")))?,
        None => fetch(src).await?,
    };
    parse(&text).map_err(|why| Error::new(Code::BadArgument, format!("{src} is no saved run: {why}.")))
}

/// The object in a file; says what is wrong with anything else.
fn parse(text: &str) -> Result<JsValue, String> {
    let value = JSON::parse(text).map_err(|_| match text.trim_start().starts_with('{') {
        true => "its JSON breaks off or is damaged".to_owned(),
        false => "it is not JSON (save it as JSON, not as safetensors)".to_owned(),
    })?;
    let field = |name: &str| Reflect::get(&value, &name.into()).unwrap_or(JsValue::UNDEFINED);
    if !value.is_object() || field("format").as_string().as_deref() != Some(FORMAT) {
        return Err(format!("it does not say \"format\": \"{FORMAT}\""));
    }
    match field("version").as_f64() {
        Some(version) if version <= VERSION as f64 => Ok(value),
        Some(version) => Err(format!("it is of version {version}, and this embed.js reads up to {VERSION}")),
        None => Err("it says no version".to_owned()),
    }
}

async fn fetch(src: &str) -> Result<String> {
    let base = dom::document()?.base_uri().ok().flatten().unwrap_or_default();
    let bad = || Error::new(Code::BadArgument, format!("\"{src}\" is no address."));
    let address = Url::new_with_base(src, &base).map_err(|_| bad())?.href();
    let unreachable = || {
        let why = "its host is down, does not let other origins read it (Access-Control-Allow-Origin), or this page's \
                   Content-Security-Policy refuses it (connect-src)";
        Error::new(Code::Network, format!("{src} cannot be read: {why}."))
    };
    let answer = JsFuture::from(dom::window()?.fetch_with_str(&address)).await.map_err(|_| unreachable())?;
    let answer: Response = answer.dyn_into().map_err(|_| unreachable())?;
    match answer.status() {
        404 | 410 => return Err(Error::new(Code::NotFound, format!("There is no {src}."))),
        status if !answer.ok() => {
            return Err(Error::new(Code::Network, format!("The host of {src} answered with error {status}.")));
        }
        _ => {}
    }
    let text = answer.text().map_err(|_| unreachable())?;
    Ok(JsFuture::from(text).await.map_err(|_| unreachable())?.as_string().unwrap_or_default())
}
