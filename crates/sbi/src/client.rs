//! The client: one HTTP/2 connection for each server, made when it is needed and again when it is lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::json;
use crate::tls::Credentials;

/// Servers with an open connection at most; beyond, all are let go and made again as needed.
const CONNECTIONS_MAX: usize = 256;

/// An answer has at most so many octets.
const ANSWER_OCTETS_MAX: usize = 8 << 20;

/// How long a connection may take to be made, of the time that a request has.
const CONNECT_WAIT: Duration = Duration::from_secs(2);

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The address cannot be used.
    #[error("{uri}: {rule}")]
    Uri {
        /// The address.
        uri: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// The server cannot be reached, or is not who it should be.
    #[error("{origin}: {reason}")]
    Unreachable {
        /// Scheme, host and port.
        origin: String,
        /// Why.
        reason: String,
    },
    /// It did not answer in time.
    #[error("{origin}: no answer in time")]
    TimedOut {
        /// Scheme, host and port.
        origin: String,
    },
    /// Its answer makes no sense.
    #[error("{origin}: {reason}")]
    Answer {
        /// Scheme, host and port.
        origin: String,
        /// Why.
        reason: String,
    },
    /// It refused.
    #[error("refused with {status} {cause}: {detail}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The cause, if it is a ProblemDetails.
        cause: String,
        /// What the server said.
        detail: String,
    },
}

/// A request to make.
#[derive(Clone)]
pub struct Outgoing {
    /// The method.
    pub method: Method,
    /// The whole URI.
    pub uri: String,
    /// Media type and body.
    pub body: Option<(String, Vec<u8>)>,
    /// The access token.
    pub token: Option<String>,
    /// Further header fields.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How long to wait for the answer.
    pub wait: Duration,
}

// Bodies and header fields hold keys and tokens: none of them is printed.
impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outgoing({} {}, ..)", self.method, self.uri)
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Answer({}, ..)", self.status)
    }
}

impl Outgoing {
    /// A request without a body.
    pub fn new(method: Method, uri: impl Into<String>) -> Self {
        Self {
            method,
            uri: uri.into(),
            body: None,
            token: None,
            headers: Vec::new(),
            wait: Duration::from_secs(5),
        }
    }

    /// With a JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.typed("application/json", body.to_string().into_bytes())
    }

    /// With a body.
    #[must_use]
    pub fn typed(mut self, media_type: &str, body: Vec<u8>) -> Self {
        self.body = Some((media_type.to_owned(), body));
        self
    }

    /// With an access token.
    #[must_use]
    pub fn token(mut self, token: Option<String>) -> Self {
        self.token = token;
        self
    }

    /// With another time to wait.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}

/// An answer.
#[derive(Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The header.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// [`ClientError::Answer`].
    pub fn json(&self) -> Result<Value, ClientError> {
        json::parse(&self.body).map_err(|problem| ClientError::Answer {
            origin: "peer".into(),
            reason: problem.detail,
        })
    }

    /// The answer when its status is a success.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with what the server said, cut to a line.
    pub fn success(self) -> Result<Self, ClientError> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let said = self.json().unwrap_or_default();
        let text = |name: &str| {
            let text = said.get(name).and_then(Value::as_str).unwrap_or_default();
            text.chars().filter(|c| !c.is_control()).take(200).collect()
        };
        let cause: String = text("cause");
        Err(ClientError::Refused {
            status: self.status,
            cause: if cause.is_empty() {
                text("error")
            } else {
                cause
            },
            detail: text("detail"),
        })
    }
}

/// The whole of an answer.
async fn gather(response: Response<Incoming>, origin: &str) -> Result<Answer, ClientError> {
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_OCTETS_MAX).collect().await;
    let body = body.map_err(|error| ClientError::Answer {
        origin: origin.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: body.to_bytes(),
    })
}

/// A client. Clones share their connections.
#[derive(Clone)]
pub struct Client {
    credentials: Option<Credentials>,
    /// Scheme, host and port of an SCP through which all requests go.
    scp: Option<String>,
    connections: Arc<Mutex<HashMap<String, SendRequest<Full<Bytes>>>>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({:?})", self.credentials)
    }
}

impl Client {
    /// A client with these credentials; without any it talks in clear, and to loopback alone.
    pub fn new(credentials: Option<Credentials>, scp: Option<String>) -> Self {
        Self {
            credentials,
            scp,
            connections: Arc::default(),
        }
    }

    /// Why a URI is none that this client could ever be sent to, if it is none.
    pub fn refuses(&self, uri: &str) -> Option<&'static str> {
        if !is_usable_uri(uri) {
            return Some("must be a URI, https://host:port/path");
        }
        // Whoever has certificates does not talk in clear, and the other way round.
        let is_tls = Target::of(uri).is_ok_and(|target| target.is_tls);
        match (is_tls, self.credentials.is_some()) {
            (false, true) => Some("must begin with https://"),
            (true, false) => Some("must begin with http://, as there is no TLS here"),
            _ => None,
        }
    }

    /// Makes a request and waits for the answer, whatever its status.
    ///
    /// # Errors
    /// [`ClientError`], never [`ClientError::Refused`].
    pub async fn send(&self, outgoing: Outgoing) -> Result<Answer, ClientError> {
        let deadline = Instant::now() + outgoing.wait;
        let target = Target::of(&outgoing.uri)?;
        let timed_out = ClientError::TimedOut {
            origin: target.origin.clone(),
        };
        match tokio::time::timeout_at(deadline.into(), self.exchange(outgoing, target)).await {
            Ok(answer) => answer,
            Err(_) => Err(timed_out),
        }
    }

    /// Makes a request whose answer goes on, and waits for where it begins: the pieces of its body come as they are sent.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Refused`] where the status is no success.
    pub async fn open(&self, outgoing: Outgoing) -> Result<Incoming, ClientError> {
        let deadline = Instant::now() + outgoing.wait;
        let target = Target::of(&outgoing.uri)?;
        let origin = target.origin.clone();
        let opened = async {
            let response = self.begin(outgoing, &target).await?;
            if response.status().is_success() {
                return Ok(response.into_body());
            }
            let refused = gather(response, &target.origin).await?.success();
            Err(refused.err().unwrap_or(ClientError::TimedOut {
                origin: target.origin.clone(),
            }))
        };
        let timed_out = Err(ClientError::TimedOut { origin });
        let opened = tokio::time::timeout_at(deadline.into(), opened).await;
        opened.unwrap_or(timed_out)
    }

    async fn exchange(&self, outgoing: Outgoing, target: Target) -> Result<Answer, ClientError> {
        let response = self.begin(outgoing, &target).await?;
        gather(response, &target.origin).await
    }

    async fn begin(
        &self,
        outgoing: Outgoing,
        target: &Target,
    ) -> Result<Response<Incoming>, ClientError> {
        let next_hop = match &self.scp {
            Some(scp) => Target::of(scp)?,
            None => target.clone(),
        };
        let mut sender = self.connection(&next_hop).await?;
        let request = build(outgoing, target, &next_hop)?;
        match sender.send_request(request).await {
            Ok(response) => Ok(response),
            Err(error) => {
                self.forget(&next_hop.origin);
                Err(ClientError::Unreachable {
                    origin: target.origin.clone(),
                    reason: error.to_string(),
                })
            }
        }
    }

    async fn connection(&self, target: &Target) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        let open = {
            let connections = self
                .connections
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            connections
                .get(&target.origin)
                .filter(|sender| !sender.is_closed())
                .cloned()
        };
        if let Some(mut sender) = open {
            if sender.ready().await.is_ok() {
                return Ok(sender);
            }
            self.forget(&target.origin);
        }
        let made = tokio::time::timeout(CONNECT_WAIT, self.connect(target)).await;
        let made = made.unwrap_or_else(|_| {
            Err(ClientError::TimedOut {
                origin: target.origin.clone(),
            })
        })?;
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if connections.len() >= CONNECTIONS_MAX {
            connections.clear();
        }
        connections.insert(target.origin.clone(), made.clone());
        Ok(made)
    }

    async fn connect(&self, target: &Target) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        let failed = |error: &dyn std::fmt::Display| ClientError::Unreachable {
            origin: target.origin.clone(),
            reason: error.to_string(),
        };
        let stream = TcpStream::connect((target.host.as_str(), target.port))
            .await
            .map_err(|error| failed(&error))?;
        let _ = stream.set_nodelay(true);
        match (&self.credentials, target.is_tls) {
            (Some(credentials), true) => {
                let name =
                    ServerName::try_from(target.host.clone()).map_err(|error| failed(&error))?;
                let tls = TlsConnector::from(Arc::clone(&credentials.client));
                let stream = tls
                    .connect(name, stream)
                    .await
                    .map_err(|error| failed(&error))?;
                handshake(TokioIo::new(stream))
                    .await
                    .map_err(|error| failed(&error))
            }
            (None, false) => {
                let is_loopback = stream.peer_addr().is_ok_and(|peer| peer.ip().is_loopback());
                if !is_loopback {
                    return Err(failed(&"without TLS only loopback is talked to"));
                }
                handshake(TokioIo::new(stream))
                    .await
                    .map_err(|error| failed(&error))
            }
            (Some(_), false) => Err(failed(&"with TLS on, http: is not talked to")),
            (None, true) => Err(failed(&"https: needs certificates (sbi.pki)")),
        }
    }

    fn forget(&self, origin: &str) {
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connections.remove(origin);
    }
}

async fn handshake<S>(stream: TokioIo<S>) -> Result<SendRequest<Full<Bytes>>, hyper::Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5));
    let (sender, connection) = builder.handshake(stream).await?;
    // Ends when the connection does.
    tokio::spawn(connection);
    Ok(sender)
}

fn build(
    outgoing: Outgoing,
    target: &Target,
    next_hop: &Target,
) -> Result<Request<Full<Bytes>>, ClientError> {
    let bad = |rule| ClientError::Uri {
        uri: outgoing.uri.clone(),
        rule,
    };
    let uri = format!("{}{}", next_hop.origin, target.path_and_query);
    let (media_type, body) = outgoing.body.clone().unzip();
    let mut request = Request::builder()
        .method(outgoing.method.clone())
        .uri(uri)
        .body(Full::new(Bytes::from(body.unwrap_or_default())))
        .map_err(|_| bad("must be a URI"))?;
    let mut text = |name: HeaderName, value: &str| {
        let value = HeaderValue::from_str(value).map_err(|_| bad("has an unusable header"))?;
        request.headers_mut().insert(name, value);
        Ok(())
    };
    text(
        ACCEPT,
        "application/json, application/problem+json, application/3gppHal+json",
    )?;
    if let Some(media_type) = &media_type {
        text(CONTENT_TYPE, media_type)?;
    }
    if let Some(token) = &outgoing.token {
        text(AUTHORIZATION, &format!("Bearer {token}"))?;
    }
    let wait_ms = outgoing.wait.as_millis().to_string();
    text(HeaderName::from_static("3gpp-sbi-max-rsp-time"), &wait_ms)?;
    if next_hop.origin != target.origin {
        text(
            HeaderName::from_static("3gpp-sbi-target-apiroot"),
            &target.origin,
        )?;
    }
    request.headers_mut().extend(
        outgoing
            .headers
            .iter()
            .map(|(n, v)| (Some(n.clone()), v.clone())),
    );
    Ok(request)
}

#[derive(Clone, Debug)]
struct Target {
    origin: String,
    is_tls: bool,
    host: String,
    port: u16,
    path_and_query: String,
}

impl Target {
    fn of(text: &str) -> Result<Self, ClientError> {
        let bad = |rule| ClientError::Uri {
            uri: text.to_owned(),
            rule,
        };
        let uri: Uri = text.parse().map_err(|_| bad("must be a URI"))?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad("must begin with https:// or http://")),
        };
        let host = uri.host().filter(|host| is_host(host));
        let host = host.ok_or_else(|| bad("must name a host"))?;
        // A port that is no number of 16 bits is none to the parser.
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let has_port = authority.rsplit('@').next() != Some(host);
        let port = match uri.port_u16() {
            Some(port) => port,
            None if has_port => return Err(bad("has no port from 0 to 65535")),
            None if is_tls => 443,
            None => 80,
        };
        let path_and_query = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            origin: format!("{}://{host}:{port}", if is_tls { "https" } else { "http" }),
            is_tls,
            host: host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port,
            path_and_query: path_and_query.to_owned(),
        })
    }
}

/// Whether a text is a host as a URI has it: a name, an address, or an IPv6 address in brackets. A URI's own grammar takes more.
pub fn is_host(text: &str) -> bool {
    match text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
    {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let is_of_name = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
            matches!(text.len(), 1..=253) && text.bytes().all(is_of_name)
        }
    }
}

/// Whether a URI is one that a client can be sent to: `http(s)://host[:port][/path]`.
pub fn is_usable_uri(uri: &str) -> bool {
    uri.len() <= 2048 && Target::of(uri).is_ok()
}
