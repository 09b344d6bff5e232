//! State and leases under any sequence of deeds.

use proptest::prelude::*;

use super::*;

/// Whatever happens in whatever order, after some quiet the state's verdicts are the leases', and each
/// connected server has exactly one timer.
#[test]
fn state_and_leases_agree_in_the_end() {
    #[derive(Debug, Clone)]
    enum Deed {
        Beat(usize, Option<Health>),
        Register(usize, u8),
        Leave(usize),
        Pass(u32),
        Full(bool),
        Stall(u32),
    }
    let names = ["a", "b", "c", "d"];
    let health = prop::sample::select(vec![None, Some(Healthy), Some(Degraded), Some(Unhealthy)]);
    let deed = prop_oneof![
        4 => (0..names.len(), health).prop_map(|(who, health)| Deed::Beat(who, health)),
        2 => (0..names.len(), 0_u8..2).prop_map(|(who, instance)| Deed::Register(who, instance)),
        1 => (0..names.len()).prop_map(Deed::Leave),
        4 => (0_u32..3000).prop_map(Deed::Pass),
        1 => any::<bool>().prop_map(Deed::Full),
        1 => (100_u32..5000).prop_map(Deed::Stall),
    ];
    proptest!(ProptestConfig::with_cases(64), |(deeds in prop::collection::vec(deed, 1..40))| {
        let mut world = World::with(&names);
        for deed in deeds {
            match deed {
                Deed::Beat(who, health) => {
                    let heartbeat = Heartbeat { health, ..Heartbeat::default() };
                    let known = world.beat_with(names[who], &heartbeat).is_ok();
                    prop_assert_eq!(known, world.is_connected(names[who]));
                }
                Deed::Register(who, instance) => {
                    world.register(names[who], &json!({"instanceId": format!("i{instance}")}));
                }
                Deed::Leave(who) => {
                    let leave = Deregister { server: id(names[who]), reason: "bye".to_owned(), connection: None,
                        instance_id: None, expected: None, last_seen_at: None, occurred_at: None };
                    world.execute(&Command::Deregister(leave));
                }
                Deed::Pass(ms) => world.pass(ms),
                Deed::Full(is_full) => world.is_full = is_full,
                Deed::Stall(ms) => {
                    world.clock.advance(ms);
                    world.leases.forgive(ms.into());
                }
            }
        }
        world.is_full = false;
        world.pass(2000);
        let connected = names.iter().filter(|name| world.is_connected(name)).count();
        prop_assert_eq!(world.leases.connected.load(Ordering::Relaxed), connected);
        prop_assert_eq!(world.leases.timers.lock().len(), connected);
        for name in names.iter().filter(|name| world.is_connected(name)) {
            let server = world.state.servers.get(&id(name)).unwrap();
            let instance = server.instances.only().unwrap();
            let shard = world.leases.shard(instance.connection);
            let entry = shard.get(&instance.connection).unwrap();
            prop_assert_eq!(entry.lease.health(), instance.condition.lease);
            prop_assert_eq!(instance.condition.verdict(), server.health);
            prop_assert!(!entry.asking);
        }
        world.pass(20_000);
        prop_assert!(names.iter().all(|name| !world.is_connected(name)), "silence ends every lease");
        prop_assert_eq!(world.leases.suspect(), None);
    });
}
