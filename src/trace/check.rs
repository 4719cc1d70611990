//! What holds for every trace: sizes within the limits that checkpoints have, arrays that fit each other. Charts rely on it,
//! so whatever comes from outside (a saved run, an object that a script made) is checked before it is drawn.

use super::closer::{Attribution, Patching, Pattern};
use super::{Lens, ModelInfo, Next, Sequence, Trace};

/// Most blocks that a model may have, as in `config.json`.
pub const MOST_LAYERS: usize = 4096;
/// Largest other size, as there.
pub const LARGEST_SIZE: usize = 1 << 24;

type Checked = Result<(), String>;

impl Trace {
    /// Whether sizes and arrays fit each other.
    ///
    /// # Errors
    /// The first that does not, what was expected and what was found.
    pub fn check(&self) -> Checked {
        let model = &self.model;
        at_most("model.n_layer", model.n_layer, MOST_LAYERS)?;
        for (name, size) in [
            ("model.n_head", model.n_head),
            ("model.n_embd", model.n_embd),
            ("model.n_positions", model.n_positions),
            ("model.vocab_size", model.vocab_size),
        ] {
            at_most(name, size, LARGEST_SIZE)?;
        }
        for (index, sequence) in self.sequences.iter().enumerate() {
            let within = |why| format!("sequences[{index}]: {why}");
            sequence.check(model).map_err(within)?;
            if let Some(baseline) = &sequence.baseline {
                let same = baseline.ids == sequence.ids && baseline.layer_count() == sequence.layer_count();
                let other = || "its tokens or layers are not those of the sequence".to_owned();
                let checked = if same { baseline.check(model) } else { Err(other()) };
                checked.map_err(|why| within(format!("baseline: {why}")))?;
            }
        }
        for ablated in &self.ablate {
            let (layers, heads) = (known(model.n_layer, MOST_LAYERS), known(model.n_head, LARGEST_SIZE));
            below("ablate: layer", ablated.layer, layers)?;
            below("ablate: head", ablated.head.unwrap_or(0), heads)?;
        }
        self.patching.as_ref().map_or(Ok(()), Patching::check).map_err(|why| format!("patching: {why}"))
    }
}

impl Sequence {
    fn check(&self, model: &ModelInfo) -> Checked {
        let (t, layers) = (self.token_count(), self.layer_count());
        let cells = layers * t;
        at_most("the number of its tokens", t, known(model.n_positions, LARGEST_SIZE))?;
        at_most("the number of its layers", layers, known(model.n_layer, MOST_LAYERS))?;
        if let Some(id) = self.ids.iter().find(|id| **id as usize >= known(model.vocab_size, usize::MAX)) {
            return Err(format!("ids has {id}, and model.vocab_size is {}", model.vocab_size));
        }
        count_or_none("tokens", self.tokens.len(), t)?;
        count("embed_norm", self.embed_norm.len(), t)?;
        for (name, values) in [
            ("attn_norm", &self.attn_norm),
            ("mlp_norm", &self.mlp_norm),
            ("resid_pre_norm", &self.resid_pre_norm),
            ("resid_mid_norm", &self.resid_mid_norm),
            ("resid_post_norm", &self.resid_post_norm),
            ("attn_cos", &self.attn_cos),
            ("mlp_cos", &self.mlp_cos),
        ] {
            count(name, values.len(), cells)?;
        }
        if let Some(heads) = &self.head_norm {
            by_head("head_norm", heads.len(), (cells, model.n_head))?;
        }
        for (name, values, expected) in
            [("token_logprob", &self.token_logprob, t.saturating_sub(1)), ("kl", &self.kl, t)]
        {
            if let Some(values) = values {
                count(name, values.len(), expected)?;
            }
        }
        if let Some(spans) = &self.spans {
            count("spans", spans.len(), 2 * t)?;
        }
        if let Some(bias) = &self.attn_bias_norm {
            count("attn_bias_norm", bias.len(), layers)?;
        }
        self.lens.as_ref().map_or(Ok(()), |lens| lens.check(cells + t)).map_err(|why| format!("lens.{why}"))?;
        self.next.as_ref().map_or(Ok(()), Next::check).map_err(|why| format!("next.{why}"))?;
        if let Some(leads) = &self.leads {
            at_most("leads.first", leads.first, MOST_LAYERS)?;
            at_most("leads.settled", leads.settled, MOST_LAYERS)?;
        }
        for (index, pattern) in self.patterns.iter().flatten().enumerate() {
            pattern.check(t, model).map_err(|why| format!("patterns[{index}].{why}"))?;
        }
        let attribution = self.attribution.as_ref().map_or(Ok(()), |found| found.check(t, model));
        attribution.map_err(|why| format!("attribution.{why}"))
    }
}

impl Lens {
    fn check(&self, cells: usize) -> Checked {
        count("probs", self.probs.len(), self.ids.len())?;
        multiple("ids", self.ids.len(), cells)?;
        count_or_none("true_rank", self.true_rank.len(), cells)?;
        count_or_none("true_prob", self.true_prob.len(), cells)?;
        count("vocab.tokens", self.vocab.tokens.len(), self.vocab.ids.len())?;
        if self.vocab.ids.is_sorted() { Ok(()) } else { Err("vocab.ids do not rise".to_owned()) }
    }
}

impl Next {
    fn check(&self) -> Checked {
        count("probs", self.probs.len(), self.ids.len())?;
        count_or_none("tokens", self.tokens.len(), self.ids.len())
    }
}

impl Pattern {
    fn check(&self, t: usize, model: &ModelInfo) -> Checked {
        below("layer", self.layer, known(model.n_layer, MOST_LAYERS))?;
        below("head", self.head, known(model.n_head, LARGEST_SIZE))?;
        count("weights", self.weights.len(), t.saturating_mul(t))?;
        let Some(writes) = &self.writes else { return Ok(()) };
        multiple("writes.ids", writes.ids.len(), t)?;
        count("writes.logits", writes.logits.len(), writes.ids.len())?;
        count_or_none("writes.tokens", writes.tokens.len(), writes.ids.len())
    }
}

impl Attribution {
    fn check(&self, t: usize, model: &ModelInfo) -> Checked {
        let layers = self.attn.len();
        below("position", self.position, t)?;
        at_most("attn's length", layers, known(model.n_layer, MOST_LAYERS))?;
        count("mlp", self.mlp.len(), layers)?;
        count("attn_bias", self.attn_bias.len(), layers)?;
        by_head("heads", self.heads.len(), (layers, model.n_head))
    }
}

impl Patching {
    /// Whether its arrays fit each other.
    ///
    /// # Errors
    /// As [`Trace::check`].
    pub fn check(&self) -> Checked {
        let t = self.corrupted_tokens.len();
        count("clean_tokens", self.clean_tokens.len(), t)?;
        multiple("recovered", self.recovered.len(), t)?;
        at_most("recovered's layers", self.recovered.len().checked_div(t).unwrap_or(0), MOST_LAYERS)
    }
}

/// A size that the model names, or the largest there is where it names none.
fn known(size: usize, otherwise: usize) -> usize {
    if size == 0 { otherwise } else { size }
}

fn count(name: &str, found: usize, expected: usize) -> Checked {
    if found == expected { Ok(()) } else { Err(format!("{name} has {found} values, expected {expected}")) }
}

fn count_or_none(name: &str, found: usize, expected: usize) -> Checked {
    if found == 0 { Ok(()) } else { count(name, found, expected) }
}

/// So many values for each head; for some number of heads where the model does not say how many it has.
fn by_head(name: &str, found: usize, (each, heads): (usize, usize)) -> Checked {
    if heads == 0 { multiple(name, found, each) } else { count(name, found, each.saturating_mul(heads)) }
}

fn multiple(name: &str, found: usize, of: usize) -> Checked {
    let fits = found.checked_rem(of).unwrap_or(found) == 0;
    if fits { Ok(()) } else { Err(format!("{name} has {found} values, expected a multiple of {of}")) }
}

fn at_most(name: &str, found: usize, most: usize) -> Checked {
    if found <= most { Ok(()) } else { Err(format!("{name} is {found}, expected at most {most}")) }
}

fn below(name: &str, found: usize, end: usize) -> Checked {
    if found < end { Ok(()) } else { Err(format!("{name} is {found}, expected less than {end}")) }
}
