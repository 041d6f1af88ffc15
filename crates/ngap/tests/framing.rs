//! PDUs out of a stream that is read in pieces of any size.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use ambit_ngap::framing::{FrameDecoder, FrameError, PDU_OCTETS_MAX, frame_into};

#[test]
fn frames_return_however_the_stream_is_cut() {
    let mut rng = fastrand::Rng::with_seed(11);
    for _ in 0..300 {
        let count = rng.usize(0..60);
        let pdus: Vec<Vec<u8>> = (0..count)
            .map(|_| (0..rng.usize(1..300)).map(|_| rng.u8(..)).collect())
            .collect();
        let mut stream = Vec::new();
        for pdu in &pdus {
            frame_into(pdu, &mut stream).unwrap();
        }
        let (mut decoder, mut found, mut rest) = (FrameDecoder::new(), Vec::new(), &stream[..]);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rng.usize(1..=rest.len().min(700)));
            decoder.push(piece);
            rest = after;
            // At times, leave the frames for later.
            while rng.u8(..) < 200
                && let Some(pdu) = decoder.next().unwrap()
            {
                found.push(pdu.to_vec());
            }
        }
        while let Some(pdu) = decoder.next().unwrap() {
            found.push(pdu.to_vec());
        }
        assert_eq!(found, pdus);
        assert_eq!(decoder.pending_octets(), 0);
    }
}

#[test]
fn many_small_frames_in_one_piece_take_linear_time() {
    let mut stream = Vec::new();
    for _ in 0..1_000_000 {
        frame_into(&[7; 4], &mut stream).unwrap();
    }
    let started = std::time::Instant::now();
    let mut decoder = FrameDecoder::new();
    decoder.push(&stream);
    let mut count = 0;
    while let Some(pdu) = decoder.next().unwrap() {
        assert_eq!(pdu, [7; 4]);
        count += 1;
    }
    assert_eq!(count, 1_000_000);
    // Milliseconds; shifting the rest after each frame would take minutes.
    assert!(started.elapsed().as_secs() < 10);
}

#[test]
fn a_length_outside_the_limit_is_refused_before_its_octets_come() {
    let mut decoder = FrameDecoder::with_limit(10);
    let too_long = FrameError::TooLong {
        octets: 11,
        octets_max: 10,
    };
    decoder.push(&[0, 0, 0, 1, 5, 0, 0, 0]);
    assert_eq!(decoder.next(), Ok(Some(&[5][..])));
    assert_eq!(decoder.next(), Ok(None));
    decoder.push(&[11]);
    assert_eq!(decoder.next(), Err(too_long));
    decoder.push(&[0; 64]);
    assert_eq!(decoder.next(), Err(too_long), "the stream is lost for good");
    assert_eq!(
        too_long.to_string(),
        "expected a PDU of 1 to 10 octets, came one of 11"
    );

    let mut decoder = FrameDecoder::new();
    decoder.push(&[0; 4]);
    assert_eq!(decoder.next().unwrap_err().name(), "frame_empty");
    let mut decoder = FrameDecoder::new();
    decoder.push(&[0xff; 4]);
    assert_eq!(decoder.next().unwrap_err().name(), "frame_too_long");
}

#[test]
fn only_what_a_decoder_takes_is_framed() {
    let mut out = vec![1];
    assert_eq!(frame_into(&[], &mut out).unwrap_err().name(), "frame_empty");
    let long = vec![0; PDU_OCTETS_MAX + 1];
    assert_eq!(
        frame_into(&long, &mut out).unwrap_err().name(),
        "frame_too_long"
    );
    assert_eq!(out, [1]);
    frame_into(&long[1..], &mut out).unwrap();
    let mut decoder = FrameDecoder::new();
    decoder.push(&out[1..]);
    assert_eq!(decoder.next().unwrap().unwrap().len(), PDU_OCTETS_MAX);
}
