//! The emulated AMF: gNBs are set up, NGAP goes through, and sessions are told where their AIOTF wants them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use ambit_ngap::{Cause, FromGnb, GnbId, InventoryRequest, Target, ToGnb};
use ambit_ran::amf::{Amf, AmfConfig, Notification, Output, UnknownGnb};
use common::{AIOTF_ID, snid};

const PLMN: [u8; 3] = [0x00, 0xf1, 0x10];

fn gnb(id: u32) -> GnbId {
    let bits = 22;
    GnbId {
        plmn: PLMN,
        id,
        bits,
    }
}

fn set_up(gnb_id: GnbId) -> Vec<u8> {
    let message = FromGnb::NgSetupRequest {
        gnb_id,
        name: None,
        aiot_support: true,
    };
    message.encode().unwrap()
}

fn open(correlation: u16) -> Vec<u8> {
    let request = InventoryRequest {
        aiotf_id: AIOTF_ID,
        correlation,
        target: Target::AllDevices,
        areas: vec![*snid().area([0, 0, 1]).octets()],
        readers: Vec::new(),
        expected_d2r_octets: 25,
        approximate_devices: None,
        time_interval: None,
        follow_on_command: true,
        rand_n: [7; 16],
    };
    ToGnb::InventoryRequest(request).encode().unwrap()
}

fn release(correlation: u16) -> Vec<u8> {
    let message = ToGnb::SessionReleaseCommand {
        aiotf_id: AIOTF_ID,
        correlation,
        cause: Cause::NormalRelease,
    };
    message.encode().unwrap()
}

fn opened(correlation: u16) -> Vec<u8> {
    let message = FromGnb::InventoryResponse {
        aiotf_id: AIOTF_ID,
        correlation,
    };
    message.encode().unwrap()
}

fn released(correlation: u16) -> Vec<u8> {
    let message = FromGnb::SessionReleaseComplete {
        aiotf_id: AIOTF_ID,
        correlation,
    };
    message.encode().unwrap()
}

fn outputs(amf: &mut Amf) -> Vec<Output> {
    std::iter::from_fn(|| amf.poll_output()).collect()
}

fn told(uri: &str, ngap: Vec<u8>) -> Output {
    let notif_uri = uri.to_owned();
    Output::Notify(1, Notification { notif_uri, ngap })
}

/// gNB 1, set up on connection 1.
fn amf() -> Amf {
    let mut amf = Amf::new(AmfConfig {
        name: "amf".into(),
        plmn: PLMN,
    });
    amf.handle_connected(1);
    amf.handle_pdu(1, &set_up(gnb(1)));
    let outputs = outputs(&mut amf);
    let [Output::Pdu(1, response)] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    let response = ToGnb::decode(response).unwrap();
    assert!(
        matches!(response, ToGnb::NgSetupResponse { aiotf_id: None, .. }),
        "{response:?}"
    );
    assert_eq!(amf.gnb_count(), 1);
    amf
}

#[test]
fn what_a_gnb_says_goes_where_its_session_was_opened_from() {
    let mut amf = amf();
    assert_eq!(amf.transfer(gnb(1), open(0x8001), "uri:a"), Ok(1));
    assert_eq!(amf.transfer(gnb(1), open(3), "uri:b"), Ok(1));
    let to_gnb = [Output::Pdu(1, open(0x8001)), Output::Pdu(1, open(3))];
    assert_eq!(outputs(&mut amf), to_gnb);
    amf.handle_pdu(1, &opened(0x8001));
    amf.handle_pdu(1, &opened(3));
    assert_eq!(
        outputs(&mut amf),
        [told("uri:a", opened(0x8001)), told("uri:b", opened(3))]
    );
    // Named anew, it is told there from then on.
    amf.transfer(gnb(1), open(3), "uri:c").unwrap();
    amf.handle_pdu(1, &opened(3));
    assert!(outputs(&mut amf).contains(&told("uri:c", opened(3))));
}

#[test]
fn what_belongs_to_nobody_is_dropped() {
    let mut amf = amf();
    assert_eq!(amf.transfer(gnb(2), open(1), "uri:a"), Err(UnknownGnb));
    // The same number with other bits is another gNB.
    let other = GnbId { bits: 24, ..gnb(1) };
    assert_eq!(amf.transfer(other, open(1), "uri:a"), Err(UnknownGnb));
    amf.handle_pdu(1, &opened(1));
    let indication = FromGnb::ErrorIndication { cause: None };
    amf.handle_pdu(1, &indication.encode().unwrap());
    amf.handle_pdu(9, &opened(1));
    assert!(outputs(&mut amf).is_empty());
    // What does not decode is answered with an ERROR INDICATION at most.
    amf.handle_pdu(1, &[0xff; 30]);
    amf.handle_pdu(1, &[]);
    let all_indications = outputs(&mut amf).iter().all(|output| match output {
        Output::Pdu(1, pdu) => matches!(ToGnb::decode(pdu), Ok(ToGnb::ErrorIndication { .. })),
        _ => false,
    });
    assert!(all_indications);
    let stats = amf.stats();
    assert_eq!((stats.transfers_unknown, stats.notifications), (2, 0));
    // Another network's gNB.
    amf.handle_connected(2);
    let plmn = [0x99, 0xf9, 0x99];
    amf.handle_pdu(2, &set_up(GnbId { plmn, ..gnb(1) }));
    assert_eq!((amf.gnb_count(), amf.stats().set_up_refused), (1, 1));
}

#[test]
fn a_session_ends_with_its_release_its_gnb_or_its_aiotf() {
    let mut amf = amf();
    let is_open = |amf: &mut Amf| {
        amf.handle_pdu(1, &opened(5));
        outputs(amf)
            .iter()
            .any(|output| matches!(output, Output::Notify(..)))
    };
    amf.transfer(gnb(1), open(5), "uri:a").unwrap();
    assert!(is_open(&mut amf));
    amf.transfer(gnb(1), release(5), "uri:a").unwrap();
    amf.handle_pdu(1, &released(5));
    assert!(outputs(&mut amf).contains(&told("uri:a", released(5))));
    assert!(!is_open(&mut amf));

    // Opened again before the gNB has said that it is released: the new one stays.
    amf.transfer(gnb(1), open(5), "uri:a").unwrap();
    amf.transfer(gnb(1), release(5), "uri:a").unwrap();
    amf.transfer(gnb(1), open(5), "uri:a").unwrap();
    amf.handle_pdu(1, &released(5));
    assert!(is_open(&mut amf));

    amf.forget("uri:b");
    assert!(is_open(&mut amf));
    amf.forget("uri:a");
    assert!(!is_open(&mut amf), "nobody is at the URI");

    amf.transfer(gnb(1), open(5), "uri:a").unwrap();
    amf.handle_disconnected(1);
    assert_eq!(amf.transfer(gnb(1), open(5), "uri:a"), Err(UnknownGnb));
    amf.handle_connected(1);
    amf.handle_pdu(1, &set_up(gnb(1)));
    assert!(!is_open(&mut amf), "lost with the association");

    // The same gNB on another connection.
    amf.handle_connected(2);
    amf.handle_pdu(2, &set_up(gnb(1)));
    assert!(outputs(&mut amf).contains(&Output::Close(1)));
    assert_eq!(amf.transfer(gnb(1), open(5), "uri:a"), Ok(2));
}

#[test]
fn sessions_are_bounded() {
    let mut amf = amf();
    for correlation in 0..5_000 {
        amf.transfer(gnb(1), open(correlation), "uri:a").unwrap();
    }
    outputs(&mut amf);
    amf.handle_pdu(1, &opened(0));
    assert!(outputs(&mut amf).is_empty(), "the oldest are forgotten");
    amf.handle_pdu(1, &opened(4_999));
    assert_eq!(outputs(&mut amf).len(), 1);
}
