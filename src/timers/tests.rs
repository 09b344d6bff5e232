//! Which deadlines there are, and when; in virtual time.

use serde_json::{Value, json};

use super::*;
use crate::domain::{
    Json, Policy,
    command::{ReportStep, StartWorkflow},
    position::{Epoch, Position},
};

/// A state that timers observe, on clocks that stand still.
struct Bench {
    state: State,
    policy: Policy,
    clock: Clock,
    timers: Timers,
}

impl Bench {
    fn new() -> Self {
        let (state, clock) = (State::default(), Clock::frozen(5_000, 1_000_000));
        let timers = Timers::recover(clock.clone(), &state, clock.wall_ms());
        Self {
            state,
            policy: Policy::default(),
            clock,
            timers,
        }
    }

    fn command(&mut self, command: &Command) {
        let now = self.clock.wall_ms();
        let decision = self
            .state
            .decide(command, &self.policy, now)
            .expect("accepted");
        let mut events = Vec::new();
        for what in decision.events {
            let position = Position {
                epoch: Epoch::from_random(7),
                sequence: self.state.sequence + 1,
            };
            let event = Event {
                position,
                timestamp: now,
                what,
            };
            self.state.evolve(&event, &self.policy);
            events.push(event);
        }
        self.timers.committed(&self.state, &events);
    }

    fn start(&mut self, definition: &Value) {
        let start = StartWorkflow::parse(Json::of(definition).root(), "", || {
            "w".parse().expect("an id")
        })
        .expect("a definition");
        self.command(&Command::StartWorkflow(Box::new(start)));
    }

    fn report(&mut self, step: &str, body: &Value) {
        let (workflow, step) = ("w".parse().expect("an id"), step.parse().expect("an id"));
        let report =
            ReportStep::parse(Json::of(body).root(), "", workflow, step).expect("a report");
        self.command(&Command::ReportStep(Box::new(report)));
    }

    /// What is due and still runs.
    fn due(&self) -> Vec<String> {
        let (due, _) = self
            .timers
            .schedule
            .lock()
            .take_due(self.clock.mono_ms(), 100);
        let live = due
            .into_iter()
            .filter(|deadline| deadline.is_live(&self.state));
        live.map(|deadline| match deadline.claim {
            Some((step, attempt)) => format!("{}/{step} #{attempt}", deadline.workflow),
            None => deadline.workflow.to_string(),
        })
        .collect()
    }

    fn next(&self) -> Option<u64> {
        self.timers.schedule.lock().take_due(0, 100).1
    }
}

fn definition() -> Value {
    json!({"name": "T", "timeoutMs": 1_000, "steps": [{"id": "a", "timeout": 100, "retries": 1}, {"id": "b", "timeout": 50}, "c"]})
}

#[test]
fn a_claim_and_a_workflow_have_their_deadlines() {
    let mut bench = Bench::new();
    bench.start(&definition());
    bench.clock.advance(10);
    bench.report("a", &json!({"status": "running"}));
    bench.report("b", &json!({"status": "running"}));
    bench.report("c", &json!({"status": "running"}));
    bench.report("b", &json!({"status": "completed"}));
    assert_eq!(bench.next(), Some(5_060), "the earliest, stale or not");
    bench.clock.advance(99);
    assert_eq!(bench.due(), [""; 0], "b has ended, a has a moment left");
    bench.clock.advance(1);
    assert_eq!(bench.due(), ["w/a #1"]);
    bench.clock.advance(890);
    assert_eq!(bench.due(), ["w"]);
    assert!(bench.timers.is_empty());
}

#[test]
fn another_attempt_has_another_deadline() {
    let mut bench = Bench::new();
    bench.start(&definition());
    bench.report("a", &json!({"status": "running"}));
    bench.clock.advance(60);
    bench.report("a", &json!({"status": "failed"}));
    bench.report("a", &json!({"status": "running"}));
    bench.clock.advance(60);
    assert_eq!(
        bench.due(),
        [""; 0],
        "the first attempt's time is nobody's any more"
    );
    bench.clock.advance(40);
    assert_eq!(bench.due(), ["w/a #2"]);
}

#[test]
fn a_restart_leaves_what_was_left_and_never_more() {
    for (down_ms, left_of_claim, left_of_workflow) in [
        (0, 80, 980),
        (30, 50, 950),
        (500, 0, 480),
        (5_000, 0, 0),
        (-9_000, 100, 1_000),
    ] {
        let mut bench = Bench::new();
        bench.start(&definition());
        bench.report("a", &json!({"status": "running"}));
        bench.clock.advance(20);
        bench.clock.shift_wall(down_ms);
        let clock = Clock::frozen(7, bench.clock.wall_ms());
        let lived = clock.wall_ms();
        let recovered = Timers::recover(clock, &bench.state, lived);
        let mut schedule = recovered.schedule.lock();
        let mut dues = Vec::new();
        while let Some(Reverse(entry)) = schedule.heap.pop() {
            dues.push(entry.due - 7);
        }
        assert_eq!(
            dues,
            [left_of_claim, left_of_workflow],
            "down for {down_ms} ms"
        );
    }
}

#[test]
fn a_wall_clock_that_is_ahead_uses_up_no_time() {
    const DAY: i64 = 86_400_000;
    // The log has it that the clock is a day ahead, and it is right again at the restart; or the other way round.
    for (ahead_before, ahead_after) in [(DAY, 0), (0, DAY)] {
        let mut bench = Bench::new();
        bench.clock.shift_wall(ahead_before);
        bench.state.clock_offset_ms = ahead_before;
        bench.start(&definition());
        bench.report("a", &json!({"status": "running"}));
        bench.clock.advance(20);
        let lived = bench.clock.wall_ms() - ahead_before;
        bench.clock.shift_wall(ahead_after - ahead_before);
        // What is kept of the state says it, too.
        let kept = bench.state.save().expect("JSON");
        let state = State::restore_from(&kept[..]).expect("whole");
        let clock = Clock::frozen(7, bench.clock.wall_ms());
        let recovered = Timers::recover(clock, &state, lived);
        let mut schedule = recovered.schedule.lock();
        let mut dues = Vec::new();
        while let Some(Reverse(entry)) = schedule.heap.pop() {
            dues.push(entry.due - 7);
        }
        assert_eq!(dues, [80, 980], "{ahead_before} {ahead_after}");
    }
}

#[test]
fn an_earlier_workflow_of_the_same_id_is_another() {
    let mut bench = Bench::new();
    bench.policy.state_retention_age_ms = 10;
    bench.start(&definition());
    bench.report("b", &json!({"status": "failed"}));
    bench.clock.advance(500);
    bench.start(&definition());
    bench.clock.advance(500);
    assert_eq!(bench.due(), [""; 0]);
    bench.clock.advance(500);
    assert_eq!(bench.due(), ["w"]);
}

#[test]
fn stale_entries_never_pile_up() {
    let mut bench = Bench::new();
    bench.start(&json!({"name": "T", "timeoutMs": 9_000}));
    for n in 0..2_000 {
        let definition = json!({"id": format!("v{n}"), "name": "V", "timeoutMs": 1_000_000});
        bench.start(&definition);
        let end = crate::domain::command::EndWorkflow {
            workflow: format!("v{n}").parse().expect("an id"),
            ending: crate::domain::command::Ending::Completed { results: None },
            occurred_at: None,
        };
        bench.command(&Command::EndWorkflow(Box::new(end)));
    }
    assert!(bench.timers.len() <= FEW + 1, "{}", bench.timers.len());
    assert_eq!(bench.next(), Some(14_000), "the live one stayed");
}
