//! Which tensors a configuration calls for, of which shapes, in which part of the model they go, and how they are
//! handed over.

use candle_core::Tensor;

use super::linear::Linear;
use super::{Config, ModelError};

/// A part of the model that is built as a whole once its tensors are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Token and position embedding.
    Embedding,
    /// Block l.
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
    /// Where it goes.
    pub part: Part,
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
    if !config.tie_word_embeddings {
        want(Part::Unembedding, "lm_head.weight".into(), &[config.vocab_size, d]);
    }
    list
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

/// A checkpoint's tensor name without the prefix that some checkpoints carry.
pub fn plain_name(name: &str) -> &str {
    name.strip_prefix("transformer.").unwrap_or(name)
}

/// A tensor's name within its block; `None` for those of no block.
pub fn within_block(name: &str) -> Option<&str> {
    plain_name(name).strip_prefix("h.").and_then(|rest| rest.split_once('.')).map(|(_, within)| within)
}

/// Refuses tensors inside a block that GPT-2 does not have (adapters, cross-attention, quantisation scales):
/// leaving them out would compute something else than the checkpoint means.
///
/// # Errors
/// `NotGpt2` names the tensor.
pub fn refuse_unknown(name: &str) -> Result<(), ModelError> {
    const OF_A_BLOCK: [&str; 14] = [
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
        // The causal mask and the value for masked scores: constants, and not needed.
        "attn.bias",
        "attn.masked_bias",
    ];
    match within_block(name) {
        Some(inner) if !OF_A_BLOCK.contains(&inner) => {
            Err(ModelError::NotGpt2(format!("the weights have a tensor \"{name}\", which GPT-2 does not have")))
        }
        _ => Ok(()),
    }
}
