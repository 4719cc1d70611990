// Numbers: traces computed in Chromium against Hugging Face transformers, and tokens against GPT-2's own.
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { matchesReference } from "./support/compare.mjs";
import { openLab } from "./support/lab.mjs";
import { fixtureJson, tinyModelWithGpt2Tokenizer } from "./support/models.mjs";

let lab;
before(async () => { lab = await openLab(); });
after(() => lab?.close());

for (const name of ["tiny-gpt2", "tiny-distil"]) {
  test(`${name} from a folder URL gives the traces that transformers gives`, async () => {
    const expected = fixtureJson(`${name}/expected.json`).sequences;
    const trace = await lab.run(async (rs, { source, ids }) => {
      const model = await rs.loadModel(source);
      const trace = await model.traceTokens(ids, { heads: true, lens: 3 });
      model.close();
      return window.plain(trace);
    }, { source: lab.fixtureUrl(name), ids: expected.map((sequence) => sequence.ids) });

    assert.equal(trace.sequences.length, expected.length);
    for (const [i, sequence] of trace.sequences.entries()) {
      assert.deepEqual(sequence.ids, expected[i].ids);
      matchesReference(`${name}, sequence ${i}`, sequence, expected[i]);
    }
  });
}

test("the demo model reads text and gives the traces that transformers gives", async () => {
  const expected = fixtureJson("../../www/models/demo/expected.json").sequences;
  const { trace, simd, workers, config } = await lab.run(async (rs, texts) => {
    const model = await rs.loadModel("demo");
    const trace = await model.trace(texts, { heads: true, lens: 1 });
    const { simd, workers, config } = model;
    model.close();
    return { trace: window.plain(trace), simd, workers, config };
  }, expected.map((sequence) => sequence.text));

  for (const [i, sequence] of trace.sequences.entries()) {
    assert.deepEqual(sequence.ids, expected[i].ids, `token ids of ${JSON.stringify(expected[i].text)}`);
    assert.equal(sequence.text, expected[i].text);
    matchesReference(`demo, sequence ${i}`, sequence, expected[i]);
  }
  assert.equal(trace.model.n_layer, config.n_layer);
  assert.equal(trace.model.source, "demo");
  assert.ok(["simd128", "relaxed"].includes(simd), `simd is ${simd}`);
  assert.ok(workers >= 1);
});

test("arrays have the types and shapes of the contract", async () => {
  const found = await lab.run(async (rs, source) => {
    const model = await rs.loadModel(source);
    const { sequences: [sequence] } = await model.traceTokens([[1, 2, 3]], { heads: true, lens: 2 });
    const shape = Object.fromEntries(Object.entries(sequence).map(([key, value]) => [key, [value.constructor.name, value.length]]));
    const inner = { lens: sequence.lens, next: sequence.next };
    for (const [key, value] of Object.entries(inner)) {
      shape[key] = ["ids", "probs"].map((part) => [value[part].constructor.name, value[part].length]);
    }
    const { n_layer: L, n_head: H } = model.config;
    model.close();
    return { shape, L, H };
  }, lab.fixtureUrl("tiny-gpt2"));

  const { shape, L, H } = found, T = 3, k = 2;
  const norms = ["attn_norm", "mlp_norm", "resid_pre_norm", "resid_mid_norm", "resid_post_norm", "attn_cos", "mlp_cos"];
  for (const name of norms) assert.deepEqual(shape[name], ["Float32Array", L * T], name);
  assert.deepEqual(shape.ids, ["Uint32Array", T]);
  assert.deepEqual(shape.tokens, ["Array", T]);
  assert.deepEqual(shape.embed_norm, ["Float32Array", T]);
  assert.deepEqual(shape.head_norm, ["Float32Array", L * H * T]);
  assert.deepEqual(shape.token_logprob, ["Float32Array", T - 1]);
  assert.deepEqual(shape.lens, [["Uint32Array", (L + 1) * T * k], ["Float32Array", (L + 1) * T * k]]);
  assert.deepEqual(shape.next, [["Uint32Array", 5], ["Float32Array", 5]]);
});

test("GPT-2's tokenizer, from vocab.json and merges.txt, in the page", async () => {
  const cases = fixtureJson("gpt2-tokenizer/cases.json").filter(({ ids }) => ids.length > 0);
  const folder = join(lab.folder, "gpt2-tokens");
  await mkdir(folder);
  for (const [name, bytes] of Object.entries(tinyModelWithGpt2Tokenizer())) await writeFile(join(folder, name), bytes);

  const sequences = await lab.run(async (rs, { source, texts }) => {
    const model = await rs.loadModel(source);
    const trace = await model.trace(texts, { predictions: false });
    model.close();
    return trace.sequences.map((s) => ({ ids: [...s.ids], tokens: s.tokens, spans: [...s.spans], text: s.text }));
  }, { source: lab.modelUrl("gpt2-tokens"), texts: cases.map(({ text }) => text) });

  for (const [i, { text, ids }] of cases.entries()) {
    const what = JSON.stringify(text);
    assert.deepEqual(sequences[i].ids, ids, `ids of ${what}`);
    assert.equal(sequences[i].tokens.length, ids.length, `tokens of ${what}`);
    // Every UTF-16 unit of the text lies in some token's span, and spans never run past the text.
    const spans = sequences[i].spans;
    assert.equal(spans.length, 2 * ids.length, `spans of ${what}`);
    const covered = new Set();
    for (let t = 0; t < ids.length; t += 1) for (let u = spans[2 * t]; u < spans[2 * t + 1]; u += 1) covered.add(u);
    assert.deepEqual([...covered].sort((a, b) => a - b), [...text].flatMap((c) => [...c.split("")]).map((_, u) => u), `spans of ${what}`);
  }
});
