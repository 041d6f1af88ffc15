//! What is accepted, once, and answered (network rules 1, 3, 4 and 6).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use ambit_adm_api::{AdmClient, Outcome, Verdict};
use ambit_protocol::area::Plmn;
use ambit_protocol::wire::AcceptStatus;
use ambit_protocol::{Cause, DeviceForm, Form, RandN, Snid, Suite, TagLen};
use ambit_store::Store;
use common::*;

const HOUR_MS: i64 = 3_600_000;

#[test]
fn every_form_suite_and_tag_length_is_accepted_and_answered() {
    for suite in Suite::ALL {
        for len in TagLen::ALL {
            for form in Form::ALL {
                let mut device = Device::new("a", device_form(form));
                (device.suite, device.len) = (suite, len);
                let mut other = Device::new("b", device_form(form));
                (other.suite, other.len) = (suite, len);
                let mut net = Net::with(blind_config(), &[&other, &device]);
                let rand_n = net.rand_n();
                let sent = device.send_as(form, rand_n, Cause::PowerOn, 0);
                let verdict = net.hear_at(reader(7), rand_n, &sent.nas);
                assert_eq!(
                    verdict.outcome(),
                    Outcome::AcceptedNew,
                    "{form:?} {suite:?} {len:?}"
                );
                let accept = accept(&verdict);
                assert_eq!(accept.len(), 1 + len.octets());
                let status = sent.exchange.open_accept(&accept);
                assert_eq!(status, Ok(AcceptStatus::Accepted));

                let records = net.records();
                let [record] = &records[..] else {
                    panic!("{} records", records.len())
                };
                assert_eq!(record.device_id, b"a");
                assert_eq!(record.tag1, sent.exchange.tag1().as_slice());
                assert_eq!(record.epoch, rand_n.epoch());
                assert_eq!(record.form, form.number());
                assert_eq!((record.cause, record.seq), (1, 0));
                assert_eq!(record.data, b"21.5 C");
                assert_eq!(record.area_id, *area(1).octets());
                assert_eq!((record.gnb_id, record.reader_index), (1, 7));
                assert_eq!(record.time_ms, START_MS);
                assert!(!record.repeat);
                let is_counted = matches!(form, Form::Counter | Form::Recovery | Form::Blind);
                assert_eq!(record.counter, is_counted.then_some(1));
            }
        }
    }
}

/// A device's profile says which forms it sends; a report of another form is not its.
#[test]
fn a_form_that_the_device_does_not_send_is_not_accepted() {
    let all = [
        DeviceForm::Beacon,
        DeviceForm::Concealed,
        DeviceForm::Counter,
        DeviceForm::Blind,
        DeviceForm::Dt,
    ];
    for device_form in all {
        for form in Form::ALL {
            let mut device = Device::new("a", device_form);
            let mut net = Net::with(blind_config(), &[&device]);
            let rand_n = net.rand_n();
            let sent = device.send_as(form, rand_n, Cause::Event, 0);
            let is_accepted = net.hear(&sent.nas) == Outcome::AcceptedNew;
            assert_eq!(
                is_accepted,
                device_form.sends(form),
                "{device_form:?} {form:?}"
            );
        }
    }
}

#[test]
fn a_duplicate_gets_the_same_accept_octet_for_octet_and_no_second_record() {
    for (form, mut device) in all_forms() {
        let mut net = Net::with(blind_config(), &[&device]);
        let rand_n = net.rand_n();
        let sent = device.send_as(form, rand_n, Cause::Event, 3);
        let first = accept(&net.hear_at(reader(1), rand_n, &sent.nas));
        for wait_ms in [0, 1000, EPOCH_MS - 2000] {
            net.wait_ms(wait_ms);
            // Also through another reader of the area, and after a restart.
            let again = net.hear_at(reader(2), rand_n, &sent.nas);
            assert_eq!(again.outcome(), Outcome::AcceptedDuplicate, "{form:?}");
            assert_eq!(accept(&again), first);
            net.restart();
        }
        assert_eq!(net.store.record_count().unwrap(), 1);
        assert_eq!(net.event_count(), 1, "the import's event alone");
    }
}

#[test]
fn copies_in_one_batch_are_one_record_and_get_one_accept() {
    for (form, mut device) in all_forms() {
        let mut net = Net::with(blind_config(), &[&device]);
        let rand_n = net.rand_n();
        let sent = device.send_as(form, rand_n, Cause::Event, 3);
        let next = device.send_as(form, rand_n, Cause::Event, 4);
        let batch = [&sent.nas[..], &sent.nas, &next.nas, &next.nas, &sent.nas];
        let verdicts = net.hear_batch(rand_n, reader(1), &batch);
        let outcomes: Vec<_> = verdicts.iter().map(Verdict::outcome).collect();
        use Outcome::{AcceptedDuplicate as Again, AcceptedNew as New};
        assert_eq!(outcomes, [New, Again, New, Again, Again], "{form:?}");
        assert_eq!(accept(&verdicts[0]), accept(&verdicts[1]));
        assert_eq!(accept(&verdicts[0]), accept(&verdicts[4]));
        assert_ne!(accept(&verdicts[0]), accept(&verdicts[2]));
        assert_eq!(net.store.record_count().unwrap(), 2);
        assert_eq!(net.adm.tally().of(New), 2);
        assert_eq!(net.adm.tally().of(Again), 3);
    }
}

/// The same item in newly built reports: evidence, no event, no charge.
#[test]
fn an_item_again_within_the_hour_is_a_repeat_and_after_it_a_new_one() {
    for (form, mut device) in all_forms() {
        let mut net = Net::with(blind_config(), &[&device]);
        let mut item = |net: &mut Net, seq| {
            let rand_n = net.rand_n();
            net.hear(&device.send_as(form, rand_n, Cause::Periodic, seq).nas)
        };
        assert_eq!(item(&mut net, 3), Outcome::AcceptedNew);
        net.wait_ms(HOUR_MS - 1);
        assert_eq!(item(&mut net, 3), Outcome::AcceptedRepeat, "{form:?}");
        // The hour counts from the device's previous record, also over a restart.
        net.wait_ms(HOUR_MS - 1);
        net.restart();
        assert_eq!(item(&mut net, 3), Outcome::AcceptedRepeat, "{form:?}");
        net.wait_ms(HOUR_MS);
        assert_eq!(item(&mut net, 3), Outcome::AcceptedNew, "{form:?}");
        let repeats: Vec<bool> = net.records().iter().map(|record| record.repeat).collect();
        assert_eq!(repeats, [false, true, true, false]);
    }
}

#[test]
fn an_item_held_back_behind_the_next_is_a_repeat() {
    let mut device = Device::new("a", DeviceForm::Beacon);
    let mut net = Net::with(config(), &[&device]);
    let rand_n = net.rand_n();
    let mut send = |cause, seq| device.send(rand_n, cause, seq).nas;
    assert_eq!(net.hear(&send(Cause::Periodic, 3)), Outcome::AcceptedNew);
    assert_eq!(net.hear(&send(Cause::Event, 4)), Outcome::AcceptedNew);
    assert_eq!(net.hear(&send(Cause::Periodic, 3)), Outcome::AcceptedRepeat);
    net.restart();
    assert_eq!(net.hear(&send(Cause::Event, 4)), Outcome::AcceptedRepeat);
    // Both in one batch: the second is judged by the first.
    let (one, two) = (send(Cause::Moved, 5), send(Cause::Moved, 5));
    let verdicts = net.hear_batch(rand_n, reader(1), &[&one, &two]);
    assert_eq!(verdicts[0].outcome(), Outcome::AcceptedNew);
    assert_eq!(verdicts[1].outcome(), Outcome::AcceptedRepeat);
}

#[test]
fn a_power_on_is_never_a_repeat_and_starts_the_seqs_afresh() {
    let mut device = Device::new("a", DeviceForm::Beacon);
    let mut net = Net::with(config(), &[&device]);
    let rand_n = net.rand_n();
    let mut send = |cause, seq| device.send(rand_n, cause, seq).nas;
    assert_eq!(net.hear(&send(Cause::PowerOn, 0)), Outcome::AcceptedNew);
    assert_eq!(net.hear(&send(Cause::PowerOn, 0)), Outcome::AcceptedNew);
    assert_eq!(net.hear(&send(Cause::Event, 1)), Outcome::AcceptedNew);
    assert_eq!(net.hear(&send(Cause::PowerOn, 0)), Outcome::AcceptedNew);
    assert_eq!(net.hear(&send(Cause::Event, 1)), Outcome::AcceptedNew);
    assert_eq!(net.hear(&send(Cause::Event, 1)), Outcome::AcceptedRepeat);
}

/// A cause without a name, 0 among them, is one like the others: new items are new.
#[test]
fn items_of_every_cause_are_charged_once() {
    for cause in (0..16).map(Cause::from_number) {
        let mut device = Device::new("a", DeviceForm::Beacon);
        let mut net = Net::with(config(), &[&device]);
        let rand_n = net.rand_n();
        for seq in 0..16 {
            let sent = device.send(rand_n, cause, seq);
            assert_eq!(net.hear(&sent.nas), Outcome::AcceptedNew, "{cause:?} {seq}");
        }
        let again = device.send(rand_n, cause, 15);
        let expected = match cause {
            Cause::PowerOn => Outcome::AcceptedNew,
            _ => Outcome::AcceptedRepeat,
        };
        assert_eq!(net.hear(&again.nas), expected);
    }
}

#[test]
fn a_report_carried_to_another_area_is_not_accepted() {
    for (form, mut device) in all_forms() {
        let mut net = Net::with(blind_config(), &[&device]);
        let rand_n = net.rand_n();
        let sent = device.send_as(form, rand_n, Cause::Event, 0);
        let elsewhere = net.hear_at(in_area(2), rand_n, &sent.nas).outcome();
        if form == Form::Blind {
            // Bound to neither area nor epoch, which is why it is refused unless allowed.
            assert_eq!(elsewhere, Outcome::AcceptedNew);
            continue;
        }
        assert_eq!(elsewhere, Outcome::NoMatch, "{form:?}");
        let plmn = Plmn::new("001", "02").unwrap();
        let abroad = Place {
            area_id: Snid::new(plmn, None).area([0, 0, 1]),
            ..reader(1)
        };
        let verdict = net.hear_at(abroad, rand_n, &sent.nas);
        assert_eq!(verdict.outcome(), Outcome::AreaUnknown);
        assert_eq!(net.store.record_count().unwrap(), 0);
        // The control: the same report where it belongs.
        assert_eq!(net.hear(&sent.nas), Outcome::AcceptedNew);
    }
}

#[test]
fn the_previous_epoch_is_accepted_for_the_grace_and_not_a_millisecond_longer() {
    for (form, mut device) in all_forms() {
        let mut net = Net::with(blind_config(), &[&device]);
        let old = net.rand_n();
        let sent: Vec<_> = (0..4)
            .map(|seq| device.send_as(form, old, Cause::Event, seq).nas)
            .collect();
        let hear = |net: &mut Net, at_ms, n: usize| {
            net.now_ms = at_ms;
            net.hear_at(reader(1), old, &sent[n]).outcome()
        };
        let end_ms = START_MS + EPOCH_MS;
        assert_eq!(
            hear(&mut net, end_ms - 1, 0),
            Outcome::AcceptedNew,
            "{form:?}"
        );
        assert_eq!(hear(&mut net, end_ms, 1), Outcome::AcceptedNew);
        let last_ms = end_ms + GRACE_MS - 1;
        assert_eq!(hear(&mut net, last_ms, 2), Outcome::AcceptedNew);
        assert_eq!(hear(&mut net, last_ms, 2), Outcome::AcceptedDuplicate);
        assert_eq!(hear(&mut net, end_ms + GRACE_MS, 3), Outcome::StaleEpoch);
        assert_eq!(hear(&mut net, end_ms + GRACE_MS, 2), Outcome::StaleEpoch);
        let records = net.records();
        let expected = if form == Form::Blind {
            old.epoch() + 1
        } else {
            old.epoch()
        };
        assert_eq!(records[2].epoch, expected, "{form:?}");
    }
}

#[test]
fn a_rand_n_that_is_not_in_force_is_stale() {
    let mut device = Device::new("a", DeviceForm::Beacon);
    let mut net = Net::with(config(), &[&device]);
    let first = net.rand_n();
    net.wait_ms(2 * EPOCH_MS);
    let current = net.rand_n();
    let later = {
        let mut later = Net::on(net.store.clone(), config(), net.now_ms + EPOCH_MS);
        later.rand_n()
    };
    assert!(later.epoch() > current.epoch());
    let invented = RandN::new(current.epoch(), [9; 12]);
    for rand_n in [first, later, invented] {
        let sent = device.send(rand_n, Cause::Event, 0);
        // Neither in a window that claims it nor in the current one.
        let verdict = net.hear_at(reader(1), rand_n, &sent.nas);
        assert_eq!(verdict.outcome(), Outcome::StaleEpoch);
        assert_eq!(net.hear(&sent.nas), Outcome::NoMatch);
    }
    let sent = device.send(current, Cause::Event, 0);
    assert_eq!(net.hear(&sent.nas), Outcome::AcceptedNew);
}

#[test]
fn a_changed_report_is_silence() {
    for (form, mut device) in all_forms() {
        let mut net = Net::with(blind_config(), &[&device]);
        let rand_n = net.rand_n();
        let sent = device.send_as(form, rand_n, Cause::Event, 0);
        for bit in 0..sent.nas.len() * 8 {
            let mut changed = sent.nas.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let verdict = net.hear_at(reader(1), rand_n, &changed);
            assert!(is_silent(&verdict), "{form:?} {bit}: {verdict:?}");
        }
        for end in 0..sent.nas.len() {
            assert!(is_silent(&net.hear_at(reader(1), rand_n, &sent.nas[..end])));
        }
        let longer = [&sent.nas[..], &[0]].concat();
        assert!(is_silent(&net.hear_at(reader(1), rand_n, &longer)));
        assert_eq!(net.store.record_count().unwrap(), 0);
        assert_eq!(net.hear(&sent.nas), Outcome::AcceptedNew);
    }
}

/// Verdicts are per report, whatever stands beside it.
#[test]
fn a_batch_of_good_and_bad_reports() {
    let mut devices: Vec<Device> = (0..50)
        .map(|n| Device::new(&format!("device {n}"), DeviceForm::Beacon))
        .collect();
    let all: Vec<&Device> = devices.iter().collect();
    let mut net = Net::with(config(), &all);
    let rand_n = net.rand_n();
    let mut reports = Vec::new();
    for (n, device) in devices.iter_mut().enumerate() {
        let mut nas = device.send(rand_n, Cause::Event, 0).nas;
        if n % 3 == 1 {
            *nas.last_mut().unwrap() ^= 1;
        }
        reports.push(if n % 3 == 2 { vec![0xff; n] } else { nas });
    }
    let batch: Vec<&[u8]> = reports.iter().map(Vec::as_slice).collect();
    let verdicts = net.hear_batch(rand_n, reader(1), &batch);
    for (n, verdict) in verdicts.iter().enumerate() {
        let expected = [Outcome::AcceptedNew, Outcome::NoMatch, Outcome::Malformed][n % 3];
        assert_eq!(verdict.outcome(), expected);
    }
    assert_eq!(net.store.record_count().unwrap(), 17);
    let mut none = vec![Verdict::Silence(Outcome::NoMatch)];
    net.adm.authenticate(net.now_ms, &[], &mut none);
    assert!(none.is_empty());
}

/// What an AIOTF tells its subscribers: new reports alone, and only when it asked to know.
#[test]
fn what_a_new_report_said_is_told_once_and_only_to_who_asks() {
    for (form, mut device) in all_forms() {
        device.fleet = "pallets".into();
        let mut net = Net::with(blind_config(), &[&device]);
        let rand_n = net.rand_n();
        let told = |net: &mut Net, asks: bool, nas: &[&[u8]]| -> Vec<_> {
            net.adm.tell_items(asks);
            let verdicts = net.hear_batch(rand_n, reader(1), nas);
            let item = |verdict| match verdict {
                Verdict::Accept { item, .. } => item,
                Verdict::Silence(outcome) => panic!("silence: {outcome:?}"),
            };
            verdicts.into_iter().map(item).collect()
        };
        let unasked = device.send_as(form, rand_n, Cause::Event, 2);
        assert_eq!(told(&mut net, false, &[&unasked.nas]), [None]);
        assert_eq!(told(&mut net, true, &[&unasked.nas]), [None]);
        let asked = device.send_as(form, rand_n, Cause::Moved, 3);
        let items = told(&mut net, true, &[&asked.nas, &asked.nas]);
        let [Some(item), None] = &items[..] else {
            panic!("{items:?}")
        };
        assert_eq!(*item.device_id, *device.id);
        assert_eq!((&*item.fleet, item.cause), ("pallets", Cause::Moved));
        assert_eq!((item.seq, &*item.data), (3, &b"21.5 C"[..]));
        assert_eq!(*item.tag1, *asked.exchange.tag1().as_slice());
        let record = net.records().pop().unwrap();
        assert_eq!(
            (record.epoch, record.tag1),
            (item.epoch, item.tag1.to_vec())
        );
        // A repeat is evidence, and no news.
        let again = device.send_as(form, rand_n, Cause::Moved, 3);
        assert_eq!(told(&mut net, true, &[&again.nas]), [None]);
        assert_eq!(format!("{item:?}"), "DoaItem(6 octets)");
    }
}
