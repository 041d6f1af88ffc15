//! Messages of the right key in the wrong place: other direction, label, exchange, COUNT (threat T08). And keys do not print.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use ambit_protocol::chain::BeaconChain;
use ambit_protocol::seal::{Direction, SealKeys};
use ambit_protocol::session::{Session, SessionError};
use ambit_protocol::wire::{AcceptStatus, ReportView};
use ambit_protocol::{Exchange, Form, KAiotf, OpenError, RootKey, Suite, TagLen};
use common::*;

const DIRECTIONS: [Direction; 4] = [
    Direction::Report,
    Direction::Accept,
    Direction::SessionUp,
    Direction::SessionDown,
];

#[test]
fn what_is_sealed_in_one_direction_opens_in_no_other() {
    for (suite, len) in profiles() {
        let keys = SealKeys::new(suite, &KAiotf::new([1; 16]));
        for sealed in DIRECTIONS {
            let mut text = *b"plaintext";
            let tag = keys.seal(sealed, [b"aad", b""], &mut text, len);
            for opened in DIRECTIONS {
                let mut text = text;
                let result = keys.open(opened, [b"aad", b""], &mut text, &tag);
                assert_eq!(result.is_ok(), sealed == opened);
                // Nothing unverified is released.
                let expected = if sealed == opened {
                    *b"plaintext"
                } else {
                    [0; 9]
                };
                assert_eq!(text, expected);
            }
        }
    }
}

/// Even when the headers are rewritten to fit.
#[test]
fn an_accept_is_no_report_and_a_report_no_accept() {
    for (suite, len) in profiles() {
        for form in Form::ALL {
            let built = build(form, suite, len, b"data");
            assert!(built.device.open_accept(&built.pdu).is_err());
            // The report's sealed part as an ACCEPT.
            let sealed = &built.pdu[built.pdu.len() - 5 - len.octets()..];
            assert!(
                built
                    .device
                    .open_accept(&[&[0x48], sealed].concat())
                    .is_err()
            );

            let mut accept = [0; 49];
            let octets = built.device.seal_accept(&[2, 0, 9], &mut accept).unwrap();
            assert!(ReportView::parse(&accept[..octets]).is_err());
            let front = built.pdu.len() - 5 - len.octets();
            let reflected = [&built.pdu[..front], &accept[1..octets]].concat();
            let view = ReportView::parse(&reflected).unwrap();
            assert!(Exchange::open_report(suite, &built.k_aiotf, &view, len).is_err());
        }
    }
}

#[test]
fn an_accept_of_another_exchange_does_not_open() {
    for (suite, len) in profiles() {
        let exchange = build(Form::Beacon, suite, len, b"data").device;
        let mut accept = [0; 49];
        let octets = exchange.seal_accept(&[1], &mut accept).unwrap();
        assert_eq!(
            exchange.open_accept(&accept[..octets]),
            Ok(AcceptStatus::CommandFollows)
        );
        // The same K_AIOTF and nonce, another item: another TAG1.
        let other_item = build(Form::Beacon, suite, len, b"Data").device;
        assert_eq!(
            other_item.open_accept(&accept[..octets]),
            Err(OpenError::TagMismatch)
        );
        let other_key = build(Form::Concealed, suite, len, b"data").device;
        assert!(other_key.open_accept(&accept[..octets]).is_err());
    }
}

#[test]
fn an_unknown_or_short_status_counts_as_accepted() {
    for p2 in [&[][..], &[0], &[3], &[0xff, 1, 2], &[2], &[2, 9]] {
        assert_eq!(AcceptStatus::parse(p2), AcceptStatus::Accepted);
    }
    let silent = AcceptStatus::SilentFor { seconds: 0x0102 };
    assert_eq!(AcceptStatus::parse(&[2, 1, 2, 7]), silent);
}

fn pair() -> (Session, Session) {
    let session = || Session::new(Suite::AesCmac, &KAiotf::new([5; 16]), TagLen::T8);
    (session(), session())
}

#[test]
fn a_session_message_up_does_not_open_as_one_down() {
    let (mut device, mut network) = pair();
    let (mut up, mut down) = ([0; 20], [0; 20]);
    let up_octets = device.seal_up(&[4, 0], &mut up).unwrap();
    let down_octets = network.seal_down(&[4, 0], &mut down).unwrap();
    assert!(device.open_down(&up[..up_octets]).is_err());
    assert!(network.open_up(&down[..down_octets]).is_err());
    // Nor with the direction bit rewritten.
    up[0] ^= 1;
    down[0] ^= 1;
    assert!(device.open_down(&up[..up_octets]).is_err());
    assert!(network.open_up(&down[..down_octets]).is_err());
    up[0] ^= 1;
    assert!(network.open_up(&up[..up_octets]).is_ok());
}

#[test]
fn a_count_is_taken_once_and_only_rises() {
    let (mut device, mut network) = pair();
    let messages: Vec<Vec<u8>> = (0..3)
        .map(|n| {
            let mut out = [0; 20];
            let octets = network.seal_down(&[2, 0, n, 7], &mut out).unwrap();
            out[..octets].to_vec()
        })
        .collect();
    device.open_down(&messages[0]).unwrap();
    device.open_down(&messages[2]).unwrap();
    for replayed in [0, 1, 2] {
        assert_eq!(
            device.open_down(&messages[replayed]).unwrap_err(),
            SessionError::CountReplayed {
                found: replayed as u8,
                next: 3
            }
        );
    }
}

#[test]
fn after_256_messages_of_a_direction_the_session_is_over() {
    let (mut device, mut network) = pair();
    let mut out = [0; 20];
    let mut last = 0;
    for count in 0..=255u8 {
        last = network.seal_down(&[4], &mut out).unwrap();
        assert_eq!(out[1], count);
        device.open_down(&out[..last]).unwrap();
    }
    assert!(device.open_down(&out[..last]).is_err());
    assert_eq!(
        network.seal_down(&[4], &mut out),
        Err(SessionError::CountExhausted)
    );
    // The other direction counts for itself.
    let octets = device.seal_up(&[4, 0], &mut out).unwrap();
    assert!(network.open_up(&out[..octets]).is_ok());
}

/// The command session after an ACCEPT with status 01 has the keys of the exchange, on both ends.
#[test]
fn an_exchange_goes_on_into_a_session() {
    for (suite, len) in profiles() {
        let built = build(Form::Counter, suite, len, b"");
        let view = ReportView::parse(&built.pdu).unwrap();
        let (network, _) = Exchange::open_report(suite, &built.k_aiotf, &view, len).unwrap();
        let (mut network, mut device) = (network.into_session(), built.device.into_session());
        let mut out = [0; 40];
        let octets = network.seal_down(&[1, 0, 0, 4], &mut out).unwrap();
        assert_eq!(
            device.open_down(&out[..octets]).unwrap().octets(),
            [1, 0, 0, 4]
        );
    }
}

#[test]
fn keys_do_not_print() {
    let octets = *b"0123456789abcdef";
    let snid = snid();
    let printed = [
        format!("{:?}", RootKey::new(octets)),
        format!("{:?}", KAiotf::new(octets)),
        format!("{:?}", RootKey::new(octets).prf_key(Suite::AsconXof128)),
        format!("{:?}", SealKeys::new(Suite::AesCmac, &KAiotf::new(octets))),
        format!(
            "{:?}",
            Session::new(Suite::HmacSha256, &KAiotf::new(octets), TagLen::T8)
        ),
        format!("{:?}", BeaconChain::new(snid, b"0123456789ab", 0, 3)),
    ];
    assert_eq!(printed[0], "K(..)");
    assert_eq!(printed[1], "K_AIOTF(..)");
    for text in &printed {
        // "0123" in hexadecimal, decimal list and clear.
        for secret in ["30313233", "48, 49", "30, 31", "0123"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    let exchange = build(Form::Beacon, Suite::AesCmac, TagLen::T8, b"").device;
    let tag1 = exchange.tag1();
    assert_eq!(
        format!("{exchange:?}"),
        format!("Exchange {{ keys: SealKeys(..), tag1: {tag1:?} }}")
    );
}
