//! The hub and its surroundings in virtual time: one state, its log and snapshots, leases, time-outs, and a
//! network that loses answers.

mod time;

use std::collections::{BTreeMap, VecDeque};

use timeback_events::domain::{
    Command, Event, InstanceId, NewEvent, Note, Policy, Position, ServerId, State,
    event::{EventData, EventType, Health},
    health::{Lease, Rules},
    position::Epoch,
    server::Tally,
    workflow::{StepQuery, StepStatus, WorkflowStatus},
};

use super::{audit::Audit, chance::Chance, clients::Clients, stored::Stored};

/// Snapshots that are kept to start from.
const SNAPSHOTS: usize = 3;

/// What must have happened in a run that is to prove anything, besides all core types of events.
const MISHAPS: [&str; 10] = [
    "answer lost",
    "batch",
    "batch refused",
    "clock set",
    "commit failed",
    "crash",
    "lease ran out",
    "noted",
    "refused",
    "time was up",
];

/// What happened, and how often.
pub(crate) type Seen = BTreeMap<&'static str, u64>;

/// What a run left out.
pub(crate) fn missing(seen: &Seen) -> Vec<&'static str> {
    let core = EventType::CORE.iter().map(|(name, _)| *name);
    core.chain(MISHAPS)
        .filter(|name| !seen.contains_key(name))
        .collect()
}

/// Reactions to one command, at most: more of them would never end.
const REACTIONS: usize = 1_000;

pub(crate) struct World {
    chance: Chance,
    clients: Clients,
    policy: Policy,
    rules: Rules,
    /// The wall clock, which may be set.
    wall: i64,
    /// The monotonic clock.
    mono: u64,
    state: State,
    /// What is kept of the log: all that came after the oldest snapshot.
    log: VecDeque<Stored>,
    snapshots: VecDeque<Vec<u8>>,
    /// What is kept beside the log, by its key.
    notes: BTreeMap<String, Note>,
    /// Leases by connection: whose they are, and under which name.
    leases: BTreeMap<u64, (ServerId, Option<InstanceId>, Lease)>,
    silent: Option<u64>,
    audit: Audit,
    /// Commands whose answers were lost: they will be sent again.
    unanswered: Vec<Command>,
    seen: Seen,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let clients = Clients::new(&mut chance);
        let empty = State::default();
        Self {
            clients,
            policy: Policy {
                heartbeat_interval_ms: 2_000,
                state_retention_age_ms: 120_000,
                state_retention_count: 6,
                max_servers: 12,
                max_workflows: 9,
                max_steps: 5,
                ..Policy::default()
            },
            rules: Rules::default(),
            wall: 1_763_790_000_000,
            mono: 0,
            snapshots: VecDeque::from([empty.save().expect("JSON")]),
            state: empty,
            log: VecDeque::new(),
            notes: BTreeMap::new(),
            leases: BTreeMap::new(),
            silent: None,
            audit: Audit::new(),
            unanswered: Vec::new(),
            seen: BTreeMap::new(),
            chance,
        }
    }

    /// One thing happens.
    pub(crate) fn step(&mut self) {
        match self.chance.below(100) {
            0..=56 => {
                let command = self.clients.command(&mut self.chance, &self.state);
                self.ask(command);
            }
            57..=64 if !self.unanswered.is_empty() => {
                let which = self.chance.below(self.unanswered.len());
                let command = self.unanswered.swap_remove(which);
                self.ask(command);
            }
            57..=76 => self.heartbeat(),
            77..=92 => {
                let ms = self.chance.between(1, 3_000);
                self.mono += ms.unsigned_abs();
                self.wall += ms;
                self.look_at_leases();
                self.look_at_timers();
            }
            93 => {
                self.note("clock set");
                self.wall += self.chance.between(-60_000, 60_000);
            }
            94 => self.batch(),
            95 => self.failed_commit(),
            96 | 97 => self.snapshot(),
            _ if self.chance.one_in(6) => self.crash(),
            _ => self.fall_silent(),
        }
        // The hub's own tick: time alone may make something due.
        self.react();
        self.audit.settled(&self.state);
    }

    /// A client asks; its answer may be lost, and the hub may die before anything follows.
    fn ask(&mut self, command: Command) {
        let decided = self.state.decide(&command, &self.policy, self.wall);
        if self.chance.one_in(16) {
            let again = self.state.decide(&command, &self.policy, self.wall);
            assert_eq!(
                decided, again,
                "a decision depends on the state and the time alone"
            );
        }
        match decided {
            Ok(decision) if decision.events.is_empty() && decision.reply.note().is_none() => {
                self.note("nothing to do");
            }
            Ok(decision) => {
                self.happen(decision.events);
                if let Some(note) = decision.reply.note() {
                    self.note("noted");
                    self.keep(note.clone());
                }
                self.check_repeat(&command);
            }
            Err(_) => self.note("refused"),
        }
        if self.chance.one_in(6) && self.unanswered.len() < 64 {
            self.note("answer lost");
            self.unanswered.push(command);
        }
        if self.chance.one_in(500) {
            self.crash();
        }
    }

    /// The same command right again finds nothing to do, or is refused. Emitting is the exception, which the
    /// hub's idempotency keys are for.
    fn check_repeat(&self, command: &Command) {
        // A report that is better than the one that stands counts each time.
        if matches!(command, Command::Emit(_) | Command::ChangeHealth(_)) {
            return;
        }
        if let Ok(decision) = self.state.decide(command, &self.policy, self.wall) {
            assert!(
                decision.events.is_empty(),
                "carried out twice: {command:?}: {:?}",
                decision.events
            );
        }
    }

    /// Several commands are decided on top of each other and committed as one, or one is refused and so are all.
    fn batch(&mut self) {
        let (mut draft, mut events) = (self.state.clone(), Vec::new());
        let mut notes = Vec::new();
        for _ in 0..=self.chance.below(4) {
            let command = self.clients.command(&mut self.chance, &draft);
            let Ok(decision) = draft.decide(&command, &self.policy, self.wall) else {
                return self.note("batch refused");
            };
            for what in decision.events {
                let event = self.place(&draft, what);
                draft.evolve(&event, &self.policy);
                events.push(event.what);
            }
            if let Some(note) = decision.reply.note() {
                draft.note(note);
                notes.push(note.clone());
            }
        }
        self.note("batch");
        self.happen(events);
        notes.into_iter().for_each(|note| self.keep(note));
    }

    /// Keeps something beside the log.
    fn keep(&mut self, note: Note) {
        self.state.note(&note);
        if note.body().is_some() {
            self.notes.insert(note.key(), note);
        } else {
            self.notes.remove(&note.key());
        }
    }

    /// The disk refuses: what was decided on a copy never happened.
    fn failed_commit(&mut self) {
        self.note("commit failed");
        let before = self.state.save().expect("JSON");
        let mut draft = self.state.clone();
        let command = self.clients.command(&mut self.chance, &draft);
        if let Ok(decision) = draft.decide(&command, &self.policy, self.wall) {
            for what in decision.events {
                let event = self.place(&draft, what);
                draft.evolve(&event, &self.policy);
            }
        }
        drop(draft);
        assert!(
            before == self.state.save().expect("JSON"),
            "a copy shares nothing that changes"
        );
    }

    fn snapshot(&mut self) {
        self.snapshots
            .push_back(self.state.save().expect("the state is JSON"));
        if self.snapshots.len() > SNAPSHOTS {
            self.snapshots.pop_front();
        }
        let oldest = State::restore(&self.snapshots[0])
            .expect("what was saved")
            .sequence;
        while self
            .log
            .front()
            .is_some_and(|stored| stored.sequence() <= oldest)
        {
            self.log.pop_front();
        }
    }

    /// The hub dies and starts from any snapshot that is kept, and the log since.
    fn crash(&mut self) {
        self.note("crash");
        let which = self.chance.below(self.snapshots.len());
        let recovered = self.folded(which);
        self.check_same(&recovered);
        self.state = recovered;
        self.leases = self
            .state
            .servers
            .after(None)
            .flat_map(|server| {
                let id = &server.connection.id;
                server.instances.connected().map(|instance| {
                    let lease = Lease::restored(
                        instance.heartbeat_interval_ms,
                        self.mono,
                        instance.condition.lease,
                        "today".into(),
                    );
                    (
                        instance.connection,
                        (id.clone(), instance.id.clone(), lease),
                    )
                })
            })
            .collect();
    }

    /// The state that a snapshot and the events after it amount to.
    fn folded(&self, snapshot: usize) -> State {
        let mut state = State::restore(&self.snapshots[snapshot]).expect("what was saved");
        let from = state.sequence;
        for stored in self.log.iter().filter(|stored| stored.sequence() > from) {
            state.evolve(&stored.read(), &self.policy);
        }
        for note in self.notes.values() {
            let body = note.body().expect("what is kept");
            state.note(&Note::read(&body).expect("what was kept"));
        }
        state
    }

    fn check_same(&self, other: &State) {
        assert!(
            self.state.workflows == other.workflows,
            "a fold makes the same workflows"
        );
        assert_eq!(self.state.servers.tally(), other.servers.tally());
        let (ours, theirs) = (self.state.save(), other.save());
        assert_eq!(
            String::from_utf8(ours.expect("JSON")),
            String::from_utf8(theirs.expect("JSON")),
            "a fold makes the same state"
        );
    }

    /// What follows elsewhere, until nothing is due.
    fn react(&mut self) {
        let mut reactions = 0;
        while let Some(reaction) = self.state.due_reaction(self.wall, &self.policy) {
            let command = Command::React(reaction);
            let decision = self
                .state
                .decide(&command, &self.policy, self.wall)
                .expect("reactions aren't refused");
            assert!(
                !decision.events.is_empty(),
                "due, but nothing follows: {command:?}"
            );
            self.happen(decision.events);
            self.check_repeat(&command);
            reactions += 1;
            assert!(
                reactions < REACTIONS,
                "a reaction that is always due: {command:?}"
            );
        }
        let lived = self.state.moment(self.wall).lived;
        let status = self.state.status_at(lived, &self.policy);
        assert_eq!(self.state.integration.announced, status);
    }

    fn happen(&mut self, events: Vec<NewEvent>) {
        for what in events {
            let event = self.place(&self.state, what);
            for over in self.state.servers.ended_by(&event) {
                self.leases.remove(&over.connection);
                self.notes.remove(&format!("condition/{}", over.connection));
            }
            self.state.evolve(&event, &self.policy);
            self.audit.event(&event);
            self.lease_of(&event);
            *self.seen.entry(kind_name(&event.what.data)).or_default() += 1;
            self.log.push_back(Stored::of(event));
        }
    }

    fn place(&self, state: &State, what: NewEvent) -> Event {
        let position = Position {
            epoch: Epoch::from_random(7),
            sequence: state.sequence + 1,
        };
        Event {
            position,
            timestamp: self.wall,
            what,
        }
    }

    /// Counts everything anew.
    pub(crate) fn recount(&mut self) {
        self.audit.recount(&self.state);
        let mut tally = Tally::default();
        let (mut gone, mut ended) = (0, 0);
        for server in self.state.servers.after(None) {
            if !server.is_connected() {
                gone += 1;
                tally.lost += u64::from(server.lost);
                continue;
            }
            match server.health {
                Health::Healthy => tally.healthy += 1,
                Health::Degraded => tally.degraded += 1,
                Health::Unhealthy => tally.unhealthy += 1,
            }
            tally.instances += server.instances.len() as u64;
            tally.tools += server.connection.capabilities.tools.len() as u64;
            tally.resources += server.connection.capabilities.resources.len() as u64;
        }
        assert_eq!(self.state.servers.tally(), tally);
        let mut ready = Vec::new();
        for workflow in self.state.workflows.iter() {
            if workflow.status() != WorkflowStatus::Running {
                ended += 1;
            }
            let of_it = workflow
                .steps()
                .filter(|step| step.status() == StepStatus::Ready)
                .map(|step| (workflow.id.clone(), step.declaration().id.clone()));
            ready.extend(of_it);
        }
        assert!(
            gone <= self.policy.state_retention_count && ended <= self.policy.state_retention_count
        );
        let query = StepQuery {
            within: None,
            server: None,
            status: Some(StepStatus::Ready),
            workflow: None,
            after: None,
            limit: 1_000,
        };
        let page = self
            .state
            .workflows
            .steps_page(&query, self.wall, &self.policy);
        let listed: Vec<_> = page
            .steps
            .into_iter()
            .filter_map(|step| step.view())
            .map(|step| (step.workflow_id, step.id))
            .collect();
        assert_eq!(listed, ready, "the list of ready steps");
        let bytes = self.state.save().expect("JSON");
        let mut restored = State::restore(&bytes).expect("what was saved");
        for note in self.notes.values() {
            restored.note(note);
        }
        self.check_same(&restored);
        for snapshot in 0..self.snapshots.len() {
            self.check_same(&self.folded(snapshot));
        }
    }

    fn note(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    pub(crate) fn events(&self) -> u64 {
        self.state.sequence
    }

    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }
}

/// A core type's own name, for the count.
fn kind_name(data: &EventData) -> &'static str {
    EventType::CORE
        .iter()
        .map(|(name, _)| *name)
        .find(|name| *name == data.kind().as_str())
        .unwrap_or("custom")
}
