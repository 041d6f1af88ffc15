//! A gNB against a scripted core: set-up, windows, reports, inventories.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // Tests: a failure is a panic.

mod common;

use ambit_ngap::{Cause, DeviceBits, FromGnb, GnbId, InventoryRequest, ReaderId, Target, ToGnb};
use ambit_ran::frame::{Access, PageTarget, RadioId};
use ambit_ran::gnb::{Downlink, Gnb, GnbConfig, GnbState, Uplink};
use common::scripted::*;
use common::{AIOTF_ID, area, snid, window_request};

#[test]
fn ng_setup_comes_first_and_is_tried_again_when_refused() {
    let mut gnb = Gnb::new(GnbConfig::new(OWN_ID, snid(), 1));
    hand(&mut gnb, 0, &window_request(0x8000, &RAND_N));
    let refusal = FromGnb::ErrorIndication {
        cause: Some(Cause::MessageNotCompatible),
    };
    assert_eq!(sent(&mut gnb), [refusal]);
    gnb.connected();
    let FromGnb::NgSetupRequest {
        gnb_id,
        aiot_support,
        ..
    } = sent(&mut gnb).remove(0)
    else {
        panic!("NG SETUP REQUEST expected");
    };
    assert_eq!((gnb_id, aiot_support), (own_id(), true));
    let cause = Cause::UnknownPlmn;
    hand(&mut gnb, 100, &ToGnb::NgSetupFailure { cause });
    assert_eq!(gnb.poll_timeout(), Some(2_100));
    gnb.handle_timeout(2_100);
    assert!(matches!(
        sent(&mut gnb)[..],
        [FromGnb::NgSetupRequest { .. }]
    ));
    hand(&mut gnb, 2_200, &set_up());
    assert_eq!((gnb.state(), gnb.poll_timeout()), (GnbState::Ready, None));
}

#[test]
fn a_window_opens_broadcasts_and_closes() {
    let mut gnb = ready();
    assert_eq!(gnb.beacon(1), None);
    hand(&mut gnb, 0, &window_request(0x8000, &RAND_N));
    let response = FromGnb::InventoryResponse {
        aiotf_id: AIOTF_ID,
        correlation: 0x8000,
    };
    assert_eq!(sent(&mut gnb), [response]);
    let beacon = |reader_index, rand_n| Downlink::Beacon {
        reader_index,
        beacon: Some((area(reader_index), rand_n)),
    };
    assert_eq!(downlinks(&mut gnb), [beacon(1, RAND_N), beacon(2, RAND_N)]);
    assert_eq!(gnb.beacon(2), Some((area(2), RAND_N)));

    // The same session again is refused and changes nothing.
    hand(&mut gnb, 10, &window_request(0x8000, &LATER_RAND_N));
    let failure = FromGnb::InventoryFailure {
        aiotf_id: AIOTF_ID,
        correlation: 0x8000,
        cause: Cause::MultipleAiotSessions,
    };
    assert_eq!(sent(&mut gnb), [failure]);
    assert_eq!(
        (gnb.beacon(1), downlinks(&mut gnb).len()),
        (Some((area(1), RAND_N)), 0)
    );

    let release = ToGnb::SessionReleaseCommand {
        aiotf_id: AIOTF_ID,
        correlation: 0x8000,
        cause: Cause::NormalRelease,
    };
    hear(&mut gnb, 20, 20, 1, b"last");
    hand(&mut gnb, 21, &release);
    let messages = sent(&mut gnb);
    assert_eq!(reports(&messages).len(), 1, "what was heard goes up first");
    let complete = FromGnb::SessionReleaseComplete {
        aiotf_id: AIOTF_ID,
        correlation: 0x8000,
    };
    assert_eq!(messages[1..], [complete]);
    assert_eq!(gnb.beacon(1), None);
    hand(&mut gnb, 22, &release);
    let unknown = FromGnb::ErrorIndication {
        cause: Some(Cause::UnknownAiotSession),
    };
    assert_eq!(sent(&mut gnb), [unknown]);
}

#[test]
fn a_report_goes_up_under_the_newest_window_broadcast_when_the_device_spoke() {
    let mut gnb = ready();
    open(&mut gnb, 0, 0x8000, &RAND_N);
    open(&mut gnb, 1_000, 0x8001, &LATER_RAND_N);
    assert_eq!(gnb.beacon(1), Some((area(1), LATER_RAND_N)));
    hear(&mut gnb, 1_005, 999, 1, b"old");
    hear(&mut gnb, 1_005, 1_000, 2, b"new");
    assert_eq!(gnb.poll_timeout(), Some(1_010));
    gnb.handle_timeout(1_009);
    assert_eq!(sent(&mut gnb), []);
    gnb.handle_timeout(1_010);
    let found = reports(&sent(&mut gnb));
    let under: Vec<(u16, &[u8])> = found
        .iter()
        .map(|(c, nas, _)| (*c, nas.as_slice()))
        .collect();
    assert_eq!(under, [(0x8000, &b"old"[..]), (0x8001, b"new")]);
    // The old window closes: the new one goes on.
    hand(
        &mut gnb,
        1_020,
        &ToGnb::SessionReleaseCommand {
            aiotf_id: AIOTF_ID,
            correlation: 0x8000,
            cause: Cause::NormalRelease,
        },
    );
    assert_eq!(gnb.beacon(1), Some((area(1), LATER_RAND_N)));
    assert!(
        downlinks(&mut gnb)
            .iter()
            .all(|d| !matches!(d, Downlink::Beacon { beacon: None, .. }))
    );
}

#[test]
fn reports_are_batched_by_time_and_by_number() {
    let mut config = GnbConfig::new(OWN_ID, snid(), 2);
    config.report_devices_max = 3;
    let mut gnb = ready_with(config);
    open(&mut gnb, 0, 0x8000, &RAND_N);
    for radio_id in 0..7u32 {
        hear(&mut gnb, 10, 10, radio_id, &radio_id.to_be_bytes());
    }
    let at_once = sent(&mut gnb);
    assert_eq!((at_once.len(), reports(&at_once).len()), (2, 6));
    gnb.handle_timeout(15);
    let later = sent(&mut gnb);
    assert_eq!((later.len(), reports(&later).len()), (1, 1));
    let ids: std::collections::BTreeSet<_> = reports(&at_once)
        .iter()
        .chain(&reports(&later))
        .map(|r| r.2.unwrap())
        .collect();
    assert_eq!(ids.len(), 7, "one device NGAP ID for each contact");
    gnb.handle_timeout(100);
    assert_eq!(sent(&mut gnb), []);
}

#[test]
fn requests_name_areas_and_readers() {
    let mut gnb = ready();
    let request = |correlation, areas: &[u16], readers: &[ReaderId]| {
        let ToGnb::InventoryRequest(whole) = window_request(correlation, &RAND_N) else {
            unreachable!();
        };
        ToGnb::InventoryRequest(InventoryRequest {
            areas: areas.iter().map(|index| *area(*index).octets()).collect(),
            readers: readers.to_vec(),
            ..whole
        })
    };
    let reader = |gnb_id, reader_index| ReaderId {
        gnb_id,
        reader_index,
    };
    let other = GnbId { id: 6, ..own_id() };
    for unserved in [
        request(0x8000, &[3, 9], &[]),
        request(0x8000, &[], &[reader(own_id(), 7), reader(other, 1)]),
    ] {
        hand(&mut gnb, 0, &unserved);
        let failure = FromGnb::InventoryFailure {
            aiotf_id: AIOTF_ID,
            correlation: 0x8000,
            cause: Cause::AreaNotServed,
        };
        assert_eq!(sent(&mut gnb), [failure]);
    }
    // One of several is enough, and only that one broadcasts.
    hand(&mut gnb, 0, &request(0x8001, &[2, 9], &[]));
    assert!(matches!(
        sent(&mut gnb)[..],
        [FromGnb::InventoryResponse { .. }]
    ));
    assert_eq!(
        (gnb.beacon(1), gnb.beacon(2)),
        (None, Some((area(2), RAND_N)))
    );
    hand(&mut gnb, 0, &request(0x8002, &[], &[reader(own_id(), 1)]));
    assert_eq!(gnb.beacon(1), Some((area(1), RAND_N)));
    // Nobody broadcasts there, nobody is reported.
    hear(&mut gnb, 10, 10, 1, b"1");
    gnb.handle_uplink(
        10,
        Uplink {
            reader_index: 3,
            radio_id: RadioId(2),
            spoke_ms: 10,
            access: Access::DeviceOriginated,
            nas: b"2".to_vec(),
        },
    );
    gnb.handle_timeout(20);
    let under: Vec<u16> = reports(&sent(&mut gnb)[1..]).iter().map(|r| r.0).collect();
    assert_eq!(under, [0x8002]);
    assert_eq!(gnb.stats().uplinks_without_session, 1);
}

#[test]
fn a_device_terminated_inventory_pages_collects_and_completes() {
    let mut gnb = ready();
    open(&mut gnb, 0, 0x8000, &RAND_N);
    let ToGnb::InventoryRequest(whole) = window_request(7, &LATER_RAND_N) else {
        unreachable!();
    };
    let page = ToGnb::InventoryRequest(InventoryRequest {
        target: Target::Single(DeviceBits::from_octets(&b"dev"[..]).unwrap()),
        areas: vec![*area(1).octets()],
        follow_on_command: false,
        ..whole
    });
    hand(&mut gnb, 100, &page);
    sent(&mut gnb);
    let pages = downlinks(&mut gnb);
    let [
        Downlink::Page {
            reader_index: 1,
            page,
        },
    ] = &pages[..]
    else {
        panic!("one page expected: {pages:?}");
    };
    assert_eq!(page.rand_n, LATER_RAND_N);
    assert!(matches!(&page.target, PageTarget::Single { octets, bits: 24 } if octets == b"dev"));
    assert_eq!(
        gnb.beacon(1),
        Some((area(1), RAND_N)),
        "a page is no beacon"
    );
    gnb.handle_uplink(
        150,
        Uplink {
            reader_index: 1,
            radio_id: RadioId(5),
            spoke_ms: 148,
            access: Access::Paged(page.transaction),
            nas: b"here".to_vec(),
        },
    );
    gnb.handle_timeout(155);
    let no_id = (7, b"here".to_vec(), None);
    assert_eq!(
        reports(&sent(&mut gnb)),
        [no_id],
        "no command follows, no ID is needed"
    );
    assert_eq!(gnb.poll_timeout(), Some(2_100));
    gnb.handle_timeout(2_100);
    assert!(matches!(
        &sent(&mut gnb)[..],
        [FromGnb::InventoryReport { complete: true, correlation: 7, readers, .. }] if readers.is_empty()
    ));
    assert_eq!(gnb.poll_timeout(), None);
}
