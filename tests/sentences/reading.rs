//! Reading sentences: what stands in the gaps of a template, and whether a number in words is a number.

use charts::Cell;

/// What stands where the template has `{}`, if the text is of this template.
pub fn read<'a>(text: &'a str, template: &str) -> Option<Vec<&'a str>> {
    let mut literals = template.split("{}");
    let mut rest = text.strip_prefix(literals.next()?)?;
    let mut gaps = Vec::new();
    let literals: Vec<&str> = literals.collect();
    for (index, literal) in literals.iter().enumerate() {
        let last = index + 1 == literals.len();
        let end = match (last, literal.is_empty()) {
            (true, _) => rest.len() - literal.len().min(rest.len()),
            (false, true) => return None,
            (false, false) => rest.find(literal)?,
        };
        if !rest.get(end..)?.starts_with(literal) {
            return None;
        }
        gaps.push(&rest[..end]);
        rest = &rest[end + literal.len()..];
    }
    rest.is_empty().then_some(gaps)
}

pub fn number(text: &str) -> f64 {
    let plain = text.replace(',', "").replace('−', "-").replace('+', "");
    plain.parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

/// Layers as readers count, to blocks.
pub fn block(text: &str) -> usize {
    text.parse::<usize>().unwrap_or_else(|_| panic!("{text:?} is no layer")) - 1
}

/// A norm has three digits.
pub fn is_norm(text: &str, value: f64) -> bool {
    (number(text) - value).abs() <= 0.0051 * value.abs()
}

/// A number with so many decimals, or a norm where those would say nothing.
pub fn is_fixed(text: &str, value: f64, decimals: i32) -> bool {
    (number(text) - value).abs() <= 0.51 * 10f64.powi(-decimals) || is_norm(text, value)
}

/// "12 %", "under 1 %", "over 99 %", or with decimals.
pub fn is_percent(text: &str, share: f64) -> bool {
    match text {
        "under 1 %" => share > 0.0 && share < 0.005,
        "over 99 %" => (0.995..1.0).contains(&share),
        "under 0.001 %" => (0.0..0.00001).contains(&share),
        _ => {
            let shown = number(text.strip_suffix(" %").unwrap_or_else(|| panic!("{text:?} is no share")));
            let decimals = text.split_once('.').map_or(0, |(_, rest)| rest.len() as i32 - 2);
            (shown - share * 100.0).abs() <= 0.5001 * 10f64.powi(-decimals)
                && (shown != 0.0 || share <= 0.0)
                && (shown != 100.0 || decimals > 0 || (share - 1.0).abs() < 1e-9)
        }
    }
}

/// "2.5 times", "under 0.001 times".
pub fn is_times(text: &str, factor: f64) -> bool {
    if text == "under 0.001 times" {
        return factor > 0.0 && factor < 0.0005;
    }
    let shown = text.strip_suffix(" times").unwrap_or_else(|| panic!("{text:?} is no factor"));
    let decimals = shown.split_once('.').map_or(0, |(_, rest)| rest.len() as i32);
    (number(shown) - factor).abs() <= 0.5001 * 10f64.powi(-decimals) || is_norm(shown, factor)
}

/// "1, 3–5" as blocks.
pub fn ranges(text: &str) -> Vec<usize> {
    let run = |run: &str| match run.split_once('–') {
        Some((from, to)) => (block(from)..=block(to)).collect::<Vec<_>>(),
        None => vec![block(run)],
    };
    text.split(", ").flat_map(run).collect()
}

pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Between the two middle values of an even number of them.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

pub fn most(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(f64::NEG_INFINITY, f64::max)
}

/// A number of a table, as it is.
pub fn edge(cell: &Cell) -> f64 {
    match cell {
        Cell::Number(value) => *value,
        other => panic!("{other:?} is no number"),
    }
}
