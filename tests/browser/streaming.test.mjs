// Weights in the order in which the model needs them: what is asked for, when, and what is never asked for.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { until } from "./support/browser.mjs";
import { openLab } from "./support/lab.mjs";
import { filesOf, IDS, isTrace, load, reference, rightTrace, WEIGHTS } from "./support/loads.mjs";
import { meets, total } from "./support/ledger.mjs";
import { isMask, LARGE_CONFIG, largeModel, places } from "./support/models.mjs";
import { COMMIT } from "./hub.mjs";

const LAYERS = LARGE_CONFIG.n_layer;
const ROW = LARGE_CONFIG.n_embd * 4;
const REPO = "stream/large";
const FILE = `${REPO}/${WEIGHTS}`;
const where = places(filesOf("large")[WEIGHTS]);
const [wte, wteEnd] = where.get("wte.weight");
const [wpe, wpeEnd] = where.get("wpe.weight");
const masks = [...where].filter(([name]) => isMask(name)).map(([, run]) => run);
const wanted = [...where].filter(([name]) => !isMask(name)).reduce((sum, [, [from, to]]) => sum + to - from, 0);
/** A block's bytes that the model wants. */
const block = (l) => [where.get(`h.${l}.attn.c_attn.bias`)[0], where.get(`h.${l}.mlp.c_proj.weight`)[1]];

let lab;
before(async () => {
  lab = await openLab();
  await rightTrace(lab, "large");
  await lab.hub.add(REPO, filesOf("large"));
  await lab.hub.add("stream/shards", filesOf("shards"));
});
after(() => lab?.close());
beforeEach(() => {
  assert.deepEqual(lab.hub.violations(), [], "the test before left requests that a plain page could not make");
  lab.hub.reset();
});

/** Nothing is under way, and nothing new is asked for. */
async function quiet() {
  let before = -1;
  await until("the hub to be left alone (a load asks on and on)", async () => {
    const now = lab.hub.requests.length;
    const still = !lab.hub.ledger.busy && now === before;
    before = now;
    await new Promise((next) => setTimeout(next, 300));
    return still && now === lab.hub.requests.length;
  });
}

const fresh = { cache: false };
/** What any load of the large file must keep to. */
function keepsThePlan(file = FILE) {
  const { hub } = lab;
  assert.deepEqual(hub.overlaps(file), [], `${file}: these bytes were sent more than once`);
  const asked = hub.ledger.ranges(file);
  const ofMasks = asked.filter((run) => meets(run, masks));
  assert.deepEqual(ofMasks, [], `${file}: these ranges hold bytes of mask buffers, ${JSON.stringify(masks)}`);
}

test("every byte once, no mask, at most four requests at a time, far fewer than 200 in all", async () => {
  isTrace("loaded", await load(lab, REPO, IDS.large, fresh), await rightTrace(lab, "large"));
  await quiet();
  keepsThePlan();
  const header = 8 + Number(filesOf("large")[WEIGHTS].readBigUInt64LE(0));
  assert.equal(lab.hub.sent(FILE), wanted + header, "bytes sent of the file: the wanted tensors and the header, no more and no less");
  assert.ok(lab.hub.ledger.busiest(FILE) <= 4, `${lab.hub.ledger.busiest(FILE)} requests at the same time; 4 are the default`);
  assert.ok(lab.hub.requests.length < 60, `${lab.hub.requests.length} requests for 30 MB`);
  const sizes = lab.hub.ledger.ranges(FILE).map(([from, to]) => to - from);
  assert.ok(Math.max(...sizes) <= 8 << 20, `a piece of ${Math.max(...sizes)} bytes: pieces are to be 8 MiB at most`);
});

for (const parallel of [1, 2, 8]) {
  test(`parallel: ${parallel}`, async () => {
    lab.hub.fault(FILE, { at: "cdn", rate: 20_000_000 });
    isTrace("loaded", await load(lab, REPO, IDS.large, { ...fresh, parallel }), await rightTrace(lab, "large"));
    keepsThePlan();
    const most = lab.hub.ledger.busiest(FILE);
    assert.ok(most <= parallel, `${most} requests at the same time, where ${parallel} are allowed`);
    if (parallel > 1) assert.ok(most > 1, "requests go one by one, though more are allowed");
  });
}

test("a number of requests that makes no sense is refused", async () => {
  for (const parallel of [0, 17, 1.5, "4"]) {
    const found = await load(lab, REPO, IDS.large, { ...fresh, parallel });
    assert.equal(found.code, "bad-argument", `parallel: ${parallel} gave ${found.code ?? "a trace"}`);
  }
});

test("the text's rows come before the blocks, and a block is computed before the next is asked for", async () => {
  // One request at a time: what was asked for before the text was known is block 0 at most.
  const found = await load(lab, REPO, IDS.large, { ...fresh, parallel: 1, predictions: false, ready: false });
  assert.ok(found.sequences, `${found.code}: ${found.message}`);
  const asked = lab.hub.ledger.ranges(FILE);
  const firstOf = (runs) => asked.findIndex((run) => meets(run, runs));
  for (const ids of IDS.large) {
    for (const [position, id] of ids.entries()) {
      const token = firstOf([[wte + id * ROW, wte + (id + 1) * ROW]]);
      const place = firstOf([[wpe + position * ROW, wpe + (position + 1) * ROW]]);
      const next = firstOf([block(1)]);
      assert.ok(token >= 0 && token < next, `the row of token ${id} was request ${token}, block 1 was request ${next}: ${JSON.stringify(asked)}`);
      assert.ok(place >= 0 && place < next, `the row of position ${position} was request ${place}, block 1 was request ${next}: ${JSON.stringify(asked)}`);
    }
  }
  const order = Array.from({ length: LAYERS }, (_, l) => firstOf([block(l)]));
  assert.deepEqual(order, [...order].sort((a, b) => a - b), `blocks were asked for in this order of requests: ${order}`);
});

test("the first layer is shown before a byte of the second has come", async () => {
  let release;
  lab.hub.fault(FILE, { at: "cdn", within: [block(1)[0], block(3)[1]], hold: new Promise((done) => { release = done; }) });
  const partials = lab.run(async (rs, { hub, repo, ids }) => {
    window.layers = [];
    const model = await rs.loadModel(repo, { hub, cache: false, parallel: 8 });
    const onPartial = (t) => window.layers.push(t.sequences[0].attn_norm.length / t.sequences[0].ids.length);
    const trace = await model.traceTokens(ids, { predictions: false, onPartial });
    model.close();
    return { layers: window.layers, last: trace.sequences[0].attn_norm.length / trace.sequences[0].ids.length };
  }, { hub: lab.hub.origin, repo: REPO, ids: IDS.large });
  await until("a partial trace with one layer, while the hub holds all blocks but the first back",
    () => lab.page.evaluate(() => window.layers?.includes(1)));
  assert.deepEqual(await lab.page.evaluate(() => window.layers), [1], "layers of partial traces while only block 0 is here");
  release();
  const found = await partials;
  assert.equal(found.last, LAYERS);
});

test("partial traces grow block by block, and none claims more than has come", async () => {
  lab.hub.fault(FILE, { at: "cdn", rate: 3_000_000 });
  const found = await lab.run(async (rs, { hub, repo, ids }) => {
    const model = await rs.loadModel(repo, { hub, cache: false, parallel: 2 });
    let ready = 0;
    const partials = [];
    const trace = await model.traceTokens(ids, {
      onPartial: (t) => {
        const [s] = t.sequences;
        partials.push({ tokens: s.ids.length, layers: ["attn_norm", "mlp_norm", "resid_pre_norm", "resid_mid_norm", "resid_post_norm", "attn_cos", "mlp_cos"]
          .map((name) => s[name].length / s.ids.length), predictions: Boolean(s.next || s.token_logprob), norms: [...s.attn_norm] });
      },
    });
    model.close();
    return { partials, ready, norms: [...trace.sequences[0].attn_norm], next: Boolean(trace.sequences[0].next) };
  }, { hub: lab.hub.origin, repo: REPO, ids: IDS.large });
  assert.ok(found.next, "the whole trace lacks its predictions");
  const layers = found.partials.map((partial) => partial.layers[0]);
  assert.deepEqual(layers, [1, 2, 3, 4].slice(0, layers.length), "layers of the partial traces, one block at a time");
  assert.ok(layers.length >= LAYERS - 1, `${layers.length} partial traces while ${LAYERS} blocks trickled in`);
  for (const { tokens, layers: each, predictions, norms } of found.partials) {
    assert.deepEqual(each, Array(each.length).fill(each[0]), "arrays of a partial trace speak of different numbers of layers");
    assert.ok(!predictions, "a partial trace has predictions though the table has not come");
    assert.deepEqual(norms, found.norms.slice(0, each[0] * tokens), "a partial trace's numbers are not those of the whole");
  }
});

test("without predictions the rest of the token table stays where it is, until everything is asked for", async () => {
  await lab.run(async (rs, { hub, repo, ids }) => {
    window.model = await rs.loadModel(repo, { hub, cache: false });
    window.trace = await window.model.traceTokens(ids, { predictions: false });
  }, { hub: lab.hub.origin, repo: REPO, ids: IDS.large });
  await quiet();
  const ofTable = total(lab.hub.ledger.covered(FILE).map(([from, to]) => [Math.max(from, wte), Math.min(to, wteEnd)]).filter(([from, to]) => from < to));
  const rows = new Set(IDS.large.flat()).size;
  assert.ok(ofTable >= rows * ROW, `only ${ofTable} bytes of wte for ${rows} rows of ${ROW}`);
  // Rows 40 and 41, 0 to 2 and 6000, 11999: covering ranges may hold what lies between close neighbours.
  assert.ok(ofTable <= 200 * ROW, `${ofTable} bytes of wte were sent, and ${rows} rows of ${ROW} are needed`);
  const ofPositions = total(lab.hub.ledger.covered(FILE).map(([from, to]) => [Math.max(from, wpe), Math.min(to, wpeEnd)]).filter(([from, to]) => from < to));
  assert.ok(ofPositions >= 4 * ROW, `${ofPositions} bytes of wpe for 4 positions`);
  const sequences = await lab.run(async () => {
    await window.model.ready;
    const sequences = window.plain((await window.model.traceTokens([[0, 1, 2, 11999], [6000, 40, 41]])).sequences);
    window.model.close();
    return sequences;
  });
  isTrace("after model.ready", { sequences }, await rightTrace(lab, "large"));
  await quiet();
  keepsThePlan();
  assert.ok(lab.hub.ledger.covered(FILE).some(([from, to]) => from <= wte && to >= wteEnd), "model.ready settled before all of wte was sent");
});

test("a second text brings its own rows, and only those", async () => {
  await lab.run(async (rs, { hub, repo }) => {
    window.model = await rs.loadModel(repo, { hub, cache: false });
    await window.model.traceTokens([[5, 6]], { predictions: false });
  }, { hub: lab.hub.origin, repo: REPO });
  await quiet();
  const before = lab.hub.sent(FILE);
  const sequences = await lab.run(async (rs, ids) => {
    const sequences = window.plain((await window.model.traceTokens(ids, { predictions: false })).sequences);
    window.model.close();
    return sequences;
  }, IDS.large);
  const more = lab.hub.sent(FILE) - before;
  isTrace("the second text", { sequences }, await rightTrace(lab, "large"));
  assert.ok(more <= 300 * ROW, `${more} bytes were sent for the ${new Set(IDS.large.flat()).size} rows of a second text`);
  keepsThePlan();
});

for (const [name, ids, most] of [
  ["sixty tokens, far apart", [Array.from({ length: 60 }, (_, i) => (i * 199 + 3) % 12000)], 12_000_000],
  ["five hundred tokens all over the table", [Array.from({ length: 500 }, (_, i) => (i * 7919 + 13) % 12000)], Infinity],
  ["three hundred neighbours", [Array.from({ length: 300 }, (_, i) => 7000 + i)], 1_000_000],
]) {
  test(`rows: ${name}`, async () => {
    const expected = await reference(lab, name, filesOf("large"), ids);
    const found = await load(lab, REPO, ids, { ...fresh, predictions: false, ready: false });
    isTrace(name, found, expected);
    await quiet();
    keepsThePlan();
    const ofTable = lab.hub.ledger.ranges(FILE).filter((run) => meets(run, [[wte, wteEnd]]));
    assert.ok(ofTable.length <= 100, `${ofTable.length} requests for rows: many single rows cost more than a covering range`);
    assert.ok(total(ofTable) <= most, `${total(ofTable)} bytes of wte for ${ids[0].length} rows`);
    // And then the rest of the table, without the rows that are here.
    lab.hub.reset();
    isTrace(`${name}, with predictions`, await load(lab, REPO, ids, fresh), expected);
    await quiet();
    keepsThePlan();
    assert.ok(lab.hub.requests.length < 200, `${lab.hub.requests.length} requests for one load`);
  });
}

test("a branch is resolved to its commit once, and every file is asked for at that commit", async () => {
  isTrace("loaded", await load(lab, `${REPO}@main`, IDS.large, fresh), await rightTrace(lab, "large"));
  const asked = lab.hub.requests.filter(({ where: host }) => host === "hub").map(({ url }) => url);
  const revisions = asked.filter((url) => url.includes("/revision/"));
  assert.equal(revisions.length, 1, `the commit was asked for ${revisions.length} times`);
  const files = asked.filter((url) => url.includes("/resolve/"));
  assert.ok(files.length > 0);
  assert.deepEqual(files.filter((url) => !url.includes(`/resolve/${COMMIT}/`)), [], "files that were not asked for at the commit");
  assert.ok(asked.indexOf(revisions[0]) < asked.indexOf(files[0]), "files were asked for before the commit was known");
});

test("a signed address is used again: the hub is not asked for every piece", async () => {
  isTrace("loaded", await load(lab, REPO, IDS.large, fresh), await rightTrace(lab, "large"));
  const resolved = lab.hub.requests.filter(({ where: host, url }) => host === "hub" && url.includes(WEIGHTS));
  const pieces = lab.hub.ledger.ranges(FILE);
  assert.ok(resolved.length <= Math.max(4, pieces.length / 2), `${resolved.length} of ${pieces.length} answers were resolved through the hub`);
});

test("shards follow the same plan", async () => {
  isTrace("loaded", await load(lab, "stream/shards", IDS.large, fresh), await rightTrace(lab, "shards"));
  await quiet();
  for (const number of [1, 2, 3]) {
    const name = `model-0000${number}-of-00003.safetensors`;
    const shard = places(filesOf("shards")[name]);
    assert.deepEqual(lab.hub.overlaps(`stream/shards/${name}`), [], `${name}: bytes that were sent more than once`);
    const ofMasks = lab.hub.ledger.ranges(`stream/shards/${name}`).filter((run) => meets(run, [...shard].filter(([n]) => isMask(n)).map(([, r]) => r)));
    assert.deepEqual(ofMasks, [], `${name}: ranges with bytes of mask buffers`);
  }
});

test("a plain folder follows the same plan", async () => {
  await lab.hub.add("stream/folder", filesOf("large"), { direct: true });
  isTrace("loaded", await load(lab, lab.hub.folder("stream/folder"), IDS.large, fresh), await rightTrace(lab, "large"));
  await quiet();
  keepsThePlan(`stream/folder/${WEIGHTS}`);
  assert.deepEqual(lab.hub.requests.filter(({ url }) => url.includes("/api/")), [], "a folder has no API to be asked");
});

test("a server without ranges: the file is read once, front to back, and blocks are shown as they come", async () => {
  lab.hub.fault(FILE, { at: "cdn", noRange: true, rate: 12_000_000 });
  const found = await lab.run(async (rs, { hub, repo, ids }) => {
    const model = await rs.loadModel(repo, { hub, cache: false });
    const layers = [];
    const onPartial = (t) => layers.push(t.sequences[0].attn_norm.length / t.sequences[0].ids.length);
    const trace = await model.traceTokens(ids, { onPartial });
    await model.ready;
    model.close();
    return { layers, sequences: window.plain(trace.sequences) };
  }, { hub: lab.hub.origin, repo: REPO, ids: IDS.large });
  isTrace("loaded", found, await rightTrace(lab, "large"));
  const size = filesOf("large")[WEIGHTS].length;
  const [longest] = lab.hub.ledger.answers(FILE).map(({ count }) => count).sort((a, b) => b - a);
  assert.equal(longest, size, "no answer was read to its end: the file is asked for again and again");
});

test("progress counts what comes: never back, never past the total, the total without masks", async () => {
  lab.hub.fault(FILE, { at: "cdn", rate: 20_000_000 });
  const events = await lab.run(async (rs, { hub, repo }) => {
    const events = [];
    const model = await rs.loadModel(repo, { hub, cache: false, onProgress: (p) => events.push({ ...p }) });
    await model.ready;
    model.close();
    return events.filter(({ phase }) => phase === "weights");
  }, { hub: lab.hub.origin, repo: REPO });
  assert.ok(events.length > 5, `${events.length} reports while 25 MB came`);
  let last = { loaded: 0, blocksReady: 0 };
  for (const event of events) {
    assert.equal(event.total, wanted, "the total is not that of the wanted tensors");
    assert.ok(event.loaded >= last.loaded && event.loaded <= event.total, `loaded went from ${last.loaded} to ${event.loaded} of ${event.total}`);
    assert.ok(event.blocksReady >= last.blocksReady, "blocksReady went back");
    assert.equal(event.cached, 0, "bytes are said to be from the storage, which was not to be used");
    assert.ok(event.memory > 0, "the engine's memory is not told");
    last = event;
  }
  assert.equal(last.loaded, wanted, "the last report is not of the last byte");
  assert.equal(last.blocksReady, LAYERS);
});

test("a trace needs only what it needs: the rest of the table may be out of reach", async () => {
  lab.hub.fault(FILE, { at: "cdn", within: [wte + 3_000_000, wte + 3_000_001], status: 500 });
  const found = await lab.run(async (rs, { hub, repo, ids }) => {
    const model = await rs.loadModel(repo, { hub, cache: false });
    const { sequences } = await model.traceTokens(ids, { predictions: false });
    const rest = await window.rejection(model.ready);
    model.close();
    return { sequences: window.plain(sequences), rest };
  }, { hub: lab.hub.origin, repo: REPO, ids: IDS.large });
  isTrace("loaded", found, await rightTrace(lab, "large"));
  assert.equal(found.rest.code, "network", `model.ready: ${JSON.stringify(found.rest)}`);
});

test("closing in the middle ends the download", async () => {
  await lab.hub.add("stream/closed", largeModel());
  const file = `stream/closed/${WEIGHTS}`;
  lab.hub.fault(file, { at: "cdn", rate: 2_000_000 });
  await lab.run(async (rs, { hub, repo, ids }) => {
    const model = await rs.loadModel(repo, { hub, cache: false });
    const running = window.rejection(model.traceTokens(ids));
    setTimeout(() => model.close(), 500);
    return running;
  }, { hub: lab.hub.origin, repo: "stream/closed", ids: IDS.large });
  await quiet();
  assert.ok(lab.hub.sent(file) < wanted, "all of the file was sent though the model was closed");
});
