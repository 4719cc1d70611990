//! What is read from a pass beyond norms and predictions: attention patterns, when predictions first lead, attribution, and
//! means for ablation. `trace` says what these are; here they are found in the batches.

use std::collections::HashMap;

use candle_core::Tensor;

use super::attribution::{AttributionInput, add_writes, attribute, scaled_writes};
use super::batch::SequenceSlice;
use super::hooks::Site;
use super::lens::{chunks, leads};
use super::pass::Pass;
use super::request::Request;
use super::run_control::RunControl;
use super::work;
use crate::Result;
use crate::model::values::with_values;
use trace::{Pattern, PromotedTokens, Sequence};

/// Tokens that are listed of what a head writes.
const WRITES: usize = 3;

/// The mean over all rows of the contributions that a pass summed up.
pub(super) fn means_of(pass: &Pass) -> HashMap<Site, Vec<f32>> {
    let mut sums: HashMap<Site, (Vec<f64>, usize)> = HashMap::new();
    for batch in pass.batches() {
        let rows: usize = batch.pieces.iter().map(|piece| piece.tokens.len()).sum();
        for (place, values) in &batch.recorder.hooks.sums {
            let (sum, count) = sums.entry(*place).or_insert_with(|| (vec![0.0; values.len()], 0));
            sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            *count += rows;
        }
    }
    let mean =
        |(sum, count): (Vec<f64>, usize)| sum.into_iter().map(|sum| (sum / count.max(1) as f64) as f32).collect();
    sums.into_iter().map(|(place, sum)| (place, mean(sum))).collect()
}

/// Adds the patterns that were asked for; what their heads write, too, if predictions are wanted.
pub(super) async fn see_patterns(
    request: &Request<'_>,
    pass: &Pass<'_>,
    streams: &[Tensor],
    sequences: &mut [Sequence],
    control: &impl RunControl,
) -> Result<()> {
    let Request { model, options, .. } = request;
    for &head in &options.patterns {
        for (number, (sequence, stream)) in sequences.iter_mut().zip(streams).enumerate() {
            let t = sequence.ids.len();
            let mut weights = Vec::with_capacity(t * t);
            let mut head_out = Vec::new();
            for (batch, piece, rows) in pass.new_pieces(number) {
                let hooks = &batch.recorder.hooks;
                if let Some(pattern) = hooks.patterns.get(&head).and_then(|patterns| patterns.get(piece)) {
                    let width = pattern.dim(1)?;
                    with_values(pattern, |values| {
                        for row in values.chunks_exact(width) {
                            weights.extend_from_slice(row);
                            weights.resize(weights.len() + t - width, 0.0);
                        }
                        Ok(())
                    })?;
                }
                if let Some(out) = hooks.head_out.get(&head) {
                    head_out.push(out.narrow(0, rows.start, rows.len())?);
                }
            }
            let mut found = Pattern { layer: head.layer, head: head.head, weights, writes: None };
            if options.predictions && !head_out.is_empty() {
                let unembedding = model.unembedding().await?;
                let scaled = scaled_writes(&unembedding, &Tensor::cat(&head_out, 0)?, stream)?;
                let mut writes = PromotedTokens::default();
                for (_, rows) in chunks(&unembedding, &scaled)? {
                    let logits = model.normed_logits(&unembedding, &rows).await?;
                    add_writes(&logits, WRITES, &mut writes)?;
                }
                writes.tokens = writes.ids.iter().map(|&id| request.token_text(id)).collect();
                found.writes = Some(writes);
            }
            sequence.patterns.get_or_insert_default().push(found);
            control.work_done(if options.predictions { t as f64 * work::of_unembedding(&model.config) } else { 0.0 });
            control.yield_now().await?;
        }
    }
    Ok(())
}

/// Adds when the predictions at the texts' ends first lead, if that was asked for.
pub(super) async fn find_leads(
    request: &Request<'_>,
    pass: &Pass<'_>,
    sequences: &mut [Sequence],
    control: &impl RunControl,
) -> Result<()> {
    if !request.asked.leads {
        return Ok(());
    }
    for batch in pass.batches() {
        let is_last =
            |piece: &&SequenceSlice| sequences.get(piece.sequence).is_some_and(|s| piece.tokens.end == s.ids.len());
        let numbers: Vec<usize> = batch.pieces.iter().filter(is_last).map(|piece| piece.sequence).collect();
        for (row, number) in numbers.into_iter().enumerate() {
            let streams = batch.recorder.hooks.last_streams.iter().map(|rows| rows.narrow(0, row, 1));
            let streams = Tensor::cat(&streams.collect::<candle_core::Result<Vec<_>>>()?, 0)?; // (L + 1, D)
            let logits = request.model.logits(&streams).await?;
            let mut found = leads(&logits)?;
            found.text = request.token_text(found.id);
            sequences[number].leads = Some(found);
            control.yield_now().await?;
        }
    }
    Ok(())
}

/// Adds the attribution that was asked for.
pub(super) async fn explain(
    request: &Request<'_>,
    pass: &Pass<'_>,
    streams: &[Tensor],
    sequences: &mut [Sequence],
    control: &impl RunControl,
) -> Result<()> {
    let Some(asked) = &request.asked.attribution else { return Ok(()) };
    let model = request.model;
    let unembedding = model.unembedding().await?;
    let mut biases = Vec::new();
    for layer in 0..model.config.n_layer {
        biases.push(model.block(layer).await?.attention_bias().clone());
    }
    for batch in pass.batches() {
        let mut row = 0;
        for piece in &batch.pieces {
            let Some((sequence, stream)) = sequences.get_mut(piece.sequence).zip(streams.get(piece.sequence)) else {
                continue;
            };
            let position = asked.position.unwrap_or(sequence.ids.len() - 1);
            if !piece.tokens.contains(&position) {
                continue;
            }
            let given = AttributionInput {
                contributions: &batch.recorder.hooks.contributions,
                row,
                stream: &stream.narrow(0, position, 1)?,
                biases: &biases,
            };
            let mut found = attribute(&unembedding, &given, asked.target, asked.against)?;
            found.position = position;
            found.target_text = request.token_text(found.target);
            found.against_text = found.against.map(|id| request.token_text(id));
            sequence.attribution = Some(found);
            row += 1;
            control.yield_now().await?;
        }
    }
    Ok(())
}
