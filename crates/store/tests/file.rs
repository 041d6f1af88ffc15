//! The file: what is opened and what is refused, and what survives.
#![allow(clippy::unwrap_used)]

mod common;

use ambit_store::{
    ChainRow, FILE_NAME, Insert, NewEvent, NewRecord, RecordFilter, SqliteStore, Store, StoreError,
};
use common::{accept, directory, new_device, new_record, records};
use rusqlite::Connection;

/// The schema version that this program writes.
const SCHEMA: u32 = 10;

#[test]
fn a_store_is_found_again_as_it_was() {
    let path = directory("again").join(FILE_NAME);
    let mut store = SqliteStore::open(&path).unwrap();
    store.devices_insert(&[new_device(b"dev-1")]).unwrap();
    accept(
        &mut store,
        &[NewRecord {
            counter: Some(3),
            ..new_record(1, b"tag-aaaa")
        }],
    );
    drop(store);
    let mut store = SqliteStore::open(&path).unwrap();
    assert_eq!(
        store.device(b"dev-1").unwrap().unwrap().counter_last,
        Some(3)
    );
    assert_eq!(
        accept(&mut store, &[new_record(1, b"tag-aaaa")]),
        [Insert::Duplicate { accept: vec![] }]
    );
    assert_eq!(
        accept(&mut store, &[new_record(1, b"tag-bbbb")]),
        [Insert::New { id: 2 }]
    );
}

#[cfg(unix)]
#[test]
fn the_files_are_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = directory("mode");
    let mut store = SqliteStore::open(&dir.join(FILE_NAME)).unwrap();
    store.meta_set("a", b"b").unwrap();
    let modes: Vec<u32> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().permissions().mode() & 0o777)
        .collect();
    assert_eq!(modes, [0o600; 3], "the file, -wal and -shm");
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let path = directory("newer").join(FILE_NAME);
    drop(SqliteStore::open(&path).unwrap());
    Connection::open(&path)
        .unwrap()
        .execute_batch("PRAGMA user_version = 99")
        .unwrap();
    for result in [SqliteStore::open(&path), SqliteStore::open_read_only(&path)] {
        let error = result.unwrap_err();
        assert!(
            matches!(
                error,
                StoreError::NewerVersion {
                    found: 99,
                    supported: SCHEMA
                }
            ),
            "{error}"
        );
    }
    let version: i64 = Connection::open(&path)
        .unwrap()
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    assert_eq!(version, 99);
}

#[test]
fn a_foreign_file_is_refused_and_left_alone() {
    let dir = directory("foreign");
    let text = dir.join("text");
    std::fs::write(&text, "no database at all\n".repeat(100)).unwrap();
    assert!(
        matches!(SqliteStore::open(&text), Err(StoreError::NotADatabase { path }) if path == text)
    );
    assert_eq!(
        std::fs::read(&text).unwrap(),
        "no database at all\n".repeat(100).as_bytes()
    );

    // Another application's database, with and without an application_id, and a file that only has the id of one.
    for (name, sql, id) in [
        ("plain", "CREATE TABLE t (x)", 0),
        (
            "marked",
            "CREATE TABLE t (x); PRAGMA application_id = 17",
            17,
        ),
        ("versioned", "PRAGMA user_version = 1", 0),
    ] {
        let path = dir.join(name);
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let before = std::fs::read(&path).unwrap();
        for result in [SqliteStore::open(&path), SqliteStore::open_read_only(&path)] {
            let error = result.unwrap_err();
            assert!(
                matches!(error, StoreError::ForeignFile { application_id, .. } if application_id == id),
                "{error}"
            );
        }
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    assert!(
        matches!(SqliteStore::open(&dir), Err(StoreError::CannotOpen { .. })),
        "a directory"
    );
    assert!(matches!(
        SqliteStore::open(&dir.join("no/such")),
        Err(StoreError::CannotOpen { .. })
    ));
    assert!(matches!(
        SqliteStore::open_read_only(&dir.join("absent")),
        Err(StoreError::CannotOpen { .. })
    ));
    assert!(!dir.join("absent").exists());
}

#[test]
fn an_empty_file_becomes_a_store_but_not_when_opened_for_reading() {
    let path = directory("empty").join(FILE_NAME);
    std::fs::write(&path, "").unwrap();
    let error = SqliteStore::open_read_only(&path).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::OlderVersion {
                found: 0,
                supported: SCHEMA
            }
        ),
        "{error}"
    );
    assert_eq!(SqliteStore::open(&path).unwrap().record_count().unwrap(), 0);
}

#[test]
fn a_reader_sees_what_a_writer_commits_and_writes_nothing() {
    let path = directory("reader").join(FILE_NAME);
    let mut writer = SqliteStore::open(&path).unwrap();
    let mut reader = SqliteStore::open_read_only(&path).unwrap();
    assert_eq!(reader.record_count().unwrap(), 0);
    accept(&mut writer, &[new_record(1, b"tag-aaaa")]);
    assert_eq!(reader.record_count().unwrap(), 1);
    let error = reader
        .accept(&[new_record(1, b"tag-bbbb")], &mut Vec::new())
        .unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly), "{error}");
    assert_eq!(reader.record_count().unwrap(), 1);
}

#[test]
fn many_may_open_a_new_store_at_once() {
    let dir = directory("rush");
    for round in 0..20 {
        let path = dir.join(round.to_string());
        std::thread::scope(|scope| {
            for i in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    SqliteStore::open(path)
                        .unwrap()
                        .meta_set(&i.to_string(), b"here")
                        .unwrap()
                });
            }
        });
        let mut store = SqliteStore::open(&path).unwrap();
        assert!((0..4).all(|i: i32| store.meta(&i.to_string()).unwrap().is_some()));
    }
}

#[test]
fn two_writers_agree_on_what_is_new() {
    let path = directory("writers").join(FILE_NAME);
    let tags: Vec<[u8; 8]> = (0..400_u64).map(u64::to_be_bytes).collect();
    // Both get all records, in different orders: each record is new for exactly one of them. Each takes part in making
    // the file, too.
    let work = |backwards: bool| {
        let mut store = SqliteStore::open(&path).unwrap();
        let mut batch: Vec<NewRecord<'_>> = tags
            .iter()
            .enumerate()
            .map(|(i, tag)| NewRecord {
                time_ms: i64::try_from(i).unwrap() * 1000,
                ..new_record(1, tag)
            })
            .collect();
        if backwards {
            batch.reverse();
        }
        let outcomes = batch.chunks(7).flat_map(|chunk| accept(&mut store, chunk));
        outcomes.filter(|o| matches!(o, Insert::New { .. })).count()
    };
    let new: usize = std::thread::scope(|scope| {
        let threads = [scope.spawn(|| work(false)), scope.spawn(|| work(true))];
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    assert_eq!(new, 400);
    let mut store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.record_count().unwrap(), 400);
    // The note of the minutes holds whoever wrote it.
    for since_ms in [0, 59_999, 200_000, 399_000] {
        let since = RecordFilter {
            since_ms: Some(since_ms),
            ..RecordFilter::default()
        };
        let expected = records(&mut store, &RecordFilter::default())
            .iter()
            .filter(|r| r.time_ms >= since_ms)
            .count();
        assert_eq!(records(&mut store, &since).len(), expected);
    }
}

#[test]
fn a_rolled_back_copy_opens_and_goes_on() {
    let dir = directory("copy");
    let (path, copy) = (dir.join(FILE_NAME), dir.join("copy.sqlite3"));
    let mut store = SqliteStore::open(&path).unwrap();
    let chain = ChainRow {
        snid: [1; 9],
        seed_wrapped: vec![7; 40],
        first_epoch: 1,
        last_epoch: 100,
        period_s: 600,
        origin_unix_s: 0,
        epoch_issued: 5,
    };
    store.chain_insert(&chain).unwrap();
    accept(&mut store, &[new_record(1, b"tag-aaaa")]);
    Connection::open(&path)
        .unwrap()
        .execute("VACUUM INTO ?1", [copy.to_str().unwrap()])
        .unwrap();
    accept(&mut store, &[new_record(1, b"tag-bbbb")]);
    store.chain_set_epoch(&[1; 9], 9).unwrap();
    drop(store);

    let mut store = SqliteStore::open(&copy).unwrap();
    assert_eq!(store.chain(&[1; 9]).unwrap().unwrap().epoch_issued, 5);
    assert_eq!(
        accept(
            &mut store,
            &[new_record(1, b"tag-aaaa"), new_record(1, b"tag-bbbb")]
        ),
        [Insert::Duplicate { accept: vec![] }, Insert::New { id: 2 }]
    );
}

#[test]
fn the_views_read_well() {
    let path = directory("views").join(FILE_NAME);
    let mut store = SqliteStore::open(&path).unwrap();
    store.devices_insert(&[new_device(&[0xab, 1])]).unwrap();
    accept(
        &mut store,
        &[NewRecord {
            form: 2,
            counter: Some(6),
            ..new_record(1, b"tag-aaaa")
        }],
    );
    store
        .events_insert(&[NewEvent {
            time_ms: 1_700_000_000_999,
            kind: "clone_suspicion",
            severity: "alarm",
            device_id: Some(&[0xab, 1]),
            area_id: None,
            gnb_id: None,
            reader_index: None,
            count: 1,
            detail: "{}",
        }])
        .unwrap();
    let line = |sql: &str| -> String {
        let connection = Connection::open(&path).unwrap();
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(
        line(
            "SELECT id || ' ' || time || ' ' || device_id || ' ' || form || ' ' || tag1 || ' ' || cause FROM records"
        ),
        "1 2023-11-14T22:13:20.123Z ab01 concealed 7461672d61616161 periodic"
    );
    assert_eq!(
        line(
            "SELECT device_id || ' ' || form || ' ' || disabled || ' ' || counter_last || ' ' || created FROM devices"
        ),
        "ab01 beacon no 6 2023-11-14T22:13:20.000Z"
    );
    assert_eq!(
        line("SELECT time || ' ' || kind || ' ' || device_id FROM events"),
        "2023-11-14T22:13:20.999Z clone_suspicion ab01"
    );
    assert_eq!(
        line("SELECT count(*) || '' FROM pragma_table_info('devices') WHERE name LIKE '%key'"),
        "0"
    );
}

#[test]
fn the_log_is_moved_into_the_file_beside_the_commits() {
    let path = directory("log").join(FILE_NAME);
    let mut store = SqliteStore::open(&path).unwrap();
    let tags: Vec<[u8; 8]> = (0..100_000_u64).map(u64::to_be_bytes).collect();
    for tags in tags.chunks(2000) {
        let batch: Vec<NewRecord<'_>> = tags.iter().map(|tag| new_record(1, tag)).collect();
        accept(&mut store, &batch);
    }
    // Nothing is written any more, and the store is not closed.
    let moved = || std::fs::metadata(&path).unwrap().len() > 4 << 20;
    for _ in 0..500 {
        if moved() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(moved());
    assert_eq!(store.record_count().unwrap(), 100_000);
}
