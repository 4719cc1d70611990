//! Asks the hub how large a repo's weights are, so that the button that downloads them can say so.

use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::{RequestInit, Response};

use super::dom;
use super::repo::hub_file;

/// Bytes of the weights; 0 where the hub does not say. The error is a sentence for the reader.
pub async fn weights_size(repo: &str) -> Result<u64, String> {
    let whole = ask(&hub_file(repo, "model.safetensors"), "HEAD").await?;
    match whole.status() {
        200..300 => Ok(header_length(&whole)),
        // Large models come in shards; their index knows the sum.
        404 => sharded_size(repo).await,
        status => Err(refusal(repo, status)),
    }
}

async fn sharded_size(repo: &str) -> Result<u64, String> {
    let index = ask(&hub_file(repo, "model.safetensors.index.json"), "GET").await?;
    if !index.ok() {
        return Err(match index.status() {
            404 => format!(
                "huggingface.co has no safetensors weights at {repo}. Check the name; the model needs model.safetensors."
            ),
            status => refusal(repo, status),
        });
    }
    let text = match index.text() {
        Ok(promise) => JsFuture::from(promise).await.ok().and_then(|text| text.as_string()).unwrap_or_default(),
        Err(_) => String::new(),
    };
    let index: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    Ok(index.pointer("/metadata/total_size").and_then(serde_json::Value::as_u64).unwrap_or(0))
}

async fn ask(address: &str, method: &str) -> Result<Response, String> {
    let unreachable = || "huggingface.co could not be reached. Check the connection, then try again.".to_owned();
    let options = RequestInit::new();
    options.set_method(method);
    let window = dom::window().map_err(|error| error.message)?;
    let answer = JsFuture::from(window.fetch_with_str_and_init(address, &options)).await.map_err(|_| unreachable())?;
    answer.dyn_into().map_err(|_| unreachable())
}

fn header_length(answer: &Response) -> u64 {
    answer.headers().get("content-length").ok().flatten().and_then(|length| length.parse().ok()).unwrap_or(0)
}

fn refusal(repo: &str, status: u16) -> String {
    match status {
        401 | 403 => format!("{repo} does not exist, or is not public. Check the name."),
        429 => "huggingface.co asks to wait. Try again in a few minutes.".to_owned(),
        _ => format!("huggingface.co answered with error {status}. Try again later."),
    }
}
