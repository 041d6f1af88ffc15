//! Core and radio network as processes of their own: what devices saw accepted is on record exactly once, whatever dies.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // Helpers beside the tests.

mod common;

use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Core, Place, check_ledger, records};
use serde_json::Value;

/// How long the core is killed again and again. A minute, unless the environment says otherwise.
fn seconds() -> u64 {
    let text = std::env::var("AMBIT_TEST_KILL_SECONDS");
    text.ok().and_then(|text| text.parse().ok()).unwrap_or(60)
}

#[test]
fn every_report_seen_accepted_is_on_record_once_though_the_core_is_killed_again_and_again() {
    let place = Place::new();
    place.import_fleet(1000);
    let mut core = Core::start(&place, "127.0.0.1:0", &[]);
    let n2 = core.n2.clone();
    let run = seconds().to_string();
    let ran = place
        .command(&[
            "ran",
            "--n2",
            &n2,
            "--devices",
            "fleet.csv",
            "--loss",
            "10%",
            "--rate",
            "300",
        ])
        .args([
            "--seconds",
            &run,
            "--linger",
            "120",
            "--ledger",
            "ledger",
            "--json",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let mut kills = 0;
    while started.elapsed() < Duration::from_secs(seconds()) {
        std::thread::sleep(Duration::from_millis(fastrand::u64(1500..4000)));
        core.kill();
        kills += 1;
        core = Core::start(&place, &n2, &[]);
    }
    let output = ran.wait_with_output().unwrap();
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    println!("{kills} kills; {summary}");
    assert!(core.terminate());

    let accepted = check_ledger(&place);
    assert!(accepted > 1000, "hardly anything happened: {summary}");
    assert_eq!(summary["pending"], 0, "no operator was needed: {summary}");
    assert_eq!(summary["registered"], 1000);
    assert!(summary["reconnects"].as_u64() > Some(0));
}

#[test]
fn events_and_records_are_read_alike_with_and_without_a_core() {
    let place = Place::new();
    place.import_fleet(20);
    let core = Core::start(&place, "127.0.0.1:0", &[]);
    let n2 = core.n2.clone();
    place.ok(&[
        "ran",
        "--n2",
        &n2,
        "--devices",
        "fleet.csv",
        "--rate",
        "20",
        "--seconds",
        "4",
        "--json",
    ]);
    let lists: [&[&str]; 4] = [
        &["record", "list", "--json"],
        &["event", "list", "--json"],
        &["device", "list", "--json"],
        &["device", "export"],
    ];
    let with_core = lists.map(|args| place.ok(args));
    assert_eq!(
        core.metric("ambit_reports_total{outcome=\"impersonation_attempt\""),
        0
    );
    assert!(core.terminate());
    assert_eq!(lists.map(|args| place.ok(args)), with_core);

    let accepted = place
        .json(&["event", "list", "--kind", "report_accepted", "--json"])
        .len();
    let new = place.json(&["record", "list", "--json"]);
    assert_eq!(
        new.iter().filter(|row| row["repeat"] == false).count(),
        accepted
    );
    let one = place.json(&[
        "record", "list", "--device", "00000003", "--since", "1h", "--json",
    ]);
    assert!(!one.is_empty() && one.iter().all(|row| row["device_id"] == "00000003"));
    assert!(
        place
            .json(&[
                "record",
                "list",
                "--since",
                "2100-01-01T00:00:00Z",
                "--json"
            ])
            .is_empty()
    );
}

#[test]
fn a_disabled_device_is_met_with_silence_until_it_is_enabled() {
    let place = Place::new();
    place.import_fleet(1);
    let core = Core::start(&place, "127.0.0.1:0", &[]);
    let n2 = core.n2.clone();
    let ran = |seconds: &str| {
        let args = [
            "ran",
            "--n2",
            &n2,
            "--devices",
            "fleet.csv",
            "--rate",
            "5",
            "--seconds",
            seconds,
        ];
        let mut args = args.to_vec();
        args.extend(["--linger", "0", "--json"]);
        // With nothing accepted the emulator ends with 1, and says so.
        let output = place.run(&args);
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        let accepted = summary["accepted"].as_u64().unwrap();
        assert_eq!(output.status.code(), Some(i32::from(accepted == 0)));
        accepted
    };
    place.ok(&["device", "disable", "00000000"]);
    assert_eq!(ran("4"), 0);
    let events = place.json(&["event", "list", "--kind", "device_disabled", "--json"]);
    assert_eq!(events[0]["device_id"], "00000000");
    assert!(place.json(&["record", "list", "--json"]).is_empty());
    place.ok(&["device", "enable", "00000000"]);
    assert!(ran("4") > 0);
    assert!(core.terminate());
}

#[test]
fn a_store_rolled_back_to_an_earlier_copy_takes_the_devices_back() {
    let place = Place::new();
    place.import_fleet(40);
    let config = place.write("core.toml", "[network]\nepoch_s = 3\ngrace_s = 1\n");
    let config = config.to_str().unwrap();
    let ran = |n2: &str| {
        let args = [
            "ran",
            "--n2",
            n2,
            "--devices",
            "fleet.csv",
            "--rate",
            "40",
            "--seconds",
            "5",
        ];
        let mut args = args.to_vec();
        args.extend(["--config", config, "--linger", "20", "--json"]);
        place.json(&args).remove(0)
    };
    let core = Core::start(&place, "127.0.0.1:0", &["--config", config]);
    assert_eq!(ran(&core.n2)["pending"], 0);
    assert!(core.terminate());
    let copy = std::fs::read(place.path("data/ambit.sqlite3")).unwrap();

    let core = Core::start(&place, "127.0.0.1:0", &["--config", config]);
    assert_eq!(ran(&core.n2)["pending"], 0);
    assert!(core.terminate());
    let before = records(&place);
    std::fs::write(place.path("data/ambit.sqlite3"), copy).unwrap();

    let core = Core::start(&place, "127.0.0.1:0", &["--config", config]);
    let kept = records(&place);
    assert!(kept.len() < before.len());
    let summary = ran(&core.n2);
    assert_eq!(
        (&summary["pending"], &summary["registered"]),
        (&0.into(), &40.into())
    );
    assert!(core.terminate());
    // What was accepted between the copy and its return is gone from the store, and none of it was accepted again.
    let after = records(&place);
    let again = after
        .keys()
        .filter(|key| before.contains_key(*key) && !kept.contains_key(*key));
    assert_eq!(again.count(), 0);
}
