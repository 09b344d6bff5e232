//! Any pattern of drops and resumes, cut at any byte, over any window: every wanted event once and in order.

use std::{sync::Arc, thread};

use proptest::prelude::*;

use super::rig::{Client, Fact, Frame, Rig, settings};
use crate::{
    filter::{Filter, Selection, TypePattern},
    frame::Format,
    tail::WINDOW_BYTES,
};

const KINDS: [&str; 4] = ["a.one", "a.two", "b.three", "custom_x"];
const SERVERS: [Option<&str>; 3] = [None, Some("s1"), Some("s2")];
const TAGS: [&str; 3] = ["", "env:prod", "env:prod\nteam:x"];

fn fact() -> impl Strategy<Value = Fact> {
    (
        0..KINDS.len(),
        0..SERVERS.len(),
        0..TAGS.len(),
        any::<bool>(),
        0_usize..600,
    )
        .prop_map(|(kind, server, tags, workflow, size)| Fact {
            kind: KINDS[kind],
            server: SERVERS[server],
            workflow: workflow.then_some("w1"),
            tags: TAGS[tags],
            data: format!("\"{}\"", "x".repeat(size)),
        })
}

fn filter() -> impl Strategy<Value = Filter> {
    let prefix = |text: &str| TypePattern::Prefix(text.to_owned());
    let exact = |text: &str| TypePattern::Exact(text.to_owned());
    let id = |text: &str| text.parse().unwrap();
    let none = Selection::default;
    let table = vec![
        none(),
        Selection {
            types: vec![exact("a.one")],
            ..none()
        },
        Selection {
            types: vec![exact("a.one"), exact("b.three")],
            ..none()
        },
        Selection {
            types: vec![prefix("a.")],
            ..none()
        },
        Selection {
            servers: vec![id("s1")],
            ..none()
        },
        Selection {
            servers: vec![id("s1"), id("s2")],
            types: vec![prefix("custom_")],
            ..none()
        },
        Selection {
            tags: vec!["env:prod".to_owned(), "team:x".to_owned()],
            ..none()
        },
        Selection {
            types: vec![exact("never.comes")],
            ..none()
        },
    ];
    prop::sample::select(table).prop_map(|query| Filter { query, grant: None })
}

/// A client: what it wants, and after how many bytes it drops its connections.
type Plan = (Filter, Vec<usize>);

fn plan() -> impl Strategy<Value = Plan> {
    (filter(), prop::collection::vec(0_usize..10_000, 0..4))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn every_place_once_and_in_order(
        commits in prop::collection::vec(prop::collection::vec(fact(), 1..8), 1..60),
        plans in prop::collection::vec(plan(), 1..5),
        window in prop::sample::select(vec![0, 3000, 30_000, WINDOW_BYTES]),
    ) {
        let rig = Arc::new(Rig::new(settings(), window));
        let facts: Vec<Fact> = commits.iter().flatten().cloned().collect();
        let clients: Vec<_> = plans
            .into_iter()
            .map(|(filter, cuts)| {
                let (rig, wanted) = (rig.clone(), filter.clone());
                let head = facts.len() as u64;
                (filter, thread::spawn(move || follow(&rig, &wanted, &cuts, head)))
            })
            .collect();
        for commit in &commits {
            rig.commit(commit);
        }
        for (filter, client) in clients {
            let got = client.join().unwrap();
            let expected: Vec<(u64, String)> = facts
                .iter()
                .zip(1..)
                .filter(|(fact, sequence)| filter.matches(&fact.record(*sequence)))
                .map(|(fact, sequence)| (sequence, fact.data.clone()))
                .collect();
            prop_assert_eq!(got, expected);
        }
    }
}

/// Follows from the beginning to `head` through all the cuts; gives places and data of what came.
fn follow(rig: &Rig, filter: &Filter, cuts: &[usize], head: u64) -> Vec<(u64, String)> {
    let mut got = Vec::new();
    let mut place = 0;
    for cut in cuts {
        let mut client = rig.open(rig.opening(filter.clone(), place));
        let mut left = *cut;
        while left > 0 && place < head {
            left -= client.read(left.min(1 + left / 2));
            take(client.whole_frames(), &mut got, &mut place);
        }
    }
    let mut client = rig.open(rig.opening(filter.clone(), place));
    while place < head {
        let frame = client.next().expect("the stream goes on");
        take(vec![frame], &mut got, &mut place);
    }
    got
}

fn take(frames: Vec<Frame>, got: &mut Vec<(u64, String)>, place: &mut u64) {
    for frame in frames {
        let Some(at) = frame.place() else {
            assert!(frame.is("stream_opened"), "{frame:?}");
            continue;
        };
        assert!(at >= *place, "{at} after {place}: {frame:?}");
        *place = at;
        if !frame.is_control() {
            let event: serde_json::Value = serde_json::from_str(&frame.data).unwrap();
            assert_eq!(event["sequence"], at);
            got.push((at, event["data"].to_string()));
        }
    }
}

#[test]
fn every_form_is_delivered_live_and_from_the_log() {
    for window in [0, WINDOW_BYTES] {
        let rig = Rig::new(settings(), window);
        for format in [Format::Named, Format::Message, Format::CloudEvents] {
            rig.commit(&[Fact::new("a.old")]);
            let after = crate::event_log::LogReader::info(&*rig.log).head - 1;
            let mut client = rig.open(crate::streams::Opening {
                format,
                ..rig.opening(Filter::all(), after)
            });
            let old = client.next_event().unwrap();
            rig.commit(&[Fact::new("a.new")]);
            let new = client.next_event().unwrap();
            assert_eq!(
                (old.place(), new.place()),
                (Some(after + 1), Some(after + 2))
            );
            assert_eq!(new.event.is_some(), format != Format::Message);
            assert_eq!(
                new.data.contains("specversion"),
                format == Format::CloudEvents
            );
            assert_eq!(old.data.replace(".old", ".new").len(), new.data.len());
        }
    }
}

#[test]
fn a_slow_reader_of_a_long_log_gets_all_of_it() {
    let rig = Rig::new(settings(), 10_000);
    let fact = Fact {
        data: format!("\"{}\"", "y".repeat(500)),
        ..Fact::new("a.b")
    };
    for _ in 0..40 {
        rig.commit(&vec![fact.clone(); 50]);
    }
    let mut client: Client = rig.follow(0);
    for sequence in 1..=2000 {
        assert_eq!(
            client.next_event().and_then(|frame| frame.place()),
            Some(sequence)
        );
    }
    rig.commit(&[Fact::new("a.last")]);
    assert!(client.next_event().unwrap().is("a.last"));
}

#[test]
fn streams_that_begin_ahead_of_the_loop_miss_nothing() {
    let rig = Rig::new(settings(), WINDOW_BYTES);
    let mut client = rig.follow(2);
    rig.commit(&[Fact::new("a.one")]);
    rig.commit(&[Fact::new("a.two"), Fact::new("a.three")]);
    assert_eq!(client.next_event().and_then(|frame| frame.place()), Some(3));
}
