//! What goes wrong with the answers of the stand-in hub, and with which of them.

use std::ops::Range;

use What::*;
use engine::loading::source::names::ONE_FILE;

use crate::hub::Hub;
use crate::models::{Model, SMALL};

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Api,
    Hub,
    Cdn,
}

/// What goes wrong with an answer.
#[derive(Clone, Debug)]
pub enum What {
    /// It is refused with this status; and the server says when to ask again.
    Status(u16),
    RetryAfter(&'static str),
    /// There is none.
    Reset,
    /// It comes after other tasks have had so many turns.
    Slow(usize),
    /// Something happens before it.
    Call(fn(&Hub)),
    /// A signed address is refused once it has answered so many requests.
    ExpireAfter(usize),
    /// It lacks these headers, or has this one, or an ETag of its own.
    Without(&'static [&'static str]),
    Header(&'static str, &'static str),
    NewEtag,
    /// Content-Length is so much larger (the body ends early) or smaller (it is cut).
    LengthOff(i64),
    /// Content-Range claims a start that is so much further on, or a file that is so much larger.
    RangeLie(u64),
    TotalOff(u64),
    /// These bytes come in the place of the file.
    Content(Vec<u8>),
    /// The whole file comes, whatever was asked for.
    NoRange,
    /// The same, compressed: then Chromium shows no page an answer to a request for a part.
    Packed,
    /// Bytes from so much further on, so many more than asked for, at most so many; Content-Range says so.
    Shift(i64),
    Extend(i64),
    Cap(u64),
    /// Other bytes at this place of the file, or one flipped bit.
    Bytes(u64, [u8; 4]),
    Flip(u64),
    /// The connection breaks at this byte of the file, or after so many of the answer.
    DropAt(u64),
    DropAfter(u64),
    /// The body comes to a good end there.
    TruncateAt(u64),
    TruncateAfter(u64),
}
/// Which answers something goes wrong with.
#[derive(Clone, Debug)]
pub struct Fault {
    /// A file's name, or `api/revision`, or `api/tree`.
    pub file: String,
    pub at: Server,
    pub what: Vec<What>,
    pub times: usize,
    /// How many of them are let through first.
    pub after: usize,
    /// Only answers to requests for bytes that overlap these.
    pub within: Option<Range<u64>>,
    pub method: Option<&'static str>,
    /// How often it happened.
    pub hits: usize,
}

impl Fault {
    /// Whether it goes wrong with this answer. What happens at a place of the file happens to answers that reach it.
    pub fn concerns(&self, file: &str, at: Server, method: &str, asked: &Range<u64>) -> bool {
        let is_whole = self.what.iter().any(|what| matches!(what, NoRange | Packed));
        let sent = if is_whole { 0..u64::MAX } else { asked.clone() };
        let reaches = |what: &What| match what {
            DropAt(place) | TruncateAt(place) => *place < sent.end,
            _ => true,
        };
        let spoils = |what: &What| match what {
            Bytes(place, bytes) => Some(place + bytes.len() as u64 > sent.start && *place < sent.end),
            Flip(place) => Some(sent.contains(place)),
            _ => None,
        };
        let overlaps = |within: &Range<u64>| within.start < asked.end && asked.start < within.end;
        let spoilt: Vec<bool> = self.what.iter().filter_map(spoils).collect();
        (self.file == file && self.at == at && self.times > 0)
            && self.method.is_none_or(|known| known == method)
            && self.within.as_ref().is_none_or(overlaps)
            && self.what.iter().all(reaches)
            && (spoilt.is_empty() || spoilt.contains(&true))
    }
}

/// What is loaded, from where, and what goes wrong meanwhile.
pub struct Setup {
    pub model: &'static Model,
    /// Files in the place of the model's own.
    pub files: Vec<(&'static str, Vec<u8>)>,
    pub faults: Vec<Fault>,
    /// Whether it is loaded by its address, as a plain folder; and from a server that redirects nowhere.
    pub folder: bool,
    pub direct: bool,
    pub parallel: usize,
    /// Whether what goes wrong may happen to nobody.
    pub may_miss: bool,
    /// Whether texts come once everything has been read, and not as soon as the model is open.
    pub late: bool,
    /// What must hold of the requests.
    pub checks: Vec<Check>,
}

/// A look at what was asked of a hub.
pub type Check = Box<dyn Fn(&Hub)>;

/// The small model, of a hub with which nothing is wrong.
pub fn fine() -> Setup {
    let (files, faults, checks) = (Vec::new(), Vec::new(), Vec::new());
    let (folder, direct, may_miss, late) = (false, false, false, false);
    Setup { model: &SMALL, files, faults, folder, direct, parallel: 4, may_miss, late, checks }
}

/// Something is wrong with a file.
pub fn at(at: Server, file: impl Into<String>, what: impl Into<Vec<What>>) -> Setup {
    let (times, after, within, method, hits) = (usize::MAX, 0, None, None, 0);
    let fault = Fault { file: file.into(), at, what: what.into(), times, after, within, method, hits };
    Setup { faults: vec![fault], ..fine() }
}

/// Something is wrong with the weights, as the CDN has them.
pub fn cdn(what: impl Into<Vec<What>>) -> Setup {
    at(Server::Cdn, ONE_FILE, what)
}

/// Something is wrong with the weights, as the hub sends them or where to find them.
pub fn hub(what: impl Into<Vec<What>>) -> Setup {
    at(Server::Hub, ONE_FILE, what)
}

/// Something is wrong with the hub's account of the model.
pub fn api(account: &str, what: impl Into<Vec<What>>) -> Setup {
    at(Server::Api, format!("api/{account}"), what)
}

/// Files are wrong in themselves.
pub fn files<const N: usize>(files: [(&'static str, Vec<u8>); N]) -> Setup {
    Setup { files: files.into(), ..fine() }
}

impl Setup {
    fn last(mut self, change: impl FnOnce(&mut Fault)) -> Setup {
        change(self.faults.last_mut().expect("something that goes wrong"));
        self
    }

    /// Only so often.
    pub fn times(self, times: usize) -> Setup {
        self.last(|fault| fault.times = times)
    }

    pub fn once(self) -> Setup {
        self.times(1)
    }

    /// Once so many have gone well.
    pub fn after(self, after: usize) -> Setup {
        self.last(|fault| fault.after = after)
    }

    /// For requests of these bytes alone.
    pub fn within(self, bytes: Range<u64>) -> Setup {
        self.last(|fault| fault.within = Some(bytes))
    }

    /// For requests of this method alone.
    pub fn method(self, method: &'static str) -> Setup {
        self.last(|fault| fault.method = Some(method))
    }

    /// And this besides.
    pub fn and(mut self, other: Setup) -> Setup {
        self.files.extend(other.files);
        self.faults.extend(other.faults);
        self
    }

    pub fn of(self, model: &'static Model) -> Setup {
        Setup { model, ..self }
    }

    pub fn folder(self) -> Setup {
        Setup { folder: true, ..self }
    }

    pub fn direct(self) -> Setup {
        Setup { direct: true, ..self }
    }

    pub fn parallel(self, parallel: usize) -> Setup {
        Setup { parallel, ..self }
    }

    pub fn may_miss(self) -> Setup {
        Setup { may_miss: true, ..self }
    }

    pub fn late(self) -> Setup {
        Setup { late: true, ..self }
    }

    pub fn check(mut self, check: impl Fn(&Hub) + 'static) -> Setup {
        self.checks.push(Box::new(check));
        self
    }

    /// One pause between attempts is of so many milliseconds: the server said so.
    pub fn waits(self, milliseconds: f64) -> Setup {
        self.check(move |hub| {
            let waits = hub.waits();
            assert!(waits.contains(&milliseconds), "retry.rs: pauses of {waits:?} ms, and none of {milliseconds}");
        })
    }
}
