// GPT-2 in plain JavaScript and F64, with loops instead of kernels: what the engine's numbers are compared with on
// shapes that no fixture has. `named`: Map of name -> { shape, data }; `ids`: T token ids.

const row = ({ shape: [, columns], data }, i) => Array.from(data.subarray(i * columns, (i + 1) * columns));
const norm = (v) => Math.sqrt(v.reduce((sum, x) => sum + x * x, 0));
const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);

function linear(x, weight, bias) {
  const [inputs, outputs] = weight.shape;
  return x.map((v) => Array.from({ length: outputs }, (_, j) => {
    let sum = bias.data[j];
    for (let i = 0; i < inputs; i += 1) sum += v[i] * weight.data[i * outputs + j];
    return sum;
  }));
}

function layerNorm(x, weight, bias, epsilon) {
  return x.map((v) => {
    const mean = v.reduce((a, b) => a + b, 0) / v.length;
    const variance = v.reduce((a, b) => a + (b - mean) ** 2, 0) / v.length;
    return v.map((value, i) => ((value - mean) / Math.sqrt(variance + epsilon)) * weight.data[i] + bias.data[i]);
  });
}

const gelu = (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

/** Norms of a trace, and the log-probabilities of the text's tokens, by the names of the contract. */
export function plainGpt2(config, named, ids) {
  const { n_embd: d, n_head, n_layer, layer_norm_epsilon: epsilon } = config;
  const of = (name) => named.get(name);
  const width = d / n_head;
  let x = ids.map((id, t) => row(of("wte.weight"), id).map((value, i) => value + row(of("wpe.weight"), t)[i]));
  const found = { embed_norm: x.map(norm), attn_norm: [], mlp_norm: [], resid_post_norm: [], attn_cos: [], head_norm: [] };
  const add = (update) => { x = x.map((v, t) => v.map((value, i) => value + update[t][i])); };
  for (let l = 0; l < n_layer; l += 1) {
    const part = (name) => of(`h.${l}.${name}`);
    const qkv = linear(layerNorm(x, part("ln_1.weight"), part("ln_1.bias"), epsilon), part("attn.c_attn.weight"), part("attn.c_attn.bias"));
    const z = x.map(() => []);
    for (let h = 0; h < n_head; h += 1) {
      const slice = (v, which) => v.slice(which * d + h * width, which * d + (h + 1) * width);
      const parts = qkv.map((query, t) => {
        const scores = qkv.slice(0, t + 1).map((key) => dot(slice(query, 0), slice(key, 1)) / Math.sqrt(width));
        const largest = Math.max(...scores), powers = scores.map((s) => Math.exp(s - largest));
        const total = powers.reduce((a, b) => a + b, 0);
        return Array.from({ length: width }, (_, i) => powers.reduce((sum, p, key) => sum + (p / total) * slice(qkv[key], 2)[i], 0));
      });
      parts.forEach((v, t) => z[t].push(...v));
      const own = { shape: [width, d], data: part("attn.c_proj.weight").data.subarray(h * width * d, (h + 1) * width * d) };
      found.head_norm.push(...linear(parts, own, { data: new Float32Array(d) }).map(norm));
    }
    const attn = linear(z, part("attn.c_proj.weight"), part("attn.c_proj.bias"));
    found.attn_norm.push(...attn.map(norm));
    found.attn_cos.push(...attn.map((v, t) => dot(v, x[t]) / norm(v) / norm(x[t])));
    add(attn);
    const hidden = linear(layerNorm(x, part("ln_2.weight"), part("ln_2.bias"), epsilon), part("mlp.c_fc.weight"), part("mlp.c_fc.bias"));
    const mlp = linear(hidden.map((v) => v.map(gelu)), part("mlp.c_proj.weight"), part("mlp.c_proj.bias"));
    found.mlp_norm.push(...mlp.map(norm));
    add(mlp);
    found.resid_post_norm.push(...x.map(norm));
  }
  const final = layerNorm(x, of("ln_f.weight"), of("ln_f.bias"), epsilon);
  found.token_logprob = ids.slice(1).map((id, t) => {
    const logits = Array.from({ length: config.vocab_size }, (_, token) => dot(final[t], row(of("wte.weight"), token)));
    const largest = Math.max(...logits);
    return logits[id] - largest - Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - largest), 0));
  });
  return found;
}
