//! Attacks from the side of the services: T18 (a malicious AF) and T19 (a rogue function). Requests go to the routers as they
//! come out of HTTP, without sockets, so that a seed gives the same figures again.

use std::ops::ControlFlow;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use ambit_adm::{Adm, AdmConfig, Kek};
use ambit_adm_api::{AfAuthorization, AfDevices, AfOperation, AfQuota};
use ambit_aiotf::server::Notified;
use ambit_aiotf::service::{Notification, RequestError, ServiceRequest, TransactionId};
use ambit_nef::exposure::{
    AreaNames, Callbacks, Exposure, ExposureConfig, InventoryAccess, OPENAPI,
};
use ambit_nef::subscription::Guard;
use ambit_protocol::area::Plmn;
use ambit_protocol::{DeviceForm, DeviceType, RootKey, Snid, Suite, TagLen};
use ambit_provisioning::{CredentialKind, DeviceSpec};
use ambit_sbi::adm::engine::AdmEngine;
use ambit_sbi::adm::{self, SharedAdm};
use ambit_sbi::clock::{unix_ms, unix_s};
use ambit_sbi::json::to_base64;
use ambit_sbi::router::Router;
use ambit_sbi::runtime::Runtime;
use ambit_sbi::token::{Audience, Claims, Issuer};
use ambit_store::{EventFilter, SqliteStore};
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;

use super::arena::{Actor, Step};
use super::{AttackError, Pair, Run};
use crate::scenario::seeded_entropy;

type Result<T> = std::result::Result<T, AttackError>;

fn scene(text: impl ToString) -> AttackError {
    AttackError::Scene(text.to_string())
}

fn step(from: Actor, to: Actor, text: &str) -> Step {
    Step {
        from,
        to,
        text: text.to_owned(),
    }
}

/// An ADM with two devices: `mine-1` of the fleet `mine`, and `theirs-1` of another.
fn adm(seed: u64) -> Result<Adm> {
    let snid = Snid::new(Plmn::new("001", "01")?, None);
    let config = AdmConfig {
        chain_epochs: 2000,
        ..AdmConfig::new(snid)
    };
    let store = Box::new(SqliteStore::in_memory()?);
    let kek = Kek::from_octets(&[0x4b; 32]);
    let mut adm = Adm::open(config, store, kek, seeded_entropy(seed), unix_ms())?;
    let device = |name: &str, fleet: &str| DeviceSpec {
        line: 0,
        device_id: name.as_bytes().to_vec(),
        device_type: DeviceType::Type2b,
        suite: Suite::AesCmac,
        form: DeviceForm::Dt,
        key: Some(RootKey::new([7; 16])),
        tag_len: TagLen::T8,
        fleet: fleet.to_owned(),
        credential: CredentialKind::Operator,
    };
    let devices = [device("mine-1", "mine"), device("theirs-1", "theirs")];
    adm.import(&devices, unix_ms())?;
    Ok(adm)
}

/// An AIOTF that takes everything and ends nothing.
#[derive(Default)]
struct Taker(Mutex<Vec<Sender<Notification>>>);

impl InventoryAccess for Taker {
    fn request(
        &self,
        _: &str,
        _: ServiceRequest,
    ) -> Option<std::result::Result<(TransactionId, Notified), RequestError>> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (to, results) = mpsc::channel();
        taken.push(to);
        Some(Ok((TransactionId(taken.len() as u64), results.into())))
    }
}

fn ask(
    runtime: &Runtime,
    router: &Router,
    path: &str,
    authorization: &str,
    (media_type, body): (&str, String),
) -> Result<(u16, Value)> {
    let mut request = Request::post(path).header("content-type", media_type);
    if !authorization.is_empty() {
        request = request.header("authorization", authorization);
    }
    let request = request.body(Full::new(Bytes::from(body))).map_err(scene)?;
    let reply = runtime.handle().block_on(router.answer(request, None));
    Ok((reply.status, reply.body.unwrap_or_default()))
}

/// Requests of the flood; and inventories that an AF may have under way.
const FLOOD: usize = 100;
const UNDER_WAY_MAX: u32 = 3;

/// An AF that reads others' devices, commands outside its area and rights, gives itself another's name, has the core post to
/// itself, and floods. The control grants it everything.
pub(super) fn t18(seed: u64) -> Result<Pair> {
    let quota = AfQuota {
        // Far from what a test could send: what is counted must not depend on the clock.
        rate: 1_000_000,
        burst: 1_000_000,
        inventories: UNDER_WAY_MAX,
        subscriptions: 0,
    };
    let snid = Snid::new(Plmn::new("001", "01")?, None);
    let limited = AfAuthorization {
        areas: Some(vec![snid.area([0, 0, 1])]),
        operations: vec![AfOperation::Inventory, AfOperation::Read],
        devices: AfDevices::Only {
            ids: Vec::new(),
            filters: Vec::new(),
            fleets: vec!["mine".into()],
        },
        quota,
        ..AfAuthorization::default()
    };
    let unlimited = AfAuthorization {
        areas: None,
        operations: AfOperation::ALL.to_vec(),
        devices: AfDevices::All,
        quota: AfQuota {
            inventories: u32::MAX,
            ..quota
        },
        ..AfAuthorization::default()
    };
    Ok(Pair {
        exception: None,
        run: malicious_af(seed, &limited)?,
        control: Some((
            "the AF's rights have no limits",
            malicious_af(seed, &unlimited)?,
        )),
    })
}

fn malicious_af(seed: u64, granted: &AfAuthorization) -> Result<Run> {
    let runtime = Runtime::start().map_err(scene)?;
    let mut adm = adm(seed)?;
    let (account, secret) = adm.add_af("shop", granted, unix_ms())?;
    let engine = AdmEngine::start(adm).map_err(scene)?;
    let shared: SharedAdm = Arc::new(engine.handle());
    let snid = Snid::new(Plmn::new("001", "01")?, None);
    let mut areas = AreaNames::default();
    areas
        .add("dock", vec![snid.area([0, 0, 1])])
        .map_err(scene)?;
    areas
        .add("vault", vec![snid.area([0, 0, 9])])
        .map_err(scene)?;
    let guard = Guard {
        allowed: Vec::new(),
        allow_clear: true,
    };
    let config = ExposureConfig {
        id: Uuid::nil(),
        areas,
        token_lifetime_s: 600,
        issuer: Issuer::generate().map_err(scene)?,
        callbacks: Callbacks::new(guard, None),
        subscriptions: None,
    };
    let exposure = {
        let _in_runtime = runtime.handle().enter();
        Exposure::new(config, &shared, Arc::new(Taker::default()))
    };
    let router = Router::describing(OPENAPI, exposure.routes(), None);
    let basic = format!("{}:{}", account.client_id, secret.expose());
    let basic = format!("Basic {}", to_base64(basic.as_bytes()));
    let form = "application/x-www-form-urlencoded";
    let form = (form, "grant_type=client_credentials".to_owned());
    let (_, token) = ask(&runtime, &router, "/oauth2/token", &basic, form)?;
    let token = token.get("access_token").and_then(Value::as_str);
    let bearer = format!("Bearer {}", token.ok_or_else(|| scene("no token"))?);
    let post = |kind: &str, members: Value| -> Result<u16> {
        // Nobody's address, so that nothing leaves this machine: what is told does not matter here.
        let mut body = json!({ "afId": "shop", "notifUri": "http://203.0.114.1:9/" });
        if let (Some(body), Value::Object(members)) = (body.as_object_mut(), members) {
            body.extend(members);
        }
        let path = format!("/3gpp-aiot/v1/{kind}");
        let body = ("application/json", body.to_string());
        Ok(ask(&runtime, &router, &path, &bearer, body)?.0)
    };
    let device = |name: &str| json!({ "devices": [to_base64(name.as_bytes())] });
    let dock = json!({ "extAreaIds": ["dock"] });
    let read = json!({ "commandType": "READ", "length": 16, "targetDevices": device("theirs-1") });
    let crowd = json!({ "commandType": "READ", "length": 16, "extTargetArea": dock });
    let disable = json!({ "commandType": "PERMANENT_DISABLE", "targetDevices": device("mine-1") });
    let attacks = [
        (
            "request-inv",
            json!({ "targetDevices": device("theirs-1") }),
        ),
        (
            "request-inv",
            json!({ "extTargetArea": { "extAreaIds": ["vault"] } }),
        ),
        ("request-cmd", read),
        ("request-cmd", crowd),
        ("request-cmd", disable),
    ];
    let mut forbidden = 0_u32;
    let mut let_through = 0_u32;
    for (kind, members) in &attacks {
        match post(kind, members.clone())? {
            403 => forbidden += 1,
            200 => let_through += 1,
            status => return Err(scene(format!("{kind} {members}: {status}"))),
        }
    }
    // Whatever it is granted, it is nobody else, and the core posts nothing to itself.
    let mut other = json!({ "extTargetArea": dock, "afId": "bank" });
    let as_other = post("request-inv", other.clone())?;
    if let Some(members) = other.as_object_mut() {
        members.insert("afId".into(), "shop".into());
        members.insert("notifUri".into(), "http://127.0.0.1:80/".into());
    }
    let to_core = post("request-inv", other)?;
    let own = post("request-inv", json!({ "targetDevices": device("mine-1") }))?;
    let mut taken = 1_u32;
    let mut held_back = 0_u32;
    for _ in 0..FLOOD {
        match post("request-inv", json!({ "extTargetArea": dock }))? {
            200 => taken += 1,
            429 => held_back += 1,
            status => return Err(scene(format!("flood: {status}"))),
        }
    }
    runtime.handle().block_on(exposure.close());
    let audited = engine.handle().call(refusals).map_err(scene)??;
    let refused = forbidden + held_back + 2;
    let stopped = let_through == 0
        && (as_other, to_core, own) == (403, 403, 200)
        && taken == UNDER_WAY_MAX
        && audited == u64::from(refused);
    let mut run = Run::new(
        stopped,
        &[
            ("requests beyond its rights", attacks.len() as f64),
            ("of these let through", let_through.into()),
            ("flood of inventories", FLOOD as f64),
            ("under way at once", taken.into()),
            ("refusals", refused.into()),
            ("refusals on record", audited as f64),
        ],
    );
    let answer = if let_through == 0 {
        "403, the rule"
    } else {
        "200"
    };
    run.steps = vec![
        step(Actor::Adversary, Actor::Network, "READ of another's device"),
        step(Actor::Network, Actor::Adversary, answer),
        step(Actor::Adversary, Actor::Network, "PERMANENT DISABLE"),
        step(Actor::Network, Actor::Adversary, answer),
        step(Actor::Adversary, Actor::Network, "a flood of inventories"),
        step(
            Actor::Network,
            Actor::Adversary,
            if held_back > 0 {
                "429 beyond the quota"
            } else {
                "200"
            },
        ),
    ];
    Ok(run)
}

/// Refusals on record, each as often as it happened.
fn refusals(adm: &mut Adm) -> Result<u64> {
    let filter = EventFilter {
        kind: Some("af_refused"),
        since_ms: None,
    };
    let mut count = 0;
    adm.store().events_for_each(&filter, &mut |event| {
        count += event.count;
        ControlFlow::Continue(())
    })?;
    Ok(count)
}

/// A function without a token, with one of its own making, and with stolen ones for other things, asks Nadm_Sec for keys. The
/// control checks no tokens.
pub(super) fn t19(seed: u64) -> Result<Pair> {
    Ok(Pair {
        exception: None,
        run: rogue_function(seed, true)?,
        control: Some(("tokens are not checked", rogue_function(seed, false)?)),
    })
}

fn rogue_function(seed: u64, is_checked: bool) -> Result<Run> {
    let runtime = Runtime::start().map_err(scene)?;
    let engine = AdmEngine::start(adm(seed)?).map_err(scene)?;
    let shared: SharedAdm = Arc::new(engine.handle());
    let (nrf, own) = (
        Issuer::generate().map_err(scene)?,
        Issuer::generate().map_err(scene)?,
    );
    let id = Uuid::nil();
    let verifier = is_checked.then(|| nrf.verifier("ADM", id));
    let router = Router::new(adm::routes(&shared), verifier);
    let claims = |scope: &str| Claims {
        iss: nrf.id().to_owned(),
        sub: Uuid::max().to_string(),
        aud: Audience::Type("ADM".into()),
        scope: scope.to_owned(),
        exp: unix_s() + 600,
        iat: None,
        secret_ms: None,
    };
    let mut unsigned = nrf.issue(&claims("nadm-sec"));
    unsigned.replace_range(..unsigned.find('.').unwrap_or(0), "eyJhbGciOiJub25lIn0");
    let late = Claims {
        exp: unix_s() - 3600,
        ..claims("nadm-sec")
    };
    let elsewhere = Claims {
        aud: Audience::Type("AMF".into()),
        ..claims("nadm-sec")
    };
    let tokens = [
        String::new(),
        "x".into(),
        own.issue(&claims("nadm-sec")),
        unsigned,
        nrf.issue(&late),
        nrf.issue(&elsewhere),
        nrf.issue(&claims("nadm-dm")),
        nrf.issue(&claims("nadm-sec nadm-sec:get-rand:invoke")),
    ];
    let device = to_base64(b"mine-1");
    let zeros = "00".repeat(16);
    let session = json!({ "aiotDevPermId": device, "randN": zeros, "randD": zeros });
    let t_id = json!({ "aiotDevPermId": device, "ambit": { "randN": zeros } });
    let mut asked = 0_u32;
    let mut refused = 0_u32;
    let mut disclosed = 0_u32;
    for token in &tokens {
        for (operation, body, secret) in [
            ("get-session-key", &session, "kAiotf"),
            ("get-tid", &t_id, "tid"),
        ] {
            let path = format!("/nadm-sec/v1/{operation}");
            let bearer = match token.as_str() {
                "" => String::new(),
                token => format!("Bearer {token}"),
            };
            let body = ("application/json", body.to_string());
            let (status, said) = ask(&runtime, &router, &path, &bearer, body)?;
            asked += 1;
            refused += u32::from(matches!(status, 401 | 403));
            disclosed += u32::from(said.get(secret).is_some());
        }
    }
    // The control of the scene: an AIOTF's own token opens.
    let bearer = format!("Bearer {}", nrf.issue(&claims("nadm-sec")));
    let body = ("application/json", session.to_string());
    let path = "/nadm-sec/v1/get-session-key";
    let (_, said) = ask(&runtime, &router, path, &bearer, body)?;
    let works = said.get("kAiotf").is_some();
    let mut run = Run::new(
        works && refused == asked && disclosed == 0,
        &[
            ("requests", asked.into()),
            ("refused with 401 or 403", refused.into()),
            ("keys disclosed", disclosed.into()),
        ],
    );
    let answer = if disclosed == 0 {
        "401 or 403"
    } else {
        "200, K_AIOTF"
    };
    run.steps = vec![
        step(
            Actor::Adversary,
            Actor::Network,
            "get-session-key without a token",
        ),
        step(Actor::Network, Actor::Adversary, answer),
        step(
            Actor::Adversary,
            Actor::Network,
            "with a token of its own making",
        ),
        step(Actor::Network, Actor::Adversary, answer),
        step(
            Actor::Adversary,
            Actor::Network,
            "with a stolen token for another thing",
        ),
        step(Actor::Network, Actor::Adversary, answer),
    ];
    Ok(run)
}
