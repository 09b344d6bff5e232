//! N subscribers, then messages: deliveries per second, latency, losses.

use crate::measure::{
    per_conn, publ_cfg, put_errors, put_hist, put_machine, resolve, round, run_id, subs_cfg,
    wait_heads,
};
use crate::options::{Load, Target};
use crate::subs::{self, Shared};
use crate::{measure, publ, sys};
use serde_json::{Map, json};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Opens the subscribers, waits for every response head, publishes, and counts what arrives.
pub(crate) fn fanout(t: &Target, l: &Load) -> measure::Result {
    if l.messages == 0 && l.secs <= 0.0 {
        return Err("give --messages or --secs".into());
    }
    sys::raise_nofile((l.subs as u64 + 1000).max(65536));
    let p = resolve(t)?;
    let run = run_id();
    let (mem0, slab0) = (sys::snap(&t.server_pid), sys::machine());
    let shared = Shared::new(t.threads.max(1));
    let handles = subs::spawn(&subs_cfg(t, &p, l.subs, run), &shared);
    let (heads, connect_s) = wait_heads(&shared, l.subs, t.connect_timeout_s);
    sys::sleep_ms(t.settle_ms);
    let mem1 = sys::snap(&t.server_pid);
    let (m1, self1) = (sys::machine(), sys::self_cpu_s());
    let mut pc = publ_cfg(t, &p, run);
    pc.size = l.size;
    pc.conns = l.publishers;
    pc.rate = l.rate;
    pc.count = l.messages;
    pc.secs = l.secs;
    pc.window = l.window;
    pc.subscribers = heads;
    let sh = Arc::clone(&shared);
    let po = std::thread::spawn(move || publ::run(&pc, &sh))
        .join()
        .expect("publisher");
    // Subscriber i has topic i mod K, message n has topic n mod K.
    let k = t.topics.max(1) as u64;
    let on = |total: u64, j: u64| total / k + u64::from(j < total % k);
    let expected: u64 = if heads == l.subs as u64 {
        (0..k).map(|j| on(heads, j) * on(po.sent, j)).sum()
    } else {
        heads * po.sent / k
    };
    let (mut best, mut moved) = (0, sys::now_ns());
    loop {
        let d = shared.delivered();
        if d != best {
            best = d;
            moved = sys::now_ns();
        }
        if d >= expected || sys::now_ns() - moved > l.drain_s * 1_000_000_000 {
            break;
        }
        sys::sleep_ms(1);
    }
    let (mem2, m2, self2) = (sys::snap(&t.server_pid), sys::machine(), sys::self_cpu_s());
    let (last, first) = (shared.last_ns(), po.start_ns);
    shared.stop.store(true, Relaxed);
    let so = subs::Outcome::join(handles);

    let span = last.saturating_sub(first) as f64 / 1e9;
    let mut m = Map::new();
    m.insert("cmd".into(), json!("fanout"));
    m.insert("label".into(), json!(t.label));
    m.insert("subscribers".into(), json!(heads));
    m.insert(
        "subscribers_failed".into(),
        json!(shared.sum(|c| &c.failed)),
    );
    m.insert(
        "subscribers_closed".into(),
        json!(shared.sum(|c| &c.closed)),
    );
    m.insert("topics".into(), json!(k));
    m.insert("size".into(), json!(l.size));
    m.insert("publishers".into(), json!(l.publishers));
    m.insert("window".into(), json!(l.window));
    m.insert("rate".into(), json!(l.rate));
    m.insert("connect_s".into(), json!(round(connect_s, 3)));
    m.insert("published".into(), json!(po.sent));
    m.insert("acked".into(), json!(po.acked));
    m.insert("publish_refused".into(), json!(po.refused));
    m.insert("publish_failed".into(), json!(po.failed));
    m.insert("window_stalls".into(), json!(po.stalls));
    let pub_s = (po.end_ns - po.start_ns) as f64 / 1e9;
    m.insert(
        "publishes_per_s".into(),
        json!(round(po.acked as f64 / pub_s, 1)),
    );
    m.insert("delivered".into(), json!(so.got));
    m.insert("span_s".into(), json!(round(span, 3)));
    m.insert(
        "deliveries_per_s".into(),
        json!(round(so.got as f64 / span.max(1e-9), 0)),
    );
    m.insert(
        "mb_per_s".into(),
        json!(round(so.bytes as f64 / span.max(1e-9) / 1e6, 1)),
    );
    m.insert("lost".into(), json!(expected.saturating_sub(so.got)));
    m.insert("duplicated".into(), json!(so.dup));
    m.insert("out_of_order".into(), json!(so.ooo));
    m.insert("foreign".into(), json!(so.foreign));
    put_hist(&mut m, "latency", &so.latency);
    put_hist(&mut m, "ack", &po.ack);
    if !t.server_pid.is_empty() {
        let cpu = mem2.cpu_s - mem1.cpu_s;
        m.insert("server_cpu_s".into(), json!(round(cpu, 2)));
        m.insert(
            "server_user_s".into(),
            json!(round(mem2.user_s - mem1.user_s, 2)),
        );
        m.insert("server_cores".into(), json!(round(cpu / span.max(1e-9), 2)));
        m.insert(
            "server_cpu_us_per_delivery".into(),
            json!(round(cpu * 1e6 / so.got.max(1) as f64, 3)),
        );
        m.insert(
            "server_cpu_us_per_publish".into(),
            json!(round(cpu * 1e6 / po.acked.max(1) as f64, 2)),
        );
        m.insert(
            "server_rss_before_mb".into(),
            json!(round(mem0.rss as f64 / 1e6, 1)),
        );
        m.insert(
            "server_rss_idle_mb".into(),
            json!(round(mem1.rss as f64 / 1e6, 1)),
        );
        m.insert(
            "server_rss_after_mb".into(),
            json!(round(mem2.rss as f64 / 1e6, 1)),
        );
        m.insert(
            "server_pss_bytes_per_conn".into(),
            json!(per_conn(mem1.pss, mem0.pss, heads)),
        );
        m.insert(
            "server_ctx_switches".into(),
            json!(mem2.ctx_vol + mem2.ctx_inv - mem1.ctx_vol - mem1.ctx_inv),
        );
    }
    let cpu = self2 - self1;
    m.insert(
        "harness_cpu_us_per_delivery".into(),
        json!(round(cpu * 1e6 / so.got.max(1) as f64, 3)),
    );
    m.insert(
        "harness_cores".into(),
        json!(round(cpu / span.max(1e-9), 2)),
    );
    m.insert(
        "deliveries_per_read".into(),
        json!(round(so.got as f64 / so.reads.max(1) as f64, 2)),
    );
    m.insert(
        "slab_bytes_per_conn".into(),
        json!(per_conn(m1.slab, slab0.slab, heads)),
    );
    put_machine(
        &mut m,
        &m1,
        &m2,
        (!t.server_pid.is_empty()).then_some(mem2.cpu_s - mem1.cpu_s + cpu),
    );
    put_errors(&mut m, &so.errors, &po.error);
    Ok(m)
}
