//! A card slot as a device's UICC.

use ambit_device::{Authentication, CardFailed, Uicc};

use super::{CardError, Terminal, Transport, TransportError, UsimCard};

/// A card slot as a device's UICC (protocol section 7): the USIM of the card in it is opened when it is needed, and opened
/// anew after whatever failed, on a card that was reset. A card that was taken out, changed or put back is found again.
pub struct UsimSlot<T, F, R> {
    connect: F,
    random: R,
    open: Option<UsimCard<T>>,
}

impl<T, F, R, D> UsimSlot<T, F, R>
where
    T: Transport,
    F: FnMut() -> Result<T, TransportError>,
    R: FnMut() -> D,
    D: FnMut(&mut [u8]) + Send + 'static,
{
    /// A slot. `connect` resets the card that is in it; `random` gives a random source for the SUCIs that the device conceals.
    pub const fn new(connect: F, random: R) -> Self {
        Self {
            connect,
            random,
            open: None,
        }
    }

    /// Works with the card; one that has failed is closed.
    fn with<A>(
        &mut self,
        work: impl FnOnce(&mut UsimCard<T>) -> Result<A, CardFailed>,
    ) -> Result<A, CardFailed> {
        let mut card = match self.open.take() {
            Some(open) => open,
            None => self.opened().map_err(|_| CardFailed)?,
        };
        let answer = work(&mut card)?;
        self.open = Some(card);
        Ok(answer)
    }

    fn opened(&mut self) -> Result<UsimCard<T>, CardError> {
        let transport = (self.connect)()?;
        UsimCard::open(Terminal::new(transport), (self.random)())
    }
}

impl<T, F, R, D> Uicc for UsimSlot<T, F, R>
where
    T: Transport,
    F: FnMut() -> Result<T, TransportError>,
    R: FnMut() -> D,
    D: FnMut(&mut [u8]) + Send + 'static,
{
    fn suci(&mut self, out: &mut [u8]) -> Result<usize, CardFailed> {
        self.with(|card| card.suci(out))
    }

    fn authenticate(
        &mut self,
        rand: &[u8; 16],
        autn: &[u8; 16],
    ) -> Result<Authentication, CardFailed> {
        self.with(|card| card.authenticate(rand, autn))
    }
}
