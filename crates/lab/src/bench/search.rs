//! The population search kernel.

use std::hint::black_box;

use ambit_protocol::schedule::{self, Input};
use ambit_protocol::{RandN, Suite};
use ambit_search::{BARE_KEYS, Kernel, Key, Query, chunked, threads_default};

use super::fleet::key;
use super::measure::alternate;
use super::{Figure, Limit, Sample};

/// Keys of the figures that do not depend on the fleet's size: they stay in the second-level cache.
const KEYS: usize = 16 * 1024;
/// Keys in one piece of an ADM's registry, where stretches for several cores begin.
const PIECE: usize = 4096;

/// Keys a second by suite and kernel, for one report and for a batch; then one report in fleets of growing size.
pub fn search(devices_max: usize, each: &mut dyn FnMut(Figure)) {
    let keys: Vec<Key> = (0..devices_max.max(KEYS)).map(key).collect();
    let few = keys.get(..KEYS).unwrap_or_default();
    for kernel in Kernel::all() {
        for suite in Suite::ALL {
            // What a kernel has no code of its own for is the portable one's again.
            if kernel != Kernel::PORTABLE && kernel.name(suite) == Kernel::PORTABLE.name(suite) {
                continue;
            }
            for reports in [1, 8] {
                each(one_kernel(kernel, suite, few, reports));
            }
        }
    }
    kept(Kernel::best(), each);
    let sizes = (3..).map(|power| 10usize.pow(power));
    for devices in sizes.take_while(|devices| *devices <= devices_max) {
        for threads in 1..=threads_default().min(2) {
            each(one_fleet(keys.get(..devices).unwrap_or_default(), threads));
        }
    }
}

fn concealed(report: u8) -> Input {
    schedule::concealed_id(&RandN::new(1, [3; 12]), &[report; 8])
}

fn queries(count: u8) -> Vec<Query> {
    (0..count)
        .map(|n| Query::new(concealed(n), &[1, 2, 3, n]))
        .collect()
}

fn one_kernel(kernel: Kernel, suite: Suite, keys: &[Key], reports: u8) -> Figure {
    let queries = queries(reports);
    let mut hits = Vec::new();
    // About a millisecond a round.
    let keys = if kernel == Kernel::PORTABLE || suite != Suite::AesCmac {
        keys.get(..1024).unwrap_or_default()
    } else {
        keys
    };
    let evaluations = keys.len() * usize::from(reports);
    let run = || {
        hits.clear();
        kernel.find(suite, keys, &queries, &mut hits);
        black_box(&hits);
    };
    let (here, limit) = alternate(1, run, || bare(kernel, keys.len(), 3));
    let here = here.rate(evaluations);
    let has_limit = suite == Suite::AesCmac && kernel != Kernel::PORTABLE && reports == 1;
    Figure {
        bench: "search",
        what: format!(
            "PRF of a concealed ID, suite {}, {}, {}",
            suite.number(),
            kernel.name(suite),
            match reports {
                1 => "one report".to_owned(),
                _ => format!("{reports} reports at a time"),
            }
        ),
        devices: None,
        unit: "keys/s",
        here,
        limit: has_limit.then(|| {
            let what = "bare AES: a schedule and 3 blocks a key, same instructions";
            Limit::new(what, here, limit.rate(rounded(keys.len())))
        }),
    }
}

/// What keeping subkey and first block between searches (16 octets a device) could bring at most: two blocks less.
fn kept(kernel: Kernel, each: &mut dyn FnMut(Figure)) {
    if kernel.bare_aes(&[[0; 16]; BARE_KEYS], 1).is_none() {
        return;
    }
    let (one, three) = alternate(1, || bare(kernel, KEYS, 1), || bare(kernel, KEYS, 3));
    let here = one.rate(KEYS);
    each(Figure {
        bench: "search",
        what: "bare AES if subkey and first block were kept: 16 octets a device".into(),
        devices: None,
        unit: "keys/s",
        here,
        limit: Some(Limit::new(
            "bare AES as it is: nothing kept",
            here,
            three.rate(KEYS),
        )),
    });
}

/// One report against a fleet, from key column to hits.
fn one_fleet(keys: &[Key], threads: usize) -> Figure {
    let kernel = Kernel::best();
    let queries = queries(1);
    let run = || {
        black_box(chunked(keys.len(), threads, PIECE, |range| {
            let mut hits = Vec::new();
            let keys = keys.get(range).unwrap_or_default();
            kernel.find(Suite::AesCmac, keys, &queries, &mut hits);
            hits
        }));
    };
    let times = (10_000 / keys.len()).max(1);
    let limit = || bare(kernel, keys.len().min(KEYS), 3);
    let (here, limit) = alternate(times, run, limit);
    let limit = limit.divided_by(rounded(keys.len().min(KEYS)));
    let limit = Sample {
        median: limit.median * keys.len() as f64 / threads as f64,
        low: limit.low * keys.len() as f64 / threads as f64,
        high: limit.high * keys.len() as f64 / threads as f64,
        rounds: limit.rounds,
    };
    let per = 1e6;
    let (here, limit) = (
        here.divided_by(per as usize),
        limit.divided_by(per as usize),
    );
    Figure {
        bench: "search",
        what: format!("one concealed report, suite 1, {threads} thread(s)"),
        devices: Some(keys.len()),
        unit: "ms",
        here,
        limit: kernel
            .bare_aes(&[[0; 16]; BARE_KEYS], 3)
            .map(|_| Limit::new("bare AES on as many cores, keys in the cache", here, limit)),
    }
}

/// The AES of `keys` keys, to the next multiple of [`BARE_KEYS`].
fn bare(kernel: Kernel, keys: usize, blocks: usize) {
    let column = [[0x5a; 16]; BARE_KEYS];
    for _ in 0..rounded(keys) / BARE_KEYS {
        black_box(kernel.bare_aes(black_box(&column), blocks));
    }
}

const fn rounded(keys: usize) -> usize {
    keys.next_multiple_of(BARE_KEYS)
}
