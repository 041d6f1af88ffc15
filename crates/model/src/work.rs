//! What was computed, counted on each thread.

use std::cell::Cell;
use std::ops::{Add, Sub};

/// Calls of primitives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Blocks of AES-128, encryptions all of them.
    pub aes_blocks: u64,
    /// Blocks of SHA-256.
    pub sha256_blocks: u64,
    /// Ascon permutations of twelve rounds.
    pub ascon_permutations: u64,
}

thread_local! {
    static DONE: Cell<Work> = const {
        Cell::new(Work { aes_blocks: 0, sha256_blocks: 0, ascon_permutations: 0 })
    };
}

pub(crate) fn did(count: impl FnOnce(&mut Work)) {
    let mut work = DONE.get();
    count(&mut work);
    DONE.set(work);
}

/// What `f` gives, and what it computed.
pub fn of<T>(f: impl FnOnce() -> T) -> (T, Work) {
    let before = DONE.get();
    let result = f();
    (result, DONE.get() - before)
}

impl Sub for Work {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            aes_blocks: self.aes_blocks - before.aes_blocks,
            sha256_blocks: self.sha256_blocks - before.sha256_blocks,
            ascon_permutations: self.ascon_permutations - before.ascon_permutations,
        }
    }
}

impl Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            aes_blocks: self.aes_blocks + other.aes_blocks,
            sha256_blocks: self.sha256_blocks + other.sha256_blocks,
            ascon_permutations: self.ascon_permutations + other.ascon_permutations,
        }
    }
}
