//! Findings: sentences computed from a trace, each with the place it speaks of.

use serde::{Deserialize, Serialize};

use super::words::{norm, percent, quote_token, times};
use super::{
    Coverage, Evolution, EvolutionOptions, Field, Histogram, HistogramOptions, Kind, Stat, attn, evolution, histogram,
    mlp, overflow, resid_post, sequences,
};
use crate::{TokenPosition, Trace};

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// Attention against MLP, layer by layer.
    Evolution,
    /// The single largest contribution norm.
    LargestUpdate,
    /// The stream of position 0 against the rest.
    FirstPosition,
    /// How the stream's norm changes from the first to the last block.
    StreamGrowth,
    /// Numbers that are not finite.
    Overflow,
    /// How far the histograms of attention and MLP overlap.
    Distribution,
    /// What the model predicts, and since which layer.
    Prediction,
    /// What one attention head does in this text.
    Head,
    /// What makes a logit.
    Attribution,
    /// What changes from one run to another.
    Change,
}

/// Where in the trace a finding is to be seen. Indices count from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// Block, from 0; readers see `layer + 1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<usize>,
    /// Who wrote the update, or whose norm it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Attention head of that block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<usize>,
    /// Sequence of the trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<usize>,
    /// Token of that sequence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<usize>,
}

impl Place {
    /// The token it is at, where it is at one.
    pub fn token_position(self) -> Option<TokenPosition> {
        Some(TokenPosition { sequence: self.sequence?, token: self.token? })
    }
}

/// One sentence computed from the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is about.
    pub topic: Topic,
    /// The sentence. Plain text: it may quote a token, so it must never be used as HTML.
    pub text: String,
    /// Where a reader sees it: layer, token, head.
    pub place: Place,
}

/// All that this trace allows to say, the most telling first. Empty for a trace without numbers.
pub fn findings(trace: &Trace, skip_first: bool) -> Vec<Finding> {
    let evolution = evolution(trace.run(), &EvolutionOptions { skip_first });
    let histogram = histogram(trace.run(), &HistogramOptions { bins: None, skip_first });
    [
        overflow_finding(trace),
        evolution_finding(&evolution),
        largest_update(trace, &evolution),
        first_position(trace, skip_first),
        stream_growth(&evolution),
        prediction(trace),
        histogram_finding(&histogram),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Where the model's numbers overflow, if they do.
fn overflow_finding(trace: &Trace) -> Option<Finding> {
    let overflow = overflow(&trace.sequences)?;
    let text = format!(
        "The model's numbers overflow F32, first {}: what is not finite is left out of every number here.",
        overflow.place()
    );
    let place = Place { layer: overflow.layer.checked_sub(1), ..Place::default() };
    Some(Finding { topic: Topic::Overflow, text, place })
}

/// "7 of 12 layers", "3 of the 5 layers computed so far", "all 12 layers", "the only layer".
fn of_layers(count: usize, of: usize, coverage: &Coverage) -> String {
    let so_far = if coverage.is_partial() { " computed so far" } else { "" };
    match (count == of, of) {
        (true, 1) => format!("the only layer{so_far}"),
        (true, 2) => format!("both layers{so_far}"),
        (true, _) => format!("all {of} layers{so_far}"),
        (false, _) if coverage.is_partial() => format!("{count} of the {of} layers{so_far}"),
        (false, _) => format!("{count} of {of} layers"),
    }
}

/// Who writes the larger mean update in most layers, and where the gap is largest.
pub fn evolution_finding(evolution: &Evolution) -> Option<Finding> {
    let gaps: Vec<(usize, Stat, Stat)> = evolution
        .attn
        .iter()
        .zip(&evolution.mlp)
        .enumerate()
        .filter(|(_, (attn, mlp))| attn.n > 0 && mlp.n > 0)
        .map(|(layer, (&attn, &mlp))| (layer, attn, mlp))
        .collect();
    let mlp_wins = gaps.iter().filter(|(_, attn, mlp)| mlp.mean > attn.mean).count();
    let attn_wins = gaps.iter().filter(|(_, attn, mlp)| attn.mean > mlp.mean).count();
    if gaps.is_empty() {
        return None;
    }
    if mlp_wins == 0 && attn_wins == 0 {
        let layers = of_layers(gaps.len(), gaps.len(), &evolution.coverage);
        let text = format!("Attention and MLP updates are of the same mean size in {layers}.");
        return Some(Finding { topic: Topic::Evolution, text, place: Place::default() });
    }
    let (kind, wins) = if mlp_wins >= attn_wins { (Kind::Mlp, mlp_wins) } else { (Kind::Attention, attn_wins) };
    let sides = |&(_, attn, mlp): &(usize, Stat, Stat)| match kind {
        Kind::Mlp => (mlp.mean, attn.mean),
        _ => (attn.mean, mlp.mean),
    };
    let widest = gaps.iter().max_by(|a, b| {
        let gap = |sides: (f64, f64)| sides.0 - sides.1;
        gap(sides(a)).total_cmp(&gap(sides(b)))
    })?;
    let (more, less) = sides(widest);
    let mut layers = of_layers(wins, gaps.len(), &evolution.coverage);
    if wins < gaps.len() {
        let won = gaps.iter().filter(|gap| sides(gap).0 > sides(gap).1).map(|(layer, ..)| layer + 1);
        layers += &ranges(won).map_or_else(String::new, |ranges| format!(": {ranges}"));
    }
    let subject = match kind {
        Kind::Mlp => "MLP updates exceed attention's",
        _ => "Attention updates exceed the MLP's",
    };
    let numbers = format!("{} against {}", norm(more), norm(less));
    let aside = match gaps.len() {
        1 => numbers,
        _ => format!("largest gap in layer {}: {numbers}", widest.0 + 1),
    };
    let place = Place { layer: Some(widest.0), kind: Some(kind), ..Place::default() };
    Some(Finding { topic: Topic::Evolution, text: format!("{subject} in {layers} ({aside})."), place })
}

/// Rising numbers as runs, "1, 3–7, 9"; none where that would be long.
fn ranges(numbers: impl Iterator<Item = usize>) -> Option<String> {
    const MOST: usize = 4;
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for number in numbers {
        match runs.last_mut().filter(|run| run.1 + 1 == number) {
            Some(run) => run.1 = number,
            None => runs.push((number, number)),
        }
    }
    let run = |&(from, to): &(usize, usize)| match to - from {
        0 => from.to_string(),
        1 => format!("{from}, {to}"),
        _ => format!("{from}–{to}"),
    };
    (runs.len() <= MOST).then(|| runs.iter().map(run).collect::<Vec<_>>().join(", "))
}

/// The single largest update, and how far it stands out of its layer.
fn largest_update(trace: &Trace, evolution: &Evolution) -> Option<Finding> {
    let skip = usize::from(evolution.coverage.skip_first);
    let fields: [(Kind, Field, &[Stat]); 2] =
        [(Kind::Attention, attn, &evolution.attn), (Kind::Mlp, mlp, &evolution.mlp)];
    let mut largest: Option<(f32, Kind, f64, Place)> = None;
    for (kind, field, stats) in fields {
        for (layer, stat) in stats.iter().enumerate() {
            for (index, sequence) in sequences(trace.run()) {
                let values = sequence.layer(field(sequence), layer).iter().enumerate().skip(skip);
                for (token, &value) in values.filter(|(_, value)| value.is_finite()) {
                    if largest.as_ref().is_none_or(|(most, ..)| value > *most) {
                        let place = Place {
                            layer: Some(layer),
                            kind: Some(kind),
                            sequence: Some(index),
                            token: Some(token),
                            head: None,
                        };
                        largest = Some((value, kind, stat.mean, place));
                    }
                }
            }
        }
    }
    let (value, kind, mean, place) = largest?;
    let token = place.sequence.and_then(|s| trace.sequences.get(s)).and_then(|s| s.tokens.get(place.token?));
    let on = token.map_or_else(|| format!("position {}", place.token.unwrap_or(0)), |token| quote_token(token));
    let so_far = if evolution.coverage.is_partial() { " so far" } else { "" };
    let layer = place.layer.unwrap_or(0) + 1;
    let value = f64::from(value);
    let stands_out = if mean > 0.0 && value / mean >= 1.05 {
        format!(", {} that layer's mean", times(value / mean))
    } else {
        String::new()
    };
    let text = format!(
        "The largest single update{so_far} is layer {layer}'s {} on {on}: {}{stands_out}.",
        kind.label(),
        norm(value)
    );
    Some(Finding { topic: Topic::LargestUpdate, text, place })
}

/// How much larger the stream of position 0 is than the others', as means over layers.
fn first_position(trace: &Trace, skip_first: bool) -> Option<Finding> {
    let coverage = Coverage::of(trace.run(), false);
    let over_layers = |first: bool| {
        Stat::of((0..coverage.layers).flat_map(move |layer| {
            sequences(trace.run()).flat_map(move |(_, sequence)| {
                let values = sequence.layer(resid_post(sequence), layer).iter().copied();
                values.enumerate().filter(move |(token, _)| (*token == 0) == first).map(|(_, value)| value)
            })
        }))
    };
    let (first, rest) = (over_layers(true), over_layers(false));
    if first.n == 0 || rest.n == 0 || rest.mean <= 0.0 {
        return None;
    }
    let ratio = first.mean / rest.mean;
    let (subject, verb) = match coverage.sequences {
        1 => ("The first token", "carries"),
        _ => ("First tokens", "carry"),
    };
    let so_far = if coverage.is_partial() { " so far" } else { "" };
    let comparison = if (0.9..1.1).contains(&ratio) {
        format!("about as large as the others' {}", norm(rest.mean))
    } else {
        format!("{} the others' {}", times(ratio), norm(rest.mean))
    };
    let consequence = match (skip_first, ratio > 2.0) {
        (true, _) => "; position 0 is left out of the charts",
        (false, true) => "; it weighs on every mean in the charts",
        (false, false) => "",
    };
    let text =
        format!("{subject} {verb} a stream of mean norm {}{so_far}, {comparison}{consequence}.", norm(first.mean));
    let place = Place { kind: Some(Kind::Stream), token: Some(0), ..Place::default() };
    Some(Finding { topic: Topic::FirstPosition, text, place })
}

/// What comes next by the model, and since which layer that leads: of the first text that says so.
fn prediction(trace: &Trace) -> Option<Finding> {
    let (index, sequence, found) = sequences(trace.run())
        .filter_map(|(index, sequence)| Some((index, sequence, sequence.leads.as_ref()?)))
        .find(|(_, _, found)| found.prob.is_finite())?;
    let after =
        |layer: usize| if layer == 0 { "from the embedding on".to_owned() } else { format!("after layer {layer}") };
    let text = match (trace.sequences.len(), index) {
        (1, _) => "the text".to_owned(),
        (_, 0) => "the first sentence".to_owned(),
        (_, index) => format!("sentence {}", index + 1),
    };
    let mut sentence = format!(
        "After {text} the model expects {} ({}); through the logit lens that first leads {}",
        quote_token(&found.text),
        percent(f64::from(found.prob)),
        after(found.first)
    );
    if found.settled > found.first {
        sentence += &format!(", and for good {}", after(found.settled));
    }
    let token = sequence.token_count().checked_sub(1);
    let place = Place { layer: found.first.checked_sub(1), sequence: Some(index), token, ..Place::default() };
    Some(Finding { topic: Topic::Prediction, text: sentence + ".", place })
}

/// From the stream after the first block to the stream after the last one computed.
fn stream_growth(evolution: &Evolution) -> Option<Finding> {
    let measured: Vec<(usize, &Stat)> = evolution.resid.iter().enumerate().filter(|(_, stat)| stat.n > 0).collect();
    let ((first, from), (last, to)) = (*measured.first()?, *measured.last()?);
    if first == last || from.mean <= 0.0 {
        return None;
    }
    let ratio = to.mean / from.mean;
    let so_far = if evolution.coverage.is_partial() { " so far" } else { "" };
    let numbers = format!("mean norm {} to {}", norm(from.mean), norm(to.mean));
    let (first, last_shown) = (first + 1, last + 1);
    let text = if (0.95..1.05).contains(&ratio) {
        format!("The stream keeps its size from layer {first} to layer {last_shown}{so_far} ({numbers}).")
    } else if ratio > 1.0 {
        format!(
            "The stream grows to {} its size from layer {first} to layer {last_shown}{so_far} ({numbers}).",
            times(ratio)
        )
    } else {
        format!(
            "The stream shrinks to {} of its size from layer {first} to layer {last_shown}{so_far} ({numbers}).",
            percent(ratio)
        )
    };
    let place = Place { layer: Some(last), kind: Some(Kind::Stream), ..Place::default() };
    Some(Finding { topic: Topic::StreamGrowth, text, place })
}

/// The two medians, how much the histograms overlap, and an outlier that stretches the axis.
pub fn histogram_finding(histogram: &Histogram) -> Option<Finding> {
    let overlap = histogram.overlap();
    if !overlap.is_finite() {
        return None;
    }
    let so_far = if histogram.coverage.is_partial() { " so far" } else { "" };
    let (attn, mlp) = (histogram.attn_median, histogram.mlp_median);
    let mut text = format!(
        "The median update{so_far} is {} for attention and {} for the MLP; the two histograms share {} of their area",
        norm(attn),
        norm(mlp),
        percent(overlap)
    );
    let median = attn.max(mlp);
    if median > 0.0 && histogram.max > OUTLIER * median {
        text += &format!(", and the largest, {}, stretches the axis", norm(histogram.max));
    }
    text.push('.');
    let kind = match attn.total_cmp(&mlp) {
        std::cmp::Ordering::Greater => Kind::Attention,
        _ => Kind::Mlp,
    };
    Some(Finding { topic: Topic::Distribution, text, place: Place { kind: Some(kind), ..Place::default() } })
}

/// A largest value this many times the median leaves most of the histogram's axis to it alone.
const OUTLIER: f64 = 15.0;
