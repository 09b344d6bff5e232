//! What time brings about: leases that run out, steps and workflows that take too long.

use timeback_events::domain::{
    Command, Event, ServerId,
    command::{ChangeHealth, Deregister},
    event::{EventData, Health},
    health::Lease,
    server::HEARTBEAT_TIMEOUT,
    workflow::{StepStatus, WorkflowStatus},
};

use super::World;

impl World {
    /// One server is not heard of until another falls silent in its place.
    pub(super) fn fall_silent(&mut self) {
        let which = self.chance.below(self.leases.len().max(1));
        self.silent = self.leases.keys().nth(which).cloned();
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
        let (id, (_, lease)) = self.leases.iter_mut().nth(which).expect("one of them");
        if self.silent.as_ref() == Some(id) {
            return;
        }
        lease.heartbeat(self.mono, report.map(|health| (health, None)), &self.rules);
        let id = id.clone();
        self.tell_verdict(&id);
    }

    /// What silence means by now.
    pub(super) fn look_at_leases(&mut self) {
        let ids: Vec<ServerId> = self.leases.keys().cloned().collect();
        for id in ids {
            let Some((connection, lease)) = self.leases.get_mut(&id) else {
                continue;
            };
            let connection = *connection;
            lease.elapse(self.mono, &self.rules);
            if lease.ends_at(&self.rules, false) <= self.mono {
                self.note("lease ran out");
                let gone = Deregister {
                    server: id,
                    reason: HEARTBEAT_TIMEOUT.to_owned(),
                    connection: Some(connection),
                    instance_id: None,
                    last_seen_at: None,
                    occurred_at: None,
                };
                self.ask(Command::Deregister(gone));
            } else {
                self.tell_verdict(&id);
            }
        }
        for (id, (connection, lease)) in &self.leases {
            let server = self.state.servers.connected(id).expect("a lease's server");
            assert_eq!(server.connected_sequence, *connection);
            assert_eq!(
                server.health,
                lease.verdict(),
                "the state says what the lease says of {id}"
            );
        }
    }

    fn tell_verdict(&mut self, id: &ServerId) {
        let Some((connection, lease)) = self.leases.get(id) else {
            return;
        };
        let evidence = lease.evidence(self.mono, &self.rules);
        let change = ChangeHealth {
            server: id.clone(),
            connection: *connection,
            health: lease.verdict(),
            lease_health: lease.lease_health(),
            reported_health: lease.reported(),
            reason: evidence.reason.to_owned(),
            source: evidence.source,
            missed_heartbeats: lease.missed(),
            last_seen_at: self.wall,
            detail: Some(evidence.detail),
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
        match &event.what.data {
            EventData::ServerConnected(data) => {
                let lease = Lease::new(interval, self.mono);
                self.leases
                    .insert(data.connection.id.clone(), (event.position.sequence, lease));
            }
            EventData::ServerUpdated(data) => {
                let lease = self.leases.get_mut(&data.connection.id);
                let (_, lease) = lease.expect("a connected server has a lease");
                lease.set_interval(interval);
            }
            EventData::ServerDisconnected(data) => {
                self.leases.remove(&data.connection.id);
            }
            _ => {}
        }
    }
}

fn is_up(began: i64, timeout_ms: Option<u64>, now: i64) -> bool {
    timeout_ms.is_some_and(|timeout| now >= began.saturating_add_unsigned(timeout))
}
