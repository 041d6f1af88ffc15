//! The functions f1 to f5* of TS 33.102 for one subscriber, by MILENAGE (TS 35.206) or TUAK (TS 35.231).

mod milenage;
mod tuak;

use core::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The AMF that MAC-S is computed with (TS 33.102 clause 6.3.3).
const AMF_RESYNC: [u8; 2] = [0, 0];

/// The secrets of one subscriber and the algorithm that uses them. Wiped on drop, never printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Subscriber {
    k: [u8; 32],
    k_octets: u8,
    /// OPc in the first 16 octets, or TOPc.
    opc: [u8; 32],
    #[zeroize(skip)]
    algorithm: Algorithm,
}

/// Which algorithm set, with what is not secret about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// MILENAGE with the constants of TS 35.206 clause 4.1: K and OPc of 16 octets, RES of 8.
    Milenage,
    /// TUAK: K of 16 or 32 octets, TOPc of 32. CK and IK are of 16 octets and MAC of 8, as TS 33.501 needs them.
    Tuak {
        /// Keccak permutations per function, 1 or more (TS 35.231 clause 6.2).
        iterations: u8,
        /// Length of RES.
        res: TuakRes,
    },
}

/// Length of RES that TUAK gives. (TUAK knows 32 octets too; TS 33.501 has no use for them.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TuakRes {
    /// 4 octets.
    Octets4 = 4,
    /// 8 octets.
    Octets8 = 8,
    /// 16 octets.
    Octets16 = 16,
}

impl Algorithm {
    /// Octets of OPc or TOPc.
    pub const fn opc_octets(self) -> usize {
        match self {
            Self::Milenage => 16,
            Self::Tuak { .. } => 32,
        }
    }
}

/// `milenage`, or `tuak-<iterations>-<octets of RES>`.
impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Milenage => f.write_str("milenage"),
            Self::Tuak { iterations, res } => write!(f, "tuak-{iterations}-{}", *res as u8),
        }
    }
}

/// What [`Display`](fmt::Display) gives; `tuak` alone is `tuak-1-8`.
impl core::str::FromStr for Algorithm {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RULE: &str =
            "must be milenage, tuak or tuak-<iterations, 1 to 255>-<octets of RES: 4, 8 or 16>";
        if text == "milenage" {
            return Ok(Self::Milenage);
        }
        let parameters = match text {
            "tuak" => ("1", "8"),
            _ => text
                .strip_prefix("tuak-")
                .and_then(|rest| rest.split_once('-'))
                .ok_or(RULE)?,
        };
        let res = match parameters.1 {
            "4" => TuakRes::Octets4,
            "8" => TuakRes::Octets8,
            "16" => TuakRes::Octets16,
            _ => return Err(RULE),
        };
        match parameters.0.parse() {
            Ok(iterations @ 1..) => Ok(Self::Tuak { iterations, res }),
            _ => Err(RULE),
        }
    }
}

/// What f1 to f5 give for one RAND, SQN and AMF. Wiped on drop, never printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct AkaVector {
    /// RES (or XRES), f2.
    pub res: Res,
    /// CK, f3.
    pub ck: [u8; 16],
    /// IK, f4.
    pub ik: [u8; 16],
    /// AK, f5.
    pub ak: [u8; 6],
    /// MAC-A, f1.
    pub mac_a: [u8; 8],
}

/// RES, 4, 8 or 16 octets.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Res {
    octets: [u8; 16],
    len: u8,
}

/// What is wrong with the parameters of a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// K is not 16 octets (MILENAGE), or 16 or 32 (TUAK).
    #[error("k: must be 16 octets, or 32 with TUAK")]
    K,
    /// OPc is not 16 octets (MILENAGE) or TOPc not 32 (TUAK).
    #[error("opc: must be 16 octets, topc: 32")]
    Opc,
    /// TUAK with no permutation at all gives its input back.
    #[error("iterations: must be 1 or more")]
    Iterations,
}

impl Subscriber {
    /// K and OPc (or TOPc) as they are provisioned.
    ///
    /// # Errors
    /// [`ParameterError`] for lengths that the algorithm does not have.
    pub fn new(algorithm: Algorithm, k: &[u8], opc: &[u8]) -> Result<Self, ParameterError> {
        let (k_fits, opc_octets) = match algorithm {
            Algorithm::Milenage => (k.len() == 16, 16),
            Algorithm::Tuak { iterations: 0, .. } => return Err(ParameterError::Iterations),
            Algorithm::Tuak { .. } => (k.len() == 16 || k.len() == 32, 32),
        };
        if !k_fits {
            return Err(ParameterError::K);
        }
        if opc.len() != opc_octets {
            return Err(ParameterError::Opc);
        }
        Ok(Self {
            k: padded(k),
            k_octets: if k.len() == 32 { 32 } else { 16 },
            opc: padded(opc),
            algorithm,
        })
    }

    /// K and the operator's OP (or TOP), from which OPc (or TOPc) is computed.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_op(algorithm: Algorithm, k: &[u8], op: &[u8]) -> Result<Self, ParameterError> {
        let mut subscriber = Self::new(algorithm, k, op)?;
        let opc = match algorithm {
            Algorithm::Milenage => {
                let opc = Zeroizing::new(milenage::opc(subscriber.k16(), first(&subscriber.opc)));
                padded(&*opc)
            }
            Algorithm::Tuak { .. } => subscriber.tuak().topc(&subscriber.opc),
        };
        subscriber.opc = opc;
        Ok(subscriber)
    }

    /// A MILENAGE subscriber.
    pub fn milenage(k: &[u8; 16], opc: &[u8; 16]) -> Self {
        Self {
            k: padded(k),
            k_octets: 16,
            opc: padded(opc),
            algorithm: Algorithm::Milenage,
        }
    }

    /// The algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// K, for wrapping. Named so that each use stands out in review.
    pub fn expose_k(&self) -> &[u8] {
        self.k.get(..usize::from(self.k_octets)).unwrap_or(&self.k)
    }

    /// OPc (16 octets) or TOPc (32), for wrapping.
    pub fn expose_opc(&self) -> &[u8] {
        match self.algorithm {
            Algorithm::Milenage => first(&self.opc),
            Algorithm::Tuak { .. } => &self.opc,
        }
    }

    /// f1 to f5.
    pub fn vector(&self, rand: &[u8; 16], sqn: &[u8; 6], amf: &[u8; 2]) -> AkaVector {
        match self.algorithm {
            Algorithm::Milenage => self.milenage_keyed(rand).vector(sqn, amf),
            Algorithm::Tuak { res, .. } => self.tuak().vector(rand, sqn, amf, res),
        }
    }

    /// AUTN = SQN xor AK ‖ AMF ‖ MAC-A.
    pub fn autn(&self, rand: &[u8; 16], sqn: &[u8; 6], amf: &[u8; 2]) -> [u8; 16] {
        self.vector(rand, sqn, amf).autn(sqn, amf)
    }

    /// The card's side of AUTN: the vector, SQN and AMF, or `None` when MAC-A is wrong.
    pub fn check_autn(
        &self,
        rand: &[u8; 16],
        autn: &[u8; 16],
    ) -> Option<(AkaVector, [u8; 6], [u8; 2])> {
        let (concealed, rest) = autn.split_first_chunk::<6>()?;
        let (amf, mac_a) = rest.split_first_chunk::<2>()?;
        // f5 does not depend on SQN.
        let ak = Zeroizing::new(self.vector(rand, &[0; 6], amf).ak);
        let sqn = xor(concealed, &ak);
        let vector = self.vector(rand, &sqn, amf);
        bool::from(vector.mac_a.ct_eq(mac_a)).then_some((vector, sqn, *amf))
    }

    /// MAC-S (f1*, with AMF 0000) and AK* (f5*) for the card's SQN_MS.
    pub fn resync_mac(&self, rand: &[u8; 16], sqn_ms: &[u8; 6]) -> ([u8; 8], [u8; 6]) {
        match self.algorithm {
            Algorithm::Milenage => self.milenage_keyed(rand).resync(sqn_ms, &AMF_RESYNC),
            Algorithm::Tuak { .. } => self.tuak().resync(rand, sqn_ms, &AMF_RESYNC),
        }
    }

    /// AUTS = SQN_MS xor AK* ‖ MAC-S, what a card answers to an SQN out of range.
    pub fn auts(&self, rand: &[u8; 16], sqn_ms: &[u8; 6]) -> [u8; 14] {
        let (mac_s, ak_star) = self.resync_mac(rand, sqn_ms);
        let [a, b, c, d, e, f] = xor(sqn_ms, &ak_star);
        let [s, t, u, v, w, x, y, z] = mac_s;
        [a, b, c, d, e, f, s, t, u, v, w, x, y, z]
    }

    /// SQN_MS out of AUTS, or `None` when MAC-S is wrong. `rand` is that of the challenge which the AUTS answers.
    pub fn check_auts(&self, rand: &[u8; 16], auts: &[u8; 14]) -> Option<[u8; 6]> {
        let (concealed, mac_s) = auts.split_first_chunk::<6>()?;
        // f5* does not depend on SQN.
        let (_, ak_star) = self.resync_mac(rand, &[0; 6]);
        let sqn_ms = xor(concealed, &ak_star);
        let (expected, _) = self.resync_mac(rand, &sqn_ms);
        bool::from(expected.ct_eq(mac_s)).then_some(sqn_ms)
    }

    fn k16(&self) -> &[u8; 16] {
        first(&self.k)
    }

    fn milenage_keyed(&self, rand: &[u8; 16]) -> milenage::Keyed {
        milenage::Keyed::new(self.k16(), first(&self.opc), rand)
    }

    fn tuak(&self) -> tuak::Tuak<'_> {
        let iterations = match self.algorithm {
            Algorithm::Tuak { iterations, .. } => iterations,
            Algorithm::Milenage => 1,
        };
        tuak::Tuak {
            k: self.expose_k(),
            topc: &self.opc,
            iterations,
        }
    }
}

impl AkaVector {
    /// AUTN = SQN xor AK ‖ AMF ‖ MAC-A, of the same SQN and AMF as the vector.
    pub fn autn(&self, sqn: &[u8; 6], amf: &[u8; 2]) -> [u8; 16] {
        let [a, b, c, d, e, f] = self.sqn_xor_ak(sqn);
        let [g, h] = *amf;
        let [s, t, u, v, w, x, y, z] = self.mac_a;
        [a, b, c, d, e, f, g, h, s, t, u, v, w, x, y, z]
    }

    /// SQN xor AK.
    pub fn sqn_xor_ak(&self, sqn: &[u8; 6]) -> [u8; 6] {
        xor(sqn, &self.ak)
    }

    /// CK ‖ IK, the key of the derivations of TS 33.501 annex A and of [`ambit_protocol::aka`].
    pub fn ck_ik(&self) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        for (to, from) in key.iter_mut().zip(self.ck.iter().chain(&self.ik)) {
            *to = *from;
        }
        key
    }
}

impl Res {
    fn new(octets: &[u8]) -> Self {
        let octets = octets.get(..16).unwrap_or(octets);
        Self {
            octets: padded(octets),
            len: u8::try_from(octets.len()).unwrap_or(16),
        }
    }

    /// RES as a card gave it, 4 to 16 octets (TS 33.102 clause 6.3.7 allows any length between).
    #[cfg(feature = "card")]
    pub(crate) fn from_card(octets: &[u8]) -> Option<Self> {
        (4..=16).contains(&octets.len()).then(|| Self::new(octets))
    }

    /// The octets: 4, 8 or 16; from a real card 4 to 16.
    pub fn as_slice(&self) -> &[u8] {
        self.octets
            .get(..usize::from(self.len))
            .unwrap_or(&self.octets)
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subscriber({:?}, ..)", self.algorithm)
    }
}

impl fmt::Debug for AkaVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AkaVector(..)")
    }
}

impl fmt::Debug for Res {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Res(..)")
    }
}

/// `octets`, filled up with zeros (or cut) to `N`.
fn padded<const N: usize>(octets: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(octets) {
        *to = *from;
    }
    out
}

fn first(octets: &[u8; 32]) -> &[u8; 16] {
    let (halves, _) = octets.as_chunks::<16>();
    halves.first().unwrap_or(&[0; 16])
}

fn xor(a: &[u8; 6], b: &[u8; 6]) -> [u8; 6] {
    let mut out = *a;
    for (o, b) in out.iter_mut().zip(b) {
        *o ^= *b;
    }
    out
}

#[cfg(test)]
mod tests;
