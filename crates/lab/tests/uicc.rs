//! UICC registration from card to store (section 7), on virtual time: whatever is lost, killed or set back, devices come back
//! without an operator, and no SQN is used twice.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "uicc_common/mod.rs"]
mod common;

use ambit_adm::AdmConfig;
use ambit_protocol::DeviceForm;
use ambit_protocol::wire::{Form, MessageType};
use ambit_ran::air::Channel;
use ambit_ran::frame::{Direction, FrameKind};
use ambit_store::SEQ_DELTA_MAX;
use common::*;

const FORMS: [DeviceForm; 4] = [
    DeviceForm::Beacon,
    DeviceForm::Concealed,
    DeviceForm::Counter,
    DeviceForm::Blind,
];

fn quiet() -> Channel {
    Channel::lossy(0.0)
}

/// Forms of the records of device 0.. by device, in order.
fn forms(scene: &Scene, n: usize) -> Vec<u8> {
    let id = format!("device {n}").into_bytes();
    let records = scene.records();
    records
        .iter()
        .filter(|row| row.device_id == id)
        .map(|row| row.form)
        .collect()
}

#[test]
fn a_device_registers_with_its_card_and_reports_by_its_form() {
    let blind = AdmConfig {
        blind_allowed: true,
        ..config()
    };
    let mut scene = Scene::new(blind, &FORMS, 0, quiet());
    scene.advance_s(30);
    for round in 0..3 {
        for n in 0..4 {
            assert!(scene.is_registered(n), "{n} in round {round}");
            scene.submit(n);
        }
        scene.advance_s(30);
    }
    let judgement = scene.judge();
    assert!(judgement.holds(), "{judgement:?}");
    assert_eq!(judgement.items, 16);
    let by_form = [
        // Without an anchor the first report is concealed; its ACCEPT gives the anchor, and the next epoch is for T-IDs.
        vec![Form::Aka, Form::Concealed],
        vec![Form::Aka, Form::Concealed],
        vec![Form::Aka, Form::Counter],
        vec![Form::Aka, Form::Blind],
    ];
    for (n, expected) in by_form.iter().enumerate() {
        let numbers: Vec<u8> = expected.iter().map(|form| form.number()).collect();
        assert_eq!(forms(&scene, n)[..2], numbers[..], "device {n}");
    }
    assert!(forms(&scene, 0).contains(&Form::Beacon.number()));
    for card in &scene.cards {
        let log = card.log();
        assert_eq!(
            (log.accepted.len(), log.sync_failures, log.mac_failures),
            (1, 0, 0)
        );
    }
}

/// The n-th message of each kind is lost, for the first three of each.
#[test]
fn a_message_lost_at_any_step_costs_a_retry() {
    let kinds = [
        MessageType::RegistrationRequest,
        MessageType::AuthenticationRequest,
        MessageType::AuthenticationResponse,
        MessageType::Accept,
    ];
    for lost in kinds {
        for losses in [1, 2, 5, 9] {
            let mut scene = Scene::new(config(), &[DeviceForm::Beacon], 0, quiet());
            let mut left = losses;
            scene.listen(move |frame| {
                let hit = frame.kind == FrameKind::Nas && kind(frame) == Some(lost) && left > 0;
                left -= u32::from(hit);
                hit
            });
            scene.advance_s(600);
            assert!(scene.is_registered(0), "{lost:?} lost {losses} times");
            scene.submit(0);
            scene.advance_s(60);
            let judgement = scene.judge();
            assert!(judgement.holds(), "{lost:?} {losses}: {judgement:?}");
            no_sqn_twice(&scene);
        }
    }
}

#[test]
fn a_bad_air_keeps_nobody_out() {
    let forms = [
        DeviceForm::Beacon,
        DeviceForm::Concealed,
        DeviceForm::Counter,
    ];
    let forms: Vec<DeviceForm> = (0..30).map(|n| forms[n % 3]).collect();
    let channel = Channel {
        duplication: 0.1,
        delay_ms_min: 5,
        delay_ms_max: 60,
        ..Channel::lossy(0.3)
    };
    let mut scene = Scene::new(config(), &forms, 0, channel);
    for _ in 0..3 {
        // Four messages have to come through in a row: one try in four does.
        scene.advance_s(3600);
        for n in 0..30 {
            assert!(scene.is_registered(n));
            scene.submit(n);
        }
    }
    scene.advance_s(3600);
    let judgement = scene.judge();
    assert!(judgement.holds(), "{judgement:?}");
    no_sqn_twice(&scene);
}

/// The network's number is behind, so far ahead that the card refuses the jump, or near the end of the range.
#[test]
fn sqn_behind_ahead_and_wrapped_are_resynchronised_in_one_registration() {
    let end = (1 << 43) - 1;
    for (network, card, auts) in [
        (0, 1000, 1),
        (1000, 10, 0),
        (SEQ_DELTA_MAX + 5000, 10, 1),
        (end - 1, 10, 1),
        (end, 10, 2),
        (10, end - 100, 1),
    ] {
        let mut scene = Scene::new(config(), &[DeviceForm::Beacon], network << 5, quiet());
        scene.cards[0].set_seq(card);
        scene.advance_s(30);
        let log = scene.cards[0].log();
        if network == end {
            // Nothing can be issued any more, not even the challenge whose AUTS would help: an alarm, no wrap-around.
            assert!(!scene.is_registered(0) && log.accepted.is_empty());
            assert_eq!(scene.events("sqn_exhausted").len(), 1);
            continue;
        }
        assert!(scene.is_registered(0), "network {network}, card {card}");
        assert_eq!(log.sync_failures, auts, "network {network}, card {card}");
        assert_eq!(log.accepted.len(), 1);
        no_sqn_twice(&scene);
    }
}

/// The core dies after each message in turn, and another takes over the store.
#[test]
fn a_core_killed_at_any_step_is_one_more_try() {
    for (direction, message) in [
        (Direction::Up, MessageType::RegistrationRequest),
        (Direction::Down, MessageType::AuthenticationRequest),
        (Direction::Up, MessageType::AuthenticationResponse),
        (Direction::Down, MessageType::Accept),
    ] {
        let mut scene = Scene::new(config(), &[DeviceForm::Counter], 0, quiet());
        scene.listen(|_| false);
        let heard = std::sync::Arc::clone(&scene.heard);
        let came = || {
            heard.lock().unwrap().iter().any(|(to, octets)| {
                let kind = ambit_protocol::wire::peek(octets).map(|(kind, _)| kind);
                *to == direction && kind == Ok(message)
            })
        };
        for _ in 0..200_000 {
            if came() {
                break;
            }
            let now_ms = scene.stage.site().now_ms();
            scene.stage.advance(now_ms + 1);
        }
        assert!(came(), "{message:?}");
        scene.restart();
        scene.advance_s(120);
        assert!(scene.is_registered(0), "killed after {message:?}");
        scene.submit(0);
        scene.advance_s(120);
        let judgement = scene.judge();
        assert!(judgement.holds(), "killed after {message:?}: {judgement:?}");
        no_sqn_twice(&scene);
    }
}

/// The identity is the card's: records follow it into the other device, and each comes back by itself.
#[test]
fn cards_swapped_between_devices_register_at_once() {
    let mut scene = Scene::new(config(), &[DeviceForm::Counter; 2], 0, quiet());
    scene.advance_s(20);
    for _ in 0..30 {
        scene.submit(0);
        scene.advance_s(10);
    }
    for n in 0..2 {
        scene.power(n, 100, false);
    }
    scene.advance_s(1);
    let (a, b) = (scene.cards[0].clone(), scene.cards[1].clone());
    let fleet = scene.stage.site_mut().fleet_mut();
    use ambit_ran::fleet::DeviceIndex;
    assert!(fleet.swap_card(DeviceIndex(0), Box::new(b)).is_ok());
    assert!(fleet.swap_card(DeviceIndex(1), Box::new(a)).is_ok());
    for n in 0..2 {
        scene.power(n, 100, true);
    }
    scene.advance_s(30);
    let before = scene.records().len();
    for n in 0..2 {
        assert!(scene.is_registered(n), "{n}");
        scene.submit(n);
    }
    scene.advance_s(60);
    let records = scene.records();
    let of = |id: &[u8]| {
        records[before..]
            .iter()
            .filter(|r| r.device_id == id)
            .count()
    };
    assert_eq!((of(b"device 0"), of(b"device 1")), (1, 1));
    let waiting = scene.stage.site().fleet_stats().pending();
    assert_eq!(waiting, 0);
    for card in &scene.cards {
        assert_eq!(
            (card.log().accepted.len(), card.log().sync_failures),
            (2, 0)
        );
    }
}

/// After its lifetime K_AIOT opens nothing: silence and an event, until the device has registered again by itself.
#[test]
fn an_expired_key_leads_to_a_new_registration() {
    let short = AdmConfig {
        key_lifetime_s: 300,
        ..config()
    };
    let mut scene = Scene::new(short, &[DeviceForm::Concealed], 0, quiet());
    scene.listen(|_| false);
    scene.advance_s(100);
    scene.submit(0);
    scene.advance_s(400);
    let before = scene.heard.lock().unwrap().len();
    scene.submit(0);
    for _ in 0..150 {
        scene.advance_s(10);
        if scene.cards[0].log().accepted.len() == 2 {
            break;
        }
    }
    scene.submit(0);
    scene.advance_s(60);
    let judgement = scene.judge();
    assert!(judgement.holds(), "{judgement:?}");
    let (aka, concealed) = (Form::Aka.number(), Form::Concealed.number());
    assert_eq!(forms(&scene, 0), [aka, concealed, aka, concealed]);
    assert!(!scene.events("key_expired").is_empty());
    assert_eq!(scene.cards[0].log().accepted.len(), 2);
    // Under the old key there is silence: nothing comes down before the device registers again.
    let heard = scene.heard.lock().unwrap();
    let is_request = |octets: &[u8]| {
        let kind = ambit_protocol::wire::peek(octets).map(|(kind, _)| kind);
        kind == Ok(MessageType::RegistrationRequest)
    };
    let request = heard[before..].iter().position(|(_, pdu)| is_request(pdu));
    let unanswered = &heard[before..before + request.unwrap()];
    assert!(!unanswered.is_empty());
    assert!(unanswered.iter().all(|(to, _)| *to == Direction::Up));
}
