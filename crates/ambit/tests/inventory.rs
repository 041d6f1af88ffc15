//! `ambit inventory` and `ambit command` against a core and readers, each a process of its own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // Helpers beside the tests.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ambit_ngap::{FromGnb, MessageKind, ToGnb};
use common::{Core, Place, wait_until};
use serde_json::Value;

/// Ends the emulator with the test.
struct Ran(Child);

impl Ran {
    fn start(place: &Place, core: &Core) -> Self {
        let args = [
            "ran",
            "--n2",
            &core.n2,
            "--devices",
            "fleet.csv",
            "--seconds",
            "300",
        ];
        let child = place
            .command(&args)
            .args(["--rate", "1", "--json"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("the gNB", || {
            core.metric("ambit_n2_total{event=\"ng_setup\"}") > 0
        });
        Self(child)
    }
}

impl Drop for Ran {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Devices of type 1, which only answer, and two that speak first.
fn import(place: &Place) {
    let mut csv = "device_id,device_type,suite,form,key,tag_len,fleet\n".to_owned();
    for n in 0..40u32 {
        let (kind, form) = if n < 38 {
            ("1", "dt")
        } else {
            ("2b", "concealed")
        };
        let key: u128 = fastrand::u128(..);
        csv += &format!(
            "ab{n:06x},{kind},{},{form},{key:032x},8,default\n",
            n % 3 + 1
        );
    }
    place.write("fleet.csv", &csv);
    place.ok(&["device", "import", "fleet.csv"]);
}

fn ids(rows: &[Value]) -> BTreeSet<String> {
    let ids = rows.iter().filter_map(|row| row["device_id"].as_str());
    ids.map(str::to_owned).collect()
}

#[test]
fn devices_are_found_read_written_and_disabled_from_the_command_line() {
    let place = Place::new();
    import(&place);
    let core = Core::start(&place, "127.0.0.1:0", &[]);
    let ran = Ran::start(&place, &core);

    // Whom the emulator has not powered yet answers the next time.
    let mut found = Vec::new();
    wait_until("all devices", || {
        let output = place.run(&["inventory", "--expect", "40", "--json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        found = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        ids(&found).len() == 40
    });
    let summary = &found.last().unwrap()["summary"];
    assert_eq!(
        (&summary["devices"], &summary["cause"]),
        (&40.into(), &Value::Null)
    );
    assert_eq!(found[0]["gnb_id"], 1);

    place.fails(1, &["inventory", "--filter", "abff"]);
    let group = place.json(&[
        "inventory",
        "--filter",
        "ab0000",
        "--area",
        "000001",
        "--json",
    ]);
    assert!((1..40).contains(&ids(&group).len()), "one area of three");
    let one = place.json(&["inventory", "--device", "ab000005", "--concealed", "--json"]);
    assert_eq!(ids(&one), BTreeSet::from(["ab000005".to_owned()]));

    let device = ["--device", "ab000005", "--json"];
    let with = |args: &[&'static str]| place.json(&[args, &device[..]].concat());
    let written = with(&["command", "write", "--offset", "4", "--data", "c01dcafe"]);
    assert_eq!(written[0]["failure"], Value::Null);
    let read = with(&["command", "read", "--offset", "4", "--length", "4"]);
    assert_eq!(read[0]["data"], "c01dcafe");
    let text = place.ok(&["command", "read", "--length", "6", "--device", "ab000027"]);
    assert!(
        text.contains("ab000027") && text.contains("ffffffffffff"),
        "{text}"
    );

    // A device says no.
    let args = ["command", "read", "--length", "64", "--device", "ab000005"];
    let message = place.fails(1, &args);
    assert!(
        message.contains("1 of the devices did not do it"),
        "{message}"
    );

    let disabled = with(&["command", "disable"]);
    assert_eq!(disabled[0]["failure"], Value::Null);
    let shown = place.json(&["device", "show", "ab000005", "--json"]);
    assert_eq!(shown[0]["disabled"], true);
    let events = place.json(&[
        "event",
        "list",
        "--kind",
        "device_permanently_disabled",
        "--json",
    ]);
    assert_eq!(events.len(), 1);
    let left = place.json(&["inventory", "--json"]);
    assert_eq!(ids(&left).len(), 39);
    let message = place.fails(1, &["inventory", "--device", "ab000005"]);
    assert!(message.contains("did not do it"), "{message}");

    // Nobody is there any more.
    drop(ran);
    wait_until("the gNB to go", || {
        core.get("/health").1.contains("\"gnbs\":0")
    });
    let message = place.fails(3, &["inventory"]);
    assert!(message.contains("no connected gNB"), "{message}");
    assert!(core.terminate());
}

#[test]
fn nobody_there_is_exit_code_1() {
    let place = Place::new();
    place.ok(&[
        "device",
        "add",
        "ab01",
        "--type",
        "1",
        "--keys-out",
        "keys.csv",
    ]);
    // The readers have other devices about them.
    import(&place);
    let core = Core::start(&place, "127.0.0.1:0", &[]);
    let _ran = Ran::start(&place, &core);
    let message = place.fails(1, &["inventory", "--device", "ab01", "--seconds", "3"]);
    assert!(message.contains("NO_SUCC_INV_RESP"), "{message}");
    let message = place.fails(1, &["command", "read", "--length", "1", "--device", "ab01"]);
    assert!(message.contains("nobody answered"), "{message}");
}

#[test]
fn what_cannot_be_asked_is_named() {
    let place = Place::new();
    let message = place.fails(4, &["inventory"]);
    assert!(message.contains("no core runs on it"), "{message}");
    import(&place);
    let core = Core::start(&place, "127.0.0.1:0", &[]);
    let _ran = Ran::start(&place, &core);
    for (exit, args, expected) in [
        (3, &["inventory", "--area", "1"][..], "--area: 1: must be"),
        (
            3,
            &["inventory", "--area", "00000z"],
            "--area: 00000z: must be",
        ),
        (
            3,
            &["inventory", "--area", "99f999f0000000000000000001"],
            "--area",
        ),
        (3, &["inventory", "--filter", "abc"], "filter: "),
        (
            3,
            &["inventory", "--expect", "0"],
            "expected: must be at least 1",
        ),
        (
            3,
            &["inventory", "--seconds", "0"],
            "timeout_s: must be 1 to 3600",
        ),
        (
            3,
            &["inventory", "--interval", "300"],
            "interval_s: must be 1 to 256",
        ),
        (3, &["inventory", "--device", "nobody"], "no device has"),
        (3, &["inventory", "--area", "00ffff"], "no connected gNB"),
        (
            2,
            &["inventory", "--all", "--device", "ab01"],
            "cannot be used",
        ),
        (2, &["command", "read", "--length", "4"], "--all"),
        (2, &["command", "read", "--device", "ab01"], "--length"),
        (
            3,
            &["command", "read", "--length", "5000", "--all"],
            "length: must be 1 to 4096",
        ),
        (3, &["command", "write", "--data", "xy", "--all"], "data: "),
        (
            3,
            &["command", "disable", "--filter", "ab"],
            "--device: must name",
        ),
    ] {
        let message = place.fails(exit, args);
        assert!(message.contains(expected), "{args:?}: {message}");
    }
}

/// Every message of a run with windows, reports, an inventory and commands is read by ours, by pycrate and by tshark, where
/// they are.
#[test]
fn the_capture_of_a_run_decodes_without_a_malformed_message() {
    let place = Place::new();
    import(&place);
    let core = Core::start(&place, "127.0.0.1:0", &["--n2-capture", "n2.pcap"]);
    let ran = Ran::start(&place, &core);
    wait_until("a report", || {
        core.metric("ambit_reports_total{outcome=\"accepted_new\"") > 0
    });
    wait_until("devices", || {
        let output = place.run(&["inventory", "--expect", "40", "--json"]);
        output.status.success()
    });
    place.run(&["inventory", "--filter", "ab0000"]);
    place.ok(&[
        "command",
        "write",
        "--data",
        "0102",
        "--device",
        "ab000001",
        "--concealed",
    ]);
    place.ok(&["command", "read", "--length", "8", "--filter", "ab0000"]);
    place.fails(
        1,
        &["command", "read", "--length", "99", "--device", "ab000001"],
    );
    place.ok(&["command", "disable", "--device", "ab000002"]);
    drop(ran);
    assert!(core.terminate());

    let path = place.path("n2.pcap");
    let message = place.fails(
        4,
        &["serve", "--n2", "127.0.0.1:0", "--n2-capture", "n2.pcap"],
    );
    assert!(
        message.contains("n2.pcap"),
        "no file is overwritten: {message}"
    );
    let pdus = pdus(&fs::read(&path).unwrap());
    let mut kinds = BTreeSet::new();
    for pdu in &pdus {
        let kind = match FromGnb::decode(pdu) {
            Ok(message) => message.kind(),
            Err(_) => ToGnb::decode(pdu).unwrap().kind(),
        };
        kinds.insert(kind.name());
    }
    for kind in [
        MessageKind::NgSetupRequest,
        MessageKind::NgSetupResponse,
        MessageKind::InventoryRequest,
        MessageKind::InventoryResponse,
        MessageKind::InventoryReport,
        MessageKind::CommandRequest,
        MessageKind::CommandResponse,
        MessageKind::CommandFailure,
        MessageKind::SessionReleaseCommand,
        MessageKind::SessionReleaseComplete,
    ] {
        assert!(kinds.contains(kind.name()), "{} in {kinds:?}", kind.name());
    }
    pycrate(&pdus);
    tshark(&path, pdus.len());
}

/// The PDUs of a capture: one packet each, as none of these is long.
fn pdus(capture: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &capture[24..];
    let mut pdus = Vec::new();
    while !rest.is_empty() {
        let len = u32::from_be_bytes(rest[8..12].try_into().unwrap()) as usize;
        let packet = &rest[16..16 + len];
        let chunk = &packet[32..];
        assert_eq!(chunk[1], 3, "in one piece");
        let octets = usize::from(u16::from_be_bytes([chunk[2], chunk[3]]));
        pdus.push(chunk[16..octets].to_vec());
        rest = &rest[16 + len..];
    }
    pdus
}

/// An independent decoder, compiled from the ASN.1 of TS 38.413: each PDU must decode, and encode to the same octets.
fn pycrate(pdus: &[Vec<u8>]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let asn1 = root.join("../shared/specs/NGAP-38413-v19.asn");
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let has_pycrate = Command::new(&python)
        .args(["-c", "import pycrate_asn1c"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !asn1.exists() || !has_pycrate {
        eprintln!(
            "skipped: pycrate (pip install pycrate) and {} are needed",
            asn1.display()
        );
        return;
    }
    let mut child = Command::new(&python)
        .arg(root.join("crates/ngap/tests/crosscheck.py"))
        .arg(&asn1)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let text: String = pdus
        .iter()
        .enumerate()
        .map(|(at, pdu)| {
            format!(
                "{at} {}\n",
                pdu.iter().map(|o| format!("{o:02x}")).collect::<String>()
            )
        })
        .collect();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert_eq!(text.matches("== ").count(), pdus.len());
    println!("pycrate read {} messages", pdus.len());
}

/// Wireshark's dissector: every packet is NGAP, none malformed. Versions that do not know the procedures of Release 19 show
/// their outer part only.
fn tshark(path: &Path, count: usize) {
    let fields = [
        "-T",
        "fields",
        "-e",
        "frame.protocols",
        "-e",
        "_ws.malformed",
    ];
    let output = Command::new("tshark")
        .arg("-r")
        .arg(path)
        .args(fields)
        .output();
    let Ok(output) = output else {
        eprintln!("skipped: tshark is needed");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.lines().count(), count);
    for line in text.lines() {
        assert!(
            line.contains("sctp:ngap") && !line.contains("Malformed"),
            "{line}"
        );
    }
    println!("tshark read {count} messages");
}
