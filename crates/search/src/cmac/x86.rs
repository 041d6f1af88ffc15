//! The same code over registers of one, two and four blocks.

use core::arch::x86_64::*;

use ambit_protocol::schedule::Label;
use zeroize::Zeroize;

use super::Plan;
use super::lanes::{Block, Lane, LaneOut};
use crate::{BARE_KEYS, Key};

/// Puts RotWord of a key's last word into each column.
const ROT_WORD: [u8; 16] = [
    13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, 12,
];
const REVERSE: [u8; 16] = [15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0];

/// The one block of an input that is a label alone.
const fn label(label: Label) -> [u8; 16] {
    let mut block = [0; 16];
    block[0] = label.0;
    block[1] = 0x80;
    block
}

/// A round constant at the first octet of each column.
const fn round_constant(octet: u8) -> [u8; 16] {
    [
        octet, 0, 0, 0, octet, 0, 0, 0, octet, 0, 0, 0, octet, 0, 0, 0,
    ]
}

macro_rules! kernel {
    (
        $(#[$doc:meta])* $name:ident: $features:literal, $vector:ty, $lanes:literal keys a register,
        $registers:literal registers; $splat:expr, $xor:ident, $and:ident, $or:ident, $add:ident, $sub:ident, $shift_right:ident,
        $left:ident, $right:ident, $shuffle:ident, $enc:ident, $enc_last:ident
    ) => {
        $(#[$doc])*
        pub(crate) mod $name {
            use super::*;

            type Vector = $vector;
            const LANES: usize = $lanes;
            const REGISTERS: usize = $registers;
            const GROUP: usize = LANES * REGISTERS;
            type Group = [Vector; REGISTERS];

            /// Prefixes under each key, query by query: `out[query * keys.len() + key]`.
            #[target_feature(enable = $features)]
            pub(crate) fn evaluate(keys: &[Key], plan: &Plan, out: &mut [u64]) {
                let zero = splat([0; 16]);
                let first = [splat(plan.first.unwrap_or_default()); REGISTERS];
                // Round keys of a group: in memory, since there are more than registers. The first pass writes them.
                let mut schedule: [Group; 11] = [[zero; REGISTERS]; 11];
                let (groups, rest) = keys.as_chunks::<GROUP>();
                let mut padded = [[0u8; 16]; GROUP];
                for (to, from) in padded.iter_mut().zip(rest) {
                    *to = *from;
                }
                let last = (!rest.is_empty()).then_some(&padded);
                for (group, at) in groups.iter().chain(last).zip((0..).step_by(GROUP)) {
                    let (mut subkey, chained) = match plan.first {
                        Some(_) => expand::<true>(load(group), &first, &mut schedule),
                        None => expand::<false>(load(group), &first, &mut schedule),
                    };
                    let count = GROUP.min(keys.len() - at);
                    double(&mut subkey);
                    if !plan.is_full {
                        double(&mut subkey);
                    }
                    let mut start = at;
                    for [block, second] in &plan.tails {
                        // Behind this the schedule stays in memory, where the instructions take it from. Else the compiler
                        // loads it into registers ahead of the loop, and spills it again.
                        let schedule = core::hint::black_box(&schedule);
                        let mut state = chained;
                        if plan.tail_blocks > 1 {
                            add(&mut state, &[splat(*block); REGISTERS]);
                            encrypt(&mut state, schedule);
                            add(&mut state, &[splat(*second); REGISTERS]);
                        } else {
                            add(&mut state, &[splat(*block); REGISTERS]);
                        }
                        add(&mut state, &subkey);
                        encrypt(&mut state, schedule);
                        // SAFETY: `Group` is a plain array of vector registers, of the size of its blocks; any octets are valid.
                        let blocks: [[u64; 2]; GROUP] = unsafe { core::mem::transmute(state) };
                        let row = out.get_mut(start..).unwrap_or_default();
                        let row = row.get_mut(..count).unwrap_or_default();
                        for (slot, [prefix, _]) in row.iter_mut().zip(blocks) {
                            *slot = prefix.swap_bytes();
                        }
                        start += keys.len();
                    }
                }
                // Best effort: what the compiler spilled elsewhere is not reached.
                schedule = [[zero; REGISTERS]; 11];
                padded = [[0; 16]; GROUP];
                core::hint::black_box((&mut schedule, &mut padded));
            }

            #[target_feature(enable = $features)]
            #[inline]
            fn add(state: &mut Group, blocks: &Group) {
                for (state, block) in state.iter_mut().zip(blocks) {
                    *state = $xor(*state, *block);
                }
            }

            /// Opens the reports of all lanes, and seals their ACCEPTs.
            #[target_feature(enable = $features)]
            pub(crate) fn open(lanes: &[Lane<'_>], out: &mut [LaneOut]) {
                let zero = [splat([0; 16]); REGISTERS];
                let mut schedule: [Group; 11] = [zero; 11];
                for (lanes, out) in lanes.chunks(GROUP).zip(out.chunks_mut(GROUP)) {
                    let (k_aiotf, text, tag1, tag2) = open_group(lanes, &mut schedule);
                    let [mut k_aiotf, mut text, tag1, tag2] = [k_aiotf, text, tag1, tag2].map(|group| store(&group));
                    let blocks = k_aiotf.iter().zip(&text).zip(tag1.iter().zip(&tag2));
                    for (out, ((k_aiotf, text), (tag1, tag2))) in out.iter_mut().zip(blocks) {
                        (out.k_aiotf, out.text) = (*k_aiotf, *text);
                        (out.tag1, out.tag2) = (*tag1, *tag2);
                    }
                    k_aiotf.zeroize();
                    text.zeroize();
                }
                // Best effort, as above.
                schedule = [zero; 11];
                core::hint::black_box(&mut schedule);
            }

            /// K_AIOTF, plaintext, TAG1 and TAG2 of each lane.
            #[target_feature(enable = $features)]
            #[inline]
            fn open_group(lanes: &[Lane<'_>], schedule: &mut [Group; 11]) -> (Group, Group, Group, Group) {
                let zero = [splat([0; 16]); REGISTERS];
                // K: the input of K_AIOTF has three blocks, the last padded.
                let mut keys = [[0; 16]; GROUP];
                for (to, lane) in keys.iter_mut().zip(lanes) {
                    *to = *lane.key;
                }
                let [first, second, third] = [
                    gather(lanes, |Lane { input: [block, _, _], .. }| *block),
                    gather(lanes, |Lane { input: [_, block, _], .. }| *block),
                    gather(lanes, |Lane { input: [_, _, block], .. }| *block),
                ];
                let (mut subkey, mut state) = expand::<true>(load(&keys), &first, schedule);
                keys.zeroize();
                double(&mut subkey);
                double(&mut subkey);
                add(&mut state, &second);
                encrypt(&mut state, schedule);
                add(&mut state, &third);
                add(&mut state, &subkey);
                encrypt(&mut state, schedule);
                let k_aiotf = state;

                // K_AIOTF: KI and KE have a label for input.
                let (mut subkey, _) = expand::<false>(k_aiotf, &zero, schedule);
                double(&mut subkey);
                double(&mut subkey);
                let (mut ki, mut ke) = (subkey, subkey);
                add(&mut ki, &[splat(label(Label::INTEGRITY_KEY)); REGISTERS]);
                add(&mut ke, &[splat(label(Label::ENCRYPTION_KEY)); REGISTERS]);
                encrypt(&mut ki, schedule);
                encrypt(&mut ke, schedule);

                // KE: one block of keystream, two octets on, where the plaintext stands in the block of TAG1.
                let counter = gather(lanes, |lane| lane.counter);
                let (_, mut text) = expand::<true>(ke, &counter, schedule);
                let ciphertext = gather(lanes, |lane| lane.ciphertext);
                let mask = gather(lanes, |lane| lane.text_mask);
                for ((text, ciphertext), mask) in text.iter_mut().zip(&ciphertext).zip(&mask) {
                    *text = $xor($and($left::<2>(*text), *mask), *ciphertext);
                }

                // KI: TAG1 and TAG2, a block each.
                let (mut subkey, _) = expand::<false>(ki, &zero, schedule);
                double(&mut subkey);
                let mut tag1 = subkey;
                double(&mut subkey);
                let mut tag2 = subkey;
                let full = gather(lanes, |lane| lane.full_mask);
                for ((tag1, subkey), full) in tag1.iter_mut().zip(&subkey).zip(&full) {
                    *tag1 = $xor($and($xor(*tag1, *subkey), *full), *subkey);
                }
                add(&mut tag1, &text);
                add(&mut tag1, &gather(lanes, |lane| lane.frame));
                add(&mut tag2, &gather(lanes, |lane| lane.accept));
                encrypt(&mut tag1, schedule);
                encrypt(&mut tag2, schedule);
                (k_aiotf, text, tag1, tag2)
            }

            /// One block of each lane; zeros where there is no lane.
            #[target_feature(enable = $features)]
            #[inline]
            fn gather(lanes: &[Lane<'_>], block: impl Fn(&Lane<'_>) -> Block) -> Group {
                let mut blocks = [[0; 16]; GROUP];
                for (to, lane) in blocks.iter_mut().zip(lanes) {
                    *to = block(lane);
                }
                load(&blocks)
            }

            #[target_feature(enable = $features)]
            #[inline]
            fn load(blocks: &[Block; GROUP]) -> Group {
                // SAFETY: `Group` is a plain array of vector registers, of the size of its blocks; any octets are valid.
                unsafe { core::mem::transmute(*blocks) }
            }

            #[target_feature(enable = $features)]
            #[inline]
            fn store(group: &Group) -> [Block; GROUP] {
                // SAFETY: as above.
                unsafe { core::mem::transmute(*group) }
            }

            /// A schedule and one or three blocks a key.
            #[target_feature(enable = $features)]
            pub(crate) fn bare(keys: &[Key; BARE_KEYS], blocks: usize) -> [u8; 16] {
                let zero = [splat([0; 16]); REGISTERS];
                let mut schedule: [Group; 11] = [zero; 11];
                let mut sum = zero;
                let (groups, _) = keys.as_chunks::<GROUP>();
                for group in groups {
                    let (mut state, second) = match blocks {
                        1 => expand::<false>(load(group), &zero, &mut schedule),
                        _ => expand::<true>(load(group), &zero, &mut schedule),
                    };
                    if blocks > 1 {
                        add(&mut state, &second);
                        encrypt(&mut state, core::hint::black_box(&schedule));
                    }
                    add(&mut sum, &state);
                }
                let [first, ..] = store(&sum);
                first
            }

            /// Writes the schedules and encrypts the zero block and, if there is one, the first block on the way. Rounds are
            /// written out: as a loop they cost a third more.
            #[target_feature(enable = $features)]
            #[inline]
            fn expand<const IS_CHAINED: bool>(
                mut key: Group,
                first: &Group,
                schedule: &mut [Group; 11],
            ) -> (Group, Group) {
                let mut subkey = key;
                let mut chained = key;
                add(&mut chained, first);
                let [k0, k1, k2, k3, k4, k5, k6, k7, k8, k9, k10] = schedule;
                *k0 = key;
                macro_rules! round {
                    ($round_key:ident, $constant:literal, $encrypt:ident) => {
                        next_key(&mut key, splat(round_constant($constant)));
                        *$round_key = key;
                        for (state, key) in subkey.iter_mut().zip(&key) {
                            *state = $encrypt(*state, *key);
                        }
                        if IS_CHAINED {
                            for (state, key) in chained.iter_mut().zip(&key) {
                                *state = $encrypt(*state, *key);
                            }
                        }
                    };
                }
                round!(k1, 0x01, $enc);
                round!(k2, 0x02, $enc);
                round!(k3, 0x04, $enc);
                round!(k4, 0x08, $enc);
                round!(k5, 0x10, $enc);
                round!(k6, 0x20, $enc);
                round!(k7, 0x40, $enc);
                round!(k8, 0x80, $enc);
                round!(k9, 0x1b, $enc);
                round!(k10, 0x36, $enc_last);
                (subkey, if IS_CHAINED { chained } else { [splat([0; 16]); REGISTERS] })
            }

            #[target_feature(enable = $features)]
            #[inline]
            fn next_key(key: &mut Group, constant: Vector) {
                let rot_word = splat(ROT_WORD);
                for key in key {
                    let sub_word = $enc_last($shuffle(*key, rot_word), constant);
                    *key = $xor(*key, $left::<4>(*key));
                    *key = $xor(*key, $left::<8>(*key));
                    *key = $xor(*key, sub_word);
                }
            }

            #[target_feature(enable = $features)]
            #[inline]
            fn encrypt(state: &mut Group, schedule: &[Group; 11]) {
                let [k0, k1, k2, k3, k4, k5, k6, k7, k8, k9, k10] = schedule;
                macro_rules! round {
                    ($round_key:ident, $encrypt:ident) => {
                        for (state, key) in state.iter_mut().zip($round_key) {
                            *state = $encrypt(*state, *key);
                        }
                    };
                }
                round!(k0, $xor);
                round!(k1, $enc);
                round!(k2, $enc);
                round!(k3, $enc);
                round!(k4, $enc);
                round!(k5, $enc);
                round!(k6, $enc);
                round!(k7, $enc);
                round!(k8, $enc);
                round!(k9, $enc);
                round!(k10, $enc_last);
            }

            /// Doubling in GF(2^128), as RFC 4493 makes K1 of L and K2 of K1.
            #[target_feature(enable = $features)]
            #[inline]
            fn double(blocks: &mut Group) {
                let reverse = splat(REVERSE);
                let mut polynomial = [0; 16];
                polynomial[0] = 0x87;
                let polynomial = splat(polynomial);
                let zero = splat([0; 16]);
                for block in blocks {
                    let number = $shuffle(*block, reverse);
                    let carries = $shift_right::<63>(number);
                    let doubled = $or($add(number, number), $left::<8>(carries));
                    let is_over = $and($sub(zero, $right::<8>(carries)), polynomial);
                    *block = $shuffle($xor(doubled, is_over), reverse);
                }
            }

            #[target_feature(enable = $features)]
            #[inline]
            fn splat(block: [u8; 16]) -> Vector {
                // SAFETY: a register of one block is as large as the block; any octets are valid.
                let block: __m128i = unsafe { core::mem::transmute(block) };
                $splat(block)
            }
        }
    };
}

kernel! {
    /// One block a register.
    aes_ni: "aes,sse2,ssse3,sse4.1", __m128i, 1 keys a register, 4 registers;
    core::convert::identity, _mm_xor_si128, _mm_and_si128, _mm_or_si128, _mm_add_epi64, _mm_sub_epi64, _mm_srli_epi64,
    _mm_slli_si128, _mm_srli_si128, _mm_shuffle_epi8, _mm_aesenc_si128, _mm_aesenclast_si128
}

kernel! {
    /// Two blocks a register.
    vaes_256: "aes,avx2,vaes", __m256i, 2 keys a register, 4 registers;
    _mm256_broadcastsi128_si256, _mm256_xor_si256, _mm256_and_si256, _mm256_or_si256, _mm256_add_epi64, _mm256_sub_epi64,
    _mm256_srli_epi64, _mm256_slli_si256, _mm256_srli_si256, _mm256_shuffle_epi8, _mm256_aesenc_epi128,
    _mm256_aesenclast_epi128
}

kernel! {
    /// Four blocks a register.
    vaes_512: "aes,avx512f,avx512bw,vaes", __m512i, 4 keys a register, 4 registers;
    _mm512_broadcast_i32x4, _mm512_xor_si512, _mm512_and_si512, _mm512_or_si512, _mm512_add_epi64, _mm512_sub_epi64,
    _mm512_srli_epi64, _mm512_bslli_epi128, _mm512_bsrli_epi128, _mm512_shuffle_epi8, _mm512_aesenc_epi128,
    _mm512_aesenclast_epi128
}
