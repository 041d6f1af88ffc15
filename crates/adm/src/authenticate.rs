//! The way of one report through the ADM, as a list of steps (section 5, network rules):
//!
//! 1. [parse](ReportView::parse) it; check that its RAND_n is in force;
//! 2. find candidates: T-ID table, counter index, or population search within its budget;
//! 3. verify TAG1 under each candidate's key; exactly one may succeed;
//! 4. check the device: disabled, barred;
//! 5. insert the acceptance record, durably, together with the other reports of the batch: the insert decides;
//! 6. answer with the ACCEPT that belongs to the record.
//!
//! What fails anywhere ends in silence and a count; nothing durable is written for it but rate-limited events.

use std::collections::HashMap;

use ambit_adm_api::{AcceptPdu, DoaReport, Outcome, Verdict};
use ambit_protocol::exchange::Plaintext;
use ambit_protocol::schedule::{self, Input, cut};
use ambit_protocol::wire::{AcceptStatus, ReportId, ReportView};
use ambit_protocol::{Cause, Exchange, Form, KAiotf, TagLen};
use ambit_store::{Insert, NewRecord};

use crate::Adm;
use crate::events::{Severity, Subject};
use crate::registry::{Device, Index};
use crate::tables::widen;

/// A report that exactly one device verifies.
struct Matched {
    /// Place in the batch.
    at: usize,
    index: Index,
    row: i64,
    form: Form,
    epoch: u32,
    exchange: Exchange,
    k_aiotf: KAiotf,
    plaintext: Plaintext,
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

/// A device that a report may be from, and what its exchange depends on.
struct Candidate {
    index: Index,
    input: Input,
    nonce: Nonce,
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

        let mut batch: Vec<Matched> = Vec::new();
        let mut in_batch: HashMap<Index, usize> = HashMap::new();
        for (at, report) in reports.iter().enumerate() {
            let refused = match self.identify(now_ms, current_epoch, report) {
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

    /// Steps 1 to 4.
    fn identify(
        &mut self,
        now_ms: i64,
        current_epoch: u32,
        report: &DoaReport<'_>,
    ) -> Result<Matched, Judged> {
        let view = ReportView::parse(report.nas).map_err(|_| Judged {
            outcome: Outcome::Malformed,
            form: None,
            device_id: None,
        })?;
        let form = view.id().form();
        let refuse = |outcome| Judged {
            outcome,
            form: Some(form),
            device_id: None,
        };
        if report.area_id.snid() != self.config.snid {
            return Err(refuse(Outcome::AreaUnknown));
        }
        let Some(table) = self.tables.iter().position(|t| t.rand_n() == report.rand_n) else {
            return Err(refuse(Outcome::StaleEpoch));
        };
        if form == Form::Blind && !self.config.blind_allowed {
            return Err(refuse(Outcome::PolicyRefused));
        }

        let candidates = self
            .candidates(now_ms, report, view.id(), table)
            .map_err(refuse)?;
        let mut found: Option<Matched> = None;
        for candidate in candidates {
            let Some(device) = self.registry.get(candidate.index) else {
                continue;
            };
            if !device.form.sends(form) || !self.registry.in_scope(device, &report.area_id) {
                continue;
            }
            match verify(device, &candidate, &view) {
                Some(_) if found.is_some() => {
                    // The alarm names one of them; the other has the same key.
                    return Err(Judged {
                        device_id: Some(device.device_id.clone()),
                        ..refuse(Outcome::AmbiguousMatch)
                    });
                }
                Some((k_aiotf, exchange, plaintext)) => {
                    let item = plaintext.item().map_err(|_| refuse(Outcome::Malformed))?;
                    let epoch = if form == Form::Blind {
                        current_epoch
                    } else {
                        report.rand_n.epoch()
                    };
                    found = Some(Matched {
                        at: 0,
                        index: candidate.index,
                        row: device.row,
                        form,
                        epoch,
                        cause: item.cause,
                        seq: item.seq,
                        exchange,
                        k_aiotf,
                        plaintext,
                        nonce: candidate.nonce,
                        repeat: false,
                        p2: Vec::new(),
                        copies: Vec::new(),
                    });
                }
                None if device.tag_len == TagLen::T4 => {
                    let t_id = lock_key(view.id());
                    let table = self.tables.get_mut(table);
                    if t_id
                        .zip(table)
                        .is_some_and(|(t_id, table)| table.count_failure(t_id))
                    {
                        self.event(now_ms, report, &refuse(Outcome::TIdLocked));
                    }
                }
                None => {}
            }
        }
        let mut matched = found.ok_or(refuse(Outcome::NoMatch))?;
        self.check_device(&matched)?;
        self.mark_repeat(&mut matched, now_ms);
        Ok(matched)
    }

    /// Step 2. A locked T-ID is refused before anything is computed.
    fn candidates(
        &mut self,
        now_ms: i64,
        report: &DoaReport<'_>,
        id: &ReportId,
        table: usize,
    ) -> Result<Vec<Candidate>, Outcome> {
        let (rand_n, area_id) = (&report.rand_n, &report.area_id);
        let Some(table) = self.tables.get(table) else {
            return Err(Outcome::StaleEpoch);
        };
        if lock_key(id).is_some_and(|t_id| table.is_locked(t_id)) {
            return Err(Outcome::TIdLocked);
        }
        let counter_candidate = |index, counter: u32, input| Candidate {
            index,
            input,
            nonce: Nonce::Counter(counter, counter.to_be_bytes()),
        };
        Ok(match id {
            ReportId::Beacon { t_id, rand_d } => table
                .candidates(*t_id)
                .map(|index| Candidate {
                    index,
                    input: schedule::beacon_k_aiotf(rand_n, area_id, rand_d),
                    nonce: Nonce::Rand4(*rand_d),
                })
                .collect(),
            ReportId::Counter { t_id } => self
                .counters
                .candidates(*t_id)
                .map(|(index, counter)| {
                    let input = schedule::counter_k_aiotf(rand_n, area_id, counter);
                    counter_candidate(index, counter, input)
                })
                .collect(),
            ReportId::Blind { t_id } => self
                .counters
                .candidates(*t_id)
                .map(|(index, counter)| {
                    counter_candidate(index, counter, schedule::blind_k_aiotf(counter))
                })
                .collect(),
            ReportId::Concealed { cid, rand_d } => {
                let input = schedule::concealed_id(rand_n, rand_d);
                self.search(now_ms, report, &input, *cid, Population::Beacon)?
                    .into_iter()
                    .map(|index| Candidate {
                        index,
                        input: schedule::concealed_k_aiotf(rand_n, area_id, rand_d),
                        nonce: Nonce::Rand8(*rand_d),
                    })
                    .collect()
            }
            ReportId::Recovery { counter, t_id } => {
                let input = schedule::counter_t_id(*counter);
                self.search(now_ms, report, &input, *t_id, Population::Counter)?
                    .into_iter()
                    .map(|index| {
                        let input = schedule::counter_k_aiotf(rand_n, area_id, *counter);
                        counter_candidate(index, *counter, input)
                    })
                    .collect()
            }
        })
    }

    /// The population search (section 9): all devices in scope whose PRF of `input` starts with `id`.
    fn search<const N: usize>(
        &mut self,
        now_ms: i64,
        report: &DoaReport<'_>,
        input: &Input,
        id: [u8; N],
        population: Population,
    ) -> Result<Vec<Index>, Outcome> {
        let members = match population {
            Population::Beacon => self.registry.beacon_population(),
            Population::Counter => self.registry.counter_population(),
        };
        let reader = (report.gnb_id, report.reader_index);
        if !self.budget.take(reader, members.len(), now_ms) {
            return Err(Outcome::SearchBudgetExhausted);
        }
        let is_match = |index: &Index| {
            self.registry.get(*index).is_some_and(|device| {
                self.registry.in_scope(device, &report.area_id)
                    && cut::<N>(&device.key.evaluate(device.suite, input)) == id
            })
        };
        Ok(members.iter().copied().filter(is_match).collect())
    }

    /// Step 4.
    fn check_device(&self, matched: &Matched) -> Result<(), Judged> {
        let device = self.registry.get(matched.index);
        let outcome = match device {
            None => Outcome::NoMatch,
            Some(device) if device.disabled => Outcome::DeviceDisabled,
            Some(device) if !device.device_type.is_do_a_capable() => Outcome::PolicyRefused,
            Some(_) => return Ok(()),
        };
        Err(Judged {
            outcome,
            form: Some(matched.form),
            device_id: device.map(|device| device.device_id.clone()),
        })
    }

    fn mark_repeat(&self, matched: &mut Matched, now_ms: i64) {
        matched.repeat = self
            .registry
            .get(matched.index)
            .is_some_and(|device| device.recent.is_repeat(matched.cause, matched.seq, now_ms));
    }

    /// Steps 5 and 6 for all matched reports so far: one durable transaction, then the answers.
    fn commit(
        &mut self,
        now_ms: i64,
        reports: &[DoaReport<'_>],
        batch: &mut Vec<Matched>,
        verdicts: &mut [Verdict],
    ) {
        if batch.is_empty() {
            return;
        }
        let records: Vec<NewRecord<'_>> = batch
            .iter()
            .filter_map(|matched| Some(record(now_ms, reports.get(matched.at)?, matched)))
            .collect();
        let mut outcomes = Vec::with_capacity(records.len());
        let stored = self.store.accept(&records, &mut outcomes);
        drop(records);
        for (place, matched) in batch.drain(..).enumerate() {
            let Some(report) = reports.get(matched.at) else {
                continue;
            };
            let insert = if stored.is_ok() {
                outcomes.get(place)
            } else {
                None
            };
            let (outcome, p2): (_, &[u8]) = match insert {
                None => (Outcome::StoreFailed, &[]),
                Some(Insert::New { .. }) => {
                    self.remember(&matched, now_ms);
                    let repeat = matched.repeat;
                    let outcome = if repeat {
                        Outcome::AcceptedRepeat
                    } else {
                        Outcome::AcceptedNew
                    };
                    (outcome, &matched.p2)
                }
                Some(Insert::Duplicate { accept }) => (Outcome::AcceptedDuplicate, accept),
                Some(Insert::StaleCounter { last }) => {
                    self.move_counter(matched.index, *last);
                    (Outcome::CloneSuspicion, &[])
                }
            };
            let judged = Judged {
                outcome,
                form: Some(matched.form),
                // Only what raises an event needs the name.
                device_id: (!is_accepted(outcome))
                    .then(|| Some(self.registry.get(matched.index)?.device_id.clone()))
                    .flatten(),
            };
            self.note(now_ms, report, &judged);
            let answered = [matched.at]
                .into_iter()
                .chain(matched.copies.iter().copied());
            for (copy, at) in answered.enumerate() {
                // A copy in the same batch finds the record present, as it would a moment later.
                let outcome = if copy > 0 && is_accepted(outcome) {
                    Outcome::AcceptedDuplicate
                } else {
                    outcome
                };
                if copy > 0 {
                    self.tally.count(outcome, Some(matched.form));
                }
                if let Some(slot) = verdicts.get_mut(at) {
                    *slot = answer(outcome, &matched, p2);
                }
            }
        }
    }

    /// What a new record changes in memory: the items known as repeats, the window of counters.
    fn remember(&mut self, matched: &Matched, now_ms: i64) {
        let Some(device) = self.registry.get_mut(matched.index) else {
            return;
        };
        device.recent.record(matched.cause, matched.seq, now_ms);
        if let Some(counter) = matched.nonce.counter() {
            self.move_counter(matched.index, counter);
        }
    }

    /// Moves a device's last counter in memory; it never goes back.
    fn move_counter(&mut self, index: Index, counter: u32) {
        let Some(device) = self.registry.get_mut(index) else {
            return;
        };
        if device.counter_last.is_some_and(|last| last >= counter) {
            return;
        }
        let old = device.counter_last.replace(counter);
        if let Some(device) = self.registry.get(index) {
            self.counters.advance(index, device, old);
        }
    }

    /// Counts a report and raises the event that its outcome asks for.
    fn note(&mut self, now_ms: i64, report: &DoaReport<'_>, judged: &Judged) {
        self.tally.count(judged.outcome, judged.form);
        self.event(now_ms, report, judged);
    }

    fn event(&mut self, now_ms: i64, report: &DoaReport<'_>, judged: &Judged) {
        let severity = match judged.outcome {
            Outcome::AcceptedNew
            | Outcome::AcceptedRepeat
            | Outcome::AcceptedDuplicate
            | Outcome::Malformed
            | Outcome::StaleEpoch => return,
            Outcome::DeviceDisabled => Severity::Info,
            Outcome::NoMatch
            | Outcome::PolicyRefused
            | Outcome::AreaUnknown
            | Outcome::SearchBudgetExhausted => Severity::Warning,
            Outcome::AmbiguousMatch
            | Outcome::CloneSuspicion
            | Outcome::TIdLocked
            | Outcome::StoreFailed => Severity::Alarm,
        };
        let subject = Subject {
            device_id: judged.device_id.clone(),
            area_id: Some(report.area_id),
            gnb_id: Some(report.gnb_id),
            reader_index: Some(report.reader_index),
            form: judged.form.map(Form::name),
        };
        self.events
            .note(judged.outcome.name(), severity, subject, now_ms);
    }
}

/// What became of a report, as far as counting and events go.
struct Judged {
    outcome: Outcome,
    form: Option<Form>,
    device_id: Option<Box<[u8]>>,
}

#[derive(Clone, Copy)]
enum Population {
    Beacon,
    Counter,
}

/// Step 3 for one candidate.
fn verify(
    device: &Device,
    candidate: &Candidate,
    view: &ReportView<'_>,
) -> Option<(KAiotf, Exchange, Plaintext)> {
    let k_aiotf = KAiotf::new(device.key.evaluate(device.suite, &candidate.input));
    let opened = Exchange::open_report(device.suite, &k_aiotf, view, device.tag_len);
    opened
        .ok()
        .map(|(exchange, plaintext)| (k_aiotf, exchange, plaintext))
}

/// The key under which failures on a T-ID are counted; forms without a T-ID have none.
fn lock_key(id: &ReportId) -> Option<u64> {
    match id {
        ReportId::Beacon { t_id, .. } => Some(u32::from_be_bytes(*t_id).into()),
        ReportId::Counter { t_id } | ReportId::Blind { t_id } | ReportId::Recovery { t_id, .. } => {
            Some(widen(*t_id))
        }
        ReportId::Concealed { .. } => None,
    }
}

fn same_report(a: &Matched, b: &Matched) -> bool {
    a.epoch == b.epoch && a.exchange.tag1() == b.exchange.tag1()
}

const fn is_accepted(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::AcceptedNew | Outcome::AcceptedRepeat | Outcome::AcceptedDuplicate
    )
}

fn record<'a>(now_ms: i64, report: &DoaReport<'_>, matched: &'a Matched) -> NewRecord<'a> {
    let (_, data) = matched
        .plaintext
        .octets()
        .split_first()
        .unwrap_or((&0, &[]));
    NewRecord {
        device: matched.row,
        epoch: matched.epoch,
        tag1: matched.exchange.tag1().as_slice(),
        form: matched.form.number(),
        area_id: *report.area_id.octets(),
        nonce: matched.nonce.octets(),
        cause: matched.cause.number(),
        seq: matched.seq,
        data,
        accept: &matched.p2,
        time_ms: now_ms,
        repeat: matched.repeat,
        gnb_id: report.gnb_id,
        reader_index: report.reader_index,
        counter: matched.nonce.counter(),
    }
}

/// Step 6: the ACCEPT of a record, from the P2 that is stored with it.
fn answer(outcome: Outcome, matched: &Matched, p2: &[u8]) -> Verdict {
    if !is_accepted(outcome) {
        return Verdict::Silence(outcome);
    }
    match AcceptPdu::build(|out| matched.exchange.seal_accept(p2, out)) {
        Ok(nas) => Verdict::Accept {
            nas,
            outcome,
            session: (AcceptStatus::parse(p2) == AcceptStatus::CommandFollows)
                .then(|| KAiotf::new(*matched.k_aiotf.expose())),
        },
        // A stored P2 above 32 octets: not of this version's making.
        Err(_) => Verdict::Silence(Outcome::StoreFailed),
    }
}
