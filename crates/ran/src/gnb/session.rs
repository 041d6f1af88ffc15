//! Sessions that an AIOTF has opened at this gNB: DO-A windows and device-terminated inventories, and the reports that
//! collect under each.

use std::collections::BTreeMap;

use ambit_ngap::{AiotfId, DeviceReport};
use ambit_protocol::RandN;

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
}

/// What a session is for.
#[derive(Debug)]
pub(super) enum SessionKind {
    /// Devices speak when they want to.
    DoaWindow,
    /// Devices answer a page, until `complete_ms`.
    Inventory {
        transaction: u16,
        /// `None` once the complete indication has gone up.
        complete_ms: Option<u64>,
    },
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
        let complete_ms = match self.kind {
            SessionKind::DoaWindow => None,
            SessionKind::Inventory { complete_ms, .. } => complete_ms,
        };
        [self.flush_ms, complete_ms].into_iter().flatten().min()
    }

    /// Whether the batch is to go up by `now_ms`.
    pub(super) fn flush_due(&self, now_ms: u64) -> bool {
        self.flush_ms.is_some_and(|at_ms| at_ms <= now_ms)
    }

    /// Ends a device-terminated inventory whose time is over; true when that is now.
    pub(super) fn complete(&mut self, now_ms: u64) -> bool {
        match &mut self.kind {
            SessionKind::Inventory { complete_ms, .. }
                if complete_ms.is_some_and(|at_ms| at_ms <= now_ms) =>
            {
                *complete_ms = None;
                true
            }
            _ => false,
        }
    }
}
