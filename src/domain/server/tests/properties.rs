//! What holds after any sequence of decided events.

use proptest::prelude::*;

use super::*;
use crate::domain::{InstanceId, command::SelfReport, event::EventType};

/// Something that happens to one of three servers.
#[derive(Debug, Clone)]
enum Deed {
    Register(u8, Option<u8>, bool),
    Leave(u8, Option<u8>, bool),
    Turn(u8, Option<u8>, Health),
    Report(u8, Option<u8>, Health),
    Wait(i64),
}

fn deed() -> impl Strategy<Value = Deed> {
    let health = prop::sample::select(vec![Healthy, Degraded, Unhealthy]);
    let which = || (0_u8..3, prop::option::of(0_u8..3));
    prop_oneof![
        (which(), any::<bool>())
            .prop_map(|((who, instance), many)| Deed::Register(who, instance, many)),
        (which(), any::<bool>())
            .prop_map(|((who, instance), lost)| Deed::Leave(who, instance, lost)),
        (which(), health.clone())
            .prop_map(|((who, instance), health)| Deed::Turn(who, instance, health)),
        (which(), health).prop_map(|((who, instance), health)| Deed::Report(who, instance, health)),
        // The wall clock may be set back.
        (-20_i64..60).prop_map(Deed::Wait),
    ]
}

fn play(deeds: &[Deed]) -> Fleet {
    let policy = Policy {
        state_retention_age_ms: 100,
        state_retention_count: 2,
        max_servers: 3,
        ..Policy::default()
    };
    let mut fleet = Fleet {
        policy,
        now: 1000,
        ..Fleet::default()
    };
    let name = |who: u8| id(["a", "b", "c"][usize::from(who)]);
    for deed in deeds {
        match deed {
            Deed::Register(who, instance, many) => {
                let mut body = json!({"id": name(*who).as_str(), "capabilities": {"tools": ["t"]},
                    "instances": if *many { "many" } else { "one" }});
                if let Some(instance) = instance {
                    body["instanceId"] = instance.to_string().into();
                }
                let registered =
                    fleet
                        .servers
                        .register(&register(body), &fleet.policy, at(fleet.now));
                if let Ok(decision) = registered {
                    fleet.append(decision);
                }
            }
            Deed::Leave(who, instance, lost) => {
                let reason = if *lost {
                    HEARTBEAT_TIMEOUT
                } else {
                    DEREGISTERED
                };
                let decision = fleet.servers.deregister(
                    &Deregister {
                        server: name(*who),
                        instance_id: instance_id(*instance),
                        ..leave(reason)
                    },
                    at(fleet.now),
                );
                if let Ok(decision) = decision {
                    fleet.append(decision);
                }
            }
            Deed::Turn(who, instance, health) => {
                let instance_id = instance_id(*instance);
                let server = fleet.servers.get(&name(*who));
                let connection = server
                    .and_then(|server| server.instances.get(instance_id.as_ref()))
                    .map_or(0, |instance| instance.connection);
                fleet.turn(&ChangeHealth {
                    server: name(*who),
                    instance_id,
                    ..verdict(connection, *health)
                });
            }
            Deed::Report(who, instance, health) => {
                let report = ChangeHealth {
                    server: name(*who),
                    instance_id: instance_id(*instance),
                    connection: None,
                    lease: None,
                    report: Some(SelfReport {
                        health: *health,
                        detail: None,
                    }),
                    last_seen_at: None,
                    occurred_at: None,
                };
                let heard = fleet
                    .servers
                    .change_health(&report, &fleet.policy, fleet.now);
                if let Ok(decision) = heard {
                    fleet.append(decision);
                }
            }
            Deed::Wait(ms) => fleet.now += ms,
        }
    }
    fleet
}

fn instance_id(instance: Option<u8>) -> Option<InstanceId> {
    instance.map(|instance| InstanceId::parse(&instance.to_string()).unwrap())
}

fn recount(servers: &Servers) -> Tally {
    let mut tally = Tally::default();
    for server in servers.after(None) {
        tally.add(server);
    }
    tally
}

fn same(a: &Servers, b: &Servers) -> bool {
    a.by_id == b.by_id && a.gone == b.gone && a.tally == b.tally
}

proptest! {
    #[test]
    fn counts_equal_a_recount_and_indices_the_servers(deeds in prop::collection::vec(deed(), 0..80)) {
        let fleet = play(&deeds);
        prop_assert_eq!(fleet.servers.tally(), recount(&fleet.servers));
        let gone: Vec<_> = fleet.servers.after(None).filter_map(|server| server.gone_key()).collect();
        prop_assert_eq!(fleet.servers.gone.size(), gone.len());
        prop_assert!(gone.iter().all(|key| fleet.servers.gone.contains_key(key)));
        prop_assert!(gone.len() <= 2);
    }

    #[test]
    fn a_server_is_connected_while_an_instance_is_and_as_healthy_as_the_best(deeds in prop::collection::vec(deed(), 0..80)) {
        let fleet = play(&deeds);
        for server in fleet.servers.after(None) {
            let verdicts: Vec<_> = server.instances.connected().map(|instance| instance.condition.verdict()).collect();
            prop_assert_eq!(server.is_connected(), !verdicts.is_empty());
            prop_assert!(server.mode == Mode::Many || verdicts.len() <= 1);
            if let Some(best) = verdicts.iter().min() {
                prop_assert_eq!(server.instances.best(), Some(*best));
                prop_assert_eq!(server.health, *best);
            }
        }
    }

    #[test]
    fn between_two_connects_of_one_server_stands_a_disconnect(deeds in prop::collection::vec(deed(), 0..80)) {
        let mut connected = std::collections::BTreeSet::new();
        for event in play(&deeds).log {
            let server = event.what.server.clone().unwrap();
            match event.what.data.kind() {
                EventType::ServerConnected => prop_assert!(connected.insert(server)),
                EventType::ServerDisconnected => { connected.remove(&server); }
                _ => prop_assert!(connected.contains(&server)),
            }
        }
    }

    #[test]
    fn a_fold_over_any_split_saved_and_restored_is_the_same(deeds in prop::collection::vec(deed(), 0..60), split in 0_usize..100) {
        let fleet = play(&deeds);
        let mut servers = Servers::default();
        let split = split.min(fleet.log.len());
        for (at, event) in fleet.log.iter().enumerate() {
            if at == split {
                let saved = serde_json::to_string(&servers.save()).unwrap();
                let restored = Servers::restore(serde_json::from_str(&saved).unwrap());
                prop_assert!(same(&servers, &restored));
                servers = restored;
            }
            servers.evolve(event, event.timestamp);
            servers.expire(event.timestamp, &fleet.policy);
        }
        // What is kept beside the log holds whichever event came last.
        for note in &fleet.notes {
            servers.note(note);
        }
        prop_assert!(same(&servers, &fleet.servers));
    }
}
