//! `ambit presence list`, `ambit presence show`.

use clap::{Args, Subcommand};

use super::print_rows;
use crate::Place;
use crate::admin::Request;
use crate::failure::Failure;

/// Presence: which devices are there, since when and where.
///
/// It is worked out from the acceptance records. A device is absent when it said that it was going silent, or when its fleet
/// has a `report_interval_s` in the configuration and its report is overdue.
#[derive(Subcommand)]
pub(crate) enum Presence {
    List(List),
    Show(Show),
}

/// List all devices: present, absent, or unknown when they were never heard.
#[derive(Args)]
pub(crate) struct List {
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Show the history of one device: when it appeared, moved, went missing, returned; the last row is how it is now.
#[derive(Args)]
pub(crate) struct Show {
    /// The device (hexadecimal, urn:epc:id:... or text).
    device: String,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

const STATES: &[(&str, usize)] = &[
    ("device_name", 34),
    ("presence", 8),
    ("reason", 12),
    ("since", 24),
    ("last_heard", 24),
    ("area_id", 24),
];

const CHANGES: &[(&str, usize)] = &[
    ("time", 24),
    ("change", 16),
    ("presence", 8),
    ("since", 24),
    ("last_heard", 24),
    ("area_id", 24),
];

impl Presence {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let (device_id, json, place, columns) = match self {
            Self::List(List { json, place }) => (None, json, place, STATES),
            Self::Show(Show {
                device,
                json,
                place,
            }) => (Some(device), json, place, CHANGES),
        };
        let expectation = place.config()?.expectation()?;
        let request = Request::PresenceList {
            interval_s: expectation.interval_s,
            grace_s: expectation.grace_s,
            device_id,
        };
        print_rows(&place, &request, json, columns)
    }
}
