//! An application from its account to a device's memory: `ambit af`, a token, an inventory and commands at the NEF, results at
//! its callback, all over TLS; on a core that is one process, and on functions that are processes of their own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // Helpers beside the tests.

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use ambit_sbi::client::{Client, Outgoing};
use ambit_sbi::exchange::{Exchange, Reply};
use ambit_sbi::json::{from_base64, to_base64};
use ambit_sbi::router::{Access, Route, Router, Takes};
use ambit_sbi::runtime::Runtime;
use ambit_sbi::server::{self, Limits, ServerConfig};
use ambit_sbi::tls::{self, Credentials};
use common::function::get_text;
use common::{Place, wait_until};
use hyper::Method;
use hyper::header::AUTHORIZATION;
use serde_json::{Value, json};

const CONFIG: &str = r#"
[nef]
listen = "127.0.0.1:0"
callback_ca = "pki/ca.pem"

[delivery]
allow_addresses = ["127.0.0.1"]

[[nef.area]]
name = "dock"
areas = ["000001"]

[[nef.area]]
name = "site"
areas = ["000001", "000002", "000003"]
"#;

/// A process of the program, ended with the test however that ends; what it says when it is ready.
struct Process(Child, Value);

impl Process {
    fn start(place: &Place, args: &[&str]) -> Self {
        let mut command = place.command(args);
        command.args(["--config", "ambit.toml"]);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.as_mut().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let ready = serde_json::from_str(&line).unwrap();
        Self(child, ready)
    }

    fn serve(place: &Place, args: &[&str]) -> Self {
        let all = [&["serve"], args, &["--http", "127.0.0.1:0", "--pki", "pki"]].concat();
        Self::start(place, &all)
    }

    fn address(&self, name: &str) -> &str {
        self.1[name].as_str().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn place() -> Place {
    let place = Place::new();
    place.write("ambit.toml", CONFIG);
    place.ok(&["pki", "init", "pki"]);
    let mut csv = "device_id,device_type,suite,form,key,tag_len,fleet\n".to_owned();
    for n in 0..12u32 {
        let key: u128 = fastrand::u128(..);
        let fleet = if n < 6 { "mine" } else { "theirs" };
        csv += &format!("ab{n:06x},1,{},dt,{key:032x},8,{fleet}\n", n % 3 + 1);
    }
    place.write("fleet.csv", &csv);
    place.ok(&["device", "import", "fleet.csv", "--config", "ambit.toml"]);
    place
}

/// An application with its callback.
struct App {
    runtime: Runtime,
    client: Client,
    root: String,
    account: Value,
    callback: String,
    told: Arc<Mutex<Vec<Value>>>,
}

impl App {
    fn new(place: &Place, nef: &str) -> Self {
        let account = place.json(&[
            "af",
            "add",
            "shop",
            "--all-areas",
            "--fleet",
            "mine",
            "--operation",
            "inventory",
            "--operation",
            "read",
            "--operation",
            "write",
            "--rate",
            "1000",
            "--burst",
            "1000",
            "--config",
            "ambit.toml",
            "--json",
        ]);
        let runtime = Runtime::start().unwrap();
        let file = |name: &str| place.path("pki").join(name);
        // The application's own server has a certificate of the same CA, for want of another.
        let mut credentials = Credentials::server_only(&file("nef.pem"), &file("nef.key")).unwrap();
        credentials.client = tls::client_of(&file("ca.pem")).unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let listen = {
            let told = Arc::clone(&told);
            move |exchange: Exchange| {
                let answer = exchange.json().cloned().map(|body| {
                    told.lock().unwrap().push(body);
                    Reply::no_content()
                });
                std::future::ready(answer)
            }
        };
        let json = Takes::Json(&["application/json"]);
        let route = Route::new("told", Method::POST, "/told", Access::Peer, json, listen);
        let config = ServerConfig {
            credentials: Some(credentials.clone()),
            limits: Limits::default(),
            name: "APP".into(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let router = Arc::new(Router::new(vec![route], None));
        let address = server::start(runtime.handle(), listener, router, config).unwrap();
        Self {
            runtime,
            client: Client::new(Some(credentials), None),
            root: format!("https://{nef}"),
            account: account[0].clone(),
            callback: format!("https://{address}/told"),
            told,
        }
    }

    fn send(&self, outgoing: Outgoing) -> (u16, Value) {
        let sent = self.runtime.handle().block_on(self.client.send(outgoing));
        let answer = sent.unwrap();
        (answer.status, answer.json().unwrap())
    }

    fn token(&self) -> String {
        let text = |name: &str| self.account[name].as_str().unwrap();
        let basic = format!("{}:{}", text("client_id"), text("client_secret"));
        let form = b"grant_type=client_credentials".to_vec();
        let mut outgoing = Outgoing::new(Method::POST, format!("{}/oauth2/token", self.root))
            .typed("application/x-www-form-urlencoded", form);
        let basic = format!("Basic {}", to_base64(basic.as_bytes()));
        outgoing
            .headers
            .push((AUTHORIZATION, basic.parse().unwrap()));
        let (status, said) = self.send(outgoing);
        assert_eq!(status, 200, "{said}");
        said["access_token"].as_str().unwrap().to_owned()
    }

    fn ask(&self, operation: &str, token: &str, mut body: Value) -> (u16, Value) {
        body["afId"] = "shop".into();
        body["notifUri"] = self.callback.clone().into();
        let uri = format!("{}/3gpp-aiot/v1/{operation}", self.root);
        let outgoing = Outgoing::new(Method::POST, uri)
            .json(&body)
            .token(Some(token.to_owned()));
        self.send(outgoing)
    }

    /// Asks, and gathers what is told until the end.
    fn run(&self, operation: &str, token: &str, body: Value) -> Vec<Value> {
        self.told.lock().unwrap().clear();
        let (status, said) = self.ask(operation, token, body);
        assert_eq!(status, 200, "{said}");
        wait_until("the last notification", || {
            let told = self.told.lock().unwrap();
            told.iter().any(|body| body["lastRepInd"] == true)
        });
        let told = self.told.lock().unwrap().clone();
        assert!(
            told.iter()
                .all(|body| body["afTransId"] == said["afTransId"])
        );
        let devices = told
            .iter()
            .filter_map(|body| body["devicesRepData"].as_array());
        devices.flatten().cloned().collect()
    }
}

fn id(device: &Value) -> String {
    hex::encode(from_base64(device["deviceId"].as_str().unwrap()).unwrap())
}

/// From the account to a device's memory, and what is not the application's.
fn an_application_at_work(place: &Place, nef: &str) {
    let app = App::new(place, nef);
    let token = app.token();
    // Who was not powered yet answers the next time. Half of the devices are another's: it never hears of them.
    let mut found = BTreeSet::new();
    wait_until("all six", || {
        let site = json!({ "extTargetArea": { "extAreaIds": ["site"] }, "devLocReqInd": true, "timeInterval": 1 });
        let devices = app.run("request-inv", &token, site);
        for device in &devices {
            let place = device["deviceLocInfo"]["customLocInfo"].as_str().unwrap();
            assert!(place == "dock" || place == "site", "{place}");
        }
        found.extend(devices.iter().map(id));
        found.len() >= 6
    });
    let mine: BTreeSet<_> = (0..6).map(|n| format!("ab{n:06x}")).collect();
    assert_eq!(found, mine);

    let one = json!({ "devices": [to_base64(&hex::decode("ab000004").unwrap())] });
    let data = to_base64(b"\xc0\x1d\xca\xfe");
    let write = json!({ "commandType": "WRITE", "offset": 4, "data": data, "targetDevices": one });
    wait_until("a device that was written", || {
        let written = app.run("request-cmd", &token, write.clone());
        written.len() == 1 && written[0].get("failCause").is_none()
    });
    let read = json!({ "commandType": "READ", "offset": 4, "length": 4, "targetDevices": one });
    wait_until("what was written", || {
        let read = app.run("request-cmd", &token, read.clone());
        read.len() == 1 && read[0]["readCmdRep"] == data.as_str()
    });

    let other = json!({ "devices": [to_base64(&hex::decode("ab000007").unwrap())] });
    let (status, said) = app.ask("request-inv", &token, json!({ "targetDevices": other }));
    assert_eq!(
        (status, &said["cause"]),
        (403, &json!("DEVICE_NOT_ALLOWED"))
    );
    let disable = json!({ "commandType": "PERMANENT_DISABLE", "targetDevices": one });
    let (status, said) = app.ask("request-cmd", &token, disable);
    assert_eq!(
        (status, &said["cause"]),
        (403, &json!("OPERATION_NOT_ALLOWED"))
    );
    wait_until("both on record", || {
        let events = place.json(&[
            "event",
            "list",
            "--kind",
            "af_refused",
            "--config",
            "ambit.toml",
            "--json",
        ]);
        let causes: BTreeSet<_> = events
            .iter()
            .map(|event| event["detail"].to_string())
            .collect();
        let has = |cause: &str| {
            causes
                .iter()
                .any(|detail| detail.contains(cause) && detail.contains("shop"))
        };
        has("DEVICE_NOT_ALLOWED") && has("OPERATION_NOT_ALLOWED")
    });
    let secret = app.account["client_secret"].as_str().unwrap();
    let said = place.ok(&["event", "list", "--config", "ambit.toml", "--json"]);
    assert!(!said.contains(secret) && !said.contains(&token));

    // Removed: the token is good for nothing.
    place.ok(&["af", "remove", "shop", "--config", "ambit.toml"]);
    wait_until("the token is refused", || {
        app.ask("request-inv", &token, json!({ "targetDevices": one }))
            .0
            == 401
    });
}

/// Readers and devices, once the AIOTF `at` has taken the readers in: before that it serves no area.
fn ran(place: &Place, at: &Process) -> Process {
    let n2 = at.address("n2");
    let child = place
        .command(&["ran", "--n2", n2, "--devices", "fleet.csv", "--rate", "1"])
        .args(["--seconds", "300", "--json"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let ran = Process(child, Value::Null);
    wait_until("the gNB", || {
        let metrics = get_text(at.address("http"), "/metrics");
        let mut lines = metrics.lines();
        lines.any(|line| line.starts_with("ambit_n2_total{event=\"ng_setup\"}"))
    });
    ran
}

#[test]
fn an_application_finds_reads_and_writes_its_devices_at_a_core_in_one_process() {
    let place = place();
    let core = Process::serve(&place, &["--n2", "127.0.0.1:0", "--sbi", "127.0.0.1:0"]);
    let _ran = ran(&place, &core);
    an_application_at_work(&place, core.address("nef"));
}

#[test]
fn an_application_finds_reads_and_writes_its_devices_through_functions_apart() {
    let place = place();
    let nrf = Process::serve(&place, &["nrf", "--sbi", "127.0.0.1:0"]);
    let root = format!("https://{}", nrf.address("sbi"));
    let with_nrf = |args: &[&str]| {
        let all = [args, &["--sbi", "127.0.0.1:0", "--nrf", &root]].concat();
        Process::serve(&place, &all)
    };
    let _adm = with_nrf(&["adm"]);
    let aiotf = with_nrf(&["aiotf", "--n2", "127.0.0.1:0"]);
    let nef = with_nrf(&["nef"]);
    let _ran = ran(&place, &aiotf);
    an_application_at_work(&place, nef.address("nef"));
}
