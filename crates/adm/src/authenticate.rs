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
mod identify;
mod record;

use std::collections::HashMap;

use ambit_adm_api::{DoaReport, Outcome, Verdict};
use ambit_protocol::{Cause, Form, Suite};
use ambit_search::Opened;

use crate::Adm;
use crate::registry::Index;

/// A report that exactly one device verifies.
struct Matched {
    /// Place in the batch.
    at: usize,
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

impl Adm {
    pub(crate) fn authenticate_batch(
        &mut self,
        now_ms: i64,
        reports: &[DoaReport<'_>],
        verdicts: &mut Vec<Verdict>,
    ) {
        verdicts.clear();
        verdicts.extend(
            reports
                .iter()
                .map(|_| Verdict::Silence(Outcome::StoreFailed)),
        );
        let Ok(beacons) = self.roll(now_ms) else {
            for _ in reports {
                self.tally.count(Outcome::StoreFailed, None);
            }
            return;
        };
        let current_epoch = beacons.current.epoch();

        let mut batch: Vec<Matched> = Vec::with_capacity(reports.len());
        let mut in_batch: HashMap<Index, usize> = HashMap::with_capacity(reports.len());
        let ahead = self.open_ahead(reports);
        let searched = self.search(now_ms, reports);
        let found = searched.into_iter().zip(ahead);
        for ((at, report), found) in reports.iter().enumerate().zip(found) {
            let refused = match self.identify(now_ms, current_epoch, report, found) {
                Err(refused) => refused,
                Ok(mut matched) => {
                    matched.at = at;
                    match in_batch.get(&matched.index).and_then(|i| batch.get_mut(*i)) {
                        Some(earlier) if same_report(earlier, &matched) => {
                            earlier.copies.push(at);
                            continue;
                        }
                        // Whether it is a repeat, and whether its counter is fresh, hangs on the one before.
                        Some(_) => {
                            self.commit(now_ms, reports, &mut batch, verdicts);
                            in_batch.clear();
                            self.mark_repeat(&mut matched, now_ms);
                        }
                        None => {}
                    }
                    in_batch.insert(matched.index, batch.len());
                    batch.push(matched);
                    continue;
                }
            };
            self.note(now_ms, report, &refused);
            if let Some(slot) = verdicts.get_mut(at) {
                *slot = Verdict::Silence(refused.outcome);
            }
        }
        self.commit(now_ms, reports, &mut batch, verdicts);
    }
}

fn same_report(a: &Matched, b: &Matched) -> bool {
    a.epoch == b.epoch && a.opened.tag1 == b.opened.tag1
}
