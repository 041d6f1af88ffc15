//! A card slot as a device's credential, in the mode where K stays on the card.

use ambit_device::Credential;
use ambit_protocol::{RootKey, Suite, TagLen, schedule};

use super::{AiotCredential, CardError, Terminal, Transport, TransportError};

/// A card slot as a device's credential: the AIoT application of the card in it is opened when K is needed, and opened anew
/// after whatever failed, on a card that was reset. So a card that is slow, removed, put back or reset by someone else costs
/// a device its present attempt and nothing more, and an answer that comes too late is taken for no other.
///
/// Within one power cycle of the device it is one card: another one is refused until the next power-on.
#[derive(Debug)]
pub struct AiotSlot<T, F> {
    connect: F,
    suite: Suite,
    tag_len: TagLen,
    open: Option<AiotCredential<T>>,
    /// The device ID of the card of this power cycle.
    device_id: Option<Vec<u8>>,
}

impl<T: Transport, F: FnMut() -> Result<T, TransportError>> AiotSlot<T, F> {
    /// A slot, for a device of this profile. `connect` resets the card that is in it.
    pub const fn new(connect: F, suite: Suite, tag_len: TagLen) -> Self {
        Self {
            connect,
            suite,
            tag_len,
            open: None,
            device_id: None,
        }
    }

    fn opened(&mut self) -> Result<AiotCredential<T>, CardError> {
        if let Some(open) = self.open.take() {
            return Ok(open);
        }
        let card = AiotCredential::open(Terminal::new((self.connect)()?))?;
        let mismatch = |field| Err(CardError::Mismatch { field });
        if card.suite() != self.suite {
            return mismatch("suite");
        }
        if usize::from(card.tag_len()) != self.tag_len.octets() {
            return mismatch("tag_len");
        }
        match &self.device_id {
            None => self.device_id = Some(card.device_id().to_vec()),
            Some(known) if known == card.device_id() => {}
            Some(_) => return mismatch("device_id"),
        }
        Ok(card)
    }
}

impl<T: Transport, F: FnMut() -> Result<T, TransportError>> Credential for AiotSlot<T, F> {
    type Error = CardError;

    fn evaluate(&mut self, input: &schedule::Input) -> Result<[u8; 16], CardError> {
        let mut card = self.opened()?;
        // A card that has failed stays closed.
        let value = card.evaluate(input)?;
        self.open = Some(card);
        Ok(value)
    }

    fn suite(&self) -> Suite {
        self.suite
    }

    /// The card lost its power with the device.
    fn adopt(&mut self, _: Option<RootKey>) {
        self.open = None;
        self.device_id = None;
    }
}
