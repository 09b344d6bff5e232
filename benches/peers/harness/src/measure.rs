//! What every measure needs: the profile with its flags, connections, the machine, and numbers for the report.

use crate::options::Target;
use crate::profile::{self, Profile};
use crate::subs::{self, Shared};
use crate::{http, publ, sys};
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

/// The result of one run: a name and a number for each thing measured, in the order they are printed.
pub(crate) type Result = std::result::Result<Map<String, Value>, String>;

/// The profile with what the flags put in its place.
pub(crate) fn resolve(t: &Target) -> std::result::Result<Profile, String> {
    let mut p = match &t.profile {
        Some(n) => profile::load(n)?,
        None => Profile::default(),
    };
    if let Some(u) = &t.sub_url {
        p.subscribe.url = u.clone();
    }
    if let Some(u) = &t.pub_url {
        p.publish.url = u.clone();
    }
    if t.pub_method.is_some() {
        p.publish.method = t.pub_method.clone();
    }
    if t.pub_body.is_some() {
        p.publish.body = t.pub_body.clone();
    }
    p.subscribe.headers.extend(t.sub_header.iter().cloned());
    p.publish.headers.extend(t.pub_header.iter().cloned());
    if !p
        .subscribe
        .headers
        .iter()
        .any(|h| h.to_ascii_lowercase().starts_with("accept:"))
    {
        p.subscribe.headers.push("Accept: text/event-stream".into());
    }
    if p.publish.body.is_none() {
        p.publish.body = Some("{msg}".into());
    }
    let vars = http::Vars {
        run: 0,
        topic: 0,
        i: 0,
        size: 0,
        last_id: "",
    };
    for url in [
        Some(&p.subscribe.url),
        Some(&p.publish.url),
        p.replay.url.as_ref(),
    ]
    .into_iter()
    .flatten()
    {
        http::parse_url(&http::expand_text(url, &vars))?;
    }
    Ok(p)
}

/// Four digits that tell this run's messages from an earlier run's that the hub still holds.
pub(crate) fn run_id() -> u32 {
    ((sys::now_ns() / 1_000_000 + std::process::id() as u64 * 7919) % 10_000) as u32
}

/// `n` subscribers as the profile describes them.
pub(crate) fn subs_cfg(t: &Target, p: &Profile, n: usize, run: u32) -> subs::Cfg {
    subs::Cfg {
        total: n,
        threads: t.threads.max(1),
        topics: t.topics,
        url: p.subscribe.url.clone(),
        headers: p.subscribe.headers.clone(),
        method: p.subscribe.method.clone().unwrap_or_else(|| "GET".into()),
        body: p.subscribe.body.clone(),
        run,
        any_run: false,
        last_id: String::new(),
        ramp: t.ramp.div_ceil(t.threads.max(1)),
        per_src: t.per_src,
        src_bind: n > t.per_src,
        pin: t.pin,
        pause_us: t.pause_us,
    }
}

/// One publisher as the profile describes it.
pub(crate) fn publ_cfg(t: &Target, p: &Profile, run: u32) -> publ::Cfg {
    publ::Cfg {
        url: p.publish.url.clone(),
        method: p.publish.method.clone().unwrap_or_else(|| "POST".into()),
        headers: p.publish.headers.clone(),
        body: p.publish.body.clone(),
        run,
        size: 200,
        topics: t.topics,
        batch: 1,
        conns: 1,
        rate: 0.0,
        count: 0,
        secs: 0.0,
        window: 0,
        subscribers: 0,
        first_seq: 0,
        pin: t.pin,
    }
}

/// Waits until each of `n` subscribers has its response head or failed: how many have it, after how many seconds.
pub(crate) fn wait_heads(shared: &Shared, n: usize, timeout_s: u64) -> (u64, f64) {
    let t0 = sys::now_ns();
    loop {
        let heads = shared.sum(|c| &c.heads);
        let over = heads + shared.sum(|c| &c.failed);
        let secs = (sys::now_ns() - t0) as f64 / 1e9;
        if over >= n as u64 || secs > timeout_s as f64 {
            return (heads, secs);
        }
        sys::sleep_ms(1);
    }
}

/// Nanoseconds as microseconds with one digit after the point.
pub(crate) fn us(ns: u64) -> f64 {
    (ns as f64 / 100.0).round() / 10.0
}

/// Percentiles of nanoseconds, in microseconds.
pub(crate) fn put_hist(m: &mut Map<String, Value>, key: &str, h: &Histogram<u64>) {
    if h.is_empty() {
        return;
    }
    for (n, q) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)] {
        m.insert(format!("{key}_{n}_us"), json!(us(h.value_at_quantile(q))));
    }
    m.insert(format!("{key}_max_us"), json!(us(h.max())));
}

/// `v` with so many digits after the point.
pub(crate) fn round(v: f64, digits: i32) -> f64 {
    let k = 10f64.powi(digits);
    (v * k).round() / k
}

/// `known_s`: CPU seconds of server and harness in that time. What is left over is someone else's noise.
pub(crate) fn put_machine(
    m: &mut Map<String, Value>,
    a: &sys::Machine,
    b: &sys::Machine,
    known_s: Option<f64>,
) {
    if let Some(k) = known_s {
        let wall = (b.at_ns - a.at_ns) as f64 / 1e9;
        m.insert(
            "others_cores".into(),
            json!(round(((b.busy - a.busy - k) / wall).max(0.0), 2)),
        );
    }
    let all = (b.busy - a.busy) + (b.idle - a.idle) + (b.steal - a.steal);
    if all > 0.0 {
        m.insert(
            "machine_busy_pct".into(),
            json!(round((b.busy - a.busy) / all * 100.0, 1)),
        );
        m.insert(
            "machine_steal_pct".into(),
            json!(round((b.steal - a.steal) / all * 100.0, 1)),
        );
    }
    m.insert("load1".into(), json!(sys::load1()));
}

/// What `n` connections added, for each.
pub(crate) fn per_conn(after: u64, before: u64, n: u64) -> i64 {
    (after as i64 - before as i64) / n.max(1) as i64
}

/// The first errors of both sides.
pub(crate) fn put_errors(m: &mut Map<String, Value>, subs: &[String], publ: &Option<String>) {
    let mut all: Vec<&String> = subs.iter().take(3).collect();
    all.extend(publ);
    if !all.is_empty() {
        m.insert("errors".into(), json!(all));
    }
}
