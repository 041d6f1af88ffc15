//! Fleets of 1 to 10^5 devices: power, schedules, what they hear and say, and a ledger of what came of it.
//!
//! A device costs nothing while it has nothing to do. Its timers stand in one heap, and it is handed the beacon of its reader
//! when it is about to speak, not when the beacon changes; only devices that wait for a beacon are woken by one.

mod access;
mod credential;
mod ledger;
mod memory;
mod paging;
mod serve;
mod slot;
mod spec;
mod timers;
mod view;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;

use ambit_device::{Credential, LocalKey, SubmitError};
use ambit_protocol::{AreaId, Cause, RandN, RootKey};

pub use self::credential::{CardSlot, CredentialFailed, FleetCredential};
pub use self::ledger::{BuiltReport, Fate, LedgerItem};
pub use self::memory::{FleetMemory, MemoryFailed, MemoryFaults};
use self::slot::{Power, Slot};
pub use self::spec::{
    DeviceIndex, DeviceSpec, FleetCard, FleetConfig, FleetDevice, FleetStats, ItemRequest,
    PayloadSource, PowerCycles, PowerCyclesId, Remembered, Schedule, ScheduleId, SeededRandom,
    USER_MEMORY_OCTETS, numbered_payload,
};
use self::timers::Timers;
pub use self::view::DeviceView;
use crate::air::Receiver;
use crate::frame::{Access, AccessRound, AirFrame, RadioId, SiteReader};

/// What devices hear of beacons at a reader now.
pub type Hearing<'a> = &'a dyn Fn(SiteReader) -> Option<(AreaId, RandN)>;

/// Devices and what they do.
pub struct Fleet {
    config: FleetConfig,
    random: fastrand::Rng,
    slots: Vec<Slot>,
    schedules: Vec<Schedule>,
    power_cycles: Vec<PowerCycles>,
    payload: PayloadSource,
    timers: Timers,
    contacts: HashMap<RadioId, u32>,
    waiting_for_beacon: BTreeMap<SiteReader, Vec<u32>>,
    out: VecDeque<AirFrame>,
    /// The access occasions of the page that is being answered, while one is.
    paged: Option<AccessRound>,
    stats: FleetStats,
    scratch: Vec<u8>,
}

impl Fleet {
    /// An empty fleet whose items carry `payload` (see [`numbered_payload`]).
    pub fn new(config: FleetConfig, payload: PayloadSource) -> Self {
        Self {
            random: fastrand::Rng::with_seed(config.seed),
            config,
            slots: Vec::new(),
            schedules: Vec::new(),
            power_cycles: Vec::new(),
            payload,
            timers: Timers::default(),
            contacts: HashMap::new(),
            waiting_for_beacon: BTreeMap::new(),
            out: VecDeque::new(),
            paged: None,
            stats: FleetStats::default(),
            scratch: Vec::new(),
        }
    }

    /// Adds a schedule that devices may share; `None` when there are 65 536.
    pub fn add_schedule(&mut self, schedule: Schedule) -> Option<ScheduleId> {
        let id = u16::try_from(self.schedules.len()).ok()?;
        self.schedules.push(schedule);
        Some(ScheduleId(id))
    }

    /// Adds power cycles that devices may share; `None` when there are 65 536.
    pub fn add_power_cycles(&mut self, cycles: PowerCycles) -> Option<PowerCyclesId> {
        let id = u16::try_from(self.power_cycles.len()).ok()?;
        self.power_cycles.push(cycles);
        Some(PowerCyclesId(id))
    }

    /// Adds a device; `None` when there are 2^32.
    pub fn add(&mut self, spec: DeviceSpec) -> Option<DeviceIndex> {
        let key = RootKey::new(*spec.key.expose());
        let credential = FleetCredential::Local(LocalKey::new(key, spec.suite));
        self.add_with(spec, credential)
    }

    /// Adds a device with a card in it, with which it registers at each power-on (section 7). The key of `spec` is not used;
    /// `None` when there are 2^32 devices.
    pub fn add_uicc(&mut self, spec: DeviceSpec, card: FleetCard) -> Option<DeviceIndex> {
        let credential = FleetCredential::uicc(card, spec.suite);
        self.add_with(spec, credential)
    }

    /// Adds a device that stands on a credential of the caller's: a card that keeps K, or one under observation. The key of
    /// `spec` is not used; `None` when there are 2^32 devices.
    pub fn add_with_credential(
        &mut self,
        spec: DeviceSpec,
        credential: impl Credential + Send + 'static,
    ) -> Option<DeviceIndex> {
        self.add_with(spec, FleetCredential::other(credential))
    }

    /// Takes the card out of a device without power and puts another in.
    ///
    /// # Errors
    /// The new card again, when the device has power or takes no card.
    pub fn swap_card(
        &mut self,
        device: DeviceIndex,
        card: FleetCard,
    ) -> Result<FleetCard, FleetCard> {
        match self.slots.get_mut(device.0 as usize) {
            Some(slot) => slot.swap_card(card),
            None => Err(card),
        }
    }

    fn add_with(&mut self, spec: DeviceSpec, credential: FleetCredential) -> Option<DeviceIndex> {
        let index = u32::try_from(self.slots.len()).ok()?;
        let slot = Slot::new(spec, credential, SeededRandom::new(self.random.u64(..)));
        self.timers.grow();
        self.timers.set(index, slot.next_switch_ms());
        self.slots.push(slot);
        self.stats.devices += 1;
        Some(DeviceIndex(index))
    }

    /// Switches a device's power at a time, in milliseconds. Random power cycles, if it has any, go on from there.
    pub fn schedule_power(&mut self, device: DeviceIndex, at_ms: u64, on: bool) {
        if let Some(slot) = self.slots.get_mut(device.0 as usize) {
            slot.add_switch(at_ms, on);
            self.timers.set_earlier(device.0, at_ms);
        }
    }

    /// Puts a device's memory back as it was in an earlier run. False when there is no such device, it has power, or its memory
    /// has no room for it.
    pub fn restore(&mut self, device: DeviceIndex, was: &Remembered) -> bool {
        let slot = self.slots.get_mut(device.0 as usize);
        slot.is_some_and(|slot| slot.restore(was))
    }

    /// Lets the memory of a device fail from now on, or no longer. False when there is no such device or it has power.
    pub fn set_memory_faults(&mut self, device: DeviceIndex, faults: Option<MemoryFaults>) -> bool {
        let slot = self.slots.get_mut(device.0 as usize);
        slot.is_some_and(|slot| slot.set_memory_faults(faults))
    }

    /// Moves a device to another reader. Its contact is gone.
    pub fn move_to(&mut self, now_ms: u64, device: DeviceIndex, reader: SiteReader) {
        self.drop_contact(device.0);
        if let Some(slot) = self.slots.get_mut(device.0 as usize) {
            slot.reader = reader;
            slot.waits_for_beacon = false;
            self.timers.set_earlier(device.0, now_ms);
        }
    }

    /// Submits an item outside any schedule. `None` without power.
    ///
    /// # Errors
    /// [`SubmitError`], which is counted.
    pub fn submit(
        &mut self,
        now_ms: u64,
        device: DeviceIndex,
        cause: Cause,
        data: &[u8],
    ) -> Option<Result<u8, SubmitError>> {
        let slot = self.slots.get_mut(device.0 as usize)?;
        let taken = slot.device_mut()?.submit(now_ms, cause, data);
        match taken {
            Ok(seq) => {
                let cycle = slot.cycles.saturating_sub(1);
                slot.ledger.submit(cycle, cause, seq, now_ms);
                self.stats.items += 1;
                self.timers.set_earlier(device.0, now_ms);
            }
            Err(_) => self.stats.items_refused += 1,
        }
        Some(taken)
    }

    /// Does what is due by `now_ms`.
    pub fn handle_timeout(&mut self, now_ms: u64, hearing: Hearing<'_>) {
        while let Some(device) = self.timers.pop_due(now_ms) {
            self.switch_power(device, now_ms);
            self.follow_schedule(device, now_ms);
            self.serve(device, now_ms, Some(hearing), Access::DeviceOriginated);
        }
    }

    /// Takes a frame that has arrived.
    pub fn handle_delivery(
        &mut self,
        now_ms: u64,
        to: Receiver,
        frame: &AirFrame,
        hearing: Hearing<'_>,
    ) {
        match to {
            Receiver::Reader => {}
            Receiver::Contact => {
                let holder = frame
                    .radio_id
                    .and_then(|id| self.contacts.get(&id).copied());
                match holder {
                    Some(device) => self.receive(device, now_ms, frame, hearing),
                    None => self.stats.downlinks_missed += 1,
                }
            }
            Receiver::Device(device) => self.receive(device.0, now_ms, frame, hearing),
            Receiver::AllAtReader => {
                for at in 0..self.slots.len() {
                    let here = self
                        .slots
                        .get(at)
                        .is_some_and(|slot| slot.reader == frame.reader);
                    if let (true, Ok(device)) = (here, u32::try_from(at)) {
                        self.receive(device, now_ms, frame, hearing);
                    }
                }
            }
        }
    }

    /// What is heard at a reader has changed: wakes the devices there that wait for a beacon, each within
    /// `beacon_interval_ms`.
    pub fn beacon_changed(&mut self, now_ms: u64, reader: SiteReader) {
        for device in self.waiting_for_beacon.remove(&reader).unwrap_or_default() {
            let Some(slot) = self.slots.get_mut(device as usize) else {
                continue;
            };
            // It may have moved or lost its power since.
            if slot.waits_for_beacon && slot.reader == reader {
                slot.waits_for_beacon = false;
                let later_ms = self.random.u64(0..=self.config.beacon_interval_ms);
                self.timers.set_earlier(device, now_ms + later_ms);
            }
        }
    }

    /// The next frame that a device sends.
    pub fn poll_frame(&mut self) -> Option<AirFrame> {
        self.out.pop_front()
    }

    /// When [`Fleet::handle_timeout`] has something to do, in milliseconds.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.timers.next_ms()
    }

    /// Counts over all devices.
    pub const fn stats(&self) -> &FleetStats {
        &self.stats
    }

    /// A device.
    pub fn device(&self, device: DeviceIndex) -> Option<DeviceView<'_>> {
        self.slots.get(device.0 as usize).map(DeviceView)
    }

    /// Every device, in the order of their positions.
    pub fn devices(&self) -> impl Iterator<Item = DeviceView<'_>> {
        self.slots.iter().map(DeviceView)
    }

    fn switch_power(&mut self, device: u32, now_ms: u64) {
        while let Some(slot) = self.slots.get_mut(device as usize) {
            let Some(on) = slot.pop_switch(now_ms) else {
                return;
            };
            let cycles = slot.power_cycles;
            if on {
                self.power_on(device, now_ms);
            } else {
                self.power_off(device);
            }
            let cycles = cycles.and_then(|id| self.power_cycles.get(usize::from(id.0)));
            if let (Some(cycles), Some(slot)) = (cycles, self.slots.get_mut(device as usize))
                && slot.switches.is_empty()
            {
                let (shortest, longest) = if on {
                    (cycles.on_ms_min, cycles.on_ms_max)
                } else {
                    (cycles.off_ms_min, cycles.off_ms_max)
                };
                let wait_ms = self.random.u64(shortest..=longest.max(shortest)).max(1);
                slot.add_switch(now_ms + wait_ms, !on);
            }
        }
    }

    fn power_on(&mut self, device: u32, now_ms: u64) {
        let Some(slot) = self.slots.get_mut(device as usize) else {
            return;
        };
        if !matches!(slot.power, Power::Off(_)) {
            return;
        }
        self.scratch.clear();
        let request = ItemRequest {
            device: DeviceIndex(device),
            device_id: &slot.device_id,
            number: slot.ledger.next_number(),
            registration: true,
            now_ms,
        };
        (self.payload)(&request, &mut self.scratch);
        if !slot.power_on(now_ms, &self.scratch) {
            self.stats.failed += 1;
            return;
        }
        self.stats.powered += 1;
        self.stats.power_ons += 1;
        if slot.device().is_some_and(|d| d.items_waiting() > 0) {
            let cycle = slot.cycles.saturating_sub(1);
            slot.ledger.submit(cycle, Cause::PowerOn, 0, now_ms);
            self.stats.items += 1;
        }
        if let Some(agenda) = &mut slot.schedule
            && let Some(schedule) = self.schedules.get(usize::from(agenda.schedule.0))
            && schedule.items_max.is_none_or(|max| agenda.items < max)
        {
            let jitter_ms = self.random.u64(0..=schedule.jitter_ms);
            agenda.next_ms = Some(now_ms + schedule.first_ms + jitter_ms);
        }
    }

    fn power_off(&mut self, device: u32) {
        self.drop_contact(device);
        let Some(slot) = self.slots.get_mut(device as usize) else {
            return;
        };
        let registered = slot.registered;
        if slot.power_off() {
            self.stats.powered -= 1;
            self.stats.registered -= u64::from(registered);
            self.stats.lost += slot.ledger.lose_waiting();
        }
    }

    /// Submits the item of the schedule that is due, if one is.
    fn follow_schedule(&mut self, device: u32, now_ms: u64) {
        let Some(slot) = self.slots.get_mut(device as usize) else {
            return;
        };
        let Some(agenda) = slot.schedule.as_mut() else {
            return;
        };
        if agenda.next_ms.is_none_or(|next_ms| next_ms > now_ms) {
            return;
        }
        let Some(schedule) = self.schedules.get(usize::from(agenda.schedule.0)) else {
            return;
        };
        agenda.items = agenda.items.saturating_add(1);
        let wait_ms = schedule.interval_ms.max(1) + self.random.u64(0..=schedule.jitter_ms);
        let goes_on = schedule.items_max.is_none_or(|max| agenda.items < max);
        agenda.next_ms = goes_on.then_some(now_ms + wait_ms);

        let mut data = std::mem::take(&mut self.scratch);
        data.clear();
        let request = ItemRequest {
            device: DeviceIndex(device),
            device_id: &slot.device_id,
            number: slot.ledger.next_number(),
            registration: false,
            now_ms,
        };
        let cause = (self.payload)(&request, &mut data);
        self.submit(now_ms, DeviceIndex(device), cause, &data);
        self.scratch = data;
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("config", &self.config)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}
