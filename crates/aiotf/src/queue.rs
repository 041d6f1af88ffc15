//! Reports on their way to the ADM. Those that a table lookup answers go first and all together; those that need a
//! population search wait apart, and only a few of them go with each batch, so that no lookup waits behind searches.

use std::collections::VecDeque;

use ambit_protocol::wire::{REPORT_OCTETS_MAX, ReportView};
use ambit_protocol::{AreaId, Form, RandN};

use crate::ConnectionId;

/// Reports that wait for a search at most; beyond, the oldest is shed.
const SEARCHES_MAX: usize = 4096;

/// Searches that go with one batch.
const SEARCHES_PER_BATCH_MAX: usize = 8;

/// A report waiting for the ADM.
pub(crate) struct Pending {
    pub(crate) connection: ConnectionId,
    pub(crate) correlation: u16,
    pub(crate) device_ngap_id: u32,
    pub(crate) gnb_id: u32,
    pub(crate) reader_index: u16,
    pub(crate) area_id: AreaId,
    pub(crate) rand_n: RandN,
    pub(crate) nas: Nas,
}

/// A NAS PDU held inline.
pub(crate) struct Nas {
    octets: [u8; REPORT_OCTETS_MAX],
    len: u8,
}

impl Nas {
    /// `None` when it is longer than any REPORT.
    pub(crate) fn new(nas: &[u8]) -> Option<Self> {
        let mut octets = [0; REPORT_OCTETS_MAX];
        octets.get_mut(..nas.len())?.copy_from_slice(nas);
        let len = u8::try_from(nas.len()).ok()?;
        Some(Self { octets, len })
    }

    pub(crate) fn octets(&self) -> &[u8] {
        self.octets.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The form of the report, if it is one.
    pub(crate) fn form(&self) -> Option<Form> {
        let view = ReportView::parse(self.octets()).ok()?;
        Some(view.id().form())
    }
}

#[derive(Default)]
pub(crate) struct ReportQueue {
    lookups: Vec<Pending>,
    searches: VecDeque<Pending>,
}

impl ReportQueue {
    /// Puts a report in; returns the one that had to make room for it.
    pub(crate) fn push(&mut self, report: Pending) -> Option<Pending> {
        match report.nas.form() {
            Some(Form::Concealed | Form::Recovery) => {
                self.searches.push_back(report);
                let is_over = self.searches.len() > SEARCHES_MAX;
                is_over.then(|| self.searches.pop_front()).flatten()
            }
            _ => {
                self.lookups.push(report);
                None
            }
        }
    }

    /// Takes the next batch out.
    pub(crate) fn take_batch(&mut self) -> Vec<Pending> {
        let mut batch = std::mem::take(&mut self.lookups);
        let searches = self.searches.len().min(SEARCHES_PER_BATCH_MAX);
        batch.extend(self.searches.drain(..searches));
        batch
    }

    /// Gives a batch's memory back for the next one.
    pub(crate) fn recycle(&mut self, mut batch: Vec<Pending>) {
        batch.clear();
        if self.lookups.is_empty() {
            self.lookups = batch;
        }
    }

    /// Forgets the reports of a connection that is gone.
    pub(crate) fn forget(&mut self, connection: ConnectionId) {
        self.lookups
            .retain(|report| report.connection != connection);
        self.searches
            .retain(|report| report.connection != connection);
    }

    pub(crate) fn lookups(&self) -> usize {
        self.lookups.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.lookups.len() + self.searches.len()
    }
}
