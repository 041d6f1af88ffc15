//! T-ID tables, memory, and what a fleet's size does to one exchange.

use std::hint::black_box;
use std::time::Instant;

use ambit_adm::Adm;
use ambit_adm_api::{AdmClient, DoaReport, Outcome};
use ambit_protocol::{RandN, RootKey, Suite};
use ambit_search::{BARE_KEYS, Kernel};
use ambit_store::SqliteStore;

use super::core::{adm_failed, open};
use super::fleet::{area, beacon_report, key, spec};
use super::measure::alternate;
use super::{BenchError, Figure, Limit, Sample};

const IMPORT_DEVICES: usize = 50_000;
const REPORTS: usize = 512;
const PERIOD_S: u32 = 600;
const PERIOD_MS: i64 = PERIOD_S as i64 * 1000;
const TICK_MS: i64 = 1000;

/// For fleets of 10^3 to `devices_max`: octets a device, a table at one go, in slices, and reports looked up in it.
///
/// # Errors
/// [`BenchError`] when the store or its directory fail.
pub fn table(devices_max: usize, each: &mut dyn FnMut(Figure)) -> Result<(), BenchError> {
    let dir = tempfile::tempdir()?;
    let mut smallest = None;
    let sizes = (3..).map(|power| 10usize.pow(power));
    for devices in sizes.take_while(|devices| *devices <= devices_max) {
        let path = dir.path().join(format!("{devices}.sqlite3"));
        let mut adm = open(SqliteStore::open(&path)?, 0, PERIOD_S)?;
        for first in (0..devices).step_by(IMPORT_DEVICES) {
            let last = devices.min(first + IMPORT_DEVICES);
            let specs: Vec<_> = (first..last).map(spec).collect();
            adm.import(&specs, 0).map_err(adm_failed)?;
        }
        // As after a restart: columns without the room that growing leaves.
        drop(adm);
        let mut adm = open(SqliteStore::open(&path)?, 0, PERIOD_S)?;
        let mut fleet = Fleet {
            devices,
            now_ms: 0,
            adm: &mut adm,
        };
        fleet.built_at_once(each)?;
        fleet.built_ahead(each)?;
        let lookup = fleet.looked_up(smallest, each)?;
        smallest.get_or_insert(lookup);
        drop(adm);
        std::fs::remove_file(&path)?;
    }
    Ok(())
}

struct Fleet<'a> {
    devices: usize,
    now_ms: i64,
    adm: &'a mut Adm,
}

impl Fleet<'_> {
    fn rand_n(&mut self) -> Result<RandN, BenchError> {
        let beacons = self.adm.beacons(self.now_ms);
        Ok(beacons.map_err(adm_failed)?.current)
    }

    /// The table of an epoch that nothing was done for ahead.
    fn built_at_once(&mut self, each: &mut dyn FnMut(Figure)) -> Result<(), BenchError> {
        self.rand_n()?;
        let run = || {
            self.now_ms += PERIOD_MS;
            // Grace is over by then, so that one table is built.
            self.now_ms += PERIOD_MS / 2;
            black_box(self.adm.beacons(self.now_ms).is_ok());
        };
        let column = [[0x5a; 16]; BARE_KEYS];
        let groups = self.devices.div_ceil(BARE_KEYS);
        let limit = || {
            for _ in 0..groups {
                black_box(Kernel::best().bare_aes(black_box(&column), 3));
            }
        };
        let has_limit = Kernel::best().bare_aes(&column, 3).is_some();
        let devices = self.devices;
        let (here, limit) = alternate(1, run, limit);
        let (here, limit) = (here.divided_by(devices), limit.divided_by(devices));
        each(Figure {
            bench: "table",
            what: "T-ID table at one go, a device".into(),
            devices: Some(devices),
            unit: "ns",
            here,
            limit: has_limit
                .then(|| Limit::new("bare AES: a schedule and 3 blocks a key", here, limit)),
        });
        Ok(())
    }

    /// The table of an epoch built by ticks, and what the change of epoch then takes.
    fn built_ahead(&mut self, each: &mut dyn FnMut(Figure)) -> Result<(), BenchError> {
        self.now_ms = (self.now_ms / PERIOD_MS + 1) * PERIOD_MS;
        self.rand_n()?;
        let mut ticks = Vec::new();
        while (self.now_ms + TICK_MS) % PERIOD_MS != 0 {
            self.now_ms += TICK_MS;
            // In service, beacons are asked for all the time.
            self.rand_n()?;
            let began = Instant::now();
            self.adm.tick(self.now_ms);
            ticks.push(began.elapsed().as_secs_f64() * 1e3);
        }
        let octets = self.adm.memory_octets() as f64 / self.devices as f64;
        each(Figure {
            bench: "table",
            what: "octets a device, two tables included".into(),
            devices: Some(self.devices),
            unit: "octets",
            here: Sample::one(octets),
            limit: Some(Limit::new(
                "asked for",
                Sample::one(octets),
                Sample::one(100.0),
            )),
        });
        ticks.sort_by(f64::total_cmp);
        each(Figure {
            bench: "table",
            what: "longest tick while the next table is built".into(),
            devices: Some(self.devices),
            unit: "ms",
            here: Sample::one(ticks.last().copied().unwrap_or_default()),
            limit: None,
        });
        self.now_ms += TICK_MS;
        let began = Instant::now();
        self.rand_n()?;
        each(Figure {
            bench: "table",
            what: "change of epoch, table built ahead, one durable write".into(),
            devices: Some(self.devices),
            unit: "ms",
            here: Sample::one(began.elapsed().as_secs_f64() * 1e3),
            limit: None,
        });
        Ok(())
    }

    /// Reports looked up and verified, from devices all over the fleet. Their tags are broken at the end, so that nothing is
    /// recorded: what is measured is the ADM and not the disk.
    fn looked_up(
        &mut self,
        smallest: Option<Sample>,
        each: &mut dyn FnMut(Figure),
    ) -> Result<Sample, BenchError> {
        let rand_n = self.rand_n()?;
        let mut rng = fastrand::Rng::with_seed(3);
        let batches: Vec<Vec<Vec<u8>>> = (0..16)
            .map(|_| {
                let mut broken = |_| {
                    let device = RootKey::new(key(rng.usize(..self.devices)));
                    let mut report = beacon_report(&device, Suite::AesCmac, &rand_n);
                    if let Some(last) = report.last_mut() {
                        *last ^= 1;
                    }
                    report
                };
                (0..REPORTS).map(&mut broken).collect()
            })
            .collect();
        let mut verdicts = Vec::new();
        let mut batches = batches.iter().cycle();
        let run = || {
            let reports: Vec<DoaReport<'_>> = batches
                .next()
                .into_iter()
                .flatten()
                .map(|nas| DoaReport {
                    nas,
                    rand_n,
                    area_id: area(),
                    gnb_id: 1,
                    reader_index: 1,
                })
                .collect();
            self.adm.authenticate(self.now_ms, &reports, &mut verdicts);
            let is_refused =
                |verdict: &ambit_adm_api::Verdict| verdict.outcome() == Outcome::NoMatch;
            assert!(verdicts.iter().all(is_refused), "the tags are broken");
        };
        let (here, _) = alternate(1, run, || {});
        let here = here.divided_by(REPORTS);
        each(Figure {
            bench: "table",
            what: "beacon report looked up and verified (refused at its tag)".into(),
            devices: Some(self.devices),
            unit: "ns",
            here,
            limit: smallest
                .map(|smallest| Limit::new("the same with 1000 devices", here, smallest)),
        });
        Ok(here)
    }
}
