// make bench: the engine with a random-weight GPT-2 124M in Chromium, the page's start, sizes on the wire.
// Prints median and spread (smallest to largest), and ONNX Runtime Web on the same weights beside it.
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { openLab, SITE } from "../tests/browser/support/lab.mjs";
import { openSite } from "../tests/browser/support/site-page.mjs";
import { loading } from "./loading.mjs";
import { peakMemory } from "./memory.mjs";
import { onnxRuntime } from "./peers.mjs";
import { megabytes, row, summary } from "./summary.mjs";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const MODEL = join(ROOT, "target/bench/gpt2");
const LENGTHS = [16, 64, 128];
const RUNS = 5;

function sizes() {
  console.log("\nSizes of the site's code");
  for (const folder of [SITE, join(SITE, "pkg/internal")]) {
    for (const name of readdirSync(folder).filter((name) => name.endsWith(".wasm")).sort()) {
      const bytes = readFileSync(join(folder, name));
      const plain = name.replace(/-[0-9a-f]{16}/, "");
      row(folder === SITE ? plain : `pkg/${plain}`, `${megabytes(bytes.length)}, gzip ${megabytes(gzipSync(bytes, { level: 9 }).length)}`);
    }
  }
}

async function startUp(lab) {
  console.log("\nThe page, from navigation to its first charts (demo model, empty cache)");
  const times = [];
  for (let i = 0; i < RUNS; i += 1) {
    const page = await openSite(lab.browser, lab.site.origin);
    times.push(await page.evaluate(() => performance.now()));
    await page.context().close();
  }
  row("first charts", summary(times, "ms"));
}

function model() {
  if (!existsSync(join(MODEL, "model.safetensors"))) {
    console.error("writing a random-weight GPT-2 124M into target/bench (once)");
    execFileSync("python3", [join(ROOT, "tools/make_gpt2_124m.py"), MODEL, "--masks"], { stdio: ["ignore", 2, 2] });
  }
  return MODEL;
}

/** Resolves to { times, norms }, by number of tokens. */
async function engine(lab) {
  console.log("\nTraces by our engine, norms only (its linear layers are candle's own matmul, one worker)");
  await lab.run(async (rs, hub) => {
    window.gpt2 = await rs.loadModel("openai-community/gpt2", { hub });
    await window.gpt2.ready;
  }, lab.hub.origin);
  const ours = { times: {}, norms: {} };
  for (const T of LENGTHS) {
    const { times, norms } = await lab.run(async (rs, { T, runs }) => {
      const ids = [Array.from({ length: T }, (_, i) => (i * 7919 + 13) % 50257)];
      let trace = await window.gpt2.traceTokens(ids, { predictions: false });
      const times = [];
      for (let i = 0; i < runs; i += 1) {
        const start = performance.now();
        trace = await window.gpt2.traceTokens(ids, { predictions: false });
        times.push(performance.now() - start);
      }
      return { times, norms: Array.from(trace.sequences[0].attn_norm) };
    }, { T, runs: RUNS });
    Object.assign(ours.times, { [T]: times });
    Object.assign(ours.norms, { [T]: norms });
    row(`${T} tokens`, summary(times, "ms"));
  }
  row("peak memory of the renderer", await peakMemory(lab.browser));
  await lab.run(() => window.gpt2.close());
  return ours;
}

console.log(`residual-stream benchmark: ${cpus().length} x ${cpus()[0].model}, ${new Date().toISOString().slice(0, 10)}`);
const lab = await openLab();
console.log(`Chromium ${lab.browser.version()}, ${SITE}`);
try {
  sizes();
  await startUp(lab);
  const warm = await loading(lab, model(), RUNS);
  const ours = { ...(await engine(lab)), warm };
  await onnxRuntime({ root: ROOT, browser: lab.browser, model: MODEL, lengths: LENGTHS, runs: RUNS, ours });
} finally {
  await lab.close();
}
