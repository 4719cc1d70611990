// residual-stream without addresses of its own: whoever imports this says where the compiled halves come from. For pages
// that keep them in a cache, a file or a bundle of their own. See slim.d.ts for the contract.
import * as page from "./internal/{{page_script}}";

let started;

/** The first call decides; later ones give what it made. */
export function start(sources) {
  started ??= begin(sources).catch((error) => {
    started = undefined;
    throw error;
  });
  return started;
}

async function begin(sources) {
  const { page: module, engine, relaxed = engine, demo } = sources ?? {};
  for (const [name, source] of Object.entries({ page: module, "engine.script": engine?.script, "engine.module": engine?.module, "relaxed.script": relaxed?.script, "relaxed.module": relaxed?.module })) {
    if (source === undefined || source === null) fail("bad-argument", `start: ${name} is missing.`);
  }
  await page.default({ module_or_path: await compiled(await settled(module)) });
  const files = { "engine.js": engine.script, "engine.wasm": engine.module, "relaxed.js": relaxed.script, "relaxed.wasm": relaxed.module };
  page.configure({
    engineScript: "engine.js", engineModule: "engine.wasm", relaxedScript: "relaxed.js", relaxedModule: "relaxed.wasm",
    read: async (name) => response(await settled(files[name]), name),
  });
  const { cachedModels, charts, draw, evolution, histogram, readTrace, removeCachedModel, svg, writeTrace } = page;
  return {
    cachedModels, charts, draw, evolution, histogram, readTrace, removeCachedModel, svg, writeTrace,
    async loadModel(source, options) {
      if (source !== "demo") return page.loadModel(source, options);
      if (demo === undefined) fail("not-found", "this copy of the package was started without the demo model.");
      return page.loadModel(await settled(demo), options);
    },
  };
}

/** A source, or what gives it when it is needed. */
const settled = (source) => (typeof source === "function" ? source() : source);

const isAddress = (source) => typeof source === "string" || source instanceof URL;

/** What wasm-bindgen takes: addresses are fetched here, so that a server's refusal has a name. */
async function compiled(source) {
  if (!isAddress(source)) return source;
  const answer = await fetch(source);
  if (!answer.ok) fail("network", `the package's own files cannot be read: ${source}: the server answered with status ${answer.status}.`);
  return answer;
}

function response(source, name) {
  if (isAddress(source)) return fetch(source);
  if (source instanceof Response || source instanceof WebAssembly.Module) return source;
  const type = name.endsWith(".wasm") ? "application/wasm" : "text/javascript";
  return new Response(source, { headers: { "content-type": type } });
}

function fail(code, message) {
  throw Object.assign(new Error(message), { code });
}
