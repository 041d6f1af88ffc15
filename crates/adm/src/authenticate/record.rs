//! Steps 5 and 6: the acceptance record and the answer; counting and events.

use std::collections::HashMap;

use ambit_adm_api::{AcceptPdu, DoaItem, FollowOn, KeptCommand, Outcome, SessionKey, Verdict};
use ambit_protocol::exchange::empty_accept;
use ambit_protocol::seal::Tag;
use ambit_protocol::wire::AcceptStatus;
use ambit_protocol::{Cause, Exchange, Form, KAiotf, WireError};
use ambit_store::{Insert, NewRecord, Store, StoreError};

use super::{Batch, Judged, Matched, Source};
use crate::Adm;
use crate::events::{Severity, Subject};
use crate::registry::{Index, REPEAT_MS, RecentItems};

/// The records of a batch on their way: what goes to the store, and what it says.
pub(crate) struct Recording {
    now_ms: i64,
    /// From when on what other processes have recorded counts.
    since_epoch: u32,
    matched: Vec<Matched>,
    /// Permanent IDs of the devices, one after the other, and where each ends.
    device_ids: Vec<u8>,
    ends: Vec<usize>,
    /// Items of devices that other processes have recorded.
    recalled: HashMap<i64, RecentItems>,
    outcomes: Vec<Insert>,
    stored: Result<(), StoreError>,
}

impl Recording {
    /// Goes to the store: one durable transaction.
    pub(crate) fn run(&mut self, store: &mut dyn Store) {
        let recalled = self.recall(store);
        let mut outcomes = std::mem::take(&mut self.outcomes);
        self.stored = recalled.and_then(|()| {
            let mut device_ids = self.device_ids.as_slice();
            let mut from = 0;
            let with_ids = self.matched.iter().zip(&self.ends).map(|(matched, end)| {
                let (id, rest) = device_ids.split_at_checked(end - from).unwrap_or_default();
                (device_ids, from) = (rest, *end);
                record(self.now_ms, matched, id)
            });
            let records: Vec<NewRecord<'_>> = with_ids.collect();
            store.accept(&records, &mut outcomes)
        });
        self.outcomes = outcomes;
    }

    /// Learns which items of these devices other processes have recorded, where the store is shared: network rule 3 goes by
    /// what is on record, not by who heard it.
    fn recall(&mut self, store: &mut dyn Store) -> Result<(), StoreError> {
        let devices: Vec<i64> = self.matched.iter().map(|matched| matched.row).collect();
        let since_ms = self.now_ms.saturating_sub(REPEAT_MS);
        let recalled = &mut self.recalled;
        store.records_by_others(&devices, self.since_epoch, since_ms, &mut |record| {
            let items = recalled.entry(record.device).or_default();
            let cause = Cause::from_number(record.cause);
            items.record(cause, record.seq, record.time_ms);
        })?;
        if self.recalled.is_empty() {
            return Ok(());
        }
        for matched in &mut self.matched {
            if let Some(items) = self.recalled.get(&matched.row) {
                matched.repeat = items.is_repeat(matched.cause, matched.seq, self.now_ms);
            }
        }
        Ok(())
    }

    pub(super) const fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// Whether all of it is on record, nothing is to be said of it, and no command goes with it.
    pub(super) fn is_plain(&self) -> bool {
        let is_plain = |(matched, insert): (&Matched, &Insert)| match insert {
            Insert::New { .. } => matched.p2.is_empty(),
            Insert::Duplicate { accept } => accept.is_empty(),
            _ => false,
        };
        self.stored.is_ok() && self.matched.iter().zip(&self.outcomes).all(is_plain)
    }

    /// Epoch and TAG1 of each report.
    pub(super) fn reports(&self) -> Vec<(u32, Tag)> {
        let reports = self.matched.iter();
        let reports = reports.map(|matched| (matched.epoch, matched.opened.tag1));
        reports.collect()
    }
}

impl Adm {
    /// Takes what a batch has to record; `None` when it has nothing.
    pub(super) fn recording(&mut self, batch: &mut Batch) -> Option<Recording> {
        if self.beacons.is_doubted() {
            // Found when the batch before was recorded: its RAND_n does not count any more.
            self.refuse(batch, Outcome::StoreFailed, |_| true);
        }
        let matched = std::mem::take(&mut batch.matched);
        if matched.is_empty() {
            return None;
        }
        let mut device_ids = Vec::new();
        let mut ends = Vec::with_capacity(matched.len());
        for matched in &matched {
            if let Some(device) = self.registry.get(matched.index) {
                device_ids.extend_from_slice(device.device_id);
            }
            ends.push(device_ids.len());
        }
        let hour = u32::try_from(REPEAT_MS / 1000).unwrap_or(u32::MAX) / self.config.period_s + 2;
        Some(Recording {
            now_ms: batch.now_ms,
            since_epoch: self.beacons.issued().saturating_sub(hour),
            outcomes: Vec::with_capacity(matched.len()),
            matched,
            device_ids,
            ends,
            recalled: HashMap::new(),
            stored: Ok(()),
        })
    }

    /// Step 6: what the store says of each report, in memory and to its device.
    pub(super) fn answer_all(&mut self, recording: Recording, verdicts: &mut [Verdict]) {
        let Recording {
            now_ms,
            matched: batch,
            recalled,
            outcomes,
            stored,
            ..
        } = recording;
        if let Err(StoreError::WentBack { first }) = &stored {
            self.store_went_back(*first, now_ms);
        }
        self.store_fault = stored.as_ref().err().map(ToString::to_string);
        for (place, matched) in batch.into_iter().enumerate() {
            if let Some(items) = recalled.get(&matched.row) {
                self.registry.set_items(matched.index, items);
            }
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
            self.note(now_ms, &matched.source, &judged);
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
    pub(crate) fn note(&mut self, now_ms: i64, source: &Source, judged: &Judged) {
        self.tally.count(judged.outcome, judged.form);
        self.event(now_ms, source, judged);
    }

    pub(super) fn event(&mut self, now_ms: i64, source: &Source, judged: &Judged) {
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
            area_id: Some(source.area_id),
            gnb_id: Some(source.gnb_id),
            reader_index: Some(source.reader_index),
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

fn record<'a>(now_ms: i64, matched: &'a Matched, device_id: &'a [u8]) -> NewRecord<'a> {
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
        area_id: *matched.source.area_id.octets(),
        nonce: matched.nonce.octets(),
        cause: matched.cause.number(),
        seq: matched.seq,
        data,
        accept: &matched.p2,
        time_ms: now_ms,
        repeat: matched.repeat,
        gnb_id: matched.source.gnb_id,
        reader_index: matched.source.reader_index,
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
