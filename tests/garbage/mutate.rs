//! Mutations: some know what JSON and queries look like, some know nothing.

use super::chance::Chance;

/// What tends to break things.
const TOKENS: [&str; 40] = [
    "null",
    "true",
    "-1",
    "0",
    "1e999",
    "-0.0",
    "18446744073709551616",
    "9223372036854775807",
    "\"\"",
    "[]",
    "{}",
    "[[[[[[[[[[[[[[[[",
    "{\"a\":",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\u{1f4a5}",
    "\u{202e}",
    "\r\n",
    "\n\n",
    "\t",
    "%00",
    "%ff",
    "%0d%0a",
    "../",
    "//",
    "?",
    "&",
    "=",
    ",",
    "*",
    ":",
    "earliest",
    "\"id\":",
    "\"type\":",
    "\"dependsOn\":[\"a\"]",
    "\"status\":\"running\"",
    "server_connected",
    "2026-02-30T99:99:99Z",
    "\u{feff}",
    "'",
];

/// A changed copy, by one to four mutations; `others` lend it parts.
pub(crate) fn mutated(chance: &mut Chance, seed: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=chance.below(4) {
        mutate(chance, &mut bytes, others);
    }
    bytes
}

fn mutate(chance: &mut Chance, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    let at = chance.below(bytes.len() + 1);
    let end = (at + chance.below(12)).min(bytes.len());
    match chance.below(10) {
        0 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
        1 => drop(bytes.drain(at..end)),
        2 => {
            let part = bytes[at..end].to_vec();
            let most = if chance.one_in(50) { 5_000 } else { 8 };
            let times = 1 + chance.below(most);
            bytes.splice(at..at, part.repeat(times));
        }
        3 => bytes.truncate(at),
        4 => {
            let other = &others[chance.below(others.len())];
            let from = chance.below(other.len() + 1);
            let to = (from + chance.below(40)).min(other.len());
            bytes.splice(at..end, other[from..to].iter().copied());
        }
        5 => replace_value(chance, bytes, at),
        6 if at < bytes.len() => bytes[at] = u8::try_from(chance.below(256)).expect("a byte"),
        7 => {
            let number = chance.between(i64::MIN / 4, i64::MAX / 4) >> chance.below(62);
            bytes.splice(at..end, number.to_string().into_bytes());
        }
        _ => {
            let token = chance.word(&TOKENS);
            bytes.splice(at..end, token.bytes());
        }
    }
}

/// Puts a token in the place of a string or number, so that what is left is often JSON still.
fn replace_value(chance: &mut Chance, bytes: &mut Vec<u8>, at: usize) {
    let Some(colon) = bytes[at..].iter().position(|byte| *byte == b':') else {
        return;
    };
    let from = at + colon + 1;
    let length = bytes[from..]
        .iter()
        .position(|byte| b",]}&".contains(byte))
        .unwrap_or(bytes.len() - from);
    let token = chance.word(&TOKENS);
    bytes.splice(from..from + length, token.bytes());
}
