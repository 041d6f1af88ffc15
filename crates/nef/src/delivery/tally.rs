//! Counts for metrics: what became of messages, by kind of sink.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::sink::Outcome;
use crate::subscription::Sink;

/// Counts by kind of sink and outcome: `delivered`, `refused`, `dead_letter`, or the name of a failure.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Mutex<BTreeMap<(&'static str, &'static str), u64>>>);

impl Tally {
    /// The counts, by kind of sink and outcome.
    #[must_use]
    pub fn counts(&self) -> Vec<(&'static str, &'static str, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts
            .iter()
            .map(|((sink, outcome), count)| (*sink, *outcome, *count))
            .collect()
    }

    pub(super) fn count(&self, sink: &Sink, outcome: &Outcome) {
        let name = match outcome {
            Outcome::Taken => "delivered",
            Outcome::Refused(_) => "refused",
            Outcome::Failed(failed) => failed.name,
            Outcome::Held => return,
        };
        self.add(sink.name(), name);
    }

    pub(super) fn dead_letter(&self, sink: &Sink) {
        self.add(sink.name(), "dead_letter");
    }

    pub(super) fn add(&self, sink: &'static str, outcome: &'static str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((sink, outcome)).or_default() += 1;
    }
}
