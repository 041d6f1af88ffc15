//! The terminal against the emulated card, and against cards that lie.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::thread;
use std::time::Duration;

use ambit_device::Credential;
use ambit_protocol::{AreaId, RandN, RootKey, Suite, schedule};

use super::*;
use crate::algorithms::Subscriber;
use crate::card::{AiotProfile, Card, Profile, SuciProfile, VolatileMemory};
use crate::suci::{HomeNetwork, PrivateKey, RoutingIndicator};

// TS 35.208 test set 1.
const K: &str = "465b5ce8b199b49faa5f0a2ee238a6bc";
const OPC: &str = "cd63cb71954a9f4e48a5994e37a02baf";

fn subscriber() -> Subscriber {
    Subscriber::new(
        crate::Algorithm::Milenage,
        &hex::decode(K).unwrap(),
        &hex::decode(OPC).unwrap(),
    )
    .unwrap()
}

fn imsi() -> Imsi {
    Imsi::from_digits("310260123456789", 3).unwrap()
}

fn terminal() -> Terminal<InProcess<VolatileMemory>> {
    let mut profile = Profile::new("89445001012345678967", imsi(), subscriber());
    profile.suci = Some(SuciProfile {
        routing_indicator: RoutingIndicator::default(),
        keys: vec![(1, PrivateKey::profile_a([2; 32]).public().unwrap())],
        on_card: true,
    });
    profile.aiot = Some(AiotProfile {
        k: RootKey::new([7; 16]),
        suite: Suite::AsconXof128,
        tag_len: 8,
        device_id: vec![1, 2, 3],
    });
    Terminal::new(InProcess(Card::new(profile).with_random(|out| out.fill(8))))
}

#[test]
fn a_card_says_who_it_is_and_runs_aka() {
    let mut terminal = terminal();
    assert_eq!(terminal.iccid().unwrap(), "89445001012345678967");
    assert!(matches!(
        terminal.imsi(),
        Err(CardError::Refused {
            status: Status::FILE_NOT_FOUND,
            ..
        })
    ));
    terminal.select_usim().unwrap();
    assert_eq!(terminal.imsi().unwrap(), imsi());
    assert_eq!(terminal.administrative_data().unwrap(), [0, 0, 0, 3]);
    let mut home = HomeNetwork::new(imsi().plmn(), false);
    home.add_key(1, PrivateKey::profile_a([2; 32]));
    assert_eq!(home.reveal(&terminal.suci().unwrap()), Ok(imsi()));

    let (rand, sqn) = ([9; 16], [0, 0, 0, 0, 1, 0]);
    let vector = subscriber().vector(&rand, &sqn, &[0x80, 0]);
    let autn = vector.autn(&sqn, &[0x80, 0]);
    match terminal.authenticate(&rand, &autn).unwrap() {
        AkaAnswer::Success { res, ck_ik } => {
            assert_eq!(res.as_slice(), vector.res.as_slice());
            assert_eq!(*ck_ik, *vector.ck_ik());
        }
        AkaAnswer::Synchronisation(_) => panic!("fresh SQN refused"),
    }
    match terminal.authenticate(&rand, &autn).unwrap() {
        AkaAnswer::Synchronisation(auts) => {
            assert_eq!(subscriber().check_auts(&rand, &auts), Some(sqn))
        }
        AkaAnswer::Success { .. } => panic!("SQN accepted twice"),
    }
    assert_eq!(
        terminal.authenticate(&rand, &[0; 16]).err(),
        Some(CardError::Mac)
    );
}

#[test]
fn the_aiot_application_stands_for_a_key_in_memory() {
    let mut card = AiotCredential::open(terminal()).unwrap();
    assert_eq!(
        (card.suite(), card.tag_len(), card.device_id()),
        (Suite::AsconXof128, 8, &[1, 2, 3][..])
    );
    let key = RootKey::new([7; 16]);
    let rand_n = RandN::from_octets([5; 16]);
    let area = AreaId::from_octets([0x00, 0xF1, 0x10, 0xF0, 0, 0, 0, 0, 0, 0, 0, 1]).unwrap();
    for input in [
        schedule::beacon_t_id(&rand_n),
        schedule::beacon_k_aiotf(&rand_n, &area, &[1; 4]),
        schedule::counter_t_id(7),
        schedule::counter_k_aiotf(&rand_n, &area, 7),
        schedule::blind_k_aiotf(7),
        schedule::concealed_id(&rand_n, &[2; 8]),
        schedule::concealed_k_aiotf(&rand_n, &area, &[2; 8]),
        schedule::dt_res(&rand_n, &[3; 16]),
        schedule::dt_k_aiotf(&rand_n, &[3; 16]),
        schedule::dt_paging_t_id(&rand_n),
    ] {
        assert_eq!(
            card.evaluate(&input),
            Ok(key.evaluate(Suite::AsconXof128, &input)),
            "{input:?}"
        );
    }
    let mut profile = Profile::new("", imsi(), subscriber());
    profile.aiot = None;
    let without = Terminal::new(InProcess(Card::new(profile)));
    assert!(matches!(
        AiotCredential::open(without),
        Err(CardError::Refused {
            status: Status::FILE_NOT_FOUND,
            ..
        })
    ));
}

/// A card that answers by a function of what it is asked.
struct Liar<F>(F);

impl<F: FnMut(&[u8]) -> Result<Vec<u8>, TransportError>> Transport for Liar<F> {
    fn transmit(&mut self, apdu: &[u8], response: &mut Vec<u8>) -> Result<(), TransportError> {
        *response = (self.0)(apdu)?;
        Ok(())
    }
}

#[test]
fn cards_that_never_end_or_go_away_are_errors() {
    let rand = [0; 16];
    for (answer, expected) in [
        (Ok(vec![0x61, 0x10]), CardError::Endless),
        (Ok(vec![0x6C, 0x10]), CardError::Endless),
        (
            Ok([&[0; 256][..], &[0x61, 0x00]].concat()),
            CardError::Endless,
        ),
        (
            Ok(vec![]),
            CardError::Malformed {
                command: "AUTHENTICATE",
            },
        ),
        (
            Ok(vec![0x90]),
            CardError::Malformed {
                command: "AUTHENTICATE",
            },
        ),
        (
            Ok(vec![0x90, 0x00]),
            CardError::Malformed {
                command: "AUTHENTICATE",
            },
        ),
        (
            Ok(vec![0xDB, 0xFF, 0x90, 0x00]),
            CardError::Malformed {
                command: "AUTHENTICATE",
            },
        ),
        (
            Ok(vec![0xDC, 0x0D, 0, 0, 0x90, 0x00]),
            CardError::Malformed {
                command: "AUTHENTICATE",
            },
        ),
        (
            Err(TransportError::Timeout),
            CardError::Transport(TransportError::Timeout),
        ),
        (
            Err(TransportError::Removed),
            CardError::Transport(TransportError::Removed),
        ),
    ] {
        let mut terminal = Terminal::new(Liar(|_: &[u8]| answer.clone()));
        assert_eq!(terminal.authenticate(&rand, &rand).err(), Some(expected));
    }
}

#[test]
fn a_slow_card_is_given_up_and_its_late_answer_never_used() {
    let slow = Liar(|_: &[u8]| {
        thread::sleep(Duration::from_millis(150));
        Ok(vec![0x98, 0x62])
    });
    let mut terminal = Terminal::new(Timed::new(slow, Duration::from_millis(10)));
    let rand = [0; 16];
    let error = |e| Some(CardError::Transport(e));
    assert_eq!(
        terminal.authenticate(&rand, &rand).err(),
        error(TransportError::Timeout)
    );
    thread::sleep(Duration::from_millis(300));
    assert_eq!(
        terminal.authenticate(&rand, &rand).err(),
        error(TransportError::Removed)
    );
    let quick = Liar(|_: &[u8]| Ok(vec![0x98, 0x62]));
    let mut terminal = Terminal::new(Timed::new(quick, Duration::from_secs(10)));
    assert_eq!(
        terminal.authenticate(&rand, &rand).err(),
        Some(CardError::Mac)
    );
}

/// Found by fuzzing: an ICCID of more digits than there are.
#[test]
fn an_iccid_file_of_another_length_is_none() {
    for (octets, is_iccid) in [(9, false), (10, true), (11, false)] {
        let mut terminal = Terminal::new(Liar(move |apdu: &[u8]| {
            let mut answer = match apdu {
                [_, 0xB0, ..] => vec![0x98; octets],
                _ => Vec::new(),
            };
            answer.extend([0x90, 0]);
            Ok(answer)
        }));
        assert_eq!(terminal.iccid().is_ok(), is_iccid, "{octets}");
    }
}

#[test]
fn random_answers_never_panic() {
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..20_000 {
        let mut source = random.fork();
        let mut terminal = Terminal::new(Liar(move |_: &[u8]| {
            let len = source.usize(..64);
            let mut answer: Vec<u8> = (0..len).map(|_| source.u8(..)).collect();
            if let Some(first) = answer.first_mut() {
                *first = source.choice([0xDB, 0xDC, 0xA1, 0x08, 0x01]).unwrap();
            }
            for octet in answer.iter_mut().skip(1) {
                if source.bool() {
                    *octet = source.choice([4, 8, 16, 0xFF]).unwrap();
                }
            }
            answer.extend(
                source
                    .choice([[0x90, 0], [0x61, 8], [0x6C, 8], [0x69, 0x82]])
                    .unwrap(),
            );
            Ok(answer)
        }));
        let _ = terminal.iccid();
        let _ = terminal.imsi();
        let _ = terminal.suci();
        let _ = terminal.authenticate(&[0; 16], &[0; 16]);
        let _ = AiotCredential::open(terminal)
            .map(|mut card| card.evaluate(&schedule::counter_t_id(1)));
    }
}
