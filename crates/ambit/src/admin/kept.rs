//! Kept commands: made, listed, withdrawn.

use ambit_adm::Adm;
use ambit_adm_api::KeptOperation;
use ambit_provisioning::parse_device_id;
use ambit_store::{CommandFilter, Store};
use serde_json::Value;

use super::{AskOperation, execute};
use crate::failure::Failure;
use crate::show;

/// Keeps a command for each of some devices.
pub(super) fn keep(
    adm: &mut Adm,
    devices: &[String],
    operation: &AskOperation,
    lifetime_s: u32,
    now_ms: i64,
    row: &mut dyn FnMut(Value) -> bool,
) -> Result<(), Failure> {
    let ids: Result<Vec<_>, String> = devices.iter().map(|id| parse_device_id(id)).collect();
    let ids = ids.map_err(|rule| invalid("device", &rule))?;
    let operation = parse(operation)?;
    for command in adm.keep_commands(&ids, &operation, lifetime_s, now_ms)? {
        if !row(show::command(&command)) {
            break;
        }
    }
    Ok(())
}

pub(super) fn withdraw(
    adm: &mut Adm,
    ids: &[i64],
    now_ms: i64,
    row: &mut dyn FnMut(Value) -> bool,
) -> Result<(), Failure> {
    for id in ids {
        let command = adm.withdraw_command(*id, now_ms)?;
        if !row(show::command(&command)) {
            break;
        }
    }
    Ok(())
}

pub(super) fn list(
    store: &mut dyn Store,
    device: Option<&str>,
    with_ended: bool,
    row: &mut dyn FnMut(Value) -> bool,
) -> Result<(), Failure> {
    let id = execute::known(store, device)?;
    let found = match id {
        Some(id) => store.device(&id)?,
        None => None,
    };
    let filter = CommandFilter {
        device: found.map(|device| device.id),
        is_open: !with_ended,
    };
    store.commands_for_each(&filter, &mut |command| {
        execute::flow(row(show::command(&command)))
    })?;
    Ok(())
}

fn parse(operation: &AskOperation) -> Result<KeptOperation, Failure> {
    Ok(match operation {
        AskOperation::Read { offset, length } => KeptOperation::Read {
            offset: *offset,
            // Too many is too many, also where a u8 does not hold it.
            length: u8::try_from(*length).unwrap_or(u8::MAX),
        },
        AskOperation::Write { offset, data } => KeptOperation::Write {
            offset: *offset,
            data: hex::decode(data).map_err(|error| invalid("data", &error.to_string()))?,
        },
        AskOperation::PermanentDisable => KeptOperation::PermanentDisable,
        AskOperation::Inventory => return Err(invalid("operation", "must be a command")),
    })
}

fn invalid(field: &str, rule: &str) -> Failure {
    Failure::input("request_invalid", format!("{field}: {rule}"))
}
