// Small GPT-2 checkpoints, right and wrong, made on the spot: no PyTorch, seeded, a few kilobytes.
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

export const FIXTURES = fileURLToPath(new URL("../../fixtures/", import.meta.url));

/** A file of tests/fixtures. */
export const fixture = (path) => readFileSync(FIXTURES + path);
export const fixtureJson = (path) => JSON.parse(fixture(path).toString());

export const CONFIG = {
  model_type: "gpt2", architectures: ["GPT2LMHeadModel"], vocab_size: 40, n_positions: 16, n_embd: 8, n_layer: 2,
  n_head: 2, n_inner: null, activation_function: "gelu_new", layer_norm_epsilon: 1e-5, scale_attn_weights: true,
  scale_attn_by_inverse_layer_idx: false, reorder_and_upcast_attn: false, tie_word_embeddings: true,
};

// A small generator with good enough bits: tests want the same numbers every time, nothing more.
function mulberry32(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function shapes(config) {
  const { n_embd: d, n_layer, n_positions, vocab_size } = config;
  const inner = config.n_inner ?? 4 * d;
  const named = { "wte.weight": [vocab_size, d], "wpe.weight": [n_positions, d] };
  for (let i = 0; i < n_layer; i += 1) {
    Object.assign(named, {
      [`h.${i}.ln_1.weight`]: [d], [`h.${i}.ln_1.bias`]: [d], [`h.${i}.attn.c_attn.weight`]: [d, 3 * d],
      [`h.${i}.attn.c_attn.bias`]: [3 * d], [`h.${i}.attn.c_proj.weight`]: [d, d], [`h.${i}.attn.c_proj.bias`]: [d],
      [`h.${i}.ln_2.weight`]: [d], [`h.${i}.ln_2.bias`]: [d], [`h.${i}.mlp.c_fc.weight`]: [d, inner],
      [`h.${i}.mlp.c_fc.bias`]: [inner], [`h.${i}.mlp.c_proj.weight`]: [inner, d], [`h.${i}.mlp.c_proj.bias`]: [d],
    });
  }
  return Object.assign(named, { "ln_f.weight": [d], "ln_f.bias": [d] });
}

/** The tensors of a configuration: Map of name -> { dtype, shape, data }. */
export function tensors(config, seed = 1) {
  const random = mulberry32(seed);
  return new Map(Object.entries(shapes(config)).map(([name, shape]) => {
    const count = shape.reduce((a, b) => a * b, 1);
    const ones = name.includes("ln_") && name.endsWith("weight");
    const data = Float32Array.from({ length: count }, () => (ones ? 1 : (random() - 0.5) * 0.4));
    return [name, { dtype: "F32", shape, data }];
  }));
}

/** A safetensors file. `edit(header)` may spoil the header before it is written. */
export function safetensors(named, edit = (header) => header) {
  const header = {}, parts = [];
  let end = 0;
  for (const [name, { dtype, shape, data }] of named) {
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    header[name] = { dtype, shape, data_offsets: [end, end + bytes.length] };
    end += bytes.length;
    parts.push(bytes);
  }
  const text = Buffer.from(JSON.stringify(edit(header)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, ...parts]);
}

/** A whole small model as { name: Buffer }. `config` overrides settings; `spoil(tensors)` may change the
 *  tensors of the settings that were not overridden. */
export function tinyModel({ config = {}, spoil = () => {}, edit, seed } = {}) {
  const settings = { ...CONFIG, ...config };
  const named = tensors(settings, seed);
  spoil(named);
  return { "config.json": Buffer.from(JSON.stringify(settings)), "model.safetensors": safetensors(named, edit) };
}

/** A tiny model that reads text by GPT-2's own vocabulary, from vocab.json and merges.txt. */
export function tinyModelWithGpt2Tokenizer({ config, ...options } = {}) {
  return {
    ...tinyModel({ config: { vocab_size: 50257, n_layer: 1, n_positions: 64, ...config }, ...options }),
    "vocab.json": fixture("gpt2-tokenizer/vocab.json"),
    "merges.txt": fixture("gpt2-tokenizer/merges.txt"),
  };
}

/** Folders of tests/fixtures/tokenizer-settings: small files beside the tokenizer that change the ids of texts. */
export const TOKENIZER_SETTINGS = readdirSync(`${FIXTURES}tokenizer-settings`);

/** A tiny model with the tokenizer of such a folder, as { name: Buffer }, and what transformers makes of `texts`. */
export function tinyModelWithSettings(folder) {
  const names = readdirSync(`${FIXTURES}tokenizer-settings/${folder}`).filter((name) => name !== "expected.json");
  const beside = names.map((name) => [name, fixture(`tokenizer-settings/${folder}/${name}`)]);
  const files = { ...tinyModel({ config: { vocab_size: 265, n_positions: 512 } }), ...Object.fromEntries(beside) };
  const { texts } = fixtureJson(`tokenizer-settings/${folder}/expected.json`);
  return { files, texts: texts.map(({ text }) => text), ids: texts.map(({ ids }) => ids) };
}

/** A model that is read in one pass: half a megabyte. */
export const SMALL_CONFIG = { n_embd: 64, n_layer: 3, n_head: 4, n_positions: 32, vocab_size: 320 };
/** A model that is read in pieces: 30 MB, blocks of 3.2 MB, masks of 1 MB between them. */
export const LARGE_CONFIG = { n_embd: 256, n_layer: 4, n_head: 4, n_positions: 512, vocab_size: 12000 };

const made = new Map();
const once = (name, make) => {
  if (!made.has(name)) made.set(name, make());
  return made.get(name);
};

/** A model that is just large enough to be read in pieces: 11 MB, most of it the token table. */
export const MEDIUM_CONFIG = { n_embd: 128, n_layer: 2, n_head: 4, n_positions: 128, vocab_size: 18000 };

/** The tensors of a model in the order of OpenAI's own files: by name, mask buffers among them. */
function inFileOrder(settings, { seed = 1 } = {}) {
  const config = { ...CONFIG, ...settings };
  const named = tensors(config, seed);
  for (let i = 0; i < config.n_layer; i += 1) {
    const size = config.n_positions;
    const data = Float32Array.from({ length: size * size }, (_, at) => (at % size <= at / size ? 1 : 0));
    named.set(`h.${i}.attn.bias`, { dtype: "F32", shape: [1, 1, size, size], data });
  }
  return new Map([...named].sort(([a], [b]) => (a < b ? -1 : 1)));
}

const configFile = (settings) => Buffer.from(JSON.stringify({ ...CONFIG, ...settings }));

/** The small model as { name: Buffer }; made once per seed. */
export function smallModel({ seed = 1 } = {}) {
  return once(`small ${seed}`, () => tinyModel({ config: SMALL_CONFIG, seed }));
}

/** The large model as { name: Buffer }: one file; made once per variant. */
export function largeModel({ seed = 1 } = {}) {
  return once(`large ${seed}`, () => ({
    "config.json": configFile(LARGE_CONFIG),
    "model.safetensors": safetensors(inFileOrder(LARGE_CONFIG, { seed })),
  }));
}

/** The medium model as { name: Buffer }; made once. */
export function mediumModel() {
  return once("medium", () => ({
    "config.json": configFile(MEDIUM_CONFIG),
    "model.safetensors": safetensors(inFileOrder(MEDIUM_CONFIG)),
  }));
}

/** The same in three shards, with their index. */
export function shardedModel() {
  return once("sharded", () => {
    const shardOf = (name) => (/^h\.[01]\./.test(name) ? 1 : /^(h\.|ln_f)/.test(name) ? 2 : 3);
    const fileName = (shard) => `model-0000${shard}-of-00003.safetensors`;
    const all = [...inFileOrder(LARGE_CONFIG)];
    const files = { "config.json": configFile(LARGE_CONFIG) };
    for (const shard of [1, 2, 3]) files[fileName(shard)] = safetensors(new Map(all.filter(([name]) => shardOf(name) === shard)));
    const weight_map = Object.fromEntries(all.map(([name]) => [name, fileName(shardOf(name))]));
    files["model.safetensors.index.json"] = Buffer.from(JSON.stringify({ metadata: {}, weight_map }));
    return files;
  });
}

/** Where each tensor of a safetensors file lies: name -> [first byte, byte after the last] of the file. */
export function places(file) {
  const data = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, data).toString());
  return new Map(Object.entries(header)
    .filter(([name]) => name !== "__metadata__")
    .map(([name, { data_offsets: [begin, end] }]) => [name, [data + begin, data + end]]));
}

/** The bytes that no model has a use for. */
export const isMask = (name) => /\.attn\.(masked_)?bias$/.test(name);
