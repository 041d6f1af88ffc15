//! Sessions that an AIOTF has opened at this gNB: DO-A windows and device-terminated inventories, and the reports that
//! collect under each.

use std::collections::BTreeMap;

use ambit_ngap::{AiotfId, DeviceReport};
use ambit_protocol::RandN;

use super::contention::Contention;
use crate::frame::Page;

/// What names a session on N2: the AIOTF and its correlation identifier.
pub(super) type SessionKey = (AiotfId, u16);

/// Correlation identifiers from here on are DO-A windows (section 11).
pub(super) const DOA_CORRELATION_MIN: u16 = 0x8000;

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) key: SessionKey,
    pub(super) rand_n: RandN,
    pub(super) opened_ms: u64,
    /// The readers of this gNB that it covers, in order.
    pub(super) readers: Vec<u16>,
    /// Whether device NGAP IDs are reported: without a follow-on command nobody needs them.
    pub(super) follow_on_command: bool,
    pub(super) kind: SessionKind,
    batch: BTreeMap<u16, Vec<DeviceReport<'static>>>,
    batched: usize,
    flush_ms: Option<u64>,
    /// Whether anything has been reported.
    pub(super) has_answers: bool,
}

/// What a session is for.
#[derive(Debug)]
pub(super) enum SessionKind {
    /// Devices speak when they want to.
    DoaWindow,
    /// Devices answer a page.
    Inventory(Inventory),
}

/// A page that is out.
#[derive(Debug)]
pub(super) struct Inventory {
    pub(super) transaction: u16,
    pub(super) answers: Answers,
    /// Whether the complete indication has gone up.
    pub(super) is_complete: bool,
}

/// How its answers come.
#[derive(Debug)]
pub(super) enum Answers {
    /// That of one device, until `until_ms`. Without it the page is repeated.
    Free {
        page: Page,
        until_ms: u64,
        repeat_ms: Option<u64>,
    },
    /// By reader, in rounds of access occasions.
    Contention(BTreeMap<u16, Contention>),
}

impl Inventory {
    fn timeout_ms(&self, has_answers: bool) -> Option<u64> {
        if self.is_complete {
            return None;
        }
        match &self.answers {
            Answers::Free {
                until_ms,
                repeat_ms,
                ..
            } => {
                let repeat_ms = repeat_ms.filter(|_| !has_answers);
                Some(repeat_ms.map_or(*until_ms, |at_ms| at_ms.min(*until_ms)))
            }
            Answers::Contention(readers) => {
                let next_ms = readers.values().filter_map(Contention::timeout_ms).min();
                // All are done: the end is to be said at once.
                Some(next_ms.unwrap_or(0))
            }
        }
    }

    fn is_over(&self, now_ms: u64) -> bool {
        match &self.answers {
            Answers::Free { until_ms, .. } => *until_ms <= now_ms,
            Answers::Contention(readers) => readers.values().all(Contention::is_done),
        }
    }
}

impl Session {
    pub(super) fn new(
        key: SessionKey,
        rand_n: RandN,
        opened_ms: u64,
        readers: Vec<u16>,
        follow_on_command: bool,
        kind: SessionKind,
    ) -> Self {
        Self {
            key,
            rand_n,
            opened_ms,
            readers,
            follow_on_command,
            kind,
            batch: BTreeMap::new(),
            batched: 0,
            flush_ms: None,
            has_answers: false,
        }
    }

    /// The transaction ID of its page, if it has one.
    pub(super) const fn transaction(&self) -> Option<u16> {
        match &self.kind {
            SessionKind::DoaWindow => None,
            SessionKind::Inventory(inventory) => Some(inventory.transaction),
        }
    }

    /// The contention at one of its readers, if there is any.
    pub(super) fn contention(&mut self, reader_index: u16) -> Option<&mut Contention> {
        match &mut self.kind {
            SessionKind::Inventory(Inventory {
                answers: Answers::Contention(readers),
                ..
            }) => readers.get_mut(&reader_index),
            _ => None,
        }
    }

    pub(super) const fn is_window(&self) -> bool {
        matches!(self.kind, SessionKind::DoaWindow)
    }

    /// Adds a report to the batch, which is to be flushed at `flush_ms` unless it already has an earlier time. Returns how
    /// many reports the batch holds.
    pub(super) fn add(
        &mut self,
        reader_index: u16,
        report: DeviceReport<'static>,
        flush_ms: u64,
    ) -> usize {
        self.batch.entry(reader_index).or_default().push(report);
        self.batched += 1;
        self.has_answers = true;
        self.flush_ms.get_or_insert(flush_ms);
        self.batched
    }

    /// Takes the batch, by reader.
    pub(super) fn take_batch(&mut self) -> BTreeMap<u16, Vec<DeviceReport<'static>>> {
        self.batched = 0;
        self.flush_ms = None;
        std::mem::take(&mut self.batch)
    }

    /// When the session has something to do, in milliseconds.
    pub(super) fn timeout_ms(&self) -> Option<u64> {
        let inventory_ms = match &self.kind {
            SessionKind::DoaWindow => None,
            SessionKind::Inventory(inventory) => inventory.timeout_ms(self.has_answers),
        };
        [self.flush_ms, inventory_ms].into_iter().flatten().min()
    }

    /// Whether the batch is to go up by `now_ms`.
    pub(super) fn flush_due(&self, now_ms: u64) -> bool {
        self.flush_ms.is_some_and(|at_ms| at_ms <= now_ms)
    }

    /// Ends a device-terminated inventory whose time is over; true when that is now.
    pub(super) fn complete(&mut self, now_ms: u64) -> bool {
        match &mut self.kind {
            SessionKind::Inventory(inventory)
                if !inventory.is_complete && inventory.is_over(now_ms) =>
            {
                inventory.is_complete = true;
                true
            }
            _ => false,
        }
    }
}
