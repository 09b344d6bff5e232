//! Lists of servers: which ones, and page by page.

use std::sync::Arc;

use super::{Server, Servers};
use crate::domain::{
    event::{Health, Transport},
    ids::ServerId,
};

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

/// One page of a list.
#[derive(Debug, Clone)]
pub struct ServerPage {
    /// The wanted ones, in order of their ids.
    pub servers: Vec<Arc<Server>>,
    /// Where the list goes on: after this id. `None` at its end.
    pub next: Option<ServerId>,
}

impl ServerQuery {
    /// Whether it wants this server.
    #[must_use]
    pub fn matches(&self, server: &Server) -> bool {
        (self.health.is_empty() || self.health.contains(&server.shown_health()))
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

impl Servers {
    /// Wanted servers after this id: at most `limit` of them, looked for among the next `scan` servers. So
    /// a page may be short, even empty, and still name where the list goes on.
    #[must_use]
    pub fn page(
        &self,
        query: &ServerQuery,
        after: Option<&ServerId>,
        limit: usize,
        scan: usize,
    ) -> ServerPage {
        let mut servers: Vec<Arc<Server>> = Vec::new();
        let mut last: Option<&ServerId> = None;
        for (looked_at, server) in self.after(after).enumerate() {
            let wanted = query.matches(server);
            if looked_at >= scan || (wanted && servers.len() >= limit) {
                return ServerPage {
                    servers,
                    next: last.cloned(),
                };
            }
            if wanted {
                servers.push(server.clone());
            }
            last = Some(&server.connection.id);
        }
        ServerPage {
            servers,
            next: None,
        }
    }
}
