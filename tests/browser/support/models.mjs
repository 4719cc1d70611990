// Small GPT-2 checkpoints, right and wrong, made on the spot: no PyTorch, seeded, a few kilobytes.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const FIXTURES = fileURLToPath(new URL("../../fixtures/", import.meta.url));

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
export function tinyModelWithGpt2Tokenizer() {
  return {
    ...tinyModel({ config: { vocab_size: 50257, n_layer: 1, n_positions: 64 } }),
    "vocab.json": fixture("gpt2-tokenizer/vocab.json"),
    "merges.txt": fixture("gpt2-tokenizer/merges.txt"),
  };
}
