//! The counter forms of section 6, and what becomes of both kinds of device when memory fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod common;

use ambit_device::{Device, DeviceForm, Event, LocalKey, PowerOnError, SubmitError, provision};
use ambit_protocol::wire::{ReportId, ReportView};
use ambit_protocol::{Cause, Form, RootKey, Suite};
use common::bench::{Bench, S, form};
use common::nvm::Nvm;
use common::{Dice, KEY, area, profile};

#[test]
fn memory_that_cannot_be_written_means_concealed_or_no_report() {
    let mut b = Bench::anchored(DeviceForm::Beacon);
    b.nvm.0.borrow_mut().fail_percent = 100;
    assert_eq!(b.exchange().0, Form::Concealed);
    b.nvm.0.borrow_mut().fail_percent = 0;
    b.device.submit(b.now_ms, Cause::Event, b"").unwrap();
    assert_eq!(b.exchange().0, Form::Beacon, "tried again later");

    let mut b = Bench::new(DeviceForm::Counter);
    b.nvm.0.borrow_mut().fail_percent = 100;
    for _ in 0..50 {
        b.hear();
        assert_eq!(b.poll(), None);
        assert!(b.device.poll_timeout().is_none_or(|at| at > b.now_ms));
        b.now_ms += 10 * S;
    }
    assert_eq!(b.device.counter(), 0);
    b.nvm.0.borrow_mut().fail_percent = 0;
    assert_eq!(b.exchange().0, Form::Counter);
    assert_eq!(
        b.network.counter_last, 2,
        "skips one value, not one per failure"
    );
}

#[test]
fn counter_devices_recover_after_8_unanswered_reports() {
    let mut b = Bench::new(DeviceForm::Counter);
    let mut forms = Vec::new();
    while b.device.stats().reports_built < 12 {
        let report = b.next(true);
        if forms.len() < b.device.stats().reports_built as usize {
            forms.push(form(&report));
        }
    }
    assert!(forms[..8].iter().all(|f| *f == Form::Counter), "{forms:?}");
    assert!(forms[8..].iter().all(|f| *f == Form::Recovery), "{forms:?}");
    assert_eq!(b.exchange().0, Form::Recovery);
    b.device.submit(b.now_ms, Cause::Event, b"").unwrap();
    assert_eq!(b.exchange().0, Form::Counter);
}

#[test]
fn unanswered_reports_count_over_power_cycles_and_answered_ones_do_not() {
    let mut b = Bench::new(DeviceForm::Counter);
    for _ in 0..60 {
        b.power_cycle();
        assert_eq!(b.exchange().0, Form::Counter);
    }
    for _ in 0..30 {
        b.power_cycle();
        b.next(true);
    }
    assert_eq!(b.exchange().0, Form::Recovery);
}

#[test]
fn the_counter_ends_in_silence() {
    for device_form in [DeviceForm::Counter, DeviceForm::Blind] {
        let nvm = Nvm::new(200, 1);
        provision(&mut nvm.clone(), None, u32::MAX - 2).unwrap();
        let mut b = Bench::on(device_form, nvm);
        b.network.counter_last = u32::MAX - 2;
        b.exchange();
        b.device.submit(b.now_ms, Cause::Event, b"").unwrap();
        for cycle in 0..3 {
            b.hear();
            assert_eq!(b.poll(), None, "cycle {cycle}");
            let events: Vec<_> = std::iter::from_fn(|| b.device.poll_event()).collect();
            assert_eq!(events, [Event::CounterExhausted]);
            let refused = b.device.submit(b.now_ms, Cause::Event, b"");
            assert_eq!(
                (refused, b.device.poll_timeout()),
                (Err(SubmitError::Silent), None)
            );
            assert_eq!(b.device.counter(), u32::MAX - 1);
            b.power_cycle();
        }
    }
}

#[test]
fn blind_needs_no_beacon_and_holds_its_report_rather_than_leave_the_window() {
    let mut b = Bench::new(DeviceForm::Blind);
    for _ in 0..200 {
        assert_eq!(form(&b.next(false)), Form::Blind);
    }
    assert_eq!(b.device.counter(), 8);
    let report = b.next(false);
    b.answer(&report);
    // Items are held too, and do not expire meanwhile.
    b.device.submit(b.now_ms, Cause::Event, b"").unwrap();
    for _ in 0..200 {
        assert_eq!(form(&b.next(false)), Form::Blind);
    }
    assert_eq!(
        (b.device.counter(), b.device.stats().items_expired),
        (16, 0)
    );
    // It is within the window, so the link back is enough.
    let report = b.next(false);
    assert_eq!(form(&report), Form::Blind);
    b.answer(&report);
    // After unanswered power cycles it is not; a beacon lets it recover.
    for _ in 0..30 {
        b.power_cycle();
        b.next(false);
    }
    let report = b.next(false);
    assert_eq!(b.network.report(b.now_ms, &area(1), &report), None);
    b.hear();
    while form(&b.next(true)) == Form::Blind {}
    assert_eq!(b.exchange().0, Form::Recovery);
}

/// A store put back, or lost: what the device holds is within no window, however often it is sent.
#[test]
fn a_blind_device_that_hears_a_beacon_recovers_without_a_power_cycle() {
    let nvm = Nvm::new(200, 1);
    provision(&mut nvm.clone(), None, 90).unwrap();
    let mut b = Bench::on(DeviceForm::Blind, nvm);
    for _ in 0..200 {
        assert_eq!(form(&b.next(false)), Form::Blind);
    }
    assert_eq!(b.device.counter(), 98, "held");
    b.hear();
    while form(&b.next(true)) == Form::Blind {}
    // A beacon that was only passing by leaves a report that can be answered, not one under its RAND_n.
    for _ in 0..200 {
        b.now_ms += 1_000 * S;
        assert_eq!(form(&b.next(false)), Form::Blind);
    }
    assert!(b.device.counter() <= 104);
    b.hear();
    assert_eq!(b.exchange().0, Form::Recovery);
}

#[test]
fn a_counter_device_does_not_start_on_a_lost_or_unreadable_memory() {
    let try_on = |form, nvm: &Nvm| {
        let key = LocalKey::new(RootKey::new(KEY), Suite::AesCmac);
        let dice = Dice(fastrand::Rng::with_seed(1));
        Device::power_on(profile(form), key, nvm.clone(), dice, 0, b"").err()
    };
    let nvm = Nvm::new(200, 1);
    nvm.0.borrow_mut().octets.fill(0x5A);
    assert_eq!(
        try_on(DeviceForm::Counter, &nvm),
        Some(PowerOnError::CounterLost)
    );
    assert_eq!(try_on(DeviceForm::Beacon, &nvm), None);
    nvm.0.borrow_mut().unreadable = true;
    assert_eq!(
        try_on(DeviceForm::Beacon, &nvm),
        Some(PowerOnError::MemoryUnreadable)
    );
    let found = 71;
    assert_eq!(
        try_on(DeviceForm::Beacon, &Nvm::new(found, 1)),
        Some(PowerOnError::MemoryTooSmall { found })
    );
}

#[test]
fn recovery_names_the_counter_it_was_built_with() {
    let mut b = Bench::new(DeviceForm::Counter);
    loop {
        let report = b.next(true);
        if let ReportId::Recovery { counter, .. } = *ReportView::parse(&report).unwrap().id() {
            assert_eq!(counter, b.device.counter());
            break;
        }
    }
}
