//! What can keep acceptance records, and how near it comes to a bare append log.
//!
//! One thread writes groups of N records; each group is one durable commit. A record is inserted if (device, epoch, tag1)
//! is absent, and the engine must tell which were. `README.md` beside this crate has the method and the results.
//!
//! Usage: `ambit-bench-engines [--dir DIR] [--records N] [--rounds N] [--prefill N]
//! [--devices N] [--per-epoch N] [--groups 64,512] [--only PART,PART]`

mod kv;
mod log;
mod sqlite;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// One acceptance record as the engines see it: about 130 octets when packed.
pub(crate) struct Record {
    pub(crate) device: i64,
    pub(crate) epoch: u32,
    pub(crate) tag1: [u8; 8],
    pub(crate) area_id: [u8; 12],
    pub(crate) nonce: [u8; 4],
    pub(crate) seq: u8,
    pub(crate) data: [u8; 60],
    pub(crate) time_ms: i64,
}

/// An engine under test: `accept` returns, after the durable commit, how many of the group were new.
pub(crate) trait Engine {
    fn accept(&mut self, group: &[Record]) -> Result<usize>;
}

fn main() -> Result<()> {
    let options = Options::parse()?;
    std::fs::create_dir_all(&options.dir)?;
    let records = generate(&options);
    println!(
        "{} records of {} octets packed, {} devices, {} records an epoch, {} rounds",
        options.records,
        pack(&records[0]).len(),
        options.devices,
        options.per_epoch,
        options.rounds
    );
    println!(
        "{:<34} {:>6} {:>10} {:>23} {:>7} {:>9} {:>8}",
        "engine", "group", "records/s", "spread", "ratio", "p99.9 ms", "MiB"
    );
    for &group in &options.groups {
        // Every round runs all engines in turn, so that a slow spell of the disk meets them all alike.
        let engines = engines(&options);
        let mut rates: Vec<Vec<f64>> = vec![Vec::new(); engines.len()];
        let mut tails: Vec<Vec<f64>> = vec![Vec::new(); engines.len()];
        let mut sizes = vec![0_u64; engines.len()];
        for _ in 0..options.rounds {
            for (i, (_, open)) in engines.iter().enumerate() {
                let dir = options.dir.join("run");
                let _ = std::fs::remove_dir_all(&dir);
                std::fs::create_dir_all(&dir)?;
                let (rate, tail) = run(open(&dir)?, &records, group, options.prefill)?;
                rates[i].push(rate);
                tails[i].push(tail);
                sizes[i] = size_of_dir(&dir);
                std::fs::remove_dir_all(&dir)?;
            }
        }
        let base = median(&rates[0]);
        for (i, (name, _)) in engines.iter().enumerate() {
            let m = median(&rates[i]);
            let low = rates[i].iter().copied().fold(f64::INFINITY, f64::min);
            let high = rates[i].iter().copied().fold(0.0, f64::max);
            println!(
                "{name:<34} {group:>6} {m:>10.0} {:>23} {:>7.2} {:>9.2} {:>8}",
                format!("{low:.0}-{high:.0}"),
                m / base,
                median(&tails[i]),
                sizes[i] >> 20
            );
        }
    }
    Ok(())
}

/// Returns (records/s, 99.9th percentile of a group's time in ms). The first `prefill` records are written in large
/// groups and not timed; of the others, 1 group in 50 is written a second time, so that duplicates are part of the figure.
fn run(
    mut engine: Box<dyn Engine>,
    records: &[Record],
    group: usize,
    prefill: usize,
) -> Result<(f64, f64)> {
    let (old, timed) = records.split_at(prefill);
    for chunk in old.chunks(16384) {
        engine.accept(chunk)?;
    }
    let mut times: Vec<Duration> = Vec::new();
    let start = Instant::now();
    let mut written = 0;
    for (i, chunk) in timed.chunks(group).enumerate() {
        let t = Instant::now();
        let new = engine.accept(chunk)?;
        times.push(t.elapsed());
        if new != chunk.len() {
            return Err(format!("{new} of {} records were new", chunk.len()).into());
        }
        written += chunk.len();
        if i % 50 == 49 {
            engine.accept(chunk)?;
            written += chunk.len();
        }
    }
    let elapsed = start.elapsed().as_secs_f64();
    times.sort();
    let tail = times[(times.len() * 999 / 1000).min(times.len() - 1)];
    Ok((written as f64 / elapsed, tail.as_secs_f64() * 1e3))
}

type Open = Box<dyn Fn(&Path) -> Result<Box<dyn Engine>>>;

fn engines(options: &Options) -> Vec<(String, Open)> {
    let mut all: Vec<(String, Open)> = vec![
        (
            "raw append".into(),
            Box::new(|d: &Path| log::Append::open(d, 0)),
        ),
        (
            "raw append, preallocated".into(),
            Box::new(|d: &Path| log::Append::open(d, 256 << 20)),
        ),
    ];
    for (name, shape) in sqlite::shapes() {
        all.push((
            name.into(),
            Box::new(move |d: &Path| sqlite::Sqlite::open(d, shape)),
        ));
    }
    all.push(("fjall".into(), Box::new(|d: &Path| kv::Fjall::open(d))));
    all.push(("redb".into(), Box::new(|d: &Path| kv::Redb::open(d))));
    all.retain(|(name, _)| {
        name == "raw append"
            || options.only.is_empty()
            || options.only.iter().any(|o| name.contains(o))
    });
    all
}

/// The record as one octet string, for the engines that know nothing of columns.
pub(crate) fn pack(r: &Record) -> Vec<u8> {
    let mut v = Vec::with_capacity(160);
    v.extend_from_slice(&key(r));
    v.extend_from_slice(&r.area_id);
    v.extend_from_slice(&r.nonce);
    v.extend_from_slice(&[0, 2, r.seq, 0, 0]);
    v.extend_from_slice(&r.time_ms.to_be_bytes());
    v.extend_from_slice(&[0; 12]); // gNB, reader, counter, lengths
    v.extend_from_slice(&r.data);
    v
}

/// Epoch first: the records of one epoch are written together, so their keys should lie together.
pub(crate) fn key(r: &Record) -> [u8; 20] {
    let mut k = [0; 20];
    k[..4].copy_from_slice(&r.epoch.to_be_bytes());
    k[4..12].copy_from_slice(&r.device.to_be_bytes());
    k[12..].copy_from_slice(&r.tag1);
    k
}

fn generate(options: &Options) -> Vec<Record> {
    let mut rng = fastrand::Rng::with_seed(1);
    (0..options.records + options.prefill)
        .map(|i| {
            let mut data = [0; 60];
            rng.fill(&mut data);
            Record {
                device: rng.i64(1..=options.devices),
                epoch: (i / options.per_epoch) as u32 + 1000,
                tag1: rng.u64(..).to_be_bytes(),
                area_id: [7; 12],
                nonce: rng.u32(..).to_be_bytes(),
                seq: rng.u8(..16),
                data,
                time_ms: 1_700_000_000_000 + i as i64,
            }
        })
        .collect()
}

struct Options {
    dir: PathBuf,
    records: usize,
    prefill: usize,
    rounds: usize,
    devices: i64,
    per_epoch: usize,
    groups: Vec<usize>,
    only: Vec<String>,
}

impl Options {
    fn parse() -> Result<Self> {
        let mut o = Self {
            dir: std::env::temp_dir().join("ambit-bench-engines"),
            records: 300_000,
            prefill: 0,
            rounds: 3,
            devices: 100_000,
            per_epoch: 100_000,
            groups: vec![64, 512, 4096],
            only: Vec::new(),
        };
        let mut args = std::env::args().skip(1);
        while let Some(name) = args.next() {
            let value = args.next().ok_or(format!("{name} wants a value"))?;
            match name.as_str() {
                "--dir" => o.dir = PathBuf::from(value),
                "--records" => o.records = value.parse()?,
                "--prefill" => o.prefill = value.parse()?,
                "--rounds" => o.rounds = value.parse()?,
                "--devices" => o.devices = value.parse()?,
                "--per-epoch" => o.per_epoch = value.parse()?,
                "--groups" => {
                    o.groups = value
                        .split(',')
                        .map(str::parse)
                        .collect::<std::result::Result<_, _>>()?
                }
                "--only" => o.only = value.split(',').map(str::to_owned).collect(),
                _ => return Err(format!("unknown option {name}").into()),
            }
        }
        Ok(o)
    }
}

fn median(values: &[f64]) -> f64 {
    let mut v = values.to_vec();
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

fn size_of_dir(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    entries
        .flatten()
        .map(|e| match e.metadata() {
            Ok(m) if m.is_dir() => size_of_dir(&e.path()),
            Ok(m) => m.len(),
            Err(_) => 0,
        })
        .sum()
}
