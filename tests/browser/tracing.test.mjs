// Tracing: options, several texts, stopping, one trace after another, and what a trace survives.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { allClose, NORM_RELATIVE } from "./support/compare.mjs";
import { isRejection, openLab } from "./support/lab.mjs";

const TEXTS = ["The cat sat on the mat.", "Once upon a time there was a little girl.", "No."];

let lab;
before(async () => {
  lab = await openLab();
  await lab.run(async (rs) => {
    window.demo = await rs.loadModel("demo");
    await window.demo.ready;
  });
});
after(() => lab?.close());

test("texts traced together equal texts traced alone: no padding enters a number", async () => {
  const { together, alone } = await lab.run(async (rs, texts) => {
    const together = await window.demo.trace(texts);
    const alone = [];
    for (const text of texts) alone.push((await window.demo.trace([text])).sequences[0]);
    return window.plain({ together: together.sequences, alone });
  }, TEXTS);
  assert.deepEqual(together.map((sequence) => sequence.text), TEXTS);
  for (const [i, sequence] of together.entries()) {
    for (const name of ["attn_norm", "mlp_norm", "embed_norm"]) {
      allClose(`${TEXTS[i]}: ${name}`, sequence[name], alone[i][name], { relative: NORM_RELATIVE });
    }
  }
});

test("options leave out what was not asked for", async () => {
  const keys = await lab.run(async () => {
    const of = async (options) => Object.keys((await window.demo.trace(["A cat."], options)).sequences[0]);
    return { plain: await of(), bare: await of({ predictions: false }), full: await of({ heads: true, lens: 2 }) };
  });
  for (const key of ["head_norm", "lens"]) {
    assert.ok(!keys.plain.includes(key), `${key} came unasked`);
    assert.ok(keys.full.includes(key), `${key} was asked for and is missing`);
  }
  for (const key of ["token_logprob", "next"]) {
    assert.ok(keys.plain.includes(key), `${key} is missing`);
    assert.ok(!keys.bare.includes(key), `predictions: false, and yet there is ${key}`);
  }
});

test("conservation: the next token's candidates are the last row of the lens", async () => {
  const { lens, next } = await lab.run(async () => {
    const [sequence] = (await window.demo.trace(["The king said"], { lens: 5 })).sequences;
    return { lens: [...sequence.lens.ids].slice(-5), next: [...sequence.next.ids] };
  });
  assert.deepEqual(lens, next);
});

test("an AbortSignal stops a trace, and the model goes on", async () => {
  const found = await lab.run(async () => {
    const long = Array(8).fill(Array(256).fill(7));
    const stop = new AbortController();
    const start = performance.now();
    const running = window.rejection(window.demo.traceTokens(long, { lens: 5, signal: stop.signal }));
    setTimeout(() => stop.abort(), 50);
    const aborted = await running;
    const took = performance.now() - start;
    const already = await window.rejection(window.demo.traceTokens([[1]], { signal: AbortSignal.abort() }));
    const after = await window.demo.traceTokens([[1, 2, 3]]);
    return { aborted, already, took, tokens: after.sequences[0].ids.length };
  });
  isRejection("a trace stopped on its way", found.aborted, "aborted");
  isRejection("a trace with a signal aborted before", found.already, "aborted");
  assert.equal(found.tokens, 3);
});

test("a new trace while one runs: both come to an end, each with its own answer", async () => {
  const found = await lab.run(async () => {
    const outcome = (promise) => promise.then((t) => [...t.sequences[0].ids], (error) => error.code);
    const first = outcome(window.demo.traceTokens([Array(200).fill(3)]));
    const second = outcome(window.demo.traceTokens([[4, 5]]));
    return { first: await first, second: await second };
  });
  assert.deepEqual(found.second, [4, 5]);
  assert.deepEqual(found.first, Array(200).fill(3));
});

test("a trace survives structuredClone and JSON, and the summaries accept it afterwards", async () => {
  const found = await lab.run(async (rs, texts) => {
    const trace = await window.demo.trace(texts);
    const forms = { itself: trace, cloned: structuredClone(trace), json: JSON.parse(JSON.stringify(window.plain(trace))) };
    return window.plain(Object.fromEntries(Object.entries(forms).map(([name, form]) => [
      name, { histogram: rs.histogram(form), evolution: rs.evolution(form) },
    ])));
  }, TEXTS);
  assert.deepEqual(found.cloned, found.itself);
  assert.deepEqual(found.json, found.itself);
});

test("a trace survives JSON.stringify itself, typed arrays and all", async () => {
  const same = await lab.run(async (rs, texts) => {
    const trace = await window.demo.trace(texts);
    const back = JSON.parse(JSON.stringify(trace));
    return JSON.stringify(rs.evolution(back)) === JSON.stringify(rs.evolution(trace));
  }, TEXTS);
  assert.ok(same, "evolution() of a trace that went through JSON.stringify differs");
});

test("histogram and evolution are what the trace's numbers say", async () => {
  const { trace, histogram, all, evolution } = await lab.run(async (rs, texts) => {
    const trace = await window.demo.trace(texts);
    return window.plain({ trace, histogram: rs.histogram(trace, { bins: 12 }), all: rs.histogram(trace, { skipFirst: false }),
      evolution: rs.evolution(trace, { skipFirst: true }) });
  }, TEXTS);
  const L = trace.model.n_layer;
  const tokens = trace.sequences.map((sequence) => sequence.ids.length);
  const total = (counts) => counts.reduce((a, b) => a + b, 0);
  const counted = tokens.reduce((sum, T) => sum + L * (T - 1), 0);
  assert.equal(histogram.edges.length, 13);
  assert.deepEqual([total(histogram.attn), total(histogram.mlp)], [counted, counted], "position 0 left out, everything else counted");
  assert.equal(total(all.attn), tokens.reduce((sum, T) => sum + L * T, 0));

  const layer = 5;
  const values = trace.sequences.flatMap((s) => s.mlp_norm.slice(layer * s.ids.length, (layer + 1) * s.ids.length).slice(1));
  const mean = total(values) / values.length;
  allClose("evolution.mlp[5].mean", [evolution.mlp[layer].mean], [mean], { relative: NORM_RELATIVE });
  assert.equal(evolution.mlp[layer].n, values.length);
  assert.equal(evolution.attn.length, L);
  assert.equal(evolution.resid.length, L);
  assert.ok(evolution.embed > 0);
});

test("draw paints a chart at the screen's resolution, and refuses an unknown one", async () => {
  const found = await lab.run(async (rs, texts) => {
    const trace = await window.demo.trace(texts);
    const canvas = document.querySelector("canvas");
    const painted = {};
    for (const chart of ["distribution", "evolution"]) {
      rs.draw(canvas, trace, chart, { skipFirst: true });
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      const colours = new Set(new Uint32Array(data.buffer));
      painted[chart] = { colours: colours.size, width: canvas.width, css: canvas.getBoundingClientRect().width };
    }
    const error = await window.rejection((async () => rs.draw(canvas, trace, "pie"))());
    return { painted, error, dpr: devicePixelRatio };
  }, TEXTS);
  for (const [chart, { colours, width, css }] of Object.entries(found.painted)) {
    assert.ok(colours > 10, `${chart}: the canvas holds ${colours} colours, as good as blank`);
    assert.equal(width, Math.round(css * found.dpr), `${chart}: backing width`);
  }
  assert.ok(found.error.isError && /pie/.test(found.error.message), `unknown chart: ${found.error.message}`);
});
