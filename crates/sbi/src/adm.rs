//! The services of an ADM: Nadm_Sec and Nadm_DM of TS 29.369, and beside them what devices that speak first need.
//!
//! | module | resources |
//! | --- | --- |
//! | [`sec`] | `/nadm-sec/v1/get-rand`, `get-authentication`, `get-session-key`, `get-tid`; ours: `note-disabled` |
//! | [`doa`] | ours: `/nadm-sec/v1/doa-beacon`, `doa-authenticate`, `doa-register`, `doa-respond`, `doa-conclude-command` |
//! | [`dm`] | `/nadm-dm/v1/aiot-device-profile-data` |
//! | [`af`] | `/nadm-dm/v1/af-authorization-data`; ours: `/ambit-af/v1/authenticate`, `refusals` |
//!
//! Where Release 19's bodies lack something, it stands in a member `ambit` that other implementations ignore.

pub mod af;
pub mod client;
pub mod dm;
pub mod doa;
pub mod engine;
mod kept;
pub mod sec;

use std::sync::Arc;

use ambit_adm_api::{AdmClient, NadmError};

use crate::problem::Problem;
use crate::router::{Access, Route};

/// What is to be done with an ADM.
pub type Job = Box<dyn FnOnce(&mut dyn AdmClient) + Send>;

/// A way to an ADM that runs elsewhere in this process.
pub trait AdmAccess: Send + Sync + 'static {
    /// Runs a job on the ADM, after those that came before, and returns when it is done.
    ///
    /// # Errors
    /// [`AdmGone`].
    fn run(&self, job: Job) -> Result<(), AdmGone>;
}

/// The ADM has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ADM has stopped")]
pub struct AdmGone;

/// The ADM, shared by the handlers of its operations.
pub type SharedAdm = Arc<dyn AdmAccess>;

/// All services of an ADM.
pub fn routes(adm: &SharedAdm) -> Vec<Route> {
    let mut routes = sec::routes(adm);
    routes.extend(doa::routes(adm));
    routes.extend(dm::routes(adm));
    routes.extend(af::routes(adm));
    routes
}

/// Names and full versions of the APIs, for registration.
pub const SERVICES: &[(&str, &str)] = &[
    ("nadm-sec", "1.0.1"),
    ("nadm-dm", "1.0.1"),
    ("ambit-af", "1.0.0"),
];

const fn sec_access(operation: &'static str) -> Access {
    Access::Token {
        service: "nadm-sec",
        operation,
    }
}

/// Asks the ADM, without holding up the thread that does HTTP.
///
/// # Errors
/// 503: it has ended.
pub async fn ask<R: Send + 'static>(
    adm: &SharedAdm,
    f: impl FnOnce(&mut dyn AdmClient) -> R + Send + 'static,
) -> Result<R, Problem> {
    let adm = Arc::clone(adm);
    let asked = tokio::task::spawn_blocking(move || {
        let (reply, answer) = std::sync::mpsc::sync_channel(1);
        let job: Job = Box::new(move |adm| {
            let _ = reply.send(f(adm));
        });
        adm.run(job).ok()?;
        answer.recv().ok()
    });
    let gone = || Problem::unavailable(AdmGone.to_string(), 1);
    asked.await.map_err(|_| gone())?.ok_or_else(gone)
}

/// What a failed service operation says. `field` gives the JSON pointer of a field by the name that the ADM has for it.
fn problem(error: NadmError, field: fn(&str) -> &'static str) -> Problem {
    match error {
        NadmError::UnknownDevice => {
            Problem::not_found("DEVICE_NOT_FOUND", "aiotDevPermId: no such device")
        }
        NadmError::Refused(outcome) => {
            let detail = format!("aiotDevPermId: not served: {}", outcome.name());
            Problem::forbidden("DEVICE_NOT_SERVED", detail)
        }
        NadmError::Invalid { field: name, rule } => Problem::incorrect(field(name), rule),
        NadmError::Busy { retry_after_ms } => {
            Problem::overload(retry_after_ms.div_ceil(1000).max(1))
        }
        NadmError::Failed(reason) => Problem::system_failure(reason),
    }
}
