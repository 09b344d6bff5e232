//! Commands as producers give them, and what carries them out without a log.

use serde_json::{Value, json};
use timeback_events::domain::{
    Command, Event, Json, Policy, ServerId, State,
    command::{ChangeHealth, LeaseWord, Register, ReportStep, StartWorkflow},
    event::Health,
    position::{Epoch, Position},
};

/// When everything happens, epoch ms.
pub(crate) const NOW: i64 = 1_763_790_000_000;

/// Decides a command and evolves the state by what comes of it.
pub(crate) fn carry_out(state: &mut State, policy: &Policy, command: &Command) {
    let decision = state.decide(command, policy, NOW).expect("it is allowed");
    for what in decision.events {
        let event = Event {
            position: position(state.sequence + 1),
            timestamp: NOW,
            what,
        };
        state.evolve(&event, policy);
    }
}

/// A place in a log of one epoch.
pub(crate) fn position(sequence: u64) -> Position {
    Position {
        epoch: Epoch::from_random(1),
        sequence,
    }
}

/// A state of this many connected servers and one running workflow of 50 steps.
pub(crate) fn fleet(servers: usize, policy: &Policy) -> State {
    let mut state = State::default();
    for number in 0..servers {
        carry_out(&mut state, policy, &register(number));
    }
    let steps: Vec<Value> = (0..50).map(|n| json!(format!("step-{n}"))).collect();
    let definition = json!({"id": "workflow", "name": "bench", "steps": steps});
    let fresh = || "unused".parse().expect("an id");
    let start = StartWorkflow::parse(Json::of(&definition).root(), "", fresh).expect("a workflow");
    carry_out(&mut state, policy, &Command::StartWorkflow(Box::new(start)));
    state
}

/// A server describes itself, with two tools and two tags.
pub(crate) fn register(number: usize) -> Command {
    let description = json!({
        "id": server(number), "name": "A server", "transport": "http", "url": "http://127.0.0.1:8080/mcp",
        "capabilities": {"tools": ["search", "grade"], "resources": [], "prompts": []},
        "tags": {"zone": "eu", "tier": "1"},
    });
    let register = Register::parse(Json::of(&description).root(), "", || server(number))
        .expect("a description");
    Command::Register(Box::new(register))
}

/// A server's lease says `degraded`; the server connected with the event `connection`.
pub(crate) fn verdict(number: usize, connection: u64) -> Command {
    Command::ChangeHealth(ChangeHealth {
        server: server(number),
        instance_id: None,
        connection: Some(connection),
        lease: Some(LeaseWord {
            health: Health::Degraded,
            missed_heartbeats: 1,
            words: "no heartbeat for 15 s".to_owned(),
        }),
        report: None,
        last_seen_at: Some(NOW),
        occurred_at: None,
    })
}

/// A server reports on a step of the fleet's workflow.
pub(crate) fn report(step: usize, status: &str) -> Command {
    let body = json!({"status": status, "serverId": server(7)});
    let step = format!("step-{step}").parse().expect("an id");
    let workflow = "workflow".parse().expect("an id");
    let report = ReportStep::parse(Json::of(&body).root(), "", workflow, step).expect("a report");
    Command::ReportStep(Box::new(report))
}

/// The id of a server.
pub(crate) fn server(number: usize) -> ServerId {
    ServerId::parse(&format!("server-{number:04}")).expect("an id")
}
