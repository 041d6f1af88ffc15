//! What follows an ACCEPT with status 01: a command session, and word of it to the ADM. A gNB and a device by hand.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use ambit_adm_api::{CommandOutcome, DeviceFailure, KeptCommand, KeptOperation};
use ambit_ngap::{Cause, FromGnb, ToGnb};
use ambit_protocol::session::Session;
use ambit_protocol::wire::{CommandResult, Response};
use ambit_protocol::{KAiotf, Suite, TagLen};
use common::*;

/// The device's end of the session.
struct Device(Session);

impl Device {
    fn new() -> Self {
        let key = KAiotf::new(K_AIOTF);
        Self(Session::new(Suite::AesCmac, &key, TagLen::T8))
    }

    fn hear(&mut self, nas: &[u8]) -> Vec<u8> {
        self.0.open_down(nas).unwrap().octets().to_vec()
    }

    fn say(&mut self, code: u8, result: CommandResult, data: &[u8]) -> Vec<u8> {
        let (mut text, mut out) = ([0; 125], [0; 125]);
        let len = Response { code, result, data }.emit(&mut text).unwrap();
        let len = self.0.seal_up(&text[..len], &mut out).unwrap();
        out[..len].to_vec()
    }
}

const READ: KeptOperation = KeptOperation::Read {
    offset: 3,
    length: 2,
};

const REPORT: [u8; 20] = [0x41; 20];

/// A gNB with a window, and an ADM that gives this command with every ACCEPT.
fn rig(operation: Option<KeptOperation>) -> (Rig, u16) {
    let (rig, window) = Rig::with_gnb();
    let command = operation.map(|operation| KeptCommand { id: 7, operation });
    rig.adm.script(|script| script.follow_on = Some(command));
    (rig, window)
}

fn commands(rig: &mut Rig) -> Vec<(u32, Vec<u8>)> {
    let command = |seen| match seen {
        Seen::Pdu(
            _,
            ToGnb::CommandRequest {
                device_ngap_id,
                nas,
                ..
            },
        ) => Some((device_ngap_id, nas.into_owned())),
        _ => None,
    };
    rig.seen().into_iter().filter_map(command).collect()
}

/// The one command that has gone out since the last look.
fn command(rig: &mut Rig) -> Vec<u8> {
    let [(_, nas)] = commands(rig).try_into().unwrap();
    nas
}

fn heard(rig: &mut Rig, window: u16, device: u32) {
    rig.pdu(1, &report(window, gnb(1), 1, Some(device), &REPORT));
}

fn answered(rig: &mut Rig, window: u16, nas: Vec<u8>) {
    rig.pdu(
        1,
        &FromGnb::CommandResponse {
            aiotf_id: AIOTF_ID,
            correlation: window,
            device_ngap_id: 1,
            nas: nas.into(),
        },
    );
}

fn failed(rig: &mut Rig, window: u16, cause: Cause) {
    rig.pdu(
        1,
        &FromGnb::CommandFailure {
            aiotf_id: AIOTF_ID,
            correlation: window,
            device_ngap_id: 1,
            cause,
        },
    );
}

fn unanswered(rig: &mut Rig, window: u16) {
    failed(rig, window, Cause::NoAiotNasResponse);
}

/// The ACCEPT has gone out and nobody answers it, as it should be.
fn accepted(rig: &mut Rig, window: u16) {
    heard(rig, window, 1);
    assert_eq!(command(rig), accept_of(&REPORT));
    unanswered(rig, window);
}

fn concluded(rig: &Rig) -> Vec<(i64, CommandOutcome)> {
    rig.adm
        .script(|script| std::mem::take(&mut script.concluded))
}

#[test]
fn the_command_goes_out_after_the_accept_and_its_end_comes_back() {
    let data = vec![1, 2, 3];
    let writes = KeptOperation::Write { offset: 5, data };
    for (operation, down, result) in [
        (READ, &[1, 0, 3, 2][..], &b"xy"[..]),
        (writes, &[2, 0, 5, 1, 2, 3], b""),
        (KeptOperation::PermanentDisable, &[3], b""),
    ] {
        let (mut rig, window) = rig(Some(operation.clone()));
        let mut device = Device::new();
        accepted(&mut rig, window);
        assert_eq!(device.hear(&command(&mut rig)), down);
        assert_eq!(concluded(&rig), []);
        let said = device.say(down[0], CommandResult::Ok, result);
        answered(&mut rig, window, said);
        let read = (operation == READ).then(|| result.to_vec());
        assert_eq!(concluded(&rig), [(7, Ok(read))]);
        if operation != KeptOperation::PermanentDisable {
            assert_eq!(device.hear(&command(&mut rig)), [4], "RELEASE");
            let said = device.say(4, CommandResult::Ok, b"");
            answered(&mut rig, window, said);
        }
        // Nothing is left of it.
        assert_eq!(commands(&mut rig), []);
        unanswered(&mut rig, window);
        assert_eq!(rig.count("kept_command_done"), 1);
        rig.wait_ms(60_000);
        assert_eq!(concluded(&rig), []);
        // Who is disabled is for the ADM to note, with the command.
        assert!(rig.adm.script(|script| script.disabled.is_empty()));
    }
}

#[test]
fn a_device_with_nothing_to_do_is_let_go() {
    let (mut rig, window) = rig(None);
    let mut device = Device::new();
    accepted(&mut rig, window);
    assert_eq!(device.hear(&command(&mut rig)), [4]);
    let said = device.say(4, CommandResult::Ok, b"");
    answered(&mut rig, window, said);
    assert_eq!((commands(&mut rig), concluded(&rig)), (vec![], vec![]));
}

#[test]
fn no_answer_a_refusal_and_a_device_out_of_reach_are_said() {
    let refusals = [
        (
            CommandResult::BadParameters,
            DeviceFailure::ParametersInvalid,
        ),
        (CommandResult::LowEnergy, DeviceFailure::LowEnergy),
        (CommandResult::NotSupported, DeviceFailure::NotImplemented),
    ];
    for (result, failure) in refusals {
        let (mut rig, window) = rig(Some(READ));
        let mut device = Device::new();
        accepted(&mut rig, window);
        device.hear(&command(&mut rig));
        let said = device.say(1, result, b"");
        answered(&mut rig, window, said);
        assert_eq!(concluded(&rig), [(7, Err(failure))]);
        assert_eq!(device.hear(&command(&mut rig)), [4], "it is let go");
    }
    // Three tries, each under a COUNT of its own.
    let (mut rig_, window) = rig(Some(READ));
    let mut device = Device::new();
    accepted(&mut rig_, window);
    for _ in 0..3 {
        assert_eq!(device.hear(&command(&mut rig_)), [1, 0, 3, 2]);
        assert_eq!(concluded(&rig_), []);
        unanswered(&mut rig_, window);
    }
    assert_eq!(concluded(&rig_), [(7, Err(DeviceFailure::NoAnswer))]);
    assert_eq!(commands(&mut rig_), []);
    // The gNB gives up, its window, its connection; or says nothing at all.
    for how in 0..4 {
        let (mut rig, window) = rig(Some(READ));
        accepted(&mut rig, window);
        command(&mut rig);
        match how {
            0 => failed(&mut rig, window, Cause::DeviceNotReachable),
            1 => rig.pdu(
                1,
                &FromGnb::SessionReleaseRequest {
                    aiotf_id: AIOTF_ID,
                    correlation: window,
                    cause: Cause::NormalRelease,
                },
            ),
            2 => rig.aiotf.handle_disconnected(1),
            _ => {}
        }
        rig.wait_ms(11_000);
        assert_eq!(
            concluded(&rig),
            [(7, Err(DeviceFailure::NoAnswer))],
            "{how}"
        );
    }
}

/// The ACCEPT was lost, and the device says its report again, before the session has begun and while it runs.
#[test]
fn a_report_that_comes_again_gets_its_accept_again_and_the_session_goes_on() {
    let (mut rig, window) = rig(Some(READ));
    let mut device = Device::new();
    heard(&mut rig, window, 1);
    heard(&mut rig, window, 1);
    assert_eq!(commands(&mut rig).len(), 1, "the ACCEPT is on its way");
    unanswered(&mut rig, window);
    let first = command(&mut rig);
    // Not heard; the report comes instead.
    heard(&mut rig, window, 1);
    assert_eq!(command(&mut rig), accept_of(&REPORT));
    unanswered(&mut rig, window);
    let second = command(&mut rig);
    assert_ne!(first, second, "a COUNT is used once");
    // What ends now is the ACCEPT: the command behind it is not lost.
    unanswered(&mut rig, window);
    assert_eq!(commands(&mut rig), []);
    assert_eq!(device.hear(&second), [1, 0, 3, 2]);
    let said = device.say(1, CommandResult::Ok, b"xy");
    answered(&mut rig, window, said);
    assert_eq!(concluded(&rig), [(7, Ok(Some(b"xy".to_vec())))]);
}

#[test]
fn false_answers_conclude_nothing() {
    let (mut rig, window) = rig(Some(READ));
    let mut device = Device::new();
    accepted(&mut rig, window);
    let mut true_answer = None;
    for tries in 0..2 {
        device.hear(&command(&mut rig));
        let mut forged = device.say(1, CommandResult::Ok, b"xy");
        true_answer.get_or_insert_with(|| forged.clone());
        forged[4] ^= 1;
        // Another device's, by its number.
        rig.pdu(
            1,
            &FromGnb::CommandResponse {
                aiotf_id: AIOTF_ID,
                correlation: window,
                device_ngap_id: 2,
                nas: forged.clone().into(),
            },
        );
        answered(&mut rig, window, forged);
        assert_eq!(concluded(&rig), [], "{tries}");
    }
    answered(&mut rig, window, true_answer.unwrap());
    assert_eq!(concluded(&rig), [(7, Ok(Some(b"xy".to_vec())))]);
}

#[test]
fn what_the_adm_cannot_note_now_is_said_again() {
    let (mut rig, window) = rig(Some(READ));
    let mut device = Device::new();
    rig.adm.script(|script| script.is_full = true);
    accepted(&mut rig, window);
    device.hear(&command(&mut rig));
    let said = device.say(1, CommandResult::Ok, b"xy");
    answered(&mut rig, window, said);
    rig.wait_ms(10_000);
    assert_eq!(concluded(&rig), []);
    assert!(rig.count("adm_failed") > 5);
    rig.adm.script(|script| script.is_full = false);
    rig.wait_ms(2_000);
    assert_eq!(concluded(&rig), [(7, Ok(Some(b"xy".to_vec())))]);
    assert_eq!(rig.count("kept_command_done"), 1);
}

/// A report replayed from many places must not take the room of others, nor end the session that runs.
#[test]
fn replays_take_little_room() {
    let (mut rig, window) = rig(Some(READ));
    accepted(&mut rig, window);
    command(&mut rig);
    for number in 2..100 {
        heard(&mut rig, window, number);
    }
    // The ACCEPT is for everybody.
    assert_eq!(commands(&mut rig).len(), 98);
    assert_eq!(rig.count("follow_on_opened"), 4);
    assert_eq!(rig.count("follow_on_dropped"), 95);
    let mut device = Device::new();
    let said = device.say(1, CommandResult::Ok, b"xy");
    answered(&mut rig, window, said);
    assert_eq!(concluded(&rig), [(7, Ok(Some(b"xy".to_vec())))]);
}
