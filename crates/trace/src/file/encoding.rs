//! From a file's bytes to its text, whatever wrote it: Windows' editors put a byte order mark before UTF-8, and PowerShell 5
//! writes UTF-16.

use std::borrow::Cow;

/// The text in a file: UTF-8, with or without a byte order mark, or UTF-16 with one.
///
/// # Errors
/// What else it is.
pub fn text(bytes: &[u8]) -> Result<Cow<'_, str>, String> {
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        _ => utf8(bytes),
    }
}

fn utf8(bytes: &[u8]) -> Result<Cow<'_, str>, String> {
    let text = std::str::from_utf8(bytes);
    text.map(Cow::Borrowed).map_err(|why| format!("byte {} is no text in UTF-8", why.valid_up_to()))
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<Cow<'static, str>, String> {
    let (units, rest) = bytes.as_chunks::<2>();
    let text = char::decode_utf16(units.iter().map(|bytes| unit(*bytes))).collect::<Result<String, _>>();
    match text {
        Ok(text) if rest.is_empty() => Ok(Cow::Owned(text)),
        _ => Err("it is no text in UTF-16, though it begins like one".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_three_encodings_are_understood_and_left_out() {
        let expected = "{\"text\": \"é中\u{1F600}\"}";
        let utf16 = |mark: [u8; 2], bytes: fn(u16) -> [u8; 2]| {
            mark.into_iter().chain(expected.encode_utf16().flat_map(bytes)).collect::<Vec<u8>>()
        };
        for bytes in [
            expected.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", expected.as_bytes()].concat(),
            utf16([0xff, 0xfe], u16::to_le_bytes),
            utf16([0xfe, 0xff], u16::to_be_bytes),
        ] {
            assert_eq!(text(&bytes).unwrap(), expected, "encoding.rs: {bytes:?}");
        }
        assert_eq!(text(b"").unwrap(), "");
        assert!(text(b"ab\xff").unwrap_err().contains("byte 2"));
        for torn in [&b"\xff\xfea"[..], b"\xff\xfe\x00\xd8", b"\xfe\xff\xdc\x00\x00a"] {
            assert!(text(torn).unwrap_err().contains("UTF-16"), "encoding.rs: {torn:?}");
        }
    }
}
