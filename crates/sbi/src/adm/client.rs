//! An ADM that is reached over the SBI, as an AIOTF sees it.
//!
//! Calls come from the AIOTF's plain thread and wait there, within a deadline. Every one may be asked again without harm:
//! acceptance records, challenges and notes decide at the ADM. An ADM that does not answer means silence to devices, which
//! try again; for a moment after a failure it is not asked at all, so that readers are not held up by waiting.

use std::time::{Duration, Instant};

use ambit_adm_api::{
    AdmClient, AdmError, AfAccount, AfRefusal, AuthData, AuthDataSet, AuthenticationRequest,
    AuthenticationResponse, Beacons, ChallengeId, CommandOutcome, DeviceProfile, DoaReport, Nadm,
    NadmError, Outcome, RandD, RegistrationStep, SessionKey, Verdict,
};
use ambit_protocol::{DeviceForm, DeviceType, KAiotf, RandN, Suite, TagLen};
use hyper::Method;
use percent_encoding::NON_ALPHANUMERIC;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::af::{NOT_AUTHENTICATED, REFUSALS_MAX, af_of, refusals_json};
use super::doa::{beacons_of, report_json, step_of, verdict_of};
use super::kept::conclusion_json;
use super::sec::authentication_json;
use crate::client::ClientError;
use crate::json::{Fields, set, to_base64};
use crate::nrf::client::NrfClient;
use crate::nrf::service::Service;

/// How long an answer is waited for.
const WAIT: Duration = Duration::from_secs(3);

/// How long the ADM is left alone after it did not answer.
const PAUSE: Duration = Duration::from_millis(200);

/// An ADM behind the NRF.
#[derive(Debug)]
pub struct RemoteAdm {
    runtime: Handle,
    sec: Service,
    dm: Service,
    af: Service,
    pause_until: Option<Instant>,
    tells_items: bool,
}

/// A service of the ADM.
#[derive(Clone, Copy)]
enum Which {
    Sec,
    Dm,
    Af,
}

impl RemoteAdm {
    /// An ADM that the NRF knows.
    pub fn new(runtime: Handle, nrf: &NrfClient) -> Self {
        let service = |name| Service::new(nrf.clone(), "ADM", name, "v1", String::new());
        Self {
            runtime,
            sec: service("nadm-sec"),
            dm: service("nadm-dm"),
            af: service("ambit-af"),
            pause_until: None,
            tells_items: false,
        }
    }

    fn post(&mut self, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        self.ask(
            Which::Sec,
            Method::POST,
            path,
            body.map(|body| ("application/json", body)),
        )
    }

    fn ask(
        &mut self,
        which: Which,
        method: Method,
        path: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<Value, ClientError> {
        if self.pause_until.is_some_and(|until| Instant::now() < until) {
            let reason = "did not answer a moment ago".into();
            return Err(ClientError::Unreachable {
                origin: "ADM".into(),
                reason,
            });
        }
        let service = match which {
            Which::Sec => &self.sec,
            Which::Dm => &self.dm,
            Which::Af => &self.af,
        };
        let answer = self.runtime.block_on(service.ask(method, path, body, WAIT));
        let is_down = matches!(
            answer,
            Err(ClientError::Unreachable { .. }
                | ClientError::TimedOut { .. }
                | ClientError::Refused { status: 500.., .. })
        );
        self.pause_until = is_down.then(|| Instant::now() + PAUSE);
        let answer = answer?;
        if answer.body.is_empty() {
            return Ok(Value::Null);
        }
        answer.json()
    }
}

impl AdmClient for RemoteAdm {
    fn beacons(&mut self, now_ms: i64) -> Result<Beacons, AdmError> {
        let unavailable = |reason: String| AdmError::Unavailable(reason);
        let said = self
            .post("/doa-beacon", None)
            .map_err(|error| unavailable(error.to_string()))?;
        beacons_of(&said, now_ms).ok_or_else(|| unavailable("doa-beacon: makes no sense".into()))
    }

    fn authenticate(&mut self, _: i64, reports: &[DoaReport<'_>], verdicts: &mut Vec<Verdict>) {
        verdicts.clear();
        for batch in reports.chunks(super::doa::REPORTS_MAX) {
            let list: Vec<_> = batch.iter().map(report_json).collect();
            let mut body = json!({ "reports": list });
            if self.tells_items {
                set(&mut body, "tellItems", true);
            }
            let said = self.post("/doa-authenticate", Some(&body));
            let said = said.unwrap_or_default();
            let found = said.get("verdicts").and_then(Value::as_array);
            // An answer of another length would give one device's ACCEPT to another.
            let found = found.filter(|found| found.len() == batch.len());
            verdicts.extend((0..batch.len()).map(|n| {
                let verdict = found.and_then(|found| verdict_of(found.get(n)?));
                verdict.unwrap_or(Verdict::Silence(Outcome::AdmUnavailable))
            }));
        }
    }

    fn tell_items(&mut self, on: bool) {
        self.tells_items = on;
    }

    fn register(&mut self, _: i64, request: &DoaReport<'_>) -> RegistrationStep {
        let body = json!({ "report": report_json(request) });
        let said = self.post("/doa-register", Some(&body)).ok();
        said.and_then(|said| step_of(&said))
            .unwrap_or(RegistrationStep::silence(Outcome::AdmUnavailable))
    }

    fn respond(
        &mut self,
        _: i64,
        challenge: &ChallengeId,
        response: &DoaReport<'_>,
    ) -> RegistrationStep {
        let id = hex::encode(challenge.0);
        let mut body = json!({ "challengeId": id, "report": report_json(response) });
        if self.tells_items {
            set(&mut body, "tellItems", true);
        }
        let said = self.post("/doa-respond", Some(&body)).ok();
        said.and_then(|said| step_of(&said))
            .unwrap_or(RegistrationStep::silence(Outcome::AdmUnavailable))
    }

    fn conclude_command(
        &mut self,
        _: i64,
        id: i64,
        outcome: &CommandOutcome,
    ) -> Result<(), NadmError> {
        let body = conclusion_json(id, outcome);
        match self.post("/doa-conclude-command", Some(&body)) {
            Ok(_) => Ok(()),
            // It would be said again for ever.
            Err(ClientError::Refused {
                status: 400 | 404 | 413 | 415,
                ..
            }) => Err(NadmError::Invalid {
                field: "id",
                rule: "must be a command that was given",
            }),
            Err(error) => Err(nadm_error(error)),
        }
    }

    fn tick(&mut self, _: i64) {
        // The ADM keeps its own house.
    }
}

impl Nadm for RemoteAdm {
    fn get_rand(&mut self, _: i64) -> Result<RandN, NadmError> {
        let said = self.post("/get-rand", None).map_err(nadm_error)?;
        parsed(&said, |fields| {
            Some(RandN::from_octets(
                fields.required("randN").ok()?.hex().ok()?,
            ))
        })
    }

    fn get_authentication(
        &mut self,
        _: i64,
        request: &AuthenticationRequest<'_>,
    ) -> Result<AuthenticationResponse, NadmError> {
        let body = authentication_json(request);
        let said = self
            .post("/get-authentication", Some(&body))
            .map_err(nadm_error)?;
        authentication_of(&said, request).ok_or_else(senseless)
    }

    fn get_session_key(
        &mut self,
        _: i64,
        device_id: &[u8],
        rand_n: &RandN,
        rand_d: &RandD,
    ) -> Result<SessionKey, NadmError> {
        let body = json!({
            "aiotDevPermId": to_base64(device_id),
            "randN": hex::encode(rand_n.octets()),
            "randD": hex::encode(rand_d),
        });
        let said = self
            .post("/get-session-key", Some(&body))
            .map_err(nadm_error)?;
        parsed(&said, |fields| {
            let key = fields.required("kAiotf").ok()?.hex().ok()?;
            let (suite, tag_len) = suite_of(fields)?;
            Some(SessionKey {
                k_aiotf: KAiotf::new(key),
                suite,
                tag_len,
            })
        })
    }

    fn get_tid(&mut self, _: i64, device_id: &[u8], rand_n: &RandN) -> Result<[u8; 16], NadmError> {
        let body = json!({
            "aiotDevPermId": to_base64(device_id),
            "ambit": { "randN": hex::encode(rand_n.octets()) },
        });
        let said = self.post("/get-tid", Some(&body)).map_err(nadm_error)?;
        parsed(&said, |fields| fields.required("tid").ok()?.hex().ok())
    }

    fn device_profile(&mut self, device_id: &[u8]) -> Result<DeviceProfile, NadmError> {
        let said = self.ask(Which::Dm, Method::GET, &profile_path(device_id), None);
        profile_of(&said.map_err(nadm_error)?, device_id).ok_or_else(senseless)
    }

    fn note_aiotf(&mut self, device_id: &[u8], aiotf_id: [u8; 16]) -> Result<(), NadmError> {
        let id = Uuid::from_bytes(aiotf_id).to_string();
        let info = json!({ "lastKnownAiotfInfoInd": true, "lastKnownAiotfId": id });
        let body = json!({ "lastKnownAiotfInfo": info });
        let body = Some(("application/merge-patch+json", &body));
        let said = self.ask(Which::Dm, Method::PATCH, &profile_path(device_id), body);
        match said.map_err(nadm_error)? {
            Value::Null => Ok(()),
            report => Err(NadmError::Failed(report.to_string())),
        }
    }

    fn afs(&mut self, name: Option<&str>) -> Result<Vec<AfAccount>, NadmError> {
        let path = match name {
            Some(name) => {
                let name = percent_encoding::utf8_percent_encode(name, NON_ALPHANUMERIC);
                format!("/af-authorization-data?af-id={name}")
            }
            None => "/af-authorization-data".to_owned(),
        };
        let said = match self.ask(Which::Dm, Method::GET, &path, None) {
            Err(ClientError::Refused { status: 404, .. }) => return Ok(Vec::new()),
            other => other.map_err(nadm_error)?,
        };
        let afs = said.get("afAuthData").and_then(Value::as_object);
        let afs = afs.map(|afs| afs.values().map(af_of).collect::<Option<_>>());
        afs.flatten().ok_or_else(senseless)
    }

    fn af_authenticate(
        &mut self,
        client_id: &str,
        secret: &str,
    ) -> Result<Option<AfAccount>, NadmError> {
        let body = json!({ "clientId": client_id, "secret": secret });
        let body = Some(("application/json", &body));
        match self.ask(Which::Af, Method::POST, "/authenticate", body) {
            Err(ClientError::Refused {
                status: 403, cause, ..
            }) if cause == NOT_AUTHENTICATED => Ok(None),
            Err(error) => Err(nadm_error(error)),
            Ok(said) => af_of(&said).map(Some).ok_or_else(senseless),
        }
    }

    fn note_af_refusals(&mut self, _: i64, refusals: &[AfRefusal]) -> Result<(), NadmError> {
        for some in refusals.chunks(REFUSALS_MAX) {
            let body = refusals_json(some);
            let body = Some(("application/json", &body));
            self.ask(Which::Af, Method::POST, "/refusals", body)
                .map_err(nadm_error)?;
        }
        Ok(())
    }

    fn note_disabled(&mut self, _: i64, device_id: &[u8]) -> Result<(), NadmError> {
        let body = json!({ "aiotDevPermId": to_base64(device_id) });
        self.post("/note-disabled", Some(&body))
            .map(drop)
            .map_err(nadm_error)
    }
}

fn profile_path(device_id: &[u8]) -> String {
    let id = to_base64(device_id);
    let id = percent_encoding::utf8_percent_encode(&id, NON_ALPHANUMERIC);
    format!("/aiot-device-profile-data/{id}")
}

fn nadm_error(error: ClientError) -> NadmError {
    match error {
        ClientError::Refused {
            status: 404, cause, ..
        } if cause == "DEVICE_NOT_FOUND" => NadmError::UnknownDevice,
        ClientError::Refused {
            status: 403,
            cause,
            detail,
        } if cause == "DEVICE_NOT_SERVED" => {
            let named = |outcome: &Outcome| detail.ends_with(outcome.name());
            let outcome = Outcome::ALL.into_iter().find(named);
            NadmError::Refused(outcome.unwrap_or(Outcome::PolicyRefused))
        }
        // Of the ADM, or of its search budget.
        ClientError::Refused { status: 429, .. } => NadmError::Busy {
            retry_after_ms: 1000,
        },
        error => NadmError::Failed(error.to_string()),
    }
}

fn senseless() -> NadmError {
    NadmError::Failed("the ADM's answer makes no sense".into())
}

fn parsed<T>(said: &Value, read: impl FnOnce(&Fields<'_>) -> Option<T>) -> Result<T, NadmError> {
    Fields::of(said)
        .ok()
        .and_then(|fields| read(&fields))
        .ok_or_else(senseless)
}

fn suite_of(fields: &Fields<'_>) -> Option<(Suite, TagLen)> {
    let Some(extension) = fields.optional("ambit") else {
        // An ADM of another make knows nothing of suites: the default ones.
        return Some((Suite::AesCmac, TagLen::default()));
    };
    let extension = extension.object().ok()?;
    let suite = extension.required("suite").ok()?.integer(1, 255).ok()?;
    let tag_len = extension.required("tagLen").ok()?.integer(1, 255).ok()?;
    let suite = Suite::from_number(u8::try_from(suite).ok()?)?;
    Some((suite, TagLen::from_octets(usize::try_from(tag_len).ok()?)?))
}

fn authentication_of(
    said: &Value,
    request: &AuthenticationRequest<'_>,
) -> Option<AuthenticationResponse> {
    let sets = said.get("authDataSets")?.as_array()?;
    let mut places = 0..request.answers.len();
    let sets = sets
        .iter()
        .map(|set| {
            let set = Fields::of(set).ok()?;
            let rand_d: RandD = set.required("randD").ok()?.hex().ok()?;
            // In the order of the answers, so that a RAND_d that was given twice is matched twice.
            let at =
                places.find(|at| request.answers.get(*at).is_some_and(|a| a.rand_d == rand_d))?;
            let data = set
                .required("authDataSet")
                .ok()?
                .array(ambit_adm_api::AUTH_DATA_MAX)
                .ok()?;
            let auth_data = data.iter().map(|data| {
                let data = data.object().ok()?;
                let device_id = data.required("aiotDevPermId").ok()?.bytes(1, 128).ok()?;
                let xres = data.required("xres").ok()?.hex().ok()?;
                Some(AuthData {
                    xres,
                    device_id: device_id.into(),
                })
            });
            Some(AuthDataSet {
                at,
                rand_d,
                auth_data: auth_data.collect::<Option<_>>()?,
            })
        })
        .collect::<Option<Vec<_>>>()?;
    let taken = said
        .get("ambit")
        .and_then(|extension| extension.get("taken"))
        .and_then(Value::as_u64);
    // An ADM that does not say how far it came has come to the end.
    let taken = taken.map_or(Some(request.answers.len()), |taken| {
        usize::try_from(taken).ok()
    })?;
    let is_within = (1..=request.answers.len()).contains(&taken);
    is_within.then_some(AuthenticationResponse { taken, sets })
}

fn profile_of(said: &Value, device_id: &[u8]) -> Option<DeviceProfile> {
    let fields = Fields::of(said).ok()?;
    let known = fields.required("lastKnownAiotfInfo").ok()?.object().ok()?;
    let aiotf = known
        .optional("lastKnownAiotfId")
        .and_then(|id| Uuid::try_parse(id.text().ok()?).ok());
    let (suite, tag_len) = suite_of(&fields)?;
    let extension = fields
        .optional("ambit")
        .and_then(|extension| extension.object().ok());
    let text = |name: &str| {
        let field = extension.as_ref()?.optional(name)?;
        field.text().ok().map(str::to_owned)
    };
    let device_type = text("deviceType").and_then(|name| name.parse::<DeviceType>().ok());
    let form = text("form").and_then(|name| name.parse::<DeviceForm>().ok());
    let disabled = extension
        .as_ref()
        .and_then(|extension| extension.optional("disabled"));
    Some(DeviceProfile {
        device_id: device_id.into(),
        last_known_aiotf: aiotf.map(Uuid::into_bytes),
        device_type: device_type.unwrap_or(DeviceType::Type1),
        form: form.unwrap_or(DeviceForm::Dt),
        suite,
        tag_len,
        disabled: disabled.is_some_and(|flag| flag.flag().unwrap_or(true)),
        fleet: text("fleet").unwrap_or_default(),
    })
}
