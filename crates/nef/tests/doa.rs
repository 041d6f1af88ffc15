//! An AF's subscriptions over HTTP: what it may make, see and change, what it is told when it may not, its streams and its dead
//! letters; all by our OpenAPI file, which is put to the test by schemathesis where that is installed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;
#[path = "../../sbi/tests/common/contract.rs"]
#[allow(dead_code)]
mod contract;
#[path = "common/receiver.rs"]
mod receiver;
#[path = "../../sbi/tests/common/schemathesis.rs"]
mod schemathesis;

use std::net::TcpListener;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use ambit_adm::{Adm, AdmConfig, Kek, system_entropy};
use ambit_adm_api::{AfAuthorization, AfDevices, AfQuota, AfReceive};
use ambit_aiotf::server::Notified;
use ambit_aiotf::service::{RequestError, ServiceRequest, TransactionId};
use ambit_nef::delivery::{Delivery, DeliveryConfig, StreamError, Streams};
use ambit_nef::exposure::{
    AreaNames, Callbacks, Exposure, ExposureConfig, InventoryAccess, OPENAPI,
};
use ambit_nef::subscription::service::{
    self, Ask, Begin, Opening, Refused, SubscriptionAccess, Told,
};
use ambit_nef::subscription::{
    self, DeliveryKey, Devices, Entitlement, EntitlementTable, Filter, Guard, Rules, Scope, Sink,
    Wanted, What,
};
use ambit_protocol::area::Plmn;
use ambit_protocol::{AreaId, Snid};
use ambit_sbi::adm::SharedAdm;
use ambit_sbi::adm::engine::AdmEngine;
use ambit_sbi::client::{Answer, Client, Outgoing};
use ambit_sbi::clock::unix_ms;
use ambit_sbi::exchange::Flow;
use ambit_sbi::json::to_base64;
use ambit_sbi::router::Router;
use ambit_sbi::runtime::Runtime;
use ambit_sbi::server::{self, Limits, ServerConfig};
use ambit_sbi::tls;
use ambit_sbi::token::Issuer;
use ambit_store::{DeadLetterRow, Delivered, DeliveryStore, EventFilter, SqliteStore};
use common::{NOW_MS, Report, accept_at, add_devices};
use contract::Contract;
use http_body_util::BodyExt;
use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderName};
use schemathesis::Run;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::AbortHandle;
use uuid::Uuid;
use zeroize::Zeroizing;

const BASE: &str = "/ambit-doa/v1";

fn area(code: u8) -> AreaId {
    Snid::new(Plmn::new("001", "01").unwrap(), None).area([0, 0, code])
}

/// An AIOTF that takes all it is asked and finds nobody.
struct Idle;

impl InventoryAccess for Idle {
    fn request(
        &self,
        _: &str,
        _: ServiceRequest,
    ) -> Option<Result<(TransactionId, Notified), RequestError>> {
        let (_, nothing) = mpsc::channel();
        Some(Ok((TransactionId(1), nothing.into())))
    }
}

/// The subscriptions in a store.
struct Local {
    path: PathBuf,
    rules: Rules,
    streams: Streams,
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Local")
    }
}

impl SubscriptionAccess for Local {
    fn ask(&self, af: &str, ask: Ask) -> Result<Told, Refused> {
        let mut store = SqliteStore::open(&self.path)?;
        service::answer(&mut store, &self.rules, &key(), af, ask, unix_ms())
    }

    fn follow(&self, af: String, id: String, begin: Begin) -> Opening {
        let streams = self.streams.clone();
        Box::pin(async move {
            let last = begin.last_event_id.as_deref();
            let stream = streams.open_for(&af, &id, last, begin.now).await?;
            Ok::<_, StreamError>(Flow(stream.pieces(())))
        })
    }
}

fn key() -> DeliveryKey {
    DeliveryKey::new(Zeroizing::new([7; 32]))
}

/// What an AF may receive, as its account and as delivery has it.
fn granted(subscriptions: u32) -> (AfAuthorization, Entitlement) {
    let account = AfAuthorization {
        areas: Some(vec![area(1), area(2)]),
        devices: AfDevices::Only {
            ids: vec![b"d2".to_vec()],
            filters: Vec::new(),
            fleets: vec!["pallets".into()],
        },
        receive: vec![AfReceive::Data, AfReceive::Presence],
        causes: Some(vec![1, 2, 3]),
        quota: AfQuota {
            rate: 10_000,
            burst: 10_000,
            inventories: 10_000,
            subscriptions,
        },
        ..AfAuthorization::default()
    };
    let entitlement = Entitlement {
        devices: Devices::Of {
            fleets: ["pallets".to_owned()].into(),
            devices: [b"d2".to_vec()].into(),
            prefixes: Default::default(),
        },
        areas: [*area(1).octets(), *area(2).octets()].into_iter().collect(),
        causes: [1, 2, 3].into_iter().collect(),
        what: [What::Data, What::Presence].into_iter().collect(),
        subscriptions_max: Some(subscriptions),
    };
    (account, entitlement)
}

/// A NEF in clear on loopback, with its store, a delivery beside it, and three AFs: `shop` and `rival` with the same rights, `all`
/// with every right there is.
struct Rig {
    dir: TempDir,
    runtime: Runtime,
    adm: AdmEngine<Adm>,
    _exposure: Arc<Exposure>,
    _delivery: Delivery,
    rules: Rules,
    root: String,
    contract: Contract,
    shop: String,
    rival: String,
    all: String,
    /// Client identifier and secret of `all`.
    credentials: String,
    tags: AtomicU64,
}

impl Rig {
    fn new(subscriptions: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sqlite3");
        let runtime = Runtime::start().unwrap();
        let config = AdmConfig {
            chain_epochs: 2000,
            ..AdmConfig::new(Snid::new(Plmn::new("001", "01").unwrap(), None))
        };
        let store = Box::new(SqliteStore::open(&path).unwrap());
        let kek = Kek::from_octets(&[0x4b; 32]);
        let mut adm = Adm::open(config, store, kek, system_entropy(), unix_ms()).unwrap();
        let (account, entitlement) = granted(subscriptions);
        let everything = AfAuthorization {
            areas: None,
            devices: AfDevices::All,
            causes: None,
            ..account.clone()
        };
        let all_of_it = Entitlement {
            devices: Devices::All,
            areas: Scope::All,
            causes: Scope::All,
            ..entitlement.clone()
        };
        let mut add = |name: &str, granted: &AfAuthorization| {
            let (af, secret) = adm.add_af(name, granted, unix_ms()).unwrap();
            format!("{}:{}", af.client_id, secret.expose())
        };
        let shop = add("shop", &account);
        let rival = add("rival", &account);
        let all = add("all", &everything);
        let rules = Rules {
            entitlements: Arc::new(EntitlementTable(
                [
                    ("shop".to_owned(), entitlement.clone()),
                    ("rival".to_owned(), entitlement),
                    ("all".to_owned(), all_of_it),
                ]
                .into(),
            )),
            per_af_max: 3,
            operator_max: 9,
            guard: Guard {
                allowed: vec!["127.0.0.1".parse().unwrap()],
                allow_clear: false,
            },
        };
        add_devices(&mut SqliteStore::open(&path).unwrap(), 4);
        let open = path.clone();
        let delivery = Delivery::start(
            DeliveryConfig {
                open: Arc::new(move || {
                    let store: Box<dyn DeliveryStore> = Box::new(SqliteStore::open(&open)?);
                    Ok(store)
                }),
                owner: [1; 16],
                is_shared: false,
                entitlements: Arc::clone(&rules.entitlements),
                guard: rules.guard.clone(),
                key: key(),
                source: "urn:ambit:test".into(),
                ca_file: None,
                give_up_s: 3600,
            },
            Arc::new(|_| {}),
        )
        .unwrap();
        let adm = AdmEngine::start(adm).unwrap();
        let shared: SharedAdm = Arc::new(adm.handle());
        let mut areas = AreaNames::default();
        areas.add("dock", vec![area(1)]).unwrap();
        areas.add("hall", vec![area(1), area(2)]).unwrap();
        areas.add("vault", vec![area(9)]).unwrap();
        let ca = dir.path().join("ca.pem");
        receiver::Pki::new().write_ca(&ca);
        let trusted = tls::client_of(&ca).unwrap();
        let config = ExposureConfig {
            id: Uuid::nil(),
            areas,
            token_lifetime_s: 600,
            issuer: Issuer::generate().unwrap(),
            callbacks: Callbacks::new(rules.guard.clone(), Some(trusted)),
            subscriptions: Some(Arc::new(Local {
                path,
                rules: rules.clone(),
                streams: delivery.streams(),
            })),
        };
        let exposure = {
            let _in_runtime = runtime.handle().enter();
            Exposure::new(config, &shared, Arc::new(Idle))
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let router = Arc::new(Router::describing(OPENAPI, exposure.routes(), None));
        let config = ServerConfig {
            credentials: None,
            limits: Limits::default(),
            name: "NEF".into(),
        };
        let address = server::start(runtime.handle(), listener, router, config).unwrap();
        let mut rig = Self {
            dir,
            runtime,
            adm,
            _exposure: exposure,
            _delivery: delivery,
            rules,
            root: format!("http://{address}"),
            contract: Contract::parse("openapi.json", OPENAPI.as_bytes()),
            shop: String::new(),
            rival: String::new(),
            all: String::new(),
            credentials: all,
            tags: AtomicU64::new(0),
        };
        rig.shop = rig.token(&shop, "");
        rig.rival = rig.token(&rival, "&scope=ambit-doa");
        rig.all = rig.token(&rig.credentials, "");
        rig
    }

    fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.dir.path().join("s.sqlite3")).unwrap()
    }

    fn send(&self, outgoing: Outgoing) -> Answer {
        let client = Client::new(None, None);
        let sent = self.runtime.handle().block_on(client.send(outgoing));
        sent.unwrap()
    }

    fn token(&self, credentials: &str, scope: &str) -> String {
        let form = format!("grant_type=client_credentials{scope}").into_bytes();
        let mut outgoing = Outgoing::new(Method::POST, format!("{}/oauth2/token", self.root))
            .typed("application/x-www-form-urlencoded", form);
        let basic = format!("Basic {}", to_base64(credentials.as_bytes()));
        outgoing
            .headers
            .push((AUTHORIZATION, basic.parse().unwrap()));
        let said = self.send(outgoing).json().unwrap();
        said["access_token"].as_str().unwrap().to_owned()
    }

    /// Asks, and checks the answer against our file.
    fn ask(&self, token: &str, method: &Method, path: &str, body: Option<Value>) -> Answer {
        let uri = format!("{}{BASE}{path}", self.root);
        let mut outgoing = Outgoing::new(method.clone(), uri).token(Some(token.to_owned()));
        if path.contains("/events") {
            let accept = HeaderName::from_static("accept");
            outgoing.headers.push((accept, "*/*".parse().unwrap()));
        }
        if let Some(body) = body {
            let media_type = match *method {
                Method::PATCH => "application/merge-patch+json",
                _ => "application/json",
            };
            outgoing = outgoing.typed(media_type, body.to_string().into_bytes());
        }
        let answer = self.send(outgoing);
        let mut template = format!("{BASE}/{{afId}}");
        for (n, part) in path.split(['/', '?']).skip(2).enumerate() {
            match (n, part) {
                (1, _) => template += "/{subscriptionId}",
                (_, part) if part.contains('=') => {}
                (_, part) => template = format!("{template}/{part}"),
            }
        }
        let method = method.as_str().to_lowercase();
        self.contract.check(&template, &method, &answer);
        answer
    }

    fn refused(
        &self,
        token: &str,
        method: &Method,
        path: &str,
        body: Option<Value>,
    ) -> (u16, String, String) {
        let answer = self.ask(token, method, path, body);
        let said = answer.json().unwrap();
        let text = |name: &str| said[name].as_str().unwrap().to_owned();
        (answer.status, text("cause"), text("detail"))
    }

    fn subscribe(&self, token: &str, af: &str, body: Value) -> Value {
        let answer = self.ask(
            token,
            &Method::POST,
            &format!("/{af}/subscriptions"),
            Some(body),
        );
        assert_eq!(answer.status, 201, "{:?}", answer.json());
        let said = answer.json().unwrap();
        let id = said["subscriptionId"].as_str().unwrap();
        let location = answer.headers["location"].to_str().unwrap();
        assert_eq!(location, format!("{BASE}/{af}/subscriptions/{id}"));
        said
    }

    /// Accepts a report of each device: d1 and d3 of `pallets`, d2 and d4 of `crates`.
    fn reports(&self) {
        let mut store = self.store();
        for device in 1..=4 {
            let tag = self.tags.fetch_add(1, Ordering::SeqCst) + 1;
            let report = Report {
                device,
                time_ms: NOW_MS + i64::try_from(tag).unwrap(),
                ..Report::default()
            };
            accept_at(&mut store, report, *area(1).octets(), tag);
        }
    }

    /// Reads a stream: id and CloudEvent of each event.
    fn read(&self, token: &str, path: &str, last: Option<&str>) -> Reading {
        let uri = format!("{}{BASE}{path}", self.root);
        let mut outgoing = Outgoing::new(Method::GET, uri).token(Some(token.to_owned()));
        let header = |name: &'static str| HeaderName::from_static(name);
        let accept = (header("accept"), "text/event-stream".parse().unwrap());
        outgoing.headers.push(accept);
        if let Some(last) = last {
            outgoing
                .headers
                .push((header("last-event-id"), last.parse().unwrap()));
        }
        let (send, events) = mpsc::channel();
        let task = self.runtime.handle().spawn(async move {
            let client = Client::new(None, None);
            let Ok(mut body) = client.open(outgoing).await else {
                return;
            };
            let mut text = String::new();
            while let Some(Ok(frame)) = body.frame().await {
                text += std::str::from_utf8(frame.data_ref().unwrap()).unwrap();
                while let Some((event, rest)) = text.split_once("\n\n") {
                    let part = |name: &str| {
                        event
                            .lines()
                            .find_map(|line| line.strip_prefix(name))
                            .map(str::to_owned)
                    };
                    if let (Some(id), Some(data)) = (part("id: "), part("data: ")) {
                        let event = serde_json::from_str(&data).unwrap();
                        if send.send((id, event)).is_err() {
                            return;
                        }
                    }
                    text = rest.to_owned();
                }
            }
        });
        Reading {
            events,
            task: task.abort_handle(),
        }
    }

    fn refusals(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let filter = EventFilter {
            kind: Some("af_refused"),
            since_ms: None,
        };
        let keep = &mut |event: &ambit_store::EventRow| {
            let detail: Value = serde_json::from_str(&event.detail).unwrap();
            let text = |name: &str| detail[name].as_str().unwrap().to_owned();
            found.push((text("af"), text("cause")));
        };
        let read = |event: ambit_store::EventRow| {
            keep(&event);
            ControlFlow::Continue(())
        };
        let mut read = read;
        let mut store = self.store();
        ambit_store::Store::events_for_each(&mut store, &filter, &mut read).unwrap();
        found
    }
}

/// A reader of a stream; gone when it is dropped.
struct Reading {
    events: Receiver<(String, Value)>,
    task: AbortHandle,
}

impl Reading {
    fn next(&self) -> Result<(String, Value), RecvTimeoutError> {
        self.events.recv_timeout(Duration::from_secs(30))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn callback() -> Value {
    json!({ "sink": { "kind": "CALLBACK", "url": "https://127.0.0.1:1/told", "batch": true } })
}

fn stream() -> Value {
    json!({ "sink": { "kind": "STREAM" } })
}

fn with(mut body: Value, name: &str, value: Value) -> Value {
    body[name] = value;
    body
}

#[test]
fn an_af_makes_sees_holds_and_deletes_its_own_subscriptions_and_no_other_s() {
    let rig = Rig::new(8);
    let wanted = json!({
        "events": ["DATA", "PRESENCE"],
        "targetDevices": { "devices": [to_base64(b"d1"), to_base64(b"d2")] },
        "extTargetArea": { "extAreaIds": ["hall", "dock"] },
        "fleets": ["pallets"],
        "causes": [2, 3],
        "sink": callback()["sink"],
    });
    let made = rig.subscribe(&rig.shop, "shop", wanted.clone());
    for name in ["events", "targetDevices", "fleets", "causes", "sink"] {
        assert_eq!(made[name], wanted[name], "{name}");
    }
    assert_eq!(made["extTargetArea"], json!({ "extAreaIds": ["hall"] }));
    assert_eq!(
        (&made["state"], &made["deadLetters"]),
        (&json!("ACTIVE"), &json!(0))
    );
    let id = made["subscriptionId"].as_str().unwrap().to_owned();
    assert_eq!(made["secret"], key().callback_secret(&id).as_str());
    let own = format!("/shop/subscriptions/{id}");

    // The secret was told this once.
    let without = |mut view: Value| {
        view.as_object_mut().unwrap().remove("secret");
        view
    };
    let get = |token: &str, path: &str| {
        let answer = rig.ask(token, &Method::GET, path, None);
        assert_eq!(answer.status, 200);
        answer.json().unwrap()
    };
    assert_eq!(get(&rig.shop, &own), without(made.clone()));
    let of_stream = rig.subscribe(&rig.shop, "shop", stream());
    assert!(of_stream.get("secret").is_none());
    assert_eq!(of_stream["events"], json!(["DATA"]));
    let all = get(&rig.shop, "/shop/subscriptions");
    assert_eq!(all["subscriptions"].as_array().unwrap().len(), 2);

    // What the operator made for it it sees too, without how the core gets in there.
    let of_operator = Wanted {
        af: Some("shop".into()),
        filter: Filter {
            areas: vec![area(2).octets().to_vec()],
            ..Filter::default()
        },
        sink: Sink::Mqtt {
            url: "mqtts://127.0.0.1".into(),
            topic: "a".into(),
            username: Some("core".into()),
            password_file: None,
        },
        since_ms: None,
    };
    let mqtt = subscription::add(&mut rig.store(), &rig.rules, of_operator, 1).unwrap();
    let shown = get(&rig.shop, &format!("/shop/subscriptions/{}", mqtt.id));
    assert_eq!(shown["sink"], json!({ "kind": "MQTT" }));
    let unnamed = format!("area={}", hex::encode(area(2).octets()));
    assert_eq!(shown["extTargetArea"], json!({ "extAreaIds": [unnamed] }));

    // Held, and let go on; nothing else changes.
    for state in ["PAUSED", "PAUSED", "ACTIVE"] {
        let body = Some(json!({ "state": state }));
        let changed = rig.ask(&rig.shop, &Method::PATCH, &own, body);
        assert_eq!(
            (changed.status, &changed.json().unwrap()["state"]),
            (200, &json!(state))
        );
        let row = rig.store().subscription(&id).unwrap().unwrap();
        assert_eq!(row.is_paused, state == "PAUSED");
    }
    for (body, param) in [
        (json!({}), "/state"),
        (json!({ "state": "GONE" }), "/state"),
        (json!({ "state": null }), "/state"),
        (
            json!({ "state": "PAUSED", "sink": callback()["sink"] }),
            "/sink",
        ),
    ] {
        let said = rig
            .ask(&rig.shop, &Method::PATCH, &own, Some(body))
            .json()
            .unwrap();
        assert_eq!(said["invalidParams"][0]["param"], param);
    }

    // To another AF, and to the operator's own and what is none at all, it is as if it were not there.
    let operators = Wanted {
        af: None,
        filter: Filter::default(),
        sink: Sink::Stream,
        since_ms: None,
    };
    let operators = subscription::add(&mut rig.store(), &rig.rules, operators, 1).unwrap();
    assert_eq!(
        get(&rig.rival, "/rival/subscriptions")["subscriptions"],
        json!([])
    );
    for (token, af, id) in [
        (&rig.rival, "rival", id.as_str()),
        (&rig.shop, "shop", &operators.id),
        (&rig.shop, "shop", "0123456789abcdef"),
        (&rig.shop, "shop", "..%2F..%2Fx"),
    ] {
        let one = format!("/{af}/subscriptions/{id}");
        for (method, path, body) in [
            (Method::GET, one.clone(), None),
            (
                Method::PATCH,
                one.clone(),
                Some(json!({ "state": "PAUSED" })),
            ),
            (Method::DELETE, one.clone(), None),
            (Method::GET, format!("{one}/events"), None),
            (Method::GET, format!("{one}/dead-letters"), None),
            (
                Method::POST,
                format!("{one}/dead-letters/retry"),
                Some(json!({})),
            ),
        ] {
            let (status, cause, _) = rig.refused(token, &method, &path, body);
            assert_eq!(
                (status, cause.as_str()),
                (404, "SUBSCRIPTION_NOT_FOUND"),
                "{method} {path}"
            );
        }
    }
    // Nor by its name in the path: that it is there is not told.
    for path in [
        own.clone(),
        "/shop/subscriptions".into(),
        "/nobody/subscriptions".into(),
    ] {
        let (status, cause, _) = rig.refused(&rig.rival, &Method::GET, &path, None);
        assert_eq!((status, cause.as_str()), (403, "AF_ID_MISMATCH"));
    }
    wait_until("it is on record", || {
        rig.refusals()
            .contains(&("rival".to_owned(), "AF_ID_MISMATCH".to_owned()))
    });
    assert!(rig.store().subscription(&id).unwrap().is_some());

    let gone = rig.ask(&rig.shop, &Method::DELETE, &own, None);
    assert_eq!(gone.status, 204);
    assert!(rig.store().subscription(&id).unwrap().is_none());
    assert_eq!(rig.ask(&rig.shop, &Method::DELETE, &own, None).status, 404);
}

#[test]
fn what_an_af_may_not_receive_it_may_not_subscribe_to_and_each_error_names_field_and_rule() {
    let rig = Rig::new(3);
    let path = "/shop/subscriptions";
    let device = |id: &[u8]| json!({ "devices": [to_base64(id)] });
    let names = |name: &str| json!({ "extAreaIds": [name] });
    let to = |url: &str| json!({ "kind": "CALLBACK", "url": url });
    for (body, status, cause, part) in [
        (
            with(stream(), "targetDevices", device(b"d4")),
            403,
            "DEVICE_NOT_ALLOWED",
            "/targetDevices/devices",
        ),
        (
            with(stream(), "targetDevices", device(b"none")),
            403,
            "DEVICE_NOT_ALLOWED",
            "/targetDevices/devices",
        ),
        (
            with(stream(), "fleets", json!(["crates"])),
            403,
            "FLEET_NOT_ALLOWED",
            "/fleets",
        ),
        (
            with(stream(), "fleets", json!(["none"])),
            403,
            "FLEET_NOT_ALLOWED",
            "/fleets",
        ),
        (
            with(stream(), "extTargetArea", names("vault")),
            403,
            "AREA_NOT_ALLOWED",
            "/extTargetArea/extAreaIds/0",
        ),
        (
            with(stream(), "extTargetArea", names("none")),
            403,
            "AREA_NOT_ALLOWED",
            "/extTargetArea/extAreaIds/0",
        ),
        (
            with(stream(), "causes", json!([2, 4])),
            403,
            "CAUSE_NOT_ALLOWED",
            "/causes",
        ),
        (
            json!({ "sink": to("https://10.0.0.1/") }),
            403,
            "CALLBACK_NOT_ALLOWED",
            "/sink/url",
        ),
        (
            json!({ "sink": to("https://[::1]/") }),
            403,
            "CALLBACK_NOT_ALLOWED",
            "/sink/url",
        ),
        (json!({}), 400, "MANDATORY_IE_MISSING", "/sink"),
        (
            json!({ "sink": {} }),
            400,
            "MANDATORY_IE_MISSING",
            "/sink/kind",
        ),
        (
            json!({ "sink": { "kind": "CALLBACK" } }),
            400,
            "MANDATORY_IE_MISSING",
            "/sink/url",
        ),
        (
            json!({ "sink": { "kind": "MQTT", "url": "mqtts://a", "topic": "a" } }),
            400,
            "MANDATORY_IE_INCORRECT",
            "/sink/kind: must be CALLBACK or STREAM: files and brokers are the operator's alone",
        ),
        (
            json!({ "sink": { "kind": "FILE", "path": "/etc/passwd" } }),
            400,
            "MANDATORY_IE_INCORRECT",
            "/sink/kind",
        ),
        (
            json!({ "sink": { "kind": "STREAM", "url": "https://a/" } }),
            400,
            "OPTIONAL_IE_INCORRECT",
            "/sink/url",
        ),
        (
            json!({ "sink": to("http://127.0.0.1/") }),
            400,
            "MANDATORY_IE_INCORRECT",
            "/sink/url: must begin with https://",
        ),
        (
            json!({ "sink": to("https://user:pass@127.0.0.1/") }),
            400,
            "MANDATORY_IE_INCORRECT",
            "/sink/url",
        ),
        (
            json!({ "sink": to("https://127.0.0.1*/") }),
            400,
            "MANDATORY_IE_INCORRECT",
            "/sink/url",
        ),
        (
            json!({ "sink": to("not a url") }),
            400,
            "MANDATORY_IE_INCORRECT",
            "/sink/url",
        ),
        (
            with(stream(), "events", json!(["ALARMS"])),
            400,
            "OPTIONAL_IE_INCORRECT",
            "/events/0",
        ),
        (
            with(stream(), "events", json!(["DATA", "DATA"])),
            400,
            "OPTIONAL_IE_INCORRECT",
            "/events",
        ),
        (
            with(stream(), "events", json!([])),
            400,
            "OPTIONAL_IE_INCORRECT",
            "/events",
        ),
        (
            with(stream(), "causes", json!([16])),
            400,
            "OPTIONAL_IE_INCORRECT",
            "/causes/0",
        ),
        (
            with(
                stream(),
                "targetDevices",
                json!({ "filteringInfo": to_base64(b"d") }),
            ),
            400,
            "OPTIONAL_IE_INCORRECT",
            "/targetDevices",
        ),
        (
            with(
                stream(),
                "targetDevices",
                json!({ "devices": vec![to_base64(b"d1"); 257] }),
            ),
            400,
            "OPTIONAL_IE_INCORRECT",
            "/targetDevices/devices",
        ),
        (json!([]), 400, "INVALID_MSG_FORMAT", "object"),
    ] {
        let (found, said, detail) = rig.refused(&rig.shop, &Method::POST, path, Some(body.clone()));
        assert_eq!((found, said.as_str()), (status, cause), "{body}: {detail}");
        assert!(detail.contains(part), "{body}: {detail}");
    }
    assert_eq!(
        rig.store().subscriptions().unwrap(),
        [],
        "nothing half done"
    );
    // What an AF with every right is told: that it is not there.
    let path_of_all = "/all/subscriptions";
    for (body, cause) in [
        (
            with(stream(), "targetDevices", device(b"none")),
            "DEVICE_NOT_FOUND",
        ),
        (with(stream(), "fleets", json!(["none"])), "FLEET_NOT_FOUND"),
        (
            with(stream(), "extTargetArea", names("none")),
            "AREA_NOT_FOUND",
        ),
    ] {
        let (status, said, _) = rig.refused(&rig.all, &Method::POST, path_of_all, Some(body));
        assert_eq!((status, said.as_str()), (404, cause));
    }
    // The control: what is granted is made, up to the quota, which is each AF's own.
    for body in [
        with(stream(), "targetDevices", device(b"d2")),
        with(stream(), "extTargetArea", names("dock")),
        with(callback(), "events", json!(["PRESENCE"])),
    ] {
        rig.subscribe(&rig.shop, "shop", body);
    }
    let answer = rig.ask(&rig.shop, &Method::POST, path, Some(stream()));
    assert_eq!(
        (answer.status, &answer.json().unwrap()["cause"]),
        (429, &json!("QUOTA_EXCEEDED"))
    );
    assert!(answer.headers.contains_key("retry-after"));
    rig.subscribe(&rig.rival, "rival", stream());
    // Who gets in, and what a body must be.
    for (token, status) in [("", 401), ("x.y.z", 401), (rig.shop.as_str(), 200)] {
        assert_eq!(rig.ask(token, &Method::GET, path, None).status, status);
    }
    let uri = format!("{}{BASE}{path}", rig.root);
    let typed = |media_type: &str, body: Vec<u8>| {
        let outgoing = Outgoing::new(Method::POST, &uri).token(Some(rig.shop.clone()));
        rig.send(outgoing.typed(media_type, body)).status
    };
    assert_eq!(typed("text/plain", b"{}".to_vec()), 415);
    assert_eq!(typed("application/json", vec![b' '; (256 << 10) + 1]), 413);
    assert_eq!(typed("application/json", b"{".to_vec()), 400);
    wait_until("refusals are on record", || {
        let refusals = rig.refusals();
        let has = |af: &str, cause: &str| refusals.contains(&(af.to_owned(), cause.to_owned()));
        [
            "DEVICE_NOT_ALLOWED",
            "FLEET_NOT_ALLOWED",
            "AREA_NOT_ALLOWED",
            "CAUSE_NOT_ALLOWED",
            "CALLBACK_NOT_ALLOWED",
            "QUOTA_EXCEEDED",
        ]
        .into_iter()
        .all(|cause| has("shop", cause))
            && has("", "UNAUTHORIZED")
    });
}

#[test]
fn a_token_for_something_else_is_no_token_for_subscriptions() {
    let rig = Rig::new(1);
    let make = |adm: &mut Adm| {
        let (account, _) = granted(1);
        let (af, secret) = adm.add_af("narrow", &account, unix_ms()).unwrap();
        format!("{}:{}", af.client_id, secret.expose())
    };
    let credentials = rig.adm.handle().call(make).unwrap();
    let token = rig.token(&credentials, "&scope=3gpp-aiot");
    let path = "/narrow/subscriptions";
    let (status, cause, _) = rig.refused(&token, &Method::GET, path, None);
    assert_eq!((status, cause.as_str()), (403, "INSUFFICIENT_SCOPE"));
    let token = rig.token(&credentials, "&scope=3gpp-aiot+ambit-doa");
    assert_eq!(rig.ask(&token, &Method::GET, path, None).status, 200);
    // It has an account, and delivery knows of nothing that it may receive.
    let (status, cause, _) = rig.refused(&token, &Method::POST, path, Some(stream()));
    assert_eq!((status, cause.as_str()), (403, "RECEIVE_NOT_ALLOWED"));
}

#[test]
fn an_af_follows_its_own_stream_and_goes_on_where_it_was() {
    let rig = Rig::new(3);
    let made = rig.subscribe(&rig.shop, "shop", stream());
    let id = made["subscriptionId"].as_str().unwrap();
    let path = format!("/shop/subscriptions/{id}/events");
    let events = rig.read(&rig.shop, &path, None);
    rig.reports();
    let device = |event: &Value| event["data"]["device_id"].as_str().unwrap().to_owned();
    let got: Vec<(String, Value)> = (0..3).map(|_| events.next().unwrap()).collect();
    let devices: Vec<String> = got.iter().map(|(_, event)| device(event)).collect();
    // Those of its fleet and the one that it is granted by name; the fourth is another's.
    assert_eq!(devices, ["d1", "d2", "d3"].map(hex::encode));
    drop(events);
    // Behind the first: what it has not seen; from now: nothing of before.
    let rest = rig.read(&rig.shop, &path, Some(&got[0].0));
    assert_eq!(rest.next().unwrap(), got[1]);
    let live = rig.read(&rig.shop, &format!("{path}?from=now"), None);
    // As many readers as it may have subscriptions: the first of too many is refused.
    let mut more = Vec::new();
    loop {
        let one = rig.read(&rig.shop, &path, None);
        match one.next() {
            Ok(_) => more.push(one),
            Err(error) => {
                assert_eq!(error, RecvTimeoutError::Disconnected);
                break;
            }
        }
        assert!(more.len() < 2, "beyond its quota");
    }
    let (status, cause, _) = rig.refused(&rig.shop, &Method::GET, &path, None);
    assert_eq!((status, cause.as_str()), (429, "QUOTA_EXCEEDED"));
    drop(more);
    std::thread::sleep(Duration::from_millis(500));
    rig.reports();
    let (_, first) = live.next().unwrap();
    assert_eq!(first["data"]["record"], 5);
    drop((rest, live));
    let refused = |path: &str, status: u16, cause: &str| {
        wait_until(cause, || {
            rig.refused(&rig.shop, &Method::GET, path, None).0 == status
        });
        assert_eq!(rig.refused(&rig.shop, &Method::GET, path, None).1, cause);
    };
    refused(&format!("{path}?from=then"), 400, "INVALID_QUERY_PARAM");
    let one = format!("/shop/subscriptions/{id}");
    rig.ask(
        &rig.shop,
        &Method::PATCH,
        &one,
        Some(json!({ "state": "PAUSED" })),
    );
    refused(&path, 409, "SUBSCRIPTION_PAUSED");
    let other = rig.subscribe(&rig.shop, "shop", callback());
    let other = other["subscriptionId"].as_str().unwrap();
    refused(
        &format!("/shop/subscriptions/{other}/events"),
        409,
        "NOT_A_STREAM",
    );
}

#[test]
fn a_stream_ends_with_the_account_or_secret_of_its_reader() {
    let rig = Rig::new(2);
    let made = rig.subscribe(&rig.shop, "shop", stream());
    let id = made["subscriptionId"].as_str().unwrap();
    let events = rig.read(&rig.shop, &format!("/shop/subscriptions/{id}/events"), None);
    rig.reports();
    assert!(events.next().is_ok());
    let renewed = rig
        .adm
        .handle()
        .call(|adm| adm.renew_af_secret("shop", unix_ms()).map(drop));
    renewed.unwrap().unwrap();
    let started = Instant::now();
    while !matches!(
        events.events.recv_timeout(Duration::from_secs(1)),
        Err(RecvTimeoutError::Disconnected)
    ) {
        assert!(started.elapsed() < Duration::from_secs(30), "never ends");
    }
}

#[test]
fn an_af_lists_its_dead_letters_and_has_them_tried_again() {
    let rig = Rig::new(2);
    let made = rig.subscribe(&rig.shop, "shop", callback());
    let id = made["subscriptionId"].as_str().unwrap();
    // Held, so that nobody but the test says what became of messages.
    let one = format!("/shop/subscriptions/{id}");
    rig.ask(
        &rig.shop,
        &Method::PATCH,
        &one,
        Some(json!({ "state": "PAUSED" })),
    );
    let mut store = rig.store();
    let lease = store.subscription(id).unwrap().unwrap().lease;
    assert!(store.subscription_take(id, &[9; 16], lease).unwrap());
    let letters = (0..300).map(|n| DeadLetterRow {
        message: format!("r{n:04}"),
        failed_ms: 1_700_000_000_000,
        tries: 1,
        error: "415 Unsupported Media Type".into(),
        is_retried: false,
    });
    let delivered = Delivered {
        subscription: id.into(),
        refused: letters.collect(),
        ..Delivered::default()
    };
    assert_eq!(
        store.delivery_commit(&[9; 16], &[delivered]).unwrap(),
        [true]
    );
    let list = |after: &str| {
        let answer = rig.ask(
            &rig.shop,
            &Method::GET,
            &format!("{one}/dead-letters{after}"),
            None,
        );
        answer.json().unwrap()
    };
    let first = list("");
    assert_eq!(first["deadLetters"].as_array().unwrap().len(), 256);
    assert_eq!(
        first["deadLetters"][0]["error"],
        "415 Unsupported Media Type"
    );
    let next = first["next"].as_str().unwrap();
    let rest = list(&format!("?after={next}"));
    assert_eq!(rest["deadLetters"].as_array().unwrap().len(), 44);
    assert!(rest.get("next").is_none());
    let retry = |body: Value| {
        rig.ask(
            &rig.shop,
            &Method::POST,
            &format!("{one}/dead-letters/retry"),
            Some(body),
        )
    };
    assert_eq!(
        retry(json!({ "messages": ["r0001", "r0002"] }))
            .json()
            .unwrap()["retried"],
        2
    );
    assert_eq!(list("")["deadLetters"][1]["retry"], true);
    assert_eq!(list("")["deadLetters"][3]["retry"], false);
    let unknown = retry(json!({ "messages": ["r9999"] }));
    assert_eq!(unknown.json().unwrap()["retried"], 0);
    assert_eq!(retry(json!({ "messages": ["a b"] })).status, 400);
    assert_eq!(retry(json!({ "messages": [] })).status, 400);
    assert_eq!(retry(json!({})).json().unwrap()["retried"], 300);
    assert_eq!(
        rig.ask(&rig.shop, &Method::GET, &one, None).json().unwrap()["deadLetters"],
        300
    );
}

/// The file as it is, but that the AF names itself and asks for what is there: of names out of the air nothing comes but refusals.
fn file_of(rig: &Rig) -> PathBuf {
    let mut file: Value = serde_json::from_str(OPENAPI).unwrap();
    // Name servers are not asked: the test must not hang on theirs.
    let url = json!({ "enum": ["https://127.0.0.1:1/told", "https://127.0.0.1:1"] });
    file["components"]["parameters"]["afId"]["schema"] = json!({ "const": "all" });
    for name in ["InventoryReq", "CommandReq"] {
        file["components"]["schemas"][name]["properties"]["afId"] = json!({ "const": "all" });
        file["components"]["schemas"][name]["properties"]["notifUri"] = url.clone();
    }
    file["components"]["schemas"]["ExtTargetArea"]["properties"]["extAreaIds"]["items"] =
        json!({ "enum": ["dock", "hall", "vault"] });
    let wanted = &mut file["components"]["schemas"]["DoaSubscriptionReq"]["properties"];
    wanted["fleets"]["items"] = json!({ "enum": ["pallets", "crates"] });
    wanted["targetDevices"]["properties"]["devices"]["items"] =
        json!({ "enum": [to_base64(b"d1"), to_base64(b"d2")] });
    wanted["sink"]["oneOf"][0]["properties"]["url"] = url;
    let path = rig.dir.path().join("openapi.json");
    std::fs::write(&path, file.to_string()).unwrap();
    path
}

#[test]
fn the_openapi_file_of_the_nef_holds_under_schemathesis() {
    let rig = Rig::new(100_000);
    let file = file_of(&rig);
    let run = Run {
        file: file.to_str().unwrap(),
        url: &rig.root,
        authorization: &format!("Bearer {}", rig.all),
        examples_max: 25,
        args: &["--exclude-path-regex", "/oauth2/|/events$"],
    };
    assert_eq!(run.failures(), None);
    // The token endpoint, by whoever has the secret.
    let run = Run {
        authorization: &format!("Basic {}", to_base64(rig.credentials.as_bytes())),
        args: &[
            "--include-path",
            "/oauth2/token",
            "--phases",
            "coverage,fuzzing",
        ],
        ..run
    };
    assert_eq!(run.failures(), None);
}
