//! What an emulated device stands on: a key of its own, a card, or whatever else evaluates the PRF.

use ambit_device::{Authentication, CardFailed, Credential, LocalKey, Uicc, UiccCredential};
use ambit_protocol::{RootKey, Suite, schedule};

use super::spec::FleetCard;

/// The credential of an emulated device.
pub enum FleetCredential {
    /// K in the device.
    Local(LocalKey),
    /// A card, with which K is agreed (section 7).
    Uicc(UiccCredential<CardSlot>),
    /// Any other: a card that keeps K, or one of these under observation.
    Other(Box<dyn Credential<Error = CredentialFailed> + Send>),
}

/// The PRF could not be evaluated: the device is not registered, or its card failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the credential gave no value")]
pub struct CredentialFailed;

/// A credential whose errors have lost their reasons, which a device does not ask for.
struct Plain<C>(C);

impl<C: Credential> Credential for Plain<C> {
    type Error = CredentialFailed;

    fn evaluate(&mut self, input: &schedule::Input) -> Result<[u8; 16], CredentialFailed> {
        self.0.evaluate(input).map_err(|_| CredentialFailed)
    }

    fn suite(&self) -> Suite {
        self.0.suite()
    }

    fn card(&mut self) -> Option<&mut dyn Uicc> {
        self.0.card()
    }

    fn needs_registration(&self) -> bool {
        self.0.needs_registration()
    }

    fn adopt(&mut self, k_aiot: Option<RootKey>) {
        self.0.adopt(k_aiot);
    }
}

/// Where a card is put in.
pub struct CardSlot(pub(super) FleetCard);

impl Uicc for CardSlot {
    fn suci(&mut self, out: &mut [u8]) -> Result<usize, CardFailed> {
        self.0.suci(out)
    }

    fn authenticate(
        &mut self,
        rand: &[u8; 16],
        autn: &[u8; 16],
    ) -> Result<Authentication, CardFailed> {
        self.0.authenticate(rand, autn)
    }
}

impl FleetCredential {
    pub(super) const fn uicc(card: FleetCard, suite: Suite) -> Self {
        Self::Uicc(UiccCredential::new(CardSlot(card), suite))
    }

    pub(super) fn other(credential: impl Credential + Send + 'static) -> Self {
        Self::Other(Box::new(Plain(credential)))
    }
}

impl Credential for FleetCredential {
    type Error = CredentialFailed;

    fn evaluate(&mut self, input: &schedule::Input) -> Result<[u8; 16], CredentialFailed> {
        match self {
            Self::Local(key) => key.evaluate(input).map_err(|never| match never {}),
            Self::Uicc(uicc) => uicc.evaluate(input).map_err(|_| CredentialFailed),
            Self::Other(other) => other.evaluate(input),
        }
    }

    fn suite(&self) -> Suite {
        match self {
            Self::Local(key) => key.suite(),
            Self::Uicc(uicc) => uicc.suite(),
            Self::Other(other) => other.suite(),
        }
    }

    fn card(&mut self) -> Option<&mut dyn Uicc> {
        match self {
            Self::Local(_) => None,
            Self::Uicc(uicc) => uicc.card(),
            Self::Other(other) => other.card(),
        }
    }

    fn needs_registration(&self) -> bool {
        match self {
            Self::Local(_) => false,
            Self::Uicc(uicc) => uicc.needs_registration(),
            Self::Other(other) => other.needs_registration(),
        }
    }

    fn adopt(&mut self, k_aiot: Option<RootKey>) {
        match self {
            Self::Local(_) => {}
            Self::Uicc(uicc) => uicc.adopt(k_aiot),
            Self::Other(other) => other.adopt(k_aiot),
        }
    }
}
