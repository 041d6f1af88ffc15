//! New reports as those who subscribed to them are told.
//!
//! The AIOTF keeps nothing of them: what nobody takes is gone. Who must not miss any follows the records of the store.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ambit_adm_api::DoaItem;

use crate::service::DevicePlace;

/// Reports that wait to be taken at most. They are taken after each batch, which is smaller.
const WAITING_MAX: usize = 1 << 16;

/// A report that was accepted and is new: neither a duplicate nor a repeat. Its record is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedReport {
    /// What it said.
    pub item: DoaItem,
    /// The reader that heard it.
    pub place: DevicePlace,
    /// When it was accepted, Unix time in ms.
    pub time_ms: i64,
}

/// Who is told of new reports.
pub struct Watcher {
    /// Whether anybody wants to know. While it is false the ADM is not asked what was in a report.
    pub is_wanted: Arc<AtomicBool>,
    /// Told of each in the order of acceptance, on the engine's thread, after the ACCEPTs have been handed on. What it takes its
    /// time for, everybody waits for.
    pub tell: Box<dyn FnMut(AcceptedReport) + Send>,
}

/// What has been accepted since it was last asked for.
#[derive(Default)]
pub(crate) struct Accepted {
    pub(crate) is_wanted: bool,
    waiting: VecDeque<AcceptedReport>,
}

impl Accepted {
    /// Notes a report; false when there is no room for it.
    pub(crate) fn push(&mut self, report: AcceptedReport) -> bool {
        let has_room = self.waiting.len() < WAITING_MAX;
        if has_room {
            self.waiting.push_back(report);
        }
        has_room
    }

    pub(crate) fn pop(&mut self) -> Option<AcceptedReport> {
        self.waiting.pop_front()
    }
}
