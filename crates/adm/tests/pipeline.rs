//! Batches that are recorded while others are verified: the same verdicts and records, none before its time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ambit_adm::AdmConfig;
use ambit_adm_api::{AdmClient, DoaReport, Outcome, Pipelined, Verdict};
use ambit_protocol::{Cause, DeviceForm, Form, RandN};
use ambit_store::{FILE_NAME, SqliteStore, Store};
use common::*;

fn gather(net: &mut Net, rand_n: RandN, reports: &[&[u8]]) {
    let place = reader(1);
    let reports: Vec<DoaReport<'_>> = reports
        .iter()
        .map(|nas| DoaReport {
            nas,
            rand_n,
            area_id: place.area_id,
            gnb_id: place.gnb_id,
            reader_index: place.reader_index,
        })
        .collect();
    net.adm.gather(net.now_ms, &reports);
}

fn outcomes(verdicts: Vec<Verdict>) -> Vec<Outcome> {
    verdicts.iter().map(Verdict::outcome).collect()
}

/// Two devices, and a report of each under the current RAND_n.
fn two(config: AdmConfig) -> (Net, RandN, [Vec<u8>; 2]) {
    let mut devices = ["a", "b"].map(|name| Device::new(name, DeviceForm::Beacon));
    let mut net = Net::with(config, &[&devices[0], &devices[1]]);
    let rand_n = net.rand_n();
    let reports = devices
        .each_mut()
        .map(|device| device.send(rand_n, Cause::Event, 0).nas);
    (net, rand_n, reports)
}

/// Waits for the verdicts of the next batch.
fn recorded(net: &mut Net) -> Vec<Outcome> {
    outcomes(net.adm.recorded(true).unwrap())
}

/// Holds up the next batch until the sender is dropped.
fn hold(store: &TestStore) -> Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    store.before_accept(move || {
        let _ = held.recv();
    });
    release
}

#[test]
fn while_a_batch_is_recorded_another_is_verified_and_neither_is_answered_too_early() {
    let mut devices: Vec<Device> = ["a", "b"]
        .map(|name| Device::new(name, DeviceForm::Beacon))
        .into();
    let mut net = Net::with(config(), &devices.iter().collect::<Vec<_>>());
    let woken = Arc::new(AtomicUsize::new(0));
    let wakes = Arc::clone(&woken);
    net.adm.wake_with(Box::new(move || {
        wakes.fetch_add(1, Ordering::SeqCst);
    }));
    let rand_n = net.rand_n();
    let [first, second] = [0, 1].map(|device: usize| devices[device].send(rand_n, Cause::Event, 0));

    assert!(net.adm.recorded(true).is_none(), "nothing was gathered");
    let release = hold(&net.store);
    gather(&mut net, rand_n, &[&first.nas, b"junk"]);
    net.adm.record();
    // This would wait for ever if it waited for the first.
    gather(&mut net, rand_n, &[&second.nas]);
    assert!(net.adm.recorded(false).is_none());
    assert_eq!((woken.load(Ordering::SeqCst), net.records().len()), (0, 0));
    drop(release);
    assert_eq!(
        recorded(&mut net),
        [Outcome::AcceptedNew, Outcome::Malformed]
    );
    assert_eq!(net.records().len(), 1);
    net.adm.record();
    let verdicts = net.adm.recorded(true).unwrap();
    let accept = accept(&verdicts[0]);
    assert!(second.exchange.open_accept(&accept).is_ok());
    assert_eq!(net.records().len(), 2);
    assert!(net.adm.recorded(true).is_none());
    // By the thread, a moment after the store is back.
    for _ in 0..1000 {
        if woken.load(Ordering::SeqCst) == 2 {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("woken {} times", woken.load(Ordering::SeqCst));
}

/// Two ADMs hear the same, one batch after the other and overlapping: what they say and record is the same.
#[test]
fn overlapping_batches_are_judged_as_one_after_the_other() {
    const SEQS: u8 = 3;
    for seed in 0..40u64 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut devices: Vec<Device> = (0..6)
            .map(|n| {
                let forms = [
                    DeviceForm::Beacon,
                    DeviceForm::Concealed,
                    DeviceForm::Counter,
                ];
                Device::new(&format!("device {n}"), forms[n % 3])
            })
            .collect();
        let known: Vec<&Device> = devices.iter().collect();
        let mut plain = Net::with(config(), &known);
        let mut piped = Net::with(config(), &known);
        let rand_n = plain.rand_n();
        assert_eq!(piped.rand_n(), rand_n);
        // The last report of each device.
        let mut sent: Vec<Vec<u8>> = vec![Vec::new(); devices.len()];
        let (mut said, mut heard) = (Vec::new(), Vec::new());
        let mut is_recording = false;
        for _ in 0..60 {
            let batch: Vec<Vec<u8>> = (0..rng.usize(0..4))
                .map(|_| {
                    let n = rng.usize(..devices.len());
                    match rng.u8(0..8) {
                        0 if !sent[n].is_empty() => sent[n].clone(),
                        1 if !sent[n].is_empty() => {
                            let mut changed = sent[n].clone();
                            *changed.last_mut().unwrap() ^= 1;
                            changed
                        }
                        _ => {
                            let cause = [Cause::Event, Cause::Periodic, Cause::PowerOn];
                            let cause = cause[rng.usize(..3)];
                            sent[n] = devices[n].send(rand_n, cause, rng.u8(..SEQS)).nas;
                            sent[n].clone()
                        }
                    }
                })
                .collect();
            let reports: Vec<&[u8]> = batch.iter().map(Vec::as_slice).collect();
            said.extend(outcomes(plain.hear_batch(rand_n, reader(1), &reports)));

            if rng.bool() {
                let wait = Duration::from_micros(rng.u64(..1500));
                piped.store.before_accept(move || std::thread::sleep(wait));
            }
            gather(&mut piped, rand_n, &reports);
            // As the AIOTF does it: the next batch when the one before is back, which may be waited for.
            if !is_recording {
                piped.adm.record();
                is_recording = true;
            } else if piped.adm.is_recorded(rng.u8(..4) == 0) {
                piped.adm.record();
                heard.extend(outcomes(piped.adm.recorded(false).unwrap()));
            }
            match rng.u8(..20) {
                0 => piped.adm.tick(piped.now_ms),
                1 => assert!(piped.adm.store().record_count().is_ok()),
                _ => {}
            }
        }
        for _ in 0..2 {
            heard.extend(piped.adm.recorded(true).into_iter().flat_map(outcomes));
            piped.adm.record();
        }
        assert_eq!(heard, said, "seed {seed}");
        let of = |net: &mut Net| -> Vec<_> {
            let records = net.records().into_iter();
            records
                .map(|r| (r.device_id, r.tag1, r.cause, r.seq, r.repeat))
                .collect()
        };
        assert_eq!(of(&mut piped), of(&mut plain), "seed {seed}");
        let count = |outcome| said.iter().filter(|said| **said == outcome).count();
        assert!(
            [
                Outcome::AcceptedNew,
                Outcome::AcceptedRepeat,
                Outcome::AcceptedDuplicate,
                Outcome::NoMatch
            ]
            .into_iter()
            .all(|outcome| count(outcome) > 0),
            "seed {seed}: {said:?}"
        );
    }
}

/// Whether an item is a repeat hangs on the record before it, which is on its way.
#[test]
fn an_item_that_is_being_recorded_is_charged_once() {
    for form in [Form::Beacon, Form::Concealed, Form::Counter] {
        let mut device = Device::new("a", device_form(form));
        let mut net = Net::with(config(), &[&device]);
        let rand_n = net.rand_n();
        let [first, again] = [(); 2].map(|()| device.send(rand_n, Cause::Event, 3).nas);
        gather(&mut net, rand_n, &[&first]);
        net.adm.record();
        gather(&mut net, rand_n, &[&again, &first]);
        assert_eq!(recorded(&mut net), [Outcome::AcceptedNew], "{form:?}");
        net.adm.record();
        let then = recorded(&mut net);
        assert_eq!(then[0], Outcome::AcceptedRepeat, "{form:?}");
        // The first one is on record; behind a counter that has moved on it is known no more.
        let once_more = if form == Form::Counter {
            [Outcome::AcceptedDuplicate, Outcome::NoMatch]
        } else {
            [Outcome::AcceptedDuplicate; 2]
        };
        assert!(once_more.contains(&then[1]), "{form:?} {then:?}");
        assert_eq!(net.records().len(), 2);
    }
}

#[test]
fn a_device_that_changes_while_its_report_waits_is_not_accepted() {
    let path = directory("changes while it waits").join(FILE_NAME);
    let [mut a, mut b] = [(); 2].map(|()| Net::on(TestStore::file(&path), config(), START_MS));
    let names = ["first", "changed", "other", "another"];
    let mut devices = names.map(|name| Device::new(name, DeviceForm::Beacon));
    a.import(&devices.iter().collect::<Vec<_>>());
    let rand_n = b.rand_n();
    let nas: Vec<Vec<u8>> = devices
        .iter_mut()
        .map(|device| device.send(rand_n, Cause::Event, 0).nas)
        .collect();
    gather(&mut b, rand_n, &[&nas[0]]);
    b.adm.record();
    gather(&mut b, rand_n, &[&nas[1], &nas[2], &nas[1]]);
    assert_eq!(recorded(&mut b), [Outcome::AcceptedNew]);
    a.adm.set_disabled(&devices[1].id, true, START_MS).unwrap();
    gather(&mut b, rand_n, &[&nas[3]]);
    b.adm.record();
    let (changed, new) = (Outcome::DeviceChanged, Outcome::AcceptedNew);
    assert_eq!(recorded(&mut b), [changed, new, changed, new]);
    // What has changed is taken up by now.
    assert_eq!(b.hear(&nas[1]), Outcome::DeviceDisabled);
    assert_eq!(b.records().len(), 3);
}

/// What is done to a device in this process finds nothing half done.
#[test]
fn another_call_between_finds_everything_on_record() {
    let mut devices = ["a", "b"].map(|name| Device::new(name, DeviceForm::Beacon));
    let mut net = Net::with(config(), &[&devices[0], &devices[1]]);
    let rand_n = net.rand_n();
    let [a, b, again] = [0, 1, 1].map(|n: usize| devices[n].send(rand_n, Cause::Event, 0).nas);
    gather(&mut net, rand_n, &[&a]);
    net.adm.record();
    gather(&mut net, rand_n, &[&b]);
    assert_eq!(net.hear(&again), Outcome::AcceptedRepeat);
    assert_eq!(net.records().len(), 3);
    net.adm
        .set_disabled(&devices[0].id, true, net.now_ms)
        .unwrap();
    gather(&mut net, rand_n, &[&a, &b]);
    assert_eq!(recorded(&mut net), [Outcome::AcceptedNew]);
    net.adm.record();
    let (new, duplicate) = (Outcome::AcceptedNew, Outcome::AcceptedDuplicate);
    assert_eq!(
        recorded(&mut net),
        [new, Outcome::DeviceDisabled, duplicate]
    );
}

#[test]
fn what_cannot_be_recorded_is_refused_and_the_next_batch_goes_on() {
    let (mut net, rand_n, [a, b]) = two(config());
    net.store.fail(Failing {
        accept: true,
        ..Failing::default()
    });
    gather(&mut net, rand_n, &[&a, &a]);
    net.adm.record();
    gather(&mut net, rand_n, &[&b]);
    assert_eq!(recorded(&mut net), [Outcome::StoreFailed; 2]);
    assert!(net.adm.store_fault().is_some());
    net.store.fail(Failing::default());
    net.adm.record();
    assert_eq!(recorded(&mut net), [Outcome::AcceptedNew]);
    assert_eq!(net.adm.store_fault(), None);
    assert_eq!(net.hear(&a), Outcome::AcceptedNew);
    assert_eq!(net.events("store_failed").len(), 1);
}

/// A store that lost records puts its epochs out of force, also for what was verified before it was known.
#[test]
fn what_was_verified_before_the_store_went_back_does_not_count() {
    let (mut net, rand_n, [a, b]) = two(config());
    net.store.go_back();
    gather(&mut net, rand_n, &[&a]);
    net.adm.record();
    gather(&mut net, rand_n, &[&b]);
    assert_eq!(recorded(&mut net), [Outcome::StoreFailed]);
    net.adm.record();
    assert_eq!(recorded(&mut net), [Outcome::StoreFailed]);
    assert_eq!(net.records().len(), 0);
    gather(&mut net, rand_n, &[&b]);
    net.adm.record();
    assert_eq!(recorded(&mut net), [Outcome::StaleEpoch]);
    assert_ne!(net.rand_n(), rand_n);
}

/// The same where the next epoch begins before they are recorded.
#[test]
fn what_was_verified_before_the_store_went_back_does_not_count_in_the_next_epoch_either() {
    for is_beacon_asked in [true, false] {
        let (mut net, rand_n, [a, b]) = two(config());
        net.store.go_back();
        gather(&mut net, rand_n, &[&a]);
        net.adm.record();
        gather(&mut net, rand_n, &[&b]);
        assert_eq!(recorded(&mut net), [Outcome::StoreFailed]);
        if is_beacon_asked {
            assert_ne!(net.rand_n(), rand_n);
        } else {
            gather(&mut net, rand_n, &[]);
        }
        net.adm.record();
        assert_eq!(recorded(&mut net), [Outcome::StoreFailed]);
        assert_eq!(net.records().len(), 0);
    }
}

/// A new key begins with new counters, whatever of the old one is answered late.
#[test]
fn a_key_that_changes_after_the_record_keeps_its_own_counters() {
    let path = directory("counters of a new key").join(FILE_NAME);
    let [mut a, mut b] = [(); 2].map(|()| Net::on(TestStore::file(&path), config(), START_MS));
    let mut device = Device::new("device", DeviceForm::Counter);
    let mut other = Device::new("other", DeviceForm::Beacon);
    a.import(&[&device, &other]);
    let rand_n = b.rand_n();
    let ahead = device.send_counter(Form::Recovery, rand_n, 50, 0).nas;
    gather(&mut b, rand_n, &[&ahead]);
    b.adm.record();
    assert!(b.adm.is_recorded(true));
    device.key = *a.adm.rotate_key(&device.id, START_MS).unwrap().expose();
    gather(&mut b, rand_n, &[&other.send(rand_n, Cause::Event, 0).nas]);
    b.adm.record();
    for _ in 0..2 {
        assert_eq!(recorded(&mut b), [Outcome::AcceptedNew]);
    }
    let first = device.send_counter(Form::Counter, rand_n, 1, 1).nas;
    assert_eq!(b.hear(&first), Outcome::AcceptedNew);
}

/// The record that moves a device's counters is on its way: what comes after it is waited for.
#[test]
fn a_counter_beyond_those_known_waits_for_the_record_before_it() {
    let mut device = Device::new("a", DeviceForm::Counter);
    let mut net = Net::with(config(), &[&device]);
    let rand_n = net.rand_n();
    let recovery = device.send_counter(Form::Recovery, rand_n, 100, 0).nas;
    let next = device.send_counter(Form::Counter, rand_n, 101, 1).nas;
    gather(&mut net, rand_n, &[&recovery]);
    net.adm.record();
    gather(&mut net, rand_n, &[&next]);
    assert_eq!(recorded(&mut net), [Outcome::AcceptedNew]);
    net.adm.record();
    assert_eq!(recorded(&mut net), [Outcome::AcceptedNew]);
}

#[test]
fn an_alarm_is_on_record_when_its_report_is_judged() {
    let mut device = Device::new("a", DeviceForm::Counter);
    let mut net = Net::with(config(), &[&device]);
    let rand_n = net.rand_n();
    let first = device.send_counter(Form::Counter, rand_n, 5, 0).nas;
    assert_eq!(net.hear(&first), Outcome::AcceptedNew);
    let clone = device.send_counter(Form::Counter, rand_n, 5, 1).nas;
    gather(&mut net, rand_n, &[&clone]);
    net.adm.record();
    assert_eq!(recorded(&mut net), [Outcome::CloneSuspicion]);
    assert_eq!(net.events("clone_suspicion").len(), 1);
}

/// Epoch and grace end while a batch is being recorded.
#[test]
fn an_epoch_ends_in_time_under_way() {
    let mut devices: Vec<Device> = (0..4)
        .map(|n| Device::new(&format!("device {n}"), DeviceForm::Beacon))
        .collect();
    let mut net = Net::with(config(), &devices.iter().collect::<Vec<_>>());
    let old = net.rand_n();
    let nas: Vec<Vec<u8>> = devices
        .iter_mut()
        .map(|device| device.send(old, Cause::Event, 0).nas)
        .collect();
    net.now_ms = START_MS + EPOCH_MS - 1;
    gather(&mut net, old, &[&nas[0]]);
    net.adm.record();
    net.now_ms = START_MS + EPOCH_MS;
    gather(&mut net, old, &[&nas[1]]);
    assert_eq!(recorded(&mut net), [Outcome::AcceptedNew]);
    net.now_ms = START_MS + EPOCH_MS + GRACE_MS - 1;
    net.adm.record();
    gather(&mut net, old, &[&nas[2]]);
    net.now_ms += 1;
    gather(&mut net, old, &[&nas[3]]);
    assert_eq!(recorded(&mut net), [Outcome::AcceptedNew]);
    net.adm.record();
    let (new, stale) = (Outcome::AcceptedNew, Outcome::StaleEpoch);
    assert_eq!(recorded(&mut net), [new, stale]);
}

/// Where there is no grace, an epoch is over at its end.
#[test]
fn an_epoch_without_grace_ends_in_time_under_way() {
    let no_grace = AdmConfig {
        grace_s: 0,
        ..config()
    };
    let (mut net, old, [a, b]) = two(no_grace);
    net.now_ms = START_MS + EPOCH_MS - 1;
    gather(&mut net, old, &[&a]);
    net.adm.record();
    net.now_ms += 1;
    gather(&mut net, old, &[&b]);
    assert_eq!(recorded(&mut net), [Outcome::AcceptedNew]);
    net.adm.record();
    assert_eq!(recorded(&mut net), [Outcome::StaleEpoch]);
}

/// A store that fails like that takes the process with it, as it does without a thread of its own.
#[test]
fn a_panic_of_the_store_is_not_swallowed() {
    let mut device = Device::new("a", DeviceForm::Beacon);
    let mut net = Net::with(config(), &[&device]);
    let rand_n = net.rand_n();
    let nas = device.send(rand_n, Cause::Event, 0).nas;
    net.store.before_accept(|| panic!("as told"));
    gather(&mut net, rand_n, &[&nas]);
    net.adm.record();
    // Also without being waited for.
    for _ in 0..1000 {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| net.adm.recorded(false))) {
            assert_eq!(panic.downcast_ref(), Some(&"as told"));
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("nobody notices");
}

/// Dropping the ADM waits for what is being recorded, and closes the store.
#[test]
fn what_is_under_way_at_the_end_is_on_record() {
    let path = directory("under way").join(FILE_NAME);
    let store = TestStore::file(&path);
    let mut device = Device::new("a", DeviceForm::Beacon);
    let mut net = Net::on(store, config(), START_MS);
    net.import(&[&device]);
    let rand_n = net.rand_n();
    let nas = device.send(rand_n, Cause::Event, 0).nas;
    let is_dropped = Arc::new(Mutex::new(false));
    let seen = Arc::clone(&is_dropped);
    net.store.before_accept(move || {
        std::thread::sleep(Duration::from_millis(50));
        assert!(!*seen.lock().unwrap());
    });
    gather(&mut net, rand_n, &[&nas]);
    net.adm.record();
    drop(net);
    *is_dropped.lock().unwrap() = true;
    let mut store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.record_count().unwrap(), 1);
}
