//! Nnrf_AccessToken: tokens for those whose certificate has the NF type that may use the service.

use std::sync::Arc;

use hyper::Method;
use hyper::header::{CACHE_CONTROL, PRAGMA};
use serde_json::json;
use uuid::Uuid;

use super::{Nrf, check_identity};
use crate::clock::unix_s;
use crate::exchange::{Body, Exchange, Reply};
use crate::problem::Problem;
use crate::router::{Access, Route, Takes};
use crate::token::{Audience, Claims};

/// Which NF type offers a service, and which may use it; none named means any. An AMF tells an AIOTF what gNBs say by a callback of
/// Namf_AIoT, for which TS 29.518 has the scope of the service: there the AIOTF is the one that is asked.
const SERVICES: [(&str, &str, &[&str]); 10] = [
    ("nnrf-nfm", "NRF", &[]),
    ("nnrf-disc", "NRF", &[]),
    ("nadm-sec", "ADM", &["AIOTF"]),
    ("nadm-dm", "ADM", &["AIOTF", "NEF"]),
    ("ambit-af", "ADM", &["NEF"]),
    ("naiotf-aiot", "AIOTF", &["NEF", "AF"]),
    ("namf-aiot", "AMF", &["AIOTF"]),
    ("namf-aiot", "AIOTF", &["AMF"]),
    ("3gpp-aiot", "NEF", &["AF"]),
    ("nchf-convergedcharging", "CHF", &["NEF", "AIOTF", "ADM"]),
];

/// Scopes in one request at most.
const SCOPES_MAX: usize = 16;

pub(super) fn routes(nrf: &Arc<Nrf>) -> Vec<Route> {
    let nrf = Arc::clone(nrf);
    let token = move |exchange: Exchange| {
        let answer = token(&nrf, &exchange).map(|reply| {
            reply
                .with(CACHE_CONTROL, "no-store")
                .with(PRAGMA, "no-cache")
        });
        std::future::ready(answer)
    };
    // Whoever has a certificate may ask: a token is how it gets to everything else.
    vec![Route::new(
        "access_token",
        Method::POST,
        "/oauth2/token",
        Access::Peer,
        Takes::Form,
        token,
    )]
}

fn token(nrf: &Nrf, exchange: &Exchange) -> Result<Reply, Problem> {
    let Body::Form(form) = &exchange.body else {
        return Err(Problem::message_format("the body must be a form"));
    };
    let field = |name: &'static str| form.get(name).filter(|value| !value.is_empty());
    let (Some(grant), Some(id), Some(scope)) =
        (field("grant_type"), field("nfInstanceId"), field("scope"))
    else {
        return Ok(refuse(
            "invalid_request",
            "grant_type, nfInstanceId and scope must be there",
        ));
    };
    if grant != "client_credentials" {
        return Ok(refuse(
            "unsupported_grant_type",
            "grant_type: must be client_credentials",
        ));
    }
    let Ok(id) = Uuid::try_parse(id) else {
        return Ok(refuse("invalid_request", "nfInstanceId: must be a UUID"));
    };
    let nf_type = field("nfType");
    if check_identity(&exchange.caller, id, nf_type).is_err() {
        return Ok(refuse(
            "invalid_client",
            "nfInstanceId, nfType: must be those of the certificate",
        ));
    }
    let types: Vec<&str> = match (&exchange.caller.certificate, nf_type) {
        (_, Some(nf_type)) => vec![nf_type],
        (Some(identity), None) => identity.nf_types.iter().map(String::as_str).collect(),
        (None, None) => Vec::new(),
    };
    let target_type = field("targetNfType");
    let scopes: Vec<&str> = scope.split(' ').collect();
    if scopes.len() > SCOPES_MAX {
        return Ok(refuse("invalid_scope", "scope: has too many words"));
    }
    let mut producer = None;
    for scope in &scopes {
        let name = scope.split(':').next().unwrap_or_default();
        let allows = |used_by: &[&str]| {
            used_by.is_empty() || types.iter().any(|found| used_by.contains(found))
        };
        // Where two types offer a service, the one meant is that which is named, or else that which may be asked.
        let mut offers = SERVICES.iter().filter(|(service, ..)| *service == name);
        let by_target = |by: &str| target_type.is_none_or(|wanted| wanted == by);
        let service = offers
            .clone()
            .find(|(_, by, used_by)| by_target(by) && allows(used_by))
            .or_else(|| offers.clone().find(|(_, by, _)| by_target(by)))
            .or_else(|| offers.next());
        let Some((_, offered_by, used_by)) = service else {
            return Ok(refuse("invalid_scope", "scope: no such service here"));
        };
        let is_allowed = allows(used_by);
        if !is_allowed {
            return Ok(refuse("unauthorized_client", "scope: not for this NF type"));
        }
        let is_other = |wanted: Option<&str>| wanted.is_some_and(|wanted| wanted != *offered_by);
        if is_other(target_type) || is_other(producer) {
            return Ok(refuse(
                "invalid_scope",
                "scope: not offered by one NF type, or another than targetNfType",
            ));
        }
        producer = Some(*offered_by);
    }
    let aud = match field("targetNfInstanceId").map(Uuid::try_parse) {
        Some(Ok(target)) => Audience::Instances(vec![target.to_string()]),
        Some(Err(_)) => {
            return Ok(refuse(
                "invalid_request",
                "targetNfInstanceId: must be a UUID",
            ));
        }
        None => Audience::Type(producer.unwrap_or_default().to_owned()),
    };
    let now_s = unix_s();
    let lifetime_s = i64::from(nrf.config.token_lifetime_s);
    let claims = Claims {
        iss: nrf.issuer.id().to_owned(),
        sub: id.to_string(),
        aud,
        scope: scope.to_owned(),
        exp: now_s.saturating_add(lifetime_s),
        iat: Some(now_s),
        secret_ms: None,
    };
    Ok(Reply::ok(json!({
        "access_token": nrf.issuer.issue(&claims),
        "token_type": "Bearer",
        "expires_in": lifetime_s,
        "scope": scope,
    })))
}

/// An AccessTokenErr (RFC 6749 clause 5.2).
fn refuse(error: &str, description: &str) -> Reply {
    Reply {
        status: 400,
        ..Reply::ok(json!({ "error": error, "error_description": description }))
    }
}
