// The package in Node: the numbers of the browser, from every kind of source, and a process that ends when it should.
import assert from "node:assert/strict";
import { cpSync, mkdirSync, openAsBlob, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { after, test } from "node:test";
import { Hub } from "../browser/hub.mjs";
import { allClose, matchesCheckpoint, matchesReference, NORM_RELATIVE } from "../browser/support/compare.mjs";
import { isRejection } from "../browser/support/lab.mjs";
import { TOKENIZER_SETTINGS, tinyModelWithSettings } from "../browser/support/models.mjs";
import { serve } from "../browser/support/site.mjs";
import { DEMO, FIXTURES, PACKAGE, fixtureJson, importPackage, program, rejection, run, scratch } from "./support.mjs";

const rs = await importPackage();
const folder = scratch(after);
const TINY = join(FIXTURES, "tiny-gpt2");
const EXPECTED = fixtureJson("tiny-gpt2/expected.json").sequences;

for (const workers of [1, 2]) {
  test(`tiny-gpt2 from its folder with ${workers} workers gives transformers' numbers`, async () => {
    const model = await rs.loadModel(TINY, { workers });
    try {
      assert.equal(model.workers, workers);
      assert.equal(model.config.n_layer, fixtureJson("tiny-gpt2/config.json").n_layer);
      const trace = await model.traceTokens(EXPECTED.map(({ ids }) => ids), { heads: true, lens: 1 });
      assert.equal(trace.model.source, "tiny-gpt2", "a trace names the folder, not the way to it");
      assert.equal(trace.sequences.length, EXPECTED.length);
      trace.sequences.forEach((sequence, i) => matchesReference(`W=${workers}, sequence ${i}`, sequence, EXPECTED[i]));
      await model.ready;
    } finally {
      model.close();
    }
  });
}

test("a folder may be a path, a file: URL, shards with an index, or files as Blobs and bytes", async () => {
  const bytes = (name) => readFileSync(join(TINY, name));
  const files = { config: new Uint8Array(bytes("config.json")), weights: [new Blob([bytes("model.safetensors")])] };
  // Node refuses to send these to a thread.
  const disk = { config: await openAsBlob(join(TINY, "config.json")), weights: [await openAsBlob(join(TINY, "model.safetensors"))] };
  const sources = { path: TINY, "file: URL as a string": pathToFileURL(TINY).href, "file: URL": pathToFileURL(`${TINY}/`), files, disk };
  for (const [what, source] of Object.entries(sources)) {
    const model = await rs.loadModel(source);
    const trace = await model.traceTokens([EXPECTED[0].ids]);
    model.close();
    allClose(`${what}: mlp_norm`, trace.sequences[0].mlp_norm, EXPECTED[0].mlp_norm, { relative: NORM_RELATIVE });
  }
  const model = await rs.loadModel(join(FIXTURES, "variants/sharded-tanh"), { workers: 2 });
  const [expected] = fixtureJson("variants/sharded-tanh/expected.json").sequences;
  const trace = await model.traceTokens([expected.ids]);
  model.close();
  allClose("shards: mlp_norm", trace.sequences[0].mlp_norm, expected.mlp_norm, { relative: NORM_RELATIVE });
});

test("of a tensor that two shards have, the index says which counts; without one an error names both", async () => {
  const folder = join(FIXTURES, "checkpoints/b18-dup");
  const expected = fixtureJson("checkpoints/b18-dup/expected.json");
  const model = await rs.loadModel(folder);
  const [sequence] = (await model.traceTokens([expected.ids])).sequences;
  model.close();
  matchesCheckpoint("b18-dup", sequence, expected);
  const names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
  const shards = names.map((name) => new File([readFileSync(join(folder, name))], name));
  const files = (weights) => ({ config: readFileSync(join(folder, "config.json")), weights });
  isRejection("files", await rejection(rs.loadModel(files(shards))), "bad-safetensors", ...names, /"h\.\d.*"/);
  const bytes = await Promise.all(shards.map(async (shard) => new Uint8Array(await shard.arrayBuffer())));
  isRejection("bytes", await rejection(rs.loadModel(files(bytes))), "bad-safetensors", "weights-0.safetensors", "weights-1.safetensors");
});

test("small files beside the tokenizer of a folder count", async () => {
  for (const name of TOKENIZER_SETTINGS) {
    const { files, texts, ids } = tinyModelWithSettings(name);
    const place = join(folder, name);
    mkdirSync(place);
    for (const [file, bytes] of Object.entries(files)) writeFileSync(join(place, file), bytes);
    const model = await rs.loadModel(place, { onNotice: ({ message }) => assert.fail(message) });
    const trace = await model.trace(texts, { predictions: false });
    model.close();
    assert.deepEqual(trace.sequences.map((sequence) => [...sequence.ids]), ids, name);
  }
});

test("text goes through a folder's tokenizer, whatever the folder is called", async () => {
  const named = join(folder, "demo");
  cpSync(DEMO, named, { recursive: true });
  const ours = await rs.loadModel("demo");
  const theirs = await rs.loadModel(named);
  const [a, b] = [await ours.trace(["A king."]), await theirs.trace(["A king."])];
  assert.deepEqual(a, b);
  assert.equal(a.sequences[0].tokens.join(""), "A king.");
  const sampled = await ours.sample("Once upon a", { count: 3, temperature: 0 });
  assert.equal(sampled.ids.length, 3);
  ours.close();
  theirs.close();
});

test("http addresses and repos of a hub load by ranges, as in a browser", async () => {
  const site = await serve({ mounts: { "/m/": join(FIXTURES, "tiny-gpt2") } });
  const hub = await new Hub().start();
  const names = ["config.json", "model.safetensors"];
  await hub.add("someone/tiny", Object.fromEntries(names.map((name) => [name, readFileSync(join(TINY, name))])));
  try {
    const progress = [];
    const model = await rs.loadModel(`${site.origin}/m/`, { onProgress: (step) => progress.push(step) });
    await model.ready;
    const trace = await model.traceTokens([EXPECTED[0].ids]);
    allClose("http: attn_norm", trace.sequences[0].attn_norm, EXPECTED[0].attn_norm, { relative: NORM_RELATIVE });
    assert.ok(progress.some(({ phase, total }) => phase === "weights" && total > 5e5), "no progress of the weights");
    model.close();
    const remote = await rs.loadModel("someone/tiny", { hub: hub.origin, onNotice: ({ message }) => assert.fail(message) });
    const [sequence] = (await remote.traceTokens([EXPECTED[0].ids])).sequences;
    remote.close();
    allClose("hub: attn_norm", sequence.attn_norm, EXPECTED[0].attn_norm, { relative: NORM_RELATIVE });
    assert.ok(hub.sent("model.safetensors"), "the hub was not asked for the weights");
    isRejection("a repo that is not there", await rejection(rs.loadModel("someone/else", { hub: hub.origin })), "not-found", "someone/else");
    mkdirSync(join(folder, "someone/else"), { recursive: true });
    const said = await program(folder, `await rs.loadModel("someone/else", { hub: ${JSON.stringify(hub.origin)} }).catch(({ message }) => console.log(message));`);
    assert.match(said.stdout, /write "\.\/someone\/else"/, "a folder on disk has the repo's name");
  } finally {
    await hub.close();
    await site.close();
  }
});

test("rejections have the codes they have everywhere, and name what is wrong", async () => {
  const missing = (name) => {
    const place = join(folder, `without-${name}`);
    cpSync(TINY, place, { recursive: true, filter: (path) => !path.endsWith(name) });
    return place;
  };
  isRejection("no folder", await rejection(rs.loadModel("./nowhere")), "not-found", "nowhere");
  isRejection("no config", await rejection(rs.loadModel(missing("config.json"))), "not-found", "config.json");
  isRejection("no weights", await rejection(rs.loadModel(missing("model.safetensors"))), "not-found", "model.safetensors.index.json");

  const escaping = join(folder, "escaping");
  mkdirSync(escaping);
  cpSync(join(TINY, "config.json"), join(escaping, "config.json"));
  const index = join(escaping, "model.safetensors.index.json");
  for (const [text, words] of [["{", "no JSON"], ["{}", "weight_map"], ['{"weight_map":{"a":"../tiny/model.safetensors"}}', "beside it"]]) {
    writeFileSync(index, text);
    isRejection(`index ${text}`, await rejection(rs.loadModel(escaping)), "bad-safetensors", words);
  }
  const broken = join(folder, "broken");
  cpSync(TINY, broken, { recursive: true });
  writeFileSync(join(broken, "config.json"), "{");
  isRejection("bad config", await rejection(rs.loadModel(broken)), "bad-config", "config.json");

  isRejection("no source", await rejection(rs.loadModel(undefined)), "bad-argument");
  isRejection("workers", await rejection(rs.loadModel(TINY, { workers: 0 })), "bad-argument", "workers");
  const stopped = AbortSignal.abort();
  isRejection("aborted", await rejection(rs.loadModel(TINY, { signal: stopped })), "aborted");
  const model = await rs.loadModel(TINY);
  isRejection("no tokenizer", await rejection(model.trace(["a"])), "no-tokenizer");
  isRejection("no such token", await rejection(model.traceTokens([[1e6]])), "token-out-of-range");
  model.close();
  isRejection("closed", await rejection(model.traceTokens([[1]])), "aborted", "closed");
});

test("a file that changes after it was opened is an error, not other numbers", async () => {
  const { DiskFile } = await import(pathToFileURL(join(PACKAGE, "node/disk.js")).href);
  const config = readFileSync(join(TINY, "config.json"));
  const path = join(TINY, "model.safetensors");
  const weights = [new DiskFile(path, { size: statSync(path).size, changed: 1 })];
  isRejection("changed", await rejection(rs.loadModel({ config: new Uint8Array(config), weights })), "network", "changed on disk", "model.safetensors");
});

test("draw says what to use instead; svg draws; a trace goes to a file and back", async () => {
  const model = await rs.loadModel("demo");
  const trace = await model.trace(["The cat sat on the mat."], { heads: true, lens: 2 });
  model.close();
  assert.throws(() => rs.draw({}, trace, "evolution"), { code: "unsupported-browser", message: /svg\(/ });
  for (const chart of ["evolution", "distribution", "heatmap", "heads", "lens"]) {
    const picture = rs.svg(trace, chart, { width: 600, height: 300, theme: "dark" });
    assert.match(picture, /^<svg xmlns="http:\/\/www.w3.org\/2000\/svg" width="600" height="300"[^]*<\/svg>\n$/, chart);
    assert.doesNotMatch(picture, /NaN|undefined|Infinity/, chart);
  }
  assert.match(rs.svg(trace, "evolution"), /width="720" height="440"/);
  assert.notEqual(rs.svg(trace, "evolution", { theme: "dark" }), rs.svg(trace, "evolution", { theme: "light" }));
  assert.throws(() => rs.svg(trace, "evolution", { width: 5 }), { code: "bad-argument", message: /width/ });
  assert.throws(() => rs.svg(trace, "pie"), { code: "bad-argument", message: /pie/ });

  for (const format of ["json", "safetensors"]) {
    assert.deepEqual(rs.readTrace(rs.writeTrace(trace, { format })), trace, format);
  }
  const json = JSON.parse(new TextDecoder().decode(rs.writeTrace(trace)));
  assert.equal(json.format, "residual-stream trace");
  assert.equal(json.version, 1);
  assert.deepEqual(rs.evolution(json), rs.evolution(trace));
  assert.throws(() => rs.writeTrace(trace, { format: "xml" }), { code: "bad-argument", message: /xml/ });
  assert.throws(() => rs.readTrace("{}"), { code: "bad-argument", message: /format/ });
  assert.throws(() => rs.readTrace(7), { code: "bad-argument" });
});

test("a process ends with an idle model, waits for what is awaited, and keeps its globals", async () => {
  const body = `
    const before = Object.getOwnPropertyNames(globalThis);
    const model = await rs.loadModel("demo");
    void model.trace(["A cat."]).then((trace) => {
      const added = Object.getOwnPropertyNames(globalThis).filter((name) => !before.includes(name));
      console.log(JSON.stringify({ layers: rs.evolution(trace).mlp.length, added, worker: typeof globalThis.Worker }));
    });`;
  const ended = await program(folder, body);
  assert.equal(ended.stderr, "", "warnings of Node's, say");
  assert.equal(ended.code, 0, "the process must end by itself: model.close() was never called");
  assert.deepEqual(JSON.parse(ended.stdout), { layers: 12, added: [], worker: "undefined" });
});

test("a program given on the command line, and one in a thread of its own, use it as any other", async () => {
  const address = JSON.stringify(pathToFileURL(join(PACKAGE, "node.js")).href);
  const body = `const { loadModel } = await import(${address});
    const model = await loadModel("demo", { workers: 2 });
    console.log((await model.trace(["A cat."])).sequences[0].tokens.join("|"));`;
  // Threads that were handed this option would not start.
  const given = await run(process.execPath, ["--input-type=module", "-e", body]);
  assert.deepEqual([given.stdout, given.stderr, given.code], ["A| cat|.\n", "", 0]);
  const inside = join(folder, "inside.mjs");
  writeFileSync(inside, body);
  const threaded = await program(folder, `new (await import("node:worker_threads")).Worker(${JSON.stringify(inside)});`);
  assert.deepEqual([threaded.stdout, threaded.stderr, threaded.code], ["A| cat|.\n", "", 0]);
});

test("closing a model while it traces rejects the trace, and the process ends", async () => {
  const ended = await program(folder, `
    const model = await rs.loadModel("demo");
    const under_way = model.trace(Array(40).fill("Once upon a time there was a king who had a daughter."));
    model.close();
    await under_way.catch((error) => console.log(error.code));`);
  assert.deepEqual([ended.stdout, ended.stderr, ended.code], ["aborted\n", "", 0]);
});
