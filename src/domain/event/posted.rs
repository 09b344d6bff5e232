//! What the data of a core event may hold that a producer posts: the members that its command takes, and those that only
//! the hub's own event of that type has.

use super::EventType;
use crate::domain::{
    command::{Register, StartWorkflow},
    health::Heartbeat,
    input::{FieldError, IGNORED, KEPT, Nested, Shape, pointer},
    json::JsonRef,
};

/// What a type's data may hold.
#[derive(Debug)]
pub struct PostedShape {
    taken: Shape,
    /// What the hub says in its own event of that type, and takes from nobody.
    told: &'static [&'static str],
}

impl PostedShape {
    /// Of a core type that goes through a command; `None` if the data is the producer's own.
    #[must_use]
    pub fn of(kind: &EventType) -> Option<&'static Self> {
        Some(match kind {
            EventType::ServerConnected | EventType::ServerUpdated => &REGISTER,
            EventType::InstanceConnected => &JOIN,
            EventType::ServerDisconnected | EventType::InstanceDisconnected => &LEAVE,
            EventType::ServerHealthChanged => &HEALTH,
            EventType::WorkflowStarted => &START,
            EventType::WorkflowStepStarted
            | EventType::WorkflowStepCompleted
            | EventType::WorkflowStepFailed => &STEP,
            EventType::WorkflowCompleted => &COMPLETE,
            EventType::WorkflowFailed => &FAIL,
            EventType::PatternEnabled | EventType::PatternDisabled => &SWITCH,
            EventType::IntegrationStatusChanged | EventType::Custom(_) => return None,
        })
    }

    /// Members of the data at `base` that have no effect, each with why.
    #[must_use]
    pub fn without_effect(&self, data: JsonRef<'_>, base: &str) -> Vec<FieldError> {
        let mut found = self.taken.unknown(data, base);
        for warning in &mut found {
            let told = self.told.iter().chain(&EVERYWHERE);
            if told
                .into_iter()
                .any(|name| pointer(base, name) == warning.pointer)
            {
                TOLD.clone_into(&mut warning.detail);
            }
        }
        found
    }
}

/// What becomes of what the hub says by itself.
const TOLD: &str = "is for the hub to say, and isn't taken from an event";

/// What any event of a core type may have.
const EVERYWHERE: [&str; 1] = ["by"];

const fn ignoring(
    members: &'static [&'static str],
    nested: &'static [(&'static str, Nested)],
) -> Shape {
    Shape {
        members,
        nested,
        fate: IGNORED,
    }
}

static REGISTER: PostedShape = PostedShape {
    taken: ignoring(
        &[
            "connection",
            "heartbeatIntervalMs",
            "protocolVersion",
            "occurredAt",
        ],
        &[("connection", Nested::One(&Register::SHAPE))],
    ),
    told: &["reconnected", "changes", "changed", "drift"],
};

static JOIN: PostedShape = PostedShape {
    taken: ignoring(
        &[
            "connection",
            "heartbeatIntervalMs",
            "protocolVersion",
            "instanceId",
            "host",
            "pid",
            "client",
            "occurredAt",
        ],
        &[("connection", Nested::One(&Register::SHAPE))],
    ),
    told: &["connectedInstances", "reason", "expected"],
};

static LEAVE: PostedShape = PostedShape {
    taken: ignoring(
        &[
            "connection",
            "reason",
            "instanceId",
            "expected",
            "occurredAt",
        ],
        &[("connection", Nested::One(&ignoring(&["id", "name"], &[])))],
    ),
    told: &[
        "connectedInstances",
        "connectedForMs",
        "lastSeenAt",
        "host",
        "pid",
        "client",
    ],
};

static HEALTH: PostedShape = PostedShape {
    taken: Heartbeat::SHAPE,
    told: &[
        "name",
        "previousHealth",
        "reason",
        "source",
        "missedHeartbeats",
        "lastSeenAt",
    ],
};

static START: PostedShape = PostedShape {
    taken: Shape {
        members: &[
            "workflowId",
            "serverId",
            "id",
            "name",
            "description",
            "timeoutMs",
            "timeout",
            "errorHandling",
            "occurredAt",
            "steps",
            "workflow",
        ],
        nested: StartWorkflow::SHAPE.nested,
        fate: KEPT,
    },
    told: &["readySteps"],
};

static STEP: PostedShape = PostedShape {
    taken: ignoring(
        &[
            "workflowId",
            "stepId",
            "serverId",
            "instanceId",
            "result",
            "error",
            "attempt",
            "occurredAt",
        ],
        &[],
    ),
    told: &[
        "durationMs",
        "completedSteps",
        "totalSteps",
        "readySteps",
        "willRetry",
        "reason",
    ],
};

static COMPLETE: PostedShape = PostedShape {
    taken: ignoring(&["workflowId", "results", "occurredAt"], &[]),
    told: &["name", "durationMs"],
};

static FAIL: PostedShape = PostedShape {
    taken: ignoring(
        &["workflowId", "reason", "error", "failedStep", "occurredAt"],
        &[],
    ),
    told: &[
        "name",
        "serverId",
        "tool",
        "retryAttempts",
        "completedSteps",
        "totalSteps",
    ],
};

static SWITCH: PostedShape = PostedShape {
    taken: ignoring(
        &["pattern", "name", "description", "enabled", "occurredAt"],
        &[(
            "pattern",
            Nested::One(&ignoring(&["name", "description", "enabled"], &[])),
        )],
    ),
    told: &["source"],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Json;

    fn warned(kind: &str, data: &str) -> Vec<(String, String)> {
        let kind = EventType::parse(kind).expect("a type");
        let data = Json::parse(data).expect("JSON");
        let shape = PostedShape::of(&kind).expect("a core type");
        let found = shape.without_effect(data.root(), "/data").into_iter();
        found.map(|it| (it.pointer, it.detail)).collect()
    }

    #[test]
    fn what_has_no_effect_is_named_with_why() {
        let found = warned(
            "server_health_changed",
            r#"{"health":"degraded","detial":"slow","previousHealth":"healthy","by":"me"}"#,
        );
        let found: Vec<_> = found.iter().map(|(at, why)| (&**at, &**why)).collect();
        assert_eq!(
            found,
            [
                (
                    "/data/detial",
                    "is unknown and has no effect; did you mean detail?"
                ),
                ("/data/previousHealth", TOLD),
                ("/data/by", TOLD),
            ]
        );
        let nested = warned(
            "server_connected",
            r#"{"connection":{"id":"s","nmae":"S"}}"#,
        );
        assert_eq!(nested[0].0, "/data/connection/nmae");
        let step = warned(
            "workflow_started",
            r#"{"workflowId":"w","steps":[{"id":"a","when":1}],"own":2}"#,
        );
        let places: Vec<_> = step.iter().map(|(at, _)| &**at).collect();
        assert_eq!(places, ["/data/steps/0/when", "/data/own"]);
    }

    #[test]
    fn every_core_type_but_a_statement_has_a_shape() {
        for (name, kind) in EventType::CORE {
            let is_free = *kind == EventType::IntegrationStatusChanged;
            assert_eq!(PostedShape::of(kind).is_none(), is_free, "{name}");
        }
    }
}
