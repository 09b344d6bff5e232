//! What a text must keep to be taken in as a value, and its form on one line.

use super::{InvalidJson, MAX_DEPTH};

/// How deep arrays and objects nest in a JSON text.
#[must_use]
pub fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for &byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Checks a text, which must be valid JSON, and counts the white space between its tokens.
pub(super) fn check(text: &str) -> Result<usize, InvalidJson> {
    let (mut depth, mut in_string, mut escaped, mut spaces) = (0_usize, false, false, 0_usize);
    let (mut escapes, mut digits) = (false, 0_usize);
    for (at, byte) in text.bytes().enumerate() {
        if in_string {
            match byte {
                b'u' if escaped => (escaped, escapes) = (false, true),
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        let after_digit = digits > 0;
        digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
        match byte {
            b'"' => in_string = true,
            b'e' | b'E' if after_digit => check_number(text, at)?,
            b'0'..=b'9' if digits == DOUBLE_DIGITS => check_number(text, at)?,
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(InvalidJson::TooDeep);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b' ' | b'\t' | b'\n' | b'\r' => spaces += 1,
            _ => {}
        }
    }
    // Few texts hold any, so the others don't pay for the look.
    if escapes {
        check_pairs(text)?;
    }
    Ok(spaces)
}

/// Copies a valid text without the white space between its tokens.
pub(super) fn compact(text: &str, spaces: usize) -> String {
    let mut out = String::with_capacity(text.len() - spaces);
    let (mut in_string, mut escaped) = (false, false);
    out.extend(text.chars().filter(|&c| {
        if in_string {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => in_string = false,
                _ => {}
            }
            return true;
        }
        in_string = c == '"';
        !matches!(c, ' ' | '\t' | '\n' | '\r')
    }));
    out
}

/// Digits in a row from which on a number may be too large for a double.
const DOUBLE_DIGITS: usize = 309;

/// Refuses escapes of half a character: a high surrogate without a low one right behind it, a low one without.
fn check_pairs(text: &str) -> Result<(), InvalidJson> {
    let mut rest = text;
    // In valid JSON a backslash begins an escape, of a unit or of one character.
    while let Some(at) = rest.find('\\') {
        rest = &rest[at..];
        let length = match escaped_unit(rest) {
            None => 2,
            Some(0xD800..=0xDBFF) if is_low(&rest[6..]) => 12,
            Some(0xD800..=0xDFFF) => return Err(InvalidJson::HalfCharacter(rest[..6].to_owned())),
            Some(_) => 6,
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(())
}

fn is_low(text: &str) -> bool {
    matches!(escaped_unit(text), Some(0xDC00..=0xDFFF))
}

/// The UTF-16 unit that a text begins with as an escape.
fn escaped_unit(text: &str) -> Option<u16> {
    u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok()
}

/// Refuses the number around a place where it is too large for a double.
fn check_number(text: &str, at: usize) -> Result<(), InvalidJson> {
    let is_part = |c: char| matches!(c, '0'..='9' | '.' | '+' | '-' | 'e' | 'E');
    let start = text[..at].trim_end_matches(is_part).len();
    let end = text.len() - text[at..].trim_start_matches(is_part).len();
    let number = &text[start..end];
    if number.parse::<f64>().is_ok_and(f64::is_finite) {
        return Ok(());
    }
    Err(InvalidJson::HugeNumber(number.chars().take(20).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Json;

    #[test]
    fn white_space_between_tokens_goes_and_strings_stay() {
        let json = Json::parse(" { \"a b\" :\n [ 1 ,\r\n \"x \\\" y\" ] } ");
        assert_eq!(
            json.map(|j| j.as_str().to_owned()),
            Ok(r#"{"a b":[1,"x \" y"]}"#.to_owned())
        );
    }

    #[test]
    fn depth_is_bounded() {
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(Json::parse(&deep(MAX_DEPTH)).is_ok());
        assert_eq!(Json::parse(&deep(MAX_DEPTH + 1)), Err(InvalidJson::TooDeep));
    }

    #[test]
    fn what_the_grammar_allows_and_listeners_cannot_read_is_refused() {
        for good in [
            r#""\ud83d\ude00""#,
            r#""\uD83D\uDE00 and \u00e9""#,
            r#""\\ud800""#,
            r#"{"\ud83d\ude00":["\ud83d\ude00\ud83d\ude00"]}"#,
            "[1e308,-1e308,1e-999,12e3,true,false]",
            r#""1e999""#,
        ] {
            assert!(Json::parse(good).is_ok(), "{good}");
            assert!(
                serde_json::from_str::<serde_json::Value>(good).is_ok(),
                "{good}"
            );
        }
        for (bad, half) in [
            (r#""\ud800""#, "\\ud800"),
            (r#""x\udc00""#, "\\udc00"),
            (r#""\ud83dx\ude00""#, "\\ud83d"),
            (r#""\ud83d\n""#, "\\ud83d"),
            (r#""\ud83d\ud83d\ude00""#, "\\ud83d"),
            (r#""\ud83d\u0041""#, "\\ud83d"),
            (r#"{"\udfff":1}"#, "\\udfff"),
        ] {
            assert_eq!(
                Json::parse(bad),
                Err(InvalidJson::HalfCharacter(half.to_owned())),
                "{bad}"
            );
        }
        let long = "9".repeat(400);
        for bad in ["1e999", "[-1E+400]", "1.5e309", long.as_str()] {
            assert!(
                matches!(Json::parse(bad), Err(InvalidJson::HugeNumber(_))),
                "{bad}"
            );
        }
    }
}
