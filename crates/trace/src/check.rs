//! What holds for every trace: sizes within the limits that checkpoints have, arrays that fit each other. Charts rely on it,
//! so whatever comes from outside (a saved run, an object that a script made) is checked before it is drawn.

use super::Patching;
use super::fields::{Axis, Field, Record, Sizes, Value};
use super::{ModelInfo, Sequence, Trace};

/// Most blocks that a model may have, as in `config.json`.
pub const MOST_LAYERS: usize = 4096;
/// Largest other size, as there.
pub const LARGEST_SIZE: usize = 1 << 24;

/// What does not fit. It becomes a sentence where it is told, not where it is found: that keeps the embed small.
struct Problem {
    /// Where the field is: "sequences[0]: ", "lens.".
    place: String,
    name: &'static str,
    found: usize,
    expected: (Relation, usize),
}

/// How a number must be to another.
#[derive(Clone, Copy)]
enum Relation {
    /// As many values as expected.
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
        let Problem { place, name, found, expected: (relation, limit) } = self;
        let (is, values, expected) = match relation {
            Relation::Count | Relation::CountOrNone => ("has", " values", ""),
            Relation::Multiple => ("has", " values", "a multiple of "),
            Relation::AtMost => ("is", "", "at most "),
            Relation::Below => ("is", "", "less than "),
        };
        format!("{place}{name} {is} {found}{values}, expected {expected}{limit}")
    }

    fn within(mut self, place: &str, index: Option<usize>, then: &str) -> Problem {
        let index = index.map(|index| format!("[{index}]")).unwrap_or_default();
        self.place = [place, &index, then, &self.place].concat();
        self
    }
}

fn check_all(rules: &[Rule]) -> Checked {
    rules.iter().try_for_each(|rule| check(*rule))
}

fn check((name, found, relation, expected): Rule) -> Checked {
    let holds = match relation {
        Relation::Count => found == expected,
        Relation::CountOrNone => found == expected || found == 0,
        Relation::Multiple => found.checked_rem(expected).unwrap_or(found) == 0,
        Relation::AtMost => found <= expected,
        Relation::Below => found < expected,
    };
    if holds { Ok(()) } else { Err(Problem { place: String::new(), name, found, expected: (relation, expected) }) }
}

/// Whether a record's arrays, and those of the records in it, are as long as their axes say.
fn check_fields(record: &dyn Record, sizes: &Sizes) -> Checked {
    let mut some = None;
    record.fields().iter().try_for_each(|(field, value)| match value {
        // A sequence of its own, checked as one.
        Value::Record(_) if field.name == "baseline" => Ok(()),
        Value::Record(inner) => check_fields(*inner, sizes).map_err(|problem| problem.within(field.name, None, ".")),
        Value::Records(list) => list.iter().enumerate().try_for_each(|(index, inner)| {
            check_fields(*inner, sizes).map_err(|problem| problem.within(field.name, Some(index), "."))
        }),
        _ => value.length().map_or(Ok(()), |found| check_length(field, found, sizes, &mut some)),
    })
}

/// `some`: the length of [`Axis::Some`] in this record, which its first array with such an axis decides.
fn check_length(field: &Field, found: usize, sizes: &Sizes, some: &mut Option<usize>) -> Checked {
    let counts_some = field.axes.iter().any(|axis| matches!(axis, Axis::Some | Axis::SomePerToken));
    let counts_heads = field.axes.contains(&Axis::Heads);
    // With an axis whose length nobody says, any multiple of the others fits.
    let known = Sizes { some: some.unwrap_or(1), heads: sizes.heads.max(1), ..*sizes }.over(field.axes);
    let is_open = counts_some && some.is_none() || counts_heads && sizes.heads == 0;
    if counts_some && some.is_none() {
        *some = Some(found.checked_div(known).unwrap_or(0));
    }
    let relation = match field.or_none {
        _ if is_open => Relation::Multiple,
        true => Relation::CountOrNone,
        false => Relation::Count,
    };
    check((field.name, found, relation, known))
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
            let within = |problem: Problem| problem.within("sequences", Some(index), ": ");
            sequence.find_problem(model).map_err(within)?;
            if let Some(baseline) = &sequence.baseline {
                let same = check_all(&[
                    ("ids", baseline.ids.len(), Count, sequence.ids.len()),
                    ("attn_norm", baseline.attn_norm.len(), Count, sequence.attn_norm.len()),
                ]);
                let checked = same.and_then(|()| baseline.find_problem(model));
                checked.map_err(|problem| within(problem.within("baseline", None, ": ")))?;
            }
        }
        for (index, ablated) in self.ablate.iter().enumerate() {
            let there = check_all(&[
                ("layer", ablated.layer, Below, known(model.n_layer, MOST_LAYERS)),
                ("head", ablated.head.unwrap_or(0), Below, known(model.n_head, LARGEST_SIZE)),
            ]);
            there.map_err(|problem| problem.within("ablate", Some(index), "."))?;
        }
        let patching = self.patching.as_ref().map_or(Ok(()), Patching::find_problem);
        patching.map_err(|problem| problem.within("patching", None, "."))
    }
}

impl Sequence {
    /// How long the axes of its arrays are.
    pub(crate) fn sizes(&self, model: &ModelInfo) -> Sizes {
        Sizes { tokens: self.token_count(), layers: self.layer_count(), heads: model.n_head, some: 0 }
    }

    fn find_problem(&self, model: &ModelInfo) -> Checked {
        use Relation::{AtMost, Below};
        let sizes = self.sizes(model);
        let layers = known(model.n_layer, MOST_LAYERS);
        let largest = self.ids.iter().max().map_or(0, |id| *id as usize);
        check_all(&[
            ("the number of its tokens", sizes.tokens, AtMost, known(model.n_positions, LARGEST_SIZE)),
            ("the number of its layers", sizes.layers, AtMost, layers),
            ("the largest of ids", largest, Below, known(model.vocab_size, usize::MAX)),
        ])?;
        check_fields(self, &sizes)?;
        let leads = self.leads.as_ref().map_or((0, 0), |leads| (leads.first, leads.settled));
        check_all(&[("leads.first", leads.0, AtMost, MOST_LAYERS), ("leads.settled", leads.1, AtMost, MOST_LAYERS)])?;
        if let Some(lens) = &self.lens {
            let ids = &lens.vocab.ids;
            let rising = 1 + ids.windows(2).take_while(|pair| pair.first() <= pair.last()).count();
            check(("the rising part of vocab.ids", rising, Relation::Count, ids.len().max(1)))
                .map_err(|problem| problem.within("lens", None, "."))?;
        }
        for (index, pattern) in self.patterns.iter().flatten().enumerate() {
            let heads = known(model.n_head, LARGEST_SIZE);
            check_all(&[("layer", pattern.layer, Below, layers), ("head", pattern.head, Below, heads)])
                .map_err(|problem| problem.within("patterns", Some(index), "."))?;
        }
        let Some(found) = &self.attribution else { return Ok(()) };
        check_all(&[
            ("position", found.position, Below, sizes.tokens),
            ("the number of its layers", found.attn.len(), AtMost, layers),
        ])
        .map_err(|problem| problem.within("attribution", None, "."))
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
        let tokens = self.corrupted_tokens.len();
        let layers = self.recovered.len().checked_div(tokens).unwrap_or(0);
        check_fields(self, &Sizes { tokens, layers, heads: 0, some: 0 })?;
        check(("the number of its layers", layers, Relation::AtMost, MOST_LAYERS))
    }
}

/// A size that the model names, or the largest there is where it names none.
fn known(size: usize, otherwise: usize) -> usize {
    if size == 0 { otherwise } else { size }
}
