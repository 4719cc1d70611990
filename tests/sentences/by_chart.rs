//! Sentences about one text, notes and descriptions.

use charts::{ChartName, Quantity};
use trace::{Attribution, Sequence};

use crate::reading::*;
use crate::traces::{HEADS, K};
use crate::{Case, first_broken};

fn token(name: &str) -> usize {
    name.strip_prefix('t').and_then(|token| token.parse().ok()).unwrap_or_else(|| panic!("{name:?} is no token"))
}

fn value(case: &Case, sequence: &Sequence, cell: usize) -> f64 {
    let at = |values: &[f32]| f64::from(values[cell]);
    match case.options.quantity {
        Quantity::Attention => at(&sequence.attn_norm),
        Quantity::Mlp => at(&sequence.mlp_norm),
        Quantity::Difference => at(&sequence.mlp_norm) - at(&sequence.attn_norm),
        Quantity::Stream => at(&sequence.resid_post_norm),
    }
}

pub fn heatmap(case: &Case, text: &str) -> Option<bool> {
    let gaps = read(text, "{} is on “{}” in layer {}: {}.")?;
    let (sequence, t) = (case.text(), case.text().ids.len());
    let all = (0..case.layers() * t).filter(|cell| !case.options.skip_first || cell % t > 0);
    let largest = most(all.map(|cell| value(case, sequence, cell).abs()).filter(|value| value.is_finite()));
    let said = value(case, sequence, block(gaps[2]) * t + token(gaps[1]));
    let subject = match (case.options.quantity, said < 0.0) {
        (Quantity::Attention, _) => "The largest attention update",
        (Quantity::Mlp, _) => "The largest MLP update",
        (Quantity::Difference, true) => "The widest gap, in favour of attention,",
        (Quantity::Difference, false) => "The widest gap, in favour of the MLP,",
        (Quantity::Stream, _) => "The longest stream",
    };
    Some(gaps[0] == subject && said.abs() == largest && is_norm(gaps[3], largest))
}

pub fn lens(case: &Case, text: &str) -> Option<bool> {
    let gaps = read(text, "The prediction at the end of the text, “{}”, leads from {} on.")?;
    let (lens, t) = (case.text().lens.as_ref()?, case.text().ids.len());
    let best = |row: usize| {
        let cell = (row * t + t - 1) * K;
        lens.probs[cell].is_finite().then_some(lens.ids[cell])
    };
    let since = match gaps[1] {
        "the embedding" => 0,
        layer => layer.strip_prefix("layer ")?.parse().ok()?,
    };
    let (rows, last) = (case.layers(), best(case.layers())?);
    let holds = (since..=rows).all(|row| best(row) == Some(last));
    Some(gaps[0] == format!("w{last}") && holds && (since == 0 || best(since - 1) != Some(last)))
}

pub fn true_token(case: &Case, text: &str) -> Option<bool> {
    let gaps = read(text, "After {} the true token leads in {} of places{}.")?;
    let last = case.layers();
    let share = |row: usize| {
        let (mut leads, mut places) = (0.0, 0.0);
        for sequence in &case.trace.sequences {
            let (lens, t) = (sequence.lens.as_ref().unwrap(), sequence.ids.len());
            for token in usize::from(case.options.skip_first)..t - 1 {
                let cell = row * t + token;
                if lens.true_prob[cell].is_finite() {
                    places += 1.0;
                    leads += f64::from(u8::from(lens.true_rank[cell] == 1));
                }
            }
        }
        leads / places
    };
    let whole = last == case.trace.model.n_layer;
    let after = if whole { "the last layer".to_owned() } else { format!("layer {last}") };
    let half = (0..=last).find(|row| share(*row) >= share(last) / 2.0);
    let half_is_said = match gaps[2] {
        "" => share(last) == 0.0 || half == Some(0) || half == Some(last),
        words => Some(number(read(words, "; in at least half as many already after layer {}")?[0]) as usize) == half,
    };
    Some(gaps[0] == after && is_percent(gaps[1], share(last)) && half_is_said)
}

pub fn pattern(case: &Case, text: &str) -> Option<bool> {
    let gaps = read(text, "In this text head 1 of layer 1 {}.")?;
    let (weights, t) = (&case.text().patterns.as_ref()?[0].weights, case.text().ids.len());
    let average = |of: &dyn Fn(usize, usize) -> bool| {
        let mut sum = 0.0;
        for query in 1..t {
            for key in (0..=query).filter(|key| of(query, *key)) {
                sum += f64::from(weights[query * t + key]);
            }
        }
        sum / (t - 1) as f64
    };
    let (first, before) = (average(&|_, key| key == 0), average(&|query, key| key + 1 == query));
    let (own, back) = (average(&|query, key| key == query), average(&|query, key| key + 1 < query));
    let largest = first.max(before).max(own);
    for (template, share) in [
        ("looks at the token before ({} on average)", before),
        ("looks at the token itself ({} on average)", own),
        ("rests on the first token ({} on average)", first),
    ] {
        if let Some(gaps) = read(gaps[0], template) {
            return Some(is_percent(gaps[0], share) && share >= 0.4 && share >= largest - 1e-9);
        }
    }
    let gaps = read(gaps[0], "spreads out: {} goes to tokens further back than the last")?;
    // F32 weights of a row add up to 1 to within their rounding.
    let close = [-1e-6, 0.0, 1e-6].iter().any(|off| is_percent(gaps[0], (back + off).max(0.0)));
    Some(close && largest < 0.4 + 1e-9)
}

/// Every part of an attribution by its name.
fn parts(case: &Case, found: &Attribution) -> Vec<(String, f64)> {
    let mut parts = Vec::new();
    for layer in 0..found.attn.len() {
        if case.chart == ChartName::AttributionHeads {
            for head in 0..HEADS {
                let name = format!("head {head} of layer {}", layer + 1);
                parts.push((name, f64::from(found.heads[layer * HEADS + head])));
            }
            continue;
        }
        parts.push((format!("layer {}, attention", layer + 1), f64::from(found.attn[layer])));
        parts.push((format!("layer {}, MLP", layer + 1), f64::from(found.mlp[layer])));
    }
    if case.chart == ChartName::Attribution {
        parts.push(("the embedding".to_owned(), f64::from(found.embed)));
        parts.push(("the bias of the final layer norm".to_owned(), f64::from(found.bias)));
    }
    parts
}

fn explained(found: &Attribution) -> &'static str {
    if found.against_text.is_some() { "“target” less “other”" } else { "“target”" }
}

pub fn attribution(case: &Case, text: &str) -> Option<bool> {
    let found = case.text().attribution.as_ref()?;
    let adds = read(text, "Most for {} is added by {}: {}.");
    let takes = read(text, "Nothing here adds to {}; {} takes least from it: {}.");
    let (gaps, positive) = adds.map(|gaps| (gaps, true)).or(takes.map(|gaps| (gaps, false)))?;
    let parts = parts(case, found);
    let largest = most(parts.iter().map(|part| part.1).filter(|part| part.is_finite()));
    let named = parts.iter().any(|(name, part)| name == gaps[1] && *part == largest);
    Some(gaps[0] == explained(found) && named && (largest > 0.0) == positive && is_fixed(gaps[2], largest, 2))
}

pub fn next(case: &Case, text: &str) -> Option<bool> {
    let (now, rest) = text.split_once(" Without").map_or((text, None), |(now, rest)| (now, Some(rest)));
    let gaps = read(now, "Most probable after the text is “{}”: {}.")?;
    let candidates = |sequence: &Sequence| {
        let next = sequence.next.clone().unwrap();
        next.tokens.into_iter().zip(next.probs.into_iter().map(f64::from)).collect::<Vec<_>>()
    };
    let all = candidates(case.text());
    let largest = most(all.iter().map(|next| next.1).filter(|prob| prob.is_finite()));
    let said = all.iter().any(|next| next.0 == gaps[0] && next.1 == largest) && is_percent(gaps[1], largest);
    let before = match rest {
        None => true,
        Some(rest) => {
            let gaps = read(rest, " ablation it was “{}”: {}.")?;
            let all = candidates(case.text().baseline.as_ref()?);
            let largest = most(all.iter().map(|next| next.1).filter(|prob| prob.is_finite()));
            all.iter().any(|next| next.0 == gaps[0] && next.1 == largest) && is_percent(gaps[1], largest)
        }
    };
    Some(said && before)
}

pub fn change(case: &Case, text: &str) -> Option<bool> {
    let (before, after) = match case.chart {
        ChartName::Change => (case.text().baseline.as_deref()?, case.text()),
        _ => (&case.trace.sequences[0], &case.trace.sequences[1]),
    };
    // All texts have the ids 0, 1, 2: their common beginning stands side by side.
    let shared = before.ids.len().min(after.ids.len());
    let at =
        |sequence: &Sequence, layer: usize, token: usize| value(case, sequence, layer * sequence.ids.len() + token);
    let change = |layer: usize, token: usize| at(after, layer, token) - at(before, layer, token);
    let cells =
        (0..case.layers()).flat_map(|layer| (usize::from(case.options.skip_first)..shared).map(move |t| (layer, t)));
    let widest = most(cells.map(|(layer, token)| change(layer, token).abs()).filter(|change| change.is_finite()));
    if text == "Nothing changes that is counted." {
        return Some(widest == 0.0);
    }
    let gaps = read(text, "The widest change of {} is on “{}” in layer {}: from {} to {}.")?;
    let what = match case.options.quantity {
        Quantity::Attention => "attention's update",
        Quantity::Mlp => "the MLP's update",
        Quantity::Difference => "the MLP's update less attention's",
        Quantity::Stream => "the stream after the block",
    };
    let (layer, token) = (block(gaps[2]), token(gaps[1]));
    let ends = is_norm(gaps[3], at(before, layer, token)) && is_norm(gaps[4], at(after, layer, token));
    Some(gaps[0] == what && change(layer, token).abs() == widest && ends)
}

pub fn patching(case: &Case, text: &str) -> Option<bool> {
    let found = case.trace.patching.as_ref()?;
    let t = found.corrupted_tokens.len();
    let cell = |layer: usize, token: usize| f64::from(found.recovered[layer * t + token]);
    let half =
        |layer: usize| (0..t - 1).filter(move |token| cell(layer, *token).is_finite() && cell(layer, *token) >= 0.5);
    if let Some(gaps) =
        read(text, "As late as before layer {}, half of the answer or more can be brought back at “{}”.")
    {
        let layer = block(gaps[0]);
        let later = (layer + 1..case.layers()).any(|later| half(later).next().is_some());
        return Some(!later && half(layer).any(|at| at == token(gaps[1])));
    }
    let gaps = read(text, "The most is brought back before layer {}, at “{}”: {}.")?;
    let largest = most((0..case.layers() * t).map(|at| cell(at / t, at % t)).filter(|part| part.is_finite()));
    let none = (0..case.layers()).all(|layer| half(layer).next().is_none());
    Some(none && cell(block(gaps[0]), token(gaps[1])) == largest && is_percent(gaps[2], largest))
}

/// Whether a note is true; none for one that is not known.
pub fn note(case: &Case, note: &str) -> Option<bool> {
    let model = &case.trace.model;
    if let Some(gaps) = read(note, "{} of {} layers so far") {
        return Some(number(gaps[0]) as usize == case.layers() && number(gaps[1]) as usize == model.n_layer);
    }
    if let Some(gaps) = read(note, "sentence {} of {}") {
        let numbers = [case.options.sequence + 1, case.trace.sequences.len()];
        return Some(gaps == numbers.map(|number| number.to_string()));
    }
    if let Some(gaps) = read(note, "the model's numbers overflow, first in {}") {
        let layer = first_broken(case.trace)?;
        return Some(gaps[0] == if layer == 0 { "the embedding".to_owned() } else { format!("layer {layer}") });
    }
    if note.contains("not finite left out") {
        return Some(number(note.split(' ').next()?) as usize == lost(case)?);
    }
    if let Some(gaps) = read(note, "mean KL divergence of the predictions: {} nats") {
        let kl: Vec<f64> =
            case.text().kl.iter().flatten().map(|kl| f64::from(*kl)).filter(|kl| kl.is_finite()).collect();
        return Some(is_norm(gaps[0], mean(&kl)));
    }
    if let Some(gaps) = read(note, "outlined: without ablation; KL divergence {} nats") {
        return Some(is_norm(gaps[0], f64::from(*case.text().kl.as_ref()?.last()?)));
    }
    if case.chart == ChartName::Patching {
        let found = case.trace.patching.as_ref()?;
        if let Some(gaps) = read(note, "first text {}, second {}") {
            let ends = [found.clean_difference, found.corrupted_difference].map(f64::from);
            return Some(is_fixed(gaps[0], ends[0], 2) && is_fixed(gaps[1], ends[1], 2));
        }
        if note == "both differences are equal: nothing to bring back" {
            return Some(found.clean_difference == found.corrupted_difference);
        }
    }
    if matches!(case.chart, ChartName::Attribution | ChartName::AttributionHeads) {
        return attribution_note(case, note);
    }
    let first = case.options.skip_first;
    let plain = match note {
        "position 0 left out" | "position 0 does not set the colours" => first,
        "dotted: without ablation" | "switched off: layer 1's MLP" => !case.trace.ablate.is_empty(),
        "dashed: position 0, by itself" | "all updates are of the same size" => true,
        "sentence 2 less sentence 1" => case.chart == ChartName::Compare,
        "head 1 of layer 1" => case.chart == ChartName::Pattern,
        _ => return bins_note(case, note).or_else(|| note.starts_with("logit of ").then_some(true)),
    };
    Some(plain)
}

fn bins_note(case: &Case, note: &str) -> Option<bool> {
    let gaps = read(note, "bins {} wide{}")?;
    let table = case.figure.table();
    let widths: Vec<f64> = table.rows.iter().map(|row| edge(&row[1]) - edge(&row[0])).collect();
    let held = ", held to 5 to 80 bins";
    let rule = gaps[1].replace(held, "");
    let count = (5..=80).contains(&widths.len());
    Some(
        (is_norm(gaps[0], mean(&widths)) || is_fixed(gaps[0], mean(&widths), 3))
            && count
            && matches!(rule.as_str(), " (Freedman-Diaconis)" | " (Sturges)"),
    )
}

fn attribution_note(case: &Case, note: &str) -> Option<bool> {
    let found = case.text().attribution.as_ref()?;
    let layers = found.attn.iter().chain(&found.mlp).map(|part| f64::from(*part)).sum::<f64>();
    let (sum, logit) = (f64::from(found.embed) + layers + f64::from(found.bias), f64::from(found.logit));
    if let Some(gaps) = read(note, "the parts add up to the logit, {}") {
        return Some((sum - logit).abs() <= 1e-3 * logit.abs().max(1.0) && is_fixed(gaps[0], logit, 3));
    }
    if let Some(gaps) = read(note, "the parts add up to {}, the logit is {}") {
        return Some((sum - logit).abs() > 1e-3 && is_fixed(gaps[0], sum, 3) && is_fixed(gaps[1], logit, 3));
    }
    if note == "some parts are not finite: the model's numbers overflowed" {
        return Some(!(sum - logit).is_finite());
    }
    let after = format!("logit of {} after “t{}”", explained(found), found.position);
    Some(note == after || note == "final scale frozen at 3.00")
}

/// Values that a chart leaves out.
fn lost(case: &Case) -> Option<usize> {
    type Of = fn(&Sequence, usize) -> f32;
    let updates: [Of; 2] = [|sequence, cell| sequence.attn_norm[cell], |sequence, cell| sequence.mlp_norm[cell]];
    let resid: Of = |sequence, cell| sequence.resid_post_norm[cell];
    let (attn_part, mlp_part): (Of, Of) = (
        |sequence, cell| sequence.attn_norm[cell] / sequence.resid_pre_norm[cell],
        |sequence, cell| sequence.mlp_norm[cell] / sequence.resid_mid_norm[cell],
    );
    let of: Vec<Of> = match case.chart {
        ChartName::Distribution => updates.to_vec(),
        ChartName::Evolution => vec![updates[0], updates[1], resid],
        ChartName::Growth => vec![resid],
        ChartName::Relative => vec![attn_part, mlp_part],
        _ => return None,
    };
    let skip = usize::from(case.options.skip_first);
    let per_layer: usize = case.trace.sequences.iter().map(|sequence| sequence.ids.len() - skip).sum();
    let kept: usize =
        of.iter().map(|of| (0..case.layers()).map(|layer| case.values(of, layer).len()).sum::<usize>()).sum();
    let embeddings = case.trace.sequences.iter().flat_map(|sequence| sequence.embed_norm.iter().skip(skip));
    let embeddings = embeddings.filter(|norm| !norm.is_finite()).count();
    let embeddings = if case.chart == ChartName::Evolution { embeddings } else { 0 };
    Some(of.len() * case.layers() * per_layer - kept + embeddings)
}

/// Whether a description's sizes are the trace's.
pub fn description(case: &Case, text: &str) -> bool {
    if case.figure.empty().is_some() {
        return true;
    }
    let (t, layers) = (case.text().ids.len(), case.layers());
    let sizes = match case.chart {
        ChartName::Heatmap | ChartName::Lens => vec![format!("{t} tokens by {layers} layers")],
        ChartName::Heads | ChartName::AttributionHeads => vec![format!("{layers} layers by {HEADS} heads")],
        ChartName::Pattern => vec![format!("{t} reading tokens by {t} read ones")],
        ChartName::Attribution => vec![format!("Waterfall of {} contributions", 2 * layers + 2)],
        ChartName::Growth => vec![format!("after each of {layers} layers")],
        ChartName::Relative | ChartName::Direction => vec![format!("over {layers} layers")],
        ChartName::TrueToken => vec![format!("over {layers} layers and the embedding")],
        ChartName::Patching => {
            let t = case.trace.patching.as_ref().map_or(0, |found| found.corrupted_tokens.len());
            vec![format!("{t} tokens by {layers} layers")]
        }
        ChartName::Next => {
            let finite = case.text().next.iter().flat_map(|next| &next.probs).filter(|prob| prob.is_finite()).count();
            vec![if finite == 1 { "the most probable next token.".to_owned() } else { format!("the {finite} most") }]
        }
        ChartName::Distribution | ChartName::Evolution | ChartName::Change | ChartName::Compare => Vec::new(),
    };
    let finding = case.figure.finding().map_or(String::new(), |finding| finding.text);
    sizes.iter().all(|size| text.contains(size)) && text.ends_with(&finding)
}
