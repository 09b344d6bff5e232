//! The cut as `snapshot` frames, none of whose lines is longer than 32 KiB: many clients read lines of 64 KiB at most.
//!
//! Each frame says how many there are, so a first walk through the cut finds out how many things go into each, and a second one
//! makes them, one at a time, as the reader takes them. What readers of one and the same state need to know of the first walk they
//! share.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Item, List, Met, Snapshot, Walk};
use crate::{
    domain::{
        Json,
        lighter::{Bounded, lighter, lighter_workflow},
    },
    frame::control::write_snapshot,
    http::text::Thing,
};

/// The longest line.
const LINE: usize = 32 * 1024;

/// Of it, what a frame takes beside its things: names, numbers, the id.
const ENVELOPE: usize = 512;

/// What a frame's things may take.
const ROOM: usize = LINE - ENVELOPE;

/// By how much a thing may grow between the two walks: a lease's times and numbers change.
const SLACK: usize = 64;

/// Of the first frame, what the numbers may take. They can only be more by the names of patterns, which are in the list as well.
const STATS: usize = LINE / 2;

/// Bytes that the first walk looks at before others have their turn.
const AT_ONCE: usize = 256 * 1024;

/// How many things go into each frame.
type Plan = Arc<[u32]>;

/// The last plan of a whole cut, and the event that it stands at.
#[derive(Debug, Default)]
pub(in crate::http) struct Plans(Mutex<Option<(u64, Plan)>>);

/// The frames of a cut, made one at a time.
pub struct Frames {
    snapshot: Snapshot,
    stats: String,
    walk: Walk,
    stage: Stage,
}

enum Stage {
    Counting {
        plan: Vec<u32>,
        /// Things in the frame that is being filled, and the room that is left in it.
        count: u32,
        left: usize,
    },
    Making {
        plan: Plan,
        /// Frames that are made.
        made: usize,
        /// Things of the next one that are there.
        items: Vec<Item>,
    },
}

impl Frames {
    /// Of a cut. Nothing is done until the first is asked for.
    #[must_use]
    pub fn of(snapshot: Snapshot) -> Self {
        let stats = stats(&snapshot);
        Self {
            walk: Walk::through(&snapshot),
            stage: Stage::Counting {
                plan: Vec::new(),
                count: 0,
                left: ROOM - stats.len(),
            },
            snapshot,
            stats,
        }
    }

    /// Goes on with the first walk, for a while.
    fn count(&mut self) {
        let shared = self.shared_plan();
        let Stage::Counting { plan, count, left } = &mut self.stage else {
            return;
        };
        if let Some(plan) = shared {
            self.begin_making(plan);
            return;
        }
        let mut looked = 0;
        while looked < AT_ONCE {
            match self.walk.meet(&self.snapshot) {
                Met::One(item) => {
                    let bytes = within(&item, ROOM - SLACK).len() + SLACK;
                    looked += bytes;
                    // The first frame may be there for the numbers alone.
                    if bytes > *left {
                        plan.push(std::mem::take(count));
                        *left = ROOM;
                    }
                    *count += 1;
                    *left -= bytes.min(*left);
                }
                Met::Later => return,
                Met::End => {
                    plan.push(*count);
                    let plan: Plan = std::mem::take(plan).into();
                    if self.snapshot.is_whole() {
                        let place = self.snapshot.state.sequence;
                        *self.snapshot.app.plans().0.lock() = Some((place, plan.clone()));
                    }
                    self.begin_making(plan);
                    return;
                }
            }
        }
    }

    /// What another reader's first walk through the same cut found.
    fn shared_plan(&self) -> Option<Plan> {
        if !self.snapshot.is_whole() {
            return None;
        }
        let plans = self.snapshot.app.plans().0.lock();
        plans
            .as_ref()
            .filter(|(at, _)| *at == self.snapshot.state.sequence)
            .map(|(_, plan)| plan.clone())
    }

    fn begin_making(&mut self, plan: Plan) {
        self.walk = Walk::through(&self.snapshot);
        self.stage = Stage::Making {
            plan,
            made: 0,
            items: Vec::new(),
        };
    }

    /// The next frame; empty where its things aren't together yet.
    fn make(&mut self) -> Option<Bytes> {
        let Stage::Making { plan, made, items } = &mut self.stage else {
            return None;
        };
        let wanted = *plan.get(*made)? as usize;
        while items.len() < wanted {
            match self.walk.meet(&self.snapshot) {
                Met::One(item) => items.push(item),
                Met::Later => return Some(Bytes::new()),
                Met::End => break,
            }
        }
        *made += 1;
        let (part, parts, things) = (*made, plan.len(), std::mem::take(items));
        Some(self.frame(part, parts, &things))
    }

    fn frame(&self, part: usize, parts: usize, things: &[Item]) -> Bytes {
        let is_first = part == 1;
        let room = ROOM - if is_first { self.stats.len() } else { 0 };
        let texts = fitting(things, room);
        let id = self.snapshot.id();
        let mut data = format!(
            r#"{{"part":{part},"parts":{parts},"id":"{id}","sequence":{}"#,
            self.snapshot.state.sequence
        );
        if is_first {
            data.push_str(",\"status\":");
            data.push_str(Json::of(&self.snapshot.stats.status).as_str());
        }
        for list in [List::Servers, List::Workflows, List::Patterns] {
            data.push_str(",\"");
            data.push_str(list.name());
            data.push_str("\":[");
            let mut comma = "";
            for (_, text) in things
                .iter()
                .zip(&texts)
                .filter(|(it, _)| it.list() == list)
            {
                data.push_str(comma);
                data.push_str(text);
                comma = ",";
            }
            data.push(']');
        }
        if is_first {
            data.push_str(",\"stats\":");
            data.push_str(&self.stats);
        }
        data.push('}');
        let mut frame = Vec::with_capacity(data.len() + 256);
        write_snapshot(&mut frame, (part == parts).then_some(id), &data);
        Bytes::from(frame)
    }
}

impl Iterator for Frames {
    type Item = Bytes;

    /// The next frame; an empty one says that it takes a while, and that others shall have their turn.
    fn next(&mut self) -> Option<Bytes> {
        if matches!(self.stage, Stage::Counting { .. }) {
            self.count();
            return Some(Bytes::new());
        }
        self.make()
    }
}

/// The things' texts, which have that much room together. They had it when they were counted; what has grown since gives way.
fn fitting(things: &[Item], room: usize) -> Vec<String> {
    let mut texts: Vec<String> = things.iter().map(|it| within(it, ROOM - SLACK)).collect();
    for _ in 0..texts.len() {
        let bytes: usize = texts.iter().map(|text| text.len() + 1).sum();
        let Some(excess) = bytes.checked_sub(room).filter(|excess| *excess > 0) else {
            break;
        };
        let largest = texts.iter().enumerate().max_by_key(|(_, text)| text.len());
        let Some((at, most)) = largest.map(|(at, text)| (at, text.len())) else {
            break;
        };
        texts[at] = within(&things[at], most.saturating_sub(excess));
    }
    texts
}

/// A thing as JSON of at most `most` bytes, as long as that is some kilobytes.
pub(in crate::http) fn within(item: &Item, most: usize) -> String {
    let mut whole = Bounded::new(most);
    if Thing::from(item.clone()).write_to(&mut whole).is_ok() {
        return whole.into_text();
    }
    match item {
        Item::Workflow(workflow) => lighter_workflow(workflow, most),
        Item::Server(server) => lighter(Json::of(&**server).as_str(), Vec::new(), most),
        Item::Pattern(pattern) => lighter(Json::of(&**pattern).as_str(), Vec::new(), most),
    }
}

/// The numbers as JSON. Names of patterns are left out where they are too many: the list of patterns has them.
fn stats(snapshot: &Snapshot) -> String {
    let text = Json::of(&snapshot.stats);
    if text.as_str().len() <= STATS {
        return text.as_str().to_owned();
    }
    let mut fewer = snapshot.stats.clone();
    fewer.enabled_patterns.clear();
    let text = Json::of(&fewer);
    let members = text.as_str().strip_suffix('}').unwrap_or_default();
    format!("{members},\"truncated\":[\"enabledPatterns\"]}}")
}
