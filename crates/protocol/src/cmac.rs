//! AES-128-CMAC (RFC 4493) and AES-128-CTR on the block cipher, for short messages in parts. The generic crates copy and wipe
//! a key's schedule with every message, which cost twice the AES itself.

use aes::Aes128Enc;
use cipher::{BlockCipherEncrypt, KeyInit};
use zeroize::ZeroizeOnDrop;

/// A key expanded for CMAC: schedule and subkeys.
#[derive(ZeroizeOnDrop)]
pub(crate) struct CmacKey {
    cipher: Aes128Enc,
    k1: u128,
    k2: u128,
}

impl CmacKey {
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        let cipher = Aes128Enc::new(key.into());
        let mut l = [0; 16];
        cipher.encrypt_block((&mut l).into());
        let k1 = double(u128::from_be_bytes(l));
        Self {
            cipher,
            k1,
            k2: double(k1),
        }
    }

    /// The MAC of `first` and the parts, taken as one string.
    pub(crate) fn mac(&self, first: u8, parts: &[&[u8]]) -> [u8; 16] {
        // The part of the message that is not encrypted yet is added to the state as it comes.
        let mut state = [0; 16];
        state[0] = first;
        let mut filled = 1;
        for part in parts {
            let mut part = *part;
            while !part.is_empty() {
                if filled == state.len() {
                    self.cipher.encrypt_block((&mut state).into());
                    filled = 0;
                }
                let free = state.get_mut(filled..).unwrap_or_default();
                let (now, later) = part.split_at(part.len().min(free.len()));
                for (to, from) in free.iter_mut().zip(now) {
                    *to ^= *from;
                }
                filled += now.len();
                part = later;
            }
        }
        let subkey = match state.get_mut(filled) {
            Some(padding) => {
                *padding ^= 0x80;
                self.k2
            }
            None => self.k1,
        };
        let mut last = (u128::from_be_bytes(state) ^ subkey).to_be_bytes();
        self.cipher.encrypt_block((&mut last).into());
        last
    }
}

/// Doubling in GF(2^128).
const fn double(block: u128) -> u128 {
    (block << 1) ^ (0x87 & 0u128.wrapping_sub(block >> 127))
}

/// Adds (xors) the keystream of AES-128-CTR from the initial counter block iv12 ‖ 00000000.
pub(crate) fn apply_ctr(cipher: &Aes128Enc, iv12: &[u8; 12], data: &mut [u8]) {
    for (chunk, counter) in data.chunks_mut(16).zip(0u32..) {
        let mut block = [0; 16];
        let octets = iv12.iter().copied().chain(counter.to_be_bytes());
        for (to, from) in block.iter_mut().zip(octets) {
            *to = from;
        }
        cipher.encrypt_block((&mut block).into());
        for (octet, stream) in chunk.iter_mut().zip(block) {
            *octet ^= stream;
        }
    }
}
