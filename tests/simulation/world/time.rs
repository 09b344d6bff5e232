//! What time brings about: leases that run out, steps and workflows that take too long.

use timeback_events::domain::{
    Command, Event, ServerId,
    command::{ChangeHealth, Deregister, LeaseWord, SelfReport},
    event::{EventData, Health},
    health::Lease,
    server::HEARTBEAT_TIMEOUT,
    workflow::{StepStatus, WorkflowStatus},
};

use super::World;

impl World {
    /// One instance is not heard of until another falls silent in its place.
    pub(super) fn fall_silent(&mut self) {
        let which = self.chance.below(self.leases.len().max(1));
        self.silent = self.leases.keys().nth(which).copied();
    }

    pub(super) fn heartbeat(&mut self) {
        if self.leases.is_empty() {
            return;
        }
        let which = self.chance.below(self.leases.len());
        let report = match self.chance.below(10) {
            0 => Some(Health::Unhealthy),
            1 => Some(Health::Degraded),
            2..=4 => Some(Health::Healthy),
            _ => None,
        };
        let connection = *self.leases.keys().nth(which).expect("one of them");
        if self.silent == Some(connection) {
            return;
        }
        if let Some((_, _, lease)) = self.leases.get_mut(&connection) {
            lease.heartbeat(self.mono, &self.rules);
        }
        self.tell(connection, report);
    }

    /// What silence means by now.
    pub(super) fn look_at_leases(&mut self) {
        let connections: Vec<u64> = self.leases.keys().copied().collect();
        for connection in connections {
            let Some((server, instance, lease)) = self.leases.get_mut(&connection) else {
                continue;
            };
            lease.elapse(self.mono, &self.rules);
            if lease.ends_at(&self.rules, false) <= self.mono {
                let gone = Deregister {
                    server: server.clone(),
                    reason: HEARTBEAT_TIMEOUT.to_owned(),
                    connection: Some(connection),
                    instance_id: instance.clone(),
                    expected: None,
                    last_seen_at: None,
                    occurred_at: None,
                };
                self.note("lease ran out");
                self.ask(Command::Deregister(gone));
            } else {
                self.tell(connection, None);
            }
        }
        for (connection, (id, name, lease)) in &self.leases {
            let server = self.state.servers.connected(id).expect("a lease's server");
            let instance = server.instances.get(name.as_ref());
            let instance = instance.expect("a lease's instance");
            assert_eq!(instance.connection, *connection);
            assert_eq!(
                instance.condition.lease,
                lease.health(),
                "the state says what the lease says of {id}"
            );
        }
    }

    /// Tells what the lease says, and what the instance says of itself.
    fn tell(&mut self, connection: u64, report: Option<Health>) {
        let Some((server, instance, lease)) = self.leases.get(&connection) else {
            return;
        };
        let change = ChangeHealth {
            server: server.clone(),
            instance_id: instance.clone(),
            connection: Some(connection),
            lease: Some(LeaseWord {
                health: lease.health(),
                missed_heartbeats: lease.missed(),
                words: lease.words(self.mono, &self.rules),
            }),
            report: report.map(|health| SelfReport {
                health,
                detail: None,
            }),
            last_seen_at: Some(self.wall),
            occurred_at: None,
        };
        self.ask(Command::ChangeHealth(change));
    }

    /// Steps and workflows whose time is up.
    pub(super) fn look_at_timers(&mut self) {
        let mut due = Vec::new();
        for workflow in self.state.workflows.iter() {
            if workflow.status() != WorkflowStatus::Running {
                continue;
            }
            if is_up(workflow.started_at(), workflow.timeout_ms(), self.wall) {
                let workflow = workflow.id.clone();
                due.push(Command::WorkflowTimedOut { workflow });
                continue;
            }
            for step in workflow.steps() {
                let began = step
                    .started_at()
                    .filter(|_| step.status() == StepStatus::Running);
                if began.is_some_and(|began| is_up(began, step.declaration().timeout, self.wall)) {
                    due.push(Command::StepTimedOut {
                        workflow: workflow.id.clone(),
                        step: step.declaration().id.clone(),
                        attempt: step.attempt(),
                    });
                }
            }
        }
        for command in due {
            self.note("time was up");
            self.ask(command);
        }
    }

    /// Leases follow the events, as the hub's own do.
    pub(super) fn lease_of(&mut self, event: &Event) {
        let interval = event.what.private.heartbeat_interval_ms.unwrap_or(2_000);
        let Some(server) = &event.what.server else {
            return;
        };
        let connected = match &event.what.data {
            EventData::ServerConnected(data) => data.connection.instance_id.clone(),
            EventData::InstanceConnected(data) => data.instance_id.clone(),
            EventData::ServerUpdated(_) => return self.leases_renamed(server),
            _ => return,
        };
        let lease = Lease::new(interval, self.mono);
        let entry = (server.clone(), connected, lease);
        self.leases.insert(event.position.sequence, entry);
    }

    /// A server described itself again: its instances may have other names and intervals.
    fn leases_renamed(&mut self, server: &ServerId) {
        let server = self.state.servers.connected(server);
        for instance in server.expect("it is connected").instances.connected() {
            let lease = self.leases.get_mut(&instance.connection);
            let (_, name, lease) = lease.expect("a connected instance has a lease");
            name.clone_from(&instance.id);
            lease.set_interval(instance.heartbeat_interval_ms);
        }
    }
}

fn is_up(began: i64, timeout_ms: Option<u64>, now: i64) -> bool {
    timeout_ms.is_some_and(|timeout| now >= began.saturating_add_unsigned(timeout))
}
