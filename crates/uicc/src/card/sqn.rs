//! Freshness of sequence numbers on the card (TS 33.102 annex C.2): SQN = SEQ ‖ IND, one SEQ kept per IND.

/// Limits of the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SqnPolicy {
    /// Bits of IND, 0 to 8. Annex C.3 has 5 in all its profiles.
    pub ind_bits: u8,
    /// Delta: a SEQ more than this above the highest accepted one is refused, so that no false challenge wears SEQ out.
    pub delta: u64,
    /// L: a SEQ this much or more below the highest accepted one is refused, whatever its IND. `None`: no limit.
    pub age_limit: Option<u64>,
}

impl Default for SqnPolicy {
    /// IND of 5 bits, delta 2^28 (annex C.3), no age limit.
    fn default() -> Self {
        Self {
            ind_bits: 5,
            delta: 1 << 28,
            age_limit: None,
        }
    }
}

/// The array of SEQ, by IND.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SqnArray {
    policy: SqnPolicy,
    seq: Vec<u64>,
}

impl SqnArray {
    pub(super) fn new(policy: SqnPolicy) -> Self {
        let ind_bits = policy.ind_bits.min(8);
        Self {
            policy: SqnPolicy { ind_bits, ..policy },
            seq: vec![0; 1 << ind_bits],
        }
    }

    /// From a stored record; `None` when it is of another size.
    pub(super) fn restored(policy: SqnPolicy, record: &[u8]) -> Option<Self> {
        let mut array = Self::new(policy);
        let (words, rest) = record.as_chunks::<8>();
        if !rest.is_empty() || words.len() != array.seq.len() {
            return None;
        }
        array.seq = words.iter().map(|word| u64::from_be_bytes(*word)).collect();
        Some(array)
    }

    pub(super) fn record(&self) -> Vec<u8> {
        self.seq.iter().flat_map(|seq| seq.to_be_bytes()).collect()
    }

    /// The array with `sqn` accepted, or `None` when it is out of range (clause C.2.2).
    pub(super) fn accept(&self, sqn: &[u8; 6]) -> Option<Self> {
        let (seq, ind) = self.split(sqn);
        let (highest, _) = self.highest();
        let is_fresh = self.seq.get(ind).is_some_and(|last| seq > *last);
        let is_young = self
            .policy
            .age_limit
            .is_none_or(|limit| highest.saturating_sub(seq) < limit);
        if !is_fresh || !is_young || seq.saturating_sub(highest) > self.policy.delta {
            return None;
        }
        let mut accepted = self.clone();
        if let Some(last) = accepted.seq.get_mut(ind) {
            *last = seq;
        }
        Some(accepted)
    }

    /// SQN_MS, the highest SQN accepted: what AUTS reports.
    pub(super) fn sqn_ms(&self) -> [u8; 6] {
        let (seq, ind) = self.highest();
        let sqn = (seq << self.policy.ind_bits) | ind as u64;
        let [_, _, sqn @ ..] = sqn.to_be_bytes();
        sqn
    }

    fn highest(&self) -> (u64, usize) {
        let by_ind = self.seq.iter().copied().zip(0..);
        by_ind.max().unwrap_or((0, 0))
    }

    fn split(&self, sqn: &[u8; 6]) -> (u64, usize) {
        let [a, b, c, d, e, f] = *sqn;
        let sqn = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        let ind = sqn & ((1 << self.policy.ind_bits) - 1);
        (
            sqn >> self.policy.ind_bits,
            usize::try_from(ind).unwrap_or(0),
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sqn(seq: u64, ind: u64) -> [u8; 6] {
        (seq << 5 | ind).to_be_bytes()[2..].try_into().unwrap()
    }

    #[test]
    fn each_ind_has_its_own_order_and_both_limits_hold() {
        let policy = SqnPolicy {
            age_limit: Some(100),
            ..SqnPolicy::default()
        };
        let array = SqnArray::new(policy);
        assert!(array.accept(&sqn(0, 3)).is_none());
        let array = array.accept(&sqn(1000, 3)).unwrap();
        assert_eq!(array.sqn_ms(), sqn(1000, 3));
        assert!(array.accept(&sqn(1000, 3)).is_none());
        assert!(array.accept(&sqn(999, 3)).is_none());
        assert!(array.accept(&sqn(1000, 4)).is_some());
        assert!(array.accept(&sqn(901, 4)).is_some());
        assert!(array.accept(&sqn(900, 4)).is_none());
        assert!(array.accept(&sqn(1000 + (1 << 28), 0)).is_some());
        assert!(array.accept(&sqn(1001 + (1 << 28), 0)).is_none());
        assert_eq!(SqnArray::restored(policy, &array.record()), Some(array));
        assert!(SqnArray::restored(policy, &[0; 8]).is_none());
    }

    #[test]
    fn the_highest_sqn_there_is_ends_the_order() {
        let array = SqnArray::new(SqnPolicy {
            delta: u64::MAX,
            ..SqnPolicy::default()
        });
        let array = array.accept(&[0xFF; 6]).unwrap();
        assert_eq!(array.sqn_ms(), [0xFF; 6]);
        assert!(array.accept(&[0xFF; 6]).is_none());
    }
}
