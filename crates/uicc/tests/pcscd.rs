//! The emulated card in the system's PC/SC service, found and read by tools that know nothing of Ambit.
//!
//! Needs Debian's `pcscd`, `vsmartcard-vpcd`, `opensc` and `python3-pyscard`, and the right to start `pcscd` (root); skips
//! with a message where one is missing or another `pcscd` runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg(feature = "card")]

use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ambit_uicc::card::{AiotProfile, Card, Profile};
use ambit_uicc::suci::Imsi;
use ambit_uicc::vpcd::serve_vpcd;
use ambit_uicc::{Algorithm, Subscriber};

const PCSCD: &str = "/usr/sbin/pcscd";
const PCSCD_SOCKET: &str = "/run/pcscd/pcscd.comm";
const DRIVER: &str = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so";
/// Debian's own, which sees Debian's packages; another `python3` may come before it in PATH.
const PYTHON: &str = "/usr/bin/python3";
const DEADLINE: Duration = Duration::from_secs(20);

// TS 35.208 test set 1. The test set's SQN is too far ahead for a new card; its RES, CK and IK do not depend on SQN.
const K: &str = "465b5ce8b199b49faa5f0a2ee238a6bc";
const OPC: &str = "cd63cb71954a9f4e48a5994e37a02baf";
const RAND: &str = "23553cbe9637a89d218ae64dae47bf35";
const SUCCESS: &str =
    "db08a54211d5e3ba50bf10b40ba9a3c58b2a05bbf0d987b21bf8cb10f769bcd751044604127672711c6d3441";

/// pyscard: a T=0 reader of UICCs in a few lines. Prints one line per question.
const READER: &str = r#"
import sys
from smartcard.System import readers
from smartcard.util import toBytes, toHexString

def open_card():
    for reader in readers():
        connection = reader.createConnection()
        try:
            connection.connect()
            return connection
        except Exception:
            pass
    sys.exit('no card')

connection = open_card()

def send(apdu):
    data, sw1, sw2 = connection.transmit(toBytes(apdu))
    if sw1 == 0x61:
        data, sw1, sw2 = connection.transmit([0x00, 0xC0, 0x00, 0x00, sw2])
    return bytes(data).hex() + ' %02x%02x' % (sw1, sw2)

print('atr', bytes(connection.getATR()).hex())
for apdu in sys.argv[1:]:
    print(send(apdu))
"#;

/// A process that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn sim_tools_are_at_home_on_the_card() {
    if let Some(missing) = missing() {
        eprintln!("skipped: {missing}");
        return;
    }
    let directory = std::env::temp_dir().join(format!("ambit-uicc-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .unwrap()
        .port();
    let reader = format!(
        "FRIENDLYNAME \"Ambit virtual reader\"\nDEVICENAME /dev/null:{port:#06X}\nLIBPATH {DRIVER}\nCHANNELID {port:#06X}\n"
    );
    std::fs::write(directory.join("vpcd"), reader.replace("0X", "0x")).unwrap();
    let mut pcscd = Command::new(PCSCD);
    pcscd.args(["--foreground", "--config"]).arg(&directory);
    let _pcscd = Running(
        pcscd
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );

    thread::spawn(move || {
        let mut card = card();
        // Until the reader listens.
        while serve_vpcd(("127.0.0.1", port), &mut card).is_err() {
            thread::sleep(Duration::from_millis(50));
        }
    });

    let atr: String = ambit_uicc::card::ATR
        .iter()
        .map(|o| format!("{o:02x}"))
        .collect();
    let started = Instant::now();
    while !run("opensc-tool", &["--atr"])
        .replace(':', "")
        .contains(&atr)
    {
        assert!(
            started.elapsed() < DEADLINE,
            "opensc-tool found no card: {}",
            run("opensc-tool", &["--list-readers"])
        );
        thread::sleep(Duration::from_millis(200));
    }
    // opensc-tool: EF_ICCID by its own APDUs.
    let sent = run(
        "opensc-tool",
        &[
            "-s",
            "00A4000C023F00",
            "-s",
            "00A4000C022FE2",
            "-s",
            "00B000000A",
        ],
    );
    assert!(sent.contains("98 44 05 10 10 32 54 76 98 F6"), "{sent}");

    let subscriber = subscriber();
    let rand: [u8; 16] = hex::decode(RAND).unwrap().try_into().unwrap();
    let autn = hex::encode(subscriber.autn(&rand, &[0, 0, 0, 0, 0, 0x20], &[0x80, 0]));
    let authenticate = format!("0088008122 10{RAND}10{autn}").replace(' ', "");
    let questions = [
        "00A40004023F00",
        "00A40004022FE2",
        "00B000000A",
        "00A4040407A0000000871002",
        "00A40004026F07",
        "00B0000009",
        "00A40004026FAD",
        "00B0000004",
        &authenticate,
        &authenticate,
        "00A4040C0CF0414D4249542D41494F5401",
        "00880090050000000001",
        "00880090051200000001",
    ];
    let answers = run(PYTHON, &[&["-c", READER], &questions[..]].concat());
    let lines: Vec<&str> = answers.lines().collect();
    let [
        atr_line,
        mf,
        iccid_fcp,
        iccid,
        usim,
        imsi_fcp,
        imsi,
        ad_fcp,
        ad,
        aka,
        resync,
        aiot,
        foreign,
        evaluated,
    ] = lines[..]
    else {
        panic!("answers of pyscard: {answers}");
    };
    assert_eq!(atr_line, format!("atr {atr}"));
    for fcp in [mf, iccid_fcp, usim, imsi_fcp, ad_fcp] {
        assert!(fcp.starts_with("62") && fcp.ends_with(" 9000"), "{fcp}");
    }
    assert_eq!(iccid, "984405101032547698f6 9000");
    assert_eq!(imsi, "080910101032547698 9000");
    assert_eq!(ad, "00000002 9000");
    assert_eq!(aka, format!("{SUCCESS} 9000"));
    assert!(
        resync.starts_with("dc0e") && resync.ends_with(" 9000"),
        "{resync}"
    );
    assert_eq!(aiot, " 9000");
    assert_eq!(foreign, " 6a80");
    let expected = ambit_protocol::RootKey::new([7; 16]).evaluate(
        ambit_protocol::Suite::AesCmac,
        &ambit_protocol::schedule::counter_t_id(1),
    );
    assert_eq!(evaluated, format!("{} 9000", hex::encode(expected)));

    #[cfg(feature = "pcsc")]
    own_terminal();
    let _ = std::fs::remove_dir_all(&directory);
}

/// The same through Ambit's own PC/SC transport.
#[cfg(feature = "pcsc")]
fn own_terminal() {
    use ambit_device::Credential;
    use ambit_uicc::terminal::{AiotCredential, Pcsc, Terminal};

    let readers = Pcsc::readers().unwrap();
    let found = readers.iter().find_map(|name| Pcsc::connect(name).ok());
    let mut terminal = Terminal::new(found.expect("a reader with a card"));
    assert_eq!(terminal.iccid().unwrap(), "8944500101234567896");
    terminal.select_usim().unwrap();
    assert_eq!(terminal.imsi().unwrap().to_string(), "001010123456789");
    let mut card = AiotCredential::open(terminal).unwrap();
    let input = ambit_protocol::schedule::counter_t_id(1);
    let expected =
        ambit_protocol::RootKey::new([7; 16]).evaluate(ambit_protocol::Suite::AesCmac, &input);
    assert_eq!(card.evaluate(&input).unwrap(), expected);
}

fn subscriber() -> Subscriber {
    Subscriber::new(
        Algorithm::Milenage,
        &hex::decode(K).unwrap(),
        &hex::decode(OPC).unwrap(),
    )
    .unwrap()
}

fn card() -> Card {
    let imsi = Imsi::from_digits("001010123456789", 2).unwrap();
    let mut profile = Profile::new("8944500101234567896", imsi, subscriber());
    profile.aiot = Some(AiotProfile {
        k: ambit_protocol::RootKey::new([7; 16]),
        suite: ambit_protocol::Suite::AesCmac,
        tag_len: 8,
        device_id: b"device 1".to_vec(),
    });
    Card::new(profile)
}

/// Why the test cannot be run here.
fn missing() -> Option<String> {
    for path in [PCSCD, DRIVER] {
        if !Path::new(path).exists() {
            return Some(format!(
                "{path} is not installed (apt-get install pcscd vsmartcard-vpcd)"
            ));
        }
    }
    if !succeeds("opensc-tool", &["--version"]) && !succeeds("opensc-tool", &["--info"]) {
        return Some("opensc-tool is not installed (apt-get install opensc)".to_owned());
    }
    if !succeeds(PYTHON, &["-c", "import smartcard"]) {
        return Some("pyscard is not installed (apt-get install python3-pyscard)".to_owned());
    }
    if UnixStream::connect(PCSCD_SOCKET).is_ok() {
        return Some("another pcscd is running".to_owned());
    }
    if std::fs::create_dir_all("/run/pcscd").is_err()
        || std::fs::write("/run/pcscd/.ambit", []).is_err()
    {
        return Some("pcscd needs root".to_owned());
    }
    let _ = std::fs::remove_file("/run/pcscd/.ambit");
    None
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}
