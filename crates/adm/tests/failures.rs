//! The store fails: nothing is accepted, nothing is forgotten, and the next try is accepted once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use ambit_adm_api::{AdmClient, AdmError, Outcome};
use ambit_protocol::{Cause, DeviceForm, Form};
use ambit_store::Store;
use common::*;

const ACCEPT: Failing = Failing {
    accept: true,
    events: false,
    chain: false,
    devices: false,
    commands: false,
};

#[test]
fn what_could_not_be_recorded_is_not_accepted_and_the_next_try_is_once() {
    for (form, mut device) in all_forms() {
        let mut net = Net::with(blind_config(), &[&device]);
        let rand_n = net.rand_n();
        let sent = device.send_as(form, rand_n, Cause::Event, 0);
        net.store.fail(ACCEPT);
        for _ in 0..3 {
            let batch = [&sent.nas[..], &sent.nas];
            for verdict in net.hear_batch(rand_n, reader(1), &batch) {
                assert!(is_silent(&verdict));
                assert_eq!(verdict.outcome(), Outcome::StoreFailed, "{form:?}");
            }
        }
        let alarms = net.events("store_failed");
        assert_eq!(alarms[0].severity, "alarm");
        net.store.fail(Failing::default());
        assert_eq!(net.store.record_count().unwrap(), 0);
        assert_eq!(net.hear(&sent.nas), Outcome::AcceptedNew, "{form:?}");
        assert_eq!(net.hear(&sent.nas), Outcome::AcceptedDuplicate);
        assert_eq!(net.store.record_count().unwrap(), 1);
    }
}

#[test]
fn a_failure_moves_neither_the_counter_nor_the_items() {
    let mut device = Device::new("a", DeviceForm::Counter);
    let mut net = Net::with(config(), &[&device]);
    let rand_n = net.rand_n();
    let lost = device.send_counter(Form::Counter, rand_n, 10, 5);
    net.store.fail(ACCEPT);
    assert_eq!(net.hear(&lost.nas), Outcome::StoreFailed);
    net.store.fail(Failing::default());
    // Beyond the window of a counter that had not moved.
    let beyond = device.send_counter(Form::Counter, rand_n, 17, 6);
    assert_eq!(net.hear(&beyond.nas), Outcome::NoMatch);
    // Behind the lost one; and the lost item is no repeat.
    let behind = device.send_counter(Form::Counter, rand_n, 3, 5);
    assert_eq!(net.hear(&behind.nas), Outcome::AcceptedNew);
    let again = device.send_counter(Form::Counter, rand_n, 4, 5);
    assert_eq!(net.hear(&again.nas), Outcome::AcceptedRepeat);
}

#[test]
fn events_wait_for_the_store_and_are_bounded() {
    let mut net = Net::with(config(), &[&Device::new("a", DeviceForm::Beacon)]);
    let rand_n = net.rand_n();
    let stranger = &mut Device::new("stranger", DeviceForm::Beacon);
    let sent = stranger.send(rand_n, Cause::PowerOn, 0);
    net.store.fail(Failing {
        events: true,
        ..Failing::default()
    });
    for n in 0..6000 {
        net.hear_at(reader(1 + n), rand_n, &sent.nas);
        net.wait_ms(50);
        if n % 100 == 0 {
            net.adm.tick(net.now_ms);
        }
    }
    assert!(net.events("impersonation_attempt").is_empty());
    net.store.fail(Failing::default());
    net.adm.tick(net.now_ms);
    let told = net.events("impersonation_attempt").len();
    assert!((1..=4096).contains(&told), "{told}");
    let [dropped] = &net.events("events_dropped")[..] else {
        panic!("one event says how many were dropped")
    };
    assert!(dropped.detail.starts_with(r#"{"dropped":"#));
}

#[test]
fn no_epoch_begins_that_is_not_on_record() {
    let mut device = Device::new("a", DeviceForm::Beacon);
    let mut net = Net::with(config(), &[&device]);
    let old = net.rand_n();
    let sent = device.send(old, Cause::Event, 0);
    net.store.fail(Failing {
        chain: true,
        ..Failing::default()
    });
    assert_eq!(net.rand_n(), old);
    net.wait_ms(EPOCH_MS);
    let error = net.adm.beacons(net.now_ms).unwrap_err();
    assert!(matches!(error, AdmError::Store(_)), "{error}");
    let verdict = net.hear_at(reader(1), old, &sent.nas);
    assert_eq!(verdict.outcome(), Outcome::StoreFailed);
    net.store.fail(Failing::default());
    assert_eq!(net.epoch(), old.epoch() + 1);
    // Still within the grace.
    let verdict = net.hear_at(reader(1), old, &sent.nas);
    assert_eq!(verdict.outcome(), Outcome::AcceptedNew);
}

#[test]
fn a_change_to_a_device_that_fails_changes_nothing() {
    let mut device = Device::new("a", DeviceForm::Beacon);
    let mut net = Net::with(config(), &[&device]);
    net.store.fail(Failing {
        devices: true,
        ..Failing::default()
    });
    assert!(net.adm.set_disabled(b"a", true, START_MS).is_err());
    assert!(net.adm.rotate_key(b"a", START_MS).is_err());
    let spec = Device::new("b", DeviceForm::Beacon).spec();
    assert!(net.adm.import(&[spec], START_MS).is_err());
    assert_eq!(net.adm.device_count(), 1);
    let rand_n = net.rand_n();
    let sent = device.send(rand_n, Cause::Event, 0);
    assert_eq!(net.hear(&sent.nas), Outcome::AcceptedNew);
}
