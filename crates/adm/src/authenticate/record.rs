//! Steps 5 and 6: the acceptance record and the answer; counting and events.

use std::collections::HashMap;

use ambit_adm_api::{
    AcceptPdu, DoaItem, DoaReport, FollowOn, KeptCommand, Outcome, SessionKey, Verdict,
};
use ambit_protocol::exchange::empty_accept;
use ambit_protocol::wire::AcceptStatus;
use ambit_protocol::{Cause, Exchange, Form, KAiotf, WireError};
use ambit_store::{Insert, NewRecord, StoreError};

use super::{Judged, Matched};
use crate::Adm;
use crate::events::{Severity, Subject};
use crate::registry::{Index, REPEAT_MS, RecentItems};

impl Adm {
    /// Steps 5 and 6 for all matched reports so far: one durable transaction, then the answers.
    pub(super) fn commit(
        &mut self,
        now_ms: i64,
        reports: &[DoaReport<'_>],
        batch: &mut Vec<Matched>,
        verdicts: &mut [Verdict],
    ) {
        if batch.is_empty() {
            return;
        }
        let recalled = self.recall(batch, now_ms);
        let records: Vec<NewRecord<'_>> = batch
            .iter()
            .filter_map(|matched| {
                let device = self.registry.get(matched.index)?;
                let report = reports.get(matched.at)?;
                Some(record(now_ms, report, matched, device.device_id))
            })
            .collect();
        let mut outcomes = Vec::with_capacity(records.len());
        let stored = recalled.and_then(|()| self.store.accept(&records, &mut outcomes));
        drop(records);
        if let Err(StoreError::WentBack { first }) = &stored {
            self.store_went_back(*first, now_ms);
        }
        self.store_fault = stored.as_ref().err().map(ToString::to_string);
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
                Some(Insert::DeviceChanged) => (Outcome::DeviceChanged, &[]),
                // Only a registration can be that.
                Some(Insert::StaleChallenge) => (Outcome::StoreFailed, &[]),
            };
            let judged = Judged {
                outcome,
                form: Some(matched.form),
                // Only what raises an event needs the name.
                device_id: (!is_accepted(outcome))
                    .then(|| Some(self.registry.get(matched.index)?.device_id.into()))
                    .flatten(),
            };
            self.note(now_ms, report, &judged);
            let mut item = self.told(outcome, &matched);
            let command = self.command_with(&matched, insert, p2, now_ms);
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
                    let follow_on = self.follow_on(&matched, p2, command.as_ref());
                    *slot = answer(outcome, &matched, p2, follow_on, item.take());
                }
            }
        }
    }

    /// Learns which items of these devices other processes have recorded, where the store is shared: network rule 3 goes by
    /// what is on record, not by who heard it.
    fn recall(&mut self, batch: &mut [Matched], now_ms: i64) -> Result<(), StoreError> {
        let devices: Vec<i64> = batch.iter().map(|matched| matched.row).collect();
        let since_ms = now_ms.saturating_sub(REPEAT_MS);
        let hour = u32::try_from(REPEAT_MS / 1000).unwrap_or(u32::MAX) / self.config.period_s + 2;
        let since_epoch = self.beacons.issued().saturating_sub(hour);
        let mut recalled: HashMap<i64, RecentItems> = HashMap::new();
        self.store
            .records_by_others(&devices, since_epoch, since_ms, &mut |record| {
                let items = recalled.entry(record.device).or_default();
                let cause = Cause::from_number(record.cause);
                items.record(cause, record.seq, record.time_ms);
            })?;
        if recalled.is_empty() {
            return Ok(());
        }
        for matched in batch {
            if let Some(items) = recalled.remove(&matched.row) {
                self.registry.set_items(matched.index, &items);
            }
            self.mark_repeat(matched, now_ms);
        }
        Ok(())
    }

    /// The store has lost records that were accepted. Reports of this epoch and the one before could be accepted again, so
    /// neither counts any more.
    pub(crate) fn store_went_back(&mut self, first: i64, now_ms: i64) {
        self.beacons.doubt();
        let detail = format!("{{\"first_record\":{first}}}");
        self.events
            .alarm("store_went_back", Subject::default(), detail, now_ms);
    }

    /// The command that goes with the ACCEPT of a record.
    fn command_with(
        &mut self,
        matched: &Matched,
        insert: Option<&Insert>,
        p2: &[u8],
        now_ms: i64,
    ) -> Option<KeptCommand> {
        if AcceptStatus::parse(p2) != AcceptStatus::CommandFollows {
            return None;
        }
        let record = (matched.epoch, matched.opened.tag1.as_slice());
        match insert? {
            Insert::New { .. } => self.give_command(matched.row, record, now_ms),
            Insert::Duplicate { .. } => self.command_of(matched.row, matched.form, record, now_ms),
            Insert::StaleCounter { .. } | Insert::DeviceChanged | Insert::StaleChallenge => None,
        }
    }

    /// What follows the ACCEPT of a record.
    fn follow_on(
        &self,
        matched: &Matched,
        p2: &[u8],
        command: Option<&KeptCommand>,
    ) -> Option<Box<FollowOn>> {
        if AcceptStatus::parse(p2) != AcceptStatus::CommandFollows {
            return None;
        }
        let device = self.registry.get(matched.index)?;
        Some(Box::new(FollowOn {
            device_id: device.device_id.into(),
            key: SessionKey {
                k_aiotf: KAiotf::new(*matched.opened.k_aiotf.expose()),
                suite: device.suite,
                tag_len: device.tag_len,
            },
            command: command.cloned(),
        }))
    }

    /// What a new record changes in memory: the items known as repeats, the window of counters.
    fn remember(&mut self, matched: &Matched, now_ms: i64) {
        self.registry
            .note_item(matched.index, matched.cause, matched.seq, now_ms);
        if let Some(counter) = matched.nonce.counter() {
            self.move_counter(matched.index, counter);
        }
    }

    /// Moves a device's last counter in memory; it never goes back.
    fn move_counter(&mut self, index: Index, counter: u32) {
        let Some(old) = self.registry.get(index).map(|device| device.counter_last) else {
            return;
        };
        if old.is_some_and(|last| last >= counter) {
            return;
        }
        self.registry.set_counter_last(index, counter);
        if let Some(device) = self.registry.get(index) {
            self.counters.advance(index, &device, old);
        }
    }

    /// What a new report said, when the caller wants it told.
    fn told(&self, outcome: Outcome, matched: &Matched) -> Option<Box<DoaItem>> {
        if !self.tells_items || outcome != Outcome::AcceptedNew {
            return None;
        }
        let device = self.registry.get(matched.index)?;
        let item = matched.opened.plaintext.item().ok()?;
        Some(Box::new(DoaItem {
            device_id: device.device_id.into(),
            fleet: self.registry.fleet_name(&device).into(),
            epoch: matched.epoch,
            tag1: matched.opened.tag1.as_slice().into(),
            cause: item.cause,
            seq: item.seq,
            data: item.data.into(),
        }))
    }

    /// Counts a report and raises the event that its outcome asks for.
    pub(crate) fn note(&mut self, now_ms: i64, report: &DoaReport<'_>, judged: &Judged) {
        self.tally.count(judged.outcome, judged.form);
        self.event(now_ms, report, judged);
    }

    pub(super) fn event(&mut self, now_ms: i64, report: &DoaReport<'_>, judged: &Judged) {
        let severity = match judged.outcome {
            Outcome::AcceptedNew
            | Outcome::AcceptedRepeat
            | Outcome::AcceptedDuplicate
            | Outcome::Malformed
            | Outcome::StaleEpoch
            | Outcome::Challenged
            | Outcome::ChallengeUnknown
            | Outcome::DeviceChanged
            // Said where the ADM is not.
            | Outcome::AdmUnavailable => return,
            Outcome::DeviceDisabled | Outcome::KeyExpired => Severity::Info,
            Outcome::NoMatch
            | Outcome::PolicyRefused
            | Outcome::AreaUnknown
            | Outcome::SuciRefused
            | Outcome::AuthenticationFailed
            | Outcome::SyncFailure
            | Outcome::SearchBudgetExhausted => Severity::Warning,
            Outcome::AmbiguousMatch
            | Outcome::CloneSuspicion
            | Outcome::TIdLocked
            | Outcome::SqnExhausted
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

const fn is_accepted(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::AcceptedNew | Outcome::AcceptedRepeat | Outcome::AcceptedDuplicate
    )
}

fn record<'a>(
    now_ms: i64,
    report: &DoaReport<'_>,
    matched: &'a Matched,
    device_id: &'a [u8],
) -> NewRecord<'a> {
    let (_, data) = matched
        .opened
        .plaintext
        .octets()
        .split_first()
        .unwrap_or((&0, &[]));
    NewRecord {
        device: matched.row,
        device_id,
        epoch: matched.epoch,
        tag1: matched.opened.tag1.as_slice(),
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
fn answer(
    outcome: Outcome,
    matched: &Matched,
    p2: &[u8],
    follow_on: Option<Box<FollowOn>>,
    item: Option<Box<DoaItem>>,
) -> Verdict {
    if !is_accepted(outcome) {
        return Verdict::Silence(outcome);
    }
    match accept(matched, p2) {
        Ok(nas) => Verdict::Accept {
            nas,
            outcome,
            follow_on,
            item,
        },
        // A stored P2 above 32 octets: not of this version's making.
        Err(_) => Verdict::Silence(Outcome::StoreFailed),
    }
}

/// The ACCEPT with this P2. Without P2 it is its tag, which is there already.
fn accept(matched: &Matched, p2: &[u8]) -> Result<AcceptPdu, WireError> {
    let opened = &matched.opened;
    if p2.is_empty() {
        return AcceptPdu::build(|out| empty_accept(&opened.empty_accept_tag, out));
    }
    let exchange = Exchange::resume(matched.suite, &opened.k_aiotf, opened.tag1);
    AcceptPdu::build(|out| exchange.seal_accept(p2, out))
}
