// How GPT-2 124M's weights arrive: bytes until the first block's point, until the full norm trace, in all; memory;
// and a second visit, in a profile on disk (as readers have) and in a private window, where the browser keeps its file
// system in another process's memory.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { launchPersistent } from "../tests/browser/support/browser.mjs";
import { median, megabytes, row, summary } from "./summary.mjs";

const REPO = "openai-community/gpt2";
const TOKENS = 64;

/** Loads in a page that has imported the package as `window.rs`; a text of 64 scattered tokens waits from the start.
 *  `peek(layers)` is told of every partial trace, in node. */
async function arrive(page, hub, peek) {
  await page.exposeFunction("peek", peek).catch(() => {});
  return page.evaluate(async ({ repo, hub, tokens }) => {
    const ids = [Array.from({ length: tokens }, (_, i) => (i * 7919 + 13) % 50257)];
    let memory = 0, loaded = 0;
    const start = performance.now();
    const onProgress = (progress) => {
      memory = Math.max(memory, progress.memory);
      if (progress.phase === "weights") loaded = progress.loaded;
    };
    const model = await window.rs.loadModel(repo, { hub, onProgress });
    const opened = performance.now() - start;
    const points = [];
    const onPartial = (trace) => {
      const layers = trace.sequences[0].attn_norm.length / tokens;
      points.push({ layers, loaded, ms: performance.now() - start });
      window.peek(layers);
    };
    const traced = model.traceTokens(ids, { onPartial });
    await Promise.all([traced, model.ready]);
    const ready = performance.now() - start;
    model.close();
    return { opened, ready, points, memory };
  }, { repo: REPO, hub, tokens: TOKENS });
}

/** A load without a text: to the last byte. */
const toReady = (page, hub) => page.evaluate(async ({ repo, hub }) => {
  const start = performance.now();
  const model = await window.rs.loadModel(repo, { hub });
  await model.ready;
  const ready = performance.now() - start;
  model.close();
  return ready;
}, { repo: REPO, hub });

/** Resolves to the median of a warm load, in milliseconds. */
export async function loading(lab, model, runs) {
  console.log("\nGPT-2 124M (random weights, F32, 548 MB with mask buffers) through the stand-in hub, a text of 64 scattered tokens waiting");
  await lab.hub.add(REPO, model);
  // The stand-in hashes its files once; the hub knows them.
  await (await fetch(`${lab.hub.origin}/api/models/${REPO}/tree/main`)).text();
  lab.hub.reset();
  const bytes = new Map();
  const { opened, ready, points, memory } = await arrive(lab.page, lab.hub.origin, (layers) => bytes.set(layers, lab.hub.bytes));
  const last = points.at(-1);
  row("index read", `${opened.toFixed(0)} ms`);
  row("to the first block's point", `${megabytes(bytes.get(1), 1)} sent (${megabytes(points[0].loaded, 1)} of tensors), ${points[0].ms.toFixed(0)} ms`);
  row("to the full norm trace", `${megabytes(bytes.get(last.layers), 1)} sent (${megabytes(last.loaded, 1)} of tensors), ${last.ms.toFixed(0)} ms`);
  row("to the last byte", `${megabytes(lab.hub.bytes, 1)} sent, ${lab.hub.requests.length} requests, ${ready.toFixed(0)} ms`);
  const kept = 4 * 124_439_808;
  row("peak wasm memory", `${megabytes(memory, 1)}, ${(memory / kept).toFixed(3)} x the ${megabytes(kept, 1)} kept`);

  const again = [];
  for (let i = 0; i < runs; i += 1) again.push(await toReady(lab.page, lab.hub.origin));
  row("warm load to ready, private window", summary(again, "ms"));

  const profile = mkdtempSync(join(tmpdir(), "residual-stream-bench-"));
  const context = await launchPersistent(profile);
  try {
    const page = await context.newPage();
    await lab.bring(page);
    row("cold load to ready, profile on disk", `${(await toReady(page, lab.hub.origin)).toFixed(0)} ms`);
    const warm = [];
    for (let i = 0; i < runs; i += 1) warm.push(await toReady(page, lab.hub.origin));
    row("warm load to ready, profile on disk", summary(warm, "ms"));
    return median(warm);
  } finally {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  }
}
