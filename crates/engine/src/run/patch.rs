//! Activation patching between two texts of one length (Meng et al., "Locating and Editing Factual Associations in GPT",
//! 2022; TransformerLens: `patching.get_act_patch_resid_pre`): which layer and token carries what sets the two apart.
//!
//! A patch at block l leaves everything before it as it was, so what is computed again starts at l, from the corrupted
//! text's stream there with one row put in its place. Patches of one layer go through the blocks side by side.

use std::rc::Rc;

use candle_core::Tensor;

use super::batch::MOST_ROWS;
use super::pass::Pass;
use super::request::token_id;
use super::run_control::RunControl;
use super::streaming_model::StreamingModel;
use super::texts::check_logits;
use super::token_text::token_text;
use crate::model::attention::Segment;
use crate::model::gpt2::check_ids;
use crate::model::lanes::sums;
use crate::model::probe::NoProbe;
use crate::model::scores::most_of;
use crate::model::values::{differences, fill_rows, with_values};
use crate::model::{Block, ModelError, Tokenizer, Unembedding};
use crate::run::attribution::TokenChoice;
use crate::run::hooks::HookSpec;
use crate::{Code, Error, Result};
use protocol::{PatchOptions, RunOptions};
use trace::summary::{Overflow, overflow};
use trace::{Patching, Sequence};

/// Patches every layer and token. `on_layer` sees what is done after each layer.
///
/// # Errors
/// `BadArgument` for texts of different lengths, or of which the two answers are one; `NotFinite` where the model's
/// numbers overflow; as [`super::texts::run`].
pub async fn patch(
    model: &StreamingModel,
    tokenizer: Option<&Tokenizer>,
    clean: Sequence,
    corrupted: Sequence,
    options: &PatchOptions,
    control: &impl RunControl,
    on_layer: impl Fn(&Patching),
) -> Result<Patching> {
    let done = patch_all(model, tokenizer, clean, corrupted, options, control, on_layer).await;
    // What a helper died of says more than what failed for it.
    done.map_err(|error| model.pool.failure().unwrap_or(error))
}

async fn patch_all(
    model: &StreamingModel,
    tokenizer: Option<&Tokenizer>,
    clean: Sequence,
    corrupted: Sequence,
    options: &PatchOptions,
    control: &impl RunControl,
    on_layer: impl Fn(&Patching),
) -> Result<Patching> {
    model.require_unembedding()?;
    check_ids(&model.config, &clean.ids)?;
    check_ids(&model.config, &corrupted.ids)?;
    let (t, other) = (clean.ids.len(), corrupted.ids.len());
    if t != other {
        let message = format!(
            "patch: the clean text has {t} tokens and the corrupted one {other}; a patch needs them to be of one length. Change words for others of as many tokens."
        );
        return Err(Error::new(Code::BadArgument, message));
    }
    if clean.ids == corrupted.ids {
        let message = "patch: the two texts are the same, so there is nothing to bring back. Change a word of one.";
        return Err(Error::new(Code::BadArgument, message));
    }
    let id = |setting: &str, token: &Option<_>| match token {
        Some(token) => token_id(model, tokenizer, setting, token).map(Some),
        None => Ok(None),
    };
    let (chosen_answer, chosen_against) = (id("answer", &options.answer)?, id("against", &options.against)?);
    model.requests.everything();
    let mut found = Patching {
        clean_tokens: clean.tokens.clone(),
        corrupted_tokens: corrupted.tokens.clone(),
        ..Patching::default()
    };
    let (streams, overflows) = streams(model, vec![clean, corrupted], control).await?;
    let unembedding = model.unembedding().await?;
    let last = |text: &[Tensor]| text.last().ok_or(ModelError::EmptyInput)?.narrow(0, t - 1, 1).map_err(Error::from);
    let (clean_last, corrupted_last) = (last(&streams[0])?, last(&streams[1])?);
    let logits = |row: &Tensor| unembedding.logits(&*unembedding.norm(row)?);
    let (clean_logits, corrupted_logits) = (logits(&clean_last)?, logits(&corrupted_last)?);
    for logits in [&clean_logits, &corrupted_logits] {
        check_logits(&logits.squeeze(0)?, overflows)?;
    }
    (found.answer, found.against) = answers(&clean_logits, &corrupted_logits, chosen_answer, chosen_against)?;
    (found.answer_text, found.against_text) =
        (token_text(tokenizer, found.answer), token_text(tokenizer, found.against));
    if found.answer == found.against {
        let message = format!(
            "patch: {:?} is the answer to both texts, so there is no difference to bring back. Choose two answers.",
            found.answer_text
        );
        return Err(Error::new(Code::BadArgument, message));
    }
    let toward = differences(&unembedding.token_row(found.answer)?, &unembedding.token_row(found.against)?)?; // (D)
    let difference = |rows: &Tensor| toward_at(&unembedding, rows, &toward);
    found.clean_difference = difference(&clean_last)?.first().copied().unwrap_or_default();
    found.corrupted_difference = difference(&corrupted_last)?.first().copied().unwrap_or_default();
    let whole = f64::from(found.clean_difference) - f64::from(found.corrupted_difference);
    let mut blocks = Vec::new();
    for layer in 0..model.config.n_layer {
        blocks.push(model.block(layer).await?);
    }
    for layer in 0..blocks.len() {
        let (from, into) = (&streams[0][layer], &streams[1][layer]);
        let changed = changed_rows(from, into)?;
        let mut recovered = vec![part_of(0.0, whole); t];
        for tokens in changed.chunks((MOST_ROWS / t).max(1)) {
            let x = patched(from, into, tokens)?;
            run_on(model, &blocks[layer..], &x, tokens.len(), t, control).await?;
            let ends = (0..tokens.len()).map(|patch| x.narrow(0, patch * t + t - 1, 1));
            let ends = Tensor::cat(&ends.collect::<candle_core::Result<Vec<_>>>()?, 0)?;
            for (&token, found_difference) in tokens.iter().zip(difference(&ends)?) {
                let back = f64::from(found_difference) - f64::from(found.corrupted_difference);
                recovered[token] = part_of(back, whole);
            }
        }
        found.recovered.extend(recovered);
        on_layer(&found);
    }
    model.all_checked().await?;
    Ok(found)
}

/// The two tokens that are watched, by the logits `[1, V]` after either text: those chosen, or else the predictions of the
/// two texts; where those are one, the two tokens whose logits the change of text moves furthest apart.
fn answers(
    clean: &Tensor,
    corrupted: &Tensor,
    chosen_answer: Option<TokenChoice>,
    chosen_against: Option<TokenChoice>,
) -> Result<(u32, u32)> {
    let token = |logits: &Tensor, chosen: Option<TokenChoice>| {
        with_values(logits, |logits| {
            let chosen = chosen.map(|chosen| chosen.among(logits));
            Ok(chosen.or_else(|| most_of(logits, 1).first().copied()).unwrap_or_default())
        })
    };
    let (answer, against) = (token(clean, chosen_answer)?, token(corrupted, chosen_against)?);
    if chosen_answer.or(chosen_against).is_some() || answer != against {
        return Ok((answer, against));
    }
    let furthest = |moved: Vec<f32>| most_of(&moved, 1).first().copied().unwrap_or_default();
    Ok((furthest(differences(clean, corrupted)?), furthest(differences(corrupted, clean)?)))
}

/// Which part of the whole way something is. Where the two texts' differences are one there is no way, and so no part:
/// `NaN`.
fn part_of(back: f64, whole: f64) -> f32 {
    if whole == 0.0 { f32::NAN } else { (back / whole) as f32 }
}

/// The streams of both texts before each block and after the last, `[T, D]` each; and where they overflow, if they do.
async fn streams(
    model: &StreamingModel,
    sequences: Vec<Sequence>,
    control: &impl RunControl,
) -> Result<(Vec<Vec<Tensor>>, Option<Overflow>)> {
    let starts = model.prefix_cache.borrow_mut().begin_apart(sequences.len());
    let count = sequences.len();
    // The lens is what keeps streams.
    let options = RunOptions::new(false, 1, false);
    let mut pass = Pass::begin(model, &options, sequences, starts, Rc::new(HookSpec::default()), control).await?;
    let mark = model.requests.begin();
    let mut done = 0;
    while done < model.config.n_layer {
        let blocks = model.blocks(done).await?;
        pass.go_through(&blocks, control).await?;
        done += blocks.len();
        mark.reached(done);
    }
    let at = |number: usize, layer: usize| {
        let pieces = pass.new_rows(number).filter_map(|(batch, rows)| {
            let stream = batch.recorder.streams.get(layer)?;
            Some(stream.narrow(0, rows.start, rows.len()))
        });
        Tensor::cat(&pieces.collect::<candle_core::Result<Vec<_>>>()?, 0)?.copy()
    };
    let of = |number: usize| (0..=model.config.n_layer).map(move |layer| at(number, layer)).collect();
    let streams = (0..count).map(of).collect::<candle_core::Result<_>>()?;
    Ok((streams, overflow(&pass.recorded(model.config.n_layer))))
}

/// The tokens at which two streams differ: a patch at any other changes nothing.
fn changed_rows(from: &Tensor, into: &Tensor) -> Result<Vec<usize>> {
    let width = from.dim(1)?;
    let rows = with_values(from, |from| {
        with_values(into, |into| {
            let pairs = from.chunks_exact(width).zip(into.chunks_exact(width)).enumerate();
            Ok(pairs.filter(|(_, (from, into))| from != into).map(|(row, _)| row).collect())
        })
    });
    Ok(rows?)
}

/// The stream once for each of some tokens, one after the other, with that token's row put in: `[tokens * T, D]`.
fn patched(from: &Tensor, into: &Tensor, tokens: &[usize]) -> Result<Tensor> {
    let t = into.dim(0)?;
    let x = Tensor::cat(&vec![into; tokens.len()], 0)?.copy()?;
    for (patch, &token) in tokens.iter().enumerate() {
        let row = patch * t + token;
        with_values(&from.get(token)?, |values| fill_rows(&x, row..row + 1, values))?;
    }
    Ok(x)
}

/// Takes so many streams of T rows each, one after the other in `x`, through blocks.
async fn run_on(
    model: &StreamingModel,
    blocks: &[Rc<Block>],
    x: &Tensor,
    count: usize,
    t: usize,
    control: &impl RunControl,
) -> Result<()> {
    let starts = model.prefix_cache.borrow_mut().begin_apart(count);
    let slots: Vec<u32> = starts.iter().map(|start| start.slot).collect();
    let segments: Vec<Segment> = slots.iter().map(|&slot| Segment { slot, past: 0, rows: t }).collect();
    for block in blocks {
        let ran = block.forward(x, &segments, &*model.pool, &mut NoProbe).await;
        model.pool.forget(block.layer()..block.layer() + 1, &slots);
        ran?;
        control.yield_now().await?;
    }
    model.prefix_cache.borrow_mut().give_back(&slots);
    Ok(())
}

/// The logit difference at each row of a stream, `[N, D]` to N.
fn toward_at(unembedding: &Unembedding, rows: &Tensor, toward: &[f32]) -> Result<Vec<f32>> {
    let normed = unembedding.norm(rows)?;
    let width = toward.len().max(1);
    let dot = |row: &[f32]| sums::dot(row, toward) as f32;
    Ok(with_values(&normed, |normed| Ok(normed.chunks_exact(width).map(dot).collect()))?)
}
