//! Suite 1: AES-128-CMAC under many keys.
//!
//! A key costs its schedule, the block L = E(0) that the subkeys come from, and the message's blocks. Inputs of a batch mostly
//! share their first block (label and 15 octets of RAND_n), so a further input costs one block. The schedule is computed on the
//! fly, without AESKEYGENASSIST: a shuffle puts RotWord of the last word into all four columns, where AESENCLAST is SubWord
//! and the round constant. Keeping anything per key between searches (schedules: 176 octets, subkey and first block: 16) buys
//! less than its memory traffic costs; see docs/performance.md.
#![allow(unsafe_code)]

use ambit_protocol::schedule::Input;

use crate::query::Message;

/// Blocks of the longest message.
const BLOCKS_MAX: usize = 3;

/// A batch of messages that have a length and, if they have more than one block, their first block in common.
pub(crate) struct Plan {
    /// The block in common, unless it is also the last.
    first: Option<[u8; 16]>,
    /// The blocks after it, the last one padded; query by query.
    tails: Vec<[[u8; 16]; BLOCKS_MAX - 1]>,
    tail_blocks: usize,
    /// The last block is full: subkey K1, else K2.
    is_full: bool,
}

impl Plan {
    /// Plans for all `inputs`, in order, in as few batches as their first blocks allow where equals stand together.
    pub(crate) fn of(inputs: &[&Input]) -> Vec<Self> {
        let mut plans: Vec<Self> = Vec::new();
        for input in inputs {
            let plan = Self::of_one(input);
            match plans.last_mut() {
                Some(last) if last.is_alike(&plan) => last.tails.extend(plan.tails),
                _ => plans.push(plan),
            }
        }
        plans
    }

    pub(crate) fn len(&self) -> usize {
        self.tails.len()
    }

    fn of_one(input: &Input) -> Self {
        let message = Message::of(input);
        let message = message.octets();
        let mut blocks = [[0u8; 16]; BLOCKS_MAX];
        for (block, part) in blocks.iter_mut().zip(message.chunks(16)) {
            for (to, from) in block.iter_mut().zip(part) {
                *to = *from;
            }
            if let Some(pad) = block.get_mut(part.len()) {
                *pad = 0x80;
            }
        }
        let [a, b, c] = blocks;
        let count = message.len().div_ceil(16);
        Self {
            first: (count > 1).then_some(a),
            tails: vec![if count > 1 { [b, c] } else { [a, [0; 16]] }],
            tail_blocks: count.saturating_sub(1).max(1),
            is_full: message.len().is_multiple_of(16),
        }
    }

    fn is_alike(&self, other: &Self) -> bool {
        self.first == other.first
            && self.tail_blocks == other.tail_blocks
            && self.is_full == other.is_full
    }
}

pub(crate) mod lanes;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;
