//! Nadm_Sec (TS 29.369): get-rand, get-authentication, get-session-key, get-tid.

use std::sync::Arc;
use std::time::Duration;

use ambit_adm_api::{
    Answer, AuthDataSet, AuthenticationRequest, AuthenticationResponse, NadmError, Population,
    RAND_D_MAX,
};
use ambit_protocol::{AreaId, RandN};
use hyper::Method;
use serde_json::{Value, json};

use super::{SharedAdm, ask, problem, sec_access};
use crate::clock::unix_ms;
use crate::exchange::{Exchange, Reply};
use crate::json::{Fields, set, to_base64};
use crate::problem::Problem;
use crate::router::{Route, Takes};

/// The permanent ID of a device has so many octets.
pub(super) const DEVICE_ID_OCTETS: (usize, usize) = (1, 128);

pub(super) fn routes(adm: &SharedAdm) -> Vec<Route> {
    let json = Takes::Json(&["application/json"]);
    let of = |adm: &SharedAdm| Arc::clone(adm);
    let (a, b, c, d, e) = (of(adm), of(adm), of(adm), of(adm), of(adm));
    let post = Method::POST;
    vec![
        Route::new(
            "get_rand",
            post.clone(),
            "/nadm-sec/v1/get-rand",
            sec_access("nadm-sec:get-rand:invoke"),
            Takes::Nothing,
            move |_| get_rand(of(&a)),
        ),
        Route::new(
            "get_authentication",
            post.clone(),
            "/nadm-sec/v1/get-authentication",
            sec_access("nadm-sec:get-authentication:invoke"),
            json,
            move |exchange| get_authentication(of(&b), exchange),
        )
        .octets_max(256 << 10),
        Route::new(
            "get_session_key",
            post.clone(),
            "/nadm-sec/v1/get-session-key",
            sec_access("nadm-sec:get-session-key:invoke"),
            json,
            move |exchange| get_session_key(of(&c), exchange),
        ),
        Route::new(
            "get_tid",
            post.clone(),
            "/nadm-sec/v1/get-tid",
            sec_access("nadm-sec:get-tid:invoke"),
            json,
            move |exchange| get_tid(of(&d), exchange),
        ),
        Route::new(
            "note_disabled",
            post,
            "/nadm-sec/v1/note-disabled",
            sec_access("nadm-sec:note-disabled:invoke"),
            json,
            move |exchange| note_disabled(of(&e), exchange),
        ),
    ]
}

async fn get_rand(adm: SharedAdm) -> Result<Reply, Problem> {
    let rand_n = ask(&adm, |adm| adm.get_rand(unix_ms()))
        .await?
        .map_err(fault)?;
    Ok(Reply::ok(json!({ "randN": hex::encode(rand_n.octets()) })))
}

/// What a get-authentication asks, owned.
struct Asked {
    device: Option<Vec<u8>>,
    filter: Option<Vec<u8>>,
    rand_n: RandN,
    area_id: Option<AreaId>,
    answers: Vec<Answer>,
    is_partial: bool,
}

impl Asked {
    fn parse(body: &Value) -> Result<Self, Problem> {
        let fields = Fields::of(body)?;
        let (least, greatest) = DEVICE_ID_OCTETS;
        let device = fields
            .optional("aiotDevPermId")
            .map(|id| id.bytes(least, greatest));
        let filter = fields
            .optional("filteringInfo")
            .map(|filter| filter.bytes(1, 128));
        if device.is_some() && filter.is_some() {
            let rule = "cannot be there beside aiotDevPermId";
            return Err(Problem::optional_incorrect("/filteringInfo", rule));
        }
        let rand_n = RandN::from_octets(fields.required("randN")?.hex()?);
        let list = fields.required("randDlist")?.array(RAND_D_MAX)?;
        let mut answers = list
            .iter()
            .map(|rand_d| {
                Ok(Answer {
                    rand_d: rand_d.hex()?,
                    res: None,
                })
            })
            .collect::<Result<Vec<_>, Problem>>()?;
        let (mut area_id, mut is_partial) = (None, false);
        if let Some(extension) = fields.optional("ambit") {
            let extension = extension.object()?;
            if let Some(area) = extension.optional("areaId") {
                let area_octets = AreaId::from_octets(area.hex()?);
                area_id = Some(area_octets.map_err(|error| area.breaks(error.to_string()))?);
            }
            is_partial = extension
                .optional("partial")
                .map_or(Ok(false), |flag| flag.flag())?;
            if let Some(list) = extension.optional("resList") {
                let all = list.array(RAND_D_MAX)?;
                if all.len() != answers.len() {
                    return Err(list.breaks("must have as many elements as randDlist"));
                }
                for (answer, res) in answers.iter_mut().zip(&all) {
                    answer.res = Some(res.hex()?);
                }
            }
        }
        Ok(Self {
            device: device.transpose()?,
            filter: filter.transpose()?,
            rand_n,
            area_id,
            answers,
            is_partial,
        })
    }

    fn population(&self) -> Population<'_> {
        match (&self.device, &self.filter) {
            (Some(id), _) => Population::Device(id),
            (_, Some(filter)) => Population::Filter(filter),
            _ => Population::All,
        }
    }

    /// One step, from the answer at `from` on.
    fn step(
        &self,
        from: usize,
        adm: &mut dyn ambit_adm_api::AdmClient,
    ) -> Result<AuthenticationResponse, NadmError> {
        let request = AuthenticationRequest {
            population: self.population(),
            rand_n: self.rand_n,
            area_id: self.area_id,
            answers: self.answers.get(from..).unwrap_or_default(),
        };
        adm.get_authentication(unix_ms(), &request)
    }
}

/// A large population is searched in steps, between which the ADM serves others. The search budget is waited for as long as
/// the consumer waits.
async fn get_authentication(adm: SharedAdm, exchange: Exchange) -> Result<Reply, Problem> {
    let asked = Arc::new(Asked::parse(exchange.json()?)?);
    let mut taken = 0;
    let mut sets = Vec::new();
    while taken < asked.answers.len() {
        let step = Arc::clone(&asked);
        match ask(&adm, move |adm| step.step(taken, adm)).await? {
            Ok(found) => {
                sets.extend(found.sets.iter().map(set_json));
                taken += found.taken.max(1);
            }
            Err(NadmError::Busy { retry_after_ms }) if !asked.is_partial => {
                let wait = Duration::from_millis(u64::from(retry_after_ms.max(1)));
                if std::time::Instant::now() + wait >= exchange.deadline {
                    return Err(Problem::overload(retry_after_ms.div_ceil(1000).max(1)));
                }
                tokio::time::sleep(wait).await;
            }
            Err(error) => return Err(fault(error)),
        }
        if asked.is_partial {
            break;
        }
    }
    if asked.is_partial {
        let body = json!({ "authDataSets": sets, "ambit": { "taken": taken } });
        return Ok(Reply::ok(body));
    }
    if sets.is_empty() {
        // The schema has no empty list.
        let detail = "no device in question gives any of these answers";
        return Err(Problem::not_found("AUTHENTICATION_DATA_NOT_FOUND", detail));
    }
    Ok(Reply::ok(json!({ "authDataSets": sets })))
}

fn set_json(found: &AuthDataSet) -> Value {
    let data = found.auth_data.iter().map(|data| {
        json!({ "xres": hex::encode(data.xres), "aiotDevPermId": to_base64(&data.device_id) })
    });
    json!({ "randD": hex::encode(found.rand_d), "authDataSet": data.collect::<Vec<_>>() })
}

async fn get_session_key(adm: SharedAdm, exchange: Exchange) -> Result<Reply, Problem> {
    let fields = Fields::of(exchange.json()?)?;
    let device_id = device_id(&fields)?;
    let rand_n = RandN::from_octets(fields.required("randN")?.hex()?);
    let rand_d = fields.required("randD")?.hex()?;
    let found = ask(&adm, move |adm| {
        adm.get_session_key(unix_ms(), &device_id, &rand_n, &rand_d)
    });
    let found = found.await?.map_err(fault)?;
    Ok(Reply::ok(json!({
        "kAiotf": hex::encode(found.k_aiotf.expose()),
        "ambit": { "suite": found.suite.number(), "tagLen": found.tag_len.octets() },
    })))
}

async fn get_tid(adm: SharedAdm, exchange: Exchange) -> Result<Reply, Problem> {
    let fields = Fields::of(exchange.json()?)?;
    let device_id = device_id(&fields)?;
    // A T-ID of this protocol is made anew for each page and needs no resynchronisation; the indication is taken all the same.
    fields
        .optional("resyncInd")
        .map(|flag| flag.flag())
        .transpose()?;
    let rand_n = fields
        .required("ambit")?
        .object()?
        .required("randN")?
        .hex()?;
    let rand_n = RandN::from_octets(rand_n);
    let tid = ask(&adm, move |adm| adm.get_tid(unix_ms(), &device_id, &rand_n)).await?;
    let tid = hex::encode(tid.map_err(fault)?);
    Ok(Reply::ok(
        json!({ "tid": tid, "tidHandInfo": { "tidType": "CONCEALED" } }),
    ))
}

async fn note_disabled(adm: SharedAdm, exchange: Exchange) -> Result<Reply, Problem> {
    let device_id = device_id(&Fields::of(exchange.json()?)?)?;
    ask(&adm, move |adm| adm.note_disabled(unix_ms(), &device_id))
        .await?
        .map_err(fault)?;
    Ok(Reply::no_content())
}

fn device_id(fields: &Fields<'_>) -> Result<Vec<u8>, Problem> {
    let (least, greatest) = DEVICE_ID_OCTETS;
    fields.required("aiotDevPermId")?.bytes(least, greatest)
}

fn fault(error: NadmError) -> Problem {
    problem(error, |name| match name {
        "rand_d" => "/randDlist",
        "filter" => "/filteringInfo",
        _ => "/aiotDevPermId",
    })
}

/// The body of a get-authentication, for our own consumers.
pub(super) fn authentication_json(request: &AuthenticationRequest<'_>) -> Value {
    let rand_d: Vec<_> = request
        .answers
        .iter()
        .map(|a| hex::encode(a.rand_d))
        .collect();
    let res: Option<Vec<_>> = request
        .answers
        .iter()
        .map(|a| a.res.map(hex::encode))
        .collect();
    let mut extension = json!({ "partial": true });
    if let Some(area) = &request.area_id {
        set(&mut extension, "areaId", hex::encode(area.octets()));
    }
    if let Some(res) = res {
        set(&mut extension, "resList", res);
    }
    let mut body = json!({
        "randN": hex::encode(request.rand_n.octets()),
        "randDlist": rand_d,
        "ambit": extension,
    });
    match request.population {
        Population::Device(id) => set(&mut body, "aiotDevPermId", to_base64(id)),
        Population::Filter(filter) => set(&mut body, "filteringInfo", to_base64(filter)),
        Population::All => {}
    }
    body
}
