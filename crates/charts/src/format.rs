//! Numbers on axes and in read-outs. The words of sentences live beside the findings; both agree.

pub use trace::summary::words::{format_grouped, norm, percent, quote_token, times};

/// A token as an axis shows it: short, without its leading space; what cannot be seen as a sign.
pub fn token_label(token: &str) -> String {
    let visible = token.trim_matches(' ');
    if visible.is_empty() {
        return "␣".repeat(token.chars().count().clamp(1, 4));
    }
    let sign = |c: char| match c {
        '\n' | '\r' => '↵',
        '\t' => '⇥',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    visible.chars().map(sign).collect()
}

/// A probability: "53.7 %", "0.012 %".
pub fn probability(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        p if !p.is_finite() => "–".to_owned(),
        p if p >= 9.95 => format!("{p:.1} %"),
        p if p >= 0.1 => format!("{p:.2} %"),
        p if p >= 0.001 => format!("{p:.3} %"),
        _ => "under 0.001 %".to_owned(),
    }
}

/// Decimals needed to tell multiples of `step` apart: 0 for 5, 1 for 0.5, 2 for 0.25.
pub fn decimals_of(step: f64) -> usize {
    if !step.is_finite() || step <= 0.0 {
        return 0;
    }
    let mut decimals = 0;
    let mut scaled = step;
    while decimals < 12 && (scaled - scaled.round()).abs() > 1e-6 * scaled.max(1e-9) {
        scaled *= 10.0;
        decimals += 1;
    }
    decimals
}

/// A tick's label: as many decimals as its step needs; powers of ten where the number would be long.
pub fn tick(value: f64, step: f64) -> String {
    if value != 0.0 && (value.abs() >= 1e7 || step.abs() < 1e-5) {
        return format!("{value:e}").replace('-', "−");
    }
    format_grouped(value, decimals_of(step))
}

/// "12.0–14.0": a bin's range, with the decimals that its width needs.
pub fn range(from: f64, to: f64) -> String {
    let width = (to - from).abs();
    if !(1e-5..1e7).contains(&width) || from.abs().max(to.abs()) >= 1e7 {
        return format!("{}–{}", norm(from), norm(to));
    }
    // Two digits of the width, so that neighbouring edges differ also when the width is not a round number.
    let exact = decimals_of(width);
    let decimals = exact.min((1 - width.log10().floor() as i32).max(0) as usize);
    format!("{}–{}", format_grouped(from, decimals), format_grouped(to, decimals))
}

/// A bin's width: "2", "0.05", or three digits where it is no round number.
pub fn width(width: f64) -> String {
    let decimals = decimals_of(width);
    if decimals <= 3 && (1e-3..1e7).contains(&width) { format_grouped(width, decimals) } else { norm(width) }
}

/// "19.9 ± 2.8": a mean and its standard deviation, the spread with the mean's decimals.
pub fn mean_std(mean: f64, std: f64) -> String {
    let mean_text = norm(mean);
    if mean_text.contains('e') || !std.is_finite() {
        return format!("{mean_text} ± {}", norm(std));
    }
    let decimals = mean_text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    format!("{mean_text} ± {}", format_grouped(std, decimals))
}

/// An f32 as the f64 that prints the same: 0.1, not 0.10000000149011612.
pub fn shortest(value: f32) -> f64 {
    let exact = f64::from(value);
    if value == 0.0 || !value.is_finite() {
        return exact;
    }
    // Nine digits tell any two f32 apart; powers of ten up to 22 are exact.
    let magnitude = exact.abs().log10().floor() as i32;
    let rounded = (0..9).map(|digits| {
        let places = digits - magnitude;
        let scale = 10_f64.powi(places.abs());
        if places < 0 { (exact / scale).round() * scale } else { (exact * scale).round() / scale }
    });
    rounded.into_iter().find(|candidate| *candidate as f32 == value).unwrap_or(exact)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_the_decimals_they_need() {
        assert_eq!([5.0, 0.5, 0.25, 100.0].map(decimals_of), [0, 1, 2, 0]);
        assert_eq!(tick(2.5, 0.5), "2.5");
        assert_eq!(tick(2.0, 0.5), "2.0");
        assert_eq!(tick(3000.0, 500.0), "3,000");
        assert_eq!(tick(2e8, 1e8), "2e8");
        assert_eq!(range(12.0, 14.0), "12.0–14.0".replace(".0", ""));
        assert_eq!(range(12.5, 13.0), "12.5–13.0");
        assert_eq!(range(1.0, 1.3333), "1.00–1.33");
        assert_eq!([width(2.0), width(0.05), width(1.234_567)], ["2", "0.05", "1.23"]);
        assert_eq!(mean_std(19.93, 2.84), "19.9 ± 2.8");
        assert_eq!(mean_std(f64::NAN, f64::NAN), "– ± –");
        assert_eq!(shortest(0.1), 0.1);
    }
}
