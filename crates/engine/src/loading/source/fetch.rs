//! Requests by the browser's `fetch`.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use js_sys::{Array, Date, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    AbortController, DedicatedWorkerGlobalScope, Headers, ReadableStreamDefaultReader, RequestCache, RequestInit,
    Response,
};

use super::http::{Http, HttpResponse};
use super::retry::Failure;
use super::{Attempt, Body};
use crate::loading::WeightsError;
use crate::time::{self, Timer};

/// Milliseconds without a byte after which a transfer counts as dead.
const STALL: f64 = 20_000.0;

/// The browser's own way to send requests.
pub struct Fetch;

impl Http for Fetch {
    type Body = FetchBody;

    async fn send(&self, method: &str, url: &str, range: Option<&str>) -> Attempt<HttpResponse<FetchBody>> {
        let failed = |why: JsValue| Failure::lasting(network(url, &text_of(&why)));
        let exchange = Exchange::new(url).map_err(failed)?;
        let options = RequestInit::new();
        options.set_method(method);
        options.set_signal(Some(&exchange.abort.signal()));
        if let Some(range) = range {
            let headers = Headers::new().map_err(failed)?;
            headers.set("Range", range).map_err(failed)?;
            options.set_headers(&headers);
            // Chromium's cache lets only one request at a time write to an entry, and would keep everything twice.
            options.set_cache(RequestCache::NoStore);
        }
        let scope: DedicatedWorkerGlobalScope = js_sys::global().unchecked_into();
        let response: Response = {
            let _timer = exchange.watch();
            let answer = JsFuture::from(scope.fetch_with_str_and_init(url, &options)).await.map_err(|why| {
                let hint = "no answer, or one that this page may not read: check the address and the connection";
                exchange.broken(hint, &why)
            })?;
            answer.unchecked_into()
        };
        let reader = match response.body() {
            Some(stream) => {
                let reader = stream.get_reader().dyn_into();
                Some(reader.map_err(|_| Failure::passing(network(url, "its body cannot be read")))?)
            }
            None => None,
        };
        Ok(HttpResponse {
            status: response.status(),
            url: response.url(),
            redirected: response.redirected(),
            headers: readable(&response.headers()),
            body: FetchBody { exchange, reader, taken: 0 },
        })
    }

    async fn wait(&self, milliseconds: f64) {
        time::sleep(milliseconds).await;
    }

    async fn turn(&self) {
        time::next_task().await;
    }

    fn now(&self) -> f64 {
        Date::now()
    }

    fn memory(&self) -> f64 {
        time::memory()
    }
}

fn readable(headers: &Headers) -> HashMap<String, String> {
    let pairs = js_sys::try_iter(headers).ok().flatten().into_iter().flatten().flatten();
    let pair = |pair: JsValue| {
        let pair: Array = pair.unchecked_into();
        Some((pair.get(0).as_string()?, pair.get(1).as_string()?))
    };
    pairs.filter_map(pair).collect()
}

/// A request under way, which ends when it is dropped, or when nothing comes for too long.
struct Exchange {
    url: String,
    abort: AbortController,
    stalled: Rc<Cell<bool>>,
    finished: Cell<bool>,
}

impl Exchange {
    fn new(url: &str) -> Result<Exchange, JsValue> {
        let abort = AbortController::new()?;
        Ok(Exchange { url: url.into(), abort, stalled: Rc::default(), finished: Cell::new(false) })
    }

    /// Aborts the request unless the timer is dropped in time.
    fn watch(&self) -> Timer {
        let (abort, stalled) = (self.abort.clone(), self.stalled.clone());
        Timer::new(STALL, move || {
            stalled.set(true);
            abort.abort();
        })
    }

    fn broken(&self, hint: &str, why: &JsValue) -> Failure {
        let why = if self.stalled.get() {
            "nothing came for 20 seconds".to_string()
        } else {
            format!("{hint} ({})", text_of(why))
        };
        Failure::passing(network(&self.url, &why))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.finished.get() {
            self.abort.abort();
        }
    }
}

/// The bytes of an answer.
pub struct FetchBody {
    exchange: Exchange,
    reader: Option<ReadableStreamDefaultReader>,
    taken: u64,
}

impl Body for FetchBody {
    async fn next(&mut self) -> Attempt<Option<Vec<u8>>> {
        let Some(reader) = &self.reader else { return Ok(None) };
        let _timer = self.exchange.watch();
        let broke =
            |why: JsValue| self.exchange.broken(&format!("the connection broke after {} bytes", self.taken), &why);
        let answer = JsFuture::from(reader.read()).await.map_err(broke)?;
        if Reflect::get(&answer, &"done".into()).is_ok_and(|done| done.is_truthy()) {
            self.exchange.finished.set(true);
            return Ok(None);
        }
        let piece = Reflect::get(&answer, &"value".into()).map(JsCast::unchecked_into::<Uint8Array>).map_err(broke)?;
        self.taken += u64::from(piece.length());
        Ok(Some(piece.to_vec()))
    }
}

fn network(url: &str, why: &str) -> WeightsError {
    WeightsError::Network { url: url.into(), why: why.into() }
}

/// What a JavaScript exception says of itself.
pub(crate) fn text_of(value: &JsValue) -> String {
    js_sys::Object::from(value.clone()).to_string().into()
}
