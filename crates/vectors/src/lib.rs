//! Walks test vector files of the Ambit DO-A protocol against `ambit-protocol`.
//!
//! The files are JSON objects with a list `cases`; octets are hexadecimal text. [`walk`] knows `suite.json`, `chain.json`,
//! `report.json`, `device_terminated.json` and `uicc.json`; any may be absent, cases may be added. The vectors that Ambit
//! ships with were made by an independent implementation and stand in this crate's `vectors/`.

mod chain;
mod check;
mod device_terminated;
mod report;
mod suite;
mod uicc;

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use check::Case;

/// What came of one file.
#[derive(Debug, Default, Serialize)]
pub struct FileResult {
    /// The file's name, e.g. `report.json`.
    pub file: String,
    /// Cases in which every value was as stated.
    pub passed: usize,
    /// Cases in which one was not.
    pub failed: usize,
    /// For each failed case: its index from 0 and what differs.
    pub failures: Vec<Failure>,
}

/// One failed case.
#[derive(Debug, Serialize)]
pub struct Failure {
    /// Index in `cases`, from 0.
    pub case: usize,
    /// The field and what was expected and found, or which field is missing or malformed.
    pub reason: String,
}

/// Why a directory could not be walked.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// A file or the directory could not be read.
    #[error("{path}: {error}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A file is not a JSON object with a list `cases`.
    #[error("{path}: {reason}")]
    Shape {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// None of the known files is there.
    #[error(
        "{0}: holds none of suite.json, chain.json, report.json, device_terminated.json, uicc.json"
    )]
    Empty(PathBuf),
}

type Check = fn(&Case<'_>) -> Result<(), String>;

const FILES: [(&str, Check); 5] = [
    ("suite.json", suite::check),
    ("chain.json", chain::check),
    ("report.json", report::check),
    ("device_terminated.json", device_terminated::check),
    ("uicc.json", uicc::check),
];

/// Walks the vector files in `dir`, in a fixed order.
///
/// # Errors
/// [`WalkError`] when a file cannot be read or is not of the shape; a case that fails is a result, not an error.
pub fn walk(dir: &Path) -> Result<Vec<FileResult>, WalkError> {
    fs::read_dir(dir).map_err(|error| WalkError::Io {
        path: dir.into(),
        error,
    })?;
    let mut results = Vec::new();
    for (name, check) in FILES {
        let path = dir.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => results.push(walk_file(&path, name, check, &text)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(WalkError::Io { path, error }),
        }
    }
    if results.is_empty() {
        return Err(WalkError::Empty(dir.into()));
    }
    Ok(results)
}

fn walk_file(path: &Path, name: &str, check: Check, text: &str) -> Result<FileResult, WalkError> {
    let shape = |reason: String| WalkError::Shape {
        path: path.into(),
        reason,
    };
    let file: Value = serde_json::from_str(text).map_err(|error| shape(error.to_string()))?;
    let cases = file
        .get("cases")
        .and_then(Value::as_array)
        .ok_or_else(|| shape("cases: must be a list".into()))?;
    let mut result = FileResult {
        file: name.into(),
        ..FileResult::default()
    };
    for (index, value) in cases.iter().enumerate() {
        match check(&Case(value)) {
            Ok(()) => result.passed += 1,
            Err(reason) => {
                result.failed += 1;
                result.failures.push(Failure {
                    case: index,
                    reason,
                });
            }
        }
    }
    Ok(result)
}
