//! What the tests share: a store with devices of two fleets, and records of theirs.
#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

use ambit_store::{Insert, NewDevice, NewRecord, SqliteStore, Store};

pub const NOW_MS: i64 = 1_700_000_000_000;

/// A store with `devices` devices `d1`, `d2`, ...: those with odd numbers of fleet `pallets`, the others of `crates`.
pub fn store(devices: usize) -> SqliteStore {
    let mut store = SqliteStore::in_memory().unwrap();
    add_devices(&mut store, devices);
    store
}

pub fn add_devices(store: &mut dyn Store, devices: usize) {
    let ids: Vec<String> = (1..=devices).map(|n| format!("d{n}")).collect();
    let rows: Vec<NewDevice<'_>> = ids
        .iter()
        .enumerate()
        .map(|(n, id)| NewDevice {
            device_id: id.as_bytes(),
            device_type: "2b",
            suite: 1,
            form: "beacon",
            tag_len: 8,
            fleet: if n % 2 == 0 { "pallets" } else { "crates" },
            wrapped_key: b"0123456789abcdef01234567",
            credential: "operator",
            created_ms: NOW_MS,
        })
        .collect();
    store.devices_insert(&rows).unwrap();
}

/// One report, to change one thing of.
#[derive(Clone, Copy)]
pub struct Report {
    pub device: i64,
    pub epoch: u32,
    pub area: u8,
    pub cause: u8,
    pub seq: u8,
    pub time_ms: i64,
    pub repeat: bool,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            device: 1,
            epoch: 7,
            area: 1,
            cause: 2,
            seq: 0,
            time_ms: NOW_MS,
            repeat: false,
        }
    }
}

/// Accepts a report with this tag.
pub fn accept(store: &mut dyn Store, report: Report, tag: u64) -> Insert {
    let mut area_id = [0; 12];
    area_id[11] = report.area;
    accept_at(store, report, area_id, tag)
}

/// The same with a whole AreaID.
pub fn accept_at(store: &mut dyn Store, report: Report, area_id: [u8; 12], tag: u64) -> Insert {
    let device_id = format!("d{}", report.device);
    let record = NewRecord {
        device: report.device,
        device_id: device_id.as_bytes(),
        epoch: report.epoch,
        tag1: &tag.to_be_bytes(),
        form: 0,
        area_id,
        nonce: &[1, 2, 3, 4],
        cause: report.cause,
        seq: report.seq,
        data: b"21.5 C",
        accept: &[],
        time_ms: report.time_ms,
        repeat: report.repeat,
        gnb_id: 1,
        reader_index: 1,
        counter: None,
    };
    let mut outcomes = Vec::new();
    store.accept(&[record], &mut outcomes).unwrap();
    outcomes.pop().unwrap()
}
