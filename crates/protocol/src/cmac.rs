//! AES-128-CMAC (RFC 4493) and AES-128-CTR on the block cipher, for short messages in parts. The generic crates copy and wipe
//! a key's schedule with every message, which cost twice the AES itself.

use aes::Aes128Enc;
use cipher::{BlockCipherEncrypt, KeyInit};
use zeroize::ZeroizeOnDrop;

/// A key expanded for CMAC: schedule and subkeys.
#[derive(ZeroizeOnDrop)]
pub(crate) struct CmacKey {
    cipher: Aes128Enc,
    /// Octet 0 lowest, as all blocks here.
    k1: u128,
    k2: u128,
}

impl CmacKey {
    #[inline(always)]
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        let cipher = Aes128Enc::new(key.into());
        let mut l = [0; 16];
        cipher.encrypt_block((&mut l).into());
        let k1 = double(u128::from_be_bytes(l));
        Self {
            cipher,
            k1: k1.swap_bytes(),
            k2: double(k1).swap_bytes(),
        }
    }

    /// The MAC of `first` and the parts, taken as one string.
    pub(crate) fn mac(&self, first: u8, parts: &[&[u8]]) -> [u8; 16] {
        // The octets of the message that are not encrypted yet are added to the state as they come, octet 0 lowest.
        let mut state = u128::from(first);
        let mut filled = 1;
        for chunk in parts.iter().flat_map(|part| part.chunks(BLOCK)) {
            if filled == BLOCK {
                state = self.encrypt(state);
                filled = 0;
            }
            let octets = load(chunk);
            state ^= octets << (8 * filled);
            filled += chunk.len();
            if let Some(over) = filled.checked_sub(BLOCK)
                && over > 0
            {
                state = self.encrypt(state) ^ (octets >> (8 * (chunk.len() - over)));
                filled = over;
            }
        }
        let last = if filled == BLOCK {
            state ^ self.k1
        } else {
            state ^ (0x80 << (8 * filled)) ^ self.k2
        };
        self.encrypt(last).to_le_bytes()
    }

    #[inline(always)]
    fn encrypt(&self, block: u128) -> u128 {
        let mut block = block.to_le_bytes();
        self.cipher.encrypt_block((&mut block).into());
        u128::from_le_bytes(block)
    }
}

const BLOCK: usize = 16;

/// Up to 16 octets as a number, the first lowest. In a few wide reads: octets that are stored one by one and read as a block
/// cost more than the AES round that waits for them.
#[inline(always)]
fn load(octets: &[u8]) -> u128 {
    let ends = |len: usize| 8 * (octets.len() - len);
    if let (Some(first), Some(last)) = (octets.first_chunk(), octets.last_chunk()) {
        let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
        u128::from(first) | u128::from(last) << ends(8)
    } else if let (Some(first), Some(last)) = (octets.first_chunk(), octets.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        u128::from(u64::from(first) | u64::from(last) << ends(4))
    } else {
        let octets = octets.iter().zip([0, 8, 16]);
        octets.fold(0, |sum, (octet, shift)| sum | u128::from(*octet) << shift)
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
