// The command: the package's own trace in a file, as a whole or not at all, with codes and sentences a script can rely on.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { serve } from "../browser/support/site.mjs";
import { CLI, DEMO, importPackage, PACKAGE, run, scratch } from "./support.mjs";

const rs = await importPackage();
const folder = scratch(after);
const TEXTS = ["The cat sat on the mat.", "Once upon a time there was a king."];
const at = (name) => join(folder, name);
writeFileSync(at("texts.txt"), `\ufeff${TEXTS[0]}\r\n\r\n  \n${TEXTS[1]}\n`);
const cli = (...args) => run(process.execPath, [CLI, ...args], { cwd: folder });
const traced = (...args) => cli("trace", "--text", "texts.txt", ...args);

/** What the package itself says of the same texts. */
async function ours(options) {
  const model = await rs.loadModel("demo");
  const trace = await model.trace(TEXTS, options);
  model.close();
  return trace;
}

test("trace writes what the package's trace is, byte for byte, with what was asked for", async () => {
  const done = await traced("--out", "plain.json");
  assert.deepEqual([done.code, done.stdout], [0, ""], done.stderr);
  assert.match(done.stderr, /^loading: .* MiB\n[^]*tracing: 2 of 2 texts\nplain\.json: 2 texts through demo\n$/);
  assert.doesNotMatch(done.stderr, /\x1b|\r/, "a pipe is no terminal");
  assert.deepEqual(readFileSync(at("plain.json")), Buffer.from(rs.writeTrace(await ours())));

  assert.equal((await traced("--out", "full.safetensors", "--format", "safetensors", "--heads", "--lens", "3", "--no-predictions")).code, 0);
  const full = await ours({ heads: true, lens: 3, predictions: false });
  assert.deepEqual(rs.readTrace(readFileSync(at("full.safetensors"))), full);
  assert.equal(full.sequences[0].next, undefined);
  const named = await traced("--out", "two.json", "--workers", "2", "--name", "my model");
  assert.match(named.stderr, /two\.json: 2 texts through my model\n$/);
  assert.equal(JSON.parse(readFileSync(at("two.json"), "utf8")).model.source, "my model");
});

test("a trace holds what every chart can show: patterns, attribution, leads, and the model with parts off", async () => {
  const wishes = ["--heads", "--leads", "--next", "7", "--patterns", "1.0, 11.3", "--target", " a", "--against", " the"];
  assert.equal((await traced("--out", "more.json", ...wishes)).code, 0);
  assert.deepEqual(rs.readTrace(readFileSync(at("more.json"))), rs.readTrace(rs.writeTrace(await ours({
    heads: true, leads: true, next: 7, patterns: [{ layer: 1, head: 0 }, { layer: 11, head: 3 }], attribution: { target: " a", against: " the" },
  }))));
  for (const chart of ["pattern", "attribution", "attribution-heads", "next", "heads"]) {
    assert.equal((await cli("svg", "--trace", "more.json", "--chart", chart, "--out", `${chart}.svg`)).code, 0);
  }

  const drawn = await cli("svg", "--trace", "more.json", "--chart", "pattern", "--head", "11.3", "--out", "-");
  assert.equal(drawn.stdout, rs.svg(rs.readTrace(readFileSync(at("more.json"))), "pattern", { theme: "light", head: { layer: 11, head: 3 } }));
  assert.notEqual(drawn.stdout, readFileSync(at("pattern.svg"), "utf8"), "the first pattern is another head's");

  // More texts than are traced at a time: their mean is one all the same.
  const texts = Array.from({ length: 20 }, (_, i) => `${i} cats sat on the mat.`);
  writeFileSync(at("twenty.txt"), texts.join("\n"));
  const off = await cli("trace", "--text", "twenty.txt", "--out", "off.json", "--off", "attn.3,mlp.2.mean,head.1.2", "--attribution");
  assert.equal(off.code, 0, off.stderr);
  const model = await rs.loadModel("demo");
  const ablate = [{ layer: 3, part: "attn" }, { layer: 2, part: "mlp", how: "mean" }, { layer: 1, part: "head", head: 2 }];
  assert.deepEqual(readFileSync(at("off.json")), Buffer.from(rs.writeTrace(await model.trace(texts, { ablate, attribution: {} }))));
  model.close();
});

test("a folder beside the command, a path and an address name the same model; more texts than are traced at a time", async () => {
  const site = await serve({ mounts: { "/models/demo/": DEMO } });
  try {
    mkdirSync(at("models"));
    execFileSync("cp", ["-r", DEMO, at("models/mine")]);
    const many = Array.from({ length: 35 }, (_, i) => `${i} kings sat on the mat.`);
    writeFileSync(at("many.txt"), many.join("\n"));
    const found = {};
    for (const [name, model] of Object.entries({ relative: "models/mine", path: at("models/mine"), http: `${site.origin}/models/demo/` })) {
      const done = await cli("trace", "--model", model, "--text", "many.txt", "--out", `${name}.json`);
      assert.equal(done.code, 0, done.stderr);
      found[name] = rs.readTrace(readFileSync(at(`${name}.json`)));
    }
    assert.equal(found.relative.model.source, "mine");
    assert.deepEqual(found.relative, found.path);
    assert.deepEqual(found.http.sequences, found.path.sequences);
    assert.deepEqual(found.path.sequences.map(({ text }) => text), many);
  } finally {
    await site.close();
  }
});

test("lines are texts with their white space, whatever ends them and however they are encoded", async () => {
  const texts = ["in the cat ", "in the cat", "\ttabs\t", "a \\↵ sign"];
  const content = `\ufeff${texts.join("\r\n")}\r\n \r\n`;
  for (const encoding of ["utf8", "utf16le"]) {
    writeFileSync(at(`${encoding}.txt`), content, encoding);
    const done = await cli("trace", "--text", `${encoding}.txt`, "--out", "lines.json");
    assert.equal(done.code, 0, done.stderr);
    const { sequences } = rs.readTrace(readFileSync(at("lines.json")));
    assert.deepEqual(sequences.map(({ text }) => text), texts);
    assert.ok(sequences[0].ids.length > sequences[1].ids.length, "the space at the end is lost");
  }
});

test("- is standard input and output", async () => {
  const done = await run(process.execPath, [CLI, "trace", "--text", "-", "--out", "-"], { cwd: folder, input: TEXTS.join("\n") });
  assert.equal(done.code, 0, done.stderr);
  assert.deepEqual(rs.readTrace(done.stdout), await ours());
});

test("a reader of standard output that stops early gets a sentence, not a stack trace", async () => {
  writeFileSync(at("many.txt"), Array(60).fill("The cat sat on the mat again and again.").join("\n"));
  const command = `"${process.execPath}" "${CLI}" trace --text many.txt --out - | head -c 5`;
  const done = await run("sh", ["-c", command], { cwd: folder });
  assert.equal(done.stdout, '{"for');
  assert.match(done.stderr, /residual-stream: standard output: whoever was reading it has stopped\.\n$/);
});

test("svg draws the charts of a recorded run", async () => {
  assert.equal((await traced("--out", "run.json", "--lens", "2")).code, 0);
  const trace = rs.readTrace(readFileSync(at("run.json")));
  assert.equal((await cli("svg", "--trace", "run.json", "--chart", "evolution", "--out", "evolution.svg")).code, 0);
  assert.equal(readFileSync(at("evolution.svg"), "utf8"), rs.svg(trace, "evolution", { theme: "light" }));
  const options = ["--theme", "dark", "--width", "500", "--height", "300", "--sequence", "1", "--token", "2", "--with-first", "--quantity", "difference"];
  const done = await cli("svg", "--trace", "run.json", "--chart", "heatmap", "--out", "-", ...options);
  assert.equal(done.stdout, rs.svg(trace, "heatmap", { theme: "dark", width: 500, height: 300, sequence: 1, token: 2, skipFirst: false, quantity: "difference" }));
});

test("what is wrong is one sentence, with code 1 for work that failed and 2 for misuse", async () => {
  writeFileSync(at("empty.txt"), "\n \n");
  writeFileSync(at("long.txt"), `A king.\n\n${"once upon a time ".repeat(200)}\nA queen.\n`);
  writeFileSync(at("latin1.txt"), Buffer.from([0x63, 0x61, 0x66, 0xe9]));
  const trace = ["trace", "--text", "texts.txt", "--out", "never.json"];
  for (const [args, code, words] of [
    [[...trace, "--model", "./nowhere"], 1, /nowhere: there is no such folder/],
    [[...trace, "--model", "a/b/c"], 1, /"a\/b\/c" is neither a repo id/],
    [["trace", "--text", "nothing.txt", "--out", "never.json"], 1, /nothing\.txt: there is no such file/],
    [["trace", "--text", "latin1.txt", "--out", "never.json"], 1, /latin1\.txt: this is no text in UTF-8/],
    [["trace", "--text", "texts.txt", "--out", "no/such/never.json"], 1, /no\/such\/never\.json: there is no such file or folder/],
    [["trace", "--text", "long.txt", "--out", "never.json"], 1, /long\.txt, line 3: the text has \d+ tokens, and this model reads at most 256/],
    [["trace", "--text", "empty.txt", "--out", "never.json"], 2, /empty\.txt has no text/],
    [["trace", "--out", "never.json"], 2, /--text is missing/],
    [[...trace, "--lens", "many"], 2, /--lens: expected a whole number from 0 to 100, not "many"/],
    [[...trace, "--workers", "0"], 2, /--workers/],
    [[...trace, "--patterns", "1,2"], 2, /--patterns: expected LAYER\.HEAD, such as 3\.2, not "1"/],
    [[...trace, "--off", "mlp.2.sometimes"], 2, /--off: expected .* not "mlp\.2\.sometimes"/],
    [[...trace, "--off", "mlp.99"], 1, /99/],
    [[...trace, "--target", "not one token"], 1, /not one token/],
    [[...trace, "--format", "xml"], 2, /--format: expected json or safetensors, not "xml"/],
    [[...trace, "--speed"], 2, /--speed/],
    [[...trace, "extra"], 2, /extra/],
    [["svg", "--trace", "x", "--chart", "heatmap", "--out", "never.svg", "--quantity", "all"], 2, /--quantity/],
    [["svg", "--trace", "run.json", "--chart", "pie", "--out", "never.svg"], 2, /--chart: There is no chart named "pie".*"evolution"/],
    [["svg", "--trace", "run.json", "--chart", "heads", "--out", "never.svg"], 1, /made without heads/],
    [["paint"], 2, /"paint" is no command/],
    [["svg", "--trace", "texts.txt", "--chart", "evolution", "--out", "never.svg"], 1, /no saved run/],
  ]) {
    const done = await cli(...args);
    assert.equal(done.code, code, `${args.join(" ")}: ${done.stderr}`);
    assert.match(done.stderr, words);
    const sentences = done.stderr.split("\n").filter((line) => line.startsWith("residual-stream:"));
    assert.equal(sentences.length, 1, `${args.join(" ")} said: ${done.stderr}`);
    assert.doesNotMatch(done.stderr, /^\s+at /m, "a stack trace is no sentence");
  }
  assert.deepEqual(readdirSync(folder).filter((name) => /never|\.part$/.test(name)), []);
});

test("a file that is there stays as it was when the work fails or is stopped", async () => {
  writeFileSync(at("kept.json"), "as it was");
  writeFileSync(at("long.txt"), Array(4000).fill("Once upon a time there was a king who had a daughter. ".repeat(4)).join("\n"));
  const stopped = await run(process.execPath, [CLI, "trace", "--text", "long.txt", "--out", "kept.json"], {
    cwd: folder,
    onChild: (child) => child.stderr.on("data", (text) => /tracing/.test(text) && child.kill("SIGINT")),
  });
  assert.deepEqual([stopped.code, stopped.signal], [130, null], stopped.stderr);
  assert.match(stopped.stderr, /residual-stream: stopped\.\n$/);
  assert.equal(readFileSync(at("kept.json"), "utf8"), "as it was");
  assert.deepEqual(readdirSync(folder).filter((name) => name.endsWith(".part")), []);
});

test("help names every command and option; the version is the package's", async () => {
  const help = await cli("--help");
  assert.equal(help.code, 0);
  for (const word of ["trace", "svg", "--model", "--text", "--out", "--heads", "--lens", "--no-predictions", "--workers", "--format", "--hub", "--name", "--leads", "--next", "--patterns", "--attribution", "--target", "--against", "--off", "--chart", "--theme", "--width", "--height", "--sequence", "--token", "--with-first", "--quantity", "--bins"]) {
    assert.ok(help.stdout.includes(word), `--help does not name ${word}`);
  }
  for (const { name, lead } of rs.charts()) assert.match(help.stdout, new RegExp(`^ +${name} +${lead.replace("?", "\\?")}$`, "m"));
  assert.ok(help.stdout.split("\n").every((line) => line.length <= 120));
  assert.equal((await cli("trace", "--help")).stdout, help.stdout);
  assert.equal((await cli("--version")).stdout, `${JSON.parse(readFileSync(join(PACKAGE, "package.json"), "utf8")).version}\n`);
  assert.equal((await cli()).code, 2);
});

test("on a terminal, a bar moves in one line and is gone at the end", async () => {
  const { Progress } = await import(join(PACKAGE, "node/cli/progress.js"));
  const written = [];
  const terminal = new Progress({ isTTY: true, columns: 60, write: (text) => written.push(text) });
  terminal.show("loading", 0.5, "3 of 6 MiB");
  terminal.show("loading", 0.51, "3 of 6 MiB"); // too soon to be seen
  terminal.show("loading", 1, "6 of 6 MiB and more than fits in one line of sixty");
  terminal.end("done");
  assert.equal(written.length, 4, JSON.stringify(written));
  assert.match(written[0], /^\r\x1b\[Kloading \[={12} {12}\]  50 %  3 of 6 MiB$/);
  assert.ok(written[1].length <= 4 + 59, "a line that wraps cannot be taken back");
  assert.deepEqual(written.slice(2), ["\r\x1b[K", "done\n"]);
});
