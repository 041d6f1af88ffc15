//! The NRF (TS 29.510), as far as AIOTF, ADM and NEF need one: registration with heartbeat, discovery, access tokens.
//!
//! It holds nothing durable: after a restart the functions find out by their next heartbeat and register again. Its token
//! key lies in a file, so tokens outlive it. A function may only register, change and ask as the NF instance and NF types
//! that its certificate names.

mod access_token;
pub mod client;
mod discovery;
mod management;
pub mod profile;
pub mod service;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use uuid::Uuid;

use crate::exchange::Caller;
use crate::problem::Problem;
use crate::router::Route;
use crate::token::Issuer;

/// Functions registered at most.
const INSTANCES_MAX: usize = 4096;

/// Heartbeats that may fail to come before a function is not discovered any more.
const HEARTBEATS_MISSED_MAX: i64 = 3;

/// How an NRF behaves.
#[derive(Clone, Copy, Debug)]
pub struct NrfConfig {
    /// How often functions have to say that they live, in seconds.
    pub heartbeat_s: u32,
    /// How long a token is good, in seconds.
    pub token_lifetime_s: u32,
    /// How long the result of a discovery may be kept, in seconds.
    pub discovery_validity_s: u32,
}

impl Default for NrfConfig {
    fn default() -> Self {
        Self {
            heartbeat_s: 10,
            token_lifetime_s: 600,
            discovery_validity_s: 30,
        }
    }
}

/// An NRF.
#[derive(Debug)]
pub struct Nrf {
    config: NrfConfig,
    issuer: Issuer,
    instances: Mutex<BTreeMap<Uuid, Instance>>,
}

#[derive(Debug)]
struct Instance {
    profile: Value,
    seen_ms: i64,
}

impl Nrf {
    /// An NRF that signs with this key.
    pub fn new(config: NrfConfig, issuer: Issuer) -> Arc<Self> {
        Arc::new(Self {
            config,
            issuer,
            instances: Mutex::default(),
        })
    }

    /// What it offers.
    pub fn routes(self: &Arc<Self>) -> Vec<Route> {
        let mut routes = management::routes(self);
        routes.extend(discovery::routes(self));
        routes.extend(access_token::routes(self));
        routes
    }

    /// Functions registered that have not fallen silent.
    pub fn live_count(&self, now_ms: i64) -> usize {
        self.lock()
            .values()
            .filter(|instance| self.is_live(instance, now_ms))
            .count()
    }

    /// Forgets all functions, as a restart does.
    pub fn forget_all(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uuid, Instance>> {
        self.instances
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn is_live(&self, instance: &Instance, now_ms: i64) -> bool {
        let patience_ms = i64::from(self.config.heartbeat_s) * 1000 * HEARTBEATS_MISSED_MAX;
        now_ms.saturating_sub(instance.seen_ms) <= patience_ms
            && instance.profile.get("nfStatus").and_then(Value::as_str) == Some("REGISTERED")
    }
}

/// Whether the caller's certificate lets it speak as this instance and type. On plain HTTP (loopback, development) nobody
/// can tell.
fn check_identity(caller: &Caller, id: Uuid, nf_type: Option<&str>) -> Result<(), Problem> {
    let Some(identity) = &caller.certificate else {
        return Ok(());
    };
    if identity.nf_instance != Some(id) {
        let detail = "the certificate is of another NF instance (URI urn:uuid: in its subject alternative names)";
        return Err(Problem::forbidden("REQUESTER_NOT_AUTHORIZED", detail));
    }
    if let Some(nf_type) = nf_type.filter(|nf_type| !identity.is(nf_type)) {
        let detail = format!("the certificate is not for the NF type {nf_type} (RFC 9310)");
        return Err(Problem::forbidden("REQUESTER_NOT_AUTHORIZED", detail));
    }
    Ok(())
}
