//! The identity rule of section 4: which beacons are believed, and when a T-ID is shown.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod common;

use ambit_device::{DeviceForm, Event};
use ambit_protocol::{Cause, Form, RandN, Suite, TagLen};
use common::area;
use common::bench::{Bench, S, form};
use common::network::Network;

#[test]
fn a_blank_device_is_concealed_until_an_accept_gives_it_its_anchor() {
    let mut b = Bench::new(DeviceForm::Beacon);
    let report = b.next(true);
    assert_eq!(form(&report), Form::Concealed);
    assert_eq!(b.device.anchor(), None);
    b.answer(&report);
    assert_eq!(b.device.anchor(), Some(b.network.at(100)));
    b.device.submit(b.now_ms, Cause::Event, b"").unwrap();
    assert_eq!(b.exchange().0, Form::Beacon);
    // The same epoch in the next power cycle: the T-ID was shown in this one.
    b.power_cycle();
    assert_eq!(b.exchange().0, Form::Concealed);
    b.device.submit(b.now_ms, Cause::Event, b"").unwrap();
    assert_eq!(
        b.exchange().0,
        Form::Concealed,
        "persisting again is not first"
    );
    // The next epoch: found at once.
    b.now_ms = 601 * S;
    b.power_cycle();
    assert_eq!(b.exchange().0, Form::Beacon);
    assert_eq!(b.device.anchor(), Some(b.network.at(101)));
}

#[test]
fn a_provisioned_anchor_gives_a_beacon_form_registration() {
    let mut b = Bench::anchored(DeviceForm::Beacon);
    assert_eq!(b.exchange().0, Form::Beacon);
}

#[test]
fn a_t_id_is_shown_for_less_than_a_period_even_if_the_beacon_goes_on() {
    let mut b = Bench::anchored(DeviceForm::Beacon);
    let mut last_beacon_form_ms = 0;
    let rand_n = b.network.at(100);
    while b.now_ms < 2_000 * S {
        b.device.handle_beacon(b.now_ms, &area(1), &rand_n);
        if let Some(report) = b.poll()
            && form(&report) == Form::Beacon
        {
            last_beacon_form_ms = b.now_ms;
        }
        b.now_ms += S;
    }
    assert!(last_beacon_form_ms > 300 * S && last_beacon_form_ms < 600 * S);
}

#[test]
fn an_older_beacon_repeated_after_a_newer_one_is_answered_concealed() {
    let mut b = Bench::anchored(DeviceForm::Beacon);
    assert_eq!(form(&b.next(true)), Form::Beacon);
    for epoch in [101, 100] {
        b.device
            .handle_beacon(b.now_ms, &area(1), &b.network.at(epoch));
    }
    assert_eq!(form(&b.next(false)), Form::Concealed);
}

#[test]
fn going_back_and_forth_between_anchors_restarts_no_clock() {
    // Two chains held current in turn by a network that cannot make up its mind.
    let mut b = Bench::anchored(DeviceForm::Beacon);
    let mut other = Network::new(Suite::AesCmac, TagLen::T8, 600, 77);
    other.first_epoch = 50;
    assert_eq!(b.exchange().0, Form::Beacon);
    for round in 0..6 {
        std::mem::swap(&mut b.network, &mut other);
        b.now_ms += 110 * S;
        // Keep both networks in their first epoch while the device's clock goes on.
        b.network.period_ms = 10_000 * S;
        let rand_n = b.network.at(b.network.first_epoch);
        b.device.submit(b.now_ms, Cause::Event, &[round]).unwrap();
        b.device.handle_beacon(b.now_ms, &area(1), &rand_n);
        let report = b.poll().unwrap();
        assert_eq!(form(&report), Form::Concealed, "an unknown chain at first");
        b.answer(&report);
        assert_eq!(b.device.anchor(), Some(rand_n), "forward or back");
        b.device.submit(b.now_ms, Cause::Event, &[round]).unwrap();
        let report = b.poll().unwrap();
        let fresh = if round % 2 == 0 {
            // First persisted at 110 s.
            b.now_ms < 710 * S
        } else {
            b.now_ms < 600 * S
        };
        assert_eq!(form(&report) == Form::Beacon, fresh, "round {round}");
        b.answer(&report);
    }
}

#[test]
fn an_accept_for_an_older_epoch_of_the_same_chain_does_not_move_the_anchor_back() {
    let mut b = Bench::anchored(DeviceForm::Beacon);
    b.now_ms = 601 * S;
    b.exchange();
    assert_eq!(b.device.anchor(), Some(b.network.at(101)));
    // A neighbouring reader still broadcasts the epoch before, within grace.
    b.device.submit(b.now_ms, Cause::Event, b"").unwrap();
    b.device
        .handle_beacon(b.now_ms, &area(1), &b.network.at(100));
    let report = b.poll().unwrap();
    assert_eq!(form(&report), Form::Concealed);
    b.answer(&report);
    assert_eq!(b.device.anchor(), Some(b.network.at(101)));
    // And so no T-ID of epoch 101 in the next power cycle.
    b.power_cycle();
    assert_eq!(b.exchange().0, Form::Concealed);
}

#[test]
fn a_device_follows_a_network_that_started_a_new_chain() {
    let mut b = Bench::anchored(DeviceForm::Beacon);
    b.exchange();
    b.network = Network::new(Suite::AesCmac, TagLen::T8, 600, 1234);
    b.network.first_epoch = 3;
    b.device.submit(b.now_ms, Cause::Event, b"").unwrap();
    assert_eq!(b.exchange().0, Form::Concealed);
    assert_eq!(b.device.anchor(), Some(b.network.at(3)));
    b.now_ms = 601 * S;
    b.device.submit(b.now_ms, Cause::Event, b"").unwrap();
    assert_eq!(b.exchange().0, Form::Beacon);
}

#[test]
fn false_beacons_are_counted_once_and_answered_concealed() {
    let mut b = Bench::anchored(DeviceForm::Beacon);
    let invented = RandN::new(120, [9; 12]);
    for _ in 0..5 {
        b.device.handle_beacon(b.now_ms, &area(1), &invented);
        let genuine = b.network.at(100);
        b.device.handle_beacon(b.now_ms, &area(1), &genuine);
        b.device.handle_beacon(b.now_ms, &area(1), &invented);
    }
    assert_eq!(b.device.stats().sightings, 1);
    assert_eq!(b.device.poll_event(), Some(Event::FalseNetworkSighting));
    let reports: Vec<_> = (0..8).map(|_| b.next(false)).collect();
    assert!(reports.iter().all(|r| form(r) == Form::Concealed));
    // Too old or too far ahead to check: not a sighting, and concealed.
    for epoch in [98, 100 + 1025] {
        b.device
            .handle_beacon(b.now_ms, &area(1), &RandN::new(epoch, [9; 12]));
        assert_eq!(form(&b.next(false)), Form::Concealed);
    }
    assert_eq!(b.device.stats().sightings, 1);
    assert_eq!(b.device.anchor(), Some(b.network.at(99)));
}

#[test]
fn beacons_of_another_network_are_not_used() {
    let mut b = Bench::anchored(DeviceForm::Beacon);
    let plmn = ambit_protocol::area::Plmn::new("001", "02").unwrap();
    let other = ambit_protocol::Snid::new(plmn, None).area([0, 0, 1]);
    b.device.handle_beacon(0, &other, &b.network.at(100));
    assert_eq!((b.poll(), b.device.poll_timeout()), (None, None));
    assert_eq!(b.device.stats().foreign_beacons, 1);
}
