//! `ambit event list`.

use clap::{Args, Subcommand};

use super::print_rows;
use super::record::since;
use crate::Place;
use crate::admin::Request;
use crate::failure::Failure;

/// Events: accepted reports, alarms, and what operators did.
#[derive(Subcommand)]
pub(crate) enum Event {
    List(List),
}

/// List events by time. Every accepted report that is no repeat is an event of kind report_accepted.
#[derive(Args)]
pub(crate) struct List {
    /// Only this kind, e.g. report_accepted, impersonation_attempt, clone_suspicion.
    #[arg(long)]
    kind: Option<String>,
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
    ("severity", 8),
    ("kind", 24),
    ("count", 6),
    ("device_name", 34),
    ("area_id", 24),
    ("detail", 20),
];

impl Event {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let Self::List(list) = self;
        let request = Request::EventList {
            kind: list.kind,
            since_ms: since(list.since.as_deref())?,
        };
        print_rows(&list.place, &request, list.json, COLUMNS)
    }
}
