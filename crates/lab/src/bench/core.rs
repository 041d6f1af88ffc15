//! An ADM on an SQLite file in the temporary directory, and reports for it that nobody has sent before.

use std::time::Instant;

use ambit_adm::{Adm, AdmConfig, Kek};
use ambit_adm_api::{AdmClient, DoaReport, Verdict};
use ambit_protocol::schedule::{self, cut};
use ambit_protocol::wire::{Item, REPORT_OCTETS_MAX, ReportId};
use ambit_protocol::{Cause, Exchange, KAiotf, RandN, RootKey, Suite, TagLen};
use ambit_store::{FILE_NAME, SqliteStore};
use tempfile::TempDir;

use super::BenchError;
use super::fleet::{area, key, snid, spec};

/// Devices imported in one go.
const IMPORT_DEVICES: usize = 50_000;

/// Reports go through the fleet in steps of so many devices: all over it, and each device once a round, as devices do that report
/// periodically. A prime, so that no device is left out.
const STRIDE: usize = 1_000_003;

/// A month: no epoch ends while a bench runs.
const PERIOD_S: u32 = 30 * 86_400;

/// A core's ADM and its fleet of beacon devices.
pub(super) struct BenchAdm {
    pub(super) adm: Adm,
    pub(super) rand_n: RandN,
    /// Unix time in ms, which stands still.
    pub(super) now_ms: i64,
    devices: usize,
    reported: u32,
    start_s: f64,
    /// Gone with the ADM.
    pub(super) dir: TempDir,
}

impl BenchAdm {
    /// `devices` devices imported, their table built.
    pub(super) fn new(devices: usize, now_ms: i64) -> Result<Self, BenchError> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join(FILE_NAME);
        let mut adm = open(SqliteStore::open(&path)?, now_ms, PERIOD_S)?;
        for first in (0..devices).step_by(IMPORT_DEVICES) {
            let last = devices.min(first + IMPORT_DEVICES);
            let specs: Vec<_> = (first..last).map(spec).collect();
            adm.import(&specs, now_ms).map_err(adm_failed)?;
        }
        // As after a restart: columns without the room that growing leaves.
        drop(adm);
        let began = Instant::now();
        let mut adm = open(SqliteStore::open(&path)?, now_ms, PERIOD_S)?;
        let rand_n = adm.beacons(now_ms).map_err(adm_failed)?.current;
        Ok(Self {
            adm,
            rand_n,
            now_ms,
            devices,
            reported: 0,
            start_s: began.elapsed().as_secs_f64(),
            dir,
        })
    }

    /// How long the ADM took to start with its fleet, in seconds.
    pub(super) const fn start_s(&self) -> f64 {
        self.start_s
    }

    /// Reports of devices all over the fleet, each with an item of its own, so that each becomes a record.
    pub(super) fn reports(&mut self, count: usize) -> Result<Vec<Vec<u8>>, BenchError> {
        (0..count).map(|_| self.report()).collect()
    }

    fn report(&mut self) -> Result<Vec<u8>, BenchError> {
        self.reported += 1;
        let device = (self.reported as usize).wrapping_mul(STRIDE) % self.devices;
        let device = RootKey::new(key(device));
        let rand_d = self.reported.to_be_bytes();
        let suite = Suite::AesCmac;
        let t_id = cut(&device.evaluate(suite, &schedule::beacon_t_id(&self.rand_n)));
        let input = schedule::beacon_k_aiotf(&self.rand_n, &area(), &rand_d);
        let k_aiotf = KAiotf::new(device.evaluate(suite, &input));
        let item = Item {
            cause: Cause::Periodic,
            seq: rand_d[3] & 15,
            data: &rand_d,
        };
        let id = ReportId::Beacon { t_id, rand_d };
        let mut out = [0; REPORT_OCTETS_MAX];
        let sealed = Exchange::seal_report(suite, &k_aiotf, &id, &item, TagLen::T8, &mut out);
        let (_, len) = sealed.map_err(adm_failed)?;
        Ok(out.get(..len).unwrap_or_default().to_vec())
    }

    /// Takes reports in groups. Every one is new and genuine, and is accepted.
    pub(super) fn accept(&mut self, reports: &[Vec<u8>], group: usize) -> Result<(), BenchError> {
        let mut verdicts = Vec::new();
        for group in reports.chunks(group) {
            let batch: Vec<DoaReport<'_>> = group
                .iter()
                .map(|nas| DoaReport {
                    nas,
                    rand_n: self.rand_n,
                    area_id: area(),
                    gnb_id: 1,
                    reader_index: 1,
                })
                .collect();
            self.adm.authenticate(self.now_ms, &batch, &mut verdicts);
            let is_accepted = |verdict: &Verdict| matches!(verdict, Verdict::Accept { .. });
            if !verdicts.iter().all(is_accepted) {
                return Err(BenchError::NotAccepted);
            }
        }
        Ok(())
    }
}

/// An ADM whose epochs are so long, in seconds.
pub(super) fn open(store: SqliteStore, now_ms: i64, period_s: u32) -> Result<Adm, BenchError> {
    let config = AdmConfig {
        period_s,
        chain_epochs: 65_536,
        ..AdmConfig::new(snid())
    };
    let mut rng = fastrand::Rng::with_seed(2);
    let entropy = Box::new(move |out: &mut [u8]| {
        rng.fill(out);
        Ok(())
    });
    let kek = Kek::from_octets(&[1; 32]);
    Adm::open(config, Box::new(store), kek, entropy, now_ms).map_err(adm_failed)
}

pub(super) fn adm_failed(error: impl ToString) -> BenchError {
    BenchError::Adm(error.to_string())
}
