// The slim entry, compiled strictly by `make types`; nothing runs it.
import { start } from "residual-stream/slim";
import type { Engine, Sources, Started } from "residual-stream/slim";
import type { Trace } from "residual-stream";

const engine: Engine = { script: "https://host.example/engine.js", module: async () => WebAssembly.compile(new Uint8Array(8)) };
const sources: Sources = { page: fetch("page.wasm"), engine, relaxed: { script: new Blob(), module: new ArrayBuffer(8) }, demo: new URL("https://host.example/demo/") };

export async function look(canvas: HTMLCanvasElement): Promise<string> {
  const rs: Started = await start(sources);
  const model = await rs.loadModel("demo", { workers: 1 });
  const trace: Trace = await model.trace(["A text."]);
  rs.draw(canvas, trace, "growth");
  return rs.svg(trace, "growth");
}

export async function inline(): Promise<number> {
  const { evolution, loadModel } = await import("residual-stream/inline");
  const model = await loadModel("openai-community/gpt2");
  return evolution(await model.trace(["A text."])).mlp.length;
}

// @ts-expect-error: an engine is a script and a module.
start({ page: "page.wasm", engine: "engine.wasm" });
