//! Which tensors a configuration calls for, of which shapes, in which part of the model they go, and how they are
//! handed over.

use candle_core::Tensor;

use super::config::LmHead;
use super::linear::Linear;
use super::{Config, ModelError};

/// The unembedding's name, where it is a tensor of its own.
pub const LM_HEAD: &str = "lm_head.weight";

/// A part of the model that is built as a whole once its tensors are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Token and position embedding.
    Embedding,
    /// Block l, from 0.
    Block(usize),
    /// Final layer norm, and the unembedding where it is a matrix of its own.
    Unembedding,
}

/// A tensor that the model needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Name without the `transformer.` prefix.
    pub name: String,
    /// Shape by the configuration; linear weights are `[in, out]`.
    pub shape: Vec<usize>,
    /// The part of the model that it belongs to.
    pub part: Part,
}

/// The two tables of which single rows are worth asking for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// `wte`: a row per token id.
    Tokens,
    /// `wpe`: a row per position.
    Positions,
}

impl Table {
    /// The tensor's plain name.
    pub fn tensor(self) -> &'static str {
        match self {
            Table::Tokens => "wte.weight",
            Table::Positions => "wpe.weight",
        }
    }

    /// The table of this tensor, if it is one.
    pub fn of(tensor: &str) -> Option<Table> {
        [Table::Tokens, Table::Positions].into_iter().find(|table| table.tensor() == tensor)
    }
}

/// Every tensor of a model of this configuration, in the order the forward pass needs them.
pub fn wanted(config: &Config) -> Vec<Wanted> {
    let (d, inner) = (config.n_embd, config.n_inner);
    let mut list = Vec::new();
    let mut want = |part: Part, name: String, shape: &[usize]| list.push(Wanted { name, shape: shape.to_vec(), part });
    want(Part::Embedding, "wte.weight".into(), &[config.vocab_size, d]);
    want(Part::Embedding, "wpe.weight".into(), &[config.n_positions, d]);
    for l in 0..config.n_layer {
        let mut layer = |name: &str, weight: &[usize], bias: usize| {
            want(Part::Block(l), format!("h.{l}.{name}.weight"), weight);
            want(Part::Block(l), format!("h.{l}.{name}.bias"), &[bias]);
        };
        layer("ln_1", &[d], d);
        layer("attn.c_attn", &[d, 3 * d], 3 * d);
        layer("attn.c_proj", &[d, d], d);
        layer("ln_2", &[d], d);
        layer("mlp.c_fc", &[d, inner], inner);
        layer("mlp.c_proj", &[inner, d], d);
    }
    want(Part::Unembedding, "ln_f.weight".into(), &[d]);
    want(Part::Unembedding, "ln_f.bias".into(), &[d]);
    if config.lm_head == LmHead::Own {
        want(Part::Unembedding, LM_HEAD.into(), &[config.vocab_size, d]);
    }
    list
}

/// Numbers in a model's tensors. Where the configuration ties the unembedding to the embedding, a copy of it in the weights
/// is not counted again.
pub fn parameters(config: &Config) -> f64 {
    let counts = |want: &Wanted| !(config.tie_word_embeddings && want.name == LM_HEAD);
    wanted(config).iter().filter(|want| counts(want)).map(|want| want.shape.iter().product::<usize>() as f64).sum()
}

/// Where tensors come from: a checkpoint, or the part of one that has arrived. Names are those of the
/// checkpoint without `transformer.`; shapes have been checked against [`wanted`].
pub trait Tensors {
    /// Hands a tensor over.
    ///
    /// # Errors
    /// `MissingTensor` where there is none of this name.
    fn take(&mut self, name: &str) -> Result<Tensor, ModelError>;

    /// Hands a linear layer over: `name.weight` and `name.bias`, in the form in which this build multiplies.
    ///
    /// # Errors
    /// `MissingTensor`.
    fn linear(&mut self, name: &str) -> Result<Linear, ModelError>;
}

/// What others put before GPT-2's own names: transformers' model with a head, `torch.compile`, `DataParallel`, trainers'
/// wrappers, merged adapters.
const WRAPPERS: [&str; 6] = ["transformer", "_orig_mod", "module", "model", "gpt2", "base_model"];

/// Whether a prefix is one that is known to say nothing about the model.
pub fn is_wrapper(prefix: &str) -> bool {
    prefix.split_terminator('.').all(|word| WRAPPERS.contains(&word))
}

/// A name after each of its dots: the whole, then what follows the first dot, and on.
pub fn tails(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |tail| tail.split_once('.').map(|(_, rest)| rest))
}

/// A tensor's name within its block, of a plain name; `None` for those of no block.
pub fn within_block(name: &str) -> Option<&str> {
    let (layer, within) = name.strip_prefix("h.")?.split_once('.')?;
    (!layer.is_empty() && layer.bytes().all(|byte| byte.is_ascii_digit())).then_some(within)
}

/// Whether a tensor is the causal mask of a block, or the value for masked scores: constants, and not needed.
pub fn is_mask(name: &str) -> bool {
    tails(name).find_map(within_block).is_some_and(|within| ["attn.bias", "attn.masked_bias"].contains(&within))
}

/// Refuses tensors that say that a file is no model of this kind: those inside a block that GPT-2 does not have
/// (cross-attention, quantisation scales), adapters and the states of optimizers. Leaving them out would compute
/// something else than the checkpoint means.
///
/// # Errors
/// `ForeignTensor`.
pub fn refuse_unknown(file: &str, name: &str) -> Result<(), ModelError> {
    const OF_A_BLOCK: [&str; 12] = [
        "ln_1.weight",
        "ln_1.bias",
        "attn.c_attn.weight",
        "attn.c_attn.bias",
        "attn.c_proj.weight",
        "attn.c_proj.bias",
        "ln_2.weight",
        "ln_2.bias",
        "mlp.c_fc.weight",
        "mlp.c_fc.bias",
        "mlp.c_proj.weight",
        "mlp.c_proj.bias",
    ];
    let refuse =
        |why: &str| Err(ModelError::ForeignTensor { file: file.into(), name: name.into(), why: why.to_string() });
    if name.split('.').any(|word| word.starts_with("lora_")) {
        return refuse(
            "belongs to a LoRA adapter, which is no model by itself. Merge it into its base model (merge_and_unload in peft), and load that.",
        );
    }
    if name.split(['.', '/']).any(|word| ["exp_avg", "exp_avg_sq", "momentum_buffer"].contains(&word)) {
        return refuse("is the state of an optimizer, and no weight. Give the model's own weights file.");
    }
    match tails(name).find_map(within_block) {
        Some(within) if !OF_A_BLOCK.contains(&within) && !is_mask(name) => refuse(
            "is inside a block, and GPT-2 has no such tensor there: without it the numbers would be another model's.",
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tied_unembedding_counts_once_and_one_of_its_own_twice() {
        // 7 tokens and 5 positions of width 4; of the block: two norms, attention, MLP; the final norm.
        let without = 7 * 4 + 5 * 4 + 2 * (4 + 4) + (4 * 12 + 12) + (4 * 4 + 4) + (4 * 6 + 6) + (6 * 4 + 4) + (4 + 4);
        for (ties, lm_head, expected) in [
            (true, LmHead::Tied, without),
            (true, LmHead::Own, without),
            (false, LmHead::Own, without + 7 * 4),
            (false, LmHead::Absent, without),
        ] {
            let json = format!(
                r#"{{"model_type": "gpt2", "n_layer": 1, "n_head": 2, "n_embd": 4, "n_inner": 6, "n_positions": 5, "vocab_size": 7, "tie_word_embeddings": {ties}}}"#
            );
            let config = Config { lm_head, ..Config::from_json(json.as_bytes()).unwrap() };
            assert_eq!(parameters(&config), f64::from(expected), "checkpoint.rs: {lm_head:?}, tied {ties}");
        }
    }

    #[test]
    fn what_gpt_2_does_not_have_is_told_from_what_it_does_not_need() {
        for name in
            ["h.0.attn.bias", "transformer.h.11.attn.masked_bias", "module.h.0.ln_1.weight", "score.weight", "hh.0.x"]
        {
            assert!(refuse_unknown("m", name).is_ok(), "checkpoint.rs: {name}");
        }
        for (name, part) in [
            ("base_model.model.transformer.h.0.attn.c_attn.lora_A.weight", "LoRA"),
            ("base_model.model.transformer.wte.lora_embedding_A", "LoRA"),
            ("x.y.h.0.attn.q_attn.weight", "block"),
            ("h.0.attn.c_attn.base_layer.weight", "block"),
            ("state.wte.weight.exp_avg", "optimizer"),
        ] {
            let error = refuse_unknown("m.safetensors", name).expect_err(name).to_string();
            assert!(error.contains(part) && error.contains(name) && error.contains("m.safetensors"), "{error}");
        }
        assert!(is_wrapper("") && is_wrapper("base_model.model.transformer.") && !is_wrapper("decoder.transformer."));
    }
}
