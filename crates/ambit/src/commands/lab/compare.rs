//! `ambit lab compare`.

use std::io::Write;

use ambit_lab::compare::{AXES, Row, compare, table};
use clap::Args;
use serde_json::{Map, Value};

use crate::commands::printed;
use crate::failure::Failure;
use crate::show::Rows;

/// Compare what the credential modes cost: messages, octets, card and device operations, durable writes.
///
/// Each mode runs with one device at one reader and the whole core behind it, and everything is counted while it runs, for
/// the first exchange (power-on to ACCEPT) and for a report in the steady state. Takes some seconds.
#[derive(Args)]
pub(crate) struct Compare {
    /// One JSON object a method and exchange.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// The page docs/reference/compare.md.
    #[arg(long)]
    markdown: bool,
}

impl Compare {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let rows = compare().map_err(|error| Failure::negative("compare_failed", error))?;
        printed(self.print(&rows))
    }

    fn print(&self, rows: &[Row]) -> std::io::Result<()> {
        if self.markdown {
            return write!(std::io::stdout(), "{}", table::page(rows));
        }
        let mut columns = vec![("method", 37), ("phase", 6), ("form", 9)];
        columns.extend(AXES.iter().map(|axis| (axis.name, axis.name.len())));
        let mut table = Rows::new(self.json, &columns);
        for row in rows {
            table.print(&value(row))?;
        }
        table.finish()
    }
}

fn value(row: &Row) -> Value {
    let mut object = Map::new();
    object.insert("method".into(), row.method.into());
    object.insert("phase".into(), row.phase.name().into());
    object.insert("form".into(), row.form.into());
    for axis in AXES {
        object.insert(axis.name.into(), (axis.of)(&row.cost).into());
    }
    Value::Object(object)
}
