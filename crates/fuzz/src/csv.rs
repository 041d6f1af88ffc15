//! An operator's files: read, written and read again they say the same; an error names line and column and shows no secret.

use std::io;

use ambit_protocol::RootKey;
use ambit_protocol::area::Plmn;
use ambit_provisioning::{
    BatchError, CsvErrors, DeviceSpec, ERRORS_MAX, SubscriberEntry, TransportKeys,
    format_device_id, parse_device_id, read_batch, read_csv, read_subscribers, write_cards,
    write_csv, write_subscribers,
};

use crate::Input;
use crate::defect::Defect;

/// The target: the first octet says what kind of file the rest is.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    match input.u8() % 5 {
        0 => devices(input.0),
        1 => batch(input.0),
        2 => subscribers(input.0),
        3 => keys(input.0),
        _ => identity(input.0),
    }
}

fn plmn() -> Plmn {
    Plmn::new("001", "01").unwrap()
}

/// All that a device has.
fn said(device: &DeviceSpec) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        device.device_id.clone(),
        (device.device_type, device.suite, device.form),
        device.key.as_ref().map(|key| *key.expose()),
        (device.tag_len, device.fleet.clone(), device.credential),
    )
}

fn entry(entry: &SubscriberEntry) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        said(&entry.device),
        entry.imsi.to_string(),
        entry.secrets.algorithm(),
        entry.secrets.expose_k().to_vec(),
        entry.secrets.expose_opc().to_vec(),
    )
}

/// A refusal: 1 to ERRORS_MAX errors, each with a line of the file; no rule repeats what may be a secret.
fn refused(errors: &CsvErrors, file: &[u8]) {
    let CsvErrors(errors) = errors;
    assert!((1..=ERRORS_MAX).contains(&errors.len()));
    let lines = file
        .iter()
        .filter(|octet| **octet == b'\n' || **octet == b'\r')
        .count() as u64;
    for error in errors {
        let mut rule = error.rule.clone();
        if Defect::CsvShowsSecret.is_planted() {
            rule.push_str(&String::from_utf8_lossy(file));
        }
        assert!((1..=lines + 1).contains(&error.line), "line {}", error.line);
        assert!(!rule.is_empty());
        let mut run = 0;
        for c in rule.chars() {
            run = if c.is_ascii_hexdigit() { run + 1 } else { 0 };
            assert!(run < 20, "a rule that shows a secret: {rule}");
        }
    }
}

fn devices(file: &[u8]) {
    let mut devices = match read_csv(file) {
        Ok(devices) => devices,
        Err(errors) => return refused(&errors, file),
    };
    let mut again = Vec::new();
    write_csv(&mut again, &devices).unwrap();
    if Defect::CsvLosesDevice.is_planted() {
        devices.push(DeviceSpec {
            line: 0,
            device_id: b"lost".to_vec(),
            device_type: ambit_protocol::DeviceType::Type2a,
            suite: ambit_protocol::Suite::AesCmac,
            form: ambit_protocol::DeviceForm::Beacon,
            key: Some(RootKey::new([0; 16])),
            tag_len: ambit_protocol::TagLen::T8,
            fleet: String::new(),
            credential: ambit_provisioning::CredentialKind::Operator,
        });
    }
    let read = read_csv(&again[..]).expect("what was written can be read");
    let all = |devices: &[DeviceSpec]| devices.iter().map(said).collect::<Vec<_>>();
    assert_eq!(all(&read), all(&devices));
    let mut ids: Vec<_> = devices.iter().map(|device| &device.device_id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), devices.len(), "two devices of one ID");
}

/// A batch of cards goes to the card maker and comes back, under transport keys; and on to the core's socket.
fn batch(file: &[u8]) {
    let mut octet = 0_u8;
    let mut random = |out: &mut [u8]| -> io::Result<()> {
        for slot in out {
            octet = octet.wrapping_mul(5).wrapping_add(17);
            *slot = octet;
        }
        Ok(())
    };
    let cards = match read_batch(file, plmn(), &mut random) {
        Ok(cards) => cards,
        Err(BatchError::Csv(errors)) => return refused(&errors, file),
        Err(BatchError::Random(error)) => panic!("{error}"),
    };
    let keys = TransportKeys::generate(&mut random).unwrap();
    let mut made = Vec::new();
    write_cards(&mut made, &cards, &keys).unwrap();
    for card in &cards {
        let secret = hex::encode(card.secrets.expose_k());
        assert!(
            !String::from_utf8_lossy(&made).contains(&secret),
            "a secret in clear"
        );
    }
    let entries = read_subscribers(&made[..], Some(&keys), plmn()).expect("what was made");
    assert_eq!(entries.len(), cards.len());
    for (card, entry) in cards.iter().zip(&entries) {
        assert_eq!(said(&card.device), said(&entry.device));
        assert_eq!(card.imsi.to_string(), entry.imsi.to_string());
        assert_eq!(card.secrets.expose_k(), entry.secrets.expose_k());
        assert_eq!(card.secrets.expose_opc(), entry.secrets.expose_opc());
    }
    in_clear(&entries);
}

fn subscribers(file: &[u8]) {
    match read_subscribers(file, None, plmn()) {
        Ok(entries) => in_clear(&entries),
        Err(errors) => refused(&errors, file),
    }
    let keys = TransportKeys::parse("KI:000102030405060708090a0b0c0d0e0f").unwrap();
    if let Err(errors) = read_subscribers(file, Some(&keys), plmn()) {
        refused(&errors, file);
    }
}

fn in_clear(entries: &[SubscriberEntry]) {
    let mut again = Vec::new();
    write_subscribers(&mut again, entries).unwrap();
    let read = read_subscribers(&again[..], None, plmn()).expect("what was written");
    let all = |entries: &[SubscriberEntry]| entries.iter().map(entry).collect::<Vec<_>>();
    assert_eq!(all(&read), all(entries));
}

fn keys(file: &[u8]) {
    let Ok(text) = std::str::from_utf8(file) else {
        return;
    };
    match TransportKeys::parse(text) {
        Ok(keys) => {
            let written = keys.to_text();
            let again = TransportKeys::parse(&written).expect("what was written");
            assert_eq!(*again.to_text(), *written);
        }
        Err(error) => assert!((1..=text.lines().count()).contains(&error.line)),
    }
}

fn identity(octets: &[u8]) {
    if (1..=128).contains(&octets.len()) {
        let text = format_device_id(octets);
        assert_eq!(parse_device_id(&text).as_deref(), Ok(octets), "{text}");
    }
    if let Ok(id) = parse_device_id(&String::from_utf8_lossy(octets)) {
        assert!((1..=128).contains(&id.len()));
        assert_eq!(parse_device_id(&format_device_id(&id)), Ok(id));
    }
}
