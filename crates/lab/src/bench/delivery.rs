//! What delivery adds to the cost of an acceptance: durable acceptances a second with delivery on and off, in alternating rounds of one
//! process on one store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ambit_nef::delivery::{Delivery, DeliveryConfig};
use ambit_nef::subscription::{
    self, DeliveryKey, EntitlementTable, Filter, Guard, Rules, Sink, Wanted,
};
use ambit_store::{DeliveryStore, NewDevice, NewRecord, SqliteStore, Store, StoreError};
use zeroize::Zeroizing;

use super::{BenchError, Figure, Limit, Sample};

/// Records a commit: an idle network, one under load.
const GROUPS: [usize; 2] = [64, 512];

/// Records of one round.
const ROUND: usize = 16 * 1024;

/// How long one pair of figures is measured, and in how many rounds at least.
const BUDGET: Duration = Duration::from_secs(6);
const ROUNDS_MIN: usize = 9;

/// Devices that report.
const DEVICES: u32 = 10_000;

/// Measures with two subscriptions to everything, each to a file, on a store in the temporary directory.
///
/// # Errors
/// [`BenchError`].
pub fn delivery(each: &mut dyn FnMut(Figure)) -> Result<(), BenchError> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("bench.sqlite3");
    let mut store = SqliteStore::open(&path)?;
    devices(&mut store)?;
    let entitlements = Arc::new(EntitlementTable::default());
    let rules = Rules {
        entitlements: entitlements.clone(),
        per_af_max: 1,
        operator_max: 2,
        guard: Guard::default(),
    };
    for name in ["one.jsonl", "two.jsonl"] {
        let path = dir.path().join(name);
        let wanted = Wanted {
            af: None,
            filter: Filter::default(),
            sink: Sink::File { path },
            since_ms: None,
        };
        subscription::add(&mut store, &rules, wanted, 0)
            .map_err(|error| BenchError::Adm(error.to_string()))?;
    }
    let opened = path.clone();
    let config = DeliveryConfig {
        open: Arc::new(move || -> Result<Box<dyn DeliveryStore>, StoreError> {
            Ok(Box::new(SqliteStore::open(&opened)?))
        }),
        owner: [0; 16],
        is_shared: false,
        entitlements,
        guard: Guard::default(),
        key: DeliveryKey::new(Zeroizing::new([1; 32])),
        source: "urn:ambit:bench".into(),
        ca_file: None,
        give_up_s: 60,
    };
    let mut bench = Bench { store, next: 0 };
    for group in GROUPS {
        let (mut on, mut off) = (Vec::new(), Vec::new());
        let began = Instant::now();
        while on.len() < ROUNDS_MIN || began.elapsed() < BUDGET {
            off.push(bench.round(group)?);
            // What the round without it left is delivered first, so that the round with it has its own to deliver.
            let delivery = Delivery::start(config.clone(), Arc::new(|_| {}))?;
            bench.wait()?;
            on.push(bench.round(group)?);
            bench.wait()?;
            drop(delivery);
        }
        let here = Sample::of(on);
        let off = Sample::of(off);
        each(Figure {
            bench: "delivery",
            what: format!("durable acceptance, groups of {group}, two subscriptions delivered"),
            devices: Some(DEVICES as usize),
            unit: "records/s",
            here,
            limit: Some(Limit::new("the same without delivery", here, off)),
        });
    }
    Ok(())
}

struct Bench {
    store: SqliteStore,
    next: u64,
}

impl Bench {
    /// Records a second of one round.
    fn round(&mut self, group: usize) -> Result<f64, BenchError> {
        let began = Instant::now();
        let mut outcomes = Vec::new();
        for _ in 0..ROUND.div_ceil(group) {
            let numbers = self.next..self.next + group as u64;
            self.next = numbers.end;
            let keys: Vec<(u64, [u8; 8], [u8; 4])> = numbers
                .map(|n| {
                    let device = u32::try_from(n % u64::from(DEVICES)).unwrap_or_default();
                    (n, n.to_be_bytes(), device.to_be_bytes())
                })
                .collect();
            let batch: Vec<NewRecord<'_>> = keys
                .iter()
                .map(|(n, tag1, device_id)| NewRecord {
                    device: i64::from(u32::from_be_bytes(*device_id)) + 1,
                    device_id,
                    epoch: 1000,
                    tag1,
                    form: 0,
                    area_id: [7; 12],
                    nonce: &[1, 2, 3, 4],
                    cause: 2,
                    seq: 3,
                    data: b"21.5 C",
                    accept: &[],
                    time_ms: 1_700_000_000_000 + n.cast_signed(),
                    repeat: false,
                    gnb_id: 9,
                    reader_index: 2,
                    counter: None,
                })
                .collect();
            self.store.accept(&batch, &mut outcomes)?;
        }
        Ok(ROUND as f64 / began.elapsed().as_secs_f64())
    }

    /// Waits until everything has been delivered.
    fn wait(&mut self) -> Result<(), BenchError> {
        loop {
            let mut is_behind = false;
            for head in self.store.record_heads()? {
                for row in self.store.subscriptions()? {
                    let row = subscription::Subscription::from_row(row)
                        .map_err(|error| BenchError::Adm(error.to_string()))?;
                    is_behind |= row.position.record(0) < head;
                }
            }
            if !is_behind {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn devices(store: &mut SqliteStore) -> Result<(), StoreError> {
    let ids: Vec<[u8; 4]> = (0..DEVICES).map(u32::to_be_bytes).collect();
    let devices: Vec<NewDevice<'_>> = ids
        .iter()
        .map(|device_id| NewDevice {
            device_id,
            device_type: "2a",
            suite: 1,
            form: "beacon",
            tag_len: 8,
            fleet: "bench",
            wrapped_key: &[7; 44],
            created_ms: 0,
            credential: "operator",
        })
        .collect();
    store.devices_insert(&devices).map(drop)
}
