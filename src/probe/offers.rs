//! What a server offers, as the hub keeps it: each tool with a hash of its whole surface.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// A list as it is kept: whole where that is short, else each entry by its name, the beginning of its description and
/// its hash. `room` is what is left of the bytes that all lists of one server may take.
pub(super) fn kept(entries: &[Value], room: &mut usize) -> Vec<Value> {
    let whole: Vec<Value> = entries.iter().filter_map(surface).collect();
    let bytes: usize = whole.iter().map(|entry| entry.to_string().len()).sum();
    if let Some(left) = room.checked_sub(bytes) {
        *room = left;
        return whole;
    }
    let short: Vec<Value> = whole.into_iter().map(short).collect();
    let bytes: usize = short.iter().map(|entry| entry.to_string().len()).sum();
    *room = room.saturating_sub(bytes);
    short
}

/// A hash of everything that a client sees of an entry: name, description, schemas, annotations. What a server adds for
/// programs (`_meta`) doesn't count, nor does the order of members.
#[must_use]
pub fn hash(entry: &Value) -> String {
    let mut surface = entry.clone();
    if let Some(object) = surface.as_object_mut() {
        object.remove("_meta");
    }
    surface.sort_all_objects();
    let hash = Sha256::digest(surface.to_string());
    hash.iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// What counts of an entry, with its hash; `None` for what isn't one.
fn surface(entry: &Value) -> Option<Value> {
    let object = entry.as_object()?;
    ["name", "uri", "uriTemplate"]
        .iter()
        .find_map(|name| object.get(*name)?.as_str())?;
    let mut surface: Map<String, Value> = object
        .iter()
        .filter(|(name, _)| SURFACE.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    surface.insert("hash".to_owned(), json!(hash(entry)));
    Some(Value::Object(surface))
}

fn short(entry: Value) -> Value {
    let Value::Object(object) = entry else {
        return entry;
    };
    let members = object.into_iter().filter_map(|(name, value)| {
        let most = match name.as_str() {
            "name" | "uri" | "uriTemplate" | "hash" => LONGEST_NAME,
            "description" => LONGEST_DESCRIPTION,
            _ => return None,
        };
        let text: String = value.as_str()?.chars().take(most).collect();
        Some((name, Value::String(text)))
    });
    Value::Object(members.collect())
}

const SURFACE: [&str; 10] = [
    "name",
    "title",
    "description",
    "inputSchema",
    "outputSchema",
    "annotations",
    "arguments",
    "uri",
    "uriTemplate",
    "mimeType",
];
/// Longest name that is kept of a long list, in characters.
const LONGEST_NAME: usize = 256;
/// Longest description that is kept of a long list; a change beyond it shows in the hash.
const LONGEST_DESCRIPTION: usize = 160;
/// Bytes that the lists of one server may take before they are shortened.
pub(super) const ROOM: usize = 48 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_of_what_a_client_sees() {
        let tool = json!({"name": "a", "description": "d", "inputSchema": {"x": 1, "y": 2}, "_meta": {"n": 1}});
        let same = json!({"inputSchema": {"y": 2, "x": 1}, "name": "a", "description": "d", "_meta": {"n": 2}});
        let other = json!({"name": "a", "description": "d", "inputSchema": {"x": 1, "y": 3}});
        assert_eq!(hash(&tool), hash(&same));
        assert_ne!(hash(&tool), hash(&other));
        assert_eq!(hash(&tool).len(), 16);
    }

    #[test]
    fn long_lists_are_shortened_and_what_is_no_entry_is_left_out() {
        let tool = json!({"name": "a", "description": "d".repeat(1000), "inputSchema": {"x": 1}});
        let mut room = ROOM;
        let whole = kept(&[tool.clone(), json!(1), json!({"x": 1})], &mut room);
        assert_eq!(whole.len(), 1);
        assert_eq!(whole[0]["inputSchema"], json!({"x": 1}));
        let short = kept(&vec![tool; 1000], &mut room);
        assert_eq!(short.len(), 1000);
        assert_eq!(short[0]["description"].as_str().map(str::len), Some(160));
        assert_eq!(
            (short[0].get("inputSchema"), &short[0]["hash"]),
            (None, &whole[0]["hash"])
        );
    }
}
