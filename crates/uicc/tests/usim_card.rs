//! A card behind a terminal as a device's UICC: SUCIs of every scheme open at home, challenges are answered in all three ways.
#![allow(clippy::unwrap_used, clippy::panic)]
#![cfg(feature = "card")]

use ambit_device::{Authentication, Uicc};
use ambit_protocol::area::Plmn;
use ambit_uicc::card::{Card, Profile, SuciProfile};
use ambit_uicc::suci::{HomeNetwork, Imsi, PrivateKey, RoutingIndicator, Scheme, Suci, SuciError};
use ambit_uicc::terminal::{InProcess, Terminal, Transport, TransportError, UsimCard};
use ambit_uicc::{Algorithm, Subscriber};

const K: [u8; 16] = [0x46; 16];
const OPC: [u8; 16] = [0xCD; 16];

fn subscriber() -> Subscriber {
    Subscriber::new(Algorithm::Milenage, &K, &OPC).unwrap()
}

fn profile(suci: Option<SuciProfile>) -> Profile {
    let imsi = Imsi::from_digits("001010123456789", 2).unwrap();
    let mut profile = Profile::new("8944500101234567896", imsi, subscriber());
    profile.suci = suci;
    profile
}

fn random(seed: u64) -> impl FnMut(&mut [u8]) + Send + 'static {
    let mut rng = fastrand::Rng::with_seed(seed);
    move |out: &mut [u8]| rng.fill(out)
}

fn open(suci: Option<SuciProfile>) -> UsimCard<InProcess<ambit_uicc::card::VolatileMemory>> {
    let card = Card::new(profile(suci)).with_random(random(1));
    UsimCard::open(Terminal::new(InProcess(card)), random(2)).unwrap()
}

fn home() -> (HomeNetwork, Vec<(u8, PrivateKey)>) {
    let mut home = HomeNetwork::new(Plmn::new("001", "01").unwrap(), true);
    let keys = || {
        [
            (3, PrivateKey::profile_a([0x21; 32])),
            (7, PrivateKey::profile_b(&[0x22; 32]).unwrap()),
        ]
    };
    for (key_id, key) in keys() {
        home.add_key(key_id, key);
    }
    (home, keys().into())
}

#[test]
fn a_suci_of_every_scheme_opens_at_home_whoever_conceals() {
    let (home, keys) = home();
    let mut seen = Vec::new();
    for on_card in [false, true] {
        for preferred in [0, 1] {
            let mut order: Vec<_> = keys
                .iter()
                .map(|(id, key)| (*id, key.public().unwrap()))
                .collect();
            order.swap(0, preferred);
            let mut card = open(Some(SuciProfile {
                routing_indicator: "678".parse::<RoutingIndicator>().unwrap(),
                keys: order.clone(),
                on_card,
            }));
            assert_eq!(
                card.scheme(),
                (!on_card).then_some(order[0].1.scheme()),
                "{on_card}"
            );
            for _ in 0..2 {
                let mut out = [0; 200];
                let len = card.suci(&mut out).unwrap();
                let suci = Suci::parse(&out[..len]).unwrap();
                assert_eq!(
                    (suci.key_id, suci.scheme),
                    (order[0].0, order[0].1.scheme())
                );
                assert_eq!(suci.routing_indicator, "678".parse().unwrap());
                assert_eq!(home.reveal(&out[..len]).unwrap(), *card.imsi());
                assert!(!seen.contains(&out), "a SUCI twice");
                seen.push(out);
            }
        }
    }
    let mut card = open(None);
    assert_eq!(card.scheme(), Some(Scheme::Null));
    let mut out = [0; 200];
    let len = card.suci(&mut out).unwrap();
    assert_eq!(home.reveal(&out[..len]).unwrap(), *card.imsi());
    assert!(card.suci(&mut [0; 4]).is_err(), "no room");
    let strict = HomeNetwork::new(Plmn::new("001", "01").unwrap(), false);
    assert_eq!(strict.reveal(&out[..len]), Err(SuciError::NullScheme));
}

#[test]
fn a_challenge_is_answered_with_keys_auts_or_a_refusal() {
    let mut card = open(None);
    let (rand, sqn) = ([9; 16], [0, 0, 0, 0, 0, 0x20]);
    let autn = subscriber().autn(&rand, &sqn, &[0x80, 0]);
    let expected = subscriber().vector(&rand, &sqn, &[0x80, 0]);
    assert!(matches!(
        card.authenticate(&rand, &autn).unwrap(),
        Authentication::Success(_)
    ));
    assert_eq!(expected.res.as_slice().len(), 8);
    match card.authenticate(&rand, &autn).unwrap() {
        Authentication::SyncFailure { auts } => {
            assert_eq!(subscriber().check_auts(&rand, &auts), Some(sqn));
        }
        _ => panic!("the same SQN twice"),
    }
    let mut forged = autn;
    forged[15] ^= 1;
    assert!(matches!(
        card.authenticate(&rand, &forged).unwrap(),
        Authentication::MacFailure
    ));
}

/// A card that answers READ BINARY with octets of its own once EF_SUCI_Calc_Info is selected.
struct Liar {
    card: InProcess<ambit_uicc::card::VolatileMemory>,
    info: Vec<u8>,
    is_selected: bool,
}

impl Transport for Liar {
    fn transmit(&mut self, apdu: &[u8], response: &mut Vec<u8>) -> Result<(), TransportError> {
        if apdu.starts_with(&[0x00, 0xA4]) {
            self.is_selected = apdu.ends_with(&[0x4F, 0x07]);
        }
        if self.is_selected && apdu.starts_with(&[0x00, 0xB0]) {
            response.clone_from(&self.info);
            response.extend_from_slice(&[0x90, 0x00]);
            return Ok(());
        }
        self.card.transmit(apdu, response)
    }
}

/// A device that took any of these for "no concealment" would send its IMSI in clear.
#[test]
fn concealment_that_makes_no_sense_is_refused_not_taken_for_none() {
    let (_, keys) = home();
    let suci = || SuciProfile {
        routing_indicator: RoutingIndicator::default(),
        keys: vec![(3, keys[0].1.public().unwrap())],
        on_card: false,
    };
    let point = keys[0].1.public().unwrap();
    let key = |scheme: u8, index: u8| {
        let mut info = vec![0xA0, 2, scheme, index, 0xA1, 37, 0x80, 1, 3, 0x81, 32];
        info.extend_from_slice(point.octets());
        info
    };
    let open = |info: Vec<u8>| {
        let card = InProcess(Card::new(profile(Some(suci()))));
        let liar = Liar {
            card,
            info,
            is_selected: false,
        };
        UsimCard::open(Terminal::new(liar), random(3))
    };
    assert_eq!(open(key(1, 1)).unwrap().scheme(), Some(Scheme::ProfileA));
    assert_eq!(
        open(vec![0xA0, 2, 0, 0]).unwrap().scheme(),
        Some(Scheme::Null)
    );
    let mut cut = key(1, 1);
    cut.truncate(20);
    for info in [
        vec![],
        vec![0xFF; 90],
        vec![0xA0, 0, 0xA1, 0],
        vec![0xA0, 2, 1, 1],
        cut,
        key(2, 1),
        key(1, 0),
        key(1, 2),
        key(9, 1),
    ] {
        assert!(open(info.clone()).is_err(), "{info:02x?}");
    }
}
