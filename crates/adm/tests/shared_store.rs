//! Several ADMs on one store: what one of them does to a device, the others know before they accept anything of it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use ambit_adm_api::{AdmClient, Nadm, Outcome};
use ambit_protocol::{Cause, DeviceForm};
use ambit_store::{FILE_NAME, Store};
use common::{Device, Net, START_MS, TestStore, config, directory};

/// Two ADMs, each with a connection of its own to one file.
fn pair(name: &str) -> [Net; 2] {
    let path = directory(name).join(FILE_NAME);
    [(); 2].map(|()| Net::on(TestStore::file(&path), config(), START_MS))
}

const FORMS: [DeviceForm; 3] = [
    DeviceForm::Beacon,
    DeviceForm::Concealed,
    DeviceForm::Counter,
];

#[test]
fn an_import_a_new_key_and_a_disabling_are_known_to_the_other() {
    let [mut a, mut b] = pair("followed");
    for form in FORMS {
        let name = format!("{form:?}");
        let mut device = Device::new(&name, form);
        let rand_n = b.rand_n();
        let early = device.send(rand_n, Cause::Event, 0).nas;
        assert_eq!(b.hear(&early), Outcome::NoMatch, "{form:?}");
        a.import(&[&device]);
        let report = device.send(rand_n, Cause::Event, 1).nas;
        assert_eq!(b.hear(&report), Outcome::AcceptedNew, "{form:?}");
        // The record is the guard, whichever of them wrote it.
        assert_eq!(a.hear(&report), Outcome::AcceptedDuplicate, "{form:?}");

        let old = device.send(rand_n, Cause::Event, 2).nas;
        device.key = *a.adm.rotate_key(&device.id, START_MS).unwrap().expose();
        device.counter = 0;
        assert_eq!(b.hear(&old), Outcome::NoMatch, "{form:?}");
        let new = device.send(rand_n, Cause::Event, 3).nas;
        assert_eq!(b.hear(&new), Outcome::AcceptedNew, "{form:?}");

        a.adm.set_disabled(&device.id, true, START_MS).unwrap();
        let report = device.send(rand_n, Cause::Event, 4).nas;
        assert_eq!(b.hear(&report), Outcome::DeviceDisabled, "{form:?}");
        a.adm.set_disabled(&device.id, false, START_MS).unwrap();
        assert_eq!(b.hear(&report), Outcome::AcceptedNew, "{form:?}");
        assert!(b.adm.device_profile(&device.id).is_ok());
    }
}

/// Without a report too: a tick is enough.
#[test]
fn a_tick_follows_the_store() {
    let [mut a, mut b] = pair("tick");
    let devices: Vec<Device> = (0..5000)
        .map(|n| Device::new(&format!("device {n}"), DeviceForm::Concealed))
        .collect();
    a.import(&devices.iter().collect::<Vec<_>>());
    assert_eq!(b.adm.device_count(), 0);
    // More than one tick takes up.
    b.adm.tick(START_MS);
    assert!(b.adm.device_count() < 5000);
    b.adm.tick(START_MS);
    assert_eq!(b.adm.device_count(), 5000);
    assert_eq!(b.adm.store_fault(), None);
}

/// A change that cannot be taken up puts its device out of service, and no other: those behind it are not waited for.
#[test]
fn what_cannot_be_taken_up_stands_in_the_way_of_no_other() {
    let [mut a, mut b] = pair("cannot be taken up");
    let mut devices =
        ["broken", "disabled", "other"].map(|name| Device::new(name, DeviceForm::Beacon));
    a.import(&devices.iter().collect::<Vec<_>>());
    let rand_n = b.rand_n();
    for device in &mut devices {
        let report = device.send(rand_n, Cause::Event, 0).nas;
        assert_eq!(b.hear(&report), Outcome::AcceptedNew);
    }
    let broken = a.adm.device_row(&devices[0].id).unwrap().id;
    a.store.device_set_key(broken, b"no key of ours").unwrap();
    a.adm.set_disabled(&devices[1].id, true, START_MS).unwrap();
    for (device, expected) in devices.iter_mut().zip([
        Outcome::DeviceDisabled,
        Outcome::DeviceDisabled,
        Outcome::AcceptedNew,
    ]) {
        let report = device.send(rand_n, Cause::Event, 1).nas;
        assert_eq!(b.hear(&report), expected, "{}", device.id.escape_ascii());
    }
    devices[0].key = *a.adm.rotate_key(&devices[0].id, START_MS).unwrap().expose();
    let report = devices[0].send(rand_n, Cause::Event, 2).nas;
    assert_eq!(b.hear(&report), Outcome::AcceptedNew);
}

/// The change falls between the verification and the record: the insert decides.
#[test]
fn a_device_that_changes_under_a_batch_is_not_accepted() {
    for rotates in [true, false] {
        let [mut a, mut b] = pair("between");
        let (mut device, mut other) = (
            Device::new("device", DeviceForm::Beacon),
            Device::new("other", DeviceForm::Beacon),
        );
        a.import(&[&device, &other]);
        let rand_n = b.rand_n();
        let (nas, others) = (
            device.send(rand_n, Cause::Event, 0).nas,
            other.send(rand_n, Cause::Event, 0).nas,
        );
        let id = device.id.clone();
        let mut adm = a.adm;
        b.store.before_accept(move || {
            if rotates {
                adm.rotate_key(&id, START_MS).unwrap();
            } else {
                adm.set_disabled(&id, true, START_MS).unwrap();
            }
        });
        let verdicts = b.hear_batch(rand_n, common::reader(1), &[&nas, &others]);
        let outcomes: Vec<Outcome> = verdicts.iter().map(|v| v.outcome()).collect();
        assert_eq!(outcomes, [Outcome::DeviceChanged, Outcome::AcceptedNew]);
        let then = if rotates {
            Outcome::NoMatch
        } else {
            Outcome::DeviceDisabled
        };
        assert_eq!(b.hear(&nas), then);
        assert_eq!(b.store.record_count().unwrap(), 1);
    }
}

/// Network rule 3 goes by what is on record, not by who heard it. The control is a store that does not say what others heard.
#[test]
fn an_item_that_another_adm_recorded_is_a_repeat() {
    for (is_shared, expected) in [
        (true, Outcome::AcceptedRepeat),
        (false, Outcome::AcceptedNew),
    ] {
        let [mut a, mut b] = pair("repeat");
        let mut device = Device::new("device", DeviceForm::Beacon);
        a.import(&[&device]);
        if is_shared {
            b.store.share();
        }
        let rand_n = b.rand_n();
        let first = device.send(rand_n, Cause::Event, 3).nas;
        assert_eq!(a.hear(&first), Outcome::AcceptedNew);
        let anew = device.send(rand_n, Cause::Event, 3).nas;
        assert_eq!(b.hear(&anew), expected);
        let next = device.send(rand_n, Cause::Event, 4).nas;
        assert_eq!(b.hear(&next), Outcome::AcceptedNew);
    }
}

/// The control is the replay before the store went back: it is answered, as its record is there.
#[test]
fn a_store_that_went_back_puts_its_epochs_out_of_force() {
    let [mut a, mut b] = pair("went-back");
    let mut device = Device::new("device", DeviceForm::Beacon);
    a.import(&[&device]);
    let (epoch, old) = (a.epoch(), a.rand_n());
    let report = device.send(old, Cause::Event, 0).nas;
    assert_eq!(a.hear(&report), Outcome::AcceptedNew);
    assert_eq!(a.hear(&report), Outcome::AcceptedDuplicate);
    assert_eq!(b.hear(&report), Outcome::AcceptedDuplicate);

    a.store.go_back();
    let lost = device.send(old, Cause::Event, 1).nas;
    assert_eq!(a.hear(&lost), Outcome::StoreFailed);
    assert_eq!(a.epoch(), epoch + 1);
    assert_eq!(a.events("store_went_back").len(), 1);
    // The other learns of it within a second, and distrusts what was before as well.
    b.wait_ms(1000);
    assert_eq!(b.epoch(), epoch + 1);
    for adm in [&mut a, &mut b] {
        assert_eq!(
            adm.hear_at(common::reader(1), old, &report).outcome(),
            Outcome::StaleEpoch
        );
        let rand_n = adm.rand_n();
        let report = device.send(rand_n, Cause::Event, 2).nas;
        assert!(matches!(
            adm.hear(&report),
            Outcome::AcceptedNew | Outcome::AcceptedRepeat
        ));
    }
}
