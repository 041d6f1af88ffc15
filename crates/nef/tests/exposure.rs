//! The exposure to AFs over HTTP, on a real ADM: `3gpp-aiot` by 3GPP's file, who gets in, who may what, and what goes on
//! record.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "../../sbi/tests/common/contract.rs"]
#[allow(dead_code)]
mod contract;

use std::net::TcpListener;
use std::ops::ControlFlow;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ambit_adm::{Adm, AdmConfig, Kek, system_entropy};
use ambit_adm_api::{AfAuthorization, AfDevices, AfOperation, AfQuota};
use ambit_aiotf::server::Notified;
use ambit_aiotf::service::{
    DeviceFailure, DevicePlace, DeviceResult, Devices, FailureCause, Notification, Operation,
    Progress, RequestError, ServiceRequest, TransactionId,
};
use ambit_nef::exposure::{
    AreaNames, Callbacks, Exposure, ExposureConfig, InventoryAccess, OPENAPI,
};
use ambit_nef::subscription::Guard;
use ambit_protocol::area::Plmn;
use ambit_protocol::{AreaId, Snid};
use ambit_provisioning::read_csv;
use ambit_sbi::adm::SharedAdm;
use ambit_sbi::adm::engine::AdmEngine;
use ambit_sbi::client::{Answer, Client, Outgoing};
use ambit_sbi::clock::unix_ms;
use ambit_sbi::exchange::{Exchange, Reply};
use ambit_sbi::json::to_base64;
use ambit_sbi::router::{Access, Route, Router, Takes};
use ambit_sbi::runtime::Runtime;
use ambit_sbi::server::{self, Limits, ServerConfig};
use ambit_sbi::token::{Audience, Claims, Issuer};
use ambit_store::{EventFilter, SqliteStore};
use contract::Contract;
use hyper::Method;
use serde_json::{Value, json};
use uuid::Uuid;

const INVENTORY: &str = "/3gpp-aiot/v1/request-inv";
const COMMAND: &str = "/3gpp-aiot/v1/request-cmd";

fn area(code: u8) -> AreaId {
    Snid::new(Plmn::new("001", "01").unwrap(), None).area([0, 0, code])
}

/// An AIOTF that takes what it is asked; the test plays what it finds.
#[derive(Default)]
struct Fake {
    asked: Mutex<Vec<(String, ServiceRequest)>>,
    answer: Mutex<Option<RequestError>>,
    open: Mutex<Vec<Sender<Notification>>>,
}

impl InventoryAccess for Fake {
    fn request(
        &self,
        af: &str,
        request: ServiceRequest,
    ) -> Option<Result<(TransactionId, Notified), RequestError>> {
        let mut asked = self.asked.lock().unwrap();
        asked.push((af.to_owned(), request));
        if let Some(error) = self.answer.lock().unwrap().take() {
            return Some(Err(error));
        }
        let (to, results) = mpsc::channel();
        self.open.lock().unwrap().push(to);
        Some(Ok((TransactionId(asked.len() as u64), results.into())))
    }
}

impl Fake {
    fn asked(&self) -> Vec<(String, ServiceRequest)> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    /// Tells the requester of the last request.
    fn tell(&self, devices: Vec<DeviceResult>, is_last: bool, failure: Option<FailureCause>) {
        let open = self.open.lock().unwrap();
        let _ = open.last().unwrap().send(Notification {
            transaction: TransactionId(1),
            devices,
            is_last,
            failure,
            progress: Progress::default(),
        });
    }
}

fn found(device: &str, code: u8) -> DeviceResult {
    DeviceResult {
        device_id: device.as_bytes().into(),
        place: Some(DevicePlace {
            area_id: area(code),
            gnb_id: 1,
            reader_index: 2,
        }),
        data: None,
        failure: None,
    }
}

/// A NEF in clear on loopback, with two AFs.
struct Setup {
    runtime: Runtime,
    adm: AdmEngine<Adm>,
    fake: Arc<Fake>,
    exposure: Arc<Exposure>,
    root: String,
    callback: String,
    told: Arc<Mutex<Vec<Value>>>,
    /// Client identifier and secret.
    shop: (String, String),
    all: (String, String),
}

fn shop() -> AfAuthorization {
    AfAuthorization {
        areas: Some(vec![area(1), area(2)]),
        operations: vec![AfOperation::Inventory, AfOperation::Read],
        devices: AfDevices::Only {
            ids: vec![b"shelf-1".to_vec()],
            filters: vec![b"pallet".to_vec()],
            fleets: vec!["tools".into()],
        },
        quota: AfQuota {
            rate: 1000,
            burst: 1000,
            inventories: 1000,
            subscriptions: 1,
        },
        ..AfAuthorization::default()
    }
}

fn everything() -> AfAuthorization {
    AfAuthorization {
        areas: None,
        operations: AfOperation::ALL.to_vec(),
        devices: AfDevices::All,
        ..shop()
    }
}

impl Setup {
    fn new() -> Self {
        Self::with(Guard {
            allowed: vec!["127.0.0.0/8".parse().unwrap()],
            allow_clear: true,
        })
    }

    fn with(guard: Guard) -> Self {
        let runtime = Runtime::start().unwrap();
        let config = AdmConfig {
            chain_epochs: 2000,
            ..AdmConfig::new(Snid::new(Plmn::new("001", "01").unwrap(), None))
        };
        let store = Box::new(SqliteStore::in_memory().unwrap());
        let kek = Kek::from_octets(&[0x4b; 32]);
        let mut adm = Adm::open(config, store, kek, system_entropy(), unix_ms()).unwrap();
        let key = "00112233445566778899aabbccddeeff";
        let csv = ["shelf-1,shelves", "shelf-2,shelves", "drill-1,tools"]
            .map(|device| device.replace(',', &format!(",2b,1,beacon,{key},8,")))
            .join("\n");
        let csv = format!("device_id,device_type,suite,form,key,tag_len,fleet\n{csv}\n");
        adm.import(&read_csv(csv.as_bytes()).unwrap(), unix_ms())
            .unwrap();
        let mut add = |name: &str, granted: &AfAuthorization| {
            let (af, secret) = adm.add_af(name, granted, unix_ms()).unwrap();
            (af.client_id, secret.expose().to_owned())
        };
        let (shop, all) = (add("shop", &shop()), add("all", &everything()));
        let adm = AdmEngine::start(adm).unwrap();
        let shared: SharedAdm = Arc::new(adm.handle());
        let fake = Arc::new(Fake::default());
        let mut areas = AreaNames::default();
        areas.add("dock", vec![area(1)]).unwrap();
        areas.add("hall", vec![area(1), area(2)]).unwrap();
        areas.add("vault", vec![area(9)]).unwrap();
        areas.add("site", vec![area(1), area(9)]).unwrap();
        let config = ExposureConfig {
            id: Uuid::nil(),
            areas,
            token_lifetime_s: 600,
            issuer: Issuer::generate().unwrap(),
            callbacks: Callbacks::new(guard, None),
            subscriptions: None,
        };
        let exposure = {
            let _in_runtime = runtime.handle().enter();
            Exposure::new(config, &shared, fake.clone())
        };
        let root = serve(
            &runtime,
            Router::describing(OPENAPI, exposure.routes(), None),
        );
        let told = Arc::new(Mutex::new(Vec::new()));
        let listen = {
            let told = Arc::clone(&told);
            move |exchange: Exchange| {
                let body = exchange.json().cloned();
                let answer = body.map(|body| {
                    told.lock().unwrap().push(body);
                    Reply::no_content()
                });
                std::future::ready(answer)
            }
        };
        let json = Takes::Json(&["application/json"]);
        let route = Route::new("told", Method::POST, "/told", Access::Peer, json, listen);
        let callback = serve(&runtime, Router::new(vec![route], None));
        Self {
            runtime,
            adm,
            fake,
            exposure,
            root,
            callback: format!("{callback}/told"),
            told,
            shop,
            all,
        }
    }

    fn send(&self, outgoing: Outgoing) -> Answer {
        let client = Client::new(None, None);
        let sent = self.runtime.handle().block_on(client.send(outgoing));
        sent.unwrap()
    }

    /// Asks for a token as RFC 6749 has it.
    fn ask_token(&self, (client, secret): (&str, &str), form: &str) -> Answer {
        let uri = format!("{}/oauth2/token", self.root);
        let form = form.as_bytes().to_vec();
        let mut outgoing =
            Outgoing::new(Method::POST, uri).typed("application/x-www-form-urlencoded", form);
        let basic = format!(
            "Basic {}",
            to_base64(format!("{client}:{secret}").as_bytes())
        );
        outgoing
            .headers
            .push((hyper::header::AUTHORIZATION, basic.parse().unwrap()));
        self.send(outgoing)
    }

    fn token(&self, (client, secret): &(String, String)) -> String {
        let answer = self.ask_token((client, secret), "grant_type=client_credentials");
        assert_eq!(answer.status, 200);
        answer.json().unwrap()["access_token"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn ask(&self, path: &str, token: &str, body: &Value) -> Answer {
        let uri = format!("{}{path}", self.root);
        let outgoing = Outgoing::new(Method::POST, uri)
            .json(body)
            .token(Some(token.to_owned()));
        self.send(outgoing)
    }

    fn wait_told(&self, count: usize) -> Vec<Value> {
        wait_until(|| self.told.lock().unwrap().len() >= count);
        std::mem::take(&mut *self.told.lock().unwrap())
    }

    /// Refusals on record: AF, cause and how often.
    fn refusals(&self) -> Vec<(String, String, u64)> {
        let read = |adm: &mut Adm| {
            let mut found = Vec::new();
            let filter = EventFilter {
                kind: Some("af_refused"),
                since_ms: None,
            };
            adm.store()
                .events_for_each(&filter, &mut |event| {
                    let detail: Value = serde_json::from_str(&event.detail).unwrap();
                    let text = |name: &str| detail[name].as_str().unwrap().to_owned();
                    found.push((text("af"), text("cause"), event.count));
                    ControlFlow::Continue(())
                })
                .unwrap();
            found
        };
        self.adm.handle().call(read).unwrap()
    }

    fn wait_refused(&self, af: &str, cause: &str) {
        wait_until(|| {
            let mut refusals = self.refusals().into_iter();
            refusals.any(|(who, why, _)| who == af && why == cause)
        });
    }

    fn request(&self, af: &str, target: Value) -> Value {
        let mut body = json!({ "afId": af, "notifUri": self.callback });
        let members = target.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(members);
        body
    }
}

fn serve(runtime: &Runtime, router: Router) -> String {
    let config = ServerConfig {
        credentials: None,
        limits: Limits::default(),
        name: "TEST".into(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server::start(runtime.handle(), listener, Arc::new(router), config).unwrap();
    format!("http://{address}")
}

fn wait_until(is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(60), "never");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn refused(answer: &Answer, status: u16, cause: &str) -> String {
    let said = answer.json().unwrap();
    assert_eq!(
        (answer.status, &said["cause"]),
        (status, &json!(cause)),
        "{said}"
    );
    said["detail"].as_str().unwrap().to_owned()
}

#[test]
fn inventory_and_command_are_as_in_3gpp_s_file_and_reach_the_aiotf_as_meant() {
    let setup = Setup::new();
    let contract = Contract::of_3gpp("TS29522_AIoT.json");
    let check = |path: &str, answer: &Answer| {
        if let Some(contract) = &contract {
            let path = path.strip_prefix("/3gpp-aiot/v1").unwrap();
            contract.check(path, "post", answer);
        }
    };
    let token = setup.token(&setup.all);
    let ask = |path: &str, target: Value| {
        let body = setup.request("all", target);
        if let Some(contract) = &contract {
            let schema = if path == COMMAND {
                "CommandReq"
            } else {
                "InventoryReq"
            };
            contract.check_schema(schema, &body);
        }
        let answer = setup.ask(path, &token, &body);
        check(path, &answer);
        assert_eq!(answer.status, 200, "{:?}", answer.json());
        let said = answer.json().unwrap();
        let (af, request) = setup.fake.asked().pop().unwrap();
        assert_eq!(af, "all");
        (said, request)
    };
    let (said, request) = ask(
        INVENTORY,
        json!({ "extTargetArea": { "extAreaIds": ["hall", "dock"] }, "numDevices": 7, "timeInterval": 30,
                "devLocReqInd": true, "suppFeat": "0" }),
    );
    assert_eq!(said["suppFeat"], "0");
    assert_eq!(request.areas, [area(1), area(2)]);
    assert_eq!(
        (request.devices, request.operation),
        (Devices::All, Operation::Inventory)
    );
    assert_eq!(
        (request.expected, request.interval_s, request.timeout_s),
        (Some(7), Some(30), 90)
    );
    assert!(request.is_concealed);
    let trans_id = said["afTransId"].clone();

    // Results: with places by the names that AFs know, without gNB and reader.
    setup.fake.tell(vec![found("shelf-1", 1)], false, None);
    setup.fake.tell(vec![found("shelf-2", 7)], true, None);
    let told = setup.wait_told(2);
    for body in &told {
        if let Some(contract) = &contract {
            contract.check_schema("AIoTNotif", body);
        }
        assert_eq!(body["afTransId"], trans_id);
    }
    let device = &told[0]["devicesRepData"][0];
    assert_eq!(device["deviceId"], to_base64(b"shelf-1"));
    assert_eq!(device["deviceLocInfo"], json!({ "customLocInfo": "dock" }));
    assert!(told[0].get("lastRepInd").is_none());
    let place = &told[1]["devicesRepData"][0]["deviceLocInfo"]["customLocInfo"];
    assert_eq!(place, &format!("area={}", hex::encode(area(7).octets())));
    assert_eq!(told[1]["lastRepInd"], true);

    let devices = json!({ "devices": [to_base64(b"shelf-1"), to_base64(b"shelf-2")] });
    let (_, request) = ask(
        COMMAND,
        json!({ "commandType": "READ", "targetDevices": devices, "offset": 4, "length": 6, "msgSize": 10 }),
    );
    assert!(request.areas.is_empty());
    assert_eq!(
        request.operation,
        Operation::Read {
            offset: 4,
            length: 6
        }
    );
    let named = Devices::Named(vec![b"shelf-1".to_vec(), b"shelf-2".to_vec()]);
    assert_eq!(request.devices, named);
    let read = DeviceResult {
        data: Some(b"21.5".to_vec()),
        ..found("shelf-1", 1)
    };
    let failed = DeviceResult {
        failure: Some(DeviceFailure::LowEnergy),
        ..found("shelf-2", 1)
    };
    setup.fake.tell(vec![read, failed], true, None);
    let told = setup.wait_told(1).remove(0);
    if let Some(contract) = &contract {
        contract.check_schema("AIoTNotif", &told);
    }
    assert_eq!(told["devicesRepData"][0]["readCmdRep"], to_base64(b"21.5"));
    assert!(
        told["devicesRepData"][0].get("deviceLocInfo").is_none(),
        "not asked for"
    );
    assert_eq!(told["devicesRepData"][1]["failCause"], "LOW_ENERGY");

    let (_, request) = ask(
        COMMAND,
        json!({ "commandType": "WRITE", "targetDevices": { "filteringInfo": to_base64(b"sh") }, "data": to_base64(b"on") }),
    );
    let write = Operation::Write {
        offset: 0,
        data: b"on".to_vec(),
    };
    assert_eq!(
        (request.devices, request.operation),
        (Devices::Filter(b"sh".to_vec()), write)
    );
    setup
        .fake
        .tell(Vec::new(), true, Some(FailureCause::AuthenticationFailure));
    let told = setup.wait_told(1).remove(0);
    assert_eq!(
        (&told["failCause"], &told["lastRepInd"]),
        (&json!("AUTH_FAILURE"), &json!(true))
    );
    let (_, request) = ask(
        COMMAND,
        json!({ "commandType": "PERMANENT_DISABLE", "targetDevices": devices }),
    );
    assert_eq!(request.operation, Operation::PermanentDisable);

    // What breaks a rule is named; nothing of it reaches the AIOTF.
    let dock = json!({ "extAreaIds": ["dock"] });
    for (path, change, status, param) in [
        (
            INVENTORY,
            json!({ "extTargetArea": null }),
            400,
            "/extTargetArea",
        ),
        (
            INVENTORY,
            json!({ "extTargetArea": { "extAreaIds": [] } }),
            400,
            "/extTargetArea/extAreaIds",
        ),
        (
            INVENTORY,
            json!({ "extTargetArea": { "extAreaIds": [""] } }),
            400,
            "/extTargetArea/extAreaIds/0",
        ),
        (
            INVENTORY,
            json!({ "extTargetArea": { "civicAddresses": [{}] } }),
            400,
            "/extTargetArea/civicAddresses",
        ),
        (
            INVENTORY,
            json!({ "extTargetArea": dock, "numDevices": -1 }),
            400,
            "/numDevices",
        ),
        (
            INVENTORY,
            json!({ "extTargetArea": dock, "timeInterval": 257 }),
            400,
            "/timeInterval",
        ),
        (
            INVENTORY,
            json!({ "extTargetArea": dock, "devLocReqInd": false }),
            400,
            "/devLocReqInd",
        ),
        (
            INVENTORY,
            json!({ "extTargetArea": dock, "suppFeat": "x" }),
            400,
            "/suppFeat",
        ),
        (
            INVENTORY,
            json!({ "targetDevices": {} }),
            400,
            "/targetDevices",
        ),
        (
            INVENTORY,
            json!({ "extTargetArea": dock, "notifUri": "/told" }),
            400,
            "/notifUri",
        ),
        (
            INVENTORY,
            json!({ "extTargetArea": dock, "notifUri": 7 }),
            400,
            "/notifUri",
        ),
        (
            INVENTORY,
            json!({ "extTargetArea": dock, "afId": 7 }),
            400,
            "/afId",
        ),
        (
            COMMAND,
            json!({ "targetDevices": devices }),
            400,
            "/commandType",
        ),
        (
            COMMAND,
            json!({ "targetDevices": devices, "commandType": "ERASE" }),
            400,
            "/commandType",
        ),
        (
            COMMAND,
            json!({ "targetDevices": devices, "commandType": "READ" }),
            400,
            "/length",
        ),
        (
            COMMAND,
            json!({ "targetDevices": devices, "commandType": "WRITE", "data": "!" }),
            400,
            "/data",
        ),
    ] {
        let answer = setup.ask(path, &token, &setup.request("all", change.clone()));
        check(path, &answer);
        let said = answer.json().unwrap();
        assert_eq!(answer.status, status, "{change}: {said}");
        assert_eq!(said["invalidParams"][0]["param"], param, "{change}: {said}");
    }
    let unknown = setup.request(
        "all",
        json!({ "extTargetArea": { "extAreaIds": ["moon"] } }),
    );
    refused(
        &setup.ask(INVENTORY, &token, &unknown),
        404,
        "AREA_NOT_FOUND",
    );
    assert!(setup.fake.asked().is_empty());
    // What the AIOTF refuses.
    for (error, status, cause) in [
        (
            RequestError::UnknownDevice { at: 1 },
            404,
            "DEVICE_NOT_FOUND",
        ),
        (RequestError::AreaNotServed, 404, "AREA_NOT_SERVED"),
        (RequestError::TooMany, 429, "NF_CONGESTION_RISK"),
        (RequestError::Adm("x".into()), 503, "NF_FAILOVER"),
    ] {
        *setup.fake.answer.lock().unwrap() = Some(error);
        let answer = setup.ask(
            INVENTORY,
            &token,
            &setup.request("all", json!({ "extTargetArea": dock })),
        );
        check(INVENTORY, &answer);
        refused(&answer, status, cause);
    }
}

#[test]
fn an_af_gets_in_with_its_secret_alone_and_guessing_is_slowed() {
    let setup = Setup::new();
    let good = "grant_type=client_credentials";
    let (client, secret) = (setup.shop.0.as_str(), setup.shop.1.as_str());
    let answer = setup.ask_token(
        (client, secret),
        &format!("{good}&scope=3gpp-aiot+3gpp-aiot%3Ainventory"),
    );
    let said = answer.json().unwrap();
    assert_eq!(
        (answer.status, &said["token_type"]),
        (200, &json!("Bearer"))
    );
    assert_eq!(answer.headers["cache-control"], "no-store");
    let narrow = said["access_token"].as_str().unwrap().to_owned();
    for (form, error) in [
        ("", "invalid_request"),
        ("grant_type=password", "unsupported_grant_type"),
        (
            "grant_type=client_credentials&grant_type=client_credentials",
            "invalid_request",
        ),
        (
            "grant_type=client_credentials&scope=nadm-sec",
            "invalid_scope",
        ),
        (
            "grant_type=client_credentials&scope=3gpp-aiot++",
            "invalid_scope",
        ),
    ] {
        let answer = setup.ask_token((client, secret), form);
        assert_eq!(
            (answer.status, &answer.json().unwrap()["error"]),
            (400, &json!(error)),
            "{form}"
        );
    }
    let dock = || {
        setup.request(
            "shop",
            json!({ "extTargetArea": { "extAreaIds": ["dock"] } }),
        )
    };
    assert_eq!(setup.ask(INVENTORY, &narrow, &dock()).status, 200);
    let mut read = setup.request(
        "shop",
        json!({ "targetDevices": { "devices": [to_base64(b"shelf-1")] } }),
    );
    read["commandType"] = "READ".into();
    read["length"] = 4.into();
    refused(
        &setup.ask(COMMAND, &narrow, &read),
        403,
        "INSUFFICIENT_SCOPE",
    );

    // Tokens of nobody, of others, and changed ones.
    let uri = format!("{}{INVENTORY}", setup.root);
    let none = setup.send(Outgoing::new(Method::POST, uri).json(&dock()));
    refused(&none, 401, "UNAUTHORIZED");
    assert!(
        none.headers["www-authenticate"]
            .to_str()
            .unwrap()
            .starts_with("Bearer")
    );
    let mut changed = narrow.clone();
    changed.replace_range(30..31, if &changed[30..31] == "A" { "B" } else { "A" });
    let forged = Issuer::generate().unwrap().issue(&Claims {
        iss: "x".into(),
        sub: "all".into(),
        aud: Audience::Type("NEF".into()),
        scope: "3gpp-aiot".into(),
        exp: i64::MAX / 2,
        iat: None,
        secret_ms: None,
    });
    for token in [changed.as_str(), &forged, "x", ""] {
        refused(&setup.ask(INVENTORY, token, &dock()), 401, "UNAUTHORIZED");
    }
    setup.wait_refused("", "UNAUTHORIZED");

    // A new secret: the old one and its tokens are good for nothing, at once where they are looked at anew.
    let renewed = setup.adm.handle().call(|adm| {
        let (_, secret) = adm.renew_af_secret("shop", unix_ms() + 1).unwrap();
        secret.expose().to_owned()
    });
    let renewed = (client.to_owned(), renewed.unwrap());
    wait_until(|| setup.ask(INVENTORY, &narrow, &dock()).status == 401);
    let answer = setup.ask_token((client, secret), good);
    let said = answer.json().unwrap();
    assert_eq!(
        (answer.status, &said["error"]),
        (401, &json!("invalid_client"))
    );
    assert!(
        answer.headers["www-authenticate"]
            .to_str()
            .unwrap()
            .starts_with("Basic")
    );
    let fresh = setup.token(&renewed);
    assert_eq!(setup.ask(INVENTORY, &fresh, &dock()).status, 200);
    setup
        .adm
        .handle()
        .call(|adm| adm.remove_af("shop", unix_ms()).unwrap())
        .unwrap();
    wait_until(|| setup.ask(INVENTORY, &fresh, &dock()).status == 401);
    setup.wait_refused("shop", "UNAUTHORIZED");

    // Guessing: after some wrong secrets not even the right one is looked at.
    let mut statuses = Vec::new();
    for n in 0..30 {
        statuses.push(
            setup
                .ask_token((&setup.all.0, &format!("guess-{n}")), good)
                .status,
        );
    }
    assert!(statuses.starts_with(&[401; 5]), "{statuses:?}");
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    let answer = setup.ask_token((&setup.all.0, &setup.all.1), good);
    refused(&answer, 429, "QUOTA_EXCEEDED");
    assert!(answer.headers.contains_key("retry-after"));
    setup.wait_refused("", "invalid_client");
    setup.wait_refused("", "QUOTA_EXCEEDED");
}

/// T18: an AF reads others' devices and commands outside its area or rights.
#[test]
fn t18_what_an_af_was_not_granted_is_refused_with_the_rule_and_goes_on_record() {
    let setup = Setup::new();
    let token = setup.token(&setup.shop);
    let devices = |ids: &[&str]| {
        let ids: Vec<_> = ids.iter().map(|id| to_base64(id.as_bytes())).collect();
        json!({ "devices": ids })
    };
    let read = |target: Value| {
        let mut body = target;
        body["commandType"] = "READ".into();
        body["length"] = 4.into();
        body
    };
    let attacks = [
        // Another's name.
        (
            INVENTORY,
            "all",
            json!({ "extTargetArea": { "extAreaIds": ["dock"] } }),
            "AF_ID_MISMATCH",
            "/afId",
        ),
        // An area that is not its own, one of which a part is not, and one that is not there: all alike.
        (
            INVENTORY,
            "shop",
            json!({ "extTargetArea": { "extAreaIds": ["vault"] } }),
            "AREA_NOT_ALLOWED",
            "extAreaIds/0",
        ),
        (
            INVENTORY,
            "shop",
            json!({ "extTargetArea": { "extAreaIds": ["dock", "site"] } }),
            "AREA_NOT_ALLOWED",
            "extAreaIds/1",
        ),
        (
            INVENTORY,
            "shop",
            json!({ "extTargetArea": { "extAreaIds": ["moon"] } }),
            "AREA_NOT_ALLOWED",
            "extAreaIds/0",
        ),
        // Devices of others, and ones that are not there: alike.
        (
            INVENTORY,
            "shop",
            json!({ "targetDevices": devices(&["shelf-1", "shelf-2"]) }),
            "DEVICE_NOT_ALLOWED",
            "devices/1",
        ),
        (
            INVENTORY,
            "shop",
            json!({ "targetDevices": devices(&["nobody"]) }),
            "DEVICE_NOT_ALLOWED",
            "devices/0",
        ),
        (
            COMMAND,
            "shop",
            read(json!({ "targetDevices": devices(&["shelf-2"]) })),
            "DEVICE_NOT_ALLOWED",
            "devices/0",
        ),
        // Commands to a crowd that is not all its own.
        (
            COMMAND,
            "shop",
            read(json!({ "targetDevices": { "filteringInfo": to_base64(b"shelf") } })),
            "DEVICE_NOT_ALLOWED",
            "filteringInfo",
        ),
        (
            COMMAND,
            "shop",
            read(json!({ "extTargetArea": { "extAreaIds": ["dock"] } })),
            "DEVICE_NOT_ALLOWED",
            "everybody",
        ),
        // Operations that it does not have.
        (
            COMMAND,
            "shop",
            json!({ "commandType": "WRITE", "data": "AA==", "targetDevices": devices(&["shelf-1"]) }),
            "OPERATION_NOT_ALLOWED",
            "WRITE",
        ),
        (
            COMMAND,
            "shop",
            json!({ "commandType": "PERMANENT_DISABLE", "targetDevices": devices(&["shelf-1"]) }),
            "OPERATION_NOT_ALLOWED",
            "PERMANENT_DISABLE",
        ),
    ];
    for (path, af, target, cause, rule) in &attacks {
        let answer = setup.ask(path, &token, &setup.request(af, target.clone()));
        let detail = refused(&answer, 403, cause);
        assert!(detail.contains(rule), "{target}: {detail}");
        setup.wait_refused("shop", cause);
    }
    assert!(
        setup.fake.asked().is_empty(),
        "nothing of it went on the air"
    );

    // Its own is open to it: by ID, by filter, by fleet. Without an area it is looked for where the AF may look.
    for ids in [
        &["shelf-1"][..],
        &["pallet-77"],
        &["drill-1"],
        &["shelf-1", "drill-1", "pallet-1"],
    ] {
        for (path, target) in [
            (INVENTORY, json!({ "targetDevices": devices(ids) })),
            (COMMAND, read(json!({ "targetDevices": devices(ids) }))),
        ] {
            let answer = setup.ask(path, &token, &setup.request("shop", target));
            assert_eq!(answer.status, 200, "{:?}", answer.json());
            assert_eq!(setup.fake.asked()[0].1.areas, [area(1), area(2)]);
        }
    }
    let own = read(json!({ "targetDevices": { "filteringInfo": to_base64(b"pallet-7") } }));
    assert_eq!(
        setup
            .ask(COMMAND, &token, &setup.request("shop", own))
            .status,
        200
    );

    // The control: to an AF that was granted everything all of it is open, so it is the rights that refuse.
    setup.fake.asked();
    let token = setup.token(&setup.all);
    for (path, _, target, ..) in attacks.iter().filter(|(.., rule)| *rule != "/afId") {
        let answer = setup.ask(path, &token, &setup.request("all", target.clone()));
        let is_there = !target.to_string().contains("moon");
        assert_eq!(answer.status, if is_there { 200 } else { 404 }, "{target}");
    }
}

#[test]
fn an_inventory_of_an_area_tells_an_af_of_its_own_devices_alone() {
    let setup = Setup::new();
    let token = setup.token(&setup.shop);
    let hall = setup.request(
        "shop",
        json!({ "extTargetArea": { "extAreaIds": ["hall"] } }),
    );
    assert_eq!(setup.ask(INVENTORY, &token, &hall).status, 200);
    let fake = &setup.fake;
    fake.tell(vec![found("shelf-2", 1), found("stranger", 1)], false, None);
    fake.tell(
        vec![
            found("shelf-2", 1),
            found("drill-1", 2),
            found("pallet-9", 1),
            found("shelf-1", 9),
        ],
        false,
        None,
    );
    fake.tell(Vec::new(), true, None);
    let told = setup.wait_told(2);
    let ids: Vec<_> = told[0]["devicesRepData"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| &d["deviceId"])
        .collect();
    assert_eq!(ids, [&to_base64(b"drill-1"), &to_base64(b"pallet-9")]);
    assert_eq!(told[1]["lastRepInd"], true);
    assert!(told[1].get("failCause").is_none() && told[1].get("devicesRepData").is_none());

    // Nobody of its own: it does not learn that others were there.
    for failure in [None, Some(FailureCause::AuthenticationFailure)] {
        assert_eq!(setup.ask(INVENTORY, &token, &hall).status, 200);
        fake.tell(vec![found("shelf-2", 1)], true, failure);
        let told = setup.wait_told(1);
        assert_eq!(told[0]["failCause"], "NO_SUCC_INV_RESP");
    }

    // A right that is taken away while results come ends them.
    assert_eq!(setup.ask(INVENTORY, &token, &hall).status, 200);
    fake.tell(vec![found("shelf-1", 1)], false, None);
    setup.wait_told(1);
    let mut less = shop();
    less.operations = vec![AfOperation::Read];
    setup
        .adm
        .handle()
        .call(move |adm| adm.set_af("shop", &less, unix_ms()).unwrap())
        .unwrap();
    wait_until(|| setup.ask(INVENTORY, &token, &hall).status == 403);
    fake.tell(vec![found("shelf-1", 1)], false, None);
    // The receiver is dropped: the AIOTF need not go on.
    wait_until(|| {
        fake.tell(vec![found("shelf-1", 1)], false, None);
        let open = fake.open.lock().unwrap();
        let probe = Notification {
            transaction: TransactionId(1),
            devices: Vec::new(),
            is_last: false,
            failure: None,
            progress: Progress::default(),
        };
        open.last().unwrap().send(probe).is_err()
    });
    assert!(setup.told.lock().unwrap().is_empty());
}

/// T18: an AF floods.
#[test]
fn t18_a_flood_gets_429_and_costs_one_row_and_another_af_is_served() {
    let setup = Setup::new();
    let quota = AfQuota {
        rate: 1,
        burst: 5,
        inventories: 2,
        subscriptions: 0,
    };
    let few = AfAuthorization { quota, ..shop() };
    setup
        .adm
        .handle()
        .call(move |adm| adm.set_af("shop", &few, unix_ms()).unwrap())
        .unwrap();
    let token = setup.token(&setup.shop);
    let dock = |af: &str| setup.request(af, json!({ "extTargetArea": { "extAreaIds": ["dock"] } }));
    let started = Instant::now();
    let answers: Vec<_> = (0..200)
        .map(|_| setup.ask(INVENTORY, &token, &dock("shop")))
        .collect();
    let passed = 5 + started.elapsed().as_secs() as usize + 1;
    let limited: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 429)
        .collect();
    assert!(limited.len() >= 200 - passed, "{}", limited.len());
    assert!(
        limited
            .iter()
            .all(|answer| answer.headers.contains_key("retry-after"))
    );
    refused(limited[0], 429, "QUOTA_EXCEEDED");
    // Of what passed, two are under way; the third has to wait for one of them.
    let taken = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(taken, 2);
    assert_eq!(setup.fake.asked().len(), 2);
    setup.wait_refused("shop", "QUOTA_EXCEEDED");
    assert!(setup.refusals().len() <= 3, "{:?}", setup.refusals());
    // Another AF does not notice.
    let other = setup.token(&setup.all);
    assert_eq!(setup.ask(INVENTORY, &other, &dock("all")).status, 200);
    // What has ended makes room.
    let (to, _) = {
        let open = setup.fake.open.lock().unwrap();
        (open[0].clone(), ())
    };
    let last = Notification {
        transaction: TransactionId(1),
        devices: Vec::new(),
        is_last: true,
        failure: None,
        progress: Progress::default(),
    };
    to.send(last).unwrap();
    wait_until(|| setup.ask(INVENTORY, &token, &dock("shop")).status == 200);
}

#[test]
fn callbacks_to_where_only_the_core_can_reach_are_refused() {
    let setup = Setup::with(Guard::default());
    let token = setup.token(&setup.shop);
    let ask = |uri: &str| {
        let mut body = setup.request(
            "shop",
            json!({ "extTargetArea": { "extAreaIds": ["dock"] } }),
        );
        body["notifUri"] = uri.into();
        setup.ask(INVENTORY, &token, &body)
    };
    // In clear is refused first; over TLS there is no CA here, which is said.
    assert_eq!(ask(&setup.callback).status, 400);
    assert_eq!(ask("https://8.8.8.8/").status, 400);
    let setup = Setup::with(Guard {
        allowed: Vec::new(),
        allow_clear: true,
    });
    let token = setup.token(&setup.shop);
    for uri in [
        setup.callback.as_str(),
        "http://localhost:9/told",
        "http://10.0.0.1/told",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]:9/told",
        "http://[::ffff:127.0.0.1]/told",
        "http://0.0.0.0/told",
        "http://2130706433/told",
        "http://0x7f.1/told",
    ] {
        let mut body = setup.request(
            "shop",
            json!({ "extTargetArea": { "extAreaIds": ["dock"] } }),
        );
        body["notifUri"] = uri.into();
        let answer = setup.ask(INVENTORY, &token, &body);
        refused(&answer, 403, "CALLBACK_NOT_ALLOWED");
    }
    setup.wait_refused("shop", "CALLBACK_NOT_ALLOWED");
    assert!(setup.fake.asked().is_empty() && setup.told.lock().unwrap().is_empty());
}

#[test]
fn a_callback_that_fails_is_tried_again_and_one_that_refuses_is_not() {
    let setup = Setup::new();
    let token = setup.token(&setup.shop);
    let calls = Arc::new(Mutex::new(Vec::new()));
    let answer = {
        let calls = Arc::clone(&calls);
        move |exchange: Exchange| {
            let mut calls = calls.lock().unwrap();
            calls.push(exchange.path(0).to_owned());
            let first = calls
                .iter()
                .filter(|path| *path == exchange.path(0))
                .count()
                == 1;
            let answer = match (exchange.path(0), first) {
                ("later", true) => Err(ambit_sbi::problem::Problem::unavailable("not now", 1)),
                ("never", _) => Err(ambit_sbi::problem::Problem::refused("NO", "no")),
                ("moved", _) => Ok(Reply {
                    status: 307,
                    ..Reply::no_content()
                }
                .with(hyper::header::LOCATION, "/cb/elsewhere")),
                _ => Ok(Reply::no_content()),
            };
            std::future::ready(answer)
        }
    };
    let json = Takes::Json(&["application/json"]);
    let route = Route::new("cb", Method::POST, "/cb/{}", Access::Peer, json, answer);
    let root = serve(&setup.runtime, Router::new(vec![route], None));
    for name in ["later", "never", "moved"] {
        let mut body = setup.request(
            "shop",
            json!({ "extTargetArea": { "extAreaIds": ["dock"] } }),
        );
        body["notifUri"] = format!("{root}/cb/{name}").into();
        assert_eq!(setup.ask(INVENTORY, &token, &body).status, 200);
        setup.fake.tell(vec![found("shelf-1", 1)], true, None);
    }
    let counts =
        || -> std::collections::BTreeMap<_, _> { setup.exposure.counts().into_iter().collect() };
    wait_until(|| {
        counts().get("notification_refused") == Some(&2)
            && counts().get("notification_taken") == Some(&1)
    });
    let calls = calls.lock().unwrap();
    let count = |name: &str| calls.iter().filter(|path| *path == name).count();
    assert_eq!(
        (
            count("later"),
            count("never"),
            count("moved"),
            count("elsewhere")
        ),
        (2, 1, 1, 0)
    );
}
