//! InventoryReq and CommandReq.

use ambit_aiotf::service::{Devices, Operation, ServiceRequest};
use ambit_protocol::AreaId;
use serde_json::Value;

use crate::client::Client;
use crate::json::{Field, Fields};
use crate::nrf::profile::area_of;
use crate::problem::Problem;

/// How long an inventory goes on when no interval is asked for, and beyond the interval, in seconds.
const TIMEOUT_S: u32 = 60;

/// What was asked.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: ServiceRequest,
    pub(super) notif_uri: String,
    pub(super) with_place: bool,
    pub(super) has_features: bool,
}

impl Asked {
    pub(super) fn parse(body: &Value, is_command: bool, client: &Client) -> Result<Self, Problem> {
        let fields = Fields::of(body)?;
        fields.required("afId")?.short_text(256)?;
        let notif_uri = callback_uri(&fields, client)?;
        let area = fields
            .optional("targetArea")
            .map(|area| areas(&area))
            .transpose()?;
        let devices = fields
            .optional("targetDevices")
            .map(|field| devices(&field))
            .transpose()?;
        if area.is_none() && devices.is_none() {
            return Err(Problem::missing("/targetArea"));
        }
        let number = |name: &str, least, greatest| {
            fields
                .optional(name)
                .map(|field| field.integer(least, greatest))
                .transpose()
        };
        let expected = number("numDevices", 0, u64::MAX)?;
        let interval_s = number("timeInterval", 1, 256)?.and_then(|s| u16::try_from(s).ok());
        number("msgSize", 0, u64::MAX)?;
        let with_place = fields
            .optional("devLocReqInd")
            .map(|field| field.true_only())
            .transpose()?;
        features(&fields)?;
        let operation = if is_command {
            command(&fields)?
        } else {
            Operation::Inventory
        };
        Ok(Self {
            request: ServiceRequest {
                areas: area.unwrap_or_default(),
                devices: devices.unwrap_or(Devices::All),
                is_concealed: true,
                // More than a reader can be told is as many as it can be told.
                expected: expected
                    .filter(|n| *n > 0)
                    .map(|n| u16::try_from(n).unwrap_or(u16::MAX)),
                interval_s,
                timeout_s: TIMEOUT_S + u32::from(interval_s.unwrap_or(0)),
                operation,
            },
            notif_uri,
            with_place: with_place.is_some(),
            has_features: fields.has("suppFeat"),
        })
    }
}

/// Where the requester wants to be told. A URI that could never be reached is refused now rather than found out later.
pub(super) fn callback_uri(fields: &Fields<'_>, client: &Client) -> Result<String, Problem> {
    let uri = fields.required("notifUri")?;
    match client.refuses(uri.text()?) {
        None => Ok(uri.text()?.to_owned()),
        Some(rule) => Err(uri.breaks(rule)),
    }
}

/// Checks suppFeat. There are no features yet.
pub(super) fn features(fields: &Fields<'_>) -> Result<(), Problem> {
    match fields.optional("suppFeat") {
        Some(field) if !field.text()?.bytes().all(|c| c.is_ascii_hexdigit()) => {
            Err(field.breaks("must be hexadecimal digits"))
        }
        _ => Ok(()),
    }
}

fn areas(field: &Field<'_>) -> Result<Vec<AreaId>, Problem> {
    let list = field.object()?.required("areaIds")?.array(256)?;
    list.iter().map(area_of).collect()
}

/// AIoTDevices.
///
/// # Errors
/// It is none.
pub fn devices(field: &Field<'_>) -> Result<Devices, Problem> {
    let fields = field.object()?;
    match (fields.optional("devices"), fields.optional("filteringInfo")) {
        (Some(list), None) => {
            let list = list.array(ambit_aiotf::service::DEVICES_MAX)?;
            let ids = list
                .iter()
                .map(|id| id.bytes(1, 128))
                .collect::<Result<_, _>>();
            Ok(Devices::Named(ids?))
        }
        (None, Some(filter)) => Ok(Devices::Filter(filter.bytes(1, 128)?)),
        _ => Err(field.breaks("must have either devices or filteringInfo")),
    }
}

/// commandType, and what that type takes.
///
/// # Errors
/// A member is missing or breaks a rule.
pub fn command(fields: &Fields<'_>) -> Result<Operation, Problem> {
    let kind = fields.required("commandType")?;
    let octets_max = ambit_aiotf::service::COMMAND_OCTETS_MAX;
    let offset = || {
        let field = fields.optional("offset");
        let offset = field.map_or(Ok(0), |field| field.integer(0, u16::MAX.into()));
        offset.map(|offset| u16::try_from(offset).unwrap_or(u16::MAX))
    };
    match kind.text()? {
        "READ" => {
            let length = fields.required("length")?.integer(1, octets_max as u64)?;
            let length = u16::try_from(length).unwrap_or(u16::MAX);
            Ok(Operation::Read {
                offset: offset()?,
                length,
            })
        }
        "WRITE" => {
            let data = fields.required("data")?.bytes(1, octets_max)?;
            Ok(Operation::Write {
                offset: offset()?,
                data,
            })
        }
        "PERMANENT_DISABLE" => Ok(Operation::PermanentDisable),
        _ => Err(kind.breaks("must be READ, WRITE or PERMANENT_DISABLE")),
    }
}

/// Where a field of a request stands in the body.
pub fn pointer(field: &str) -> &'static str {
    match field {
        "area" => "/targetArea/areaIds",
        "device" => "/targetDevices/devices",
        "filter" => "/targetDevices/filteringInfo",
        "expected" => "/numDevices",
        "interval_s" => "/timeInterval",
        "length" => "/length",
        "offset" => "/offset",
        _ => "",
    }
}
