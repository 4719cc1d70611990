//! Going on with a text, token by token, by candle's own sampling. Keys and values are remembered, so that a token costs
//! one row.
//!
//! Logits are divided by the temperature, top-k leaves the most probable tokens, and top-p leaves of those the most
//! probable that together reach p, their probabilities adding up to 1 again: as Hugging Face's `generate` does.

use candle_core::Tensor;
use candle_transformers::generation::{LogitsProcessor, Sampling};

use super::run_control::RunControl;
use super::streaming_model::StreamingModel;
use super::texts::next_logits;
use super::token_text::token_text;
use crate::model::Tokenizer;
use crate::model::gpt2::check_ids;
use crate::model::scores::{largest, most_of};
use crate::model::values::with_values;
use crate::run::lens::probability;
use crate::{Code, Error, Result};
use protocol::SampleOptions;
use trace::{Sampled, Sequence};

/// Below this temperature a sample is the most probable token.
const COLDEST: f64 = 1e-3;

/// How candle is to choose.
///
/// # Errors
/// `BadArgument` for numbers outside their range.
fn sampling(options: &SampleOptions) -> Result<Sampling> {
    let bad = |message: String| Err(Error::new(Code::BadArgument, message));
    let SampleOptions { temperature, top_k, top_p, .. } = *options;
    if !(temperature.is_finite() && temperature >= 0.0) {
        return bad(format!("temperature: expected a number from 0 up, got {temperature}"));
    }
    if top_k == Some(0) {
        return bad("topK: expected a whole number from 1 up, got 0".into());
    }
    if let Some(p) = top_p.filter(|p| !(*p > 0.0 && *p <= 1.0)) {
        return bad(format!("topP: expected a number above 0 and up to 1, got {p}"));
    }
    // Logits come divided already.
    const TEMPERATURE: f64 = 1.0;
    Ok(match (top_k, top_p) {
        _ if temperature < COLDEST => Sampling::ArgMax,
        (None, None) => Sampling::All { temperature: TEMPERATURE },
        (Some(k), None) => Sampling::TopK { k, temperature: TEMPERATURE },
        // candle's own top-p after top-k takes probabilities that do not add up to 1 any more: see `weigh`.
        (_, Some(p)) => Sampling::TopP { p, temperature: TEMPERATURE },
    })
}

/// Logits `[V]` as they are drawn from: less their largest, so that no division overflows, by the temperature; where top-p
/// follows on top-k, without those that top-k leaves out.
fn weigh(logits: &Tensor, options: &SampleOptions) -> Result<Tensor> {
    let weighed = with_values(logits, |logits| {
        let (largest, temperature) = (f64::from(largest(logits)), options.temperature);
        let cut = options.top_k.filter(|k| options.top_p.is_some() && *k < logits.len());
        let least = cut.and_then(|k| {
            let place = most_of(logits, k).last().copied()?;
            logits.get(place as usize).copied()
        });
        let weigh = |logit: &f32| match least.is_some_and(|least| *logit < least) {
            true => f32::NEG_INFINITY,
            false if temperature < COLDEST => *logit,
            false => ((f64::from(*logit) - largest) / temperature) as f32,
        };
        Ok(logits.iter().map(weigh).collect::<Vec<f32>>())
    })?;
    Ok(Tensor::from_vec(weighed, logits.shape(), logits.device())?)
}

/// Goes on with a sequence by so many tokens.
///
/// # Errors
/// `BadArgument` for options out of range; `TooLong` for more tokens than the model has positions; `NotFinite` where the
/// model's numbers overflow; as [`super::texts::run`].
pub async fn sample(
    model: &StreamingModel,
    tokenizer: Option<&Tokenizer>,
    start: Sequence,
    options: &SampleOptions,
    control: &impl RunControl,
) -> Result<Sampled> {
    let mut processor = LogitsProcessor::from_sampling(u64::from(options.seed), sampling(options)?);
    model.require_unembedding()?;
    check_ids(&model.config, &start.ids)?;
    let (room, first) = (model.config.n_positions - start.ids.len(), start.ids.len());
    if options.count > room {
        let message = format!(
            "count: {} more tokens do not fit: the text has {first} of this model's {} positions.",
            options.count, model.config.n_positions
        );
        return Err(Error::new(Code::TooLong, message));
    }
    model.requests.everything();
    let mut sampled = Sampled::default();
    let mut ids = start.ids;
    for _ in 0..options.count {
        let sequence = Sequence { ids: ids.clone(), ..Sequence::default() };
        let logits = next_logits(model, sequence, control).await;
        // What a helper died of says more than what failed for it.
        let logits = logits.map_err(|error| model.pool.failure().unwrap_or(error))?;
        let id = processor.sample(&weigh(&logits, options)?)?;
        sampled.probs.push(probability(&logits, id)?);
        sampled.tokens.push(token_text(tokenizer, id));
        sampled.ids.push(id);
        ids.push(id);
    }
    sampled.text = tokenizer.map_or_else(String::new, |tokenizer| tokenizer.text(&sampled.ids));
    Ok(sampled)
}
