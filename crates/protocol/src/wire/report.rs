//! REPORT of every form (sections 5 and 6).

use super::{
    Form, MessageType, PLAINTEXT_OCTETS_MAX, TagLen, WireError, expect, header, need, put,
};
use crate::seal::Tag;

/// The longest REPORT: concealed, 90 octets of data, 16 octets of tag. Below the 125 octets of a D2R block.
pub const REPORT_OCTETS_MAX: usize = 1 + 12 + PLAINTEXT_OCTETS_MAX + 16;

/// How a REPORT names its device: what stands between the header and the sealed part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReportId {
    /// T-ID(4) ‖ RAND_d(4).
    Beacon {
        /// First 4 octets of PRF(K, 10, RAND_n).
        t_id: [u8; 4],
        /// Fresh per built report.
        rand_d: [u8; 4],
    },
    /// T-ID(6); the counter itself is not sent.
    Counter {
        /// First 6 octets of PRF(K, 12, c).
        t_id: [u8; 6],
    },
    /// CID(4) ‖ RAND_d(8).
    Concealed {
        /// First 4 octets of PRF(K, 14, RAND_n ‖ RAND_d).
        cid: [u8; 4],
        /// Fresh per built report.
        rand_d: [u8; 8],
    },
    /// c(4) ‖ T-ID(6).
    Recovery {
        /// The counter, in clear.
        counter: u32,
        /// As in the counter form.
        t_id: [u8; 6],
    },
    /// T-ID(6), keys without RAND_n and AreaID.
    Blind {
        /// As in the counter form.
        t_id: [u8; 6],
    },
}

impl ReportId {
    /// The form.
    pub const fn form(&self) -> Form {
        match self {
            Self::Beacon { .. } => Form::Beacon,
            Self::Counter { .. } => Form::Counter,
            Self::Concealed { .. } => Form::Concealed,
            Self::Recovery { .. } => Form::Recovery,
            Self::Blind { .. } => Form::Blind,
        }
    }

    /// The header octet of a REPORT of this form: the additional authenticated data of its seal.
    pub const fn header(&self) -> u8 {
        header(MessageType::Report, self.form().number())
    }

    /// Octets between header and sealed part: 8, 6, 12, 10 or 6.
    pub const fn buffer_len(&self) -> usize {
        id_octets(self.form())
    }

    /// Writes header and identifier into the front of `out` and returns how many octets that took.
    ///
    /// # Errors
    /// [`WireError::BufferTooSmall`].
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, WireError> {
        let header = [self.header()];
        match self {
            Self::Beacon { t_id, rand_d } => put(out, &[&header, t_id, rand_d]),
            Self::Counter { t_id } | Self::Blind { t_id } => put(out, &[&header, t_id]),
            Self::Concealed { cid, rand_d } => put(out, &[&header, cid, rand_d]),
            Self::Recovery { counter, t_id } => put(out, &[&header, &counter.to_be_bytes(), t_id]),
        }
    }
}

/// A REPORT checked for shape, borrowing from the PDU. Its tag length is the sender's profile's, known only once the
/// sender is: [`ReportView::sealed`] splits ciphertext and tag for a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportView<'a> {
    id: ReportId,
    sealed: &'a [u8],
}

impl<'a> ReportView<'a> {
    /// Checks header and lengths.
    ///
    /// # Errors
    /// [`WireError`] naming what is wrong.
    pub fn parse(octets: &'a [u8]) -> Result<Self, WireError> {
        let number = expect(octets, MessageType::Report)?;
        let form = Form::from_number(number).ok_or(WireError::UnknownForm {
            message: "REPORT",
            found: number,
        })?;
        let fixed = 1 + id_octets(form);
        need(
            "REPORT",
            octets,
            fixed + 1 + TagLen::T4.octets(),
            fixed + PLAINTEXT_OCTETS_MAX + TagLen::T16.octets(),
        )?;
        let truncated = WireError::Truncated {
            message: "REPORT",
            min: fixed,
            found: octets.len(),
        };
        let (_, rest) = octets.split_first().ok_or(truncated)?;
        let (id, sealed) = split_id(form, rest).ok_or(truncated)?;
        Ok(Self { id, sealed })
    }

    /// How the report names its device.
    pub const fn id(&self) -> &ReportId {
        &self.id
    }

    /// Ciphertext (1 to 91 octets) and tag for a sender with tag length `len`; `None` when the length does not fit.
    pub fn sealed(&self, len: TagLen) -> Option<(&'a [u8], Tag)> {
        let at = self.sealed.len().checked_sub(len.octets())?;
        let (ciphertext, tag) = self.sealed.split_at_checked(at)?;
        if (1..=PLAINTEXT_OCTETS_MAX).contains(&ciphertext.len()) {
            Some((ciphertext, Tag::from_slice(tag)?))
        } else {
            None
        }
    }
}

const fn id_octets(form: Form) -> usize {
    match form {
        Form::Beacon => 8,
        Form::Counter | Form::Blind => 6,
        Form::Concealed => 12,
        Form::Recovery => 10,
        // No REPORT has it; what stands there in an AUTHENTICATION RESPONSE is RES8.
        Form::Aka => 8,
    }
}

fn split_id(form: Form, rest: &[u8]) -> Option<(ReportId, &[u8])> {
    Some(match form {
        Form::Beacon => {
            let (t_id, rest) = rest.split_first_chunk()?;
            let (rand_d, rest) = rest.split_first_chunk()?;
            let (t_id, rand_d) = (*t_id, *rand_d);
            (ReportId::Beacon { t_id, rand_d }, rest)
        }
        Form::Counter => {
            let (t_id, rest) = rest.split_first_chunk()?;
            (ReportId::Counter { t_id: *t_id }, rest)
        }
        Form::Concealed => {
            let (cid, rest) = rest.split_first_chunk()?;
            let (rand_d, rest) = rest.split_first_chunk()?;
            let (cid, rand_d) = (*cid, *rand_d);
            (ReportId::Concealed { cid, rand_d }, rest)
        }
        Form::Recovery => {
            let (counter, rest) = rest.split_first_chunk()?;
            let (t_id, rest) = rest.split_first_chunk()?;
            let (counter, t_id) = (u32::from_be_bytes(*counter), *t_id);
            (ReportId::Recovery { counter, t_id }, rest)
        }
        Form::Blind => {
            let (t_id, rest) = rest.split_first_chunk()?;
            (ReportId::Blind { t_id: *t_id }, rest)
        }
        Form::Aka => return None,
    })
}
