// The Web Worker that the engine meets in Node (package/node): messages, nesting, errors, and files by slices.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { openSync, closeSync, ftruncateSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { after, test } from "node:test";
import { PACKAGE, scratch } from "./support.mjs";

const of = (name) => import(pathToFileURL(join(PACKAGE, "node", name)).href);
const { Thread } = await of("thread.js");
const { DiskFile } = await of("disk.js");
const folder = scratch(after);

/** A thread with this script, and its first messages or errors in order. */
function start(script, options) {
  const thread = new Thread(URL.createObjectURL(new Blob([script])), options);
  const heard = [];
  const waiting = [];
  const hear = (kind) => (event) => (waiting.shift() ?? ((found) => heard.push(found)))({ kind, ...event });
  thread.onmessage = hear("message");
  thread.onerror = hear("error");
  after(() => thread.terminate());
  return { thread, next: () => (heard.length > 0 ? heard.shift() : new Promise((done) => waiting.push(done))) };
}

test("messages go both ways in order, and buffers are moved", async () => {
  const { thread, next } = start(`
    self.onmessage = ({ data }) => self.postMessage(data, data instanceof ArrayBuffer ? [data] : []);
    self.postMessage([name, typeof location.href, navigator.hardwareConcurrency > 0, typeof document]);`, { name: "helper" });
  assert.deepEqual((await next()).data, ["helper", "string", true, "undefined"]);
  const buffer = new ArrayBuffer(8);
  thread.postMessage(buffer, [buffer]);
  thread.postMessage("then this");
  assert.equal(buffer.byteLength, 0, "the buffer was copied, not moved");
  assert.equal((await next()).data.byteLength, 8);
  assert.equal((await next()).data, "then this");
});

test("a worker starts another from its own address", async () => {
  const { next } = start(`
    if (name === "inner") self.postMessage("from inside");
    else new Worker(location.href, { name: "inner" }).onmessage = ({ data }) => self.postMessage(data);`);
  assert.equal((await next()).data, "from inside");
});

test("an error reaches the worker's own listeners first, and its owner unless they prevent it", async () => {
  const told = start(`
    self.addEventListener("error", (event) => { self.postMessage(event.message); event.preventDefault(); });
    setTimeout(() => { throw new Error("broken inside"); });`);
  assert.equal((await told.next()).data, "broken inside");
  const untold = start('setTimeout(() => { throw new Error("broken outright"); });');
  assert.deepEqual([await untold.next()].map(({ kind, message }) => [kind, message]), [["error", "broken outright"]]);
  const ended = start("process.exit(3);");
  assert.match((await ended.next()).message, /code 3/);
  assert.throws(() => new Thread("blob:nodedata:nowhere"), /no blob/);
});

test("a file on disk is read by slices, in any thread, and beyond 4 GiB", async () => {
  const path = join(folder, "large.bin");
  const [start_at, tail] = [5 * 2 ** 30, randomBytes(3 << 20)];
  const handle = openSync(path, "w");
  ftruncateSync(handle, start_at);
  writeSync(handle, tail, 0, tail.length, start_at);
  closeSync(handle);
  const file = await DiskFile.find(path);
  assert.equal(file.size, start_at + tail.length);
  assert.equal(file.name, "large.bin");
  assert.ok(file instanceof Blob);
  const digest = (bytes) => createHash("sha256").update(new Uint8Array(bytes)).digest("hex");
  const slice = file.slice(start_at);
  assert.equal(digest(await slice.arrayBuffer()), digest(tail));
  assert.deepEqual(Buffer.from(await slice.slice(10, 20).slice(-5, -1).arrayBuffer()), tail.subarray(15, 19));
  assert.equal(slice.slice(30, 20).size, 0);
  assert.equal(await DiskFile.find(folder), undefined);
  assert.equal(await DiskFile.find(join(folder, "nothing")), undefined);

  const { thread, next } = ((script) => start(script))(`
    self.onmessage = async ({ data: { files: [[name, file]] } }) => {
      const bytes = await file.slice(${start_at}, ${start_at} + 1000).arrayBuffer();
      self.postMessage([name, file instanceof Blob, file.size, bytes]);
    };`);
  thread.postMessage({ files: [["weights", file]] });
  const [name, isBlob, size, bytes] = (await next()).data;
  assert.deepEqual([name, isBlob, size], ["weights", true, file.size]);
  assert.equal(digest(bytes), digest(tail.subarray(0, 1000)));
});

test("a file that was cut short or written anew since it was opened is refused", async () => {
  const path = join(folder, "short.bin");
  writeFileSync(path, "0123456789");
  const file = await DiskFile.find(path);
  assert.equal(await file.text(), "0123456789");
  writeFileSync(path, "01234");
  await assert.rejects(file.text(), /changed on disk/);
});
