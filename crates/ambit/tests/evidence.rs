//! The evidence as its users see it: an operator who verifies, an auditor who is shown one record, a meddler.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;

use common::{Core, Place};
use rusqlite::Connection;
use serde_json::Value;

/// A place whose core has accepted some reports, and ended.
/// A core, and readers that report to it for so many seconds.
fn with_records(config: &str, seconds: &str) -> Place {
    let place = Place::new();
    place.write("ambit.toml", config);
    place.import_fleet(40);
    let core = Core::start(&place, "127.0.0.1:0", &["--config", "ambit.toml"]);
    let n2 = core.n2.clone();
    place.ok(&[
        "ran",
        "--n2",
        &n2,
        "--devices",
        "fleet.csv",
        "--rate",
        "40",
        "--seconds",
        seconds,
    ]);
    assert!(core.terminate());
    place
}

fn last(rows: &[Value]) -> &Value {
    rows.last().unwrap()
}

#[test]
fn what_was_altered_is_found_and_located_and_what_was_signed_cannot_be_rewritten() {
    let place = with_records("", "4");
    let rows = place.json(&["evidence", "verify", "--json"]);
    let summary = last(&rows);
    assert_eq!(summary["verified"], true, "{rows:?}");
    let records = summary["records"].as_i64().unwrap();
    assert!(records >= 40, "{records}");
    assert_eq!(summary["signed_through"], records, "signed at the end");
    let key = summary["public_key"].as_str().unwrap().to_owned();
    place.write("exported", &place.ok(&["evidence", "export"]));
    place.ok(&[
        "evidence",
        "verify",
        "--key",
        &key,
        "--exported",
        "exported",
    ]);
    place.fails(1, &["evidence", "verify", "--key", &"ab".repeat(32)]);
    place.fails(3, &["evidence", "verify", "--key", "ab"]);

    let store = place.path("data").join("ambit.sqlite3");
    let pristine = fs::read(&store).unwrap();
    let meddle = |sql: &str| {
        fs::write(&store, &pristine).unwrap();
        Connection::open(&store)
            .unwrap()
            .execute_batch(sql)
            .unwrap();
        let output = place.run(&["evidence", "verify", "--json", "--exported", "exported"]);
        assert_eq!(output.status.code(), Some(1), "{sql}");
        let text = String::from_utf8(output.stdout).unwrap();
        serde_json::from_str::<Value>(text.lines().next().unwrap()).unwrap()
    };
    let fault = meddle("UPDATE record SET gnb_id = gnb_id + 1 WHERE id = 17");
    assert_eq!(
        (&fault["fault"], &fault["record"]),
        (&"record_altered".into(), &17.into())
    );
    let fault = meddle("DELETE FROM record WHERE id = 17");
    assert_eq!(
        (&fault["fault"], &fault["record"]),
        (&"records_missing".into(), &17.into())
    );
    // Without its checkpoints the shortened chain is whole in itself: what was exported tells.
    let fault = meddle("DELETE FROM record WHERE id > 20; DELETE FROM checkpoint");
    assert_eq!(fault["fault"], "not_as_signed");
    assert!(fault["record"].as_i64().unwrap() > 20);
}

#[test]
fn an_auditor_is_convinced_of_one_record_without_a_key() {
    let place = with_records("[network]\nepoch_s = 2\ngrace_s = 0\n", "7");
    let records = place.json(&["record", "list", "--json"]);
    let mut proofs = 0;
    for id in ["1", "2", "3", "4", "5", "6", "7", "8"] {
        let shown = place.ok(&["evidence", "show", id, "--json", "--config", "ambit.toml"]);
        place.write("shown", &shown);
        let checked = &place.json(&["evidence", "check", "shown", "--json"])[0];
        assert_eq!(
            (&checked["linked"], &checked["signed"]),
            (&true.into(), &true.into())
        );
        proofs += u32::from(checked["tag"] == true);
        assert_eq!(checked["record"], records[id.parse::<usize>().unwrap() - 1]);
        // Every key of the fleet stays unseen.
        for line in fs::read_to_string(place.path("fleet.csv"))
            .unwrap()
            .lines()
            .skip(1)
        {
            assert!(!shown.contains(line.split(',').nth(4).unwrap()));
        }
        let mut forged: Value = serde_json::from_str(&shown).unwrap();
        for (field, at) in [
            ("octets", 22),
            ("octets", 38),
            ("octets", 45),
            ("previous_link", 3),
        ] {
            let original = forged[field].clone();
            let mut octets = hex::decode(original.as_str().unwrap()).unwrap();
            octets[at] ^= 1;
            forged[field] = hex::encode(octets).into();
            place.write("forged", &forged.to_string());
            place.fails(1, &["evidence", "check", "forged"]);
            forged[field] = original;
        }
    }
    // An epoch is over when the one after the next has a record: the one before the current may be in its grace. How many of
    // the first records are that old hangs on when the run began.
    let epoch = |row: &Value| row["epoch"].as_u64().unwrap();
    let newest = records.iter().map(epoch).max().unwrap();
    let over = records.iter().take(8).filter(|row| epoch(row) + 1 < newest);
    let over = u32::try_from(over.count()).unwrap();
    assert!(proofs >= over.max(1), "{proofs} of {over}");
    place.fails(3, &["evidence", "show", "100000"]);
    place.write("nonsense", "{}");
    place.fails(3, &["evidence", "check", "nonsense"]);
}
