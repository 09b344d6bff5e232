//! The file with each stdio server behind a wrapper, and everything else as it was written: comments, order, spaces.

use std::{ops::Range, path::Path};

use super::{Entry, FileError, Kind, read};

/// What a file becomes.
#[derive(Debug, Clone, PartialEq)]
pub struct Wrapped {
    /// The file's new text.
    pub text: String,
    /// The servers that are wrapped now.
    pub wrapped: Vec<String>,
    /// Those that are left alone, and why.
    pub left: Vec<(String, String)>,
    /// Those that are asked over HTTP.
    pub http: Vec<Entry>,
}

/// Puts `timeback-events wrap … --` before the command of each stdio server that isn't wrapped already. `options` stand
/// before the `--`.
///
/// # Errors
/// [`FileError`].
pub fn wrap(text: &str, options: &[String]) -> Result<Wrapped, FileError> {
    let mut done = Wrapped {
        text: text.to_owned(),
        wrapped: Vec::new(),
        left: Vec::new(),
        http: Vec::new(),
    };
    let places = places(text);
    // From the end on, so that earlier places stay where they are.
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    for entry in read(text)? {
        let Entry { name, kind, .. } = &entry;
        let left = |why: &str| (name.clone(), why.to_owned());
        match kind {
            Kind::Http(_) => done.http.push(entry),
            Kind::Wrong(why) => done.left.push(left(why)),
            Kind::Command { command, args } => {
                if is_ours(command, args) {
                    done.left.push(left("it runs timeback-events already"));
                    continue;
                }
                let of = |member: &str| {
                    let is_it = |place: &&Place| {
                        let path: Vec<&str> = place.path.iter().map(String::as_str).collect();
                        matches!(path[..], ["mcpServers" | "servers", of, found] if of == name && found == member)
                    };
                    places.iter().rev().find(is_it)
                };
                let Some(place) = of("command") else {
                    done.left.push(left("its command isn't found in the text"));
                    continue;
                };
                let before = ["wrap".to_owned()];
                let behind = ["--".to_owned(), command.clone()];
                let words: Vec<String> = [&before[..], options, &behind]
                    .concat()
                    .iter()
                    .map(|word| serde_json::Value::from(word.as_str()).to_string())
                    .collect();
                edits.push((place.value.clone(), "\"timeback-events\"".to_owned()));
                edits.push(
                    match of("args").filter(|args| text[args.value.clone()].starts_with('[')) {
                        Some(args) => with_args(text, &args.value, &words),
                        None => {
                            let at = place.value.end;
                            let args = format!(",{}\"args\": [{}]", place.space, words.join(", "));
                            (at..at, args)
                        }
                    },
                );
                done.wrapped.push(name.clone());
            }
        }
    }
    edits.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
    for (range, new) in edits {
        done.text.replace_range(range, &new);
    }
    Ok(done)
}

/// The words at the beginning of an array, each behind the white space that its first item stands behind.
fn with_args(text: &str, array: &Range<usize>, words: &[String]) -> (Range<usize>, String) {
    let inside = &text[array.start + 1..array.end - 1];
    let space: String = inside.chars().take_while(|c| c.is_whitespace()).collect();
    let is_empty = inside.trim().is_empty();
    let between = if space.contains('\n') && !is_empty {
        format!(",{space}")
    } else {
        ", ".to_owned()
    };
    let at = array.start + 1 + if is_empty { 0 } else { space.len() };
    let end = if is_empty { "" } else { &between };
    (at..at, format!("{}{end}", words.join(&between)))
}

/// Whether a command runs this program, itself or through another.
fn is_ours(command: &str, args: &[String]) -> bool {
    let name = |word: &String| {
        let file = Path::new(word.as_str()).file_name()?.to_str()?.to_owned();
        Some(file.trim_end_matches(".exe") == "timeback-events")
    };
    let command = command.to_owned();
    let mut words = std::iter::once(&command).chain(args);
    words.any(|word| name(word) == Some(true))
}

/// A member of an object, by the names above it and its own.
struct Place {
    path: Vec<String>,
    value: Range<usize>,
    /// The white space before its name.
    space: String,
}

/// How deep servers' members lie.
const DEPTH: usize = 3;

/// All members down to the servers' own, in a text that was read already.
fn places(text: &str) -> Vec<Place> {
    let mut scan = Scan {
        text,
        at: 0,
        places: Vec::new(),
    };
    scan.skip();
    scan.value(&mut Vec::new());
    scan.places
}

struct Scan<'t> {
    text: &'t str,
    at: usize,
    places: Vec<Place>,
}

impl Scan<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    /// Passes over white space, comments and commas.
    fn skip(&mut self) {
        while let Some(c) = self.peek() {
            let rest = &self.text[self.at..];
            let length = if c.is_whitespace() || c == ',' || c == '\u{feff}' {
                c.len_utf8()
            } else if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if let Some(inside) = rest.strip_prefix("/*") {
                inside.find("*/").map_or(rest.len(), |end| end + 4)
            } else {
                return;
            };
            self.at += length;
        }
    }

    fn value(&mut self, path: &mut Vec<String>) {
        match self.peek() {
            Some('"') => self.string(),
            Some(open @ ('{' | '[')) => {
                self.at += 1;
                loop {
                    let from = self.at;
                    self.skip();
                    match self.peek() {
                        None => return,
                        Some('}' | ']') => {
                            self.at += 1;
                            return;
                        }
                        Some('"') if open == '{' => self.member(path, from),
                        Some(_) => {
                            let before = self.at;
                            self.value(path);
                            // What isn't JSON was refused before; this only keeps it from going on for ever.
                            self.at = self.at.max(before + usize::from(self.at == before));
                        }
                    }
                }
            }
            _ => {
                let rest = &self.text[self.at..];
                let ends = |c: char| ",]}/".contains(c) || c.is_whitespace();
                self.at += rest.find(ends).unwrap_or(rest.len());
            }
        }
    }

    fn member(&mut self, path: &mut Vec<String>, from: usize) {
        let before = &self.text[from..self.at];
        let blank = before.chars().rev().take_while(|c| c.is_whitespace());
        let space: String = blank.collect::<Vec<_>>().into_iter().rev().collect();
        let name = self.at;
        self.string();
        let name: String = serde_json::from_str(&self.text[name..self.at]).unwrap_or_default();
        self.skip();
        if self.peek() == Some(':') {
            self.at += 1;
        }
        self.skip();
        let start = self.at;
        path.push(name);
        self.value(path);
        if path.len() <= DEPTH {
            self.places.push(Place {
                path: path.clone(),
                value: start..self.at,
                space,
            });
        }
        path.pop();
    }

    fn string(&mut self) {
        let mut escaped = true;
        for (at, c) in self.text[self.at..].char_indices() {
            if c == '"' && !escaped {
                self.at += at + 1;
                return;
            }
            escaped = if at == 0 {
                false
            } else {
                c == '\\' && !escaped
            };
        }
        self.at = self.text.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_else_stays_as_it_was_written() {
        let text = r#"{
  // mine
  "inputs": [1,],
  "mcpServers": {
    "git": {
      "command": "uvx", /* fast */
      "args": [
        "mcp-server-git",
        "--repo=//x \"}"
      ],
      "env": {"K": "${K}"}
    },
    "bare": { "command": "C:\\srv.exe" },
    "flat": {"args": ["a", "b"], "command": "x"},
    "none": {"command": "y", "args": []},
    "done": {"command": "/opt/timeback-events", "args": ["wrap", "--", "z"]},
    "far": {"url": "https://mcp.example/mcp"},
  },
}
"#;
        let expected = text
            .replace("\"command\": \"uvx\"", "\"command\": \"timeback-events\"")
            .replace(
                "        \"mcp-server-git\"",
                "        \"wrap\",\n        \"--\",\n        \"uvx\",\n        \"mcp-server-git\"",
            )
            .replace(
                r#"{ "command": "C:\\srv.exe" }"#,
                r#"{ "command": "timeback-events", "args": ["wrap", "--", "C:\\srv.exe"] }"#,
            )
            .replace(
                r#"{"args": ["a", "b"], "command": "x"}"#,
                r#"{"args": ["wrap", "--", "x", "a", "b"], "command": "timeback-events"}"#,
            )
            .replace(
                r#"{"command": "y", "args": []}"#,
                r#"{"command": "timeback-events", "args": ["wrap", "--", "y"]}"#,
            );
        let done = wrap(text, &[]).unwrap();
        assert_eq!(done.text, expected);
        assert_eq!(done.wrapped, ["git", "bare", "flat", "none"]);
        assert_eq!(done.left[0].0, "done");
        assert_eq!(done.http[0].name, "far");
        let again = wrap(&done.text, &[]).unwrap();
        assert_eq!(again.text, done.text, "wrapped entries are left alone");
        let mut at = 0;
        for kind in read(&done.text).unwrap() {
            at += usize::from(matches!(kind.kind, Kind::Command { .. }));
        }
        assert_eq!(at, 5);
    }
}
