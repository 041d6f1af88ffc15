//! The air: statistics, determinism, order, and what an adversary can do to it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // Tests: a failure is a panic.

use std::sync::{Arc, Mutex};

use ambit_protocol::area::Plmn;
use ambit_protocol::{RandN, Snid};
use ambit_ran::air::{Air, AirConfig, Channel, Delivery, FalseBeacon, Jam, Receiver, Verdict};
use ambit_ran::frame::{
    Access, AccessRound, AirFrame, Direction, FrameKind, Page, PageAccess, PageTarget, RadioId,
    RandomIdMessage, SiteReader, beacon_octets, parse_beacon,
};

const READER: SiteReader = SiteReader {
    gnb: 0,
    reader_index: 1,
};

fn frame(direction: Direction, sent_ms: u64, octets: &[u8]) -> AirFrame {
    AirFrame {
        direction,
        sent_ms,
        reader: READER,
        radio_id: Some(RadioId(1)),
        access: Access::DeviceOriginated,
        kind: FrameKind::Nas,
        octets: octets.to_vec(),
    }
}

fn air(seed: u64, channel: Channel) -> Air {
    Air::new(AirConfig::symmetric(seed, channel))
}

/// Sends `count` frames up, one each millisecond, and returns what arrives.
fn send(air: &mut Air, count: u64) -> Vec<Delivery> {
    for at_ms in 0..count {
        air.send(
            Receiver::Reader,
            frame(Direction::Up, at_ms, &at_ms.to_be_bytes()),
        );
    }
    std::iter::from_fn(|| air.poll_delivery(u64::MAX)).collect()
}

#[test]
fn each_probability_is_kept() {
    const COUNT: u64 = 100_000;
    let mut air = air(
        1,
        Channel {
            loss: 0.3,
            duplication: 0.1,
            reordering: 0.2,
            reordering_delay_ms: 50,
            delay_ms_min: 3,
            delay_ms_max: 7,
        },
    );
    let deliveries = send(&mut air, COUNT);
    let stats = air.stats();
    let is_near = |count: u64, expected: f64| (count as f64 / COUNT as f64 - expected).abs() < 0.01;
    assert!(is_near(stats.lost, 0.3), "{stats:?}");
    assert!(is_near(stats.duplicated, 0.7 * 0.1), "{stats:?}");
    assert!(is_near(stats.reordered, 0.7 * 0.2), "{stats:?}");
    assert_eq!(stats.delivered, COUNT - stats.lost + stats.duplicated);
    assert_eq!(stats.delivered, deliveries.len() as u64);
    for delivery in &deliveries {
        let delay_ms = delivery.at_ms - delivery.frame.sent_ms;
        assert!((3..=7).contains(&delay_ms) || (53..=57).contains(&delay_ms));
    }
    assert!(deliveries.is_sorted_by_key(|delivery| delivery.at_ms));
    assert!(!deliveries.is_sorted_by_key(|delivery| delivery.frame.sent_ms));
}

#[test]
fn a_seed_is_a_run() {
    let run = |seed| send(&mut air(seed, Channel::lossy(0.5)), 1_000);
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

#[test]
fn a_perfect_air_keeps_the_order() {
    let mut air = air(5, Channel::PERFECT);
    assert_eq!(air.poll_timeout(), None);
    air.send(Receiver::Reader, frame(Direction::Up, 10, b"a"));
    air.send(Receiver::Contact, frame(Direction::Down, 10, b"b"));
    assert_eq!(air.poll_timeout(), Some(12));
    assert_eq!(air.poll_delivery(11), None);
    assert_eq!(air.poll_delivery(12).unwrap().frame.octets, b"a");
    let second = air.poll_delivery(12).unwrap();
    assert_eq!(
        (second.frame.octets.as_slice(), second.to),
        (&b"b"[..], Receiver::Contact)
    );
    assert_eq!(air.in_flight(), 0);
}

#[test]
fn directions_differ_and_change() {
    let mut air = air(6, Channel::PERFECT);
    air.set_channel(Direction::Down, Channel::lossy(1.0));
    air.send(Receiver::Reader, frame(Direction::Up, 0, b"up"));
    air.send(Receiver::Contact, frame(Direction::Down, 0, b"down"));
    assert_eq!((air.in_flight(), air.stats().lost), (1, 1));
}

#[test]
fn a_jam_silences_what_it_covers_and_beacons_when_it_covers_down() {
    let beacon = (snid().area([0, 0, 1]), RandN::new(1, [1; 12]));
    let elsewhere = SiteReader {
        reader_index: 2,
        ..READER
    };
    let mut air = air(7, Channel::PERFECT);
    air.add_jam(Jam {
        from_ms: 100,
        until_ms: 200,
        direction: Some(Direction::Down),
        reader: Some(READER),
    });
    assert_eq!(air.poll_timeout(), Some(100));
    for (at_ms, direction, jammed) in [
        (99, Direction::Down, false),
        (100, Direction::Down, true),
        (199, Direction::Down, true),
        (200, Direction::Down, false),
        (150, Direction::Up, false),
    ] {
        let before = air.stats().jammed;
        air.send(Receiver::Reader, frame(direction, at_ms, b"x"));
        assert_eq!(air.stats().jammed > before, jammed, "{at_ms} {direction:?}");
    }
    assert_eq!(air.beacon_heard(150, READER, Some(beacon)), None);
    assert_eq!(air.beacon_heard(150, elsewhere, Some(beacon)), Some(beacon));
    assert_eq!(air.beacon_heard(200, READER, Some(beacon)), Some(beacon));
    assert!(air.poll_hearing_change(100) && !air.poll_hearing_change(150));
    assert!(air.poll_hearing_change(1_000));
}

#[test]
fn a_false_beacon_drowns_out_the_true_one() {
    let truth = (snid().area([0, 0, 1]), RandN::new(1, [1; 12]));
    let (area_id, rand_n) = (snid().area([0, 0, 9]), RandN::new(2, [2; 12]));
    let mut air = air(8, Channel::PERFECT);
    air.add_false_beacon(FalseBeacon {
        reader: READER,
        from_ms: 10,
        until_ms: 20,
        area_id,
        rand_n,
    });
    assert_eq!(air.beacon_heard(9, READER, Some(truth)), Some(truth));
    assert_eq!(
        air.beacon_heard(10, READER, Some(truth)),
        Some((area_id, rand_n))
    );
    assert_eq!(air.beacon_heard(10, READER, None), Some((area_id, rand_n)));
    air.clear_false_beacons(15);
    assert_eq!(air.beacon_heard(15, READER, Some(truth)), Some(truth));
}

#[test]
fn ears_hear_everything_and_may_drop_replace_and_hold() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = Arc::clone(&heard);
    let mut air = air(9, Channel::PERFECT);
    air.add_ear(Box::new(move |frame| {
        ear.lock().unwrap().push(frame.octets.clone());
        match frame.octets.as_slice() {
            b"drop" => Verdict::Drop,
            b"replace" => Verdict::Replace(b"replaced".to_vec()),
            b"hold" => Verdict::Hold(100),
            _ => Verdict::Pass,
        }
    }));
    for octets in [&b"pass"[..], b"drop", b"replace", b"hold"] {
        air.send(Receiver::Reader, frame(Direction::Up, 0, octets));
    }
    air.inject(Receiver::Reader, 1, frame(Direction::Up, 0, b"injected"));
    let arrived: Vec<(u64, Vec<u8>)> = std::iter::from_fn(|| air.poll_delivery(u64::MAX))
        .map(|delivery| (delivery.at_ms, delivery.frame.octets))
        .collect();
    let expected: [(u64, &[u8]); 4] = [
        (1, b"injected"),
        (2, b"pass"),
        (2, b"replaced"),
        (102, b"hold"),
    ];
    assert_eq!(
        arrived,
        expected.map(|(at_ms, octets)| (at_ms, octets.to_vec()))
    );
    assert_eq!(heard.lock().unwrap().len(), 4);
    assert_eq!(
        (
            air.stats().dropped,
            air.stats().replaced,
            air.stats().injected
        ),
        (1, 1, 1)
    );
}

#[test]
fn frames_in_flight_are_bounded() {
    let mut air = Air::new(AirConfig {
        frames_max: 10,
        ..AirConfig::symmetric(10, Channel::PERFECT)
    });
    assert_eq!(send(&mut air, 25).len(), 10);
    assert_eq!(air.stats().overflowed, 15);
}

#[test]
fn beacons_and_pages_return_from_their_octets_and_nothing_else_does() {
    let (area_id, rand_n) = (snid().area([1, 2, 3]), RandN::new(7, [3; 12]));
    let octets = beacon_octets(&area_id, &rand_n);
    assert_eq!(parse_beacon(&octets), Some((area_id, rand_n)));
    assert_eq!(parse_beacon(&octets[..27]), None);
    assert_eq!(parse_beacon(&[octets.as_slice(), &[0]].concat()), None);
    assert_eq!(parse_beacon(&[0xFF; 28]), None);

    let identity = |octets: &[u8], bits| (octets.to_vec(), bits);
    let (single, group) = (identity(&[1, 2], 16), identity(&[0xE0], 3));
    let access = PageAccess::Contention { exponent: 12 };
    for (access, target) in [PageAccess::Free, access, access].into_iter().zip([
        PageTarget::All,
        PageTarget::Single {
            octets: single.0,
            bits: single.1,
        },
        PageTarget::Group {
            octets: group.0,
            bits: group.1,
        },
    ]) {
        let page = Page {
            transaction: 9,
            access,
            rand_n,
            target,
        };
        let octets = page.octets();
        assert_eq!(Page::parse(&octets), Some(page));
        for len in 0..octets.len() {
            assert_eq!(Page::parse(&octets[..len]), None);
        }
    }
    let round = AccessRound {
        transaction: 9,
        round: 300,
        exponent: 15,
    };
    assert_eq!(AccessRound::parse(&round.octets()), Some(round));
    let said = RandomIdMessage {
        transaction: 9,
        round: 300,
        occasion: 40_000,
    };
    assert_eq!(RandomIdMessage::parse(&said.octets()), Some(said));
    // Whatever else comes, nothing panics.
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..10_000 {
        let octets: Vec<u8> = (0..random.usize(..40)).map(|_| random.u8(..)).collect();
        let _ = (Page::parse(&octets), parse_beacon(&octets));
        let _ = (AccessRound::parse(&octets), RandomIdMessage::parse(&octets));
    }
}

fn snid() -> Snid {
    Snid::new(Plmn::new("001", "01").unwrap(), None)
}
