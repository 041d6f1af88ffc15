//! Energy by a stated model: what each operation costs, from a file with its sources.

use serde::Deserialize;

use super::protocols::Protocol;

/// The file that is taken where none is given.
pub const DEFAULT: &str = include_str!("../../energy.toml");

/// Joule by operation.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Energy {
    /// A bit sent.
    pub transmit_bit: f64,
    /// A bit received.
    pub receive_bit: f64,
    /// A block of AES-128.
    pub aes_block: f64,
    /// A block of SHA-256.
    pub sha256_block: f64,
    /// A multiplication on an elliptic curve.
    pub ec_multiplication: f64,
    /// A durable write.
    pub durable_write: f64,
}

/// A file that is no such model.
#[derive(Debug, thiserror::Error)]
pub enum EnergyError {
    /// It cannot be read.
    #[error("energy: {0}")]
    Syntax(#[from] toml::de::Error),
    /// A value is out of its range.
    #[error("energy: {field}: must be a number of joule, 0 to 1")]
    Range {
        /// The field.
        field: &'static str,
    },
}

impl Energy {
    /// From TOML; all fields have to be there.
    ///
    /// # Errors
    /// [`EnergyError`].
    pub fn parse(text: &str) -> Result<Self, EnergyError> {
        let energy: Self = toml::from_str(text)?;
        for (field, joule) in [
            ("transmit_bit", energy.transmit_bit),
            ("receive_bit", energy.receive_bit),
            ("aes_block", energy.aes_block),
            ("sha256_block", energy.sha256_block),
            ("ec_multiplication", energy.ec_multiplication),
            ("durable_write", energy.durable_write),
        ] {
            if !(0.0..=1.0).contains(&joule) {
                return Err(EnergyError::Range { field });
            }
        }
        Ok(energy)
    }

    /// What an exchange costs the device in microjoule: radio, computing, writing. Where a protocol's operations were not
    /// counted, the radio is all that can be said.
    pub fn microjoule(&self, protocol: &Protocol) -> [f64; 3] {
        let bits = |octets: u64| (octets * 8) as f64;
        let radio = bits(protocol.octets_up) * self.transmit_bit
            + bits(protocol.octets_down) * self.receive_bit;
        let (computing, writing) = protocol.operations.map_or((0.0, 0.0), |done| {
            let computing = done.aes_blocks as f64 * self.aes_block
                + done.sha256_blocks as f64 * self.sha256_block
                + done.ec_multiplications as f64 * self.ec_multiplication;
            (computing, done.durable_writes as f64 * self.durable_write)
        });
        [radio, computing, writing].map(|joule| joule * 1e6)
    }
}
