//! `ambit vectors DIR`.

use std::io::Write;
use std::path::PathBuf;

use ambit_vectors::WalkError;
use clap::Args;

use super::printed;
use crate::failure::Failure;

/// Walk test vector files and print passed and failed by file.
///
/// DIR holds any of suite.json, chain.json, report.json, device_terminated.json and uicc.json. Exit code 1 when a case
/// fails.
#[derive(Args)]
pub(crate) struct Vectors {
    /// Directory with vector files.
    dir: PathBuf,
    /// One JSON object a file.
    #[arg(long)]
    json: bool,
}

impl Vectors {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let results = ambit_vectors::walk(&self.dir).map_err(|error| match &error {
            WalkError::Io { .. } => Failure::resource("io", &error),
            _ => Failure::input("vectors_invalid", &error),
        })?;
        let mut out = std::io::stdout().lock();
        for result in &results {
            let mut text = if self.json {
                serde_json::to_string(result).unwrap_or_default()
            } else {
                let (file, passed, failed) = (&result.file, result.passed, result.failed);
                format!("{file:<24} {passed:>4} passed  {failed:>4} failed")
            };
            for failure in result.failures.iter().filter(|_| !self.json) {
                text += &format!("\n  case {}: {}", failure.case, failure.reason);
            }
            printed(writeln!(out, "{text}"))?;
        }
        match results.iter().map(|result| result.failed).sum::<usize>() {
            0 => Ok(()),
            failed => Err(Failure::negative(
                "vectors_failed",
                format!("{failed} cases failed"),
            )),
        }
    }
}
