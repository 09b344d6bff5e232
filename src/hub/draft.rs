//! A batch in the making: commands decided one after another on a copy of the state, nothing durable yet.
//! Dropped as a whole if the commit fails.

use std::{collections::HashMap, sync::Arc};

use super::{Answer, HubError, IdempotencyKey, Named, Work};
use crate::{
    domain::{
        Command, Event, FieldError, InstanceId, Json, NewEvent, Note, Policy, Position, Rejection,
        Reply, ServerId, State, Told, event::Health, server::LeaseView,
    },
    event_log::{Epochs, KeyHash, Remembered},
};

/// Events and answers of one batch.
pub(super) struct Draft<'a> {
    /// The state as the batch leaves it.
    pub(super) state: State,
    /// What happens, in order.
    pub(super) events: Vec<Event>,
    /// The answers to keep for repeats.
    pub(super) answers: Vec<Remembered>,
    /// What is kept beside the log, in order.
    pub(super) notes: Vec<Note>,
    /// Connected instances that registered again.
    pub(super) renewed: Vec<(ServerId, Option<InstanceId>)>,
    /// Connections that ended.
    pub(super) ended: Vec<u64>,
    /// By how much the log has it that the wall clock is ahead.
    recorded_offset_ms: i64,
    in_batch: HashMap<KeyHash, (KeyHash, Answer)>,
    /// Named events that came before this batch, as the log remembers them.
    named_before: HashMap<KeyHash, (KeyHash, Position)>,
    /// Whose request is carried out, by name: `by` of all that happens for it.
    by: Option<Arc<str>>,
    policy: &'a Policy,
    epochs: &'a Epochs,
    now: i64,
}

impl<'a> Draft<'a> {
    /// Begins on a copy of the state, which is a few pointers.
    pub(super) fn new(
        state: State,
        policy: &'a Policy,
        epochs: &'a Epochs,
        now: i64,
        clock_offset_ms: i64,
    ) -> Self {
        let recorded_offset_ms = state.clock_offset_ms;
        let state = State {
            clock_offset_ms,
            ..state
        };
        Self {
            recorded_offset_ms,
            notes: Vec::new(),
            ended: Vec::new(),
            state,
            events: Vec::new(),
            answers: Vec::new(),
            renewed: Vec::new(),
            in_batch: HashMap::new(),
            named_before: HashMap::new(),
            by: None,
            policy,
            epochs,
            now,
        }
    }

    /// The first answer to a request of this batch, where it is repeated in it.
    pub(super) fn recall(&self, key: &IdempotencyKey) -> Option<Result<Answer, HubError>> {
        let (request, answer) = self.in_batch.get(&key.key)?;
        Some(replayed(*request == key.request, answer.clone()))
    }

    /// Whether a named event of this batch is remembered by the draft itself.
    pub(super) fn knows(&self, key: &KeyHash) -> bool {
        self.in_batch.contains_key(key) || self.named_before.contains_key(key)
    }

    /// Notes that a named event came before.
    pub(super) fn came_before(&mut self, first: &Remembered) {
        let place = self.epochs.name(first.sequence);
        self.named_before.insert(first.key, (first.request, place));
    }

    /// The name of a place in the log.
    pub(super) fn name(&self, sequence: u64) -> Position {
        self.epochs.name(sequence)
    }

    /// Decides and evolves, then lets follow what is due, all of it by whoever asks. Refused work leaves no trace.
    pub(super) fn carry_out(
        &mut self,
        work: &Work,
        key: Option<&IdempotencyKey>,
        by: Option<&Arc<str>>,
    ) -> Result<Answer, HubError> {
        self.by = by.cloned();
        let done = self.carry_out_by(work, key);
        self.by = None;
        done
    }

    fn carry_out_by(
        &mut self,
        work: &Work,
        key: Option<&IdempotencyKey>,
    ) -> Result<Answer, HubError> {
        let (before, first) = (self.state.clone(), self.events.len());
        let (notes, ended, renewed) = (self.notes.len(), self.ended.len(), self.renewed.len());
        let recorded = self.recorded_offset_ms;
        let remembered = self.answers.len();
        let answer = match work {
            Work::One(command) => self.one(command),
            Work::All(commands) => self.all(commands),
            Work::Each(commands) => Ok(self.each(commands)),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(rejection) => {
                self.state = before;
                self.events.truncate(first);
                self.notes.truncate(notes);
                self.ended.truncate(ended);
                self.renewed.truncate(renewed);
                self.recorded_offset_ms = recorded;
                for forgotten in self.answers.drain(remembered..) {
                    self.in_batch.remove(&forgotten.key);
                }
                return Err(rejection.into());
            }
        };
        if self.events.len() > first {
            if let Some(key) = key {
                self.remember(*key, &answer);
            }
            self.let_follow();
        }
        Ok(answer)
    }

    /// Whether there is anything to commit.
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.notes.is_empty()
    }

    /// Carries out what follows from earlier events elsewhere, until nothing is due.
    pub(super) fn let_follow(&mut self) {
        while let Some(reaction) = self.state.due_reaction(self.now, self.policy) {
            let decided =
                self.state
                    .decide(&Command::React(reaction.clone()), self.policy, self.now);
            let happened = match decided {
                Ok(decision) if !decision.events.is_empty() => decision.events,
                // It is due and nothing comes of it: a mistake in the rules, which must not hold up the hub.
                _ => {
                    tracing::error!(?reaction, "a reaction is due that changes nothing");
                    return;
                }
            };
            self.happen(happened);
        }
    }

    fn one(&mut self, command: &Command) -> Result<Answer, Rejection> {
        let (before, first) = (self.state.clone(), self.events.len());
        let (reply, last) = self.decide(command)?;
        let (status, body) = match &reply {
            Reply::Appended => (202, Some(ids(&[last]))),
            _ => match self.render(&self.state, &reply) {
                // What the command ended has left the state at once, as the operator keeps few or none.
                (status, None) if status != 204 => {
                    let kept = self.nothing_expired(before, first);
                    (status, self.render(&kept, &reply).1)
                }
                rendered => rendered,
            },
        };
        Ok(self.answer(status, body, last))
    }

    /// The state as the events from `first` on leave it, were nothing ever forgotten.
    fn nothing_expired(&self, mut state: State, first: usize) -> State {
        let policy = Policy {
            state_retention_age_ms: i64::MAX,
            state_retention_count: usize::MAX,
            ..self.policy.clone()
        };
        for event in &self.events[first..] {
            state.evolve(event, &policy);
        }
        state
    }

    fn all(&mut self, commands: &[(Command, Option<Named>)]) -> Result<Answer, Rejection> {
        let mut places = Vec::with_capacity(commands.len());
        let (mut repeats, mut warnings) = (0, Vec::new());
        for (index, (command, named)) in commands.iter().enumerate() {
            if let Some((same, place)) = named.as_ref().and_then(|named| self.first_of(named)) {
                if let (false, Some(named)) = (same, named) {
                    warnings.push(FieldError::new(&named.pointer, TAKEN_BEFORE));
                }
                repeats += 1;
                places.push(Some(place));
                continue;
            }
            let from = self.events.len();
            let decided = self.decide(command);
            let (_, last) = decided.map_err(|cause| Rejection::InBatch {
                index,
                cause: Box::new(cause),
            })?;
            if let (Some(named), Some(place)) = (named, last) {
                let theirs = self.events[from..].iter_mut();
                let theirs = theirs.filter(|event| event.what.data.kind().as_str() == named.kind);
                for event in theirs {
                    event.what.private.cloud_event = Some(named.attributes.clone());
                }
                let answer = self.answer(202, None, Some(place));
                self.remember(named.key, &answer);
            }
            places.push(last);
        }
        let last = places.iter().rev().find_map(|place| *place);
        Ok(Answer {
            replayed: repeats > 0 && repeats == commands.len(),
            warnings,
            ..self.answer(202, Some(ids(&places)), last)
        })
    }

    /// The first event of that name: whether it said the same, and its place.
    fn first_of(&self, named: &Named) -> Option<(bool, Position)> {
        let key = &named.key;
        let (request, place) = match self.in_batch.get(&key.key) {
            Some((request, answer)) => (request, answer.last),
            None => {
                let (request, place) = self.named_before.get(&key.key)?;
                (request, *place)
            }
        };
        Some((*request == key.request, place))
    }

    /// Each in turn. What is refused changes nothing and doesn't hold up the others.
    fn each(&mut self, commands: &[Command]) -> Answer {
        let mut last = None;
        let heard = commands.iter().map(|command| {
            let (reply, place) = self.decide(command)?;
            last = place.or(last);
            Ok(match reply {
                Reply::Heard { health, .. } => health,
                _ => Health::Healthy,
            })
        });
        let heard = heard.collect();
        Answer {
            heard,
            ..self.answer(200, None, last)
        }
    }

    fn decide(&mut self, command: &Command) -> Result<(Reply, Option<Position>), Rejection> {
        let decision = self.state.decide(command, self.policy, self.now)?;
        if let Reply::Server {
            id,
            instance,
            created: false,
        } = &decision.reply
        {
            self.renewed.push((id.clone(), instance.clone()));
        }
        let last = self.happen(decision.events);
        if let Some(note) = decision.reply.note() {
            self.keep(note.clone());
            let lived = self.state.moment(self.now).lived;
            while let Some(stale) = self.state.servers.stale_farewell(lived) {
                self.keep(stale);
            }
        }
        Ok((decision.reply, last))
    }

    fn keep(&mut self, note: Note) {
        self.state.note(&note);
        self.notes.push(note);
    }

    fn happen(&mut self, events: Vec<NewEvent>) -> Option<Position> {
        let mut last = None;
        for mut what in events {
            what.by = self.by.clone();
            if self.state.clock_offset_ms != self.recorded_offset_ms {
                self.recorded_offset_ms = self.state.clock_offset_ms;
                what.private.clock_offset_ms = Some(self.recorded_offset_ms);
            }
            let position = Position {
                epoch: self.epochs.current(),
                sequence: self.state.sequence + 1,
            };
            let event = Event {
                position,
                timestamp: self.now,
                what,
            };
            for over in self.state.servers.ended_by(&event) {
                self.ended.push(over.connection);
                self.notes.push(Note::Over {
                    connection: over.connection,
                });
            }
            self.state.evolve(&event, self.policy);
            self.events.push(event);
            last = Some(position);
        }
        last
    }

    fn answer(&self, status: u16, body: Option<Told>, last: Option<Position>) -> Answer {
        let last = last.unwrap_or_else(|| self.epochs.name(self.state.sequence));
        Answer {
            status,
            body,
            last,
            replayed: false,
            heard: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// What the reply looks like in a state.
    fn render(&self, state: &State, reply: &Reply) -> (u16, Option<Told>) {
        let created = |created: bool| if created { 201 } else { 200 };
        match reply {
            Reply::Server {
                id,
                instance,
                created: is_new,
            } => {
                let body = state.servers.get(id).map(|server| {
                    let own = server.instances.get(instance.as_ref());
                    let lease = own.map(|own| (own.connection, LeaseView::fresh(own, self.now)));
                    let leases: Vec<_> = lease.into_iter().collect();
                    Told::Server(Arc::new(server.view(&leases, state.moment(self.now).lived)))
                });
                (created(*is_new), body)
            }
            Reply::Workflow {
                id,
                created: is_new,
            } => (
                created(*is_new),
                state.workflows.get(id).cloned().map(Told::Workflow),
            ),
            Reply::Step { workflow, step } => {
                let body = state
                    .workflows
                    .get(workflow)
                    .and_then(|workflow| workflow.step_view(step));
                (200, body.map(|view| Told::Step(Arc::new(view))))
            }
            Reply::Pattern { name } => (
                200,
                state
                    .patterns
                    .get(name)
                    .map(|pattern| Told::Text(Json::of(&**pattern))),
            ),
            Reply::Appended => (202, None),
            Reply::Heard { .. } | Reply::Noted(_) | Reply::Done => (204, None),
        }
    }

    fn remember(&mut self, key: IdempotencyKey, answer: &Answer) {
        self.in_batch.insert(key.key, (key.request, answer.clone()));
        self.answers.push(Remembered {
            key: key.key,
            request: key.request,
            timestamp: self.now,
            sequence: answer.last.sequence,
            status: answer.status,
            body: answer.body.as_ref().map(Told::kept),
        });
    }
}

/// Said of a named event whose name was taken by one that says something else.
const TAKEN_BEFORE: &str = "came with this source before, in an event that says something else: that one stands, and \
                            this one isn't appended";

/// The first answer again, or the refusal of another body under the same key.
pub(super) fn replayed(same_request: bool, first: Answer) -> Result<Answer, HubError> {
    if same_request {
        Ok(Answer {
            replayed: true,
            ..first
        })
    } else {
        Err(HubError::KeyReused)
    }
}

fn ids(places: &[Option<Position>]) -> Told {
    #[derive(serde::Serialize)]
    struct Ids<'a> {
        ids: &'a [Option<Position>],
    }
    Told::Text(Json::of(&Ids { ids: places }))
}
