//! Ids of every kind. The input is one.

use timeback_events::domain::{EventType, InstanceId, Position, ServerId, StepId, WorkflowId};

/// An id that is taken is written back as it came, and can break no line, header or path.
pub(crate) fn check(input: &[u8]) {
    let text = super::text(input);
    if let Some(position) = Position::parse(&text) {
        assert_eq!(position.to_string(), text);
    }
    let taken = [
        ServerId::parse(&text).ok().map(|id| id.to_string()),
        WorkflowId::parse(&text).ok().map(|id| id.to_string()),
        StepId::parse(&text).ok().map(|id| id.to_string()),
        InstanceId::parse(&text).ok().map(|id| id.to_string()),
        EventType::parse(&text).map(|kind| kind.as_str().to_owned()),
    ];
    for id in taken.into_iter().flatten() {
        assert_eq!(id, text);
        assert!(id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_graphic()));
    }
}
