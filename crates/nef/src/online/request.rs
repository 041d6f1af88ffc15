//! A charging event as Nchf_ConvergedCharging has it (TS 32.291): the ChargingDataRequest of one acceptance.

use ambit_store::RecordRow;
use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};

use super::OnlineConfig;

/// The API that a report comes through, as charging of exposure (TS 32.254) names it.
const API_NAME: &str = "doa-report";

/// Where the fields that TS 32.291 lacks for Ambient IoT are described.
const SPECIFICATION: &str = "ambit doa charging 1";

/// The request but for what depends on when it is sent. `number` is the event's.
pub(super) fn body(config: &OnlineConfig, record: &RecordRow, fleet: &str, number: u64) -> Value {
    let tariff = config.fleets.get(fleet);
    let rating_group = tariff.and_then(|tariff| tariff.rating_group);
    let domain = config.domain();
    let device_id = hex::encode(&record.device_id);
    let time = rfc3339(record.time_ms);
    // The names that a CDR has for the same.
    let content = json!({
        "record": record.id,
        "link": hex::encode(record.link),
        "time_ms": record.time_ms,
        "device_id": device_id,
        "fleet": fleet,
        "area_id": hex::encode(record.area_id),
        "cause": record.cause,
        "octets": record.data.len(),
    });
    let mut exposure = json!({
        "aPIName": API_NAME,
        "aPIDirection": "NOTIFICATION",
        "aPIReference": reference(&record.link),
        "aPIContent": content.to_string(),
        "externalIndividualIdentifier": format!("extid-{device_id}@{domain}"),
    });
    if !fleet.is_empty() && !fleet.contains('@') {
        let group = format!("extgroupid-{fleet}@{domain}");
        set(&mut exposure, "externalGroupIdentifier", group.into());
    }
    let mut body = json!({
        "nfConsumerIdentification": {
            "nFName": config.nf_name,
            "nFPLMNID": { "mcc": config.mcc, "mnc": config.mnc },
            "nodeFunctionality": "AIOTF",
        },
        "invocationSequenceNumber": sequence_number(number),
        "oneTimeEvent": true,
        // The report was verified, recorded and answered: what is charged has been delivered.
        "oneTimeEventType": "PEC",
        "serviceSpecificationInfo": SPECIFICATION,
        "multipleUnitUsage": [{
            "ratingGroup": rating_group.unwrap_or(config.rating_group),
            "usedUnitContainer": [{
                "localSequenceNumber": 1,
                "serviceId": record.cause,
                "serviceSpecificUnits": 1,
                "uplinkVolume": record.data.len(),
                "eventTimeStamps": [time],
            }],
        }],
        "nEFChargingInformation": exposure,
    });
    if let Some(af) = tariff.and_then(|tariff| tariff.af.as_ref()) {
        set(&mut body, "tenantIdentifier", af.as_str().into());
    }
    body
}

/// The whole request. `is_again`: it may have been sent before.
pub(super) fn stamped(body: &Value, now_ms: i64, is_again: bool) -> Value {
    let mut body = body.clone();
    set(&mut body, "invocationTimeStamp", rfc3339(now_ms).into());
    if is_again {
        set(&mut body, "retransmissionIndicator", true.into());
    }
    body
}

/// The number of an event as a Uint32: from 1, and from 1 again after the greatest.
pub(super) fn sequence_number(number: u64) -> u32 {
    let turn = u64::from(u32::MAX);
    u32::try_from(number.saturating_sub(1) % turn + 1).unwrap_or(u32::MAX)
}

/// The record's link in the evidence chain, which is a SHA-256 value, as a URI (RFC 6920): the key by which a repeat is known.
fn reference(link: &[u8; 32]) -> String {
    format!("ni:///sha-256;{}", Base64UrlUnpadded::encode_string(link))
}

fn rfc3339(ms: i64) -> String {
    let ms = u64::try_from(ms).unwrap_or(0);
    let time = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_millis(ms));
    // Beyond the year 9999 there is no such text.
    let latest = std::time::UNIX_EPOCH + std::time::Duration::from_secs(253_402_300_799);
    let time = time.map_or(latest, |time| time.min(latest));
    humantime::format_rfc3339_millis(time).to_string()
}

fn set(object: &mut Value, name: &str, value: Value) {
    if let Some(map) = object.as_object_mut() {
        map.insert(name.to_owned(), value);
    }
}
