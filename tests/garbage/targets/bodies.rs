//! JSON bodies of the calls that aren't `POST /events`. The input is a body, or several with U+001E between them:
//! each is tried on every call, and what is taken is carried out on one fleet.

use timeback_events::domain::{
    Command, FieldError, Json, ServerId, StepId, WorkflowId,
    command::{
        ChangeHealth, EndWorkflow, Register, ReportStep, SelfReport, StartWorkflow, SwitchPattern,
    },
    health::Heartbeat,
    json::JsonRef,
    pattern::PatternName,
    workflow::EndKind,
};

use super::{NOW, fleet::Fleet};

/// A body is read, or refused with pointers and reasons; what is taken reads back from the log as it was.
pub(crate) fn check(input: &[u8]) {
    let mut fleet = Fleet::new();
    for body in input.split(|byte| *byte == 0x1e).take(16) {
        if let Some(heartbeat) = Heartbeat::from_slice(body) {
            // The fast way to a heartbeat may leave one to the other, and never takes another one for it.
            let text = std::str::from_utf8(body).expect("UTF-8");
            let value = Json::parse(text).expect("JSON");
            assert_eq!(Heartbeat::parse(value.root(), ""), Ok(heartbeat));
        }
        let Some(value) = std::str::from_utf8(body)
            .ok()
            .and_then(|text| Json::parse(text).ok())
        else {
            continue;
        };
        for read in reads(value.root()) {
            match read {
                Ok(command) => fleet.carry_out(&command),
                Err(errors) => refused(&errors),
            }
        }
    }
    fleet.audit();
}

/// What each call makes of the body.
fn reads(value: JsonRef<'_>) -> Vec<Result<Command, Vec<FieldError>>> {
    let end = |kind| {
        let end = EndWorkflow::parse(kind, Some(value), "", workflow());
        end.map(|end| Command::EndWorkflow(Box::new(end)))
    };
    vec![
        Register::parse(value, "", server).map(|it| Command::Register(Box::new(it))),
        StartWorkflow::parse(value, "", workflow).map(|it| Command::StartWorkflow(Box::new(it))),
        ReportStep::parse(value, "", workflow(), step())
            .map(|it| Command::ReportStep(Box::new(it))),
        Heartbeat::parse(value, "").map(|heartbeat| health(&heartbeat)),
        SwitchPattern::parse(value, "", &pattern()).map(Command::SwitchPattern),
        end(EndKind::Complete),
        end(EndKind::Fail),
        end(EndKind::Cancel),
    ]
}

fn server() -> ServerId {
    "s".parse().expect("an id")
}

fn workflow() -> WorkflowId {
    "w".parse().expect("an id")
}

fn step() -> StepId {
    "a".parse().expect("an id")
}

fn pattern() -> PatternName {
    "tool_composition".parse().expect("a name")
}

/// What the leases would say after the heartbeat.
fn health(heartbeat: &Heartbeat) -> Command {
    let health = heartbeat
        .health
        .unwrap_or(timeback_events::domain::event::Health::Healthy);
    Command::ChangeHealth(ChangeHealth {
        server: server(),
        instance_id: None,
        connection: Some(1),
        lease: None,
        report: Some(SelfReport {
            health,
            detail: heartbeat.detail.clone(),
        }),
        last_seen_at: Some(NOW),
        occurred_at: None,
    })
}

/// A refusal says what is wrong, and where.
pub(super) fn refused(errors: &[FieldError]) {
    assert!(!errors.is_empty(), "a refusal says why");
    let told = |error: &FieldError| {
        !error.detail.is_empty() && (error.pointer.is_empty() || error.pointer.starts_with('/'))
    };
    assert!(errors.iter().all(told), "{errors:?}");
}
