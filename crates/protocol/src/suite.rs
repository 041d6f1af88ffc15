//! The three suites of section 2: a pseudo-random function `PRF(k, label, x)` and a keystream `KS(k, iv12, n)`.

use aes::Aes128Enc;
use ascon_xof128::{AsconXof128, ExtendableOutput, Update, XofReader};
use cipher::KeyInit;
use core::fmt;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::cmac::{CmacKey, apply_ctr};
use crate::schedule::{Input, Label};

/// A suite: which PRF and which keystream a device uses. Fixed per device profile, never negotiated on the air.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Suite {
    /// Suite 1 (default): AES-128-CMAC (RFC 4493), AES-128-CTR.
    AesCmac = 1,
    /// Suite 2: HMAC-SHA-256 cut to 16 octets, AES-128-CTR.
    HmacSha256 = 2,
    /// Suite 3: Ascon-XOF128 (SP 800-232) for both.
    AsconXof128 = 3,
}

impl Suite {
    /// All suites, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::AesCmac, Self::HmacSha256, Self::AsconXof128];

    /// The suite of number 1, 2 or 3; `None` for any other.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::AesCmac),
            2 => Some(Self::HmacSha256),
            3 => Some(Self::AsconXof128),
            _ => None,
        }
    }

    /// The suite's number as in section 2.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// A key expanded for PRF evaluations: the AES schedule and CMAC subkeys, or the HMAC or Ascon state after the key.
pub struct PrfKey(Expanded);

// The AES variant is the common one and by far the most evaluated: boxing it would need a heap and a pointer chase.
#[allow(clippy::large_enum_variant)]
enum Expanded {
    Cmac(CmacKey),
    Hmac(Hmac<Sha256>),
    Ascon(AsconXof128),
}

impl PrfKey {
    /// Expands a 16-octet key for `suite`.
    #[inline(always)]
    pub fn new(suite: Suite, key: &[u8; 16]) -> Self {
        Self(match suite {
            Suite::AesCmac => Expanded::Cmac(CmacKey::new(key)),
            Suite::HmacSha256 => {
                // HMAC pads a short key with zeros to the block, so this is the 16-octet key (RFC 2104).
                let mut block = Zeroizing::new([0u8; 64]);
                if let Some(start) = block.first_chunk_mut::<16>() {
                    *start = *key;
                }
                Expanded::Hmac(<Hmac<Sha256> as KeyInit>::new((&*block).into()))
            }
            Suite::AsconXof128 => {
                let mut xof = AsconXof128::default();
                xof.update(key);
                Expanded::Ascon(xof)
            }
        })
    }

    /// `PRF(k, label, x)` with `x` given in parts that are taken as one string. 16 octets.
    pub fn prf(&self, label: Label, x: &[&[u8]]) -> [u8; 16] {
        match &self.0 {
            Expanded::Cmac(key) => key.mac(label.0, x),
            Expanded::Hmac(key) => {
                let mut mac = key.clone();
                Mac::update(&mut mac, &[label.0]);
                for part in x {
                    Mac::update(&mut mac, part);
                }
                let full: [u8; 32] = mac.finalize().into_bytes().into();
                let (half, _) = full.split_first_chunk().unwrap_or((&[0; 16], &[]));
                *half
            }
            Expanded::Ascon(key) => {
                let mut xof = key.clone();
                xof.update(&[label.0]);
                for part in x {
                    xof.update(part);
                }
                let mut out = [0u8; 16];
                xof.finalize_xof().read(&mut out);
                out
            }
        }
    }

    /// One evaluation of a scheduled [`Input`].
    pub fn evaluate(&self, input: &Input) -> [u8; 16] {
        self.prf(input.label(), &[input.x()])
    }
}

impl fmt::Debug for PrfKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrfKey(..)")
    }
}

/// A key expanded for `KS`.
pub(crate) enum KeystreamKey {
    Ctr(Aes128Enc),
    Ascon(AsconXof128),
}

impl KeystreamKey {
    #[inline(always)]
    pub(crate) fn new(suite: Suite, key: &[u8; 16]) -> Self {
        match suite {
            Suite::AesCmac | Suite::HmacSha256 => Self::Ctr(Aes128Enc::new(key.into())),
            Suite::AsconXof128 => {
                let mut xof = AsconXof128::default();
                xof.update(key);
                xof.update(&[Label::KEYSTREAM.0]);
                Self::Ascon(xof)
            }
        }
    }

    /// Adds (xors) `KS(k, iv12, n)` to `data`, n being its length. Lengths here stay far below the 2^32 blocks of CTR.
    pub(crate) fn apply(&self, iv12: &[u8; 12], data: &mut [u8]) {
        match self {
            Self::Ctr(cipher) => apply_ctr(cipher, iv12, data),
            Self::Ascon(keyed) => {
                let mut xof = keyed.clone();
                xof.update(iv12);
                let mut reader = xof.finalize_xof();
                for chunk in data.chunks_mut(16) {
                    let mut stream = [0u8; 16];
                    reader.read(&mut stream);
                    for (octet, s) in chunk.iter_mut().zip(stream) {
                        *octet ^= s;
                    }
                }
            }
        }
    }
}

/// `KS(k, iv12, n)` as octets: the keystream itself, for vectors and models. n is the length of `out`.
pub fn keystream(suite: Suite, key: &[u8; 16], iv12: &[u8; 12], out: &mut [u8]) {
    out.fill(0);
    KeystreamKey::new(suite, key).apply(iv12, out);
}
