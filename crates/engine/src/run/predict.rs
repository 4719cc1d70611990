//! The model's own predictions of sequences that are through, and how far ablation moves them.

use candle_core::Tensor;

use super::prefix_cache::Start;
use super::request::Request;
use super::run_control::RunControl;
use super::streaming_model::StreamingModel;
use crate::Result;
use crate::run::lens::{Prediction, chunks, divergences, prediction_rows};
use trace::Sequence;

/// Adds the model's own predictions to sequences that started so.
pub(super) async fn predict(
    request: &Request<'_>,
    streams: &[Tensor],
    starts: &[Start],
    sequences: &mut [Sequence],
    control: &impl RunControl,
) -> Result<()> {
    let mut rows = Vec::new();
    let mut followers: Vec<Option<u32>> = Vec::new();
    let mut counts = Vec::new();
    for ((stream, sequence), start) in streams.iter().zip(sequences.iter_mut()).zip(starts) {
        // What follows the last token that was kept is another one now.
        let known = start.known.as_ref().and_then(|known| known.sequence.token_logprob.as_deref()).unwrap_or_default();
        let first = known.len().min(start.keep.saturating_sub(1));
        sequence.token_logprob = Some(known[..first].to_vec());
        let t = sequence.ids.len();
        rows.push(stream.narrow(0, first, t - first)?);
        followers.extend(sequence.ids[first + 1..].iter().map(|id| Some(*id)).chain([None]));
        counts.push(t - first);
    }
    let rows = Tensor::cat(&rows, 0)?;
    let mut predictions = Vec::new();
    let unembedding = request.model.unembedding().await?;
    for (first, rows) in chunks(&unembedding, &rows)? {
        let logits = request.model.logits(&rows).await?;
        prediction_rows(&logits, &followers[first..], request.options.next, &mut predictions)?;
        control.work_done(rows.elem_count() as f64 * unembedding.vocab_size() as f64);
        control.yield_now().await?;
    }
    let mut predictions = predictions.into_iter();
    for (sequence, count) in sequences.iter_mut().zip(counts) {
        for prediction in predictions.by_ref().take(count) {
            match prediction {
                Prediction::Follower(log_prob) => sequence.token_logprob.get_or_insert_default().push(log_prob),
                Prediction::Next(mut next) => {
                    next.tokens = next.ids.iter().map(|&id| request.token_text(id)).collect();
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
    before: &[Tensor],
    after: &[Tensor],
    sequences: &mut [Sequence],
    control: &impl RunControl,
) -> Result<()> {
    let unembedding = model.unembedding().await?;
    for ((before, after), sequence) in before.iter().zip(after).zip(sequences) {
        let mut kl = Vec::new();
        for ((_, before), (_, after)) in chunks(&unembedding, before)?.iter().zip(chunks(&unembedding, after)?) {
            control.work_done(2.0 * after.elem_count() as f64 * unembedding.vocab_size() as f64);
            let (before, after) = (model.logits(before).await?, model.logits(&after).await?);
            kl.extend(divergences(&before, &after)?);
            control.yield_now().await?;
        }
        sequence.kl = Some(kl);
    }
    Ok(())
}
