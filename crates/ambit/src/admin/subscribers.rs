//! Requests about subscribers and the home network's keys.

use ambit_adm::{Adm, ProvisionError, SubscriberSpec};
use ambit_provisioning::{
    CredentialKind, CsvErrors, DeviceSpec, ERRORS_MAX, LineError, SubscriberEntry,
    format_device_id, read_subscribers,
};
use ambit_store::{Store, SubscriberRow};
use ambit_uicc::suci::Scheme;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::ops::ControlFlow;

use super::Request;
use super::execute::{device, flow, taken};
use crate::failure::Failure;
use crate::show;

/// A request that needs the ADM.
pub(super) fn change(
    adm: &mut Adm,
    request: &Request,
    now_ms: i64,
    row: &mut dyn FnMut(Value) -> bool,
) -> Result<(), Failure> {
    match request {
        Request::SubscriberImport { csv, lines } => {
            let plmn = adm.config().snid.plmn();
            let mut entries = read_subscribers(csv.0.as_bytes(), None, plmn)?;
            for (entry, line) in entries.iter_mut().zip(lines) {
                entry.device.line = *line;
            }
            let imported = entries.len();
            import(adm, entries, now_ms)?;
            row(json!({ "imported": imported }));
        }
        Request::HomeNetworkKeyAdd { key_id, profile } => {
            let scheme = match profile {
                'b' => Scheme::ProfileB,
                _ => Scheme::ProfileA,
            };
            let (key_id, key) = adm.add_home_network_key(*key_id, scheme, now_ms)?;
            row(show::home_network_key(key_id, &key));
        }
        Request::HomeNetworkKeyList => {
            for (key_id, key) in adm.home_network_keys() {
                if !row(show::home_network_key(key_id, &key)) {
                    break;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn import(adm: &mut Adm, entries: Vec<SubscriberEntry>, now_ms: i64) -> Result<(), Failure> {
    let lines: Vec<u64> = entries.iter().map(|entry| entry.device.line).collect();
    let ids: Vec<&[u8]> = entries
        .iter()
        .map(|entry| entry.device.device_id.as_slice())
        .collect();
    let taken = taken(adm, &ids)?;
    let supis = taken_supis(adm, &entries)?;
    let mut errors = Vec::new();
    for entry in &entries {
        let (column, rule) = if taken.contains(&entry.device.device_id) {
            let name = format_device_id(&entry.device.device_id);
            ("DEVICE_ID", format!("{name} exists already"))
        } else if supis.contains(&supi(entry)) {
            ("IMSI", format!("{} exists already", entry.imsi))
        } else {
            continue;
        };
        errors.push(at(entry.device.line, column, rule));
        if errors.len() == ERRORS_MAX {
            break;
        }
    }
    if !errors.is_empty() {
        return Err(CsvErrors(errors).into());
    }
    let refused = |error| match error {
        ProvisionError::Policy { index, field, rule } => {
            let line = lines.get(index).copied().unwrap_or_default();
            let error = at(line, &field.to_ascii_uppercase(), rule);
            CsvErrors(vec![error]).into()
        }
        other => Failure::from(other),
    };
    // A file is of one kind. Where the card keeps K, its USIM is not asked.
    let is_aiot = |entry: &SubscriberEntry| entry.device.credential == CredentialKind::UiccAiot;
    if entries.first().is_some_and(is_aiot) {
        let devices: Vec<DeviceSpec> = entries.into_iter().map(|entry| entry.device).collect();
        return adm.import(&devices, now_ms).map(|_| ()).map_err(refused);
    }
    let specs: Vec<SubscriberSpec> = entries
        .into_iter()
        .map(|entry| SubscriberSpec {
            supi: supi(&entry),
            device: entry.device,
            secrets: entry.secrets,
            sqn: 0,
        })
        .collect();
    adm.import_subscribers(&specs, now_ms).map_err(refused)
}

fn at(line: u64, column: &str, rule: String) -> LineError {
    LineError {
        line,
        column: column.to_owned(),
        rule,
    }
}

fn supi(entry: &SubscriberEntry) -> String {
    format!("imsi-{}", entry.imsi)
}

/// Those of the SUPIs that are in the store: looked up one by one when they are few, else by one walk over all.
fn taken_supis(adm: &mut Adm, entries: &[SubscriberEntry]) -> Result<HashSet<String>, Failure> {
    let mut asked: HashSet<String> = entries.iter().map(supi).collect();
    if entries.len() < 256 {
        let mut taken = HashSet::new();
        for supi in asked {
            if adm.store().subscriber(&supi)?.is_some() {
                taken.insert(supi);
            }
        }
        return Ok(taken);
    }
    let mut taken = HashSet::new();
    adm.store().subscribers_for_each(&mut |row| {
        taken.extend(asked.take(&row.supi));
        ControlFlow::Continue(())
    })?;
    Ok(taken)
}

/// All subscribers, in the order of their devices.
pub(super) fn list(
    store: &mut dyn Store,
    row: &mut dyn FnMut(Value) -> bool,
) -> Result<(), Failure> {
    let mut subscribers = Vec::new();
    store.subscribers_for_each(&mut |subscriber| {
        subscribers.push(SubscriberRow {
            secret_wrapped: Vec::new(),
            ..subscriber
        });
        ControlFlow::Continue(())
    })?;
    let mut subscribers = subscribers.iter().peekable();
    store.devices_for_each(&mut |device| match subscribers
        .next_if(|subscriber| subscriber.device == device.id)
    {
        Some(subscriber) => flow(row(show::subscriber(&device, subscriber))),
        None => flow(subscribers.peek().is_some()),
    })?;
    Ok(())
}

/// One subscriber, by IMSI, SUPI or device ID.
pub(super) fn show(
    store: &mut dyn Store,
    name: &str,
    row: &mut dyn FnMut(Value) -> bool,
) -> Result<(), Failure> {
    let as_imsi = format!("imsi-{name}");
    let by_supi = match store.subscriber(&as_imsi)? {
        None => store.subscriber(name)?,
        found => found,
    };
    let mut found = None;
    match by_supi {
        Some(subscriber) => store.devices_for_each(&mut |device| {
            if device.id == subscriber.device {
                found = Some(show::subscriber(&device, &subscriber));
            }
            flow(found.is_none())
        })?,
        None => {
            if let Some(device) = store.device(&device(name)?)? {
                store.subscribers_for_each(&mut |subscriber| {
                    if subscriber.device == device.id {
                        found = Some(show::subscriber(&device, &subscriber));
                    }
                    flow(found.is_none() && subscriber.device < device.id)
                })?;
            }
        }
    }
    match found {
        Some(found) => {
            row(found);
            Ok(())
        }
        None => Err(Failure::input(
            "subscriber_unknown",
            format!("no subscriber {name}: neither an IMSI nor the device ID of one"),
        )),
    }
}
