//! The store goes back: an older copy is put in its place, it is lost altogether, or the core's clock was wrong. What was
//! accepted in the time between is not accepted again, and the devices come back without an operator.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // Tests: a failure is a panic.

mod common;

use std::collections::BTreeSet;

use ambit_adm_api::{AdmClient, DoaReport, Outcome, Verdict};
use ambit_lab::scenario::{Scenario, Scene};
use ambit_lab::store::SharedStore;
use ambit_lab::witness::{HeardReport, Witness};
use ambit_protocol::Form;
use ambit_protocol::wire::ReportView;
use ambit_ran::frame::RadioId;
use ambit_store::Store;
use common::*;

/// What a rollback scene found out.
#[derive(Default)]
struct Found {
    virtual_ms: u64,
    /// Reports replayed that are not blind.
    replayed: u64,
    /// Blind reports accepted a second time.
    blind_again: u64,
}

/// A scene with a copy of its store, which has gone on for some epochs since and then lost its core.
struct Rolled {
    scene: Scene,
    witness: Witness,
    copy: SharedStore,
    /// What was heard in the time between, and only then.
    between: Vec<HeardReport>,
}

fn roll_back(seed: u64, rng: &mut fastrand::Rng) -> Rolled {
    let channel = match rng.bool() {
        true => bad_channel(rng),
        false => Scenario::new(0).up,
    };
    let scenario = Scenario {
        up: channel,
        down: channel,
        ..mixed(seed, rng)
    };
    let period_ms = u64::from(scenario.period_s) * 1000;
    let store = SharedStore::new().unwrap();
    let mut scene = scenario.build(Box::new(store.clone())).unwrap();
    let witness = Witness::join(scene.stage.site_mut());
    scene.stage.advance(rng.u64(1_000..60_000));

    let copy = SharedStore::copy(&mut store.clone(), scene.snid()).unwrap();
    let before: BTreeSet<Vec<u8>> = witness.reports().into_iter().map(|r| r.octets).collect();
    let copied_ms = scene.stage.site().now_ms();
    // At least one epoch ends between the copy and the crash.
    let next_epoch_ms = (copied_ms / period_ms + 1) * period_ms;
    scene.stage.advance(next_epoch_ms + rng.u64(0..100_000));
    let between = witness.reports().into_iter();
    let between = between
        .filter(|report| !before.contains(&report.octets))
        .collect();
    drop(scene.stage.kill_core());
    Rolled {
        scene,
        witness,
        copy,
        between,
    }
}

/// Offers a report to the ADM as a gNB does that lies about the window it came in.
fn offer(scene: &mut Scene, report: &HeardReport, is_current: bool) -> Outcome {
    let now_ms = scene.stage.unix_ms();
    let current = scene.stage.site().beacon_heard(report.reader);
    let (area_id, rand_n) = if is_current { current } else { report.beacon }.unwrap();
    let offered = DoaReport {
        nas: &report.octets,
        rand_n,
        area_id,
        gnb_id: u32::from(report.reader.gnb) + 1,
        reader_index: report.reader.reader_index,
    };
    let mut verdicts: Vec<Verdict> = Vec::new();
    let adm = scene.stage.core().unwrap().adm();
    adm.authenticate(now_ms, &[offered], &mut verdicts);
    verdicts[0].outcome()
}

fn is_blind(report: &HeardReport) -> bool {
    ReportView::parse(&report.octets).unwrap().id().form() == Form::Blind
}

/// Replays all that was heard in the time between: at the ADM under its own RAND_n and the current one, and on the air.
fn replay_all(rolled: &mut Rolled, rng: &mut fastrand::Rng) -> Found {
    let mut found = Found::default();
    for report in rolled.between.clone() {
        for is_current in [false, true] {
            let outcome = offer(&mut rolled.scene, &report, is_current);
            if is_blind(&report) {
                found.blind_again += u64::from(outcome == Outcome::AcceptedNew);
            } else {
                found.replayed += 1;
                let refused = matches!(outcome, Outcome::StaleEpoch | Outcome::NoMatch);
                assert!(refused, "{outcome:?} for {report:?}");
            }
        }
        let site = rolled.scene.stage.site_mut();
        rolled.witness.replay(site, &report, RadioId(rng.u32(..)));
    }
    found
}

fn rollback(seed: u64) -> Found {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut rolled = roll_back(seed, &mut rng);
    let scene = &mut rolled.scene;
    let now_ms = scene.stage.site().now_ms();
    // Often at once, in the epoch of the crash.
    let gap_ms = if rng.bool() {
        rng.u64(..3_000)
    } else {
        rng.u64(..80_000)
    };
    scene.stage.advance(now_ms + gap_ms);
    let back_ms = scene.stage.site().now_ms();
    scene.start_core(Box::new(rolled.copy.clone())).unwrap();
    let mut found = replay_all(&mut rolled, &mut rng);

    let scene = &mut rolled.scene;
    scene.stage.advance(back_ms + 10_000);
    let orphans = orphans_when_good(scene, 300_000);
    assert!(orphans.is_empty(), "orphans:{}", describe(scene, &orphans));
    // What devices saw accepted before is not on this record, so only what cannot be explained by that counts.
    let judgement = verdict(scene, &rolled.copy);
    assert_eq!(
        (judgement.recorded_twice, judgement.foreign),
        (0, 0),
        "{judgement:?}"
    );
    assert_eq!(rolled.witness.answered_differently(), 0);
    found.virtual_ms = scene.stage.site().now_ms();
    found
}

#[test]
fn an_older_copy_accepts_nothing_again_and_loses_no_device() {
    let (mut replayed, mut blind_again) = (0, 0);
    for_seeds(
        "an_older_copy_accepts_nothing_again_and_loses_no_device",
        800,
        |seed| {
            let found = rollback(seed);
            replayed += found.replayed;
            blind_again += found.blind_again;
            found.virtual_ms
        },
    );
    println!("{replayed} replays refused, {blind_again} blind reports accepted again");
    // The control: what protects no form from being replayed shows in the one that has no protection.
    assert!(blind_again > 0 || std::env::var_os("AMBIT_SEED").is_some());
}

/// The store is gone and a new chain begins; half the time the clock of the first core ran ahead, so that the anchors of
/// the devices lie in the new chain's future.
fn lost_store(seed: u64) -> u64 {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut rolled = roll_back(seed, &mut rng);
    let scene = &mut rolled.scene;
    if rng.bool() {
        scene
            .stage
            .shift_core_clock(-rng.i64(1_000_000..100_000_000));
    }
    let store = SharedStore::new().unwrap();
    scene.start_core(Box::new(store.clone())).unwrap();
    replay_all(&mut rolled, &mut rng);
    let scene = &mut rolled.scene;
    let orphans = orphans_when_good(scene, 300_000);
    assert!(orphans.is_empty(), "orphans:{}", describe(scene, &orphans));
    let judgement = verdict(scene, &store);
    assert_eq!(
        (judgement.recorded_twice, judgement.foreign),
        (0, 0),
        "{judgement:?}"
    );
    scene.stage.site().now_ms()
}

#[test]
fn a_lost_store_loses_no_device() {
    for_seeds("a_lost_store_loses_no_device", 500, lost_store);
}

/// The same store under a clock that was set ahead or back.
#[test]
fn a_clock_that_jumps_loses_no_device() {
    for_seeds("a_clock_that_jumps_loses_no_device", 400, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let store = SharedStore::new().unwrap();
        let mut scene = mixed(seed, &mut rng)
            .build(Box::new(store.clone()))
            .unwrap();
        for _ in 0..rng.u32(1..4) {
            let now_ms = scene.stage.site().now_ms();
            scene.stage.advance(now_ms + rng.u64(1_000..60_000));
            drop(scene.stage.kill_core());
            scene.stage.shift_core_clock(rng.i64(-400_000..400_000));
            scene.start_core(Box::new(store.clone())).unwrap();
        }
        let orphans = orphans_when_good(&mut scene, 300_000);
        assert!(orphans.is_empty(), "orphans:{}", describe(&scene, &orphans));
        let judgement = verdict(&scene, &store);
        assert!(judgement.is_safe(), "{judgement:?}");
        assert!(store.clone().record_count().unwrap() > 0);
        scene.stage.site().now_ms()
    });
}
