//! Asks a host how large a model's weights are, so that the button that downloads them can say so.
//! Must never know: what is done with the answer.

use js_sys::{JSON, Reflect};
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::{RequestInit, Response, Url};

use crate::dom;
use crate::repo::folder_on;
use protocol::hub::HUB;

/// Bytes of a repo's weights on the hub; 0 where the hub does not say. The error is a sentence for the reader.
pub async fn weights_size(repo: &str) -> Result<u64, String> {
    weights_size_in(repo, &folder_on(HUB, repo)).await
}

/// Bytes of the weights in a folder on a server; 0 where it does not say. The error is a sentence for the reader.
pub async fn weights_size_in(model: &str, folder: &str) -> Result<u64, String> {
    let host = Url::new(folder).map_or_else(|_| folder.to_owned(), |url| url.host());
    let whole = ask(&format!("{folder}model.safetensors"), "HEAD", &host).await?;
    match whole.status() {
        200..300 => Ok(header_length(&whole)),
        // Large models come in shards; their index knows the sum.
        404 => sharded_size(model, folder, &host).await,
        status => Err(refusal(model, &host, status)),
    }
}

async fn sharded_size(model: &str, folder: &str, host: &str) -> Result<u64, String> {
    let index = ask(&format!("{folder}model.safetensors.index.json"), "GET", host).await?;
    if !index.ok() {
        return Err(match index.status() {
            404 => format!(
                "{host} has no safetensors weights at {model}. Check the name; the model needs model.safetensors."
            ),
            status => refusal(model, host, status),
        });
    }
    let text = match index.text() {
        Ok(promise) => JsFuture::from(promise).await.ok().and_then(|text| text.as_string()).unwrap_or_default(),
        Err(_) => String::new(),
    };
    let total = JSON::parse(&text)
        .and_then(|index| Reflect::get(&index, &"metadata".into()))
        .and_then(|metadata| Reflect::get(&metadata, &"total_size".into()));
    Ok(total.ok().and_then(|total| total.as_f64()).filter(|total| *total > 0.0).map_or(0, |total| total as u64))
}

async fn ask(address: &str, method: &str, host: &str) -> Result<Response, String> {
    let unreachable = || format!("{host} could not be reached. Check the connection, then try again.");
    let options = RequestInit::new();
    options.set_method(method);
    let window = dom::window().map_err(|error| error.message)?;
    let answer = JsFuture::from(window.fetch_with_str_and_init(address, &options)).await.map_err(|_| unreachable())?;
    answer.dyn_into().map_err(|_| unreachable())
}

fn header_length(answer: &Response) -> u64 {
    answer.headers().get("content-length").ok().flatten().and_then(|length| length.parse().ok()).unwrap_or(0)
}

fn refusal(model: &str, host: &str, status: u16) -> String {
    match status {
        401 | 403 => format!("{model} does not exist, or is not public. Check the name."),
        429 => format!("{host} asks to wait. Try again in a few minutes."),
        _ => format!("{host} answered with error {status}. Try again later."),
    }
}
