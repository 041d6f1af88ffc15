//! Online charging: one event at a CHF (Nchf_ConvergedCharging, TS 32.291) for each new acceptance, and none otherwise.
//!
//! [`Online`] has no network in it. [`Online::poll`] gives the requests that are due, the caller sends them and brings the
//! answers to [`Online::answers`], which notes them durably. What was not noted is sent again after a kill, as the same event:
//! its number and its key, the record's link in the evidence chain, follow from the records alone, so a CHF knows a repeat.
//!
//! An event that the CHF refuses is set aside, told, and tried again for ever; one that the CHF does not answer holds up those
//! behind it, but for a window of [`WINDOW`].

mod journal;
mod request;
mod types;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::ControlFlow;
use std::time::Duration;

use ambit_store::{RecordFilter, RecordRow, Store};
use serde_json::Value;

use crate::lookup::{Fleets, holds};
use journal::{Journal, Known, Line, Refused, Through};

pub use journal::Mark;
pub use types::{ChfAnswer, Due, OnlineConfig, OnlineError, Refusal, Round, Tariff};

/// Events that are under way at once: as many may reach the CHF twice after a kill.
pub const WINDOW: usize = 32;

/// Events between the first that is not dealt with and the last that was looked at.
const SPAN: usize = 512;

/// Events that were refused and wait; when there are more, charging stands still.
pub const REFUSED_MAX: usize = 1000;

/// Rounds without success after which charging is said to stand still, and only one event is tried at a time.
const HALTED_AFTER: u32 = 3;

/// An event that failed so often while others were taken is set aside.
const FAILURES_MAX: u32 = 5;

/// How long to wait after a round without success, doubling.
const PAUSE_MS: i64 = 100;
const PAUSE_MAX_MS: i64 = 30_000;

/// How long a refused event waits before it is tried again, doubling.
const REFUSED_PAUSE_MS: i64 = 60_000;
const REFUSED_PAUSE_MAX_MS: i64 = 3_600_000;

/// How long a CHF may ask to be left alone.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Follows the records for a CHF.
#[derive(Debug)]
pub struct Online {
    config: OnlineConfig,
    journal: Journal,
    /// All records up to this one are dealt with.
    through: Mark,
    /// The greatest number given to an event.
    last_event: u64,
    /// The events behind the position, in the order of their records.
    window: VecDeque<Pending>,
    /// Those of the process before, by link of their record.
    known: HashMap<String, Known>,
    refused: BTreeMap<u64, Waiting>,
    /// The last record looked at: repeats included.
    seen: i64,
    fleets: Fleets,
    failures: u32,
    not_before_ms: i64,
}

#[derive(Debug)]
struct Pending {
    mark: Mark,
    body: Value,
    /// Whether its number is durable.
    is_noted: bool,
    is_sent: bool,
    is_done: bool,
    failures: u32,
}

#[derive(Debug)]
struct Waiting {
    refused: Refused,
    tries: u32,
    due_ms: i64,
}

impl Online {
    /// Takes up charging where the journal says it stopped.
    ///
    /// # Errors
    /// [`OnlineError::Io`], [`OnlineError::Damaged`].
    pub fn open(config: OnlineConfig) -> Result<Self, OnlineError> {
        let first = Mark {
            record: config.after_record,
            ..Mark::default()
        };
        let (journal, past) = Journal::open(&config.dir, first)?;
        let waiting = |refused| Waiting {
            refused,
            tries: 0,
            due_ms: 0,
        };
        let refused = past.refused.into_iter();
        Ok(Self {
            config,
            journal,
            seen: past.through.mark.record,
            through: past.through.mark,
            last_event: past.through.last_event,
            window: VecDeque::new(),
            known: past.known,
            refused: refused.map(|(event, r)| (event, waiting(r))).collect(),
            fleets: Fleets::default(),
            failures: 0,
            not_before_ms: 0,
        })
    }

    /// All events up to this one are dealt with: taken, or refused and set aside.
    #[must_use]
    pub const fn through(&self) -> &Mark {
        &self.through
    }

    /// Events that were refused and wait.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.refused.len()
    }

    /// Before this, nothing is due: Unix time in ms.
    #[must_use]
    pub const fn not_before_ms(&self) -> i64 {
        self.not_before_ms
    }

    /// The requests that are due now. Each is to be sent, and its answer brought to [`Online::answers`], before this is called
    /// again.
    ///
    /// # Errors
    /// [`OnlineError`].
    pub fn poll(&mut self, store: &mut dyn Store, now_ms: i64) -> Result<Vec<Due>, OnlineError> {
        if now_ms < self.not_before_ms {
            return Ok(Vec::new());
        }
        self.fill(store)?;
        let new = self.window.iter_mut().filter(|p| !p.is_noted);
        let lines: Vec<Line> = new
            .map(|pending| {
                pending.is_noted = true;
                Line::Sending(pending.mark.clone())
            })
            .collect();
        self.journal.append(&lines)?;
        let mut open: Vec<&mut Pending> = self.window.iter_mut().filter(|p| !p.is_done).collect();
        let is_halted = self.failures >= HALTED_AFTER;
        if is_halted && !open.is_empty() {
            // One after the other: it may be one event that the CHF cannot stand.
            let at = self.failures as usize % open.len();
            open = open.into_iter().skip(at).take(1).collect();
        }
        let is_adopted = self.config.is_adopted;
        let mut due = Vec::new();
        for pending in open {
            due.push(Due {
                event: pending.mark.event,
                body: request::stamped(&pending.body, now_ms, pending.is_sent || is_adopted),
            });
            pending.is_sent = true;
        }
        if !is_halted || due.is_empty() {
            let waiting = self.refused.iter();
            let waiting = waiting.filter(|(_, waiting)| waiting.due_ms <= now_ms);
            due.extend(waiting.take(WINDOW / 4).map(|(event, waiting)| Due {
                event: *event,
                body: request::stamped(&waiting.refused.body, now_ms, true),
            }));
        }
        Ok(due)
    }

    /// Notes what became of the requests, durably.
    ///
    /// # Errors
    /// [`OnlineError::Io`]. Open charging anew then.
    pub fn answers(
        &mut self,
        answers: Vec<(u64, ChfAnswer)>,
        now_ms: i64,
    ) -> Result<Round, OnlineError> {
        let mut round = Round::default();
        let mut lines = Vec::new();
        let mut fault = None;
        let mut pause_ms = 0;
        for (event, answer) in answers {
            match answer {
                ChfAnswer::Taken => {
                    round.taken += 1;
                    lines.extend(self.taken(event));
                }
                ChfAnswer::Refused { reason } => {
                    if let Err(full) = self.set_aside(event, reason, now_ms, &mut lines, &mut round)
                    {
                        fault = Some(full);
                    }
                }
                ChfAnswer::Failed {
                    name,
                    message,
                    retry_after,
                } => {
                    let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
                    pause_ms = pause_ms.max(i64::try_from(asked.as_millis()).unwrap_or(0));
                    self.failed(event, now_ms);
                    fault = Some((name, message));
                }
            }
        }
        if round.taken > 0 {
            self.set_poison_aside(now_ms, &mut lines, &mut round);
        }
        self.journal.append(&lines)?;
        self.advance();
        if self.journal.is_full(self.config.journal_octets_max) {
            let lines = self.lines();
            self.journal.follow(&lines)?;
        }
        self.pace(&mut round, fault, pause_ms, now_ms);
        Ok(round)
    }

    /// Leaves behind what is dealt with.
    fn advance(&mut self) {
        while self.window.front().is_some_and(|first| first.is_done) {
            if let Some(done) = self.window.pop_front() {
                self.through = done.mark;
            }
        }
    }

    /// When the next round is.
    fn pace(
        &mut self,
        round: &mut Round,
        fault: Option<(&'static str, String)>,
        asked_ms: i64,
        now_ms: i64,
    ) {
        let is_success = round.taken > 0 || !round.refused.is_empty();
        let Some(fault) = fault else {
            if is_success {
                self.failures = 0;
            }
            return;
        };
        self.failures = if is_success {
            0
        } else {
            self.failures.saturating_add(1)
        };
        let doubled = PAUSE_MS.saturating_mul(1 << self.failures.min(12));
        let pause_ms = doubled.min(PAUSE_MAX_MS);
        // Many cores that lost one CHF should not come back to it at once.
        let pause_ms = fastrand::i64(pause_ms / 2..=pause_ms).max(asked_ms);
        self.not_before_ms = now_ms.saturating_add(pause_ms);
        if self.failures >= HALTED_AFTER {
            round.halted = Some(fault);
        }
    }

    /// The line that the CHF has taken an event.
    fn taken(&mut self, event: u64) -> Option<Line> {
        if let Some(waiting) = self.refused.remove(&event) {
            return Some(Line::Taken(waiting.refused.mark));
        }
        let mut pending = self.window.iter_mut();
        let pending = pending.find(|pending| pending.mark.event == event)?;
        pending.is_done = true;
        Some(Line::Taken(pending.mark.clone()))
    }

    fn set_aside(
        &mut self,
        event: u64,
        reason: String,
        now_ms: i64,
        lines: &mut Vec<Line>,
        round: &mut Round,
    ) -> Result<(), (&'static str, String)> {
        if let Some(waiting) = self.refused.get_mut(&event) {
            waiting.tries = waiting.tries.saturating_add(1);
            waiting.due_ms = refused_due_ms(waiting.tries, now_ms);
            return Ok(());
        }
        if self.refused.len() >= REFUSED_MAX {
            return Err((
                "charging_event_refused",
                format!("{REFUSED_MAX} events were refused and wait: {reason}"),
            ));
        }
        let mut pending = self.window.iter_mut();
        let Some(pending) = pending.find(|pending| pending.mark.event == event) else {
            return Ok(());
        };
        pending.is_done = true;
        let refused = Refused {
            mark: pending.mark.clone(),
            reason: reason.clone(),
            body: pending.body.clone(),
        };
        lines.push(Line::Refused(Box::new(refused.clone())));
        round.refused.push(Refusal {
            mark: pending.mark.clone(),
            reason,
        });
        let waiting = Waiting {
            refused,
            tries: 0,
            due_ms: refused_due_ms(0, now_ms),
        };
        self.refused.insert(event, waiting);
        Ok(())
    }

    fn failed(&mut self, event: u64, now_ms: i64) {
        if let Some(waiting) = self.refused.get_mut(&event) {
            waiting.due_ms = refused_due_ms(waiting.tries, now_ms);
        }
        let mut pending = self.window.iter_mut();
        if let Some(pending) = pending.find(|pending| pending.mark.event == event) {
            pending.failures = pending.failures.saturating_add(1);
        }
    }

    /// An event that fails again and again while others are taken must not hold them up for ever.
    fn set_poison_aside(&mut self, now_ms: i64, lines: &mut Vec<Line>, round: &mut Round) {
        let is_poison = |p: &&Pending| !p.is_done && p.failures >= FAILURES_MAX;
        let poison: Vec<u64> = self
            .window
            .iter()
            .filter(is_poison)
            .map(|p| p.mark.event)
            .collect();
        for event in poison {
            let reason = format!("failed {FAILURES_MAX} times while others were taken");
            // Where no more can wait, it stays in the window.
            let _ = self.set_aside(event, reason, now_ms, lines, round);
        }
    }

    /// What a new file must say.
    fn lines(&self) -> Vec<Line> {
        let mut lines = vec![Line::Through(Through {
            mark: self.through.clone(),
            last_event: self.last_event,
        })];
        for pending in &self.window {
            lines.push(Line::Sending(pending.mark.clone()));
            if pending.is_done {
                lines.push(Line::Taken(pending.mark.clone()));
            }
        }
        let refused = self.refused.values();
        lines.extend(refused.map(|w| Line::Refused(Box::new(w.refused.clone()))));
        lines
    }

    /// Takes the next records into the window.
    fn fill(&mut self, store: &mut dyn Store) -> Result<(), OnlineError> {
        let through = &self.through;
        if !through.link.is_empty() && !holds(store, through.record, &through.link)? {
            self.fork(store)?;
        }
        loop {
            let open = self.window.iter().filter(|p| !p.is_done).count();
            let room = (WINDOW.saturating_sub(open)).min(SPAN.saturating_sub(self.window.len()));
            if room == 0 {
                break;
            }
            let mut records = Vec::new();
            let filter = RecordFilter {
                after_id: Some(self.seen),
                ..RecordFilter::default()
            };
            store.records_for_each(&filter, &mut |record| {
                records.push(record);
                match records.len() < room {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                }
            })?;
            for record in &records {
                if !record.repeat {
                    self.take_in(store, record)?;
                }
                self.seen = record.id;
            }
            self.advance();
            if records.len() < room {
                break;
            }
        }
        Ok(())
    }

    fn take_in(&mut self, store: &mut dyn Store, record: &RecordRow) -> Result<(), OnlineError> {
        let fleet = self.fleets.of(store, record)?;
        let link = hex::encode(record.link);
        let known = self.known.remove(&link);
        let event = match known {
            Some(known) => known.event,
            None => {
                self.last_event += 1;
                self.last_event
            }
        };
        self.window.push_back(Pending {
            body: request::body(&self.config, record, &fleet, event),
            mark: Mark {
                event,
                record: record.id,
                link,
            },
            is_noted: known.is_some(),
            is_sent: known.is_some(),
            is_done: known.is_some_and(|known| known.is_done),
            failures: 0,
        });
        Ok(())
    }

    /// The store was put back from a copy, and has gone on otherwise: goes on behind the last record that both have. What was
    /// sent of later ones stays at the CHF, and no number is used again.
    fn fork(&mut self, store: &mut dyn Store) -> Result<(), OnlineError> {
        let through = &self.through;
        let mut is_common = |mark: &Mark| Ok(holds(store, mark.record, &mark.link)?);
        let common = match self.journal.newest(through.record, &mut is_common)? {
            (Some(mark), _) => mark,
            (None, true) => Mark {
                record: self.config.after_record,
                ..Mark::default()
            },
            (None, false) => {
                return Err(OnlineError::OtherHistory {
                    record: through.record,
                    event: through.event,
                });
            }
        };
        // Where a record is not in the store, no later one is: each link is over the one before.
        self.window.clear();
        self.known.clear();
        self.seen = common.record;
        self.through = common;
        let lines = self.lines();
        self.journal.follow(&lines)
    }
}

fn refused_due_ms(tries: u32, now_ms: i64) -> i64 {
    let pause_ms = REFUSED_PAUSE_MS.saturating_mul(1 << tries.min(10));
    now_ms.saturating_add(pause_ms.min(REFUSED_PAUSE_MAX_MS))
}
