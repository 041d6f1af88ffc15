//! What an AF may receive.

use std::collections::{BTreeSet, HashMap};

use super::What;

/// Where it is asked what an AF may receive. Asked for each message, so it must be quick, and must not wait.
pub trait Entitlements: Send + Sync {
    /// What this AF may receive; `None` if there is no such AF, or nothing that it may.
    fn entitlement(&self, af: &str) -> Option<Entitlement>;
}

/// Some values, or all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope<T: Ord> {
    /// All there are.
    #[default]
    All,
    /// These alone.
    Only(BTreeSet<T>),
}

impl<T: Ord> Scope<T> {
    /// Whether a value is in it.
    pub fn has<Q: Ord + ?Sized>(&self, value: &Q) -> bool
    where
        T: std::borrow::Borrow<Q>,
    {
        match self {
            Self::All => true,
            Self::Only(values) => values.contains(value),
        }
    }
}

impl<T: Ord> FromIterator<T> for Scope<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Self::Only(values.into_iter().collect())
    }
}

/// Whose reports an AF may receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Devices {
    /// Every device's, and alarms that name a place and no device.
    All,
    /// Those that one of these lists holds.
    Of {
        /// Fleets, by name.
        fleets: BTreeSet<String>,
        /// Devices, by permanent ID.
        devices: BTreeSet<Vec<u8>>,
        /// Devices, by how their permanent ID begins.
        prefixes: BTreeSet<Vec<u8>>,
    },
}

/// What an AF may receive: all four must allow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entitlement {
    /// Of which devices.
    pub devices: Devices,
    /// From which areas.
    pub areas: Scope<[u8; 12]>,
    /// Reports of which causes.
    pub causes: Scope<u8>,
    /// Which kinds of messages.
    pub what: Scope<What>,
    /// How many subscriptions it may have; as many as any AF without it.
    pub subscriptions_max: Option<u32>,
}

impl Entitlement {
    /// Everything of some fleets.
    #[must_use]
    pub fn of_fleets<T: Into<String>>(fleets: impl IntoIterator<Item = T>) -> Self {
        Self {
            devices: Devices::Of {
                fleets: fleets.into_iter().map(Into::into).collect(),
                devices: BTreeSet::new(),
                prefixes: BTreeSet::new(),
            },
            areas: Scope::All,
            causes: Scope::All,
            what: Scope::All,
            subscriptions_max: None,
        }
    }

    /// Whether it covers a fleet as a whole.
    #[must_use]
    pub fn has_fleet(&self, fleet: &str) -> bool {
        match &self.devices {
            Devices::All => true,
            Devices::Of { fleets, .. } => fleets.contains(fleet),
        }
    }

    /// Whether it covers a device of a fleet.
    #[must_use]
    pub fn has_device(&self, device_id: &[u8], fleet: &str) -> bool {
        match &self.devices {
            Devices::All => true,
            Devices::Of {
                fleets,
                devices,
                prefixes,
            } => {
                fleets.contains(fleet)
                    || devices.contains(device_id)
                    || prefixes.iter().any(|prefix| device_id.starts_with(prefix))
            }
        }
    }
}

/// Entitlements that are fixed.
#[derive(Clone, Debug, Default)]
pub struct EntitlementTable(pub HashMap<String, Entitlement>);

impl Entitlements for EntitlementTable {
    fn entitlement(&self, af: &str) -> Option<Entitlement> {
        self.0.get(af).cloned()
    }
}
