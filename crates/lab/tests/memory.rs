//! Devices whose memory is cut: the power goes with a write, after any octet, or the write merely fails, while the air is
//! bad and the core is killed. (Every octet of every write, one by one, is the device crate's own test.)
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // Tests: a failure is a panic.

mod common;

use ambit_lab::scenario::{Scenario, Scene};
use ambit_lab::store::SharedStore;
use ambit_lab::witness::Witness;
use ambit_ran::fleet::{DeviceIndex, MemoryFaults};
use common::*;

/// Lets the memories fail: some at every write at first, some now and then, with the power or without.
fn spoil_memories(scene: &mut Scene, rng: &mut fastrand::Rng) {
    let devices = scene.scenario().devices.len() as u32;
    for device in 0..devices {
        let faults = MemoryFaults {
            seed: rng.u64(..),
            writes_before: 0,
            probability: if rng.bool() { 1.0 } else { rng.f64() },
            faults_max: rng.u32(1..30),
            power_back_ms: rng.bool().then(|| rng.u64(1..15_000)),
        };
        let fleet = scene.stage.site_mut().fleet_mut();
        assert!(fleet.set_memory_faults(DeviceIndex(device), Some(faults)));
    }
}

fn run(seed: u64) -> u64 {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut scenario = Scenario {
        up: bad_channel(&mut rng),
        down: bad_channel(&mut rng),
        ..mixed(seed, &mut rng)
    };
    // A memory can be spoilt before it is powered only.
    for kind in &mut scenario.devices {
        kind.power_on_ms = kind.power_on_ms.map(|at_ms| at_ms + 1);
    }
    let period_ms = u64::from(scenario.period_s) * 1000;
    let store = SharedStore::new().unwrap();
    let mut scene = scenario.build(Box::new(store.clone())).unwrap();
    let witness = Witness::join(scene.stage.site_mut());
    spoil_memories(&mut scene, &mut rng);
    let bad_ms = rng.u64(60_000..240_000);
    if rng.bool() {
        random_power(&mut scene, bad_ms, &mut rng);
    }
    if rng.u8(..4) == 0 {
        scene.stage.advance(bad_ms / 2);
        scene.stage.crash_after_commit();
        scene.stage.advance(bad_ms / 2 + 10_000);
        drop(scene.stage.kill_core());
        scene.start_core(Box::new(store.clone())).unwrap();
    }
    scene.stage.advance(bad_ms);

    let orphans = orphans_when_good(&mut scene, 600_000);
    assert!(orphans.is_empty(), "orphans:{}", describe(&scene, &orphans));
    let judgement = verdict(&scene, &store);
    // Where power comes and goes, a report may come in behind the next registration.
    let is_safe = judgement.is_safe_but_for_held_registrations();
    assert!(is_safe, "{judgement:?}");
    assert_eq!(witness.answered_differently(), 0);
    let fleet = scene.stage.site().fleet();
    assert_eq!(witness.linkable_t_ids(fleet, period_ms), 0);
    scene.stage.site().now_ms()
}

#[test]
fn cut_memories_lose_no_device() {
    for_seeds("cut_memories_lose_no_device", 1_500, run);
}

/// The control: a memory that never works leaves a counter device without reports, and no other.
#[test]
fn a_memory_that_never_works_silences_counter_devices() {
    for_seeds(
        "a_memory_that_never_works_silences_counter_devices",
        20,
        |seed| {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut scenario = mixed(seed, &mut rng);
            for kind in &mut scenario.devices {
                kind.power_on_ms = Some(1);
            }
            let mut scene = scenario
                .build(Box::new(SharedStore::new().unwrap()))
                .unwrap();
            for device in 0..scene.scenario().devices.len() as u32 {
                let faults = MemoryFaults {
                    seed,
                    writes_before: 0,
                    probability: 1.0,
                    faults_max: u32::MAX,
                    power_back_ms: None,
                };
                let fleet = scene.stage.site_mut().fleet_mut();
                assert!(fleet.set_memory_faults(DeviceIndex(device), Some(faults)));
            }
            let orphans = orphans_when_good(&mut scene, 120_000);
            let kinds = scene.scenario().devices.iter().enumerate();
            let counted = kinds.filter(|(_, kind)| kind.form.has_counter());
            assert_eq!(orphans, counted.map(|(n, _)| n).collect::<Vec<_>>());
            scene.stage.site().now_ms()
        },
    );
}
