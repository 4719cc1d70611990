// Random arguments of wrong kinds to every function of the package: each call gives an answer or an Error with a code of the
// contract, none ends the engine, and the next good request gives the numbers it always gave. docs/testing.md says how to run more.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { PACKAGE, importPackage } from "./support.mjs";

const rs = await importPackage();
const CASES = 1500;
const SEED = Number(process.env.FUZZ_SEED || 1);
const SECONDS = process.env.FUZZ_SECONDS ? Number(process.env.FUZZ_SECONDS) : undefined;
/** A call that takes longer, in milliseconds, hangs. */
const PATIENCE = 20_000;
const types = readFileSync(join(PACKAGE, "residual-stream.d.ts"), "utf8");
const CODES = [...types.match(/type ErrorCode =([^;]*);/)[1].matchAll(/"([a-z0-9-]+)"/g)].map(([, code]) => code);
const CHARTS = [...types.match(/type ChartName =([^;]*);/)[1].matchAll(/"([a-z-]+)"/g)].map(([, name]) => name);

/** Numbers from a seed, from 0 to below `end` (Tommy Ettinger's mulberry32). */
function randomOf(seed) {
  let state = seed >>> 0;
  const below = (end) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * end);
  };
  return { below, pick: (list) => list[below(list.length)], oneIn: (times) => below(times) === 0 };
}

/** What a caller's own code throws. */
class Theirs extends Error {}
const throwing = () => { throw new Theirs("the caller's own"); };

/** A Proxy around this that was revoked: whatever looks at it throws. */
function revoked(around) {
  const { proxy, revoke } = Proxy.revocable(around, {});
  revoke();
  return proxy;
}
const ring = [];
ring.push(ring);
const circle = {};
Object.assign(circle, { layer: circle, target: circle, itself: circle });

/** A value that has no business anywhere. */
function anything(random, depth = 0) {
  const plain = [
    undefined, null, true, false, 0, -0, 1, -1, 2, 1.5, NaN, Infinity, -Infinity, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53, 1e308, 5e-324, 7n, 2n ** 80n,
    "", " ", "heatmap", "mean", "head", "0", "\ud800", "a\0b", "a".repeat(5000), "é日😀", Symbol("s"), () => 5, async () => 5, throwing, class {},
    new Date(NaN), new Map([[1, 2]]), new Set([1]), /x/, new Error("x"), new Uint8Array(3), new Float32Array([1, NaN]), new Uint32Array([1, 2]), new ArrayBuffer(8),
    new SharedArrayBuffer(8), new DataView(new ArrayBuffer(4)), new Blob(["x"]), new URL("file:///nowhere/at/all"), Promise.resolve(1), AbortSignal.abort(), new AbortController().signal,
    Object.create(null), new String("heatmap"), new Number(3), [], [[]], [, 1], Array(3), { length: 3 }, { length: -1 }, { layer: 0, head: 1 }, { layer: "0" },
    { get heads() { return throwing(); } }, { valueOf: throwing, toString: throwing, toJSON: throwing }, new Proxy({}, { get: throwing, ownKeys: throwing, has: throwing }),
    Object.freeze({ heads: true }), { __proto__: { lens: 3 } }, { then: throwing },
    revoked({}), revoked([]), revoked(() => 5), ring, circle, Object.defineProperty([1, 2], 0, { get: throwing, enumerable: true }), { get config() { return throwing(); } },
    { get sequences() { return throwing(); } }, Object.create(AbortSignal.prototype), Object.create(URL.prototype), Object.create(Blob.prototype), new Proxy(new Uint8Array(3), {}),
    new Proxy([], { get: throwing, getPrototypeOf: throwing }),
  ];
  if (depth < 3 && random.oneIn(8)) return Array.from({ length: random.below(4) }, () => anything(random, depth + 1));
  if (depth < 3 && random.oneIn(12)) return { [random.pick(["layer", "head", "target", "part", "ids", "x", "__proto__"])]: anything(random, depth + 1) };
  return random.pick(plain);
}

/** Puts something else somewhere in a plain value. */
function damaged(random, value) {
  if (value === null || typeof value !== "object" || random.oneIn(6)) return anything(random);
  const keys = Object.keys(value);
  if (keys.length === 0) return anything(random);
  const key = random.pick(keys);
  const copy = ArrayBuffer.isView(value) ? Array.from(value) : Array.isArray(value) ? [...value] : { ...value };
  if (random.oneIn(12)) delete copy[key];
  else copy[key] = damaged(random, copy[key]);
  return copy;
}

let model, trace, expected, underWay;
const uncaught = [];
process.on("uncaughtExceptionMonitor", (error) => uncaught.push(`${underWay}: ${error.stack}`));
before(async () => {
  model = await rs.loadModel("demo", { workers: 2 });
  trace = await model.trace(["Once upon", "A king."], { heads: true, lens: 2, patterns: [{ layer: 1, head: 0 }], attribution: {} });
  expected = await good();
});
after(() => model?.close());

/** A request that has nothing wrong. */
const good = () => model.trace(["Once upon a time"], { heads: true, lens: 1 });

/** A call with right arguments: its name, what it calls, and the arguments. */
function call(random) {
  const chart = random.pick(CHARTS);
  const record = {
    heads: true, lens: 2, predictions: true, profile: true, leads: true, next: 3, patterns: [{ layer: 0, head: 1 }],
    attribution: { target: "king", against: 5, position: 1 }, ablate: [{ layer: 0, part: "head", head: 1, how: "mean" }], onProgress() {}, onPartial() {},
  };
  const some = Object.fromEntries(Object.entries(record).filter(() => random.oneIn(3)));
  const view = {
    bins: 5, skipFirst: false, legend: true, quantity: "mlp", sequence: 0, token: 1, head: { layer: 1, head: 0 }, ranks: true, tokens: [0, 2], compare: [0, 1],
    theme: "dark", width: 300, height: 200,
  };
  return random.pick([
    () => ["trace", (...args) => model.trace(...args), [["A king.", "A queen."], some]],
    () => ["traceTokens", (...args) => model.traceTokens(...args), [[[1, 2, 3], [4]], some]],
    () => ["sample", (...args) => model.sample(...args), ["Once", { count: 2, temperature: 0.5, topK: 5, topP: 0.9, seed: 3 }]],
    () => ["patch", (...args) => model.patch(...args), [[1, 2, 3], [1, 5, 3], { answer: 4, against: 6 }]],
    () => ["svg", rs.svg, [trace, chart, view]],
    () => ["draw", rs.draw, [{}, trace, chart, view]],
    () => ["histogram", rs.histogram, [trace, { bins: 4, skipFirst: true }]],
    () => ["evolution", rs.evolution, [trace, { skipFirst: true }]],
    () => ["writeTrace", rs.writeTrace, [trace, { format: random.pick(["json", "safetensors"]) }]],
    () => ["readTrace", rs.readTrace, [random.pick(["{}", new Uint8Array(20), rs.writeTrace(trace)])]],
    () => ["removeCachedModel", rs.removeCachedModel, ["no-such-model"]],
    () => ["loadModel", rs.loadModel, [random.pick(["./nowhere", { config: new Uint8Array([123, 125]), weights: [new Uint8Array(9)] }]), { workers: 1, cache: false, parallel: 2, hub: "http://127.0.0.1:9" }]],
  ])();
}

/** What is wrong with how a call ended; nothing if it is as the contract says. */
async function ended(run, args) {
  let timer;
  const late = new Promise((done) => { timer = setTimeout(done, PATIENCE, "it hangs"); });
  const done = (async () => {
    try {
      const answer = await run(...args);
      if (typeof answer?.close === "function") answer.close();
    } catch (error) {
      if (!(error instanceof Error)) return `it threw ${typeof error} ${String(error)}`;
      if (!CODES.includes(error.code) || error.code === "engine-crashed") return `code ${error.code}: ${error.stack}`;
      if (/JsValue|usize|u32|f32|unreachable|unwrap|\[object Object\]/.test(error.message)) return `it says ${error.message}`;
    }
  })();
  const begun = performance.now();
  const why = await Promise.race([done, late]);
  clearTimeout(timer);
  return why ?? (performance.now() - begun > PATIENCE ? "it took too long" : undefined);
}

test("no argument ends the engine, and every refusal has a code", async () => {
  const failures = [];
  const end = SECONDS === undefined ? Infinity : performance.now() + 1000 * SECONDS;
  let seed = SEED;
  for (; (SECONDS === undefined ? seed < SEED + CASES : seed === SEED || performance.now() < end) && failures.length < 10; seed += 1) {
    const random = randomOf(seed);
    const [name, run, right] = call(random);
    const args = [...right];
    underWay = `FUZZ_SEED=${seed}, ${name}`;
    for (let times = 1 + random.below(2); times > 0; times -= 1) {
      const at = random.below(args.length);
      // What was put there before may not let itself be looked at.
      args[at] = args[at] === right[at] ? damaged(random, args[at]) : anything(random);
    }
    if (random.oneIn(20)) args.pop();
    const why = await ended(run, args);
    if (why) failures.push(`FUZZ_SEED=${seed}, ${name}: ${why}`);
    if (seed % 50 === 0 || why) assert.deepEqual(await good(), expected, `after FUZZ_SEED=${seed}, ${name}, other numbers`);
  }
  console.log(`arguments: ${seed - SEED} cases from seed ${SEED}`);
  failures.push(...uncaught.map((error) => `uncaught after ${error}`));
  assert.equal(failures.length, 0, failures.join("\n"));
  assert.deepEqual(await good(), expected, "other numbers at the end");
});

test("what cannot be looked at is named, and the engine goes on", async () => {
  const refused = async (word, run) => {
    let timer;
    const late = new Promise((done) => { timer = setTimeout(done, PATIENCE, { message: "it hangs" }); });
    const error = await Promise.race([late, (async () => run())().then(() => ({ message: "it was taken" }), (error) => error)]);
    clearTimeout(timer);
    assert.ok(error instanceof Error && error.code === "bad-argument", `${word}: ${error.code} ${error.message}`);
    assert.ok(error.message.includes(word), `no ${word} in: ${error.message}`);
  };
  for (const bad of [revoked({}), revoked([]), revoked(() => 5), circle, ring]) {
    await refused("answer", () => model.patch("A king.", "A queen.", { answer: bad }));
    await refused("against", () => model.patch("A king.", "A queen.", { against: bad }));
    await refused("removeCachedModel", () => rs.removeCachedModel(bad));
    await refused("texts", () => model.trace(bad));
    await refused("texts[0]", () => model.trace([bad]));
    await refused("ablate", () => model.trace(["A king."], { ablate: [bad] }));
    await refused("lens", () => model.trace(["A king."], { lens: bad }));
    await refused("chart", () => rs.svg(trace, bad));
    await refused("trace", () => rs.svg(bad, "heatmap"));
    await refused("", () => rs.loadModel(bad));
  }
  await refused("heads", () => model.trace(["A king."], { get heads() { return throwing(); } }));
  await refused("layer", () => model.trace(["A king."], { patterns: [{ get layer() { return throwing(); }, head: 0 }] }));
  await refused("signal", () => model.trace(["A king."], { signal: Object.create(AbortSignal.prototype) }));
  await refused("onPartial", () => model.trace(["A king."], { onPartial: revoked({}) }));
  // What a library wraps in a Proxy, and can be read, is as good as what is inside.
  const wrapped = new Proxy({ patterns: new Proxy([{ layer: 0, head: 1 }], {}) }, {});
  const found = await model.trace(new Proxy(["A king."], {}), wrapped);
  assert.equal(found.sequences[0].patterns.length, 1);
  assert.ok(rs.svg(new Proxy(found, {}), "heatmap").startsWith("<svg"));
  assert.deepEqual(await good(), expected);
});
