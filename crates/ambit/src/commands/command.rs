//! `ambit command read|write|disable|list|withdraw`.

use clap::{Args, Subcommand};

use super::inventory::{How, Target, run};
use super::print_rows;
use crate::Place;
use crate::admin::{AskOperation, Request};
use crate::failure::Failure;

/// Give devices a command: they are paged, prove themselves, and are told under the key of that exchange.
///
/// Needs a running core (`ambit serve`) with readers. Exit code 1: nobody answered, or a device did not do it. With
/// --when-it-reports the command is kept for a device that cannot be paged now, and given with the answer to its next report.
#[derive(Subcommand)]
pub(crate) enum Command {
    Read(Read),
    Write(Write),
    Disable(Disable),
    List(List),
    Withdraw(Withdraw),
}

/// READ from devices' memory.
///
/// What was read stands in the column `data`, in hexadecimal; of a kept command in the column `read` of `ambit command list`.
#[derive(Args)]
pub(crate) struct Read {
    #[command(flatten)]
    target: Target,
    /// First octet.
    #[arg(long, value_name = "N", default_value = "0")]
    offset: u16,
    /// Octets, 1 to 4096; 1 to 96 with --when-it-reports.
    #[arg(long, value_name = "N")]
    length: u16,
    /// Every device in the area.
    #[arg(long, required_unless_present_any = ["device", "filter"], conflicts_with_all = ["device", "filter", "when_it_reports"])]
    all: bool,
    #[command(flatten)]
    keep: Keep,
    #[command(flatten)]
    how: How,
}

/// WRITE to devices' memory.
///
/// More than 96 octets are written in pieces, each of them whole or not at all.
#[derive(Args)]
pub(crate) struct Write {
    #[command(flatten)]
    target: Target,
    /// First octet.
    #[arg(long, value_name = "N", default_value = "0")]
    offset: u16,
    /// What to write, in hexadecimal, 1 to 4096 octets; 1 to 96 with --when-it-reports.
    #[arg(long, value_name = "HEX")]
    data: String,
    /// Every device in the area.
    #[arg(long, required_unless_present_any = ["device", "filter"], conflicts_with_all = ["device", "filter", "when_it_reports"])]
    all: bool,
    #[command(flatten)]
    keep: Keep,
    #[command(flatten)]
    how: How,
}

/// PERMANENT DISABLE: the device never speaks again. There is no way back.
///
/// Only devices named one by one can be disabled. A device whose acknowledgement is lost may have obeyed all the same; the
/// network goes on knowing it.
#[derive(Args)]
pub(crate) struct Disable {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    keep: Keep,
    #[command(flatten)]
    how: How,
}

/// Whether the command waits for the device.
#[derive(Args)]
pub(crate) struct Keep {
    /// Keep the command and give it with the answer to the device's next report. For devices that speak first; needs no
    /// running core.
    #[arg(
        long,
        requires = "device",
        conflicts_with_all = ["areas", "filter", "concealed", "expect", "interval", "seconds"]
    )]
    when_it_reports: bool,
    /// How long it is kept, in seconds, 1 to 31622400.
    #[arg(
        long,
        value_name = "S",
        default_value = "604800",
        requires = "when_it_reports"
    )]
    expires: u32,
}

/// List the kept commands that wait for their devices.
///
/// A device's commands are given in the order of their ids, one with each report. One that was given and not answered is given
/// again.
#[derive(Args)]
pub(crate) struct List {
    /// Also those that have ended, with what came of them.
    #[arg(long)]
    all: bool,
    /// Only those for this device.
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// One JSON object a line; octets in hexadecimal.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Withdraw kept commands. A device that was given one may be doing it all the same; if it has, the list says so.
#[derive(Args)]
pub(crate) struct Withdraw {
    /// Commands, by the id that `ambit command list` prints.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<i64>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

const COLUMNS: &[(&str, usize)] = &[
    ("id", 5),
    ("state", 9),
    ("kind", 7),
    ("device_name", 34),
    ("made", 24),
    ("expires", 24),
    ("given", 24),
    ("times_given", 11),
    ("failure", 18),
    ("read", 20),
];

impl Command {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Read(Read {
                target,
                keep,
                how,
                offset,
                length,
                ..
            }) => give(target, &keep, how, AskOperation::Read { offset, length }),
            Self::Write(Write {
                target,
                keep,
                how,
                offset,
                data,
                ..
            }) => give(target, &keep, how, AskOperation::Write { offset, data }),
            Self::Disable(Disable { target, keep, how }) => {
                if target.device.is_empty() || target.filter.is_some() {
                    let message = "--device: must name each device that is to be disabled";
                    return Err(Failure::input("device_missing", message));
                }
                give(target, &keep, how, AskOperation::PermanentDisable)
            }
            Self::List(List {
                all,
                device,
                json,
                place,
            }) => print_rows(&place, &Request::CommandList { device, all }, json, COLUMNS),
            Self::Withdraw(Withdraw { ids, json, place }) => {
                print_rows(&place, &Request::CommandWithdraw { ids }, json, COLUMNS)
            }
        }
    }
}

/// At once, or when the device reports.
fn give(target: Target, keep: &Keep, how: How, operation: AskOperation) -> Result<(), Failure> {
    if !keep.when_it_reports {
        return run(target, how, operation);
    }
    let request = Request::CommandKeep {
        devices: target.device,
        operation,
        lifetime_s: keep.expires,
    };
    print_rows(&how.place, &request, how.json, COLUMNS)
}
