//! `/subscriptions/ID/events`: server-sent events for browsers and scripts.

use std::sync::atomic::{AtomicUsize, Ordering};

use ambit_nef::delivery::{StreamError, Streams};
use ambit_sbi::exchange::{EVENT_STREAM, Flow};
use hyper::body::Incoming;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue,
    RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};

use super::{Body, text};

/// Readers at once: some connections stay free for who asks after the core's health.
const READERS_MAX: usize = 192;

static READERS: AtomicUsize = AtomicUsize::new(0);

/// One of the readers.
struct Reader;

impl Reader {
    fn enter() -> Option<Self> {
        let before = READERS.fetch_add(1, Ordering::Relaxed);
        let reader = Self;
        (before < READERS_MAX).then_some(reader)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        READERS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The subscription whose events a path asks for.
pub(super) fn subscription(path: &str) -> Option<&str> {
    path.strip_prefix("/subscriptions/")?
        .strip_suffix("/events")
}

/// Opens a stream. The token comes as `Authorization: Bearer`, or as `token` in the query, as browsers cannot set headers here.
pub(super) async fn answer(
    request: &Request<Incoming>,
    id: &str,
    streams: Option<&Streams>,
) -> Response<Body> {
    let refuse = |status, message: &str| text(status, format!("{message}\n")).map(Body::Left);
    if request.method() != Method::GET {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "only GET");
    }
    let Some(streams) = streams else {
        return refuse(StatusCode::NOT_FOUND, "nothing is delivered here");
    };
    let header = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok());
    let bearer = header(AUTHORIZATION.as_str()).and_then(|v| v.strip_prefix("Bearer "));
    let mut token = bearer.unwrap_or_default().to_owned();
    let mut from_now = false;
    let query = request.uri().query().unwrap_or_default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "token" if bearer.is_none() => token = value.into_owned(),
            "from" => from_now = value == "now",
            _ => {}
        }
    }
    let Some(reader) = Reader::enter() else {
        let mut response = refuse(StatusCode::SERVICE_UNAVAILABLE, "too many readers");
        let wait = HeaderValue::from_static("10");
        response.headers_mut().insert(RETRY_AFTER, wait);
        return response;
    };
    let opened = streams.open(id, &token, header("last-event-id"), from_now);
    let stream = match opened.await {
        Ok(stream) => stream,
        Err(error) => {
            let status = match error {
                StreamError::Unauthorized => StatusCode::UNAUTHORIZED,
                StreamError::LastEventId => StatusCode::BAD_REQUEST,
                StreamError::Paused | StreamError::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            };
            let mut response = refuse(status, &error.to_string());
            if status == StatusCode::UNAUTHORIZED {
                let bearer = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(WWW_AUTHENTICATE, bearer);
            }
            return response;
        }
    };
    let mut response = Response::new(Body::Right(Flow(stream.pieces(reader))));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static(EVENT_STREAM);
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // The token is what opens it, not where the page comes from.
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}
