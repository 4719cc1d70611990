// residual-stream with its compiled halves written into scripts, for bundlers that copy no files. Larger than the files,
// so the package's other entries come first. The demo model is not in it. See inline.d.ts.
import { start } from "./slim.js";

/** A part of internal/inline: gzip, as text. */
const packed = (part, type) => async () => {
  const { default: text } = await part();
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream, { headers: { "content-type": type } });
};
const wasm = (part) => packed(part, "application/wasm");
const script = (part) => packed(part, "text/javascript");

export const {
  cachedModels, charts, draw, evolution, histogram, loadModel, readTrace, removeCachedModel, svg, writeTrace,
} = await start({
  page: wasm(() => import("./internal/inline/page-module.js")),
  engine: {
    script: script(() => import("./internal/inline/engine-script.js")),
    module: wasm(() => import("./internal/inline/engine-module.js")),
  },
  relaxed: {
    script: script(() => import("./internal/inline/relaxed-script.js")),
    module: wasm(() => import("./internal/inline/relaxed-module.js")),
  },
});
