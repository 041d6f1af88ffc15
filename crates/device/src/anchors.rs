//! The identity rule of section 4: which beacons the device believes, and under which it may show its T-ID.
//!
//! A beacon is checked when it is heard, but its anchor is persisted only when there is something to say under it: a device
//! that listens for months and speaks once a day would wear its memory out otherwise. In between, the newest verified RAND_n
//! is kept in RAM (the *tip*), so that the next check is one step and an older epoch of the same chain never counts again.

use ambit_protocol::chain::{Verification, verify};
use ambit_protocol::{RandN, Snid};

/// What the device knows of the chain in this power cycle.
#[derive(Debug)]
pub(crate) struct Anchors {
    /// The newest verified RAND_n, at or after the anchor on its chain.
    tip: Option<RandN>,
    /// The last beacon that was checked and failed. A repeated broadcast costs nothing and is one sighting.
    mismatched: Option<RandN>,
    /// The anchor, and the one before it: moving back and forth between them restarts no clock.
    known: [Option<Known>; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    rand_n: RandN,
    /// `None`: in an earlier power cycle.
    first_persisted_ms: Option<u64>,
}

/// What a beacon turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It follows from the anchor.
    Verified,
    /// No anchor, an older epoch, or too many steps: nothing is known of it.
    Unverified,
    /// It was checked and failed, for the first time.
    Sighting,
}

impl Anchors {
    /// At power-on: what memory holds was persisted in an earlier power cycle.
    pub(crate) fn new(persisted: Option<RandN>) -> Self {
        Self {
            tip: persisted,
            mismatched: None,
            known: [
                persisted.map(|rand_n| Known {
                    rand_n,
                    first_persisted_ms: None,
                }),
                None,
            ],
        }
    }

    /// Judges a broadcast. Costs chain steps only the first time it is heard.
    pub(crate) fn judge(&mut self, rand_n: &RandN, snid: &Snid, max_steps: u32) -> Judgement {
        let Some(tip) = &self.tip else {
            return Judgement::Unverified;
        };
        if tip == rand_n {
            return Judgement::Verified;
        }
        if self.mismatched.as_ref() == Some(rand_n) {
            return Judgement::Unverified;
        }
        match verify(tip, rand_n, snid, max_steps) {
            Verification::Verified => {
                self.tip = Some(*rand_n);
                Judgement::Verified
            }
            Verification::BeforeAnchor | Verification::TooManySteps => Judgement::Unverified,
            Verification::Mismatch => {
                self.mismatched = Some(*rand_n);
                Judgement::Sighting
            }
        }
    }

    /// Whether this beacon is verified, as judged when it was heard.
    pub(crate) fn is_verified(&self, rand_n: &RandN) -> bool {
        self.tip.as_ref() == Some(rand_n)
    }

    pub(crate) fn is_persisted(&self, rand_n: &RandN) -> bool {
        self.anchor().as_ref() == Some(rand_n)
    }

    /// Whether the identity rule allows the beacon form under this RAND_n now.
    pub(crate) fn allow_beacon_form(&self, rand_n: &RandN, now_ms: u64, period_s: u32) -> bool {
        let [Some(anchor), _] = &self.known else {
            return false;
        };
        let fresh = anchor
            .first_persisted_ms
            .is_some_and(|first_ms| now_ms.saturating_sub(first_ms) < u64::from(period_s) * 1000);
        anchor.rand_n == *rand_n && self.is_verified(rand_n) && fresh
    }

    /// Whether an ACCEPT under this RAND_n moves the anchor (section 4, rule b).
    ///
    /// It does, forward or back, unless the device already stands at or after it on the same chain. Going back there would
    /// gain nothing (only the ADM can have made the later element), would cost a write at each epoch's grace time, and would
    /// show the T-IDs of epochs already used a second time. Looked at over twice as many steps as a beacon is worth: the report
    /// may be one that was built before the device heard of a later epoch.
    pub(crate) fn moves_to(&self, rand_n: &RandN, snid: &Snid, max_steps: u32) -> bool {
        let ahead_on_same_chain = self.tip.is_some_and(|tip| {
            tip.epoch() > rand_n.epoch()
                && verify(rand_n, &tip, snid, max_steps.saturating_mul(2)) == Verification::Verified
        });
        !self.is_persisted(rand_n) && !ahead_on_same_chain
    }

    /// Notes that this RAND_n is now durably the anchor.
    pub(crate) fn persisted(&mut self, rand_n: &RandN, now_ms: u64) {
        self.tip = Some(*rand_n);
        self.mismatched = None;
        let [newest, older] = self.known;
        let is_it = |known: &Known| known.rand_n == *rand_n;
        self.known = match (newest, older) {
            (Some(known), _) if is_it(&known) => [newest, older],
            (_, Some(known)) if is_it(&known) => [older, newest],
            _ => [
                Some(Known {
                    rand_n: *rand_n,
                    first_persisted_ms: Some(now_ms),
                }),
                newest,
            ],
        };
    }

    pub(crate) fn anchor(&self) -> Option<RandN> {
        let [anchor, _] = &self.known;
        anchor.map(|known| known.rand_n)
    }
}
