//! Stored events whose texts are anything: another version's, or damage that no checksum saw. The input is records with
//! U+001E between them; a record is its type, server, workflow, tags, data, private data and time, U+001F between them.

use timeback_events::domain::{
    Command, Event, Policy, Position, Record, State, event::Texts, position::Epoch,
};

/// A record is read or refused. What is read is written as it reads; folding it never fails, and the state that it leads
/// to survives a snapshot.
pub(crate) fn check(input: &[u8]) {
    let text = super::text(input);
    let policy = Policy::default();
    let mut state = State::default();
    for record in text.split('\u{1e}').take(32) {
        let mut fields = record.split('\u{1f}');
        let mut next = || fields.next().unwrap_or_default();
        let (kind, server, workflow) = (next(), next(), next());
        let (tags, data, private) = (next(), next(), next());
        let position = Position {
            epoch: Epoch::from_random(1),
            sequence: state.sequence + 1,
        };
        let record = Record {
            sequence: position.sequence,
            timestamp: next().parse().unwrap_or(super::NOW),
            kind,
            server: (!server.is_empty()).then_some(server),
            workflow: (!workflow.is_empty()).then_some(workflow),
            tags,
            data,
            private,
        };
        let Ok(event) = Event::from_record(&record, position) else {
            continue;
        };
        let texts = Texts::of(&event.what);
        let again = Event::from_record(&texts.record(&event), position);
        assert_eq!(again.expect("what is written can be read"), event);
        state.evolve(&event, &policy);
        if let Some(reaction) = state.due_reaction(event.timestamp, &policy) {
            // Refusing is right, too, and so is to find nothing to do.
            let _ = state.decide(&Command::React(reaction), &policy, event.timestamp);
        }
    }
    let saved = state.save().expect("any state is JSON");
    let restored = State::restore(&saved).expect("what was saved can be read");
    assert_eq!(restored.save().expect("JSON"), saved);
}
