// What only a browser shows of servers that refuse, break off and lie: connections that are reset or stall, redirects,
// CORS, compression, and one of each kind that passes through `fetch`. The rules themselves, and many more cases, are in
// tests/faults/. Every load ends in the right trace or in the right code, and spoils no later one.
import assert from "node:assert/strict";
import { after, before } from "node:test";
import { NAN } from "./support/faults.mjs";
import { total } from "./support/ledger.mjs";
import { openLab } from "./support/lab.mjs";
import { cases, filesOf, rightTrace, WEIGHTS } from "./support/loads.mjs";
import { places } from "./support/models.mjs";

let lab;
before(async () => {
  lab = await openLab();
  for (const model of ["small", "large"]) await rightTrace(lab, model);
});
after(() => lab?.close());

const file = filesOf("small")[WEIGHTS];
const header = 8 + Number(file.readBigUInt64LE(0));
const middle = header + ((file.length - header) >> 1);
const spot = places(file).get("h.1.mlp.c_fc.weight")[0] + 400;
const once = (what) => ({ times: 1, ...what });
/** The answers with the tensors' bytes, not those with the header. */
const inBody = { within: [header, file.length] };
const cdn = (what) => ({ [WEIGHTS]: { at: "cdn", ...what } });
const hub = (what) => ({ [WEIGHTS]: { at: "hub", ...what } });

/** To a request with a range Chromium accepts no compressed answer, and lets no page see one: then the file is asked for
 *  whole, once. */
const compressed = {
  expect: "trace", notice: "no-ranges",
  check({ hub, path }) {
    const ranges = hub.ledger.answers(path).map(({ headers }) => headers.range ?? "whole");
    assert.deepEqual(ranges, ["bytes=0-7", "bytes=0-7", "whole"]);
  },
};

cases("faults that pass", () => lab, [
  { name: "nothing comes after the headers, once", faults: cdn(once({ ...inBody, stallAfter: 1000 })), expect: "trace" },
  { name: "the headers never come, once", faults: hub(once({ stall: true })), expect: "trace" },
  { name: "429 with Retry-After in seconds", faults: cdn(once({ ...inBody, status: 429, retryAfter: 1 })), expect: "trace", notice: "retrying" },
  { name: "429 with Retry-After as a date", faults: cdn(once({ status: 429, retryAfter: () => new Date(Date.now() + 2500) })), expect: "trace" },
  { name: "503 with Retry-After", faults: cdn(once({ status: 503, retryAfter: 1 })), expect: "trace" },
  { name: "the connection breaks in the tensors", faults: cdn(once({ dropAt: middle })), expect: "trace" },
  { name: "the connection is reset before the headers, twice", faults: cdn({ reset: true, times: 2 }), expect: "trace" },
  { name: "the body is cut, without a length", faults: cdn(once({ truncateAt: middle, noLength: true })), expect: "trace" },
  { name: "Content-Length is too large", faults: cdn(once({ ...inBody, lengthOff: 5000 })), expect: "trace" },
  { name: "Content-Length is too small", faults: cdn(once({ ...inBody, lengthOff: -5000 })), expect: "trace" },
  { name: "the server knows no ranges", faults: cdn({ noRange: true }), expect: "trace", notice: "no-ranges" },
  { name: "compressed settings", faults: { "config.json": { gzip: true } }, expect: "trace" },
  { name: "everything is compressed, and ranges are ignored", faults: cdn({ gzip: true }), ...compressed },
  { name: "everything is compressed, parts too", faults: cdn({ gzip: "parts" }), ...compressed },
  { name: "a folder's host compresses everything, and ignores ranges", folder: true, direct: true, faults: { [WEIGHTS]: { gzip: true } }, ...compressed },
  { name: "a folder's host compresses everything, parts too", folder: true, direct: true, faults: { [WEIGHTS]: { gzip: "parts" } }, ...compressed },
  { name: "a NaN, once", faults: cdn(once({ corrupt: [{ offset: spot, bytes: NAN }] })), expect: "trace" },
  { name: "a flipped bit, once: the hub's SHA-256 tells", faults: cdn(once({ corrupt: [{ offset: spot }] })), expect: "trace" },
  { name: "a signed address that is good for one answer", faults: cdn({ expireAfter: 1, times: 4 }), expect: "trace" },
  { name: "no header is exposed to other origins", faults: cdn({ expose: "" }), expect: "trace" },
  { name: "a trickle", faults: cdn({ ...inBody, rate: 400_000 }), expect: "trace" },
], { concurrency: 6 });

cases("faults that last", () => lab, [
  { name: "every connection is reset", faults: hub({ reset: true }), expect: "network" },
  { name: "a redirect to where nobody listens", faults: hub({ redirect: "dead" }), expect: "network" },
  { name: "a redirect that runs in circles", faults: hub({ redirect: "loop" }), expect: "network" },
  { name: "a CDN that lets no other origin read", faults: cdn({ noCors: true }), expect: "network" },
  { name: "every answer for the tensors is cut", faults: cdn({ truncateAt: middle }), expect: "corrupt-download", words: [/model\.safetensors/, /\d/] },
  { name: "a flipped bit", faults: cdn({ corrupt: [{ offset: spot }] }), expect: "corrupt-download", words: [/model\.safetensors/, /SHA-256/] },
  {
    name: "a config.json that unpacks to 60 MB", files: { "config.json": Buffer.alloc(60e6, " ") }, faults: { "config.json": { gzip: true } },
    expect: "bad-config", words: [/config\.json/, /MB/],
  },
], { concurrency: 6 });

const where = places(filesOf("large")[WEIGHTS]);
const block = (l) => ({ within: [where.get(`h.${l}.attn.c_attn.bias`)[0], where.get(`h.${l}.mlp.c_proj.weight`)[1]] });
const anywhere = { within: [where.get("h.0.attn.bias")[0], where.get("wte.weight")[1]] };

/** Resuming at the byte: what was sent twice is at most what was lost on its way in the broken connections. */
const resumed = (most) => ({ hub, path }) => {
  const twice = total(hub.overlaps(path));
  assert.ok(twice <= most, `${twice} bytes were sent twice: broken pieces are not resumed where they broke`);
};

cases("pieces", () => lab, [
  { name: "a piece stops coming in its middle, once", faults: cdn(once({ ...block(2), stallAfter: 1_000_000 })), expect: "trace" },
  { name: "four connections break, each after a megabyte", faults: cdn({ ...anywhere, dropAfter: 1_000_000, times: 4 }), expect: "trace", check: resumed(4_000_000) },
  { name: "a redirect in circles in the middle, once", faults: cdn(once({ ...block(1), redirect: "loop" })), expect: "trace" },
  { name: "sixteen requests at a time", options: { parallel: 16 }, faults: cdn({ ...anywhere, status: 503, times: 3 }), expect: "trace" },
  { name: "everything is compressed, and the connection breaks", faults: { [WEIGHTS]: [{ at: "cdn", gzip: true, dropAfter: 9_000_000, after: 2, times: 1 }, { at: "cdn", gzip: true }] }, expect: "trace", notice: "no-ranges" },
].map((row) => ({ model: "large", ...row })), { concurrency: 3 });
