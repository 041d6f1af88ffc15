//! Import, rotation and lookup of devices; and keys do not print.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use ambit_adm::ProvisionError;
use ambit_adm_api::Outcome;
use ambit_protocol::{Cause, DeviceForm, DeviceType, Form};
use ambit_store::Store;
use common::*;

#[test]
fn an_import_is_all_or_nothing() {
    let mut first = Device::new("first", DeviceForm::Beacon);
    let second = Device::new("second", DeviceForm::Beacon);
    let mut net = Net::with(config(), &[&second]);
    let rand_n = net.rand_n();
    let sent = first.send(rand_n, Cause::Event, 0);

    let mut type_1 = Device::new("type 1", DeviceForm::Beacon).spec();
    type_1.device_type = DeviceType::Type1;
    let mut no_id = Device::new("no id", DeviceForm::Beacon).spec();
    no_id.device_id = Vec::new();
    for (bad, name) in [
        (second.spec(), "device_exists"),
        (first.spec(), "device_exists"),
        (type_1, "policy_refused"),
        (no_id, "store_failed"),
    ] {
        let specs = [first.spec(), bad];
        let error = net.adm.import(&specs, START_MS).unwrap_err();
        assert_eq!(error.name(), name, "{error}");
        if let ProvisionError::DeviceExists { index, .. } | ProvisionError::Policy { index, .. } =
            error
        {
            assert_eq!(index, 1);
        }
        assert_eq!(net.adm.device_count(), 1);
        assert_eq!(net.store.device_count().unwrap(), 1);
        assert_eq!(net.hear(&sent.nas), Outcome::NoMatch);
    }
    assert_eq!(net.events("devices_imported").len(), 1);
    // The control: without the bad one it goes in, and takes effect at once.
    net.import(&[&first]);
    assert_eq!(net.hear(&sent.nas), Outcome::AcceptedNew);
}

/// More fleets than memory has numbers for: refused before anything is written, so that the store still opens.
#[test]
fn too_many_fleets_are_refused_before_anything_is_written() {
    let mut net = Net::new(config());
    let specs: Vec<_> = (0..=0x1_0000)
        .map(|n| {
            let mut device = Device::new("a", DeviceForm::Beacon);
            device.id = format!("device {n}").into_bytes();
            device.fleet = format!("fleet {n}");
            device.spec()
        })
        .collect();
    let error = net.adm.import(&specs, START_MS).unwrap_err();
    assert_eq!(error.to_string(), "fleet: must be one of at most 65536");
    assert_eq!(net.store.device_count().unwrap(), 0);
}

#[test]
fn devices_imported_in_an_epoch_are_found_in_it() {
    let mut net = Net::new(blind_config());
    let rand_n = net.rand_n();
    // More than the table takes beside its sorted part.
    for (n, form) in Form::ALL.iter().cycle().take(2600).enumerate() {
        let mut device = Device::new(&format!("device {n}"), device_form(*form));
        net.import(&[&device]);
        if n % 100 < 5 {
            let sent = device.send_as(*form, rand_n, Cause::Event, 0);
            assert_eq!(net.hear(&sent.nas), Outcome::AcceptedNew, "{form:?} {n}");
        }
    }
    assert_eq!(net.adm.device_count(), 2600);
}

#[test]
fn a_generated_key_is_the_devices() {
    let mut devices = [
        Device::new("given", DeviceForm::Beacon),
        Device::new("asked for", DeviceForm::Beacon),
    ];
    let mut specs = devices.each_ref().map(Device::spec);
    specs[1].key = None;
    let mut net = Net::new(config());
    let generated = net.adm.import(&specs, START_MS).unwrap();
    assert_eq!(generated.len(), 1);
    assert_eq!(generated[0].index, 1);
    devices[1].key = *generated[0].key.expose();
    let rand_n = net.rand_n();
    for device in &mut devices {
        let sent = device.send(rand_n, Cause::Event, 0);
        assert_eq!(net.hear(&sent.nas), Outcome::AcceptedNew);
    }
}

#[test]
fn after_a_rotation_the_old_key_is_silent_and_the_new_one_accepted() {
    for (form, mut device) in all_forms() {
        let mut net = Net::with(blind_config(), &[&device]);
        let rand_n = net.rand_n();
        let before = device.send_as(form, rand_n, Cause::Event, 0);
        assert_eq!(net.hear(&before.nas), Outcome::AcceptedNew);
        let row = net.adm.device_row(&device.id).unwrap();

        let new_key = *net.adm.rotate_key(&device.id, START_MS).unwrap().expose();
        assert_ne!(new_key, device.key);
        let old = device.send_as(form, rand_n, Cause::Event, 1);
        for _ in 0..2 {
            assert_eq!(net.hear(&old.nas), Outcome::NoMatch, "{form:?}");
            assert_eq!(net.hear(&before.nas), Outcome::NoMatch);
            net.restart();
        }
        device.key = new_key;
        let new = device.send_as(form, rand_n, Cause::Event, 2);
        assert_eq!(net.hear(&new.nas), Outcome::AcceptedNew, "{form:?}");
        let rotated = net.adm.device_row(&device.id).unwrap();
        assert_eq!(rotated.key_version, row.key_version + 1);
        assert_eq!(net.events("device_key_rotated").len(), 1);
        assert_eq!(net.store.record_count().unwrap(), 2);
    }
}

/// A new key has counters of its own: they begin again, in the store and in memory alike.
#[test]
fn with_a_new_key_the_counter_starts_afresh() {
    let mut device = Device::new("a", DeviceForm::Counter);
    let mut net = Net::with(config(), &[&device]);
    let rand_n = net.rand_n();
    for round in 0..8 {
        for (counter, expected) in [
            (17, Outcome::NoMatch),
            (1, Outcome::AcceptedNew),
            (17, Outcome::AcceptedNew),
            (16, Outcome::CloneSuspicion),
            (33, Outcome::AcceptedNew),
        ] {
            let seq = counter as u8 % 16 + round % 2;
            let sent = device.send_counter(Form::Counter, rand_n, counter, seq);
            let outcome = net.hear(&sent.nas);
            let is_new =
                |outcome| matches!(outcome, Outcome::AcceptedNew | Outcome::AcceptedRepeat);
            assert!(
                outcome == expected || is_new(outcome) && is_new(expected),
                "round {round}, counter {counter}: {outcome:?}"
            );
        }
        device.key = *net.adm.rotate_key(&device.id, START_MS).unwrap().expose();
        if round % 3 == 2 {
            net.restart();
        }
    }
}

#[test]
fn an_unknown_device_is_named() {
    let mut net = Net::new(config());
    for error in [
        net.adm.rotate_key(b"who", START_MS).unwrap_err(),
        net.adm.set_disabled(b"who", true, START_MS).unwrap_err(),
        net.adm.device_row(b"who").unwrap_err(),
    ] {
        assert_eq!(error.name(), "device_unknown");
        assert_eq!(error.to_string(), "device_id: no device who");
    }
}

#[test]
fn keys_do_not_print() {
    let device = Device::new("a", DeviceForm::Beacon);
    let mut spec = device.spec();
    let mut net = Net::new(config());
    let mut printed = vec![format!("{spec:?}")];
    printed.push(format!("{:?}", net.adm.import(&[device.spec()], 0)));
    printed.push(format!("{:?}", net.adm.import(&[device.spec()], 0)));
    spec.key = None;
    spec.device_id = b"b".to_vec();
    let generated = net.adm.import(&[spec], 0).unwrap();
    printed.push(format!("{generated:?}"));
    let rotated = net.adm.rotate_key(&device.id, 0).unwrap();
    printed.push(format!("{rotated:?}"));
    let row = net.adm.device_row(&device.id).unwrap();
    printed.push(format!("{row:?}"));
    printed.push(format!("{:?}", ambit_adm::Kek::from_octets(&KEK)));
    printed.push(format!("{:?}", net.adm.config()));
    for key in [
        &device.key[..],
        generated[0].key.expose(),
        rotated.expose(),
        &KEK[..16],
    ] {
        let list: Vec<String> = key[..4].iter().map(u8::to_string).collect();
        for text in &printed {
            assert!(!text.contains(&hex::encode(&key[..4])), "{text}");
            assert!(!text.contains(&list.join(", ")), "{text}");
        }
    }
}
