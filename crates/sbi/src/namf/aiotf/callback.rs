//! What an AMF tells of a gNB: AIoTInformationNotif of Namf_AIoT, at the URI that a request named.

use std::sync::Arc;

use ambit_aiotf::server::NotTaken;
use ambit_ngap::FromGnb;
use hyper::Method;

use super::{Shared, message};
use crate::exchange::{Exchange, Reply};
use crate::namf::{OCTETS_MAX, SERVICE};
use crate::problem::Problem;
use crate::router::{Access, Route, Takes};

/// Where AMFs are told to notify; after it come what [`Shared::life_of`] makes, the gNB, and the correlation identifier.
pub(super) const PATH: &str = "/namf-aiot-notify/v1";

pub(super) fn routes(shared: &Arc<Shared>) -> Vec<Route> {
    let access = match shared.config.callback_token {
        true => Access::Token {
            service: SERVICE,
            operation: "",
        },
        false => Access::Peer,
    };
    let shared = Arc::clone(shared);
    let route = Route::new(
        "amf_notify",
        Method::POST,
        "/namf-aiot-notify/v1/{}/{}/{}",
        access,
        Takes::JsonOrParts,
        move |exchange: Exchange| std::future::ready(notified(&shared, &exchange)),
    );
    vec![route.octets_max(OCTETS_MAX)]
}

fn notified(shared: &Shared, exchange: &Exchange) -> Result<Reply, Problem> {
    if let Some(certificate) = &exchange.caller.certificate
        && !certificate.is("AMF")
        && !certificate.is("SCP")
    {
        let detail = "the certificate is not for the NF type AMF (RFC 9310)";
        return Err(Problem::forbidden("REQUESTER_NOT_AUTHORIZED", detail));
    }
    let (ngap, message) = message::read_notification(exchange)?;
    let never_opened = || {
        let detail = "no inventory was opened at this gNB under this correlation identifier";
        Problem::not_found("CONTEXT_NOT_FOUND", detail)
    };
    let gnb = exchange.path(1).parse::<u32>().ok();
    let correlation = exchange.path(2).parse::<u16>().ok();
    let link = shared.links.iter().find(|link| Some(link.gnb_id.id) == gnb);
    let (Some(link), Some(correlation)) = (link, correlation) else {
        return Err(never_opened());
    };
    let connection = {
        let state = link.lock();
        let is_open = state.correlations.contains_key(&correlation);
        let is_of_now = |connection: &_| shared.life_of(*connection) == exchange.path(0);
        state.connection.filter(is_of_now).filter(|_| is_open)
    };
    let connection = connection.ok_or_else(never_opened)?;
    let session = (shared.config.aiotf_id.into_bytes(), correlation);
    if message.session() != Some(session) {
        let rule = "must be of the AIOTF and the correlation identifier of the notification URI";
        return Err(Problem::incorrect("/aiotMessage/aiotNgapData", rule));
    }
    let is_over = matches!(message, FromGnb::SessionReleaseComplete { .. });
    shared
        .access
        .pdu(connection, ngap.to_vec())
        .map_err(|error| match error {
            NotTaken::Busy => Problem::overload(1),
            NotTaken::Stopped => Problem::unavailable(error.to_string(), 1),
        })?;
    if is_over {
        link.lock().released(correlation);
    }
    Ok(Reply::no_content())
}
