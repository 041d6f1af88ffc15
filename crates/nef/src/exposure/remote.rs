//! AIOTFs that are reached over the SBI (Naiotf_AIoT, TS 29.569), as one.
//!
//! Which AIOTF hears a device nobody knows beforehand: a request goes to all that the NRF knows, and counts as taken if one
//! takes it. What they find is told together; the last of them to end ends it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ambit_aiotf::server::Notified;
use ambit_aiotf::service::{
    DeviceFailure, DevicePlace, DeviceResult, Devices, FailureCause, Notification, Operation,
    Progress, RequestError, ServiceRequest, TransactionId,
};
use ambit_protocol::AreaId;
use ambit_sbi::client::{ClientError, Outgoing};
use ambit_sbi::exchange::{Exchange, Reply};
use ambit_sbi::json::{Field, Fields, set, to_base64};
use ambit_sbi::nrf::client::{NrfClient, Producer};
use ambit_sbi::nrf::profile::area_json;
use ambit_sbi::problem::Problem;
use ambit_sbi::router::{Access, Route, Takes};
use hyper::Method;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::InventoryAccess;

/// How long an AIOTF may take to take a request.
const WAIT: Duration = Duration::from_secs(3);

/// How long beyond a request's own end its last notification is waited for.
const LATE: Duration = Duration::from_secs(30);

/// AIOTFs asked at most.
const AIOTFS_MAX: usize = 64;

/// Devices in one notification at most.
const DEVICES_MAX: usize = 1 << 16;

/// The AIOTFs that an NRF knows.
pub struct RemoteAiotfs {
    runtime: Handle,
    nrf: NrfClient,
    /// Where AIOTFs reach this NEF.
    own_root: String,
    open: Open,
    next: AtomicU64,
}

/// What is under way, by the name that one AIOTF was given for it.
type Open = Arc<Mutex<HashMap<String, Branch>>>;

/// One AIOTF's part of a request.
struct Branch {
    transaction: u64,
    to: Sender<Notification>,
}

impl std::fmt::Debug for RemoteAiotfs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RemoteAiotfs({}, ..)", self.own_root)
    }
}

impl RemoteAiotfs {
    /// AIOTFs found through this NRF; they tell their results at `own_root`, where [`RemoteAiotfs::routes`] must be served.
    pub fn new(runtime: Handle, nrf: NrfClient, own_root: String) -> Self {
        Self {
            runtime,
            nrf,
            own_root,
            open: Open::default(),
            next: AtomicU64::new(1),
        }
    }

    /// Where AIOTFs tell results: whoever has a certificate and the name that it was given for the request.
    pub fn routes(&self) -> Vec<Route> {
        let open = Arc::clone(&self.open);
        let take = move |exchange: Exchange| std::future::ready(notified(&open, &exchange));
        vec![
            Route::new(
                "naiotf_notify",
                Method::POST,
                "/ambit-nef/v1/naiotf-notifications/{}",
                Access::Peer,
                Takes::Json(&["application/json"]),
                take,
            )
            .octets_max(8 << 20),
        ]
    }

    async fn ask(
        &self,
        producer: &Producer,
        operation: &str,
        body: &Value,
    ) -> Result<(), ClientError> {
        const SERVICE: (&str, &str) = ("naiotf-aiot", "AIOTF");
        let uri = format!("{}/naiotf-aiot/v1/{operation}", producer.api_root);
        for is_last in [false, true] {
            let token = self.nrf.token(SERVICE.0, SERVICE.1).await?;
            let outgoing = Outgoing::new(Method::POST, &uri)
                .json(body)
                .token(Some(token))
                .wait(WAIT);
            let answer = self.nrf.client().send(outgoing).await?;
            if answer.status != 401 || is_last {
                return answer.success().map(drop);
            }
            self.nrf.forget_token(SERVICE.0, SERVICE.1);
        }
        Ok(())
    }

    async fn request_all(
        &self,
        af: &str,
        request: &ServiceRequest,
    ) -> Option<Result<(TransactionId, Notified), RequestError>> {
        let producers = self.nrf.discover("AIOTF", "naiotf-aiot", "").await.ok()?;
        let transaction = self.next.fetch_add(1, Ordering::Relaxed);
        let (to, results) = mpsc::channel();
        let (operation, body) = request_json(af, request);
        let mut refused = None;
        let mut is_taken = false;
        for producer in producers.iter().take(AIOTFS_MAX) {
            let name = name()?;
            let mut body = body.clone();
            let uri = format!("{}/ambit-nef/v1/naiotf-notifications/{name}", self.own_root);
            set(&mut body, "notifUri", uri);
            // Before it is asked: it may tell before it answers.
            let branch = Branch {
                transaction,
                to: to.clone(),
            };
            lock(&self.open).insert(name.clone(), branch);
            match self.ask(producer, operation, &body).await {
                Ok(()) => {
                    is_taken = true;
                    let open = Arc::clone(&self.open);
                    let life = Duration::from_secs(request.timeout_s.into()) + LATE;
                    tokio::spawn(async move {
                        tokio::time::sleep(life).await;
                        end(&open, &name);
                    });
                }
                Err(error) => {
                    lock(&self.open).remove(&name);
                    self.nrf.doubt_discovery();
                    refused = refused.or_else(|| refusal(&error));
                }
            }
        }
        match (is_taken, refused) {
            (true, _) => Some(Ok((TransactionId(transaction), results.into()))),
            (false, refused) => refused.map(Err),
        }
    }
}

impl InventoryAccess for RemoteAiotfs {
    fn request(
        &self,
        af: &str,
        request: ServiceRequest,
    ) -> Option<Result<(TransactionId, Notified), RequestError>> {
        self.runtime.block_on(self.request_all(af, &request))
    }
}

fn lock(open: &Open) -> std::sync::MutexGuard<'_, HashMap<String, Branch>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A name that nobody guesses.
fn name() -> Option<String> {
    let mut octets = [0; 16];
    getrandom::fill(&mut octets).ok()?;
    Some(hex::encode(octets))
}

/// Ends a branch that has not told its end.
fn end(open: &Open, name: &str) {
    let mut open = lock(open);
    if let Some(branch) = open.remove(name) {
        let is_last = !open
            .values()
            .any(|other| other.transaction == branch.transaction);
        let _ = branch.to.send(Notification {
            transaction: TransactionId(branch.transaction),
            devices: Vec::new(),
            is_last,
            failure: Some(FailureCause::NoSuccessfulInventoryResponse),
            progress: Progress::default(),
        });
    }
}

/// Takes an AIoTNotif.
fn notified(open: &Open, exchange: &Exchange) -> Result<Reply, Problem> {
    let unknown = || Problem::not_found("CONTEXT_NOT_FOUND", "nothing is under way by this name");
    let name = exchange.path(0);
    let (transaction, to) = {
        let open = lock(open);
        let branch = open.get(name).ok_or_else(unknown)?;
        (branch.transaction, branch.to.clone())
    };
    let fields = Fields::of(exchange.json()?)?;
    let devices = match fields.optional("devicesRepData") {
        Some(list) => {
            let list = list.array(DEVICES_MAX)?;
            let list: Result<Vec<_>, Problem> = list.iter().map(device_of).collect();
            list?
        }
        None => Vec::new(),
    };
    let ends = fields.has("lastRepInd");
    let failure =
        fields
            .optional("failCause")
            .map(|cause| match cause.text().unwrap_or_default() {
                "AUTH_FAILURE" => FailureCause::AuthenticationFailure,
                _ => FailureCause::NoSuccessfulInventoryResponse,
            });
    let is_last = ends && {
        let mut open = lock(open);
        open.remove(name);
        !open.values().any(|other| other.transaction == transaction)
    };
    let notification = Notification {
        transaction: TransactionId(transaction),
        devices,
        is_last,
        failure,
        progress: Progress::default(),
    };
    if to.send(notification).is_err() {
        // Nobody listens any more: the AIOTF need not go on.
        lock(open).remove(name);
        return Err(unknown());
    }
    Ok(Reply::no_content())
}

/// An InventoryReq or a CommandReq without its URI, and the operation that takes it.
fn request_json(af: &str, request: &ServiceRequest) -> (&'static str, Value) {
    let mut body = json!({ "afId": af, "devLocReqInd": true });
    if !request.areas.is_empty() {
        let areas: Vec<_> = request.areas.iter().map(area_json).collect();
        set(&mut body, "targetArea", json!({ "areaIds": areas }));
    }
    match &request.devices {
        // Of some area: an AF that names neither is refused before.
        Devices::All => {}
        Devices::Named(ids) => {
            let ids: Vec<_> = ids.iter().map(|id| to_base64(id)).collect();
            set(&mut body, "targetDevices", json!({ "devices": ids }));
        }
        Devices::Filter(filter) => {
            let filter = json!({ "filteringInfo": to_base64(filter) });
            set(&mut body, "targetDevices", filter);
        }
    }
    if let Some(expected) = request.expected {
        set(&mut body, "numDevices", expected);
    }
    if let Some(interval_s) = request.interval_s {
        set(&mut body, "timeInterval", interval_s);
    }
    let command = match &request.operation {
        Operation::Inventory => return ("request-inv", body),
        Operation::Read { offset, length } => {
            set(&mut body, "offset", *offset);
            set(&mut body, "length", *length);
            "READ"
        }
        Operation::Write { offset, data } => {
            set(&mut body, "offset", *offset);
            set(&mut body, "data", to_base64(data));
            "WRITE"
        }
        Operation::PermanentDisable => "PERMANENT_DISABLE",
    };
    set(&mut body, "commandType", command);
    ("request-cmd", body)
}

/// A DevicesRepInfo.
fn device_of(field: &Field<'_>) -> Result<DeviceResult, Problem> {
    let fields = field.object()?;
    let data = fields.optional("readCmdRep");
    let data = data.map(|data| data.bytes(0, 1 << 16)).transpose()?;
    let failure = match fields.optional("failCause") {
        None => None,
        Some(cause) => Some(match cause.text()? {
            "COMMAND_TYPE_SPECIFIC_PARAMETERS_INVALID" => DeviceFailure::ParametersInvalid,
            "LOW_ENERGY" => DeviceFailure::LowEnergy,
            "MESSAGE_TYPE_NON_EXISTENT_OR_NOT_IMPLEMENTED" => DeviceFailure::NotImplemented,
            _ => DeviceFailure::NoAnswer,
        }),
    };
    let place = fields
        .optional("deviceLocInfo")
        .and_then(|place| place.value().get("customLocInfo")?.as_str())
        .and_then(place_of);
    Ok(DeviceResult {
        device_id: fields.required("deviceId")?.bytes(1, 128)?.into(),
        place,
        data,
        failure,
    })
}

/// The place that an AIOTF of ours tells; another's text is none to us.
fn place_of(text: &str) -> Option<DevicePlace> {
    let member = |name: &str| {
        let mut members = text.split(',').filter_map(|member| member.split_once('='));
        members.find(|(found, _)| *found == name)
    };
    let (_, area) = member("area")?;
    let octets: [u8; 12] = hex::decode(area).ok()?.try_into().ok()?;
    Some(DevicePlace {
        area_id: AreaId::from_octets(octets).ok()?,
        gnb_id: member("gnb")?.1.parse().ok()?,
        reader_index: member("reader")?.1.parse().ok()?,
    })
}

/// What an AIOTF's refusal means to the AF; `None` for what is between us and the AIOTF.
fn refusal(error: &ClientError) -> Option<RequestError> {
    let ClientError::Refused {
        status,
        cause,
        detail,
    } = error
    else {
        return None;
    };
    match (*status, cause.as_str()) {
        (404, "AREA_NOT_SERVED") => Some(RequestError::AreaNotServed),
        (404, "DEVICE_NOT_FOUND") => {
            let at = detail.split('/').nth(3)?.split(':').next()?;
            Some(RequestError::UnknownDevice {
                at: at.parse().ok()?,
            })
        }
        (429, _) => Some(RequestError::TooMany),
        _ => None,
    }
}
