//! Accounts of application functions, from the command line.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::{Core, Place};
use serde_json::{Value, json};

fn one(place: &Place, args: &[&str]) -> Value {
    let mut all = vec!["af"];
    all.extend(args);
    all.push("--json");
    place.json(&all).remove(0)
}

#[test]
fn an_af_is_added_changed_and_removed_beside_a_core_and_without_one() {
    let place = Place::new();
    place.import_fleet(3);
    let added = one(
        &place,
        &[
            "add",
            "warehouse",
            "--area",
            "000001",
            "--operation",
            "inventory",
            "--operation",
            "read",
            "--device",
            "pallet-1",
            "--filter",
            "abcd",
            "--fleet",
            "f0",
            "--receive",
            "data",
            "--cause",
            "periodic",
            "--cause",
            "5",
            "--rate",
            "3",
        ],
    );
    let secret = added["client_secret"].as_str().unwrap().to_owned();
    assert_eq!(secret.len(), 43);
    assert_eq!(added["areas"], json!(["00f110f00000000000000001"]));
    assert_eq!(added["operations"], json!(["INVENTORY", "READ"]));
    let devices =
        json!({ "ids": [hex::encode("pallet-1")], "filters": ["abcd"], "fleets": ["f0"] });
    assert_eq!(added["devices"], devices);
    assert_eq!(added["causes"], json!([2, 5]));
    assert_eq!(
        (&added["quota"]["rate"], &added["quota"]["burst"]),
        (&json!(3), &json!(20))
    );

    // Wherever it is changed, it is one account; and the secret is shown nowhere.
    let core = Core::start(&place, "127.0.0.1:0", &[]);
    let changed = one(
        &place,
        &["set", "warehouse", "--all-devices", "--burst", "7"],
    );
    assert_eq!(changed["devices"], "all");
    assert_eq!(
        (&changed["quota"]["rate"], &changed["quota"]["burst"]),
        (&json!(3), &json!(7))
    );
    assert_eq!(changed["operations"], added["operations"], "as it was");
    assert!(changed.get("client_secret").is_none());
    let renewed = one(&place, &["new-secret", "warehouse"]);
    assert_ne!(renewed["client_secret"], added["client_secret"]);
    assert_eq!(renewed["client_id"], added["client_id"]);
    let nothing = one(&place, &["add", "nothing"]);
    assert_eq!(nothing["operations"], json!([]));
    place.fails(3, &["af", "add", "nothing"]);
    assert!(core.terminate());

    let shown = place.ok(&["af", "show", "warehouse"]) + &place.ok(&["af", "list", "--json"]);
    assert!(
        shown.contains("warehouse") && shown.contains("nothing"),
        "{shown}"
    );
    for secret in [&secret, renewed["client_secret"].as_str().unwrap()] {
        assert!(!shown.contains(secret));
    }
    for (args, rule) in [
        (&["show", "nobody"][..], "nobody"),
        (&["set", "nobody", "--all-areas"], "nobody"),
        (&["remove", "nobody"], "nobody"),
        (&["new-secret", "nobody"], "nobody"),
        (&["add", "ware house"], "name: "),
        (&["add", "x", "--area", "1"], "--area: 1: "),
        (&["add", "x", "--cause", "often"], "--cause: often: "),
        (&["add", "x", "--cause", "16"], "causes: "),
        (&["add", "x", "--filter", "zz"], "devices.filters: "),
        (&["add", "x", "--rate", "0"], "quota.rate: "),
    ] {
        let mut all = vec!["af"];
        all.extend(args);
        let said = place.fails(3, &all);
        assert!(said.contains(rule), "{args:?}: {said}");
    }
    assert_eq!(
        place.json(&["af", "list", "--json"]).len(),
        2,
        "nothing half done"
    );
    place.ok(&["af", "remove", "nothing"]);
    assert_eq!(place.json(&["af", "list", "--json"]).len(), 1);
    let events = place.json(&["event", "list", "--json"]);
    for kind in ["af_added", "af_changed", "af_secret_changed", "af_removed"] {
        assert!(events.iter().any(|event| event["kind"] == kind), "{kind}");
    }
}
