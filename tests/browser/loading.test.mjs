// Loading: from the (stand-in) hub by repo id, from folders, from picked files; progress, ready, abort.
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { until } from "./support/browser.mjs";
import { matchesCheckpoint } from "./support/compare.mjs";
import { isRejection, openLab } from "./support/lab.mjs";
import { fixture, fixtureJson, FIXTURES, TOKENIZER_SETTINGS, tinyModel, tinyModelWithGpt2Tokenizer, tinyModelWithSettings } from "./support/models.mjs";
import { serve } from "./support/site.mjs";

// Large enough that a slowed download can be caught in the act.
const SLOW_CONFIG = { n_embd: 64, n_layer: 6, n_positions: 64 };

let lab;
const slow = tinyModel({ config: SLOW_CONFIG });
const slowSize = slow["model.safetensors"].length;

before(async () => {
  lab = await openLab();
  await lab.hub.add("org/tiny", tinyModelWithGpt2Tokenizer());
  await lab.hub.add("org/slow", slow);
  await lab.hub.add("gpt2", tinyModel());
});
after(() => lab?.close());
beforeEach(() => {
  assert.deepEqual(lab.hub.violations(), [], "the test before left requests that a plain page could not make");
  lab.hub.reset();
});

test("by repo id, through the redirect to another origin, with progress in bytes", async () => {
  const { events, tokens, sequences } = await lab.run(async (rs, hub) => {
    const events = [];
    const model = await rs.loadModel("org/tiny", { hub, onProgress: (p) => events.push({ ...p }) });
    await model.ready;
    const trace = await model.trace(["Hello world"]);
    model.close();
    return { events, tokens: trace.sequences[0].tokens, sequences: trace.sequences.length };
  }, lab.hub.origin);

  assert.equal(sequences, 1);
  assert.deepEqual(tokens, ["Hello", " world"]);
  assert.ok(lab.hub.requests.some((request) => request.where === "cdn"), "the weights did not come from the second origin");
  const phases = ["config", "tokenizer", "weights", "build"];
  assert.ok(events.length >= 3, `only ${events.length} progress events`);
  for (const [i, event] of events.entries()) {
    assert.ok(phases.includes(event.phase), `event ${i}: phase ${event.phase}`);
    const before = events[i - 1];
    if (!before) continue;
    assert.ok(phases.indexOf(event.phase) >= phases.indexOf(before.phase), `phase went back from ${before.phase} to ${event.phase}`);
    if (event.phase === before.phase) assert.ok(event.loaded >= before.loaded, `loaded went back in ${event.phase}`);
    assert.ok(event.blocksReady >= before.blocksReady, "blocksReady went back");
    if (event.total > 0) assert.ok(event.loaded <= event.total, `${event.phase}: ${event.loaded} of ${event.total} bytes`);
  }
  const weights = events.filter((event) => event.phase === "weights");
  // Of the tensors alone: the header is not among the bytes that make the model.
  const file = tinyModelWithGpt2Tokenizer()["model.safetensors"];
  const size = file.length - 8 - Number(file.readBigUInt64LE(0));
  assert.equal(weights.at(-1).total, size);
  assert.equal(weights.at(-1).loaded, size, "the last event of the weights is not at their last byte");
  assert.equal(events.at(-1).blocksReady, 1);
});

for (const [name, how] of [["org/tiny@main", "a revision"], ["gpt2", "a repo without an organisation"]]) {
  test(`by ${how}: ${name}`, async () => {
    const layers = await lab.run(async (rs, { name, hub }) => {
      const model = await rs.loadModel(name, { hub });
      const trace = await model.traceTokens([[1, 2]]);
      model.close();
      return trace.model.n_layer;
    }, { name, hub: lab.hub.origin });
    assert.ok(layers > 0);
  });
}

test("small files behind a relative redirect", async () => {
  lab.hub.relativeRedirects = true;
  const vocab = await lab.run(async (rs, hub) => {
    const model = await rs.loadModel("org/tiny", { hub });
    model.close();
    return model.config.vocab_size;
  }, lab.hub.origin);
  lab.hub.relativeRedirects = false;
  assert.equal(vocab, 50257);
});

test("a trace may be asked for while blocks still arrive, and shows itself block by block", async () => {
  lab.hub.fault("org/slow/model.safetensors", { rate: slowSize });
  const found = await lab.run(async (rs, hub) => {
    let settled = false;
    const model = await rs.loadModel("org/slow", { hub, cache: false });
    const ready = model.ready.then(() => { settled = true; });
    const early = !settled;
    const partial = [];
    const trace = await model.traceTokens([[1, 2, 3]], { onPartial: (t) => partial.push(t.sequences[0].attn_norm.length / 3) });
    await ready;
    const again = await model.traceTokens([[1, 2, 3]]);
    model.close();
    return { early, partial, layers: trace.sequences[0].attn_norm.length / 3,
      same: JSON.stringify(window.plain(trace)) === JSON.stringify(window.plain(again)) };
  }, lab.hub.origin);
  assert.ok(found.early, "loadModel waited for the last byte");
  assert.equal(found.layers, SLOW_CONFIG.n_layer);
  assert.ok(found.partial.length > 1, `${found.partial.length} partial traces while six blocks arrived`);
  assert.deepEqual(found.partial, [...found.partial].sort((a, b) => a - b));
  assert.ok(found.same, "a trace made while blocks arrived differs from one made after");
});

test("an AbortSignal stops the download", async () => {
  lab.hub.fault("org/slow/model.safetensors", { rate: slowSize / 20 });
  const found = await lab.run(async (rs, hub) => {
    const already = await window.rejection(rs.loadModel("org/slow", { hub, signal: AbortSignal.abort() }));
    const stop = new AbortController();
    const model = await rs.loadModel("org/slow", { hub, signal: stop.signal, cache: false });
    const trace = window.rejection(model.traceTokens([[1]]));
    const ready = window.rejection(model.ready);
    setTimeout(() => stop.abort(), 200);
    return { already, ready: await ready, trace: await trace };
  }, lab.hub.origin);
  isRejection("a signal that was aborted before", found.already, "aborted");
  isRejection("ready", found.ready, "aborted");
  isRejection("a trace that waited for blocks", found.trace, "aborted");
  const download = lab.hub.requests.filter((request) => request.where === "cdn").at(-1);
  await until("the CDN to see the download end", async () => download.sent !== undefined);
  assert.ok(download.sent < slowSize, "the whole file was downloaded all the same");
});

test("an AbortSignal stops loading before the index is read", async () => {
  lab.hub.fault("org/slow/config.json", { rate: 100 });
  const found = await lab.run(async (rs, hub) => {
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 200);
    return window.rejection(rs.loadModel("org/slow", { hub, signal: stop.signal, cache: false }));
  }, lab.hub.origin);
  isRejection("loadModel", found, "aborted");
});

for (const kind of ["Blob", "Uint8Array"]) {
  test(`from files that the reader picked, as ${kind}`, async () => {
    const files = ["config.json", "model.safetensors"].map((name) => fixture(`tiny-distil/${name}`).toString("base64"));
    const found = await lab.run(async (rs, { files, kind, url }) => {
      const [config, weights] = files.map((file) => (kind === "Blob" ? new Blob([window.bytes(file)]) : window.bytes(file)));
      const picked = await rs.loadModel({ config, weights: [weights] });
      const fetched = await rs.loadModel(url);
      const traces = await Promise.all([picked, fetched].map((model) => model.traceTokens([[5, 6, 7]])));
      const error = await window.rejection(picked.trace(["no tokenizer"]));
      // A caller may go on using the bytes it passed.
      const intact = kind === "Blob" ? weights.size > 0 : weights.byteLength > 0;
      [picked, fetched].forEach((model) => model.close());
      const [a, b] = traces.map((t) => JSON.stringify(window.plain(t.sequences)));
      return { same: a === b, error, intact };
    }, { files, kind, url: lab.fixtureUrl("tiny-distil") });
    assert.ok(found.same, "the trace differs from that of the same files fetched");
    assert.ok(found.intact, "the caller's bytes were taken away");
    isRejection("text without a tokenizer", found.error, "no-tokenizer", /tokenizer/);
  });
}

test("picked vocab and merges", async () => {
  const model = tinyModelWithGpt2Tokenizer();
  const files = Object.fromEntries(Object.entries(model).map(([name, bytes]) => [name, bytes.toString("base64")]));
  const tokens = await lab.run(async (rs, files) => {
    const blob = (name) => new Blob([window.bytes(files[name])]);
    const model = await rs.loadModel({ config: blob("config.json"), weights: [blob("model.safetensors")],
      tokenizer: { vocab: blob("vocab.json"), merges: blob("merges.txt") } });
    const trace = await model.trace(["Hello world"], { predictions: false });
    model.close();
    return trace.sequences[0].tokens;
  }, files);
  assert.deepEqual(tokens, ["Hello", " world"]);
});

/** Writes files into a folder that the lab's site serves; gives its address. */
function served(name, files) {
  mkdirSync(join(lab.folder, name), { recursive: true });
  for (const [file, bytes] of Object.entries(files)) writeFileSync(join(lab.folder, name, file), bytes);
  return lab.modelUrl(name);
}

/** In the page: the ids of texts by the model of this source. */
const idsOf = (source, texts) => lab.run(async (rs, { source, texts, hub }) => {
  const model = await rs.loadModel(source, { hub });
  const trace = await model.trace(texts, { predictions: false });
  model.close();
  return window.plain(trace.sequences.map(({ ids }) => ids));
}, { source, texts, hub: lab.hub.origin });

for (const name of TOKENIZER_SETTINGS) {
  test(`small files beside the tokenizer count, from the hub and picked: ${name}`, async () => {
    const { files, texts, ids } = tinyModelWithSettings(name);
    await lab.hub.add(`org/${name}`, files);
    assert.deepEqual(await idsOf(`org/${name}`, texts), ids, "from the hub");
    const picked = await lab.run(async (rs, { url, names, texts }) => {
      const blob = async (file) => (names.includes(file) ? (await fetch(url + file)).blob() : undefined);
      const tokenizer = {
        json: await blob("tokenizer.json"), vocab: await blob("vocab.json"), merges: await blob("merges.txt"),
        config: await blob("tokenizer_config.json"), special: await blob("special_tokens_map.json"), added: await blob("added_tokens.json"),
      };
      const model = await rs.loadModel({ config: await blob("config.json"), weights: [await blob("model.safetensors")], tokenizer });
      const trace = await model.trace(texts, { predictions: false });
      model.close();
      return window.plain(trace.sequences.map(({ ids }) => ids));
    }, { url: served(name, files), names: Object.keys(files), texts });
    assert.deepEqual(picked, ids, "picked");
  });
}

/** Loads picked files by name, the weights in this order, and traces ids. */
const pickedTrace = (url, weights, ids, { named = true } = {}) => lab.run(async (rs, { url, weights, ids, named }) => {
  const notices = [];
  const file = async (name) => {
    const blob = await (await fetch(url + name)).blob();
    return named ? new File([blob], name) : blob;
  };
  const load = async () => {
    const source = { config: await file("config.json"), weights: await Promise.all(weights.map(file)) };
    const model = await rs.loadModel(source, { onNotice: ({ kind }) => notices.push(kind) });
    const trace = await model.traceTokens([ids]);
    model.close();
    return { notices, sequence: window.plain(trace.sequences[0]) };
  };
  return load().catch((error) => ({ code: error.code, message: error.message, isError: error instanceof Error }));
}, { url, weights, ids, named });

const SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
const INDEX = "model.safetensors.index.json";

test("of a tensor that two picked files have, the picked index says which counts, whatever their order", async () => {
  const expected = fixtureJson("checkpoints/b18-dup/expected.json");
  const url = lab.fixtureUrl("checkpoints/b18-dup");
  for (const weights of [[...SHARDS, INDEX], [INDEX, ...SHARDS.toReversed()]]) {
    const { sequence, notices, message } = await pickedTrace(url, weights, expected.ids);
    assert.ok(sequence, message);
    matchesCheckpoint(weights.join(), sequence, expected);
    assert.deepEqual(notices, []);
  }
});

test("a tensor in two picked files, and no index: the error names the tensor and both files", async () => {
  const { ids } = fixtureJson("checkpoints/b18-dup/expected.json");
  const url = lab.fixtureUrl("checkpoints/b18-dup");
  for (const weights of [SHARDS, SHARDS.toReversed()]) {
    isRejection("files", await pickedTrace(url, weights, ids), "bad-safetensors", ...SHARDS, /"h\.\d.*"/, INDEX);
    const nameless = await pickedTrace(url, weights, ids, { named: false });
    isRejection("blobs", nameless, "bad-safetensors", "weights-0.safetensors", "weights-1.safetensors", /"h\.\d.*"/);
  }
  const whole = await pickedTrace(served("twice", { ...tinyModel(), "model.fp16.safetensors": tinyModel({ seed: 2 })["model.safetensors"] }),
    ["model.safetensors", "model.fp16.safetensors"], [1, 2]);
  isRejection("two models", whole, "bad-safetensors", "model.safetensors", "model.fp16.safetensors", "wte.weight");
});

test("a host that sends a page for what is missing: what may be missing is", async () => {
  const instead = "<!doctype html>\n<title>An application</title>";
  const spa = await serve({ mounts: { "/fixtures/": FIXTURES, "/made/": lab.folder }, cors: true, instead });
  try {
    const loads = (name, ids) => lab.run(async (rs, { url, ids }) => {
      const model = await rs.loadModel(url);
      const trace = await model.traceTokens([ids]);
      const text = await window.rejection(model.trace(["a text"]));
      model.close();
      return { sequence: window.plain(trace.sequences[0]), text };
    }, { url: `${spa.origin}${name}`, ids });
    const whole = fixtureJson("checkpoints/b01-tied-same/expected.json");
    const plain = await loads("/fixtures/checkpoints/b01-tied-same/", whole.ids);
    matchesCheckpoint("no tokenizer", plain.sequence, whole);
    isRejection("text", plain.text, "no-tokenizer");
    assert.ok(spa.requests.includes("/fixtures/checkpoints/b01-tied-same/vocab.json"), "vocab.json was not asked for");

    const shards = fixtureJson("checkpoints/b18-dup/expected.json");
    matchesCheckpoint("shards", (await loads("/fixtures/checkpoints/b18-dup/", shards.ids)).sequence, shards);
    const { files, texts, ids } = tinyModelWithSettings("b04-added");
    served("spa-added", files);
    assert.deepEqual(await idsOf(`${spa.origin}/made/spa-added/`, texts), ids, "vocab.json and added_tokens.json are there");

    for (const [missing, code] of [["config.json", "bad-config"], ["model.safetensors", "bad-safetensors"]]) {
      const { [missing]: _, ...rest } = tinyModel();
      served(`spa-no-${missing}`, rest);
      const found = await lab.run((rs, url) => window.rejection(rs.loadModel(url)), `${spa.origin}/made/spa-no-${missing}/`);
      isRejection(`no ${missing}`, found, code, missing, "web page");
    }
  } finally {
    await spa.close();
  }
});

test("a closed model refuses politely, and closing twice is harmless", async () => {
  const found = await lab.run(async (rs, url) => {
    const model = await rs.loadModel(url);
    await model.ready;
    const running = window.rejection(model.traceTokens([Array(48).fill(1), Array(48).fill(2)]));
    model.close();
    model.close();
    return { running: await running, later: await window.rejection(model.traceTokens([[1]])) };
  }, lab.fixtureUrl("tiny-distil"));
  isRejection("a trace under way when the model was closed", found.running, "aborted");
  isRejection("a trace after close", found.later, "aborted");
});
