//! The store: records come out as they went in and are taken once, as a map in memory would have it; canonical octets are
//! canonical; and a file that was damaged gives errors or rows, never a panic, and never evidence that holds over what changed.

use std::cell::LazyCell;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::PathBuf;

use ambit_store::evidence::{record_digest, record_from_octets, record_octets};
use ambit_store::{
    EventFilter, FILE_NAME, Insert, NewDevice, NewEvent, NewRecord, RecordFilter, RecordRow,
    SqliteStore, Store,
};
use rusqlite::Connection;
use rusqlite::types::Value;

use crate::Input;
use crate::defect::Defect;

/// The target.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    match input.u8() % 4 {
        0 => canonical(input.0),
        1 | 2 => accepted(&mut input),
        _ => match input.u8() % 2 {
            0 => damaged_values(&mut input),
            _ => damaged_octets(&mut input),
        },
    }
}

/// Octets that say a record are those that the record says, and another record has other octets.
fn canonical(octets: &[u8]) {
    let Some(mut row) = record_from_octets(octets) else {
        return;
    };
    if Defect::StoreReadsOther.is_planted() {
        row.seq ^= 1;
    }
    assert_eq!(record_octets(&row), octets);
    let mut other = row.clone();
    other.time_ms ^= 1;
    assert_ne!(record_digest(&other), record_digest(&row));
}

/// What [`Insert`] has to say of a batch, from the contract of [`Store::accept`].
#[derive(Default)]
struct Model {
    records: HashMap<(i64, u32, Vec<u8>), Vec<u8>>,
    counters: HashMap<i64, (u32, Vec<u8>, Vec<u8>)>,
    ids: i64,
}

impl Model {
    fn accept(&mut self, record: &NewRecord<'_>) -> Insert {
        let key = (record.device, record.epoch, record.tag1.to_vec());
        if let Some(accept) = self.records.get(&key) {
            let accept = accept.clone();
            return Insert::Duplicate { accept };
        }
        if let Some(counter) = record.counter {
            match self.counters.get(&record.device) {
                Some((last, tag1, accept)) if *last == counter && tag1 == record.tag1 => {
                    let accept = accept.clone();
                    return Insert::Duplicate { accept };
                }
                Some((last, ..)) if counter <= *last => {
                    return Insert::StaleCounter { last: *last };
                }
                _ => {}
            }
            let kept = (counter, record.tag1.to_vec(), record.accept.to_vec());
            self.counters.insert(record.device, kept);
        }
        self.ids += 1;
        self.records.insert(key, record.accept.to_vec());
        Insert::New { id: self.ids }
    }
}

const fn device<'a>(device_id: &'a [u8], form: &'a str) -> NewDevice<'a> {
    NewDevice {
        device_id,
        device_type: "2b",
        suite: 1,
        form,
        tag_len: 8,
        fleet: "default",
        credential: "operator",
        wrapped_key: &[1; 44],
        created_ms: 1,
    }
}

/// The devices that are there before the input begins. Keys are folded as soon as there are two.
fn with_devices(mut store: SqliteStore) -> SqliteStore {
    store.set_unfolded_max(2);
    store
        .devices_insert(&[device(b"a", "beacon"), device(b"b", "counter")])
        .unwrap();
    store
}

/// Batches of records, by choices that make equal keys and counters likely.
fn accepted(input: &mut Input<'_>) {
    let mut store = with_devices(SqliteStore::in_memory().unwrap());
    let mut model = Model::default();
    let mut kept: Vec<RecordRow> = Vec::new();
    for _ in 0..4 {
        let count = input.u8() % 5;
        let records: Vec<_> = (0..count).map(|_| Choice::read(input)).collect();
        let batch: Vec<_> = records.iter().map(Choice::record).collect();
        let mut outcomes = vec![Insert::DeviceChanged];
        if store.accept(&batch, &mut outcomes).is_err() {
            // A field out of its limits: nothing of the batch is kept.
            assert!(batch.iter().any(|record| !is_valid(record)));
            assert!(outcomes.is_empty());
            continue;
        }
        assert!(batch.iter().all(is_valid));
        let mut expected: Vec<_> = batch.iter().map(|record| model.accept(record)).collect();
        if Defect::StoreTakesTwice.is_planted() {
            expected.retain(|outcome| !matches!(outcome, Insert::Duplicate { .. }));
        }
        assert_eq!(outcomes, expected);
        for (record, outcome) in batch.iter().zip(&outcomes) {
            if let Insert::New { id } = outcome {
                kept.push(row(*id, record));
            }
        }
    }
    let mut found = Vec::new();
    let mut take = |row: RecordRow| {
        found.push(RecordRow {
            link: [0; 32],
            ..row
        });
        ControlFlow::Continue(())
    };
    store
        .records_for_each(&RecordFilter::default(), &mut take)
        .unwrap();
    assert_eq!(found, kept);
    assert_eq!(store.record_count().unwrap(), kept.len() as u64);
    let mut faults = Vec::new();
    let head = store
        .evidence_verify(&mut |_| true, &mut |fault| faults.push(fault))
        .unwrap();
    assert_eq!(faults, []);
    assert_eq!(head, store.evidence_head().unwrap());
}

/// What an input says of a record.
struct Choice {
    device: i64,
    epoch: u32,
    tag1: Vec<u8>,
    counter: Option<u32>,
    octets: [u8; 8],
    nonce: Vec<u8>,
    data: Vec<u8>,
    accept: Vec<u8>,
}

impl Choice {
    fn read(input: &mut Input<'_>) -> Self {
        let device = 1 + i64::from(input.u8() % 2);
        let epoch = u32::from(input.u8() % 4);
        let tag1 = vec![input.u8() % 4; usize::from(input.one_of(&[4_u8, 8, 16, 8, 8, 5]))];
        let counter = (device == 2).then(|| u32::from(input.u8() % 16));
        Self {
            device,
            epoch,
            tag1,
            counter,
            octets: input.array(),
            nonce: vec![3; usize::from(input.u8() % 20)],
            data: input.short().to_vec(),
            accept: vec![input.u8(); usize::from(input.u8() % 4)],
        }
    }

    fn record(&self) -> NewRecord<'_> {
        let [form, cause, seq, repeat, g, r, t, area] = self.octets;
        NewRecord {
            device: self.device,
            device_id: if self.device == 1 { b"a" } else { b"b" },
            epoch: self.epoch,
            tag1: &self.tag1,
            form: form % 6,
            area_id: [area; 12],
            nonce: &self.nonce,
            cause: cause % 16,
            seq: seq % 16,
            data: &self.data,
            accept: &self.accept,
            time_ms: i64::from(t) << 32,
            repeat: repeat % 2 == 1,
            gnb_id: u32::from(g) << 24,
            reader_index: u16::from(r) << 8,
            counter: self.counter,
        }
    }
}

fn is_valid(record: &NewRecord<'_>) -> bool {
    matches!(record.tag1.len(), 4 | 8 | 16) && record.nonce.len() <= 16 && record.data.len() <= 90
}

fn row(id: i64, record: &NewRecord<'_>) -> RecordRow {
    RecordRow {
        id,
        device: record.device,
        device_id: record.device_id.to_vec(),
        epoch: record.epoch,
        tag1: record.tag1.to_vec(),
        form: record.form,
        area_id: record.area_id,
        nonce: record.nonce.to_vec(),
        cause: record.cause,
        seq: record.seq,
        data: record.data.to_vec(),
        accept: record.accept.to_vec(),
        time_ms: record.time_ms,
        repeat: record.repeat,
        gnb_id: record.gnb_id,
        reader_index: record.reader_index,
        counter: record.counter,
        link: [0; 32],
    }
}

/// A closed store with something of everything in it, and the rows that it gives.
struct Template {
    octets: Vec<u8>,
    rows: Vec<RecordRow>,
    columns: Vec<(String, String)>,
    /// Where the damaged copies go: in memory where the system has such a file system.
    directory: tempfile::TempDir,
}

thread_local! {
    static TEMPLATE: LazyCell<Template> = LazyCell::new(template);
}

fn template() -> Template {
    let shm = PathBuf::from("/dev/shm");
    let directory = match shm.is_dir() {
        true => tempfile::tempdir_in(shm).unwrap(),
        false => tempfile::tempdir().unwrap(),
    };
    let path = directory.path().join("template.sqlite3");
    let mut store = with_devices(SqliteStore::open(&path).unwrap());
    let choices = [[0; 40], [1; 40], [2; 40]].map(|octets| Choice::read(&mut Input(&octets)));
    let batch: Vec<_> = choices.iter().map(Choice::record).collect();
    store.accept(&batch, &mut Vec::new()).unwrap();
    let event = NewEvent {
        time_ms: 5,
        kind: "clone_suspicion",
        severity: "warning",
        device_id: Some(b"a"),
        area_id: Some([1; 12]),
        gnb_id: Some(1),
        reader_index: Some(1),
        count: 1,
        detail: "{}",
    };
    store.events_insert(&[event]).unwrap();
    store.meta_set("name", b"value").unwrap();
    let rows = read(&mut store).unwrap();
    drop(store);
    let connection = Connection::open(&path).unwrap();
    connection
        .query_row("PRAGMA journal_mode=DELETE", [], |_| Ok(()))
        .unwrap();
    let mut columns = Vec::new();
    let mut tables = connection
        .prepare(
            "SELECT m.name, p.name FROM sqlite_schema m, pragma_table_info(m.name) p \
             WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' ORDER BY 1, 2",
        )
        .unwrap();
    let mut found = tables.query([]).unwrap();
    while let Some(row) = found.next().unwrap() {
        columns.push((row.get(0).unwrap(), row.get(1).unwrap()));
    }
    drop(found);
    drop(tables);
    drop(connection);
    Template {
        octets: std::fs::read(&path).unwrap(),
        rows,
        columns,
        directory,
    }
}

/// Everything that can be read, to the end or to the first error.
fn read(store: &mut SqliteStore) -> Result<Vec<RecordRow>, ambit_store::StoreError> {
    let go_on = ControlFlow::Continue(());
    let mut rows = Vec::new();
    store.devices_for_each(&mut |_| go_on)?;
    store.subscribers_for_each(&mut |_| go_on)?;
    store.records_for_each(&RecordFilter::default(), &mut |row| {
        rows.push(row);
        go_on
    })?;
    store.events_for_each(&EventFilter::default(), &mut |_| go_on)?;
    store.alarms_for_each(true, &mut |_| go_on)?;
    store.checkpoints_for_each(0, &mut |_| go_on)?;
    store.last_records(0, &mut |_| {})?;
    store.device_changes(0, &mut |_| go_on)?;
    store.device(b"a")?;
    store.meta("name")?;
    Ok(rows)
}

/// Opens a damaged file and reads it; then the evidence must not hold over rows that are not what they were.
fn judge(path: &std::path::Path) {
    let Ok(mut store) = SqliteStore::open(path) else {
        return;
    };
    let Ok(rows) = read(&mut store) else {
        return;
    };
    let mut faults = 0;
    let verified = store.evidence_verify(&mut |_| true, &mut |_| faults += 1);
    if Defect::StoreOverlooksDamage.is_planted() {
        faults = 0;
    }
    let is_held = faults == 0 && verified.is_ok();
    TEMPLATE.with(|template| {
        // Records cut off the end need a checkpoint to be missed, and this file has none.
        let is_whole = template.rows.starts_with(&rows);
        assert!(!is_held || is_whole, "evidence holds over {rows:?}");
    });
    // A core would go on with it: what cannot be written is an error as well.
    let choice = Choice::read(&mut Input(&[1; 40]));
    let _ = store.accept(&[choice.record()], &mut Vec::new());
    let _ = store.meta_set("name", b"other");
    let _ = store.device_set_disabled(1, true);
    let _ = store.devices_insert(&[device(b"c", "beacon")]);
}

/// One value of one row is another, of another type perhaps.
fn damaged_values(input: &mut Input<'_>) {
    TEMPLATE.with(|template| {
        let path = template.directory.path().join(FILE_NAME);
        std::fs::write(&path, &template.octets).unwrap();
        let connection = Connection::open(&path).unwrap();
        let _ = connection.execute_batch("PRAGMA ignore_check_constraints = ON");
        for _ in 0..=input.u8() % 3 {
            let (table, column) = &template.columns[usize::from(input.u16()) % template.columns.len()];
            let value = match input.u8() % 5 {
                0 => Value::Null,
                1 => Value::Integer(i64::from_be_bytes(input.array())),
                2 => Value::Real(f64::from_bits(u64::from_be_bytes(input.array()))),
                3 => Value::Text(String::from_utf8_lossy(input.short()).into_owned()),
                _ => Value::Blob(input.short().to_vec()),
            };
            let sql = format!(
                "UPDATE \"{table}\" SET \"{column}\" = ?1 WHERE rowid = (SELECT rowid FROM \"{table}\" LIMIT 1 OFFSET {})",
                input.u8() % 4
            );
            let _ = connection.execute(&sql, [value]);
        }
        drop(connection);
        judge(&path);
        let _ = std::fs::remove_file(&path);
    });
}

/// Octets of the file are others.
fn damaged_octets(input: &mut Input<'_>) {
    TEMPLATE.with(|template| {
        let path = template.directory.path().join(FILE_NAME);
        let mut octets = template.octets.clone();
        for _ in 0..=input.u8() % 8 {
            let at = input.u32() as usize % octets.len();
            let new = input.short();
            for (to, from) in octets[at..].iter_mut().zip(new) {
                *to = *from;
            }
        }
        std::fs::write(&path, &octets).unwrap();
        judge(&path);
        for ending in ["", "-wal", "-shm", "-journal"] {
            let _ = std::fs::remove_file(format!("{}{ending}", path.display()));
        }
    });
}
