//! What time asks of streams: bookmarks, stalled sockets, deadlines. One sweep over all streams of a loop
//! when the first of them is due, no timer per stream.

use bytes::Bytes;

use super::{Core, Shard, small};
use crate::{
    frame::control::{write_bookmark, write_closing},
    streams::{
        port::Key,
        subscriber::{Backlog, Subscriber},
    },
};
use std::sync::atomic::Ordering;

/// What a sweep does with a stream.
enum Due {
    /// Nothing before then.
    At(u64),
    /// It took a bookmark only in part and is behind from now on.
    Behind,
    /// It ends, for this reason where one is to be counted.
    Over(Option<&'static str>),
}

impl Shard {
    pub(super) fn sweep(&mut self) {
        let core = &mut self.core;
        let mut bookmark = Vec::new();
        let epochs = core.log.epochs();
        let head = epochs.name(core.tail.head());
        write_bookmark(&mut bookmark, epochs.name(core.cursor), head);
        let mut owned = None;
        let mut next = u64::MAX;
        let mut lag = 0;
        let mut over = Vec::new();
        let mut behind = Vec::new();
        for (index, stream) in &mut self.streams {
            let key = Key {
                index: small(index),
                generation: stream.generation,
            };
            let due = match stream.backlog.take() {
                None => core.remind(stream, &bookmark, &mut owned),
                Some(mut backlog) => {
                    lag = lag.max(core.tail.head().saturating_sub(backlog.cursor));
                    let due = core.look_after(stream, &mut backlog, head);
                    stream.backlog = Some(backlog);
                    due
                }
            };
            match due {
                Due::At(at) => next = next.min(at),
                Due::Behind => behind.push((stream.group, stream.live_at)),
                Due::Over(reason) => over.push((key, reason)),
            }
        }
        // Members move when one leaves; from the back, none that is still to leave is moved.
        behind.sort_unstable_by(|a, b| b.cmp(a));
        for (group, at) in behind {
            self.leave_live(group, at);
            next = next.min(self.core.now + self.core.stall_timeout());
        }
        for (key, reason) in over {
            self.remove(key, reason);
        }
        self.core.tell_lag(lag);
        self.next_sweep = if next == u64::MAX {
            next
        } else {
            next.max(self.core.now + self.core.sweep_pause())
        };
    }
}

impl Core {
    /// A live stream gets a bookmark when it got nothing else for a while.
    fn remind(&self, stream: &mut Subscriber, bookmark: &[u8], owned: &mut Option<Bytes>) -> Due {
        let due = stream.told_at + self.keepalive();
        if due > self.now {
            return Due::At(due);
        }
        match stream.sink.send(bookmark, owned) {
            Err(_) => Due::Over(Some("client")),
            Ok(sent) if sent == bookmark.len() => {
                stream.told_at = self.now;
                Due::At(self.now + self.keepalive())
            }
            Ok(sent) => {
                // A bookmark that didn't begin is left out.
                let rest = if sent == 0 {
                    Bytes::new()
                } else {
                    Bytes::copy_from_slice(&bookmark[sent..])
                };
                let backlog = Backlog {
                    blocked: true,
                    ..Backlog::at(self.cursor, rest, self.now)
                };
                stream.backlog = Some(Box::new(backlog));
                Due::Behind
            }
        }
    }

    /// A stream that is behind may be stalled, past its deadline, or searching for long.
    fn look_after(
        &mut self,
        stream: &mut Subscriber,
        backlog: &mut Backlog,
        head: crate::domain::Position,
    ) -> Due {
        if let Some(until) = backlog.lingers_until {
            return if until <= self.now {
                Due::Over(None)
            } else {
                Due::At(until)
            };
        }
        let mut next = u64::MAX;
        if let Some(ending) = backlog.ending {
            if ending.deadline <= self.now {
                self.cut(stream, backlog);
                return Due::Over(Some(ending.closing.label()));
            }
            next = ending.deadline;
        }
        if backlog.blocked {
            let due = backlog.moved_at + self.stall_timeout();
            return if due <= self.now {
                Due::Over(Some("stalled"))
            } else {
                Due::At(next.min(due))
            };
        }
        let due = stream.told_at + self.keepalive();
        if due <= self.now && backlog.is_between_frames() && !backlog.said {
            let mut bookmark = Vec::with_capacity(128);
            write_bookmark(&mut bookmark, self.log.epochs().name(backlog.cursor), head);
            // What doesn't go out now goes out with its next turn.
            backlog.rest = bookmark.into();
            stream.told_at = self.now;
            if let Ok(sent) = stream
                .sink
                .send(&backlog.rest.clone(), &mut Some(backlog.rest.clone()))
            {
                backlog.rest = backlog.rest.slice(sent..);
                backlog.blocked = !backlog.rest.is_empty();
                backlog.moved_at = self.now;
            }
        }
        Due::At(next.min(due.max(self.now + self.keepalive())))
    }

    /// Ends a stream that is still behind: between frames where the sink stands there.
    fn cut(&mut self, stream: &mut Subscriber, backlog: &Backlog) {
        let Some(ending) = backlog.ending else { return };
        if backlog.rest.is_empty() && !backlog.said {
            // An opening that isn't out whole hasn't reached a place that the client could come back to.
            let place = backlog
                .is_between_frames()
                .then(|| self.log.epochs().name(backlog.cursor));
            let mut frame = Vec::with_capacity(160);
            let retry = ending
                .closing
                .retry(self.shared.settings.retry, self.random());
            write_closing(&mut frame, place, retry, ending.closing.as_str());
            // A sink without room misses the goodbye, nothing else.
            let _ = stream.sink.send(&frame, &mut None);
        }
        stream.sink.finish();
    }

    fn tell_lag(&self, lag: u64) {
        let lags = &self.shared.lags;
        lags[self.number].store(lag, Ordering::Relaxed);
        let most = lags
            .iter()
            .map(|lag| lag.load(Ordering::Relaxed))
            .max()
            .unwrap_or(0);
        self.shared
            .metrics
            .stream_lag
            .set(i64::try_from(most).unwrap_or(i64::MAX));
    }

    /// The least time between two sweeps, ms: a sixteenth of what they watch over, half a second at most.
    fn sweep_pause(&self) -> u64 {
        (self.keepalive().min(self.stall_timeout()) / 16).clamp(1, 500)
    }
}
