//! The classes of characters that GPT-2's pattern is made of, against the `regex` crate's tables.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests end by panicking, their helpers too")]

use regex::Regex;
use residual_stream::model::tokenizer::letters::is_letter;

/// Characters where a class of ours differs from one of `regex`, among those that both versions of Unicode have.
fn differing(class: &str, ours: fn(char) -> bool) -> Vec<char> {
    let (theirs, unassigned) = (Regex::new(class).unwrap(), Regex::new(r"\p{Cn}").unwrap());
    let differs = |character: &char| {
        let text = character.encode_utf8(&mut [0; 4]).to_string();
        theirs.is_match(&text) != ours(*character) && !unassigned.is_match(&text)
    };
    ('\0'..=char::MAX).filter(differs).collect()
}

#[test]
fn letters_numbers_and_white_space_are_unicodes() {
    for (class, ours) in
        [(r"\p{L}", is_letter as fn(char) -> bool), (r"\p{N}", char::is_numeric), (r"\s", char::is_whitespace)]
    {
        assert_eq!(differing(class, ours), [], "letters.rs: {class}");
    }
}

#[test]
fn the_table_of_letters_is_the_newest() {
    let letter = Regex::new(r"\p{L}").unwrap();
    let (mut edges, mut before, mut inside) = (Vec::new(), 0, false);
    for character in '\0'..=char::MAX {
        if letter.is_match(character.encode_utf8(&mut [0; 4])) != inside {
            edges.push(u32::from(character) - before);
            (before, inside) = (u32::from(character), !inside);
        }
    }
    let newest =
        ('\0'..=char::MAX).all(|character| letter.is_match(character.encode_utf8(&mut [0; 4])) == is_letter(character));
    assert!(newest, "letters.rs: Unicode has letters that the table has not; EDGES should be {edges:?}");
}
