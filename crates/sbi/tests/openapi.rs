//! Our own OpenAPI file: served by every server, true of what we answer, and put to the test by schemathesis where that is
//! installed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;
#[path = "../../adm/tests/common/device.rs"]
#[allow(dead_code, unreachable_pub, clippy::panic)]
mod device;
#[path = "common/schemathesis.rs"]
mod schemathesis;

use std::sync::Arc;

use ambit_adm::{Adm, AdmConfig, Kek, system_entropy};
use ambit_adm_api::KeptOperation;
use ambit_aiotf::Watcher;
use ambit_aiotf::service::{RequestError, ServiceRequest};
use ambit_protocol::area::Plmn;
use ambit_protocol::{AreaId, Cause, DeviceForm, RandN, Snid};
use ambit_sbi::adm::engine::{AdmEngine, AdmHandle};
use ambit_sbi::adm::{self, SharedAdm};
use ambit_sbi::aiotf::{self, AiotfAccess, ServiceConfig, Taken};
use ambit_sbi::client::{Client, Outgoing};
use ambit_sbi::clock::{unix_ms, unix_s};
use ambit_sbi::json::to_base64;
use ambit_sbi::router::{OPENAPI, Router};
use ambit_sbi::runtime::Runtime;
use ambit_sbi::server::Limits;
use ambit_sbi::token::{Audience, Claims};
use ambit_store::SqliteStore;
use common::contract::Contract;
use common::{Pki, serve};
use device::Device;
use hyper::Method;
use schemathesis::Run;
use serde_json::{Value, json};
use uuid::Uuid;

/// An AIOTF to which nothing happens.
struct Idle;

impl AiotfAccess for Idle {
    fn request(&self, _: ServiceRequest) -> Option<Result<Taken, RequestError>> {
        None
    }

    fn watch(&self, _: Watcher) {}
}

fn area(code: u8) -> AreaId {
    Snid::new(Plmn::new("001", "01").unwrap(), None).area([0, 0, code])
}

/// An ADM in clear on loopback, as a tool that knows no certificates needs it; and a token for it.
struct Setup {
    runtime: Runtime,
    adm: AdmHandle<Adm>,
    root: String,
    token: String,
}

impl Setup {
    fn new() -> Self {
        let runtime = Runtime::start().unwrap();
        let pki = Pki::new();
        let snid = Snid::new(Plmn::new("001", "01").unwrap(), None);
        let config = AdmConfig {
            chain_epochs: 2000,
            ..AdmConfig::new(snid)
        };
        let store = Box::new(SqliteStore::in_memory().unwrap());
        let kek = Kek::from_octets(&[0x4b; 32]);
        let adm = Adm::open(config, store, kek, system_entropy(), unix_ms()).unwrap();
        let adm = AdmEngine::start(adm).unwrap().handle();
        let shared: SharedAdm = Arc::new(adm.clone());
        let verifier = pki.verifier("ADM", Uuid::nil());
        let mut routes = adm::routes(&shared);
        // Beside it an AIOTF, which delivers over TLS.
        let client = Client::new(Some(pki.function("aiotf", "AIOTF")), None);
        let mut service = ServiceConfig::new(Uuid::nil());
        service.doa.owner_max = usize::MAX;
        service.doa.subscriptions_max = usize::MAX;
        routes.extend(aiotf::routes(Arc::new(Idle), client, service));
        let router = Arc::new(Router::new(routes, Some(verifier)));
        let address = serve(&runtime, None, router, Limits::default());
        let issuer = pki.issuer();
        let token = issuer.issue(&Claims {
            iss: issuer.id().to_owned(),
            sub: Uuid::nil().to_string(),
            aud: Audience::Type("ADM".into()),
            scope: "nadm-sec naiotf-aiot".into(),
            exp: unix_s() + 3600,
            iat: None,
            secret_ms: None,
        });
        Self {
            runtime,
            adm,
            root: format!("http://{address}"),
            token,
        }
    }
}

#[test]
fn what_our_own_file_says_is_so() {
    let setup = Setup::new();
    let contract = Contract::parse("openapi.json", OPENAPI.as_bytes());
    let client = Client::new(None, None);
    let send = |outgoing: Outgoing| {
        setup
            .runtime
            .handle()
            .block_on(client.send(outgoing))
            .unwrap()
    };
    let file = send(Outgoing::new(
        Method::GET,
        format!("{}/openapi.json", setup.root),
    ));
    let served: Value = serde_json::from_slice(&file.body).unwrap();
    assert_eq!(served, serde_json::from_str::<Value>(OPENAPI).unwrap());
    let check = |operation: &str, body: Option<Value>, status: u16| {
        let path = format!("/nadm-sec/v1/{operation}");
        let mut outgoing = Outgoing::new(Method::POST, format!("{}{path}", setup.root))
            .token(Some(setup.token.clone()));
        if let Some(body) = body {
            outgoing = outgoing.json(&body);
        }
        let answer = send(outgoing);
        assert_eq!(answer.status, status, "{operation}");
        contract.check(&path, "post", &answer);
        serde_json::from_slice::<Value>(&answer.body).unwrap_or_default()
    };
    let beacons = check("doa-beacon", None, 200);
    let report = json!({
        "nas": "QEFC", "randN": beacons["current"]["randN"], "areaId": "00f110f00000000000000001",
        "gnbId": 1, "readerIndex": 1,
    });
    let said = check(
        "doa-authenticate",
        Some(json!({"reports": [report, report]})),
        200,
    );
    assert_eq!(said["verdicts"].as_array().unwrap().len(), 2);
    check("doa-register", Some(json!({"report": report})), 200);
    check(
        "doa-respond",
        Some(json!({"report": report, "challengeId": "00".repeat(16)})),
        200,
    );
    check("note-disabled", Some(json!({"aiotDevPermId": "AAAA"})), 404);
    // A report whose ACCEPT goes on into a command, and what came of that.
    let mut device = Device::new("device", DeviceForm::Beacon);
    for operation in [
        KeptOperation::Read {
            offset: 1,
            length: 2,
        },
        KeptOperation::Write {
            offset: 1,
            data: vec![1, 2],
        },
        KeptOperation::PermanentDisable,
    ] {
        let (spec, id, kept) = (device.spec(), device.id.clone(), operation.clone());
        let call = setup.adm.call(move |adm| {
            // Once.
            let _ = adm.import(&[spec], unix_ms());
            adm.keep_commands(&[id], &kept, 60, unix_ms()).unwrap();
        });
        call.unwrap();
        let rand_n = hex::decode(beacons["current"]["randN"].as_str().unwrap()).unwrap();
        let rand_n = RandN::from_octets(rand_n.try_into().unwrap());
        let sent = device.send(rand_n, Cause::Event, device.counter as u8);
        let mut own = report.clone();
        own["nas"] = to_base64(&sent.nas).into();
        let said = check("doa-authenticate", Some(json!({"reports": [own]})), 200);
        let follow_on = &said["verdicts"][0]["followOn"];
        let command = &follow_on["command"];
        assert_eq!(command["commandType"], operation.name(), "{said}");
        let id = &command["commandId"];
        let failed = json!({"commandId": id, "failure": "no_answer"});
        check("doa-conclude-command", Some(failed), 204);
        let done = match operation {
            KeptOperation::Read { .. } => json!({"commandId": id, "data": "c01d"}),
            _ => json!({"commandId": id}),
        };
        check("doa-conclude-command", Some(done), 204);
    }
    check("doa-conclude-command", Some(json!({"commandId": 99})), 404);
    for field in ["commandId", "data", "failure"] {
        for value in [json!(null), json!(-1), json!("zz!"), json!([]), json!("")] {
            let mut bad = json!({"commandId": 1});
            bad[field] = value;
            let said = check("doa-conclude-command", Some(bad), 400);
            assert_eq!(said["invalidParams"][0]["param"], format!("/{field}"));
        }
    }
    for (operation, body, param) in [
        ("doa-authenticate", json!({}), "/reports"),
        ("doa-authenticate", json!({"reports": []}), "/reports"),
        (
            "doa-authenticate",
            json!({"reports": [report, {}]}),
            "/reports/1/areaId",
        ),
        ("doa-register", json!({"report": 7}), "/report"),
        (
            "doa-respond",
            json!({"report": report, "challengeId": "00"}),
            "/challengeId",
        ),
        (
            "note-disabled",
            json!({"aiotDevPermId": ""}),
            "/aiotDevPermId",
        ),
        ("doa-conclude-command", json!({}), "/commandId"),
    ] {
        let said = check(operation, Some(body), 400);
        assert_eq!(said["invalidParams"][0]["param"], param);
    }
    for (operation, name) in [("doa-authenticate", "reports"), ("doa-respond", "report")] {
        let mut body = json!({"challengeId": "00".repeat(16), "tellItems": 1});
        body[name] = if name == "report" {
            report.clone()
        } else {
            json!([report])
        };
        let said = check(operation, Some(body.clone()), 400);
        assert_eq!(said["invalidParams"][0]["param"], "/tellItems");
        body["tellItems"] = true.into();
        check(operation, Some(body), 200);
    }
    for field in ["nas", "randN", "areaId", "gnbId", "readerIndex"] {
        for value in [
            json!(null),
            json!(-1),
            json!("zz!"),
            json!([]),
            json!(1e300),
        ] {
            let mut bad = report.clone();
            bad[field] = value;
            let said = check("doa-authenticate", Some(json!({"reports": [bad]})), 400);
            assert_eq!(
                said["invalidParams"][0]["param"],
                format!("/reports/0/{field}")
            );
        }
    }
}

#[test]
fn our_own_openapi_file_holds_under_schemathesis() {
    let setup = Setup::new();
    let run = Run {
        file: &format!("{}/openapi.json", setup.root),
        url: &setup.root,
        authorization: &format!("Bearer {}", setup.token),
        examples_max: 40,
        args: &[],
    };
    assert_eq!(run.failures(), None);
}
