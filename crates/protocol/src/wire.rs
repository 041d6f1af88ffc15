//! What is on the air (sections 5 to 8): the header octet, and for each PDU a zero-copy view that is checked once,
//! and a plain struct of the meaning with `parse`, `emit` and `buffer_len`.

mod accept;
mod inventory;
mod item;
mod registration;
mod report;
mod session;

pub(crate) use accept::P2_OCTETS_MAX;
pub use accept::{ACCEPT_HEADER, AcceptStatus, AcceptView};
pub use inventory::{INVENTORY_RESPONSE_OCTETS, InventoryResponse};
pub use item::{Cause, DATA_OCTETS_MAX, Item, PLAINTEXT_OCTETS_MAX};
pub(crate) use registration::AUTHENTICATION_RESPONSE_HEADER;
pub use registration::{
    AUTHENTICATION_REQUEST_OCTETS, AUTHENTICATION_RESPONSE_OCTETS_MAX, AuthenticationRequest,
    AuthenticationResponseView, RegistrationRequest, ResultView, SUCI_OCTETS_MAX,
    emit_sync_failure,
};
pub use report::{REPORT_OCTETS_MAX, ReportId, ReportView};
pub use session::{Command, CommandResult, Response, SessionView};
pub(crate) use session::{SESSION_TEXT_OCTETS_MAX, session_aad};

/// The message types of section 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum MessageType {
    Report = 0,
    Accept = 1,
    RegistrationRequest = 2,
    AuthenticationRequest = 3,
    AuthenticationResponse = 4,
    InventoryResponse = 5,
    Session = 6,
}

impl MessageType {
    const fn name(self) -> &'static str {
        match self {
            Self::Report => "REPORT",
            Self::Accept => "ACCEPT",
            Self::RegistrationRequest => "REGISTRATION REQUEST",
            Self::AuthenticationRequest => "AUTHENTICATION REQUEST",
            Self::AuthenticationResponse => "AUTHENTICATION RESPONSE",
            Self::InventoryResponse => "INVENTORY RESPONSE",
            Self::Session => "SESSION",
        }
    }
}

/// The forms of a REPORT, and the one that a UICC registration stands for in records and counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    /// Found by the T-ID table of the epoch.
    Beacon = 0,
    /// Found by the window of counters.
    Counter = 1,
    /// Found by population search; shows nothing that links two reports.
    Concealed = 2,
    /// Counter in clear, found by population search.
    Recovery = 3,
    /// Counter without a beacon.
    Blind = 4,
    /// No form of REPORT: the item came in the AUTHENTICATION RESPONSE of a UICC registration (section 7).
    Aka = 5,
}

impl Form {
    /// All forms of a REPORT, in the order of their numbers.
    pub const ALL: [Self; 5] = [
        Self::Beacon,
        Self::Counter,
        Self::Concealed,
        Self::Recovery,
        Self::Blind,
    ];

    /// The form's number in the header of a REPORT, and in records.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The form of REPORT that has this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The form's name: `beacon`, `counter`, `concealed`, `recovery`, `blind`, `aka`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Beacon => "beacon",
            Self::Counter => "counter",
            Self::Concealed => "concealed",
            Self::Recovery => "recovery",
            Self::Blind => "blind",
            Self::Aka => "aka",
        }
    }
}

/// Tag length t of a device profile, in octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TagLen {
    /// 4 octets: guesses are limited by network rule 7.
    T4 = 4,
    /// 8 octets, the default.
    #[default]
    T8 = 8,
    /// 16 octets.
    T16 = 16,
}

impl TagLen {
    /// All permitted lengths.
    pub const ALL: [Self; 3] = [Self::T4, Self::T8, Self::T16];

    /// The length of 4, 8 or 16 octets; `None` for any other.
    pub const fn from_octets(octets: usize) -> Option<Self> {
        match octets {
            4 => Some(Self::T4),
            8 => Some(Self::T8),
            16 => Some(Self::T16),
            _ => None,
        }
    }

    /// The number of octets.
    pub const fn octets(self) -> usize {
        self as usize
    }
}

/// Why a PDU is not what it should be. [`WireError::name`] also labels the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Fewer octets than the message has at least.
    #[error("{message}: {found} octets, expected at least {min}")]
    Truncated {
        /// The message.
        message: &'static str,
        /// Octets needed at least.
        min: usize,
        /// Octets found.
        found: usize,
    },
    /// More octets than the message has at most.
    #[error("{message}: {found} octets, expected at most {max}")]
    TooLong {
        /// The message.
        message: &'static str,
        /// Octets allowed at most.
        max: usize,
        /// Octets found.
        found: usize,
    },
    /// The version bits are not 01: an incompatible peer, not necessarily a hostile one.
    #[error("header: version {found}, expected 1")]
    UnknownVersion {
        /// The two version bits.
        found: u8,
    },
    /// Another message type than the one expected here.
    #[error("header: message type {found}, expected {expected}")]
    UnexpectedType {
        /// What was expected.
        expected: &'static str,
        /// The three type bits.
        found: u8,
    },
    /// A form that the message type does not have.
    #[error("header: form {found} is not one of {message}")]
    UnknownForm {
        /// The message.
        message: &'static str,
        /// The three form bits.
        found: u8,
    },
    /// A command or result code that section 8 does not have.
    #[error("session: code {found} is not defined")]
    UnknownCode {
        /// The code found.
        found: u8,
    },
    /// The buffer to emit into is too small.
    #[error("buffer: {found} octets, {needed} needed")]
    BufferTooSmall {
        /// Octets needed.
        needed: usize,
        /// Octets there.
        found: usize,
    },
    /// A field of a meaning is out of its range.
    #[error("{field}: {rule}")]
    BadField {
        /// The field.
        field: &'static str,
        /// The rule it breaks.
        rule: &'static str,
    },
}

impl WireError {
    /// The stable name of the error, as used in metrics and events.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Truncated { .. } => "nas_truncated",
            Self::TooLong { .. } => "nas_too_long",
            Self::UnknownVersion { .. } => "nas_unknown_version",
            Self::UnexpectedType { .. } => "nas_unexpected_type",
            Self::UnknownForm { .. } => "nas_unknown_form",
            Self::UnknownCode { .. } => "nas_unknown_code",
            Self::BufferTooSmall { .. } => "nas_buffer_too_small",
            Self::BadField { .. } => "nas_bad_field",
        }
    }
}

/// The header octet: version 01 (2 bits) ‖ type (3 bits) ‖ form (3 bits).
pub const fn header(message: MessageType, form: u8) -> u8 {
    0b0100_0000 | ((message as u8) << 3) | (form & 7)
}

/// Message type and form of a PDU's first octet, for dispatch.
///
/// # Errors
/// [`WireError::Truncated`], [`WireError::UnknownVersion`] or [`WireError::UnexpectedType`] (type 7).
pub fn peek(octets: &[u8]) -> Result<(MessageType, u8), WireError> {
    let first = *octets.first().ok_or(WireError::Truncated {
        message: "PDU",
        min: 1,
        found: 0,
    })?;
    if first >> 6 != 1 {
        return Err(WireError::UnknownVersion { found: first >> 6 });
    }
    let kind = match (first >> 3) & 7 {
        0 => MessageType::Report,
        1 => MessageType::Accept,
        2 => MessageType::RegistrationRequest,
        3 => MessageType::AuthenticationRequest,
        4 => MessageType::AuthenticationResponse,
        5 => MessageType::InventoryResponse,
        6 => MessageType::Session,
        found => {
            return Err(WireError::UnexpectedType {
                expected: "0 to 6",
                found,
            });
        }
    };
    Ok((kind, first & 7))
}

/// Checks the header against the one type expected here and returns the form bits.
fn expect(octets: &[u8], expected: MessageType) -> Result<u8, WireError> {
    match peek(octets)? {
        (found, form) if found == expected => Ok(form),
        (found, _) => Err(WireError::UnexpectedType {
            expected: expected.name(),
            found: found as u8,
        }),
    }
}

fn need(message: &'static str, octets: &[u8], min: usize, max: usize) -> Result<(), WireError> {
    let found = octets.len();
    if found < min {
        Err(WireError::Truncated {
            message,
            min,
            found,
        })
    } else if found > max {
        Err(WireError::TooLong {
            message,
            max,
            found,
        })
    } else {
        Ok(())
    }
}

/// Writes `parts` one after the other into the front of `out` and returns how many octets that took.
fn put(out: &mut [u8], parts: &[&[u8]]) -> Result<usize, WireError> {
    let needed = parts.iter().map(|part| part.len()).sum();
    let found = out.len();
    let front = out
        .get_mut(..needed)
        .ok_or(WireError::BufferTooSmall { needed, found })?;
    for (to, from) in front.iter_mut().zip(parts.iter().copied().flatten()) {
        *to = *from;
    }
    Ok(needed)
}
