//! Delivery as a process: cores that are killed, sinks that are killed, slow and failing, and what arrives all the same.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;
#[path = "../../nef/tests/common/receiver.rs"]
mod receiver;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ambit_store::{NewRecord, SqliteStore, Store};
use common::{Core, Place};
use receiver::{Answer, Decide, Pki, Receiver};
use rumqttc::mqttbytes::QoS;
use rumqttc::{Broker, Client, Event, Incoming, MqttOptions};
use serde_json::Value;

/// Devices of the fleet, of two fleets in turn.
const DEVICES: i64 = 60;

/// Longer than anything here takes, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(420);

const CONFIG: &str = "[delivery]\nallow_addresses = [\"127.0.0.1\", \"::1\"]\nallow_clear = true\n\
    ca_file = \"ca.pem\"\n\n[[fleet]]\nname = \"f0\"\naf = \"af-zero\"\n";

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        thread::sleep(Duration::from_millis(100));
    }
}

fn place() -> (Place, Pki) {
    let (place, pki) = (Place::new(), Pki::new());
    pki.write_ca(&place.path("ca.pem"));
    place.write("ambit.toml", CONFIG);
    place.import_fleet(u32::try_from(DEVICES).unwrap());
    (place, pki)
}

fn store(place: &Place) -> SqliteStore {
    SqliteStore::open(&place.path("data/ambit.sqlite3")).unwrap()
}

/// Accepts reports as an ADM does, in batches: every tenth is a repeat, causes go round.
fn accept(place: &Place, count: u32, from: u32) {
    let mut store = store(place);
    let ids: Vec<[u8; 4]> = (0..DEVICES).map(|n| (n as u32).to_be_bytes()).collect();
    let numbers: Vec<u32> = (from..from + count).collect();
    for batch in numbers.chunks(500) {
        let tags: Vec<[u8; 8]> = batch.iter().map(|n| u64::from(*n).to_be_bytes()).collect();
        let records: Vec<NewRecord<'_>> = batch
            .iter()
            .zip(&tags)
            .map(|(n, tag1)| {
                let device = fastrand::i64(0..DEVICES);
                NewRecord {
                    device: device + 1,
                    device_id: &ids[device as usize],
                    epoch: 7,
                    tag1,
                    form: 0,
                    area_id: [3; 12],
                    nonce: &[1, 2, 3, 4],
                    cause: u8::try_from(n % 10).unwrap(),
                    seq: 0,
                    data: b"21.5",
                    accept: &[],
                    time_ms: 1_700_000_000_000 + i64::from(*n),
                    repeat: fastrand::u8(0..10) == 0,
                    gnb_id: 1,
                    reader_index: 1,
                    counter: None,
                }
            })
            .collect();
        store.accept(&records, &mut Vec::new()).unwrap();
    }
}

/// What must be at a sink: the records, by device.
fn expected(place: &Place, is_wanted: impl Fn(&Value) -> bool) -> BTreeMap<String, Vec<i64>> {
    let mut expected: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for record in place.json(&["record", "list", "--json"]) {
        if record["repeat"] == false && is_wanted(&record) {
            let device = record["device_id"].as_str().unwrap().to_owned();
            let of = expected.entry(device).or_default();
            of.push(record["id"].as_i64().unwrap());
        }
    }
    expected
}

/// What is at a sink, by device in the order of the first arrivals, and how many came more than once.
fn arrived(events: &[Value]) -> (BTreeMap<String, Vec<i64>>, usize) {
    let mut seen = HashSet::new();
    let mut arrived: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for event in events {
        if seen.insert(event["id"].as_str().unwrap().to_owned()) {
            let data = &event["data"];
            let device = data["device_id"].as_str().unwrap().to_owned();
            let of = arrived.entry(device).or_default();
            of.push(data["record"].as_i64().unwrap());
        }
    }
    (arrived, events.len() - seen.len())
}

fn count(of: &BTreeMap<String, Vec<i64>>) -> usize {
    of.values().map(Vec::len).sum()
}

fn is_f0(record: &Value) -> bool {
    let id = record["device_id"].as_str().unwrap();
    u32::from_str_radix(id, 16).unwrap().is_multiple_of(2)
}

/// A sink in a bad mood: now and then it fails, is slow, hangs up, or takes a message and says nothing.
fn moody() -> Decide {
    Arc::new(|_, _| match fastrand::u16(0..1000) {
        0..10 => Answer::Status(503),
        10..20 => Answer::HangUp,
        20..30 => Answer::TakeAndHangUp,
        30..35 => Answer::Late(200, Duration::from_millis(fastrand::u64(20..200))),
        _ => Answer::Status(204),
    })
}

/// A receiver that is killed and comes back at the same place.
struct Mortal {
    pki: Pki,
    receiver: Option<Receiver>,
}

impl Mortal {
    fn restart(&mut self) {
        let (address, got) = {
            let receiver = self.receiver.as_ref().unwrap();
            (receiver.address, receiver.shared())
        };
        self.receiver = None;
        thread::sleep(Duration::from_millis(fastrand::u64(50..400)));
        let again = Receiver::start_at(address, self.pki.server(false), moody(), got);
        self.receiver = Some(again);
    }

    fn events(&self) -> Vec<Value> {
        self.receiver.as_ref().unwrap().events()
    }
}

/// Reads a stream, and when it breaks goes on behind the last event, as browsers do.
fn read_stream(http: Arc<Mutex<String>>, path: String, end: Arc<AtomicBool>) -> Vec<Value> {
    let (mut events, mut last) = (Vec::new(), None::<String>);
    while !end.load(Ordering::SeqCst) {
        let address = http.lock().unwrap().clone();
        let Ok(mut stream) = TcpStream::connect(&address) else {
            thread::sleep(Duration::from_millis(50));
            continue;
        };
        let patience = Some(Duration::from_millis(500));
        stream.set_read_timeout(patience).unwrap();
        let last_id = last.iter().map(|id| format!("Last-Event-ID: {id}\r\n"));
        let last_id: String = last_id.collect();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{last_id}\r\n");
        if stream.write_all(request.as_bytes()).is_err() {
            continue;
        }
        let mut lines = BufReader::new(stream);
        let (mut text, mut id) = (String::new(), None);
        loop {
            match lines.read_line(&mut text) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) =>
                {
                    if end.load(Ordering::SeqCst) {
                        return events;
                    }
                    continue;
                }
                Err(_) => break,
            }
            if !text.ends_with('\n') {
                break;
            }
            let line = text.trim_end();
            if let Some(found) = line.strip_prefix("id: ") {
                id = Some(found.to_owned());
            } else if let Some(data) = line.strip_prefix("data: ") {
                let Ok(event) = serde_json::from_str(data) else {
                    break;
                };
                events.push(event);
                last = id.take();
            }
            text.clear();
        }
    }
    events
}

/// A real broker on a port of its own; `None` where mosquitto is not installed.
struct Mosquitto {
    child: Child,
    port: u16,
    place: std::path::PathBuf,
}

impl Mosquitto {
    fn program() -> Option<&'static str> {
        let known = [
            "/usr/sbin/mosquitto",
            "/usr/bin/mosquitto",
            "/usr/local/sbin/mosquitto",
        ];
        let found = known
            .into_iter()
            .find(|path| std::path::Path::new(path).exists());
        if found.is_none() {
            eprintln!("mosquitto is not installed: MQTT is not tested");
        }
        found
    }

    fn start(place: &Place) -> Option<Self> {
        Self::program()?;
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let dir = place.path("broker");
        std::fs::create_dir_all(&dir).unwrap();
        let config = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\n\
             persistence_location {}/\nmax_queued_messages 0\nuser root\n",
            dir.display()
        );
        place.write("mosquitto.conf", &config);
        let place = place.path("mosquitto.conf");
        let child = Self::spawn(&place);
        Some(Self { child, port, place })
    }

    fn spawn(config: &std::path::Path) -> Child {
        Command::new(Self::program().unwrap())
            .arg("-c")
            .arg(config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Ends it in order, so that it keeps what it has acknowledged, and starts it again.
    fn restart(&mut self) {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        self.child.wait().unwrap();
        thread::sleep(Duration::from_millis(fastrand::u64(50..400)));
        self.child = Self::spawn(&self.place);
    }

    /// Subscribes to everything, in a session that outlives connections.
    fn subscriber(&self, end: Arc<AtomicBool>) -> thread::JoinHandle<Vec<(String, Value)>> {
        let port = self.port;
        let (ready, is_ready) = std::sync::mpsc::channel();
        let reader = thread::spawn(move || {
            let mut options = MqttOptions::new("test", Broker::tcp("127.0.0.1", port));
            options
                .set_clean_start(false)
                .set_session_expiry_interval(Some(3600))
                .set_keep_alive(5);
            let (client, mut connection) = Client::builder(options).capacity(64).build();
            client.subscribe("ambit/#", QoS::AtLeastOnce).unwrap();
            let mut got = Vec::new();
            while !end.load(Ordering::SeqCst) {
                match connection.recv_timeout(Duration::from_millis(300)) {
                    Ok(Ok(Event::Incoming(Incoming::SubAck(_)))) => drop(ready.send(())),
                    Ok(Ok(Event::Incoming(Incoming::Publish(publish)))) => {
                        let topic = String::from_utf8(publish.topic.to_vec()).unwrap();
                        got.push((topic, serde_json::from_slice(&publish.payload).unwrap()));
                    }
                    Ok(Err(_)) => thread::sleep(Duration::from_millis(50)),
                    _ => {}
                }
            }
            got
        });
        is_ready.recv_timeout(Duration::from_secs(60)).unwrap();
        reader
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn add(place: &Place, args: &[&str]) -> Value {
    let mut all = vec!["subscription", "add", "--json", "--config", "ambit.toml"];
    all.extend(args);
    place.json(&all).remove(0)
}

fn start(place: &Place) -> Core {
    Core::start(place, "127.0.0.1:0", &["--config", "ambit.toml"])
}

/// Waits until every subscription with a position has everything.
fn wait_for_all(place: &Place) {
    let is_behind = |row: &Value| row["records_behind"].as_i64().is_some_and(|n| n > 0);
    wait_until("all is delivered", || {
        let rows = place.json(&["subscription", "list", "--json"]);
        !rows.iter().any(is_behind)
    });
}

#[test]
fn a_hundred_thousand_reports_reach_every_entitled_sink_though_sinks_and_cores_are_killed() {
    let (place, pki) = place();
    let receiver = Receiver::start(pki.server(false), moody());
    let url = format!("https://localhost:{}/", receiver.address.port());
    let mut mortal = Mortal {
        pki,
        receiver: Some(receiver),
    };
    let own_pki = Pki::new();
    let mut ca = std::fs::read_to_string(place.path("ca.pem")).unwrap();
    ca += &own_pki.ca_pem;
    place.write("ca.pem", &ca);
    let of_af = Receiver::start(own_pki.server(false), moody());
    let af_url = format!("https://127.0.0.1:{}/", of_af.address.port());

    let mut core = start(&place);
    add(&place, &["--callback", &url, "--batch"]);
    add(
        &place,
        &["--callback", &af_url, "--af", "af-zero", "--cause", "3"],
    );
    let file = place.path("out.jsonl");
    add(&place, &["--file", file.to_str().unwrap()]);
    let stream = add(&place, &["--stream", "--fleet", "f1"]);
    let mut broker = Mosquitto::start(&place);
    let end = Arc::new(AtomicBool::new(false));
    let subscriber = broker.as_ref().map(|broker| {
        let url = format!("mqtt://127.0.0.1:{}", broker.port);
        let topic = "ambit/{fleet}/{device}/{what}";
        add(
            &place,
            &[
                "--mqtt", &url, "--topic", topic, "--fleet", "f0", "--cause", "4",
            ],
        );
        broker.subscriber(Arc::clone(&end))
    });
    let http = Arc::new(Mutex::new(core.http.clone()));
    let (id, token) = (
        stream["id"].as_str().unwrap(),
        stream["secret"].as_str().unwrap(),
    );
    let path = format!("/subscriptions/{id}/events?token={token}");
    let reader = {
        let (http, end) = (Arc::clone(&http), Arc::clone(&end));
        thread::spawn(move || read_stream(http, path, end))
    };

    for tenth in 0..10 {
        accept(&place, 10_000, tenth * 10_000);
        thread::sleep(Duration::from_millis(fastrand::u64(200..1200)));
        match tenth {
            2 | 5 | 8 => {
                core.kill();
                core = start(&place);
                http.lock().unwrap().clone_from(&core.http);
            }
            3 | 6 => mortal.restart(),
            4 => broker.iter_mut().for_each(Mosquitto::restart),
            _ => {}
        }
    }
    wait_for_all(&place);
    // The stream's reader is behind by what is on the way.
    let of_f1 = expected(&place, |record| !is_f0(record));
    thread::sleep(Duration::from_secs(3));
    end.store(true, Ordering::SeqCst);
    let streamed = reader.join().unwrap();

    let all = expected(&place, |_| true);
    assert!(count(&all) > 85_000, "{}", count(&all));
    let (at_callback, again) = arrived(&mortal.events());
    assert!(
        at_callback == all,
        "{} of {}",
        count(&at_callback),
        count(&all)
    );
    // What the sink took without saying so came again, with the same id.
    assert!(again > 0);
    let wanted = expected(&place, |record| is_f0(record) && record["cause"] == 3);
    let (at_af, _) = arrived(&of_af.events());
    assert!(at_af == wanted, "{} of {}", count(&at_af), count(&wanted));
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (in_file, again) = arrived(&lines);
    assert!(in_file == all, "{} of {}", count(&in_file), count(&all));
    assert_eq!(again, 0, "a file has nothing twice");
    let (at_reader, _) = arrived(&streamed);
    assert!(
        at_reader == of_f1,
        "{} of {}",
        count(&at_reader),
        count(&of_f1)
    );
    if let Some(subscriber) = subscriber {
        let published = subscriber.join().unwrap();
        let topics: HashMap<&str, usize> =
            published
                .iter()
                .fold(HashMap::new(), |mut all, (topic, _)| {
                    *all.entry(topic.split('/').nth(1).unwrap()).or_default() += 1;
                    all
                });
        assert_eq!(topics.keys().collect::<Vec<_>>(), [&"f0"]);
        let events: Vec<Value> = published.into_iter().map(|(_, event)| event).collect();
        let (at_subscriber, _) = arrived(&events);
        let wanted = expected(&place, |record| is_f0(record) && record["cause"] == 4);
        assert!(
            at_subscriber == wanted,
            "{} of {}",
            count(&at_subscriber),
            count(&wanted)
        );
    }
    assert!(core.terminate());
}

/// The control of the test above: a position that is ahead of what the sink took loses, and the comparison finds it.
#[test]
fn control_a_position_that_is_ahead_of_its_sink_loses_messages() {
    let (place, pki) = place();
    let down = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = down.local_addr().unwrap();
    drop(down);
    let core = start(&place);
    let url = format!("https://127.0.0.1:{}/", address.port());
    let subscription = add(&place, &["--callback", &url, "--batch"]);
    accept(&place, 300, 0);
    core.kill();
    // As a core would leave it that takes for delivered what it has only read.
    let id = subscription["id"].as_str().unwrap();
    let ahead = "{\"records\":{\"0\":300},\"events\":0}";
    let connection = rusqlite::Connection::open(place.path("data/ambit.sqlite3")).unwrap();
    let moved = connection.execute(
        "UPDATE subscription SET position = ?2 WHERE id = ?1",
        (id, ahead),
    );
    assert_eq!(moved.unwrap(), 1);
    drop(connection);
    let ok: Decide = Arc::new(|_, _| Answer::Status(200));
    let receiver = Receiver::start_at(address, pki.server(false), ok, Arc::default());
    let core = start(&place);
    accept(&place, 300, 300);
    wait_for_all(&place);
    let (at_sink, _) = arrived(&receiver.events());
    let all = expected(&place, |_| true);
    assert!(count(&at_sink) > 200 && at_sink != all);
    assert!(core.terminate());
}

#[test]
fn subscriptions_are_managed_beside_a_running_core_and_what_is_wrong_is_named() {
    let (place, _pki) = place();
    // Without a core first: the directory is opened.
    let early = add(&place, &["--stream"]);
    let core = start(&place);
    let late = add(
        &place,
        &[
            "--stream", "--fleet", "f0", "--what", "presence", "--what", "alarms",
        ],
    );
    assert_eq!(late["what"], serde_json::json!(["presence", "alarms"]));
    let rows = place.json(&["subscription", "list", "--json"]);
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row["secret"].is_null()));
    let id = early["id"].as_str().unwrap();
    let shown = place.json(&["subscription", "show", id, "--secret", "--json"]);
    assert_eq!(shown[0]["secret"], early["secret"]);
    let paused = place.json(&["subscription", "pause", id, "--json"]);
    assert_eq!(paused[0]["state"], "paused");
    let token = early["secret"].as_str().unwrap();
    let at = format!("/subscriptions/{id}/events");
    assert_eq!(core.get(&format!("{at}?token={token}")).0, 503);
    assert_eq!(core.get(&at).0, 401);
    assert_eq!(core.get("/subscriptions/none/events?token=x").0, 401);
    place.ok(&["subscription", "remove", id]);
    assert_eq!(core.get(&format!("{at}?token={token}")).0, 401);
    let fails = |args: &[&str], part: &str| {
        let mut all = vec!["subscription"];
        all.extend(args);
        let message = place.fails(3, &all);
        assert!(message.contains(part), "{message}");
    };
    fails(&["show", "none"], "no subscription none");
    fails(
        &["add", "--stream", "--device", "ffffffff"],
        "filter.devices",
    );
    fails(&["add", "--stream", "--fleet", "f9"], "filter.fleets");
    fails(&["add", "--stream", "--af", "nobody"], "nobody");
    // An AF with an account may receive what that says, and what the configuration says no longer counts.
    place.ok(&["af", "add", "af-zero", "--receive", "data"]);
    fails(
        &["add", "--stream", "--af", "af-zero"],
        "anything of any device",
    );
    fails(&["add", "--callback", "https://10.0.0.1/"], "10.0.0.1");
    fails(&["add", "--stream", "--area", "xyz"], "--area");
    let late = late["id"].as_str().unwrap();
    fails(&["dead-letters", "retry", late, "r1"], "no dead letter r1");
    let kinds = ["subscription_added", "subscription_removed"];
    for (kind, number) in kinds.into_iter().zip([2, 1]) {
        let events = place.json(&["event", "list", "--kind", kind, "--json"]);
        assert_eq!(events.len(), number, "{kind}");
    }
    assert!(core.terminate());
}

/// Rights are those of the account at the moment a message goes out; the control is the operator's own subscription.
#[test]
fn an_af_receives_what_its_account_says_until_it_says_otherwise() {
    let (place, pki) = place();
    let rights = [
        "--receive",
        "data",
        "--fleet",
        "f1",
        "--all-areas",
        "--subscriptions",
        "1",
    ];
    let account = |verb: &str, rights: &[&str]| {
        let mut args = vec!["af", verb, "shop"];
        args.extend(rights);
        place.ok(&args)
    };
    account("add", &rights);
    let core = start(&place);
    let ok: Decide = Arc::new(|_, _| Answer::Status(204));
    let sinks = [(); 2].map(|()| Receiver::start(pki.server(false), Arc::clone(&ok)));
    let urls = sinks
        .each_ref()
        .map(|sink| format!("https://localhost:{}/", sink.address.port()));
    let [of_shop, of_operator] = &sinks;
    add(&place, &["--af", "shop", "--callback", &urls[0]]);
    add(&place, &["--callback", &urls[1], "--what", "data"]);
    for (args, rule) in [
        (&["--fleet", "f0"][..], "filter.fleets"),
        (&["--what", "alarms"], "filter.what"),
        (&[], "as many as may be"),
    ] {
        let mut all = vec!["subscription", "add", "--stream", "--af", "shop"];
        all.extend(args);
        let message = place.fails(3, &all);
        assert!(message.contains(rule), "{message}");
    }
    accept(&place, 200, 0);
    let wanted = expected(&place, |record| !is_f0(record));
    wait_until("the shop has what is its own", || {
        arrived(&of_shop.events()).0 == wanted
    });
    account(
        "set",
        &["--receive", "presence", "--fleet", "f1", "--all-areas"],
    );
    // Delivery reads accounts every second; what is accepted from then on is nothing to the shop.
    thread::sleep(Duration::from_secs(3));
    accept(&place, 200, 1000);
    let all = expected(&place, |_| true);
    wait_until("the operator has everything", || {
        arrived(&of_operator.events()).0 == all
    });
    wait_for_all(&place);
    assert!(arrived(&of_shop.events()).0 == wanted);
    assert!(core.terminate());
}

#[test]
fn watch_follows_live_and_from_a_time_on() {
    let (place, _pki) = place();
    accept(&place, 100, 0);
    let mut watch = place
        .command(&[
            "watch",
            "--json",
            "--fleet",
            "f1",
            "--since",
            "2023-11-14T22:13:20.050Z",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = watch.stdout.take().unwrap();
    let (send, lines) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            let _ = send.send(serde_json::from_str::<Value>(&line).unwrap());
        }
    });
    let records = |since_ms: i64| {
        let from = move |record: &Value| record["id"].as_i64().unwrap() > since_ms;
        expected(&place, move |record| !is_f0(record) && from(record))
    };
    let mut got = Vec::new();
    let mut take = |number: usize| {
        while got.len() < number {
            got.push(lines.recv_timeout(PATIENCE).unwrap());
        }
        arrived(&got).0
    };
    let before = records(50);
    assert!(take(count(&before)) == before);
    accept(&place, 100, 100);
    let after = records(50);
    assert!(count(&after) > count(&before));
    assert!(take(count(&after)) == after);
    watch.kill().unwrap();
    watch.wait().unwrap();
}
