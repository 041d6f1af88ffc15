//! Which keys there may be, in memory or in the table: a Bloom filter for each of the newest epochs, so that the key of a new
//! record, which is nowhere, is mostly not looked for.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, RandomState};

use fastbloom::BloomFilter;

use super::keys::Key;

/// Epochs that are filtered: the current one and the one before are those whose reports are accepted.
const EPOCHS_MAX: usize = 2;

/// Keys for which the first part of a filter has room: 240 kB. Each further part has room for twice as many.
const FIRST_PART: usize = 1 << 17;

/// Parts of an epoch at most: 134 million keys, 240 MB. An epoch with more is looked up.
const PARTS_MAX: u32 = 10;

/// Keys that are in no part and said to be, of a part that is full.
const FALSE_POSITIVES: f64 = 0.001;

/// The keys in the epochs from one on.
#[derive(Debug)]
pub(super) struct Filter {
    /// The first epoch of which every key has been put in here.
    from: u64,
    epochs: BTreeMap<u32, Epoch>,
    /// Once a key, for all parts. Nobody outside can foresee it.
    hasher: RandomState,
}

/// Its hasher is not used: it is given hashes.
type Part = BloomFilter<BuildHasherDefault<DefaultHasher>>;

#[derive(Debug, Default)]
struct Epoch {
    parts: Vec<Part>,
    /// Keys for which the last part still has room.
    room: usize,
}

/// Knows of no epoch, and so of every key that it may be there.
impl Default for Filter {
    fn default() -> Self {
        Self {
            from: u64::MAX,
            epochs: BTreeMap::new(),
            hasher: RandomState::new(),
        }
    }
}

impl Filter {
    /// Nothing is known of the keys that there are, which are of this epoch at the latest.
    pub(super) fn after(epoch: Option<u32>) -> Self {
        Self {
            from: epoch.map_or(0, |epoch| u64::from(epoch) + 1),
            ..Self::default()
        }
    }

    /// Puts a key in.
    pub(super) fn insert(&mut self, key: &Key) {
        if u64::from(key.epoch()) < self.from {
            return;
        }
        let hash = self.hasher.hash_one(key);
        let is_in = self.epochs.entry(key.epoch()).or_default().insert(hash);
        if !is_in {
            self.forget_through(key.epoch());
        } else if self.epochs.len() > EPOCHS_MAX
            && let Some((oldest, _)) = self.epochs.pop_first()
        {
            self.forget_through(oldest);
        }
    }

    /// False for a key that is nowhere.
    pub(super) fn may_have(&self, key: &Key) -> bool {
        let has = |epoch: &Epoch| epoch.may_have(self.hasher.hash_one(key));
        u64::from(key.epoch()) < self.from || self.epochs.get(&key.epoch()).is_some_and(has)
    }

    fn forget_through(&mut self, epoch: u32) {
        self.from = u64::from(epoch) + 1;
        self.epochs.retain(|later, _| *later > epoch);
    }
}

impl Epoch {
    /// False when there is no room for it.
    fn insert(&mut self, hash: u64) -> bool {
        if self.room == 0 {
            let number = self.parts.len() as u32;
            if number == PARTS_MAX {
                return false;
            }
            self.room = FIRST_PART << number;
            let part =
                BloomFilter::with_false_pos(FALSE_POSITIVES).hasher(BuildHasherDefault::default());
            self.parts.push(part.expected_items(self.room));
        }
        self.room -= 1;
        if let Some(part) = self.parts.last_mut() {
            part.insert_hash(hash);
        }
        true
    }

    fn may_have(&self, hash: u64) -> bool {
        self.parts.iter().any(|part| part.contains_hash(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(epoch: u32, number: u64) -> Key {
        Key::new(1, epoch, &number.to_be_bytes()).unwrap()
    }

    #[test]
    fn every_key_put_in_is_found_and_few_others_are() {
        let mut filter = Filter::after(Some(4));
        assert!(filter.may_have(&key(4, 0)), "not known");
        assert!(!filter.may_have(&key(5, 0)));
        let count = FIRST_PART as u64 * 2;
        for number in 0..count {
            filter.insert(&key(5, number));
        }
        assert!((0..count).all(|number| filter.may_have(&key(5, number))));
        let others = (count..2 * count).filter(|number| filter.may_have(&key(5, *number)));
        assert!(others.count() < FIRST_PART / 20);
    }

    #[test]
    fn an_epoch_that_is_no_longer_filtered_may_have_every_key() {
        let mut filter = Filter::after(None);
        for epoch in [7, 9, 8, 10] {
            filter.insert(&key(epoch, 1));
        }
        for (epoch, may) in [(7, true), (8, true), (9, false), (10, false), (11, false)] {
            assert_eq!(filter.may_have(&key(epoch, 2)), may, "{epoch}");
        }
        assert!(filter.may_have(&key(9, 1)) && filter.may_have(&key(10, 1)));
        // Too late for its epoch, and of no effect on the others.
        filter.insert(&key(6, 1));
        assert!(!filter.may_have(&key(9, 2)));
        // Full.
        let mut filter = Filter::after(None);
        filter.insert(&key(1, 1));
        let epoch = filter.epochs.get_mut(&1).unwrap();
        while epoch.parts.len() < PARTS_MAX as usize {
            epoch.parts.push(
                BloomFilter::with_num_bits(64)
                    .hasher(BuildHasherDefault::default())
                    .hashes(1),
            );
        }
        epoch.room = 0;
        filter.insert(&key(1, 2));
        assert!(filter.may_have(&key(1, 3)));
        assert!(Filter::default().may_have(&key(u32::MAX, 1)));
        assert!(!filter.may_have(&key(2, 3)));
    }
}
