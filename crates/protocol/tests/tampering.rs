//! A message that was changed anywhere does not open: single bits, truncations, extensions (threat T06).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use ambit_protocol::schedule::{self, Input, cut};
use ambit_protocol::session::Session;
use ambit_protocol::wire::{InventoryResponse, ReportId, ReportView};
use ambit_protocol::{Exchange, Form, KAiotf, Suite, TagLen};
use common::*;

/// Opens a report as a network does: the T-ID must be the device's, and the key follows from what the report says.
fn open(pdu: &[u8], suite: Suite, len: TagLen) -> Option<Vec<u8>> {
    let view = ReportView::parse(pdu).ok()?;
    let key = root_key().prf_key(suite);
    let area_id = area_id();
    let is_id = |input: &Input, id: &[u8]| key.evaluate(input).starts_with(id);
    let k_aiotf = match view.id() {
        ReportId::Beacon { t_id, rand_d } => is_id(&schedule::beacon_t_id(&RAND_N), t_id)
            .then(|| schedule::beacon_k_aiotf(&RAND_N, &area_id, rand_d)),
        ReportId::Concealed { cid, rand_d } => is_id(&schedule::concealed_id(&RAND_N, rand_d), cid)
            .then(|| schedule::concealed_k_aiotf(&RAND_N, &area_id, rand_d)),
        ReportId::Counter { t_id } => is_id(&schedule::counter_t_id(COUNTER), t_id)
            .then(|| schedule::counter_k_aiotf(&RAND_N, &area_id, COUNTER)),
        ReportId::Recovery { counter, t_id } => is_id(&schedule::counter_t_id(*counter), t_id)
            .then(|| schedule::counter_k_aiotf(&RAND_N, &area_id, *counter)),
        ReportId::Blind { t_id } => {
            is_id(&schedule::counter_t_id(COUNTER), t_id).then(|| schedule::blind_k_aiotf(COUNTER))
        }
    };
    let k_aiotf = KAiotf::new(key.evaluate(&k_aiotf?));
    let (_, plaintext) = Exchange::open_report(suite, &k_aiotf, &view, len).ok()?;
    Some(plaintext.octets().to_vec())
}

#[test]
fn a_changed_report_does_not_open() {
    for (suite, len) in profiles() {
        for form in Form::ALL {
            for data in [&b""[..], b"21.5 C", &[0xa5; 90]] {
                let pdu = build(form, suite, len, data).pdu;
                let plain = open(&pdu, suite, len).expect("the report itself opens");
                assert_eq!(plain, [&[0x35], data].concat());
                for changed in mutations(&pdu) {
                    assert_eq!(
                        open(&changed, suite, len),
                        None,
                        "{form:?} {suite:?} {len:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_report_does_not_open_under_another_tag_length_or_suite() {
    for (suite, len) in profiles() {
        for form in Form::ALL {
            let pdu = build(form, suite, len, &[7; 20]).pdu;
            for (other_suite, other_len) in profiles() {
                let is_same = (other_suite, other_len) == (suite, len);
                assert_eq!(open(&pdu, other_suite, other_len).is_some(), is_same);
            }
        }
    }
}

#[test]
fn a_changed_accept_does_not_open() {
    for (suite, len) in profiles() {
        let built = build(Form::Beacon, suite, len, b"x");
        for p2 in [&[][..], &[1], &[2, 0, 60], &[0x5a; 32]] {
            let mut out = [0; 49];
            let octets = built.device.seal_accept(p2, &mut out).unwrap();
            assert!(built.device.open_accept(&out[..octets]).is_ok());
            for changed in mutations(&out[..octets]) {
                let opened = built.device.open_accept(&changed);
                assert!(opened.is_err(), "{suite:?} {len:?} {changed:02x?}");
            }
        }
    }
}

#[test]
fn a_changed_session_message_does_not_open_and_leaves_the_session_as_it_was() {
    for (suite, len) in profiles() {
        let k_aiotf = || KAiotf::new(*b"key of a session");
        let mut network = Session::new(suite, &k_aiotf(), len);
        let mut device = Session::new(suite, &k_aiotf(), len);
        let mut pdu = [0; 125];
        for text in [&[4][..], &[2, 0, 0, 1, 2, 3]] {
            let octets = network.seal_down(text, &mut pdu).unwrap();
            for changed in mutations(&pdu[..octets]) {
                assert!(device.open_down(&changed).is_err(), "{changed:02x?}");
            }
            let opened = device.open_down(&pdu[..octets]).unwrap();
            assert_eq!(opened.octets(), text);

            let octets = device.seal_up(text, &mut pdu).unwrap();
            for changed in mutations(&pdu[..octets]) {
                assert!(network.open_up(&changed).is_err(), "{changed:02x?}");
            }
            assert_eq!(network.open_up(&pdu[..octets]).unwrap().octets(), text);
        }
    }
}

#[test]
fn a_changed_inventory_response_does_not_verify() {
    for suite in Suite::ALL {
        let key = root_key().prf_key(suite);
        let verifies = |pdu: &[u8]| {
            InventoryResponse::parse(pdu).is_ok_and(|response| {
                cut(&key.evaluate(&schedule::dt_res(&RAND_N, &response.rand_d))) == response.res
            })
        };
        let rand_d = *b"sixteen octets D";
        let response = InventoryResponse {
            rand_d,
            res: cut(&key.evaluate(&schedule::dt_res(&RAND_N, &rand_d))),
        };
        let mut pdu = [0; 25];
        assert_eq!(response.emit(&mut pdu), Ok(25));
        assert!(verifies(&pdu));
        for changed in mutations(&pdu) {
            assert!(!verifies(&changed), "{changed:02x?}");
        }
    }
}
