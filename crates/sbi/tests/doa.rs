//! Subscriptions to what devices report: who asked is told, in order, of what it asked for, within bounds.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ambit_adm_api::DoaItem;
use ambit_aiotf::service::{DevicePlace, RequestError, ServiceRequest};
use ambit_aiotf::{AcceptedReport, Watcher};
use ambit_protocol::area::Plmn;
use ambit_protocol::{Cause, Snid};
use ambit_sbi::aiotf::callback::CallbackCounts;
use ambit_sbi::aiotf::doa::Limits;
use ambit_sbi::aiotf::{self, AiotfAccess, ServiceConfig, Taken};
use ambit_sbi::client::{Answer, Client, Outgoing};
use ambit_sbi::exchange::{Exchange, Reply};
use ambit_sbi::nrf::client::NrfClient;
use ambit_sbi::problem::Problem;
use ambit_sbi::router::{Access, OPENAPI, Route, Takes};
use common::contract::Contract;
use common::{Network, id_of};
use hyper::Method;
use serde_json::{Value, json};

const LIST: &str = "/naiotf-aiot/v1/doa-subscriptions";
const ONE: &str = "/naiotf-aiot/v1/doa-subscriptions/{subscriptionId}";

/// An AIOTF that accepts what the test says.
#[derive(Default)]
struct Fake(Mutex<Option<Watcher>>);

impl AiotfAccess for Fake {
    fn request(&self, _: ServiceRequest) -> Option<Result<Taken, RequestError>> {
        None
    }

    fn watch(&self, watcher: Watcher) {
        *self.0.lock().unwrap() = Some(watcher);
    }
}

/// One notification as it came: its body, and its correlation.
type Heard = (Value, Option<String>);

/// A subscriber's callback: what it was told, and what it answers next instead of 204.
#[derive(Default)]
struct Callback {
    told: Mutex<Vec<Heard>>,
    answers: Mutex<VecDeque<u16>>,
    /// Answers 503 while it is set.
    is_down: AtomicBool,
    tries: Mutex<u64>,
    /// Where 307 leads.
    elsewhere: Mutex<String>,
}

impl Callback {
    fn route(callback: &Arc<Self>, path: &'static str) -> Route {
        let callback = Arc::clone(callback);
        let json = Takes::Json(&["application/json"]);
        Route::new(
            "told",
            Method::POST,
            path,
            Access::Peer,
            json,
            move |exchange| std::future::ready(callback.answer(&exchange)),
        )
    }

    fn answer(&self, exchange: &Exchange) -> Result<Reply, Problem> {
        *self.tries.lock().unwrap() += 1;
        if self.is_down.load(Ordering::SeqCst) {
            return Err(Problem::unavailable("down", 0));
        }
        let status = self.answers.lock().unwrap().pop_front();
        if let Some(status) = status {
            let location = hyper::header::LOCATION;
            let reply = Reply {
                status,
                ..Reply::no_content()
            };
            return Ok(reply.with(location, &self.elsewhere.lock().unwrap()));
        }
        let correlation = exchange.header("3gpp-sbi-correlation-info");
        let heard = (exchange.json()?.clone(), correlation.map(str::to_owned));
        self.told.lock().unwrap().push(heard);
        Ok(Reply::no_content())
    }

    /// The reports told so far, in their order.
    fn reports(&self) -> Vec<Value> {
        let told = self.told.lock().unwrap();
        let reports = told.iter().flat_map(|(body, _)| body["reports"].as_array());
        reports.flatten().cloned().collect()
    }
}

struct Setup {
    network: Network,
    root: String,
    nef: NrfClient,
    token: String,
    fake: Arc<Fake>,
    counts: Arc<CallbackCounts>,
    callback: Arc<Callback>,
    uri: String,
    contract: Contract,
}

impl Setup {
    fn new(doa: Limits) -> Self {
        let network = Network::new();
        let (credentials, _) = network.function("aiotf", "AIOTF");
        let (nef_credentials, nef) = network.function("nef", "NEF");
        let fake = Arc::new(Fake::default());
        let client = Client::new(Some(credentials.clone()), None);
        let config = ServiceConfig {
            doa,
            ..ServiceConfig::new(id_of(&credentials))
        };
        let counts = Arc::clone(&config.counts);
        let routes = aiotf::routes(fake.clone(), client, config);
        let root = network.serve(&credentials, "AIOTF", routes);
        let callback = Arc::new(Callback::default());
        let paths = ["/told", "/elsewhere"];
        let routes = paths.map(|path| Callback::route(&callback, path)).into();
        let nef_root = network.serve(&nef_credentials, "NEF", routes);
        *callback.elsewhere.lock().unwrap() = format!("{nef_root}/elsewhere");
        let token = network.run(nef.token("naiotf-aiot", "AIOTF")).unwrap();
        Self {
            network,
            root,
            nef,
            token,
            fake,
            counts,
            callback,
            uri: format!("{nef_root}/told"),
            contract: Contract::parse("openapi.json", OPENAPI.as_bytes()),
        }
    }

    fn outgoing(&self, method: Method, path: &str, body: Option<&Value>) -> Outgoing {
        let outgoing = Outgoing::new(method, format!("{}{path}", self.root));
        let outgoing = outgoing.token(Some(self.token.clone()));
        match body {
            Some(body) => outgoing.json(body),
            None => outgoing,
        }
    }

    /// Sends, and checks the answer against our own file.
    fn send(&self, outgoing: Outgoing) -> Answer {
        let method = outgoing.method.as_str().to_lowercase();
        let path = if outgoing.uri.ends_with("doa-subscriptions") {
            LIST
        } else {
            ONE
        };
        let answer = self.network.send(&self.nef, outgoing);
        self.contract.check(path, &method, &answer);
        answer
    }

    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let answer = self.send(self.outgoing(method, path, body));
        let body = serde_json::from_slice(&answer.body).unwrap_or_default();
        (answer.status, body)
    }

    /// Subscribes with these members besides the callback; the subscription's path.
    fn subscribe(&self, members: Value) -> String {
        let mut body = members;
        body["notifUri"] = self.uri.clone().into();
        let mut outgoing = self.outgoing(Method::POST, LIST, Some(&body));
        let name = "3gpp-sbi-correlation-info".parse().unwrap();
        outgoing.headers.push((name, "nef-1".parse().unwrap()));
        let answer = self.send(outgoing);
        assert_eq!(answer.status, 201, "{:?}", answer.body);
        answer.headers["location"].to_str().unwrap().to_owned()
    }

    fn status(&self, path: &str) -> u16 {
        self.ask(Method::GET, path, None).0
    }

    /// The AIOTF accepts a new report, if anybody wants to know.
    fn accept(&self, report: AcceptedReport) -> bool {
        let mut watcher = self.fake.0.lock().unwrap();
        let watcher = watcher.as_mut().unwrap();
        let is_wanted = watcher.is_wanted.load(Ordering::SeqCst);
        if is_wanted {
            (watcher.tell)(report);
        }
        is_wanted
    }

    fn is_wanted(&self) -> bool {
        let watcher = self.fake.0.lock().unwrap();
        watcher.as_ref().unwrap().is_wanted.load(Ordering::SeqCst)
    }

    fn count(&self, name: &str) -> u64 {
        let counts = self.counts.get();
        counts.iter().find(|(n, _)| *n == name).map_or(0, |c| c.1)
    }

    /// Waits until so many reports have been told, and gives their data.
    fn told(&self, reports: usize) -> Vec<Value> {
        wait_until(|| self.callback.reports().len() >= reports);
        self.callback.reports()
    }
}

fn wait_until(is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn snid() -> Snid {
    Snid::new(Plmn::new("001", "01").unwrap(), None)
}

/// Report n of a device, out of area 1.
fn report(device: &[u8], n: u8) -> AcceptedReport {
    AcceptedReport {
        item: DoaItem {
            device_id: device.into(),
            fleet: "pallets".into(),
            epoch: 7,
            tag1: [n; 8].into(),
            cause: Cause::Event,
            seq: n % 16,
            data: [n].into(),
        },
        place: DevicePlace {
            area_id: snid().area([0, 0, 1]),
            gnb_id: 1,
            reader_index: 2,
        },
        time_ms: 1_795_896_000_250,
    }
}

fn area_json(code: &str) -> Value {
    json!({"areaIds": [{"plmnId": {"mcc": "001", "mnc": "01"}, "aiotAreaCode": code}]})
}

#[test]
fn a_subscription_is_made_read_listed_changed_and_ended() {
    let setup = Setup::new(Limits {
        owner_max: 2,
        ..Limits::default()
    });
    let full = json!({
        "notifUri": setup.uri, "notifCorrId": "my-1", "events": ["DATA", "LATER_VERSION"],
        "targetDevices": {"devices": ["c2hlbGYtMQ=="]}, "targetArea": area_json("000001"), "fleets": ["pallets"],
        "causes": ["EVENT", "UNHEARD_OF", "EVENT"], "lifetimeS": 600, "suppFeat": "f", "else": 1,
    });
    assert!(!setup.is_wanted());
    let answer = setup.send(setup.outgoing(Method::POST, LIST, Some(&full)));
    assert_eq!(answer.status, 201);
    assert!(setup.is_wanted());
    let path = answer.headers["location"].to_str().unwrap().to_owned();
    let (status, said) = setup.ask(Method::GET, &path, None);
    // What it does not know it passes over, and does not claim to have.
    let mut expected = full.clone();
    expected["events"] = json!(["DATA"]);
    expected["causes"] = json!(["EVENT"]);
    expected["suppFeat"] = "0".into();
    expected["subscriptionId"] = path.rsplit('/').next().unwrap().into();
    expected.as_object_mut().unwrap().remove("else");
    expected["lifetimeS"] = said["lifetimeS"].clone();
    assert_eq!((status, &said), (200, &expected));
    assert!((1..=600).contains(&said["lifetimeS"].as_u64().unwrap()));

    let other = json!({"notifUri": setup.uri, "targetDevices": {"filteringInfo": "c2g="}});
    let (status, said) = setup.ask(Method::PUT, &path, Some(&other));
    assert_eq!(status, 200);
    assert_eq!(said["targetDevices"], other["targetDevices"]);
    assert_eq!(said.get("fleets"), None);
    assert_eq!(said["lifetimeS"], 3600);
    let second = setup.subscribe(json!({}));
    let (_, all) = setup.ask(Method::GET, LIST, None);
    assert_eq!(all["subscriptions"].as_array().unwrap().len(), 2);
    // More than one function may have.
    let answer = setup.send(setup.outgoing(Method::POST, LIST, Some(&full)));
    assert_eq!(
        (answer.status, &answer.headers["retry-after"]),
        (429, &"60".parse().unwrap())
    );

    // Another function does not get to know of it, nor to change it.
    let (_, rival) = setup.network.function("rival", "NEF");
    let token = setup
        .network
        .run(rival.token("naiotf-aiot", "AIOTF"))
        .unwrap();
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let outgoing = setup.outgoing(method, &path, Some(&other));
        let answer = setup
            .network
            .send(&rival, outgoing.token(Some(token.clone())));
        assert_eq!(answer.status, 404);
    }
    let outgoing = setup.outgoing(Method::GET, LIST, None);
    let answer = setup.network.send(&rival, outgoing.token(Some(token)));
    assert_eq!(answer.json().unwrap()["subscriptions"], json!([]));

    assert_eq!(setup.ask(Method::DELETE, &path, None).0, 204);
    for method in [Method::GET, Method::DELETE] {
        let (status, said) = setup.ask(method, &path, None);
        assert_eq!(
            (status, &said["cause"]),
            (404, &json!("SUBSCRIPTION_NOT_FOUND"))
        );
    }
    assert_eq!(setup.ask(Method::PUT, &path, Some(&other)).0, 404);
    assert!(setup.is_wanted());
    assert_eq!(setup.ask(Method::DELETE, &second, None).0, 204);
    // Nobody wants to know: the ADM is not asked any more.
    assert!(!setup.is_wanted());
}

#[test]
fn a_bad_subscription_is_refused_by_the_name_of_what_is_wrong() {
    let setup = Setup::new(Limits::default());
    let good = json!({"notifUri": setup.uri});
    let path = setup.subscribe(json!({}));
    for (name, value, param) in [
        ("notifUri", json!(null), "/notifUri"),
        ("notifUri", json!("nowhere"), "/notifUri"),
        // In clear, from an AIOTF that has certificates.
        ("notifUri", json!("http://127.0.0.1:1/"), "/notifUri"),
        ("notifUri", json!("file:///etc/passwd"), "/notifUri"),
        (
            "notifUri",
            json!(format!("https://a/{}", "b".repeat(2048))),
            "/notifUri",
        ),
        ("notifCorrId", json!(""), "/notifCorrId"),
        ("notifCorrId", json!("x".repeat(257)), "/notifCorrId"),
        ("events", json!([]), "/events"),
        ("events", json!("DATA"), "/events"),
        ("events", json!(["UNHEARD_OF"]), "/events"),
        ("events", json!(["DATA", 7]), "/events/1"),
        ("causes", json!(["UNHEARD_OF"]), "/causes"),
        ("fleets", json!([""]), "/fleets/0"),
        ("fleets", json!(vec!["x"; 65]), "/fleets"),
        ("lifetimeS", json!(0), "/lifetimeS"),
        ("lifetimeS", json!(86_401), "/lifetimeS"),
        ("lifetimeS", json!("600"), "/lifetimeS"),
        ("suppFeat", json!("x"), "/suppFeat"),
        ("targetArea", json!({}), "/targetArea/areaIds"),
        (
            "targetArea",
            area_json("1"),
            "/targetArea/areaIds/0/aiotAreaCode",
        ),
        ("targetDevices", json!({}), "/targetDevices"),
        (
            "targetDevices",
            json!({"devices": ["!"]}),
            "/targetDevices/devices/0",
        ),
        (
            "targetDevices",
            json!({"devices": ["AA=="], "filteringInfo": "AA=="}),
            "/targetDevices",
        ),
    ] {
        let mut body = good.clone();
        body[name] = value;
        for (method, path) in [(Method::POST, LIST), (Method::PUT, &path)] {
            let (status, said) = setup.ask(method, path, Some(&body));
            let found = &said["invalidParams"][0]["param"];
            assert_eq!((status, found), (400, &json!(param)), "{said}");
        }
    }
    assert_eq!(setup.ask(Method::POST, LIST, Some(&json!([]))).0, 400);
    let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
    let to = |method: Method, path: &str| setup.outgoing(method, path, None);
    let post = || to(Method::POST, LIST);
    let send = |outgoing| setup.send(outgoing).status;
    assert_eq!(
        send(post().typed("application/json", deep.into_bytes())),
        400
    );
    assert_eq!(send(post().typed("text/plain", b"{}".to_vec())), 415);
    let large = vec![b' '; (256 << 10) + 1];
    assert_eq!(send(post().typed("application/json", large)), 413);
    let mut picky = post().json(&good);
    picky
        .headers
        .push((hyper::header::ACCEPT, "text/html".parse().unwrap()));
    assert_eq!(send(picky), 406);
    let patched = setup.network.send(&setup.nef, to(Method::PATCH, &path));
    assert_eq!(
        (patched.status, patched.headers["allow"].to_str().unwrap()),
        (405, "GET, PUT, DELETE")
    );
    // No token, one for something else at this AIOTF, and one for all of it.
    for (method, path) in [
        (Method::POST, LIST),
        (Method::GET, LIST),
        (Method::GET, &path),
        (Method::PUT, &path),
        (Method::DELETE, &path),
    ] {
        let outgoing = || setup.outgoing(method.clone(), path, Some(&good));
        assert_eq!(send(outgoing().token(None)), 401);
        let scope = "naiotf-aiot naiotf-aiot:inventory";
        let narrow = setup.network.run(setup.nef.token(scope, "AIOTF")).unwrap();
        assert_eq!(send(outgoing().token(Some(narrow))), 403);
    }
    let scope = "naiotf-aiot naiotf-aiot:doa-subscriptions";
    let narrow = setup.network.run(setup.nef.token(scope, "AIOTF")).unwrap();
    assert_eq!(send(post().json(&good).token(Some(narrow))), 201);
    let counts = setup.counts.get();
    assert_eq!(counts, [("doa_subscribed", 2)], "nothing half done");
}

#[test]
fn who_asked_is_told_in_order_of_what_it_asked_for_and_of_nothing_else() {
    let setup = Setup::new(Limits::default());
    setup.subscribe(json!({"notifCorrId": "my-1"}));
    for n in 0..200 {
        setup.accept(report(&[b'd', n % 3], n));
    }
    let reports = setup.told(200);
    // All, once, and in order; so each device's are in order too.
    let tags: Vec<String> = (0..200).map(|n: u8| hex_of(n)).collect();
    let told: Vec<&str> = reports
        .iter()
        .map(|report| report["record"]["tag1"].as_str().unwrap())
        .collect();
    assert_eq!(told, tags);
    for (n, (body, correlation)) in setup.callback.told.lock().unwrap().iter().enumerate() {
        setup.contract.check_schema("DoaNotification", body);
        assert_eq!(body["notifNumber"], n + 1);
        assert_eq!(body["notifCorrId"], "my-1");
        assert_eq!(correlation.as_deref(), Some("nef-1"));
    }
    // A report says this, and there is no key in it.
    assert_eq!(
        reports[5],
        json!({
            "deviceId": "ZAI=", "fleet": "pallets", "cause": "EVENT", "seq": 5, "time": "2026-11-28T20:00:00.250Z",
            "areaId": {"plmnId": {"mcc": "001", "mnc": "01"}, "aiotAreaCode": "000001"}, "gnbId": 1, "readerIndex": 2,
            "record": {"epoch": 7, "tag1": "0505050505050505"}, "data": "BQ==",
        })
    );
    assert_eq!(setup.count("doa_reported"), 200);
}

fn hex_of(n: u8) -> String {
    format!("{n:02x}").repeat(8)
}

#[test]
fn every_criterion_lets_through_what_meets_it() {
    let setup = Setup::new(Limits::default());
    let base = || report(b"shelf-1", 1);
    let with = |change: &dyn Fn(&mut AcceptedReport)| {
        let mut report = base();
        change(&mut report);
        report
    };
    let other_device = with(&|r| r.item.device_id = b"dock-1".as_slice().into());
    let other_area = with(&|r| r.place.area_id = snid().area([0, 0, 2]));
    let other_fleet = with(&|r| r.item.fleet = "carts".into());
    let other_cause = with(&|r| r.item.cause = Cause::Periodic);
    let unnamed_cause = with(&|r| r.item.cause = Cause::Other(9));
    let empty = with(&|r| r.item.data = [].into());
    for (members, stays_out) in [
        (
            json!({"targetDevices": {"devices": ["c2hlbGYtMQ=="]}}),
            &other_device,
        ),
        (
            json!({"targetDevices": {"filteringInfo": "c2g="}}),
            &other_device,
        ),
        (json!({"targetArea": area_json("000001")}), &other_area),
        (json!({"fleets": ["pallets", "crates"]}), &other_fleet),
        (json!({"causes": ["EVENT", "MOVED"]}), &other_cause),
        (json!({"causes": ["EVENT"]}), &unnamed_cause),
        (json!({"events": ["DATA"]}), &empty),
    ] {
        setup.callback.told.lock().unwrap().clear();
        let path = setup.subscribe(members.clone());
        setup.accept(stays_out.clone());
        setup.accept(base());
        let told = setup.told(1);
        assert_eq!(told.len(), 1, "{members}");
        assert_eq!(told[0]["record"]["tag1"], hex_of(1));
        // Under no criterion it is told.
        let all = json!({"notifUri": setup.uri});
        assert_eq!(setup.ask(Method::PUT, &path, Some(&all)).0, 200);
        setup.accept(stays_out.clone());
        setup.told(2);
        assert_eq!(setup.ask(Method::DELETE, &path, None).0, 204);
    }
    // Presence is told without what was carried.
    setup.callback.told.lock().unwrap().clear();
    setup.subscribe(json!({"events": ["PRESENCE"]}));
    setup.accept(unnamed_cause);
    let told = setup.told(1);
    assert_eq!(
        (told[0].get("data"), &told[0]["cause"]),
        (None, &json!("UNKNOWN"))
    );
}

/// Limits with which a test need not wait.
fn hasty() -> Limits {
    Limits {
        pause: Duration::from_millis(10),
        pause_max: Duration::from_millis(20),
        ..Limits::default()
    }
}

#[test]
fn what_a_subscriber_does_not_take_is_repeated_under_its_number_until_it_does() {
    let setup = Setup::new(hasty());
    setup.subscribe(json!({}));
    setup.callback.is_down.store(true, Ordering::SeqCst);
    setup.accept(report(b"d", 0));
    wait_until(|| *setup.callback.tries.lock().unwrap() >= 3);
    for n in 1..10 {
        setup.accept(report(b"d", n));
    }
    setup.callback.is_down.store(false, Ordering::SeqCst);
    // Redirected, by answers that ask to come again in between.
    *setup.callback.answers.lock().unwrap() = VecDeque::from([500, 429, 307, 408]);
    let told = setup.told(10);
    assert_eq!(told.len(), 10);
    let numbers: Vec<_> = {
        let told = setup.callback.told.lock().unwrap();
        told.iter()
            .map(|(body, _)| body["notifNumber"].clone())
            .collect()
    };
    assert_eq!(numbers[0], 1);
    assert_eq!(
        numbers,
        (1..=numbers.len()).map(Value::from).collect::<Vec<_>>()
    );
    assert!(setup.count("callback_retried") >= 5);
    assert_eq!(setup.count("doa_report_lost"), 0);
}

#[test]
fn a_subscriber_that_stays_away_loses_its_subscription_and_costs_no_more() {
    let setup = Setup::new(Limits {
        give_up: Duration::from_millis(100),
        refusals_max: 3,
        queue_max: 10,
        ..hasty()
    });
    setup.callback.is_down.store(true, Ordering::SeqCst);
    let path = setup.subscribe(json!({}));
    for n in 0..100 {
        setup.accept(report(b"d", n));
    }
    wait_until(|| setup.status(&path) == 404);
    assert!(!setup.is_wanted());
    assert_eq!(setup.count("doa_subscription_dropped"), 1);
    assert!(setup.count("doa_report_lost") >= 80);
    let tries = *setup.callback.tries.lock().unwrap();
    assert!(!setup.accept(report(b"d", 101)));
    // It knows nothing of the subscription: gone at once.
    setup.callback.is_down.store(false, Ordering::SeqCst);
    *setup.callback.answers.lock().unwrap() = VecDeque::from([404]);
    let path = setup.subscribe(json!({}));
    setup.accept(report(b"d", 1));
    wait_until(|| setup.status(&path) == 404);
    assert_eq!(*setup.callback.tries.lock().unwrap(), tries + 1);
    // It refuses: what it refused is passed over, and after some of them so is it.
    *setup.callback.answers.lock().unwrap() = VecDeque::from([400]);
    let path = setup.subscribe(json!({}));
    setup.accept(report(b"d", 2));
    wait_until(|| setup.count("callback_refused") == 1);
    setup.accept(report(b"d", 3));
    assert_eq!(setup.told(1)[0]["record"]["tag1"], hex_of(3));
    *setup.callback.answers.lock().unwrap() = VecDeque::from([400, 403, 401]);
    for n in 0..3 {
        setup.accept(report(b"d", n));
        wait_until(|| setup.count("callback_refused") == 2 + u64::from(n));
    }
    wait_until(|| setup.status(&path) == 404);
    assert_eq!(setup.count("doa_subscription_dropped"), 3);
}

#[test]
fn a_queue_that_is_full_loses_what_comes_and_says_how_much() {
    let setup = Setup::new(Limits {
        queue_max: 20,
        reports_max: 8,
        ..hasty()
    });
    setup.callback.is_down.store(true, Ordering::SeqCst);
    setup.subscribe(json!({}));
    setup.accept(report(b"d", 0));
    wait_until(|| *setup.callback.tries.lock().unwrap() > 0);
    // One is on its way, 20 wait, and 9 find no room.
    for n in 1..30 {
        setup.accept(report(b"d", n));
    }
    assert_eq!(setup.count("doa_report_lost"), 9);
    setup.callback.is_down.store(false, Ordering::SeqCst);
    let told = setup.told(21);
    let tags: Vec<_> = told.iter().map(|r| r["record"]["tag1"].clone()).collect();
    assert_eq!(tags, (0..=20).map(|n| json!(hex_of(n))).collect::<Vec<_>>());
    let told = setup.callback.told.lock().unwrap();
    let lost: Vec<_> = told
        .iter()
        .filter_map(|(body, _)| body.get("lost"))
        .collect();
    assert_eq!(lost, [&json!(9)]);
    assert!(
        told.iter()
            .all(|(body, _)| body["reports"].as_array().unwrap().len() <= 8)
    );
}

#[test]
fn a_subscription_ends_with_its_time_and_lives_on_when_it_is_renewed() {
    let setup = Setup::new(Limits::default());
    let short = setup.subscribe(json!({"lifetimeS": 1}));
    let renewed = setup.subscribe(json!({"lifetimeS": 1}));
    let body = json!({"notifUri": setup.uri, "lifetimeS": 600});
    // It may have ended before it was renewed, on a busy machine; then there is nothing to show.
    let is_renewed = setup.ask(Method::PUT, &renewed, Some(&body)).0 == 200;
    wait_until(|| setup.status(&short) == 404);
    assert_eq!(setup.status(&renewed), if is_renewed { 200 } else { 404 });
    assert_eq!(
        setup.count("doa_subscription_expired"),
        2 - u64::from(is_renewed)
    );
    assert_eq!(setup.is_wanted(), is_renewed);
}
