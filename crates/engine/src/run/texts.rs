//! Running a model over sequences: what is new of them goes through block 0, then block 1, and on (`pass`), so that
//! a model that is still arriving can show every sequence as far as it has come; then to the predictions (`predict`), and
//! to what was asked beyond them (`readings`).

use std::rc::Rc;

use candle_core::Tensor;

use super::pass::Pass;
use super::predict::{compare, predict};
use super::prefix_cache::Start;
use super::readings::{explain, find_leads, means_of, see_patterns};
use super::request::{Request, Resolved};
use super::run_control::RunControl;
use super::streaming_model::StreamingModel;
use super::token_text::token_text;
use super::work;
use crate::model::gpt2::check_ids;
use crate::model::{ModelError, Tokenizer};
use crate::run::hooks::{HookSpec, replacements};
use crate::run::lens::is_prediction;
use crate::{Code, Error, Result};
pub use protocol::RunOptions;
use trace::Sequence;
use trace::summary::{Overflow, overflow};

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

/// Runs sequences through the model. `on_block` sees all of them after each block that had to be waited
/// for, recorded as far as that block.
///
/// # Errors
/// `EmptyInput`, `TooLong`, `TokenOutOfRange`, `BadArgument` before anything is computed; whatever ended the loading;
/// `Aborted`; `NoUnembedding` for what needs one, of a model that has none; `EngineCrashed` or `OutOfMemory` where a helper is gone.
pub async fn run(
    model: &StreamingModel,
    tokenizer: Option<&Tokenizer>,
    sequences: Vec<Sequence>,
    options: &RunOptions,
    control: &impl RunControl,
    on_block: impl Fn(Vec<Sequence>),
) -> Result<Vec<Sequence>> {
    if sequences.is_empty() {
        return Err(ModelError::EmptyInput.into());
    }
    check_texts(model, &sequences)?;
    if options.lens > 0 || options.leads || options.attribution.is_some() {
        model.require_unembedding()?;
    }
    let options = &RunOptions {
        // Asked for where nothing else is said: of a model that makes no predictions, the rest is given.
        predictions: options.predictions && model.require_unembedding().is_ok(),
        // A cell of the lens cannot list more tokens than there are.
        lens: options.lens.min(model.config.vocab_size),
        ..options.clone()
    };
    let asked = Resolved::new(model, tokenizer, &sequences, options)?;
    if options.unembeds() {
        model.requests.everything();
    }
    let request = Request { model, tokenizer, options, asked };
    let done = if options.ablate.is_empty() {
        request.compute(sequences, control, on_block).await.map(|(done, _)| done)
    } else {
        request.compute_ablated(sequences, control, on_block).await
    };
    // What a helper died of says more than what failed for it.
    done.map_err(|error| model.pool.failure().unwrap_or(error))
}

/// Whether the model can read all of some texts. Of several, the error says which one it cannot.
///
/// # Errors
/// `EmptyInput`, `TooLong`, `TokenOutOfRange`.
pub fn check_texts(model: &StreamingModel, sequences: &[Sequence]) -> Result<()> {
    sequences.iter().enumerate().try_for_each(|(number, sequence)| {
        check_ids(&model.config, &sequence.ids).map_err(|why| of_text(why.into(), number, sequences.len()))
    })
}

/// Says of an error which of several texts it is about.
pub fn of_text(error: Error, number: usize, count: usize) -> Error {
    match count {
        1 => error,
        _ => Error::new(error.code, format!("text {} of {count}: {}", number + 1, error.message)),
    }
}

/// What the model makes of the end of a sequence: the logits after its last token, `[V]`.
///
/// # Errors
/// `NotFinite` where they say nothing; as [`run`].
pub(super) async fn next_logits(
    model: &StreamingModel,
    sequence: Sequence,
    control: &impl RunControl,
) -> Result<Tensor> {
    check_ids(&model.config, &sequence.ids)?;
    let options = &RunOptions::new(false, 0, false);
    let asked = Resolved::new(model, None, &[], options)?;
    let last = sequence.ids.len() - 1;
    let (done, streams) =
        Request { model, tokenizer: None, options, asked }.compute(vec![sequence], control, |_| {}).await?;
    let stream = streams.first().ok_or(ModelError::EmptyInput)?.narrow(0, last, 1)?;
    let logits = model.logits(&stream).await?.get(0)?.copy()?;
    check_logits(&logits, overflow(&done))?;
    Ok(logits)
}

/// Whether logits `[V]` are a prediction; the error names where the numbers before them overflowed.
///
/// # Errors
/// `NotFinite`.
pub(super) fn check_logits(logits: &Tensor, before: Option<Overflow>) -> Result<()> {
    if is_prediction(logits)? {
        return Ok(());
    }
    let place = before.map_or_else(|| "in the logits".to_owned(), |overflow| overflow.place());
    let message = format!(
        "this model's numbers overflow F32 on this text, first {place}: what it predicts is not a number, so no token can be chosen. Its weights are too large, or damaged."
    );
    Err(Error::new(Code::NotFinite, message))
}

impl<'a> Request<'a> {
    /// Runs sequences through the model as it is. Their streams after the last block come with them, `[T, D]` each.
    async fn compute(
        &self,
        sequences: Vec<Sequence>,
        control: &impl RunControl,
        on_block: impl Fn(Vec<Sequence>),
    ) -> Result<(Vec<Sequence>, Vec<Tensor>)> {
        let spec = Rc::new(self.asked.spec(Vec::new()));
        let (starts, forgotten) =
            self.model.prefix_cache.borrow_mut().begin(&self.model.config, &sequences, self.options);
        self.model.pool.forget(0..self.model.config.n_layer, &forgotten);
        let rows = sequences.iter().zip(&starts).map(|(sequence, start)| sequence.ids.len() - start.keep);
        control.expect_work(work::of_run(&self.model.config, self.options, rows.sum(), 1));
        let mut pass = self.pass(sequences, starts, spec, control, on_block).await?;
        let streams = pass.streams()?;
        let mut done = self.read(&mut pass, &streams, control).await?;
        let starts = pass.into_starts();
        if self.options.predictions {
            predict(self, &streams, &starts, &mut done, control).await?;
        }
        self.model.all_checked().await?;
        for ((start, sequence), stream) in starts.iter().zip(&done).zip(&streams) {
            self.model.prefix_cache.borrow_mut().finish(start, sequence, stream);
        }
        Ok((done, streams))
    }

    /// Runs them through the model with parts of it switched off, after a run through the model as it is.
    async fn compute_ablated(
        &self,
        sequences: Vec<Sequence>,
        control: &impl RunControl,
        on_block: impl Fn(Vec<Sequence>),
    ) -> Result<Vec<Sequence>> {
        let apart = || self.model.prefix_cache.borrow_mut().begin_apart(sequences.len());
        let rows = sequences.iter().map(|sequence| sequence.ids.len()).sum();
        control.expect_work(work::of_run(&self.model.config, self.options, rows, 2));
        let sums = Rc::new(self.asked.sums(self.options));
        let mut clean = self.pass(sequences.clone(), apart(), sums, control, on_block).await?;
        let (before, mean) = (clean.streams()?, means_of(&clean));
        let mut baselines = self.read(&mut clean, &before, control).await?;
        let replace = replacements(&self.options.ablate, &mean, self.model.config.n_embd);
        let spec = Rc::new(self.asked.spec(replace));
        let mut pass = self.pass(sequences.clone(), apart(), spec, control, |_| {}).await?;
        let after = pass.streams()?;
        let mut done = self.read(&mut pass, &after, control).await?;
        if self.options.predictions {
            predict(self, &before, &clean.into_starts(), &mut baselines, control).await?;
            predict(self, &after, &pass.into_starts(), &mut done, control).await?;
            compare(self.model, &before, &after, &mut done, control).await?;
        }
        self.model.all_checked().await?;
        for (sequence, baseline) in done.iter_mut().zip(baselines) {
            sequence.baseline = Some(Box::new(baseline));
        }
        Ok(done)
    }

    /// Takes sequences through all blocks.
    async fn pass(
        &self,
        sequences: Vec<Sequence>,
        starts: Vec<Start>,
        spec: Rc<HookSpec>,
        control: &impl RunControl,
        on_block: impl Fn(Vec<Sequence>),
    ) -> Result<Pass<'a>> {
        let (model, layers) = (self.model, self.model.config.n_layer);
        let mark = model.requests.begin();
        let mut pass = Pass::begin(model, self.options, sequences, starts, spec, control).await?;
        let mut done = 0;
        while done < layers {
            let arriving = model.blocks_ready() < layers || (self.options.unembeds() && !model.has_unembedding());
            let mut blocks = model.blocks(done).await?;
            if arriving {
                blocks.truncate(1); // each is shown
            }
            pass.go_through(&blocks, control).await?;
            done += blocks.len();
            if arriving {
                on_block(pass.recorded(done));
            }
            mark.reached(done);
        }
        Ok(pass)
    }

    /// What a pass that is through recorded: with the logit lens, patterns and attribution, if they were asked for.
    async fn read(&self, pass: &mut Pass<'_>, streams: &[Tensor], control: &impl RunControl) -> Result<Vec<Sequence>> {
        if self.options.lens > 0 {
            pass.add_lens(self.options.lens, control).await?;
        }
        let mut done = pass.recorded(self.model.config.n_layer);
        for lens in done.iter_mut().filter_map(|sequence| sequence.lens.as_mut()) {
            lens.name_tokens(|id| self.token_text(id));
        }
        see_patterns(self, pass, streams, &mut done, control).await?;
        find_leads(self, pass, &mut done, control).await?;
        explain(self, pass, streams, &mut done, control).await?;
        Ok(done)
    }
}
