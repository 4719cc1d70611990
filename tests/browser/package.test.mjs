// The npm package standing alone, as `make package` writes it: complete, importable from any folder, with its demo model;
// and its slim entry, which is told where everything is.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { after, before, test } from "node:test";
import { launch, openPage } from "./support/browser.mjs";
import { serve } from "./support/site.mjs";

const PACKAGE = resolve(fileURLToPath(new URL("../../", import.meta.url)), process.env.PACKAGE ?? "target/test-pkg");
const BLANK = "<!doctype html><title>blank</title><link rel=icon href=data:,>";
// What docs/package.md says that a page needs, and nothing else.
const POLICY = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src blob:; connect-src 'self'; img-src data:; require-trusted-types-for 'script'; trusted-types residual-stream";
const STRICT = `<!doctype html><meta http-equiv="Content-Security-Policy" content="${POLICY}"><title>strict</title>`;

const bundled = mkdtempSync(join(tmpdir(), "residual-stream-bundled-"));
let site, browser;
before(async () => {
  assert.ok(existsSync(PACKAGE), `${PACKAGE} is not there: run "make test-site" first`);
  // As Vite 7 leaves it while it develops: the scripts are in one folder, what they ask for is in another.
  mkdirSync(join(bundled, "internal"));
  cpSync(join(PACKAGE, "residual-stream.js"), join(bundled, "residual-stream.js"));
  for (const [, name] of readFileSync(join(PACKAGE, "residual-stream.js"), "utf8").matchAll(/from "\.\/(internal\/[\w.-]+)"/g)) {
    cpSync(join(PACKAGE, name), join(bundled, name));
  }
  site = await serve({
    mounts: { "/vendor/rs/": PACKAGE, "/node_modules/residual-stream/": PACKAGE, "/node_modules/.vite/deps/": bundled },
    pages: { "/": BLANK, "/strict.html": STRICT },
  });
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await site?.close();
  rmSync(bundled, { recursive: true, force: true });
});

/** Runs a function in a fresh page, and gives what it gives; nothing may go wrong in the page. */
async function inPage(address, work, argument) {
  const page = await openPage(browser);
  await page.goto(`${site.origin}${address}`);
  const found = await page.evaluate(work, argument);
  assert.deepEqual(page.problems, []);
  await page.context().close();
  return found;
}

async function layersOf(module) {
  const { evolution, loadModel } = await import(module);
  const model = await loadModel("demo");
  const trace = await model.trace(["The cat sat on the mat."]);
  model.close();
  return evolution(trace).mlp.length;
}

test("npm would pack everything that the package's modules ask for", () => {
  const manifest = JSON.parse(readFileSync(join(PACKAGE, "package.json"), "utf8"));
  const [packed] = JSON.parse(execFileSync("npm", ["pack", "--dry-run", "--json", "--loglevel=error"], { cwd: PACKAGE, encoding: "utf8" }));
  const files = packed.files.map((file) => file.path);
  const named = (entry) => new Set([...readFileSync(join(PACKAGE, entry), "utf8").matchAll(/\.\/(internal\/[\w.-]+)/g)].map((match) => match[1]));
  assert.equal(named("residual-stream.js").size, 6, `the module names ${[...named("residual-stream.js")]}`);
  assert.deepEqual(named("node.js"), named("residual-stream.js"));
  const promised = (value) => (typeof value === "string" ? [value.replace("./", "")] : Object.values(value).flatMap(promised));
  for (const path of [...promised(manifest.exports), ...promised(manifest.bin), ...named("residual-stream.js"), "README.md", "LICENSE-MIT",
    "LICENSE-APACHE", ...["config.json", "model.safetensors", "tokenizer.json"].map((name) => `models/demo/${name}`)]) {
    assert.ok(files.includes(path), `the package lacks ${path}; it has ${files.join(", ")}`);
  }
  assert.equal(manifest.name, "residual-stream");
  assert.match(manifest.version, /^\d+\.\d+\.\d+/);
});

test("served from any folder it loads its own demo model and traces, under the strict policy that the docs give", async () => {
  assert.equal(await inPage("/", layersOf, "/vendor/rs/residual-stream.js"), 12);
  assert.equal(await inPage("/strict.html", layersOf, "/vendor/rs/residual-stream.js"), 12);
});

test("a page of another origin imports it by its address", async () => {
  const other = await serve({ mounts: { "/rs/": PACKAGE }, cors: true });
  try {
    assert.equal(await inPage("/", layersOf, `${other.origin}/rs/residual-stream.js`), 12);
  } finally {
    await other.close();
  }
});

test("where a bundler moved the script alone, it finds its files where it is installed", async () => {
  const before = site.requests.length;
  assert.equal(await inPage("/", layersOf, "/node_modules/.vite/deps/residual-stream.js"), 12);
  const asked = site.requests.slice(before);
  assert.deepEqual(asked.filter((path) => /\.vite\/deps\/.*\.(wasm|safetensors|json)$/.test(path)), []);
  assert.ok(asked.some((path) => /^\/node_modules\/residual-stream\/internal\/page-.*\.wasm$/.test(path)), asked.join(", "));
});

test("a chart drawn in a browser as SVG, and a run written and read, are Node's", async () => {
  const { loadModel, svg, writeTrace } = await import(join(PACKAGE, "node.js"));
  const model = await loadModel("demo");
  const trace = await model.trace(["The cat sat on the mat."], { lens: 2 });
  model.close();
  const json = new TextDecoder().decode(writeTrace(trace));
  const found = await inPage("/", async (text) => {
    const rs = await import("/vendor/rs/residual-stream.js");
    const trace = rs.readTrace(text);
    const picture = rs.svg(trace, "lens", { theme: "dark", width: 640, height: 480 });
    const page = new DOMParser().parseFromString(picture, "image/svg+xml");
    return {
      picture, written: new TextDecoder().decode(rs.writeTrace(trace)), typed: trace.sequences[0].mlp_norm instanceof Float32Array,
      root: page.documentElement.tagName, texts: page.querySelectorAll("text").length,
    };
  }, json);
  assert.equal(found.written, json);
  assert.equal(found.picture, svg(trace, "lens", { theme: "dark", width: 640, height: 480 }));
  assert.deepEqual([found.typed, found.root], [true, "svg"]);
  assert.ok(found.texts > 20, `${found.texts} texts`);
});

test("slim takes addresses, bytes, answers, compiled modules, and functions that give them late", async () => {
  const { exports } = JSON.parse(readFileSync(join(PACKAGE, "package.json"), "utf8"));
  const at = Object.fromEntries(Object.entries(exports).filter(([, path]) => typeof path === "string")
    .map(([name, path]) => [name.slice(2), `/vendor/rs/${path.slice(2)}`]));
  for (const kind of ["address", "bytes", "answer", "module", "late"]) {
    const found = await inPage("/", async ({ kind, at }) => {
      const { start } = await import("/vendor/rs/slim.js");
      const bytes = async (path) => (await fetch(path)).arrayBuffer();
      let asked = 0;
      const give = {
        address: (path) => new URL(path, location.href),
        bytes: async (path) => new Uint8Array(await bytes(path)),
        answer: (path) => fetch(path),
        module: async (path) => (path.endsWith(".wasm") ? WebAssembly.compile(await bytes(path)) : new Blob([await bytes(path)])),
        late: (path) => () => { asked += 1; return fetch(path); },
      }[kind];
      const refused = await start({ page: give(at["page.wasm"]) }).catch(({ code, message }) => `${code}: ${message}`);
      asked = 0;
      const engine = { script: give(at["engine.js"]), module: give(at["engine.wasm"]) };
      const rs = await start({ page: give(at["page.wasm"]), engine });
      const again = await start();
      const late = asked;
      const none = await rs.loadModel("demo").catch(({ code }) => code);
      const model = await rs.loadModel(new URL("/vendor/rs/models/demo/", location.href), { cache: false });
      const trace = await model.trace(["The cat sat on the mat."]);
      return { refused, same: again === rs, late, none, simd: model.simd, layers: rs.evolution(trace).mlp.length };
    }, { kind, at });
    assert.match(found.refused, /^bad-argument: start: engine\.script is missing/, kind);
    assert.deepEqual({ ...found, refused: "" }, {
      refused: "", same: true, late: kind === "late" ? 1 : 0, none: "not-found", simd: "simd128", layers: 12,
    }, kind);
  }
});
