//! TUAK (TS 35.231) on the permutation Keccak-f\[1600\].
//!
//! TS 35.231 numbers the bits of each parameter so that its octets enter the state, and leave it, last octet first.

use zeroize::{Zeroize, Zeroizing};

use super::{AkaVector, Res, TuakRes};

const ALGONAME: &[u8; 7] = b"TUAK1.0";

/// Octets of the state where each field starts (TS 35.231 clause 7): TOP or TOPc, INSTANCE, ALGONAME, RAND, AMF, SQN, K, and
/// the two ends of the padding.
const INSTANCE_AT: usize = 32;
const ALGONAME_AT: usize = 33;
const RAND_AT: usize = 40;
const AMF_AT: usize = 56;
const SQN_AT: usize = 58;
const K_AT: usize = 64;
const PADDING_AT: usize = 96;
const PADDING_END: usize = 135;

/// The first bits of INSTANCE, per function.
const F1: u8 = 0x00;
const F1_STAR: u8 = 0x80;
const F2345: u8 = 0x40;
const F5_STAR: u8 = 0xC0;

/// Where f2 to f5 leave the state.
const RES_AT: usize = 0;
const CK_AT: usize = 32;
const IK_AT: usize = 64;
const AK_AT: usize = 96;

type State = Zeroizing<[u8; 200]>;

/// TUAK under one K (16 or 32 octets) and TOPc.
pub(super) struct Tuak<'a> {
    pub(super) k: &'a [u8],
    pub(super) topc: &'a [u8; 32],
    pub(super) iterations: u8,
}

/// What goes into f1 and f1* beside RAND.
type SqnAmf<'a> = (&'a [u8; 6], &'a [u8; 2]);

impl Tuak<'_> {
    /// TOPc of `top` (clause 7.1); the receiver's own TOPc does not enter.
    pub(super) fn topc(&self, top: &[u8; 32]) -> [u8; 32] {
        let mut topc = [0; 32];
        pull(&self.run(top, 0, None, None), 0, &mut topc);
        topc
    }

    pub(super) fn vector(
        &self,
        rand: &[u8; 16],
        sqn: &[u8; 6],
        amf: &[u8; 2],
        res: TuakRes,
    ) -> AkaVector {
        let mut vector = AkaVector {
            res: Res::new(&[]),
            ck: [0; 16],
            ik: [0; 16],
            ak: [0; 6],
            mac_a: [0; 8],
        };
        self.f1(rand, (sqn, amf), &mut vector.mac_a);
        let mut octets = Zeroizing::new([0; 16]);
        let res = octets.get_mut(..res as usize).unwrap_or_default();
        self.f2345(rand, res, &mut vector.ck, &mut vector.ik, &mut vector.ak);
        vector.res = Res::new(res);
        vector
    }

    /// MAC-S (f1*) and AK* (f5*).
    pub(super) fn resync(
        &self,
        rand: &[u8; 16],
        sqn_ms: &[u8; 6],
        amf: &[u8; 2],
    ) -> ([u8; 8], [u8; 6]) {
        let (mut mac_s, mut ak_star) = ([0; 8], [0; 6]);
        self.f1_star(rand, (sqn_ms, amf), &mut mac_s);
        self.f5_star(rand, &mut ak_star);
        (mac_s, ak_star)
    }

    /// f1; `mac` of 8, 16 or 32 octets (clause 7.2).
    pub(super) fn f1(&self, rand: &[u8; 16], sqn_amf: SqnAmf<'_>, mac: &mut [u8]) {
        let instance = F1 | length_bits(mac);
        pull(
            &self.run(self.topc, instance, Some(rand), Some(sqn_amf)),
            0,
            mac,
        );
    }

    /// f1*; `mac` of 8, 16 or 32 octets (clause 7.2).
    pub(super) fn f1_star(&self, rand: &[u8; 16], sqn_amf: SqnAmf<'_>, mac: &mut [u8]) {
        let instance = F1_STAR | length_bits(mac);
        pull(
            &self.run(self.topc, instance, Some(rand), Some(sqn_amf)),
            0,
            mac,
        );
    }

    /// f2 to f5; `res` of 4, 8, 16 or 32 octets, `ck` and `ik` of 16 or 32 (clause 7.3).
    pub(super) fn f2345(
        &self,
        rand: &[u8; 16],
        res: &mut [u8],
        ck: &mut [u8],
        ik: &mut [u8],
        ak: &mut [u8; 6],
    ) {
        let instance = F2345
            | length_bits(res)
            | if ck.len() == 32 { 4 } else { 0 }
            | if ik.len() == 32 { 2 } else { 0 };
        let state = self.run(self.topc, instance, Some(rand), None);
        pull(&state, RES_AT, res);
        pull(&state, CK_AT, ck);
        pull(&state, IK_AT, ik);
        pull(&state, AK_AT, ak);
    }

    /// f5* (clause 7.4).
    pub(super) fn f5_star(&self, rand: &[u8; 16], ak_star: &mut [u8; 6]) {
        pull(
            &self.run(self.topc, F5_STAR, Some(rand), None),
            AK_AT,
            ak_star,
        );
    }

    fn run(
        &self,
        top: &[u8; 32],
        instance: u8,
        rand: Option<&[u8; 16]>,
        sqn_amf: Option<SqnAmf<'_>>,
    ) -> State {
        let mut state = Zeroizing::new([0u8; 200]);
        let k_is_long = u8::from(self.k.len() == 32);
        push(&mut state, 0, top);
        push(&mut state, INSTANCE_AT, &[instance | k_is_long]);
        push(&mut state, ALGONAME_AT, ALGONAME);
        if let Some(rand) = rand {
            push(&mut state, RAND_AT, rand);
        }
        if let Some((sqn, amf)) = sqn_amf {
            push(&mut state, AMF_AT, amf);
            push(&mut state, SQN_AT, sqn);
        }
        push(&mut state, K_AT, self.k);
        push(&mut state, PADDING_AT, &[0x1F]);
        push(&mut state, PADDING_END, &[0x80]);
        for _ in 0..self.iterations {
            permute(&mut state);
        }
        state
    }
}

/// 001, 010, 100 for 64, 128, 256 bits and 000 for 32, where INSTANCE has them.
fn length_bits(output: &[u8]) -> u8 {
    match output.len() {
        8 => 0x08,
        16 => 0x10,
        32 => 0x20,
        _ => 0,
    }
}

fn push(state: &mut State, at: usize, octets: &[u8]) {
    for (to, from) in state.iter_mut().skip(at).zip(octets.iter().rev()) {
        *to = *from;
    }
}

fn pull(state: &State, at: usize, octets: &mut [u8]) {
    for (to, from) in octets.iter_mut().rev().zip(state.iter().skip(at)) {
        *to = *from;
    }
}

fn permute(state: &mut State) {
    let mut lanes = [0u64; 25];
    let (chunks, _) = state.as_chunks::<8>();
    for (lane, octets) in lanes.iter_mut().zip(chunks) {
        *lane = u64::from_le_bytes(*octets);
    }
    keccak::Keccak::new().with_f1600(|f1600| f1600(&mut lanes));
    let (chunks, _) = state.as_chunks_mut::<8>();
    for (octets, lane) in chunks.iter_mut().zip(&lanes) {
        *octets = lane.to_le_bytes();
    }
    lanes.zeroize();
}
