//! Suite 3: Ascon-XOF128 (SP 800-232) under many keys, side by side.
//!
//! The key fills the first two words, so that the state after it serves all inputs of a batch, as do the words of the inputs
//! that are alike.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use ambit_protocol::schedule::Input;

use crate::Key;
use crate::query::{MESSAGE_OCTETS_MAX, Message};

const WORDS_MAX: usize = MESSAGE_OCTETS_MAX / 8 + 1;

/// The initial value of Ascon-XOF128.
const IV: u64 = 0x0000_0800_00cc_0003;

const ROUND_CONSTANTS: [i64; 12] = [
    0xf0, 0xe1, 0xd2, 0xc3, 0xb4, 0xa5, 0x96, 0x87, 0x78, 0x69, 0x5a, 0x4b,
];

/// label ‖ x, padded, as words; those in common apart.
pub(crate) struct Plan {
    shared: Vec<u64>,
    rest: Vec<Vec<u64>>,
}

impl Plan {
    pub(crate) fn of(inputs: &[&Input]) -> Self {
        let messages: Vec<Vec<u64>> = inputs.iter().map(|input| words(input)).collect();
        let (head, others) = match messages.split_first() {
            Some((head, others)) => (head.as_slice(), others),
            None => (&[][..], &[][..]),
        };
        // The last word always stays, so that every message ends in a permutation of its own.
        let longest = messages.iter().map(Vec::len).min().unwrap_or(1) - 1;
        let is_shared = |at: &usize| others.iter().all(|other| other.get(*at) == head.get(*at));
        let shared = (0..longest).take_while(is_shared).count();
        Self {
            shared: head.iter().copied().take(shared).collect(),
            rest: messages
                .iter()
                .map(|message| message.iter().copied().skip(shared).collect())
                .collect(),
        }
    }
}

fn words(input: &Input) -> Vec<u64> {
    let message = Message::of(input);
    let mut padded = [0; 8 * WORDS_MAX];
    let source = message.octets().iter().chain(&[1]);
    for (to, from) in padded.iter_mut().zip(source) {
        *to = *from;
    }
    let (words, _) = padded.as_chunks();
    let count = message.octets().len() / 8 + 1;
    words
        .iter()
        .map(|word| u64::from_le_bytes(*word))
        .take(count)
        .collect()
}

macro_rules! kernel {
    (
        $(#[$doc:meta])* $name:ident: $features:literal, $vector:ty, $lanes:literal keys;
        $set:ident, $xor:ident, $not_and:ident, $rotate:ident
    ) => {
        $(#[$doc])*
        pub(crate) mod $name {
            use super::*;

            type Vector = $vector;
            const LANES: usize = $lanes;
            type State = [Vector; 5];

            /// Prefixes under each key, query by query: `out[query * keys.len() + key]`.
            #[target_feature(enable = $features)]
            pub(crate) fn evaluate(keys: &[Key], plan: &Plan, out: &mut [u64]) {
                let mut initial: State = [$set(0); 5];
                initial[0] = $set(IV.cast_signed());
                permute(&mut initial);
                for (group, at) in keys.chunks(LANES).zip((0..).step_by(LANES)) {
                    let mut halves = [[0u64; LANES]; 2];
                    let [first, second] = &mut halves;
                    for ((first, second), key) in first.iter_mut().zip(second).zip(group) {
                        let key = u128::from_le_bytes(*key);
                        (*first, *second) = (key as u64, (key >> 64) as u64);
                    }
                    let mut keyed = initial;
                    for half in &halves {
                        // SAFETY: a register is as large as its lanes; any octets are valid.
                        absorb(&mut keyed, unsafe { core::mem::transmute::<[u64; LANES], Vector>(*half) });
                    }
                    for word in &plan.shared {
                        absorb(&mut keyed, $set(word.cast_signed()));
                    }
                    let mut start = at;
                    for rest in &plan.rest {
                        let mut state = keyed;
                        for word in rest {
                            absorb(&mut state, $set(word.cast_signed()));
                        }
                        let [prefixes, ..] = state;
                        // SAFETY: as above.
                        let prefixes = unsafe { core::mem::transmute::<Vector, [u64; LANES]>(prefixes) };
                        let row = out.get_mut(start..).unwrap_or_default();
                        for (slot, prefix) in row.iter_mut().zip(prefixes).take(group.len()) {
                            *slot = prefix.swap_bytes();
                        }
                        start += keys.len();
                    }
                }
            }

            #[target_feature(enable = $features)]
            #[inline]
            fn absorb(state: &mut State, word: Vector) {
                state[0] = $xor(state[0], word);
                permute(state);
            }

            /// Ascon-p[12].
            #[target_feature(enable = $features)]
            #[inline]
            fn permute(state: &mut State) {
                let ones = $set(-1);
                let [mut a, mut b, mut c, mut d, mut e] = *state;
                for constant in ROUND_CONSTANTS {
                    a = $xor(a, e);
                    e = $xor(e, d);
                    c = $xor(c, $xor(b, $set(constant)));
                    let (s, t, u, v, w) = (
                        $xor(a, $not_and(b, c)),
                        $xor(b, $not_and(c, d)),
                        $xor(c, $not_and(d, e)),
                        $xor(d, $not_and(e, a)),
                        $xor(e, $not_and(a, b)),
                    );
                    (a, b, c, d, e) = ($xor(s, w), $xor(t, s), $xor(u, ones), $xor(v, u), w);
                    a = $xor(a, $xor($rotate::<19, 45>(a), $rotate::<28, 36>(a)));
                    b = $xor(b, $xor($rotate::<61, 3>(b), $rotate::<39, 25>(b)));
                    c = $xor(c, $xor($rotate::<1, 63>(c), $rotate::<6, 58>(c)));
                    d = $xor(d, $xor($rotate::<10, 54>(d), $rotate::<17, 47>(d)));
                    e = $xor(e, $xor($rotate::<7, 57>(e), $rotate::<41, 23>(e)));
                }
                *state = [a, b, c, d, e];
            }
        }
    };
}

kernel! {
    /// Registers of 256 bits.
    avx2: "avx2", __m256i, 4 keys; _mm256_set1_epi64x, _mm256_xor_si256, _mm256_andnot_si256, rotate_256
}

kernel! {
    /// Registers of 512 bits.
    avx512: "avx512f", __m512i, 8 keys; _mm512_set1_epi64, _mm512_xor_si512, _mm512_andnot_si512, rotate_512
}

/// To the right by `RIGHT`; `LEFT` is 64 less that.
#[target_feature(enable = "avx2")]
#[inline]
fn rotate_256<const RIGHT: i32, const LEFT: i32>(words: __m256i) -> __m256i {
    _mm256_or_si256(
        _mm256_srli_epi64::<RIGHT>(words),
        _mm256_slli_epi64::<LEFT>(words),
    )
}

#[target_feature(enable = "avx512f")]
#[inline]
fn rotate_512<const RIGHT: i32, const LEFT: i32>(words: __m512i) -> __m512i {
    _mm512_ror_epi64::<RIGHT>(words)
}
