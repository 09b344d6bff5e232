//! Publishers without subscribers, and heartbeats.

use crate::measure::{publ_cfg, put_errors, put_hist, put_machine, resolve, round, run_id};
use crate::options::{Heartbeats, Publish, Target};
use crate::profile::Side;
use crate::subs::Shared;
use crate::{measure, publ, sys};
use serde_json::{Map, json};

/// Publishers that post again as soon as they are acknowledged.
pub(crate) fn publish(a: &Publish) -> measure::Result {
    sys::raise_nofile(65536);
    let p = resolve(&a.t)?;
    let mut pc = publ_cfg(&a.t, &p, run_id());
    pc.size = a.size;
    pc.batch = a.batch.max(1);
    pc.conns = a.publishers;
    pc.rate = a.rate;
    pc.count = a.messages;
    pc.secs = if a.messages > 0 { 0.0 } else { a.secs };
    let mut m = run(&a.t, &pc, "publish")?;
    m.insert("batch".into(), json!(pc.batch));
    let acks = m
        .get("acks_per_s")
        .and_then(serde_json::Value::as_f64)
        .unwrap_or(0.0);
    m.insert("events_per_s".into(), json!(acks * pc.batch as f64));
    Ok(m)
}

/// Registers servers, then sends their heartbeats in turn.
pub(crate) fn heartbeats(a: &Heartbeats) -> measure::Result {
    sys::raise_nofile(65536);
    let mut p = resolve(&a.t)?;
    let side = |side: &Option<Side>, what: &str| {
        side.clone()
            .ok_or_else(|| format!("the profile has no [{what}]"))
    };
    let (register, heartbeat) = (
        side(&p.register, "register")?,
        side(&p.heartbeat, "heartbeat")?,
    );
    p.publish = register;
    let mut pc = publ_cfg(&a.t, &p, run_id());
    // Server i is what topic i is to a publisher: request n goes to server n mod K.
    pc.topics = a.servers.max(1);
    pc.conns = a.connections.min(pc.topics);
    pc.count = pc.topics as u64;
    let registered = publ::run(&pc, &Shared::new(1));
    if registered.acked < pc.count {
        return Err(format!(
            "{} of {} servers registered: {:?}",
            registered.acked, pc.count, registered.error
        ));
    }
    p.publish = heartbeat;
    let mut pc = publ_cfg(&a.t, &p, run_id());
    pc.topics = a.servers.max(1);
    pc.conns = a.connections;
    pc.secs = a.secs;
    let mut m = run(&a.t, &pc, "heartbeats")?;
    m.insert("servers".into(), json!(pc.topics));
    Ok(m)
}

/// One run of publishers without subscribers.
fn run(t: &Target, pc: &publ::Cfg, cmd: &str) -> measure::Result {
    let (s0, m0, c0) = (sys::snap(&t.server_pid), sys::machine(), sys::self_cpu_s());
    let po = publ::run(pc, &Shared::new(1));
    let (s1, m1, c1) = (sys::snap(&t.server_pid), sys::machine(), sys::self_cpu_s());
    let secs = (po.end_ns - po.start_ns) as f64 / 1e9;
    let mut m = Map::new();
    m.insert("cmd".into(), json!(cmd));
    m.insert("label".into(), json!(t.label));
    m.insert("publishers".into(), json!(pc.conns));
    m.insert("size".into(), json!(pc.size));
    m.insert("secs".into(), json!(round(secs, 3)));
    m.insert("sent".into(), json!(po.sent));
    m.insert("acked".into(), json!(po.acked));
    m.insert("refused".into(), json!(po.refused));
    m.insert("failed".into(), json!(po.failed));
    m.insert("acks_per_s".into(), json!(round(po.acked as f64 / secs, 0)));
    put_hist(&mut m, "ack", &po.ack);
    if !t.server_pid.is_empty() {
        let cpu = s1.cpu_s - s0.cpu_s;
        m.insert("server_cpu_s".into(), json!(round(cpu, 2)));
        m.insert("server_cores".into(), json!(round(cpu / secs, 2)));
        m.insert(
            "server_cpu_us_per_publish".into(),
            json!(round(cpu * 1e6 / po.acked.max(1) as f64, 2)),
        );
        m.insert(
            "server_rss_before_mb".into(),
            json!(round(s0.rss as f64 / 1e6, 1)),
        );
        m.insert(
            "server_rss_after_mb".into(),
            json!(round(s1.rss as f64 / 1e6, 1)),
        );
    }
    m.insert(
        "harness_cpu_us_per_publish".into(),
        json!(round((c1 - c0) * 1e6 / po.acked.max(1) as f64, 2)),
    );
    m.insert("harness_cores".into(), json!(round((c1 - c0) / secs, 2)));
    put_machine(
        &mut m,
        &m0,
        &m1,
        (!t.server_pid.is_empty()).then_some(s1.cpu_s - s0.cpu_s + c1 - c0),
    );
    put_errors(&mut m, &[], &po.error);
    Ok(m)
}
