//! `/health` and `/metrics` (Prometheus text) over HTTP/1.1.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use ambit_adm::Adm;
use ambit_adm_api::Tally;
use ambit_aiotf::server::Engine;
use ambit_aiotf::{Aiotf, Status};
use http_body_util::Full;
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

use crate::failure::Failure;

/// Requests served at once; further connections wait.
const CONNECTIONS_MAX: usize = 256;

/// How long a client may take to send its request's header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves on a listener from a thread of its own, until the process ends.
pub(crate) fn start(listener: TcpListener, engine: Engine<Adm>) -> Result<SocketAddr, Failure> {
    let failed = |error: std::io::Error| Failure::io("http", &error);
    let local_addr = listener.local_addr().map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    thread::Builder::new()
        .name("http".into())
        .spawn(move || runtime.block_on(listen(listener, engine)))
        .map_err(failed)?;
    Ok(local_addr)
}

async fn listen(listener: TcpListener, engine: Engine<Adm>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let free = std::sync::Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = free.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let engine = engine.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, engine.clone()));
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
    engine: Engine<Adm>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".into());
        response
            .headers_mut()
            .insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return Ok(response);
    }
    let path = request.uri().path().to_owned();
    // The engine answers between two batches; its queue is bounded, so the wait is.
    let snapshot = tokio::task::spawn_blocking(move || engine.call(Snapshot::take)).await;
    let Ok(Ok(snapshot)) = snapshot else {
        return Ok(text(
            StatusCode::SERVICE_UNAVAILABLE,
            "the core has stopped\n".into(),
        ));
    };
    Ok(match path.as_str() {
        "/health" => snapshot.health(),
        "/metrics" => snapshot.metrics(),
        _ => text(
            StatusCode::NOT_FOUND,
            "only /health and /metrics are here\n".into(),
        ),
    })
}

/// What the engine says of itself.
struct Snapshot {
    status: Status,
    reports: Tally,
    n2: Vec<(&'static str, u64)>,
    devices: usize,
    records: Option<u64>,
    store_fault: Option<String>,
}

impl Snapshot {
    fn take(aiotf: &mut Aiotf<Adm>) -> Self {
        Self {
            status: aiotf.status(),
            reports: aiotf.reports().clone(),
            n2: aiotf.counts().iter().map(|(name, n)| (*name, *n)).collect(),
            devices: aiotf.adm().device_count(),
            records: aiotf.adm().store().record_count().ok(),
            store_fault: aiotf.adm().store_fault().map(str::to_owned),
        }
    }

    /// What keeps the core from accepting reports, if anything does.
    fn fault(&self) -> Option<String> {
        let unreadable = || {
            self.records
                .is_none()
                .then(|| "the store cannot be read".to_owned())
        };
        let adm_error = self.status.adm_error.clone();
        adm_error
            .or_else(|| self.store_fault.clone())
            .or_else(unreadable)
    }

    fn health(&self) -> Response<Full<Bytes>> {
        let fault = self.fault();
        let body = json!({
            "status": if fault.is_none() { "ok" } else { "failing" },
            "fault": fault,
            "epoch": self.status.epoch,
            "gnbs": self.status.gnbs,
            "windows": self.status.windows,
            "devices": self.devices,
            "records": self.records,
        });
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
        let reports = Family::<Vec<(&str, &str)>, Counter>::default();
        for (outcome, form, count) in self.reports.iter() {
            let form = form.map_or("none", ambit_protocol::Form::name);
            let labels = vec![("outcome", outcome.name()), ("form", form)];
            reports.get_or_create(&labels).inc_by(count);
        }
        registry.register("reports", "Reports by outcome and form", reports);
        let n2 = Family::<Vec<(&str, &str)>, Counter>::default();
        for (name, count) in &self.n2 {
            n2.get_or_create(&vec![("event", *name)]).inc_by(*count);
        }
        registry.register("n2", "What happened on N2, by name", n2);
        let mut gauge = |name: &str, help: &str, value: u64| {
            let gauge = Gauge::<i64>::default();
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            registry.register(name, help, gauge);
        };
        gauge(
            "gnbs",
            "gNBs that completed NG SETUP",
            self.status.gnbs as u64,
        );
        gauge("windows", "DO-A windows open", self.status.windows as u64);
        gauge(
            "devices",
            "Devices known, disabled ones included",
            self.devices as u64,
        );
        if let Some(epoch) = self.status.epoch {
            gauge("epoch", "Epoch of the current RAND_n", epoch.into());
        }
        if let Some(records) = self.records {
            gauge("records", "Acceptance records in the store", records);
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
