// residual-stream: a GPT-2 microscope for the browser.
//
// Axes: L layers, H heads, T tokens, D width of the residual stream (`n_embd`), V vocabulary.
// Arrays over layers and tokens are row-major, [layer][token]. Norms are L2 norms over D, in activation units.

/** Loads a GPT-2 model into a worker. Resolves once its settings and its tensor index are read; blocks go on
 *  arriving, `trace` computes each as it comes, and `model.ready` settles with the last byte.
 *
 *  `source`:
 *  - `"openai-community/gpt2"`: a Hugging Face repo id, optionally `"@revision"`;
 *  - `"https://host/path/to/model/"`: a folder with `config.json`, `model.safetensors` (or
 *    `model.safetensors.index.json` and its shards), `tokenizer.json` (or `vocab.json` and `merges.txt`);
 *  - `"demo"`: the small model shipped with this package;
 *  - `ModelFiles`: files that the reader picked or dropped.
 *
 *  Rejects with a `ModelError`. */
export function loadModel(source: string | ModelFiles, options?: LoadOptions): Promise<Model>;

/** Counts of the contribution norms of attention and MLP, in bins they share. */
export function histogram(trace: Trace, options?: HistogramOptions): Histogram;

/** Mean and spread of the contribution norms per layer, from the embedding (layer 0) to the last block. */
export function evolution(trace: Trace, options?: EvolutionOptions): Evolution;

/** Draws a chart on a canvas at the canvas' size on the page and the screen's resolution. */
export function draw(canvas: HTMLCanvasElement, trace: Trace, chart: ChartName, options?: ChartOptions): void;

export type ChartName = "distribution" | "evolution";

/** A model's files as bytes. Without `tokenizer`, only `traceTokens` works. */
export interface ModelFiles {
  /** `config.json`. */
  config: Blob | Uint8Array;
  /** Safetensors files: one, or all shards. */
  weights: (Blob | Uint8Array)[];
  /** `tokenizer.json`, or both files it replaces. */
  tokenizer?: Blob | Uint8Array | { vocab: Blob | Uint8Array; merges: Blob | Uint8Array };
}

export interface LoadOptions {
  onProgress?(progress: Progress): void;
  /** Stops loading; the promise then rejects with code "aborted". */
  signal?: AbortSignal;
  /** Base URL to use instead of https://huggingface.co. */
  hub?: string;
  /** Keep the files in the browser's storage. Not implemented yet: the browser's HTTP cache is all there is. */
  cache?: boolean;
  /** How many workers may compute. Not implemented yet: always one. */
  workers?: number;
}

export interface Progress {
  phase: "config" | "tokenizer" | "weights" | "build";
  /** Bytes. */
  loaded: number;
  /** Bytes; 0 where not known yet. */
  total: number;
  /** Blocks that can be computed. */
  blocksReady: number;
}

export interface Model {
  /** `config.json` as it is. */
  readonly config: object;
  readonly workers: number;
  readonly simd: "relaxed" | "simd128";
  /** Settles with the last byte of the weights. */
  readonly ready: Promise<void>;
  /** Runs the model over texts, one by one: no padding enters a number. */
  trace(texts: string[], options?: TraceOptions): Promise<Trace>;
  /** The same over token ids; needs no tokenizer. */
  traceTokens(ids: number[][], options?: TraceOptions): Promise<Trace>;
  /** Ends the worker and gives its memory back. Traces under way reject with code "aborted". */
  close(): void;
}

export interface TraceOptions {
  /** Record every head's part of attention's contribution. */
  heads?: boolean;
  /** Top-k of the logit lens per layer and token; 0 = off. */
  lens?: number;
  signal?: AbortSignal;
  /** Default true; false touches no unembedding: no `token_logprob`, no `next`. */
  predictions?: boolean;
  /** Called after each block of a model that is still arriving; the trace then has as many layers as are done. */
  onPartial?(trace: Trace): void;
}

/** Plain data: survives `structuredClone` and JSON. */
export interface Trace {
  model: ModelInfo;
  sequences: Sequence[];
}

export interface ModelInfo {
  /** What the model was loaded from. */
  source: string;
  /** L. A partial trace has fewer layers. */
  n_layer: number;
  /** H. */
  n_head: number;
  /** D. */
  n_embd: number;
  /** The longest sequence, in tokens. */
  n_positions: number;
  /** V. */
  vocab_size: number;
}

/** Numbers in a trace: typed arrays as `trace` gives them, plain arrays after a round trip through JSON. */
export interface Sequence {
  text?: string;
  ids: Uint32Array;
  /** T tokens as text; a token that holds a part of a character shows U+FFFD. */
  tokens: string[];
  /** 2T offsets [start, end) into `text`, in UTF-16 code units. */
  spans?: Uint32Array;
  /** T: norm of token embedding + position embedding. */
  embed_norm: Float32Array;
  /** L*T: contribution norms, of what attention and MLP add to the stream. */
  attn_norm: Float32Array;
  mlp_norm: Float32Array;
  /** L*T: norms of the stream before a block, between attention and MLP, and after the block. */
  resid_pre_norm: Float32Array;
  resid_mid_norm: Float32Array;
  resid_post_norm: Float32Array;
  /** L*T: cosine of a contribution with the stream it joins. */
  attn_cos: Float32Array;
  mlp_cos: Float32Array;
  /** L*H*T, with `heads`: norm of each head's part, without the projection's bias. */
  head_norm?: Float32Array;
  /** (L+1)*T*k, with `lens`: the embedding first, then after each block. */
  lens?: { ids: Uint32Array; probs: Float32Array };
  /** T-1: natural log-probability of each token after the first. */
  token_logprob?: Float32Array;
  /** The five most probable next tokens. */
  next?: { ids: Uint32Array; probs: Float32Array; tokens: string[] };
}

export interface HistogramOptions {
  /** Number of bins; without it the Freedman-Diaconis rule decides. */
  bins?: number;
  /** Leave position 0 of every sequence out (default true): its norm is tens of times the rest. */
  skipFirst?: boolean;
}

export interface Histogram {
  /** B + 1 edges. */
  edges: Float32Array;
  /** B counts. */
  attn: Uint32Array;
  mlp: Uint32Array;
  /** What decided the bins. */
  rule: "freedman-diaconis" | "sturges" | "given" | "single-value" | "empty";
}

export interface EvolutionOptions {
  /** Leave position 0 of every sequence out (default true). */
  skipFirst?: boolean;
}

/** Mean and population standard deviation of n values; null where n is 0. */
export interface Stat {
  mean: number | null;
  std: number | null;
  n: number;
}

export interface Evolution {
  /** Mean norm of the embedding: layer 0. */
  embed: number | null;
  /** L entries each; entry i is block i, shown as layer i + 1. */
  attn: Stat[];
  mlp: Stat[];
  /** The stream after each block. */
  resid: Stat[];
}

export interface ChartOptions {
  /** Number of bins of the distribution. */
  bins?: number;
  /** Leave position 0 of every sequence out (default true). */
  skipFirst?: boolean;
  /** Draw the legend and notes above the data (default true). */
  legend?: boolean;
}

/** What every rejection is: an `Error` with a stable code and a message that names the file, tensor or setting. */
export interface ModelError extends Error {
  code: ErrorCode;
}

export type ErrorCode =
  | "bad-config" | "not-gpt2" | "bad-safetensors" | "missing-tensor" | "shape-mismatch" | "unsupported-dtype"
  | "bad-tokenizer" | "no-tokenizer" | "empty-input" | "too-long" | "token-out-of-range"
  | "network" | "not-found" | "rate-limited" | "corrupt-download"
  | "out-of-memory" | "aborted" | "unsupported-browser" | "engine-crashed" | "bad-argument";
