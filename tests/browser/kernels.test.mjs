// The kernels as the browser runs them, against GPT-2 in plain JavaScript: models of random shapes, so that rows and
// columns are left over in every way, texts of every short length, on one worker and on several, with and without
// relaxed SIMD.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openLab } from "./support/lab.mjs";
import { CONFIG, safetensors, tensors } from "./support/models.mjs";
import { plainGpt2 } from "./support/plain-gpt2.mjs";

// F32 against F64 through two layers with sums of up to a few hundred products; cosines near 0 show it most.
const TOLERANCE = 2e-5;
const MODELS = 24;

let lab;
before(async () => { lab = await openLab(); });
after(() => lab?.close());

/** Whole numbers from a seed, the same every time. */
function random(seed) {
  let state = seed * 2654435761 % 4294967296;
  return (least, most) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return least + Math.floor((state / 4294967296) * (most - least + 1));
  };
}

/** A model of random shape, and texts for it. */
function sample(seed) {
  const pick = random(seed);
  const n_head = pick(1, 5), width = pick(1, 21), T = pick(1, 13);
  const config = {
    ...CONFIG, n_embd: n_head * width, n_head, n_layer: pick(1, 2), n_inner: pick(1, 90), vocab_size: pick(2, 70), n_positions: T,
  };
  // The inner axis reaches beyond one stretch of the kernel in one of them.
  if (seed === 1) Object.assign(config, { n_head: 3, n_embd: 3 * 131, n_inner: 801 });
  const ids = Array.from({ length: pick(1, 3) }, () => Array.from({ length: pick(1, T) }, () => pick(0, config.vocab_size - 1)));
  return { seed, config, ids, named: tensors(config, seed), workers: pick(1, 4) };
}

async function compare(samples) {
  for (const { seed, config, ids, named, workers } of samples) {
    const found = await lab.run(async (rs, { config, weights, ids, workers }) => {
      const bytes = Uint8Array.from(atob(weights), (c) => c.charCodeAt(0));
      const model = await rs.loadModel({ config: new TextEncoder().encode(config), weights: [bytes] }, { workers });
      const trace = await model.traceTokens(ids, { heads: true });
      model.close();
      return window.plain(trace.sequences);
    }, { config: JSON.stringify(config), weights: safetensors(named).toString("base64"), ids, workers });
    ids.forEach((text, number) => {
      for (const [name, expected] of Object.entries(plainGpt2(config, named, text))) {
        const what = `model ${seed} (D ${config.n_embd}, H ${config.n_head}, inner ${config.n_inner}), ${workers} workers, ${text.length} tokens: ${name}`;
        assert.equal(found[number][name].length, expected.length, `${what}: length`);
        const largest = Math.max(1e-3, ...expected.map(Math.abs));
        expected.forEach((value, place) => {
          const error = Math.abs(found[number][name][place] - value) / largest;
          assert.ok(error <= TOLERANCE, `${what}[${place}] is ${found[number][name][place]}, not ${value}: look at crates/kernels/src/linear and attention`);
        });
      }
    });
  }
}

test("random shapes give the numbers of plain loops, with relaxed SIMD", async () => {
  await compare(Array.from({ length: MODELS }, (_, i) => sample(i + 1)));
});

test("and without relaxed SIMD", async () => {
  await lab.freshPage();
  await lab.page.addInitScript(() => {
    const { validate } = WebAssembly;
    WebAssembly.validate = (bytes) => !`${new Uint8Array(bytes.buffer ?? bytes)}`.includes("253,128,2") && validate(bytes);
  });
  await lab.reload();
  await compare(Array.from({ length: MODELS }, (_, i) => sample(i + 101)));
});
