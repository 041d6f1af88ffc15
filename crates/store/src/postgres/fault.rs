//! What a statement can end in, by what is to be done about it.

use crate::StoreError;
use tokio_postgres::error::SqlState;

/// Why a transaction did not do its work.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is the answer.
    Refused(StoreError),
    /// Another transaction was in the way (SQLSTATE class 40): the same again.
    Again,
    /// A unique key was taken: by an earlier record, or by another process a moment ago. Nothing was done.
    Taken,
    /// The connection is gone or of no use: whether a commit was carried out is not known.
    Lost(String),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            // A value that did not convert: no column of ours ever held it.
            if error.to_string().contains("deserializ") {
                return Self::Refused(StoreError::Corrupt {
                    detail: text(&error),
                });
            }
            return Self::Lost(text(&error));
        };
        let detail = format!("{} ({})", db.message(), db.code().code());
        let code = db.code();
        // The last two: a table, or its type, that another process made in the same moment.
        let taken = [
            SqlState::UNIQUE_VIOLATION,
            SqlState::DUPLICATE_TABLE,
            SqlState::DUPLICATE_OBJECT,
        ];
        if taken.contains(code) {
            return Self::Taken;
        }
        if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
            // What was a primary is one no more.
            return Self::Lost(detail);
        }
        // CockroachDB: the commit may or may not have been carried out.
        if *code == SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN {
            return Self::Lost(detail);
        }
        match code.code().get(..2) {
            Some("40") => Self::Again,
            // Connection, operator intervention (shutdown, starting up).
            Some("08" | "57") => Self::Lost(detail),
            _ if *code == SqlState::DISK_FULL => Self::Refused(StoreError::DiskFull),
            _ if *code == SqlState::LOCK_NOT_AVAILABLE => Self::Refused(StoreError::Busy),
            Some("53" | "58") => Self::Refused(StoreError::Io { detail }),
            Some("XX") => Self::Refused(StoreError::Corrupt { detail }),
            _ => Self::Refused(StoreError::Engine { detail }),
        }
    }
}

/// An error with what is behind it.
pub(super) fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
