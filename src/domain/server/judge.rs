//! What is heard of an instance's health, and what becomes of its server's.

use std::sync::Arc;

use super::{Instance, Instances, Mode, Note, Server, Servers};
use crate::domain::{
    command::{ChangeHealth, Decision, HearProbe, Rejection, Reply},
    event::{EventData, Health, HealthSource, NewEvent, Private, ServerHealthChanged},
    fleet::Policy,
    ids::InstanceId,
};

/// A server, and the instance of it.
type Meant<'a> = (&'a Arc<Server>, &'a Arc<Instance>);

impl Servers {
    /// `server_health_changed` where the server's verdict, which is its best instance's, becomes another. What changes
    /// of an instance otherwise is kept beside the log.
    pub(in crate::domain) fn change_health(
        &self,
        change: &ChangeHealth,
        policy: &Policy,
        now: i64,
    ) -> Result<Decision, Rejection> {
        let Some((server, instance)) = self.meant(change)? else {
            return Ok(Decision::nothing(Reply::Done));
        };
        let mut condition = instance.condition.clone();
        if let Some(word) = &change.lease {
            condition.hear_lease(word.health);
        }
        if let Some(report) = &change.report {
            let detail = report.detail.as_deref();
            condition.hear_report(report.health, detail, policy.recover_after);
        }
        let health = condition.verdict();
        if condition == instance.condition {
            return Ok(Decision::nothing(Reply::Heard { health, note: None }));
        }
        let told = change.lease.as_ref();
        let heard = Instance {
            lease_words: told
                .map(|word| word.words.clone())
                .or_else(|| instance.lease_words.clone()),
            missed_heartbeats: told.map_or(0, |word| word.missed_heartbeats),
            last_seen_at: change.last_seen_at.unwrap_or(now),
            condition,
            ..Instance::clone(instance)
        };
        let note = Note::Condition {
            server: change.server.clone(),
            instance: heard.id.clone(),
            connection: heard.connection,
            condition: heard.condition.clone(),
            lease_words: heard.lease_words.clone(),
        };
        let event = server.turned(&heard).map(|event| NewEvent {
            occurred_at: change.occurred_at,
            ..event
        });
        Ok(Decision {
            events: event.into_iter().collect(),
            reply: Reply::Heard {
                health,
                note: Some(Box::new(note)),
            },
        })
    }

    /// The same of what a probe found; of a connection that is over, nothing.
    pub(in crate::domain) fn hear_probe(&self, heard: &HearProbe, policy: &Policy) -> Decision {
        let nothing = || Decision::nothing(Reply::Done);
        let Some(server) = self.connected(&heard.server) else {
            return nothing();
        };
        let instance = server.instances.get(heard.instance_id.as_ref());
        let Some(instance) = instance.filter(|instance| instance.connection == heard.connection)
        else {
            return nothing();
        };
        let mut condition = instance.condition.clone();
        let HearProbe {
            verdict,
            health,
            detail,
            ..
        } = heard;
        condition.hear_probe(*verdict, *health, detail, policy.recover_after);
        let health = condition.verdict();
        if condition == instance.condition {
            return Decision::nothing(Reply::Heard { health, note: None });
        }
        let heard = Instance {
            last_seen_at: heard.last_seen_at,
            condition,
            ..Instance::clone(instance)
        };
        let note = Note::Condition {
            server: server.connection.id.clone(),
            instance: heard.id.clone(),
            connection: heard.connection,
            condition: heard.condition.clone(),
            lease_words: heard.lease_words.clone(),
        };
        Decision {
            events: server.turned(&heard).into_iter().collect(),
            reply: Reply::Heard {
                health,
                note: Some(Box::new(note)),
            },
        }
    }

    /// Whose health it is; `None` where a lease speaks of a connection that is over.
    fn meant(&self, change: &ChangeHealth) -> Result<Option<Meant<'_>>, Rejection> {
        let server = self.connected(&change.server);
        if let Some(connection) = change.connection {
            return Ok(server.and_then(|server| {
                let instance = server.instances.get(change.instance_id.as_ref())?;
                (instance.connection == connection).then_some((server, instance))
            }));
        }
        let server = server.ok_or_else(|| Rejection::ServerNotRegistered(change.server.clone()))?;
        let instance = server.heard_of(change.instance_id.as_ref())?;
        Ok(Some((server, instance)))
    }
}

impl Server {
    /// The instance that a heartbeat is from.
    ///
    /// # Errors
    /// [`Rejection::InstanceReplaced`]; of a server of many, [`Rejection::InstanceNotRegistered`] if this isn't one of
    /// them, and [`Rejection::InstanceNotNamed`] if it could be any.
    pub fn heard_of(&self, named: Option<&InstanceId>) -> Result<&Arc<Instance>, Rejection> {
        let server = self.connection.id.clone();
        self.instance_of(named)
            .ok_or_else(|| match (self.mode, named) {
                (Mode::One, _) => Rejection::InstanceReplaced(server),
                (Mode::Many, Some(instance)) => Rejection::InstanceNotRegistered {
                    server,
                    instance: instance.clone(),
                },
                (Mode::Many, None) => Rejection::InstanceNotNamed {
                    server,
                    connected: self.instances.len(),
                },
            })
    }

    /// The event of the server's verdict, where it becomes another by what is now known of one instance.
    fn turned(&self, heard: &Instance) -> Option<NewEvent> {
        let mut instances = self.instances.clone();
        instances.put(heard.clone());
        let health = instances.best()?;
        if health == self.health {
            return None;
        }
        // Where another instance is the best one now, the verdict is its own, and so are its grounds.
        let speaks = if heard.condition.verdict() == health {
            heard
        } else {
            instances
                .connected()
                .find(|instance| instance.condition.verdict() == health)?
        };
        let (reason, source, detail) = speaks.condition.grounds(speaks.lease_words.as_deref());
        Some(NewEvent {
            private: Private {
                instance: heard.id.clone(),
                condition: Some(heard.condition.clone()),
                ..Private::default()
            },
            ..self.health_event(health, reason, source, detail, speaks)
        })
    }

    /// The event of the server's verdict, where it becomes another because an instance came or went.
    pub(super) fn turned_by(
        &self,
        instances: &Instances,
        reason: &str,
        detail: String,
    ) -> Option<NewEvent> {
        let health = instances.best().filter(|best| *best != self.health)?;
        let speaks = instances
            .connected()
            .find(|instance| instance.condition.verdict() == health)?;
        Some(self.health_event(health, reason, HealthSource::Lease, Some(detail), speaks))
    }

    fn health_event(
        &self,
        health: Health,
        reason: &str,
        source: HealthSource,
        detail: Option<String>,
        speaks: &Instance,
    ) -> NewEvent {
        let data = ServerHealthChanged {
            name: self.connection.name.clone(),
            health,
            previous_health: self.health,
            reason: reason.to_owned(),
            source,
            missed_heartbeats: speaks.missed_heartbeats,
            last_seen_at: speaks.last_seen_at,
            detail,
        };
        NewEvent::of_server(
            self.connection.id.clone(),
            self.tags.clone(),
            EventData::ServerHealthChanged(data),
        )
    }
}
