//! How core and store stand.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use ambit_adm::policy::Deployment;
use ambit_adm::{Adm, AdmConfig};
use ambit_adm_api::Outcome;
use ambit_aiotf::Aiotf;
use ambit_store::Store;
use serde_json::{Map, Value, json};

use crate::failure::Failure;

/// What only a running core knows.
pub(crate) struct Running {
    config: AdmConfig,
    epoch: Option<u32>,
    gnbs: usize,
    windows: usize,
    fault: Option<String>,
    reports: BTreeMap<&'static str, u64>,
}

impl Running {
    pub(super) fn take(aiotf: &mut Aiotf<Adm>) -> Self {
        let status = aiotf.status();
        let tally = aiotf.reports();
        let reports = Outcome::ALL
            .iter()
            .map(|outcome| (outcome.name(), tally.of(*outcome)))
            .filter(|(_, count)| *count > 0)
            .collect();
        let adm = aiotf.adm();
        Self {
            config: adm.config().clone(),
            epoch: status.epoch,
            gnbs: status.gnbs,
            windows: status.windows,
            fault: status
                .adm_error
                .or_else(|| adm.store_fault().map(str::to_owned)),
            reports,
        }
    }

    /// Of an ADM by itself: reports are what AIOTFs brought, gNBs are theirs to know.
    pub(super) fn of_adm(adm: &mut Adm) -> Self {
        let tally = adm.tally();
        let reports = Outcome::ALL
            .iter()
            .map(|outcome| (outcome.name(), tally.of(*outcome)))
            .filter(|(_, count)| *count > 0)
            .collect();
        Self {
            config: adm.config().clone(),
            epoch: None,
            gnbs: 0,
            windows: 0,
            fault: adm.store_fault().map(str::to_owned),
            reports,
        }
    }

    pub(super) fn status(&self, store: &mut dyn Store) -> Result<Value, Failure> {
        let mut status = of_store(store, &self.config)?;
        let running = json!({
            "core": "running",
            "fault": self.fault,
            "gnbs": self.gnbs,
            "windows": self.windows,
            "reports": self.reports,
        });
        if let (Some(status), Value::Object(running)) = (status.as_object_mut(), running) {
            status.extend(running);
            // An ADM by itself knows the epoch from its store.
            status.extend(self.epoch.map(|epoch| ("epoch".to_owned(), json!(epoch))));
        }
        Ok(status)
    }
}

/// How a store stands that no core runs on, under a configuration.
pub(super) fn of_store(store: &mut dyn Store, config: &AdmConfig) -> Result<Value, Failure> {
    let snid = &config.snid;
    let issued = store.chain(snid.octets())?.map(|chain| chain.epoch_issued);
    Ok(json!({
        "core": "none",
        "fault": null,
        "deployment": config.deployment.name(),
        "policy": policy(config),
        "network": {
            "plmn": snid.plmn().to_string(),
            "nid": snid.nid().map(|nid| nid.to_string()),
            "epoch_s": config.period_s,
            "grace_s": config.grace_s,
        },
        "epoch": issued,
        "devices": devices(store)?,
        "subscribers": subscribers(store)?,
        "records": store.record_count()?,
        "gnbs": null,
        "windows": null,
        "reports": null,
    }))
}

/// Section 10 as it is in force here.
fn policy(config: &AdmConfig) -> Value {
    let is_public = config.deployment == Deployment::Public;
    let taken = |taken: bool| if taken { "allowed" } else { "refused" };
    json!({
        "type1": match (is_public, config.allow_type1_in_public) {
            (false, _) => "allowed",
            (true, false) => "refused",
            (true, true) => "allowed for study, by policy.allow_type1_in_public",
        },
        "operator_keys": match (is_public, config.allow_type1_in_public) {
            (false, _) => "allowed",
            (true, false) => "refused",
            (true, true) => "refused but for type 1",
        },
        "blind": taken(!is_public && config.blind_allowed),
        "null_scheme": taken(config.null_scheme_allowed),
        "key_lifetime_s": config.key_lifetime_s,
    })
}

fn devices(store: &mut dyn Store) -> Result<Value, Failure> {
    let (mut total, mut disabled) = (0u64, 0u64);
    let (mut by_type, mut by_credential) = (Counts::new(), Counts::new());
    store.devices_for_each(&mut |device| {
        total += 1;
        disabled += u64::from(device.disabled);
        let credential = device.credential.name().to_owned();
        *by_credential.entry(credential).or_default() += 1;
        *by_type.entry(device.device_type).or_default() += 1;
        ControlFlow::Continue(())
    })?;
    Ok(json!({
        "total": total,
        "disabled": disabled,
        "by_type": by_type,
        "by_credential": by_credential,
    }))
}

type Counts = BTreeMap<String, u64>;

fn subscribers(store: &mut dyn Store) -> Result<Value, Failure> {
    let (mut total, mut registered) = (0u64, 0u64);
    store.subscribers_for_each(&mut |subscriber| {
        total += 1;
        registered += u64::from(subscriber.registered_ms.is_some());
        ControlFlow::Continue(())
    })?;
    Ok(json!({ "total": total, "registered_ever": registered }))
}

/// An object within objects as lines of `name.name`.
pub(crate) fn flat(status: &Value) -> Map<String, Value> {
    let mut lines = Map::new();
    let mut open = vec![(String::new(), status)];
    while let Some((name, value)) = open.pop() {
        match value.as_object() {
            Some(object) => open.extend(object.iter().map(|(part, value)| {
                let dot = if name.is_empty() { "" } else { "." };
                (format!("{name}{dot}{part}"), value)
            })),
            None => {
                lines.insert(name, value.clone());
            }
        }
    }
    lines
}
