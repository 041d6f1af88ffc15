//! Where reports are looked up: the T-ID table of an epoch, and the index of counter T-IDs.

use std::collections::{BTreeSet, HashMap};

use ambit_protocol::schedule::{self, cut};
use ambit_protocol::{DeviceForm, RandN};

use crate::registry::{Device, Index, Registry};

/// After so many failed verifications on one T-ID in one epoch it is refused (network rule 7, tag length 4).
const FAILURES_MAX: u16 = 1024;

/// How many devices may wait beside the sorted table before they are merged into it.
const ADDED_MAX: usize = 1024;

/// T-IDs of all beacon devices under one RAND_n: 8 octets a device, looked up by binary search.
pub(crate) struct BeaconTable {
    rand_n: RandN,
    sorted: Vec<(u32, Index)>,
    /// Devices that came after the table was built.
    added: Vec<(u32, Index)>,
    failures: HashMap<u64, u16>,
}

impl BeaconTable {
    pub(crate) fn build(rand_n: RandN, registry: &Registry) -> Self {
        let mut sorted: Vec<_> = registry
            .iter()
            .filter(|(_, device)| device.form == DeviceForm::Beacon)
            .filter_map(|(index, device)| Some((t_id(device, &rand_n)?, index)))
            .collect();
        sorted.sort_unstable();
        Self {
            rand_n,
            sorted,
            added: Vec::new(),
            failures: HashMap::new(),
        }
    }

    pub(crate) const fn rand_n(&self) -> RandN {
        self.rand_n
    }

    /// Adds a device, or a device's new key. The T-ID of an old key stays and leads to a key that does not verify.
    pub(crate) fn add(&mut self, index: Index, device: &Device) {
        if device.form == DeviceForm::Beacon
            && let Some(t_id) = t_id(device, &self.rand_n)
        {
            self.added.push((t_id, index));
        }
    }

    /// Merges what was added when it is much. To be called once after all that is added together.
    pub(crate) fn settle(&mut self) {
        if self.added.len() > ADDED_MAX {
            self.sorted.append(&mut self.added);
            self.sorted.sort_unstable();
            self.sorted.dedup();
        }
    }

    /// The devices with this T-ID: nearly always none or one.
    pub(crate) fn candidates(&self, t_id: [u8; 4]) -> impl Iterator<Item = Index> + '_ {
        let t_id = u32::from_be_bytes(t_id);
        let start = self.sorted.partition_point(|(found, _)| *found < t_id);
        let sorted = self.sorted.get(start..).unwrap_or_default();
        let sorted = sorted.iter().take_while(move |(found, _)| *found == t_id);
        let added = self.added.iter().filter(move |(found, _)| *found == t_id);
        sorted.chain(added).map(|(_, index)| *index)
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

/// `None` while the device has no K.
fn t_id(device: &Device, rand_n: &RandN) -> Option<u32> {
    let prf = device.evaluate(&schedule::beacon_t_id(rand_n))?;
    Some(u32::from_be_bytes(cut(&prf)))
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
            index.add(number, device);
        }
        index
    }

    /// Indexes a device around its last counter.
    pub(crate) fn add(&mut self, index: Index, device: &Device) {
        if device.form.has_counter() {
            let last = device.counter_last.unwrap_or(0);
            let first = last.saturating_sub(self.window);
            self.insert(index, device, first..=last.saturating_add(self.window));
        }
    }

    /// Takes a device out, as it was indexed: before its key or last counter is replaced.
    pub(crate) fn remove(&mut self, index: Index, device: &Device) {
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
    pub(crate) fn advance(&mut self, index: Index, device: &Device, old: Option<u32>) {
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

    fn insert(&mut self, index: Index, device: &Device, counters: std::ops::RangeInclusive<u32>) {
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
