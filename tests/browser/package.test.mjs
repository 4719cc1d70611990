// The npm package standing alone, as `make package` writes it: complete, importable, with its demo model.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { launch, openPage } from "./support/browser.mjs";
import { serve } from "./support/site.mjs";

const PACKAGE = resolve(fileURLToPath(new URL("../../", import.meta.url)), process.env.PACKAGE ?? "target/test-pkg");

test("npm would pack everything that the package's module asks for", () => {
  assert.ok(existsSync(PACKAGE), `${PACKAGE} is not there: run "make test-site" first`);
  const manifest = JSON.parse(readFileSync(join(PACKAGE, "package.json"), "utf8"));
  const [packed] = JSON.parse(execFileSync("npm", ["pack", "--dry-run", "--json", "--loglevel=error"], { cwd: PACKAGE, encoding: "utf8" }));
  const files = packed.files.map((file) => file.path);
  const module = readFileSync(join(PACKAGE, "residual-stream.js"), "utf8");
  const internal = [...module.matchAll(/\.\/(internal\/[\w.-]+)/g)].map((match) => match[1]);
  assert.equal(new Set(internal).size, 6, `the module names ${internal}`);
  const wanted = [manifest.types, manifest.exports["."].default].map((path) => path.replace("./", ""));
  for (const path of [...wanted, ...internal, "README.md", "LICENSE-MIT", "LICENSE-APACHE",
    ...["config.json", "model.safetensors", "tokenizer.json"].map((name) => `models/demo/${name}`)]) {
    assert.ok(files.includes(path), `the package lacks ${path}; it has ${files.join(", ")}`);
  }
  assert.equal(manifest.name, "residual-stream");
  assert.match(manifest.version, /^\d+\.\d+\.\d+/);
});

test("served from any folder it loads its own demo model and traces", async () => {
  const page = "<!doctype html><title>blank</title><link rel=icon href=data:,>";
  const site = await serve({ mounts: { "/vendor/rs/": PACKAGE }, pages: { "/": page } });
  const browser = await launch();
  try {
    const blank = await openPage(browser);
    await blank.goto(`${site.origin}/`);
    const layers = await blank.evaluate(async () => {
      const { evolution, loadModel } = await import("/vendor/rs/residual-stream.js");
      const model = await loadModel("demo");
      const trace = await model.trace(["The cat sat on the mat."]);
      model.close();
      return evolution(trace).mlp.length;
    });
    assert.equal(layers, 12);
    assert.deepEqual(blank.problems, []);
  } finally {
    await browser.close();
    await site.close();
  }
});
