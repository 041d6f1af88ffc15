//! Crypto of one exchange, network side.

use std::hint::black_box;

use aes::Aes128Enc;
use ambit_adm_api::AcceptPdu;
use ambit_protocol::exchange::empty_accept;
use ambit_protocol::schedule;
use ambit_protocol::wire::ReportView;
use ambit_protocol::{Exchange, KAiotf, RandN, RootKey, Suite, TagLen};
use ambit_search::{BARE_KEYS, Kernel, Sealed};
use cipher::{BlockCipherEncrypt, KeyInit};

use super::fleet::{RAND_D, area, beacon_report, key};
use super::measure::alternate;
use super::{Figure, Limit};

/// Blocks of a beacon exchange in suite 1 with up to 15 octets of plaintext: CMAC K_AIOTF 3 and its subkey, KI and KE 2 and
/// the subkey, TAG1 and the subkey, KS, TAG2.
const BLOCKS: usize = 11;
/// Keys: K, K_AIOTF, KI, KE.
const KEYS: u8 = 4;

/// Reports that the ADM has at once: those of a busy gNB's INVENTORY REPORT.
const BATCH: usize = 64;

/// K_AIOTF, open the report, seal the ACCEPT, in every suite; t = 8, 3 octets of plaintext. As the ADM does it, for all reports
/// of a batch side by side, and for one alone, as a device does its part of it.
pub fn crypto(each: &mut dyn FnMut(Figure)) {
    for suite in Suite::ALL {
        batch(suite, each);
    }
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
            what: format!(
                "beacon exchange, network side, suite {}, one report",
                suite.number()
            ),
            devices: None,
            unit: "ns",
            here,
            limit: Some(Limit::new(what, here, limit)),
        });
    }
}

fn batch(suite: Suite, each: &mut dyn FnMut(Figure)) {
    let rand_n = RandN::new(1000, [3; 12]);
    let keys: Vec<[u8; 16]> = (0..BATCH).map(key).collect();
    let reports: Vec<Vec<u8>> = keys
        .iter()
        .map(|key| beacon_report(&RootKey::new(*key), suite, &rand_n))
        .collect();
    let kernel = Kernel::best();
    let run = || {
        let input = schedule::beacon_k_aiotf(&rand_n, &area(), &RAND_D);
        let sealed: Vec<Sealed<'_>> = keys
            .iter()
            .zip(black_box(&reports))
            .filter_map(|(key, nas)| {
                Some(Sealed {
                    suite,
                    key,
                    tag_len: TagLen::T8,
                    report: ReportView::parse(nas).ok()?,
                    input: &input,
                })
            })
            .collect();
        let opened = kernel.open(&sealed);
        let accepts = opened.iter().flatten().filter_map(|opened| {
            AcceptPdu::build(|out| empty_accept(&opened.empty_accept_tag, out)).ok()
        });
        assert_eq!(accepts.map(black_box).count(), BATCH, "all are genuine");
    };
    let mut figure = |what: &str, here, limit| {
        each(Figure {
            bench: "crypto",
            what: format!(
                "beacon exchange, network side, suite {}, {BATCH} reports at a time",
                suite.number()
            ),
            devices: None,
            unit: "ns",
            here,
            limit: Some(Limit::new(what, here, limit)),
        });
    };
    let (here, limit) = alternate(100, run, bare);
    let here = here.divided_by(BATCH);
    figure(
        "11 AES blocks, 4 key schedules, one after the other",
        here,
        limit,
    );
    let bare_keys = [[5; 16]; BARE_KEYS];
    let at_once = || {
        for _ in 0..KEYS {
            black_box(kernel.bare_aes(black_box(&bare_keys), BLOCKS.div_ceil(KEYS.into())));
        }
    };
    if suite == Suite::AesCmac && kernel.bare_aes(&bare_keys, 1).is_some() {
        let (here, limit) = alternate(100, run, at_once);
        let (here, limit) = (here.divided_by(BATCH), limit.divided_by(BARE_KEYS));
        figure(
            "12 AES blocks, 4 key schedules, as many at a time",
            here,
            limit,
        );
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
