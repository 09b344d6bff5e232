//! Subscribers that ask for history.

use crate::measure::{publ_cfg, put_errors, put_machine, resolve, round, run_id, subs_cfg};
use crate::options::Replay;
use crate::subs::{self, Shared};
use crate::{publ, sys};
use serde_json::{Map, Value, json};
use std::sync::atomic::Ordering::Relaxed;

/// How often the server's memory is looked at while it replays.
const MEMORY_EVERY_NS: u64 = 50_000_000;
/// Without a further event for this long a replay is over.
const SILENCE_NS: u64 = 5_000_000_000;
/// The machine's counters go in hundredths of a second: noise is told over this much time, quiet after the replay included.
const NOISE_NS: u64 = 1_000_000_000;

/// Publishes what is asked for, then reads the history as often as asked for.
pub(crate) fn replay(a: &Replay) -> Result<Vec<Map<String, Value>>, String> {
    sys::raise_nofile((a.subs as u64 + 1000).max(65536));
    let t = &a.t;
    let mut p = resolve(t)?;
    let run = run_id();
    let mut preload_s = 0.0;
    if a.preload > 0 {
        let mut pc = publ_cfg(t, &p, run);
        pc.size = a.size;
        pc.conns = a.publishers;
        pc.batch = a.batch.max(1);
        pc.count = a.preload.div_ceil(pc.batch as u64);
        let po = publ::run(&pc, &Shared::new(1));
        if po.acked < pc.count {
            return Err(format!(
                "preload: {} of {} requests acked: {:?}",
                po.acked, pc.count, po.error
            ));
        }
        preload_s = (po.end_ns - po.start_ns) as f64 / 1e9;
    }
    let expect = if a.expect > 0 { a.expect } else { a.preload };
    if expect == 0 {
        return Err("give --preload or --expect".into());
    }
    if let Some(u) = &p.replay.url {
        p.subscribe.url = u.clone();
    }
    if p.replay.method.is_some() {
        p.subscribe.method = p.replay.method.clone();
        p.subscribe.body = p.replay.body.clone();
    }
    p.subscribe.headers.extend(p.replay.headers.iter().cloned());
    let mut all = vec![];
    for _ in 0..a.rounds {
        let mut sc = subs_cfg(t, &p, a.subs, run);
        sc.any_run = a.preload == 0;
        sc.last_id = a
            .last_id
            .clone()
            .unwrap_or_else(|| p.replay.last_id.clone());
        let (s0, m0, c0) = (sys::snap(&t.server_pid), sys::machine(), sys::self_cpu_s());
        let shared = Shared::new(t.threads.max(1));
        let processes = sys::tree(&t.server_pid);
        let t0 = sys::now_ns();
        let handles = subs::spawn(&sc, &shared);
        let want = expect * a.subs as u64;
        let (mut best, mut moved) = (0, t0);
        let (mut peak, mut looked) = (s0.rss, t0);
        loop {
            let d = shared.delivered();
            if d != best {
                best = d;
                moved = sys::now_ns();
            }
            let gone = shared.sum(|c| &c.failed) + shared.sum(|c| &c.closed);
            if d >= want || sys::now_ns() - moved > SILENCE_NS || gone >= a.subs as u64 {
                break;
            }
            if sys::now_ns() - looked > MEMORY_EVERY_NS {
                looked = sys::now_ns();
                peak = peak.max(sys::resident(&processes));
            }
            sys::sleep_ms(1);
        }
        let (s1, c1) = (sys::snap(&t.server_pid), sys::self_cpu_s());
        let (first, last) = (shared.first_ns(), shared.last_ns());
        shared.stop.store(true, Relaxed);
        sys::sleep_ms(NOISE_NS.saturating_sub(sys::now_ns() - t0) / 1_000_000);
        let (s2, m1, c2) = (sys::snap(&t.server_pid), sys::machine(), sys::self_cpu_s());
        let so = subs::Outcome::join(handles);
        let secs = last.saturating_sub(t0) as f64 / 1e9;
        let mut m = Map::new();
        m.insert("cmd".into(), json!("replay"));
        m.insert("label".into(), json!(t.label));
        m.insert("subscribers".into(), json!(a.subs));
        m.insert("preload_s".into(), json!(round(preload_s, 3)));
        m.insert("expected".into(), json!(want));
        m.insert("events".into(), json!(so.got));
        m.insert("missing".into(), json!(want.saturating_sub(so.got)));
        m.insert("duplicated".into(), json!(so.dup));
        m.insert("out_of_order".into(), json!(so.ooo));
        m.insert("secs".into(), json!(round(secs, 4)));
        m.insert(
            "first_event_ms".into(),
            json!(round(first.saturating_sub(t0) as f64 / 1e6, 3)),
        );
        m.insert(
            "events_per_s".into(),
            json!(round(so.got as f64 / secs.max(1e-9), 0)),
        );
        m.insert(
            "mb_per_s".into(),
            json!(round(so.bytes as f64 / secs.max(1e-9) / 1e6, 1)),
        );
        if !t.server_pid.is_empty() {
            let cpu = s1.cpu_s - s0.cpu_s;
            m.insert(
                "server_cpu_us_per_event".into(),
                json!(round(cpu * 1e6 / so.got.max(1) as f64, 3)),
            );
            m.insert(
                "server_rss_before_mb".into(),
                json!(round(s0.rss as f64 / 1e6, 1)),
            );
            m.insert("server_rss_mb".into(), json!(round(s1.rss as f64 / 1e6, 1)));
            m.insert(
                "server_rss_peak_mb".into(),
                json!(round(peak.max(s1.rss) as f64 / 1e6, 1)),
            );
            m.insert("server_pss_mb".into(), json!(round(s1.pss as f64 / 1e6, 1)));
        }
        m.insert(
            "harness_cpu_us_per_event".into(),
            json!(round((c1 - c0) * 1e6 / so.got.max(1) as f64, 3)),
        );
        put_machine(
            &mut m,
            &m0,
            &m1,
            (!t.server_pid.is_empty()).then_some(s2.cpu_s - s0.cpu_s + c2 - c0),
        );
        put_errors(&mut m, &so.errors, &None);
        all.push(m);
    }
    Ok(all)
}
