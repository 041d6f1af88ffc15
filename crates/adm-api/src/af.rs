//! Application functions (AFs): what each of them may do and receive. Nadm_DM's authorisation data (TS 29.369), extended by
//! the right to receive, by fleets and by quotas.
//!
//! Nothing is granted by leaving it out: everywhere, all devices and all causes are said. As JSON, which is how the store
//! keeps it and how functions and operators see it:
//!
//! ```json
//! {"areas": "all", "operations": ["INVENTORY", "READ"],
//!  "devices": {"ids": ["ab01"], "filters": ["ab"], "fleets": ["pallets"]},
//!  "receive": ["data", "presence"], "causes": [2, 5],
//!  "quota": {"rate": 10, "burst": 20, "inventories": 4, "subscriptions": 16}}
//! ```

use ambit_protocol::AreaId;
use serde_json::{Map, Value, json};

/// The longest name of an AF, in octets.
pub const AF_NAME_OCTETS_MAX: usize = 128;

/// Devices, filters and fleets in one AF's authorisation, at most of each.
pub const AF_ENTRIES_MAX: usize = 1024;

/// Areas in one AF's authorisation, at most: as many as one inventory may name.
pub const AF_AREAS_MAX: usize = 256;

/// An AF as functions know it: without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AfAccount {
    /// Its name: afId.
    pub name: String,
    /// OAuth2 client identifier.
    pub client_id: String,
    /// What it may do and receive.
    pub authorization: AfAuthorization,
    /// When the account was made, Unix time in ms.
    pub created_ms: i64,
    /// Since when its secret is good: a token from before is not.
    pub secret_ms: i64,
}

/// What an AF may do and receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AfAuthorization {
    /// Where; `None` is everywhere.
    pub areas: Option<Vec<AreaId>>,
    /// What it may ask for.
    pub operations: Vec<AfOperation>,
    /// Whose.
    pub devices: AfDevices,
    /// What it may be told without asking each time.
    pub receive: Vec<AfReceive>,
    /// Reports of which causes (4 bits) it may be told of; `None` is all.
    pub causes: Option<Vec<u8>>,
    /// How much it may ask for.
    pub quota: AfQuota,
}

/// An operation that an AF may ask for (AllowedServiceOperation of TS 29.369).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfOperation {
    /// Who is there.
    Inventory,
    /// Reading a device's memory.
    Read,
    /// Writing to it.
    Write,
    /// Silencing a device for ever.
    PermanentDisable,
}

/// What an AF may be told of devices that report by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfReceive {
    /// Their data.
    Data,
    /// That they are there, or missing.
    Presence,
}

/// An AF's devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AfDevices {
    /// All.
    All,
    /// Those that one of these lists holds; none, if all are empty.
    Only {
        /// By permanent ID.
        ids: Vec<Vec<u8>>,
        /// By how the permanent ID begins.
        filters: Vec<Vec<u8>>,
        /// By fleet.
        fleets: Vec<String>,
    },
}

/// How much an AF may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AfQuota {
    /// Requests a second in the long run, from 1.
    pub rate: u32,
    /// Requests at once, from 1.
    pub burst: u32,
    /// Inventories and commands under way at once.
    pub inventories: u32,
    /// Subscriptions.
    pub subscriptions: u32,
}

/// That an AF was refused something, for the record. Alike ones are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AfRefusal {
    /// Who asked, as far as that is known; empty for whoever had no token.
    pub af: String,
    /// The cause in its ProblemDetails.
    pub cause: String,
    /// What it was told: the rule.
    pub detail: String,
    /// How often.
    pub count: u64,
}

impl AfOperation {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Inventory,
        Self::Read,
        Self::Write,
        Self::PermanentDisable,
    ];

    /// Its name in TS 29.369.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inventory => "INVENTORY",
            Self::Read => "READ",
            Self::Write => "WRITE",
            Self::PermanentDisable => "PERMANENT_DISABLE",
        }
    }

    /// The operation of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

impl AfReceive {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Data, Self::Presence];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Presence => "presence",
        }
    }

    /// What has a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

impl Default for AfQuota {
    fn default() -> Self {
        Self {
            rate: 10,
            burst: 20,
            inventories: 4,
            subscriptions: 16,
        }
    }
}

impl Default for AfAuthorization {
    /// Nothing.
    fn default() -> Self {
        Self {
            areas: Some(Vec::new()),
            operations: Vec::new(),
            devices: AfDevices::Only {
                ids: Vec::new(),
                filters: Vec::new(),
                fleets: Vec::new(),
            },
            receive: Vec::new(),
            causes: None,
            quota: AfQuota::default(),
        }
    }
}

impl AfDevices {
    /// Whether a device is among them. `fleet` is its fleet, where that is known.
    pub fn has(&self, device_id: &[u8], fleet: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Only {
                ids,
                filters,
                fleets,
            } => {
                ids.iter().any(|id| id == device_id)
                    || filters.iter().any(|filter| device_id.starts_with(filter))
                    || fleet.is_some_and(|fleet| fleets.iter().any(|known| known == fleet))
            }
        }
    }

    /// Whether all devices whose permanent ID begins with `filter` are among them, whatever devices there are.
    pub fn has_all_with(&self, filter: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Only { filters, .. } => filters.iter().any(|known| filter.starts_with(known)),
        }
    }

    /// Whether the fleet of a device must be known to tell.
    pub fn needs_fleet(&self) -> bool {
        matches!(self, Self::Only { fleets, .. } if !fleets.is_empty())
    }
}

impl AfAuthorization {
    /// Whether it may ask for an operation.
    pub fn may(&self, operation: AfOperation) -> bool {
        self.operations.contains(&operation)
    }

    /// Whether an area is one of its own.
    pub fn has_area(&self, area: &[u8; 12]) -> bool {
        match &self.areas {
            None => true,
            Some(areas) => areas.iter().any(|known| known.octets() == area),
        }
    }

    /// Whether it may be told of a device there. Without a `cause` (a device that is missing reports none) all causes must
    /// be granted.
    pub fn may_receive(
        &self,
        what: AfReceive,
        device_id: &[u8],
        fleet: Option<&str>,
        area: &[u8; 12],
        cause: Option<u8>,
    ) -> bool {
        let has_cause = match (&self.causes, cause) {
            (None, _) => true,
            (Some(causes), Some(cause)) => causes.contains(&cause),
            (Some(_), None) => false,
        };
        self.receive.contains(&what)
            && self.devices.has(device_id, fleet)
            && self.has_area(area)
            && has_cause
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        let all = || Value::from("all");
        json!({
            "areas": self.areas.as_ref().map_or_else(all, |areas| {
                areas.iter().map(|area| hex::encode(area.octets())).collect()
            }),
            "operations": self.operations.iter().map(|o| o.name()).collect::<Vec<_>>(),
            "devices": match &self.devices {
                AfDevices::All => all(),
                AfDevices::Only { ids, filters, fleets } => json!({
                    "ids": ids.iter().map(hex::encode).collect::<Vec<_>>(),
                    "filters": filters.iter().map(hex::encode).collect::<Vec<_>>(),
                    "fleets": fleets,
                }),
            },
            "receive": self.receive.iter().map(|r| r.name()).collect::<Vec<_>>(),
            "causes": self.causes.as_ref().map_or_else(all, |causes| causes.as_slice().into()),
            "quota": {
                "rate": self.quota.rate,
                "burst": self.quota.burst,
                "inventories": self.quota.inventories,
                "subscriptions": self.quota.subscriptions,
            },
        })
    }

    /// From JSON. All members must be there, and no others: what one version has granted, another must not read as more.
    ///
    /// # Errors
    /// The member and the rule.
    pub fn from_json(value: &Value) -> Result<Self, String> {
        const MEMBERS: [&str; 6] = [
            "areas",
            "operations",
            "devices",
            "receive",
            "causes",
            "quota",
        ];
        let map = members("authorization", value, &MEMBERS)?;
        let authorization = Self {
            areas: all_or("areas", map.get("areas"), area)?,
            operations: list("operations", map.get("operations"), |operation| {
                operation.as_str().and_then(AfOperation::of)
            })?,
            devices: match map.get("devices").and_then(Value::as_str) {
                Some("all") => AfDevices::All,
                _ => devices(map.get("devices").unwrap_or(&Value::Null))?,
            },
            receive: list("receive", map.get("receive"), |what| {
                what.as_str().and_then(AfReceive::of)
            })?,
            causes: all_or("causes", map.get("causes"), |cause| {
                u8::try_from(cause.as_u64()?).ok()
            })?,
            quota: quota(map.get("quota").unwrap_or(&Value::Null))?,
        };
        authorization.check()?;
        Ok(authorization)
    }

    /// Checks its limits.
    ///
    /// # Errors
    /// The member and the rule.
    pub fn check(&self) -> Result<(), String> {
        let at_most = |name: &str, n: usize, max: usize| match n > max {
            false => Ok(()),
            true => Err(format!("{name}: must be at most {max}")),
        };
        let few = |name: &str, n: usize| at_most(name, n, AF_ENTRIES_MAX);
        let areas = self.areas.as_ref().map_or(0, Vec::len);
        at_most("areas", areas, AF_AREAS_MAX)?;
        if let AfDevices::Only {
            ids,
            filters,
            fleets,
        } = &self.devices
        {
            few("devices.ids", ids.len())?;
            few("devices.filters", filters.len())?;
            few("devices.fleets", fleets.len())?;
            if !ids
                .iter()
                .chain(filters)
                .all(|id| (1..=128).contains(&id.len()))
            {
                return Err("devices: IDs and filters must have 1 to 128 octets".into());
            }
            if !fleets.iter().all(|fleet| (1..=64).contains(&fleet.len())) {
                return Err("devices.fleets: names must have 1 to 64 octets".into());
            }
        }
        if self.causes.iter().flatten().any(|cause| *cause > 15) {
            return Err("causes: must be from 0 to 15".into());
        }
        if self.quota.rate == 0 {
            return Err("quota.rate: must be at least 1".into());
        }
        if self.quota.burst == 0 {
            return Err("quota.burst: must be at least 1".into());
        }
        Ok(())
    }
}

/// Whether an AF may be called so.
///
/// # Errors
/// The rule.
pub fn check_af_name(name: &str) -> Result<(), String> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || "-_.@:".contains(c);
    if !(1..=AF_NAME_OCTETS_MAX).contains(&name.len()) || !name.chars().all(is_fine) {
        return Err(format!(
            "name: must be 1 to {AF_NAME_OCTETS_MAX} letters, digits and -_.@:"
        ));
    }
    Ok(())
}

fn members<'a>(
    name: &str,
    value: &'a Value,
    known: &[&str],
) -> Result<&'a Map<String, Value>, String> {
    let map = value
        .as_object()
        .ok_or_else(|| format!("{name}: must be an object"))?;
    if let Some(odd) = map.keys().find(|member| !known.contains(&member.as_str())) {
        return Err(format!("{name}: {odd} is not known"));
    }
    match known.iter().find(|member| !map.contains_key(**member)) {
        Some(missing) => Err(format!("{name}: {missing} must be there")),
        None => Ok(map),
    }
}

fn list<T>(
    name: &str,
    value: Option<&Value>,
    element: impl Fn(&Value) -> Option<T>,
) -> Result<Vec<T>, String> {
    let list = value
        .and_then(Value::as_array)
        .ok_or_else(|| format!("{name}: must be a list"))?;
    list.iter()
        .map(|value| element(value).ok_or_else(|| format!("{name}: {value} cannot be")))
        .collect()
}

fn all_or<T>(
    name: &str,
    value: Option<&Value>,
    element: impl Fn(&Value) -> Option<T>,
) -> Result<Option<Vec<T>>, String> {
    match value.and_then(Value::as_str) {
        Some("all") => Ok(None),
        _ => list(name, value, element).map(Some),
    }
}

fn area(value: &Value) -> Option<AreaId> {
    let octets = hex::decode(value.as_str()?).ok()?;
    AreaId::from_octets(octets.try_into().ok()?).ok()
}

fn devices(value: &Value) -> Result<AfDevices, String> {
    let map = members("devices", value, &["ids", "filters", "fleets"])?;
    let octets = |value: &Value| hex::decode(value.as_str()?).ok();
    Ok(AfDevices::Only {
        ids: list("devices.ids", map.get("ids"), octets)?,
        filters: list("devices.filters", map.get("filters"), octets)?,
        fleets: list("devices.fleets", map.get("fleets"), |fleet| {
            fleet.as_str().map(str::to_owned)
        })?,
    })
}

fn quota(value: &Value) -> Result<AfQuota, String> {
    let map = members(
        "quota",
        value,
        &["rate", "burst", "inventories", "subscriptions"],
    )?;
    let number = |name: &str| {
        let number = map.get(name).and_then(Value::as_u64);
        let number = number.and_then(|number| u32::try_from(number).ok());
        number.ok_or_else(|| format!("quota.{name}: must be a number of 32 bits"))
    };
    Ok(AfQuota {
        rate: number("rate")?,
        burst: number("burst")?,
        inventories: number("inventories")?,
        subscriptions: number("subscriptions")?,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn limited() -> AfAuthorization {
        AfAuthorization {
            areas: Some(vec![
                AreaId::from_octets([0x00, 0xf1, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 1]).unwrap(),
            ]),
            operations: vec![AfOperation::Inventory, AfOperation::Read],
            devices: AfDevices::Only {
                ids: vec![b"one".to_vec()],
                filters: vec![b"ab".to_vec()],
                fleets: vec!["pallets".into()],
            },
            receive: vec![AfReceive::Data],
            causes: Some(vec![2, 5]),
            quota: AfQuota::default(),
        }
    }

    #[test]
    fn what_is_not_granted_is_not_allowed() {
        let nothing = AfAuthorization::default();
        assert!(
            AfOperation::ALL
                .iter()
                .all(|operation| !nothing.may(*operation))
        );
        assert!(!nothing.devices.has(b"one", Some("pallets")) && !nothing.has_area(&[0; 12]));
        assert!(!nothing.devices.has_all_with(b"one"));

        let limited = limited();
        let area = *limited.areas.as_ref().unwrap().first().unwrap().octets();
        let devices = &limited.devices;
        assert!(devices.has(b"one", None) && devices.has(b"abc", None));
        assert!(devices.has(b"x", Some("pallets")) && !devices.has(b"x", Some("tools")));
        assert!(!devices.has(b"x", None) && !devices.has(b"on", None) && !devices.has(b"a", None));
        assert!(devices.has_all_with(b"abc") && !devices.has_all_with(b"a"));
        assert!(!devices.has_all_with(b"one"), "a device's ID is no filter");
        let told = |what, device: &[u8], area, cause| {
            limited.may_receive(what, device, Some("tools"), area, cause)
        };
        assert!(told(AfReceive::Data, b"one", &area, Some(2)));
        assert!(!told(AfReceive::Presence, b"one", &area, Some(2)));
        assert!(!told(AfReceive::Data, b"two", &area, Some(2)));
        assert!(!told(AfReceive::Data, b"one", &[0; 12], Some(2)));
        assert!(!told(AfReceive::Data, b"one", &area, Some(1)));
        assert!(!told(AfReceive::Data, b"one", &area, None));
    }

    #[test]
    fn what_json_leaves_out_or_does_not_know_is_refused() {
        for authorization in [limited(), AfAuthorization::default()] {
            let json = authorization.to_json();
            assert_eq!(AfAuthorization::from_json(&json).unwrap(), authorization);
        }
        let change = |member: &str, value: Value| {
            let mut json = limited().to_json();
            json.as_object_mut().unwrap().insert(member.into(), value);
            AfAuthorization::from_json(&json).unwrap_err()
        };
        assert!(change("areas", json!(["00"])).starts_with("areas: "));
        assert!(change("operations", json!(["ERASE"])).starts_with("operations: "));
        assert!(change("devices", json!({ "ids": [] })).contains("filters must be there"));
        assert!(change("causes", json!([16])).starts_with("causes: "));
        assert!(change("more", json!(1)).contains("more is not known"));
        let no_rate = json!({ "rate": 0, "burst": 1, "inventories": 1, "subscriptions": 1 });
        assert!(change("quota", no_rate).starts_with("quota.rate: "));
        let mut json = limited().to_json();
        json.as_object_mut().unwrap().remove("devices");
        assert!(AfAuthorization::from_json(&json).is_err());
        assert!(check_af_name("ware house").is_err() && check_af_name("").is_err());
        assert!(check_af_name("warehouse-1").is_ok());
    }
}
