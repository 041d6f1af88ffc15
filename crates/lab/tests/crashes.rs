//! The core is killed at any moment, also between the commit of a record and its ACCEPT, and comes back on the same store.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // Tests: a failure is a panic.

mod common;

use std::path::PathBuf;

use ambit_lab::judge::judge;
use ambit_lab::scenario::{Scenario, Scene};
use ambit_lab::store::SharedStore;
use ambit_lab::witness::Witness;
use ambit_store::{FILE_NAME, SqliteStore, Store};
use common::*;

/// Where a core finds its store again.
enum Place {
    Memory(SharedStore),
    File(PathBuf),
}

impl Place {
    fn open(&self) -> Box<dyn Store> {
        match self {
            Self::Memory(store) => Box::new(store.clone()),
            Self::File(path) => Box::new(SqliteStore::open(path).unwrap()),
        }
    }
}

/// Kills the core up to six times, half of them in the middle of an acceptance. Returns how many those were.
fn kill_often(scene: &mut Scene, place: &Place, rng: &mut fastrand::Rng) -> u32 {
    let mut mid_acceptance = 0;
    for _ in 0..rng.u32(1..=6) {
        let now_ms = scene.stage.site().now_ms();
        let is_armed = rng.bool();
        if is_armed {
            scene.stage.crash_after_commit();
        }
        scene.stage.advance(now_ms + rng.u64(1..25_000));
        mid_acceptance += u32::from(is_armed && scene.stage.core().is_none());
        drop(scene.stage.kill_core());
        let now_ms = scene.stage.site().now_ms();
        scene.stage.advance(now_ms + rng.u64(0..30_000));
        scene.start_core(place.open()).unwrap();
    }
    mid_acceptance
}

fn run(seed: u64, place: &Place) -> (u64, u32) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (up, down) = match rng.bool() {
        true => (bad_channel(&mut rng), bad_channel(&mut rng)),
        false => (Scenario::new(0).up, Scenario::new(0).down),
    };
    let scenario = Scenario {
        up,
        down,
        ..mixed(seed, &mut rng)
    };
    let period_ms = u64::from(scenario.period_s) * 1000;
    let mut scene = scenario.build(place.open()).unwrap();
    let witness = Witness::join(scene.stage.site_mut());
    if rng.u8(..4) == 0 {
        random_power(&mut scene, 90_000, &mut rng);
    }
    let mid_acceptance = kill_often(&mut scene, place, &mut rng);
    let now_ms = scene.stage.site().now_ms();
    scene.stage.advance(now_ms.max(95_000));

    let orphans = orphans_when_good(&mut scene, 300_000);
    assert!(orphans.is_empty(), "orphans:{}", describe(&scene, &orphans));
    let judgement = judge(scene.stage.site().fleet(), place.open().as_mut()).unwrap();
    // Where power comes and goes, a report may come in behind the next registration.
    let is_safe = judgement.is_safe_but_for_held_registrations();
    assert!(is_safe, "{judgement:?}");
    assert_eq!(witness.answered_differently(), 0);
    let fleet = scene.stage.site().fleet();
    assert_eq!(witness.linkable_t_ids(fleet, period_ms), 0);
    (scene.stage.site().now_ms(), mid_acceptance)
}

#[test]
fn a_killed_core_goes_on_from_memory() {
    let mut mid_acceptance = 0;
    for_seeds("a_killed_core_goes_on_from_memory", 1_000, |seed| {
        let place = Place::Memory(SharedStore::new().unwrap());
        let (virtual_ms, crashes) = run(seed, &place);
        mid_acceptance += crashes;
        virtual_ms
    });
    println!("crashes between commit and ACCEPT: {mid_acceptance}");
    assert!(mid_acceptance > 0 || std::env::var_os("AMBIT_SEED").is_some());
}

#[test]
fn a_killed_core_goes_on_from_a_file() {
    let directory = tempfile::tempdir().unwrap();
    for_seeds("a_killed_core_goes_on_from_a_file", 60, |seed| {
        let directory = directory.path().join(seed.to_string());
        std::fs::create_dir(&directory).unwrap();
        run(seed, &Place::File(directory.join(FILE_NAME))).0
    });
}
