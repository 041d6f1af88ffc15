//! What the tests share: an ADM on a store that outlives it, at a time of the test's choosing, and devices to report to it.
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub
)]

mod device;
mod store;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::PathBuf;

use ambit_adm::{Adm, AdmConfig, Entropy, Kek, OpenError};
use ambit_adm_api::{AdmClient, DoaReport, Outcome, Verdict};
use ambit_protocol::area::Plmn;
use ambit_protocol::{AreaId, RandN, Snid};
use ambit_store::{EventFilter, EventRow, RecordFilter, RecordRow, Store};

pub use device::{Device, Sent, all_forms, device_form};
pub use store::{Failing, TestStore};

/// When the tests begin: the start of an epoch of 600 s.
pub const START_MS: i64 = 1_800_000_000_000;
pub const EPOCH_MS: i64 = 600_000;
pub const GRACE_MS: i64 = 60_000;
pub const KEK: [u8; 32] = [0x4b; 32];

pub fn snid() -> Snid {
    Snid::new(Plmn::new("001", "01").unwrap(), None)
}

pub fn area(code: u8) -> AreaId {
    snid().area([0, 0, code])
}

/// The defaults, with a chain short enough to be laid at once.
pub fn config() -> AdmConfig {
    AdmConfig {
        chain_epochs: 200,
        ..AdmConfig::new(snid())
    }
}

pub fn blind_config() -> AdmConfig {
    AdmConfig {
        blind_allowed: true,
        ..config()
    }
}

pub fn entropy(seed: u64) -> Entropy {
    let mut rng = fastrand::Rng::with_seed(seed);
    Box::new(move |out| {
        rng.fill(out);
        Ok(())
    })
}

/// Where a report is heard.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub area_id: AreaId,
    pub gnb_id: u32,
    pub reader_index: u16,
}

pub fn reader(reader_index: u16) -> Place {
    Place {
        area_id: area(1),
        gnb_id: 1,
        reader_index,
    }
}

pub fn in_area(code: u8) -> Place {
    Place {
        area_id: area(code),
        ..reader(1)
    }
}

/// An ADM, its store and its clock.
pub struct Net {
    pub adm: Adm,
    pub store: TestStore,
    pub now_ms: i64,
}

impl Net {
    pub fn new(config: AdmConfig) -> Self {
        Self::on(TestStore::in_memory(), config, START_MS)
    }

    pub fn on(store: TestStore, config: AdmConfig, now_ms: i64) -> Self {
        let adm = open(&store, config, now_ms).unwrap();
        Self { adm, store, now_ms }
    }

    /// With devices imported.
    pub fn with(config: AdmConfig, devices: &[&Device]) -> Self {
        let mut net = Self::new(config);
        net.import(devices);
        net
    }

    pub fn import(&mut self, devices: &[&Device]) {
        let specs: Vec<_> = devices.iter().map(|device| device.spec()).collect();
        self.adm.import(&specs, self.now_ms).unwrap();
    }

    /// The process ends and another begins on the same store.
    pub fn restart(&mut self) {
        let config = self.adm.config().clone();
        self.restart_with(config);
    }

    pub fn restart_with(&mut self, config: AdmConfig) {
        self.adm = open(&self.store, config, self.now_ms).unwrap();
    }

    pub fn wait_ms(&mut self, ms: i64) {
        self.now_ms += ms;
    }

    pub fn rand_n(&mut self) -> RandN {
        self.adm.beacons(self.now_ms).unwrap().current
    }

    pub fn epoch(&mut self) -> u32 {
        self.rand_n().epoch()
    }

    /// Reports under one RAND_n, as one batch.
    pub fn hear_batch(&mut self, rand_n: RandN, place: Place, reports: &[&[u8]]) -> Vec<Verdict> {
        let reports = heard(rand_n, place, reports);
        let mut verdicts = Vec::new();
        self.adm.authenticate(self.now_ms, &reports, &mut verdicts);
        assert_eq!(verdicts.len(), reports.len());
        verdicts
    }

    pub fn hear_at(&mut self, place: Place, rand_n: RandN, nas: &[u8]) -> Verdict {
        self.hear_batch(rand_n, place, &[nas]).remove(0)
    }

    /// A report in area 1, under the current RAND_n.
    pub fn hear(&mut self, nas: &[u8]) -> Outcome {
        let rand_n = self.rand_n();
        self.hear_at(reader(1), rand_n, nas).outcome()
    }

    pub fn events(&mut self, kind: &str) -> Vec<EventRow> {
        let mut events = Vec::new();
        let filter = EventFilter {
            kind: Some(kind),
            since_ms: None,
        };
        let mut take = |event| {
            events.push(event);
            ControlFlow::Continue(())
        };
        self.store.events_for_each(&filter, &mut take).unwrap();
        events
    }

    pub fn event_count(&mut self) -> usize {
        let mut count = 0;
        let mut take = |_| {
            count += 1;
            ControlFlow::Continue(())
        };
        let filter = EventFilter::default();
        self.store.events_for_each(&filter, &mut take).unwrap();
        count
    }

    pub fn records(&mut self) -> Vec<RecordRow> {
        let mut records = Vec::new();
        let mut take = |record| {
            records.push(record);
            ControlFlow::Continue(())
        };
        let filter = RecordFilter::default();
        self.store.records_for_each(&filter, &mut take).unwrap();
        records
    }
}

/// Reports as they come through a reader.
pub fn heard<'a>(rand_n: RandN, place: Place, reports: &[&'a [u8]]) -> Vec<DoaReport<'a>> {
    let reports = reports.iter().map(|nas| DoaReport {
        nas,
        rand_n,
        area_id: place.area_id,
        gnb_id: place.gnb_id,
        reader_index: place.reader_index,
    });
    reports.collect()
}

pub fn open(store: &TestStore, config: AdmConfig, now_ms: i64) -> Result<Adm, OpenError> {
    let kek = Kek::from_octets(&KEK);
    let seed = now_ms.unsigned_abs();
    Adm::open(config, Box::new(store.clone()), kek, entropy(seed), now_ms)
}

/// The octets of the ACCEPT; fails on silence.
pub fn accept(verdict: &Verdict) -> Vec<u8> {
    match verdict {
        Verdict::Accept { nas, .. } => nas.as_slice().to_vec(),
        Verdict::Silence(outcome) => panic!("silence: {outcome:?}"),
    }
}

pub fn is_silent(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Silence(_))
}

/// Fleet areas of a configuration.
pub fn fleets(of: &[(&str, &[u8])]) -> HashMap<String, Vec<AreaId>> {
    let areas = |codes: &[u8]| codes.iter().map(|code| area(*code)).collect();
    of.iter()
        .map(|(name, codes)| ((*name).to_owned(), areas(codes)))
        .collect()
}

/// An empty directory of this name, on the disk the build is on.
pub fn directory(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}
