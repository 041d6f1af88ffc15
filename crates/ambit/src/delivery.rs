//! Delivery in the configuration, and in a running core.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ambit_adm::{Adm, Severity, Subject};
use ambit_aiotf::server::unix_ms;
use ambit_nef::delivery::{self, Delivery, Notice, Streams};
use ambit_nef::subscription::{DeliveryKey, Entitlement, EntitlementTable, Guard, Rules};
use serde::Deserialize;

use crate::admin::AdmOwner;
use crate::config::{Config, invalid};
use crate::data_dir::DataDir;
use crate::failure::Failure;

/// `[delivery]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DeliveryConfig {
    /// How many subscriptions an AF may have.
    subscriptions_per_af_max: u32,
    /// How many the operator may have.
    subscriptions_max: u32,
    /// Private addresses that messages may be sent to: addresses, or ranges such as 10.1.0.0/16.
    allow_addresses: Vec<String>,
    /// Whether `http://` and `mqtt://` may be used.
    allow_clear: bool,
    /// Certificates that sinks are verified against, in place of the system's.
    ca_file: Option<PathBuf>,
    /// How long a message is tried that a sink answers with an error.
    give_up_s: u32,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            subscriptions_per_af_max: 16,
            subscriptions_max: 256,
            allow_addresses: Vec::new(),
            allow_clear: false,
            ca_file: None,
            give_up_s: 86_400,
        }
    }
}

impl Config {
    /// What subscriptions are checked against. An AF may receive what the fleets that it pays for report.
    pub(crate) fn subscription_rules(&self) -> Result<Rules, Failure> {
        let mut fleets: HashMap<String, Vec<String>> = HashMap::new();
        for fleet in &self.fleet {
            if let Some(af) = &fleet.af {
                let of_af = fleets.entry(af.clone()).or_default();
                of_af.push(fleet.name.clone());
            }
        }
        let entitlements = fleets
            .into_iter()
            .map(|(af, fleets)| (af, Entitlement::of_fleets(fleets)));
        let delivery = &self.delivery;
        let allowed = delivery.allow_addresses.iter().map(|text| {
            text.parse().map_err(|rule: &str| {
                invalid("delivery.allow_addresses", &format!("{text}: {rule}"))
            })
        });
        Ok(Rules {
            entitlements: Arc::new(EntitlementTable(entitlements.collect())),
            per_af_max: delivery.subscriptions_per_af_max,
            operator_max: delivery.subscriptions_max,
            guard: Guard {
                allowed: allowed.collect::<Result<_, _>>()?,
                allow_clear: delivery.allow_clear,
            },
        })
    }
}

/// The streams of a delivery that may not have started yet.
pub(crate) type StreamSlot = Arc<OnceLock<Streams>>;

/// Starts delivery beside an ADM.
pub(crate) fn start(
    config: &Config,
    dir: &DataDir,
    engine: &impl AdmOwner,
) -> Result<Delivery, Failure> {
    let rules = config.subscription_rules()?;
    let key = engine.call(Adm::delivery_key);
    let key = key.map_err(|stopped| Failure::resource("stopped", stopped))??;
    // One at a time: the keeper is the only one that speaks.
    let of_engine = Mutex::new(engine.clone());
    let notify = move |notice: Notice| {
        let severity = match notice.severity {
            delivery::Severity::Info => Severity::Info,
            delivery::Severity::Warning => Severity::Warning,
            delivery::Severity::Alarm => Severity::Alarm,
        };
        let raise = move |adm: &mut Adm| {
            let subject = Subject::default();
            adm.raise(notice.kind, severity, subject, notice.detail, unix_ms());
        };
        // An engine that has ended has nobody to tell.
        let of_engine = of_engine.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = of_engine.call(raise);
    };
    let started = Delivery::start(
        delivery::DeliveryConfig {
            open: dir.deliveries(),
            owner: match dir.is_shared() {
                true => dir.instance()?,
                false => [0; 16],
            },
            is_shared: dir.is_shared(),
            entitlements: rules.entitlements,
            guard: rules.guard,
            key: DeliveryKey::new(key),
            source: format!("urn:ambit:{}", hex::encode(config.snid()?.octets())),
            ca_file: config.delivery.ca_file.clone(),
            give_up_s: config.delivery.give_up_s,
        },
        Arc::new(notify),
    );
    started.map_err(|error| Failure::resource("delivery", format!("delivery: {error}")))
}
