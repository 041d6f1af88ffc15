//! A fake device and a fake network, present all the time: nothing of theirs is accepted, and they learn nothing that links
//! two reports for longer than an epoch.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // Tests: a failure is a panic.

mod common;

use ambit_adm_api::Outcome;
use ambit_lab::intruder::Intruders;
use ambit_lab::scenario::{DeviceKind, Scenario, Scene};
use ambit_lab::store::SharedStore;
use ambit_lab::witness::Witness;
use ambit_protocol::{AreaId, Cause, DeviceForm, Form, RandN};
use ambit_ran::air::FalseBeacon;
use ambit_ran::fleet::{BuiltReport, DeviceIndex};
use ambit_ran::frame::{RadioId, SiteReader};
use ambit_store::Store;
use common::*;

fn run(seed: u64, over_power_on: &mut u64) -> u64 {
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
    // Not the fleet's seed: they would draw the same radio identities.
    let mut intruders = Intruders::join(scene.stage.site_mut(), !seed);
    let bad_ms = rng.u64(60_000..180_000);
    if rng.bool() {
        random_power(&mut scene, bad_ms, &mut rng);
    }
    if rng.u8(..4) == 0 {
        scene.stage.crash_after_commit();
    }
    while scene.stage.site().now_ms() < bad_ms {
        let now_ms = scene.stage.site().now_ms();
        scene.stage.advance(now_ms + rng.u64(1..1_000));
        if scene.stage.core().is_none() && rng.bool() {
            scene.start_core(Box::new(store.clone())).unwrap();
        }
        let site = scene.stage.site_mut();
        intruders.fake_device(site, rng.u32(1..5));
        // Also much longer than an epoch, over which a device must not be led.
        let beacon_ms = if rng.u8(..10) == 0 {
            rng.u64(..50_000)
        } else {
            rng.u64(..2_000)
        };
        if rng.u8(..3) == 0 {
            intruders.fake_network(site, 3, beacon_ms);
        }
    }
    if scene.stage.core().is_none() {
        scene.start_core(Box::new(store.clone())).unwrap();
    }

    let orphans = orphans_when_good(&mut scene, 300_000);
    assert!(orphans.is_empty(), "orphans:{}", describe(&scene, &orphans));
    let judgement = verdict(&scene, &store);
    let is_safe = judgement.is_safe_but_for_held_registrations();
    assert!(is_safe, "{judgement:?}");
    *over_power_on += judgement.counted_over_power_on;
    assert_eq!(witness.answered_differently(), 0);
    let fleet = scene.stage.site().fleet();
    assert_eq!(witness.linkable_t_ids(fleet, period_ms), 0);
    assert!(intruders.counts().forged > 0 && intruders.counts().replayed > 0);
    scene.stage.site().now_ms()
}

#[test]
fn nothing_of_the_intruders_is_accepted() {
    let mut over_power_on = 0;
    for_seeds("nothing_of_the_intruders_is_accepted", 1_000, |seed| {
        run(seed, &mut over_power_on)
    });
    println!("items counted once more over a replayed registration: {over_power_on}");
}

/// Lost ACCEPTs, copies by the air, repeats by the device and replays by an adversary: one event, and always the same octets.
#[test]
fn copies_get_the_same_accept_and_one_event() {
    let mut duplicates = 0;
    for_seeds("copies_get_the_same_accept_and_one_event", 500, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut scenario = mixed(seed, &mut rng);
        scenario.down.loss = rng.f64() * 0.9;
        scenario.up.duplication = rng.f64();
        let store = SharedStore::new().unwrap();
        let mut scene = scenario.build(Box::new(store.clone())).unwrap();
        let witness = Witness::join(scene.stage.site_mut());
        let end_ms = rng.u64(30_000..90_000);
        while scene.stage.site().now_ms() < end_ms {
            let now_ms = scene.stage.site().now_ms();
            scene.stage.advance(now_ms + rng.u64(1..500));
            let reports = witness.reports();
            // Mostly the newest, since older ones are of an epoch gone by.
            let newest = reports.len().saturating_sub(8);
            if let Some(report) = rng.choice(&reports[newest..]) {
                let radio_id = RadioId(rng.u32(..));
                witness.replay(scene.stage.site_mut(), report, radio_id);
            }
        }
        duplicates += scene
            .stage
            .core()
            .unwrap()
            .reports()
            .of(Outcome::AcceptedDuplicate);
        let judgement = verdict(&scene, &store);
        assert!(judgement.is_safe(), "{judgement:?}");
        assert_eq!(witness.answered_differently(), 0);
        assert!(store.clone().record_count().unwrap() <= witness.reports().len() as u64);
        scene.stage.site().now_ms()
    });
    println!("{duplicates} copies answered");
    assert!(duplicates > 0);
}

const READER: SiteReader = SiteReader {
    gnb: 0,
    reader_index: 1,
};

/// A false reader that stands beside one beacon device for ever and asks it to speak, which it cannot really do.
fn provoke(scene: &mut Scene, beacon: (AreaId, RandN), items: u32) -> Vec<BuiltReport> {
    let now_ms = scene.stage.site().now_ms();
    scene
        .stage
        .site_mut()
        .air_mut()
        .add_false_beacon(FalseBeacon {
            reader: READER,
            from_ms: now_ms,
            until_ms: u64::MAX,
            area_id: beacon.0,
            rand_n: beacon.1,
        });
    for _ in 0..items {
        let now_ms = scene.stage.site().now_ms();
        let fleet = scene.stage.site_mut().fleet_mut();
        let _ = fleet.submit(now_ms, DeviceIndex(0), Cause::Event, b"provoked");
        scene.stage.advance(now_ms + 10_000);
    }
    let view = scene.stage.site().fleet().device(DeviceIndex(0)).unwrap();
    let items = view.ledger().filter(|item| item.submitted_ms >= now_ms);
    items.flat_map(|item| item.reports.clone()).collect()
}

/// One beacon device that has been accepted.
fn one_beacon_device(seed: u64) -> (Scene, Witness) {
    let mut scenario = Scenario::new(seed);
    scenario.devices.push(DeviceKind::new(DeviceForm::Beacon));
    scenario.chain_epochs = 2048;
    let mut scene = scenario
        .build(Box::new(SharedStore::new().unwrap()))
        .unwrap();
    let witness = Witness::join(scene.stage.site_mut());
    scene.stage.advance(5_000 + seed % 10_000);
    assert_eq!(scene.stage.site().fleet_stats().registered, 1);
    (scene, witness)
}

#[test]
fn a_false_network_that_invents_beacons_gets_concealed_answers_only() {
    for_seeds(
        "a_false_network_that_invents_beacons_gets_concealed_answers_only",
        300,
        |seed| {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut scene, _) = one_beacon_device(seed);
            let (area_id, current) = scene.stage.site().beacon_heard(READER).unwrap();
            let mut element = [0; 12];
            rng.fill(&mut element);
            let ahead = rng.u32(0..5_000);
            let invented = RandN::new(current.epoch() + ahead, element);
            let answers = provoke(&mut scene, (area_id, invented), 10);
            assert!(answers.len() >= 4, "{answers:?}");
            assert!(
                answers.iter().all(|report| report.form == Form::Concealed),
                "{answers:?}"
            );
            scene.stage.site().now_ms()
        },
    );
}

/// A true RAND_n, broadcast again after its epoch: for one that the device was awake in, its T-ID lasts no longer than the
/// epoch would have; after that, and after every power cycle, it is concealed.
#[test]
fn a_false_network_that_repeats_beacons_gets_no_t_id_beyond_its_epoch() {
    let name = "a_false_network_that_repeats_beacons_gets_no_t_id_beyond_its_epoch";
    let mut linked = 0;
    for_seeds(name, 300, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut scene, witness) = one_beacon_device(seed);
        let period_ms = u64::from(scene.scenario().period_s) * 1000;
        // Up to three epochs pass, in which the device is silent; the recorded one is any of these.
        let mut recorded = Vec::new();
        for _ in 0..rng.u32(1..4) {
            recorded.push(scene.stage.site().beacon_heard(READER).unwrap());
            let now_ms = scene.stage.site().now_ms();
            scene.stage.advance(now_ms + period_ms);
        }
        let beacon = *rng.choice(&recorded).unwrap();
        let answers = provoke(&mut scene, beacon, 8);
        let shown = answers
            .iter()
            .filter(|report| report.form == Form::Beacon)
            .count();
        assert!(shown < answers.len() / 2, "{answers:?}");
        linked += u32::from(shown > 1);
        let now_ms = scene.stage.site().now_ms();
        let fleet = scene.stage.site_mut().fleet_mut();
        fleet.schedule_power(DeviceIndex(0), now_ms, false);
        fleet.schedule_power(DeviceIndex(0), now_ms + 1, true);
        scene.stage.advance(now_ms + 20_000);
        let fleet = scene.stage.site().fleet();
        let registration = fleet
            .device(DeviceIndex(0))
            .unwrap()
            .ledger()
            .last()
            .unwrap();
        assert!(
            registration
                .reports
                .iter()
                .all(|report| report.form == Form::Concealed)
        );
        assert_eq!(witness.linkable_t_ids(fleet, period_ms), 0);
        scene.stage.site().now_ms()
    });
    println!("runs in which a T-ID was provoked twice, within an epoch's length: {linked}");
}
