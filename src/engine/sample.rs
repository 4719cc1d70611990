//! Going on with a text, token by token, by candle's own sampling. Keys and values are remembered, so that a token costs
//! one row.

use candle_transformers::generation::{LogitsProcessor, Sampling};

use super::breath::Breath;
use super::parts::Parts;
use super::run::{next_logits, token_text};
use crate::model::Tokenizer;
use crate::model::gpt2::check_ids;
use crate::protocol::SampleOptions;
use crate::trace::Sequence;
use crate::trace::closer::Sampled;
use crate::trace::lens::probability;
use crate::{Code, Error, Result};

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
    // Below this, candle's division by it overflows; such a sample is the most probable token anyway.
    const COLDEST: f64 = 1e-3;
    Ok(match (top_k, top_p) {
        _ if temperature < COLDEST => Sampling::ArgMax,
        (None, None) => Sampling::All { temperature },
        (Some(k), None) => Sampling::TopK { k, temperature },
        (None, Some(p)) => Sampling::TopP { p, temperature },
        (Some(k), Some(p)) => Sampling::TopKThenTopP { k, p, temperature },
    })
}

/// Goes on with a sequence by so many tokens.
///
/// # Errors
/// `BadArgument` for options out of range; `TooLong` for more tokens than the model has positions; as
/// [`super::run::run`].
pub async fn sample(
    parts: &Parts,
    tokenizer: Option<&Tokenizer>,
    start: Sequence,
    options: &SampleOptions,
    breath: &impl Breath,
) -> Result<Sampled> {
    let mut processor = LogitsProcessor::from_sampling(u64::from(options.seed), sampling(options)?);
    check_ids(&parts.config, &start.ids)?;
    let (room, first) = (parts.config.n_positions - start.ids.len(), start.ids.len());
    if options.count > room {
        let message = format!(
            "count: {} more tokens do not fit: the text has {first} of this model's {} positions.",
            options.count, parts.config.n_positions
        );
        return Err(Error::new(Code::TooLong, message));
    }
    parts.demand.everything();
    let mut sampled = Sampled::default();
    let mut ids = start.ids;
    for _ in 0..options.count {
        let sequence = Sequence { ids: ids.clone(), ..Sequence::default() };
        let logits = next_logits(parts, sequence, breath).await;
        // What a helper died of says more than what failed for it.
        let logits = logits.map_err(|error| parts.team.failure().unwrap_or(error))?;
        let id = processor.sample(&logits)?;
        sampled.probs.push(probability(&logits, id)?);
        sampled.tokens.push(token_text(tokenizer, id));
        sampled.ids.push(id);
        ids.push(id);
    }
    sampled.text = tokenizer.map_or_else(String::new, |tokenizer| tokenizer.text(&sampled.ids));
    Ok(sampled)
}
