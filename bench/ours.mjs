// Our engine on a page of its own, as any static host would serve it.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { openPage } from "../tests/browser/support/browser.mjs";
import { serve } from "../tests/browser/support/site.mjs";

/** Makes the page believe that it has no relaxed SIMD. */
const WITHOUT_RELAXED = () => {
  const { validate } = WebAssembly;
  WebAssembly.validate = (bytes) => !`${new Uint8Array(bytes.buffer ?? bytes)}`.includes("253,128,2") && validate(bytes);
};

/** Opens a page with a package, and a model in it. `run(ids, options)` resolves to `{ ms, norms, profile }`. */
export async function ours({ browser, hub, folder, workers, relaxed = true }) {
  if (!existsSync(join(folder, "residual-stream.js"))) throw new Error(`${folder} holds no built package: "make build" first`);
  const site = await serve({
    // The site's package finds its demo model beside itself.
    mounts: { "/here/pkg/": folder }, pages: { "/blank.html": "<!doctype html><title>ours</title>" },
  });
  const page = await openPage(browser);
  if (!relaxed) await page.addInitScript(WITHOUT_RELAXED);
  await page.goto(`${site.origin}/blank.html`);
  const opened = await page.evaluate(async ({ hub, workers }) => {
    const { loadModel } = await import("/here/pkg/residual-stream.js");
    window.model = await loadModel("openai-community/gpt2", { hub, workers, cache: false });
    await window.model.ready;
    await window.model.traceTokens([[1, 2, 3]], { predictions: false });
    return { workers: window.model.workers, simd: window.model.simd, isolated: window.crossOriginIsolated };
  }, { hub, workers });
  if (opened.workers !== workers || opened.isolated || opened.simd !== (relaxed ? "relaxed" : "simd128")) {
    throw new Error(`not the engine that was meant: ${JSON.stringify(opened)}`);
  }
  return {
    run: (ids, options = {}) => page.evaluate(async ({ ids, options }) => {
      const start = performance.now();
      const trace = await window.model.traceTokens([ids], { predictions: false, ...options });
      return { ms: performance.now() - start, norms: Array.from(trace.sequences[0].attn_norm), profile: trace.profile };
    }, { ids, options }),
    async close() {
      await page.context().close();
      await site.close();
    },
  };
}
