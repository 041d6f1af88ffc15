//! The counter forms: window, recovery, clone suspicion, the counter's end (section 6).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use ambit_adm::AdmConfig;
use ambit_adm_api::Outcome;
use ambit_protocol::{Cause, DeviceForm, Form};
use ambit_store::Store;
use common::*;

const COUNTED: [Form; 3] = [Form::Counter, Form::Recovery, Form::Blind];

/// A network that has accepted counter `last` from its one device.
fn net_at(form: Form, last: u32) -> (Net, Device) {
    let mut device = Device::new("a", device_form(form));
    let mut net = Net::with(blind_config(), &[&device]);
    let rand_n = net.rand_n();
    let sent = device.send_counter(Form::Recovery, rand_n, last, 0);
    assert_eq!(net.hear(&sent.nas), Outcome::AcceptedNew);
    (net, device)
}

#[test]
fn a_counter_is_found_up_to_the_window_and_not_beyond() {
    for form in [Form::Counter, Form::Blind] {
        for last in [1, 100, u32::MAX - 40] {
            for (ahead, expected) in [
                (1, Outcome::AcceptedNew),
                (16, Outcome::AcceptedNew),
                (17, Outcome::NoMatch),
                (1000, Outcome::NoMatch),
            ] {
                let (mut net, mut device) = net_at(form, last);
                let Some(counter) = last.checked_add(ahead) else {
                    continue;
                };
                let rand_n = net.rand_n();
                let sent = device.send_counter(form, rand_n, counter, 1);
                // The same after a restart, which builds the index anew.
                if ahead % 2 == 0 {
                    net.restart();
                }
                assert_eq!(net.hear(&sent.nas), expected, "{form:?} {last} + {ahead}");
            }
        }
    }
}

#[test]
fn the_window_moves_with_every_record() {
    let (mut net, mut device) = net_at(Form::Counter, 1);
    let rand_n = net.rand_n();
    let mut counter = 1;
    for (seq, step) in (1..).zip([16, 1, 16, 3, 16, 16, 2]) {
        counter += step;
        let sent = device.send_counter(Form::Counter, rand_n, counter, seq);
        assert_eq!(net.hear(&sent.nas), Outcome::AcceptedNew, "{counter}");
        let beyond = device.send_counter(Form::Counter, rand_n, counter + 17, 1);
        assert_eq!(net.hear(&beyond.nas), Outcome::NoMatch, "{counter}");
    }
}

#[test]
fn a_first_counter_is_found_and_the_window_is_configurable() {
    for (window, counter, expected) in [
        (1, 0, Outcome::AcceptedNew),
        (1, 1, Outcome::AcceptedNew),
        (1, 2, Outcome::NoMatch),
        (64, 64, Outcome::AcceptedNew),
        (64, 65, Outcome::NoMatch),
    ] {
        let mut device = Device::new("a", DeviceForm::Counter);
        let config = AdmConfig {
            counter_window: window,
            ..config()
        };
        let mut net = Net::with(config, &[&device]);
        let rand_n = net.rand_n();
        let sent = device.send_counter(Form::Counter, rand_n, counter, 0);
        assert_eq!(net.hear(&sent.nas), expected, "{window} {counter}");
    }
}

#[test]
fn recovery_finds_any_later_counter_and_moves_the_window() {
    for counter in [2, 17, 18, 5000, u32::MAX] {
        let (mut net, mut device) = net_at(Form::Counter, 1);
        let rand_n = net.rand_n();
        let sent = device.send_counter(Form::Recovery, rand_n, counter, 1);
        assert_eq!(net.hear(&sent.nas), Outcome::AcceptedNew, "{counter}");
        let Some(next) = counter.checked_add(16) else {
            continue;
        };
        let sent = device.send_counter(Form::Counter, rand_n, next, 2);
        assert_eq!(net.hear(&sent.nas), Outcome::AcceptedNew, "{counter}");
    }
}

/// The counter in clear is only a hint: it must fit T-ID and tag.
#[test]
fn recovery_with_another_counter_in_clear_is_not_accepted() {
    let (mut net, mut device) = net_at(Form::Counter, 1);
    let rand_n = net.rand_n();
    let sent = device.send_counter(Form::Recovery, rand_n, 9, 1);
    let mut changed = sent.nas.clone();
    changed[1..5].copy_from_slice(&10u32.to_be_bytes());
    assert_eq!(net.hear(&changed), Outcome::NoMatch);
    assert_eq!(net.hear(&sent.nas), Outcome::AcceptedNew);
}

#[test]
fn a_used_counter_with_a_new_tag_is_a_clone_suspicion() {
    for form in COUNTED {
        let (mut net, mut device) = net_at(form, 40);
        let rand_n = net.rand_n();
        // As far back as the index reaches; recovery, found by search, any.
        let far = if form == Form::Recovery { 1 } else { 24 };
        for counter in [40, 39, far] {
            let sent = device.send_counter(form, rand_n, counter, 7);
            let verdict = net.hear_at(reader(2), rand_n, &sent.nas);
            assert!(is_silent(&verdict));
            assert_eq!(
                verdict.outcome(),
                Outcome::CloneSuspicion,
                "{form:?} {counter}"
            );
        }
        assert_eq!(net.store.record_count().unwrap(), 1);
        let events = net.events("clone_suspicion");
        assert_eq!(events.len(), 1, "rate-limited");
        assert_eq!(events[0].device_id.as_deref(), Some(&b"a"[..]));
        assert_eq!(events[0].severity, "alarm");
        assert_eq!(events[0].area_id, Some(*area(1).octets()));
        assert_eq!(
            (events[0].gnb_id, events[0].reader_index),
            (Some(1), Some(2))
        );
        // The control: the true device goes on.
        let sent = device.send_counter(form, rand_n, 41, 7);
        assert_eq!(net.hear(&sent.nas), Outcome::AcceptedNew);
    }
}

#[test]
fn two_live_devices_with_one_key_show_as_a_clone() {
    let mut device = Device::new("a", DeviceForm::Counter);
    let mut clone = Device::new("a", DeviceForm::Counter);
    let mut net = Net::with(config(), &[&device]);
    let rand_n = net.rand_n();
    let first = device.send(rand_n, Cause::Event, 1);
    let second = clone.send(rand_n, Cause::Moved, 1);
    let batch = [&first.nas[..], &second.nas];
    let verdicts = net.hear_batch(rand_n, reader(1), &batch);
    assert_eq!(verdicts[0].outcome(), Outcome::AcceptedNew);
    assert_eq!(verdicts[1].outcome(), Outcome::CloneSuspicion);
}

#[test]
fn the_last_counter_resent_is_a_duplicate() {
    for form in COUNTED {
        let (mut net, mut device) = net_at(form, 40);
        let rand_n = net.rand_n();
        let sent = device.send_counter(form, rand_n, 41, 7);
        let accept_1 = accept(&net.hear_at(reader(1), rand_n, &sent.nas));
        let verdict = net.hear_at(reader(1), rand_n, &sent.nas);
        assert_eq!(verdict.outcome(), Outcome::AcceptedDuplicate);
        assert_eq!(accept(&verdict), accept_1);
        // A replay behind a later one, in the same epoch, is a no-op too (network rule 3).
        let later = device.send_counter(form, rand_n, 42, 8);
        assert_eq!(net.hear(&later.nas), Outcome::AcceptedNew);
        assert_eq!(net.hear(&sent.nas), Outcome::AcceptedDuplicate);
        assert!(net.events("clone_suspicion").is_empty());
        assert_eq!(net.store.record_count().unwrap(), 3);
    }
}

/// The blind form is bound to no epoch: the resend of the last counter is the same record in the next one.
#[test]
fn a_blind_report_resent_in_a_later_epoch_is_a_duplicate() {
    let (mut net, mut device) = net_at(Form::Blind, 40);
    let rand_n = net.rand_n();
    let sent = device.send_counter(Form::Blind, rand_n, 41, 7);
    let first = accept(&net.hear_at(reader(1), rand_n, &sent.nas));
    net.wait_ms(3 * EPOCH_MS);
    let rand_n = net.rand_n();
    let again = net.hear_at(reader(1), rand_n, &sent.nas);
    assert_eq!(again.outcome(), Outcome::AcceptedDuplicate);
    assert_eq!(accept(&again), first);
    assert_eq!(net.store.record_count().unwrap(), 2);
}

#[test]
fn a_report_of_the_counter_form_is_not_accepted_in_a_later_epoch() {
    for form in [Form::Counter, Form::Recovery] {
        let (mut net, mut device) = net_at(form, 1);
        let old = net.rand_n();
        let held = device.send_counter(form, old, 2, 1);
        net.wait_ms(2 * EPOCH_MS);
        assert_eq!(net.hear(&held.nas), Outcome::NoMatch);
        let rand_n = net.rand_n();
        let fresh = device.send_counter(form, rand_n, 2, 1);
        assert_eq!(net.hear(&fresh.nas), Outcome::AcceptedNew);
    }
}

#[test]
fn the_counter_may_be_used_to_its_end() {
    for form in COUNTED {
        let (mut net, mut device) = net_at(form, u32::MAX - 20);
        let rand_n = net.rand_n();
        for counter in [u32::MAX - 10, u32::MAX - 1, u32::MAX] {
            let sent = device.send_counter(form, rand_n, counter, 1);
            assert!(matches!(
                net.hear(&sent.nas),
                Outcome::AcceptedNew | Outcome::AcceptedRepeat
            ));
            assert_eq!(net.hear(&sent.nas), Outcome::AcceptedDuplicate);
        }
        net.restart();
        for counter in [u32::MAX, u32::MAX - 1] {
            let sent = device.send_counter(form, rand_n, counter, 9);
            assert_eq!(net.hear(&sent.nas), Outcome::CloneSuspicion, "{form:?}");
        }
        // What a counter that wrapped would send is behind.
        let wrapped = device.send_counter(Form::Recovery, rand_n, 0, 9);
        assert_eq!(net.hear(&wrapped.nas), Outcome::CloneSuspicion);
    }
}

/// Another process on the same store moved the counter: this one learns of it from the first refusal.
#[test]
fn a_counter_moved_by_another_process_is_taken_up() {
    let (mut net, mut device) = net_at(Form::Counter, 1);
    let mut other = Net::on(net.store.clone(), blind_config(), net.now_ms);
    let rand_n = net.rand_n();
    let elsewhere = device.send_counter(Form::Counter, rand_n, 16, 1);
    assert_eq!(other.hear(&elsewhere.nas), Outcome::AcceptedNew);
    let stale = device.send_counter(Form::Counter, rand_n, 15, 2);
    assert_eq!(net.hear(&stale.nas), Outcome::CloneSuspicion);
    let next = device.send_counter(Form::Counter, rand_n, 32, 2);
    assert_eq!(net.hear(&next.nas), Outcome::AcceptedNew);
}
