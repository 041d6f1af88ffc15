//! The shared store: durable acceptance beside a bare batched insert of the same row by the same client.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use ambit_store::{Insert, NewDevice, NewRecord, PostgresStore, PostgresUrl, Store};
use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Statement};

use super::{BenchError, Figure, Limit, Sample};
use crate::postgres::PostgresServer;

/// Records a commit.
const GROUPS: [usize; 3] = [64, 512, 4096];

/// Records of one round, at least.
const ROUND: usize = 4096;

/// How long one pair of figures is measured, and in how many rounds at least.
const BUDGET: Duration = Duration::from_secs(4);
const ROUNDS_MIN: usize = 9;

/// Devices that report.
const DEVICES: i64 = 100_000;

/// Measures on a server of its own, made in a temporary directory and gone afterwards.
///
/// # Errors
/// [`BenchError`], where PostgreSQL is not installed too.
pub fn postgres(each: &mut dyn FnMut(Figure)) -> Result<(), BenchError> {
    let server = PostgresServer::start()?.ok_or(BenchError::NoPostgres)?;
    let url = server.database("bench")?;
    let mut store = PostgresStore::open(&PostgresUrl::new(&url, None)?, None)?;
    load(&mut store, each)?;
    let mut bare = Bare::connect(&url)?;
    for group in GROUPS {
        for (table, what) in [
            (
                "bare_same",
                "bare insert, same row, same indexes, same client",
            ),
            (
                "bare_key",
                "bare insert, same row, primary key alone, same client",
            ),
        ] {
            let insert = bare.table(table)?;
            let (here, limit) = compare(&mut store, &mut bare, &insert, group)?;
            each(Figure {
                bench: "postgres",
                what: format!("durable acceptance, groups of {group}, one process"),
                devices: None,
                unit: "records/s",
                here,
                limit: Some(Limit::new(what, here, limit)),
            });
        }
    }
    Ok(())
}

/// How fast a process that starts gets its devices.
fn load(store: &mut PostgresStore, each: &mut dyn FnMut(Figure)) -> Result<(), BenchError> {
    let ids: Vec<[u8; 8]> = (0..DEVICES).map(i64::to_be_bytes).collect();
    let wrapped_key = [7; 44];
    let devices: Vec<NewDevice<'_>> = ids
        .iter()
        .map(|device_id| NewDevice {
            device_id,
            device_type: "2a",
            suite: 1,
            form: "beacon",
            tag_len: 8,
            fleet: "bench",
            wrapped_key: &wrapped_key,
            created_ms: 0,
            credential: "operator",
        })
        .collect();
    let mut say = |what: &str, rate| {
        each(Figure {
            bench: "postgres",
            what: what.into(),
            devices: Some(devices.len()),
            unit: "devices/s",
            here: Sample::of(rate),
            limit: None,
        });
    };
    let began = Instant::now();
    store.devices_insert(&devices)?;
    say(
        "import of devices, durable",
        vec![rate(devices.len(), began)],
    );
    let mut rates = Vec::new();
    for _ in 0..5 {
        let began = Instant::now();
        let mut count = 0;
        store.devices_for_each(&mut |_| {
            count += 1;
            ControlFlow::Continue(())
        })?;
        rates.push(rate(count, began));
    }
    say("load of devices with wrapped keys", rates);
    Ok(())
}

/// Records a second of the store and of the bare insert, in alternating rounds.
fn compare(
    store: &mut PostgresStore,
    bare: &mut Bare,
    insert: &Statement,
    group: usize,
) -> Result<(Sample, Sample), BenchError> {
    let calls = ROUND.div_ceil(group);
    let (mut here, mut limit) = (Vec::new(), Vec::new());
    let began = Instant::now();
    while here.len() < ROUNDS_MIN || began.elapsed() < BUDGET {
        // Rows are made ahead on both sides: neither pays for them.
        let rows: Vec<Rows> = (0..calls).map(|_| Rows::draw(group)).collect();
        let at = Instant::now();
        for rows in &rows {
            let mut outcomes = Vec::new();
            store.accept(&rows.records(), &mut outcomes)?;
            if !outcomes.iter().all(|o| matches!(o, Insert::New { .. })) {
                return Err(BenchError::Adm("a record was there already".into()));
            }
        }
        here.push(rate(calls * group, at));
        let at = Instant::now();
        for rows in &rows {
            bare.insert(insert, rows)?;
        }
        limit.push(rate(calls * group, at));
    }
    Ok((Sample::of(here), Sample::of(limit)))
}

fn rate(count: usize, since: Instant) -> f64 {
    count as f64 / since.elapsed().as_secs_f64()
}

/// A batch: reports of drawn devices with drawn tags.
struct Rows(Vec<(i64, [u8; 8], [u8; 20])>);

impl Rows {
    fn draw(group: usize) -> Self {
        let row = |_| {
            let mut data = [0; 20];
            fastrand::fill(&mut data);
            (
                fastrand::i64(1..=DEVICES),
                fastrand::u64(..).to_be_bytes(),
                data,
            )
        };
        Self((0..group).map(row).collect())
    }

    fn records(&self) -> Vec<NewRecord<'_>> {
        self.0
            .iter()
            .map(|(device, tag1, data)| NewRecord {
                device: *device,
                device_id: b"bench",
                epoch: 1000,
                tag1,
                form: 0,
                area_id: [7; 12],
                nonce: &[1, 2, 3, 4],
                cause: 2,
                seq: 3,
                data,
                accept: &[],
                time_ms: 1_700_000_000_000,
                repeat: false,
                gnb_id: 9,
                reader_index: 2,
                counter: None,
            })
            .collect()
    }
}

/// A connection that only inserts.
struct Bare {
    runtime: Runtime,
    client: Client,
    next: i64,
}

impl Bare {
    fn connect(url: &str) -> Result<Self, BenchError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            tokio::spawn(connection);
            Ok::<_, tokio_postgres::Error>(client)
        });
        Ok(Self {
            runtime,
            client: client.map_err(failed)?,
            next: 1,
        })
    }

    /// An empty table of the records' shape.
    fn table(&mut self, name: &str) -> Result<Statement, BenchError> {
        let indexes = match name {
            "bare_same" => "INCLUDING ALL".to_owned(),
            _ => "INCLUDING DEFAULTS, PRIMARY KEY (device, epoch, tag1)".to_owned(),
        };
        let make =
            format!("DROP TABLE IF EXISTS {name}; CREATE TABLE {name} (LIKE record {indexes})");
        let insert = format!(
            "INSERT INTO {name} SELECT * FROM unnest($1::BIGINT[], $2::BIGINT[], $3::BYTEA[], $4::BIGINT[], \
             $5::SMALLINT[], $6::BYTEA[], $7::BYTEA[], $8::SMALLINT[], $9::SMALLINT[], $10::BYTEA[], $11::BYTEA[], \
             $12::BIGINT[], $13::BOOLEAN[], $14::BIGINT[], $15::INTEGER[], $16::BIGINT[], $17::BYTEA[])"
        );
        let prepared = self.runtime.block_on(async {
            self.client.batch_execute(&make).await?;
            self.client.prepare(&insert).await
        });
        prepared.map_err(failed)
    }

    fn insert(&mut self, insert: &Statement, rows: &Rows) -> Result<(), BenchError> {
        let len = rows.0.len();
        let first = self.next;
        self.next += i64::try_from(len).unwrap_or_default();
        let devices: Vec<i64> = rows.0.iter().map(|row| row.0).collect();
        let tags: Vec<&[u8]> = rows.0.iter().map(|row| &row.1[..]).collect();
        let datas: Vec<&[u8]> = rows.0.iter().map(|row| &row.2[..]).collect();
        let ids: Vec<i64> = (first..self.next).collect();
        let parameters: [&(dyn ToSql + Sync); 17] = [
            &devices,
            &vec![1000_i64; len],
            &tags,
            &ids,
            &vec![0_i16; len],
            &vec![&[7_u8; 12][..]; len],
            &vec![&[1_u8, 2, 3, 4][..]; len],
            &vec![2_i16; len],
            &vec![3_i16; len],
            &datas,
            &vec![&[0_u8; 0][..]; len],
            &vec![1_700_000_000_000_i64; len],
            &vec![false; len],
            &vec![9_i64; len],
            &vec![2_i32; len],
            &vec![None::<i64>; len],
            &vec![&[9_u8; 32][..]; len],
        ];
        let inserted = self
            .runtime
            .block_on(self.client.execute(insert, &parameters));
        inserted.map_err(failed).map(drop)
    }
}

fn failed(error: tokio_postgres::Error) -> BenchError {
    BenchError::Io(std::io::Error::other(error))
}
