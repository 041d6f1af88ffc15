//! Namf_AIoT (TS 29.518): NGAP between an AIOTF and the gNBs that are connected to an AMF (indirect connectivity).
//!
//! The AIOTF asks an AMF to hand NGAP to a gNB (`/transfer`, [`aiotf`] and [`amf`]); the AMF brings what gNBs answer and report
//! to the notification URI that came with the request. To the AIOTF itself ([`ambit_aiotf::Aiotf`]) such a gNB is as any.

pub mod aiotf;
pub mod amf;
mod lane;
pub mod message;

use std::time::{Duration, Instant};

use hyper::Method;

use crate::client::{Answer, ClientError, Outgoing};
use crate::nrf::client::NrfClient;

/// Name and full version of the API, for registration.
pub const SERVICES: &[(&str, &str)] = &[("namf-aiot", "1.0.0")];

/// The service, which is also the scope of its tokens.
pub const SERVICE: &str = "namf-aiot";

/// A body has at most so many octets: an NGAP PDU as long as N2 over TCP takes, and what is around it.
const OCTETS_MAX: usize = ambit_ngap::framing::PDU_OCTETS_MAX + (16 << 10);

/// How long a message may take to be handed over.
const WAIT: Duration = Duration::from_secs(2);

/// The first pause before a peer that has too much to do is asked again; it doubles.
const PAUSE: Duration = Duration::from_millis(50);

/// Hands a message over: with a token, again where that may help, and not for longer than [`WAIT`].
///
/// # Errors
/// [`ClientError`].
async fn post(
    nrf: &NrfClient,
    target_type: &str,
    uri: &str,
    media_type: &str,
    body: &[u8],
) -> Result<Answer, ClientError> {
    let until = Instant::now() + WAIT;
    let (mut pause, mut has_new_token, mut has_new_connection) = (PAUSE, false, false);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        // An AMF that asks for no token is asked without one when the NRF gives none.
        let token = nrf.token(SERVICE, target_type).await.ok();
        let outgoing = Outgoing::new(Method::POST, uri)
            .typed(media_type, body.to_vec())
            .token(token)
            .wait(left);
        let answer = match nrf.client().send(outgoing).await {
            // A connection that has just been closed looks so: once more, on a new one.
            Err(ClientError::Unreachable { .. }) if !has_new_connection => {
                has_new_connection = true;
                continue;
            }
            answer => answer?,
        };
        let left = until.saturating_duration_since(Instant::now());
        match answer.status {
            401 if !has_new_token => {
                nrf.forget_token(SERVICE, target_type);
                has_new_token = true;
            }
            429 | 503 if pause < left => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            _ => return answer.success(),
        }
    }
}
