//! The token endpoint for AFs: OAuth 2.0 client credentials (RFC 6749 clause 4.4), the client authenticated by
//! `client_secret_basic`.

use std::sync::Arc;

use ambit_sbi::clock::unix_s;
use ambit_sbi::exchange::{Body, Exchange, Reply};
use ambit_sbi::json::from_base64;
use ambit_sbi::problem::Problem;
use ambit_sbi::router::credentials;
use ambit_sbi::token::{Audience, Claims};
use hyper::header::{CACHE_CONTROL, PRAGMA, WWW_AUTHENTICATE};
use serde_json::json;
use zeroize::Zeroizing;

use super::Exposure;

/// The scopes there are.
const SCOPES: [&str; 4] = [
    "3gpp-aiot",
    "3gpp-aiot:inventory",
    "3gpp-aiot:command",
    "ambit-doa",
];

/// What an AF gets without a wish: everything.
const SCOPE: &str = "3gpp-aiot ambit-doa";

/// Client identifier and secret have at most so many octets.
const CREDENTIALS_OCTETS_MAX: usize = 512;

pub(super) async fn issue(nef: Arc<Exposure>, exchange: Exchange) -> Result<Reply, Problem> {
    let answer = issue_to(&nef, &exchange).await;
    let answer = nef.audited("", answer);
    answer.map(|reply| {
        reply
            .with(CACHE_CONTROL, "no-store")
            .with(PRAGMA, "no-cache")
    })
}

async fn issue_to(nef: &Exposure, exchange: &Exchange) -> Result<Reply, Problem> {
    let Body::Form(form) = &exchange.body else {
        return Err(Problem::message_format("the body must be a form"));
    };
    let address = exchange.caller.address;
    nef.guesses.may_try(address)?;
    let Some((client_id, secret)) = basic(exchange) else {
        return Ok(unknown(
            nef,
            "Authorization: must be Basic, with client identifier and secret",
        ));
    };
    let Some(account) = nef.accounts.authenticate(client_id, secret).await? else {
        nef.guesses.wrong(address);
        return Ok(unknown(nef, "no AF has this client identifier and secret"));
    };
    let grant = form.all("grant_type");
    match grant.as_slice() {
        ["client_credentials"] => {}
        [_] => {
            return Ok(refuse(
                "unsupported_grant_type",
                "grant_type: must be client_credentials",
            ));
        }
        _ => return Ok(refuse("invalid_request", "grant_type: must stand once")),
    }
    let scope = match form.all("scope").as_slice() {
        [] | [""] => SCOPE,
        [scope] => scope,
        _ => return Ok(refuse("invalid_request", "scope: must stand once at most")),
    };
    if !scope.split(' ').all(|word| SCOPES.contains(&word)) || scope.len() > 256 {
        let rule = format!("scope: must be words of {}", SCOPES.join(" "));
        return Ok(refuse("invalid_scope", &rule));
    }
    let now_s = unix_s();
    let lifetime_s = i64::from(nef.token_lifetime_s);
    let claims = Claims {
        iss: nef.issuer.id().to_owned(),
        sub: account.name,
        aud: Audience::Type("NEF".into()),
        scope: scope.to_owned(),
        exp: now_s.saturating_add(lifetime_s),
        iat: Some(now_s),
        secret_ms: Some(account.secret_ms),
    };
    Ok(Reply::ok(json!({
        "access_token": nef.issuer.issue(&claims),
        "token_type": "Bearer",
        "expires_in": lifetime_s,
        "scope": scope,
    })))
}

/// Client identifier and secret of `client_secret_basic`: each form-encoded, then both in base64 (RFC 6749 clause 2.3.1).
fn basic(exchange: &Exchange) -> Option<(String, Zeroizing<String>)> {
    let text = credentials(&exchange.headers, "basic")?;
    if text.len() > CREDENTIALS_OCTETS_MAX {
        return None;
    }
    let octets = Zeroizing::new(from_base64(text)?);
    let text = str::from_utf8(&octets).ok()?;
    let (client_id, secret) = text.split_once(':')?;
    let decoded = |text: &str| {
        let text = text.replace('+', " ");
        let decoded = percent_encoding::percent_decode_str(&text).decode_utf8();
        decoded.ok().map(|text| text.into_owned())
    };
    let secret = Zeroizing::new(decoded(secret)?);
    let client_id = decoded(client_id)?;
    (!client_id.is_empty() && !secret.is_empty()).then_some((client_id, secret))
}

/// 401 invalid_client; it goes on record.
fn unknown(nef: &Exposure, rule: &str) -> Reply {
    nef.audit.note("", "invalid_client", rule);
    let reply = Reply {
        status: 401,
        ..refuse("invalid_client", rule)
    };
    reply.with(WWW_AUTHENTICATE, "Basic realm=\"3gpp-aiot\"")
}

/// An error of RFC 6749 clause 5.2.
fn refuse(error: &str, rule: &str) -> Reply {
    Reply {
        status: 400,
        ..Reply::ok(json!({ "error": error, "error_description": rule }))
    }
}
