//! What a subscription asks for.

use std::collections::{BTreeSet, HashSet};

use ambit_aiotf::AcceptedReport;
use ambit_aiotf::service::Devices;
use ambit_protocol::{AreaId, Cause};
use serde_json::{Value, json};

use super::super::parse;
use super::Limits;
use crate::client::Client;
use crate::clock::date_time;
use crate::json::{Field, Fields, set, to_base64};
use crate::nrf::profile::{area_json, area_of};
use crate::problem::Problem;

/// Causes by name. One that has no name here is told as `UNKNOWN`, and cannot be asked for.
const CAUSES: [(Cause, &str); 6] = [
    (Cause::PowerOn, "POWER_ON"),
    (Cause::Periodic, "PERIODIC"),
    (Cause::Event, "EVENT"),
    (Cause::Moved, "MOVED"),
    (Cause::DataOnly, "DATA_ONLY"),
    (Cause::GoingSilent, "GOING_SILENT"),
];

/// Fleets in one subscription at most.
const FLEETS_MAX: usize = 64;

/// Names in a list of an extensible enumeration at most.
const NAMES_MAX: usize = 32;

/// What a subscription asks for. A criterion that is not there is met by every report.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) notif_uri: String,
    pub(super) notif_corr_id: Option<String>,
    /// Every report, without what it carries.
    presence: bool,
    /// Reports that carry data, with it.
    data: bool,
    devices: Option<HashSet<Vec<u8>>>,
    filter: Option<Vec<u8>>,
    areas: Option<Vec<AreaId>>,
    fleets: Option<BTreeSet<String>>,
    causes: Option<Vec<Cause>>,
    /// When it ends, Unix time in ms.
    pub(super) expiry_ms: i64,
    has_features: bool,
}

impl Terms {
    /// Reads a DoaSubscription.
    pub(super) fn parse(
        body: &Value,
        client: &Client,
        limits: &Limits,
        now_ms: i64,
    ) -> Result<Self, Problem> {
        let fields = Fields::of(body)?;
        let notif_uri = parse::callback_uri(&fields, client)?;
        let notif_corr_id = fields.optional("notifCorrId");
        let notif_corr_id = notif_corr_id
            .map(|field| field.characters(256))
            .transpose()?;
        let (presence, data) = match fields.optional("events") {
            None => (true, true),
            Some(field) => {
                let known = known(&field, &[("PRESENCE", "PRESENCE"), ("DATA", "DATA")])?;
                (known.contains(&"PRESENCE"), known.contains(&"DATA"))
            }
        };
        let (mut devices, mut filter) = (None, None);
        if let Some(field) = fields.optional("targetDevices") {
            match parse::devices(&field)? {
                Devices::All => {}
                Devices::Named(ids) => devices = Some(ids.into_iter().collect()),
                Devices::Filter(octets) => filter = Some(octets),
            }
        }
        let areas = fields.optional("targetArea");
        let areas = areas.map(|field| areas_of(&field)).transpose()?;
        let fleets = fields.optional("fleets");
        let fleets = fleets
            .map(|field| {
                let names = field.array(FLEETS_MAX)?;
                let names = names.iter().map(|name| name.characters(128));
                names.map(|name| name.map(str::to_owned)).collect()
            })
            .transpose()?;
        let by_name = CAUSES.map(|(cause, name)| (name, cause));
        let causes = fields.optional("causes");
        let causes = causes.map(|field| known(&field, &by_name)).transpose()?;
        parse::features(&fields)?;
        Ok(Self {
            notif_uri,
            notif_corr_id: notif_corr_id.map(str::to_owned),
            presence,
            data,
            devices,
            filter,
            areas,
            fleets,
            causes,
            expiry_ms: expiry_ms(&fields, limits, now_ms)?,
            has_features: fields.has("suppFeat"),
        })
    }

    /// The DoaSubscription as it reads at a time.
    pub(super) fn to_json(&self, id: &str, now_ms: i64) -> Value {
        let mut events = Vec::new();
        events.extend(self.presence.then_some("PRESENCE"));
        events.extend(self.data.then_some("DATA"));
        let mut body = json!({
            "subscriptionId": id,
            "notifUri": self.notif_uri,
            "events": events,
            "lifetimeS": self.expiry_ms.saturating_sub(now_ms).max(0).saturating_add(999) / 1000,
        });
        if let Some(id) = &self.notif_corr_id {
            set(&mut body, "notifCorrId", id.as_str());
        }
        if let Some(devices) = &self.devices {
            let mut ids: Vec<String> = devices.iter().map(|id| to_base64(id)).collect();
            ids.sort_unstable();
            set(&mut body, "targetDevices", json!({ "devices": ids }));
        }
        if let Some(filter) = &self.filter {
            let info = json!({ "filteringInfo": to_base64(filter) });
            set(&mut body, "targetDevices", info);
        }
        if let Some(areas) = &self.areas {
            let ids: Vec<Value> = areas.iter().map(area_json).collect();
            set(&mut body, "targetArea", json!({ "areaIds": ids }));
        }
        if let Some(fleets) = &self.fleets {
            set(&mut body, "fleets", json!(fleets));
        }
        if let Some(causes) = &self.causes {
            let names: Vec<&str> = causes.iter().map(|cause| cause_name(*cause)).collect();
            set(&mut body, "causes", names);
        }
        if self.has_features {
            // There are none yet.
            set(&mut body, "suppFeat", "0");
        }
        body
    }

    /// Whether a report is to be told.
    pub(super) fn take(&self, report: &AcceptedReport) -> bool {
        let item = &report.item;
        let id = &*item.device_id;
        (self.presence || (self.data && !item.data.is_empty()))
            && self.devices.as_ref().is_none_or(|ids| ids.contains(id))
            && self.filter.as_ref().is_none_or(|f| id.starts_with(f))
            && (self.areas.as_ref()).is_none_or(|areas| areas.contains(&report.place.area_id))
            && (self.fleets.as_ref()).is_none_or(|fleets| fleets.contains(&*item.fleet))
            && (self.causes.as_ref()).is_none_or(|causes| causes.contains(&item.cause))
    }

    /// A DoaReport.
    pub(super) fn report_json(&self, report: &AcceptedReport) -> Value {
        let (item, place) = (&report.item, &report.place);
        let mut body = json!({
            "deviceId": to_base64(&item.device_id),
            "fleet": &*item.fleet,
            "cause": cause_name(item.cause),
            "seq": item.seq,
            "time": date_time(report.time_ms),
            "areaId": area_json(&place.area_id),
            "gnbId": place.gnb_id,
            "readerIndex": place.reader_index,
            "record": { "epoch": item.epoch, "tag1": hex::encode(&item.tag1) },
        });
        if self.data && !item.data.is_empty() {
            set(&mut body, "data", to_base64(&item.data));
        }
        body
    }
}

fn areas_of(field: &Field<'_>) -> Result<Vec<AreaId>, Problem> {
    let list = field.object()?.required("areaIds")?.array(256)?;
    list.iter().map(area_of).collect()
}

/// The values of an extensible enumeration that are known. Others are of later versions and passed over, unless there is
/// nothing else.
fn known<T: Copy + PartialEq>(field: &Field<'_>, names: &[(&str, T)]) -> Result<Vec<T>, Problem> {
    let mut found = Vec::new();
    for value in field.array(NAMES_MAX)? {
        let text = value.characters(64)?;
        let value = names.iter().find(|(name, _)| *name == text);
        found.extend(
            value
                .map(|(_, value)| *value)
                .filter(|v| !found.contains(v)),
        );
    }
    if found.is_empty() {
        let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        return Err(field.breaks(format!("must have one of {} at least", names.join(", "))));
    }
    Ok(found)
}

/// When a subscription ends. Told as a duration: the clocks of two hosts need not agree.
fn expiry_ms(fields: &Fields<'_>, limits: &Limits, now_ms: i64) -> Result<i64, Problem> {
    let most = limits.lifetime_max.as_secs();
    let asked = fields.optional("lifetimeS");
    let asked = asked.map(|field| field.integer(1, most)).transpose()?;
    let lifetime_s = asked.unwrap_or(limits.lifetime.as_secs()).min(most);
    let lifetime_ms = i64::try_from(lifetime_s)
        .unwrap_or(i64::MAX)
        .saturating_mul(1000);
    Ok(now_ms.saturating_add(lifetime_ms))
}

fn cause_name(cause: Cause) -> &'static str {
    let found = CAUSES.iter().find(|(known, _)| *known == cause);
    found.map_or("UNKNOWN", |(_, name)| name)
}
