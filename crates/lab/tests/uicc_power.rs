//! UICC registration (section 7) while power, memory and card fail under it: the device comes back by itself, nothing is
//! counted twice, no SQN is used twice.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "uicc_common/mod.rs"]
mod common;

use ambit_adm::{Adm, AdmConfig, SubscriberSpec};
use ambit_lab::reader::CardReader;
use ambit_protocol::DeviceForm;
use ambit_protocol::wire::{Form, MessageType};
use ambit_ran::air::Channel;
use ambit_ran::fleet::{DeviceIndex, Fleet, MemoryFaults};
use ambit_ran::frame::Direction;
use ambit_uicc::algorithms::TuakRes;
use ambit_uicc::card::{Profile, SuciProfile};
use ambit_uicc::suci::{PublicKey, RoutingIndicator, Scheme};
use ambit_uicc::{Algorithm, Subscriber};
use common::*;

const MESSAGES: [(Direction, MessageType); 4] = [
    (Direction::Up, MessageType::RegistrationRequest),
    (Direction::Down, MessageType::AuthenticationRequest),
    (Direction::Up, MessageType::AuthenticationResponse),
    (Direction::Down, MessageType::Accept),
];

fn quiet() -> Channel {
    Channel {
        delay_ms_min: 20,
        delay_ms_max: 20,
        ..Channel::lossy(0.0)
    }
}

/// Advances until a message is on the air for the first time.
fn advance_to(scene: &mut Scene, direction: Direction, message: MessageType) {
    for _ in 0..200_000 {
        let heard = scene.heard.lock().unwrap();
        let came = heard.iter().any(|(to, octets)| {
            let kind = ambit_protocol::wire::peek(octets).map(|(kind, _)| kind);
            *to == direction && kind == Ok(message)
        });
        drop(heard);
        if came {
            return;
        }
        let now_ms = scene.stage.site().now_ms();
        scene.stage.advance(now_ms + 1);
    }
    panic!("no {message:?}");
}

/// The device registers again and its next report is on record once.
fn comes_back(scene: &mut Scene, what: &str) {
    scene.advance_s(120);
    assert!(scene.is_registered(0), "{what}");
    let before = scene.records().len();
    scene.submit(0);
    scene.advance_s(120);
    assert_eq!(scene.records().len(), before + 1, "{what}");
    let judgement = scene.judge();
    assert!(judgement.is_safe(), "{what}: {judgement:?}");
    no_sqn_twice(scene);
}

/// While the message is in the air (a device that is to hear it does not), and after it was heard.
#[test]
fn power_cut_at_each_message_of_a_registration() {
    for form in [
        DeviceForm::Beacon,
        DeviceForm::Concealed,
        DeviceForm::Counter,
    ] {
        for (direction, message) in MESSAGES {
            for in_ms in [1, 21] {
                let mut scene = Scene::new(config(), &[form], 0, quiet());
                scene.listen(|_| false);
                advance_to(&mut scene, direction, message);
                scene.power(0, in_ms, false);
                scene.power(0, in_ms + 2000, true);
                let what = format!("{form:?}, {message:?}, {in_ms} ms");
                scene.advance_s(1);
                let fleet = scene.stage.site().fleet();
                assert!(
                    !fleet.device(DeviceIndex(0)).unwrap().is_powered(),
                    "{what}"
                );
                comes_back(&mut scene, &what);
                let fleet = scene.stage.site().fleet();
                assert_eq!(fleet.device(DeviceIndex(0)).unwrap().power_cycles(), 2);
                // One challenge of each power cycle at most was taken by the card.
                let accepted = scene.cards[0].log().accepted.len();
                assert!((1..=2).contains(&accepted), "{what}: {accepted}");
            }
        }
    }
}

/// The power goes with the n-th write of the device's memory, after some of its octets, for every n that there is between
/// power-on and the first report.
#[test]
fn power_cut_at_each_durable_write_of_a_registration() {
    for form in [DeviceForm::Beacon, DeviceForm::Counter] {
        let mut cuts = 0;
        for writes_before in 0..64 {
            let mut scene = Scene::new(config(), &[form], 0, quiet());
            let faults = MemoryFaults {
                seed: u64::from(writes_before),
                writes_before,
                probability: 1.0,
                faults_max: 1,
                power_back_ms: Some(2000),
            };
            let fleet = scene.stage.site_mut().fleet_mut();
            assert!(fleet.set_memory_faults(DeviceIndex(0), Some(faults)));
            scene.advance_s(60);
            if scene.is_registered(0) {
                scene.submit(0);
            }
            let what = format!("{form:?}, write {writes_before}");
            comes_back(&mut scene, &what);
            let fleet = scene.stage.site().fleet();
            if fleet.device(DeviceIndex(0)).unwrap().power_cycles() == 1 {
                // There are no more writes than that.
                break;
            }
            cuts += 1;
        }
        assert!((1..64).contains(&cuts), "{form:?}: {cuts}");
    }
}

fn tuak(n: u32) -> Subscriber {
    let (mut k, algorithm) = (
        [0x6B; 32],
        Algorithm::Tuak {
            iterations: 2,
            res: TuakRes::Octets16,
        },
    );
    k[..4].copy_from_slice(&n.to_be_bytes());
    Subscriber::new(algorithm, &k, &[0xD1; 32]).unwrap()
}

/// Devices 0.. of the concealed form, whose USIMs are asked through the terminal. Suits `with_suci` to each.
fn usim_scene(
    count: u32,
    channel: Channel,
    secrets: fn(u32) -> Subscriber,
    with_suci: impl Fn(u32, &PublicKey, &PublicKey) -> Option<SuciProfile>,
) -> (Scene, Vec<CardReader>) {
    use ambit_uicc::suci::PrivateKey;
    let (a, b) = ([7; 32], [9; 32]);
    let public_a = PrivateKey::profile_a(a).public().unwrap();
    let public_b = PrivateKey::profile_b(&b).unwrap().public().unwrap();
    let readers: Vec<CardReader> = (0..count)
        .map(|n| {
            let iccid = format!("89001010{n:011}");
            let mut profile = Profile::new(iccid, imsi(n), secrets(n));
            profile.suci = with_suci(n, &public_a, &public_b);
            CardReader::new(profile)
        })
        .collect();
    let populate = |fleet: &mut Fleet| {
        for n in 0..count {
            let card = readers[n as usize].usim(n.into());
            fleet
                .add_uicc(fleet_spec(n, DeviceForm::Concealed), Box::new(card))
                .unwrap();
        }
    };
    let import = |adm: &mut Adm| {
        adm.set_home_network_key(1, Scheme::ProfileA, &a, START_MS)
            .unwrap();
        adm.set_home_network_key(2, Scheme::ProfileB, &b, START_MS)
            .unwrap();
        let specs: Vec<SubscriberSpec> = (0..count)
            .map(|n| SubscriberSpec {
                secrets: secrets(n),
                ..subscriber(n, DeviceForm::Concealed, 0)
            })
            .collect();
        adm.import_subscribers(&specs, START_MS).unwrap();
    };
    let scene = Scene::with(config(), channel, populate, import);
    (scene, readers)
}

/// A card that fails in any way keeps its device from registering and has nothing accepted; once it works, it is one more try.
#[test]
fn a_usim_that_fails_costs_attempts_and_nothing_false_is_accepted() {
    for (name, fault) in card_failures() {
        let (mut scene, readers) = usim_scene(1, Channel::lossy(0.0), secrets, |_, _, _| None);
        readers[0].set_fault(Some(fault()));
        scene.advance_s(300);
        assert!(!scene.is_registered(0), "{name}");
        assert_eq!(scene.records().len(), 0, "{name}");
        readers[0].set_fault(None);
        scene.advance_s(1200);
        assert!(scene.is_registered(0), "{name}");
        scene.submit(0);
        scene.advance_s(600);
        let judgement = scene.judge();
        assert!(judgement.holds(), "{name}: {judgement:?}");
        assert_eq!(judgement.accepted_once, 2, "{name}");
    }
}

/// The card cannot write its SQN (status 6581): it answers no challenge with a number that it would forget.
#[test]
fn a_card_whose_memory_fails_answers_no_challenge() {
    for failures in 1..4 {
        let (mut scene, readers) = usim_scene(1, Channel::lossy(0.0), secrets, |_, _, _| None);
        readers[0].fail_writes(failures);
        scene.advance_s(600);
        assert!(scene.is_registered(0), "{failures}");
        scene.submit(0);
        scene.advance_s(60);
        let judgement = scene.judge();
        assert!(judgement.holds(), "{failures}: {judgement:?}");
        let work = readers[0].work();
        // One write that succeeded, for the challenge that was answered; each that failed cost a challenge.
        assert_eq!(work.writes, 1, "{failures}: {work:?}");
        assert_eq!(work.authenticates, failures + 1, "{failures}: {work:?}");
        let aka = Form::Aka.number();
        let registrations = scene.records().iter().filter(|row| row.form == aka).count();
        assert_eq!(registrations, 1, "{failures}");
    }
}

/// A card is taken out in the middle and put in again, or another one is: whoever's card it is, is who registers.
#[test]
fn a_card_taken_out_or_changed_in_the_middle() {
    for swapped in [false, true] {
        for (direction, message) in MESSAGES {
            let (mut scene, readers) = usim_scene(2, quiet(), secrets, |_, _, _| None);
            scene.listen(|_| false);
            advance_to(&mut scene, direction, message);
            if swapped {
                readers[0].swap(&readers[1]);
                scene.advance_s(60);
            } else {
                let taken = readers[0].take();
                scene.advance_s(60);
                readers[0].put(taken);
            }
            scene.advance_s(1200);
            for n in 0..2 {
                assert!(scene.is_registered(n), "{message:?}, swapped {swapped}");
                scene.submit(n);
            }
            scene.advance_s(600);
            let judgement = scene.judge();
            if !swapped {
                assert!(judgement.is_safe(), "{message:?}: {judgement:?}");
            }
            let records = scene.records();
            for id in [b"device 0", b"device 1"] {
                let of = records.iter().filter(|row| row.device_id == id).count();
                // The item may have travelled in another registration.
                assert!(of >= 1, "{message:?}, swapped {swapped}: {of}");
            }
            assert_eq!(scene.stage.site().fleet_stats().pending(), 0);
        }
    }
}

/// TUAK, every scheme, concealed by device or card, over a bad air.
#[test]
fn tuak_and_every_scheme_register_over_a_bad_air() {
    let channel = Channel {
        delay_ms_min: 5,
        delay_ms_max: 60,
        ..Channel::lossy(0.2)
    };
    let suci = |n: u32, a: &PublicKey, b: &PublicKey| {
        let keys = match n % 3 {
            0 => return None,
            1 => vec![(1, a.clone())],
            _ => vec![(2, b.clone())],
        };
        Some(SuciProfile {
            routing_indicator: RoutingIndicator::default(),
            keys,
            on_card: n / 3 % 2 == 1,
        })
    };
    let (mut scene, readers) = usim_scene(12, channel, tuak, suci);
    scene.advance_s(3600);
    for n in 0..12 {
        assert!(scene.is_registered(n), "{n}");
        scene.submit(n);
    }
    scene.advance_s(3600);
    let judgement = scene.judge();
    assert!(judgement.holds(), "{judgement:?}");
    assert_eq!(judgement.accepted_once, 24);
    for (n, reader) in (0u32..).zip(&readers) {
        // Only a device that conceals itself draws ephemeral keys.
        let draws = n % 3 != 0 && n / 3 % 2 == 0;
        assert_eq!(reader.work().ephemeral_keys > 0, draws, "{n}");
    }
}

/// A network that takes no null scheme registers only those who conceal.
#[test]
fn a_network_that_refuses_the_null_scheme_keeps_out_only_that() {
    let (mut scene, _) = usim_scene(2, Channel::lossy(0.0), secrets, |n, a, _| {
        (n == 1).then(|| SuciProfile {
            routing_indicator: RoutingIndicator::default(),
            keys: vec![(1, a.clone())],
            on_card: false,
        })
    });
    scene.set_config(AdmConfig {
        null_scheme_allowed: false,
        ..config()
    });
    scene.restart();
    scene.advance_s(300);
    assert!(!scene.is_registered(0) && scene.is_registered(1));
    assert!(!scene.events("suci_refused").is_empty());
}
