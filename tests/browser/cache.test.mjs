// Weights kept in the browser's storage: second visits, interrupted visits, changed models, two tabs, no network.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { until } from "./support/browser.mjs";
import { COMMIT, Hub } from "./hub.mjs";
import { openLab } from "./support/lab.mjs";
import { filesOf, IDS, isTrace, load, reference, rightTrace, WEIGHTS } from "./support/loads.mjs";
import { total } from "./support/ledger.mjs";
import { isMask, largeModel, places } from "./support/models.mjs";
import { dataBytes, stored, unlocked } from "./support/opfs.mjs";

const wanted = [...places(filesOf("large")[WEIGHTS])].filter(([name]) => !isMask(name)).reduce((sum, [, [from, to]]) => sum + to - from, 0);
const header = 8 + Number(filesOf("large")[WEIGHTS].readBigUInt64LE(0));
const other = largeModel({ seed: 2 });

let lab, number = 0, repo, file;
before(async () => {
  lab = await openLab();
  for (const model of ["small", "large", "shards"]) await rightTrace(lab, model);
});
after(() => lab?.close());
// Every test has a repo of its own, and a profile with an empty storage.
beforeEach(async () => {
  assert.deepEqual(lab.hub.violations(), [], "the test before left requests that a plain page could not make");
  lab.hub.reset();
  await lab.freshPage();
  number += 1;
  repo = `kept/large-${number}`;
  file = `${repo}/${WEIGHTS}`;
  await lab.hub.add(repo, filesOf("large"));
});

async function loads(what, { source = repo, model = "large", ...options } = {}) {
  const found = await load(lab, source, model === "small" ? IDS.small : IDS.large, options);
  isTrace(what, found, await rightTrace(lab, model));
  return found;
}

function sendsNothing(what, path = file) {
  assert.equal(lab.hub.sent(path), 0, `${what}: bytes of the weights were sent though they are in the storage`);
  const asked = lab.hub.ledger.ranges(path);
  assert.deepEqual(asked, [], `${what}: these ranges were asked for though they are in the storage`);
}

/** Begins to load in the page, and resolves once the hub has sent so much more of the file. */
async function partly(bytes, { source = repo, path = file, rate = 4_000_000, parallel = 2 } = {}) {
  const fault = lab.hub.fault(path, { at: path.includes("direct") ? "hub" : "cdn", rate });
  const before = lab.hub.sent(path);
  await lab.run(async (rs, { source, hub, parallel }) => {
    window.model = await rs.loadModel(source, { hub, parallel });
    window.going = window.model.ready.catch(() => undefined);
  }, { source, hub: lab.hub.origin, parallel });
  await until(`${bytes} bytes of ${path} to be sent`, () => lab.hub.sent(path) - before >= bytes);
  return fault;
}

const notices = (found) => found.notices.map(({ kind }) => kind);

test("a second load sends no byte of the weights, and says where they came from", async () => {
  const first = await loads("first");
  assert.equal(first.progress.cached, 0, "bytes from an empty storage");
  lab.hub.reset();
  const second = await loads("second");
  sendsNothing("second load");
  assert.deepEqual([second.progress.cached, second.progress.loaded], [wanted, wanted], "cached and loaded bytes of the last report");
  assert.deepEqual(second.notices, []);
  assert.ok(lab.hub.requests.length < 10, `${lab.hub.requests.length} requests on a second visit`);
});

test("a second visit, after the page was left, neither", async () => {
  await loads("first");
  await lab.reload();
  lab.hub.reset();
  await loads("second");
  sendsNothing("second visit");
});

test("the storage holds the wanted bytes once, without masks", async () => {
  await loads("first");
  await unlocked(lab.page);
  const kept = await stored(lab.page);
  const bytes = await dataBytes(lab.page);
  assert.ok(bytes >= wanted && bytes <= wanted + header + 4096, `${bytes} bytes of data are kept, ${wanted} are wanted: ${JSON.stringify(kept)}`);
  assert.equal(kept.filter(({ path }) => path.endsWith(".journal")).length, 1, JSON.stringify(kept));
});

test("what a first visit did not need, a second adds", async () => {
  await loads("without predictions", { predictions: false, ready: false });
  await lab.reload();
  const before = lab.hub.sent(file);
  assert.ok(before < wanted / 1.5, "the first visit fetched everything");
  const second = await loads("with predictions");
  assert.ok(second.progress.cached > 12_000_000, `only ${second.progress.cached} bytes came from the storage`);
  assert.ok(lab.hub.sent(file) <= wanted + header + 600_000, `${lab.hub.sent(file)} bytes were sent over both visits, ${wanted} are wanted`);
  await lab.reload();
  lab.hub.reset();
  await loads("third");
  sendsNothing("third visit");
});

for (const [how, leave] of [
  ["model.close()", () => lab.run(() => window.model.close())],
  ["leaving the page", () => lab.reload()],
]) {
  test(`a load ended by ${how} goes on where it stopped`, async () => {
    const fault = await partly(14_000_000);
    await leave();
    fault.times = 0;
    await unlocked(lab.page);
    await until("the hub to see the connections end", () => !lab.hub.ledger.busy);
    const before = lab.hub.sent(file);
    const inFlight = Math.max(...lab.hub.ledger.ranges(file).map(([from, to]) => to - from));
    const found = await loads("second visit");
    const sent = lab.hub.sent(file);
    assert.ok(sent <= wanted + 2 * header + 2 * inFlight, `${sent} bytes over both visits; ${wanted} are wanted, and 2 pieces of ${inFlight} were in flight`);
    assert.ok(sent - before <= wanted - 7_000_000, `${sent - before} bytes on the second visit, though ${before} came on the first`);
    assert.ok(found.progress.cached >= 7_000_000, `${found.progress.cached} bytes came from the storage`);
    await lab.reload();
    lab.hub.reset();
    await loads("third visit");
    sendsNothing("third visit");
  });
}

test("a load that is interrupted again and again comes to its end", async () => {
  let lost = 0;
  for (const bytes of [900_000, 5_200_000, 3_100_000, 6_400_000]) {
    const fault = await partly(bytes, { rate: 3_000_000 });
    lost += 2 * Math.max(...lab.hub.ledger.ranges(file).map(([from, to]) => to - from));
    await lab.reload();
    fault.times = 0;
    await unlocked(lab.page);
  }
  await until("the hub to see the connections end", () => !lab.hub.ledger.busy);
  await loads("fifth visit");
  assert.ok(lab.hub.sent(file) <= wanted + 5 * header + lost, `${lab.hub.sent(file)} bytes over five visits`);
  assert.ok(total(lab.hub.overlaps(file)) <= 5 * header + lost, "bytes that had come were fetched again");
});

test("another commit with other weights: the new trace, a notice, and nothing of the old is left", async () => {
  await loads("before");
  await lab.hub.replace(repo, other);
  const expected = await reference(lab, "other", other, IDS.large);
  const found = await load(lab, repo, IDS.large);
  isTrace("after", found, expected);
  assert.ok(notices(found).includes("changed"), `notices: ${JSON.stringify(found.notices)}`);
  await unlocked(lab.page);
  const bytes = await dataBytes(lab.page);
  assert.ok(bytes <= wanted + header + 4096, `${bytes} bytes are kept: pieces of the old version are still there`);
  await lab.reload();
  lab.hub.reset();
  isTrace("third", await load(lab, repo, IDS.large), expected);
  sendsNothing("third visit");
});

test("an interrupted load of what has changed meanwhile mixes nothing", async () => {
  const fault = await partly(14_000_000);
  await lab.reload();
  fault.times = 0;
  await lab.hub.replace(repo, other);
  isTrace("after", await load(lab, repo, IDS.large), await reference(lab, "other", other, IDS.large));
});

test("a plain folder is overwritten: its ETag tells", async () => {
  const name = `kept/folder-direct-${number}`;
  await lab.hub.add(name, filesOf("large"), { direct: true });
  const source = lab.hub.folder(name);
  await loads("before", { source });
  await lab.reload();
  await loads("second", { source });
  await lab.hub.replace(name, other, { commit: COMMIT });
  isTrace("after", await load(lab, source, IDS.large), await reference(lab, "other", other, IDS.large));
  await unlocked(lab.page);
  const bytes = await dataBytes(lab.page);
  assert.ok(bytes <= wanted + header + 4096, `${bytes} bytes are kept: pieces of the old version are still there`);
});

test("a plain folder is kept too", async () => {
  const name = `kept/plain-direct-${number}`;
  await lab.hub.add(name, filesOf("large"), { direct: true });
  const source = lab.hub.folder(name);
  await loads("first", { source });
  await lab.reload();
  lab.hub.reset();
  await loads("second", { source });
  sendsNothing("second visit", `${name}/${WEIGHTS}`);
});

test("a file that came front to back is kept too", async () => {
  const fault = lab.hub.fault(file, { at: "cdn", noRange: true });
  await loads("first");
  fault.times = 0;
  await lab.reload();
  lab.hub.reset();
  await loads("second");
  sendsNothing("second visit");
});

test("shards are kept too", async () => {
  await lab.hub.add(`${repo}-shards`, filesOf("shards"));
  await loads("first", { source: `${repo}-shards`, model: "shards" });
  await lab.reload();
  lab.hub.reset();
  await loads("second", { source: `${repo}-shards`, model: "shards" });
  sendsNothing("second visit", ".safetensors");
});

test("cache: false writes nothing, and reads nothing", async () => {
  await loads("not kept", { cache: false });
  assert.deepEqual(await stored(lab.page), [], "files in the storage");
  await loads("kept");
  lab.hub.reset();
  const found = await loads("not read", { cache: false });
  assert.equal(found.progress.cached, 0);
  assert.ok(lab.hub.sent(file) >= wanted, "cache: false, and yet bytes came from the storage");
});

test("picked files and the demo model are not kept", async () => {
  await lab.run(async (rs) => {
    const demo = await rs.loadModel("demo");
    await demo.ready;
    demo.close();
  });
  assert.deepEqual(await stored(lab.page), []);
});

test("two models are kept side by side, and one of them changes alone", async () => {
  await lab.hub.add(`${repo}-small`, filesOf("small"));
  await loads("large");
  await loads("small", { source: `${repo}-small`, model: "small" });
  await lab.hub.replace(repo, other);
  isTrace("changed", await load(lab, repo, IDS.large), await reference(lab, "other", other, IDS.large));
  lab.hub.reset();
  await loads("small again", { source: `${repo}-small`, model: "small" });
  sendsNothing("the model that did not change", `${repo}-small/${WEIGHTS}`);
});

test("two tabs load the same model at the same time", async () => {
  const second = await lab.secondPage();
  lab.hub.fault(file, { at: "cdn", rate: 10_000_000 });
  const found = await Promise.all([lab.page, second].map((page) => load(lab, repo, IDS.large, { page })));
  for (const [i, one] of found.entries()) isTrace(`tab ${i}`, one, await rightTrace(lab, "large"));
  await second.close();
  await unlocked(lab.page);
  lab.hub.reset();
  await loads("afterwards");
  sendsNothing("afterwards");
});

test("two loads in one page, one with other requests at a time", async () => {
  const found = await Promise.all([1, 8].map((parallel) => load(lab, repo, IDS.large, { parallel })));
  for (const [i, one] of found.entries()) isTrace(`load ${i}`, one, await rightTrace(lab, "large"));
  await unlocked(lab.page);
  await loads("afterwards");
});

test("one tab loads another version while the first still writes the old", async () => {
  const fault = await partly(4_000_000, { rate: 1_000_000 });
  await lab.hub.replace(repo, other);
  fault.times = 0;
  const second = await lab.secondPage();
  const found = await load(lab, repo, IDS.large, { page: second });
  isTrace("the other tab", found, await reference(lab, "other", other, IDS.large));
  await second.close();
  await lab.reload();
  await unlocked(lab.page);
  isTrace("afterwards", await load(lab, repo, IDS.large), await reference(lab, "other", other, IDS.large));
});

test("without a network a model comes from the storage, half a model does not", async () => {
  const gone = await new Hub().start();
  for (const model of ["small", "large"]) await gone.add(`gone/${model}`, filesOf(model));
  await gone.add("gone/half", filesOf("large"));
  const away = { hub: gone.origin };
  await loads("online, large", { source: "gone/large", ...away });
  await loads("online, small", { source: "gone/small", model: "small", ...away });
  isTrace("online, half", await load(lab, "gone/half", IDS.large, { ...away, predictions: false, ready: false }), await rightTrace(lab, "large"));
  assert.deepEqual(gone.violations(), []);
  await gone.close();
  await lab.reload();
  await loads("offline, large", { source: "gone/large", ...away });
  await loads("offline, small", { source: "gone/small", model: "small", ...away });
  const rest = await load(lab, "gone/half", IDS.large, away);
  assert.equal(rest.code, "network", `offline, the other half: ${rest.code ?? "a trace"}: ${rest.message}`);
  const never = await load(lab, "gone/never", IDS.large, away);
  assert.equal(never.code, "network", `offline, never loaded: ${never.code}: ${never.message}`);
});

test("a second visit while the hub fails: the API, HEAD and the weights", async () => {
  await loads("first");
  await lab.reload();
  lab.hub.reset();
  for (const account of ["revision", "tree"]) lab.hub.fault(`api/${repo}/${account}`, { at: "api", status: 500 });
  lab.hub.fault(file, { status: 500 });
  assert.deepEqual(notices(await loads("second")), ["unchecked"]);
  sendsNothing("second visit");
});

/** What a server answers to HEAD, and the remark that it leads to (more of them in tests/faults/visits.rs). */
const HEADS = [
  ["405", { status: 405 }, []], ["405 that no page may read", { status: 405, noCors: true }, ["unchecked"]],
  ["a reset", { reset: true }, ["unchecked"]],
];
test("a folder's server that refuses or resets HEAD costs no kept model", async () => {
  await lab.hub.add("kept/direct-head", filesOf("large"), { direct: true });
  const source = lab.hub.folder("kept/direct-head"), path = `kept/direct-head/${WEIGHTS}`;
  await loads("first", { source });
  for (const [what, fault, remarks] of HEADS) {
    lab.hub.reset();
    const head = lab.hub.fault(path, { method: "HEAD", ...fault });
    assert.deepEqual(notices(await loads(what, { source })), remarks, `HEAD: ${what}`);
    // Chromium itself asks again where a connection is reset.
    assert.ok(fault.reset ? head.hits > 0 : head.hits === 1, `HEAD: ${what}: it is asked ${head.hits} times`);
    assert.ok(lab.hub.sent(path) <= 1, `HEAD: ${what}: ${lab.hub.sent(path)} bytes of what is kept were sent`);
  }
});
