//! What a reader wants: parsed from a query, matched against stored events.
//!
//! Filters of different names are joined by AND, values of one by OR; repeated tags by AND.

pub mod parse;
pub mod query;
pub mod start;

use std::sync::Arc;

use crate::domain::{Record, ServerId, WorkflowId};

/// Types that a reader wants: a name, or all that begin alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TypePattern {
    /// This type.
    Exact(String),
    /// All types that begin with this (`workflow_*`).
    Prefix(String),
}

/// One set of conditions; what is empty wants everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selection {
    /// Any of these types.
    pub types: Vec<TypePattern>,
    /// Any of these servers.
    pub servers: Vec<ServerId>,
    /// Any of these workflows.
    pub workflows: Vec<WorkflowId>,
    /// All of these tags, each `key:value`.
    pub tags: Vec<String>,
}

/// What a reader asked for, within what it may see. Equal filters compare and hash alike, so that readers
/// can be grouped by them.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filter {
    /// What it asked for.
    pub query: Selection,
    /// What its token lets it see; `None` for everything.
    pub grant: Option<Arc<Selection>>,
}

impl Selection {
    /// Whether it wants everything.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.types.is_empty()
            && self.servers.is_empty()
            && self.workflows.is_empty()
            && self.tags.is_empty()
    }

    /// Whether it wants this event.
    #[must_use]
    pub fn matches(&self, record: &Record<'_>) -> bool {
        (self.types.is_empty()
            || self
                .types
                .iter()
                .any(|pattern| pattern.matches(record.kind)))
            && (self.servers.is_empty()
                || record
                    .server
                    .is_some_and(|id| self.servers.iter().any(|wanted| wanted.as_str() == id)))
            && (self.workflows.is_empty()
                || record
                    .workflow
                    .is_some_and(|id| self.workflows.iter().any(|wanted| wanted.as_str() == id)))
            && self
                .tags
                .iter()
                .all(|wanted| record.tags().any(|tag| tag == wanted))
    }

    /// Sorts and dedups, so that equal wishes are equal values.
    pub fn normalize(&mut self) {
        self.types.sort_unstable();
        self.types.dedup();
        self.servers.sort_unstable();
        self.servers.dedup();
        self.workflows.sort_unstable();
        self.workflows.dedup();
        self.tags.sort_unstable();
        self.tags.dedup();
    }
}

impl TypePattern {
    /// Whether the type is wanted.
    #[must_use]
    pub fn matches(&self, kind: &str) -> bool {
        match self {
            Self::Exact(name) => name == kind,
            Self::Prefix(prefix) => kind.starts_with(prefix.as_str()),
        }
    }
}

impl Filter {
    /// Wants everything.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Whether it wants everything.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.query.is_all() && self.grant.as_ref().is_none_or(|grant| grant.is_all())
    }

    /// Whether it wants this event.
    #[must_use]
    pub fn matches(&self, record: &Record<'_>) -> bool {
        self.query.matches(record)
            && self
                .grant
                .as_ref()
                .is_none_or(|grant| grant.matches(record))
    }

    /// The conditions, each of which must hold.
    pub fn selections(&self) -> impl Iterator<Item = &Selection> {
        std::iter::once(&self.query).chain(self.grant.as_deref())
    }
}
