//! `ambit alarm list`, `ambit alarm ack`.

use clap::{Args, Subcommand};

use super::print_rows;
use crate::Place;
use crate::admin::Request;
use crate::failure::Failure;

/// Alarms: what the warnings and alarms among the events come to.
///
/// One for each kind and device, or place where no device is named. It counts until an operator acknowledges it; what
/// happens then raises another.
#[derive(Subcommand)]
pub(crate) enum Alarm {
    List(List),
    Ack(Ack),
}

/// List the alarms that nobody has acknowledged.
#[derive(Args)]
pub(crate) struct List {
    /// Also those that were acknowledged.
    #[arg(long)]
    all: bool,
    /// One JSON object a line; octets in hexadecimal.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Acknowledge alarms. One that was acknowledged before stays as it is.
#[derive(Args)]
pub(crate) struct Ack {
    /// Alarms, by the id that `ambit alarm list` prints.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<i64>,
    /// Who acknowledges.
    #[arg(long, value_name = "NAME", default_value = "operator")]
    by: String,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

const COLUMNS: &[(&str, usize)] = &[
    ("id", 5),
    ("first", 24),
    ("time", 24),
    ("severity", 8),
    ("kind", 24),
    ("count", 6),
    ("device_name", 34),
    ("area_id", 24),
    ("acked_by", 12),
    ("detail", 20),
];

impl Alarm {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::List(List { all, json, place }) => {
                print_rows(&place, &Request::AlarmList { all }, json, COLUMNS)
            }
            Self::Ack(Ack {
                ids,
                by,
                json,
                place,
            }) => print_rows(&place, &Request::AlarmAck { ids, by }, json, COLUMNS),
        }
    }
}
