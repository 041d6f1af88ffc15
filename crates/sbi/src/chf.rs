//! Nchf_ConvergedCharging (TS 32.291): one-time events sent to a CHF, and a CHF to try that with.
//!
//! Only 201 with a ChargingDataResponse that repeats the invocation sequence number says that a CHF has an event. Everything
//! else says that it may not, and the event is sent again.

pub mod emulator;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::Method;
use hyper::header::{LOCATION, RETRY_AFTER};
use serde_json::Value;

use crate::client::{Answer, Client, ClientError, Outgoing, is_usable_uri};
use crate::nrf::client::NrfClient;

/// The path of the operation.
pub const PATH: &str = "/nchf-convergedcharging/v3/chargingdata";

/// The service's scope.
pub const SERVICE: &str = "nchf-convergedcharging";

/// Redirections followed for one request.
const REDIRECTS_MAX: u32 = 3;

/// Application errors (TS 32.291 clause 6.1.7.3) that speak of the event, not of the CHF.
const EVENT_CAUSES: [&str; 5] = [
    "CHARGING_NOT_APPLICABLE",
    "END_USER_REQUEST_DENIED",
    "END_USER_REQUEST_REJECTED",
    "QUOTA_LIMIT_REACHED",
    "USER_UNKNOWN",
];

/// Why a CHF has not taken an event, or may not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChfError {
    /// It cannot be reached, or is not who it should be.
    #[error("{0}")]
    Unreachable(String),
    /// It did not answer in time.
    #[error("{0}")]
    TimedOut(String),
    /// It refuses this event.
    #[error("refused with {status} {cause}: {detail}")]
    EventRefused {
        /// HTTP status.
        status: u16,
        /// The cause.
        cause: String,
        /// What it said.
        detail: String,
    },
    /// It refuses every event, or cannot take any now.
    #[error("answered {status} {cause}: {detail}")]
    Status {
        /// HTTP status.
        status: u16,
        /// The cause, if it is a ProblemDetails.
        cause: String,
        /// What it said.
        detail: String,
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// Its answer is none to what was asked.
    #[error("answered {status}, but {rule}")]
    Answer {
        /// HTTP status.
        status: u16,
        /// The rule that it breaks.
        rule: &'static str,
    },
}

impl ChfError {
    /// The stable name of the error.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "chf_unreachable",
            Self::TimedOut(_) => "chf_timed_out",
            Self::EventRefused { .. } => "charging_event_refused",
            Self::Status { .. } => "chf_status",
            Self::Answer { .. } => "chf_answer",
        }
    }

    /// How long the CHF asked to be left alone.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// A way to a CHF.
#[derive(Debug)]
pub struct ChfClient {
    client: Client,
    nrf: Option<NrfClient>,
    uri: String,
    /// Where the CHF said that it has moved to (308).
    moved: Mutex<Option<String>>,
    wait: Duration,
}

impl ChfClient {
    /// A CHF at an API root. With an NRF, requests carry a token of it, where it gives one.
    pub fn new(client: Client, nrf: Option<NrfClient>, api_root: &str, wait: Duration) -> Self {
        Self {
            client,
            nrf,
            uri: format!("{}{PATH}", api_root.trim_end_matches('/')),
            moved: Mutex::default(),
            wait,
        }
    }

    /// Asks the CHF to take a one-time event.
    ///
    /// # Errors
    /// [`ChfError`]: of all but [`ChfError::EventRefused`] it is not known whether the CHF has the event.
    pub async fn create(&self, body: &Value) -> Result<(), ChfError> {
        let moved = self.moved().clone();
        let mut uri = moved.clone().unwrap_or_else(|| self.uri.clone());
        for _ in 0..=REDIRECTS_MAX {
            let answer = match self.send(&uri, body).await {
                Ok(answer) => answer,
                Err(error) => {
                    // What had moved may be back where it was.
                    *self.moved() = None;
                    return Err(error);
                }
            };
            let is_permanent = answer.status == 308;
            match answer.status {
                201 => return taken(&answer, body),
                307 | 308 => uri = location(&answer, &uri)?,
                _ => return Err(refusal(&answer)),
            }
            if is_permanent {
                *self.moved() = Some(uri.clone());
            }
        }
        *self.moved() = None;
        Err(ChfError::Answer {
            status: 307,
            rule: "it redirects too often",
        })
    }

    /// One request; once more with a new token where the one it had is refused.
    async fn send(&self, uri: &str, body: &Value) -> Result<Answer, ChfError> {
        let mut has_renewed = false;
        loop {
            let token = match &self.nrf {
                Some(nrf) => nrf.token(SERVICE, "CHF").await.ok(),
                None => None,
            };
            let had_token = token.is_some();
            let outgoing = Outgoing::new(Method::POST, uri)
                .json(body)
                .token(token)
                .wait(self.wait);
            let answer = self.client.send(outgoing).await.map_err(of_client)?;
            if answer.status != 401 || has_renewed || !had_token {
                return Ok(answer);
            }
            if let Some(nrf) = &self.nrf {
                nrf.forget_token(SERVICE, "CHF");
            }
            has_renewed = true;
        }
    }

    fn moved(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of_client(error: ClientError) -> ChfError {
    match error {
        ClientError::TimedOut { .. } => ChfError::TimedOut(error.to_string()),
        error => ChfError::Unreachable(error.to_string()),
    }
}

/// Whether the CHF says that it has this event.
fn taken(answer: &Answer, request: &Value) -> Result<(), ChfError> {
    const NUMBER: &str = "invocationSequenceNumber";
    let lie = |rule| ChfError::Answer {
        status: answer.status,
        rule,
    };
    let said = answer
        .json()
        .map_err(|_| lie("its body is no ChargingDataResponse"))?;
    let number = |of: &Value| of.get(NUMBER).and_then(Value::as_u64);
    if number(&said).is_none() || number(&said) != number(request) {
        return Err(lie("invocationSequenceNumber is not that of the request"));
    }
    let error = said.pointer("/invocationResult/error");
    match error.filter(|error| !error.is_null()) {
        Some(_) => Err(lie("invocationResult has an error")),
        None => Ok(()),
    }
}

fn location(answer: &Answer, uri: &str) -> Result<String, ChfError> {
    let lie = |rule| ChfError::Answer {
        status: answer.status,
        rule,
    };
    let text = answer.headers.get(LOCATION);
    let text = text.and_then(|value| value.to_str().ok());
    let text = text.ok_or_else(|| lie("Location is not there"))?;
    let whole = match text.starts_with('/') && !text.starts_with("//") {
        true => {
            let after_scheme = uri.find("://").map_or(0, |at| at + 3);
            let path = uri.get(after_scheme..).and_then(|rest| rest.find('/'));
            let end = path.map_or(uri.len(), |at| after_scheme + at);
            format!("{}{text}", uri.get(..end).unwrap_or_default())
        }
        false => text.to_owned(),
    };
    match is_usable_uri(&whole) {
        true => Ok(whole),
        false => Err(lie("Location is no URI that can be used")),
    }
}

fn refusal(answer: &Answer) -> ChfError {
    let status = answer.status;
    let said = answer.json().unwrap_or_default();
    // A CHF may answer with a ChargingDataResponse that holds the ProblemDetails.
    let inner = said.pointer("/invocationResult/error").unwrap_or(&said);
    let text = |name: &str| -> String {
        let text = inner.get(name).and_then(Value::as_str).unwrap_or_default();
        text.chars().filter(|c| !c.is_control()).take(200).collect()
    };
    let (cause, detail) = (text("cause"), text("detail"));
    let is_of_event = match status {
        400 | 413 => true,
        403 | 404 => EVENT_CAUSES.contains(&cause.as_str()),
        _ => false,
    };
    if is_of_event {
        return ChfError::EventRefused {
            status,
            cause,
            detail,
        };
    }
    let seconds = answer.headers.get(RETRY_AFTER);
    let seconds = seconds.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    ChfError::Status {
        status,
        cause,
        detail,
        retry_after: seconds.map(Duration::from_secs),
    }
}
