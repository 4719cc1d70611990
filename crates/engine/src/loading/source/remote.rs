//! Reading from a server: what its answers mean, and what to do about them. How they come is [`super::http`]'s.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::time::UNIX_EPOCH;

use serde_json::Value;

use super::http::{Http, HttpResponse};
use super::retry::{Failure, Retry};
use super::{Attempt, Body, FileResponse, Files, Location, Validator, Version};
use crate::loading::WeightsError;

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
pub struct Remote<H> {
    http: H,
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

impl<H: Http> Remote<H> {
    /// Files at this location.
    pub fn new(http: H, location: Location) -> Remote<H> {
        let base = RefCell::new(location.clone());
        Remote { http, base, location, direct: RefCell::default(), unanswered: RefCell::default(), whole: false }
    }

    /// Small files at this location, each in one request for all of it; in parts only to go on after a break.
    pub fn whole(http: H, location: Location) -> Remote<H> {
        Remote { whole: true, ..Remote::new(http, location) }
    }

    /// Asks the hub for an answer in JSON. The error says that nobody answers.
    async fn api(&self, url: &str) -> Attempt<Account> {
        let mut response = self.http.send("GET", url, None).await?;
        match response.status {
            200..=299 => {}
            401 | 404 | 410 => return Ok(Account::Nothing),
            _ => return Ok(Account::Refused),
        }
        let mut bytes = Vec::new();
        while let Some(piece) = response.body.next().await? {
            bytes.extend(piece);
            if bytes.len() > LONGEST_ANSWER {
                return Ok(Account::Refused);
            }
        }
        // A web page in the place of an answer tells nothing of the model.
        Ok(serde_json::from_slice(&bytes).map_or(Account::Refused, Account::Told))
    }

    async fn request(&self, url: &str, bytes: Option<&Range<u64>>) -> Attempt<HttpResponse<H::Body>> {
        let bytes = bytes.filter(|bytes| !self.whole || bytes.start > 0);
        let range = bytes.map(|bytes| format!("bytes={}-{}", bytes.start, bytes.end.saturating_sub(1)));
        self.http.send("GET", url, range.as_deref()).await
    }

    /// Asks where the hub redirected to before; `None` where there is no such place any more.
    async fn request_direct(&self, name: &str, bytes: Option<&Range<u64>>) -> Attempt<Option<HttpResponse<H::Body>>> {
        let direct = self.direct.borrow().get(name).cloned().filter(|_| bytes.is_some());
        let Some(direct) = direct else { return Ok(None) };
        let asked = self.request(&direct, bytes).await;
        let expired = asked.as_ref().is_ok_and(|response| matches!(response.status, 401 | 403 | 404 | 410));
        if expired || asked.is_err() {
            // A signed address that has expired, or a host that has gone: the hub knows another.
            self.direct.borrow_mut().remove(name);
        }
        if expired { Ok(None) } else { asked.map(Some) }
    }

    /// Asks for a part of a file. A server that compresses what it sends gets no answer to that through Chromium: where
    /// no part of the file has ever come, it is asked for all of it.
    async fn request_part(&self, name: &str, url: &str, bytes: Option<&Range<u64>>) -> Attempt<HttpResponse<H::Body>> {
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

impl<H: Http> Files for Remote<H> {
    type Body = H::Body;

    fn has_tokenizer_settings(&self) -> bool {
        !self.whole
    }

    async fn ask(&self, name: &str, bytes: Option<Range<u64>>) -> Attempt<Option<FileResponse<H::Body>>> {
        let url = self.base.borrow().file(name);
        let response = match self.request_direct(name, bytes.as_ref()).await? {
            Some(response) => response,
            None => self.request_part(name, &url, bytes.as_ref()).await?,
        };
        if !is_there(&url, &response, bytes.as_ref(), self.http.now())? {
            return Ok(None);
        }
        if bytes.is_some() && response.redirected {
            self.direct.borrow_mut().insert(name.to_string(), response.url.clone());
        }
        let range = response.header("content-range").and_then(content_range);
        let partial = response.status == 206;
        let (begin, size) = match (&bytes, partial, range) {
            (_, true, Some((begin, size))) => (begin, size),
            // The header may be hidden from other origins' pages; the status is not.
            (Some(bytes), true, None) => (bytes.start, None),
            _ => (0, length_of(&response)),
        };
        let validator = Validator { etag: etag_of(&response), size };
        Ok(Some(FileResponse { body: response.body, is_whole: bytes.is_some() && !partial, begin, validator }))
    }

    async fn wait(&self, milliseconds: f64) {
        self.http.wait(milliseconds).await;
    }

    async fn turn(&self) {
        self.http.turn().await;
    }

    fn memory(&self) -> f64 {
        self.http.memory()
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
        let response = self.http.send("HEAD", &url, None).await?;
        match response.status {
            200..=299 => {}
            // Asking again would not be taken well.
            408 | 425 | 429 | 500 | 502..=599 => {
                is_there(&url, &response, None, self.http.now())?;
            }
            // Some servers know no HEAD. The headers of an answer to any other question do as well.
            _ => return Ok(self.ask(name, Some(0..1)).await?.map(|answer| answer.validator)),
        }
        Ok(Some(Validator { etag: etag_of(&response), size: length_of(&response) }))
    }

    fn place(&self) -> String {
        self.location.file("")
    }
}

/// Whether a server has what it was asked for; the error says why it does not send it. `now`: for a date at which to
/// ask again.
fn is_there<B>(url: &str, response: &HttpResponse<B>, bytes: Option<&Range<u64>>, now: f64) -> Attempt<bool> {
    let status = response.status;
    let failed =
        || WeightsError::Network { url: url.into(), why: format!("the server answered with status {status}.") };
    let seconds = response.header("retry-after").and_then(|text| seconds_of(text, now));
    let retry = seconds.map_or(Retry::Later, |seconds| Retry::After(seconds * 1000.0));
    match status {
        200..=299 => Ok(true),
        404 | 410 => Ok(false),
        // The hub answers 401 for repos that do not exist, since they might be private.
        401 | 403 => {
            let why = format!("status {status}: there is no such model, or it is not public");
            let error = WeightsError::NotFound { url: url.into(), why };
            // Where the hub redirects to, that may be an address that has just expired: it knows another.
            Err(if response.redirected { Failure::passing(error) } else { Failure::lasting(error) })
        }
        416 => {
            let found = response.header("content-range").and_then(|text| text.rsplit('/').next()?.parse().ok());
            let expected = bytes.map_or(0, |bytes| bytes.end);
            let error = WeightsError::CorruptDownload { file: url.into(), expected, found: found.unwrap_or(0) };
            Err(Failure::passing(error))
        }
        429 => {
            let after = seconds.map(|seconds| format!(" {seconds:.0} seconds")).unwrap_or_default();
            Err(Failure { error: WeightsError::RateLimited { url: url.into(), after }.into(), retry })
        }
        408 | 425 | 500..=599 => Err(Failure { error: failed().into(), retry }),
        _ => Err(Failure::lasting(failed())),
    }
}

/// `Retry-After`: seconds, or a date.
fn seconds_of(text: &str, now: f64) -> Option<f64> {
    let text = text.trim();
    let until = || {
        let date = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(date.as_secs_f64() - now / 1000.0)
    };
    let seconds: f64 = text.parse().ok().or_else(until)?;
    seconds.is_finite().then_some(seconds.max(0.0))
}

/// `bytes 0-7/548105171`: the first byte, and the size where it is told.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, size) = text.trim().strip_prefix("bytes")?.trim().split_once('/')?;
    Some((range.split_once('-')?.0.trim().parse().ok()?, size.trim().parse().ok()))
}

/// ETag, or what comes nearest to it.
fn etag_of<B>(response: &HttpResponse<B>) -> Option<String> {
    response.header("etag").or_else(|| response.header("last-modified")).map(str::to_string)
}

/// Bytes of the body, where its length is that of the file.
fn length_of<B>(response: &HttpResponse<B>) -> Option<u64> {
    let encoded = response.header("content-encoding").is_some_and(|encoding| encoding != "identity");
    if encoded { None } else { response.header("content-length")?.parse().ok() }
}
