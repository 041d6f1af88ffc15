//! The way of one report through the ADM, as a list of steps (section 5, network rules):
//!
//! 1. [parse](ReportView::parse) it; check that its RAND_n is in force;
//! 2. find candidates: T-ID table, counter index, or population search within its budget (one pass for a batch);
//! 3. verify TAG1 under each candidate's key, the first candidates of a batch side by side; exactly one may succeed;
//! 4. check the device: disabled, barred;
//! 5. insert the acceptance record, durably, together with the other reports of the batch: the insert decides;
//! 6. answer with the ACCEPT that belongs to the record.
//!
//! What fails anywhere ends in silence and a count; nothing durable is written for it but rate-limited events.
//!
//! Step 5 may be left to a thread (`pipeline`). Steps 1 to 4 of the next batch rest on what is known before it has ended: where
//! that matters, they wait for it (`Adm::join`) or are undone (`Adm::refuse`).
mod identify;
mod pipeline;
mod record;

use std::collections::HashMap;

use ambit_adm_api::{Beacons, DoaReport, Outcome, Verdict};
use ambit_protocol::seal::Tag;
use ambit_protocol::{AreaId, Cause, Form, Suite};
use ambit_search::Opened;

pub(crate) use pipeline::Flight;
pub(crate) use record::Recording;

use crate::Adm;
use crate::registry::Index;

/// A report that exactly one device verifies.
struct Matched {
    /// Place in the batch.
    at: usize,
    source: Source,
    index: Index,
    row: i64,
    form: Form,
    epoch: u32,
    suite: Suite,
    opened: Opened,
    cause: Cause,
    seq: u8,
    nonce: Nonce,
    repeat: bool,
    /// P2 of the ACCEPT if the record is new.
    p2: Vec<u8>,
    /// Later reports of the batch that are octet-for-octet this one.
    copies: Vec<usize>,
}

/// RAND_d or counter, as it goes into the record.
#[derive(Clone, Copy)]
enum Nonce {
    Rand4([u8; 4]),
    Rand8([u8; 8]),
    Counter(u32, [u8; 4]),
}

impl Nonce {
    fn octets(&self) -> &[u8] {
        match self {
            Self::Rand4(octets) | Self::Counter(_, octets) => octets,
            Self::Rand8(octets) => octets,
        }
    }

    const fn counter(&self) -> Option<u32> {
        match self {
            Self::Counter(counter, _) => Some(*counter),
            _ => None,
        }
    }
}

/// What became of a report, as far as counting and events go.
pub(crate) struct Judged {
    pub(crate) outcome: Outcome,
    pub(crate) form: Option<Form>,
    pub(crate) device_id: Option<Box<[u8]>>,
}

/// Where a report was heard.
#[derive(Clone, Copy)]
pub(crate) struct Source {
    area_id: AreaId,
    gnb_id: u32,
    reader_index: u16,
}

impl Source {
    pub(crate) const fn of(report: &DoaReport<'_>) -> Self {
        Self {
            area_id: report.area_id,
            gnb_id: report.gnb_id,
            reader_index: report.reader_index,
        }
    }
}

/// Reports that go on record together.
#[derive(Default)]
pub(crate) struct Batch {
    /// When the latest of them were gathered.
    now_ms: i64,
    /// Those that are verified and not recorded yet, a device once.
    matched: Vec<Matched>,
    /// Their places, by device.
    by_device: HashMap<Index, usize>,
    /// Of all of them; what is not recorded yet has failed so far.
    verdicts: Vec<Verdict>,
}

impl Adm {
    pub(crate) fn authenticate_batch(
        &mut self,
        now_ms: i64,
        reports: &[DoaReport<'_>],
        verdicts: &mut Vec<Verdict>,
    ) {
        verdicts.clear();
        let mut batch = Batch {
            verdicts: std::mem::take(verdicts),
            ..Batch::default()
        };
        self.gather_into(now_ms, reports, &mut batch);
        self.commit(&mut batch);
        *verdicts = batch.verdicts;
    }

    fn gather_into(&mut self, now_ms: i64, reports: &[DoaReport<'_>], batch: &mut Batch) {
        let first = batch.verdicts.len();
        let unknown = reports
            .iter()
            .map(|_| Verdict::Silence(Outcome::StoreFailed));
        batch.verdicts.extend(unknown);
        batch.now_ms = now_ms;
        if self.beacons.is_doubted() {
            self.refuse(batch, Outcome::StoreFailed, |_| true);
        }
        let Some(beacons) = self.beacons_for(now_ms) else {
            for _ in reports {
                self.tally.count(Outcome::StoreFailed, None);
            }
            return;
        };
        let current_epoch = beacons.current.epoch();

        batch.matched.reserve(reports.len());
        batch.by_device.reserve(reports.len());
        let ahead = self.open_ahead(reports);
        let searched = self.search(now_ms, reports);
        let found = searched.into_iter().zip(ahead);
        for ((at, report), found) in (first..).zip(reports).zip(found) {
            if self.flight.is_some() && self.is_beyond_its_counters(report) {
                // The record that moves them may be on its way.
                self.land();
            }
            match self.identify(now_ms, current_epoch, report, found) {
                Err(refused) => {
                    self.note(now_ms, &Source::of(report), &refused);
                    if let Some(slot) = batch.verdicts.get_mut(at) {
                        *slot = Verdict::Silence(refused.outcome);
                    }
                }
                Ok(mut matched) => {
                    matched.at = at;
                    self.join(batch, matched, now_ms);
                }
            }
        }
    }

    /// Puts a matched report into the batch. Whether it is a repeat, and whether its counter is fresh, hangs on the report before
    /// it of the same device: where that is another one, it is recorded first.
    fn join(&mut self, batch: &mut Batch, mut matched: Matched, now_ms: i64) {
        let place = batch.by_device.get(&matched.index);
        if let Some(earlier) = place.and_then(|place| batch.matched.get_mut(*place)) {
            if is_same(earlier.epoch, &earlier.opened.tag1, &matched) {
                earlier.copies.push(matched.at);
                return;
            }
            self.commit(batch);
            self.mark_repeat(&mut matched, now_ms);
        } else if let Some(flight) = &self.flight
            && flight.has_another(&matched)
        {
            self.land();
            self.mark_repeat(&mut matched, now_ms);
        }
        batch.by_device.insert(matched.index, batch.matched.len());
        batch.matched.push(matched);
    }

    /// The beacons in force, for which the store is not asked while it records, as long as they are good.
    fn beacons_for(&mut self, now_ms: i64) -> Option<Beacons> {
        let in_force = self.in_force.filter(|beacons| {
            let is_over = |until_ms| now_ms >= until_ms;
            self.flight.is_some()
                && !self.beacons.is_time_to_look(now_ms)
                && !is_over(beacons.current_until_ms)
                && !beacons.previous.is_some_and(|(_, until)| is_over(until))
        });
        in_force.or_else(|| self.roll(now_ms).ok())
    }

    /// Steps 5 and 6 for all reports of the batch that are not recorded yet: one durable transaction, then the answers.
    fn commit(&mut self, batch: &mut Batch) {
        self.land();
        let recording = self.recording(batch);
        batch.by_device.clear();
        if let Some(mut recording) = recording {
            recording.run(self.store.get());
            self.answer_all(recording, &mut batch.verdicts);
        }
    }

    /// Takes reports out of the batch that are verified and must not be recorded after all.
    fn refuse(
        &mut self,
        batch: &mut Batch,
        outcome: Outcome,
        is_refused: impl Fn(&Matched) -> bool,
    ) {
        if !batch.matched.iter().any(&is_refused) {
            return;
        }
        batch.by_device.clear();
        for matched in std::mem::take(&mut batch.matched) {
            if !is_refused(&matched) {
                batch.by_device.insert(matched.index, batch.matched.len());
                batch.matched.push(matched);
                continue;
            }
            let refused = Judged {
                outcome,
                form: Some(matched.form),
                device_id: None,
            };
            self.note(batch.now_ms, &matched.source, &refused);
            for _ in &matched.copies {
                self.tally.count(outcome, refused.form);
            }
            for at in [matched.at].into_iter().chain(matched.copies) {
                if let Some(slot) = batch.verdicts.get_mut(at) {
                    *slot = Verdict::Silence(refused.outcome);
                }
            }
        }
    }
}

fn is_same(epoch: u32, tag1: &Tag, matched: &Matched) -> bool {
    epoch == matched.epoch && *tag1 == matched.opened.tag1
}
