//! What comes of an AF's request, on its way to the AF.

use std::sync::Arc;
use std::sync::mpsc::TryRecvError;
use std::time::Duration;

use ambit_adm_api::{AfAccount, AfDevices, AfOperation};
use ambit_aiotf::server::Notified;
use ambit_aiotf::service::{DeviceResult, FailureCause, Notification};
use ambit_sbi::json::{set, to_base64};
use serde_json::{Value, json};

use super::Exposure;
use super::area::AreaNames;
use super::callback::Target;
use super::quota::Open;

/// How often results are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Whom to tell, and how.
pub(super) struct Telling {
    pub(super) af: String,
    pub(super) af_trans_id: String,
    pub(super) operation: AfOperation,
    pub(super) target: Target,
    pub(super) with_place: bool,
    /// Given back when the last result has been told.
    pub(super) open: Open,
}

/// Tells results as they come, in their order. An AF that has lost the right to them is told nothing more.
pub(super) async fn follow(nef: Arc<Exposure>, results: Notified, telling: Telling) {
    let mut has_told_devices = false;
    loop {
        let notification = match results.try_recv() {
            Ok(notification) => notification,
            Err(TryRecvError::Empty) => {
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            // The AIOTF has ended: nothing more will come, and that is what the AF has to know.
            Err(TryRecvError::Disconnected) => Notification {
                transaction: ambit_aiotf::service::TransactionId(0),
                devices: Vec::new(),
                is_last: true,
                failure: Some(FailureCause::NoSuccessfulInventoryResponse),
                progress: Default::default(),
            },
        };
        let is_last = notification.is_last;
        let Some((account, devices)) = own(&nef, &telling, notification.devices).await else {
            break;
        };
        let failure = notification.failure;
        has_told_devices |= !devices.is_empty();
        if is_last || !devices.is_empty() {
            let failure = failure
                .or((!has_told_devices).then_some(FailureCause::NoSuccessfulInventoryResponse));
            let failure = failure.filter(|_| is_last && !has_told_devices);
            let failure = failure.map(|failure| told(failure, &account));
            let body = notification_json(&nef.areas, &telling, &devices, is_last, failure);
            nef.callbacks.deliver(&telling.target, &body).await;
        }
        if is_last {
            break;
        }
    }
    drop(telling.open);
}

/// Those of the devices that are the AF's, by what it is granted now; `None` when it may not know any more, or nobody can
/// say whether it may.
async fn own(
    nef: &Exposure,
    telling: &Telling,
    mut devices: Vec<DeviceResult>,
) -> Option<(Arc<AfAccount>, Vec<DeviceResult>)> {
    let account = nef.accounts.get(&telling.af).await.ok()??;
    let granted = &account.authorization;
    if !granted.may(telling.operation) {
        return None;
    }
    let unclear: Vec<&[u8]> = devices
        .iter()
        .map(|device| &*device.device_id)
        .filter(|id| !granted.devices.has(id, None))
        .collect();
    let fleets = match granted.devices.needs_fleet() && !unclear.is_empty() {
        true => nef.accounts.fleets(&unclear).await.ok()?,
        false => Default::default(),
    };
    devices.retain(|device| {
        let id = &*device.device_id;
        let is_there = device
            .place
            .is_none_or(|place| granted.has_area(place.area_id.octets()));
        is_there && granted.devices.has(id, fleets.get(id).map(String::as_str))
    });
    Some((account, devices))
}

/// That somebody answered who was not asked for is nothing that an AF must know of others' devices.
const fn told(failure: FailureCause, account: &AfAccount) -> FailureCause {
    match account.authorization.devices {
        AfDevices::All => failure,
        AfDevices::Only { .. } => FailureCause::NoSuccessfulInventoryResponse,
    }
}

/// An AIoTNotif.
fn notification_json(
    areas: &AreaNames,
    telling: &Telling,
    devices: &[DeviceResult],
    is_last: bool,
    failure: Option<FailureCause>,
) -> Value {
    let mut body = json!({ "afTransId": telling.af_trans_id });
    if !devices.is_empty() {
        let devices = devices
            .iter()
            .map(|device| device_json(areas, device, telling.with_place));
        set(&mut body, "devicesRepData", devices.collect::<Vec<_>>());
    } else if let Some(cause) = failure {
        set(&mut body, "failCause", cause.name());
    }
    if is_last {
        set(&mut body, "lastRepInd", true);
    }
    body
}

/// A DevicesRepInfo. Places are areas, by the name that AFs have for them: which gNB and reader it was stays within.
fn device_json(areas: &AreaNames, device: &DeviceResult, with_place: bool) -> Value {
    let mut body = json!({ "deviceId": to_base64(&device.device_id) });
    if let Some(data) = &device.data {
        set(&mut body, "readCmdRep", to_base64(data));
    }
    if let Some(failure) = device.failure {
        set(&mut body, "failCause", failure.cause());
    }
    if let Some(place) = device.place.filter(|_| with_place) {
        let octets = place.area_id.octets();
        let text = match areas.name_of(&place.area_id) {
            Some(name) => name.to_owned(),
            None => format!("area={}", hex::encode(octets)),
        };
        set(&mut body, "deviceLocInfo", json!({ "customLocInfo": text }));
    }
    body
}
