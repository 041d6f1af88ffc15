//! What a device says to its own application: events, and counters that only rise.

use ambit_protocol::wire::AcceptStatus;
use ambit_protocol::{Cause, Form};

/// Something the application may want to know. Nothing of it goes on the air.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The network accepted an item.
    Accepted {
        /// The item's seq, as [`crate::Device::submit`] returned it (0 for the registration).
        seq: u8,
        /// The item's cause.
        cause: Cause,
        /// The form of the report that was answered; [`Form::Aka`] for a UICC registration.
        form: Form,
        /// Transmissions of the item before the last one, over all reports built for it.
        repeats: u32,
        /// What the network said with it.
        status: AcceptStatus,
    },
    /// An item was given up after its lifetime. The network may or may not have it.
    ItemExpired {
        /// The item's seq.
        seq: u8,
        /// The item's cause.
        cause: Cause,
    },
    /// A beacon of this network was checked and failed. Several in a row are told once; [`Stats::sightings`] counts them.
    FalseNetworkSighting,
    /// The anchor was persisted at a new epoch.
    AnchorMoved {
        /// The epoch.
        epoch: u32,
    },
    /// The counter's life has ended: the device is silent for ever (section 6).
    CounterExhausted,
    /// A write to memory failed. The device goes on as the protocol allows and tries again later.
    MemoryFailed,
    /// The credential gave no answer. The device tries again after its back-off.
    CredentialFailed,
    /// A command session was opened or authenticated.
    SessionOpened,
    /// PERMANENT DISABLE was obeyed, now or in an earlier power cycle: the device is silent for ever (section 8).
    Disabled,
}

/// Counters of one power cycle. They saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Reports built (each with its own RAND_d or counter).
    pub reports_built: u32,
    /// Of these, by form: the index is the form's number.
    pub reports_built_by_form: [u32; 5],
    /// UICC registrations built, each with its own RAND_d.
    pub registrations_built: u32,
    /// Of these, accepted.
    pub registrations: u32,
    /// PDUs given out by `poll_transmit`, repeats and answers included.
    pub transmissions: u32,
    /// ACCEPTs that verified.
    pub accepts: u32,
    /// Downlink PDUs that were ignored, for whatever reason.
    pub ignored_downlinks: u32,
    /// Beacons of this network heard.
    pub beacons: u32,
    /// Beacons of other networks, not used.
    pub foreign_beacons: u32,
    /// Beacons checked and failed; a repeated broadcast counts once.
    pub sightings: u32,
    /// Writes to memory, successful or not.
    pub memory_writes: u32,
    /// Of these, failed.
    pub memory_failures: u32,
    /// Pagings answered.
    pub pagings_answered: u32,
    /// Commands that verified and were answered.
    pub commands: u32,
    /// Items given up after their lifetime.
    pub items_expired: u32,
    /// Events that found the queue full.
    pub events_lost: u32,
}

/// Events waiting for the application, at most.
pub(crate) const EVENTS_MAX: usize = 16;

/// The events waiting, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Events {
    queue: [Option<Event>; EVENTS_MAX],
    len: usize,
}

impl Events {
    /// Adds an event; false when the queue is full. What anybody can provoke at will is told once, not queued up.
    pub(crate) fn push(&mut self, event: Event) -> bool {
        let repeatable = matches!(
            event,
            Event::FalseNetworkSighting | Event::MemoryFailed | Event::CredentialFailed
        );
        if repeatable && self.queue.contains(&Some(event)) {
            return true;
        }
        let Some(free) = self.queue.get_mut(self.len) else {
            return false;
        };
        *free = Some(event);
        self.len += 1;
        true
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        let [first, ..] = &mut self.queue;
        let event = first.take()?;
        self.queue.rotate_left(1);
        self.len = self.len.saturating_sub(1);
        Some(event)
    }
}

/// Adds one to a counter, up to its end.
pub(crate) fn bump(counter: &mut u32) {
    *counter = counter.saturating_add(1);
}
