//! Nnrf_NFManagement: register, update, heartbeat, deregister, look up.

use std::sync::Arc;

use hyper::Method;
use hyper::header::ETAG;
use json_patch::Patch;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{INSTANCES_MAX, Instance, Nrf, check_identity};
use crate::clock::unix_ms;
use crate::exchange::{Exchange, Reply};
use crate::json::{Fields, set};
use crate::problem::Problem;
use crate::router::{Access, Route, Takes};

const PATH: &str = "/nnrf-nfm/v1/nf-instances/{}";

/// A profile has at most so many octets.
const PROFILE_OCTETS_MAX: usize = 64 << 10;

/// Operations in one PATCH at most.
const PATCH_MAX: usize = 64;

pub(super) fn routes(nrf: &Arc<Nrf>) -> Vec<Route> {
    let write = access("nnrf-nfm:nf-instance:write");
    let read = access("nnrf-nfm:nf-instances:read");
    let at = |f: fn(&Nrf, Exchange) -> Result<Reply, Problem>| {
        let nrf = Arc::clone(nrf);
        move |exchange| std::future::ready(f(&nrf, exchange))
    };
    let json = Takes::Json(&["application/json"]);
    let patch = Takes::Json(&["application/json-patch+json"]);
    vec![
        Route::new("nf_register", Method::PUT, PATH, write, json, at(register)),
        Route::new("nf_update", Method::PATCH, PATH, write, patch, at(update)),
        Route::new(
            "nf_deregister",
            Method::DELETE,
            PATH,
            write,
            Takes::Nothing,
            at(deregister),
        ),
        Route::new(
            "nf_profile",
            Method::GET,
            PATH,
            read,
            Takes::Nothing,
            at(profile),
        ),
        Route::new("nf_list", Method::GET, LIST, read, Takes::Nothing, at(list)),
    ]
}

const LIST: &str = "/nnrf-nfm/v1/nf-instances";

const fn access(operation: &'static str) -> Access {
    Access::Token {
        service: "nnrf-nfm",
        operation,
    }
}

fn register(nrf: &Nrf, exchange: Exchange) -> Result<Reply, Problem> {
    let id = instance_id(&exchange)?;
    let mut profile = exchange.json()?.clone();
    check(&profile, id, &exchange)?;
    set(&mut profile, "heartBeatTimer", nrf.config.heartbeat_s);
    let now_ms = unix_ms();
    let mut instances = nrf.lock();
    instances.retain(|other, instance| {
        *other == id || nrf.is_live(instance, now_ms) || is_kept(instance, now_ms)
    });
    if instances.len() >= INSTANCES_MAX && !instances.contains_key(&id) {
        return Err(Problem::system_failure(
            "no more functions can be registered",
        ));
    }
    let before = instances.insert(
        id,
        Instance {
            profile: profile.clone(),
            seen_ms: now_ms,
        },
    );
    let tag = etag(&profile);
    let reply = match before {
        Some(_) => Reply::ok(profile),
        None => Reply::created(&format!("{LIST}/{id}"), profile),
    };
    Ok(reply.with(ETAG, &tag))
}

/// A function that fell silent is kept for an hour, so that it can still be looked up.
fn is_kept(instance: &Instance, now_ms: i64) -> bool {
    now_ms.saturating_sub(instance.seen_ms) < 3_600_000
}

fn update(nrf: &Nrf, exchange: Exchange) -> Result<Reply, Problem> {
    let id = instance_id(&exchange)?;
    let items = exchange.json()?;
    let count = items.as_array().map_or(0, Vec::len);
    if count == 0 || count > PATCH_MAX {
        return Err(Problem::message_format(format!(
            "the body must be 1 to {PATCH_MAX} PatchItems"
        )));
    }
    let patch: Patch = serde_json::from_value(items.clone())
        .map_err(|error| Problem::message_format(format!("the body is no JSON patch: {error}")))?;
    check_identity(&exchange.caller, id, None)?;
    let mut instances = nrf.lock();
    let instance = instances.get_mut(&id).ok_or_else(unknown)?;
    let mut profile = instance.profile.clone();
    json_patch::patch(&mut profile, &patch).map_err(|error| {
        Problem::incorrect(
            error.path.to_string(),
            format!("cannot be patched: {}", error.kind),
        )
    })?;
    if profile.to_string().len() > PROFILE_OCTETS_MAX {
        return Err(Problem::too_large(PROFILE_OCTETS_MAX));
    }
    check(&profile, id, &exchange)?;
    instance.seen_ms = unix_ms();
    if profile == instance.profile {
        return Ok(Reply::no_content());
    }
    instance.profile = profile.clone();
    let tag = etag(&profile);
    Ok(Reply::ok(profile).with(ETAG, &tag))
}

fn deregister(nrf: &Nrf, exchange: Exchange) -> Result<Reply, Problem> {
    let id = instance_id(&exchange)?;
    check_identity(&exchange.caller, id, None)?;
    nrf.lock()
        .remove(&id)
        .map(|_| Reply::no_content())
        .ok_or_else(unknown)
}

fn profile(nrf: &Nrf, exchange: Exchange) -> Result<Reply, Problem> {
    let id = instance_id(&exchange)?;
    let instances = nrf.lock();
    let instance = instances.get(&id).ok_or_else(unknown)?;
    let tag = etag(&instance.profile);
    Ok(Reply::ok(instance.profile.clone()).with(ETAG, &tag))
}

fn list(nrf: &Nrf, exchange: Exchange) -> Result<Reply, Problem> {
    let wanted = exchange.query.get("nf-type");
    let limit = match exchange.query.get("limit").map(str::parse::<usize>) {
        None => usize::MAX,
        Some(Ok(limit)) if limit > 0 => limit,
        Some(_) => return Err(Problem::query_incorrect("limit", "must be a number from 1")),
    };
    let instances = nrf.lock();
    let of_type = instances.iter().filter(|(_, instance)| {
        let nf_type = instance.profile.get("nfType").and_then(Value::as_str);
        wanted.is_none_or(|wanted| nf_type == Some(wanted))
    });
    let found: Vec<_> = of_type
        .map(|(id, _)| json!({ "href": format!("{LIST}/{id}") }))
        .collect();
    let total = found.len();
    let item: Vec<_> = found.into_iter().take(limit).collect();
    let links = json!({ "self": { "href": LIST }, "item": item });
    let reply = Reply::ok(json!({ "_links": links, "totalItemCount": total }));
    Ok(Reply {
        media_type: "application/3gppHal+json",
        ..reply
    })
}

fn unknown() -> Problem {
    Problem::not_found("CONTEXT_NOT_FOUND", "no such NF instance is registered")
}

fn instance_id(exchange: &Exchange) -> Result<Uuid, Problem> {
    let rule = "must be a UUID";
    Uuid::try_parse(exchange.path(0)).map_err(|_| Problem::incorrect("nfInstanceID", rule))
}

/// The rules of an NFProfile that discovery and heartbeat rely on. What else it says is kept as it is.
fn check(profile: &Value, id: Uuid, exchange: &Exchange) -> Result<(), Problem> {
    let fields = Fields::of(profile)?;
    let stated = fields.required("nfInstanceId")?;
    if Uuid::try_parse(stated.text()?).ok() != Some(id) {
        return Err(stated.breaks("must be that of the URI"));
    }
    let nf_type = fields.required("nfType")?.short_text(64)?;
    fields.required("nfStatus")?.short_text(64)?;
    check_identity(&exchange.caller, id, Some(nf_type))?;
    if !["fqdn", "ipv4Addresses", "ipv6Addresses"]
        .iter()
        .any(|name| fields.has(name))
    {
        return Err(Problem::missing("/ipv4Addresses"));
    }
    if let Some(services) = fields.optional("nfServiceList") {
        let services = services.object()?;
        let listed = profile.get("nfServiceList").and_then(Value::as_object);
        for key in listed.into_iter().flat_map(|map| map.keys()) {
            let service = services.required(key)?.object()?;
            service.required("serviceInstanceId")?.short_text(256)?;
            service.required("serviceName")?.short_text(64)?;
            service.required("versions")?.array(16)?;
            service.required("scheme")?.short_text(8)?;
            service.required("nfServiceStatus")?.short_text(64)?;
        }
    }
    super::discovery::check_info(&fields)
}

fn etag(profile: &Value) -> String {
    // FNV-1a: tells versions apart, protects nothing.
    let text = profile.to_string();
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("\"{hash:016x}\"")
}
