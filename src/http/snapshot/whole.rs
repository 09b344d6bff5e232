//! The cut as one JSON object: the answer of `GET /snapshot`.

use super::{Item, List, Met, Snapshot, Walk};
use crate::{
    domain::Json,
    http::{
        pieces::ALL,
        text::{Part, Parts, Thing},
    },
};

/// The members of a [`super::SnapshotView`], the lists last.
pub(super) struct Whole {
    snapshot: Snapshot,
    walk: Walk,
    stage: Stage,
    /// Whether the present list has a thing already.
    begun: bool,
    /// Met, but of a list that hasn't begun.
    next: Option<Item>,
}

enum Stage {
    Head,
    In(List),
    Ended,
}

impl Whole {
    pub(super) fn of(snapshot: Snapshot) -> Self {
        Self {
            walk: Walk::through(&snapshot),
            snapshot,
            stage: Stage::Head,
            begun: false,
            next: None,
        }
    }

    fn head(&self) -> String {
        let Snapshot { state, stats, .. } = &self.snapshot;
        format!(
            r#"{{"id":"{}","sequence":{},"status":{},"stats":{},"#,
            self.snapshot.id(),
            state.sequence,
            Json::of(&stats.status).as_str(),
            Json::of(stats).as_str(),
        )
    }
}

impl Parts for Whole {
    fn expected(&self) -> u32 {
        ALL
    }

    fn next_part(&mut self, _written: usize) -> Part {
        let list = match self.stage {
            Stage::Ended => return Part::End,
            Stage::Head => {
                self.stage = Stage::In(List::Patterns);
                return Part::Words(format!("{}\"patterns\":[", self.head()));
            }
            Stage::In(list) => list,
        };
        let met = self
            .next
            .take()
            .map_or_else(|| self.walk.meet(&self.snapshot), Met::One);
        let item = match met {
            Met::Later => return Part::Later,
            Met::One(item) if item.list() == list => item,
            // Lists without a thing are there, too.
            other => {
                if let Met::One(item) = other {
                    self.next = Some(item);
                }
                self.begun = false;
                let Some(next) = list.next() else {
                    self.stage = Stage::Ended;
                    return Part::Words("]}".to_owned());
                };
                self.stage = Stage::In(next);
                return Part::Words(format!("],\"{}\":[", next.name()));
            }
        };
        let comma = if std::mem::replace(&mut self.begun, true) {
            ","
        } else {
            ""
        };
        Part::Thing(comma, item.into())
    }
}

impl From<Item> for Thing {
    fn from(item: Item) -> Self {
        match item {
            Item::Pattern(pattern) => Self::Pattern(pattern),
            Item::Server(server) => Self::Server(server),
            Item::Workflow(workflow) => Self::Defined(workflow),
        }
    }
}
