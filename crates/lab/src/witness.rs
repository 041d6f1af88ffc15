//! An ear that keeps what was said on the air, and holds it against the protocol: one report, one ACCEPT; no T-ID for longer
//! than an epoch.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ambit_protocol::wire::{ReportId, ReportView};
use ambit_protocol::{AreaId, RandN};
use ambit_ran::air::Verdict;
use ambit_ran::fleet::Fleet;
use ambit_ran::frame::{AirFrame, Direction, FrameKind, RadioId, SiteReader, parse_beacon};
use ambit_ran::site::Site;

/// What was heard. Clones hear and remember as one.
#[derive(Clone, Debug, Default)]
pub struct Witness(Arc<Mutex<Notes>>);

/// A report as it was heard first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeardReport {
    /// When, in milliseconds.
    pub at_ms: u64,
    /// Where.
    pub reader: SiteReader,
    /// What its reader broadcast at the time.
    pub beacon: Option<(AreaId, RandN)>,
    /// The octets.
    pub octets: Vec<u8>,
}

#[derive(Debug, Default)]
struct Notes {
    beacons: HashMap<SiteReader, (AreaId, RandN)>,
    reports: Vec<HeardReport>,
    known: BTreeSet<Vec<u8>>,
    by_radio: HashMap<RadioId, Vec<u8>>,
    accepts: HashMap<Vec<u8>, BTreeSet<Vec<u8>>>,
    t_ids: HashMap<[u8; 4], TIdUse>,
    answered: u64,
}

/// When a T-ID of the beacon form was on the air, and the reports that showed it.
#[derive(Debug)]
struct TIdUse {
    first_ms: u64,
    last_ms: u64,
    reports: BTreeSet<Vec<u8>>,
}

impl Witness {
    /// Puts a new witness on a site's air. It hears what the ears before it have left of a frame.
    pub fn join(site: &mut Site) -> Self {
        let witness = Self::default();
        // What the readers broadcast already was announced before the witness came.
        for (gnb, state) in (0u16..).zip(site.gnbs()) {
            for reader in &state.config().readers {
                let reader_index = reader.reader_index;
                if let Some(beacon) = state.beacon(reader_index) {
                    let reader = SiteReader { gnb, reader_index };
                    witness.lock().beacons.insert(reader, beacon);
                }
            }
        }
        let ear = witness.clone();
        site.air_mut().add_ear(Box::new(move |frame| {
            ear.lock().hear(frame);
            Verdict::Pass
        }));
        witness
    }

    /// Sends a report once more, as an adversary does, and remembers under which contact.
    pub fn replay(&self, site: &mut Site, report: &HeardReport, radio_id: RadioId) {
        let octets = report.octets.clone();
        self.lock().by_radio.insert(radio_id, octets.clone());
        site.inject_up(report.reader, radio_id, 0, octets);
    }

    /// The different reports heard, in the order in which they were heard first.
    pub fn reports(&self) -> Vec<HeardReport> {
        self.lock().reports.clone()
    }

    /// ACCEPTs heard that answer a known report, copies included.
    pub fn answered(&self) -> u64 {
        self.lock().answered
    }

    /// Reports that were answered with two different ACCEPTs. There must be none.
    pub fn answered_differently(&self) -> usize {
        let notes = self.lock();
        let differently = notes.accepts.values().filter(|accepts| accepts.len() > 1);
        differently.count()
    }

    /// T-IDs of the beacon form that could be linked for longer than the identity rule allows: over `period_ms` or more, or
    /// over a power cycle of their device. There must be none.
    pub fn linkable_t_ids(&self, fleet: &Fleet, period_ms: u64) -> usize {
        let mut cycles: HashMap<&[u8], (usize, u32)> = HashMap::new();
        for (n, device) in fleet.devices().enumerate() {
            for item in device.ledger() {
                let reports = item.reports.iter();
                cycles.extend(reports.map(|report| (report.tag1(), (n, item.cycle))));
            }
        }
        // The length of a tag is not on the air.
        let owner = |octets: &Vec<u8>| {
            let tag = |len| octets.get(octets.len().checked_sub(len)?..);
            let mut tags = [16, 8, 4].into_iter().filter_map(tag);
            tags.find_map(|tag| cycles.get(tag))
        };
        let is_linkable = |t_id: &&TIdUse| {
            let owners: BTreeSet<_> = t_id.reports.iter().map(owner).collect();
            t_id.last_ms - t_id.first_ms >= period_ms || owners.len() > 1
        };
        self.lock().t_ids.values().filter(is_linkable).count()
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notes {
    fn hear(&mut self, frame: &AirFrame) {
        match (frame.direction, frame.kind) {
            (Direction::Up, FrameKind::Nas) => self.hear_report(frame),
            (Direction::Down, FrameKind::Nas) => {
                let report = frame.radio_id.and_then(|id| self.by_radio.get(&id));
                if let Some(report) = report {
                    self.answered += 1;
                    let accepts = self.accepts.entry(report.clone()).or_default();
                    accepts.insert(frame.octets.clone());
                }
            }
            (_, FrameKind::Beacon) => {
                if let Some(beacon) = parse_beacon(&frame.octets) {
                    self.beacons.insert(frame.reader, beacon);
                }
            }
            _ => {}
        }
    }

    fn hear_report(&mut self, frame: &AirFrame) {
        let Ok(view) = ReportView::parse(&frame.octets) else {
            return;
        };
        if let Some(radio_id) = frame.radio_id {
            self.by_radio.insert(radio_id, frame.octets.clone());
        }
        if let ReportId::Beacon { t_id, .. } = *view.id() {
            let t_id = self.t_ids.entry(t_id).or_insert(TIdUse {
                first_ms: frame.sent_ms,
                last_ms: frame.sent_ms,
                reports: BTreeSet::new(),
            });
            t_id.last_ms = frame.sent_ms;
            t_id.reports.insert(frame.octets.clone());
        }
        if self.known.insert(frame.octets.clone()) {
            self.reports.push(HeardReport {
                at_ms: frame.sent_ms,
                reader: frame.reader,
                beacon: self.beacons.get(&frame.reader).copied(),
                octets: frame.octets.clone(),
            });
        }
    }
}
