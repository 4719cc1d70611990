//! Reading in a browser: from a server by `fetch`, or from files that the reader picked.
//!
//! Both end in a `ReadableStream`. Requests carry no header of our own, so that none needs a CORS preflight.

use js_sys::{Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, DedicatedWorkerGlobalScope, ReadableStream, ReadableStreamDefaultReader, Response};

use super::{ByteStream, Files, Location, WeightsError};
use crate::Result;

/// Files on a server.
pub struct Remote(pub Location);

/// Files from the reader's disk, by the names that checkpoints give them. They are read by pieces.
pub struct Picked(pub Vec<(String, Blob)>);

/// A stream's bytes, and the name to blame when they stop coming.
pub struct BrowserStream {
    reader: ReadableStreamDefaultReader,
    name: String,
    taken: u64,
}

impl Files for Remote {
    type Stream = BrowserStream;

    async fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        read_whole(self.open(name).await?).await
    }

    async fn open(&self, name: &str) -> Result<Option<BrowserStream>> {
        let url = self.0.file(name);
        let Some(response) = request(&url).await? else { return Ok(None) };
        let stream = response.body().ok_or_else(|| network(&url, "the answer has no body"))?;
        Ok(Some(BrowserStream::new(stream, url)?))
    }

    fn place(&self) -> String {
        self.0.file("")
    }
}

impl Files for Picked {
    type Stream = BrowserStream;

    async fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        read_whole(self.open(name).await?).await
    }

    async fn open(&self, name: &str) -> Result<Option<BrowserStream>> {
        match self.0.iter().find(|(known, _)| known == name) {
            Some((_, blob)) => Ok(Some(BrowserStream::new(blob.stream(), name.to_string())?)),
            None => Ok(None),
        }
    }

    fn weight_files(&self) -> Option<Vec<String>> {
        let names = self.0.iter().map(|(name, _)| name);
        Some(names.filter(|name| name.ends_with(".safetensors")).cloned().collect())
    }

    fn place(&self) -> String {
        "the files given".into()
    }
}

impl BrowserStream {
    fn new(stream: ReadableStream, name: String) -> Result<BrowserStream> {
        let reader = stream.get_reader().dyn_into().map_err(|_| network(&name, "its body cannot be read"))?;
        Ok(BrowserStream { reader, name, taken: 0 })
    }
}

impl ByteStream for BrowserStream {
    async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let taken = self.taken;
        let broke = |why: JsValue| {
            network(
                &self.name,
                &format!("the connection broke after {taken} bytes ({}). Load it again.", text_of(&why)),
            )
        };
        let answer = JsFuture::from(self.reader.read()).await.map_err(broke)?;
        if Reflect::get(&answer, &"done".into()).is_ok_and(|done| done.is_truthy()) {
            return Ok(None);
        }
        let piece = Reflect::get(&answer, &"value".into()).map(JsCast::unchecked_into::<Uint8Array>).map_err(broke)?;
        self.taken += u64::from(piece.length());
        Ok(Some(piece.to_vec()))
    }
}

async fn read_whole(stream: Option<BrowserStream>) -> Result<Option<Vec<u8>>> {
    let Some(mut stream) = stream else { return Ok(None) };
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await? {
        bytes.extend(piece);
    }
    Ok(Some(bytes))
}

/// Asks for a URL; `None` where the server has no such file.
async fn request(url: &str) -> Result<Option<Response>> {
    let scope: DedicatedWorkerGlobalScope = js_sys::global().unchecked_into();
    let answer = JsFuture::from(scope.fetch_with_str(url)).await.map_err(|why| {
        let hint = "no answer, or one that this page may not read: check the address and the connection";
        network(url, &format!("{hint} ({})", text_of(&why)))
    })?;
    let response: Response = answer.unchecked_into();
    match response.status() {
        200..=299 => Ok(Some(response)),
        404 | 410 => Ok(None),
        // The hub answers 401 for repos that do not exist, since they might be private.
        401 | 403 => {
            let why = format!("status {}: there is no such model, or it is not public", response.status());
            Err(WeightsError::NotFound { url: url.into(), why }.into())
        }
        429 => {
            let after = response.headers().get("retry-after").ok().flatten();
            let after = after.map(|seconds| format!(" {seconds} seconds")).unwrap_or_default();
            Err(WeightsError::RateLimited { url: url.into(), after }.into())
        }
        status => Err(network(url, &format!("the server answered with status {status}. Try again later."))),
    }
}

fn network(url: &str, why: &str) -> crate::Error {
    WeightsError::Network { url: url.into(), why: why.into() }.into()
}

/// What a JavaScript exception says of itself.
fn text_of(value: &JsValue) -> String {
    js_sys::Object::from(value.clone()).to_string().into()
}
