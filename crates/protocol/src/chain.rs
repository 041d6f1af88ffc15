//! The beacon chain (section 4): a broadcast that a device can check.
//!
//! Elements follow backwards in time by a one-way step, so that the ADM alone can issue the next one and anyone can check
//! an earlier one. A device keeps one [`RandN`] as its anchor; the ADM keeps a [`BeaconChain`].

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::area::Snid;
use crate::schedule::{Label, cut};
use crate::suite::{PrfKey, Suite};

/// Octets of a chain element.
pub const ELEMENT_OCTETS: usize = 12;

/// How many epochs ahead of its first epoch a chain is laid by default.
pub const CHAIN_EPOCHS_DEFAULT: u32 = 1 << 20;

/// How many steps a device walks at most to check a beacon, by default.
pub const MAX_STEPS_DEFAULT: u32 = 1024;

/// RAND_n, 16 octets: epoch (u32) ‖ X\[epoch\]. Public: readers broadcast it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RandN([u8; 16]);

impl RandN {
    /// From the 16 octets of a broadcast.
    pub const fn from_octets(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    /// From an epoch and its element.
    pub const fn new(epoch: u32, element: [u8; ELEMENT_OCTETS]) -> Self {
        let [a, b, c, d] = epoch.to_be_bytes();
        let [e0, e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11] = element;
        Self([a, b, c, d, e0, e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11])
    }

    /// The 16 octets.
    pub const fn octets(&self) -> &[u8; 16] {
        &self.0
    }

    /// The epoch this RAND_n claims.
    pub const fn epoch(&self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }

    /// The chain element X\[epoch\] it claims.
    pub const fn element(&self) -> [u8; ELEMENT_OCTETS] {
        let [_, _, _, _, e @ ..] = self.0;
        e
    }
}

impl fmt::Debug for RandN {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RandN({}:", self.epoch())?;
        self.element()
            .iter()
            .try_for_each(|o| write!(f, "{o:02x}"))?;
        f.write_str(")")
    }
}

/// What a device makes of a broadcast RAND_n, given its anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// The anchor follows from it: whoever made it knew the chain.
    Verified,
    /// Its epoch lies before the anchor's; nothing was computed.
    BeforeAnchor,
    /// Its epoch lies more than `max_steps` ahead; nothing was computed.
    TooManySteps,
    /// It was checked and the anchor does not follow: a false network, or a chain that this device does not know.
    Mismatch,
}

/// Checks a broadcast RAND_n against an anchor. Costs `rand_n.epoch() - anchor.epoch()` steps, at most `max_steps`.
pub fn verify(anchor: &RandN, rand_n: &RandN, snid: &Snid, max_steps: u32) -> Verification {
    let Some(steps) = rand_n.epoch().checked_sub(anchor.epoch()) else {
        return Verification::BeforeAnchor;
    };
    if steps > max_steps {
        return Verification::TooManySteps;
    }
    // The elements compared are public or about to be: no need for constant time.
    if walk(rand_n.element(), rand_n.epoch(), steps, snid) == anchor.element() {
        Verification::Verified
    } else {
        Verification::Mismatch
    }
}

/// X\[e-1\] from X\[e\]: one step back in time. `epoch` is e, at least 1.
pub fn step(element: &[u8; ELEMENT_OCTETS], epoch: u32, snid: &Snid) -> [u8; ELEMENT_OCTETS] {
    let mut key = Zeroizing::new([0u8; 16]);
    for (to, from) in key.iter_mut().zip(element) {
        *to = *from;
    }
    let prf = PrfKey::new(Suite::AesCmac, &key);
    cut(&prf.prf(Label::CHAIN_STEP, &[&epoch.to_be_bytes(), snid.octets()]))
}

/// `steps` steps back from X\[epoch\]; steps <= epoch.
fn walk(
    mut element: [u8; ELEMENT_OCTETS],
    epoch: u32,
    steps: u32,
    snid: &Snid,
) -> [u8; ELEMENT_OCTETS] {
    for back in 0..steps {
        element = step(&element, epoch.saturating_sub(back), snid);
    }
    element
}

const CHECKPOINTS: usize = 1024;

/// The network's side of a chain: every element from `first_epoch` to `last_epoch`, from 1024 checkpoints (12 KiB).
///
/// With the default 2^20 epochs any element is at most 1024 steps away. Secret (future elements follow from it): not
/// `Clone`, not printed, wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct BeaconChain {
    #[zeroize(skip)]
    snid: Snid,
    first_epoch: u32,
    last_epoch: u32,
    spacing: u32,
    /// `checkpoints[i]` is X[last_epoch - i * spacing].
    checkpoints: [[u8; ELEMENT_OCTETS]; CHECKPOINTS],
}

impl BeaconChain {
    /// Lays the chain from its seed, X\[last_epoch\], down to `first_epoch`. Costs `last_epoch - first_epoch` steps, once.
    /// A `first_epoch` above `last_epoch` is taken as `last_epoch`.
    pub fn new(snid: Snid, seed: &[u8; ELEMENT_OCTETS], first_epoch: u32, last_epoch: u32) -> Self {
        let first_epoch = first_epoch.min(last_epoch);
        let spacing = (last_epoch - first_epoch) / CHECKPOINTS as u32 + 1;
        let mut checkpoints = [[0; ELEMENT_OCTETS]; CHECKPOINTS];
        let (mut element, mut epoch) = (*seed, last_epoch);
        for checkpoint in &mut checkpoints {
            *checkpoint = element;
            let steps = spacing.min(epoch - first_epoch);
            if steps == 0 {
                break;
            }
            element = walk(element, epoch, steps, &snid);
            epoch -= steps;
        }
        Self {
            snid,
            first_epoch,
            last_epoch,
            spacing,
            checkpoints,
        }
    }

    /// RAND_n of an epoch; `None` outside the chain. At most `spacing` steps.
    pub fn rand_n(&self, epoch: u32) -> Option<RandN> {
        if epoch < self.first_epoch {
            return None;
        }
        let back = self.last_epoch.checked_sub(epoch)?;
        let checkpoint = back / self.spacing;
        let from = self.checkpoints.get(usize::try_from(checkpoint).ok()?)?;
        let at = self.last_epoch - checkpoint * self.spacing;
        Some(RandN::new(epoch, walk(*from, at, at - epoch, &self.snid)))
    }

    /// The network the chain belongs to.
    pub const fn snid(&self) -> Snid {
        self.snid
    }

    /// First and last epoch of the chain.
    pub const fn epochs(&self) -> (u32, u32) {
        (self.first_epoch, self.last_epoch)
    }
}

impl fmt::Debug for BeaconChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BeaconChain")
            .field("snid", &self.snid)
            .field("first_epoch", &self.first_epoch)
            .field("last_epoch", &self.last_epoch)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::area::Plmn;

    fn snid() -> Snid {
        Snid::new(Plmn::new("001", "01").unwrap(), None)
    }

    #[test]
    fn every_element_equals_the_walk_from_the_seed() {
        for (first, last) in [(0, 0), (7, 7), (0, 1), (5, 1029), (0, 3000), (100, 3173)] {
            let seed = [7; ELEMENT_OCTETS];
            let chain = BeaconChain::new(snid(), &seed, first, last);
            let mut element = seed;
            for epoch in (first..=last).rev() {
                assert_eq!(chain.rand_n(epoch), Some(RandN::new(epoch, element)));
                element = step(&element, epoch, &snid());
            }
            assert_eq!(chain.rand_n(last + 1), None);
            if first > 0 {
                assert_eq!(chain.rand_n(first - 1), None);
            }
        }
    }

    #[test]
    fn a_device_follows_forward_and_nothing_else() {
        let chain = BeaconChain::new(snid(), &[9; 12], 0, 2000);
        let at = |epoch| chain.rand_n(epoch).unwrap();
        let check = |anchor: RandN, beacon| verify(&anchor, &beacon, &snid(), 1024);
        assert_eq!(check(at(10), at(10)), Verification::Verified);
        assert_eq!(check(at(10), at(1034)), Verification::Verified);
        assert_eq!(check(at(10), at(1035)), Verification::TooManySteps);
        assert_eq!(check(at(10), at(9)), Verification::BeforeAnchor);
        let invented = RandN::new(12, [1; 12]);
        assert_eq!(check(at(10), invented), Verification::Mismatch);
        let other = Snid::new(Plmn::new("001", "02").unwrap(), None);
        assert_eq!(
            verify(&at(10), &at(11), &other, 1024),
            Verification::Mismatch
        );
    }
}
