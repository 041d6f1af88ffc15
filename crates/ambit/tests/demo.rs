//! The demonstration ends well, prints what it should, and can be looked at afterwards.

mod common;

use common::Place;

#[test]
fn the_demo_accepts_every_honest_report_once_and_nothing_else() {
    let place = Place::new();
    let summary = &place.json(&[
        "demo",
        "--devices",
        "120",
        "--seconds",
        "10",
        "--seed",
        "7",
        "--keep",
        "kept",
        "--json",
    ])[0];
    let judgement = &summary["judgement"];
    assert_eq!(judgement["accepted_once"], judgement["items"]);
    assert_eq!(judgement["items"], 120 * 5);
    for form in summary["forms"].as_array().unwrap() {
        assert!(
            form["accepted_new"].as_u64() > Some(0),
            "every form occurs: {form}"
        );
    }
    let intruders = &summary["intruders"];
    for what in [
        "forged",
        "altered",
        "replayed",
        "false_beacons",
        "false_accepts",
    ] {
        assert!(intruders[what].as_u64() > Some(0), "{what}: {intruders}");
    }
    assert!(summary["sightings"].as_u64() > Some(0));
    // What is kept is an ordinary store.
    let records = place.json(&["record", "list", "--data-dir", "kept", "--json"]);
    assert!(records.len() >= 600);
    assert!(
        records
            .iter()
            .all(|row| row["data"].as_str().unwrap().len() == 4),
        "two octets of temperature"
    );
    assert!(
        place
            .fails(3, &["demo", "--keep", "kept"])
            .contains("holds a store already")
    );
}

#[test]
fn a_public_network_accepts_every_honest_report_of_devices_with_cards_once_and_nothing_else() {
    let place = Place::new();
    let args = ["demo", "--deployment", "public", "--devices", "96"];
    let more = ["--seconds", "10", "--seed", "7", "--keep", "kept", "--json"];
    let summary = &place.json(&[&args[..], &more].concat())[0];
    assert_eq!(summary["deployment"], "public");
    let judgement = &summary["judgement"];
    assert_eq!(judgement["accepted_once"], judgement["items"], "{summary}");
    assert_eq!(judgement["items"], 96 * 5);
    for form in summary["forms"].as_array().unwrap() {
        assert_ne!(form["form"], "blind");
        // Concealed and recovery come when a device needs them.
        if form["form"] != "recovery" {
            assert!(form["accepted_new"].as_u64() > Some(0), "{form}");
        }
    }
    let cards = &summary["cards"];
    let count = |name: &str| cards[name].as_u64().unwrap();
    assert_eq!(count("milenage") + count("tuak"), 96);
    for name in ["null_scheme", "profile_a", "profile_b"] {
        assert_eq!(count(name), 32, "{name}");
    }
    assert_eq!(count("on_card"), 32);
    // Every device registered with its card, and reported under the key that came of it.
    let kept = ["--data-dir", "kept", "--json"];
    let subscribers = place.json(&[&["subscriber", "list"], &kept[..]].concat());
    assert_eq!(subscribers.len(), 96);
    assert!(subscribers.iter().all(|row| row["registered"].is_string()));
    let records = place.json(&[&["record", "list"], &kept[..]].concat());
    for subscriber in &subscribers {
        let of_it = records
            .iter()
            .filter(|row| row["device_id"] == subscriber["device_id"]);
        let (aka, reports): (Vec<_>, Vec<_>) = of_it.partition(|row| row["form"] == "aka");
        assert!(!aka.is_empty() && reports.len() >= 4, "{subscriber}");
    }
    place.fails(2, &["demo", "--deployment", "secret"]);
}

#[test]
fn vectors_are_walked_and_a_wrong_one_is_told() {
    let place = Place::new();
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors/vectors");
    let results = place.json(&["vectors", shipped, "--json"]);
    assert_eq!(results.len(), 5);
    assert!(results.iter().all(|result| result["failed"] == 0));
    let text = std::fs::read_to_string(format!("{shipped}/chain.json")).unwrap();
    place.write("chain.json", &text.replacen("9ea3790d", "9ea3790e", 1));
    let message = place.fails(1, &["vectors", "."]);
    assert!(message.contains("1 cases failed"), "{message}");
    assert!(
        place
            .fails(3, &["vectors", "/dev"])
            .contains("holds none of")
    );
    // The design's own vectors, where they stand beside the checkout.
    let shared = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    if shared.exists() {
        place.ok(&["vectors", shared.to_str().unwrap()]);
    } else {
        eprintln!("skipped: no shared vectors beside this checkout");
    }
}
