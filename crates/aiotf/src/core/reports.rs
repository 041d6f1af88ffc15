//! Reports on their way through the ADM, and the ACCEPTs that come of them.

use ambit_adm_api::{AdmClient, DoaItem, DoaReport, Verdict, Wake};

use super::Aiotf;
use crate::accepted::AcceptedReport;
use crate::queue::Pending;
use crate::service::DevicePlace;

/// Reports that gather while others are recorded. Beyond, [`Aiotf::proceed`] waits.
const GATHERED_MAX: usize = 256;

/// Reports that go on record together, and when the latest of them were gathered.
#[derive(Default)]
pub(super) struct Gathered {
    reports: Vec<Pending>,
    now_ms: i64,
}

impl<A: AdmClient> Aiotf<A> {
    /// Takes gathered reports to the ADM as one batch, and the ACCEPTs of those that are on record to their gNBs. All that a
    /// table lookup answers go at once; of those that need a population search only a few, and the rest waits.
    pub fn flush(&mut self, now_ms: i64) {
        self.flush_reports(now_ms);
        self.drive(now_ms);
    }

    /// As [`Aiotf::flush`], but does not wait while the ADM records, unless many reports have gathered meanwhile: the ACCEPTs come
    /// with a later call. Where the ADM is not [pipelined](AdmClient::pipelined), the same as [`Aiotf::flush`].
    pub fn proceed(&mut self, now_ms: i64) {
        if self.adm.pipelined().is_none() {
            return self.flush(now_ms);
        }
        if self.queue.len() > 0 {
            let mut batch = self.queue.take_batch();
            self.adm.tell_items(self.accepted.is_wanted);
            if let Some(adm) = self.adm.pipelined() {
                adm.gather(now_ms, &doa_reports(&batch));
            }
            self.gathered.reports.append(&mut batch);
            self.gathered.now_ms = now_ms;
            self.queue.recycle(batch);
        }
        self.collect(self.gathered.reports.len() >= GATHERED_MAX);
        self.drive(now_ms);
    }

    /// Waits for all that the ADM has begun to record.
    pub fn settle(&mut self) {
        while self.recording.is_some() || !self.gathered.reports.is_empty() {
            self.collect(true);
        }
    }

    /// Has somebody told when ACCEPTs are due: [`Aiotf::proceed`] is to be called then.
    pub fn wake_with(&mut self, wake: Wake) {
        if let Some(adm) = self.adm.pipelined() {
            adm.wake_with(wake);
        }
    }

    /// Answers what the ADM has recorded, and has it record what was gathered meanwhile.
    fn collect(&mut self, mut wait: bool) {
        loop {
            let Some(adm) = self.adm.pipelined() else {
                return;
            };
            if self.recording.is_some() && !adm.is_recorded(wait) {
                return;
            }
            // The next batch first: answering takes its time, in which it is recorded.
            let recorded = self.recording.take();
            if !self.gathered.reports.is_empty() {
                adm.record();
                self.recording = Some(std::mem::take(&mut self.gathered));
            }
            if let Some(recorded) = recorded {
                let verdicts = adm.recorded(false).unwrap_or_default().into_iter();
                self.answer(&recorded.reports, verdicts, recorded.now_ms);
            }
            if self.recording.is_none() {
                return;
            }
            wait = false;
        }
    }

    pub(super) fn flush_reports(&mut self, now_ms: i64) {
        self.settle();
        if self.queue.len() == 0 {
            return;
        }
        let batch = self.queue.take_batch();
        let mut verdicts = std::mem::take(&mut self.verdicts);
        self.adm.tell_items(self.accepted.is_wanted);
        self.adm
            .authenticate(now_ms, &doa_reports(&batch), &mut verdicts);
        self.answer(&batch, verdicts.drain(..), now_ms);
        self.verdicts = verdicts;
        self.queue.recycle(batch);
    }

    /// Counts reports, and sends the ACCEPTs of those that are on record.
    fn answer(
        &mut self,
        reports: &[Pending],
        verdicts: impl Iterator<Item = Verdict>,
        now_ms: i64,
    ) {
        for (report, verdict) in reports.iter().zip(verdicts) {
            self.reports.count(verdict.outcome(), report.nas.form());
            if let Verdict::Accept {
                nas,
                follow_on,
                item,
                ..
            } = verdict
            {
                let place = DevicePlace {
                    area_id: report.area_id,
                    gnb_id: report.gnb_id,
                    reader_index: report.reader_index,
                };
                self.note_accepted(item, place, now_ms);
                if !self.connections.contains_key(&report.connection) {
                    // Gone while it was recorded: the device repeats its report.
                    self.count("accept_undeliverable");
                    continue;
                }
                let peer = (report.connection, report.device_ngap_id);
                self.send_accept(peer, (report.correlation, place), &nas, follow_on, now_ms);
            }
        }
    }

    /// Keeps what a new report said for whoever watches.
    pub(super) fn note_accepted(
        &mut self,
        item: Option<Box<DoaItem>>,
        place: DevicePlace,
        now_ms: i64,
    ) {
        let Some(item) = item.filter(|_| self.accepted.is_wanted) else {
            return;
        };
        let report = AcceptedReport {
            item: *item,
            place,
            time_ms: now_ms,
        };
        if !self.accepted.push(report) {
            self.count("accepted_untold");
        }
    }
}

fn doa_reports(batch: &[Pending]) -> Vec<DoaReport<'_>> {
    let reports = batch.iter().map(|report| DoaReport {
        nas: report.nas.octets(),
        rand_n: report.rand_n,
        area_id: report.area_id,
        gnb_id: report.gnb_id,
        reader_index: report.reader_index,
    });
    reports.collect()
}
