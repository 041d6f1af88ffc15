//! SESSION (section 8): `hdr(6,dir) ‖ COUNT(1) ‖ C ‖ TAG`, and the meaning of its plaintext: commands and responses.

use super::{MessageType, TagLen, WireError, expect, header, need, put};
use crate::seal::Tag;

/// The plaintext of a SESSION message, at most: the 125 octets of a D2R block less header, COUNT and the longest tag.
pub(crate) const SESSION_TEXT_OCTETS_MAX: usize = 125 - 2 - 16;

/// A SESSION message checked for shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionView<'a> {
    /// Header and COUNT: the additional authenticated data.
    pub aad: [u8; 2],
    /// True for network to device.
    pub down: bool,
    /// COUNT of this direction.
    pub count: u8,
    /// C, 1 to 107 octets.
    pub ciphertext: &'a [u8],
    /// TAG.
    pub tag: Tag,
}

impl<'a> SessionView<'a> {
    /// Checks header and lengths.
    ///
    /// # Errors
    /// [`WireError`] naming what is wrong.
    pub fn parse(octets: &'a [u8], len: TagLen) -> Result<Self, WireError> {
        let form = expect(octets, MessageType::Session)?;
        let down = match form {
            0 => false,
            1 => true,
            found => {
                return Err(WireError::UnknownForm {
                    message: "SESSION",
                    found,
                });
            }
        };
        let min = 2 + 1 + len.octets();
        need("SESSION", octets, min, min - 1 + SESSION_TEXT_OCTETS_MAX)?;
        let truncated = WireError::Truncated {
            message: "SESSION",
            min,
            found: octets.len(),
        };
        let (aad, rest) = octets.split_first_chunk::<2>().ok_or(truncated)?;
        let at = rest.len().saturating_sub(len.octets());
        let (ciphertext, tag) = rest.split_at_checked(at).ok_or(truncated)?;
        let tag = Tag::from_slice(tag).ok_or(truncated)?;
        let [_, count] = *aad;
        Ok(Self {
            aad: *aad,
            down,
            count,
            ciphertext,
            tag,
        })
    }
}

/// Header and COUNT of a SESSION message.
pub(crate) const fn session_aad(down: bool, count: u8) -> [u8; 2] {
    [header(MessageType::Session, down as u8), count]
}

/// What the network asks of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// 01: read `length` octets of the device's memory from `offset`.
    Read {
        /// First octet.
        offset: u16,
        /// Octets.
        length: u8,
    },
    /// 02: write `data` at `offset`.
    Write {
        /// First octet.
        offset: u16,
        /// What to write.
        data: &'a [u8],
    },
    /// 03: never speak again.
    PermanentDisable,
    /// 04: the session ends.
    Release,
}

/// How a command went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandResult {
    /// 00.
    Ok,
    /// 01: bad parameters.
    BadParameters,
    /// 02: not enough energy.
    LowEnergy,
    /// 03: the device does not have this command.
    NotSupported,
}

/// What a device answers to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// The command's code, echoed.
    pub code: u8,
    /// How it went.
    pub result: CommandResult,
    /// What was read, or nothing.
    pub data: &'a [u8],
}

impl<'a> Command<'a> {
    /// The command's code: 1 to 4.
    pub const fn code(&self) -> u8 {
        match self {
            Self::Read { .. } => 1,
            Self::Write { .. } => 2,
            Self::PermanentDisable => 3,
            Self::Release => 4,
        }
    }

    /// Reads a command.
    ///
    /// # Errors
    /// [`WireError::UnknownCode`] or [`WireError::BadField`] for parameters of the wrong length.
    pub fn parse(text: &'a [u8]) -> Result<Self, WireError> {
        let bad = WireError::BadField {
            field: "parameters",
            rule: "must have the length that the command's code asks for",
        };
        match text {
            [1, o1, o0, length] => Ok(Self::Read {
                offset: u16::from_be_bytes([*o1, *o0]),
                length: *length,
            }),
            [2, o1, o0, data @ ..] => Ok(Self::Write {
                offset: u16::from_be_bytes([*o1, *o0]),
                data,
            }),
            [3] => Ok(Self::PermanentDisable),
            [4] => Ok(Self::Release),
            [1..=4, ..] => Err(bad),
            [found, ..] => Err(WireError::UnknownCode { found: *found }),
            [] => Err(bad),
        }
    }

    /// Writes it and returns its length.
    ///
    /// # Errors
    /// [`WireError::BufferTooSmall`].
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, WireError> {
        match self {
            Self::Read { offset, length } => put(out, &[&[1], &offset.to_be_bytes(), &[*length]]),
            Self::Write { offset, data } => put(out, &[&[2], &offset.to_be_bytes(), data]),
            Self::PermanentDisable => put(out, &[&[3]]),
            Self::Release => put(out, &[&[4]]),
        }
    }
}

impl<'a> Response<'a> {
    /// Reads a response.
    ///
    /// # Errors
    /// [`WireError::Truncated`] or [`WireError::UnknownCode`] for a result that section 8 does not have.
    pub fn parse(text: &'a [u8]) -> Result<Self, WireError> {
        let [code, result, data @ ..] = text else {
            return Err(WireError::Truncated {
                message: "session response",
                min: 2,
                found: text.len(),
            });
        };
        let result = match result {
            0 => CommandResult::Ok,
            1 => CommandResult::BadParameters,
            2 => CommandResult::LowEnergy,
            3 => CommandResult::NotSupported,
            found => return Err(WireError::UnknownCode { found: *found }),
        };
        Ok(Self {
            code: *code,
            result,
            data,
        })
    }

    /// Writes it and returns its length.
    ///
    /// # Errors
    /// [`WireError::BufferTooSmall`].
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, WireError> {
        put(out, &[&[self.code, self.result as u8], self.data])
    }
}
