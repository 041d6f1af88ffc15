//! Presence: where each device was heard last, whether it is overdue, and whether it is heard in two places at once.
//!
//! All of it follows from the acceptance records and the fleets' expected intervals. [`Tracker`] is fed the records in their
//! order and the time, and says what changed; nothing is written. Whoever lost its state feeds the records again.

use std::collections::HashMap;
use std::ops::ControlFlow;

use ambit_store::{RecordFilter, RecordRow, Store, StoreError};

/// Changes of place within one epoch that a device may announce (cause 1 or 4) before two devices are suspected behind it.
const MOVES_PER_EPOCH_MAX: u8 = 3;

/// Causes of reports, as in records.
const POWER_ON: u8 = 1;
const MOVED: u8 = 4;
const GOING_SILENT: u8 = 6;

/// How often devices are expected to report.
#[derive(Clone, Debug, Default)]
pub struct Expectation {
    /// Seconds between two reports, by fleet. The devices of a fleet that is not named are never overdue.
    pub interval_s: HashMap<String, u32>,
    /// How long beyond the interval a device is waited for, in seconds.
    pub grace_s: u32,
}

impl Expectation {
    /// How long after its last report a device of this fleet is overdue, in ms.
    #[must_use]
    pub fn deadline_ms(&self, fleet: &str) -> Option<i64> {
        let interval_s = self.interval_s.get(fleet)?;
        Some((i64::from(*interval_s) + i64::from(self.grace_s)) * 1000)
    }
}

/// Whether a device is there. A device that was never heard is unknown, and the tracker does not know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Heard, and not overdue.
    Present,
    /// It said that it was going silent.
    Silent,
    /// Its report is overdue.
    Missing,
}

impl Presence {
    /// `present` or `absent`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Silent | Self::Missing => "absent",
        }
    }

    /// Why: `heard`, `going_silent` or `overdue`.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Present => "heard",
            Self::Silent => "going_silent",
            Self::Missing => "overdue",
        }
    }
}

/// A place of a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// AreaID.
    pub area_id: [u8; 12],
    /// The gNB.
    pub gnb_id: u32,
    /// The reader within that gNB.
    pub reader_index: u16,
}

impl Place {
    const fn of(record: &RecordRow) -> Self {
        Self {
            area_id: record.area_id,
            gnb_id: record.gnb_id,
            reader_index: record.reader_index,
        }
    }
}

/// What is known of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Permanent device ID.
    pub device_id: Box<[u8]>,
    /// Whether it is there.
    pub presence: Presence,
    /// Since when it has been so; over a change of place it is since the change.
    pub since_ms: i64,
    /// When it was heard last.
    pub last_ms: i64,
    /// The record of that.
    pub last_record: i64,
    /// Where it was heard last.
    pub place: Place,
    deadline_ms: Option<i64>,
    epoch: u32,
    moves: u8,
    is_suspect: bool,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Heard for the first time.
    Appeared,
    /// Heard again after it was absent.
    Returned,
    /// Heard in another area.
    Moved {
        /// Where it was before.
        from: Place,
    },
    /// It said that it was going silent.
    WentSilent,
    /// Its report is overdue.
    Missing,
    /// It is heard in two places at once: somebody has its key. Once an epoch.
    CloneSuspicion {
        /// Where it was heard before.
        from: Place,
    },
}

impl Change {
    /// The stable name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Appeared => "appeared",
            Self::Returned => "device_returned",
            Self::Moved { .. } => "moved",
            Self::WentSilent => "going_silent",
            Self::Missing => "missing",
            Self::CloneSuspicion { .. } => "clone_suspicion",
        }
    }
}

/// Follows the presence of all devices.
#[derive(Debug, Default)]
pub struct Tracker {
    devices: HashMap<i64, Seen>,
    /// Before this, nobody listened: no deadline begins earlier.
    listening_ms: i64,
}

impl Tracker {
    /// A tracker that knows no device. Deadlines begin at `listening_ms` at the earliest: while no core ran, devices could not be
    /// heard.
    #[must_use]
    pub fn new(listening_ms: i64) -> Self {
        Self {
            devices: HashMap::new(),
            listening_ms,
        }
    }

    /// The devices that were heard, by row id.
    #[must_use]
    pub const fn devices(&self) -> &HashMap<i64, Seen> {
        &self.devices
    }

    /// Takes in the next record; repeats count too, as they were heard. `deadline_ms` is that of the device's fleet. Calls
    /// `change` for whatever the record changes.
    pub fn record(
        &mut self,
        record: &RecordRow,
        deadline_ms: Option<i64>,
        change: &mut dyn FnMut(&Seen, Change),
    ) {
        let place = Place::of(record);
        let Some(seen) = self.devices.get_mut(&record.device) else {
            let seen = Seen {
                device_id: record.device_id.clone().into_boxed_slice(),
                presence: presence(record),
                since_ms: record.time_ms,
                last_ms: record.time_ms,
                last_record: record.id,
                place,
                deadline_ms,
                epoch: record.epoch,
                moves: 0,
                is_suspect: false,
            };
            change(&seen, Change::Appeared);
            self.devices.insert(record.device, seen);
            return;
        };
        if record.epoch != seen.epoch {
            (seen.epoch, seen.moves, seen.is_suspect) = (record.epoch, 0, false);
        } else if place.area_id != seen.place.area_id {
            seen.moves = seen.moves.saturating_add(1);
            let is_announced = matches!(record.cause, POWER_ON | MOVED);
            if !seen.is_suspect && (!is_announced || seen.moves > MOVES_PER_EPOCH_MAX) {
                seen.is_suspect = true;
                let from = std::mem::replace(&mut seen.place, place);
                change(seen, Change::CloneSuspicion { from });
                seen.place = from;
            }
        }
        let before = std::mem::replace(&mut seen.presence, presence(record));
        let from = std::mem::replace(&mut seen.place, place);
        seen.last_ms = record.time_ms;
        seen.last_record = record.id;
        seen.deadline_ms = deadline_ms;
        let what = match (before, seen.presence) {
            (_, Presence::Silent) if before != Presence::Silent => Change::WentSilent,
            (Presence::Silent | Presence::Missing, Presence::Present) => Change::Returned,
            _ if from.area_id != place.area_id => Change::Moved { from },
            _ => return,
        };
        seen.since_ms = record.time_ms;
        change(seen, what);
    }

    /// Looks for devices that are overdue.
    pub fn tick(&mut self, now_ms: i64, change: &mut dyn FnMut(&Seen, Change)) {
        for seen in self.devices.values_mut() {
            let begin_ms = seen.last_ms.max(self.listening_ms);
            let due_ms = seen.deadline_ms.map(|ms| begin_ms.saturating_add(ms));
            if seen.presence == Presence::Present && due_ms.is_some_and(|due_ms| now_ms > due_ms) {
                seen.presence = Presence::Missing;
                seen.since_ms = due_ms.unwrap_or(now_ms);
                change(seen, Change::Missing);
            }
        }
    }
}

const fn presence(record: &RecordRow) -> Presence {
    if record.cause == GOING_SILENT {
        Presence::Silent
    } else {
        Presence::Present
    }
}

/// Records looked at in one step.
const STEP_RECORDS_MAX: usize = 4096;

/// Feeds a tracker from a store, step by step.
#[derive(Debug)]
pub struct Follower {
    tracker: Tracker,
    expectation: Expectation,
    seen: i64,
    ticked_ms: i64,
    /// By row id of the device.
    deadlines: HashMap<i64, Option<i64>>,
}

impl Follower {
    /// Begins at the first record.
    #[must_use]
    pub fn new(expectation: Expectation, listening_ms: i64) -> Self {
        Self {
            tracker: Tracker::new(listening_ms),
            expectation,
            seen: 0,
            ticked_ms: 0,
            deadlines: HashMap::new(),
        }
    }

    /// The tracker.
    #[must_use]
    pub const fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// The last record taken in.
    #[must_use]
    pub const fn seen(&self) -> i64 {
        self.seen
    }

    /// Takes in all records there are in one walk, whoever wrote them, for a look at how things are now.
    ///
    /// # Errors
    /// The store's.
    pub fn read_all(&mut self, store: &mut dyn Store, now_ms: i64) -> Result<(), StoreError> {
        store.devices_for_each(&mut |device| {
            let deadline_ms = self.expectation.deadline_ms(&device.fleet);
            self.deadlines.insert(device.id, deadline_ms);
            ControlFlow::Continue(())
        })?;
        let unknown_ms = self.expectation.deadline_ms("");
        store.records_for_each(&RecordFilter::default(), &mut |record| {
            let deadline_ms = self.deadlines.get(&record.device).copied();
            self.tracker
                .record(&record, deadline_ms.unwrap_or(unknown_ms), &mut |_, _| {});
            self.seen = record.id;
            ControlFlow::Continue(())
        })?;
        self.tracker.tick(now_ms, &mut |_, _| {});
        Ok(())
    }

    /// Takes in the next records, and looks for overdue devices, at most once a second, when there are none left. `change` gets
    /// the record that caused it, `None` for what time alone did. Returns the number of records.
    ///
    /// # Errors
    /// The store's.
    pub fn step(
        &mut self,
        store: &mut dyn Store,
        now_ms: i64,
        change: &mut dyn FnMut(&Seen, Change, Option<i64>),
    ) -> Result<usize, StoreError> {
        let filter = RecordFilter {
            after_id: Some(self.seen),
            ..RecordFilter::default()
        };
        let mut records = Vec::new();
        store.records_for_each(&filter, &mut |record| {
            records.push(record);
            match records.len() < STEP_RECORDS_MAX {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })?;
        for record in &records {
            let deadline_ms = match self.deadlines.get(&record.device) {
                Some(deadline_ms) => *deadline_ms,
                None => {
                    let device = store.device(&record.device_id)?;
                    let fleet = device.map(|device| device.fleet).unwrap_or_default();
                    let deadline_ms = self.expectation.deadline_ms(&fleet);
                    self.deadlines.insert(record.device, deadline_ms);
                    deadline_ms
                }
            };
            self.tracker.record(record, deadline_ms, &mut |seen, what| {
                change(seen, what, Some(record.id));
            });
            self.seen = record.id;
        }
        if records.is_empty() && now_ms.abs_diff(self.ticked_ms) >= 1000 {
            self.ticked_ms = now_ms;
            self.tracker
                .tick(now_ms, &mut |seen, what| change(seen, what, None));
        }
        Ok(records.len())
    }
}
