//! Everything that can go wrong with the store, each with a name that also labels its metric.

use rusqlite::ErrorCode;
use std::path::PathBuf;
use thiserror::Error;

/// Why the store refused or failed. Nothing of the failed call is kept.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A device with this permanent ID is there already.
    #[error(
        "device {} (number {index} of the batch) exists already",
        hex(device_id)
    )]
    DeviceExists {
        /// Place of the offender in the slice that was passed.
        index: usize,
        /// Its permanent ID.
        device_id: Vec<u8>,
    },
    /// No device has this row id.
    #[error("there is no device with row id {device}")]
    UnknownDevice {
        /// The row id asked for.
        device: i64,
    },
    /// The SUPI of a subscriber to be added is taken, in the store or earlier in the list.
    #[error("subscriber {index} of the list: its SUPI exists already")]
    SubscriberExists {
        /// Place in the list.
        index: usize,
    },
    /// SEQ is at its end: no challenge can be issued for this card any more (TS 33.102 annex C.2).
    #[error("device {device}: all sequence numbers are used")]
    SqnExhausted {
        /// Row id of the device.
        device: i64,
    },
    /// The name or the client identifier of an AF to be added is taken.
    #[error("AF {name} exists already")]
    AfExists {
        /// Its name.
        name: String,
    },
    /// No AF has this name.
    #[error("there is no AF {name}")]
    UnknownAf {
        /// The name asked for.
        name: String,
    },
    /// A device has as many kept commands as it may have ([`COMMANDS_OPEN_MAX`](crate::COMMANDS_OPEN_MAX)).
    #[error("command {index} of the list: its device has 64 kept commands already")]
    TooManyCommands {
        /// Place in the list.
        index: usize,
    },
    /// The SNID has no beacon chain.
    #[error("there is no beacon chain for SNID {}", hex(snid))]
    UnknownChain {
        /// The SNID asked for.
        snid: [u8; 9],
    },
    /// A field of the input breaks its documented limits: a fault of the caller.
    #[error("item {index} of the batch has an invalid {field}")]
    Invalid {
        /// Place of the offender in the slice that was passed, 0 if there was no slice.
        index: usize,
        /// The field's name.
        field: &'static str,
    },
    /// The file was written by a newer Ambit. It is left untouched.
    #[error(
        "the store has schema version {found}, this program knows up to {supported}: use a newer program"
    )]
    NewerVersion {
        /// The file's schema version.
        found: u32,
        /// The newest one this program knows.
        supported: u32,
    },
    /// The file was opened for reading only, and its schema is older than what this program reads.
    #[error(
        "the store has schema version {found}, reading needs {supported}: open it for writing once to migrate it"
    )]
    OlderVersion {
        /// The file's schema version, 0 for an empty file.
        found: u32,
        /// The one this program reads.
        supported: u32,
    },
    /// The file is no SQLite database. It is left untouched.
    #[error("{} is not an SQLite database", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The file is an SQLite database of another application. It is left untouched.
    #[error("{} is a database of another application (application_id {application_id:#010x})", path.display())]
    ForeignFile {
        /// The file.
        path: PathBuf,
        /// What it says it is, 0 if it says nothing.
        application_id: u32,
    },
    /// The file cannot be opened or created.
    #[error("cannot open {}: {detail}", path.display())]
    CannotOpen {
        /// The file.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// No space is left. The next call works once there is space again.
    #[error("no space left for the store")]
    DiskFull,
    /// The system failed to read or write. The call was undone; the next one tries again.
    #[error("input/output error in the store: {detail}")]
    Io {
        /// What SQLite said.
        detail: String,
    },
    /// Another process held the store for longer than the time to wait (5 s).
    #[error("the store is locked by another process")]
    Busy,
    /// The store was opened for reading only.
    #[error("the store is open for reading only")]
    ReadOnly,
    /// The file is damaged: restore a copy.
    #[error("the store is damaged: {detail}")]
    Corrupt {
        /// What SQLite said.
        detail: String,
    },
    /// A failed transaction could not be undone. This handle is dead: drop it and open the store anew.
    #[error("the store cannot undo a failed transaction and must be opened anew")]
    Unusable,
    /// The database cannot be reached, or does not take writes. Nothing is accepted meanwhile; the next call tries again.
    /// Whether the call that failed was carried out may not be known, and is found out before anything else is done.
    #[error("the database cannot be used: {detail}")]
    Unreachable {
        /// What is the matter.
        detail: String,
    },
    /// The database has lost records that it had acknowledged: an older copy, or a standby that lagged behind.
    #[error(
        "the database is an older copy: it lacks records from {first} on that had been accepted"
    )]
    WentBack {
        /// Id of the first that is missing.
        first: i64,
    },
    /// The URL of the database makes no sense.
    #[error("url: {rule}")]
    Url {
        /// The part and the rule.
        rule: String,
    },
    /// Anything else the database reports: a defect of this crate.
    #[error("unexpected error in the store: {detail}")]
    Engine {
        /// What SQLite said.
        detail: String,
    },
}

impl StoreError {
    /// A stable snake_case name of the variant, for metrics and events.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::DeviceExists { .. } => "device_exists",
            Self::UnknownDevice { .. } => "unknown_device",
            Self::SubscriberExists { .. } => "subscriber_exists",
            Self::SqnExhausted { .. } => "sqn_exhausted",
            Self::AfExists { .. } => "af_exists",
            Self::UnknownAf { .. } => "af_unknown",
            Self::TooManyCommands { .. } => "too_many_commands",
            Self::UnknownChain { .. } => "unknown_chain",
            Self::Invalid { .. } => "invalid",
            Self::NewerVersion { .. } => "newer_version",
            Self::OlderVersion { .. } => "older_version",
            Self::NotADatabase { .. } => "not_a_database",
            Self::ForeignFile { .. } => "foreign_file",
            Self::CannotOpen { .. } => "cannot_open",
            Self::DiskFull => "disk_full",
            Self::Io { .. } => "io",
            Self::Busy => "busy",
            Self::ReadOnly => "read_only",
            Self::Corrupt { .. } => "corrupt",
            Self::Unusable => "unusable",
            Self::Unreachable { .. } => "unreachable",
            Self::WentBack { .. } => "went_back",
            Self::Url { .. } => "store_url",
            Self::Engine { .. } => "engine",
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error::{
            FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType,
        };

        let detail = error.to_string();
        // A value of another type or range than this crate ever writes.
        if matches!(
            error,
            FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..)
        ) {
            return Self::Corrupt { detail };
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => Self::Io { detail },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(ErrorCode::ReadOnly) => Self::ReadOnly,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt { detail },
            _ => Self::Engine { detail },
        }
    }
}

/// Identifiers in messages are printed as in the views: lower-case hexadecimal.
fn hex(octets: &[u8]) -> String {
    octets.iter().map(|o| format!("{o:02x}")).collect()
}
