//! A model of its own, made from the events alone: what must be true of any history of the fleet.

use std::collections::{BTreeMap, BTreeSet};

use timeback_events::domain::{
    Event, EventData, InstanceId, ServerId, State, StepId, WorkflowId,
    event::{Connection, Health, Pattern, StepDeclaration, WorkflowStarted},
    pattern::BUILT_IN,
    workflow::{StepStatus, Workflow, WorkflowStatus},
};

pub(crate) struct Audit {
    sequence: u64,
    connected: BTreeMap<ServerId, Health>,
    instances: BTreeSet<(ServerId, Option<InstanceId>)>,
    lost: BTreeSet<ServerId>,
    announced: Health,
    flows: BTreeMap<WorkflowId, Flow>,
    completed: u64,
    failed: u64,
    patterns: BTreeMap<String, Pattern>,
}

/// The newest workflow of an id.
struct Flow {
    declared: bool,
    lenient: bool,
    ended: bool,
    /// Nothing but its failure may come next.
    must_end: bool,
    legs: BTreeMap<StepId, Leg>,
}

/// A step.
struct Leg {
    depends_on: Vec<StepId>,
    declared_for: Option<ServerId>,
    required: bool,
    retries: u32,
    attempt: u32,
    phase: Phase,
}

#[derive(Debug, Clone, PartialEq)]
enum Phase {
    /// Nobody holds it: pending or ready.
    Idle,
    /// Claimed by a server, or by whoever coordinates.
    Held(Option<ServerId>),
    Completed,
    Failed,
}

impl Audit {
    pub(crate) fn new() -> Self {
        let pattern = |(name, description, enabled): (&str, &str, bool)| Pattern {
            name: name.to_owned(),
            description: description.to_owned(),
            enabled,
        };
        Self {
            sequence: 0,
            connected: BTreeMap::new(),
            instances: BTreeSet::new(),
            lost: BTreeSet::new(),
            announced: Health::Healthy,
            flows: BTreeMap::new(),
            completed: 0,
            failed: 0,
            patterns: BTreeMap::from(
                BUILT_IN.map(|built_in| (built_in.0.to_owned(), pattern(built_in))),
            ),
        }
    }

    /// Takes in the next event, and fails where it contradicts what was told before.
    pub(crate) fn event(&mut self, event: &Event) {
        assert_eq!(
            event.position.sequence,
            self.sequence + 1,
            "sequences have no hole"
        );
        self.sequence += 1;
        match &event.what.data {
            EventData::ServerConnected(data) => {
                let id = data.connection.id.clone();
                self.lost.remove(&id);
                let first = (id.clone(), data.connection.instance_id.clone());
                assert!(self.instances.insert(first), "an instance twice: {data:?}");
                let before = self.connected.insert(id, Health::Healthy);
                assert_eq!(before, None, "connected twice: {data:?}");
            }
            EventData::ServerUpdated(data) => {
                assert!(self.connected.contains_key(&data.connection.id), "{data:?}");
                assert!(!data.changed.is_empty(), "an update says what changed");
                if data.changed.iter().any(|name| name == "instanceId") {
                    self.renamed(&data.connection);
                }
            }
            EventData::InstanceConnected(data) => {
                let id = event.what.server.clone().expect("a server's instance");
                assert!(self.connected.contains_key(&id), "{data:?}");
                let further = (id.clone(), data.instance_id.clone());
                assert!(
                    self.instances.insert(further),
                    "an instance twice: {data:?}"
                );
                assert_eq!(data.connected_instances, self.instances_of(&id));
            }
            EventData::InstanceDisconnected(data) => {
                let id = event.what.server.clone().expect("a server's instance");
                let gone = (id.clone(), data.instance_id.clone());
                assert!(self.instances.remove(&gone), "was not there: {data:?}");
                assert_eq!(data.connected_instances, self.instances_of(&id));
                assert!(data.connected_instances > 0, "others still serve: {data:?}");
            }
            EventData::ServerDisconnected(data) => {
                let id = &data.connection.id;
                let was_there = self.connected.remove(id).is_some();
                assert!(
                    was_there || self.lost.remove(id),
                    "gone, but was not there: {data:?}"
                );
                if data.expected == Some(false) {
                    self.lost.insert(id.clone());
                }
                if was_there {
                    let last = (id.clone(), data.instance_id.clone());
                    assert!(self.instances.remove(&last), "was not there: {data:?}");
                    assert_eq!(self.instances_of(id), 0, "not the last: {data:?}");
                }
            }
            EventData::ServerHealthChanged(data) => {
                let id = event.what.server.clone().expect("a server's health");
                let before = self.connected.insert(id, data.health);
                assert_eq!(before, Some(data.previous_health), "{data:?}");
                assert_ne!(data.health, data.previous_health, "{data:?}");
            }
            EventData::IntegrationStatusChanged(data) => {
                assert_eq!(data.previous_status, self.announced, "{data:?}");
                assert_ne!(data.status, self.announced, "{data:?}");
                assert_eq!(data.connected_servers, self.connected.len() as u64);
                self.announced = data.status;
            }
            EventData::PatternEnabled(data) | EventData::PatternDisabled(data) => {
                let before = self
                    .patterns
                    .insert(data.pattern.name.clone(), data.pattern.clone());
                assert_ne!(
                    before.as_ref(),
                    Some(&data.pattern),
                    "a switch is a change: {data:?}"
                );
            }
            EventData::Custom { .. } | EventData::IntegrationStated(_) => {}
            EventData::WorkflowStarted(data) => self.started(data, event),
            _ => self.within_a_workflow(event),
        }
    }

    fn instances_of(&self, server: &ServerId) -> u64 {
        let of_it = |(id, _): &&(ServerId, Option<InstanceId>)| id == server;
        self.instances.iter().filter(of_it).count() as u64
    }

    /// The only instance of a server is called otherwise now.
    fn renamed(&mut self, connection: &Connection) {
        assert_eq!(self.instances_of(&connection.id), 1, "{connection:?}");
        self.instances.retain(|(id, _)| *id != connection.id);
        let name = connection.instance_id.clone();
        self.instances.insert((connection.id.clone(), name));
    }

    fn started(&mut self, data: &WorkflowStarted, event: &Event) {
        let lenient = event.what.private.max_failures.is_some();
        let flow = Flow {
            declared: !data.steps.is_empty(),
            lenient,
            ended: false,
            must_end: false,
            legs: data
                .steps
                .iter()
                .map(|step| (step.id.clone(), Leg::new(step, lenient)))
                .collect(),
        };
        assert_eq!(data.ready_steps, flow.ready(&data.steps), "{data:?}");
        let before = self.flows.insert(data.workflow_id.clone(), flow);
        assert!(
            before.is_none_or(|flow| flow.ended),
            "began before it ended: {data:?}"
        );
    }

    fn within_a_workflow(&mut self, event: &Event) {
        let data = &event.what.data;
        let id = data.workflow().expect("of a workflow");
        let flow = self.flows.get_mut(id).expect("a workflow that began");
        assert!(!flow.ended, "after its end: {data:?}");
        assert!(
            !flow.must_end || matches!(data, EventData::WorkflowFailed(_)),
            "had to fail: {data:?}"
        );
        match data {
            EventData::WorkflowStepStarted(data) => {
                let leg = flow.leg(&data.step_id, data.server_id.as_ref());
                assert_eq!(leg.phase, Phase::Idle, "claimed twice: {data:?}");
                assert_eq!(data.attempt, leg.attempt + 1, "attempts rise: {data:?}");
                leg.attempt = data.attempt;
                leg.phase = Phase::Held(data.server_id.clone());
            }
            EventData::WorkflowStepCompleted(data) => {
                let was_ready = flow.ready_ids();
                let leg = flow.leg(&data.step_id, data.server_id.as_ref());
                leg.over(data.attempt, data.server_id.as_ref());
                leg.phase = Phase::Completed;
                let newly = flow.ready_since(&was_ready);
                assert_eq!(
                    data.ready_steps.iter().cloned().collect::<BTreeSet<_>>(),
                    newly,
                    "{data:?}"
                );
                assert_eq!(data.completed_steps as usize, flow.over_count(), "{data:?}");
            }
            EventData::WorkflowStepFailed(data) => {
                let was_ready = flow.ready_ids();
                let leg = flow.leg(&data.step_id, data.server_id.as_ref());
                leg.over(data.attempt, data.server_id.as_ref());
                assert_eq!(data.will_retry, data.attempt <= leg.retries, "{data:?}");
                leg.phase = if data.will_retry {
                    Phase::Idle
                } else {
                    Phase::Failed
                };
                let newly = if data.will_retry {
                    BTreeSet::new()
                } else {
                    flow.ready_since(&was_ready)
                };
                let told: BTreeSet<_> = data.ready_steps.iter().cloned().collect();
                // One failure too many ends the workflow, so that nothing becomes ready by it.
                flow.must_end = flow.lenient && told.is_empty() && !newly.is_empty();
                assert!(flow.must_end || told == newly, "{data:?}: {newly:?}");
            }
            EventData::WorkflowCompleted(_) => {
                flow.ended = true;
                self.completed += 1;
            }
            EventData::WorkflowFailed(_) => {
                (flow.ended, flow.must_end) = (true, false);
                self.failed += 1;
            }
            other => panic!("no event of a workflow: {other:?}"),
        }
    }

    /// What must be true once all reactions ran. Cheap.
    pub(crate) fn settled(&self, state: &State) {
        assert_eq!(state.sequence, self.sequence);
        assert_eq!(state.integration.announced, self.announced);
        let tally = state.servers.tally();
        assert_eq!(tally.instances, self.instances.len() as u64);
        assert_eq!(
            tally.healthy + tally.degraded + tally.unhealthy,
            self.connected.len() as u64
        );
        assert_eq!(state.workflows.ended(), (self.completed, self.failed));
    }

    /// Holds the whole state against the model.
    pub(crate) fn recount(&self, state: &State) {
        let connected: BTreeMap<ServerId, Health> = state
            .servers
            .after(None)
            .filter(|server| server.is_connected())
            .map(|server| (server.connection.id.clone(), server.health))
            .collect();
        assert_eq!(connected, self.connected);
        for server in state.servers.after(None).filter(|server| server.lost) {
            assert!(self.lost.contains(&server.connection.id));
        }
        let running: BTreeSet<&WorkflowId> = self
            .flows
            .iter()
            .filter(|(_, flow)| !flow.ended)
            .map(|(id, _)| id)
            .collect();
        let in_state: Vec<_> = state
            .workflows
            .iter()
            .filter(|workflow| workflow.status() == WorkflowStatus::Running)
            .collect();
        assert_eq!(state.workflows.active(), in_state.len() as u64);
        assert_eq!(
            in_state.iter().map(|it| &it.id).collect::<BTreeSet<_>>(),
            running
        );
        for workflow in in_state {
            let flow = &self.flows[&workflow.id];
            assert!(!flow.must_end, "{} had to fail", workflow.id);
            flow.recount(workflow);
        }
        for pattern in state.patterns.iter() {
            assert_eq!(self.patterns.get(&pattern.name), Some(&**pattern));
        }
    }
}

impl Flow {
    /// The step that an event is about: one that could be worked on, by a server that may.
    fn leg(&mut self, id: &StepId, server: Option<&ServerId>) -> &mut Leg {
        if !self.declared && !self.legs.contains_key(id) {
            self.legs.insert(id.clone(), Leg::undeclared(self.lenient));
        }
        let known = self.legs.get(id).expect("a step of the workflow");
        assert!(self.may_run(known), "{id} waits for others");
        if let (Some(declared), Some(server)) = (&known.declared_for, server) {
            assert_eq!(declared, server, "{id} belongs elsewhere");
        }
        self.legs.get_mut(id).expect("a step of the workflow")
    }

    fn may_run(&self, leg: &Leg) -> bool {
        leg.depends_on.iter().all(|id| self.legs[id].is_over())
    }

    fn ready_ids(&self) -> BTreeSet<StepId> {
        self.legs
            .iter()
            .filter(|(_, leg)| leg.phase == Phase::Idle && self.may_run(leg))
            .map(|(id, _)| id.clone())
            .collect()
    }

    fn ready_since(&self, before: &BTreeSet<StepId>) -> BTreeSet<StepId> {
        self.ready_ids().difference(before).cloned().collect()
    }

    /// In order of declaration.
    fn ready(&self, steps: &[StepDeclaration]) -> Vec<StepId> {
        let ready = self.ready_ids();
        steps
            .iter()
            .map(|step| step.id.clone())
            .filter(|id| ready.contains(id))
            .collect()
    }

    fn over_count(&self) -> usize {
        self.legs.values().filter(|leg| leg.is_over()).count()
    }

    fn recount(&self, workflow: &Workflow) {
        let view = workflow.summary();
        assert_eq!(
            view.completed_steps as usize,
            self.over_count(),
            "{}",
            workflow.id
        );
        assert_eq!(view.total_steps as usize, self.legs.len());
        assert!(
            !self.declared || self.over_count() < self.legs.len(),
            "done, but not ended: {}",
            workflow.id
        );
        for step in workflow.steps() {
            let id = &step.declaration().id;
            let leg = &self.legs[id];
            let status = match &leg.phase {
                Phase::Idle if self.may_run(leg) => StepStatus::Ready,
                Phase::Idle => StepStatus::Pending,
                Phase::Held(_) => StepStatus::Running,
                Phase::Completed => StepStatus::Completed,
                Phase::Failed => StepStatus::Failed,
            };
            assert_eq!(step.status(), status, "{} {id}", workflow.id);
            assert_eq!(step.attempt(), leg.attempt, "{} {id}", workflow.id);
            if let Phase::Held(holder) = &leg.phase {
                assert_eq!(step.holder(), holder.as_ref(), "{} {id}", workflow.id);
            }
        }
    }
}

impl Leg {
    fn new(step: &StepDeclaration, lenient: bool) -> Self {
        Self {
            depends_on: step.depends_on.clone(),
            declared_for: step.server.clone(),
            required: step.required.unwrap_or(!lenient),
            retries: step.retries.unwrap_or(0),
            attempt: 0,
            phase: Phase::Idle,
        }
    }

    fn undeclared(lenient: bool) -> Self {
        Self {
            depends_on: Vec::new(),
            declared_for: None,
            required: !lenient,
            retries: 0,
            attempt: 0,
            phase: Phase::Idle,
        }
    }

    fn is_over(&self) -> bool {
        match self.phase {
            Phase::Completed => true,
            Phase::Failed => !self.required,
            Phase::Idle | Phase::Held(_) => false,
        }
    }

    /// An attempt ends: the one that is held, by its holder, or the next one unclaimed.
    fn over(&mut self, attempt: u32, by: Option<&ServerId>) {
        match &self.phase {
            Phase::Held(holder) => {
                assert_eq!(attempt, self.attempt, "another attempt than the one held");
                assert!(
                    holder.is_none() || holder.as_ref() == by,
                    "not its holder: {by:?}"
                );
            }
            Phase::Idle => assert_eq!(attempt, self.attempt + 1, "attempts rise"),
            phase => panic!("an attempt ended after {phase:?}"),
        }
        self.attempt = attempt;
    }
}
