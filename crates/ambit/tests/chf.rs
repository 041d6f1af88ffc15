//! Online charging as processes: core, CHF and store are killed and fail, and each record is one event.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use ambit_lab::postgres::PostgresServer;
use common::{Core, Place, json_lines, wait_until};
use serde_json::Value;

/// `ambit chf`, ended with the test however that ends.
struct Chf {
    child: Child,
    address: String,
}

impl Chf {
    fn start(place: &Place, listen: &str, args: &[&str]) -> Self {
        let mut command = place.command(&["chf", "--listen", listen, "--events", "events.jsonl"]);
        let mut child = command
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let address = ready["chf"].as_str().unwrap().to_owned();
        Self { child, address }
    }
}

impl Drop for Chf {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The requests that the CHF took, by key.
fn events(place: &Place) -> BTreeMap<String, Vec<Value>> {
    let mut events: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    if !place.path("events.jsonl").exists() {
        return events;
    }
    for line in json_lines(&place.path("events.jsonl")) {
        let key = line["key"].as_str().unwrap().to_owned();
        events.entry(key).or_default().push(line["request"].clone());
    }
    events
}

fn config(place: &Place, chf: &str, more: &str) {
    let text = format!(
        "[charging]\ndir = \"cdr\"\nchf = \"{chf}\"\n{more}\n[[fleet]]\nname = \"f0\"\naf = \"af-zero\"\nrating_group = 70\n"
    );
    place.write("ambit.toml", &text);
}

/// Records that are no repeats, by link; all links are in the CDR files and at the CHF, once.
fn check(place: &Place) -> usize {
    let records = place.json(&["record", "list", "--json"]);
    let new = records.iter().filter(|record| record["repeat"] == false);
    let expected: HashMap<i64, &Value> = new.map(|r| (r["id"].as_i64().unwrap(), r)).collect();
    let mut cdrs: HashMap<String, i64> = HashMap::new();
    for entry in std::fs::read_dir(place.path("cdr")).unwrap() {
        let path = entry.unwrap().path();
        let lines = std::fs::read_to_string(path).unwrap();
        for line in lines.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            if let (Some(link), Some(record)) = (line["link"].as_str(), line["record"].as_i64())
                && line.get("area_id").is_some()
            {
                assert!(cdrs.insert(link.to_owned(), record).is_none());
            }
        }
    }
    assert_eq!(cdrs.len(), expected.len(), "k records, k CDRs");
    let events = events(place);
    assert_eq!(events.len(), expected.len(), "k records, k events");
    let mut numbers = Vec::new();
    for requests in events.values() {
        let first = &requests[0];
        let content = &first["nEFChargingInformation"]["aPIContent"];
        let content: Value = serde_json::from_str(content.as_str().unwrap()).unwrap();
        let record = cdrs[content["link"].as_str().unwrap()];
        assert_eq!(content["record"], record);
        assert_eq!(content["device_id"], expected[&record]["device_id"]);
        let is_f0 = content["fleet"] == "f0";
        assert_eq!(first["tenantIdentifier"] == "af-zero", is_f0);
        let group = &first["multipleUnitUsage"][0]["ratingGroup"];
        assert_eq!(*group, if is_f0 { 70 } else { 1 });
        for again in &requests[1..] {
            assert_eq!(again["retransmissionIndicator"], true);
            assert_eq!(
                again["invocationSequenceNumber"],
                first["invocationSequenceNumber"]
            );
        }
        numbers.push(first["invocationSequenceNumber"].as_u64().unwrap());
    }
    numbers.sort_unstable();
    let gapless: Vec<u64> = (1..=expected.len() as u64).collect();
    assert_eq!(numbers, gapless);
    let summary = place.json(&["evidence", "verify", "--json"]);
    assert_eq!(summary.last().unwrap()["verified"], true);
    expected.len()
}

/// Waits until the CHF has as many events as there are records to charge, for at most two minutes.
fn wait_for_all(place: &Place) {
    let started = Instant::now();
    loop {
        let records = place.json(&["record", "list", "--json"]);
        let new = records.iter().filter(|record| record["repeat"] == false);
        let (new, sent) = (new.count(), events(place).len());
        if sent >= new {
            return;
        }
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "{sent} of {new}"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn each_record_is_one_event_though_core_and_chf_are_killed_and_fail() {
    let place = Place::new();
    place.import_fleet(200);
    let troubles = [
        "--fail",
        "10%",
        "--lie",
        "5%",
        "--lose",
        "10%",
        "--redirect",
        "10%",
        "--slow",
        "5%",
        "--delay-ms",
        "300",
        "--seed",
        "7",
    ];
    let mut chf = Chf::start(&place, "127.0.0.1:0", &troubles);
    let address = chf.address.clone();
    config(&place, &format!("http://{address}"), "");
    let args = ["--config", "ambit.toml"];
    let mut core = Core::start(&place, "127.0.0.1:0", &args);
    let n2 = core.n2.clone();
    let ran = place
        .command(&[
            "ran",
            "--n2",
            &n2,
            "--devices",
            "fleet.csv",
            "--rate",
            "100",
        ])
        .args(["--loss", "10%", "--seconds", "8", "--linger", "60"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    for round in 0..4 {
        std::thread::sleep(Duration::from_millis(fastrand::u64(700..1800)));
        core.kill();
        if round % 2 == 0 {
            drop(chf);
            core = Core::start(&place, &n2, &args);
            std::thread::sleep(Duration::from_millis(fastrand::u64(100..800)));
            chf = Chf::start(&place, &address, &troubles);
        } else {
            core = Core::start(&place, &n2, &args);
        }
    }
    ran.wait_with_output().unwrap();
    wait_for_all(&place);
    assert!(core.metric("ambit_chf_requests_total{outcome=\"taken\"}") > 0);
    assert!(core.terminate());
    assert!(check(&place) > 200);
}

#[test]
fn a_chf_that_is_down_raises_one_alarm_and_what_it_refused_is_told_and_sent_again() {
    let place = Place::new();
    place.import_fleet(10);
    let chf = Chf::start(&place, "127.0.0.1:0", &[]);
    let address = chf.address.clone();
    drop(chf);
    config(&place, &format!("http://{address}"), "");
    let core = Core::start(&place, "127.0.0.1:0", &["--config", "ambit.toml"]);
    place.ok(&[
        "ran",
        "--n2",
        &core.n2,
        "--devices",
        "fleet.csv",
        "--seconds",
        "2",
    ]);
    let of_kind = |kind: &str| place.json(&["event", "list", "--kind", kind, "--json"]);
    wait_until("the alarm", || {
        !of_kind("online_charging_halted").is_empty()
    });
    assert_eq!(
        of_kind("online_charging_halted")[0]["detail"]["error"],
        "chf_unreachable"
    );
    let alarms = place.json(&["alarm", "list", "--json"]);
    assert!(
        alarms
            .iter()
            .any(|alarm| alarm["kind"] == "online_charging_halted")
    );
    // It is back, and refuses everything at first.
    let chf = Chf::start(&place, &address, &["--refuse", "100%"]);
    wait_until("the refusals", || core.metric("ambit_chf_refused") > 0);
    wait_until("word of them", || {
        !of_kind("charging_event_refused").is_empty()
    });
    let told = of_kind("charging_event_refused");
    let reason = told[0]["detail"]["reason"].as_str().unwrap();
    assert!(reason.contains("QUOTA_LIMIT_REACHED"), "{reason}");
    assert!(core.terminate());
    drop(chf);
    // A core that starts asks again at once.
    let _chf = Chf::start(&place, &address, &[]);
    let core = Core::start(&place, "127.0.0.1:0", &["--config", "ambit.toml"]);
    wait_for_all(&place);
    wait_until("nothing waits", || core.metric("ambit_chf_refused") == 0);
    assert!(core.terminate());
    assert!(check(&place) > 0);
}

#[test]
fn with_tls_and_tokens_events_reach_the_chf_and_a_core_ends_in_order_though_it_does_not_answer() {
    let place = Place::new();
    place.ok(&["pki", "init", "pki"]);
    place.ok(&["pki", "issue", "pki", "chf", "CHF"]);
    place.import_fleet(10);
    let chf = Chf::start(&place, "127.0.0.1:0", &["--pki", "pki"]);
    config(
        &place,
        &format!("https://{}", chf.address),
        "\n[sbi]\nlisten = \"127.0.0.1:0\"\npki = \"pki\"\n",
    );
    let core = Core::start(&place, "127.0.0.1:0", &["--config", "ambit.toml"]);
    place.ok(&[
        "ran",
        "--n2",
        &core.n2,
        "--devices",
        "fleet.csv",
        "--seconds",
        "2",
    ]);
    wait_for_all(&place);
    drop(chf);
    place.ok(&[
        "ran",
        "--n2",
        &core.n2,
        "--devices",
        "fleet.csv",
        "--seconds",
        "1",
    ]);
    assert!(core.terminate());
}

/// Two cores on one database; one is gone for good before all of its events were sent.
#[test]
fn what_a_lost_core_left_unsent_is_sent_by_the_one_that_adopts_it() {
    let Some(server) = PostgresServer::start().unwrap() else {
        return;
    };
    let place = Place::with_store(&server.database("core").unwrap());
    place.import_fleet(40);
    let chf = Chf::start(&place, "127.0.0.1:0", &[]);
    let address = chf.address.clone();
    let configure = |more: &str| {
        let text =
            format!("kek_file = \"shared.kek\"\n[charging]\nchf = \"http://{address}\"\n{more}");
        place.write("ambit.toml", &text);
    };
    configure("");
    let start = |dir: &str| {
        let args = ["--config", "ambit.toml", "--data-dir", dir];
        Core::start(&place, "127.0.0.1:0", &args)
    };
    let (one, two) = (start("one"), start("two"));
    let ran = |core: &Core| {
        let args = [
            "ran",
            "--n2",
            &core.n2,
            "--devices",
            "fleet.csv",
            "--seconds",
            "2",
        ];
        place.ok(&args);
    };
    ran(&one);
    ran(&two);
    wait_for_all(&place);
    // What comes now reaches no CHF, and then there is no core and no directory.
    drop(chf);
    ran(&one);
    one.kill();
    let instance = std::fs::read_to_string(place.path("one/instance")).unwrap();
    std::fs::remove_dir_all(place.path("one")).unwrap();
    let unsent = || {
        let records = place.json(&["record", "list", "--json"]);
        let new = records.iter().filter(|record| record["repeat"] == false);
        new.count() - events(&place).len()
    };
    let _chf = Chf::start(&place, &address, &[]);
    assert!(unsent() > 0);
    assert!(two.terminate());
    configure(&format!("chf_adopt = [\"{}\"]\n", instance.trim()));
    let two = start("two");
    wait_for_all(&place);
    assert_eq!(unsent(), 0);
    assert!(two.terminate());
    let mut numbers = std::collections::BTreeSet::new();
    for requests in events(&place).values() {
        for request in requests {
            let name = &request["nfConsumerIdentification"]["nFName"];
            assert_eq!(name, &requests[0]["nfConsumerIdentification"]["nFName"]);
        }
        for again in &requests[1..] {
            assert_eq!(again["retransmissionIndicator"], true);
        }
        let name = requests[0]["nfConsumerIdentification"]["nFName"].to_string();
        let number = requests[0]["invocationSequenceNumber"].as_u64();
        assert!(numbers.insert((name, number)));
    }
}

#[test]
fn what_cannot_be_is_said_before_anything_is_served() {
    let place = Place::new();
    for (chf, more, field) in [
        ("nonsense", "", "charging.chf nonsense"),
        ("https://127.0.0.1:1", "", "sbi.pki"),
        (
            "http://127.0.0.1:1",
            "[sbi]\nlisten = \"127.0.0.1:0\"\n",
            "https://",
        ),
        (
            "http://127.0.0.1:1",
            "chf_after_record = -1\n",
            "charging.chf_after_record",
        ),
        (
            "http://127.0.0.1:1",
            "chf_adopt = [\"x\"]\n",
            "charging.chf_adopt",
        ),
        (
            "http://127.0.0.1:1",
            "chf_adopt = [\"00112233445566778899aabbccddeeff\"]\n",
            "store.url",
        ),
    ] {
        config(&place, chf, more);
        let args = [
            "serve",
            "--config",
            "ambit.toml",
            "--n2",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
        ];
        let message = place.fails(3, &args);
        assert!(message.contains(field), "{message}");
    }
    let message = place.fails(2, &["chf", "--fail", "200%"]);
    assert!(message.contains("percentage"), "{message}");
    let message = place.fails(4, &["chf", "--listen", "0.0.0.0:0"]);
    assert!(message.contains("loopback"), "{message}");
}
