//! What [`Store`] promises of acceptance records, held against every implementation there is.
#![allow(clippy::unwrap_used)]

mod common;

use ambit_store::{Insert, NewRecord, RecordFilter, Store, StoreError};
use common::{accept, new_device, new_record, on_each, records};
use std::ops::ControlFlow;

#[test]
fn a_record_is_new_once_within_a_batch_and_across_batches() {
    on_each("once", |store| {
        let first = NewRecord {
            accept: &[2, 0, 60],
            ..new_record(1, b"tag-aaaa")
        };
        // The resend differs in what is not the key: what is stored counts.
        let again = NewRecord {
            accept: &[],
            time_ms: first.time_ms + 5,
            ..first
        };
        let other = new_record(1, b"tag-bbbb");
        let duplicate = Insert::Duplicate {
            accept: vec![2, 0, 60],
        };
        assert_eq!(
            accept(store, &[first, again, other]),
            [
                Insert::New { id: 1 },
                duplicate.clone(),
                Insert::New { id: 2 }
            ]
        );
        assert_eq!(
            accept(store, &[again, first]),
            [duplicate.clone(), duplicate]
        );
        // Any other part of the key makes another record.
        let elsewhere = NewRecord { device: 2, ..first };
        let later = NewRecord {
            epoch: 1001,
            ..first
        };
        assert_eq!(
            accept(store, &[elsewhere, later]),
            [Insert::New { id: 3 }, Insert::New { id: 4 }]
        );
        assert_eq!(store.record_count().unwrap(), 4);
        assert_eq!(accept(store, &[]), []);
    });
}

#[test]
fn a_record_comes_back_as_it_went_in() {
    on_each("as_is", |store| {
        store.devices_insert(&[new_device(b"dev-1")]).unwrap();
        let tag1 = [9; 16];
        let (nonce, data, p2) = ([5; 8], [6; 90], [1]);
        let new = NewRecord {
            device: 1,
            device_id: b"",
            epoch: u32::MAX,
            tag1: &tag1,
            form: 4,
            area_id: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
            nonce: &nonce,
            cause: 15,
            seq: 15,
            data: &data,
            accept: &p2,
            time_ms: -1,
            repeat: true,
            gnb_id: u32::MAX,
            reader_index: u16::MAX,
            counter: Some(u32::MAX),
        };
        accept(store, &[new]);
        let row = store.record(1, u32::MAX, &tag1).unwrap().unwrap();
        assert_eq!(
            (row.id, row.device, row.device_id.as_slice(), row.epoch),
            (1, 1, b"dev-1".as_slice(), u32::MAX)
        );
        assert_eq!(
            (row.tag1.as_slice(), row.form, row.area_id),
            (new.tag1, 4, new.area_id)
        );
        assert_eq!(
            (row.nonce.as_slice(), row.cause, row.seq),
            (new.nonce, 15, 15)
        );
        assert_eq!(
            (row.data.as_slice(), row.accept.as_slice()),
            (new.data, new.accept)
        );
        assert_eq!((row.time_ms, row.repeat, row.gnb_id), (-1, true, u32::MAX));
        assert_eq!((row.reader_index, row.counter), (u16::MAX, Some(u32::MAX)));
        assert_eq!(store.record(1, 1, &tag1).unwrap(), None);
        assert_eq!(
            store.device(b"dev-1").unwrap().unwrap().counter_last,
            Some(u32::MAX)
        );
    });
}

#[test]
fn a_batch_with_an_invalid_record_leaves_nothing() {
    on_each("invalid", |store| {
        let good = new_record(1, b"tag-aaaa");
        let data = [0; 91];
        let nonce = [0; 17];
        let bad = [
            (
                NewRecord {
                    tag1: b"tag-a",
                    ..good
                },
                "tag1",
            ),
            (NewRecord { form: 6, ..good }, "form"),
            (
                NewRecord {
                    nonce: &nonce,
                    ..good
                },
                "nonce",
            ),
            (NewRecord { cause: 16, ..good }, "cause"),
            (NewRecord { seq: 16, ..good }, "seq"),
            (
                NewRecord {
                    data: &data,
                    ..good
                },
                "data",
            ),
            (
                NewRecord {
                    accept: &data,
                    ..good
                },
                "accept",
            ),
        ];
        for (record, name) in bad {
            let mut outcomes = vec![Insert::New { id: 77 }];
            let error = store.accept(&[good, record], &mut outcomes).unwrap_err();
            assert!(
                matches!(error, StoreError::Invalid { index: 1, field } if field == name),
                "{error}"
            );
            assert_eq!(error.name(), "invalid");
            assert!(outcomes.is_empty());
        }
        assert_eq!(store.record_count().unwrap(), 0);
    });
}

#[test]
fn a_counter_only_rises() {
    on_each("counter", |store| {
        let with = |counter, tag1| NewRecord {
            form: 1,
            counter: Some(counter),
            ..new_record(1, tag1)
        };
        assert_eq!(
            accept(store, &[with(5, b"tag-0005")]),
            [Insert::New { id: 1 }]
        );
        assert_eq!(
            accept(
                store,
                &[
                    with(5, b"tag-0005"), // the resend
                    with(5, b"tag-xxxx"), // the same counter with another tag: a second device with this key?
                    with(4, b"tag-0004"),
                    with(9, b"tag-0009"),
                    with(8, b"tag-0008"),
                    with(5, b"tag-0005"), // an old record again: still known by its key
                ]
            ),
            [
                Insert::Duplicate { accept: vec![] },
                Insert::StaleCounter { last: 5 },
                Insert::StaleCounter { last: 5 },
                Insert::New { id: 2 },
                Insert::StaleCounter { last: 9 },
                Insert::Duplicate { accept: vec![] },
            ]
        );
        assert_eq!(store.record_count().unwrap(), 2);
        // Another device counts for itself, and a record without a counter moves none.
        let other = NewRecord {
            device: 2,
            ..with(0, b"tag-0000")
        };
        assert_eq!(
            accept(store, &[other, new_record(1, b"tag-none")]),
            [Insert::New { id: 3 }, Insert::New { id: 4 }]
        );
        assert_eq!(
            accept(store, &[with(9, b"tag-yyyy")]),
            [Insert::StaleCounter { last: 9 }]
        );
    });
}

#[test]
fn a_blind_resend_is_a_duplicate_in_the_next_epoch_too() {
    on_each("blind", |store| {
        let blind = NewRecord {
            form: 4,
            counter: Some(7),
            accept: &[1],
            ..new_record(1, b"tag-0007")
        };
        let next = NewRecord {
            epoch: blind.epoch + 1,
            accept: &[],
            ..blind
        };
        assert_eq!(accept(store, &[blind]), [Insert::New { id: 1 }]);
        assert_eq!(
            accept(store, &[next]),
            [Insert::Duplicate { accept: vec![1] }]
        );
        // Once the counter has moved on, a report held back from before is stale.
        let later = NewRecord {
            counter: Some(8),
            ..new_record(1, b"tag-0008")
        };
        assert_eq!(
            accept(store, &[later, next]),
            [Insert::New { id: 2 }, Insert::StaleCounter { last: 8 }]
        );
    });
}

#[test]
fn records_are_listed_by_device_time_and_place_in_insertion_order() {
    on_each("list", |store| {
        store
            .devices_insert(&[new_device(b"dev-1"), new_device(b"dev-2")])
            .unwrap();
        // Epochs of two networks go their own ways, and the clock was set back by an hour at record 5.
        let minute = 60_000;
        let facts: [(i64, u32, i64); 8] = [
            (1, 50, 0),
            (2, 900, 1),
            (1, 900, 70),
            (1, 51, 71),
            (2, 51, 10),
            (1, 901, 11),
            (1, 52, 72),
            (2, 902, 200),
        ];
        for (i, (device, epoch, at)) in facts.into_iter().enumerate() {
            let tag1 = [u8::try_from(i).unwrap(); 8];
            accept(
                store,
                &[NewRecord {
                    epoch,
                    time_ms: at * minute,
                    ..new_record(device, &tag1)
                }],
            );
        }
        let ids = |store: &mut dyn Store, filter: RecordFilter<'_>| -> Vec<i64> {
            records(store, &filter).iter().map(|r| r.id).collect()
        };
        let all = RecordFilter::default();
        let one = RecordFilter {
            device_id: Some(b"dev-1"),
            ..all
        };
        assert_eq!(ids(store, all), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(ids(store, one), [1, 3, 4, 6, 7]);
        assert_eq!(
            ids(
                store,
                RecordFilter {
                    device_id: Some(b"dev-3"),
                    ..all
                }
            ),
            [0_i64; 0]
        );
        assert_eq!(
            ids(
                store,
                RecordFilter {
                    after_id: Some(6),
                    ..all
                }
            ),
            [7, 8]
        );
        assert_eq!(
            ids(
                store,
                RecordFilter {
                    after_id: Some(3),
                    ..one
                }
            ),
            [4, 6, 7]
        );
        assert_eq!(
            ids(
                store,
                RecordFilter {
                    since_ms: Some(70 * minute),
                    ..all
                }
            ),
            [3, 4, 7, 8]
        );
        assert_eq!(
            ids(
                store,
                RecordFilter {
                    since_ms: Some(70 * minute + 1),
                    ..all
                }
            ),
            [4, 7, 8]
        );
        assert_eq!(
            ids(
                store,
                RecordFilter {
                    since_ms: Some(11 * minute),
                    ..one
                }
            ),
            [3, 4, 6, 7]
        );
        assert_eq!(
            ids(
                store,
                RecordFilter {
                    since_ms: Some(201 * minute),
                    ..all
                }
            ),
            [0_i64; 0]
        );
        let mut last = Vec::new();
        store
            .last_records(71 * minute, &mut |r| {
                last.push((r.device, r.epoch, r.time_ms / minute, r.tag1[0]))
            })
            .unwrap();
        assert_eq!(last, [(1, 51, 71, 3), (1, 52, 72, 6), (2, 902, 200, 7)]);
        let mut seen = 0;
        store
            .records_for_each(&all, &mut |_| {
                seen += 1;
                if seen == 3 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
            .unwrap();
        assert_eq!(seen, 3);
    });
}
