//! Several cores on one database. Passed over, with a word, where PostgreSQL is not installed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // Helpers beside the tests.

mod common;

use std::collections::HashMap;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ambit_lab::postgres::PostgresServer;
use common::{Core, Place, json_lines, wait_until};
use serde_json::Value;

/// A place on a new database of a server of its own.
fn place() -> Option<(PostgresServer, Place)> {
    let server = PostgresServer::start().unwrap()?;
    let url = server.database("core").unwrap();
    Some((server, Place::with_store(&url)))
}

/// A core with a data directory of its own.
fn start(place: &Place, dir: &str, n2: &str) -> Core {
    Core::start(place, n2, &["--data-dir", dir])
}

/// Readers with a part of the fleet.
fn ran(place: &Place, n2: &str, gnb: &str, devices: &str, seconds: &str) -> Child {
    ran_and_linger(place, n2, gnb, devices, [seconds, "60"])
}

/// The same, and how long they wait for their last answers.
fn ran_and_linger(
    place: &Place,
    n2: &str,
    gnb: &str,
    devices: &str,
    [seconds, linger]: [&str; 2],
) -> Child {
    let ledger = format!("ledger-{gnb}");
    let mut args = vec![
        "ran",
        "--n2",
        n2,
        "--gnb",
        gnb,
        "--devices",
        devices,
        "--loss",
        "10%",
    ];
    args.extend(["--rate", "100", "--seconds", seconds, "--linger", linger]);
    args.extend(["--ledger", &ledger, "--json"]);
    let mut command: Command = place.command(&args);
    command.stdout(Stdio::piped()).spawn().unwrap()
}

fn summary(ran: Child) -> Value {
    let output = ran.wait_with_output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The fleet's CSV in two halves.
fn halve(place: &Place) {
    let csv = std::fs::read_to_string(place.path("fleet.csv")).unwrap();
    let (header, lines) = csv.split_once('\n').unwrap();
    for half in 0..2 {
        let lines = lines.lines().enumerate().filter(|(n, _)| n % 2 == half);
        let lines: Vec<&str> = lines.map(|(_, line)| line).collect();
        place.write(
            &format!("half-{half}.csv"),
            &format!("{header}\n{}\n", lines.join("\n")),
        );
    }
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// What devices saw accepted is on record once and counted once, and nothing else is.
fn judge(place: &Place, ledgers: &[&str]) -> usize {
    let mut records: HashMap<(String, String), bool> = HashMap::new();
    for row in place.json(&["record", "list", "--json"]) {
        let text = |field: &str| row[field].as_str().unwrap().to_owned();
        let key = (text("device_id"), text("tag1"));
        let repeat = row["repeat"].as_bool().unwrap();
        assert!(
            records.insert(key, repeat).is_none(),
            "recorded twice: {row}"
        );
    }
    let (mut claimed, mut accepted) = (0, 0);
    for item in ledgers
        .iter()
        .flat_map(|ledger| json_lines(&place.path(ledger)))
    {
        let device = item["device_id"].as_str().unwrap();
        let tags = item["reports"].as_array().unwrap().iter();
        let of_item: Vec<bool> = tags
            .filter_map(|report| {
                let tag1 = report["tag1"].as_str().unwrap().to_owned();
                records.get(&(device.to_owned(), tag1)).copied()
            })
            .collect();
        claimed += of_item.len();
        let events = of_item.iter().filter(|repeat| !**repeat).count();
        if item["cause"] != 1 {
            assert!(events <= 1, "counted twice: {item}");
        }
        if item["fate"] == "accepted" {
            accepted += 1;
            assert!(events > 0, "seen accepted and not on record: {item}");
        }
    }
    assert_eq!(
        claimed,
        records.len(),
        "records of reports that nobody made"
    );
    let evidence = place.json(&["evidence", "verify", "--json"]);
    assert_eq!(evidence.last().unwrap()["verified"], true, "{evidence:?}");
    accepted
}

#[test]
fn cores_on_one_database_share_devices_epochs_and_records() {
    let Some((_server, place)) = place() else {
        return;
    };
    let one = start(&place, "one", "127.0.0.1:0");
    // Through a directory on which no core runs: the cores learn of it from the database.
    place.import_fleet(20);
    let two = start(&place, "two", "127.0.0.1:0");
    assert_eq!(one.metric("ambit_epoch"), two.metric("ambit_epoch"));
    wait_until("the import is known", || {
        one.metric("ambit_devices") == 20 && two.metric("ambit_devices") == 20
    });
    halve(&place);
    let rans = [
        ran(&place, &one.n2, "1", "half-0.csv", "4"),
        ran(&place, &two.n2, "2", "half-1.csv", "4"),
    ];
    for summary in rans.map(summary) {
        assert_eq!(
            (&summary["pending"], &summary["registered"]),
            (&0.into(), &10.into())
        );
    }
    assert!(judge(&place, &["ledger-1", "ledger-2"]) > 20);
    // Disabled through one core's directory, and silent at the other.
    place.ok(&["device", "disable", "00000001", "--data-dir", "one"]);
    let listed = place.json(&["device", "show", "00000001", "--json"]);
    assert_eq!(listed[0]["disabled"], true);
    // It lingers for the silent one to the end: on a busy machine the other nine may need most of it.
    let of_two = ran_and_linger(&place, &two.n2, "2", "half-1.csv", ["3", "10"]);
    assert_eq!(summary(of_two)["registered"], 9);
    assert!(one.terminate() && two.terminate());
}

#[test]
fn the_password_is_never_shown_and_a_database_that_is_not_there_is_named() {
    let port = free_address();
    let port = port.rsplit(':').next().unwrap();
    let url = format!("postgres://ambit:hush-hush@127.0.0.1:{port}/core");
    let place = Place::with_store(&url);
    for args in [
        &["record", "list"][..],
        &["device", "import", "no.csv"],
        &["serve"],
    ] {
        let output = place.run(args);
        let text = common::stderr(&output) + &String::from_utf8_lossy(&output.stdout);
        assert!(!text.contains("hush"), "{text}");
        assert_eq!(output.status.code(), Some(4), "{text}");
    }
    let message = place.fails(4, &["record", "list"]);
    assert!(
        message.contains(&format!("postgres://127.0.0.1:{port}/core")),
        "{message}"
    );
    let help = place.ok(&["serve", "--help"]);
    assert!(!help.contains("hush"), "{help}");
    let broken = place.write(
        "broken.toml",
        "[store]\nurl = \"postgres://a:hush-hush@h/d\n",
    );
    let message = place.fails(3, &["serve", "--config", broken.to_str().unwrap()]);
    assert!(
        message.contains("line 2") && !message.contains("hush"),
        "{message}"
    );
}

/// How long cores are killed. 20 seconds, unless the environment says otherwise.
fn seconds() -> u64 {
    let text = std::env::var("AMBIT_TEST_KILL_SECONDS");
    text.ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

/// Two cores, killed in turn; each time another process, with a data directory of its own, takes the place of the dead one.
/// In the middle the database is killed too.
#[test]
fn cores_killed_at_random_and_a_database_killed_once_lose_nothing_and_take_nothing_twice() {
    let Some((server, place)) = place() else {
        return;
    };
    place.import_fleet(200);
    halve(&place);
    let addresses = [free_address(), free_address()];
    let mut cores: Vec<Option<Core>> = Vec::new();
    for (n, n2) in addresses.iter().enumerate() {
        cores.push(Some(start(&place, &format!("core-{n}"), n2)));
    }
    let run = seconds().to_string();
    let rans = [
        ran(&place, &addresses[0], "1", "half-0.csv", &run),
        ran(&place, &addresses[1], "2", "half-1.csv", &run),
    ];
    let started = Instant::now();
    let (mut kills, mut longest) = (0, Duration::ZERO);
    let mut is_database_killed = false;
    while started.elapsed() < Duration::from_secs(seconds()) {
        std::thread::sleep(Duration::from_millis(fastrand::u64(1000..2500)));
        if !is_database_killed && started.elapsed() > Duration::from_secs(seconds() / 2) {
            is_database_killed = true;
            let at = Instant::now();
            server.crash().unwrap();
            server.restart().unwrap();
            for core in cores.iter().flatten() {
                wait_until("healthy again", || core.get("/health").0 == 200);
            }
            longest = longest.max(at.elapsed());
            println!(
                "database killed: cores healthy again after {:?}",
                at.elapsed()
            );
            continue;
        }
        let which = kills % 2;
        cores[which].take().unwrap().kill();
        kills += 1;
        // The directory of the dead one, or one that never was: then its devices meet a process that has not heard them.
        let dir = match kills % 3 {
            0 => format!("core-{which}"),
            _ => format!("core-{which}-{kills}"),
        };
        let at = Instant::now();
        cores[which] = Some(start(&place, &dir, &addresses[which]));
        longest = longest.max(at.elapsed());
    }
    for summary in rans.map(summary) {
        println!("{summary}");
        assert_eq!(summary["pending"], 0, "no operator was needed: {summary}");
        assert_eq!(summary["registered"], 100);
    }
    let accepted = judge(&place, &["ledger-1", "ledger-2"]);
    println!("{kills} cores killed, {accepted} items accepted, longest start {longest:?}");
    assert!(accepted > 500, "hardly anything happened");
    for core in cores.into_iter().flatten() {
        assert!(core.terminate());
    }
}
