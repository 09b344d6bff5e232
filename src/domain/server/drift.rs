//! What became different in what a server offers, so that an operator sees which tool changed and not only that
//! something did.

use std::collections::BTreeMap;

use crate::domain::{
    event::{Capabilities, Changed, Drift, ListDrift},
    json::{Json, JsonRef},
};

impl Drift {
    /// What differs between two descriptions; `None` where each list offers the same as before. The order of a list
    /// doesn't count, nor does it whether an entry is a bare name or an object that says more for the first time.
    #[must_use]
    pub fn between(old: &Capabilities, new: &Capabilities) -> Option<Self> {
        let drift = Self {
            tools: ListDrift::between(&old.tools, &new.tools),
            resources: ListDrift::between(&old.resources, &new.resources),
            prompts: ListDrift::between(&old.prompts, &new.prompts),
        };
        (drift != Self::default()).then_some(drift)
    }
}

impl ListDrift {
    fn between(old: &[Json], new: &[Json]) -> Self {
        if old == new {
            return Self::default();
        }
        let (old, new) = (by_name(old), by_name(new));
        let missing = |from: &BTreeMap<String, JsonRef<'_>>,
                       here: &BTreeMap<String, JsonRef<'_>>| {
            let names = here.keys().filter(|name| !from.contains_key(*name));
            names.cloned().collect()
        };
        let changed = new.iter().filter_map(|(name, entry)| {
            let fields = differing(*old.get(name)?, *entry);
            (!fields.is_empty()).then(|| Changed {
                name: name.clone(),
                fields,
            })
        });
        Self {
            added: missing(&old, &new),
            removed: missing(&new, &old),
            changed: changed.collect(),
        }
    }
}

/// The entries by what they are called: a bare name, or an object's `name`, else its `uri` or `uriTemplate`, else
/// its text.
fn by_name(list: &[Json]) -> BTreeMap<String, JsonRef<'_>> {
    let called = |entry: JsonRef<'_>| {
        let of_object = || {
            ["name", "uri", "uriTemplate"]
                .into_iter()
                .find_map(|name| entry.get(name)?.text())
        };
        let name = entry.text().or_else(of_object);
        name.map_or_else(|| entry.as_str().to_owned(), |name| name.into_owned())
    };
    list.iter()
        .map(|entry| (called(entry.root()), entry.root()))
        .collect()
}

/// Names of the members in which two objects differ.
fn differing(old: JsonRef<'_>, new: JsonRef<'_>) -> Vec<String> {
    let (Some(before), Some(after)) = (old.members(), new.members()) else {
        return Vec::new();
    };
    let before: BTreeMap<_, _> = before.into_iter().collect();
    let after: BTreeMap<_, _> = after.into_iter().collect();
    let is_same = |name| match (before.get(name), after.get(name)) {
        (Some(one), Some(other)) => one.is_same(*other),
        _ => false,
    };
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    let mut names: Vec<_> = after
        .keys()
        .chain(gone)
        .filter(|name| !is_same(*name))
        .collect();
    names.sort_unstable();
    names
        .into_iter()
        .map(|name| name.clone().into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drift(old: &str, new: &str) -> Option<serde_json::Value> {
        let [old, new] = [old, new].map(|text| serde_json::from_str(text).expect("capabilities"));
        Drift::between(&old, &new).map(|drift| serde_json::to_value(drift).expect("JSON"))
    }

    #[test]
    fn drift_names_what_came_went_and_changed() {
        let old = r#"{"tools": ["a", {"name": "b", "description": "old", "inputSchema": {"n": 1}}, "gone"],
            "resources": [{"uri": "file:///x", "hash": "1"}]}"#;
        let new = r#"{"tools": [{"name": "b", "description": "new", "inputSchema": {"n": 1.0}, "hash": "h"}, "a", "c"],
            "resources": [{"uri": "file:///x", "hash": "2"}], "prompts": ["p"]}"#;
        let none = serde_json::json!([]);
        assert_eq!(
            drift(old, new),
            Some(serde_json::json!({
                "tools": {"added": ["c"], "removed": ["gone"],
                    "changed": [{"name": "b", "fields": ["description", "hash", "inputSchema"]}]},
                "resources": {"added": none, "removed": none, "changed": [{"name": "file:///x", "fields": ["hash"]}]},
                "prompts": {"added": ["p"], "removed": none, "changed": none},
            }))
        );
    }

    #[test]
    fn order_spelling_and_a_first_description_are_no_drift() {
        let old = r#"{"tools": ["a", {"name": "b", "x": {"p": 1, "q": "\u00e9"}}]}"#;
        let new = r#"{"tools": [{"x": {"q": "é", "p": 1}, "name": "b"}, {"name": "a", "description": "says more"}]}"#;
        assert_eq!(drift(old, new), None);
        assert_eq!(drift(old, old), None);
    }
}
