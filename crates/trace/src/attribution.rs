//! Direct logit attribution: what each contribution adds to a logit.

use serde::{Deserialize, Serialize};

use crate::fields::fields;

/// A token, by its id or its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TokenRef {
    /// Its id in the model's vocabulary.
    Id(u32),
    /// Its text, which must be exactly one token.
    Text(String),
}

/// Which direct logit attribution is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttributionOptions {
    /// The token whose logit is explained; the model's own prediction if none is given.
    pub target: Option<TokenRef>,
    /// A token whose logit is taken off: what is explained then is a difference.
    pub against: Option<TokenRef>,
    /// At which token of the text the prediction is made; the last if none is given.
    pub position: Option<usize>,
}

/// Direct logit attribution at one token of a text: how much each contribution moves a logit, the final layer norm's
/// scale frozen at what it is. Everything adds up to `logit`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Attribution {
    /// At which token of the text the prediction is made.
    pub position: usize,
    /// The token whose logit is explained.
    pub target: u32,
    /// The text of `target`.
    pub target_text: String,
    /// The token whose logit is taken off.
    pub against: Option<u32>,
    /// The text of `against`.
    pub against_text: Option<String>,
    /// The logit of the one, less that of the other: as the model computes it, not as the sum of the parts.
    pub logit: f32,
    /// What the final layer norm divides by here.
    pub scale: f32,
    /// What the embedding adds (token and position).
    pub embed: f32,
    /// L: what each attention adds.
    pub attn: Vec<f32>,
    /// L: what each MLP adds.
    pub mlp: Vec<f32>,
    /// L*H: what each head adds, as a part of its attention.
    pub heads: Vec<f32>,
    /// L: the part of each output projection's bias; with it, the heads of a layer add up to attention's part.
    pub attn_bias: Vec<f32>,
    /// The part of the final layer norm's bias, which no layer wrote.
    pub bias: f32,
}

fields!(Attribution {
    position: [],
    target: [],
    target_text: [],
    against: [],
    against_text: [],
    logit: [],
    scale: [],
    embed: [],
    attn: [Some],
    mlp: [Some],
    heads: [Some, Heads],
    attn_bias: [Some],
    bias: [],
});

impl Attribution {
    /// The sum of all parts: `logit`, but for rounding.
    pub fn sum(&self) -> f64 {
        let layers = self.attn.iter().chain(&self.mlp).map(|&part| f64::from(part));
        f64::from(self.embed) + layers.sum::<f64>() + f64::from(self.bias)
    }
}
