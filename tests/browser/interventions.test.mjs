// Beyond norms, in Chromium and with any number of workers: patterns, attribution, ablation, patching and the true token
// against Hugging Face transformers with hooks (tests/fixtures/make_interventions.py), and sampling.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { isRejection, openLab } from "./support/lab.mjs";
import { fixtureJson } from "./support/models.mjs";

// F32 in another order of summation than PyTorch's, in streams with a few coordinates of 60.
const PATTERN = 1e-5;
const PART = 2e-4;
const RELATIVE = 1e-4;
const DIVERGENCE = 1e-5;
// A tenth of a logit's difference between logits of several.
const RECOVERED = 2e-3;

let lab;
before(async () => { lab = await openLab(); });
after(() => lab?.close());

function close(what, found, expected, { relative = 0, absolute = 0 }) {
  assert.equal(found.length, expected.length, `${what}: length`);
  expected.forEach((value, place) => {
    const error = Math.abs(found[place] - value);
    assert.ok(error <= relative * Math.abs(value) + absolute, `${what}[${place}] is ${found[place]}, transformers has ${value}`);
  });
}

for (const name of ["tiny-gpt2", "tiny-distil"]) {
  for (const workers of [1, 2, 3]) {
    test(`${name}, ${workers} workers: patterns, attribution, ablation and patching are those of transformers`, async () => {
      const expected = fixtureJson(`${name}/interventions.json`);
      const found = await lab.run(async (rs, { source, workers, expected }) => {
        const model = await rs.loadModel(source, { workers });
        const { n_layer, n_head } = { n_layer: model.config.n_layer, n_head: model.config.n_head };
        const patterns = Array.from({ length: n_layer * n_head }, (_, i) => ({ layer: Math.floor(i / n_head), head: i % n_head }));
        const run = await model.traceTokens(expected.batch, { patterns, heads: true, lens: 1 });
        const attribution = [];
        for (const { target, against, position } of expected.attribution) {
          const trace = await model.traceTokens([expected.batch[0]], { attribution: { target, against: against ?? undefined, position }, predictions: false });
          attribution.push(trace.sequences[0].attribution);
        }
        const ablation = [];
        for (const { ablate } of expected.ablation) ablation.push(await model.traceTokens(expected.batch, { ablate }));
        const { clean, corrupted, answer, against } = expected.patching;
        const partial = [];
        const patching = await model.patch(clean, corrupted, { answer, against, onPartial: (found) => partial.push(found.recovered.length) });
        model.close();
        return window.plain({ run, attribution, ablation, patching, partial });
      }, { source: lab.fixtureUrl(name), workers, expected });

      const [first] = found.run.sequences;
      const t = expected.batch[0].length;
      for (const { layer, head, weights, writes } of first.patterns) {
        close(`pattern ${layer}.${head}`, weights, expected.patterns[layer].slice(head * t * t, (head + 1) * t * t), { absolute: PATTERN });
        assert.equal(writes.ids.length, 3 * t, "what the head writes");
      }
      close("attn_bias_norm", first.attn_bias_norm, expected.attn_bias_norm, { relative: RELATIVE });
      found.run.sequences.forEach(({ lens, ids }, number) => expected.followers[number].rank.forEach((ranks, row) => {
        const cells = [row * ids.length, (row + 1) * ids.length - 1];
        assert.deepEqual(lens.true_rank.slice(...cells), ranks, `true_rank of sequence ${number}, row ${row}`);
        close(`true_prob of sequence ${number}, row ${row}`, lens.true_prob.slice(...cells), expected.followers[number].prob[row], { relative: 1e-3, absolute: 1e-7 });
      }));
      found.attribution.forEach((of, number) => {
        const reference = expected.attribution[number];
        const largest = Math.max(1, ...reference.attn.map(Math.abs), ...reference.mlp.map(Math.abs));
        for (const part of ["embed", "bias", "logit"]) close(`attribution ${number}, ${part}`, [of[part]], [reference[part]], { absolute: PART * largest });
        close(`attribution ${number}, attn`, of.attn, reference.attn, { absolute: PART * largest });
        close(`attribution ${number}, mlp`, of.mlp, reference.mlp, { absolute: PART * largest });
        close(`attribution ${number}, heads`, of.heads, reference.heads.flat(), { absolute: PART * largest });
        const sum = of.embed + of.bias + [...of.attn, ...of.mlp].reduce((a, b) => a + b, 0);
        assert.ok(Math.abs(sum - of.logit) <= PART * largest, `attribution ${number}: the parts add up to ${sum}, the logit is ${of.logit}`);
      });
      found.ablation.forEach((trace, number) => trace.sequences.forEach((sequence, of) => {
        const reference = expected.ablation[number].sequences[of];
        const what = (part) => `ablation ${number}, sequence ${of}, ${part}`;
        close(what("kl"), sequence.kl, reference.kl, { relative: 1e-3, absolute: DIVERGENCE });
        for (const part of ["attn_norm", "mlp_norm", "resid_post_norm"]) {
          close(what(part), sequence[part], reference[part].flat(), { relative: RELATIVE, absolute: 1e-6 });
        }
        assert.deepEqual(sequence.next.ids, reference.next.map(([id]) => id), what("next"));
        close(what("baseline"), sequence.baseline.embed_norm, sequence.embed_norm, {});
        assert.deepEqual(trace.ablate.map(({ layer, part, how }) => ({ layer, part, how })),
          expected.ablation[number].ablate.map(({ layer, part, how }) => ({ layer, part, how })), what("ablate"));
      }));
      close("recovered", found.patching.recovered, expected.patching.recovered.flat(), { absolute: RECOVERED });
      assert.deepEqual(found.partial, expected.patching.recovered.map((_, layer) => (layer + 1) * expected.patching.clean.length), "a partial answer after each layer");
    });
  }
}

test("sampling goes on with a text, the same for the same seed, and its tokens are those of a trace", async () => {
  const found = await lab.run(async (rs) => {
    const model = await rs.loadModel("demo");
    const text = "Once upon a time";
    const greedy = await model.sample(text, { count: 5, temperature: 0 });
    const one = await model.sample(text, { count: 12, topK: 20, topP: 0.9, seed: 7 });
    const two = await model.sample(text, { count: 12, topK: 20, topP: 0.9, seed: 7 });
    const other = await model.sample(text, { count: 12, topK: 20, topP: 0.9, seed: 8 });
    const trace = await model.trace([text + greedy.text], { next: 9, leads: true });
    const ids = await model.sample([1, 2, 3], { count: 2, temperature: 0 });
    const refused = [];
    for (const options of [{ temperature: -1 }, { topK: 0 }, { topP: 2 }, { count: 1.5 }, { count: 1000 }]) {
      refused.push(await window.rejection(model.sample(text, options)));
    }
    model.close();
    return { ...window.plain({ greedy, one, two, other, trace, ids }), refused };
  });
  assert.deepEqual(found.trace.sequences[0].ids.slice(-5), found.greedy.ids, "the text of a sample is not what was sampled");
  const logprobs = found.trace.sequences[0].token_logprob.slice(-5);
  close("probabilities of what was sampled", found.greedy.probs, logprobs.map(Math.exp), { relative: 1e-3 });
  assert.equal(found.trace.sequences[0].next.ids.length, 9, "as many candidates as asked for");
  const { leads, next } = found.trace.sequences[0];
  assert.equal(leads.id, next.ids[0], "leads speaks of another token than next");
  assert.ok(leads.first <= leads.settled && leads.settled <= found.trace.model.n_layer, JSON.stringify(leads));
  assert.deepEqual(found.one, found.two, "one seed, two texts");
  assert.notDeepEqual(found.one.ids, found.other.ids, "the seed is not used");
  assert.equal(found.ids.ids.length, 2);
  for (const [at, name] of ["temperature", "topK", "topP", "count"].entries()) isRejection(name, found.refused[at], "bad-argument", name);
  isRejection("count", found.refused[4], "too-long", "256");
});

test("every option of a wrong kind or out of range is refused by its name, and a trace says how far it is", async () => {
  const wrong = {
    heads: ["yes", 1, {}], lens: [-1, 1.5, "5", NaN, {}], predictions: ["no", 0], profile: [1], leads: ["x"], next: [-1, 2.5, "many", 1e20],
    patterns: [{}, [3], [{ layer: 0 }], [{ layer: -1, head: 0 }], "all"], attribution: [5, "x", { target: {} }, { position: -1 }, { position: 0.5 }],
    ablate: [{}, [{ layer: 0 }], [{ layer: 0, part: "attn", how: "half" }], [{ layer: "0", part: "attn" }]],
    signal: [{}, 1], onPartial: ["x"], onProgress: [3],
  };
  const drawn = { bins: [-1, "x"], skipFirst: ["no"], quantity: ["size"], token: [-1], head: [{}], tokens: [[1]], compare: ["x"], theme: ["blue"] };
  const found = await lab.run(async (rs, { wrong, drawn }) => {
    const model = await rs.loadModel("demo");
    const rejections = [];
    for (const [name, values] of Object.entries(wrong)) {
      for (const value of values) rejections.push({ name, value: JSON.stringify(value), ...await window.rejection(model.trace(["It was."], { [name]: value })) });
    }
    const shares = [];
    const trace = await model.trace(Array(4).fill("It was a bright cold day. ".repeat(25)), { lens: 5, onProgress: (share) => shares.push(share) });
    for (const [name, values] of Object.entries(drawn)) {
      for (const value of values) {
        const attempt = async () => rs.draw(document.querySelector("canvas"), trace, "heatmap", { [name]: value });
        rejections.push({ name, value: JSON.stringify(value), ...await window.rejection(attempt()) });
      }
    }
    model.close();
    return { rejections, shares };
  }, { wrong, drawn });
  for (const { name, value, ...rejection } of found.rejections) isRejection(`${name}: ${value}`, rejection, "bad-argument", name);
  assert.ok(found.shares.length > 1, "onProgress was not called");
  assert.ok(found.shares.every((share, at) => share >= (found.shares[at - 1] ?? 0) && share <= 1), `shares ${found.shares} do not rise from 0 to 1`);
});

test("what is not there is refused by name, and a stopped patch stops", async () => {
  const found = await lab.run(async (rs) => {
    const model = await rs.loadModel("demo");
    const asked = {
      layer: () => model.trace(["It was."], { ablate: [{ layer: 12, part: "mlp" }] }),
      head: () => model.trace(["It was."], { patterns: [{ layer: 0, head: 4 }] }),
      part: () => model.trace(["It was."], { ablate: [{ layer: 0, part: "residual" }] }),
      position: () => model.trace(["It was."], { attribution: { position: 99 } }),
      words: () => model.trace(["It was."], { attribution: { target: "two words and more" } }),
      lengths: () => model.patch("It was.", "It was a long time ago."),
      same: () => model.patch("It was.", "It was."),
    };
    const rejections = {};
    for (const [name, ask] of Object.entries(asked)) rejections[name] = await window.rejection(ask());
    const stop = new AbortController();
    const patching = model.patch("The old fox saw the young rabbit", "The young rabbit saw the old fox", { signal: stop.signal, onPartial: () => stop.abort() });
    rejections.stopped = await window.rejection(patching);
    const after = await model.trace(["It was."]);
    model.close();
    return { rejections, tokens: after.sequences[0].ids.length };
  });
  const { layer, head, part, position, words, lengths, same, stopped } = found.rejections;
  isRejection("layer", layer, "bad-argument", "layer 12");
  isRejection("head", head, "bad-argument", "head 4");
  isRejection("part", part, "bad-argument", "ablate", "residual");
  isRejection("position", position, "bad-argument", "99");
  isRejection("words", words, "bad-argument", "two words and more", "tokens");
  isRejection("lengths", lengths, "bad-argument", /\d tokens/);
  isRejection("same", same, "bad-argument", "the same");
  isRejection("stopped", stopped, "aborted");
  assert.ok(found.tokens > 1, "the model does not go on after refusals");
});
