//! Naiotf_AIoT (TS 29.569): inventories and commands asked of an AIOTF, results notified to whom asked.
//!
//! A notification that cannot be delivered is tried again for half a minute, then dropped: the AIOTF holds nothing durable.
//! A request whose AIOTF ends meanwhile is not notified any more; its requester has to ask again.

mod parse;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use ambit_adm_api::AdmClient;
use ambit_aiotf::server::{Engine, unix_ms};
use ambit_aiotf::service::{
    DeviceResult, Notification, RequestError, ServiceRequest, TransactionId,
};
use hyper::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::{Client, Outgoing};
use crate::exchange::{Exchange, Reply};
use crate::json::{set, to_base64};
use crate::problem::Problem;
use crate::router::{Access, Route, Takes};

use parse::Asked;

/// Name and full version of the API, for registration.
pub const SERVICES: &[(&str, &str)] = &[("naiotf-aiot", "1.0.1")];

/// How often results are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Tries to deliver one notification, the time between them doubling from a quarter of a second.
const TRIES: u32 = 7;

/// A request that was taken, and where its results come out.
pub type Taken = (TransactionId, Receiver<Notification>);

/// A way to an AIOTF that runs elsewhere in this process. Calls wait for it.
pub trait AiotfAccess: Send + Sync + 'static {
    /// Takes a request; `None` when the AIOTF has ended.
    fn request(&self, request: ServiceRequest) -> Option<Result<Taken, RequestError>>;
}

impl<A: AdmClient + Send + 'static> AiotfAccess for Engine<A> {
    fn request(&self, request: ServiceRequest) -> Option<Result<Taken, RequestError>> {
        Self::request(self, request).ok()
    }
}

/// The service.
struct Service {
    aiotf: Arc<dyn AiotfAccess>,
    client: Client,
    /// Begins every transId: those of an AIOTF that ran before must not be taken for those of this one.
    prefix: String,
}

/// All operations of an AIOTF. `client` delivers notifications.
pub fn routes(aiotf: Arc<dyn AiotfAccess>, client: Client, id: Uuid) -> Vec<Route> {
    let (first, ..) = id.as_fields();
    let prefix = format!("{first:08x}-{:x}", unix_ms());
    let service = Arc::new(Service {
        aiotf,
        client,
        prefix,
    });
    let json = Takes::Json(&["application/json"]);
    let access = |operation| Access::Token {
        service: "naiotf-aiot",
        operation,
    };
    let (a, b) = (Arc::clone(&service), service);
    vec![
        Route::new(
            "request_inv",
            Method::POST,
            "/naiotf-aiot/v1/request-inv",
            access("naiotf-aiot:inventory"),
            json,
            move |exchange| take(Arc::clone(&a), exchange, false),
        )
        .octets_max(256 << 10),
        Route::new(
            "request_cmd",
            Method::POST,
            "/naiotf-aiot/v1/request-cmd",
            access("naiotf-aiot:command"),
            json,
            move |exchange| take(Arc::clone(&b), exchange, true),
        )
        .octets_max(256 << 10),
    ]
}

async fn take(
    service: Arc<Service>,
    exchange: Exchange,
    is_command: bool,
) -> Result<Reply, Problem> {
    let asked = Asked::parse(exchange.json()?, is_command)?;
    let (aiotf, request) = (Arc::clone(&service.aiotf), asked.request);
    let taken = tokio::task::spawn_blocking(move || aiotf.request(request)).await;
    let gone = || Problem::unavailable("the AIOTF has stopped", 1);
    let (id, results) = taken.ok().flatten().ok_or_else(gone)?.map_err(refusal)?;
    let trans_id = format!("{}-{}", service.prefix, id.0);
    let mut body = json!({ "transId": trans_id });
    if asked.has_features {
        // Release 19 defines none.
        set(&mut body, "suppFeat", "0");
    }
    let report = Report {
        trans_id,
        uri: asked.notif_uri,
        with_place: asked.with_place,
    };
    tokio::spawn(follow(service, results, report));
    Ok(Reply::ok(body))
}

/// Where and how results are told.
struct Report {
    trans_id: String,
    uri: String,
    with_place: bool,
}

/// Tells results as they come, in their order.
async fn follow(service: Arc<Service>, results: Receiver<Notification>, report: Report) {
    loop {
        match results.try_recv() {
            Ok(notification) => {
                deliver(&service.client, &report, &notification).await;
                if notification.is_last {
                    return;
                }
            }
            Err(TryRecvError::Empty) => tokio::time::sleep(LOOK_EVERY).await,
            Err(TryRecvError::Disconnected) => return,
        }
    }
}

async fn deliver(client: &Client, report: &Report, notification: &Notification) {
    let body = notification_json(&report.trans_id, notification, report.with_place);
    let mut pause = Duration::from_millis(250);
    for _ in 0..TRIES {
        let outgoing = Outgoing::new(Method::POST, &report.uri).json(&body);
        match client.send(outgoing).await {
            // What the requester refuses for good, it refuses the next time too.
            Ok(answer) if answer.status < 500 && answer.status != 429 => return,
            _ => tokio::time::sleep(pause).await,
        }
        pause *= 2;
    }
}

/// An AIoTNotif.
fn notification_json(trans_id: &str, notification: &Notification, with_place: bool) -> Value {
    let mut body = json!({ "transId": trans_id });
    if !notification.devices.is_empty() {
        let devices = notification
            .devices
            .iter()
            .map(|device| device_json(device, with_place));
        set(&mut body, "devicesRepData", devices.collect::<Vec<_>>());
    } else if let Some(cause) = notification.failure {
        set(&mut body, "failCause", cause.name());
    }
    if notification.is_last {
        set(&mut body, "lastRepInd", true);
    }
    body
}

/// A DevicesRepInfo.
fn device_json(device: &DeviceResult, with_place: bool) -> Value {
    let mut body = json!({ "deviceId": to_base64(&device.device_id) });
    if let Some(data) = &device.data {
        set(&mut body, "readCmdRep", to_base64(data));
    }
    if let Some(failure) = device.failure {
        set(&mut body, "failCause", failure.cause());
    }
    if let Some(place) = device.place.filter(|_| with_place) {
        // Release 19 has geographic and civic places, which an AIOTF does not know, and this.
        let text = format!(
            "area={},gnb={},reader={}",
            hex::encode(place.area_id.octets()),
            place.gnb_id,
            place.reader_index
        );
        set(&mut body, "deviceLocInfo", json!({ "customLocInfo": text }));
    }
    body
}

fn refusal(error: RequestError) -> Problem {
    match error {
        RequestError::Invalid { field, rule } => Problem::incorrect(parse::pointer(field), rule),
        RequestError::UnknownDevice { at } => {
            let param = format!("/targetDevices/devices/{at}");
            let mut problem =
                Problem::not_found("DEVICE_NOT_FOUND", format!("{param}: no such device"));
            problem
                .invalid_params
                .push((param, "no such device".into()));
            problem
        }
        RequestError::AreaNotServed => {
            Problem::not_found("AREA_NOT_SERVED", "/targetArea: no connected gNB serves it")
        }
        RequestError::TooMany => Problem::overload(5),
        RequestError::Adm(reason) => Problem::unavailable(reason, 1),
    }
}
