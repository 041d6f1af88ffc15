//! Notifications to the URIs that AFs give: HTTPS, to addresses that the guard lets pass, and never to the name again after
//! it was looked up.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ambit_sbi::json::Field;
use ambit_sbi::problem::Problem;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::subscription::{Guard, GuardError};

/// How long a callback may take to be reached and to answer.
const WAIT: Duration = Duration::from_secs(5);

/// How long a name server may take.
const RESOLVE_WAIT: Duration = Duration::from_secs(2);

/// Tries to deliver one notification, the time between them doubling from a quarter of a second.
const TRIES: u32 = 7;

/// An answer's body is read up to so many octets, to keep the connection's manners, and not looked at.
const ANSWER_OCTETS_MAX: usize = 64 << 10;

/// The longest URI, in octets.
const URI_OCTETS_MAX: usize = 2048;

/// The way to AFs.
#[derive(Clone, Debug)]
pub struct Callbacks {
    guard: Guard,
    tls: Option<Arc<ClientConfig>>,
    counts: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

/// Where an AF wants to be told.
#[derive(Clone, Debug)]
pub(super) struct Target {
    uri: Uri,
    host: String,
    port: u16,
    is_tls: bool,
}

impl Callbacks {
    /// Callbacks to where the guard allows; over TLS to servers that `tls` trusts.
    pub fn new(guard: Guard, tls: Option<Arc<ClientConfig>>) -> Self {
        Self {
            guard,
            tls,
            counts: Arc::default(),
        }
    }

    pub(super) fn counts(&self) -> Vec<(&'static str, u64)> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(name, n)| (*name, *n)).collect()
    }

    fn count(&self, name: &'static str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(name).or_default() += 1;
    }

    /// A URI that an AF may be told at. A name that has no address now may have one later; an address that is not allowed is
    /// refused at once, and again each time.
    ///
    /// # Errors
    /// 400 with the rule; 403 `CALLBACK_NOT_ALLOWED`.
    pub(super) async fn check(&self, field: &Field<'_>) -> Result<Target, Problem> {
        let target = Target::parse(field.text()?).map_err(|rule| field.breaks(rule))?;
        match (target.is_tls, &self.tls) {
            (true, None) => return Err(field.breaks("https: cannot be used: no CA is configured")),
            (false, _) if !self.guard.allow_clear => {
                return Err(field.breaks("must begin with https://"));
            }
            _ => {}
        }
        match self.addresses(&target).await {
            Err(GuardError::Refused { .. }) => Err(Problem::forbidden(
                "CALLBACK_NOT_ALLOWED",
                format!(
                    "{}: the host's address is private or special, and not allowed",
                    field.pointer()
                ),
            )),
            _ => Ok(target),
        }
    }

    /// Tries until the AF has it, refuses it for good, or has been tried for half a minute.
    pub(super) async fn deliver(&self, target: &Target, body: &Value) {
        let body = Bytes::from(body.to_string());
        let mut pause = Duration::from_millis(250);
        for _ in 0..TRIES {
            let posted = tokio::time::timeout(WAIT, self.post(target, body.clone())).await;
            match posted {
                Ok(Ok(200..=299)) => return self.count("notification_taken"),
                // What the AF refuses for good, it refuses the next time too. Redirections are not followed: they would
                // lead past what was checked.
                Ok(Ok(status)) if status < 500 && status != 429 => {
                    return self.count("notification_refused");
                }
                _ => {
                    self.count("notification_retried");
                    tokio::time::sleep(pause).await;
                }
            }
            pause *= 2;
        }
        self.count("notification_lost");
    }

    async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, GuardError> {
        let (guard, host, port) = (self.guard.clone(), target.host.clone(), target.port);
        let unresolved = |why: &str| GuardError::Unresolved {
            host: target.host.clone(),
            why: why.to_owned(),
        };
        let looked_up = tokio::task::spawn_blocking(move || guard.resolve(&host, port));
        match tokio::time::timeout(RESOLVE_WAIT, looked_up).await {
            Ok(Ok(found)) => found,
            _ => Err(unresolved("the name server does not answer")),
        }
    }

    async fn post(&self, target: &Target, body: Bytes) -> Result<u16, Unreachable> {
        let addresses = self.addresses(target).await.map_err(|_| Unreachable)?;
        let stream = connect(&addresses).await?;
        let _ = stream.set_nodelay(true);
        let Some(tls) = self.tls.clone().filter(|_| target.is_tls) else {
            return exchange(stream, target, body, false).await;
        };
        let name = ServerName::try_from(target.host.clone()).map_err(|_| Unreachable)?;
        let stream = TlsConnector::from(tls).connect(name, stream).await;
        let stream = stream.map_err(|_| Unreachable)?;
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        exchange(stream, target, body, is_h2).await
    }
}

/// There was no answer.
#[derive(Debug)]
struct Unreachable;

async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, Unreachable> {
    for address in addresses {
        if let Ok(stream) = TcpStream::connect(address).await {
            return Ok(stream);
        }
    }
    Err(Unreachable)
}

async fn exchange<S>(
    stream: S,
    target: &Target,
    body: Bytes,
    is_h2: bool,
) -> Result<u16, Unreachable>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut request = Request::post(target.uri.clone()).header(CONTENT_TYPE, "application/json");
    let stream = TokioIo::new(stream);
    let answer = if is_h2 {
        let request = request.body(Full::new(body)).map_err(|_| Unreachable)?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        let builder = builder.timer(TokioTimer::new());
        let made = builder.handshake(stream).await;
        let (mut sender, connection) = made.map_err(|_| Unreachable)?;
        tokio::spawn(connection);
        sender.send_request(request).await
    } else {
        let path = target
            .uri
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let authority = target.uri.authority().map_or("", |host| host.as_str());
        request = request.uri(path).header(HOST, authority);
        let request = request.body(Full::new(body)).map_err(|_| Unreachable)?;
        let (mut sender, connection) = http1::handshake(stream).await.map_err(|_| Unreachable)?;
        tokio::spawn(connection);
        sender.send_request(request).await
    };
    let answer = answer.map_err(|_| Unreachable)?;
    let status = answer.status().as_u16();
    // The connection ends with its one answer.
    let _ = Limited::new(answer.into_body(), ANSWER_OCTETS_MAX)
        .collect()
        .await;
    Ok(status)
}

impl Target {
    fn parse(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "must be a URI, https://host[:port]/path";
        if text.len() > URI_OCTETS_MAX || text.contains('#') {
            return Err(RULE);
        }
        let uri: Uri = text.parse().map_err(|_| RULE)?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(RULE),
        };
        let authority = uri.authority().ok_or(RULE)?;
        if authority.as_str().contains('@') {
            return Err("must hold no user name and no password");
        }
        let host = authority.host();
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        if bare.is_empty() {
            return Err(RULE);
        }
        let port = match authority.port_u16() {
            Some(port) => port,
            // What is no number of 16 bits is none to the parser.
            None if authority.as_str() != host => return Err("has no port from 1 to 65535"),
            None if is_tls => 443,
            None => 80,
        };
        let (host, port) = (bare.to_owned(), port);
        Ok(Self {
            uri,
            host,
            port,
            is_tls,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_host_port_and_path_and_nothing_hidden() {
        let target = Target::parse("https://[2001:db8::1]:8443/a?b=c").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("2001:db8::1", 8443));
        assert_eq!(Target::parse("https://af.example").unwrap().port, 443);
        assert_eq!(Target::parse("http://af.example/x").unwrap().port, 80);
        for bad in [
            "",
            "/path",
            "af.example/x",
            "ftp://af.example/",
            "https://",
            "https:///x",
            "https://user@af.example/",
            "https://user:pass@af.example/",
            "https://af.example:/",
            "https://af.example:99999/",
            "https://af.example/#x",
            "https://af.example/a b",
            "file:///etc/passwd",
        ] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
        assert!(Target::parse(&format!("https://h/{}", "a".repeat(3000))).is_err());
    }
}
