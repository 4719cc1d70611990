//! Running a model over sequences: what is new of them goes through block 0, then block 1, and on (`pass`), so that
//! a model that is still arriving can show every sequence as far as it has come; then to the predictions.

use candle_core::Tensor;

use super::breath::Breath;
use super::parts::Parts;
use super::pass::Pass;
use crate::Result;
use crate::model::gpt2::check_ids;
use crate::model::team::Team;
use crate::model::{ModelError, Tokenizer, Unembedding};
pub use crate::protocol::RunOptions;
use crate::trace::Sequence;
use crate::trace::lens::{Prediction, chunks, prediction_rows};

/// Candidates for the next token that a trace lists.
const NEXT: usize = 5;

/// A text as the start of a sequence: ids, tokens and spans, nothing run yet.
///
/// # Errors
/// `EmptyInput` for a text without tokens, `BadTokenizer`.
pub fn tokenize(tokenizer: &Tokenizer, text: &str) -> Result<Sequence> {
    let encoded = tokenizer.encode(text)?;
    let tokens = encoded.ids.iter().map(|&id| tokenizer.token_text(id)).collect();
    let (ids, spans) = (encoded.ids, Some(encoded.spans));
    Ok(Sequence { text: Some(text.to_string()), ids, tokens, spans, ..Sequence::default() })
}

/// Ids as the start of a sequence; tokens show as `#id` where there is no tokenizer.
pub fn from_ids(tokenizer: Option<&Tokenizer>, ids: Vec<u32>) -> Sequence {
    let tokens = ids.iter().map(|&id| token_text(tokenizer, id)).collect();
    Sequence { ids, tokens, ..Sequence::default() }
}

fn token_text(tokenizer: Option<&Tokenizer>, id: u32) -> String {
    tokenizer.map_or_else(|| format!("#{id}"), |tokenizer| tokenizer.token_text(id))
}

/// Runs sequences through the model. `on_block` sees all of them after each block that had to be waited
/// for, recorded as far as that block.
///
/// # Errors
/// `EmptyInput`, `TooLong`, `TokenOutOfRange` before anything is computed; whatever ended the loading; `Aborted`;
/// `EngineCrashed` or `OutOfMemory` where a helper is gone.
pub async fn run(
    parts: &Parts,
    tokenizer: Option<&Tokenizer>,
    sequences: Vec<Sequence>,
    options: RunOptions,
    breath: &impl Breath,
    on_block: impl Fn(Vec<Sequence>),
) -> Result<Vec<Sequence>> {
    if sequences.is_empty() {
        return Err(ModelError::EmptyInput.into());
    }
    for sequence in &sequences {
        check_ids(&parts.config, &sequence.ids)?;
    }
    if options.predictions || options.lens > 0 {
        parts.demand.everything();
    }
    let done = compute(parts, tokenizer, sequences, options, breath, on_block).await;
    // What a helper died of says more than what failed for it.
    done.map_err(|error| parts.team.failure().unwrap_or(error))
}

async fn compute(
    parts: &Parts,
    tokenizer: Option<&Tokenizer>,
    sequences: Vec<Sequence>,
    options: RunOptions,
    breath: &impl Breath,
    on_block: impl Fn(Vec<Sequence>),
) -> Result<Vec<Sequence>> {
    let wants_unembedding = options.predictions || options.lens > 0;
    let (starts, forgotten) = parts.recall.borrow_mut().begin(&parts.config, &sequences, options);
    let layers = parts.config.n_layer;
    parts.team.forget(0..layers, &forgotten);
    let mark = parts.demand.begin();
    let mut pass = Pass::begin(parts, sequences, starts, options).await?;
    for layer in 0..layers {
        let arriving = parts.blocks_ready() < layers || (wants_unembedding && !parts.has_unembedding());
        let block = parts.block(layer).await?;
        pass.go_through(block, breath).await?;
        if arriving {
            pass.catch_up(breath).await?;
            on_block(pass.recorded(layer + 1));
        }
        mark.reached(layer + 1);
    }
    pass.catch_up(breath).await?;
    if options.lens > 0 {
        pass.add_lens(&*parts.unembedding().await?, options.lens, breath).await?;
    }
    let streams = pass.streams()?;
    let mut done = pass.recorded(layers);
    for lens in done.iter_mut().filter_map(|sequence| sequence.lens.as_mut()) {
        lens.name_tokens(|id| token_text(tokenizer, id));
    }
    let starts = pass.into_starts();
    if options.predictions {
        let known: Vec<_> =
            starts.iter().map(|start| (start.keep, start.known.as_ref().map(|known| &known.sequence))).collect();
        predict(&*parts.unembedding().await?, &streams, (&known, &mut done), tokenizer, breath).await?;
    }
    parts.all_checked().await?;
    for ((start, sequence), stream) in starts.iter().zip(&done).zip(streams) {
        parts.recall.borrow_mut().finish(start, sequence.clone(), stream);
    }
    Ok(done)
}

/// Adds the model's own predictions to sequences that may go on from known ones, of which so many tokens were kept.
async fn predict(
    unembedding: &Unembedding,
    streams: &[Tensor],
    (known, sequences): (&[(usize, Option<&Sequence>)], &mut [Sequence]),
    tokenizer: Option<&Tokenizer>,
    breath: &impl Breath,
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
    for (first, rows) in chunks(unembedding, &rows)? {
        prediction_rows(unembedding, &rows, (&followers[first..], NEXT), &mut predictions)?;
        breath.breathe().await?;
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
