//! How numbers and tokens read inside a sentence. Charts use the same, so that page and chart agree.

/// A norm in activation units: three significant digits, thousands grouped: `0.0123`, `4.12`, `41.2`, `3,001`.
/// A value that is not finite reads "–".
pub fn norm(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let size = value.abs();
    if size == 0.0 {
        "0".to_owned()
    } else if !(1e-4..1e7).contains(&size) {
        signed(format!("{value:.2e}"))
    } else {
        let decimals = if size >= 99.95 { 0 } else { (2 - size.log10().floor() as i32).max(0) as usize };
        // 9.996 has two decimals by its logarithm and would read 10.00.
        let text = format!("{value:.decimals$}");
        let digits = text.chars().filter(char::is_ascii_digit).skip_while(|digit| *digit == '0').count();
        match digits > 3 && decimals > 0 {
            true => format_grouped(value, decimals - 1),
            false => format_grouped(value, decimals),
        }
    }
}

/// A number with so many decimals, thousands grouped by commas, a real minus sign.
pub fn format_grouped(value: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", value.abs());
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(whole, part)| (whole, Some(part)));
    let mut out = String::new();
    // A value that rounds to zero has no sign.
    if value < 0.0 && text.chars().any(|digit| ('1'..='9').contains(&digit)) {
        out.push('−');
    }
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

fn signed(text: String) -> String {
    text.replace('-', "−")
}

/// A share: `0.537` reads "54 %". One that is not zero never reads "0 %", one that is not all never "100 %"; one that is
/// not finite reads "–".
pub fn percent(share: f64) -> String {
    /// Sums of shares that are all of it miss 1 by their rounding.
    const ROUNDING: f64 = 1e-9;
    match share {
        share if !share.is_finite() => "–".to_owned(),
        share if share > 0.0 && share < 0.005 => "under 1 %".to_owned(),
        share if (0.995..1.0 - ROUNDING).contains(&share) => "over 99 %".to_owned(),
        share => format!("{} %", format_grouped(share * 100.0, 0)),
    }
}

/// A factor: "1.4 times", "48 times", "3,001 times", "under 0.001 times", "2.00e12 times".
pub fn times(factor: f64) -> String {
    if factor > 0.0 && factor < 0.0005 {
        return "under 0.001 times".to_owned();
    }
    if factor.abs() >= 1e7 {
        return format!("{} times", norm(factor));
    }
    let decimals = if factor >= 9.95 {
        0
    } else if factor >= 0.095 {
        1
    } else {
        3
    };
    format!("{} times", format_grouped(factor, decimals))
}

/// A token inside a sentence: in quotation marks, its leading space kept, line ends and tabs as signs,
/// other control characters as U+FFFD, cut after 24 characters.
pub fn quote_token(token: &str) -> String {
    const LONGEST: usize = 24;
    let shown = |c: char| match c {
        '\n' => '↵',
        '\r' => '␍',
        '\t' => '⇥',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    let mut text: String = token.chars().take(LONGEST).map(shown).collect();
    if token.chars().count() > LONGEST {
        text.push('…');
    }
    format!("“{text}”")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        for (value, expected) in [
            (0.0, "0"),
            (41.23, "41.2"),
            (9.996, "10.0"),
            (99.96, "100"),
            (99.94, "99.9"),
            (0.012_345, "0.0123"),
            (3001.4, "3,001"),
            (1_234_567.0, "1,234,567"),
            (-5.0, "−5.00"),
            (f64::NAN, "–"),
            (2.5e8, "2.50e8"),
            (3e-7, "3.00e−7"),
            (0.000_999_9, "0.00100"),
        ] {
            assert_eq!(norm(value), expected, "words.rs: norm({value})");
        }
        assert_eq!(format_grouped(-0.0004, 2), "0.00");
        assert_eq!(
            [times(3.12), times(48.4), times(0.4), times(9.96)],
            ["3.1 times", "48 times", "0.4 times", "10 times"]
        );
        assert_eq!([percent(0.537), percent(0.001), percent(0.0)], ["54 %", "under 1 %", "0 %"]);
        assert_eq!([percent(0.998), percent(1.0 - 1e-12), percent(f64::NAN)], ["over 99 %", "100 %", "–"]);
        assert_eq!([percent(-0.05), percent(12.0)], ["−5 %", "1,200 %"]);
        assert_eq!([times(0.0001), times(0.0), times(2e12)], ["under 0.001 times", "0.000 times", "2.00e12 times"]);
    }

    #[test]
    fn tokens_are_quoted_with_their_spaces_and_without_control_characters() {
        assert_eq!(quote_token(" girl"), "“ girl”");
        assert_eq!(quote_token("\n\t\u{0}"), "“↵⇥\u{fffd}”");
        assert_eq!(quote_token(&"é".repeat(30)), format!("“{}…”", "é".repeat(24)));
    }
}
