//! Transport keys: one AES key for each column that holds secrets, as GSMA FS.28 recommends and card makers do it.
//!
//! A value is AES-CBC without padding, with an initialisation vector of 16 octets 23, in hexadecimal: the encryption that
//! Osmocom's pySim reads (`--csv-column-key NAME:KEY`). It hides values and protects nothing else. Secrets are random, so
//! equal blocks do not occur; and a check value beside each key ([`kcv`]) tells a wrong transport key, or a changed value.

use std::collections::BTreeMap;
use std::fmt::Write;

use aes::{Aes128, Aes192, Aes256};
use cipher::{
    BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, KeyInit, KeyIvInit,
};
use zeroize::Zeroizing;

/// Columns that hold secrets.
pub const SECRET_COLUMNS: [&str; 9] = [
    "KI", "OPC", "TOPC", "PIN1", "PUK1", "PIN2", "PUK2", "ADM1", "K_AIOT",
];

/// pySim's.
const IV: [u8; 16] = [0x23; 16];
/// Octets of a generated key.
const KEY_OCTETS: usize = 32;

/// Transport keys by column. Wiped on drop, never printed.
#[derive(Default)]
pub struct TransportKeys(BTreeMap<String, Zeroizing<Vec<u8>>>);

/// What is wrong with a file of transport keys.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {rule}")]
pub struct TransportKeyError {
    /// Line, from 1.
    pub line: usize,
    /// The rule that is broken.
    pub rule: String,
}

impl TransportKeys {
    /// From text: a line `COLUMN:KEY` each, KEY of 32, 48 or 64 hexadecimal digits; empty lines and lines that begin with #
    /// do not count.
    ///
    /// # Errors
    /// [`TransportKeyError`] for the first line that is something else. Keys are not repeated in it.
    pub fn parse(text: &str) -> Result<Self, TransportKeyError> {
        let mut keys = Self::default();
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let broken = |rule: String| TransportKeyError { line, rule };
            let (column, key) = text
                .split_once(':')
                .ok_or_else(|| broken("must be COLUMN:KEY".into()))?;
            let column = column.trim().to_ascii_uppercase();
            let key = hex::decode(key.trim())
                .map(Zeroizing::new)
                .ok()
                .filter(|key| matches!(key.len(), 16 | 24 | 32))
                .ok_or_else(|| {
                    broken(format!(
                        "{column}: the key must be 32, 48 or 64 hexadecimal digits"
                    ))
                })?;
            if keys.0.contains_key(&column) {
                return Err(broken(format!("{column} stands twice")));
            }
            keys.0.insert(column, key);
        }
        Ok(keys)
    }

    /// A new key for each of [`SECRET_COLUMNS`].
    ///
    /// # Errors
    /// What the random source gives.
    pub fn generate(
        random: &mut dyn FnMut(&mut [u8]) -> std::io::Result<()>,
    ) -> std::io::Result<Self> {
        let mut keys = Self::default();
        for column in SECRET_COLUMNS {
            let mut key = Zeroizing::new(vec![0; KEY_OCTETS]);
            random(&mut key)?;
            keys.0.insert(column.into(), key);
        }
        Ok(keys)
    }

    /// The text that [`Self::parse`] reads.
    pub fn to_text(&self) -> Zeroizing<String> {
        // Room for all of it, so that no copy is left behind by growing.
        let mut text = Zeroizing::new(String::with_capacity(self.0.len() * 100));
        for (column, key) in &self.0 {
            let key = Zeroizing::new(hex::encode(&**key));
            let _ = writeln!(text, "{column}:{}", *key);
        }
        text
    }

    /// Whether there is a key for a column.
    pub fn covers(&self, column: &str) -> bool {
        self.0.contains_key(column)
    }

    /// A value as it stands in the file. What is no whole number of blocks (PINs, ADM1: 8 octets) is filled up with FF, as
    /// PINs are in TS 102 221.
    pub(crate) fn seal(&self, column: &str, value: &[u8]) -> Option<String> {
        let mut blocks = Zeroizing::new(value.to_vec());
        blocks.resize(value.len().next_multiple_of(16), 0xFF);
        match self.0.get(column)?.len() {
            16 => self.encrypt::<Aes128>(column, &mut blocks),
            24 => self.encrypt::<Aes192>(column, &mut blocks),
            _ => self.encrypt::<Aes256>(column, &mut blocks),
        }?;
        Some(hex::encode(&*blocks))
    }

    /// The octets behind a text of whole blocks.
    pub(crate) fn open(&self, column: &str, text: &str) -> Option<Zeroizing<Vec<u8>>> {
        let mut blocks = Zeroizing::new(hex::decode(text).ok()?);
        if blocks.len() % 16 != 0 {
            return None;
        }
        match self.0.get(column)?.len() {
            16 => self.decrypt::<Aes128>(column, &mut blocks),
            24 => self.decrypt::<Aes192>(column, &mut blocks),
            _ => self.decrypt::<Aes256>(column, &mut blocks),
        }?;
        Some(blocks)
    }

    fn encrypt<C: BlockCipherEncrypt + KeyInit>(
        &self,
        column: &str,
        octets: &mut [u8],
    ) -> Option<()> {
        let key = self.0.get(column)?;
        let mut cbc = cbc::Encryptor::<C>::new_from_slices(key, &IV).ok()?;
        let (blocks, _) = cipher::Array::slice_as_chunks_mut(octets);
        cbc.encrypt_blocks(blocks);
        Some(())
    }

    fn decrypt<C: BlockCipherDecrypt + KeyInit>(
        &self,
        column: &str,
        octets: &mut [u8],
    ) -> Option<()> {
        let key = self.0.get(column)?;
        let mut cbc = cbc::Decryptor::<C>::new_from_slices(key, &IV).ok()?;
        let (blocks, _) = cipher::Array::slice_as_chunks_mut(octets);
        cbc.decrypt_blocks(blocks);
        Some(())
    }
}

impl std::fmt::Debug for TransportKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns: Vec<&String> = self.0.keys().collect();
        write!(f, "TransportKeys({columns:?}, ..)")
    }
}

/// Check value of a key of 16 or 32 octets: the first 3 octets of AES over a block of zeros, in hexadecimal.
pub(crate) fn kcv(key: &[u8]) -> Option<String> {
    let mut block = cipher::Array::from([0; 16]);
    match key.len() {
        16 => Aes128::new_from_slice(key).ok()?.encrypt_block(&mut block),
        32 => Aes256::new_from_slice(key).ok()?.encrypt_block(&mut block),
        _ => return None,
    }
    block.get(..3).map(hex::encode)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values from `openssl enc -aes-128-cbc -iv 2323.. -nopad` and its like.
    #[test]
    fn values_are_those_that_openssl_gives() {
        let text = "KI:000102030405060708090a0b0c0d0e0f\nOPC: 000102030405060708090A0B0C0D0E0F1011121314151617\n\
                    # a comment\n\nadm1:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";
        let keys = TransportKeys::parse(text).unwrap();
        let value: Vec<u8> = (0x40..0x60).collect();
        for (column, value, expected) in [
            ("KI", &value[..16], KI_SEALED),
            ("OPC", &value[..16], OPC_SEALED),
            ("ADM1", &value[..8], ADM1_SEALED),
            ("KI", &value[..], KI_SEALED_32),
        ] {
            let sealed = keys.seal(column, value).unwrap();
            assert_eq!(sealed, expected, "{column}");
            let opened = keys.open(column, &sealed).unwrap();
            assert_eq!(&opened[..value.len()], value);
            assert!(opened[value.len()..].iter().all(|octet| *octet == 0xFF));
        }
        assert_eq!(kcv(&value[..16]).unwrap(), KCV_16);
        assert_eq!(kcv(&value).unwrap(), KCV_32);
        assert!(keys.open("KI", "00").is_none() && keys.open("PIN1", KI_SEALED).is_none());
        assert!(!format!("{keys:?}").contains("0001"));
        let again = TransportKeys::parse(&keys.to_text()).unwrap();
        assert_eq!(again.to_text(), keys.to_text());
    }

    const KI_SEALED: &str = "312f67a23639f5030ec4edd56e3321a5";
    const OPC_SEALED: &str = "f4049c966149960786777bb06a3db9ac";
    const ADM1_SEALED: &str = "5584c548b3ea56e6f9deb3ed17d994a5";
    const KI_SEALED_32: &str = "312f67a23639f5030ec4edd56e3321a5588e5366f1de9f4130b464ae7c1ea19a";
    const KCV_16: &str = "189956";
    const KCV_32: &str = "66e4d3";

    #[test]
    fn bad_lines_are_named_and_keys_not_repeated() {
        for (text, expected) in [
            ("KI=00", "line 1: must be COLUMN:KEY"),
            (
                "\nki:0011",
                "line 2: KI: the key must be 32, 48 or 64 hexadecimal digits",
            ),
            (
                "KI:000102030405060708090a0b0c0d0e0f\nki:000102030405060708090a0b0c0d0e0f",
                "line 2: KI stands twice",
            ),
        ] {
            assert_eq!(
                TransportKeys::parse(text).unwrap_err().to_string(),
                expected
            );
        }
    }
}
