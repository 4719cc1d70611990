//! Reading from a server, by the browser's `fetch`. Requests carry no header of our own but `Range`, so that none needs
//! a CORS preflight.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Range;

use js_sys::{Date, Reflect, Uint8Array};
use serde_json::Value;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    AbortController, DedicatedWorkerGlobalScope, Headers, ReadableStreamDefaultReader, RequestCache, RequestInit,
    Response,
};

use super::retry::{Failure, Retry};
use super::{Attempt, Body, FileResponse, Files, Location, Validator, Version};
use crate::loading::WeightsError;
use crate::time::{self, Timer};

/// Milliseconds without a byte after which a transfer counts as dead.
const STALL: f64 = 20_000.0;

/// Requests for a part of a file that must have ended without an answer before all of it is asked for.
const WITHOUT_ANSWER: u32 = 2;
/// Bytes of a hub's answer beyond which nothing is expected of it.
const LONGEST_ANSWER: usize = 16_000_000;

/// What a hub says when it is asked about a model.
enum Account {
    Told(Value),
    /// It knows no such model, or it is no hub.
    Nothing,
    /// It fails, or limits requests.
    Refused,
}

/// Files on a server.
pub struct Remote {
    location: Location,
    /// Where large files were redirected to: signed addresses, good for an hour or so.
    direct: RefCell<HashMap<String, String>>,
    /// Where files are: the location itself, or the same at one commit.
    base: RefCell<Location>,
    /// Requests for a part of a file that ended without an answer, in a row; `None` once one was answered.
    unanswered: RefCell<HashMap<String, Option<u32>>>,
    /// Whether a file is asked for whole, which the browser's own cache then has for the next visit.
    whole: bool,
}

impl Remote {
    /// Files at this location.
    pub fn new(location: Location) -> Remote {
        let base = RefCell::new(location.clone());
        Remote { base, location, direct: RefCell::default(), unanswered: RefCell::default(), whole: false }
    }

    /// Small files at this location, each in one request for all of it; in parts only to go on after a break.
    pub fn whole(location: Location) -> Remote {
        Remote { whole: true, ..Remote::new(location) }
    }

    /// Asks the hub for an answer in JSON. The error says that nobody answers.
    async fn api(&self, url: &str) -> Attempt<Account> {
        let exchange = Exchange::begin(url, "GET", None)?;
        let response = exchange.response().await?;
        match response.status() {
            200..=299 => {}
            401 | 404 | 410 => return Ok(Account::Nothing),
            _ => return Ok(Account::Refused),
        }
        let mut body = exchange.body(response)?;
        let mut bytes = Vec::new();
        while let Some(piece) = body.next().await? {
            bytes.extend(piece);
            if bytes.len() > LONGEST_ANSWER {
                return Ok(Account::Refused);
            }
        }
        // A web page in the place of an answer tells nothing of the model.
        Ok(serde_json::from_slice(&bytes).map_or(Account::Refused, Account::Told))
    }

    async fn request(&self, url: &str, bytes: Option<&Range<u64>>) -> Attempt<(Exchange, Response)> {
        let bytes = bytes.filter(|bytes| !self.whole || bytes.start > 0);
        let range = bytes.map(|bytes| format!("bytes={}-{}", bytes.start, bytes.end.saturating_sub(1)));
        let exchange = Exchange::begin(url, "GET", range.as_deref())?;
        let response = exchange.response().await?;
        Ok((exchange, response))
    }

    /// Asks for a part of a file. A server that compresses what it sends gets no answer to that through Chromium: where
    /// no part of the file has ever come, it is asked for all of it.
    async fn request_part(&self, name: &str, url: &str, bytes: Option<&Range<u64>>) -> Attempt<(Exchange, Response)> {
        let asked = self.request(url, bytes).await;
        if bytes.is_none() {
            return asked;
        }
        let failure = match asked {
            Ok(answer) => {
                self.unanswered.borrow_mut().insert(name.to_string(), None);
                return Ok(answer);
            }
            Err(failure) => failure,
        };
        let is_suspect = {
            let mut unanswered = self.unanswered.borrow_mut();
            let count = unanswered.entry(name.to_string()).or_insert(Some(0));
            *count = count.map(|count| count + 1);
            count.is_some_and(|count| count >= WITHOUT_ANSWER)
        };
        if is_suspect { self.request(url, None).await.map_err(|_| failure) } else { Err(failure) }
    }
}

impl Files for Remote {
    type Body = BrowserBody;

    fn has_tokenizer_settings(&self) -> bool {
        !self.whole
    }

    async fn ask(&self, name: &str, bytes: Option<Range<u64>>) -> Attempt<Option<FileResponse<BrowserBody>>> {
        let url = self.base.borrow().file(name);
        let direct = self.direct.borrow().get(name).cloned().filter(|_| bytes.is_some());
        let mut answer = None;
        if let Some(direct) = direct {
            let asked = self.request(&direct, bytes.as_ref()).await;
            let expired = asked.as_ref().is_ok_and(|(_, response)| matches!(response.status(), 401 | 403 | 404 | 410));
            if expired || asked.is_err() {
                // A signed address that has expired, or a host that has gone: the hub knows another.
                self.direct.borrow_mut().remove(name);
            }
            if !expired {
                answer = Some(asked?);
            }
        }
        let (exchange, response) = match answer {
            Some(answer) => answer,
            None => self.request_part(name, &url, bytes.as_ref()).await?,
        };
        if let Some(failure) = refusal(&url, &response, bytes.as_ref())? {
            return failure;
        }
        if bytes.is_some() && response.redirected() {
            self.direct.borrow_mut().insert(name.to_string(), response.url());
        }
        let headers = response.headers();
        let range = header(&headers, "content-range").and_then(|text| content_range(&text));
        let partial = response.status() == 206;
        let length = length_of(&headers);
        let (begin, size) = match (&bytes, partial, range) {
            (_, true, Some((begin, size))) => (begin, size),
            // The header may be hidden from other origins' pages; the status is not.
            (Some(bytes), true, None) => (bytes.start, None),
            _ => (0, length),
        };
        let validator = Validator { etag: etag_of(&headers), size };
        let body = exchange.body(response)?;
        Ok(Some(FileResponse { body, is_whole: bytes.is_some() && !partial, begin, validator }))
    }

    async fn wait(&self, milliseconds: f64) {
        time::sleep(milliseconds).await;
    }

    async fn turn(&self) {
        time::next_task().await;
    }

    fn memory(&self) -> f64 {
        time::memory()
    }

    async fn version(&self) -> Version {
        let Some(hub) = self.location.hub_api() else { return Version::default() };
        let mut version = Version::default();
        match self.api(&hub.revision).await {
            Ok(Account::Told(answer)) => {
                version.commit = answer.get("sha").and_then(Value::as_str).map(str::to_string);
                version.refused = version.commit.is_none();
            }
            Ok(Account::Nothing) => {}
            Ok(Account::Refused) => version.refused = true,
            Err(failure) => version.offline = failure.error.code == crate::Code::Network,
        }
        if version.offline {
            return version;
        }
        let revision = version.commit.clone().unwrap_or_else(|| hub.name.clone());
        if version.commit.is_some() {
            // From here on every file is of one commit, whatever is pushed meanwhile.
            self.base.replace(self.location.at_revision(&revision));
        }
        if let Ok(Account::Told(tree)) = self.api(&hub.tree(&revision)).await {
            let entry = |entry: &Value| {
                let oid = entry.pointer("/lfs/oid")?.as_str()?.trim_start_matches("sha256:").to_ascii_lowercase();
                let size = entry.pointer("/lfs/size").or(entry.get("size"))?.as_u64()?;
                Some((entry.get("path")?.as_str()?.to_string(), oid, size))
            };
            let size = |entry: &Value| Some((entry.get("path")?.as_str()?.to_string(), entry.get("size")?.as_u64()?));
            let entries = || tree.as_array().into_iter().flatten();
            version.files = entries().filter_map(entry).collect();
            version.sizes = entries().filter_map(size).collect();
        }
        version
    }

    async fn validator(&self, name: &str) -> Attempt<Option<Validator>> {
        let url = self.base.borrow().file(name);
        let exchange = Exchange::begin(&url, "HEAD", None)?;
        let response = exchange.response().await?;
        match response.status() {
            200..=299 => {}
            // Asking again would not be taken well.
            408 | 425 | 429 | 500 | 502..=599 => {
                refusal(&url, &response, None)?;
            }
            // Some servers know no HEAD. The headers of an answer to any other question do as well.
            _ => return Ok(self.ask(name, Some(0..1)).await?.map(|answer| answer.validator)),
        }
        let headers = response.headers();
        Ok(Some(Validator { etag: etag_of(&headers), size: length_of(&headers) }))
    }

    fn place(&self) -> String {
        self.location.file("")
    }
}

/// What a status means that is no success.
fn refusal(
    url: &str,
    response: &Response,
    bytes: Option<&Range<u64>>,
) -> Attempt<Option<Attempt<Option<FileResponse<BrowserBody>>>>> {
    let status = response.status();
    let network = |why: String| WeightsError::Network { url: url.into(), why };
    match status {
        200..=299 => Ok(None),
        404 | 410 => Ok(Some(Ok(None))),
        // The hub answers 401 for repos that do not exist, since they might be private.
        401 | 403 => {
            let why = format!("status {status}: there is no such model, or it is not public");
            let error = WeightsError::NotFound { url: url.into(), why };
            // Where the hub redirects to, that may be an address that has just expired: it knows another.
            Err(if response.redirected() { Failure::passing(error) } else { Failure::lasting(error) })
        }
        416 => {
            let found =
                header(&response.headers(), "content-range").and_then(|text| text.rsplit('/').next()?.parse().ok());
            let expected = bytes.map_or(0, |bytes| bytes.end);
            Err(Failure::passing(WeightsError::CorruptDownload {
                file: url.into(),
                expected,
                found: found.unwrap_or(0),
            }))
        }
        429 => {
            let seconds = header(&response.headers(), "retry-after").and_then(|text| seconds_of(&text));
            let after = seconds.map(|seconds| format!(" {seconds:.0} seconds")).unwrap_or_default();
            let error = WeightsError::RateLimited { url: url.into(), after };
            let retry = seconds.map_or(Retry::Later, |seconds| Retry::After(seconds * 1000.0));
            Err(Failure { error: error.into(), retry })
        }
        408 | 425 | 500..=599 => {
            let seconds = header(&response.headers(), "retry-after").and_then(|text| seconds_of(&text));
            let error = network(format!("the server answered with status {status}."));
            let retry = seconds.map_or(Retry::Later, |seconds| Retry::After(seconds * 1000.0));
            Err(Failure { error: error.into(), retry })
        }
        _ => Err(Failure::lasting(network(format!("the server answered with status {status}.")))),
    }
}

/// `Retry-After`: seconds, or a date.
fn seconds_of(text: &str) -> Option<f64> {
    let seconds = text.trim().parse().ok().unwrap_or_else(|| (Date::parse(text) - Date::now()) / 1000.0);
    seconds.is_finite().then_some(seconds.max(0.0))
}

/// `bytes 0-7/548105171`: the first byte, and the size where it is told.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, size) = text.trim().strip_prefix("bytes")?.trim().split_once('/')?;
    Some((range.split_once('-')?.0.trim().parse().ok()?, size.trim().parse().ok()))
}

/// ETag, or what comes nearest to it.
fn etag_of(headers: &Headers) -> Option<String> {
    header(headers, "etag").or_else(|| header(headers, "last-modified"))
}

/// Bytes of the body, where its length is that of the file.
fn length_of(headers: &Headers) -> Option<u64> {
    let encoded = header(headers, "content-encoding").is_some_and(|encoding| encoding != "identity");
    if encoded { None } else { header(headers, "content-length")?.parse().ok() }
}

fn header(headers: &Headers, name: &str) -> Option<String> {
    headers.get(name).ok().flatten()
}

/// A request under way, which ends when it is dropped, or when nothing comes for too long.
struct Exchange {
    url: String,
    abort: AbortController,
    answer: RefCell<Option<js_sys::Promise>>,
    stalled: std::rc::Rc<Cell<bool>>,
    finished: Cell<bool>,
}

impl Exchange {
    fn begin(url: &str, method: &str, range: Option<&str>) -> Attempt<Exchange> {
        let failed = |why: JsValue| Failure::lasting(network(url, &text_of(&why)));
        let abort = AbortController::new().map_err(failed)?;
        let options = RequestInit::new();
        options.set_method(method);
        options.set_signal(Some(&abort.signal()));
        if let Some(range) = range {
            let headers = Headers::new().map_err(failed)?;
            headers.set("Range", range).map_err(failed)?;
            options.set_headers(&headers);
            // Chromium's cache lets only one request at a time write to an entry, and would keep everything twice.
            options.set_cache(RequestCache::NoStore);
        }
        let scope: DedicatedWorkerGlobalScope = js_sys::global().unchecked_into();
        let answer = RefCell::new(Some(scope.fetch_with_str_and_init(url, &options)));
        Ok(Exchange { url: url.into(), abort, answer, stalled: Default::default(), finished: Cell::new(false) })
    }

    /// Aborts the request unless the timer is dropped in time.
    fn watch(&self) -> Timer {
        let (abort, stalled) = (self.abort.clone(), self.stalled.clone());
        Timer::new(STALL, move || {
            stalled.set(true);
            abort.abort();
        })
    }

    async fn response(&self) -> Attempt<Response> {
        let Some(promise) = self.answer.borrow_mut().take() else {
            return Err(Failure::lasting(network(&self.url, "asked twice")));
        };
        let _timer = self.watch();
        let answer = JsFuture::from(promise).await.map_err(|why| {
            let hint = "no answer, or one that this page may not read: check the address and the connection";
            self.broken(hint, &why)
        })?;
        Ok(answer.unchecked_into())
    }

    fn broken(&self, hint: &str, why: &JsValue) -> Failure {
        let why = if self.stalled.get() {
            "nothing came for 20 seconds".to_string()
        } else {
            format!("{hint} ({})", text_of(why))
        };
        Failure::passing(network(&self.url, &why))
    }

    fn body(self, response: Response) -> Attempt<BrowserBody> {
        let reader = match response.body() {
            Some(stream) => {
                let reader = stream.get_reader().dyn_into();
                Some(reader.map_err(|_| Failure::passing(network(&self.url, "its body cannot be read")))?)
            }
            None => None,
        };
        Ok(BrowserBody { exchange: self, reader, taken: 0 })
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
pub struct BrowserBody {
    exchange: Exchange,
    reader: Option<ReadableStreamDefaultReader>,
    taken: u64,
}

impl Body for BrowserBody {
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
