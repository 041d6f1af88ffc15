//! Nchf_ConvergedCharging: a CHF that redirects, refuses, lies and wants tokens; what its emulator takes and remembers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::collections::VecDeque;
use std::fs;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ambit_sbi::chf::emulator::{Emulator, Troubles};
use ambit_sbi::chf::{ChfClient, ChfError, PATH};
use ambit_sbi::client::{Client, Outgoing};
use ambit_sbi::exchange::Reply;
use ambit_sbi::router::{Access, Route, Router, Takes};
use ambit_sbi::runtime::Runtime;
use ambit_sbi::server::Limits;
use common::contract::Contract;
use common::{Network, serve, serve_on};
use hyper::Method;
use hyper::header::{LOCATION, RETRY_AFTER};
use serde_json::{Value, json};

const WAIT: Duration = Duration::from_secs(10);

/// A one-time event.
fn event(number: u32, key: &str) -> Value {
    json!({
        "nfConsumerIdentification": {
            "nFName": "5a1f7c9e-0000-4000-8000-000000000001",
            "nodeFunctionality": "AIOTF",
        },
        "invocationTimeStamp": "2026-01-01T00:00:00.000Z",
        "invocationSequenceNumber": number,
        "oneTimeEvent": true,
        "oneTimeEventType": "PEC",
        "multipleUnitUsage": [{
            "ratingGroup": 1,
            "usedUnitContainer": [{ "localSequenceNumber": 1, "uplinkVolume": 6 }],
        }],
        "nEFChargingInformation": { "aPIName": "doa-report", "aPIReference": key },
    })
}

/// A CHF that answers what it is told to, in turn.
struct Scripted {
    runtime: Runtime,
    root: String,
    answers: Arc<Mutex<VecDeque<Reply>>>,
}

impl Scripted {
    fn new() -> Self {
        let runtime = Runtime::start().unwrap();
        let answers = Arc::new(Mutex::new(VecDeque::<Reply>::new()));
        let script = Arc::clone(&answers);
        let route = |path| {
            let script = Arc::clone(&script);
            let next = move |_| {
                let next = script.lock().unwrap().pop_front();
                std::future::ready(Ok(next.unwrap_or_else(|| status(500, json!({})))))
            };
            let takes = Takes::Json(&["application/json"]);
            Route::new("chf", Method::POST, path, Access::Peer, takes, next)
        };
        let routes = vec![route(PATH), route("/elsewhere")];
        let router = Arc::new(Router::new(routes, None));
        let address = serve(&runtime, None, router, Limits::default());
        Self {
            runtime,
            root: format!("http://{address}"),
            answers,
        }
    }

    fn client(&self) -> ChfClient {
        ChfClient::new(Client::new(None, None), None, &self.root, WAIT)
    }

    /// What comes of an event that is answered so.
    fn ask(&self, client: &ChfClient, answers: Vec<Reply>) -> Result<(), ChfError> {
        *self.answers.lock().unwrap() = answers.into();
        let event = event(7, "ni:///sha-256;a");
        self.runtime.handle().block_on(client.create(&event))
    }
}

fn status(status: u16, body: Value) -> Reply {
    let mut reply = Reply::ok(body);
    reply.status = status;
    reply
}

fn taken(number: u32) -> Reply {
    status(
        201,
        json!({
            "invocationTimeStamp": "2026-01-01T00:00:00.000Z",
            "invocationSequenceNumber": number,
        }),
    )
}

#[test]
fn only_a_201_that_repeats_the_number_says_that_an_event_was_taken() {
    let chf = Scripted::new();
    let client = chf.client();
    assert_eq!(chf.ask(&client, vec![taken(7)]), Ok(()));
    let with_error = |mut reply: Reply| {
        let body = reply.body.as_mut().unwrap();
        body["invocationResult"] = json!({ "error": { "status": 403 } });
        reply
    };
    let lies = [
        taken(8),
        status(200, json!({ "invocationSequenceNumber": 7 })),
        Reply::no_content(),
        status(201, json!({})),
        status(201, json!(["invocationSequenceNumber", 7])),
        status(201, json!({ "invocationSequenceNumber": "7" })),
        with_error(taken(7)),
        status(202, json!({})),
    ];
    for lie in lies {
        let text = format!("{} {:?}", lie.status, lie.body);
        let error = chf.ask(&client, vec![lie]).unwrap_err();
        assert!(
            ["chf_answer", "chf_status"].contains(&error.name()),
            "{text}: {error}"
        );
    }
}

#[test]
fn a_refusal_of_the_event_is_told_from_one_of_every_event() {
    let chf = Scripted::new();
    let client = chf.client();
    for (code, cause, name) in [
        (400, "CHARGING_FAILED", "charging_event_refused"),
        (403, "QUOTA_LIMIT_REACHED", "charging_event_refused"),
        (404, "USER_UNKNOWN", "charging_event_refused"),
        (403, "INSUFFICIENT_SCOPE", "chf_status"),
        (404, "RESOURCE_URI_STRUCTURE_NOT_FOUND", "chf_status"),
        (401, "UNAUTHORIZED", "chf_status"),
        (429, "NF_CONGESTION_RISK", "chf_status"),
        (500, "SYSTEM_FAILURE", "chf_status"),
    ] {
        for body in [
            json!({ "status": code, "cause": cause }),
            json!({ "invocationResult": { "error": { "cause": cause } } }),
        ] {
            let reply = status(code, body).with(RETRY_AFTER, "17");
            let error = chf.ask(&client, vec![reply]).unwrap_err();
            assert_eq!(error.name(), name, "{error}");
            assert!(error.to_string().contains(cause), "{error}");
            let is_status = name == "chf_status";
            let asked = is_status.then_some(Duration::from_secs(17));
            assert_eq!(error.retry_after(), asked);
        }
    }
}

#[test]
fn redirects_are_followed_within_bounds_and_a_permanent_one_is_remembered() {
    let chf = Scripted::new();
    let client = chf.client();
    let to = |code, at: &str| status(code, json!({})).with(LOCATION, at);
    let elsewhere = format!("{}/elsewhere", chf.root);
    let told = vec![to(307, &elsewhere), to(307, "/elsewhere"), taken(7)];
    assert_eq!(chf.ask(&client, told), Ok(()));
    let error = chf
        .ask(&client, [(); 9].map(|()| to(307, &elsewhere)).into())
        .unwrap_err();
    assert!(error.to_string().contains("too often"), "{error}");
    for bad in ["ftp://127.0.0.1/", "//127.0.0.1/x", "", "http://"] {
        let error = chf.ask(&client, vec![to(308, bad)]).unwrap_err();
        assert_eq!(error.name(), "chf_answer", "{bad}: {error}");
    }
    let error = chf.ask(&client, vec![status(307, json!({}))]).unwrap_err();
    assert!(error.to_string().contains("Location"), "{error}");
    // Moved for good, to where nobody is: what comes next goes to where it was.
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nowhere.local_addr().unwrap();
    drop(nowhere);
    let gone = to(308, &format!("http://{address}{PATH}"));
    let error = chf.ask(&client, vec![gone]).unwrap_err();
    assert_eq!(error.name(), "chf_unreachable", "{error}");
    assert_eq!(chf.ask(&client, vec![taken(7)]), Ok(()));
    let moved = vec![to(308, &elsewhere), taken(7), taken(7)];
    assert_eq!(chf.ask(&client, moved), Ok(()));
    assert_eq!(chf.ask(&client, vec![taken(7)]), Ok(()));
}

fn emulator(
    runtime: &Runtime,
    file: &std::path::Path,
    troubles: Troubles,
) -> (Arc<Emulator>, String) {
    let emulator = Arc::new(Emulator::open(file, troubles).unwrap());
    let router = Arc::new(Router::new(emulator.routes(false), None));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = serve_on(runtime, listener, None, router, Limits::default());
    (emulator, format!("http://{address}"))
}

#[test]
fn the_emulated_chf_knows_repeats_over_a_kill_and_refuses_what_is_no_event() {
    let runtime = Runtime::start().unwrap();
    let dir = std::env::temp_dir().join(format!("ambit-chf-{}", fastrand::u64(..)));
    fs::create_dir_all(&dir).unwrap();
    let file = dir.join("events.jsonl");
    let (chf, root) = emulator(&runtime, &file, Troubles::default());
    let client = ChfClient::new(Client::new(None, None), None, &root, WAIT);
    let send = |client: &ChfClient, event: &Value| runtime.handle().block_on(client.create(event));
    for (number, key) in [(1, "ni:a"), (2, "ni:b"), (1, "ni:a")] {
        send(&client, &event(number, key)).unwrap();
    }
    assert_eq!(chf.counts(), (2, 1));
    let error = send(&client, &event(2, "ni:c")).unwrap_err();
    assert!(error.to_string().contains("another event"), "{error}");
    for (at, value) in [
        ("/nfConsumerIdentification/nodeFunctionality", json!("SMF")),
        ("/nfConsumerIdentification/nFName", json!("me")),
        ("/invocationSequenceNumber", json!(-1)),
        ("/oneTimeEvent", json!(false)),
        ("/oneTimeEventType", json!("SOON")),
        ("/multipleUnitUsage", json!([])),
        ("/nEFChargingInformation/aPIReference", json!(7)),
    ] {
        let mut bad = event(9, "ni:z");
        *bad.pointer_mut(at).unwrap() = value;
        let error = send(&client, &bad).unwrap_err();
        assert_eq!(error.name(), "charging_event_refused", "{at}");
        assert!(error.to_string().contains(at), "{at}: {error}");
    }
    // Killed in the middle of a line.
    let mut text = fs::read(&file).unwrap();
    text.extend_from_slice(b"{\"received_ms\":1,\"ke");
    fs::write(&file, &text).unwrap();
    let (chf, root) = emulator(&runtime, &file, Troubles::default());
    assert_eq!(chf.counts(), (2, 1));
    let client = ChfClient::new(Client::new(None, None), None, &root, WAIT);
    send(&client, &event(2, "ni:b")).unwrap();
    assert_eq!(chf.counts(), (2, 2));
    let text = fs::read_to_string(&file).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["repeat"], &last["key"]),
        (&json!(true), &json!("ni:b"))
    );
    fs::write(&file, "no event\n").unwrap();
    assert!(Emulator::open(&file, Troubles::default()).is_err());
    fs::remove_dir_all(&dir).unwrap();
}

/// What the emulator answers is as 3GPP's file has it, troubles included.
#[test]
fn answers_of_the_emulated_chf_are_as_ts_32_291_has_them() {
    let Some(contract) = Contract::of_3gpp("TS32291_Nchf_ConvergedCharging.json") else {
        return;
    };
    let runtime = Runtime::start().unwrap();
    let file = std::env::temp_dir().join(format!("ambit-chf-{}.jsonl", fastrand::u64(..)));
    let troubles = Troubles {
        fail: 0.3,
        refuse: 0.2,
        lose: 0.2,
        redirect: 0.1,
        seed: 7,
        ..Troubles::default()
    };
    let (_, root) = emulator(&runtime, &file, troubles);
    let client = Client::new(None, None);
    let mut statuses = std::collections::BTreeSet::new();
    for number in 0..200 {
        let body = event(number, &format!("ni:{number}"));
        contract.check_schema("ChargingDataRequest", &body);
        let outgoing = Outgoing::new(Method::POST, format!("{root}{PATH}")).json(&body);
        let answer = runtime.handle().block_on(client.send(outgoing)).unwrap();
        statuses.insert(answer.status);
        contract.check("/chargingdata", "post", &answer);
    }
    fs::remove_file(&file).unwrap();
    let expected = [201, 307, 403, 429, 500, 503, 504];
    assert_eq!(statuses.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn with_tls_a_chf_takes_events_of_who_has_the_nrf_s_token_and_of_nobody_else() {
    let network = Network::new();
    let file = std::env::temp_dir().join(format!("ambit-chf-{}.jsonl", fastrand::u64(..)));
    let chf = Arc::new(Emulator::open(&file, Troubles::default()).unwrap());
    let (credentials, _) = network.function("chf", "CHF");
    let root = network.serve(&credentials, "CHF", chf.routes(true));
    let ask = |name: &str, nf_type: &'static str, with_nrf: bool| {
        let (_, nrf) = network.function(name, nf_type);
        let client = nrf.client().clone();
        let client = ChfClient::new(client, with_nrf.then_some(nrf), &root, WAIT);
        network.run(client.create(&event(1, "ni:a")))
    };
    assert_eq!(ask("aiotf", "AIOTF", true), Ok(()));
    assert_eq!(ask("adm", "ADM", true), Ok(()));
    for error in [ask("af", "AF", true), ask("aiotf-2", "AIOTF", false)] {
        let error = error.unwrap_err();
        assert!(error.to_string().contains("401"), "{error}");
    }
    assert_eq!(chf.counts(), (1, 1));
    fs::remove_file(&file).unwrap();
}
