//! The index finds what testing every filter finds.

use proptest::prelude::*;

use super::rig::Fact;
use crate::{
    filter::{Filter, Selection, TypePattern},
    frame::Format,
    streams::groups::{Groups, Wish},
};
use std::sync::Arc;

fn selection() -> impl Strategy<Value = Selection> {
    let types = prop::sample::subsequence(
        vec![
            TypePattern::Exact("a.one".to_owned()),
            TypePattern::Exact("b.two".to_owned()),
            TypePattern::Prefix("a.".to_owned()),
        ],
        0..=2,
    );
    let servers = prop::sample::subsequence(vec!["s1", "s2"], 0..=2);
    let workflows = prop::sample::subsequence(vec!["w1", "w2"], 0..=1);
    let tags = prop::sample::subsequence(vec!["env:prod", "team:x"], 0..=2);
    (types, servers, workflows, tags).prop_map(|(types, servers, workflows, tags)| {
        let mut selection = Selection {
            types,
            servers: servers.iter().map(|id| id.parse().unwrap()).collect(),
            workflows: workflows.iter().map(|id| id.parse().unwrap()).collect(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        };
        selection.normalize();
        selection
    })
}

fn filter() -> impl Strategy<Value = Filter> {
    (selection(), prop::option::of(selection())).prop_map(|(query, grant)| Filter {
        query,
        grant: grant.map(Arc::new),
    })
}

fn fact() -> impl Strategy<Value = Fact> {
    let kinds = prop::sample::select(vec!["a.one", "a.three", "b.two", "c.four"]);
    let servers = prop::sample::select(vec![None, Some("s1"), Some("s2"), Some("s3")]);
    let workflows = prop::sample::select(vec![None, Some("w1"), Some("w2")]);
    let tags = prop::sample::select(vec!["", "env:prod", "env:prod\nteam:x", "team:x"]);
    (kinds, servers, workflows, tags).prop_map(|(kind, server, workflow, tags)| Fact {
        server,
        workflow,
        tags,
        ..Fact::new(kind)
    })
}

proptest! {
    #[test]
    fn the_index_finds_what_testing_every_filter_finds(
        filters in prop::collection::vec(filter(), 1..20),
        leaving in prop::collection::vec(any::<bool>(), 20),
        facts in prop::collection::vec(fact(), 1..20),
    ) {
        let mut groups = Groups::default();
        let joined: Vec<(Filter, usize)> = filters
            .iter()
            .map(|filter| (filter.clone(), groups.join(Wish { filter: filter.clone(), format: Format::Named })))
            .collect();
        let (gone, kept): (Vec<_>, Vec<_>) = joined.into_iter().zip(leaving).partition(|(_, leaves)| *leaves);
        for ((_, at), _) in gone {
            groups.leave(at);
        }
        for ((_, at), _) in &kept {
            groups.get_mut(*at).live = vec![0];
        }
        for (fact, sequence) in facts.iter().zip(1..) {
            let record = fact.record(sequence);
            let mut touched = Vec::new();
            groups.hit(&record, (0, 0), &mut touched);
            for ((filter, at), _) in kept.iter().filter(|((filter, _), _)| !filter.is_all()) {
                let hits = std::mem::take(&mut groups.get_mut(*at).hits).len();


                if touched.contains(at) {
                    prop_assert!(filter.matches(&record));
                    prop_assert!(hits <= 1);
                } else {
                    prop_assert!(!filter.matches(&record), "{filter:?} wants {record:?}");
                }
            }
            let mut once = touched.clone();
            once.sort_unstable();
            once.dedup();
            prop_assert_eq!(once.len(), touched.len());
        }
    }
}
