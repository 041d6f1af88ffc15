//! Contention-based access after a page, at one reader, in the shape of TS 38.391: the page, and an Access Trigger for each
//! further round, offers 2^n access occasions; a device draws one of them and a Random ID, and says the ID there; the reader
//! echoes the IDs it could read (Random ID Response), and only their devices hand over their data. Two devices in one occasion are
//! a collision: neither is read, both try again in the next round. Data that does not come is asked for again (NACK Feedback).
//!
//! The next round offers about as many occasions as devices are left: 2.39 for each collision, which is what is to be expected
//! where occasions and devices are equally many (Schoute's estimate for framed slotted ALOHA).

use std::collections::BTreeMap;

use crate::frame::{OCCASIONS_PER_MS, RadioId};

/// Rounds without anybody after which a reader believes that all have been read. One alone may have been lost on the air.
const QUIET_ROUNDS: u8 = 2;

/// How often data is asked for again.
const NACKS_MAX: u8 = 5;

/// Occasions of a round that only looks whether somebody is left: 2^2.
const CHECK_EXPONENT: u8 = 2;

/// Times and bounds of contention.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) exponent_max: u8,
    pub(super) rounds_max: u16,
    /// From a message of the reader to the answer of a device, at most, in milliseconds.
    pub(super) wait_ms: u32,
}

/// Contention at one reader.
#[derive(Debug)]
pub(super) struct Contention {
    pub(super) round: u16,
    exponent: u8,
    phase: Phase,
    quiet_rounds: u8,
    /// Devices that gave up or were given up in this round and may be left.
    unread: u32,
}

#[derive(Debug)]
enum Phase {
    /// Random IDs come in, by occasion; `None` after a collision.
    Access {
        until_ms: u64,
        heard: BTreeMap<u16, Option<RadioId>>,
    },
    /// Data comes in; how often each device was asked for it again.
    Data {
        until_ms: u64,
        awaited: BTreeMap<RadioId, u8>,
        collisions: u32,
    },
    Done,
}

/// What the reader is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Echo this ID.
    Respond(RadioId),
    /// Ask this device for its data again.
    Nack(RadioId),
    /// Offer 2^n occasions in a new round.
    Trigger {
        /// Which round.
        round: u16,
        /// n.
        exponent: u8,
    },
}

impl Contention {
    /// The first round, which the page opens.
    pub(super) fn new(now_ms: u64, expected: Option<u16>, rules: &Rules) -> Self {
        let exponent = match expected {
            Some(devices) => exponent_for(u32::from(devices), rules),
            None => 4.min(rules.exponent_max),
        };
        Self {
            round: 0,
            exponent,
            phase: Phase::access(now_ms, exponent, rules),
            quiet_rounds: 0,
            unread: 0,
        }
    }

    /// n of the first round's 2^n occasions.
    pub(super) const fn exponent(&self) -> u8 {
        self.exponent
    }

    /// A Random ID was said in an occasion of a round. False when it is not the one under way.
    pub(super) fn hear_id(&mut self, round: u16, occasion: u16, radio_id: RadioId) -> bool {
        let Phase::Access { heard, .. } = &mut self.phase else {
            return false;
        };
        if round != self.round || u32::from(occasion) >= 1 << self.exponent {
            return false;
        }
        heard
            .entry(occasion)
            .and_modify(|first| {
                // A copy of the same ID, from the same device, is none.
                *first = first.filter(|first| *first == radio_id);
            })
            .or_insert(Some(radio_id));
        true
    }

    /// Data was heard. False when none was awaited from there.
    pub(super) fn hear_data(&mut self, radio_id: RadioId) -> bool {
        match &mut self.phase {
            Phase::Data {
                awaited, until_ms, ..
            } => {
                let is_awaited = awaited.remove(&radio_id).is_some();
                if awaited.is_empty() {
                    // Nothing is left to wait for.
                    *until_ms = 0;
                }
                is_awaited
            }
            Phase::Access { .. } | Phase::Done => false,
        }
    }

    /// Whether nobody is believed to be left.
    pub(super) const fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done)
    }

    /// When something is to be done, in milliseconds.
    pub(super) fn timeout_ms(&self) -> Option<u64> {
        match &self.phase {
            Phase::Access { until_ms, .. } | Phase::Data { until_ms, .. } => Some(*until_ms),
            Phase::Done => None,
        }
    }

    /// Goes on, if the time has come or all that is awaited has.
    pub(super) fn handle_timeout(&mut self, now_ms: u64, rules: &Rules) -> Vec<Step> {
        match &mut self.phase {
            Phase::Access { until_ms, heard } if *until_ms <= now_ms => {
                let collisions = heard.values().filter(|id| id.is_none()).count();
                let awaited: BTreeMap<RadioId, u8> =
                    heard.values().flatten().map(|id| (*id, 0)).collect();
                let steps: Vec<Step> = awaited.keys().copied().map(Step::Respond).collect();
                self.quiet_rounds = match (steps.len(), collisions) {
                    (0, 0) => self.quiet_rounds + 1,
                    _ => 0,
                };
                let collisions = u32::try_from(collisions).unwrap_or(u32::MAX);
                if steps.is_empty() {
                    return self.next_round(now_ms, collisions, rules);
                }
                self.phase = Phase::Data {
                    until_ms: now_ms + u64::from(rules.wait_ms),
                    awaited,
                    collisions,
                };
                steps
            }
            Phase::Data {
                until_ms,
                awaited,
                collisions,
            } if *until_ms <= now_ms || awaited.is_empty() => {
                let before = awaited.len();
                awaited.retain(|_, nacks| *nacks < NACKS_MAX);
                self.unread += u32::try_from(before - awaited.len()).unwrap_or(u32::MAX);
                if awaited.is_empty() {
                    let collisions = *collisions;
                    return self.next_round(now_ms, collisions, rules);
                }
                *until_ms = now_ms + u64::from(rules.wait_ms);
                awaited.values_mut().for_each(|nacks| *nacks += 1);
                awaited.keys().copied().map(Step::Nack).collect()
            }
            _ => Vec::new(),
        }
    }

    fn next_round(&mut self, now_ms: u64, collisions: u32, rules: &Rules) -> Vec<Step> {
        if self.quiet_rounds >= QUIET_ROUNDS || self.round >= rules.rounds_max {
            self.phase = Phase::Done;
            return Vec::new();
        }
        // Where nearly all occasions collided, there are many more devices than that.
        let is_crowded = collisions.saturating_mul(10) >= 9 << self.exponent;
        let per_collision = if is_crowded { 500 } else { 239 };
        let left = collisions.saturating_mul(per_collision) / 100;
        let left = left.saturating_add(std::mem::take(&mut self.unread));
        self.exponent = match left {
            0 => CHECK_EXPONENT.min(rules.exponent_max),
            left => exponent_for(left, rules),
        };
        self.round += 1;
        self.phase = Phase::access(now_ms, self.exponent, rules);
        let (round, exponent) = (self.round, self.exponent);
        vec![Step::Trigger { round, exponent }]
    }
}

impl Phase {
    fn access(now_ms: u64, exponent: u8, rules: &Rules) -> Self {
        let occasions_ms = (1u64 << exponent).div_ceil(OCCASIONS_PER_MS.into());
        Self::Access {
            until_ms: now_ms + occasions_ms + u64::from(rules.wait_ms),
            heard: BTreeMap::new(),
        }
    }
}

/// The exponent of the first power of two that is not below the number of devices.
fn exponent_for(devices: u32, rules: &Rules) -> u8 {
    let exponent = devices.max(1).next_power_of_two().trailing_zeros();
    let exponent = u8::try_from(exponent).unwrap_or(u8::MAX);
    exponent.min(rules.exponent_max).min(15)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        exponent_max: 12,
        rounds_max: 200,
        wait_ms: 50,
    };

    /// Lets devices contend over a perfect air; returns the rounds and occasions that it took, and how many were read.
    fn contend(devices: u32, expected: Option<u16>, seed: u64) -> (u16, u64, u32) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut contention = Contention::new(0, expected, &RULES);
        let mut left: Vec<u32> = (0..devices).collect();
        let (mut round, mut exponent, mut occasions, mut read) = (0, contention.exponent(), 0, 0);
        while !contention.is_done() {
            occasions += 1 << exponent;
            for device in &left {
                let occasion = random.u16(0..1 << exponent);
                assert!(contention.hear_id(round, occasion, RadioId(*device)));
            }
            while let Some(now_ms) = contention.timeout_ms() {
                let steps = contention.handle_timeout(now_ms, &RULES);
                for step in &steps {
                    if let Step::Respond(radio_id) = step {
                        assert!(contention.hear_data(*radio_id));
                        left.retain(|device| RadioId(*device) != *radio_id);
                        read += 1;
                    }
                }
                if let [
                    Step::Trigger {
                        round: r,
                        exponent: e,
                    },
                ] = steps[..]
                {
                    (round, exponent) = (r, e);
                    break;
                }
            }
        }
        (round, occasions, read)
    }

    #[test]
    fn any_number_of_devices_is_read_whatever_was_expected() {
        for (seed, devices) in [0, 1, 2, 7, 100, 3000].into_iter().enumerate() {
            for expected in [None, Some(1), Some(100), Some(60_000)] {
                let (rounds, occasions, read) = contend(devices, expected, seed as u64);
                assert_eq!(read, devices, "{expected:?}");
                assert!(rounds < 60, "{devices} {expected:?}: {rounds} rounds");
                // About e occasions a device are the least that framed ALOHA takes.
                let bound = 2 * 4096 + u64::from(devices) * 5;
                assert!(occasions < bound, "{devices} {expected:?}: {occasions}");
            }
        }
    }

    #[test]
    fn two_devices_in_one_occasion_are_a_collision_and_a_copy_is_none() {
        let mut contention = Contention::new(0, Some(4), &RULES);
        assert!(contention.hear_id(0, 1, RadioId(1)) && contention.hear_id(0, 1, RadioId(2)));
        assert!(contention.hear_id(0, 1, RadioId(1)));
        assert!(contention.hear_id(0, 2, RadioId(3)) && contention.hear_id(0, 2, RadioId(3)));
        assert!(!contention.hear_id(0, 4, RadioId(4)) && !contention.hear_id(1, 0, RadioId(4)));
        let until_ms = contention.timeout_ms().unwrap();
        assert_eq!(contention.handle_timeout(until_ms - 1, &RULES), []);
        let steps = contention.handle_timeout(until_ms, &RULES);
        assert_eq!(steps, [Step::Respond(RadioId(3))]);
        assert!(!contention.hear_data(RadioId(1)));
    }

    #[test]
    fn data_that_does_not_come_is_asked_for_again_and_given_up() {
        let mut contention = Contention::new(0, Some(1), &RULES);
        assert!(contention.hear_id(0, 0, RadioId(1)));
        let mut now_ms = contention.timeout_ms().unwrap();
        assert_eq!(
            contention.handle_timeout(now_ms, &RULES),
            [Step::Respond(RadioId(1))]
        );
        for _ in 0..5 {
            now_ms = contention.timeout_ms().unwrap();
            assert_eq!(
                contention.handle_timeout(now_ms, &RULES),
                [Step::Nack(RadioId(1))]
            );
        }
        now_ms = contention.timeout_ms().unwrap();
        let next = contention.handle_timeout(now_ms, &RULES);
        assert!(matches!(next[..], [Step::Trigger { round: 1, .. }]));
    }

    #[test]
    fn contention_ends_however_long_ids_collide() {
        let mut contention = Contention::new(0, None, &RULES);
        let mut round = 0;
        while !contention.is_done() {
            contention.hear_id(round, 0, RadioId(1));
            contention.hear_id(round, 0, RadioId(2));
            let now_ms = contention.timeout_ms().unwrap();
            if let [Step::Trigger { round: next, .. }] =
                contention.handle_timeout(now_ms, &RULES)[..]
            {
                round = next;
            }
        }
        assert_eq!(round, 200);
    }
}
