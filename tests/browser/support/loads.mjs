// Loading under faults: what came of it, compared with the same model read from Blobs; and tables of cases.
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { largeModel, mediumModel, shardedModel, smallModel } from "./models.mjs";

export const WEIGHTS = "model.safetensors";
/** What is traced: some neighbours, some far apart, the first and the last row of the table. */
export const IDS = { small: [[1, 2, 3, 5, 319], [7]], large: [[0, 1, 2, 11999], [6000, 40, 41]] };

const MODELS = {
  small: () => smallModel(), medium: () => mediumModel(), large: () => largeModel(), shards: () => shardedModel(),
};
export const filesOf = (model) => MODELS[model]();
const idsOf = (model) => (model === "small" ? IDS.small : IDS.large);

/** Longest wait for a load: a stall counts as one after 20 s. */
const PATIENCE_MS = 50_000;

/** Loads, traces and reads all of a model in the lab's page. Resolves to { sequences, notices, progress } or to
 *  { code, message, isError, notices, progress }. `options.ready: false` leaves unread what the trace does not need. */
export function load(lab, source, ids, { ready = true, predictions = true, page = lab.page, ...options } = {}) {
  const argument = { source, ids, ready, predictions, options: { hub: lab.hub.origin, ...options }, patience: PATIENCE_MS };
  return page.evaluate(async ({ source, ids, ready, predictions, options, patience }) => {
    const notices = [], seen = { cached: 0, loaded: 0, total: 0, memory: 0 };
    const onProgress = ({ phase, cached, loaded, total, memory }) => {
      if (phase === "weights" || phase === "build") Object.assign(seen, { cached, loaded, total, memory });
    };
    const onNotice = ({ kind, message }) => notices.push({ kind, message });
    let model;
    const run = async () => {
      model = await window.rs.loadModel(source, { ...options, onProgress, onNotice });
      const [trace] = await Promise.all([model.traceTokens(ids, { predictions }), ready ? model.ready : undefined]);
      return { sequences: window.plain(trace.sequences) };
    };
    const late = new Promise((done) => setTimeout(done, patience, { code: "never", message: `nothing after ${patience / 1000} s` }));
    const failed = (error) => ({ code: error?.code, message: String(error?.message ?? error), isError: error instanceof Error });
    const found = await Promise.race([run().catch(failed), late]);
    model?.close();
    return { ...found, notices, progress: seen };
  }, argument);
}

const references = new Map();

/** The trace of files that no network touched. Made once per `name`. */
export function reference(lab, name, files, ids) {
  if (!references.has(name)) references.set(name, readFromBlobs(lab, name, files, ids));
  return references.get(name);
}

async function readFromBlobs(lab, name, files, ids) {
  const folder = name.replace(/[^a-z0-9]+/gi, "-");
  mkdirSync(join(lab.folder, folder), { recursive: true });
  for (const [file, bytes] of Object.entries(files)) writeFileSync(join(lab.folder, folder, file), bytes);
  const weights = Object.keys(files).filter((file) => file.endsWith(".safetensors"));
  return lab.run(async (rs, { url, weights, ids }) => {
    const blob = async (file) => (await fetch(url + file)).blob();
    const model = await rs.loadModel({ config: await blob("config.json"), weights: await Promise.all(weights.map(blob)) });
    const { sequences } = await model.traceTokens(ids);
    model.close();
    return window.plain(sequences);
  }, { url: lab.modelUrl(folder), weights, ids });
}

/** The trace that loading one of the models must end in. */
export function rightTrace(lab, model) {
  return reference(lab, model, filesOf(model), idsOf(model));
}

/** Asserts that a load came to its end with these numbers (the same program on the same bytes: equal but for the
 *  last bits). */
export function isTrace(what, found, expected) {
  assert.ok(found.sequences, `${what}: expected a trace, but loading ended with ${found.code}: ${found.message}`);
  assert.equal(found.sequences.length, expected.length, `${what}: number of sequences`);
  for (const [i, sequence] of found.sequences.entries()) same(`${what}: sequence ${i}`, sequence, expected[i]);
}

function same(what, found, expected) {
  if (typeof expected === "number") {
    const close = Math.abs(found - expected) <= 1e-6 * Math.abs(expected) + 1e-9;
    assert.ok(close || Object.is(found, expected), `${what}: ${found}, but the same bytes from a Blob give ${expected}: bytes were mixed up or lost`);
  } else if (expected && typeof expected === "object") {
    for (const [key, value] of Object.entries(expected)) {
      if (key in (found ?? {})) same(`${what}.${key}`, found[key], value);
    }
    if (Array.isArray(expected)) assert.equal(found?.length, expected.length, `${what}: length`);
  } else {
    assert.equal(found, expected, what);
  }
}

/** Whether a load ended as `outcome` says: "trace", or an error's code. */
function isOutcome(what, found, outcome, words, expected) {
  if (outcome === "trace") return isTrace(what, found, expected);
  assert.ok(!found.sequences, `${what}: expected ${outcome}, but loading came to its end with a trace`);
  assert.equal(found.code, outcome, `${what}: ${found.message}`);
  assert.ok(found.isError, `${what}: the rejection is no Error`);
  for (const word of words) assert.match(found.message, word, `${what}: the message lacks ${word}`);
  return undefined;
}

/** Runs a table of cases, each with a repo of its own, some at a time:
 *  { name, model: "small" | "large", or files: { .. } over those of the model;
 *    faults: { "model.safetensors" | "config.json" | ..: fault };
 *    folder: load it by its address as a plain folder; direct: without redirects; options: for loadModel;
 *    expect: "trace", or a code; words: [regular expressions] for the message; notice: a kind;
 *    check({ hub, path }): after.
 *  Whatever came of it, loading again without faults (and with the model's right files) gives the right trace. */
export function cases(title, lab, table, { concurrency = 4 } = {}) {
  const names = table.map(({ name }) => name);
  const twice = names.filter((name, i) => names.indexOf(name) !== i);
  if (twice.length > 0) throw new Error(`two cases are called ${twice.join(", ")}`);
  test(title, { concurrency }, (t) => Promise.all(
    table.map((row) => t.test(row.name, () => one(lab(), title, row))),
  ));
}

async function one(lab, title, row) {
  const { hub } = lab;
  const { name, model = "small", options = {}, words = [] } = row;
  const repo = `faults/${`${title} ${name}`.replace(/[^a-z0-9]+/gi, "-").toLowerCase().slice(0, 80).replace(/-$/, "")}`;
  const right = filesOf(model);
  await hub.add(repo, { ...right, ...row.files }, { direct: row.direct });
  const faults = Object.entries(row.faults).flatMap(([file, list]) =>
    [list].flat().map((what) => hub.fault(`${repo}/${file}`, what)));
  const source = row.folder ? hub.folder(repo) : repo;
  const expected = await rightTrace(lab, model);

  const found = await load(lab, source, idsOf(model), options);
  for (const fault of faults) {
    assert.ok(fault.hits > 0, `${name}: its fault never happened (${JSON.stringify(fault)}): nothing was tested`);
    fault.times = 0;
  }
  isOutcome(name, found, row.expect, words, expected);
  if (row.notice) {
    const kinds = found.notices.map(({ kind }) => kind);
    assert.ok(kinds.includes(row.notice), `${name}: no notice "${row.notice}" came, only ${JSON.stringify(kinds)}`);
  }
  row.check?.({ hub, path: `${repo}/${WEIGHTS}` });

  if (row.files) await hub.replace(repo, right);
  const again = await load(lab, source, idsOf(model), {});
  isTrace(`${name}: loading again without the fault (what the first load left behind spoils the second)`, again, expected);
}
