//! The hub asks servers itself: every probed server in its time, one timer structure for all, and what comes of it
//! becomes health and description.
//!
//! What is asked follows from the state (as the hub's [`Observer`]) and from the operator's file ([`file`]). Counts of
//! failed probes, sessions and the last findings are kept in memory alone: after a restart each server is asked anew,
//! and until then its standing verdict stands. At most one probe of a server runs at a time, and at most so many in all.

mod file;
mod learnt;

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::{
    clock::Clock,
    domain::{
        Command, Event, EventData, ServerId, State,
        command::{Deregister, HearProbe},
        event::Health,
        probe::{ProbeView, Probing, Verdict},
        server::{Instance, PROBE_FAILED, Server},
    },
    health::Leases,
    hub::{Hub, Observer},
    metrics::Metrics,
    probe::{Allow, Found, Kept, Patience, Permit, Prober, Target},
};

use file::File;

/// How the hub asks servers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Hosts that may be asked by a registration's wish.
    pub allow: Arc<Allow>,
    /// Probes at a time.
    pub concurrency: usize,
    /// The operator's file of servers.
    pub file: Option<PathBuf>,
}

/// Every server that is asked.
#[derive(Debug)]
pub struct Rounds {
    settings: Settings,
    prober: Prober,
    clock: Clock,
    leases: Arc<Leases>,
    metrics: Metrics,
    slots: Semaphore,
    inner: Mutex<Inner>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    by_id: HashMap<ServerId, Asked>,
    /// (when, whom); whoever is being asked isn't in here.
    queue: BTreeSet<(u64, ServerId)>,
    file: File,
    /// The state may lack something that the file has.
    look_at_file: bool,
}

/// One server that is asked.
#[derive(Debug)]
struct Asked {
    probing: Probing,
    due: Option<u64>,
    kept: Arc<tokio::sync::Mutex<Kept>>,
    view: ProbeView,
    /// When a good probe last counted, ms.
    counted_at: u64,
}

impl Rounds {
    /// Nobody is asked yet.
    #[must_use]
    pub fn new(settings: Settings, clock: Clock, leases: Arc<Leases>, metrics: Metrics) -> Self {
        Self {
            prober: Prober::new(),
            slots: Semaphore::new(settings.concurrency.max(1)),
            settings,
            clock,
            leases,
            metrics,
            inner: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// Whether a registration's wish to be asked may be met.
    ///
    /// # Errors
    /// Why not, in words.
    pub async fn admits(&self, probing: &Probing) -> Result<(), String> {
        let target = Target::parse(&probing.url)?;
        self.prober.judge(&target, &self.settings.allow).await
    }

    /// What the last probe of a server found.
    #[must_use]
    pub fn view(&self, server: &ServerId) -> Option<ProbeView> {
        let inner = self.inner.lock();
        inner.by_id.get(server).map(|asked| asked.view.clone())
    }

    /// Asks servers in their time until it is told to stop; then ends the sessions that it has open.
    pub async fn watch(self: Arc<Self>, hub: Hub, stop: CancellationToken) {
        let state = hub.state();
        for server in state.servers.after(None) {
            // After a restart they are asked one after the other, and not all at once.
            let spread = server
                .probe
                .as_ref()
                .map_or(0, |probe| part(probe.interval_ms, 0, 100));
            self.sync(&server.connection.id, &state, Some(spread));
        }
        let mut running = JoinSet::new();
        let mut look_at = 0;
        loop {
            let now = self.clock.mono_ms();
            if self.settings.file.is_some() && (now >= look_at || self.inner.lock().look_at_file) {
                look_at = now + LOOK_EVERY_MS;
                self.look_at_file(&hub).await;
            }
            let room = self.settings.concurrency.saturating_sub(running.len());
            let (due, next) = self.take_due(now, room);
            for id in due {
                let (rounds, hub) = (self.clone(), hub.clone());
                running.spawn(async move { rounds.ask(&hub, &id).await });
            }
            let nap = next.map_or(LONGEST_NAP_MS, |next| {
                next.saturating_sub(self.clock.mono_ms())
            });
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.wake.notified() => {}
                Some(_) = running.join_next() => {}
                () = tokio::time::sleep(Duration::from_millis(nap.clamp(1, LONGEST_NAP_MS))) => {}
            }
        }
        running.shutdown().await;
        self.end_sessions().await;
    }

    /// Asks a server now, and tells what was found; `None` if it isn't one that is asked.
    pub async fn ask(&self, hub: &Hub, id: &ServerId) -> Option<ProbeView> {
        let (probing, kept) = {
            let inner = self.inner.lock();
            let asked = inner.by_id.get(id)?;
            (asked.probing.clone(), asked.kept.clone())
        };
        let mut kept = kept.lock().await;
        let slot = self.slots.acquire().await;
        let found = self.find(id, &probing, &mut kept).await;
        drop(slot);
        let pause = self.note(id, &probing, &found);
        self.conclude(hub, id, &found).await;
        self.plan(id, pause);
        self.view(id)
    }

    async fn find(&self, id: &ServerId, probing: &Probing, kept: &mut Kept) -> Found {
        let patience = Patience {
            timeout: Duration::from_millis(probing.timeout_ms),
            slow: Duration::from_millis(probing.slow_ms),
        };
        let of_file = self.inner.lock().file.target(id).cloned();
        let (target, permit) = match of_file {
            Some(target) => (Ok(target), Permit::Anyone),
            None => {
                let allow = Permit::Listed(self.settings.allow.clone());
                (Target::parse(&probing.url), allow)
            }
        };
        match target {
            Ok(target) => self.prober.probe(&target, kept, &permit, patience).await,
            Err(why) => Found {
                verdict: Verdict::Unresolved,
                detail: format!("its URL {why}"),
                latency: None,
                era: None,
                session_kept: false,
                retry_after: None,
                learned: None,
            },
        }
    }

    /// Keeps what was found; how long to leave it alone now, ms.
    fn note(&self, id: &ServerId, probing: &Probing, found: &Found) -> u64 {
        let seconds = found
            .latency
            .map_or(probing.timeout_ms as f64 / 1000.0, |latency| {
                latency.as_secs_f64()
            });
        self.metrics
            .probe_seconds
            .with_label_values(&[id.as_str(), found.verdict.as_str()])
            .observe(seconds);
        let mut inner = self.inner.lock();
        if let Some(asked) = inner.by_id.get_mut(id) {
            let failures = if found.verdict.is_answered() {
                0
            } else {
                asked.view.failures.saturating_add(1)
            };
            let versions = found
                .learned
                .as_ref()
                .map(|learned| learned.protocol_versions.clone());
            asked.view = ProbeView {
                at: Some(self.clock.wall_ms()),
                verdict: Some(found.verdict),
                detail: Some(found.detail.clone()),
                latency_ms: found
                    .latency
                    .map(|latency| (latency.as_secs_f64() * 10_000.0).round() / 10.0),
                era: found.era.or(asked.view.era),
                session_kept: found.session_kept,
                protocol_versions: versions
                    .unwrap_or_else(|| std::mem::take(&mut asked.view.protocol_versions)),
                failures,
                interval_ms: probing.interval_ms,
            };
        }
        let asked_for = found.retry_after.map_or(0, |wait| {
            u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
        });
        part(probing.interval_ms, 90, 110).max(asked_for.min(LONGEST_REST_MS))
    }

    /// Tells the hub what follows.
    async fn conclude(&self, hub: &Hub, id: &ServerId, found: &Found) {
        let state = hub.state();
        let Some(server) = state
            .servers
            .get(id)
            .filter(|server| server.probe.is_some())
        else {
            if found.verdict.is_answered() {
                self.inner.lock().look_at_file = true;
            }
            return;
        };
        let answered = found.verdict.is_answered();
        if let Some(instance) = server.instances.newest() {
            if answered {
                self.leases.answered(instance);
            } else if found.verdict.is_unreached() {
                let interval_ms = server.probe.as_ref().map_or(0, |probe| probe.interval_ms);
                self.leases.unreached(instance.connection, interval_ms);
            }
        }
        let back = !server.is_connected() && server.lost && answered;
        if (server.is_connected() || back)
            && let Some(register) = learnt::register(server, found.learned.as_deref(), back)
        {
            self.tell(hub, Command::Register(Box::new(register))).await;
        }
        let state = hub.state();
        let Some(server) = state.servers.connected(id) else {
            return;
        };
        if let Some(instance) = server.instances.newest()
            && let Some(command) = self.word(&state, server, instance, found)
        {
            self.tell(hub, command).await;
        }
    }

    /// What a finding means for a connected server; `None`: nothing new.
    fn word(
        &self,
        state: &State,
        server: &Server,
        instance: &Instance,
        found: &Found,
    ) -> Option<Command> {
        let id = &server.connection.id;
        let rules = *self.leases.rules();
        let mut inner = self.inner.lock();
        let asked = inner.by_id.get_mut(id)?;
        let failures = asked.view.failures;
        let last_seen_at = self
            .leases
            .last_seen_at(state, id, instance.id.as_ref())
            .unwrap_or(instance.last_seen_at);
        let doubled = u32::from(self.leases.suspect().is_some()) + 1;
        if failures >= rules.disconnect_after.saturating_mul(doubled)
            && !self.leases.beats(instance.connection)
        {
            info!(server.id = %id, "server {id} answers no probes: {}", found.detail);
            return Some(Command::Deregister(Deregister {
                server: id.clone(),
                reason: PROBE_FAILED.to_owned(),
                connection: Some(instance.connection),
                instance_id: instance.id.clone(),
                expected: None,
                last_seen_at: Some(last_seen_at),
                occurred_at: None,
            }));
        }
        let health = found.verdict.health(failures, rules.unhealthy_after);
        let stands = instance.condition.probe.as_ref();
        let standing = stands.map_or(Health::Healthy, |word| word.report.health);
        if health < standing {
            // Better ones count if they are at least half an interval apart.
            let now = self.clock.mono_ms();
            if 2 * now.saturating_sub(asked.counted_at) < asked.probing.interval_ms {
                return None;
            }
            asked.counted_at = now;
        } else if stands.is_none() && health == Health::Healthy {
            return None;
        }
        Some(Command::HearProbe(HearProbe {
            server: id.clone(),
            instance_id: instance.id.clone(),
            connection: instance.connection,
            verdict: found.verdict,
            health,
            detail: found.detail.clone(),
            last_seen_at,
        }))
    }

    async fn tell(&self, hub: &Hub, command: Command) {
        if let Err(cause) = hub.execute(command, None).await {
            // The hub itself tells of its trouble; the next probe tells the same again.
            debug!("what a probe found has to wait: {cause}");
        }
    }

    fn take_due(&self, now: u64, most: usize) -> (Vec<ServerId>, Option<u64>) {
        let mut inner = self.inner.lock();
        let mut due = Vec::new();
        while due.len() < most
            && inner.queue.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, id)) = inner.queue.pop_first()
        {
            if let Some(asked) = inner.by_id.get_mut(&id) {
                asked.due = None;
            }
            due.push(id);
        }
        // Where there is no room, whoever ends makes some.
        let next = inner
            .queue
            .first()
            .map(|(at, _)| *at)
            .filter(|_| due.len() < most);
        (due, next)
    }

    fn plan(&self, id: &ServerId, pause: u64) {
        let at = self.clock.mono_ms().saturating_add(pause);
        self.inner.lock().plan(id, at);
    }

    /// Holds what is asked against the state of one server. `spread`: when it is asked first, if it is new here.
    fn sync(&self, id: &ServerId, state: &State, spread: Option<u64>) {
        let server = state.servers.get(id);
        let wanted = server
            .filter(|server| server.is_connected() || server.lost)
            .and_then(|server| server.probe.clone());
        let mut inner = self.inner.lock();
        let Some(probing) = wanted else {
            let stays = server.is_none() && inner.file.target(id).is_some();
            if server.is_some_and(|server| server.is_connected()) && inner.file.target(id).is_some()
            {
                inner.look_at_file = true;
                self.wake.notify_one();
            }
            if !stays && let Some(asked) = inner.by_id.remove(id) {
                inner.queue.retain_not(asked.due, id);
                for verdict in Verdict::ALL {
                    _ = self
                        .metrics
                        .probe_seconds
                        .remove_label_values(&[id.as_str(), verdict.as_str()]);
                }
            }
            return;
        };
        let now = self.clock.mono_ms();
        let at =
            now + spread.unwrap_or_else(|| part(probing.interval_ms.min(FIRST_WITHIN_MS), 0, 100));
        match inner.by_id.get_mut(id) {
            Some(asked) if asked.probing.asks_as(&probing) => {
                asked.probing = Probing::clone(&probing)
            }
            Some(asked) => {
                if asked.probing.url != probing.url {
                    asked.kept = Arc::default();
                    asked.view = ProbeView::unasked(&probing);
                }
                asked.probing = Probing::clone(&probing);
                inner.plan(id, at);
            }
            None => {
                let asked = Asked {
                    view: ProbeView::unasked(&probing),
                    probing: Probing::clone(&probing),
                    due: None,
                    kept: Arc::default(),
                    counted_at: 0,
                };
                inner.by_id.insert(id.clone(), asked);
                inner.plan(id, at);
            }
        }
        self.wake.notify_one();
    }

    /// Leaves no session behind, as far as that can be done quickly.
    async fn end_sessions(&self) {
        let asked: Vec<_> = {
            let inner = self.inner.lock();
            let of = |(id, asked): (&ServerId, &Asked)| {
                let target = inner.file.target(id).cloned();
                (target, asked.probing.clone(), asked.kept.clone())
            };
            inner.by_id.iter().map(of).collect()
        };
        let mut ending = JoinSet::new();
        for (of_file, probing, kept) in asked {
            let permit = match of_file {
                Some(_) => Permit::Anyone,
                None => Permit::Listed(self.settings.allow.clone()),
            };
            let Some(target) = of_file.or_else(|| Target::parse(&probing.url).ok()) else {
                continue;
            };
            let prober = self.prober.clone();
            ending.spawn(async move {
                let patience = Patience {
                    timeout: LAST_WORD,
                    slow: LAST_WORD,
                };
                prober
                    .forget(&target, &mut *kept.lock().await, &permit, patience)
                    .await;
            });
        }
        let all = async { while ending.join_next().await.is_some() {} };
        _ = tokio::time::timeout(LAST_WORD, all).await;
    }
}

impl Inner {
    fn plan(&mut self, id: &ServerId, at: u64) {
        let Some(asked) = self.by_id.get_mut(id) else {
            return;
        };
        if let Some(before) = asked.due.replace(at) {
            self.queue.remove(&(before, id.clone()));
        }
        self.queue.insert((at, id.clone()));
    }
}

/// A queue from which one can be taken out.
trait Queue {
    fn retain_not(&mut self, due: Option<u64>, id: &ServerId);
}

impl Queue for BTreeSet<(u64, ServerId)> {
    fn retain_not(&mut self, due: Option<u64>, id: &ServerId) {
        if let Some(due) = due {
            self.remove(&(due, id.clone()));
        }
    }
}

impl Observer for Rounds {
    fn committed(&self, state: &State, events: &[Event]) {
        for event in events {
            let is_of_interest = matches!(
                event.what.data,
                EventData::ServerConnected(_)
                    | EventData::ServerUpdated(_)
                    | EventData::ServerDisconnected(_)
            );
            if let Some(id) = event.what.server.as_ref().filter(|_| is_of_interest) {
                self.sync(id, state, None);
            }
        }
    }
}

/// Between `from` and `to` percent of a time, at random.
fn part(ms: u64, from: u64, to: u64) -> u64 {
    let random = u64::from(uuid::Uuid::new_v4().as_fields().0);
    let percent = from * 100 + random % ((to - from) * 100 + 1);
    ms.saturating_mul(percent) / 10_000
}

/// A new server is asked within so long.
const FIRST_WITHIN_MS: u64 = 250;
/// How often the file is looked at.
const LOOK_EVERY_MS: u64 = 1000;
const LONGEST_NAP_MS: u64 = 500;
/// How long a server may ask to be left alone.
const LONGEST_REST_MS: u64 = 3_600_000;
/// How long the end of all sessions may take.
const LAST_WORD: Duration = Duration::from_secs(1);
