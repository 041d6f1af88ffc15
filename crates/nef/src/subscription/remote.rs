//! Subscriptions of AFs over the SBI: what an ADM offers a NEF beside the standard's services, and a NEF's way to it.

use std::sync::Arc;
use std::time::Duration;

use ambit_sbi::client::ClientError;
use ambit_sbi::exchange::{EVENT_STREAM, Exchange, Flow, Reply};
use ambit_sbi::nrf::client::NrfClient;
use ambit_sbi::nrf::service::Service;
use ambit_sbi::problem::Problem;
use ambit_sbi::router::{Access, Route, Takes};
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};

use super::service::{Ask, Begin, Opening, Refused, SubscriptionAccess, Told};
use crate::delivery::StreamError;

/// How long an answer is waited for: as long as a name server may take, and less than an AF's own request may.
const WAIT: Duration = Duration::from_secs(8);

/// Streams at once. They share one connection with everything else that is asked of the ADM, which takes 64.
const STREAMS_MAX: usize = 32;

/// Pieces of a stream that wait for a reader.
const AHEAD: usize = 2;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What an AF asks.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    af: String,
    ask: Ask,
}

/// What becomes of it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::large_enum_variant)] // One at a time, and gone when it is told.
enum Outcome {
    Told(Told),
    Refused(Refused),
}

/// What an ADM offers NEFs.
pub fn routes(access: &Arc<dyn SubscriptionAccess>) -> Vec<Route> {
    let own = Access::Token {
        service: "ambit-af",
        operation: "ambit-af:subscriptions:invoke",
    };
    let (a, b) = (Arc::clone(access), Arc::clone(access));
    vec![
        Route::new(
            "af_subscriptions",
            Method::POST,
            "/ambit-af/v1/subscriptions",
            own,
            Takes::Json(&["application/json"]),
            move |exchange| answer(Arc::clone(&a), exchange),
        )
        .octets_max(256 << 10),
        Route::new(
            "af_events",
            Method::GET,
            "/ambit-af/v1/afs/{}/subscriptions/{}/events",
            own,
            Takes::Nothing,
            move |exchange| stream(Arc::clone(&b), exchange),
        )
        .gives(EVENT_STREAM),
    ]
}

async fn answer(access: Arc<dyn SubscriptionAccess>, exchange: Exchange) -> Result<Reply, Problem> {
    let question = Question::deserialize(exchange.json()?)
        .map_err(|error| Problem::message_format(format!("the body is no question: {error}")))?;
    let asked = tokio::task::spawn_blocking(move || access.ask(&question.af, question.ask)).await;
    let outcome = match asked.unwrap_or(Err(Refused::Unavailable)) {
        Ok(told) => Outcome::Told(told),
        Err(refused) => Outcome::Refused(refused),
    };
    serde_json::to_value(outcome)
        .map(Reply::ok)
        .map_err(|_| Problem::system_failure("the answer cannot be written"))
}

async fn stream(access: Arc<dyn SubscriptionAccess>, exchange: Exchange) -> Result<Reply, Problem> {
    let begin = Begin {
        last_event_id: exchange.header(LAST_EVENT_ID.as_str()).map(str::to_owned),
        now: exchange.query.get("from") == Some("now"),
    };
    let (af, id) = (exchange.path(0).to_owned(), exchange.path(1).to_owned());
    let opened = access.follow(af, id, begin).await;
    opened
        .map(Reply::events)
        .map_err(|error| stream_problem(error, "Last-Event-ID"))
}

/// Why there is no stream, as a ProblemDetails.
pub(crate) fn stream_problem(error: StreamError, param: &str) -> Problem {
    match error {
        StreamError::Unauthorized => {
            Problem::not_found("SUBSCRIPTION_NOT_FOUND", "the AF has no such subscription")
        }
        StreamError::LastEventId => {
            Problem::optional_incorrect(param, "must be one that was given out")
        }
        StreamError::Paused => Problem {
            status: 409,
            cause: "SUBSCRIPTION_PAUSED",
            ..Problem::refused("", "the subscription is paused: nothing is told for now")
        },
        StreamError::Unavailable => Problem::unavailable("the stream cannot be had now", 5),
    }
}

/// The subscriptions at an ADM that an NRF knows.
#[derive(Clone)]
pub struct RemoteSubscriptions {
    runtime: Handle,
    service: Service,
    streams: Arc<Semaphore>,
}

impl std::fmt::Debug for RemoteSubscriptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RemoteSubscriptions(..)")
    }
}

impl RemoteSubscriptions {
    /// Those at whichever ADM the NRF names.
    pub fn new(runtime: Handle, nrf: &NrfClient) -> Self {
        Self {
            runtime,
            service: Service::new(nrf.clone(), "ADM", "ambit-af", "v1", String::new()),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        }
    }

    async fn open(self, af: String, id: String, begin: Begin) -> Result<Flow, StreamError> {
        let permit = Arc::clone(&self.streams).try_acquire_owned();
        let permit = permit.map_err(|_| StreamError::Unavailable)?;
        let encoded = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        };
        let mut path = format!(
            "/afs/{}/subscriptions/{}/events",
            encoded(&af),
            encoded(&id)
        );
        if begin.now {
            path += "?from=now";
        }
        let mut headers = Vec::new();
        if let Some(last) = &begin.last_event_id {
            let value = HeaderValue::from_str(last).map_err(|_| StreamError::LastEventId)?;
            headers.push((LAST_EVENT_ID, value));
        }
        let opened = self.service.open(&path, &headers, WAIT).await;
        let body = opened.map_err(|error| match error {
            ClientError::Refused { status: 400, .. } => StreamError::LastEventId,
            ClientError::Refused { status: 404, .. } => StreamError::Unauthorized,
            ClientError::Refused { status: 409, .. } => StreamError::Paused,
            _ => StreamError::Unavailable,
        })?;
        let (to, pieces) = mpsc::channel(AHEAD);
        tokio::spawn(async move {
            let _permit = permit;
            pass_on(body, &to).await;
        });
        Ok(Flow(pieces))
    }
}

/// Passes a body on until it ends, or nobody reads it any more.
async fn pass_on(mut body: Incoming, to: &mpsc::Sender<hyper::body::Bytes>) {
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = to.closed() => return,
        };
        let Some(Ok(frame)) = frame else { return };
        if let Ok(piece) = frame.into_data()
            && to.send(piece).await.is_err()
        {
            return;
        }
    }
}

impl SubscriptionAccess for RemoteSubscriptions {
    fn ask(&self, af: &str, ask: Ask) -> Result<Told, Refused> {
        let question = serde_json::to_value(Question {
            af: af.to_owned(),
            ask,
        });
        let question = question.map_err(|_| Refused::Unavailable)?;
        let body = Some(("application/json", &question));
        let asked = self.service.ask(Method::POST, "/subscriptions", body, WAIT);
        let said = self
            .runtime
            .block_on(asked)
            .and_then(|answer| answer.json());
        let said = said.map_err(|_| Refused::Unavailable)?;
        match serde_json::from_value(said) {
            Ok(Outcome::Told(told)) => Ok(told),
            Ok(Outcome::Refused(refused)) => Err(refused),
            Err(_) => Err(Refused::Unavailable),
        }
    }

    fn follow(&self, af: String, id: String, begin: Begin) -> Opening {
        Box::pin(self.clone().open(af, id, begin))
    }
}
