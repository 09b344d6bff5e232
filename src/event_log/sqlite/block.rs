//! How records lie in a row: one commit's records in a row, each vouching for itself.
//!
//! A body is the records one after another, then a directory: where each ends (`u32` each), how many there
//! are (`u32`), and a CRC32 over the directory and the row's other columns (`u32`). A record is a CRC32 over
//! its sequence and the rest of it, a fixed head (timestamp and lengths) and its texts. All numbers are
//! little-endian. So a flipped bit in a record costs that record, one in the directory costs the block, and
//! neither is ever taken for something else.

use crc32fast::Hasher;

use crate::domain::Record;

/// Bytes of records after which a block is full. A longer record gets a block of its own.
pub const FULL: usize = 64 * 1024;

/// CRC, timestamp, lengths of type, server, workflow, tags and data; what follows the data is private.
const RECORD_HEAD: usize = 4 + 8 + 5 * 4;

/// Count and CRC at the end of a body.
const TRAILER: usize = 8;

/// The length of a text that isn't there.
const ABSENT: u32 = u32::MAX;

/// The columns of a block beside its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first record's sequence.
    pub first: u64,
    /// The last record's sequence.
    pub last: u64,
    /// The highest timestamp in the log up to and including this block.
    pub ts_max: i64,
}

/// A block whose directory is sound.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    /// The columns that it came with.
    pub span: Span,
    records: &'a [u8],
    ends: &'a [u8],
}

impl<'a> Block<'a> {
    /// Reads a row; `None` where its directory or its columns are damaged.
    pub fn parse(span: Span, body: &'a [u8]) -> Option<Self> {
        let (rest, trailer) = body.split_at_checked(body.len().checked_sub(TRAILER)?)?;
        let count = u32_at(trailer, 0)? as usize;
        let directory = rest.len().checked_sub(count.checked_mul(4)?)?;
        let (records, ends) = rest.split_at_checked(directory)?;
        let sound = directory_crc(span, ends) == u32_at(trailer, 4)?
            && span.last.checked_sub(span.first)?.checked_add(1)? == count as u64;
        sound.then_some(Self {
            span,
            records,
            ends,
        })
    }

    /// Bytes of its records.
    pub fn size(&self) -> usize {
        self.records.len()
    }

    /// The record with this sequence; `None` where it is damaged or not of this block.
    pub fn get(&self, sequence: u64) -> Option<Record<'a>> {
        let at = usize::try_from(sequence.checked_sub(self.span.first)?).ok()?;
        let start = match at.checked_sub(1) {
            Some(before) => u32_at(self.ends, before * 4)? as usize,
            None => 0,
        };
        let end = u32_at(self.ends, at * 4)? as usize;
        decode(sequence, self.records.get(start..end)?)
    }

    /// All its whole records, in order.
    pub fn iter(&self) -> impl Iterator<Item = Record<'a>> + '_ {
        (self.span.first..=self.span.last).filter_map(|sequence| self.get(sequence))
    }
}

/// Packs records that follow each other into blocks. Reused from commit to commit, so that its buffers are.
#[derive(Debug, Default)]
pub struct Packer {
    first: u64,
    ts_max: i64,
    body: Vec<u8>,
    ends: Vec<u32>,
}

impl Packer {
    /// Begins a block with this sequence, in a log whose highest timestamp so far is `ts_max`.
    pub fn begin(&mut self, first: u64, ts_max: i64) {
        (self.first, self.ts_max) = (first, ts_max);
        self.body.clear();
        self.ends.clear();
    }

    /// Whether so many more bytes of records fit into the block.
    pub fn has_room_for(&self, len: usize) -> bool {
        self.ends.is_empty() || self.body.len() + len <= FULL
    }

    /// Whether it holds no record yet.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The sequence of the record that it takes next.
    pub fn next(&self) -> u64 {
        self.first + self.ends.len() as u64
    }

    /// Adds the next record.
    pub fn push(&mut self, record: &Record<'_>) {
        let start = self.body.len();
        let optional = |text: Option<&str>| text.map_or(ABSENT, |text| text.len() as u32);
        self.body.extend_from_slice(&[0; 4]);
        self.body.extend_from_slice(&record.timestamp.to_le_bytes());
        for len in [
            record.kind.len() as u32,
            optional(record.server),
            optional(record.workflow),
            record.tags.len() as u32,
            record.data.len() as u32,
        ] {
            self.body.extend_from_slice(&len.to_le_bytes());
        }
        let (server, workflow) = (record.server.unwrap_or(""), record.workflow.unwrap_or(""));
        for text in [
            record.kind,
            server,
            workflow,
            record.tags,
            record.data,
            record.private,
        ] {
            self.body.extend_from_slice(text.as_bytes());
        }
        let crc = record_crc(record.sequence, &self.body[start + 4..]);
        self.body[start..start + 4].copy_from_slice(&crc.to_le_bytes());
        self.ends.push(self.body.len() as u32);
        self.ts_max = self.ts_max.max(record.timestamp);
    }

    /// Adds all of a block that follows, as it is: a damaged record stays recognisably damaged.
    pub fn push_block(&mut self, block: &Block<'_>) {
        let base = self.body.len() as u32;
        self.body.extend_from_slice(block.records);
        let ends = block.ends.chunks_exact(4).filter_map(|end| u32_at(end, 0));
        self.ends.extend(ends.map(|end| base + end));
        self.ts_max = block.span.ts_max;
    }

    /// Closes the block: its columns and its body.
    pub fn finish(&mut self) -> (Span, &[u8]) {
        let last = self.first + (self.ends.len() as u64).saturating_sub(1);
        let span = Span {
            first: self.first,
            last,
            ts_max: self.ts_max,
        };
        let directory = self.body.len();
        for end in &self.ends {
            self.body.extend_from_slice(&end.to_le_bytes());
        }
        let crc = directory_crc(span, &self.body[directory..]);
        self.body
            .extend_from_slice(&(self.ends.len() as u32).to_le_bytes());
        self.body.extend_from_slice(&crc.to_le_bytes());
        (span, &self.body)
    }
}

/// Bytes that a record takes in a block.
pub fn encoded_len(record: &Record<'_>) -> usize {
    let optional = |text: Option<&str>| text.map_or(0, str::len);
    RECORD_HEAD
        + record.kind.len()
        + optional(record.server)
        + optional(record.workflow)
        + record.tags.len()
        + record.data.len()
        + record.private.len()
}

fn decode(sequence: u64, bytes: &[u8]) -> Option<Record<'_>> {
    let crc = u32_at(bytes, 0)?;
    if record_crc(sequence, bytes.get(4..)?) != crc {
        return None;
    }
    let timestamp = i64::from_le_bytes(bytes.get(4..12)?.try_into().ok()?);
    let mut rest = std::str::from_utf8(bytes.get(RECORD_HEAD..)?).ok()?;
    let mut take = |at: usize| -> Option<Option<&str>> {
        let len = u32_at(bytes, at)?;
        if len == ABSENT {
            return Some(None);
        }
        let (text, tail) = rest.split_at_checked(len as usize)?;
        rest = tail;
        Some(Some(text))
    };
    let (kind, server, workflow) = (take(12)??, take(16)?, take(20)?);
    let (tags, data) = (take(24)??, take(28)??);
    Some(Record {
        sequence,
        timestamp,
        kind,
        server,
        workflow,
        tags,
        data,
        private: rest,
    })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn record_crc(sequence: u64, content: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&sequence.to_le_bytes());
    hasher.update(content);
    hasher.finalize()
}

fn directory_crc(span: Span, ends: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&span.first.to_le_bytes());
    hasher.update(&span.last.to_le_bytes());
    hasher.update(&span.ts_max.to_le_bytes());
    hasher.update(ends);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sequence: u64, data: &str) -> Record<'_> {
        Record {
            sequence,
            timestamp: 1000 + sequence as i64,
            kind: "grades.synced",
            server: sequence.is_multiple_of(2).then_some("alpha"),
            workflow: sequence.is_multiple_of(3).then_some("w"),
            tags: "zone:eu\nrôle:x",
            data,
            private: if sequence.is_multiple_of(5) { "{}" } else { "" },
        }
    }

    fn packed(range: std::ops::RangeInclusive<u64>) -> (Span, Vec<u8>) {
        let mut packer = Packer::default();
        packer.begin(*range.start(), 0);
        for sequence in range {
            packer.push(&record(sequence, r#"{"n":1}"#));
        }
        let (span, body) = packer.finish();
        (span, body.to_vec())
    }

    #[test]
    fn records_read_back_as_they_were() {
        let (span, body) = packed(7..=30);
        assert_eq!(
            span,
            Span {
                first: 7,
                last: 30,
                ts_max: 1030
            }
        );
        let block = Block::parse(span, &body).expect("sound");
        for sequence in 7..=30 {
            assert_eq!(block.get(sequence), Some(record(sequence, r#"{"n":1}"#)));
        }
        assert_eq!((block.get(6), block.get(31)), (None, None));
    }

    #[test]
    fn any_flipped_bit_costs_one_record_or_the_block_and_is_never_taken_for_another_event() {
        let (span, sound) = packed(7..=12);
        let whole = Block::parse(span, &sound).expect("sound").size();
        for at in 0..sound.len() {
            for bit in 0..8 {
                let mut body = sound.clone();
                body[at] ^= 1 << bit;
                match Block::parse(span, &body) {
                    None => assert!(at >= whole, "byte {at} broke the block"),
                    Some(block) => {
                        assert!(at < whole, "byte {at} of the directory went unnoticed");
                        let good: Vec<_> = block.iter().collect();
                        assert_eq!(good.len(), 5, "byte {at}");
                        assert!(good.iter().all(|r| *r == record(r.sequence, r#"{"n":1}"#)));
                    }
                }
            }
        }
    }

    #[test]
    fn columns_are_protected_too_and_so_is_a_body_that_was_cut() {
        let (span, body) = packed(7..=12);
        for other in [
            Span { first: 8, ..span },
            Span { last: 13, ..span },
            Span { ts_max: 0, ..span },
            Span {
                first: 17,
                last: 22,
                ..span
            },
        ] {
            assert!(Block::parse(other, &body).is_none(), "{other:?}");
        }
        for len in 0..body.len() {
            assert!(Block::parse(span, &body[..len]).is_none(), "{len}");
        }
    }

    #[test]
    fn blocks_merge_as_they_are() {
        let ((a, left), (b, right)) = (packed(1..=3), packed(4..=9));
        let mut packer = Packer::default();
        packer.begin(1, 0);
        packer.push_block(&Block::parse(a, &left).expect("sound"));
        packer.push_block(&Block::parse(b, &right).expect("sound"));
        let (span, body) = packer.finish();
        assert_eq!((span, body.to_vec()), packed(1..=9));
    }
}
