//! What events are called: the hub's own types, and what producers may call theirs.

use std::sync::Arc;

/// Longest custom type, in characters.
pub const MAX_TYPE_LEN: usize = 128;

/// Each type of the hub's own stands here once, with its name.
macro_rules! core_types {
    ($($variant:ident = $name:literal,)+) => {
        /// The type of an event: one of those that the hub itself knows, or a producer's own.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum EventType {
            $(#[doc = concat!("`", $name, "`")] $variant,)+
            /// A dotted name or `custom_…`.
            Custom(Arc<str>),
        }

        impl EventType {
            /// The types that the hub itself gives a meaning to, with their names.
            pub const CORE: &'static [(&'static str, Self)] = &[$(($name, Self::$variant)),+];

            /// The name, as in `event:` and `"type"`.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $name,)+
                    Self::Custom(name) => name,
                }
            }
        }
    };
}

core_types! {
    ServerConnected = "server_connected",
    ServerUpdated = "server_updated",
    ServerDisconnected = "server_disconnected",
    ServerHealthChanged = "server_health_changed",
    InstanceConnected = "server_instance_connected",
    InstanceDisconnected = "server_instance_disconnected",
    WorkflowStarted = "workflow_started",
    WorkflowStepStarted = "workflow_step_started",
    WorkflowStepCompleted = "workflow_step_completed",
    WorkflowStepFailed = "workflow_step_failed",
    WorkflowCompleted = "workflow_completed",
    WorkflowFailed = "workflow_failed",
    IntegrationStatusChanged = "integration_status_changed",
    PatternEnabled = "pattern_enabled",
    PatternDisabled = "pattern_disabled",
}

impl EventType {
    /// Reads a type's name: a core one, `[a-z][a-z0-9_]*(\.[a-z0-9_]+)+`, or `custom_[a-z0-9_]+`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if let Some((_, core)) = Self::CORE.iter().find(|(core, _)| *core == name) {
            return Some(core.clone());
        }
        is_custom(name).then(|| Self::Custom(name.into()))
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
            assert_eq!(kind.as_str(), *name);
            assert_eq!(EventType::parse(name).as_ref(), Some(kind));
        }
        let custom = EventType::parse("grades.synced").expect("a custom type");
        assert_eq!(custom.as_str(), "grades.synced");
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
