//! The documentation says what is so: every test that a promise names exists, every outcome and command is described.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use ambit_adm_api::Outcome;
use common::Place;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// All Rust sources below a directory, as one text.
fn sources(dir: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            text += &fs::read_to_string(&path).unwrap();
        }
    }
    text
}

#[test]
fn every_test_that_a_promise_names_exists() {
    let promises = read("docs/promises.md");
    let mut named = 0;
    for (place, part) in promises.split('`').enumerate() {
        // Odd parts stand between backticks.
        let Some((krate, test)) = part.split_once(": ").filter(|_| place % 2 == 1) else {
            continue;
        };
        if krate.contains(' ') {
            continue;
        }
        let dir = root().join("crates").join(krate);
        assert!(
            sources(&dir).contains(&format!("fn {test}(")),
            "{krate}: {test}"
        );
        named += 1;
    }
    assert!(named > 30, "{named}");
}

#[test]
fn every_outcome_is_described() {
    let events = read("docs/reference/events.md");
    for outcome in Outcome::ALL {
        assert!(
            events.contains(&format!("`{}`", outcome.name())),
            "{}",
            outcome.name()
        );
    }
}

#[test]
fn every_command_has_a_help_that_says_what_it_does_and_stands_in_the_reference() {
    let place = Place::new();
    let reference = read("docs/reference/cli.md");
    let help = place.ok(&["--help"]);
    for command in [
        "demo",
        "serve",
        "chf",
        "ran",
        "status",
        "inventory",
        "command",
        "device",
        "subscriber",
        "home-network-key",
        "uicc",
        "record",
        "event",
        "vectors",
        "lab",
        "bench",
        "evidence",
        "presence",
        "alarm",
        "subscription",
        "af",
        "watch",
    ] {
        assert!(help.contains(command));
        assert!(
            reference.contains(&format!("`ambit {command}")),
            "{command}"
        );
        assert!(
            place.ok(&[command, "--help"]).lines().count() > 5,
            "{command}"
        );
    }
}

#[test]
fn the_readme_s_commands_are_those_that_ci_runs() {
    let (readme, ci) = (read("README.md"), read(".ci/run"));
    let all = read("tests/all.sh");
    assert!(readme.contains("\ntests/all.sh\n") && ci.contains("\ntests/all.sh\n"));
    assert!(all.contains("\ncargo test --release --workspace "));
    assert!(readme.contains("cargo run --release -p ambit -- demo"));
}
