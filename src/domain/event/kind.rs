//! What events are called: the hub's own types, and what producers may call theirs.

use std::sync::Arc;

/// Longest custom type, in characters.
pub const MAX_TYPE_LEN: usize = 128;

/// The type of an event. The thirteen that the hub itself knows, and the producers' own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EventType {
    /// `server_connected`
    ServerConnected,
    /// `server_updated`
    ServerUpdated,
    /// `server_disconnected`
    ServerDisconnected,
    /// `server_health_changed`
    ServerHealthChanged,
    /// `workflow_started`
    WorkflowStarted,
    /// `workflow_step_started`
    WorkflowStepStarted,
    /// `workflow_step_completed`
    WorkflowStepCompleted,
    /// `workflow_step_failed`
    WorkflowStepFailed,
    /// `workflow_completed`
    WorkflowCompleted,
    /// `workflow_failed`
    WorkflowFailed,
    /// `integration_status_changed`
    IntegrationStatusChanged,
    /// `pattern_enabled`
    PatternEnabled,
    /// `pattern_disabled`
    PatternDisabled,
    /// A dotted name or `custom_…`.
    Custom(Arc<str>),
}

impl EventType {
    /// The types that the hub itself gives a meaning to, with their names.
    pub const CORE: [(&'static str, Self); 13] = [
        ("server_connected", Self::ServerConnected),
        ("server_updated", Self::ServerUpdated),
        ("server_disconnected", Self::ServerDisconnected),
        ("server_health_changed", Self::ServerHealthChanged),
        ("workflow_started", Self::WorkflowStarted),
        ("workflow_step_started", Self::WorkflowStepStarted),
        ("workflow_step_completed", Self::WorkflowStepCompleted),
        ("workflow_step_failed", Self::WorkflowStepFailed),
        ("workflow_completed", Self::WorkflowCompleted),
        ("workflow_failed", Self::WorkflowFailed),
        ("integration_status_changed", Self::IntegrationStatusChanged),
        ("pattern_enabled", Self::PatternEnabled),
        ("pattern_disabled", Self::PatternDisabled),
    ];

    /// Reads a type's name: a core one, `[a-z][a-z0-9_]*(\.[a-z0-9_]+)+`, or `custom_[a-z0-9_]+`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if let Some((_, core)) = Self::CORE.iter().find(|(core, _)| *core == name) {
            return Some(core.clone());
        }
        is_custom(name).then(|| Self::Custom(name.into()))
    }

    /// The name, as in `event:` and `"type"`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::ServerConnected => "server_connected",
            Self::ServerUpdated => "server_updated",
            Self::ServerDisconnected => "server_disconnected",
            Self::ServerHealthChanged => "server_health_changed",
            Self::WorkflowStarted => "workflow_started",
            Self::WorkflowStepStarted => "workflow_step_started",
            Self::WorkflowStepCompleted => "workflow_step_completed",
            Self::WorkflowStepFailed => "workflow_step_failed",
            Self::WorkflowCompleted => "workflow_completed",
            Self::WorkflowFailed => "workflow_failed",
            Self::IntegrationStatusChanged => "integration_status_changed",
            Self::PatternEnabled => "pattern_enabled",
            Self::PatternDisabled => "pattern_disabled",
            Self::Custom(name) => name,
        }
    }
}

/// Whether a name is one that producers may give their own events.
#[must_use]
pub fn is_custom(name: &str) -> bool {
    let word = |s: &str| {
        !s.is_empty()
            && s.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    if name.len() > MAX_TYPE_LEN {
        return false;
    }
    match name.split_once('.') {
        Some((first, rest)) => {
            word(first) && first.as_bytes()[0].is_ascii_lowercase() && rest.split('.').all(word)
        }
        None => name.strip_prefix("custom_").is_some_and(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_names_and_types_agree() {
        for (name, kind) in EventType::CORE {
            assert_eq!(kind.as_str(), name);
            assert_eq!(EventType::parse(name), Some(kind));
        }
    }

    #[test]
    fn producers_types_are_dotted_or_prefixed() {
        for good in ["grades.synced", "a.b.c", "a_1.2", "custom_x", "load.t0"] {
            assert!(is_custom(good), "{good}");
        }
        for bad in [
            "", "grades", ".a", "a.", "a..b", "1a.b", "A.b", "a.B", "custom_", "custom_A", "a b.c",
            "_a.b", "a.b\n",
        ] {
            assert!(!is_custom(bad), "{bad:?}");
        }
        assert!(!is_custom(&format!("a.{}", "b".repeat(127))));
    }
}
