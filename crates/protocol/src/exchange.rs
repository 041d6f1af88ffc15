//! One exchange, from either end (section 5): a report is sealed or opened, and what comes out can make or check the one
//! ACCEPT that belongs to it, and go on into a command session. The AUTHENTICATION RESPONSE of a UICC registration
//! (section 7) is such a report as well.

use crate::key::KAiotf;
use crate::seal::{Direction, SealKeys, Tag};
use crate::session::Session;
use crate::suite::Suite;
use crate::wire::{ACCEPT_HEADER, AUTHENTICATION_RESPONSE_HEADER, P2_OCTETS_MAX};
use crate::wire::{
    AcceptStatus, AcceptView, Item, PLAINTEXT_OCTETS_MAX, ReportId, ReportView, ResultView, TagLen,
    WireError,
};

/// Why a message could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is not a message of the expected kind.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// It does not verify under this key.
    #[error("the tag does not verify")]
    TagMismatch,
}

impl OpenError {
    /// The stable name of the error.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Wire(error) => error.name(),
            Self::TagMismatch => "tag_mismatch",
        }
    }
}

/// An exchange whose report was sealed (device) or verified (network): keys and TAG1.
#[derive(Debug)]
pub struct Exchange {
    keys: SealKeys,
    tag1: Tag,
}

/// Writes the ACCEPT whose P2 is empty, from its TAG2, into `out` and returns its length.
///
/// # Errors
/// [`WireError::BufferTooSmall`].
pub fn empty_accept(tag2: &Tag, out: &mut [u8]) -> Result<usize, WireError> {
    let tag = tag2.as_slice();
    let needed = 1 + tag.len();
    let found = out.len();
    let small = WireError::BufferTooSmall { needed, found };
    let out = out.get_mut(..needed).ok_or(small)?;
    let (head, tag_out) = out.split_first_mut().ok_or(small)?;
    *head = ACCEPT_HEADER;
    tag_out.copy_from_slice(tag);
    Ok(needed)
}

/// A verified report's plaintext P, at most 91 octets, held so that it can outlive the PDU.
#[derive(Clone, Copy, Debug)]
pub struct Plaintext {
    octets: [u8; PLAINTEXT_OCTETS_MAX],
    len: usize,
}

impl Plaintext {
    /// From the octets of P; `None` when there are more than 91.
    pub fn new(octets: &[u8]) -> Option<Self> {
        let mut plain = Self {
            octets: [0; PLAINTEXT_OCTETS_MAX],
            len: octets.len(),
        };
        plain
            .octets
            .get_mut(..octets.len())?
            .copy_from_slice(octets);
        Some(plain)
    }

    /// The octets of P.
    pub fn octets(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }

    /// The meaning of P.
    ///
    /// # Errors
    /// Never for a verified report, whose P has 1 to 91 octets; the type of [`Item::parse`] is kept.
    pub fn item(&self) -> Result<Item<'_>, WireError> {
        Item::parse(self.octets())
    }
}

impl Exchange {
    /// Device: builds a REPORT into `out` and returns its length.
    ///
    /// # Errors
    /// [`WireError::BadField`] or [`WireError::BufferTooSmall`]; `out` then holds nothing of use.
    pub fn seal_report(
        suite: Suite,
        k_aiotf: &KAiotf,
        id: &ReportId,
        item: &Item<'_>,
        len: TagLen,
        out: &mut [u8],
    ) -> Result<(Self, usize), WireError> {
        let needed = 1 + id.buffer_len() + item.buffer_len() + len.octets();
        let found = out.len();
        let small = WireError::BufferTooSmall { needed, found };
        let out = out.get_mut(..needed).ok_or(small)?;
        let at = id.emit(out)?;
        let (_, rest) = out.split_at_mut_checked(at).ok_or(small)?;
        let aad: [&[u8]; 2] = [&[id.header()], &[]];
        let exchange = Self::seal_item(suite, k_aiotf, aad, item, len, rest)?;
        Ok((exchange, needed))
    }

    /// Device: builds the AUTHENTICATION RESPONSE of a registration into `out` and returns its length. RES8 is bound to it.
    ///
    /// # Errors
    /// [`WireError::BadField`] or [`WireError::BufferTooSmall`]; `out` then holds nothing of use.
    pub fn seal_registration(
        suite: Suite,
        k_aiotf: &KAiotf,
        res8: &[u8; 8],
        item: &Item<'_>,
        len: TagLen,
        out: &mut [u8],
    ) -> Result<(Self, usize), WireError> {
        let needed = 1 + res8.len() + item.buffer_len() + len.octets();
        let found = out.len();
        let small = WireError::BufferTooSmall { needed, found };
        let out = out.get_mut(..needed).ok_or(small)?;
        let (head, rest) = out.split_first_mut().ok_or(small)?;
        let (name, rest) = rest.split_first_chunk_mut::<8>().ok_or(small)?;
        *head = AUTHENTICATION_RESPONSE_HEADER;
        *name = *res8;
        let aad: [&[u8]; 2] = [&[AUTHENTICATION_RESPONSE_HEADER], res8];
        let exchange = Self::seal_item(suite, k_aiotf, aad, item, len, rest)?;
        Ok((exchange, needed))
    }

    /// Network: opens the AUTHENTICATION RESPONSE of a registration. RES8 is the caller's to compare; here it is bound.
    ///
    /// # Errors
    /// [`OpenError::TagMismatch`] when it does not verify, or its length does not fit the device's tag length.
    pub fn open_registration(
        suite: Suite,
        k_aiotf: &KAiotf,
        response: &ResultView<'_>,
        len: TagLen,
    ) -> Result<(Self, Plaintext), OpenError> {
        let sealed = response.sealed(len).ok_or(OpenError::TagMismatch)?;
        let aad: [&[u8]; 2] = [&[AUTHENTICATION_RESPONSE_HEADER], &response.res8];
        Self::open_item(suite, k_aiotf, aad, sealed)
    }

    /// Network: opens a REPORT under the key of one candidate.
    ///
    /// # Errors
    /// [`OpenError::TagMismatch`] when it is not this candidate's, or its length does not fit the candidate's tag length.
    #[inline(always)]
    pub fn open_report(
        suite: Suite,
        k_aiotf: &KAiotf,
        report: &ReportView<'_>,
        len: TagLen,
    ) -> Result<(Self, Plaintext), OpenError> {
        let sealed = report.sealed(len).ok_or(OpenError::TagMismatch)?;
        Self::open_item(suite, k_aiotf, [&[report.id().header()], &[]], sealed)
    }

    /// Network: the exchange of a report that was verified before, to go on where only K_AIOTF and TAG1 were kept.
    pub fn resume(suite: Suite, k_aiotf: &KAiotf, tag1: Tag) -> Self {
        let keys = SealKeys::new(suite, k_aiotf);
        Self { keys, tag1 }
    }

    /// TAG1: with device and epoch, the key of the acceptance record.
    pub const fn tag1(&self) -> &Tag {
        &self.tag1
    }

    /// Network: TAG2 of the ACCEPT whose P2 is empty, which is all there is to that ACCEPT.
    pub fn empty_accept_tag(&self) -> Tag {
        let aad: [&[u8]; 2] = [&[ACCEPT_HEADER], self.tag1.as_slice()];
        let len = self.tag1.len();
        self.keys.seal(Direction::Accept, aad, &mut [], len)
    }

    /// Network: builds the ACCEPT with plaintext `p2` into `out` and returns its length. Deterministic.
    ///
    /// # Errors
    /// [`WireError::BadField`] when `p2` has more than 32 octets, [`WireError::BufferTooSmall`].
    pub fn seal_accept(&self, p2: &[u8], out: &mut [u8]) -> Result<usize, WireError> {
        if p2.len() > P2_OCTETS_MAX {
            return Err(WireError::BadField {
                field: "P2",
                rule: "at most 32 octets",
            });
        }
        let len = self.tag1.len();
        let needed = 1 + p2.len() + len.octets();
        let found = out.len();
        let small = WireError::BufferTooSmall { needed, found };
        let out = out.get_mut(..needed).ok_or(small)?;
        let (head, rest) = out.split_first_mut().ok_or(small)?;
        let (text, tag_out) = rest.split_at_mut_checked(p2.len()).ok_or(small)?;

        *head = ACCEPT_HEADER;
        text.copy_from_slice(p2);
        let aad: [&[u8]; 2] = [&[ACCEPT_HEADER], self.tag1.as_slice()];
        let tag2 = self.keys.seal(Direction::Accept, aad, text, len);
        tag_out.copy_from_slice(tag2.as_slice());
        Ok(needed)
    }

    /// Device: checks an ACCEPT against this exchange.
    ///
    /// # Errors
    /// [`OpenError`]; to the device it is then as if the ACCEPT never came.
    pub fn open_accept(&self, octets: &[u8]) -> Result<AcceptStatus, OpenError> {
        let view = AcceptView::parse(octets, self.tag1.len())?;
        let mut text = [0; P2_OCTETS_MAX];
        let text = text
            .get_mut(..view.ciphertext.len())
            .ok_or(OpenError::TagMismatch)?;
        text.copy_from_slice(view.ciphertext);
        let aad: [&[u8]; 2] = [&[ACCEPT_HEADER], self.tag1.as_slice()];
        self.keys
            .open(Direction::Accept, aad, text, &view.tag)
            .map_err(|_| OpenError::TagMismatch)?;
        Ok(AcceptStatus::parse(text))
    }

    /// The command session that follows an ACCEPT with status 01, under the same keys and tag length.
    pub fn into_session(self) -> Session {
        let len = self.tag1.len();
        Session::from_keys(self.keys, len)
    }

    /// Writes the sealed item and its tag, which fill `out`.
    fn seal_item(
        suite: Suite,
        k_aiotf: &KAiotf,
        aad: [&[u8]; 2],
        item: &Item<'_>,
        len: TagLen,
        out: &mut [u8],
    ) -> Result<Self, WireError> {
        let small = WireError::BufferTooSmall {
            needed: item.buffer_len() + len.octets(),
            found: out.len(),
        };
        let at = item.emit(out)?;
        let (text, tag_out) = out.split_at_mut_checked(at).ok_or(small)?;
        let keys = SealKeys::new(suite, k_aiotf);
        let tag1 = keys.seal(Direction::Report, aad, text, len);
        tag_out.copy_from_slice(tag1.as_slice());
        Ok(Self { keys, tag1 })
    }

    #[inline(always)]
    fn open_item(
        suite: Suite,
        k_aiotf: &KAiotf,
        aad: [&[u8]; 2],
        (ciphertext, tag1): (&[u8], Tag),
    ) -> Result<(Self, Plaintext), OpenError> {
        // Opened in place.
        let mut plain = Plaintext::new(ciphertext).ok_or(OpenError::TagMismatch)?;
        let text = plain
            .octets
            .get_mut(..ciphertext.len())
            .ok_or(OpenError::TagMismatch)?;
        let keys = SealKeys::new(suite, k_aiotf);
        keys.open(Direction::Report, aad, text, &tag1)
            .map_err(|_| OpenError::TagMismatch)?;
        Ok((Self { keys, tag1 }, plain))
    }
}
