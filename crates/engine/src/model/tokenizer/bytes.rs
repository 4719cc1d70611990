//! GPT-2's way to write bytes as printable characters, in which its vocabularies are kept: `Ġ` is a space.
//! Must never know: tokens, files.

/// The character that stands for a byte: itself where it is printable in Latin-1, else one from U+0100 on.
pub fn to_char(byte: u8) -> char {
    let code = match u32::from(byte) {
        code @ ..=0x20 => 0x100 + code,
        code @ 0x7f..=0xa0 => 0x121 - 0x7f + code,
        0xad => 0x143,
        code => code,
    };
    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The byte that a character stands for.
fn of_char(character: char) -> Option<u8> {
    let byte = match u32::from(character) {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => code,
        code @ 0x100..=0x120 => code - 0x100,
        code @ 0x121..=0x142 => code - (0x121 - 0x7f),
        0x143 => 0xad,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

/// Whether all of a token's characters stand for bytes.
pub fn is_bytes(token: &str) -> bool {
    token.chars().all(|character| of_char(character).is_some())
}

/// The bytes that a token stands for; where one of its characters stands for none, the text as it is, in UTF-8.
pub fn of_token(token: &str, into: &mut Vec<u8>) {
    let begin = into.len();
    for character in token.chars() {
        let Some(byte) = of_char(character) else {
            into.truncate(begin);
            return into.extend_from_slice(token.as_bytes());
        };
        into.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_character_of_its_own_that_leads_back_to_it() {
        for byte in 0..=255 {
            let mut back = Vec::new();
            of_token(&to_char(byte).to_string(), &mut back);
            assert_eq!(back, [byte], "bytes.rs: {byte:#x} is written {:?}", to_char(byte));
        }
        assert_eq!([b' ', b'\n', b'a', 0xff].map(to_char), ['Ġ', 'Ċ', 'a', 'ÿ'], "bytes.rs: as in GPT-2's vocabulary");
    }
}
