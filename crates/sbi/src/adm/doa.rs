//! What an AIOTF asks for devices that speak first. Release 19 has nothing for it: these resources are ours, described in
//! `/openapi.json`.
//!
//! Batches are whole: a doa-authenticate that is asked twice, because its answer was lost, gives the same ACCEPTs, as the
//! acceptance records decide.

use std::sync::Arc;

use ambit_adm_api::{
    AcceptPdu, Beacons, ChallengeId, DoaItem, DoaReport, Outcome, RegistrationStep, Verdict,
};
use ambit_protocol::wire::{
    AUTHENTICATION_REQUEST_OCTETS, AUTHENTICATION_RESPONSE_OCTETS_MAX, DATA_OCTETS_MAX,
    REPORT_OCTETS_MAX,
};
use ambit_protocol::{AreaId, Cause, RandN};
use hyper::Method;
use serde_json::{Value, json};

use super::{SharedAdm, ask, kept, sec_access};
use crate::clock::unix_ms;
use crate::exchange::{Exchange, Reply};
use crate::json::{Field, Fields, from_base64, set, to_base64};
use crate::problem::Problem;
use crate::router::{Route, Takes};

/// Reports in one batch at most: as many as an AIOTF gathers.
pub const REPORTS_MAX: usize = 4096;

/// A NAS PDU is at most so long: a REGISTRATION REQUEST may be longer than a report, neither fills this.
const NAS_OCTETS_MAX: usize = 512;

const _: () = assert!(
    REPORT_OCTETS_MAX <= NAS_OCTETS_MAX && AUTHENTICATION_RESPONSE_OCTETS_MAX <= NAS_OCTETS_MAX
);

pub(super) fn routes(adm: &SharedAdm) -> Vec<Route> {
    let json = Takes::Json(&["application/json"]);
    let [a, b, c, d, e] = std::array::from_fn(|_| Arc::clone(adm));
    vec![
        Route::new(
            "doa_beacon",
            Method::POST,
            "/nadm-sec/v1/doa-beacon",
            sec_access("nadm-sec:doa-beacon:invoke"),
            Takes::Nothing,
            move |_| beacon(Arc::clone(&a)),
        ),
        Route::new(
            "doa_authenticate",
            Method::POST,
            "/nadm-sec/v1/doa-authenticate",
            sec_access("nadm-sec:doa-authenticate:invoke"),
            json,
            move |exchange| authenticate(Arc::clone(&b), exchange),
        )
        .octets_max(4 << 20),
        Route::new(
            "doa_register",
            Method::POST,
            "/nadm-sec/v1/doa-register",
            sec_access("nadm-sec:doa-register:invoke"),
            json,
            move |exchange| register(Arc::clone(&c), exchange),
        ),
        Route::new(
            "doa_respond",
            Method::POST,
            "/nadm-sec/v1/doa-respond",
            sec_access("nadm-sec:doa-respond:invoke"),
            json,
            move |exchange| respond(Arc::clone(&d), exchange),
        ),
        Route::new(
            "doa_conclude_command",
            Method::POST,
            "/nadm-sec/v1/doa-conclude-command",
            sec_access("nadm-sec:doa-conclude-command:invoke"),
            json,
            move |exchange| kept::conclude(Arc::clone(&e), exchange),
        ),
    ]
}

async fn beacon(adm: SharedAdm) -> Result<Reply, Problem> {
    let now_ms = unix_ms();
    let beacons = ask(&adm, move |adm| adm.beacons(now_ms)).await?;
    let beacons = beacons.map_err(|error| Problem::unavailable(error.to_string(), 1))?;
    // Times are told as durations: the clocks of two hosts need not agree.
    let left = |until_ms: i64| until_ms.saturating_sub(now_ms).max(0);
    let beacon = |rand_n: &RandN, until_ms| json!({ "randN": hex::encode(rand_n.octets()), "validForMs": left(until_ms) });
    let mut body = json!({ "current": beacon(&beacons.current, beacons.current_until_ms) });
    if let Some((rand_n, until_ms)) = &beacons.previous {
        set(&mut body, "previous", beacon(rand_n, *until_ms));
    }
    Ok(Reply::ok(body))
}

/// A report, owned.
struct Report {
    nas: Vec<u8>,
    rand_n: RandN,
    area_id: AreaId,
    gnb_id: u32,
    reader_index: u16,
}

impl Report {
    fn parse(fields: &Fields<'_>) -> Result<Self, Problem> {
        let area = fields.required("areaId")?;
        let area_id = AreaId::from_octets(area.hex()?);
        let gnb_id = fields.required("gnbId")?.integer(0, u32::MAX.into())?;
        let reader = fields
            .required("readerIndex")?
            .integer(1, u16::MAX.into())?;
        Ok(Self {
            nas: fields.required("nas")?.bytes(1, NAS_OCTETS_MAX)?,
            rand_n: RandN::from_octets(fields.required("randN")?.hex()?),
            area_id: area_id.map_err(|error| area.breaks(error.to_string()))?,
            gnb_id: u32::try_from(gnb_id).unwrap_or(0),
            reader_index: u16::try_from(reader).unwrap_or(0),
        })
    }

    fn view(&self) -> DoaReport<'_> {
        DoaReport {
            nas: &self.nas,
            rand_n: self.rand_n,
            area_id: self.area_id,
            gnb_id: self.gnb_id,
            reader_index: self.reader_index,
        }
    }
}

async fn authenticate(adm: SharedAdm, exchange: Exchange) -> Result<Reply, Problem> {
    let fields = Fields::of(exchange.json()?)?;
    let list = fields.required("reports")?.array(REPORTS_MAX)?;
    let reports = list
        .iter()
        .map(|report| Report::parse(&report.object()?))
        .collect::<Result<Vec<_>, Problem>>()?;
    let tells_items = wants_items(&fields)?;
    let deadline = exchange.deadline;
    let verdicts = ask(&adm, move |adm| {
        let mut verdicts = Vec::new();
        // Nobody waits for the answer any more: the consumer asks again, and had better find the ADM free.
        if std::time::Instant::now() < deadline {
            let views: Vec<_> = reports.iter().map(Report::view).collect();
            adm.tell_items(tells_items);
            adm.authenticate(unix_ms(), &views, &mut verdicts);
        }
        verdicts
    });
    let verdicts: Vec<Value> = verdicts.await?.iter().map(verdict_json).collect();
    if verdicts.is_empty() {
        return Err(Problem::timed_out());
    }
    Ok(Reply::ok(json!({ "verdicts": verdicts })))
}

async fn register(adm: SharedAdm, exchange: Exchange) -> Result<Reply, Problem> {
    let fields = Fields::of(exchange.json()?)?;
    let report = Report::parse(&fields.required("report")?.object()?)?;
    let step = ask(&adm, move |adm| adm.register(unix_ms(), &report.view())).await?;
    Ok(Reply::ok(step_json(&step)))
}

async fn respond(adm: SharedAdm, exchange: Exchange) -> Result<Reply, Problem> {
    let fields = Fields::of(exchange.json()?)?;
    let id = ChallengeId(fields.required("challengeId")?.hex()?);
    let report = Report::parse(&fields.required("report")?.object()?)?;
    let tells_items = wants_items(&fields)?;
    let step = ask(&adm, move |adm| {
        adm.tell_items(tells_items);
        adm.respond(unix_ms(), &id, &report.view())
    });
    let step = step.await?;
    Ok(Reply::ok(step_json(&step)))
}

fn verdict_json(verdict: &Verdict) -> Value {
    let mut body = json!({ "outcome": verdict.outcome().name() });
    if let Verdict::Accept {
        nas,
        follow_on,
        item,
        ..
    } = verdict
    {
        set(&mut body, "accept", to_base64(nas.as_slice()));
        if let Some(follow_on) = follow_on {
            set(&mut body, "followOn", kept::follow_on_json(follow_on));
        }
        if let Some(item) = item {
            set(&mut body, "item", item_json(item));
        }
    }
    body
}

/// Whether the consumer wants to know what was in new reports: only while somebody has subscribed there.
fn wants_items(fields: &Fields<'_>) -> Result<bool, Problem> {
    fields
        .optional("tellItems")
        .map_or(Ok(false), |field| field.flag())
}

fn item_json(item: &DoaItem) -> Value {
    json!({
        "deviceId": to_base64(&item.device_id),
        "fleet": &*item.fleet,
        "epoch": item.epoch,
        "tag1": hex::encode(&item.tag1),
        "cause": item.cause.number(),
        "seq": item.seq,
        "data": to_base64(&item.data),
    })
}

fn item_of(field: &Field<'_>) -> Option<Box<DoaItem>> {
    let fields = field.object().ok()?;
    let number = |name, most| fields.required(name).ok()?.integer(0, most).ok();
    let octets = |name, least, most| {
        let octets = fields.required(name).ok()?.bytes(least, most).ok()?;
        Some(octets.into_boxed_slice())
    };
    let tag1 = hex::decode(fields.required("tag1").ok()?.short_text(32).ok()?).ok()?;
    Some(Box::new(DoaItem {
        device_id: octets("deviceId", 1, 128)?,
        fleet: fields.required("fleet").ok()?.text().ok()?.into(),
        epoch: u32::try_from(number("epoch", u32::MAX.into())?).ok()?,
        tag1: tag1.into(),
        cause: Cause::from_number(u8::try_from(number("cause", 15)?).ok()?),
        seq: u8::try_from(number("seq", 15)?).ok()?,
        data: octets("data", 0, DATA_OCTETS_MAX)?,
    }))
}

fn step_json(step: &RegistrationStep) -> Value {
    match step {
        RegistrationStep::Challenge { nas, id } => json!({
            "outcome": Outcome::Challenged.name(),
            "challenge": { "id": hex::encode(id.0), "nas": to_base64(nas) },
        }),
        RegistrationStep::Done(verdict) => verdict_json(verdict),
    }
}

/// A report for our own consumers to send.
pub(super) fn report_json(report: &DoaReport<'_>) -> Value {
    json!({
        "nas": to_base64(report.nas),
        "randN": hex::encode(report.rand_n.octets()),
        "areaId": hex::encode(report.area_id.octets()),
        "gnbId": report.gnb_id,
        "readerIndex": report.reader_index,
    })
}

/// The beacons as a consumer takes them.
pub(super) fn beacons_of(body: &Value, now_ms: i64) -> Option<Beacons> {
    let fields = Fields::of(body).ok()?;
    // An epoch of more than a year, or one that is over before it came, is no epoch.
    let beacon = |field: Field<'_>| {
        let fields = field.object().ok()?;
        let rand_n = RandN::from_octets(fields.required("randN").ok()?.hex().ok()?);
        let left_ms = fields
            .required("validForMs")
            .ok()?
            .integer(0, 366 * 86_400_000)
            .ok()?;
        let until_ms = now_ms.saturating_add(i64::try_from(left_ms).ok()?);
        Some((rand_n, until_ms))
    };
    let (current, current_until_ms) = beacon(fields.required("current").ok()?)?;
    Some(Beacons {
        current,
        current_until_ms,
        previous: fields.optional("previous").and_then(beacon),
    })
}

/// A verdict as a consumer takes it.
pub(super) fn verdict_of(body: &Value) -> Option<Verdict> {
    let fields = Fields::of(body).ok()?;
    let name = fields.required("outcome").ok()?;
    let outcome = Outcome::ALL
        .into_iter()
        .find(|outcome| Some(outcome.name()) == name.text().ok())?;
    let Some(accept) = fields.optional("accept") else {
        return Some(Verdict::Silence(outcome));
    };
    let octets = accept.bytes(1, AcceptPdu::OCTETS_MAX).ok()?;
    let nas = AcceptPdu::build(|out| {
        out.iter_mut()
            .zip(&octets)
            .for_each(|(to, from)| *to = *from);
        Ok(octets.len())
    });
    // One that makes no sense is left out: the device waits for a while and goes on.
    let follow_on = fields.optional("followOn").and_then(kept::follow_on_of);
    Some(Verdict::Accept {
        nas: nas.ok()?,
        outcome,
        follow_on: follow_on.map(Box::new),
        // What cannot be understood is not told; the device is answered all the same.
        item: fields.optional("item").and_then(|item| item_of(&item)),
    })
}

/// A step of a registration as a consumer takes it.
pub(super) fn step_of(body: &Value) -> Option<RegistrationStep> {
    let Some(challenge) = body.get("challenge") else {
        return verdict_of(body).map(RegistrationStep::Done);
    };
    let fields = Fields::of(challenge).ok()?;
    let id = ChallengeId(fields.required("id").ok()?.hex().ok()?);
    let nas = from_base64(fields.required("nas").ok()?.text().ok()?)?;
    let nas: [u8; AUTHENTICATION_REQUEST_OCTETS] = nas.try_into().ok()?;
    Some(RegistrationStep::Challenge { nas, id })
}
