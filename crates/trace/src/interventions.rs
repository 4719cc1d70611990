//! Interventions: a part of the model switched off, or a stream put in the place of another, and everything after it
//! computed again.

use serde::{Deserialize, Serialize};

use crate::attention::{Head, check_layer};
use crate::fields::fields;
use crate::{Code, Error, Result};

/// The part of a block that is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Component {
    /// All of attention's contribution, its bias too.
    Attn,
    /// All of the MLP's.
    Mlp,
    /// One head's part of attention's.
    Head,
}

/// What takes the place of a contribution that is switched off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AblationMode {
    /// A vector of zeros.
    #[default]
    Zero,
    /// Its mean over all tokens of all texts of the request, as they are without any ablation.
    Mean,
}

/// One part of the model, switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ablation {
    /// Its block, from 0.
    pub layer: usize,
    /// The part of the block.
    pub part: Component,
    /// The head, from 0, where the part is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<usize>,
    /// What takes its place.
    #[serde(default)]
    pub how: AblationMode,
}

impl Ablation {
    /// In words: "layer 3's MLP", "head 4 of layer 9 (its mean instead)".
    pub fn text(&self) -> String {
        let layer = self.layer.saturating_add(1);
        let what = match (self.part, self.head) {
            (Component::Attn, _) => format!("layer {layer}'s attention"),
            (Component::Mlp, _) => format!("layer {layer}'s MLP"),
            (Component::Head, head) => format!("head {} of layer {layer}", head.unwrap_or_default()),
        };
        if self.how == AblationMode::Mean { format!("{what} (its mean instead)") } else { what }
    }

    /// Whether a model of so many layers, with so many heads each, has this part.
    ///
    /// # Errors
    /// `BadArgument`, naming what the model lacks.
    pub fn check(self, layers: usize, heads: usize) -> Result<()> {
        match (self.part, self.head) {
            (Component::Head, Some(head)) => Head { layer: self.layer, head }.check("ablate", layers, heads),
            (Component::Head, None) => {
                Err(Error::new(Code::BadArgument, "ablate: part \"head\" needs a number in `head`."))
            }
            (_, Some(_)) => Err(Error::new(Code::BadArgument, "ablate: `head` goes with part \"head\" only.")),
            (_, None) => check_layer("ablate", self.layer, layers),
        }
    }
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
    /// The text of `answer`.
    pub answer_text: String,
    /// The token that the corrupted text is about.
    pub against: u32,
    /// The text of `against`.
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
