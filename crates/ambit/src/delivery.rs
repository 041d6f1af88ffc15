//! Delivery in the configuration, and in a running core.

use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ambit_adm::{Adm, Severity, Subject};
use ambit_adm_api::{AfAuthorization, AfDevices, AfReceive};
use ambit_aiotf::server::unix_ms;
use ambit_nef::delivery::{self, Delivery, Notice, OpenStore, Streams};
use ambit_nef::subscription::{
    DeliveryKey, Devices, Entitlement, EntitlementTable, Entitlements, Guard, Rules, Scope, What,
};
use ambit_store::{Store, StoreError};
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
    /// What subscriptions are checked against, but for accounts of AFs ([`with_accounts`]): an AF without one may receive what
    /// the fleets that it pays for report.
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

/// What AFs may receive: what their accounts say, and without an account what the configuration says.
struct AfRights {
    without_account: Arc<dyn Entitlements>,
    accounts: Arc<RwLock<Accounts>>,
    /// Dropped, it ends the thread that follows the accounts.
    following: Option<(Sender<()>, JoinHandle<()>)>,
}

/// By the AF's name; `None` for one that may receive nothing.
type Accounts = HashMap<String, Option<Entitlement>>;

/// How soon a change to an account is known to delivery.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// The rules with what the accounts in the store say at this moment.
pub(crate) fn with_accounts(rules: &Rules, store: &mut dyn Store) -> Result<Rules, Failure> {
    let rights = AfRights::read(Arc::clone(&rules.entitlements), store)?;
    Ok(Rules {
        entitlements: Arc::new(rights),
        ..rules.clone()
    })
}

impl AfRights {
    fn read(
        without_account: Arc<dyn Entitlements>,
        store: &mut dyn Store,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            without_account,
            accounts: Arc::new(RwLock::new(accounts(store)?)),
            following: None,
        })
    }

    /// Reads the accounts again and again, on a thread of its own. While the store cannot be read, what it said last is so;
    /// nothing is delivered from it meanwhile.
    fn follow(&mut self, open: OpenStore) -> io::Result<()> {
        let rights = Arc::clone(&self.accounts);
        let (end, ended) = mpsc::channel();
        let follow = move || {
            while ended.recv_timeout(FOLLOW_EVERY) == Err(RecvTimeoutError::Timeout) {
                // No connection stays open: the last one to close tidies up behind the core.
                let found = open().and_then(|mut store| accounts(store.as_mut()));
                if let Ok(found) = found {
                    *rights.write().unwrap_or_else(PoisonError::into_inner) = found;
                }
            }
        };
        let thread = thread::Builder::new().name("af-rights".into());
        self.following = Some((end, thread.spawn(follow)?));
        Ok(())
    }
}

impl Drop for AfRights {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.following.take() {
            drop(end);
            let _ = thread.join();
        }
    }
}

impl Entitlements for AfRights {
    fn entitlement(&self, af: &str) -> Option<Entitlement> {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        match accounts.get(af) {
            Some(of_account) => of_account.clone(),
            None => self.without_account.entitlement(af),
        }
    }
}

/// What the accounts in the store say. One that cannot be read grants nothing.
fn accounts(store: &mut (impl Store + ?Sized)) -> Result<Accounts, StoreError> {
    let mut accounts = Accounts::new();
    store.afs_for_each(&mut |row| {
        let read = serde_json::from_str(&row.authorization).ok();
        let read = read.and_then(|json| AfAuthorization::from_json(&json).ok());
        accounts.insert(row.name, read.and_then(entitlement));
        ControlFlow::Continue(())
    })?;
    Ok(accounts)
}

fn entitlement(of: AfAuthorization) -> Option<Entitlement> {
    let what = |receive| match receive {
        AfReceive::Data => What::Data,
        AfReceive::Presence => What::Presence,
    };
    let may_receive = !of.receive.is_empty();
    may_receive.then(|| Entitlement {
        devices: match of.devices {
            AfDevices::All => Devices::All,
            AfDevices::Only {
                ids,
                filters,
                fleets,
            } => Devices::Of {
                fleets: fleets.into_iter().collect(),
                devices: ids.into_iter().collect(),
                prefixes: filters.into_iter().collect(),
            },
        },
        areas: of.areas.map_or(Scope::All, |areas| {
            areas.iter().map(|area| *area.octets()).collect()
        }),
        causes: of.causes.map_or(Scope::All, Scope::from_iter),
        what: of.receive.into_iter().map(what).collect(),
        subscriptions_max: Some(of.quota.subscriptions),
    })
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
    let mut rights = AfRights::read(rules.entitlements, dir.open_deliveries()?.as_mut())?;
    let followed = rights.follow(dir.deliveries());
    followed.map_err(|error| Failure::resource("delivery", format!("delivery: {error}")))?;
    let started = Delivery::start(
        delivery::DeliveryConfig {
            open: dir.deliveries(),
            owner: match dir.is_shared() {
                true => dir.instance()?,
                false => [0; 16],
            },
            is_shared: dir.is_shared(),
            entitlements: Arc::new(rights),
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
