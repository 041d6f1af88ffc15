//! Where reports are looked up: the T-ID table of an epoch, and the index of counter T-IDs.

use std::collections::{BTreeSet, HashMap};

use ambit_protocol::schedule::{self, cut};
use ambit_protocol::{DeviceForm, RandN};

use crate::registry::{Device, Index, Population, REGISTRY_STEP, Registry};

/// After so many failed verifications on one T-ID in one epoch it is refused (network rule 7, tag length 4).
const FAILURES_MAX: u16 = 1024;

/// T-IDs of all beacon devices under one RAND_n.
pub(crate) struct BeaconTable {
    rand_n: RandN,
    slots: Slots,
    /// Devices below this index are in; those above follow step by step.
    done: usize,
    failures: HashMap<u64, u16>,
}

impl BeaconTable {
    /// A table with no device in it yet.
    pub(crate) fn begin(rand_n: RandN, registry: &Registry) -> Self {
        Self {
            rand_n,
            slots: Slots::with_room_for(registry.population(Population::Table)),
            done: 0,
            failures: HashMap::new(),
        }
    }

    /// Puts in up to `devices` more; true when none is left.
    pub(crate) fn extend(&mut self, registry: &Registry, devices: usize) -> bool {
        let step = devices.div_ceil(REGISTRY_STEP) * REGISTRY_STEP;
        // A piece that was not full when it was taken in is taken in again: putting in is idempotent.
        let first = self.done - self.done % REGISTRY_STEP;
        let end = registry.len().min(first.saturating_add(step));
        let input = schedule::beacon_t_id(&self.rand_n);
        registry.prefixes(first..end, Population::Table, &input, |index, prefix| {
            self.slots.insert((prefix >> 32) as u32, index);
        });
        self.done = end;
        end == registry.len()
    }

    /// Devices that are not in yet.
    pub(crate) fn left(&self, registry: &Registry) -> usize {
        registry.len() - self.done
    }

    pub(crate) fn build(rand_n: RandN, registry: &Registry) -> Self {
        let mut table = Self::begin(rand_n, registry);
        table.extend(registry, registry.len());
        table
    }

    /// Octets that grow with the devices.
    pub(crate) const fn octets(&self) -> usize {
        self.slots.slots.capacity() * size_of::<u64>()
    }

    pub(crate) const fn rand_n(&self) -> RandN {
        self.rand_n
    }

    /// Adds a device, or a device's new key. The T-ID of an old key stays and leads to a key that does not verify.
    pub(crate) fn add(&mut self, index: Index, device: &Device<'_>) {
        if device.form == DeviceForm::Beacon
            && let Some(prf) = device.evaluate(&schedule::beacon_t_id(&self.rand_n))
        {
            self.slots.insert(u32::from_be_bytes(cut(&prf)), index);
        }
    }

    /// The devices with this T-ID: nearly always none or one.
    pub(crate) fn candidates(&self, t_id: [u8; 4]) -> impl Iterator<Item = Index> + '_ {
        self.slots.get(u32::from_be_bytes(t_id))
    }

    /// Whether a T-ID (of any form, widened) is refused for the rest of the epoch.
    pub(crate) fn is_locked(&self, t_id: u64) -> bool {
        self.failures.get(&t_id).is_some_and(|n| *n >= FAILURES_MAX)
    }

    /// Counts a failed verification against a device with tag length 4; true when that was the last one allowed.
    pub(crate) fn count_failure(&mut self, t_id: u64) -> bool {
        let failures = self.failures.entry(t_id).or_default();
        *failures = failures.saturating_add(1);
        *failures == FAILURES_MAX
    }
}

/// Pairs of T-ID and index, each as near behind the place that its T-ID has in proportion as there is room: one memory access
/// finds them, whatever the size. T-IDs are as good as random, so that a table nine tenths full has short runs.
struct Slots {
    slots: Vec<u64>,
    used: usize,
}

/// No device has this index.
const EMPTY: u64 = u64::MAX;

impl Slots {
    fn with_room_for(count: usize) -> Self {
        Self {
            slots: vec![EMPTY; count + count / 8 + 16],
            used: 0,
        }
    }

    /// Puts a pair in, unless it is there.
    fn insert(&mut self, t_id: u32, index: Index) {
        let pair = pair(t_id, index);
        // Always above the nine tenths that a fresh table has, so growing gains an eighth.
        if self.used >= self.slots.len() - self.slots.len() / 16 - 1 {
            let mut larger = Self::with_room_for(self.used + self.used / 16);
            let pairs = self.slots.iter().filter(|slot| **slot != EMPTY);
            pairs.for_each(|pair| larger.put(*pair));
            *self = larger;
        }
        self.put(pair);
    }

    fn put(&mut self, pair: u64) {
        let home = self.home((pair >> 32) as u32);
        let (before, from) = self.slots.split_at_mut(home);
        let mut places = from.iter_mut().chain(before);
        if let Some(slot) = places.find(|slot| **slot == EMPTY || **slot == pair) {
            self.used += usize::from(*slot == EMPTY);
            *slot = pair;
        }
    }

    fn get(&self, t_id: u32) -> impl Iterator<Item = Index> + '_ {
        let (before, from) = self.slots.split_at(self.home(t_id));
        from.iter()
            .chain(before)
            .take_while(|slot| **slot != EMPTY)
            .filter(move |slot| (**slot >> 32) as u32 == t_id)
            .map(|slot| *slot as Index)
    }

    const fn home(&self, t_id: u32) -> usize {
        ((t_id as u64 * self.slots.len() as u64) >> 32) as usize
    }
}

const fn pair(t_id: u32, index: Index) -> u64 {
    (t_id as u64) << 32 | index as u64
}

/// T-IDs of the counters near each device's last one: `window` ahead, which are acceptable, and as many behind, by which
/// a cloned device shows at once.
pub(crate) struct CounterIndex {
    window: u32,
    entries: BTreeSet<(u64, Index, u32)>,
}

impl CounterIndex {
    pub(crate) fn build(registry: &Registry, window: u32) -> Self {
        let mut index = Self {
            window,
            entries: BTreeSet::new(),
        };
        for (number, device) in registry.iter() {
            index.add(number, &device);
        }
        index
    }

    /// Octets that grow with the devices, about: the nodes of the tree are two thirds full.
    pub(crate) fn octets(&self) -> usize {
        self.entries.len() * size_of::<(u64, Index, u32)>() * 3 / 2
    }

    /// Indexes a device around its last counter.
    pub(crate) fn add(&mut self, index: Index, device: &Device<'_>) {
        if device.form.has_counter() {
            let last = device.counter_last.unwrap_or(0);
            let first = last.saturating_sub(self.window);
            self.insert(index, device, first..=last.saturating_add(self.window));
        }
    }

    /// Takes a device out, as it was indexed: before its key or last counter is replaced.
    pub(crate) fn remove(&mut self, index: Index, device: &Device<'_>) {
        if device.form.has_counter()
            && let Some(key) = device.prf_key()
        {
            let last = device.counter_last.unwrap_or(0);
            for counter in last.saturating_sub(self.window)..=last.saturating_add(self.window) {
                let t_id = cut(&key.evaluate(&schedule::counter_t_id(counter)));
                self.entries.remove(&(widen(t_id), index, counter));
            }
        }
    }

    /// Moves a device's window from `old` to its present last counter.
    pub(crate) fn advance(&mut self, index: Index, device: &Device<'_>, old: Option<u32>) {
        let old = old.unwrap_or(0);
        let last = device.counter_last.unwrap_or(0);
        let (old_end, new_start) = (
            old.saturating_add(self.window),
            last.saturating_sub(self.window),
        );
        let Some(key) = device.prf_key() else {
            return;
        };
        let gone = old.saturating_sub(self.window)..new_start.min(old_end.saturating_add(1));
        for counter in gone {
            let t_id = widen(cut(&key.evaluate(&schedule::counter_t_id(counter))));
            self.entries.remove(&(t_id, index, counter));
        }
        let first = new_start.max(old_end.saturating_add(1));
        self.insert(index, device, first..=last.saturating_add(self.window));
    }

    /// Devices and counters with this T-ID.
    pub(crate) fn candidates(&self, t_id: [u8; 6]) -> impl Iterator<Item = (Index, u32)> + '_ {
        let t_id = widen(t_id);
        self.entries
            .range((t_id, 0, 0)..=(t_id, Index::MAX, u32::MAX))
            .map(|(_, index, counter)| (*index, *counter))
    }

    fn insert(
        &mut self,
        index: Index,
        device: &Device<'_>,
        counters: std::ops::RangeInclusive<u32>,
    ) {
        let Some(key) = device.prf_key() else {
            return;
        };
        for counter in counters {
            let t_id = cut(&key.evaluate(&schedule::counter_t_id(counter)));
            self.entries.insert((widen(t_id), index, counter));
        }
    }
}

/// A T-ID of 6 octets as a number above all T-IDs of 4 octets.
pub(crate) fn widen(t_id: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = t_id;
    u64::from_be_bytes([1, 0, a, b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_hold_what_was_put_in_at_any_size() {
        let mut rng = fastrand::Rng::with_seed(1);
        for count in [0, 1, 2, 15, 16, 17, 100, 5000] {
            // Once with room for all, once growing; T-IDs crowded at the end, where runs go round, and twice the same.
            for room in [count, 0] {
                let mut slots = Slots::with_room_for(room);
                let mut expected: Vec<(u32, Index)> = (0..count as Index)
                    .map(|index| {
                        let t_id = match index % 8 {
                            0 => u32::MAX,
                            1 => u32::MAX - rng.u32(..100),
                            _ => rng.u32(..),
                        };
                        (t_id, index)
                    })
                    .collect();
                for (t_id, index) in &expected {
                    slots.insert(*t_id, *index);
                    slots.insert(*t_id, *index);
                }
                assert_eq!(slots.used, count);
                expected.sort_unstable();
                for group in expected.chunk_by(|a, b| a.0 == b.0) {
                    let mut found: Vec<_> = slots.get(group[0].0).collect();
                    found.sort_unstable();
                    assert!(found.iter().eq(group.iter().map(|(_, index)| index)));
                }
                for _ in 0..1000 {
                    let t_id = rng.u32(..u32::MAX - 100);
                    let is_there = expected.iter().any(|(there, _)| *there == t_id);
                    assert_eq!(slots.get(t_id).next().is_some(), is_there);
                }
            }
        }
    }
}
