//! Texts as lines, one each: how the text box, a link and the embed's `text` hold several, and how a line holds any text.
//!
//! Inside a text, a line end is written `↵` and a carriage return `␍`; `␂` stands for nothing, and begins a text that would
//! not be seen otherwise, as one of white space alone. A backslash before one of the three means the sign itself: of n
//! backslashes before it every two mean one, and one that is left over is the sign's. All other backslashes are plain. White
//! space belongs to its text, at the end too; a line of nothing else is no text.
//! Must never know: the DOM, models.

/// A line end inside a text.
pub const LINE_END: char = '↵';
const CARRIAGE_RETURN: char = '␍';
const NOTHING: char = '␂';

fn is_sign(c: char) -> bool {
    matches!(c, LINE_END | CARRIAGE_RETURN | NOTHING)
}

/// The texts in lines.
pub fn decode(lines: &str) -> Vec<String> {
    texts_of(lines, |line| line)
}

/// The texts in an attribute, whose lines an author may have indented.
pub fn decode_attribute(lines: &str) -> Vec<String> {
    texts_of(lines, str::trim_start)
}

fn texts_of(lines: &str, part: fn(&str) -> &str) -> Vec<String> {
    // A text box holds every kind of line end as \n; what comes from elsewhere is read as if it had been put there. (What
    // lies between \r and \n is an empty line.)
    let texts = lines.split(['\n', '\r']).filter(|line| !line.trim().is_empty()).map(|line| decode_line(part(line)));
    texts.filter(|text| !text.is_empty()).collect()
}

fn decode_line(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut backslashes = 0;
    for c in line.chars() {
        if c == '\\' {
            backslashes += 1;
            continue;
        }
        let (kept, is_plain) = if is_sign(c) { (backslashes / 2, backslashes % 2 == 1) } else { (backslashes, true) };
        text.extend(std::iter::repeat_n('\\', kept));
        backslashes = 0;
        match c {
            LINE_END if !is_plain => text.push('\n'),
            CARRIAGE_RETURN if !is_plain => text.push('\r'),
            NOTHING if !is_plain => {}
            c => text.push(c),
        }
    }
    text.extend(std::iter::repeat_n('\\', backslashes));
    text
}

/// Texts as lines: [`decode`] gives them back, but for empty ones.
pub fn encode<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    joined(texts, |text| text.trim().is_empty())
}

/// The same for an attribute, where [`decode_attribute`] gives them back.
pub fn encode_attribute<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    joined(texts, |text| text.starts_with(char::is_whitespace))
}

fn joined<T: AsRef<str>>(texts: impl IntoIterator<Item = T>, needs_begin: fn(&str) -> bool) -> String {
    let line = |text: T| encode_line(text.as_ref(), needs_begin);
    texts.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

fn encode_line(text: &str, needs_begin: fn(&str) -> bool) -> String {
    let mut line = String::with_capacity(text.len());
    let mut backslashes = 0;
    for c in text.chars() {
        let (sign, is_plain) = match c {
            '\n' => (LINE_END, false),
            '\r' => (CARRIAGE_RETURN, false),
            c => (c, is_sign(c)),
        };
        if sign == '\\' {
            backslashes += 1;
        } else {
            // Those before a sign are doubled, and a plain sign has one of its own.
            let more = if is_sign(sign) { backslashes + usize::from(is_plain) } else { 0 };
            line.extend(std::iter::repeat_n('\\', more));
            backslashes = 0;
        }
        line.push(sign);
    }
    if needs_begin(&line) { format!("{NOTHING}{line}") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_is_a_text_with_its_white_space() {
        assert_eq!(decode("  a \r\n\n \t\nb\t\rc\u{a0}"), ["  a ", "b\t", "c\u{a0}"]);
        assert!(decode(" \n \u{3000}").is_empty());
        assert_eq!(decode_attribute("  a \n\n    b"), ["a ", "b"]);
    }

    #[test]
    fn signs_are_line_ends_and_backslashes_make_them_signs() {
        for (line, text) in [
            ("def f(x):↵    return x↵", "def f(x):\n    return x\n"),
            ("a␍↵b", "a\r\nb"),
            (r"press \↵", "press ↵"),
            (r"a\\↵b", "a\\\nb"),
            (r"a\\\↵b", r"a\↵b"),
            (r"C:\new\ \\ x\", r"C:\new\ \\ x\"),
            ("␂  ", "  "),
            (r"\␂x", "␂x"),
            ("↵", "\n"),
        ] {
            assert_eq!(decode(line), [text], "text_lines.rs: {line:?}");
            assert_eq!(encode([text]), line, "text_lines.rs: {text:?}");
        }
        assert_eq!(encode_attribute([" a", "b "]), "␂ a\nb ");
    }

    proptest! {
        #[test]
        fn texts_come_back_as_they_were(texts in prop::collection::vec(r"[ \\\n\r\t↵␍␂a\u{a0}\u{3000}é😀]{1,12}", 0..5)) {
            prop_assert_eq!(&decode(&encode(&texts)), &texts);
            prop_assert_eq!(&decode_attribute(&encode_attribute(&texts)), &texts);
        }

        #[test]
        fn any_texts_come_back(texts in prop::collection::vec("[^\u{0}]{1,30}", 0..4)) {
            prop_assert_eq!(&decode(&encode(&texts)), &texts);
            // A text box keeps lines as they are: nothing in them is a line end of any kind.
            let line = encode(&texts);
            prop_assert!(!line.contains('\r'));
            prop_assert_eq!(line.split('\n').count(), texts.len().max(1));
        }

        #[test]
        fn what_is_read_is_written_so_that_it_reads_the_same(lines in "[ \\\\\\n↵␍␂a]{0,30}") {
            let texts: Vec<String> = decode(&lines).into_iter().filter(|text| !text.is_empty()).collect();
            prop_assert_eq!(decode(&encode(&texts)), texts);
        }
    }
}
