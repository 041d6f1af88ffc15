//! What online charging is told, and what it says.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ambit_store::StoreError;
use serde_json::Value;

use super::Mark;

/// What a fleet pays, and who pays.
#[derive(Clone, Debug, Default)]
pub struct Tariff {
    /// The AF that pays.
    pub af: Option<String>,
    /// Its rating group.
    pub rating_group: Option<u32>,
}

/// Who charges, and for whom.
#[derive(Clone, Debug)]
pub struct OnlineConfig {
    /// The journal's directory; made when it is not there.
    pub dir: PathBuf,
    /// NF instance ID of the AIOTF whose records these are.
    pub nf_name: String,
    /// Mobile country code.
    pub mcc: String,
    /// Mobile network code.
    pub mnc: String,
    /// Network identifier of an SNPN.
    pub nid: Option<String>,
    /// Rating group of fleets that have none of their own.
    pub rating_group: u32,
    /// Tariffs by fleet.
    pub fleets: HashMap<String, Tariff>,
    /// Whether another process may have sent these events before.
    pub is_adopted: bool,
    /// A file of the journal that has this size is followed by another.
    pub journal_octets_max: u64,
    /// Where the journal is new: records up to this one are not charged for.
    pub after_record: i64,
}

impl OnlineConfig {
    /// The home network domain (TS 23.003 clause 28.2), which external identifiers end in.
    pub(super) fn domain(&self) -> String {
        let (mcc, mnc) = (&self.mcc, &self.mnc);
        let nid = self.nid.as_ref().map(|nid| format!("nid{nid}."));
        let nid = nid.unwrap_or_default().to_lowercase();
        format!("5gc.{nid}mnc{mnc:0>3}.mcc{mcc}.3gppnetwork.org")
    }
}

/// Why charging stands still. Nothing is lost: it goes on where it stopped.
#[derive(Debug, thiserror::Error)]
pub enum OnlineError {
    /// A file cannot be read or written.
    #[error("{path}: {error}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The store failed.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// A file is not what this module leaves.
    #[error("{path}: {rule}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        rule: &'static str,
    },
    /// The store is not the one that was charged for, and the journal has no record that both have.
    #[error(
        "record {record} is not the one that event {event} was for, and the journal has no record that both have"
    )]
    OtherHistory {
        /// The record.
        record: i64,
        /// The event.
        event: u64,
    },
}

impl OnlineError {
    /// The stable name of the error.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Io { .. } => "charging_io",
            Self::Store(_) => "store_failed",
            Self::Damaged { .. } => "charging_damaged",
            Self::OtherHistory { .. } => "charging_other_history",
        }
    }
}

/// A request to send.
#[derive(Clone, Debug)]
pub struct Due {
    /// The event.
    pub event: u64,
    /// The ChargingDataRequest.
    pub body: Value,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChfAnswer {
    /// The CHF has the event.
    Taken,
    /// It refuses this event.
    Refused {
        /// Status and cause.
        reason: String,
    },
    /// It may have it or not.
    Failed {
        /// The stable name of what went wrong.
        name: &'static str,
        /// What went wrong.
        message: String,
        /// How long the CHF asked to be left alone.
        retry_after: Option<Duration>,
    },
}

/// An event that the CHF refused for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The event and its record.
    pub mark: Mark,
    /// Status and cause.
    pub reason: String,
}

/// What came of a round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Events taken.
    pub taken: usize,
    /// Events newly refused.
    pub refused: Vec<Refusal>,
    /// Name and message of the last failure, if charging stands still.
    pub halted: Option<(&'static str, String)>,
}
