// Servers that refuse, break off, lie and change their mind, for a file that is read in one pass: every load ends in
// the right trace or in the right code, and spoils no later one.
import assert from "node:assert/strict";
import { after, before } from "node:test";
import { INFINITE, NAN } from "./support/faults.mjs";
import { openLab } from "./support/lab.mjs";
import { cases, filesOf, rightTrace, WEIGHTS } from "./support/loads.mjs";
import { places } from "./support/models.mjs";

let lab;
before(async () => {
  lab = await openLab();
  await rightTrace(lab, "small");
});
after(() => lab?.close());

const file = filesOf("small")[WEIGHTS];
const header = 8 + Number(file.readBigUInt64LE(0));
const middle = header + ((file.length - header) >> 1);
const damaged = "h.1.mlp.c_fc.weight";
const spot = places(file).get(damaged)[0] + 400;
const once = (what) => ({ times: 1, ...what });
/** The answers with the tensors' bytes, not those with the header. */
const inBody = { within: [header, file.length] };
const cdn = (what) => ({ [WEIGHTS]: { at: "cdn", ...what } });
const hub = (what) => ({ [WEIGHTS]: { at: "hub", ...what } });

const asksOnce = (where) => ({ hub, path }) => {
  const asked = hub.requests.filter((note) => note.where === where && decodeURIComponent(note.url).includes(`/${path.split("/").at(-2)}/`));
  const files = asked.filter((note) => decodeURIComponent(note.url).includes(WEIGHTS));
  assert.ok(files.length <= 2, `the server asked to wait for an hour, and was asked ${files.length} times`);
};

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
  { name: "503 from the hub, once", faults: hub(once({ status: 503 })), expect: "trace" },
  { name: "500 from the CDN, three times", faults: cdn({ status: 500, times: 3 }), expect: "trace" },
  { name: "502 for the tensors, twice", faults: cdn({ ...inBody, status: 502, times: 2 }), expect: "trace" },
  { name: "503 for config.json, once", faults: { "config.json": once({ status: 503 }) }, expect: "trace" },
  { name: "429 with Retry-After in seconds", faults: cdn(once({ ...inBody, status: 429, retryAfter: 1 })), expect: "trace", notice: "retrying" },
  { name: "429 with Retry-After while the header is read", faults: cdn(once({ status: 429, retryAfter: 1 })), expect: "trace" },
  { name: "429 with Retry-After as a date", faults: cdn(once({ status: 429, retryAfter: () => new Date(Date.now() + 2500) })), expect: "trace" },
  { name: "429 without Retry-After, once", faults: hub(once({ status: 429 })), expect: "trace" },
  { name: "503 with Retry-After", faults: cdn(once({ status: 503, retryAfter: 1 })), expect: "trace" },
  { name: "Retry-After that makes no sense", faults: cdn(once({ status: 503, retryAfter: "soon, we hope" })), expect: "trace" },
  { name: "the connection breaks in the header", faults: cdn(once({ dropAt: 200 })), expect: "trace" },
  { name: "the connection breaks in the tensors", faults: cdn(once({ dropAt: middle })), expect: "trace" },
  { name: "the connection breaks again and again, each time further on", faults: cdn({ ...inBody, dropAfter: 90_000, times: 6 }), expect: "trace" },
  { name: "the connection breaks before the first byte", faults: cdn(once({ ...inBody, dropAfter: 0 })), expect: "trace" },
  { name: "the connection is reset before the headers, twice", faults: cdn({ reset: true, times: 2 }), expect: "trace" },
  { name: "the hub's connection is reset, once", faults: hub(once({ reset: true })), expect: "trace" },
  { name: "the body is cut, and its length says so", faults: cdn(once({ truncateAt: middle })), expect: "trace" },
  { name: "the body is cut, without a length", faults: cdn(once({ truncateAt: middle, noLength: true })), expect: "trace" },
  { name: "the header is cut", faults: cdn(once({ truncateAt: 300, noLength: true })), expect: "trace" },
  { name: "no Content-Length at all", faults: cdn({ noLength: true }), expect: "trace" },
  { name: "Content-Length is too large", faults: cdn(once({ ...inBody, lengthOff: 5000 })), expect: "trace" },
  { name: "Content-Length is too small", faults: cdn(once({ ...inBody, lengthOff: -5000 })), expect: "trace" },
  { name: "the wrong range comes, and Content-Range says so", faults: cdn(once({ ...inBody, shift: 4096 })), expect: "trace" },
  { name: "Content-Range claims another start", faults: cdn(once({ ...inBody, rangeLie: 4096 })), expect: "trace" },
  { name: "Content-Range claims another size while the header is read", faults: cdn(once({ totalOff: 4096 })), expect: ["trace", "corrupt-download", "bad-safetensors"] },
  { name: "never more than 100 kB at a time", faults: cdn({ cap: 100_000 }), expect: "trace" },
  { name: "fewer bytes than asked for, once", faults: cdn(once({ ...inBody, extend: -70_000 })), expect: "trace" },
  { name: "more bytes than asked for while the header is read", faults: cdn(once({ extend: 64 })), expect: "trace" },
  { name: "the server knows no ranges", faults: cdn({ noRange: true }), expect: "trace", notice: "no-ranges" },
  { name: "the server knows no ranges and tells no length", faults: cdn({ noRange: true, noLength: true }), expect: "trace" },
  { name: "the server knows no ranges, and its connection breaks", faults: { [WEIGHTS]: [{ at: "cdn", noRange: true, dropAt: middle, times: 1 }, { at: "cdn", noRange: true }] }, expect: "trace" },
  { name: "ranges are unknown from the second answer on", faults: cdn({ noRange: true, after: 1 }), expect: "trace" },
  { name: "ranges are unknown from the third answer on", faults: cdn({ noRange: true, after: 2 }), expect: "trace" },
  { name: "compressed settings", faults: { "config.json": { gzip: true } }, expect: "trace" },
  { name: "everything is compressed, and ranges are ignored", faults: cdn({ gzip: true }), ...compressed },
  { name: "everything is compressed, parts too", faults: cdn({ gzip: "parts" }), ...compressed },
  { name: "a folder's host compresses everything, and ignores ranges", folder: true, direct: true, faults: { [WEIGHTS]: { gzip: true } }, ...compressed },
  { name: "a folder's host compresses everything, parts too", folder: true, direct: true, faults: { [WEIGHTS]: { gzip: "parts" } }, ...compressed },
  { name: "a NaN, once", faults: cdn(once({ corrupt: [{ offset: spot, bytes: NAN }] })), expect: "trace" },
  { name: "a NaN, once, where no hash is known", folder: true, faults: cdn(once({ corrupt: [{ offset: spot, bytes: NAN }] })), expect: "trace" },
  { name: "infinity, once", faults: cdn(once({ corrupt: [{ offset: spot, bytes: INFINITE }] })), expect: "trace" },
  { name: "a flipped bit, once: the hub's SHA-256 tells", faults: cdn(once({ corrupt: [{ offset: spot }] })), expect: "trace" },
  { name: "a signed address that is good for one answer", faults: cdn({ expireAfter: 1, times: 4 }), expect: "trace" },
  { name: "all signed addresses expire after the header", faults: cdn(once({ ...inBody, at: "cdn", status: 403 })), expect: "trace" },
  { name: "the API is not there", faults: { "api/revision": { status: 404 }, "api/tree": { status: 404 } }, mayMiss: true, expect: "trace" },
  { name: "the API fails", faults: { "api/revision": { status: 500 }, "api/tree": { status: 500 } }, mayMiss: true, expect: "trace" },
  { name: "the API refuses", faults: { "api/revision": { status: 429 }, "api/tree": { status: 403 } }, mayMiss: true, expect: "trace" },
  { name: "the API answers with a web page", faults: { "api/revision": { body: "<!doctype html>", type: "text/html" }, "api/tree": { body: "" } }, mayMiss: true, expect: "trace" },
  { name: "the API answers with other JSON", faults: { "api/revision": { body: '{"sha":7}' }, "api/tree": { body: '{"error":["x"]}' } }, mayMiss: true, expect: "trace" },
  { name: "the API has no end of answers, and of none that is true", faults: { "api/revision": { body: JSON.stringify({ sha: "0".repeat(40) }).padEnd(17e6) } }, expect: "trace" },
  { name: "the API's tree is not there", faults: { "api/tree": { status: 404 } }, expect: "trace" },
  { name: "the API is slow", faults: { "api/revision": { delay: 800 }, "api/tree": { delay: 800 } }, expect: "trace" },
  { name: "no X-Repo-Commit", faults: hub({ noCommit: true }), expect: "trace" },
  { name: "no ETag", faults: cdn({ etag: null }), expect: "trace" },
  { name: "no header is exposed to other origins", faults: cdn({ expose: "" }), expect: "trace" },
  { name: "nothing is exposed, and there is no API", faults: { ...cdn({ expose: "" }), "api/revision": { status: 404 } }, expect: "trace" },
  { name: "a weak ETag", faults: cdn({ etag: 'W/"abc"' }), expect: "trace" },
  { name: "another ETag with every answer", faults: cdn({ etag: "changing" }), expect: ["trace", "corrupt-download"] },
  { name: "a trickle", faults: cdn({ ...inBody, rate: 400_000 }), expect: "trace" },
], { concurrency: 6 });

cases("faults that last", () => lab, [
  { name: "500 from the hub", faults: hub({ status: 500 }), expect: "network", words: [/500/, /model\.safetensors/] },
  { name: "500 from the CDN", faults: cdn({ status: 500 }), expect: "network", words: [/500/] },
  { name: "500 for the tensors only", faults: cdn({ ...inBody, status: 500 }), expect: "network", words: [/500/] },
  { name: "500 for config.json", faults: { "config.json": { status: 500 } }, expect: "network", words: [/config\.json/] },
  { name: "429", faults: hub({ status: 429 }), expect: "rate-limited", words: [/429|wait/] },
  { name: "429 from the CDN, with an hour to wait", faults: cdn({ status: 429, retryAfter: 3600 }), expect: "rate-limited", words: [/3600|hour|60 min/], check: asksOnce("hub") },
  { name: "503 with an hour to wait", faults: cdn({ status: 503, retryAfter: 3600 }), expect: ["network", "rate-limited"], check: asksOnce("hub") },
  { name: "every connection is reset", faults: hub({ reset: true }), expect: "network" },
  { name: "every connection breaks in the tensors", faults: cdn({ dropAt: middle }), expect: "network", words: [/model\.safetensors/] },
  { name: "a redirect to where nobody listens", faults: hub({ redirect: "dead" }), expect: "network" },
  { name: "a redirect that runs in circles", faults: hub({ redirect: "loop" }), expect: "network" },
  { name: "a CDN that lets no other origin read", faults: cdn({ noCors: true }), expect: "network" },
  { name: "404", faults: hub({ status: 404 }), expect: "not-found", words: [/model\.safetensors/] },
  { name: "401", faults: hub({ status: 401 }), expect: "not-found", words: [/401/] },
  { name: "403", faults: hub({ status: 403 }), expect: "not-found", words: [/403/] },
  { name: "a CDN that refuses every signed address", faults: cdn({ expireAfter: 0 }), expect: ["not-found", "network"], words: [/403/] },
  { name: "every answer for the tensors is cut", faults: cdn({ truncateAt: middle }), expect: "corrupt-download", words: [/model\.safetensors/, /\d/] },
  { name: "every whole answer is cut", faults: cdn({ noRange: true, truncateAt: middle }), expect: "corrupt-download", words: [/model\.safetensors/] },
  { name: "the wrong range, always", faults: cdn({ ...inBody, shift: 4096 }), expect: ["network", "corrupt-download"] },
  { name: "416 for everything", faults: cdn({ status: 416 }), expect: ["corrupt-download", "network", "bad-safetensors"] },
  { name: "a NaN", faults: cdn({ corrupt: [{ offset: spot, bytes: NAN }] }), expect: "corrupt-download", words: [/h\.1\.mlp\.c_fc\.weight|SHA-256/] },
  { name: "a NaN, where no hash is known", folder: true, faults: cdn({ corrupt: [{ offset: spot, bytes: NAN }] }), expect: "corrupt-download", words: [/h\.1\.mlp\.c_fc\.weight/, new RegExp(String(spot))] },
  { name: "infinity, from a server without ranges", folder: true, direct: true, faults: { [WEIGHTS]: { noRange: true, corrupt: [{ offset: spot, bytes: INFINITE }] } }, expect: "corrupt-download", words: [/h\.1\.mlp\.c_fc\.weight/, new RegExp(String(spot))] },
  { name: "a flipped bit", faults: cdn({ corrupt: [{ offset: spot }] }), expect: "corrupt-download", words: [/model\.safetensors/, /SHA-256/] },
  { name: "a flipped bit, from a server without ranges", faults: cdn({ noRange: true, corrupt: [{ offset: spot }] }), expect: "corrupt-download", words: [/SHA-256/] },
  { name: "a sign-in page instead of everything", faults: { "config.json": { body: "<!doctype html>Sign in", type: "text/html" } }, expect: "bad-config", words: [/config\.json/] },
  { name: "a sign-in page instead of the weights", faults: hub({ body: "<!doctype html>Sign in".padEnd(5000) }), direct: true, expect: "bad-safetensors", words: [/model\.safetensors/] },
  { name: "half of config.json", faults: { "config.json": { truncateAfter: 40 } }, expect: "bad-config", words: [/config\.json/] },
], { concurrency: 6 });
