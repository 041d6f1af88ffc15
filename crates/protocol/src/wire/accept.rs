//! ACCEPT (section 5): `hdr(1,0) ‖ C2 ‖ TAG2`, and the meaning of its plaintext P2.

use super::{MessageType, TagLen, WireError, expect, header, need, put};
use crate::seal::Tag;

/// P2, at most: status and parameters.
pub(crate) const P2_OCTETS_MAX: usize = 32;

/// What the network says with an ACCEPT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AcceptStatus {
    /// 00, or an empty P2, or a status that this version does not know.
    #[default]
    Accepted,
    /// 01: a command follows, stay awake.
    CommandFollows,
    /// 02: be silent for so many seconds.
    SilentFor {
        /// Seconds.
        seconds: u16,
    },
}

impl AcceptStatus {
    /// Reads P2. Never fails: what is not understood means accepted.
    pub const fn parse(p2: &[u8]) -> Self {
        match p2 {
            [1, ..] => Self::CommandFollows,
            [2, high, low, ..] => Self::SilentFor {
                seconds: u16::from_be_bytes([*high, *low]),
            },
            _ => Self::Accepted,
        }
    }

    /// Octets that [`AcceptStatus::emit`] writes: 0, 1 or 3.
    pub const fn buffer_len(self) -> usize {
        match self {
            Self::Accepted => 0,
            Self::CommandFollows => 1,
            Self::SilentFor { .. } => 3,
        }
    }

    /// Writes P2 (empty for [`AcceptStatus::Accepted`]) and returns its length.
    ///
    /// # Errors
    /// [`WireError::BufferTooSmall`].
    pub fn emit(self, out: &mut [u8]) -> Result<usize, WireError> {
        match self {
            Self::Accepted => Ok(0),
            Self::CommandFollows => put(out, &[&[1]]),
            Self::SilentFor { seconds } => put(out, &[&[2], &seconds.to_be_bytes()]),
        }
    }
}

/// An ACCEPT checked for shape by a device that knows its own tag length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptView<'a> {
    /// C2, 0 to 32 octets.
    pub ciphertext: &'a [u8],
    /// TAG2.
    pub tag: Tag,
}

impl<'a> AcceptView<'a> {
    /// Checks header and lengths.
    ///
    /// # Errors
    /// [`WireError`] naming what is wrong.
    pub fn parse(octets: &'a [u8], len: TagLen) -> Result<Self, WireError> {
        let form = expect(octets, MessageType::Accept)?;
        if form != 0 {
            return Err(WireError::UnknownForm {
                message: "ACCEPT",
                found: form,
            });
        }
        let min = 1 + len.octets();
        need("ACCEPT", octets, min, min + P2_OCTETS_MAX)?;
        let truncated = WireError::Truncated {
            message: "ACCEPT",
            min,
            found: octets.len(),
        };
        let (_, rest) = octets.split_first().ok_or(truncated)?;
        let at = rest.len().saturating_sub(len.octets());
        let (ciphertext, tag) = rest.split_at_checked(at).ok_or(truncated)?;
        let tag = Tag::from_slice(tag).ok_or(truncated)?;
        Ok(Self { ciphertext, tag })
    }
}

/// The header octet of an ACCEPT.
pub const ACCEPT_HEADER: u8 = header(MessageType::Accept, 0);
