//! `ambit ran`: what its devices remember from run to run, and its packet capture.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // Helpers beside the tests.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ambit_ngap::{FromGnb, MessageKind, ToGnb};
use common::{Core, Place, wait_until};
use serde_json::Value;

/// Devices that run until they are told to stop.
fn start(place: &Place, core: &Core, args: &[&str]) -> Child {
    let all = ["ran", "--n2", &core.n2, "--devices", "fleet.csv", "--json"];
    let mut command = place.command(&[&all, args].concat());
    command.stdout(Stdio::piped()).spawn().unwrap()
}

/// SIGTERM; returns the summary.
fn stop(ran: Child) -> Value {
    let pid = ran.id().to_string();
    Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    let output = ran.wait_with_output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn accepted(core: &Core) -> u64 {
    let forms = ["beacon", "concealed", "counter", "recovery"];
    let of = |form: &&str| {
        let line = format!("ambit_reports_total{{outcome=\"accepted_new\",form=\"{form}\"}}");
        core.metric(&line)
    };
    forms.iter().map(of).sum()
}

#[test]
fn a_disabled_device_stays_silent_and_what_was_written_stays_there_from_run_to_run() {
    let place = Place::new();
    place.import_fleet(6);
    let core = Core::start(&place, "127.0.0.1:0", &[]);
    let ran = start(&place, &core, &["--rate", "5"]);
    wait_until("all devices", || accepted(&core) >= 12);
    let device = |id: &'static str| ["--device", id, "--when-it-reports"];
    let write = ["command", "write", "--offset", "3", "--data", "c01dcafe"];
    place.ok(&[&write[..], &device("00000001")].concat());
    place.ok(&[&["command", "disable"][..], &device("00000002")].concat());
    wait_until("the commands", || {
        place.json(&["command", "list", "--json"]).is_empty()
    });
    stop(ran);
    // The network would take its reports again.
    place.ok(&["device", "enable", "00000002"]);

    let read = ["command", "read", "--offset", "0", "--length", "8"];
    let kept = place.json(&[&read[..], &device("00000001"), &["--json"]].concat());
    for _ in 0..2 {
        let others = ["00000000", "00000001", "00000003", "00000004", "00000005"];
        let heard = hear(&place, &core, &["--rate", "10"], &others);
        assert!(!heard.contains("00000002"), "it is silent: {heard:?}");
    }
    let all = place.json(&["command", "list", "--all", "--json"]);
    let row = all.iter().find(|row| row["id"] == kept[0]["id"]).unwrap();
    assert_eq!(row["read"], "ffffffc01dcafeff", "{row}");

    // For control: with another memory it is another device, and speaks.
    let fresh = ["--rate", "10", "--state", "fresh.state"];
    hear(&place, &core, &fresh, &["00000002"]);
    assert!(core.terminate());
}

/// Runs devices until these have registered and all have reported for a while; returns who was heard.
fn hear(place: &Place, core: &Core, args: &[&str], wanted: &[&str]) -> BTreeSet<String> {
    let list = || place.json(&["record", "list", "--json"]);
    let before = list().len();
    let ran = start(place, core, args);
    let mut heard = BTreeSet::new();
    wait_until("reports", || {
        let records = list().split_off(before);
        let registered = records.iter().filter(|record| record["cause"] == 1);
        let id = |record: &Value| record["device_id"].as_str().unwrap().to_owned();
        heard = records.iter().map(id).collect();
        let registered: BTreeSet<String> = registered.map(id).collect();
        wanted.iter().all(|id| registered.contains(*id)) && records.len() >= 40
    });
    stop(ran);
    heard
}

#[test]
fn the_capture_of_ran_is_what_the_core_saw() {
    let place = Place::new();
    place.import_fleet(6);
    let core = Core::start(&place, "127.0.0.1:0", &["--n2-capture", "core.pcap"]);
    let ran = start(&place, &core, &["--rate", "20", "--capture", "ran.pcap"]);
    wait_until("reports", || accepted(&core) >= 30);
    stop(ran);
    wait_until("the gNB to go", || {
        core.get("/health").1.contains("\"gnbs\":0")
    });
    assert!(core.terminate());
    let [at_core, at_ran] = ["core.pcap", "ran.pcap"].map(|name| read(&place.path(name)));
    // What was on its way when it stopped, one of them has not seen.
    assert!(at_ran.up.starts_with(&at_core.up) && at_core.up.len() > 5);
    assert!(at_core.down.starts_with(&at_ran.down) && at_ran.down.len() > 30);
    let up = at_ran
        .up
        .iter()
        .map(|pdu| FromGnb::decode(pdu).unwrap().kind());
    let down = at_ran
        .down
        .iter()
        .map(|pdu| ToGnb::decode(pdu).unwrap().kind());
    let kinds: BTreeSet<&str> = up.chain(down).map(MessageKind::name).collect();
    for kind in [
        MessageKind::NgSetupRequest,
        MessageKind::NgSetupResponse,
        MessageKind::InventoryRequest,
        MessageKind::InventoryReport,
        MessageKind::CommandRequest,
    ] {
        assert!(kinds.contains(kind.name()), "{} in {kinds:?}", kind.name());
    }
    // No file is overwritten.
    let args = ["ran", "--n2", "127.0.0.1:1", "--devices", "fleet.csv"];
    let message = place.fails(4, &[&args[..], &["--capture", "ran.pcap"]].concat());
    assert!(message.contains("--capture: ran.pcap"), "{message}");
}

struct Capture {
    up: Vec<Vec<u8>>,
    down: Vec<Vec<u8>>,
}

/// One packet a PDU, as none of these is long.
fn read(path: &Path) -> Capture {
    let octets = fs::read(path).unwrap();
    let (mut up, mut down) = (Vec::new(), Vec::new());
    let mut rest = &octets[24..];
    while !rest.is_empty() {
        let len = u32::from_be_bytes(rest[8..12].try_into().unwrap()) as usize;
        let packet = &rest[16..16 + len];
        let chunk = &packet[32..];
        let octets = usize::from(u16::from_be_bytes([chunk[2], chunk[3]]));
        let pdu = chunk[16..octets].to_vec();
        // The core is 10.0.0.1.
        match packet[12..16] == [10, 0, 0, 1] {
            true => down.push(pdu),
            false => up.push(pdu),
        }
        rest = &rest[16 + len..];
    }
    Capture { up, down }
}
