// A program that uses the whole public contract: `make types` compiles it strictly, nothing runs it.
import { cachedModels, draw, evolution, histogram, loadModel, removeCachedModel } from "residual-stream";
import type { CachedModel, ErrorCode, Model, ModelError, ModelFiles, Notice, Profile, Progress, Sequence, Trace } from "residual-stream";

const files: ModelFiles = { config: new Blob(), weights: [new Uint8Array(8)], tokenizer: { vocab: new Blob(), merges: new Blob() } };

export async function look(canvas: HTMLCanvasElement, signal: AbortSignal): Promise<number> {
  const onProgress = ({ phase, loaded, total, cached, memory, blocksReady }: Progress) =>
    console.log(phase, loaded / total, cached, memory, blocksReady);
  const onNotice = ({ kind, message }: Notice) => kind === "storage-full" && console.log(message);
  const picked: Model = await loadModel(files);
  const model = await loadModel("openai-community/gpt2@main", {
    onProgress, onNotice, signal, hub: "https://hub.example", cache: true, parallel: 2, workers: 1,
  });
  await model.ready;
  const simd: "relaxed" | "simd128" = model.simd;
  const onPartial = (partial: Trace) => draw(canvas, partial, "distribution", { bins: 20, legend: false });
  const trace = await model.trace(["To be"], { heads: true, lens: 5, predictions: false, profile: true, signal, onPartial });
  const fromIds: Trace = structuredClone(await picked.traceTokens([[1, 2, 3]]));
  draw(canvas, fromIds, "evolution");
  const { edges, attn, mlp } = histogram(trace, { bins: 10, skipFirst: true });
  const { embed, resid } = evolution(trace, { skipFirst: false });
  const sequence: Sequence | undefined = trace.sequences[0];
  const profile: Profile | undefined = trace.profile;
  console.log(profile?.linear);
  const lens: number | undefined = sequence?.lens?.probs[0];
  const heads: Float32Array | undefined = sequence?.head_norm;
  model.close();
  return edges.length + attn.length + mlp.length + (embed ?? 0) + (resid[0]?.mean ?? 0) + (lens ?? 0) + (heads?.length ?? 0) + simd.length + model.workers;
}

export async function makeRoom(): Promise<number> {
  const models: CachedModel[] = await cachedModels();
  const oldest = models.filter((model) => !model.complete).sort((a, b) => a.used - b.used)[0];
  if (oldest) await removeCachedModel(oldest.key);
  return oldest ? oldest.bytes + oldest.source.length : 0;
}

export function advice(error: ModelError): string {
  const again: ErrorCode[] = ["network", "rate-limited", "corrupt-download"];
  return again.includes(error.code) ? "try again" : error.message;
}

// @ts-expect-error: there is no such chart.
draw(document.createElement("canvas"), {} as Trace, "pie");
