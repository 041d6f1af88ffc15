//! Controls: every property that the simulations assert, in a run where its defence is missing, fails.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // Tests: a failure is a panic.

mod common;

use ambit_adm_api::Outcome;
use ambit_lab::judge::{Judgement, judge};
use ambit_lab::scenario::{DeviceKind, FORMS, Scenario, Scene};
use ambit_lab::store::SharedStore;
use ambit_lab::witness::Witness;
use ambit_protocol::area::Plmn;
use ambit_protocol::wire::{Item, ReportId};
use ambit_protocol::{Cause, DeviceForm, Exchange, KAiotf, RootKey, Snid, Suite, TagLen, schedule};
use ambit_ran::air::{FalseBeacon, Jam, Verdict};
use ambit_ran::fleet::DeviceIndex;
use ambit_ran::frame::{Direction, FrameKind, RadioId, SiteReader};
use ambit_store::RecordRow;
use common::*;

const READER: SiteReader = SiteReader {
    gnb: 0,
    reader_index: 1,
};

fn build(devices: Vec<DeviceKind>, seed: u64) -> (Scene, SharedStore) {
    let store = SharedStore::new().unwrap();
    let scenario = Scenario {
        devices,
        ..Scenario::new(seed)
    };
    let scene = scenario.build(Box::new(store.clone())).unwrap();
    (scene, store)
}

/// A quiet run with two items for each device, judged against its store as `edit` leaves it.
fn judged(edit: &mut dyn FnMut(RecordRow) -> Vec<RecordRow>) -> Judgement {
    let (mut scene, store) = build(FORMS.into_iter().map(DeviceKind::new).collect(), 1);
    assert_eq!(orphans_when_good(&mut scene, 10_000), Vec::<usize>::new());
    scene.stage.advance(20_000);
    let judgement = verdict(&scene, &store);
    assert!(judgement.holds(), "{judgement:?}");
    let mut edited = SharedStore::copy_edited(&mut store.clone(), scene.snid(), edit).unwrap();
    judge(scene.stage.site().fleet(), &mut edited).unwrap()
}

#[test]
fn the_judge_sees_a_record_that_was_removed() {
    let judgement = judged(&mut |row| if row.id == 3 { vec![] } else { vec![row] });
    assert_eq!(judgement.believed_falsely, 1, "{judgement:?}");
    assert!(!judgement.is_safe());
}

#[test]
fn the_judge_sees_a_record_that_was_added() {
    let judgement = judged(&mut |row| {
        let mut more = row.clone();
        more.tag1[0] ^= 1;
        more.counter = None;
        if row.id == 2 {
            vec![row, more]
        } else {
            vec![row]
        }
    });
    assert_eq!(judgement.foreign, 1, "{judgement:?}");
    assert!(!judgement.is_safe());
}

#[test]
fn the_judge_sees_a_record_that_stands_twice() {
    let judgement = judged(&mut |row| {
        let mut again = row.clone();
        again.epoch += 1;
        again.counter = None;
        if row.id == 4 {
            vec![row, again]
        } else {
            vec![row]
        }
    });
    assert_eq!(judgement.recorded_twice, 1, "{judgement:?}");
    assert!(!judgement.is_safe());
}

/// The defence is the repeat rule; without it an item that is built anew counts twice.
#[test]
fn the_judge_sees_an_item_that_counts_twice() {
    let (mut scene, store) = build(FORMS.into_iter().map(DeviceKind::new).collect(), 2);
    scene.stage.advance(5_000);
    // ACCEPTs are lost until reports are built anew.
    scene
        .stage
        .site_mut()
        .air_mut()
        .add_ear(Box::new(|frame| match frame.kind {
            FrameKind::Nas if frame.direction == Direction::Down && frame.sent_ms < 45_000 => {
                Verdict::Drop
            }
            _ => Verdict::Pass,
        }));
    for device in 0..4 {
        let fleet = scene.stage.site_mut().fleet_mut();
        fleet
            .submit(5_000, DeviceIndex(device), Cause::Event, b"")
            .unwrap()
            .unwrap();
    }
    scene.stage.advance(60_000);
    assert!(verdict(&scene, &store).holds());
    let mut edited = SharedStore::copy_edited(&mut store.clone(), scene.snid(), &mut |mut row| {
        row.repeat = false;
        vec![row]
    })
    .unwrap();
    let judgement = judge(scene.stage.site().fleet(), &mut edited).unwrap();
    assert_eq!(judgement.counted_twice, 4, "{judgement:?}");
}

/// The defence is TAG1 under a key that nobody else has: with the key, a made-up report is accepted, and judged foreign.
#[test]
fn a_stolen_key_is_accepted_and_judged_foreign() {
    let (mut scene, store) = build(vec![DeviceKind::new(DeviceForm::Beacon)], 3);
    scene.stage.advance(5_000);
    let forge = |scene: &Scene, key: [u8; 16]| {
        let (area_id, rand_n) = scene.stage.site().beacon_heard(READER).unwrap();
        let key = RootKey::new(key);
        let evaluate = |input: &schedule::Input| key.evaluate(Suite::AesCmac, input);
        let t_id = schedule::cut(&evaluate(&schedule::beacon_t_id(&rand_n)));
        let k_aiotf = evaluate(&schedule::beacon_k_aiotf(&rand_n, &area_id, &[7; 4]));
        let item = Item {
            cause: Cause::Event,
            seq: 1,
            data: b"forged",
        };
        let id = ReportId::Beacon {
            t_id,
            rand_d: [7; 4],
        };
        let mut octets = [0; 125];
        let sealed = Exchange::seal_report(
            Suite::AesCmac,
            &KAiotf::new(k_aiotf),
            &id,
            &item,
            TagLen::T8,
            &mut octets,
        );
        octets[..sealed.unwrap().1].to_vec()
    };
    for (n, key) in [[9; 16], scene.scenario().key(0)].into_iter().enumerate() {
        let report = forge(&scene, key);
        scene
            .stage
            .site_mut()
            .inject_up(READER, RadioId(n as u32), 0, report);
        let now_ms = scene.stage.site().now_ms();
        scene.stage.advance(now_ms + 100);
        let judgement = verdict(&scene, &store);
        assert_eq!(judgement.foreign, n as u64, "{judgement:?}");
    }
}

/// The defence is one key for each device.
#[test]
fn devices_with_one_key_are_orphans() {
    for form in FORMS {
        let clone = DeviceKind {
            key_of: Some(0),
            ..DeviceKind::new(form)
        };
        let (mut scene, _) = build(vec![DeviceKind::new(form), clone], 4);
        let orphans = orphans_when_good(&mut scene, 100_000);
        assert_eq!(orphans, [0, 1], "{form:?}");
        let tally = scene.stage.core().unwrap().reports();
        assert!(tally.of(Outcome::AmbiguousMatch) > 0, "{form:?}");
    }
}

#[test]
fn while_a_jam_lasts_devices_are_orphans() {
    let (mut scene, _) = build(FORMS.into_iter().map(DeviceKind::new).collect(), 5);
    scene.stage.advance(10_000);
    scene.stage.site_mut().air_mut().add_jam(Jam {
        from_ms: 10_000,
        until_ms: u64::MAX,
        direction: Some(Direction::Up),
        reader: None,
    });
    for device in 0..4 {
        let fleet = scene.stage.site_mut().fleet_mut();
        fleet
            .submit(10_000, DeviceIndex(device), Cause::Event, b"")
            .unwrap()
            .unwrap();
    }
    scene.stage.advance(200_000);
    assert_eq!(not_accepted_since(&scene, 10_000), [0, 1, 2, 3]);
}

/// The defence is recovery: a device that cannot use it, for want of a beacon, never returns into the window.
#[test]
fn a_window_without_recovery_loses_the_device() {
    let far = DeviceKind {
        counter: 1_000,
        ..DeviceKind::new(DeviceForm::Blind)
    };
    let (mut scene, _) = build(vec![far], 6);
    let (_, rand_n) = scene.stage.site().beacon_heard(READER).unwrap();
    // A reader of another network drowns out the true one.
    let foreign = Snid::new(Plmn::new("999", "70").unwrap(), None);
    scene
        .stage
        .site_mut()
        .air_mut()
        .add_false_beacon(FalseBeacon {
            reader: READER,
            from_ms: 0,
            until_ms: u64::MAX,
            area_id: foreign.area([0, 0, 1]),
            rand_n,
        });
    scene.stage.advance(600_000);
    assert_eq!(not_accepted_since(&scene, 0), [0]);
    assert_eq!(orphans_when_good(&mut scene, 60_000), Vec::<usize>::new());
}

/// The defence is an ACCEPT that follows from the record alone.
#[test]
fn the_witness_sees_two_accepts_for_one_report() {
    let (mut scene, _) = build(vec![DeviceKind::new(DeviceForm::Beacon)], 7);
    let mut n = 0;
    scene
        .stage
        .site_mut()
        .air_mut()
        .add_ear(Box::new(move |frame| {
            if frame.kind != FrameKind::Nas || frame.direction != Direction::Down {
                return Verdict::Pass;
            }
            n += 1;
            let mut octets = frame.octets.clone();
            *octets.last_mut().unwrap() ^= n;
            Verdict::Replace(octets)
        }));
    let witness = Witness::join(scene.stage.site_mut());
    scene.stage.advance(15_000);
    assert!(witness.answered_differently() > 0);
}

/// The defence is the identity rule's clock: a device that believes epochs to be long shows its T-ID for as long.
#[test]
fn the_witness_sees_a_t_id_that_outlives_its_epoch() {
    let scenario = Scenario {
        devices: vec![DeviceKind::new(DeviceForm::Beacon)],
        period_s: 2_000,
        ..Scenario::new(8)
    };
    let mut scene = scenario
        .build(Box::new(SharedStore::new().unwrap()))
        .unwrap();
    let witness = Witness::join(scene.stage.site_mut());
    for at_ms in [5_000, 25_000, 45_000] {
        scene.stage.advance(at_ms);
        let fleet = scene.stage.site_mut().fleet_mut();
        fleet
            .submit(at_ms, DeviceIndex(0), Cause::Event, b"")
            .unwrap()
            .unwrap();
    }
    scene.stage.advance(60_000);
    let fleet = scene.stage.site().fleet();
    assert_eq!(witness.linkable_t_ids(fleet, 2_000_000), 0);
    assert_eq!(witness.linkable_t_ids(fleet, 20_000), 1);
}

/// The defence is RAND_n in K_AIOTF: within its epoch, a report is accepted by a store that has lost its record.
#[test]
fn a_record_lost_within_its_epoch_is_accepted_again() {
    let (mut scene, store) = build(vec![DeviceKind::new(DeviceForm::Beacon)], 9);
    let witness = Witness::join(scene.stage.site_mut());
    let copy = SharedStore::copy(&mut store.clone(), scene.snid()).unwrap();
    scene.stage.advance(5_000);
    drop(scene.stage.kill_core());
    scene.start_core(Box::new(copy)).unwrap();
    let report = witness.reports().remove(0);
    witness.replay(scene.stage.site_mut(), &report, RadioId(1));
    scene.stage.advance(5_100);
    let tally = scene.stage.core().unwrap().reports();
    assert_eq!(tally.of(Outcome::AcceptedNew), 1);
}
