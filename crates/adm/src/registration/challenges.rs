//! Challenges that wait for their answer: a bounded table in memory. What is lost costs the device one more try.

use std::collections::{HashMap, VecDeque};

use ambit_adm_api::ChallengeId;
use ambit_protocol::wire::AUTHENTICATION_REQUEST_OCTETS;
use ambit_protocol::{KAiotf, RootKey};

/// Open challenges at most; the oldest makes room.
const CHALLENGES_MAX: usize = 65_536;

/// Open challenges of one subscriber at most; its oldest makes room. A SUCI that somebody repeats with nonces of his own
/// costs sequence numbers, of which there are enough, and no other subscriber's place.
const PER_SUBSCRIBER_MAX: usize = 8;

/// A challenge, and what its right answer is.
pub(crate) struct Open {
    /// Row id of the device.
    pub(crate) row: i64,
    pub(crate) supi: String,
    pub(crate) rand_d: [u8; 8],
    pub(crate) rand: [u8; 16],
    pub(crate) nas: [u8; AUTHENTICATION_REQUEST_OCTETS],
    pub(crate) res8: [u8; 8],
    pub(crate) k_aiot: RootKey,
    pub(crate) k_aiotf: KAiotf,
    /// Which of the subscriber's challenges it is.
    pub(crate) number: u64,
    /// The epoch of the acceptance record.
    pub(crate) epoch: u32,
    /// Resynchronisations that led here.
    pub(crate) resyncs: u8,
    /// The REGISTRATION REQUEST: the same octets get the same challenge.
    pub(crate) request: Box<[u8]>,
    pub(crate) until_ms: i64,
}

/// The table.
#[derive(Default)]
pub(crate) struct Challenges {
    by_id: HashMap<ChallengeId, Open>,
    by_request: HashMap<Box<[u8]>, ChallengeId>,
    by_row: HashMap<i64, VecDeque<ChallengeId>>,
    /// In the order in which they were opened.
    order: VecDeque<ChallengeId>,
}

impl Challenges {
    pub(crate) fn get(&self, id: &ChallengeId, now_ms: i64) -> Option<&Open> {
        self.by_id.get(id).filter(|open| now_ms < open.until_ms)
    }

    /// The challenge that this REGISTRATION REQUEST was answered with.
    pub(crate) fn of_request(&self, request: &[u8], now_ms: i64) -> Option<(ChallengeId, &Open)> {
        let id = *self.by_request.get(request)?;
        Some((id, self.get(&id, now_ms)?))
    }

    pub(crate) fn insert(&mut self, id: ChallengeId, open: Open, now_ms: i64) {
        self.expire(now_ms);
        let of_row = self.by_row.entry(open.row).or_default();
        let crowded = (of_row.len() >= PER_SUBSCRIBER_MAX)
            .then(|| of_row.front().copied())
            .flatten();
        let full = (self.by_id.len() >= CHALLENGES_MAX)
            .then(|| self.order.front().copied())
            .flatten();
        for oldest in crowded.into_iter().chain(full) {
            self.remove(&oldest);
        }
        if let Some(old) = self.by_request.insert(open.request.clone(), id) {
            self.remove(&old);
            self.by_request.insert(open.request.clone(), id);
        }
        self.by_row.entry(open.row).or_default().push_back(id);
        self.order.push_back(id);
        self.by_id.insert(id, open);
    }

    pub(crate) fn remove(&mut self, id: &ChallengeId) {
        let Some(open) = self.by_id.remove(id) else {
            return;
        };
        if self.by_request.get(&open.request) == Some(id) {
            self.by_request.remove(&open.request);
        }
        if let Some(of_row) = self.by_row.get_mut(&open.row) {
            of_row.retain(|other| other != id);
            if of_row.is_empty() {
                self.by_row.remove(&open.row);
            }
        }
        // Its place in `order` goes when it comes to the front; far more stale places than open ones are swept at once.
        if self.order.len() > 2 * self.by_id.len() + 64 {
            let by_id = &self.by_id;
            self.order.retain(|other| by_id.contains_key(other));
        } else if self.order.front() == Some(id) {
            self.order.pop_front();
        }
    }

    /// Forgets challenges whose time is over.
    pub(crate) fn expire(&mut self, now_ms: i64) {
        while let Some(id) = self.order.front().copied() {
            match self.by_id.get(&id) {
                Some(open) if now_ms < open.until_ms => return,
                Some(_) => self.remove(&id),
                None => {
                    self.order.pop_front();
                }
            }
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.by_id.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(row: i64, n: u32, until_ms: i64) -> Open {
        Open {
            row,
            supi: String::new(),
            rand_d: [0; 8],
            rand: [0; 16],
            nas: [0; AUTHENTICATION_REQUEST_OCTETS],
            res8: [0; 8],
            k_aiot: RootKey::new([0; 16]),
            k_aiotf: KAiotf::new([0; 16]),
            number: 0,
            epoch: 0,
            resyncs: 0,
            request: n.to_be_bytes().into(),
            until_ms,
        }
    }

    fn id(n: u32) -> ChallengeId {
        let mut octets = [0; 16];
        octets[..4].copy_from_slice(&n.to_be_bytes());
        ChallengeId(octets)
    }

    #[test]
    fn one_subscriber_has_so_many_challenges_and_all_so_many() {
        let mut table = Challenges::default();
        for n in 0..100 {
            table.insert(id(n), open(1, n, 1000), 0);
        }
        assert_eq!(table.len(), PER_SUBSCRIBER_MAX);
        assert!(table.get(&id(99), 0).is_some() && table.get(&id(91), 0).is_none());
        for n in 100..80_000 {
            table.insert(id(n), open(i64::from(n), n, 1000), 0);
        }
        assert_eq!(table.len(), CHALLENGES_MAX);
        assert!(table.order.len() <= 2 * CHALLENGES_MAX + 65);
        assert_eq!(table.by_request.len(), CHALLENGES_MAX);
        table.expire(1000);
        let left = (
            table.len(),
            table.order.len(),
            table.by_request.len(),
            table.by_row.len(),
        );
        assert_eq!(left, (0, 0, 0, 0));
    }

    #[test]
    fn the_same_request_has_one_challenge() {
        let mut table = Challenges::default();
        table.insert(id(1), open(1, 7, 1000), 0);
        table.insert(id(2), open(1, 7, 1000), 0);
        assert_eq!(table.len(), 1);
        let found = table.of_request(&7u32.to_be_bytes(), 0).map(|(id, _)| id);
        assert_eq!(found, Some(id(2)));
        assert!(table.of_request(&7u32.to_be_bytes(), 1000).is_none());
    }
}
