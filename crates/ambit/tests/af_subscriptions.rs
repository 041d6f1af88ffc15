//! An application that subscribes by itself: `ambit af`, a token, a subscription over HTTP, what devices report at its callback and
//! in its stream; on a core in one process that is killed, and on functions that are processes of their own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;
#[path = "../../nef/tests/common/receiver.rs"]
mod receiver;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver as Events};
use std::time::Duration;

use ambit_sbi::client::{Client, Outgoing};
use ambit_sbi::json::{from_base64, to_base64};
use ambit_sbi::runtime::Runtime;
use ambit_sbi::tls::{self, Credentials};
use common::function::Function;
use common::{Core, Place, wait_long, wait_until};
use http_body_util::BodyExt;
use hyper::Method;
use hyper::header::{ACCEPT, AUTHORIZATION};
use receiver::{Answer, Decide, Pki, Receiver};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const CONFIG: &str = r#"
[nef]
listen = "127.0.0.1:0"
certificate = "pki/nef.pem"
key = "pki/nef.key"

[delivery]
allow_addresses = ["127.0.0.1", "::1"]
ca_file = "ca.pem"
"#;

fn place() -> (Place, Pki) {
    let (place, pki) = (Place::new(), Pki::new());
    pki.write_ca(&place.path("ca.pem"));
    place.write("ambit.toml", CONFIG);
    place.ok(&["pki", "init", "pki"]);
    place.import_fleet(8);
    (place, pki)
}

/// An application of one fleet.
struct App<'a> {
    place: &'a Place,
    runtime: Runtime,
    client: Client,
    name: &'static str,
    fleet: &'static str,
    account: Value,
    root: String,
    token: String,
}

impl<'a> App<'a> {
    fn new(place: &'a Place, nef: &str, name: &'static str, fleet: &'static str) -> Self {
        let account = place.json(&[
            "af",
            "add",
            name,
            "--all-areas",
            "--fleet",
            fleet,
            "--receive",
            "data",
            "--receive",
            "presence",
            "--rate",
            "1000",
            "--burst",
            "1000",
            "--json",
        ]);
        let file = |name: &str| place.path("pki").join(name);
        let mut credentials = Credentials::server_only(&file("nef.pem"), &file("nef.key")).unwrap();
        credentials.client = tls::client_of(&file("ca.pem")).unwrap();
        let mut app = Self {
            place,
            runtime: Runtime::start().unwrap(),
            client: Client::new(Some(credentials), None),
            name,
            fleet,
            account: account[0].clone(),
            root: String::new(),
            token: String::new(),
        };
        app.enter(nef);
        // Delivery learns of an account within about a second.
        std::thread::sleep(Duration::from_secs(2));
        app
    }

    /// Gets a token at a NEF.
    fn enter(&mut self, nef: &str) {
        self.root = format!("https://{nef}");
        let text = |name: &str| self.account[name].as_str().unwrap();
        let basic = format!("{}:{}", text("client_id"), text("client_secret"));
        let form = b"grant_type=client_credentials&scope=ambit-doa".to_vec();
        let mut outgoing = Outgoing::new(Method::POST, format!("{}/oauth2/token", self.root))
            .typed("application/x-www-form-urlencoded", form);
        let basic = format!("Basic {}", to_base64(basic.as_bytes()));
        outgoing
            .headers
            .push((AUTHORIZATION, basic.parse().unwrap()));
        let (status, said) = self.send(outgoing);
        assert_eq!(status, 200, "{said}");
        self.token = said["access_token"].as_str().unwrap().to_owned();
    }

    fn send(&self, outgoing: Outgoing) -> (u16, Value) {
        let sent = self.client.send(outgoing.wait(Duration::from_secs(15)));
        let answer = self.runtime.handle().block_on(sent).unwrap();
        (answer.status, answer.json().unwrap_or_default())
    }

    /// Asks for something below a path of its own, or another's.
    fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let uri = format!("{}/ambit-doa/v1/{path}", self.root);
        let mut outgoing = Outgoing::new(method, uri).token(Some(self.token.clone()));
        if let Some(body) = body {
            outgoing = outgoing.json(&body);
        }
        self.send(outgoing)
    }

    fn subscribe(&self, body: Value) -> Value {
        let path = format!("{}/subscriptions", self.name);
        let (status, said) = self.ask(Method::POST, &path, Some(body));
        assert_eq!(status, 201, "{said}");
        said
    }

    /// Records of its fleet that are to be told.
    fn expected(&self) -> BTreeSet<i64> {
        let odd = u32::from(self.fleet == "f1");
        let is_own = |record: &&Value| {
            let id = record["device_id"].as_str().unwrap();
            record["repeat"] == false && u32::from_str_radix(id, 16).unwrap() % 2 == odd
        };
        let records = self.place.json(&["record", "list", "--json"]);
        let own = records.iter().filter(is_own);
        own.map(|record| record["id"].as_i64().unwrap()).collect()
    }

    fn follow(&self, id: &str) -> Events<Value> {
        let uri = format!(
            "{}/ambit-doa/v1/{}/subscriptions/{id}/events",
            self.root, self.name
        );
        let mut outgoing = Outgoing::new(Method::GET, uri).token(Some(self.token.clone()));
        outgoing
            .headers
            .push((ACCEPT, "text/event-stream".parse().unwrap()));
        let (client, (send, events)) = (self.client.clone(), mpsc::channel());
        self.runtime.handle().spawn(async move {
            let mut body = client.open(outgoing).await.unwrap();
            let mut text = String::new();
            while let Some(Ok(frame)) = body.frame().await {
                text += std::str::from_utf8(frame.data_ref().unwrap()).unwrap();
                while let Some((line, rest)) = text.split_once('\n') {
                    if let Some(data) = line.strip_prefix("data: ") {
                        let _ = send.send(serde_json::from_str(data).unwrap());
                    }
                    text = rest.to_owned();
                }
            }
        });
        events
    }
}

fn record(event: &Value) -> i64 {
    event["data"]["record"].as_i64().unwrap()
}

fn records(sink: &Receiver) -> BTreeSet<i64> {
    sink.events().iter().map(record).collect()
}

/// HMAC-SHA256 (RFC 2104), by the receiver's own hand.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = Sha256::digest([&block.map(|octet| octet ^ 0x36), text].concat());
    Sha256::digest([&block.map(|octet| octet ^ 0x5c), &inner[..]].concat()).to_vec()
}

/// Whether all that came is signed with a secret, as Standard Webhooks has it.
fn is_signed(sink: &Receiver, secret: &str) -> bool {
    let key = from_base64(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let got = sink.got();
    assert!(!got.is_empty());
    got.iter().all(|got| {
        let text = |name: &str| got.headers[name].to_str().unwrap();
        let stamp = format!("{}.{}.", text("webhook-id"), text("webhook-timestamp"));
        let tag = hmac(&key, &[stamp.as_bytes(), &got.body].concat());
        text("webhook-signature") == format!("v1,{}", to_base64(&tag))
    })
}

fn ran(place: &Place, n2: &str) {
    place.ok(&[
        "ran",
        "--n2",
        n2,
        "--devices",
        "fleet.csv",
        "--rate",
        "20",
        "--seconds",
        "3",
        "--json",
    ]);
}

fn sink(pki: &Pki) -> (Receiver, Value) {
    let ok: Decide = Arc::new(|_, _| Answer::Status(204));
    let receiver = Receiver::start(pki.server(false), ok);
    let url = format!("https://localhost:{}/told", receiver.address.port());
    let wanted = json!({ "sink": { "kind": "CALLBACK", "url": url } });
    (receiver, wanted)
}

#[test]
fn an_application_subscribes_is_told_over_a_kill_and_hears_nothing_once_it_has_unsubscribed() {
    let (place, pki) = place();
    let start = || Core::start(&place, "127.0.0.1:0", &["--config", "ambit.toml"]);
    let nef = |core: &Core| core.ready["nef"].as_str().unwrap().to_owned();
    let core = start();
    let mut shop = App::new(&place, &nef(&core), "shop", "f0");
    let mut rival = App::new(&place, &nef(&core), "rival", "f1");
    let (of_shop, to_shop) = sink(&pki);
    let (of_rival, to_rival) = sink(&pki);
    let made = shop.subscribe(to_shop);
    let made_by_rival = rival.subscribe(to_rival);
    let secret = made["secret"].as_str().unwrap();
    let own = format!(
        "shop/subscriptions/{}",
        made["subscriptionId"].as_str().unwrap()
    );

    // Each is told of its own, signed with its own secret; the other's is the control.
    let is_told = |app: &App<'_>, sink: &Receiver| {
        let expected = app.expected();
        !expected.is_empty() && records(sink) == expected
    };
    ran(&place, &core.n2);
    wait_long("both are told", || {
        is_told(&shop, &of_shop) && is_told(&rival, &of_rival)
    });
    assert!(records(&of_shop).is_disjoint(&records(&of_rival)));
    assert!(is_signed(&of_shop, secret));
    let other = made_by_rival["secret"].as_str().unwrap();
    assert!(is_signed(&of_rival, other) && !is_signed(&of_shop, other));

    // To the other it is not there, by whatever name it asks; and it stays.
    let (status, said) = rival.ask(Method::GET, "rival/subscriptions", None);
    assert_eq!(
        (status, said["subscriptions"].as_array().unwrap().len()),
        (200, 1)
    );
    let stolen = own.replace("shop/", "rival/");
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(rival.ask(method.clone(), &stolen, None).0, 404);
        assert_eq!(rival.ask(method, &own, None).0, 403);
    }

    let on_record = |parts: &[&str]| {
        wait_until("it is on record", || {
            let said = place.ok(&["event", "list", "--json"]);
            parts.iter().all(|part| said.contains(part))
        });
    };
    on_record(&["AF_ID_MISMATCH"]);

    // The core dies, and what it was told to deliver it goes on to deliver. No secret is told again.
    core.kill();
    let before = records(&of_shop).len();
    let core = start();
    shop.enter(&nef(&core));
    rival.enter(&nef(&core));
    let (status, said) = shop.ask(Method::GET, &own, None);
    assert_eq!((status, said.get("secret")), (200, None));
    assert_eq!(said["sink"], made["sink"]);
    ran(&place, &core.n2);
    wait_long("both are told after the kill", || {
        is_told(&shop, &of_shop) && is_told(&rival, &of_rival)
    });
    assert!(records(&of_shop).len() > before);
    assert!(is_signed(&of_shop, secret));

    // Once it is deleted nothing more comes, while the other, the control, is told on.
    assert_eq!(shop.ask(Method::DELETE, &own, None).0, 204);
    assert_eq!(shop.ask(Method::GET, &own, None).0, 404);
    std::thread::sleep(Duration::from_secs(2));
    let told = records(&of_shop);
    let told_rival = records(&of_rival).len();
    ran(&place, &core.n2);
    wait_long("the other is told", || {
        records(&of_rival).len() > told_rival && is_told(&rival, &of_rival)
    });
    assert!(
        shop.expected().len() > told.len(),
        "its devices have reported"
    );
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(records(&of_shop), told);

    // What was done is on record, without a secret.
    on_record(&["subscription_added", "subscription_removed"]);
    let said = place.ok(&["event", "list", "--json"]);
    assert!(!said.contains(secret) && !said.contains(&shop.token));
    assert!(core.terminate());
}

#[test]
fn an_application_subscribes_and_follows_its_stream_through_functions_apart() {
    let (place, pki) = place();
    let nrf = Function::start(&place, &["nrf", "--sbi", "127.0.0.1:0"]);
    let root = format!("https://{}", nrf.address("sbi"));
    let with_nrf = |args: &[&str]| {
        let rest = [
            "--sbi",
            "127.0.0.1:0",
            "--nrf",
            &root,
            "--config",
            "ambit.toml",
        ];
        Function::start(&place, &[args, &rest].concat())
    };
    let _adm = with_nrf(&["adm"]);
    let aiotf = with_nrf(&["aiotf", "--n2", "127.0.0.1:0"]);
    let nef = with_nrf(&["nef"]);
    let shop = App::new(&place, &nef.address("nef"), "shop", "f0");
    let (of_shop, to_shop) = sink(&pki);
    let made = shop.subscribe(to_shop);
    let stream = shop.subscribe(json!({ "sink": { "kind": "STREAM" } }));
    let stream = stream["subscriptionId"].as_str().unwrap();
    let events = shop.follow(stream);
    ran(&place, &aiotf.address("n2"));
    let mut followed = BTreeSet::new();
    wait_long("it is told both ways", || {
        followed.extend(events.try_iter().map(|event| record(&event)));
        let expected = shop.expected();
        !expected.is_empty() && records(&of_shop) == expected && followed == expected
    });
    assert!(is_signed(&of_shop, made["secret"].as_str().unwrap()));
    // What the ADM refuses the NEF says, by field and rule.
    let other = json!({ "sink": { "kind": "STREAM" }, "fleets": ["f1"] });
    let (status, said) = shop.ask(Method::POST, "shop/subscriptions", Some(other));
    assert_eq!((status, &said["cause"]), (403, &json!("FLEET_NOT_ALLOWED")));
    let inside = json!({ "sink": { "kind": "CALLBACK", "url": "https://10.0.0.1/" } });
    let (status, said) = shop.ask(Method::POST, "shop/subscriptions", Some(inside));
    assert_eq!(
        (status, &said["cause"]),
        (403, &json!("CALLBACK_NOT_ALLOWED"))
    );
    let one = format!("shop/subscriptions/{stream}");
    assert_eq!(shop.ask(Method::DELETE, &one, None).0, 204);
    wait_until("the stream ends", || {
        matches!(events.try_recv(), Err(mpsc::TryRecvError::Disconnected))
    });
    assert_eq!(shop.ask(Method::GET, &one, None).0, 404);
}
