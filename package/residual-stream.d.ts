// residual-stream: a GPT-2 microscope for the browser, and for Node 20 and later.
//
// Axes: L layers, H heads, T tokens, D width of the residual stream (`n_embd`), V vocabulary.
// Arrays over layers and tokens are row-major, [layer][token]. Norms are L2 norms over D, in activation units.

/** Loads a GPT-2 model into a worker. Resolves once its settings and its tensor index are read; blocks go on
 *  arriving, `trace` computes each as it comes, and `model.ready` asks for the rest and settles
 *  with the last byte.
 *
 *  `source`:
 *  - `"openai-community/gpt2"`: a Hugging Face repo id, optionally `"@revision"`;
 *  - `"https://host/path/to/model/"`: a folder with `config.json`, `model.safetensors` (or
 *    `model.safetensors.index.json` and its shards), `tokenizer.json` (or `vocab.json` and `merges.txt`);
 *  - `"demo"`: the small model shipped with this package;
 *  - `ModelFiles`: files that the reader picked or dropped;
 *  - in Node, a folder on disk with the same files: a path that begins with `./`, `../` or `/`, or a `file:` URL. It is read
 *    by slices, never whole.
 *
 *  Rejects with a `ModelError`. In Node, the process may end while a model is idle; nothing is kept in a storage. */
export function loadModel(source: string | URL | ModelFiles, options?: LoadOptions): Promise<Model>;

/** The models that this browser keeps for this site, the last used first; empty where there is no storage. */
export function cachedModels(): Promise<CachedModel[]>;

/** Removes a kept model; one that is not there is removed already. Rejects with code "bad-argument" while it is still
 *  being written, by this page or another. A loaded model goes on working: its tensors are in memory. */
export function removeCachedModel(key: string): Promise<void>;

/** Counts of the contribution norms of attention and MLP, in bins they share. */
export function histogram(trace: Trace, options?: HistogramOptions): Histogram;

/** Mean and spread of the contribution norms per layer, from the embedding (layer 0) to the last block. */
export function evolution(trace: Trace, options?: EvolutionOptions): Evolution;

/** Draws a chart on a canvas at the canvas' size on the page and the screen's resolution. A chart whose data the trace lacks
 *  is a sentence that says so; a text or token that is not there throws, as in `svg`. Node has no canvas: see `svg`. */
export function draw(canvas: Canvas, trace: Trace, chart: ChartName, options?: ChartOptions & Themed): void;

/** The charts there are, in the order the site shows them. */
export function charts(): ChartInfo[];

/** The same chart as an SVG file of its own, with title, legend and a description for screen readers. Needs no browser:
 *  texts are taken to be as wide as they are on average. Throws a `ModelError` with code "bad-argument" where the trace was
 *  made without what the chart shows (the message names the option of `trace` that records it), or has no such text or
 *  token. */
export function svg(trace: Trace, chart: ChartName, options?: ChartOptions & Themed & Sized): string;

/** A trace as a file, as the site saves it: UTF-8 JSON (the default), or safetensors. The JSON may stand inside a script
 *  element as it is: no text in it can end the element. */
export function writeTrace(trace: Trace, options?: { format?: "json" | "safetensors" }): Uint8Array;

/** A trace from such a file, of either kind: its text, or its bytes (UTF-8, or UTF-16 with a byte order mark). Throws a
 *  `ModelError` with code "bad-argument" for what is no trace, or one whose sizes or arrays do not fit each other, and
 *  "out-of-memory" for a file of more than 1 GiB. */
export function readTrace(file: string | Uint8Array): Trace;

/** HTMLCanvasElement, where programs are compiled with the DOM's types; nothing elsewhere. */
export type Canvas = typeof globalThis extends { HTMLCanvasElement: { prototype: infer Element } } ? Element : never;

/** Options that are not known are refused, with the name that may have been meant; undefined ones are as not given. */
export interface Themed {
  /** "auto", the default, is what the system prefers; light where nothing says. */
  theme?: "light" | "dark" | "auto";
}

export interface Sized {
  /** CSS pixels, 120 to 10000 (default 720). */
  width?: number;
  /** CSS pixels, 120 to 10000 (default 440). */
  height?: number;
}

export type ChartName =
  | "distribution" | "evolution" | "heatmap" | "growth" | "relative" | "direction"
  /** Needs a trace made with `heads`. */
  | "heads"
  /** Need a trace made with `lens`. */
  | "lens" | "true-token"
  /** Needs a trace made with `patterns`. */
  | "pattern"
  /** Need a trace made with `attribution`: a waterfall over contributions, and a grid of heads. */
  | "attribution" | "attribution-heads"
  /** Needs a trace made with predictions. */
  | "next"
  /** Needs a trace made with `ablate`; the other charts then show the unchanged model beside it. */
  | "change"
  /** Two sequences of a trace: the second less the first. */
  | "compare"
  /** Needs `patching` in the trace: `{ ...trace, patching: await model.patch(clean, corrupted) }`. */
  | "patching";

/** A chart, in words. */
export interface ChartInfo {
  name: ChartName;
  /** Its heading. */
  title: string;
  /** The question it answers, one short sentence. */
  lead: string;
}

/** Small files that may lie beside a tokenizer, read as Hugging Face transformers 5 reads them. */
export interface TokenizerSettings {
  /** `tokenizer_config.json`. */
  config?: Blob | Uint8Array;
  /** `special_tokens_map.json`. */
  special?: Blob | Uint8Array;
  /** `added_tokens.json`. */
  added?: Blob | Uint8Array;
}

/** A model's files as bytes. Without `tokenizer`, only `traceTokens` works. */
export interface ModelFiles {
  /** `config.json`. */
  config: Blob | Uint8Array;
  /** Safetensors files: one, or all shards. Messages name a `File` as it is called. */
  weights: (Blob | Uint8Array)[];
  /** `tokenizer.json`, or both files it replaces; with the small files beside it where they are to count. */
  tokenizer?:
    | Blob
    | Uint8Array
    | ({ json: Blob | Uint8Array } & TokenizerSettings)
    | ({ vocab: Blob | Uint8Array; merges: Blob | Uint8Array } & TokenizerSettings);
  /** What traces call the model (default "files"). */
  name?: string;
}

export interface LoadOptions {
  onProgress?(progress: Progress): void;
  /** Stops loading; the promise then rejects with code "aborted". */
  signal?: AbortSignal;
  /** Base URL to use instead of https://huggingface.co. */
  hub?: string;
  /** Keep what arrives in the browser's storage (OPFS), and take from there what it has (default true). Where that
   *  fails, loading goes on without it. The demo model, and picked files, are never kept; Node has no such storage. */
  cache?: boolean;
  /** Range requests at a time, 1 to 16 (default 4). */
  parallel?: number;
  /** Remarks that do not end the loading. */
  onNotice?(notice: Notice): void;
  /** How many workers compute, 1 to 64. Each holds its own share of the model. By default as many as the machine's cores
   *  and the model's size make worthwhile; small models run in one. */
  workers?: number;
}

export interface Progress {
  phase: "config" | "tokenizer" | "weights" | "build";
  /** Bytes. */
  loaded: number;
  /** Bytes; 0 where not known yet. */
  total: number;
  /** Those of `loaded` that came from the browser's storage instead of the network. */
  cached: number;
  /** Bytes of memory that the engine holds. */
  memory: number;
  /** Blocks that can be computed. */
  blocksReady: number;
}

/** A remark while a model is loading. */
export interface Notice {
  kind:
    /** The storage is full, or too small: what arrives from now on is not kept. */
    | "storage-full"
    /** This browser, or this window, has no storage: nothing is kept. */
    | "storage-unavailable"
    /** Another tab is writing this model's files: what arrives here is not kept. */
    | "storage-busy"
    /** The model has changed on its server: what was kept of it is removed. */
    | "changed"
    /** The server does not send parts of files: they are read front to back, and the order is theirs. */
    | "no-ranges"
    /** The server is slow or refuses; the request is made again. */
    | "retrying"
    /** The server would not or cannot say whether the model has changed: what is kept in this browser is used. */
    | "unchecked"
    /** The weights have an unembedding, `lm_head.weight`, that differs from the embedding, though config.json ties the
     *  two: the file's counts, as in transformers 5. */
    | "untied"
    /** The weights have no unembedding, and config.json does not tie it to the embedding: norms can be traced, and
     *  nothing is predicted. */
    | "no-unembedding"
    /** Tensors of the weights, or files among those given, that are there and not used; the message lists them. */
    | "unused";
  /** A sentence for readers. */
  message: string;
}

/** A model in the browser's storage. */
export interface CachedModel {
  /** Names it to `removeCachedModel`: the address of its folder of files (or, where its notes are torn, the name of
   *  its folder in the storage). */
  readonly key: string;
  /** What `loadModel` was given; empty where that is not known. */
  readonly source: string;
  /** Bytes in the storage. */
  readonly bytes: number;
  /** Whether all of it is there. If not, loading it again goes on where it stopped. */
  readonly complete: boolean;
  /** When it was last used, in milliseconds since 1970; 0 where that is not known. */
  readonly used: number;
}

export interface Model {
  /** `config.json` as it is. */
  readonly config: object;
  /** How many workers compute. */
  readonly workers: number;
  /** Which of the two engines runs: the one with relaxed SIMD where the browser has that. */
  readonly simd: "relaxed" | "simd128";
  /** Settles with the last byte of the weights. Reading this property asks for every byte: without it, a model reads
   *  its blocks and what its traces need, which leaves out most of the token table if none wants predictions. */
  readonly ready: Promise<void>;
  /** Splits texts into tokens, and computes nothing. Rejects where the model cannot read one of them ("too-long",
   *  "empty-input", "no-tokenizer"); of several, the message says which. */
  tokenize(texts: string[], options?: { signal?: AbortSignal }): Promise<Tokenized[]>;
  /** Runs the model over texts, one by one: no padding enters a number. All of them are checked before the first is
   *  computed. */
  trace(texts: string[], options?: TraceOptions): Promise<Trace>;
  /** The same over token ids; needs no tokenizer. */
  traceTokens(ids: number[][], options?: TraceOptions): Promise<Trace>;
  /** Goes on with a text (or with ids, which needs no tokenizer): keys and values are remembered, so that a token more
   *  costs one token. Rejects with code "too-long" where the model has not as many positions, and "not-finite" where its
   *  numbers overflow F32 on this text, so that it predicts nothing; `patch` does, too. */
  sample(text: string | number[], options?: SampleOptions): Promise<Sampled>;
  /** Activation patching: at every layer and token, the clean text's resid_pre takes the place of the corrupted text's.
   *  Both must be of as many tokens. */
  patch(clean: string | number[], corrupted: string | number[], options?: PatchOptions): Promise<Patching>;
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
  /** Say where the time went: see `Trace.profile`. */
  profile?: boolean;
  /** Say since which layer the prediction at the end of each text leads in the logit lens: cheaper than `lens`. */
  leads?: boolean;
  /** How many candidates `next` lists (default 5). */
  next?: number;
  /** Heads whose attention weights are wanted. */
  patterns?: { layer: number; head: number }[];
  /** Direct logit attribution. A text must be one token, as it is or with a space before it; where it is one both ways, the more
   *  probable of the two is meant. */
  attribution?: {
    /** Whose logit is explained; the model's own prediction if not given. */
    target?: number | string;
    /** Whose logit is taken off. */
    against?: number | string;
    /** At which token of every text that has as many; the last if not given. */
    position?: number;
  };
  /** Switches parts of the model off, for this trace: the sequences are then those of the changed model, and
   *  `baseline` has the unchanged model's. */
  ablate?: Ablated[];
  /** Called after each block of a model that is still arriving; the trace then has as many layers as are done. */
  onPartial?(trace: Trace): void;
  /** Told how much of the work is done, from 0 to 1, a few times a second. */
  onProgress?(share: number): void;
}

/** Something switched off. */
export interface Ablated {
  /** Block, from 0. */
  layer: number;
  /** All of attention's contribution with its bias, all of the MLP's, or one head's part. */
  part: "attn" | "mlp" | "head";
  /** Which, if a head. */
  head?: number;
  /** What takes its place: nothing (the default), or its mean over all tokens of all texts of the request. */
  how?: "zero" | "mean";
}

export interface SampleOptions {
  /** How many tokens (default 1). */
  count?: number;
  /** 0 takes the most probable each time (default 1). */
  temperature?: number;
  /** Only as many candidates, the most probable ones. */
  topK?: number;
  /** Only the most probable ones that together reach this share. After `topK`, it is a share of what the k have, as in
   *  Hugging Face's `generate`: temperature, then top-k, then top-p. */
  topP?: number;
  /** The same seed, options and text give the same tokens (default 0). */
  seed?: number;
  signal?: AbortSignal;
}

export interface Sampled {
  ids: Uint32Array;
  tokens: string[];
  /** The probability that the model gave to each, at temperature 1. */
  probs: Float32Array;
  /** All of them, to be appended to the text. */
  text: string;
}

export interface PatchOptions {
  /** The clean text's answer; the model's prediction if not given. Where neither is given and the model predicts the same
   *  after both texts, the two tokens whose logits the change of text moves furthest apart. */
  answer?: number | string;
  /** The corrupted text's answer; the model's prediction if not given. */
  against?: number | string;
  signal?: AbortSignal;
  /** Called after each layer, with the layers done. */
  onPartial?(found: Patching): void;
}

/** A text and its tokens: as in `Sequence`. */
export interface Tokenized {
  text: string;
  ids: Uint32Array;
  tokens: string[];
  spans: Uint32Array;
}

export interface Patching {
  clean_tokens: string[];
  corrupted_tokens: string[];
  answer: number;
  answer_text: string;
  against: number;
  against_text: string;
  /** logit(answer) - logit(against) after the last token of either text. */
  clean_difference: number;
  corrupted_difference: number;
  /** L*T: 0 where a patch brings back nothing of the clean difference, 1 where all of it. NaN (null in JSON) throughout where
   *  `clean_difference` equals `corrupted_difference`: there is nothing to bring back, and no share of it. */
  recovered: Float32Array;
}

/** Plain data: survives `structuredClone` and JSON. */
export interface Trace {
  model: ModelInfo;
  sequences: Sequence[];
  /** What was switched off. */
  ablate?: Ablated[];
  /** What `Model.patch` found, for the chart of it. */
  patching?: Patching;
  /** With `profile`: milliseconds. */
  profile?: Profile;
}

/** Where the time of a trace went, in milliseconds on the engine's own worker. The clock is a browser's: short steps may
 *  read as nothing or a tenth. */
export interface Profile {
  total: number;
  /** The four linear layers of every block, with bias and activation. */
  linear: number;
  attention: number;
  /** Layer norms, and the norms and cosines of the trace. */
  norms: number;
  /** Sending to the other workers, and waiting for them. */
  exchange: number;
  other: number;
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

/** Numbers in a trace: typed arrays as `trace` gives them, plain arrays after a round trip through JSON. Where a model's
 *  numbers overflow F32 they are infinite or NaN, null in JSON; an id whose probability is NaN is no prediction. */
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
  /** L*T: cosine of a contribution with the stream it joins; a vector shorter than 1e-8 counts as 1e-8 long. */
  attn_cos: Float32Array;
  mlp_cos: Float32Array;
  /** L*H*T, with `heads`: norm of each head's part, without the projection's bias. */
  head_norm?: Float32Array;
  /** L, with `heads`: norm of the output projection's bias; with it the heads' parts add up to attn_out. */
  attn_bias_norm?: Float32Array;
  /** (L+1)*T*k, with `lens`: the embedding first, then after each block. */
  lens?: Lens;
  /** T-1: natural log-probability of each token after the first. */
  token_logprob?: Float32Array;
  /** The most probable next tokens: five, unless more were asked for. */
  next?: { ids: Uint32Array; probs: Float32Array; tokens: string[] };
  /** With `leads`: the prediction after the last token, the layer after which it leads first (0: the embedding), and the
   *  one from which on it leads for good. */
  leads?: { id: number; text: string; prob: number; first: number; settled: number };
  /** With `patterns`. */
  patterns?: Pattern[];
  /** With `attribution`. */
  attribution?: Attribution;
  /** T, with `ablate`: how far the prediction after each token is from the unchanged model's: the Kullback-Leibler
   *  divergence of the changed from the unchanged, in nats, 0 or more. */
  kl?: Float32Array;
  /** With `ablate`: the same text through the unchanged model. */
  baseline?: Sequence;
}

export interface Lens {
  /** (L+1)*T*k. */
  ids: Uint32Array;
  probs: Float32Array;
  /** (L+1)*T: rank of the token that does follow, 1 for the most probable; 0 after the last, and where the model's numbers
   *  overflow, so that nothing has a rank. */
  true_rank: Uint32Array;
  /** (L+1)*T: its probability; 0 after the last, NaN where the model's numbers overflow. */
  true_prob: Float32Array;
  /** What the ids read, each once, ids rising. */
  vocab: { ids: Uint32Array; tokens: string[] };
}

export interface Pattern {
  layer: number;
  head: number;
  /** T*T, [query][key]. */
  weights: Float32Array;
  /** The three tokens whose logits the head's part raises most at each token, T*3 (with `predictions`). */
  writes?: { ids: Uint32Array; logits: Float32Array; tokens: string[] };
}

/** Parts of a logit, or of a difference of two, the final layer norm's scale frozen. embed + attn + mlp + bias = logit;
 *  of each layer heads + attn_bias = attn. */
export interface Attribution {
  position: number;
  target: number;
  target_text: string;
  against?: number;
  against_text?: string;
  /** As the model computes it. */
  logit: number;
  /** What the final layer norm divides by. */
  scale: number;
  embed: number;
  /** L */
  attn: Float32Array;
  mlp: Float32Array;
  /** L*H */
  heads: Float32Array;
  /** L */
  attn_bias: Float32Array;
  /** The final layer norm's own bias. */
  bias: number;
}

export interface HistogramOptions {
  /** Number of bins, 1 to 500; without it the Freedman-Diaconis rule decides. */
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
  /** Whether the rule's own width would have made fewer than 5 bins or more than 80, so that it was held to that. */
  capped: boolean;
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
  /** Number of bins of the distribution, 1 to 500. */
  bins?: number;
  /** Leave position 0 of every sequence out (default true). */
  skipFirst?: boolean;
  /** Draw the legend and notes above the data (default true). */
  legend?: boolean;
  /** What "heatmap", "change" and "compare" show: a contribution norm, the MLP's less attention's, or the norm of the stream
   *  after the block (default "mlp"). */
  quantity?: "attention" | "mlp" | "difference" | "stream";
  /** The sequence that "heatmap" and "lens" show, and that `token` belongs to (default 0). */
  sequence?: number;
  /** Position of a pinned token, whose own values stand beside the statistics. */
  token?: number;
  /** Whose pattern is drawn (default: the trace's first). */
  head?: { layer: number; head: number };
  /** Whether "true-token" draws ranks rather than probabilities (default false). */
  ranks?: boolean;
  /** Which tokens grids of tokens show: from the first up to, and not with, the second (default: all). */
  tokens?: [number, number];
  /** The two sequences of "compare" (default [0, 1]). */
  compare?: [number, number];
}

/** What every rejection is: an `Error` with a stable code and a message that names the file, tensor or setting. */
export interface ModelError extends Error {
  code: ErrorCode;
}

export type ErrorCode =
  | "bad-config" | "not-gpt2" | "bad-safetensors" | "missing-tensor" | "shape-mismatch" | "unsupported-dtype"
  | "bad-tokenizer" | "no-tokenizer" | "empty-input" | "too-long" | "token-out-of-range"
  | "network" | "not-found" | "rate-limited" | "corrupt-download"
  | "not-finite" | "out-of-memory" | "aborted" | "unsupported-browser" | "engine-crashed" | "bad-argument";
