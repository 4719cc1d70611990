// residual-stream: a GPT-2 microscope for the browser. See residual-stream.d.ts for the contract; Node loads node.js.
// This file joins two compiled halves: the page's (charts, summaries, messages to the worker), loaded
// here, and the engine's (GPT-2), which the page's half starts in a worker when a model is loaded: one of two
// builds, by what the browser has.
import init, {
  cachedModels, charts, configure, draw, evolution, histogram, loadModel, readTrace, removeCachedModel, svg, writeTrace,
} from "./internal/{{page_script}}";

// Each address is written out as bundlers look for them: they copy such files, and put the new address here.
await init({ module_or_path: placed(new URL("./internal/{{page_module}}", import.meta.url)) });
configure({
  engineScript: placed(new URL("./internal/{{engine_script}}", import.meta.url)),
  engineModule: placed(new URL("./internal/{{engine_module}}", import.meta.url)),
  relaxedScript: placed(new URL("./internal/{{relaxed_script}}", import.meta.url)),
  relaxedModule: placed(new URL("./internal/{{relaxed_module}}", import.meta.url)),
  ...demoFiles({
    "config.json": placed(new URL("{{demo}}config.json", import.meta.url)),
    "model.safetensors": placed(new URL("{{demo}}model.safetensors", import.meta.url)),
    "tokenizer.json": placed(new URL("{{demo}}tokenizer.json", import.meta.url)),
  }),
});

export { cachedModels, charts, draw, evolution, histogram, loadModel, readTrace, removeCachedModel, svg, writeTrace };

/** Vite up to version 7 moves this script, and not the files beside it, into a folder of bundled dependencies while it
 *  develops: they are still where the package is installed. */
function placed({ href }) {
  return href.replace(/\/node_modules\/\.vite\/deps\/(?=(internal|models)\/)/, "/node_modules/residual-stream/");
}

/** `addresses`: the files' addresses by name. Gives what `configure` is told of them. */
function demoFiles(addresses) {
  const names = Object.keys(addresses);
  const folders = names.map((name) => (addresses[name].endsWith(`/${name}`) ? addresses[name].slice(0, -name.length) : undefined));
  // In a folder the engine reads them itself, block by block as they arrive.
  if (folders[0] !== undefined && folders.every((folder) => folder === folders[0])) return { demo: folders[0] };
  const demo = "demo:";
  const moved = new Map(names.map((name) => [demo + name, addresses[name]]));
  return { demo, read: (address) => read(moved.get(address) ?? address) };
}

async function read(address) {
  // Bundlers write small files into the script; a page's policy on connections need not know of those.
  const inline = address.match(/^data:[^,]*?(;base64)?,/);
  if (!inline) return fetch(address);
  const text = decodeURIComponent(address.slice(inline[0].length));
  return new Response(inline[1] ? Uint8Array.from(atob(text), (character) => character.charCodeAt(0)) : text);
}
