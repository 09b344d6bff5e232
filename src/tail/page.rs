//! Events of one commit, encoded once for all who want them, with what filters ask about them.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;

use crate::{
    domain::{Epoch, Position, Record},
    frame::{Format, attributes_in, write_event},
};

/// A run of events without a hole. Never empty.
#[derive(Debug)]
pub struct Page {
    epoch: Epoch,
    first: u64,
    facts: Box<[Facts]>,
    /// Type, server, workflow and tags of each event, one after the other.
    text: Box<str>,
    named: Frames,
    message: OnceLock<Frames>,
    cloud_events: OnceLock<Frames>,
    /// Bytes of forms made on demand, of all pages of the window.
    on_demand: Arc<AtomicUsize>,
}

/// The frames of a page in one form.
#[derive(Debug)]
pub struct Frames {
    /// All of them.
    pub bytes: Bytes,
    /// Where each ends.
    pub ends: Box<[u32]>,
}

/// Where the parts of one event are: ends within the page's text (each part begins where the one before
/// ended), and the place of `data` within the named frames.
#[derive(Debug, Clone, Copy)]
struct Facts {
    timestamp: i64,
    kind: u32,
    server: u32,
    workflow: u32,
    tags: u32,
    data: u32,
    data_len: u32,
}

impl Page {
    /// Encodes events of one epoch until their frames exceed `budget` bytes; the first always goes in.
    /// Returns how many were taken. `records` must not be empty. What other forms will weigh is added to
    /// `on_demand` when they are made, and taken from it when the page is dropped.
    pub(super) fn encode(
        epoch: Epoch,
        records: &[Record<'_>],
        budget: usize,
        on_demand: Arc<AtomicUsize>,
    ) -> (Self, usize) {
        let mut bytes =
            Vec::with_capacity(records.iter().map(estimate).sum::<usize>().min(budget * 2));
        let mut text = String::with_capacity(records.len().min(1024) * 32);
        let mut facts = Vec::with_capacity(records.len().min(1024));
        let mut ends = Vec::with_capacity(records.len().min(1024));
        for record in records {
            if bytes.len() >= budget {
                break;
            }
            write_event(
                &mut bytes,
                Format::Named,
                Position {
                    epoch,
                    sequence: record.sequence,
                },
                record,
            );
            let mut part = |part: &str| {
                text.push_str(part);
                small(text.len())
            };
            facts.push(Facts {
                timestamp: record.timestamp,
                kind: part(record.kind),
                server: part(record.server.unwrap_or_default()),
                workflow: part(record.workflow.unwrap_or_default()),
                tags: part(record.tags),
                // The frame ends with the data, the envelope's brace and two line ends.
                data: small(bytes.len() - 3 - record.data.len()),
                data_len: small(record.data.len()),
            });
            ends.push(small(bytes.len()));
        }
        let taken = facts.len();
        let page = Self {
            epoch,
            first: records.first().map_or(0, |record| record.sequence),
            facts: facts.into(),
            text: text.into(),
            named: Frames::new(bytes, ends),
            message: OnceLock::new(),
            cloud_events: OnceLock::new(),
            on_demand,
        };
        (page, taken)
    }

    /// The sequence of its first event.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The sequence of its last event.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.first + self.facts.len() as u64 - 1
    }

    /// How many events it holds.
    #[must_use]
    pub fn count(&self) -> usize {
        self.facts.len()
    }

    /// Bytes that it takes up, with the forms that were made so far.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.own_weight() + self.on_demand_weight()
    }

    /// Bytes that it takes up from its beginning on.
    pub(super) fn own_weight(&self) -> usize {
        size_of::<Self>()
            + self.named.weight()
            + self.text.len()
            + self.facts.len() * size_of::<Facts>()
    }

    /// Bytes of the forms that were made on demand so far.
    pub(super) fn on_demand_weight(&self) -> usize {
        [&self.message, &self.cloud_events]
            .iter()
            .filter_map(|form| form.get())
            .map(Frames::weight)
            .sum()
    }

    /// What filters ask about the event at `index`: all of it but `data` and `private`, which are empty.
    #[must_use]
    pub fn facts(&self, index: usize) -> Record<'_> {
        let facts = self.facts[index];
        let start = if index == 0 {
            0
        } else {
            self.facts[index - 1].tags
        };
        let part = |from: u32, to: u32| {
            self.text
                .get(from as usize..to as usize)
                .unwrap_or_default()
        };
        fn some(part: &str) -> Option<&str> {
            (!part.is_empty()).then_some(part)
        }
        Record {
            sequence: self.first + index as u64,
            timestamp: facts.timestamp,
            kind: part(start, facts.kind),
            server: some(part(facts.kind, facts.server)),
            workflow: some(part(facts.server, facts.workflow)),
            tags: part(facts.workflow, facts.tags),
            data: "",
            private: "",
        }
    }

    /// Its frames in this form, made at the first call for it.
    #[must_use]
    pub fn frames(&self, format: Format) -> &Frames {
        match format {
            Format::Named => &self.named,
            Format::Message => self.message.get_or_init(|| self.make(format)),
            Format::CloudEvents => self.cloud_events.get_or_init(|| self.make(format)),
        }
    }

    /// Makes a form that is kept from now on, and counts it.
    fn make(&self, format: Format) -> Frames {
        let frames = self.encode_as(format);
        self.on_demand.fetch_add(frames.weight(), Ordering::Relaxed);
        frames
    }

    fn encode_as(&self, format: Format) -> Frames {
        let mut bytes = Vec::with_capacity(self.named.bytes.len() * 5 / 4);
        let ends = (0..self.count())
            .map(|index| {
                let facts = self.facts[index];
                let data =
                    &self.named.bytes[facts.data as usize..(facts.data + facts.data_len) as usize];
                let start = if index == 0 {
                    0
                } else {
                    self.named.ends[index - 1]
                };
                let head = &self.named.bytes[start as usize..facts.data as usize];
                let attributes = attributes_in(head);
                let private =
                    attributes.map(|attributes| format!("{{\"cloudEvent\":{attributes}}}"));
                let record = Record {
                    data: std::str::from_utf8(data).unwrap_or("null"),
                    private: private.as_deref().unwrap_or_default(),
                    ..self.facts(index)
                };
                let position = Position {
                    epoch: self.epoch,
                    sequence: record.sequence,
                };
                write_event(&mut bytes, format, position, &record);
                small(bytes.len())
            })
            .collect();
        Frames::new(bytes, ends)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.on_demand
            .fetch_sub(self.on_demand_weight(), Ordering::Relaxed);
    }
}

impl Frames {
    /// Takes no more room than the frames need: shared bytes would keep what a vector has left over.
    fn new(bytes: Vec<u8>, ends: Vec<u32>) -> Self {
        Self {
            bytes: bytes.into_boxed_slice().into(),
            ends: ends.into(),
        }
    }

    /// Bytes that they take up.
    fn weight(&self) -> usize {
        self.bytes.len() + size_of_val(&*self.ends)
    }

    /// The bytes of the frame at `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start as usize..self.ends[index] as usize]
    }
}

/// Pages hold a few hundred KiB at most: one budget and one event, which request limits bound.
fn small(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn estimate(record: &Record<'_>) -> usize {
    record.data.len() + 2 * record.kind.len() + record.server.map_or(0, str::len) + 160
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> [Record<'static>; 2] {
        let first = Record {
            sequence: 7,
            timestamp: 5,
            kind: "grades.synced",
            server: Some("s1"),
            workflow: Some("w1"),
            tags: "env:prod\nteam:a",
            data: r#"{"n":1}"#,
            private: "",
        };
        [
            first,
            Record {
                sequence: 8,
                server: None,
                workflow: None,
                tags: "",
                kind: "custom_x",
                data: "[]",
                private: r#"{"cloudEvent":{"id":"A","source":"\",\"data\":"}}"#,
                ..first
            },
        ]
    }

    fn encode(epoch: Epoch) -> (Page, usize) {
        Page::encode(epoch, &records(), 1 << 20, Arc::default())
    }

    #[test]
    fn a_page_gives_back_what_filters_ask() {
        let (page, taken) = encode(Epoch::from_random(1));
        assert_eq!((taken, page.first(), page.last()), (2, 7, 8));
        for (index, record) in records().iter().enumerate() {
            assert_eq!(
                page.facts(index),
                Record {
                    data: "",
                    private: "",
                    ..*record
                }
            );
        }
    }

    #[test]
    fn every_form_holds_the_frames_that_the_encoder_makes() {
        let epoch = Epoch::from_random(1);
        let (page, _) = encode(epoch);
        for format in [Format::Named, Format::Message, Format::CloudEvents] {
            for (index, record) in records().iter().enumerate() {
                let mut frame = Vec::new();
                write_event(
                    &mut frame,
                    format,
                    Position {
                        epoch,
                        sequence: record.sequence,
                    },
                    record,
                );
                assert_eq!(page.frames(format).get(index), frame, "{format:?}");
            }
        }
    }
}
