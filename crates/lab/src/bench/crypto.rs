//! Crypto of one exchange, network side.

use std::hint::black_box;

use aes::Aes128Enc;
use ambit_protocol::schedule;
use ambit_protocol::wire::ReportView;
use ambit_protocol::{Exchange, KAiotf, RandN, RootKey, Suite, TagLen};
use cipher::{BlockCipherEncrypt, KeyInit};

use super::fleet::{RAND_D, area, beacon_report};
use super::measure::alternate;
use super::{Figure, Limit};

/// Blocks of a beacon exchange in suite 1 with up to 15 octets of plaintext: CMAC K_AIOTF 3 and its subkey, KI and KE 2 and
/// the subkey, TAG1 and the subkey, KS, TAG2.
const BLOCKS: usize = 11;
/// Keys: K, K_AIOTF, KI, KE.
const KEYS: u8 = 4;

/// K_AIOTF, open the report, seal the ACCEPT, in every suite; t = 8, 3 octets of plaintext.
pub fn crypto(each: &mut dyn FnMut(Figure)) {
    for suite in Suite::ALL {
        let key = RootKey::new([7; 16]);
        let rand_n = RandN::new(1000, [3; 12]);
        let report = beacon_report(&key, suite, &rand_n);
        let run = || {
            let input = schedule::beacon_k_aiotf(&rand_n, &area(), &RAND_D);
            let k_aiotf = KAiotf::new(key.evaluate(suite, &input));
            let mut out = [0; 49];
            let opened = ReportView::parse(black_box(&report))
                .ok()
                .and_then(|view| Exchange::open_report(suite, &k_aiotf, &view, TagLen::T8).ok())
                .and_then(|(exchange, _)| exchange.seal_accept(&[], &mut out).ok());
            assert!(opened.is_some(), "the report is genuine");
            black_box(out);
        };
        let (here, limit) = alternate(1000, run, bare);
        let what = match suite {
            Suite::AesCmac => "11 AES blocks, 4 key schedules",
            _ => "that of suite 1, for comparison",
        };
        each(Figure {
            bench: "crypto",
            what: format!("beacon exchange, network side, suite {}", suite.number()),
            devices: None,
            unit: "ns",
            here,
            limit: Some(Limit::new(what, here, limit)),
        });
    }
}

/// The AES of an exchange and nothing else, each block on the one before.
fn bare() {
    let mut block = [5u8; 16];
    for key in 0..KEYS {
        let cipher = Aes128Enc::new(black_box(&[key; 16]).into());
        for _ in 0..BLOCKS / usize::from(KEYS)
            + usize::from(usize::from(key) < BLOCKS % usize::from(KEYS))
        {
            cipher.encrypt_block((&mut block).into());
        }
    }
    black_box(block);
}
