//! Requests about application functions.

use ambit_adm::Adm;
use ambit_adm_api::AfAuthorization;
use ambit_store::Store;
use serde_json::{Value, json};

use super::Request;
use super::execute::flow;
use crate::failure::Failure;
use crate::show;

/// A request that needs the ADM.
pub(super) fn change(
    adm: &mut Adm,
    request: &Request,
    now_ms: i64,
    row: &mut dyn FnMut(Value) -> bool,
) -> Result<(), Failure> {
    let (name, secret) = match request {
        Request::AfAdd { name, rights } => {
            let granted = changed(AfAuthorization::default().to_json(), rights)?;
            let (_, secret) = adm.add_af(name, &granted, now_ms)?;
            (name, Some(secret))
        }
        Request::AfSet { name, rights } => {
            let Some(found) = adm.store().af(name)? else {
                return Err(unknown(name));
            };
            let now = serde_json::from_str(&found.authorization).unwrap_or_default();
            adm.set_af(name, &changed(now, rights)?, now_ms)?;
            (name, None)
        }
        Request::AfNewSecret { name } => {
            let (_, secret) = adm.renew_af_secret(name, now_ms)?;
            (name, Some(secret))
        }
        Request::AfRemove { name } => {
            adm.remove_af(name, now_ms)?;
            row(json!({ "removed": name }));
            return Ok(());
        }
        _ => return Ok(()),
    };
    let found = adm.store().af(name)?.ok_or_else(|| unknown(name))?;
    let mut shown = show::af(&found);
    if let (Some(object), Some(secret)) = (shown.as_object_mut(), secret) {
        object.insert("client_secret".into(), secret.expose().into());
    }
    row(shown);
    Ok(())
}

/// Rights with some of their members replaced; of the quota, some of its members.
fn changed(mut rights: Value, changes: &Value) -> Result<AfAuthorization, Failure> {
    let changes = changes.as_object().into_iter().flatten();
    for (member, value) in changes {
        match (rights.get_mut(member), value) {
            (Some(Value::Object(of)), Value::Object(values)) if member == "quota" => {
                of.extend(values.clone());
            }
            (Some(place), value) => *place = value.clone(),
            (None, _) => return Err(invalid(format!("{member}: is no right"))),
        }
    }
    AfAuthorization::from_json(&rights).map_err(invalid)
}

/// All AFs, by name.
pub(super) fn list(
    store: &mut dyn Store,
    row: &mut dyn FnMut(Value) -> bool,
) -> Result<(), Failure> {
    Ok(store.afs_for_each(&mut |af| flow(row(show::af(&af))))?)
}

/// One AF.
pub(super) fn show(
    store: &mut dyn Store,
    name: &str,
    row: &mut dyn FnMut(Value) -> bool,
) -> Result<(), Failure> {
    let found = store.af(name)?.ok_or_else(|| unknown(name))?;
    row(show::af(&found));
    Ok(())
}

fn unknown(name: &str) -> Failure {
    Failure::input("af_unknown", format!("name: no AF {name}"))
}

fn invalid(rule: String) -> Failure {
    Failure::input("af_invalid", rule)
}
