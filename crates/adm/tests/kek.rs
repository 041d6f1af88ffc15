//! The KEK: its file, its fit to a store, and what it binds each key to.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use ambit_adm::{Adm, Kek, KekError};
use ambit_adm_api::Outcome;
use ambit_protocol::{Cause, DeviceForm};
use ambit_store::Store;
use common::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn write(path: &Path, octets: &[u8], mode: u32) {
    fs::write(path, octets).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Whether two KEKs are one, by what they do.
fn is_same(a: Kek, b: Kek) -> bool {
    let store = TestStore::in_memory();
    let open = |kek| Adm::open(config(), Box::new(store.clone()), kek, entropy(1), START_MS);
    open(a).unwrap();
    open(b).is_ok()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_kek_file_is_made_once_and_is_its_owners_alone() {
    let directory = directory("kek-create");
    let path = directory.join("kek.hex");
    let made = Kek::create(&path, &mut entropy(1)).unwrap();
    assert_eq!(mode(&path), 0o600);
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.trim().len(), 64);
    assert_eq!(names(&directory), ["kek.hex"]);
    assert!(is_same(made, Kek::load(&path).unwrap()));

    let error = Kek::create(&path, &mut entropy(2)).unwrap_err();
    assert_eq!(error.name(), "kek_io");
    assert!(error.to_string().contains("kek.hex"));
    assert_eq!(fs::read_to_string(&path).unwrap(), text, "never replaced");
    assert_eq!(names(&directory), ["kek.hex"]);
    let missing = directory.join("not there/kek.hex");
    assert_eq!(
        Kek::create(&missing, &mut entropy(2)).unwrap_err().name(),
        "kek_io"
    );
}

#[test]
fn what_lies_under_the_name_of_the_part_is_not_written_to() {
    let directory = directory("kek-part");
    let (path, part) = (directory.join("kek.hex"), directory.join("kek.hex.part"));
    // Left by an interrupted start, readable by others, longer than a key.
    write(&part, &[b'0'; 200], 0o644);
    Kek::create(&path, &mut entropy(1)).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(fs::read(&path).unwrap().len(), 65);
    assert_eq!(names(&directory), ["kek.hex"]);

    fs::remove_file(&path).unwrap();
    let victim = directory.join("victim");
    write(&victim, b"something else", 0o644);
    symlink(&victim, &part).unwrap();
    Kek::create(&path, &mut entropy(1)).unwrap();
    assert_eq!(fs::read(&victim).unwrap(), b"something else");
    assert!(Kek::load(&path).is_ok());
    assert_eq!(names(&directory), ["kek.hex", "victim"]);

    // A directory cannot be removed that easily: an error, and no key.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&part).unwrap();
    assert_eq!(
        Kek::create(&path, &mut entropy(1)).unwrap_err().name(),
        "kek_io"
    );
    assert!(!path.exists());
}

#[test]
fn a_kek_file_that_others_may_read_or_write_is_refused() {
    let path = directory("kek-mode").join("kek.hex");
    let text = "4b".repeat(32);
    for bad in [0o644, 0o640, 0o604, 0o660, 0o602, 0o601, 0o610, 0o777] {
        write(&path, text.as_bytes(), bad);
        let error = Kek::load(&path).unwrap_err();
        assert!(matches!(error, KekError::Permissions { mode, .. } if mode == bad));
        assert!(error.to_string().contains(&format!("{bad:o}")));
    }
    for good in [0o600, 0o400, 0o700] {
        write(&path, text.as_bytes(), good);
        let loaded = Kek::load(&path).unwrap();
        assert!(is_same(loaded, Kek::from_octets(&KEK)));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn a_kek_file_holds_64_hexadecimal_digits() {
    let path = directory("kek-format").join("kek.hex");
    let digits = "4b".repeat(32);
    for good in [
        digits.clone(),
        digits.to_uppercase(),
        format!("{digits}\n"),
        format!("  {digits}\r\n\n"),
    ] {
        write(&path, good.as_bytes(), 0o600);
        assert!(is_same(Kek::load(&path).unwrap(), Kek::from_octets(&KEK)));
    }
    for bad in [
        &b""[..],
        b"\n",
        &digits.as_bytes()[..63],
        format!("{digits}4b").as_bytes(),
        digits.replace('b', "g").as_bytes(),
        format!("0x{}", &digits[2..]).as_bytes(),
        &[0xff; 64],
        &[b'4'; 5000],
    ] {
        write(&path, bad, 0o600);
        let error = Kek::load(&path).unwrap_err();
        assert_eq!(error.name(), "kek_format");
        assert!(!error.to_string().contains("4b4b"), "{error}");
    }
    let missing = path.with_file_name("missing");
    assert_eq!(Kek::load(&missing).unwrap_err().name(), "kek_io");
}

#[test]
fn another_kek_does_not_open_a_store() {
    let net = Net::with(config(), &[&Device::new("a", DeviceForm::Beacon)]);
    let open = |octet| {
        let kek = Kek::from_octets(&[octet; 32]);
        Adm::open(
            config(),
            Box::new(net.store.clone()),
            kek,
            entropy(1),
            START_MS,
        )
    };
    let error = open(0x4c).err().expect("refused");
    assert_eq!(error.name(), "kek_mismatch");
    assert!(open(0x4b).is_ok());
}

#[test]
fn a_wrapped_key_opens_for_its_own_device_and_unchanged_alone() {
    let (mut a, mut b) = (
        Device::new("device a", DeviceForm::Beacon),
        Device::new("device b", DeviceForm::Beacon),
    );
    let mut net = Net::with(config(), &[&a, &b]);
    let row_a = net.store.device(&a.id).unwrap().unwrap();
    let row_b = net.store.device(&b.id).unwrap().unwrap();
    assert_eq!(row_a.wrapped_key.len(), 12 + 16 + 16);
    let refused = |net: &Net| {
        let error = open(&net.store, config(), START_MS).err().expect("refused");
        assert_eq!(error.name(), "kek_unwrap");
        assert!(error.to_string().contains("device a"), "{error}");
    };
    net.store
        .device_set_key(row_a.id, &row_b.wrapped_key)
        .unwrap();
    refused(&net);
    for octet in 0..row_a.wrapped_key.len() {
        let mut changed = row_a.wrapped_key.clone();
        changed[octet] ^= 1;
        net.store.device_set_key(row_a.id, &changed).unwrap();
        refused(&net);
    }
    for wrapped in [&[][..], &[0; 12], &row_a.wrapped_key[1..]] {
        net.store.device_set_key(row_a.id, wrapped).unwrap();
        refused(&net);
    }
    // The control.
    net.store
        .device_set_key(row_a.id, &row_a.wrapped_key)
        .unwrap();
    net.restart();
    let rand_n = net.rand_n();
    for device in [&mut a, &mut b] {
        let sent = device.send(rand_n, Cause::Event, 0);
        assert_eq!(net.hear(&sent.nas), Outcome::AcceptedNew);
    }
}

/// Threat T20: the files of a store hold no key and no seed in clear.
#[test]
fn the_files_of_a_store_hold_no_key() {
    let directory = directory("kek-files");
    let device = Device::new("device a", DeviceForm::Beacon);
    let store = TestStore::file(&directory.join("store"));
    let mut net = Net::on(store, config(), START_MS);
    net.import(&[&device]);
    let new_key = net.adm.rotate_key(&device.id, START_MS).unwrap();
    for name in names(&directory) {
        let file = fs::read(directory.join(name)).unwrap();
        let holds = |secret: &[u8]| file.windows(secret.len()).any(|octets| octets == secret);
        for key in [&device.key, new_key.expose(), &[0x4b; 16]] {
            assert!(!holds(key));
            assert!(!holds(hex::encode(key).as_bytes()));
        }
    }
}
