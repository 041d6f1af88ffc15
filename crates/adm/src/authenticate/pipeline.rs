//! While one batch is recorded, by a thread that has the store meanwhile, the next is gathered: its reports are identified and
//! verified.

use std::collections::HashMap;

use ambit_adm_api::{DoaReport, Outcome, Pipelined, Verdict, Wake};
use ambit_protocol::seal::Tag;

use super::{Matched, Recording, is_same};
use crate::Adm;
use crate::follow::Changes;
use crate::registry::Index;

/// A batch that is being recorded.
pub(crate) struct Flight {
    by_device: HashMap<Index, usize>,
    /// Epoch and TAG1 by place.
    reports: Vec<(u32, Tag)>,
    verdicts: Vec<Verdict>,
}

impl Flight {
    /// Whether another report of the same device is in it.
    pub(super) fn has_another(&self, matched: &Matched) -> bool {
        let place = self.by_device.get(&matched.index);
        let report = place.and_then(|place| self.reports.get(*place));
        report.is_some_and(|(epoch, tag1)| !is_same(*epoch, tag1, matched))
    }
}

impl Adm {
    /// Waits for the batch that is being recorded, if there is one, and answers its reports.
    pub(super) fn land(&mut self) {
        let Some((flight, recording)) = self.landed() else {
            return;
        };
        let now_ms = recording.as_ref().map(Recording::now_ms);
        self.end_flight(Some((flight, recording)));
        if let Some(now_ms) = now_ms {
            self.events.flush(self.store.get(), now_ms);
        }
    }

    /// The batch that was being recorded, with what the store says of it.
    fn landed(&mut self) -> Option<(Flight, Option<Recording>)> {
        let flight = self.flight.take()?;
        self.store.get();
        Some((flight, self.store.recorded()))
    }

    fn end_flight(&mut self, landed: Option<(Flight, Option<Recording>)>) {
        let Some((mut flight, recording)) = landed else {
            return;
        };
        if let Some(recording) = recording {
            self.answer_all(recording, &mut flight.verdicts);
        }
        self.ended.push_back(flight.verdicts);
    }

    /// Records whatever has been gathered. What is gathered rests on what this process knew of the devices, so it goes before
    /// anything changes that.
    pub(crate) fn rest(&mut self) {
        if self.flight.is_none() && self.gathered.matched.is_empty() {
            return;
        }
        let mut batch = std::mem::take(&mut self.gathered);
        self.commit(&mut batch);
        self.gathered = batch;
    }

    /// Refuses what was gathered, when it is known that its RAND_n does not count any more.
    pub(crate) fn refuse_doubted(&mut self) {
        if self.beacons.is_doubted() {
            let mut batch = std::mem::take(&mut self.gathered);
            self.refuse(&mut batch, Outcome::StoreFailed, |_| true);
            self.gathered = batch;
        }
    }
}

impl Pipelined for Adm {
    fn gather(&mut self, now_ms: i64, reports: &[DoaReport<'_>]) {
        if self.flight.is_none() && self.gathered.matched.is_empty() {
            self.follow();
        }
        let mut batch = std::mem::take(&mut self.gathered);
        self.gather_into(now_ms, reports, &mut batch);
        self.gathered = batch;
    }

    fn is_recorded(&mut self, wait: bool) -> bool {
        if wait {
            self.store.get();
        }
        self.store.is_here()
    }

    fn record(&mut self) {
        let mut landed = self.landed();
        // Answering takes its time, in which the next batch is recorded; unless one hangs on the other, or it needs the store.
        let is_plain = |(_, recording): &(_, Option<Recording>)| {
            recording.as_ref().is_none_or(Recording::is_plain)
        };
        let changes = self.changes();
        if !changes.as_ref().is_ok_and(Changes::is_empty) || !landed.as_ref().is_none_or(is_plain) {
            self.end_flight(landed.take());
        }
        let mut batch = std::mem::take(&mut self.gathered);
        // What was gathered while the batch before was recorded was verified before this.
        let changed = self.take_up_changes(changes);
        self.refuse(&mut batch, Outcome::DeviceChanged, |matched| {
            changed.contains(&matched.row)
        });
        self.events.flush(self.store.get(), batch.now_ms);
        let recording = self.recording(&mut batch);
        let reports = recording.as_ref().map(Recording::reports);
        if let Some(recording) = recording {
            self.store.record(recording);
        }
        self.end_flight(landed);
        match reports {
            None => self.ended.push_back(batch.verdicts),
            Some(reports) => {
                self.flight = Some(Flight {
                    by_device: batch.by_device,
                    reports,
                    verdicts: batch.verdicts,
                });
            }
        }
    }

    fn recorded(&mut self, wait: bool) -> Option<Vec<Verdict>> {
        if self.ended.is_empty() && self.is_recorded(wait) {
            self.land();
        }
        self.ended.pop_front()
    }

    fn wake_with(&mut self, wake: Wake) {
        self.store.wake_with(wake);
    }
}
