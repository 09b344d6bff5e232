//! Server-Sent Events from bytes, as WHATWG HTML §9.2.6 says. No I/O: bytes go in, blocks come out, whatever the
//! pieces they come in.

/// One block of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Block {
    /// `event:`; empty where there was none.
    pub event: String,
    /// `data:` lines, joined by line ends; `None` where there was none.
    pub data: Option<String>,
    /// `id:`, where it was there and valid.
    pub id: Option<String>,
    /// `retry:`, milliseconds.
    pub retry: Option<u64>,
}

/// Collects bytes until they make lines, and lines until they make blocks.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    block: Block,
    after_cr: bool,
    begun: bool,
}

impl Parser {
    /// Takes in some bytes; hands each block that they complete to `each`.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Block)) {
        for &byte in bytes {
            match byte {
                b'\n' if self.after_cr => self.after_cr = false,
                b'\n' | b'\r' => {
                    self.after_cr = byte == b'\r';
                    if let Some(block) = self.end_line() {
                        each(block);
                    }
                }
                _ => {
                    self.after_cr = false;
                    self.line.push(byte);
                }
            }
        }
    }

    fn end_line(&mut self) -> Option<Block> {
        let line = std::mem::take(&mut self.line);
        let mut line = String::from_utf8_lossy(&line).into_owned();
        if !std::mem::replace(&mut self.begun, true)
            && let Some(rest) = line.strip_prefix('\u{feff}')
        {
            line = rest.to_owned();
        }
        if line.is_empty() {
            let block = std::mem::take(&mut self.block);
            return (block != Block::default()).then_some(block);
        }
        let (field, value) = match line.split_once(':') {
            Some((field, value)) => (field, value.strip_prefix(' ').unwrap_or(value)),
            None => (line.as_str(), ""),
        };
        match field {
            "event" => value.clone_into(&mut self.block.event),
            "data" => match &mut self.block.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.block.data = Some(value.to_owned()),
            },
            "id" if !value.contains('\0') => self.block.id = Some(value.to_owned()),
            "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                self.block.retry = value.parse().ok();
            }
            // A comment, or a field that the standard tells to ignore.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pieces: &[&[u8]]) -> Vec<Block> {
        let (mut parser, mut blocks) = (Parser::default(), Vec::new());
        for piece in pieces {
            parser.push(piece, |block| blocks.push(block));
        }
        blocks
    }

    #[test]
    fn any_split_gives_the_same_blocks() {
        let text = "\u{feff}retry: 5\r\nid: a-1\revent:x\ndata: one\r\ndata:  two\n\n: comment\n\nid\n\ndata\n\nid: b\0c\ndata: ü\n\nrest".as_bytes();
        let whole = parse(&[text]);
        assert_eq!(whole.len(), 4);
        assert_eq!(
            whole[0],
            Block {
                event: "x".into(),
                data: Some("one\n two".into()),
                id: Some("a-1".into()),
                retry: Some(5)
            }
        );
        assert_eq!(whole[1].id.as_deref(), Some(""));
        assert_eq!(whole[2].data.as_deref(), Some(""));
        assert_eq!(
            (whole[3].id.as_deref(), whole[3].data.as_deref()),
            (None, Some("ü"))
        );
        for at in 0..=text.len() {
            assert_eq!(parse(&[&text[..at], &text[at..]]), whole, "cut at {at}");
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(parse(&bytes), whole);
    }
}
