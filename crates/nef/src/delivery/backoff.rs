//! How long a sink that fails is left alone: exponentially longer, with jitter, so that many do not come back at once.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_millis(250);

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60);

/// Waits of one sink or message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// After another failure: between half of the wait and all of it. What the receiver asked for, if it asked for more.
    pub(super) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let doubled = FIRST.saturating_mul(1 << self.failures.min(16));
        let full = doubled.min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let mut random = [0; 1];
        let _ = getrandom::fill(&mut random);
        let [random] = random;
        let wait = full / 2 + full.mul_f32(f32::from(random) / 510.0);
        asked.map_or(wait, |asked| wait.max(asked.min(LONGEST * 10)))
    }

    /// After a success.
    pub(super) const fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_minute_and_differ() {
        let mut backoff = Backoff::default();
        let mut full = FIRST;
        for _ in 0..40 {
            let wait = backoff.next(None);
            assert!(wait >= full / 2 && wait <= full, "{wait:?} of {full:?}");
            full = (full * 2).min(LONGEST);
        }
        let waits: std::collections::HashSet<_> = (0..40).map(|_| backoff.next(None)).collect();
        assert!(waits.len() > 1, "no jitter");
        assert!(backoff.next(Some(LONGEST * 2)) >= LONGEST * 2);
        backoff.reset();
        assert!(backoff.next(None) <= FIRST);
    }
}
