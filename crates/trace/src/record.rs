//! The trace itself: plain data, one [`Sequence`] per text. Field names are the public contract.

use serde::{Deserialize, Serialize};

use super::fields::fields;
use super::{Ablation, Attribution, Patching, Pattern};

/// Everything one run over one or more sequences recorded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// The model that was run.
    #[serde(default)]
    pub model: ModelInfo,
    /// One entry per text, in the order given. Sequences are computed one by one, so no padding
    /// token ever enters a number.
    pub sequences: Vec<Sequence>,
    /// What was switched off. The sequences are those of the changed model; each has the unchanged model's beside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ablate: Vec<Ablation>,
    /// Activation patching between two texts, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patching: Option<Patching>,
}

/// What a reader of a trace needs to know of the model behind it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ModelInfo {
    /// Repo id, address or "demo": what the model was loaded from.
    pub source: String,
    /// L, the number of blocks in the model. A partial trace has fewer layers than this.
    pub n_layer: usize,
    /// H, attention heads per block.
    pub n_head: usize,
    /// D, width of the residual stream.
    pub n_embd: usize,
    /// Longest sequence the model takes, in tokens.
    pub n_positions: usize,
    /// V, number of token ids.
    pub vocab_size: usize,
}

fields!(ModelInfo { source: [], n_layer: [], n_head: [], n_embd: [], n_positions: [], vocab_size: [] });

/// One traced sequence of T tokens through L layers. Arrays over layers and tokens are row-major
/// `[layer][token]`; norms are in activation units.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Sequence {
    /// The text, when the trace was made from text.
    pub text: Option<String>,
    /// T: the ids of its tokens.
    pub ids: Vec<u32>,
    /// T tokens as text. A token that holds a part of a character shows U+FFFD; `spans` has the whole.
    #[serde(default)]
    pub tokens: Vec<String>,
    /// 2T offsets `[start, end)` into `text`, in UTF-16 code units as JavaScript counts. Tokens that
    /// share a character (an emoji split over three) share its span.
    pub spans: Option<Vec<u32>>,
    /// T: norm of token embedding + position embedding.
    pub embed_norm: Vec<f32>,
    /// L*T: contribution norm of attention.
    pub attn_norm: Vec<f32>,
    /// L*T: contribution norm of the MLP.
    pub mlp_norm: Vec<f32>,
    /// L*T: norm of the stream before each block.
    pub resid_pre_norm: Vec<f32>,
    /// L*T: norm of the stream between a block's attention and its MLP.
    pub resid_mid_norm: Vec<f32>,
    /// L*T: norm of the stream after each block.
    pub resid_post_norm: Vec<f32>,
    /// L*T: cosine of attn_out with the stream it joins (resid_pre).
    pub attn_cos: Vec<f32>,
    /// L*T: cosine of mlp_out with the stream it joins (resid_mid).
    pub mlp_cos: Vec<f32>,
    /// L*H*T: norm of each head's part of attn_out, without the projection's bias.
    pub head_norm: Option<Vec<f32>>,
    /// L: norm of the bias of attention's output projection: with it, the heads' parts add up to attn_out.
    pub attn_bias_norm: Option<Vec<f32>>,
    /// The logit lens, when asked for.
    pub lens: Option<Lens>,
    /// T-1: natural log-probability of each token after the first, given those before it.
    pub token_logprob: Option<Vec<f32>>,
    /// The most probable next tokens after the last.
    pub next: Option<Next>,
    /// When the prediction at the end of the text first leads, when asked for.
    pub leads: Option<LensLead>,
    /// Attention weights of the heads that were asked for.
    pub patterns: Option<Vec<Pattern>>,
    /// Direct logit attribution, when asked for.
    pub attribution: Option<Attribution>,
    /// T, under ablation: how far the prediction at each token is from the unchanged model's (Kullback-Leibler divergence,
    /// in nats).
    pub kl: Option<Vec<f32>>,
    /// Under ablation: the same text through the unchanged model.
    pub baseline: Option<Box<Sequence>>,
}

fields!(Sequence {
    text: [],
    ids: [Tokens],
    tokens: [Tokens] or none,
    spans: [Tokens, Pair],
    embed_norm: [Tokens],
    attn_norm: [Layers, Tokens],
    mlp_norm: [Layers, Tokens],
    resid_pre_norm: [Layers, Tokens],
    resid_mid_norm: [Layers, Tokens],
    resid_post_norm: [Layers, Tokens],
    attn_cos: [Layers, Tokens],
    mlp_cos: [Layers, Tokens],
    head_norm: [Layers, Heads, Tokens],
    attn_bias_norm: [Layers],
    lens: [],
    token_logprob: [LaterTokens],
    next: [],
    leads: [],
    patterns: [],
    attribution: [],
    kl: [Tokens],
    baseline: [],
});

/// Top-k predictions of the logit lens: (L+1)*T*k entries, the embedding first, then after each block.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Lens {
    /// Token ids, most probable first within a cell.
    pub ids: Vec<u32>,
    /// The probability of each id, in its cell.
    pub probs: Vec<f32>,
    /// (L+1)*T: the rank of the token that does follow, 1 for the most probable; 0 after the last token.
    #[serde(default)]
    pub true_rank: Vec<u32>,
    /// (L+1)*T: its probability; 0 after the last token.
    #[serde(default)]
    pub true_prob: Vec<f32>,
    /// What the ids read, each of them once.
    #[serde(default)]
    pub vocab: Vocab,
}

fields!(Lens {
    ids: [Stages, Tokens, Some],
    probs: [Stages, Tokens, Some],
    true_rank: [Stages, Tokens] or none,
    true_prob: [Stages, Tokens] or none,
    vocab: [] or none,
});

/// Some of a model's tokens.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Vocab {
    /// Token ids in rising order, each once.
    pub ids: Vec<u32>,
    /// Their text, `#id` where the model has no tokenizer.
    pub tokens: Vec<String>,
}

fields!(Vocab { ids: [Some], tokens: [Some] });

impl Lens {
    /// What a token id reads: `#id` where the trace does not say.
    pub fn text(&self, id: u32) -> String {
        let place = self.vocab.ids.binary_search(&id).ok();
        place.and_then(|place| self.vocab.tokens.get(place)).cloned().unwrap_or_else(|| format!("#{id}"))
    }

    /// Writes down what the ids read.
    pub fn name_tokens(&mut self, text: impl Fn(u32) -> String) {
        let mut ids = self.ids.clone();
        ids.sort_unstable();
        ids.dedup();
        self.vocab = Vocab { tokens: ids.iter().map(|id| text(*id)).collect(), ids };
    }
}

/// Candidates for the next token, most probable first.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Next {
    /// The candidates' ids.
    pub ids: Vec<u32>,
    /// The probability of each candidate.
    pub probs: Vec<f32>,
    /// Their text, where the model has a tokenizer.
    #[serde(default)]
    pub tokens: Vec<String>,
}

fields!(Next {
    ids: [Some],
    probs: [Some],
    tokens: [Some] or none,
});

/// The prediction after the last token of a text, and since when the logit lens makes it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LensLead {
    /// The id of the predicted token.
    pub id: u32,
    /// The text of that token.
    pub text: String,
    /// The probability that the model gives it.
    pub prob: f32,
    /// The layer after which it leads first: 0 is the embedding, L the last block.
    pub first: usize,
    /// The layer after which it leads for good: at all later ones too.
    pub settled: usize,
}

fields!(LensLead { id: [], text: [], prob: [], first: [], settled: [] });

/// Tokens that the model went on with.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Sampled {
    /// Token ids, in the order they were sampled.
    pub ids: Vec<u32>,
    /// The text of each token.
    pub tokens: Vec<String>,
    /// The probability that the model gave to each.
    pub probs: Vec<f32>,
    /// All of them as one text, to be appended.
    pub text: String,
}

fields!(Sampled { ids: [Some], tokens: [Some], probs: [Some], text: [] });

impl Sequence {
    /// T, the number of tokens.
    pub fn token_count(&self) -> usize {
        self.ids.len()
    }

    /// L, the number of layers recorded: the model's, or fewer in a partial trace.
    pub fn layer_count(&self) -> usize {
        self.attn_norm.len().checked_div(self.ids.len()).unwrap_or(0)
    }

    /// The T values of one layer out of a `[layer][token]` array, empty where the array is too short.
    pub fn layer<'a>(&self, values: &'a [f32], layer: usize) -> &'a [f32] {
        let t = self.token_count();
        values.get(layer * t..(layer + 1) * t).unwrap_or(&[])
    }

    /// The values of one token out of a `[layer][token]` array, one per layer recorded; `NaN` where the array is too short.
    pub fn column(&self, values: &[f32], token: usize) -> Vec<f32> {
        let t = self.token_count();
        (0..self.layer_count()).map(|layer| values.get(layer * t + token).copied().unwrap_or(f32::NAN)).collect()
    }
}

impl Trace {
    /// L, the number of layers that every sequence has recorded.
    pub fn layer_count(&self) -> usize {
        layers_of_all(&self.sequences)
    }

    /// The sequences as they were recorded.
    pub fn run(&self) -> Run<'_> {
        Run { trace: self, unablated: false }
    }

    /// Under ablation: the same texts through the unchanged model.
    pub fn unablated(&self) -> Option<Run<'_>> {
        let is_whole = !self.sequences.is_empty() && self.sequences.iter().all(|sequence| sequence.baseline.is_some());
        is_whole.then_some(Run { trace: self, unablated: true })
    }

    /// Whether blocks are still missing, as in a trace of a model that is still arriving.
    pub fn is_partial(&self) -> bool {
        self.layer_count() < self.model.n_layer
    }
}

/// One token of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenPosition {
    /// Its sequence, from 0.
    pub sequence: usize,
    /// Its position in that sequence, from 0.
    pub token: usize,
}

/// One run of a model over a trace's texts. A trace under ablation holds two: the changed model's and the unchanged one's.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    trace: &'a Trace,
    unablated: bool,
}

impl<'a> Run<'a> {
    /// The model that was run.
    pub fn model(self) -> &'a ModelInfo {
        &self.trace.model
    }

    /// One sequence a text, in the order of the trace.
    pub fn sequences(self) -> impl Iterator<Item = &'a Sequence> + Clone {
        let unablated = self.unablated;
        self.trace.sequences.iter().filter_map(move |sequence| match unablated {
            true => sequence.baseline.as_deref(),
            false => Some(sequence),
        })
    }
}

/// The number of layers that every sequence has recorded. (One without tokens has no layers, and says nothing.)
pub fn layers_of_all<'a>(sequences: impl IntoIterator<Item = &'a Sequence>) -> usize {
    let with_tokens = sequences.into_iter().filter(|sequence| sequence.token_count() > 0);
    with_tokens.map(Sequence::layer_count).min().unwrap_or(0)
}
