//! What a device stands on: a credential, a non-volatile memory and a random source. Each is a trait, so that a card, a flash
//! page or a simulator can take its place.

use core::convert::Infallible;

use ambit_protocol::{RootKey, Suite, schedule};

use crate::uicc::Uicc;

/// Whatever evaluates the PRF under K: a key in memory ([`LocalKey`]) or a card that never gives K away.
pub trait Credential {
    /// Why an evaluation failed. The device only notes that it did.
    type Error;

    /// One PRF evaluation under K, 16 octets (protocol sections 2, 5, 6 and 8).
    ///
    /// # Errors
    /// The credential's own. The device then builds no report and tries again after its back-off.
    fn evaluate(&mut self, input: &schedule::Input) -> Result<[u8; 16], Self::Error>;

    /// The suite of this credential; also the suite of the seals under K_AIOTF.
    fn suite(&self) -> Suite;

    /// The card with which K has to be agreed (section 7); `None` when K is there from the start.
    fn card(&mut self) -> Option<&mut dyn Uicc> {
        None
    }

    /// Whether K has yet to be agreed.
    fn needs_registration(&self) -> bool {
        false
    }

    /// Takes an agreed K_AIOT, or forgets it. In RAM only. With `None` at each power-on: whatever was kept from before, a
    /// card's session too, is gone with the power.
    fn adopt(&mut self, k_aiot: Option<RootKey>) {
        let _ = k_aiot;
    }
}

/// Raw non-volatile memory, addressed by octet.
///
/// Nothing is asked of it but honesty about success: a write may fail, or be cut by a loss of power, after any octet. It may
/// then hold a prefix of the new octets, one octet of garbage, and a suffix of the old ones; it may also have been carried
/// out in full and still report failure. A write that reports success must be durable.
pub trait Memory {
    /// Why an access failed. The device only notes that it did.
    type Error;

    /// Size in octets: [`crate::SLOTS_OCTETS`] for the device's own record, the rest is the user memory of section 8.
    fn capacity(&self) -> usize;

    /// Reads `out.len()` octets from `offset`.
    ///
    /// # Errors
    /// The memory's own. A read that fails is not the same as one that returns garbage: at power-on it is refused, since an
    /// older record taken for the newest would use a counter or a T-ID twice.
    fn read(&mut self, offset: usize, out: &mut [u8]) -> Result<(), Self::Error>;

    /// Writes `octets` at `offset`, durably.
    ///
    /// # Errors
    /// The memory's own.
    fn write(&mut self, offset: usize, octets: &[u8]) -> Result<(), Self::Error>;
}

/// A source of octets that nobody can predict, for RAND_d. The counter forms need it for back-off jitter only and may give a
/// poor one, as long as the network does not page the device: the answer of section 8 needs a true RAND_d.
pub trait Random {
    /// Fills `out`.
    fn fill(&mut self, out: &mut [u8]);
}

/// K in the device's own memory. Wiped on drop, never printed.
#[derive(Debug)]
pub struct LocalKey {
    key: RootKey,
    suite: Suite,
}

impl LocalKey {
    /// K and its suite.
    pub const fn new(key: RootKey, suite: Suite) -> Self {
        Self { key, suite }
    }
}

impl Credential for LocalKey {
    type Error = Infallible;

    fn evaluate(&mut self, input: &schedule::Input) -> Result<[u8; 16], Infallible> {
        Ok(self.key.evaluate(self.suite, input))
    }

    fn suite(&self) -> Suite {
        self.suite
    }
}

/// `N` octets of RAM that stand for a non-volatile memory, in fleets and tests. Blank is all ones, as flash is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrayMemory<const N: usize>(pub [u8; N]);

/// An access beyond the end of an [`ArrayMemory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("access beyond the end of the memory")]
pub struct OutOfRange;

impl<const N: usize> Default for ArrayMemory<N> {
    fn default() -> Self {
        Self([0xFF; N])
    }
}

impl<const N: usize> Memory for ArrayMemory<N> {
    type Error = OutOfRange;

    fn capacity(&self) -> usize {
        N
    }

    fn read(&mut self, offset: usize, out: &mut [u8]) -> Result<(), OutOfRange> {
        let end = offset.checked_add(out.len()).ok_or(OutOfRange)?;
        out.copy_from_slice(self.0.get(offset..end).ok_or(OutOfRange)?);
        Ok(())
    }

    fn write(&mut self, offset: usize, octets: &[u8]) -> Result<(), OutOfRange> {
        let end = offset.checked_add(octets.len()).ok_or(OutOfRange)?;
        self.0
            .get_mut(offset..end)
            .ok_or(OutOfRange)?
            .copy_from_slice(octets);
        Ok(())
    }
}

// A borrowed part serves as well as an owned one: a failed power-on then loses nothing.

impl<C: Credential + ?Sized> Credential for &mut C {
    type Error = C::Error;

    fn evaluate(&mut self, input: &schedule::Input) -> Result<[u8; 16], Self::Error> {
        (**self).evaluate(input)
    }

    fn suite(&self) -> Suite {
        (**self).suite()
    }

    fn card(&mut self) -> Option<&mut dyn Uicc> {
        (**self).card()
    }

    fn needs_registration(&self) -> bool {
        (**self).needs_registration()
    }

    fn adopt(&mut self, k_aiot: Option<RootKey>) {
        (**self).adopt(k_aiot);
    }
}

impl<M: Memory + ?Sized> Memory for &mut M {
    type Error = M::Error;

    fn capacity(&self) -> usize {
        (**self).capacity()
    }

    fn read(&mut self, offset: usize, out: &mut [u8]) -> Result<(), Self::Error> {
        (**self).read(offset, out)
    }

    fn write(&mut self, offset: usize, octets: &[u8]) -> Result<(), Self::Error> {
        (**self).write(offset, octets)
    }
}

impl<R: Random + ?Sized> Random for &mut R {
    fn fill(&mut self, out: &mut [u8]) {
        (**self).fill(out);
    }
}
