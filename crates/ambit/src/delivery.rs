//! Delivery in the configuration.

use std::collections::HashMap;
use std::sync::Arc;

use ambit_nef::subscription::{Entitlement, EntitlementTable, Guard, Rules};
use serde::Deserialize;

use crate::config::{Config, invalid};
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
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            subscriptions_per_af_max: 16,
            subscriptions_max: 256,
            allow_addresses: Vec::new(),
            allow_clear: false,
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
