//! The service-based interface from the HTTP request inwards: every operation of ADM, NRF and AIOTF answers anything with a
//! status of its own, errors as problem details, and never with a key; bodies are parsed as they were built.

use std::cell::LazyCell;
use std::sync::{Arc, Mutex};

use ambit_adm::{Adm, AdmConfig, Kek};
use ambit_aiotf::Watcher;
use ambit_aiotf::service::{RequestError, ServiceRequest, TransactionId};
use ambit_protocol::area::Plmn;
use ambit_protocol::{DeviceForm, DeviceType, RootKey, Snid, Suite, TagLen};
use ambit_provisioning::{CredentialKind, DeviceSpec};
use ambit_sbi::adm::{self, AdmAccess, AdmGone, Job, SharedAdm};
use ambit_sbi::aiotf::{self, AiotfAccess, ServiceConfig, Taken};
use ambit_sbi::client::Client;
use ambit_sbi::exchange::{Pairs, Reply};
use ambit_sbi::nrf::{Nrf, NrfConfig};
use ambit_sbi::pki::PkiDir;
use ambit_sbi::router::Router;
use ambit_sbi::token::{Issuer, Verifier, public_pem};
use ambit_sbi::{clock, json, multipart};
use ambit_store::SqliteStore;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Method, Request};
use serde_json::Value;
use uuid::Uuid;

use crate::Input;
use crate::defect::Defect;

/// K of the two devices that the ADM knows.
const K: [u8; 16] = *b"never in a reply";

/// The target: a request to one of the servers, or a body alone.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    match input.u8() % 4 {
        0 | 1 => requests(&mut input),
        2 => bodies(&mut input),
        _ => texts(input.0),
    }
}

/// All operations of all three, by method and path.
pub const OPERATIONS: [(&str, &str); 20] = [
    ("POST", "/nadm-sec/v1/get-rand"),
    ("POST", "/nadm-sec/v1/get-authentication"),
    ("POST", "/nadm-sec/v1/get-session-key"),
    ("POST", "/nadm-sec/v1/get-tid"),
    ("POST", "/nadm-sec/v1/note-disabled"),
    ("GET", "/nadm-sec/v1/doa-beacon"),
    ("POST", "/nadm-sec/v1/doa-authenticate"),
    ("POST", "/nadm-sec/v1/doa-register"),
    ("POST", "/nadm-sec/v1/doa-respond"),
    ("GET", "/nadm-dm/v1/aiot-device-profile-data/*"),
    ("PATCH", "/nadm-dm/v1/aiot-device-profile-data/*"),
    ("GET", "/nadm-dm/v1/af-authorization-data?*"),
    ("PUT", "/nnrf-nfm/v1/nf-instances/*"),
    ("PATCH", "/nnrf-nfm/v1/nf-instances/*"),
    ("GET", "/nnrf-nfm/v1/nf-instances?*"),
    ("DELETE", "/nnrf-nfm/v1/nf-instances/*"),
    ("GET", "/nnrf-disc/v1/nf-instances?*"),
    ("POST", "/oauth2/token"),
    ("POST", "/naiotf-aiot/v1/request-inv"),
    ("POST", "/naiotf-aiot/v1/request-cmd"),
];

/// Media types that operations take, and one that none does.
const MEDIA_TYPES: [&str; 6] = [
    "application/json",
    "application/x-www-form-urlencoded",
    "application/json-patch+json",
    "application/merge-patch+json",
    "multipart/related; boundary=xx",
    "text/plain",
];

/// One server that is all of them, with its runtime.
struct Server {
    runtime: tokio::runtime::Runtime,
    router: Router,
    nrf: Arc<Nrf>,
    verifier: Verifier,
}

thread_local! {
    static SERVER: LazyCell<Server> = LazyCell::new(server);
}

struct Here(Mutex<Adm>);

impl AdmAccess for Here {
    fn run(&self, job: Job) -> Result<(), AdmGone> {
        job(&mut *self.0.lock().unwrap());
        Ok(())
    }
}

/// An AIOTF that takes what is well-formed and never notifies.
struct Deaf;

impl AiotfAccess for Deaf {
    fn request(&self, _: ServiceRequest) -> Option<Result<Taken, RequestError>> {
        let (_, notifications) = std::sync::mpsc::channel();
        Some(Ok((TransactionId(1), notifications.into())))
    }

    fn watch(&self, _: Watcher) {}
}

fn server() -> Server {
    let snid = Snid::new(Plmn::new("001", "01").unwrap(), None);
    let config = AdmConfig {
        chain_epochs: 1 << 10,
        search_threads_max: 1,
        ..AdmConfig::new(snid)
    };
    let now_ms = clock::unix_ms();
    let entropy = Box::new(|out: &mut [u8]| {
        out.fill(7);
        Ok(())
    });
    let store = Box::new(SqliteStore::in_memory().unwrap());
    let mut adm = Adm::open(config, store, Kek::from_octets(&[1; 32]), entropy, now_ms).unwrap();
    let device = |id: &[u8], form| DeviceSpec {
        line: 0,
        device_id: id.to_vec(),
        device_type: DeviceType::Type2b,
        suite: Suite::AesCmac,
        form,
        key: Some(RootKey::new(K)),
        tag_len: TagLen::T8,
        fleet: "default".into(),
        credential: CredentialKind::Operator,
    };
    let devices = [
        device(b"a", DeviceForm::Beacon),
        device(b"b", DeviceForm::Dt),
    ];
    adm.import(&devices, now_ms).unwrap();
    let shared: SharedAdm = Arc::new(Here(Mutex::new(adm)));
    let directory = tempfile::tempdir().unwrap();
    let pki = PkiDir::new(directory.path().join("pki"));
    pki.init().unwrap();
    let key = std::fs::read_to_string(pki.file("token.key")).unwrap();
    let nrf = Nrf::new(NrfConfig::default(), Issuer::from_pem(&key).unwrap());
    let id = Uuid::from_bytes([3; 16]);
    let mut routes = adm::routes(&shared);
    routes.extend(nrf.routes());
    let service = ServiceConfig::new(id);
    routes.extend(aiotf::routes(
        Arc::new(Deaf),
        Client::new(None, None),
        service,
    ));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    Server {
        runtime,
        router: Router::new(routes, None),
        nrf,
        verifier: Verifier::from_pem(&public_pem(&key).unwrap(), None, "ADM", id).unwrap(),
    }
}

/// Some requests, one after the other: operation, media type, what stands for `*` in the path, body.
fn requests(input: &mut Input<'_>) {
    let asked = String::from_utf8_lossy(input.0).into_owned();
    for _ in 0..3 {
        if input.is_empty() {
            break;
        }
        let (method, path) = input.one_of(&OPERATIONS);
        let media_type = input.one_of(&MEDIA_TYPES);
        let argument = input.short();
        let path_is_token = path == "/oauth2/token";
        let path = path.replace('*', &String::from_utf8_lossy(argument));
        let octets = input.u16();
        let body = Bytes::copy_from_slice(input.take(octets.into()));
        let request = Request::builder()
            .method(method.parse::<Method>().unwrap())
            .uri(path)
            .header("content-type", media_type)
            .body(Full::new(body));
        let Ok(request) = request else {
            continue;
        };
        let answer = |server: &LazyCell<Server>| {
            let answer = server.router.answer(request, None);
            server.runtime.block_on(answer)
        };
        judge(SERVER.with(answer), path_is_token, &asked);
    }
    SERVER.with(|server| server.nrf.forget_all());
}

fn judge(mut reply: Reply, is_token: bool, asked: &str) {
    if Defect::SbiFails.is_planted() && reply.status == 400 {
        reply.status = 500;
    }
    let status = reply.status;
    assert!((200..500).contains(&status), "status {status}");
    let mut text = reply
        .body
        .as_ref()
        .map(Value::to_string)
        .unwrap_or_default();
    if Defect::SbiShowsKey.is_planted() && status == 200 {
        text.push_str(&hex::encode(K));
    }
    for secret in [
        hex::encode(K),
        json::to_base64(&K),
        String::from_utf8_lossy(&K).into_owned(),
    ] {
        // Who knows K and names a member after it is told of that member.
        let is_told = text.contains(&secret) && !asked.contains(&secret);
        assert!(!is_told, "a reply that holds K");
    }
    if status >= 400 {
        let body = reply.body.expect("an error says what is wrong");
        let is_problem = reply.media_type == "application/problem+json" && body["status"] == status;
        // Errors of the token endpoint are those of RFC 6749.
        let is_token_error = is_token && body["error"].is_string();
        assert!(is_problem || is_token_error, "{body}");
    }
}

/// A multipart body that was built is parsed into what it was built from; any other is parsed or refused.
fn bodies(input: &mut Input<'_>) {
    let boundary = String::from_utf8_lossy(input.short()).into_owned();
    let raw = input.0;
    let _ = multipart::parse(raw, &boundary);
    let named = multipart::boundary(&format!("multipart/related; boundary={boundary}"));
    let Ok(boundary) = named else {
        return;
    };
    assert!((1..=70).contains(&boundary.len()));
    let id = String::from_utf8_lossy(input.short()).into_owned();
    let is_name = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric());
    let binary = input.0;
    let value = serde_json::json!({ "id": id });
    let delimiter = format!("\r\n--{boundary}");
    let holds = |octets: &[u8]| {
        let octets = [b"\r\n", octets].concat();
        octets
            .windows(delimiter.len())
            .any(|window| window == delimiter.as_bytes())
    };
    if !is_name(&id) || !is_name(&boundary) || holds(binary) {
        return;
    }
    let body = multipart::build(&value, &id, "application/x", binary, &boundary);
    let (json, mut parts) = multipart::parse(&body, &boundary).expect("what was built");
    if Defect::SbiLosesPart.is_planted() {
        parts.clear();
    }
    assert_eq!(json, value);
    let part = multipart::Part {
        id,
        media_type: "application/x".into(),
        octets: binary.to_vec(),
    };
    assert_eq!(parts, [part]);
}

/// JSON, forms, base64 and tokens.
fn texts(octets: &[u8]) {
    if let Ok(value) = json::parse(octets) {
        let again = json::parse(value.to_string().as_bytes()).expect("what was printed");
        assert_eq!(again, value);
    }
    let pairs = Pairs::parse(octets);
    assert!(pairs.all("a").len() <= 256);
    assert_eq!(
        json::from_base64(&json::to_base64(octets)).as_deref(),
        Some(octets)
    );
    let text = String::from_utf8_lossy(octets);
    if let Some(decoded) = json::from_base64(&text) {
        assert_eq!(json::from_base64(&json::to_base64(&decoded)), Some(decoded));
    }
    // No token here is signed, so none is good.
    SERVER.with(|server| assert!(server.verifier.verify(&text, clock::unix_s()).is_err()));
}
