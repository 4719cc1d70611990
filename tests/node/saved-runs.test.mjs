// Saved runs and arguments that are somebody else's: read, or refused in a sentence that names what is wrong. Nothing may end
// in a fault of the program, for all of a process stands behind it.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { importPackage, program, rejection, scratch } from "./support.mjs";

const rs = await importPackage();
const folder = scratch(after);
const ATTACKS = [
  "a</script><script>window.hit=1</script><img src=x onerror=window.hit=2>", "<!--<script> a", "line\u2028end\u2029", "]]><b>\\u003c",
];
const text = (bytes) => new TextDecoder().decode(bytes);

let model, trace, json;
before(async () => {
  model = await rs.loadModel("demo");
  trace = await model.trace(["Once upon a time", "The whale said"], { heads: true, lens: 2, patterns: [{ layer: 1, head: 0 }], attribution: {} });
  json = text(rs.writeTrace(trace));
});
after(() => model?.close());

/** What a call throws: { code, message }. */
function thrown(call) {
  try {
    call();
  } catch (error) {
    return { code: error?.code, message: String(error?.message), isError: error instanceof Error };
  }
  return { code: "nothing was thrown" };
}

function isBadArgument(what, found, ...names) {
  assert.equal(found.code, "bad-argument", `${what}: ${JSON.stringify(found)}`);
  assert.ok(found.isError, `${what} is no Error`);
  for (const name of names) assert.match(found.message, name instanceof RegExp ? name : new RegExp(name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")), what);
  assert.doesNotMatch(found.message, /JsValue|usize|u32|f32|invalid type|unreachable|TypeError/, what);
}

const changed = (change) => {
  const run = JSON.parse(json);
  change(run);
  return JSON.stringify(run);
};

test("no text of a run is markup in its JSON, and each comes back as it was", async () => {
  const found = await model.trace(ATTACKS);
  const written = text(rs.writeTrace(found));
  assert.doesNotMatch(written, /[<\u2028\u2029]/);
  assert.deepEqual(JSON.parse(written).sequences.map(({ text }) => text), ATTACKS);
  assert.deepEqual(rs.readTrace(written), found);
  assert.deepEqual(rs.readTrace(rs.writeTrace(found, { format: "safetensors" })), found);
});

test("a run with every field filled keeps its bytes on its way through JavaScript", () => {
  for (const format of ["json", "safetensors"]) {
    const file = readFileSync(new URL(`../../crates/trace/tests/golden/run.${format}`, import.meta.url));
    const run = rs.readTrace(file);
    const plain = JSON.parse(JSON.stringify(run));
    for (const found of [run, plain]) assert.ok(file.equals(Buffer.from(rs.writeTrace(found, { format }))), format);
  }
});

test("byte order marks and PowerShell's UTF-16 are read", () => {
  const utf16 = Buffer.from(`\ufeff${json}`, "utf16le");
  for (const file of [`\ufeff${json}`, Buffer.from(`\ufeff${json}`), utf16, Buffer.from(utf16).swap16()]) assert.deepEqual(rs.readTrace(file), trace);
});

test("sizes that no model has, and arrays that do not fit, are named", () => {
  const cases = [
    [(run) => { run.model.n_layer = 1e9; }, "model.n_layer is 1000000000, expected at most 4096"],
    [(run) => { run.model.n_layer = 3; }, "sequences[0]: the number of its layers is 12, expected at most 3"],
    [(run) => { run.model.n_head = 2; }, /head_norm has \d+ values, expected/],
    [(run) => { run.sequences[1].mlp_norm.pop(); }, /sequences\[1\]: mlp_norm has \d+ values, expected \d+/],
    [(run) => { run.sequences[0].lens.probs.push(0.5); }, /sequences\[0\]: lens.probs/],
    [(run) => { run.sequences[0].patterns[0].layer = 12; }, "patterns[0].layer is 12, expected less than 12"],
    [(run) => { run.sequences[0].attribution.position = 99; }, "attribution.position is 99"],
  ];
  for (const [change, said] of cases) {
    const file = changed(change);
    isBadArgument("readTrace", thrown(() => rs.readTrace(file)), said);
    const object = JSON.parse(file);
    for (const draw of [() => rs.svg(object, "evolution"), () => rs.histogram(object), () => rs.evolution(object), () => rs.writeTrace(object)]) {
      isBadArgument("a trace as an object", thrown(draw), said);
    }
  }
  for (const [change, said] of [
    [(run) => { run.sequences[0].attn_norm[3] = "x"; }, 'sequences[0].attn_norm[3]: expected a number, found the text "x"'],
    [(run) => { run.sequences[0].ids[0] = -1; }, "sequences[0].ids[0]: expected a whole number from 0 to 4294967295, found -1"],
    [(run) => { delete run.sequences[0].attn_cos; }, "sequences[0]: attn_cos is missing"],
  ]) isBadArgument("readTrace", thrown(() => rs.readTrace(changed(change))), said);
  // The most that there may be is drawn.
  assert.match(rs.svg(rs.readTrace(changed((run) => { run.model.n_layer = 4096; })), "evolution"), /<\/svg>\s*$/);
});

test("a tensor that is named 600 times is refused before it takes memory", () => {
  const file = Buffer.from(rs.writeTrace(trace, { format: "safetensors" }));
  const length = Number(file.readBigUInt64LE());
  const header = JSON.parse(file.subarray(8, 8 + length));
  const skeleton = JSON.parse(header.__metadata__.trace);
  skeleton.sequences = Array(600).fill(skeleton.sequences[0]);
  header.__metadata__.trace = JSON.stringify(skeleton);
  const again = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(again.length));
  isBadArgument("safetensors", thrown(() => rs.readTrace(Buffer.concat([size, again, file.subarray(8 + length)]))), "sequences[1]", "more than one place");
});

test("a run of 150 MB of JSON is read; one that cannot fit is refused by its size", async () => {
  const sequence = JSON.stringify(JSON.parse(json).sequences[0]);
  const count = Math.ceil(150e6 / sequence.length);
  writeFileSync(join(folder, "large.json"), `${changed((run) => { run.sequences = []; }).replace('"sequences":[]', `"sequences":[${Array(count).fill(sequence).join(",")}]`)}`);
  const done = await program(folder, `import { readFileSync } from "node:fs";
    const trace = rs.readTrace(readFileSync("large.json"));
    console.log(JSON.stringify([trace.sequences.length, trace.sequences.at(-1).tokens]));
    try { rs.readTrace(new Uint8Array(2 ** 30 + 1)); } catch ({ code, message }) { console.log(code, message); }
    console.log(rs.svg(trace, "next").length > 100);`);
  const [read, refused, drawn] = done.stdout.trim().split("\n");
  assert.deepEqual(JSON.parse(read ?? "null"), [count, trace.sequences[0].tokens], done.stderr);
  assert.match(refused, /^out-of-memory .*1\.1 GB.*safetensors/);
  assert.equal(drawn, "true");
});

test("arguments of the wrong kind are bad arguments, each by its name", async () => {
  for (const [call, ...names] of [
    [() => rs.svg(trace, 5), "chart", "found 5"],
    [() => rs.svg(trace), "chart", "found nothing"],
    [() => rs.svg(trace, ["heatmap"]), "chart", "found a list"],
    [() => rs.svg(trace, "pie"), "pie"],
    [() => rs.svg(), "chart|trace"],
    [() => rs.svg(5, "heatmap"), "trace: expected an object"],
    [() => rs.svg({}, "heatmap"), "trace: it has no list of sequences"],
    [() => rs.svg(trace, "heatmap", "dark"), "svg: expected an object of options", "dark"],
    [() => rs.svg(trace, "heatmap", { theme: 5 }), "theme: expected a text, found 5"],
    [() => rs.svg(trace, "heatmap", { width: "wide" }), "width: expected a number of pixels", "wide"],
    [() => rs.svg(trace, "distribution", { bins: -1 }), "bins: expected a whole number from 0, found -1"],
    [() => rs.svg(trace, "distribution", { skipFirst: "no" }), 'skipFirst: expected true or false, found the text "no"'],
    [() => rs.svg(trace, "heatmap", { tokens: 5 }), "tokens: expected a list or an object, found 5"],
    [() => rs.svg(trace, "heatmap", { head: {} }), "head: layer is missing"],
    [() => rs.histogram(), "trace"],
    [() => rs.evolution(null), "trace"],
    [() => rs.writeTrace(trace, { format: 5 }), "format: expected a text, found 5"],
    [() => rs.readTrace({}), "readTrace", "found an object"],
    [() => rs.readTrace(), "readTrace", "found nothing"],
  ]) isBadArgument(String(call), thrown(call), ...names.map((name) => (name.includes("|") ? new RegExp(name) : name)));
  for (const [call, ...names] of [
    [() => model.trace("a text"), "texts: expected a list of texts", "a text"],
    [() => model.trace(["a", 5]), "texts[1]: expected a text, found 5"],
    [() => model.traceTokens([1, 2]), "ids[0]: expected a list of token ids, found 1"],
    [() => model.sample(5), "text: expected a text, or a list of token ids, found 5"],
    [() => model.patch("a", null), "corrupted: expected a text, or a list of token ids, found null"],
    [() => model.patch("a", [1]), "clean: expected a list of token ids, as the other is"],
    [() => model.sample("a", { count: 1.5 }), "count: expected a whole number from 0, found 1.5"],
    [() => model.trace(["a"], { patterns: [{ layer: -1, head: 0 }] }), "patterns: expected a whole number from 0, found -1"],
    [() => rs.loadModel(5), "source: expected a repo id", "found 5"],
    [() => rs.loadModel("demo", 5), "loadModel: expected an object of options, found 5"],
    [() => model.trace(["a"], { attribution: { target: {} } }), "attribution: expected a token's id or its text"],
    [() => model.trace(["a"], { onProgress: 3 }), "onProgress: expected a function, found 3"],
    [() => rs.removeCachedModel(5), "removeCachedModel", "found 5"],
  ]) isBadArgument(String(call), await rejection(call()), ...names.map((name) => (name.includes("|") ? new RegExp(name) : name)));
  for (const [ids, said] of [[[[1], [2, -1]], /ids\[1\]\[1\] is -1/], [[[1.5]], /ids\[0\]\[0\] is 1\.5/], [[["x"]], /ids\[0\]\[0\] is the text "x"/], [[[1], [2], [9e6]], /text 3 of 3: token 0 .* 9000000/]]) {
    const found = await rejection(model.traceTokens(ids));
    assert.equal(found.code, "token-out-of-range", JSON.stringify(found));
    assert.match(found.message, said);
  }
  assert.equal((await model.trace(["And afterwards"])).sequences.length, 1);
});

test("an option that nobody knows is named, with the one that was meant", async () => {
  for (const [call, ...names] of [
    [() => rs.svg(trace, "heatmap", { widht: 900 }), 'svg: there is no option "widht": did you mean width?'],
    [() => rs.svg(trace, "heatmap", { colour: "red" }), "colour", "the options are bins, "],
    [() => rs.histogram(trace, { bin: 5 }), 'no option "bin": did you mean bins?'],
    [() => rs.writeTrace(trace, { fromat: "json" }), "did you mean format?"],
  ]) isBadArgument(String(call), thrown(call), ...names);
  for (const [call, ...names] of [
    [() => rs.loadModel("demo", { worker: 3 }), 'loadModel: there is no option "worker": did you mean workers?'],
    [() => model.trace(["a"], { head: true }), 'trace: there is no option "head": did you mean heads?'],
    [() => model.traceTokens([[1]], { prediction: false }), "did you mean predictions?"],
    [() => model.trace(["a"], { attribution: { taget: 5 } }), 'trace: attribution: there is no option "taget": did you mean target?'],
    [() => model.trace(["a"], { ablate: [{ layer: 1, parts: "mlp" }] }), "did you mean part?"],
    [() => model.sample("a", { top_k: 3 }), "did you mean topK?"],
    [() => model.patch("a", "b", { answr: 3 }), "did you mean answer?"],
  ]) isBadArgument(String(call), await rejection(call()), ...names);
  // As not given: what is undefined, in options that are known or not.
  assert.equal(typeof rs.svg(trace, "heatmap", { widht: undefined, width: undefined, theme: null }), "string");
  assert.equal((await model.trace(["a"], { head: undefined, heads: undefined })).sequences.length, 1);
});
