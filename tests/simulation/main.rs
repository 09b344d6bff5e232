//! Time in simulation: the pure core under a seeded scheduler with virtual clocks.
//!
//! Each step of a run does one random thing: a client asks for something, asks again because the answer was lost,
//! a heartbeat comes, time passes, the wall clock is set, a commit fails, the hub dies and folds its log from one
//! of its snapshots. [`audit`] watches every event with a model of its own; now and then everything is recounted.
//! A run depends on its seed alone, so a failing one can be replayed: it says how.
//!
//! `TIMEBACK_SIMULATION_STEPS` asks for more steps, `TIMEBACK_SIMULATION_SEED` for another first seed.

mod audit;
mod chance;
mod clients;
mod stored;
mod world;

use world::{Seen, World, missing};

/// Steps of a run without the variable: some seconds in a debug build.
const STEPS: u64 = 60_000;

/// Steps of one seed; then the next seed begins with an empty log.
const STEPS_PER_SEED: u64 = 10_000;

#[test]
fn the_invariants_hold_whatever_happens() {
    let steps = variable("TIMEBACK_SIMULATION_STEPS").unwrap_or(STEPS);
    let first = variable("TIMEBACK_SIMULATION_SEED").unwrap_or(1);
    let started = std::time::Instant::now();
    let (mut left, mut seed, mut events, mut seen) = (steps, first, 0, Seen::new());
    while left > 0 {
        let now = left.min(STEPS_PER_SEED);
        events += run(seed, now, &mut seen);
        (left, seed) = (left - now, seed + 1);
    }
    println!(
        "{steps} steps over seeds {first} to {}: {events} events in {:.1} s",
        seed - 1,
        started.elapsed().as_secs_f64()
    );
    println!("{seen:?}");
    if steps >= STEPS {
        assert_eq!(missing(&seen), [""; 0], "left out: {seen:?}");
    }
}

/// Plays one seed and adds what happened; how many events there were.
fn run(seed: u64, steps: u64, seen: &mut Seen) -> u64 {
    let mut replay = Replay { seed, step: 0 };
    let mut world = World::new(seed);
    while replay.step < steps {
        replay.step += 1;
        world.step();
        if replay.step.is_multiple_of(250) || replay.step == steps {
            world.recount();
        }
    }
    for (what, count) in world.seen() {
        *seen.entry(what).or_default() += count;
    }
    world.events()
}

/// Says how to replay a run that failed.
struct Replay {
    seed: u64,
    step: u64,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "seed {} failed at step {}; to replay it:\n  TIMEBACK_SIMULATION_SEED={} TIMEBACK_SIMULATION_STEPS={} \
                 cargo test --test simulation",
                self.seed, self.step, self.seed, self.step
            );
        }
    }
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
    )
}
