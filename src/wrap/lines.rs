//! Lines out of chunks: one message each, whatever pieces they come in.

use super::envelope::{Envelope, Scanner};

/// One line, as far as it is understood.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Its envelope.
    pub(super) envelope: Envelope,
    /// Its bytes; empty if there were too many to keep.
    pub(super) text: Vec<u8>,
    /// How many bytes it has.
    pub(super) bytes: u64,
}

/// Takes one direction's bytes apart.
#[derive(Debug, Default)]
pub(super) struct Lines {
    scanner: Scanner,
    text: Vec<u8>,
    bytes: u64,
    /// Bytes are missing: nothing is understood before the next line begins.
    skipping: bool,
}

impl Lines {
    /// Takes in a chunk and hands out each line that it ends.
    pub(super) fn feed(&mut self, mut chunk: &[u8], mut each: impl FnMut(Line)) {
        while let Some(end) = memchr::memchr(b'\n', chunk) {
            let (line, rest) = chunk.split_at(end);
            self.take(line);
            chunk = &rest[1..];
            let line = self.end();
            if !std::mem::take(&mut self.skipping) && line.bytes > 0 {
                each(line);
            }
        }
        self.take(chunk);
    }

    /// Bytes were lost: the line that they belong to is passed over.
    pub(super) fn lose(&mut self) {
        self.end();
        self.skipping = true;
    }

    fn take(&mut self, part: &[u8]) {
        self.bytes += part.len() as u64;
        if self.skipping {
            return;
        }
        self.scanner.feed(part);
        if self.bytes <= LONGEST_KEPT {
            self.text.extend_from_slice(part);
        } else {
            self.text = Vec::new();
        }
    }

    fn end(&mut self) -> Line {
        Line {
            envelope: self.scanner.finish(),
            text: std::mem::take(&mut self.text),
            bytes: std::mem::take(&mut self.bytes),
        }
    }
}

/// Longest line whose bytes are kept, to be read for what it tells about the server. Of longer ones the envelope
/// alone is read.
const LONGEST_KEPT: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_in_whatever_pieces_their_bytes_do() {
        let text = b"{\"id\":1}\r\n\n{\"id\":2,\"x\":\"\xc3\xa9\"}\nrest";
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let mut seen = Vec::new();
            for chunk in text.chunks(size) {
                lines.feed(chunk, |line| seen.push((line.envelope.id, line.bytes)));
            }
            assert_eq!(
                seen,
                [(Some("1".to_owned()), 9), (Some("2".to_owned()), 17)],
                "{size}"
            );
        }
    }

    #[test]
    fn after_a_loss_nothing_is_understood_before_the_next_line() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        lines.feed(b"{\"id\":1,", |_| unreachable!("no line has ended"));
        lines.lose();
        lines.feed(b"\"id\":3}\n{\"id\":4}\n", |line| {
            seen.push(line.envelope.id)
        });
        assert_eq!(seen, [Some("4".to_owned())]);
    }

    #[test]
    fn a_long_line_keeps_its_envelope_alone() {
        let mut lines = Lines::default();
        let mut seen = None;
        lines.feed(b"{\"id\":5,\"result\":\"", |_| {});
        for _ in 0..2048 {
            lines.feed(&[b'y'; 1024], |_| {});
        }
        lines.feed(b"\"}\n", |line| seen = Some(line));
        let line = seen.unwrap();
        assert_eq!(line.envelope.id.as_deref(), Some("5"));
        assert!(line.text.is_empty() && line.bytes > 2 << 20);
    }
}
