//! Sealing with a synthetic IV (section 2): integrity and confidentiality that stay safe when a nonce repeats.
//!
//! ```text
//! KI = PRF(K_AIOTF, 01, "")   KE = PRF(K_AIOTF, 02, "")
//! TAG = PRF(KI, label, aad ‖ P)[0..t]   IV = (TAG ‖ 00*8)[0..8] ‖ dir ‖ 000000   C = P xor KS(KE, IV, |P|)
//! ```

use core::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::key::KAiotf;
use crate::schedule::Label;
use crate::suite::{KeystreamKey, PrfKey, Suite};
use crate::wire::TagLen;

/// KI and KE of one exchange, expanded once and used for report, accept and session alike.
pub struct SealKeys {
    ki: PrfKey,
    ke: KeystreamKey,
}

/// Direction octet and label of what is sealed: they belong together, so they travel together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// REPORT, label 41, dir 00.
    Report,
    /// ACCEPT, label 42, dir 01.
    Accept,
    /// SESSION up, label 43, dir 02.
    SessionUp,
    /// SESSION down, label 44, dir 03.
    SessionDown,
}

impl Direction {
    const fn label_and_dir(self) -> (Label, u8) {
        match self {
            Self::Report => (Label::REPORT, 0),
            Self::Accept => (Label::ACCEPT, 1),
            Self::SessionUp => (Label::SESSION_UP, 2),
            Self::SessionDown => (Label::SESSION_DOWN, 3),
        }
    }
}

/// An authentication tag of 4, 8 or 16 octets.
#[derive(Clone, Copy)]
pub struct Tag {
    octets: [u8; 16],
    len: TagLen,
}

impl Tag {
    /// Takes a tag from the wire; `None` unless it has 4, 8 or 16 octets.
    pub fn from_slice(octets: &[u8]) -> Option<Self> {
        let len = TagLen::from_octets(octets.len())?;
        let mut full = [0; 16];
        full.get_mut(..octets.len())?.copy_from_slice(octets);
        Some(Self { octets: full, len })
    }

    /// The tag's octets.
    pub fn as_slice(&self) -> &[u8] {
        self.octets.get(..self.len.octets()).unwrap_or_default()
    }

    /// The tag's length.
    pub const fn len(&self) -> TagLen {
        self.len
    }

    /// The tag that is cut from this PRF.
    pub fn cut(prf: [u8; 16], len: TagLen) -> Self {
        let mut octets = [0; 16];
        for (to, from) in octets.iter_mut().zip(prf).take(len.octets()) {
            *to = from;
        }
        Self { octets, len }
    }

    /// The first 12 octets of the keystream's counter block.
    pub fn iv(&self, direction: Direction) -> [u8; 12] {
        let (_, dir) = direction.label_and_dir();
        let [t0, t1, t2, t3, t4, t5, t6, t7, ..] = self.octets;
        // A 4-octet tag is followed by zeros in `octets`, which is the padding that the IV asks for.
        [t0, t1, t2, t3, t4, t5, t6, t7, dir, 0, 0, 0]
    }
}

impl PartialEq for Tag {
    /// Constant time in the octets.
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && bool::from(self.octets.ct_eq(&other.octets))
    }
}

impl Eq for Tag {}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for octet in self.as_slice() {
            write!(f, "{octet:02x}")?;
        }
        Ok(())
    }
}

/// The tag did not verify. Nothing was released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tag does not verify")]
pub struct TagMismatch;

impl SealKeys {
    /// Derives and expands KI and KE.
    #[inline(always)]
    pub fn new(suite: Suite, k_aiotf: &KAiotf) -> Self {
        let prf = PrfKey::new(suite, k_aiotf.expose());
        let ki = Zeroizing::new(prf.prf(Label::INTEGRITY_KEY, &[]));
        let ke = Zeroizing::new(prf.prf(Label::ENCRYPTION_KEY, &[]));
        Self {
            ki: PrfKey::new(suite, &ki),
            ke: KeystreamKey::new(suite, &ke),
        }
    }

    /// Seals `text` in place: plaintext in, ciphertext out. `aad` is the header and what else the
    /// message is bound to (TAG1, COUNT or nothing), taken as one string.
    pub fn seal(&self, direction: Direction, aad: [&[u8]; 2], text: &mut [u8], len: TagLen) -> Tag {
        let tag = self.tag(direction, aad, text, len);
        self.ke.apply(&tag.iv(direction), text);
        tag
    }

    /// Opens `text` in place: ciphertext in, plaintext out.
    ///
    /// # Errors
    /// [`TagMismatch`] when the tag does not verify; `text` is then wiped, so no unverified plaintext is released.
    pub fn open(
        &self,
        direction: Direction,
        aad: [&[u8]; 2],
        text: &mut [u8],
        tag: &Tag,
    ) -> Result<(), TagMismatch> {
        self.ke.apply(&tag.iv(direction), text);
        if self.tag(direction, aad, text, tag.len) == *tag {
            Ok(())
        } else {
            text.zeroize();
            Err(TagMismatch)
        }
    }

    fn tag(&self, direction: Direction, aad: [&[u8]; 2], plain: &[u8], len: TagLen) -> Tag {
        let (label, _) = direction.label_and_dir();
        let [header, binding] = aad;
        Tag::cut(self.ki.prf(label, &[header, binding, plain]), len)
    }
}

/// KI of an exchange: enough to compute its tags again, and no more. It tells nothing of K_AIOTF, KE or K.
pub fn integrity_key(suite: Suite, k_aiotf: &KAiotf) -> Zeroizing<[u8; 16]> {
    let prf = PrfKey::new(suite, k_aiotf.expose());
    Zeroizing::new(prf.prf(Label::INTEGRITY_KEY, &[]))
}

/// TAG1 of a report under KI, for whoever checks a record later: `header` is the report's first octet, `plain` its P.
pub fn report_tag(
    suite: Suite,
    integrity_key: &[u8; 16],
    header: u8,
    plain: &[u8],
    len: TagLen,
) -> Tag {
    let ki = PrfKey::new(suite, integrity_key);
    Tag::cut(ki.prf(Label::REPORT, &[&[header], plain]), len)
}

impl fmt::Debug for SealKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKeys(..)")
    }
}
