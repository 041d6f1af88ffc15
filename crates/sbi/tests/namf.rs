//! Namf_AIoT by 3GPP's file, both ways: what an AIOTF has for a gNB reaches its AMF, what the gNB says reaches the AIOTF, and
//! nothing that is wrong reaches either.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ambit_aiotf::ConnectionId;
use ambit_aiotf::server::{NotTaken, Outlet};
use ambit_ngap::{AiotfId, Cause, FromGnb, GnbId, InventoryRequest, Target, ToGnb};
use ambit_protocol::Snid;
use ambit_protocol::area::Plmn;
use ambit_sbi::client::{Answer, Outgoing};
use ambit_sbi::exchange::{Exchange, Reply};
use ambit_sbi::multipart;
use ambit_sbi::namf::aiotf::{GnbAccess, Links, LinksConfig};
use ambit_sbi::namf::amf::{self, AmfAccess, Told, Untransferred};
use ambit_sbi::namf::message::{NGAP, Transfer};
use ambit_sbi::nrf::client::NrfClient;
use ambit_sbi::nrf::profile::OwnProfile;
use ambit_sbi::problem::Problem;
use ambit_sbi::router::{Access, Route, Takes};
use ambit_sbi::token::{Audience, Claims};
use common::contract::Contract;
use common::{Network, id_of};
use hyper::Method;
use serde_json::{Value, json};
use uuid::Uuid;

const AIOTF_ID: AiotfId = [0xa1; 16];
const FILE: &str = "TS29518_Namf_AIoT.json";

fn snid() -> Snid {
    Snid::new(Plmn::new("001", "01").unwrap(), None)
}

fn gnb() -> GnbId {
    let plmn = *snid().plmn().octets();
    let (id, bits) = (0x1a2b, 22);
    GnbId { plmn, id, bits }
}

fn open(correlation: u16) -> Vec<u8> {
    let request = InventoryRequest {
        aiotf_id: AIOTF_ID,
        correlation,
        target: Target::AllDevices,
        areas: vec![*snid().area([0, 0, 1]).octets()],
        readers: Vec::new(),
        expected_d2r_octets: 25,
        approximate_devices: None,
        time_interval: None,
        follow_on_command: true,
        rand_n: [7; 16],
    };
    ToGnb::InventoryRequest(request).encode().unwrap()
}

fn command(correlation: u16, device_ngap_id: u32) -> Vec<u8> {
    let message = ToGnb::CommandRequest {
        aiotf_id: AIOTF_ID,
        correlation,
        device_ngap_id,
        nas: b"nas".as_slice().into(),
        expected_d2r_octets: 1,
    };
    message.encode().unwrap()
}

fn opened(correlation: u16) -> Vec<u8> {
    let message = FromGnb::InventoryResponse {
        aiotf_id: AIOTF_ID,
        correlation,
    };
    message.encode().unwrap()
}

/// Waits until it is so, for as long as a busy machine may need.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A notification URI with another correlation identifier.
fn with_correlation(uri: &str, correlation: &str) -> String {
    let (before, _) = uri.rsplit_once('/').unwrap();
    format!("{before}/{correlation}")
}

/// A token that this NRF would not give: good, but without the scope.
fn without_scope(network: &Network, holder: &NrfClient, nf_type: &str) -> String {
    let claims = Claims {
        iss: network.pki.issuer().id().to_owned(),
        sub: holder.id().to_string(),
        aud: Audience::Type(nf_type.to_owned()),
        scope: "nnrf-disc".into(),
        exp: ambit_sbi::clock::unix_s() + 600,
        iat: None,
        secret_ms: None,
    };
    network.pki.issuer().issue(&claims)
}

/// JSON and NGAP as a body.
fn body(json: &Value, ngap: &[u8]) -> (String, Vec<u8>) {
    let body = multipart::build(json, "ngap", NGAP, ngap, "xx");
    ("multipart/related; boundary=xx".to_owned(), body)
}

/// An AMF that does as it is told.
#[derive(Default)]
struct FakeAmf {
    transfers: Mutex<Vec<Transfer>>,
    answer: Mutex<Option<Untransferred>>,
    forgotten: Mutex<Vec<String>>,
}

impl AmfAccess for FakeAmf {
    fn transfer(&self, transfer: Transfer) -> Result<(), Untransferred> {
        if let Some(error) = *self.answer.lock().unwrap() {
            return Err(error);
        }
        self.transfers.lock().unwrap().push(transfer);
        Ok(())
    }

    fn forget(&self, _: (AiotfId, u16), notif_uri: &str) {
        self.forgotten.lock().unwrap().push(notif_uri.to_owned());
    }
}

/// An AIOTF that notes what it gets.
#[derive(Default)]
struct FakeAiotf {
    state: Mutex<Attached>,
    answer: Mutex<Option<NotTaken>>,
}

#[derive(Default)]
struct Attached {
    next: ConnectionId,
    outlets: BTreeMap<ConnectionId, Outlet>,
    pdus: Vec<(ConnectionId, Vec<u8>)>,
}

impl GnbAccess for FakeAiotf {
    fn attach(&self, gnb_id: GnbId, outlet: Outlet) -> Option<ConnectionId> {
        assert_eq!(gnb_id, gnb());
        let mut state = self.state.lock().unwrap();
        state.next += 1;
        let connection = state.next;
        state.outlets.insert(connection, outlet);
        Some(connection)
    }

    fn pdu(&self, connection: ConnectionId, pdu: Vec<u8>) -> Result<(), NotTaken> {
        if let Some(error) = *self.answer.lock().unwrap() {
            return Err(error);
        }
        self.state.lock().unwrap().pdus.push((connection, pdu));
        Ok(())
    }

    fn detach(&self, connection: ConnectionId) {
        self.state.lock().unwrap().outlets.remove(&connection);
    }
}

impl FakeAiotf {
    /// Sends a PDU to the gNB as it is attached now; false when it is not.
    fn send(&self, pdu: &[u8]) -> bool {
        let mut state = self.state.lock().unwrap();
        let last = state.outlets.values_mut().next_back();
        last.is_some_and(|outlet| outlet(pdu.to_vec()))
    }

    fn attachments(&self) -> ConnectionId {
        self.state.lock().unwrap().next
    }
}

#[test]
fn transfer_is_as_in_3gpp_s_file_and_what_is_wrong_with_it_is_named() {
    let network = Network::new();
    let (credentials, _) = network.function("amf", "AMF");
    let (_, aiotf) = network.function("aiotf", "AIOTF");
    let fake = Arc::new(FakeAmf::default());
    let root = network.serve(&credentials, "AMF", amf::routes(fake.clone()));
    let uri = format!("{root}/namf-aiot/v1/transfer");
    let contract = Contract::of_3gpp(FILE);
    let token = network.run(aiotf.token("namf-aiot", "AMF")).unwrap();
    let post = |media_type: &str, body: Vec<u8>, token: Option<&str>| {
        let outgoing = Outgoing::new(Method::POST, &uri).typed(media_type, body);
        let answer: Answer = network.send(&aiotf, outgoing.token(token.map(str::to_owned)));
        if let Some(contract) = &contract {
            contract.check("/transfer", "post", &answer);
        }
        answer
    };
    let send = |json: &Value, ngap: &[u8]| {
        let (media_type, body) = body(json, ngap);
        post(&media_type, body, Some(&token))
    };
    let request = json!({
        "ranNodeId": {
            "plmnId": {"mcc": "001", "mnc": "01"},
            "gNbId": {"bitLength": 22, "gNBValue": "001a2b"},
        },
        "aiotMessage": {"ngapMessageType": 82, "aiotNgapData": {"contentId": "ngap"}},
        "aiotMessageType": "INVENTORY_REQUEST",
        "notifUri": "https://127.0.0.1:1/notify",
        "aiotfId": Uuid::from_bytes(AIOTF_ID).to_string(),
        "correlationId": 5,
    });
    if let Some(contract) = &contract {
        contract.check_schema("AiotMessageReq", &request);
        assert_eq!(contract.operations().len(), 1);
    }
    assert_eq!(send(&request, &open(5)).status, 204);
    let expected = Transfer {
        gnb_id: gnb(),
        session: (AIOTF_ID, 5),
        notif_uri: "https://127.0.0.1:1/notify".into(),
        ngap: open(5),
    };
    assert_eq!(*fake.transfers.lock().unwrap(), [expected]);

    let with = |pointer: &str, value: Value| {
        let mut changed = request.clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = changed
            .pointer_mut(parent)
            .unwrap()
            .as_object_mut()
            .unwrap();
        match value {
            Value::Null => parent.remove(name),
            value => parent.insert(name.to_owned(), value),
        };
        changed
    };
    let wrong = [
        ("/ranNodeId", Value::Null, "/ranNodeId"),
        ("/ranNodeId/plmnId", Value::Null, "/ranNodeId/plmnId"),
        ("/ranNodeId/gNbId", Value::Null, "/ranNodeId/gNbId"),
        ("/ranNodeId/n3IwfId", json!("1"), "/ranNodeId"),
        (
            "/ranNodeId/gNbId/bitLength",
            json!(21),
            "/ranNodeId/gNbId/bitLength",
        ),
        (
            "/ranNodeId/gNbId/gNBValue",
            json!("ffffff"),
            "/ranNodeId/gNbId/gNBValue",
        ),
        (
            "/ranNodeId/gNbId/gNBValue",
            json!("+01a2b"),
            "/ranNodeId/gNbId/gNBValue",
        ),
        ("/ranNodeId/nid", json!("xyz"), "/ranNodeId/nid"),
        ("/aiotMessage", Value::Null, "/aiotMessage"),
        (
            "/aiotMessage/aiotNgapData",
            Value::Null,
            "/aiotMessage/aiotNgapData",
        ),
        (
            "/aiotMessage/aiotNgapData/contentId",
            json!("another"),
            "/aiotMessage/aiotNgapData/contentId",
        ),
        (
            "/aiotMessage/ngapMessageType",
            json!(83),
            "/aiotMessage/ngapMessageType",
        ),
        (
            "/aiotMessage/ngapMessageType",
            json!(-1),
            "/aiotMessage/ngapMessageType",
        ),
        ("/aiotMessageType", Value::Null, "/aiotMessageType"),
        (
            "/aiotMessageType",
            json!("COMMAND_REQUEST"),
            "/aiotMessageType",
        ),
        (
            "/aiotMessageType",
            json!("OF_RELEASE_20"),
            "/aiotMessageType",
        ),
        ("/notifUri", Value::Null, "/notifUri"),
        ("/notifUri", json!("file:///etc/passwd"), "/notifUri"),
        ("/aiotfId", json!("x"), "/aiotfId"),
        ("/aiotfId", json!(Uuid::nil().to_string()), "/aiotfId"),
        ("/correlationId", json!(65536), "/correlationId"),
        ("/correlationId", json!(6), "/correlationId"),
        ("/ranAiotDeviceNgapId", json!(-1), "/ranAiotDeviceNgapId"),
        ("/suppFeat", json!("xyz"), "/suppFeat"),
    ];
    let is_named = |answer: &Answer, param: &str| {
        let said: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(
            (answer.status, &said["invalidParams"][0]["param"]),
            (400, &json!(param)),
            "{said}"
        );
    };
    for (pointer, value, param) in wrong {
        is_named(&send(&with(pointer, value), &open(5)), param);
    }
    // A command names its device in both places.
    let mut of_device = request.clone();
    of_device["aiotMessageType"] = "COMMAND_REQUEST".into();
    of_device["aiotMessage"]["ngapMessageType"] = 84.into();
    of_device["ranAiotDeviceNgapId"] = 7.into();
    assert_eq!(send(&of_device, &command(5, 7)).status, 204);
    is_named(&send(&of_device, &command(5, 8)), "/ranAiotDeviceNgapId");
    // NGAP that is none, goes the other way, or has no business here.
    let setup = FromGnb::NgSetupRequest {
        gnb_id: gnb(),
        name: None,
        aiot_support: true,
    };
    let indication = ToGnb::ErrorIndication { cause: None };
    for ngap in [
        Vec::new(),
        vec![0xff; 30],
        opened(5),
        setup.encode().unwrap(),
        indication.encode().unwrap(),
    ] {
        is_named(&send(&request, &ngap), "/aiotMessage/aiotNgapData");
    }

    // Bodies: JSON alone has no part to refer to; broken parts; parts of a wrong type or twice.
    let text = request.to_string();
    let content_id = "/aiotMessage/aiotNgapData/contentId";
    let alone = post("application/json", text.clone().into_bytes(), Some(&token));
    is_named(&alone, content_id);
    let (media_type, whole) = body(&request, &open(5));
    let cut = post(&media_type, whole[..whole.len() - 8].to_vec(), Some(&token));
    assert_eq!(cut.status, 400);
    let no_boundary = post("multipart/related", whole.clone(), Some(&token));
    assert_eq!(no_boundary.status, 400);
    let other_boundary = post("multipart/related; boundary=yy", whole, Some(&token));
    assert_eq!(other_boundary.status, 400);
    let typed = multipart::build(&request, "ngap", "text/plain", &open(5), "xx");
    is_named(&post(&media_type, typed, Some(&token)), content_id);
    let mut twice = multipart::build(&request, "ngap", NGAP, &open(5), "xx");
    twice.truncate(twice.len() - "--\r\n".len());
    let again = format!("\r\nContent-Type: {NGAP}\r\nContent-Id: <ngap>\r\n\r\nx\r\n--xx--\r\n");
    twice.extend_from_slice(again.as_bytes());
    is_named(&post(&media_type, twice, Some(&token)), content_id);
    // A content ID may stand in angle brackets on either side.
    let bracketed = multipart::build(&request, "<ngap>", NGAP, &open(5), "xx");
    assert_eq!(post(&media_type, bracketed, Some(&token)).status, 204);
    let large = multipart::build(&request, "ngap", NGAP, &vec![0; 1 << 21], "xx");
    assert_eq!(post(&media_type, large, Some(&token)).status, 413);
    let plain = post("text/plain", text.into_bytes(), Some(&token));
    assert_eq!(plain.status, 415);

    let (media_type, whole) = body(&request, &open(5));
    assert_eq!(post(&media_type, whole.clone(), None).status, 401);
    let other_scope = network.run(aiotf.token("nadm-sec", "ADM")).unwrap();
    assert_eq!(
        post(&media_type, whole.clone(), Some(&other_scope)).status,
        401
    );
    let no_scope = without_scope(&network, &aiotf, "AMF");
    assert_eq!(post(&media_type, whole, Some(&no_scope)).status, 403);

    let taken = fake.transfers.lock().unwrap().len();
    for (error, status) in [(Untransferred::UnknownGnb, 404), (Untransferred::Busy, 429)] {
        *fake.answer.lock().unwrap() = Some(error);
        assert_eq!(send(&request, &open(5)).status, status);
    }
    assert_eq!(fake.transfers.lock().unwrap().len(), taken);
}

/// An AIOTF's links on loopback, with an AMF of the test's.
struct Rig {
    network: Network,
    aiotf: Arc<FakeAiotf>,
    links: Links,
    amf: Arc<FakeAmf>,
    amf_nrf: NrfClient,
}

impl Rig {
    fn new(callback_token: bool) -> Self {
        let network = Network::new();
        let (amf_credentials, amf_nrf) = network.function("amf", "AMF");
        let (credentials, nrf) = network.function("aiotf", "AIOTF");
        let amf = Arc::new(FakeAmf::default());
        let amf_root = network.serve(&amf_credentials, "AMF", amf::routes(amf.clone()));
        let aiotf = Arc::new(FakeAiotf::default());
        // The links have to know where they are notified before they are served.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let config = LinksConfig {
            aiotf_id: Uuid::from_bytes(AIOTF_ID),
            snid: snid(),
            gnbs: vec![gnb()],
            amf: Some(amf_root),
            notify_root: format!("https://{}", listener.local_addr().unwrap()),
            callback_token,
        };
        let links = Links::new(config, aiotf.clone(), nrf).unwrap();
        let verifier = network.pki.verifier("AIOTF", id_of(&credentials));
        let router = ambit_sbi::router::Router::new(links.routes(), Some(verifier));
        common::serve_on(
            &network.runtime,
            listener,
            Some(credentials),
            Arc::new(router),
            ambit_sbi::server::Limits::default(),
        );
        links.start(network.runtime.handle());
        Self {
            network,
            aiotf,
            links,
            amf,
            amf_nrf,
        }
    }

    /// Has a window opened at the gNB; where its AMF is to notify.
    fn open(&self, correlation: u16) -> String {
        let before = self.amf.transfers.lock().unwrap().len();
        let mut uri = None;
        wait_until("the AMF is asked", || {
            // What is sent while the gNB is not attached is lost.
            self.aiotf.send(&open(correlation));
            let transfers = self.amf.transfers.lock().unwrap();
            // Something that was on its way may come first.
            let mut new = transfers.iter().skip(before);
            let wanted = (gnb(), (AIOTF_ID, correlation), &open(correlation));
            let found = new.find(|new| (new.gnb_id, new.session, &new.ngap) == wanted);
            uri = found.map(|found| found.notif_uri.clone());
            uri.is_some()
        });
        uri.unwrap()
    }

    fn token(&self) -> String {
        self.network
            .run(self.amf_nrf.token("namf-aiot", "AIOTF"))
            .unwrap()
    }

    fn post(
        &self,
        uri: &str,
        (media_type, body): (String, Vec<u8>),
        token: Option<String>,
    ) -> Answer {
        let outgoing = Outgoing::new(Method::POST, uri).typed(&media_type, body);
        self.network.send(&self.amf_nrf, outgoing.token(token))
    }
}

fn notification(kind: &str, procedure: u64) -> Value {
    json!({
        "aiotMessage": {"ngapMessageType": procedure, "aiotNgapData": {"contentId": "ngap"}},
        "aiotMessageType": kind,
    })
}

#[test]
fn notifications_are_as_in_3gpp_s_file_and_only_of_what_was_opened() {
    let rig = Rig::new(true);
    let contract = Contract::of_3gpp(FILE);
    let (uri, token) = (rig.open(5), rig.token());
    let send = |uri: &str, json: &Value, ngap: &[u8], token: Option<String>| {
        let answer = rig.post(uri, body(json, ngap), token);
        if let Some(contract) = &contract {
            contract.check_callback("/transfer", "post", "AIoTInformationNotif", &answer);
        }
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        (answer.status, said)
    };
    let tell = |json: &Value, ngap: &[u8]| send(&uri, json, ngap, Some(token.clone()));
    let of_response = notification("INVENTORY_REPONSE", 82);
    if let Some(contract) = &contract {
        contract.check_schema("AiotInfoNotification", &of_response);
    }
    assert_eq!(tell(&of_response, &opened(5)).0, 204);
    // As it ought to be spelt.
    assert_eq!(
        tell(&notification("INVENTORY_RESPONSE", 82), &opened(5)).0,
        204
    );
    let heard = || std::mem::take(&mut rig.aiotf.state.lock().unwrap().pdus);
    assert_eq!(heard(), [(1, opened(5)), (1, opened(5))]);

    // Never opened, of an AIOTF before this one, of another gNB, of nothing.
    let never = [
        with_correlation(&uri, "6"),
        with_correlation(&uri, "x"),
        uri.replace("-1/6699/", "-2/6699/"),
        uri.replace("/6699/", "/6698/"),
    ];
    for uri in &never {
        let (status, said) = send(uri, &of_response, &opened(5), Some(token.clone()));
        assert_eq!(
            (status, &said["cause"]),
            (404, &json!("CONTEXT_NOT_FOUND")),
            "{uri}: {said}"
        );
    }
    // The NGAP of another session or AIOTF under this one's URI.
    let other = FromGnb::InventoryResponse {
        aiotf_id: [0xb2; 16],
        correlation: 5,
    };
    let wrong = [
        (of_response.clone(), opened(6), "/aiotMessage/aiotNgapData"),
        (
            of_response.clone(),
            other.encode().unwrap(),
            "/aiotMessage/aiotNgapData",
        ),
        (of_response.clone(), open(5), "/aiotMessage/aiotNgapData"),
        (
            of_response.clone(),
            vec![0xff; 20],
            "/aiotMessage/aiotNgapData",
        ),
        (
            notification("INVENTORY_REPORT", 82),
            opened(5),
            "/aiotMessageType",
        ),
        (
            notification("INVENTORY_REPONSE", 84),
            opened(5),
            "/aiotMessage/ngapMessageType",
        ),
        (json!({"aiotMessageType": "x"}), opened(5), "/aiotMessage"),
    ];
    for (json, ngap, param) in wrong {
        let (status, said) = tell(&json, &ngap);
        assert_eq!(
            (status, &said["invalidParams"][0]["param"]),
            (400, &json!(param)),
            "{said}"
        );
    }
    let plain = rig.post(&uri, ("text/plain".into(), vec![b'x']), Some(token.clone()));
    let large = body(&of_response, &vec![0; 1 << 21]);
    let large = rig.post(&uri, large, Some(token.clone()));
    assert_eq!((plain.status, large.status), (415, 413));
    assert!(heard().is_empty(), "nothing of it was done");

    // Without a token, with one for something else, from somebody who is no AMF.
    assert_eq!(send(&uri, &of_response, &opened(5), None).0, 401);
    let to_amf = rig.network.run(rig.amf_nrf.token("nnrf-disc", "NRF"));
    let to_amf = to_amf.unwrap();
    assert_eq!(send(&uri, &of_response, &opened(5), Some(to_amf)).0, 401);
    let no_scope = without_scope(&rig.network, &rig.amf_nrf, "AIOTF");
    assert_eq!(send(&uri, &of_response, &opened(5), Some(no_scope)).0, 403);
    // An AIOTF's own token, for the AMF, opens nothing here; and none but an AMF gets one for this.
    let (_, nef) = rig.network.function("nef", "NEF");
    assert!(rig.network.run(nef.token("namf-aiot", "AIOTF")).is_err());
    let (_, other) = rig.network.function("aiotf-2", "AIOTF");
    assert!(rig.network.run(other.token("namf-aiot", "AIOTF")).is_err());
    let for_amf = rig.network.run(other.token("namf-aiot", "AMF")).unwrap();
    assert_eq!(send(&uri, &of_response, &opened(5), Some(for_amf)).0, 401);
    assert!(heard().is_empty());

    // An AIOTF that is behind, or has ended.
    for (error, status) in [(NotTaken::Busy, 429), (NotTaken::Stopped, 503)] {
        *rig.aiotf.answer.lock().unwrap() = Some(error);
        assert_eq!(tell(&of_response, &opened(5)).0, status);
    }
    *rig.aiotf.answer.lock().unwrap() = None;

    // Released and said to be so, it is over; opened once more meanwhile, it is not.
    let release = ToGnb::SessionReleaseCommand {
        aiotf_id: AIOTF_ID,
        correlation: 5,
        cause: Cause::NormalRelease,
    };
    let complete = FromGnb::SessionReleaseComplete {
        aiotf_id: AIOTF_ID,
        correlation: 5,
    };
    let (release, complete) = (release.encode().unwrap(), complete.encode().unwrap());
    let of_complete = notification("AIOT_SESSION_RELEASE_COMPLETE", 85);
    assert!(rig.aiotf.send(&release));
    assert_eq!(rig.open(5), uri);
    assert_eq!(tell(&of_complete, &complete).0, 204);
    assert_eq!(tell(&of_response, &opened(5)).0, 204);
    assert!(rig.aiotf.send(&release));
    wait_until("the release", || {
        rig.amf.transfers.lock().unwrap().last().unwrap().ngap == release
    });
    assert_eq!(tell(&of_complete, &complete).0, 204);
    assert_eq!(tell(&of_response, &opened(5)).0, 404);
}

#[test]
fn without_tokens_on_notifications_the_certificate_must_be_an_amf_s() {
    let rig = Rig::new(false);
    let uri = rig.open(5);
    let whole = || body(&notification("INVENTORY_REPONSE", 82), &opened(5));
    assert_eq!(rig.post(&uri, whole(), None).status, 204);
    let (_, nef) = rig.network.function("nef", "NEF");
    let (media_type, octets) = whole();
    let outgoing = Outgoing::new(Method::POST, &uri).typed(&media_type, octets);
    assert_eq!(rig.network.send(&nef, outgoing).status, 403);
    assert_eq!(rig.aiotf.state.lock().unwrap().pdus.len(), 1);
}

/// What the notifier of an AMF says is what an AIOTF takes; where nobody is any more, the AMF hears of it.
#[test]
fn an_amf_tells_an_aiotf_what_a_gnb_says() {
    let rig = Rig::new(true);
    let uri = rig.open(5);
    let amf: Arc<dyn AmfAccess> = rig.amf.clone();
    let notifier = amf::notifier(rig.network.runtime.handle(), rig.amf_nrf.clone(), amf);
    let tell = |uri: &str| {
        let told = Told {
            notif_uri: uri.to_owned(),
            ngap: opened(5),
        };
        notifier.blocking_send(told).unwrap();
    };
    tell(&uri);
    wait_until("the AIOTF hears of it", || {
        rig.aiotf.state.lock().unwrap().pdus == [(1, opened(5))]
    });
    // Not there, and nobody there at all: neither holds up what comes after it.
    let nobody = "https://127.0.0.1:1/namf-aiot-notify/v1/x/1/5";
    let never = with_correlation(&uri, "6");
    tell(nobody);
    tell(&never);
    tell(&uri);
    wait_until("the AIOTF hears of it", || {
        rig.aiotf.state.lock().unwrap().pdus.len() == 2
    });
    assert_eq!(*rig.amf.forgotten.lock().unwrap(), [never]);
}

#[test]
fn an_amf_that_does_not_know_the_gnb_detaches_it_until_it_does() {
    let rig = Rig::new(true);
    *rig.amf.answer.lock().unwrap() = Some(Untransferred::UnknownGnb);
    wait_until("it is tried again and again", || {
        rig.aiotf.send(&open(5));
        rig.aiotf.attachments() > 3
    });
    let [status] = rig.links.status().try_into().unwrap();
    assert!(status.last_error.unwrap().contains("RAN_NODE_NOT_FOUND"));
    assert!(rig.amf.transfers.lock().unwrap().is_empty());
    *rig.amf.answer.lock().unwrap() = None;
    let uri = rig.open(5);
    // The URIs of before are not those of now.
    assert!(!uri.contains("-1/"), "{uri}");
    let [status] = rig.links.status().try_into().unwrap();
    assert!(status.amf.is_some());
    // An overloaded one is asked again, and one message that it never takes is lost, not the gNB.
    let before = rig.aiotf.attachments();
    *rig.amf.answer.lock().unwrap() = Some(Untransferred::Busy);
    assert!(rig.aiotf.send(&command(5, 7)));
    let lost = || rig.links.counts();
    wait_until("it is given up", || {
        lost().iter().any(|(name, _)| *name == "amf_message_lost")
    });
    *rig.amf.answer.lock().unwrap() = None;
    assert_eq!(
        rig.open(6).rsplit_once('/').unwrap().0,
        uri.rsplit_once('/').unwrap().0
    );
    assert_eq!(rig.aiotf.attachments(), before);
}

/// AMFs found through the NRF: one that is gone, one that is late, one that fails, and one that serves the gNB.
#[test]
fn of_several_amfs_the_one_that_serves_the_gnb_is_found() {
    let network = Network::new();
    let statuses = [500, 504, 0];
    let mut asked = Vec::new();
    for (n, status) in statuses.into_iter().enumerate() {
        let (credentials, nrf) = network.function(&format!("amf-{n}"), "AMF");
        let count = Arc::new(AtomicU16::new(0));
        asked.push(Arc::clone(&count));
        let handler = move |_: Exchange| {
            let count = Arc::clone(&count);
            async move {
                count.fetch_add(1, Ordering::SeqCst);
                match status {
                    500 => Err(Problem::system_failure("broken")),
                    504 => {
                        // Later than anybody waits.
                        tokio::time::sleep(Duration::from_secs(8)).await;
                        Ok(Reply::no_content())
                    }
                    _ => Ok(Reply::no_content()),
                }
            }
        };
        let path = "/namf-aiot/v1/transfer";
        let route = Route::new(
            "transfer",
            Method::POST,
            path,
            Access::Peer,
            Takes::JsonOrParts,
            handler,
        );
        let root = network.serve(&credentials, "AMF", vec![route]);
        register(&network, &nrf, id_of(&credentials), &root);
    }
    // Registered, and not there.
    let (gone, nrf) = network.function("amf-gone", "AMF");
    register(&network, &nrf, id_of(&gone), "https://127.0.0.1:1");

    let (_, nrf) = network.function("aiotf", "AIOTF");
    let aiotf = Arc::new(FakeAiotf::default());
    let config = LinksConfig {
        aiotf_id: Uuid::from_bytes(AIOTF_ID),
        snid: snid(),
        gnbs: vec![gnb()],
        amf: None,
        notify_root: "https://127.0.0.1:1".into(),
        callback_token: true,
    };
    let links = Links::new(config, aiotf.clone(), nrf).unwrap();
    links.start(network.runtime.handle());
    wait_until("the one that serves it", || {
        aiotf.send(&open(5));
        asked[2].load(Ordering::SeqCst) > 0
    });
    wait_until("it stays there", || links.status()[0].amf.is_some());
    let others = || asked[0].load(Ordering::SeqCst) + asked[1].load(Ordering::SeqCst);
    let (before, attachments) = (others(), aiotf.attachments());
    let at_it = asked[2].load(Ordering::SeqCst);
    for device in 0..100 {
        assert!(aiotf.send(&command(5, device)));
    }
    wait_until("all of them", || {
        asked[2].load(Ordering::SeqCst) >= at_it + 100
    });
    assert_eq!((others(), aiotf.attachments()), (before, attachments));
}

fn register(network: &Network, nrf: &NrfClient, id: Uuid, root: &str) {
    let address = root.trim_start_matches("https://").parse().unwrap();
    let profile = OwnProfile {
        id,
        nf_type: "AMF",
        address,
        host: None,
        is_tls: true,
        services: ambit_sbi::namf::SERVICES,
        started_ms: 0,
        areas: Vec::new(),
    };
    network.run(nrf.register(&profile.to_json())).unwrap();
}
