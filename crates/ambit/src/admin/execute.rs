//! The requests themselves.

use std::collections::HashSet;
use std::ops::ControlFlow;

use ambit_adm::Adm;
use ambit_adm_api::Outcome;
use ambit_nef::presence::Expectation;
use ambit_provisioning::{
    CsvErrors, DeviceSpec, ERRORS_MAX, LineError, format_device_id, parse_device_id, read_csv,
};
use ambit_store::{EventFilter, RecordFilter, Store};
use serde_json::{Value, json};

use super::{Request, afs, evidence, kept, presence, subscribers};
use crate::failure::Failure;
use crate::show;

/// A request that changes something.
pub(crate) fn change(
    adm: &mut Adm,
    request: &Request,
    now_ms: i64,
    row: &mut dyn FnMut(Value) -> bool,
) -> Result<(), Failure> {
    match request {
        Request::DeviceImport { csv, lines } => {
            let mut devices = read_csv(csv.0.as_bytes())?;
            for (device, line) in devices.iter_mut().zip(lines) {
                device.line = *line;
            }
            import(adm, &devices, now_ms)?;
            row(json!({ "imported": devices.len() }));
        }
        Request::DeviceSetDisabled {
            device_id,
            disabled,
        } => {
            let id = device(device_id)?;
            adm.set_disabled(&id, *disabled, now_ms)?;
            row(show::device(&adm.device_row(&id)?));
        }
        Request::DeviceRotateKey { device_id } => {
            let id = device(device_id)?;
            let key = adm.rotate_key(&id, now_ms)?;
            let mut shown = show::device(&adm.device_row(&id)?);
            if let Some(object) = shown.as_object_mut() {
                object.insert("key".into(), hex::encode(key.expose()).into());
            }
            row(shown);
        }
        Request::AlarmAck { ids, by } => {
            for id in ids {
                let Some(alarm) = adm.ack_alarm(*id, by, now_ms)? else {
                    return Err(Failure::input(
                        "alarm_unknown",
                        format!("ID: there is no alarm {id}"),
                    ));
                };
                row(show::alarm(&alarm));
            }
        }
        Request::CommandKeep {
            devices,
            operation,
            lifetime_s,
        } => return kept::keep(adm, devices, operation, *lifetime_s, now_ms, row),
        Request::CommandWithdraw { ids } => return kept::withdraw(adm, ids, now_ms, row),
        Request::EvidenceTag { record } => return evidence::tag(adm, *record, row),
        Request::EvidenceCheckpoint => {
            if let Some(checkpoint) = adm.checkpoint(now_ms)? {
                row(evidence::checkpoint(&checkpoint));
            }
        }
        Request::AfAdd { .. }
        | Request::AfSet { .. }
        | Request::AfRemove { .. }
        | Request::AfNewSecret { .. } => return afs::change(adm, request, now_ms, row),
        Request::SubscriberImport { .. }
        | Request::HomeNetworkKeyAdd { .. }
        | Request::HomeNetworkKeyList => return subscribers::change(adm, request, now_ms, row),
        _ => return read(adm.store(), request, row),
    }
    Ok(())
}

/// A request that only reads.
pub(crate) fn read(
    store: &mut dyn Store,
    request: &Request,
    row: &mut dyn FnMut(Value) -> bool,
) -> Result<(), Failure> {
    match request {
        Request::DeviceList => {
            store.devices_for_each(&mut |device| flow(row(show::device(&device))))?
        }
        Request::DeviceShow { device_id } => {
            let id = device(device_id)?;
            let Some(found) = store.device(&id)? else {
                return Err(Failure::input(
                    "device_unknown",
                    format!("device_id: no device {device_id}"),
                ));
            };
            let mut shown = show::device(&found);
            let (mut last, mut records) = (None, 0u64);
            let filter = RecordFilter {
                device_id: Some(&id),
                ..RecordFilter::default()
            };
            store.records_for_each(&filter, &mut |record| {
                records += 1;
                last = Some(record);
                ControlFlow::Continue(())
            })?;
            if let Some(object) = shown.as_object_mut() {
                object.insert("records".into(), records.into());
                object.insert("last_record".into(), last.as_ref().map(show::record).into());
            }
            row(shown);
        }
        Request::RecordList {
            device_id,
            since_ms,
        } => {
            let id = known(store, device_id.as_deref())?;
            let filter = RecordFilter {
                device_id: id.as_deref(),
                since_ms: *since_ms,
                ..RecordFilter::default()
            };
            store.records_for_each(&filter, &mut |record| flow(row(show::record(&record))))?;
        }
        Request::PresenceList {
            interval_s,
            grace_s,
            device_id,
        } => {
            let expectation = Expectation {
                interval_s: interval_s.clone(),
                grace_s: *grace_s,
            };
            match known(store, device_id.as_deref())? {
                Some(id) => presence::history(store, &id, &expectation, row)?,
                None => presence::list(store, expectation, row)?,
            }
        }
        Request::AlarmList { all } => {
            store.alarms_for_each(*all, &mut |alarm| flow(row(show::alarm(&alarm))))?;
        }
        Request::CommandList { device, all } => {
            kept::list(store, device.as_deref(), *all, row)?;
        }
        Request::EvidenceVerify { public_key } => {
            evidence::verify(store, public_key.as_deref(), row)?;
        }
        Request::EvidenceShow { record } => evidence::show(store, *record, row)?,
        Request::EvidenceLinks { records } => evidence::links(store, records, row)?,
        Request::EvidenceExport => evidence::export(store, row)?,
        Request::EventList { kind, since_ms } => {
            known_kind(kind.as_deref())?;
            events(store, kind.as_deref(), *since_ms, row)?;
        }
        Request::AfList => afs::list(store, row)?,
        Request::AfShow { name } => afs::show(store, name, row)?,
        Request::SubscriberList => subscribers::list(store, row)?,
        Request::SubscriberShow { name } => subscribers::show(store, name, row)?,
        Request::Status
        | Request::DeviceImport { .. }
        | Request::DeviceSetDisabled { .. }
        | Request::DeviceRotateKey { .. }
        | Request::EvidenceTag { .. }
        | Request::EvidenceCheckpoint
        | Request::AlarmAck { .. }
        | Request::AfAdd { .. }
        | Request::AfSet { .. }
        | Request::AfRemove { .. }
        | Request::AfNewSecret { .. }
        | Request::CommandKeep { .. }
        | Request::CommandWithdraw { .. }
        | Request::SubscriberImport { .. }
        | Request::HomeNetworkKeyAdd { .. }
        | Request::HomeNetworkKeyList
        | Request::Subscription(_)
        | Request::Ask(_) => {
            return Err(Failure::resource(
                "read_only",
                "the store is open for reading only",
            ));
        }
    }
    Ok(())
}

/// Kinds of events besides the outcomes of reports.
const KINDS: [&str; 32] = [
    "subscription_added",
    "subscription_removed",
    "af_added",
    "af_changed",
    "af_removed",
    "af_secret_changed",
    "af_refused",
    "command_kept",
    "kept_command_done",
    "kept_command_failed",
    "kept_command_expired",
    "kept_command_withdrawn",
    "presence_halted",
    "presence_resumed",
    "alarm_acknowledged",
    "missing",
    "device_returned",
    "store_went_back",
    "charging_halted",
    "charging_resumed",
    "online_charging_halted",
    "online_charging_resumed",
    "charging_event_refused",
    "report_accepted",
    "devices_imported",
    "device_was_disabled",
    "device_was_enabled",
    "device_key_rotated",
    "device_permanently_disabled",
    "home_network_key_set",
    "events_dropped",
    "type1_allowed_in_public",
];

fn known_kind(kind: Option<&str>) -> Result<(), Failure> {
    let outcomes = Outcome::ALL.iter().map(|outcome| outcome.name());
    let kinds: Vec<&str> = KINDS
        .into_iter()
        .chain(ambit_nef::delivery::NOTICES)
        .chain(outcomes.filter(|name| !name.starts_with("accepted")))
        .collect();
    match kind {
        Some(kind) if !kinds.contains(&kind) => {
            let message = format!("--kind: {kind} is none of {}", kinds.join(", "));
            Err(Failure::input("kind_unknown", message))
        }
        _ => Ok(()),
    }
}

/// Events and accepted reports, merged by time: a record that is no repeat is an event too.
fn events(
    store: &mut dyn Store,
    kind: Option<&str>,
    since_ms: Option<i64>,
    row: &mut dyn FnMut(Value) -> bool,
) -> Result<(), Failure> {
    // Events are rate-limited and few; records are many and streamed.
    let mut others = Vec::new();
    if kind != Some("report_accepted") {
        store.events_for_each(&EventFilter { kind, since_ms }, &mut |event| {
            others.push(event);
            ControlFlow::Continue(())
        })?;
    }
    others.sort_by_key(|event| event.time_ms);
    let mut others = others.into_iter().peekable();
    let mut wants_more = true;
    if kind.is_none_or(|kind| kind == "report_accepted") {
        let filter = RecordFilter {
            since_ms,
            ..RecordFilter::default()
        };
        store.records_for_each(&filter, &mut |record| {
            while let Some(event) = others.next_if(|event| event.time_ms <= record.time_ms) {
                wants_more = wants_more && row(show::event(&event));
            }
            if wants_more && !record.repeat {
                wants_more = row(show::record_event(&record));
            }
            flow(wants_more)
        })?;
    }
    for event in others {
        wants_more = wants_more && row(show::event(&event));
    }
    Ok(())
}

fn import(adm: &mut Adm, devices: &[DeviceSpec], now_ms: i64) -> Result<(), Failure> {
    let ids: Vec<&[u8]> = devices.iter().map(|d| d.device_id.as_slice()).collect();
    let taken = taken(adm, &ids)?;
    let mut errors = Vec::new();
    for device in devices {
        // The command line fills empty keys before it asks, so that no key can be lost between the two.
        let (column, rule) = if device.key.is_none() {
            ("key", "must be given".to_owned())
        } else if taken.contains(&device.device_id) {
            let name = format_device_id(&device.device_id);
            ("device_id", format!("{name} exists already"))
        } else {
            continue;
        };
        errors.push(LineError {
            line: device.line,
            column: column.into(),
            rule,
        });
        if errors.len() == ERRORS_MAX {
            break;
        }
    }
    if !errors.is_empty() {
        return Err(CsvErrors(errors).into());
    }
    adm.import(devices, now_ms)?;
    Ok(())
}

/// Those of the devices' IDs that are in the store: looked up one by one when they are few, else by one walk over all.
pub(super) fn taken(adm: &mut Adm, ids: &[&[u8]]) -> Result<HashSet<Vec<u8>>, Failure> {
    let mut taken = HashSet::new();
    if ids.len() < 256 {
        for id in ids {
            if let Some(row) = adm.store().device(id)? {
                taken.insert(row.device_id);
            }
        }
    } else {
        let asked: HashSet<&[u8]> = ids.iter().copied().collect();
        adm.store().devices_for_each(&mut |row| {
            if asked.contains(row.device_id.as_slice()) {
                taken.insert(row.device_id);
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(taken)
}

pub(super) fn device(text: &str) -> Result<Vec<u8>, Failure> {
    parse_device_id(text)
        .map_err(|rule| Failure::input("device_id_invalid", format!("device_id: {rule}")))
}

/// The ID of a device that must be there, if one is asked for.
pub(super) fn known(store: &mut dyn Store, text: Option<&str>) -> Result<Option<Vec<u8>>, Failure> {
    let Some(text) = text else {
        return Ok(None);
    };
    let id = device(text)?;
    match store.device(&id)? {
        Some(_) => Ok(Some(id)),
        None => Err(Failure::input(
            "device_unknown",
            format!("device_id: no device {text}"),
        )),
    }
}

pub(super) fn flow(wants_more: bool) -> ControlFlow<()> {
    if wants_more {
        ControlFlow::Continue(())
    } else {
        ControlFlow::Break(())
    }
}
