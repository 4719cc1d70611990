//! What a run may be asked beyond norms, and what it answers: attention patterns, attribution, ablation.

use serde::{Deserialize, Serialize};

use crate::fields::fields;
use crate::{Code, Error, Result};

/// One attention head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Head {
    /// Block, from 0.
    pub layer: usize,
    /// Head of the block, from 0.
    pub head: usize,
}

/// How one head attends to a text of T tokens, and what it writes there.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Pattern {
    /// Block, from 0.
    pub layer: usize,
    /// Head of the block, from 0.
    pub head: usize,
    /// T*T, `[query][key]`: how much each token attends to each; a row adds up to 1, the future has 0.
    pub weights: Vec<f32>,
    /// T*k: the tokens whose logits the head's part raises most at each token (the final layer norm's scale frozen
    /// there), and by how much.
    pub writes: Option<Writes>,
}

fields!(Pattern { layer: [], head: [], weights: [Tokens, Tokens], writes: [] });

/// What heads write, as tokens.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Writes {
    /// T*k token ids, the most raised first.
    pub ids: Vec<u32>,
    /// T*k: by how much their logits are raised.
    pub logits: Vec<f32>,
    /// What the ids read.
    #[serde(default)]
    pub tokens: Vec<String>,
}

fields!(Writes {
    ids: [SomePerToken],
    logits: [SomePerToken],
    tokens: [SomePerToken] or none,
});

/// The prediction after the last token of a text, and since when the logit lens makes it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Leads {
    /// The predicted token.
    pub id: u32,
    /// What it reads.
    pub text: String,
    /// Its probability.
    pub prob: f32,
    /// The layer after which it leads first: 0 is the embedding, L the last block.
    pub first: usize,
    /// The layer after which it leads for good: at all later ones too.
    pub settled: usize,
}

fields!(Leads { id: [], text: [], prob: [], first: [], settled: [] });

/// A token, by its id or its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TokenRef {
    /// Its id.
    Id(u32),
    /// Its text, which must be exactly one token.
    Text(String),
}

/// Which direct logit attribution is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttributionOf {
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
    /// What it reads.
    pub target_text: String,
    /// The token whose logit is taken off.
    pub against: Option<u32>,
    /// What that reads.
    pub against_text: Option<String>,
    /// The logit of the one, less that of the other: as the model computes it, not as the sum of the parts.
    pub logit: f32,
    /// What the final layer norm divides by here.
    pub scale: f32,
    /// The embedding's part.
    pub embed: f32,
    /// L: attention's parts.
    pub attn: Vec<f32>,
    /// L: the MLPs' parts.
    pub mlp: Vec<f32>,
    /// L*H: the heads' parts of attention's.
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
    /// All parts together.
    pub fn sum(&self) -> f64 {
        let layers = self.attn.iter().chain(&self.mlp).map(|&part| f64::from(part));
        f64::from(self.embed) + layers.sum::<f64>() + f64::from(self.bias)
    }
}

/// What of a block is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Switched {
    /// All of attention's contribution, its bias too.
    Attn,
    /// All of the MLP's.
    Mlp,
    /// One head's part of attention's.
    Head,
}

/// What is put in its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Instead {
    /// Nothing.
    #[default]
    Zero,
    /// Its mean over all tokens of all texts of the request, as they are without any ablation.
    Mean,
}

/// One ablation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ablated {
    /// Block, from 0.
    pub layer: usize,
    /// What of it.
    pub part: Switched,
    /// Which head, if a head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<usize>,
    /// What is put in its place.
    #[serde(default)]
    pub how: Instead,
}

/// Activation patching between two texts of T tokens: at every layer and token, the clean text's resid_pre is put in the
/// place of the corrupted text's, and what follows is computed again.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Patching {
    /// T tokens of the clean text.
    pub clean_tokens: Vec<String>,
    /// T tokens of the corrupted text.
    pub corrupted_tokens: Vec<String>,
    /// The token that the clean text is about; its logit less that of `against` is what is watched, at the last token.
    pub answer: u32,
    /// What it reads.
    pub answer_text: String,
    /// The token that the corrupted text is about.
    pub against: u32,
    /// What it reads.
    pub against_text: String,
    /// The logit difference of the clean text.
    pub clean_difference: f32,
    /// That of the corrupted text.
    pub corrupted_difference: f32,
    /// L*T: the part of the way from the corrupted to the clean difference that a patch brings back: 0 none of it, 1 all.
    /// Fewer layers while it is being computed.
    pub recovered: Vec<f32>,
}

fields!(Patching {
    clean_tokens: [Tokens],
    corrupted_tokens: [Tokens],
    answer: [],
    answer_text: [],
    against: [],
    against_text: [],
    clean_difference: [],
    corrupted_difference: [],
    recovered: [SomePerToken],
});

/// Tokens that the model went on with.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Sampled {
    /// Their ids.
    pub ids: Vec<u32>,
    /// Each as text.
    pub tokens: Vec<String>,
    /// The probability that the model gave to each.
    pub probs: Vec<f32>,
    /// All of them as text, to be appended.
    pub text: String,
}

fields!(Sampled { ids: [Some], tokens: [Some], probs: [Some], text: [] });

impl Head {
    /// Whether a model has this head.
    ///
    /// # Errors
    /// `BadArgument`, naming the setting.
    pub fn check(self, setting: &str, (layers, heads): (usize, usize)) -> Result<()> {
        check_layer(setting, self.layer, layers)?;
        if self.head < heads {
            return Ok(());
        }
        let message = format!("{setting}: there is no head {}: this model has {heads} a layer, from 0.", self.head);
        Err(Error::new(Code::BadArgument, message))
    }
}

impl Ablated {
    /// In words: "layer 3's MLP", "head 4 of layer 9 (its mean instead)".
    pub fn text(&self) -> String {
        let layer = self.layer.saturating_add(1);
        let what = match (self.part, self.head) {
            (Switched::Attn, _) => format!("layer {layer}'s attention"),
            (Switched::Mlp, _) => format!("layer {layer}'s MLP"),
            (Switched::Head, head) => format!("head {} of layer {layer}", head.unwrap_or_default()),
        };
        if self.how == Instead::Mean { format!("{what} (its mean instead)") } else { what }
    }

    /// Whether a model has this part.
    ///
    /// # Errors
    /// `BadArgument`.
    pub fn check(self, (layers, heads): (usize, usize)) -> Result<()> {
        match (self.part, self.head) {
            (Switched::Head, Some(head)) => Head { layer: self.layer, head }.check("ablate", (layers, heads)),
            (Switched::Head, None) => {
                Err(Error::new(Code::BadArgument, "ablate: part \"head\" needs a number in `head`."))
            }
            (_, Some(_)) => Err(Error::new(Code::BadArgument, "ablate: `head` goes with part \"head\" only.")),
            (_, None) => check_layer("ablate", self.layer, layers),
        }
    }
}

fn check_layer(setting: &str, layer: usize, layers: usize) -> Result<()> {
    if layer < layers {
        return Ok(());
    }
    let message = format!("{setting}: there is no layer {layer}: this model has {layers}, from 0.");
    Err(Error::new(Code::BadArgument, message))
}
