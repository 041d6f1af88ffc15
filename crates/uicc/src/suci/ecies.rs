//! The two ECIES profiles of TS 33.501 annex C.3.4: X25519 or P-256, X9.63 KDF with SHA-256, AES-128-CTR, HMAC-SHA-256 cut to
//! 8 octets.

use core::fmt;

use cipher::{KeyIvInit, StreamCipher};
use hmac::{Hmac, KeyInit, Mac};
use p256::elliptic_curve::sec1::ToSec1Point;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::identity::{Scheme, SuciError};

const TAG_LEN: usize = 8;
/// Draws of a P-256 scalar before the random source is given up: a sound one fails each with probability 2^-32.
const DRAWS_MAX: usize = 8;

/// A home network public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// Profile A: X25519, 32 octets (RFC 7748).
    A([u8; 32]),
    /// Profile B: P-256, compressed, 33 octets (SEC 1).
    B([u8; 33]),
}

/// A home network private key. Wiped on drop, never printed.
pub enum PrivateKey {
    /// Profile A.
    A(x25519_dalek::StaticSecret),
    /// Profile B.
    B(p256::SecretKey),
}

impl PublicKey {
    /// From octets: 32 are an X25519 key, 33 a compressed P-256 point, 65 an uncompressed one.
    ///
    /// # Errors
    /// [`SuciError::Point`] for another length or what is no point of P-256.
    pub fn from_octets(octets: &[u8]) -> Result<Self, SuciError> {
        if let Ok(octets) = <[u8; 32]>::try_from(octets) {
            return Ok(Self::A(octets));
        }
        let point = p256::PublicKey::from_sec1_bytes(octets).map_err(|_| SuciError::Point)?;
        compressed(&point).map(Self::B)
    }

    /// The octets, as a card stores them in EF_SUCI_Calc_Info.
    pub fn octets(&self) -> &[u8] {
        match self {
            Self::A(octets) => octets,
            Self::B(octets) => octets,
        }
    }

    /// The scheme that the key is of.
    pub const fn scheme(&self) -> Scheme {
        match self {
            Self::A(_) => Scheme::ProfileA,
            Self::B(_) => Scheme::ProfileB,
        }
    }
}

impl PrivateKey {
    /// A Profile A key from 32 octets. The caller wipes its own copy.
    pub fn profile_a(octets: [u8; 32]) -> Self {
        Self::A(octets.into())
    }

    /// A Profile B key from a 32-octet scalar. The caller wipes its own copy.
    ///
    /// # Errors
    /// [`SuciError::Point`] when the scalar is 0 or not below the order of the curve.
    pub fn profile_b(octets: &[u8; 32]) -> Result<Self, SuciError> {
        p256::SecretKey::from_bytes(octets.into())
            .map(Self::B)
            .map_err(|_| SuciError::Point)
    }

    /// The public key, for cards.
    ///
    /// # Errors
    /// [`SuciError::Point`], which a valid key does not give.
    pub fn public(&self) -> Result<PublicKey, SuciError> {
        match self {
            Self::A(key) => Ok(PublicKey::A(x25519_dalek::PublicKey::from(key).to_bytes())),
            Self::B(key) => compressed(&key.public_key()).map(PublicKey::B),
        }
    }

    /// The scheme that the key is of.
    pub const fn scheme(&self) -> Scheme {
        match self {
            Self::A(_) => Scheme::ProfileA,
            Self::B(_) => Scheme::ProfileB,
        }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({:?}, ..)", self.scheme())
    }
}

/// Scheme output: ephemeral public key ‖ ciphertext ‖ MAC tag.
pub(super) fn conceal(
    key: &PublicKey,
    plaintext: &[u8],
    mut random: impl FnMut(&mut [u8]),
) -> Result<Vec<u8>, SuciError> {
    let mut octets = Zeroizing::new([0u8; 32]);
    let mut output;
    let keys = match key {
        PublicKey::A(home) => {
            random(&mut *octets);
            let secret = x25519_dalek::StaticSecret::from(*octets);
            let shared = secret.diffie_hellman(&(*home).into());
            if !shared.was_contributory() {
                return Err(SuciError::Point);
            }
            output = x25519_dalek::PublicKey::from(&secret).to_bytes().to_vec();
            Keys::derive(shared.as_bytes(), &output)
        }
        PublicKey::B(home) => {
            let home = p256::PublicKey::from_sec1_bytes(home).map_err(|_| SuciError::Point)?;
            let secret = (0..DRAWS_MAX)
                .find_map(|_| {
                    random(&mut *octets);
                    p256::SecretKey::from_bytes((&*octets).into()).ok()
                })
                .ok_or(SuciError::Point)?;
            output = compressed(&secret.public_key())?.to_vec();
            let shared = secret.diffie_hellman(&home);
            Keys::derive(shared.raw_secret_bytes(), &output)
        }
    };
    let mut ciphertext = plaintext.to_vec();
    keys.apply(&mut ciphertext);
    let tag = keys.tag(&ciphertext);
    output.append(&mut ciphertext);
    output.extend_from_slice(&tag);
    Ok(output)
}

/// The scheme input, released only when the tag is right.
pub(super) fn reveal(key: &PrivateKey, output: &[u8]) -> Result<Vec<u8>, SuciError> {
    let (keys, rest) = match key {
        PrivateKey::A(secret) => {
            let (ephemeral, rest) = output
                .split_first_chunk::<32>()
                .ok_or(SuciError::Malformed)?;
            let shared = secret.diffie_hellman(&(*ephemeral).into());
            if !shared.was_contributory() {
                return Err(SuciError::Point);
            }
            (Keys::derive(shared.as_bytes(), ephemeral), rest)
        }
        PrivateKey::B(secret) => {
            let (ephemeral, rest) = output
                .split_first_chunk::<33>()
                .ok_or(SuciError::Malformed)?;
            // Thirty-three octets hold a compressed point only; annex C.3.4.2 allows no other.
            let point =
                p256::PublicKey::from_sec1_bytes(ephemeral).map_err(|_| SuciError::Point)?;
            let shared = secret.diffie_hellman(&point);
            (Keys::derive(shared.raw_secret_bytes(), ephemeral), rest)
        }
    };
    let (ciphertext, tag) = rest
        .split_last_chunk::<TAG_LEN>()
        .ok_or(SuciError::Malformed)?;
    if !bool::from(keys.tag(ciphertext).ct_eq(tag)) {
        return Err(SuciError::BadMac);
    }
    let mut plaintext = ciphertext.to_vec();
    keys.apply(&mut plaintext);
    Ok(plaintext)
}

/// Encryption key (16) ‖ initial counter block (16), and MAC key (32).
struct Keys {
    encryption: Zeroizing<[u8; 32]>,
    mac: Zeroizing<[u8; 32]>,
}

impl Keys {
    /// X9.63 KDF: SHA-256 over Z, a counter and SharedInfo1, the ephemeral public key.
    fn derive(z: &[u8], ephemeral: &[u8]) -> Self {
        let block = |counter: u32| {
            let hash = Sha256::new()
                .chain_update(z)
                .chain_update(counter.to_be_bytes())
                .chain_update(ephemeral);
            Zeroizing::new(hash.finalize().into())
        };
        Self {
            encryption: block(1),
            mac: block(2),
        }
    }

    /// Encrypts or decrypts in place.
    fn apply(&self, data: &mut [u8]) {
        let (halves, _) = self.encryption.as_chunks::<16>();
        if let [key, counter] = halves {
            ctr::Ctr128BE::<aes::Aes128Enc>::new(key.into(), counter.into()).apply_keystream(data);
        }
    }

    fn tag(&self, ciphertext: &[u8]) -> [u8; TAG_LEN] {
        let mut block = Zeroizing::new([0u8; 64]);
        for (to, from) in block.iter_mut().zip(self.mac.iter()) {
            *to = *from;
        }
        let mut mac = Hmac::<Sha256>::new((&*block).into());
        mac.update(ciphertext);
        let full: [u8; 32] = mac.finalize().into_bytes().into();
        full.first_chunk().copied().unwrap_or_default()
    }
}

fn compressed(point: &p256::PublicKey) -> Result<[u8; 33], SuciError> {
    point
        .to_sec1_point(true)
        .as_bytes()
        .try_into()
        .map_err(|_| SuciError::Point)
}
