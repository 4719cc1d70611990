// What is asked of charts and texts is answered, or refused by name: never by another picture, never after an hour's work.
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { CLI, importPackage, rejection, run, scratch } from "./support.mjs";

const rs = await importPackage();
const folder = scratch(after);
const at = (name) => join(folder, name);
const cli = (...args) => run(process.execPath, [CLI, ...args], { cwd: folder });
const TEXTS = ["The cat sat on the mat.", "Once upon a time there was a king."];

const model = await rs.loadModel("demo");
after(() => model.close());
const plain = await model.trace(TEXTS, { predictions: false });
writeFileSync(at("run.json"), rs.writeTrace(plain));

const refused = (draw) => rejection(Promise.resolve().then(draw));

test("a chart whose data the trace lacks is an error that names the option, and no picture", async () => {
  for (const [chart, option, flag] of [
    ["heads", "heads: true", "--heads"],
    ["lens", "lens: 5", "--lens 5"],
    ["true-token", "lens: 5", "--lens 5"],
    ["pattern", "patterns: [{ layer: 0, head: 0 }]", "--patterns 0.0"],
    ["attribution", "attribution: {}", "--attribution"],
    ["attribution-heads", "attribution: {}", "--attribution"],
    ["next", "predictions: true", "--no-predictions"],
    ["change", "ablate: [", "--off mlp.0"],
    ["patching", "model.patch", "command line"],
  ]) {
    const found = await refused(() => rs.svg(plain, chart));
    assert.equal(found.code, "bad-argument", `${chart}: ${JSON.stringify(found)}`);
    assert.ok(found.message.includes(option) && found.message.includes(flag), found.message);
    const done = await cli("svg", "--trace", "run.json", "--chart", chart, "--out", `${chart}.svg`);
    assert.deepEqual([done.code, done.stdout], [1, ""], done.stderr);
    assert.ok(done.stderr.includes(found.message), done.stderr);
    assert.ok(!existsSync(at(`${chart}.svg`)), `${chart}.svg was written`);
  }
  assert.match((await refused(() => rs.svg(plain, "compare", { compare: [1, 1] }))).message, /two different texts/);
  assert.match(rs.svg(plain, "compare"), /^<svg/);
});

test("a text or token that is not there is refused, with the range", async () => {
  for (const [options, words] of [
    [{ sequence: 500 }, /^sequence: there is no text 500: this trace has 2, from 0\.$/],
    [{ token: 500 }, /^token: there is no token 500: text 0 has \d+, from 0\.$/],
    [{ tokens: [90, 95] }, /^tokens: expected \[from, to\]/],
    [{ compare: [0, 2] }, /^compare: there is no text 2/],
    [{ bins: 501 }, /^bins: expected a whole number from 1 to 500, got 501\.$/],
    [{ bins: 0 }, /^bins: expected a whole number from 1 to 500, got 0\.$/],
  ]) {
    const found = await refused(() => rs.svg(plain, "heatmap", options));
    assert.equal(found.code, "bad-argument", JSON.stringify([options, found]));
    assert.match(found.message, words);
  }
  assert.match((await refused(() => rs.histogram(plain, { bins: 1000 }))).message, /1 to 500/);
  for (const [option, words] of [
    [["--sequence", "500"], /--sequence: expected a whole number from 0 to 1, not "500"/],
    [["--sequence", "1", "--token", "500"], /--token: expected a whole number from 0 to \d+, not "500"/],
    [["--bins", "1000"], /--bins: expected a whole number from 1 to 500, not "1000"/],
  ]) {
    const done = await cli("svg", "--trace", "run.json", "--chart", "heatmap", "--out", "never.svg", ...option);
    assert.equal(done.code, 2, done.stderr);
    assert.match(done.stderr, words);
    assert.ok(!existsSync(at("never.svg")));
  }
});

test("the histogram says whether its rule was held to its bounds", () => {
  const sequence = { ...plain.sequences[0], attn_norm: [...plain.sequences[0].attn_norm] };
  assert.equal(rs.histogram({ ...plain, sequences: [sequence] }).capped, false);
  sequence.attn_norm[sequence.ids.length - 1] = 1e6;
  const held = rs.histogram({ ...plain, sequences: [sequence] });
  assert.deepEqual([held.rule, held.capped], ["freedman-diaconis", true]);
  assert.ok(held.attn.length >= 5 && held.attn.length <= 80, `${held.attn.length} bins`);
});

test("texts are split without being computed, and a line that is too long is found first", async () => {
  const found = await model.tokenize(TEXTS);
  assert.deepEqual(found, plain.sequences.map(({ text, ids, tokens, spans }) => ({ text, ids, tokens, spans })));
  const long = "once upon a time ".repeat(200);
  const error = await rejection(model.tokenize([...TEXTS, long]));
  assert.equal(error.code, "too-long");
  assert.match(error.message, /^text 3 of 3: the text has \d+ tokens, and this model reads at most 256/);
  assert.match((await rejection(model.tokenize([long]))).message, /^the text has/);
  assert.match((await rejection(model.tokenize(TEXTS, { signl: 1 }))).message, /tokenize: there is no option "signl"/);

  const lines = [...Array(60).fill(TEXTS[0]), "", long, TEXTS[1]];
  writeFileSync(at("long.txt"), lines.join("\n"));
  const done = await cli("trace", "--text", "long.txt", "--out", "never.json");
  assert.equal(done.code, 1);
  assert.match(done.stderr, /long\.txt, line 62: the text has \d+ tokens/);
  assert.doesNotMatch(done.stderr, /tracing/, "lines were traced before one was found to be too long");
});

test("top-p after top-k is a share of what the k have", async () => {
  const { next } = (await model.trace(["Once upon a time there was a"], { next: 40 })).sequences[0];
  // Hugging Face's rule, by hand: of the six most probable, the fewest that reach p of what the six have.
  const six = [...next.probs.slice(0, 6)];
  const total = six.reduce((sum, prob) => sum + prob, 0);
  for (const topP of [0.3, 0.6, 0.9]) {
    let sum = 0;
    const kept = new Set();
    six.forEach((prob, place) => {
      if (sum < topP * total) kept.add(next.ids[place]);
      sum += prob;
    });
    const drawn = new Set();
    for (let seed = 0; seed < 60; seed += 1) {
      const { ids } = await model.sample("Once upon a time there was a", { topK: 6, topP, temperature: 1, seed });
      drawn.add(ids[0]);
    }
    assert.ok([...drawn].every((id) => kept.has(id)), `top-p ${topP}: drawn ${[...drawn]}, kept ${[...kept]}`);
  }
});

test("--help says from where layers and heads are counted", async () => {
  const { stdout } = await cli("--help");
  assert.match(stdout, /LAYER\.HEAD, both from 0/);
  assert.match(stdout, /layers and heads count from 0/);
  assert.ok(readFileSync(at("run.json")).length > 0);
});
