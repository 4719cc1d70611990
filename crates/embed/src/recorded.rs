//! A saved run: from its address to a trace as JavaScript has it.
//! Must never know: how it is shown.

use js_sys::{JSON, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Request, Response};

use protocol::js::bytes;
use trace::file::{check_header, text};
use trace::{Code, Error, Result};
use view::dom;

const NOT_JSON: &str = "it is not JSON (save it as JSON, not as safetensors)";

/// Reads a saved run: `#id` of an element of the page that holds its JSON, or an address.
///
/// # Errors
/// `NotFound` and `Network`; `BadArgument` for what is no saved run.
pub async fn read(src: &str) -> Result<JsValue> {
    let bad = |why| Error::new(Code::BadArgument, format!("{src} is no saved run: {why}."));
    match src.strip_prefix('#') {
        Some(id) => {
            let element = dom::document()?.get_element_by_id(id);
            let missing = || Error::new(Code::NotFound, format!("This page has no element with the id \"{id}\"."));
            let json = element.and_then(|element| element.text_content()).ok_or_else(missing)?;
            parse(&json).map_err(bad)
        }
        None => {
            let file = fetch(src).await?;
            text(&file).map_err(|why| format!("{NOT_JSON}; {why}")).and_then(|json| parse(&json)).map_err(bad)
        }
    }
}

/// The object in a file; says what is wrong with anything else.
fn parse(text: &str) -> Result<JsValue, String> {
    // An element's text may begin with a byte order mark, if a file was put into the page.
    let text = text.trim_start_matches(|c: char| c == '\u{feff}' || c.is_whitespace());
    let value = JSON::parse(text).map_err(|_| match text.starts_with('{') {
        true => "its JSON breaks off or is damaged".to_owned(),
        false => NOT_JSON.to_owned(),
    })?;
    let field = |name: &str| Reflect::get(&value, &name.into()).unwrap_or(JsValue::UNDEFINED);
    check_header(field("format").as_string().as_deref(), field("version").as_f64())?;
    Ok(value)
}

async fn fetch(src: &str) -> Result<Vec<u8>> {
    // Relative to the page, by the browser's own rule.
    let bad = |_| Error::new(Code::BadArgument, format!("\"{src}\" is no address."));
    let address = Request::new_with_str(src).map_err(bad)?;
    let unreachable = || {
        let why = "its host is down, does not let other origins read it (Access-Control-Allow-Origin), or this page's \
                   Content-Security-Policy refuses it (connect-src)";
        Error::new(Code::Network, format!("{src} cannot be read: {why}."))
    };
    let answer = JsFuture::from(dom::window()?.fetch_with_request(&address)).await.map_err(|_| unreachable())?;
    let answer: Response = answer.dyn_into().map_err(|_| unreachable())?;
    match answer.status() {
        404 | 410 => return Err(Error::new(Code::NotFound, format!("There is no {src}."))),
        status if !answer.ok() => {
            return Err(Error::new(Code::Network, format!("The host of {src} answered with error {status}.")));
        }
        _ => {}
    }
    let buffer = answer.array_buffer().map_err(|_| unreachable())?;
    bytes(&Uint8Array::new(&JsFuture::from(buffer).await.map_err(|_| unreachable())?))
}
