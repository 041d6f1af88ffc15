//! Presence and alarms as an operator sees them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::{Core, Place, wait_until};
use serde_json::Value;

const CONFIG: &str = "[presence]\ngrace_s = 1\n\n[[fleet]]\nname = \"f0\"\nreport_interval_s = 1\n";

/// T13: a device falls silent, whatever stands in its place: without its key nothing is accepted, and it is missed.
#[test]
fn t13_a_silent_device_is_missed_after_its_deadline_and_an_operator_acknowledges_it() {
    let place = Place::new();
    place.write("ambit.toml", CONFIG);
    place.import_fleet(6);
    let with = |args: &[&str]| {
        let mut all = args.to_vec();
        all.extend(["--json", "--config", "ambit.toml"]);
        place.json(&all)
    };
    assert!(
        with(&["presence", "list"])
            .iter()
            .all(|row| row["presence"] == "unknown")
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
    let missing = || -> Vec<Value> {
        let alarms = with(&["alarm", "list"]);
        alarms
            .into_iter()
            .filter(|alarm| alarm["kind"] == "missing")
            .collect()
    };
    // Three of the six are of the fleet that has an interval.
    wait_until("three alarms", || missing().len() == 3);
    let states = with(&["presence", "list"]);
    let absent: Vec<&Value> = states
        .iter()
        .filter(|row| row["presence"] == "absent")
        .collect();
    assert_eq!((states.len(), absent.len()), (6, 3), "{states:?}");
    assert!(absent.iter().all(|row| row["reason"] == "overdue"));

    let alarm = missing()[0].clone();
    let device = alarm["device_name"].as_str().unwrap();
    let history = with(&["presence", "show", device]);
    assert_eq!(history[0]["change"], "appeared");
    assert_eq!(history[history.len() - 2]["change"], "missing");
    assert_eq!(history[history.len() - 1]["presence"], "absent");

    let id = alarm["id"].to_string();
    place.ok(&["alarm", "ack", &id, "--by", "anna"]);
    assert_eq!(missing().len(), 2);
    let all = with(&["alarm", "list", "--all"]);
    assert!(
        all.iter()
            .any(|row| row["id"] == alarm["id"] && row["acked_by"] == "anna")
    );
    assert_eq!(
        place
            .json(&["event", "list", "--kind", "alarm_acknowledged", "--json"])
            .len(),
        1
    );
    place.fails(3, &["alarm", "ack", "999999"]);
    place.fails(3, &["presence", "show", "no-such-device"]);
    assert!(core.terminate());
}
