//! Real readers, through the system's PC/SC service.

use std::ffi::{CStr, CString};

use super::{Transport, TransportError};

/// Response data and status word of a short APDU.
const RESPONSE_OCTETS_MAX: usize = 258;

/// A card in a PC/SC reader, held shared. How long a card may take is up to the reader's driver;
/// [`Timed`](super::Timed) sets a limit.
pub struct Pcsc {
    card: pcsc::Card,
    is_t1: bool,
}

impl Pcsc {
    /// Names of the readers there are, with or without a card.
    ///
    /// # Errors
    /// [`TransportError::Reader`] when there is no PC/SC service.
    pub fn readers() -> Result<Vec<String>, TransportError> {
        let context = pcsc::Context::establish(pcsc::Scope::User).map_err(reader)?;
        let names = context.list_readers_owned().map_err(reader)?;
        Ok(names
            .iter()
            .map(|name| name.to_string_lossy().into_owned())
            .collect())
    }

    /// Connects to the card in the reader of that name.
    ///
    /// # Errors
    /// [`TransportError::Removed`] when the reader is empty; [`TransportError::Reader`].
    pub fn connect(name: &str) -> Result<Self, TransportError> {
        let context = pcsc::Context::establish(pcsc::Scope::User).map_err(reader)?;
        let name: CString =
            CString::new(name).map_err(|e| TransportError::Reader(e.to_string()))?;
        let name: &CStr = &name;
        let card = context
            .connect(name, pcsc::ShareMode::Shared, pcsc::Protocols::ANY)
            .map_err(reader)?;
        let (_, protocol) = card
            .status2_owned()
            .map(|status| (status.status(), status.protocol2()))
            .map_err(reader)?;
        Ok(Self {
            card,
            is_t1: protocol == Some(pcsc::Protocol::T1),
        })
    }
}

impl Transport for Pcsc {
    fn transmit(&mut self, apdu: &[u8], response: &mut Vec<u8>) -> Result<(), TransportError> {
        let mut buffer = zeroize::Zeroizing::new([0u8; RESPONSE_OCTETS_MAX]);
        let received = self.card.transmit(apdu, &mut *buffer).map_err(reader)?;
        response.clear();
        response.extend_from_slice(received);
        Ok(())
    }

    fn takes_le_with_data(&self) -> bool {
        self.is_t1
    }
}

impl core::fmt::Debug for Pcsc {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Pcsc(..)")
    }
}

fn reader(error: pcsc::Error) -> TransportError {
    match error {
        pcsc::Error::NoSmartcard
        | pcsc::Error::RemovedCard
        | pcsc::Error::ResetCard
        | pcsc::Error::UnpoweredCard => TransportError::Removed,
        pcsc::Error::Timeout | pcsc::Error::UnresponsiveCard => TransportError::Timeout,
        other => TransportError::Reader(other.to_string()),
    }
}
