//! The key-encryption key: wraps device keys and chain seeds at rest. It lives outside the store.
//!
//! Wrapping is AES-256-GCM-SIV (RFC 8452) with a random nonce. The additional data says what the secret is and whose, so
//! that somebody who can write to the store cannot give one device's key to another.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};
use ambit_store::Store;
use zeroize::Zeroizing;

use crate::{Entropy, OpenError};

const NONCE_OCTETS: usize = 12;
const FILE_OCTETS_MAX: usize = 1024;
const CHECK: &str = "kek_check";

/// A key-encryption key of 256 bits.
pub struct Kek {
    cipher: Aes256GcmSiv,
}

/// Why a KEK cannot be had or does not fit.
#[derive(Debug, thiserror::Error)]
pub enum KekError {
    /// The file cannot be read or made.
    #[error("{path}: {error}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file does not hold 64 hexadecimal digits.
    #[error("{path}: must hold 64 hexadecimal digits", path = .0.display())]
    Format(PathBuf),
    /// Others than its owner may read or write the file.
    #[error("{path}: has mode {mode:o}, must be readable by its owner alone (0600)", path = path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// The permission bits found.
        mode: u32,
    },
    /// The store was made with another KEK.
    #[error("does not fit this store, whose keys were wrapped with another one")]
    Mismatch,
    /// A wrapped secret does not open: altered, or another record's.
    #[error("{0} does not open: altered, or wrapped for another record")]
    Unwrap(String),
}

impl KekError {
    /// The stable name of the error.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Io { .. } => "kek_io",
            Self::Format(_) => "kek_format",
            Self::Permissions { .. } => "kek_permissions",
            Self::Mismatch => "kek_mismatch",
            Self::Unwrap(_) => "kek_unwrap",
        }
    }
}

impl Kek {
    /// Takes 32 octets.
    pub fn from_octets(octets: &[u8; 32]) -> Self {
        Self {
            cipher: Aes256GcmSiv::new(octets.into()),
        }
    }

    /// Reads a KEK file: 64 hexadecimal digits, mode 0600.
    ///
    /// # Errors
    /// [`KekError`] naming the file.
    pub fn load(path: &Path) -> Result<Self, KekError> {
        let io = |error| KekError::Io {
            path: path.into(),
            error,
        };
        let mut file = File::open(path).map_err(io)?;
        let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KekError::Permissions {
                path: path.into(),
                mode,
            });
        }
        // Room for all that is read, so that no copy is left behind by growing.
        let mut text = Zeroizing::new(Vec::with_capacity(FILE_OCTETS_MAX + 1));
        Read::by_ref(&mut file)
            .take(FILE_OCTETS_MAX as u64)
            .read_to_end(&mut text)
            .map_err(io)?;
        let mut octets = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim_ascii(), &mut *octets)
            .map_err(|_| KekError::Format(path.into()))?;
        Ok(Self::from_octets(&octets))
    }

    /// Makes a KEK file that must not be there yet, durably, before anything is wrapped with it.
    ///
    /// # Errors
    /// [`OpenError`] naming the file, or the random source.
    pub fn create(path: &Path, entropy: &mut Entropy) -> Result<Self, OpenError> {
        let io = |error| KekError::Io {
            path: path.into(),
            error,
        };
        let mut octets = Zeroizing::new([0; 32]);
        entropy(&mut *octets)?;
        let text = Zeroizing::new(hex::encode(*octets) + "\n");
        // Written beside and linked into place: the name never holds half a key, and an existing KEK is never replaced.
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        // What an interrupted start left, or somebody put there, may be readable by others or lead elsewhere.
        match std::fs::remove_file(&part) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(io(error).into()),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&part)
            .map_err(io)?;
        file.write_all(text.as_bytes()).map_err(io)?;
        file.sync_all().map_err(io)?;
        let linked = std::fs::hard_link(&part, path).map_err(io);
        std::fs::remove_file(&part).map_err(io)?;
        linked?;
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)?;
        }
        // From the file: whatever another process did meanwhile, the key in use is the one that a restart will find.
        Ok(Self::load(path)?)
    }

    /// Wraps a secret for one `purpose` (and owner, part of it): nonce (12) ‖ ciphertext ‖ tag (16).
    pub(crate) fn wrap(
        &self,
        purpose: &Purpose<'_>,
        secret: &[u8],
        entropy: &mut Entropy,
    ) -> Result<Vec<u8>, OpenError> {
        let mut nonce = [0; NONCE_OCTETS];
        entropy(&mut nonce)?;
        let payload = Payload {
            msg: secret,
            aad: &purpose.aad(),
        };
        let sealed = self.cipher.encrypt(&Nonce::from(nonce), payload);
        // Fails only above 2^36 octets.
        let sealed = sealed.map_err(|_| KekError::Unwrap(purpose.to_string()))?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Unwraps a secret of any length.
    pub(crate) fn unwrap_any(
        &self,
        purpose: &Purpose<'_>,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KekError> {
        let fail = || KekError::Unwrap(purpose.to_string());
        let (nonce, sealed) = wrapped
            .split_first_chunk::<NONCE_OCTETS>()
            .ok_or_else(fail)?;
        let payload = Payload {
            msg: sealed,
            aad: &purpose.aad(),
        };
        self.cipher
            .decrypt(&Nonce::from(*nonce), payload)
            .map(Zeroizing::new)
            .map_err(|_| fail())
    }

    /// Unwraps a secret of `N` octets.
    pub(crate) fn unwrap<const N: usize>(
        &self,
        purpose: &Purpose<'_>,
        wrapped: &[u8],
    ) -> Result<Zeroizing<[u8; N]>, KekError> {
        let plain = self.unwrap_any(purpose, wrapped)?;
        <[u8; N]>::try_from(plain.as_slice())
            .map(Zeroizing::new)
            .map_err(|_| KekError::Unwrap(purpose.to_string()))
    }

    /// Checks this KEK against the store, or notes it there when the store is new.
    pub(crate) fn check_or_enrol(
        &self,
        store: &mut dyn Store,
        entropy: &mut Entropy,
    ) -> Result<(), OpenError> {
        let check = match store.meta(CHECK)? {
            Some(check) => check,
            // Another process may be doing the same, with another KEK: one of them is noted and counts for both.
            None => store.meta_init(CHECK, &self.wrap(&Purpose::Check, &[], entropy)?)?,
        };
        match self.unwrap::<0>(&Purpose::Check, &check) {
            Ok(_) => Ok(()),
            Err(_) => Err(KekError::Mismatch.into()),
        }
    }
}

impl std::fmt::Debug for Kek {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kek(..)")
    }
}

/// What a wrapped secret is, and whose.
pub(crate) enum Purpose<'a> {
    /// K of a device.
    DeviceKey { device_id: &'a [u8] },
    /// K and OPc or TOPc of a subscriber.
    SubscriberSecrets { device_id: &'a [u8] },
    /// Private keys of the home network, for SUCIs.
    HomeNetworkKeys { snid: &'a [u8; 9] },
    /// Seed of a beacon chain.
    ChainSeed { snid: &'a [u8; 9], last_epoch: u32 },
    /// The key that signs checkpoints of the evidence.
    EvidenceKey,
    /// The key that the secrets of subscriptions come from.
    DeliveryKey,
    /// The key under which secrets of AFs are checked.
    AfKey,
    /// Nothing: an empty secret that only the right KEK opens.
    Check,
}

impl Purpose<'_> {
    fn aad(&self) -> Vec<u8> {
        match self {
            Self::DeviceKey { device_id } => [b"ambit K_AIOT\0", *device_id].concat(),
            Self::SubscriberSecrets { device_id } => [b"ambit UICC\0", *device_id].concat(),
            Self::HomeNetworkKeys { snid } => [&b"ambit SUCI\0"[..], &snid[..]].concat(),
            Self::ChainSeed { snid, last_epoch } => {
                [&b"ambit chain\0"[..], &snid[..], &last_epoch.to_be_bytes()].concat()
            }
            Self::EvidenceKey => b"ambit evidence\0".to_vec(),
            Self::DeliveryKey => b"ambit delivery\0".to_vec(),
            Self::AfKey => b"ambit AF\0".to_vec(),
            Self::Check => b"ambit check\0".to_vec(),
        }
    }
}

impl std::fmt::Display for Purpose<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::DeviceKey { device_id } => {
                write!(
                    f,
                    "key of device {}",
                    ambit_provisioning::format_device_id(device_id)
                )
            }
            Self::SubscriberSecrets { device_id } => write!(
                f,
                "UICC secrets of device {}",
                ambit_provisioning::format_device_id(device_id)
            ),
            Self::HomeNetworkKeys { snid } => {
                write!(f, "home network keys of {}", hex::encode(snid))
            }
            Self::ChainSeed { snid, .. } => write!(f, "chain seed of {}", hex::encode(snid)),
            Self::EvidenceKey => f.write_str("evidence key"),
            Self::DeliveryKey => f.write_str("delivery key"),
            Self::AfKey => f.write_str("key for secrets of AFs"),
            Self::Check => f.write_str("check value"),
        }
    }
}
