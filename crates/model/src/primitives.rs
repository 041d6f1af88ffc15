//! What the suites are built from, each as its standard writes it. AES-128 of one block and SHA-256 come from their crates.

use ::aes::Aes128;
use cipher::{BlockCipherEncrypt, KeyInit};
use sha2::{Digest, Sha256};

use crate::work;

/// One block of AES-128.
pub fn aes(key: &[u8; 16], block: &[u8; 16]) -> [u8; 16] {
    work::did(|work| work.aes_blocks += 1);
    let mut block = (*block).into();
    Aes128::new(key.into()).encrypt_block(&mut block);
    block.into()
}

/// CMAC (RFC 4493), with numbers of 128 bits for blocks.
pub fn cmac(key: &[u8; 16], message: &[u8]) -> [u8; 16] {
    let double = |x: u128| x << 1 ^ if x >> 127 == 1 { 0x87 } else { 0 };
    let encrypt = |x: u128| u128::from_be_bytes(aes(key, &x.to_be_bytes()));
    let k1 = double(encrypt(0));
    let k2 = double(k1);
    let blocks = message.len().div_ceil(16).max(1);
    let mut state = 0;
    for n in 0..blocks {
        let piece: Vec<u8> = message.iter().skip(16 * n).take(16).copied().collect();
        let mut block = piece.clone();
        if n + 1 == blocks && piece.len() < 16 {
            block.push(0x80);
        }
        block.resize(16, 0);
        state ^= u128::from_be_bytes(std::array::from_fn(|at| block[at]));
        if n + 1 == blocks {
            state ^= if piece.len() == 16 { k1 } else { k2 };
        }
        state = encrypt(state);
    }
    state.to_be_bytes()
}

/// HMAC-SHA-256 (RFC 2104); keys here are never longer than a block.
pub fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let pad = |with: u8| {
        let mut block = key.to_vec();
        block.resize(64, 0);
        block.iter().map(|octet| octet ^ with).collect::<Vec<u8>>()
    };
    let inner = sha256(&[pad(0x36), message.to_vec()].concat());
    sha256(&[pad(0x5C), inner.to_vec()].concat())
}

/// SHA-256.
pub fn sha256(message: &[u8]) -> [u8; 32] {
    // A block holds 64 octets; the last has room for the padding's nine.
    let blocks = (message.len() as u64 + 9).div_ceil(64);
    work::did(|work| work.sha256_blocks += blocks);
    Sha256::digest(message).into()
}

/// `n` octets of Ascon-XOF128 (SP 800-232).
pub fn xof(message: &[u8], n: usize) -> Vec<u8> {
    let mut state = [0x0000_0800_00CC_0003, 0, 0, 0, 0];
    permute(&mut state);
    let mut padded = message.to_vec();
    padded.push(1);
    padded.resize(padded.len().next_multiple_of(8), 0);
    for block in padded.chunks(8) {
        state[0] ^= u64::from_le_bytes(std::array::from_fn(|at| block[at]));
        permute(&mut state);
    }
    let mut out = Vec::new();
    while out.len() < n {
        out.extend(state[0].to_le_bytes());
        permute(&mut state);
    }
    out.truncate(n);
    out
}

/// The permutation of twelve rounds: a constant, the S-box on each of 64 columns, rotations.
fn permute(state: &mut [u64; 5]) {
    work::did(|work| work.ascon_permutations += 1);
    const S_BOX: [u8; 32] = [
        0x04, 0x0B, 0x1F, 0x14, 0x1A, 0x15, 0x09, 0x02, 0x1B, 0x05, 0x08, 0x12, 0x1D, 0x03, 0x06,
        0x1C, 0x1E, 0x13, 0x07, 0x0E, 0x00, 0x0D, 0x11, 0x18, 0x10, 0x0C, 0x01, 0x19, 0x16, 0x0A,
        0x0F, 0x17,
    ];
    const ROTATIONS: [[u32; 2]; 5] = [[19, 28], [61, 39], [1, 6], [10, 17], [7, 41]];
    for round in 0..12 {
        state[2] ^= (0xF - round) << 4 | round;
        let mut next = [0_u64; 5];
        for column in 0..64 {
            let bit = |row: usize| (state[row] >> column & 1) as u8;
            let index = bit(0) << 4 | bit(1) << 3 | bit(2) << 2 | bit(3) << 1 | bit(4);
            let out = S_BOX[usize::from(index)];
            for (row, word) in next.iter_mut().enumerate() {
                *word |= u64::from(out >> (4 - row) & 1) << column;
            }
        }
        for (row, [a, b]) in ROTATIONS.into_iter().enumerate() {
            state[row] = next[row] ^ next[row].rotate_right(a) ^ next[row].rotate_right(b);
        }
    }
}
