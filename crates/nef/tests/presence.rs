//! Who is there, who is overdue, and who is heard in two places at once.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::collections::HashMap;
use std::ops::ControlFlow;

use ambit_nef::presence::{Change, Expectation, Presence, Tracker};
use ambit_store::{RecordFilter, SqliteStore, Store};
use common::{NOW_MS, Report, accept, store};

/// Every minute, and a minute of grace.
const DEADLINE_MS: i64 = 120_000;

/// What a tracker says to the records of a store and to a time after them.
fn changes(store: &mut SqliteStore, now_ms: i64) -> (Tracker, Vec<&'static str>) {
    let mut tracker = Tracker::new(0);
    let mut said = Vec::new();
    store
        .records_for_each(&RecordFilter::default(), &mut |record| {
            tracker.tick(record.time_ms, &mut |_, change| said.push(change.name()));
            tracker.record(&record, Some(DEADLINE_MS), &mut |_, change| {
                said.push(change.name());
            });
            ControlFlow::Continue(())
        })
        .unwrap();
    tracker.tick(now_ms, &mut |_, change| said.push(change.name()));
    (tracker, said)
}

fn reports(reports: &[Report]) -> SqliteStore {
    let mut store = store(1);
    for (tag, report) in reports.iter().enumerate() {
        accept(&mut store, *report, tag as u64);
    }
    store
}

fn at(s: i64) -> Report {
    Report {
        time_ms: NOW_MS + s * 1000,
        epoch: u32::try_from(s / 600).unwrap(),
        ..Report::default()
    }
}

#[test]
fn a_device_is_missing_after_its_deadline_and_not_a_millisecond_before() {
    let mut store = reports(&[at(0), at(60), at(100)]);
    let due_ms = NOW_MS + 100_000 + DEADLINE_MS;
    assert_eq!(changes(&mut store, due_ms).1, ["appeared"]);
    let (tracker, said) = changes(&mut store, due_ms + 1);
    assert_eq!(said, ["appeared", "missing"]);
    let seen = &tracker.devices()[&1];
    assert_eq!((seen.presence, seen.since_ms), (Presence::Missing, due_ms));
    assert_eq!(
        (seen.presence.name(), seen.presence.reason()),
        ("absent", "overdue")
    );
    accept(&mut store, at(700), 9);
    let (tracker, said) = changes(&mut store, NOW_MS + 700_000);
    assert_eq!(said, ["appeared", "missing", "device_returned"]);
    assert_eq!(tracker.devices()[&1].since_ms, NOW_MS + 700_000);
}

#[test]
fn who_announced_silence_or_has_no_interval_is_never_missing() {
    let mut store = reports(&[at(0), Report { cause: 6, ..at(10) }]);
    let (_, said) = changes(&mut store, i64::MAX);
    assert_eq!(said, ["appeared", "going_silent"]);
    let mut tracker = Tracker::new(0);
    store
        .records_for_each(&RecordFilter::default(), &mut |record| {
            tracker.record(&record, None, &mut |_, _| {});
            ControlFlow::Break(())
        })
        .unwrap();
    tracker.tick(i64::MAX, &mut |_, change| unreachable!("{change:?}"));
    let expectation = Expectation {
        interval_s: HashMap::from([("pallets".into(), 60)]),
        grace_s: 5,
    };
    assert_eq!(expectation.deadline_ms("pallets"), Some(65_000));
    assert_eq!(expectation.deadline_ms("crates"), None);
}

#[test]
fn nobody_is_missing_for_the_time_in_which_no_core_listened() {
    let mut store = reports(&[at(0)]);
    let listening_ms = NOW_MS + 10_000_000;
    let mut tracker = Tracker::new(listening_ms);
    store
        .records_for_each(&RecordFilter::default(), &mut |record| {
            tracker.record(&record, Some(DEADLINE_MS), &mut |_, _| {});
            ControlFlow::Continue(())
        })
        .unwrap();
    let mut missing = 0;
    tracker.tick(listening_ms + DEADLINE_MS, &mut |_, _| missing += 1);
    assert_eq!(missing, 0);
    tracker.tick(listening_ms + DEADLINE_MS + 1, &mut |_, _| missing += 1);
    assert_eq!(missing, 1);
}

/// T12, beacon form: the original stays where it is, the clone reports elsewhere.
#[test]
fn t12_two_devices_with_one_key_in_two_places_are_suspected_within_the_epoch() {
    // Whatever the clone says it spoke for: at the latest, the original's next report is out of place.
    for cause in [1, 2, 3, 4, 5] {
        let clone = Report {
            area: 2,
            cause,
            ..at(20)
        };
        let mut store = reports(&[at(0), clone, at(40)]);
        let (_, said) = changes(&mut store, NOW_MS + 40_000);
        let suspected = said
            .iter()
            .filter(|name| **name == "clone_suspicion")
            .count();
        assert_eq!(suspected, 1, "cause {cause}: {said:?}");
    }
    // The alarm names both places.
    let mut store = reports(&[at(0), Report { area: 2, ..at(20) }]);
    let mut tracker = Tracker::new(0);
    let mut places = Vec::new();
    store
        .records_for_each(&RecordFilter::default(), &mut |record| {
            tracker.record(&record, None, &mut |seen, change| {
                if let Change::CloneSuspicion { from } = change {
                    places.push((
                        from.area_id[11],
                        seen.place.area_id[11],
                        seen.device_id.to_vec(),
                    ));
                }
            });
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(places, [(1, 2, b"d1".to_vec())]);
    // Who answers every move with another, always announced, is found by their number.
    let hops: Vec<Report> = (0..6)
        .map(|n| Report {
            area: u8::try_from(n % 2).unwrap(),
            cause: 4,
            ..at(n * 10)
        })
        .collect();
    let (_, said) = changes(&mut reports(&hops), NOW_MS + 60_000);
    assert!(said.contains(&"clone_suspicion"), "{said:?}");
}

/// The control of the one before: devices that merely move are not suspected.
#[test]
fn a_device_that_moves_is_no_clone() {
    let moves = [
        at(0),
        Report {
            area: 2,
            cause: 4,
            ..at(60)
        },
        Report { area: 2, ..at(100) },
        // Carried while it was off.
        Report {
            area: 3,
            cause: 1,
            ..at(200)
        },
        // In another epoch.
        Report { area: 1, ..at(650) },
    ];
    let (_, said) = changes(&mut reports(&moves), NOW_MS + 650_000);
    assert!(!said.contains(&"clone_suspicion"), "{said:?}");
    let moved = said.iter().filter(|name| **name == "moved").count();
    assert_eq!(moved, 2, "{said:?}: the last one was missing before");
}
