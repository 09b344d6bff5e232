//! What concerns the hub itself: its doubt, its stalls, its restart.

use super::*;

#[test]
fn a_fleet_that_falls_silent_at_once_is_not_disconnected_before_twice_the_time() {
    let mut world = World::with(&["a", "b", "c", "d"]);
    let since = world.clock.wall_ms() + 1500;
    world.pass(1500);
    let suspect = Some(SelfSuspect { since, silent: 4 });
    assert_eq!(world.leases.suspect(), suspect);
    assert_eq!(world.health("a"), Degraded, "only disconnects wait");
    world.pass(9450);
    assert!(world.is_connected("a"), "until 11 s: twice 5.5 s");
    world.pass(50);
    assert!(!world.is_connected("a"));
    world.pass(1000);
    assert_eq!(world.state.servers.tally().lost, 4);
    assert_eq!(world.leases.suspect(), None);
}

#[test]
fn suspicion_ends_when_half_are_back_and_the_rest_are_lost_as_ever() {
    let mut world = World::with(&["a", "b", "c", "d"]);
    world.pass(6000);
    assert!(world.leases.suspect().is_some() && world.is_connected("d"));
    world.beat("a");
    world.pass(500);
    assert!(world.leases.suspect().is_some());
    world.beat("b");
    world.live(1500, &["a", "b"]);
    assert_eq!(world.leases.suspect(), None);
    assert!(!world.is_connected("c") && !world.is_connected("d"));
    assert!(world.is_connected("a") && world.is_connected("b"));
}

#[test]
fn few_or_scattered_silences_are_no_doubt_about_the_hub() {
    let mut world = World::with(&["a", "b", "c", "d"]);
    world.live(5000, &["c", "d"]);
    assert_eq!(world.leases.suspect(), None, "half is not more than half");
    world.pass(1000);
    assert!(!world.is_connected("a"));

    let mut world = World::with(&["a", "b"]);
    world.pass(1500);
    assert_eq!(
        world.leases.suspect(),
        None,
        "two servers say nothing about the hub"
    );
}

#[test]
fn a_stall_of_the_hubs_own_timers_counts_for_nobody() {
    let mut world = World::with(&["a"]);
    world.pass(1000);
    world.clock.advance(60_000);
    // A heartbeat that waited in a socket is taken in before the monitor wakes.
    world.register("b", &json!({}));
    world.leases.forgive(60_000);
    world.tick();
    world.pass(400);
    assert_eq!((world.health("a"), world.health("b")), (Healthy, Healthy));
    world.pass(100);
    assert_eq!(world.health("a"), Degraded, "then time goes on");
    assert_eq!(world.health("b"), Healthy);
    world.pass(1000);
    assert_eq!(
        world.health("b"),
        Degraded,
        "its time begins where the stall ends"
    );
}

#[test]
fn after_a_restart_everybody_has_a_fresh_interval_and_red_stays_red() {
    let mut world = World::with(&["ill", "said", "well"]);
    let slow = Heartbeat {
        detail: Some("slow".to_owned()),
        ..report(Degraded)
    };
    world.beat_with("said", &slow).unwrap();
    world.live(3500, &["said", "well"]);
    assert_eq!(world.health("ill"), Unhealthy);
    let saved = world.leases.save().unwrap();
    assert_eq!(world.leases.save(), None, "nobody was heard of since");
    let seen_at = world.leases.last_seen_at(&world.state, &id("well"), None);

    world.clock.advance(600_000);
    world.leases = Leases::recover(RULES, world.clock.clone(), &world.state, &saved);
    world.told.clear();
    world.pass(1450);
    assert!(world.told.is_empty(), "{:?}", world.told);
    assert_eq!(
        world.leases.last_seen_at(&world.state, &id("well"), None),
        seen_at
    );
    let view = |world: &World, name: &str| world.view(name);
    let ill = view(&world, "ill");
    assert_eq!(ill.health, Unhealthy);
    let detail = ill.detail.unwrap();
    assert!(
        detail.starts_with("not seen since the hub restarted at 20"),
        "{detail}"
    );
    assert_eq!(view(&world, "said").detail.as_deref(), Some("slow"));
    assert_eq!(view(&world, "well").detail, None);

    world.pass(50);
    assert_eq!(world.health("well"), Degraded);
    let detail = view(&world, "well").detail.unwrap();
    assert!(
        detail.contains("not seen since the hub restarted at"),
        "{detail}"
    );
    assert!(detail.ends_with("1 missed, expected every 1 s"), "{detail}");
}
