//! Where a device's K comes from, and who knows it.

use std::fmt;
use std::str::FromStr;

/// Where a device's K comes from, and who knows it (protocol sections 7 and 10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CredentialKind {
    /// The operator provisioned it: the device has it in its own memory.
    #[default]
    Operator,
    /// It is agreed with a UICC, anew at each registration (section 7).
    Uicc,
    /// It is in the AIoT application of a UICC, which computes with it: K never leaves the card.
    UiccAiot,
}

impl CredentialKind {
    /// `operator`, `uicc` or `uicc-aiot`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Uicc => "uicc",
            Self::UiccAiot => "uicc-aiot",
        }
    }
}

impl fmt::Display for CredentialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for CredentialKind {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Operator, Self::Uicc, Self::UiccAiot]
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or("must be operator or uicc-aiot")
    }
}
