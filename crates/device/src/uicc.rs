//! Credentials in a UICC (protocol section 7): the card as the device sees it, and the key that a registration agrees.

use ambit_protocol::{RootKey, Suite, schedule};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::platform::Credential;

/// A UICC, whatever its form factor. The terminal side of a real card, or an emulated one.
pub trait Uicc {
    /// Writes a SUCI (5GS mobile identity contents, TS 24.501 clause 9.11.3.4) into the front of `out` and returns its
    /// length. Fresh each time, unless the card uses the null scheme.
    ///
    /// # Errors
    /// [`CardFailed`]. The device tries again after its back-off.
    fn suci(&mut self, out: &mut [u8]) -> Result<usize, CardFailed>;

    /// AUTHENTICATE (TS 31.102 clause 7.1.2).
    ///
    /// # Errors
    /// [`CardFailed`]: it gave no answer, or one that makes no sense. Towards the network that is silence.
    fn authenticate(
        &mut self,
        rand: &[u8; 16],
        autn: &[u8; 16],
    ) -> Result<Authentication, CardFailed>;
}

/// The card gave no usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the card gave no usable answer")]
pub struct CardFailed;

/// What a card makes of a challenge. Wiped on drop, never printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub enum Authentication {
    /// It is the home network's, and fresh.
    Success(AkaKeys),
    /// It is the home network's, but its SQN is out of range.
    SyncFailure {
        /// (SQN_MS xor AK*) ‖ MAC-S.
        auts: [u8; 14],
    },
    /// It is not the home network's, or not for this card or RAND_d.
    MacFailure,
}

/// RES, CK and IK.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct AkaKeys {
    res: [u8; 16],
    res_octets: u8,
    ck_ik: [u8; 32],
}

impl AkaKeys {
    /// `None` unless RES has 4 to 16 octets.
    pub fn new(res: &[u8], ck: &[u8; 16], ik: &[u8; 16]) -> Option<Self> {
        if res.len() < 4 {
            return None;
        }
        let mut keys = Self {
            res: [0; 16],
            res_octets: u8::try_from(res.len()).ok()?,
            ck_ik: [0; 32],
        };
        keys.res.get_mut(..res.len())?.copy_from_slice(res);
        for (to, from) in keys.ck_ik.iter_mut().zip(ck.iter().chain(ik)) {
            *to = *from;
        }
        Some(keys)
    }

    /// RES.
    pub(crate) fn res(&self) -> &[u8] {
        self.res
            .get(..usize::from(self.res_octets))
            .unwrap_or_default()
    }

    /// CK ‖ IK.
    pub(crate) const fn ck_ik(&self) -> &[u8; 32] {
        &self.ck_ik
    }
}

/// A card, and the K_AIOT of this power cycle. K_AIOT is in RAM only: a device registers anew at each power-on.
#[derive(Debug)]
pub struct UiccCredential<U> {
    card: U,
    suite: Suite,
    k_aiot: Option<RootKey>,
}

impl<U> UiccCredential<U> {
    /// A card, and the suite that its device is provisioned with.
    pub const fn new(card: U, suite: Suite) -> Self {
        Self {
            card,
            suite,
            k_aiot: None,
        }
    }

    /// The card, to be put into another device.
    pub fn into_card(self) -> U {
        self.card
    }

    /// The card.
    pub const fn card_mut(&mut self) -> &mut U {
        &mut self.card
    }
}

/// There is no K_AIOT yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the device is not registered")]
pub struct NotRegistered;

impl<U: Uicc> Credential for UiccCredential<U> {
    type Error = NotRegistered;

    fn evaluate(&mut self, input: &schedule::Input) -> Result<[u8; 16], NotRegistered> {
        let key = self.k_aiot.as_ref().ok_or(NotRegistered)?;
        Ok(key.evaluate(self.suite, input))
    }

    fn suite(&self) -> Suite {
        self.suite
    }

    fn card(&mut self) -> Option<&mut dyn Uicc> {
        Some(&mut self.card)
    }

    fn needs_registration(&self) -> bool {
        self.k_aiot.is_none()
    }

    fn adopt(&mut self, k_aiot: Option<RootKey>) {
        self.k_aiot = k_aiot;
    }
}

impl<U: Uicc + ?Sized> Uicc for &mut U {
    fn suci(&mut self, out: &mut [u8]) -> Result<usize, CardFailed> {
        (**self).suci(out)
    }

    fn authenticate(
        &mut self,
        rand: &[u8; 16],
        autn: &[u8; 16],
    ) -> Result<Authentication, CardFailed> {
        (**self).authenticate(rand, autn)
    }
}
