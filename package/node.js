// residual-stream in Node: the same engine in threads, files from disk. See residual-stream.d.ts for the contract.
// What a browser has and Node has not is made in node/, for the engine alone: the program's own globals stay as they are.
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import * as page from "./internal/{{page_script}}";
import { fail, looking } from "./node/fail.js";
import { hold, holding } from "./node/hold.js";
import { explain, resolveSource } from "./node/source.js";
import { Thread } from "./node/thread.js";

const TYPES = { ".wasm": "application/wasm", ".json": "application/json" };
const at = (path) => new URL(path, import.meta.url).href;

async function read(address) {
  const path = fileURLToPath(address);
  const type = TYPES[path.slice(path.lastIndexOf("."))] ?? "application/octet-stream";
  return new Response(await readFile(path), { headers: { "content-type": type } });
}

// Without waiting, so that Node 22 and later can `require` this module too.
page.initSync({ module: readFileSync(new URL("./internal/{{page_module}}", import.meta.url)) });
page.configure({
  engineScript: at("./internal/{{engine_script}}"),
  engineModule: at("./internal/{{engine_module}}"),
  relaxedScript: at("./internal/{{relaxed_script}}"),
  relaxedModule: at("./internal/{{relaxed_module}}"),
  demo: at("{{demo}}"),
  read,
  worker(address) {
    const thread = new Thread(address);
    thread.unref();
    return thread;
  },
});
holding(page.Model.prototype, ["tokenize", "trace", "traceTokens", "sample", "patch"], ["ready"]);

export function loadModel(source, options) {
  // There is no storage to keep a model in: files on disk are kept already.
  const uncached = () => (typeof (options ?? {}) === "object" ? { ...options, cache: false } : options);
  const load = async () =>
    page.loadModel(await looking("source", () => resolveSource(source)), await looking("options", uncached));
  return hold(load().catch((error) => explain(error, source)));
}

export function draw() {
  fail("unsupported-browser", "draw needs a canvas, and Node has none: svg(trace, chart, options) draws the same chart as an SVG file.");
}

export const { cachedModels, charts, evolution, histogram, readTrace, removeCachedModel, svg, writeTrace } = page;
