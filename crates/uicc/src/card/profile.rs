//! What is personalised into a card.

use core::fmt;

use ambit_protocol::{RootKey, Suite};

use super::pins::Pin;
use super::sqn::SqnPolicy;
use crate::algorithms::Subscriber;
use crate::suci::{Imsi, PublicKey, RoutingIndicator};

/// The contents of a card. Holds every secret of it; prints none.
#[derive(Debug)]
pub struct Profile {
    /// Digits of the ICCID, 18 to 20.
    pub iccid: String,
    /// IMSI; its MNC length goes into EF_AD.
    pub imsi: Imsi,
    /// K, OPc and algorithm of the USIM.
    pub subscriber: Subscriber,
    /// Limits of the check of SQN.
    pub sqn: SqnPolicy,
    /// PIN1 (key reference 01).
    pub pin1: Pin,
    /// PIN2 (key reference 81).
    pub pin2: Pin,
    /// ADM1 (key reference 0A): opens what only the operator may update.
    pub adm1: Adm,
    /// Concealment of the SUPI; `None`: the card says nothing of it and the device uses the null scheme.
    pub suci: Option<SuciProfile>,
    /// The AIoT application, which keeps K on the card.
    pub aiot: Option<AiotProfile>,
}

/// An administrative key. Never printed.
#[derive(Clone, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
pub struct Adm(pub [u8; 8]);

impl fmt::Debug for Adm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Adm(..)")
    }
}

/// How the SUPI is concealed (TS 31.102 clauses 4.4.11.8, 4.4.11.11 and 7.5).
#[derive(Clone, Debug)]
pub struct SuciProfile {
    /// Routing indicator.
    pub routing_indicator: RoutingIndicator,
    /// Public keys with their identifiers, the preferred one first.
    pub keys: Vec<(u8, PublicKey)>,
    /// `true`: the card conceals (GET IDENTITY, service 125); `false`: it gives the keys to the device.
    pub on_card: bool,
}

/// The AIoT application.
#[derive(Debug)]
pub struct AiotProfile {
    /// K. It never leaves the card.
    pub k: RootKey,
    /// Suite of the device profile.
    pub suite: Suite,
    /// Tag length of the device profile: 4, 8 or 16.
    pub tag_len: u8,
    /// Permanent device ID, 1 to 128 octets.
    pub device_id: Vec<u8>,
}

impl Profile {
    /// A profile with PINs disabled and without concealment or AIoT application. PIN1 is 0000, PIN2 is 1234, PUKs are
    /// 12345678, ADM1 is 88888888: values for a laboratory, to be replaced for anything else.
    pub fn new(iccid: impl Into<String>, imsi: Imsi, subscriber: Subscriber) -> Self {
        let pin = |value: &[u8; 8], enabled| Pin {
            value: *value,
            puk: *b"12345678",
            enabled,
        };
        Self {
            iccid: iccid.into(),
            imsi,
            subscriber,
            sqn: SqnPolicy::default(),
            pin1: pin(b"0000\xFF\xFF\xFF\xFF", false),
            pin2: pin(b"1234\xFF\xFF\xFF\xFF", true),
            adm1: Adm(*b"88888888"),
            suci: None,
            aiot: None,
        }
    }
}
