//! Kept commands: what an operator wants done with a device that speaks first, when it speaks next. The ADM keeps them; the
//! AIOTF is handed one with an accepting verdict (ACCEPT, status 01) and says what came of it.

use crate::SessionKey;

/// Octets that one kept READ or WRITE moves, at most: it is one command of a session.
pub const KEPT_OCTETS_MAX: usize = 96;

/// What follows an ACCEPT with status 01: a command session under the same K_AIOTF.
#[derive(Debug)]
pub struct FollowOn {
    /// Permanent ID.
    pub device_id: Box<[u8]>,
    /// The keys of this exchange, and how they are used.
    pub key: SessionKey,
    /// What to do. `None`: only to let the device go, as what was to be done has been done, or is not wanted any more.
    pub command: Option<KeptCommand>,
}

/// A command as the AIOTF is to give it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptCommand {
    /// What to name in [`AdmClient::conclude_command`](crate::AdmClient::conclude_command).
    pub id: i64,
    /// The command.
    pub operation: KeptOperation,
}

/// What a device can be told by a kept command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptOperation {
    /// READ from its memory.
    Read {
        /// First octet.
        offset: u16,
        /// Octets, 1 to [`KEPT_OCTETS_MAX`].
        length: u8,
    },
    /// WRITE to its memory.
    Write {
        /// First octet.
        offset: u16,
        /// What to write, 1 to [`KEPT_OCTETS_MAX`] octets.
        data: Vec<u8>,
    },
    /// PERMANENT DISABLE: it is silent for ever.
    PermanentDisable,
}

impl KeptOperation {
    /// READ, WRITE or PERMANENT_DISABLE, as TS 29.569 has it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Read { .. } => "READ",
            Self::Write { .. } => "WRITE",
            Self::PermanentDisable => "PERMANENT_DISABLE",
        }
    }

    /// Checks the limits.
    ///
    /// # Errors
    /// Field and rule.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let (field, offset, length) = match self {
            Self::Read { offset, length } => ("length", *offset, usize::from(*length)),
            Self::Write { offset, data } => ("data", *offset, data.len()),
            Self::PermanentDisable => return Ok(()),
        };
        if !(1..=KEPT_OCTETS_MAX).contains(&length) {
            return Err((field, "must be 1 to 96 octets"));
        }
        if usize::from(offset) + length > 1 << 16 {
            return Err(("offset", "offset and length must end at 65536 at most"));
        }
        Ok(())
    }
}

/// What came of a command: what was read, if something was, or why it failed.
pub type CommandOutcome = Result<Option<Vec<u8>>, DeviceFailure>;

/// Why a command failed at one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceFailure {
    /// The device has no such memory.
    ParametersInvalid,
    /// The device had not the energy.
    LowEnergy,
    /// The device does not have the command.
    NotImplemented,
    /// It gave no answer that verifies. Whether it obeyed is not known.
    NoAnswer,
    /// The network does not serve it: disabled, barred, no key in force.
    NotServed,
    /// It obeyed, and the network could not make that durable.
    NotRecorded,
}

impl DeviceFailure {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 6] = [
        Self::ParametersInvalid,
        Self::LowEnergy,
        Self::NotImplemented,
        Self::NoAnswer,
        Self::NotServed,
        Self::NotRecorded,
    ];

    /// The value of AIoTDevFailCause in TS 29.569.
    pub const fn cause(self) -> &'static str {
        match self {
            Self::ParametersInvalid => "COMMAND_TYPE_SPECIFIC_PARAMETERS_INVALID",
            Self::LowEnergy => "LOW_ENERGY",
            Self::NotImplemented => "MESSAGE_TYPE_NON_EXISTENT_OR_NOT_IMPLEMENTED",
            Self::NoAnswer | Self::NotServed | Self::NotRecorded => "ERROR_UNSPECIFIED",
        }
    }

    /// A name that tells them all apart.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ParametersInvalid => "parameters_invalid",
            Self::LowEnergy => "low_energy",
            Self::NotImplemented => "not_implemented",
            Self::NoAnswer => "no_answer",
            Self::NotServed => "not_served",
            Self::NotRecorded => "not_recorded",
        }
    }

    /// The failure of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|failure| failure.name() == name)
    }

    /// Whether the device has said that it will not do it, however often it is asked. The others may be different next time.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::ParametersInvalid | Self::NotImplemented)
    }
}
