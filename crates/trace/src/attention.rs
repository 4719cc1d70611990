//! Attention heads: where one looks, and what it writes to the stream.

use serde::{Deserialize, Serialize};

use crate::fields::fields;
use crate::{Code, Error, Result};

/// An attention head, by its place in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Head {
    /// Its block, from 0.
    pub layer: usize,
    /// Head of the block, from 0.
    pub head: usize,
}

impl Head {
    /// Whether a model of so many layers, with so many heads each, has this head.
    ///
    /// # Errors
    /// `BadArgument`, naming the setting.
    pub fn check(self, setting: &str, layers: usize, heads: usize) -> Result<()> {
        check_layer(setting, self.layer, layers)?;
        if self.head < heads {
            return Ok(());
        }
        let message = format!("{setting}: there is no head {}: this model has {heads} a layer, from 0.", self.head);
        Err(Error::new(Code::BadArgument, message))
    }
}

/// Whether a model of `layers` blocks has block `layer`; `setting` is named if not.
pub(crate) fn check_layer(setting: &str, layer: usize, layers: usize) -> Result<()> {
    if layer < layers {
        return Ok(());
    }
    let message = format!("{setting}: there is no layer {layer}: this model has {layers}, from 0.");
    Err(Error::new(Code::BadArgument, message))
}

/// How one head attends to a text of T tokens, and what it writes there.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Pattern {
    /// Its block, from 0.
    pub layer: usize,
    /// Head of the block, from 0.
    pub head: usize,
    /// T*T, `[query][key]`: how much each token attends to each; a row adds up to 1, the future has 0.
    pub weights: Vec<f32>,
    /// T*k: the tokens whose logits the head's part raises most at each token (the final layer norm's scale frozen
    /// there), and by how much.
    pub writes: Option<PromotedTokens>,
}

fields!(Pattern { layer: [], head: [], weights: [Tokens, Tokens], writes: [] });

/// The tokens whose logits a head raises most, k at each token of the text.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct PromotedTokens {
    /// T*k token ids, the most raised first.
    pub ids: Vec<u32>,
    /// T*k: by how much their logits are raised.
    pub logits: Vec<f32>,
    /// T*k: the text of each id.
    #[serde(default)]
    pub tokens: Vec<String>,
}

fields!(PromotedTokens {
    ids: [SomePerToken],
    logits: [SomePerToken],
    tokens: [SomePerToken] or none,
});
