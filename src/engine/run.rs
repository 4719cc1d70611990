//! Running a model over sequences: all of them through block 0, then block 1, and on, so that a model
//! that is still arriving can show every sequence as far as it has come.

use candle_core::Tensor;

use super::parts::Parts;
use crate::Result;
use crate::model::gpt2::{check_ids, embed};
use crate::model::{ModelError, Tokenizer, Unembedding};
pub use crate::protocol::RunOptions;
use crate::trace::lens::{lens_rows, prediction_rows, rows_at_a_time};
use crate::trace::probe::Recorder;
use crate::trace::{Lens, Sequence};

/// Candidates for the next token that a trace lists.
const NEXT: usize = 5;

/// Called between steps of a few milliseconds: gives other tasks their turn, and says when to stop.
pub trait Breath {
    /// Goes on after others had their turn.
    ///
    /// # Errors
    /// `Aborted` where the run is no longer wanted.
    fn breathe(&self) -> impl Future<Output = Result<()>>;
}

/// Never pauses, never stops.
pub struct NoBreath;

impl Breath for NoBreath {
    async fn breathe(&self) -> Result<()> {
        Ok(())
    }
}

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
/// `EmptyInput`, `TooLong`, `TokenOutOfRange` before anything is computed; whatever ended the loading; `Aborted`.
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
    let wants_unembedding = options.predictions || options.lens > 0;
    if wants_unembedding {
        parts.demand.everything();
    }
    let mark = parts.demand.begin();
    for sequence in &sequences {
        parts.demand.rows(&sequence.ids);
    }
    let mut runs = Vec::new();
    for sequence in sequences {
        let (tokens, positions) = parts.rows(&sequence.ids).await?;
        let mut recorder = Recorder::new(sequence, options.heads, options.lens > 0);
        let x = embed(&tokens, &positions, &mut recorder)?;
        runs.push((x, recorder));
    }
    for layer in 0..parts.config.n_layer {
        let arriving = parts.blocks_ready() < parts.config.n_layer || (wants_unembedding && !parts.has_unembedding());
        let block = parts.block(layer).await?;
        for (x, recorder) in &mut runs {
            *x = block.forward(x, recorder)?;
            breath.breathe().await?;
        }
        if arriving {
            on_block(runs.iter().map(|(_, recorder)| recorder.sequence.clone()).collect());
        }
        mark.reached(layer + 1);
    }
    let mut done = Vec::new();
    for (x, recorder) in runs {
        let Recorder { mut sequence, streams, .. } = recorder;
        if wants_unembedding {
            let unembedding = parts.unembedding().await?;
            if options.lens > 0 {
                sequence.lens = Some(lens(&unembedding, &streams, options.lens, breath).await?);
            }
            if options.predictions {
                predict(&unembedding, &x, tokenizer, &mut sequence, breath).await?;
            }
        }
        done.push(sequence);
    }
    parts.all_checked().await?;
    Ok(done)
}

async fn lens(unembedding: &Unembedding, streams: &[Tensor], k: usize, breath: &impl Breath) -> Result<Lens> {
    let mut lens = Lens::default();
    for stream in streams {
        for (_, rows) in chunks(unembedding, stream)? {
            lens_rows(unembedding, &rows, k, &mut lens)?;
            breath.breathe().await?;
        }
    }
    Ok(lens)
}

async fn predict(
    unembedding: &Unembedding,
    stream: &Tensor,
    tokenizer: Option<&Tokenizer>,
    sequence: &mut Sequence,
    breath: &impl Breath,
) -> Result<()> {
    let mut token_logprob = Vec::new();
    for (first, rows) in chunks(unembedding, stream)? {
        let next = prediction_rows(unembedding, &rows, (first, &sequence.ids, NEXT), &mut token_logprob)?;
        if let Some(mut next) = next {
            next.tokens = next.ids.iter().map(|&id| token_text(tokenizer, id)).collect();
            sequence.next = Some(next);
        }
        breath.breathe().await?;
    }
    sequence.token_logprob = Some(token_logprob);
    Ok(())
}

/// A stream `[T, D]` in pieces of as many rows as logits are held for, each with its first row's number.
fn chunks(unembedding: &Unembedding, stream: &Tensor) -> candle_core::Result<Vec<(usize, Tensor)>> {
    let (rows, at_a_time) = (stream.dim(0)?, rows_at_a_time(unembedding));
    (0..rows)
        .step_by(at_a_time)
        .map(|first| Ok((first, stream.narrow(0, first, at_a_time.min(rows - first))?)))
        .collect()
}
