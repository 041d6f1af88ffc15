//! One device of a fleet: its parts while it has no power, its state machine while it has, and what surrounds it.

use ambit_device::{Device, Memory, PowerOnError, Profile, SLOTS_OCTETS, provision, restore};

use super::access::Contending;
use super::credential::FleetCredential;
use super::ledger::Ledger;
use super::memory::{FleetMemory, MemoryFaults};
use super::spec::{
    DeviceSpec, FleetCard, FleetDevice, PowerCyclesId, Remembered, ScheduleId, SeededRandom,
};
use crate::frame::{Access, RadioId, SiteReader};

/// A device and its place, schedule and ledger.
pub(super) struct Slot {
    pub(super) device_id: Box<[u8]>,
    pub(super) profile: Profile,
    pub(super) reader: SiteReader,
    pub(super) power: Power,
    /// Power cycles so far; the present one is `cycles - 1`.
    pub(super) cycles: u32,
    pub(super) registered: bool,
    pub(super) schedule: Option<Agenda>,
    pub(super) power_cycles: Option<PowerCyclesId>,
    /// Switching times to come, the next one last.
    pub(super) switches: Vec<(u64, bool)>,
    /// The contact that the device holds.
    pub(super) contact: Option<(RadioId, Access)>,
    /// What it contends for access for, after a page.
    pub(super) contending: Option<Contending>,
    /// Whether it waits for a beacon.
    pub(super) waits_for_beacon: bool,
    pub(super) ledger: Ledger,
    /// With a failing write the power goes and comes back after so many milliseconds.
    power_back_ms: Option<u64>,
    /// The power went with a write just now.
    browned_out: bool,
}

/// A device's place in its schedule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agenda {
    pub(super) schedule: ScheduleId,
    /// When the next item is due; `None` without power, or when the schedule is done.
    pub(super) next_ms: Option<u64>,
    pub(super) items: u32,
}

/// Whether there is power.
pub(super) enum Power {
    On(Box<FleetDevice>),
    Off(Box<Parts>),
    /// It could not start and never will.
    Failed(PowerOnError),
}

/// What is left of a device without power.
pub(super) struct Parts {
    credential: FleetCredential,
    memory: FleetMemory,
    random: SeededRandom,
}

impl Slot {
    pub(super) fn new(spec: DeviceSpec, credential: FleetCredential, random: SeededRandom) -> Self {
        let mut memory = FleetMemory::default();
        // The memory is large enough for the device's record, which is all that provisioning can find wrong with it.
        let _ = provision(&mut memory, spec.anchor, spec.counter);
        Self {
            device_id: spec.device_id.into_boxed_slice(),
            profile: spec.profile,
            reader: spec.reader,
            power: Power::Off(Box::new(Parts {
                credential,
                memory,
                random,
            })),
            cycles: 0,
            registered: false,
            schedule: spec.schedule.map(|schedule| Agenda {
                schedule,
                next_ms: None,
                items: 0,
            }),
            power_cycles: spec.power_cycles,
            switches: spec
                .power_on_ms
                .map(|at_ms| (at_ms, true))
                .into_iter()
                .collect(),
            contact: None,
            contending: None,
            waits_for_beacon: false,
            ledger: Ledger::default(),
            power_back_ms: None,
            browned_out: false,
        }
    }

    pub(super) fn device(&self) -> Option<&FleetDevice> {
        match &self.power {
            Power::On(device) => Some(device),
            Power::Off(_) | Power::Failed(_) => None,
        }
    }

    pub(super) fn device_mut(&mut self) -> Option<&mut FleetDevice> {
        match &mut self.power {
            Power::On(device) => Some(device),
            Power::Off(_) | Power::Failed(_) => None,
        }
    }

    /// Gives it power. False when nothing came of it: it had power, or it failed.
    pub(super) fn power_on(&mut self, now_ms: u64, registration_data: &[u8]) -> bool {
        // The parts move, so something has to stand in their place meanwhile.
        let placeholder = Power::Failed(PowerOnError::MemoryUnreadable);
        match std::mem::replace(&mut self.power, placeholder) {
            Power::Off(parts) => {
                let Parts {
                    credential,
                    mut memory,
                    random,
                } = *parts;
                memory.revive();
                let started = Device::power_on(
                    self.profile,
                    credential,
                    memory,
                    random,
                    now_ms,
                    registration_data,
                );
                self.cycles = self.cycles.saturating_add(1);
                match started {
                    Ok(device) => self.power = Power::On(Box::new(device)),
                    Err(error) => self.power = Power::Failed(error),
                }
                matches!(self.power, Power::On(_))
            }
            unchanged => {
                self.power = unchanged;
                false
            }
        }
    }

    /// Takes its power. False when it had none.
    pub(super) fn power_off(&mut self) -> bool {
        let placeholder = Power::Failed(PowerOnError::MemoryUnreadable);
        match std::mem::replace(&mut self.power, placeholder) {
            Power::On(device) => {
                let (credential, memory, random) = device.power_off();
                self.power = Power::Off(Box::new(Parts {
                    credential,
                    memory,
                    random,
                }));
                self.registered = false;
                self.contending = None;
                self.waits_for_beacon = false;
                if let Some(agenda) = &mut self.schedule {
                    agenda.next_ms = None;
                }
                true
            }
            unchanged => {
                self.power = unchanged;
                false
            }
        }
    }

    /// Puts its memory back as it was. False when it has power, or the memory has no room for it.
    pub(super) fn restore(&mut self, was: &Remembered) -> bool {
        let Power::Off(parts) = &mut self.power else {
            return false;
        };
        let memory = &mut parts.memory;
        restore(memory, was.anchor, was.counter, was.disabled).is_ok()
            && memory.write(SLOTS_OCTETS, &was.user).is_ok()
    }

    /// Its memory, unless it could not start.
    pub(super) fn memory(&self) -> Option<&FleetMemory> {
        match &self.power {
            Power::On(device) => Some(device.memory()),
            Power::Off(parts) => Some(&parts.memory),
            Power::Failed(_) => None,
        }
    }

    /// Lets its memory fail from now on, or no longer. False while it has power: its memory is out of reach then.
    pub(super) fn set_memory_faults(&mut self, faults: Option<MemoryFaults>) -> bool {
        let Power::Off(parts) = &mut self.power else {
            return false;
        };
        parts.memory.set_faults(faults);
        self.power_back_ms = faults.and_then(|faults| faults.power_back_ms);
        true
    }

    /// A write to its memory has failed.
    pub(super) fn memory_failed(&mut self) {
        self.browned_out = self.power_back_ms.is_some();
    }

    /// Whether the power went with a write, and after how many milliseconds it comes back.
    pub(super) fn take_brown_out(&mut self) -> Option<u64> {
        let browned_out = std::mem::take(&mut self.browned_out);
        self.power_back_ms.filter(|_| browned_out)
    }

    /// Puts a card into a device without power, in place of the one it has, and returns that one.
    pub(super) fn swap_card(&mut self, card: FleetCard) -> Result<FleetCard, FleetCard> {
        match &mut self.power {
            Power::Off(parts) => match &mut parts.credential {
                FleetCredential::Uicc(uicc) => Ok(std::mem::replace(&mut uicc.card_mut().0, card)),
                FleetCredential::Local(_) | FleetCredential::Other(_) => Err(card),
            },
            Power::On(_) | Power::Failed(_) => Err(card),
        }
    }

    /// Adds a switching time. Of two at the same time, the one added later counts last.
    pub(super) fn add_switch(&mut self, at_ms: u64, on: bool) {
        let place = self
            .switches
            .partition_point(|(later_ms, _)| *later_ms > at_ms);
        self.switches.insert(place, (at_ms, on));
    }

    pub(super) fn next_switch_ms(&self) -> Option<u64> {
        self.switches.last().map(|(at_ms, _)| *at_ms)
    }

    /// Takes a switching time that has come.
    pub(super) fn pop_switch(&mut self, now_ms: u64) -> Option<bool> {
        let (_, on) = self.switches.pop_if(|(at_ms, _)| *at_ms <= now_ms)?;
        Some(on)
    }
}
