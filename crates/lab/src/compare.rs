//! What the credential modes cost, counted while they run, and other protocols beside them: `ambit lab compare`.
//!
//! Each mode is one device at one reader on a clean air, with the whole core behind it. What is counted is counted by
//! wrappers around running code: an ear on the air, the card reader, the device's credential and memory, the store.

mod aka;
mod bench;
mod edhoc;
pub mod energy;
pub mod html;
mod lorawan;
mod methods;
mod ours;
pub mod protocols;
pub mod table;

use serde::Serialize;

pub use methods::{METHODS, Method};

/// What an exchange took. To count one more thing, add a field, its [`Axis`] and a line where the bench reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// NAS PDUs up.
    pub messages_up: u64,
    /// Their octets.
    pub octets_up: u64,
    /// NAS PDUs down.
    pub messages_down: u64,
    /// Their octets.
    pub octets_down: u64,
    /// PRF evaluations under K or K_AIOT that the device asked its credential for.
    pub prf_evaluations: u64,
    /// Ephemeral keys that the device made: two scalar multiplications each.
    pub ephemeral_keys: u64,
    /// Writes of the device's memory.
    pub device_writes: u64,
    /// Command APDUs.
    pub apdus: u64,
    /// Octets between device and card, both ways.
    pub apdu_octets: u64,
    /// AUTHENTICATE commands among the APDUs.
    pub authenticates: u64,
    /// Writes of the card's memory.
    pub card_writes: u64,
    /// Durable transactions of the network's store.
    pub store_transactions: u64,
    /// Rows that they wrote.
    pub store_rows: u64,
}

/// Something that is counted.
pub struct Axis {
    /// Its name in JSON.
    pub name: &'static str,
    /// Its column heading in the table.
    pub heading: &'static str,
    /// What it is.
    pub means: &'static str,
    /// The count.
    pub of: fn(&Cost) -> u64,
}

/// All that is counted, in the order of the table.
pub const AXES: &[Axis] = &[
    axis("messages_up", "up", "NAS messages from the device", |c| {
        c.messages_up
    }),
    axis("octets_up", "octets", "their octets", |c| c.octets_up),
    axis("messages_down", "down", "NAS messages to the device", |c| {
        c.messages_down
    }),
    axis("octets_down", "octets", "their octets", |c| c.octets_down),
    axis(
        "prf_evaluations",
        "PRF",
        "PRF evaluations under K or K_AIOT that the device asked its credential for",
        |c| c.prf_evaluations,
    ),
    axis(
        "ephemeral_keys",
        "ECDH",
        "ephemeral keys that the device made to conceal its SUPI: two scalar multiplications each",
        |c| c.ephemeral_keys,
    ),
    axis(
        "device_writes",
        "dev. writes",
        "writes of the device's memory",
        |c| c.device_writes,
    ),
    axis(
        "apdus",
        "APDUs",
        "commands from the device to its card",
        |c| c.apdus,
    ),
    axis(
        "apdu_octets",
        "octets",
        "octets between device and card, both ways",
        |c| c.apdu_octets,
    ),
    axis(
        "authenticates",
        "AUTH.",
        "AUTHENTICATE commands among them",
        |c| c.authenticates,
    ),
    axis(
        "card_writes",
        "card writes",
        "writes of the card's memory",
        |c| c.card_writes,
    ),
    axis(
        "store_transactions",
        "trans.",
        "durable transactions of the network's store",
        |c| c.store_transactions,
    ),
    axis("store_rows", "rows", "rows that they wrote", |c| {
        c.store_rows
    }),
];

const fn axis(
    name: &'static str,
    heading: &'static str,
    means: &'static str,
    of: fn(&Cost) -> u64,
) -> Axis {
    Axis {
        name,
        heading,
        means,
        of,
    }
}

/// Which exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// From the first power-on to the ACCEPT.
    First,
    /// One item in a new epoch, all the rest being settled.
    Steady,
}

impl Phase {
    /// `first` or `steady`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Steady => "steady",
        }
    }
}

/// One line of the comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The method's name.
    pub method: &'static str,
    /// Which exchange.
    pub phase: Phase,
    /// The form of the record that came of it.
    pub form: &'static str,
    /// What it took.
    #[serde(flatten)]
    pub cost: Cost,
}

/// Why a method could not be measured.
#[derive(Debug, thiserror::Error)]
#[error("{method}: {reason}")]
pub struct CompareError {
    /// The method.
    pub method: &'static str,
    /// Why.
    pub reason: String,
}

/// Runs every method; two rows each.
///
/// # Errors
/// [`CompareError`]: something did not come about that always should.
pub fn compare() -> Result<Vec<Row>, CompareError> {
    let mut rows = Vec::new();
    for method in METHODS {
        let measured = bench::measure(method).map_err(|reason| CompareError {
            method: method.name,
            reason,
        })?;
        rows.extend(measured);
    }
    Ok(rows)
}
