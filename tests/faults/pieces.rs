//! Files that are read in pieces, several at a time: whole files, shards, folders, files that change under way.

use std::ops::Range;

use engine::Code;
use engine::loading::source::names::{INDEX, ONE_FILE};
use protocol::NoticeKind;

use crate::models::{BARE, LARGE, OTHER, SHARDS, shard};
use crate::script::What::*;
use crate::script::{self, Server, Setup, What, at};
use crate::{TRACE, assert_cases, fails, trace_and};

const NAN: [u8; 4] = f32::NAN.to_le_bytes();
const INFINITE: [u8; 4] = f32::INFINITY.to_le_bytes();

fn cdn(what: impl Into<Vec<What>>) -> Setup {
    script::cdn(what).of(&LARGE)
}

fn hub(what: impl Into<Vec<What>>) -> Setup {
    script::hub(what).of(&LARGE)
}

/// A shard that the CDN has something wrong with.
fn shard_at(number: usize, what: impl Into<Vec<What>>) -> Setup {
    at(Server::Cdn, shard(number), what).of(&SHARDS)
}

/// Where a block's tensors are.
fn block(layer: usize) -> Range<u64> {
    let tensor = |name: &str| LARGE.place(&format!("h.{layer}.{name}"));
    tensor("attn.c_attn.bias").start..tensor("mlp.c_proj.weight").end
}

/// Where anything but the header is.
fn anywhere() -> Range<u64> {
    LARGE.body()
}

/// A number of a tensor.
fn inside(tensor: &str) -> u64 {
    LARGE.place(tensor).start + 400
}

/// A number of a row of the table of tokens.
fn row(id: u64) -> u64 {
    LARGE.place("wte.weight").start + id * 1024
}

impl Setup {
    /// What was sent twice is at most what was lost on its way in connections that broke.
    fn resumes(self, most: u64) -> Setup {
        self.check(move |hub| {
            let twice = hub.twice(ONE_FILE);
            assert!(twice <= most, "download.rs: {twice} bytes were sent twice: a piece goes on where it broke");
        })
    }
}

#[test]
fn pieces_that_break() {
    let broken = cdn([NoRange, DropAfter(9_000_000)]).times(2).and(cdn([NoRange]));
    let packed = cdn([Packed, DropAfter(9_000_000)]).times(1).and(cdn([Packed]));
    assert_cases([
        (
            "four connections break, each after a megabyte",
            cdn([DropAfter(1_000_000)]).within(anywhere()).times(4).resumes(0),
            TRACE,
        ),
        ("every answer breaks after three megabytes", cdn([DropAfter(3_000_000)]).within(anywhere()), TRACE),
        ("every answer is cut after a megabyte", cdn([TruncateAfter(1_000_000)]).within(anywhere()).resumes(0), TRACE),
        ("never more than a megabyte at a time", cdn([Cap(1_000_000)]).resumes(0), TRACE),
        ("a reset in the middle", cdn([Reset]).within(block(1)).times(2), TRACE),
        ("the wrong range in the middle, once", cdn([Shift(-4096)]).within(block(1)).once(), TRACE),
        ("as a plain folder, with a break", hub([DropAfter(500_000)]).within(block(1)).once().folder().direct(), TRACE),
        (
            "one request at a time, each broken once",
            cdn([DropAfter(200_000)]).within(anywhere()).times(5).parallel(1),
            TRACE,
        ),
        ("no ranges", cdn([NoRange]), trace_and(NoticeKind::NoRanges)),
        ("no ranges, and the connection breaks twice", broken, TRACE),
        ("everything is compressed, and the connection breaks", packed, trace_and(NoticeKind::NoRanges)),
        ("ranges are unknown from the sixth answer on", cdn([NoRange]).after(5), TRACE),
        ("as a plain folder without ETag or ranges", hub([NoRange, Without(&["etag"])]).folder().direct(), TRACE),
    ]);
}

#[test]
fn pieces_that_are_refused() {
    assert_cases([
        (
            "503 for every second piece, for a while",
            cdn([Status(503)]).within(anywhere()).times(3).and(cdn([Status(500)]).within(block(3)).times(2)),
            TRACE,
        ),
        (
            "429 in the middle",
            cdn([Status(429), RetryAfter("1")]).within(block(1)).once().waits(1000.0),
            trace_and(NoticeKind::Retrying),
        ),
        ("signed addresses that are good for three answers", cdn([ExpireAfter(3)]), TRACE),
        (
            "all signed addresses expire at once",
            cdn([Call(|hub| hub.expire()), DropAfter(0)]).within(block(2)).once(),
            TRACE,
        ),
        ("sixteen requests at a time", cdn([Status(503)]).within(anywhere()).times(3).parallel(16), TRACE),
        ("500 from block 2 on", cdn([Status(500)]).within(block(2)), fails(Code::Network, ["500"])),
        (
            "block 2 never comes whole",
            cdn([DropAt(inside("h.2.mlp.c_fc.weight"))]).within(block(2)),
            fails(Code::Network, [ONE_FILE]),
        ),
        (
            "a piece for which the server asks to wait an hour",
            cdn([Status(429), RetryAfter("Fri, 15 Jan 2027 09:00:00 GMT")]).within(block(1)),
            fails(Code::RateLimited, ["3600 seconds"]),
        ),
        ("404 in the middle", cdn([Status(404)]).within(block(3)), fails(Code::NotFound, [ONE_FILE])),
        (
            "a file that is cut off behind block 2",
            cdn([TruncateAt(LARGE.place("h.2.mlp.c_proj.weight").start)]),
            fails(Code::CorruptDownload, [ONE_FILE]),
        ),
    ]);
}

#[test]
fn pieces_with_other_bytes() {
    let weight = "h.2.mlp.c_fc.weight";
    let two = [Bytes(inside("h.1.mlp.c_fc.bias"), NAN), Bytes(inside("h.1.mlp.c_fc.weight"), INFINITE)];
    let projection = inside("h.3.attn.c_proj.weight");
    assert_cases([
        ("a NaN in a block, once", cdn([Bytes(inside(weight), NAN)]).once(), TRACE),
        ("a NaN in a row of the text, once", cdn([Bytes(row(6000), NAN)]).once(), TRACE),
        ("a NaN in a bias and infinity in the next tensor, once", cdn(two).once(), TRACE),
        ("a NaN in a mask that nobody reads", cdn([Bytes(inside("h.1.attn.bias"), NAN)]).may_miss(), TRACE),
        (
            "a NaN in a block",
            cdn([Bytes(inside(weight), NAN)]),
            fails(Code::CorruptDownload, [weight, &inside(weight).to_string()]),
        ),
        (
            "infinity in a row of the text",
            cdn([Bytes(row(6000), INFINITE)]),
            fails(Code::CorruptDownload, ["wte.weight", &row(6000).to_string()]),
        ),
        (
            "infinity in a row that only predictions need",
            cdn([Bytes(row(9000) + 4, INFINITE)]),
            fails(Code::CorruptDownload, ["wte.weight", &(row(9000) + 4).to_string()]),
        ),
        (
            "no ranges, and a NaN",
            cdn([NoRange, Bytes(projection, NAN)]).folder(),
            fails(Code::CorruptDownload, ["h.3.attn.c_proj.weight"]),
        ),
        (
            "a whole file with a flipped bit, once",
            cdn([Flip(5_000_000)]).once().of(&BARE),
            fails(Code::CorruptDownload, ["SHA-256"]),
        ),
    ]);
}

#[test]
fn files_that_change() {
    // Somebody pushes another model while block 1 is asked for.
    let pushed = |hub: &crate::hub::Hub| {
        hub.replace(OTHER.files.clone(), "c1");
        hub.expire();
    };
    let overwritten = |hub: &crate::hub::Hub| {
        hub.replace(OTHER.files.clone(), "c0");
        hub.expire();
    };
    let mended = |commit: &'static str| {
        move |hub: &crate::hub::Hub| {
            hub.replace(LARGE.files.clone(), commit);
            hub.expire();
        }
    };
    assert_cases([
        (
            "another ETag in the middle",
            cdn([Header("etag", "\"other\"")]).within(block(2)),
            fails(Code::CorruptDownload, ["changed"]),
        ),
        ("another size in the middle", cdn([TotalOff(4)]).within(block(2)), fails(Code::CorruptDownload, ["changed"])),
        (
            "a push during the load: the commit was resolved once",
            cdn([Call(pushed)]).within(block(1)).once().check(mended("c2")),
            TRACE,
        ),
        (
            "a folder's file is overwritten during the load",
            cdn([Call(overwritten)]).within(block(1)).once().folder().check(mended("c0")),
            fails(Code::CorruptDownload, [ONE_FILE]),
        ),
    ]);
}

#[test]
fn shards() {
    let none = [1, 2, 3].map(|number| shard_at(number, [NoRange]));
    let index = |what| at(Server::Hub, INDEX, [what]).of(&SHARDS);
    let at_hub = |what| at(Server::Hub, shard(2), [what]).of(&SHARDS);
    assert_cases([
        ("503 for one, twice", at_hub(Status(503)).times(2), TRACE),
        ("one breaks", shard_at(1, [DropAfter(700_000)]).within(100_000..8_000_000).times(2), TRACE),
        ("one is missing", at_hub(Status(404)), fails(Code::NotFound, ["model-00002-of-00003"])),
        ("one comes without ranges", shard_at(3, [NoRange]), trace_and(NoticeKind::NoRanges)),
        ("one is compressed", shard_at(2, [Packed]), trace_and(NoticeKind::NoRanges)),
        ("none comes with ranges", none.into_iter().reduce(Setup::and).unwrap(), TRACE),
        ("a damaged index", index(Content(b"{".to_vec())), fails(Code::BadSafetensors, ["index.json"])),
        ("the index fails, once", index(Status(502)).once(), TRACE),
        ("one fails for good", shard_at(3, [Status(500)]), fails(Code::Network, ["model-00003-of-00003"])),
    ]);
}
