//! Calling a service: find a producer, get a token, ask; try again where that may help.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, header};
use serde_json::Value;

use super::client::{NrfClient, Producer};
use crate::client::{Answer, ClientError, Outgoing};
use crate::exchange::EVENT_STREAM;

/// A service of some NF type, wherever the NRF says that it is. Clones share which producer answered last.
#[derive(Clone, Debug)]
pub struct Service {
    nrf: NrfClient,
    nf_type: &'static str,
    name: &'static str,
    version: &'static str,
    /// What else a discovery asks for.
    query: String,
    /// The one that answered last is asked first: it may hold the other half of a procedure.
    last: Arc<Mutex<Option<String>>>,
}

impl Service {
    /// A service by name and API version, offered by functions of a type.
    pub fn new(
        nrf: NrfClient,
        nf_type: &'static str,
        name: &'static str,
        version: &'static str,
        query: String,
    ) -> Self {
        Self {
            nrf,
            nf_type,
            name,
            version,
            query,
            last: Arc::default(),
        }
    }

    /// Asks for an operation that may be repeated without harm, until `wait` is over: of the producers found one after
    /// the other, the second time around after the NRF was asked anew.
    ///
    /// # Errors
    /// [`ClientError`], the last one.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, &Value)>,
        wait: Duration,
    ) -> Result<Answer, ClientError> {
        let until = Instant::now() + wait;
        let mut error = ClientError::TimedOut {
            origin: format!("{} ({})", self.name, self.nf_type),
        };
        for round in 0..2 {
            let producers = match self.producers().await {
                Ok(producers) => producers,
                Err(unfound) => {
                    error = unfound;
                    Vec::new()
                }
            };
            for producer in producers {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(error);
                }
                match self.ask_one(&producer, &method, path, body, left).await {
                    Ok(answer) if answer.status == 503 || answer.status == 504 => {
                        error = refusal(answer);
                    }
                    Ok(answer) => {
                        *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
                            Some(producer.id);
                        return answer.success();
                    }
                    Err(failed) => error = failed,
                }
            }
            if round == 0 {
                self.nrf.doubt_discovery();
            }
        }
        Err(error)
    }

    /// Opens a stream of server-sent events at the first producer that has it.
    ///
    /// # Errors
    /// [`ClientError`], the last one.
    pub async fn open(
        &self,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        wait: Duration,
    ) -> Result<Incoming, ClientError> {
        let mut last = ClientError::TimedOut {
            origin: self.name.to_owned(),
        };
        for producer in self.producers().await? {
            let uri = format!("{}/{}/{}{path}", producer.api_root, self.name, self.version);
            for _ in 0..2 {
                let token = self.nrf.token(self.name, self.nf_type).await?;
                let mut outgoing = Outgoing::new(Method::GET, &uri)
                    .token(Some(token))
                    .wait(wait);
                outgoing.headers.extend_from_slice(headers);
                let accept = (header::ACCEPT, HeaderValue::from_static(EVENT_STREAM));
                outgoing.headers.push(accept);
                match self.nrf.client().open(outgoing).await {
                    Ok(body) => return Ok(body),
                    Err(error @ ClientError::Refused { status: 401, .. }) => {
                        self.nrf.forget_token(self.name, self.nf_type);
                        last = error;
                    }
                    Err(error @ ClientError::Refused { status: ..500, .. }) => return Err(error),
                    Err(error) => {
                        last = error;
                        break;
                    }
                }
            }
        }
        self.nrf.doubt_discovery();
        Err(last)
    }

    async fn producers(&self) -> Result<Vec<Producer>, ClientError> {
        let mut found = self
            .nrf
            .discover(self.nf_type, self.name, &self.query)
            .await?;
        let last = self
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        found.sort_by_key(|producer| Some(&producer.id) != last.as_ref());
        if found.is_empty() {
            return Err(ClientError::Unreachable {
                origin: self.name.to_owned(),
                reason: format!("the NRF knows no {} that offers it", self.nf_type),
            });
        }
        Ok(found)
    }

    async fn ask_one(
        &self,
        producer: &Producer,
        method: &Method,
        path: &str,
        body: Option<(&str, &Value)>,
        wait: Duration,
    ) -> Result<Answer, ClientError> {
        let uri = format!("{}/{}/{}{path}", producer.api_root, self.name, self.version);
        let mut last = None;
        for _ in 0..2 {
            let token = self.nrf.token(self.name, self.nf_type).await?;
            let mut outgoing = Outgoing::new(method.clone(), &uri)
                .token(Some(token))
                .wait(wait);
            if let Some((media_type, body)) = body {
                outgoing = outgoing.typed(media_type, body.to_string().into_bytes());
            }
            let answer = self.nrf.client().send(outgoing).await?;
            if answer.status != 401 {
                return Ok(answer);
            }
            // A token that has just expired, or an NRF with a new key: once more with another.
            self.nrf.forget_token(self.name, self.nf_type);
            last = Some(answer);
        }
        last.map_or_else(|| Err(ClientError::TimedOut { origin: uri }), Ok)
    }
}

fn refusal(answer: Answer) -> ClientError {
    match answer.success() {
        Err(error) => error,
        Ok(_) => ClientError::TimedOut {
            origin: String::new(),
        },
    }
}
