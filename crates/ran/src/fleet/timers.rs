//! When each device is to be looked at: a heap, so that an idle device costs nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// One time for each device. A new time makes the old entry of the heap stale; stale entries fall out when they are due.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(u64, u32)>>,
    armed_ms: Vec<Option<u64>>,
}

impl Timers {
    /// Makes room for one more device.
    pub(super) fn grow(&mut self) {
        self.armed_ms.push(None);
    }

    /// Arms or disarms a device.
    pub(super) fn set(&mut self, device: u32, at_ms: Option<u64>) {
        let Some(armed_ms) = self.armed_ms.get_mut(device as usize) else {
            return;
        };
        if *armed_ms == at_ms {
            return;
        }
        *armed_ms = at_ms;
        if let Some(at_ms) = at_ms {
            self.heap.push(Reverse((at_ms, device)));
        }
        self.drop_stale();
    }

    /// Arms a device for `at_ms` unless it is armed for an earlier time.
    pub(super) fn set_earlier(&mut self, device: u32, at_ms: u64) {
        let armed_ms = self.armed_ms.get(device as usize).copied().flatten();
        if armed_ms.is_none_or(|armed_ms| at_ms < armed_ms) {
            self.set(device, Some(at_ms));
        }
    }

    /// The next device whose time has come, in order of time and then of position. It is disarmed.
    pub(super) fn pop_due(&mut self, now_ms: u64) -> Option<u32> {
        if self.next_ms()? > now_ms {
            return None;
        }
        let Reverse((_, device)) = self.heap.pop()?;
        if let Some(armed_ms) = self.armed_ms.get_mut(device as usize) {
            *armed_ms = None;
        }
        self.drop_stale();
        Some(device)
    }

    /// The earliest time, in milliseconds.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at_ms, _))| *at_ms)
    }

    /// Keeps the front of the heap true, so that `next_ms` needs no change.
    fn drop_stale(&mut self) {
        while let Some(Reverse((at_ms, device))) = self.heap.peek() {
            let armed_ms = self.armed_ms.get(*device as usize).copied().flatten();
            if armed_ms == Some(*at_ms) {
                return;
            }
            self.heap.pop();
        }
    }
}
