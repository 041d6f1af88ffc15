//! `ambit lab models`.

use std::io::Write;
use std::path::PathBuf;

use ambit_lab::models::symbolic::{MODELS, SymbolicError};
use ambit_lab::models::{Row, state_machines, table};
use clap::Args;
use serde_json::{Value, json};

use crate::commands::printed;
use crate::failure::Failure;
use crate::show::Rows;

/// Run the models of the protocol, with their broken twins, and hold the results against what is claimed.
///
/// Symbolic models run in Verifpal, which has to be installed (`cargo install verifpal`); state machines need nothing. Exit
/// code 1 when a result is not the one expected, 4 when Verifpal is not there (the state machines are then run all the same).
#[derive(Args)]
pub(crate) struct Models {
    /// The Verifpal program.
    #[arg(long, value_name = "PROGRAM", default_value = "verifpal")]
    verifpal: PathBuf,
    /// One JSON object a property; a state machine's with the way to its violation.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// The page docs/reference/models.md.
    #[arg(long)]
    markdown: bool,
}

const COLUMNS: &[(&str, usize)] = &[
    ("model", 36),
    ("expected", 8),
    ("found", 7),
    ("states", 8),
    ("property", 0),
];

impl Models {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let dir =
            tempfile::tempdir().map_err(|error| Failure::io("temporary directory", &error))?;
        let mut missing = None;
        let mut rows = Vec::new();
        for model in MODELS {
            match model.run(&self.verifpal, dir.path()) {
                Ok(found) => rows.extend(found),
                Err(error @ SymbolicError::ToolMissing) => {
                    rows.extend(model.unasked());
                    missing = Some(Failure::resource("verifpal_missing", error));
                }
                Err(error) => return Err(Failure::resource("verifpal_failed", error)),
            }
        }
        rows.extend(state_machines());
        printed(self.print(&rows))?;
        let is_wrong = |row: &&Row| row.found.is_some() && !row.is_as_expected();
        match rows.iter().filter(is_wrong).count() {
            0 => missing.map_or(Ok(()), Err),
            wrong => Err(Failure::negative(
                "models_failed",
                format!(
                    "{wrong} of {} results are not the expected ones",
                    rows.len()
                ),
            )),
        }
    }

    fn print(&self, rows: &[Row]) -> std::io::Result<()> {
        if self.markdown {
            return write!(std::io::stdout(), "{}", table::page(rows));
        }
        let mut table = Rows::new(self.json, COLUMNS);
        for row in rows {
            table.print(&value(row))?;
        }
        table.finish()
    }
}

fn value(row: &Row) -> Value {
    json!({
        "tool": row.tool,
        "method": row.method,
        "model": row.model,
        "broken": row.broken,
        "property": row.property,
        "expected": table::name(Some(row.expected)),
        "found": table::name(row.found),
        "states": row.states,
        "path": row.path,
    })
}
