//! Direct logit attribution, as TransformerLens defines it where the final layer norm is folded into the unembedding
//! (`decompose_resid` and `logit_attrs` after `enable_compatibility_mode()`): the norm divides by a scale; with that scale
//! frozen, a logit is a sum over what was added to the stream. The norm's bias is a part of its own here.
//!
//! With W the token's row of the unembedding, g and b the final norm's weight and bias, s its scale at this token:
//! logit = W·b + the sum over contributions c of W·(g * (c - mean(c))) / s.

use candle_core::{Device, Result, Tensor};

use crate::model::lanes::sums;
use crate::model::scores::most_of;
use crate::model::values::{differences, with_values};
use crate::model::{CapturePoint, Unembedding};
use trace::{Attribution, PromotedTokens};

/// The direction in the stream that moves a logit, or the difference of two.
struct Direction {
    /// g * W, `[D]`.
    toward: Vec<f32>,
    /// Its sum: what a contribution's mean takes off.
    sum: f64,
    /// W·b.
    bias: f64,
    /// What the final norm divides by.
    scale: f64,
}

impl Direction {
    fn new(unembedding: &Unembedding, target: u32, against: Option<u32>, scale: f64) -> Result<Direction> {
        let row = unembedding.token_row(target)?;
        let row = match against {
            Some(against) => differences(&row, &unembedding.token_row(against)?)?,
            None => row.to_vec1()?,
        };
        let norm = unembedding.final_norm();
        let bias = with_values(norm.bias(), |bias| Ok(sums::dot(&row, bias)))?;
        let toward: Vec<f32> = with_values(norm.weight(), |g| Ok(row.iter().zip(g).map(|(w, g)| w * g).collect()))?;
        Ok(Direction { sum: sums::sum(&toward), toward, bias, scale })
    }

    /// A contribution's part, or several rows' parts.
    fn parts(&self, rows: &Tensor) -> Result<Vec<f32>> {
        let width = self.toward.len();
        let part = |row: &[f32]| {
            let mean = sums::sum(row) / width as f64;
            ((sums::dot(row, &self.toward) - mean * self.sum) / self.scale) as f32
        };
        with_values(rows, |values| Ok(values.chunks_exact(width).map(part).collect()))
    }
}

/// A token that is meant: of a word that is a token with and without a space before it, both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenChoice(pub u32, pub Option<u32>);

impl TokenChoice {
    /// Of two, the one that some logits find more probable.
    pub fn among(self, logits: &[f32]) -> u32 {
        let logit = |id: u32| logits.get(id as usize).copied().unwrap_or(f32::NEG_INFINITY);
        self.1.filter(|spaced| logit(*spaced) > logit(self.0)).unwrap_or(self.0)
    }
}

/// What one token of a text was given: contributions as [`super::hooks::Hooks`] keeps them, and which of their rows.
pub struct AttributionInput<'a> {
    /// Every contribution with the point where it was seen, `[rows, D]`; of heads `[H, rows, D]`.
    pub contributions: &'a [(CapturePoint, Tensor)],
    /// Which of the kept rows.
    pub row: usize,
    /// The stream after the last block, `[1, D]`.
    pub stream: &'a Tensor,
    /// The biases of the output projections, `[D]` each.
    pub biases: &'a [Tensor],
}

/// Explains the logit of a token (the predicted one if none is given), or its difference to another's.
///
/// # Errors
/// candle's.
pub fn attribute(
    unembedding: &Unembedding,
    given: &AttributionInput,
    target: Option<TokenChoice>,
    against: Option<TokenChoice>,
) -> Result<Attribution> {
    let normed = unembedding.norm(given.stream)?;
    let logits = unembedding.logits(&normed)?; // (1, V)
    let (target, against, logit) = with_values(&logits, |logits| {
        let chosen = target.map(|target| target.among(logits));
        let target = chosen.or_else(|| most_of(logits, 1).first().copied()).unwrap_or_default();
        let against = against.map(|against| against.among(logits));
        let logit = |id: u32| logits.get(id as usize).copied().unwrap_or(f32::NAN);
        Ok((target, against, logit(target) - against.map_or(0.0, logit)))
    })?;
    let scale = with_values(given.stream, |row| Ok(unembedding.final_norm().scale(row)))?;
    let direction = Direction::new(unembedding, target, against, scale)?;
    let mut found = Attribution { target, against, logit, scale: scale as f32, ..Attribution::default() };
    found.bias = direction.bias as f32;
    for (point, rows) in given.contributions {
        let rows = rows.narrow(candle_core::D::Minus2, given.row, 1)?;
        let parts = direction.parts(&rows)?;
        match point {
            CapturePoint::Embed => found.embed = parts.first().copied().unwrap_or_default(),
            CapturePoint::AttnOut(_) => found.attn.extend(parts),
            CapturePoint::MlpOut(_) => found.mlp.extend(parts),
            CapturePoint::HeadOut(_) => found.heads.extend(parts),
            _ => {}
        }
    }
    for bias in given.biases {
        found.attn_bias.extend(direction.parts(bias)?);
    }
    Ok(found)
}

/// A head's part `[T, D]` as the unembedding reads it, the final norm's scale frozen at what it is for the stream `[T, D]`
/// at every token: `[T, D]`.
///
/// # Errors
/// candle's.
pub fn scaled_writes(unembedding: &Unembedding, head_out: &Tensor, stream: &Tensor) -> Result<Tensor> {
    let width = head_out.dim(1)?;
    let norm = unembedding.final_norm();
    let weight = norm.weight().to_vec1::<f32>()?;
    let scaled: Vec<f32> = with_values(head_out, |head_out| {
        with_values(stream, |stream| {
            let rows = head_out.chunks_exact(width).zip(stream.chunks_exact(width));
            let scale = |(row, stream): (&[f32], &[f32])| {
                let (mean, scale) = (sums::sum(row) / width as f64, norm.scale(stream));
                let scaled = row.iter().zip(&weight).map(move |(x, g)| ((f64::from(*x) - mean) / scale) as f32 * g);
                scaled.collect::<Vec<f32>>()
            };
            Ok(rows.flat_map(scale).collect())
        })
    })?;
    Tensor::from_vec(scaled, head_out.shape(), &Device::Cpu)
}

/// The `k` tokens whose logits `[N, V]` are highest at each row, appended: those that a head's part raises most.
///
/// # Errors
/// candle's.
pub fn add_writes(logits: &Tensor, k: usize, found: &mut PromotedTokens) -> Result<()> {
    let vocabulary = logits.dim(1)?;
    with_values(logits, |logits| {
        for logits in logits.chunks_exact(vocabulary) {
            for id in most_of(logits, k) {
                found.ids.push(id);
                found.logits.push(logits[id as usize]);
            }
        }
        Ok(())
    })
}
