//! Reads what a reader wants to see from its query.

use super::{
    Selection, TypePattern,
    query::{Query, QueryError},
};
use crate::{
    domain::{EventType, ServerId, WorkflowId, event::is_custom},
    words::nearest,
};

/// The parameters that select events, alike for the stream, history and exports. Each may be repeated.
pub const SELECTION: [&str; 4] = ["type", "serverId", "workflowId", "tag"];

impl Selection {
    /// Reads `type`, `serverId`, `workflowId` and `tag`; leaves other parameters alone.
    ///
    /// # Errors
    /// [`QueryError`]: an unknown type, with the nearest known one; a malformed id or tag.
    pub fn parse(query: &Query) -> Result<Self, QueryError> {
        let mut selection = Self::default();
        let mut every = false;
        for kind in query.values("type") {
            match parse_type(kind)? {
                Some(pattern) => selection.types.push(pattern),
                // `*` wants every type, whatever else is named.
                None => every = true,
            }
        }
        if every {
            selection.types.clear();
        }
        for id in query.values("serverId") {
            let id = ServerId::parse(id).map_err(|e| QueryError(format!("serverId {id:?} {e}")))?;
            selection.servers.push(id);
        }
        for id in query.values("workflowId") {
            let id =
                WorkflowId::parse(id).map_err(|e| QueryError(format!("workflowId {id:?} {e}")))?;
            selection.workflows.push(id);
        }
        for tag in query.all("tag") {
            if tag.split_once(':').is_none_or(|(key, _)| key.is_empty()) || tag.contains('\n') {
                return Err(QueryError(format!("tag {tag:?} must be key:value")));
            }
            selection.tags.push(tag.to_owned());
        }
        selection.normalize();
        Ok(selection)
    }
}

/// `None` for a lone `*`.
fn parse_type(text: &str) -> Result<Option<TypePattern>, QueryError> {
    if let Some(prefix) = text.strip_suffix('*') {
        let clean = prefix
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.'));
        return match (prefix.is_empty(), clean) {
            (true, _) => Ok(None),
            (false, true) => Ok(Some(TypePattern::Prefix(prefix.to_owned()))),
            (false, false) => Err(QueryError(format!(
                "type {text:?}: no type can begin with {prefix:?}"
            ))),
        };
    }
    let core = EventType::CORE.iter().map(|(name, _)| *name);
    if core.clone().any(|name| name == text) || is_custom(text) {
        return Ok(Some(TypePattern::Exact(text.to_owned())));
    }
    Err(QueryError(match nearest(text, core) {
        Some(near) => format!("unknown type {text:?}; did you mean {near:?}?"),
        None => format!(
            "unknown type {text:?}; a producer's own type is a dotted name (grades.synced) or begins with custom_"
        ),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(query: &str) -> Result<Selection, String> {
        Query::parse(query)
            .and_then(|query| Selection::parse(&query))
            .map_err(|e| e.0)
    }

    #[test]
    fn values_are_comma_separated_or_repeated() {
        let a = select("type=workflow_*,server_connected&serverId=b&serverId=a,b&type=").unwrap();
        let b = select("serverId=a&type=server_connected&serverId=b&type=workflow_*").unwrap();
        assert_eq!(a, b);
        assert_eq!(a.types.len(), 2);
        assert_eq!(a.servers.len(), 2);
    }

    #[test]
    fn a_lone_star_wants_every_type() {
        let selection = select("type=server_connected,*&serverId=a").unwrap();
        assert!(selection.types.is_empty());
        assert_eq!(selection.servers.len(), 1);
    }

    #[test]
    fn tags_keep_their_commas_and_must_be_pairs() {
        assert_eq!(
            select("tag=team:a,b&tag=env:prod").unwrap().tags,
            ["env:prod", "team:a,b"]
        );
        for bad in ["tag=env", "tag=:prod", "tag=a:b%0Ac:d"] {
            assert!(select(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn unknown_types_are_refused_with_the_nearest() {
        let table = [
            ("type=server_conected", "server_connected"),
            ("type=worklow_started", "workflow_started"),
            ("type=serverConnected", "server_connected"),
            ("type=WORKFLOW_FAILED", "workflow_failed"),
        ];
        for (query, near) in table {
            assert!(select(query).unwrap_err().contains(near), "{query}");
        }
        assert!(select("type=Work*").is_err());
        assert!(select("type=grades.synced,custom_x").is_ok());
    }

    #[test]
    fn malformed_ids_are_refused() {
        assert!(select("serverId=a b").unwrap_err().contains("serverId"));
        assert!(select("workflowId=%25").unwrap_err().contains("workflowId"));
    }
}
