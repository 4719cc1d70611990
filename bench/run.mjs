// make bench: the engine with a random-weight GPT-2 124M in Chromium, the page's start, sizes on the wire.
// Prints median and spread (smallest to largest); peers stand beside it once bench/peers.mjs lists some.
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { openLab, SITE } from "../tests/browser/support/lab.mjs";
import { openSite } from "../tests/browser/support/site-page.mjs";
import { peers } from "./peers.mjs";
import { peakMemory } from "./memory.mjs";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const MODEL = join(ROOT, "target/bench/gpt2");
const LENGTHS = [16, 64, 128];
const RUNS = 5;

function summary(values, unit, digits = 0) {
  const sorted = [...values].sort((a, b) => a - b);
  const show = (value) => value.toFixed(digits);
  return `${show(sorted[sorted.length >> 1])} ${unit} (${show(sorted[0])} to ${show(sorted.at(-1))}, ${sorted.length} runs)`;
}

const row = (name, value) => console.log(`  ${name.padEnd(34)} ${value}`);
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(2)} MB`;

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

async function engine(lab) {
  if (!existsSync(join(MODEL, "model.safetensors"))) {
    console.error("writing a random-weight GPT-2 124M into target/bench (once)");
    execFileSync("python3", [join(ROOT, "tools/make_gpt2_124m.py"), MODEL, "--masks"], { stdio: ["ignore", 2, 2] });
  }
  console.log("\nGPT-2 124M (random weights, F32, 548 MB through the stand-in hub), traced with predictions");
  await lab.hub.add("openai-community/gpt2", MODEL);
  const loaded = await lab.run(async (rs, hub) => {
    const start = performance.now();
    window.gpt2 = await rs.loadModel("openai-community/gpt2", { hub });
    const opened = performance.now() - start;
    await window.gpt2.ready;
    return { opened, ready: performance.now() - start };
  }, lab.hub.origin);
  row("index read, then last byte", `${loaded.opened.toFixed(0)} ms, ${loaded.ready.toFixed(0)} ms`);
  const results = {};
  for (const T of LENGTHS) {
    const times = await lab.run(async (rs, { T, runs }) => {
      const ids = [Array.from({ length: T }, (_, i) => (i * 7919 + 13) % 50257)];
      await window.gpt2.traceTokens(ids);
      const times = [];
      for (let i = 0; i < runs; i += 1) {
        const start = performance.now();
        await window.gpt2.traceTokens(ids);
        times.push(performance.now() - start);
      }
      return times;
    }, { T, runs: RUNS });
    results[T] = times;
    row(`${T} tokens`, summary(times, "ms"));
  }
  row("peak memory of the renderer", await peakMemory(lab.browser));
  for (const peer of peers) row(peer.name, await peer.run({ lab, model: MODEL, lengths: LENGTHS, runs: RUNS, ours: results }));
  if (peers.length === 0) row("peers", "none wired in yet (bench/peers.mjs)");
}

console.log(`residual-stream benchmark: ${cpus().length} x ${cpus()[0].model}, ${new Date().toISOString().slice(0, 10)}`);
const lab = await openLab();
console.log(`Chromium ${lab.browser.version()}, ${SITE}`);
try {
  sizes();
  await startUp(lab);
  await engine(lab);
} finally {
  await lab.close();
}
