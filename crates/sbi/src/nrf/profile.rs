//! What a function says of itself to an NRF.

use std::net::{IpAddr, SocketAddr};

use ambit_protocol::area::{Nid, Plmn, parse_area_code};
use ambit_protocol::{AreaId, Snid};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::clock::date_time;
use crate::json::{Field, Fields, set};
use crate::problem::Problem;

/// A function of ours.
#[derive(Clone, Debug)]
pub struct OwnProfile {
    /// NF instance ID.
    pub id: Uuid,
    /// NF type.
    pub nf_type: &'static str,
    /// Where its services are reached.
    pub address: SocketAddr,
    /// The host that peers are to use instead of the address, if it has a name.
    pub host: Option<String>,
    /// Whether they are served over TLS.
    pub is_tls: bool,
    /// Their names, with the version of the API.
    pub services: &'static [(&'static str, &'static str)],
    /// When it was started, Unix time in ms.
    pub started_ms: i64,
    /// Areas served, of an AIOTF; empty means all.
    pub areas: Vec<AreaId>,
}

impl OwnProfile {
    /// The NFProfile.
    pub fn to_json(&self) -> Value {
        let id = self.id.to_string();
        let scheme = if self.is_tls { "https" } else { "http" };
        let mut end_point = json!({ "transport": "TCP", "port": self.address.port() });
        let mut profile =
            json!({ "nfInstanceId": id, "nfType": self.nf_type, "nfStatus": "REGISTERED" });
        match self.address.ip() {
            IpAddr::V4(ip) => {
                set(&mut end_point, "ipv4Address", ip.to_string());
                set(&mut profile, "ipv4Addresses", json!([ip.to_string()]));
            }
            IpAddr::V6(ip) => {
                set(&mut end_point, "ipv6Address", ip.to_string());
                set(&mut profile, "ipv6Addresses", json!([ip.to_string()]));
            }
        }
        // Who subscribed before that has to subscribe again.
        set(&mut profile, "recoveryTime", date_time(self.started_ms));
        let mut services = Map::new();
        for (name, version) in self.services {
            let mut service = json!({
                "serviceInstanceId": name,
                "serviceName": name,
                "versions": [{ "apiVersionInUri": "v1", "apiFullVersion": version }],
                "scheme": scheme,
                "nfServiceStatus": "REGISTERED",
                "ipEndPoints": [end_point.clone()],
                "oauth2Required": true,
            });
            if let Some(host) = &self.host {
                set(&mut service, "fqdn", host.as_str());
            }
            services.insert((*name).to_owned(), service);
        }
        set(&mut profile, "nfServiceList", services);
        if let Some(host) = &self.host {
            set(&mut profile, "fqdn", host.as_str());
        }
        match self.nf_type {
            "AIOTF" => {
                let areas: Vec<Value> = self.areas.iter().map(area_json).collect();
                let info = if areas.is_empty() {
                    json!({})
                } else {
                    json!({ "aiotAreaIDList": areas })
                };
                set(&mut profile, "aiotfInfoList", json!({ "1": info }));
            }
            "ADM" => set(&mut profile, "admInfo", json!({})),
            _ => {}
        }
        profile
    }
}

/// An AreaID as AiotAreaId (TS 29.571).
pub fn area_json(area: &AreaId) -> Value {
    let snid = area.snid();
    let mut json = json!({
        "plmnId": plmn_json(&snid.plmn()),
        "aiotAreaCode": hex::encode(area.area_code()),
    });
    if let Some(nid) = snid.nid() {
        set(&mut json, "nid", nid.to_string());
    }
    json
}

/// A PLMN as PlmnId (TS 29.571).
pub fn plmn_json(plmn: &Plmn) -> Value {
    let (mnc, third) = plmn.mnc();
    let mcc: String = plmn.mcc().into_iter().collect();
    let mnc: String = mnc.into_iter().chain(third).collect();
    json!({ "mcc": mcc, "mnc": mnc })
}

/// `plmnId`, and `nid` where there is one, of an object.
///
/// # Errors
/// [`Problem`] that names the field.
pub fn snid_of(fields: &Fields<'_>) -> Result<Snid, Problem> {
    let plmn_field = fields.required("plmnId")?;
    let plmn = plmn_field.object()?;
    let plmn = Plmn::new(plmn.required("mcc")?.text()?, plmn.required("mnc")?.text()?)
        .map_err(|error| plmn_field.breaks(error.to_string()))?;
    let nid = match fields.optional("nid") {
        None => None,
        Some(field) => {
            let nid = field.text()?.to_ascii_lowercase().parse::<Nid>();
            Some(nid.map_err(|error| field.breaks(error.to_string()))?)
        }
    };
    Ok(Snid::new(plmn, nid))
}

/// An AiotAreaId as AreaID.
///
/// # Errors
/// [`Problem`] that names the field.
pub fn area_of(area: &Field<'_>) -> Result<AreaId, Problem> {
    let fields = area.object()?;
    let snid = snid_of(&fields)?;
    let code = fields.required("aiotAreaCode")?;
    let octets = parse_area_code(code.text()?).map_err(|error| code.breaks(error.to_string()))?;
    Ok(snid.area(octets))
}
