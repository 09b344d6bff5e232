//! The turn of a stream that is behind: opening frames, pages of the log, the window, then live or its end.
//! One state machine for every stream, wherever its bytes come from and go to.

use std::{mem, sync::Arc};

use bytes::Bytes;

use super::{Core, HELD_BYTES};
use crate::{
    frame::control::write_closing,
    streams::{
        batch::{Batch, PASS_BYTES},
        port::Key,
        reading::{Job, Making, Work},
        subscriber::{Backlog, Subscriber},
    },
};

/// Passes over the window that one turn may take while nothing in it matches.
const EMPTY_PASSES: usize = 8;

/// How long a socket is kept after the last frame for its client to close, milliseconds.
const LINGER_MS: u64 = 1000;

/// What is to become of a stream after its turn.
pub(super) enum Next {
    /// It has caught up.
    Live,
    /// It has more to do.
    Again,
    /// The sink takes nothing more; it says when it does.
    Blocked,
    /// A page is being read for it, or its socket lingers.
    Wait,
    /// It begins after a place that the loop hasn't reached.
    Ahead,
    /// All is said, the socket is kept until then.
    Lingers(u64),
    /// It is gone, for this reason where one is to be counted.
    Over(Option<&'static str>),
}

/// What a write led to.
enum Sent {
    All,
    Part,
    /// All that there is; the next of it is being made.
    Making,
    Dead,
}

impl Core {
    /// Lets a stream that is behind go on.
    pub(super) fn catch_up(&mut self, stream: &mut Subscriber, key: Key) -> Next {
        let Some(mut backlog) = stream.backlog.take() else {
            return Next::Live;
        };
        let next = if backlog.blocked || backlog.lingers_until.is_some() {
            Next::Wait
        } else {
            self.go_on(stream, &mut backlog, key)
        };
        if matches!(next, Next::Blocked) {
            backlog.blocked = true;
            backlog.moved_at = self.now;
            self.hold(&mut backlog);
        }
        if !matches!(next, Next::Live) {
            stream.backlog = Some(backlog);
        }
        next
    }

    fn go_on(&mut self, stream: &mut Subscriber, backlog: &mut Backlog, key: Key) -> Next {
        match self.send_begun(stream, backlog, key) {
            Sent::All => {}
            Sent::Making => return Next::Wait,
            Sent::Part => return Next::Blocked,
            Sent::Dead => return Next::Over(Some("client")),
        }
        for _ in 0..EMPTY_PASSES {
            let limit = backlog.ending.map_or(self.cursor, |ending| ending.until);
            if backlog.page.is_some() {
                self.read_ahead(stream, backlog, key, limit);
                return self.send_page(stream, backlog);
            }
            if backlog.cursor >= limit {
                return match backlog.ending {
                    Some(_) => self.say_goodbye(stream, backlog, key),
                    None if backlog.cursor == self.cursor => Next::Live,
                    None => Next::Ahead,
                };
            }
            if !self.tail.covers(backlog.cursor) {
                self.ask(stream, backlog, key, limit);
                return Next::Wait;
            }
            match self.send_window(stream, backlog, limit) {
                Some(Sent::All | Sent::Making) => return Next::Again,
                Some(Sent::Part) => return Next::Blocked,
                Some(Sent::Dead) => return Next::Over(Some("client")),
                None => {}
            }
        }
        Next::Again
    }

    /// Sends the rest of a frame that was cut; then the next of its opening frames is made, by another thread.
    fn send_begun(&self, stream: &mut Subscriber, backlog: &mut Backlog, key: Key) -> Sent {
        if !backlog.rest.is_empty() {
            let rest = mem::take(&mut backlog.rest);
            let Ok(sent) = stream.sink.send(&rest, &mut Some(rest.clone())) else {
                return Sent::Dead;
            };
            if sent > 0 {
                stream.told_at = self.now;
            }
            if sent < rest.len() {
                backlog.rest = rest.slice(sent..);
                return Sent::Part;
            }
        }
        if let Some(prologue) = backlog.prologue.take() {
            backlog.opening = true;
            self.openers.ask(Work::Opening {
                port: Arc::clone(&self.port),
                key,
                frames: Making(prologue),
            });
        }
        if backlog.opening {
            Sent::Making
        } else {
            Sent::All
        }
    }

    /// Sends what is due of the window's next pages; `None` where nothing of it matches.
    fn send_window(
        &mut self,
        stream: &mut Subscriber,
        backlog: &mut Backlog,
        limit: u64,
    ) -> Option<Sent> {
        let mut pages = mem::take(&mut self.pages);
        let mut batch = mem::take(&mut self.batch);
        batch.clear();
        batch.through = backlog.cursor;
        // Where the window has just moved past the place, the next look finds that out.
        self.tail.pages(backlog.cursor, PASS_BYTES, &mut pages);
        let wish = &self.groups.get(stream.group as usize).wish;
        for page in pages.drain(..) {
            batch.add_matching(&page, wish.format, &wish.filter, backlog.cursor, limit);
        }
        self.pages = pages;
        let sent = if batch.bytes.is_empty() {
            backlog.cursor = batch.through;
            None
        } else {
            Some(self.send_batch(stream, backlog, &batch, 0).1)
        };
        self.batch = batch;
        sent
    }

    /// Sends what is left of a page of the log.
    fn send_page(&mut self, stream: &mut Subscriber, backlog: &mut Backlog) -> Next {
        let Some(page) = backlog.page.take() else {
            return Next::Again;
        };
        let (offset, sent) = self.send_batch(stream, backlog, &page, backlog.offset);
        backlog.offset = offset;
        match sent {
            Sent::Dead => Next::Over(Some("client")),
            Sent::Part => {
                backlog.page = Some(page);
                Next::Blocked
            }
            Sent::All | Sent::Making => {
                backlog.page = backlog.next.take();
                backlog.offset = 0;
                Next::Again
            }
        }
    }

    /// Sends a batch from `start` on, where a frame begins, and moves the cursor. Says where to go on.
    fn send_batch(
        &mut self,
        stream: &mut Subscriber,
        backlog: &mut Backlog,
        batch: &Batch,
        start: usize,
    ) -> (usize, Sent) {
        let due = &batch.bytes[start..];
        if due.is_empty() {
            backlog.cursor = batch.through;
            return (start, Sent::All);
        }
        let Ok(sent) = stream.sink.send(due, &mut None) else {
            return (start, Sent::Dead);
        };
        let cut = batch.cut(start, sent);
        self.deliveries += cut.frames as u64;
        if sent > 0 {
            stream.told_at = self.now;
        }
        if sent == due.len() {
            backlog.cursor = batch.through;
            return (batch.bytes.len(), Sent::All);
        }
        backlog.cursor = cut.reached.unwrap_or(backlog.cursor);
        backlog.rest =
            Bytes::copy_from_slice(&batch.bytes[start + sent..cut.end.max(start + sent)]);
        (cut.end, Sent::Part)
    }

    /// Reads the page after the present one while that is being written.
    fn read_ahead(&self, stream: &Subscriber, backlog: &mut Backlog, key: Key, limit: u64) {
        let after = backlog.read_up_to();
        if backlog.next.is_none() && after < limit && !self.tail.covers(after) {
            self.ask(stream, backlog, key, limit);
        }
    }

    fn ask(&self, stream: &Subscriber, backlog: &mut Backlog, key: Key, until: u64) {
        if backlog.reading.is_none() {
            let after = backlog.read_up_to();
            backlog.reading = Some(after);
            let wish = self.groups.get(stream.group as usize).wish.clone();
            self.readers.ask(Work::Page(Job {
                port: Arc::clone(&self.port),
                key,
                wish,
                after,
                until,
            }));
        }
    }

    /// Puts the last frame on its way, and ends the stream once that is out.
    fn say_goodbye(&mut self, stream: &mut Subscriber, backlog: &mut Backlog, key: Key) -> Next {
        let Some(ending) = backlog.ending else {
            return Next::Again;
        };
        if !backlog.said {
            backlog.said = true;
            let mut frame = Vec::with_capacity(160);
            let retry = ending
                .closing
                .retry(self.shared.settings.retry, self.random());
            write_closing(
                &mut frame,
                Some(self.log.epochs().name(backlog.cursor)),
                retry,
                ending.closing.as_str(),
            );
            backlog.rest = frame.into();
            match self.send_begun(stream, backlog, key) {
                Sent::All => {}
                Sent::Making => return Next::Wait,
                Sent::Part => return Next::Blocked,
                Sent::Dead => return Next::Over(Some("client")),
            }
        }
        if stream.sink.finish() {
            self.shared
                .metrics
                .streams_ended
                .with_label_values(&[ending.closing.label()])
                .inc();
            let until = ending.deadline.clamp(self.now, self.now + LINGER_MS);
            backlog.lingers_until = Some(until);
            return Next::Lingers(until);
        }
        Next::Over(Some(ending.closing.label()))
    }

    /// A blocked stream keeps its pages while there is room for such, or reads them again.
    fn hold(&mut self, backlog: &mut Backlog) {
        let bytes = backlog.page_bytes();
        if self.held + bytes > HELD_BYTES {
            backlog.page = None;
            backlog.next = None;
        } else {
            backlog.held = bytes;
            self.held += bytes;
        }
    }
}
