//! Kept commands: given with the ACCEPT of a device's next report, at least once, never two under one K_AIOTF.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use ambit_adm::KeepError;
use ambit_adm_api::{
    AdmClient, DeviceFailure, FollowOn, KeptOperation, NadmError, Outcome, Verdict,
};
use ambit_protocol::wire::AcceptStatus;
use ambit_protocol::{Cause, DeviceForm, RandN};
use ambit_store::{CommandFilter, CommandRow, CommandState, FILE_NAME, Store};
use common::{
    Device, Failing, Net, START_MS, TestStore, all_forms, blind_config, config, directory, reader,
};
use std::ops::ControlFlow;

const READ: KeptOperation = KeptOperation::Read {
    offset: 8,
    length: 3,
};

fn write(data: &[u8]) -> KeptOperation {
    KeptOperation::Write {
        offset: 0,
        data: data.to_vec(),
    }
}

fn keep(net: &mut Net, device: &Device, operation: &KeptOperation) -> i64 {
    let ids = [device.id.clone()];
    let now_ms = net.now_ms;
    let kept = net.adm.keep_commands(&ids, operation, 3600, now_ms);
    kept.unwrap()[0].id
}

/// What came back to a report: whether the device is told that a command follows, and what the AIOTF is told.
fn hear(net: &mut Net, rand_n: RandN, sent: &common::Sent) -> (Outcome, Option<FollowOn>) {
    match net.hear_at(reader(1), rand_n, &sent.nas) {
        Verdict::Accept {
            nas,
            outcome,
            follow_on,
            ..
        } => {
            let status = sent.exchange.open_accept(nas.as_slice()).unwrap();
            let follows = status == AcceptStatus::CommandFollows;
            assert_eq!(follows, follow_on.is_some(), "one never without the other");
            (outcome, follow_on.map(|boxed| *boxed))
        }
        Verdict::Silence(outcome) => (outcome, None),
    }
}

/// The command that goes with a new report.
fn given(net: &mut Net, device: &mut Device) -> Option<(i64, KeptOperation)> {
    let rand_n = net.rand_n();
    let seq = net.records().len() as u8 % 16;
    let sent = device.send(rand_n, Cause::Event, seq);
    let (outcome, follow_on) = hear(net, rand_n, &sent);
    assert_eq!(outcome, Outcome::AcceptedNew);
    follow_on.map(|follow_on| {
        let command = follow_on.command.unwrap();
        (command.id, command.operation)
    })
}

fn conclude(net: &mut Net, id: i64, outcome: Result<Option<Vec<u8>>, DeviceFailure>) {
    let now_ms = net.now_ms;
    net.adm.conclude_command(now_ms, id, &outcome).unwrap();
}

fn row(net: &mut Net, id: i64) -> CommandRow {
    let mut found = None;
    let mut take = |row: CommandRow| {
        if row.id == id {
            found = Some(row);
        }
        ControlFlow::Continue(())
    };
    let all = CommandFilter::default();
    net.store.commands_for_each(&all, &mut take).unwrap();
    found.unwrap()
}

#[test]
fn a_command_goes_with_the_accept_of_every_form_of_report_and_what_was_read_is_kept() {
    for (form, mut device) in all_forms() {
        let mut net = Net::with(blind_config(), &[&device]);
        // For control: without a command, none follows.
        assert_eq!(given(&mut net, &mut device), None, "{form:?}");
        let id = keep(&mut net, &device, &READ);
        let rand_n = net.rand_n();
        let sent = device.send_as(form, rand_n, Cause::Event, 9);
        let (outcome, follow_on) = hear(&mut net, rand_n, &sent);
        assert_eq!(outcome, Outcome::AcceptedNew, "{form:?}");
        let follow_on = follow_on.unwrap();
        assert_eq!(*follow_on.device_id, device.id);
        let command = follow_on.command.unwrap();
        assert_eq!((command.id, &command.operation), (id, &READ));

        // The session's keys are the device's.
        let key = follow_on.key;
        let mut network =
            ambit_protocol::session::Session::new(key.suite, &key.k_aiotf, key.tag_len);
        let (mut out, mut at_device) = ([0; 64], sent.exchange.into_session());
        let len = network.seal_down(&[4], &mut out).unwrap();
        assert_eq!(at_device.open_down(&out[..len]).unwrap().octets(), [4]);

        conclude(&mut net, id, Ok(Some(b"abc".to_vec())));
        let done = row(&mut net, id);
        assert_eq!(
            (done.state, done.read.as_deref()),
            (CommandState::Done, Some(&b"abc"[..]))
        );
        assert_eq!(net.events("kept_command_done").len(), 1);
        assert_eq!(given(&mut net, &mut device), None, "{form:?}");
    }
}

#[test]
fn one_with_each_report_in_their_order_and_again_until_something_final_comes() {
    let mut device = Device::new("device", DeviceForm::Beacon);
    let mut net = Net::with(config(), &[&device]);
    let first = keep(&mut net, &device, &write(b"one"));
    let second = keep(&mut net, &device, &write(b"two"));
    for failure in [DeviceFailure::NoAnswer, DeviceFailure::LowEnergy] {
        assert_eq!(given(&mut net, &mut device).unwrap().0, first);
        conclude(&mut net, first, Err(failure));
        assert_eq!(
            row(&mut net, first).failure.as_deref(),
            Some(failure.name())
        );
    }
    // Not concluded at all: an AIOTF went away.
    assert_eq!(given(&mut net, &mut device).unwrap().0, first);
    net.restart();
    assert_eq!(given(&mut net, &mut device).unwrap().0, first);
    conclude(&mut net, first, Err(DeviceFailure::ParametersInvalid));
    let failed = row(&mut net, first);
    assert_eq!(
        (failed.state, failed.times_given),
        (CommandState::Failed, 4)
    );
    assert_eq!(net.events("kept_command_failed").len(), 1);
    // Said again, and said otherwise: it has ended.
    conclude(&mut net, first, Err(DeviceFailure::ParametersInvalid));
    assert_eq!(row(&mut net, first), failed);
    assert_eq!(given(&mut net, &mut device), Some((second, write(b"two"))));
    conclude(&mut net, second, Ok(None));
    assert_eq!(given(&mut net, &mut device), None);
}

/// Else what the device answered to the first command, recorded, would pass for its answer to the second.
#[test]
fn a_report_that_comes_again_gets_its_own_command_and_never_the_next_one() {
    for form in [DeviceForm::Beacon, DeviceForm::Counter, DeviceForm::Blind] {
        let mut device = Device::new("device", form);
        let mut net = Net::with(blind_config(), &[&device]);
        let first = keep(&mut net, &device, &write(b"one"));
        let rand_n = net.rand_n();
        let sent = device.send(rand_n, Cause::Event, 0);
        for expected in [Outcome::AcceptedNew, Outcome::AcceptedDuplicate] {
            let (outcome, follow_on) = hear(&mut net, rand_n, &sent);
            assert_eq!(outcome, expected);
            assert_eq!(follow_on.unwrap().command.unwrap().id, first);
        }
        // Two copies in one batch.
        let copies = net.hear_batch(rand_n, reader(1), &[&sent.nas, &sent.nas]);
        for verdict in copies {
            let Verdict::Accept { follow_on, .. } = verdict else {
                panic!("{verdict:?}");
            };
            assert_eq!(follow_on.unwrap().command.unwrap().id, first);
        }
        assert_eq!(row(&mut net, first).times_given, 1);
        conclude(&mut net, first, Ok(None));
        let second = keep(&mut net, &device, &write(b"two"));
        // The ACCEPT is the same; the device is only let go.
        let (outcome, follow_on) = hear(&mut net, rand_n, &sent);
        assert_eq!(outcome, Outcome::AcceptedDuplicate);
        assert_eq!(follow_on.unwrap().command, None);
        assert_eq!(given(&mut net, &mut device).unwrap().0, second);
        // Now given with another record.
        let (_, follow_on) = hear(&mut net, rand_n, &sent);
        assert_eq!(follow_on.unwrap().command, None);
    }
}

#[test]
fn a_device_that_acknowledges_a_disable_is_out_of_service_before_anybody_is_told() {
    let mut device = Device::new("device", DeviceForm::Beacon);
    let mut net = Net::with(config(), &[&device]);
    let id = keep(&mut net, &device, &KeptOperation::PermanentDisable);
    let more = keep(&mut net, &device, &READ);
    assert_eq!(given(&mut net, &mut device).unwrap().0, id);
    net.store.fail(Failing {
        commands: true,
        ..Failing::default()
    });
    let now_ms = net.now_ms;
    let failed = net.adm.conclude_command(now_ms, id, &Ok(None));
    assert!(matches!(failed, Err(NadmError::Failed(_))), "{failed:?}");
    assert_eq!(net.events("kept_command_done").len(), 0);
    net.store.fail(Failing::default());
    for _ in 0..2 {
        conclude(&mut net, id, Ok(None));
    }
    let kinds = ["kept_command_done", "device_permanently_disabled"];
    assert_eq!(kinds.map(|kind| net.events(kind).len()), [1, 1]);
    for _ in 0..2 {
        let rand_n = net.rand_n();
        let report = device.send(rand_n, Cause::Event, 1).nas;
        assert_eq!(net.hear(&report), Outcome::DeviceDisabled);
        net.restart();
    }
    assert_eq!(row(&mut net, more).state, CommandState::Kept);
}

#[test]
fn a_command_expires_or_is_withdrawn_and_is_not_given_then() {
    let mut device = Device::new("device", DeviceForm::Concealed);
    let mut net = Net::with(config(), &[&device]);
    let old = keep(&mut net, &device, &READ);
    net.wait_ms(3_599_999);
    net.adm.tick(net.now_ms);
    assert_eq!(row(&mut net, old).state, CommandState::Kept);
    let taken_back = keep(&mut net, &device, &READ);
    net.wait_ms(1);
    // Also before the tick.
    assert_eq!(given(&mut net, &mut device).unwrap().0, taken_back);
    net.adm.tick(net.now_ms);
    assert_eq!(row(&mut net, old).state, CommandState::Expired);
    assert_eq!(net.events("kept_command_expired").len(), 1);
    net.adm.withdraw_command(taken_back, net.now_ms).unwrap();
    assert_eq!(given(&mut net, &mut device), None);
    assert_eq!(net.events("kept_command_withdrawn").len(), 1);
    let again = net.adm.withdraw_command(taken_back, net.now_ms);
    assert!(matches!(again, Err(KeepError::Ended { .. })), "{again:?}");
    // It had been given, and the device did it.
    conclude(&mut net, taken_back, Ok(Some(b"abc".to_vec())));
    assert_eq!(row(&mut net, taken_back).state, CommandState::Done);
}

#[test]
fn what_cannot_be_kept_or_concluded_is_refused_and_changes_nothing() {
    let device = Device::new("device", DeviceForm::Beacon);
    let answers = Device::new("answers", DeviceForm::Dt);
    let off = Device::new("off", DeviceForm::Beacon);
    let mut net = Net::with(config(), &[&device, &answers, &off]);
    net.adm.set_disabled(&off.id, true, START_MS).unwrap();
    let of = |device: &Device| device.id.clone();
    let mut refused = |ids: &[Vec<u8>], operation: &KeptOperation, lifetime_s: u32| {
        let refused = net.adm.keep_commands(ids, operation, lifetime_s, START_MS);
        let error = refused.unwrap_err();
        (error.name(), error.to_string())
    };
    let one = [of(&device)];
    for (ids, operation, lifetime_s, name, text) in [
        (
            vec![of(&device), b"x".to_vec()],
            READ,
            1,
            "device_unknown",
            "no device x",
        ),
        (
            vec![of(&device), of(&answers)],
            READ,
            1,
            "command_refused",
            "answers: only answers",
        ),
        (
            vec![of(&device), of(&off)],
            READ,
            1,
            "command_refused",
            "off: is disabled",
        ),
        (one.to_vec(), READ, 0, "request_invalid", "lifetime_s: "),
        (
            one.to_vec(),
            READ,
            u32::MAX,
            "request_invalid",
            "lifetime_s: ",
        ),
        (
            one.to_vec(),
            write(&[]),
            1,
            "request_invalid",
            "data: must be 1 to 96",
        ),
        (
            one.to_vec(),
            write(&[0; 97]),
            1,
            "request_invalid",
            "data: ",
        ),
        (
            one.to_vec(),
            KeptOperation::Read {
                offset: 0,
                length: 97,
            },
            1,
            "request_invalid",
            "length: ",
        ),
        (
            one.to_vec(),
            KeptOperation::Read {
                offset: u16::MAX,
                length: 2,
            },
            1,
            "request_invalid",
            "offset: ",
        ),
    ] {
        let (found, message) = refused(&ids, &operation, lifetime_s);
        assert_eq!(found, name, "{message}");
        assert!(message.contains(text), "{message}");
    }
    for _ in 0..64 {
        keep(&mut net, &device, &READ);
    }
    let full = net.adm.keep_commands(&one, &READ, 1, START_MS).unwrap_err();
    assert_eq!(full.name(), "too_many_commands");
    let unknown = net.adm.withdraw_command(99, START_MS).unwrap_err();
    assert_eq!(unknown.name(), "command_unknown");
    // One that does not exist, one that was not given.
    for id in [99, 1] {
        let said = net.adm.conclude_command(START_MS, id, &Ok(None));
        assert!(
            matches!(said, Err(NadmError::Invalid { field: "id", .. })),
            "{said:?}"
        );
    }
    assert_eq!(net.events("command_kept").len(), 64);
}

#[test]
fn a_store_that_fails_costs_the_command_nothing() {
    let mut device = Device::new("device", DeviceForm::Beacon);
    let mut net = Net::with(config(), &[&device]);
    let id = keep(&mut net, &device, &READ);
    net.store.fail(Failing {
        commands: true,
        ..Failing::default()
    });
    // The report is accepted; its device is told to wait, and let go.
    let rand_n = net.rand_n();
    let sent = device.send(rand_n, Cause::Event, 0);
    let (outcome, follow_on) = hear(&mut net, rand_n, &sent);
    assert_eq!(outcome, Outcome::AcceptedNew);
    assert_eq!(follow_on.unwrap().command, None);
    net.store.fail(Failing::default());
    assert_eq!(given(&mut net, &mut device).unwrap().0, id);
}

/// Kept at one ADM, given by the other, concluded at a third.
#[test]
fn any_adm_on_the_store_gives_it_and_hears_of_its_end() {
    let path = directory("kept-shared").join(FILE_NAME);
    let [mut a, mut b, mut c] =
        [(); 3].map(|()| Net::on(TestStore::file(&path), config(), START_MS));
    let mut device = Device::new("device", DeviceForm::Beacon);
    a.import(&[&device]);
    assert_eq!(given(&mut b, &mut device), None);
    let id = keep(&mut a, &device, &READ);
    assert_eq!(given(&mut b, &mut device).unwrap().0, id);
    // Not concluded there: whoever hears the device next gives it again.
    assert_eq!(given(&mut c, &mut device).unwrap().0, id);
    conclude(&mut c, id, Ok(Some(b"abc".to_vec())));
    for net in [&mut a, &mut b, &mut c] {
        assert_eq!(given(net, &mut device), None);
    }
    // A disable that one was told of counts at all.
    let off = keep(&mut b, &device, &KeptOperation::PermanentDisable);
    assert_eq!(given(&mut a, &mut device).unwrap().0, off);
    conclude(&mut c, off, Ok(None));
    for net in [&mut a, &mut b, &mut c] {
        let rand_n = net.rand_n();
        let report = device.send(rand_n, Cause::Event, 7).nas;
        assert_eq!(net.hear(&report), Outcome::DeviceDisabled);
    }
    // What expires, expires once.
    let mut other = Device::new("other", DeviceForm::Beacon);
    a.import(&[&other]);
    keep(&mut a, &other, &READ);
    for net in [&mut a, &mut b, &mut c] {
        net.wait_ms(3_600_000);
        net.adm.tick(net.now_ms);
        assert_eq!(given(net, &mut other), None);
    }
    assert_eq!(a.events("kept_command_expired").len(), 1);
}
