//! Octets of every length and value: a parse or open gives an error or a value, never a panic (threat T24).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use ambit_protocol::session::Session;
use ambit_protocol::wire::{
    AcceptStatus, AcceptView, Command, InventoryResponse, REPORT_OCTETS_MAX, ReportView, Response,
    SessionView, peek,
};
use ambit_protocol::{Exchange, Form, Item, KAiotf, Suite, TagLen};
use common::*;

/// What takes in octets of a peer, with state that lives on between them.
struct Ends {
    exchanges: Vec<(Suite, TagLen, Exchange)>,
    sessions: Vec<Session>,
}

impl Ends {
    fn new() -> Self {
        let k_aiotf = KAiotf::new([3; 16]);
        Self {
            exchanges: profiles()
                .map(|(suite, len)| (suite, len, build(Form::Beacon, suite, len, b"").device))
                .collect(),
            sessions: profiles()
                .map(|(suite, len)| Session::new(suite, &k_aiotf, len))
                .collect(),
        }
    }

    /// The parsers, which look at shape only.
    fn parse(&self, octets: &[u8]) {
        let _ = peek(octets);
        let _ = InventoryResponse::parse(octets);
        let _ = Item::parse(octets);
        let _ = Command::parse(octets);
        let _ = Response::parse(octets);
        let _ = AcceptStatus::parse(octets);
        for len in TagLen::ALL {
            let _ = AcceptView::parse(octets, len);
            let _ = SessionView::parse(octets, len);
            if let Ok(view) = ReportView::parse(octets) {
                let _ = view.sealed(len);
            }
        }
    }

    /// What also computes: nothing opens without the key.
    fn open(&mut self, octets: &[u8]) {
        for (suite, len, exchange) in &self.exchanges {
            assert!(exchange.open_accept(octets).is_err());
            if let Ok(view) = ReportView::parse(octets) {
                let k_aiotf = KAiotf::new([9; 16]);
                assert!(Exchange::open_report(*suite, &k_aiotf, &view, *len).is_err());
            }
        }
        for session in &mut self.sessions {
            assert!(session.open_up(octets).is_err());
            assert!(session.open_down(octets).is_err());
        }
    }
}

#[test]
fn every_input_of_up_to_two_octets_and_every_header_at_every_length() {
    let mut ends = Ends::new();
    ends.parse(&[]);
    ends.open(&[]);
    for a in 0..=255 {
        ends.parse(&[a]);
        ends.open(&[a]);
        for b in 0..=255 {
            ends.parse(&[a, b]);
        }
    }
    for header in 0..=255 {
        for fill in [0, 0xff] {
            let mut octets = [fill; 300];
            octets[0] = header;
            for end in 1..=octets.len() {
                ends.parse(&octets[..end]);
            }
            for end in [
                5,
                9,
                13,
                17,
                25,
                40,
                REPORT_OCTETS_MAX,
                REPORT_OCTETS_MAX + 1,
            ] {
                ends.open(&octets[..end]);
            }
        }
    }
}

#[test]
fn random_octets() {
    let mut ends = Ends::new();
    let mut rng = fastrand::Rng::with_seed(1);
    for round in 0..60_000 {
        let octets = rng.usize(0..200);
        let mut octets: Vec<u8> = (0..octets).map(|_| rng.u8(..)).collect();
        if let Some(first) = octets.first_mut() {
            // Mostly the right version and one of the types with forms.
            if rng.u8(..) > 20 {
                *first = 0x40 | (rng.u8(0..8) << 3) | rng.u8(0..5);
            }
        }
        ends.parse(&octets);
        if round % 20 == 0 {
            ends.open(&octets);
        }
    }
}

/// What a parser takes, it also writes, to the same octets.
#[test]
fn what_parses_emits_to_the_same_octets() {
    let mut rng = fastrand::Rng::with_seed(2);
    let mut parsed = [0; 4];
    for _ in 0..200_000 {
        let octets = rng.usize(0..100);
        let mut octets: Vec<u8> = (0..octets).map(|_| rng.u8(..)).collect();
        if let Some(first) = octets.first_mut() {
            *first = rng.u8(0..6);
        }
        let mut out = [0; 200];
        if let Ok(item) = Item::parse(&octets) {
            parsed[0] += 1;
            assert_eq!(item.emit(&mut out), Ok(octets.len()));
            assert_eq!(item.buffer_len(), octets.len());
            assert_eq!(out[..octets.len()], octets);
        }
        if let Ok(command) = Command::parse(&octets) {
            parsed[1] += 1;
            assert_eq!(command.emit(&mut out), Ok(octets.len()));
            assert_eq!(out[..octets.len()], octets);
        }
        if let Ok(response) = Response::parse(&octets) {
            parsed[2] += 1;
            assert_eq!(response.emit(&mut out), Ok(octets.len()));
            assert_eq!(out[..octets.len()], octets);
        }
        if let Some(first) = octets.first_mut() {
            *first = 0x40 | rng.u8(0..5);
        }
        if let Ok(view) = ReportView::parse(&octets) {
            parsed[3] += 1;
            let front = view.id().emit(&mut out).unwrap();
            assert_eq!(front, 1 + view.id().buffer_len());
            assert_eq!(out[..front], octets[..front]);
        }
    }
    assert!(parsed.iter().all(|n| *n > 1000), "{parsed:?}");
}

/// Lengths on the air are those of section 12.
#[test]
fn sizes_on_the_air() {
    for (form, octets) in [
        (Form::Beacon, 18),
        (Form::Counter, 16),
        (Form::Concealed, 22),
        (Form::Recovery, 20),
        (Form::Blind, 16),
    ] {
        for data in [0, 1, 90] {
            let built = build(form, Suite::AesCmac, TagLen::T8, &vec![1; data]);
            assert_eq!(built.pdu.len(), octets + data, "{form:?}");
            let mut out = [0; 49];
            assert_eq!(built.device.seal_accept(&[], &mut out), Ok(9));
        }
    }
    assert_eq!(
        build(Form::Concealed, Suite::AesCmac, TagLen::T16, &[0; 90])
            .pdu
            .len(),
        REPORT_OCTETS_MAX
    );
}

/// A buffer that is too small is an error, whatever its size.
#[test]
fn small_buffers_are_refused() {
    let built = build(Form::Beacon, Suite::AesCmac, TagLen::T8, b"data");
    let item = Item {
        cause: ambit_protocol::Cause::Event,
        seq: 5,
        data: b"data",
    };
    let view = ReportView::parse(&built.pdu).unwrap();
    for octets in 0..built.pdu.len() {
        let (suite, len) = (Suite::AesCmac, TagLen::T8);
        let mut out = vec![0; octets];
        let sealed = Exchange::seal_report(suite, &built.k_aiotf, view.id(), &item, len, &mut out);
        assert!(sealed.is_err());
    }
    for octets in 0..10 {
        assert!(
            built
                .device
                .seal_accept(&[1], &mut vec![0; octets])
                .is_err()
        );
    }
    let long = [0; 33];
    assert!(built.device.seal_accept(&long, &mut [0; 100]).is_err());
    let mut session = Session::new(Suite::AesCmac, &built.k_aiotf, TagLen::T8);
    for octets in 0..11 {
        assert!(session.seal_up(&[4], &mut vec![0; octets]).is_err());
    }
    assert!(session.seal_up(&[], &mut [0; 200]).is_err());
    assert!(session.seal_up(&[0; 108], &mut [0; 200]).is_err());
    // None of these used a COUNT.
    let mut out = [0; 11];
    assert_eq!(session.seal_up(&[4], &mut out), Ok(11));
    assert_eq!(out[1], 0);
}
