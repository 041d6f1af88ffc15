//! Which code evaluates which suite on this processor.
#![allow(unsafe_code)]

use std::sync::OnceLock;

use ambit_protocol::area::Plmn;
use ambit_protocol::schedule::{self, Input};
use ambit_protocol::suite::PrfKey;
use ambit_protocol::wire::{REPORT_OCTETS_MAX, ReportId, ReportView};
use ambit_protocol::{Cause, Exchange, Item, KAiotf, RandN, Snid, Suite, TagLen};
use zeroize::Zeroizing;

use crate::exchange::{self, Opened, Sealed};
use crate::query::{Hit, Query};
use crate::{Key, portable};
#[cfg(target_arch = "x86_64")]
use crate::{ascon, cmac, hmac};

/// Keys evaluated between two comparisons: their prefixes stay in the first-level cache.
const TILE: usize = 256;
/// Queries evaluated under one schedule.
const BATCH: usize = 8;

/// Reports that a kernel opens before it is used: its last group is not full.
const PROBED: usize = 61;

/// Keys of [`Kernel::bare_aes`].
pub const BARE_KEYS: usize = 64;

/// One way to evaluate PRFs under many keys. All give the same results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    level: Level,
}

/// Sets of instructions, each with those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    AesNi,
    #[cfg(target_arch = "x86_64")]
    Vaes256,
    #[cfg(target_arch = "x86_64")]
    Vaes512,
}

impl Kernel {
    /// The fastest kernel that this processor has.
    pub fn best() -> Self {
        static BEST: OnceLock<Kernel> = OnceLock::new();
        *BEST.get_or_init(|| {
            let mut kernels = Self::all().into_iter().rev();
            kernels
                .find(|kernel| kernel.is_right())
                .unwrap_or(Self::PORTABLE)
        })
    }

    /// The kernel that runs everywhere.
    pub const PORTABLE: Self = Self {
        level: Level::Portable,
    };

    /// All kernels that this processor has, the fastest last.
    pub fn all() -> Vec<Self> {
        let mut levels = vec![Level::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("aes") && has!("ssse3") && has!("sse4.1") {
                levels.push(Level::AesNi);
                if has!("avx2") && has!("vaes") {
                    levels.push(Level::Vaes256);
                    if has!("avx512f") && has!("avx512bw") {
                        levels.push(Level::Vaes512);
                    }
                }
            }
        }
        levels.into_iter().map(|level| Self { level }).collect()
    }

    /// The name of the code that evaluates `suite`.
    pub fn name(self, suite: Suite) -> &'static str {
        match (self.level, suite) {
            #[cfg(target_arch = "x86_64")]
            (Level::AesNi, Suite::AesCmac) => "aes-ni",
            #[cfg(target_arch = "x86_64")]
            (Level::Vaes256, Suite::AesCmac) => "vaes-256",
            #[cfg(target_arch = "x86_64")]
            (Level::Vaes512, Suite::AesCmac) => "vaes-512",
            #[cfg(target_arch = "x86_64")]
            (Level::Vaes256, _) => "avx2",
            #[cfg(target_arch = "x86_64")]
            (Level::Vaes512, _) => "avx-512",
            _ => "portable",
        }
    }

    /// The first 8 octets of the PRF of `input` under each key, as a big-endian number. `out` has as many places as there are
    /// keys; what one has more than the other is left alone.
    pub fn prefixes(self, suite: Suite, keys: &[Key], input: &Input, out: &mut [u64]) {
        let plan = Plan::of(self.level, suite, vec![input]);
        for (keys, out) in keys.chunks(TILE).zip(out.chunks_mut(TILE)) {
            let count = keys.len().min(out.len());
            if let (Some(keys), Some(out)) = (keys.get(..count), out.get_mut(..count)) {
                plan.evaluate(keys, out);
            }
        }
    }

    /// Adds to `hits` every key that a query asks for, stretch by stretch of the column: sort for another order.
    pub fn find(self, suite: Suite, keys: &[Key], queries: &[Query], hits: &mut Vec<Hit>) {
        let mut prefixes = Zeroizing::new([0; TILE * BATCH]);
        for (batch, first_query) in queries.chunks(BATCH).zip((0..).step_by(BATCH)) {
            let plan = Plan::of(self.level, suite, batch.iter().map(Query::input).collect());
            for (tile, first_key) in keys.chunks(TILE).zip((0..).step_by(TILE)) {
                let rows = prefixes
                    .get_mut(..tile.len() * batch.len())
                    .unwrap_or_default();
                plan.evaluate(tile, rows);
                for ((query, row), number) in
                    batch.iter().zip(rows.chunks(tile.len())).zip(first_query..)
                {
                    query.compare(number, first_key, row, hits);
                }
            }
        }
    }

    /// Opens reports, each under the key of a device that it may be from: `None` where it is not. In the order of the reports.
    pub fn open(self, reports: &[Sealed<'_>]) -> Vec<Option<Opened>> {
        #[cfg(target_arch = "x86_64")]
        if self.level != Level::Portable && reports.len() > 1 {
            return self.open_lanes(reports);
        }
        reports.iter().map(exchange::open).collect()
    }

    #[cfg(target_arch = "x86_64")]
    fn open_lanes(self, reports: &[Sealed<'_>]) -> Vec<Option<Opened>> {
        let mut lanes = Vec::with_capacity(reports.len());
        // Which lane is whose; what fits none is opened by itself.
        let places: Vec<bool> = reports
            .iter()
            .map(|sealed| {
                let lane = cmac::lanes::Lane::of(sealed);
                let is_lane = lane.is_some();
                lanes.extend(lane);
                is_lane
            })
            .collect();
        let mut out = vec![cmac::lanes::LaneOut::default(); lanes.len()];
        // SAFETY: the level says that the processor has these instructions: `Kernel::all` asked it.
        unsafe {
            match self.level {
                Level::Vaes512 => cmac::x86::vaes_512::open(&lanes, &mut out),
                Level::Vaes256 => cmac::x86::vaes_256::open(&lanes, &mut out),
                _ => cmac::x86::aes_ni::open(&lanes, &mut out),
            }
        }
        let mut out = out.iter();
        let opened = reports.iter().zip(places).map(|(sealed, is_lane)| {
            if is_lane {
                out.next().and_then(|out| out.opened(sealed))
            } else {
                exchange::open(sealed)
            }
        });
        opened.collect()
    }

    /// The physical limit of suite 1, for benchmarks: a schedule and one or three blocks a key and nothing else, over keys that
    /// stay in the cache. Three is what [`Kernel::prefixes`] needs for an input of two blocks. `None` where there is no vector AES.
    pub fn bare_aes(self, keys: &[Key; BARE_KEYS], blocks: usize) -> Option<[u8; 16]> {
        match self.level {
            Level::Portable => None,
            // SAFETY: the level says that the processor has these instructions.
            #[cfg(target_arch = "x86_64")]
            level => Some(unsafe {
                match level {
                    Level::Vaes512 => cmac::x86::vaes_512::bare(keys, blocks),
                    Level::Vaes256 => cmac::x86::vaes_256::bare(keys, blocks),
                    _ => cmac::x86::aes_ni::bare(keys, blocks),
                }
            }),
        }
    }

    /// Whether this kernel gives what the portable one gives. Asked once, before a kernel is used: a processor or hypervisor
    /// that promises an instruction and gets it wrong must not make devices unknown.
    fn is_right(self) -> bool {
        let keys: Vec<Key> = (0..TILE as u64 / 4)
            .map(|n| {
                u128::from(n)
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
                    .to_be_bytes()
            })
            .collect();
        let rand_n = RandN::new(0x0102_0304, [0x5a; 12]);
        let inputs = [
            schedule::beacon_t_id(&rand_n),
            schedule::concealed_id(&rand_n, &[0xa5; 8]),
            schedule::counter_t_id(77),
            schedule::dt_res(&rand_n, &[0x3c; 16]),
        ];
        let evaluate = |kernel: Self, suite, input| {
            let mut out = vec![0; keys.len()];
            kernel.prefixes(suite, &keys, input, &mut out);
            out
        };
        Suite::ALL.iter().all(|suite| {
            inputs.iter().all(|input| {
                evaluate(self, *suite, input) == evaluate(Self::PORTABLE, *suite, input)
            })
        }) && self.opens_right(keys.get(..PROBED).unwrap_or_default(), &rand_n)
    }

    fn opens_right(self, keys: &[Key], rand_n: &RandN) -> bool {
        let Ok(plmn) = Plmn::new("001", "01") else {
            return false;
        };
        let area_id = Snid::new(plmn, None).area([1, 2, 3]);
        let data = [0x3c; 13];
        let reports: Vec<_> = keys
            .iter()
            .zip(0u8..)
            .map(|(key, n)| {
                let rand_d = [n; 4];
                let input = schedule::beacon_k_aiotf(rand_n, &area_id, &rand_d);
                let k_aiotf = KAiotf::new(PrfKey::new(Suite::AesCmac, key).evaluate(&input));
                let id = ReportId::Beacon {
                    t_id: [n; 4],
                    rand_d,
                };
                let item = Item {
                    cause: Cause::Event,
                    seq: n % 16,
                    data: data.get(..usize::from(n % 14)).unwrap_or_default(),
                };
                let tag_len = if n % 3 == 0 { TagLen::T4 } else { TagLen::T8 };
                let mut nas = [0; REPORT_OCTETS_MAX];
                let sealed =
                    Exchange::seal_report(Suite::AesCmac, &k_aiotf, &id, &item, tag_len, &mut nas);
                let len = sealed.map_or(0, |(_, len)| len);
                // One in eight is not genuine.
                if let Some(octet) = nas.get_mut(9).filter(|_| n % 8 == 0) {
                    *octet ^= 1;
                }
                (nas, len, input, tag_len)
            })
            .collect();
        let sealed: Vec<Sealed<'_>> = keys
            .iter()
            .zip(&reports)
            .filter_map(|(key, (nas, len, input, tag_len))| {
                Some(Sealed {
                    suite: Suite::AesCmac,
                    key,
                    tag_len: *tag_len,
                    report: ReportView::parse(nas.get(..*len)?).ok()?,
                    input,
                })
            })
            .collect();
        let told = |opened: &Option<Opened>| {
            let opened = opened.as_ref()?;
            let text = opened.plaintext.octets().to_vec();
            Some((
                *opened.k_aiotf.expose(),
                opened.tag1,
                text,
                opened.empty_accept_tag,
            ))
        };
        let told = |kernel: Self| kernel.open(&sealed).iter().map(told).collect::<Vec<_>>();
        sealed.len() == PROBED && told(self) == told(Self::PORTABLE)
    }
}

/// A batch of inputs, laid out for the code that evaluates it.
enum Plan<'a> {
    Portable(Suite, Vec<&'a Input>),
    #[cfg(target_arch = "x86_64")]
    Cmac(Level, Vec<cmac::Plan>),
    #[cfg(target_arch = "x86_64")]
    Hmac(Level, hmac::Plan),
    #[cfg(target_arch = "x86_64")]
    Ascon(Level, ascon::Plan),
}

impl<'a> Plan<'a> {
    fn of(level: Level, suite: Suite, inputs: Vec<&'a Input>) -> Self {
        match (level, suite) {
            #[cfg(target_arch = "x86_64")]
            (Level::AesNi | Level::Vaes256 | Level::Vaes512, Suite::AesCmac) => {
                Self::Cmac(level, cmac::Plan::of(&inputs))
            }
            #[cfg(target_arch = "x86_64")]
            (Level::Vaes256 | Level::Vaes512, Suite::HmacSha256) => {
                Self::Hmac(level, hmac::Plan::of(&inputs))
            }
            #[cfg(target_arch = "x86_64")]
            (Level::Vaes256 | Level::Vaes512, Suite::AsconXof128) => {
                Self::Ascon(level, ascon::Plan::of(&inputs))
            }
            _ => Self::Portable(suite, inputs),
        }
    }

    /// Prefixes under each key, input by input: `out[input * keys.len() + key]`.
    fn evaluate(&self, keys: &[Key], out: &mut [u64]) {
        match self {
            Self::Portable(suite, inputs) => portable::evaluate(*suite, keys, inputs, out),
            #[cfg(target_arch = "x86_64")]
            Self::Cmac(level, plans) => {
                let mut out = out;
                for plan in plans {
                    let (now, later) = out.split_at_mut(plan.len() * keys.len());
                    // SAFETY: the level says that the processor has these instructions: `Kernel::all` asked it.
                    unsafe {
                        match level {
                            Level::Vaes512 => cmac::x86::vaes_512::evaluate(keys, plan, now),
                            Level::Vaes256 => cmac::x86::vaes_256::evaluate(keys, plan, now),
                            _ => cmac::x86::aes_ni::evaluate(keys, plan, now),
                        }
                    }
                    out = later;
                }
            }
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Self::Hmac(level, plan) => unsafe {
                match level {
                    Level::Vaes512 => hmac::avx512::evaluate(keys, plan, out),
                    _ => hmac::avx2::evaluate(keys, plan, out),
                }
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Self::Ascon(level, plan) => unsafe {
                match level {
                    Level::Vaes512 => ascon::avx512::evaluate(keys, plan, out),
                    _ => ascon::avx2::evaluate(keys, plan, out),
                }
            },
        }
    }
}
