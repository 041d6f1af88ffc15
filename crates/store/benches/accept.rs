//! `SqliteStore::accept` beside bare durable appends of the same octets, in the same run.
//!
//! The same inserts without the evidence chain stand beside it: what links cost.
//!
//! Each group is one durable commit, or one write and one `fdatasync`. The ratio is what knowing duplicates, being
//! queryable and being one readable file cost. `AMBIT_BENCH_DIR` names another disk, `AMBIT_BENCH_ROUNDS` more rounds.

use ambit_store::{FILE_NAME, Insert, NewRecord, SqliteStore, Store};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Group size and records a round: enough for the WAL to be moved into the file several times.
const GROUPS: [(usize, usize); 3] = [(64, 40_000), (512, 80_000), (4096, 160_000)];
const DEVICES: u64 = 100_000;

fn main() -> Result<()> {
    let base = std::env::var_os("AMBIT_BENCH_DIR")
        .map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from);
    let rounds: usize = std::env::var("AMBIT_BENCH_ROUNDS")
        .ok()
        .map_or(Ok(3), |v| v.parse())?;
    let dir = base.join("bench-accept");
    println!("{DEVICES} devices, {rounds} rounds, median (spread), records/s");
    println!(
        "{:>6}  {:>30}  {:>30}  {:>30}  {:>30}  {:>6}  {:>8}",
        "group", "append", "without links", "accept", "accept, counter form", "ratio", "links"
    );
    for (group, count) in GROUPS {
        let rows = rows(count);
        let mut rates = [const { Vec::new() }; 4];
        for _ in 0..rounds {
            for (way, rates) in rates.iter_mut().enumerate() {
                let _ = std::fs::remove_dir_all(&dir);
                std::fs::create_dir_all(&dir)?;
                let elapsed = match way {
                    0 => append(&dir, &rows, group)?,
                    1 => without_links(&dir, &rows, group)?,
                    _ => accept(&dir, &rows, group, way == 3)?,
                };
                rates.push(count as f64 / elapsed.as_secs_f64());
            }
        }
        let [append, without, accept, counted] = rates.map(Rates::new);
        println!(
            "{group:>6}  {append:>30}  {without:>30}  {accept:>30}  {counted:>30}  {:>6.2}  {:>7.1}%",
            accept.median / append.median,
            (without.median / accept.median - 1.0) * 100.0
        );
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

/// Returns the time without that of creating the file.
fn append(dir: &Path, rows: &[Row], group: usize) -> Result<Duration> {
    let mut file = File::create(dir.join("log"))?;
    let mut buffer = Vec::new();
    let start = Instant::now();
    for chunk in rows.chunks(group) {
        buffer.clear();
        for row in chunk {
            row.pack(&mut buffer);
        }
        file.write_all(&buffer)?;
        file.sync_data()?;
    }
    Ok(start.elapsed())
}

/// Returns the time without that of opening and closing the store, but with that of moving the WAL into the file.
fn accept(dir: &Path, rows: &[Row], group: usize, counted: bool) -> Result<Duration> {
    let mut store = SqliteStore::open(&dir.join(FILE_NAME))?;
    let mut outcomes = Vec::new();
    let start = Instant::now();
    for chunk in rows.chunks(group) {
        let batch: Vec<NewRecord<'_>> = chunk.iter().map(|row| row.record(counted)).collect();
        store.accept(&batch, &mut outcomes)?;
        if outcomes.iter().any(|o| !matches!(o, Insert::New { .. })) {
            return Err("a new record was not taken for new".into());
        }
    }
    Ok(start.elapsed())
}

/// The inserts of `accept` by hand, into the same schema with empty links.
fn without_links(dir: &Path, rows: &[Row], group: usize) -> Result<Duration> {
    let path = dir.join(FILE_NAME);
    drop(SqliteStore::open(&path)?);
    let connection = rusqlite::Connection::open(&path)?;
    connection.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 4096",
    )?;
    let start = Instant::now();
    for chunk in rows.chunks(group) {
        let batch: Vec<NewRecord<'_>> = chunk.iter().map(|row| row.record(false)).collect();
        let transaction = connection.unchecked_transaction()?;
        let mut insert = transaction.prepare_cached(
            "INSERT INTO record (device, epoch, tag1, form, area_id, nonce, cause, seq, data, accept, time_ms, repeat, \
             gnb_id, reader_index, counter) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) \
             ON CONFLICT DO NOTHING",
        )?;
        for r in &batch {
            insert.raw_bind_parameter(1, r.device)?;
            insert.raw_bind_parameter(2, r.epoch)?;
            insert.raw_bind_parameter(3, r.tag1)?;
            insert.raw_bind_parameter(4, r.form)?;
            insert.raw_bind_parameter(5, r.area_id)?;
            insert.raw_bind_parameter(6, r.nonce)?;
            insert.raw_bind_parameter(7, r.cause)?;
            insert.raw_bind_parameter(8, r.seq)?;
            insert.raw_bind_parameter(9, r.data)?;
            insert.raw_bind_parameter(10, r.accept)?;
            insert.raw_bind_parameter(11, r.time_ms)?;
            insert.raw_bind_parameter(12, r.repeat)?;
            insert.raw_bind_parameter(13, r.gnb_id)?;
            insert.raw_bind_parameter(14, r.reader_index)?;
            insert.raw_bind_parameter(15, r.counter)?;
            insert.raw_execute()?;
        }
        drop(insert);
        transaction.commit()?;
    }
    Ok(start.elapsed())
}

/// What differs from record to record.
struct Row {
    device: i64,
    tag1: [u8; 8],
    data: [u8; 60],
    time_ms: i64,
    counter: u32,
}

impl Row {
    fn record(&self, counted: bool) -> NewRecord<'_> {
        NewRecord {
            device: self.device,
            device_id: b"urn:epc:id:sgtin:0614141.112345.4000001",
            epoch: 1000,
            tag1: &self.tag1,
            form: u8::from(counted),
            area_id: [7; 12],
            nonce: &self.tag1[..4],
            cause: 2,
            seq: 3,
            data: &self.data,
            accept: &[],
            time_ms: self.time_ms,
            repeat: false,
            gnb_id: 1,
            reader_index: 1,
            counter: counted.then_some(self.counter),
        }
    }

    /// The same content in 121 octets.
    fn pack(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.device.to_be_bytes());
        to.extend_from_slice(&self.tag1);
        to.extend_from_slice(&[7; 37]); // epoch, form, AreaID, nonce, cause, seq, lengths, repeat, gNB, reader, counter
        to.extend_from_slice(&self.data);
        to.extend_from_slice(&self.time_ms.to_be_bytes());
    }
}

/// Devices in random order; xorshift is random enough.
fn rows(count: usize) -> Vec<Row> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..count)
        .map(|i| Row {
            device: i64::try_from(next() % DEVICES).unwrap_or_default() + 1,
            tag1: next().to_be_bytes(),
            data: [u8::try_from(next() % 256).unwrap_or_default(); 60],
            time_ms: 1_700_000_000_000 + i64::try_from(i).unwrap_or_default(),
            counter: u32::try_from(i).unwrap_or_default(),
        })
        .collect()
}

struct Rates {
    median: f64,
    low: f64,
    high: f64,
}

impl Rates {
    fn new(mut rates: Vec<f64>) -> Self {
        rates.sort_by(f64::total_cmp);
        let at = |i: usize| rates.get(i).copied().unwrap_or_default();
        Self {
            median: at(rates.len() / 2),
            low: at(0),
            high: at(rates.len().saturating_sub(1)),
        }
    }
}

impl std::fmt::Display for Rates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!(
            "{:.0} ({:.0}-{:.0})",
            self.median, self.low, self.high
        ))
    }
}
