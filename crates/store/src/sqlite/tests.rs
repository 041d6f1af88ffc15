//! What only the inside can see: settings, query plans, and failures made to order.

use super::SqliteStore;
use crate::{Insert, NewRecord, RecordFilter, Store, StoreError};
use rusqlite::Connection;
use rusqlite::types::Value;

fn record(device: i64, tag1: &[u8]) -> NewRecord<'_> {
    NewRecord {
        device,
        device_id: b"",
        epoch: 1000,
        tag1,
        form: 0,
        area_id: [7; 12],
        nonce: &[1, 2, 3, 4],
        cause: 2,
        seq: 3,
        data: &[0; 60],
        accept: &[],
        time_ms: 1_700_000_000_000,
        repeat: false,
        gnb_id: 1,
        reader_index: 1,
        counter: None,
    }
}

/// `max_page_count` makes SQLite itself say that the disk is full; a really full one is in `tests/crash.rs`.
#[test]
fn a_full_store_keeps_nothing_of_the_batch_and_goes_on_when_there_is_room() {
    let mut store = SqliteStore::in_memory().unwrap();
    let tags: Vec<[u8; 8]> = (0..10_000_u64).map(u64::to_be_bytes).collect();
    let batch: Vec<NewRecord<'_>> = tags.iter().map(|tag1| record(1, tag1)).collect();
    let mut outcomes = Vec::new();
    store.accept(&batch[..10], &mut outcomes).unwrap();
    limit_pages(&store.connection, 50);
    // The batch is in another minute than the first one: its note must go with it.
    let later: Vec<NewRecord<'_>> = batch
        .iter()
        .map(|r| NewRecord {
            time_ms: r.time_ms + 60_000,
            ..*r
        })
        .collect();
    let error = store.accept(&later, &mut outcomes).unwrap_err();
    assert!(matches!(error, StoreError::DiskFull), "{error}");
    assert!(outcomes.is_empty());
    assert_eq!(store.record_count().unwrap(), 10);
    limit_pages(&store.connection, 1 << 20);
    store.accept(&later, &mut outcomes).unwrap();
    assert_eq!(
        outcomes
            .iter()
            .filter(|o| matches!(o, Insert::New { .. }))
            .count(),
        9990
    );
    let mut found = 0;
    store
        .last_records(later[0].time_ms, &mut |_| found += 1)
        .unwrap();
    assert_eq!(found, 9990);
}

fn limit_pages(connection: &Connection, pages: u32) {
    connection
        .query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
        .unwrap();
}

#[test]
fn a_transaction_that_was_left_open_is_cleared_away() {
    let mut store = SqliteStore::in_memory().unwrap();
    store
        .connection
        .execute_batch("BEGIN; INSERT INTO meta VALUES ('a', x'00')")
        .unwrap();
    store.meta_set("b", b"1").unwrap();
    assert_eq!(store.meta("a").unwrap(), None);
}

#[test]
fn no_read_scans_the_records() {
    let store = SqliteStore::in_memory().unwrap();
    let plan = |sql: &str, parameters: usize| -> Vec<String> {
        let mut statement = store
            .connection
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap();
        let zeros = vec![0; parameters];
        let rows = statement
            .query_map(rusqlite::params_from_iter(zeros), |row| row.get(3))
            .unwrap();
        rows.map(Result::unwrap).collect()
    };
    // The blocks of all epochs are few.
    let may_scan = |sql, step: &String| sql == super::keys::OF_DEVICE && step == "SCAN b";
    for (sql, parameters) in [
        (super::records::ALL, 2),
        (super::records::BY_ID, 1),
        (super::keys::OF_DEVICE, 2),
        (super::keys::IN_TABLE, 3),
        (super::keys::LEARN, 5),
        (super::records::LAST, 2),
    ] {
        let plan = plan(sql, parameters);
        let scans = plan
            .iter()
            .filter(|step| step.starts_with("SCAN") && !may_scan(sql, step));
        assert_eq!(scans.count(), 0, "{plan:#?}");
    }
    for sql in [(super::keys::OF_DEVICE, 2), (super::keys::IN_TABLE, 3)] {
        let plan = plan(sql.0, sql.1).join("\n");
        assert!(
            plan.contains("SEARCH k USING PRIMARY KEY (epoch=? AND block=? AND device=?"),
            "{plan}"
        );
    }
}

#[test]
fn after_a_failed_sync_of_the_file_nothing_is_written_until_a_restart() {
    let path =
        std::env::temp_dir().join(format!("ambit-store-fault-{}.sqlite3", std::process::id()));
    let log = || std::fs::metadata(path.with_extension("sqlite3-wal")).map_or(0, |log| log.len());
    let mut store = SqliteStore::open(&path).unwrap();
    let mut outcomes = Vec::new();
    store.accept(&[record(1, &[1; 8])], &mut outcomes).unwrap();
    let before = log();
    assert!(before > 0);
    store.log.as_ref().unwrap().fail();
    let refused = store.accept(&[record(1, &[2; 8])], &mut outcomes);
    let error = refused.unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    assert_eq!(store.record_count().unwrap(), 1);
    drop(store);
    // Closing would have moved and removed it.
    assert_eq!(log(), before);
    let mut store = SqliteStore::open(&path).unwrap();
    store.accept(&[record(1, &[2; 8])], &mut outcomes).unwrap();
    assert_eq!(store.record_count().unwrap(), 2);
    // When nothing was to be written after it.
    store.log.as_ref().unwrap().fail();
    drop(store);
    assert!(log() > 0);
    let mut store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.record_count().unwrap(), 2);
    drop(store);
    assert_eq!(log(), 0, "moved at the end");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn the_filter_is_in_force_again_some_batches_after_a_restart() {
    let path =
        std::env::temp_dir().join(format!("ambit-store-learn-{}.sqlite3", std::process::id()));
    let tag = |number: u32| [number.to_be_bytes(), [7; 4]].concat();
    let mut outcomes = Vec::new();
    let mut number = 0;
    let mut store = SqliteStore::open(&path).unwrap();
    store.keys.set_unfolded_max(64);
    let mut accept = |store: &mut SqliteStore| {
        for _ in 0..16 {
            number += 1;
            store
                .accept(&[record(1, &tag(number))], &mut outcomes)
                .unwrap();
        }
    };
    while store.keys.folded() < 256 {
        accept(&mut store);
    }
    drop(store);
    let mut store = SqliteStore::open(&path).unwrap();
    store.keys.set_unfolded_max(64);
    accept(&mut store);
    let is_in_force = |store: &SqliteStore| {
        let foreign = (0..32).filter(|n| store.keys.may_have(1, 1000, &tag(1 << 30 | n)));
        foreign.count() < 4
    };
    assert!(!is_in_force(&store), "not all is learned yet");
    for _ in 0..64 {
        accept(&mut store);
    }
    assert!(is_in_force(&store));
    drop(store);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_file_is_synced_at_every_commit() {
    let path = std::env::temp_dir().join(format!(
        "ambit-store-settings-{}.sqlite3",
        std::process::id()
    ));
    let store = SqliteStore::open(&path).unwrap();
    let pragma = |name: &str| -> Value {
        store
            .connection
            .query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
            .unwrap()
    };
    assert_eq!(pragma("journal_mode"), Value::Text("wal".into()));
    assert_eq!(pragma("synchronous"), Value::Integer(2), "FULL");
    assert_eq!(pragma("mmap_size"), Value::Integer(0));
    assert_eq!(pragma("application_id"), Value::Integer(0x416d_6253));
    assert_eq!(pragma("user_version"), Value::Integer(10));
    drop(store);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn an_empty_store_answers_every_question() {
    let mut store = SqliteStore::in_memory().unwrap();
    let filter = RecordFilter {
        since_ms: Some(0),
        ..RecordFilter::default()
    };
    store
        .records_for_each(&filter, &mut |_| unreachable!())
        .unwrap();
    store
        .last_records(i64::MIN, &mut |_| unreachable!())
        .unwrap();
    assert_eq!(
        (store.record_count().unwrap(), store.device_count().unwrap()),
        (0, 0)
    );
}
