//! One CDR for each new acceptance, and none otherwise, whatever stops in between.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use ambit_nef::charging::{Cdr, Charging, ChargingConfig, ChargingError};
use ambit_store::{SqliteStore, Store};
use common::{NOW_MS, Report, accept, add_devices, store};
use serde_json::Value;
use tempfile::TempDir;

fn config(dir: &Path) -> ChargingConfig {
    ChargingConfig {
        dir: dir.into(),
        file_octets_max: 1500,
        file_s_max: 3600,
        fleet_afs: HashMap::from([("pallets".into(), "af-1".into())]),
    }
}

/// Sixty records of four devices, every fifth a repeat, every seventh offered twice.
fn fill(store: &mut dyn Store) -> Vec<i64> {
    let mut charged = Vec::new();
    for n in 0..60 {
        let report = Report {
            device: n % 4 + 1,
            repeat: n % 5 == 4,
            time_ms: NOW_MS + n,
            ..Report::default()
        };
        accept(store, report, n.unsigned_abs());
        if n % 7 == 0 {
            accept(store, report, n.unsigned_abs());
        }
        if !report.repeat {
            charged.push(n + 1);
        }
    }
    charged
}

/// All CDRs in a directory, and whether each closed file is what it must be.
fn cdrs(dir: &Path) -> Vec<Cdr> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("cdr-"))
        .collect();
    names.sort();
    let mut all: Vec<Cdr> = Vec::new();
    for (at, name) in names.iter().enumerate() {
        assert!(
            name.starts_with(&format!("cdr-{:010}.", at + 1)),
            "{name}: no gap"
        );
        let text = fs::read_to_string(dir.join(name)).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        let here: Vec<Cdr> = lines
            .iter()
            .filter_map(|line| serde_json::from_value(line.clone()).ok())
            .collect();
        assert_eq!(lines[0]["file"], at + 1);
        if name.ends_with(".jsonl") {
            let tail = lines.last().unwrap();
            assert_eq!(tail["cdrs"], here.len(), "{tail}");
            assert_eq!(lines.len(), here.len() + 2);
        }
        all.extend(here);
    }
    let numbers: Vec<u64> = all.iter().map(|cdr| cdr.cdr).collect();
    assert_eq!(
        numbers,
        (1..=all.len() as u64).collect::<Vec<_>>(),
        "no gap"
    );
    all
}

fn charged(dir: &Path) -> Vec<i64> {
    cdrs(dir).iter().map(|cdr| cdr.record).collect()
}

fn run(dir: &Path, store: &mut dyn Store) -> Result<(), ChargingError> {
    let mut charging = Charging::open(config(dir))?;
    while charging.step(store, NOW_MS)? > 0 {}
    Ok(())
}

#[test]
fn one_cdr_for_each_new_acceptance_and_none_for_repeats_and_duplicates() {
    let dir = TempDir::new().unwrap();
    let mut store = store(4);
    let expected = fill(&mut store);
    run(dir.path(), &mut store).unwrap();
    assert_eq!(charged(dir.path()), expected);
    let cdr = &cdrs(dir.path())[0];
    assert_eq!(
        (cdr.fleet.as_str(), cdr.af.as_deref()),
        ("pallets", Some("af-1"))
    );
    assert_eq!((cdr.octets, cdr.cause, cdr.time_ms), (6, 2, NOW_MS));
    assert_eq!(cdr.device_id, hex::encode("d1"));
    let files = fs::read_dir(dir.path()).unwrap().count();
    assert!(files > 5, "files are closed when they are full: {files}");
    run(dir.path(), &mut store).unwrap();
    assert_eq!(charged(dir.path()), expected, "nothing again");
}

#[test]
fn a_file_is_closed_when_it_is_old_and_an_empty_one_is_never_made() {
    let dir = TempDir::new().unwrap();
    let mut store = store(1);
    let mut charging = Charging::open(config(dir.path())).unwrap();
    charging.step(&mut store, NOW_MS).unwrap();
    charging.step(&mut store, NOW_MS + 10_000_000).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    accept(&mut store, Report::default(), 1);
    charging.step(&mut store, NOW_MS).unwrap();
    charging.step(&mut store, NOW_MS + 3_599_999).unwrap();
    assert!(dir.path().join("cdr-0000000001.open").exists());
    charging.step(&mut store, NOW_MS + 3_600_000).unwrap();
    assert!(dir.path().join("cdr-0000000001.jsonl").exists());
}

/// Killed after any octet of what is written: as often as not in the middle of a line.
#[test]
fn a_kill_after_any_octet_loses_and_doubles_nothing() {
    let mut store = store(4);
    let expected = fill(&mut store);
    let whole = TempDir::new().unwrap();
    run(whole.path(), &mut store).unwrap();
    let open = fs::read_dir(whole.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|ending| ending == "open"))
        .unwrap();
    let text = fs::read(&open).unwrap();
    for len in 0..=text.len() {
        fs::write(&open, &text[..len]).unwrap();
        run(whole.path(), &mut store).unwrap();
        assert_eq!(charged(whole.path()), expected, "cut to {len} octets");
        assert_eq!(fs::read(&open).unwrap(), text, "cut to {len} octets");
    }
    // Zeros where the system had not yet written when the power went.
    let mut holes = text.clone();
    holes[text.len() / 2..].fill(0);
    fs::write(&open, &holes).unwrap();
    run(whole.path(), &mut store).unwrap();
    assert_eq!(charged(whole.path()), expected);
}

#[test]
fn a_kill_between_any_two_steps_of_closing_loses_and_doubles_nothing() {
    let mut store = store(4);
    let expected = fill(&mut store);
    for notes in [false, true] {
        let dir = TempDir::new().unwrap();
        run(dir.path(), &mut store).unwrap();
        let position = fs::read(dir.path().join("position.json")).unwrap();
        let mut charging = Charging::open(config(dir.path())).unwrap();
        charging.close("end", NOW_MS).unwrap();
        let number = charging.position().file;
        let closed = dir.path().join(format!("cdr-{number:010}.jsonl"));
        assert!(closed.exists());
        fs::rename(&closed, closed.with_extension("open")).unwrap();
        if !notes {
            fs::write(dir.path().join("position.json"), &position).unwrap();
        }
        run(dir.path(), &mut store).unwrap();
        assert!(closed.exists(), "closing was finished");
        assert_eq!(charged(dir.path()), expected);
    }
}

#[test]
fn closed_files_may_be_taken_away() {
    let dir = TempDir::new().unwrap();
    let mut store = store(4);
    fill(&mut store);
    let mut charging = Charging::open(config(dir.path())).unwrap();
    charging.step(&mut store, NOW_MS).unwrap();
    charging.close("end", NOW_MS).unwrap();
    let before = charging.position().clone();
    for entry in fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "jsonl") {
            fs::remove_file(path).unwrap();
        }
    }
    accept(&mut store, Report::default(), 1000);
    let mut charging = Charging::open(config(dir.path())).unwrap();
    charging.step(&mut store, NOW_MS).unwrap();
    let after = charging.position();
    assert_eq!((after.cdr, after.record), (before.cdr + 1, 61));
    // Without the note as well, nobody knows: that is said, and nothing is charged twice.
    fs::remove_file(dir.path().join("position.json")).unwrap();
    fs::write(dir.path().join("cdr-0000000001.jsonl"), "").unwrap();
    let error = Charging::open(config(dir.path())).unwrap_err();
    assert_eq!(error.name(), "charging_damaged", "{error}");
}

/// A copy of the store is put back, and goes on with records of its own.
#[test]
fn over_a_restored_store_charging_goes_on_behind_the_last_common_record() {
    let dir = TempDir::new().unwrap();
    let mut original = SqliteStore::in_memory().unwrap();
    add_devices(&mut original, 1);
    let mut copy = SqliteStore::in_memory().unwrap();
    add_devices(&mut copy, 1);
    for tag in 0..30 {
        accept(&mut original, Report::default(), tag);
        if tag < 20 {
            accept(&mut copy, Report::default(), tag);
        }
    }
    run(dir.path(), &mut original).unwrap();
    for tag in 100..115 {
        accept(&mut copy, Report::default(), tag);
    }
    run(dir.path(), &mut copy).unwrap();
    let expected: Vec<i64> = (1..=30).chain(21..=35).collect();
    assert_eq!(charged(dir.path()), expected);

    // Where the files that both agree on are gone, charging stops and says so.
    for entry in fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "jsonl") {
            fs::remove_file(path).unwrap();
        }
    }
    let error = run(dir.path(), &mut store(1)).unwrap_err();
    assert_eq!(error.name(), "charging_other_history", "{error}");
}
