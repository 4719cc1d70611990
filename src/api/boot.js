// Runs in the engine worker, after wasm-bindgen's glue: the page compiles the engine once and hands the
// module over, since a worker started from a blob URL has no address to fetch it from.
self.onmessage = ({ data }) => {
  // This script itself, for helpers (crates/engine/src/pool/web_workers.rs).
  self.residualStreamScript = data.script;
  wasm_bindgen.initSync({ module: data.module });
};
// A trap (no memory left, a fault in the program) ends the engine. Say so, with what the allocator last refused.
self.addEventListener("error", (event) => {
  let refused = 0;
  try {
    refused = wasm_bindgen.refused_bytes();
  } catch {
    // The engine never started, or is too broken to ask.
  }
  const error = refused
    ? { code: "out-of-memory", message: `the tab has no memory left: ${refused} more bytes were refused. A shorter text or a smaller model will fit.` }
    : { code: "engine-crashed", message: `the engine stopped because of a fault in this program: ${event.message}` };
  self.postMessage({ message: { kind: "crashed", error } });
  event.preventDefault();
});
