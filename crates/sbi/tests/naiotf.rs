//! Naiotf_AIoT by 3GPP's file: what is asked reaches the AIOTF as it was meant, and results reach whom asked.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ambit_aiotf::Watcher;
use ambit_aiotf::service::{
    DevicePlace, DeviceResult, Devices, FailureCause, Notification, Operation, Progress,
    RequestError, ServiceRequest, TransactionId,
};
use ambit_protocol::Snid;
use ambit_protocol::area::Plmn;
use ambit_sbi::aiotf::{self, AiotfAccess, ServiceConfig, Taken};
use ambit_sbi::client::{Answer, Client, Outgoing};
use ambit_sbi::exchange::{Exchange, Reply};
use ambit_sbi::router::{Access, Route, Takes};
use common::contract::Contract;
use common::{Network, id_of};
use hyper::Method;
use serde_json::{Value, json};

/// An AIOTF that takes what it is told to take, and finds one device.
#[derive(Default)]
struct Fake {
    asked: Mutex<Vec<ServiceRequest>>,
    answer: Mutex<Option<RequestError>>,
    finds_nobody: Mutex<bool>,
    /// Goes on with requests instead of ending them with the first notification.
    goes_on: Mutex<bool>,
    /// Where more of the last such request would be told.
    more: Mutex<Option<Sender<Notification>>>,
}

impl AiotfAccess for Fake {
    fn request(&self, request: ServiceRequest) -> Option<Result<Taken, RequestError>> {
        self.asked.lock().unwrap().push(request);
        if let Some(error) = self.answer.lock().unwrap().take() {
            return Some(Err(error));
        }
        let transaction = TransactionId(7);
        let area_id = Snid::new(Plmn::new("001", "01").unwrap(), None).area([0, 0, 1]);
        let device = DeviceResult {
            device_id: b"shelf-1".as_slice().into(),
            place: Some(DevicePlace {
                area_id,
                gnb_id: 1,
                reader_index: 2,
            }),
            data: Some(b"21.5".to_vec()),
            failure: None,
        };
        let (devices, failure) = match *self.finds_nobody.lock().unwrap() {
            true => (
                Vec::new(),
                Some(FailureCause::NoSuccessfulInventoryResponse),
            ),
            false => (vec![device], None),
        };
        let progress = Progress::default();
        let (notify, results) = std::sync::mpsc::channel();
        let notification = Notification {
            transaction,
            devices,
            is_last: !*self.goes_on.lock().unwrap(),
            failure,
            progress,
        };
        notify.send(notification).unwrap();
        *self.more.lock().unwrap() = Some(notify);
        Some(Ok((transaction, results.into())))
    }

    fn watch(&self, _: Watcher) {}
}

#[test]
fn naiotf_aiot_is_as_in_3gpp_s_file() {
    let network = Network::new();
    let (credentials, _) = network.function("aiotf", "AIOTF");
    let (nef, nef_nrf) = network.function("nef", "NEF");
    let fake = Arc::new(Fake::default());
    let client = Client::new(Some(credentials.clone()), None);
    let routes = aiotf::routes(
        fake.clone(),
        client,
        ServiceConfig::new(id_of(&credentials)),
    );
    let root = network.serve(&credentials, "AIOTF", routes);
    // The requester's callback, which fails the first time.
    let told = Arc::new(Mutex::new(Vec::new()));
    let callback = {
        let (told, fails) = (Arc::clone(&told), Mutex::new(1_u32));
        Route::new(
            "callback",
            Method::POST,
            "/told",
            Access::Peer,
            Takes::Json(&["application/json"]),
            move |exchange: Exchange| {
                let mut left = fails.lock().unwrap();
                let answer = match std::mem::take(&mut *left) {
                    0 => exchange.json().map(|body| {
                        told.lock().unwrap().push(body.clone());
                        Reply::no_content()
                    }),
                    _ => Err(ambit_sbi::problem::Problem::unavailable("not now", 1)),
                };
                std::future::ready(answer)
            },
        )
    };
    let uri = format!("{}/told", network.serve(&nef, "NEF", vec![callback]));
    let token = network.run(nef_nrf.token("naiotf-aiot", "AIOTF")).unwrap();
    let contract = Contract::of_3gpp("TS29569_Naiotf_AIoT.json");
    let send = |operation: &str, body: &Value, token: Option<String>| {
        let uri = format!("{root}/naiotf-aiot/v1/{operation}");
        let answer: Answer = network.send(
            &nef_nrf,
            Outgoing::new(Method::POST, uri).json(body).token(token),
        );
        if let Some(contract) = &contract {
            contract.check(&format!("/{operation}"), "post", &answer);
        }
        (
            answer.status,
            serde_json::from_slice::<Value>(&answer.body).unwrap(),
        )
    };
    let ask = |operation: &str, body: &Value| send(operation, body, Some(token.clone()));
    let area =
        json!({"areaIds": [{"plmnId": {"mcc": "001", "mnc": "01"}, "aiotAreaCode": "000001"}]});
    let all = json!({"afId": "af", "notifUri": uri, "targetArea": area, "numDevices": 100000, "timeInterval": 5, "devLocReqInd": true, "suppFeat": "1"});
    let last = || fake.asked.lock().unwrap().last().unwrap().clone();
    let (status, said) = ask("request-inv", &all);
    assert_eq!((status, &said["suppFeat"]), (200, &json!("0")));
    assert_eq!(
        (last().devices, last().interval_s, last().expected),
        (Devices::All, Some(5), Some(u16::MAX))
    );
    let started = Instant::now();
    while told.lock().unwrap().is_empty() {
        assert!(started.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(20));
    }
    let notified = told.lock().unwrap().remove(0);
    assert_eq!(
        (&notified["transId"], &notified["lastRepInd"]),
        (&said["transId"], &json!(true))
    );
    assert!(
        notified["devicesRepData"][0]["deviceLocInfo"]["customLocInfo"]
            .as_str()
            .unwrap()
            .contains("reader=2")
    );
    if let Some(contract) = &contract {
        contract.check_schema("AIoTNotif", &notified);
    }

    let with = |name: &str, value: Value| {
        let mut body = all.clone();
        body[name] = value;
        body
    };
    ask(
        "request-inv",
        &with("targetDevices", json!({"filteringInfo": "c2g="})),
    );
    assert_eq!(last().devices, Devices::Filter(b"sh".to_vec()));
    let mut read = with("commandType", json!("READ"));
    read["length"] = 4.into();
    read["offset"] = 2.into();
    assert_eq!(ask("request-cmd", &read).0, 200);
    assert_eq!(
        last().operation,
        Operation::Read {
            offset: 2,
            length: 4
        }
    );
    let mut write = with("commandType", json!("WRITE"));
    write["data"] = "AQI=".into();
    assert_eq!(ask("request-cmd", &write).0, 200);
    assert_eq!(
        last().operation,
        Operation::Write {
            offset: 0,
            data: vec![1, 2]
        }
    );
    assert_eq!(
        ask(
            "request-cmd",
            &with("commandType", json!("PERMANENT_DISABLE"))
        )
        .0,
        200
    );
    assert_eq!(last().operation, Operation::PermanentDisable);

    for (operation, body, param) in [
        (
            "request-inv",
            json!({"afId": "af", "notifUri": uri}),
            "/targetArea",
        ),
        (
            "request-inv",
            json!({"notifUri": uri, "targetArea": area}),
            "/afId",
        ),
        (
            "request-inv",
            with("notifUri", json!("file:///etc/passwd")),
            "/notifUri",
        ),
        (
            "request-inv",
            with("devLocReqInd", json!(false)),
            "/devLocReqInd",
        ),
        (
            "request-inv",
            with("timeInterval", json!(257)),
            "/timeInterval",
        ),
        (
            "request-inv",
            with(
                "targetArea",
                json!({"areaIds": [{"plmnId": {"mcc": "1", "mnc": "01"}, "aiotAreaCode": "000001"}]}),
            ),
            "/targetArea/areaIds/0/plmnId",
        ),
        (
            "request-inv",
            with(
                "targetDevices",
                json!({"devices": ["AQ=="], "filteringInfo": "AQ=="}),
            ),
            "/targetDevices",
        ),
        ("request-cmd", all.clone(), "/commandType"),
        (
            "request-cmd",
            with("commandType", json!("EXPLODE")),
            "/commandType",
        ),
        ("request-cmd", with("commandType", json!("READ")), "/length"),
        ("request-cmd", with("commandType", json!("WRITE")), "/data"),
    ] {
        let (status, said) = ask(operation, &body);
        assert_eq!(
            (status, &said["invalidParams"][0]["param"]),
            (400, &json!(param)),
            "{said}"
        );
    }
    for (error, status) in [
        (
            RequestError::Invalid {
                field: "area",
                rule: "at most 256",
            },
            400,
        ),
        (RequestError::UnknownDevice { at: 0 }, 404),
        (RequestError::AreaNotServed, 404),
        (RequestError::TooMany, 429),
        (RequestError::Adm("down".into()), 503),
    ] {
        *fake.answer.lock().unwrap() = Some(error);
        assert_eq!(ask("request-inv", &all).0, status);
    }
    assert_eq!(send("request-inv", &all, None).0, 401);
    let wrong = network.run(nef_nrf.token("nadm-dm", "ADM")).unwrap();
    assert_eq!(send("request-inv", &all, Some(wrong)).0, 401);

    told.lock().unwrap().clear();
    *fake.finds_nobody.lock().unwrap() = true;
    ask("request-inv", &all);
    let started = Instant::now();
    while !told
        .lock()
        .unwrap()
        .iter()
        .any(|body: &Value| body.get("failCause").is_some())
    {
        assert!(started.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(20));
    }
    if let Some(contract) = &contract {
        told.lock()
            .unwrap()
            .iter()
            .for_each(|body| contract.check_schema("AIoTNotif", body));
        assert_eq!(contract.operations().len(), 2);
    }
}

/// Asks for an inventory whose requester answers its first notification so; whether the AIOTF still has somebody to tell.
fn is_followed_after(answer: u16) -> bool {
    let network = Network::new();
    let (credentials, _) = network.function("aiotf", "AIOTF");
    let (nef, nef_nrf) = network.function("nef", "NEF");
    let fake = Arc::new(Fake::default());
    *fake.goes_on.lock().unwrap() = true;
    let client = Client::new(Some(credentials.clone()), None);
    let config = ServiceConfig::new(id_of(&credentials));
    let counts = Arc::clone(&config.counts);
    let root = network.serve(
        &credentials,
        "AIOTF",
        aiotf::routes(fake.clone(), client, config),
    );
    let callback = Route::new(
        "callback",
        Method::POST,
        "/told",
        Access::Peer,
        Takes::Json(&["application/json"]),
        move |_| {
            let reply = Reply {
                status: answer,
                ..Reply::no_content()
            };
            std::future::ready(Ok(reply))
        },
    );
    let uri = format!("{}/told", network.serve(&nef, "NEF", vec![callback]));
    let token = network.run(nef_nrf.token("naiotf-aiot", "AIOTF")).unwrap();
    let body = json!({"afId": "af", "notifUri": uri, "targetDevices": {"filteringInfo": "AA=="}});
    let outgoing = Outgoing::new(Method::POST, format!("{root}/naiotf-aiot/v1/request-inv"));
    let answer = network.send(&nef_nrf, outgoing.json(&body).token(Some(token)));
    assert_eq!(answer.status, 200);
    let more = fake.more.lock().unwrap().take().unwrap();
    let another = |is_last| Notification {
        transaction: TransactionId(7),
        devices: Vec::new(),
        is_last,
        failure: None,
        progress: Progress::default(),
    };
    // Either the next is told as well, or there is nobody left to tell.
    let started = Instant::now();
    let told = || counts.get().iter().map(|(_, n)| n).sum::<u64>();
    while told() < 2 {
        assert!(started.elapsed() < Duration::from_secs(30));
        if more.send(another(false)).is_err() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

#[test]
fn a_requester_that_knows_nothing_of_its_request_ends_it() {
    assert!(!is_followed_after(404));
    assert!(!is_followed_after(410));
    // One that cannot take a notification may take the next.
    assert!(is_followed_after(204) && is_followed_after(400));
}

#[test]
fn a_callback_that_could_never_be_reached_is_refused_when_it_is_given() {
    let network = Network::new();
    let (credentials, _) = network.function("aiotf", "AIOTF");
    let client = Client::new(Some(credentials.clone()), None);
    for (uri, is_taken) in [
        ("https://nef.example:8443/told?of=1", true),
        ("https://[::1]:1/", true),
        ("http://127.0.0.1:1/told", false),
        ("https://127.0.0.1:70000/", false),
        ("https:///told", false),
        ("told", false),
    ] {
        assert_eq!(client.refuses(uri).is_none(), is_taken, "{uri}");
        let in_clear = Client::new(None, None).refuses(uri).is_none();
        assert_eq!(in_clear, uri.starts_with("http://"), "{uri}");
    }
}
