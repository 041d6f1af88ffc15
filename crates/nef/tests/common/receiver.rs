//! A real HTTPS receiver: TLS by rustls, HTTP by hyper, on a thread of its own. What it answers is the test's to say.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub
)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use tokio_rustls::TlsAcceptor;

/// What the receiver does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Answers with a status. A 2xx keeps what came.
    Status(u16),
    /// The same, later.
    Late(u16, Duration),
    /// Keeps what came, and hangs up without an answer.
    TakeAndHangUp,
    /// Hangs up.
    HangUp,
}

/// Decides from the headers and the events.
pub type Decide = Arc<dyn Fn(&HeaderMap, &[Value]) -> Answer + Send + Sync>;

/// A certificate authority and what it signed.
pub struct Pki {
    issuer: Issuer<'static, KeyPair>,
    pub ca_pem: String,
}

impl Pki {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            ca_pem,
        }
    }

    pub fn write_ca(&self, path: &Path) {
        std::fs::write(path, &self.ca_pem).unwrap();
    }

    /// A server's configuration for `localhost` and 127.0.0.1; with a certificate that has expired, if asked for.
    pub fn server(&self, is_expired: bool) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        if is_expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// One request that was answered with a 2xx, or taken without an answer.
#[derive(Clone, Debug)]
pub struct Got {
    pub headers: HeaderMap,
    pub body: Bytes,
    pub events: Vec<Value>,
}

/// A running receiver; gone when it is dropped, with its connections.
pub struct Receiver {
    pub address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Receiver {
    pub fn start(tls: TlsAcceptor, decide: Decide) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), tls, decide, Arc::default())
    }

    /// At an address, with what an earlier one got.
    pub fn start_at(
        address: SocketAddr,
        tls: TlsAcceptor,
        decide: Decide,
        got: Arc<Mutex<Vec<Got>>>,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            socket.bind(address).unwrap();
            socket.listen(64).unwrap()
        });
        let address = listener.local_addr().unwrap();
        let kept = Arc::clone(&got);
        let serve = async move {
            loop {
                let Ok((tcp, _)) = listener.accept().await else {
                    continue;
                };
                let (tls, decide, got) = (tls.clone(), Arc::clone(&decide), Arc::clone(&kept));
                tokio::spawn(async move {
                    let Ok(stream) = tls.accept(tcp).await else {
                        return;
                    };
                    let service = service_fn(move |request| {
                        answer(request, Arc::clone(&decide), Arc::clone(&got))
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            address,
            got,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// All that came, in its order.
    pub fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    pub fn shared(&self) -> Arc<Mutex<Vec<Got>>> {
        Arc::clone(&self.got)
    }

    /// All events that came, in their order.
    pub fn events(&self) -> Vec<Value> {
        let got = self.got.lock().unwrap();
        got.iter().flat_map(|got| got.events.clone()).collect()
    }
}

/// Hanging up is an error of the service.
#[derive(Debug)]
struct HungUp;

impl std::fmt::Display for HungUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("hung up")
    }
}

impl std::error::Error for HungUp {}

async fn answer(
    request: Request<Incoming>,
    decide: Decide,
    got: Arc<Mutex<Vec<Got>>>,
) -> Result<Response<Full<Bytes>>, HungUp> {
    let headers = request.headers().clone();
    let collected = request.into_body().collect().await;
    let body = collected.map_err(|_| HungUp)?.to_bytes();
    let events = match serde_json::from_slice(&body) {
        Ok(Value::Array(events)) => events,
        Ok(event) => vec![event],
        Err(_) => Vec::new(),
    };
    let decided = decide(&headers, &events);
    let keep = |events| {
        got.lock().unwrap().push(Got {
            headers: headers.clone(),
            body: body.clone(),
            events,
        });
    };
    let status = match decided {
        Answer::Status(status) => status,
        Answer::Late(status, wait) => {
            tokio::time::sleep(wait).await;
            status
        }
        Answer::TakeAndHangUp => {
            keep(events);
            return Err(HungUp);
        }
        Answer::HangUp => return Err(HungUp),
    };
    if (200..300).contains(&status) {
        keep(events);
    }
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = status.try_into().unwrap();
    if (300..400).contains(&status) {
        let to = hyper::header::HeaderValue::from_static("https://127.0.0.1:1/elsewhere");
        response.headers_mut().insert(hyper::header::LOCATION, to);
    }
    let answered: Result<_, Infallible> = Ok(response);
    answered.map_err(|_| HungUp)
}
