//! How fast idle subscribers are accepted, and what each costs.

use crate::measure::{
    per_conn, put_errors, put_hist, put_machine, resolve, round, run_id, subs_cfg, wait_heads,
};
use crate::options::Connect;
use crate::subs::{self, Shared};
use crate::{measure, sys};
use serde_json::{Map, json};
use std::sync::atomic::Ordering::Relaxed;

/// Opens the subscribers at full speed and holds them idle for a while.
pub(crate) fn connect(a: &Connect) -> measure::Result {
    sys::raise_nofile((a.subs as u64 + 1000).max(65536));
    let t = &a.t;
    let p = resolve(t)?;
    let (s0, m0, c0) = (sys::snap(&t.server_pid), sys::machine(), sys::self_cpu_s());
    let shared = Shared::new(t.threads.max(1));
    let handles = subs::spawn(&subs_cfg(t, &p, a.subs, run_id()), &shared);
    let (heads, secs) = wait_heads(&shared, a.subs, t.connect_timeout_s);
    let m1 = sys::machine();
    let s1 = sys::snap(&t.server_pid);
    sys::sleep_ms(a.hold_s * 1000);
    let (s2, m2, c2) = (sys::snap(&t.server_pid), sys::machine(), sys::self_cpu_s());
    shared.stop.store(true, Relaxed);
    let so = subs::Outcome::join(handles);
    let mut m = Map::new();
    m.insert("cmd".into(), json!("connect"));
    m.insert("label".into(), json!(t.label));
    m.insert("connected".into(), json!(heads));
    m.insert("failed".into(), json!(shared.sum(|c| &c.failed)));
    m.insert("closed_while_idle".into(), json!(shared.sum(|c| &c.closed)));
    m.insert("secs".into(), json!(round(secs, 3)));
    m.insert(
        "conns_per_s".into(),
        json!(round(heads as f64 / secs.max(1e-9), 0)),
    );
    put_hist(&mut m, "connect", &so.connect);
    if !t.server_pid.is_empty() {
        m.insert(
            "server_cpu_us_per_connect".into(),
            json!(round((s1.cpu_s - s0.cpu_s) * 1e6 / heads.max(1) as f64, 2)),
        );
        m.insert(
            "server_rss_before_mb".into(),
            json!(round(s0.rss as f64 / 1e6, 1)),
        );
        m.insert(
            "server_rss_idle_mb".into(),
            json!(round(s2.rss as f64 / 1e6, 1)),
        );
        m.insert(
            "server_rss_bytes_per_conn".into(),
            json!(per_conn(s2.rss, s0.rss, heads)),
        );
        m.insert(
            "server_pss_bytes_per_conn".into(),
            json!(per_conn(s2.pss, s0.pss, heads)),
        );
        m.insert(
            "server_idle_cpu_pct".into(),
            json!(round(
                (s2.cpu_s - s1.cpu_s) / a.hold_s.max(1) as f64 * 100.0,
                1
            )),
        );
    }
    m.insert(
        "slab_bytes_per_conn_both_ends".into(),
        json!(per_conn(m2.slab, m0.slab, heads)),
    );
    m.insert("syn_retries".into(), json!(m1.syn_retries - m0.syn_retries));
    m.insert(
        "listen_overflows".into(),
        json!(m1.listen_overflows - m0.listen_overflows),
    );
    // The ramp alone is too short for counters in hundredths of a second, so the time that the connections are held counts too.
    put_machine(
        &mut m,
        &m0,
        &m2,
        (!t.server_pid.is_empty()).then_some(s2.cpu_s - s0.cpu_s + c2 - c0),
    );
    put_errors(&mut m, &so.errors, &None);
    Ok(m)
}
