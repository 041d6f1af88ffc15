//! A gNB against a scripted core: commands, bounds, and what no core should send.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // Tests: a failure is a panic.

mod common;

use ambit_ngap::{Cause, FromGnb, ToGnb};
use ambit_ran::frame::RadioId;
use ambit_ran::gnb::{Downlink, GnbConfig};
use common::scripted::*;
use common::{AIOTF_ID, command, snid, window_request};

#[test]
fn a_command_goes_down_and_its_answer_up() {
    let mut gnb = ready();
    open(&mut gnb, 0, 0x8000, &RAND_N);
    let id = contact(&mut gnb, 10, 77);
    hand(&mut gnb, 20, &command(0x8000, id, b"command".to_vec()));
    let down = Downlink::Nas {
        reader_index: 1,
        radio_id: RadioId(77),
        nas: b"command".to_vec(),
    };
    assert_eq!(downlinks(&mut gnb), [down]);
    // A late copy of the report is a report, not the answer.
    hear(&mut gnb, 30, 12, 77, &77u32.to_be_bytes());
    gnb.handle_timeout(35);
    assert_eq!(
        reports(&sent(&mut gnb)),
        [(0x8000, 77u32.to_be_bytes().to_vec(), Some(id))]
    );
    hear(&mut gnb, 40, 38, 77, b"answer");
    let response = FromGnb::CommandResponse {
        aiotf_id: AIOTF_ID,
        correlation: 0x8000,
        device_ngap_id: id,
        nas: b"answer"[..].into(),
    };
    assert_eq!(sent(&mut gnb), [response]);
    gnb.handle_timeout(1_000);
    assert_eq!(sent(&mut gnb), [], "each command is answered once");
}

#[test]
fn commands_fail_with_their_causes() {
    let mut gnb = ready();
    open(&mut gnb, 0, 0x8000, &RAND_N);
    let id = contact(&mut gnb, 10, 1);
    // Nothing comes back: the normal end.
    hand(&mut gnb, 20, &command(0x8000, id, b"accept".to_vec()));
    assert_eq!(gnb.poll_timeout(), Some(220));
    gnb.handle_timeout(219);
    assert_eq!(sent(&mut gnb), []);
    gnb.handle_timeout(220);
    assert_eq!(
        sent(&mut gnb),
        [command_failure(id, Cause::NoAiotNasResponse)]
    );
    // An answer after its time is dropped.
    hear(&mut gnb, 230, 228, 1, b"late");
    gnb.handle_timeout(300);
    assert_eq!((sent(&mut gnb).len(), gnb.stats().late_answers), (0, 1));
    // An ID that nobody has, and one of another session.
    hand(&mut gnb, 310, &command(0x8000, id + 1, b"x".to_vec()));
    assert_eq!(
        sent(&mut gnb),
        [command_failure(id + 1, Cause::UnknownDeviceNgapId)]
    );
    open(&mut gnb, 310, 0x8001, &LATER_RAND_N);
    hand(&mut gnb, 320, &command(0x8001, id, b"x".to_vec()));
    let FromGnb::CommandFailure { cause, .. } = sent(&mut gnb).remove(0) else {
        panic!("COMMAND FAILURE expected");
    };
    assert_eq!(cause, Cause::UnknownDeviceNgapId);
    // A session that nobody has.
    hand(&mut gnb, 330, &command(0x9999, id, b"x".to_vec()));
    assert!(matches!(
        sent(&mut gnb)[..],
        [FromGnb::CommandFailure {
            cause: Cause::UnknownAiotSession,
            correlation: 0x9999,
            ..
        }]
    ));
    // An ID that has expired.
    gnb.handle_timeout(20_000);
    assert_eq!(gnb.contacts_open(), 0);
    hand(&mut gnb, 20_000, &command(0x8000, id, b"x".to_vec()));
    assert_eq!(
        sent(&mut gnb),
        [command_failure(id, Cause::UnknownDeviceNgapId)]
    );
}

#[test]
fn one_command_at_a_time_and_each_is_answered_once() {
    let mut gnb = ready();
    open(&mut gnb, 0, 0x8000, &RAND_N);
    let id = contact(&mut gnb, 10, 1);
    for nas in [&b"1"[..], b"2", b"3", b"4", b"5", b"6"] {
        hand(&mut gnb, 20, &command(0x8000, id, nas.to_vec()));
    }
    assert_eq!(downlinks(&mut gnb).len(), 1);
    assert_eq!(
        sent(&mut gnb),
        [command_failure(id, Cause::RadioResourcesNotAvailable)]
    );
    hear(&mut gnb, 30, 28, 1, b"answer 1");
    assert!(matches!(
        sent(&mut gnb)[..],
        [FromGnb::CommandResponse { .. }]
    ));
    assert!(matches!(&downlinks(&mut gnb)[..], [Downlink::Nas { nas, .. }] if nas == b"2"));
    for at_ms in [230, 430, 630, 830] {
        gnb.handle_timeout(at_ms);
        assert_eq!(
            sent(&mut gnb),
            [command_failure(id, Cause::NoAiotNasResponse)]
        );
    }
    assert_eq!((downlinks(&mut gnb).len(), gnb.poll_timeout()), (3, None));
}

#[test]
fn a_command_whose_contact_goes_is_answered_all_the_same() {
    // With its session.
    let mut gnb = ready();
    open(&mut gnb, 0, 0x8000, &RAND_N);
    let id = contact(&mut gnb, 10, 1);
    hand(&mut gnb, 20, &command(0x8000, id, b"1".to_vec()));
    hand(&mut gnb, 20, &command(0x8000, id, b"2".to_vec()));
    let release = ToGnb::SessionReleaseCommand {
        aiotf_id: AIOTF_ID,
        correlation: 0x8000,
        cause: Cause::NormalRelease,
    };
    hand(&mut gnb, 30, &release);
    let failed = command_failure(id, Cause::NormalRelease);
    assert_eq!(sent(&mut gnb)[..2], [failed.clone(), failed]);
    // For newer contacts.
    let mut config = GnbConfig::new(OWN_ID, snid(), 1);
    config.contacts_max = 3;
    let mut gnb = ready_with(config);
    open(&mut gnb, 0, 0x8000, &RAND_N);
    let id = contact(&mut gnb, 10, 1);
    hand(&mut gnb, 20, &command(0x8000, id, b"1".to_vec()));
    for radio_id in 2..5 {
        hear(&mut gnb, 30, 30, radio_id, b"report");
    }
    assert_eq!(
        sent(&mut gnb),
        [command_failure(id, Cause::DeviceNotReachable)]
    );
    assert_eq!(
        (gnb.stats().commands_abandoned, gnb.contacts_open()),
        (1, 3)
    );
}

#[test]
fn the_end_of_an_association_ends_everything_in_it() {
    let mut gnb = ready();
    open(&mut gnb, 0, 0x8000, &RAND_N);
    let id = contact(&mut gnb, 10, 1);
    hear(&mut gnb, 20, 20, 2, b"unsent");
    gnb.disconnected();
    let silent = |reader_index| Downlink::Beacon {
        reader_index,
        beacon: None,
    };
    assert_eq!(downlinks(&mut gnb), [silent(1), silent(2)]);
    assert_eq!(
        (gnb.sessions_open(), gnb.contacts_open(), gnb.poll_timeout()),
        (0, 0, None)
    );
    hear(&mut gnb, 30, 30, 3, b"nobody listens");
    assert_eq!(sent(&mut gnb), []);
    gnb.connected();
    sent(&mut gnb);
    hand(&mut gnb, 40, &set_up());
    open(&mut gnb, 40, 0x8000, &RAND_N);
    assert_ne!(
        contact(&mut gnb, 50, 1),
        id,
        "an old ID never names a new contact"
    );
}

#[test]
fn tables_and_queues_are_bounded() {
    let mut config = GnbConfig::new(OWN_ID, snid(), 1);
    (
        config.contacts_max,
        config.sessions_max,
        config.ngap_out_max,
    ) = (100, 2, 50);
    let mut gnb = ready_with(config);
    open(&mut gnb, 0, 0x8000, &RAND_N);
    open(&mut gnb, 0, 0x8001, &RAND_N);
    hand(&mut gnb, 0, &window_request(0x8002, &RAND_N));
    assert!(matches!(
        sent(&mut gnb)[..],
        [FromGnb::InventoryFailure {
            cause: Cause::RadioResourcesNotAvailable,
            ..
        }]
    ));
    for radio_id in 0..1_000 {
        hear(&mut gnb, 10, 10, radio_id, b"report");
    }
    assert_eq!(gnb.contacts_open(), 100);
    for id in 0..200 {
        hand(
            &mut gnb,
            20,
            &command(0x8000, id + 1_000_000, b"x".to_vec()),
        );
    }
    assert_eq!(sent(&mut gnb).len(), 50);
    assert!(gnb.stats().ngap_overflowed > 0);
}

#[test]
fn nothing_the_core_sends_makes_it_panic() {
    let mut random = fastrand::Rng::with_seed(1);
    let mut gnb = ready();
    open(&mut gnb, 0, 0x8000, &RAND_N);
    let originals: Vec<Vec<u8>> = [
        window_request(0x8001, &RAND_N),
        command(0x8000, 1, b"nas".to_vec()),
        set_up(),
        ToGnb::ErrorIndication { cause: None },
    ]
    .iter()
    .map(|message| message.encode().unwrap())
    .collect();
    for now_ms in 0..20_000 {
        let mut octets = originals[random.usize(..originals.len())].clone();
        for _ in 0..random.usize(..4) {
            let at = random.usize(..octets.len());
            octets[at] ^= 1 << random.u8(..8);
        }
        octets.truncate(random.usize(..=octets.len()));
        gnb.handle_ngap(now_ms, &octets);
        hear(&mut gnb, now_ms, now_ms, random.u32(..10), &octets);
        gnb.handle_timeout(now_ms);
        while gnb.poll_ngap().is_some() {}
        downlinks(&mut gnb);
    }
    assert!(gnb.stats().undecodable > 10_000);
}
