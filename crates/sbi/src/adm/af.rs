//! Application functions at the ADM: their authorisation data (Nadm_DM, TS 29.369), and what a NEF needs beside it, which
//! Release 19 does not have: whose secret this is (`/ambit-af/v1/authenticate`), and a record of refusals (`refusals`).
//!
//! The standard's fields say what they can, and never more than is granted: what they cannot say (fleets, nothing at all) is
//! said in a way that fits nobody. The whole authorisation stands in the member `ambit`.

use std::sync::Arc;

use ambit_adm_api::{
    AF_NAME_OCTETS_MAX, AfAccount, AfAuthorization, AfDevices, AfOperation, AfRefusal,
};
use hyper::Method;
use serde_json::{Value, json};

use super::{SharedAdm, ask, problem};
use crate::clock::unix_ms;
use crate::exchange::{Exchange, Reply};
use crate::json::{Fields, set, to_base64};
use crate::nrf::profile::area_json;
use crate::problem::Problem;
use crate::router::{Access, Route, Takes};

/// Refusals in one report at most.
pub const REFUSALS_MAX: usize = 256;

/// The cause of a refused authentication.
pub(super) const NOT_AUTHENTICATED: &str = "AF_NOT_AUTHENTICATED";

pub(super) fn routes(adm: &SharedAdm) -> Vec<Route> {
    let own = |operation| Access::Token {
        service: "ambit-af",
        operation,
    };
    let read = Access::Token {
        service: "nadm-dm",
        operation: "nadm-dm:af-authorization-data:read",
    };
    let json = Takes::Json(&["application/json"]);
    let (a, b, c) = (Arc::clone(adm), Arc::clone(adm), Arc::clone(adm));
    vec![
        Route::new(
            "af_authorization",
            Method::GET,
            "/nadm-dm/v1/af-authorization-data",
            read,
            Takes::Nothing,
            move |exchange| authorization(Arc::clone(&a), exchange),
        ),
        Route::new(
            "af_authenticate",
            Method::POST,
            "/ambit-af/v1/authenticate",
            own("ambit-af:authenticate:invoke"),
            json,
            move |exchange| authenticate(Arc::clone(&b), exchange),
        ),
        Route::new(
            "af_refusals",
            Method::POST,
            "/ambit-af/v1/refusals",
            own("ambit-af:refusals:invoke"),
            json,
            move |exchange| refusals(Arc::clone(&c), exchange),
        ),
    ]
}

async fn authorization(adm: SharedAdm, exchange: Exchange) -> Result<Reply, Problem> {
    let name = exchange.query.get("af-id").map(str::to_owned);
    let found = ask(&adm, move |adm| adm.afs(name.as_deref())).await?;
    let found = found.map_err(|error| problem(error, |_| ""))?;
    if found.is_empty() {
        return Err(Problem::not_found("AF_NOT_FOUND", "af-id: no such AF"));
    }
    let mut data = json!({});
    for af in &found {
        set(&mut data, &af.name, af_json(af));
    }
    Ok(Reply::ok(json!({ "afAuthData": data })))
}

async fn authenticate(adm: SharedAdm, exchange: Exchange) -> Result<Reply, Problem> {
    let fields = Fields::of(exchange.json()?)?;
    let text = |name: &str| {
        let field = fields.required(name)?;
        field.short_text(256).map(str::to_owned)
    };
    let (client_id, secret) = (text("clientId")?, text("secret")?);
    let found = ask(&adm, move |adm| adm.af_authenticate(&client_id, &secret)).await?;
    match found.map_err(|error| problem(error, |_| ""))? {
        Some(af) => Ok(Reply::ok(af_json(&af))),
        None => Err(Problem::forbidden(
            NOT_AUTHENTICATED,
            "no AF has this client identifier and secret",
        )),
    }
}

async fn refusals(adm: SharedAdm, exchange: Exchange) -> Result<Reply, Problem> {
    let list = Fields::of(exchange.json()?)?.required("refusals")?;
    let refusal = |field: &crate::json::Field<'_>| {
        let fields = field.object()?;
        Ok(AfRefusal {
            // Nobody's name where there was no token.
            af: match fields.optional("af") {
                Some(name) => name.short_text(AF_NAME_OCTETS_MAX)?.to_owned(),
                None => String::new(),
            },
            cause: fields.required("cause")?.short_text(64)?.to_owned(),
            detail: fields.required("detail")?.short_text(512)?.to_owned(),
            count: fields.required("count")?.integer(1, 1 << 53)?,
        })
    };
    let list = list.array(REFUSALS_MAX)?;
    let list = list
        .iter()
        .map(refusal)
        .collect::<Result<Vec<_>, Problem>>()?;
    let now_ms = unix_ms();
    let noted = ask(&adm, move |adm| adm.note_af_refusals(now_ms, &list)).await?;
    noted.map_err(|error| problem(error, |_| ""))?;
    Ok(Reply::no_content())
}

/// The body of a report of refusals.
pub(super) fn refusals_json(refusals: &[AfRefusal]) -> Value {
    let list = refusals.iter().map(|refusal| {
        let mut body = json!({
            "cause": refusal.cause,
            "detail": refusal.detail,
            "count": refusal.count,
        });
        if !refusal.af.is_empty() {
            set(&mut body, "af", refusal.af.clone());
        }
        body
    });
    json!({ "refusals": list.collect::<Vec<_>>() })
}

/// An IndividualAfAuthorizationData.
fn af_json(af: &AfAccount) -> Value {
    let granted = &af.authorization;
    let mut body = json!({
        "afId": af.name,
        "ambit": {
            "clientId": af.client_id,
            "authorization": granted.to_json(),
            "createdMs": af.created_ms,
            "secretMs": af.secret_ms,
        },
    });
    if let Some(areas) = granted.areas.as_ref().filter(|areas| !areas.is_empty()) {
        let areas: Vec<_> = areas.iter().map(area_json).collect();
        set(&mut body, "allowedArea", json!({ "areaIds": areas }));
    }
    let is_nowhere = granted.areas.as_ref().is_some_and(Vec::is_empty);
    if is_nowhere || granted.operations.is_empty() {
        // Left out, it would mean all.
        set(&mut body, "allowedServiceOperations", json!(["NONE"]));
    } else if granted.operations.len() < AfOperation::ALL.len() {
        let names = granted.operations.iter().map(|operation| operation.name());
        set(
            &mut body,
            "allowedServiceOperations",
            names.collect::<Vec<_>>(),
        );
    }
    if let AfDevices::Only {
        ids,
        filters,
        fleets,
    } = &granted.devices
    {
        let ids = ids
            .iter()
            .map(|id| json!({ "aiotDevPermId": to_base64(id) }));
        let filters = filters
            .iter()
            .map(|filter| json!({ "filteringInfo": to_base64(filter) }));
        let fleets = fleets
            .iter()
            .map(|fleet| json!({ "ambit": { "fleet": fleet } }));
        let mut devices: Vec<Value> = ids.chain(filters).chain(fleets).collect();
        if devices.is_empty() {
            devices.push(json!({}));
        }
        set(&mut body, "allowedTargetAiotDevices", devices);
    }
    body
}

/// An AF out of the member `ambit` of an IndividualAfAuthorizationData.
pub(super) fn af_of(said: &Value) -> Option<AfAccount> {
    let fields = Fields::of(said).ok()?;
    let own = fields.required("ambit").ok()?.object().ok()?;
    let time = |name: &str| own.required(name).ok()?.value().as_i64();
    Some(AfAccount {
        name: fields.required("afId").ok()?.text().ok()?.to_owned(),
        client_id: own.required("clientId").ok()?.text().ok()?.to_owned(),
        authorization: AfAuthorization::from_json(own.required("authorization").ok()?.value())
            .ok()?,
        created_ms: time("createdMs")?,
        secret_ms: time("secretMs")?,
    })
}
