//! Device profiles: what kind of device it is and how it reports. Known to the device and to the ADM, never on the air.

use core::fmt;
use core::str::FromStr;

use crate::wire::Form;

/// The device types of the study (TR 38.769, TR 23.700-30).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeviceType {
    /// Type 1: about 1 uW, backscatter, answers only.
    Type1,
    /// Type 2a: amplified backscatter on an external carrier.
    Type2a,
    /// Type 2b: own carrier, a few hundred uW.
    Type2b,
    /// Type 2c: own carrier, up to 10 mW.
    Type2c,
}

/// How a device reports: its usual report form and the one that it falls back on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeviceForm {
    /// Beacon form, concealed where the identity rule asks for it.
    Beacon,
    /// Always concealed.
    Concealed,
    /// Counter form, recovery when unanswered.
    Counter,
    /// Blind form: hears no beacon; recovery when unanswered and a beacon is there.
    Blind,
    /// Device-terminated only: answers, never speaks first.
    Dt,
}

/// What is wrong with a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// No such device type.
    #[error("device_type: must be 1, 2a, 2b or 2c")]
    DeviceType,
    /// No such form.
    #[error("form: must be beacon, concealed, counter, blind or dt")]
    Form,
    /// A report form that devices fall back on, not one they have.
    #[error("form: recovery is what a counter device falls back on; its form is counter")]
    RecoveryForm,
    /// Device type 1 cannot speak first.
    #[error("form: device type 1 only answers, its form must be dt")]
    Type1SpeaksFirst,
}

impl DeviceType {
    /// `1`, `2a`, `2b`, `2c`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Type1 => "1",
            Self::Type2a => "2a",
            Self::Type2b => "2b",
            Self::Type2c => "2c",
        }
    }

    /// Whether the type can speak first (DO-A capable).
    pub const fn is_do_a_capable(self) -> bool {
        !matches!(self, Self::Type1)
    }

    /// Checks a form against the type.
    ///
    /// # Errors
    /// [`ProfileError::Type1SpeaksFirst`].
    pub const fn check(self, form: DeviceForm) -> Result<(), ProfileError> {
        match (self, form) {
            (Self::Type1, DeviceForm::Dt) => Ok(()),
            (Self::Type1, _) => Err(ProfileError::Type1SpeaksFirst),
            _ => Ok(()),
        }
    }
}

impl DeviceForm {
    /// `beacon`, `concealed`, `counter`, `blind`, `dt`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Beacon => "beacon",
            Self::Concealed => "concealed",
            Self::Counter => "counter",
            Self::Blind => "blind",
            Self::Dt => "dt",
        }
    }

    /// Whether a device of this form sends reports of form `report`.
    pub const fn sends(self, report: Form) -> bool {
        match self {
            Self::Beacon => matches!(report, Form::Beacon | Form::Concealed),
            Self::Concealed => matches!(report, Form::Concealed),
            Self::Counter => matches!(report, Form::Counter | Form::Recovery),
            Self::Blind => matches!(report, Form::Blind | Form::Recovery),
            Self::Dt => false,
        }
    }

    /// Whether the device has a durable counter.
    pub const fn has_counter(self) -> bool {
        matches!(self, Self::Counter | Self::Blind)
    }
}

impl FromStr for DeviceType {
    type Err = ProfileError;

    fn from_str(text: &str) -> Result<Self, ProfileError> {
        match text {
            "1" => Ok(Self::Type1),
            "2a" | "2A" => Ok(Self::Type2a),
            "2b" | "2B" => Ok(Self::Type2b),
            "2c" | "2C" => Ok(Self::Type2c),
            _ => Err(ProfileError::DeviceType),
        }
    }
}

impl FromStr for DeviceForm {
    type Err = ProfileError;

    fn from_str(text: &str) -> Result<Self, ProfileError> {
        match text {
            "beacon" => Ok(Self::Beacon),
            "concealed" => Ok(Self::Concealed),
            "counter" => Ok(Self::Counter),
            "blind" => Ok(Self::Blind),
            "dt" => Ok(Self::Dt),
            "recovery" => Err(ProfileError::RecoveryForm),
            _ => Err(ProfileError::Form),
        }
    }
}

impl fmt::Display for DeviceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for DeviceForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
