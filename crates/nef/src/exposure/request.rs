//! InventoryReq and CommandReq of an AF: what it asks, and whether it may.

use std::sync::Arc;

use ambit_adm_api::{AfAccount, AfOperation};
use ambit_aiotf::service::{Devices, Operation, RequestError, ServiceRequest};
use ambit_protocol::AreaId;
use ambit_sbi::aiotf::parse::{command, devices};
use ambit_sbi::exchange::{Exchange, Reply};
use ambit_sbi::json::{Fields, set};
use ambit_sbi::problem::Problem;
use serde_json::json;

use super::Exposure;
use super::notify::{self, Telling};

/// How long an inventory goes on when no interval is asked for, and beyond the interval, in seconds.
const TIMEOUT_S: u32 = 60;

pub(super) async fn take(
    nef: &Arc<Exposure>,
    account: &Arc<AfAccount>,
    exchange: &Exchange,
    is_command: bool,
) -> Result<Reply, Problem> {
    let fields = Fields::of(exchange.json()?)?;
    let name = fields.required("afId")?.short_text(256)?;
    if name != account.name {
        return Err(Problem::forbidden(
            "AF_ID_MISMATCH",
            "/afId: must be the AF that the token was issued to",
        ));
    }
    let operation = match is_command {
        true => command(&fields)?,
        false => Operation::Inventory,
    };
    let kind = kind_of(&operation);
    if !account.authorization.may(kind) {
        let detail = format!("the AF is not granted the operation {}", kind.name());
        return Err(Problem::forbidden("OPERATION_NOT_ALLOWED", detail));
    }
    let request = parse(nef, account, &fields, operation)?;
    check_devices(nef, account, &request).await?;
    let uri = fields.required("notifUri")?;
    let target = nef.callbacks.check(&uri).await?;

    let open = nef.quotas.open(account)?;
    let aiotf = Arc::clone(&nef.aiotf);
    let af = account.name.clone();
    let taken = tokio::task::spawn_blocking(move || aiotf.request(&af, request)).await;
    let gone = || Problem::unavailable("no AIOTF can be asked", 1);
    let (id, results) = taken.ok().flatten().ok_or_else(gone)?.map_err(refusal)?;
    let af_trans_id = format!("{}-{:x}", nef.prefix, id.0);
    let mut body = json!({ "afTransId": af_trans_id });
    if fields.has("suppFeat") {
        // Release 19 defines none.
        set(&mut body, "suppFeat", "0");
    }
    let telling = Telling {
        af: account.name.clone(),
        af_trans_id,
        operation: kind,
        target,
        with_place: fields.has("devLocReqInd"),
        open,
    };
    tokio::spawn(notify::follow(Arc::clone(nef), results, telling));
    Ok(Reply::ok(body))
}

fn parse(
    nef: &Exposure,
    account: &AfAccount,
    fields: &Fields<'_>,
    operation: Operation,
) -> Result<ServiceRequest, Problem> {
    let granted = &account.authorization;
    let target = fields.optional("targetDevices");
    let target = target.map(|field| devices(&field)).transpose()?;
    let areas: Vec<AreaId> = match fields.optional("extTargetArea") {
        Some(field) => nef.areas.wanted(&field, granted)?,
        None if target.is_none() => return Err(Problem::missing("/extTargetArea")),
        // Its devices, where it may look for them.
        None => granted.areas.clone().unwrap_or_default(),
    };
    // To the AIOTF, no area means everywhere.
    if areas.is_empty() && granted.areas.is_some() {
        return Err(Problem::forbidden(
            "AREA_NOT_ALLOWED",
            "the AF is granted no area",
        ));
    }
    let number = |name: &str, greatest| {
        let field = fields.optional(name);
        field.map(|field| field.integer(0, greatest)).transpose()
    };
    let expected = number("numDevices", u64::MAX)?.filter(|n| *n > 0);
    let interval_s = number("timeInterval", 256)?.filter(|s| *s > 0);
    let interval_s = interval_s.and_then(|s| u16::try_from(s).ok());
    number("msgSize", u64::MAX)?;
    if let Some(field) = fields.optional("devLocReqInd") {
        field.true_only()?;
    }
    if let Some(field) = fields.optional("suppFeat")
        && !field.text()?.bytes().all(|c| c.is_ascii_hexdigit())
    {
        return Err(field.breaks("must be hexadecimal digits"));
    }
    Ok(ServiceRequest {
        areas,
        devices: target.unwrap_or(Devices::All),
        is_concealed: true,
        // More than a reader can be told is as many as it can be told.
        expected: expected.map(|n| u16::try_from(n).unwrap_or(u16::MAX)),
        interval_s,
        timeout_s: TIMEOUT_S + u32::from(interval_s.unwrap_or(0)),
        operation,
    })
}

/// Whether it may ask this of these devices. An inventory may be of everybody in an area: the AF is told of its own alone. A
/// command may only go where every device that can be meant is the AF's.
async fn check_devices(
    nef: &Exposure,
    account: &AfAccount,
    request: &ServiceRequest,
) -> Result<(), Problem> {
    let granted = &account.authorization.devices;
    let refused = |what: &str| {
        let detail = format!("{what} is not among the devices that the AF is granted");
        Problem::forbidden("DEVICE_NOT_ALLOWED", detail)
    };
    let is_inventory = request.operation == Operation::Inventory;
    match &request.devices {
        Devices::Named(ids) => {
            let unclear: Vec<&[u8]> = ids
                .iter()
                .map(Vec::as_slice)
                .filter(|id| !granted.has(id, None))
                .collect();
            let fleets = match granted.needs_fleet() && !unclear.is_empty() {
                true => nef.accounts.fleets(&unclear).await?,
                false => Default::default(),
            };
            let is_other = |id: &Vec<u8>| !granted.has(id, fleets.get(id).map(String::as_str));
            match ids.iter().position(is_other) {
                Some(at) => Err(refused(&format!("/targetDevices/devices/{at}"))),
                None => Ok(()),
            }
        }
        Devices::Filter(filter) if !is_inventory && !granted.has_all_with(filter) => {
            Err(refused("/targetDevices/filteringInfo"))
        }
        Devices::All if !is_inventory && !granted.has_all_with(&[]) => {
            Err(refused("everybody in /extTargetArea"))
        }
        Devices::Filter(_) | Devices::All => Ok(()),
    }
}

const fn kind_of(operation: &Operation) -> AfOperation {
    match operation {
        Operation::Inventory => AfOperation::Inventory,
        Operation::Read { .. } => AfOperation::Read,
        Operation::Write { .. } => AfOperation::Write,
        Operation::PermanentDisable => AfOperation::PermanentDisable,
    }
}

/// Where a field of a request stands in an AF's body.
fn pointer(field: &str) -> &'static str {
    match field {
        "area" => "/extTargetArea/extAreaIds",
        field => ambit_sbi::aiotf::parse::pointer(field),
    }
}

fn refusal(error: RequestError) -> Problem {
    match error {
        RequestError::Invalid { field, rule } => Problem::incorrect(pointer(field), rule),
        RequestError::UnknownDevice { at } => {
            let param = format!("/targetDevices/devices/{at}");
            let mut problem =
                Problem::not_found("DEVICE_NOT_FOUND", format!("{param}: no such device"));
            problem
                .invalid_params
                .push((param, "no such device".into()));
            problem
        }
        RequestError::AreaNotServed => Problem::not_found(
            "AREA_NOT_SERVED",
            "/extTargetArea: no reader that is connected serves it",
        ),
        RequestError::TooMany => Problem::overload(5),
        RequestError::Adm(_) => Problem::unavailable("the ADM could not be asked", 1),
    }
}
