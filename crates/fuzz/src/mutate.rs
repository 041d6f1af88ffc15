//! Mutations of a corpus from a seed: what an ordinary test has in place of libFuzzer.

use fastrand::Rng;

/// Octets that parsers care about.
const INTERESTING: [u8; 12] = [0, 1, 2, 4, 8, 16, 32, 64, 127, 128, 254, 255];

/// One input out of a corpus, changed in one to eight places.
pub fn mutate(rng: &mut Rng, corpus: &[Vec<u8>], octets_max: usize) -> Vec<u8> {
    let pick = |rng: &mut Rng| &corpus[rng.usize(..corpus.len())];
    let mut octets = pick(rng).clone();
    for _ in 0..rng.usize(1..=8) {
        let len = octets.len();
        let at = rng.usize(..=len);
        match rng.u8(..10) {
            0 | 1 if at < len => octets[at] ^= 1 << rng.u8(..8),
            2 if at < len => octets[at] = rng.u8(..),
            3 if at < len => octets[at] = INTERESTING[rng.usize(..INTERESTING.len())],
            4 => octets.insert(at, rng.u8(..)),
            5 if at < len => {
                let end = len.min(at + rng.usize(1..=8));
                octets.drain(at..end);
            }
            6 if at < len => {
                let end = len.min(at + rng.usize(1..=16));
                let piece = octets[at..end].to_vec();
                let to = rng.usize(..=len);
                octets.splice(to..to, piece);
            }
            7 => {
                let other = pick(rng);
                let from = rng.usize(..=other.len());
                let end = other.len().min(from + rng.usize(1..=64));
                octets.splice(at..at, other[from..end].iter().copied());
            }
            8 => octets.truncate(at),
            _ => octets.extend((0..rng.usize(1..=8)).map(|_| rng.u8(..))),
        }
    }
    octets.truncate(octets_max);
    octets
}
