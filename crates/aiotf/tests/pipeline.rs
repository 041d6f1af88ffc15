//! An ADM that records beside: no ACCEPT leaves before its record is on disk, and none is lost.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use ambit_adm_api::{KeptCommand, Outcome};
use ambit_ngap::ToGnb;
use ambit_protocol::wire::{MessageType, header};
use common::*;

fn slow() -> (Rig, u16) {
    let mut rig = Rig::on(config(), ScriptedAdm::slow());
    let correlation = rig.set_up(1, gnb(1));
    (rig, correlation)
}

/// A report of a device by its number.
fn nas(device: u32) -> Vec<u8> {
    let mut nas = vec![0x40; 20];
    nas.extend(device.to_be_bytes());
    nas.push(1);
    nas
}

fn hear(rig: &mut Rig, correlation: u16, device: u32) {
    let report = report(correlation, gnb(1), 1, Some(device), &nas(device));
    rig.pdu(1, &report);
}

/// The devices that an ACCEPT goes to, each checked to be that of its report.
fn accepted(seen: Vec<Seen>) -> Vec<u32> {
    let device = |seen| match seen {
        Seen::Pdu(
            1,
            ToGnb::CommandRequest {
                device_ngap_id,
                nas: accept,
                ..
            },
        ) => {
            assert_eq!(accept[..], accept_of(&nas(device_ngap_id))[..]);
            device_ngap_id
        }
        other => panic!("{other:?}"),
    };
    seen.into_iter().map(device).collect()
}

#[test]
fn an_accept_waits_for_its_record_and_reports_do_not_wait_for_accepts() {
    let (mut rig, correlation) = slow();
    hear(&mut rig, correlation, 1);
    assert!(rig.seen_meanwhile().is_empty());
    // These are taken to the ADM while the first is recorded, and are one batch after it.
    for device in [2, 3] {
        hear(&mut rig, correlation, device);
        assert!(rig.seen_meanwhile().is_empty());
    }
    assert_eq!(rig.adm.script(|script| script.batches.len()), 3);
    assert_eq!(rig.aiotf.pending_reports(), 0);
    assert_eq!(rig.aiotf.reports().of(Outcome::AcceptedNew), 0);

    rig.adm.script(|script| script.is_slow = false);
    assert_eq!(accepted(rig.seen_meanwhile()), [1, 2, 3]);
    assert_eq!(rig.aiotf.reports().of(Outcome::AcceptedNew), 3);
    assert_eq!(rig.adm.script(|script| script.waits), 0);
    assert!(rig.seen_meanwhile().is_empty());
}

#[test]
fn silence_is_kept_and_counted_in_its_place() {
    let (mut rig, correlation) = slow();
    let refused = report(correlation, gnb(1), 1, Some(9), &[0x40, 1, 0]);
    hear(&mut rig, correlation, 1);
    assert!(rig.seen_meanwhile().is_empty());
    rig.pdu(1, &refused);
    hear(&mut rig, correlation, 2);
    assert!(rig.seen_meanwhile().is_empty());
    rig.adm.script(|script| script.is_slow = false);
    assert_eq!(accepted(rig.seen_meanwhile()), [1, 2]);
    assert_eq!(rig.aiotf.reports().of(Outcome::NoMatch), 1);
}

/// When too many have gathered it waits, rather than take in what it cannot answer soon.
#[test]
fn what_gathers_is_bounded() {
    let (mut rig, correlation) = slow();
    let mut devices = 0;
    let mut answered = Vec::new();
    while answered.is_empty() {
        devices += 1;
        assert!(devices < 2000);
        hear(&mut rig, correlation, devices);
        answered = accepted(rig.seen_meanwhile());
    }
    assert_eq!(answered, [1], "the batch that was under way");
    assert_eq!(rig.adm.script(|script| script.waits), 1);
    rig.adm.script(|script| script.is_slow = false);
    let rest: Vec<u32> = (2..=devices).collect();
    assert_eq!(accepted(rig.seen_meanwhile()), rest);
}

#[test]
fn administration_and_a_flush_find_nothing_under_way() {
    let (mut rig, correlation) = slow();
    for device in [1, 2] {
        hear(&mut rig, correlation, device);
        assert!(rig.seen_meanwhile().is_empty());
    }
    rig.aiotf.adm();
    assert_eq!(accepted(rig.came_out()), [1, 2]);
    for device in [3, 4] {
        hear(&mut rig, correlation, device);
        assert!(rig.seen_meanwhile().is_empty());
    }
    hear(&mut rig, correlation, 5);
    assert_eq!(accepted(rig.seen()), [3, 4, 5], "in their order");
}

/// The gNB has gone before the record is on disk: nothing is sent, and no session is left behind.
#[test]
fn a_connection_that_is_gone_gets_nothing() {
    let (mut rig, correlation) = slow();
    let command: Option<KeptCommand> = None;
    rig.adm.script(|script| script.follow_on = Some(command));
    hear(&mut rig, correlation, 1);
    assert!(rig.seen_meanwhile().is_empty());
    rig.aiotf.handle_disconnected(1);
    rig.adm.script(|script| script.is_slow = false);
    assert!(rig.seen_meanwhile().is_empty());
    assert_eq!(rig.aiotf.reports().of(Outcome::AcceptedNew), 1);
    assert_eq!(rig.count("accept_undeliverable"), 1);
    assert_eq!(rig.count("follow_on_opened"), 0);
}

#[test]
fn a_watcher_hears_of_a_report_when_it_is_on_record() {
    let (mut rig, correlation) = slow();
    rig.aiotf.watch(true);
    hear(&mut rig, correlation, 1);
    assert!(rig.seen_meanwhile().is_empty());
    assert!(rig.aiotf.poll_accepted().is_none());
    let heard_ms = rig.now_ms;
    rig.wait_ms(300);
    rig.adm.script(|script| script.is_slow = false);
    assert_eq!(accepted(rig.seen_meanwhile()), [1]);
    let report = rig.aiotf.poll_accepted().unwrap();
    assert_eq!(report.time_ms, heard_ms, "that of its record");
}

/// Who watches sees reports and registrations in the order of their records.
#[test]
fn a_registration_finds_the_reports_before_it_answered() {
    let (mut rig, correlation) = slow();
    hear(&mut rig, correlation, 1);
    assert!(rig.seen_meanwhile().is_empty());
    let request = [&[header(MessageType::RegistrationRequest, 0)][..], &nas(2)].concat();
    rig.pdu(1, &report(correlation, gnb(1), 1, Some(2), &request));
    assert_eq!(accepted(rig.came_out()), [1]);
}
