//! Callbacks: CloudEvents posted to an HTTPS server, signed as Standard Webhooks has it.
//!
//! HTTP/1.1, a few connections kept. Redirects are not followed: an address that has been checked would lead to one that has
//! not.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::net::Network;
use super::sink::{Failed, Outcome, Outgoing};
use crate::subscription::{DeliveryKey, Sink, Subscription, target};

/// How long a receiver may take over one request.
const PATIENCE: Duration = Duration::from_secs(15);

/// Connections kept.
const IDLE_MAX: usize = 16;

/// How much of an answer is read: what is said beside the status helps nobody here.
const ANSWER_OCTETS_MAX: usize = 64 * 1024;

/// Answers that say: never this message.
const REFUSALS: [u16; 12] = [400, 405, 406, 409, 410, 411, 413, 414, 415, 422, 431, 451];

/// The receiver of one subscription.
pub(super) struct Callback(Arc<Receiver>);

struct Receiver {
    subscription: String,
    key: DeliveryKey,
    network: Network,
    host: String,
    port: u16,
    is_tls: bool,
    authority: String,
    path: String,
    batch: bool,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl Callback {
    /// `None` if the subscription is no callback.
    pub(super) fn new(
        subscription: &Subscription,
        network: Network,
        key: DeliveryKey,
    ) -> Option<Self> {
        let Sink::Callback { url, batch } = &subscription.sink else {
            return None;
        };
        let uri: Uri = url.parse().ok()?;
        let (host, port) = target(&subscription.sink)?;
        Some(Self(Arc::new(Receiver {
            subscription: subscription.id.clone(),
            key,
            network,
            host,
            port,
            is_tls: uri.scheme_str() == Some("https"),
            authority: uri.authority()?.to_string(),
            path: uri.path_and_query().map_or("/", |p| p.as_str()).to_owned(),
            batch: *batch,
            idle: Mutex::default(),
        })))
    }

    pub(super) fn is_batch(&self) -> bool {
        self.0.batch
    }

    /// Posts all in one request, or each in one of its own, all at once.
    pub(super) async fn send(&mut self, wave: &[Outgoing]) -> Vec<Outcome> {
        if self.0.batch {
            return self.0.batch(wave).await;
        }
        let mut posts = JoinSet::new();
        for (place, outgoing) in wave.iter().enumerate() {
            let receiver = Arc::clone(&self.0);
            let (id, body) = (outgoing.message.id.clone(), outgoing.message.body());
            posts.spawn(async move {
                let posted = receiver.post(&id, "application/cloudevents+json", body);
                (place, posted.await)
            });
        }
        let mut outcomes = vec![Outcome::Held; wave.len()];
        while let Some(joined) = posts.join_next().await {
            if let Ok((place, outcome)) = joined
                && let Some(slot) = outcomes.get_mut(place)
            {
                *slot = outcome;
            }
        }
        outcomes
    }
}

impl Receiver {
    /// Posts a batch. One that is refused is halved, until it is known which message the receiver does not want.
    async fn batch(&self, wave: &[Outgoing]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(wave.len());
        let mut pieces = vec![wave];
        while let Some(piece) = pieces.pop() {
            let Some(first) = piece.first() else {
                continue;
            };
            let mut body = String::from("[");
            for (place, outgoing) in piece.iter().enumerate() {
                if place > 0 {
                    body.push(',');
                }
                body += &outgoing.message.event;
            }
            body.push(']');
            let id = format!("{}+{}", first.message.id, piece.len());
            let kind = "application/cloudevents-batch+json";
            match self.post(&id, kind, body.into()).await {
                Outcome::Taken => outcomes.resize(outcomes.len() + piece.len(), Outcome::Taken),
                Outcome::Refused(_) if piece.len() > 1 => {
                    let (front, back) = piece.split_at(piece.len() / 2);
                    pieces.extend([back, front]);
                }
                refused @ Outcome::Refused(_) => outcomes.push(refused),
                failed => {
                    outcomes.push(failed);
                    break;
                }
            }
        }
        outcomes.resize(wave.len(), Outcome::Held);
        outcomes
    }

    /// One request.
    async fn post(&self, id: &str, kind: &'static str, body: Bytes) -> Outcome {
        let posted = async {
            // A kept connection may have been closed by the other side meanwhile: then the request was not taken up.
            if let Some(kept) = self.kept() {
                match self.post_on(kept, id, kind, body.clone()).await {
                    Err(error) if error.is_canceled() || error.is_closed() => {}
                    Err(error) if error.is_incomplete_message() => {}
                    done => return done.map_err(|error| self.broken(&error)),
                }
            }
            let new = self.connect().await?;
            let done = self.post_on(new, id, kind, body).await;
            done.map_err(|error| self.broken(&error))
        };
        match timeout(PATIENCE, posted).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(failed)) => Outcome::Failed(failed),
            Err(_) => Outcome::Failed(Failed::new(
                "sink_unreachable",
                format!("{}: no answer in time", self.authority),
            )),
        }
    }

    fn kept(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(kept) = idle.pop() {
            if kept.is_ready() {
                return Some(kept);
            }
        }
        None
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Failed> {
        let network = &self.network;
        let stream = network.connect(&self.host, self.port, self.is_tls).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(&error))?;
        tokio::spawn(async move {
            // How it ends is seen by the request on it.
            let _ = connection.await;
        });
        Ok(sender)
    }

    async fn post_on(
        &self,
        mut connection: SendRequest<Full<Bytes>>,
        id: &str,
        kind: &'static str,
        body: Bytes,
    ) -> Result<Outcome, hyper::Error> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let unix_s = since.map_or(0, |since| since.as_secs().cast_signed());
        let signature = self.key.sign(&self.subscription, id, unix_s, &body);
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.path)
            .header(HOST, &self.authority)
            .header(USER_AGENT, concat!("ambit/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, kind)
            .header("webhook-id", id)
            .header("webhook-timestamp", unix_s)
            .header("webhook-signature", signature)
            .body(Full::new(body));
        let request = match request {
            Ok(request) => request,
            Err(error) => {
                return Ok(Outcome::Failed(Failed::new(
                    "sink_failing",
                    error.to_string(),
                )));
            }
        };
        connection.ready().await?;
        let response = connection.send_request(request).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        // Read to its end, so that the connection serves again.
        let rest = Limited::new(response.into_body(), ANSWER_OCTETS_MAX);
        if rest.collect().await.is_ok() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE_MAX {
                idle.push(connection);
            }
        }
        Ok(self.outcome(status, &headers))
    }

    fn outcome(&self, status: StatusCode, headers: &HeaderMap) -> Outcome {
        if status.is_success() {
            return Outcome::Taken;
        }
        let error = format!("{}: answers {status}", self.authority);
        if REFUSALS.contains(&status.as_u16()) {
            return Outcome::Refused(error);
        }
        let seconds = headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok());
        let seconds: Option<u64> = seconds.and_then(|text| text.parse().ok());
        Outcome::Failed(Failed {
            name: match status.is_redirection() {
                true => "sink_redirects",
                false => "sink_failing",
            },
            error,
            is_answer: true,
            retry_after: seconds.map(Duration::from_secs),
        })
    }

    fn broken(&self, error: &hyper::Error) -> Failed {
        Failed::new("sink_unreachable", format!("{}: {error}", self.authority))
    }
}
