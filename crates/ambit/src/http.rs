//! `/health`, `/metrics` (Prometheus text) and the streams of subscriptions over HTTP/1.1.

mod events;

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ambit_adm::Adm;
use ambit_adm_api::{AdmClient, Tally};
use ambit_aiotf::{Aiotf, Status};
use ambit_sbi::exchange::Flow;
use ambit_sbi::namf::aiotf::{LinkStatus, Links};
use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::json;

use crate::delivery::StreamSlot;
use crate::failure::Failure;
use crate::online::ChfSnapshot;

/// What is answered: a text, or one that goes on.
type Body = Either<Full<Bytes>, Flow>;

/// Requests served at once; further connections wait.
const CONNECTIONS_MAX: usize = 256;

/// How long a client may take to send its request's header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the function how it stands; `None` when it has stopped. May wait.
pub(crate) type Source = Arc<dyn Fn() -> Option<Snapshot> + Send + Sync>;

/// Serves on a listener from a thread of its own, until the process ends.
pub(crate) fn start(
    listener: TcpListener,
    source: Source,
    streams: StreamSlot,
) -> Result<SocketAddr, Failure> {
    let failed = |error: std::io::Error| Failure::io("http", &error);
    let local_addr = listener.local_addr().map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    thread::Builder::new()
        .name("http".into())
        .spawn(move || runtime.block_on(listen(listener, source, streams)))
        .map_err(failed)?;
    Ok(local_addr)
}

async fn listen(listener: TcpListener, source: Source, streams: StreamSlot) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let free = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = free.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (source, streams) = (Arc::clone(&source), Arc::clone(&streams));
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                answer(request, Arc::clone(&source), Arc::clone(&streams))
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                // An idle connection would keep another client out.
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            // A client that breaks off is its own affair.
            drop((served, permit));
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    source: Source,
    streams: StreamSlot,
) -> Result<Response<Body>, Infallible> {
    if let Some(id) = events::subscription(request.uri().path()) {
        let id = id.to_owned();
        return Ok(events::answer(&request, &id, streams.get()).await);
    }
    let answered = look(request, source, &streams).await;
    Ok(answered.map(Body::Left))
}

/// Health and metrics.
async fn look(
    request: Request<Incoming>,
    source: Source,
    streams: &StreamSlot,
) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".into());
        response
            .headers_mut()
            .insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let path = request.uri().path().to_owned();
    // The engine answers between two batches; its queue is bounded, so the wait is.
    let snapshot = tokio::task::spawn_blocking(move || source()).await;
    let Ok(Some(mut snapshot)) = snapshot else {
        return text(
            StatusCode::SERVICE_UNAVAILABLE,
            "the core has stopped\n".into(),
        );
    };
    if let Some(streams) = streams.get() {
        snapshot.deliveries = streams.tally().counts();
    }
    match path.as_str() {
        "/health" => snapshot.health(),
        "/metrics" => snapshot.metrics(),
        _ => text(
            StatusCode::NOT_FOUND,
            "only /health, /metrics and /subscriptions/ID/events are here\n".into(),
        ),
    }
}

/// What a function says of itself.
#[derive(Default)]
pub(crate) struct Snapshot {
    /// Of an AIOTF.
    pub(crate) aiotf: Option<AiotfSnapshot>,
    /// Of an ADM.
    pub(crate) adm: Option<AdmSnapshot>,
    /// Requests on the SBI and of AFs, by operation and status.
    pub(crate) sbi: Vec<(&'static str, u16, u64)>,
    /// Of a NEF: what became of notifications to AFs.
    pub(crate) nef: Vec<(&'static str, u64)>,
    /// What became of notifications, by name.
    pub(crate) callbacks: Vec<(&'static str, u64)>,
    /// Of an NRF: functions registered.
    pub(crate) nf_instances: Option<usize>,
    /// What became of messages to subscribers, by kind of sink and outcome.
    pub(crate) deliveries: Vec<(&'static str, &'static str, u64)>,
    /// Whether the NRF has taken the last registration or heartbeat.
    pub(crate) registered: Option<bool>,
    /// Online charging, where it is on.
    pub(crate) chf: Option<ChfSnapshot>,
}

/// What an AIOTF says of itself.
pub(crate) struct AiotfSnapshot {
    status: Status,
    reports: Tally,
    n2: Vec<(&'static str, u64)>,
    links: Vec<LinkStatus>,
}

/// What an ADM says of itself.
pub(crate) struct AdmSnapshot {
    devices: usize,
    records: Option<u64>,
    store_fault: Option<String>,
    reports: Tally,
}

impl AiotfSnapshot {
    pub(crate) fn take<A: AdmClient>(aiotf: &Aiotf<A>) -> Self {
        Self {
            status: aiotf.status(),
            reports: aiotf.reports().clone(),
            n2: aiotf.counts().iter().map(|(name, n)| (*name, *n)).collect(),
            links: Vec::new(),
        }
    }

    /// With the ways to gNBs behind AMFs.
    pub(crate) fn with(mut self, links: Option<&Links>) -> Self {
        if let Some(links) = links {
            self.n2.extend(links.counts());
            self.links = links.status();
        }
        self
    }
}

impl AdmSnapshot {
    pub(crate) fn take(adm: &mut Adm) -> Self {
        Self {
            devices: adm.device_count(),
            records: adm.store().record_count().ok(),
            store_fault: adm.store_fault().map(str::to_owned),
            reports: adm.tally().clone(),
        }
    }
}

impl Snapshot {
    /// What keeps the function from its work, if anything does.
    fn fault(&self) -> Option<String> {
        let adm_error = self
            .aiotf
            .as_ref()
            .and_then(|aiotf| aiotf.status.adm_error.clone());
        let of_store = || {
            let adm = self.adm.as_ref()?;
            let unreadable = || "the store cannot be read".to_owned();
            adm.store_fault
                .clone()
                .or_else(|| adm.records.is_none().then(unreadable))
        };
        adm_error.or_else(of_store)
    }

    fn health(&self) -> Response<Full<Bytes>> {
        let fault = self.fault();
        let mut body = json!({
            "status": if fault.is_none() { "ok" } else { "failing" },
            "fault": fault,
        });
        let mut set = |name, value| ambit_sbi::json::set(&mut body, name, value);
        if let Some(aiotf) = &self.aiotf {
            set("epoch", json!(aiotf.status.epoch));
            set("gnbs", json!(aiotf.status.gnbs));
            set("windows", json!(aiotf.status.windows));
            let link = |link: &LinkStatus| json!({ "gnb": link.gnb_id.id, "amf": link.amf, "last_error": link.last_error });
            if !aiotf.links.is_empty() {
                set("amf", aiotf.links.iter().map(link).collect());
            }
        }
        if let Some(adm) = &self.adm {
            set("devices", json!(adm.devices));
            set("records", json!(adm.records));
        }
        if let Some(n) = self.nf_instances {
            set("nf_instances", json!(n));
        }
        if let Some(registered) = self.registered {
            set("registered", json!(registered));
        }
        let status = match fault {
            None => StatusCode::OK,
            Some(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut response = text(status, format!("{body}\n"));
        response.headers_mut().insert(
            CONTENT_TYPE,
            hyper::header::HeaderValue::from_static("application/json"),
        );
        response
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let mut registry = Registry::with_prefix("ambit");
        // An ADM by itself counts what AIOTFs brought; beside an AIOTF they count the same.
        let tally = self.aiotf.as_ref().map(|aiotf| &aiotf.reports);
        if let Some(tally) = tally.or(self.adm.as_ref().map(|adm| &adm.reports)) {
            let reports = Family::<Vec<(&str, &str)>, Counter>::default();
            for (outcome, form, count) in tally.iter() {
                let form = form.map_or("none", ambit_protocol::Form::name);
                let labels = vec![("outcome", outcome.name()), ("form", form)];
                reports.get_or_create(&labels).inc_by(count);
            }
            registry.register("reports", "Reports by outcome and form", reports);
        }
        if !self.sbi.is_empty() {
            let requests = Family::<Vec<(&str, String)>, Counter>::default();
            for (operation, status, count) in &self.sbi {
                let labels = vec![
                    ("operation", (*operation).to_owned()),
                    ("status", status.to_string()),
                ];
                requests.get_or_create(&labels).inc_by(*count);
            }
            registry.register("sbi_requests", "Requests on the SBI", requests);
        }
        if !self.callbacks.is_empty() {
            let callbacks = Family::<Vec<(&str, &str)>, Counter>::default();
            for (name, count) in &self.callbacks {
                callbacks
                    .get_or_create(&vec![("event", *name)])
                    .inc_by(*count);
            }
            registry.register("callbacks", "What became of notifications", callbacks);
        }
        if !self.deliveries.is_empty() {
            let deliveries = Family::<Vec<(&str, &str)>, Counter>::default();
            for (sink, outcome, count) in &self.deliveries {
                let labels = vec![("sink", *sink), ("outcome", *outcome)];
                deliveries.get_or_create(&labels).inc_by(*count);
            }
            let help = "Messages to subscribers by sink and outcome";
            registry.register("deliveries", help, deliveries);
        }
        if !self.nef.is_empty() {
            let told = Family::<Vec<(&str, &str)>, Counter>::default();
            for (name, count) in &self.nef {
                told.get_or_create(&vec![("result", *name)]).inc_by(*count);
            }
            registry.register(
                "af_notifications",
                "Notifications to AFs, by what became of them",
                told,
            );
        }
        if let Some(aiotf) = &self.aiotf {
            let n2 = Family::<Vec<(&str, &str)>, Counter>::default();
            for (name, count) in &aiotf.n2 {
                n2.get_or_create(&vec![("event", *name)]).inc_by(*count);
            }
            registry.register("n2", "What happened on N2, by name", n2);
        }
        if let Some(chf) = &self.chf {
            let requests = Family::<Vec<(&str, &str)>, Counter>::default();
            for (outcome, count) in &chf.requests {
                requests
                    .get_or_create(&vec![("outcome", *outcome)])
                    .inc_by(*count);
            }
            let help = "Charging events sent to the CHF, by outcome";
            registry.register("chf_requests", help, requests);
        }
        let mut gauge = |name: &str, help: &str, value: u64| {
            let gauge = Gauge::<i64>::default();
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            registry.register(name, help, gauge);
        };
        if let Some(AiotfSnapshot { status, .. }) = &self.aiotf {
            gauge("gnbs", "gNBs that completed NG SETUP", status.gnbs as u64);
            gauge("windows", "DO-A windows open", status.windows as u64);
            if let Some(epoch) = status.epoch {
                gauge("epoch", "Epoch of the current RAND_n", epoch.into());
            }
        }
        if let Some(adm) = &self.adm {
            gauge(
                "devices",
                "Devices known, disabled ones included",
                adm.devices as u64,
            );
            if let Some(records) = adm.records {
                gauge("records", "Acceptance records in the store", records);
            }
        }
        if let Some(chf) = &self.chf {
            let help = "Charging events that the CHF refused and that wait";
            gauge("chf_refused", help, chf.refused);
            let help = "Number of the charging event up to which all are dealt with";
            gauge("chf_event", help, chf.event);
        }
        if let Some(n) = self.nf_instances {
            gauge("nf_instances", "Functions registered at this NRF", n as u64);
        }
        if let Some(registered) = self.registered {
            gauge(
                "registered",
                "1 while the NRF knows this function",
                registered.into(),
            );
        }
        gauge(
            "healthy",
            "1 while beacons are issued and the store takes records",
            self.fault().is_none().into(),
        );
        let mut body = String::new();
        if encode(&mut body, &registry).is_err() {
            return text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "metrics do not encode\n".into(),
            );
        }
        let mut response = text(StatusCode::OK, body);
        response.headers_mut().insert(
            CONTENT_TYPE,
            hyper::header::HeaderValue::from_static(
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            ),
        );
        response
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}
