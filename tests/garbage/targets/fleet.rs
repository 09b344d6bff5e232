//! A fleet that carries out whatever commands come, and what must hold of each event that it takes in.

use timeback_events::{
    domain::{
        Command, Event, EventData, Json, NewEvent, Policy, Position, State, command::Reaction,
        event::Texts, position::Epoch,
    },
    frame::{self, Format},
};

use super::NOW;

/// Reactions in a row that can't be a loop yet.
const MANY: usize = 10_000;

/// The state, and the one that a start would read from the log.
pub(super) struct Fleet {
    state: State,
    folded: State,
    policy: Policy,
    clock: i64,
}

impl Fleet {
    pub(super) fn new() -> Self {
        Self {
            state: State::default(),
            folded: State::default(),
            policy: Policy::default(),
            clock: NOW,
        }
    }

    /// Decides a command, and lets happen what it brings about; a refusal changes nothing.
    pub(super) fn carry_out(&mut self, command: &Command) {
        self.clock += 1_000;
        if let Ok(decision) = self.state.decide(command, &self.policy, self.clock) {
            self.happen(decision.events);
            self.let_follow();
        }
    }

    /// A start from the log arrives at the same state, and so does one from a snapshot.
    pub(super) fn audit(&self) {
        let saved = self.state.save().expect("any state is JSON");
        assert_eq!(
            self.folded.save().expect("JSON"),
            saved,
            "folded from the log"
        );
        let restored = State::restore(&saved).expect("what was saved can be read");
        assert_eq!(
            restored.save().expect("JSON"),
            saved,
            "restored from a snapshot"
        );
    }

    /// Carries out what is due, which must come to an end.
    fn let_follow(&mut self) {
        for _ in 0..MANY {
            let Some(reaction) = self.state.due_reaction(self.clock, &self.policy) else {
                return;
            };
            let is_status = reaction == Reaction::AnnounceStatus;
            let command = Command::React(reaction);
            let decision = self.state.decide(&command, &self.policy, self.clock);
            let events = decision.expect("what is due isn't refused").events;
            assert!(
                !events.is_empty() || is_status,
                "what is due changes something"
            );
            self.happen(events);
        }
        panic!("reactions go on for ever");
    }

    fn happen(&mut self, events: Vec<NewEvent>) {
        for what in events {
            let event = Event {
                position: Position {
                    epoch: Epoch::from_random(1),
                    sequence: self.state.sequence + 1,
                },
                timestamp: self.clock,
                what,
            };
            self.state.evolve(&event, &self.policy);
            self.folded.evolve(&stored(&event), &self.policy);
        }
    }
}

/// The event as a start reads it from the log: the same, but for the producer's time, which is in its data by then.
fn stored(event: &Event) -> Event {
    let texts = Texts::of(&event.what);
    let record = texts.record(event);
    for format in [Format::Named, Format::Message, Format::CloudEvents] {
        framed(format, event, &texts);
    }
    let read =
        Event::from_record(&record, event.position).expect("what was taken can be read back");
    let mut expected = event.clone();
    expected.what.occurred_at = None;
    if let EventData::Custom { data, .. } | EventData::IntegrationStated(data) =
        &mut expected.what.data
    {
        *data = Json::trusted(record.data);
    }
    assert_eq!(read, expected);
    read
}

/// A frame is an id, a name unless it is left out, and one line of JSON that says the same.
fn framed(format: Format, event: &Event, texts: &Texts) {
    let record = texts.record(event);
    let mut frame = Vec::new();
    frame::write_event(&mut frame, format, event.position, &record);
    let frame = String::from_utf8(frame).expect("UTF-8");
    assert!(!frame.contains('\r'), "{frame:?}");
    let lines: Vec<&str> = frame.split('\n').collect();
    let (data, id) = match (&lines[..], format) {
        ([id, data, "", ""], Format::Message) => (data, id),
        ([id, name, data, "", ""], Format::Named | Format::CloudEvents) => {
            assert_eq!(name.strip_prefix("event: "), Some(record.kind));
            (data, id)
        }
        _ => panic!("{frame:?}"),
    };
    let position = event.position.to_string();
    assert_eq!(id.strip_prefix("id: "), Some(position.as_str()));
    let data = data.strip_prefix("data: ").expect("a line of data");
    let told: Told<'_> = serde_json::from_str(data).expect("JSON");
    assert_eq!((told.id, told.kind), (position.as_str(), record.kind));
    assert_eq!(told.data.get(), record.data);
}

#[derive(serde::Deserialize)]
struct Told<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    data: &'a serde_json::value::RawValue,
}
