//! A thing with less in it, where there is no room for all: its largest members are left out or cut, and named in
//! `truncated`. `GET` of the thing gives it whole.

use std::{collections::BTreeMap, io};

use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    Json,
    workflow::{StepView, Workflow},
};

/// Characters that are left of a text that is cut.
const CUT: usize = 200;

/// An object with more members than this, or with longer names, is emptied as a whole.
const FEW: usize = 16;
const LONG_NAME: usize = 64;

/// How deep it is looked for what is large.
const DEPTH: usize = 3;

/// Room for the names of what is left out.
const MARK: usize = 1024;

/// The value's JSON where that has at most `most` bytes. No more than that is written.
pub(super) fn bounded<T: Serialize + ?Sized>(value: &T, most: usize) -> Option<String> {
    let mut text = Bounded::new(most);
    serde_json::to_writer(&mut text, value).ok()?;
    Some(text.into_text())
}

/// A workflow as JSON of at most `most` bytes, as long as that is some kilobytes: the definition is left out first, then what is
/// large in its steps, then the steps.
#[must_use]
pub fn lighter_workflow(workflow: &Workflow, most: usize) -> String {
    let mut view = workflow.outline();
    let mut truncated = Vec::new();
    if workflow.definition().is_some() {
        truncated.push("definition".to_owned());
    }
    let room = most.saturating_sub(Json::of(&view).as_str().len() + MARK);
    match lighter_steps(workflow, room) {
        Some((steps, lighter)) => {
            view.steps = steps;
            truncated.extend(lighter);
        }
        None => truncated.push("steps".to_owned()),
    }
    lighter(Json::of(&view).as_str(), truncated, most)
}

/// The steps without params and results, and what was left out of them; `None` where they don't fit either.
fn lighter_steps(workflow: &Workflow, room: usize) -> Option<(Vec<StepView>, Vec<String>)> {
    let (mut steps, mut bytes) = (Vec::new(), 0);
    let (mut params, mut results) = (false, false);
    for step in workflow.steps() {
        let mut view = step.view(&workflow.id);
        params |= view.params.take().is_some();
        results |= view.result.take().is_some();
        bytes += Json::of(&view).as_str().len() + 1;
        if bytes > room {
            return None;
        }
        steps.push(view);
    }
    let names = [(params, "steps.params"), (results, "steps.result")];
    let lighter = names.iter().filter(|(is_so, _)| *is_so);
    Some((steps, lighter.map(|(_, name)| (*name).to_owned()).collect()))
}

/// Cuts the largest member of an object again and again until it has at most `most` bytes, and adds the mark.
#[must_use]
pub fn lighter(text: &str, mut truncated: Vec<String>, most: usize) -> String {
    let mut text = text.to_owned();
    loop {
        let marked = marked(&text, &truncated);
        if marked.len() <= most {
            return marked;
        }
        let mut path = Vec::new();
        let less = cut(&text, &mut path);
        if less.len() >= text.len() {
            return marked;
        }
        text = less;
        let name = path.join(".");
        if !truncated.contains(&name) {
            truncated.push(name);
        }
    }
}

fn marked(text: &str, truncated: &[String]) -> String {
    if truncated.is_empty() {
        return text.to_owned();
    }
    let members = text.strip_suffix('}').unwrap_or(text);
    let names = Json::of(truncated);
    format!("{members},\"truncated\":{}}}", names.as_str())
}

/// The value with less in it, of the same kind where that goes; `path` says what was cut.
fn cut(text: &str, path: &mut Vec<String>) -> String {
    match text.as_bytes().first() {
        Some(b'"') => {
            let whole: String = serde_json::from_str(text).unwrap_or_default();
            let kept: String = whole.chars().take(CUT).chain(['…']).collect();
            Json::of(&kept).as_str().to_owned()
        }
        Some(b'[') => "[]".to_owned(),
        Some(b'{') => cut_object(text, path).unwrap_or_else(|| "{}".to_owned()),
        _ => "null".to_owned(),
    }
}

/// Cuts the largest member; `None` where the whole is to be emptied.
fn cut_object(text: &str, path: &mut Vec<String>) -> Option<String> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    let is_plain = members.len() <= FEW && members.keys().all(|name| name.len() <= LONG_NAME);
    // What is outermost is ours: its members are few and known.
    if path.len() >= DEPTH || !(is_plain || path.is_empty()) {
        return None;
    }
    let largest = members.iter().max_by_key(|(_, value)| value.get().len());
    let largest = largest.map(|(name, _)| name.clone())?;
    path.push(largest.clone());
    let mut out = String::with_capacity(text.len() / 2);
    for (name, value) in &members {
        out.push(if out.is_empty() { '{' } else { ',' });
        out.push_str(Json::of(name).as_str());
        out.push(':');
        if *name == largest {
            out.push_str(&cut(value.get(), path));
        } else {
            out.push_str(value.get());
        }
    }
    out.push('}');
    Some(out)
}

/// Text up to a bound. What goes beyond it is refused.
#[derive(Debug)]
pub struct Bounded {
    text: Vec<u8>,
    most: usize,
}

impl Bounded {
    /// Of at most so many bytes.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            text: Vec::new(),
            most,
        }
    }

    /// What was written, which was JSON and so UTF-8.
    #[must_use]
    pub fn into_text(self) -> String {
        String::from_utf8(self.text).unwrap_or_default()
    }
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > self.most {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(value: &Value, most: usize) -> Value {
        let text = lighter(&value.to_string(), Vec::new(), most);
        assert!(text.len() <= most, "{} of {most}", text.len());
        serde_json::from_str(&text).expect("JSON")
    }

    #[test]
    fn the_largest_goes_first_and_is_named() {
        let long = "x".repeat(50_000);
        let server = json!({
            "id": "a", "name": "n", "tags": {"k": "v"},
            "connection": {"id": "a", "metadata": {"note": long, "n": 1}, "capabilities": {"tools": [long, long]}},
        });
        let seen = of(&server, 30_000);
        assert_eq!(
            seen["truncated"],
            json!(["connection.capabilities.tools", "connection.metadata.note"])
        );
        assert_eq!(seen["connection"]["capabilities"], json!({"tools": []}));
        assert_eq!(seen["connection"]["metadata"]["n"], 1);
        let note = seen["connection"]["metadata"]["note"]
            .as_str()
            .expect("a text");
        assert!(note.starts_with("xxx") && note.chars().count() == CUT + 1);
        assert_eq!(seen["tags"], server["tags"]);
    }

    #[test]
    fn whatever_is_large_it_fits() {
        let many: serde_json::Map<String, Value> =
            (0..5000).map(|n| (format!("k{n}"), json!(n))).collect();
        let long_name = json!({"x".repeat(90_000): 1});
        let digits: Value = json!("7".repeat(90_000));
        for (large, left) in [
            (json!(many), json!({})),
            (long_name, json!({})),
            (json!([digits]), json!([])),
            (
                json!({"a": {"b": {"c": {"d": digits}}}}),
                json!({"a": {"b": {}}}),
            ),
        ] {
            let seen = of(&json!({"id": "a", "metadata": large}), 8000);
            assert_eq!(seen["metadata"], left);
            assert_eq!(seen["id"], "a");
        }
    }
}
