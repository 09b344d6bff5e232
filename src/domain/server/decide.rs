//! What registering, leaving and verdicts bring about.

use std::sync::Arc;

use super::{
    HEARTBEAT_INTERVAL_MS, HEARTBEAT_TIMEOUT, Instance, Instances, Mode, Note, Process, REPLACED,
    Server, Servers, is_expected,
};
use crate::domain::{
    command::{Decision, Deregister, Register, Rejection, Reply},
    event::{
        Connection, ConnectionName, Drift, EventData, InstanceChanged, NewEvent, Private,
        ServerConnected, ServerDisconnected, ServerUpdated,
    },
    fleet::{Moment, Policy},
    ids::InstanceId,
    limit::Limit,
    probe::Probing,
};

/// The `reason` of an instance that is new.
const REGISTERED: &str = "registered";
/// The `reason` of a server whose verdict follows from an instance that came or went.
const INSTANCE_CONNECTED: &str = "instance_connected";
const INSTANCE_DISCONNECTED: &str = "instance_disconnected";

/// What becomes of a registration of a connected server.
enum Place<'s> {
    /// This instance is there: it describes itself again.
    Known(&'s Arc<Instance>),
    /// It joins the others.
    Joins,
    /// It takes the place of all that are there.
    Replaces,
}

impl Servers {
    /// New or back: `server_connected`. Connected already: nothing, or `server_updated` with what changed.
    /// Another instance: of `many`, it joins; of `one`, the old one's `server_disconnected` and the new one's
    /// `server_connected`.
    pub(in crate::domain) fn register(
        &self,
        register: &Register,
        policy: &Policy,
        at: Moment,
    ) -> Result<Decision, Rejection> {
        let known = self.get(&register.id);
        if let Some(meant) = register.learnt_of {
            let is_there = known.is_some_and(|server| {
                server.connected_sequence == meant && (server.is_connected() || server.lost)
            });
            if !is_there {
                return Ok(Decision::nothing(Reply::Done));
            }
        }
        let kept = known.and_then(|server| server.kept_of_probe(register));
        let register = kept.as_ref().unwrap_or(register);
        let interval_ms = register.heartbeat_interval_ms.unwrap_or_else(|| {
            let probed = register.probe.as_ref().map(|probe| probe.interval_ms);
            let probed = probed.map(|ms| ms.min(*HEARTBEAT_INTERVAL_MS.end()));
            probed.unwrap_or(policy.heartbeat_interval_ms)
        });
        if let Some(instance) = &register.instance_id
            && self.farewells.holds(&register.id, instance, at.lived)
        {
            return Err(Rejection::InstanceGone {
                server: register.id.clone(),
                instance: instance.clone(),
            });
        }
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
        let reply = |created, instance: Option<&InstanceId>| Reply::Server {
            id: register.id.clone(),
            instance: instance.cloned(),
            created,
        };
        let named = register.instance_id.as_ref();
        let connect = || connected(register, interval_ms, known.map(Arc::as_ref));
        let Some(server) = known.filter(|server| server.is_connected()) else {
            return Ok(Decision {
                events: vec![connect()],
                reply: reply(true, named),
            });
        };
        match server.place_of(register) {
            Place::Known(instance) => Ok(Decision {
                events: server.described_again(register, instance, interval_ms),
                reply: reply(false, renamed(server, instance, register)),
            }),
            Place::Joins if self.tally().instances >= policy.max_servers as u64 => {
                Err(Rejection::LimitReached {
                    limit: Limit::Servers,
                    most: policy.max_servers,
                })
            }
            Place::Joins => Ok(Decision {
                events: server.joined(register, interval_ms, at.wall),
                reply: reply(true, named),
            }),
            Place::Replaces => {
                let going = Going {
                    reason: REPLACED,
                    expected: true,
                    last_seen_at: register.last_seen_at,
                    occurred_at: register.occurred_at,
                    now: at.wall,
                };
                let mut events = server.all_go(&going);
                events.push(connect());
                Ok(Decision {
                    events,
                    reply: reply(true, named),
                })
            }
        }
    }

    /// A connected server or the last of its instances: `server_disconnected`. One of several instances:
    /// `server_instance_disconnected`. A lost server: the first again, so that it stops counting as unhealthy. One that
    /// left, or another connection's: nothing. An instance that isn't known: its farewell is kept for a while.
    pub(in crate::domain) fn deregister(
        &self,
        deregister: &Deregister,
        at: Moment,
    ) -> Result<Decision, Rejection> {
        let by_lease = deregister.connection.is_some();
        let named = deregister.instance_id.as_ref();
        let farewell = || match named {
            Some(instance) if !by_lease => Some(Note::Farewell {
                server: deregister.server.clone(),
                instance: instance.clone(),
                at: at.lived,
            }),
            _ => None,
        };
        let Some(server) = self.get(&deregister.server) else {
            let note =
                farewell().ok_or_else(|| Rejection::ServerNotFound(deregister.server.clone()))?;
            return Ok(Decision::nothing(Reply::Noted(Box::new(note))));
        };
        let expected = deregister
            .expected
            .unwrap_or_else(|| is_expected(&deregister.reason));
        let going = Going {
            reason: &deregister.reason,
            expected,
            last_seen_at: deregister.last_seen_at,
            occurred_at: deregister.occurred_at,
            now: at.wall,
        };
        let done = |events| {
            Ok(Decision {
                events,
                reply: Reply::Done,
            })
        };
        if !server.is_connected() {
            let is_its_own = !differs(server.connection.instance_id.as_ref(), named);
            let forgive = server.lost && expected && deregister.reason != HEARTBEAT_TIMEOUT;
            return match farewell() {
                _ if by_lease => done(Vec::new()),
                _ if is_its_own && forgive => done(vec![server.left(None, &going)]),
                // Of a server that is gone, whichever instance it was: one that is under way must not bring it back.
                Some(note) => Ok(Decision::nothing(Reply::Noted(Box::new(note)))),
                None => done(Vec::new()),
            };
        }
        let instance = match (deregister.connection, named) {
            (Some(connection), named) => server
                .instances
                .get(named)
                .filter(|instance| instance.connection == connection),
            (None, None) => return done(server.all_go(&going)),
            (None, Some(named)) => server.instance_of(Some(named)),
        };
        match (instance, farewell()) {
            (Some(instance), _) => done(server.one_goes(instance, &going)),
            (None, Some(note)) => Ok(Decision::nothing(Reply::Noted(Box::new(note)))),
            (None, None) => done(Vec::new()),
        }
    }
}

/// How somebody goes.
struct Going<'a> {
    reason: &'a str,
    expected: bool,
    /// When it was last heard of, epoch ms, as the leases know.
    last_seen_at: Option<i64>,
    occurred_at: Option<i64>,
    now: i64,
}

impl Server {
    /// A registration of a server that probes have learnt something of, with what they learnt: it says again what it
    /// said before, which isn't news. `None`: it is taken as it is.
    fn kept_of_probe(&self, register: &Register) -> Option<Register> {
        let before = self.probe.as_deref()?;
        let probe = register.probe.as_ref()?;
        let given = before.given.clone()?;
        if register.learnt_of.is_some() || before.url != probe.url {
            return None;
        }
        let is_same_name = register.name == given;
        let known = &self.connection;
        Some(Register {
            name: if is_same_name {
                known.name.clone()
            } else {
                register.name.clone()
            },
            transport: known.transport,
            version: known.version.clone(),
            protocol_version: self.protocol_version.clone(),
            capabilities: known.capabilities.clone(),
            probe: Some(Probing {
                given: Some(register.name.clone()),
                ..probe.clone()
            }),
            ..register.clone()
        })
    }

    fn place_of(&self, register: &Register) -> Place<'_> {
        let named = register.instance_id.as_ref();
        let exact = self.instances.get(named);
        let place = match (register.instances, named) {
            (Mode::Many, _) => exact.map(Place::Known),
            (Mode::One, Some(named)) => self.instance_of(Some(named)).map(Place::Known),
            // One that names none matches any, and never takes the place of several.
            (Mode::One, None) => exact.or_else(|| self.instances.newest()).map(Place::Known),
        };
        place.unwrap_or(match register.instances {
            Mode::Many => Place::Joins,
            Mode::One => Place::Replaces,
        })
    }

    fn described_again(
        &self,
        register: &Register,
        instance: &Instance,
        interval_ms: u64,
    ) -> Vec<NewEvent> {
        let mode = if self.instances.len() > 1 {
            Mode::Many
        } else {
            register.instances
        };
        let stored = self.connection.instance_id.as_ref();
        let named = match mode {
            Mode::One => register.instance_id.as_ref().or(instance.id.as_ref()),
            // Which of them described it doesn't matter.
            Mode::Many => stored,
        };
        let connection = describe(register, named);
        let mut changed = changes(
            self,
            register,
            &connection,
            (instance.heartbeat_interval_ms, interval_ms),
        );
        let process = &register.process;
        let differing = [
            ("instances", self.mode != mode),
            (
                "host",
                process.host.is_some() && process.host != instance.process.host,
            ),
            (
                "pid",
                process.pid.is_some() && process.pid != instance.process.pid,
            ),
            (
                "client",
                process.client.is_some() && process.client != instance.process.client,
            ),
        ];
        changed.extend(
            differing
                .into_iter()
                .filter(|(_, differ)| *differ)
                .map(|(name, _)| name.to_owned()),
        );
        if changed.is_empty() {
            return Vec::new();
        }
        let data = EventData::ServerUpdated(Box::new(ServerUpdated {
            drift: Drift::between(&self.connection.capabilities, &connection.capabilities),
            connection,
            changed,
            protocol_version: register.protocol_version.clone(),
        }));
        let event = described(register, interval_ms, data);
        vec![NewEvent {
            private: Private {
                instance: instance.id.clone(),
                instances: Some(mode),
                process: Some(merged(process, &instance.process)),
                ..event.private
            },
            ..event
        }]
    }

    fn joined(&self, register: &Register, interval_ms: u64, now: i64) -> Vec<NewEvent> {
        let count = self.instances.len() as u64 + 1;
        let process = &register.process;
        let data = EventData::InstanceConnected(Box::new(InstanceChanged {
            instance_id: register.instance_id.clone(),
            connected_instances: count,
            reason: REGISTERED.to_owned(),
            expected: true,
            last_seen_at: None,
            host: process.host.clone(),
            pid: process.pid,
            client: process.client.clone(),
        }));
        let mut events = vec![described(register, interval_ms, data)];
        let connection = describe(register, self.connection.instance_id.as_ref());
        let mut changed = changes(self, register, &connection, (interval_ms, interval_ms));
        if self.mode != Mode::Many {
            changed.push("instances".to_owned());
        }
        if !changed.is_empty() {
            let data = EventData::ServerUpdated(Box::new(ServerUpdated {
                drift: Drift::between(&self.connection.capabilities, &connection.capabilities),
                connection,
                changed,
                protocol_version: register.protocol_version.clone(),
            }));
            let event = described(register, interval_ms, data);
            events.push(NewEvent {
                private: Private {
                    instance: register.instance_id.clone(),
                    instances: Some(Mode::Many),
                    ..event.private
                },
                ..event
            });
        }
        let mut instances = self.instances.clone();
        instances.put(Instance {
            id: register.instance_id.clone(),
            process: process.clone(),
            heartbeat_interval_ms: interval_ms,
            connected_at: now,
            connection: 0,
            condition: super::Condition::default(),
            lease_words: None,
            last_seen_at: now,
            missed_heartbeats: 0,
        });
        let detail = format!("{} connected", label(register.instance_id.as_ref()));
        events.extend(self.turned_by(&instances, INSTANCE_CONNECTED, detail));
        events
    }

    /// Each of them goes, the newest last.
    fn all_go(&self, going: &Going<'_>) -> Vec<NewEvent> {
        let Some(newest) = self.instances.newest() else {
            return vec![self.left(None, going)];
        };
        let others = self
            .instances
            .connected()
            .filter(|instance| instance.connection != newest.connection);
        let mut events: Vec<NewEvent> = (1..self.instances.len())
            .rev()
            .zip(others)
            .map(|(left, instance)| self.parted(instance, left, going))
            .collect();
        events.push(self.left(Some(newest), going));
        events
    }

    fn one_goes(&self, instance: &Arc<Instance>, going: &Going<'_>) -> Vec<NewEvent> {
        let left = self.instances.len() - 1;
        if left == 0 {
            return vec![self.left(Some(instance), going)];
        }
        let mut instances: Instances = self.instances.clone();
        instances.take(instance.id.as_ref());
        let detail = format!("{} is gone: {}", label(instance.id.as_ref()), going.reason);
        let mut events = vec![self.parted(instance, left, going)];
        events.extend(self.turned_by(&instances, INSTANCE_DISCONNECTED, detail));
        events
    }

    fn parted(&self, instance: &Instance, left: usize, going: &Going<'_>) -> NewEvent {
        let Process { host, pid, client } = instance.process.clone();
        let data = EventData::InstanceDisconnected(Box::new(InstanceChanged {
            instance_id: instance.id.clone(),
            connected_instances: left as u64,
            reason: going.reason.to_owned(),
            expected: going.expected,
            last_seen_at: Some(going.last_seen_at.unwrap_or(instance.last_seen_at)),
            host,
            pid,
            client,
        }));
        NewEvent {
            occurred_at: going.occurred_at,
            ..NewEvent::of_server(self.connection.id.clone(), self.tags.clone(), data)
        }
    }

    fn left(&self, last: Option<&Arc<Instance>>, going: &Going<'_>) -> NewEvent {
        let Connection { id, name, .. } = &self.connection;
        let seen_at = going.last_seen_at.filter(|_| self.is_connected());
        let until = if self.is_connected() {
            going.now
        } else {
            self.last_seen_at
        };
        let connected_for = until.saturating_sub(self.connected_at);
        let data = EventData::ServerDisconnected(ServerDisconnected {
            reason: going.reason.to_owned(),
            connection: ConnectionName {
                id: id.clone(),
                name: name.clone(),
            },
            last_seen_at: seen_at.unwrap_or(self.last_seen_at),
            expected: Some(going.expected),
            connected_for_ms: Some(u64::try_from(connected_for).unwrap_or(0)),
            instance_id: last.and_then(|instance| instance.id.clone()),
        });
        NewEvent {
            occurred_at: going.occurred_at,
            ..NewEvent::of_server(id.clone(), self.tags.clone(), data)
        }
    }
}

/// What an instance is called after a registration that it is known by.
fn renamed<'a>(
    server: &Server,
    instance: &'a Instance,
    register: &'a Register,
) -> Option<&'a InstanceId> {
    if server.instances.len() == 1 && register.instances == Mode::One {
        register.instance_id.as_ref().or(instance.id.as_ref())
    } else {
        instance.id.as_ref()
    }
}

/// What is told now, and of what isn't, what was told before.
fn merged(told: &Process, before: &Process) -> Process {
    Process {
        host: told.host.clone().or_else(|| before.host.clone()),
        pid: told.pid.or(before.pid),
        client: told.client.clone().or_else(|| before.client.clone()),
    }
}

fn label(instance: Option<&InstanceId>) -> String {
    instance.map_or_else(
        || "the instance without a name".to_owned(),
        |id| format!("instance {id}"),
    )
}

/// Whether both are named and differ; one that isn't named matches any.
fn differs(stored: Option<&InstanceId>, named: Option<&InstanceId>) -> bool {
    matches!((stored, named), (Some(stored), Some(named)) if stored != named)
}

fn connected(register: &Register, interval_ms: u64, before: Option<&Server>) -> NewEvent {
    let connection = describe(register, register.instance_id.as_ref());
    let mut changes = before.map_or_else(Vec::new, |before| {
        let intervals = (before.heartbeat_interval_ms, interval_ms);
        changes(before, register, &connection, intervals)
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
    let event = described(
        register,
        interval_ms,
        EventData::ServerConnected(Box::new(data)),
    );
    let is_told = register.process != Process::default();
    NewEvent {
        private: Private {
            instances: (register.instances == Mode::Many).then_some(Mode::Many),
            process: is_told.then(|| register.process.clone()),
            ..event.private
        },
        ..event
    }
}

fn described(register: &Register, interval_ms: u64, data: EventData) -> NewEvent {
    let private = Private {
        heartbeat_interval_ms: Some(interval_ms),
        probe: register.probe.clone(),
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
    intervals: (u64, u64),
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
        ("heartbeatIntervalMs", intervals.0 != intervals.1),
        (
            "protocolVersion",
            server.protocol_version != register.protocol_version,
        ),
        (
            "probe",
            match (server.probe.as_deref(), &register.probe) {
                (Some(old), Some(new)) => !old.asks_as(new),
                (old, new) => old.is_some() != new.is_some(),
            },
        ),
    ]
    .into_iter()
    .filter(|(_, differ)| *differ)
    .map(|(name, _)| name.to_owned())
    .collect()
}
