//! The model's own predictions of sequences that are through, and how far ablation moves them.

use candle_core::Tensor;

use super::run_control::RunControl;
use super::streaming_model::StreamingModel;
use super::token_text::token_text;
use crate::Result;
use crate::model::Tokenizer;
use crate::run::lens::{Prediction, chunks, divergences, prediction_rows};
use trace::Sequence;

/// Adds the model's own predictions to sequences that may go on from known ones, of which so many tokens were kept.
pub(super) async fn predict(
    model: &StreamingModel,
    streams: &[Tensor],
    (known, sequences): (&[(usize, Option<&Sequence>)], &mut [Sequence]),
    (candidates, tokenizer): (usize, Option<&Tokenizer>),
    control: &impl RunControl,
) -> Result<()> {
    let mut rows = Vec::new();
    let mut followers: Vec<Option<u32>> = Vec::new();
    let mut counts = Vec::new();
    for ((stream, sequence), (keep, known)) in streams.iter().zip(sequences.iter_mut()).zip(known) {
        // What follows the last token that was kept is another one now.
        let known = known.and_then(|known| known.token_logprob.as_deref()).unwrap_or_default();
        let first = known.len().min(keep.saturating_sub(1));
        sequence.token_logprob = Some(known[..first].to_vec());
        let t = sequence.ids.len();
        rows.push(stream.narrow(0, first, t - first)?);
        followers.extend(sequence.ids[first + 1..].iter().map(|id| Some(*id)).chain([None]));
        counts.push(t - first);
    }
    let rows = Tensor::cat(&rows, 0)?;
    let mut predictions = Vec::new();
    let unembedding = model.unembedding().await?;
    for (first, rows) in chunks(&unembedding, &rows)? {
        let logits = model.logits(&rows).await?;
        prediction_rows(&logits, (&followers[first..], candidates), &mut predictions)?;
        control.work_done(rows.elem_count() as f64 * unembedding.vocab_size() as f64);
        control.yield_now().await?;
    }
    let mut predictions = predictions.into_iter();
    for (sequence, count) in sequences.iter_mut().zip(counts) {
        for prediction in predictions.by_ref().take(count) {
            match prediction {
                Prediction::Follower(log_prob) => sequence.token_logprob.get_or_insert_default().push(log_prob),
                Prediction::Next(mut next) => {
                    next.tokens = next.ids.iter().map(|&id| token_text(tokenizer, id)).collect();
                    sequence.next = Some(next);
                }
            }
        }
    }
    Ok(())
}

/// Adds to sequences how far their predictions are from those of other streams, token by token.
pub(super) async fn compare(
    model: &StreamingModel,
    (before, after): (&[Tensor], &[Tensor]),
    sequences: &mut [Sequence],
    control: &impl RunControl,
) -> Result<()> {
    let unembedding = model.unembedding().await?;
    for ((before, after), sequence) in before.iter().zip(after).zip(sequences) {
        let mut kl = Vec::new();
        for ((_, before), (_, after)) in chunks(&unembedding, before)?.iter().zip(chunks(&unembedding, after)?) {
            control.work_done(2.0 * after.elem_count() as f64 * unembedding.vocab_size() as f64);
            let (before, after) = (model.logits(before).await?, model.logits(&after).await?);
            kl.extend(divergences((&before, &after))?);
            control.yield_now().await?;
        }
        sequence.kl = Some(kl);
    }
    Ok(())
}
