//! One request and its answer, as the services see them: parsed, bounded, authorised.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use hyper::body::{Bytes, Frame};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::pki::Identity;
use crate::problem::Problem;
use crate::token::Claims;

/// A request.
pub struct Exchange {
    /// What stands in the path in place of the `{}` of the route, decoded.
    pub path: Vec<String>,
    /// The query.
    pub query: Pairs,
    /// The header.
    pub headers: HeaderMap,
    /// The body; null when the operation takes none.
    pub body: Body,
    /// Who asks.
    pub caller: Caller,
    /// Until when the client wants its answer.
    pub deadline: Instant,
}

/// A body as it was understood.
pub enum Body {
    /// The operation takes none.
    None,
    /// JSON, and which of the allowed media types it came as.
    Json(Value, &'static str),
    /// `application/x-www-form-urlencoded`.
    Form(Pairs),
    /// JSON with binary parts (`multipart/related`).
    Parts(Value, crate::multipart::Parts),
}

/// Who asks.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// What its certificate says; `None` on plain HTTP.
    pub certificate: Option<Identity>,
    /// What its token says; `None` where none is asked for.
    pub token: Option<Claims>,
    /// The address that its connection comes from.
    pub address: Option<IpAddr>,
}

/// The address that a request's connection comes from, among the request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub IpAddr);

// Bodies and header fields hold keys and tokens: none of them is printed.
impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Exchange({:?}, ..)", self.path)
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reply({}, ..)", self.status)
    }
}

impl Exchange {
    /// A part of the path.
    pub fn path(&self, n: usize) -> &str {
        self.path.get(n).map_or("", String::as_str)
    }

    /// The JSON body.
    ///
    /// # Errors
    /// There is none.
    pub fn json(&self) -> Result<&Value, Problem> {
        match &self.body {
            Body::Json(value, _) | Body::Parts(value, _) => Ok(value),
            _ => Err(Problem::message_format("the body must be JSON")),
        }
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Names and values of a query or form.
#[derive(Clone, Default)]
pub struct Pairs(Vec<(String, String)>);

impl Pairs {
    /// Pairs at most; what comes after is not looked at.
    const MAX: usize = 256;

    /// Parses a query or form.
    pub fn parse(octets: &[u8]) -> Self {
        let pairs = form_urlencoded::parse(octets).into_owned();
        Self(pairs.take(Self::MAX).collect())
    }

    /// The first value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// All values of a name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let with_name = self.0.iter().filter(|(found, _)| found == name);
        with_name.map(|(_, value)| value.as_str()).collect()
    }
}

/// A body that goes on, piece by piece, until whoever sends it ends. A reader that goes away closes the channel.
#[derive(Debug)]
pub struct Flow(pub mpsc::Receiver<Bytes>);

impl hyper::body::Body for Flow {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.0.poll_recv(context);
        next.map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// The media type of server-sent events.
pub const EVENT_STREAM: &str = "text/event-stream";

/// An answer.
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The body, if there is one.
    pub body: Option<Value>,
    /// A body that goes on, in place of the other.
    pub flow: Option<Flow>,
    /// Its media type.
    pub media_type: &'static str,
    /// Further header fields.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Reply {
    /// 200 with a body.
    pub const fn ok(body: Value) -> Self {
        Self {
            status: 200,
            body: Some(body),
            flow: None,
            media_type: "application/json",
            headers: Vec::new(),
        }
    }

    /// 200 with server-sent events.
    pub const fn events(flow: Flow) -> Self {
        Self {
            status: 200,
            body: None,
            flow: Some(flow),
            media_type: EVENT_STREAM,
            headers: Vec::new(),
        }
    }

    /// 204.
    pub const fn no_content() -> Self {
        Self {
            status: 204,
            body: None,
            flow: None,
            media_type: "application/json",
            headers: Vec::new(),
        }
    }

    /// 201 with a body and the URI of what was made.
    pub fn created(location: &str, body: Value) -> Self {
        Self {
            status: 201,
            ..Self::ok(body)
        }
        .with(hyper::header::LOCATION, location)
    }

    /// With a header field; one that cannot be sent is left out.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: &str) -> Self {
        self.headers
            .extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
        self
    }

    /// The answer that says what is wrong.
    pub fn problem(problem: &Problem) -> Self {
        let mut reply = Self {
            status: problem.status,
            body: Some(problem.to_json()),
            flow: None,
            media_type: "application/problem+json",
            headers: Vec::new(),
        };
        if let Some(seconds) = problem.retry_after_s {
            reply = reply.with(hyper::header::RETRY_AFTER, &seconds.to_string());
        }
        if let Some(allowed) = &problem.allowed {
            let name = match problem.status {
                405 => hyper::header::ALLOW,
                _ => hyper::header::ACCEPT,
            };
            reply = reply.with(name, allowed);
        }
        if let Some(error) = problem.token_error {
            let challenge = match error {
                "" => Cow::Borrowed("Bearer"),
                error => Cow::Owned(format!("Bearer error=\"{error}\"")),
            };
            reply = reply.with(hyper::header::WWW_AUTHENTICATE, &challenge);
        }
        reply
    }
}
