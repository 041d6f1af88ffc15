//! The state machine: what was heard and submitted goes in, PDUs and events come out.

mod downlink;
mod error;
mod registration;
mod uplink;

use ambit_protocol::session::Session;
use ambit_protocol::{AreaId, Cause, RandN, schedule};
use zeroize::Zeroizing;

use crate::anchors::{Anchors, Judgement};
use crate::event::{Event, Events, Stats, bump};
use crate::items::Items;
use crate::outbox::Outbox;
use crate::platform::{Credential, Memory, Random};
use crate::profile::{DeviceForm, Profile};
use crate::record::{LoadError, Record, SLOTS_OCTETS, Slots, StoreFailed};

use downlink::Link;
pub use downlink::PagingTarget;
pub use error::{Ignored, PowerOnError, SubmitError};
use registration::Registering;
use uplink::{Backoff, Head};

/// The longest PDU a device sends, in octets: the D2R block that report and session sizes are cut to.
pub const PDU_OCTETS_MAX: usize = 125;

/// A device in one power cycle.
///
/// One thing is sent at a time: first an answer that waits, then the item at the head of the queue, which starts with the
/// registration (cause power-on, seq 0) and goes on in the order of submission.
pub struct Device<C, M, R> {
    profile: Profile,
    credential: C,
    memory: M,
    random: R,
    slots: Slots,
    life: Life,
    /// The beacon of the reader heard last.
    heard: Option<Heard>,
    anchors: Anchors,
    items: Items,
    head: Option<Head>,
    /// A UICC registration in progress.
    registering: Option<Registering>,
    backoff: Backoff,
    /// The command session in progress. No report is sent meanwhile.
    link: Option<Link>,
    /// The session that the last answered paging could become. It stands beside the open one: a paging is not
    /// authenticated, so it may not end what is.
    candidate: Option<Session>,
    outbox: Outbox,
    events: Events,
    stats: Stats,
}

/// Whether the device may speak at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Speaking,
    /// Asked by the network (ACCEPT, status 02).
    SilentUntil {
        ms: u64,
    },
    /// The counter is at its end (section 6).
    CounterExhausted,
    /// PERMANENT DISABLE (section 8).
    Disabled,
}

/// A reader's broadcast.
#[derive(Clone, Copy, Debug)]
struct Heard {
    area_id: AreaId,
    rand_n: RandN,
    last_ms: u64,
}

/// Why nothing could be sent this time. It has been noted, and the back-off runs.
struct NotNow;

impl<C: Credential, M: Memory, R: Random> Device<C, M, R> {
    /// Starts a power cycle: reads the memory and queues the registration, with `registration_data` (0 to 90 octets) as its
    /// application data. A [`DeviceForm::Dt`] device queues none. With a UICC the registration goes by section 7.
    ///
    /// # Errors
    /// [`PowerOnError`]. To keep credential, memory and random source over an error, lend them (`&mut`).
    pub fn power_on(
        profile: Profile,
        mut credential: C,
        mut memory: M,
        random: R,
        now_ms: u64,
        registration_data: &[u8],
    ) -> Result<Self, PowerOnError> {
        let speaks_first = profile.form != DeviceForm::Dt;
        if speaks_first && !profile.device_type.is_do_a_capable() {
            return Err(PowerOnError::TypeAnswersOnly);
        }
        if !speaks_first && credential.card().is_some() {
            return Err(PowerOnError::UiccAnswersOnly);
        }
        // Agreed in an earlier power cycle: K_AIOT does not outlive one.
        credential.adopt(None);
        let found = memory.capacity();
        if found < SLOTS_OCTETS {
            return Err(PowerOnError::MemoryTooSmall { found });
        }
        let slots = match Slots::load(&mut memory) {
            Ok(slots) => slots,
            // Without an anchor the device is concealed until the next ACCEPT; without a counter it would repeat itself.
            Err(LoadError::Lost) if !profile.form.has_counter() => Slots::blank(),
            Err(LoadError::Lost) => return Err(PowerOnError::CounterLost),
            Err(LoadError::Unreadable) => return Err(PowerOnError::MemoryUnreadable),
        };
        let mut items = Items::default();
        if speaks_first {
            items
                .push(Cause::PowerOn, registration_data)
                .map_err(|_| PowerOnError::RegistrationTooLong)?;
        }
        let head = items.pop().map(Head::new);
        let anchors = Anchors::new(slots.record().anchor);
        let disabled = slots.record().disabled;
        let mut device = Self {
            profile,
            credential,
            memory,
            random,
            slots,
            life: Life::Speaking,
            heard: None,
            anchors,
            items,
            head,
            registering: None,
            backoff: Backoff::new(now_ms),
            link: None,
            candidate: None,
            outbox: Outbox::Empty,
            events: Events::default(),
            stats: Stats::default(),
        };
        if disabled {
            device.fall_silent(Life::Disabled, Event::Disabled);
        }
        Ok(device)
    }

    /// Ends the power cycle. What is not in memory is gone: queue, clock, sessions.
    pub fn power_off(self) -> (C, M, R) {
        (self.credential, self.memory, self.random)
    }

    /// Queues an item: why the device speaks, and 0 to 90 octets of application data. Returns its seq, the number of items
    /// in this power cycle modulo 16. While the network has asked for silence, items wait.
    ///
    /// # Errors
    /// [`SubmitError`]; nothing is queued then.
    pub fn submit(&mut self, now_ms: u64, cause: Cause, data: &[u8]) -> Result<u8, SubmitError> {
        let silent = matches!(self.life, Life::CounterExhausted | Life::Disabled);
        if silent || self.profile.form == DeviceForm::Dt {
            return Err(SubmitError::Silent);
        }
        if cause.number() == Cause::PowerOn.number() {
            return Err(SubmitError::CauseReserved);
        }
        let seq = self.items.push(cause, data)?;
        self.backoff.not_before(now_ms);
        Ok(seq)
    }

    /// A reader's broadcast was heard: AreaID and RAND_n (section 4). Call it for each one; a repetition costs nothing.
    /// Broadcasts of another network than the profile's are not used.
    pub fn handle_beacon(&mut self, now_ms: u64, area_id: &AreaId, rand_n: &RandN) {
        if area_id.snid() != self.profile.snid {
            bump(&mut self.stats.foreign_beacons);
            return;
        }
        bump(&mut self.stats.beacons);
        self.heard = Some(Heard {
            area_id: *area_id,
            rand_n: *rand_n,
            last_ms: now_ms,
        });
        if self.profile.form != DeviceForm::Beacon || self.life == Life::Disabled {
            return;
        }
        let (snid, max_steps) = (self.profile.snid, self.profile.max_steps);
        if self.anchors.judge(rand_n, &snid, max_steps) == Judgement::Sighting {
            bump(&mut self.stats.sightings);
            self.tell(Event::FalseNetworkSighting);
        }
    }

    /// The next PDU to put on the air now: written into the front of `out`, which must hold [`PDU_OCTETS_MAX`] octets
    /// (with less, nothing is sent and nothing changes). Returns its length. Call it until it gives `None`.
    pub fn poll_transmit(&mut self, now_ms: u64, out: &mut [u8]) -> Option<usize> {
        if out.len() < PDU_OCTETS_MAX {
            return None;
        }
        let len = match self.outbox.take_into(out) {
            Some(len) => len,
            None => self.transmit_report(now_ms, out)?,
        };
        bump(&mut self.stats.transmissions);
        Some(len)
    }

    /// When [`Device::poll_transmit`] may next have something, in the milliseconds of `now_ms`; it may lie in the past.
    /// `None`: not before something is heard or submitted.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.outbox.since_ms().or_else(|| self.report_due_ms())
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// Counters of this power cycle.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The profile.
    pub const fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Whether a UICC registration has yet to be done. Never with a provisioned key.
    pub fn needs_registration(&self) -> bool {
        self.credential.needs_registration()
    }

    /// The credential, for an emulator that looks at its card.
    pub const fn credential_mut(&mut self) -> &mut C {
        &mut self.credential
    }

    /// The memory, for an emulator that looks into it.
    pub const fn memory(&self) -> &M {
        &self.memory
    }

    /// The durable anchor (section 4).
    pub fn anchor(&self) -> Option<RandN> {
        self.anchors.anchor()
    }

    /// The last counter value taken (section 6).
    pub const fn counter(&self) -> u32 {
        self.slots.record().counter
    }

    /// Items that are not accepted yet, the one being sent included.
    pub fn items_waiting(&self) -> usize {
        self.items.len() + usize::from(self.head.is_some())
    }

    /// Whether the device was permanently disabled (section 8).
    pub fn is_disabled(&self) -> bool {
        self.life == Life::Disabled
    }

    fn fall_silent(&mut self, life: Life, event: Event) {
        self.life = life;
        self.head = None;
        self.registering = None;
        self.items = Items::default();
        self.link = None;
        self.candidate = None;
        self.tell(event);
    }

    const fn is_silent(&self, now_ms: u64) -> bool {
        match self.life {
            Life::Speaking => false,
            Life::SilentUntil { ms } => now_ms < ms,
            Life::CounterExhausted | Life::Disabled => true,
        }
    }

    fn evaluate(&mut self, input: &schedule::Input) -> Result<Zeroizing<[u8; 16]>, NotNow> {
        match self.credential.evaluate(input) {
            Ok(octets) => Ok(Zeroizing::new(octets)),
            Err(_) => {
                self.tell(Event::CredentialFailed);
                Err(NotNow)
            }
        }
    }

    fn store(&mut self, record: Record) -> Result<(), StoreFailed> {
        bump(&mut self.stats.memory_writes);
        self.slots
            .store(&mut self.memory, record)
            .inspect_err(|StoreFailed| {
                bump(&mut self.stats.memory_failures);
                if !self.events.push(Event::MemoryFailed) {
                    bump(&mut self.stats.events_lost);
                }
            })
    }

    /// Makes this RAND_n the anchor, durably or not at all.
    fn persist_anchor(&mut self, rand_n: &RandN, now_ms: u64) -> Result<(), StoreFailed> {
        let anchor = Some(*rand_n);
        self.store(Record {
            anchor,
            ..*self.slots.record()
        })?;
        self.anchors.persisted(rand_n, now_ms);
        let epoch = rand_n.epoch();
        self.tell(Event::AnchorMoved { epoch });
        Ok(())
    }

    fn tell(&mut self, event: Event) {
        if !self.events.push(event) {
            bump(&mut self.stats.events_lost);
        }
    }
}
