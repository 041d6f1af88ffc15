//! A function's side of the NRF: registration kept alive, tokens, discovery. Whatever the NRF says of lifetimes is taken
//! within bounds, and what it said last is used while it does not answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::profile::OwnProfile;
use crate::client::{Client, ClientError, Outgoing, is_usable_uri};

/// Bounds on what an NRF may say of time, in seconds.
const HEARTBEAT_S: (u64, u64) = (1, 120);
const VALIDITY_S: (u64, u64) = (2, 300);
const TOKEN_S: (u64, u64) = (5, 86_400);

/// How long a discovery is good while the NRF does not answer.
const STALE_MAX: Duration = Duration::from_secs(86_400);

/// Between two tries to register.
const RETRY: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// How long the NRF may take to answer.
const WAIT: Duration = Duration::from_secs(2);

/// Tokens and discoveries remembered at most; beyond, all are asked for again.
const REMEMBERED_MAX: usize = 256;

/// The NRF as a function sees it. Clones share what they know.
#[derive(Clone, Debug)]
pub struct NrfClient(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client,
    api_root: String,
    id: Uuid,
    nf_type: &'static str,
    registered: AtomicBool,
    tokens: Mutex<HashMap<String, Token>>,
    found: Mutex<HashMap<String, Found>>,
}

#[derive(Clone)]
struct Token {
    text: String,
    refresh_at: Instant,
    until: Instant,
}

impl Token {
    /// A token that is asked for anew shortly before it is over.
    fn new(text: &str, asked: Instant, lifetime: Duration) -> Self {
        let margin = (lifetime / 5).min(Duration::from_secs(30));
        Self {
            text: text.to_owned(),
            refresh_at: asked + (lifetime - margin),
            until: asked + lifetime,
        }
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

#[derive(Clone, Debug)]
struct Found {
    producers: Vec<Producer>,
    fresh_until: Instant,
    stale_until: Instant,
}

/// A producer of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Its NF instance ID.
    pub id: String,
    /// `scheme://host:port`, with a prefix if it has one.
    pub api_root: String,
    priority: u64,
}

impl NrfClient {
    /// The NRF at an API root, for a function of this instance ID and type.
    pub fn new(client: Client, api_root: &str, id: Uuid, nf_type: &'static str) -> Self {
        Self(Arc::new(Inner {
            client,
            api_root: api_root.trim_end_matches('/').to_owned(),
            id,
            nf_type,
            registered: AtomicBool::new(false),
            tokens: Mutex::default(),
            found: Mutex::default(),
        }))
    }

    /// The NF instance ID of the function.
    pub fn id(&self) -> Uuid {
        self.0.id
    }

    /// The HTTP client.
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// Whether the last registration or heartbeat was taken.
    pub fn is_registered(&self) -> bool {
        self.0.registered.load(Ordering::SeqCst)
    }

    /// Registers and keeps the registration alive, until the runtime ends. An NRF that has forgotten the function gets it
    /// again; one that does not answer is tried again.
    pub async fn maintain(self, profile: OwnProfile) {
        let profile = profile.to_json();
        let mut retry = RETRY;
        loop {
            match self.register(&profile).await {
                Ok(heartbeat) => {
                    retry = RETRY;
                    self.0.registered.store(true, Ordering::SeqCst);
                    self.heartbeats(heartbeat).await;
                    self.0.registered.store(false, Ordering::SeqCst);
                }
                Err(_) => {
                    tokio::time::sleep(retry).await;
                    retry = (retry * 2).min(RETRY_MAX);
                }
            }
        }
    }

    /// One registration; how often it wants a heartbeat.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn register(&self, profile: &Value) -> Result<Duration, ClientError> {
        let outgoing = Outgoing::new(Method::PUT, self.own_uri()).json(profile);
        let answer = self.managed(outgoing).await?.success()?;
        let said = answer.json().unwrap_or_default();
        let heartbeat = said.get("heartBeatTimer").and_then(Value::as_u64);
        Ok(bounded(heartbeat.unwrap_or(HEARTBEAT_S.1), HEARTBEAT_S))
    }

    /// Takes the function out of the NRF.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn deregister(&self) -> Result<(), ClientError> {
        let outgoing = Outgoing::new(Method::DELETE, self.own_uri());
        self.managed(outgoing).await?.success().map(drop)
    }

    /// Sends heartbeats until the NRF does not know the function any more.
    async fn heartbeats(&self, every: Duration) {
        let patch = json!([{ "op": "replace", "path": "/nfStatus", "value": "REGISTERED" }]);
        let mut next = every;
        loop {
            tokio::time::sleep(next).await;
            let outgoing = Outgoing::new(Method::PATCH, self.own_uri()).typed(
                "application/json-patch+json",
                patch.to_string().into_bytes(),
            );
            next = match self
                .managed(outgoing)
                .await
                .and_then(crate::client::Answer::success)
            {
                Ok(_) => every,
                Err(ClientError::Refused {
                    status: 404 | 400 | 409,
                    ..
                }) => return,
                // It may be back before the next one is due.
                Err(_) => every.min(Duration::from_secs(1)),
            };
        }
    }

    /// A request of NF management: with a token, and without one to an NRF that gives none before registration.
    async fn managed(&self, outgoing: Outgoing) -> Result<crate::client::Answer, ClientError> {
        let token = self.token("nnrf-nfm", "NRF").await.ok();
        let answer = self.0.client.send(outgoing.token(token).wait(WAIT)).await?;
        if answer.status == 401 {
            self.forget_token("nnrf-nfm", "NRF");
        }
        Ok(answer)
    }

    /// A token for a service of producers of a type.
    ///
    /// # Errors
    /// [`ClientError`]; not while an earlier token is still good.
    pub async fn token(&self, scope: &str, target_type: &str) -> Result<String, ClientError> {
        let key = format!("{target_type} {scope}");
        let known = lock(&self.0.tokens).get(&key).cloned();
        let now = Instant::now();
        if let Some(token) = known.as_ref().filter(|token| now < token.refresh_at) {
            return Ok(token.text.clone());
        }
        match self.fetch_token(scope, target_type).await {
            Ok(token) => {
                let text = token.text.clone();
                let mut tokens = lock(&self.0.tokens);
                if tokens.len() >= REMEMBERED_MAX {
                    tokens.clear();
                }
                tokens.insert(key, token);
                Ok(text)
            }
            Err(error) => match known.filter(|token| now < token.until) {
                Some(token) => Ok(token.text),
                None => Err(error),
            },
        }
    }

    /// Forgets a token that a producer refused.
    pub fn forget_token(&self, scope: &str, target_type: &str) {
        lock(&self.0.tokens).remove(&format!("{target_type} {scope}"));
    }

    async fn fetch_token(&self, scope: &str, target_type: &str) -> Result<Token, ClientError> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("nfInstanceId", &self.0.id.to_string())
            .append_pair("nfType", self.0.nf_type)
            .append_pair("targetNfType", target_type)
            .append_pair("scope", scope)
            .finish();
        let outgoing = Outgoing::new(Method::POST, format!("{}/oauth2/token", self.0.api_root))
            .typed("application/x-www-form-urlencoded", form.into_bytes())
            .wait(WAIT);
        let asked = Instant::now();
        let said = self.0.client.send(outgoing).await?.success()?.json()?;
        let text = said.get("access_token").and_then(Value::as_str);
        let text = text.filter(|text| !text.is_empty() && text.len() <= 8192);
        let text = text.ok_or_else(|| ClientError::Answer {
            origin: self.0.api_root.clone(),
            reason: "access_token: must be there".into(),
        })?;
        // Of the answer's time on the way nothing is known, so the lifetime counts from the question.
        let lifetime = bounded(
            said.get("expires_in").and_then(Value::as_u64).unwrap_or(60),
            TOKEN_S,
        );
        Ok(Token::new(text, asked, lifetime))
    }

    /// Producers of a service, the preferred one first. `query` is what else is asked for, as a query string.
    ///
    /// # Errors
    /// [`ClientError`]; not while something is known from before.
    pub async fn discover(
        &self,
        target_type: &str,
        service: &str,
        query: &str,
    ) -> Result<Vec<Producer>, ClientError> {
        let key = format!("{target_type} {service} {query}");
        let known = lock(&self.0.found).get(&key).cloned();
        let now = Instant::now();
        if let Some(found) = known.as_ref().filter(|found| now < found.fresh_until) {
            return Ok(found.producers.clone());
        }
        match self.search(target_type, service, query).await {
            Ok(found) => {
                let producers = found.producers.clone();
                let mut all = lock(&self.0.found);
                if all.len() >= REMEMBERED_MAX {
                    all.clear();
                }
                // Nobody found is asked for again at once: a producer that is just starting must not be missed for long.
                if !producers.is_empty() {
                    all.insert(key, found);
                }
                Ok(producers)
            }
            Err(error) => match known.filter(|found| now < found.stale_until) {
                Some(found) => Ok(found.producers),
                None => Err(error),
            },
        }
    }

    /// The next discovery asks the NRF: a producer did not answer where it was said to be.
    pub fn doubt_discovery(&self) {
        let now = Instant::now();
        lock(&self.0.found)
            .values_mut()
            .for_each(|found| found.fresh_until = now);
    }

    async fn search(
        &self,
        target_type: &str,
        service: &str,
        query: &str,
    ) -> Result<Found, ClientError> {
        let mut uri = format!(
            "{}/nnrf-disc/v1/nf-instances?target-nf-type={target_type}&requester-nf-type={}&service-names={service}",
            self.0.api_root, self.0.nf_type
        );
        if !query.is_empty() {
            uri.push('&');
            uri.push_str(query);
        }
        let token = self.token("nnrf-disc", "NRF").await.ok();
        let outgoing = Outgoing::new(Method::GET, uri).token(token).wait(WAIT);
        let answer = self.0.client.send(outgoing).await?;
        if answer.status == 401 {
            self.forget_token("nnrf-disc", "NRF");
        }
        let said = answer.success()?.json()?;
        let mut producers: Vec<Producer> = said
            .get("nfInstances")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .take(64)
            .filter_map(|profile| producer(profile, service))
            .collect();
        producers.sort_by_key(|producer| producer.priority);
        let validity = said
            .get("validityPeriod")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        let now = Instant::now();
        Ok(Found {
            producers,
            fresh_until: now + bounded(validity, VALIDITY_S),
            stale_until: now + STALE_MAX,
        })
    }

    fn own_uri(&self) -> String {
        format!("{}/nnrf-nfm/v1/nf-instances/{}", self.0.api_root, self.0.id)
    }
}

/// Where a profile says that a service is reached.
fn producer(profile: &Value, service: &str) -> Option<Producer> {
    let text = |of: &Value, name: &str| of.get(name).and_then(Value::as_str).map(str::to_owned);
    // Newer NRFs list services in a map, older ones in an array.
    let in_map = profile.get("nfServiceList").and_then(Value::as_object);
    let in_array = profile.get("nfServices").and_then(Value::as_array);
    let mut services = in_map
        .into_iter()
        .flat_map(|map| map.values())
        .chain(in_array.into_iter().flatten());
    let found = services.find(|found| {
        text(found, "serviceName").as_deref() == Some(service)
            && text(found, "nfServiceStatus").is_none_or(|status| status == "REGISTERED")
    })?;
    let scheme = text(found, "scheme").filter(|scheme| scheme == "https" || scheme == "http")?;
    let end_point = found
        .get("ipEndPoints")
        .and_then(Value::as_array)
        .and_then(|all| all.first());
    let first = |name: &str| {
        let all = profile.get(name).and_then(Value::as_array)?;
        all.first().and_then(Value::as_str).map(str::to_owned)
    };
    let of_end_point = |name: &str| end_point.and_then(|end_point| text(end_point, name));
    let bracketed = |address: String| format!("[{address}]");
    let host = text(found, "fqdn")
        .or_else(|| of_end_point("ipv4Address"))
        .or_else(|| of_end_point("ipv6Address").map(bracketed))
        .or_else(|| text(profile, "fqdn"))
        .or_else(|| first("ipv4Addresses"))
        .or_else(|| first("ipv6Addresses").map(bracketed))?;
    let port = end_point
        .and_then(|end_point| end_point.get("port"))
        .and_then(Value::as_u64);
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let prefix = text(found, "apiPrefix").unwrap_or_default();
    let api_root = format!("{scheme}://{host}{port}{}", prefix.trim_end_matches('/'));
    is_usable_uri(&api_root).then(|| Producer {
        id: text(profile, "nfInstanceId").unwrap_or_default(),
        api_root,
        priority: found
            .get("priority")
            .and_then(Value::as_u64)
            .unwrap_or(65_535),
    })
}

fn bounded(seconds: u64, (least, greatest): (u64, u64)) -> Duration {
    Duration::from_secs(seconds.clamp(least, greatest))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_kept_until_shortly_before_it_is_over() {
        let asked = Instant::now();
        for (lifetime_s, refresh_s) in [(5, 4), (60, 48), (150, 120), (600, 570), (86_400, 86_370)]
        {
            let token = Token::new("t", asked, Duration::from_secs(lifetime_s));
            assert_eq!(token.refresh_at - asked, Duration::from_secs(refresh_s));
            assert_eq!(token.until - asked, Duration::from_secs(lifetime_s));
            assert_eq!(format!("{token:?}"), "Token(..)");
        }
    }
}
