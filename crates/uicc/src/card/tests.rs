//! What a SIM tool sees of the card.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use ambit_protocol::{RootKey, Suite};

use super::*;
use crate::algorithms::Subscriber;
use crate::suci::{Imsi, PrivateKey, RoutingIndicator};

// TS 35.208 test set 1.
const K: &str = "465b5ce8b199b49faa5f0a2ee238a6bc";
const OPC: &str = "cd63cb71954a9f4e48a5994e37a02baf";
const RAND: &str = "23553cbe9637a89d218ae64dae47bf35";

fn octets<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

pub(crate) fn profile() -> Profile {
    let imsi = Imsi::from_digits("001010123456789", 2).unwrap();
    let subscriber = Subscriber::milenage(&octets(K), &octets(OPC));
    let mut profile = Profile::new("8944500101234567896", imsi, subscriber);
    profile.aiot = Some(AiotProfile {
        k: RootKey::new([7; 16]),
        suite: Suite::AesCmac,
        tag_len: 8,
        device_id: b"device 1".to_vec(),
    });
    profile
}

fn card() -> Card {
    Card::new(profile())
}

/// Sends an APDU written in hexadecimal; the response in hexadecimal.
fn send<M: CardMemory>(card: &mut Card<M>, apdu: &str) -> String {
    hex::encode(card.process(&hex::decode(apdu.replace(' ', "")).unwrap()))
}

fn select_usim<M: CardMemory>(card: &mut Card<M>) {
    assert_eq!(send(card, "00A4040C 07 A0000000871002"), "9000");
}

fn challenge(seq: u64) -> String {
    let sqn: [u8; 6] = (seq << 5).to_be_bytes()[2..].try_into().unwrap();
    let autn = profile().subscriber.autn(&octets(RAND), &sqn, &[0x80, 0]);
    format!("00880081 22 10{RAND}10{}", hex::encode(autn))
}

#[test]
fn the_atr_checks_and_shows_t0() {
    assert_eq!(ATR.iter().skip(1).fold(0, |check, octet| check ^ octet), 0);
    // T0: TD1 and 13 historical octets; TD1: TD2, T=0; TD2: TA3, T=15.
    assert_eq!(ATR[1..5], [0x8D, 0x80, 0x1F, 0xC7]);
    assert_eq!(ATR.len(), 5 + 13 + 1);
}

#[test]
fn files_are_found_by_every_way_of_select() {
    let mut card = card();
    assert_eq!(send(&mut card, "00A4000C 02 3F00"), "9000");
    assert_eq!(send(&mut card, "00A4000C 02 2FE2"), "9000");
    assert_eq!(send(&mut card, "00B00000 0A"), "984405101032547698f69000");
    assert_eq!(send(&mut card, "00B00000 00"), "984405101032547698f69000");
    assert_eq!(send(&mut card, "00B00000 14"), "6c0a");
    assert_eq!(send(&mut card, "00B00008 02"), "98f69000");
    assert_eq!(send(&mut card, "00B0000A 01"), "6b00");
    assert_eq!(send(&mut card, "00B08200 0A"), "984405101032547698f69000");
    assert_eq!(send(&mut card, "00A4000C 02 6F07"), "6a82");
    assert_eq!(send(&mut card, "00A4000C 02 7FFF"), "6a82");
    assert_eq!(send(&mut card, "00A4080C 04 7FFF6F07"), "6a82");
    select_usim(&mut card);
    assert_eq!(send(&mut card, "00A4000C 02 6F07"), "9000");
    assert_eq!(send(&mut card, "00B00000 09"), "0809101010325476989000");
    assert_eq!(send(&mut card, "00A4080C 04 7FFF6FAD"), "9000");
    assert_eq!(send(&mut card, "00B00000 00"), "000000029000");
    assert_eq!(send(&mut card, "00A4080C 06 7FFF5FC04F01"), "9000");
    assert_eq!(send(&mut card, "00A4000C 02 5FC0"), "9000");
    assert_eq!(send(&mut card, "00A4030C 00"), "9000");
    assert_eq!(send(&mut card, "00A4090C 04 5FC04F01"), "9000");
    assert_eq!(send(&mut card, "00A4000C 02 7FFF"), "9000");
    assert_eq!(send(&mut card, "00A4040C 05 A000000099"), "6a82");
    assert_eq!(send(&mut card, "00A4000C 03 3F0000"), "6a87");
    assert_eq!(send(&mut card, "00A4050C 02 3F00"), "6a86");
    assert_eq!(send(&mut card, "00A40010 02 3F00"), "6a86");
    // The whole AID, then the AIoT application and back by "next".
    assert_eq!(
        send(&mut card, &format!("00A4040C 10 {}", hex::encode(AID_USIM))),
        "9000"
    );
    assert_eq!(
        send(&mut card, &format!("00A4040C 0C {}", hex::encode(AID_AIOT))),
        "9000"
    );
    assert_eq!(send(&mut card, "00B08100 03"), "0101089000");
    assert_eq!(
        send(&mut card, "00B08200 00"),
        format!("{}9000", hex::encode("device 1"))
    );
}

#[test]
fn fcp_templates_have_what_ts_102_221_asks() {
    let mut card = card();
    // T=0: the template waits for GET RESPONSE.
    let waiting = send(&mut card, "00A40004 02 2FE2");
    assert!(waiting.starts_with("61"), "{waiting}");
    let template = send(&mut card, &format!("00C00000 {}", &waiting[2..]));
    assert_eq!(
        template,
        "62178202412183022fe28a01058b032f06058002000a8801109000"
    );
    assert_eq!(
        send(&mut card, &format!("00C00000 {}", &waiting[2..])),
        "6985"
    );
    // With Le it comes at once.
    assert_eq!(send(&mut card, "00A40004 02 2FE2 00"), template);
    assert_eq!(
        send(&mut card, "00A40004 02 2F00 00"),
        "621a8205422100260283022f008a01058b032f06018002004c8801f09000"
    );
    let usim = send(&mut card, "00A40404 07 A0000000871002 00");
    assert!(
        usim.contains("8410a0000000871002ffffffff8900000100"),
        "{usim}"
    );
    assert!(
        usim.contains("8b036f0601") && usim.contains("c60c90016083010183018183010a"),
        "{usim}"
    );
    // STATUS gives the same, and the name of the application.
    assert_eq!(send(&mut card, "80F20000 00"), usim);
    assert_eq!(
        send(&mut card, "80F20001 00"),
        "8410a0000000871002ffffffff89000001009000"
    );
    assert_eq!(send(&mut card, "80F2000C"), "9000");
    assert_eq!(
        send(&mut card, "80F20000 05"),
        format!("6c{:02x}", usim.len() / 2 - 2)
    );
}

#[test]
fn records_are_read_by_number_pointer_and_sfi() {
    let mut card = card();
    let usim = send(&mut card, "00B201F4 26");
    assert!(
        usim.starts_with("61184f10a0000000871002ffffffff890000010050045553494dff"),
        "{usim}"
    );
    assert!(send(&mut card, "00B20204 00").contains(&hex::encode(AID_AIOT)));
    assert_eq!(send(&mut card, "00B20304 26"), "6a83");
    assert_eq!(send(&mut card, "00B20004 26"), "6a83");
    assert_eq!(send(&mut card, "00B20002 26"), usim);
    assert!(send(&mut card, "00B20002 26").contains(&hex::encode(AID_AIOT)));
    assert_eq!(send(&mut card, "00B20002 26"), "6a83");
    assert_eq!(send(&mut card, "00B20003 26"), usim);
    assert_eq!(send(&mut card, "00B20104 10"), "6c26");
    assert_eq!(send(&mut card, "00B00000 26"), "6981");
    assert_eq!(send(&mut card, "00A4000C 02 2FE2"), "9000");
    assert_eq!(send(&mut card, "00B20104 26"), "6981");
    assert_eq!(send(&mut card, "00A4000C 02 3F00"), "9000");
    assert_eq!(send(&mut card, "00B20104 26"), "6986");
    assert_eq!(send(&mut card, "00B00000 01"), "6986");
}

#[test]
fn access_conditions_and_pins() {
    let mut with_pin = profile();
    with_pin.pin1.enabled = true;
    let mut card = Card::new(with_pin);
    select_usim(&mut card);
    assert_eq!(send(&mut card, "00B08700 09"), "6982");
    assert_eq!(send(&mut card, &challenge(1)), "6982");
    assert_eq!(send(&mut card, "00200001"), "63c3");
    assert_eq!(send(&mut card, "00200001 08 31313131FFFFFFFF"), "63c2");
    assert_eq!(send(&mut card, "00200001 08 30303030FFFFFFFF"), "9000");
    assert_eq!(send(&mut card, "00B08700 09"), "0809101010325476989000");
    // Updates: LOCI by PIN1, IMSI by ADM1, ICCID never.
    assert_eq!(send(&mut card, "00D68B00 02 1234"), "9000");
    assert_eq!(send(&mut card, "00B08B00 03"), "1234ff9000");
    assert_eq!(send(&mut card, "00D68700 01 08"), "6982");
    assert_eq!(send(&mut card, "0020000A 08 3838383838383838"), "9000");
    assert_eq!(send(&mut card, "00D68700 01 08"), "9000");
    assert_eq!(send(&mut card, "00D68708 02 0000"), "6700");
    assert_eq!(send(&mut card, "00D68709 01 00"), "6b00");
    assert_eq!(send(&mut card, "00A4000C 02 3F00"), "9000");
    assert_eq!(send(&mut card, "00D68200 01 00"), "6982");
    // Change, disable, enable.
    assert_eq!(
        send(&mut card, "00240001 10 30303030FFFFFFFF 35353535FFFFFFFF"),
        "9000"
    );
    assert_eq!(
        send(&mut card, "00240001 10 35353535FFFFFFFF 3535FFFFFFFFFFFF"),
        "6a80"
    );
    assert_eq!(send(&mut card, "00260001 08 35353535FFFFFFFF"), "9000");
    assert_eq!(send(&mut card, "00260001 08 35353535FFFFFFFF"), "6984");
    assert_eq!(send(&mut card, "00280001 08 35353535FFFFFFFF"), "9000");
    assert_eq!(send(&mut card, "00200005 08 35353535FFFFFFFF"), "6a88");
    assert_eq!(send(&mut card, "00200001 07 353535FFFFFFFF"), "6700");
    assert_eq!(send(&mut card, "00200101 08 35353535FFFFFFFF"), "6a86");
    // Block and unblock.
    for left in ["63c2", "63c1", "63c0", "6983"] {
        assert_eq!(send(&mut card, "00200001 08 39393939FFFFFFFF"), left);
    }
    assert_eq!(send(&mut card, "00200001 08 35353535FFFFFFFF"), "6983");
    assert_eq!(send(&mut card, "002C0001 00"), "63ca");
    assert_eq!(
        send(&mut card, "002C0001 10 3030303030303030 37373737FFFFFFFF"),
        "63c9"
    );
    assert_eq!(
        send(&mut card, "002C0001 10 3132333435363738 37373737FFFFFFFF"),
        "9000"
    );
    card.reset();
    select_usim(&mut card);
    assert_eq!(send(&mut card, "00B08700 09"), "6982");
    assert_eq!(send(&mut card, "00200001 08 37373737FFFFFFFF"), "9000");
}

#[test]
fn channels_have_their_own_selection() {
    let mut card = card();
    select_usim(&mut card);
    assert_eq!(send(&mut card, "00700000 01"), "019000");
    assert_eq!(send(&mut card, "01A4000C 02 6F07"), "6a82");
    assert_eq!(send(&mut card, "00A4000C 02 6F07"), "9000");
    assert_eq!(send(&mut card, "01A4000C 02 2FE2"), "9000");
    assert_eq!(send(&mut card, "02A4000C 02 2FE2"), "6881");
    assert_eq!(send(&mut card, "00700000 01"), "029000");
    assert_eq!(send(&mut card, "00700000 01"), "039000");
    assert_eq!(send(&mut card, "00700000 01"), "6a81");
    assert_eq!(send(&mut card, "00708002"), "9000");
    assert_eq!(send(&mut card, "00708002"), "6881");
    assert_eq!(send(&mut card, "00708000"), "6a86");
}

#[test]
fn what_the_card_does_not_know_it_says_so() {
    let mut card = card();
    for (apdu, status) in [
        ("", "6700"),
        ("00", "6700"),
        ("00A400", "6700"),
        ("00A4000C 02 3F", "6700"),
        ("00A4000C 00 0002 3F00", "6700"),
        ("00A4000C 02 3F00 00 00", "6700"),
        ("00FF0000", "6d00"),
        ("90A4000C 02 3F00", "6e00"),
        ("FFA4000C 02 3F00", "6e00"),
        ("0CA4000C 02 3F00", "6882"),
        ("40A4000C 02 3F00", "6881"),
        ("80A4000C 02 3F00", "6e00"),
        ("00F20000 00", "6e00"),
        ("00C00000 10", "6985"),
        ("80100000 01 00", "9000"),
    ] {
        assert_eq!(send(&mut card, apdu), status, "{apdu}");
    }
}

/// Any octets, long and short, near to valid commands and far from them: two octets of status at least, never a panic.
#[test]
fn random_apdus_of_every_shape() {
    let mut random = fastrand::Rng::with_seed(0x5EED);
    let mut with_suci = profile();
    with_suci.suci = Some(SuciProfile {
        routing_indicator: RoutingIndicator::default(),
        keys: vec![(0, PrivateKey::profile_a([1; 32]).public().unwrap())],
        on_card: true,
    });
    let mut card = Card::new(with_suci).with_random(|out| out.fill(1));
    let ins = [
        0xA4, 0xF2, 0xB0, 0xD6, 0xB2, 0xDC, 0x20, 0x24, 0x26, 0x28, 0x2C, 0x70, 0x88, 0x78, 0xC0,
        0x10, 0xAA,
    ];
    let fids: [u16; 12] = [
        0x3F00, 0x2F00, 0x2F06, 0x2FE2, 0x7FFF, 0x5FC0, 0x6F07, 0x6FAD, 0x6F7E, 0x4F01, 0x6F06,
        0x6F01,
    ];
    for round in 0..200_000 {
        let mut apdu: Vec<u8> = Vec::new();
        if random.u8(..) < 16 {
            apdu.extend((0..random.usize(..300)).map(|_| random.u8(..)));
        } else {
            apdu.push(if random.bool() {
                random.choice([0x00, 0x80, 0x01, 0x81]).unwrap()
            } else {
                random.u8(..) & 0x83
            });
            apdu.push(random.choice(ins).unwrap());
            apdu.extend([
                random.u8(..) & random.u8(..) & random.u8(..),
                random.u8(..) & random.u8(..),
            ]);
            match random.u8(..4) {
                0 => {}
                1 => apdu.push(random.u8(..)),
                2 => {
                    apdu.push(2);
                    apdu.extend(random.choice(fids).unwrap().to_be_bytes());
                }
                _ => {
                    let len = random.u8(..60);
                    apdu.push(len);
                    apdu.extend((0..len).map(|_| random.u8(..)));
                }
            }
            if random.bool() {
                apdu.push(random.u8(..));
            }
        }
        if round % 500 == 0 {
            card.reset();
        }
        if round % 50 == 0 {
            let aid: &[u8] = if random.bool() { &AID_USIM } else { &AID_AIOT };
            apdu = [&[0x00, 0xA4, 0x04, 0x04, aid.len() as u8][..], aid].concat();
        }
        let response = card.process(&apdu);
        assert!((2..=258).contains(&response.len()), "{apdu:02x?}");
        assert!(matches!(
            response[response.len() - 2],
            0x60..=0x6F | 0x90 | 0x98
        ));
    }
}

#[test]
fn nothing_secret_is_printed() {
    let mut profile = profile();
    profile.adm1 = Adm(*b"ADMADMAD");
    let printed = format!("{profile:?} {:?}", card());
    for secret in ["465b", "ADMA", "65, 68", "70, 91", "7, 7, 7", "48, 48, 48"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}

mod applications;
