//! What application functions are offered: inventories and commands by `3gpp-aiot` of TS 29.522, as
//! `TS29522_AIoT.yaml` has it; subscriptions to what devices report by themselves (`ambit-doa`, ours); and the token endpoint
//! (RFC 6749 clause 4.4) that lets AFs in.
//!
//! What holds for every request, in this order: a token of this NEF, in force, with the scope; the account there still is,
//! with the secret that the token was issued for; a place in the AF's quota; the AF's own name; then its rights: operation,
//! area, devices. Each refusal goes on record. Results are told to the AF that asked and hold its own devices alone,
//! by the rights it has at that moment.

mod account;
mod area;
mod audit;
mod callback;
mod doa;
mod notify;
mod quota;
pub mod remote;
mod request;
mod token;

use std::sync::Arc;

use ambit_adm_api::{AdmClient, AfAccount};
use ambit_aiotf::server::{Engine, Notified};
use ambit_aiotf::service::{RequestError, ServiceRequest, TransactionId};
use ambit_sbi::adm::SharedAdm;
use ambit_sbi::exchange::{Exchange, Reply};
use ambit_sbi::problem::Problem;
use ambit_sbi::router::{Access, Route, Takes, check_scope, verified};
use ambit_sbi::token::{Issuer, Verifier};
use hyper::Method;
use uuid::Uuid;

pub use area::{AreaError, AreaNames};
pub use callback::Callbacks;

use crate::subscription::service::SubscriptionAccess;
use account::Accounts;
use audit::Audit;
use quota::Quotas;

/// Our OpenAPI file: the token endpoint, `ambit-doa`, and `3gpp-aiot` as far as it is narrower here.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// A way to the AIOTF: in this process, or over the SBI. Calls wait for it.
pub trait InventoryAccess: Send + Sync + 'static {
    /// Takes a request of an AF. What comes of it is sent to the receiver, the last notification marked; dropping the receiver
    /// ends the request. `None` when no AIOTF can be asked.
    fn request(
        &self,
        af: &str,
        request: ServiceRequest,
    ) -> Option<Result<(TransactionId, Notified), RequestError>>;
}

impl<A: AdmClient + Send + 'static> InventoryAccess for Engine<A> {
    fn request(
        &self,
        _: &str,
        request: ServiceRequest,
    ) -> Option<Result<(TransactionId, Notified), RequestError>> {
        Self::request(self, request).ok()
    }
}

/// How the NEF behaves.
#[derive(Debug)]
pub struct ExposureConfig {
    /// NF instance ID of this NEF.
    pub id: Uuid,
    /// External area names.
    pub areas: AreaNames,
    /// How long a token is good, in seconds.
    pub token_lifetime_s: u32,
    /// Signs tokens.
    pub issuer: Issuer,
    /// Delivers notifications.
    pub callbacks: Callbacks,
    /// The subscriptions of AFs; without it they are not offered.
    pub subscriptions: Option<Arc<dyn SubscriptionAccess>>,
}

/// The NEF towards AFs.
pub struct Exposure {
    accounts: Accounts,
    aiotf: Arc<dyn InventoryAccess>,
    areas: AreaNames,
    audit: Arc<Audit>,
    adm: SharedAdm,
    callbacks: Callbacks,
    subscriptions: Option<Arc<dyn SubscriptionAccess>>,
    issuer: Issuer,
    verifier: Verifier,
    quotas: Quotas,
    guesses: quota::Guesses,
    token_lifetime_s: u32,
    prefix: String,
}

impl std::fmt::Debug for Exposure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Exposure({}, ..)", self.prefix)
    }
}

impl Exposure {
    /// A NEF that asks this ADM what AFs may do, and this AIOTF for what they ask. To be made within a runtime: refusals are
    /// put on record from a task of their own.
    pub fn new(
        config: ExposureConfig,
        adm: &SharedAdm,
        aiotf: Arc<dyn InventoryAccess>,
    ) -> Arc<Self> {
        let (first, ..) = config.id.as_fields();
        let exposure = Arc::new(Self {
            accounts: Accounts::new(adm),
            aiotf,
            areas: config.areas,
            audit: Arc::default(),
            adm: Arc::clone(adm),
            callbacks: config.callbacks,
            subscriptions: config.subscriptions,
            verifier: config.issuer.verifier("NEF", config.id),
            issuer: config.issuer,
            quotas: Quotas::default(),
            guesses: quota::Guesses::default(),
            token_lifetime_s: config.token_lifetime_s,
            prefix: format!("{first:08x}-{:x}", ambit_sbi::clock::unix_ms()),
        });
        tokio::spawn(audit::keep(Arc::clone(&exposure.audit), Arc::clone(adm)));
        exposure
    }

    /// All operations. They check tokens themselves, so that what is refused goes on record.
    pub fn routes(self: &Arc<Self>) -> Vec<Route> {
        let json = Takes::Json(&["application/json"]);
        let (a, b, c) = (Arc::clone(self), Arc::clone(self), Arc::clone(self));
        let mut routes = vec![
            Route::new(
                "af_token",
                Method::POST,
                "/oauth2/token",
                Access::Peer,
                Takes::Form,
                move |exchange| token::issue(Arc::clone(&a), exchange),
            ),
            Route::new(
                "af_request_inv",
                Method::POST,
                "/3gpp-aiot/v1/request-inv",
                Access::Peer,
                json,
                move |exchange| {
                    let nef = Arc::clone(&b);
                    async move { nef.take(exchange, false).await }
                },
            )
            .octets_max(256 << 10),
            Route::new(
                "af_request_cmd",
                Method::POST,
                "/3gpp-aiot/v1/request-cmd",
                Access::Peer,
                json,
                move |exchange| {
                    let nef = Arc::clone(&c);
                    async move { nef.take(exchange, true).await }
                },
            )
            .octets_max(256 << 10),
        ];
        if let Some(subscriptions) = &self.subscriptions {
            routes.extend(doa::routes(self, subscriptions));
        }
        routes
    }

    /// Puts the refusals on record that were counted and not yet told: to be called last, while the ADM is still there.
    pub async fn close(&self) {
        self.audit.tell_all(&self.adm).await;
    }

    /// What became of notifications, by name: for metrics.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        self.callbacks.counts()
    }

    async fn take(self: Arc<Self>, exchange: Exchange, is_command: bool) -> Result<Reply, Problem> {
        let operation = match is_command {
            true => "3gpp-aiot:command",
            false => "3gpp-aiot:inventory",
        };
        let mut af = String::new();
        let answer = async {
            let account = self
                .admit(&exchange, "3gpp-aiot", operation, &mut af)
                .await?;
            request::take(&self, &account, &exchange, is_command).await
        };
        let answer = answer.await;
        self.audited(&af, answer)
    }

    /// Lets an AF in: `af` is who it is, as soon as that is known.
    async fn admit(
        &self,
        exchange: &Exchange,
        service: &str,
        operation: &str,
        af: &mut String,
    ) -> Result<Arc<AfAccount>, Problem> {
        let claims = verified(&self.verifier, &exchange.headers)?;
        af.clone_from(&claims.sub);
        let invalid = |detail: &str| Problem::unauthorized(detail, Some("invalid_token"));
        let account = self.accounts.get(&claims.sub).await?;
        let account = account.ok_or_else(|| invalid("the token's AF is no more"))?;
        if claims.secret_ms != Some(account.secret_ms) {
            return Err(invalid("the token was issued for a secret that is no more"));
        }
        check_scope(&claims, service, operation)?;
        self.quotas.pass(&account)?;
        Ok(account)
    }

    /// Puts a refusal on record.
    fn audited(&self, af: &str, answer: Result<Reply, Problem>) -> Result<Reply, Problem> {
        if let Err(problem) = &answer
            && matches!(problem.status, 401 | 403 | 429)
        {
            self.audit.note(af, problem.cause, &problem.detail);
        }
        answer
    }
}
