//! What a fleet is made of: devices, schedules, power cycles, payloads; and what it counts.

use ambit_device::{Device, Profile, Random, Uicc};
use ambit_protocol::{Cause, RandN, RootKey, Suite};

use super::credential::FleetCredential;
use super::memory::FleetMemory;
use crate::frame::SiteReader;

/// A device's position in its fleet, from 0, in the order of [`super::Fleet::add`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceIndex(pub u32);

/// A schedule that was given to [`super::Fleet::add_schedule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScheduleId(pub(super) u16);

/// Power cycles that were given to [`super::Fleet::add_power_cycles`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerCyclesId(pub(super) u16);

/// Octets of user memory (section 8) behind the device's own record.
pub const USER_MEMORY_OCTETS: usize = 56;

/// An emulated device while it has power.
pub type FleetDevice = Device<FleetCredential, FleetMemory, SeededRandom>;

/// A card in an emulated device.
pub type FleetCard = Box<dyn Uicc + Send>;

/// A device to be added to a fleet.
#[derive(Debug)]
pub struct DeviceSpec {
    /// The permanent device ID, 1 to 128 octets.
    pub device_id: Vec<u8>,
    /// K.
    pub key: RootKey,
    /// The suite.
    pub suite: Suite,
    /// Type, form, tag length, network and times.
    pub profile: Profile,
    /// The anchor it is provisioned with (section 4).
    pub anchor: Option<RandN>,
    /// The last counter value it has used (section 6); 0 for none.
    pub counter: u32,
    /// Where it stands.
    pub reader: SiteReader,
    /// What it says after its registration.
    pub schedule: Option<ScheduleId>,
    /// When its power comes and goes at random.
    pub power_cycles: Option<PowerCyclesId>,
    /// When it is first powered, in milliseconds; `None`: not before [`super::Fleet::schedule_power`].
    pub power_on_ms: Option<u64>,
}

/// What a device remembers of an earlier run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// Its anchor (section 4).
    pub anchor: Option<RandN>,
    /// The last counter value it has used (section 6).
    pub counter: u32,
    /// Whether it obeyed PERMANENT DISABLE (section 8).
    pub disabled: bool,
    /// Its user memory, at most [`USER_MEMORY_OCTETS`]; what is left out is blank.
    pub user: Vec<u8>,
}

/// When a device has something to say. Its times count from each power-on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// From power-on to the first item, in milliseconds; the jitter comes on top.
    pub first_ms: u64,
    /// Between two items, in milliseconds, at least 1; the jitter comes on top.
    pub interval_ms: u64,
    /// The longest jitter, in milliseconds, drawn evenly for each item.
    pub jitter_ms: u64,
    /// Items over all power cycles, the registrations not counted; `None`: no end.
    pub items_max: Option<u32>,
}

/// Power that comes and goes at random, drawn evenly between the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerCycles {
    /// Shortest time with power, in milliseconds.
    pub on_ms_min: u64,
    /// Longest time with power, in milliseconds.
    pub on_ms_max: u64,
    /// Shortest time without power, in milliseconds.
    pub off_ms_min: u64,
    /// Longest time without power, in milliseconds.
    pub off_ms_max: u64,
}

/// What a payload is asked for.
#[derive(Clone, Copy, Debug)]
pub struct ItemRequest<'a> {
    /// The device that is about to speak.
    pub device: DeviceIndex,
    /// Its permanent device ID.
    pub device_id: &'a [u8],
    /// The item's number: the device's items from 0 over all power cycles, registrations included.
    pub number: u32,
    /// Whether this is a registration. Its cause is power-on, whatever the source returns.
    pub registration: bool,
    /// Now, in milliseconds.
    pub now_ms: u64,
}

/// Gives each item its application data (0 to 90 octets, appended to the vector) and its cause.
pub type PayloadSource = Box<dyn FnMut(&ItemRequest<'_>, &mut Vec<u8>) -> Cause + Send>;

/// How a fleet behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetConfig {
    /// Seed of every draw, the devices' included.
    pub seed: u64,
    /// How much later than a beacon's change a device that waits for one hears it at most, in milliseconds, drawn evenly:
    /// the interval at which readers repeat their broadcast.
    pub beacon_interval_ms: u64,
    /// Finished items that the ledger keeps of each device; older ones are forgotten and counted.
    pub ledger_items_max: usize,
}

impl FleetConfig {
    /// Beacons repeated each second, 64 items of each device in the ledger.
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            beacon_interval_ms: 1_000,
            ledger_items_max: 64,
        }
    }
}

/// Counts over all devices since the start, and what is the case now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FleetStats {
    /// Devices in the fleet.
    pub devices: u64,
    /// Of these, powered now.
    pub powered: u64,
    /// Of these, with an accepted registration in their present power cycle.
    pub registered: u64,
    /// Devices that could not start (their memory, their profile).
    pub failed: u64,
    /// Power-ons so far.
    pub power_ons: u64,
    /// Items that devices took, registrations included.
    pub items: u64,
    /// Items that a device refused: its queue was full, or it is silent for ever.
    pub items_refused: u64,
    /// REGISTRATION REQUESTs transmitted, repeats included.
    pub registrations_transmitted: u64,
    /// Items that a device saw accepted.
    pub accepted: u64,
    /// Items that a device gave up after their lifetime.
    pub expired: u64,
    /// Items lost with the power, or with the device's life.
    pub lost: u64,
    /// Reports built.
    pub reports_built: u64,
    /// Reports transmitted, repeats included.
    pub reports_transmitted: u64,
    /// Random IDs transmitted in access occasions.
    pub random_ids_transmitted: u64,
    /// Answers to pages and commands transmitted.
    pub answers_transmitted: u64,
    /// Downlink PDUs that reached a powered device.
    pub downlinks: u64,
    /// Of these, ignored by the device.
    pub downlinks_ignored: u64,
    /// Downlink frames for a contact that no device holds (any more).
    pub downlinks_missed: u64,
    /// Items that the ledger has forgotten.
    pub ledger_forgotten: u64,
}

impl FleetStats {
    /// Items that are neither accepted nor given up nor lost.
    pub const fn pending(&self) -> u64 {
        self.items
            .saturating_sub(self.accepted)
            .saturating_sub(self.expired)
            .saturating_sub(self.lost)
    }
}

/// A device's random source in the emulation: seeded, repeatable, and for that reason not fit for a real device.
#[derive(Clone, Debug)]
pub struct SeededRandom(fastrand::Rng);

impl SeededRandom {
    /// A source that always gives the same octets for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }
}

impl Random for SeededRandom {
    fn fill(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }
}

/// The payload unless the caller gives another: the item's number as u32, cause periodic.
pub fn numbered_payload() -> PayloadSource {
    Box::new(|request, data| {
        data.extend_from_slice(&request.number.to_be_bytes());
        Cause::Periodic
    })
}
