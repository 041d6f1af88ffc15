//! The server: HTTP/2 (and HTTP/1.1, for tools) over TLS 1.3 with mutual authentication; in clear on loopback alone, and
//! only when asked for.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{Either, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, SERVER};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::exchange::{Flow, PeerAddress, Reply};
use crate::pki::Identity;
use crate::problem::Problem;
use crate::router::Router;
use crate::tls::Credentials;

/// How much a server takes on at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections; further ones wait.
    pub connections_max: usize,
    /// Requests that are being answered; further ones get 429.
    pub requests_max: usize,
    /// Requests at once on one connection.
    pub streams_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 512,
            requests_max: 256,
            streams_max: 64,
        }
    }
}

/// How a server behaves.
#[derive(Debug)]
pub struct ServerConfig {
    /// Certificates; `None` serves in clear, which is refused anywhere but on loopback.
    pub credentials: Option<Credentials>,
    /// Bounds.
    pub limits: Limits,
    /// NF type and instance ID, for the header field `Server` (TS 29.500 clause 5.2.2.2).
    pub name: String,
}

/// How long a client may take to make a TLS connection, or to send a request's header.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(5);

/// How long a connection may be silent before it is asked whether it still stands.
const PING_EVERY: Duration = Duration::from_secs(20);

struct Serving {
    router: Arc<Router>,
    tls: Option<TlsAcceptor>,
    limits: Limits,
    name: Option<HeaderValue>,
    requests: Semaphore,
}

/// Serves on a listener in a runtime, until that ends.
///
/// # Errors
/// What the listener returns; in clear on an address that is not of loopback, [`io::ErrorKind::PermissionDenied`].
pub fn start(
    runtime: &Handle,
    listener: StdListener,
    router: Arc<Router>,
    config: ServerConfig,
) -> io::Result<SocketAddr> {
    let address = listener.local_addr()?;
    if config.credentials.is_none() && !address.ip().is_loopback() {
        let rule = "without TLS the service-based interface is served on loopback alone";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, rule));
    }
    listener.set_nonblocking(true)?;
    let _in_runtime = runtime.enter();
    let listener = TcpListener::from_std(listener)?;
    let serving = Arc::new(Serving {
        router,
        tls: config
            .credentials
            .map(|credentials| TlsAcceptor::from(credentials.server)),
        limits: config.limits,
        name: HeaderValue::from_str(&config.name).ok(),
        requests: Semaphore::new(config.limits.requests_max),
    });
    runtime.spawn(listen(listener, serving));
    Ok(address)
}

async fn listen(listener: TcpListener, serving: Arc<Serving>) {
    let free = Arc::new(Semaphore::new(serving.limits.connections_max));
    loop {
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else {
            return;
        };
        let Ok((stream, peer)) = listener.accept().await else {
            // Out of file descriptors, most likely: wait for some to come free.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let serving = Arc::clone(&serving);
        tokio::spawn(async move {
            connection(stream, PeerAddress(peer.ip()), serving).await;
            drop(permit);
        });
    }
}

/// One connection. A client that breaks off is its own affair.
async fn connection(stream: TcpStream, peer: PeerAddress, serving: Arc<Serving>) {
    let _ = stream.set_nodelay(true);
    let Some(tls) = serving.tls.clone() else {
        return serve(TokioIo::new(stream), serving, None, peer).await;
    };
    let accepted = tokio::time::timeout(HANDSHAKE_WAIT, tls.accept(stream)).await;
    let Ok(Ok(stream)) = accepted else {
        return serving.router.count("tls_refused", 0);
    };
    let certificates = stream.get_ref().1.peer_certificates();
    let identity = certificates
        .and_then(<[_]>::first)
        .map(|first| Identity::of(first));
    serve(TokioIo::new(stream), serving, identity, peer).await;
}

async fn serve<S>(
    stream: TokioIo<S>,
    serving: Arc<Serving>,
    identity: Option<Identity>,
    peer: PeerAddress,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE_WAIT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(serving.limits.streams_max)
        .max_header_list_size(32 << 10)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        answer(request, Arc::clone(&serving), identity.clone())
    });
    let _ = builder.serve_connection(stream, service).await;
}

/// Header fields that an answer repeats from its request, for whoever follows a procedure through several functions.
const REPEATED: HeaderName = HeaderName::from_static("3gpp-sbi-correlation-info");

/// What is answered: a whole body, none, or one that goes on.
type Body = Either<Full<Bytes>, Either<Empty<Bytes>, Flow>>;

async fn answer(
    request: Request<Incoming>,
    serving: Arc<Serving>,
    identity: Option<Identity>,
) -> Result<Response<Body>, Infallible> {
    let repeated = request.headers().get(&REPEATED).cloned();
    let reply = match serving.requests.try_acquire() {
        Ok(_permit) => serving.router.answer(request, identity).await,
        Err(_) => {
            serving.router.count("none", 429);
            Reply::problem(&Problem::overload(1))
        }
    };
    let body = match (reply.flow, reply.body) {
        (Some(flow), _) => Some(Either::Right(Either::Right(flow))),
        (None, Some(body)) => Some(Either::Left(Full::new(Bytes::from(body.to_string())))),
        (None, None) => None,
    };
    let has_body = body.is_some();
    let mut response =
        Response::new(body.unwrap_or_else(|| Either::Right(Either::Left(Empty::new()))));
    if has_body {
        let media_type = HeaderValue::from_static(reply.media_type);
        response.headers_mut().insert(CONTENT_TYPE, media_type);
    }
    let status = hyper::StatusCode::from_u16(reply.status);
    *response.status_mut() = status.unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.extend(
        reply
            .headers
            .into_iter()
            .map(|(name, value)| (Some(name), value)),
    );
    if let Some(value) = repeated {
        headers.insert(REPEATED, value);
    }
    // Who speaks, where it is an error: a peer behind an SCP cannot tell otherwise.
    if let Some(name) = serving.name.clone().filter(|_| reply.status >= 400) {
        headers.insert(SERVER, name);
    }
    Ok(response)
}
