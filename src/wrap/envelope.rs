//! Who a line of JSON-RPC is from: its id, its method, and whether it answers. Read byte by byte, so that a line
//! of any length costs a few hundred bytes of memory; what stands inside `params` or `result` is skipped.
//!
//! This is deliberately no validation: the line has gone its way already, and whatever isn't JSON-RPC is simply
//! not understood.

/// What stands at the top of one message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Envelope {
    /// The id as it is written, quotes included, so that `1` and `"1"` differ.
    pub(super) id: Option<String>,
    /// The method of a request or a notification.
    pub(super) method: Option<String>,
    /// It has a `result`.
    pub(super) result: bool,
    /// It has an `error`.
    pub(super) error: bool,
    /// The line is an array of messages (2025-03-26), which has no envelope of its own.
    pub(super) batch: bool,
}

/// Reads one line's envelope, piece by piece.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    found: Envelope,
    depth: u32,
    in_string: bool,
    escaped: bool,
    place: Place,
    key: String,
    value: String,
}

/// Where a scanner stands in the outermost object.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Before,
    Key,
    Colon,
    Value,
    /// Not an object, or not JSON.
    Lost,
}

impl Scanner {
    /// Takes in the next bytes of the line.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.place == Place::Lost {
                return;
            }
            if self.in_string {
                self.string_byte(byte);
            } else {
                self.byte(byte);
            }
        }
    }

    /// The line is over: what was found, and a fresh start.
    pub(super) fn finish(&mut self) -> Envelope {
        std::mem::take(self).found
    }

    fn string_byte(&mut self, byte: u8) {
        if self.escaped {
            self.escaped = false;
        } else if byte == b'\\' {
            self.escaped = true;
        } else if byte == b'"' {
            self.in_string = false;
            if self.depth == 1 {
                self.keep(byte);
                if self.place == Place::Key {
                    self.place = Place::Colon;
                }
            }
            return;
        }
        if self.depth == 1 {
            self.keep(byte);
        }
    }

    fn byte(&mut self, byte: u8) {
        match byte {
            b' ' | b'\t' | b'\r' => {}
            b'{' | b'[' => self.open(byte),
            b'}' | b']' => {
                if self.depth == 1 {
                    self.end_value();
                }
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 {
                    // Whatever follows belongs to no message.
                    self.place = Place::Lost;
                }
            }
            _ if self.depth == 0 => self.place = Place::Lost,
            b'"' => {
                self.in_string = true;
                if self.depth == 1 {
                    self.keep(byte);
                }
            }
            b':' if self.depth == 1 && self.place == Place::Colon => self.place = Place::Value,
            b',' if self.depth == 1 => self.end_value(),
            _ if self.depth == 1 => self.keep(byte),
            _ => {}
        }
    }

    fn open(&mut self, byte: u8) {
        if self.depth == 0 {
            if byte == b'[' {
                self.found.batch = true;
                self.place = Place::Lost;
                return;
            }
            self.place = Place::Key;
        } else if self.depth == 1 {
            // An id is no object; that there is a value is all that matters of the others.
            self.keep(byte);
        }
        self.depth += 1;
    }

    /// Keeps a byte of a key or a value, if it is short enough to be one that matters.
    fn keep(&mut self, byte: u8) {
        let text = match self.place {
            Place::Key => &mut self.key,
            Place::Value => &mut self.value,
            _ => return,
        };
        if text.len() < LONGEST_KEPT {
            // Of a byte beyond ASCII only that it is there matters: ids and methods that hold some stay apart.
            text.push(char::from(byte));
        }
    }

    fn end_value(&mut self) {
        let value = std::mem::take(&mut self.value);
        match self.key.as_str() {
            "\"id\"" if value != "null" && !value.is_empty() => self.found.id = Some(value),
            "\"method\"" => self.found.method = Some(value.trim_matches('"').to_owned()),
            "\"result\"" => self.found.result = true,
            "\"error\"" => self.found.error = value != "null",
            _ => {}
        }
        self.key.clear();
        self.place = Place::Key;
    }
}

/// Longest part of a key or a value that is kept, in bytes: longer than any method, and than ids need to be.
const LONGEST_KEPT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Envelope {
        let mut scanner = Scanner::default();
        // Byte by byte, as a pipe may deliver it.
        for byte in line.as_bytes() {
            scanner.feed(&[*byte]);
        }
        scanner.finish()
    }

    #[test]
    fn ids_methods_and_answers_are_found_wherever_they_stand() {
        let request = read(
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"id":1,"method":"x"}}"#,
        );
        assert_eq!(
            (request.id.as_deref(), request.method.as_deref()),
            (Some("7"), Some("tools/call"))
        );
        let answer = read(
            "{ \"result\" : {\"a\":[1,{\"id\":\"}\"}],\"s\":\"\\\"}\"} , \"jsonrpc\":\"2.0\", \"id\" : \"seven\" }\r",
        );
        assert_eq!(answer.id.as_deref(), Some("\"seven\""));
        assert!(answer.result && !answer.error && answer.method.is_none());
        let failed = read(r#"{"id":null,"error":{"code":-32600}}"#);
        assert!(failed.error && failed.id.is_none());
    }

    #[test]
    fn what_is_no_message_is_not_understood() {
        for line in [
            "",
            "hello",
            "17",
            "\"id\"",
            "{",
            "{\"id\"",
            "}{",
            "\u{feff}{}",
        ] {
            assert_eq!(read(line), Envelope::default(), "{line:?}");
        }
        assert!(read(r#"[{"id":1,"method":"ping"}]"#).batch);
    }

    #[test]
    fn a_line_of_any_length_takes_little_memory() {
        let mut scanner = Scanner::default();
        scanner.feed(br#"{"result":{"text":""#);
        for _ in 0..10_000 {
            scanner.feed(&[b'x'; 1024]);
        }
        scanner.feed(br#""},"id":42}"#);
        assert!(scanner.value.capacity() < 1024);
        assert_eq!(scanner.finish().id.as_deref(), Some("42"));
    }
}
