//! Nadm_Sec and Nadm_DM by 3GPP's files, on a real ADM behind mutual TLS and tokens; and the same ADM as an AIOTF sees it
//! through them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;
#[path = "../../adm/tests/common/device.rs"]
#[allow(dead_code, unreachable_pub)]
mod device;

use std::ops::ControlFlow;
use std::sync::Arc;

use ambit_adm::{Adm, AdmConfig, Kek, system_entropy};
use ambit_adm_api::{
    AdmClient, AfAuthorization, AfDevices, AfOperation, AfReceive, AfRefusal,
    Answer as DeviceAnswer, AuthenticationRequest, DeviceFailure, DoaReport, KeptOperation, Nadm,
    NadmError, Outcome, Population, Verdict,
};
use ambit_protocol::area::Plmn;
use ambit_protocol::schedule::{self, cut};
use ambit_protocol::session::Session;
use ambit_protocol::wire::AcceptStatus;
use ambit_protocol::{AreaId, Cause, DeviceForm, RandN, RootKey, Snid, Suite};
use ambit_sbi::adm::client::RemoteAdm;
use ambit_sbi::adm::engine::AdmEngine;
use ambit_sbi::adm::{self, SharedAdm};
use ambit_sbi::client::{Answer, Outgoing};
use ambit_sbi::clock::unix_ms;
use ambit_sbi::json::to_base64;
use ambit_sbi::nrf::client::NrfClient;
use ambit_sbi::nrf::profile::OwnProfile;
use ambit_store::{CommandFilter, CommandRow, CommandState, EventFilter, SqliteStore};
use common::contract::Contract;
use common::{Network, id_of};
use device::Device;
use hyper::Method;
use serde_json::{Value, json};
use uuid::Uuid;

fn snid() -> Snid {
    Snid::new(Plmn::new("001", "01").unwrap(), None)
}

fn area(code: u8) -> AreaId {
    snid().area([0, 0, code])
}

/// A network with an ADM, and an AIOTF that asks it.
struct Setup {
    network: Network,
    engine: AdmEngine<Adm>,
    aiotf: NrfClient,
    root: String,
    devices: Vec<Device>,
    /// Client identifier and secret of the AF `warehouse`.
    af: (String, String),
}

impl Setup {
    fn new() -> Self {
        let mut devices = vec![
            Device::new("shelf-1", DeviceForm::Dt),
            Device::new("shelf-2", DeviceForm::Dt),
            Device::new("gone", DeviceForm::Dt),
            Device::new("beacon", DeviceForm::Beacon),
        ];
        devices[1].suite = Suite::AsconXof128;
        let config = AdmConfig {
            chain_epochs: 2000,
            ..AdmConfig::new(snid())
        };
        let store = Box::new(SqliteStore::in_memory().unwrap());
        let kek = Kek::from_octets(&[0x4b; 32]);
        let mut adm = Adm::open(config, store, kek, system_entropy(), unix_ms()).unwrap();
        let specs: Vec<_> = devices.iter().map(Device::spec).collect();
        adm.import(&specs, unix_ms()).unwrap();
        adm.set_disabled(b"gone", true, unix_ms()).unwrap();
        let warehouse = AfAuthorization {
            areas: Some(vec![area(1)]),
            operations: vec![AfOperation::Inventory, AfOperation::Read],
            devices: AfDevices::Only {
                ids: vec![b"shelf-1".to_vec()],
                filters: vec![b"pallet".to_vec()],
                fleets: vec!["tools".into()],
            },
            ..AfAuthorization::default()
        };
        let all = AfAuthorization {
            areas: None,
            operations: AfOperation::ALL.to_vec(),
            devices: AfDevices::All,
            receive: AfReceive::ALL.to_vec(),
            ..AfAuthorization::default()
        };
        let (af, secret) = adm.add_af("warehouse", &warehouse, unix_ms()).unwrap();
        adm.add_af("all", &all, unix_ms()).unwrap();
        adm.add_af("nothing", &AfAuthorization::default(), unix_ms())
            .unwrap();
        let engine = AdmEngine::start(adm).unwrap();
        let network = Network::new();
        let (credentials, nrf) = network.function("adm", "ADM");
        let shared: SharedAdm = Arc::new(engine.handle());
        let routes = adm::routes(&shared);
        let root = network.serve(&credentials, "ADM", routes);
        let profile = OwnProfile {
            started_ms: 0,
            id: id_of(&credentials),
            nf_type: "ADM",
            address: root.trim_start_matches("https://").parse().unwrap(),
            host: None,
            is_tls: true,
            services: adm::SERVICES,
            areas: Vec::new(),
        };
        network.run(nrf.register(&profile.to_json())).unwrap();
        let (_, aiotf) = network.function("aiotf", "AIOTF");
        Self {
            network,
            engine,
            aiotf,
            root,
            devices,
            af: (af.client_id, secret.expose().to_owned()),
        }
    }

    fn remote(&self) -> RemoteAdm {
        RemoteAdm::new(self.network.runtime.handle().clone(), &self.aiotf)
    }

    fn send(&self, method: Method, path: &str, body: Option<(&str, Value)>) -> Answer {
        let service = path.split('/').nth(1).unwrap();
        let service = if service == "nadm-dm" {
            "nadm-dm"
        } else {
            "nadm-sec"
        };
        let token = self.network.run(self.aiotf.token(service, "ADM")).unwrap();
        let mut outgoing = Outgoing::new(method, format!("{}{path}", self.root)).token(Some(token));
        if let Some((media_type, body)) = body {
            outgoing = outgoing.typed(media_type, body.to_string().into_bytes());
        }
        self.network.send(&self.aiotf, outgoing)
    }

    fn dt_answer(&self, n: usize, rand_n: &RandN, nonce: u8) -> DeviceAnswer {
        let device = &self.devices[n];
        let rand_d = [nonce; 16];
        let key = RootKey::new(device.key);
        let res = key.evaluate(device.suite, &schedule::dt_res(rand_n, &rand_d));
        DeviceAnswer {
            rand_d,
            res: Some(cut(&res)),
        }
    }
}

fn body(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";

#[test]
fn nadm_sec_is_as_in_3gpp_s_file() {
    let setup = Setup::new();
    let contract = Contract::of_3gpp("TS29369_Nadm_Sec.json");
    let check = |operation: &str, body_json: Option<Value>, status: u16| {
        let path = format!("/{operation}");
        let answer = setup.send(
            Method::POST,
            &format!("/nadm-sec/v1{path}"),
            body_json.map(|b| (JSON, b)),
        );
        assert_eq!(
            answer.status,
            status,
            "{operation}: {:?}",
            String::from_utf8_lossy(&answer.body)
        );
        if let Some(contract) = &contract {
            contract.check(&path, "post", &answer);
        }
        body(&answer)
    };
    let rand_n = check("get-rand", None, 200)["randN"]
        .as_str()
        .unwrap()
        .to_owned();
    let rand = RandN::from_octets(hex::decode(&rand_n).unwrap().try_into().unwrap());
    let (shelf, gone, nobody) = (
        to_base64(b"shelf-1"),
        to_base64(b"gone"),
        to_base64(b"nobody"),
    );
    let rand_d = hex::encode([7; 16]);

    // Single device: XRES is what the device answers.
    let one = json!({"aiotDevPermId": shelf, "randN": rand_n, "randDlist": [rand_d]});
    let said = check("get-authentication", Some(one.clone()), 200);
    let expected = setup.dt_answer(0, &rand, 7).res.unwrap();
    assert_eq!(
        said["authDataSets"][0]["authDataSet"][0]["xres"],
        hex::encode(expected)
    );
    // A filter, and nobody named: an XRES of every device in question.
    let with = |name: &str, value: Value| {
        let mut changed = one.clone();
        changed[name] = value;
        changed
    };
    let without = |from: &Value, name: &str| {
        let mut changed = from.clone();
        changed.as_object_mut().unwrap().remove(name);
        changed
    };
    let mut filtered = without(&one, "aiotDevPermId");
    filtered["filteringInfo"] = to_base64(b"shelf").into();
    let said = check("get-authentication", Some(filtered), 200);
    assert_eq!(
        said["authDataSets"][0]["authDataSet"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    check(
        "get-authentication",
        Some(without(&one, "aiotDevPermId")),
        200,
    );
    let mut nothing = without(&one, "aiotDevPermId");
    nothing["filteringInfo"] = to_base64(b"zzz").into();
    check("get-authentication", Some(nothing), 404);
    check(
        "get-authentication",
        Some(with("aiotDevPermId", nobody.clone().into())),
        404,
    );
    check(
        "get-authentication",
        Some(with("aiotDevPermId", gone.clone().into())),
        403,
    );
    for (bad, param) in [
        (without(&one, "randN"), "/randN"),
        (without(&one, "randDlist"), "/randDlist"),
        (with("randN", "12".into()), "/randN"),
        (with("randDlist", json!([])), "/randDlist"),
        (with("randDlist", json!([rand_d, 7])), "/randDlist/1"),
        (with("aiotDevPermId", "".into()), "/aiotDevPermId"),
        (with("aiotDevPermId", "!".into()), "/aiotDevPermId"),
        (
            with("filteringInfo", shelf.clone().into()),
            "/filteringInfo",
        ),
    ] {
        let said = check("get-authentication", Some(bad), 400);
        assert_eq!(said["invalidParams"][0]["param"], param);
    }

    let key = json!({"aiotDevPermId": shelf, "randN": rand_n, "randD": rand_d});
    check("get-session-key", Some(key.clone()), 200);
    check("get-session-key", Some(without(&key, "randD")), 400);
    let of = |id: &str| {
        let mut changed = key.clone();
        changed["aiotDevPermId"] = id.into();
        changed
    };
    check("get-session-key", Some(of(&nobody)), 404);
    check("get-session-key", Some(of(&gone)), 403);

    let tid = json!({"aiotDevPermId": shelf, "resyncInd": true, "ambit": {"randN": rand_n}});
    assert_eq!(
        check("get-tid", Some(tid.clone()), 200)["tidHandInfo"]["tidType"],
        "CONCEALED"
    );
    let said = check("get-tid", Some(without(&tid, "ambit")), 400);
    assert_eq!(said["invalidParams"][0]["param"], "/ambit");

    // What the server itself says, in the file's terms.
    let path = "/nadm-sec/v1/get-session-key";
    let plain = setup.send(Method::POST, path, Some(("text/plain", key.clone())));
    let large = setup.send(Method::POST, path, Some((JSON, json!("x".repeat(70_000)))));
    let untold = setup.network.send(
        &setup.aiotf,
        Outgoing::new(Method::POST, format!("{}{path}", setup.root)).json(&key),
    );
    for (answer, status) in [(plain, 415), (large, 413), (untold, 401)] {
        assert_eq!(answer.status, status);
        if let Some(contract) = &contract {
            contract.check("/get-session-key", "post", &answer);
        }
    }
    if let Some(contract) = &contract {
        let declared = contract.operations();
        assert_eq!(
            declared.len(),
            4,
            "an operation that this test does not walk: {declared:?}"
        );
    }
}

#[test]
fn nadm_dm_is_as_in_3gpp_s_file_and_takes_both_shapes_of_patch() {
    const ONE: &str = "/aiot-device-profile-data/{aiotDevPermId}";
    const MANY: &str = "/aiot-device-profile-data";
    let setup = Setup::new();
    let contract = Contract::of_3gpp("TS29369_Nadm_DM.json");
    let check =
        |method: Method, declared: &str, path: &str, sent: Option<(&str, Value)>, status: u16| {
            let name = method.as_str().to_lowercase();
            let answer = setup.send(method, &format!("/nadm-dm/v1{path}"), sent);
            assert_eq!(
                answer.status,
                status,
                "{path}: {:?}",
                String::from_utf8_lossy(&answer.body)
            );
            if let Some(contract) = &contract {
                contract.check(declared, &name, &answer);
            }
            if answer.body.is_empty() {
                Value::Null
            } else {
                body(&answer)
            }
        };
    let (shelf, nobody) = (to_base64(b"shelf-1"), to_base64(b"nobody"));
    let at = |id: &str| format!("{MANY}/{}", id.replace('=', "%3D"));
    let known = |id: &str| {
        check(Method::GET, ONE, &at(id), None, 200)["lastKnownAiotfInfo"]["lastKnownAiotfId"]
            .clone()
    };
    assert_eq!(known(&shelf), Value::Null);
    check(Method::GET, ONE, &at(&nobody), None, 404);
    check(Method::GET, ONE, &at("!"), None, 400);

    let id = |n: u8| Uuid::from_bytes([n; 16]).to_string();
    let info = |n: u8| json!({"lastKnownAiotfInfoInd": true, "lastKnownAiotfId": id(n)});
    // One profile: a merge patch, as the file has it; and a JSON patch.
    let merge = json!({"aiotDevPermId": shelf, "lastKnownAiotfInfo": info(1)});
    check(Method::PATCH, ONE, &at(&shelf), Some((MERGE, merge)), 204);
    assert_eq!(known(&shelf), id(1));
    let items =
        json!([{"op": "replace", "path": "/lastKnownAiotfInfo/lastKnownAiotfId", "value": id(2)}]);
    for media_type in [MERGE, "application/json-patch+json"] {
        check(
            Method::PATCH,
            ONE,
            &at(&shelf),
            Some((media_type, items.clone())),
            204,
        );
    }
    assert_eq!(known(&shelf), id(2));
    // What cannot be done is reported, what can is done.
    let items = json!([
        {"op": "replace", "path": "/tidCurrent", "value": "00"},
        {"op": "remove", "path": "/lastKnownAiotfInfo"},
        {"op": "add", "path": "/lastKnownAiotfInfo", "value": info(3)},
    ]);
    let said = check(Method::PATCH, ONE, &at(&shelf), Some((MERGE, items)), 200);
    assert_eq!(said["report"].as_array().unwrap().len(), 2);
    assert_eq!(known(&shelf), id(3));
    check(
        Method::PATCH,
        ONE,
        &at(&nobody),
        Some((MERGE, json!({"lastKnownAiotfInfo": info(1)}))),
        404,
    );
    check(
        Method::PATCH,
        ONE,
        &at(&shelf),
        Some((MERGE, json!([]))),
        400,
    );
    check(
        Method::PATCH,
        ONE,
        &at(&shelf),
        Some((JSON, json!({}))),
        415,
    );

    // Several: PatchItems under the merge-patch media type, as the file has it; and a merge patch.
    let pointer = format!(
        "/{}/lastKnownAiotfInfo",
        to_base64(b"shelf-2").replace('/', "~1")
    );
    let items = json!([
        {"op": "replace", "path": pointer, "value": info(4)},
        {"op": "replace", "path": format!("/{nobody}/lastKnownAiotfInfo"), "value": info(4)},
    ]);
    let said = check(Method::PATCH, MANY, MANY, Some((MERGE, items)), 200);
    assert_eq!(said["report"].as_array().unwrap().len(), 1);
    assert_eq!(known(&to_base64(b"shelf-2")), id(4));
    let list = json!({"aiotDevProfileDataList": [{"aiotDevPermId": shelf, "lastKnownAiotfInfo": info(5)}]});
    check(Method::PATCH, MANY, MANY, Some((MERGE, list)), 204);
    assert_eq!(known(&shelf), id(5));
    check(Method::PATCH, MANY, MANY, Some((MERGE, json!({}))), 400);

    let query = |ids: &str| format!("{MANY}?requester-aiot-devices-id={ids}");
    let two = format!("{shelf},{},{nobody}", to_base64(b"shelf-2")).replace('=', "%3D");
    let said = check(Method::GET, MANY, &query(&two), None, 200);
    assert_eq!(said["aiotDevProfileDataList"].as_array().unwrap().len(), 2);
    check(Method::GET, MANY, &query(&nobody), None, 404);
    check(Method::GET, MANY, &query("!"), None, 400);
    let said = check(Method::GET, MANY, MANY, None, 400);
    assert_eq!(
        said["invalidParams"][0]["param"],
        "requester-aiot-devices-id"
    );

    const AF: &str = "/af-authorization-data";
    let said = check(Method::GET, AF, AF, None, 200);
    let all = said["afAuthData"].as_object().unwrap();
    assert_eq!(all.len(), 3);
    // Who knows the standard's fields alone must not read more into them than was granted.
    assert!(all["all"].get("allowedArea").is_none());
    assert!(all["all"].get("allowedServiceOperations").is_none());
    assert_eq!(all["nothing"]["allowedServiceOperations"], json!(["NONE"]));
    assert_eq!(all["nothing"]["allowedTargetAiotDevices"], json!([{}]));
    assert_eq!(
        all["warehouse"]["allowedTargetAiotDevices"],
        json!([
            { "aiotDevPermId": to_base64(b"shelf-1") },
            { "filteringInfo": to_base64(b"pallet") },
            { "ambit": { "fleet": "tools" } },
        ])
    );
    let said = check(Method::GET, AF, &format!("{AF}?af-id=warehouse"), None, 200);
    assert_eq!(
        said["afAuthData"]["warehouse"]["allowedArea"]["areaIds"][0]["aiotAreaCode"],
        "000001"
    );
    check(Method::GET, AF, &format!("{AF}?af-id=nobody"), None, 404);
    if let Some(contract) = &contract {
        assert_eq!(contract.operations().len(), 5);
    }
}

#[test]
fn a_nef_asks_whose_secret_it_is_and_an_aiotf_may_not() {
    let setup = Setup::new();
    let (_, nef) = setup.network.function("nef", "NEF");
    let mut remote = RemoteAdm::new(setup.network.runtime.handle().clone(), &nef);
    let (client_id, secret) = setup.af.clone();
    let found = remote
        .af_authenticate(&client_id, &secret)
        .unwrap()
        .unwrap();
    let handle = setup.engine.handle();
    let here = handle.call(|adm| adm.afs(None).unwrap()).unwrap();
    assert_eq!(remote.afs(None).unwrap(), here);
    assert_eq!(remote.afs(Some("warehouse")).unwrap(), [found]);
    assert!(remote.afs(Some("nobody")).unwrap().is_empty());
    assert_eq!(remote.af_authenticate(&client_id, "wrong").unwrap(), None);
    assert_eq!(remote.af_authenticate("nobody", &secret).unwrap(), None);
    let refusal = AfRefusal {
        af: String::new(),
        cause: "AF_NOT_AUTHENTICATED".into(),
        detail: "no AF has this client identifier and secret".into(),
        count: 2,
    };
    remote.note_af_refusals(unix_ms(), &[refusal]).unwrap();
    let noted = handle.call(|adm| {
        let mut count = 0;
        let filter = EventFilter {
            kind: Some("af_refused"),
            since_ms: None,
        };
        let walked = adm.store().events_for_each(&filter, &mut |event| {
            count += event.count;
            ControlFlow::Continue(())
        });
        walked.map(|()| count)
    });
    assert_eq!(noted.unwrap().unwrap(), 2);
    let profile = remote.device_profile(b"shelf-1").unwrap();
    assert_eq!(profile.fleet, "default");
    // The NRF gives an AIOTF no token for it: it has no business with the secrets of AFs.
    let refused = setup.remote().af_authenticate(&client_id, &secret);
    assert!(matches!(refused, Err(NadmError::Failed(_))), "{refused:?}");
}

#[test]
fn an_aiotf_sees_the_same_adm_through_the_sbi() {
    let mut setup = Setup::new();
    let mut remote = setup.remote();
    let handle = setup.engine.handle();
    // Beacons.
    let here = handle.call(|adm| adm.beacons(unix_ms()).unwrap()).unwrap();
    let there = remote.beacons(unix_ms()).unwrap();
    assert_eq!(here.current, there.current);
    assert!(here.current_until_ms.abs_diff(there.current_until_ms) < 5000);

    // A report: accepted once, and the same ACCEPT again.
    let beacon = 3;
    let sent = setup.devices[beacon].send(there.current, Cause::PowerOn, 0);
    let report = DoaReport {
        nas: &sent.nas,
        rand_n: there.current,
        area_id: area(1),
        gnb_id: 1,
        reader_index: 1,
    };
    let junk = DoaReport {
        nas: &[0x40; 20],
        ..report
    };
    let mut verdicts = Vec::new();
    let mut accept = Vec::new();
    remote.tell_items(true);
    // Another AIOTF, whose subscribers want to know nothing, changes nothing of that.
    setup.remote().authenticate(0, &[junk], &mut verdicts);
    for expected in [Outcome::AcceptedNew, Outcome::AcceptedDuplicate] {
        remote.authenticate(0, &[report, junk], &mut verdicts);
        let [
            Verdict::Accept {
                nas, outcome, item, ..
            },
            Verdict::Silence(_),
        ] = verdicts.as_slice()
        else {
            panic!("{verdicts:?}");
        };
        assert_eq!(*outcome, expected);
        // What is new is told to who asked: to this AIOTF, not to another one.
        assert_eq!(item.is_some(), expected == Outcome::AcceptedNew);
        if let Some(item) = item {
            assert_eq!(
                (&*item.device_id, &*item.fleet),
                (&b"beacon"[..], "default")
            );
            assert_eq!(
                (item.epoch, item.cause),
                (there.current.epoch(), Cause::PowerOn)
            );
            assert_eq!(*item.tag1, *sent.exchange.tag1().as_slice());
        }
        assert!(
            accept.is_empty() || accept == nas.as_slice(),
            "another ACCEPT"
        );
        accept = nas.as_slice().to_vec();
    }
    // A batch as large as an AIOTF gathers.
    let all: Vec<_> = (0..ambit_sbi::adm::doa::REPORTS_MAX)
        .map(|_| junk)
        .collect();
    remote.authenticate(0, &all, &mut verdicts);
    assert_eq!(verdicts.len(), all.len());
    assert!(
        verdicts.iter().all(|v| v.outcome() == Outcome::NoMatch),
        "{:?}",
        verdicts[0]
    );

    // Release 19.
    let rand_n = remote.get_rand(0).unwrap();
    let answers = [
        setup.dt_answer(1, &rand_n, 1),
        setup.dt_answer(0, &rand_n, 2),
        DeviceAnswer {
            rand_d: [9; 16],
            res: Some([9; 8]),
        },
    ];
    let request = AuthenticationRequest {
        population: Population::All,
        rand_n,
        area_id: Some(area(1)),
        answers: &answers,
    };
    let found = remote.get_authentication(0, &request).unwrap();
    let names: Vec<_> = found
        .sets
        .iter()
        .map(|set| (set.at, set.auth_data[0].device_id.to_vec()))
        .collect();
    assert_eq!(names, [(0, b"shelf-2".to_vec()), (1, b"shelf-1".to_vec())]);
    assert_eq!(found.taken, 3);
    let key = remote
        .get_session_key(0, b"shelf-2", &rand_n, &[1; 16])
        .unwrap();
    assert_eq!(key.suite, Suite::AsconXof128);
    let own = handle
        .call(move |adm| {
            adm.get_session_key(0, b"shelf-2", &rand_n, &[1; 16])
                .unwrap()
        })
        .unwrap();
    assert_eq!(key.k_aiotf.expose(), own.k_aiotf.expose());
    let tid = remote.get_tid(0, b"shelf-1", &rand_n).unwrap();
    assert_eq!(
        tid,
        handle
            .call(move |adm| adm.get_tid(0, b"shelf-1", &rand_n).unwrap())
            .unwrap()
    );
    remote.note_aiotf(b"shelf-1", [3; 16]).unwrap();
    let profile = remote.device_profile(b"shelf-1").unwrap();
    assert_eq!(
        (profile.last_known_aiotf, profile.disabled),
        (Some([3; 16]), false)
    );
    assert_eq!(
        profile,
        handle
            .call(|adm| adm.device_profile(b"shelf-1").unwrap())
            .unwrap()
    );
    remote.note_disabled(unix_ms(), b"shelf-1").unwrap();
    assert!(remote.device_profile(b"shelf-1").unwrap().disabled);
    assert_eq!(
        remote.device_profile(b"nobody"),
        Err(NadmError::UnknownDevice)
    );
    assert_eq!(
        remote.get_tid(0, b"shelf-1", &rand_n),
        Err(NadmError::Refused(Outcome::DeviceDisabled))
    );
}

#[test]
fn a_kept_command_goes_out_with_the_accept_and_its_end_comes_back() {
    let mut setup = Setup::new();
    let mut remote = setup.remote();
    let handle = setup.engine.handle();
    let operations = [
        KeptOperation::Read {
            offset: 7,
            length: 96,
        },
        KeptOperation::Write {
            offset: 65_000,
            data: vec![0xab; 96],
        },
        KeptOperation::PermanentDisable,
    ];
    let beacon = 3;
    let id = setup.devices[beacon].id.clone();
    for (n, operation) in (0u8..).zip(&operations) {
        let (ids, kept) = ([id.clone()], operation.clone());
        handle
            .call(move |adm| adm.keep_commands(&ids, &kept, 60, unix_ms()).unwrap())
            .unwrap();
        let rand_n = remote.beacons(unix_ms()).unwrap().current;
        let sent = setup.devices[beacon].send(rand_n, ambit_protocol::Cause::Event, n);
        let report = DoaReport {
            nas: &sent.nas,
            rand_n,
            area_id: area(1),
            gnb_id: 1,
            reader_index: 1,
        };
        let mut verdicts = Vec::new();
        // Asked twice, as an answer may get lost: the same command.
        for _ in 0..2 {
            remote.authenticate(0, &[report], &mut verdicts);
        }
        let Some(Verdict::Accept {
            nas,
            follow_on: Some(follow_on),
            ..
        }) = verdicts.pop()
        else {
            panic!("nothing follows");
        };
        let status = sent.exchange.open_accept(nas.as_slice()).unwrap();
        assert_eq!(status, AcceptStatus::CommandFollows);
        assert_eq!(*follow_on.device_id, id);
        let key = follow_on.key;
        let mut network = Session::new(key.suite, &key.k_aiotf, key.tag_len);
        let (mut out, mut at_device) = ([0; 64], sent.exchange.into_session());
        let len = network.seal_down(&[4], &mut out).unwrap();
        assert!(at_device.open_down(&out[..len]).is_ok(), "the same keys");
        let command = follow_on.command.unwrap();
        assert_eq!(command.operation, *operation);

        let done = Ok((n == 0).then(|| vec![0xcd; 96]));
        for _ in 0..2 {
            remote
                .conclude_command(0, command.id, &Err(DeviceFailure::NoAnswer))
                .unwrap();
        }
        for _ in 0..2 {
            remote.conclude_command(0, command.id, &done).unwrap();
        }
        // Nothing that could be said again comes of these.
        for (id, outcome) in [(999, &done), (command.id, &Ok(Some(vec![1; 97])))] {
            let said = remote.conclude_command(0, id, outcome);
            assert!(matches!(said, Err(NadmError::Invalid { .. })), "{said:?}");
        }
    }
    let rows = handle
        .call(|adm| {
            let mut rows = Vec::new();
            let mut take = |row: CommandRow| {
                rows.push((row.state, row.read.map(|read| read.len())));
                ControlFlow::Continue(())
            };
            let all = CommandFilter::default();
            adm.store().commands_for_each(&all, &mut take).unwrap();
            rows
        })
        .unwrap();
    let done = CommandState::Done;
    assert_eq!(rows, [(done, Some(96)), (done, None), (done, None)]);
    assert!(remote.device_profile(&id).unwrap().disabled);
    // An ADM that is gone: to be said again later.
    setup.engine.stop().unwrap();
    let said = remote.conclude_command(0, 1, &Ok(None));
    assert!(matches!(said, Err(NadmError::Failed(_))), "{said:?}");
}

#[test]
fn an_adm_that_is_gone_means_silence_and_no_waiting() {
    let setup = Setup::new();
    let mut remote = setup.remote();
    let beacons = remote.beacons(unix_ms()).unwrap();
    setup.engine.stop().unwrap();
    assert!(remote.beacons(unix_ms()).is_err());
    let report = DoaReport {
        nas: &[0x40; 20],
        rand_n: beacons.current,
        area_id: area(1),
        gnb_id: 1,
        reader_index: 1,
    };
    let mut verdicts = Vec::new();
    // Many more than could be waited for.
    for _ in 0..1000 {
        remote.authenticate(0, &[report], &mut verdicts);
        assert_eq!(verdicts[0].outcome(), Outcome::AdmUnavailable);
    }
    assert!(matches!(remote.get_rand(0), Err(NadmError::Failed(_))));
    let step = remote.register(0, &report);
    assert_eq!(step.outcome(), Outcome::AdmUnavailable);
}

#[test]
fn keys_are_for_aiotfs_alone() {
    let setup = Setup::new();
    let (_, nef) = setup.network.function("nef", "NEF");
    // T19: no token for the keys, and none of another service opens them.
    assert!(setup.network.run(nef.token("nadm-sec", "ADM")).is_err());
    let token = setup.network.run(nef.token("nadm-dm", "ADM")).unwrap();
    let key = json!({"aiotDevPermId": to_base64(b"shelf-1"), "randN": hex::encode([0; 16]), "randD": hex::encode([0; 16])});
    let ask = |token: Option<String>| {
        let uri = format!("{}/nadm-sec/v1/get-session-key", setup.root);
        setup
            .network
            .send(
                &nef,
                Outgoing::new(Method::POST, uri).json(&key).token(token),
            )
            .status
    };
    assert_eq!((ask(Some(token)), ask(None)), (403, 401));
    // One stolen from an AIOTF is not good in other hands.
    let stolen = setup
        .network
        .run(setup.aiotf.token("nadm-sec", "ADM"))
        .unwrap();
    assert_eq!(ask(Some(stolen)), 401);
}
