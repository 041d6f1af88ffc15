//! The non-volatile memory of an emulated device, and how it may fail.

use ambit_device::{ArrayMemory, Memory, SLOTS_OCTETS};

use super::spec::USER_MEMORY_OCTETS;

/// The non-volatile memory of an emulated device. It keeps its octets over power cycles.
#[derive(Clone, Debug, Default)]
pub struct FleetMemory {
    octets: ArrayMemory<{ SLOTS_OCTETS + USER_MEMORY_OCTETS }>,
    faults: Option<Faults>,
}

/// How a device's memory fails: a failing write leaves some of the new octets, mostly one of garbage, then the old ones, and
/// reports failure. That is all that the trait [`Memory`] allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemoryFaults {
    /// Seed of which writes fail, and after how many octets.
    pub seed: u64,
    /// Writes that succeed before any may fail.
    pub writes_before: u32,
    /// Probability that a write fails, 0.0 to 1.0.
    pub probability: f64,
    /// Writes that fail, at most.
    pub faults_max: u32,
    /// The power goes with a failing write, before anything else happens, and comes back after so many milliseconds.
    /// `None`: the write fails and the device goes on.
    pub power_back_ms: Option<u64>,
}

/// A write failed, or the power is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the memory failed")]
pub struct MemoryFailed;

#[derive(Clone, Debug)]
struct Faults {
    config: MemoryFaults,
    random: fastrand::Rng,
    writes: u32,
    so_far: u32,
    /// The power went with a write. Nothing works until it comes back.
    dead: bool,
}

impl FleetMemory {
    /// The user memory of section 8.
    pub fn user(&self) -> &[u8] {
        self.octets.0.get(SLOTS_OCTETS..).unwrap_or_default()
    }

    pub(super) fn set_faults(&mut self, faults: Option<MemoryFaults>) {
        self.faults = faults.map(|config| Faults {
            random: fastrand::Rng::with_seed(config.seed),
            config,
            writes: 0,
            so_far: 0,
            dead: false,
        });
    }

    /// The power comes back.
    pub(super) fn revive(&mut self) {
        if let Some(faults) = &mut self.faults {
            faults.dead = false;
        }
    }

    fn is_dead(&self) -> bool {
        self.faults.as_ref().is_some_and(|faults| faults.dead)
    }
}

impl Faults {
    /// After how many octets the next write is cut; `None` when it succeeds.
    fn cut(&mut self, len: usize) -> Option<usize> {
        if self.writes < self.config.writes_before {
            self.writes += 1;
            return None;
        }
        let fails = self.random.f64() < self.config.probability;
        if !fails || self.so_far >= self.config.faults_max {
            return None;
        }
        self.so_far += 1;
        self.dead = self.config.power_back_ms.is_some();
        Some(self.random.usize(..=len))
    }
}

impl Memory for FleetMemory {
    type Error = MemoryFailed;

    fn capacity(&self) -> usize {
        self.octets.capacity()
    }

    fn read(&mut self, offset: usize, out: &mut [u8]) -> Result<(), MemoryFailed> {
        if self.is_dead() {
            return Err(MemoryFailed);
        }
        self.octets.read(offset, out).map_err(|_| MemoryFailed)
    }

    fn write(&mut self, offset: usize, octets: &[u8]) -> Result<(), MemoryFailed> {
        if self.is_dead() {
            return Err(MemoryFailed);
        }
        let cut = self
            .faults
            .as_mut()
            .and_then(|faults| Some((faults.cut(octets.len())?, faults.random.u8(..))));
        let Some((done, garbage)) = cut else {
            return self.octets.write(offset, octets).map_err(|_| MemoryFailed);
        };
        let new = octets.get(..done).unwrap_or_default();
        let torn = self.octets.write(offset, new);
        if torn.is_ok() && done < octets.len() {
            let _ = self.octets.write(offset + done, &[garbage]);
        }
        Err(MemoryFailed)
    }
}
