//! Inventories and commands over the admin socket: asked of the running core, answered device by device.

use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use ambit_adm::Adm;
use ambit_aiotf::server::Engine;
use ambit_aiotf::service::{
    DeviceResult, Devices, Notification, Operation, Progress, RequestError, ServiceRequest,
};
use ambit_protocol::AreaId;
use ambit_provisioning::{format_device_id, parse_device_id};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::failure::Failure;

/// How often a client is told how far it is, while nothing else is to be told.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// A request as the client writes it; octets in hexadecimal.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ask {
    pub(crate) areas: Vec<String>,
    pub(crate) devices: AskDevices,
    pub(crate) concealed: bool,
    pub(crate) expected: Option<u16>,
    pub(crate) interval_s: Option<u16>,
    pub(crate) timeout_s: u32,
    pub(crate) operation: AskOperation,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AskDevices {
    All,
    Named(Vec<String>),
    Filter(String),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AskOperation {
    Inventory,
    Read { offset: u16, length: u16 },
    Write { offset: u16, data: String },
    PermanentDisable,
}

/// Asks the core and hands on what it says: a row for each device, `progress` now and then, `summary` at the end. `row` says
/// whether the client is still there; when it is not, the request ends.
pub(super) fn run(
    engine: &Engine<Adm>,
    ask: &Ask,
    row: &mut dyn FnMut(Value) -> bool,
) -> Result<(), Failure> {
    let stopped = |stopped| Failure::resource("stopped", stopped);
    let taken = engine.request(ask.parse()?).map_err(stopped)?;
    let (id, notified) = taken.map_err(|error| refused(&error))?;
    loop {
        match notified.recv_timeout(PROGRESS_EVERY) {
            Ok(notification) => {
                let is_last = notification.is_last;
                for device in &notification.devices {
                    if !row(device_row(device)) {
                        return Ok(());
                    }
                }
                let last = if is_last {
                    json!({ "summary": summary(&notification) })
                } else {
                    json!({ "progress": progress(&notification.progress) })
                };
                if !row(last) || is_last {
                    return Ok(());
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                let now = engine.call(move |aiotf| aiotf.progress(id));
                if let Some(now) = now.map_err(stopped)?
                    && !row(json!({ "progress": progress(&now) }))
                {
                    return Ok(());
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::resource("stopped", "the core has stopped"));
            }
        }
    }
}

impl Ask {
    fn parse(&self) -> Result<ServiceRequest, Failure> {
        let octets = |field: &str, text: &str| {
            hex::decode(text).map_err(|error| invalid(field, &format!("{error}")))
        };
        Ok(ServiceRequest {
            areas: self
                .areas
                .iter()
                .map(|text| area(text))
                .collect::<Result<_, _>>()?,
            devices: match &self.devices {
                AskDevices::All => Devices::All,
                AskDevices::Named(names) => {
                    let ids = names.iter().map(|name| parse_device_id(name));
                    let ids: Result<_, String> = ids.collect();
                    Devices::Named(ids.map_err(|rule| invalid("device", &rule))?)
                }
                AskDevices::Filter(filter) => Devices::Filter(octets("filter", filter)?),
            },
            is_concealed: self.concealed,
            expected: self.expected,
            interval_s: self.interval_s,
            timeout_s: self.timeout_s,
            operation: match &self.operation {
                AskOperation::Inventory => Operation::Inventory,
                AskOperation::PermanentDisable => Operation::PermanentDisable,
                AskOperation::Read { offset, length } => Operation::Read {
                    offset: *offset,
                    length: *length,
                },
                AskOperation::Write { offset, data } => Operation::Write {
                    offset: *offset,
                    data: octets("data", data)?,
                },
            },
        })
    }
}

/// An AreaID from its 24 hexadecimal digits.
fn area(text: &str) -> Result<AreaId, Failure> {
    let octets = hex::decode(text).ok();
    let octets: Option<[u8; 12]> = octets.and_then(|octets| octets.try_into().ok());
    octets
        .and_then(|octets| AreaId::from_octets(octets).ok())
        .ok_or_else(|| invalid("area", "must be an AreaID, 24 hexadecimal digits"))
}

fn invalid(field: &str, rule: &str) -> Failure {
    Failure::input("request_invalid", format!("{field}: {rule}"))
}

fn refused(error: &RequestError) -> Failure {
    match error {
        RequestError::Adm(_) => Failure::resource(error.name(), error),
        _ => Failure::input(error.name(), error),
    }
}

fn device_row(device: &DeviceResult) -> Value {
    json!({
        "device_id": hex::encode(&device.device_id),
        "device_name": format_device_id(&device.device_id),
        "area_id": device.place.map(|place| hex::encode(place.area_id.octets())),
        "gnb_id": device.place.map(|place| place.gnb_id),
        "reader_index": device.place.map(|place| place.reader_index),
        "data": device.data.as_ref().map(hex::encode),
        "failure": device.failure.map(|failure| failure.name()),
        "cause": device.failure.map(|failure| failure.cause()),
    })
}

fn progress(progress: &Progress) -> Value {
    json!({
        "devices": progress.devices,
        "answers": progress.answers,
        "waiting": progress.waiting,
        "unverified": progress.unverified,
        "dropped": progress.dropped,
        "gnbs_lost": progress.gnbs_lost,
    })
}

fn summary(last: &Notification) -> Value {
    let mut summary = progress(&last.progress);
    if let Some(object) = summary.as_object_mut() {
        object.remove("waiting");
        let cause = last.failure.map(|failure| failure.name());
        object.insert("cause".into(), cause.into());
    }
    summary
}
