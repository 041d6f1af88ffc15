//! Durable acceptance in process, beside the engine's own bare insert of the same row and beside raw appends.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use ambit_protocol::chain::BeaconChain;
use ambit_store::{FILE_NAME, SqliteStore};
use rusqlite::Connection;

use super::core::BenchAdm;
use super::fleet::{area, snid};
use super::measure::alternate;
use super::{BenchError, Figure, Limit, Sample};

/// Records a commit, and records a round.
const GROUPS: [(usize, usize); 3] = [(64, 4096), (512, 16_384), (4096, 32_768)];

/// Devices that report.
const DEVICES: usize = 100_000;

/// How long one group size is measured, and in how many rounds at least.
const BUDGET: Duration = Duration::from_secs(4);
const ROUNDS_MIN: usize = 7;

/// What one acceptance record puts on disk, about: the row without indexes.
const RECORD_OCTETS: usize = 121;

/// Chain, import, and durable acceptance in groups: identification, crypto, insert, commit; each commit is on disk.
///
/// # Errors
/// [`BenchError`] when the store or its directory fail.
pub fn store(each: &mut dyn FnMut(Figure)) -> Result<(), BenchError> {
    chain(each);
    let began = Instant::now();
    let mut core = BenchAdm::new(DEVICES, 0)?;
    let rate = Sample::one(DEVICES as f64 / began.elapsed().as_secs_f64());
    each(Figure {
        bench: "store",
        what: "import of devices, durable, and a core's start with them".into(),
        devices: Some(DEVICES),
        unit: "devices/s",
        here: rate,
        limit: Some(Limit::new("asked for", rate, Sample::one(6000.0))),
    });
    let mut bare = Bare::new(&core)?;
    for (group, round) in GROUPS {
        let mut rates = [const { Vec::new() }; 4];
        let began = Instant::now();
        while rates[0].len() < ROUNDS_MIN || began.elapsed() < BUDGET {
            let reports = core.reports(round)?;
            let timed = |rates: &mut Vec<f64>, run: &mut dyn FnMut() -> Result<(), BenchError>| {
                let began = Instant::now();
                run()?;
                rates.push(round as f64 / began.elapsed().as_secs_f64());
                Ok::<(), BenchError>(())
            };
            let [here, indexed, engine, raw] = &mut rates;
            timed(here, &mut || core.accept(&reports, group))?;
            timed(indexed, &mut || bare.insert(INDEXED, round, group))?;
            timed(engine, &mut || bare.insert("record", round, group))?;
            timed(raw, &mut || bare.append(round, group))?;
        }
        let [here, indexed, engine, raw] = rates.map(Sample::of);
        let asked_for = Sample::one(150_000.0);
        for (what, limit) in [
            (
                "bare insert of the same row by the same engine, its key unique",
                indexed,
            ),
            (
                "bare insert of the same row by the same engine, no key",
                engine,
            ),
            ("raw durable appends of the row's 121 octets", raw),
            ("asked for", asked_for),
        ] {
            each(Figure {
                bench: "store",
                what: format!("durable acceptance in process, groups of {group}"),
                devices: Some(DEVICES),
                unit: "records/s",
                here,
                limit: Some(Limit::new(what, here, limit)),
            });
        }
    }
    Ok(())
}

/// One element of a chain of 2^20 epochs, any of them, after the checkpoints were laid.
fn chain(each: &mut dyn FnMut(Figure)) {
    let chain = BeaconChain::new(snid(), &[1; 12], 0, 1 << 20);
    let mut epoch = 0u32;
    let one = || {
        epoch = (epoch + 99_991) % (1 << 20);
        std::hint::black_box(chain.rand_n(epoch));
    };
    let (here, _) = alternate(200, one, || {});
    let here = here.divided_by(1000);
    each(Figure {
        bench: "store",
        what: "chain element within 2^20 epochs".into(),
        devices: None,
        unit: "us",
        here,
        limit: Some(Limit::new("asked for", here, Sample::one(2000.0))),
    });
}

/// The engine without Ambit, and the disk without the engine.
pub(super) struct Bare {
    connection: Connection,
    rng: fastrand::Rng,
    raw: File,
}

/// A table like that of the records whose unique key the engine keeps itself.
pub(super) const INDEXED: &str = "indexed";

impl Bare {
    /// An empty file of the same schema and settings, beside that of the core.
    pub(super) fn new(core: &BenchAdm) -> Result<Self, BenchError> {
        let dir = core.dir.path().join("bare");
        std::fs::create_dir(&dir)?;
        let path = dir.join(FILE_NAME);
        drop(SqliteStore::open(&path)?);
        let connection = Connection::open(&path).map_err(engine_failed)?;
        let settings = "PRAGMA synchronous = FULL; PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 4096";
        connection.execute_batch(settings).map_err(engine_failed)?;
        let indexed = format!(
            "CREATE TABLE {INDEXED} AS SELECT * FROM record; CREATE UNIQUE INDEX key ON {INDEXED} (epoch, device, tag1)"
        );
        connection.execute_batch(&indexed).map_err(engine_failed)?;
        Ok(Self {
            connection,
            rng: fastrand::Rng::with_seed(4),
            raw: File::create(dir.join("raw"))?,
        })
    }

    /// Into table `record`, which has no unique key, or [`INDEXED`].
    pub(super) fn insert(
        &mut self,
        table: &str,
        count: usize,
        group: usize,
    ) -> Result<(), BenchError> {
        // Every column that a record has but its link, which is Ambit's.
        let sql = format!(
            "INSERT INTO {table} (device, epoch, tag1, form, area_id, nonce, cause, seq, data, accept, time_ms, repeat, \
             gnb_id, reader_index, counter) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)"
        );
        for first in (0..count).step_by(group) {
            self.commit(&sql, group.min(count - first))
                .map_err(engine_failed)?;
        }
        Ok(())
    }

    fn commit(&mut self, sql: &str, records: usize) -> rusqlite::Result<()> {
        let transaction = self.connection.unchecked_transaction()?;
        let mut insert = transaction.prepare_cached(sql)?;
        for _ in 0..records {
            let device = self.rng.i64(1..=DEVICES as i64);
            let tag1 = self.rng.u64(..).to_be_bytes();
            insert.raw_bind_parameter(1, device)?;
            insert.raw_bind_parameter(2, 1000)?;
            insert.raw_bind_parameter(3, tag1)?;
            insert.raw_bind_parameter(4, 0)?;
            insert.raw_bind_parameter(5, area().octets())?;
            insert.raw_bind_parameter(6, [9; 4])?;
            insert.raw_bind_parameter(7, 2)?;
            insert.raw_bind_parameter(8, 3)?;
            insert.raw_bind_parameter(9, [5; 4])?;
            insert.raw_bind_parameter(10, [6; 9])?;
            insert.raw_bind_parameter(11, 1_700_000_000_000i64)?;
            insert.raw_bind_parameter(12, 0)?;
            insert.raw_bind_parameter(13, 1)?;
            insert.raw_bind_parameter(14, 1)?;
            insert.raw_bind_parameter(15, None::<i64>)?;
            insert.raw_execute()?;
        }
        drop(insert);
        transaction.commit()
    }

    fn append(&mut self, count: usize, group: usize) -> Result<(), BenchError> {
        let octets = vec![7; RECORD_OCTETS * group];
        for _ in (0..count).step_by(group) {
            self.raw.write_all(&octets)?;
            self.raw.sync_data()?;
        }
        Ok(())
    }
}

fn engine_failed(error: rusqlite::Error) -> BenchError {
    BenchError::Io(std::io::Error::other(error))
}
