//! Events: what an operator should know besides the accepted reports. Rate-limited per kind and place, so that a flood of
//! junk costs a row a minute; what was held back is counted into the next row.

use std::collections::HashMap;

use ambit_protocol::AreaId;
use ambit_store::{NewEvent, Store};

/// Kinds and places remembered at most; beyond, new places of a kind share one entry. Events that name a device have as
/// much room again: only genuine reports raise them, and junk must not take the name off an alarm.
const KEYS_MAX: usize = 4096;

/// Events waiting for the store at most. They wait only while the store fails.
const QUEUE_MAX: usize = 4096;

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Subject {
    /// The device, by its permanent ID.
    pub device_id: Option<Box<[u8]>>,
    /// The area.
    pub area_id: Option<AreaId>,
    /// The gNB.
    pub gnb_id: Option<u32>,
    /// The reader within that gNB.
    pub reader_index: Option<u16>,
    /// Report form, for events about reports.
    pub form: Option<&'static str>,
}

/// How grave an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look at it.
    Warning,
    /// Somebody must look at it.
    Alarm,
}

impl Severity {
    const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Alarm => "alarm",
        }
    }
}

pub(crate) struct EventLog {
    interval_ms: u64,
    limits: HashMap<(&'static str, Subject), Limit>,
    queue: Vec<Queued>,
    dropped: u64,
}

struct Limit {
    severity: Severity,
    written_ms: i64,
    held: u64,
}

struct Queued {
    time_ms: i64,
    kind: &'static str,
    severity: Severity,
    subject: Subject,
    count: u64,
    detail: String,
}

impl EventLog {
    pub(crate) fn new(interval_s: u32) -> Self {
        Self {
            interval_ms: u64::from(interval_s) * 1000,
            limits: HashMap::new(),
            queue: Vec::new(),
            dropped: 0,
        }
    }

    /// Notes an occurrence: written at once when it is the first of its kind and place for a while, else held and counted.
    pub(crate) fn note(
        &mut self,
        kind: &'static str,
        severity: Severity,
        subject: Subject,
        now_ms: i64,
    ) {
        let mut key = (kind, subject);
        let keys_max = match key.1.device_id {
            Some(_) => 2 * KEYS_MAX,
            None => KEYS_MAX,
        };
        if self.limits.len() >= keys_max && !self.limits.contains_key(&key) {
            key.1 = Subject::default();
        }
        match self.limits.get_mut(&key) {
            // The difference either way: a clock set back must not hold alarms until it has caught up.
            Some(limit) if now_ms.abs_diff(limit.written_ms) < self.interval_ms => {
                limit.held += 1;
            }
            Some(limit) => {
                limit.written_ms = now_ms;
                let count = std::mem::take(&mut limit.held) + 1;
                self.push(now_ms, kind, severity, key.1, count);
            }
            None => {
                let limit = Limit {
                    severity,
                    written_ms: now_ms,
                    held: 0,
                };
                self.limits.insert(key.clone(), limit);
                self.push(now_ms, kind, severity, key.1, 1);
            }
        }
    }

    /// An event that is never held back (what an operator did, what the core did itself).
    pub(crate) fn say(
        &mut self,
        kind: &'static str,
        subject: Subject,
        detail: String,
        now_ms: i64,
    ) {
        self.raise(kind, Severity::Info, subject, detail, now_ms);
    }

    /// The same for what was found beside the core, by who does not find one thing twice.
    pub(crate) fn raise(
        &mut self,
        kind: &'static str,
        severity: Severity,
        subject: Subject,
        detail: String,
        now_ms: i64,
    ) {
        self.raise_counted(kind, severity, subject, 1, detail, now_ms);
    }

    /// The same for what was found several times.
    pub(crate) fn raise_counted(
        &mut self,
        kind: &'static str,
        severity: Severity,
        subject: Subject,
        count: u64,
        detail: String,
        now_ms: i64,
    ) {
        self.queue.push(Queued {
            time_ms: now_ms,
            kind,
            severity,
            subject,
            count,
            detail,
        });
    }

    /// An alarm that is never held back.
    pub(crate) fn alarm(
        &mut self,
        kind: &'static str,
        subject: Subject,
        detail: String,
        now_ms: i64,
    ) {
        self.queue.push(Queued {
            time_ms: now_ms,
            kind,
            severity: Severity::Alarm,
            subject,
            count: 1,
            detail,
        });
    }

    /// Queues what was held back for long enough, and forgets places where nothing happens any more.
    pub(crate) fn release(&mut self, now_ms: i64) {
        let interval_ms = self.interval_ms;
        let mut due = Vec::new();
        self.limits.retain(|(kind, subject), limit| {
            if now_ms.abs_diff(limit.written_ms) < interval_ms {
                return true;
            }
            if limit.held == 0 {
                return false;
            }
            let count = std::mem::take(&mut limit.held);
            limit.written_ms = now_ms;
            due.push((*kind, limit.severity, subject.clone(), count));
            true
        });
        for (kind, severity, subject, count) in due {
            self.push(now_ms, kind, severity, subject, count);
        }
    }

    /// Queues everything that is held back, for a clean end.
    pub(crate) fn release_all(&mut self, now_ms: i64) {
        let interval_ms = std::mem::take(&mut self.interval_ms);
        self.release(now_ms);
        self.interval_ms = interval_ms;
    }

    /// Writes what is queued. When the store fails it stays queued, up to a bound.
    pub(crate) fn flush(&mut self, store: &mut dyn Store, now_ms: i64) {
        if self.queue.is_empty() {
            return;
        }
        if self.dropped > 0 {
            let detail = format!("{{\"dropped\":{}}}", self.dropped);
            self.say("events_dropped", Subject::default(), detail, now_ms);
        }
        let events: Vec<NewEvent<'_>> = self
            .queue
            .iter()
            .map(|event| NewEvent {
                time_ms: event.time_ms,
                kind: event.kind,
                severity: event.severity.name(),
                device_id: event.subject.device_id.as_deref(),
                area_id: event.subject.area_id.map(|area| *area.octets()),
                gnb_id: event.subject.gnb_id,
                reader_index: event.subject.reader_index,
                count: event.count,
                detail: &event.detail,
            })
            .collect();
        if store.events_insert(&events).is_ok() {
            self.queue.clear();
            self.dropped = 0;
        } else if self.dropped > 0 {
            self.queue.pop();
        }
    }

    fn push(
        &mut self,
        time_ms: i64,
        kind: &'static str,
        severity: Severity,
        subject: Subject,
        count: u64,
    ) {
        if self.queue.len() >= QUEUE_MAX {
            self.dropped += 1;
            return;
        }
        let detail = subject.form.map_or_else(
            || "{}".to_owned(),
            |form| format!("{{\"form\":\"{form}\"}}"),
        );
        self.queue.push(Queued {
            time_ms,
            kind,
            severity,
            subject,
            count,
            detail,
        });
    }
}
