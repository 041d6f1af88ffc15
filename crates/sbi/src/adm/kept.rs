//! Kept commands: what goes out with an ACCEPT of status 01 (`followOn` of a verdict), and doa-conclude-command.

use ambit_adm_api::{
    CommandOutcome, DeviceFailure, FollowOn, KEPT_OCTETS_MAX, KeptCommand, KeptOperation,
    NadmError, SessionKey,
};
use ambit_protocol::{KAiotf, Suite, TagLen};
use serde_json::{Value, json};

use super::sec::DEVICE_ID_OCTETS;
use super::{SharedAdm, ask, problem};
use crate::clock::unix_ms;
use crate::exchange::{Exchange, Reply};
use crate::json::{Field, Fields, set, to_base64};
use crate::problem::Problem;

/// Numbers of commands: those that JSON carries exactly everywhere.
const ID_MAX: u64 = (1 << 53) - 1;

pub(super) async fn conclude(adm: SharedAdm, exchange: Exchange) -> Result<Reply, Problem> {
    let fields = Fields::of(exchange.json()?)?;
    let id = fields.required("commandId")?.integer(1, ID_MAX)?;
    let id = i64::try_from(id).unwrap_or(i64::MAX);
    let data = fields.optional("data").map(|data| octets(&data));
    let data = data.transpose()?;
    let outcome: CommandOutcome = match fields.optional("failure") {
        None => Ok(data),
        Some(failure) => {
            let named = DeviceFailure::from_name(failure.text()?);
            Err(named.ok_or_else(|| failure.breaks("must be the name of a failure"))?)
        }
    };
    ask(&adm, move |adm| {
        adm.conclude_command(unix_ms(), id, &outcome)
    })
    .await?
    .map_err(fault)?;
    Ok(Reply::no_content())
}

fn fault(error: NadmError) -> Problem {
    match error {
        NadmError::Invalid { field: "id", .. } => {
            Problem::not_found("COMMAND_NOT_FOUND", "commandId: no such command was given")
        }
        error => problem(error, |_| "/data"),
    }
}

/// What is said of a command.
pub(super) fn conclusion_json(id: i64, outcome: &CommandOutcome) -> Value {
    let mut body = json!({ "commandId": id });
    match outcome {
        Ok(None) => {}
        Ok(Some(data)) => set(&mut body, "data", hex::encode(data)),
        Err(failure) => set(&mut body, "failure", failure.name()),
    }
    body
}

pub(super) fn follow_on_json(follow_on: &FollowOn) -> Value {
    let key = &follow_on.key;
    let mut body = json!({
        "aiotDevPermId": to_base64(&follow_on.device_id),
        "kAiotf": hex::encode(key.k_aiotf.expose()),
        "suite": key.suite.number(),
        "tagLen": key.tag_len.octets(),
    });
    if let Some(KeptCommand { id, operation }) = &follow_on.command {
        let mut command = json!({ "commandId": id, "commandType": operation.name() });
        match operation {
            KeptOperation::Read { offset, length } => {
                set(&mut command, "offset", *offset);
                set(&mut command, "length", *length);
            }
            KeptOperation::Write { offset, data } => {
                set(&mut command, "offset", *offset);
                set(&mut command, "data", hex::encode(data));
            }
            KeptOperation::PermanentDisable => {}
        }
        set(&mut body, "command", command);
    }
    body
}

/// What follows an ACCEPT, as a consumer takes it.
pub(super) fn follow_on_of(field: Field<'_>) -> Option<FollowOn> {
    let fields = field.object().ok()?;
    let (least, greatest) = DEVICE_ID_OCTETS;
    let device_id = fields.required("aiotDevPermId").ok()?;
    let suite = fields.required("suite").ok()?.integer(1, 255).ok()?;
    let tag_len = fields.required("tagLen").ok()?.integer(1, 255).ok()?;
    let command = match fields.optional("command") {
        Some(command) => Some(command_of(&command.object().ok()?)?),
        None => None,
    };
    Some(FollowOn {
        device_id: device_id.bytes(least, greatest).ok()?.into(),
        key: SessionKey {
            k_aiotf: KAiotf::new(fields.required("kAiotf").ok()?.hex().ok()?),
            suite: Suite::from_number(u8::try_from(suite).ok()?)?,
            tag_len: TagLen::from_octets(usize::try_from(tag_len).ok()?)?,
        },
        command,
    })
}

fn command_of(fields: &Fields<'_>) -> Option<KeptCommand> {
    let id = fields.required("commandId").ok()?.integer(1, ID_MAX).ok()?;
    let offset = || {
        let offset = fields.required("offset").ok()?;
        u16::try_from(offset.integer(0, u16::MAX.into()).ok()?).ok()
    };
    let operation = match fields.required("commandType").ok()?.text().ok()? {
        "READ" => {
            let length = fields.required("length").ok()?;
            KeptOperation::Read {
                offset: offset()?,
                length: u8::try_from(length.integer(1, 255).ok()?).ok()?,
            }
        }
        "WRITE" => KeptOperation::Write {
            offset: offset()?,
            data: octets(&fields.required("data").ok()?).ok()?,
        },
        "PERMANENT_DISABLE" => KeptOperation::PermanentDisable,
        _ => return None,
    };
    operation.check().ok()?;
    Some(KeptCommand {
        id: i64::try_from(id).ok()?,
        operation,
    })
}

/// 1 to 96 octets in hexadecimal.
fn octets(field: &Field<'_>) -> Result<Vec<u8>, Problem> {
    let octets = hex::decode(field.text()?).ok();
    octets
        .filter(|octets| (1..=KEPT_OCTETS_MAX).contains(&octets.len()))
        .ok_or_else(|| field.breaks("must be 1 to 96 octets in hexadecimal"))
}
