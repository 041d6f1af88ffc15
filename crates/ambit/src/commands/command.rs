//! `ambit command read|write|disable`.

use clap::{Args, Subcommand};

use super::inventory::{How, Target, run};
use crate::admin::AskOperation;
use crate::failure::Failure;

/// Give devices a command: they are paged, prove themselves, and are told under the key of that exchange.
///
/// Needs a running core (`ambit serve`) with readers. Exit code 1: nobody answered, or a device did not do it.
#[derive(Subcommand)]
pub(crate) enum Command {
    Read(Read),
    Write(Write),
    Disable(Disable),
}

/// READ from devices' memory.
///
/// What was read stands in the column `data`, in hexadecimal.
#[derive(Args)]
pub(crate) struct Read {
    #[command(flatten)]
    target: Target,
    /// First octet.
    #[arg(long, value_name = "N", default_value = "0")]
    offset: u16,
    /// Octets, 1 to 4096.
    #[arg(long, value_name = "N")]
    length: u16,
    /// Every device in the area.
    #[arg(long, required_unless_present_any = ["device", "filter"], conflicts_with_all = ["device", "filter"])]
    all: bool,
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
    /// What to write, in hexadecimal, 1 to 4096 octets.
    #[arg(long, value_name = "HEX")]
    data: String,
    /// Every device in the area.
    #[arg(long, required_unless_present_any = ["device", "filter"], conflicts_with_all = ["device", "filter"])]
    all: bool,
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
    how: How,
}

impl Command {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Read(Read {
                target,
                how,
                offset,
                length,
                ..
            }) => run(target, how, AskOperation::Read { offset, length }),
            Self::Write(Write {
                target,
                how,
                offset,
                data,
                ..
            }) => run(target, how, AskOperation::Write { offset, data }),
            Self::Disable(Disable { target, how }) => {
                if target.device.is_empty() || target.filter.is_some() {
                    let message = "--device: must name each device that is to be disabled";
                    return Err(Failure::input("device_missing", message));
                }
                run(target, how, AskOperation::PermanentDisable)
            }
        }
    }
}
