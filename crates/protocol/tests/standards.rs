//! Suite 1 against RFC 4493 and an implementation of its own here; the beacon chain against a walk of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use aes::Aes128Enc;
use ambit_protocol::RandN;
use ambit_protocol::Suite;
use ambit_protocol::chain::{self, BeaconChain, CHAIN_EPOCHS_DEFAULT, Verification};
use ambit_protocol::schedule::Label;
use ambit_protocol::suite::{PrfKey, keystream};
use cipher::{BlockCipherEncrypt, KeyInit};
use common::*;

const KEY: &str = "2b7e151628aed2a6abf7158809cf4f3c";
const MESSAGE: &str = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
                       30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710";

/// RFC 4493, section 4: octets of the message, and its AES-CMAC.
const VECTORS: [(usize, &str); 4] = [
    (0, "bb1d6929e95937287fa37d129b756746"),
    (16, "070a16b46b4d4144f79bdd9dd04a287c"),
    (40, "dfa66747de9ae63030ca32611497c827"),
    (64, "51f0bebf7e3b9d92fc49741779363cfe"),
];

fn octets<const N: usize>(hex: &str) -> [u8; N] {
    let mut out = [0; N];
    hex::decode_to_slice(hex, &mut out).unwrap();
    out
}

fn encrypt(key: &[u8; 16], block: [u8; 16]) -> [u8; 16] {
    let mut block = block.into();
    Aes128Enc::new(key.into()).encrypt_block(&mut block);
    block.into()
}

/// AES-CMAC as RFC 4493 writes it down.
fn cmac(key: &[u8; 16], message: &[u8]) -> [u8; 16] {
    let double = |block: [u8; 16]| {
        let number = u128::from_be_bytes(block);
        ((number << 1) ^ ((number >> 127) * 0x87)).to_be_bytes()
    };
    let k1 = double(encrypt(key, [0; 16]));
    let k2 = double(k1);
    let whole = message.len().saturating_sub(1) / 16 * 16;
    let (blocks, rest) = message.split_at(whole);
    let mut last = [0; 16];
    last[..rest.len()].copy_from_slice(rest);
    let subkey = if rest.len() == 16 {
        k1
    } else {
        last[rest.len()] = 0x80;
        k2
    };
    let xor = |a: [u8; 16], b: &[u8]| std::array::from_fn(|i| a[i] ^ b[i]);
    let chained = blocks
        .chunks(16)
        .fold([0; 16], |state, block| encrypt(key, xor(state, block)));
    encrypt(key, xor(xor(chained, &last), &subkey))
}

#[test]
fn the_test_has_the_cmac_of_rfc_4493() {
    let message: [u8; 64] = octets(MESSAGE);
    for (length, mac) in VECTORS {
        assert_eq!(cmac(&octets(KEY), &message[..length]), octets(mac));
    }
}

/// PRF is AES-CMAC over the label and x: the first octet of the vectors' message is the label.
#[test]
fn suite_1_has_the_vectors_of_rfc_4493() {
    let key = PrfKey::new(Suite::AesCmac, &octets(KEY));
    let message: [u8; 64] = octets(MESSAGE);
    for (length, mac) in VECTORS.into_iter().skip(1) {
        let (label, x) = message[..length].split_first().unwrap();
        assert_eq!(key.prf(Label(*label), &[x]), octets(mac));
    }
}

#[test]
fn suite_1_is_aes_cmac_at_every_length() {
    let mut rng = fastrand::Rng::with_seed(3);
    for length in (0..200).chain([1000]) {
        let key: [u8; 16] = std::array::from_fn(|_| rng.u8(..));
        let message: Vec<u8> = (0..=length).map(|_| rng.u8(..)).collect();
        let (label, x) = message.split_first().unwrap();
        let (a, b) = x.split_at(rng.usize(..=x.len()));
        let prf = PrfKey::new(Suite::AesCmac, &key).prf(Label(*label), &[a, b]);
        assert_eq!(prf, cmac(&key, &message), "{length}");
    }
}

#[test]
fn the_keystream_of_suites_1_and_2_is_aes_ctr() {
    let mut rng = fastrand::Rng::with_seed(4);
    for suite in [Suite::AesCmac, Suite::HmacSha256] {
        for length in 0..130 {
            let key: [u8; 16] = std::array::from_fn(|_| rng.u8(..));
            let iv12: [u8; 12] = std::array::from_fn(|_| rng.u8(..));
            let mut stream = vec![0xee; length];
            keystream(suite, &key, &iv12, &mut stream);
            let blocks = (0u32..).flat_map(|counter| {
                let mut block = [0; 16];
                block[..12].copy_from_slice(&iv12);
                block[12..].copy_from_slice(&counter.to_be_bytes());
                encrypt(&key, block)
            });
            assert_eq!(stream, blocks.take(length).collect::<Vec<_>>());
        }
    }
}

/// A chain of the default length: every element that is asked for equals a walk of the test's own, and follows from a
/// checkpoint near it.
#[test]
fn any_epoch_of_a_default_chain_comes_from_its_checkpoints() {
    let (first, last) = (3_000_000, 3_000_000 + CHAIN_EPOCHS_DEFAULT);
    let seed = *b"twelve octet";
    let chain = BeaconChain::new(snid(), &seed, first, last);
    assert_eq!(chain.epochs(), (first, last));

    let mut elements = vec![seed];
    let mut element = seed;
    for epoch in (first + 1..=last).rev() {
        let mut key = [0; 16];
        key[..12].copy_from_slice(&element);
        let message = [&[0x50], &epoch.to_be_bytes()[..], snid().octets()].concat();
        element.copy_from_slice(&cmac(&key, &message)[..12]);
        elements.push(element);
    }
    let expected = |epoch: u32| RandN::new(epoch, elements[(last - epoch) as usize]);

    let mut rng = fastrand::Rng::with_seed(5);
    let random = (0..500).map(|_| rng.u32(first..=last));
    let ends = [first, first + 1, last - 1, last];
    // 1024 checkpoints over 2^20 + 1 elements are 1025 apart.
    let around = (0..1024u32).step_by(64).flat_map(|checkpoint| {
        let at = last - checkpoint * 1025;
        [at.saturating_add(1).min(last), at, at - 1]
    });
    for epoch in random.chain(ends).chain(around) {
        assert_eq!(chain.rand_n(epoch), Some(expected(epoch)), "{epoch}");
    }
    assert_eq!(chain.rand_n(first - 1), None);
    assert_eq!(chain.rand_n(last + 1), None);
    assert_eq!(chain.rand_n(0), None);
    assert_eq!(chain.rand_n(u32::MAX), None);
}

#[test]
fn a_chain_at_the_end_of_all_epochs() {
    let chain = BeaconChain::new(snid(), &[1; 12], u32::MAX - 3000, u32::MAX);
    let last = chain.rand_n(u32::MAX).unwrap();
    assert_eq!(last.element(), [1; 12]);
    let anchor = chain.rand_n(u32::MAX - 1000).unwrap();
    assert_eq!(
        chain::verify(&anchor, &last, &snid(), 1024),
        Verification::Verified
    );
}

/// A changed bit anywhere in a RAND_n is not verified.
#[test]
fn a_changed_rand_n_is_not_verified() {
    let chain = BeaconChain::new(snid(), &[2; 12], 0, 5000);
    let anchor = chain.rand_n(100).unwrap();
    let beacon = chain.rand_n(110).unwrap();
    let check = |beacon| chain::verify(&anchor, &beacon, &snid(), 1024);
    assert_eq!(check(beacon), Verification::Verified);
    for bit in 0..128 {
        let mut octets = *beacon.octets();
        octets[bit / 8] ^= 1 << (bit % 8);
        assert_ne!(check(RandN::from_octets(octets)), Verification::Verified);
    }
}
