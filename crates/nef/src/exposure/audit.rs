//! Refusals on their way to the record: the first of its kind at once, alike ones counted for a minute, so that an AF that
//! floods costs a row a minute and cause.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ambit_adm_api::AfRefusal;
use ambit_sbi::adm::{SharedAdm, ask};
use ambit_sbi::clock::unix_ms;

/// How long alike refusals are counted before they are told again.
const COUNTED_FOR: Duration = Duration::from_secs(60);

/// How often what is due is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// AFs and causes remembered at most; beyond, they share one place.
const KEYS_MAX: usize = 1024;

/// The longest rule that goes on record, in characters.
const DETAIL_CHARS_MAX: usize = 120;

#[derive(Debug, Default)]
pub(super) struct Audit(Mutex<HashMap<(String, &'static str), Held>>);

#[derive(Debug)]
struct Held {
    detail: String,
    count: u64,
    told: Option<Instant>,
}

impl Audit {
    /// Notes a refusal. `af` is empty where nobody knows who it was.
    pub(super) fn note(&self, af: &str, cause: &'static str, detail: &str) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (af.to_owned(), cause);
        if held.len() >= KEYS_MAX && !held.contains_key(&key) {
            key.0 = String::new();
        }
        let entry = held.entry(key).or_insert_with(|| Held {
            detail: String::new(),
            count: 0,
            told: None,
        });
        entry.count = entry.count.saturating_add(1);
        entry.detail = detail.chars().take(DETAIL_CHARS_MAX).collect();
    }

    /// What is to be told now.
    fn due(&self, now: Instant) -> Vec<(&'static str, AfRefusal)> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |told: Instant| now.duration_since(told) >= COUNTED_FOR;
        held.retain(|_, entry| entry.count > 0 || entry.told.is_some_and(|told| !is_over(told)));
        let mut due = Vec::new();
        for ((af, cause), entry) in held.iter_mut() {
            if entry.count > 0 && entry.told.is_none_or(is_over) {
                let refusal = AfRefusal {
                    af: af.clone(),
                    cause: (*cause).to_owned(),
                    detail: entry.detail.clone(),
                    count: std::mem::take(&mut entry.count),
                };
                entry.told = Some(now);
                due.push((*cause, refusal));
            }
        }
        due
    }

    /// Tells what is given, and takes it back if nobody hears it.
    async fn tell(&self, adm: &SharedAdm, due: Vec<(&'static str, AfRefusal)>) {
        if due.is_empty() {
            return;
        }
        let refusals: Vec<AfRefusal> = due.iter().map(|(_, refusal)| refusal.clone()).collect();
        let noted = ask(adm, move |adm| adm.note_af_refusals(unix_ms(), &refusals)).await;
        if !matches!(noted, Ok(Ok(()))) {
            self.give_back(due);
        }
    }

    /// Tells all that has been counted, due or not.
    pub(super) async fn tell_all(&self, adm: &SharedAdm) {
        let forget = |held: &mut HashMap<_, Held>| {
            held.values_mut().for_each(|entry| entry.told = None);
        };
        forget(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let due = self.due(Instant::now());
        self.tell(adm, due).await;
    }

    /// What was to be told and could not be.
    fn give_back(&self, untold: Vec<(&'static str, AfRefusal)>) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (cause, refusal) in untold {
            let entry = held.entry((refusal.af, cause)).or_insert_with(|| Held {
                detail: refusal.detail,
                count: 0,
                told: None,
            });
            entry.count = entry.count.saturating_add(refusal.count);
            entry.told = None;
        }
    }
}

/// Puts refusals on record as they become due, for as long as the runtime lasts.
pub(super) async fn keep(audit: Arc<Audit>, adm: SharedAdm) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let due = audit.due(Instant::now());
        audit.tell(&adm, due).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_others_are_counted() {
        let audit = Audit::default();
        let start = Instant::now();
        audit.note("a", "AREA_NOT_ALLOWED", "one");
        audit.note("b", "AREA_NOT_ALLOWED", "two");
        assert_eq!(audit.due(start).len(), 2);
        for _ in 0..1000 {
            audit.note("a", "AREA_NOT_ALLOWED", "three");
        }
        assert!(audit.due(start + COUNTED_FOR / 2).is_empty());
        let due = audit.due(start + COUNTED_FOR);
        let told: Vec<_> = due.iter().map(|(_, r)| (r.af.as_str(), r.count)).collect();
        assert_eq!(told, [("a", 1000)]);
        // What could not be told is not lost, and told as soon as it can be.
        audit.give_back(due);
        assert_eq!(audit.due(start + COUNTED_FOR).len(), 1);
        for n in 0..10 * KEYS_MAX {
            audit.note(&format!("af-{n}"), "QUOTA_EXCEEDED", &"é".repeat(1000));
        }
        let due = audit.due(start + 2 * COUNTED_FOR);
        assert!(due.len() <= KEYS_MAX + 1);
        let total: u64 = due.iter().map(|(_, refusal)| refusal.count).sum();
        assert_eq!(total, 10 * KEYS_MAX as u64);
    }
}
