//! Suite 2: HMAC-SHA-256 under many keys, side by side. A key costs two compressions, an input two more: it is shorter than a
//! block, so its own compression and the outer one are all.
#![allow(unsafe_code)]

use core::arch::x86_64::*;
use core::array::from_fn;

use ambit_protocol::schedule::Input;

use crate::Key;
use crate::query::Message;

const BLOCK_OCTETS: u64 = 64;

#[rustfmt::skip]
const INITIAL: [u32; 8] = [
    0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19,
];

#[rustfmt::skip]
const ROUND_CONSTANTS: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];

/// The block that holds label ‖ x, padding and length, as words; input by input.
pub(crate) struct Plan(Vec<[u32; 16]>);

impl Plan {
    pub(crate) fn of(inputs: &[&Input]) -> Self {
        Self(inputs.iter().map(|input| block(input)).collect())
    }
}

fn block(input: &Input) -> [u32; 16] {
    let message = Message::of(input);
    let message = message.octets();
    let mut octets = [0; 64];
    let source = message.iter().chain(&[0x80]);
    for (to, from) in octets.iter_mut().zip(source) {
        *to = *from;
    }
    let (words, _) = octets.as_chunks();
    let mut block = from_fn(|at| u32::from_be_bytes(words.get(at).copied().unwrap_or_default()));
    // In bits, with the block of the padded key before it.
    block[15] = ((BLOCK_OCTETS + message.len() as u64) * 8) as u32;
    block
}

macro_rules! kernel {
    (
        $(#[$doc:meta])* $name:ident: $features:literal, $vector:ty, $lanes:literal keys;
        $set:ident, $xor:ident, $and:ident, $add:ident, $shift_right:ident, $rotate:ident
    ) => {
        $(#[$doc])*
        pub(crate) mod $name {
            use super::*;

            type Vector = $vector;
            const LANES: usize = $lanes;

            /// Prefixes under each key, query by query: `out[query * keys.len() + key]`.
            #[target_feature(enable = $features)]
            pub(crate) fn evaluate(keys: &[Key], plan: &Plan, out: &mut [u64]) {
                for (group, at) in keys.chunks(LANES).zip((0..).step_by(LANES)) {
                    let mut words = [[0u32; LANES]; 4];
                    for (lane, key) in group.iter().enumerate() {
                        let (parts, _) = key.as_chunks();
                        for (row, part) in words.iter_mut().zip(parts) {
                            if let Some(slot) = row.get_mut(lane) {
                                *slot = u32::from_be_bytes(*part);
                            }
                        }
                    }
                    let inner = keyed(&words, 0x3636_3636);
                    let outer = keyed(&words, 0x5c5c_5c5c);
                    let mut start = at;
                    for message in &plan.0 {
                        let mut block = [$set(0); 16];
                        for (slot, word) in block.iter_mut().zip(message) {
                            *slot = $set(word.cast_signed());
                        }
                        let digest = compress(inner, block);
                        let mut block = [$set(0); 16];
                        for (slot, word) in block.iter_mut().zip(digest) {
                            *slot = word;
                        }
                        block[8] = $set(0x8000_0000u32.cast_signed());
                        block[15] = $set((BLOCK_OCTETS as i32 + 32) * 8);
                        let [high, low, ..] = compress(outer, block);
                        // SAFETY: a register is as large as its lanes; any octets are valid.
                        let [high, low] = unsafe { core::mem::transmute::<[Vector; 2], [[u32; LANES]; 2]>([high, low]) };
                        let row = out.get_mut(start..).unwrap_or_default();
                        for ((slot, high), low) in row.iter_mut().zip(high).zip(low).take(group.len()) {
                            *slot = u64::from(high) << 32 | u64::from(low);
                        }
                        start += keys.len();
                    }
                }
            }

            /// The state after the key, xored with a pad.
            #[target_feature(enable = $features)]
            #[inline]
            fn keyed(words: &[[u32; LANES]; 4], pad: i32) -> [Vector; 8] {
                let pad = $set(pad);
                let mut block = [pad; 16];
                for (slot, row) in block.iter_mut().zip(words) {
                    // SAFETY: a register is as large as its lanes; any octets are valid.
                    *slot = $xor(pad, unsafe { core::mem::transmute::<[u32; LANES], Vector>(*row) });
                }
                let mut start = [pad; 8];
                for (slot, word) in start.iter_mut().zip(INITIAL) {
                    *slot = $set(word.cast_signed());
                }
                compress(start, block)
            }

            /// The compression function of SHA-256.
            #[target_feature(enable = $features)]
            #[inline]
            fn compress(start: [Vector; 8], mut w: [Vector; 16]) -> [Vector; 8] {
                let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = start;
                let (rounds, _) = ROUND_CONSTANTS.as_chunks::<16>();
                for (number, constants) in rounds.iter().enumerate() {
                    macro_rules! round {
                        ($at:literal) => {
                            if number > 0 {
                                let (w_2, w_7, w_15) = (w[($at + 14) % 16], w[($at + 9) % 16], w[($at + 1) % 16]);
                                let small_0 = $xor($xor($rotate::<7, 25>(w_15), $rotate::<18, 14>(w_15)), $shift_right::<3>(w_15));
                                let small_1 = $xor($xor($rotate::<17, 15>(w_2), $rotate::<19, 13>(w_2)), $shift_right::<10>(w_2));
                                w[$at] = $add($add(w[$at], small_0), $add(w_7, small_1));
                            }
                            let word = $add(w[$at], $set(constants[$at].cast_signed()));
                            let big_1 = $xor($xor($rotate::<6, 26>(e), $rotate::<11, 21>(e)), $rotate::<25, 7>(e));
                            let choice = $xor(g, $and(e, $xor(f, g)));
                            let t1 = $add($add(h, word), $add(big_1, choice));
                            let big_0 = $xor($xor($rotate::<2, 30>(a), $rotate::<13, 19>(a)), $rotate::<22, 10>(a));
                            let majority = $xor($and(a, b), $and(c, $xor(a, b)));
                            (h, g, f, e) = (g, f, e, $add(d, t1));
                            (d, c, b, a) = (c, b, a, $add(t1, $add(big_0, majority)));
                        };
                    }
                    round!(0);
                    round!(1);
                    round!(2);
                    round!(3);
                    round!(4);
                    round!(5);
                    round!(6);
                    round!(7);
                    round!(8);
                    round!(9);
                    round!(10);
                    round!(11);
                    round!(12);
                    round!(13);
                    round!(14);
                    round!(15);
                }
                let mut end = [a, b, c, d, e, f, g, h];
                for (end, start) in end.iter_mut().zip(start) {
                    *end = $add(*end, start);
                }
                end
            }
        }
    };
}

kernel! {
    /// Registers of 256 bits.
    avx2: "avx2", __m256i, 8 keys;
    _mm256_set1_epi32, _mm256_xor_si256, _mm256_and_si256, _mm256_add_epi32, _mm256_srli_epi32, rotate_256
}

kernel! {
    /// Registers of 512 bits.
    avx512: "avx512f", __m512i, 16 keys;
    _mm512_set1_epi32, _mm512_xor_si512, _mm512_and_si512, _mm512_add_epi32, _mm512_srli_epi32, rotate_512
}

/// To the right by `RIGHT`; `LEFT` is 32 less that.
#[target_feature(enable = "avx2")]
#[inline]
fn rotate_256<const RIGHT: i32, const LEFT: i32>(words: __m256i) -> __m256i {
    _mm256_or_si256(
        _mm256_srli_epi32::<RIGHT>(words),
        _mm256_slli_epi32::<LEFT>(words),
    )
}

#[target_feature(enable = "avx512f")]
#[inline]
fn rotate_512<const RIGHT: i32, const LEFT: i32>(words: __m512i) -> __m512i {
    _mm512_ror_epi32::<RIGHT>(words)
}
