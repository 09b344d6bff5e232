//! A hub that is told to stop under load: what it acknowledged is delivered before the end, or when its subscribers come
//! back to the next one; and each gets it once.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use http::Method;
use serde_json::json;
use tokio::{net::TcpSocket, sync::watch, task::JoinHandle};

use crate::support::{Client, EventStream, HubProcess};

/// Subscribers, of which every other one stops reading in mid-stream until the hub is gone.
const SUBSCRIBERS: usize = 16;

/// Bytes of each event, and how many a subscriber must have before the hub is told to stop: more than the system keeps
/// for a socket that isn't read.
const EVENT_BYTES: usize = 30_000;
const BEFORE: usize = 200;

/// How many those read that then stop reading.
const FEW: usize = 5;

/// The last event of the test.
const LAST: u64 = u64::MAX;

/// A subscriber of both hubs.
#[derive(Default)]
struct Subscriber {
    numbers: Vec<u64>,
    last_event_id: String,
    closing: Option<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_during_a_drain_is_delivered_or_can_be_resumed() {
    let directory = tempfile::tempdir().expect("a directory");
    let variables = [("INTEGRATION_DRAIN_TIMEOUT_MS", "1500")];
    let hub = HubProcess::start(directory.path(), &variables).await;
    let (gone, is_gone) = watch::channel(false);
    let mut enough = Vec::new();
    let subscribers: Vec<_> = (0..SUBSCRIBERS)
        .map(|number| {
            let (tell, told) = watch::channel(0);
            if number % 2 == 0 {
                enough.push(told);
                tokio::spawn(follow(hub.address, tell, None))
            } else {
                tokio::spawn(follow(hub.address, tell, Some(is_gone.clone())))
            }
        })
        .collect();
    crate::support::until_streams(&hub.client, SUBSCRIBERS as u64).await;
    let stop = Arc::new(AtomicBool::new(false));
    let producers = produce(&hub.client, &stop);
    for mut reached in enough {
        let reached = reached.wait_for(|count| *count >= BEFORE).await;
        reached.expect("it reads on");
    }
    assert!(hub.terminate().await.success());
    gone.send_replace(true);
    stop.store(true, Ordering::Relaxed);
    let mut told = BTreeSet::new();
    for producer in producers {
        told.extend(producer.await.expect("a producer ends"));
    }

    let mut all = Vec::new();
    for subscriber in subscribers {
        all.push(subscriber.await.expect("it reads to the end"));
    }
    let cut = all.iter().filter(|one| one.closing.is_none()).count();
    assert!(cut >= SUBSCRIBERS / 3, "{cut} were cut in mid-stream");
    let delivered: usize = all.iter().map(|one| one.numbers.len()).sum();

    let hub = HubProcess::start(directory.path(), &[]).await;
    let resuming: Vec<_> = all
        .into_iter()
        .map(|subscriber| tokio::spawn(subscriber.resume(hub.address)))
        .collect();
    hub.client.emit("drain.test", json!({"n": LAST})).await;
    let (mut resumed, mut most) = (0, 0);
    for subscriber in resuming {
        let (subscriber, more) = subscriber.await.expect("it has all");
        let once: BTreeSet<u64> = subscriber.numbers.iter().copied().collect();
        assert_eq!(once.len(), subscriber.numbers.len(), "nothing twice");
        let lost: Vec<_> = told.difference(&once).collect();
        assert!(lost.is_empty(), "acknowledged, and lost: {lost:?}");
        if subscriber.closing.is_none() {
            assert!(more > 0, "one that was cut had more to come");
        } else {
            assert_eq!(subscriber.closing.as_deref(), Some("draining"));
        }
        resumed += more;
        most = most.max(more);
    }
    println!(
        "drained under load: {} acknowledged; of {SUBSCRIBERS} subscribers {cut} were cut in mid-stream; {delivered} \
         deliveries before the end, {resumed} after resuming, {most} of them to one",
        told.len()
    );
    hub.kill().await;
}

/// Reads until the stream ends, and tells how many events came. Where there is something to wait for, it reads a few
/// events, and the others only after that.
async fn follow(
    address: SocketAddr,
    tell: watch::Sender<usize>,
    wait: Option<watch::Receiver<bool>>,
) -> Subscriber {
    let socket = TcpSocket::new_v4().expect("a socket");
    if wait.is_some() {
        socket.set_recv_buffer_size(4_096).expect("a small window");
    }
    let socket = socket.connect(address).await.expect("a connection");
    let mut stream = EventStream::open_on(socket, "/events?type=drain.test", &[]).await;
    stream.opened("live").await;
    let mut subscriber = Subscriber::default();
    if let Some(mut gone) = wait {
        while subscriber.numbers.len() < FEW {
            subscriber.take(&stream.next_event().await);
        }
        gone.wait_for(|gone| *gone).await.expect("it comes");
    }
    while let Some(frame) = stream.next_or_end().await {
        if frame.is("stream_closing") {
            subscriber.closing = frame.json()["reason"].as_str().map(str::to_owned);
        } else if !frame.is_control() {
            subscriber.take(&frame);
            tell.send_replace(subscriber.numbers.len());
        }
    }
    subscriber.last_event_id = stream.last_event_id;
    subscriber
}

impl Subscriber {
    fn take(&mut self, frame: &crate::support::Frame) {
        let n = frame.json()["data"]["n"].as_u64().expect("a number");
        self.numbers.push(n);
    }

    /// Comes back to the next hub and reads to the last event; how many came before that.
    async fn resume(mut self, address: SocketAddr) -> (Self, usize) {
        let headers = [("Last-Event-ID", self.last_event_id.as_str())];
        let mut stream = EventStream::open(address, "/events?type=drain.test", &headers).await;
        stream.opened("resumed").await;
        let before = self.numbers.len();
        loop {
            self.take(&stream.next_event().await);
            if self.numbers.last() == Some(&LAST) {
                self.numbers.pop();
                let more = self.numbers.len() - before;
                return (self, more);
            }
        }
    }
}

/// Publishes until it is stopped or refused; each gives the numbers that were acknowledged.
fn produce(client: &Client, stop: &Arc<AtomicBool>) -> Vec<JoinHandle<BTreeSet<u64>>> {
    let next = Arc::new(AtomicU64::new(0));
    let text: Arc<str> = "x".repeat(EVENT_BYTES).into();
    let one = |client: Client, stop: Arc<AtomicBool>, next: Arc<AtomicU64>, text: Arc<str>| async move {
        let mut told = BTreeSet::new();
        while !stop.load(Ordering::Relaxed) {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let body = json!({"type": "drain.test", "data": {"n": n, "text": *text}}).to_string();
            let headers = [("content-type", "application/json")];
            let sent = client
                .try_send(Method::POST, "/events", &headers, body)
                .await;
            match sent {
                Ok(reply) if reply.status == 202 => drop(told.insert(n)),
                // Refused or cut off: nothing was acknowledged.
                Ok(reply) => assert_eq!(reply.status, 503, "{}", reply.text),
                Err(_) => break,
            }
        }
        told
    };
    (0..4)
        .map(|_| {
            tokio::spawn(one(
                client.clone(),
                stop.clone(),
                next.clone(),
                text.clone(),
            ))
        })
        .collect()
}
