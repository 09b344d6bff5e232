//! Patterns: named ways of working together that can be switched on and off.

use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use super::{
    command::{Decision, Rejection, Reply, SwitchPattern},
    event::{Event, EventData, NewEvent, Pattern, PatternSwitched},
    fleet::Policy,
    ids::{InvalidId, WorkflowId},
    input::{FieldError, Fields, IGNORED, Shape},
    json::JsonRef,
    limit::Limit,
};

/// The built-in patterns: name, description, whether it is on by default.
pub const BUILT_IN: [(&str, &str, bool); 5] = [
    (
        "event_driven",
        "Events as a whole: the stream, history and POST /events",
        true,
    ),
    (
        "server_chaining",
        "Servers pass results on to the next server in a chain",
        false,
    ),
    (
        "shared_resources",
        "Servers share resources with each other",
        false,
    ),
    (
        "sse_integration",
        "The stream of Server-Sent Events at GET /events",
        true,
    ),
    (
        "tool_composition",
        "Tools of several servers combine into one",
        false,
    ),
];

/// Longest name of a pattern, in bytes.
pub const MAX_NAME_LEN: usize = 128;
/// Longest description of a pattern, in bytes.
const MAX_DESCRIPTION_LEN: usize = 1024;

/// All patterns, by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Patterns {
    by_name: RedBlackTreeMapSync<String, Arc<Pattern>>,
}

impl Default for Patterns {
    fn default() -> Self {
        let mut by_name = RedBlackTreeMapSync::new_sync();
        for (name, description, enabled) in BUILT_IN {
            let pattern = Pattern {
                name: name.to_owned(),
                description: description.to_owned(),
                enabled,
            };
            by_name.insert_mut(name.to_owned(), Arc::new(pattern));
        }
        Self { by_name }
    }
}

impl Patterns {
    /// The pattern of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Pattern>> {
        self.by_name.get(name)
    }

    /// Whether the pattern of this name is there and on.
    #[must_use]
    pub fn is_enabled(&self, name: &str) -> bool {
        self.get(name).is_some_and(|pattern| pattern.enabled)
    }

    /// All of them, in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Pattern>> {
        self.by_name.values()
    }

    pub(super) fn switch(
        &self,
        switch: &SwitchPattern,
        policy: &Policy,
    ) -> Result<Decision, Rejection> {
        let reply = Reply::Pattern {
            name: switch.name.clone(),
        };
        let there = self.get(&switch.name);
        if there.is_none() && self.by_name.size() >= policy.max_patterns {
            return Err(Rejection::LimitReached {
                limit: Limit::Patterns,
                most: policy.max_patterns,
            });
        }
        let described = switch
            .description
            .clone()
            .or_else(|| there.map(|pattern| pattern.description.clone()));
        let pattern = Pattern {
            name: switch.name.clone(),
            description: described.unwrap_or_default(),
            enabled: switch.enabled,
        };
        if there.is_some_and(|there| **there == pattern) {
            return Ok(Decision::nothing(reply));
        }
        let data = PatternSwitched {
            pattern,
            source: switch.source.to_owned(),
        };
        let data = if switch.enabled {
            EventData::PatternEnabled(data)
        } else {
            EventData::PatternDisabled(data)
        };
        let event = NewEvent {
            occurred_at: switch.occurred_at,
            ..NewEvent::new(data)
        };
        Ok(Decision {
            events: vec![event],
            reply,
        })
    }

    pub(super) fn evolve(&mut self, event: &Event) {
        if let EventData::PatternEnabled(data) | EventData::PatternDisabled(data) = &event.what.data
        {
            self.by_name
                .insert_mut(data.pattern.name.clone(), Arc::new(data.pattern.clone()));
        }
    }

    /// What a snapshot keeps.
    #[must_use]
    pub fn save(&self) -> Vec<Pattern> {
        self.iter()
            .map(|pattern| pattern.as_ref().clone())
            .collect()
    }

    /// The patterns as they were when they were saved, and built-in ones that are new since.
    #[must_use]
    pub fn restore(saved: Vec<Pattern>) -> Self {
        let mut patterns = Self::default();
        for pattern in saved {
            patterns
                .by_name
                .insert_mut(pattern.name.clone(), Arc::new(pattern));
        }
        patterns
    }
}

impl SwitchPattern {
    /// What a body may hold.
    pub const SHAPE: Shape = Shape {
        members: &["enabled", "name", "description", "occurredAt"],
        nested: &[],
        fate: IGNORED,
    };

    /// Reads the body of `PUT /patterns/{name}`: `{enabled, description?}`.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub fn parse(
        body: JsonRef<'_>,
        base: &str,
        name: &PatternName,
    ) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::among(body, base, &Self::SHAPE)?;
        let enabled = fields.flag("enabled");
        if fields.get("enabled").is_none() {
            fields.wrong("enabled", "is required: true or false");
        }
        if fields
            .text("name", MAX_NAME_LEN)
            .is_some_and(|told| told != name.0)
        {
            fields.wrong("name", "contradicts the path");
        }
        let description = Self::description_in(&mut fields);
        let occurred_at = fields.time("occurredAt");
        let name = name.0.clone();
        fields.finish(enabled.map(|enabled| Self {
            name,
            enabled,
            description,
            source: "api",
            occurred_at,
        }))
    }

    /// The name of a pattern in a body, which follows the rule of ids.
    pub(super) fn name_in(fields: &mut Fields<'_>, field: &str) -> Option<String> {
        if fields.get(field).is_none() {
            fields.wrong(field, "is required: the pattern's name");
        }
        fields.parsed::<PatternName>(field).map(|name| name.0)
    }

    pub(super) fn description_in(fields: &mut Fields<'_>) -> Option<String> {
        fields.text("description", MAX_DESCRIPTION_LEN)
    }
}

/// A pattern's name, checked as ids are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternName(String);

impl PatternName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for PatternName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for PatternName {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        WorkflowId::parse(text).map(|id| Self(id.as_str().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::position::{Epoch, Position};

    fn switch(name: &str, enabled: bool, description: Option<&str>) -> SwitchPattern {
        let description = description.map(str::to_owned);
        SwitchPattern {
            name: name.to_owned(),
            enabled,
            description,
            source: "api",
            occurred_at: None,
        }
    }

    /// Decides and evolves; says what was appended.
    fn carry_out(patterns: &mut Patterns, switch: &SwitchPattern) -> Vec<&'static str> {
        let decision = patterns
            .switch(switch, &Policy::default())
            .expect("accepted");
        let kinds = decision.events.iter().map(|event| match &event.data {
            EventData::PatternEnabled(_) => "pattern_enabled",
            EventData::PatternDisabled(_) => "pattern_disabled",
            _ => "something else",
        });
        let kinds = kinds.collect();
        for what in decision.events {
            let position = Position {
                epoch: Epoch::from_random(1),
                sequence: 1,
            };
            patterns.evolve(&Event {
                position,
                timestamp: 1,
                what,
            });
        }
        kinds
    }

    #[test]
    fn an_event_only_on_a_change() {
        let mut patterns = Patterns::default();
        let table = [
            (switch("sse_integration", true, None), vec![]),
            (
                switch("sse_integration", false, None),
                vec!["pattern_disabled"],
            ),
            (switch("sse_integration", false, None), vec![]),
            (
                switch("sse_integration", false, Some("other words")),
                vec!["pattern_disabled"],
            ),
            (
                switch("sse_integration", false, Some("other words")),
                vec![],
            ),
            (
                switch("sse_integration", true, None),
                vec!["pattern_enabled"],
            ),
            (
                switch("round-robin:v1", false, Some("ours")),
                vec!["pattern_disabled"],
            ),
            (
                switch("round-robin:v1", true, None),
                vec!["pattern_enabled"],
            ),
        ];
        for (command, appended) in table {
            assert_eq!(carry_out(&mut patterns, &command), appended, "{command:?}");
        }
        let kept = |name: &str| {
            patterns
                .get(name)
                .map(|it| (it.enabled, it.description.clone()))
        };
        assert_eq!(
            kept("sse_integration"),
            Some((true, "other words".to_owned()))
        );
        assert_eq!(kept("round-robin:v1"), Some((true, "ours".to_owned())));
        assert_eq!(Patterns::restore(patterns.save()), patterns);
    }

    #[test]
    fn custom_patterns_are_bounded() {
        let mut patterns = Patterns::default();
        let policy = Policy {
            max_patterns: BUILT_IN.len() + 1,
            ..Policy::default()
        };
        for n in BUILT_IN.len()..policy.max_patterns {
            carry_out(&mut patterns, &switch(&format!("p{n}"), true, None));
        }
        let refused = patterns.switch(&switch("one-more", true, None), &policy);
        assert_eq!(
            refused,
            Err(Rejection::LimitReached {
                limit: Limit::Patterns,
                most: policy.max_patterns
            })
        );
        let known = format!("p{}", BUILT_IN.len());
        assert!(
            patterns
                .switch(&switch(&known, false, None), &policy)
                .is_ok()
        );
    }

    #[test]
    fn a_body_is_read_whole() {
        let parse = |body: &str| {
            let body = crate::domain::Json::parse(body).expect("JSON");
            SwitchPattern::parse(body.root(), "", &PatternName("mine".to_owned()))
                .map_err(|errors| errors.into_iter().map(|e| e.pointer).collect())
        };
        assert_eq!(
            parse(r#"{"enabled": true}"#),
            Ok(switch("mine", true, None))
        );
        assert_eq!(
            parse(r#"{"enabled": false, "description": "d"}"#),
            Ok(switch("mine", false, Some("d")))
        );
        assert_eq!(
            parse(r#"{"description": 1}"#),
            Err(vec!["/enabled".to_owned(), "/description".to_owned()])
        );
        assert_eq!(
            parse(r#"{"enabled": "yes", "name": "other"}"#),
            Err(vec!["/enabled".to_owned(), "/name".to_owned()])
        );
    }
}
