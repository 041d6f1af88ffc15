//! Naiotf_AIoT (TS 29.569): inventories and commands asked of an AIOTF, results notified to whom asked.
//!
//! A notification that cannot be delivered is tried again for some seconds, then dropped, and its request with it: the AIOTF holds
//! nothing durable. A request whose AIOTF ends meanwhile is not notified any more; its requester has to ask again.

pub mod callback;
pub mod doa;
pub mod parse;

use std::sync::Arc;
use std::sync::mpsc::TryRecvError;
use std::time::Duration;

use ambit_adm_api::AdmClient;
use ambit_aiotf::Watcher;
use ambit_aiotf::server::{Engine, Notified, unix_ms};
use ambit_aiotf::service::{
    DeviceResult, Notification, RequestError, ServiceRequest, TransactionId,
};
use hyper::Method;
use hyper::header::HeaderValue;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::Client;
use crate::exchange::{Exchange, Reply};
use crate::json::{set, to_base64};
use crate::problem::Problem;
use crate::router::{Access, Route, Takes};

use callback::{CallbackCounts, Told};
use doa::Doa;
use parse::Asked;

/// Name and full version of the API, for registration.
pub const SERVICES: &[(&str, &str)] = &[("naiotf-aiot", "1.0.1")];

/// How often results are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Tries to deliver one notification, the time between them doubling from a quarter of a second.
const TRIES: u32 = 7;

/// A request that was taken, and where its results come out.
pub type Taken = (TransactionId, Notified);

/// A way to an AIOTF that runs elsewhere in this process. Calls wait for it.
pub trait AiotfAccess: Send + Sync + 'static {
    /// Takes a request; `None` when the AIOTF has ended.
    fn request(&self, request: ServiceRequest) -> Option<Result<Taken, RequestError>>;

    /// Has new reports told from now on. One that has ended tells none.
    fn watch(&self, watcher: Watcher);
}

impl<A: AdmClient + Send + 'static> AiotfAccess for Engine<A> {
    fn request(&self, request: ServiceRequest) -> Option<Result<Taken, RequestError>> {
        Self::request(self, request).ok()
    }

    fn watch(&self, watcher: Watcher) {
        let _ = Self::watch(self, watcher);
    }
}

/// How the service behaves.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// NF instance ID of the AIOTF.
    pub id: Uuid,
    /// Bounds on subscriptions.
    pub doa: doa::Limits,
    /// What becomes of notifications is counted here.
    pub counts: Arc<CallbackCounts>,
}

impl ServiceConfig {
    /// The defaults.
    pub fn new(id: Uuid) -> Self {
        Self {
            id,
            doa: doa::Limits::default(),
            counts: Arc::default(),
        }
    }
}

/// The service.
struct Service {
    aiotf: Arc<dyn AiotfAccess>,
    client: Client,
    counts: Arc<CallbackCounts>,
    /// Begins every transId: those of an AIOTF that ran before must not be taken for those of this one.
    prefix: String,
}

/// All operations of an AIOTF. `client` delivers notifications.
pub fn routes(aiotf: Arc<dyn AiotfAccess>, client: Client, config: ServiceConfig) -> Vec<Route> {
    let (first, ..) = config.id.as_fields();
    let prefix = format!("{first:08x}-{:x}", unix_ms());
    let counts = config.counts;
    let doa = Doa::new(
        &*aiotf,
        client.clone(),
        Arc::clone(&counts),
        config.doa,
        &prefix,
    );
    let service = Arc::new(Service {
        aiotf,
        client,
        counts,
        prefix,
    });
    let json = Takes::Json(&["application/json"]);
    let access = |operation| Access::Token {
        service: "naiotf-aiot",
        operation,
    };
    let (a, b) = (Arc::clone(&service), service);
    let mut routes = vec![
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
    ];
    routes.extend(doa::routes(&doa));
    routes
}

async fn take(
    service: Arc<Service>,
    exchange: Exchange,
    is_command: bool,
) -> Result<Reply, Problem> {
    let asked = Asked::parse(exchange.json()?, is_command, &service.client)?;
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
        correlation: callback::correlation(&exchange),
    };
    tokio::spawn(follow(service, results, report));
    Ok(Reply::ok(body))
}

/// Where and how results are told.
struct Report {
    trans_id: String,
    uri: String,
    with_place: bool,
    correlation: Option<HeaderValue>,
}

/// Tells results as they come, in their order. When this returns before the last, the AIOTF ends the request.
async fn follow(service: Arc<Service>, results: Notified, report: Report) {
    loop {
        match results.try_recv() {
            Ok(notification) => {
                let is_there = deliver(&service, &report, &notification).await;
                if notification.is_last || !is_there {
                    return;
                }
            }
            Err(TryRecvError::Empty) => tokio::time::sleep(LOOK_EVERY).await,
            Err(TryRecvError::Disconnected) => return,
        }
    }
}

/// Tells one notification; false when the requester is not there any more, or knows nothing of its request.
async fn deliver(service: &Service, report: &Report, notification: &Notification) -> bool {
    let body = notification_json(&report.trans_id, notification, report.with_place);
    let mut pause = Duration::from_millis(250);
    for tried in 1..=TRIES {
        let correlation = report.correlation.as_ref();
        match callback::post(&service.client, &report.uri, &body, correlation).await {
            Told::Taken => {
                service.counts.add("callback_taken", 1);
                return true;
            }
            // What the requester refuses for good, it refuses the next time too.
            told @ (Told::Refused | Told::Unknown) => {
                service.counts.add("callback_refused", 1);
                return told == Told::Refused;
            }
            Told::Later(wanted) if tried < TRIES => {
                service.counts.add("callback_retried", 1);
                tokio::time::sleep(wanted.unwrap_or_default().max(pause)).await;
            }
            Told::Later(_) => {}
        }
        pause *= 2;
    }
    service.counts.add("callback_lost", 1);
    false
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
