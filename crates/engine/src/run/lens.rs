//! Predictions: the model's own, and those of the logit lens (nostalgebraist, "interpreting GPT: the logit
//! lens", 2020: the final layer norm and the unembedding applied to an intermediate stream).

use candle_core::{Result, Tensor};

use crate::model::Unembedding;
use crate::model::scores::{self, most_of};
use crate::model::values::with_values;
use trace::{Lens, LensLead, Next};

/// Most logits held at a time. A whole `[T, V]` table of GPT-2 at its 1024 tokens would be 206 MB; this is a
/// twelfth of that, and rows enough to be worth the reading of the table.
const LOGITS_AT_A_TIME: usize = 1 << 22;

/// Probabilities over the vocabulary at one position, not yet normalised.
struct Position<'a> {
    logits: &'a [f32],
    /// ln of the sum of e^logit; `NaN` where a logit is `NaN` or +∞: then nothing has a probability or a rank.
    log_total: f64,
}

impl<'a> Position<'a> {
    fn new(logits: &'a [f32]) -> Self {
        let largest = scores::largest(logits);
        Position { logits, log_total: f64::from(largest) + scores::sum_of_powers(logits, largest).ln() }
    }

    /// Natural log-probability of a token id.
    fn log_prob(&self, id: u32) -> f32 {
        self.logits.get(id as usize).map_or(f32::NAN, |&logit| (f64::from(logit) - self.log_total) as f32)
    }

    /// The `k` most probable ids, most probable first; of equals the lower id.
    fn top(&self, k: usize) -> impl Iterator<Item = (u32, f32)> {
        most_of(self.logits, k).into_iter().map(|id| (id, self.log_prob(id).exp()))
    }

    /// How many ids are at least as probable as this one, itself among them: 1 for the most probable; 0 where nothing has a
    /// probability.
    fn rank(&self, id: u32) -> u32 {
        if self.log_total.is_nan() {
            return 0;
        }
        let own = self.logits.get(id as usize).copied().unwrap_or(f32::NEG_INFINITY);
        1 + scores::count_above(self.logits, own) as u32
    }

    /// Kullback-Leibler divergence of another prediction from this one, in nats: the sum of p ln(p / q). Never below 0, as
    /// rounding could make it.
    fn divergence(&self, other: &Position) -> f64 {
        let term = |(&a, &b): (&f32, &f32)| {
            let (p, q) = (f64::from(a) - self.log_total, f64::from(b) - other.log_total);
            if p == f64::NEG_INFINITY { 0.0 } else { p.exp() * (p - q) }
        };
        let sum: f64 = self.logits.iter().zip(other.logits).map(term).sum();
        if sum < 0.0 { 0.0 } else { sum }
    }
}

/// A stream `[N, D]` in pieces of as many rows as are unembedded at once, each with its first row's number.
pub fn chunks(unembedding: &Unembedding, stream: &Tensor) -> Result<Vec<(usize, Tensor)>> {
    let at_a_time = (LOGITS_AT_A_TIME / unembedding.vocab_size().max(1)).max(1);
    let rows = stream.dim(0)?;
    (0..rows)
        .step_by(at_a_time)
        .map(|first| Ok((first, stream.narrow(0, first, at_a_time.min(rows - first))?)))
        .collect()
}

/// Top-k predictions by the logits `[N, V]` at some rows of a stream, appended to a lens; and what they make of the token
/// that does follow each row, where one does.
pub fn lens_rows(logits: &Tensor, followers: &[Option<u32>], k: usize, lens: &mut Lens) -> Result<()> {
    let mut followers = followers.iter();
    each_position(logits, |position| {
        for (id, prob) in position.top(k) {
            lens.ids.push(id);
            lens.probs.push(prob);
        }
        let follower = followers.next().copied().flatten();
        lens.true_rank.push(follower.map_or(0, |id| position.rank(id)));
        lens.true_prob.push(follower.map_or(0.0, |id| position.log_prob(id).exp()));
    })
}

/// How far the predictions at the rows of one stream are from those of another, by their logits `[N, V]`: the
/// Kullback-Leibler divergence of the second from the first, in nats, one per row.
pub fn divergences(before: &Tensor, after: &Tensor) -> Result<Vec<f32>> {
    let vocabulary = before.dim(1)?;
    with_values(before, |before| {
        with_values(after, |after| {
            let rows = before.chunks_exact(vocabulary).zip(after.chunks_exact(vocabulary));
            Ok(rows.map(|(before, after)| Position::new(before).divergence(&Position::new(after)) as f32).collect())
        })
    })
}

/// Since when the prediction at the end of a text is made: from the logits of its stream at the embedding and after each
/// block, `[L + 1, V]`. Its text is left empty.
pub fn leads(logits: &Tensor) -> Result<LensLead> {
    let mut best = Vec::new();
    each_position(logits, |position| best.extend(position.top(1)))?;
    let (id, prob) = best.last().copied().unwrap_or_default();
    let leads = |(other, _): &(u32, f32)| *other == id;
    let first = best.iter().position(leads).unwrap_or_default();
    let settled = best.len() - best.iter().rev().take_while(|best| leads(best)).count();
    Ok(LensLead { id, prob, first, settled, text: String::new() })
}

/// The probability of a token id, by the logits `[V]` of a prediction.
pub fn probability(logits: &Tensor, id: u32) -> Result<f32> {
    with_values(logits, |logits| Ok(Position::new(logits).log_prob(id).exp()))
}

/// Whether logits `[V]` are a prediction: `NaN` and +∞ make none.
pub fn is_prediction(logits: &Tensor) -> Result<bool> {
    with_values(logits, |logits| Ok(!Position::new(logits).log_total.is_nan()))
}

/// What the model predicts at a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Prediction {
    /// The log-probability of the token that follows.
    Follower(f32),
    /// The most probable tokens, where none follows.
    Next(Next),
}

/// The model's own predictions by the logits `[N, V]` at some rows of the last stream: each with the token that follows
/// it, or the `k` most probable ones where none does.
pub fn prediction_rows(
    logits: &Tensor,
    followers: &[Option<u32>],
    k: usize,
    predictions: &mut Vec<Prediction>,
) -> Result<()> {
    let mut followers = followers.iter();
    each_position(logits, |position| {
        predictions.push(match followers.next().copied().flatten() {
            Some(follower) => Prediction::Follower(position.log_prob(follower)),
            None => {
                let (ids, probs) = position.top(k).unzip();
                Prediction::Next(Next { ids, probs, tokens: Vec::new() })
            }
        });
    })
}

fn each_position(logits: &Tensor, mut see: impl FnMut(Position)) -> Result<()> {
    let vocabulary = logits.dim(1)?;
    with_values(logits, |logits| {
        logits.chunks(vocabulary).for_each(|logits| see(Position::new(logits)));
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_k_and_log_probabilities_by_hand() {
        // e^0 : e^ln2 : e^ln3 : e^ln2 = 1 : 2 : 3 : 2, so the probabilities are 1/8, 2/8, 3/8, 2/8.
        let logits = [0.0, 2f32.ln(), 3f32.ln(), 2f32.ln()];
        let position = Position::new(&logits);
        let top: Vec<_> = position.top(3).collect();
        assert_eq!(top.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [2, 1, 3], "lens.rs: equals go by lower id");
        for ((_, found), expected) in top.iter().zip([0.375, 0.25, 0.25]) {
            assert!((found - expected).abs() < 1e-6, "lens.rs: {found} for {expected}");
        }
        assert_eq!(position.top(9).count(), 4, "lens.rs: k above the vocabulary");
        assert!((position.log_prob(0) - 0.125f32.ln()).abs() < 1e-6);
        let shifted = logits.map(|logit| logit + 3000.0);
        assert!((Position::new(&shifted).log_prob(0) - 0.125f32.ln()).abs() < 1e-3, "lens.rs: large logits overflow");
    }

    #[test]
    fn logits_that_are_no_numbers_have_no_probability_and_no_rank() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        for logits in [[nan; 4], [0.0, nan, 1.0, 2.0], [0.0, inf, 1.0, 2.0], [inf, nan, -inf, inf], [-inf; 4]] {
            let position = Position::new(&logits);
            let what = format!("lens.rs: of {logits:?}");
            assert_eq!((0..4).map(|id| position.rank(id)).collect::<Vec<_>>(), [0; 4], "{what}: ranks");
            assert!((0..4).all(|id| position.log_prob(id).is_nan()), "{what}: log-probabilities");
            assert!(position.top(2).all(|(_, prob)| prob.is_nan()), "{what}: the two most probable");
            let other = Position::new(&[0.0, 1.0, 2.0, 3.0]);
            assert!(position.divergence(&other).is_nan() && other.divergence(&position).is_nan(), "{what}: divergence");
        }
        // A token that cannot follow takes nothing from the others.
        let without = [0.0, -inf, 0.0, f32::MIN];
        let position = Position::new(&without);
        assert_eq!((position.rank(0), position.rank(3), position.rank(1)), (1, 3, 4));
        assert!((position.log_prob(2) - 0.5f32.ln()).abs() < 1e-6 && position.log_prob(1) == -inf);
        assert!(position.divergence(&position) == 0.0, "lens.rs: of a prediction from itself");
    }

    proptest::proptest! {
        #[test]
        fn a_divergence_is_never_below_0(
            logits in proptest::collection::vec(-30f32..30.0, 1..40), step in -1e-6f32..1e-6,
        ) {
            let moved: Vec<f32> = logits.iter().enumerate().map(|(place, logit)| logit + step * place as f32).collect();
            let divergence = Position::new(&logits).divergence(&Position::new(&moved));
            proptest::prop_assert!((0.0..1e-3).contains(&divergence), "lens.rs: {} from a step of {}", divergence, step);
        }
    }
}
