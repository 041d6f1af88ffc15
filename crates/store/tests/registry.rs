//! What [`Store`] promises of devices, events, chains and named values, held against every implementation there is.
#![allow(clippy::unwrap_used)]

mod common;

use ambit_store::{
    ChainRow, EventFilter, FILE_NAME, Insert, NewDevice, NewEvent, NewRecord, SqliteStore, Store,
    StoreError,
};
use common::{accept, directory, new_device, new_record, on_each};
use std::ops::ControlFlow;

#[test]
fn devices_come_all_or_not_at_all() {
    on_each("devices", |store| {
        assert_eq!(
            store
                .devices_insert(&[new_device(b"dev-1"), new_device(b"dev-2")])
                .unwrap(),
            [1, 2]
        );
        let error = store
            .devices_insert(&[new_device(b"dev-3"), new_device(b"dev-2")])
            .unwrap_err();
        assert!(
            matches!(&error, StoreError::DeviceExists { index: 1, device_id } if device_id == b"dev-2"),
            "{error}"
        );
        let error = store
            .devices_insert(&[new_device(b"dev-3"), new_device(b"dev-3")])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "device 6465762d33 (number 1 of the batch) exists already"
        );
        let long = [0; 129];
        for (bad, name) in [
            (
                NewDevice {
                    device_id: b"",
                    ..new_device(b"dev-4")
                },
                "device_id",
            ),
            (
                NewDevice {
                    device_id: &long,
                    ..new_device(b"dev-4")
                },
                "device_id",
            ),
            (
                NewDevice {
                    device_type: "2d",
                    ..new_device(b"dev-4")
                },
                "device_type",
            ),
            (
                NewDevice {
                    suite: 4,
                    ..new_device(b"dev-4")
                },
                "suite",
            ),
            (
                NewDevice {
                    form: "spoken",
                    ..new_device(b"dev-4")
                },
                "form",
            ),
            (
                NewDevice {
                    tag_len: 12,
                    ..new_device(b"dev-4")
                },
                "tag_len",
            ),
        ] {
            let error = store
                .devices_insert(&[new_device(b"dev-3"), bad])
                .unwrap_err();
            assert!(
                matches!(error, StoreError::Invalid { index: 1, field } if field == name),
                "{error}"
            );
        }
        assert_eq!(store.device_count().unwrap(), 2);
        assert_eq!(store.device(b"dev-3").unwrap(), None);
        assert_eq!(store.devices_insert(&[new_device(b"dev-3")]).unwrap(), [3]);
        let mut ids = Vec::new();
        store
            .devices_for_each(&mut |d| {
                ids.push(d.device_id);
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(ids, [b"dev-1", b"dev-2", b"dev-3"]);
    });
}

#[test]
fn a_device_can_be_disabled_and_rekeyed() {
    on_each("rekey", |store| {
        store.devices_insert(&[new_device(b"dev-1")]).unwrap();
        store.device_set_disabled(1, true).unwrap();
        assert_eq!(store.device_set_key(1, b"another wrapped key").unwrap(), 2);
        let device = store.device(b"dev-1").unwrap().unwrap();
        assert!(device.disabled);
        assert_eq!(
            (device.key_version, device.wrapped_key.as_slice()),
            (2, b"another wrapped key".as_slice())
        );
        assert_eq!(
            (
                device.device_type.as_str(),
                device.form.as_str(),
                device.fleet.as_str()
            ),
            ("2a", "beacon", "pallets")
        );
        let print = format!("{device:?} {:?}", new_device(b"dev-1"));
        assert!(
            print.contains("Wrapped(19 octets)") && print.contains("Wrapped(24 octets)"),
            "{print}"
        );
        assert!(
            !print.contains("119, 114"),
            "no octets of the wrapped key: {print}"
        );
        store.device_set_disabled(1, false).unwrap();
        assert!(!store.device(b"dev-1").unwrap().unwrap().disabled);
        assert!(matches!(
            store.device_set_disabled(2, true),
            Err(StoreError::UnknownDevice { device: 2 })
        ));
        assert!(matches!(
            store.device_set_key(2, b"k"),
            Err(StoreError::UnknownDevice { device: 2 })
        ));
    });
}

#[test]
fn events_are_listed_by_kind_and_time() {
    on_each("events", |store| {
        let event = |time_ms, kind| NewEvent {
            time_ms,
            kind,
            severity: "warning",
            device_id: None,
            area_id: None,
            gnb_id: None,
            reader_index: None,
            count: 1,
            detail: "{}",
        };
        let full = NewEvent {
            device_id: Some(b"dev-1"),
            area_id: Some([3; 12]),
            gnb_id: Some(4),
            reader_index: Some(5),
            count: 600,
            detail: "{\"form\":\"beacon\"}",
            ..event(30, "impersonation_attempt")
        };
        store
            .events_insert(&[event(10, "clone_suspicion"), full])
            .unwrap();
        store
            .events_insert(&[event(20, "clone_suspicion")])
            .unwrap();
        store.events_insert(&[]).unwrap();
        let too_many = NewEvent {
            count: u64::MAX,
            ..event(40, "clone_suspicion")
        };
        assert!(matches!(
            store.events_insert(&[event(40, "clone_suspicion"), too_many]),
            Err(StoreError::Invalid {
                index: 1,
                field: "count"
            })
        ));
        let list = |store: &mut dyn Store, filter: EventFilter<'_>| {
            let mut all = Vec::new();
            let mut take = |e| {
                all.push(e);
                ControlFlow::Continue(())
            };
            store.events_for_each(&filter, &mut take).unwrap();
            all
        };
        let all = EventFilter::default();
        let ids =
            |events: Vec<ambit_store::EventRow>| events.iter().map(|e| e.id).collect::<Vec<_>>();
        assert_eq!(ids(list(store, all)), [1, 2, 3]);
        assert_eq!(
            ids(list(
                store,
                EventFilter {
                    since_ms: Some(20),
                    ..all
                }
            )),
            [2, 3]
        );
        assert_eq!(
            ids(list(
                store,
                EventFilter {
                    kind: Some("clone_suspicion"),
                    ..all
                }
            )),
            [1, 3]
        );
        assert_eq!(
            ids(list(
                store,
                EventFilter {
                    kind: Some("clone_suspicion"),
                    since_ms: Some(11)
                }
            )),
            [3]
        );
        let row = &list(store, all)[1];
        assert_eq!(
            (row.device_id.as_deref(), row.area_id),
            (Some(b"dev-1".as_slice()), Some([3; 12]))
        );
        assert_eq!(
            (row.gnb_id, row.reader_index, row.count),
            (Some(4), Some(5), 600)
        );
        assert_eq!(
            (row.kind.as_str(), row.detail.as_str()),
            ("impersonation_attempt", "{\"form\":\"beacon\"}")
        );
    });
}

#[test]
fn the_issued_epoch_is_never_lowered() {
    on_each("chain", |store| {
        let snid = [1; 9];
        let chain = ChainRow {
            snid,
            seed_wrapped: vec![7; 40],
            first_epoch: 10,
            last_epoch: 1 << 20,
            period_s: 600,
            origin_unix_s: 1_700_000_000,
            epoch_issued: 10,
        };
        assert_eq!(store.chain(&snid).unwrap(), None);
        assert!(matches!(
            store.chain_set_epoch(&snid, 1),
            Err(StoreError::UnknownChain { .. })
        ));
        store.chain_insert(&chain).unwrap();
        for (set, then) in [(12, 12), (11, 12), (0, 12), (13, 13)] {
            store.chain_set_epoch(&snid, set).unwrap();
            assert_eq!(store.chain(&snid).unwrap().unwrap().epoch_issued, then);
        }
        // A new chain of the same SNID is the one that counts from then on; other SNIDs are left alone.
        store
            .chain_insert(&ChainRow {
                snid: [2; 9],
                ..chain.clone()
            })
            .unwrap();
        store
            .chain_insert(&ChainRow {
                first_epoch: 14,
                epoch_issued: 14,
                ..chain.clone()
            })
            .unwrap();
        assert_eq!(store.chain(&snid).unwrap().unwrap().first_epoch, 14);
        assert_eq!(
            store.chain(&[2; 9]).unwrap().unwrap(),
            ChainRow {
                snid: [2; 9],
                ..chain.clone()
            }
        );
        assert!(format!("{chain:?}").contains("Wrapped(40 octets)"));
        for bad in [
            ChainRow {
                period_s: 0,
                ..chain.clone()
            },
            ChainRow {
                first_epoch: 2 << 20,
                ..chain.clone()
            },
        ] {
            assert!(matches!(
                store.chain_insert(&bad),
                Err(StoreError::Invalid { .. })
            ));
        }
    });
}

#[test]
fn a_named_value_is_kept() {
    on_each("meta", |store| {
        assert_eq!(store.meta("network_id").unwrap(), None);
        store.meta_set("network_id", b"one").unwrap();
        store.meta_set("network_id", b"two").unwrap();
        assert_eq!(
            store.meta("network_id").unwrap().as_deref(),
            Some(b"two".as_slice())
        );
    });
}

#[test]
fn a_new_key_lets_the_counter_begin_again() {
    on_each("new-counter", |store| {
        store.devices_insert(&[new_device(b"dev-1")]).unwrap();
        let counted = |counter, tag1| NewRecord {
            counter: Some(counter),
            ..new_record(1, tag1)
        };
        accept(store, &[counted(9, b"tag-0009")]);
        assert!(matches!(
            accept(store, &[counted(1, b"tag-0001")])[..],
            [Insert::StaleCounter { last: 9 }]
        ));
        store.device_set_key(1, b"another wrapped key").unwrap();
        assert_eq!(store.device(b"dev-1").unwrap().unwrap().counter_last, None);
        assert!(matches!(
            accept(store, &[counted(1, b"tag-0001")])[..],
            [Insert::New { .. }]
        ));
    });
}

/// Two processes on one file: each learns what the other did to devices, and takes nothing that rests on the past.
#[test]
fn changes_are_followed_and_what_rests_on_an_old_one_is_not_inserted() {
    let path = directory("changes").join(FILE_NAME);
    let [mut a, mut b, mut blind] = [(); 3].map(|()| SqliteStore::open(&path).unwrap());
    let changed = |store: &mut SqliteStore, after: i64| {
        let mut rows = Vec::new();
        let last = store.device_changes(after, &mut |row| {
            rows.push(row.id);
            ControlFlow::Continue(())
        });
        (last.unwrap(), rows)
    };
    a.devices_insert(&[new_device(b"a"), new_device(b"b"), new_device(b"c")])
        .unwrap();
    let (known, rows) = changed(&mut b, 0);
    assert_eq!(rows, [1, 2, 3]);
    assert_eq!(changed(&mut b, known), (known, vec![]));

    a.device_set_key(2, b"another wrapped key").unwrap();
    a.device_set_disabled(1, true).unwrap();
    let batch = [
        new_record(1, &[1; 8]),
        new_record(2, &[2; 8]),
        new_record(3, &[3; 8]),
    ];
    let outcomes = accept(&mut b, &batch);
    assert_eq!(
        outcomes[..2],
        [Insert::DeviceChanged, Insert::DeviceChanged]
    );
    assert!(matches!(outcomes[2], Insert::New { .. }));
    assert_eq!(b.record_count().unwrap(), 1);

    // In the order of the changes, one at a time.
    let mut first = Vec::new();
    let after_one = b.device_changes(known, &mut |row| {
        first.push(row.id);
        ControlFlow::Break(())
    });
    assert_eq!(first, [2]);
    assert!(matches!(
        accept(&mut b, &batch[..1])[0],
        Insert::DeviceChanged
    ));
    assert!(matches!(
        accept(&mut b, &batch[1..2])[0],
        Insert::New { .. }
    ));
    assert_eq!(changed(&mut b, after_one.unwrap()).1, [1]);
    assert!(matches!(accept(&mut b, &batch[..1])[0], Insert::New { .. }));

    // Control: who does not follow is not kept from it.
    a.device_set_key(3, b"another").unwrap();
    let late = new_record(3, &[9; 8]);
    assert!(matches!(accept(&mut blind, &[late])[0], Insert::New { .. }));
}
