//! Steps 1 to 4: who sent a report, and may it.

use ambit_adm_api::{DoaReport, Outcome};
use ambit_protocol::schedule::{self, Input};
use ambit_protocol::wire::{ReportId, ReportView};
use ambit_protocol::{Form, TagLen};
use ambit_search::{Kernel, Opened, Query, Sealed};

use super::{Judged, Matched, Nonce, Source};
use crate::Adm;
use crate::registry::{Device, Index, Population, Wanted};
use crate::tables::widen;

/// A device that a report may be from, and what its exchange depends on.
struct Candidate {
    index: Index,
    input: Input,
    nonce: Nonce,
}

/// What a population search found for a report, or why there was none.
pub(super) type Searched = Result<Vec<Index>, Outcome>;

/// A candidate under whose key a report was opened, and what came of it.
pub(super) struct Ahead {
    index: Index,
    opened: Option<Opened>,
}

impl Adm {
    /// The population searches (section 9) that the reports of a batch need, in one pass over the keys; by report. Each takes
    /// its price from the budget.
    pub(super) fn search(&mut self, now_ms: i64, reports: &[DoaReport<'_>]) -> Vec<Searched> {
        let mut places = Vec::new();
        let mut wanted = Vec::new();
        let mut searched: Vec<Searched> = Vec::new();
        for (at, report) in reports.iter().enumerate() {
            searched.push(Ok(Vec::new()));
            let Some(search) = self.wanted(report) else {
                continue;
            };
            let cost = self.registry.population(search.population);
            let reader = (report.gnb_id, report.reader_index);
            if self.budget.take(reader, cost, now_ms) {
                places.push(at);
                wanted.push(search);
            } else if let Some(slot) = searched.get_mut(at) {
                *slot = Err(Outcome::SearchBudgetExhausted);
            }
        }
        if !wanted.is_empty() {
            let found = self
                .registry
                .search(&wanted, self.config.search_threads_max);
            for (at, found) in places.into_iter().zip(found) {
                if let Some(slot) = searched.get_mut(at) {
                    *slot = Ok(found);
                }
            }
        }
        searched
    }

    /// Opens the beacon reports of a batch under the keys of their first candidates, mostly the only ones, side by side. By
    /// report; `None` where there is no candidate.
    pub(super) fn open_ahead(&self, reports: &[DoaReport<'_>]) -> Vec<Option<Ahead>> {
        let first = self.first_candidates(reports);
        let inputs: Vec<Option<Input>> = reports
            .iter()
            .zip(&first)
            .map(|(report, first)| match first.as_ref()?.0.id() {
                ReportId::Beacon { rand_d, .. } => Some(schedule::beacon_k_aiotf(
                    &report.rand_n,
                    &report.area_id,
                    rand_d,
                )),
                _ => None,
            })
            .collect();
        let mut places = Vec::with_capacity(reports.len());
        let mut sealed = Vec::with_capacity(reports.len());
        for (at, (first, input)) in first.iter().zip(&inputs).enumerate() {
            if let Some(((report, index), input)) = first.as_ref().zip(input.as_ref())
                && let Some(device) = self.registry.get(*index)
                && let Some(one) = device.sealed(report, input)
            {
                places.push((at, *index));
                sealed.push(one);
            }
        }
        let mut ahead: Vec<Option<Ahead>> = reports.iter().map(|_| None).collect();
        let opened = Kernel::best().open(&sealed);
        for ((at, index), opened) in places.into_iter().zip(opened) {
            if let Some(slot) = ahead.get_mut(at) {
                *slot = Some(Ahead { index, opened });
            }
        }
        ahead
    }

    /// The first candidates of the beacon reports of a batch. What they will need is touched, so that its cache misses, a
    /// hundred ns each in a large fleet, overlap: done one report after the other they would add up.
    fn first_candidates<'a>(
        &self,
        reports: &[DoaReport<'a>],
    ) -> Vec<Option<(ReportView<'a>, Index)>> {
        let first = |report: &DoaReport<'a>| {
            let view = ReportView::parse(report.nas).ok()?;
            let ReportId::Beacon { t_id, .. } = view.id() else {
                return None;
            };
            let table = self.tables.iter().find(|t| t.rand_n() == report.rand_n)?;
            let is_refused = report.area_id.snid() != self.config.snid
                || lock_key(view.id()).is_some_and(|t_id| table.is_locked(t_id));
            let index = table.candidates(*t_id).next();
            index.filter(|_| !is_refused).map(|index| (view, index))
        };
        let found: Vec<_> = reports.iter().map(first).collect();
        let touched = found.iter().flatten();
        let touched = touched.map(|(_, index)| self.registry.touch(*index));
        std::hint::black_box(touched.fold(0, |all, touched| all ^ touched));
        found
    }

    /// What is to be searched for a report; `None` when it needs no search, or is refused without one.
    fn wanted(&self, report: &DoaReport<'_>) -> Option<Wanted> {
        let view = ReportView::parse(report.nas).ok()?;
        let table = self.tables.iter().find(|t| t.rand_n() == report.rand_n)?;
        let is_refused = report.area_id.snid() != self.config.snid
            || lock_key(view.id()).is_some_and(|t_id| table.is_locked(t_id));
        let (population, query) = match view.id() {
            ReportId::Concealed { cid, rand_d } => {
                let input = schedule::concealed_id(&report.rand_n, rand_d);
                (Population::Beacon, Query::new(input, cid))
            }
            ReportId::Recovery { counter, t_id } => {
                let input = schedule::counter_t_id(*counter);
                (Population::Counter, Query::new(input, t_id))
            }
            _ => return None,
        };
        (!is_refused).then_some(Wanted {
            population,
            area_id: report.area_id,
            query,
        })
    }

    /// Steps 1 to 4.
    pub(super) fn identify(
        &mut self,
        now_ms: i64,
        current_epoch: u32,
        report: &DoaReport<'_>,
        (searched, mut ahead): (Searched, Option<Ahead>),
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
        if form == Form::Blind && !self.config.takes_blind() {
            return Err(refuse(Outcome::PolicyRefused));
        }

        let candidates = self
            .candidates(report, view.id(), table, searched)
            .map_err(refuse)?;
        let mut found: Option<Matched> = None;
        for candidate in candidates {
            let Some(device) = self.registry.get(candidate.index) else {
                continue;
            };
            if !device.form.sends(form) || !self.registry.in_scope(&device, &report.area_id) {
                continue;
            }
            // Candidates differ, so what was opened ahead is asked for once at most.
            let opened = match ahead.take_if(|ahead| ahead.index == candidate.index) {
                Some(ahead) => ahead.opened,
                None => verify(&device, &candidate, &view),
            };
            match opened {
                Some(_) if found.is_some() => {
                    // The alarm names one of them; the other has the same key.
                    return Err(Judged {
                        device_id: Some(device.device_id.into()),
                        ..refuse(Outcome::AmbiguousMatch)
                    });
                }
                Some(opened) => {
                    let item = opened.plaintext.item();
                    let item = item.map_err(|_| refuse(Outcome::Malformed))?;
                    let epoch = if form == Form::Blind {
                        current_epoch
                    } else {
                        report.rand_n.epoch()
                    };
                    found = Some(Matched {
                        at: 0,
                        source: Source::of(report),
                        index: candidate.index,
                        row: device.row,
                        form,
                        epoch,
                        cause: item.cause,
                        seq: item.seq,
                        suite: device.suite,
                        opened,
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
                        self.event(now_ms, &Source::of(report), &refuse(Outcome::TIdLocked));
                    }
                }
                None => {}
            }
        }
        let mut matched = found.ok_or(refuse(Outcome::NoMatch))?;
        self.check_device(&matched, now_ms)?;
        self.mark_repeat(&mut matched, now_ms);
        matched.p2 = self.p2_of(matched.row, now_ms);
        Ok(matched)
    }

    /// Whether a report has the T-ID of no counter that is waited for.
    pub(super) fn is_beyond_its_counters(&self, report: &DoaReport<'_>) -> bool {
        let view = ReportView::parse(report.nas);
        view.is_ok_and(|view| match view.id() {
            ReportId::Counter { t_id } | ReportId::Blind { t_id } => {
                self.counters.candidates(*t_id).next().is_none()
            }
            _ => false,
        })
    }

    /// Step 2. A locked T-ID is refused whatever the tag; unless it was locked in this very batch, before anything is computed.
    fn candidates(
        &self,
        report: &DoaReport<'_>,
        id: &ReportId,
        table: usize,
        searched: Searched,
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
            ReportId::Concealed { rand_d, .. } => searched?
                .into_iter()
                .map(|index| Candidate {
                    index,
                    input: schedule::concealed_k_aiotf(rand_n, area_id, rand_d),
                    nonce: Nonce::Rand8(*rand_d),
                })
                .collect(),
            ReportId::Recovery { counter, .. } => searched?
                .into_iter()
                .map(|index| {
                    let input = schedule::counter_k_aiotf(rand_n, area_id, *counter);
                    counter_candidate(index, *counter, input)
                })
                .collect(),
        })
    }

    /// Step 4.
    fn check_device(&self, matched: &Matched, now_ms: i64) -> Result<(), Judged> {
        let device = self.registry.get(matched.index);
        let outcome = match &device {
            None => Outcome::NoMatch,
            Some(device) if device.disabled => Outcome::DeviceDisabled,
            Some(device) if !self.is_allowed(device) => Outcome::PolicyRefused,
            Some(device) if now_ms >= device.key_until_ms => Outcome::KeyExpired,
            Some(_) => return Ok(()),
        };
        Err(Judged {
            outcome,
            form: Some(matched.form),
            device_id: device.map(|device| device.device_id.into()),
        })
    }

    fn is_allowed(&self, device: &Device<'_>) -> bool {
        let allowed = self
            .config
            .allows(device.device_type, device.form, device.credential);
        allowed.is_ok() && device.device_type.is_do_a_capable()
    }

    pub(super) fn mark_repeat(&self, matched: &mut Matched, now_ms: i64) {
        matched.repeat = self
            .registry
            .get(matched.index)
            .is_some_and(|device| device.recent.is_repeat(matched.cause, matched.seq, now_ms));
    }
}

/// Step 3 for one candidate.
fn verify(device: &Device<'_>, candidate: &Candidate, view: &ReportView<'_>) -> Option<Opened> {
    let sealed: Sealed<'_> = device.sealed(view, &candidate.input)?;
    Kernel::best().open(&[sealed]).pop().flatten()
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
