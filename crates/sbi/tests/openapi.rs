//! Our own OpenAPI file: served by every server, true of what we answer, and put to the test by schemathesis where that is
//! installed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::process::Command;
use std::sync::Arc;

use ambit_adm::{Adm, AdmConfig, Kek, system_entropy};
use ambit_aiotf::Watcher;
use ambit_aiotf::service::{RequestError, ServiceRequest};
use ambit_protocol::Snid;
use ambit_protocol::area::Plmn;
use ambit_sbi::adm::engine::AdmEngine;
use ambit_sbi::adm::{self, SharedAdm};
use ambit_sbi::aiotf::{self, AiotfAccess, ServiceConfig, Taken};
use ambit_sbi::client::{Client, Outgoing};
use ambit_sbi::clock::{unix_ms, unix_s};
use ambit_sbi::router::{OPENAPI, Router};
use ambit_sbi::runtime::Runtime;
use ambit_sbi::server::Limits;
use ambit_sbi::token::{Audience, Claims};
use ambit_store::SqliteStore;
use common::contract::Contract;
use common::{Pki, serve};
use hyper::Method;
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

/// An ADM in clear on loopback, as a tool that knows no certificates needs it; and a token for it.
struct Setup {
    runtime: Runtime,
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
        let shared: SharedAdm = Arc::new(AdmEngine::start(adm).unwrap().handle());
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
    let program = std::env::var("AMBIT_SCHEMATHESIS").unwrap_or_else(|_| "schemathesis".into());
    if Command::new(&program).arg("--version").output().is_err() {
        eprintln!("skipped: {program} is not installed (pip install schemathesis)");
        return;
    }
    let setup = Setup::new();
    let output = Command::new(program)
        .current_dir(std::env::temp_dir())
        .arg("run")
        .arg(format!("{}/openapi.json", setup.root))
        .args(["--url", &setup.root])
        .args([
            "--header",
            &format!("Authorization: Bearer {}", setup.token),
        ])
        .args([
            "--max-examples",
            "40",
            "--seed",
            "1",
            "--checks",
            "all",
            "--no-color",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}
