//! NGAP: what is read is written again as the same message, and frames come out as they went in however the stream is cut.

use ambit_ngap::framing::{FrameDecoder, frame_into};
use ambit_ngap::{FromGnb, NgapError, ToGnb};

use crate::Input;
use crate::defect::Defect;

/// The target: a PDU, or a stream of frames in pieces.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    match input.u8() % 3 {
        0 => pdu(input.0),
        1 => frames(&mut input),
        _ => stream(&mut input),
    }
}

fn pdu(octets: &[u8]) {
    let (from, to) = (FromGnb::decode(octets), ToGnb::decode(octets));
    let both = from.is_ok() && to.is_ok();
    match &from {
        Ok(message) => {
            let again = written(message.encode());
            // ERROR INDICATION is the one message that both sides send.
            assert_eq!(FromGnb::decode(&again).as_ref(), Ok(message));
            assert_eq!(FromGnb::decode(&again).unwrap().encode().unwrap(), again);
        }
        Err(error) => told(error),
    }
    match &to {
        Ok(message) => {
            let again = written(message.encode());
            assert_eq!(ToGnb::decode(&again).as_ref(), Ok(message));
            assert_eq!(ToGnb::decode(&again).unwrap().encode().unwrap(), again);
        }
        Err(error) => told(error),
    }
    if let (true, Ok(from), Ok(to)) = (both, &from, &to) {
        assert_eq!(from.kind(), to.kind());
    }
}

fn written(encoded: Result<Vec<u8>, NgapError>) -> Vec<u8> {
    match Defect::NgapLosesMessage.is_planted() {
        true => Vec::new(),
        false => encoded.expect("what was read can be written"),
    }
}

/// Every error has a name for its metric, and says something.
fn told(error: &NgapError) {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    assert!(!error.name().is_empty() && error.name().chars().all(is_name));
    assert!(!error.to_string().is_empty());
    let _ = error.to_cause();
}

/// PDUs are framed, cut anywhere, and come out again.
fn frames(input: &mut Input<'_>) {
    let cuts: [u8; 4] = input.array();
    let (mut pdus, mut octets) = (Vec::new(), Vec::new());
    while !input.is_empty() {
        let pdu = input.short();
        let before = octets.len();
        match frame_into(pdu, &mut octets) {
            Ok(()) => pdus.push(pdu.to_vec()),
            Err(_) => {
                assert!(pdu.is_empty(), "a PDU of 1 to 255 octets");
                assert_eq!(octets.len(), before, "half written");
            }
        }
    }
    let mut decoder = FrameDecoder::default();
    let (mut found, mut rest, mut turn) = (Vec::new(), &octets[..], 0);
    while !rest.is_empty() {
        let n = usize::from(cuts[turn % 4]).clamp(1, rest.len());
        turn += 1;
        decoder.push(&rest[..n]);
        rest = &rest[n..];
        while let Some(pdu) = decoder.next().expect("good frames") {
            found.push(pdu.to_vec());
        }
    }
    if Defect::NgapLosesFrame.is_planted() {
        found.pop();
    }
    assert_eq!(found, pdus);
}

/// Any octets: a stream whose pieces do not matter, and an error that stays.
fn stream(input: &mut Input<'_>) {
    let cut = usize::from(input.u8()) + 1;
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut decoder, mut found) = (FrameDecoder::default(), Vec::new());
        for piece in pieces {
            decoder.push(piece);
            loop {
                match decoder.next() {
                    Ok(Some(pdu)) => found.push(pdu.to_vec()),
                    Ok(None) => break,
                    Err(error) => {
                        assert_eq!(decoder.next().unwrap_err(), error, "an error stays");
                        return (found, Some(error));
                    }
                }
            }
        }
        (found, None)
    };
    let octets = input.0;
    assert_eq!(
        read(&mut octets.chunks(cut)),
        read(&mut std::iter::once(octets))
    );
}
