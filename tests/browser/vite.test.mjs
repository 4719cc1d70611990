// The package in a fresh Vite project without any setting: packed by npm, unpacked into node_modules, then the development
// server (which bundles dependencies anew), a build and its preview, in Chromium. And through a bundler that copies no files.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";
import { build, createServer, preview } from "vite";
import { launch, openPage } from "./support/browser.mjs";
import { allClose, NORM_RELATIVE } from "./support/compare.mjs";
import { serve } from "./support/site.mjs";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const PACKAGE = resolve(ROOT, process.env.PACKAGE ?? "target/test-pkg");
// Vite would take the nearest folder with a package.json for the project, and its node_modules.
const project = mkdtempSync(join(tmpdir(), "residual-stream-vite-"));
const TEXT = "The cat sat on the mat.";

const MAIN = `
import { draw, evolution, loadModel, svg } from "residual-stream";
const model = await loadModel("demo", { workers: 2 });
const trace = await model.trace([${JSON.stringify(TEXT)}]);
draw(document.querySelector("canvas"), trace, "evolution");
window.found = { mlp: evolution(trace).mlp.map(({ mean }) => mean), simd: model.simd, svg: svg(trace, "evolution").length };
model.close();
`;
const SLIM = `
import { start } from "residual-stream/slim";
import page from "residual-stream/page.wasm?url";
import script from "residual-stream/engine.js?url";
import module from "residual-stream/engine.wasm?url";
const { evolution, loadModel, svg } = await start({ page, engine: { script, module }, demo: new URL(import.meta.env.BASE_URL + "demo/", location.href) });
const model = await loadModel("demo");
const trace = await model.trace([${JSON.stringify(TEXT)}]);
window.found = { mlp: evolution(trace).mlp.map(({ mean }) => mean), simd: model.simd, svg: svg(trace, "evolution").length };
model.close();
`;
const PAGE = (script) => `<!doctype html><html lang="en"><title>fresh</title><link rel="icon" href="data:,">
<canvas style="width:600px;height:300px"></canvas><script type="module" src="/${script}.js"></script></html>`;

let browser, expected;
before(async () => {
  const [packed] = JSON.parse(execFileSync("npm", ["pack", PACKAGE, "--json", "--loglevel=error"], { cwd: project, encoding: "utf8" }));
  mkdirSync(join(project, "node_modules/residual-stream"), { recursive: true });
  execFileSync("tar", ["xzf", packed.filename, "-C", "node_modules/residual-stream", "--strip-components=1"], { cwd: project });
  writeFileSync(join(project, "package.json"), '{ "name": "fresh", "private": true, "type": "module", "dependencies": { "residual-stream": "*" } }');
  for (const [name, script, content] of [["index", "main", MAIN], ["slim", "slim", SLIM]]) {
    writeFileSync(join(project, `${name}.html`), PAGE(script));
    writeFileSync(join(project, `${script}.js`), content);
  }
  mkdirSync(join(project, "public"));
  cpSync(join(PACKAGE, "models/demo"), join(project, "public/demo"), { recursive: true });

  const { evolution, loadModel } = await import(join(PACKAGE, "node.js"));
  const model = await loadModel("demo");
  expected = evolution(await model.trace([TEXT])).mlp.map(({ mean }) => mean);
  model.close();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  rmSync(project, { recursive: true, force: true });
});

/** Opens the page and waits for what its script finds. */
async function look(what, address, simd = "relaxed") {
  const page = await openPage(browser);
  const answers = [];
  page.on("response", (response) => answers.push({ url: response.url(), status: response.status() }));
  await page.goto(address);
  const found = await page.waitForFunction(() => window.found, undefined, { timeout: 60_000 }).then((handle) => handle.jsonValue())
    .catch((error) => assert.fail(`${what}: nothing came: ${page.problems.join("\n")}\n${error}`));
  allClose(`${what}: mean MLP norms`, found.mlp, expected, { relative: NORM_RELATIVE });
  assert.equal(found.simd, simd, `${what}: the engine that runs`);
  assert.ok(found.svg > 1000);
  assert.deepEqual(page.problems, [], what);
  await page.context().close();
  return answers.filter(({ url, status }) => status === 200 && url.startsWith("http")).map(({ url }) => new URL(url).pathname);
}

test("the development server serves it, dependencies bundled as Vite does by itself", async () => {
  const server = await createServer({ root: project, configFile: false, logLevel: "error", server: { host: "127.0.0.1", port: 0 } });
  await server.listen();
  try {
    const paths = await look("vite dev", server.resolvedUrls.local[0]);
    assert.ok(paths.some((path) => path.includes("/.vite/deps/residual-stream")), `Vite no longer bundles dependencies: ${paths}`);
    await look("vite dev, slim", `${server.resolvedUrls.local[0]}slim.html`, "simd128");
  } finally {
    await server.close();
  }
});

test("a build finds every file, under a sub-path too, and a visit downloads one engine", async () => {
  const input = ["index.html", "slim.html"].map((name) => join(project, name));
  await build({ root: project, base: "/some/where/", configFile: false, logLevel: "error", build: { rolldownOptions: { input } } });
  const assets = readdirSync(join(project, "dist/assets"));
  for (const kind of [/^engine-[\da-f]+_bg.*\.wasm$/, /^engine-relaxed-.*_bg.*\.wasm$/, /^page-.*\.wasm$/, /^model-.*\.safetensors$/]) {
    assert.equal(assets.filter((name) => kind.test(name)).length, 1, `${kind}: ${assets}`);
  }
  const server = await preview({ root: project, base: "/some/where/", configFile: false, logLevel: "error", preview: { host: "127.0.0.1", port: 0 } });
  try {
    const paths = await look("vite build", server.resolvedUrls.local[0]);
    const modules = paths.filter((path) => path.endsWith(".wasm")).map((path) => path.split("/").pop().split("-")[0] + (path.includes("relaxed") ? "-relaxed" : ""));
    assert.deepEqual([...new Set(modules)].sort(), ["engine-relaxed", "page"], `downloaded: ${paths}`);
    const slim = await look("vite build, slim", `${server.resolvedUrls.local[0]}slim.html`, "simd128");
    assert.deepEqual(slim.filter((path) => /relaxed|assets\/model/.test(path)), [], "slim downloads what it was given, no more");
  } finally {
    await server.close();
  }
});

test("a build writes none of the compiled halves into its scripts", () => {
  const assets = join(project, "dist/assets");
  const scripts = readdirSync(assets).filter((name) => name.endsWith(".js") && !name.startsWith("engine-"));
  assert.ok(scripts.length >= 2, `${scripts}`);
  for (const name of scripts) {
    const bytes = readFileSync(join(assets, name)).length;
    assert.ok(bytes < 100_000, `${name} has ${bytes} bytes: something was written into it that belongs beside it`);
  }
});

test("inline goes through a bundler that copies no files into one script, which needs nothing else", async () => {
  const entry = join(project, "inline.js");
  writeFileSync(entry, MAIN.replace('"residual-stream"', '"residual-stream/inline"').replace('"demo"', 'new URL("/demo/", location.href)'));
  const bundle = await rolldown({ input: entry, platform: "browser", logLevel: "warn" });
  const { output } = await bundle.write({ file: join(project, "bundled/bundle.js"), format: "es", codeSplitting: false });
  await bundle.close();
  assert.deepEqual(output.map(({ fileName }) => fileName), ["bundle.js"]);
  const site = await serve({
    mounts: { "/bundled/": join(project, "bundled"), "/demo/": join(PACKAGE, "models/demo") },
    pages: { "/": PAGE("bundled/bundle") },
  });
  try {
    const paths = await look("inline", `${site.origin}/`);
    assert.deepEqual(paths.filter((path) => !path.startsWith("/demo/")).sort(), ["/", "/bundled/bundle.js"]);
  } finally {
    await site.close();
  }
});
