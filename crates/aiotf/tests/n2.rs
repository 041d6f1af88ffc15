//! The AIOTF on N2: NG SETUP, windows, reports and ACCEPTs (section 11), against an ADM by script.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use ambit_adm_api::Outcome;
use ambit_ngap::{Cause, DeviceReport, FromGnb, GnbId, ReaderReport, Target, ToGnb};
use common::*;

const NAS: &[u8] = &[0x40, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];

#[test]
fn a_gnb_of_the_network_is_welcomed_and_its_window_asked_for() {
    let mut rig = Rig::new(config());
    rig.aiotf.handle_connected(5);
    rig.pdu(5, &ng_setup(gnb(1)));
    let seen = rig.seen();
    let [
        Seen::Pdu(5, response),
        Seen::Pdu(5, ToGnb::InventoryRequest(window)),
    ] = &seen[..]
    else {
        panic!("{seen:?}")
    };
    let expected = ToGnb::NgSetupResponse {
        aiotf_id: Some(AIOTF_ID),
        name: "ambit-aiotf".into(),
        plmn: gnb(1).plmn,
    };
    assert_eq!(response, &expected);
    assert_eq!(window.aiotf_id, AIOTF_ID);
    assert!(window.correlation >= 0x8000);
    assert_eq!(window.target, Target::AllDevices);
    // Readers 2 and 3 serve one area.
    assert_eq!(window.areas, [*area(1).octets(), *area(2).octets()]);
    assert!(window.readers.is_empty());
    assert!(window.follow_on_command);
    assert_eq!(window.rand_n, *rand_n(1000).octets());
    // The longest report: concealed, 90 octets of data, 16 of tag.
    assert_eq!(window.expected_d2r_octets, 120);
    let status = rig.aiotf.status();
    assert_eq!(
        (status.gnbs, status.windows, status.epoch),
        (1, 1, Some(1000))
    );
}

#[test]
fn a_gnb_without_named_readers_is_asked_for_the_default_areas() {
    let mut config = config();
    config.areas_default_max = 3;
    let mut rig = Rig::new(config);
    rig.aiotf.handle_connected(1);
    rig.pdu(1, &ng_setup(gnb(2)));
    let areas = [1, 2, 3].map(|code| *area(code).octets());
    assert_eq!(rig.windows()[0].1.areas, areas);
}

/// A request that names no area would ask for all of them.
#[test]
fn a_gnb_that_serves_no_area_is_asked_for_nothing() {
    let mut config = config();
    config.readers.insert(9, Default::default());
    let mut rig = Rig::new(config);
    rig.aiotf.handle_connected(1);
    rig.pdu(1, &ng_setup(gnb(9)));
    rig.wait_ms(3 * EPOCH_MS);
    assert!(rig.windows().is_empty());
    assert_eq!(rig.aiotf.status().gnbs, 1);
}

#[test]
fn a_gnb_of_another_network_or_without_readers_is_refused_and_may_try_again() {
    let other_plmn = GnbId {
        plmn: [0x00, 0xf1, 0x20],
        ..gnb(1)
    };
    let no_support = FromGnb::NgSetupRequest {
        gnb_id: gnb(1),
        name: None,
        aiot_support: false,
    };
    let mut rig = Rig::new(config());
    rig.aiotf.handle_connected(1);
    for (request, cause) in [
        (ng_setup(other_plmn), Cause::UnknownPlmn),
        (no_support, Cause::Unspecified),
    ] {
        rig.pdu(1, &request);
        assert_eq!(rig.seen(), [Seen::Pdu(1, ToGnb::NgSetupFailure { cause })]);
        assert_eq!(rig.aiotf.status().gnbs, 0);
        // It is not served meanwhile.
        rig.pdu(1, &report(0x8000, gnb(1), 1, Some(1), NAS));
        rig.seen();
    }
    assert!(rig.adm.heard().is_empty());
    rig.pdu(1, &ng_setup(gnb(1)));
    assert_eq!(rig.seen().len(), 2);
}

#[test]
fn a_report_goes_to_the_adm_and_its_accept_to_the_device() {
    let (mut rig, correlation) = Rig::with_gnb();
    for (reader_index, code) in [(1, 1), (2, 2), (3, 2)] {
        let device = 0xffff_0000 + u32::from(reader_index);
        rig.pdu(
            1,
            &report(correlation, gnb(1), reader_index, Some(device), NAS),
        );
        assert_eq!(rig.aiotf.pending_reports(), 1);
        let expected = ToGnb::CommandRequest {
            aiotf_id: AIOTF_ID,
            correlation,
            device_ngap_id: device,
            nas: accept_of(NAS).into(),
            expected_d2r_octets: 1,
        };
        assert_eq!(rig.seen(), [Seen::Pdu(1, expected)]);
        let heard = rig.adm.heard().pop().unwrap();
        let expected = Heard {
            nas: NAS.to_vec(),
            rand_n: rand_n(1000),
            area_id: area(code),
            gnb_id: 1,
            reader_index,
        };
        assert_eq!(heard, expected);
    }
    assert_eq!(rig.aiotf.reports().of(Outcome::AcceptedNew), 3);
}

#[test]
fn on_silence_nothing_is_sent() {
    let (mut rig, correlation) = Rig::with_gnb();
    let silent = [NAS, &[0]].concat();
    rig.pdu(1, &report(correlation, gnb(1), 1, Some(7), &silent));
    assert!(rig.seen().is_empty());
    assert_eq!(rig.adm.heard().len(), 1);
    assert_eq!(rig.aiotf.reports().of(Outcome::NoMatch), 1);
    // The control.
    rig.pdu(1, &report(correlation, gnb(1), 1, Some(7), NAS));
    assert_eq!(rig.seen().len(), 1);
}

#[test]
fn reports_of_many_gnbs_are_one_batch_and_each_answer_finds_its_way() {
    let mut rig = Rig::new(config());
    let correlations: Vec<u16> = (1..=20)
        .map(|id| rig.set_up(100 + u64::from(id), gnb(id)))
        .collect();
    for (id, correlation) in (1..=20u32).zip(&correlations) {
        let nas = [NAS, &[id as u8]].concat();
        rig.pdu(
            100 + u64::from(id),
            &report(*correlation, gnb(id), 1, Some(id), &nas),
        );
    }
    let seen = rig.seen();
    assert_eq!(rig.adm.script(|script| script.batches.len()), 1);
    assert_eq!(seen.len(), 20);
    for (id, seen) in (1..=20u32).zip(seen) {
        let Seen::Pdu(
            connection,
            ToGnb::CommandRequest {
                device_ngap_id,
                nas,
                ..
            },
        ) = seen
        else {
            panic!("{seen:?}")
        };
        assert_eq!((connection, device_ngap_id), (100 + u64::from(id), id));
        assert_eq!(nas, accept_of(&[NAS, &[id as u8]].concat()));
    }
}

#[test]
fn one_message_with_more_reports_than_a_batch_takes_is_several_batches() {
    let mut config = config();
    config.batch_max = 10;
    let mut rig = Rig::new(config);
    let correlation = rig.set_up(1, gnb(1));
    let reader = |reader_index| ReaderReport {
        reader_index,
        devices: (0..13)
            .map(|n| DeviceReport {
                nas: [NAS, &[n + 1]].concat().into(),
                device_ngap_id: Some(u32::from(n)),
            })
            .collect(),
    };
    rig.pdu(
        1,
        &FromGnb::InventoryReport {
            aiotf_id: AIOTF_ID,
            correlation,
            gnb_id: gnb(1),
            readers: vec![reader(1), reader(2)],
            complete: false,
        },
    );
    assert_eq!(rig.seen().len(), 26);
    let sizes = rig
        .adm
        .script(|script| script.batches.iter().map(Vec::len).collect::<Vec<_>>());
    assert_eq!(sizes, [10, 10, 6]);
}

/// From a good report, one thing changed at a time.
#[test]
fn what_does_not_belong_here_is_dropped_and_counted() {
    let good = |correlation| report(correlation, gnb(1), 1, Some(7), NAS);
    let other_aiotf = move |correlation| {
        let mut report = good(correlation);
        if let FromGnb::InventoryReport { aiotf_id, .. } = &mut report {
            *aiotf_id = [0xa2; 16];
        }
        report
    };
    let same_number = GnbId { bits: 25, ..gnb(1) };
    type Change = Box<dyn Fn(u16) -> FromGnb<'static>>;
    let changes: [(&str, Change); 7] = [
        ("n2_unknown_correlation", Box::new(move |c| good(c + 1))),
        ("n2_unknown_correlation", Box::new(move |_| good(0))),
        (
            "n2_unknown_correlation",
            Box::new(move |c| good(c - 0x8000)),
        ),
        (
            "n2_other_gnb",
            Box::new(|c| report(c, gnb(2), 1, Some(7), NAS)),
        ),
        (
            "n2_other_gnb",
            Box::new(move |c| report(c, same_number, 1, Some(7), NAS)),
        ),
        ("n2_other_aiotf", Box::new(other_aiotf)),
        (
            "n2_no_device_ngap_id",
            Box::new(|c| report(c, gnb(1), 1, None, NAS)),
        ),
    ];
    for (name, change) in changes {
        let (mut rig, correlation) = Rig::with_gnb();
        rig.pdu(1, &change(correlation));
        assert!(rig.seen().is_empty(), "{name}");
        assert!(rig.adm.heard().is_empty(), "{name}");
        assert_eq!(rig.count(name), 1);
        rig.pdu(1, &good(correlation));
        assert_eq!(rig.seen().len(), 1, "the control");
    }
}

#[test]
fn reports_of_a_reader_without_area_or_too_long_are_dropped_and_counted() {
    let (mut rig, correlation) = Rig::with_gnb();
    rig.pdu(1, &report(correlation, gnb(1), 4, Some(7), NAS));
    assert!(rig.seen().is_empty());
    assert_eq!(rig.aiotf.reports().of(Outcome::AreaUnknown), 1);
    rig.pdu(1, &report(correlation, gnb(1), 1, Some(7), &[0x42; 121]));
    assert!(rig.seen().is_empty());
    assert_eq!(rig.aiotf.reports().of(Outcome::Malformed), 1);
    assert!(rig.adm.heard().is_empty());
    rig.pdu(1, &report(correlation, gnb(1), 1, Some(7), &[0x42; 120]));
    assert_eq!(rig.seen().len(), 1, "the control");
}

#[test]
fn before_ng_setup_nothing_is_heard() {
    let mut rig = Rig::new(config());
    rig.aiotf.handle_connected(1);
    rig.pdu(1, &report(0x8000, gnb(1), 1, Some(7), NAS));
    let cause = Some(Cause::MessageNotCompatible);
    assert_eq!(rig.seen(), [Seen::Pdu(1, ToGnb::ErrorIndication { cause })]);
    assert_eq!(rig.count("n2_before_ng_setup"), 1);
    assert!(rig.adm.heard().is_empty());
    // Neither an ERROR INDICATION nor an answer is answered with one.
    rig.pdu(1, &FromGnb::ErrorIndication { cause });
    rig.pdu(1, &inventory_failure(0x8000));
    assert!(rig.seen().is_empty());
    assert_eq!(rig.count("n2_before_ng_setup"), 3);
}

#[test]
fn a_pdu_that_does_not_decode_is_answered_with_one_error_indication() {
    let (mut rig, correlation) = Rig::with_gnb();
    let good = report(correlation, gnb(1), 1, Some(7), NAS)
        .encode()
        .unwrap();
    for bad in [&[][..], &[0xff; 40], &good[..good.len() - 1], &[0x00]] {
        rig.octets(1, bad);
        let cause = Some(Cause::TransferSyntaxError);
        let expected = Seen::Pdu(1, ToGnb::ErrorIndication { cause });
        assert_eq!(rig.seen(), [expected], "{bad:02x?}");
    }
    // The connection and its window live on.
    rig.octets(1, &good);
    assert_eq!(rig.seen().len(), 1);
}

#[test]
fn an_error_indication_is_never_answered() {
    let (mut rig, _) = Rig::with_gnb();
    let cause = Some(Cause::TransferSyntaxError);
    let good = FromGnb::ErrorIndication { cause }.encode().unwrap();
    rig.octets(1, &good);
    assert_eq!(rig.count("n2_error_indication"), 1);
    assert!(rig.seen().is_empty());
    // Nor one whose contents are changed, as long as it can be told to be one: the procedure code is its second octet.
    let mut changed = 0;
    for at in (2..good.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut bad = good.clone();
        bad[at.0] ^= 1 << at.1;
        let error = FromGnb::decode(&bad).err();
        rig.octets(1, &bad);
        let seen = rig.seen();
        if error.is_some_and(|error| error.message().is_some()) {
            changed += 1;
            assert!(seen.is_empty(), "{bad:02x?} {seen:?}");
        }
    }
    assert!(changed > 0);
}

#[test]
fn the_end_of_exchanges_and_sessions_is_counted() {
    let (mut rig, correlation) = Rig::with_gnb();
    let failure = |cause| FromGnb::CommandFailure {
        aiotf_id: AIOTF_ID,
        correlation,
        device_ngap_id: 7,
        cause,
    };
    rig.pdu(1, &failure(Cause::NoAiotNasResponse));
    rig.pdu(1, &failure(Cause::DeviceNotReachable));
    rig.pdu(
        1,
        &FromGnb::CommandResponse {
            aiotf_id: AIOTF_ID,
            correlation,
            device_ngap_id: 7,
            nas: NAS.into(),
        },
    );
    rig.pdu(
        1,
        &FromGnb::InventoryResponse {
            aiotf_id: AIOTF_ID,
            correlation,
        },
    );
    for name in [
        "exchange_ended",
        "command_failed",
        "n2_unexpected_command_response",
        "window_opened",
    ] {
        assert_eq!(rig.count(name), 1, "{name}");
    }
    assert!(rig.seen().is_empty());
}

#[test]
fn the_same_gnb_on_a_second_connection_closes_the_first() {
    let (mut rig, old) = Rig::with_gnb();
    rig.pdu(1, &report(old, gnb(1), 1, Some(7), NAS));
    rig.aiotf.handle_connected(2);
    rig.pdu(2, &ng_setup(gnb(1)));
    let seen = rig.seen();
    let [
        Seen::Close(1),
        Seen::Pdu(2, ToGnb::NgSetupResponse { .. }),
        Seen::Pdu(2, ToGnb::InventoryRequest(window)),
    ] = &seen[..]
    else {
        panic!("{seen:?}")
    };
    assert!(
        rig.adm.heard().is_empty(),
        "what the first had under way is gone"
    );
    assert_eq!(rig.aiotf.status().gnbs, 1);
    // What was still on its way on the first is not heard, not even that gNB's NG SETUP: it would close the second.
    rig.pdu(1, &report(old, gnb(1), 1, Some(7), NAS));
    rig.pdu(1, &ng_setup(gnb(1)));
    rig.octets(1, &[0xff; 9]);
    assert!(rig.seen().is_empty());
    rig.aiotf.handle_disconnected(1);
    rig.pdu(2, &report(window.correlation, gnb(1), 1, Some(7), NAS));
    assert_eq!(rig.seen().len(), 1);
    // Another gNB is another gNB, also with the same number in another length.
    rig.set_up(3, GnbId { bits: 25, ..gnb(1) });
    assert_eq!(rig.aiotf.status().gnbs, 2);
}

#[test]
fn a_second_ng_setup_on_one_connection_starts_the_gnb_afresh() {
    let (mut rig, _) = Rig::with_gnb();
    rig.pdu(1, &ng_setup(gnb(1)));
    let windows = rig.windows();
    assert_eq!(windows.len(), 1);
    assert_eq!(rig.aiotf.status().windows, 1);
    rig.pdu(
        1,
        &report(windows[0].1.correlation, gnb(1), 1, Some(7), NAS),
    );
    assert_eq!(rig.seen().len(), 1);
}

#[test]
fn reports_of_a_connection_that_is_gone_are_forgotten() {
    let (mut rig, correlation) = Rig::with_gnb();
    let other = rig.set_up(2, gnb(2));
    let nas = |octet| [NAS, &[octet]].concat();
    rig.pdu(1, &report(correlation, gnb(1), 1, Some(1), &nas(1)));
    rig.pdu(2, &report(other, gnb(2), 1, Some(2), &nas(2)));
    rig.pdu(1, &report(correlation, gnb(1), 1, Some(3), &nas(3)));
    rig.aiotf.handle_disconnected(1);
    assert_eq!(rig.seen().len(), 1);
    let heard = rig.adm.heard();
    assert_eq!(heard.len(), 1);
    assert_eq!((heard[0].gnb_id, &heard[0].nas), (2, &nas(2)));
    // All of them gone: the ADM is not troubled.
    rig.pdu(2, &report(other, gnb(2), 1, Some(2), &nas(2)));
    rig.aiotf.handle_disconnected(2);
    assert!(rig.seen().is_empty());
    assert_eq!(rig.adm.heard().len(), 1);
    assert_eq!(rig.aiotf.status().gnbs, 0);
}

/// A REPORT of a form, as far as its shape goes.
fn shaped(form: u8, n: u8) -> Vec<u8> {
    let mut nas = vec![0x40 | form];
    nas.extend([n; 30]);
    nas
}

#[test]
fn lookups_do_not_wait_behind_searches() {
    let (mut rig, correlation) = Rig::with_gnb();
    for n in 0..40 {
        // Concealed and recovery first, then beacon and counter.
        for form in [2, 3, 0, 1] {
            let device = Some(u32::from(n) * 4 + u32::from(form));
            rig.pdu(1, &report(correlation, gnb(1), 1, device, &shaped(form, n)));
        }
    }
    rig.aiotf.flush(rig.now_ms);
    let heard = rig.adm.heard();
    let of_form = |form: u8| heard.iter().filter(|r| r.nas[0] == 0x40 | form).count();
    assert_eq!((of_form(0), of_form(1)), (40, 40), "all lookups at once");
    assert_eq!(of_form(2) + of_form(3), 8, "a few searches");
    assert_eq!(rig.aiotf.pending_reports(), 72);
    let mut turns = 0;
    while rig.aiotf.pending_reports() > 0 {
        rig.aiotf.flush(rig.now_ms);
        turns += 1;
    }
    assert_eq!(
        (turns, rig.adm.heard().len()),
        (9, 160),
        "none is forgotten"
    );
}

#[test]
fn a_flood_of_searches_sheds_the_oldest_and_is_counted() {
    let (mut rig, correlation) = Rig::with_gnb();
    for n in 0..5000u32 {
        let nas = shaped(2, (n % 251) as u8);
        rig.pdu(1, &report(correlation, gnb(1), 1, Some(n), &nas));
    }
    assert_eq!(rig.aiotf.pending_reports(), 4096);
    let shed = rig.aiotf.reports().of(Outcome::SearchBudgetExhausted);
    assert_eq!(shed, 5000 - 4096);
}

#[test]
fn new_reports_are_told_in_order_and_only_while_somebody_watches() {
    let (mut rig, window) = Rig::with_gnb();
    let hear = |rig: &mut Rig, n: u8| {
        let nas = shaped(0, n);
        rig.pdu(1, &report(window, gnb(1), 2, Some(n.into()), &nas));
        assert_eq!(rig.seen().len(), 1, "answered in either case");
    };
    hear(&mut rig, 1);
    assert_eq!(rig.aiotf.poll_accepted(), None);
    assert!(!rig.adm.script(|script| script.tells_items));
    rig.aiotf.watch(true);
    for n in 2..5 {
        hear(&mut rig, n);
    }
    for n in 2..5 {
        let told = rig.aiotf.poll_accepted().unwrap();
        assert_eq!(*told.item.data, *shaped(0, n));
        let place = told.place;
        assert_eq!((place.area_id, place.gnb_id), (area(2), 1));
        assert_eq!((place.reader_index, told.time_ms), (2, rig.now_ms));
    }
    rig.aiotf.watch(false);
    hear(&mut rig, 5);
    assert_eq!(rig.aiotf.poll_accepted(), None);
}
