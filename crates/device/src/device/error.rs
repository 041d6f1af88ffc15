//! What a call can refuse, one name each.

use ambit_protocol::OpenError;
use ambit_protocol::session::SessionError;

use crate::items::NotTaken;

/// Why a device cannot start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PowerOnError {
    /// Type 1 with a form that speaks first (section 1).
    #[error("profile: a type 1 device only answers")]
    TypeAnswersOnly,
    /// A UICC with a form that never speaks first: section 7 begins with the device.
    #[error("profile: a device with a UICC speaks first")]
    UiccAnswersOnly,
    /// More than 90 octets of registration data.
    #[error("registration data: at most 90 octets")]
    RegistrationTooLong,
    /// The memory does not hold the device's own record.
    #[error("memory: {found} octets, expected at least {}", crate::SLOTS_OCTETS)]
    MemoryTooSmall {
        /// Its capacity in octets.
        found: usize,
    },
    /// The memory cannot be read. An older record must not pass for the newest, so the device does not start.
    #[error("memory: cannot be read")]
    MemoryUnreadable,
    /// Both slots hold garbage and the profile needs the counter: the device has to be provisioned again.
    #[error("memory: the counter is lost")]
    CounterLost,
}

/// Why an item was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// As many items as may wait are waiting.
    #[error("the queue is full")]
    QueueFull,
    /// More than 90 octets of data.
    #[error("data: at most 90 octets")]
    TooLong,
    /// Cause power-on belongs to the registration, which [`crate::Device::power_on`] queues itself.
    #[error("cause: power-on is reserved for the registration")]
    CauseReserved,
    /// The device never speaks first: by its profile, because it was disabled, or because its counter has ended.
    #[error("the device does not speak first")]
    Silent,
}

impl From<NotTaken> for SubmitError {
    fn from(error: NotTaken) -> Self {
        match error {
            NotTaken::TooLong => Self::TooLong,
            NotTaken::QueueFull => Self::QueueFull,
        }
    }
}

/// Why a downlink PDU was ignored. To the device it is as if it never came; only `stats().ignored_downlinks` knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// Nothing is open that it could belong to.
    #[error("no exchange or session is open")]
    NothingOpen,
    /// Neither ACCEPT nor SESSION.
    #[error("not a downlink message of this protocol")]
    NotForDevices,
    /// Malformed, or it does not verify.
    #[error(transparent)]
    Unverified(#[from] OpenError),
    /// A session message that is malformed, replayed, or does not verify.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The last answer has not gone out yet.
    #[error("an answer is still waiting to be sent")]
    Busy,
    /// A challenge that the card does not take for its home network's, or one too many.
    #[error("the challenge is refused")]
    ChallengeRefused,
    /// The device is silent.
    #[error("the device is silent")]
    Silent,
}

impl Ignored {
    /// The stable name of the error.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NothingOpen => "nothing_open",
            Self::NotForDevices => "not_for_devices",
            Self::Unverified(error) => error.name(),
            Self::Session(error) => error.name(),
            Self::Busy => "busy",
            Self::ChallengeRefused => "challenge_refused",
            Self::Silent => "silent",
        }
    }
}
