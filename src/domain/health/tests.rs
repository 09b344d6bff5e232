use proptest::prelude::*;

use super::*;
use crate::domain::{Json, event::HealthSource};
use Health::{Degraded, Healthy, Unhealthy};

const RULES: Rules = Rules {
    interval_ms: 1000,
    unhealthy_after: 3,
    disconnect_after: 10,
    recover_after: 2,
};

fn lease() -> Lease {
    Lease::new(1000, 0)
}

/// A heartbeat at this time, misses counted before.
fn beat(lease: &mut Lease, now: u64) {
    lease.elapse(now, &RULES);
    lease.heartbeat(now, &RULES);
}

/// What is known after these reports.
fn reported(reports: &[(Health, Option<&str>)]) -> Condition {
    let mut condition = Condition::default();
    for (health, detail) in reports {
        condition.hear_report(*health, *detail, RULES.recover_after);
    }
    condition
}

#[test]
fn heartbeat_k_is_missed_at_last_seen_plus_k_and_a_half_intervals() {
    let table = [
        (0, 0, Healthy),
        (1499, 0, Healthy),
        (1500, 1, Degraded),
        (2499, 1, Degraded),
        (2500, 2, Degraded),
        (3499, 2, Degraded),
        (3500, 3, Unhealthy),
        (10_499, 9, Unhealthy),
        (10_500, 10, Unhealthy),
    ];
    for (now, missed, health) in table {
        let mut lease = lease();
        lease.elapse(now, &RULES);
        assert_eq!(
            (lease.missed(), lease.health()),
            (missed, health),
            "at {now}"
        );
    }
    assert_eq!(lease().ends_at(&RULES, false), 10_500);
    assert_eq!(lease().ends_at(&RULES, true), 21_000);
}

#[test]
fn a_heartbeat_zeroes_the_count_and_not_the_verdict() {
    let mut lease = lease();
    lease.elapse(3500, &RULES);
    beat(&mut lease, 3600);
    assert_eq!((lease.missed(), lease.health()), (0, Unhealthy));
    beat(&mut lease, 4600);
    assert_eq!(lease.health(), Healthy, "straight to healthy");
}

#[test]
fn recovery_takes_heartbeats_half_an_interval_apart_without_a_miss() {
    let table: [(&[u64], Health); 7] = [
        (&[2000], Degraded),
        (&[2000, 2100, 2200, 2499], Degraded),
        (&[2000, 2499, 2500], Healthy),
        (&[2000, 2500], Healthy),
        (&[2000, 3499], Healthy),
        (&[2000, 3500], Degraded),
        (&[2000, 3500, 4500], Healthy),
    ];
    for (beats, health) in table {
        let mut lease = lease();
        lease.elapse(1500, &RULES);
        for now in beats {
            beat(&mut lease, *now);
        }
        assert_eq!(lease.health(), health, "{beats:?}");
    }
}

#[test]
fn a_worse_report_counts_at_once_and_a_better_one_by_as_many() {
    let (h, d, u) = (Healthy, Degraded, Unhealthy);
    let table: [(&[Health], Health); 8] = [
        (&[d], Degraded),
        (&[u], Unhealthy),
        (&[d, h], Degraded),
        (&[d, h, h], Healthy),
        (&[d, h, d, h], Degraded),
        (&[u, d, h], Degraded),
        (&[u, h, h], Healthy),
        (&[u, d, h, h, h], Healthy),
    ];
    for (reports, health) in table {
        let reports: Vec<_> = reports.iter().map(|health| (*health, None)).collect();
        assert_eq!(reported(&reports).verdict(), health, "{reports:?}");
    }
}

#[test]
fn the_worse_of_lease_and_report_is_the_verdict_and_tells_why() {
    let slow = Some("database is slow");
    let mut condition = reported(&[(Degraded, slow)]);
    let own = Some("database is slow".to_owned());
    assert_eq!(
        condition.grounds(None),
        ("reported", HealthSource::Itself, own)
    );

    let mut lease = lease();
    lease.elapse(3500, &RULES);
    condition.hear_lease(lease.health());
    assert_eq!(condition.verdict(), Unhealthy);
    let words = lease.words(3500, &RULES);
    assert_eq!(
        words,
        "no heartbeat for 3.5 s; 3 missed, expected every 1 s"
    );
    assert_eq!(
        condition.grounds(Some(&words)),
        (
            "missed_heartbeats",
            HealthSource::Lease,
            Some(words.clone())
        )
    );

    beat(&mut lease, 3600);
    beat(&mut lease, 4600);
    condition.hear_lease(lease.health());
    assert_eq!(condition.verdict(), Degraded, "the report still stands");
    assert_eq!(condition.grounds(None).0, "reported");

    condition.hear_report(Healthy, None, RULES.recover_after);
    assert_eq!(condition.verdict(), Degraded);
    condition.hear_report(Healthy, None, RULES.recover_after);
    assert_eq!(condition.verdict(), Healthy);
    assert_eq!(
        condition.grounds(None).2.as_deref(),
        Some("reported healthy")
    );
}

#[test]
fn what_is_known_is_the_same_written_down_and_read_back() {
    let mut condition = reported(&[(Unhealthy, Some("broken")), (Degraded, Some("so-so"))]);
    let text = serde_json::to_string(&condition).unwrap();
    let mut again: Condition = serde_json::from_str(&text).unwrap();
    assert_eq!(again, condition);
    for condition in [&mut condition, &mut again] {
        condition.hear_report(Healthy, None, RULES.recover_after);
        assert_eq!(
            condition.verdict(),
            Degraded,
            "the count of better ones goes on"
        );
    }
}

#[test]
fn a_healed_lease_says_that_heartbeats_resumed() {
    let (mut lease, mut condition) = (lease(), Condition::default());
    lease.elapse(1500, &RULES);
    condition.hear_lease(lease.health());
    beat(&mut lease, 2000);
    beat(&mut lease, 3000);
    condition.hear_lease(lease.health());
    let (reason, source, _) = condition.grounds(None);
    assert_eq!(
        (reason, source),
        ("heartbeats_resumed", HealthSource::Lease)
    );
}

#[test]
fn after_a_restart_red_stays_red_and_silence_says_since_when() {
    let restarted = Arc::from("2026-11-22T08:00:00Z");
    let mut lease = Lease::restored(1000, 5000, Unhealthy, restarted);
    assert_eq!((lease.health(), lease.missed()), (Unhealthy, 0));
    assert_eq!(lease.next_miss(), 6500, "one fresh interval");
    lease.elapse(6500, &RULES);
    assert_eq!((lease.health(), lease.missed()), (Unhealthy, 1));
    assert_eq!(
        lease.words(6500, &RULES),
        "not seen since the hub restarted at 2026-11-22T08:00:00Z; 1 missed, expected every 1 s"
    );
    beat(&mut lease, 6600);
    beat(&mut lease, 7200);
    assert_eq!(lease.health(), Healthy);
}

#[test]
fn spans_read_well() {
    let table = [
        (0, "0 ms"),
        (150, "150 ms"),
        (1000, "1 s"),
        (1500, "1.5 s"),
        (31_400, "31 s"),
        (599_999, "599 s"),
        (720_000, "12 min"),
        (36_000_000, "10 h"),
    ];
    for (ms, text) in table {
        assert_eq!(words(ms), text);
    }
}

#[test]
fn a_heartbeat_is_read_quickly_or_with_its_mistakes() {
    let good = r#"{"health":"degraded","detail":null,"metrics":{"cpu":0.50},"occurredAt":5}"#;
    let quick = Heartbeat::from_slice(good.as_bytes()).unwrap();
    let slow = Heartbeat::parse(Json::parse(good).unwrap().root(), "").unwrap();
    assert_eq!(quick, slow);
    assert_eq!(quick.health, Some(Degraded));

    let bad = r#"{"health":"fine","detail":7,"instanceId":"a b","metrics":{"a/b":"x"}}"#;
    assert_eq!(Heartbeat::from_slice(bad.as_bytes()), None);
    let deep = format!("{{\"more\":{}{}}}", "[".repeat(64), "]".repeat(64));
    for other in [
        &b"[\"degraded\"]"[..],
        b"{\"more\":1}",
        b"{\"occurredAt\":5e3}",
        b"{\"metrics\":{\"a\":1,\"a\":2}}",
        b"{\"more\":\"\xe4\"}",
        deep.as_bytes(),
    ] {
        assert_eq!(Heartbeat::from_slice(other), None);
    }
    let errors = Heartbeat::parse(Json::parse(bad).unwrap().root(), "/2").unwrap_err();
    let pointers: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
    assert_eq!(
        pointers,
        ["/2/health", "/2/detail", "/2/instanceId", "/2/metrics/a~1b"]
    );
}

#[derive(Debug, Clone)]
enum Step {
    Beat,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![Just(Step::Beat), (1_u64..4000).prop_map(Step::Wait)]
}

proptest! {
    #[test]
    fn time_never_heals_and_heartbeats_on_time_never_harm(steps in prop::collection::vec(step(), 1..60)) {
        let (mut lease, mut now) = (lease(), 0);
        for step in steps {
            let before = lease.health();
            match step {
                Step::Beat => {
                    lease.heartbeat(now, &RULES);
                    prop_assert!(lease.health() <= before);
                    prop_assert_eq!(lease.missed(), 0);
                    prop_assert_eq!(lease.next_miss(), now + 1500);
                }
                Step::Wait(ms) => {
                    now += ms;
                    lease.elapse(now, &RULES);
                    prop_assert!(lease.health() >= before);
                }
            }
            prop_assert!(lease.next_miss() > now);
        }
    }

    #[test]
    fn counting_in_one_go_or_in_many_is_the_same(times in prop::collection::vec(0_u64..30_000, 1..20), interval in 1_u64..5000) {
        let mut times = times;
        times.sort_unstable();
        let mut often = Lease::new(interval, 0);
        for now in &times {
            often.elapse(*now, &RULES);
        }
        let mut once = Lease::new(interval, 0);
        once.elapse(times[times.len() - 1], &RULES);
        prop_assert_eq!(often, once);
    }

    #[test]
    fn a_miss_counts_at_its_time_and_not_before(interval in 1_u64..5000, k in 1_u32..30) {
        let mut lease = Lease::new(interval, 7);
        for expected in 1..=k {
            let due = lease.next_miss();
            lease.elapse(due - 1, &RULES);
            prop_assert_eq!(lease.missed(), expected - 1);
            lease.elapse(due, &RULES);
            prop_assert_eq!(lease.missed(), expected);
        }
    }
}
