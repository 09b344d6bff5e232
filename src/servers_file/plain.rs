//! JSON with comments and trailing commas, as editors write it, made plain.

/// The same text without comments and without commas before a closing bracket; what stands in strings is left alone.
/// Line ends stay where they are, so that the place of a mistake is still right.
pub(super) fn json(text: &str) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut out = String::with_capacity(text.len());
    // Where in `out` a comma stands that only white space has followed so far.
    let mut comma = None;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' => {
                comma = None;
                out.push(c);
                while let Some(inside) = rest.next() {
                    out.push(inside);
                    match inside {
                        '\\' => out.extend(rest.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '/' if rest.peek() == Some(&'/') => {
                while rest.peek().is_some_and(|c| *c != '\n') {
                    rest.next();
                }
            }
            '/' if rest.peek() == Some(&'*') => {
                rest.next();
                let mut last = ' ';
                for inside in rest.by_ref() {
                    if inside == '\n' {
                        out.push(inside);
                    }
                    if last == '*' && inside == '/' {
                        break;
                    }
                    last = inside;
                }
            }
            ',' => {
                comma = Some(out.len());
                out.push(c);
            }
            ']' | '}' => {
                if let Some(at) = comma.take() {
                    out.replace_range(at..=at, " ");
                }
                out.push(c);
            }
            c if c.is_whitespace() => out.push(c),
            c => {
                comma = None;
                out.push(c);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::json;

    #[test]
    fn only_what_json_lacks_is_taken_out() {
        for (written, plain) in [
            (r#"{"a": "//b, }", "c": 1}"#, r#"{"a": "//b, }", "c": 1}"#),
            ("[1, // one\n 2,\n]", "[1, \n 2 \n]"),
            ("{/* a\nb */}", "{\n}"),
            (r#"["\"//", ]"#, r#"["\"//"  ]"#),
            ("[1,,2]", "[1,,2]"),
        ] {
            assert_eq!(json(written), plain);
        }
    }
}
