//! A log that lives as long as the process: for play, and the model that tests hold SQLite against.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ops::ControlFlow,
    sync::Arc,
};

use parking_lot::RwLock;

use super::{
    AppendError, Epochs, Item, KeyHash, LogInfo, LogReader, LogWriter, OpenLog, Order, PlaceAtTime,
    Pruned, ReadError, ReadRange, Remembered, Retention, SavedLease, SavedNote, Scanned,
    TakeSnapshot, Visit,
};
use crate::{
    domain::{Epoch, Record},
    filter::Filter,
};

/// How long answers are remembered, ms.
const REMEMBERED_MS: i64 = 24 * 60 * 60 * 1000;

/// Events and answers that one call of `prune` drops at most.
const SLICE: usize = 1000;

/// Opens an empty log.
#[must_use]
pub fn open() -> OpenLog {
    let log = Memory::default();
    OpenLog {
        writer: Box::new(log.clone()),
        reader: Arc::new(log),
    }
}

/// A log in memory; its clones are the same log.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    inner: Arc<RwLock<Inner>>,
}

#[derive(Debug)]
struct Inner {
    epochs: Arc<Epochs>,
    /// The kept events, without a hole.
    events: VecDeque<Event>,
    head: u64,
    bytes: u64,
    pruned_ts: i64,
    answers: HashMap<KeyHash, Remembered>,
    /// Bytes of their bodies.
    answer_bytes: u64,
    /// Keys as they were given, for dropping the oldest first. A key given again is in it twice.
    keys: VecDeque<(i64, KeyHash)>,
    snapshot: Option<(u64, Arc<Vec<u8>>)>,
    /// The one in the making.
    making: Option<(u64, Vec<u8>)>,
    leases: Vec<SavedLease>,
    notes: BTreeMap<String, String>,
}

/// A record that owns its texts.
#[derive(Debug)]
struct Event {
    timestamp: i64,
    kind: Box<str>,
    server: Option<Box<str>>,
    workflow: Option<Box<str>>,
    tags: Box<str>,
    data: Box<str>,
    private: Box<str>,
}

impl Default for Memory {
    fn default() -> Self {
        let inner = Inner {
            epochs: Arc::new(Epochs::new(Vec::new(), new_epoch(), 0)),
            events: VecDeque::new(),
            head: 0,
            bytes: 0,
            pruned_ts: i64::MIN,
            answers: HashMap::new(),
            answer_bytes: 0,
            keys: VecDeque::new(),
            snapshot: None,
            making: None,
            leases: Vec::new(),
            notes: BTreeMap::new(),
        };
        Self {
            inner: Arc::new(RwLock::new(inner)),
        }
    }
}

impl Memory {
    /// Drops what lies before a sequence, as another log did.
    #[cfg(test)]
    pub(super) fn drop_before(&self, floor: u64) {
        let mut inner = self.inner.write();
        while inner.floor() < floor {
            inner.drop_oldest();
        }
    }
}

impl Inner {
    fn floor(&self) -> u64 {
        self.head + 1 - self.events.len() as u64
    }

    fn record(&self, sequence: u64) -> Option<Record<'_>> {
        let at = usize::try_from(sequence.checked_sub(self.floor())?).ok()?;
        self.events.get(at).map(|event| event.record(sequence))
    }

    fn drop_oldest(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.bytes -= event.bytes();
            self.pruned_ts = self.pruned_ts.max(event.timestamp);
        }
    }

    /// The highest timestamp up to and including the oldest kept event; `None` where none is kept.
    fn oldest_ts(&self) -> Option<i64> {
        self.events
            .front()
            .map(|event| event.timestamp.max(self.pruned_ts))
    }

    fn remember(&mut self, answer: &Remembered) {
        self.answer_bytes += body_bytes(answer);
        if let Some(before) = self.answers.insert(answer.key, answer.clone()) {
            self.answer_bytes -= body_bytes(&before);
        }
        self.keys.push_back((answer.timestamp, answer.key));
    }

    fn drop_oldest_key(&mut self) {
        if let Some((timestamp, key)) = self.keys.pop_front()
            && self
                .answers
                .get(&key)
                .is_some_and(|answer| answer.timestamp == timestamp)
            && let Some(dropped) = self.answers.remove(&key)
        {
            self.answer_bytes -= body_bytes(&dropped);
        }
    }
}

impl Event {
    fn new(record: &Record<'_>) -> Self {
        Self {
            timestamp: record.timestamp,
            kind: record.kind.into(),
            server: record.server.map(Into::into),
            workflow: record.workflow.map(Into::into),
            tags: record.tags.into(),
            data: record.data.into(),
            private: record.private.into(),
        }
    }

    fn record(&self, sequence: u64) -> Record<'_> {
        Record {
            sequence,
            timestamp: self.timestamp,
            kind: &self.kind,
            server: self.server.as_deref(),
            workflow: self.workflow.as_deref(),
            tags: &self.tags,
            data: &self.data,
            private: &self.private,
        }
    }

    fn bytes(&self) -> u64 {
        let texts = [&self.kind, &self.tags, &self.data, &self.private].map(|text| text.len());
        let names = [&self.server, &self.workflow].map(|name| name.as_ref().map_or(0, |n| n.len()));
        (size_of::<Self>() + texts.iter().chain(&names).sum::<usize>()) as u64
    }
}

fn body_bytes(answer: &Remembered) -> u64 {
    answer.body.as_ref().map_or(0, |body| body.as_str().len()) as u64
}

impl LogWriter for Memory {
    fn append_noting(
        &mut self,
        records: &[Record<'_>],
        answers: &[Remembered],
        notes: &[SavedNote],
    ) -> Result<(), AppendError> {
        let inner = &mut *self.inner.write();
        if (inner.head + 1..)
            .zip(records)
            .any(|(next, record)| record.sequence != next)
        {
            let cause = format!("the events don't follow the log's head {}", inner.head);
            return Err(AppendError::Unwritable(cause));
        }
        for record in records {
            let event = Event::new(record);
            inner.bytes += event.bytes();
            inner.events.push_back(event);
            inner.head = record.sequence;
        }
        answers.iter().for_each(|answer| inner.remember(answer));
        for note in notes {
            match &note.body {
                Some(body) => inner.notes.insert(note.key.clone(), body.clone()),
                None => inner.notes.remove(&note.key),
            };
        }
        Ok(())
    }

    fn recall(&mut self, key: &KeyHash, now: i64) -> Result<Option<Remembered>, ReadError> {
        let oldest = now.saturating_sub(REMEMBERED_MS);
        let inner = self.inner.read();
        Ok(inner
            .answers
            .get(key)
            .filter(|answer| answer.timestamp > oldest)
            .cloned())
    }

    fn prune(&mut self, retention: &Retention, now: i64) -> Result<Pruned, AppendError> {
        let inner = &mut *self.inner.write();
        let oldest = retention
            .age
            .map(|age| now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)));
        let snapshot = inner.snapshot.as_ref().map_or(0, |(sequence, _)| *sequence);
        let mut pruned = Pruned::default();
        while let Some(timestamp) = inner.oldest_ts() {
            let dropped = inner.events.len() as u64 > retention.events
                || inner.bytes > retention.bytes
                || oldest.is_some_and(|oldest| timestamp < oldest);
            if !dropped || inner.floor() > snapshot {
                break;
            }
            if pruned.events == SLICE as u64 {
                pruned.more = true;
                break;
            }
            inner.drop_oldest();
            pruned.events += 1;
        }
        let expired = now.saturating_sub(REMEMBERED_MS);
        let mut keys = 0;
        while let Some((timestamp, _)) = inner.keys.front()
            && (*timestamp <= expired
                || inner.keys.len() as u64 > retention.idempotency_keys
                || inner.answer_bytes > retention.idempotency_bytes)
        {
            if keys == SLICE {
                pruned.more = true;
                break;
            }
            inner.drop_oldest_key();
            keys += 1;
        }
        Ok(pruned)
    }

    fn begin_snapshot(&mut self, sequence: u64) -> Result<(), AppendError> {
        self.inner.write().making = Some((sequence, Vec::new()));
        Ok(())
    }

    fn add_to_snapshot(&mut self, part: &[u8]) -> Result<(), AppendError> {
        match &mut self.inner.write().making {
            Some((_, state)) => state.extend_from_slice(part),
            None => return Err(AppendError::Unwritable("no snapshot was begun".to_owned())),
        }
        Ok(())
    }

    fn finish_snapshot(&mut self, last: &[u8]) -> Result<(), AppendError> {
        self.add_to_snapshot(last)?;
        let inner = &mut *self.inner.write();
        let whole = inner.making.take();
        let is_newer = |(sequence, _): &(u64, Vec<u8>)| {
            inner
                .snapshot
                .as_ref()
                .is_none_or(|(kept, _)| kept <= sequence)
        };
        if let Some(whole) = whole.filter(is_newer) {
            inner.snapshot = Some((whole.0, Arc::new(whole.1)));
        }
        Ok(())
    }

    fn save_leases(&mut self, leases: &[SavedLease]) -> Result<(), AppendError> {
        self.inner.write().leases = leases.to_vec();
        Ok(())
    }

    fn probe(&mut self) -> Result<(), AppendError> {
        Ok(())
    }
}

impl LogReader for Memory {
    // Recursive, because a visitor of `read` may ask.
    fn info(&self) -> LogInfo {
        let inner = self.inner.read_recursive();
        LogInfo {
            floor: inner.floor(),
            head: inner.head,
            bytes: inner.bytes,
        }
    }

    fn epochs(&self) -> Arc<Epochs> {
        self.inner.read_recursive().epochs.clone()
    }

    fn read(
        &self,
        range: &ReadRange,
        filter: &Filter,
        visit: Visit<'_>,
    ) -> Result<Scanned, ReadError> {
        let inner = self.inner.read();
        let floor = inner.floor();
        let (low, high) = (
            range.after.saturating_add(1).max(floor),
            range.until.min(inner.head),
        );
        let mut last = None;
        let mut consider = |sequence: u64| {
            last = Some(sequence);
            match inner
                .record(sequence)
                .filter(|record| filter.matches(record))
            {
                Some(record) => visit(Item::Event(record)),
                None => ControlFlow::Continue(()),
            }
        };
        let limit = range.scan_limit.max(1);
        match range.order {
            Order::Ascending => {
                let _ = (low..=high).take(limit).try_for_each(&mut consider);
                let overtaken = (range.after.saturating_add(1) < floor).then(|| floor - 1);
                let through = last.unwrap_or(high).max(overtaken.unwrap_or(range.after));
                Ok(Scanned { through, overtaken })
            }
            Order::Descending => {
                let _ = (low..=high).rev().take(limit).try_for_each(&mut consider);
                let reached = last.map(|last| last - 1).filter(|reached| *reached >= low);
                Ok(Scanned {
                    through: reached.unwrap_or(range.after),
                    overtaken: None,
                })
            }
        }
    }

    fn place_at_time(&self, time: i64) -> Result<PlaceAtTime, ReadError> {
        let inner = self.inner.read();
        let floor = inner.floor();
        if inner.pruned_ts >= time {
            return Ok(PlaceAtTime {
                after: floor - 1,
                pruned: true,
            });
        }
        let before = inner
            .events
            .iter()
            .take_while(|event| event.timestamp < time)
            .count();
        Ok(PlaceAtTime {
            after: floor - 1 + before as u64,
            pruned: false,
        })
    }

    fn read_snapshot(&self, take: TakeSnapshot<'_>) -> Result<Option<u64>, ReadError> {
        let newest = self.inner.read().snapshot.clone();
        Ok(newest
            .filter(|(at, state)| take(*at, &mut &state[..]))
            .map(|(at, _)| at))
    }

    fn load_leases(&self) -> Result<Vec<SavedLease>, ReadError> {
        Ok(self.inner.read().leases.clone())
    }

    fn load_notes(&self) -> Result<Vec<SavedNote>, ReadError> {
        let inner = self.inner.read();
        let note = |(key, body): (&String, &String)| SavedNote {
            key: key.clone(),
            body: Some(body.clone()),
        };
        Ok(inner.notes.iter().map(note).collect())
    }
}

fn new_epoch() -> Epoch {
    Epoch::from_random(uuid::Uuid::new_v4().as_u128())
}
