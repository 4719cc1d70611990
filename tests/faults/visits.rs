//! Later visits to a model that is kept: what a server says of it, or will not say, costs nobody what is here.

use engine::Code;
use engine::loading::source::names::ONE_FILE;
use protocol::NoticeKind;

use crate::hub::Hub;
use crate::load;
use crate::models::{BARE, LARGE, OTHER};
use crate::script::What::*;
use crate::script::{Setup, api, cdn, fine, hub};
use crate::support::memory::MemoryShelf;

/// A visit that must end in the trace of this model; what the reader is told.
fn visit(what: &str, setup: Setup, hub: &Hub, shelf: &MemoryShelf) -> Vec<NoticeKind> {
    hub.forget();
    hub.spoil(setup.faults.clone());
    let (found, notices) = load(&setup, hub, shelf);
    let found = found.unwrap_or_else(|error| panic!("{what}: {}", error.message));
    assert!(found == setup.model.trace(), "{what}: another trace");
    notices
}

/// The large model's hub, or a plain web server.
fn server(direct: bool) -> Hub {
    Hub::new(LARGE.files.clone(), direct, Vec::new())
}

fn large() -> Setup {
    fine().of(&LARGE)
}

/// What a server answers to HEAD, and the remark that it leads to: one that cannot be asked so is asked otherwise.
#[test]
fn a_folder_s_server_that_refuses_limits_or_fails_head_costs_no_kept_model() {
    let (server, shelf) = (server(true), MemoryShelf::default());
    let head = |setup: Setup| setup.of(&LARGE).method("HEAD").folder();
    visit("first", large().folder(), &server, &shelf);
    for (what, setup, remarks) in [
        ("405", head(hub([Status(405)])), [].as_slice()),
        ("501", head(hub([Status(501)])), &[]),
        ("403", head(hub([Status(403)])), &[]),
        ("a length of what travels, compressed", head(hub([Packed])), &[]),
        ("429 with an hour to wait", head(hub([Status(429), RetryAfter("3600")])), &[NoticeKind::Unchecked]),
        ("503", head(hub([Status(503)])), &[NoticeKind::Unchecked]),
        ("a reset", head(hub([Reset])), &[NoticeKind::Unchecked]),
    ] {
        assert_eq!(visit(what, setup, &server, &shelf), remarks, "remote.rs: HEAD: {what}");
        let [fault] = &server.heal()[..] else { panic!("one fault") };
        assert_eq!(fault.hits, 1, "remote.rs: HEAD: {what}: so often it is asked");
        let sent = server.sent(ONE_FILE);
        assert!(sent <= 1, "remote.rs: HEAD: {what}: {sent} bytes of what is kept were sent");
    }
}

#[test]
fn a_hub_that_fails_or_asks_for_patience_costs_no_kept_model() {
    for status in [500, 429] {
        let (server, shelf) = (server(false), MemoryShelf::default());
        visit("first", large(), &server, &shelf);
        let silent = || api("revision", [Status(status)]).and(api("tree", [Status(status)])).of(&LARGE);
        let all = silent().and(hub([Status(status)]));
        assert_eq!(visit("second", all, &server, &shelf), [NoticeKind::Unchecked], "the API, HEAD and the weights");
        assert_eq!(server.sent(ONE_FILE), 0, "{status}: what is kept was sent again");
        assert_eq!(visit("third", silent(), &server, &shelf), [NoticeKind::Unchecked], "the API alone");
        assert_eq!(server.sent(ONE_FILE), 0, "{status}: what is kept was sent again");
    }
}

#[test]
fn a_folder_that_is_overwritten_is_read_afresh() {
    let no_marks = hub([Without(&["etag"])]);
    for (what, direct, setup, next) in [
        ("its ETag tells", true, large(), &*OTHER),
        ("behind redirects", false, large(), &*OTHER),
        ("no ETag, another size", true, no_marks, &*BARE),
    ] {
        let (server, shelf) = (server(direct), MemoryShelf::default());
        let setup = || Setup { faults: setup.faults.clone(), ..large() };
        visit(what, setup().folder(), &server, &shelf);
        visit(what, setup().folder(), &server, &shelf);
        let header = LARGE.header();
        assert!(server.sent(ONE_FILE) <= header + 4096, "{what}: {} bytes on a second visit", server.sent(ONE_FILE));
        server.replace(next.files.clone(), "c0");
        visit(what, setup().of(next).folder(), &server, &shelf);
        let kept = shelf.inside().disks[&format!("{ONE_FILE}.data")].bytes.borrow().len() as u64;
        let most = next.body().end + 4096;
        assert!(kept <= most, "{what}: {kept} bytes are kept of {most}: pieces of the old version are still there");
    }
}

#[test]
fn a_load_whose_connection_fails_for_good_goes_on_where_it_stopped() {
    let place = LARGE.place("h.2.attn.c_attn.weight").start;
    let (server, shelf) = (server(false), MemoryShelf::default());
    let failing = cdn([Status(500)]).within(place..place + 1).of(&LARGE).parallel(1);
    server.spoil(failing.faults.clone());
    let (found, _) = load(&failing, &server, &shelf);
    assert_eq!(found.expect_err("no trace").code, Code::Network);
    let before = server.sent(ONE_FILE);
    assert!(before > 0, "nothing came before the failure");
    visit("after the failure", large(), &server, &shelf);
    let both = before + server.sent(ONE_FILE);
    let most = LARGE.body().end + LARGE.header();
    assert!(both <= most, "{both} bytes of {most}: what had come before the failure was fetched again");
}
