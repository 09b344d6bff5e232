//! Who listens while the hub is killed: each comes back with the last id it saw, for as long as it takes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use serde_json::json;
use tokio::{net::TcpStream, sync::watch, task::JoinHandle, time::timeout};

use super::producers::Acknowledged;
use crate::support::{Client, EventStream, PATIENCE};

/// The last event of a test.
const LAST: &str = "crash.over";

/// Some that want all, and as many that want one type only. Two of them may be away while the others listen.
pub struct Listeners {
    hub: watch::Sender<Option<SocketAddr>>,
    /// Where those two listen.
    of_two: watch::Sender<Option<SocketAddr>>,
    tasks: Vec<JoinHandle<Heard>>,
}

/// All that one of them was given.
#[derive(Default)]
pub struct Heard {
    /// Whether it wants one type only.
    narrow: bool,
    /// Number of an event to the id that it came with.
    events: BTreeMap<u64, String>,
    /// Sequences that it was told to have missed.
    gaps: Vec<std::ops::Range<u64>>,
    /// The place that it has reached.
    place: Option<u64>,
    /// How often it came back with an id.
    pub returns: usize,
    /// How often it was told that something is gone.
    pub told_of_gaps: usize,
}

impl Listeners {
    /// So many, with this key, if the hub asks for one; they wait until there is a hub.
    pub fn start(count: usize, key: Option<&str>) -> Self {
        let (hub, of_two) = (watch::Sender::new(None), watch::Sender::new(None));
        let tasks = (0..count)
            .map(|number| {
                let key = key.map(|key| format!("Bearer {key}"));
                let channel = if number < 2 { &of_two } else { &hub };
                tokio::spawn(listen(channel.subscribe(), number % 2 == 1, key))
            })
            .collect();
        Self { hub, of_two, tasks }
    }

    /// There it is from now on.
    pub fn turn_to(&self, hub: Option<SocketAddr>) {
        self.turn_most_to(hub);
        self.of_two.send_replace(hub);
    }

    /// The same for all but two, who stay where they are.
    pub fn turn_most_to(&self, hub: Option<SocketAddr>) {
        self.hub.send_replace(hub);
    }

    /// Publishes one more event, and waits until all have heard it.
    pub async fn hear_the_last(self, client: &Client, key: Option<&str>) -> Vec<Heard> {
        let key = key.map(|key| format!("Bearer {key}"));
        let mut headers = vec![("content-type", "application/json")];
        if let Some(key) = &key {
            headers.push(("authorization", key));
        }
        let body = json!({"type": LAST, "data": null}).to_string();
        let reply = client
            .send(http::Method::POST, "/events", &headers, body)
            .await;
        assert_eq!(reply.status, 202, "{}", reply.text);
        let mut heard = Vec::new();
        for task in self.tasks {
            let all = timeout(PATIENCE, task).await.expect("it hears the last");
            heard.push(all.expect("all that it hears is in order"));
        }
        heard
    }
}

/// Listens to whatever hub there is until the last event.
async fn listen(
    mut hub: watch::Receiver<Option<SocketAddr>>,
    narrow: bool,
    key: Option<String>,
) -> Heard {
    let mut heard = Heard {
        narrow,
        ..Heard::default()
    };
    // From the first event on, whenever that comes.
    let mut path = "/events?lastEventId=earliest".to_owned();
    if narrow {
        path.push_str(&format!("&type=crash.test,{LAST}"));
    }
    let mut last_event_id = String::new();
    loop {
        let address = *hub.borrow_and_update();
        if let Some(address) = address {
            let mut headers = Vec::new();
            if !last_event_id.is_empty() {
                headers.push(("Last-Event-ID", last_event_id.as_str()));
            }
            if let Some(key) = &key {
                headers.push(("Authorization", key));
            }
            if let Ok(socket) = TcpStream::connect(address).await
                && let Ok(mut stream) = EventStream::try_open_on(socket, &path, &headers).await
            {
                heard.returns += usize::from(!last_event_id.is_empty());
                assert_eq!(stream.status, 200, "{}", stream.head);
                if heard.read(&mut stream).await {
                    return heard;
                }
                if !stream.last_event_id.is_empty() {
                    last_event_id.clone_from(&stream.last_event_id);
                }
            }
        }
        // The next hub, or the same once more.
        let _ = timeout(Duration::from_millis(50), hub.changed()).await;
    }
}

impl Heard {
    /// Takes what a stream gives until it ends; whether that was the last event of all.
    async fn read(&mut self, stream: &mut EventStream) -> bool {
        while let Some(frame) = stream.next_or_end().await {
            let data = frame.json();
            if frame.is("stream_opened") {
                match data["verdict"].as_str() {
                    Some("gap") => {
                        assert_eq!(data["reason"], "expired", "{data}");
                        self.missed_up_to(sequence(data["oldestId"].as_str().expect("an id")));
                    }
                    Some("resumed" | "replay" | "live") => {}
                    other => panic!("{other:?}"),
                }
            } else if frame.is("stream_gap") {
                assert_eq!(data["reason"], "expired", "{data}");
                self.missed_up_to(sequence(data["nextId"].as_str().expect("an id")));
            } else if !frame.is_control() {
                self.take(sequence(frame.id()), &data);
                if frame.is(LAST) {
                    return true;
                }
            }
        }
        false
    }

    /// All from its place up to this sequence, which is not part of it, is gone.
    fn missed_up_to(&mut self, next: u64) {
        let place = self.place.unwrap_or(0);
        assert!(
            next > place,
            "a gap before what it has: {next} after {place}"
        );
        self.told_of_gaps += 1;
        self.gaps.push(place + 1..next);
        self.place = Some(next - 1);
    }

    fn take(&mut self, sequence: u64, event: &serde_json::Value) {
        let place = self.place.unwrap_or(0);
        if self.narrow || self.place.is_none() {
            assert!(sequence > place, "{sequence} after {place}");
        } else {
            assert_eq!(
                sequence,
                place + 1,
                "in order, and none passed over in silence"
            );
        }
        self.place = Some(sequence);
        if event["type"] == "crash.test" {
            let n = event["data"]["n"].as_u64().expect("its number");
            let id = event["id"].as_str().expect("its id").to_owned();
            let twice = self.events.insert(n, id);
            assert_eq!(twice, None, "event {n} twice");
        }
    }

    /// Checks that it has each of these, but for those that it was told to have missed.
    pub fn has_once(&self, told: &Acknowledged) {
        let gone: BTreeSet<u64> = self.gaps.iter().cloned().flatten().collect();
        for (n, id) in told {
            match self.events.get(n) {
                Some(got) => assert_eq!(got, id, "event {n}"),
                None => assert!(gone.contains(&sequence(id)), "event {n} never came: {id}"),
            }
        }
    }

    /// How many events it was told to have missed.
    pub fn missed(&self) -> u64 {
        self.gaps.iter().map(|gap| gap.end - gap.start).sum()
    }
}

fn sequence(id: &str) -> u64 {
    let (_, sequence) = id.rsplit_once('-').expect("an id");
    sequence.parse().expect("a number")
}
