// make bench: what the site costs and how fast it is, beside ONNX Runtime Web on the same weights in the same browser.
// Prints median and spread (smallest to largest), and how far the project's targets are reached.
//   node bench/run.mjs [--only page,loading,compute] [--runs 7]
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { openLab, SITE } from "../tests/browser/support/lab.mjs";
import { compute } from "./compute.mjs";
import { loading } from "./loading.mjs";
import { peakMemory } from "./memory.mjs";
import { page } from "./page.mjs";
import { onnxRuntime } from "./peers.mjs";
import { median, row, summary } from "./summary.mjs";
import { targets } from "./targets.mjs";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const MODEL = join(ROOT, "target/bench/gpt2");
const REPO = "openai-community/gpt2";
const { values } = parseArgs({ options: {
  only: { type: "string", default: "page,loading,compute" }, runs: { type: "string", default: "7" },
} });
const parts = values.only.split(","), runs = Number(values.runs);

function model() {
  if (!existsSync(join(MODEL, "model.safetensors"))) {
    console.error("writing a random-weight GPT-2 124M into target/bench (once)");
    execFileSync("python3", [join(ROOT, "tools/make_gpt2_124m.py"), MODEL, "--masks"], { stdio: ["ignore", 2, 2] });
  }
  return MODEL;
}

/** The peer's counterpart of a load: creating a session from bytes that are in memory, in a fresh page each time. */
async function sessions(browser) {
  const peer = await onnxRuntime({ root: ROOT, browser, model: MODEL, threads: 1 });
  try {
    const created = [];
    for (let i = 0; i < Math.min(runs, 5); i += 1) created.push(await peer.create());
    row("ONNX Runtime Web's session creation", summary(created, "ms"));
    return median(created);
  } finally {
    await peer.close();
  }
}

console.log(`residual-stream benchmark: ${cpus().length} x ${cpus()[0].model}, ${new Date().toISOString().slice(0, 10)}`);
const lab = await openLab();
console.log(`Chromium ${lab.browser.version()}`);
const found = {};
try {
  if (parts.includes("page")) Object.assign(found, await page(lab, runs));
  if (parts.includes("loading")) {
    found.warm = await loading(lab, model(), Math.min(runs, 5));
    row("peak memory of the renderer", await peakMemory(lab.browser));
    found.created = await sessions(lab.browser);
  } else {
    await lab.hub.add(REPO, model());
  }
  if (parts.includes("compute")) {
    found.computed = await compute({ root: ROOT, browser: lab.browser, hub: lab.hub.origin, site: SITE, model: MODEL, runs });
  }
} finally {
  await lab.close();
}
targets(found);
