//! Notifications to the callback URIs that other functions gave.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::Method;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use serde_json::Value;

use crate::client::{Answer, Client, ClientError, Outgoing};
use crate::exchange::Exchange;

/// How long a callback may take to answer.
const WAIT: Duration = Duration::from_secs(5);

/// How long a callback that asks for patience is left alone at most.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// Redirections that are followed for one notification.
const REDIRECTIONS_MAX: u32 = 2;

const CORRELATION: HeaderName = HeaderName::from_static("3gpp-sbi-correlation-info");

/// What became of notifications, by name: for metrics.
#[derive(Debug, Default)]
pub struct CallbackCounts(Mutex<BTreeMap<&'static str, u64>>);

impl CallbackCounts {
    /// All counts.
    pub fn get(&self) -> Vec<(&'static str, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(name, n)| (*name, *n)).collect()
    }

    pub(super) fn add(&self, name: &'static str, n: u64) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(name).or_default() += n;
    }
}

/// What a callback made of a notification.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It has it.
    Taken,
    /// It will not take it the next time either.
    Refused,
    /// It does not know what the notification is about.
    Unknown,
    /// Not now; it may say after how long.
    Later(Option<Duration>),
}

/// 3gpp-Sbi-Correlation-Info of a request, for the notifications that come of it.
pub(super) fn correlation(exchange: &Exchange) -> Option<HeaderValue> {
    let value = exchange.headers.get(&CORRELATION)?;
    (value.len() <= 1024).then(|| value.clone())
}

/// One try to deliver a notification.
pub(super) async fn post(
    client: &Client,
    uri: &str,
    body: &Value,
    correlation: Option<&HeaderValue>,
) -> Told {
    let mut uri = uri.to_owned();
    for _ in 0..=REDIRECTIONS_MAX {
        let mut outgoing = Outgoing::new(Method::POST, &uri).json(body).wait(WAIT);
        outgoing
            .headers
            .extend(correlation.map(|value| (CORRELATION, value.clone())));
        match told(client.send(outgoing).await) {
            Ok(told) => return told,
            Err(elsewhere) => uri = elsewhere,
        }
    }
    Told::Refused
}

/// What an answer means; another URI if the callback has moved.
fn told(answer: Result<Answer, ClientError>) -> Result<Told, String> {
    let Ok(answer) = answer else {
        return Ok(Told::Later(None));
    };
    Ok(match answer.status {
        200..=299 => Told::Taken,
        307 | 308 => {
            let location = answer.headers.get(LOCATION).and_then(|v| v.to_str().ok());
            return location.map_or(Ok(Told::Refused), |uri| Err(uri.to_owned()));
        }
        404 | 410 => Told::Unknown,
        408 | 429 | 500.. => Told::Later(retry_after(&answer.headers)),
        _ => Told::Refused,
    })
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}
