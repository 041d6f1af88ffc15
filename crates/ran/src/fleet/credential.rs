//! What an emulated device stands on: a key of its own, or a card.

use ambit_device::{
    Authentication, CardFailed, Credential, LocalKey, Uicc, UiccCredential, uicc::NotRegistered,
};
use ambit_protocol::{RootKey, Suite, schedule};

use super::spec::FleetCard;

/// The credential of an emulated device.
pub enum FleetCredential {
    /// K in the device.
    Local(LocalKey),
    /// A card, with which K is agreed (section 7).
    Uicc(UiccCredential<CardSlot>),
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
}

impl Credential for FleetCredential {
    type Error = NotRegistered;

    fn evaluate(&mut self, input: &schedule::Input) -> Result<[u8; 16], NotRegistered> {
        match self {
            Self::Local(key) => key.evaluate(input).map_err(|never| match never {}),
            Self::Uicc(uicc) => uicc.evaluate(input),
        }
    }

    fn suite(&self) -> Suite {
        match self {
            Self::Local(key) => key.suite(),
            Self::Uicc(uicc) => uicc.suite(),
        }
    }

    fn card(&mut self) -> Option<&mut dyn Uicc> {
        match self {
            Self::Local(_) => None,
            Self::Uicc(uicc) => uicc.card(),
        }
    }

    fn needs_registration(&self) -> bool {
        match self {
            Self::Local(_) => false,
            Self::Uicc(uicc) => uicc.needs_registration(),
        }
    }

    fn adopt(&mut self, k_aiot: Option<RootKey>) {
        match self {
            Self::Local(_) => {}
            Self::Uicc(uicc) => uicc.adopt(k_aiot),
        }
    }
}
