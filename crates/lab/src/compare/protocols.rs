//! Our methods beside other protocols, on the same axes: from nothing agreed in this power cycle to both sides authenticated.

use ambit_model::work::Work;
use serde::Serialize;

use super::{CompareError, Row, aka, edhoc, lorawan, ours};

/// A protocol, and what one run of it takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Protocol {
    /// Its name.
    pub name: &'static str,
    /// Where the figures are from.
    pub source: Source,
    /// Messages from the device.
    pub messages_up: u64,
    /// Their octets, lower layers not counted.
    pub octets_up: u64,
    /// Messages to the device.
    pub messages_down: u64,
    /// Their octets.
    pub octets_down: u64,
    /// Round trips until both sides are authenticated and have the key.
    pub round_trips: &'static str,
    /// What the device computes and writes; `None` where the figures are cited.
    pub operations: Option<Operations>,
    /// What cannot be counted.
    pub properties: Properties,
}

/// Where figures are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Both ends ran.
    Measured(&'static str),
    /// Published.
    Cited(&'static str),
}

/// Calls of primitives, and writes, of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Operations {
    /// Blocks of AES-128.
    pub aes_blocks: u64,
    /// Blocks of SHA-256.
    pub sha256_blocks: u64,
    /// Multiplications on an elliptic curve.
    pub ec_multiplications: u64,
    /// Writes that have to be durable before the device goes on.
    pub durable_writes: u64,
}

impl Operations {
    /// With what was counted.
    pub(super) const fn of(work: Work) -> Self {
        Self {
            aes_blocks: work.aes_blocks,
            sha256_blocks: work.sha256_blocks,
            ec_multiplications: 0,
            durable_writes: 0,
        }
    }
}

/// What a protocol gives, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Properties {
    /// Where application data of the device can go first.
    pub early_data: &'static str,
    /// How each side authenticates the other.
    pub mutual: &'static str,
    /// When each side knows that the other has the key.
    pub key_confirmation: &'static str,
    /// What shows who the device is.
    pub identity_privacy: &'static str,
    /// What both sides have to keep in step.
    pub desynchronisation: &'static str,
    /// What the network keeps for a device between two runs.
    pub network_state: &'static str,
    /// What becomes of past traffic when the long-term key is lost.
    pub forward_secrecy: &'static str,
}

/// All of them; `rows` are what our own methods were measured at.
///
/// # Errors
/// [`CompareError`]: a run that always should succeed did not.
pub fn protocols(rows: &[Row]) -> Result<Vec<Protocol>, CompareError> {
    let mut all = ours::protocols(rows)?;
    all.push(aka::protocol()?);
    all.push(lorawan::protocol()?);
    all.push(edhoc::protocol()?);
    all.extend(CITED.iter().cloned());
    Ok(all)
}

const DRAFT: &str = "draft-ietf-iotops-security-protocol-comparison, clause 3.1: CCM_8, secp256r1, no connection ID";

/// What runs nowhere here.
const CITED: &[Protocol] = &[
    Protocol {
        name: "EDHOC-PSK, four messages",
        source: Source::Cited(
            "added up from the formats of draft-ietf-lake-edhoc-psk-06 and RFC 9528: 37, 35, 11, 9; identifiers of 1 octet",
        ),
        messages_up: 2,
        octets_up: 48,
        messages_down: 2,
        octets_down: 44,
        round_trips: "2",
        operations: None,
        properties: Properties {
            early_data: "message 3",
            mutual: "both, the network by message 4",
            key_confirmation: "messages 3 and 4",
            identity_privacy: "hidden from who only listens; an active attacker learns the key's name",
            desynchronisation: "none",
            network_state: "keys of the session",
            forward_secrecy: "yes",
        },
    },
    tls("DTLS 1.3, PSK", (130 + 55, 146), "no"),
    tls("DTLS 1.3, PSK with ECDHE (P-256)", (213 + 55, 219), "yes"),
    tls("TLS 1.3, PSK", (113 + 50, 117), "no"),
    tls("TLS 1.3, PSK with ECDHE (P-256)", (196 + 50, 190), "yes"),
];

/// Three flights: up, down, up.
const fn tls(
    name: &'static str,
    (octets_up, octets_down): (u64, u64),
    forward_secrecy: &'static str,
) -> Protocol {
    Protocol {
        name,
        source: Source::Cited(DRAFT),
        messages_up: 2,
        octets_up,
        messages_down: 1,
        octets_down,
        round_trips: "1, and a flight up",
        operations: None,
        properties: Properties {
            early_data: "0-RTT after an earlier run, which can be replayed",
            mutual: "both",
            key_confirmation: "Finished, both ways",
            identity_privacy: "the key's name in clear",
            desynchronisation: "none",
            network_state: "keys of the connection, record numbers",
            forward_secrecy,
        },
    }
}
