//! AUTHENTICATE, GET IDENTITY, the AIoT application, and what is durable.

use ambit_protocol::{RootKey, Suite};

use super::*;
use crate::suci::{HomeNetwork, PrivateKey, RoutingIndicator};

#[test]
fn authenticate_takes_each_sqn_once_and_reports_its_own() {
    let mut card = card();
    assert_eq!(send(&mut card, &challenge(5)), "6985");
    select_usim(&mut card);
    let good = send(&mut card, &challenge(5));
    assert_eq!(good, "612c");
    let answer = send(&mut card, "00C00000 2C");
    // f2, f3, f4 of TS 35.208 test set 1 do not depend on SQN.
    assert_eq!(
        answer,
        "db08a54211d5e3ba50bf10b40ba9a3c58b2a05bbf0d987b21bf8cb10f769bcd751044604127672711c6d34419000"
    );
    let stale = send(&mut card, &format!("{} 00", challenge(5)));
    assert!(
        stale.starts_with("dc0e") && stale.ends_with("9000"),
        "{stale}"
    );
    let sqn_ms = profile()
        .subscriber
        .check_auts(&octets(RAND), &octets(&stale[4..32]));
    assert_eq!(sqn_ms, Some([0, 0, 0, 0, 0, 5 << 5]));
    let forged = challenge(6).replace(RAND, "00000000000000000000000000000000");
    assert_eq!(send(&mut card, &forged), "9862");
    assert_eq!(send(&mut card, "00880081 00"), "6700");
    assert_eq!(
        send(&mut card, &challenge(6).replace("00880081", "00880080")),
        "9864"
    );
    assert_eq!(
        send(&mut card, &challenge(6).replace("00880081", "00880084")),
        "6a86"
    );
    assert_eq!(
        send(&mut card, &challenge(6).replace("00880081", "00880181")),
        "6a86"
    );
    assert_eq!(
        send(&mut card, &challenge(6).replace("00880081", "80880081")),
        "6e00"
    );
}

/// Memory that fails when told to, and counts.
#[derive(Default)]
struct Flash {
    inner: VolatileMemory,
    fails: bool,
}

impl CardMemory for Flash {
    fn load(&mut self, slot: Slot) -> Result<Option<Vec<u8>>, MemoryError> {
        self.inner.load(slot)
    }

    fn store(&mut self, slot: Slot, octets: &[u8]) -> Result<(), MemoryError> {
        if self.fails {
            Err(MemoryError)
        } else {
            self.inner.store(slot, octets)
        }
    }
}

#[test]
fn nothing_is_answered_before_it_is_stored() {
    let mut card = Card::with_memory(profile(), Flash::default()).unwrap();
    select_usim(&mut card);
    card.memory.fails = true;
    assert_eq!(send(&mut card, &challenge(5)), "6581");
    assert_eq!(send(&mut card, "00D68B00 02 1234"), "6581");
    assert_eq!(send(&mut card, "0020000A 08 3838383838383838"), "6581");
    assert_eq!(send(&mut card, "00B08B00 02"), "ffff9000");
    card.memory.fails = false;
    assert_eq!(send(&mut card, &challenge(5)), "612c");
    assert_eq!(send(&mut card, "00D68B00 02 1234"), "9000");
    assert_eq!(send(&mut card, "0020000A 08 0000000000000000"), "63c2");
    // A new power cycle on the same memory.
    let flash = std::mem::take(&mut card.memory);
    let mut card = Card::with_memory(profile(), flash).unwrap();
    select_usim(&mut card);
    assert!(send(&mut card, &format!("{} 00", challenge(5))).starts_with("dc0e"));
    assert_eq!(send(&mut card, "00B08B00 02"), "12349000");
    assert_eq!(send(&mut card, "0020000A"), "63c2");
    // A record that does not fit is an error, not a fresh start.
    let mut flash = std::mem::take(&mut card.memory);
    flash.store(Slot::Sqn, &[0; 3]).unwrap();
    assert_eq!(Card::with_memory(profile(), flash).err(), Some(MemoryError));
}

#[test]
fn a_directory_keeps_what_a_card_stored() {
    let directory = std::env::temp_dir().join(format!("ambit-uicc-memory-{}", std::process::id()));
    let open = || Card::with_memory(profile(), DirectoryMemory::open(&directory).unwrap()).unwrap();
    let mut card = open();
    select_usim(&mut card);
    assert_eq!(send(&mut card, &challenge(5)), "612c");
    assert_eq!(send(&mut card, "00D68B00 02 1234"), "9000");
    assert_eq!(send(&mut card, "0020000A 08 0000000000000000"), "63c2");
    let mut card = open();
    select_usim(&mut card);
    assert!(send(&mut card, &format!("{} 00", challenge(5))).starts_with("dc0e"));
    assert_eq!(send(&mut card, "00B08B00 02"), "12349000");
    assert_eq!(send(&mut card, "0020000A"), "63c2");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn the_aiot_application_evaluates_its_labels_only() {
    let mut card = card();
    select_usim(&mut card);
    let x = "00".repeat(16);
    assert_eq!(send(&mut card, &format!("00880090 11 10{x}")), "6a86");
    assert_eq!(
        send(&mut card, &format!("00A4040C 0C {}", hex::encode(AID_AIOT))),
        "9000"
    );
    let key = RootKey::new([7; 16]);
    let expected = key
        .prf_key(Suite::AesCmac)
        .prf(ambit_protocol::schedule::Label(0x10), &[&[0; 16]]);
    assert_eq!(
        send(&mut card, &format!("00880090 11 10{x} 00")),
        format!("{}9000", hex::encode(expected))
    );
    assert_eq!(
        send(&mut card, &format!("00880090 10 10{}", "00".repeat(15))),
        "6700"
    );
    assert_eq!(send(&mut card, &format!("00880081 11 10{x}")), "6a86");
    let allowed = [0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x30, 0x31, 0x32];
    for label in 0..=255u8 {
        let evaluated = (0..=40).any(|len| {
            let apdu = format!("00880090{:02x}{label:02x}{}00", len + 1, "00".repeat(len));
            send(&mut card, &apdu).ends_with("9000")
        });
        assert_eq!(evaluated, allowed.contains(&label), "label {label:#x}");
    }
}

#[test]
fn a_suci_comes_from_the_card_or_its_keys_do() {
    let key = PrivateKey::profile_b(&[3; 32]).unwrap();
    let suci = |on_card| SuciProfile {
        routing_indicator: RoutingIndicator::default(),
        keys: vec![(9, key.public().unwrap())],
        on_card,
    };
    let mut with_keys = profile();
    with_keys.suci = Some(suci(false));
    let mut on_device = Card::new(with_keys);
    select_usim(&mut on_device);
    assert_eq!(send(&mut on_device, "80780001 00"), "6a81");
    assert_eq!(send(&mut on_device, "00A4080C 06 7FFF5FC04F07"), "9000");
    let public = hex::encode(key.public().unwrap().octets());
    assert_eq!(
        send(&mut on_device, "00B00000 00"),
        format!("a0020201a1268001098121{public}9000")
    );

    let mut with_keys = profile();
    with_keys.suci = Some(suci(true));
    let mut on_card = Card::new(with_keys).with_random(|out| out.fill(5));
    assert_eq!(send(&mut on_card, "80780001 00"), "6985");
    select_usim(&mut on_card);
    assert_eq!(send(&mut on_card, "00A4080C 06 7FFF5FC04F07"), "6a82");
    let answer = send(&mut on_card, "80780001 00");
    assert!(
        answer.starts_with("a136") && answer.ends_with("9000"),
        "{answer}"
    );
    let imsi = profile().imsi;
    let mut home = HomeNetwork::new(imsi.plmn(), false);
    home.add_key(9, PrivateKey::profile_b(&[3; 32]).unwrap());
    let identity = hex::decode(&answer[4..answer.len() - 4]).unwrap();
    assert_eq!(home.reveal(&identity), Ok(imsi));
}
