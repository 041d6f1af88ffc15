//! What the tests share: places for files, and rows to put into them.
#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

use ambit_store::{
    CheckpointRow, EvidenceHead, FILE_NAME, Insert, NewDevice, NewRecord, PostgresStore,
    PostgresUrl, RecordFilter, RecordRow, SqliteStore, Store,
};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::OnceLock;

#[path = "../../../lab/src/postgres.rs"]
pub mod postgres;

use postgres::PostgresServer;

/// Runs a test on a store in memory, on one in a file and, where PostgreSQL is installed, on one in a database.
pub fn on_each(name: &str, test: impl Fn(&mut dyn Store)) {
    test(&mut SqliteStore::in_memory().unwrap());
    test(&mut SqliteStore::open(&directory(name).join(FILE_NAME)).unwrap());
    if let Some(url) = database(name) {
        test(&mut PostgresStore::open(&url, None).unwrap());
    }
}

/// A way to open one store again and again, in a file and, where PostgreSQL is installed, in a database.
pub fn on_each_shared(name: &str, test: impl Fn(&(dyn Fn() -> Box<dyn Store> + Sync))) {
    let path = directory(name).join(FILE_NAME);
    test(&|| Box::new(SqliteStore::open(&path).unwrap()));
    if let Some(url) = database(name) {
        test(&|| Box::new(PostgresStore::open(&url, None).unwrap()));
    }
}

/// The server of this test program.
pub fn server() -> Option<&'static PostgresServer> {
    static SERVER: OnceLock<Option<PostgresServer>> = OnceLock::new();
    SERVER
        .get_or_init(|| PostgresServer::start().unwrap())
        .as_ref()
}

/// An empty database; `None` where PostgreSQL is not installed.
pub fn database(name: &str) -> Option<PostgresUrl> {
    let url = server()?.database(name).unwrap();
    Some(PostgresUrl::new(&url, None).unwrap())
}

/// An empty directory of this name, on the disk the build is on.
pub fn directory(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// A valid device to change one thing of.
pub fn new_device(device_id: &[u8]) -> NewDevice<'_> {
    NewDevice {
        device_id,
        device_type: "2a",
        suite: 1,
        form: "beacon",
        tag_len: 8,
        fleet: "pallets",
        credential: "operator",
        wrapped_key: b"0123456789abcdef01234567",
        created_ms: 1_700_000_000_000,
    }
}

/// A valid beacon-form record to change one thing of.
pub fn new_record(device: i64, tag1: &[u8]) -> NewRecord<'_> {
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
        data: b"21.5 C",
        accept: &[],
        time_ms: 1_700_000_000_123,
        repeat: false,
        gnb_id: 9,
        reader_index: 2,
        counter: None,
    }
}

pub fn accept(store: &mut dyn Store, batch: &[NewRecord<'_>]) -> Vec<Insert> {
    let mut outcomes = Vec::new();
    store.accept(batch, &mut outcomes).unwrap();
    outcomes
}

pub fn records(store: &mut dyn Store, filter: &RecordFilter<'_>) -> Vec<RecordRow> {
    let mut all = Vec::new();
    let mut take = |row| {
        all.push(row);
        ControlFlow::Continue(())
    };
    store.records_for_each(filter, &mut take).unwrap();
    all
}

/// A checkpoint of where a chain stands, under a signature that the tests' verifier takes for good.
pub fn checkpoint(head: EvidenceHead, time_ms: i64) -> CheckpointRow {
    CheckpointRow {
        record: head.record,
        link: head.link,
        time_ms,
        signature: [1; 64],
    }
}
