//! What holds for every trace: sizes within the limits that checkpoints have, arrays that fit each other. Charts rely on it,
//! so whatever comes from outside (a saved run, an object that a script made) is checked before it is drawn.

use super::closer::{Attribution, Patching, Pattern};
use super::{Lens, ModelInfo, Next, Sequence, Trace};

/// Most blocks that a model may have, as in `config.json`.
pub const MOST_LAYERS: usize = 4096;
/// Largest other size, as there.
pub const LARGEST_SIZE: usize = 1 << 24;

/// What does not fit. It becomes a sentence where it is told, not where it is found: that keeps the embed small.
struct Problem {
    /// The field, and what of the trace, the sequence or its list it belongs to.
    name: &'static str,
    part: &'static str,
    index: Option<usize>,
    is_baseline: bool,
    sequence: Option<usize>,
    found: usize,
    expected: (Relation, usize),
}

/// How a number must be to another.
#[derive(Clone, Copy)]
enum Relation {
    /// As many values.
    Count,
    /// As many values, or none.
    CountOrNone,
    /// Some times as many.
    Multiple,
    AtMost,
    Below,
}

/// A number of the field, and what it must be.
type Rule = (&'static str, usize, Relation, usize);

type Checked = Result<(), Problem>;

impl Problem {
    fn text(&self) -> String {
        let mut place = String::new();
        if let Some(sequence) = self.sequence {
            place += &format!("sequences[{sequence}]: ");
        }
        if self.is_baseline {
            place += "baseline: ";
        }
        place += self.part;
        if let Some(index) = self.index {
            place += &format!("[{index}]");
        }
        if !self.part.is_empty() {
            place.push('.');
        }
        let (relation, limit) = self.expected;
        let (is, values, expected) = match relation {
            Relation::Count | Relation::CountOrNone => ("has", " values", ""),
            Relation::Multiple => ("has", " values", "a multiple of "),
            Relation::AtMost => ("is", "", "at most "),
            Relation::Below => ("is", "", "less than "),
        };
        format!("{place}{} {is} {}{values}, expected {expected}{limit}", self.name, self.found)
    }

    fn within(self, part: &'static str, index: Option<usize>) -> Problem {
        Problem { part, index, ..self }
    }
}

fn check_all(rules: &[Rule]) -> Checked {
    for &(name, found, relation, expected) in rules {
        let holds = match relation {
            Relation::Count => found == expected,
            Relation::CountOrNone => found == expected || found == 0,
            Relation::Multiple => found.checked_rem(expected).unwrap_or(found) == 0,
            Relation::AtMost => found <= expected,
            Relation::Below => found < expected,
        };
        if !holds {
            let expected = (relation, expected);
            return Err(Problem { name, part: "", index: None, is_baseline: false, sequence: None, found, expected });
        }
    }
    Ok(())
}

impl Trace {
    /// Whether sizes and arrays fit each other.
    ///
    /// # Errors
    /// The first that does not, what was expected and what was found.
    pub fn check(&self) -> Result<(), String> {
        self.find_problem().map_err(|problem| problem.text())
    }

    fn find_problem(&self) -> Checked {
        use Relation::{AtMost, Below, Count};
        let model = &self.model;
        check_all(&[
            ("model.n_layer", model.n_layer, AtMost, MOST_LAYERS),
            ("model.n_head", model.n_head, AtMost, LARGEST_SIZE),
            ("model.n_embd", model.n_embd, AtMost, LARGEST_SIZE),
            ("model.n_positions", model.n_positions, AtMost, LARGEST_SIZE),
            ("model.vocab_size", model.vocab_size, AtMost, LARGEST_SIZE),
        ])?;
        for (index, sequence) in self.sequences.iter().enumerate() {
            let within = |problem| Problem { sequence: Some(index), ..problem };
            sequence.find_problem(model).map_err(within)?;
            if let Some(baseline) = &sequence.baseline {
                let same = check_all(&[
                    ("ids", baseline.ids.len(), Count, sequence.ids.len()),
                    ("attn_norm", baseline.attn_norm.len(), Count, sequence.attn_norm.len()),
                ]);
                let checked = same.and_then(|()| baseline.find_problem(model));
                checked.map_err(|problem| within(Problem { is_baseline: true, ..problem }))?;
            }
        }
        for (index, ablated) in self.ablate.iter().enumerate() {
            let there = check_all(&[
                ("layer", ablated.layer, Below, known(model.n_layer, MOST_LAYERS)),
                ("head", ablated.head.unwrap_or(0), Below, known(model.n_head, LARGEST_SIZE)),
            ]);
            there.map_err(|problem| problem.within("ablate", Some(index)))?;
        }
        let patching = self.patching.as_ref().map_or(Ok(()), Patching::find_problem);
        patching.map_err(|problem| problem.within("patching", None))
    }
}

impl Sequence {
    fn find_problem(&self, model: &ModelInfo) -> Checked {
        use Relation::{AtMost, Below, Count, CountOrNone};
        let (t, layers) = (self.token_count(), self.layer_count());
        let cells = layers * t;
        // What is not there fits.
        let length = |values: &Option<Vec<f32>>, expected| values.as_ref().map_or(expected, Vec::len);
        let (by_head, heads) = by_head(cells, model.n_head);
        let leads = self.leads.as_ref().map_or((0, 0), |leads| (leads.first, leads.settled));
        let largest = self.ids.iter().max().map_or(0, |id| *id as usize);
        check_all(&[
            ("the number of its tokens", t, AtMost, known(model.n_positions, LARGEST_SIZE)),
            ("the number of its layers", layers, AtMost, known(model.n_layer, MOST_LAYERS)),
            ("the largest of ids", largest, Below, known(model.vocab_size, usize::MAX)),
            ("tokens", self.tokens.len(), CountOrNone, t),
            ("spans", self.spans.as_ref().map_or(2 * t, Vec::len), Count, 2 * t),
            ("embed_norm", self.embed_norm.len(), Count, t),
            ("attn_norm", self.attn_norm.len(), Count, cells),
            ("mlp_norm", self.mlp_norm.len(), Count, cells),
            ("resid_pre_norm", self.resid_pre_norm.len(), Count, cells),
            ("resid_mid_norm", self.resid_mid_norm.len(), Count, cells),
            ("resid_post_norm", self.resid_post_norm.len(), Count, cells),
            ("attn_cos", self.attn_cos.len(), Count, cells),
            ("mlp_cos", self.mlp_cos.len(), Count, cells),
            ("head_norm", length(&self.head_norm, heads), by_head, heads),
            ("attn_bias_norm", length(&self.attn_bias_norm, layers), Count, layers),
            ("token_logprob", length(&self.token_logprob, t.saturating_sub(1)), Count, t.saturating_sub(1)),
            ("kl", length(&self.kl, t), Count, t),
            ("leads.first", leads.0, AtMost, MOST_LAYERS),
            ("leads.settled", leads.1, AtMost, MOST_LAYERS),
        ])?;
        let lens = self.lens.as_ref().map_or(Ok(()), |lens| lens.find_problem(cells + t));
        lens.map_err(|problem| problem.within("lens", None))?;
        let next = self.next.as_ref().map_or(Ok(()), Next::find_problem);
        next.map_err(|problem| problem.within("next", None))?;
        for (index, pattern) in self.patterns.iter().flatten().enumerate() {
            pattern.find_problem(t, model).map_err(|problem| problem.within("patterns", Some(index)))?;
        }
        let attribution = self.attribution.as_ref().map_or(Ok(()), |found| found.find_problem(t, model));
        attribution.map_err(|problem| problem.within("attribution", None))
    }
}

impl Lens {
    fn find_problem(&self, cells: usize) -> Checked {
        use Relation::{Count, CountOrNone, Multiple};
        let ids = &self.vocab.ids;
        let rising = 1 + ids.windows(2).take_while(|pair| pair.first() <= pair.last()).count();
        check_all(&[
            ("probs", self.probs.len(), Count, self.ids.len()),
            ("ids", self.ids.len(), Multiple, cells),
            ("true_rank", self.true_rank.len(), CountOrNone, cells),
            ("true_prob", self.true_prob.len(), CountOrNone, cells),
            ("vocab.tokens", self.vocab.tokens.len(), Count, ids.len()),
            ("the rising part of vocab.ids", rising, Count, ids.len().max(1)),
        ])
    }
}

impl Next {
    fn find_problem(&self) -> Checked {
        check_all(&[
            ("probs", self.probs.len(), Relation::Count, self.ids.len()),
            ("tokens", self.tokens.len(), Relation::CountOrNone, self.ids.len()),
        ])
    }
}

impl Pattern {
    fn find_problem(&self, t: usize, model: &ModelInfo) -> Checked {
        use Relation::{Below, Count, CountOrNone, Multiple};
        check_all(&[
            ("layer", self.layer, Below, known(model.n_layer, MOST_LAYERS)),
            ("head", self.head, Below, known(model.n_head, LARGEST_SIZE)),
            ("weights", self.weights.len(), Count, t.saturating_mul(t)),
        ])?;
        let Some(writes) = &self.writes else { return Ok(()) };
        check_all(&[
            ("writes.ids", writes.ids.len(), Multiple, t),
            ("writes.logits", writes.logits.len(), Count, writes.ids.len()),
            ("writes.tokens", writes.tokens.len(), CountOrNone, writes.ids.len()),
        ])
    }
}

impl Attribution {
    fn find_problem(&self, t: usize, model: &ModelInfo) -> Checked {
        use Relation::{AtMost, Below, Count};
        let layers = self.attn.len();
        let (by_head, heads) = by_head(layers, model.n_head);
        check_all(&[
            ("position", self.position, Below, t),
            ("the number of its layers", layers, AtMost, known(model.n_layer, MOST_LAYERS)),
            ("mlp", self.mlp.len(), Count, layers),
            ("attn_bias", self.attn_bias.len(), Count, layers),
            ("heads", self.heads.len(), by_head, heads),
        ])
    }
}

impl Patching {
    /// Whether its arrays fit each other.
    ///
    /// # Errors
    /// As [`Trace::check`].
    pub fn check(&self) -> Result<(), String> {
        self.find_problem().map_err(|problem| problem.text())
    }

    fn find_problem(&self) -> Checked {
        let t = self.corrupted_tokens.len();
        let layers = self.recovered.len().checked_div(t).unwrap_or(0);
        check_all(&[
            ("clean_tokens", self.clean_tokens.len(), Relation::Count, t),
            ("recovered", self.recovered.len(), Relation::Multiple, t),
            ("the number of its layers", layers, Relation::AtMost, MOST_LAYERS),
        ])
    }
}

/// A size that the model names, or the largest there is where it names none.
fn known(size: usize, otherwise: usize) -> usize {
    if size == 0 { otherwise } else { size }
}

/// So many values for each head; for some number of heads where the model does not say how many it has.
fn by_head(each: usize, heads: usize) -> (Relation, usize) {
    match heads {
        0 => (Relation::Multiple, each),
        heads => (Relation::Count, each.saturating_mul(heads)),
    }
}
