//! New pages for the streams that have caught up: each group's frames are put together once, then every
//! member gets one write. Members outside, events inside: a socket that is cold is touched once.

use std::mem;

use bytes::Bytes;

use super::{Shard, small};
use crate::streams::{
    batch::{Batch, PASS_BYTES, within},
    groups::Groups,
    port::Key,
    subscriber::Backlog,
};
use crate::tail::Page;

impl Shard {
    /// Delivers one pass of what is new, if anything is.
    pub(super) fn pass(&mut self) {
        if self.core.tail.head() <= self.core.cursor {
            return;
        }
        let mut pages = mem::take(&mut self.core.pages);
        if self
            .core
            .tail
            .pages(self.core.cursor, PASS_BYTES, &mut pages)
        {
            if let Some(last) = pages.last() {
                let until = last.last();
                for group in touched(&mut self.core.groups, &pages, self.core.cursor) {
                    self.core
                        .batch
                        .gather(&mut self.core.groups, group, &pages, self.core.cursor);
                    self.deliver(group);
                }
                self.core.cursor = until;
            }
        } else {
            self.fall_behind();
        }
        pages.clear();
        self.core.pages = pages;
        for key in mem::take(&mut self.ahead) {
            self.queue(key);
        }
    }

    /// Writes the batch to a group's live members; those that don't take all of it fall behind.
    fn deliver(&mut self, group: usize) {
        let mut live = mem::take(&mut self.core.groups.get_mut(group).live);
        let batch = &self.core.batch;
        let mut owned = None;
        let mut dead = Vec::new();
        let mut blocked = false;
        let mut frames = 0;
        let mut at = 0;
        while let Some(index) = live.get(at).copied() {
            let stream = &mut self.streams[index as usize];
            let sent = stream.sink.send(&batch.bytes, &mut owned);
            if sent.as_ref().is_ok_and(|sent| *sent == batch.bytes.len()) {
                stream.told_at = self.core.now;
                frames += batch.ends.len();
                at += 1;
                continue;
            }
            let sent = sent.unwrap_or_else(|_| {
                dead.push(Key {
                    index,
                    generation: stream.generation,
                });
                0
            });
            let cut = batch.cut(0, sent);
            frames += cut.frames;
            let rest = Bytes::copy_from_slice(&batch.bytes[sent..cut.end.max(sent)]);
            let cursor = cut.reached.unwrap_or(self.core.cursor);
            stream.backlog = Some(Box::new(Backlog {
                blocked: true,
                ..Backlog::at(cursor, rest, self.core.now)
            }));
            blocked = true;
            live.swap_remove(at);
            if let Some(moved) = live.get(at) {
                self.streams[*moved as usize].live_at = small(at);
            }
        }
        self.core.groups.get_mut(group).live = live;
        self.core.deliveries += frames as u64;
        for key in dead {
            self.remove(key, Some("client"));
        }
        if blocked {
            self.sweep_by(self.core.now + self.core.stall_timeout());
        }
    }

    /// The window has moved past the loop: every live stream goes on by itself, from the log.
    fn fall_behind(&mut self) {
        let places: Vec<usize> = self.core.groups.places().collect();
        for group in places {
            for index in mem::take(&mut self.core.groups.get_mut(group).live) {
                let stream = &mut self.streams[index as usize];
                stream.backlog = Some(Box::new(Backlog::at(
                    self.core.cursor,
                    Bytes::new(),
                    self.core.now,
                )));
                let key = Key {
                    index,
                    generation: stream.generation,
                };
                self.queue(key);
            }
        }
        self.core.cursor = self.core.tail.head();
    }
}

/// The groups that want any of the new events; what narrow ones want is noted with them.
fn touched(groups: &mut Groups, pages: &[std::sync::Arc<Page>], after: u64) -> Vec<usize> {
    let mut touched: Vec<usize> = groups
        .all()
        .filter(|at| !groups.get(*at).live.is_empty())
        .collect();
    if groups.any_narrow() {
        for (number, page) in pages.iter().enumerate() {
            let (from, to) = within(page, after, u64::MAX);
            for index in from..to {
                groups.hit(
                    &page.facts(index),
                    (small(number), small(index)),
                    &mut touched,
                );
            }
        }
    }
    touched
}

impl Batch {
    /// Puts together what a group wants of the new pages.
    fn gather(
        &mut self,
        groups: &mut Groups,
        at: usize,
        pages: &[std::sync::Arc<Page>],
        after: u64,
    ) {
        self.clear();
        let group = groups.get_mut(at);
        let format = group.wish.format;
        if group.wish.filter.is_all() {
            for page in pages {
                let (from, to) = within(page, after, u64::MAX);
                if from < to {
                    self.add(page, format, from, to);
                }
            }
            return;
        }
        for run in group.hits.chunk_by(|a, b| a.0 == b.0 && a.1 + 1 == b.1) {
            let (page, from) = run[0];
            self.add(
                &pages[page as usize],
                format,
                from as usize,
                from as usize + run.len(),
            );
        }
        group.hits.clear();
    }
}
