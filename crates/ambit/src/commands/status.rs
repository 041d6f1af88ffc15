//! `ambit status`.

use clap::Args;
use serde_json::Value;

use super::print_one;
use crate::Place;
use crate::admin::{self, Request, flat};
use crate::failure::Failure;

/// Say how core and store stand: deployment and policy in force, devices, records, gNBs, faults.
///
/// Of a running core under its own configuration; without one, of the data directory under --config. Exit code 1 if the core
/// is kept from accepting reports.
#[derive(Args)]
pub(crate) struct Status {
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

impl Status {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut status = Value::Null;
        admin::run(&self.place, &Request::Status, &mut |row| {
            status = row;
            true
        })?;
        let fault = status.get("fault").and_then(Value::as_str);
        let fault = fault.map(|fault| Failure::negative("core_failing", fault));
        if self.json {
            print_one(&status, true)?;
        } else {
            print_one(&Value::Object(flat(&status)), false)?;
        }
        fault.map_or(Ok(()), Err)
    }
}
