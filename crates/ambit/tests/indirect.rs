//! gNBs behind an AMF (indirect connectivity): NRF, ADM, AIOTF, AMF and readers as processes, with mutual TLS and tokens.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // Helpers beside the tests.

mod common;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ambit_sbi::client::{Client, Outgoing};
use ambit_sbi::exchange::{Exchange, Reply};
use ambit_sbi::json::{from_base64, to_base64};
use ambit_sbi::nrf::client::NrfClient;
use ambit_sbi::router::{Access, Route, Router, Takes};
use ambit_sbi::runtime::Runtime;
use ambit_sbi::server::{self, Limits, ServerConfig};
use ambit_sbi::tls::Credentials;
use common::function::{Function, get_text};
use common::{Place, check_ledger, wait_until};
use serde_json::{Value, json};

/// How long the AMF is killed again and again. Twelve seconds, unless the environment says otherwise.
fn seconds() -> u64 {
    let text = std::env::var("AMBIT_TEST_APART_SECONDS");
    text.ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

/// All functions, the AMF where it can be started again.
struct Network {
    place: Place,
    root: String,
    amf_args: [String; 6],
    amf: Option<Function>,
    aiotf: Option<Function>,
    /// NRF and ADM.
    _others: [Function; 2],
}

impl Network {
    fn start(place: Place) -> Self {
        place.ok(&["pki", "init", "pki"]);
        place.ok(&["pki", "issue", "pki", "amf", "AMF"]);
        let nrf = Function::start(&place, &["nrf", "--sbi", "127.0.0.1:0"]);
        let root = format!("https://{}", nrf.address("sbi"));
        let adm = ["adm", "--sbi", "127.0.0.1:0", "--nrf", &root];
        let adm = Function::start(&place, &adm);
        let amf = [
            "--n2",
            "127.0.0.1:0",
            "--sbi",
            "127.0.0.1:0",
            "--nrf",
            &root,
        ];
        let amf = Function::amf(&place, &amf);
        // It comes back where its gNBs look for it, and on whatever port is free, where AIOTFs find it through the NRF.
        let n2 = amf.address("n2");
        let amf_args = ["--n2", &n2, "--sbi", "127.0.0.1:0", "--nrf", &root];
        let mut network = Self {
            amf_args: amf_args.map(str::to_owned),
            place,
            root,
            amf: Some(amf),
            aiotf: None,
            _others: [nrf, adm],
        };
        network.restart_aiotf("127.0.0.1:0");
        network
    }

    fn restart_aiotf(&mut self, sbi: &str) {
        drop(self.aiotf.take());
        let nothing = "127.0.0.1:0";
        let args = ["aiotf", "--n2", nothing, "--sbi", sbi, "--nrf", &self.root];
        let args = [&args[..], &["--amf-gnb", "1"]].concat();
        self.aiotf = Some(Function::start(&self.place, &args));
    }

    fn restart_amf(&mut self) {
        drop(self.amf.take());
        let args: Vec<&str> = self.amf_args.iter().map(String::as_str).collect();
        self.amf = Some(Function::amf(&self.place, &args));
    }

    fn aiotf(&self) -> &Function {
        self.aiotf.as_ref().unwrap()
    }

    fn n2(&self) -> String {
        self.amf.as_ref().unwrap().address("n2")
    }

    /// Readers and devices behind the AMF.
    fn ran(&self, args: &[&str]) -> Ran {
        let n2 = self.n2();
        let mut command = self.place.command(&["ran", "--n2", &n2, "--json"]);
        Ran(command.args(args).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// How often something has happened at the AIOTF.
    fn count(&self, event: &str) -> u64 {
        let text = get_text(&self.aiotf().address("http"), "/metrics");
        let start = format!("ambit_n2_total{{event=\"{event}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&*start));
        line.map_or(0, |n| n.parse().unwrap())
    }
}

/// Ends the emulator with the test.
struct Ran(Child);

impl Ran {
    /// Waits for its end; its summary.
    fn summary(mut self) -> Value {
        let mut out = self.0.stdout.take().unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut out, &mut text).unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

impl Drop for Ran {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_amf_is_killed_again_and_again_and_nothing_is_accepted_twice() {
    let place = Place::new();
    place.import_fleet(100);
    let mut network = Network::start(place);
    let run = seconds().to_string();
    let args = ["--devices", "fleet.csv", "--rate", "50", "--loss", "5%"];
    let more = ["--seconds", &run, "--linger", "120", "--ledger", "ledger"];
    let ran = network.ran(&[&args[..], &more].concat());
    let started = Instant::now();
    let mut kills = 0;
    while started.elapsed() < Duration::from_secs(seconds()) {
        std::thread::sleep(Duration::from_millis(fastrand::u64(1500..3000)));
        if kills % 3 == 2 {
            // The AIOTF too, on another port: the gNB still has its windows.
            network.restart_aiotf("127.0.0.1:0");
        } else {
            network.restart_amf();
        }
        kills += 1;
    }
    let summary = ran.summary();
    println!("{kills} kills; {summary}");
    assert_eq!(summary["pending"], 0, "resumed by itself: {summary}");
    assert_eq!(summary["registered"], 100, "{summary}");
    let accepted = check_ledger(&network.place);
    assert!(accepted > 100, "hardly anything happened: {summary}");
    // All of it came through the AMF.
    assert_eq!(network.count("ng_setup"), 0);
    assert!(network.count("amf_up") > 0);
}

/// A NEF: asks for inventories and commands, and hears what comes of them.
struct Nef {
    runtime: Runtime,
    nrf: NrfClient,
    notif_uri: String,
    told: Arc<Mutex<Vec<Value>>>,
}

impl Nef {
    fn new(network: &Network) -> Self {
        let file = |name: &str| network.place.path("pki").join(name);
        let credentials = Credentials::read(&file("nef.pem"), &file("nef.key"), &file("ca.pem"));
        let credentials = credentials.unwrap();
        let runtime = Runtime::start().unwrap();
        let id = credentials.identity.nf_instance.unwrap();
        let client = Client::new(Some(credentials.clone()), None);
        let told = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&told);
        let callback = move |exchange: Exchange| {
            let body = exchange.json().unwrap().clone();
            into.lock().unwrap().push(body);
            std::future::ready(Ok(Reply::no_content()))
        };
        let json = Takes::Json(&["application/json"]);
        let peer = Access::Peer;
        let callback = Route::new("told", hyper::Method::POST, "/told", peer, json, callback);
        let router = Arc::new(Router::new(vec![callback], None));
        let config = ServerConfig {
            credentials: Some(credentials),
            limits: Limits::default(),
            name: "NEF".into(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server::start(runtime.handle(), listener, router, config).unwrap();
        Self {
            nrf: NrfClient::new(client, &network.root, id, "NEF"),
            notif_uri: format!("https://{address}/told"),
            runtime,
            told,
        }
    }

    /// Asks, and waits for the last notification: all device reports.
    fn ask(&self, network: &Network, operation: &str, mut body: Value) -> Vec<Value> {
        body["afId"] = "warehouse".into();
        body["notifUri"] = self.notif_uri.as_str().into();
        let sbi = network.aiotf().address("sbi");
        let uri = format!("https://{sbi}/naiotf-aiot/v1/{operation}");
        let asked = async {
            let token = self.nrf.token("naiotf-aiot", "AIOTF").await.unwrap();
            let outgoing = Outgoing::new(hyper::Method::POST, uri)
                .json(&body)
                .token(Some(token));
            self.nrf.client().send(outgoing).await.unwrap()
        };
        let answer = self.runtime.handle().block_on(asked);
        let said = answer.json().unwrap();
        if answer.status == 404 && said["cause"] == "AREA_NOT_SERVED" {
            // The gNB is just being attached.
            return Vec::new();
        }
        assert_eq!(answer.status, 200, "{said}");
        let is_mine = |told: &&Value| told["transId"] == said["transId"];
        let mut devices = Vec::new();
        let started = Instant::now();
        loop {
            assert!(started.elapsed() < Duration::from_secs(120), "no last one");
            let told = self.told.lock().unwrap();
            let mine: Vec<&Value> = told.iter().filter(is_mine).collect();
            if mine.iter().any(|told| told["lastRepInd"] == true) {
                let reports = mine.iter().filter_map(|t| t["devicesRepData"].as_array());
                devices.extend(reports.flatten().cloned());
                return devices;
            }
            drop(told);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Devices that only answer, and two that speak first.
fn import_tags(place: &Place, count: u32) {
    let mut csv = "device_id,device_type,suite,form,key,tag_len,fleet\n".to_owned();
    for n in 0..count {
        let (kind, form) = if n + 2 < count {
            ("1", "dt")
        } else {
            ("2b", "concealed")
        };
        let (suite, key) = (n % 3 + 1, fastrand::u128(..));
        csv += &format!("ab{n:06x},{kind},{suite},{form},{key:032x},8,default\n");
    }
    place.write("fleet.csv", &csv);
    place.ok(&["device", "import", "fleet.csv"]);
}

#[test]
fn devices_behind_an_amf_are_found_read_and_written_also_after_it_was_restarted() {
    let place = Place::new();
    import_tags(&place, 20);
    let mut network = Network::start(place);
    let args = ["--devices", "fleet.csv", "--rate", "1", "--seconds", "600"];
    let _ran = network.ran(&args);
    wait_until("the window", || network.count("window_opened") > 0);
    let health = network.aiotf().health();
    assert_eq!(health["amf"][0]["gnb"], 1, "{health}");
    let nef = Nef::new(&network);
    let everybody = |network: &Network| {
        let mut found = BTreeSet::new();
        wait_until("all devices", || {
            let all = json!({
                "targetArea": {"areaIds": (1..4).map(|code| json!({
                    "plmnId": {"mcc": "001", "mnc": "01"},
                    "aiotAreaCode": format!("{code:06x}"),
                })).collect::<Vec<_>>()},
                "numDevices": 20,
            });
            let reports = nef.ask(network, "request-inv", all);
            found.extend(
                reports
                    .iter()
                    .map(|r| r["deviceId"].as_str().unwrap().to_owned()),
            );
            found.len() == 20
        });
        let is_ours = |id: &String| from_base64(id).unwrap()[0] == 0xab;
        assert!(found.iter().all(is_ours), "{found:?}");
    };
    let device = json!({"devices": [to_base64(&[0xab, 0, 0, 5])]});
    let read = json!({
        "targetDevices": device, "commandType": "READ", "offset": 4, "length": 4,
    });
    let is_read = |network: &Network| {
        let reports = nef.ask(network, "request-cmd", read.clone());
        reports.first().is_some_and(|report| {
            report.get("readCmdRep").and_then(Value::as_str) == Some(&to_base64(b"cafe"))
        })
    };
    everybody(&network);
    let write = json!({
        "targetDevices": device, "commandType": "WRITE", "offset": 4, "data": to_base64(b"cafe"),
    });
    let written = nef.ask(&network, "request-cmd", write);
    assert_eq!(written.len(), 1);
    assert!(written[0].get("failCause").is_none(), "{written:?}");
    assert!(is_read(&network));

    // Restarted, the AMF knows its gNB again before long, and the AIOTF the AMF.
    network.restart_amf();
    wait_until("a READ through the AMF that came back", || {
        is_read(&network)
    });
    everybody(&network);
}

#[test]
fn cards_register_through_an_amf() {
    let place = Place::new();
    let head = "device_id,device_type,suite,form,imsi,iccid,algorithm\n";
    let lines = (0..6).map(|n| {
        let (suite, form) = (n % 3 + 1, ["beacon", "counter", "concealed"][n % 3]);
        format!("d{n},2b,{suite},{form},0010100000{n:05},89882110000000{n:05},milenage\n")
    });
    place.write("batch.csv", &(head.to_owned() + &lines.collect::<String>()));
    let make = ["uicc", "personalise", "batch.csv", "--out", "batch"];
    place.ok(&[&make[..], &["--transport-keys-out", "batch.keys"]].concat());
    let import = ["subscriber", "import", "batch/cards.csv"];
    place.ok(&[&import[..], &["--transport-keys", "batch.keys"]].concat());
    let network = Network::start(place);
    let args = ["--cards", "batch/cards", "--rate", "5", "--seconds", "6"];
    let rest = ["--loss", "5%", "--linger", "60", "--ledger", "ledger"];
    let summary = network.ran(&[&args[..], &rest].concat()).summary();
    assert_eq!(summary["registered"], 6, "{summary}");
    assert_eq!(summary["pending"], 0, "{summary}");
    let records = network.place.json(&["record", "list", "--json"]);
    let registered = records.iter().filter(|row| row["form"] == "aka");
    assert!(registered.count() >= 6, "{records:?}");
}

#[test]
fn all_in_one_with_gnbs_behind_an_amf_and_what_it_lacks_is_named() {
    let place = Place::new();
    let message = place.fails(3, &["serve", "--amf-gnb", "1", "--n2", "127.0.0.1:0"]);
    assert!(message.contains("sbi.pki"), "{message}");
    place.ok(&["pki", "init", "pki"]);
    place.ok(&["pki", "issue", "pki", "amf", "AMF"]);
    let serve = ["serve", "--pki", "pki", "--sbi", "127.0.0.1:0"];
    let here = ["--n2", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let fails = |more: &[&str]| place.fails(3, &[&serve[..], &here, more].concat());
    let uri = ["--amf", "https://127.0.0.1:1"];
    assert!(fails(&uri).contains("amf.gnbs"));
    assert!(fails(&["--amf-gnb", "1,1"]).contains("stands twice"));
    assert!(fails(&["--amf-gnb", "4194304"]).contains("22 bits"));
    let nowhere = ["--amf-gnb", "1", "--amf", "gopher://x"];
    assert!(fails(&nowhere).contains("amf.uri"));
    place.write("bits.toml", "[amf]\ngnbs = [1]\ngnb_id_bits = 33\n");
    assert!(fails(&["--config", "bits.toml"]).contains("gnb_id_bits"));
    let message = place.fails(3, &["ran", "amf", "--pki", "pki"]);
    assert!(message.contains("sbi.nrf"), "{message}");
    assert_eq!(place.run(&["ran"]).status.code(), Some(2));

    import_tags(&place, 5);
    let all = [
        &["--sbi", "127.0.0.1:0", "--n2", "127.0.0.1:0"][..],
        &["--amf-gnb", "1"],
    ]
    .concat();
    let core = Function::start(&place, &all);
    let nrf = core.nested("sbi", "nrf");
    let root = format!("https://{nrf}");
    let amf = [
        "--n2",
        "127.0.0.1:0",
        "--sbi",
        "127.0.0.1:0",
        "--nrf",
        &root,
    ];
    let amf = Function::amf(&place, &amf);
    let n2 = amf.address("n2");
    let ran = [
        "ran",
        "--n2",
        &n2,
        "--devices",
        "fleet.csv",
        "--seconds",
        "600",
    ];
    let ran = place.command(&ran).stdout(Stdio::null()).spawn().unwrap();
    let _ran = Ran(ran);
    // From the command line, as over N2.
    let device = ["--device", "ab000001", "--json"];
    wait_until("the device", || {
        let asked = [&["command", "read", "--length", "2"][..], &device].concat();
        place.run(&asked).status.success()
    });
    wait_until("reports", || {
        let health = core.health();
        health["records"].as_u64() >= Some(2)
    });
}
