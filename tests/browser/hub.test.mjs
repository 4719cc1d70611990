// The stand-in hub itself: what the other tests rely on, asked from node.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, beforeEach, test } from "node:test";
import { COMMIT, Hub } from "./hub.mjs";
import { tinyModel } from "./support/models.mjs";

let hub;
const files = tinyModel();
const weights = files["model.safetensors"];
const at = (name, how = "resolve/main") => `${hub.origin}/org/tiny/${how}/${name}`;

before(async () => {
  hub = await new Hub().start();
  await hub.add("org/tiny", files);
});
after(() => hub.close());
beforeEach(() => hub.reset());

test("a small file comes from the hub itself", async () => {
  const response = await fetch(at("config.json"), { headers: { Origin: "http://page" } });
  assert.equal(response.headers.get("access-control-allow-origin"), "http://page");
  assert.equal(response.headers.get("x-repo-commit"), COMMIT);
  assert.equal((await response.json()).model_type, "gpt2");
});

test("a large file is a redirect to another origin, with size and hash beside it", async () => {
  const response = await fetch(at("model.safetensors"), { redirect: "manual" });
  assert.equal(response.status, 302);
  assert.ok(response.headers.get("location").startsWith(hub.cdn));
  assert.equal(Number(response.headers.get("x-linked-size")), weights.length);
  const digest = createHash("sha256").update(weights).digest("hex");
  assert.equal(response.headers.get("x-linked-etag"), `"${digest}"`);

  const body = Buffer.from(await (await fetch(at("model.safetensors"))).arrayBuffer());
  assert.ok(body.equals(weights), "the CDN's bytes differ from the file's");
  assert.equal(hub.bytes, weights.length);
  assert.deepEqual(hub.requests.map((request) => request.where), ["hub", "hub", "cdn"]);
});

test("ranges", async () => {
  const response = await fetch(at("model.safetensors"), { headers: { Range: "bytes=8-15" } });
  assert.equal(response.status, 206);
  assert.equal(response.headers.get("content-range"), `bytes 8-15/${weights.length}`);
  assert.ok(Buffer.from(await response.arrayBuffer()).equals(weights.subarray(8, 16)));
  const beyond = await fetch(at("model.safetensors"), { headers: { Range: `bytes=${weights.length}-` } });
  assert.equal(beyond.status, 416);
});

test("the API knows commit, sizes and hashes; what is missing is refused as the hub does", async () => {
  const revision = await (await fetch(`${hub.origin}/api/models/org/tiny/revision/main`)).json();
  assert.equal(revision.sha, COMMIT);
  const tree = await (await fetch(`${hub.origin}/api/models/org/tiny/tree/main`)).json();
  assert.equal(tree.find((file) => file.path === "model.safetensors").lfs.size, weights.length);
  const pointer = await (await fetch(at("model.safetensors", "raw/main"))).text();
  assert.match(pointer, new RegExp(`size ${weights.length}\n`));
  assert.equal((await fetch(at("tokenizer.json"))).status, 404);
  assert.equal((await fetch(at("config.json", "resolve/other"))).status, 404);
  assert.equal((await fetch(`${hub.origin}/org/none/resolve/main/config.json`)).status, 401);
});

test("faults happen when told to, as often as told", async () => {
  hub.fault("config.json", { status: 429, retryAfter: 7, times: 1 });
  const refused = await fetch(at("config.json"));
  assert.equal(refused.status, 429);
  assert.equal(refused.headers.get("retry-after"), "7");
  assert.equal((await fetch(at("config.json"))).status, 200);

  hub.fault("model.safetensors", { dropAt: 100 });
  await assert.rejects(fetch(at("model.safetensors")).then((response) => response.arrayBuffer()));
  hub.reset();
  hub.fault("model.safetensors", { truncateAt: 100, noLength: true });
  const short = await fetch(at("model.safetensors"));
  assert.equal(short.headers.get("content-length"), null);
  assert.equal((await short.arrayBuffer()).byteLength, 100);
  hub.reset();
  hub.fault("config.json", { body: "<!doctype html>", type: "text/html" });
  assert.match(await (await fetch(at("config.json"))).text(), /doctype/);
  hub.reset();
  hub.fault("model.safetensors", { rate: weights.length * 4 });
  const start = Date.now();
  await (await fetch(at("model.safetensors"))).arrayBuffer();
  assert.ok(Date.now() - start > 150, "a slow answer came at once");
});

test("requests that a page could not make without a preflight are noticed", async () => {
  await fetch(at("config.json"), { headers: { "X-Own": "1" } });
  await fetch(at("config.json"), { headers: { Range: "bytes=-4" } });
  await fetch(at("config.json"), { method: "OPTIONS", headers: { "Access-Control-Request-Headers": "x-own" } });
  const found = hub.violations().join("\n");
  for (const word of ["x-own", "bytes=-4", "preflight"]) assert.match(found, new RegExp(word));
});
