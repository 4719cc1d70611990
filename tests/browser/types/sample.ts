// A program that uses the whole public contract: `make types` compiles it strictly, nothing runs it.
import { cachedModels, charts, draw, evolution, histogram, loadModel, readTrace, removeCachedModel, svg, writeTrace } from "residual-stream";
import type { Ablated, Attribution, CachedModel, ErrorCode, Model, ModelError, ModelFiles, Notice, Patching, Profile, Progress, Sampled, Sequence, Trace } from "residual-stream";

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

export async function experiment(canvas: HTMLCanvasElement): Promise<number> {
  const model: Model = await loadModel("demo");
  const ablate: Ablated[] = [{ layer: 2, part: "head", head: 1, how: "mean" }, { layer: 0, part: "mlp" }];
  const trace = await model.trace(["The king gave the queen"], {
    ablate, leads: true, next: 20, patterns: [{ layer: 1, head: 0 }], attribution: { target: " a", against: 5, position: 2 },
  });
  const [sequence] = trace.sequences;
  const attribution: Attribution | undefined = sequence?.attribution;
  const sampled: Sampled = await model.sample("The king", { count: 3, temperature: 0.8, topK: 40, topP: 0.95, seed: 1 });
  const patching: Patching = await model.patch([1, 2], [1, 3], { answer: " king", onPartial: (found) => console.log(found.recovered.length) });
  draw(canvas, { ...trace, patching }, "patching", { tokens: [0, 4] });
  draw(canvas, trace, "pattern", { head: { layer: 1, head: 0 } });
  draw(canvas, trace, "compare", { compare: [0, 0], quantity: "stream", ranks: true });
  return (attribution?.logit ?? 0) + sampled.ids.length + (sequence?.kl?.[0] ?? 0) + (sequence?.baseline?.mlp_norm.length ?? 0)
    + (sequence?.patterns?.[0]?.writes?.logits[0] ?? 0) + (sequence?.lens?.true_rank[0] ?? 0) + (sequence?.leads?.first ?? 0);
}

export async function makeRoom(): Promise<number> {
  const models: CachedModel[] = await cachedModels();
  const oldest = models.filter((model) => !model.complete).sort((a, b) => a.used - b.used)[0];
  if (oldest) await removeCachedModel(oldest.key);
  return oldest ? oldest.bytes + oldest.source.length : 0;
}

export async function figure(file: Blob): Promise<string> {
  const trace: Trace = readTrace(new Uint8Array(await file.arrayBuffer()));
  const copies: Uint8Array[] = [writeTrace(trace), writeTrace(trace, { format: "safetensors" })];
  const model = await loadModel(new URL("https://models.example/tiny/"));
  const named = await loadModel({ ...files, name: "mine" });
  const titles: string[] = charts().map(({ name, title, lead }) => `${name}: ${title}. ${lead}`);
  return titles.join() + svg(trace, "heatmap", { theme: "dark", width: 640, height: 320, token: 3 }) + copies.length + model.simd + named.simd;
}

export function advice(error: ModelError): string {
  const again: ErrorCode[] = ["network", "rate-limited", "corrupt-download"];
  return again.includes(error.code) ? "try again" : error.message;
}

// @ts-expect-error: there is no such chart.
draw(document.createElement("canvas"), {} as Trace, "pie");
// @ts-expect-error: nor such a format.
writeTrace({} as Trace, { format: "xml" });
