//! Sequence numbers and registrations: durable, never twice, in one transaction with the record.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::collections::HashSet;
use std::ops::ControlFlow;

use ambit_store::*;

const SEQ_MAX: u64 = SQN_MAX >> 5;

fn device(device_id: &[u8]) -> NewDevice<'_> {
    NewDevice {
        device_id,
        device_type: "2b",
        suite: 1,
        form: "beacon",
        tag_len: 8,
        fleet: "default",
        credential: "uicc",
        wrapped_key: &[],
        created_ms: 1,
    }
}

fn account(supi: &str, sqn: u64) -> NewSubscriber<'_> {
    NewSubscriber {
        supi,
        algorithm: "milenage",
        secret_wrapped: &[1, 2, 3],
        sqn,
    }
}

/// Runs a test on each store, with one subscriber in it.
fn with(name: &str, sqn: u64, test: impl Fn(&mut dyn Store)) {
    common::on_each(name, |store| {
        let ids =
            store.subscribers_insert(&[device(b"a")], &[account("imsi-001010000000001", sqn)]);
        assert_eq!(ids.unwrap(), [1]);
        test(store);
    });
}

fn record(tag1: &[u8]) -> NewRecord<'_> {
    NewRecord {
        device: 1,
        device_id: b"a",
        epoch: 7,
        tag1,
        form: 5,
        area_id: [0; 12],
        nonce: &[8; 8],
        cause: 1,
        seq: 0,
        data: b"",
        accept: &[],
        time_ms: 1000,
        repeat: false,
        gnb_id: 1,
        reader_index: 1,
        counter: None,
    }
}

fn registered(challenge: u64, key: &[u8]) -> Registered<'_> {
    Registered {
        challenge,
        wrapped_key: key,
        key_until_ms: 5000,
    }
}

#[test]
fn seq_rises_by_one_and_ind_goes_round() {
    with("ind", 0, |store| {
        for n in 1..=100u64 {
            let challenge = store.sqn_allocate(1).unwrap();
            assert_eq!((challenge.sqn >> 5, challenge.sqn & 31), (n, n % 32));
            assert_eq!(challenge.number, n);
        }
    });
}

#[test]
fn subscribers_are_walked_by_device_until_the_reader_has_enough() {
    with("walked", 7, |store| {
        let (devices, supis) = (
            [device(b"b"), device(b"c")],
            ["imsi-001010000000003", "imsi-001010000000002"],
        );
        let plain = NewDevice {
            credential: "operator",
            ..device(b"operator's")
        };
        store.devices_insert(&[plain]).unwrap();
        store
            .subscribers_insert(&devices, &supis.map(|supi| account(supi, 9)))
            .unwrap();
        let mut walk = |most: usize| {
            let mut seen = Vec::new();
            let f = &mut |row: SubscriberRow| {
                seen.push((row.device, row.supi, row.sqn));
                if seen.len() < most {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            };
            store.subscribers_for_each(f).unwrap();
            seen
        };
        let all = walk(9);
        assert_eq!(all.len(), 3);
        assert_eq!(all[0], (1, "imsi-001010000000001".into(), 7));
        assert_eq!(all[1], (3, "imsi-001010000000003".into(), 9));
        assert_eq!(walk(2), all[..2]);
    });
}

#[test]
fn at_its_end_seq_does_not_wrap() {
    with("seq-end", (SEQ_MAX - 1) << 5, |store| {
        assert_eq!(store.sqn_allocate(1).unwrap().sqn >> 5, SEQ_MAX);
        let refused = store.sqn_allocate(1);
        assert_eq!(refused.unwrap_err().name(), "sqn_exhausted");
        assert_eq!(store.sqn_allocate(9).unwrap_err().name(), "unknown_device");
        let row = store.subscriber("imsi-001010000000001").unwrap().unwrap();
        assert_eq!(row.sqn >> 5, SEQ_MAX);
    });
}

/// TS 33.102 clause 6.3.5: what is good for the card stays, everything else becomes SEQ_MS.
#[test]
fn a_resynchronisation_changes_only_what_the_card_would_refuse() {
    let delta = SEQ_DELTA_MAX;
    for (network, card, next) in [
        (5, 1000, 1001),
        (1000, 1000, 1001),
        (1001, 1000, 1002),
        (999, 1000, 1001),
        (1000 + delta - 1, 1000, 1000 + delta),
        (1000 + delta, 1000, 1001),
        (SEQ_MAX, 3, 4),
        (0, SEQ_MAX - 1, SEQ_MAX),
    ] {
        with("resync", network << 5 | 7, |store| {
            store.sqn_resync(1, card << 5).unwrap();
            let challenge = store.sqn_allocate(1).unwrap();
            assert_eq!(challenge.sqn >> 5, next, "network {network}, card {card}");
            assert_eq!(challenge.sqn & 31, 8);
        });
    }
}

/// Several processes on one store: threads with handles of their own.
#[test]
fn no_number_goes_out_twice() {
    common::on_each_shared("no-number-twice", |open| {
        let mut store = open();
        store
            .subscribers_insert(&[device(b"a")], &[account("imsi-001010000000001", 0)])
            .unwrap();
        let all: Vec<u64> = std::thread::scope(|scope| {
            let take = || {
                let mut store = open();
                let take = |_| store.sqn_allocate(1).unwrap().sqn;
                (0..100).map(take).collect::<Vec<u64>>()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            let taken = threads.into_iter().map(|thread| thread.join().unwrap());
            taken.flatten().collect()
        });
        assert_eq!(all.len(), 400);
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 400);
        assert_eq!(store.sqn_allocate(1).unwrap().sqn >> 5, 401);
    });
}

#[test]
fn a_registration_is_record_and_key_or_neither() {
    with("registration", 0, |store| {
        for _ in 0..3 {
            store.sqn_allocate(1).unwrap();
        }
        let first = store.registration_commit(&record(&[1; 8]), &registered(2, b"two"));
        assert!(matches!(first, Ok(Insert::New { .. })));
        let row = store.device(b"a").unwrap().unwrap();
        assert_eq!((&row.wrapped_key[..], row.key_version), (&b"two"[..], 2));
        let credential = CredentialRow::Uicc {
            key_until_ms: Some(5000),
        };
        assert_eq!(row.credential, credential);

        // The same again: no new key, even if one is offered.
        let again = store.registration_commit(&record(&[1; 8]), &registered(2, b"xxx"));
        assert!(matches!(again, Ok(Insert::Duplicate { .. })));
        // An answer to an earlier challenge, held back until now.
        let late = store.registration_commit(&record(&[9; 8]), &registered(1, b"one"));
        assert!(matches!(late, Ok(Insert::StaleChallenge)));
        let row = store.device(b"a").unwrap().unwrap();
        assert_eq!((&row.wrapped_key[..], row.key_version), (&b"two"[..], 2));
        assert_eq!(store.record_count().unwrap(), 1);

        // No subscriber: the record goes as well.
        let plain = NewDevice {
            credential: "operator",
            ..device(b"b")
        };
        store.devices_insert(&[plain]).unwrap();
        let stranger = NewRecord {
            device: 2,
            ..record(&[3; 8])
        };
        assert!(
            store
                .registration_commit(&stranger, &registered(1, b"k"))
                .is_err()
        );
        assert_eq!(store.record_count().unwrap(), 1);
    });
}

#[test]
fn a_supi_stands_once_and_all_or_none_goes_in() {
    with("supi", 0, |store| {
        let devices = [device(b"b"), device(b"c")];
        let accounts = [account("imsi-2", 0), account("imsi-001010000000001", 0)];
        let refused = store.subscribers_insert(&devices, &accounts).unwrap_err();
        assert!(matches!(refused, StoreError::SubscriberExists { index: 1 }));
        assert_eq!(store.device_count().unwrap(), 1);
        let bad = [account("imsi-2", SQN_MAX + 1)];
        assert!(store.subscribers_insert(&devices[..1], &bad).is_err());
    });
}

/// A file of schema version 1, with what it holds, is brought up to date.
#[test]
fn a_store_of_version_1_is_migrated() {
    let path = common::directory("version_1").join(FILE_NAME);
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(include_str!("../src/sqlite/schema_1.sql"))
        .unwrap();
    old.execute_batch(
        "PRAGMA application_id = 0x416d6253; PRAGMA user_version = 1; PRAGMA journal_mode = WAL;
         INSERT INTO device (device_id, device_type, suite, form, tag_len, fleet, wrapped_key, created_ms)
         VALUES (x'0a', '2b', 1, 'beacon', 8, 'default', x'ffee', 5)",
    )
    .unwrap();
    drop(old);
    let mut store = SqliteStore::open(&path).unwrap();
    let row = store.device(&[0x0A]).unwrap().unwrap();
    assert_eq!(row.credential, CredentialRow::Operator);
    assert_eq!(row.wrapped_key, [0xFF, 0xEE]);
    store
        .subscribers_insert(&[device(b"u")], &[account("imsi-3", 0)])
        .unwrap();
    drop(store);
    assert!(SqliteStore::open_read_only(&path).is_ok());
}

/// A file of schema version 2: who had a subscriber's row has `uicc` credentials.
#[test]
fn a_store_of_version_2_is_migrated() {
    let path = common::directory("version_2").join(FILE_NAME);
    let old = rusqlite::Connection::open(&path).unwrap();
    for schema in [
        include_str!("../src/sqlite/schema_1.sql"),
        include_str!("../src/sqlite/schema_2.sql"),
    ] {
        old.execute_batch(schema).unwrap();
    }
    old.execute_batch(
        "PRAGMA application_id = 0x416d6253; PRAGMA user_version = 2; PRAGMA journal_mode = WAL;
         INSERT INTO device (device_id, device_type, suite, form, tag_len, fleet, wrapped_key, created_ms)
         VALUES (x'0a', '2b', 1, 'beacon', 8, 'default', x'ffee', 5), (x'0b', '2b', 1, 'beacon', 8, 'default', x'', 5);
         INSERT INTO subscriber (device, supi, algorithm, secret_wrapped, key_until_ms)
         VALUES (2, 'imsi-1', 'milenage', x'00', 9)",
    )
    .unwrap();
    drop(old);
    let mut store = SqliteStore::open(&path).unwrap();
    let row = store.device(&[0x0A]).unwrap().unwrap();
    assert_eq!(row.credential, CredentialRow::Operator);
    let row = store.device(&[0x0B]).unwrap().unwrap();
    let agreed = CredentialRow::Uicc {
        key_until_ms: Some(9),
    };
    assert_eq!(row.credential, agreed);
}

/// Whoever is `uicc` has a subscriber's row, and the other way round.
#[test]
fn the_credential_fits_the_way_a_device_comes_in() {
    with("credential", 0, |store| {
        let on_card = NewDevice {
            credential: "uicc-aiot",
            ..device(b"b")
        };
        store.devices_insert(&[on_card]).unwrap();
        let row = store.device(b"b").unwrap().unwrap();
        assert_eq!(row.credential, CredentialRow::UiccAiot);
        for credential in ["uicc", "card", ""] {
            let bad = NewDevice {
                credential,
                ..device(b"c")
            };
            let refused = store.devices_insert(&[bad]).unwrap_err();
            assert_eq!(
                refused.to_string(),
                "item 0 of the batch has an invalid credential"
            );
        }
        let bad = NewDevice {
            credential: "operator",
            ..device(b"c")
        };
        let refused = store.subscribers_insert(&[bad], &[account("imsi-9", 0)]);
        assert!(refused.is_err());
    });
}
