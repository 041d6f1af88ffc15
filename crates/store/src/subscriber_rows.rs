//! Subscribers on their way in and out. Wrapped secrets never print.

use std::fmt;

/// The largest SQN: SEQ of 43 bits, IND of 5 (TS 33.102 annex C.3.2).
pub const SQN_MAX: u64 = (1 << 48) - 1;

/// Δ of TS 33.102 annex C.2.1 (2^28, annex C.3): a card takes no SEQ that is further ahead of its own. It protects the card
/// from a wrap-around: at a challenge a second, SEQ would last for 270 000 years, and no jump shortens that.
pub const SEQ_DELTA_MAX: u64 = 1 << 28;

/// The UICC credentials of a device to be added.
#[derive(Clone, Copy)]
pub struct NewSubscriber<'a> {
    /// `imsi-...` or a network access identifier, unique.
    pub supi: &'a str,
    /// `milenage`, or `tuak-` and its parameters.
    pub algorithm: &'a str,
    /// K ‖ OPc or K ‖ TOPc, wrapped.
    pub secret_wrapped: &'a [u8],
    /// The last SQN that was used, 0 for a new card.
    pub sqn: u64,
}

impl fmt::Debug for NewSubscriber<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSubscriber")
            .field("supi", &self.supi)
            .field("algorithm", &self.algorithm)
            .field("sqn", &self.sqn)
            .finish_non_exhaustive()
    }
}

/// A subscriber as stored.
#[derive(Clone, PartialEq, Eq)]
pub struct SubscriberRow {
    /// Row id of the device.
    pub device: i64,
    /// `imsi-...` or a network access identifier.
    pub supi: String,
    /// `milenage`, or `tuak-` and its parameters.
    pub algorithm: String,
    /// K ‖ OPc or K ‖ TOPc, wrapped.
    pub secret_wrapped: Vec<u8>,
    /// The last SQN issued.
    pub sqn: u64,
    /// When the last registration was accepted.
    pub registered_ms: Option<i64>,
    /// Until when its K_AIOT is good.
    pub key_until_ms: Option<i64>,
}

impl fmt::Debug for SubscriberRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriberRow")
            .field("device", &self.device)
            .field("supi", &self.supi)
            .field("algorithm", &self.algorithm)
            .field("sqn", &self.sqn)
            .field("registered_ms", &self.registered_ms)
            .field("key_until_ms", &self.key_until_ms)
            .finish_non_exhaustive()
    }
}

/// A sequence number for one challenge, durably taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// SEQ (43 bits) ‖ IND (5 bits).
    pub sqn: u64,
    /// The challenges issued to this subscriber so far, this one included. It only rises.
    pub number: u64,
}

/// What a successful registration leaves besides its record.
#[derive(Clone, Copy)]
pub struct Registered<'a> {
    /// The challenge that was answered.
    pub challenge: u64,
    /// K_AIOT, wrapped.
    pub wrapped_key: &'a [u8],
    /// Until when it is good.
    pub key_until_ms: i64,
}

impl fmt::Debug for Registered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registered")
            .field("challenge", &self.challenge)
            .field("key_until_ms", &self.key_until_ms)
            .finish_non_exhaustive()
    }
}

/// Where the key of a device comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialRow {
    /// Provisioned by the operator.
    Operator,
    /// Agreed with a UICC, if it is registered.
    Uicc {
        /// Until when the agreed K_AIOT is good; `None` before the first registration.
        key_until_ms: Option<i64>,
    },
    /// In the AIoT application of a UICC.
    UiccAiot,
}

impl CredentialRow {
    /// `operator`, `uicc` or `uicc-aiot`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Uicc { .. } => "uicc",
            Self::UiccAiot => "uicc-aiot",
        }
    }
}
