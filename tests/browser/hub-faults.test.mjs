// The stand-in hub's faults and its book-keeping, asked from node: what the tests of loading stand on.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { COMMIT, Hub } from "./hub.mjs";
import { NAN } from "./support/faults.mjs";
import { smallModel } from "./support/models.mjs";

const files = smallModel();
const whole = files["model.safetensors"];
const other = smallModel({ seed: 2 });
let hub, number = 0, repo;

before(async () => { hub = await new Hub().start(); });
after(() => hub.close());
beforeEach(async () => {
  hub.reset();
  number += 1;
  repo = `org/model-${number}`;
  await hub.add(repo, files);
});

const at = (name = "model.safetensors", revision = "main") => `${hub.origin}/${repo}/resolve/${revision}/${name}`;
const part = (start, end, address = at()) => fetch(address, { headers: { Range: `bytes=${start}-${end - 1}` } });
const bytesOf = async (response) => Buffer.from(await response.arrayBuffer());
const fault = (what) => hub.fault(`${repo}/model.safetensors`, what);
const body = async (what, start = 1000, end = 3000) => {
  fault({ at: "cdn", ...what });
  const response = await part(start, end);
  return { response, bytes: await bytesOf(response) };
};

test("a fault that is not known is refused, so that no test believes in it", () => {
  assert.throws(() => fault({ stahl: true }), /stahl/);
});

test("faults are chosen by place, count and bytes", async () => {
  fault({ at: "cdn", status: 500, after: 1, times: 1 });
  const statuses = [];
  for (let i = 0; i < 3; i += 1) statuses.push((await part(0, 8)).status);
  assert.deepEqual(statuses, [206, 500, 206]);
  fault({ at: "cdn", status: 502, within: [5000, 6000] });
  assert.deepEqual([(await part(0, 5000)).status, (await part(5999, 7000)).status], [206, 502]);
  hub.reset();
  assert.equal((await part(5999, 7000)).status, 206);
});

test("faults are chosen by the method", async () => {
  fault({ at: "cdn", method: "HEAD", status: 405 });
  assert.deepEqual([(await fetch(at(), { method: "HEAD" })).status, (await part(0, 8)).status], [405, 206]);
});

test("a fault of the body waits for the answer that has one, and for bytes that it reaches", async () => {
  const told = fault({ dropAt: 2000, times: 1 });
  assert.equal((await bytesOf(await part(0, 1000))).length, 1000);
  assert.equal(told.hits, 0, "a redirect, or an answer that ends before the place, counted as the fault");
  await assert.rejects(part(1000, 3000).then(bytesOf), "the connection did not break");
  assert.equal(hub.ledger.answers(repo + "/model.safetensors").at(-1).count, 1000);
});

test("wrong lengths, no ranges, compressed answers", async () => {
  assert.equal((await body({ truncateAt: 1010, times: 1 })).bytes.length, 10);
  assert.equal((await body({ lengthOff: -50, times: 1 })).bytes.length, 1950);
  await assert.rejects(body({ lengthOff: 50, times: 1 }), "a body shorter than its length came to a good end");
  const { response: all, bytes } = await body({ noRange: true, times: 1 });
  assert.deepEqual([all.status, bytes.length], [200, whole.length]);
  const { bytes: unpacked } = await body({ gzip: true, times: 1 });
  assert.ok(unpacked.equals(whole));
  const { response: packed, bytes: inside } = await body({ gzip: "parts", times: 1 });
  assert.deepEqual([packed.status, packed.headers.get("content-encoding")], [206, "gzip"]);
  assert.ok(inside.equals(whole.subarray(1000, 3000)));
});

test("damaged bytes, wherever the answer begins", async () => {
  const { bytes } = await body({ corrupt: [{ offset: 1998, bytes: NAN }, { offset: 2500 }], times: 2 });
  assert.ok(bytes.subarray(998, 1002).equals(NAN));
  assert.equal(bytes[1500], whole[2500] ^ 0x10);
  assert.deepEqual([...await bytesOf(await part(2000, 2002))], [...NAN.subarray(2)]);
  assert.ok((await bytesOf(await part(1000, 3000))).equals(whole.subarray(1000, 3000)));
});

test("headers that are hidden", async () => {
  assert.equal((await body({ noCors: true, times: 1 })).response.headers.get("access-control-allow-origin"), null);
  assert.equal((await body({ expose: "", times: 1 })).response.headers.get("access-control-expose-headers"), "");
  fault({ at: "cdn", status: 503, retryAfter: new Date(0), times: 1 });
  assert.equal((await part(0, 8)).headers.get("retry-after"), "Thu, 01 Jan 1970 00:00:00 GMT");
});

test("connections that are reset, stall, or lead nowhere", async () => {
  fault({ at: "cdn", reset: true, times: 2 });
  await assert.rejects(part(0, 8), "the connection was to be reset");
  hub.reset();
  for (const stalled of [{ stall: true }, { stallAfter: 4 }]) {
    fault({ at: "cdn", times: 1, ...stalled });
    await assert.rejects(fetch(at(), { signal: AbortSignal.timeout(300) }).then(bytesOf), { name: "TimeoutError" });
  }
  for (const redirect of ["loop", "dead"]) {
    fault({ at: "hub", redirect, times: 50 });
    await assert.rejects(part(0, 8), `redirect: ${redirect}`);
    hub.reset();
  }
});

test("signed addresses expire after so many answers", async () => {
  fault({ at: "cdn", expireAfter: 2 });
  const { url } = await part(0, 8);
  assert.equal((await part(0, 8, url)).status, 206);
  const refused = await part(0, 8, url);
  assert.equal(refused.status, 403);
  assert.match(await refused.text(), /AccessDenied/);
});

test("a push changes the commit, the hashes and the bytes, and leaves the old commit as it was", async () => {
  const { url } = await part(0, 8);
  const commit = await hub.replace(repo, other);
  assert.notEqual(commit, COMMIT);
  const { sha } = await (await fetch(`${hub.origin}/api/models/${repo}/revision/main`)).json();
  assert.equal(sha, commit);
  assert.ok((await bytesOf(await fetch(at()))).equals(other["model.safetensors"]));
  for (const old of [at("model.safetensors", COMMIT), url]) assert.ok((await bytesOf(await fetch(old))).equals(whole));
  // On a plain web server there is no old commit.
  await hub.replace(repo, files, { commit });
  assert.ok((await bytesOf(await fetch(at()))).equals(whole));
});

test("the hub's accounts of itself fail too", async () => {
  hub.fault(`api/${repo}/revision`, { status: 404 });
  assert.equal((await fetch(`${hub.origin}/api/models/${repo}/revision/main`)).status, 404);
});

test("the books: bytes sent, runs sent twice, answers at the same time", async () => {
  const name = `${repo}/model.safetensors`;
  await bytesOf(await part(0, 1000));
  await bytesOf(await part(900, 2000));
  await bytesOf(await part(2000, 2500));
  assert.equal(hub.sent(name), 2600);
  assert.deepEqual(hub.overlaps(name), [[900, 1000]]);
  assert.deepEqual(hub.ledger.covered(name), [[0, 2500]]);
  assert.deepEqual(hub.ledger.ranges(name), [[0, 1000], [900, 2000], [2000, 2500]]);
  assert.equal(hub.ledger.busiest(name), 1, "answers one after the other count as at the same time");
  fault({ at: "cdn", hold: sleep(100) });
  await Promise.all([1, 2, 3].map(() => part(0, 10).then(bytesOf)));
  assert.equal(hub.ledger.busiest(name), 3);
  assert.deepEqual(hub.violations(), []);
});
