//! Every wrong input is met with an error that names the field and the rule, and nothing is half-written.

mod common;

use std::fs::{self, Permissions};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use common::{Core, Place, wait_until};
use serde_json::Value;

const HEADER: &str = "device_id,device_type,suite,form,key,tag_len,fleet\n";
const KEY: &str = "00112233445566778899aabbccddeeff";

#[test]
fn a_csv_is_imported_whole_or_not_at_all() {
    let place = Place::new();
    let good = format!("01,2b,1,beacon,{KEY},8,a\n");
    place.write(
        "good.csv",
        &format!("{HEADER}{good}02,2a,2,counter,{KEY},4,a\n"),
    );
    place.write(
        "bad.csv",
        &format!(
            "{HEADER}03,2b,1,beacon,{KEY},8,a\n04,2b,9,beacon,{KEY},8,a\n05,1,1,beacon,{KEY},8,a\n"
        ),
    );
    let message = place.fails(3, &["device", "import", "bad.csv"]);
    assert!(message.contains("nothing was imported"), "{message}");
    assert!(
        message.contains("line 3, column suite: must be 1, 2 or 3"),
        "{message}"
    );
    assert!(
        message.contains("line 4, column form: device type 1 only answers"),
        "{message}"
    );
    assert!(!message.contains(KEY));

    place.ok(&["device", "import", "good.csv"]);
    assert_eq!(place.json(&["device", "list", "--json"]).len(), 2);
    place.write(
        "again.csv",
        &format!("{HEADER}06,2b,1,beacon,{KEY},8,a\n{good}"),
    );
    let message = place.fails(3, &["device", "import", "again.csv"]);
    assert!(
        message.contains("line 3, column device_id: 01 exists already"),
        "{message}"
    );
    assert_eq!(
        place.json(&["device", "list", "--json"]).len(),
        2,
        "06 must not be there"
    );
    place.fails(4, &["device", "import", "nowhere.csv"]);
}

#[test]
fn generated_keys_go_to_a_new_file_of_the_owner_alone() {
    let place = Place::new();
    place.write("d.csv", "device_id,device_type\n0a,2b\n0b,2b\n");
    assert!(
        place
            .fails(3, &["device", "import", "d.csv"])
            .contains("--keys-out")
    );
    let text = place.ok(&["device", "import", "d.csv", "--keys-out", "keys.csv"]);
    let keys = fs::read_to_string(place.path("keys.csv")).unwrap();
    assert_eq!(keys.lines().count(), 3);
    assert_eq!(
        fs::metadata(place.path("keys.csv"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    let key = keys.lines().nth(1).unwrap().split(',').nth(4).unwrap();
    assert_eq!(key.len(), 32);
    assert!(!text.contains(key));
    assert!(!place.ok(&["device", "export"]).contains(key));
    let message = place.fails(4, &["device", "rotate-key", "0a", "--keys-out", "keys.csv"]);
    assert!(message.contains("exists"), "never overwritten: {message}");
    assert_eq!(fs::read_to_string(place.path("keys.csv")).unwrap(), keys);
    assert!(
        place
            .fails(3, &["device", "rotate-key", "0c", "--keys-out", "k2.csv"])
            .contains("no device 0c")
    );
    assert!(!place.path("k2.csv").exists(), "no empty key file is left");
    place.ok(&["device", "rotate-key", "0a", "--keys-out", "k2.csv"]);
    assert_ne!(
        fs::read_to_string(place.path("k2.csv"))
            .unwrap()
            .lines()
            .nth(1),
        keys.lines().nth(1)
    );
}

/// The core goes away between doing an import and saying so: whoever asked cannot know, and must not lose the keys.
#[test]
fn keys_are_kept_when_the_answer_to_an_import_is_lost() {
    let place = Place::new();
    place.write("d.csv", "device_id,device_type\n0a,2b\n");
    fs::create_dir(place.path("data")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(place.path("data/admin.sock")).unwrap();
    let core = std::thread::spawn(move || {
        let (stream, _) = socket.accept().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stream), &mut line).unwrap();
        line
    });
    let message = place.fails(4, &["device", "import", "d.csv", "--keys-out", "keys.csv"]);
    assert!(message.contains("generated keys are kept"), "{message}");
    let asked = core.join().unwrap();
    let keys = fs::read_to_string(place.path("keys.csv")).unwrap();
    let key = keys.lines().nth(1).unwrap().split(',').nth(4).unwrap();
    assert!(key.len() == 32 && asked.contains(key));
}

/// `ambit ... | head -1` ends quietly.
#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let place = Place::new();
    place.import_fleet(3000);
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors/vectors");
    for args in [
        &["device", "export"][..],
        &["device", "list"],
        &["event", "list"],
        &["vectors", shipped],
    ] {
        let mut child = place
            .command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let message = common::stderr(&output);
        assert!(
            output.status.success() && message.is_empty(),
            "{args:?}: {message}"
        );
    }
}

#[test]
fn a_kek_that_does_not_fit_is_refused_and_no_second_one_is_made() {
    let place = Place::new();
    place.import_fleet(2);
    let kek = place.path("data.kek");
    let own = fs::read(&kek).unwrap();
    assert_eq!(
        fs::metadata(&kek).unwrap().permissions().mode() & 0o777,
        0o600
    );

    fs::write(&kek, "ab".repeat(32)).unwrap();
    assert!(
        place
            .fails(4, &["device", "disable", "00000000"])
            .contains("does not fit this store")
    );
    fs::write(&kek, "not a key").unwrap();
    assert!(
        place
            .fails(
                4,
                &["serve", "--n2", "127.0.0.1:0", "--http", "127.0.0.1:0"]
            )
            .contains("64 hexadecimal digits")
    );
    fs::write(&kek, &own).unwrap();
    fs::set_permissions(&kek, Permissions::from_mode(0o644)).unwrap();
    assert!(
        place
            .fails(4, &["device", "disable", "00000000"])
            .contains("0600")
    );
    fs::remove_file(&kek).unwrap();
    assert!(
        place
            .fails(4, &["device", "disable", "00000000"])
            .contains("is missing")
    );
    assert!(!kek.exists());
    fs::write(&kek, &own).unwrap();
    fs::set_permissions(&kek, Permissions::from_mode(0o600)).unwrap();
    place.ok(&["device", "disable", "00000000"]);
}

#[test]
fn no_key_can_be_read_from_a_stolen_data_directory() {
    let place = Place::new();
    place.write("d.csv", &format!("{HEADER}01,2b,1,beacon,{KEY},8,a\n"));
    place.ok(&["device", "import", "d.csv"]);
    let key: Vec<u8> = (0..16).map(|i| i * 0x11).collect();
    let holds = |octets: &[u8]| {
        octets.windows(16).any(|w| w == key)
            || octets
                .windows(32)
                .any(|w| w.eq_ignore_ascii_case(KEY.as_bytes()))
    };
    // The control: the operator's own file holds it.
    assert!(holds(&fs::read(place.path("d.csv")).unwrap()));
    for entry in fs::read_dir(place.path("data")).unwrap() {
        assert!(!holds(&fs::read(entry.unwrap().path()).unwrap()));
    }
}

#[test]
fn a_store_of_a_newer_version_or_another_application_is_left_alone() {
    let place = Place::new();
    place.import_fleet(1);
    let file = place.path("data/ambit.sqlite3");
    let mut octets = fs::read(&file).unwrap();
    // user_version, big-endian at offset 60 of the SQLite header.
    octets[60..64].copy_from_slice(&99u32.to_be_bytes());
    fs::write(&file, &octets).unwrap();
    let message = place.fails(
        4,
        &["serve", "--n2", "127.0.0.1:0", "--http", "127.0.0.1:0"],
    );
    assert!(message.contains("99"), "{message}");
    assert_eq!(fs::read(&file).unwrap(), octets);
    fs::write(&file, "hello, I am a text file and no database at all").unwrap();
    assert!(place.fails(4, &["record", "list"]).contains("SQLite"));
}

#[test]
fn addresses_and_directories_in_use_are_named() {
    let place = Place::new();
    let core = Core::start(&place, "127.0.0.1:0", &[]);
    let message = place.fails(4, &["serve", "--n2", &core.n2, "--http", "127.0.0.1:0"]);
    assert!(message.contains(&core.n2), "{message}");
    let message = place.fails(
        4,
        &["serve", "--n2", "127.0.0.1:0", "--http", "127.0.0.1:0"],
    );
    assert!(message.contains("in use by another process"), "{message}");
    assert!(core.terminate());
    assert!(!place.path("data/admin.sock").exists());
}

#[test]
fn configuration_errors_name_file_field_and_rule() {
    let place = Place::new();
    for (text, expected) in [
        ("[network]\nmcc = \"1\"\n", "mcc: must be 3 decimal digits"),
        (
            "[network]\nnid = \"123\"\n",
            "nid: must be 11 hexadecimal digits",
        ),
        ("[network]\nepoch_s = 0\n", "epoch_s: must be at least 1"),
        (
            "[network]\nepoch_s = 10\ngrace_s = 10\n",
            "grace_s: must be shorter than epoch_s",
        ),
        ("[netwerk]\n", "netwerk"),
        (
            "[[reader]]\ngnb = 1\nreader = 1\narea = \"1\"\n",
            "area code: must be 6 hexadecimal digits",
        ),
        ("[n2]\nlisten = \"here\"\n", "listen"),
    ] {
        let file = place.write("c.toml", text);
        let args = [
            "serve",
            "--n2",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--config",
            file.to_str().unwrap(),
        ];
        let message = place.fails(3, &args);
        assert!(message.contains(expected), "{message}");
    }
    place.fails(4, &["serve", "--config", "nowhere.toml"]);
    place.import_fleet(1);
    let none = [
        "ran",
        "--n2",
        "127.0.0.1:1",
        "--devices",
        "fleet.csv",
        "--seconds",
        "1",
        "--linger",
        "0",
    ];
    assert!(place.fails(4, &none).contains("--n2: no connection"));
    assert!(
        place
            .fails(3, &["event", "list", "--kind", "bogus"])
            .contains("impersonation_attempt")
    );
    place.fails(2, &["serve", "--n2", "nonsense"]);
    place.fails(2, &["nonsense"]);
}

#[test]
fn junk_on_n2_and_http_is_counted_and_harms_nobody() {
    let place = Place::new();
    place.import_fleet(10);
    let mut core = Core::start(&place, "127.0.0.1:0", &[]);
    let mut rng = fastrand::Rng::with_seed(7);
    for round in 0..200u32 {
        let mut junk = vec![0; rng.usize(..300)];
        rng.fill(&mut junk);
        let mut stream = TcpStream::connect(&core.n2).unwrap();
        // Half of it framed well, so that it gets to the decoder.
        if round % 2 == 0 {
            let _ = stream.write_all(&u32::try_from(junk.len()).unwrap().to_be_bytes());
        }
        let _ = stream.write_all(&junk);
        let mut stream = TcpStream::connect(&core.http).unwrap();
        let _ = stream.write_all(&junk);
    }
    wait_until("junk is counted", || core.metric("ambit_n2_total") > 0);
    let n2 = core.n2.clone();
    let summary = place.json(&[
        "ran",
        "--n2",
        &n2,
        "--devices",
        "fleet.csv",
        "--rate",
        "10",
        "--seconds",
        "4",
        "--json",
    ]);
    assert_eq!(summary[0]["registered"], 10);
    assert_eq!(core.get("/health").0, 200);
    assert_eq!(core.get("/nowhere").0, 404);
    assert!(core.is_running());
    assert!(core.terminate());
}

/// A file system of 8 MiB, in a mount namespace of the test's own. Where mounting is not allowed the test says so and ends.
#[test]
fn a_full_disk_stops_acceptance_and_nothing_else() {
    let place = Place::new();
    place.import_fleet(200);
    fs::create_dir(place.path("small")).unwrap();
    let script = r#"
        mount -t tmpfs -o size=8m tmpfs small || exit 77
        cp -a data/. small/ && cp data.kek small.kek
        "$AMBIT" serve --data-dir small --n2 127.0.0.1:0 --http 127.0.0.1:0 > ready &
        core=$!
        for i in $(seq 100); do [ -s ready ] && break; sleep 0.1; done
        n2=$(sed 's/.*"n2":"\([^"]*\)".*/\1/' ready)
        http=$(sed 's/.*"http":"\([^"]*\)".*/\1/' ready)
        "$AMBIT" ran --n2 $n2 --devices fleet.csv --rate 200 --seconds 4 --json > first || exit 1
        dd if=/dev/zero of=small/ballast bs=4096 2>/dev/null
        "$AMBIT" ran --n2 $n2 --devices fleet.csv --rate 2000 --seconds 6 --linger 1 --ledger full.ledger --json > full
        get() { bash -c "exec 3<>/dev/tcp/${http%:*}/${http#*:}; printf 'GET /$1 HTTP/1.0\r\n\r\n' >&3; cat <&3"; }
        get metrics > metrics || exit 1
        get health > health || exit 1
        rm small/ballast
        "$AMBIT" ran --n2 $n2 --devices fleet.csv --rate 100 --seconds 3 --linger 20 --json > after || exit 1
        "$AMBIT" record list --data-dir small --json > records || exit 1
        kill $core; wait $core
    "#;
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .env("AMBIT", env!("CARGO_BIN_EXE_ambit"))
        .current_dir(place.path(""))
        .stderr(Stdio::piped())
        .output();
    let output = match output {
        Ok(output) if output.status.code() != Some(77) => output,
        _ => return eprintln!("skipped: this machine does not let a test mount a file system"),
    };
    let message = String::from_utf8_lossy(&output.stderr);
    if message.contains("unshare:") {
        return eprintln!(
            "skipped: this machine does not let a test mount a file system: {message}"
        );
    }
    assert!(output.status.success(), "{message}");
    assert!(!message.contains("panicked"), "{message}");
    let summary = |name: &str| -> Value {
        serde_json::from_str(&fs::read_to_string(place.path(name)).unwrap()).unwrap()
    };
    assert_eq!(summary("first")["registered"], 200);
    let metrics = fs::read_to_string(place.path("metrics")).unwrap();
    let failed: u64 = metrics
        .lines()
        .filter(|line| line.contains("store_failed") && !line.starts_with('#'))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert!(failed > 0, "the disk was never full");
    let health = fs::read_to_string(place.path("health")).unwrap();
    assert!(
        health.starts_with("HTTP/1.0 503") && health.contains("no space"),
        "{health}"
    );
    assert_eq!(
        summary("after")["registered"],
        200,
        "with space again the devices are taken back"
    );
    // What devices saw accepted while the disk was filling is on record.
    let records: std::collections::HashSet<(String, String)> =
        common::json_lines(&place.path("records"))
            .iter()
            .map(|row| (row["device_id"].to_string(), row["tag1"].to_string()))
            .collect();
    for item in common::json_lines(&place.path("full.ledger")) {
        let on_record = item["reports"].as_array().unwrap().iter().any(|report| {
            records.contains(&(item["device_id"].to_string(), report["tag1"].to_string()))
        });
        assert!(item["fate"] != "accepted" || on_record, "{item}");
    }
}
