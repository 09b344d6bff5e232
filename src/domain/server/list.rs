//! Lists of servers: which ones.

use super::Server;
use crate::domain::event::{Health, Transport};

/// Which servers are wanted; what is empty wants all. Different fields are joined by AND, values of one by
/// OR, tags by AND.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerQuery {
    /// Any of these verdicts, as they are shown.
    pub health: Vec<Health>,
    /// Connected ones (`true`), gone ones (`false`).
    pub connected: Option<bool>,
    /// Any of these transports.
    pub transports: Vec<Transport>,
    /// All of these tags, each key and value.
    pub tags: Vec<(String, String)>,
}

impl ServerQuery {
    /// Whether it wants this server, which is shown with that health.
    #[must_use]
    pub fn matches(&self, server: &Server, health: Health) -> bool {
        (self.health.is_empty() || self.health.contains(&health))
            && self
                .connected
                .is_none_or(|wanted| wanted == server.is_connected())
            && (self.transports.is_empty()
                || self.transports.contains(&server.connection.transport))
            && self
                .tags
                .iter()
                .all(|(key, value)| server.tags.get(key) == Some(value))
    }
}
