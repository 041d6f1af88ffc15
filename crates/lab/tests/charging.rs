//! T14, billing fraud: genuine reports among forged and replayed ones give a charging record each, and nothing else does.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // Tests: a failure is a panic.

mod common;

use std::collections::HashMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use ambit_adm_api::Outcome;
use ambit_lab::intruder::Intruders;
use ambit_lab::scenario::Scenario;
use ambit_lab::store::SharedStore;
use ambit_nef::charging::{Cdr, Charging, ChargingConfig};
use ambit_ran::fleet::Schedule;
use ambit_store::{RecordFilter, Store};
use common::*;

fn charge(dir: &Path, store: &SharedStore) -> Vec<Cdr> {
    let mut charging = Charging::open(ChargingConfig {
        dir: dir.into(),
        file_octets_max: 4096,
        file_s_max: 3600,
        fleet_afs: HashMap::new(),
    })
    .unwrap();
    while charging.step(&mut store.clone(), 0).unwrap() > 0 {}
    charging.close("end", 0).unwrap();
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
        .collect();
    files.sort();
    let read = |path| fs::read_to_string(path).unwrap();
    let text: String = files.iter().map(read).collect();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

#[test]
fn t14_k_genuine_reports_among_forged_and_replayed_give_k_charges() {
    let mut judged = 0;
    for_seeds("t14_k_genuine_reports", 40, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut scenario: Scenario = mixed(seed, &mut rng);
        scenario.schedule = Some(Schedule {
            first_ms: 1_000,
            interval_ms: 4_000,
            jitter_ms: 2_000,
            items_max: Some(6),
        });
        let store = SharedStore::new().unwrap();
        let mut scene = scenario.build(Box::new(store.clone())).unwrap();
        let mut intruders = Intruders::join(scene.stage.site_mut(), !seed);
        while scene.stage.site().now_ms() < 120_000 {
            let now_ms = scene.stage.site().now_ms();
            scene.stage.advance(now_ms + rng.u64(1..1_000));
            intruders.fake_device(scene.stage.site_mut(), rng.u32(1..5));
        }
        let orphans = orphans_when_good(&mut scene, 300_000);
        assert!(orphans.is_empty(), "orphans:{}", describe(&scene, &orphans));
        let judgement = verdict(&scene, &store);
        assert!(judgement.holds(), "{judgement:?}");

        // k charges for k genuine items, each traceable to a verified report by the record and its link.
        let dir = tempfile::tempdir().unwrap();
        let cdrs = charge(dir.path(), &store);
        assert_eq!(cdrs.len() as u64, judgement.items);
        let mut records = HashMap::new();
        let mut all = store.clone();
        all.records_for_each(&RecordFilter::default(), &mut |row| {
            records.insert(row.id, row);
            ControlFlow::Continue(())
        })
        .unwrap();
        for cdr in &cdrs {
            let record = &records[&cdr.record];
            assert_eq!(cdr.link, hex::encode(record.link));
            assert!(!record.repeat);
        }
        let mut faults = 0;
        all.evidence_verify(&mut |_| true, &mut |_| faults += 1)
            .unwrap();
        assert_eq!(faults, 0);

        // The control: who charged for what was received, or for what looked genuine, would have charged for more.
        let counts = *intruders.counts();
        assert!(counts.forged > 0 && counts.replayed > 0, "{counts:?}");
        let tally = scene.stage.core().unwrap().reports().clone();
        let accepted = [
            Outcome::AcceptedNew,
            Outcome::AcceptedRepeat,
            Outcome::AcceptedDuplicate,
        ];
        let answered: u64 = accepted.iter().map(|outcome| tally.of(*outcome)).sum();
        judged += answered - tally.of(Outcome::AcceptedNew);
        assert!(tally.of(Outcome::NoMatch) > 0);
        scene.stage.site().now_ms()
    });
    assert!(judged > 0, "replays were answered and not charged");
}
