//! The emulated card without a wire between.

use super::{Transport, TransportError};
use crate::card::{Card, CardMemory};

/// An emulated card in the same process.
#[derive(Debug)]
pub struct InProcess<M>(pub Card<M>);

impl<M: CardMemory> Transport for InProcess<M> {
    fn transmit(&mut self, apdu: &[u8], response: &mut Vec<u8>) -> Result<(), TransportError> {
        *response = self.0.process(apdu);
        Ok(())
    }
}
