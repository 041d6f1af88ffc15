//! Nnrf_NFDiscovery: by NF type and service; an AIOTF by the areas it serves, an ADM by a device or an AF.

use std::sync::Arc;

use hyper::Method;
use hyper::header::CACHE_CONTROL;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Nrf;
use crate::clock::unix_ms;
use crate::exchange::{Exchange, Pairs, Reply};
use crate::json::{self, Fields};
use crate::problem::Problem;
use crate::router::{Access, Route, Takes};

/// Functions in one answer at most.
const FOUND_MAX: usize = 64;

pub(super) fn routes(nrf: &Arc<Nrf>) -> Vec<Route> {
    let nrf = Arc::clone(nrf);
    let access = Access::Token {
        service: "nnrf-disc",
        operation: "",
    };
    let search = move |exchange: Exchange| std::future::ready(search(&nrf, &exchange));
    let path = "/nnrf-disc/v1/nf-instances";
    vec![Route::new(
        "nf_discover",
        Method::GET,
        path,
        access,
        Takes::Nothing,
        search,
    )]
}

fn search(nrf: &Nrf, exchange: &Exchange) -> Result<Reply, Problem> {
    let query = Query::parse(&exchange.query)?;
    let now_ms = unix_ms();
    let instances = nrf.lock();
    let live = instances
        .values()
        .filter(|instance| nrf.is_live(instance, now_ms));
    let found = live.filter_map(|instance| query.matched(&instance.profile));
    let found: Vec<Value> = found.take(query.limit).collect();
    let validity_s = nrf.config.discovery_validity_s;
    let body = json!({ "validityPeriod": validity_s, "nfInstances": found });
    Ok(Reply::ok(body).with(CACHE_CONTROL, &format!("max-age={validity_s}")))
}

struct Query<'a> {
    target_type: &'a str,
    requester_type: &'a str,
    services: Vec<&'a str>,
    instance: Option<Uuid>,
    areas: Vec<Value>,
    device: Option<String>,
    limit: usize,
}

impl<'a> Query<'a> {
    fn parse(pairs: &'a Pairs) -> Result<Self, Problem> {
        let required = |name: &'static str| match pairs.get(name) {
            Some("") => Err(Problem::query_incorrect(name, "must not be empty")),
            Some(value) => Ok(value),
            None => Err(Problem::query_missing(name)),
        };
        let services = pairs.all("service-names");
        let instance = match pairs.get("target-nf-instance-id").map(Uuid::try_parse) {
            None => None,
            Some(Ok(id)) => Some(id),
            Some(Err(_)) => {
                return Err(Problem::query_incorrect(
                    "target-nf-instance-id",
                    "must be a UUID",
                ));
            }
        };
        let limit = match pairs.get("limit").map(str::parse::<usize>) {
            None => FOUND_MAX,
            Some(Ok(limit)) if limit > 0 => limit.min(FOUND_MAX),
            Some(_) => return Err(Problem::query_incorrect("limit", "must be a number from 1")),
        };
        Ok(Self {
            target_type: required("target-nf-type")?,
            requester_type: required("requester-nf-type")?,
            services: services.iter().flat_map(|names| names.split(',')).collect(),
            instance,
            areas: areas(pairs)?,
            device: device(pairs)?,
            limit,
        })
    }

    /// The profile as the requester may see it, with the services it asked for, if it fits.
    fn matched(&self, profile: &Value) -> Option<Value> {
        let text = |name: &str| profile.get(name).and_then(Value::as_str);
        let id = text("nfInstanceId").and_then(|id| Uuid::try_parse(id).ok());
        if text("nfType") != Some(self.target_type)
            || self.instance.is_some_and(|wanted| Some(wanted) != id)
            || !self.areas_fit(profile)
            || !self.device_fits(profile)
        {
            return None;
        }
        let allows = |of: &Value| {
            let allowed = of.get("allowedNfTypes").and_then(Value::as_array);
            allowed.is_none_or(|types| {
                types
                    .iter()
                    .any(|t| t.as_str() == Some(self.requester_type))
            })
        };
        if !allows(profile) {
            return None;
        }
        let mut found = profile.clone();
        if let Some(services) = found
            .get_mut("nfServiceList")
            .and_then(Value::as_object_mut)
        {
            services.retain(|_, service| {
                let name = service
                    .get("serviceName")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                allows(service) && (self.services.is_empty() || self.services.contains(&name))
            });
            if services.is_empty() {
                // An NFProfile has no empty map.
                return None;
            }
        } else if !self.services.is_empty() {
            return None;
        }
        Some(found)
    }

    /// An AIOTF that names no areas serves all.
    fn areas_fit(&self, profile: &Value) -> bool {
        let Some(lists) = profile.get("aiotfInfoList").and_then(Value::as_object) else {
            return true;
        };
        let lists = lists
            .values()
            .map(|info| info.get("aiotAreaIDList").and_then(Value::as_array));
        let lists: Vec<_> = lists.collect();
        self.areas.iter().all(|wanted| {
            lists.iter().any(|areas| {
                areas.is_none_or(|areas| areas.iter().any(|area| same_area(area, wanted)))
            })
        })
    }

    /// An ADM that names no devices serves all. `devIdRegEx` is not evaluated: an ADM that has one is named, and refuses
    /// what is not its own.
    fn device_fits(&self, profile: &Value) -> bool {
        let (Some(wanted), Some(info)) = (&self.device, profile.get("admInfo")) else {
            return true;
        };
        let list = info.get("deviceIdList").and_then(Value::as_array);
        info.get("devIdRegEx").is_some()
            || list.is_none_or(|ids| ids.iter().any(|id| id.as_str() == Some(wanted)))
    }
}

/// `aiot-area-ids`: a JSON array, or its elements separated by commas (style form, not exploded).
fn areas(pairs: &Pairs) -> Result<Vec<Value>, Problem> {
    const NAME: &str = "aiot-area-ids";
    let Some(text) = pairs.get(NAME) else {
        return Ok(Vec::new());
    };
    let rule = || Problem::query_incorrect(NAME, "must be 1 to 256 AiotAreaIds in JSON");
    let array = match text.starts_with('[') {
        true => json::parse(text.as_bytes()),
        false => json::parse(format!("[{text}]").as_bytes()),
    };
    match array.map_err(|_| rule())? {
        Value::Array(areas) if (1..=256).contains(&areas.len()) => {
            match areas.iter().all(is_area) {
                true => Ok(areas),
                false => Err(rule()),
            }
        }
        _ => Err(rule()),
    }
}

/// `aiot-device-id`: a JSON string; taken without its quotation marks too.
fn device(pairs: &Pairs) -> Result<Option<String>, Problem> {
    const NAME: &str = "aiot-device-id";
    let Some(text) = pairs.get(NAME) else {
        return Ok(None);
    };
    let id = text.trim_matches('"');
    match json::from_base64(id) {
        Some(octets) if (1..=128).contains(&octets.len()) => Ok(Some(json::to_base64(&octets))),
        _ => Err(Problem::query_incorrect(
            NAME,
            "must be 1 to 128 octets in base64",
        )),
    }
}

fn is_area(area: &Value) -> bool {
    let plmn = area.get("plmnId");
    let digits = |name: &str, least: usize| {
        let text = plmn.and_then(|plmn| plmn.get(name)).and_then(Value::as_str);
        text.is_some_and(|text| {
            (least..=3).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit())
        })
    };
    let is_hex = |name: &str, len: usize| {
        let text = area.get(name).and_then(Value::as_str);
        text.is_some_and(|text| text.len() == len && text.bytes().all(|c| c.is_ascii_hexdigit()))
    };
    digits("mcc", 3)
        && digits("mnc", 2)
        && is_hex("aiotAreaCode", 6)
        && (area.get("nid").is_none() || is_hex("nid", 11))
}

fn same_area(one: &Value, other: &Value) -> bool {
    let text = |area: &Value, name: &str| {
        area.get(name)
            .and_then(Value::as_str)
            .map(str::to_ascii_lowercase)
    };
    one.get("plmnId") == other.get("plmnId")
        && text(one, "nid") == text(other, "nid")
        && text(one, "aiotAreaCode") == text(other, "aiotAreaCode")
}

/// The rules of `aiotfInfoList` and `admInfo` in a profile.
pub(super) fn check_info(profile: &Fields<'_>) -> Result<(), Problem> {
    if let Some(infos) = profile.optional("aiotfInfoList") {
        let map = infos
            .value()
            .as_object()
            .ok_or_else(|| infos.breaks("must be an object"))?;
        for info in map.values() {
            if let Some(list) = info.get("aiotAreaIDList")
                && !list
                    .as_array()
                    .is_some_and(|areas| !areas.is_empty() && areas.iter().all(is_area))
            {
                return Err(infos.breaks("aiotAreaIDList must be a list of AiotAreaIds"));
            }
        }
    }
    let Some(info) = profile.optional("admInfo") else {
        return Ok(());
    };
    let info = info.object()?;
    for name in ["deviceIdList", "afIdList"] {
        for element in info
            .optional(name)
            .map(|list| list.array(65_536))
            .transpose()?
            .into_iter()
            .flatten()
        {
            element.text()?;
        }
    }
    Ok(())
}
