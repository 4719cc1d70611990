//! A stand-in for the Hugging Face hub, in memory: its addresses, the CDN that large files redirect to, its own account of
//! a model, and whatever of this is told to go wrong. No wait takes time.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use engine::loading::source::http::{Http, HttpResponse};
use engine::loading::source::retry::Failure;
use engine::loading::source::{Attempt, Body};
use engine::{Code, Error};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::script::What::{self, *};
use crate::script::{Fault, Server};
use crate::support::memory::{Log, others_turn};

/// Where the hub is, and its one model.
pub const HUB: &str = "http://hub";
pub const REPO: &str = "org/model";
/// The same model as a plain folder of files.
pub const FOLDER: &str = "http://hub/org/model/resolve/main/";
const API: &str = "http://hub/api/models/org/model/";
const FILES: &str = "http://hub/org/model/resolve/";
const CDN: &str = "http://cdn/";
/// When every test begins: Fri, 15 Jan 2027 08:00:00 GMT.
const BEGIN: f64 = 1_800_000_000_000.0;
/// Bytes per piece of a body.
const PIECE: u64 = 1 << 16;

/// A file, with its SHA-256.
#[derive(Clone)]
pub struct HubFile {
    pub bytes: Arc<Vec<u8>>,
    sha256: String,
}

impl From<Vec<u8>> for HubFile {
    fn from(bytes: Vec<u8>) -> HubFile {
        let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        HubFile { bytes: Arc::new(bytes), sha256 }
    }
}

/// Files by name.
pub type HubFiles = HashMap<String, HubFile>;

/// The hub. Clones are the same one.
#[derive(Clone, Default)]
pub struct Hub(Rc<Inside>);

#[derive(Default)]
struct Inside {
    head: RefCell<String>,
    commits: RefCell<HashMap<String, HubFiles>>,
    /// Whether large files come from the hub itself, as from a plain web server.
    direct: Cell<bool>,
    faults: RefCell<Vec<Fault>>,
    /// By the number in a signed address: the file, and how often it was sent.
    signed: RefCell<HashMap<usize, (String, HubFile, usize)>>,
    signatures: Cell<usize>,
    etags: Cell<usize>,
    waits: RefCell<Vec<f64>>,
    requests: Log<Option<Range<u64>>>,
    sent: Log<Range<u64>>,
}

impl Hub {
    pub fn new(files: HubFiles, direct: bool, faults: Vec<Fault>) -> Hub {
        let hub = Hub::default();
        hub.0.direct.set(direct);
        hub.spoil(faults);
        hub.replace(files, "c0");
        hub
    }

    /// Pushes other files as this commit; over the old one, where it has the same name, as on a plain web server.
    pub fn replace(&self, files: HubFiles, commit: &str) {
        self.0.head.replace(commit.into());
        self.0.commits.borrow_mut().insert(commit.into(), files);
    }

    /// Signed addresses that were used are no good any more.
    pub fn expire(&self) {
        self.0.signed.borrow_mut().retain(|_, (.., uses)| *uses == 0);
    }

    /// From now on this goes wrong.
    pub fn spoil(&self, faults: Vec<Fault>) {
        self.0.faults.replace(faults);
    }

    /// Ends everything that goes wrong; says what it was.
    pub fn heal(&self) -> Vec<Fault> {
        self.0.faults.take()
    }

    /// Forgets what was asked and sent.
    pub fn forget(&self) {
        self.0.requests.take();
        self.0.sent.take();
    }

    /// Pauses between attempts, in milliseconds.
    pub fn waits(&self) -> Vec<f64> {
        self.0.waits.borrow().clone()
    }

    /// What was asked for of the files whose names end so.
    pub fn asked(&self, name: &str) -> Vec<Option<Range<u64>>> {
        let requests = self.0.requests.borrow();
        requests.iter().filter(|(file, _)| file.ends_with(name)).map(|(_, range)| range.clone()).collect()
    }

    /// Bytes that were sent of a file.
    pub fn sent(&self, name: &str) -> u64 {
        let sent = self.0.sent.borrow();
        sent.iter().filter(|(file, _)| file == name).map(|(_, range)| range.end - range.start).sum()
    }

    /// Bytes of a file that were sent more than once.
    pub fn twice(&self, name: &str) -> u64 {
        let mut seen = engine::loading::plan::byte_ranges::ByteRanges::default();
        let sent = self.0.sent.borrow();
        let ranges = sent.iter().filter(|(file, _)| file == name).map(|(_, range)| range.clone());
        ranges.map(|range| range.end - range.start - seen.add(range)).sum()
    }

    fn fault(&self, file: &str, at: Server, method: &str, asked: &Range<u64>) -> Vec<What> {
        for fault in self.0.faults.borrow_mut().iter_mut() {
            if !fault.concerns(file, at, method, asked) {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
                continue;
            }
            fault.times -= 1;
            fault.hits += 1;
            return fault.what.clone();
        }
        Vec::new()
    }

    /// What the hub tells of its model.
    fn account(&self, what: &str) -> Option<HubFile> {
        let commits = self.0.commits.borrow();
        let answer = if what == "revision" {
            json!({ "id": REPO, "sha": *self.0.head.borrow() })
        } else {
            let entry = |(name, file): (&String, &HubFile)| {
                let size = file.bytes.len();
                let entry = json!({ "type": "file", "path": name, "size": size, "oid": file.sha256[..40] });
                let lfs = json!({ "oid": file.sha256, "size": size });
                if is_large(name) { json!({ "type": "file", "path": name, "size": size, "lfs": lfs }) } else { entry }
            };
            commits.get(&*self.0.head.borrow())?.iter().map(entry).collect()
        };
        Some(answer.to_string().into_bytes().into())
    }

    /// Who has what an address names, and what it is.
    fn find(&self, url: &str) -> (Server, String, Option<HubFile>) {
        if let Some(signature) = url.strip_prefix(CDN) {
            let signed = self.0.signed.borrow();
            let found = signature.parse().ok().and_then(|signature: usize| signed.get(&signature));
            let (name, file) = found.map(|(name, file, _)| (name.clone(), file.clone())).unzip();
            return (Server::Cdn, name.unwrap_or_default(), file);
        }
        if let Some((what, _)) = url.strip_prefix(API).and_then(|rest| rest.split_once('/')) {
            return (Server::Api, format!("api/{what}"), self.account(what));
        }
        let (revision, name) = url.strip_prefix(FILES).and_then(|rest| rest.split_once('/')).expect("a known address");
        let head = self.0.head.borrow();
        let commit = if revision == "main" { &**head } else { revision };
        let file = self.0.commits.borrow().get(commit).and_then(|files| files.get(name)).cloned();
        (Server::Hub, name.to_string(), file)
    }

    /// Counts the use of a signed address; says whether it was still good.
    fn is_good(&self, url: &str, fault: &[What]) -> bool {
        let mut signed = self.0.signed.borrow_mut();
        let signed = url.strip_prefix(CDN).and_then(|number| signed.get_mut(&number.parse().ok()?));
        let Some((.., uses)) = signed else { return true };
        let expired = fault.iter().any(|what| matches!(what, ExpireAfter(limit) if *uses >= *limit));
        *uses += usize::from(!expired);
        !expired
    }

    /// One answer, which may be a redirect; `None` for none.
    async fn answer(&self, method: &str, url: &str, range: Option<Range<u64>>) -> Option<HttpResponse<HubBody>> {
        let (server, name, file) = self.find(url);
        let size = file.as_ref().map_or(u64::MAX, |file| file.bytes.len() as u64);
        let asked = range.as_ref().map_or(0..size, |range| range.start..range.end.min(size));
        let fault = self.fault(&name, server, method, &asked);
        let mut status = match (&file, server) {
            (Some(_), _) if self.is_good(url, &fault) => 200,
            (Some(_), _) | (None, Server::Cdn) => 403,
            (None, _) => 404,
        };
        let mut headers = HashMap::new();
        for what in &fault {
            match what {
                Call(call) => call(self),
                Slow(turns) => {
                    for _ in 0..*turns {
                        others_turn().await;
                    }
                }
                Reset => return None,
                Status(told) => status = *told,
                RetryAfter(text) => _ = headers.insert("retry-after".to_string(), text.to_string()),
                _ => {}
            }
        }
        let file = file.unwrap_or_else(|| Vec::new().into());
        if status == 200 && server == Server::Hub && is_large(&name) && !self.0.direct.get() {
            let number = self.0.signatures.get() + 1;
            self.0.signatures.set(number);
            self.0.signed.borrow_mut().insert(number, (name.clone(), file.clone(), 0));
            (status, headers) = (302, [("location".to_string(), format!("{CDN}{number}"))].into());
        }
        if status == 200 {
            return self.send_file(url, &name, file, range, &fault);
        }
        let body = self.body(&name, file.bytes, 0..0, &[]);
        Some(HttpResponse { status, url: url.into(), redirected: false, headers, body })
    }

    /// A file, whole or in part, as well as its faults let it come.
    fn send_file(
        &self,
        url: &str,
        name: &str,
        file: HubFile,
        range: Option<Range<u64>>,
        fault: &[What],
    ) -> Option<HttpResponse<HubBody>> {
        let other = fault.iter().find_map(|what| if let Content(bytes) = what { Some(bytes.clone()) } else { None });
        let content = other.map_or(file.bytes, Arc::new);
        let is_packed = fault.iter().any(|what| matches!(what, Packed));
        if is_packed && range.is_some() {
            return None;
        }
        let (status, bytes, content_range) = chosen(range, content.len() as u64, fault);
        let mut length = bytes.end - bytes.start;
        let mut headers = HashMap::from([("etag".to_string(), format!("\"{}\"", &file.sha256[..32]))]);
        headers.extend(content_range.map(|text| ("content-range".to_string(), text)));
        if is_packed {
            headers.insert("content-encoding".into(), "gzip".into());
            length = 20 + length / 2;
        }
        for what in fault {
            match what {
                LengthOff(by) => length = length.saturating_add_signed(*by),
                NewEtag => {
                    self.0.etags.set(self.0.etags.get() + 1);
                    headers.insert("etag".into(), format!("\"{}\"", self.0.etags.get()));
                }
                Header(name, value) => _ = headers.insert(name.to_string(), value.to_string()),
                _ => {}
            }
        }
        headers.insert("content-length".into(), length.to_string());
        for what in fault {
            if let Without(names) = what {
                headers.retain(|name, _| !names.contains(&name.as_str()));
            }
        }
        let body = self.body(name, content, bytes, fault);
        Some(HttpResponse { status, url: url.into(), redirected: false, headers, body })
    }

    /// These bytes of a file, to where they break off.
    fn body(&self, name: &str, content: Arc<Vec<u8>>, bytes: Range<u64>, fault: &[What]) -> HubBody {
        let (mut end, mut breaks, mut spoilt) = (bytes.end, false, Vec::new());
        let mut stop = |place: u64| {
            if place < end {
                (end, breaks) = (place.max(bytes.start), true);
            }
        };
        for what in fault {
            match what {
                DropAt(place) => stop(*place),
                DropAfter(count) => stop(bytes.start + count),
                Bytes(place, others) => spoilt.extend((*place..).zip(*others)),
                Flip(place) => spoilt.push((*place, content[*place as usize] ^ 0x10)),
                _ => {}
            }
        }
        for what in fault {
            // Who is told a length that is none hears of a connection that breaks, or gets no more than was told.
            match what {
                LengthOff(by) if *by > 0 => breaks = true,
                LengthOff(by) => end = end.saturating_add_signed(*by).max(bytes.start),
                _ => {}
            }
        }
        HubBody { hub: self.clone(), name: name.into(), content, bytes: bytes.start..end, breaks, spoilt }
    }
}

/// The status for a request of these bytes, those that come, and what Content-Range says of them.
fn chosen(range: Option<Range<u64>>, size: u64, fault: &[What]) -> (u16, Range<u64>, Option<String>) {
    let part = range.filter(|_| !fault.iter().any(|what| matches!(what, NoRange)));
    if part.as_ref().is_some_and(|part| part.start >= size) {
        return (416, size..size, Some(format!("bytes */{size}")));
    }
    let mut bytes = part.as_ref().map_or(0..size, |part| part.start..part.end.min(size));
    let (mut total, mut lie) = (size, 0);
    let moved = |at: u64, by: i64| at.saturating_add_signed(by).min(size);
    for what in fault {
        match what {
            Shift(by) => bytes = moved(bytes.start, *by)..moved(bytes.end, *by),
            Extend(by) => bytes.end = moved(bytes.end, *by).max(bytes.start + 1),
            Cap(most) => bytes.end = bytes.end.min(bytes.start + most),
            RangeLie(by) => lie = *by,
            TotalOff(by) => total += by,
            TruncateAt(place) => bytes.end = bytes.end.min(*place).max(bytes.start),
            TruncateAfter(count) => bytes.end = bytes.end.min(bytes.start + count),
            _ => {}
        }
    }
    let (from, to) = (bytes.start + lie, (bytes.end + lie).saturating_sub(1));
    match part {
        Some(_) => (206, bytes, Some(format!("bytes {from}-{to}/{total}"))),
        None => (200, bytes, None),
    }
}

/// What the hub redirects to its CDN.
fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors")
}

impl Http for Hub {
    type Body = HubBody;

    async fn send(&self, method: &str, url: &str, range: Option<&str>) -> Attempt<HttpResponse<HubBody>> {
        let range = range.map(|range| {
            let (first, last) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')).expect("a range");
            first.parse::<u64>().expect("its start")..last.parse::<u64>().expect("its end") + 1
        });
        let name = self.find(url).1;
        self.0.requests.borrow_mut().push((name, range.clone()));
        others_turn().await;
        let (mut url, mut redirected) = (url.to_string(), false);
        loop {
            let Some(mut response) = self.answer(method, &url, range.clone()).await else {
                return Err(Failure::passing(Error::new(Code::Network, format!("{url}: no answer"))));
            };
            match response.headers.get("location") {
                Some(next) => (url, redirected) = (next.clone(), true),
                None => {
                    if method == "HEAD" {
                        response.body.bytes.end = response.body.bytes.start;
                    }
                    return Ok(HttpResponse { redirected, ..response });
                }
            }
        }
    }

    async fn wait(&self, milliseconds: f64) {
        self.0.waits.borrow_mut().push(milliseconds);
        others_turn().await;
    }

    async fn turn(&self) {
        others_turn().await;
    }

    fn now(&self) -> f64 {
        BEGIN + self.0.waits.borrow().iter().sum::<f64>()
    }
}

/// The bytes of one answer.
pub struct HubBody {
    hub: Hub,
    name: String,
    content: Arc<Vec<u8>>,
    bytes: Range<u64>,
    /// Whether the connection breaks behind them.
    breaks: bool,
    spoilt: Vec<(u64, u8)>,
}

impl Body for HubBody {
    async fn next(&mut self) -> Attempt<Option<Vec<u8>>> {
        others_turn().await;
        let piece = self.bytes.start..self.bytes.end.min(self.bytes.start + PIECE);
        self.bytes.start = piece.end;
        if piece.is_empty() {
            let broken = || Failure::passing(Error::new(Code::Network, format!("{}: the connection broke", self.name)));
            return if self.breaks { Err(broken()) } else { Ok(None) };
        }
        self.hub.0.sent.borrow_mut().push((self.name.clone(), piece.clone()));
        let mut bytes = self.content[piece.start as usize..piece.end as usize].to_vec();
        for (place, byte) in self.spoilt.iter().filter(|(place, _)| piece.contains(place)) {
            bytes[(place - piece.start) as usize] = *byte;
        }
        Ok(Some(bytes))
    }
}
