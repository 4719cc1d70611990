// Files that are wrong in themselves, on a server that serves them well: damaged headers, files that are too short or
// too long, models that cannot fit. Once the files are mended, the model loads.
import assert from "node:assert/strict";
import { after, before } from "node:test";
import { openLab } from "./support/lab.mjs";
import { cases, filesOf, rightTrace, WEIGHTS } from "./support/loads.mjs";
import { CONFIG, SMALL_CONFIG, safetensors, tensors } from "./support/models.mjs";

let lab;
before(async () => {
  lab = await openLab();
  await rightTrace(lab, "small");
});
after(() => lab?.close());

const config = { ...CONFIG, ...SMALL_CONFIG };
const whole = filesOf("small")[WEIGHTS];
const length = Number(whole.readBigUInt64LE(0));
const text = whole.subarray(8, 8 + length).toString();
const data = whole.subarray(8 + length);

const weights = (bytes) => ({ [WEIGHTS]: bytes });
/** The file with another header, as text; `announced` is the length that it gives itself. */
function headed(header, announced = Buffer.byteLength(header)) {
  const first = Buffer.alloc(8);
  first.writeBigUInt64LE(BigInt(announced));
  return weights(Buffer.concat([first, Buffer.from(header), data]));
}
/** The file with its header edited as an object. */
function edited(edit) {
  const header = JSON.parse(text);
  edit(header);
  return headed(JSON.stringify(header));
}
const settings = (more) => ({ "config.json": Buffer.from(JSON.stringify({ ...config, ...more })) });
const wide = (name, dtype, size) => {
  const named = tensors(config);
  const tensor = named.get(name);
  named.set(name, { ...tensor, dtype, data: new Uint8Array(tensor.data.length * size) });
  return weights(safetensors(named));
};
/** What must have been read of the weights at most: a refusal comes before the bulk of the bytes. */
const atMost = (bytes) => ({ hub, path }) => {
  const sent = hub.sent(path);
  assert.ok(sent <= bytes, `${sent} bytes of the weights were sent before the model was refused; ${bytes} would have told`);
};
const early = atMost(8 + length + 65536);

/** Small files whose size a server chooses. `most`: bytes of the first that may be sent at all. */
const blank = (bytes) => Buffer.alloc(bytes, " ");
const stopsAt = (name, most) => ({ hub, repo }) => {
  const [first] = hub.ledger.answers(`${repo}/${name}`);
  assert.ok(first.count <= most, `${first.count} bytes of ${name} were sent before it was refused; ${most} would do`);
};

cases("small files without end", () => lab, [
  { name: "a long config.json", files: { "config.json": blank(60e6) }, expect: "bad-config", words: [/config\.json/, /60 MB/], check: stopsAt("config.json", 20e6) },
  { name: "a config.json that tells no length", files: { "config.json": blank(60e6) }, faults: { "config.json": { noLength: true } }, expect: "bad-config", words: [/config\.json/, /MB/], check: stopsAt("config.json", 20e6) },
  { name: "a config.json that unpacks to 60 MB", files: { "config.json": blank(60e6) }, faults: { "config.json": { gzip: true } }, expect: "bad-config", words: [/config\.json/, /MB/] },
  { name: "a tokenizer.json that unpacks to 130 MB", files: { "tokenizer.json": blank(130e6) }, faults: { "tokenizer.json": { gzip: true } }, expect: "bad-tokenizer", words: [/tokenizer\.json/, /100 MB/] },
  { name: "an index that unpacks to 60 MB", files: { "model.safetensors.index.json": blank(60e6) }, faults: { [WEIGHTS]: { status: 404 }, "model.safetensors.index.json": { gzip: true } }, expect: "bad-safetensors", words: [/index\.json/, /32 MB/] },
], { concurrency: 2 });

cases("files that are wrong", () => lab, [
  { name: "a header of 100 MB and more", files: headed(text, 100_000_001), expect: "bad-safetensors", words: [/model\.safetensors/, /100000001|100.?MB|100_?000_?000/i], check: early },
  { name: "a header of 2^63 bytes", files: headed(text, 2n ** 63n), expect: "bad-safetensors", check: early },
  { name: "a header of no bytes", files: headed(text, 0), expect: "bad-safetensors", check: early },
  { name: "a header that reaches beyond the file", files: headed(text, whole.length + 1000), expect: ["bad-safetensors", "corrupt-download"], words: [/model\.safetensors/] },
  { name: "a header that is no JSON", files: headed(text.replace("{", "[")), expect: "bad-safetensors", check: early },
  { name: "a header that is a list", files: headed("[1,2]".padEnd(length)), expect: "bad-safetensors" },
  { name: "a header that is nested ten thousand deep", files: headed('{"a":'.repeat(10_000)), expect: "bad-safetensors" },
  { name: "a header with bytes that are no UTF-8", files: weights(Buffer.concat([whole.subarray(0, 12), Buffer.from([0xff, 0xfe]), whole.subarray(14)])), expect: ["bad-safetensors", "missing-tensor"] },
  { name: "tensors that overlap", files: edited((h) => { h["wpe.weight"].data_offsets = [...h["wpe.weight"].data_offsets].map((at) => at - 64); }), expect: "bad-safetensors", words: [/wpe\.weight|overlap/], check: early },
  { name: "two tensors in the same place", files: edited((h) => { h["h.0.ln_1.bias"].data_offsets = h["h.0.ln_1.weight"].data_offsets; }), expect: "bad-safetensors", words: [/h\.0\.ln_/] },
  { name: "a hole between tensors", files: edited((h) => { for (const t of Object.values(h)) if (t.data_offsets[0] > 90_000) t.data_offsets = t.data_offsets.map((at) => at + 4); }), expect: "bad-safetensors" },
  { name: "a tensor beyond the end of the file", files: edited((h) => { const [name, last] = Object.entries(h).at(-1); h.extra = { dtype: "F32", shape: [250_000], data_offsets: [last.data_offsets[1], last.data_offsets[1] + 1_000_000] }; assert.ok(name); }), expect: ["bad-safetensors", "corrupt-download"], words: [/extra|ends? /], check: early },
  { name: "offsets near 2^64", files: headed(text.replace(/"data_offsets":\[\d+,\d+\]/, '"data_offsets":[18446744073709551608,18446744073709551615]')), expect: "bad-safetensors" },
  { name: "a shape whose product overflows", files: edited((h) => { h["wpe.weight"].shape = [4294967296, 4294967296, 2]; }), expect: ["bad-safetensors", "shape-mismatch"], words: [/wpe\.weight/] },
  { name: "a name that stands twice", files: headed(`${text.slice(0, -1)},"wpe.weight":${JSON.stringify(JSON.parse(text)["wpe.weight"])}}`), expect: "bad-safetensors", words: [/wpe\.weight/, /twice|duplicate/i], check: early },
  { name: "a wanted tensor in F64", files: wide("h.2.mlp.c_fc.weight", "F64", 8), expect: "unsupported-dtype", words: [/h\.2\.mlp\.c_fc\.weight/, /F64/], check: early },
  { name: "a wanted tensor of integers", files: edited((h) => { h["wte.weight"].dtype = "I32"; }), expect: "unsupported-dtype", words: [/wte\.weight/, /I32/], check: early },
  { name: "a wanted tensor in eight bits", files: wide("wte.weight", "F8_E4M3", 1), expect: "unsupported-dtype", words: [/wte\.weight/, /F8_E4M3/] },
  { name: "a block fewer than config.json says", files: settings({ n_layer: 4 }), expect: "missing-tensor", words: [/h\.3\./], check: early },
  { name: "another width than config.json says", files: settings({ n_embd: 128 }), expect: "shape-mismatch", words: [/128/], check: early },
  { name: "a file that ends early, and its server knows", files: weights(whole.subarray(0, whole.length - 5000)), expect: ["bad-safetensors", "corrupt-download"], words: [/model\.safetensors/] },
  { name: "a file that ends early, on a server without ranges", files: weights(whole.subarray(0, whole.length - 5000)), faults: { [WEIGHTS]: { at: "cdn", noRange: true, noLength: true } }, expect: ["bad-safetensors", "corrupt-download"], words: [/model\.safetensors/] },
  { name: "a file that ends early, and nothing is exposed", folder: true, files: weights(whole.subarray(0, whole.length - 5000)), faults: { [WEIGHTS]: { at: "cdn", expose: "" } }, expect: ["bad-safetensors", "corrupt-download"], words: [/model\.safetensors/] },
  { name: "a file that goes on after its last tensor", files: weights(Buffer.concat([whole, Buffer.alloc(4096, 7)])), expect: ["bad-safetensors", "corrupt-download"], words: [/model\.safetensors/] },
  { name: "a file that goes on, on a server without ranges", files: weights(Buffer.concat([whole, Buffer.alloc(4096, 7)])), faults: { [WEIGHTS]: { at: "cdn", noRange: true } }, expect: ["bad-safetensors", "corrupt-download"], words: [/model\.safetensors/] },
  { name: "a file of no bytes", files: weights(Buffer.alloc(0)), expect: ["bad-safetensors", "corrupt-download"], words: [/model\.safetensors/] },
  { name: "a pointer of Git LFS instead of the weights", files: weights(Buffer.from(`version https://git-lfs.github.com/spec/v1\noid sha256:${"0".repeat(64)}\nsize 548105171\n`)), expect: "bad-safetensors", words: [/model\.safetensors/] },
  { name: "weights that the index of shards sends elsewhere", files: { "model.safetensors.index.json": Buffer.from('{"weight_map":{"wte.weight":"../../elsewhere.safetensors"}}'), [WEIGHTS]: whole }, faults: { [WEIGHTS]: { at: "hub", status: 404 } }, expect: ["bad-safetensors", "missing-tensor"] },
  {
    name: "gpt2-xl, which four gigabytes do not hold", files: settings({ n_embd: 1600, n_layer: 48, n_head: 25, n_positions: 1024, vocab_size: 50257 }),
    expect: "out-of-memory", words: [/GB/],
    check({ hub, repo }) {
      const asked = hub.requests.filter(({ url }) => decodeURIComponent(url).includes(`${repo}/`) && /\.safetensors/.test(url));
      assert.deepEqual(asked.map(({ url }) => url), [], "config.json alone tells that the model cannot fit, and yet its weights were asked for");
    },
  },
  { name: "sizes that overflow", files: settings({ n_embd: 2 ** 31, n_layer: 2 ** 20, n_head: 2 }), expect: ["out-of-memory", "bad-config"] },
]);
