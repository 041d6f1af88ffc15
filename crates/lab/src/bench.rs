//! What `ambit bench` measures: the network's work, each figure beside its physical limit measured in the same run.
//!
//! Rounds of the thing measured and of its limit alternate, each a few milliseconds long, so that a change of the machine's
//! speed meets both and a round that another process interrupts is one of many. Figures are medians over rounds.

mod core;
mod crypto;
mod delivery;
mod exchange;
mod fleet;
mod measure;
mod n2;
mod postgres;
mod scale;
mod search;
mod store;
mod table;

use serde::Serialize;

pub use crypto::crypto;
pub use delivery::delivery;
pub use exchange::exchange;
pub use measure::Sample;
pub use n2::n2;
pub use postgres::postgres;
pub use scale::scale;
pub use search::search;
pub use store::store;
pub use table::table;

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// The name of the bench, as `ambit bench` has it.
    pub bench: &'static str,
    /// What was measured.
    pub what: String,
    /// Devices in question, where that matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devices: Option<usize>,
    /// The unit of both values.
    pub unit: &'static str,
    /// The value.
    pub here: Sample,
    /// What it is held against, and its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
}

/// What a figure is held against.
#[derive(Clone, Debug, Serialize)]
pub struct Limit {
    /// What it is.
    pub what: String,
    /// Its value.
    pub value: Sample,
    /// The figure's median over the limit's.
    pub ratio: f64,
}

impl Limit {
    fn new(what: impl Into<String>, here: Sample, value: Sample) -> Self {
        Self {
            what: what.into(),
            ratio: here.median / value.median,
            value,
        }
    }
}

/// Why a bench cannot run.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The temporary directory for the store cannot be used.
    #[error("temporary directory: {0}")]
    Io(#[from] std::io::Error),
    /// The store failed.
    #[error("store: {0}")]
    Store(#[from] ambit_store::StoreError),
    /// The ADM failed.
    #[error("{0}")]
    Adm(String),
    /// There is no server to measure with.
    #[error("PostgreSQL is not installed")]
    NoPostgres,
    /// The core did not do what was to be measured.
    #[error("a genuine report was not accepted")]
    NotAccepted,
}
