//! What a run is asked beyond norms and predictions: attention patterns, attribution, and means for ablation. `trace`
//! says what these are; here they are found in the batches of a pass.

use std::collections::HashMap;

use candle_core::Tensor;

use super::batch::SequenceSlice;
use super::pass::Pass;
use super::run_control::RunControl;
use super::streaming_model::StreamingModel;
use super::work;
use crate::model::Tokenizer;
use crate::model::values::with_values;
use crate::run::attribution::{AttributionInput, TokenChoice, add_writes, attribute, scaled_writes};
use crate::run::hooks::{HookSpec, Site, site_of};
use crate::run::lens::{chunks, leads};
use crate::{Code, Error, Result};
use protocol::RunOptions;
use trace::{AblationMode, Pattern, PromotedTokens, Sequence, TokenRef};

/// Tokens that are listed of what a head writes.
const WRITES: usize = 3;

/// What was asked, checked, and in ids.
pub(super) struct Resolved {
    heads: Vec<trace::Head>,
    leads: bool,
    /// Target and what it is compared with; the position is `RunOptions`' own.
    attribution: Option<(Option<TokenChoice>, Option<TokenChoice>, Option<usize>)>,
}

impl Resolved {
    /// # Errors
    /// `BadArgument`, `TokenOutOfRange`, `NoTokenizer`: for heads, layers, positions and tokens that are not there.
    pub fn new(
        model: &StreamingModel,
        tokenizer: Option<&Tokenizer>,
        sequences: &[Sequence],
        options: &RunOptions,
    ) -> Result<Resolved> {
        let size = (model.config.n_layer, model.config.n_head);
        for head in &options.patterns {
            head.check("patterns", size)?;
        }
        for ablated in &options.ablate {
            ablated.check(size)?;
        }
        let id = |setting: &str, token: &Option<TokenRef>| match token {
            Some(token) => token_id(model, tokenizer, setting, token).map(Some),
            None => Ok(None),
        };
        let attribution = match &options.attribution {
            Some(asked) => {
                let (target, against) =
                    (id("attribution.target", &asked.target)?, id("attribution.against", &asked.against)?);
                let longest = sequences.iter().map(|sequence| sequence.ids.len()).max().unwrap_or_default();
                if let Some(position) = asked.position.filter(|position| *position >= longest) {
                    let message =
                        format!("attribution.position: there is no token {position}: the longest text has {longest}.");
                    return Err(Error::new(Code::BadArgument, message));
                }
                Some((target, against, asked.position))
            }
            None => None,
        };
        Ok(Resolved { heads: options.patterns.clone(), leads: options.leads, attribution })
    }

    /// What the pass watches that everything is read from.
    pub fn spec(&self, replace: Vec<(Site, Vec<f32>)>) -> HookSpec {
        let heads = self.heads.clone();
        let contributions = self.attribution.is_some();
        HookSpec { heads, contributions, last_streams: self.leads, sums: Vec::new(), replace }
    }

    /// What the pass before an ablation watches: the same, and what the ablation takes the means of.
    pub fn sums(&self, options: &RunOptions) -> HookSpec {
        let means = options.ablate.iter().filter(|ablated| ablated.how == AblationMode::Mean);
        HookSpec { sums: means.map(site_of).collect(), ..self.spec(Vec::new()) }
    }
}

/// The id that is meant.
pub(super) fn token_id(
    model: &StreamingModel,
    tokenizer: Option<&Tokenizer>,
    setting: &str,
    token: &TokenRef,
) -> Result<TokenChoice> {
    let vocabulary = model.config.vocab_size;
    match token {
        TokenRef::Id(id) if (*id as usize) < vocabulary => Ok(TokenChoice(*id, None)),
        TokenRef::Id(id) => {
            let message =
                format!("{setting}: {id} is no token id of this model: they go from 0 to {}.", vocabulary - 1);
            Err(Error::new(Code::TokenOutOfRange, message))
        }
        TokenRef::Text(text) => {
            let tokenizer = tokenizer.ok_or_else(|| {
                let message = format!("{setting}: this model came without a tokenizer; give a token id instead.");
                Error::new(Code::NoTokenizer, message)
            })?;
            let encode = |text: &str| tokenizer.encode(text).map(|encoded| encoded.ids).unwrap_or_default();
            let (ids, spaced) = (encode(text), encode(&format!(" {text}")));
            match (ids.as_slice(), spaced.as_slice()) {
                // Within a sentence most words begin with a space, yet "ing" and "." may stand without as well.
                ([id], [spaced]) => Ok(TokenChoice(*id, Some(*spaced))),
                ([id], _) | (_, [id]) => Ok(TokenChoice(*id, None)),
                (ids, _) => {
                    let tokens: Vec<String> = ids.iter().map(|&id| format!("{:?}", tokenizer.token_text(id))).collect();
                    let message = format!(
                        "{setting}: {text:?} is {} tokens to this model ({}), and one is needed.",
                        ids.len(),
                        tokens.join(", ")
                    );
                    Err(Error::new(Code::BadArgument, message))
                }
            }
        }
    }
}

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
    model: &StreamingModel,
    (pass, streams): (&Pass<'_>, &[Tensor]),
    options: &RunOptions,
    sequences: &mut [Sequence],
    text: impl Fn(u32) -> String,
    control: &impl RunControl,
) -> Result<()> {
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
                writes.tokens = writes.ids.iter().map(|&id| text(id)).collect();
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
    model: &StreamingModel,
    pass: &Pass<'_>,
    asked: &Resolved,
    sequences: &mut [Sequence],
    text: impl Fn(u32) -> String,
    control: &impl RunControl,
) -> Result<()> {
    if !asked.leads {
        return Ok(());
    }
    for batch in pass.batches() {
        let is_last =
            |piece: &&SequenceSlice| sequences.get(piece.sequence).is_some_and(|s| piece.tokens.end == s.ids.len());
        let numbers: Vec<usize> = batch.pieces.iter().filter(is_last).map(|piece| piece.sequence).collect();
        for (row, number) in numbers.into_iter().enumerate() {
            let streams = batch.recorder.hooks.last_streams.iter().map(|rows| rows.narrow(0, row, 1));
            let streams = Tensor::cat(&streams.collect::<candle_core::Result<Vec<_>>>()?, 0)?; // (L + 1, D)
            let logits = model.logits(&streams).await?;
            let mut found = leads(&logits)?;
            found.text = text(found.id);
            sequences[number].leads = Some(found);
            control.yield_now().await?;
        }
    }
    Ok(())
}

/// Adds the attribution that was asked for.
pub(super) async fn explain(
    model: &StreamingModel,
    (pass, streams): (&Pass<'_>, &[Tensor]),
    asked: &Resolved,
    sequences: &mut [Sequence],
    text: impl Fn(u32) -> String,
    control: &impl RunControl,
) -> Result<()> {
    let Some((target, against, position)) = &asked.attribution else { return Ok(()) };
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
            let position = position.unwrap_or(sequence.ids.len() - 1);
            if !piece.tokens.contains(&position) {
                continue;
            }
            let given = AttributionInput {
                contributions: &batch.recorder.hooks.contributions,
                row,
                stream: &stream.narrow(0, position, 1)?,
                biases: &biases,
            };
            let mut found = attribute(&unembedding, &given, (*target, *against))?;
            found.position = position;
            found.target_text = text(found.target);
            found.against_text = found.against.map(&text);
            sequence.attribution = Some(found);
            row += 1;
            control.yield_now().await?;
        }
    }
    Ok(())
}
