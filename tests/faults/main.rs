//! Servers that refuse, break off, lie and change their mind; files that are wrong in themselves: every load ends in the
//! right trace or in the right error, and spoils no later one. What only a browser shows of it (CORS, compression, resets
//! and stalls as `fetch` reports them) is in tests/browser/faults.test.mjs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests end by panicking, their helpers too")]

mod files;
mod hub;
mod models;
mod one_pass;
mod pieces;
mod script;
#[path = "../support/mod.rs"]
mod support;
mod visits;

use std::cell::RefCell;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use engine::loading::source::Address;
use engine::loading::source::remote::Remote;
use engine::loading::{LoadEvent, open};
use engine::pool::WorkerPool;
use engine::{Code, Error};
use protocol::NoticeKind;
use trace::Sequence;

use hub::{FOLDER, HUB, Hub, REPO};
use script::Setup;
use support::memory::MemoryShelf;

/// What a load must end in.
pub enum Expect {
    /// The right trace, and perhaps a notice.
    Trace(Option<NoticeKind>),
    /// An error of this code, which says these words.
    Error(Code, Vec<String>),
}

/// The right trace.
pub const TRACE: Expect = Expect::Trace(None);

/// The right trace, and a notice.
pub fn trace_and(notice: NoticeKind) -> Expect {
    Expect::Trace(Some(notice))
}

/// An error of this code, which says these words.
pub fn fails<const N: usize>(code: Code, words: [&str; N]) -> Expect {
    Expect::Error(code, words.map(str::to_string).into())
}

/// A name, what goes wrong, and what must come of it.
pub type Case = (&'static str, Setup, Expect);

/// Loads each, and says which of them do not end as they should.
pub fn assert_cases<const N: usize>(cases: [Case; N]) {
    let names: HashSet<_> = cases.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names.len(), N, "two cases have one name");
    let failed =
        |(name, setup, expect)| catch_unwind(AssertUnwindSafe(|| one(name, setup, expect))).err().map(|_| name);
    let failed: Vec<_> = cases.into_iter().filter_map(failed).collect();
    assert!(failed.is_empty(), "{} of {N} cases: {failed:#?}", failed.len());
}

fn one(name: &str, setup: Setup, expect: Expect) {
    let model = setup.model;
    let mut files = model.files.clone();
    files.extend(setup.files.iter().map(|(name, bytes)| (name.to_string(), bytes.clone().into())));
    let hub = Hub::new(files, setup.direct, setup.faults.clone());
    let shelf = MemoryShelf::default();
    let (found, notices) = load(&setup, &hub, &shelf);
    for fault in hub.heal() {
        assert!(fault.hits > 0 || setup.may_miss, "{name}: nothing was tested, since this never happened: {fault:?}");
    }
    match (expect, found) {
        (Expect::Trace(notice), Ok(found)) => {
            assert!(found == model.trace(), "{name}: another trace: bytes were mixed up or lost");
            let came = notice.is_none_or(|notice| notices.contains(&notice));
            assert!(came, "{name}: no notice {notice:?} came, only {notices:?}");
        }
        (Expect::Error(code, words), Err(error)) => {
            assert_eq!(error.code, code, "{name}: {}", error.message);
            for word in words {
                assert!(error.message.contains(&word), "{name}: no {word} in: {}", error.message);
            }
        }
        (Expect::Trace(_), Err(error)) => panic!("{name}: no trace, but {:?}: {}", error.code, error.message),
        (Expect::Error(code, _), Ok(_)) => panic!("{name}: no error {code:?}, but a trace"),
    }
    let longest = hub.waits().into_iter().fold(0.0, f64::max);
    assert!(longest <= 60_000.0, "{name}: retry.rs: a pause of {longest} ms");
    setup.checks.iter().for_each(|check| check(&hub));
    if !setup.files.is_empty() {
        hub.replace(model.files.clone(), "c1");
    }
    let (again, _) = load(&setup, &hub, &shelf);
    let again = again.unwrap_or_else(|error| panic!("{name}: once nothing goes wrong: {}", error.message));
    assert!(again == model.trace(), "{name}: what the first load left behind spoils the second");
}

/// Loads a model from the hub as it is set up, and traces it: what came of it, and what the reader was told.
pub fn load(setup: &Setup, hub: &Hub, shelf: &MemoryShelf) -> (Result<Vec<Sequence>, Error>, Vec<NoticeKind>) {
    let notices = RefCell::new(Vec::new());
    let report = |event| {
        if let LoadEvent::Notice(notice) = event {
            notices.borrow_mut().push(notice.kind);
        }
    };
    let address = Address::parse(if setup.folder { FOLDER } else { REPO }).unwrap();
    let files = Remote::new(hub.clone(), address.locate(Some(HUB)).unwrap());
    let found = pollster::block_on(async {
        let spawn = |config: &_, _: &str| WorkerPool::alone(config);
        let loading = open(files, Some(shelf.clone()), setup.parallel, spawn, &report).await?;
        setup.model.trace_of(&loading, setup.late, &report).await
    });
    (found, notices.into_inner())
}
