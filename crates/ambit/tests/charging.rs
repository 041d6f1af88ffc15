//! Charging as a process: a core that is killed charges for every record once, and one that cannot write says so.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use common::{Core, Place, wait_until};
use serde_json::Value;

const CONFIG: &str = "[charging]\ndir = \"cdr\"\nfile_kib_max = 16\nfile_s_max = 2\n\n[[fleet]]\nname = \"f0\"\naf = \"af-zero\"\n";

/// Every CDR in the directory, files in their order, and the names of the files.
fn cdrs(place: &Place) -> (Vec<Value>, Vec<String>) {
    let mut names: Vec<String> = fs::read_dir(place.path("cdr"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("cdr-"))
        .collect();
    names.sort();
    let mut all = Vec::new();
    for name in &names {
        let text = fs::read_to_string(place.path("cdr").join(name)).unwrap();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        all.extend(lines.filter(|line| line.get("record").is_some()));
    }
    (all, names)
}

#[test]
fn every_record_is_charged_once_though_the_core_is_killed_again_and_again() {
    let place = Place::new();
    place.write("ambit.toml", CONFIG);
    place.import_fleet(200);
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
            "300",
        ])
        .args(["--loss", "10%", "--seconds", "8", "--linger", "60"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(fastrand::u64(700..1800)));
        core.kill();
        core = Core::start(&place, &n2, &args);
    }
    ran.wait_with_output().unwrap();
    assert!(core.terminate());

    let records = place.json(&["record", "list", "--json"]);
    let expected: Vec<&Value> = records
        .iter()
        .filter(|record| record["repeat"] == false)
        .collect();
    let (charged, names) = cdrs(&place);
    assert!(charged.len() > 500, "{}", charged.len());
    assert!(names.len() > 3, "{names:?}");
    assert_eq!(charged.len(), expected.len());
    for (at, (cdr, record)) in charged.iter().zip(expected).enumerate() {
        assert_eq!(cdr["cdr"], at + 1);
        assert_eq!(cdr["record"], record["id"]);
        assert_eq!(cdr["device_id"], record["device_id"]);
        assert_eq!(cdr["af"] == "af-zero", cdr["fleet"] == "f0");
    }
    let summary = place.json(&["evidence", "verify", "--json"]);
    assert_eq!(summary.last().unwrap()["verified"], true);
}

#[test]
fn charging_that_cannot_write_raises_an_alarm_and_goes_on_when_it_can() {
    let place = Place::new();
    place.write("ambit.toml", CONFIG);
    place.import_fleet(10);
    place.write("cdr", "in the way");
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
    let halted = || place.json(&["event", "list", "--kind", "charging_halted", "--json"]);
    wait_until("the alarm", || !halted().is_empty());
    assert_eq!(halted()[0]["detail"]["error"], "charging_io");
    fs::remove_file(place.path("cdr")).unwrap();
    let resumed = || place.json(&["event", "list", "--kind", "charging_resumed", "--json"]);
    wait_until("the end of the alarm", || !resumed().is_empty());
    assert_eq!(halted().len(), 1);
    assert!(core.terminate());
    let records = place.json(&["record", "list", "--json"]);
    let expected = records.iter().filter(|record| record["repeat"] == false);
    assert_eq!(cdrs(&place).0.len(), expected.count());
    place.write("bad.toml", "[charging]\ndir = \"cdr\"\nfile_s_max = 0\n");
    let message = place.fails(
        3,
        &[
            "serve",
            "--config",
            "bad.toml",
            "--n2",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
        ],
    );
    assert!(message.contains("charging.file_s_max"), "{message}");
}
