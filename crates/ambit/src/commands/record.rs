//! `ambit record list`.

use ambit_aiotf::server::unix_ms;
use clap::{Args, Subcommand};

use super::print_rows;
use crate::Place;
use crate::admin::Request;
use crate::failure::Failure;
use crate::show;

/// Acceptance records: what was verified, once each.
#[derive(Subcommand)]
pub(crate) enum Record {
    List(List),
}

/// List acceptance records in the order of their acceptance.
#[derive(Args)]
pub(crate) struct List {
    /// Only this device (hexadecimal, urn:epc:id:... or text).
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// Only from this time on: RFC 3339, Unix seconds, or how long ago (10m, 2h).
    #[arg(long, value_name = "T")]
    since: Option<String>,
    /// One JSON object a line; octets in hexadecimal.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

const COLUMNS: &[(&str, usize)] = &[
    ("time", 24),
    ("device_name", 34),
    ("epoch", 8),
    ("form", 9),
    ("area_id", 24),
    ("cause_name", 12),
    ("seq", 3),
    ("repeat", 6),
    ("data", 20),
];

impl Record {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let Self::List(list) = self;
        let request = Request::RecordList {
            device_id: list.device,
            since_ms: since(list.since.as_deref())?,
        };
        print_rows(&list.place, &request, list.json, COLUMNS)
    }
}

/// Unix time in ms of `--since`.
pub(crate) fn since(text: Option<&str>) -> Result<Option<i64>, Failure> {
    let parse = |text| show::parse_time(text, unix_ms());
    text.map(parse)
        .transpose()
        .map_err(|rule| Failure::input("since_invalid", format!("--since: {rule}")))
}
