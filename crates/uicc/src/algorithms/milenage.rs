//! MILENAGE (TS 35.206) with AES-128 as its kernel and the constants of clause 4.1.

use aes::Aes128Enc;
use cipher::{BlockCipherEncrypt, KeyInit};
use zeroize::Zeroizing;

use super::{AkaVector, Res, padded};

/// MILENAGE under one K, OPc and RAND.
pub(super) struct Keyed {
    kernel: Aes128Enc,
    opc: Zeroizing<u128>,
    /// TEMP = E(RAND xor OPc).
    temp: Zeroizing<u128>,
}

/// OPc = OP xor E(OP).
pub(super) fn opc(k: &[u8; 16], op: &[u8; 16]) -> [u8; 16] {
    let op = u128::from_be_bytes(*op);
    (op ^ encrypt(&Aes128Enc::new(k.into()), op)).to_be_bytes()
}

impl Keyed {
    pub(super) fn new(k: &[u8; 16], opc: &[u8; 16], rand: &[u8; 16]) -> Self {
        let kernel = Aes128Enc::new(k.into());
        let opc = Zeroizing::new(u128::from_be_bytes(*opc));
        let temp = Zeroizing::new(encrypt(&kernel, u128::from_be_bytes(*rand) ^ *opc));
        Self { kernel, opc, temp }
    }

    /// f1 to f5.
    pub(super) fn vector(&self, sqn: &[u8; 6], amf: &[u8; 2]) -> AkaVector {
        let out1 = self.out1(sqn, amf);
        let out2 = self.out(0, 1);
        AkaVector {
            res: Res::new(out2.get(8..).unwrap_or_default()),
            ck: *self.out(32, 2),
            ik: *self.out(64, 4),
            ak: padded(&*out2),
            mac_a: padded(&*out1),
        }
    }

    /// MAC-S (f1*) and AK* (f5*).
    pub(super) fn resync(&self, sqn_ms: &[u8; 6], amf: &[u8; 2]) -> ([u8; 8], [u8; 6]) {
        let out1 = self.out1(sqn_ms, amf);
        let out5 = self.out(96, 8);
        (padded(out1.get(8..).unwrap_or_default()), padded(&*out5))
    }

    /// OUT1, where IN1 = SQN ‖ AMF ‖ SQN ‖ AMF, r1 = 64 and c1 = 0.
    fn out1(&self, sqn: &[u8; 6], amf: &[u8; 2]) -> Zeroizing<[u8; 16]> {
        let [a, b, c, d, e, f] = *sqn;
        let [g, h] = *amf;
        let half = u128::from(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
        let in1 = Zeroizing::new((half << 64) | half);
        let rotated = Zeroizing::new((*in1 ^ *self.opc).rotate_left(64));
        self.finish(*self.temp ^ *rotated)
    }

    /// OUT2 to OUT5: rotation by `r` bits, constant `c`.
    fn out(&self, r: u32, c: u128) -> Zeroizing<[u8; 16]> {
        self.finish((*self.temp ^ *self.opc).rotate_left(r) ^ c)
    }

    fn finish(&self, block: u128) -> Zeroizing<[u8; 16]> {
        Zeroizing::new((encrypt(&self.kernel, block) ^ *self.opc).to_be_bytes())
    }
}

fn encrypt(kernel: &Aes128Enc, block: u128) -> u128 {
    let mut block = Zeroizing::new(block.to_be_bytes());
    kernel.encrypt_block((&mut *block).into());
    u128::from_be_bytes(*block)
}
