//! Killed without warning at any moment, the hub loses nothing that it acknowledged, doubles nothing, its state is what
//! its log tells, and whoever listens has each event once when it has come back.

mod listeners;
mod midway;
mod producers;

use std::time::Duration;

use listeners::Listeners;
use producers::Producers;

use crate::support::{HubProcess, variable};

/// Kills in one run of the first test. `TIMEBACK_CRASH_ROUNDS` asks for more.
const ROUNDS: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_by_kill() {
    let rounds = variable("TIMEBACK_CRASH_ROUNDS").unwrap_or(ROUNDS);
    let directory = tempfile::tempdir().expect("a directory");
    let producers = Producers::new(None);
    let listeners = Listeners::start(8, None);
    for round in 0..rounds {
        let hub = HubProcess::start(
            directory.path(),
            &[("INTEGRATION_SSE_KEEPALIVE_MS", "1000")],
        )
        .await;
        listeners.turn_to(Some(hub.address));
        let load = producers.begin(&hub.client, 6);
        // A different moment each round, and always in the midst of work.
        tokio::time::sleep(Duration::from_millis(40 + (round as u64 * 37) % 160)).await;
        // Nobody calls at an address that may soon be another's.
        listeners.turn_to(None);
        hub.kill().await;
        load.end().await;
    }
    let hub = HubProcess::start(directory.path(), &[]).await;
    listeners.turn_to(Some(hub.address));
    producers.check_whole_log(&hub.client).await;
    let heard = listeners.hear_the_last(&hub.client, None).await;
    let told = producers.acknowledged();
    for listener in &heard {
        listener.has_once(&told);
        assert_eq!(listener.missed(), 0, "nothing was pruned");
    }
    println!(
        "{rounds} kills, {} events acknowledged; {} listeners came back {} times in the midst of it and had each once",
        told.len(),
        heard.len(),
        heard.iter().map(|listener| listener.returns).sum::<usize>()
    );
    hub.kill().await;
}
