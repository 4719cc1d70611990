// A program for Node, compiled strictly and without the DOM's types by `make types`; nothing runs it.
import { openAsBlob } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { evolution, loadModel, readTrace, svg, writeTrace } from "residual-stream";
import type { Canvas, Model, ModelError, Trace } from "residual-stream";

export async function record(folder: string): Promise<number[]> {
  const model: Model = await loadModel(folder.startsWith(".") ? folder : new URL(`file:///${folder}`), { workers: 2 });
  const trace: Trace = await model.trace(["A text."], { heads: true, signal: AbortSignal.timeout(1000) });
  await writeFile("trace.json", writeTrace(trace));
  await writeFile("heads.svg", svg(readTrace(await readFile("trace.json")), "heads", { width: 900 }));
  const files = await loadModel({ config: await openAsBlob("config.json"), weights: [new Uint8Array(8)], name: "mine" });
  files.close();
  model.close();
  return evolution(trace).mlp.flatMap(({ mean }) => mean ?? []);
}

export const isMissing = (error: ModelError): boolean => error.code === "not-found";

// Without the DOM's types there is no canvas to draw on.
export const nothing: Canvas[] = [] satisfies never[];
