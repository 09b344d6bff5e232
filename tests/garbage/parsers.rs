//! The parsers, directly: far more cases than over a socket.

use serde_json::Value;
use timeback_events::{
    domain::{
        Event, InstanceId, Policy, Position, Record, ServerId, State, StepId, WorkflowId,
        command::{Register, StartWorkflow},
        event::EventType,
        health::Heartbeat,
        position::Epoch,
    },
    filter::{
        Selection,
        parse::{Start, parse_time},
    },
};

use super::{cases, corpus, mutate::mutated};

const CASES: u64 = 20_000;

#[test]
fn queries_and_times_are_read_or_refused() {
    let seeds = bytes(&corpus("queries.txt"));
    for (mut case, mut chance) in cases(CASES) {
        let seed = chance.pick(&seeds).clone();
        let query = mutated(&mut chance, &seed, &seeds);
        case.note(String::from_utf8_lossy(&query).into_owned());
        let pairs: Vec<(String, String)> = case
            .input()
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        if let Err(refused) = Selection::parse(&pairs) {
            assert!(!refused.0.is_empty());
        }
        if let Err(refused) = Start::parse(&pairs, 1_763_790_000_000) {
            assert!(!refused.0.is_empty());
        }
        for (_, value) in &pairs {
            // Refusing is right, too.
            let _ = parse_time("since", value, 1_763_790_000_000);
        }
    }
}

#[test]
fn an_id_that_is_taken_is_written_back_as_it_came_and_breaks_no_line() {
    let seeds = bytes(&corpus("ids.txt"));
    for (mut case, mut chance) in cases(CASES) {
        let seed = chance.pick(&seeds).clone();
        case.note(String::from_utf8_lossy(&mutated(&mut chance, &seed, &seeds)).into_owned());
        let text = case.input();
        if let Some(position) = Position::parse(text) {
            assert_eq!(position.to_string(), text);
        }
        let taken = [
            ServerId::parse(text).ok().map(|id| id.to_string()),
            WorkflowId::parse(text).ok().map(|id| id.to_string()),
            StepId::parse(text).ok().map(|id| id.to_string()),
            InstanceId::parse(text).ok().map(|id| id.to_string()),
            EventType::parse(text).map(|kind| kind.as_str().to_owned()),
        ];
        for id in taken.into_iter().flatten() {
            assert_eq!(id, text);
            assert!(id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }
}

#[test]
fn bodies_are_read_or_refused_with_a_pointer() {
    let seeds = super::requests::bodies();
    for (mut case, mut chance) in cases(CASES) {
        let seed = chance.pick(&seeds).clone();
        let body = mutated(&mut chance, &seed, &seeds);
        case.note(String::from_utf8_lossy(&body).into_owned());
        let Ok(value) = serde_json::from_slice::<Value>(&body) else {
            continue;
        };
        let refused = [
            Register::parse(&value, "", || "s".parse().expect("an id")).err(),
            StartWorkflow::parse(&value, "", || "w".parse().expect("an id")).err(),
            Heartbeat::parse(&value, "").err(),
        ];
        for errors in refused.into_iter().flatten() {
            assert!(!errors.is_empty(), "a refusal says why");
            let told = |error: &timeback_events::domain::FieldError| {
                !error.detail.is_empty()
                    && (error.pointer.is_empty() || error.pointer.starts_with('/'))
            };
            assert!(errors.iter().all(told), "{errors:?}");
        }
    }
}

#[test]
fn a_record_is_read_or_refused_and_folding_it_never_fails() {
    let seeds: Vec<Value> = corpus("records.jsonl")
        .iter()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let text = |seed: &Value, name: &str| seed[name].as_str().expect("a text").to_owned();
    let pool: Vec<Vec<u8>> = seeds
        .iter()
        .map(|seed| text(seed, "data").into_bytes())
        .collect();
    let policy = Policy::default();
    let mut state = State::default();
    for (mut case, mut chance) in cases(CASES) {
        let seed = chance.pick(&seeds);
        let mut field = |name: &str, one_in: usize| {
            let text = text(seed, name);
            if chance.one_in(one_in) {
                let bytes = mutated(&mut chance, text.as_bytes(), &pool);
                String::from_utf8_lossy(&bytes).into_owned()
            } else {
                text
            }
        };
        let (kind, server, workflow) = (
            field("kind", 10),
            field("server", 10),
            field("workflow", 10),
        );
        let (data, private) = (field("data", 2), field("private", 4));
        case.note(format!("{kind} {server:?} {workflow:?} {data} {private}"));
        let epoch = Epoch::from_random(1);
        let position = Position {
            epoch,
            sequence: state.sequence + 1,
        };
        let record = Record {
            sequence: position.sequence,
            timestamp: chance.between(i64::MIN / 4, i64::MAX / 4),
            kind: &kind,
            server: (!server.is_empty()).then_some(&server),
            workflow: (!workflow.is_empty()).then_some(&workflow),
            tags: "region:eu",
            data: &data,
            private: &private,
        };
        if let Ok(event) = Event::from_record(&record, position) {
            state.evolve(&event, &policy);
            let _due = state.due_reaction(0, &policy);
        }
        if chance.one_in(200) {
            let bytes = state.save().expect("any state is JSON");
            state = State::restore(&bytes).expect("what was saved can be read");
        }
        if chance.one_in(500) {
            state = State::default();
        }
    }
}

fn bytes(lines: &[String]) -> Vec<Vec<u8>> {
    lines.iter().map(|line| line.clone().into_bytes()).collect()
}
