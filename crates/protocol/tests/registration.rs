//! The messages of section 7 both ways, every single-bit flip and every length.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use ambit_protocol::wire::*;
use ambit_protocol::{Cause, Exchange, Item, KAiotf, Suite, TagLen};

const ITEM: Item<'static> = Item {
    cause: Cause::PowerOn,
    seq: 0,
    data: b"21.5 C",
};
const RES8: [u8; 8] = *b"res8res8";

fn key() -> KAiotf {
    KAiotf::new(*b"K_AIOTF of a run")
}

fn response(suite: Suite, len: TagLen) -> (Exchange, Vec<u8>) {
    let mut out = [0; 125];
    let (exchange, octets) =
        Exchange::seal_registration(suite, &key(), &RES8, &ITEM, len, &mut out).unwrap();
    (exchange, out[..octets].to_vec())
}

fn open(suite: Suite, len: TagLen, pdu: &[u8]) -> Option<(Exchange, Vec<u8>)> {
    match AuthenticationResponseView::parse(pdu).ok()? {
        AuthenticationResponseView::Result(result) => {
            let (exchange, plain) =
                Exchange::open_registration(suite, &key(), &result, len).ok()?;
            Some((exchange, plain.octets().to_vec()))
        }
        AuthenticationResponseView::SyncFailure { .. } => None,
    }
}

#[test]
fn requests_come_back_as_they_went() {
    let suci = [0x01, 0, 0xF1, 0x10, 0xF0, 0xFF, 0, 0, 0x21];
    let request = RegistrationRequest {
        rand_d: [7; 8],
        suci: &suci,
    };
    let mut out = [0; 125];
    let len = request.emit(&mut out).unwrap();
    assert_eq!((len, out[0]), (request.buffer_len(), 0x50));
    assert_eq!(RegistrationRequest::parse(&out[..len]).unwrap(), request);
    for (suci_octets, fits) in [
        (1, false),
        (2, true),
        (SUCI_OCTETS_MAX, true),
        (SUCI_OCTETS_MAX + 1, false),
    ] {
        let suci = vec![1; suci_octets];
        let request = RegistrationRequest {
            rand_d: [7; 8],
            suci: &suci,
        };
        assert_eq!(request.emit(&mut out).is_ok(), fits);
    }

    let challenge = AuthenticationRequest {
        n_r: [3; 16],
        autn: *b"sqn+ak80mac-amac",
    };
    let len = challenge.emit(&mut out).unwrap();
    assert_eq!((len, out[0]), (AUTHENTICATION_REQUEST_OCTETS, 0x58));
    assert_eq!(
        AuthenticationRequest::parse(&out[..len]).unwrap(),
        challenge
    );
    assert_eq!(&challenge.sqn_xor_ak(), b"sqn+ak");
    for other in (0..125).filter(|other| *other != len) {
        assert!(AuthenticationRequest::parse(&out[..other]).is_err());
    }

    let len = emit_sync_failure(&[5; 14], &mut out).unwrap();
    assert_eq!((len, out[0]), (15, 0x61));
    let expected = AuthenticationResponseView::SyncFailure { auts: [5; 14] };
    assert_eq!(
        AuthenticationResponseView::parse(&out[..len]).unwrap(),
        expected
    );
    assert!(AuthenticationResponseView::parse(&out[..14]).is_err());
}

#[test]
fn responses_open_and_their_accept_belongs_to_them() {
    for suite in Suite::ALL {
        for len in TagLen::ALL {
            let (device, pdu) = response(suite, len);
            assert_eq!(pdu.len(), 1 + 8 + 1 + 6 + len.octets());
            let (network, plain) = open(suite, len, &pdu).unwrap();
            assert_eq!(Item::parse(&plain).unwrap(), ITEM);
            let mut accept = [0; 49];
            let octets = network.seal_accept(&[], &mut accept).unwrap();
            assert!(device.open_accept(&accept[..octets]).is_ok());
        }
    }
}

/// RES8 is bound as well: a changed one opens nothing, whoever compares it.
#[test]
fn no_bit_and_no_length_can_be_changed() {
    let (suite, len) = (Suite::AesCmac, TagLen::T8);
    let (_, pdu) = response(suite, len);
    for at in 0..pdu.len() * 8 {
        let mut changed = pdu.clone();
        changed[at / 8] ^= 1 << (at % 8);
        assert!(open(suite, len, &changed).is_none(), "bit {at}");
    }
    for cut in 0..pdu.len() {
        assert!(open(suite, len, &pdu[..cut]).is_none());
    }
    for more in 1..8 {
        let longer = [&pdu[..], &vec![0; more]].concat();
        assert!(open(suite, len, &longer).is_none());
    }
}

/// A REPORT is no AUTHENTICATION RESPONSE, whatever its header is made to say.
#[test]
fn a_report_does_not_pass_for_a_response() {
    let id = ReportId::Beacon {
        t_id: *b"res8",
        rand_d: *b"res8",
    };
    let mut out = [0; 125];
    let (_, len) =
        Exchange::seal_report(Suite::AesCmac, &key(), &id, &ITEM, TagLen::T8, &mut out).unwrap();
    out[0] = header(MessageType::AuthenticationResponse, 0);
    assert!(open(Suite::AesCmac, TagLen::T8, &out[..len]).is_none());
}
