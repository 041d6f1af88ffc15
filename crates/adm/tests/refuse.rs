//! What is answered with silence, and the event that says why (network rules 1, 2, 5 and 7, sections 9 and 10).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::collections::HashMap;

use ambit_adm::AdmConfig;
use ambit_adm_api::{AdmClient, Outcome};
use ambit_protocol::{Cause, DeviceForm, Form, RandN, Suite, TagLen, schedule};
use ambit_search::Kernel;
use ambit_store::Store;
use common::*;

fn spoilt(nas: &[u8]) -> Vec<u8> {
    let mut nas = nas.to_vec();
    *nas.last_mut().unwrap() ^= 0x80;
    nas
}

/// One T-ID guessed at `guesses` times, and what then becomes of the true report.
fn after_guesses(net: &mut Net, good: &[u8], guesses: usize) -> Outcome {
    let bad = spoilt(good);
    for _ in 0..guesses {
        net.hear(&bad);
    }
    net.hear(good)
}

#[test]
fn with_a_short_tag_a_t_id_is_refused_after_1024_failures_until_the_epoch_ends() {
    for (form, mut device) in all_forms() {
        if form == Form::Concealed {
            continue;
        }
        device.len = TagLen::T4;
        let mut other = Device::new("other", device.form);
        other.len = TagLen::T4;
        let mut net = Net::with(blind_config(), &[&device, &other]);
        let rand_n = net.rand_n();
        // The control: one guess fewer.
        let sent = device.send_as(form, rand_n, Cause::Event, 0);
        let outcome = after_guesses(&mut net, &sent.nas, 1023);
        assert_eq!(outcome, Outcome::AcceptedNew, "{form:?}");
        assert!(net.events("t_id_locked").is_empty());

        // The same T-ID again: one more and it is locked, for guesses and the device alike.
        let outcome = after_guesses(&mut net, &sent.nas, 1);
        assert_eq!(outcome, Outcome::TIdLocked, "{form:?}");
        assert_eq!(net.hear(&spoilt(&sent.nas)), Outcome::TIdLocked);
        let alarms = net.events("t_id_locked");
        assert_eq!(alarms[0].severity, "alarm");
        assert_eq!(alarms.len(), 1, "rate-limited");
        // Others are not concerned.
        let sent = other.send_as(form, rand_n, Cause::Event, 0);
        assert_eq!(net.hear(&sent.nas), Outcome::AcceptedNew);

        net.wait_ms(EPOCH_MS);
        let rand_n = net.rand_n();
        let counter = device.counter;
        let fresh = device.send_counter(form, rand_n, counter + 1, 1);
        let outcome = net.hear(&fresh.nas);
        assert_eq!(outcome, Outcome::AcceptedNew, "{form:?}");
    }
}

#[test]
fn a_counter_t_id_is_locked_for_the_epoch_alone() {
    let mut device = Device::new("a", DeviceForm::Counter);
    device.len = TagLen::T4;
    let mut net = Net::with(config(), &[&device]);
    let rand_n = net.rand_n();
    let sent = device.send_counter(Form::Counter, rand_n, 5, 0);
    assert_eq!(after_guesses(&mut net, &sent.nas, 1024), Outcome::TIdLocked);
    net.wait_ms(EPOCH_MS);
    // Counter 5 has the same T-ID in every epoch.
    let rand_n = net.rand_n();
    let sent = device.send_counter(Form::Counter, rand_n, 5, 0);
    assert_eq!(
        after_guesses(&mut net, &sent.nas, 1023),
        Outcome::AcceptedNew
    );
}

#[test]
fn with_longer_tags_no_t_id_is_locked() {
    for len in [TagLen::T8, TagLen::T16] {
        let mut device = Device::new("a", DeviceForm::Beacon);
        device.len = len;
        let mut net = Net::with(config(), &[&device]);
        let rand_n = net.rand_n();
        let sent = device.send(rand_n, Cause::Event, 0);
        assert_eq!(
            after_guesses(&mut net, &sent.nas, 3000),
            Outcome::AcceptedNew
        );
        assert!(net.events("t_id_locked").is_empty());
    }
}

#[test]
fn the_blind_form_is_refused_unless_set() {
    let mut device = Device::new("a", DeviceForm::Blind);
    let mut net = Net::with(config(), &[&device]);
    let rand_n = net.rand_n();
    let sent = device.send(rand_n, Cause::Event, 0);
    assert_eq!(net.hear(&sent.nas), Outcome::PolicyRefused);
    let events = net.events("policy_refused");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].detail, r#"{"form":"blind"}"#);
    assert_eq!(net.store.record_count().unwrap(), 0);
    // Recovery, which is bound to epoch and area, is allowed; and the blind form where it is set.
    let recovery = device.send_as(Form::Recovery, rand_n, Cause::Event, 0);
    assert_eq!(net.hear(&recovery.nas), Outcome::AcceptedNew);
    net.restart_with(blind_config());
    let sent = device.send(rand_n, Cause::Event, 1);
    assert_eq!(net.hear(&sent.nas), Outcome::AcceptedNew);
}

#[test]
fn a_disabled_device_is_silent_with_an_event_and_enabled_again_it_works() {
    for (form, mut device) in all_forms() {
        let mut net = Net::with(blind_config(), &[&device]);
        let rand_n = net.rand_n();
        let before = device.send_as(form, rand_n, Cause::Event, 0);
        assert_eq!(net.hear(&before.nas), Outcome::AcceptedNew);

        net.adm.set_disabled(&device.id, true, net.now_ms).unwrap();
        let sent = device.send_as(form, rand_n, Cause::Event, 1);
        assert_eq!(net.hear(&sent.nas), Outcome::DeviceDisabled, "{form:?}");
        // Not even a duplicate is answered, nor after a restart.
        assert_eq!(net.hear(&before.nas), Outcome::DeviceDisabled);
        net.restart();
        assert_eq!(net.hear(&sent.nas), Outcome::DeviceDisabled);
        assert_eq!(net.store.record_count().unwrap(), 1);
        let events = net.events("device_disabled");
        assert_eq!(events[0].device_id.as_deref(), Some(&device.id[..]));
        // A report that does not verify tells nothing of the device.
        assert_eq!(net.hear(&spoilt(&sent.nas)), Outcome::NoMatch);

        net.adm.set_disabled(&device.id, false, net.now_ms).unwrap();
        assert_eq!(net.hear(&sent.nas), Outcome::AcceptedNew);
        assert_eq!(net.events("device_was_disabled").len(), 1);
        assert_eq!(net.events("device_was_enabled").len(), 1);
    }
}

/// What another process wrote takes effect when it is asked for here as well.
#[test]
fn disabling_takes_effect_although_the_store_says_so_already() {
    let mut device = Device::new("a", DeviceForm::Beacon);
    let mut net = Net::with(config(), &[&device]);
    let mut other = Net::on(net.store.clone(), config(), net.now_ms);
    other.adm.set_disabled(&device.id, true, START_MS).unwrap();
    net.adm.set_disabled(&device.id, true, START_MS).unwrap();
    let rand_n = net.rand_n();
    let sent = device.send(rand_n, Cause::Event, 1);
    assert_eq!(net.hear(&sent.nas), Outcome::DeviceDisabled);
}

#[test]
fn a_fleet_is_heard_in_its_areas_alone() {
    let config = AdmConfig {
        fleet_areas: fleets(&[("cold", &[1, 2]), ("nowhere", &[])]),
        ..blind_config()
    };
    for (form, mut device) in all_forms() {
        for (fleet, allowed) in [
            ("cold", &[1, 2][..]),
            ("nowhere", &[]),
            ("anything else", &[1, 2, 3]),
        ] {
            device.fleet = fleet.into();
            let mut net = Net::with(config.clone(), &[&device]);
            device.counter = 0;
            for code in [1, 2, 3] {
                let rand_n = net.rand_n();
                device.area_id = area(code);
                let sent = device.send_as(form, rand_n, Cause::Event, code);
                let outcome = net.hear_at(in_area(code), rand_n, &sent.nas).outcome();
                let expected = match allowed.contains(&code) {
                    true => Outcome::AcceptedNew,
                    false => Outcome::NoMatch,
                };
                assert_eq!(outcome, expected, "{form:?} {fleet} {code}");
            }
        }
    }
}

/// Two keys whose T-IDs under this RAND_n are one: among some hundred thousand there are.
fn keys_of_one_t_id(rand_n: &RandN) -> [[u8; 16]; 2] {
    let mut rng = fastrand::Rng::with_seed(9);
    let keys: Vec<[u8; 16]> = (0..300_000).map(|_| rng.u128(..).to_be_bytes()).collect();
    let mut prefixes = vec![0; keys.len()];
    let input = schedule::beacon_t_id(rand_n);
    Kernel::best().prefixes(Suite::AesCmac, &keys, &input, &mut prefixes);
    let mut seen = HashMap::new();
    let both = prefixes.iter().zip(&keys).find_map(|(prefix, key)| {
        let other = seen.insert(prefix >> 32, *key)?;
        Some([other, *key])
    });
    both.expect("a birthday")
}

#[test]
fn devices_of_one_t_id_are_told_apart_whichever_is_looked_at_first() {
    let config = AdmConfig {
        fleet_areas: fleets(&[("elsewhere", &[2])]),
        ..config()
    };
    for elsewhere in [None, Some(0), Some(1)] {
        let mut net = Net::new(config.clone());
        let rand_n = net.rand_n();
        let mut devices = ["a", "b"].map(|name| Device::new(name, DeviceForm::Beacon));
        for (device, key) in devices.iter_mut().zip(keys_of_one_t_id(&rand_n)) {
            device.key = key;
        }
        if let Some(device) = elsewhere {
            devices[device].fleet = "elsewhere".into();
        }
        net.import(&devices.each_ref());
        for batched in [true, false] {
            let sent = devices
                .each_mut()
                .map(|d| d.send(rand_n, Cause::Event, batched.into()));
            let [a, b] = sent.each_ref().map(|sent| sent.nas.as_slice());
            assert_eq!(a[1..5], b[1..5], "one T-ID");
            let verdicts = match batched {
                true => net.hear_batch(rand_n, reader(1), &[a, b]),
                false => vec![
                    net.hear_at(reader(1), rand_n, a),
                    net.hear_at(reader(1), rand_n, b),
                ],
            };
            for (place, verdict) in verdicts.iter().enumerate() {
                let expected = match elsewhere == Some(place) {
                    true => Outcome::NoMatch,
                    false => Outcome::AcceptedNew,
                };
                assert_eq!(
                    verdict.outcome(),
                    expected,
                    "{elsewhere:?} {batched} {place}"
                );
                if expected == Outcome::AcceptedNew {
                    assert!(sent[place].exchange.open_accept(&accept(verdict)).is_ok());
                }
            }
        }
        let records = net.records();
        let of = |id: &[u8]| records.iter().filter(|r| r.device_id == id).count();
        let expected = |place| if elsewhere == Some(place) { 0 } else { 2 };
        assert_eq!([of(b"a"), of(b"b")], [expected(0), expected(1)]);
    }
}

#[test]
fn a_report_that_two_devices_verify_is_refused_with_an_alarm() {
    for (form, mut device) in all_forms() {
        let mut twin = Device::new(form.name(), device.form);
        twin.id = b"twin".to_vec();
        let mut net = Net::with(blind_config(), &[&device, &twin]);
        let rand_n = net.rand_n();
        let sent = device.send_as(form, rand_n, Cause::Event, 0);
        assert_eq!(net.hear(&sent.nas), Outcome::AmbiguousMatch, "{form:?}");
        assert_eq!(net.store.record_count().unwrap(), 0);
        let alarms = net.events("ambiguous_match");
        assert_eq!(alarms.len(), 1);
        assert_eq!(alarms[0].severity, "alarm");
        assert!(alarms[0].device_id.is_some(), "the alarm names one of them");
        // The control: the same key in another suite is no match.
        twin.suite = ambit_protocol::Suite::HmacSha256;
        let mut net = Net::with(blind_config(), &[&device, &twin]);
        let rand_n = net.rand_n();
        let sent = device.send_as(form, rand_n, Cause::Event, 0);
        assert_eq!(net.hear(&sent.nas), Outcome::AcceptedNew);
    }
}

#[test]
fn an_exhausted_search_budget_is_silence_at_one_reader_and_nothing_elsewhere() {
    for searched in [Form::Concealed, Form::Recovery] {
        let looked_up = match searched {
            Form::Concealed => Form::Beacon,
            _ => Form::Counter,
        };
        let mut devices: Vec<_> = (0..10)
            .map(|n| Device::new(&format!("device {n}"), device_form(looked_up)))
            .collect();
        let config = AdmConfig {
            search_prf_per_s_max: 100,
            ..config()
        };
        let mut net = Net::with(config, &devices.iter().collect::<Vec<_>>());
        let rand_n = net.rand_n();
        let stranger = &mut Device::new("stranger", device_form(searched));
        let mut junk = |net: &mut Net| {
            let sent = stranger.send_as(searched, rand_n, Cause::Event, 0);
            net.hear(&sent.nas)
        };
        // Half of 100 PRF/s for this reader, 10 a search.
        for _ in 0..5 {
            assert_eq!(junk(&mut net), Outcome::NoMatch);
        }
        assert_eq!(junk(&mut net), Outcome::SearchBudgetExhausted);
        let device = &mut devices[3];
        let sent = device.send_as(searched, rand_n, Cause::Event, 0);
        assert_eq!(net.hear(&sent.nas), Outcome::SearchBudgetExhausted);
        assert_eq!(net.events("search_budget_exhausted").len(), 1);
        // Another reader has its share, and table lookups cost nothing of it.
        let elsewhere = net.hear_at(reader(2), rand_n, &sent.nas);
        assert_eq!(elsewhere.outcome(), Outcome::AcceptedNew, "{searched:?}");
        let sent = device.send_as(looked_up, rand_n, Cause::Event, 1);
        assert_eq!(net.hear(&sent.nas), Outcome::AcceptedNew);
        // Time fills the bucket, also when the clock was set back in between.
        net.now_ms -= 100_000;
        assert_eq!(junk(&mut net), Outcome::SearchBudgetExhausted);
        net.wait_ms(200);
        let sent = device.send_as(searched, rand_n, Cause::Event, 2);
        assert_eq!(net.hear(&sent.nas), Outcome::AcceptedNew);
    }
}

/// Reports with the shape of one, of every form, under no device's key.
fn junk(rng: &mut fastrand::Rng) -> Vec<u8> {
    let form = rng.u8(0..5);
    let mut nas: Vec<u8> = (0..rng.usize(24..60)).map(|_| rng.u8(..)).collect();
    nas[0] = 0x40 | form;
    nas
}

#[test]
fn impersonation_attempts_are_told_once_a_while_with_their_number() {
    let mut net = Net::with(config(), &[&Device::new("a", DeviceForm::Beacon)]);
    let stranger = &mut Device::new("stranger", DeviceForm::Beacon);
    let mut attempt = |net: &mut Net| {
        let rand_n = net.rand_n();
        net.hear(&stranger.send(rand_n, Cause::PowerOn, 0).nas)
    };
    let counts = |net: &mut Net| -> Vec<u64> {
        let events = net.events("impersonation_attempt");
        events.iter().map(|event| event.count).collect()
    };
    for _ in 0..100 {
        assert_eq!(attempt(&mut net), Outcome::NoMatch);
        net.wait_ms(10);
    }
    assert_eq!(counts(&mut net), [1]);
    net.wait_ms(59_000);
    attempt(&mut net);
    assert_eq!(counts(&mut net), [1, 100]);
    // What is held back is written when its time has come, without another attempt.
    attempt(&mut net);
    net.wait_ms(60_000);
    net.adm.tick(net.now_ms);
    assert_eq!(counts(&mut net), [1, 100, 1]);
    // Nothing is held for ever because the clock was set back.
    net.now_ms -= 7_200_000;
    attempt(&mut net);
    net.adm.tick(net.now_ms);
    assert_eq!(counts(&mut net), [1, 100, 1, 1]);
    attempt(&mut net);
    net.adm.close(net.now_ms);
    assert_eq!(counts(&mut net), [1, 100, 1, 1, 1]);

    let event = &net.events("impersonation_attempt")[0];
    assert_eq!(event.severity, "warning");
    assert_eq!(event.device_id, None);
    assert_eq!(event.area_id, Some(*area(1).octets()));
    assert_eq!((event.gnb_id, event.reader_index), (Some(1), Some(1)));
    assert_eq!(event.detail, r#"{"form":"beacon"}"#);
    assert_eq!(net.store.record_count().unwrap(), 0);
}

#[test]
fn ten_thousand_junk_reports_leave_no_record_and_few_events() {
    for readers in [3, 10_000] {
        let devices: Vec<_> = all_forms().into_iter().map(|(_, device)| device).collect();
        let devices: Vec<_> = devices.iter().take(3).collect();
        let config = AdmConfig {
            search_prf_per_s_max: 1000,
            ..blind_config()
        };
        let mut net = Net::with(config, &devices);
        let rand_n = net.rand_n();
        let before = net.event_count();
        let mut rng = fastrand::Rng::with_seed(6);
        let mut silent = 0;
        for n in 0..10_000u32 {
            let place = reader(1 + (n % readers) as u16);
            let nas = junk(&mut rng);
            silent += u32::from(is_silent(&net.hear_at(place, rand_n, &nas)));
        }
        assert_eq!(silent, 10_000);
        assert_eq!(net.store.record_count().unwrap(), 0);
        // Two kinds for each reader and form at most; places beyond 4096 share one entry a kind.
        let bound = (2 * 5 * readers as usize).min(4096 + 2);
        let events = net.event_count() - before;
        assert!(events <= bound, "{events} events at {readers} readers");
        // And every report is told of in the end.
        net.adm.close(net.now_ms);
        let kinds = ["impersonation_attempt", "search_budget_exhausted"];
        let told: u64 = kinds
            .iter()
            .flat_map(|kind| net.events(kind))
            .map(|event| event.count)
            .sum();
        assert_eq!(told, 10_000);
    }
}

/// A flood of junk from invented readers does not take the name off an alarm about a device.
#[test]
fn an_alarm_names_its_device_in_a_flood_too() {
    let mut device = Device::new("a", DeviceForm::Counter);
    let mut net = Net::with(config(), &[&device]);
    let rand_n = net.rand_n();
    let mut rng = fastrand::Rng::with_seed(9);
    for n in 1..6000 {
        let mut nas = junk(&mut rng);
        nas[0] = 0x40;
        net.hear_at(reader(n), rand_n, &nas);
    }
    for counter in [5, 5] {
        let sent = device.send_counter(Form::Counter, rand_n, counter, rng.u8(0..16));
        net.hear(&sent.nas);
    }
    let alarms = net.events("clone_suspicion");
    assert_eq!(alarms[0].device_id.as_deref(), Some(&b"a"[..]));
}

#[test]
fn octets_that_are_no_report_are_counted_and_nothing_else() {
    let mut net = Net::with(config(), &[&Device::new("a", DeviceForm::Beacon)]);
    let before = net.event_count();
    let mut rng = fastrand::Rng::with_seed(7);
    for length in 0..300 {
        let mut nas: Vec<u8> = (0..length).map(|_| rng.u8(..)).collect();
        if let Some(first) = nas.first_mut() {
            *first |= 0x80;
        }
        assert_eq!(net.hear(&nas), Outcome::Malformed);
    }
    assert_eq!(net.event_count(), before);
    assert_eq!(net.adm.tally().of(Outcome::Malformed), 300);
}
