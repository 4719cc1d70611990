//! Sentences about statistics over layers.

use charts::ChartName;
use trace::Sequence;

use crate::reading::*;
use crate::{Case, first_broken};

fn attn(sequence: &Sequence, cell: usize) -> f32 {
    sequence.attn_norm[cell]
}

fn mlp(sequence: &Sequence, cell: usize) -> f32 {
    sequence.mlp_norm[cell]
}

fn resid(sequence: &Sequence, cell: usize) -> f32 {
    sequence.resid_post_norm[cell]
}

fn is_partial(case: &Case) -> bool {
    case.layers() < case.trace.model.n_layer
}

/// "all 12 layers", "7 of 12 layers: 1, 3–7": the layers that are meant, out of so many.
fn meant(case: &Case, text: &str, all: &[usize]) -> Option<Vec<usize>> {
    let (layers, named) = text.split_once(": ").map_or((text, None), |(layers, named)| (layers, Some(named)));
    let layers = match is_partial(case) {
        true => layers.strip_suffix(" computed so far")?,
        false => layers,
    };
    let whole = match all.len() {
        1 => "the only layer".to_owned(),
        2 => "both layers".to_owned(),
        n => format!("all {n} layers"),
    };
    if layers == whole {
        return Some(all.to_vec());
    }
    let template = if is_partial(case) { "{} of the {} layers" } else { "{} of {} layers" };
    let gaps = read(layers, template)?;
    assert_eq!(gaps[1].parse::<usize>().unwrap(), all.len());
    let named = ranges(named?);
    assert_eq!(named.len(), gaps[0].parse::<usize>().unwrap());
    Some(named)
}

pub fn evolution(case: &Case, text: &str) -> Option<bool> {
    let measured = |layer: &usize| !case.values(attn, *layer).is_empty() && !case.values(mlp, *layer).is_empty();
    let all: Vec<usize> = (0..case.layers()).filter(measured).collect();
    let gap = |layer: usize| mean(&case.values(mlp, layer)) - mean(&case.values(attn, layer));
    if let Some(gaps) = read(text, "Attention and MLP updates are of the same mean size in {}.") {
        return Some(meant(case, gaps[0], &all)? == all && all.iter().all(|layer| gap(*layer) == 0.0));
    }
    let attention = read(text, "Attention updates exceed the MLP's in {} ({}).");
    let sign = if attention.is_some() { -1.0 } else { 1.0 };
    let gaps = attention.or_else(|| read(text, "MLP updates exceed attention's in {} ({})."))?;
    let (won, lost): (Vec<usize>, Vec<usize>) = all.iter().partition(|layer| sign * gap(**layer) > 0.0);
    let reverse = lost.iter().filter(|layer| sign * gap(**layer) < 0.0).count();
    let (layer, numbers) = match read(gaps[1], "largest gap in layer {}: {} against {}") {
        Some(gaps) => (block(gaps[0]), [gaps[1], gaps[2]]),
        None => (all[0], read(gaps[1], "{} against {}")?.try_into().ok()?),
    };
    let (mut more, mut less) = (mean(&case.values(mlp, layer)), mean(&case.values(attn, layer)));
    if sign < 0.0 {
        (more, less) = (less, more);
    }
    let widest = all.iter().all(|other| sign * gap(*other) <= sign * gap(layer));
    let numbers = is_norm(numbers[0], more) && is_norm(numbers[1], less);
    Some(meant(case, gaps[0], &all)? == won && won.len() >= reverse && widest && numbers)
}

/// Sentences of the page's own findings.
pub fn page(case: &Case, text: &str) -> Option<bool> {
    let so_far = if is_partial(case) { " so far" } else { "" };
    if let Some(gaps) = read(
        text,
        "The model's numbers overflow F32, first in {}: what is not finite is left out of every number here.",
    ) {
        let layer = first_broken(case.trace)?;
        return Some(gaps[0] == if layer == 0 { "the embedding".to_owned() } else { format!("layer {layer}") });
    }
    if let Some(gaps) = read(text, &format!("The largest single update{so_far} is layer {{}}'s {{}} on “{{}}”: {{}}."))
    {
        let (layer, of) = (block(gaps[0]), if gaps[1] == "MLP" { mlp } else { attn });
        let all = (0..case.layers()).flat_map(|layer| [case.values(attn, layer), case.values(mlp, layer)].concat());
        let largest = most(all);
        let token: usize = gaps[2].strip_prefix('t')?.parse().ok()?;
        let there = case.trace.sequences.iter().filter(|sequence| token < sequence.ids.len());
        let there = there.filter(|sequence| f64::from(of(sequence, layer * sequence.ids.len() + token)) == largest);
        let (value, stands_out) = gaps[3].split_once(", ").map_or((gaps[3], None), |(a, b)| (a, Some(b)));
        let ratio = largest / mean(&case.values(of, layer));
        let ratio_is_said = match stands_out {
            Some(words) => is_times(words.strip_suffix(" that layer's mean")?, ratio),
            None => ratio.is_nan() || ratio < 1.05,
        };
        return Some(there.count() > 0 && is_norm(value, largest) && ratio_is_said);
    }
    first_position(case, text).or_else(|| stream(case, text)).or_else(|| prediction(case, text))
}

fn first_position(case: &Case, text: &str) -> Option<bool> {
    let one = case.trace.sequences.len() == 1;
    let subject = if one { "The first token carries" } else { "First tokens carry" };
    let gaps = read(text, &format!("{subject} a stream of mean norm {{}}."))?;
    let so_far = if is_partial(case) { " so far" } else { "" };
    let (claim, consequence) = gaps[0].split_once("; ").map_or((gaps[0], ""), |(claim, rest)| (claim, rest));
    let (mut firsts, mut rest) = (Vec::new(), Vec::new());
    for sequence in &case.trace.sequences {
        let t = sequence.ids.len();
        for (cell, norm) in sequence.resid_post_norm.iter().enumerate().filter(|(_, norm)| norm.is_finite()) {
            if cell % t == 0 { &mut firsts } else { &mut rest }.push(f64::from(*norm));
        }
    }
    let (first, rest) = (mean(&firsts), mean(&rest));
    let alike = read(claim, &format!("{{}}{so_far}, about as large as the others' {{}}"));
    let said = match alike {
        Some(gaps) => is_norm(gaps[0], first) && is_norm(gaps[1], rest) && (0.9..1.1).contains(&(first / rest)),
        None => {
            let gaps = read(claim, &format!("{{}}{so_far}, {{}} times the others' {{}}"))?;
            let times = format!("{} times", gaps[1]);
            is_norm(gaps[0], first) && is_times(&times, first / rest) && is_norm(gaps[2], rest)
        }
    };
    Some(
        said && match consequence {
            "position 0 is left out of the charts" => case.options.skip_first,
            "it weighs on every mean in the charts" => !case.options.skip_first && first > rest,
            other => other.is_empty() && !case.options.skip_first,
        },
    )
}

fn stream(case: &Case, text: &str) -> Option<bool> {
    let so_far = if is_partial(case) { " so far" } else { "" };
    let tail = format!("from layer {{}} to layer {{}}{so_far} (mean norm {{}} to {{}}).");
    let ends = |gaps: &[&str]| {
        let [from, to] = [0, 1].map(|end| mean(&case.values(resid, block(gaps[end]))));
        (is_norm(gaps[2], from) && is_norm(gaps[3], to)).then_some(to / from)
    };
    if let Some(gaps) = read(text, &format!("The stream keeps its size {tail}")) {
        return Some(ends(&gaps).is_some_and(|ratio| (0.95..1.05).contains(&ratio)));
    }
    if let Some(gaps) = read(text, &format!("The stream grows to {{}} its size {tail}")) {
        return Some(ends(&gaps[1..]).is_some_and(|ratio| ratio > 1.0 && is_times(gaps[0], ratio)));
    }
    let gaps = read(text, &format!("The stream shrinks to {{}} of its size {tail}"))?;
    Some(ends(&gaps[1..]).is_some_and(|ratio| ratio < 1.0 && is_percent(gaps[0], ratio)))
}

fn prediction(case: &Case, text: &str) -> Option<bool> {
    let gaps = read(text, "After {} the model expects “{}” ({}); through the logit lens that first leads {}.")?;
    let number = match (case.trace.sequences.len(), gaps[0]) {
        (1, "the text") | (_, "the first sentence") => 0,
        (_, text) => text.strip_prefix("sentence ")?.parse::<usize>().ok()? - 1,
    };
    let found = case.trace.sequences[number].leads.as_ref()?;
    let after = |layer| if layer == 0 { "from the embedding on".to_owned() } else { format!("after layer {layer}") };
    let mut since = after(found.first);
    if found.settled > found.first {
        since += &format!(", and for good {}", after(found.settled));
    }
    Some(gaps[1] == found.text && is_percent(gaps[2], f64::from(found.prob)) && gaps[3] == since)
}

pub fn distribution(case: &Case, text: &str) -> Option<bool> {
    let so_far = if is_partial(case) { " so far" } else { "" };
    let template = format!(
        "The median update{so_far} is {{}} for attention and {{}} for the MLP; the two histograms share {{}} of their area{{}}."
    );
    let gaps = read(text, &template)?;
    let [attn, mlp] =
        [attn, mlp].map(|of| (0..case.layers()).flat_map(|layer| case.values(of, layer)).collect::<Vec<_>>());
    // The chart's own bins, counted anew.
    let table = case.figure.table();
    let mut shared = 0.0;
    for (index, row) in table.rows.iter().enumerate() {
        let edge = |cell: usize| f64::from(edge(&row[cell]) as f32);
        let (from, to) = (edge(0), edge(1));
        let last = index + 1 == table.rows.len();
        let inside = |value: &&f64| from <= **value && (**value < to || last && **value <= to);
        let share = |values: &[f64]| values.iter().filter(inside).count() as f64 / values.len() as f64;
        shared += share(&attn).min(share(&mlp));
    }
    let outlier = match gaps[3] {
        "" => None,
        words => Some(read(words, ", and the largest, {}, stretches the axis")?[0]),
    };
    let largest = most(attn.iter().chain(&mlp).copied());
    let larger = median(&attn).max(median(&mlp));
    let stretches = larger > 0.0 && largest > 15.0 * larger;
    let outlier = outlier.map_or(!stretches, |value| stretches && is_norm(value, largest));
    Some(is_norm(gaps[0], median(&attn)) && is_norm(gaps[1], median(&mlp)) && is_percent(gaps[2], shared) && outlier)
}

pub fn growth(case: &Case, text: &str) -> Option<bool> {
    let medians: Vec<(f64, f64)> = (0..case.layers())
        .map(|layer| (layer as f64 + 1.0, median(&case.values(resid, layer))))
        .filter(|(_, median)| median.is_finite())
        .collect();
    let points: Vec<(f64, f64)> =
        medians.iter().filter(|(_, median)| *median > 0.0).map(|(x, median)| (*x, median.ln())).collect();
    // Pearson's correlation and the slope, by sums of products.
    let n = points.len() as f64;
    let sum = |of: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>();
    let (x, y) = (sum(&|p| p.0) / n, sum(&|p| p.1) / n);
    let (xx, yy) = (sum(&|p| (p.0 - x) * (p.0 - x)), sum(&|p| (p.1 - y) * (p.1 - y)));
    let xy = sum(&|p| (p.0 - x) * (p.1 - y));
    let (factor, squared) = ((xy / xx).exp(), if yy < 1e-12 { 1.0 } else { xy * xy / xx / yy });
    let bad = "The median stream has no single rate of growth: it goes from {} after layer {} to {} after layer {}, and a straight line on this axis fits badly (R² = {}).";
    if let Some(gaps) = read(text, bad) {
        let (first, last) = (medians.first()?, medians.last()?);
        let from = is_norm(gaps[0], first.1) && number(gaps[1]) == first.0;
        let to = is_norm(gaps[2], last.1) && number(gaps[3]) == last.0;
        return Some(from && to && squared < 0.9 + 1e-9 && is_fixed(gaps[4], squared, 2));
    }
    let rate = |subject: &str| {
        read(
            text,
            &format!(
                "The median stream {subject} {{}} per layer (95 % interval {{}} to {{}}, fitted over {{}} layers)."
            ),
        )
    };
    let numbers = |gaps: &[&str]| {
        let [said, low, high, layers] = [0, 1, 2, 3].map(|gap| number(gaps[gap]));
        let fitted = is_fixed(gaps[0], factor, 3) && layers == n && squared > 0.9 - 1e-9;
        (fitted && low <= said && said <= high).then_some((low, high))
    };
    if let Some(gaps) = rate("grows by a factor of") {
        return Some(factor > 1.0 && numbers(&gaps).is_some_and(|(low, _)| low >= 1.0));
    }
    if let Some(gaps) = rate("shrinks by a factor of") {
        return Some(factor < 1.0 && numbers(&gaps).is_some_and(|(_, high)| high <= 1.0));
    }
    let gaps = rate("neither clearly grows nor shrinks: a factor of")?;
    Some(numbers(&gaps).is_some_and(|(low, high)| low <= 1.0 && high >= 1.0))
}

/// "layer 3's attention": the mean of the measure there.
fn mean_of(case: &Case, name: &str) -> Option<f64> {
    let gaps = read(name, "layer {}'s {}")?;
    let ratio = case.chart == ChartName::Relative;
    let of = |sequence: &Sequence, cell: usize| match (gaps[1], ratio) {
        ("attention", true) => sequence.attn_norm[cell] / sequence.resid_pre_norm[cell],
        ("attention", false) => sequence.attn_cos[cell],
        ("MLP", true) => sequence.mlp_norm[cell] / sequence.resid_mid_norm[cell],
        ("MLP", false) => sequence.mlp_cos[cell],
        (other, _) => panic!("{other:?} is no sub-layer"),
    };
    Some(mean(&case.values(of, block(gaps[0]))))
}

pub fn measure(case: &Case, text: &str) -> Option<bool> {
    let relative = "The largest relative update is that of {}: {} times the stream's length on average; the smallest is that of {}: {} times.";
    let adds = |word: &str| {
        let template =
            format!("On average {{}} adds most along the stream (cosine {{}}), and {{}} {word} (cosine {{}}).");
        Some((read(text, &template)?, Some(word == "erases most")))
    };
    let none = "On average no update adds along the stream: the highest cosine is that of {} ({}), the lowest that of {} ({}).";
    let plain = read(text, relative).or_else(|| read(text, none)).map(|gaps| (gaps, None));
    let (gaps, erases) = plain.or_else(|| adds("erases most")).or_else(|| adds("least"))?;
    let names =
        (0..case.layers()).flat_map(|layer| ["attention", "MLP"].map(|kind| format!("layer {}'s {kind}", layer + 1)));
    let all: Vec<f64> = names.filter_map(|name| mean_of(case, &name)).filter(|mean| mean.is_finite()).collect();
    let (highest, lowest) = (mean_of(case, gaps[0])?, mean_of(case, gaps[2])?);
    let ends = all.iter().all(|mean| *mean <= highest && *mean >= lowest);
    let words = match erases {
        Some(erases) => highest > 0.0 && erases == (lowest < 0.0),
        None => case.chart == ChartName::Relative || highest <= 0.0,
    };
    Some(ends && words && is_norm(gaps[1], highest) && is_norm(gaps[3], lowest))
}

pub fn heads(case: &Case, text: &str) -> Option<bool> {
    let gaps = read(text, "Head {} of layer {} writes most: {}.")?;
    let mean_of = |layer: usize, head: usize| {
        let of = |sequence: &Sequence, cell: usize| {
            let t = sequence.ids.len();
            sequence.head_norm.as_ref().unwrap()[(layer * crate::traces::HEADS + head) * t + cell % t]
        };
        mean(&case.values(of, 0))
    };
    let all = (0..case.layers()).flat_map(|layer| (0..crate::traces::HEADS).map(move |head| mean_of(layer, head)));
    let said = mean_of(block(gaps[1]), gaps[0].parse().ok()?);
    Some(is_norm(gaps[2], said) && most(all.filter(|mean| mean.is_finite())) == said)
}
