//! The plaintext P of a report: cause (4 bits) ‖ seq (4 bits) ‖ application data (0 to 90 octets).

use super::{WireError, need, put};

/// Application data of one report, at most.
pub const DATA_OCTETS_MAX: usize = 90;

/// P of one report, at most.
pub const PLAINTEXT_OCTETS_MAX: usize = DATA_OCTETS_MAX + 1;

/// Why a device speaks. Inside the encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// 1: power-on. The first report of a power cycle: DO-A registration.
    PowerOn,
    /// 2: a timer.
    Periodic,
    /// 3: an event (sensed).
    Event,
    /// 4: the device moved.
    Moved,
    /// 5: data only.
    DataOnly,
    /// 6: the device will be silent from now on.
    GoingSilent,
    /// A value that this version does not name (0, 7 to 15). The report is authentic all the same.
    Other(u8),
}

impl Cause {
    /// The cause of a 4-bit value; the upper bits are ignored.
    pub const fn from_number(number: u8) -> Self {
        match number & 15 {
            1 => Self::PowerOn,
            2 => Self::Periodic,
            3 => Self::Event,
            4 => Self::Moved,
            5 => Self::DataOnly,
            6 => Self::GoingSilent,
            other => Self::Other(other),
        }
    }

    /// The 4-bit value.
    pub const fn number(self) -> u8 {
        match self {
            Self::PowerOn => 1,
            Self::Periodic => 2,
            Self::Event => 3,
            Self::Moved => 4,
            Self::DataOnly => 5,
            Self::GoingSilent => 6,
            Self::Other(number) => number & 15,
        }
    }
}

/// What a device has to say once: the meaning of P. A report built anew for the same item keeps its cause and seq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// Why.
    pub cause: Cause,
    /// The device's items modulo 16, from 0 at each power-on.
    pub seq: u8,
    /// Application data, 0 to 90 octets.
    pub data: &'a [u8],
}

impl<'a> Item<'a> {
    /// Reads P.
    ///
    /// # Errors
    /// [`WireError::Truncated`] when empty, [`WireError::TooLong`] above 91 octets.
    pub fn parse(plaintext: &'a [u8]) -> Result<Self, WireError> {
        need("P", plaintext, 1, PLAINTEXT_OCTETS_MAX)?;
        let (first, data) = plaintext.split_first().unwrap_or((&0, &[]));
        Ok(Self {
            cause: Cause::from_number(first >> 4),
            seq: first & 15,
            data,
        })
    }

    /// Octets that [`Item::emit`] writes.
    pub const fn buffer_len(&self) -> usize {
        1 + self.data.len()
    }

    /// Writes P and returns its length.
    ///
    /// # Errors
    /// [`WireError::BadField`] for too much data or a seq above 15, [`WireError::BufferTooSmall`].
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, WireError> {
        if self.data.len() > DATA_OCTETS_MAX {
            return Err(WireError::BadField {
                field: "data",
                rule: "at most 90 octets",
            });
        }
        if self.seq > 15 {
            return Err(WireError::BadField {
                field: "seq",
                rule: "0 to 15",
            });
        }
        put(out, &[&[(self.cause.number() << 4) | self.seq], self.data])
    }
}
