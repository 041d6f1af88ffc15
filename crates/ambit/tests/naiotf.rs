//! What a NEF of another make sees: NRF, ADM, AIOTF and readers as processes of their own, and an NF that asks them by
//! Naiotf_AIoT (TS 29.569), over HTTP/2 with mutual TLS and tokens, and is told at its callback.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub
)]

mod common;
#[path = "../../sbi/tests/common/contract.rs"]
#[allow(dead_code)]
mod contract;

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ambit_sbi::client::{Answer, Client, Outgoing};
use ambit_sbi::exchange::{Exchange, Reply};
use ambit_sbi::json::{from_base64, to_base64};
use ambit_sbi::nrf::client::NrfClient;
use ambit_sbi::router::{Access, OPENAPI, Route, Router, Takes};
use ambit_sbi::runtime::Runtime;
use ambit_sbi::server::{self, Limits, ServerConfig};
use ambit_sbi::tls::Credentials;
use common::function::Function;
use common::{Place, records, wait_until};
use contract::Contract;
use hyper::Method;
use serde_json::{Value, json};

/// Devices of type 1, which only answer, and as many that speak first.
const DEVICES: u32 = 20;

/// The functions, readers with devices, and the NF that asks.
struct Network {
    place: Place,
    nrf_root: String,
    aiotf: Option<Function>,
    _others: [Function; 2],
    _ran: Ran,
    nef: Nef,
}

/// Ends the emulator with the test.
struct Ran(Child);

impl Drop for Ran {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What was told at the callback: path, body, correlation.
type Told = Arc<Mutex<Vec<(String, Value, Option<String>)>>>;

struct Nef {
    runtime: Runtime,
    client: Client,
    nrf: NrfClient,
    root: String,
    told: Told,
}

impl Network {
    fn start() -> Self {
        let place = Place::new();
        place.ok(&["pki", "init", "pki"]);
        let mut csv = "device_id,device_type,suite,form,key,tag_len,fleet\n".to_owned();
        for n in 0..2 * DEVICES {
            let (kind, form, fleet) = match n < DEVICES {
                true => ("1", "dt", "shelves"),
                false => ("2b", "concealed", "pallets"),
            };
            let key: u128 = fastrand::u128(..);
            csv += &format!(
                "ab{n:06x},{kind},{},{form},{key:032x},8,{fleet}\n",
                n % 3 + 1
            );
        }
        place.write("fleet.csv", &csv);
        place.ok(&["device", "import", "fleet.csv"]);
        let nrf = Function::start(&place, &["nrf", "--sbi", "127.0.0.1:0"]);
        let nrf_root = format!("https://{}", nrf.address("sbi"));
        let to_nrf = ["--sbi", "127.0.0.1:0", "--nrf", &nrf_root];
        let adm = Function::start(&place, &[&["adm"], &to_nrf[..]].concat());
        let n2 = ["aiotf", "--n2", "127.0.0.1:0"];
        let aiotf = Function::start(&place, &[&n2[..], &to_nrf].concat());
        let ran = place
            .command(&[
                "ran",
                "--n2",
                &aiotf.address("n2"),
                "--devices",
                "fleet.csv",
            ])
            .args(["--seconds", "600", "--rate", "10", "--json"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let nef = Nef::start(&place, &nrf_root);
        Self {
            place,
            nrf_root,
            aiotf: Some(aiotf),
            _others: [nrf, adm],
            _ran: Ran(ran),
            nef,
        }
    }

    /// kill -9 to the AIOTF, and a start where its gNBs look for it.
    fn restart_aiotf(&mut self) {
        let aiotf = self.aiotf.take().unwrap();
        let (n2, sbi) = (aiotf.address("n2"), aiotf.address("sbi"));
        drop(aiotf);
        let args = ["aiotf", "--n2", &n2, "--sbi", &sbi, "--nrf", &self.nrf_root];
        self.aiotf = Some(Function::start(&self.place, &args));
    }
}

impl Nef {
    fn start(place: &Place, nrf_root: &str) -> Self {
        let runtime = Runtime::start().unwrap();
        let file = |name: &str| place.path("pki").join(name);
        let credentials =
            Credentials::read(&file("nef.pem"), &file("nef.key"), &file("ca.pem")).unwrap();
        let client = Client::new(Some(credentials.clone()), None);
        let id = credentials.identity.nf_instance.unwrap();
        let nrf = NrfClient::new(client.clone(), nrf_root, id, "NEF");
        let told = Told::default();
        let heard = Arc::clone(&told);
        let json = Takes::Json(&["application/json"]);
        let callback = Route::new(
            "callback",
            Method::POST,
            "/callback/{}",
            Access::Peer,
            json,
            move |exchange: Exchange| {
                let correlation = exchange.header("3gpp-sbi-correlation-info");
                let correlation = correlation.map(str::to_owned);
                let answer = exchange.json().map(|body| {
                    let told = (exchange.path(0).to_owned(), body.clone(), correlation);
                    heard.lock().unwrap().push(told);
                    Reply::no_content()
                });
                std::future::ready(answer)
            },
        );
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = ServerConfig {
            credentials: Some(credentials),
            limits: Limits::default(),
            name: "NEF".into(),
        };
        // Notifications carry no token: the certificate says that they come from within the network.
        let router = Arc::new(Router::new(vec![callback], None));
        let address = server::start(runtime.handle(), listener, router, config).unwrap();
        Self {
            runtime,
            client,
            nrf,
            root: format!("https://{address}"),
            told,
        }
    }

    /// A request to the AIOTF that serves area 1, as the NRF says.
    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let run = self.runtime.handle();
        let area = r#"[{"plmnId":{"mcc":"001","mnc":"01"},"aiotAreaCode":"000001"}]"#;
        let area: String = form_urlencoded(area);
        let mut found = Vec::new();
        wait_until("the AIOTF", || {
            let query = format!("aiot-area-ids={area}");
            let search = self.nrf.discover("AIOTF", "naiotf-aiot", &query);
            found = run.block_on(search).unwrap_or_default();
            !found.is_empty()
        });
        let token = run
            .block_on(self.nrf.token("naiotf-aiot", "AIOTF"))
            .unwrap();
        let uri = format!("{}/naiotf-aiot/v1{path}", found[0].api_root);
        let mut outgoing = Outgoing::new(method, uri).token(Some(token));
        if let Some(body) = body {
            outgoing = outgoing.json(body);
        }
        let name = "3gpp-sbi-correlation-info".parse().unwrap();
        outgoing.headers.push((name, "nef-7".parse().unwrap()));
        let outgoing = outgoing.wait(Duration::from_secs(30));
        // A connection to an AIOTF that was restarted is found dead by the first request.
        let mut answer = None;
        wait_until("an answer", || {
            let sent = self.client.send(outgoing.clone());
            answer = run.block_on(sent).ok();
            answer.is_some()
        });
        answer.unwrap()
    }

    /// What has been told at a callback.
    fn told(&self, name: &str) -> Vec<Value> {
        let told = self.told.lock().unwrap();
        let of = told.iter().filter(|(path, ..)| path == name);
        of.map(|(_, body, correlation)| {
            assert_eq!(correlation.as_deref(), Some("nef-7"));
            body.clone()
        })
        .collect()
    }

    fn uri(&self, name: &str) -> String {
        format!("{}/callback/{name}", self.root)
    }
}

fn form_urlencoded(text: &str) -> String {
    let digits = |octet: u8| format!("%{octet:02X}");
    text.bytes().map(digits).collect()
}

/// A NEF by 3GPP's file.
struct Asking<'a> {
    nef: &'a Nef,
    contract: Option<Contract>,
    /// Requests so far: each has a callback of its own.
    asked: std::cell::Cell<u32>,
}

impl Asking<'_> {
    /// Asks, and checks the answer against the file.
    fn ask(&self, operation: &str, members: &Value) -> (u16, Value, String) {
        self.asked.set(self.asked.get() + 1);
        let name = format!("r{}", self.asked.get());
        let mut body = members.clone();
        body["afId"] = "af".into();
        body["notifUri"] = self.nef.uri(&name).into();
        let answer = self
            .nef
            .ask(Method::POST, &format!("/{operation}"), Some(&body));
        if let Some(contract) = &self.contract {
            contract.check(&format!("/{operation}"), "post", &answer);
        }
        (answer.status, answer.json().unwrap(), name)
    }

    /// Asks, and waits for the last notification: what came of each device, and the failure if nobody was found.
    fn done(&self, operation: &str, members: &Value) -> (BTreeMap<String, Value>, Value) {
        let (status, said, name) = self.ask(operation, members);
        assert_eq!(status, 200, "{said}");
        let is_last = |body: &Value| body.get("lastRepInd").is_some();
        let mut told = Vec::new();
        common::wait_long("the last notification", || {
            told = self.nef.told(&name);
            told.iter().any(is_last)
        });
        let mut devices = BTreeMap::new();
        for (at, body) in told.iter().enumerate() {
            if let Some(contract) = &self.contract {
                contract.check_schema("AIoTNotif", body);
            }
            assert_eq!(body["transId"], said["transId"]);
            assert_eq!(
                is_last(body),
                at + 1 == told.len(),
                "nothing after the last"
            );
            for device in body["devicesRepData"].as_array().into_iter().flatten() {
                let id = from_base64(device["deviceId"].as_str().unwrap()).unwrap();
                let before = devices.insert(hex::encode(id), device.clone());
                assert_eq!(before, None, "told twice");
            }
        }
        (devices, told.last().unwrap()["failCause"].clone())
    }
}

fn device(id: &str) -> Value {
    json!({ "devices": [to_base64(&hex::decode(id).unwrap())] })
}

#[test]
fn a_nef_inventories_reads_writes_and_disables_through_the_standard_s_interface() {
    let network = Network::start();
    let asking = Asking {
        nef: &network.nef,
        contract: Contract::of_3gpp("TS29569_Naiotf_AIoT.json"),
        asked: std::cell::Cell::new(0),
    };
    let all_areas: Vec<Value> = (1..=3)
        .map(|code| json!({"plmnId": {"mcc": "001", "mnc": "01"}, "aiotAreaCode": format!("{code:06x}")}))
        .collect();
    let everywhere = json!({"areaIds": all_areas});
    let everybody = json!({"targetArea": everywhere, "numDevices": 40, "timeInterval": 1, "devLocReqInd": true, "suppFeat": "0"});
    // Whom the emulator has not powered yet answers the next time; before the gNB is there nobody can be asked.
    let mut found = BTreeMap::new();
    common::wait_long("the gNB", || {
        let (status, said, _) = asking.ask("request-inv", &everybody);
        assert!(
            status == 200 || said["cause"] == "AREA_NOT_SERVED",
            "{status} {said}"
        );
        status == 200
    });
    common::wait_long("all devices", || {
        let (devices, _) = asking.done("request-inv", &everybody);
        found = devices;
        found.len() == 2 * DEVICES as usize
    });
    let known: BTreeSet<String> = (0..2 * DEVICES).map(|n| format!("ab{n:06x}")).collect();
    assert_eq!(found.keys().cloned().collect::<BTreeSet<_>>(), known);
    let place = |device: &Value| device["deviceLocInfo"]["customLocInfo"].to_string();
    assert!(found.values().all(|device| place(device).contains("gnb=1")));

    // One device, which is paged by a concealed T-ID; and a group in one area.
    let one = json!({"targetDevices": device("ab000005")});
    let (devices, _) = asking.done("request-inv", &one);
    assert_eq!(devices.keys().collect::<Vec<_>>(), ["ab000005"]);
    assert_eq!(
        devices["ab000005"].get("deviceLocInfo"),
        None,
        "not asked for"
    );
    let group = json!({"targetArea": {"areaIds": [all_areas[0]]}, "targetDevices": {"filteringInfo": "qwAA"}});
    let (devices, _) = asking.done("request-inv", &group);
    assert!((1..40).contains(&devices.len()), "one area of three");

    // Commands, and what a device says no to.
    let command = |members: Value| {
        let mut body = one.clone();
        let members = members.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(members);
        let (mut devices, _) = asking.done("request-cmd", &body);
        devices.remove("ab000005").unwrap()
    };
    let written = command(json!({"commandType": "WRITE", "offset": 4, "data": "wB3K/g=="}));
    assert_eq!(written.get("failCause"), None, "{written}");
    let read = command(json!({"commandType": "READ", "offset": 4, "length": 4}));
    assert_eq!(read["readCmdRep"], "wB3K/g==", "{read}");
    let refused = command(json!({"commandType": "READ", "offset": 0, "length": 64}));
    let cause = "COMMAND_TYPE_SPECIFIC_PARAMETERS_INVALID";
    assert_eq!(
        (refused.get("readCmdRep"), &refused["failCause"]),
        (None, &cause.into())
    );
    let disabled = command(json!({"commandType": "PERMANENT_DISABLE"}));
    assert_eq!(disabled.get("failCause"), None, "{disabled}");
    // Silent from now on, and on record as such at the ADM.
    let (devices, _) = asking.done("request-inv", &everybody);
    assert!(devices.len() > DEVICES as usize && !devices.contains_key("ab000005"));
    let shown = network
        .place
        .json(&["device", "show", "ab000005", "--json"]);
    assert_eq!(shown[0]["disabled"], true);

    // Nobody of a group that is not there; a device that nobody knows; an area that nobody serves.
    let (devices, cause) = asking.done(
        "request-inv",
        &json!({"targetArea": everywhere, "targetDevices": {"filteringInfo": "q/8="}}),
    );
    assert_eq!((devices.len(), cause), (0, json!("NO_SUCC_INV_RESP")));
    let (status, said, _) = asking.ask("request-inv", &json!({"targetDevices": device("ff00")}));
    assert_eq!((status, &said["cause"]), (404, &json!("DEVICE_NOT_FOUND")));
    let nowhere = json!({"plmnId": {"mcc": "001", "mnc": "01"}, "aiotAreaCode": "00ffff"});
    let (status, said, _) = asking.ask(
        "request-inv",
        &json!({"targetArea": {"areaIds": [nowhere]}}),
    );
    assert_eq!((status, &said["cause"]), (404, &json!("AREA_NOT_SERVED")));
}

#[test]
fn a_subscriber_is_told_what_is_on_record_and_subscribes_again_after_a_restart() {
    let mut network = Network::start();
    let contract = Contract::parse("openapi.json", OPENAPI.as_bytes());
    let list = "/doa-subscriptions";
    let subscribe = |nef: &Nef, name: &str, members: Value| {
        let mut body = members;
        body["notifUri"] = nef.uri(name).into();
        let answer = nef.ask(Method::POST, list, Some(&body));
        assert_eq!(answer.status, 201, "{:?}", answer.body);
        contract.check(&format!("/naiotf-aiot/v1{list}"), "post", &answer);
        let location = answer.headers["location"].to_str().unwrap();
        location.trim_start_matches("/naiotf-aiot/v1").to_owned()
    };
    let reports = |nef: &Nef, name: &str| -> Vec<Value> {
        let told = nef.told(name);
        told.iter()
            .for_each(|body| contract.check_schema("DoaNotification", body));
        let of = |body: &Value| body["reports"].as_array().unwrap().clone();
        told.iter().flat_map(of).collect()
    };
    let all = subscribe(&network.nef, "all", json!({}));
    subscribe(
        &network.nef,
        "area",
        json!({"causes": ["POWER_ON"], "fleets": ["shelves"]}),
    );
    common::wait_long("reports", || reports(&network.nef, "all").len() >= 60);
    assert!(
        reports(&network.nef, "area").is_empty(),
        "those never speak first"
    );

    network.restart_aiotf();
    // It knows of no subscription, and says at the NRF since when it runs: the NF subscribes anew.
    assert_eq!(network.nef.ask(Method::GET, &all, None).status, 404);
    let again = subscribe(&network.nef, "again", json!({"events": ["PRESENCE"]}));
    common::wait_long("reports again", || {
        reports(&network.nef, "again").len() >= 20
    });
    assert_eq!(network.nef.ask(Method::DELETE, &again, None).status, 204);

    // Whatever was told is on record, and was told once.
    let on_record = records(&network.place);
    let mut told = BTreeSet::new();
    for report in [reports(&network.nef, "all"), reports(&network.nef, "again")].concat() {
        let id = from_base64(report["deviceId"].as_str().unwrap()).unwrap();
        let tag1 = report["record"]["tag1"].as_str().unwrap().to_owned();
        let key = (hex::encode(id), tag1);
        let record = &on_record[&key];
        assert!(!record.repeat);
        assert!(told.insert(key), "told twice: {report}");
        assert_eq!(report["fleet"], "pallets");
    }
    assert!(
        reports(&network.nef, "again")
            .iter()
            .all(|report| report.get("data").is_none())
    );
}
