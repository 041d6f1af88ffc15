//! Inventories and commands as they are asked for and reported: the values of Naiotf_AIoT (TS 29.569), without HTTP.
//!
//! A [`ServiceRequest`] is an InventoryReq or a CommandReq, a [`Notification`] an AIoTNotif. [`crate::Aiotf::request`] takes the
//! one, [`crate::Aiotf::poll_notification`] gives the other.

pub use ambit_adm_api::DeviceFailure;
use ambit_protocol::AreaId;

/// Devices named one by one in a request, at most.
pub const DEVICES_MAX: usize = 1024;

/// Octets that one READ or WRITE may move, at most. It is done in pieces that fit a D2R block.
pub const COMMAND_OCTETS_MAX: usize = 4096;

/// Names a request that was taken: transId.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionId(pub u64);

/// What is asked of an AIOTF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRequest {
    /// Where; everywhere if there is none. At most 256.
    pub areas: Vec<AreaId>,
    /// Of whom.
    pub devices: Devices,
    /// Whether devices asked for by name are paged by a concealed T-ID, so that nobody on the air learns the name.
    pub is_concealed: bool,
    /// About how many devices will answer, from 1. Helps the reader to share its air.
    pub expected: Option<u16>,
    /// Results are gathered for so many seconds, 1 to 256, before they are reported; as they come if there is none.
    pub interval_s: Option<u16>,
    /// When it ends at the latest, 1 to 3600 seconds after it was asked for.
    pub timeout_s: u32,
    /// What is to be done.
    pub operation: Operation,
}

/// The devices asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Devices {
    /// Whoever is there.
    All,
    /// These, one after the other; 1 to [`DEVICES_MAX`] permanent IDs.
    Named(Vec<Vec<u8>>),
    /// Those whose permanent ID begins with these 1 to 128 octets.
    Filter(Vec<u8>),
}

/// What is to be done with each device that proves itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Nothing: it is there.
    Inventory,
    /// READ from its memory.
    Read {
        /// First octet.
        offset: u16,
        /// Octets, 1 to [`COMMAND_OCTETS_MAX`].
        length: u16,
    },
    /// WRITE to its memory. More than 96 octets are written in pieces, each of them whole or not at all.
    Write {
        /// First octet.
        offset: u16,
        /// What to write, 1 to [`COMMAND_OCTETS_MAX`] octets.
        data: Vec<u8>,
    },
    /// PERMANENT DISABLE: it is silent for ever.
    PermanentDisable,
}

/// Why a request was not taken. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A field breaks a rule.
    #[error("{field}: {rule}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// The rule.
        rule: &'static str,
    },
    /// No device has the permanent ID at this place of the list.
    #[error("device: no device has the permanent ID at place {at} of the list")]
    UnknownDevice {
        /// The place, from 0.
        at: usize,
    },
    /// No gNB that is connected serves any of the areas.
    #[error("area: no connected gNB serves it")]
    AreaNotServed,
    /// Too many requests wait already.
    #[error("too many requests wait already")]
    TooMany,
    /// The ADM could not be asked.
    #[error("ADM: {0}")]
    Adm(String),
}

impl RequestError {
    /// The stable name of the error.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "request_invalid",
            Self::UnknownDevice { .. } => "device_unknown",
            Self::AreaNotServed => "area_not_served",
            Self::TooMany => "requests_too_many",
            Self::Adm(_) => "adm_failed",
        }
    }
}

/// What has come of a request so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The request.
    pub transaction: TransactionId,
    /// Devices that are new since the last notification.
    pub devices: Vec<DeviceResult>,
    /// Whether this is the last one.
    pub is_last: bool,
    /// With the last one, if no device was found: why.
    pub failure: Option<FailureCause>,
    /// Counts since the request.
    pub progress: Progress,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Different answers heard.
    pub answers: u64,
    /// Of these, still waiting for the search.
    pub waiting: u64,
    /// Of these, given by no device in question: another device's, a replay, an invention.
    pub unverified: u64,
    /// Of these, dropped: malformed, too many, or too late to be searched for.
    pub dropped: u64,
    /// Devices found.
    pub devices: u64,
    /// gNBs that refused, gave up, or went away.
    pub gnbs_lost: u64,
}

/// What has come of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceResult {
    /// Permanent ID.
    pub device_id: Box<[u8]>,
    /// Where it was heard, if it was.
    pub place: Option<DevicePlace>,
    /// What was read, after a READ.
    pub data: Option<Vec<u8>>,
    /// Why the command failed, if it did.
    pub failure: Option<DeviceFailure>,
}

/// The reader that heard a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevicePlace {
    /// The area it serves.
    pub area_id: AreaId,
    /// The gNB.
    pub gnb_id: u32,
    /// The reader within that gNB.
    pub reader_index: u16,
}

/// Why a whole request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureCause {
    /// Nobody answered.
    NoSuccessfulInventoryResponse,
    /// Somebody answered, and no answer was that of a device asked for.
    AuthenticationFailure,
}

impl FailureCause {
    /// The value of FailureCause in TS 29.569.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoSuccessfulInventoryResponse => "NO_SUCC_INV_RESP",
            Self::AuthenticationFailure => "AUTH_FAILURE",
        }
    }
}

impl ServiceRequest {
    /// An inventory of everybody everywhere, for a minute.
    pub const fn inventory() -> Self {
        Self {
            areas: Vec::new(),
            devices: Devices::All,
            is_concealed: false,
            expected: None,
            interval_s: None,
            timeout_s: 60,
            operation: Operation::Inventory,
        }
    }

    /// Checks what can be checked without asking anybody.
    pub(crate) fn check(&self) -> Result<(), RequestError> {
        let rule = |field, rule| Err(RequestError::Invalid { field, rule });
        if self.areas.len() > 256 {
            return rule("area", "at most 256");
        }
        if self.expected == Some(0) {
            return rule("expected", "must be at least 1");
        }
        if !self.interval_s.is_none_or(|s| (1..=256).contains(&s)) {
            return rule("interval_s", "must be 1 to 256");
        }
        if !(1..=3600).contains(&self.timeout_s) {
            return rule("timeout_s", "must be 1 to 3600");
        }
        match &self.devices {
            Devices::Named(ids) if !(1..=DEVICES_MAX).contains(&ids.len()) => {
                return rule("device", "must be 1 to 1024");
            }
            Devices::Named(ids) if !ids.iter().all(|id| (1..=128).contains(&id.len())) => {
                return rule("device", "must have 1 to 128 octets");
            }
            Devices::Filter(filter) if !(1..=128).contains(&filter.len()) => {
                return rule("filter", "must have 1 to 128 octets");
            }
            _ => {}
        }
        let (offset, length) = match &self.operation {
            Operation::Read { offset, length } => (*offset, usize::from(*length)),
            Operation::Write { offset, data } => (*offset, data.len()),
            Operation::Inventory | Operation::PermanentDisable => return Ok(()),
        };
        if !(1..=COMMAND_OCTETS_MAX).contains(&length) {
            return rule("length", "must be 1 to 4096");
        }
        if usize::from(offset) + length > 1 << 16 {
            return rule("offset", "offset and length must end at 65536 at most");
        }
        Ok(())
    }
}
