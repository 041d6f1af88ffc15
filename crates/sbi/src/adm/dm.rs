//! Nadm_DM (TS 29.369): device profiles.
//!
//! The file has two oddities. PATCH of one profile is declared as a merge patch; PATCH of several as an array of PatchItem
//! (JSON patch) under the merge-patch media type. Both shapes are taken at both resources, under either media type:
//!
//! | body | one profile | several profiles |
//! | --- | --- | --- |
//! | object (merge patch) | members of AiotDevProfileData | AiotDevProfileDataList, each element naming its device |
//! | array (JSON patch) | paths from the profile's root: `/lastKnownAiotfInfo` | paths begin with the device: `/{aiotDevPermId}/lastKnownAiotfInfo` |
//!
//! What can be changed is `lastKnownAiotfInfo`; the rest is the ADM's own.

use std::sync::Arc;

use ambit_adm_api::{DeviceProfile, NadmError};
use hyper::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::sec::DEVICE_ID_OCTETS;
use super::{SharedAdm, ask, problem};
use crate::exchange::{Exchange, Reply};
use crate::json::{Fields, from_base64, set, to_base64};
use crate::problem::Problem;
use crate::router::{Access, Route, Takes};

/// Devices in one request at most.
const DEVICES_MAX: usize = 256;

pub(super) fn routes(adm: &SharedAdm) -> Vec<Route> {
    const ONE: &str = "/nadm-dm/v1/aiot-device-profile-data/{}";
    const MANY: &str = "/nadm-dm/v1/aiot-device-profile-data";
    let access = |operation| Access::Token {
        service: "nadm-dm",
        operation,
    };
    let read = access("nadm-dm:aiot-device-profile-data:read");
    let modify = access("nadm-dm:aiot-device-profile-data:modify");
    let patch = Takes::Json(&[
        "application/merge-patch+json",
        "application/json-patch+json",
    ]);
    let (a, b, c, d) = (
        Arc::clone(adm),
        Arc::clone(adm),
        Arc::clone(adm),
        Arc::clone(adm),
    );
    vec![
        Route::new(
            "profile_get",
            Method::GET,
            ONE,
            read,
            Takes::Nothing,
            move |exchange| get_one(Arc::clone(&a), exchange),
        ),
        Route::new(
            "profile_patch",
            Method::PATCH,
            ONE,
            modify,
            patch,
            move |exchange| patch_one(Arc::clone(&b), exchange),
        ),
        Route::new(
            "profiles_get",
            Method::GET,
            MANY,
            read,
            Takes::Nothing,
            move |exchange| get_many(Arc::clone(&c), exchange),
        ),
        Route::new(
            "profiles_patch",
            Method::PATCH,
            MANY,
            modify,
            patch,
            move |exchange| patch_many(Arc::clone(&d), exchange),
        ),
    ]
}

async fn get_one(adm: SharedAdm, exchange: Exchange) -> Result<Reply, Problem> {
    let id = path_id(&exchange)?;
    let profile = ask(&adm, move |adm| adm.device_profile(&id))
        .await?
        .map_err(fault)?;
    Ok(Reply::ok(profile_json(&profile)))
}

/// Devices that are not there are left out; none at all is 404.
async fn get_many(adm: SharedAdm, exchange: Exchange) -> Result<Reply, Problem> {
    const NAME: &str = "requester-aiot-devices-id";
    let text = exchange
        .query
        .get(NAME)
        .ok_or_else(|| Problem::query_missing(NAME))?;
    let rule = || {
        Problem::query_incorrect(
            NAME,
            "must be 1 to 256 permanent IDs in base64, separated by commas",
        )
    };
    // A plus sign of base64 that was not escaped reads as a space.
    let ids = text
        .split(',')
        .map(|id| device_id(&id.replace(' ', "+")).ok_or_else(rule));
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    if ids.len() > DEVICES_MAX {
        return Err(rule());
    }
    let found = ask(&adm, move |adm| {
        let profiles = ids.iter().map(|id| match adm.device_profile(id) {
            Err(NadmError::UnknownDevice) => Ok(None),
            other => other.map(Some),
        });
        profiles.collect::<Result<Vec<_>, _>>()
    });
    let found: Vec<_> = found.await?.map_err(fault)?.into_iter().flatten().collect();
    if found.is_empty() {
        return Err(Problem::not_found(
            "DEVICE_NOT_FOUND",
            "none of these devices is there",
        ));
    }
    let list: Vec<_> = found.iter().map(profile_json).collect();
    Ok(Reply::ok(json!({ "aiotDevProfileDataList": list })))
}

async fn patch_one(adm: SharedAdm, exchange: Exchange) -> Result<Reply, Problem> {
    let id = path_id(&exchange)?;
    let known = id.clone();
    let body = exchange.json()?;
    let changes = match body {
        Value::Array(items) => items_of(items)?
            .iter()
            .map(|item| item.within(id.clone(), &item.path))
            .collect(),
        Value::Object(_) => vec![merge(id, body, "")],
        _ => {
            let rule = "the body must be a merge patch or PatchItems";
            return Err(Problem::message_format(rule));
        }
    };
    ask(&adm, move |adm| adm.device_profile(&known).map(drop))
        .await?
        .map_err(fault)?;
    apply(adm, changes).await
}

async fn patch_many(adm: SharedAdm, exchange: Exchange) -> Result<Reply, Problem> {
    let body = exchange.json()?;
    let changes = match body {
        Value::Array(items) => items_of(items)?.iter().map(Item::of_many).collect(),
        _ => {
            let list = Fields::of(body)?
                .required("aiotDevProfileDataList")?
                .array(DEVICES_MAX)?;
            let change = |element: &crate::json::Field<'_>| {
                let (least, greatest) = DEVICE_ID_OCTETS;
                let id = element
                    .object()?
                    .required("aiotDevPermId")?
                    .bytes(least, greatest)?;
                Ok(merge(id, element.value(), element.pointer()))
            };
            list.iter()
                .map(change)
                .collect::<Result<Vec<_>, Problem>>()?
        }
    };
    apply(adm, changes).await
}

/// A change that is to be made, or why it will not be.
struct Change {
    path: String,
    what: Result<(Vec<u8>, [u8; 16]), String>,
}

impl Change {
    const fn refused(path: String, reason: String) -> Self {
        Self {
            path,
            what: Err(reason),
        }
    }
}

/// Makes the changes one by one. All made is 204; else 200 with what was not (PatchResult).
async fn apply(adm: SharedAdm, changes: Vec<Change>) -> Result<Reply, Problem> {
    let report = ask(&adm, move |adm| {
        let mut report = Vec::new();
        for (n, change) in changes.into_iter().enumerate() {
            let made = change.what.and_then(|(id, aiotf)| {
                adm.note_aiotf(&id, aiotf)
                    .map_err(|error| error.to_string())
            });
            if let Err(reason) = made {
                let reason = format!("{reason} (failed operation index= {n})");
                report.push(json!({ "path": change.path, "reason": reason }));
            }
        }
        report
    });
    let report = report.await?;
    if report.is_empty() {
        return Ok(Reply::no_content());
    }
    Ok(Reply::ok(json!({ "report": report })))
}

/// A merge patch of one profile.
fn merge(id: Vec<u8>, body: &Value, at: &str) -> Change {
    let Some(map) = body.as_object() else {
        return Change::refused(at.to_owned(), "must be an object".into());
    };
    for (name, value) in map {
        let is_own_id =
            name == "aiotDevPermId" && value.as_str().and_then(device_id) == Some(id.clone());
        if name != "lastKnownAiotfInfo" && !is_own_id {
            return Change::refused(format!("{at}/{name}"), "cannot be changed".into());
        }
    }
    let path = format!("{at}/lastKnownAiotfInfo");
    match map.get("lastKnownAiotfInfo") {
        Some(info) => match aiotf_of(info) {
            Ok(aiotf) => Change {
                path,
                what: Ok((id, aiotf)),
            },
            Err(reason) => Change::refused(path, reason),
        },
        None => Change::refused(path, "must be there".into()),
    }
}

/// A PatchItem.
struct Item {
    op: String,
    path: String,
    value: Option<Value>,
}

fn items_of(items: &[Value]) -> Result<Vec<Item>, Problem> {
    if items.is_empty() || items.len() > DEVICES_MAX {
        return Err(Problem::message_format(format!(
            "the body must be 1 to {DEVICES_MAX} PatchItems"
        )));
    }
    let item = |(n, value): (usize, &Value)| {
        let text = |name: &str| {
            let found = value.get(name).and_then(Value::as_str).map(str::to_owned);
            found.ok_or_else(|| Problem::missing(format!("/{n}/{name}")))
        };
        Ok(Item {
            op: text("op")?,
            path: text("path")?,
            value: value.get("value").cloned(),
        })
    };
    items.iter().enumerate().map(item).collect()
}

impl Item {
    /// The change of a profile, of which `path` is what remains of the item's path.
    fn within(&self, id: Vec<u8>, path: &str) -> Change {
        let refused = |reason: &str| Change::refused(self.path.clone(), reason.to_owned());
        if self.op != "replace" && self.op != "add" {
            return refused("only add and replace are taken here");
        }
        let aiotf = match (path, &self.value) {
            ("/lastKnownAiotfInfo", Some(value)) => aiotf_of(value),
            ("/lastKnownAiotfInfo/lastKnownAiotfId", Some(value)) => {
                aiotf_of(&json!({ "lastKnownAiotfInfoInd": true, "lastKnownAiotfId": value }))
            }
            // Follows from the ID.
            ("/lastKnownAiotfInfo/lastKnownAiotfInfoInd", _) => {
                Err("is changed with lastKnownAiotfId".into())
            }
            _ => Err("cannot be changed".into()),
        };
        match aiotf {
            Ok(aiotf) => Change {
                path: self.path.clone(),
                what: Ok((id, aiotf)),
            },
            Err(reason) => refused(&reason),
        }
    }

    fn of_many(&self) -> Change {
        let mut parts = self.path.splitn(3, '/').skip(1);
        let id = parts
            .next()
            .map(|id| id.replace("~1", "/").replace("~0", "~"));
        match id.as_deref().and_then(device_id) {
            Some(id) => self.within(id, &format!("/{}", parts.next().unwrap_or_default())),
            None => Change::refused(
                self.path.clone(),
                "must begin with a permanent ID in base64".into(),
            ),
        }
    }
}

/// The AIOTF that a LastKnownAiotfInfo names.
fn aiotf_of(info: &Value) -> Result<[u8; 16], String> {
    if info.get("lastKnownAiotfInfoInd") != Some(&Value::Bool(true)) {
        return Err("lastKnownAiotfInfoInd must be true: what is known is not taken back".into());
    }
    let id = info
        .get("lastKnownAiotfId")
        .and_then(Value::as_str)
        .and_then(|id| Uuid::try_parse(id).ok());
    id.map(Uuid::into_bytes)
        .ok_or_else(|| "lastKnownAiotfId must be a UUID".into())
}

/// An AiotDevProfileData.
fn profile_json(profile: &DeviceProfile) -> Value {
    let mut known = json!({ "lastKnownAiotfInfoInd": profile.last_known_aiotf.is_some() });
    if let Some(id) = profile.last_known_aiotf {
        set(
            &mut known,
            "lastKnownAiotfId",
            Uuid::from_bytes(id).to_string(),
        );
    }
    json!({
        "aiotDevPermId": to_base64(&profile.device_id),
        "lastKnownAiotfInfo": known,
        "tidHandlingInformation": { "tidType": "CONCEALED" },
        "ambit": {
            "deviceType": profile.device_type.name(),
            "form": profile.form.name(),
            "suite": profile.suite.number(),
            "tagLen": profile.tag_len.octets(),
            "disabled": profile.disabled,
            "fleet": profile.fleet,
        },
    })
}

fn path_id(exchange: &Exchange) -> Result<Vec<u8>, Problem> {
    let rule = "must be 1 to 128 octets in base64";
    device_id(exchange.path(0)).ok_or_else(|| Problem::incorrect("aiotDevPermId", rule))
}

fn device_id(text: &str) -> Option<Vec<u8>> {
    let (least, greatest) = DEVICE_ID_OCTETS;
    from_base64(text).filter(|id| (least..=greatest).contains(&id.len()))
}

fn fault(error: NadmError) -> Problem {
    problem(error, |_| "/aiotDevPermId")
}
