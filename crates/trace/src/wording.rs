//! What a reader of JSON or of options objects to, in words that need no knowledge of Rust; and the name that was meant
//! where an unknown one is given.

/// A value that is quoted may be a whole file.
const LONGEST: usize = 80;

/// What serde says, in everybody's words: `expected a number, found the text "x"`.
pub fn in_words(why: &str) -> String {
    let why = why.trim_start_matches("Error: ");
    let why = why.rsplit_once(" at line ").map_or(why, |(why, _)| why);
    if let Some(rest) = why.strip_prefix("invalid type: ").or(why.strip_prefix("invalid value: ")) {
        let (found, expected) = rest.rsplit_once(", expected ").unwrap_or((rest, "something else"));
        return format!("expected {}, found {}", kind(expected), value(found));
    }
    if let Some((length, expected)) =
        why.strip_prefix("invalid length ").and_then(|rest| rest.split_once(", expected "))
    {
        return format!("expected {}, found a list of {length}", kind(expected));
    }
    if let Some(field) = why.strip_prefix("missing field ") {
        return format!("{} is missing", field.trim_matches('`'));
    }
    if let Some(rest) = why.strip_prefix("unknown variant ") {
        let (found, known) = rest.rsplit_once(", expected ").unwrap_or((rest, "something else"));
        return format!("expected {}, found \"{}\"", known.replace('`', "\""), shortened(found.trim_matches('`')));
    }
    if why.starts_with("data did not match any variant") {
        return "expected a token's id or its text".to_owned();
    }
    shortened(why)
}

/// What serde expects, named as JSON names it.
fn kind(expected: &str) -> &str {
    match expected {
        "f32" | "f64" => "a number",
        "u32" | "u64" | "usize" => "a whole number from 0",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a string" => "a text",
        "a tuple of size 2" | "an array of length 2" => "a list of two whole numbers from 0",
        other if other.starts_with("struct ") => "an object",
        other => other,
    }
}

/// What serde found, named as JSON names it, and shortened.
fn value(found: &str) -> String {
    let kinds = [
        ("unit value", "null"),
        ("map", "an object"),
        ("sequence", "a list"),
        ("JsValue(", "something else"),
        ("boolean ", ""),
        ("integer ", ""),
        ("floating point ", ""),
        ("string ", "the text "),
    ];
    let known = kinds.iter().find_map(|(kind, word)| Some((*word, found.strip_prefix(kind)?)));
    let Some((word, rest)) = known else { return shortened(found) };
    if word == "something else" {
        return word.to_owned();
    }
    let rest = rest.trim_matches('`');
    // JavaScript has one kind of number.
    let rest = if word.is_empty() { rest.strip_suffix(".0").unwrap_or(rest) } else { rest };
    format!("{word}{}", shortened(rest))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The known name that an unknown one is nearest to, if one is near.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name = name.to_ascii_lowercase();
    let away = |known: &&&str| distance(&name, &known.to_ascii_lowercase());
    let best = known.iter().min_by_key(away)?;
    let most = if name.len() < 4 { 1 } else { 2 };
    let begins = || known.iter().find(|known| name.len() > 2 && known.to_ascii_lowercase().starts_with(&name));
    if away(&best) <= most { Some(best) } else { begins().copied() }
}

/// Letters to put in, take out or change (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, c) in a.chars().take(LONGEST).enumerate() {
        let mut corner = i;
        let mut left = i + 1;
        for (cell, other) in row.iter_mut().skip(1).zip(&b) {
            let above = *cell;
            left = (corner + usize::from(c != *other)).min(above + 1).min(left + 1);
            corner = above;
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serdes_sentences_lose_their_rust() {
        for (why, said) in [
            ("Error: invalid type: floating point `-1.0`, expected usize", "expected a whole number from 0, found -1"),
            ("invalid type: floating point `1.5`, expected usize", "expected a whole number from 0, found 1.5"),
            ("invalid value: integer `-1`, expected u32", "expected a whole number from 0, found -1"),
            (
                "invalid type: string \"x\", expected a boolean at line 3 column 8",
                "expected true or false, found the text \"x\"",
            ),
            ("invalid type: map, expected a sequence", "expected a list, found an object"),
            ("invalid type: unit value, expected struct Head", "expected an object, found null"),
            ("invalid length 0, expected struct Entry with 3 elements", "expected an object, found a list of 0"),
            ("missing field `layer`", "layer is missing"),
            (
                "unknown variant `all`, expected one of `attn`, `mlp`",
                "expected one of \"attn\", \"mlp\", found \"all\"",
            ),
            ("data did not match any variant of untagged enum TokenRef", "expected a token's id or its text"),
            (
                "invalid type: JsValue(Object({})), expected usize",
                "expected a whole number from 0, found something else",
            ),
        ] {
            assert_eq!(in_words(why), said, "wording.rs: {why}");
        }
        let long = in_words(&format!("invalid type: string \"{}\", expected f32", "x".repeat(5000)));
        assert!(long.len() < 200, "wording.rs: {long}");
    }

    #[test]
    fn the_name_that_was_meant() {
        let known = ["heads", "lens", "workers", "width", "height", "onProgress", "topK", "predictions"];
        for (name, meant) in [
            ("head", Some("heads")),
            ("worker", Some("workers")),
            ("widht", Some("width")),
            ("onprogress", Some("onProgress")),
            ("top_k", Some("topK")),
            ("pred", Some("predictions")),
            ("lenz", Some("lens")),
            ("colour", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, &known), meant, "wording.rs: {name}");
        }
    }
}
