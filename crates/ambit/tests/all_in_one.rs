//! `ambit serve` with `[sbi]`: one process that also offers the services of its ADM and its AIOTF, with mutual TLS and tokens.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // Helpers beside the tests.

mod common;
#[path = "../../adm/tests/common/device.rs"]
#[allow(dead_code, unreachable_pub)]
mod device;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ambit_adm_api::{AdmClient, DoaReport, Outcome, Verdict};
use ambit_protocol::area::Plmn;
use ambit_protocol::{AreaId, Cause, DeviceForm, Snid};
use ambit_sbi::adm::client::RemoteAdm;
use ambit_sbi::client::{Client, Outgoing};
use ambit_sbi::clock::unix_ms;
use ambit_sbi::exchange::{Exchange, Reply};
use ambit_sbi::nrf::client::NrfClient;
use ambit_sbi::router::{Access, Route, Router, Takes};
use ambit_sbi::runtime::Runtime;
use ambit_sbi::server::{self, Limits, ServerConfig};
use ambit_sbi::tls::Credentials;
use common::{Core, Place, wait_until};
use device::Device;
use hyper::Method;
use serde_json::{Value, json};

/// Of the network that a core serves without configuration.
fn area(code: u8) -> AreaId {
    Snid::new(Plmn::new("001", "01").unwrap(), None).area([0, 0, code])
}

struct Ran(Child);

impl Drop for Ran {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Another function of the network, with a certificate of its own.
struct Peer {
    credentials: Credentials,
    nrf: NrfClient,
}

impl Peer {
    fn new(place: &Place, core: &Core, name: &str, nf_type: &'static str) -> Self {
        place.ok(&["pki", "issue", "pki", name, nf_type]);
        let file = |name: String| place.path("pki").join(name);
        let (certificate, key) = (file(format!("{name}.pem")), file(format!("{name}.key")));
        let credentials = Credentials::read(&certificate, &key, &file("ca.pem".into())).unwrap();
        let client = Client::new(Some(credentials.clone()), None);
        let root = format!("https://{}", core.ready["sbi"]["nrf"].as_str().unwrap());
        let id = credentials.identity.nf_instance.unwrap();
        let nrf = NrfClient::new(client, &root, id, nf_type);
        Self { credentials, nrf }
    }
}

/// What a requester was told.
fn listen(runtime: &Runtime, peer: &Peer, told: &Arc<Mutex<Vec<Value>>>) -> String {
    let told = Arc::clone(told);
    let callback = Route::new(
        "callback",
        Method::POST,
        "/told",
        Access::Peer,
        Takes::Json(&["application/json"]),
        move |exchange: Exchange| {
            let answer = exchange.json().map(|body| {
                told.lock().unwrap().push(body.clone());
                Reply::no_content()
            });
            std::future::ready(answer)
        },
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = ServerConfig {
        credentials: Some(peer.credentials.clone()),
        limits: Limits::default(),
        name: "NEF-1".into(),
    };
    let router = Arc::new(Router::new(vec![callback], None));
    let address = server::start(runtime.handle(), listener, router, config).unwrap();
    format!("https://{address}/told")
}

#[test]
fn the_services_of_one_process_answer_with_tokens_and_a_report_comes_through() {
    let place = Place::new();
    place.ok(&["pki", "init", "pki"]);
    place.write(
        "core.toml",
        "[sbi]\nlisten = \"127.0.0.1:0\"\npki = \"pki\"\n",
    );
    place.import_fleet(4);
    let mut own = Device::new("remote", DeviceForm::Beacon);
    let key = hex::encode(own.key);
    let id = hex::encode(&own.id);
    let csv = "device_id,device_type,suite,form,key,tag_len,fleet";
    place.write("own.csv", &format!("{csv}\n{id},2b,1,beacon,{key},8,f\n"));
    place.ok(&["device", "import", "own.csv"]);
    let core = Core::start(&place, "127.0.0.1:0", &["--config", "core.toml"]);
    let root = |name: &str| format!("https://{}", core.ready["sbi"][name].as_str().unwrap());
    let runtime = Runtime::start().unwrap();

    // An AIOTF elsewhere asks the ADM in this process: its report is on record as any other.
    let aiotf = Peer::new(&place, &core, "aiotf-2", "AIOTF");
    let mut remote = RemoteAdm::new(runtime.handle().clone(), &aiotf.nrf);
    let mut beacons = None;
    wait_until("the ADM to be registered", || {
        beacons = remote.beacons(unix_ms()).ok();
        beacons.is_some()
    });
    let rand_n = beacons.unwrap().current;
    let sent = own.send(rand_n, Cause::PowerOn, 0);
    let report = DoaReport {
        nas: &sent.nas,
        rand_n,
        area_id: area(1),
        gnb_id: 7,
        reader_index: 1,
    };
    let mut verdicts = Vec::new();
    remote.authenticate(unix_ms(), &[report], &mut verdicts);
    let [Verdict::Accept { nas, outcome, .. }] = verdicts.as_slice() else {
        panic!("{verdicts:?}");
    };
    assert_eq!(*outcome, Outcome::AcceptedNew);
    assert!(sent.exchange.open_accept(nas.as_slice()).is_ok());
    let records = place.json(&["record", "list", "--device", &id, "--json"]);
    assert_eq!((records.len(), &records[0]["gnb_id"]), (1, &7.into()));

    // Devices by way of this process's own AIOTF.
    let args = [
        "ran",
        "--n2",
        &core.n2,
        "--devices",
        "fleet.csv",
        "--rate",
        "2",
    ];
    let child = place.command(&args).stdout(Stdio::null()).spawn().unwrap();
    let _ran = Ran(child);
    wait_until("all devices", || {
        let rows = place.json(&["record", "list", "--json"]);
        let ids: BTreeSet<&str> = rows
            .iter()
            .filter_map(|r| r["device_id"].as_str())
            .collect();
        ids.len() == 5
    });

    // A NEF asks that AIOTF for an inventory, and is told who is there.
    let nef = Peer::new(&place, &core, "nef-2", "NEF");
    let told = Arc::new(Mutex::new(Vec::new()));
    let areas: Vec<Value> = (1..=3)
        .map(|code| json!({"plmnId": {"mcc": "001", "mnc": "01"}, "aiotAreaCode": format!("00000{code}")}))
        .collect();
    let body = json!({
        "afId": "af", "notifUri": listen(&runtime, &nef, &told), "targetArea": {"areaIds": areas}, "numDevices": 4,
    });
    let ask = |root: &str, path: &str, token: Option<String>| {
        let outgoing = Outgoing::new(Method::POST, format!("{root}{path}"));
        let outgoing = outgoing
            .json(&body)
            .token(token)
            .wait(Duration::from_secs(10));
        let answer = runtime.handle().block_on(nef.nrf.client().send(outgoing));
        answer.unwrap().status
    };
    let token =
        |scope: &str, nf_type: &str| runtime.handle().block_on(nef.nrf.token(scope, nf_type));
    let good = token("naiotf-aiot", "AIOTF").unwrap();
    let path = "/naiotf-aiot/v1/request-inv";
    assert_eq!(ask(&root("aiotf"), path, None), 401);
    assert_eq!(ask(&root("adm"), "/nadm-sec/v1/get-rand", None), 401);
    // One for the ADM's data does not open the AIOTF, and a NEF gets none for keys.
    let other = token("nadm-dm", "ADM").unwrap();
    assert_eq!(ask(&root("aiotf"), path, Some(other.clone())), 401);
    assert_eq!(ask(&root("adm"), "/nadm-sec/v1/get-rand", Some(other)), 403);
    assert!(token("nadm-sec", "ADM").is_err());
    let found = || {
        let told = told.lock().unwrap();
        let devices = told
            .iter()
            .filter_map(|notif| notif["devicesRepData"].as_array());
        devices.flatten().count()
    };
    wait_until("an inventory that finds them", || {
        assert_eq!(ask(&root("aiotf"), path, Some(good.clone())), 200);
        let before = told.lock().unwrap().len();
        wait_until("its last word", || {
            let told = told.lock().unwrap();
            told.iter()
                .skip(before)
                .any(|notif| notif["lastRepInd"] == true)
        });
        found() > 0
    });
    assert!(core.terminate());
}
