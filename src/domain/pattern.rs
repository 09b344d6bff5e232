//! Patterns: named ways of working together that can be switched on and off.

use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use super::{
    command::{Decision, Rejection, SwitchPattern},
    event::{Event, Pattern},
};

/// The built-in patterns: name, description, whether it is on by default.
pub const BUILT_IN: [(&str, &str, bool); 5] = [
    (
        "event_driven",
        "Events as a whole: the stream, history and POST /events",
        true,
    ),
    (
        "server_chaining",
        "Servers pass results on to the next server in a chain",
        false,
    ),
    (
        "shared_resources",
        "Servers share resources with each other",
        false,
    ),
    (
        "sse_integration",
        "The stream of Server-Sent Events at GET /events",
        true,
    ),
    (
        "tool_composition",
        "Tools of several servers combine into one",
        false,
    ),
];

/// Longest name of a pattern, in bytes.
pub const MAX_NAME_LEN: usize = 128;

/// All patterns, by name.
#[derive(Debug, Clone)]
pub struct Patterns {
    by_name: RedBlackTreeMapSync<String, Arc<Pattern>>,
}

impl Default for Patterns {
    fn default() -> Self {
        let mut by_name = RedBlackTreeMapSync::new_sync();
        for (name, description, enabled) in BUILT_IN {
            let pattern = Pattern {
                name: name.to_owned(),
                description: description.to_owned(),
                enabled,
            };
            by_name.insert_mut(name.to_owned(), Arc::new(pattern));
        }
        Self { by_name }
    }
}

impl Patterns {
    /// The pattern of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Pattern>> {
        self.by_name.get(name)
    }

    /// Whether the pattern of this name is there and on.
    #[must_use]
    pub fn is_enabled(&self, name: &str) -> bool {
        self.get(name).is_some_and(|pattern| pattern.enabled)
    }

    /// All of them, in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Pattern>> {
        self.by_name.values()
    }

    pub(super) fn switch(&self, _switch: &SwitchPattern) -> Result<Decision, Rejection> {
        todo!()
    }

    pub(super) fn evolve(&mut self, _event: &Event) {
        todo!()
    }
}
