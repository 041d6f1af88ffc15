//! How an item that is sent again is known.

use ambit_protocol::Cause;

/// A record's item is known again as a repeat for so long after the device's previous record.
pub(crate) const REPEAT_MS: i64 = 3_600_000;

/// The causes of a device's last eight items by seq, by which network rule 3 knows a repeat.
///
/// The rule names the previous record. Looking back over eight seqs covers a reader that holds a report back until the
/// device has gone on: its item would otherwise be charged twice. A power-on starts afresh, since seq does.
#[derive(Clone, Copy)]
pub(crate) struct RecentItems {
    pub(super) last_ms: i64,
    /// Cause by seq, four bits each, [`NO_CAUSE`] where none.
    pub(super) causes: u64,
}

/// Cause 1, power-on, is no repeat of anything and so stands for none.
const NO_CAUSE: u8 = Cause::PowerOn.number();
const NO_CAUSES: u64 = 0x1111_1111_1111_1111;
const _: () = assert!(NO_CAUSE == 1, "the mask above");

impl Default for RecentItems {
    fn default() -> Self {
        Self {
            last_ms: 0,
            causes: NO_CAUSES,
        }
    }
}

impl RecentItems {
    /// Whether a new record of this item is a repeat.
    pub(crate) fn is_repeat(&self, cause: Cause, seq: u8, now_ms: i64) -> bool {
        let known = self.cause(seq) == cause.number();
        cause != Cause::PowerOn && known && now_ms.saturating_sub(self.last_ms) < REPEAT_MS
    }

    /// Notes a new record.
    pub(crate) fn record(&mut self, cause: Cause, seq: u8, now_ms: i64) {
        if cause == Cause::PowerOn {
            self.causes = NO_CAUSES;
        } else {
            if !self.is_repeat(cause, seq, now_ms) {
                // A new item: the seqs that come next belong to an earlier round.
                for ahead in 1..=8 {
                    self.set_cause(seq.wrapping_add(ahead), NO_CAUSE);
                }
            }
            self.set_cause(seq, cause.number());
        }
        self.last_ms = now_ms;
    }

    const fn cause(&self, seq: u8) -> u8 {
        (self.causes >> (4 * (seq % 16))) as u8 & 0xf
    }

    const fn set_cause(&mut self, seq: u8, cause: u8) {
        let shift = 4 * (seq % 16);
        self.causes &= !(0xf << shift);
        self.causes |= (cause as u64) << shift;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_is_the_same_item_within_the_hour() {
        let mut recent = RecentItems::default();
        recent.record(Cause::Periodic, 3, 1000);
        assert!(recent.is_repeat(Cause::Periodic, 3, 2000));
        assert!(!recent.is_repeat(Cause::Event, 3, 2000));
        assert!(!recent.is_repeat(Cause::Periodic, 4, 2000));
        assert!(recent.is_repeat(Cause::Periodic, 3, 1000 + REPEAT_MS - 1));
        assert!(!recent.is_repeat(Cause::Periodic, 3, 1000 + REPEAT_MS));
    }

    #[test]
    fn an_item_held_back_behind_the_next_is_a_repeat_and_a_full_round_is_not() {
        let mut recent = RecentItems::default();
        recent.record(Cause::Periodic, 3, 0);
        recent.record(Cause::Periodic, 4, 10);
        assert!(recent.is_repeat(Cause::Periodic, 3, 20));
        recent.record(Cause::Periodic, 3, 20);
        assert!(recent.is_repeat(Cause::Periodic, 4, 30));
        for item in 5..64u8 {
            assert!(!recent.is_repeat(Cause::Periodic, item % 16, 40), "{item}");
            recent.record(Cause::Periodic, item % 16, 40);
        }
    }

    #[test]
    fn power_on_starts_afresh_and_is_never_a_repeat() {
        let mut recent = RecentItems::default();
        recent.record(Cause::PowerOn, 0, 0);
        assert!(!recent.is_repeat(Cause::PowerOn, 0, 10));
        recent.record(Cause::Event, 1, 10);
        recent.record(Cause::PowerOn, 0, 20);
        assert!(!recent.is_repeat(Cause::Event, 1, 30));
    }
}
