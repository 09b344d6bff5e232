//! The whole state: how commands are decided and events evolve it.
//!
//! The state is persistent (in the sense of Okasaki): a clone is a few pointers, and sharing is safe. So the
//! writer decides a batch on a clone and drops it if the commit fails, and a reader takes one consistent cut
//! of everything without holding anybody up.

use std::{io, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    command::{Command, Decision, Emit, Reaction, Rejection, Reply},
    custom_types::CustomTypes,
    event::{Because, Event, EventData, Health, IntegrationStatusChanged, NewEvent, Pattern},
    ids::MAX_ID_LEN,
    limit::Limit,
    pattern::Patterns,
    server::{Note, Server, Servers},
    status::Integration,
    workflow::{SavedWorkflows, Workflows},
};

/// What the operator set that decisions depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// A server's heartbeat interval where it names none.
    pub heartbeat_interval_ms: u64,
    /// So many better reports in a row of an instance of itself count.
    pub recover_after: u32,
    /// Ended workflows and gone servers leave the state after this long.
    pub state_retention_age_ms: i64,
    /// Or when there are more of them than this.
    pub state_retention_count: usize,
    /// Servers in the state, at most.
    pub max_servers: usize,
    /// Running workflows, at most.
    pub max_workflows: usize,
    /// Steps of one workflow, at most.
    pub max_steps: usize,
    /// Tags of one server, at most.
    pub max_tags: usize,
    /// Characters of an id that is new, at most; ids of any kind have 128 at most.
    pub max_id_length: usize,
    /// Patterns, built-in and custom, at most.
    pub max_patterns: usize,
    /// Event types of producers' own in use, at most.
    pub max_custom_types: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            heartbeat_interval_ms: 10_000,
            recover_after: 2,
            state_retention_age_ms: 24 * 60 * 60 * 1000,
            state_retention_count: 10_000,
            max_servers: 1_000_000,
            max_workflows: 1_000_000,
            max_steps: 10_000,
            max_tags: 64,
            max_id_length: MAX_ID_LEN,
            max_patterns: 1000,
            max_custom_types: 10_000,
        }
    }
}

/// One moment by both reckonings, ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// By the wall clock: what events and answers show. It may be set.
    pub wall: i64,
    /// By the time that has really passed: what ages go by. It only moves on.
    pub lived: i64,
}

/// All that the events so far amount to.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The last event that is in here.
    pub sequence: u64,
    /// Servers, connected and gone.
    pub servers: Servers,
    /// Workflows, running and ended.
    pub workflows: Workflows,
    /// Patterns.
    pub patterns: Patterns,
    /// Event types of producers' own.
    pub custom_types: CustomTypes,
    /// The integration as a whole.
    pub integration: Integration,
    /// By how much the wall clock is ahead of the time that has really passed, ms, as the log tells.
    pub clock_offset_ms: i64,
    /// The time that had really passed at the last event, ms; `None` before the first.
    pub as_of: Option<i64>,
}

impl State {
    /// A time of the wall clock, by both reckonings.
    #[must_use]
    pub fn moment(&self, wall: i64) -> Moment {
        Moment {
            wall,
            lived: wall.saturating_sub(self.clock_offset_ms),
        }
    }

    /// The integration's status. Without those that are old enough to be forgotten, it is the servers' as they are;
    /// else it is what it was when something last became better or worse: servers that come and go healthy don't
    /// move it.
    #[must_use]
    pub fn status_at(&self, lived: i64, policy: &Policy) -> Health {
        if self.servers.forgotten_at(lived, policy) > 0 {
            self.servers.counts_at(lived, policy).status()
        } else {
            self.integration.due
        }
    }

    /// What a command brings about. Changes nothing.
    ///
    /// # Errors
    /// [`Rejection`] where the command is refused.
    pub fn decide(
        &self,
        command: &Command,
        policy: &Policy,
        now: i64,
    ) -> Result<Decision, Rejection> {
        if policy.max_id_length < MAX_ID_LEN && self.brings_a_long_id(command, policy) {
            return Err(Rejection::LimitReached {
                limit: Limit::IdLength,
                most: policy.max_id_length,
            });
        }
        let at = self.moment(now);
        match command {
            Command::Register(register) => self.servers.register(register, policy, at),
            Command::Deregister(deregister) => self.servers.deregister(deregister, at),
            Command::ChangeHealth(change) => self.servers.change_health(change, policy, now),
            Command::HearProbe(heard) => Ok(self.servers.hear_probe(heard, policy)),
            Command::StartWorkflow(start) => self.workflows.start(start, &self.servers, policy, at),
            Command::ReportStep(report) => self.workflows.report(report, &self.servers, policy, at),
            Command::EndWorkflow(end) => self.workflows.end(end, &self.servers, policy, at),
            Command::StepTimedOut {
                workflow,
                step,
                attempt,
            } => Ok(self
                .workflows
                .step_timed_out(workflow, step, *attempt, &self.servers, now)),
            Command::WorkflowTimedOut { workflow } => {
                Ok(self.workflows.timed_out(workflow, &self.servers, now))
            }
            Command::SwitchPattern(switch) => self.patterns.switch(switch, policy),
            Command::Emit(emit) => self.emit(emit, policy, at.lived),
            Command::React(reaction) => Ok(self.react(reaction, policy, now)),
        }
    }

    /// Takes in what happened. Can't fail: what doesn't fit is of another version and changes nothing.
    pub fn evolve(&mut self, event: &Event, policy: &Policy) {
        self.sequence = event.position.sequence;
        if let Some(offset) = event.what.private.clock_offset_ms {
            self.clock_offset_ms = offset;
        }
        let lived = self.moment(event.timestamp).lived;
        self.as_of = Some(lived);
        let trouble = self.servers.tally().trouble();
        let ended = self.servers.ended_by(event);
        self.servers.evolve(event, lived);
        let moved = self.look_for_trouble(trouble);
        self.workflows.evolve(event, lived, &ended);
        self.patterns.evolve(event);
        self.custom_types.evolve(event, lived, policy);
        let trouble = self.servers.tally().trouble();
        self.servers.expire(lived, policy);
        self.workflows.expire(lived, policy);
        self.look_for_trouble(trouble);
        self.integration.evolve(event, moved);
    }

    /// Where something is better or worse than `before`, the status is what follows from the servers now; whether it is
    /// another one.
    fn look_for_trouble(&mut self, before: (u64, u64, u64)) -> bool {
        if self.servers.tally().trouble() == before {
            return false;
        }
        let due = self.servers.status();
        std::mem::replace(&mut self.integration.due, due) != due
    }

    /// Takes in what is kept beside the log; whether it fits what the events amount to. The newest of its key holds,
    /// whichever event came last.
    pub fn note(&mut self, note: &Note) -> bool {
        self.servers.note(note)
    }

    /// The next thing that follows from what happened elsewhere, if any is due. Asked again after each
    /// commit and at startup, until there is none.
    #[must_use]
    pub fn due_reaction(&self, now: i64, policy: &Policy) -> Option<Reaction> {
        self.workflows.due_release().or_else(|| {
            let status = self.status_at(self.moment(now).lived, policy);
            (status != self.integration.announced).then_some(Reaction::AnnounceStatus)
        })
    }

    /// The state as bytes, for [`Self::restore`].
    ///
    /// # Errors
    /// Where it doesn't serialize: a mistake in its types.
    pub fn save(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = Vec::new();
        self.save_to(&mut bytes).map(|()| bytes)
    }

    /// The same bytes, written as they come into being: no whole copy is ever in memory.
    ///
    /// # Errors
    /// Where they can't be written, or don't serialize.
    pub fn save_to(&self, out: impl io::Write) -> Result<(), serde_json::Error> {
        let saved = SavedState {
            sequence: self.sequence,
            announced: self.integration.announced,
            because: self.integration.because.clone(),
            due: Some(self.integration.due),
            clock_offset_ms: self.clock_offset_ms,
            as_of: self.as_of,
            servers: self.servers.save(),
            workflows: self.workflows.save(),
            patterns: self.patterns.save(),
            custom_types: self.custom_types.save(),
        };
        serde_json::to_writer(out, &saved)
    }

    /// The state that [`Self::save`] made these bytes of.
    ///
    /// # Errors
    /// Where the bytes are of another version, or damaged.
    pub fn restore(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes).map(Self::from_saved)
    }

    /// The same from bytes that are read as they are needed.
    ///
    /// # Errors
    /// Where they can't be read, too.
    pub fn restore_from(bytes: impl io::Read) -> Result<Self, serde_json::Error> {
        let bytes = io::BufReader::with_capacity(READ_AT_ONCE, bytes);
        serde_json::from_reader(bytes).map(Self::from_saved)
    }

    fn from_saved(saved: SavedState<Server, SavedWorkflows>) -> Self {
        Self {
            sequence: saved.sequence,
            servers: Servers::restore(saved.servers),
            workflows: Workflows::restore(saved.workflows),
            patterns: Patterns::restore(saved.patterns),
            custom_types: CustomTypes::restore(saved.custom_types),
            integration: Integration {
                announced: saved.announced,
                because: saved.because,
                due: saved.due.unwrap_or(saved.announced),
            },
            clock_offset_ms: saved.clock_offset_ms,
            as_of: saved.as_of,
        }
    }

    /// Whether a command would bring an id into the state that is longer than the operator allows. One that is
    /// there already may stay.
    fn brings_a_long_id(&self, command: &Command, policy: &Policy) -> bool {
        let is_long = |id: &str| id.len() > policy.max_id_length;
        match command {
            Command::Register(register) => {
                let is_new = self.servers.get(&register.id).is_none();
                let instance = register.instance_id.as_ref();
                (is_new && is_long(register.id.as_str()))
                    || instance.is_some_and(|instance| is_long(instance.as_str()))
            }
            Command::StartWorkflow(start) if self.workflows.get(&start.id).is_none() => {
                let mut steps = start.steps.iter();
                is_long(start.id.as_str()) || steps.any(|step| is_long(step.id.as_str()))
            }
            Command::ReportStep(report) => {
                let workflow = self.workflows.get(&report.workflow);
                is_long(report.step.as_str())
                    && workflow.is_some_and(|workflow| workflow.step(&report.step).is_none())
            }
            Command::Emit(emit) => {
                emit.server.as_ref().is_some_and(|id| is_long(id.as_str()))
                    || emit
                        .workflow
                        .as_ref()
                        .is_some_and(|id| is_long(id.as_str()))
            }
            Command::SwitchPattern(switch) => {
                self.patterns.get(&switch.name).is_none() && is_long(&switch.name)
            }
            _ => false,
        }
    }

    fn emit(&self, emit: &Emit, policy: &Policy, now: i64) -> Result<Decision, Rejection> {
        let data = if emit.kind.as_ref() == "integration_status_changed" {
            EventData::IntegrationStated(emit.data.clone())
        } else {
            self.custom_types.admit(&emit.kind, policy, now)?;
            EventData::Custom {
                kind: emit.kind.clone(),
                data: emit.data.clone(),
                workflow: emit.workflow.clone(),
            }
        };
        let tags = emit
            .server
            .as_ref()
            .map(|id| self.servers.tags_of(id))
            .unwrap_or_default();
        let event = NewEvent {
            server: emit.server.clone(),
            tags,
            occurred_at: emit.occurred_at,
            ..NewEvent::new(data)
        };
        Ok(Decision {
            events: vec![event],
            reply: Reply::Appended,
        })
    }

    fn react(&self, reaction: &Reaction, policy: &Policy, now: i64) -> Decision {
        match reaction {
            Reaction::ReleaseSteps { workflow, server } => {
                self.workflows.release(workflow, server, &self.servers, now)
            }
            Reaction::AnnounceStatus => {
                let lived = self.moment(now).lived;
                let counts = self.servers.counts_at(lived, policy);
                let data = IntegrationStatusChanged {
                    status: self.status_at(lived, policy),
                    previous_status: self.integration.announced,
                    connected_servers: counts.connected,
                    healthy_servers: counts.healthy,
                    lost_servers: counts.lost,
                    lost: self.servers.first_lost(lived, policy, MOST_LOST_NAMED),
                    active_workflows: self.workflows.active(),
                    because: self.integration.because.clone(),
                };
                if data.status == data.previous_status {
                    return Decision::nothing(Reply::Done);
                }
                let event = NewEvent::new(EventData::IntegrationStatusChanged(data));
                Decision {
                    events: vec![event],
                    reply: Reply::Done,
                }
            }
        }
    }
}

/// Lost servers that `integration_status_changed` names.
const MOST_LOST_NAMED: usize = 10;

/// Bytes of a saved state that are read at once.
const READ_AT_ONCE: usize = 64 * 1024;

/// What a snapshot holds. Indices and counts follow from it and are made anew.
#[derive(Serialize, Deserialize)]
struct SavedState<S, W> {
    sequence: u64,
    announced: Health,
    /// Missing where the announced status is the present one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    because: Option<Because>,
    /// Missing in snapshots of versions that knew no other status.
    #[serde(default)]
    due: Option<Health>,
    /// Missing in snapshots of versions that trusted the wall clock.
    #[serde(default)]
    clock_offset_ms: i64,
    #[serde(default)]
    as_of: Option<i64>,
    servers: Vec<S>,
    workflows: W,
    patterns: Vec<Pattern>,
    /// Missing in snapshots of versions that didn't count them.
    #[serde(default)]
    custom_types: Vec<(i64, Arc<str>)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::workflow::WorkflowStatus;

    /// As the version of 2026-11-28 wrote it.
    const OLD: &str = r#"{"sequence":9,"announced":"degraded","servers":[{"connection":{"id":"s","name":"S","transport":"http",
        "capabilities":{"tools":["t"],"resources":[],"prompts":[]},"metadata":{"n":1.50}},"tags":{},"heartbeatIntervalMs":5000,
        "connectedAt":1,"connectedSequence":1,"health":"degraded","leaseHealth":"degraded","reportedHealth":"healthy",
        "reason":"missed_heartbeats","detail":null,"lastSeenAt":1,"missedHeartbeats":1,"goneAt":null,"lost":false}],
        "workflows":{"completed":0,"failed":1,"workflows":[{"id":"w","about":{"name":"W","description":null,
        "definition":{"name":"W"},"timeout_ms":null,"max_failures":null,"declared":true,"started_at":2,"started_sequence":2},
        "counts":{"ended":0,"failed":0,"retry_attempts":0},"outcome":{"completed":false,"reason":"cancelled","error":"cancelled",
        "failed_step":null,"results":null,"ended_at":3,"sequence":4},"declarations":[{"id":"a","params":{"n":1.50},"own":1e2}],
        "runs":[{"status":"failed","waiting":0,"attempt":1,"server":"s","instance":null,"started_at":2,"ended_at":3,"result":null,
        "error":"the workflow ended first","past":[],"orphaned":false}]}]},"patterns":[]}"#;

    #[test]
    fn a_state_that_an_older_version_saved_is_restored() {
        let state = State::restore(OLD.as_bytes()).expect("an old state");
        let server = state.servers.get(&"s".parse().unwrap()).unwrap();
        assert_eq!(
            (server.health, server.protocol_version.as_deref()),
            (Health::Degraded, None)
        );
        let workflow = state.workflows.get(&"w".parse().unwrap()).unwrap();
        assert_eq!(workflow.status(), WorkflowStatus::Cancelled);
        let saved = String::from_utf8(state.save().unwrap()).unwrap();
        assert_eq!(saved.matches(r#"{"n":1.50}"#).count(), 2, "{saved}");
        let again = State::restore(saved.as_bytes()).unwrap();
        assert_eq!(again.save().unwrap(), saved.as_bytes());
    }
}
