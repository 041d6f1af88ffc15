//! INVENTORY RESPONSE (section 8): `hdr(5,0) ‖ RAND_d(16) ‖ RES(8)`.

use super::{MessageType, WireError, expect, header, need, put};

/// Octets of an INVENTORY RESPONSE.
pub const INVENTORY_RESPONSE_OCTETS: usize = 25;

/// The meaning of an INVENTORY RESPONSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InventoryResponse {
    /// The device's fresh nonce.
    pub rand_d: [u8; 16],
    /// First 8 octets of PRF(K, 30, RAND_n ‖ RAND_d).
    pub res: [u8; 8],
}

impl InventoryResponse {
    /// Reads one.
    ///
    /// # Errors
    /// [`WireError`] naming what is wrong.
    pub fn parse(octets: &[u8]) -> Result<Self, WireError> {
        let form = expect(octets, MessageType::InventoryResponse)?;
        if form != 0 {
            return Err(WireError::UnknownForm {
                message: "INVENTORY RESPONSE",
                found: form,
            });
        }
        let exact = INVENTORY_RESPONSE_OCTETS;
        need("INVENTORY RESPONSE", octets, exact, exact)?;
        let truncated = WireError::Truncated {
            message: "INVENTORY RESPONSE",
            min: exact,
            found: octets.len(),
        };
        let (_, rest) = octets.split_first().ok_or(truncated)?;
        let (rand_d, rest) = rest.split_first_chunk().ok_or(truncated)?;
        let (res, _) = rest.split_first_chunk().ok_or(truncated)?;
        Ok(Self {
            rand_d: *rand_d,
            res: *res,
        })
    }

    /// Octets that [`InventoryResponse::emit`] writes.
    pub const fn buffer_len(&self) -> usize {
        INVENTORY_RESPONSE_OCTETS
    }

    /// Writes it and returns its length.
    ///
    /// # Errors
    /// [`WireError::BufferTooSmall`].
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, WireError> {
        let header = [header(MessageType::InventoryResponse, 0)];
        put(out, &[&header, &self.rand_d, &self.res])
    }
}
