//! Key derivation of a UICC registration (section 7): what stands between the card's AKA output and K_AIOT.
//!
//! MILENAGE and TUAK belong to the card and the ADM; this module takes RES, CK, IK and SQN xor AK from them.

use core::fmt::{self, Write};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::area::Snid;
use crate::key::{KAiotf, RootKey};
use crate::schedule::{Label, cut};
use crate::suite::{PrfKey, Suite};

/// RAND of the AKA run, made from both sides' nonces: `HMAC-SHA-256(N_r, "AIOT-RAND" ‖ RAND_d ‖ SN name)[0..16]`.
pub fn rand(n_r: &[u8; 16], rand_d: &[u8; 8], snid: &Snid) -> [u8; 16] {
    let mut mac = keyed(n_r);
    mac.update(b"AIOT-RAND");
    mac.update(rand_d);
    update_with_name(&mut mac, snid);
    let (rand, _) = halves(mac);
    rand
}

/// RES* (16 octets) of TS 33.501 annex A.4, from CK ‖ IK, RAND and RES (4 to 16 octets).
pub fn res_star(ck_ik: &[u8; 32], snid: &Snid, rand: &[u8; 16], res: &[u8]) -> [u8; 16] {
    let mut kdf = Kdf::new(ck_ik, 0x6B);
    kdf.name(snid).parameter(rand).parameter(res);
    let (_, low) = halves(kdf.0);
    low
}

/// K_AIOT = KDF(CK ‖ IK, FC = F0, SN name, RAND_d, SQN xor AK)\[0..16\], KDF of TS 33.220 annex B.2; FC F0 is Ambit's.
pub fn k_aiot(ck_ik: &[u8; 32], snid: &Snid, rand_d: &[u8; 8], sqn_xor_ak: &[u8; 6]) -> RootKey {
    let mut kdf = Kdf::new(ck_ik, 0xF0);
    kdf.name(snid).parameter(rand_d).parameter(sqn_xor_ak);
    let (high, _) = halves(kdf.0);
    RootKey::new(high)
}

/// K_AIOTF of the registration exchange: PRF(K_AIOT, 16, RAND ‖ RAND_d).
pub fn k_aiotf(suite: Suite, k_aiot: &RootKey, rand: &[u8; 16], rand_d: &[u8; 8]) -> KAiotf {
    let prf = PrfKey::new(suite, k_aiot.expose());
    KAiotf::new(prf.prf(Label::AKA_K_AIOTF, &[rand, rand_d]))
}

/// RES8, what the device sends: the first 8 octets of RES*.
pub fn res8(res_star: &[u8; 16]) -> [u8; 8] {
    cut(res_star)
}

/// The KDF of TS 33.220 annex B.2: HMAC-SHA-256 over FC and, for each parameter, its octets and its length (u16).
struct Kdf(Hmac<Sha256>);

impl Kdf {
    fn new(key: &[u8; 32], fc: u8) -> Self {
        let mut mac = keyed(key);
        mac.update(&[fc]);
        Self(mac)
    }

    fn parameter(&mut self, octets: &[u8]) -> &mut Self {
        self.0.update(octets);
        self.0.update(&length(octets.len()));
        self
    }

    fn name(&mut self, snid: &Snid) -> &mut Self {
        let octets = update_with_name(&mut self.0, snid);
        self.0.update(&length(octets));
        self
    }
}

/// Feeds the SN name to the MAC and returns its length in octets.
fn update_with_name(mac: &mut Hmac<Sha256>, snid: &Snid) -> usize {
    struct Sink<'a>(&'a mut Hmac<Sha256>, usize);
    impl Write for Sink<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.update(text.as_bytes());
            self.1 += text.len();
            Ok(())
        }
    }
    let mut sink = Sink(mac, 0);
    // Neither the name nor the sink can fail.
    let _ = write!(sink, "{}", snid.sn_name());
    sink.1
}

/// HMAC keyed with a key of at most 64 octets (zero padding to the block is HMAC's own).
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    let mut block = Zeroizing::new([0u8; 64]);
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    Hmac::new((&*block).into())
}

fn halves(mac: Hmac<Sha256>) -> ([u8; 16], [u8; 16]) {
    let full: [u8; 32] = mac.finalize().into_bytes().into();
    let (mut high, mut low) = ([0; 16], [0; 16]);
    for (to, from) in high.iter_mut().chain(&mut low).zip(full) {
        *to = from;
    }
    (high, low)
}

fn length(octets: usize) -> [u8; 2] {
    u16::try_from(octets).unwrap_or(u16::MAX).to_be_bytes()
}
