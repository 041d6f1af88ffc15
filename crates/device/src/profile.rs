//! What kind of device it is, and its times.

use ambit_protocol::chain::MAX_STEPS_DEFAULT;
use ambit_protocol::{Snid, TagLen};

pub use ambit_protocol::{DeviceForm, DeviceType};

/// A device's profile: fixed at provisioning, equal on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// What the hardware is.
    pub device_type: DeviceType,
    /// How it names itself.
    pub form: DeviceForm,
    /// Tag length t of reports, accepts and sessions.
    pub tag_len: TagLen,
    /// The network it belongs to. Beacons of any other are not used.
    pub snid: Snid,
    /// The network's epoch, in seconds (section 4). Also for how long a beacon that is not heard again counts as current.
    pub period_s: u32,
    /// How many chain steps the device walks at most to check one beacon (section 4).
    pub max_steps: u32,
    /// Its times.
    pub timing: Timing,
}

impl Profile {
    /// A profile with the defaults of the protocol: tags of 8 octets, epochs of 600 s, 1024 steps.
    pub fn new(device_type: DeviceType, form: DeviceForm, snid: Snid) -> Self {
        Self {
            device_type,
            form,
            tag_len: TagLen::T8,
            snid,
            period_s: 600,
            max_steps: MAX_STEPS_DEFAULT,
            timing: Timing::default(),
        }
    }
}

/// Times and limits of a device's reports (section 5, device rules).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long an answer is waited for before anything else is sent, in milliseconds.
    ///
    /// It must cover the slowest way of a report to the network and of the ACCEPT back. If it is shorter, a late copy of one
    /// item can arrive after the next item's report: the network compares an item with the device's *previous* record only,
    /// so it would book that copy as a new event.
    pub answer_timeout_ms: u32,
    /// How often an unanswered report is sent again octet for octet, at most, before one is built anew.
    pub repeats_max: u8,
    /// Back-off after the first unanswered transmission, in milliseconds. It doubles with each further one; the actual wait
    /// is drawn evenly from its upper half, and comes after `answer_timeout_ms`.
    pub backoff_first_ms: u32,
    /// Where the doubling stops, in milliseconds.
    pub backoff_max_ms: u32,
    /// How long an item is sent again, in seconds, counted from its first transmission. Registration has no such limit.
    ///
    /// The network knows an item sent again by cause and seq for one hour (section 5, network rule 3). The lifetime must
    /// stay below that hour, or the item would count and be charged twice.
    pub item_lifetime_s: u32,
    /// How long a command session stays open without a verified message, in milliseconds. No report is sent meanwhile.
    pub session_idle_ms: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            answer_timeout_ms: 2_000,
            repeats_max: 3,
            backoff_first_ms: 1_000,
            backoff_max_ms: 120_000,
            item_lifetime_s: 3_000,
            session_idle_ms: 10_000,
        }
    }
}
