//! What a key or a token says about its holder's rights, in one form for both.
//!
//! A restriction that can't be understood refuses the token. It never falls back to no restriction: an empty
//! list, a `null` or a misspelt type would otherwise open everything.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use super::access::{Access, Scope, Scopes};
use crate::{
    domain::{EventType, ServerId, WorkflowId},
    filter::{Selection, TypePattern},
};

/// Most entries of one list: a token is held in memory and compared for every event.
const MOST: usize = 1000;

/// The lists that hold a token to a part of the fleet. What is absent doesn't restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restrictions {
    /// The servers that it may report as, and read.
    #[serde(alias = "server_ids", default, deserialize_with = "present")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_ids: Option<Vec<ServerId>>,
    /// The workflows that it may read and coordinate.
    #[serde(alias = "workflow_ids", default, deserialize_with = "present")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow_ids: Option<Vec<WorkflowId>>,
    /// The event types that it may read; a trailing `*` is a prefix.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub types: Option<Vec<String>>,
    /// The tags, each `key:value`, that all must be on what it reads.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub tags: Option<Vec<String>>,
}

/// A list that is there must be one: `null` is no way to say "everything".
fn present<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Vec::deserialize(deserializer).map(Some)
}

/// What restrictions are called, in a file of keys.
pub(super) const NAMES: [&str; 4] = ["serverIds", "workflowIds", "types", "tags"];

/// The restriction that a claim seems to mean that isn't one. Other claims are the issuer's affair, but a misspelt
/// restriction that is passed over opens everything.
pub(super) fn meant(claim: &str) -> Option<&'static str> {
    let last = claim.rsplit(['/', ':']).next().unwrap_or(claim);
    let mut plain = last.to_ascii_lowercase();
    plain.retain(|c| c.is_ascii_alphanumeric());
    match plain.as_str() {
        "serverid" | "serverids" | "servers" => Some("server_ids"),
        "workflowid" | "workflowids" | "workflows" => Some("workflow_ids"),
        "types" | "eventtypes" => Some("types"),
        "tag" | "tags" => Some("tags"),
        _ => None,
    }
}

/// What somebody may do, before it is bound to who that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// What may be done.
    pub scopes: Scopes,
    /// As which servers; `None`: any.
    pub reports_as: Option<Arc<[ServerId]>>,
    /// What may be read; `None`: everything.
    pub grant: Option<Arc<Selection>>,
}

impl Rights {
    /// Reads scopes and restrictions.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(scopes: Scopes, restrictions: &Restrictions) -> Result<Self, String> {
        let reads_less = restrictions.types.is_some() || restrictions.tags.is_some();
        if reads_less && scopes.names().next().is_some() && !scopes.has(Scope::Read) {
            return Err("types and tags hold back what is read, and without the scope read they would hold back \
                        nothing: name server_ids or workflow_ids"
                .to_owned());
        }
        Ok(Self {
            scopes,
            reports_as: restrictions.server_ids.as_deref().map(Arc::from),
            grant: restrictions.selection()?.map(Arc::new),
        })
    }

    /// The rights of one caller, who goes by a name.
    #[must_use]
    pub fn of(
        &self,
        (caller, name): (Arc<str>, Arc<str>),
        owner: u64,
        expires_at: Option<i64>,
    ) -> Access {
        Access {
            caller,
            name: Some(name),
            owner,
            scopes: self.scopes,
            reports_as: self.reports_as.clone(),
            grant: self.grant.clone(),
            expires_at,
        }
    }
}

impl Restrictions {
    /// What may be read; `None`: everything.
    fn selection(&self) -> Result<Option<Selection>, String> {
        let mut selection = Selection {
            servers: listed("server_ids", self.server_ids.as_deref())?.to_vec(),
            workflows: listed("workflow_ids", self.workflow_ids.as_deref())?.to_vec(),
            types: Vec::new(),
            tags: listed("tags", self.tags.as_deref())?.to_vec(),
        };
        for name in listed("types", self.types.as_deref())? {
            selection.types.push(type_pattern(name)?);
        }
        if let Some(tag) = selection.tags.iter().find(|tag| !is_tag(tag)) {
            return Err(format!("the tag {tag:?} must be key:value"));
        }
        selection.normalize();
        Ok(Some(selection).filter(|selection| !selection.is_all()))
    }
}

/// A list as it stands, or nothing where there is none; an empty one would let nothing through, but its
/// selection would let everything through.
fn listed<'a, T>(name: &str, list: Option<&'a [T]>) -> Result<&'a [T], String> {
    match list {
        Some([]) => Err(format!(
            "{name} must not be empty: leave it out where nothing is to be held back"
        )),
        Some(list) if list.len() > MOST => Err(format!("{name} must hold {MOST} entries at most")),
        Some(list) => Ok(list),
        None => Ok(&[]),
    }
}

fn type_pattern(name: &str) -> Result<TypePattern, String> {
    if let Some(prefix) = name.strip_suffix('*') {
        let plain = prefix
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.".contains(&b));
        return if plain && !prefix.is_empty() {
            Ok(TypePattern::Prefix(prefix.to_owned()))
        } else {
            Err(format!(
                "{name:?} must be the beginning of an event type before its *"
            ))
        };
    }
    match EventType::parse(name) {
        Some(_) => Ok(TypePattern::Exact(name.to_owned())),
        None => Err(format!("{name:?} is no event type")),
    }
}

fn is_tag(tag: &str) -> bool {
    tag.split_once(':').is_some_and(|(key, _)| !key.is_empty())
        && !tag.chars().any(char::is_control)
}

/// Scopes from their names; others are passed over where `lenient` (an issuer's own ones), else refused.
///
/// # Errors
/// Names the first unknown scope.
pub(super) fn scopes<'a>(
    names: impl Iterator<Item = &'a str>,
    lenient: bool,
) -> Result<Scopes, String> {
    let mut known = Vec::new();
    for name in names {
        match Scope::parse(name) {
            Some(scope) => known.push(scope),
            None if lenient => {}
            None => {
                return Err(format!(
                    "{name:?} must be one of read, report, coordinate, admin"
                ));
            }
        }
    }
    Ok(known.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(restrictions: Value) -> Result<Rights, String> {
        let restrictions =
            serde_json::from_value(restrictions).map_err(|error| error.to_string())?;
        Rights::new(Scopes::default(), &restrictions)
    }

    #[test]
    fn what_is_absent_does_not_restrict() {
        let rights = read(json!({})).unwrap();
        assert_eq!((rights.grant, rights.reports_as), (None, None));
    }

    #[test]
    fn lists_restrict_reading_and_reporting() {
        let rights =
            read(json!({"server_ids": ["b", "a"], "types": ["workflow_*", "grades.synced"], "tags": ["site:north"]}))
                .unwrap();
        let grant = rights.grant.unwrap();
        assert_eq!(
            grant
                .servers
                .iter()
                .map(ServerId::as_str)
                .collect::<Vec<_>>(),
            ["a", "b"]
        );
        assert_eq!(rights.reports_as.unwrap().len(), 2);
        assert_eq!(grant.types.len(), 2);
    }

    #[test]
    fn what_is_not_understood_opens_nothing() {
        for wrong in [
            json!({"server_ids": []}),
            json!({"server_ids": null}),
            json!({"server_ids": "a"}),
            json!({"server_ids": ["not an id"]}),
            json!({"server_ids": ["a"], "serverIds": ["b"]}),
            json!({"workflow_ids": []}),
            json!({"types": ["*"]}),
            json!({"types": ["Server_Connected"]}),
            json!({"types": [""]}),
            json!({"tags": ["north"]}),
            json!({"tags": [1]}),
            json!({"server_ids": vec!["a"; MOST + 1]}),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_restriction_of_reading_that_restricts_nothing_is_a_mistake() {
        for names in [&["report"][..], &["coordinate", "report"]] {
            let scopes = scopes(names.iter().copied(), false).unwrap();
            for restrictions in [json!({"types": ["workflow_*"]}), json!({"tags": ["a:b"]})] {
                let restrictions = serde_json::from_value(restrictions).unwrap();
                assert!(Rights::new(scopes, &restrictions).is_err(), "{names:?}");
            }
        }
    }

    #[test]
    fn a_misspelt_restriction_is_told_from_an_issuers_own_claims() {
        for (claim, means) in [
            ("servers", Some("server_ids")),
            ("server_id", Some("server_ids")),
            ("ServerIds", Some("server_ids")),
            ("https://id.example/server_ids", Some("server_ids")),
            ("workflow-ids", Some("workflow_ids")),
            ("Types", Some("types")),
            ("tag", Some("tags")),
            ("type", None),
            ("azp", None),
            ("serverless", None),
        ] {
            assert_eq!(meant(claim), means, "{claim}");
        }
    }

    #[test]
    fn an_issuers_own_scopes_are_passed_over_and_a_key_files_mistakes_are_not() {
        let names = || ["openid", "read", "report"].into_iter();
        let lenient = scopes(names(), true).unwrap();
        assert_eq!(lenient.names().collect::<Vec<_>>(), ["read", "report"]);
        assert!(scopes(names(), false).unwrap_err().contains("openid"));
    }
}
