//! Cards and subscribers as their operators handle them: a batch is made, its file imported, its cards register; and what is
//! wrong is named and changes nothing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // Helpers beside the tests.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use common::{Core, Place};
use serde_json::Value;

const HEADER: &str = "device_id,device_type,suite,form,imsi,iccid,algorithm";

/// Line n of a batch: forms, suites and algorithms mixed.
fn line(n: u32) -> String {
    let form = ["beacon", "counter", "concealed"][n as usize % 3];
    let algorithm = ["milenage", "tuak", "tuak-2-16"][n as usize / 3 % 3];
    let suite = n % 3 + 1;
    format!("d{n},2b,{suite},{form},0010100000{n:05},89882110000000{n:05},{algorithm}\n")
}

fn batch(place: &Place, name: &str, numbers: std::ops::Range<u32>) {
    let lines: String = numbers.map(line).collect();
    place.write(name, &format!("{HEADER}\n{lines}"));
}

fn personalise(place: &Place, name: &str, more: &[&str]) {
    let (file, keys) = (format!("{name}.csv"), format!("{name}.keys"));
    let args = ["uicc", "personalise", &file, "--out", name];
    place.ok(&[&args, &["--transport-keys-out", &keys][..], more].concat());
}

fn import(place: &Place, name: &str) -> Vec<Value> {
    let (file, keys) = (format!("{name}/cards.csv"), format!("{name}.keys"));
    let import = ["subscriber", "import", &file, "--transport-keys", &keys];
    place.json(&[&import[..], &["--json"]].concat())
}

fn profile(place: &Place, path: &str) -> Value {
    let text = fs::read_to_string(place.path(path).join("profile.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn suci_key(place: &Place, profile: &str) -> String {
    let add = ["home-network-key", "add", "--profile", profile, "--json"];
    place.json(&add)[0]["suci_key"].as_str().unwrap().to_owned()
}

#[test]
fn cards_made_in_a_batch_register_in_a_public_network_and_report() {
    let place = Place::new();
    place.write(
        "public.toml",
        "[policy]\ndeployment = \"public\"\n[network]\nepoch_s = 5\n",
    );
    let (a, b) = (suci_key(&place, "a"), suci_key(&place, "b"));
    let schemes: [(&str, &[&str]); 4] = [
        ("null", &[]),
        ("device-a", &["--suci-key", &a]),
        ("device-b", &["--suci-key", &b, "--suci-key", &a]),
        ("card-b", &["--suci-key", &b, "--suci-on-card"]),
    ];
    place.ok(&["device", "list"]);
    let core = Core::start(&place, "127.0.0.1:0", &["--config", "public.toml"]);
    for (n, (name, more)) in (0u32..).zip(schemes) {
        batch(&place, &format!("{name}.csv"), n * 9..n * 9 + 9);
        personalise(&place, name, more);
        // Through the running core.
        assert_eq!(import(&place, name)[0]["imported"], 9);
        let cards = place.path(name).join("cards");
        fs::create_dir_all(place.path("all")).unwrap();
        for card in fs::read_dir(cards).unwrap() {
            let card = card.unwrap();
            fs::rename(card.path(), place.path("all").join(card.file_name())).unwrap();
        }
    }
    let args = ["ran", "--n2", &core.n2, "--cards", "all"];
    let more = ["--config", "public.toml", "--rate", "30", "--seconds", "8"];
    let rest = [
        "--loss", "5%", "--linger", "60", "--ledger", "ledger", "--json",
    ];
    let summary = &place.json(&[&args[..], &more, &rest].concat())[0];
    assert_eq!(summary["registered"], 36, "{summary}");
    assert_eq!(summary["pending"], 0, "{summary}");
    assert_eq!(summary["accepted"], summary["items"]);
    assert!(core.terminate());

    let records = place.json(&["record", "list", "--json"]);
    let forms = |form: &str| records.iter().filter(|row| row["form"] == form).count();
    for form in ["aka", "beacon", "counter", "concealed"] {
        assert!(forms(form) > 0, "{form}");
    }
    let events = records.iter().filter(|row| row["repeat"] == false);
    let items = events.filter(|row| row["cause"] != 1).count();
    let said = common::json_lines(&place.path("ledger"));
    let said = said.iter().filter(|item| item["cause"] != 1).count();
    assert_eq!(items, said, "each item once");
    let subscribers = place.json(&["subscriber", "list", "--json"]);
    assert_eq!(subscribers.len(), 36);
    for subscriber in &subscribers {
        assert!(subscriber["registered"].is_string(), "{subscriber}");
        assert_ne!(subscriber["sqn"], "000000000000");
    }
    // A second run goes on with the cards' memories: no resynchronisation, no operator.
    let core = Core::start(&place, "127.0.0.1:0", &["--config", "public.toml"]);
    let args = ["ran", "--n2", &core.n2, "--cards", "all"];
    // Longer than devices take to be powered, all of them.
    let more = ["--config", "public.toml", "--seconds", "4", "--json"];
    let summary = &place.json(&[&args[..], &more].concat())[0];
    assert_eq!(summary["registered"], 36, "{summary}");
    assert!(core.terminate());
}

/// K is in the cards' AIoT applications: no registration comes before the first report, and no K is in a device.
#[test]
fn cards_that_keep_k_report_in_a_public_network() {
    let place = Place::new();
    place.write(
        "public.toml",
        "[policy]\ndeployment = \"public\"\n[network]\nepoch_s = 5\n",
    );
    let lines: String = (0..9)
        .map(|n| format!("{},uicc-aiot\n", line(n).trim_end()))
        .collect();
    place.write("k.csv", &format!("{HEADER},credential\n{lines}"));
    personalise(&place, "k", &[]);
    let core = Core::start(&place, "127.0.0.1:0", &["--config", "public.toml"]);
    assert_eq!(import(&place, "k")[0]["imported"], 9);
    for _ in 0..2 {
        let args = ["ran", "--n2", &core.n2, "--cards", "k", "--loss", "5%"];
        let more = ["--config", "public.toml", "--rate", "20", "--seconds", "8"];
        let rest = ["--linger", "60", "--json"];
        let summary = &place.json(&[&args[..], &more, &rest].concat())[0];
        assert_eq!(summary["registered"], 9, "{summary}");
        assert_eq!(summary["pending"], 0, "{summary}");
        assert_eq!(summary["accepted"], summary["items"]);
    }
    assert!(core.terminate());
    let records = place.json(&["record", "list", "--json"]);
    let forms = |form: &str| records.iter().filter(|row| row["form"] == form).count();
    for form in ["beacon", "counter", "concealed"] {
        assert!(forms(form) > 0, "{form}");
    }
    assert_eq!(forms("aka"), 0);
    for device in place.json(&["device", "list", "--json"]) {
        assert_eq!(device["credential"], "uicc-aiot", "{device}");
    }
    assert!(place.json(&["subscriber", "list", "--json"]).is_empty());
    // Once more: nothing changes.
    let again = [
        "subscriber",
        "import",
        "k/cards.csv",
        "--transport-keys",
        "k.keys",
    ];
    assert!(
        place
            .fails(3, &again)
            .contains("line 2, column DEVICE_ID: d0 exists already")
    );
}

#[test]
fn a_batch_is_made_whole_or_not_at_all() {
    let place = Place::new();
    place.write(
        "bad.csv",
        &format!("{HEADER}\n{}d1,2b,1,dt,1,2,xor\n", line(0)),
    );
    let make = |file: &str, out: &str, keys: &[&str]| {
        let args = ["uicc", "personalise", file, "--out", out];
        place.fails(3, &[&args[..], keys].concat())
    };
    let message = make("bad.csv", "out", &["--transport-keys-out", "keys"]);
    assert!(message.contains("nothing was made"), "{message}");
    assert!(
        message.contains("line 3, column form: must not be dt"),
        "{message}"
    );
    batch(&place, "good.csv", 0..2);
    place.write("few.keys", "KI:000102030405060708090a0b0c0d0e0f\n");
    let message = make("good.csv", "out", &["--transport-keys", "few.keys"]);
    assert!(message.contains("none for column OPC"), "{message}");
    place.write("bad.keys", "KI:zz\n");
    let message = make("good.csv", "out", &["--transport-keys", "bad.keys"]);
    assert!(
        message.contains("bad.keys: line 1: KI: the key must be"),
        "{message}"
    );
    assert!(!place.path("out").exists() && !place.path("keys").exists());

    // A file stands where the directory should go, and keys that may be in use are not overwritten.
    fs::create_dir(place.path("taken")).unwrap();
    let message = make("good.csv", "taken", &["--transport-keys-out", "keys"]);
    assert!(message.contains("taken: is there already"), "{message}");
    let nowhere = ["uicc", "personalise", "good.csv", "--out", "no/where"];
    place.fails(
        4,
        &[&nowhere[..], &["--transport-keys-out", "keys"]].concat(),
    );
    assert!(!place.path("keys").exists(), "keys that nothing is under");
    place.write("keys", "mine");
    let out = ["uicc", "personalise", "good.csv", "--out", "out"];
    place.fails(4, &[&out[..], &["--transport-keys-out", "keys"]].concat());
    assert_eq!(fs::read_to_string(place.path("keys")).unwrap(), "mine");
    assert!(!place.path("out").exists());
    // clap's own: usage.
    place.fails(2, &out);
    place.fails(
        2,
        &[
            &out[..],
            &["--transport-keys-out", "k", "--suci-key", "1:00"],
        ]
        .concat(),
    );
    place.write("other.toml", "[network]\nmcc = \"262\"\nmnc = \"01\"\n");
    let elsewhere = ["--transport-keys-out", "k", "--config", "other.toml"];
    let message = make("good.csv", "out", &elsewhere);
    assert!(
        message.contains("line 2, column imsi: must begin with 26201"),
        "{message}"
    );
}

#[test]
fn what_is_made_is_its_owners_alone_and_opens_as_sim_tools_open_it() {
    let place = Place::new();
    batch(&place, "b.csv", 0..4);
    personalise(&place, "b", &[]);
    for (path, mode) in [
        ("b", 0o700),
        ("b.keys", 0o600),
        ("b/cards.csv", 0o600),
        ("b/cards", 0o700),
        ("b/cards/8988211000000000001", 0o700),
        ("b/cards/8988211000000000001/profile.json", 0o600),
    ] {
        let found = fs::metadata(place.path(path)).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "{path}");
    }
    let text = fs::read_to_string(place.path("b/cards.csv")).unwrap();
    let mut lines = text.lines();
    let columns: Vec<&str> = lines.next().unwrap().split(',').collect();
    let keys = fs::read_to_string(place.path("b.keys")).unwrap();
    let key = |column: &str| {
        let line = keys
            .lines()
            .find(|line| line.starts_with(&format!("{column}:")));
        line.unwrap().split_once(':').unwrap().1.to_owned()
    };
    let mut opened = 0;
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        let field = |column: &str| fields[columns.iter().position(|c| *c == column).unwrap()];
        let card = profile(&place, &format!("b/cards/{}", field("ICCID")));
        assert!(!text.contains(card["ki"].as_str().unwrap()));
        let is_tuak = field("ALGORITHM").starts_with("tuak");
        let opc = if is_tuak { "TOPC" } else { "OPC" };
        let hex_digits = |name: &str| hex::encode(card[name].as_str().unwrap());
        for (column, expected) in [
            ("KI", card["ki"].as_str().unwrap().to_owned()),
            (opc, card["opc"].as_str().unwrap().to_owned()),
            (
                "ADM1",
                card["adm1"].as_str().unwrap().to_owned() + &"ff".repeat(8),
            ),
            ("PUK1", hex_digits("puk1") + &"ff".repeat(8)),
            ("PIN1", hex_digits("pin1") + &"ff".repeat(12)),
        ] {
            let Some(value) = openssl(&key(column), field(column)) else {
                eprintln!("skipped: no openssl here");
                return;
            };
            assert_eq!(value, expected, "{column}");
            opened += 1;
        }
    }
    assert_eq!(opened, 4 * 5);
}

/// AES-256-CBC with pySim's initialisation vector, by another implementation.
fn openssl(key: &str, value: &str) -> Option<String> {
    let mut child = Command::new("openssl")
        .args(["enc", "-d", "-aes-256-cbc", "-nopad", "-K", key, "-iv"])
        .arg("23".repeat(16))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let octets = hex::decode(value).unwrap();
    child.stdin.take().unwrap().write_all(&octets).unwrap();
    Some(hex::encode(child.wait_with_output().unwrap().stdout))
}

#[test]
fn subscribers_are_imported_whole_or_not_at_all_and_shown_without_secrets() {
    let place = Place::new();
    batch(&place, "b.csv", 0..3);
    personalise(&place, "b", &[]);
    let card = profile(&place, "b/cards/8988211000000000000");
    // The keys of another batch; none; a file that is none; a column less.
    batch(&place, "c.csv", 3..5);
    personalise(&place, "c", &[]);
    let refused = |args: &[&str]| {
        let message = place.fails(3, &[&["subscriber", "import"], args].concat());
        assert!(!message.contains(card["ki"].as_str().unwrap()));
        message
    };
    let message = refused(&["b/cards.csv", "--transport-keys", "c.keys"]);
    assert!(
        message.contains("line 2, column KI: does not fit its check value"),
        "{message}"
    );
    assert!(refused(&["b/cards.csv"]).contains("under a transport key that is not given"));
    assert!(refused(&["b/cards.csv", "--transport-keys", "b.csv"]).contains("line 1"));
    let text = fs::read_to_string(place.path("b/cards.csv")).unwrap();
    place.write("less.csv", &text.replacen(",IMSI,", ",MSISDN,", 1));
    let message = refused(&["less.csv", "--transport-keys", "b.keys"]);
    assert!(
        message.contains("line 1, column IMSI: missing"),
        "{message}"
    );
    place.fails(4, &["subscriber", "import", "nowhere.csv"]);
    place.fails(4, &["subscriber", "list"]);

    // Without a core; then through one, where each kind of duplicate is named with its line.
    assert_eq!(import(&place, "b")[0]["imported"], 3);
    let core = Core::start(&place, "127.0.0.1:0", &[]);
    let message = refused(&["b/cards.csv", "--transport-keys", "b.keys"]);
    assert!(
        message.contains("line 2, column DEVICE_ID: d0 exists already"),
        "{message}"
    );
    place.write("same.csv", &text.replace("\nd", "\nx"));
    let message = refused(&["same.csv", "--transport-keys", "b.keys"]);
    assert!(
        message.contains("line 4, column IMSI: 001010000000002 exists already"),
        "{message}"
    );
    assert_eq!(place.json(&["subscriber", "list", "--json"]).len(), 3);
    assert_eq!(import(&place, "c")[0]["imported"], 2);
    let listed = place.ok(&["subscriber", "list", "--json"]);
    for name in ["001010000000001", "imsi-001010000000001", "d1"] {
        let shown = place.ok(&["subscriber", "show", name, "--json"]);
        assert_eq!(Some(shown.trim()), listed.lines().nth(1), "{name}");
    }
    for secret in ["ki", "opc", "pin1", "adm1"] {
        assert!(!listed.contains(card[secret].as_str().unwrap()), "{secret}");
    }
    for name in ["d9", "001010000000009", "imsi-1"] {
        let message = place.fails(3, &["subscriber", "show", name]);
        assert!(message.contains("neither an IMSI nor"), "{message}");
    }
    assert!(core.terminate());
    assert_eq!(place.ok(&["subscriber", "list", "--json"]), listed);
    // Secrets are wrapped: neither octets nor digits of them lie in the data directory.
    let ki = hex::decode(card["ki"].as_str().unwrap()).unwrap();
    for file in fs::read_dir(place.path("data")).unwrap() {
        let octets = fs::read(file.unwrap().path()).unwrap_or_default();
        assert!(!octets.windows(ki.len()).any(|window| window == ki));
    }
}

#[test]
fn a_public_network_bars_at_import_what_it_would_not_serve() {
    let place = Place::new();
    place.write("public.toml", "[policy]\ndeployment = \"public\"\n");
    place.write(
        "b.csv",
        &format!(
            "{HEADER}\n{}dx,2b,1,blind,001010000000077,8988211000000000077,\n",
            line(0)
        ),
    );
    personalise(&place, "b", &[]);
    let import = [
        "subscriber",
        "import",
        "b/cards.csv",
        "--transport-keys",
        "b.keys",
    ];
    let message = place.fails(3, &[&import[..], &["--config", "public.toml"]].concat());
    assert!(
        message.contains("line 3, column FORM: a public network does not take the blind form"),
        "{message}"
    );
    assert!(place.json(&["subscriber", "list", "--json"]).is_empty());
    place.ok(&import);
}

#[test]
fn home_network_keys_are_made_once_and_their_private_halves_stay() {
    let place = Place::new();
    place.fails(4, &["home-network-key", "list"]);
    assert!(!place.path("data").exists(), "looking makes nothing");
    let add = |more: &[&str]| {
        let args = ["home-network-key", "add", "--json", "--profile"];
        place.json(&[&args[..], more].concat())[0].clone()
    };
    let first = add(&["A", "--key-id", "1"]);
    assert_eq!(first["public_key"].as_str().unwrap().len(), 64);
    assert_eq!(add(&["b"])["key_id"], 0, "the lowest that is free");
    let core = Core::start(&place, "127.0.0.1:0", &[]);
    let third = add(&["b"]);
    assert_eq!(third["key_id"], 2);
    assert_eq!(third["public_key"].as_str().unwrap().len(), 66);
    let again = ["home-network-key", "add", "--profile", "b", "--key-id", "1"];
    assert!(place.fails(3, &again).contains("key_id: 1 is in use"));
    let listed = place.json(&["home-network-key", "list", "--json"]);
    assert_eq!(listed.len(), 3);
    assert_eq!((&listed[1], &listed[2]), (&first, &third));
    assert!(core.terminate());
    assert_eq!(place.json(&["home-network-key", "list", "--json"]), listed);
    place.fails(2, &["home-network-key", "add", "--profile", "c"]);
    place.fails(
        2,
        &[
            "home-network-key",
            "add",
            "--profile",
            "a",
            "--key-id",
            "256",
        ],
    );
}

/// `ambit uicc serve-pcsc`, and what it prints.
struct Server {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Server {
    fn start(place: &Place, card: &str, vpcd: &str) -> Self {
        let mut child = place
            .command(&["uicc", "serve-pcsc", card, "--vpcd", vpcd])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// SIGTERM; the messages, when it ended well.
    fn terminate(mut self) -> String {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(self.child.wait().unwrap().success());
        let mut text = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut text).unwrap();
        text
    }
}

/// A message to the card as vpcd sends it, and the answer.
fn ask(stream: &mut TcpStream, message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length, message].concat()).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut answer).unwrap();
    answer
}

#[test]
fn a_card_serves_a_virtual_reader_waits_for_it_and_ends_when_asked() {
    let place = Place::new();
    batch(&place, "b.csv", 0..2);
    personalise(&place, "b", &[]);
    let reader = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = reader.local_addr().unwrap().to_string();
    let card = "b/cards/8988211000000000001";
    let mut server = Server::start(&place, card, &address);
    let wrong_pin = [
        0x00, 0x20, 0x00, 0x81, 8, 0x39, 0x39, 0x39, 0x39, 0xFF, 0xFF, 0xFF, 0xFF,
    ];
    for tries_left in [2, 1] {
        let (mut stream, _) = reader.accept().unwrap();
        let ready = server.line();
        assert_eq!(ready["iccid"], "8988211000000000001");
        assert_eq!(ask(&mut stream, &[4]), ambit_uicc::card::ATR);
        let select = [0x00, 0xA4, 0x00, 0x0C, 0x02, 0x2F, 0xE2];
        assert_eq!(ask(&mut stream, &select), [0x90, 0x00]);
        let iccid = ask(&mut stream, &[0x00, 0xB0, 0x00, 0x00, 0x0A]);
        assert_eq!(hex::encode(iccid), "988812010000000000f19000");
        // The reader goes; the card comes back to it, and remembers.
        assert_eq!(ask(&mut stream, &wrong_pin), [0x63, 0xC0 + tries_left]);
    }
    // Taken: neither another server nor an emulated device may use the same memory.
    for other in [
        &["uicc", "serve-pcsc", card, "--vpcd", &address][..],
        &["ran", "--n2", "127.0.0.1:1", "--cards", "b"],
    ] {
        let message = place.fails(4, other);
        assert!(message.contains("in use by another process"), "{message}");
    }
    drop(reader);
    let said = server.terminate();
    assert!(said.contains("went away"), "{said}");
    // Nobody there: it says what is missing, and waits.
    let nobody = {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().to_string()
    };
    let server = Server::start(&place, card, &nobody);
    std::thread::sleep(std::time::Duration::from_millis(500));
    let said = server.terminate();
    assert!(said.contains("no virtual reader at") && said.contains("vsmartcard-vpcd"));
}

#[test]
fn a_card_that_is_not_whole_is_refused_and_named() {
    let place = Place::new();
    batch(&place, "b.csv", 0..2);
    personalise(&place, "b", &[]);
    let card = "b/cards/8988211000000000000";
    let file = format!("{card}/profile.json");
    let serve = ["uicc", "serve-pcsc", card, "--vpcd", "127.0.0.1:1"];
    let good = fs::read_to_string(place.path(&file)).unwrap();
    let ki = profile(&place, card)["ki"].as_str().unwrap().to_owned();
    for (from, to, expected) in [
        ("\"version\": 1", "\"version\": 2", "version: must be 1"),
        ("\"2b\"", "\"5\"", "device_type: must be 1, 2a, 2b or 2c"),
        ("\"001010", "\"00101x", "imsi:"),
        ("\"898821", "\"8988\", \"x\": \"21", "unknown field `x`"),
        (&ki, "00", "ki, opc: k: must be 16 octets"),
        (&ki, "zz", "ki: must be hexadecimal digits"),
        ("\"milenage\"", "\"xor\"", "algorithm: must be milenage"),
        (
            "\"suci\": null",
            "\"suci\": {\"routing_indicator\": \"0\", \"on_card\": false, \"keys\": [{\"key_id\": 1, \"public_key\": \"00\"}]}",
            "suci.keys: must be public keys",
        ),
        ("{", "", "profile.json"),
    ] {
        assert!(good.contains(from), "{from}");
        fs::write(place.path(&file), good.replacen(from, to, 1)).unwrap();
        let message = place.fails(3, &serve);
        assert!(message.contains(expected), "{message}");
        assert!(!message.contains(&ki));
    }
    fs::write(place.path(&file), &good).unwrap();
    let mode = |mode| fs::set_permissions(place.path(&file), fs::Permissions::from_mode(mode));
    mode(0o644).unwrap();
    assert!(place.fails(4, &serve).contains("has mode 644"));
    mode(0o600).unwrap();
    let memory = place.path(card).join("memory");
    fs::create_dir(&memory).unwrap();
    fs::write(memory.join("sqn"), [0; 7]).unwrap();
    assert!(place.fails(4, &serve).contains("is not of this card"));
    assert!(
        place
            .fails(3, &["uicc", "serve-pcsc", "b"])
            .contains("holds several cards")
    );
    for nothing in ["b.csv", "nowhere"] {
        place.fails(4, &["uicc", "serve-pcsc", nothing]);
    }
    fs::create_dir(place.path("empty")).unwrap();
    let ran = ["ran", "--n2", "127.0.0.1:1", "--cards", "empty"];
    assert!(place.fails(3, &ran).contains("holds no card"));
    place.write("other.toml", "[network]\nmcc = \"262\"\nmnc = \"01\"\n");
    let ran = [
        "ran",
        "--n2",
        "127.0.0.1:1",
        "--cards",
        "b",
        "--config",
        "other.toml",
    ];
    assert!(place.fails(3, &ran).contains("imsi: is of 001"));
    place.fails(2, &["ran", "--n2", "127.0.0.1:1"]);
}
