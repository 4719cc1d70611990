//! A file that is read in one pass.

use engine::Code;
use engine::loading::source::names::ONE_FILE;
use protocol::NoticeKind;
use serde_json::json;

use crate::hub::Hub;
use crate::models::SMALL;
use crate::script::What::*;
use crate::script::{Server, Setup, api, at, cdn, hub};
use crate::{TRACE, assert_cases, fails, trace_and};

const NAN: [u8; 4] = f32::NAN.to_le_bytes();
const INFINITE: [u8; 4] = f32::INFINITY.to_le_bytes();
const DAMAGED: &str = "h.1.mlp.c_fc.weight";
/// Headers of which a server tells nothing, unless it is told to, to pages of another origin.
const HIDDEN: &[&str] = &["etag", "content-range", "content-length", "content-encoding", "retry-after"];
const PAGE: &[u8] = b"<!doctype html>Sign in";

/// A number in the middle of a block.
fn spot() -> u64 {
    SMALL.place(DAMAGED).start + 400
}

fn middle() -> u64 {
    (SMALL.body().start + SMALL.body().end) / 2
}

/// Something is wrong with the answers that bring tensors, not with those that bring the header.
fn body(what: impl Into<Vec<crate::script::What>>) -> Setup {
    cdn(what).within(SMALL.body())
}

fn config(what: impl Into<Vec<crate::script::What>>) -> Setup {
    at(Server::Hub, "config.json", what)
}

/// The server asked to wait for an hour: nobody asks on.
fn once_only(hub: &Hub) {
    let asked = hub.asked(ONE_FILE).len();
    assert!(asked <= 2, "retry.rs: the server asked to wait for an hour, and was asked {asked} times");
}

/// Where no part was ever answered, the file is asked for whole, once.
fn then_whole(hub: &Hub) {
    assert_eq!(hub.asked(ONE_FILE), [Some(0..8), Some(0..8), None], "remote.rs: what was asked for");
}

#[test]
fn refusals_that_pass() {
    assert_cases([
        ("503 from the hub, once", hub([Status(503)]).once(), TRACE),
        ("500 from the CDN, three times", cdn([Status(500)]).times(3), TRACE),
        ("502 for the tensors, twice", body([Status(502)]).times(2), TRACE),
        ("503 for config.json, once", config([Status(503)]).once(), TRACE),
        (
            "429 with Retry-After in seconds",
            body([Status(429), RetryAfter("1")]).once().waits(1000.0),
            trace_and(NoticeKind::Retrying),
        ),
        (
            "429 with Retry-After while the header is read",
            cdn([Status(429), RetryAfter("1")]).once().waits(1000.0),
            TRACE,
        ),
        (
            "429 with Retry-After as a date",
            cdn([Status(429), RetryAfter("Fri, 15 Jan 2027 08:00:03 GMT")]).once().waits(3000.0),
            TRACE,
        ),
        (
            "429 with Retry-After as a date that has passed",
            cdn([Status(429), RetryAfter("Fri, 15 Jan 2027 07:00:00 GMT")]).once().waits(400.0),
            TRACE,
        ),
        ("429 without Retry-After, once", hub([Status(429)]).once().waits(400.0), TRACE),
        ("503 with Retry-After", cdn([Status(503), RetryAfter("1")]).once().waits(1000.0), TRACE),
        ("Retry-After that makes no sense", cdn([Status(503), RetryAfter("soon, we hope")]).once().waits(400.0), TRACE),
        ("the connection is reset before the headers, twice", cdn([Reset]).times(2), TRACE),
        ("the hub's connection is reset, once", hub([Reset]).once(), TRACE),
        ("a signed address that is good for one answer", cdn([ExpireAfter(1)]).times(4), TRACE),
        ("all signed addresses expire after the header", body([Status(403)]).once(), TRACE),
        ("416 for the tensors, once", body([Status(416)]).once(), TRACE),
    ]);
}

#[test]
fn bodies_that_fail_once() {
    assert_cases([
        ("the connection breaks in the header", cdn([DropAt(200)]).once(), TRACE),
        ("the connection breaks in the tensors", cdn([DropAt(middle())]).once(), TRACE),
        ("the connection breaks again and again, each time further on", body([DropAfter(90_000)]).times(6), TRACE),
        ("the connection breaks before the first byte", body([DropAfter(0)]).once(), TRACE),
        ("the body is cut, and its length says so", cdn([TruncateAt(middle())]).once(), TRACE),
        ("the body is cut, without a length", cdn([TruncateAt(middle()), Without(&["content-length"])]).once(), TRACE),
        ("the header is cut", cdn([TruncateAt(300), Without(&["content-length"])]).once(), TRACE),
        ("no Content-Length at all", cdn([Without(&["content-length"])]), TRACE),
        ("Content-Length is too large", body([LengthOff(5000)]).once(), TRACE),
        ("Content-Length is too small", body([LengthOff(-5000)]).once(), TRACE),
        ("the wrong range comes, and Content-Range says so", body([Shift(4096)]).once(), TRACE),
        ("Content-Range claims another start", body([RangeLie(4096)]).once(), TRACE),
        ("Content-Range claims another size while the header is read", cdn([TotalOff(4096)]).once(), TRACE),
        ("never more than 100 kB at a time", cdn([Cap(100_000)]), TRACE),
        ("fewer bytes than asked for, once", body([Extend(-70_000)]).once(), TRACE),
        ("more bytes than asked for while the header is read", cdn([Extend(64)]).once(), TRACE),
        ("a NaN, once", cdn([Bytes(spot(), NAN)]).once(), TRACE),
        ("a NaN, once, where no hash is known", cdn([Bytes(spot(), NAN)]).once().folder(), TRACE),
        ("infinity, once", cdn([Bytes(spot(), INFINITE)]).once(), TRACE),
        ("a flipped bit, once: the hub's SHA-256 tells", cdn([Flip(spot())]).once().late(), TRACE),
    ]);
}

#[test]
fn servers_without_ranges() {
    let packed = [Packed];
    assert_cases([
        ("the server knows no ranges", cdn([NoRange]), trace_and(NoticeKind::NoRanges)),
        ("the server knows no ranges and tells no length", cdn([NoRange, Without(&["content-length"])]), TRACE),
        (
            "the server knows no ranges, and its connection breaks",
            cdn([NoRange, DropAt(middle())]).once().and(cdn([NoRange])),
            TRACE,
        ),
        ("ranges are unknown from the second answer on", cdn([NoRange]).after(1), TRACE),
        ("ranges are unknown from the third answer on", cdn([NoRange]).after(2), TRACE),
        ("compressed settings", config(packed.clone()), TRACE),
        ("everything is compressed", cdn(packed.clone()).check(then_whole), trace_and(NoticeKind::NoRanges)),
        (
            "a folder's host compresses everything",
            hub(packed).folder().direct().check(then_whole),
            trace_and(NoticeKind::NoRanges),
        ),
    ]);
}

#[test]
fn hubs_that_tell_little_of_a_model() {
    let page = || Content(b"<!doctype html>".to_vec());
    let mut endless = json!({ "sha": "0".repeat(40) }).to_string().into_bytes();
    endless.resize(17_000_000, b' ');
    assert_cases([
        ("the API is not there", api("revision", [Status(404)]).and(api("tree", [Status(404)])), TRACE),
        ("the API fails", api("revision", [Status(500)]).and(api("tree", [Status(500)])), TRACE),
        ("the API refuses", api("revision", [Status(429)]).and(api("tree", [Status(403)])), TRACE),
        ("the API answers with a web page", api("revision", [page()]).and(api("tree", [Content(Vec::new())])), TRACE),
        (
            "the API answers with other JSON",
            api("revision", [Content(br#"{"sha":7}"#.to_vec())])
                .and(api("tree", [Content(br#"{"error":["x"]}"#.to_vec())])),
            TRACE,
        ),
        ("the API has no end of answers, and of none that is true", api("revision", [Content(endless)]), TRACE),
        ("the API's tree is not there", api("tree", [Status(404)]), TRACE),
        ("the API is slow", api("revision", [Slow(80)]).and(api("tree", [Slow(80)])), TRACE),
        ("no ETag", cdn([Without(&["etag"])]), TRACE),
        ("no header is exposed to other origins", cdn([Without(HIDDEN)]), TRACE),
        ("nothing is exposed, and there is no API", cdn([Without(HIDDEN)]).and(api("revision", [Status(404)])), TRACE),
        ("a weak ETag", cdn([Header("etag", "W/\"abc\"")]), TRACE),
        ("another ETag with every answer", cdn([NewEtag]), fails(Code::CorruptDownload, [ONE_FILE])),
    ]);
}

#[test]
fn refusals_that_last() {
    assert_cases([
        ("500 from the hub", hub([Status(500)]), fails(Code::Network, ["500", ONE_FILE])),
        ("500 from the CDN", cdn([Status(500)]), fails(Code::Network, ["500"])),
        ("500 for the tensors only", body([Status(500)]), fails(Code::Network, ["500"])),
        ("500 for config.json", config([Status(500)]), fails(Code::Network, ["config.json"])),
        ("429", hub([Status(429)]), fails(Code::RateLimited, ["429"])),
        (
            "429 from the CDN, with an hour to wait",
            cdn([Status(429), RetryAfter("3600")]).check(once_only),
            fails(Code::RateLimited, ["3600 seconds"]),
        ),
        (
            "503 with an hour to wait",
            cdn([Status(503), RetryAfter("3600")]).check(once_only),
            fails(Code::Network, ["503"]),
        ),
        ("every connection is reset", hub([Reset]), fails(Code::Network, [ONE_FILE])),
        ("404", hub([Status(404)]), fails(Code::NotFound, [ONE_FILE])),
        ("401", hub([Status(401)]), fails(Code::NotFound, ["401"])),
        ("403", hub([Status(403)]), fails(Code::NotFound, ["403"])),
        ("a CDN that refuses every signed address", cdn([ExpireAfter(0)]), fails(Code::NotFound, ["403"])),
        ("416 for everything", cdn([Status(416)]), fails(Code::CorruptDownload, [ONE_FILE])),
    ]);
}

#[test]
fn bodies_that_never_come_right() {
    let page = |length: usize| Content([PAGE, &vec![b' '; length]].concat());
    let place = &*spot().to_string();
    assert_cases([
        ("every connection breaks in the tensors", cdn([DropAt(middle())]), fails(Code::Network, [ONE_FILE])),
        (
            "every answer for the tensors is cut",
            cdn([TruncateAt(middle())]),
            fails(Code::CorruptDownload, [ONE_FILE, &middle().to_string()]),
        ),
        ("every whole answer is cut", cdn([NoRange, TruncateAt(middle())]), fails(Code::CorruptDownload, [ONE_FILE])),
        ("the wrong range, always", body([Shift(4096)]), fails(Code::Network, [ONE_FILE])),
        ("a NaN", cdn([Bytes(spot(), NAN)]), fails(Code::CorruptDownload, [DAMAGED])),
        (
            "a NaN, where no hash is known",
            cdn([Bytes(spot(), NAN)]).folder(),
            fails(Code::CorruptDownload, [DAMAGED, place]),
        ),
        (
            "infinity, from a server without ranges",
            hub([NoRange, Bytes(spot(), INFINITE)]).folder().direct(),
            fails(Code::CorruptDownload, [DAMAGED, place]),
        ),
        ("a flipped bit", cdn([Flip(spot())]), fails(Code::CorruptDownload, [ONE_FILE, "SHA-256"])),
        (
            "a flipped bit, from a server without ranges",
            cdn([NoRange, Flip(spot())]),
            fails(Code::CorruptDownload, ["SHA-256"]),
        ),
        ("a sign-in page instead of everything", config([page(0)]), fails(Code::BadConfig, ["config.json"])),
        ("a sign-in page instead of the weights", hub([page(5000)]).direct(), fails(Code::BadSafetensors, [ONE_FILE])),
        ("half of config.json", config([TruncateAfter(40)]), fails(Code::BadConfig, ["config.json"])),
    ]);
}
