//! Every kernel gives what the protocol's own PRF gives.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use ambit_protocol::area::Plmn;
use ambit_protocol::schedule::{self, Input, cut};
use ambit_protocol::wire::{DATA_OCTETS_MAX, REPORT_OCTETS_MAX, ReportId, ReportView};
use ambit_protocol::{Cause, Exchange, Item, KAiotf, RandN, RootKey, Snid, Suite, TagLen};
use ambit_search::{Hit, Kernel, Key, Query, Sealed, chunked};

fn keys(rng: &mut fastrand::Rng, count: usize) -> Vec<Key> {
    (0..count).map(|_| rng.u128(..).to_be_bytes()).collect()
}

/// An input of every kind, which have every length there is.
fn inputs(rng: &mut fastrand::Rng) -> Vec<Input> {
    let rand_n = RandN::new(rng.u32(..), std::array::from_fn(|_| rng.u8(..)));
    let area = Snid::new(Plmn::new("001", "01").unwrap(), None).area([0, 0, 1]);
    let (n4, n8) = (rng.u32(..).to_be_bytes(), rng.u64(..).to_be_bytes());
    let n16 = rng.u128(..).to_be_bytes();
    vec![
        schedule::beacon_t_id(&rand_n),
        schedule::beacon_k_aiotf(&rand_n, &area, &n4),
        schedule::counter_t_id(rng.u32(..)),
        schedule::counter_k_aiotf(&rand_n, &area, rng.u32(..)),
        schedule::blind_k_aiotf(rng.u32(..)),
        schedule::concealed_id(&rand_n, &n8),
        schedule::concealed_k_aiotf(&rand_n, &area, &n8),
        schedule::dt_res(&rand_n, &n16),
        schedule::dt_k_aiotf(&rand_n, &n16),
        schedule::dt_paging_t_id(&rand_n),
    ]
}

fn protocol(suite: Suite, key: &Key, input: &Input) -> u64 {
    u64::from_be_bytes(cut(&RootKey::new(*key).evaluate(suite, input)))
}

#[test]
fn every_kernel_equals_the_protocol_in_every_suite() {
    let mut rng = fastrand::Rng::with_seed(1);
    for kernel in Kernel::all() {
        for suite in Suite::ALL {
            for count in (0..40).chain([63, 64, 65, 255, 256, 257, 1000]) {
                let keys = keys(&mut rng, count);
                for input in inputs(&mut rng) {
                    let mut found = vec![0; count];
                    kernel.prefixes(suite, &keys, &input, &mut found);
                    let expected: Vec<u64> = keys
                        .iter()
                        .map(|key| protocol(suite, key, &input))
                        .collect();
                    assert_eq!(
                        found,
                        expected,
                        "{} {suite:?} {count} {input:?}",
                        kernel.name(suite)
                    );
                }
            }
        }
    }
}

#[test]
fn every_kernel_finds_what_is_there_and_nothing_else() {
    let mut rng = fastrand::Rng::with_seed(2);
    for kernel in Kernel::all() {
        for suite in Suite::ALL {
            for round in 0..20 {
                let count = rng.usize(1..700);
                let mut keys = keys(&mut rng, count);
                // Two keys that are one are both found.
                keys[0] = keys[count - 1];
                let mut queries = Vec::new();
                for _ in 0..rng.usize(1..4) {
                    for input in inputs(&mut rng) {
                        let wanted =
                            protocol(suite, &keys[rng.usize(..count)], &input).to_be_bytes();
                        queries.push(match rng.u8(..4) {
                            // Short enough that others match by chance.
                            0 => Query::new(input, &[wanted[0]]),
                            1 => Query::new(input, wanted.first_chunk::<4>().unwrap()),
                            2 => Query::new(input, &wanted),
                            _ => Query::new(input, &rng.u64(..).to_be_bytes()),
                        });
                    }
                }
                rng.shuffle(&mut queries);
                let mut found = Vec::new();
                kernel.find(suite, &keys, &queries, &mut found);
                found.sort_unstable();
                let mut expected = Vec::new();
                Kernel::PORTABLE.find(suite, &keys, &queries, &mut expected);
                expected.sort_unstable();
                assert_eq!(found, expected, "{} {suite:?} {round}", kernel.name(suite));
                assert!(!found.is_empty());
            }
        }
    }
}

#[test]
fn the_portable_kernel_finds_by_the_front_of_the_prf() {
    let mut rng = fastrand::Rng::with_seed(3);
    let keys = keys(&mut rng, 1000);
    for suite in Suite::ALL {
        let input = schedule::counter_t_id(9);
        let id: [u8; 6] = cut(&RootKey::new(keys[421]).evaluate(suite, &input));
        let mut near = id;
        near[5] ^= 1;
        let queries = [Query::new(input.clone(), &near), Query::new(input, &id)];
        let mut found = Vec::new();
        Kernel::PORTABLE.find(suite, &keys, &queries, &mut found);
        assert_eq!(found, [Hit { query: 1, key: 421 }]);
    }
}

#[test]
fn the_result_is_the_same_on_any_number_of_threads() {
    let mut rng = fastrand::Rng::with_seed(4);
    let keys = keys(&mut rng, 200_001);
    let query = [Query::new(schedule::counter_t_id(1), &[7])];
    let search = |threads| {
        let stretches = chunked(keys.len(), threads, 64, |range| {
            let mut found = Vec::new();
            let first = range.start;
            Kernel::best().find(Suite::AesCmac, &keys[range], &query, &mut found);
            found.iter().map(|hit| first + hit.key).collect::<Vec<_>>()
        });
        (stretches.len(), stretches.concat())
    };
    let (_, alone) = search(1);
    for threads in [2, 3, 5] {
        let (stretches, found) = search(threads);
        assert_eq!((stretches, &found), (threads, &alone));
    }
}

/// A report of any suite, form and length, sealed by the protocol crate.
struct Report {
    suite: Suite,
    key: Key,
    tag_len: TagLen,
    input: Input,
    data: Vec<u8>,
    nas: Vec<u8>,
    accept: Vec<u8>,
}

fn report(rng: &mut fastrand::Rng) -> Report {
    let suite = Suite::ALL[if rng.u8(..4) > 0 { 0 } else { rng.usize(..3) }];
    let tag_len = [TagLen::T4, TagLen::T8, TagLen::T16][rng.usize(..3)];
    let rand_n = RandN::new(rng.u32(..), std::array::from_fn(|_| rng.u8(..)));
    let area = Snid::new(Plmn::new("001", "01").unwrap(), None).area([0, 0, 1]);
    let (n4, n8) = (rng.u32(..).to_be_bytes(), rng.u64(..).to_be_bytes());
    let (t_id, counter) = ([rng.u8(..); 6], rng.u32(..));
    let (id, input) = match rng.u8(..5) {
        0 => (
            ReportId::Counter { t_id },
            schedule::counter_k_aiotf(&rand_n, &area, counter),
        ),
        1 => (
            ReportId::Concealed {
                cid: n4,
                rand_d: n8,
            },
            schedule::concealed_k_aiotf(&rand_n, &area, &n8),
        ),
        2 => (ReportId::Blind { t_id }, schedule::blind_k_aiotf(counter)),
        _ => (
            ReportId::Beacon {
                t_id: n4,
                rand_d: n4,
            },
            schedule::beacon_k_aiotf(&rand_n, &area, &n4),
        ),
    };
    let key: Key = rng.u128(..).to_be_bytes();
    let k_aiotf = KAiotf::new(RootKey::new(key).evaluate(suite, &input));
    let len = if rng.bool() {
        rng.usize(..16)
    } else {
        rng.usize(..=DATA_OCTETS_MAX)
    };
    let data: Vec<u8> = (0..len).map(|_| rng.u8(..)).collect();
    let item = Item {
        cause: Cause::Event,
        seq: rng.u8(..16),
        data: &data,
    };
    let mut nas = vec![0; REPORT_OCTETS_MAX];
    let sealed = Exchange::seal_report(suite, &k_aiotf, &id, &item, tag_len, &mut nas);
    let (exchange, len) = sealed.unwrap();
    nas.truncate(len);
    let mut accept = vec![0; 49];
    let len = exchange.seal_accept(&[], &mut accept).unwrap();
    accept.truncate(len);
    Report {
        suite,
        key,
        tag_len,
        input,
        data,
        nas,
        accept,
    }
}

#[test]
fn every_kernel_opens_what_a_device_sealed_and_nothing_else() {
    let mut rng = fastrand::Rng::with_seed(4);
    for kernel in Kernel::all() {
        let (mut good, mut bad) = (0, 0);
        for count in (0..70).chain([300]) {
            let mut reports: Vec<Report> = (0..count).map(|_| report(&mut rng)).collect();
            let forged: Vec<bool> = reports
                .iter_mut()
                .map(|report| {
                    let is_forged = rng.u8(..4) == 0;
                    if is_forged {
                        // Behind the ID: ciphertext or tag.
                        let from =
                            report.nas.len() - report.tag_len.octets() - 1 - report.data.len();
                        let at = rng.usize(from..report.nas.len());
                        report.nas[at] ^= 1 << rng.u8(..8);
                    }
                    is_forged
                })
                .collect();
            let sealed: Vec<Sealed<'_>> = reports
                .iter()
                .map(|report| Sealed {
                    suite: report.suite,
                    key: &report.key,
                    tag_len: report.tag_len,
                    report: ReportView::parse(&report.nas).unwrap(),
                    input: &report.input,
                })
                .collect();
            let opened = kernel.open(&sealed);
            assert_eq!(opened.len(), count);
            for ((opened, report), is_forged) in opened.iter().zip(&reports).zip(forged) {
                let Some(opened) = opened else {
                    assert!(is_forged, "{}", kernel.name(report.suite));
                    bad += 1;
                    continue;
                };
                assert!(!is_forged, "{}", kernel.name(report.suite));
                good += 1;
                let item = opened.plaintext.item().unwrap();
                assert_eq!(item.data, report.data);
                assert_eq!(&report.accept[1..], opened.empty_accept_tag.as_slice());
                let resumed = Exchange::resume(report.suite, &opened.k_aiotf, opened.tag1);
                let mut accept = vec![0; 49];
                let len = resumed.seal_accept(&[], &mut accept).unwrap();
                assert_eq!(&accept[..len], report.accept);
            }
        }
        assert!(good > 1000 && bad > 300, "{good} {bad}");
    }
}
