//! GPT-2 in double precision and plain loops, written from Radford et al., "Language Models are Unsupervised Multitask
//! Learners" (2019), and the meaning that Hugging Face's `GPT2LMHeadModel` gives to settings and tensors. It shares no code
//! with the program: it is what the program is held against.
//!
//! [`Precision::Single`] rounds every number that is stored to F32, in the same loops: how far the two are apart is how far
//! any F32 program may be from the truth in this very model.

use std::collections::HashMap;

/// A row of numbers.
pub type Row = Vec<f64>;
/// A row for every token.
pub type Rows = Vec<Row>;

/// What `config.json` says.
#[derive(Clone, Debug)]
pub struct Settings {
    pub vocabulary: usize,
    pub positions: usize,
    pub width: usize,
    pub layers: usize,
    pub heads: usize,
    pub inner: usize,
    pub activation: String,
    pub epsilon: f64,
    pub scale_by_width: bool,
    pub scale_by_layer: bool,
    pub tied: bool,
}

/// Settings, and the numbers of every tensor by its plain name, row by row.
pub struct Model {
    pub settings: Settings,
    pub tensors: HashMap<String, Row>,
}

/// How numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    Double,
    Single,
}

/// A part of a model that contributes to the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Attention(usize),
    Head(usize, usize),
    Mlp(usize),
}

/// Parts whose contributions are replaced, each by one row for every token.
pub type Ablation = [(Part, Row)];

/// What one block did.
#[derive(Default)]
pub struct Block {
    pub before: Rows,
    pub attn_out: Rows,
    pub between: Rows,
    pub mlp_out: Rows,
    pub after: Rows,
    /// Of every head: its part of attn_out without the bias, and how much each token attends to each.
    pub head_out: Vec<Rows>,
    pub patterns: Vec<Rows>,
    /// The largest attention score.
    pub steepest: f64,
}

/// What a whole pass did.
pub struct Pass {
    pub embedded: Rows,
    pub blocks: Vec<Block>,
}

impl Model {
    /// Takes token ids through all blocks.
    pub fn pass(&self, ids: &[u32], ablated: &Ablation, precision: Precision) -> Pass {
        let embedded: Rows = (0..ids.len())
            .map(|position| {
                let token = self.row_of("wte.weight", ids[position] as usize);
                stored(sum(token, self.row_of("wpe.weight", position)), precision)
            })
            .collect();
        let mut blocks: Vec<Block> = Vec::new();
        for layer in 0..self.settings.layers {
            let before = blocks.last().map_or(&embedded, |block| &block.after).clone();
            blocks.push(self.block(layer, before, ablated, precision));
        }
        Pass { embedded, blocks }
    }

    /// x + attention(norm(x)), and what comes of it + mlp(norm(of that)).
    fn block(&self, layer: usize, before: Rows, ablated: &Ablation, precision: Precision) -> Block {
        let name = |part: &str| format!("h.{layer}.{part}");
        let normed = self.norm(&name("ln_1"), &before, precision);
        let mut block = self.attention(layer, &normed, ablated, precision);
        replace(Part::Attention(layer), ablated, &mut block.attn_out);
        let between = add(&before, &block.attn_out, precision);
        let normed = self.norm(&name("ln_2"), &between, precision);
        let mut hidden = self.linear(&name("mlp.c_fc"), &normed, precision);
        for value in hidden.iter_mut().flatten() {
            *value = store(activation(&self.settings.activation, *value), precision);
        }
        let mut mlp_out = self.linear(&name("mlp.c_proj"), &hidden, precision);
        replace(Part::Mlp(layer), ablated, &mut mlp_out);
        let after = add(&between, &mlp_out, precision);
        Block { before, between, mlp_out, after, ..block }
    }

    /// What attention adds, with the heads' parts and patterns.
    fn attention(&self, layer: usize, normed: &[Row], ablated: &Ablation, precision: Precision) -> Block {
        let (width, heads) = (self.settings.width, self.settings.heads);
        let of_head = width / heads;
        let mut scale = 1.0;
        if self.settings.scale_by_width {
            scale /= (of_head as f64).sqrt();
        }
        if self.settings.scale_by_layer {
            scale /= (layer + 1) as f64;
        }
        let qkv = self.linear(&format!("h.{layer}.attn.c_attn"), normed, precision);
        let projection = self.tensor(&format!("h.{layer}.attn.c_proj.weight"));
        let mut block = Block::default();
        for head in 0..heads {
            let at = head * of_head;
            let (mut parts, mut pattern) = (Vec::new(), Vec::new());
            for (query_at, of_query) in qkv.iter().enumerate() {
                let query = &of_query[at..at + of_head];
                // A token sees itself and those before it.
                let scores = qkv[..=query_at]
                    .iter()
                    .map(|of_key| store(scale * dot(query, &of_key[width + at..width + at + of_head]), precision));
                let scores: Row = scores.collect();
                block.steepest = scores.iter().fold(block.steepest, |most, score| most.max(score.abs()));
                let weights = stored(softmax(&scores), precision);
                let mut mixed = vec![0.0; of_head];
                for (weight, of_key) in weights.iter().zip(&qkv) {
                    let value = &of_key[2 * width + at..2 * width + at + of_head];
                    mixed.iter_mut().zip(value).for_each(|(mixed, value)| *mixed += weight * value);
                }
                let mixed = stored(mixed, precision);
                // The head's rows of the output projection.
                let out = (0..width).map(|column| {
                    let terms =
                        mixed.iter().enumerate().map(|(i, mixed)| mixed * projection[(at + i) * width + column]);
                    terms.sum::<f64>()
                });
                parts.push(stored(out.collect(), precision));
                pattern.push(weights);
            }
            replace(Part::Head(layer, head), ablated, &mut parts);
            block.head_out.push(parts);
            block.patterns.push(pattern);
        }
        let bias = self.tensor(&format!("h.{layer}.attn.c_proj.bias"));
        let out = (0..normed.len()).map(|token| {
            let all = block.head_out.iter().fold(bias.clone(), |all, parts| sum(&all, &parts[token]));
            stored(all, precision)
        });
        block.attn_out = out.collect();
        block
    }

    /// Scores of every token id by rows of a stream: the final norm and the unembedding.
    pub fn logits(&self, stream: &[Row], precision: Precision) -> Rows {
        let normed = self.norm("ln_f", stream, precision);
        let score = |row: &Row| {
            let scores = (0..self.settings.vocabulary).map(|id| dot(row, self.unembedding_row(id)));
            stored(scores.collect(), precision)
        };
        normed.iter().map(score).collect()
    }

    /// A token's row of the unembedding.
    pub fn unembedding_row(&self, id: usize) -> &[f64] {
        self.row_of(if self.settings.tied { "wte.weight" } else { "lm_head.weight" }, id)
    }

    /// A contribution's part of the logit of `target` at a stream, the final norm's scale frozen there.
    pub fn logit_part(&self, contribution: &[f64], stream: &[f64], target: usize) -> f64 {
        let (weight, row) = (self.tensor("ln_f.weight"), self.unembedding_row(target));
        let (mean, scale) = (mean(contribution), self.scale(stream));
        let terms = contribution.iter().zip(weight).zip(row).map(|((x, g), w)| w * g * (x - mean) / scale);
        terms.sum()
    }

    /// The part of the final norm's bias.
    pub fn bias_part(&self, target: usize) -> f64 {
        dot(self.tensor("ln_f.bias"), self.unembedding_row(target))
    }

    /// The numbers of a tensor.
    pub fn tensor(&self, name: &str) -> &Row {
        self.tensors.get(name).unwrap_or_else(|| panic!("paper.rs: no tensor {name}"))
    }

    fn row_of(&self, name: &str, row: usize) -> &[f64] {
        let width = self.settings.width;
        &self.tensor(name)[row * width..(row + 1) * width]
    }

    /// x W + b, with W `[in, out]`.
    fn linear(&self, name: &str, rows: &[Row], precision: Precision) -> Rows {
        let (weight, bias) = (self.tensor(&format!("{name}.weight")), self.tensor(&format!("{name}.bias")));
        let of_row = |row: &Row| {
            let mut out = bias.clone();
            for (x, weights) in row.iter().zip(weight.chunks(bias.len())) {
                out.iter_mut().zip(weights).for_each(|(out, weight)| *out += x * weight);
            }
            stored(out, precision)
        };
        rows.iter().map(of_row).collect()
    }

    /// (x - mean) / sqrt(variance + epsilon) * weight + bias.
    fn norm(&self, name: &str, rows: &[Row], precision: Precision) -> Rows {
        let (weight, bias) = (self.tensor(&format!("{name}.weight")), self.tensor(&format!("{name}.bias")));
        let of_row = |row: &Row| {
            let (mean, scale) = (mean(row), self.scale(row));
            let values =
                row.iter().zip(weight.iter().zip(bias)).map(|(x, (weight, bias))| (x - mean) / scale * weight + bias);
            stored(values.collect(), precision)
        };
        rows.iter().map(of_row).collect()
    }

    /// What a norm divides a row by.
    pub fn scale(&self, row: &[f64]) -> f64 {
        let mean = mean(row);
        let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / row.len() as f64;
        (variance + self.settings.epsilon).sqrt()
    }
}

impl Pass {
    /// What a part contributes, a row for every token.
    pub fn contribution(&self, part: Part) -> &Rows {
        match part {
            Part::Attention(layer) => &self.blocks[layer].attn_out,
            Part::Head(layer, head) => &self.blocks[layer].head_out[head],
            Part::Mlp(layer) => &self.blocks[layer].mlp_out,
        }
    }

    /// The stream at the embedding and after each block.
    pub fn streams(&self) -> Vec<&Rows> {
        std::iter::once(&self.embedded).chain(self.blocks.iter().map(|block| &block.after)).collect()
    }

    /// The largest number that was met, infinite where one was none.
    pub fn largest(&self) -> f64 {
        let of_block = |block: &Block| {
            block
                .head_out
                .iter()
                .chain([&block.attn_out, &block.mlp_out, &block.after])
                .flatten()
                .flatten()
                .copied()
                .collect::<Row>()
        };
        let all = self.embedded.iter().flatten().copied().chain(self.blocks.iter().flat_map(of_block));
        all.fold(0.0, |most: f64, value| if value.is_nan() { f64::INFINITY } else { most.max(value.abs()) })
    }
}

fn replace(part: Part, ablated: &Ablation, rows: &mut Rows) {
    for (_, row) in ablated.iter().filter(|(place, _)| *place == part) {
        rows.iter_mut().for_each(|at| at.clone_from(row));
    }
}

/// Hugging Face's `ACT2FN`.
fn activation(name: &str, x: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match name {
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_accurate" => {
            let inside = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            // 1 + tanh(u) is 2 sigmoid(2 u); written so, it does not lose its digits where tanh is near -1.
            if x == 0.0 { 0.0 } else { x * sigmoid(2.0 * inside) }
        }
        "gelu" | "gelu_python" => x * normal_below(x),
        "gelu_10" => (x * normal_below(x)).clamp(-10.0, 10.0),
        "quick_gelu" => x * sigmoid(1.702 * x),
        "relu" => x.max(0.0),
        "relu2" => x.max(0.0).powi(2),
        "relu6" => x.clamp(0.0, 6.0),
        "leaky_relu" => {
            if x >= 0.0 {
                x
            } else {
                0.01 * x
            }
        }
        "silu" | "swish" => x * sigmoid(x),
        "mish" => x * (x.max(0.0) + (-x.abs()).exp().ln_1p()).tanh(),
        "tanh" => x.tanh(),
        "sigmoid" => sigmoid(x),
        "linear" => x,
        _ => panic!("paper.rs: no activation {name}"),
    }
}

/// How much of the standard normal distribution is below x, by a series near the middle and a continued fraction in the
/// tails (Abramowitz and Stegun, 26.2.11 and 26.2.14).
fn normal_below(x: f64) -> f64 {
    let density = (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt();
    if x.abs() < 4.0 {
        let (mut term, mut total) = (x, x);
        for n in 1..200 {
            term *= x * x / (2 * n + 1) as f64;
            total += term;
        }
        return 0.5 + density * total;
    }
    let fraction = (1..200).rev().fold(0.0, |below, n| n as f64 / (x.abs() + below));
    let beyond = density / (x.abs() + fraction);
    if x > 0.0 { 1.0 - beyond } else { beyond }
}

/// Natural log-probabilities by scores.
pub fn log_softmax(scores: &[f64]) -> Row {
    let largest = scores.iter().fold(f64::NEG_INFINITY, |most, score| most.max(*score));
    let total: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
    scores.iter().map(|score| score - largest - total.ln()).collect()
}

fn softmax(scores: &[f64]) -> Row {
    log_softmax(scores).iter().map(|log| log.exp()).collect()
}

/// A vector's length.
pub fn length(row: &[f64]) -> f64 {
    dot(row, row).sqrt()
}

/// The cosine of the angle between two vectors.
pub fn cosine(a: &[f64], b: &[f64]) -> f64 {
    dot(a, b) / (length(a) * length(b))
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn mean(row: &[f64]) -> f64 {
    row.iter().sum::<f64>() / row.len() as f64
}

fn sum(a: &[f64], b: &[f64]) -> Row {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

fn add(a: &[Row], b: &[Row], precision: Precision) -> Rows {
    a.iter().zip(b).map(|(a, b)| stored(sum(a, b), precision)).collect()
}

fn store(value: f64, precision: Precision) -> f64 {
    if precision == Precision::Single { f64::from(value as f32) } else { value }
}

fn stored(row: Row, precision: Precision) -> Row {
    row.into_iter().map(|value| store(value, precision)).collect()
}
