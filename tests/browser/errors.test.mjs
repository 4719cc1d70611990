// Bad input: every error code of the contract that a model, a text or a server can cause.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { isRejection, openLab } from "./support/lab.mjs";
import { safetensors, tensors, tinyModel, CONFIG } from "./support/models.mjs";

let lab;
before(async () => { lab = await openLab(); });
after(() => lab?.close());

const settings = (config) => ({ ...tinyModel(), "config.json": Buffer.from(JSON.stringify({ ...CONFIG, ...config })) });
const json = (text) => ({ ...tinyModel(), "config.json": Buffer.from(text) });
const weights = (bytes) => ({ ...tinyModel(), "model.safetensors": bytes });
const whole = tinyModel()["model.safetensors"];
const header = Number(whole.readBigUInt64LE(0));

function without(...keys) {
  const config = { ...CONFIG };
  for (const key of keys) delete config[key];
  return json(JSON.stringify(config));
}

function longHeader(length) {
  const bytes = Buffer.from(whole);
  bytes.writeBigUInt64LE(length);
  return bytes;
}

// [what, files, code, what the message must name]
const MODELS = [
  ["config.json is not JSON", json("{oops"), "bad-config", "config.json"],
  ["config.json is empty", json(""), "bad-config", "config.json"],
  ["config.json is a list", json("[]"), "bad-config", "config.json"],
  ["config.json lacks n_embd", without("n_embd"), "bad-config", "n_embd"],
  ["n_layer is a word", settings({ n_layer: "two" }), "bad-config", "n_layer"],
  ["n_layer is negative", settings({ n_layer: -1 }), "bad-config", "n_layer"],
  ["n_head does not divide n_embd", settings({ n_head: 3 }), "bad-config", "n_head"],
  ["n_head is 0", settings({ n_head: 0 }), "bad-config", "n_head"],
  ["unknown activation", settings({ activation_function: "wobble" }), "bad-config", "wobble"],
  ["muP's attn_mult", settings({ attn_mult: 0.5 }), "bad-config", "attn_mult"],
  ["another architecture", settings({ model_type: "llama", architectures: ["LlamaForCausalLM"] }), "not-gpt2", "llama"],
  ["config asks for terabytes", settings({ n_embd: 1 << 20, n_layer: 4096, n_head: 2 }), /shape-mismatch|out-of-memory|missing-tensor/, /wte|h\.0|memory/],
  ["config asks for more blocks than numbers go", settings({ n_layer: 4e9 }), /bad-config|out-of-memory|missing-tensor/, /n_layer|h\.2|memory/],
  ["weights are empty", weights(Buffer.alloc(0)), /bad-safetensors|corrupt-download/, "model.safetensors"],
  ["weights are a few bytes", weights(Buffer.from([1, 2, 3])), /bad-safetensors|corrupt-download/, "model.safetensors"],
  ["header cut short", weights(whole.subarray(0, 8 + (header >> 1))), /bad-safetensors|corrupt-download/, "model.safetensors"],
  ["header longer than the file", weights(longHeader(10_000_000n)), /bad-safetensors|corrupt-download/, "model.safetensors"],
  ["header of 2^63 bytes", weights(longHeader(1n << 63n)), "bad-safetensors", "model.safetensors"],
  ["header is not JSON", weights(Buffer.concat([whole.subarray(0, 8), Buffer.alloc(header, 0x7b), whole.subarray(8 + header)])), "bad-safetensors", "model.safetensors"],
  ["an HTML page instead of weights", weights(Buffer.from("<!doctype html><title>Sign in</title>".padEnd(4000))), "bad-safetensors", "model.safetensors"],
  ["tensors overlap", tinyModel({ edit: (h) => { h["wpe.weight"].data_offsets = h["wte.weight"].data_offsets; return h; } }), "bad-safetensors", /wpe|wte/],
  ["offsets run backwards", tinyModel({ edit: (h) => { h["wpe.weight"].data_offsets.reverse(); return h; } }), "bad-safetensors", "wpe.weight"],
  ["bytes do not fit the shape", tinyModel({ edit: (h) => { h["wpe.weight"].shape = [16, 9]; return h; } }), /bad-safetensors|shape-mismatch/, "wpe.weight"],
  ["a tensor is missing", tinyModel({ spoil: (t) => t.delete("h.1.mlp.c_fc.weight") }), "missing-tensor", "h.1.mlp.c_fc.weight"],
  ["a tensor has another shape", settings({ n_positions: 32 }), "shape-mismatch", "wpe.weight"],
  ["c_attn is transposed", tinyModel({ spoil: (t) => { t.get("h.0.attn.c_attn.weight").shape.reverse(); } }), "shape-mismatch", "h.0.attn.c_attn.weight"],
  ["a tensor of integers", tinyModel({ edit: (h) => { h["h.0.attn.c_proj.weight"].dtype = "I32"; return h; } }), "unsupported-dtype", "h.0.attn.c_proj.weight"],
  ["tokenizer.json is broken", { ...tinyModel(), "tokenizer.json": Buffer.from("{}") }, "bad-tokenizer", "tokenizer.json"],
  ["vocab.json is broken", { ...tinyModel(), "vocab.json": Buffer.from("["), "merges.txt": Buffer.from("#version: 0.2\n") }, "bad-tokenizer", /vocab\.json|merges\.txt/],
];

test("models that cannot be read", async (t) => {
  for (const [what, files, code, name] of MODELS) {
    await t.test(what, async () => {
      lab.hub.reset();
      const repo = `bad/${what.replace(/[^a-z0-9]+/gi, "-").toLowerCase().replace(/^-|-$/g, "")}`;
      await lab.hub.add(repo, files);
      const found = await lab.run(async (rs, { repo, hub }) => window.rejection(
        rs.loadModel(repo, { hub }).then((model) => model.ready.finally(() => model.close())),
      ), { repo, hub: lab.hub.origin });
      if (code instanceof RegExp) assert.match(found.code ?? "", code, `${what}: ${JSON.stringify(found)}`);
      isRejection(what, found, code instanceof RegExp ? found.code : code, name);
    });
  }
});

// [what, fault's path, fault, code, what the message must name]
const SERVERS = [
  ["no such repo", null, null, "not-found", "org/nobody"],
  ["config.json answers 404", "config.json", { status: 404 }, "not-found", "config.json"],
  ["config.json answers 401", "config.json", { status: 401 }, /not-found|network/, "config.json"],
  ["weights answer 404", "model.safetensors", { status: 404 }, "not-found", "model.safetensors"],
  // The hub does not expose Retry-After to other origins, the CDN does.
  ["429 from the hub", "config.json", { status: 429, retryAfter: 3600 }, "rate-limited", "config.json"],
  ["429 from the CDN with Retry-After", "model.safetensors", { status: 429, retryAfter: 3600, at: "cdn" }, "rate-limited", /3600|hour/],
  ["500", "model.safetensors", { status: 500 }, "network", "500"],
  ["the connection drops in the weights", "model.safetensors", { dropAt: 3000 }, /network|corrupt-download/, "model.safetensors"],
  ["the connection drops in the header", "model.safetensors", { dropAt: 100 }, /network|corrupt-download/, "model.safetensors"],
  ["the body ends early, without a length", "model.safetensors", { truncateAt: 5000, noLength: true }, "corrupt-download", "model.safetensors"],
  ["the body ends early, and its length says so", "model.safetensors", { truncateAt: 5000 }, "corrupt-download", "model.safetensors"],
  ["a sign-in page instead of config.json", "config.json", { body: "<!doctype html>", type: "text/html" }, "bad-config", "config.json"],
];

test("servers that refuse or fail", async (t) => {
  for (const [what, path, fault, code, name] of SERVERS) {
    await t.test(what, async () => {
      lab.hub.reset();
      await lab.hub.add("org/fine", tinyModel());
      if (fault) lab.hub.fault(path, fault);
      const found = await lab.run(async (rs, { repo, hub }) => window.rejection(
        rs.loadModel(repo, { hub }).then((model) => model.ready.finally(() => model.close())),
      ), { repo: fault ? "org/fine" : "org/nobody", hub: lab.hub.origin });
      if (code instanceof RegExp) assert.match(found.code ?? "", code, `${what}: ${JSON.stringify(found)}`);
      isRejection(what, found, code instanceof RegExp ? found.code : code, name);
    });
  }
});

test("addresses that lead nowhere", async (t) => {
  for (const [source, code] of [["not an address", "not-found"], ["a/b/c", "not-found"], ["http://127.0.0.1:9/model/", "network"]]) {
    await t.test(source, async () => {
      const found = await lab.run((rs, source) => window.rejection(rs.loadModel(source)), source);
      isRejection(source, found, code, source.replace(/\/$/, ""));
    });
  }
});

test("inputs that cannot be traced, after which the model goes on", async (t) => {
  await lab.run(async (rs, source) => { window.model = await rs.loadModel(source); }, lab.fixtureUrl("tiny-gpt2"));
  await lab.run(async (rs) => { window.demo = await rs.loadModel("demo"); });
  const CASES = [
    ["no sequences", "traceTokens", [], "empty-input"],
    ["an empty sequence", "traceTokens", [[1], []], "empty-input"],
    ["too long", "traceTokens", [Array(65).fill(1)], "too-long", "65", "64"],
    ["an id beyond the vocabulary", "traceTokens", [[1, 512]], "token-out-of-range", "512", "511"],
    ["an id that is negative", "traceTokens", [[-1]], "token-out-of-range", "-1"],
    ["an id that is a fraction", "traceTokens", [[1.5]], "token-out-of-range", "1.5"],
    ["text without a tokenizer", "trace", ["hello"], "no-tokenizer", /tokenizer/],
  ];
  for (const [what, method, input, code, ...names] of CASES) {
    await t.test(what, async () => {
      const found = await lab.run((rs, { method, input }) => window.rejection(window.model[method](input)), { method, input });
      isRejection(what, found, code, ...names);
    });
  }
  for (const [what, texts, code] of [["no text", [], "empty-input"], ["an empty text", [""], "empty-input"], ["a long text", ["word ".repeat(2000)], "too-long"]]) {
    await t.test(what, async () => {
      const found = await lab.run((rs, texts) => window.rejection(window.demo.trace(texts)), texts);
      isRejection(what, found, code);
    });
  }
  await t.test("and afterwards", async () => {
    const tokens = await lab.run(async () => (await window.model.traceTokens([[1, 2]])).sequences[0].ids.length);
    assert.equal(tokens, 2);
  });
});

test("numbers that are not numbers do not stop a trace or a chart", async () => {
  const named = tensors(CONFIG);
  // Finite, as weights must be; what is computed with them is not.
  named.get("wpe.weight").data.fill(3e38);
  lab.hub.reset();
  await lab.hub.add("org/nan", { ...tinyModel(), "model.safetensors": safetensors(named) });
  const found = await lab.run(async (rs, hub) => {
    const model = await rs.loadModel("org/nan", { hub });
    return window.rejection(model.traceTokens([[1, 2, 3]]).then((trace) => {
      rs.histogram(trace);
      rs.evolution(trace);
      for (const chart of ["distribution", "evolution"]) rs.draw(document.querySelector("canvas"), trace, chart);
      model.close();
    }));
  }, lab.hub.origin);
  assert.ok(found.resolved, `weights that overflow: ${JSON.stringify(found)}`);
});
