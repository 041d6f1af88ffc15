//! A bad air: loss, delay, duplication and reordering, epochs that roll, power that comes and goes. When the air is good
//! again every device is accepted, and the records are true.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // Tests: a failure is a panic.

mod common;

use ambit_lab::scenario::Scenario;
use ambit_lab::store::SharedStore;
use ambit_lab::witness::Witness;
use common::*;

fn run(seed: u64, with_power_cycles: bool) -> u64 {
    let mut rng = fastrand::Rng::with_seed(seed);
    let scenario = Scenario {
        up: bad_channel(&mut rng),
        down: bad_channel(&mut rng),
        ..mixed(seed, &mut rng)
    };
    let period_ms = u64::from(scenario.period_s) * 1000;
    let store = SharedStore::new().unwrap();
    let mut scene = scenario.build(Box::new(store.clone())).unwrap();
    let witness = Witness::join(scene.stage.site_mut());
    let bad_ms = rng.u64(60_000..240_000);
    if with_power_cycles {
        random_power(&mut scene, bad_ms, &mut rng);
    }
    scene.stage.advance(bad_ms);

    let orphans = orphans_when_good(&mut scene, 300_000);
    assert!(orphans.is_empty(), "orphans:{}", describe(&scene, &orphans));
    let judgement = verdict(&scene, &store);
    // A report that was under way when its device lost power may come in behind the next registration.
    let is_safe = match with_power_cycles {
        true => judgement.is_safe_but_for_held_registrations(),
        false => judgement.is_safe(),
    };
    assert!(is_safe, "{judgement:?}");
    assert_eq!(witness.answered_differently(), 0);
    let fleet = scene.stage.site().fleet();
    assert_eq!(witness.linkable_t_ids(fleet, period_ms), 0);
    scene.stage.site().now_ms()
}

#[test]
fn every_device_is_accepted_after_a_bad_air() {
    for_seeds("every_device_is_accepted_after_a_bad_air", 1000, |seed| {
        run(seed, false)
    });
}

#[test]
fn every_device_is_accepted_after_a_bad_air_and_power_cycles() {
    for_seeds(
        "every_device_is_accepted_after_a_bad_air_and_power_cycles",
        1_000,
        |seed| run(seed, true),
    );
}

/// What a printed seed is worth.
#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..20 {
        let run = || {
            let mut rng = fastrand::Rng::with_seed(seed);
            let scenario = Scenario {
                up: bad_channel(&mut rng),
                down: bad_channel(&mut rng),
                ..mixed(seed, &mut rng)
            };
            let store = SharedStore::new().unwrap();
            let mut scene = scenario.build(Box::new(store.clone())).unwrap();
            let witness = Witness::join(scene.stage.site_mut());
            random_power(&mut scene, 60_000, &mut rng);
            scene.stage.advance(70_000);
            (*scene.stage.site().fleet_stats(), witness.reports())
        };
        assert_eq!(run(), run(), "seed {seed}");
    }
}
