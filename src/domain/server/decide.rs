//! What registering, leaving and verdicts bring about.

use std::sync::Arc;

use super::{HEARTBEAT_TIMEOUT, REPLACED, Server, Servers};
use crate::domain::{
    command::{ChangeHealth, Decision, Deregister, Register, Rejection, Reply},
    event::{
        Connection, ConnectionName, Drift, EventData, NewEvent, Private, ServerConnected,
        ServerDisconnected, ServerHealthChanged, ServerUpdated,
    },
    fleet::Policy,
    ids::InstanceId,
    limit::Limit,
};

impl Servers {
    /// New or back: `server_connected`. Connected already: nothing, or `server_updated` with what changed.
    /// Another instance: the old one's `server_disconnected` and the new one's `server_connected`.
    pub(in crate::domain) fn register(
        &self,
        register: &Register,
        policy: &Policy,
        _now: i64,
    ) -> Result<Decision, Rejection> {
        let known = self.get(&register.id);
        let interval_ms = register
            .heartbeat_interval_ms
            .unwrap_or(policy.heartbeat_interval_ms);
        if known.is_none() && self.len() >= policy.max_servers {
            return Err(Rejection::LimitReached {
                limit: Limit::Servers,
                most: policy.max_servers,
            });
        }
        if register.tags.len() > policy.max_tags {
            return Err(Rejection::LimitReached {
                limit: Limit::Tags,
                most: policy.max_tags,
            });
        }
        let reply = |created| Reply::Server {
            id: register.id.clone(),
            created,
        };
        let connect = || connected(register, interval_ms, known.map(Arc::as_ref));
        let Some(server) = known.filter(|server| server.is_connected()) else {
            return Ok(Decision {
                events: vec![connect()],
                reply: reply(true),
            });
        };
        let stored = server.connection.instance_id.as_ref();
        if differs(stored, register.instance_id.as_ref()) {
            let left = server.left(REPLACED, register.last_seen_at, register.occurred_at);
            return Ok(Decision {
                events: vec![left, connect()],
                reply: reply(true),
            });
        }
        let instance = register.instance_id.as_ref().or(stored);
        let connection = describe(register, instance);
        let changed = changes(server, register, &connection, interval_ms);
        if changed.is_empty() {
            return Ok(Decision::nothing(reply(false)));
        }
        let data = EventData::ServerUpdated(Box::new(ServerUpdated {
            drift: Drift::between(&server.connection.capabilities, &connection.capabilities),
            connection,
            changed,
            protocol_version: register.protocol_version.clone(),
        }));
        Ok(Decision {
            events: vec![described(register, interval_ms, data)],
            reply: reply(false),
        })
    }

    /// A connected server: `server_disconnected`. A lost one: the same, so that it stops counting as
    /// unhealthy. One that left, another connection's or another instance's: nothing.
    pub(in crate::domain) fn deregister(
        &self,
        deregister: &Deregister,
        _now: i64,
    ) -> Result<Decision, Rejection> {
        let Some(server) = self.get(&deregister.server) else {
            return Err(Rejection::ServerNotFound(deregister.server.clone()));
        };
        let another = deregister
            .connection
            .is_some_and(|meant| meant != server.connected_sequence)
            || differs(
                server.connection.instance_id.as_ref(),
                deregister.instance_id.as_ref(),
            );
        let forgive = server.lost && deregister.reason != HEARTBEAT_TIMEOUT;
        if another || !(server.is_connected() || forgive) {
            return Ok(Decision::nothing(Reply::Done));
        }
        let seen = deregister.last_seen_at.filter(|_| server.is_connected());
        let left = server.left(&deregister.reason, seen, deregister.occurred_at);
        Ok(Decision {
            events: vec![left],
            reply: Reply::Done,
        })
    }

    /// `server_health_changed` where the connection that is meant is the present one and the verdict
    /// differs. Its parts alone are no event.
    pub(in crate::domain) fn change_health(
        &self,
        change: &ChangeHealth,
    ) -> Result<Decision, Rejection> {
        let Some(server) = self
            .connected(&change.server)
            .filter(|server| server.connected_sequence == change.connection)
            .filter(|server| server.health != change.health)
        else {
            return Ok(Decision::nothing(Reply::Done));
        };
        let data = EventData::ServerHealthChanged(ServerHealthChanged {
            name: server.connection.name.clone(),
            health: change.health,
            previous_health: server.health,
            reason: change.reason.clone(),
            source: change.source,
            missed_heartbeats: change.missed_heartbeats,
            last_seen_at: change.last_seen_at,
            detail: change.detail.clone(),
        });
        let event = NewEvent {
            occurred_at: change.occurred_at,
            private: Private {
                lease_health: Some(change.lease_health),
                reported_health: Some(change.reported_health),
                ..Private::default()
            },
            ..NewEvent::of_server(change.server.clone(), server.tags.clone(), data)
        };
        Ok(Decision {
            events: vec![event],
            reply: Reply::Done,
        })
    }
}

impl Server {
    fn left(&self, reason: &str, seen_at: Option<i64>, occurred_at: Option<i64>) -> NewEvent {
        let Connection { id, name, .. } = &self.connection;
        let data = EventData::ServerDisconnected(ServerDisconnected {
            reason: reason.to_owned(),
            connection: ConnectionName {
                id: id.clone(),
                name: name.clone(),
            },
            last_seen_at: seen_at.unwrap_or(self.last_seen_at),
        });
        NewEvent {
            occurred_at,
            ..NewEvent::of_server(id.clone(), self.tags.clone(), data)
        }
    }
}

/// Whether both are named and differ; one that isn't named matches any.
fn differs(stored: Option<&InstanceId>, named: Option<&InstanceId>) -> bool {
    matches!((stored, named), (Some(stored), Some(named)) if stored != named)
}

fn connected(register: &Register, interval_ms: u64, before: Option<&Server>) -> NewEvent {
    let connection = describe(register, register.instance_id.as_ref());
    let mut changes = before.map_or_else(Vec::new, |before| {
        changes(before, register, &connection, interval_ms)
    });
    // Every run of a server is another instance.
    changes.retain(|name| name != "instanceId");
    let drift = before.and_then(|before| {
        Drift::between(&before.connection.capabilities, &connection.capabilities)
    });
    let data = ServerConnected {
        connection,
        reconnected: before.is_some(),
        heartbeat_interval_ms: Some(interval_ms),
        protocol_version: register.protocol_version.clone(),
        changes,
        drift,
    };
    described(
        register,
        interval_ms,
        EventData::ServerConnected(Box::new(data)),
    )
}

fn described(register: &Register, interval_ms: u64, data: EventData) -> NewEvent {
    let private = Private {
        heartbeat_interval_ms: Some(interval_ms),
        ..Private::default()
    };
    let tags = Arc::new(register.tags.clone());
    let occurred_at = register.occurred_at;
    NewEvent {
        occurred_at,
        private,
        ..NewEvent::of_server(register.id.clone(), tags, data)
    }
}

fn describe(register: &Register, instance: Option<&InstanceId>) -> Connection {
    Connection {
        id: register.id.clone(),
        name: register.name.clone(),
        transport: register.transport,
        url: register.url.clone(),
        version: register.version.clone(),
        capabilities: register.capabilities.clone(),
        tags: register.tags.clone(),
        metadata: register.metadata.clone(),
        instance_id: instance.cloned(),
    }
}

/// The names of the fields that differ, as the API spells them.
fn changes(
    server: &Server,
    register: &Register,
    new: &Connection,
    interval_ms: u64,
) -> Vec<String> {
    let old = &server.connection;
    [
        ("name", old.name != new.name),
        ("transport", old.transport != new.transport),
        ("url", old.url != new.url),
        ("version", old.version != new.version),
        ("capabilities", old.capabilities != new.capabilities),
        ("tags", old.tags != new.tags),
        ("metadata", old.metadata != new.metadata),
        ("instanceId", old.instance_id != new.instance_id),
        (
            "heartbeatIntervalMs",
            server.heartbeat_interval_ms != interval_ms,
        ),
        (
            "protocolVersion",
            server.protocol_version != register.protocol_version,
        ),
    ]
    .into_iter()
    .filter(|(_, differ)| *differ)
    .map(|(name, _)| name.to_owned())
    .collect()
}
