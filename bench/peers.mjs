// ONNX Runtime Web, on the same weights, in the same browser: with one thread on any page, with two on a page that is
// cross-origin isolated.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { openPage } from "../tests/browser/support/browser.mjs";
import { serve } from "../tests/browser/support/site.mjs";

/** The same model as an ONNX file, made once by tools/make_onnx.py in a Python environment of its own. */
export function onnxFile(root, model) {
  const file = join(root, "target/bench/gpt2.onnx");
  if (existsSync(file)) return file;
  const venv = join(root, "target/bench/venv");
  const say = { stdio: ["ignore", 2, 2] };
  console.error("writing the model as ONNX into target/bench (once)");
  if (!existsSync(join(venv, "bin/python"))) {
    execFileSync("python3", ["-m", "venv", venv], say);
    execFileSync(join(venv, "bin/pip"), ["install", "--quiet", "-r", join(root, "bench/requirements.txt")], say);
  }
  execFileSync(join(venv, "bin/python"), [join(root, "tools/make_onnx.py"), model, file], say);
  return file;
}

/** Opens a page with a session of so many threads. `create` again makes another, in a fresh page; `run(ids)` resolves
 *  to `{ ms, norms }`, the norms of attention's contributions. */
export async function onnxRuntime({ root, browser, model, threads }) {
  onnxFile(root, model);
  const site = await serve({
    mounts: { "/ort/": join(root, "bench/node_modules/onnxruntime-web/dist"), "/bench/": join(root, "target/bench") },
    pages: { "/blank.html": "<!doctype html><title>peer</title>" },
    isolated: threads > 1,
  });
  let page;
  const peer = {
    /** Resolves to the milliseconds that the creation took, the model's bytes being in memory. */
    async create() {
      await page?.context().close();
      page = await openPage(browser);
      await page.goto(`${site.origin}/blank.html`);
      return page.evaluate(async (threads) => {
        if (threads > 1 && !window.crossOriginIsolated) throw new Error("the peer's page is not isolated");
        const bytes = new Uint8Array(await (await fetch("/bench/gpt2.onnx")).arrayBuffer());
        const start = performance.now();
        const ort = (window.ort = await import("/ort/ort.wasm.min.mjs"));
        ort.env.wasm.numThreads = threads;
        ort.env.wasm.wasmPaths = "/ort/";
        window.session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
        return performance.now() - start;
      }, threads);
    },
    run: (ids) => page.evaluate(async (ids) => {
      const feeds = { ids: new window.ort.Tensor("int64", BigInt64Array.from(ids, BigInt), [ids.length]) };
      const start = performance.now();
      const result = await window.session.run(feeds);
      return { ms: performance.now() - start, norms: Array.from(result.attn_norm.data) };
    }, ids),
    async close() {
      await page?.context().close();
      await site.close();
    },
  };
  return peer;
}
