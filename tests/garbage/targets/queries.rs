//! Queries as they stand in a URI. The input is one.

use timeback_events::filter::{
    Selection, TypePattern,
    parse::SELECTION,
    query::Query,
    start::{START, Start, Wish, parse_time},
};

use super::NOW;

/// A query is read or refused in words; a selection that is read means the same when it is written out and read again.
pub(crate) fn check(input: &[u8]) {
    let query = match Query::parse(&super::text(input)) {
        Ok(query) => query,
        Err(refused) => {
            assert!(!refused.0.is_empty());
            return;
        }
    };
    if let Err(refused) = query.only(&START, &SELECTION) {
        assert!(!refused.0.is_empty());
    }
    match Selection::parse(&query) {
        Ok(selection) => assert_eq!(
            Selection::parse(&Query(pairs(&selection))).as_ref(),
            Ok(&selection)
        ),
        Err(refused) => assert!(!refused.0.is_empty()),
    }
    match Wish::parse(&query, NOW) {
        Ok(wish) => {
            assert!(!matches!(wish.start(None), Start::Last(0)));
            assert_eq!(wish.start(Some("x")), Start::After("x".to_owned()));
        }
        Err(refused) => assert!(!refused.0.is_empty()),
    }
    for (_, value) in &query.0 {
        if let Err(refused) = parse_time("since", value, NOW) {
            assert!(!refused.0.is_empty());
        }
    }
}

/// The query that asks for a selection.
fn pairs(selection: &Selection) -> Vec<(String, String)> {
    let types = selection.types.iter().map(|pattern| match pattern {
        TypePattern::Exact(name) => ("type", name.clone()),
        TypePattern::Prefix(prefix) => ("type", format!("{prefix}*")),
    });
    let servers = selection
        .servers
        .iter()
        .map(|id| ("serverId", id.to_string()));
    let workflows = selection
        .workflows
        .iter()
        .map(|id| ("workflowId", id.to_string()));
    let tags = selection.tags.iter().map(|tag| ("tag", tag.clone()));
    let all = types.chain(servers).chain(workflows).chain(tags);
    all.map(|(name, value)| (name.to_owned(), value)).collect()
}
