//! The inputs that are kept: `tests/corpus/TARGET.jsonl`, a line each, a JSON string whose characters U+0000 to U+00FF are
//! the bytes. Some were written by hand; the others reach code that those didn't, or broke a promise once.

use std::path::Path;

/// All inputs of a target.
pub(crate) fn inputs(target: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/corpus/{target}.jsonl"));
    let lines = std::fs::read_to_string(path).expect("a file of the corpus");
    lines.lines().map(bytes).collect()
}

fn bytes(line: &str) -> Vec<u8> {
    let text: String = serde_json::from_str(line).expect("a JSON string");
    let byte = |c: char| u8::try_from(c).expect("a character below U+0100");
    text.chars().map(byte).collect()
}
