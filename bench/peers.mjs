// ONNX Runtime Web, on the same weights, in the same browser: what it takes to create a session, and to run.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { openPage } from "../tests/browser/support/browser.mjs";
import { serve } from "../tests/browser/support/site.mjs";
import { median, row, summary } from "./summary.mjs";

/** The same model as an ONNX file, made once by tools/make_onnx.py in a Python environment of its own. */
function onnxFile(root, model) {
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

/** `ours`: { warm: ms, times: { T: [ms] }, norms: [L*T] of attention at the shortest T }. */
export async function onnxRuntime({ root, browser, model, lengths, runs, ours }) {
  onnxFile(root, model);
  const site = await serve({
    mounts: { "/ort/": join(root, "bench/node_modules/onnxruntime-web/dist"), "/bench/": join(root, "target/bench") },
    pages: { "/blank.html": "<!doctype html><title>peer</title>" },
  });
  let page;
  try {
    console.log("\nONNX Runtime Web, wasm, one thread, the same weights and outputs, in the same browser");
    const created = [];
    for (let i = 0; i < runs; i += 1) {
      // A fresh page each time, as our warm load has a fresh worker each time.
      await page?.context().close();
      page = await openPage(browser);
      await page.goto(`${site.origin}/blank.html`);
      created.push(await page.evaluate(async () => {
        // The bytes are at hand, as ours are in storage: only what follows counts.
        const bytes = new Uint8Array(await (await fetch("/bench/gpt2.onnx")).arrayBuffer());
        const start = performance.now();
        const ort = (window.ort = await import("/ort/ort.wasm.min.mjs"));
        ort.env.wasm.numThreads = 1;
        ort.env.wasm.wasmPaths = "/ort/";
        window.session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
        return performance.now() - start;
      }));
    }
    row("session creation, bytes in memory", summary(created, "ms"));
    row("our warm load, of that", `${(ours.warm / median(created)).toFixed(2)} x`);
    for (const T of lengths) {
      const { times, norms } = await page.evaluate(async ({ T, runs }) => {
        const ids = BigInt64Array.from({ length: T }, (_, i) => BigInt((i * 7919 + 13) % 50257));
        const feeds = { ids: new window.ort.Tensor("int64", ids, [T]) };
        let result = await window.session.run(feeds);
        const times = [];
        for (let i = 0; i < runs; i += 1) {
          const start = performance.now();
          result = await window.session.run(feeds);
          times.push(performance.now() - start);
        }
        return { times, norms: Array.from(result.attn_norm.data) };
      }, { T, runs });
      row(`${T} tokens, blocks only`, `${summary(times, "ms")}; ours takes ${(median(ours.times[T]) / median(times)).toFixed(2)} x`);
      const worst = Math.max(...norms.map((norm, i) => Math.abs(norm / ours.norms[T][i] - 1)));
      if (!(worst < 1e-3)) throw new Error(`the peer computes something else: norms differ by ${worst} at ${T} tokens`);
    }
  } finally {
    await page?.context().close();
    await site.close();
  }
}
