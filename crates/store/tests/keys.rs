//! A record is new once, wherever its key is at that moment: in memory, on its way to the table, or there.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::collections::HashMap;
use std::path::Path;

use ambit_store::{
    EvidenceFaultKind, FILE_NAME, Insert, NewRecord, RecordFilter, SqliteStore, Store,
};
use common::{accept, directory, new_device, new_record, records};
use rusqlite::Connection;

/// Folds after so many records. The slices of 64 and more take several batches for 200.
fn open(path: &Path, unfolded_max: usize) -> SqliteStore {
    let mut store = SqliteStore::open(path).unwrap();
    store.set_unfolded_max(unfolded_max);
    store
}

fn table(path: &Path) -> (i64, i64) {
    let connection = Connection::open(path).unwrap();
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get(0)).unwrap();
    (
        count("SELECT count(*) FROM record_key"),
        count("SELECT record FROM keyed"),
    )
}

#[test]
fn a_record_is_new_once_wherever_its_key_is() {
    let path = directory("keys-once").join(FILE_NAME);
    let mut stores = vec![open(&path, 200), open(&path, 200)];
    let ids: Vec<[u8; 1]> = (0..3).map(|n| [n]).collect();
    let devices: Vec<_> = ids.iter().map(|id| new_device(id)).collect();
    stores[0].devices_insert(&devices).unwrap();
    let mut model: HashMap<(i64, u32, u64), i64> = HashMap::new();
    let mut rng = fastrand::Rng::with_seed(1);
    for round in 0..2500_u32 {
        let epoch = 1000 + round / 500;
        let choices: Vec<(i64, u32, u64)> = (0..rng.usize(..9))
            .map(|_| {
                let epoch = epoch - u32::from(rng.u8(..8) == 0);
                (rng.i64(1..=3), epoch, rng.u64(..250))
            })
            .collect();
        let tags: Vec<[u8; 8]> = choices.iter().map(|(.., tag)| tag.to_be_bytes()).collect();
        let batch: Vec<NewRecord<'_>> = choices
            .iter()
            .zip(&tags)
            .map(|((device, epoch, tag), tag1)| NewRecord {
                device_id: &ids[usize::try_from(*device).unwrap() - 1],
                epoch: *epoch,
                accept: &tag1[6..],
                counter: None,
                time_ms: i64::try_from(*tag).unwrap(),
                ..new_record(*device, tag1)
            })
            .collect();
        let which = rng.usize(..stores.len());
        let outcomes = accept(&mut stores[which], &batch);
        for (key, outcome) in choices.iter().zip(outcomes) {
            let next = i64::try_from(model.len()).unwrap() + 1;
            let expected = match model.get(key) {
                Some(_) => Insert::Duplicate {
                    accept: key.2.to_be_bytes()[6..].to_vec(),
                },
                None => Insert::New { id: next },
            };
            assert_eq!(outcome, expected, "round {round}: {key:?}");
            model.entry(*key).or_insert(next);
        }
        if rng.u8(..40) == 0 {
            // A process ends, wherever folding was, and another begins.
            stores[which] = open(&path, 200);
        }
        if rng.u8(..40) == 0 {
            let reader = &mut SqliteStore::open_read_only(&path).unwrap();
            check(reader, &model);
        }
    }
    for store in &mut stores {
        check(store, &model);
        assert_eq!(
            store
                .evidence_verify(&mut |_| true, &mut |fault| panic!("{fault:?}"))
                .unwrap()
                .record,
            i64::try_from(model.len()).unwrap()
        );
    }
    // The control: the table has been used, and so has memory.
    let (in_table, keyed) = table(&path);
    let count = i64::try_from(model.len()).unwrap();
    assert!(keyed > 1000 && keyed < count, "{keyed} of {count}");
    assert!(
        in_table >= keyed && in_table < count,
        "{in_table} of {count}"
    );
}

fn check(store: &mut SqliteStore, model: &HashMap<(i64, u32, u64), i64>) {
    for ((device, epoch, tag), id) in model {
        let row = store.record(*device, *epoch, &tag.to_be_bytes()).unwrap();
        assert_eq!(row.map(|row| row.id), Some(*id));
        let other = store.record(*device, *epoch, &[0xAA; 8]).unwrap();
        assert_eq!(other, None);
    }
    for device in 1..=3 {
        let device_id = [u8::try_from(device - 1).unwrap()];
        let filter = RecordFilter {
            device_id: Some(&device_id),
            since_ms: Some(150),
            ..RecordFilter::default()
        };
        let mut expected: Vec<i64> = model
            .iter()
            .filter(|((of, _, tag), _)| *of == device && *tag >= 150)
            .map(|(_, id)| *id)
            .collect();
        expected.sort_unstable();
        let found: Vec<i64> = records(store, &filter).iter().map(|row| row.id).collect();
        assert_eq!(found, expected);
    }
}

/// Fifty records in the table, and some not yet.
fn filled(path: &Path) -> SqliteStore {
    let mut store = open(path, 20);
    for tag in 0..70_u64 {
        accept(&mut store, &[new_record(1, &tag.to_be_bytes())]);
    }
    assert!(table(path).1 >= 40);
    store
}

#[test]
fn a_key_that_is_taken_out_or_leads_elsewhere_is_found() {
    let path = directory("keys-fault").join(FILE_NAME);
    let mut kinds = Vec::new();
    for sql in [
        "SELECT 1",
        "DELETE FROM record_key WHERE record = 7",
        "UPDATE record_key SET record = 8 WHERE record = 7",
        "UPDATE record_key SET device = 9 WHERE record = 7",
        "UPDATE keyed SET record = 70",
        "INSERT INTO record_key VALUES (1, 9, 1, x'01', 7)",
    ] {
        let _ = std::fs::remove_file(&path);
        drop(filled(&path));
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let mut found = None;
        let mut store = SqliteStore::open(&path).unwrap();
        store
            .evidence_verify(&mut |_| true, &mut |fault| found = Some(fault.kind))
            .unwrap();
        kinds.push(found);
    }
    let damaged = Some(EvidenceFaultKind::Damaged);
    assert_eq!(kinds, [None, damaged, damaged, damaged, damaged, damaged]);
}

#[test]
fn where_the_last_records_were_taken_out_others_in_their_places_are_new_once() {
    let path = directory("keys-back").join(FILE_NAME);
    drop(filled(&path));
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch("DELETE FROM record WHERE id > 10")
        .unwrap();
    let mut store = open(&path, 20);
    let tags: Vec<[u8; 8]> = (1000..1030_u64).map(u64::to_be_bytes).collect();
    let batch: Vec<NewRecord<'_>> = tags.iter().map(|tag| new_record(1, tag)).collect();
    let is_new = |outcome: &Insert| matches!(outcome, Insert::New { .. });
    assert!(accept(&mut store, &batch).iter().all(is_new));
    assert!(!accept(&mut store, &batch).iter().any(is_new));
    // And after a restart.
    drop(store);
    assert!(!accept(&mut open(&path, 20), &batch).iter().any(is_new));
    assert_eq!(open(&path, 20).record_count().unwrap(), 40);
}
