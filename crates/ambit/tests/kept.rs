//! `ambit command ... --when-it-reports`: commands that wait for their devices, from the command line to the device and back.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // Helpers beside the tests.

mod common;

use std::process::{Child, Stdio};

use common::{Core, Place, wait_long, wait_until};
use serde_json::Value;

/// Ends the emulator with the test.
struct Ran(Child);

impl Ran {
    /// Devices that report about once a second each, over an air that loses so much each way.
    fn start(place: &Place, core: &Core, loss: &str) -> Self {
        let args = [
            "ran",
            "--n2",
            &core.n2,
            "--devices",
            "fleet.csv",
            "--seconds",
            "300",
            "--rate",
            "8",
            "--loss",
            loss,
            "--json",
        ];
        let child = place.command(&args).stdout(Stdio::null()).spawn().unwrap();
        Self(child)
    }
}

impl Drop for Ran {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn list(place: &Place) -> Vec<Value> {
    place.json(&["command", "list", "--all", "--json"])
}

#[test]
fn a_command_waits_for_its_device_and_its_end_is_listed() {
    let place = Place::new();
    place.import_fleet(8);
    // No core runs, and no device is there.
    let kept = |args: &[&str]| {
        let waits = ["--when-it-reports", "--json"];
        place.json(&[args, &waits[..]].concat())
    };
    let devices = ["--device", "00000000", "--device", "00000003"];
    let write = ["command", "write", "--offset", "2", "--data", "c01dcafe"];
    let written = kept(&[&write[..], &devices].concat());
    assert_eq!(written.len(), 2);
    assert_eq!(
        (&written[0]["state"], &written[0]["times_given"]),
        (&"kept".into(), &0.into())
    );
    kept(
        &[
            &["command", "read", "--offset", "2", "--length", "4"][..],
            &devices,
        ]
        .concat(),
    );
    kept(&[
        "command", "read", "--offset", "50", "--length", "96", "--device", "00000001",
    ]);
    let back = kept(&["command", "disable", "--device", "00000004"]);
    let id = back[0]["id"].to_string();
    place.ok(&["command", "withdraw", &id]);
    assert!(place.ok(&["command", "list"]).contains("00000001"));

    let core = Core::start(&place, "127.0.0.1:0", &[]);
    let ran = Ran::start(&place, &core, "10%");
    // Through the running core as well.
    kept(&[
        "command",
        "read",
        "--length",
        "1",
        "--device",
        "00000005",
        "--expires",
        "600",
    ]);
    let all_ended = || place.json(&["command", "list", "--json"]).is_empty();
    wait_long("what is read and written to end", all_ended);
    drop(ran);
    // Nothing is lost from here: a device whose last acknowledgement is lost three times over is silent and unsure for ever.
    kept(&["command", "disable", "--device", "00000002"]);
    let _ran = Ran::start(&place, &core, "0%");
    wait_until("the device to be disabled", all_ended);
    let rows = list(&place);
    assert_eq!(rows.len(), 8);
    for row in &rows {
        let device = row["device_id"].as_str().unwrap();
        let (state, failure, read) = match (device, row["kind"].as_str().unwrap()) {
            ("00000001", _) => ("failed", "parameters_invalid".into(), Value::Null),
            ("00000004", _) => ("withdrawn", Value::Null, Value::Null),
            ("00000005", _) => ("done", Value::Null, "ff".into()),
            (_, "read") => ("done", Value::Null, "c01dcafe".into()),
            _ => ("done", Value::Null, Value::Null),
        };
        assert_eq!(
            (&row["state"], &row["failure"], &row["read"]),
            (&state.into(), &failure, &read),
            "{row}"
        );
    }
    let shown = place.json(&["device", "show", "00000002", "--json"]);
    assert_eq!(shown[0]["disabled"], true);
    let shown = place.json(&["device", "show", "00000004", "--json"]);
    assert_eq!(shown[0]["disabled"], false);
    for (kind, count) in [
        ("command_kept", 8),
        ("kept_command_done", 6),
        ("kept_command_failed", 1),
        ("kept_command_withdrawn", 1),
        ("device_permanently_disabled", 1),
    ] {
        let events = place.json(&["event", "list", "--kind", kind, "--json"]);
        assert_eq!(events.len(), count, "{kind}");
    }
    assert!(core.terminate());
}

#[test]
fn what_cannot_be_kept_is_named_and_nothing_is() {
    let place = Place::new();
    place.import_fleet(2);
    let dt = "device_id,device_type,suite,form,key,tag_len,fleet\nab01,1,1,dt,00000000000000000000000000000001,8,f\n";
    place.write("dt.csv", dt);
    place.ok(&["device", "import", "dt.csv"]);
    place.ok(&["device", "disable", "00000001"]);
    let waits = "--when-it-reports";
    for (exit, args, expected) in [
        (
            2,
            &["command", "read", "--length", "4", waits][..],
            "--device",
        ),
        (
            2,
            &["command", "read", "--length", "4", "--all", waits],
            "--all",
        ),
        (
            2,
            &["command", "read", "--length", "4", "--filter", "00", waits],
            "--filter",
        ),
        (
            2,
            &[
                "command",
                "disable",
                "--device",
                "00000000",
                "--seconds",
                "3",
                waits,
            ],
            "--seconds",
        ),
        (
            2,
            &[
                "command",
                "disable",
                "--device",
                "00000000",
                "--expires",
                "3",
            ],
            waits,
        ),
        (
            3,
            &[
                "command", "read", "--length", "97", "--device", "00000000", waits,
            ],
            "length: must be 1 to 96",
        ),
        (
            3,
            &[
                "command", "read", "--length", "300", "--device", "00000000", waits,
            ],
            "length: must be 1 to 96",
        ),
        (
            3,
            &[
                "command", "write", "--data", "0", "--device", "00000000", waits,
            ],
            "data: ",
        ),
        (
            3,
            &[
                "command", "disable", "--device", "00000000", "--device", "nobody", waits,
            ],
            "no device nobody",
        ),
        (
            3,
            &[
                "command", "disable", "--device", "00000000", "--device", "ab01", waits,
            ],
            "only answers pages",
        ),
        (
            3,
            &["command", "disable", "--device", "00000001", waits],
            "is disabled",
        ),
        (
            3,
            &[
                "command",
                "disable",
                "--device",
                "00000000",
                "--expires",
                "0",
                waits,
            ],
            "lifetime_s: must be",
        ),
        (3, &["command", "withdraw", "7"], "there is no command 7"),
        (
            3,
            &["command", "list", "--device", "nobody"],
            "no device nobody",
        ),
    ] {
        let message = place.fails(exit, args);
        assert!(message.contains(expected), "{args:?}: {message}");
    }
    assert!(list(&place).is_empty());
}
