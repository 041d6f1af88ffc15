//! K kept inside the card (section 7, the second mode): devices whose card computes T-ID and K_AIOTF, APDUs really exchanged,
//! on virtual time. A card that is slow, removed or lies costs attempts; nothing false is accepted.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "uicc_common/mod.rs"]
mod common;

use ambit_adm::policy::Deployment;
use ambit_adm::{Adm, AdmConfig};
use ambit_lab::reader::{CardReader, Fault};
use ambit_protocol::wire::Form;
use ambit_protocol::{DeviceForm, RootKey, Suite, TagLen};
use ambit_provisioning::{CredentialKind, DeviceSpec};
use ambit_ran::air::Channel;
use ambit_ran::fleet::{DeviceIndex, Fleet};
use ambit_store::CredentialRow;
use ambit_store::Store;
use ambit_uicc::terminal::TransportError;
use common::*;

const FORMS: [DeviceForm; 3] = [
    DeviceForm::Beacon,
    DeviceForm::Concealed,
    DeviceForm::Counter,
];

fn public() -> AdmConfig {
    AdmConfig {
        deployment: Deployment::Public,
        ..config()
    }
}

fn key(n: u32) -> RootKey {
    let mut k = [0xA7; 16];
    k[..4].copy_from_slice(&n.to_be_bytes());
    RootKey::new(k)
}

fn reader(n: u32) -> CardReader {
    let id = format!("device {n}");
    CardReader::with_aiot(key(n), Suite::AesCmac, TagLen::T8, id.as_bytes()).unwrap()
}

fn on_card(n: u32, form: DeviceForm) -> DeviceSpec {
    DeviceSpec {
        key: Some(key(n)),
        credential: CredentialKind::UiccAiot,
        ..device_spec(n, form)
    }
}

/// Devices 0.. of these forms in a public network, each with a card in a reader.
fn scene(forms: &[DeviceForm], channel: Channel) -> (Scene, Vec<CardReader>) {
    let readers: Vec<CardReader> = (0..forms.len() as u32).map(reader).collect();
    let populate = |fleet: &mut Fleet| {
        for (n, form) in (0..).zip(forms) {
            let credential = readers[n as usize].aiot(Suite::AesCmac, TagLen::T8);
            fleet
                .add_with_credential(fleet_spec(n, *form), credential)
                .unwrap();
        }
    };
    let specs: Vec<DeviceSpec> = (0..)
        .zip(forms)
        .map(|(n, form)| on_card(n, *form))
        .collect();
    let import = |adm: &mut Adm| {
        adm.import(&specs, START_MS).unwrap();
    };
    let scene = Scene::with(public(), channel, populate, import);
    (scene, readers)
}

/// Each device submits an item; a minute passes.
fn round(scene: &mut Scene, devices: u32) {
    for n in 0..devices {
        scene.submit(n);
    }
    scene.advance_s(60);
}

#[test]
fn devices_whose_k_is_on_the_card_report_in_every_form() {
    let (mut scene, readers) = scene(&FORMS, Channel::lossy(0.0));
    scene.advance_s(30);
    for _ in 0..3 {
        round(&mut scene, 3);
        scene.advance_s(600);
    }
    let judgement = scene.judge();
    assert!(judgement.holds(), "{judgement:?}");
    assert_eq!((judgement.items, judgement.accepted_once), (12, 12));
    for (form, n) in [Form::Beacon, Form::Concealed, Form::Counter]
        .iter()
        .zip(0..)
    {
        let id = format!("device {n}").into_bytes();
        let records = scene.records();
        let last = records.iter().rfind(|row| row.device_id == id).unwrap();
        assert_eq!(last.form, form.number());
        let row = scene.store().device(&id).unwrap().unwrap();
        assert_eq!(row.credential, CredentialRow::UiccAiot);
    }
    for reader in &readers {
        let work = reader.work();
        // Two evaluations a report at least: who it is, and K_AIOTF. And what carried them was APDUs.
        assert!(work.authenticates >= 8, "{work:?}");
        assert!(work.apdus >= 2 * work.authenticates, "{work:?}");
        assert_eq!(work.resets, 1);
    }
}

/// Power cycles over a bad air; the card loses its power with the device.
#[test]
fn power_cycles_and_loss_keep_nobody_out() {
    let (mut scene, readers) = scene(&FORMS, Channel::lossy(0.3));
    for _ in 0..8 {
        scene.advance_s(120);
        for n in 0..3 {
            scene.power(n, 100, false);
            scene.power(n, 2_000, true);
        }
    }
    scene.advance_s(1200);
    for n in 0..3 {
        assert!(scene.is_registered(n), "{n}");
    }
    let judgement = scene.judge();
    assert!(
        judgement.is_safe_but_for_held_registrations(),
        "{judgement:?}"
    );
    for reader in &readers {
        assert_eq!(reader.work().resets, 9);
    }
}

/// Cards that fail in every way there is, for a while. Nothing that they say is accepted, no device is lost.
#[test]
fn a_card_that_fails_costs_attempts_and_nothing_false_is_accepted() {
    for (name, fault) in card_failures() {
        let (mut scene, readers) = scene(&FORMS, Channel::lossy(0.0));
        scene.advance_s(30);
        round(&mut scene, 3);
        let before = scene.records().len();
        assert_eq!(before, 6, "{name}");
        for reader in &readers {
            reader.set_fault(Some(fault()));
        }
        round(&mut scene, 3);
        assert_eq!(scene.records().len(), before, "{name}");
        for reader in &readers {
            reader.set_fault(None);
        }
        scene.advance_s(1200);
        round(&mut scene, 3);
        scene.advance_s(600);
        let judgement = scene.judge();
        assert!(judgement.holds(), "{name}: {judgement:?}");
        assert_eq!(judgement.accepted_once, 12, "{name}: {judgement:?}");
    }
}

/// An answer that comes after it was given up on belongs to a command of before: it must not be taken for the next one's.
/// Control: a terminal that goes on with the same connection takes it.
#[test]
fn a_late_answer_is_taken_for_no_other() {
    use ambit_device::Credential;
    use ambit_protocol::schedule;
    use ambit_uicc::terminal::{AiotCredential, Terminal};

    let late = |held: Option<Vec<u8>>| -> Fault {
        let (mut held, mut is_first) = (held, true);
        Box::new(move |apdu, answer| {
            if apdu[1] != 0x88 && apdu[1] != 0xC0 {
                return Ok(answer);
            }
            if std::mem::take(&mut is_first) {
                held = Some(answer);
                return Err(TransportError::Timeout);
            }
            Ok(held.replace(answer).unwrap_or_default())
        })
    };
    let (first, second) = (schedule::counter_t_id(1), schedule::counter_t_id(2));
    let (one, two) = (
        key(0).evaluate(Suite::AesCmac, &first),
        key(0).evaluate(Suite::AesCmac, &second),
    );

    let plain = reader(0);
    let mut card = AiotCredential::open(Terminal::new(plain.connect().unwrap())).unwrap();
    assert_eq!(card.evaluate(&first).unwrap(), one);
    let mut stale = one.to_vec();
    stale.extend([0x90, 0]);
    let mut held = Some(stale);
    plain.set_fault(Some(Box::new(move |_, _| {
        held.take().ok_or(TransportError::Timeout)
    })));
    assert_eq!(
        card.evaluate(&second).unwrap(),
        one,
        "the control: it is taken"
    );

    let slot = reader(0);
    let mut credential = slot.aiot(Suite::AesCmac, TagLen::T8);
    assert_eq!(credential.evaluate(&first).ok(), Some(one));
    slot.set_fault(Some(late(None)));
    assert!(credential.evaluate(&first).is_err());
    for _ in 0..3 {
        let value = credential.evaluate(&second).ok();
        assert!(value.is_none() || value == Some(two));
    }
    slot.set_fault(None);
    assert_eq!(credential.evaluate(&second).ok(), Some(two));
}

/// Cards change devices without power: each device goes on as whoever its card is. Put in under power, another card is
/// refused until the next power-on.
#[test]
fn a_card_makes_the_device() {
    let forms = [DeviceForm::Beacon, DeviceForm::Concealed];
    let (mut scene, readers) = scene(&forms, Channel::lossy(0.0));
    scene.advance_s(30);
    round(&mut scene, 2);
    let count = scene.records().len();
    readers[0].swap(&readers[1]);
    round(&mut scene, 2);
    assert_eq!(scene.records().len(), count, "under power");
    for n in 0..2 {
        scene.power(n, 10, false);
        scene.power(n, 5_000, true);
    }
    scene.advance_s(1200);
    let records = scene.records();
    assert!(records.len() > count);
    let named = |id: &[u8]| records[count..].iter().any(|row| row.device_id == id);
    assert!(named(b"device 0") && named(b"device 1"));
    for n in 0..2 {
        assert!(scene.is_registered(n), "{n}");
    }
}

/// A card of another suite, tag length or device stays unused.
#[test]
fn a_card_of_another_profile_is_refused() {
    use ambit_device::Credential;
    let input = ambit_protocol::schedule::counter_t_id(1);
    let card = reader(0);
    assert!(
        card.aiot(Suite::HmacSha256, TagLen::T8)
            .evaluate(&input)
            .is_err()
    );
    assert!(
        card.aiot(Suite::AesCmac, TagLen::T16)
            .evaluate(&input)
            .is_err()
    );
    assert!(
        card.aiot(Suite::AesCmac, TagLen::T8)
            .evaluate(&input)
            .is_ok()
    );
    drop(card.take());
    assert!(
        card.aiot(Suite::AesCmac, TagLen::T8)
            .evaluate(&input)
            .is_err()
    );
}

/// The network refuses the same device when its key is not on a card, and takes it when it is (T23 at run time).
#[test]
fn only_where_k_is_makes_the_difference_in_a_public_network() {
    let (mut scene, _) = scene(&FORMS[..2], Channel::lossy(0.0));
    scene.advance_s(60);
    assert_eq!(scene.records().len(), 2);
    let fleet = scene.stage.site().fleet();
    assert!(fleet.device(DeviceIndex(0)).unwrap().is_registered());
    drop(scene);

    // The control: provisioned by an operator in a private network, opened as a public one.
    let specs = [DeviceSpec {
        credential: CredentialKind::Operator,
        ..on_card(0, DeviceForm::Concealed)
    }];
    let populate = |fleet: &mut Fleet| {
        let credential = reader(0).aiot(Suite::AesCmac, TagLen::T8);
        let spec = fleet_spec(0, DeviceForm::Concealed);
        fleet.add_with_credential(spec, credential).unwrap();
    };
    let import = |adm: &mut Adm| {
        adm.import(&specs, START_MS).unwrap();
    };
    let mut scene = Scene::with(config(), Channel::lossy(0.0), populate, import);
    scene.set_config(public());
    scene.restart();
    scene.advance_s(60);
    assert_eq!(scene.records().len(), 0);
    assert!(!scene.events("policy_refused").is_empty());
}
