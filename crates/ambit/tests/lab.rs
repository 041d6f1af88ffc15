//! `ambit lab` as a process.
#![allow(clippy::unwrap_used)] // Tests: a failure is a panic.

mod common;

use std::fs;

use common::Place;

#[test]
fn two_runs_of_an_attack_with_one_seed_give_the_same_report() {
    let place = Place::new();
    let run = |dir: &str, seed: &str| {
        let args = [
            "lab", "attack", "t02", "T20", "T18", "--json", "--seed", seed, "--report", dir,
        ];
        let rows = place.json(&args);
        let verdicts: Vec<_> = rows.iter().map(|row| row["verdict"].clone()).collect();
        assert_eq!(verdicts, ["holds", "holds", "holds"]);
        assert!(rows.iter().all(|row| row["control"].is_object()));
        (
            rows,
            fs::read_to_string(place.path(dir).join("attacks.html")).unwrap(),
        )
    };
    let (first, other) = (run("a", "7"), run("c", "8"));
    assert_eq!(first, run("b", "7"));
    assert_ne!(first.1, other.1);
    let page = first.1;
    assert!(page.starts_with("<!doctype html>") && page.contains("<svg "));
    // Nothing is loaded from anywhere.
    assert!(!page.contains("http") && !page.contains("<script"));
}

#[test]
fn an_unknown_threat_is_refused() {
    let message = Place::new().fails(3, &["lab", "attack", "T99"]);
    assert_eq!(message, "ambit: T99: no such threat (T01 to T25, or all)\n");
}

#[test]
fn without_verifpal_the_state_machines_run_and_the_rest_says_what_is_missing() {
    let place = Place::new();
    let args = ["lab", "models", "--verifpal", "no-such-program", "--json"];
    let output = place.run(&args);
    assert_eq!(output.status.code(), Some(4));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.lines()
            .any(|line| line.contains("\"found\":\"holds\""))
    );
    assert!(
        text.lines()
            .any(|line| line.contains("\"found\":\"not run\""))
    );
    assert!(common::stderr(&output).contains("cargo install verifpal"));
}
