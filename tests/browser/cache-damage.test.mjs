// A storage that cannot be trusted: damaged, torn, foreign, full, forbidden. No load fails for it, none believes it,
// and what is damaged is fetched again, not more.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { launchPersistent } from "./support/browser.mjs";
import { openLab, SITE, SITE_PATH } from "./support/lab.mjs";
import { filesOf, IDS, isTrace, load, rightTrace, WEIGHTS } from "./support/loads.mjs";
import { isMask, places } from "./support/models.mjs";
import { serve } from "./support/site.mjs";
import { damage, dataBytes, stored, unlocked } from "./support/opfs.mjs";

const wanted = [...places(filesOf("medium")[WEIGHTS])].filter(([name]) => !isMask(name)).reduce((sum, [, [from, to]]) => sum + to - from, 0);
/** A piece, at most. */
const PIECE = 8 << 20;

let lab, number = 0, repo, file;
before(async () => {
  lab = await openLab();
  await rightTrace(lab, "medium");
});
after(() => lab?.close());
beforeEach(() => {
  assert.deepEqual(lab.hub.violations(), [], "the test before left requests that a plain page could not make");
  lab.hub.reset();
});

/** A repo of its own for every test; `page`: and a page with an empty storage. */
async function begin({ page = true, ...options } = {}) {
  if (page) await lab.freshPage(options);
  number += 1;
  repo = `damage/m-${number}`;
  file = `${repo}/${WEIGHTS}`;
  await lab.hub.add(repo, filesOf("medium"));
}

async function loads(what, options = {}) {
  const found = await load(lab, repo, IDS.large, options);
  isTrace(what, found, await rightTrace(lab, "medium"));
  return found;
}

// [what, ending of the files' names, how, bytes that may be fetched again: at least, at most]
const DAMAGES = [
  ["a flipped bit in the data", ".data", { flip: [5_345_678] }, 1, PIECE],
  ["flipped bits at both ends of the data", ".data", { flip: [0, -1] }, 1, 2 * PIECE],
  ["the data cut in half", ".data", { cut: wanted >> 1 }, 1, wanted],
  ["the last byte of the data missing", ".data", { cut: -1 }, 1, PIECE],
  ["noise behind the data", ".data", { append: 5000 }, 0, 0],
  ["the data emptied", ".data", { cut: 0 }, wanted, wanted + PIECE],
  ["the data replaced", ".data", { text: "not what it was" }, wanted, wanted + PIECE],
  ["the data removed", ".data", { remove: true }, wanted, wanted + PIECE],
  ["a flipped bit in a journal record", ".journal", { flip: [24 + 40 + 3] }, 0, PIECE],
  ["a flipped bit in the journal's last record", ".journal", { flip: [-1] }, 0, PIECE],
  ["a flipped bit in the journal's head", ".journal", { flip: [9] }, 0, wanted + PIECE],
  ["the journal torn in a record", ".journal", { cut: -13 }, 0, PIECE],
  ["noise behind the journal", ".journal", { append: 100 }, 0, 0],
  ["the journal emptied", ".journal", { cut: 0 }, 0, wanted + PIECE],
  ["the journal removed", ".journal", { remove: true }, 0, wanted + PIECE],
  ["about.json torn", "about.json", { cut: 20 }, 0, wanted + PIECE],
  ["about.json of another kind", "about.json", { text: '{"version":99,"files":[1,2]}' }, 0, wanted + PIECE],
  ["about.json removed", "about.json", { remove: true }, 0, wanted + PIECE],
  ["the kept config.json damaged", "config.json", { flip: [30] }, 0, 0],
  ["the kept config.json emptied", "config.json", { cut: 0 }, 0, 0],
];

for (const [what, ending, how, least, most] of DAMAGES) {
  test(`damaged: ${what}`, async () => {
    await begin({ page: false });
    await loads("first");
    await unlocked(lab.page);
    const spoiled = await damage(lab.page, `_m-${number}_`, ending, how);
    assert.ok(spoiled > 0, `there is no ${ending} in the storage: ${JSON.stringify(await stored(lab.page))}`);
    const before = lab.hub.sent(file);
    await loads(`with ${what}`);
    const again = lab.hub.sent(file) - before;
    await unlocked(lab.page);
    assert.ok(again >= least && again <= most, `${again} bytes of the weights were fetched again, ${least} to ${most} were to be expected`);
    lab.hub.reset();
    await loads("third visit");
    assert.equal(lab.hub.sent(file), 0, "third visit: what was mended was not kept");
  });
}

const rejects = (name, method, error) =>
  `self.${name} && (${name}.prototype.${method} = function () { return Promise.reject(new DOMException("told to", "${error}")); })`;
const missing = (name, method) => `self.${name} && delete ${name}.prototype.${method}`;
const throws = (method, error, after = 0) => `{
  const Handle = self.FileSystemSyncAccessHandle, original = Handle?.prototype.${method};
  let bytes = 0;
  if (Handle) Handle.prototype.${method} = function (...given) {
    bytes += given[0]?.byteLength ?? 0;
    if (bytes >= ${after}) throw new DOMException("told to", "${error}");
    return original.apply(this, given);
  };
}`;
const writesLess = (after) => `{
  const Handle = self.FileSystemSyncAccessHandle, original = Handle?.prototype.write;
  let bytes = 0;
  if (Handle) Handle.prototype.write = function (given, options) {
    bytes += given.byteLength;
    return original.call(this, bytes > ${after} ? new Uint8Array(given.buffer ?? given, given.byteOffset ?? 0, given.byteLength >> 1) : given, options);
  };
}`;
const estimates = (answer) => `self.StorageManager && (StorageManager.prototype.estimate = () => ${answer})`;

// [what, code for the engine's workers, the notice that must come]
const FAILURES = [
  ["getDirectory throws, as in private windows", rejects("StorageManager", "getDirectory", "SecurityError"), "storage-unavailable"],
  ["getDirectory is missing", missing("StorageManager", "getDirectory"), "storage-unavailable"],
  ["no access handles", rejects("FileSystemFileHandle", "createSyncAccessHandle", "NotAllowedError"), "storage-unavailable"],
  ["access handles are missing", missing("FileSystemFileHandle", "createSyncAccessHandle"), "storage-unavailable"],
  ["files are locked by another tab", rejects("FileSystemFileHandle", "createSyncAccessHandle", "NoModificationAllowedError"), "storage-busy"],
  ["no folder can be made", rejects("FileSystemDirectoryHandle", "getDirectoryHandle", "InvalidStateError"), null],
  ["full at once", throws("write", "QuotaExceededError"), "storage-full"],
  ["full after six megabytes", throws("write", "QuotaExceededError", 6_000_000), "storage-full"],
  ["half of each write is lost after six megabytes", writesLess(6_000_000), "storage-full"],
  ["writing fails", throws("write", "UnknownError", 3_000_000), "storage-unavailable"],
  ["flushing fails", throws("flush", "UnknownError"), null],
  ["truncating fails", throws("truncate", "UnknownError"), null],
  ["the size cannot be told", throws("getSize", "InvalidStateError"), null],
  ["estimate rejects", estimates('Promise.reject(new TypeError("told to"))'), null],
  ["estimate says that nothing is left", estimates("Promise.resolve({ usage: 5e6, quota: 5e6 })"), "storage-full"],
  ["estimate says nothing", estimates("Promise.resolve({})"), null],
  ["no storage manager", "Object.defineProperty(WorkerNavigator.prototype, 'storage', { value: undefined })", "storage-unavailable"],
];

for (const [what, inWorkers, kind] of FAILURES) {
  test(`the storage fails: ${what}`, async () => {
    await begin({ inWorkers });
    const found = await loads("first");
    const kinds = found.notices.map((notice) => notice.kind);
    if (kind) assert.ok(kinds.includes(kind), `no notice "${kind}" came: ${JSON.stringify(found.notices)}`);
    for (const { message } of found.notices) assert.ok(message.length > 20, `a notice says only "${message}"`);
    assert.equal(kinds.length, new Set(kinds).size, `a notice came twice: ${JSON.stringify(kinds)}`);
    await loads("second, with the same failure");
    // A tab of the same profile in which nothing fails.
    lab.page = await lab.secondPage();
    await unlocked(lab.page);
    await loads("in another tab");
    await loads("in another tab, again");
  });
}

test("reading what is kept fails: it is fetched again", async () => {
  await begin({ inWorkers: `if (self.name === "" && self.location) { ${throws("read", "NotReadableError", 1_000_000)} }` });
  const whole = await lab.secondPage();
  isTrace("kept in another tab", await load(lab, repo, IDS.large, { page: whole }), await rightTrace(lab, "medium"));
  await whole.close();
  await unlocked(lab.page);
  await loads("where reading fails");
});

for (const quota of [100_000, 6_000_000]) {
  test(`a quota of ${quota} bytes`, async () => {
    await begin();
    const session = await lab.page.context().newCDPSession(lab.page);
    await session.send("Storage.overrideQuotaForOrigin", { origin: lab.site.origin, quotaSize: quota });
    const found = await loads("first");
    assert.ok(found.notices.some(({ kind }) => kind === "storage-full"), `no notice "storage-full": ${JSON.stringify(found.notices)}`);
    assert.ok((await dataBytes(lab.page)) <= quota, "more is kept than the quota allows");
    await session.send("Storage.overrideQuotaForOrigin", { origin: lab.site.origin });
    await loads("second, with room");
    await unlocked(lab.page);
    lab.hub.reset();
    await loads("third");
    assert.equal(lab.hub.sent(file), 0, "third: the model was not kept though there is room now");
  });
}

test("site data is cleared during a download: the load comes to its end, and says that nothing is kept", async () => {
  await begin({ page: false });
  // Private windows have their files in memory, where this does no harm.
  const profile = mkdtempSync(join(tmpdir(), "residual-stream-profile-"));
  const context = await launchPersistent(profile);
  const page = await context.newPage();
  await lab.bring(page);
  let arrived;
  const began = new Promise((done) => { arrived = done; });
  const [block] = places(filesOf("medium")[WEIGHTS]).get("h.1.attn.c_attn.weight");
  let release;
  const hold = new Promise((done) => { release = done; });
  lab.hub.fault(file, { at: "cdn", within: [block, block + 1], call: arrived, hold });
  const loading = load(lab, repo, IDS.large, { page });
  await began;
  const session = await context.newCDPSession(page);
  await session.send("Storage.clearDataForOrigin", { origin: lab.site.origin, storageTypes: "all" });
  release();
  const found = await loading;
  isTrace("with its storage gone", found, await rightTrace(lab, "medium"));
  const kinds = found.notices.map(({ kind }) => kind);
  assert.deepEqual(kinds, ["storage-unavailable"], JSON.stringify(found.notices));
  isTrace("once more", await load(lab, repo, IDS.large, { page }), await rightTrace(lab, "medium"));
  await context.close();
  rmSync(profile, { recursive: true, force: true });
});

test("an origin that is none has no storage, and loads", async () => {
  await begin();
  // To a sandboxed frame every address is another origin's.
  const site = await serve({ mounts: { [SITE_PATH]: SITE }, cors: true });
  const found = await lab.page.evaluate(async ({ address, hub, repo }) => {
    const frame = document.createElement("iframe");
    frame.sandbox = "allow-scripts";
    frame.srcdoc = `<script type="module">
      try {
        const rs = await import(${JSON.stringify(address)});
        const kinds = [];
        const model = await rs.loadModel(${JSON.stringify(repo)}, { hub: ${JSON.stringify(hub)}, onNotice: ({ kind }) => kinds.push(kind) });
        const trace = await model.traceTokens([[1, 2]], { predictions: false });
        parent.postMessage({ kinds, norms: [...trace.sequences[0].attn_norm] }, "*");
      } catch (error) { parent.postMessage({ failed: String(error) }, "*"); }
    </script>`;
    const answer = new Promise((done) => addEventListener("message", ({ data }) => done(data)));
    document.body.append(frame);
    return answer;
  }, { address: `${site.origin}${SITE_PATH}pkg/residual-stream.js`, hub: lab.hub.origin, repo });
  await lab.page.close();
  await site.close();
  assert.equal(found.failed, undefined, `in a sandboxed frame: ${found.failed}`);
  assert.ok(found.kinds.includes("storage-unavailable"), `notices: ${found.kinds}`);
  assert.ok(found.norms.every((norm) => norm > 0), `norms: ${found.norms}`);
});
