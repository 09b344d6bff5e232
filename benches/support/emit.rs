//! A producer's own event.

use timeback_events::domain::{Command, Json, command::Emit};

/// A producer's own event with about 150 bytes of data.
pub(crate) fn emit() -> Command {
    Command::Emit(Box::new(Emit {
        kind: "bench.event".into(),
        server: None,
        workflow: None,
        data: Json::trusted(format!(r#"{{"text":"{}"}}"#, "x".repeat(140))),
        occurred_at: None,
    }))
}
